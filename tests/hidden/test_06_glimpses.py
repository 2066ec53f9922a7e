"""Grades exercise 06 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same, number, tensor

# --- task 1: the retina ---


def seen_by_loop(images, location, size, scales):
    """Pixel by pixel: which block of which patch does it fall into? Then each sum by how many fell there."""
    b, c, h, w = images.shape
    total, count = (images.new_zeros(b, scales, n, size, size) for n in (c, 1))
    for n, k in ((n, k) for n in range(b) for k in range(scales)):
        block, side = 2**k, size * 2**k
        left = math.floor((location[n, 0].item() + 1) * w / 2 - (side - 1) / 2)
        top = math.floor((location[n, 1].item() + 1) * h / 2 - (side - 1) / 2)
        for y in range(max(top, 0), min(top + side, h)):
            for x in range(max(left, 0), min(left + side, w)):
                row, column = (y - top) // block, (x - left) // block
                total[n, k, :, row, column] += images[n, :, y, x]
                count[n, k, :, row, column] += 1
    return (total / count.clamp(min=1)).flatten(1, 2)


def somewhere(draw, count):
    return 2 * draw.uniform(count, 2) - 1


@task(
    "task_06_1",
    without=("course_lib",),
    hint="Compare with a loop over pixels: which block of which patch does each pixel fall into?",
)
def test_retina_equals_the_loop(student, draw):
    h, w, c = draw.primes(3)
    for size in (3, 4):
        images, location = draw.normal(4, c, h, w), somewhere(draw, 4)
        assert_same(student.retina(images, location, size, 3), seen_by_loop(images, location, size, 3))


@task("task_06_1", hint="At the corners most of the retina lies outside: there is nothing, and it does not count.")
def test_retina_at_the_corners(student, draw):
    h, w = draw.primes(2)
    corners = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    images = 1 + draw.uniform(4, 2, h, w)
    images[..., ::3] = 0  # a dark pixel inside counts
    assert_same(student.retina(images, corners, 4, 3), seen_by_loop(images, corners, 4, 3))


@task("task_06_1", hint="With six scales the widest square is 32 times as wide as the sharpest: it must still fit.")
def test_retina_of_many_scales(student, draw):
    h, w = draw.primes(2, high=7)
    images, location = 1 + draw.uniform(2, 1, h, w), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).double()
    assert_same(student.retina(images, location, 5, 6), seen_by_loop(images, location, 5, 6))


@task("task_06_1", hint="Each image has a place of its own; what one sees must not depend on the others.")
def test_each_image_has_its_place(student, draw):
    h, w = draw.primes(2)
    images, location = draw.normal(3, 1, h, w), somewhere(draw, 3)
    together = student.retina(images, location, 2, 2)
    for n in range(3):
        assert_same(student.retina(images[n : n + 1], location[n : n + 1], 2, 2), together[n : n + 1])


def _squares(location, h, w, side):
    """First column and first row of each square."""
    exact = (location + 1) * location.new_tensor([w, h]) / 2 - (side - 1) / 2
    return exact.floor().long().unbind(1)


def _retina(images, location, size, scales, squares=_squares, shrink=F.avg_pool2d, exist=True, edge=None):
    """The right answer, image by image, with the parts that a wrong answer exchanges."""
    _, _, h, w = images.shape
    edge, result = size * 2**scales if edge is None else edge, []
    padded = F.pad(torch.stack([images, torch.ones_like(images)]), (edge,) * 4)  # seen or exists, b c h w
    for k in range(scales):
        side, cut = size * 2**k, []
        for n, (left, top) in enumerate(zip(*squares(location, h, w, side), strict=True)):
            cut.append(padded[:, n, :, top + edge : top + edge + side, left + edge : left + edge + side])
        seen, share = torch.stack(cut, dim=1)
        share = F.avg_pool2d(share, 2**k).clamp(min=0.25**k) if exist else 1
        result.append(shrink(seen, 2**k) / share)
    return torch.cat(result, dim=1)


@wrong("task_06_1")
def retina__as_in_the_lesson(images, location, size, scales):
    """This is the lesson's retina: zeros beyond the border count in its averages; yours leaves them out."""
    return _retina(images, location, size, scales, exist=False)


