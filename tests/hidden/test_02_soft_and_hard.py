"""Grades exercise 02 on sizes and values that the student has not seen, and names the mistakes people make."""

import itertools

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same, number

SINGLE = torch.float32  # where a loop that collects in torch.zeros(…) is a right answer


# --- task 1: how far a hard read strays ---


@task("task_02_1", without=("course_lib",), hint="Go through the places of each image: how far from r, how often?")
def test_spread_equals_the_loop(student, draw):
    b, n, d = draw.primes(3)
    scores, v, t = draw.normal(b, n, dtype=SINGLE), draw.normal(b, n, d, dtype=SINGLE), draw.number(0.3, 0.8)
    expected = torch.zeros(b)
    for i in range(b):
        alpha = (scores[i] / t).softmax(0)
        read = sum(alpha[j] * v[i, j] for j in range(n))
        for j in range(n):
            expected[i] += alpha[j] * ((v[i, j] - read) ** 2).sum()
    assert_close(student.spread(scores, v, t), expected, rtol=1e-4, atol=1e-4)


@task("task_02_1", hint="Without a temperature τ is 1; with a huge one all places are equally likely.")
def test_spread_at_other_temperatures(student, draw):
    b, n, d = draw.primes(3)
    scores, v = draw.normal(b, n, dtype=SINGLE), draw.normal(b, n, d, dtype=SINGLE)
    assert_close(student.spread(scores, v), student.spread(scores * 3, v, 3.0), rtol=1e-4, atol=1e-4)
    assert_close(student.spread(scores, v, 1e12), v.var(1, correction=0).sum(1), rtol=1e-4, atol=1e-4)


@task("task_02_1", hint="Move all values of an image by the same step: the draws stray as before.")
def test_spread_is_not_moved_by_a_shift(student, draw):
    b, n, d = draw.primes(3)
    scores, v, step = draw.normal(b, n), draw.normal(b, n, d), draw.normal(b, 1, d)
    assert_close(student.spread(scores, v + step), student.spread(scores, v), rtol=1e-4, atol=1e-4)


def _spread(alpha, values, middle=None):
    """The mean squared distance to a middle, which is the soft read if none is given."""
    middle = (alpha[:, :, None] * values).sum(1) if middle is None else middle
    return (alpha * (values - middle[:, None]).square().sum(2)).sum(1)


@wrong("task_02_1")
def spread__over_the_batch(scores, values, temperature=1.0):
    """The weights sum to 1 over the images of the batch; they must sum to 1 over the places of each image."""
    return _spread((scores / temperature).softmax(0), values)


@wrong("task_02_1")
def spread__times_the_temperature(scores, values, temperature=1.0):
    """The scores are multiplied by τ; dividing makes a small τ pick one place."""
    return _spread((scores * temperature).softmax(1), values)


@wrong("task_02_1")
def spread__temperature_ignored(scores, values, temperature=1.0):
    """τ is never used: the weights are those of τ = 1."""
    return _spread(scores.softmax(1), values)


@wrong("task_02_1")
def spread__temperature_after_the_softmax(scores, values, temperature=1.0):
    """τ divides the weights, which then no longer sum to 1; it belongs to the scores, before the softmax."""
    return _spread(scores.softmax(1) / temperature, values)


@wrong("task_02_1")
def spread__all_places_alike(scores, values, temperature=1.0):
    """The distances are averaged as if every place were drawn equally often."""
    read = ((scores / temperature).softmax(1)[:, :, None] * values).sum(1)
    return (values - read[:, None]).square().sum(2).mean(1)


@wrong("task_02_1")
def spread__around_the_plain_mean(scores, values, temperature=1.0):
    """The distances are measured from the plain mean of the values, not from the soft read."""
    return _spread((scores / temperature).softmax(1), values, values.mean(1))


@wrong("task_02_1")
def spread__from_zero(scores, values, temperature=1.0):
    """The soft read is never subtracted: this is the mean squared length of the values."""
    return _spread((scores / temperature).softmax(1), values, torch.zeros_like(values[:, 0]))


@wrong("task_02_1")
def spread__mean_over_d(scores, values, temperature=1.0):
    """The squares are averaged over d; the squared length of a difference is their sum."""
    return _spread((scores / temperature).softmax(1), values) / values.shape[2]


@wrong("task_02_1")
def spread__one_number_a_column(scores, values, temperature=1.0):
    """One number for each of the d columns; the squared length of a difference sums over them."""
    alpha = (scores / temperature).softmax(1)[:, :, None]
    return (alpha * (values - (alpha * values).sum(1, keepdim=True)).square()).sum(1)


