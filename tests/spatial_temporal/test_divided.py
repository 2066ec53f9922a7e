import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.spatial_temporal.divided import DividedSpaceTime
from tests.properties import assert_same, features, randomise


def small():
    """A randomised block whose softmaxes do not saturate."""
    block = randomise(DividedSpaceTime(15, 3))
    for layer in (block.time_qkv, block.space_qkv):
        layer.weight.data /= 5
    return block


def look_up(tokens, norm, qkv, output, num_heads):
    """Pre-norm multi-head attention among the tokens l c, query by query."""
    normed = F.layer_norm(tokens, tokens.shape[1:], norm.weight, norm.bias, eps=1e-6)
    query, key, value = (normed @ qkv.weight.T + qkv.bias).chunk(3, dim=1)
    d = tokens.shape[1] // num_heads
    read = torch.zeros_like(tokens)
    for s in range(0, tokens.shape[1], d):
        for i in range(len(tokens)):
            odds = torch.stack([(query[i, s : s + d] @ k[s : s + d] / math.sqrt(d)).exp() for k in key])
            read[i, s : s + d] = odds / odds.sum() @ value[:, s : s + d]
    return read @ output.weight.T + output.bias


def by_hand(block, x):
    z = x.clone()
    for b in range(len(x)):
        for i in range(x.shape[3]):
            for j in range(x.shape[4]):
                read = look_up(
                    x[b, :, :, i, j].T, block.time_norm, block.time_qkv, block.time_output, block.num_heads
                )
                z[b, :, :, i, j] += (read @ block.time_gate.weight.T + block.time_gate.bias).T
    y = z.clone()
    for b in range(len(x)):
        for t in range(x.shape[2]):
            tokens = z[b, :, t].flatten(1).T
            read = look_up(tokens, block.space_norm, block.space_qkv, block.space_output, block.num_heads)
            y[b, :, t] += read.T.view(-1, *x.shape[3:])
    return y


def test_equals_the_loop():
    block, x = small(), features(3, 15, 4, 2, 3)
    assert_same(block(x), by_hand(block, x))


def test_forward_applies_attention():
    block, x = small(), features(3, 15, 4, 5, 7)
    time, space = block.attention(x)
    value = block.time_qkv(block.time_norm(x.movedim(1, 4)))[..., 30:].unflatten(4, (3, 5)).flatten(2, 3)  # b t n s d
    read = torch.einsum("bsnij,bjnsd->binsd", time, value).flatten(3).unflatten(2, (5, 7))
    z = x + block.time_gate(block.time_output(read)).movedim(4, 1)
    value = block.space_qkv(block.space_norm(z.movedim(1, 4)))[..., 30:].unflatten(4, (3, 5)).flatten(2, 3)
    read = torch.einsum("bstij,btjsd->btisd", space, value).flatten(3).unflatten(2, (5, 7))
    assert_same(block(x), z + block.space_output(read).movedim(4, 1))


def test_starts_as_the_space_half_frame_by_frame():
    torch.manual_seed(0)
    block, x = DividedSpaceTime(15, 3).double(), features(3, 15, 4, 5, 7)
    assert_same(block.over_time(x), x)
    frames = [block(x[:, :, t : t + 1]) for t in range(4)]
    assert_same(block(x), torch.cat(frames, dim=2))


def reach(function, x):
    """Which tokens change when the token at frame 1, row 2, column 3 does. Shape: -> t h w."""
    moved = x.clone()
    moved[:, 0, 1, 2, 3] += 1  # one channel: LayerNorm would not see all of them rise alike
    return ((function(moved) - function(x)).abs() > 1e-12).any(dim=1).all(dim=0)


def test_one_block_reaches_every_token_and_its_time_half_the_same_place_only():
    block, x = small(), features(2, 15, 4, 5, 7)
    assert reach(block, x).all()
    same_place = torch.zeros(4, 5, 7, dtype=torch.bool)
    same_place[:, 2, 3] = True
    assert torch.equal(reach(block.over_time, x), same_place)
    same_frame = torch.zeros(4, 5, 7, dtype=torch.bool)
    same_frame[1] = True
    assert torch.equal(reach(block.over_space, x), same_frame)


def test_permuted_frames_and_permuted_places_give_permuted_results():
    block, x = small(), features(3, 15, 4, 5, 7)
    frames, places = [2, 0, 3, 1], torch.randperm(35, generator=torch.Generator().manual_seed(0))
    assert_same(block(x[:, :, frames]), block(x)[:, :, frames])
    shuffled = x.flatten(3)[..., places].unflatten(3, (5, 7))
    assert_same(block(shuffled).flatten(3), block(x).flatten(3)[..., places])


def test_published_parameter_count_of_the_time_half():
    block = DividedSpaceTime(768, 12)
    assert sum(p.numel() for name, p in block.named_parameters() if name.startswith("time")) == 2_954_496


@pytest.mark.parametrize("shape", [(1, 15, 1, 1, 1), (2, 15, 1, 3, 2), (2, 15, 3, 1, 4)])
def test_one_frame_or_one_row_is_enough(shape):
    block, x = small(), features(*shape)
    assert_same(block(x), by_hand(block, x))


def test_names_the_heads_that_fit():
    with pytest.raises(ValueError, match="num_heads=4 does not divide channels=15"):
        DividedSpaceTime(15, 4)
