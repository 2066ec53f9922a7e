# %% [markdown]
# # Exercise 06 · Glimpses
#
# You write a retina that knows where the image ends, the draw of a place with its log-probability, and the three losses with their cuts; you
# derive the mean of its gradient and the baseline that makes it least noisy, and repair an agent whose losses leak into each other's parts.
#
# *Minutes:* 60 · *Needs:* 06
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.exercises import Exercise

torch.manual_seed(0)
exercise = Exercise("06_glimpses", points=[3, 2, 3, 3, 3])

# %% [markdown]
# ## task_06_1 · A retina that knows where the image ends
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# Cut k squares around a place out of each image, of side g, 2g, 4g, …, and shrink each to g × g by averaging blocks of $2^i \times 2^i$ pixels.
# The result holds the sharpest patch first. The lesson's retina takes zeros for what lies beyond the border, so a white wall looks grey at its
# edge. Yours does not: **a block averages only those of its pixels that lie inside the image**, and is zero where there are none.
#
# A place (x, y) has x = −1 at the *left* edge and x = 1 at the right edge, y = −1 on *top* and y = 1 below, for any h and w. The first
# column of a square of side s is $\lfloor (x + 1)\, w / 2 - (s - 1)/2 \rfloor$; rows likewise with y and h.
#
# Shapes: `images` b c h w, `location` b 2, result b (k c) g g, for any g and k.
#
# The first lines are written: `padded` is the image with so many zeros, `edge`, on each side that no square leaves it.
#
# <details><summary>Hint 1: the border</summary>
#
# In `padded` every corner has moved by the same number. By which?
# </details>
#
# <details><summary>Hint 2: how many pixels of a block are inside?</summary>
#
# Look in the same way at an image that is 1 everywhere: its averages, with zeros beyond the border, are the shares that lie inside.
# </details>
#
# <details><summary>Hint 3: the batch</summary>
#
# A loop over images is allowed here. Without one: `padded.unfold(2, s, 1).unfold(3, s, 1)` is a view of all windows, b c y x s s, and
# `windows[torch.arange(b), :, top, left]` picks one of each image. `F.avg_pool2d` shrinks; `torch.cat` joins the patches.
# </details>


# %% tags=["task_06_1"]
def retina(images, location, size, scales):
    """Sharp in the middle, coarse around it: b c h w, b 2 -> b (k c) size size."""
    b, _, h, w = images.shape
    edge = size * 2**scales
    padded = F.pad(images, (edge, edge, edge, edge))
    ### BEGIN SOLUTION
    inside, patches = F.pad(torch.ones_like(images), (edge, edge, edge, edge)), []
    for i in range(scales):
        side = size * 2**i
        exact = (location + 1) * location.new_tensor([w, h]) / 2 - (side - 1) / 2  # b 2, x and y
        left, top = (exact.floor().long() + edge).unbind(dim=1)
        windows = (t.unfold(2, side, 1).unfold(3, side, 1) for t in (padded, inside))  # b c y x side side
        seen, share = (F.avg_pool2d(t[torch.arange(b), :, top, left], 2**i) for t in windows)
        patches.append(seen / share.clamp(min=0.25**i))  # one pixel of 4^i at least, or the block is zero anyway
    return torch.cat(patches, dim=1)
    ### END SOLUTION


# %% tags=["folded"]
def numbers(patch):
    """The numbers of a patch, row by row, for the sentences below."""
    return [round(value, 3) for value in patch.flatten().tolist()]


image, middle = torch.arange(48.0).view(1, 1, 6, 8), torch.zeros(1, 2)  # 8·row + column