@wrong("task_02_1")
def spread__not_squared(scores, values, temperature=1.0):
    """The distances are not squared."""
    alpha = (scores / temperature).softmax(1)
    read = (alpha[:, :, None] * values).sum(1, keepdim=True)
    return (alpha * (values - read).norm(dim=2)).sum(1)


@wrong("task_02_1")
def spread__of_the_likeliest(scores, values, temperature=1.0):
    """Only the likeliest place is measured; every place is drawn now and then."""
    read = ((scores / temperature).softmax(1)[:, :, None] * values).sum(1)
    return (values[torch.arange(len(scores)), scores.argmax(1)] - read).square().sum(1)


# --- task 2: repair the loss of several looks ---


@task(
    "task_02_2",
    without=("course_lib",),
    hint="Averaged over all ways to look, the gradient is that of the expected sum of the losses, for any baseline.",
)
def test_surrogate_averages_to_the_exact_gradient(student, draw):
    (n,) = draw.primes(1, high=6)
    first, second = draw.normal(n).requires_grad_(), draw.normal(n, n).requires_grad_()  # scores; row: the first look
    losses, baseline = [draw.normal(n), draw.normal(n, n)], 3 * draw.normal(2)
    chance = first.softmax(0)[:, None] * second.softmax(1)
    exact = torch.autograd.grad((chance * (losses[0][:, None] + losses[1])).sum(), (first, second))
    average = [torch.zeros_like(first), torch.zeros_like(second)]
    for i, j in itertools.product(range(n), range(n)):
        log_prob = torch.stack([first.log_softmax(0)[i], second.log_softmax(1)[i, j]])[None]
        loss = student.surrogate(log_prob, torch.stack([losses[0][i], losses[1][i, j]])[None], baseline)
        for k, gradient in enumerate(torch.autograd.grad(loss, (first, second))):
            average[k] += chance[i, j].detach() * gradient
    assert_same(average[0], exact[0])
    assert_same(average[1], exact[1])


@task("task_02_2", hint="Each look is pushed by the losses from its own word on, and the baseline; the images share.")
def test_each_look_is_pushed_by_what_follows(student, draw):
    b, t = draw.primes(2)
    log_prob, losses, baseline = -draw.uniform(b, t), draw.normal(b, t), draw.normal(t)
    log_prob.requires_grad_()
    (gradient,) = torch.autograd.grad(student.surrogate(log_prob, losses, baseline), log_prob)
    expected = [[(sum(losses[i, k:]) + baseline[k]) / b for k in range(t)] for i in range(b)]
    assert_same(gradient, torch.stack([torch.stack(row) for row in expected]))


@task("task_02_2", hint="Neither the losses nor the baseline get a gradient from this loss.")
def test_losses_and_baseline_are_not_trained(student, draw):
    b, t = draw.primes(2)
    leaves = [tensor.requires_grad_() for tensor in (-draw.uniform(b, t), draw.normal(b, t), draw.normal(t))]
    loss = student.surrogate(*leaves)
    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True)[1:]:
        assert gradient is None or (gradient == 0).all()


def _to_come(losses):
    """The sum of the losses from each word to the end."""
    return losses.flip(1).cumsum(1).flip(1)


