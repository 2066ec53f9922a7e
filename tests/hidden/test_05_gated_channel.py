"""Grades exercise 05 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same, number


def inputs(draw, groups=1):
    """Features b c h w of random size, c a multiple of ``groups``, and α, γ, β of both signs."""
    b, k, h, w = draw.primes(4, high=13)
    c = groups * k
    return draw.normal(b, c, h, w), draw.normal(c), draw.normal(c), draw.normal(c)


def by_loops(x, alpha, gamma, beta, *, norm, epsilon=1e-5, groups=1):
    """The formula, one channel of one image after the other; each is measured with those of its group."""
    y, k = torch.empty_like(x), x.shape[1] // groups
    for image, result in zip(x, y, strict=True):
        if norm == "l2":
            s = [a * (channel**2).sum().add(epsilon).sqrt() for a, channel in zip(alpha, image, strict=True)]
        else:
            s = [a * channel.abs().sum() for a, channel in zip(alpha, image, strict=True)]
        for c, channel in enumerate(image):
            group = s[c // k * k : c // k * k + k]
            squares, sizes = sum(v**2 for v in group) / k, sum(v.abs() for v in group) / k
            measure = (squares + epsilon).sqrt() if norm == "l2" else sizes + epsilon
            result[c] = channel * (1 + torch.tanh(gamma[c] * s[c] / measure + beta[c]))
    return y


def ones_and_zeros(c):
    return torch.ones(c, dtype=torch.float64), torch.zeros(c, dtype=torch.float64)


# --- task 1: GCT forward ---


@task(
    "task_05_1",
    without=("course_lib",),
    hint="Compare with a loop over images and channels, for α, γ, β of both signs, in 2 and 3 groups.",
)
def test_forward_equals_the_loop(student, draw):
    for groups in (2, 3):
        x, alpha, gamma, beta = inputs(draw, groups)
        expected = by_loops(x, alpha, gamma, beta, norm="l2", groups=groups)
        assert_same(student.gct(x, alpha, gamma, beta, groups), expected)


@task("task_05_1", hint="One group is the lesson's block; as many groups as channels compare each with itself.")
def test_forward_in_one_group_and_in_c(student, draw):
    x, alpha, gamma, beta = inputs(draw)
    for groups in (1, x.shape[1]):
        expected = by_loops(x, alpha, gamma, beta, norm="l2", groups=groups)
        assert_same(student.gct(x, alpha, gamma, beta, groups), expected)


@task("task_05_1", hint="ε stands under both roots; give another one, and very small features.")
def test_forward_puts_epsilon_under_both_roots(student, draw):
    x, alpha, gamma, beta = inputs(draw, 2)
    expected = by_loops(0.1 * x, alpha, gamma, beta, norm="l2", epsilon=0.3, groups=2)
    assert_same(student.gct(0.1 * x, alpha, gamma, beta, 2, 0.3), expected)


@task("task_05_1", hint="With γ = β = 0 the block is the identity, whatever α is.")
def test_forward_starts_as_the_identity(student, draw):
    x, alpha, _, _ = inputs(draw, 3)
    _, zero = ones_and_zeros(x.shape[1])
    assert_same(student.gct(x, alpha, zero, zero, 3), x)


@task("task_05_1", hint="Make the channels of one group larger: the gates of the other groups stay.")
def test_groups_do_not_meet(student, draw):
    x, alpha, gamma, beta = inputs(draw, 3)
    k = x.shape[1] // 3
    louder = torch.cat([5 * x[:, :1], x[:, 1:]], dim=1)
    yours, other = (student.gct(t, alpha, gamma, beta, 3)[:, k:] for t in (x, louder))
    assert_same(other, yours)


def _size(x, epsilon):
    return (x.square().sum(dim=(2, 3)) + epsilon).sqrt()


def _measure(s, epsilon):
    return (s.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()


def _unit_tanh(z):
    return 1 + torch.tanh(z)


def _gct(x, alpha, gamma, beta, epsilon, groups=1, *, size=_size, measure=_measure, gate=_unit_tanh):
    """GCT with parts to be exchanged: the size of x, the measure of s within a group, b g k, and the gate."""
    s = (alpha * size(x, epsilon)).unflatten(1, (groups, -1))
    s_hat = (s / measure(s, epsilon)).flatten(1)
    return x * gate(gamma * s_hat + beta)[:, :, None, None]


@wrong("task_05_1")
def gct__as_in_the_lesson(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """This is the lesson's block: every channel is compared with all others, not with those of its own group."""
    return _gct(x, alpha, gamma, beta, epsilon)


