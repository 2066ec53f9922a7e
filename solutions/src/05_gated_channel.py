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

from course_lib.exercises import Exercise

exercise = Exercise("05_gated_channel", points=[3, 5, 3, 2, 3])

# %% [markdown]
# ## task_05_1 · GCT in groups
# difficulty 2/5 · importance 5/5 · 12 minutes
#
# In the lesson every channel is compared with all others. Write a GCT whose channels come in `groups` groups of equally many neighbours, and where
# **a channel is compared with those of its own group $\mathcal G(c)$ only**, itself included:
#
# $$s_c = \alpha_c \Bigl(\sum_{hw} x_{chw}^2 + \epsilon\Bigr)^{1/2} \qquad \hat s_c = \frac{s_c}{\bigl(\mathrm{mean}_{k \in \mathcal G(c)}\, s_k^2 + \epsilon\bigr)^{1/2}} \qquad y_c = x_c (1 + \tanh(\gamma_c \hat s_c + \beta_c))$$
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


# %% tags=["check_05_1"]
def sized(*sizes):
    """One image of 2 × 5 pixels of both signs whose channels have these sizes, the roots of their sums of squares: 1 c 2 5."""
    signs = torch.stack([torch.where(torch.arange(10) % (c + 2) == 0, -1.0, 1.0) for c in range(len(sizes))])
    return (torch.tensor(sizes)[:, None] * signs / 10**0.5).view(1, -1, 2, 5)


def gates_of(x, y):
    """The factor by which each channel of the first image was multiplied, rounded for the sentences below."""
    return [round(value, 3) for value in (y / x)[0, :, 1, 3].tolist()]


def unit_tanh(*arguments):
    """1 + tanh of each number, rounded."""
    return [round(1 + math.tanh(argument), 3) for argument in arguments]


def near(numbers, others):
    return all(abs(a - b) < 0.002 for a, b in zip(numbers, others))


with exercise.check(1):
    x, zero, one = sized(3.0, 4.0, 10.0), torch.zeros(3), torch.ones(3)
    before, result = x.clone(), gct(x, one, zero, one, 1)
    assert torch.equal(x, before), "x was changed in place, and others still need it: return a new tensor"
    assert result.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    result = gct(x, one, zero, zero, 1)
    assert torch.allclose(result, x), "with γ = β = 0 the block must be the identity; yours multiplies by " + str(
        gates_of(x, result)
    )
    gates, due = gates_of(x, gct(x, one, one, zero, 1)), unit_tanh(*(size / (125 / 3) ** 0.5 for size in (3, 4, 10)))
    mistakes = {
        "the sizes are divided by the root of a *sum* of squares": unit_tanh(
            *(size / 125**0.5 for size in (3, 4, 10))
        ),
        "each channel was compared with itself only": unit_tanh(1, 1, 1),
        "positive and negative pixels have cancelled": unit_tanh(
            *(x.mean(dim=(2, 3)) / x.mean(dim=(2, 3)).square().mean().sqrt())[0].tolist()
        ),
        "these are sums of squares, not sizes": unit_tanh(*(size**2 / (10337 / 3) ** 0.5 for size in (3, 4, 10))),
    }
    why = next((name for name, wrong in mistakes.items() if wrong == gates), "which axes are summed, which averaged?")
    assert near(gates, due), f"sizes 3, 4, 10 in one group, γ = 1: the gates are {due}, not {gates}: {why}"
    both = gct(torch.cat([x, 9 * x.flip(1)]), one, one, zero, 1)
    assert torch.allclose(both[:1], gct(x, one, one, zero, 1)), "another image in the batch changed this one"
    six = sized(3.0, 4.0, 10.0, 30.0, 40.0, 100.0)
    gates = gates_of(six, gct(six, torch.ones(6), torch.ones(6), torch.zeros(6), 2))
    assert near(gates, due + due), (
        f"two groups with sizes 3, 4, 10 and 30, 40, 100 have the same gates, {due} twice, not {gates}: who is compared with whom?"
    )
    pair = gates_of(six, gct(six, torch.ones(6), torch.ones(6), torch.zeros(6), 3))[:2]
    due = unit_tanh(3 / 12.5**0.5, 4 / 12.5**0.5)
    assert near(pair, due), (
        f"in three groups the first two channels, 3 and 4, are one: their gates are {due}, not {pair}"
    )
    weighed = gates_of(x, gct(x, torch.tensor([20.0, 15.0, 6.0]), one, zero, 1))
    assert near(weighed, unit_tanh(1, 1, 1)), (
        f"sizes 3, 4, 10 with α = 20, 15, 6 are all 60, so all gates are {unit_tanh(1)[0]}, not {weighed}: where does α act?"
    )
    shifted = gates_of(x, gct(x, one, zero, one, 1))
    assert near(shifted, unit_tanh(1, 1, 1)), (
        f"γ = 0, β = 1: every gate is 1 + tanh 1 = {unit_tanh(1)[0]}, not {shifted}"
    )
    faint = gates_of(x, gct(0.001 * x, one, one, zero, 1) / 0.001)[0]
    due = round(1 + math.tanh((9e-6 + 1e-5) ** 0.5 / (125e-6 / 3 + 2e-5) ** 0.5), 3)
    assert abs(faint - due) < 0.002, (
        f"sizes of 0.003, 0.004, 0.01 show where ε is: the first gate is {due}, not {faint}: is ε added to a sum or to a mean, under the root or outside?"
    )

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


