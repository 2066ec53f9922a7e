import pytest
import torch

from course_lib.channel.efficient_channel import EfficientChannel, adaptive_kernel_size
from tests.properties import assert_same, features, randomise


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_equals_the_band_matrix(kernel_size, padding_mode):
    block = randomise(EfficientChannel(13, kernel_size=kernel_size, padding_mode=padding_mode))
    band = torch.zeros(13, 13, dtype=torch.float64)
    for c in range(13):
        for j in range(kernel_size):
            neighbour = c + j - kernel_size // 2
            if padding_mode == "circular" or 0 <= neighbour < 13:
                band[c, neighbour % 13] += block.conv.weight[0, 0, j].item()
    x = features(3, 13, 5, 7)
    means = x.sum((2, 3)) / (5 * 7)
    gates = 1 / (1 + torch.exp(-means @ band.T))
    assert_same(block(x), x * gates[:, :, None, None])


def test_forward_applies_attention():
    block, x = randomise(EfficientChannel(13, kernel_size=5)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


def test_kernel_size_follows_the_published_rule():
    sizes = {c: adaptive_kernel_size(c) for c in (16, 32, 64, 128, 256, 512, 1024, 2048)}
    assert sizes == {16: 3, 32: 3, 64: 3, 128: 5, 256: 5, 512: 5, 1024: 5, 2048: 7}
    assert EfficientChannel(2048).conv.weight.shape == (1, 1, 7)
    assert [adaptive_kernel_size(c) for c in (1, 2, 4, 8)] == [1, 1, 1, 3]


def test_parameters_in_resnet_50_by_the_rule_and_as_released():
    blocks = ((256, 3, 3), (512, 4, 5), (1024, 6, 5), (2048, 3, 7))  # channels, blocks, released kernel size

    def total(kernel):
        return sum(
            n * sum(p.numel() for p in EfficientChannel(c, kernel_size=kernel(k)).parameters()) for c, n, k in blocks
        )

    assert total(lambda released: None) == 86
    assert total(lambda released: released) == 80


def test_a_gate_ignores_channels_beyond_its_reach():
    block, x = randomise(EfficientChannel(13, kernel_size=5)), features(3, 13, 5, 7)
    changed = x.clone()
    changed[:, 6] += 1
    moved = (block.attention(changed) != block.attention(x)).any(dim=0).flatten()
    assert moved.nonzero().flatten().tolist() == [4, 5, 6, 7, 8]


def test_circular_padding_commutes_with_rolling_the_channels_and_not_with_shuffling_them():
    block, x = randomise(EfficientChannel(13, kernel_size=5, padding_mode="circular")), features(3, 13, 5, 7)
    assert_same(block(x.roll(3, dims=1)), block(x).roll(3, dims=1))
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(block(x[:, order]), block(x)[:, order])


def test_zero_padding_gives_the_first_channels_fewer_neighbours():
    block, x = randomise(EfficientChannel(13, kernel_size=5)), features(3, 13, 5, 7)
    assert not torch.allclose(block(x.roll(3, dims=1)), block(x).roll(3, dims=1))


def test_zero_filter_halves_the_input():
    block, x = EfficientChannel(13).double(), features(3, 13, 5, 7)
    torch.nn.init.zeros_(block.conv.weight)
    assert_same(block(x), x / 2)


def test_gates_see_only_the_mean_of_each_channel():
    block, x = randomise(EfficientChannel(13, kernel_size=3)), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    assert_same(block.attention(shuffled), block.attention(x))


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"kernel_size": 4}, "use an odd one, 3 or 5"),
        ({"kernel_size": 0}, "use an odd one, 1 or 3"),
        ({"kernel_size": 17}, "use kernel_size <= 15"),
        ({"kernel_size": 9, "padding_mode": "circular"}, "use kernel_size <= 8"),
        ({"padding_mode": "reflect"}, "use 'zeros' or 'circular'"),
        ({"channels": 0}, "use channels >= 1"),
    ],
)
def test_names_the_argument_that_fits(arguments, cure):
    with pytest.raises(ValueError, match=cure):
        EfficientChannel(**{"channels": 8, **arguments})
