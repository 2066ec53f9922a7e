import pytest
import torch

from course_lib.cross.context import ContextTransformer, CosineHead, IncrementalHead
from tests.properties import assert_same, features, randomise


def small():
    """A randomised block whose softmax does not saturate."""
    block = randomise(ContextTransformer(13))
    for layer in (block.theta, block.phi):
        layer.weight.data /= 20
    return block


def test_equals_the_loop():
    block, priors, context = small(), features(3, 7, 13) / 3, features(3, 5, 13, seed=2) / 3
    expected = priors.clone()
    for b in range(3):
        for i in range(7):
            query = block.theta.weight @ priors[b, i] + block.theta.bias + priors[b, i]
            odds, values = [], []
            for cell in context[b]:
                odds.append((query @ (block.phi.weight @ cell + block.phi.bias + cell)).exp())
                values.append(block.g.weight @ cell + block.g.bias + cell)
            read = sum(o / sum(odds) * value for o, value in zip(odds, values, strict=True))
            expected[b, i] += read * block.gain
    assert_same(block(priors, context), expected)


def test_forward_applies_attention():
    block, priors, context = small(), features(3, 7, 13), features(3, 5, 13, seed=2)
    read = block.attention(priors, context) @ (block.g(context) + context)
    assert_same(block(priors, context), priors + read * block.gain)


def test_starts_as_the_identity():
    priors = features(3, 7, 13)
    assert_same(ContextTransformer(13).double()(priors, features(3, 5, 13)), priors)


def test_order_of_the_context_is_unseen_and_that_of_the_priors_kept():
    block, priors, context = small(), features(3, 7, 13), features(3, 5, 13, seed=2)
    assert_same(block(priors, context[:, [3, 0, 4, 1, 2]]), block(priors, context))
    order = [6, 2, 0, 5, 1, 3, 4]
    assert_same(block(priors[:, order], context), block(priors, context)[:, order])


def test_a_cell_unlike_every_query_has_no_say():
    block = ContextTransformer(13).double()
    torch.nn.init.ones_(block.gain)
    for layer in (block.theta, block.phi):
        torch.nn.init.zeros_(layer.weight)
    priors, context = features(3, 7, 13).abs() + 1, features(3, 5, 13, seed=2)
    far = torch.cat([context, torch.full((3, 1, 13), -1e9, dtype=torch.float64)], dim=1)
    assert_same(block.attention(priors, far)[:, :, :5], block.attention(priors, context))
    assert_same(block(priors, far), block(priors, context))


def test_published_parameter_counts():
    def count(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    assert count(ContextTransformer(60), CosineHead(60, 20)) == 12_240
    assert count(ContextTransformer(15), IncrementalHead(15, 5)) == 1_050


def test_refuses_what_would_be_broadcast():
    block, priors = ContextTransformer(13).double(), features(3, 7, 13)
    with pytest.raises(ValueError, match="priors of 3 images, context of 1"):
        block(priors, features(1, 5, 13))
    with pytest.raises(ValueError, match="length 13"):
        block(priors, features(3, 5, 12))


def test_head_equals_the_loop():
    head, x = randomise(CosineHead(13, 4, scale=3)), features(3, 7, 13)
    for b in range(3):
        for i in range(7):
            for t, row in enumerate(head.weight):
                cosine = (x[b, i] * row).sum() / (x[b, i].square().sum() * row.square().sum()).sqrt()
                assert_same(head(x)[b, i, t], 3 * cosine)


def test_head_ignores_lengths():
    head, x = randomise(CosineHead(13, 4)), features(7, 13)
    before = head(x)
    assert_same(head(5 * x), before)
    head.weight.data *= 5
    assert_same(head(x), before)
    assert before.abs().max() <= 5


def test_imprinted_rows_are_mean_directions():
    head, labels = CosineHead(13, 2).double(), torch.tensor([0, 1, 0])
    x = features(3, 13)
    head.imprint(x, labels)
    directions = x / x.norm(dim=1, keepdim=True)
    expected = torch.stack([(directions[0] + directions[2]) / 2, directions[1]])
    assert_same(head.weight.data, expected / expected.norm(dim=1, keepdim=True))
    with pytest.raises(ValueError, match=r"classes \[1\]"):
        head.imprint(x, torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="classes=13"):
        head(features(3, 12))


def test_incremental_head_equals_the_loop():
    head, priors, refined = randomise(IncrementalHead(5, 3, scale=2)), features(2, 7, 5), features(2, 7, 5, seed=2)
    logits = head(priors, refined)
    for b, n in ((b, n) for b in range(2) for n in range(7)):
        p, r = priors[b, n], refined[b, n]
        assert_same(logits[b, n, :5], p + head.base.weight @ p + head.base.bias)
        rows = head.novel.weight
        assert_same(logits[b, n, 5:], torch.stack([2 * (r @ w) / (r.norm() * w.norm()) for w in rows]))


def test_old_classes_start_with_the_scores_that_they_had():
    priors = features(2, 7, 5)
    assert torch.equal(IncrementalHead(5, 3).double()(priors, 2 * priors)[..., :5], priors)
    with pytest.raises(ValueError, match="for the same"):
        IncrementalHead(5, 3).double()(priors, priors[:1])
