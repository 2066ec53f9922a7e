import pytest
import torch

from course_lib.channel.squeeze_excitation import SqueezeExcitation
from tests.properties import assert_same, features, randomise


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_double_loop(bias):
    block = randomise(SqueezeExcitation(13, reduction=3, bias=bias))
    x = features(3, 13, 5, 7)
    expected = torch.empty_like(x)
    for b in range(3):
        z = [x[b, c].sum() / (5 * 7) for c in range(13)]
        hidden = [
            max(
                0.0,
                sum(block.squeeze.weight[j, c] * z[c] for c in range(13)) + (block.squeeze.bias[j] if bias else 0),
            )
            for j in range(4)
        ]
        for c in range(13):
            logit = sum(block.excite.weight[c, j] * hidden[j] for j in range(4)) + (
                block.excite.bias[c] if bias else 0
            )
            expected[b, c] = x[b, c] / (1 + torch.exp(-logit))
    assert_same(block(x), expected)


def test_forward_applies_attention():
    block, x = randomise(SqueezeExcitation(13, reduction=3)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


def test_zero_weights_halve_the_input():
    block, x = SqueezeExcitation(13, reduction=3).double(), features(3, 13, 5, 7)
    torch.nn.init.zeros_(block.excite.weight)
    assert_same(block(x), x / 2)


def test_gates_see_only_the_mean_of_each_channel():
    block, x = randomise(SqueezeExcitation(13, reduction=3)), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    assert_same(block.attention(shuffled), block.attention(x))


def test_permuting_channels_and_weights_together_permutes_the_output():
    block, permuted = (randomise(SqueezeExcitation(13, reduction=3)) for _ in range(2))
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    permuted.squeeze.weight.data = block.squeeze.weight.data[:, order]
    permuted.excite.weight.data = block.excite.weight.data[order]
    x = features(3, 13, 5, 7)
    assert_same(permuted(x[:, order]), block(x)[:, order])


def test_adds_2514944_parameters_to_resnet_50():
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}  # channels: blocks; Hu et al., equation 5
    total = sum(n * sum(p.numel() for p in SqueezeExcitation(c).parameters()) for c, n in blocks.items())
    assert total == 2_514_944


@pytest.mark.parametrize("reduction", [0, 9])
def test_names_the_reduction_that_fits(reduction):
    with pytest.raises(ValueError, match="use reduction <= 8"):
        SqueezeExcitation(8, reduction=reduction)


def test_hidden_units_that_are_no_quotient():
    assert SqueezeExcitation(104, hidden=12).squeeze.weight.shape == (12, 104)  # RegNet-Y
    with pytest.raises(ValueError, match="hidden=0 leaves no hidden unit; use hidden >= 1"):
        SqueezeExcitation(8, hidden=0)