def check_sharp_patch():
    """One patch: which row, which column."""
    sharp = retina(image, middle, 2, 1)
    assert sharp.shape == (1, 1, 2, 2), f"one image, one patch of 2 × 2 is 1 1 2 2, not {tuple(sharp.shape)}"
    assert numbers(sharp) == [19, 20, 27, 28], (
        f"at (0, 0) of 6 × 8 pixels the patch is rows 2, 3 and columns 3, 4: 19, 20, 27, 28, not {numbers(sharp)}"
    )
    right = numbers(retina(image, torch.tensor([[0.2, 0.0]]), 2, 1))
    assert right == [20, 21, 28, 29], f"at x = 0.2 the first column is ⌊4.8 − 0.5⌋ = 4: 20, 21, 28, 29, not {right}"
    (wide,) = numbers(retina(torch.arange(24.0).view(1, 1, 3, 8), torch.tensor([[0.5, 0.0]]), 1, 1))
    assert wide == 14, f"on 3 × 8 pixels (0.5, 0) is row 1, column 6, which holds 14, not {wide}: x goes with w"


# %% tags=["folded"]
ones = torch.ones(1, 1, 4, 5)


def check_border():
    """What lies beyond the border does not count."""
    beyond = numbers(retina(ones, torch.ones(1, 2), 2, 1))
    assert beyond == [1, 0, 0, 0], f"at (1, 1) only the first pixel lies inside: 1, 0, 0, 0, not {beyond}"
    before = numbers(retina(ones, -torch.ones(1, 2), 2, 1))
    assert before == [0, 0, 0, 1], f"at (−1, −1) the square begins at ⌊−½⌋ = −1: 0, 0, 0, 1, not {before}"
    edge = retina(ones, torch.ones(1, 2), 1, 2)[0, 1].item()
    assert abs(edge - 1) < 1e-3, (
        f"at (1, 1) a block of 2 × 2 has one pixel inside, a 1, and averages to 1, not {edge:.2f}: what lies outside must not count"
    )
    assert abs(edge - 1) < 1e-6, (
        f"at (1, 1) that block averages to 1, not {edge:.6f}: is something added to the count?"
    )
    (outside,) = numbers(retina(ones, torch.ones(1, 2), 4, 2)[0, 1, 3, 3])
    assert outside == 0, f"a block without any pixel inside is 0, not {outside}"


# %% tags=["folded"]
def check_count():
    """A dark pixel inside counts; and the widest squares fit."""
    dark = numbers(retina(image, -torch.ones(1, 2), 2, 2)[0, 1])
    assert dark == [0, 0, 0, 4.5], (
        f"at (−1, −1) of the numbered image the last coarse block is 0, 1, 8, 9: 0, 0, 0, 4.5, not {dark}; a dark pixel counts, too"
    )
    widest = numbers(retina(ones, -torch.ones(1, 2), 3, 6)[0].amax(dim=(1, 2)))
    assert widest == [1] * 6, (
        f"six scales of a white image at (−1, −1), squares up to 96 wide: each sees white somewhere, not {widest}; "
        "how far does the widest square reach beyond the border?"
    )


# %% tags=["check_06_1"]
with exercise.check(1):
    check_sharp_patch()
    both = retina(image, middle, 2, 2)
    assert both.shape == (1, 2, 2, 2), f"two scales of one channel are 1 2 2 2, not {tuple(both.shape)}"
    assert numbers(both[0, 0]) == [19, 20, 27, 28], "the sharpest patch comes first"
    assert numbers(both[0, 1]) == [14.5, 16.5, 30.5, 32.5], (
        f"the coarse square is rows 1 to 4 and columns 2 to 5, each quarter averaged: 14.5, 16.5, 30.5, 32.5, not {numbers(both[0, 1])}"
    )
    colours = retina(torch.cat([image, image + 100], dim=1), middle, 2, 2)
    assert colours.shape == (1, 4, 2, 2), f"two scales of two channels are 1 4 2 2, not {tuple(colours.shape)}"
    assert numbers(colours[0, 1]) == [119, 120, 127, 128], (
        f"two channels: the sharpest patch of *both* comes first, so the second is 119, 120, 127, 128, not {numbers(colours[0, 1])}"
    )
    check_border()
    check_count()
    pair = torch.cat([image, image + 100])
    two = numbers(retina(pair, torch.tensor([[0.0, 0.0], [0.2, 0.0]]), 2, 1)[1])
    assert two == [120, 121, 128, 129], (
        f"each image has its own place: the second shows 120, 121, 128, 129, not {two}"
    )

