# %% [markdown]
# # Exercise 04 · Richer squeeze
#
# You describe channels where a mask lets you look, compare channels whatever their scale, repair waves that collapse on small maps, sort pixels hard into
# codewords, and derive how far a rare event moves a mean, and a deviation.
#
# *Minutes:* 52 · *Needs:* 04
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import math

import torch
from torch.nn import functional as F

from course_lib.exercises import Exercise

exercise = Exercise("04_richer_squeeze", points=[2, 3, 3, 3, 2])


def rounded(tensor):
    """The numbers of a tensor, for what the checks say."""
    return [round(value, 3) for value in tensor.flatten().tolist()]


# %% [markdown]
# ## task_04_1 · Style where the mask allows it
# difficulty 2/5 · importance 4/5 · 10 minutes
#
# SRM describes a channel by its mean and its standard deviation over *all* positions. Often only a part of the map counts, an object for instance. Write the
# description over the positions where the mask of the image is 1:
#
# $$\mu_c = \frac{1}{M} \sum_{i:\, m_i = 1} x_{ci} \qquad \sigma_c = \sqrt{\frac{1}{M} \sum_{i:\, m_i = 1} (x_{ci} - \mu_c)^2} \qquad M = \sum_i m_i$$
#
# Each image has its own mask, which all its channels share; it has a 1 somewhere.
#
# Shapes: `x` b c h w, `mask` b h w of zeros and ones -> b c 2, the mean first.
#
# <details><summary>Hint 1: what is one, and what is all?</summary>
#
# The number of positions that count differs between images: `mask.sum(dim=(1, 2))` is b. It divides both sums.
# </details>
#
# <details><summary>Hint 2: axes</summary>
#
# `mask[:, None]` is b 1 h w and fits x. What happens at a masked position, if you multiply by the mask first and take the mean away afterwards?
# </details>


# %% tags=["task_04_1"]
def masked_style(x, mask):
    """Mean and deviation of each channel where the mask is 1: b c h w, b h w -> b c 2."""
    ### BEGIN SOLUTION
    mask = mask[:, None]  # b 1 h w
    count = mask.sum(dim=(2, 3))  # b 1
    mean = (mask * x).sum(dim=(2, 3)) / count  # b c
    squares = mask * (x - mean[:, :, None, None]).square()
    return torch.stack([mean, (squares.sum(dim=(2, 3)) / count).sqrt()], dim=-1)
    ### END SOLUTION


# %% tags=["check_04_1"]
with exercise.check(1):
    first = torch.tensor([[[1.0, 5.0, 9.0]], [[2.0, 2.0, 7.0]], [[0.0, 6.0, 3.0]]])  # 3 1 3
    x = torch.stack([first, torch.tensor([[[4.0, 0.0, 3.0]], [[1.0, 1.0, 1.0]], [[5.0, 5.0, 2.0]]])])  # 2 3 1 3
    mask = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 1.0, 1.0]]])  # 2 1 3
    result = masked_style(x, mask)
    assert result.shape == (2, 3, 2), (
        f"two images, three channels, two numbers each: (2, 3, 2), not {tuple(result.shape)}"
    )
    mean, deviation = result.unbind(dim=-1)
    assert abs(mean[0, 0] - 3) < 1e-4, f"of 1, 5 and 9 the first two count: mean 3, not {mean[0, 0]:.3f}"
    assert abs(deviation[0, 0] - 2.915) > 1e-3, (
        "the masked 9 comes back: it became 0, and 0 lies 3 from the mean; when is the mask due?"
    )
    assert abs(deviation[0, 0] - 2) < 1e-4, (
        f"1 and 5 lie 2 from their mean: deviation 2, not {deviation[0, 0]:.3f}: what is divided by what, and is there a root?"
    )
    assert abs(deviation[0, 1]) < 1e-4, f"2 and 2 do not differ: deviation 0, not {deviation[0, 1]:.4f}; no ε here"
    assert abs(mean[1, 0] - 7 / 3) < 1e-4, f"the second image counts all of 4, 0, 3: mean 2.333, not {mean[1, 0]:.3f}"
    assert abs(deviation[1, 0] - (26 / 9) ** 0.5) < 1e-4, (
        f"the deviation of 4, 0, 3 is 1.700, not {deviation[1, 0]:.3f}"
    )

