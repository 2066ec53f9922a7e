import math

import pytest
import torch

from course_lib.spatial.criss_cross import CrissCross
from tests.properties import assert_same, features, randomise


def cross(i, j, h, w):
    """The positions on the cross of (i, j) in the documented order."""
    return [(k, j) for k in range(h)] + [(i, m) for m in range(w) if m != j]


def loop(block, x):
    """One pass, one position at a time: the result and the weights."""
    query, key, value = block.query(x), block.key(x), block.value(x)
    (_, _, h, w), out, maps = x.shape, x.clone(), x.new_empty(len(x), x.shape[2], x.shape[3], sum(x.shape[2:]) - 1)
    for b in range(len(x)):
        for i in range(h):
            for j in range(w):
                places = cross(i, j, h, w)
                f = torch.stack([torch.exp(query[b, :, i, j] @ key[b, :, k, m]) for k, m in places])
                maps[b, i, j] = f / f.sum()
                read = sum(a * value[b, :, k, m] for a, (k, m) in zip(maps[b, i, j], places, strict=True))
                out[b, :, i, j] += block.gamma[0] * read
    return out, maps


@pytest.mark.parametrize("loops", [1, 2])
def test_equals_the_double_loop(loops):
    block, x = randomise(CrissCross(19, loops=loops)), 0.3 * features(3, 19, 3, 5)
    expected, maps = loop(block, x)
    assert_same(block.attention(x), maps)
    for _ in range(loops - 1):
        expected, _ = loop(block, expected)
    assert_same(block(x), expected)


@pytest.mark.parametrize("shape", [(5, 7), (1, 4), (4, 1), (1, 1)])
def test_forward_applies_attention(shape):
    block, x = randomise(CrissCross(19)), 0.3 * features(3, 19, *shape)
    h, w = shape
    expected = x
    for _ in range(2):
        full = torch.zeros(3, h, w, h, w).double()
        attention = block.attention(expected)
        for i in range(h):
            for j in range(w):
                for index, (k, m) in enumerate(cross(i, j, h, w)):
                    full[:, i, j, k, m] = attention[:, i, j, index]
        expected = expected + block.gamma * torch.einsum("bijkm,bckm->bcij", full, block.value(expected))
    assert_same(block(x), expected)


def test_is_full_attention_masked_to_the_cross():
    block, x = randomise(CrissCross(19, loops=1)), 0.3 * features(3, 19, 5, 7)
    row, column = (t.flatten() for t in torch.meshgrid(torch.arange(5), torch.arange(7), indexing="ij"))
    on_cross = (row[:, None] == row) | (column[:, None] == column)
    query, key, value = (f(x).flatten(2) for f in (block.query, block.key, block.value))
    weights = (query.mT @ key).masked_fill(~on_cross, -math.inf).softmax(dim=2)
    assert_same(block(x), x + block.gamma * (value @ weights.mT).view(x.shape))


def test_starts_as_the_identity():
    x = torch.randn(3, 19, 5, 7)
    assert torch.equal(CrissCross(19)(x), x)


def test_one_loop_reaches_the_cross_and_two_reach_everything():
    x = 0.3 * features(1, 19, 5, 7)
    for loops, reached in ((1, 5 + 7 - 1), (2, 35)):
        block, probe = randomise(CrissCross(19, loops=loops)), x.clone().requires_grad_()
        block(probe)[0, :, 1, 4].sum().backward()
        assert (probe.grad[0].abs().sum(0) > 0).sum() == reached


def test_more_loops_bring_no_parameters():
    with torch.device("meta"):
        for loops in (1, 3):
            assert sum(p.numel() for p in CrissCross(512, loops=loops).parameters()) == 328_321


@pytest.mark.parametrize(("channels", "loops"), [(7, 2), (8, 0)])
def test_refuses_in_words(channels, loops):
    with pytest.raises(ValueError, match="use channels >= 8"):
        CrissCross(channels, loops=loops)