@wrong("task_06_1")
def retina__nan_where_nothing_is(images, location, size, scales):
    """A block with no pixel inside the image is divided by zero; it must be zero."""
    seen = _retina(images, location, size, scales, exist=False)
    return seen / _retina(torch.ones_like(images), location, size, scales, exist=False)


@wrong("task_06_1")
def retina__dark_pixels_left_out(images, location, size, scales):
    """Pixels that are 0 are left out as if they lay outside; a dark pixel inside the image counts."""
    seen, bright = (_retina(t, location, size, scales, exist=False) for t in (images, (images != 0).to(images.dtype)))
    return seen / bright.clamp(min=0.25**scales)


@wrong("task_06_1")
def retina__padded_too_little(images, location, size, scales):
    """The padding is 2g on each side; the widest square is g · 2^(k − 1) wide, and leaves it where k is large."""
    return _retina(images, location, size, scales, edge=2 * size)


@wrong("task_06_1")
def retina__rows_and_columns_exchanged(images, location, size, scales):
    """x goes with columns and y with rows; here they are exchanged."""
    return _retina(images, location, size, scales, lambda at, h, w, side: _squares(at.flip(1), h, w, side))


@wrong("task_06_1")
def retina__height_for_both_axes(images, location, size, scales):
    """The height is used for both axes; on an image that is not square, x must be scaled by the width."""
    return _retina(images, location, size, scales, lambda at, h, w, side: _squares(at, h, h, side))


@wrong("task_06_1")
def retina__place_is_the_corner(images, location, size, scales):
    """The place is used as the corner of the square; it is its middle."""

    def corner(location, h, w, side):
        return ((location + 1) * location.new_tensor([w, h]) / 2).floor().long().unbind(1)

    return _retina(images, location, size, scales, corner)


@wrong("task_06_1")
def retina__half_a_side_too_far(images, location, size, scales):
    """Half of the side is taken off, not of the side less one: many squares lie one pixel too far up or left."""

    def early(location, h, w, side):
        return ((location + 1) * location.new_tensor([w, h]) / 2 - side / 2).floor().long().unbind(1)

    return _retina(images, location, size, scales, early)


@wrong("task_06_1")
def retina__cut_off_instead_of_floor(images, location, size, scales):
    """Decimals are cut off, as int and long do; below zero that is not the floor, so squares begin a pixel late."""

    def towards_zero(location, h, w, side):
        return ((location + 1) * location.new_tensor([w, h]) / 2 - (side - 1) / 2).long().unbind(1)

    return _retina(images, location, size, scales, towards_zero)


@wrong("task_06_1")
def retina__every_second_pixel(images, location, size, scales):
    """The coarse squares are thinned out; each value must be the average of its block."""
    return _retina(images, location, size, scales, shrink=lambda cut, block: cut[:, :, ::block, ::block])


@wrong("task_06_1")
def retina__largest_instead_of_average(images, location, size, scales):
    """The coarse squares show the largest pixel of each block; they must show the average."""
    return _retina(images, location, size, scales, shrink=F.max_pool2d)


@wrong("task_06_1")
def retina__coarsest_first(images, location, size, scales):
    """The patches are right, but the coarsest comes first."""
    patches = _retina(images, location, size, scales).split(images.shape[1], dim=1)
    return torch.cat(patches[::-1], dim=1)


@wrong("task_06_1")
def retina__sides_grow_by_addition(images, location, size, scales):
    """The sides are g, 3g, 5g; each square must be twice as wide as the one before."""
    times = [2 * k + 1 for k in range(scales)]

    def patch(x, n):
        return _retina(x, location, size * n, 1, shrink=lambda cut, _: F.avg_pool2d(cut, n), exist=False)

    patches = [patch(images, n) / patch(torch.ones_like(images), n).clamp(min=1e-3) for n in times]
    return torch.cat(patches, dim=1)


@wrong("task_06_1")
def retina__one_place_for_all(images, location, size, scales):
    """Every image is looked at where the first one is; each has its own place."""
    return _retina(images, location[:1].expand(len(images), 2), size, scales)


@wrong("task_06_1")
def retina__clamped_into_the_image(images, location, size, scales):
    """Squares are pushed back into the image; they must stay around their place, whatever lies beyond the border."""

    def inside(location, h, w, side):
        left, top = _squares(location, h, w, side)
        return left.clamp(0, max(w - side, 0)), top.clamp(0, max(h - side, 0))

    return _retina(images, location, size, scales, inside)


