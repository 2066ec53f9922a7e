"""Grades exercise 16 on sizes and values that the student has not seen, and names the mistakes people make."""

import torch
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

# --- task 1: two branches and their norms, melted ---


def one_branch(x, weight, norm, dilation, eps):
    """Convolve, then normalise, channel by channel: b c h w -> b o h w."""
    u = F.conv2d(x, weight, padding=dilation * (weight.shape[-1] // 2), dilation=dilation)
    gamma, beta, mean, variance = norm
    channels = [
        g * (u[:, o] - m) / (v + eps) ** 0.5 + b
        for o, (g, b, m, v) in enumerate(zip(gamma, beta, mean, variance, strict=True))
    ]
    return torch.stack(channels, dim=1)


def drawn_branches(draw, first_size, second_size):
    """Two kernels with their norms."""
    o, c = draw.primes(2, high=7)
    norms = [torch.cat([draw.normal(3, o), draw.uniform(1, o)]) for _ in range(2)]
    return draw.normal(o, c, first_size, first_size), draw.normal(o, c, second_size, second_size), norms


@task("task_16_1", without=("course_lib",), hint="Kernel and bias together must do what the two branches do.")
def test_one_convolution_does_what_two_branches_do(student, draw):
    for first_size, second_size, dilation in ((3, 5, 1), (1, 3, 4), (3, 3, 2)):
        first, second, norms = drawn_branches(draw, first_size, second_size)
        eps = draw.number(0.05, 0.5)
        kernel, bias = student.melt(first, second, norms, dilation, eps)
        extent = dilation * (second_size - 1) + 1
        assert kernel.shape == (*first.shape[:2], extent, extent)
        x = draw.normal(2, first.shape[1], 11, 13)
        expected = one_branch(x, first, norms[0], 1, eps) + one_branch(x, second, norms[1], dilation, eps)
        assert_same(F.conv2d(x, kernel, bias, padding=extent // 2), expected)


@task("task_16_1", without=("course_lib",), hint="The first branch may be the larger one.")
def test_the_first_branch_may_be_the_larger(student, draw):
    first, second, norms = drawn_branches(draw, 9, 3)  # no prime: never as many as channels
    kernel, bias = student.melt(first, second, norms, 2, 0.1)
    assert kernel.shape == first.shape
    x = draw.normal(2, first.shape[1], 11, 13)
    expected = one_branch(x, first, norms[0], 1, 0.1) + one_branch(x, second, norms[1], 2, 0.1)
    assert_same(F.conv2d(x, kernel, bias, padding=4), expected)


def _spread(weight, dilation):
    """Zeros between the taps."""
    size = dilation * (weight.shape[-1] - 1) + 1
    spaced = weight.new_zeros(*weight.shape[:2], size, size)
    spaced[:, :, ::dilation, ::dilation] = weight
    return spaced


def _centred(weight, size):
    """Zeros on all sides."""
    return F.pad(weight, [(size - weight.shape[-1]) // 2] * 4)


def _in_the_corner(weight, size):
    """Zeros to the right and below."""
    return F.pad(weight, [0, size - weight.shape[-1]] * 2)


def _scaled(gamma, variance, eps):
    return gamma / (variance + eps).sqrt()


def _left_over(scale, beta, mean):
    return beta - scale * mean


def _melt(
    first, second, norms, dilation, eps, *, spread=_spread, place=_centred, scaled=_scaled, left=_left_over, axis=0
):
    """The right answer with the parts that a wrong answer exchanges."""
    spaced = spread(second, dilation)
    size = max(first.shape[-1], spaced.shape[-1])
    kernel, bias = 0, 0
    for weight, (gamma, beta, mean, variance) in zip((first, spaced), norms, strict=True):
        scale = scaled(gamma, variance, eps)
        kernel = kernel + place(scale.view([-1 if k == axis else 1 for k in range(4)]) * weight, size)
        bias = bias + left(scale, beta, mean)
    return kernel, bias


@wrong("task_16_1")
def melt__not_dilated(first, second, norms, dilation, eps):
    """The taps of branch 2 touch each other; they stand dilation apart."""
    return _melt(first, second, norms, dilation, eps, spread=lambda weight, _: weight)


@wrong("task_16_1")
def melt__in_the_corner(first, second, norms, dilation, eps):
    """The smaller kernel was laid into a corner of the larger one; both have the same middle."""
    return _melt(first, second, norms, dilation, eps, place=_in_the_corner)


@wrong("task_16_1")
def melt__without_eps(first, second, norms, dilation, eps):
    """ε is missing under the root."""
    return _melt(first, second, norms, dilation, eps, scaled=lambda gamma, variance, _: gamma / variance.sqrt())


@wrong("task_16_1")
def melt__without_the_root(first, second, norms, dilation, eps):
    """It is divided by the variance, not by its root."""
    return _melt(first, second, norms, dilation, eps, scaled=lambda gamma, variance, eps: gamma / (variance + eps))


@wrong("task_16_1")
def melt__mean_not_scaled(first, second, norms, dilation, eps):
    """The mean was subtracted as it is; the norm scales it too."""
    return _melt(first, second, norms, dilation, eps, left=lambda scale, beta, mean: beta - mean)


@wrong("task_16_1")
def melt__mean_forgotten(first, second, norms, dilation, eps):
    """The running mean is lost: the bias is more than β."""
    return _melt(first, second, norms, dilation, eps, left=lambda scale, beta, mean: beta)


@wrong("task_16_1")
def melt__mean_added(first, second, norms, dilation, eps):
    """The sign of the mean is turned: a norm subtracts it."""
    return _melt(first, second, norms, dilation, eps, left=lambda scale, beta, mean: beta + scale * mean)


@wrong("task_16_1")
def melt__kernels_not_scaled(first, second, norms, dilation, eps):
    """The kernels were added as they are; each norm scales its own."""
    kernel, _ = _melt(first, second, norms, dilation, eps, scaled=lambda gamma, variance, eps: torch.ones_like(gamma))
    return kernel, _melt(first, second, norms, dilation, eps)[1]


@wrong("task_16_1")
def melt__last_axis_scaled(first, second, norms, dilation, eps):
    """The norm scaled the last axis of a kernel; it belongs to the output channels, the first axis."""
    return _melt(first, second, norms, dilation, eps, axis=3)


@wrong("task_16_1")
def melt__one_norm_for_both(first, second, norms, dilation, eps):
    """The first norm was used for both branches; each has its own."""
    return _melt(first, second, [norms[0], norms[0]], dilation, eps)


# --- task 2: the best single kernel ---


def best_by_loops(kernels, weights):
    """Number by number: the mean over the images, and what is left around it."""
    each = [sum(a * w for a, w in zip(row, kernels, strict=True)) for row in weights]
    best = sum(each) / len(each)
    left, power = (sum(one.square().sum().item() for one in many) for many in ([k - best for k in each], each))
    return best, 1 - left / power if power > 0 else 1.0


@task("task_16_2", without=("course_lib",), hint="The nearest kernel to all, and what it leaves.")
def test_the_best_kernel_and_what_it_explains(student, draw):
    p, o, c, n = draw.primes(4, high=11)
    for kernels, weights in (
        (draw.normal(p, o, c, 3, 3), draw.normal(n, p)),
        (draw.normal(p, o, c, 5, 5), draw.normal(n, p).softmax(dim=1)),
        (draw.normal(1, o, c, 3, 3), draw.normal(n, 1)),
        (draw.normal(p, o, c, 3, 3) / 1000, draw.normal(n, p)),
    ):
        best, explained = student.best_single(kernels, weights)
        expected, share = best_by_loops(kernels, weights)
        assert_same(best, expected)
        assert abs(number(explained) - share) < 1e-5  # a number does not say in which precision it was computed


@task(
    "task_16_2",
    without=("course_lib",),
    hint="Each pixel of white noise is drawn by itself: try it with a million of them.",
)
def test_it_holds_on_white_noise(student, draw):
    kernels, weights = draw.normal(2, 1, 1, 3, 3), draw.uniform(3, 2)
    best, explained = student.best_single(kernels, weights)
    x = draw.normal(1, 1, 300, 300)
    each = torch.cat([F.conv2d(x, k[None]) for k in torch.einsum("np,pcij->ncij", weights, kernels[:, 0])])
    left = (each - F.conv2d(x, best)).square().sum() / each.square().sum()
    assert abs(1 - left - number(explained)) < 0.02


@task("task_16_2", without=("course_lib",), hint="No image wants any kernel.")
def test_nothing_to_explain(student, draw):
    best, explained = student.best_single(draw.normal(3, 2, 2, 3, 3), torch.zeros(5, 3, dtype=torch.float64))
    assert not best.any()
    assert number(explained) == 1


def _best(kernels, weights, *, mean=None, left=None, power=None):
    """The right answer with the parts that a wrong answer exchanges."""
    each = torch.einsum("np,pocij->nocij", weights, kernels)
    best = each.mean(dim=0) if mean is None else mean(each)
    power = (each.square().sum() if power is None else power(each)).item()
    left = ((each - best).square().sum() if left is None else left(each, best)).item()
    return best, 1 - left / power if power > 0 else 1.0


@wrong("task_16_2")
def best_single__mean_of_the_experts(kernels, weights):
    """The experts were averaged as if each were equally frequent; the images decide who counts how much."""
    return _best(kernels, weights, mean=lambda each: kernels.mean(dim=0))


@wrong("task_16_2")
def best_single__summed(kernels, weights):
    """The kernels of the images were added; the nearest to all is their mean."""
    return _best(kernels, weights, mean=lambda each: each.sum(dim=0))


@wrong("task_16_2")
def best_single__median(kernels, weights):
    """The median is nearest in absolute distance; with squares it is the mean."""
    return _best(kernels, weights, mean=lambda each: each.median(dim=0).values)


@wrong("task_16_2")
def best_single__around_the_mean(kernels, weights):
    """The denominator is the variance around the best kernel; then R² is always 0."""
    return _best(kernels, weights, power=lambda each: (each - each.mean(dim=0)).square().sum())


@wrong("task_16_2")
def best_single__one_image(kernels, weights):
    """The differences were averaged over the images and the kernels summed, or the other way: both are sums."""
    return _best(kernels, weights, left=lambda each, best: (each - best).square().sum() / len(each))


@wrong("task_16_2")
def best_single__not_squared(kernels, weights):
    """Distances were not squared."""
    return _best(
        kernels, weights, left=lambda each, best: (each - best).abs().sum(), power=lambda each: each.abs().sum()
    )


@wrong("task_16_2")
def best_single__the_rest(kernels, weights):
    """What is left was returned; R² is what is explained."""
    best, explained = _best(kernels, weights)
    return best, 1 - explained


@wrong("task_16_2")
def best_single__softmax(kernels, weights):
    """A softmax was put over the weights; they are given, and may be any numbers."""
    return _best(kernels, weights.softmax(dim=1))


@wrong("task_16_2")
def best_single__nan(kernels, weights):
    """If all kernels are 0 it divides by 0; then R² is 1."""
    best, explained = _best(kernels, weights)
    return best, explained if weights.any() else float("nan")


# --- task 3: repair a dynamic convolution ---


def dynamic_by_loops(x, logits, kernels, biases, tau):
    """Image by image, expert by expert: the mixture of the experts' outputs."""
    y = []
    for image, row in zip(x, logits, strict=True):
        shares = (row / tau).exp()
        outputs = [F.conv2d(image, k, b, padding=k.shape[-1] // 2) for k, b in zip(kernels, biases, strict=True)]
        y.append(sum(s / shares.sum() * output for s, output in zip(shares, outputs, strict=True)))
    return torch.stack(y)


@task(
    "task_16_3",
    without=("course_lib",),
    hint="An image must get in a batch what it gets alone: all that its experts have.",
)
def test_the_repaired_convolution_equals_the_loops(student, draw):
    for size in (1, 3, 5):
        b, c, p, o, h = draw.primes(5, high=13)
        x, logits = draw.normal(b, c, h, h + 1), draw.normal(b, p)
        kernels, biases, tau = draw.normal(p, o, c, size, size), draw.normal(p, o), draw.number(0.5, 3)
        expected = dynamic_by_loops(x, logits, kernels, biases, tau)
        assert_same(student.dynamic_convolution(x, logits, kernels, biases, tau), expected)


def _dynamic(x, logits, kernels, biases, tau, *, dim=1, order="bocij", bias=None):
    """The right answer with the parts that a wrong answer exchanges."""
    b, c, h, w = x.shape
    weights = (logits / tau).softmax(dim=dim)
    mixed = torch.einsum(f"bp,pocij->{order}", weights, kernels).flatten(0, 1)
    y = F.conv2d(x.reshape(1, b * c, h, w), mixed, padding=kernels.shape[-1] // 2, groups=b).view(b, -1, h, w)
    added = weights @ biases if bias is None else bias(weights)  # b o
    return y + added[:, :, None, None]


@wrong("task_16_3")
def dynamic_convolution__not_repaired(x, logits, kernels, biases, tau):
    """Nothing was repaired."""
    return _dynamic(x, logits, kernels, biases, tau, order="obcij", bias=lambda weights: biases.mean(dim=0)[None])


@wrong("task_16_3")
def dynamic_convolution__foreign_kernels(x, logits, kernels, biases, tau):
    """Images still meet each other's kernels: the kernels of one image must lie together."""
    return _dynamic(x, logits, kernels, biases, tau, order="obcij")


@wrong("task_16_3")
def dynamic_convolution__mean_of_the_biases(x, logits, kernels, biases, tau):
    """The biases are still averaged; they are mixed with the weights, as the kernels are."""
    return _dynamic(x, logits, kernels, biases, tau, bias=lambda weights: biases.mean(dim=0)[None])


@wrong("task_16_3")
def dynamic_convolution__biases_summed(x, logits, kernels, biases, tau):
    """The biases were summed; they are mixed with the weights."""
    return _dynamic(x, logits, kernels, biases, tau, bias=lambda weights: biases.sum(dim=0)[None])


@wrong("task_16_3")
def dynamic_convolution__without_a_bias(x, logits, kernels, biases, tau):
    """The biases were taken away."""
    return _dynamic(x, logits, kernels, biases, tau, bias=lambda weights: 0 * weights @ biases)


@wrong("task_16_3")
def dynamic_convolution__over_the_images(x, logits, kernels, biases, tau):
    """The weights sum to 1 over the images; that they sum to 1 over the experts was right."""
    return _dynamic(x, logits, kernels, biases, tau, dim=0)


@wrong("task_16_3")
def dynamic_convolution__temperature_lost(x, logits, kernels, biases, tau):
    """The temperature is lost; that part was right."""
    return _dynamic(x, logits, kernels, biases, 1.0)


@wrong("task_16_3")
def dynamic_convolution__multiplied_by_the_temperature(x, logits, kernels, biases, tau):
    """The logits are multiplied by τ; that they are divided was right."""
    return _dynamic(x, logits, kernels, biases, 1 / tau)


@wrong("task_16_3")
def dynamic_convolution__the_best_expert(x, logits, kernels, biases, tau):
    """Only the best expert is used; the weights are a softmax."""
    return _dynamic(x, 1e6 * logits, kernels, biases, tau)


@wrong("task_16_3")
def dynamic_convolution__mixed_over_the_batch(x, logits, kernels, biases, tau):
    """All images got the mean of the batch's weights; each has its own."""
    shares = (logits / tau).softmax(dim=1).mean(dim=0, keepdim=True).log()
    return _dynamic(x, shares.expand_as(logits), kernels, biases, 1.0)


# --- task 4: exactly k open ---


def slope_by_loops(logits, weights):
    """The gradient of Σ weights · g_α, one logit after the other."""
    slope = torch.zeros_like(logits)
    for i, j in torch.cartesian_prod(*map(torch.arange, logits.shape)).tolist():
        s = 1 / (1 + (-logits[i, j]).exp())
        if 0 < 1.2 * s - 0.1 < 1:
            slope[i, j] = weights[i, j] * 1.2 * s * (1 - s)
    return slope


@task("task_16_4", without=("course_lib",), hint="Count the ones of each image.")
def test_exactly_k_gates_are_one(student, draw):
    b, m = draw.primes(2, high=13)
    logits = 2 * draw.normal(b, m) + draw.number(-2, 2)
    for k in (1, m - 1, m):
        expected = torch.stack([(row >= row.sort(descending=True).values[k - 1]).double() for row in logits])
        assert_same(student.open_exactly(logits, k).detach(), expected)


@task("task_16_4", without=("course_lib",), hint="Closed filters too have the gradient of the soft gates.")
def test_the_gradient_is_that_of_the_soft_gates(student, draw):
    b, m = draw.primes(2, high=13)
    logits, weights = 2 * draw.normal(b, m), draw.normal(b, m)
    logits[0, 0], logits[0, 1] = -3, 3  # beyond log 11: clipped
    logits.requires_grad_()
    slope = torch.autograd.grad((weights * student.open_exactly(logits, 2)).sum(), logits)[0]
    assert_same(slope, slope_by_loops(logits.detach(), weights))


def _soft(logits):
    return (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)


def _open(logits, k, *, soft=_soft, hard=None):
    """The right answer with the parts that a wrong answer exchanges."""
    if hard is None:
        hard = torch.zeros_like(logits).scatter(1, logits.topk(k, dim=1).indices, 1.0)
    return hard + soft(logits) - soft(logits).detach()


@wrong("task_16_4")
def open_exactly__above_zero(logits, k):
    """All filters with a logit above 0 are open; k of each image must be."""
    return _open(logits, k, hard=(logits > 0).to(logits.dtype))


@wrong("task_16_4")
def open_exactly__of_the_batch(logits, k):
    """The largest logits of the whole batch are open; each image opens its own k."""
    best = logits.flatten().topk(k * len(logits)).indices
    return _open(logits, k, hard=torch.zeros_like(logits).flatten().scatter(0, best, 1.0).view_as(logits))


@wrong("task_16_4")
def open_exactly__the_smallest(logits, k):
    """The k smallest logits are open; it must be the largest."""
    return _open(logits, k, hard=torch.zeros_like(logits).scatter(1, (-logits).topk(k, dim=1).indices, 1.0))


@wrong("task_16_4")
def open_exactly__soft_values(logits, k):
    """The soft gates are passed on; forward, the gates must be 0 or 1."""
    return _soft(logits)


@wrong("task_16_4")
def open_exactly__no_gradient(logits, k):
    """The gates have no gradient."""
    return _open(logits, k).detach()


@wrong("task_16_4")
def open_exactly__open_ones_only(logits, k):
    """Only open filters have a gradient; a closed one can then never learn to open."""
    hard = torch.zeros_like(logits).scatter(1, logits.topk(k, dim=1).indices, 1.0)
    return hard * (1 + _soft(logits) - _soft(logits).detach())


@wrong("task_16_4")
def open_exactly__sigmoid(logits, k):
    """The gradient is that of a plain sigmoid; g_α is stretched and clipped."""
    return _open(logits, k, soft=torch.sigmoid)


@wrong("task_16_4")
def open_exactly__not_clipped(logits, k):
    """The soft gates are stretched, but not clipped: far logits must have no gradient."""
    return _open(logits, k, soft=lambda logits: 1.2 * logits.sigmoid() - 0.1)


@wrong("task_16_4")
def open_exactly__identity(logits, k):
    """The gradient is passed on unchanged, as if the gate were the logit."""
    return _open(logits, k, soft=lambda logits: logits)


@wrong("task_16_4")
def open_exactly__over_the_images(logits, k):
    """For each filter the k best images were opened; the k best filters of each image are due."""
    k = min(k, len(logits))
    return _open(logits, k, hard=torch.zeros_like(logits).scatter(0, logits.topk(k, dim=0).indices, 1.0))
