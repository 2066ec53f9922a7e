import pytest
import torch

from course_lib.cross.bilinear import BilinearAttention
from tests.properties import assert_same, features, randomise

LENGTHS = (5, 1, 3)  # regions of each sample; the rest is padding
VALID = torch.tensor([[i < length for i in range(5)] for length in LENGTHS])


def small(glimpses=2, rank=None):
    """A randomised block whose softmax does not saturate."""
    block = randomise(BilinearAttention(13, 11, 4, glimpses, rank=rank))
    block.h.data /= 50
    return block


def dense(layer, vector):
    return (layer.weight @ vector + layer.bias).clamp(min=0)


@pytest.mark.parametrize("mask", [None, VALID])
@pytest.mark.parametrize("rank", [None, 5])
def test_equals_the_loop(mask, rank):
    block, v, q = small(3, rank), features(3, 5, 13), features(3, 7, 11, seed=2)
    assert block.h.shape == (3, rank or 12)
    expected = q.clone()
    for b, length in enumerate((5, 5, 5) if mask is None else LENGTHS):
        pairs = [(i, j) for i in range(length) for j in range(7)]
        regions = [dense(block.attend_v, v[b, i]) for i in range(length)]
        words = [dense(block.attend_q, q[b, j]) for j in range(7)]
        for g in range(3):
            odds = [(block.h_bias[g] + (block.h[g] * regions[i] * words[j]).sum()).exp() for i, j in pairs]
            f = sum(
                o / sum(odds) * dense(block.read_v[g], v[b, i]) * dense(block.read_q[g], expected[b, j])
                for o, (i, j) in zip(odds, pairs, strict=True)
            )
            expected[b] = expected[b] + block.project[g].weight @ f + block.project[g].bias
    assert_same(block(v, q, attn_mask=mask), expected)


def test_forward_applies_attention():
    block, v, q = small(1), features(3, 5, 13), features(3, 7, 11, seed=2)
    regions, words = block.read_v[0](v).relu(), block.read_q[0](q).relu()
    f = torch.einsum("bvk,bvq,bqk->bk", regions, block.attention(v, q)[:, 0], words)
    assert_same(block(v, q), q + block.project[0](f)[:, None])


def test_one_softmax_over_regions_and_words_together():
    maps = small().attention(features(3, 5, 13), features(3, 7, 11, seed=2))
    assert maps.shape == (3, 2, 5, 7)
    assert_same(maps.sum(dim=(2, 3)), torch.ones(3, 2, dtype=torch.float64))
    assert maps.sum(dim=2).std() > 1e-4 and maps.sum(dim=3).std() > 1e-4
    assert torch.linalg.matrix_rank(maps).min() > 1


def test_logits_are_a_full_bilinear_form_of_low_rank():
    block, v, q = small(), features(3, 5, 13), features(3, 7, 11, seed=2)
    for layer in (block.attend_v, block.attend_q):  # positive numbers, so that ReLU does nothing
        layer.weight.data.abs_()
        layer.bias.data.zero_()
    v, q = v.abs(), q.abs()
    for g in range(2):
        full = block.attend_v.weight.T @ block.h[g].diag() @ block.attend_q.weight  # v_dim q_dim
        weights = torch.einsum("bvd,de,bqe->bvq", v, full, q).flatten(1).softmax(dim=1)
        assert_same(block.attention(v, q)[:, g].flatten(1), weights)


def test_equal_weights_read_the_product_of_means():
    block, v, q = small(1), features(3, 5, 13), features(3, 7, 11, seed=2)
    torch.nn.init.zeros_(block.h)
    f = block.read_v[0](v).relu().mean(dim=1) * block.read_q[0](q).relu().mean(dim=1)
    assert_same(block(v, q), q + block.project[0](f)[:, None])


def test_padding_has_no_weight_and_no_gradient():
    block, v, q = small(), features(3, 5, 13).requires_grad_(), features(3, 7, 11, seed=2)
    maps = block.attention(v, q, attn_mask=VALID)
    assert (maps.transpose(1, 2)[~VALID] == 0).all()
    assert_same(maps.sum(dim=(2, 3)), torch.ones(3, 2, dtype=torch.float64))
    block(v, q, attn_mask=VALID).square().sum().backward()
    assert (v.grad[~VALID] == 0).all() and (v.grad[VALID] != 0).any()


def test_the_change_is_the_same_for_every_word():
    block, v, q = small(), features(3, 5, 13), features(3, 7, 11, seed=2)
    change = block(v, q) - q
    assert_same(change, change[:, :1].expand_as(change))


def test_order_of_regions_is_unseen():
    block, v, q = small(), features(3, 5, 13), features(3, 7, 11, seed=2)
    order = [3, 0, 4, 1, 2]
    assert_same(block(v[:, order], q), block(v, q))
    assert_same(block.attention(v[:, order], q), block.attention(v, q)[:, :, order])


def test_published_parameter_counts():
    block = BilinearAttention(2048, 1280, 1280, 2)  # of eight glimpses
    counts = {name: p.numel() for name, p in block.named_parameters()}
    assert sum(n for name, n in counts.items() if name.startswith(("attend", "h"))) == 12_817_928 - 6 * (3840 + 1)
    assert sum(n for name, n in counts.items() if name.startswith("read")) == 2 * 4_262_400
    assert sum(n for name, n in counts.items() if name.startswith("project")) == 2 * 1_639_680


def test_refuses_what_would_be_broadcast():
    block, v, q = small(), features(3, 5, 13), features(3, 7, 11, seed=2)
    for wrong in ((v, q[:1]), (v[:1], q)):
        with pytest.raises(ValueError, match="one question for each image"):
            block(*wrong)
    with pytest.raises(ValueError, match="length 11"):
        block(v, v)
    for wrong in (VALID[:1], VALID.T, VALID.double()):
        with pytest.raises(ValueError, match=r"booleans of shape \(3, 5\)"):
            block(v, q, attn_mask=wrong)
    with pytest.raises(ValueError, match=r"samples \[1\]"):
        block(v, q, attn_mask=VALID & torch.tensor([True, False, True])[:, None])