# %% [markdown]
# ## task_06_2 · Draw a place
# difficulty 2/5 · importance 5/5 · 8 minutes
#
# The network wants to look at `mean`. In training it looks at $l = \mu + \sigma \epsilon$, with a given noise $\epsilon$. Return two things:
#
# - the place for the retina: the draw, clipped to [−1, 1];
# - $\log \mathcal N(l; \mu, \sigma^2 I)$, one number for each image, of the draw *before* clipping.
#
# The gradient of the log-probability by the mean must be $(l - \mu)/\sigma^2 = \epsilon/\sigma$. No gradient may pass through the
# place.
#
# Shapes: `mean` b 2, `noise` b 2, `std` a number; result: place b 2, log-probability b.
#
# <details><summary>Hint 1: the formula</summary>
#
# $-(l - \mu)^2 / 2\sigma^2 - \log \sigma - \tfrac12 \log 2\pi$ for each coordinate, and the coordinates are independent: add them.
# </details>
#
# <details><summary>Hint 2: where to cut</summary>
#
# If $l$ moves along with $\mu$, then $l - \mu$ never changes, and its gradient is zero. The draw must be a number:
# `(mean + std * noise).detach()`. The mean in the formula must not.
# </details>


# %% tags=["task_06_2"]
def draw_place(mean, noise, std):
    """A place for the retina, and the log-probability of having drawn it: b 2, b 2 -> b 2 and b."""
    ### BEGIN SOLUTION
    drawn = (mean + std * noise).detach()
    log_prob = -((drawn - mean) / std).square() / 2 - math.log(std) - math.log(2 * math.pi) / 2  # b 2
    return drawn.clamp(-1, 1), log_prob.sum(dim=1)
    ### END SOLUTION


# %% tags=["folded"]
def check_place(place, log_prob):
    """Two tensors, and the place on the border."""
    assert all(isinstance(one, torch.Tensor) for one in (place, log_prob)), "return two tensors"
    assert place.shape == (2, 2), f"one place (x, y) for each image: (2, 2), not {tuple(place.shape)}"
    assert log_prob.shape == (2,), f"one number for each image: (2,), not {tuple(log_prob.shape)}"
    first, second = ([round(v, 2) for v in row] for row in place.tolist())
    assert torch.allclose(place[0], torch.tensor([0.4, -0.6])), (
        f"mean (0.2, −0.4), noise (1, −1), std 0.2: the first place is (0.4, −0.6), not {first}"
    )
    assert torch.allclose(place[1], torch.tensor([1.0, 0.2])), (
        f"the second draw, (1.3, 0.2), leaves the image; the retina looks at (1, 0.2), not at {second}"
    )
    assert not place.requires_grad, "a gradient still passes through the place"


# %% tags=["folded"]
def check_density(log_prob, mean, noise):
    """Of which draw log π is the density, and whether constants and coordinates are right."""
    density = torch.distributions.Normal(mean.detach(), 0.2)
    off = log_prob.detach() - density.log_prob(mean.detach() + 0.2 * noise).sum(dim=1)
    off = off.round(decimals=4) + 0.0  # no −0.00 in the sentences
    said = f"log π is too large by {off[0]:.2f} for the draw inside the image and by {off[1]:.2f} for the one that left it"
    assert abs(off).max() < 1e-4 or abs(off[0] - off[1]) > 1e-4, f"{said}: a constant is missing, or one too many"
    assert abs(off[1]) < 1e-4 or abs(off[0]) > 1e-4, f"{said}: of which place is it the density?"
    assert abs(off).max() < 1e-4, f"{said}: how do the two coordinates come together, and is 0.2 σ or σ²?"


