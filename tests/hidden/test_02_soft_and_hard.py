"""Grades exercise 02 on sizes and values that the student has not seen, and names the mistakes people make."""

import torch
from torch.nn import functional as F
from torch.testing import assert_close

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

SINGLE = torch.float32  # where a loop that collects in torch.zeros(…) is a right answer


# --- task 1: the soft context ---


@task("task_02_1", without=("course_lib",), hint="Compare with a loop: each image shares 1 over its places.")
def test_context_equals_the_loop(student, draw):
    b, n, d = draw.primes(3)
    scores, a, t = draw.normal(b, n, dtype=SINGLE), draw.normal(b, n, d, dtype=SINGLE), draw.number(0.3, 0.8)
    expected = torch.zeros(b, d)
    for i in range(b):
        shares = (scores[i] / t).exp()
        for j in range(n):
            expected[i] += shares[j] / shares.sum() * a[i, j]
    assert_close(student.soft_context(scores, a, t), expected)


@task("task_02_1", hint="Without a temperature τ is 1; with a huge one the result is the plain mean.")
def test_context_at_other_temperatures(student, draw):
    b, n, d = draw.primes(3)
    scores, a = draw.normal(b, n, dtype=SINGLE), draw.normal(b, n, d, dtype=SINGLE)
    assert_close(student.soft_context(scores, a), student.soft_context(scores * 3, a, 3.0))
    assert_close(student.soft_context(scores, a, 1e12), a.mean(dim=1))


@task("task_02_1", hint="The gradient with respect to the scores is α (a·g − z·g) / τ.")
def test_the_gradient_of_the_context(student, draw):
    b, n, d = draw.primes(3)
    scores, a, g, t = (
        draw.normal(b, n, dtype=SINGLE).requires_grad_(),
        draw.normal(b, n, d, dtype=SINGLE),
        draw.normal(b, d, dtype=SINGLE),
        draw.number(0.3, 0.8),
    )
    (gradient,) = torch.autograd.grad(student.soft_context(scores, a, t), scores, g)
    alpha, gains = (scores.detach() / t).softmax(1), (a * g[:, None]).sum(-1)  # b n
    assert_close(gradient, alpha * (gains - (alpha * gains).sum(1, keepdim=True)) / t, rtol=1e-4, atol=1e-4)


@wrong("task_02_1")
def soft_context__over_the_batch(scores, annotations, temperature=1.0):
    """The weights sum to 1 over the images of the batch; they must sum to 1 over the places of each image."""
    return ((scores / temperature).softmax(0)[:, :, None] * annotations).sum(1)


@wrong("task_02_1")
def soft_context__times_the_temperature(scores, annotations, temperature=1.0):
    """The scores are multiplied by τ; dividing makes a small τ pick one place."""
    return ((scores * temperature).softmax(1)[:, :, None] * annotations).sum(1)


@wrong("task_02_1")
def soft_context__mean_instead_of_sum(scores, annotations, temperature=1.0):
    """The weights sum to 1 already; the mean divides by n once more."""
    return ((scores / temperature).softmax(1)[:, :, None] * annotations).mean(1)


@wrong("task_02_1")
def soft_context__temperature_ignored(scores, annotations, temperature=1.0):
    """τ is never used: the weights are those of τ = 1."""
    return (scores.softmax(1)[:, :, None] * annotations).sum(1)


@wrong("task_02_1")
def soft_context__temperature_after_the_softmax(scores, annotations, temperature=1.0):
    """τ divides the weights, which then no longer sum to 1; it belongs to the scores, before the softmax."""
    return (scores.softmax(1)[:, :, None] / temperature * annotations).sum(1)


@wrong("task_02_1")
def soft_context__scores_as_weights(scores, annotations, temperature=1.0):
    """The scores themselves are used as weights; the softmax that turns them into shares is missing."""
    return (scores[:, :, None] / temperature * annotations).sum(1)


@wrong("task_02_1")
def soft_context__hard(scores, annotations, temperature=1.0):
    """This picks the likeliest place; soft reading takes the mean of all under the weights."""
    return annotations[torch.arange(len(scores)), scores.argmax(1)]


# --- task 2: repair a REINFORCE loss ---


@task(
    "task_02_2",
    without=("course_lib",),
    hint="Averaged over all pairs of draws, the gradient is that of minus the expected reward, for any baseline.",
)
def test_surrogate_averages_to_the_exact_gradient(student, draw):
    (n,) = draw.primes(1, high=7)
    e, reward, b = draw.normal(n).requires_grad_(), draw.normal(n), 3 * draw.normal(2)
    (exact,) = torch.autograd.grad(-(e.softmax(0) @ reward), e)
    alpha, average = e.softmax(0).detach(), torch.zeros_like(reward)
    for pair in torch.cartesian_prod(torch.arange(n), torch.arange(n)):
        loss = student.surrogate(e.log_softmax(0)[pair], reward[pair], b)
        average += alpha[pair].prod() * torch.autograd.grad(loss, e)[0]
    assert_same(average, exact)