# %% [markdown]
# ## task_04_2 · Together, whatever the scale
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# The covariance of GSoP grows with the size of the features: double a channel, and its row doubles. Describe the image by **correlations** instead,
#
# $$r_{cd} = \frac{\sum_i (x_{ci} - \mu_c)(x_{di} - \mu_d)}{\sqrt{\sum_i (x_{ci} - \mu_c)^2}\, \sqrt{\sum_i (x_{di} - \mu_d)^2}}$$
#
# over the n = h · w positions. $r_{cc} = 1$, and doubling a channel changes nothing (unless it is as good as constant). A **constant** channel does not vary with anything: all its entries are 0, its own
# included, and none is NaN. (Test constancy by the largest distance from the mean, at most $10^{-6}$.)
#
# Shapes: `x` b c h w -> b c c.
#
# <details><summary>Hint 1: lengths</summary>
#
# A correlation is the cosine between two channels, each without its mean. So make each a vector of length 1, then multiply.
# </details>
#
# <details><summary>Hint 2: constant channels</summary>
#
# Set the centred channel to exact zeros where it is constant; then divide by a length that is at least something tiny, with `clamp_min`.
# </details>


# %% tags=["task_04_2"]
def correlations(x):
    """The correlation of each channel with each, 0 for constant ones: b c h w -> b c c."""
    ### BEGIN SOLUTION
    v = x.flatten(2)  # b c n
    v = v - v.mean(dim=2, keepdim=True)
    v = torch.where(v.abs().amax(dim=2, keepdim=True) > 1e-6, v, 0.0)
    v = v / v.norm(dim=2, keepdim=True).clamp_min(1e-12)
    return v @ v.mT
    ### END SOLUTION


# %% tags=["check_04_2"]
with exercise.check(2):
    rising = torch.tensor([[1.0, 2.0, 3.0], [6.0, 4.0, 2.0], [5.0, 5.0, 5.0], [0.0, 3.0, 0.0]]).view(1, 4, 1, 3)
    result = correlations(rising)
    assert result.shape == (1, 4, 4), f"4 channels with 4 channels: (1, 4, 4), not {tuple(result.shape)}"
    assert not result.isnan().any(), "the third channel is constant, and somewhere 0 was divided by 0"
    assert abs(result[0, 0, 1] + 1) < 1e-3, (
        f"1 2 3 rises evenly while 6 4 2 falls: correlation −1, not {result[0, 0, 1]:.3f}; is the mean taken away, and the scale divided out?"
    )
    assert abs(result[0, 0, 0] - 1) < 1e-3, (
        f"a channel that varies has correlation 1 with itself, not {result[0, 0, 0]:.3f}"
    )
    assert abs(result[0, 0, 3]) < 1e-3, f"1 2 3 and 0 3 0 have correlation 0, not {result[0, 0, 3]:.3f}"
    assert result[0, 2].abs().max() < 1e-3, (
        f"a constant channel gets zeros, its own entry included, not {rounded(result[0, 2])}"
    )
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 4, 5, generator=generator)
    assert torch.allclose(correlations(x)[:1], correlations(x[:1]), atol=1e-4), "another image changed this one"
    assert torch.allclose(correlations(1000 * x), correlations(x), atol=1e-4), (
        "scaling x by 1000 changed the correlations"
    )
    assert torch.allclose(correlations(x / 1000), correlations(x), atol=1e-3), (
        "scaling x by 1/1000 changed the correlations"
    )

# %% [markdown]
# ## task_04_3 · Repair waves that collapse
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# FcaNet names its waves by pairs (u, v), down and across, on a grid of 7 × 7. On a map of h × w, the pair becomes the frequencies u · ⌊h/7⌋ and v · ⌊w/7⌋: on 14 × 14, pair (3, 5)
# is the wave (6, 10). The code below takes the frequencies as the released code does. On maps smaller than 7 × 7 it runs, its shapes are right, and **all its waves are the same**. And a
# second mistake, not in the released code, does not show on square maps.
#
# ```python
# def squeeze_waves(x, pairs):
#     b, c, h, w = x.shape  # channel k has pair k
#     i, j = torch.arange(h, dtype=x.dtype), torch.arange(w, dtype=x.dtype)
#     result = x.new_zeros(b, c)
#     for k, (u, v) in enumerate(pairs):
#         u, v = u * (h // 7), v * (w // 7)
#         down = torch.cos(math.pi * u * (i + 0.5) / w)
#         across = torch.cos(math.pi * v * (j + 0.5) / h)
#         result[:, k] = (x[:, k] * down[:, None] * across).sum(dim=(1, 2))
#     return result
# ```
#
# Repair it. On an axis **shorter than 7**, the frequencies of the pair stay what they are. A wave that does not exist on the map (its frequency down is not below h, or across not
# below w) has the coefficient 0. (As in the paper, the cosines have no factor in front.)
#
# Shapes: `x` b c h w, `pairs` a list of c pairs -> b c.
#
# <details><summary>Hint 1: print the frequencies</summary>
#
# For h = 5, `5 // 7` is 0, so every u becomes 0. Each axis needs its own answer: a map of 5 × 14 is short in one direction only.
# </details>
#
# <details><summary>Hint 2: which wave runs along which axis?</summary>
#
# The wave down has h positions, and fits an axis of length h. Try a map of 7 × 14 that is itself one such wave: its coefficients for other pairs must be 0.
# </details>