# %% tags=["check_06_2"]
with exercise.check(2):
    mean = torch.tensor([[0.2, -0.4], [0.9, 0.1]], requires_grad=True)
    noise = torch.tensor([[1.0, -1.0], [2.0, 0.5]])
    place, log_prob = draw_place(mean, noise, 0.2)
    check_place(place, log_prob)
    check_density(log_prob, mean, noise)
    assert log_prob.requires_grad, "the log-probability has no gradient: nothing can be learned from it"
    (gradient,) = torch.autograd.grad(log_prob.sum(), mean, allow_unused=True)
    assert gradient is not None and gradient.any(), (
        "the gradient of the log-probability by the mean is zero: does the draw move along with the mean?"
    )
    assert torch.allclose(gradient, noise / 0.2), (
        f"the first draw is one σ right of and above the mean, so the gradient by the mean is (5, −5), not {gradient[0].tolist()}"
    )

# %% [markdown]
# ## task_06_3 · Three losses
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# An image earns $R = 1$ if the largest logit is that of its label, else 0. With the *advantage* $A_{nt} = R_n - b_{nt}$ return three numbers:
#
# - **classification**: the mean cross-entropy of the logits;
# - **baseline**: the mean of $A_{nt}^2$ over images and glimpses;
# - **policy**: $-\sum_t \log \pi_{nt}\, A_{nt}$, summed over the glimpses, averaged over the images.
#
# The policy's loss must train the choices alone: no gradient of it may reach the baseline. The baseline's loss must reach the baseline.
#
# Shapes: `logits` b k, `labels` b, `log_prob` b t, `baseline` b t; result: three numbers.
#
# <details><summary>Hint 1: shapes</summary>
#
# R has shape b, and b_nt has shape b t. If b = t, `R - baseline` runs without an error and is wrong. Give R a second axis.
# </details>
#
# <details><summary>Hint 2: two uses of one number</summary>
#
# The advantage is used twice: squared, with its gradient, and as a factor, `advantage.detach()`, without.
# </details>


# %% tags=["task_06_3"]
def hybrid_loss(logits, labels, log_prob, baseline):
    """Classification, baseline, policy: b k, b, b t, b t -> three numbers."""
    ### BEGIN SOLUTION
    reward = (logits.argmax(dim=1) == labels).to(logits.dtype)
    advantage = reward[:, None] - baseline  # b 1 - b t -> b t
    policy = -(log_prob * advantage.detach()).sum(dim=1).mean()
    return F.cross_entropy(logits, labels), advantage.square().mean(), policy
    ### END SOLUTION


# %% tags=["folded"]
def three_images():
    """Logits, labels, log π and baseline of 3 images, 2 glimpses, 4 classes; the second image is wrong."""
    logits = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 3.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]], requires_grad=True)
    log_prob = torch.tensor([[-1.0, -2.0], [-3.0, -2.5], [-1.5, -0.5]], requires_grad=True)
    baseline = torch.tensor([[0.5, 0.25], [0.5, 1.0], [1.0, 0.5]], requires_grad=True)
    labels = torch.tensor([0, 2, 2])
    return logits, labels, log_prob, baseline


def check_policy(policy):
    """Its sign, its sum over glimpses, its mean over images."""
    value, right = policy.item(), -1.75 / 3  # −(−1·½ − 2·¾) = 2, −(3·½ + 2½·1) = −4, −(−½·½) = ¼
    assert abs(value + right) > 1e-5, "policy: the sign is turned; a step down would make rewarded choices rarer"
    assert abs(value - right / 2) > 1e-5, (
        "policy: half of what is due; how do the two glimpses of an image come together?"
    )
    assert abs(value - right * 3) > 1e-5, "policy: three times what is due; how do the three images come together?"
    assert abs(value - right * 3 / 2) > 1e-5, "policy: what is summed and what is averaged, images or glimpses?"
    assert abs(value - right) < 1e-5, (
        f"policy: the three images give 2, −4 and ¼ (advantages ½ ¾, −½ −1, 0 ½); their mean is −0.583, not {value:.3f}"
    )


