import pytest
import torch
import torch.nn.functional as F

from course_lib.basics.soft_and_hard import (
    gumbel_read,
    hard_read,
    reinforce_surrogate,
    soft_read,
    straight_through_read,
)
from tests.properties import assert_same, features

SCORES, VALUES = features(3, 5), features(3, 5, 7, seed=2)
MANY = 20_000


def generator():
    return torch.Generator().manual_seed(0)


def many(tensor):
    return tensor.expand(MANY, *tensor.shape)


def test_soft_read_equals_the_loop():
    expected = torch.zeros(3, 7, dtype=torch.float64)
    for b in range(3):
        total = sum(torch.exp(SCORES[b, m] / 0.7) for m in range(5))
        for n in range(5):
            expected[b] += torch.exp(SCORES[b, n] / 0.7) / total * VALUES[b, n]
    assert_same(soft_read(SCORES, VALUES, temperature=0.7), expected)


def test_gradient_of_the_soft_read():
    scores = SCORES[0].clone().requires_grad_()
    jacobian = torch.autograd.functional.jacobian(lambda e: soft_read(e, VALUES[0], temperature=0.7), scores)  # d n
    alpha = (scores / 0.7).softmax(0)
    assert_same(jacobian, (alpha[:, None] * (VALUES[0] - soft_read(scores, VALUES[0], temperature=0.7))).T / 0.7)


def test_soft_read_does_not_depend_on_the_order_of_slots():
    order = torch.tensor([3, 0, 4, 1, 2])
    assert_same(soft_read(SCORES[:, order], VALUES[:, order]), soft_read(SCORES, VALUES))


def test_temperature_goes_from_the_best_slot_to_the_average():
    best = hard_read(SCORES, VALUES, sample=False).value
    assert_same(soft_read(SCORES, VALUES, temperature=1e-4), best)
    torch.testing.assert_close(soft_read(SCORES, VALUES, temperature=1e6), VALUES.mean(1), atol=1e-5, rtol=0)


def test_hard_read_returns_one_row_and_its_log_probability():
    read = hard_read(SCORES, VALUES, generator=generator())
    for b in range(3):
        assert torch.equal(read.value[b], VALUES[b, read.index[b]])
        assert_same(read.log_prob[b], SCORES[b].softmax(0)[read.index[b]].log())
    assert torch.equal(hard_read(SCORES, VALUES, sample=False).index, SCORES.argmax(1))


def test_hard_reads_are_the_soft_read_on_average():
    read = hard_read(many(SCORES), many(VALUES), generator=generator())
    error = read.value.std(0) / MANY**0.5
    assert ((read.value.mean(0) - soft_read(SCORES, VALUES)).abs() < 4 * error).all()
    counted = F.one_hot(read.index, 5).double().mean(0)
    torch.testing.assert_close(counted, SCORES.softmax(-1), atol=0.015, rtol=0)


def test_only_the_log_probability_leads_back_to_the_scores():
    scores, values = SCORES.clone().requires_grad_(), VALUES.clone().requires_grad_()
    read = hard_read(scores, values, generator=generator())
    (by_scores, by_values) = torch.autograd.grad(read.value.sum(), (scores, values), allow_unused=True)
    assert by_scores is None and by_values.sum() == 3 * 7
    read.log_prob.sum().backward()
    assert_same(scores.grad, F.one_hot(read.index, 5) - SCORES.softmax(-1))


def test_gumbel_reads_equal_torchs_own():
    for read, hard in ((gumbel_read, False), (straight_through_read, True)):
        torch.manual_seed(0)
        weights = F.gumbel_softmax(SCORES, tau=0.5, hard=hard)
        torch.manual_seed(0)
        assert_same(read(SCORES, VALUES, temperature=0.5), torch.einsum("bn,bnd->bd", weights, VALUES))


def test_gumbel_read_at_low_temperature_picks_as_often_as_the_softmax_says():
    slots = many(torch.eye(5, dtype=torch.float64).expand(3, 5, 5))
    picks = gumbel_read(many(SCORES), slots, temperature=1e-3, generator=generator())
    torch.testing.assert_close(picks.mean(0), SCORES.softmax(-1), atol=0.015, rtol=0)


def test_straight_through_reads_one_row_and_has_the_gradient_of_the_gumbel_read():
    scores = SCORES.clone().requires_grad_()
    hard = straight_through_read(scores, VALUES, temperature=0.5, generator=generator())
    soft = gumbel_read(scores, VALUES, temperature=0.5, generator=generator())
    assert all((hard[b] == VALUES[b]).all(1).any() for b in range(3))
    upstream = features(3, 7, seed=3)
    assert_same(*(torch.autograd.grad(read, scores, upstream)[0] for read in (hard, soft)))
    assert (hard - soft).abs().max() > 0.1


@pytest.mark.parametrize("baseline", [0.0, 2.5, -40.0])
def test_surrogate_averaged_over_all_draws_is_the_exact_gradient(baseline):
    scores, reward = SCORES[0].clone().requires_grad_(), features(5, seed=4)
    expected_reward = scores.softmax(0) @ reward
    (exact,) = torch.autograd.grad(expected_reward, scores)
    average = torch.zeros(5, dtype=torch.float64)
    for n in range(5):  # every place, as often as it is drawn
        loss = reinforce_surrogate(scores.log_softmax(0)[n : n + 1], reward[n : n + 1], baseline)
        average += scores.softmax(0)[n].detach() * torch.autograd.grad(loss, scores)[0]
    assert_same(average, -exact)


def test_surrogate_trains_neither_reward_nor_baseline():
    log_prob, reward, baseline = (features(3, seed=i).requires_grad_() for i in range(3))
    reinforce_surrogate(log_prob, reward, baseline).backward()
    assert log_prob.grad is not None and reward.grad is None and baseline.grad is None


def test_surrogate_makes_rewarded_draws_likelier():
    log_prob = features(3).requires_grad_()
    reinforce_surrogate(log_prob, torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64)).backward()
    assert log_prob.grad.sign().tolist() == [-1, 0, 1]


def test_one_slot_is_read_whatever_its_score():
    for read in (soft_read, gumbel_read, straight_through_read, lambda e, v: hard_read(e, v).value):
        assert_same(read(SCORES[:, :1], VALUES[:, :1]), VALUES[:, 0])


def test_an_empty_batch_reads_nothing():
    for read in (soft_read, gumbel_read, straight_through_read, lambda e, v: hard_read(e, v).value):
        assert read(SCORES[:0], VALUES[:0]).shape == (0, 7)


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"\(3, 5\) .* \(3, 4, 7\)"):
        soft_read(SCORES, VALUES[:, :4])
    with pytest.raises(ValueError, match="temperature=0 must be above 0"):
        gumbel_read(SCORES, VALUES, temperature=0)
    with pytest.raises(ValueError, match="one reward a draw"):
        reinforce_surrogate(torch.zeros(3), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="1 or more"):
        hard_read(SCORES[:, :0], VALUES[:, :0])
