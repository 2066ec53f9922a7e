import math

import pytest
import torch

from course_lib.temporal.frame_attention import FramePooling, TemporalSelfAttention
from tests.properties import assert_same, features, randomise

LENGTHS = (4, 1, 3)  # frames of each clip; the rest is padding
VALID = torch.tensor([[t < length for t in range(4)] for length in LENGTHS])


@pytest.mark.parametrize("mask", [None, VALID])
def test_pooling_equals_the_loop(mask):
    block, x = randomise(FramePooling(13, hidden=5)), features(3, 13, 4, 5, 7)
    for b, length in enumerate((4, 4, 4) if mask is None else LENGTHS):
        means = [x[b, :, t].sum(dim=(1, 2)) / 35 for t in range(length)]
        scores = [block.score.weight[0] @ (block.embed.weight @ h + block.embed.bias).tanh() for h in means]
        total = sum(e.exp() for e in scores)
        expected = sum(e.exp() / total * x[b, :, t] for t, e in enumerate(scores))
        assert_same(block(x, attn_mask=mask)[b], expected)


@pytest.mark.parametrize("mask", [None, VALID])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_self_attention_equals_the_loop(num_heads, mask):
    block, x = randomise(TemporalSelfAttention(15, num_heads)), features(3, 15, 4, 5, 7)
    x = x / 3
    expected, d = x.clone(), 15 // num_heads
    for b, length in enumerate((4, 4, 4) if mask is None else LENGTHS):
        means = x[b].mean(dim=(2, 3)).T
        query, key = (means @ f.weight.T + f.bias for f in (block.query, block.key))
        for t in range(4):
            heads = []
            for s in range(0, 15, d):
                odds = [(query[t, s : s + d] @ key[u, s : s + d] / math.sqrt(d)).exp() for u in range(length)]
                values = [
                    torch.einsum("oc,chw->ohw", block.value.weight, x[b, :, u]) + block.value.bias[:, None, None]
                    for u in range(length)
                ]
                heads.append(sum(o / sum(odds) * v[s : s + d] for o, v in zip(odds, values, strict=True)))
            read = torch.einsum("oc,chw->ohw", block.output.weight, torch.cat(heads))
            expected[b, :, t] += read + block.output.bias[:, None, None]
    assert_same(block(x, attn_mask=mask), expected)


@pytest.mark.parametrize("mask", [None, VALID])
def test_forward_applies_attention(mask):
    x = features(3, 15, 4, 5, 7)
    pooling, block = randomise(FramePooling(15)), randomise(TemporalSelfAttention(15, 3))
    assert_same(
        pooling(x, attn_mask=mask), (pooling.attention(x, attn_mask=mask)[:, None, :, None, None] * x).sum(dim=2)
    )
    value = block.value(x.movedim(1, 4)).movedim(4, 1).unflatten(1, (3, 5))  # b s d t h w
    read = torch.einsum("bsij,bsdjhw->bsdihw", block.attention(x, attn_mask=mask), value).flatten(1, 2)
    assert_same(block(x, attn_mask=mask), x + block.output(read.movedim(1, 4)).movedim(4, 1))


def test_self_attention_over_vectors_is_that_of_torch():
    block, x = randomise(TemporalSelfAttention(15, 3)), features(3, 15, 4, 1, 1)
    reference = torch.nn.MultiheadAttention(15, 3, batch_first=True).double()
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([f.weight for f in (block.query, block.key, block.value)]))
        reference.in_proj_bias.copy_(torch.cat([f.bias for f in (block.query, block.key, block.value)]))
        reference.out_proj.load_state_dict(block.output.state_dict())
    tokens = x[..., 0, 0].mT
    out, weights = reference(tokens, tokens, tokens, key_padding_mask=~VALID, average_attn_weights=False)
    assert_same(block(x, attn_mask=VALID)[..., 0, 0].mT, tokens + out)
    assert_same(block.attention(x, attn_mask=VALID), weights)


def test_padding_has_no_weight_and_no_gradient():
    for block in (randomise(FramePooling(15)), randomise(TemporalSelfAttention(15, 3))):
        x = features(3, 15, 4, 5, 7).requires_grad_()
        weights = block.attention(x, attn_mask=VALID)
        assert (weights.movedim(-1, 1)[~VALID] == 0).all()
        out = block(x, attn_mask=VALID)
        kept = out[:, :, :1] if out.ndim == 5 else out  # frame 0 is padding nowhere
        kept.square().sum().backward()
        assert (x.grad.movedim(2, 1)[~VALID] == 0).all()
        assert_same(
            block(torch.where(VALID[:, None, :, None, None], x, 100 * x), attn_mask=VALID)[:, :, 0], out[:, :, 0]
        )


def test_order_of_frames_is_unseen():
    order, x = [2, 0, 3, 1], features(3, 15, 4, 5, 7)
    pooling, block = randomise(FramePooling(15)), randomise(TemporalSelfAttention(15, 3))
    assert_same(pooling(x[:, :, order]), pooling(x))
    assert_same(pooling.attention(x[:, :, order]), pooling.attention(x)[:, order])
    assert_same(block(x[:, :, order]), block(x)[:, :, order])


def test_equal_scores_give_the_mean():
    block, x = randomise(FramePooling(13)), features(3, 13, 4, 5, 7)
    torch.nn.init.zeros_(block.score.weight)
    assert_same(block(x), x.mean(dim=2))


def test_one_frame_gets_all_the_weight():
    x = features(3, 15, 1, 5, 7)
    assert_same(randomise(FramePooling(15))(x), x[:, :, 0])
    assert_same(randomise(TemporalSelfAttention(15, 3)).attention(x), torch.ones(3, 3, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("build", [lambda: FramePooling(15), lambda: TemporalSelfAttention(15, 3)])
def test_masks_that_do_not_fit_are_refused(build):
    block, x = build().double(), features(3, 15, 4, 5, 7)
    for wrong in (VALID[:1], VALID.T, VALID.double()):
        with pytest.raises(ValueError, match=r"booleans of shape \(3, 4\)"):
            block(x, attn_mask=wrong)
    with pytest.raises(ValueError, match=r"samples \[1\]"):
        block(x, attn_mask=VALID & torch.tensor([True, False, True])[:, None])


def test_names_the_heads_that_fit():
    with pytest.raises(ValueError, match="num_heads=4 does not divide channels=15"):
        TemporalSelfAttention(15, 4)