# %% tags=["folded"]
def check_routes(squared, policy, logits, log_prob, baseline):
    """Whom the baseline's and the policy's loss train."""
    assert policy.requires_grad, "the policy's loss has no gradient: nothing tells the choices what paid"
    by_choice = torch.autograd.grad(policy, log_prob, retain_graph=True, allow_unused=True)[0]
    assert by_choice is not None and by_choice.any(), "the policy's loss does not reach the log-probabilities"
    leak = torch.autograd.grad(policy, (baseline, logits), retain_graph=True, allow_unused=True)
    for name, gradient in zip(("baseline", "answer"), leak):
        assert gradient is None or not gradient.any(), (
            f"the policy's loss bends the {name}, too: it trains the choices alone"
        )
    by_baseline = torch.autograd.grad(squared, baseline, allow_unused=True) if squared.requires_grad else [None]
    assert by_baseline[0] is not None and by_baseline[0].any(), (
        "the baseline learns nothing: its own loss must reach it"
    )


# %% tags=["check_06_3"]
with exercise.check(3):
    logits, labels, log_prob, baseline = three_images()
    losses = hybrid_loss(logits, labels, log_prob, baseline)
    assert len(losses) == 3 and all(torch.is_tensor(loss) and loss.numel() == 1 for loss in losses), (
        "return three numbers, as tensors, so that they keep their gradients"
    )
    classification, squared, policy = losses
    value = F.cross_entropy(logits, labels)
    assert torch.allclose(classification, value, atol=1e-4), (
        f"classification: the mean cross-entropy of the logits is {value:.3f}, not {classification:.3f}"
    )
    assert not torch.allclose(squared, torch.tensor(2.3125)), "baseline: these are summed squares; it is their mean"
    assert torch.allclose(squared, torch.tensor(0.38542), atol=1e-4), (
        f"baseline: R is 1, 0, 1, so the advantages are ½ ¾, −½ −1, 0 ½; the mean of their squares is 0.385, not {squared:.3f}"
    )
    check_policy(policy)
    check_routes(squared, policy, logits, log_prob, baseline)

# %% [markdown]
# ## task_06_4 · The least noisy baseline
# difficulty 4/5 · importance 4/5 · 12 minutes
#
# One coordinate, one choice: $l = \mu + \sigma\epsilon$ with $\epsilon \sim \mathcal N(0, 1)$, and the reward falls with the distance to a target,
# $R = -(l - c)^2$. Let $d = c - \mu$, the way that is still to go. REINFORCE estimates the derivative of $\mathbb E[R]$ by the mean by
#
# $$\hat g = (R - b)\, \frac{l - \mu}{\sigma^2} = (R - b)\, \frac{\epsilon}{\sigma}$$
#
# Derive on paper, as functions of d, σ and b: its mean, and the baseline $b^\star$ for which its variance is smallest.
# ($\mathbb E[\epsilon^2] = 1$, $\mathbb E[\epsilon^4] = 3$; odd powers have mean 0.)
#
# Then ask your formula: is $b^\star$ the mean reward, $-d^2 - \sigma^2$?
#
# <details><summary>Hint 1: write R in ε</summary>
#
# $l - c = \sigma\epsilon - d$, so $R - b = -(d^2 + b) + 2 d \sigma \epsilon - \sigma^2 \epsilon^2$. Call the first term a.
# </details>
#
# <details><summary>Hint 2: the mean</summary>
#
# Multiply by $\epsilon/\sigma$; only the even powers of ε survive. The mean must not contain b.
# </details>
#
# <details><summary>Hint 3: the lowest variance</summary>
#
# The mean does not change with b, so the variance is smallest where $\mathbb E[(R - b)^2 \epsilon^2]$ is. Take its derivative by b before you
# expand anything: what is left is the mean of R, with draws weighted by $\epsilon^2$.
# </details>