# %% tags=["task_04_3"]
def squeeze_waves(x, pairs):
    """How much of its own wave each channel holds, on maps of any size: b c h w -> b c."""
    ### BEGIN SOLUTION
    b, c, h, w = x.shape
    i, j = torch.arange(h, dtype=x.dtype), torch.arange(w, dtype=x.dtype)
    result = x.new_zeros(b, c)
    for k, (u, v) in enumerate(pairs):
        u, v = u * max(h // 7, 1), v * max(w // 7, 1)
        if u < h and v < w:
            down = torch.cos(math.pi * u * (i + 0.5) / h)
            across = torch.cos(math.pi * v * (j + 0.5) / w)
            result[:, k] = (x[:, k] * down[:, None] * across).sum(dim=(1, 2))
    return result
    ### END SOLUTION


# %% tags=["folded"]
PAIRS = [(0, 0), (1, 0), (0, 2), (3, 1)]


def wave(h, w, u, v):
    """The wave that goes u half-periods down and v across: h w."""
    i, j = torch.arange(h) + 0.5, torch.arange(w) + 0.5
    return torch.cos(math.pi * u * i / h)[:, None] * torch.cos(math.pi * v * j / w)


def each_its_own_wave(h, w, down, across):
    own = torch.stack([wave(h, w, u * down, v * across) for u, v in PAIRS])[None]
    found, energy = squeeze_waves(own, PAIRS), own.square().sum(dim=(2, 3))
    assert found.shape == (1, 4), f"one number for each of 4 channels: (1, 4), not {tuple(found.shape)}"
    factor = (found / energy).mean()
    right = torch.allclose(found, energy, atol=1e-2)
    assert right or abs(factor) < 0.01 or not torch.allclose(found, factor * energy, atol=1e-2), (
        f"on {h} × {w} the coefficients are right but for a factor of {factor:.3f}: no mean, and no factor in front"
    )
    assert right, (
        f"on {h} × {w} each channel *is* its own wave, so the coefficients are {rounded(energy)}, not {rounded(found)}: which "
        f"frequencies and lengths do the cosines have?"
    )


# %% tags=["check_04_3"]
with exercise.check(3):
    for h, w, *by in ((4, 5, 1, 1), (7, 7, 1, 1), (14, 21, 2, 3), (5, 14, 1, 2), (15, 6, 2, 1)):
        each_its_own_wave(h, w, *by)
        flat = squeeze_waves(torch.ones(1, 4, h, w), PAIRS)
        assert torch.allclose(flat, torch.tensor([[h * w, 0.0, 0.0, 0.0]]), atol=1e-2), (
            f"on {h} × {w} a constant map holds only the wave (0, 0), {h * w} of it: not {rounded(flat)}"
        )
    for down, across in ((5, 9), (3, 5)):
        missing = squeeze_waves(wave(3, 5, 1, 1).expand(2, 2, 3, 5), [(down, 1), (1, across)]).flatten().tolist()
        numbers = ", ".join(f"{number:.1e}" for number in missing)
        assert not any(missing), (
            f"on 3 × 5 the pairs ({down}, 1) and (1, {across}) do not exist: zeros, not {numbers}"
        )

# %% [markdown]
# ## task_04_4 · Sort hard
# difficulty 3/5 · importance 3/5 · 12 minutes
#
# EncNet's shares become hard when s is large: every pixel belongs to its **nearest** codeword alone. That is VLAD, the vector of locally aggregated descriptors. Write it, with
# an ending that came later, *intra-normalisation*: the residuals of each codeword are summed, and **each codeword's sum** is scaled to length 1.
#
# $$e_k = \sum_{i:\, k \text{ nearest to } x_i} (x_i - d_k) \qquad v_k = e_k / \lVert e_k \rVert$$
#
# A codeword with no pixels, or with a sum of length 0, keeps zeros. Of two codewords that are equally near, either may have the pixel: no test asks.
#
# Shapes: `x` b c h w, `codewords` m c -> b m c.
#
# <details><summary>Hint 1: who is nearest?</summary>
#
# Pixels as rows: `x.flatten(2).mT` is b n c. `torch.cdist(pixels, codewords)` is b n m.
# </details>
#
# <details><summary>Hint 2: hard shares</summary>
#
# A table b n m that holds a 1 at the nearest codeword and 0 elsewhere says which residuals count. Over which axis do you add up?
# </details>


# %% tags=["task_04_4"]
def hard_residuals(x, codewords):
    """Summed residuals to the nearest codeword, length 1 each: b c h w, m c -> b m c."""
    ### BEGIN SOLUTION
    pixels = x.flatten(2).mT  # b n c
    away = pixels[:, :, None] - codewords  # b n m c
    nearest = away.square().sum(dim=3).argmin(dim=2)  # b n
    mine = F.one_hot(nearest, len(codewords)).to(x.dtype)  # b n m
    e = (mine[..., None] * away).sum(dim=1)  # b m c
    return e / e.norm(dim=2, keepdim=True).clamp_min(1e-12)
    ### END SOLUTION


# %% tags=["check_04_4"]
with exercise.check(4):
    x = torch.tensor([[[[1.0, 9.0, 4.0]], [[0.0, 10.0, 3.0]]]])  # three pixels: (1, 0), (9, 10), (4, 3)
    codewords = torch.tensor([[0.0, 0.0], [10.0, 10.0], [-20.0, 0.0], [40.0, 0.0]])
    result = hard_residuals(x, codewords)
    assert result.shape == (1, 4, 2), f"4 codewords with 2 channels: (1, 4, 2), not {tuple(result.shape)}"
    assert not result.isnan().any(), "a codeword without pixels keeps zeros; here it became NaN"
    assert not result[0, 2:].any(), (
        f"(−20, 0) and (40, 0) have no pixels and keep zeros, not {rounded(result[0, 2:])}: who is nearest, and is it hard?"
    )
    assert torch.allclose(result[0, 1], torch.tensor([-1.0, 0.0]), atol=1e-3), (
        f"(9, 10) lies at (−1, 0) from (10, 10); the result is (−1, 0), not {rounded(result[0, 1])}"
    )
    due = torch.tensor([5.0, 3.0]) / 34**0.5
    assert torch.allclose(result[0, 0], due, atol=1e-3), (
        f"(1, 0) and (4, 3) belong to (0, 0): their sum (5, 3) at length 1 is {rounded(due)}, not {rounded(result[0, 0])}"
    )
    between = hard_residuals(torch.tensor([[[[0.4]]]]), torch.tensor([[0.0], [1.0]]))
    assert torch.allclose(between, torch.tensor([[[1.0], [0.0]]]), atol=1e-3), (
        f"0.4 belongs to 0 alone, and nothing of it to 1: (1, 0), not {rounded(between)}"
    )

# %% [markdown]
# ## task_04_5 · A rare event
# difficulty 2/5 · importance 4/5 · 6 minutes
#
# How far does a rare event move a mean, and how far a deviation? (The lesson predicted too much from this: without its norm, SRM did not hear the cue.) A channel of n positions is b everywhere, but b + a at k of them, 0 < k < n. By how much is its **mean** higher than
# without the event? And what is its **standard deviation** (which divides by n)? Derive both on paper, and return the two numbers, in this order. Neither needs a loop.
#
# (For 2 pixels among 192 with a = 1 they are 0.0104 and 0.1015: the mean falls with the share k / n, the deviation only with its root.)
#
# <details><summary>Hint 1: what does b do?</summary>
#
# b moves the mean and not the deviation; by how much the *mean rises* does not depend on it either.
# </details>
#
# <details><summary>Hint 2: variance of zeros and ones</summary>
#
# For a = 1 and b = 0 the channel holds zeros and ones with share p = k / n. What is the average of the squares, and what the square of the average? What does a height of a change?
# </details>


# %% tags=["task_04_5"]
def rare_event(n, k, a, b):
    """By how much the mean rises, and the standard deviation."""
    ### BEGIN SOLUTION
    p = k / n
    return a * p, abs(a) * (p * (1 - p)) ** 0.5
    ### END SOLUTION


# %% tags=["check_04_5"]
with exercise.check(5):
    for n, k, a, b in ((4, 1, 2.0, 0.0), (5, 2, -3.0, 1.0)):
        rise, deviation = rare_event(n, k, a, b)
        channel = torch.full((n,), b)
        channel[:k] += a
        words = f"{k} of {n} positions differ by {a} from {b}"
        assert abs(rise - (channel.mean() - b)) < 1e-4, (
            f"{words}: the mean moves by {channel.mean() - b:.3f}, not {rise:.3f}"
        )
        due = channel.std(correction=0)
        assert abs(deviation - due) < 1e-4, f"{words}: the deviation is {due:.3f}, not {deviation:.3f}"
