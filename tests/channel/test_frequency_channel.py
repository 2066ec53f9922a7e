import math

import pytest
import torch

from course_lib.channel.frequency_channel import LOW_16, TOP_16, FrequencyChannel, dct_basis, dct_filters
from tests.properties import assert_same, features, randomise

WAVES = ((0, 0), (2, 1), (0, 4))


def random_block(channels, height, width, **arguments):
    """Random parameters; the cosines stay, in full float64 precision."""
    block = randomise(FrequencyChannel(channels, height, width, **arguments))
    filters = dct_filters(arguments.get("frequencies", TOP_16), height, width)
    block.filters = filters.repeat_interleave(channels // len(filters), dim=0)
    return block


def test_the_cosines_are_computed_and_not_saved():
    small, large = (FrequencyChannel(16, side, side + 1, frequencies=TOP_16) for side in (7, 9))
    large.load_state_dict(small.state_dict())
    assert large.filters.shape == (16, 9, 10)


def test_equals_the_double_loop():
    block = random_block(15, 5, 7, reduction=4, frequencies=WAVES)
    x = features(3, 15, 5, 7)
    z = torch.zeros(3, 15, dtype=torch.float64)
    for b in range(3):
        for c in range(15):
            u, v = WAVES[c // 5]
            factor = math.sqrt((2 if u else 1) / 5) * math.sqrt((2 if v else 1) / 7)
            for i in range(5):
                for j in range(7):
                    wave = math.cos(math.pi * u * (i + 0.5) / 5) * math.cos(math.pi * v * (j + 0.5) / 7)
                    z[b, c] += x[b, c, i, j] * wave * factor
    hidden = (z @ block.squeeze.weight.T).clamp(min=0)
    gates = 1 / (1 + torch.exp(-hidden @ block.excite.weight.T))
    assert_same(block.squeeze_waves(x), z)
    assert_same(block(x), x * gates[:, :, None, None])


def test_forward_applies_attention():
    block, x = random_block(15, 5, 7, reduction=4, frequencies=WAVES), features(3, 15, 5, 7)
    assert_same(block(x), block.attention(x) * x)


def test_the_module_holds_the_cosines():
    block = FrequencyChannel(32, 14, 21)
    torch.testing.assert_close(block.filters.double(), dct_filters(TOP_16, 14, 21).repeat_interleave(2, dim=0))
    assert not [name for name, _ in block.named_parameters() if "filters" in name], "the cosines are not learned"


@pytest.mark.parametrize("size", [1, 2, 7, 12])
def test_cosines_are_orthonormal(size):
    assert_same(dct_basis(size) @ dct_basis(size).T, torch.eye(size, dtype=torch.float64))


def test_all_coefficients_keep_the_energy_and_give_the_image_back():
    x, rows, columns = features(3, 13, 5, 7), dct_basis(5), dct_basis(7)
    z = rows @ x @ columns.T
    assert_same(z.square().sum((2, 3)), x.square().sum((2, 3)))
    assert_same(rows.T @ z @ columns, x)


def test_frequency_zero_is_the_mean_times_the_root_of_the_positions():
    block, x = random_block(15, 5, 7, reduction=4, frequencies=((0, 0),)), features(3, 15, 5, 7)
    assert_same(block.squeeze_waves(x), math.sqrt(35) * x.mean((2, 3)))


def test_a_constant_image_holds_only_frequency_zero():
    block = random_block(48, 7, 14)
    z = block.squeeze_waves(torch.ones(3, 48, 7, 14, dtype=torch.float64))
    assert_same(z[:, :3], torch.full((3, 3), math.sqrt(7 * 14), dtype=torch.float64))
    assert_same(z[:, 3:], torch.zeros(3, 45, dtype=torch.float64))


def test_coefficients_are_signed():
    block, x = random_block(15, 5, 7, reduction=4, frequencies=WAVES), features(3, 15, 5, 7)
    assert_same(block.squeeze_waves(-x), -block.squeeze_waves(x))


def test_first_number_of_a_frequency_runs_down_the_image():
    stripes = torch.tensor([1.0, -1, 1, -1, 1, -1, 1], dtype=torch.float64)[:, None].expand(7, 9)  # rows alternate
    down, across = (abs((dct_filters((f,), 7, 9) * stripes).sum()) for f in ((6, 0), (0, 6)))
    assert down > 1 and across < 1e-9


@pytest.mark.parametrize("size", [(7, 7), (8, 13), (14, 7), (56, 56)])
def test_sixteen_frequencies_are_sixteen_orthonormal_filters(size):
    for frequencies in (TOP_16, LOW_16):
        filters = dct_filters(frequencies, *size).flatten(1)
        assert_same(filters @ filters.T, torch.eye(16, dtype=torch.float64))


def test_frequencies_scale_with_the_map():
    assert_same(dct_filters(((1, 2),), 14, 21), dct_basis(14)[2][None, :, None] * dct_basis(21)[6][None, None])


def test_inputs_of_another_size_are_pooled():
    block, x = random_block(15, 5, 7, reduction=4, frequencies=WAVES), features(3, 15, 10, 21)
    pooled = x.unflatten(2, (5, 2)).unflatten(4, (7, 3)).mean((3, 5))
    assert_same(block.attention(x), block.attention(pooled))


def test_adds_as_many_parameters_to_resnet_50_as_squeeze_excitation():
    blocks = {256: (3, 56), 512: (4, 28), 1024: (6, 14), 2048: (3, 7)}
    total = sum(
        n * sum(p.numel() for p in FrequencyChannel(c, size, size).parameters()) for c, (n, size) in blocks.items()
    )
    assert total == 2_514_944


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"channels": 40}, "use a number of frequencies that divides 40"),
        ({"frequencies": ()}, "use a number of frequencies that divides 32"),
        ({"height": 4}, r"frequency \(6, 0\) does not exist .* height > 6"),
        ({"width": 6}, r"frequency \(1, 6\) does not exist .* width > 6"),
        ({"frequencies": ((0, -1),)}, "use frequencies 0 to 6"),
        ({"reduction": 33}, "use reduction <= 32"),
    ],
)
def test_names_the_argument_that_fits(arguments, cure):
    with pytest.raises(ValueError, match=cure):
        FrequencyChannel(**{"channels": 32, "height": 7, "width": 7, **arguments})