# %% tags=["task_06_4"]
def gradient_mean(d, std, baseline):
    """E[ĝ]."""
    ### BEGIN SOLUTION
    return 2 * d
    ### END SOLUTION


def best_baseline(d, std):
    """The b with the smallest variance."""
    ### BEGIN SOLUTION
    return -(d**2) - 3 * std**2
    ### END SOLUTION


# %% tags=["check_06_4"]
with exercise.check(4):
    noise = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def simulated(d, std, baseline):
        one = (-((std * noise - d) ** 2) - baseline) * noise / std
        return one.mean().item(), one.var().item()

    for d, std, b in ((0.5, 0.3, 0.0), (0.5, 0.3, -0.25), (-0.4, 0.6, 0.7)):
        mean, _ = simulated(d, std, b)
        said = float(gradient_mean(d, std, b))
        assert abs(said - mean) < 0.03, (
            f"d = {d}, σ = {std}, b = {b}: the mean of 400 000 draws is {mean:.2f}, not {said:.2f}"
        )
    for d, std in ((0.5, 0.3), (0.2, 0.7)):
        best = float(best_baseline(d, std))
        here, below, above = (simulated(d, std, best + shift)[1] for shift in (0.0, -0.05, 0.05))
        assert here < below and here < above, (
            f"d = {d}, σ = {std}: at your baseline {best:.2f} draws have variance {here:.3f}, at {best - 0.05:.2f} "
            f"{below:.3f}, at {best + 0.05:.2f} {above:.3f}: it is not the lowest point"
        )

# %% [markdown]
# Two functions that the last task uses; both are right.


# %%
def smooth_crop(images, place, size):
    """A crop with a gradient for its place: b 1 h w, b 2 -> b size size."""
    h, w = images.shape[2:]
    steps = torch.arange(size, dtype=images.dtype) - (size - 1) / 2  # in pixels
    x, y = place[:, :1] + steps * 2 / w, place[:, 1:] + steps * 2 / h  # b size each
    grid = torch.stack([x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)], dim=-1)
    return F.grid_sample(images, grid, align_corners=False)[:, 0]


def normal_log_prob(place, mean, std):
    """log N(place; mean, std² I): b 2, b 2 -> b."""
    return (-((place - mean) / std).square() / 2 - math.log(std) - math.log(2 * math.pi) / 2).sum(dim=1)


# %% [markdown]
# ## task_06_5 · Repair an agent that leaks
# difficulty 4/5 · importance 5/5 · 18 minutes
#
# This agent looks twice, first in the middle, then where it chose. It trains, the loss falls, and it is not RAM: with a
# *smooth* crop (bilinear, so it has a gradient for the place) the losses flow into parts that they must not train.
#
# ```python
#     def forward(self, images, noise, labels):
#         middle = images.new_zeros(len(images), 2)
#         state = self.look(images, middle, images.new_zeros(len(images), self.hidden))
#         mean, expected = self.locate(state), self.expect(state)[:, 0]
#         place = mean + self.std * noise
#         log_prob = normal_log_prob(place, mean, self.std)
#         logits = self.classify(self.look(images, place, state))
#         advantage = (logits.argmax(dim=1) == labels).to(logits.dtype) - expected
#         return F.cross_entropy(logits, labels), advantage.square().mean(), -(log_prob * advantage).mean()
# ```
#
# Repair it so that classification trains `see`, `core`, `classify`; baseline trains `expect` alone; policy trains `locate` alone.
# The values of the three losses must stay as they are. Gradients have to be cut in three kinds of places.
#
# Shapes: `images` b 1 h w, `noise` b 2, `labels` b; result: three numbers.
#
# <details><summary>Hint 1: find the leaks first</summary>
#
# For each loss alone: `backward()`, then print for each parameter whether its `grad` is zero. Which loss reaches a part
# that it must not train?
# </details>
#
# <details><summary>Hint 2: which cuts?</summary>
#
# The draw; the state on its way into the two heads; the advantage where it is a factor. One place too many is wrong as well:
# the state that goes into the second look must keep its gradient, and so must the mean inside the log-density.
# </details>


