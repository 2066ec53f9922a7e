import pytest
import torch

from course_lib.spatial_temporal.cross_frame import CrossFrameGlobalAttention, CrossFrameLocalInterpolation
from tests.properties import assert_same, features, randomise


def test_gate_equals_the_loop():
    block = randomise(CrossFrameGlobalAttention(13))
    x, previous = features(3, 13, 5, 7), features(3, 13, 4, 6, seed=2)
    conv, norm = block.embed[:2]
    for b in range(3):
        logits = torch.zeros(13, dtype=torch.float64)
        for column in previous[b].flatten(1).T:
            z = (conv.weight[:, :, 0, 0] @ column - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
            logits += block.excite.weight @ (z * norm.weight + norm.bias).clamp(min=0) / 24
        assert_same(block(x, previous)[b], x[b] / (1 + (-logits).exp())[:, None, None])


def test_gate_is_applied_and_does_not_see_this_frame():
    block = randomise(CrossFrameGlobalAttention(13))
    x, previous = features(3, 13, 5, 7), features(3, 13, 5, 7, seed=2)
    gate = block.attention(x, previous)
    assert_same(block(x, previous), gate[:, :, None, None] * x)
    assert_same(block.attention(features(3, 13, 5, 7, seed=3), previous), gate)
    assert not torch.allclose(block.attention(x, x), gate)


def test_zero_weights_halve_the_input():
    block, x = CrossFrameGlobalAttention(13).double(), features(3, 13, 5, 7)
    torch.nn.init.zeros_(block.excite.weight)
    assert_same(block(x, x), x / 2)


def test_one_previous_frame_is_not_stretched_over_the_batch():
    block, x = CrossFrameGlobalAttention(13).double().eval(), features(3, 13, 5, 7)
    with pytest.raises(ValueError, match="3 frames and 1 previous"):
        block(x, x[:1])
    with pytest.raises(ValueError, match="12 channels"):
        block(x, x[:, :12])


def clouds(d=3):
    """Features and positions of 11 points now and 9 before."""
    return features(3, 13, 11), features(3, 11, d, seed=2), features(3, 13, 9, seed=3), features(3, 9, d, seed=4)


@pytest.mark.parametrize("neighbours, d", [(1, 3), (3, 2), (9, 3)])
def test_interpolation_equals_the_loop(neighbours, d):
    block = randomise(CrossFrameLocalInterpolation(13, neighbours, radius=1.3))
    x, position, previous, previous_position = clouds(d)
    expected = torch.empty_like(x)
    for b in range(3):
        for i in range(11):
            near = sorted(
                ((position[b, i] - previous_position[b, j]).square().sum().sqrt().item(), j) for j in range(9)
            )[:neighbours]
            read = sum(max(1.3 - distance, 0) * previous[b, :, j] for distance, j in near)
            expected[b, :, i] = block.join.weight[:, :, 0] @ torch.cat([x[b, :, i], read])
    assert_same(block(x, position, previous, previous_position), expected)


def test_points_far_from_the_origin_find_their_nearest():
    spots = torch.arange(60.0).view(1, 30, 2) / 100 + 1000  # ‖a‖² + ‖b‖² − 2ab is wrong by more than their distance
    block = CrossFrameLocalInterpolation(13, 1)
    distance, index = block.nearest(spots, spots)
    assert index.flatten().tolist() == list(range(30)) and distance.max() == 0


def test_weights_are_applied():
    block, (x, position, previous, previous_position) = randomise(CrossFrameLocalInterpolation(13, 3)), clouds()
    weights = block.attention(x, position, previous, previous_position)
    index = (position[:, :, None] - previous_position[:, None]).norm(dim=3).argsort(dim=2)[..., :3]
    chosen = torch.stack([previous[b][:, index[b]] for b in range(3)])  # b c n k
    read = (chosen * weights[:, None]).sum(dim=3)
    assert_same(block(x, position, previous, previous_position), block.join(torch.cat([x, read], dim=1)))


def test_weights_are_not_normalised_and_vanish_beyond_the_radius():
    x = features(1, 2, 1)
    previous_position = torch.tensor([[[0.1, 0], [0.3, 0], [7, 0]]], dtype=torch.float64)
    block = CrossFrameLocalInterpolation(2, 3).double()
    weights = block.attention(x, torch.zeros(1, 1, 2).double(), features(1, 2, 3), previous_position)
    assert_same(weights, torch.tensor([[[0.4, 0.2, 0.0]]], dtype=torch.float64))


def test_order_of_the_previous_points_is_unseen():
    block, (x, position, previous, previous_position) = randomise(CrossFrameLocalInterpolation(13, 3)), clouds()
    order = [4, 2, 0, 8, 1, 3, 7, 6, 5]
    now = block(x, position, previous, previous_position)
    assert_same(block(x, position, previous[:, :, order], previous_position[:, order]), now)


def test_close_points_far_from_the_origin_keep_their_distance():
    x, near = torch.ones(1, 2, 30), torch.arange(30.0)[None, :, None].expand(1, 30, 3) + 1000
    weights = CrossFrameLocalInterpolation(2, 1).attention(x, near, x, near + torch.tensor([0.25, 0, 0]))
    torch.testing.assert_close(weights, torch.full((1, 30, 1), 0.25))


def test_names_what_would_fit():
    block, (x, position, previous, previous_position) = CrossFrameLocalInterpolation(13, 3).double(), clouds()
    with pytest.raises(ValueError, match="use neighbours <= 2"):
        block(x, position, previous[:, :, :2], previous_position[:, :2])
    with pytest.raises(ValueError, match="n=11"):
        block(x, position[:, :10], previous, previous_position)
    with pytest.raises(ValueError, match="b=3"):
        block(x, position[:1], previous, previous_position)
    with pytest.raises(ValueError, match="radius=0"):
        CrossFrameLocalInterpolation(13, 3, radius=0)
