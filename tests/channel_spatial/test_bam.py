import pytest
import torch

from course_lib.channel_spatial.bam import BAM
from tests.properties import assert_same, features, randomise


def normalise(values, norm):
    shape = (-1,) + (1,) * (values.ndim - 1)
    mean, var, weight, bias = (t.view(shape) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (values - mean) / (var + norm.eps).sqrt() * weight + bias


def dilated(maps, conv, dilation):
    """3×3 taps, ``dilation`` places apart, zeros outside."""
    h, w = maps.shape[1:]
    out = conv.bias.view(-1, 1, 1).repeat(1, h, w)
    for u in (-1, 0, 1):
        for v in (-1, 0, 1):
            for i in range(h):
                for j in range(w):
                    y, x = i + dilation * u, j + dilation * v
                    if 0 <= y < h and 0 <= x < w:
                        out[:, i, j] = out[:, i, j] + conv.weight[:, :, u + 1, v + 1] @ maps[:, y, x]
    return out


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("combine", ["sum", "product", None])
def test_equals_the_loop(combine, released):
    block = randomise(BAM(13, reduction=3, dilation=2, combine=combine, released=released))
    combine = combine or ("product" if released else "sum")
    x = features(3, 13, 5, 7)
    expected = torch.empty_like(x)
    for b, image in enumerate(x):
        z = block.what[0].weight @ (image.sum(dim=(1, 2)) / 35) + block.what[0].bias
        channel = block.what[3].weight @ normalise(z, block.what[1]).clamp(min=0) + block.what[3].bias
        maps = (
            torch.einsum("oc,chw->ohw", block.where[0].weight[:, :, 0, 0], image) + block.where[0].bias[:, None, None]
        )
        maps = normalise(maps, block.where[1]).clamp(min=0)
        for layer in (3, 6):
            maps = normalise(dilated(maps, block.where[layer], 2), block.where[layer + 1]).clamp(min=0)
        spatial = torch.einsum("c,chw->hw", block.where[9].weight[0, :, 0, 0], maps)[None] + block.where[9].bias
        if not released:
            channel, spatial = normalise(channel, block.what[4]), normalise(spatial, block.where[10])
        channel = channel[:, None, None]
        gate = torch.sigmoid(channel + spatial if combine == "sum" else channel * spatial)
        expected[b] = image + image * gate
    assert_same(block(x), expected)


def test_forward_applies_attention():
    block, x = randomise(BAM(13, reduction=3)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


@pytest.mark.parametrize("combine", ["sum", "product"])
def test_zero_last_layers_amplify_by_one_and_a_half(combine):
    block, x = BAM(13, reduction=3, combine=combine, released=True).double().eval(), features(3, 13, 5, 7)
    for layer in (block.what[-1], block.where[-1]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    assert_same(block(x), 1.5 * x)


def logits(block, x):
    return torch.logit(block.attention(x) - 1)


def tame(block):
    """Last layers so small that no sigmoid saturates."""
    for layer in (block.what[3], block.where[9]):
        layer.weight.data /= 30
    return block


def test_the_sum_has_no_interaction_and_the_product_is_of_rank_one():
    x = features(3, 13, 5, 7)
    added = logits(tame(randomise(BAM(13, reduction=3, combine="sum", released=True))), x).flatten(2)
    interaction = added[:, 1:, 1:] - added[:, :1, 1:] - added[:, 1:, :1] + added[:, :1, :1]
    torch.testing.assert_close(interaction, torch.zeros_like(interaction), rtol=0, atol=1e-6)
    multiplied = logits(tame(randomise(BAM(13, reduction=3, released=True))), x).flatten(2)
    assert (torch.linalg.matrix_rank(multiplied, rtol=1e-6) == 1).all()


def test_at_zero_logits_only_the_sum_can_start():
    for combine, moves in (("sum", True), ("product", False)):
        torch.manual_seed(0)
        block = BAM(13, reduction=3, combine=combine, released=True).double().eval()
        for layer in (block.what[-1], block.where[-1]):
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        block(features(3, 13, 5, 7)).square().sum().backward()
        gradients = [p.grad.abs().max() > 1e-12 for p in block.parameters() if p.grad is not None]
        assert any(gradients) == moves


def test_a_place_is_judged_by_the_17_by_17_places_around_it():
    block = randomise(BAM(5, reduction=1))
    x = features(1, 5, 23, 25).requires_grad_()
    block.spatial(x)[0, 0, 11, 12].backward()
    rows, columns = x.grad[0].abs().sum(dim=0).nonzero().T
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 19, 4, 20)


@pytest.mark.parametrize("channels, count", [(256, 17_361), (512, 68_513), (1024, 272_193)])
def test_published_parameter_counts(channels, count):
    assert sum(p.numel() for p in BAM(channels, released=True).parameters()) == count


@pytest.mark.parametrize("shape", [(2, 13, 1, 1), (3, 13, 1, 6), (3, 13, 9, 1)])
def test_one_row_or_column_is_enough(shape):
    assert randomise(BAM(13, reduction=3))(features(*shape)).shape == shape


def test_names_what_would_fit():
    with pytest.raises(ValueError, match="use reduction <= 8"):
        BAM(8)
    with pytest.raises(ValueError, match="use 'sum'"):
        BAM(32, combine="mean")