# %% tags=["task_06_5"]
class RepairedAgent(nn.Module):
    """Looks twice; three losses, each of which trains its own parts."""

    def __init__(self, size, hidden, classes, std):
        super().__init__()
        self.size, self.hidden, self.std = size, hidden, std
        self.see, self.core = nn.Linear(size * size + 2, hidden), nn.RNNCell(hidden, hidden)
        self.locate, self.expect, self.classify = (nn.Linear(hidden, count) for count in (2, 1, classes))

    def look(self, images, place, state):
        seen = torch.cat([smooth_crop(images, place, self.size).flatten(1), place], dim=1)
        return self.core(self.see(seen).relu(), state)

    def forward(self, images, noise, labels):
        ### BEGIN SOLUTION
        middle = images.new_zeros(len(images), 2)
        state = self.look(images, middle, images.new_zeros(len(images), self.hidden))
        mean, expected = self.locate(state.detach()), self.expect(state.detach())[:, 0]
        place = (mean + self.std * noise).detach()
        log_prob = normal_log_prob(place, mean, self.std)
        logits = self.classify(self.look(images, place, state))
        advantage = (logits.argmax(dim=1) == labels).to(logits.dtype) - expected
        policy = -(log_prob * advantage.detach()).mean()
        return F.cross_entropy(logits, labels), advantage.square().mean(), policy
        ### END SOLUTION


# %% tags=["folded"]
def check_values(agent, images, noise, labels):
    """The three losses have the values that they had, and the first look still learns from the answer."""
    state = agent.look(images, torch.zeros(7, 2), torch.zeros(7, 6))
    mean = agent.locate(state)
    logits = agent.classify(agent.look(images, mean + 0.3 * noise, state))
    advantage = (logits.argmax(dim=1) == labels).float() - agent.expect(state)[:, 0]
    expected = [F.cross_entropy(logits, labels), advantage.square().mean()]
    expected.append(-(normal_log_prob(mean + 0.3 * noise, mean, 0.3) * advantage).mean())
    actual = agent(images, noise, labels)
    for loss, one, other in zip(("classification", "baseline", "policy"), actual, expected, strict=True):
        assert torch.allclose(one, other, atol=1e-5), (
            f"the value of the {loss} loss changed: cut gradients, not values"
        )
    whole = torch.autograd.grad(actual[0], agent.see.weight)[0]
    cut = F.cross_entropy(agent.classify(agent.look(images, (mean + 0.3 * noise).detach(), state)), labels)
    assert torch.allclose(whole, torch.autograd.grad(cut, agent.see.weight)[0], atol=1e-6), (
        "the first look gets no gradient from the answer: the state that goes into the second look must keep its own"
    )


# %% tags=["check_06_5"]
with exercise.check(5):
    torch.manual_seed(0)
    agent = RepairedAgent(size=3, hidden=6, classes=3, std=0.3)
    images, noise, labels = torch.rand(7, 1, 8, 10), torch.randn(7, 2), torch.arange(7) % 3
    trained_by = {"classification": {"see", "core", "classify"}, "baseline": {"expect"}, "policy": {"locate"}}
    for i, (loss, wanted) in enumerate(trained_by.items()):
        agent.zero_grad()
        value = agent(images, noise, labels)[i]
        assert value.requires_grad, f"the {loss} loss has no gradient at all: something is cut that must stay"
        value.backward()
        reached = {name.split(".")[0] for name, p in agent.named_parameters() if p.grad is not None and p.grad.any()}
        leaks, missing = ", ".join(sorted(reached - wanted)), ", ".join(sorted(wanted - reached))
        assert not leaks, f"the {loss} loss leaks into {leaks}; it must train {', '.join(sorted(wanted))} only"
        assert not missing, f"the {loss} loss no longer trains {missing}: something is cut that must stay"
    check_values(agent, images, noise, labels)