@wrong("task_05_1")
def gct__every_kth_channel_a_group(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """A group holds neighbours, the first c / groups channels and so on; here it holds every groups-th channel."""
    size = (alpha * _size(x, epsilon)).unflatten(1, (-1, groups))
    s_hat = (size / (size.square().mean(dim=1, keepdim=True) + epsilon).sqrt()).flatten(1)
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]


@wrong("task_05_1")
def gct__groups_of_that_size(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """There are `groups` groups; here each group has `groups` channels."""
    return _gct(x, alpha, gamma, beta, epsilon, x.shape[1] // groups)


@wrong("task_05_1")
def gct__groups_are_compared(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The mean runs over the groups; it must run over the channels within one."""
    return _gct(
        x, alpha, gamma, beta, epsilon, groups, measure=lambda s, e: (s.square().mean(dim=1, keepdim=True) + e).sqrt()
    )


@wrong("task_05_1")
def gct__gate_is_a_sigmoid(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The gate is a sigmoid, so a fresh block halves its input; 1 + tanh starts at exactly 1."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, gate=torch.sigmoid)


@wrong("task_05_1")
def gct__without_the_one(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The gate is tanh alone, so a fresh block returns zeros; the 1 is missing."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, gate=torch.tanh)


@wrong("task_05_1")
def gct__divided_by_the_sum(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The sizes are divided by the root of the sum of squares; it is their mean, whatever c is."""
    return _gct(
        x, alpha, gamma, beta, epsilon, groups, measure=lambda s, e: (s.square().sum(dim=-1, keepdim=True) + e).sqrt()
    )


@wrong("task_05_1")
def gct__compared_over_the_batch(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The comparison runs over the images of the batch; it must run over the channels of each image."""
    return _gct(
        x, alpha, gamma, beta, epsilon, groups, measure=lambda s, e: (s.square().mean(dim=0, keepdim=True) + e).sqrt()
    )


@wrong("task_05_1")
def gct__without_comparison(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The sizes are never compared with each other, so the gates saturate on any large image."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, measure=lambda s, e: torch.ones_like(s))


@wrong("task_05_1")
def gct__alpha_after_the_comparison(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """α is multiplied after the comparison; it belongs to the sizes, so that it decides how much a channel counts."""
    return _gct(x, torch.ones_like(alpha), gamma * alpha, beta, epsilon, groups)


@wrong("task_05_1")
def gct__one_gate_for_the_average(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The size is the average of the channel; positive and negative answers cancel in it."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, size=lambda x, e: x.mean(dim=(2, 3)))


@wrong("task_05_1")
def gct__mean_over_the_pixels(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """ε is added to the mean of squares over the pixels; it belongs to their sum."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, size=lambda x, e: (x.square().mean(dim=(2, 3)) + e).sqrt())


@wrong("task_05_1")
def gct__gate_is_twice_a_sigmoid(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """Twice a sigmoid also starts at 1, but 2 σ(z) is 1 + tanh(z / 2): it follows γ and β only half as fast."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, gate=lambda z: 2 * torch.sigmoid(z))


@wrong("task_05_1")
def gct__beta_outside_the_tanh(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """β is added to the gate; it belongs inside the tanh, which keeps the gate between 0 and 2."""
    gates = _gct(torch.ones_like(x), alpha, gamma, 0 * beta, epsilon, groups, size=lambda _, e: _size(x, e))
    return x * (gates + beta[:, None, None])


@wrong("task_05_1")
def gct__root_forgotten(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The size is the sum of squares without its root, which exaggerates every difference."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, size=lambda x, e: _size(x, e).square())


@wrong("task_05_1")
def gct__gamma_among_the_sizes(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """γ is multiplied before the comparison, which it then changes; it belongs behind it, inside the tanh."""
    return _gct(x, gamma * alpha, torch.ones_like(gamma), beta, epsilon, groups)


@wrong("task_05_1")
def gct__sum_of_absolute_values(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The size is a sum of absolute values; here it is the root of a sum of squares."""
    return _gct(x, alpha, gamma, beta, epsilon, groups, size=lambda x, e: x.abs().sum(dim=(2, 3)) + e)


@wrong("task_05_1")
def gct__epsilon_outside_the_roots(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """ε is added outside the roots; under them it has another effect, and keeps their gradients finite."""
    s = alpha * (x.square().sum(dim=(2, 3)).sqrt() + epsilon)
    s = s.unflatten(1, (groups, -1))
    s_hat = (s / (s.square().mean(dim=-1, keepdim=True).sqrt() + epsilon)).flatten(1)
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]


# --- task 2: GCT backward ---


def compare_gradient(student, draw, which):
    """One of the student's four gradients against autograd through the loop, in two and three groups, with any ε."""
    for groups, epsilon in ((3, 1e-5), (2, 0.3)):
        x, alpha, gamma, beta = inputs(draw, groups)
        g = draw.normal(*x.shape)
        leaves = [t.clone().requires_grad_() for t in (x, alpha, gamma, beta)]
        y = by_loops_with_grad(*leaves, groups, epsilon)
        expected = torch.autograd.grad(y, leaves, g)[which]
        given = () if epsilon == 1e-5 else (epsilon,)
        assert_same(student.gct_backward(g, x, alpha, gamma, beta, groups, *given)[which], expected)


def by_loops_with_grad(x, alpha, gamma, beta, groups, epsilon):
    """The formula group by group, in steps that autograd can follow."""
    s = (alpha * (x.square().sum(dim=(2, 3)) + epsilon).sqrt()).chunk(groups, dim=1)
    s_hat = torch.cat([one / (one.square().mean(dim=1, keepdim=True) + epsilon).sqrt() for one in s], dim=1)
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]


@task(
    "task_05_2",
    without=("autograd", "backward", "course_lib"),
    hint="The gradient of β: the sum over pixels of g·x, times 1 − tanh², summed over the images.",
)
def test_gradient_of_beta(student, draw):
    compare_gradient(student, draw, 3)


@task("task_05_2", hint="The gradient of γ: that of the tanh's argument, times ŝ, summed over the images.")
def test_gradient_of_gamma(student, draw):
    compare_gradient(student, draw, 2)


@task(
    "task_05_2", hint="The gradient of α passes through the comparison, where each channel acts on all of its group."
)
def test_gradient_of_alpha(student, draw):
    compare_gradient(student, draw, 1)


@task("task_05_2", hint="x reaches y directly and through the size of its channel; both ways add up.")
def test_gradient_of_x(student, draw):
    compare_gradient(student, draw, 0)


@task(
    "task_05_2", hint="Compare the gradient along one direction with the difference of two losses a small step apart."
)
def test_gradient_along_a_direction(student, draw):
    x, alpha, gamma, beta = inputs(draw, 2)
    g, values = draw.normal(*x.shape), (x, alpha, gamma, beta)
    directions = [draw.normal(*t.shape) for t in values]
    ahead, behind = (
        (by_loops(*[t + h * d for t, d in zip(values, directions, strict=True)], norm="l2", groups=2) * g).sum()
        for h in (1e-5, -1e-5)
    )
    gradients = student.gct_backward(g, *values, 2)
    along = sum((t * d).sum() for t, d in zip(gradients, directions, strict=True))
    torch.testing.assert_close(along, (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-5)


def _gct_backward(
    g, x, alpha, gamma, beta, groups, *, slope=None, others=1.0, through_size=1.0, of_gamma=None, over=None
):
    """The right gradients with one step to be exchanged."""

    def mean(t):
        return t.unflatten(1, (groups, -1)).mean(dim=2).repeat_interleave(x.shape[1] // groups, dim=1)

    size = (x.square().sum(dim=(2, 3)) + 1e-5).sqrt()
    measure = (mean((alpha * size).square()) + 1e-5).sqrt()
    s_hat = alpha * size / measure
    t = torch.tanh(gamma * s_hat + beta)
    dz = (g * x).sum(dim=(2, 3)) * (1 - t**2 if slope is None else slope(t))
    d = gamma * dz
    ds = (d - others * s_hat * (over or mean)(d * s_hat)) / measure
    dx = g * (1 + t)[:, :, None, None] + through_size * (ds * alpha / size)[:, :, None, None] * x
    return dx, (ds * size).sum(0), (dz * (s_hat if of_gamma is None else of_gamma(size))).sum(0), dz.sum(0)


@wrong("task_05_2")
def gct_backward__as_in_the_lesson(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """These are the lesson's gradients, where all channels meet; here a channel pushes down its own group only."""
    return _gct_backward(g, x, alpha, gamma, beta, 1)


@wrong("task_05_2")
def gct_backward__pushes_all_channels(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """ŝ is right, but the mean of D ŝ still runs over all channels; a channel pushes down its own group only."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, over=lambda t: t.mean(dim=1, keepdim=True))


@wrong("task_05_2")
def gct_backward__slope_of_the_tanh_forgotten(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The factor 1 − tanh² is missing: the gradient passes the gate as if it were linear."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, slope=torch.ones_like)


@wrong("task_05_2")
def gct_backward__slope_of_a_sigmoid(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """T (1 − T) is the slope of a sigmoid; that of tanh is 1 − T²."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, slope=lambda t: t * (1 - t))


@wrong("task_05_2")
def gct_backward__channels_do_not_meet(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The measure M is treated as a constant; it depends on every channel, so each acts on all others."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, others=0.0)


@wrong("task_05_2")
def gct_backward__channels_lift_each_other(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The sign of the product ŝ ŝ is wrong: a channel that grows pushes down the others."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, others=-1.0)


@wrong("task_05_2")
def gct_backward__mean_over_the_batch(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The mean of D ŝ runs over the images; channels meet within one image."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, over=lambda t: t.mean(dim=0, keepdim=True))


@wrong("task_05_2")
def gct_backward__x_has_one_way_only(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The gate is treated as a constant for x; but x also changes the size of its channel, and so the gates."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, through_size=0.0)


@wrong("task_05_2")
def gct_backward__alpha_forgotten(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """On the way through its size, x meets the factor α, since s = α E; here it is missing."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, through_size=1 / alpha[:, None, None])


@wrong("task_05_2")
def gct_backward__sum_over_the_channels(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """D ŝ is summed over the channels; as M holds a mean, it is divided by their number."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, others=x.shape[1] // groups)


@wrong("task_05_2")
def gct_backward__other_order(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The gradients of α and β are exchanged; the order is x, α, γ, β."""
    dx, *rest = _gct_backward(g, x, alpha, gamma, beta, groups)
    return dx, *reversed(rest)


@wrong("task_05_2")
def gct_backward__gamma_times_the_raw_size(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """γ multiplies ŝ, the compared size; here its gradient has the raw size."""
    return _gct_backward(g, x, alpha, gamma, beta, groups, of_gamma=lambda size: size)


@wrong("task_05_2")
def gct_backward__mean_over_the_images(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The gradients of parameters are averaged over the images; all images add to them."""
    dx, *rest = _gct_backward(g, x, alpha, gamma, beta, groups)
    return dx, *(one / len(x) for one in rest)


# --- task 3: repair an l1 gate ---


@task(
    "task_05_3",
    without=("course_lib",),
    hint="Compare with a loop over images and channels, for features and α of both signs.",
)
def test_l1_equals_the_loop(student, draw):
    x, alpha, gamma, beta = inputs(draw)
    assert_same(student.gct_l1(x, alpha, gamma, beta), by_loops(x, alpha, gamma, beta, norm="l1"))


@task("task_05_3", hint="For features ≥ 0 and α > 0 nothing was wrong: there the result stays what it was.")
def test_l1_keeps_what_was_right(student, draw):
    x, alpha, gamma, beta = inputs(draw)
    x, alpha = x.relu(), alpha.abs() + 0.1
    s = alpha * x.sum(dim=(2, 3))
    gates = 1 + torch.tanh(gamma * s / (s.mean(dim=1, keepdim=True) + 1e-5) + beta)
    assert_same(student.gct_l1(x, alpha, gamma, beta), x * gates[:, :, None, None])


@task("task_05_3", hint="The sign of a pixel must not change how large its channel is.")
def test_l1_gates_ignore_the_signs_of_pixels(student, draw):
    x, alpha, gamma, beta = inputs(draw)
    signs = draw.normal(*x.shape).sign()
    assert_same(student.gct_l1(signs * x, alpha, gamma, beta), signs * student.gct_l1(x, alpha, gamma, beta))


@task("task_05_3", hint="s of both signs may sum to zero; the measure is the mean of |s|. Also try a larger ε.")
def test_l1_measure_has_no_sign(student, draw):
    b, h, w = draw.primes(3, high=13)
    x, gamma, beta = draw.normal(b, 1, h, w).repeat(1, 2, 1, 1), draw.normal(2), draw.normal(2)
    alpha = torch.tensor([1.0, -1.0], dtype=torch.float64)
    expected = by_loops(x, alpha, gamma, beta, norm="l1", epsilon=0.3)
    assert_same(student.gct_l1(x, alpha, gamma, beta, 0.3), expected)


def _gct_l1(x, alpha, gamma, beta, epsilon, *, size=None, measure=None):
    """The right ``gct_l1`` with its size or its measure to be exchanged."""
    size = size or (lambda x, e: x.abs().sum(dim=(2, 3)))
    measure = measure or (lambda s, e: s.abs().mean(dim=-1, keepdim=True) + e)
    return _gct(x, alpha, gamma, beta, epsilon, size=size, measure=measure)


@wrong("task_05_3")
def gct_l1__answers_cancel(x, alpha, gamma, beta, epsilon=1e-5):
    """The pixels are added with their signs, so an edge filter looks silent."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, size=lambda x, e: x.sum(dim=(2, 3)))


@wrong("task_05_3")
def gct_l1__absolute_value_of_the_sum(x, alpha, gamma, beta, epsilon=1e-5):
    """The absolute value is taken after the sum; by then the answers have cancelled."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, size=lambda x, e: x.sum(dim=(2, 3)).abs())


@wrong("task_05_3")
def gct_l1__measure_with_signs(x, alpha, gamma, beta, epsilon=1e-5):
    """The measure is the mean of s with its signs; where α differs in sign it may be zero."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, measure=lambda s, e: s.mean(dim=-1, keepdim=True) + e)


@wrong("task_05_3")
def gct_l1__absolute_value_of_the_mean(x, alpha, gamma, beta, epsilon=1e-5):
    """The measure is the absolute value of the mean; s of both signs have cancelled before it."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, measure=lambda s, e: s.mean(dim=-1, keepdim=True).abs() + e)


@wrong("task_05_3")
def gct_l1__sign_of_alpha_lost(x, alpha, gamma, beta, epsilon=1e-5):
    """The absolute value is also taken of α; a negative α is meant to turn its channel's gate round."""
    return _gct_l1(x, alpha.abs(), gamma, beta, epsilon)


@wrong("task_05_3")
def gct_l1__measured_by_squares(x, alpha, gamma, beta, epsilon=1e-5):
    """The sizes are l1 but the measure is the root mean square of l2; both must be of one kind."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, measure=_measure)


@wrong("task_05_3")
def gct_l1__compared_over_the_batch(x, alpha, gamma, beta, epsilon=1e-5):
    """The measure is the mean over the images; it must run over the channels of each image."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, measure=lambda s, e: s.abs().mean(dim=0, keepdim=True) + e)


@wrong("task_05_3")
def gct_l1__mean_over_the_pixels(x, alpha, gamma, beta, epsilon=1e-5):
    """The size is a mean over the pixels, and ε then weighs more; the given code sums."""
    return _gct_l1(x, alpha, gamma, beta, epsilon, size=lambda x, e: x.abs().mean(dim=(2, 3)))


# --- task 4: the first step of training ---


@task("task_05_4", without=("course_lib",), hint="Put α = 1, γ = β = 0 into the gradients of task 2.")
def test_first_gradients_equal_autograd(student, draw):
    x, _, _, _ = inputs(draw)
    g, (one, zero) = draw.normal(*x.shape), ones_and_zeros(x.shape[1])
    leaves = [t.clone().requires_grad_() for t in (one, zero, zero)]
    sizes = (x.square().sum(dim=(2, 3)) + 1e-5).sqrt()
    s = leaves[0] * sizes
    s_hat = s / (s.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    (x * (1 + torch.tanh(leaves[1] * s_hat + leaves[2]))[:, :, None, None] * g).sum().backward()
    answers = student.first_gradients((g * x).sum(dim=(2, 3)), s_hat.detach())
    for answer, leaf in zip(answers, leaves, strict=True):
        assert_same(answer.to(leaf.dtype), leaf.grad)  # zeros for α may be torch.zeros(c), in float32


@wrong("task_05_4")
def first_gradients__alpha_moves_too(p, s_hat):
    """α gets the gradient of γ; but everything that reaches α passes through the factor γ = 0."""
    return (p * s_hat).sum(dim=0), (p * s_hat).sum(dim=0), p.sum(dim=0)


@wrong("task_05_4")
def first_gradients__gamma_and_beta_exchanged(p, s_hat):
    """The gradients of γ and β are exchanged: γ multiplies ŝ, so the ŝ belongs to its gradient."""
    return torch.zeros_like(p[0]), p.sum(dim=0), (p * s_hat).sum(dim=0)


@wrong("task_05_4")
def first_gradients__nothing_moves_at_all(p, s_hat):
    """The identity is no standstill: the output does not depend on α, but it does on γ and β."""
    return torch.zeros_like(p[0]), torch.zeros_like(p[0]), torch.zeros_like(p[0])


@wrong("task_05_4")
def first_gradients__gamma_stands_still(p, s_hat):
    """The gradient of γ is multiplied by ŝ, and not by γ itself; so it is not zero at the start."""
    return torch.zeros_like(p[0]), torch.zeros_like(p[0]), p.sum(dim=0)


@wrong("task_05_4")
def first_gradients__averaged_over_the_images(p, s_hat):
    """All images add to the gradient of a parameter; here they are averaged."""
    return torch.zeros_like(p[0]), (p * s_hat).mean(dim=0), p.mean(dim=0)


@wrong("task_05_4")
def first_gradients__slope_of_a_sigmoid(p, s_hat):
    """The slope at 0 is taken as one quarter, as of a sigmoid; that of tanh is 1."""
    return torch.zeros_like(p[0]), (p * s_hat).sum(dim=0) / 4, p.sum(dim=0) / 4


@wrong("task_05_4")
def first_gradients__sums_multiplied(p, s_hat):
    """The sums over the images are multiplied; the products must be summed."""
    return torch.zeros_like(p[0]), p.sum(dim=0) * s_hat.sum(dim=0), p.sum(dim=0)


# --- task 5: ECA and its band ---


@task(
    "task_05_5",
    without=("conv1d", "Conv1d", "conv2d", "Conv2d", "course_lib"),
    hint="t is (log₂ c + 1) / 2 without its fraction; an even t becomes t + 1. Try every c to 4096.",
)
def test_kernel_size_follows_the_rule(student, draw):
    # t <= (log2 c + 1) / 2 < t + 1 in whole numbers: the bits of c say how often 2 fits
    powers = [1 << int(p) for p in draw.integers(0, 13, 5)]
    for c in [*draw.primes(3), *[int(c) for c in draw.integers(30, 4000, 4)], *powers]:
        t = c.bit_length() // 2
        assert number(student.kernel_size(c)) == (t if t % 2 else t + 1), c


@task("task_05_5", hint="Row c holds w at the columns c − (k−1)/2 … c + (k−1)/2; what falls outside is left out.")
def test_band_equals_the_loop(student, draw):
    c, k = sorted(draw.primes(2), reverse=True)
    weight, expected = draw.normal(k), torch.zeros(c, c, dtype=torch.float64)
    for row in range(c):
        for i in range(k):
            column = row + i - k // 2
            if 0 <= column < c:
                expected[row, column] = weight[i]
    assert_same(student.band_matrix(weight, c), expected)


@task(
    "task_05_5", hint="Averages over the pixels, a one-dimensional convolution over the channels, sigmoid, times x."
)
def test_eca_equals_the_convolution(student, draw):
    b, c, h, w = draw.primes(4)
    x, weight = draw.normal(b, c, h, w), 3 * draw.normal(3)
    z = F.conv1d(5 * x.mean(dim=(2, 3))[:, None], weight[None, None], padding=1)[:, 0]
    assert_same(student.eca(5 * x, weight), 5 * x * z.sigmoid()[:, :, None, None])


@wrong("task_05_5")
def kernel_size__left_even(channels):
    """t may be even, and an even filter has no middle; the rule then takes t + 1."""
    return int((math.log2(channels) + 1) / 2)


@wrong("task_05_5")
def kernel_size__rounded_down(channels):
    """An even t becomes t − 1; the published code takes t + 1."""
    t = int((math.log2(channels) + 1) / 2)
    return t if t % 2 else max(t - 1, 1)


@wrong("task_05_5")
def kernel_size__rounded_to_the_nearest(channels):
    """t is rounded to the nearest whole number; the rule cuts off the fraction."""
    t = round((math.log2(channels) + 1) / 2)
    return t if t % 2 else t + 1


@wrong("task_05_5")
def kernel_size__natural_logarithm(channels):
    """The rule uses the logarithm to the base 2."""
    t = int((math.log(channels) + 1) / 2)
    return t if t % 2 else t + 1


@wrong("task_05_5")
def band_matrix__turned_round(weight, channels):
    """The filter is applied backwards: w₋₁ belongs to the channel before, below the main diagonal."""
    reach = len(weight) // 2
    ones = [torch.ones(channels - abs(j), dtype=weight.dtype) for j in range(-reach, reach + 1)]
    return sum(w * torch.diag(one, reach - i) for i, (w, one) in enumerate(zip(weight, ones, strict=True)))


@wrong("task_05_5")
def band_matrix__three_weights_only(weight, channels):
    """Only the three middle diagonals are filled; k weights make k diagonals."""
    middle = len(weight) // 2
    return sum(
        weight[middle + j] * torch.diag(torch.ones(channels - abs(j), dtype=weight.dtype), j) for j in (-1, 0, 1)
    )


@wrong("task_05_5")
def band_matrix__wraps_round(weight, channels):
    """The first and the last channel are neighbours here; beyond the ends z is 0."""
    identity, reach = torch.eye(channels, dtype=weight.dtype), len(weight) // 2
    return sum(w * identity.roll(i - reach, dims=1) for i, w in enumerate(weight))


@wrong("task_05_5")
def eca__without_sigmoid(x, weight):
    """The sigmoid is missing, so gates may be negative or huge; the paper's figure forgets it too."""
    return (
        x * F.conv1d(x.mean(dim=(2, 3))[:, None], weight[None, None], padding=len(weight) // 2)[:, 0, :, None, None]
    )


@wrong("task_05_5")
def eca__sum_of_the_pixels(x, weight):
    """The pixels are summed; ECA looks at their average, so that the size of the image does not matter."""
    z = x.sum(dim=(2, 3))[:, None]
    return x * F.conv1d(z, weight[None, None], padding=len(weight) // 2).sigmoid()[:, 0, :, None, None]


@wrong("task_05_5")
def eca__gates_not_multiplied(x, weight):
    """The gates are returned instead of the gated features."""
    z = x.mean(dim=(2, 3))[:, None]
    gates = F.conv1d(z, weight[None, None], padding=len(weight) // 2).sigmoid()[:, 0, :, None, None]
    return gates.expand_as(x)


@wrong("task_05_5")
def eca__over_the_batch(x, weight):
    """The filter slides over the images of the batch; it must slide over the channels of each image."""
    z = x.mean(dim=(2, 3)).mT[:, None]
    return x * F.conv1d(z, weight[None, None], padding=len(weight) // 2).sigmoid()[:, 0].mT[:, :, None, None]


@wrong("task_05_5")
def eca__matrix_transposed(x, weight):
    """The batch is multiplied by B instead of its transpose: before and after are exchanged."""
    z = x.mean(dim=(2, 3))[:, None]
    return x * F.conv1d(z, weight.flip(0)[None, None], padding=len(weight) // 2).sigmoid()[:, 0, :, None, None]
