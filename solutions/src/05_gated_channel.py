# %% [markdown]
# # Exercise 05 · Gated channel
#
# You let channels compete within groups only, differentiate that block by hand, repair an ℓ1 gate, derive what moves in the first step,
# and write ECA as a matrix.
#
# *Minutes:* 60 · *Needs:* 05
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import math

import torch
from torch.func import functional_call

from course_lib.channel.gated_channel import GatedChannelTransform
from course_lib.exercises import Exercise

exercise = Exercise("05_gated_channel", points=[3, 5, 3, 2, 3])

# %% [markdown]
# ## task_05_1 · GCT in groups
# difficulty 2/5 · importance 5/5 · 12 minutes
#
# In the lesson every channel is compared with all others. Write a GCT whose channels come in `groups` groups of equally many neighbours, and where
# **channel i is compared with those of its own group $\mathcal G_i$ only**, itself included:
#
# $$s_i = \alpha_i \Bigl(\sum_{hw} x_{ihw}^2 + \epsilon\Bigr)^{1/2} \qquad \hat s_i = \frac{s_i}{\bigl(\mathrm{mean}_{j \in \mathcal G_i}\, s_j^2 + \epsilon\bigr)^{1/2}}$$
# $$y_i = x_i (1 + \tanh(\gamma_i \hat s_i + \beta_i))$$
#
# Shapes: `x` b c h w; `alpha`, `gamma`, `beta` c each; result b c h w. `groups` divides c; the first c / groups channels are the first group. Every
# image of the batch is treated by itself.
#
# <details><summary>Hint 1: which axes?</summary>
#
# The size of a channel sums over h and w. The comparison takes a mean over the channels of a group: give the groups an axis of their own for it.
# </details>
#
# <details><summary>Hint 2: in and out of groups</summary>
#
# `unflatten(1, (groups, -1))` makes b groups c/groups of b c, and `flatten(1)` joins the two axes again.
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# s = alpha times the root of (sum of squares over the last two axes, plus epsilon): b c. In groups, divide by the root of (mean of s² over the last
# axis, which is kept, plus epsilon). Back to b c. Gate = 1 + tanh(…), with two new axes at its end; multiply.
# </details>