@task("task_02_2", hint="The gradient of each log-probability is −(R − b), divided by the number of draws.")
def test_each_draw_is_pushed_by_its_advantage(student, draw):
    (b,) = draw.primes(1)
    log_prob, reward, baseline = -draw.uniform(b), draw.normal(b), draw.normal(b)
    log_prob.requires_grad_()
    (gradient,) = torch.autograd.grad(student.surrogate(log_prob, reward, baseline), log_prob)
    assert_same(gradient, torch.stack([(baseline[k] - reward[k]) / b for k in range(b)]))


@task("task_02_2", hint="Neither the reward nor the baseline gets a gradient from this loss.")
def test_reward_and_baseline_are_not_trained(student, draw):
    (b,) = draw.primes(1)
    leaves = [tensor.requires_grad_() for tensor in (-draw.uniform(b), draw.normal(b), draw.normal(b))]
    loss = student.surrogate(*leaves)
    for gradient in torch.autograd.grad(loss, leaves, allow_unused=True)[1:]:
        assert gradient is None or (gradient == 0).all()


@wrong("task_02_2")
def surrogate__wrong_sign(log_prob, reward, baseline):
    """The sign is missing: an optimiser that goes down makes rewarded draws less likely."""
    return (log_prob * (reward - baseline).detach()).mean()


@wrong("task_02_2")
def surrogate__trains_the_reward_and_the_baseline(log_prob, reward, baseline):
    """Reward and baseline are not detached: this loss pulls at whatever computed them."""
    return -(log_prob * (reward - baseline)).mean()


@wrong("task_02_2")
def surrogate__trains_the_baseline(log_prob, reward, baseline):
    """Only the reward is detached; the baseline is still trained, to make likely draws look bad."""
    return -(log_prob * (reward.detach() - baseline)).mean()


@wrong("task_02_2")
def surrogate__log_prob_detached(log_prob, reward, baseline):
    """The log-probability is detached, and the path to the scores is cut; detach the factor beside it."""
    return -(log_prob.detach() * (reward - baseline)).mean()


@wrong("task_02_2")
def surrogate__probability(log_prob, reward, baseline):
    """The probability is taken instead of its logarithm: likely draws count twice, in being drawn and here."""
    return -(log_prob.exp() * (reward - baseline).detach()).mean()


@wrong("task_02_2")
def surrogate__baseline_added(log_prob, reward, baseline):
    """The baseline is added to the reward; subtract it, so that a reward as large as it pushes nothing."""
    return -(log_prob * (reward + baseline).detach()).mean()


@wrong("task_02_2")
def surrogate__baseline_outside(log_prob, reward, baseline):
    """The baseline is subtracted outside the product, where it changes no gradient, and so no variance."""
    return -(log_prob * reward.detach() - baseline.detach()).mean()


@wrong("task_02_2")
def surrogate__summed(log_prob, reward, baseline):
    """The draws are summed; with their mean the step does not depend on how many there are."""
    return -(log_prob * (reward - baseline).detach()).sum()


@wrong("task_02_2")
def surrogate__normalised(log_prob, reward, baseline):
    """The advantages are divided by their deviation: the gradient is no longer that of the expected reward."""
    advantage = (reward - baseline).detach()
    return -(log_prob * advantage / (advantage.std(correction=0) + 1e-8)).mean()


# --- task 3: straight-through ---


@task(
    "task_02_3",
    without=("gumbel_softmax", "course_lib"),
    hint="Forward one 1 in each row, where scores + noise are largest.",
)
def test_forward_is_one_hot(student, draw):
    b, n, m = draw.primes(3)
    for shape in ((n,), (b, n), (m, b, n)):
        e, noise = draw.normal(*shape), draw.normal(*shape)
        assert_same(
            student.straight_through(e, noise, draw.number(0.3, 0.8)), F.one_hot((e + noise).argmax(-1), n).double()
        )


@task("task_02_3", hint="Backward the Jacobian of the softmax of (scores + noise) / τ.")
def test_backward_is_that_of_the_softmax(student, draw):
    b, n = draw.primes(2)
    e, noise, up, t = draw.normal(b, n).requires_grad_(), draw.normal(b, n), draw.normal(b, n), draw.number(0.3, 0.8)
    (gradient,) = torch.autograd.grad(student.straight_through(e, noise, t), e, up)
    y = ((e + noise) / t).softmax(-1).detach()
    assert_same(gradient, y * (up - (y * up).sum(-1, keepdim=True)) / t)


