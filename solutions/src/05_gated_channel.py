# %% [markdown]
# # Exercise 05 · Gated channel transformation
#
# You write GCT forward and backward, repair an $\ell_1$ variant that circulates, derive what happens in the first step of training,
# and build ECA from its band matrix.
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
# ## task_05_1 · GCT forward
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# Write `gct`:
#
# $$s_c = \alpha_c \Bigl(\sum_{hw} x_{chw}^2 + \epsilon\Bigr)^{1/2} \qquad \hat s_c = \frac{s_c}{\bigl(\frac1C \sum_k s_k^2 + \epsilon\bigr)^{1/2}} \qquad y_c = x_c (1 + \tanh(\gamma_c \hat s_c + \beta_c))$$
#
# Shapes: `x` b c h w; `alpha`, `gamma`, `beta` c each; result b c h w. Every image of the batch is treated by itself.
#
# <details><summary>Hint 1: which axes?</summary>
#
# The size of a channel sums over h and w. The comparison takes the mean over c, and keeps that axis (`keepdim=True`) so that the division fits.
# </details>
#
# <details><summary>Hint 2: pseudo-code</summary>
#
# s = alpha times the root of (sum of squares over the last two axes, plus epsilon): b c. Divide by the root of (mean of s² over axis 1, plus
# epsilon): b 1. Gate = 1 + tanh(…), with two new axes at its end; multiply.
# </details>


