import math

import pytest
import torch

from course_lib.channel_spatial.sca import SCA
from tests.properties import assert_same, features, randomise


def softmax(scores):
    top = max(scores)
    return [math.exp(s - top) / sum(math.exp(t - top) for t in scores) for s in scores]


def channel_weights(block, image, h):
    asked = block.ask_channel.weight @ h + block.lift_channel.bias
    scores = [
        (block.score_channel.weight[0] * (block.lift_channel.weight[:, 0] * image[c].mean() + asked).tanh())
        .sum()
        .item()
        for c in range(len(image))
    ]
    return torch.tensor(softmax(scores), dtype=torch.float64)


def spatial_weights(block, image, h):
    asked = block.ask_position.weight @ h + block.lift_position.bias
    scores = [
        (block.score_position.weight[0] * (block.lift_position.weight @ column + asked).tanh()).sum().item()
        for column in image.flatten(1).T
    ]
    return torch.tensor(softmax(scores), dtype=torch.float64).view(image.shape[1:])


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize("order", ["channel_first", "spatial_first"])
def test_equals_the_loop(order, released):
    block = randomise(SCA(13, 5, attention_dim=3, order=order, released=released))
    x, hidden = features(3, 13, 5, 7), features(3, 5, seed=2)
    expected = x.clone()
    for b in range(3):
        for step in order, {"channel_first": "spatial_first", "spatial_first": "channel_first"}[order]:
            if step == "channel_first":
                weights = channel_weights(block, expected[b], hidden[b])[:, None, None] * (13 if released else 1)
            else:
                weights = spatial_weights(block, expected[b], hidden[b])[None] * (35 if released else 1)
            expected[b] = expected[b] * weights
    assert_same(block(x, hidden), expected)


@pytest.mark.parametrize("order", ["channel_first", "spatial_first"])
def test_forward_applies_attention(order):
    block = randomise(SCA(13, 5, attention_dim=3, order=order, released=True))
    x, hidden = features(3, 13, 5, 7), features(3, 5, seed=2)
    channel, spatial = block.attention(x, hidden)
    assert_same(block(x, hidden), x * (13 * channel[:, :, None, None]) * (35 * spatial.view(3, 1, 5, 7)))


def test_the_second_gate_sees_what_the_first_one_left():
    block = randomise(SCA(13, 5, attention_dim=3, released=True))
    x, hidden = features(3, 13, 5, 7), features(3, 5, seed=2)
    channel, spatial = block.attention(x, hidden)
    assert_same(spatial, block.spatial(13 * channel[:, :, None, None] * x, hidden))
    assert not torch.allclose(spatial, block.spatial(x, hidden))


def test_as_released_equal_scores_return_the_input():
    block, x = randomise(SCA(13, 5, attention_dim=3, released=True)), features(3, 13, 5, 7)
    for layer in (block.score_channel, block.score_position):
        torch.nn.init.zeros_(layer.weight)
    assert_same(block(x, features(3, 5)), x)


def test_without_the_factors_the_features_fade():
    block, x = SCA(512, 5, attention_dim=3).double(), features(2, 512, 7, 7)
    assert block(x, features(2, 5)).abs().mean() < 1e-4 * x.abs().mean()


def test_the_sentence_decides():
    block, x = randomise(SCA(13, 5, attention_dim=3)), features(3, 13, 5, 7)
    for now, then in zip(block.attention(x, features(3, 5)), block.attention(x, features(3, 5, seed=2)), strict=True):
        assert not torch.allclose(now, then)


def test_permuting_channels_permutes_their_weights():
    block, x, hidden = randomise(SCA(13, 5, attention_dim=3)), features(3, 13, 5, 7), features(3, 5)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    assert_same(block.channel(x[:, order], hidden), block.channel(x, hidden)[:, order])


def test_parameter_counts_of_the_two_gates():
    counts = {name: p.numel() for name, p in SCA(2048, 1000).named_parameters()}
    channel = sum(n for name, n in counts.items() if "channel" in name)
    spatial = sum(n for name, n in counts.items() if "position" in name)
    assert (channel, spatial) == (3 * 512 + 1000 * 512, 2048 * 512 + 2 * 512 + 1000 * 512)


def test_refuses_a_state_that_would_be_broadcast():
    block, x = SCA(13, 5).double(), features(3, 13, 5, 7)
    for wrong in (features(1, 5), features(3, 4), features(5)):
        with pytest.raises(ValueError, match="hidden_dim=5"):
            block(x, wrong)
    with pytest.raises(ValueError, match="spatial_first"):
        SCA(13, 5, order="parallel")
