import pytest
import torch

from course_lib.spatial_temporal.stc import SpatioTemporalChannel
from tests.properties import assert_same, features, randomise


def test_equals_the_loop():
    block, x = randomise(SpatioTemporalChannel(13, 3, frames=4)), features(3, 13, 4, 5, 7)
    for b in range(3):
        over_space = torch.stack([x[b, c, t].sum() / 35 for t in range(4) for c in range(13)])
        over_all = torch.stack([x[b, c].sum() / 140 for c in range(13)])
        gates = []
        for branch, z in ((block.by_mean, over_all), (block.by_time, over_space)):
            logits = branch[2].weight @ (branch[0].weight @ z).clamp(min=0)
            gates.append(1 / (1 + (-logits).exp()))
        expected = sum(gate[:, None, None, None] * x[b] for gate in gates) / 2
        assert_same(block(x)[b], expected)


def test_forward_applies_attention():
    block, x = randomise(SpatioTemporalChannel(13, 3, frames=4)), features(3, 13, 4, 5, 7)
    by_mean, by_time = block.attention(x)
    assert_same(block(x), (by_mean * x + by_time * x) / 2)


def test_only_the_second_gate_sees_the_order_of_frames():
    block, x = randomise(SpatioTemporalChannel(13, 3, frames=4)), features(3, 13, 4, 5, 7)
    now, then = block.attention(x), block.attention(x[:, :, [2, 0, 3, 1]])
    assert_same(then[0], now[0])
    assert not torch.allclose(then[1], now[1])


def test_zero_weights_halve_the_input():
    block, x = SpatioTemporalChannel(13, 3, frames=4).double(), features(3, 13, 4, 5, 7)
    for branch in (block.by_mean, block.by_time):
        torch.nn.init.zeros_(branch[2].weight)
    assert_same(block(x), x / 2)


def test_both_gates_ignore_the_order_of_places():
    block, x = randomise(SpatioTemporalChannel(13, 3, frames=4)), features(3, 13, 4, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(3)[..., order].unflatten(3, (5, 7))
    for now, then in zip(block.attention(x), block.attention(shuffled), strict=True):
        assert_same(then, now)


def test_parameter_counts_of_the_two_branches():
    block = SpatioTemporalChannel(64, 16, frames=8)
    assert sum(p.numel() for p in block.by_mean.parameters()) == 2 * 64**2 // 16
    assert sum(p.numel() for p in block.by_time.parameters()) == (8 * 64) ** 2 // 16 + 8 * 64 * 64 // 16


def test_names_what_would_fit():
    with pytest.raises(ValueError, match="use reduction <= 8"):
        SpatioTemporalChannel(8, 16, frames=4)
    with pytest.raises(ValueError, match="frames=4"):
        SpatioTemporalChannel(8, 2, frames=4).double()(features(3, 8, 5, 5, 7))
    with pytest.raises(ValueError, match="frames=0"):
        SpatioTemporalChannel(8, 2, frames=0)
