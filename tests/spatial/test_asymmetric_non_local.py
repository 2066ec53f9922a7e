import math

import pytest
import torch

from course_lib.spatial.asymmetric_non_local import AsymmetricFusion, AsymmetricPyramid, pyramid_tokens
from tests.properties import assert_same, features, randomise


def cells(x, size):
    """The averages over the size × size cells of one c h w, cell by cell."""
    _, h, w = x.shape
    edges = [[(i * n // size, math.ceil((i + 1) * n / size)) for i in range(size)] for n in (h, w)]
    return [x[:, top:end, left:right].mean((1, 2)) for top, end in edges[0] for left, right in edges[1]]


@pytest.mark.parametrize("arguments", [{}, {"sizes": (1, 2)}, {"sizes": (4, 1), "key_channels": 5}], ids=str)
def test_equals_the_double_loop(arguments):
    block, x = randomise(AsymmetricPyramid(7, **arguments)), 0.3 * features(3, 7, 5, 4)
    query, value = block.key[1](block.key[0](x)).clamp(min=0), block.value(x)
    context = torch.empty_like(x)
    for b in range(3):
        keys, values = ([v for size in block.sizes for v in cells(t[b], size)] for t in (query, value))
        for i in range(5):
            for j in range(4):
                q = query[b, :, i, j]
                f = [torch.exp(q @ k / len(q) ** 0.5) for k in keys]
                read = sum(a * v for a, v in zip(f, values, strict=True)) / sum(f)
                context[b, :, i, j] = block.output.weight[:, :, 0, 0] @ read + block.output.bias
    fused = block.fuse[0](torch.cat([context, x], dim=1))
    assert_same(block(x), block.fuse[1](fused).clamp(min=0))


def test_forward_applies_attention():
    block, x = randomise(AsymmetricPyramid(7)), 0.3 * features(3, 7, 9, 10)
    value = pyramid_tokens(block.value(x), (1, 3, 6, 8))
    context = block.output((value @ block.attention(x).mT).unflatten(2, (9, 10)))
    assert_same(block(x), block.fuse(torch.cat([context, x], dim=1)))


def test_asks_110_cells_of_any_image_and_the_first_is_the_mean():
    block, x = randomise(AsymmetricPyramid(7)), 0.3 * features(3, 7, 9, 10)
    attention = block.attention(x)
    assert attention.shape == (3, 90, 110)
    assert_same(attention.sum(dim=2), torch.ones(3, 90).double())
    tokens = pyramid_tokens(x, (1, 3, 6, 8))
    assert_same(tokens[:, :, 0], x.mean(dim=(2, 3)))
    assert_same(tokens[:, :, 1], x[:, :, :3, :4].mean(dim=(2, 3)))  # top left; columns 0 to 3 of 10


def test_a_grid_as_fine_as_the_image_is_a_non_local_map():
    block, x = randomise(AsymmetricPyramid(8, sizes=(5,))), 0.3 * features(3, 8, 5, 5)
    query = block.key(x).flatten(2)
    assert_same(block.attention(x), (query.mT @ query / 2).softmax(dim=2))  # ĉ = 4


def test_starts_blind_to_its_keys():
    torch.manual_seed(0)
    block, x = AsymmetricPyramid(8, dropout=0.0).double(), features(3, 8, 5, 7)
    output = block(x)
    assert_same(output, block.fuse(torch.cat([torch.zeros_like(x), x], dim=1)))
    (output * features(*output.shape, seed=2)).sum().backward()
    assert block.output.weight.grad.abs().max() > 0
    assert block.key[0].weight.grad.abs().max() == 0


def test_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in AsymmetricPyramid(512).parameters()) == 920_576


@pytest.mark.parametrize("wrong", [{"sizes": ()}, {"sizes": (0, 2)}, {"key_channels": 0}], ids=str)
def test_refuses_in_words(wrong):
    with pytest.raises(ValueError, match="must be at least 1"):
        AsymmetricPyramid(8, **wrong)


def test_fusion_equals_the_double_loop():
    block, high, low = (
        randomise(AsymmetricFusion(7, 4, sizes=(1, 3), out_channels=6)),
        features(3, 7, 5, 4),
        features(3, 4, 9, 8),
    )
    high, low = 0.3 * high, 0.3 * low
    query, key = (layer[1](layer[0](x)).clamp(min=0) for layer, x in ((block.query, high), (block.key, low)))
    context = torch.empty(3, 6, 5, 4, dtype=torch.float64)
    for b in range(3):
        keys, values = ([v for size in (1, 3) for v in cells(t[b], size)] for t in (key, block.value(low)))
        for i in range(5):
            for j in range(4):
                q = query[b, :, i, j]
                f = [torch.exp(q @ k / len(q) ** 0.5) for k in keys]
                read = sum(a * v for a, v in zip(f, values, strict=True)) / sum(f)
                context[b, :, i, j] = block.output.weight[:, :, 0, 0] @ read + block.output.bias
    assert_same(block(high, low), block.fuse[1](block.fuse[0](torch.cat([context, high], dim=1))))


def test_fusion_starts_blind_to_the_shallow_features():
    block, high = AsymmetricFusion(8, 4).double().eval(), features(3, 8, 5, 7)
    assert_same(block(high, features(3, 4, 6, 6)), block(high, features(3, 4, 9, 9, seed=2)))


def test_fusion_refuses_in_words():
    with pytest.raises(ValueError, match="low_channels=0"):
        AsymmetricFusion(8, 0)
    with pytest.raises(ValueError, match="high has 3 samples, low 2"):
        AsymmetricFusion(8, 4).double()(features(3, 8, 5, 7), features(2, 4, 9, 9))
