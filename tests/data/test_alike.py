"""The pairs of lesson 04 are alike in exactly what they promise, and differ in one thing."""

import pytest
import torch

from course_lib.data.alike import PAIRS, alike


@pytest.mark.parametrize("pair", PAIRS)
def test_mean_and_deviation_tell_nothing_but_the_spread(pair):
    images, kinds = alike(pair, 20)
    assert images.shape == (40, 2, 8, 8) and kinds.bincount().tolist() == [20, 20]
    assert images.mean(dim=(2, 3)).abs().max() < 1e-6
    deviation = images.std(dim=(2, 3), correction=0)
    expected = 1 + 0.5 * kinds * (pair == "spread")
    torch.testing.assert_close(deviation, expected[:, None].expand(40, 2).float())
    assert not torch.equal(images, alike(pair, 20, seed=1)[0])


def test_together_differs_in_the_sign_of_the_correlation():
    images, kinds = alike("together", 200)
    correlation = (images[:, 0] * images[:, 1]).mean(dim=(1, 2))  # mean 0, deviation 1
    assert abs(correlation[kinds == 0].mean() - 0.6) < 0.03 and abs(correlation[kinds == 1].mean() + 0.6) < 0.03


def test_order_lies_or_stands():
    images, kinds = alike("order", 200)
    rows, columns = (images.mean(dim=axis).square().mean(dim=(1, 2)) for axis in (3, 2))
    assert torch.equal(rows > columns, kinds == 0)


def test_shape_has_two_values_or_three():
    images, kinds = alike("shape", 5)
    for image, kind in zip(images, kinds, strict=True):
        for channel in image:
            values, counts = channel.unique(return_counts=True)
            assert counts.tolist() == ([32, 32], [16, 32, 16])[kind]
            assert (values.abs() - (1.0, 2**0.5)[kind])[values != 0].abs().max() < 1e-6


def test_an_unknown_pair_is_named():
    with pytest.raises(ValueError, match="'colour'; there are spread"):
        alike("colour", 1)