# %% tags=["task_05_1"]
def gct(x, alpha, gamma, beta, groups, epsilon=1e-5):
    """Gated channel transformation within groups of channels: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    s = alpha * (x.square().sum(dim=(2, 3)) + epsilon).sqrt()  # b c
    s = s.unflatten(1, (groups, -1))  # b groups c/groups
    s_hat = (s / (s.square().mean(dim=2, keepdim=True) + epsilon).sqrt()).flatten(1)
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]
    ### END SOLUTION


# %% [markdown]
# The check sets the sizes of channels by hand, and calls your function on them:


# %% tags=["folded"]
def sized(*sizes):
    """One image of 2 × 5 pixels of both signs whose channels have these sizes, the roots of their sums of squares: 1 c 2 5."""
    signs = (-1.0) ** (torch.arange(10) // 3)
    pixels = torch.stack([signs * torch.arange(1.0, 11.0) ** k for k in range(len(sizes))])  # ever less even
    return (torch.tensor(sizes)[:, None] * pixels / pixels.norm(dim=1, keepdim=True)).view(1, -1, 2, 5)


def gates_of(x, y):
    """The factor by which each channel of the first image was multiplied, rounded for the sentences below."""
    return [round(value, 3) for value in (y / x)[0, :, 1, 3].tolist()]


def gates_for(*arguments):
    """1 + tanh of each number, rounded."""
    return [round(1 + math.tanh(argument), 3) for argument in arguments]


def near(numbers, others):
    return all(abs(a - b) < 0.002 for a, b in zip(numbers, others, strict=True))


# %% tags=["folded"]
THREE, ONE, ZERO = sized(3.0, 4.0, 10.0), torch.ones(3), torch.zeros(3)


def mistake_in(gates):
    """What other sizes, or another measure, would have made these gates of ``THREE``."""
    average, l1, l2 = THREE.mean(dim=(2, 3))[0], THREE.abs().sum(dim=(2, 3))[0], torch.tensor([3.0, 4.0, 10.0])
    sizes = {
        "the sizes are divided by the root of a *sum* of squares": l2 / 3**0.5,
        "each channel was compared with itself only": l2.square().mean().sqrt() * ONE,
        "positive and negative pixels have cancelled": average * l2.norm() / average.norm(),
        "absolute values were summed, not squares": l1 * l2.norm() / l1.norm(),
        "these are sums of squares, not sizes": l2.square() * l2.norm() / l2.square().norm(),
    }
    root = (125 / 3) ** 0.5
    found = [name for name, size in sizes.items() if near(gates, gates_for(*(size / root).tolist()))]
    return found[0] if found else "which axes are summed, which averaged?"


# %% tags=["folded"]
def check_one_group():
    """Sizes 3, 4, 10, all compared with each other."""
    before, result = THREE.clone(), gct(THREE, ONE, ZERO, ONE, 1)
    assert torch.equal(THREE, before), "x was changed in place, and others still need it: return a new tensor"
    assert result.shape == THREE.shape, f"the result has the shape of x, (1, 3, 2, 5), not {tuple(result.shape)}"
    result = gct(THREE, ONE, ZERO, ZERO, 1)
    assert torch.allclose(result, THREE), (
        f"with γ = β = 0 the block must be the identity; yours multiplies by {gates_of(THREE, result)}"
    )
    result = gct(THREE, ONE, ONE, ZERO, 1)
    due, gates = gates_for(*(size / (125 / 3) ** 0.5 for size in (3, 4, 10))), gates_of(THREE, result)
    assert near(gates, due), (
        f"sizes 3, 4, 10 in one group, γ = 1: the gates are {due}, not {gates}: {mistake_in(gates)}"
    )
    both = gct(torch.cat([THREE, 9 * THREE.flip(1)]), ONE, ONE, ZERO, 1)
    assert torch.allclose(both[:1], result), "another image in the batch changed this one"


# %% tags=["folded"]
def check_groups():
    """Six channels, in two groups and in three."""
    six, due = sized(3.0, 4.0, 10.0, 30.0, 40.0, 100.0), gates_for(*(size / (125 / 3) ** 0.5 for size in (3, 4, 10)))
    gates = gates_of(six, gct(six, torch.ones(6), torch.ones(6), torch.zeros(6), 2))
    assert near(gates, due + due), (
        f"two groups with sizes 3, 4, 10 and 30, 40, 100 have the same gates, {due} twice, not {gates}: who is compared with whom?"
    )
    pair = gates_of(six, gct(six, torch.ones(6), torch.ones(6), torch.zeros(6), 3))[:2]
    due = gates_for(3 / 12.5**0.5, 4 / 12.5**0.5)
    assert near(pair, due), (
        f"in three groups the first two channels, 3 and 4, are one: their gates are {due}, not {pair}"
    )


# %% tags=["folded"]
def check_weights():
    """Where α, γ, β and ε stand."""
    gates = gates_of(THREE, gct(THREE, torch.tensor([20.0, 15.0, 6.0]), ONE, ZERO, 1))
    assert near(gates, gates_for(1, 1, 1)), (
        f"sizes 3, 4, 10 with α = 20, 15, 6 are all 60, so all gates are 1.762, not {gates}: where does α act?"
    )
    gates = gates_of(THREE, gct(THREE, ONE, torch.tensor([0.0, 2.0, 0.0]), ZERO, 1))
    due = gates_for(0, 8 / (125 / 3) ** 0.5, 0)
    assert near(gates, due), f"sizes 3, 4, 10 with γ = 0, 2, 0: the gates are {due}, not {gates}: where does γ act?"
    gates = gates_of(THREE, gct(THREE, ONE, ZERO, ONE, 1))
    assert near(gates, gates_for(1, 1, 1)), f"γ = 0, β = 1: every gate is 1 + tanh 1 = 1.762, not {gates}"
    gate = gates_of(THREE, gct(0.001 * THREE, ONE, ONE, ZERO, 1) / 0.001)[0]
    due = gates_for((9e-6 + 1e-5) ** 0.5 / (125e-6 / 3 + 2e-5) ** 0.5)[0]
    assert abs(gate - due) < 0.002, (
        f"sizes of 0.003, 0.004, 0.01 show where ε is: the first gate is {due}, not {gate}: is ε added to a sum or to a mean, under the root or outside?"
    )


# %% tags=["check_05_1"]
with exercise.check(1):
    check_one_group()
    check_groups()
    check_weights()

# %% [markdown]
# ## task_05_2 · GCT in groups backward, by hand
# difficulty 4/5 · importance 3/5 · 23 minutes
#
# Given the gradient `g` of a loss with respect to the result $y$ of task 1, return the gradients with respect to x, α, γ and β, in this
# order, from formulas: without autograd. `size`, each channel's E, is written. Ask first: which channels does a channel push down, now that there are groups?
#
# Shapes: `g` and `x` b c h w; `alpha`, `gamma`, `beta` c each; results b c h w, c, c, c.
#
# <details><summary>Hint 1: from the gate inwards</summary>
#
# Name E (the root of the size), M (the root of the comparison, one for each group), ŝ and T = tanh(…). First the argument of
# the tanh: its gradient is the sum over pixels of g·x, times 1 − T². β and γ follow, each summed over the batch.
# </details>
#
# <details><summary>Hint 2: through the comparison</summary>
#
# In the lesson, with D the gradient with respect to ŝ, that of s is (D − ŝ · mean over channels of (D ŝ)) / M. The mean comes from the mean
# inside M: which channels are in it now?
# </details>
#
# <details><summary>Hint 3: x has two ways into y</summary>
#
# Directly: g · (1 + T). Through its size: the gradient of s, times α, times x / E.
# </details>


# %% tags=["task_05_2"]
def gct_backward(g, x, alpha, gamma, beta, groups, epsilon=1e-5):
    """The gradients of x, α, γ, β: b c h w, b c h w, c, c, c -> b c h w, c, c, c."""
    size = (x.square().sum(dim=(2, 3)) + epsilon).sqrt()  # b c

    ### BEGIN SOLUTION
    def mean(t):  # of the channel's group: b c -> b c
        return t.unflatten(1, (groups, -1)).mean(dim=2).repeat_interleave(x.shape[1] // groups, dim=1)

    measure = (mean((alpha * size).square()) + epsilon).sqrt()  # b c, the same within a group
    s_hat = alpha * size / measure
    t = torch.tanh(gamma * s_hat + beta)
    dz = (g * x).sum(dim=(2, 3)) * (1 - t**2)
    d = gamma * dz
    ds = (d - s_hat * mean(d * s_hat)) / measure
    dx = g * (1 + t)[:, :, None, None] + (ds * alpha / size)[:, :, None, None] * x
    return dx, (ds * size).sum(dim=0), (dz * s_hat).sum(dim=0), dz.sum(dim=0)
    ### END SOLUTION


# %% tags=["folded"]
draw = torch.Generator().manual_seed(0)
GIVEN = [torch.randn(2, 6, 5, 4, generator=draw, dtype=torch.float64) for _ in range(2)]  # g, x
GIVEN += [torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(3)]  # α, γ, β


def by_autograd(groups):
    """Autograd's gradients of x, α, γ, β: one block of the library for each group."""
    g, *leaves = (t.clone().requires_grad_() for t in GIVEN)
    block = GatedChannelTransform(6 // groups, released=True)
    y = [
        functional_call(block, {"alpha": alpha, "gamma": gamma, "beta": beta}, part)
        for part, alpha, gamma, beta in zip(leaves[0].chunk(groups, 1), *(t.chunk(groups) for t in leaves[1:]))
    ]
    return torch.autograd.grad(torch.cat(y, dim=1), leaves, g)


# %% tags=["folded"]
def why_not(name, in_one_group, while_gamma_is_zero):
    """The question to ask about a gradient that is not autograd's."""
    k = "xαγβ".index(name)
    if torch.allclose(in_one_group[k], by_autograd(1)[k], atol=1e-8):
        return "with one group it is right, with three it is not: which channels push down which?"
    if name == "α" and while_gamma_is_zero[k].any():
        return "those of γ and β are right, but where γ = 0 α must get nothing, and yours gets something"
    return {
        "β": "a gate touches every pixel of its channel, in every image, through the slope of tanh",
        "γ": "that of β is right: what does γ multiply inside the tanh?",
        "α": "those of γ and β are right: through what does α reach the gates, its own channel's and others'?",
        "x": "those of the parameters are right: x reaches y in two ways",
    }[name]


# %% tags=["check_05_2"]
with exercise.check(2):  # 2 images, 6 channels in 3 groups, 5 × 4 pixels
    g, x, alpha, gamma, beta = GIVEN
    yours, in_one_group = (gct_backward(g, x, alpha, gamma, beta, groups) for groups in (3, 1))
    still = gct_backward(g, x, alpha, 0 * gamma, beta, 3)
    assert len(yours) == 4, f"return four gradients, of x, α, γ, β, not {len(yours)}"
    for mine, right, name in reversed(list(zip(yours, by_autograd(3), "xαγβ"))):
        assert mine.shape == right.shape, (
            f"the gradient of {name} has shape {tuple(right.shape)}, not {tuple(mine.shape)}"
        )
        assert torch.allclose(mine, right, atol=1e-8), (
            f"the gradient of {name} (the order is x, α, γ, β) is not autograd's: {why_not(name, in_one_group, still)}"
        )

# %% [markdown]
# ## task_05_3 · Repair an ℓ1 gate
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# This code is right for features after a ReLU and for positive α: there a sum *is* the ℓ1 norm. Somebody used it everywhere.
#
# ```python
# def gct_l1(x, alpha, gamma, beta, epsilon=1e-5):
#     s = alpha * x.sum(dim=(2, 3))
#     s_hat = s / (s.mean(dim=1, keepdim=True) + epsilon)
#     return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]
# ```
#
# On features of both signs it is wrong in two ways: an edge filter looks silent, since its answers cancel; and the measure that sizes are divided
# by may be near zero or negative, so that gates jump or turn round. Repair both. For features and α that are positive the result must stay what
# it is; a channel with negative α is *meant* to have its gate turned round, and that must stay, too.
#
# Shapes: as in task 1, without groups.
#
# <details><summary>Hint 1: where do signs cancel?</summary>
#
# At two places numbers of different sign are added up. Try them one at a time on the features (−3, 3).
# </details>
#
# <details><summary>Hint 2: but not everywhere</summary>
#
# Only the size of x and the *measure* in the denominator lose their signs; ŝ keeps that of α. And an absolute value after a sum comes too late.
# </details>


# %% tags=["task_05_3"]
def gct_l1(x, alpha, gamma, beta, epsilon=1e-5):
    """GCT with sizes in l1, for features and α of any sign: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    s = alpha * x.abs().sum(dim=(2, 3))
    s_hat = s / (s.abs().mean(dim=1, keepdim=True) + epsilon)
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]
    ### END SOLUTION


# %% tags=["check_05_3"]
with exercise.check(3):
    edge, flat = torch.tensor([[-3.0, 3.0]]), torch.tensor([[1.0, 1.0]])
    x, zero, one = torch.stack([edge, flat])[None], torch.zeros(2), torch.ones(2)  # 1 2 1 2, sizes 6 and 2
    assert torch.allclose(gct_l1(x, one, zero, zero), x), "with γ = β = 0 the block must be the identity"
    gates = (gct_l1(x, one, one, zero) / x)[0, :, 0, 0]
    expected = 1 + torch.tanh(torch.tensor([6.0, 2.0]) / 4)
    assert gates[0] > 1.01, "the edge (−3, 3) looks silent: its two answers cancel before their size is taken"
    assert torch.allclose(gates, expected, atol=1e-4), (
        f"sizes 6 and 2 are 1.5 and 0.5 times their mean, so the gates are 1.905 and 1.462, not {gates.numpy().round(3)}"
    )
    turned = (gct_l1(x, torch.tensor([1.0, -3.0]), one, zero) / x)[0, :, 0, 0]
    assert turned.isfinite().all() and abs(turned[0] - 1 - math.tanh(1)) < 1e-4, (
        f"α = (1, −3) makes s = (6, −6), two channels of equal weight: the first gate is 1 + tanh 1 = 1.762, not {turned[0]:.3f}: what are they measured by?"
    )
    assert abs(turned[1] - 1 + math.tanh(1)) < 1e-4, (
        f"the channel with the negative α is turned round: its gate is 1 − tanh 1 = 0.238, not {turned[1]:.3f}"
    )
    wide = (gct_l1(x, one, one, zero, 4.0) / x)[0, :, 0, 0]
    assert torch.allclose(wide, 1 + torch.tensor([0.75, 0.25]).tanh(), atol=1e-4), (
        f"with ε = 4 the sizes 6 and 2 are divided by 4 + 4: the gates are 1.635 and 1.245, not {wide.numpy().round(3)}: sum or mean of the pixels?"
    )
    two = gct_l1(torch.cat([x, 5 * x]), one, one, zero)
    assert torch.allclose(two[:1], gct_l1(x, one, one, zero)), "another image in the batch changed this one"

# %% [markdown]
# ## task_05_4 · The first step of training
# difficulty 3/5 · importance 3/5 · 5 minutes
#
# A fresh GCT has α = 1, γ = 0, β = 0. Derive on paper, and return, what its parameters receive in the very first step. You are given
# $p_{bi}$ and $\hat s_{bi}$ for image b and channel i. With g, the gradient with respect to y:
#
# $$p_{bi} = \sum_{hw} g_{bihw}\, x_{bihw}$$
#
# Return the gradients of α, γ and β, in this order.
#
# Shapes: `p` and `s_hat` b c; results c each.
#
# <details><summary>Hint 1: what is known about tanh?</summary>
#
# The argument of every tanh is 0 at the start. What is tanh′(0)?
# </details>
#
# <details><summary>Hint 2: what passes through γ?</summary>
#
# α acts only through ŝ, and ŝ only through γ ŝ. By which factor is the gradient multiplied there? And do not forget that all images share the parameters.
# </details>


# %% tags=["task_05_4"]
def first_gradients(p, s_hat):
    """The gradients of α, γ and β when α = 1, γ = β = 0: b c, b c -> c, c, c."""
    ### BEGIN SOLUTION
    return torch.zeros_like(p[0]), (p * s_hat).sum(dim=0), p.sum(dim=0)
    ### END SOLUTION


# %% tags=["check_05_4"]
with exercise.check(4):
    p, s_hat = torch.tensor([[1.0, -2.0], [3.0, 5.0]]), torch.tensor([[0.6, 1.28], [1.0, 1.0]])
    answer = first_gradients(p, s_hat)
    assert len(answer) == 3 and all(torch.as_tensor(one).shape == (2,) for one in answer), (
        "return three gradients, of α, γ and β, with one number for each of the 2 channels"
    )
    assert torch.equal(answer[2], torch.tensor([4.0, 3.0])), (
        f"β: the two images give 1 and −2, 3 and 5; its gradient is 4 and 3, not {answer[2].numpy().round(2)}"
    )
    assert torch.allclose(answer[1], torch.tensor([3.6, 2.44])), (
        f"γ: its gradient is 3.6 and 2.44, not {answer[1].numpy().round(2)}: by what is γ multiplied, in each image?"
    )
    assert answer[0].eq(0).all(), (
        f"α: its gradient is not {answer[0].numpy().round(2)}. Which way leads from α to y, and what stands in it at the start?"
    )

# %% [markdown]
# ## task_05_5 · ECA and its band
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# Write three functions:
#
# - `kernel_size`: $t = \lfloor (\log_2 c + 1) / 2 \rfloor$; if t is odd k = t, else k = t + 1;
# - `band_matrix`: the c × c matrix B with $(B z)_i = \sum_j w_j\, z_{i+j}$, where j runs from −(k − 1)/2 to (k − 1)/2, `weight` holds the $w_j$ in this order, and z is 0 beyond its ends;
# - `eca`: $y = x \cdot \sigma(B\, \mathrm{mean}_{hw}(x))$.
#
# Shapes: `weight` k (odd, k ≤ c); B c c, in the dtype of `weight`; `x` b c h w; result b c h w. Do not use a convolution.
#
# <details><summary>Hint 1: diagonals</summary>
#
# `torch.diag(torch.ones(c - abs(j)), j)` is a matrix with ones on the j-th diagonal above the main one (below for negative j). Take the dtype of
# `weight` for it.
# </details>
#
# <details><summary>Hint 2: the gates of a batch</summary>
#
# The averages are b c. Row i of B belongs to gate i, so the batch is multiplied by the transposed matrix: `z @ B.mT`.
# </details>


# %% tags=["task_05_5"]
def kernel_size(channels):
    """The released rule for k."""
    ### BEGIN SOLUTION
    t = int((math.log2(channels) + 1) / 2)
    return t if t % 2 else t + 1
    ### END SOLUTION


def band_matrix(weight, channels):
    """The matrix of ECA's one-dimensional convolution: k -> c c."""
    ### BEGIN SOLUTION
    reach = len(weight) // 2
    ones = [torch.ones(channels - abs(j), dtype=weight.dtype) for j in range(-reach, reach + 1)]
    return sum(w * torch.diag(one, j) for w, one, j in zip(weight, ones, range(-reach, reach + 1), strict=True))
    ### END SOLUTION


def eca(x, weight):
    """Efficient channel attention: b c h w, k -> b c h w."""
    ### BEGIN SOLUTION
    z = x.mean(dim=(2, 3))  # b c
    return x * (z @ band_matrix(weight, x.shape[1]).mT).sigmoid()[:, :, None, None]
    ### END SOLUTION


# %% tags=["folded"]
def check_size():
    """The rule for k."""
    sizes = [kernel_size(c) for c in (16, 64, 128, 512, 2048)]
    assert all(k % 2 == 1 for k in sizes), f"k must be odd: an even filter has no middle; yours are {sizes}"
    assert sizes == [3, 3, 5, 5, 7], f"for 16, 64, 128, 512, 2048 channels k is 3, 3, 5, 5, 7, not {sizes}"


def check_band():
    """Three and five weights."""
    band = band_matrix(torch.tensor([1.0, 2.0, 3.0]), 4)
    assert band.shape == (4, 4), f"4 channels need a 4 × 4 matrix, not {tuple(band.shape)}"
    assert band[0, 3] == 0 == band[3, 0], "the first and the last channel are no neighbours: nothing wraps round"
    expected = torch.tensor([[2.0, 3, 0, 0], [1, 2, 3, 0], [0, 1, 2, 3], [0, 0, 1, 2]])
    assert torch.equal(band, expected), (
        f"row 1 (0-based) must read 1 2 3 0: w₋₁ for the channel before, w₁ for the one after; yours reads {band[1].tolist()}"
    )
    wide = band_matrix(torch.arange(1.0, 6.0), 6)[2].tolist()
    assert wide == [1, 2, 3, 4, 5, 0], f"five weights 1 … 5: row 2 of 6 must read 1 2 3 4 5 0; yours reads {wide}"
    double = band_matrix(torch.ones(3, dtype=torch.float64), 4).dtype
    assert double == torch.float64, f"a float64 weight makes a float64 matrix, not {double}: build it in weight.dtype"


# %% tags=["folded"]
WEIGHT, AVERAGES = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 0.5, 2.0])
FOUR = AVERAGES[None, :, None, None] * torch.tensor([[0.0, 1.5, 1.5]])  # 1 4 1 3