# %% tags=["check_05_2"]
with exercise.check(2):  # 2 images, 6 channels in 3 groups, 5 × 4 pixels
    draw = torch.Generator().manual_seed(0)
    x, g = (torch.randn(2, 6, 5, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    leaves = [x, *(torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(3))]
    x, alpha, gamma, beta = (leaf.requires_grad_() for leaf in leaves)

    def by_autograd(groups):
        s = ((x.square().sum(dim=(2, 3)) + 1e-5).sqrt() * alpha).view(2, groups, -1)
        s_hat = (s / (s.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()).flatten(1)
        return torch.autograd.grad(
            x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None], (x, alpha, gamma, beta), g
        )

    with torch.no_grad():
        yours, in_one_group = (gct_backward(g, x, alpha, gamma, beta, groups) for groups in (3, 1))
    assert len(yours) == 4, f"return four gradients, of x, α, γ, β, not {len(yours)}"
    why = {
        "β": "a gate touches every pixel of its channel, in every image, through the slope of tanh",
        "γ": "that of β is right: what does γ multiply inside the tanh?",
        "α": "those of γ and β are right: through what does α reach the gates, its own channel's and others'?",
        "x": "those of the parameters are right: x reaches y in two ways",
    }
    truth, plain = by_autograd(3), by_autograd(1)
    for k, name in reversed(list(enumerate("xαγβ"))):
        mine, right = yours[k], truth[k]
        assert mine.shape == right.shape, (
            f"the gradient of {name} has shape {tuple(right.shape)}, not {tuple(mine.shape)}"
        )
        if torch.allclose(in_one_group[k], plain[k], atol=1e-8):
            why[name] = "with one group it is right, with three it is not: which channels push down which?"
        assert torch.allclose(mine, right, atol=1e-8), (
            f"the gradient of {name} (the order is x, α, γ, β) is not autograd's: {why[name]}"
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
    two = gct_l1(torch.cat([x, 5 * x]), one, one, zero)
    assert torch.allclose(two[:1], gct_l1(x, one, one, zero)), "another image in the batch changed this one"

# %% [markdown]
# ## task_05_4 · The first step of training
# difficulty 3/5 · importance 3/5 · 5 minutes
#
# A fresh GCT has α = 1, γ = 0, β = 0. Derive on paper, and return, what its parameters receive in the very first step. You are given
# $G_{bc} = \sum_{hw} g_{bchw}\, x_{bchw}$ (g: the gradient with respect to y) and $\hat s_{bc}$.
#
# Return the gradients of α, γ and β, in this order.
#
# Shapes: `G` and `s_hat` b c; results c each.
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
def first_gradients(G, s_hat):
    """The gradients of α, γ and β when α = 1, γ = β = 0: b c, b c -> c, c, c."""
    ### BEGIN SOLUTION
    return torch.zeros_like(G[0]), (G * s_hat).sum(dim=0), G.sum(dim=0)
    ### END SOLUTION


# %% tags=["check_05_4"]
with exercise.check(4):
    G, s_hat = torch.tensor([[1.0, -2.0], [3.0, 5.0]]), torch.tensor([[0.6, 1.28], [1.0, 1.0]])
    answer = first_gradients(G, s_hat)
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
# - `band_matrix`: the c × c matrix B with $(B z)_c = \sum_j w_j\, z_{c+j}$, where j runs from −(k − 1)/2 to (k − 1)/2, `weight` holds the $w_j$ in this order, and z is 0 beyond its ends;
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
# The averages are b c. Row c of B belongs to gate c, so the batch is multiplied by the transposed matrix: `z @ B.mT`.
# </details>


# %% tags=["task_05_5"]
def kernel_size(channels):
    """The paper's rule for k, with γ = 2 and b = 1."""
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


# %% tags=["check_05_5"]
with exercise.check(5):
    sizes = [kernel_size(c) for c in (16, 64, 128, 512, 2048)]
    assert all(k % 2 == 1 for k in sizes), f"k must be odd: an even filter has no middle; yours are {sizes}"
    assert sizes == [3, 3, 5, 5, 7], f"for 16, 64, 128, 512, 2048 channels k is 3, 3, 5, 5, 7, not {sizes}"
    band = band_matrix(torch.tensor([1.0, 2.0, 3.0]), 4)
    assert band.shape == (4, 4), f"4 channels need a 4 × 4 matrix, not {tuple(band.shape)}"
    assert band[0, 3] == 0 and band[3, 0] == 0, (
        "the first and the last channel are no neighbours: nothing wraps round"
    )
    expected = torch.tensor([[2.0, 3, 0, 0], [1, 2, 3, 0], [0, 1, 2, 3], [0, 0, 1, 2]])
    assert torch.equal(band, expected), (
        f"row 1 (0-based) must read 1 2 3 0: w₋₁ for the channel before, w₁ for the one after; yours reads {band[1].tolist()}"
    )
    double = band_matrix(torch.ones(3, dtype=torch.float64), 4).dtype
    assert double == torch.float64, f"a float64 weight makes a float64 matrix, not {double}: build it in weight.dtype"
    weight, averages = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, -1.0, 0.5, 2.0])
    x = averages[None, :, None, None] * torch.tensor([[0.0, 1.5, 1.5]])  # 1 4 1 3
    result = eca(x, weight)
    assert result.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    assert not result[..., 0].any(), (
        "where x is 0 the result must be 0: the gates scale x, they do not stand in its place"
    )
    gates = [round(gate, 3) for gate in (result / x)[0, :, 0, 1].tolist()]
    assert all(0 < gate < 1.001 for gate in gates), f"the gates must lie between 0 and 1; yours are {gates}"
    twice = eca(torch.cat([x, x], dim=3), weight)[..., :3]
    assert torch.allclose(twice, result), "the same image twice as wide gets other gates: its size must not matter"
    both = eca(torch.cat([x, x.flip(1), 3 * x]), weight)[:1]
    assert torch.allclose(both, result), "another image in the batch changed this one: over which axis does w slide?"
    turned = [round(gate, 3) for gate in torch.tensor([1.0, 1.5, 0.0, 5.5]).sigmoid().tolist()]
    assert not near(gates, turned), (
        f"the gates {gates} are those of w turned round: which channel is before, which after?"
    )
    right = [round(gate, 3) for gate in torch.tensor([-1.0, 0.5, 6.0, 4.5]).sigmoid().tolist()]
    assert gates == right, (
        f"averages 1, −1, 0.5, 2 and w = 1, 2, 3 give σ(−1), σ(0.5), σ(6), σ(4.5) = {right}, not {gates}"
    )