def _straight_through(scores, noise, temperature):
    """The soft weights and the one-hot, which the wrong answers put together wrongly."""
    y = ((scores + noise) / temperature).softmax(-1)
    return y, torch.zeros_like(y).scatter(-1, y.argmax(-1, keepdim=True), 1.0)


@wrong("task_02_3")
def straight_through__soft_forward(scores, noise, temperature):
    """This is the Gumbel-softmax itself: forward, it blends; straight-through must pick."""
    return _straight_through(scores, noise, temperature)[0]


@wrong("task_02_3")
def straight_through__no_gradient(scores, noise, temperature):
    """The one-hot is right, but no gradient passes: argmax has none."""
    return _straight_through(scores, noise, temperature)[1]


@wrong("task_02_3")
def straight_through__forgets_to_subtract(scores, noise, temperature):
    """One-hot and soft weights are added; subtract the detached soft weights, so that only their gradient stays."""
    y, one_hot = _straight_through(scores, noise, temperature)
    return one_hot + y


@wrong("task_02_3")
def straight_through__gradient_turned_round(scores, noise, temperature):
    """The wrong one of the two is detached, so the gradient has the opposite sign."""
    y, one_hot = _straight_through(scores, noise, temperature)
    return one_hot + y.detach() - y


@wrong("task_02_3")
def straight_through__without_noise(scores, noise, temperature):
    """The noise is never added: the same place is picked every time, and no other is ever tried."""
    y, one_hot = _straight_through(scores, 0, temperature)
    return one_hot + (y - y.detach())


@wrong("task_02_3")
def straight_through__noise_in_the_forward_pass_only(scores, noise, temperature):
    """The noise picks the place, but the gradient is that of the softmax without it."""
    y, one_hot = (scores / temperature).softmax(-1), _straight_through(scores, noise, temperature)[1]
    return one_hot + (y - y.detach())


@wrong("task_02_3")
def straight_through__temperature_ignored(scores, noise, temperature):
    """τ is never used: picking does not need it, the gradient does."""
    y, one_hot = _straight_through(scores, noise, 1.0)
    return one_hot + (y - y.detach())


@wrong("task_02_3")
def straight_through__temperature_divides_the_scores_only(scores, noise, temperature):
    """τ divides the scores before the noise is added; that changes how likely each place is. It divides their sum."""
    y, one_hot = _straight_through(scores / temperature, noise, 1.0)
    return one_hot + (y - y.detach())


@wrong("task_02_3")
def straight_through__over_the_first_axis(scores, noise, temperature):
    """One place is picked in each column; it must be one in each row, over the last axis."""
    y = ((scores + noise) / temperature).softmax(0)
    return torch.zeros_like(y).scatter(0, y.argmax(0, keepdim=True), 1.0) + (y - y.detach())


# --- task 4: the doubly stochastic penalty and its minimum ---


@task(
    "task_02_4",
    without=("course_lib",),
    hint="Sum over the words, 1 minus, square, sum over the places, mean over the batch.",
)
def test_penalty_equals_the_loop(student, draw):
    b, t, n = draw.primes(3)
    weights = draw.normal(b, t, n, dtype=SINGLE).softmax(-1)
    expected = sum((1 - weights[i, :, j].sum()) ** 2 for i in range(b) for j in range(n)) / b
    assert_close(student.penalty(weights), expected, rtol=1e-4, atol=1e-4)


@task("task_02_4", hint="The weights of t words sum to t in all; the minimum shares them out equally.")
def test_the_minimum_is_reached_and_never_undercut(student, draw):
    for _ in range(3):
        t, n = draw.primes(2)
        smallest = number(student.smallest_penalty(t, n))
        uniform = torch.full((t, n), 1 / n, dtype=torch.float64).sum(0)
        assert abs(smallest - (1 - uniform).square().sum().item()) < 1e-4
        others = draw.normal(50, t, n).softmax(-1).sum(1)
        assert smallest <= (1 - others).square().sum(-1).min().item()


@wrong("task_02_4")
def penalty__averaged_over_the_places(weights):
    """The places are averaged, as in a widely read port; the paper sums over them, so its λ weighs n times more."""
    return (1 - weights.sum(1)).square().mean()


@wrong("task_02_4")
def penalty__summed_over_the_places(weights):
    """The weights are summed over the places, where they give 1 anyway: this is always zero. Sum over the words."""
    return (1 - weights.sum(2)).square().sum(1).mean()


@wrong("task_02_4")
def penalty__not_squared(weights):
    """The differences are not squared."""
    return (1 - weights.sum(1)).abs().sum(1).mean()


@wrong("task_02_4")
def penalty__summed_over_the_batch(weights):
    """The images of the batch are summed; it is their mean."""
    return (1 - weights.sum(1)).square().sum()


@wrong("task_02_4")
def penalty__mean_over_the_words(weights):
    """The weights are averaged over the words; it is what a place gets in all that should be near 1."""
    return (1 - weights.mean(1)).square().sum(1).mean()