# --- task 2: draw a place ---


def choices(draw):
    """Means near the border, noise, and a spread; most draws of the first two images leave the image."""
    (b,) = draw.primes(1)
    mean = 0.6 * draw.normal(b, 2)
    mean[:2] = mean[:2].sign() * 0.9
    noise = draw.normal(b, 2)
    noise[:2] = mean[:2].sign() * (1 + draw.uniform(2, 2))
    return mean.requires_grad_(), noise, draw.number(0.15, 0.5)


@task(
    "task_06_2",
    without=("course_lib",),
    hint="The retina gets mean + std · noise, clipped to [−1, 1], and no gradient passes through it.",
)
def test_place_is_the_clipped_draw(student, draw):
    mean, noise, std = choices(draw)
    place, _ = student.draw_place(mean, noise, std)
    expected = [
        [min(1.0, max(-1.0, m + std * e)) for m, e in zip(*row, strict=True)]
        for row in zip(mean.tolist(), noise.tolist(), strict=True)
    ]
    assert_same(tensor(place).detach(), torch.tensor(expected, dtype=torch.float64))
    assert not gradient_or_zero(place.sum(), mean).any()


@task("task_06_2", hint="The log-density of a Gaussian, summed over x and y, at the draw before clipping.")
def test_log_probability_of_the_unclipped_draw(student, draw):
    mean, noise, std = choices(draw)
    _, log_prob = student.draw_place(mean, noise, std)
    density = torch.exp(-noise.square().sum(1) / 2) / (2 * math.pi * std**2)
    assert_same(tensor(log_prob).detach(), density.log())


@task("task_06_2", hint="∂ log π / ∂ mean = (l − mean) / std², for draws inside and outside the image.")
def test_gradient_for_the_mean(student, draw):
    mean, noise, std = choices(draw)
    _, log_prob = student.draw_place(mean, noise, std)
    assert_same(gradient_or_zero(tensor(log_prob).sum(), mean), noise / std)


def _log_density(place, mean, std):
    return -((place - mean) / std).square() / 2 - math.log(std) - math.log(2 * math.pi) / 2


@wrong("task_06_2")
def draw_place__density_of_the_clipped_place(mean, noise, std):
    """The log-density is that of the clipped place, another random variable: at the border the gradient is biased."""
    place = (mean + std * noise).detach().clamp(-1, 1)
    return place, _log_density(place, mean, std).sum(1)


@wrong("task_06_2")
def draw_place__draw_not_detached(mean, noise, std):
    """The draw moves along with the mean, so the log-density has no gradient at all: detach the draw."""
    drawn = mean + std * noise
    return drawn.clamp(-1, 1), _log_density(drawn, mean, std).sum(1)


@wrong("task_06_2")
def draw_place__mean_detached(mean, noise, std):
    """The mean inside the log-density was detached: nothing is left to learn from."""
    drawn = (mean + std * noise).detach()
    return drawn.clamp(-1, 1), _log_density(drawn, mean.detach(), std).sum(1)


@wrong("task_06_2")
def draw_place__leaks_through_the_place(mean, noise, std):
    """The log-density is right, but the place itself still carries a gradient back to the mean."""
    drawn = mean + std * noise
    return drawn.clamp(-1, 1), _log_density(drawn.detach(), mean, std).sum(1)


@wrong("task_06_2")
def draw_place__averaged_over_the_coordinates(mean, noise, std):
    """The two log-densities are averaged; x and y are independent, so they must be added."""
    drawn = (mean + std * noise).detach()
    return drawn.clamp(-1, 1), _log_density(drawn, mean, std).mean(1)


@wrong("task_06_2")
def draw_place__without_the_normaliser(mean, noise, std):
    """−log σ and −½ log 2π are missing: the gradient for the mean is right, the log-probability is not."""
    drawn = (mean + std * noise).detach()
    return drawn.clamp(-1, 1), (_log_density(drawn, mean, std) + math.log(std) + math.log(2 * math.pi) / 2).sum(1)


