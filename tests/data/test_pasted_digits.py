import pytest
import torch

from course_lib.data.pasted_digits import HELD_OUT, crops, pasted_digits
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph


def test_one_seed_one_data_set():
    first, again, other = (pasted_digits(5, seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.images, other.images)


def test_each_image_is_a_photograph_with_one_square_around_its_digit():
    made = pasted_digits(100, size=40, digit=(12, 20), seed=5)
    assert made.images.shape == (100, 3, 40, 40) and made.images.min() >= 0 and made.images.max() <= 1
    rows, columns = made.squares.any(dim=2).sum(dim=1), made.squares.any(dim=1).sum(dim=1)
    assert (rows * columns - made.squares.sum((1, 2))).max() <= 4, "a filled square, but for its corner pixels"
    assert (rows - columns).abs().max() <= 1 and 11 <= rows.min() < 14 and 18 < rows.max() <= 21


def edges(made):
    """The mean jump between rows, inside and outside the digits' squares."""
    jump, inside = made.images.diff(dim=2).abs().mean(dim=1), made.squares[:, 1:]  # n 63 64
    return (jump * inside).sum() / inside.sum(), (jump * ~inside).sum() / (~inside).sum()


def test_edges_are_where_the_digit_is_and_pieces_add_others_outside():
    inside, outside = edges(pasted_digits(60, pieces=0, seed=2))
    assert inside > 1.5 * outside
    assert edges(pasted_digits(60, pieces=6, seed=2))[1] > 1.2 * outside


def test_the_photographs_kept_for_testing_are_not_in_training():
    def mean_colours(test):
        return crops(200, 4, test=test, generator=torch.Generator().manual_seed(0)).mean((2, 3))

    assert set(HELD_OUT) < set(PHOTOGRAPHS)
    reds = {test: mean_colours(test)[:, 0] - mean_colours(test)[:, 2] for test in (False, True)}
    assert (reds[True] > 0).float().mean() > 0.95, "cat and coffee are warm pictures throughout"
    assert (reds[False] > 0).float().mean() < 0.8
    assert load_photograph("cat").mean((1, 2))[0] > load_photograph("cat").mean((1, 2))[2]


def test_sizes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"digit=\(24, 40\) does not fit on size=32"):
        pasted_digits(2, size=32)
