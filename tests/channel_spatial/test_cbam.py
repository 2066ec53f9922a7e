import pytest
import torch

from course_lib.channel_spatial.cbam import CBAM
from tests.properties import assert_same, features, randomise


def correlate(maps, kernel, k):
    """The 'same' convolution of 2 h w with 2 k k, tap by tap."""
    h, w = maps.shape[1:]
    out = torch.zeros(h, w, dtype=maps.dtype)
    for i in range(h):
        for j in range(w):
            for u in range(k):
                for v in range(k):
                    y, x = i + u - k // 2, j + v - k // 2
                    if 0 <= y < h and 0 <= x < w:
                        out[i, j] += (maps[:, y, x] * kernel[:, u, v]).sum()
    return out


def by_hand(block, x, k):
    expected = torch.empty_like(x)
    bias = [0 if layer.bias is None else layer.bias for layer in (block.squeeze, block.excite)]
    for b, image in enumerate(x):
        statistics = [image.sum(dim=(1, 2)) / image[0].numel(), image.flatten(1).max(dim=1).values]
        hidden = [(block.squeeze.weight @ z + bias[0]).clamp(min=0) for z in statistics]
        gated = image * (block.excite.weight @ (hidden[0] + hidden[1]) + 2 * bias[1]).sigmoid()[:, None, None]
        maps = torch.stack([gated.max(dim=0).values, gated.sum(dim=0) / len(gated)])
        logits = correlate(maps, block.locate.weight[0], k)
        if isinstance(block.norm, torch.nn.BatchNorm2d):
            norm = block.norm
            logits = (logits - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        expected[b] = gated * logits.sigmoid()
    return expected


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("k", [3, 7])
def test_equals_the_loop(released, k):
    block = randomise(CBAM(13, reduction=3, kernel_size=k, released=released))
    x = features(3, 13, 5, 7)
    assert_same(block(x), by_hand(block, x, k))


def test_forward_applies_attention():
    block, x = randomise(CBAM(13, reduction=3)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


def test_the_gate_is_of_rank_one():
    gate = randomise(CBAM(13, reduction=3)).attention(features(3, 13, 5, 7)).flatten(2)
    assert (torch.linalg.matrix_rank(gate, rtol=1e-9) == 1).all()


def test_channel_gate_ignores_the_order_of_positions_and_spatial_gate_that_of_channels():
    block, x = randomise(CBAM(13, reduction=3)), features(3, 13, 5, 7)
    places, channels = torch.randperm(35), torch.randperm(13)
    shuffled = x.flatten(2)[:, :, places].unflatten(2, (5, 7))
    assert_same(block.channel(shuffled), block.channel(x))
    assert_same(block.spatial(x[:, channels]), block.spatial(x))
    assert not torch.allclose(block.channel(x[:, channels]), block.channel(x))


def test_the_maximum_is_seen_and_not_only_the_mean():
    block, x = randomise(CBAM(13, reduction=3)), features(3, 13, 5, 7)
    peaked = x.clone()
    peaked[:, :, 0, 0] += 9
    peaked[:, :, 1, 1] -= 9  # the means stay
    assert not torch.allclose(block.channel(peaked), block.channel(x))


@pytest.mark.parametrize("released", [True, False])
def test_places_are_judged_on_the_gated_features(released):
    block, x = randomise(CBAM(13, reduction=3, released=released)), features(3, 13, 5, 7)
    assert_same(block.attention(x), block.channel(x) * block.spatial(block.channel(x) * x))
    assert not torch.allclose(block.attention(x), block.channel(x) * block.spatial(x))


def test_as_released_starts_with_a_spatial_gate_of_one_half():
    block, x = CBAM(13, reduction=3, released=True).double(), features(3, 13, 5, 7)
    assert_same(block.spatial(x), torch.full((3, 1, 5, 7), 0.5, dtype=torch.float64))


def test_as_released_the_norm_follows_slowly():
    block, x = CBAM(12, reduction=3, released=True), features(3, 12, 5, 7).float()
    block.spatial(x)
    maps = torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1)
    assert_same(block.norm.running_mean, 0.01 * block.locate(maps).mean(dim=(0, 2, 3)))


def test_published_parameter_counts():
    def count(*arguments, **kw):
        return sum(p.numel() for p in CBAM(*arguments, **kw).parameters())

    assert count(64) == 2 * 64 * 4 + 98
    assert count(64, released=True) == 680  # with biases and BatchNorm
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}  # of ResNet-50
    assert sum(n * count(c, released=True) for c, n in blocks.items()) == 2_532_592


@pytest.mark.parametrize("shape", [(1, 13, 1, 1), (2, 13, 1, 6), (2, 13, 9, 1)])
def test_one_row_or_column_is_enough(shape):
    x = features(*shape)
    block = randomise(CBAM(13, reduction=3))
    assert_same(block(x), by_hand(block, x, 7))


def test_names_the_reduction_and_the_kernel_that_fit():
    with pytest.raises(ValueError, match="use reduction <= 8"):
        CBAM(8)
    with pytest.raises(ValueError, match="use 5 or 7"):
        CBAM(32, kernel_size=6)