@wrong("task_02_4")
def penalty__squared_too_late(weights):
    """The differences are summed before they are squared, and cancel."""
    return (1 - weights.sum(1)).sum(1).square().mean()


@wrong("task_02_4")
def smallest_penalty__zero(words, places):
    """It is zero only with as many words as places: the weights sum to t in all, and 1 a place would need n."""
    return 0.0


@wrong("task_02_4")
def smallest_penalty__of_hard_looks(words, places):
    """This is the best that t *hard* looks at t different places can do; soft ones share out t/n to each."""
    return float(abs(places - words))


@wrong("task_02_4")
def smallest_penalty__of_one_place(words, places):
    """This is the share of one place; the penalty sums over all n."""
    return (1 - words / places) ** 2


@wrong("task_02_4")
def smallest_penalty__total_squared(words, places):
    """The missing total n − t is squared as a whole; it is shared out over n places, and each share is squared."""
    return float((places - words) ** 2)


# --- task 5: the best baseline ---


@task(
    "task_02_5",
    without=("course_lib",),
    hint="The variance is a parabola in b; three of its values, by going through all places, give its lowest point.",
)
def test_best_baseline(student, draw):
    (n,) = draw.primes(1)
    single = draw.normal(n, dtype=SINGLE), draw.normal(n, dtype=SINGLE) + 2
    e, losses = (tensor.double() for tensor in single)
    directions = torch.autograd.functional.jacobian(lambda e: e.log_softmax(0), e)  # draw n

    def variance(b):
        rows = (losses - b)[:, None] * directions
        mean = e.softmax(0) @ rows
        return (e.softmax(0)[:, None] * (rows - mean).square()).sum().item()

    left, middle, right = variance(1.0), variance(2.0), variance(3.0)
    lowest = 2 + (left - right) / (2 * (left + right - 2 * middle))
    assert abs(number(student.best_baseline(*single)) - lowest) < 1e-4


@task(
    "task_02_5", hint="Add a number to all losses and the baseline grows by it; equal losses are their own baseline."
)
def test_best_baseline_is_a_weighted_mean(student, draw):
    (n,) = draw.primes(1)
    e, losses, more = draw.normal(n, dtype=SINGLE), draw.normal(n, dtype=SINGLE), draw.number(1, 5)
    b = number(student.best_baseline(e, losses))
    assert abs(number(student.best_baseline(e, losses + more)) - b - more) < 1e-4
    assert abs(number(student.best_baseline(e, torch.full_like(losses, more))) - more) < 1e-4
    assert abs(number(student.best_baseline(e + more, losses)) - b) < 1e-4


@wrong("task_02_5")
def best_baseline__mean_loss(scores, losses):
    """This is the mean loss under the weights: nearly the best, but it forgets that directions differ in length."""
    return scores.softmax(0) @ losses


@wrong("task_02_5")
def best_baseline__of_the_reward(scores, losses):
    """The sign is turned round: this b is to be taken off the reward; here it is taken off the loss."""
    alpha = scores.softmax(0)
    shares = alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(1)
    return -(shares * losses).sum() / shares.sum()


@wrong("task_02_5")
def best_baseline__plain_mean(scores, losses):
    """This is the plain mean of the losses; likely places are drawn more often and must count more."""
    return losses.mean()


@wrong("task_02_5")
def best_baseline__without_the_weights(scores, losses):
    """The lengths are there, but not how often each place is drawn."""
    lengths = (torch.eye(len(scores), dtype=scores.dtype) - scores.softmax(0)).square().sum(1)
    return (lengths * losses).sum() / lengths.sum()


@wrong("task_02_5")
def best_baseline__length_not_squared(scores, losses):
    """The length of each direction enters squared."""
    alpha = scores.softmax(0)
    shares = alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).norm(dim=1)
    return (shares * losses).sum() / shares.sum()


@wrong("task_02_5")
def best_baseline__not_divided(scores, losses):
    """The numerator alone; divide by the mean squared length, so that equal losses are their own baseline."""
    alpha = scores.softmax(0)
    return (alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(1) * losses).sum()


@wrong("task_02_5")
def best_baseline__one_entry_of_the_direction(scores, losses):
    """The direction of place n is one-hot minus α, with n entries; here only its own entry, 1 − α, is counted."""
    alpha = scores.softmax(0)
    shares = alpha * (1 - alpha) ** 2
    return (shares * losses).sum() / shares.sum()


@wrong("task_02_5")
def best_baseline__lengths_along_the_wrong_axis(scores, losses):
    """The squares are summed over the draws, for each entry; the length of a direction sums over its entries."""
    alpha = scores.softmax(0)
    shares = alpha * (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(0)
    return (shares * losses).sum() / shares.sum()