def check_where():
    """What the gates depend on, and what they do."""
    result = eca(FOUR, WEIGHT)
    assert result.shape == FOUR.shape, f"the result has the shape of x, (1, 4, 1, 3), not {tuple(result.shape)}"
    assert not result[..., 0].any(), (
        "where x is 0 the result must be 0: the gates scale x, they do not stand in its place"
    )
    gates = gates_of_four(result)
    assert all(0 < gate < 1.001 for gate in gates), f"the gates must lie between 0 and 1; yours are {gates}"
    twice = eca(torch.cat([FOUR, FOUR], dim=3), WEIGHT)[..., :3]
    assert torch.allclose(twice, result), "the same image twice as wide gets other gates: its size must not matter"
    both = eca(torch.cat([FOUR, FOUR.flip(1), 3 * FOUR]), WEIGHT)[:1]
    assert torch.allclose(both, result), "another image in the batch changed this one: over which axis does w slide?"


def gates_of_four(result):
    return [round(gate, 3) for gate in (result / FOUR)[0, :, 0, 1].tolist()]


# %% tags=["check_05_5"]
with exercise.check(5):
    check_size()
    check_band()
    check_where()
    gates = gates_of_four(eca(FOUR, WEIGHT))
    turned, right = (
        [round(gate, 3) for gate in torch.tensor(arguments).sigmoid().tolist()]
        for arguments in ([1.0, 1.5, 0.0, 5.5], [-1.0, 0.5, 6.0, 4.5])
    )
    assert gates != turned, f"the gates {gates} are those of w turned round: which channel is before, which after?"
    assert gates == right, (
        f"averages 1, −1, 0.5, 2 and w = 1, 2, 3 give σ(−1), σ(0.5), σ(6), σ(4.5) = {right}, not {gates}"
    )