# %% tags=["task_05_1"]
def gct(x, alpha, gamma, beta, epsilon=1e-5):
    """Gated channel transformation: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    s = alpha * (x.square().sum(dim=(2, 3)) + epsilon).sqrt()  # b c
    s_hat = s / (s.square().mean(dim=1, keepdim=True) + epsilon).sqrt()
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]
    ### END SOLUTION


# %% tags=["check_05_1"]
with exercise.check(1):
    x = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])  # sizes 3 and 4
    zero, one = torch.zeros(2), torch.ones(2)
    before, result = x.clone(), gct(x, one, zero, one)
    assert torch.equal(x, before), "x was changed in place, and others still need it: return a new tensor"
    result = gct(x, one, zero, zero)
    assert result.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    assert torch.allclose(result, x), "with γ = β = 0 the block is the identity: the gate is 1 + tanh, not a sigmoid"
    gates = (gct(x, one, one, zero) / x)[0, :, 0, 0]
    expected = 1 + torch.tanh(torch.tensor([3.0, 4.0]) / math.sqrt(12.5))
    assert torch.allclose(gates, expected, atol=1e-4), (
        f"for γ = 1 the gates are 1 + tanh(3/√12.5) and 1 + tanh(4/√12.5), so 1.690 and 1.811, not {gates.numpy().round(3)}: "
        "sum over pixels, mean over channels, one root for each"
    )
    both = gct(torch.cat([x, 9 * x]), one, one, zero)
    assert torch.allclose(both[:1], gct(x, one, one, zero)), "another image in the batch changed this one"
    weighed = (gct(x, torch.tensor([4.0, 3.0]), one, zero) / x)[0, :, 0, 0]
    assert torch.allclose(weighed, (1 + torch.tanh(one)), atol=1e-4), (
        "α weighs the sizes before they are compared: 4·3 and 3·4 are equal, so both gates are 1 + tanh 1"
    )
    shifted = (gct(x, one, zero, one) / x)[0, :, 0, 0]
    assert torch.allclose(shifted, 1 + torch.tanh(one)), "β is added inside the tanh"
    tiny = gct(0 * x[:1] + 0.001, one, one, zero)[0, 0, 0, 0] / 0.001
    assert abs(tiny - (1 + math.tanh(math.sqrt(1.4e-5 / 2.4e-5)))) < 1e-3, (
        "features of 0.001 show where ε is: under both roots, added to the sum over the pixels and to the mean over the channels"
    )

# %% [markdown]
# ## task_05_2 · GCT backward, by hand
# difficulty 4/5 · importance 3/5 · 25 minutes
#
# Given the gradient `g` of a loss with respect to the result $y$ of task 1, return the gradients with respect to x, α, γ and β, in this
# order, from formulas: without autograd.
#
# Shapes: `g` and `x` b c h w; `alpha`, `gamma`, `beta` c each; results b c h w, c, c, c.
#
# <details><summary>Hint 1: from the gate inwards</summary>
#
# Name E (the root of the size), M (the root of the comparison), ŝ and T = tanh(…), all b c, M b 1. First the argument of
# the tanh: its gradient is the sum over pixels of g·x, times 1 − T². β and γ follow, each summed over the batch.
# </details>
#
# <details><summary>Hint 2: through the comparison</summary>
#
# With D the gradient with respect to ŝ, that of s is (D − ŝ · mean over channels of (D ŝ)) / M.
# </details>
#
# <details><summary>Hint 3: x has two ways into y</summary>
#
# Directly: g · (1 + T). Through its size: the gradient of s, times α, times x / E.
# </details>


# %% tags=["task_05_2"]
def gct_backward(g, x, alpha, gamma, beta, epsilon=1e-5):
    """The gradients of x, α, γ, β: b c h w, b c h w, c, c, c -> b c h w, c, c, c."""
    ### BEGIN SOLUTION
    size = (x.square().sum(dim=(2, 3)) + epsilon).sqrt()  # b c
    measure = ((alpha * size).square().mean(dim=1, keepdim=True) + epsilon).sqrt()  # b 1
    s_hat = alpha * size / measure
    t = torch.tanh(gamma * s_hat + beta)
    dz = (g * x).sum(dim=(2, 3)) * (1 - t**2)
    d = gamma * dz
    ds = (d - s_hat * (d * s_hat).mean(dim=1, keepdim=True)) / measure
    dx = g * (1 + t)[:, :, None, None] + (ds * alpha / size)[:, :, None, None] * x
    return dx, (ds * size).sum(dim=0), (dz * s_hat).sum(dim=0), dz.sum(dim=0)
    ### END SOLUTION


# %% tags=["check_05_2"]
with exercise.check(2):
    draw = torch.Generator().manual_seed(0)
    x, g = torch.randn(2, 2, 5, 3, 2, generator=draw, dtype=torch.float64)
    x = x[:, :3].requires_grad_()
    g = g[:, :3]
    alpha, gamma, beta = (torch.randn(3, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(3))
    size = (x.square().sum(dim=(2, 3)) + 1e-5).sqrt() * alpha
    s_hat = size / (size.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    y = x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]
    truth = torch.autograd.grad(y, (x, alpha, gamma, beta), g)
    with torch.no_grad():
        yours = gct_backward(g, x, alpha, gamma, beta)
    assert len(yours) == 4, f"return four gradients, of x, α, γ, β, not {len(yours)}"
    why = {
        "β": "the sum over pixels of g·x, times 1 − tanh², summed over the batch",
        "γ": "like that of β, with the factor ŝ",
        "α": "through the comparison, where each channel pushes down all others (mean over the channels of D·ŝ)",
        "x": "two ways lead from x to y: directly, and through the size of its channel",
    }
    for name, mine, right in reversed(list(zip(("x", "α", "γ", "β"), yours, truth, strict=True))):
        assert mine.shape == right.shape, (
            f"the gradient of {name} has shape {tuple(right.shape)}, not {tuple(mine.shape)}"
        )
        assert torch.allclose(mine, right, atol=1e-8), (
            f"the gradient of {name} (the order is x, α, γ, β) is not autograd's: {why[name]}"
        )

# %% [markdown]
# ## task_05_3 · Repair an ℓ1 gate
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# This code circulates. It was written for features after a ReLU and for positive α, and is then used everywhere.
#
# ```python
# def gct_l1(x, alpha, gamma, beta, epsilon=1e-5):
#     s = alpha * x.sum(dim=(2, 3))
#     s_hat = s / (s.mean(dim=1, keepdim=True) + epsilon)
#     return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]
# ```
#
# On features of both signs it is wrong in two ways: an edge filter looks silent, since its answers cancel, and the mean of the $s$ may be near zero or negative, so that gates
# jump or turn round. Repair both, after the formula of the released code:
#
# $$s_c = \alpha_c \sum_{hw} |x_{chw}| \qquad \hat s_c = \frac{s_c}{\frac1C \sum_k |s_k| + \epsilon}$$
#
# Shapes: as in task 1.
#
# <details><summary>Hint 1: where do signs cancel?</summary>
#
# At two places numbers of different sign are added up. Take the absolute value before each sum, not after it.
# </details>
#
# <details><summary>Hint 2: but not everywhere</summary>
#
# ŝ keeps the sign of α: a channel with negative α is meant to be turned round. Only the *measure* in the denominator loses it.
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
        f"sizes 6 and 2 have the mean 4, so the gates are 1 + tanh 1.5 and 1 + tanh 0.5: 1.905 and 1.462, not {gates.numpy().round(3)}"
    )
    turned = (gct_l1(x, torch.tensor([1.0, -3.0]), one, zero) / x)[0, :, 0, 0]
    assert turned.isfinite().all() and abs(turned[0] - 1 - math.tanh(1)) < 1e-4, (
        f"s = (6, −6): the measure is the mean of |s|, 6, and not the mean of s, 0; the first gate is 1 + tanh 1 = 1.762, not {turned[0]:.3f}"
    )
    assert abs(turned[1] - 1 + math.tanh(1)) < 1e-4, "ŝ keeps the sign of α: the second gate is 1 − tanh 1 = 0.238"
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
        f"β: tanh′(0) = 1, so its gradient is G, summed over the images: 4 and 3, not {answer[2].numpy().round(2)}"
    )
    assert torch.allclose(answer[1], torch.tensor([3.6, 2.44])), (
        f"γ: as for β, with the factor ŝ: 1·0.6 + 3·1 = 3.6 and −2·1.28 + 5 = 2.44, not {answer[1].numpy().round(2)}"
    )
    assert answer[0].eq(0).all(), "α: everything that reaches α passes through the factor γ. What is γ at the start?"

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
    x = torch.tensor([1.0, -1.0, 0.5, 2.0])[None, :, None, None] * torch.tensor(
        [[0.0, 2.0]]
    )  # averages 1, −1, 0.5, 2
    gates = (eca(x, torch.tensor([1.0, 2.0, 3.0])) / x)[0, :, 0, 1]
    right = torch.tensor([-1.0, 0.5, 6.0, 4.5]).sigmoid()
    assert torch.allclose(gates, right, atol=1e-5), (
        f"averages 1, −1, 0.5, 2 give σ(−1), σ(0.5), σ(6), σ(4.5), not {gates.numpy().round(3)}: mean over pixels, B z, sigmoid, times x"
    )