@wrong("task_06_2")
def draw_place__variance_for_standard_deviation(mean, noise, std):
    """std is a standard deviation; it was used as a variance."""
    drawn = (mean + std * noise).detach()
    return drawn.clamp(-1, 1), _log_density(drawn, mean, math.sqrt(std)).sum(1)


@wrong("task_06_2")
def draw_place__not_clipped(mean, noise, std):
    """The place for the retina is not clipped to [−1, 1]."""
    drawn = (mean + std * noise).detach()
    return drawn, _log_density(drawn, mean, std).sum(1)


# --- task 3: three losses ---


def episode(draw, *, square=False):
    """logits b k, labels b, log_prob b t, baseline b t; about half of the images right; with ``square`` b = t."""
    b, k, t = draw.primes(3, high=13)
    t = b if square else t
    logits = draw.normal(b, k)
    labels = torch.where(draw.uniform(b) < 0.5, logits.argmax(1), draw.integers(0, k, b))
    labels[0], labels[1] = logits[0].argmax(), (logits[1].argmax() + 1) % k
    return logits.requires_grad_(), labels, draw.normal(b, t).requires_grad_(), draw.normal(b, t).requires_grad_()


def gradient_or_zero(loss, leaf):
    """The gradient of what a student returned, or zeros where none reaches the leaf."""
    if not tensor(loss).requires_grad:
        return torch.zeros_like(leaf)
    (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if gradient is None else gradient


def losses_by_loops(logits, labels, log_prob, baseline):
    """Image by image and glimpse by glimpse: three numbers."""
    b, t = log_prob.shape
    classification = squared = policy = 0.0
    for n in range(b):
        classification -= logits[n].log_softmax(0)[labels[n]].item() / b
        reward = float(logits[n].argmax() == labels[n])
        for k in range(t):
            advantage = reward - baseline[n, k].item()
            squared += advantage**2 / (b * t)
            policy -= log_prob[n, k].item() * advantage / b
    return classification, squared, policy


def compare_losses(student, data):
    for loss, expected in zip(student.hybrid_loss(*data), losses_by_loops(*data), strict=True):
        assert_number(tensor(loss).detach(), expected)


@task(
    "task_06_3",
    without=("course_lib",),
    hint="Compare with loops over images and glimpses: R is one number for each image.",
)
def test_values_equal_the_loops(student, draw):
    compare_losses(student, episode(draw))


@task("task_06_3", hint="As many glimpses as images: a reward spread over the wrong axis then runs without an error.")
def test_values_equal_the_loops_where_b_is_t(student, draw):
    compare_losses(student, episode(draw, square=True))


@task(
    "task_06_3",
    hint="The policy's gradient for a log-probability: minus the advantage, over the number of images.",
)
def test_policy_trains_choices(student, draw):
    logits, labels, log_prob, baseline = episode(draw)
    policy = student.hybrid_loss(logits, labels, log_prob, baseline)[2]
    reward = (logits.argmax(1) == labels).double()
    assert_same(gradient_or_zero(policy, log_prob), (baseline.detach() - reward[:, None]) / len(labels))


@task("task_06_3", hint="The policy's loss reaches the log-probabilities, and neither the baseline nor the logits.")
def test_policy_trains_nothing_else(student, draw):
    logits, labels, log_prob, baseline = episode(draw)
    policy = student.hybrid_loss(logits, labels, log_prob, baseline)[2]
    assert gradient_or_zero(policy, baseline).abs().max() == 0 == gradient_or_zero(policy, logits).abs().max()


@task("task_06_3", hint="The baseline's loss reaches the baseline and nothing else.")
def test_baseline_learns(student, draw):
    logits, labels, log_prob, baseline = episode(draw)
    squared = student.hybrid_loss(logits, labels, log_prob, baseline)[1]
    reward = (logits.argmax(1) == labels).double()
    assert_same(gradient_or_zero(squared, baseline), 2 * (baseline.detach() - reward[:, None]) / baseline.numel())
    assert gradient_or_zero(squared, log_prob).abs().max() == 0 == gradient_or_zero(squared, logits).abs().max()


def _losses(logits, labels, advantage, policy):
    return F.cross_entropy(logits, labels), advantage.square().mean(), policy


def _advantage(logits, labels, baseline):
    return (logits.argmax(1) == labels).to(logits.dtype)[:, None] - baseline


@wrong("task_06_3")
def hybrid_loss__advantage_not_detached(logits, labels, log_prob, baseline):
    """The advantage in the policy's loss still has a gradient: the baseline is bent to flatter the policy."""
    a = _advantage(logits, labels, baseline)
    return _losses(logits, labels, a, -(log_prob * a).sum(1).mean())


@wrong("task_06_3")
def hybrid_loss__detached_everywhere(logits, labels, log_prob, baseline):
    """The advantage is detached in both losses, so the baseline never learns."""
    a = _advantage(logits, labels, baseline).detach()
    return _losses(logits, labels, a, -(log_prob * a).sum(1).mean())


@wrong("task_06_3")
def hybrid_loss__sign(logits, labels, log_prob, baseline):
    """The sign of the policy's loss is wrong: rewarded choices become rarer."""
    a = _advantage(logits, labels, baseline)
    return _losses(logits, labels, a, (log_prob * a.detach()).sum(1).mean())


@wrong("task_06_3")
def hybrid_loss__no_baseline_in_the_policy(logits, labels, log_prob, baseline):
    """The policy's loss uses the reward and not the advantage."""
    a = _advantage(logits, labels, baseline)
    return _losses(logits, labels, a, -(log_prob * (a + baseline).detach()).sum(1).mean())


@wrong("task_06_3")
def hybrid_loss__averaged_over_glimpses(logits, labels, log_prob, baseline):
    """The policy's loss is averaged over the glimpses; the log-probabilities of one episode must be added."""
    a = _advantage(logits, labels, baseline)
    return _losses(logits, labels, a, -(log_prob * a.detach()).mean())


@wrong("task_06_3")
def hybrid_loss__summed_over_the_images(logits, labels, log_prob, baseline):
    """Images and glimpses are exchanged: the policy's loss is summed over the images, averaged over the glimpses."""
    a = _advantage(logits, labels, baseline)
    return _losses(logits, labels, a, -(log_prob * a.detach()).sum(0).mean())


@wrong("task_06_3")
def hybrid_loss__reward_along_the_wrong_axis(logits, labels, log_prob, baseline):
    """R has one number for each image and needs a second axis; here it was spread over the glimpses."""
    a = (logits.argmax(1) == labels).to(logits.dtype) - baseline
    return _losses(logits, labels, a, -(log_prob * a.detach()).sum(1).mean())


@wrong("task_06_3")
def hybrid_loss__log_prob_detached(logits, labels, log_prob, baseline):
    """The log-probabilities were detached: they are the only way to the choices."""
    a = _advantage(logits, labels, baseline)
    return _losses(logits, labels, a, -(log_prob.detach() * a.detach()).sum(1).mean() + 0 * log_prob.sum())


@wrong("task_06_3")
def hybrid_loss__probability_as_reward(logits, labels, log_prob, baseline):
    """The reward is the probability of the true class; the task asks for 1 or 0."""
    reward = logits.softmax(1).gather(1, labels[:, None]).detach()
    a = reward - baseline
    return _losses(logits, labels, a, -(log_prob * a.detach()).sum(1).mean())


# --- task 4: how noisy is the gradient? ---


def moments(d, std, b):
    """Mean and variance of ĝ by Gauss and Hermite's rule, exact for polynomials of this degree."""
    points = torch.linalg.eigh(torch.diag(torch.arange(1, 10, dtype=torch.float64).sqrt(), 1), UPLO="U")
    e, weight = points.eigenvalues, points.eigenvectors[0].square()
    one = (-((std * e - d) ** 2) - b) * e / std
    mean = (weight * one).sum()
    return mean.item(), (weight * one.square()).sum().item() - mean.item() ** 2


def numbers(draw):
    """A way to go of either sign, a spread, a baseline."""
    sign = 1 if draw.number(0, 1) < 0.5 else -1
    return sign * draw.number(0.2, 2.0), draw.number(0.1, 1.5), draw.number(-2.0, 2.0)


@task(
    "task_06_4",
    without=("course_lib",),
    hint="Only even powers of ε survive; the mean does not contain the baseline.",
)
def test_mean(student, draw):
    for d, std, b in [numbers(draw) for _ in range(6)]:
        assert_number(student.gradient_mean(d, std, b), moments(d, std, b)[0])


@task("task_06_4", hint="The variance is a parabola in b; where is its lowest point?")
def test_best_baseline(student, draw):
    for d, std, _ in [numbers(draw) for _ in range(6)]:
        left, middle, right = (moments(d, std, b)[1] for b in (-1.0, 0.0, 1.0))
        lowest = (left - right) / (2 * (left - 2 * middle + right))
        assert math.isclose(number(student.best_baseline(d, std)), lowest, rel_tol=1e-6)


@wrong("task_06_4")
def gradient_mean__with_the_baseline(d, std, baseline):
    """The baseline is multiplied by ε, whose mean is zero: it drops out of the mean."""
    return 2 * d - baseline / std


@wrong("task_06_4")
def gradient_mean__wrong_sign(d, std, baseline):
    """The sign is wrong: the gradient must point from the mean to the target."""
    return -2 * d


@wrong("task_06_4")
def gradient_mean__divided_by_the_spread(d, std, baseline):
    """The σ of l − c = σε − d cancels the one in ε/σ."""
    return 2 * d / std


@wrong("task_06_4")
def best_baseline__mean_reward(d, std):
    """This is the mean reward, −d² − σ²: near the best one, but draws with a large ε weigh more."""
    return -(d**2) - std**2


@wrong("task_06_4")
def best_baseline__reward_at_the_mean(d, std):
    """This is the reward at the mean; the spread of the draws costs 3σ² more."""
    return -(d**2)


@wrong("task_06_4")
def best_baseline__sign(d, std):
    """Rewards are negative here, and so is the best baseline."""
    return d**2 + 3 * std**2


# --- task 5: repair an agent that leaks ---


def _crop(images, place, size):
    h, w = images.shape[2:]
    steps = torch.arange(size, dtype=images.dtype) - (size - 1) / 2
    x, y = place[:, :1] + steps * 2 / w, place[:, 1:] + steps * 2 / h
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    return F.grid_sample(images, grid, align_corners=False)[:, 0]


class _Agent(nn.Module):
    """The right agent in small steps, each of which a wrong answer changes."""

    def __init__(self, size, hidden, classes, std):
        super().__init__()
        self.size, self.hidden, self.std = size, hidden, std
        self.see = nn.Linear(size * size + 2, hidden)
        self.core = nn.RNNCell(hidden, hidden)
        self.locate = nn.Linear(hidden, 2)
        self.expect = nn.Linear(hidden, 1)
        self.classify = nn.Linear(hidden, classes)

    def look(self, images, place, state):
        seen = torch.cat([_crop(images, place, self.size).flatten(1), place], dim=1)
        return self.core(self.see(seen).relu(), state)

    def mean(self, state):
        return self.locate(state.detach())

    def expected(self, state):
        return self.expect(state.detach())[:, 0]

    def place(self, mean, noise):
        return (mean + self.std * noise).detach()

    def log_prob(self, place, mean):
        return _log_density(place, mean, self.std).sum(1)

    def remember(self, state):
        return state

    def reward(self, logits, labels):
        return (logits.argmax(1) == labels).to(logits.dtype)

    def factor(self, advantage):
        return advantage.detach()

    def forward(self, images, noise, labels):
        state = self.look(images, images.new_zeros(len(images), 2), images.new_zeros(len(images), self.hidden))
        mean, expected = self.mean(state), self.expected(state)
        place = self.place(mean, noise)
        logits = self.classify(self.look(images, place, self.remember(state)))
        advantage = self.reward(logits, labels) - expected
        policy = -(self.log_prob(place, mean) * self.factor(advantage)).mean()
        return F.cross_entropy(logits, labels), advantage.square().mean(), policy


def agents(student, draw):
    """The student's agent and the right one with the same random weights; images, noise and labels."""
    b, h, w, hidden, classes = draw.primes(5, high=13)
    std = draw.number(0.2, 0.6)
    right = _Agent(3, hidden, classes, std).double()
    for parameter in right.parameters():
        parameter.data = draw.normal(*parameter.shape) / 2
    yours = student.RepairedAgent(3, hidden, classes, std).double()
    yours.load_state_dict(right.state_dict())
    return yours, right, (draw.uniform(b, 1, h, w), draw.normal(b, 2), draw.integers(0, classes, b))


@task("task_06_5", without=("course_lib",), hint="The three losses keep their values; only gradients are cut.")
def test_the_values_stay(student, draw):
    yours, right, data = agents(student, draw)
    for mine, expected in zip(yours(*data), right(*data), strict=True):
        assert_same(tensor(mine).detach(), expected.detach())


def same_gradients(student, draw, which, *parts):
    """The gradient of one loss for these parts; each part apart, so that leaks can be told from one another."""
    yours, right, data = agents(student, draw)
    expected_loss, loss = right(*data)[which], yours(*data)[which]
    parameters = dict(yours.named_parameters())
    for name, parameter in right.named_parameters():
        if name.split(".")[0] in parts:
            assert_same(gradient_or_zero(loss, parameters[name]), gradient_or_zero(expected_loss, parameter))


@task("task_06_5", hint="Classification trains see, core and classify, through both looks.")
def test_classification_trains_its_parts(student, draw):
    same_gradients(student, draw, 0, "see", "core", "classify")


@task("task_06_5", hint="Classification trains neither locate nor expect: no gradient passes through the place.")
def test_classification_leaves_the_heads(student, draw):
    same_gradients(student, draw, 0, "locate", "expect")


@task("task_06_5", hint="The baseline's loss trains expect and nothing else.")
def test_gradients_of_the_baseline(student, draw):
    same_gradients(student, draw, 1, "see", "core", "classify", "locate", "expect")


@task("task_06_5", hint="The policy's loss trains locate, by (l − mean)/std² times the advantage.")
def test_policy_trains_locate(student, draw):
    same_gradients(student, draw, 2, "locate")


@task("task_06_5", hint="The policy's loss does not train expect.")
def test_policy_leaves_the_baseline(student, draw):
    same_gradients(student, draw, 2, "expect")


@task("task_06_5", hint="The policy's loss trains neither see, nor core, nor classify.")
def test_policy_leaves_the_memory(student, draw):
    same_gradients(student, draw, 2, "see", "core", "classify")


@wrong("task_06_5")
class RepairedAgent__place_not_detached(_Agent):
    """The draw still carries a gradient: classification trains locate through the crop, the policy trains nothing."""

    def place(self, mean, noise):
        return mean + self.std * noise


@wrong("task_06_5")
class RepairedAgent__detached_for_the_density_only(_Agent):
    """The draw is detached in the log-density, but the crop still passes the classification's gradient to locate."""

    def place(self, mean, noise):
        return mean + self.std * noise

    def log_prob(self, place, mean):
        return super().log_prob(place.detach(), mean)


@wrong("task_06_5")
class RepairedAgent__policy_shapes_the_memory(_Agent):
    """The state goes into locate with its gradient: the policy's loss trains see and core."""

    def mean(self, state):
        return self.locate(state)


@wrong("task_06_5")
class RepairedAgent__baseline_shapes_the_memory(_Agent):
    """The state goes into expect with its gradient: the baseline's loss trains see and core."""

    def expected(self, state):
        return self.expect(state)[:, 0]


@wrong("task_06_5")
class RepairedAgent__baseline_bent_by_the_policy(_Agent):
    """The advantage is a factor in the policy's loss and must be a number there: its gradient bends the baseline."""

    def factor(self, advantage):
        return advantage


@wrong("task_06_5")
class RepairedAgent__memory_cut_between_looks(_Agent):
    """One cut too many: the second look gets a detached state, so the first look learns nothing from the answer."""

    def remember(self, state):
        return state.detach()


@wrong("task_06_5")
class RepairedAgent__mean_detached(_Agent):
    """One cut too many: the mean was detached, and the location head learns nothing from anything."""

    def mean(self, state):
        return self.locate(state).detach()


@wrong("task_06_5")
class RepairedAgent__clipped_draw(_Agent):
    """The draw was clipped before its density was taken; the values of the losses must stay."""

    def place(self, mean, noise):
        return super().place(mean, noise).clamp(-1, 1)


@wrong("task_06_5")
class RepairedAgent__reward_with_a_gradient(_Agent):
    """The reward became the probability of the label, with a gradient; it is 1 or 0."""

    def reward(self, logits, labels):
        return logits.softmax(1).gather(1, labels[:, None])[:, 0]
