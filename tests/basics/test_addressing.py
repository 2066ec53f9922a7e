import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from course_lib.basics.addressing import (
    AdditiveScore,
    BilinearScore,
    attend,
    dot_score,
    gaussian_score,
    masked_softmax,
    scaled_dot_score,
)
from tests.properties import assert_same, features, randomise

QUERY, KEY, VALUE = features(3, 5, 11, seed=1), features(3, 7, 11, seed=2), features(3, 7, 13, seed=3)
MASK = features(3, 5, 7, seed=4) > 0
MASK[..., 0] = True

PAIRS = {
    dot_score: lambda q, k: sum(q[i] * k[i] for i in range(11)),
    scaled_dot_score: lambda q, k: sum(q[i] * k[i] for i in range(11)) / 11**0.5,
    gaussian_score: lambda q, k: -sum((q[i] - k[i]) ** 2 for i in range(11)) / 2,
}


def by_pairs(query, key, score):
    """The score of every pair, one at a time."""
    rows = [[[score(q, k) for k in keys] for q in queries] for queries, keys in zip(query, key, strict=True)]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("score", PAIRS)
def test_scores_equal_the_loop_over_pairs(score):
    assert_same(score(QUERY, KEY), by_pairs(QUERY, KEY, PAIRS[score]))


def test_gaussian_bandwidth_divides_the_squared_distance():
    assert_same(gaussian_score(QUERY, KEY, bandwidth=3.0), gaussian_score(QUERY, KEY) / 9)


def test_gaussian_differs_from_dot_by_half_the_squared_length_of_the_key():
    offset = gaussian_score(QUERY, KEY) - dot_score(QUERY, KEY) + KEY.square().sum(-1)[:, None, :] / 2
    assert_same(offset, offset[..., :1].expand_as(offset))


def test_bilinear_equals_the_loop_over_pairs():
    score = randomise(BilinearScore(11, 13))
    key = features(3, 7, 13)
    w = score.project.weight
    expected = by_pairs(
        QUERY, key, lambda q, k: sum(q[i] * w[i, j] * k[j] for i in range(11) for j in range(13)).item()
    )
    assert_same(score(QUERY, key), expected)


def test_additive_equals_the_loop_over_pairs():
    score = randomise(AdditiveScore(11, 13, 5))
    key = features(3, 7, 13)
    pair = lambda q, k: (score.score.weight[0] * (score.query.weight @ q + score.key.weight @ k).tanh()).sum().item()  # noqa: E731
    assert_same(score(QUERY, key), by_pairs(QUERY, key, pair))
    assert sum(p.numel() for p in score.parameters()) == 5 * (11 + 13 + 1)


def test_weights_equal_the_loop_over_allowed_keys():
    scores = features(3, 5, 7)
    expected = torch.zeros_like(scores)
    for b in range(3):
        for i in range(5):
            total = sum(math.exp(scores[b, i, j]) for j in range(7) if MASK[b, i, j])
            for j in range(7):
                if MASK[b, i, j]:
                    expected[b, i, j] = math.exp(scores[b, i, j]) / total
    assert_same(masked_softmax(scores, MASK), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_a_query_that_sees_nothing_reads_zeros_without_nan(dtype):
    scores = features(5, 7).to(dtype).requires_grad_()
    mask = MASK[0].clone()
    mask[2] = False
    weights = masked_softmax(scores, mask)
    weights.square().sum().backward()
    assert weights[2].eq(0).all() and weights[3].sum().sub(1).abs() < 0.01
    assert scores.grad.isfinite().all() and scores.grad[2].eq(0).all()


def test_masking_changes_no_input():
    scores = features(5, 7)
    before = scores.clone()
    masked_softmax(scores, MASK[0])
    assert torch.equal(scores, before)


def test_gradients_with_a_mask():
    scores = features(5, 7).requires_grad_()
    assert gradcheck(lambda s: masked_softmax(s, MASK[0]), scores)


def test_attend_equals_torch():
    assert_same(attend(QUERY, KEY, VALUE), F.scaled_dot_product_attention(QUERY, KEY, VALUE))
    expected = F.scaled_dot_product_attention(QUERY, KEY, VALUE, attn_mask=MASK)
    assert_same(attend(QUERY, KEY, VALUE, attn_mask=MASK), expected)


@pytest.mark.parametrize("score", PAIRS)
def test_memory_has_no_order_but_keys_belong_to_their_values(score):
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    expected = attend(QUERY, KEY, VALUE, score=score)
    assert_same(attend(QUERY, KEY[:, order], VALUE[:, order], score=score), expected)
    assert not torch.allclose(attend(QUERY, KEY[:, order], VALUE, score=score), expected)


@pytest.mark.parametrize("score", [dot_score, scaled_dot_score])
def test_a_constant_added_to_all_keys_changes_nothing(score):
    assert_same(attend(QUERY, KEY + features(11), VALUE, score=score), attend(QUERY, KEY, VALUE, score=score))


def test_a_pair_stored_twice_counts_twice():
    twice = torch.cat([KEY, KEY[:, :1]], dim=1)
    weights, doubled = masked_softmax(scaled_dot_score(QUERY, KEY)), masked_softmax(scaled_dot_score(QUERY, twice))
    assert_same((doubled[..., 0] + doubled[..., 7]) / doubled[..., 1], 2 * weights[..., 0] / weights[..., 1])


def test_one_key_returns_its_value_whatever_the_query():
    assert_same(attend(QUERY, KEY[:, :1], VALUE[:, :1]), VALUE[:, :1].expand(3, 5, 13))


def test_gaussian_score_is_kernel_regression():
    kernel = torch.exp(-torch.cdist(QUERY, KEY).square() / 2)
    expected = kernel @ VALUE / kernel.sum(-1, keepdim=True)
    assert_same(attend(QUERY, KEY, VALUE, score=gaussian_score), expected)


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="query has 11 entries and key 13"):
        dot_score(QUERY, VALUE)
    with pytest.raises(ValueError, match="6 keys and 7 values"):
        attend(QUERY, KEY[:, :6], VALUE)
    with pytest.raises(ValueError, match=r"mask\.bool"):
        masked_softmax(QUERY, torch.ones(3, 5, 11))
