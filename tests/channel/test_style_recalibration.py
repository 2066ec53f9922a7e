import pytest
import torch

from course_lib.channel.style_recalibration import StyleRecalibration
from tests.properties import assert_same, features, randomise

RELEASED = pytest.mark.parametrize("released", [False, True])


@RELEASED
def test_equals_the_double_loop(released):
    block = randomise(StyleRecalibration(13, released=released))
    x, expected = features(3, 13, 5, 7), torch.empty(3, 13, 5, 7, dtype=torch.float64)
    for b in range(3):
        for c in range(13):
            mean = x[b, c].sum() / 35
            deviation = (sum((v - mean) ** 2 for v in x[b, c].flatten()) / (35 - released) + 1e-5).sqrt()
            z = block.weight[c, 0] * mean + block.weight[c, 1] * deviation
            z = (z - block.norm.running_mean[c]) / (block.norm.running_var[c] + block.norm.eps).sqrt()
            expected[b, c] = x[b, c] / (1 + torch.exp(-(block.norm.weight[c] * z + block.norm.bias[c])))
    assert_same(block(x), expected)


def test_training_normalises_each_channel_over_the_batch():
    block, x = randomise(StyleRecalibration(13)).train(), features(3, 13, 5, 7)
    z = (block.style(x) * block.weight).sum(-1)
    z = (z - z.mean(0)) / (z.var(0, correction=0) + block.norm.eps).sqrt()
    assert_same(block.attention(x)[..., 0, 0], (block.norm.weight * z + block.norm.bias).sigmoid())


def test_forward_applies_attention():
    block, x = randomise(StyleRecalibration(13)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


@pytest.mark.parametrize("training", [False, True])
def test_every_gate_starts_at_one_half(training):
    x = features(3, 13, 5, 7)
    assert torch.equal(StyleRecalibration(13).double().train(training)(x), x / 2)


def test_at_the_start_the_weights_move_and_the_scale_does_not():
    block, x = StyleRecalibration(13).double(), features(3, 13, 5, 7)
    block(x).backward(features(3, 13, 5, 7, seed=2))
    assert (block.weight.grad != 0).all() and (block.norm.weight.grad == 0).all()


def test_a_channel_does_not_see_the_others():
    block, x = randomise(StyleRecalibration(13)), features(3, 13, 5, 7)
    changed = x.clone()
    changed[:, 4] = features(3, 5, 7, seed=2)
    moved = (block.attention(changed) != block.attention(x)).any(dim=0).flatten()
    assert moved.nonzero().flatten().tolist() == [4]


@RELEASED
def test_style_scales_with_the_input_and_only_its_mean_shifts(released):
    block, x = StyleRecalibration(13, released=released, epsilon=1e-13), features(3, 13, 5, 7)
    assert_same(block.style(4 * x), 4 * block.style(x))
    assert_same(block.style(x + 2) - block.style(x), torch.tensor([2.0, 0.0], dtype=x.dtype).expand(3, 13, 2))


def test_style_does_not_see_where_pixels_are():
    block, x = StyleRecalibration(13), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    assert_same(block.style(x.flatten(2)[:, :, order].unflatten(2, (5, 7))), block.style(x))


def test_equal_means_and_different_deviations_are_told_apart():
    block, x = randomise(StyleRecalibration(13)), features(3, 13, 5, 7)
    x = x - x.mean((2, 3), keepdim=True)
    assert not torch.allclose(block.attention(x), block.attention(3 * x))


def test_adds_60416_parameters_to_resnet_50():
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}
    assert sum(n * sum(p.numel() for p in StyleRecalibration(c).parameters()) for c, n in blocks.items()) == 60_416


def test_constant_maps_have_finite_gradients():
    block, x = randomise(StyleRecalibration(13)), torch.ones(3, 13, 5, 7, dtype=torch.float64, requires_grad=True)
    block(x).sum().backward()
    assert x.grad.isfinite().all()


def test_one_pixel_needs_the_papers_deviation():
    with pytest.raises(ValueError, match=r"1 pixel .* use released=False"):
        StyleRecalibration(13, released=True)(torch.ones(3, 13, 1, 1))
    assert StyleRecalibration(13)(torch.ones(3, 13, 1, 1)).isfinite().all()
    assert StyleRecalibration(13, released=True)(torch.ones(3, 13, 1, 7)).isfinite().all(), "seven pixels have one"


def test_names_the_channels_that_fit():
    with pytest.raises(ValueError, match="use channels >= 1"):
        StyleRecalibration(0)