@wrong("task_02_2")
def surrogate__wrong_sign(log_prob, losses, baseline):
    """The sign is turned round: an optimiser that goes down makes rewarded draws less likely."""
    return -(log_prob * (_to_come(losses) + baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__paid_for_the_words_before(log_prob, losses, baseline):
    """Each look is paid for the words up to its own; it can only help its own and the later ones."""
    return (log_prob * (losses.cumsum(1) + baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__paid_for_all_words(log_prob, losses, baseline):
    """Each look is paid for all words: right on average, but the earlier words only add noise."""
    return (log_prob * (losses.sum(1, keepdim=True) + baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__paid_for_its_own_word(log_prob, losses, baseline):
    """Each look is paid for its own word only; what it saw helps the later words, too."""
    return (log_prob * (losses + baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__paid_for_the_later_words_only(log_prob, losses, baseline):
    """Each look is paid for the later words, and not for its own."""
    return (log_prob * (_to_come(losses) - losses + baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__trains_the_losses_and_the_baseline(log_prob, losses, baseline):
    """Losses and baseline are not detached: this loss pulls at whatever computed them."""
    return (log_prob * (_to_come(losses) + baseline)).sum(1).mean()


@wrong("task_02_2")
def surrogate__trains_the_baseline(log_prob, losses, baseline):
    """Only the losses are detached; the baseline is still trained, to make likely draws look bad."""
    return (log_prob * (_to_come(losses).detach() + baseline)).sum(1).mean()


@wrong("task_02_2")
def surrogate__log_prob_detached(log_prob, losses, baseline):
    """The log-probability is detached, and the path to the scores is cut; detach the factor beside it."""
    return (log_prob.detach() * (_to_come(losses) + baseline)).sum(1).mean()


@wrong("task_02_2")
def surrogate__probability(log_prob, losses, baseline):
    """The probability is taken instead of its logarithm: likely draws count twice, in being drawn and here."""
    return (log_prob.exp() * (_to_come(losses) + baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__baseline_added(log_prob, losses, baseline):
    """The baseline is added to the reward; subtract it, so that a reward as large as it pushes nothing."""
    return (log_prob * (_to_come(losses) - baseline).detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__baseline_outside(log_prob, losses, baseline):
    """The baseline is subtracted outside the product, where it changes no gradient, and so no variance."""
    return (log_prob * _to_come(losses).detach() - baseline.detach()).sum(1).mean()


@wrong("task_02_2")
def surrogate__mean_over_the_looks(log_prob, losses, baseline):
    """The looks are averaged; the losses of an image add up over its words, and so must the looks."""
    return (log_prob * (_to_come(losses) + baseline).detach()).mean()


@wrong("task_02_2")
def surrogate__summed(log_prob, losses, baseline):
    """The images are summed; with their mean the step does not depend on how many there are."""
    return (log_prob * (_to_come(losses) + baseline).detach()).sum()


# --- task 3: straight-through, with several picks ---


@task(
    "task_02_3",
    without=("gumbel_softmax", "course_lib"),
    hint="Forward 1/k in k places of each row, where scores + noise are largest.",
)
def test_forward_shares_out_to_the_largest(student, draw):
    b, n, m = draw.primes(3)
    for shape, k in itertools.product(((n,), (b, n), (m, b, n)), (1, 2, 3)):
        k = min(k, n)
        e, noise = draw.normal(*shape), draw.normal(*shape)
        places = (e + noise).argsort(-1, descending=True)[..., :k]
        expected = F.one_hot(places, n).sum(-2).double() / k
        assert_same(student.pick_several(e, noise, draw.number(0.3, 0.8), k), expected)


@task("task_02_3", hint="Backward the Jacobian of the softmax of (scores + noise) / τ.")
def test_backward_is_that_of_the_softmax(student, draw):
    b, n = draw.primes(2)
    e, noise, up, t = draw.normal(b, n).requires_grad_(), draw.normal(b, n), draw.normal(b, n), draw.number(0.3, 0.8)
    (gradient,) = torch.autograd.grad(student.pick_several(e, noise, t, 2), e, up)
    y = ((e + noise) / t).softmax(-1).detach()
    assert_same(gradient, y * (up - (y * up).sum(-1, keepdim=True)) / t)


def _pick_several(scores, noise, temperature, picks):
    """The soft weights and the picked ones, which the wrong answers put together wrongly."""
    y = ((scores + noise) / temperature).softmax(-1)
    return y, torch.zeros_like(y).scatter(-1, (scores + noise).topk(picks, -1).indices, 1 / picks)


@wrong("task_02_3")
def pick_several__soft_forward(scores, noise, temperature, picks):
    """This is the Gumbel-softmax itself: forward, it blends; straight-through must pick."""
    return _pick_several(scores, noise, temperature, picks)[0]


@wrong("task_02_3")
def pick_several__no_gradient(scores, noise, temperature, picks):
    """The picks are right, but no gradient passes: topk's places have none."""
    return _pick_several(scores, noise, temperature, picks)[1]


@wrong("task_02_3")
def pick_several__forgets_to_subtract(scores, noise, temperature, picks):
    """Picks and soft weights are added; subtract the detached soft weights, so that only their gradient stays."""
    y, picked = _pick_several(scores, noise, temperature, picks)
    return picked + y


@wrong("task_02_3")
def pick_several__gradient_turned_round(scores, noise, temperature, picks):
    """The wrong one of the two is detached, so the gradient has the opposite sign."""
    y, picked = _pick_several(scores, noise, temperature, picks)
    return picked + y.detach() - y


@wrong("task_02_3")
def pick_several__without_noise(scores, noise, temperature, picks):
    """The noise is never added: the same places are picked every time, and no others are ever tried."""
    y, picked = _pick_several(scores, torch.zeros_like(noise), temperature, picks)
    return picked + (y - y.detach())


@wrong("task_02_3")
def pick_several__noise_in_the_forward_pass_only(scores, noise, temperature, picks):
    """The noise picks the places, but the gradient is that of the softmax without it."""
    y, picked = (scores / temperature).softmax(-1), _pick_several(scores, noise, temperature, picks)[1]
    return picked + (y - y.detach())


@wrong("task_02_3")
def pick_several__temperature_ignored(scores, noise, temperature, picks):
    """τ is never used: picking does not need it, the gradient does."""
    y, picked = _pick_several(scores, noise, 1.0, picks)
    return picked + (y - y.detach())


@wrong("task_02_3")
def pick_several__over_the_first_axis(scores, noise, temperature, picks):
    """The places are picked in each column; they must be picked in each row, over the last axis."""
    y = ((scores + noise) / temperature).softmax(0)
    k = min(picks, len(y))
    return torch.zeros_like(y).scatter(0, y.topk(k, 0).indices, 1 / picks) + (y - y.detach())


@wrong("task_02_3")
def pick_several__ones(scores, noise, temperature, picks):
    """Each pick has the weight 1, so k values are added up; their mean is wanted."""
    y, picked = _pick_several(scores, noise, temperature, picks)
    return picks * picked + (y - y.detach())


@wrong("task_02_3")
def pick_several__only_the_largest(scores, noise, temperature, picks):
    """Only one place is picked, whatever k is."""
    y, picked = _pick_several(scores, noise, temperature, 1)
    return picked + (y - y.detach())


@wrong("task_02_3")
def pick_several__by_their_weights(scores, noise, temperature, picks):
    """The picked places keep their soft weights, renormalised; each of them counts 1/k."""
    y, picked = _pick_several(scores, noise, temperature, picks)
    kept = y * (picked > 0)
    return (kept / kept.sum(-1, keepdim=True)).detach() + (y - y.detach())


# --- task 4: the smallest penalty, soft and hard ---


@task(
    "task_02_4",
    without=("course_lib",),
    hint="The weights of t words sum to t in all. How equally can soft ones be shared out?",
)
def test_the_soft_minimum_is_reached_and_never_undercut(student, draw):
    for _ in range(3):
        t, n = draw.primes(2)
        soft = number(student.smallest_penalties(t, n)[0])
        reached = torch.full((t, n), 1 / n, dtype=torch.float64).sum(0)
        assert abs(soft - (1 - reached).square().sum().item()) < 1e-4
        others = draw.normal(50, t, n).softmax(-1).sum(1)
        assert soft <= (1 - others).square().sum(-1).min().item()


@task("task_02_4", hint="Give the looks out one by one, each to the place where the penalty grows least.")
def test_the_hard_minimum_equals_the_greedy_one(student, draw):
    few, half, fifths = draw.primes(2), (draw.primes(1)[0], 2), (3 * draw.primes(1)[0] + 1, 5)
    for t, n in (few, half, fifths, (2, draw.primes(1)[0]), (7 * draw.primes(1)[0] + 3, 7)):
        looks = [0] * n
        for _ in range(t):
            looks[looks.index(min(looks))] += 1
        assert_number(student.smallest_penalties(t, n)[1], float(sum((1 - s) ** 2 for s in looks)))


def _soft(words, places):
    return places * (1 - words / places) ** 2


def _hard(words, places):
    each, more = divmod(words, places)
    return more * each**2 + (places - more) * (1 - each) ** 2


@wrong("task_02_4")
def smallest_penalties__soft_is_zero(words, places):
    """Soft, it is zero only with as many words as places: the weights sum to t in all, and 1 a place would need n."""
    return 0.0, _hard(words, places)


@wrong("task_02_4")
def smallest_penalties__soft_of_one_place(words, places):
    """Soft, this is the share of one place; the penalty sums over all n."""
    return (1 - words / places) ** 2, _hard(words, places)


@wrong("task_02_4")
def smallest_penalties__soft_total_squared(words, places):
    """Soft, the missing total n − t is squared as a whole; each of the n places has a share, and that is squared."""
    return float((places - words) ** 2), _hard(words, places)


@wrong("task_02_4")
def smallest_penalties__soft_as_if_hard(words, places):
    """Soft weights can do better than one-hot ones: each place can get the same share."""
    return float(_hard(words, places)), float(_hard(words, places))


@wrong("task_02_4")
def smallest_penalties__hard_as_if_soft(words, places):
    """Hard looks are whole: a place gets 0, 1 or 2 of them, never t/n."""
    return _soft(words, places), _soft(words, places)


@wrong("task_02_4")
def smallest_penalties__hard_for_few_words(words, places):
    """Hard, this holds for fewer words than places; with more, some places must be looked at again."""
    return _soft(words, places), float(max(places - words, 0))


@wrong("task_02_4")
def smallest_penalties__hard_difference(words, places):
    """Hard, |n − t| counts each further look at a place as 1; the second costs 1 more, the third 3 more."""
    return _soft(words, places), float(abs(places - words))


@wrong("task_02_4")
def smallest_penalties__hard_at_one_place(words, places):
    """Hard, all words look at the same place here; that is the largest penalty, not the smallest."""
    return _soft(words, places), float((1 - words) ** 2 + places - 1)


@wrong("task_02_4")
def smallest_penalties__hard_without_the_remainder(words, places):
    """Hard, the looks that are left over after sharing out equally are forgotten."""
    return _soft(words, places), float(places * (1 - words // places) ** 2)


@wrong("task_02_4")
def smallest_penalties__swapped(words, places):
    """The two numbers stand in the wrong order: soft first."""
    return float(_hard(words, places)), _soft(words, places)


# --- task 5: the best baseline ---


@task(
    "task_02_5",
    without=("course_lib",),
    hint="The variance is a parabola in b; three of its values, by going through all places, give its lowest point.",
)
def test_best_baseline(student, draw):
    (n,) = draw.primes(1)
    single = draw.normal(n, dtype=SINGLE), draw.normal(n, dtype=SINGLE) + 2
    e, rewards = (tensor.double() for tensor in single)
    directions = torch.autograd.functional.jacobian(lambda e: e.log_softmax(0), e)  # draw n

    def variance(b):
        rows = (rewards - b)[:, None] * directions
        mean = e.softmax(0) @ rows
        return (e.softmax(0)[:, None] * (rows - mean).square()).sum().item()

    left, middle, right = variance(1.0), variance(2.0), variance(3.0)
    lowest = 2 + (left - right) / (2 * (left + right - 2 * middle))
    assert abs(number(student.best_baseline(*single)) - lowest) < 1e-4


@task(
    "task_02_5",
    hint="Add a number to all rewards and the baseline grows by it; equal rewards are their own baseline.",
)
def test_best_baseline_is_a_weighted_mean(student, draw):
    (n,) = draw.primes(1)
    e, rewards, more = draw.normal(n, dtype=SINGLE), draw.normal(n, dtype=SINGLE), draw.number(1, 5)
    b = number(student.best_baseline(e, rewards))
    assert abs(number(student.best_baseline(e, rewards + more)) - b - more) < 1e-4
    assert abs(number(student.best_baseline(e, torch.full_like(rewards, more))) - more) < 1e-4
    assert abs(number(student.best_baseline(e + more, rewards)) - b) < 1e-4


@wrong("task_02_5")
def best_baseline__mean_reward(scores, rewards):
    """This is the mean reward under the weights: often near the best, but directions differ in length."""
    return scores.softmax(0) @ rewards


@wrong("task_02_5")
def best_baseline__of_the_loss(scores, rewards):
    """The sign is turned round: this number is to be taken off the loss; here it is taken off the reward."""
    alpha = scores.softmax(0)
    shares = alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(1)
    return -(shares * rewards).sum() / shares.sum()


@wrong("task_02_5")
def best_baseline__plain_mean(scores, rewards):
    """This is the plain mean of the rewards; likely places are drawn more often and must count more."""
    return rewards.mean()


@wrong("task_02_5")
def best_baseline__without_the_weights(scores, rewards):
    """The lengths are there, but not how often each place is drawn."""
    lengths = (torch.eye(len(scores), dtype=scores.dtype) - scores.softmax(0)).square().sum(1)
    return (lengths * rewards).sum() / lengths.sum()


@wrong("task_02_5")
def best_baseline__length_not_squared(scores, rewards):
    """The length of each direction enters squared."""
    alpha = scores.softmax(0)
    shares = alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).norm(dim=1)
    return (shares * rewards).sum() / shares.sum()


@wrong("task_02_5")
def best_baseline__not_divided(scores, rewards):
    """The numerator alone; divide by the mean squared length, so that equal rewards are their own baseline."""
    alpha = scores.softmax(0)
    return (alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(1) * rewards).sum()


@wrong("task_02_5")
def best_baseline__one_entry_of_the_direction(scores, rewards):
    """The direction of place n is one-hot minus α, with n entries; here only its own entry, 1 − α, is counted."""
    alpha = scores.softmax(0)
    shares = alpha * (1 - alpha) ** 2
    return (shares * rewards).sum() / shares.sum()


@wrong("task_02_5")
def best_baseline__lengths_along_the_wrong_axis(scores, rewards):
    """The squares are summed over the draws, for each entry; the length of a direction sums over its entries."""
    alpha = scores.softmax(0)
    shares = alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(0)
    return (shares * rewards).sum() / shares.sum()
