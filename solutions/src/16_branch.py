# %% [markdown]
# # Exercise 16 · Branch
#
# You melt two branches and their norms into one kernel, derive how much of a selection the best single kernel can explain, repair a dynamic convolution
# that mixes up its images, and open exactly k filters, with a gradient.
#
# *Minutes:* 48 · *Needs:* 16
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch
from torch.nn import functional as F

from course_lib.answers import drawn, rounded, same
from course_lib.exercises import Exercise

exercise = Exercise("16_branch", points=[3, 3, 3, 3])

# %% [markdown]
# ## task_16_1 · Two branches and their norms, melted
# difficulty 3/5 · importance 4/5 · 14 minutes
#
# A trained network has two branches whose outputs are *added*: each is a convolution without bias and a BatchNorm in eval mode, and there is no ReLU. In use, one convolution with a bias can take their place.
# Branch 1 has taps that touch each other. The taps of branch 2 stand `dilation` apart. Both have odd k × k taps, padding that keeps the size, and stride 1.
#
# A norm in eval mode computes, for each output channel, $\gamma\,(u - \mu) / \sqrt{v + \varepsilon} + \beta$. Its four vectors come as one tensor: `norm[0]` is γ, `norm[1]` β, `norm[2]` μ and `norm[3]` v; $\varepsilon$ is `eps`.
#
# Return the kernel and the bias of the one convolution. Its kernel is as large as the larger extent, and no larger.
#
# Shapes: `first` o c k k, `second` o c k' k', `norms` two tensors, each 4 o; `dilation` a whole number -> kernel o c K K, bias o.
#
# <details><summary>Hint 1: one branch, one norm</summary>
#
# For one output channel, a norm is "times a number, plus a number". Which of the two can a kernel do? Who does the other?
# </details>
#
# <details><summary>Hint 2: what a dilated kernel reads</summary>
#
# Write down which places three taps read in a row if they stand 2 apart. What does the kernel say about the places between?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# For each branch: a factor for each output channel, times its kernel; what is left of the norm goes to the bias. Lay kernel 2 on a grid of zeros with a step; give both the same middle; add kernels, add biases.
# </details>


# %% tags=["task_16_1"]
def melt(first, second, norms, dilation, eps):
    """One kernel and bias for two branches with norms: o c k k, o c k' k', two 4 o -> o c K K, o."""
    ### BEGIN SOLUTION
    extent = dilation * (second.shape[-1] - 1) + 1
    spaced = second.new_zeros(*second.shape[:2], extent, extent)
    spaced[:, :, ::dilation, ::dilation] = second
    size, kernel, bias = max(first.shape[-1], extent), 0, 0
    for weight, (gamma, beta, mean, variance) in zip((first, spaced), norms):
        scale = gamma / (variance + eps).sqrt()  # o
        kernel = kernel + F.pad(scale[:, None, None, None] * weight, [(size - weight.shape[-1]) // 2] * 4)
        bias = bias + beta - scale * mean
    return kernel, bias
    ### END SOLUTION


# %% tags=["folded"]
def norm_of(gamma, beta, mean, variance):
    """The four numbers of a norm with one channel: 4 1."""
    return torch.tensor([[gamma], [beta], [mean], [variance]], dtype=torch.float32)


NOTHING = norm_of(1, 0, 0, 1)  # with eps = 0, this norm changes nothing


# %% tags=["folded"]
def check_kernel():
    """Where the taps must lie; the norms change nothing."""
    one, row = torch.ones(1, 1, 1, 1), torch.arange(1.0, 10).view(1, 1, 3, 3)
    kernel, _ = melt(one, row, [NOTHING, NOTHING], 1, 0.0)
    assert kernel.shape == (1, 1, 3, 3), (
        f"1 × 1 and 3 × 3 taps that touch: the kernel is (1, 1, 3, 3), not {tuple(kernel.shape)}"
    )
    assert same(kernel[0, 0], torch.tensor([[1.0, 2, 3], [4, 6, 6], [7, 8, 9]])), (
        f"a 1 × 1 kernel of 1 added to 1 … 9: only the middle, 5, becomes 6; not {rounded(kernel)}: where is the middle?"
    )
    kernel, _ = melt(torch.zeros(1, 1, 3, 3), row, [NOTHING, NOTHING], 2, 0.0)
    assert kernel.shape == (1, 1, 5, 5), (
        f"3 × 3 taps, 2 apart, reach over 5 × 5 places: (1, 1, 5, 5) is due, not {tuple(kernel.shape)}"
    )
    assert same(kernel[0, 0, 2], torch.tensor([4.0, 0, 5, 0, 6])), (
        f"the middle row of a kernel with the row 4, 5, 6 and taps 2 apart is 4, 0, 5, 0, 6, not {rounded(kernel[0, 0, 2])}"
    )
    large = torch.ones(1, 1, 7, 7)
    assert melt(large, row, [NOTHING, NOTHING], 1, 0.0)[0].shape == (1, 1, 7, 7), "the first branch may be the larger"


# %% tags=["folded"]
def check_norms():
    """What a norm does to a kernel of one tap: the numbers can be checked in the head."""
    one = torch.ones(1, 1, 1, 1)
    kernel, bias = melt(one, 0 * one, [norm_of(6, 5, 2, 8), NOTHING], 1, 1.0)
    assert same(kernel.flatten(), torch.tensor([2.0])), (
        f"γ = 6, v = 8, ε = 1: 6 / √(8 + 1) = 2 times the kernel 1 is 2, not {rounded(kernel)}"
    )
    assert same(bias, torch.tensor([1.0])), (
        f"γ = 6, β = 5, μ = 2, v = 8, ε = 1: an input of 0 becomes 2 · (0 − 2) + 5 = 1, so the bias is 1, not {rounded(bias)}"
    )
    kernel, bias = melt(one, one, [norm_of(6, 5, 2, 8), norm_of(3, 7, 4, 8)], 1, 1.0)
    assert same(kernel.flatten(), torch.tensor([3.0])) and same(bias, torch.tensor([4.0])), (
        f"two branches whose kernels become 2 and 1, biases 1 and 3: together 3 and 4, not {rounded(kernel)} and {rounded(bias)}"
    )


# %% tags=["check_16_1"]
with exercise.check(1):
    check_kernel()
    check_norms()
    x, first, second, a, b = drawn((2, 3, 8, 9), (4, 3, 3, 3), (4, 3, 5, 5), (4, 4), (4, 4))
    norms = [torch.cat([n[:3], n[3:].square()]) for n in (a, b)]
    kernel, bias = melt(first, second, norms, 3, 0.1)
    due = sum(
        F.batch_norm(u, n[2], n[3], n[0], n[1], eps=0.1)
        for u, n in zip((F.conv2d(x, first, padding=1), F.conv2d(x, second, padding=6, dilation=3)), norms)
    )
    assert kernel.shape == (4, 3, 13, 13), f"5 × 5 taps, 3 apart, reach over 13 places: not {tuple(kernel.shape)}"
    assert bias.shape == (4,), f"one bias for each of 4 output channels: (4,), not {tuple(bias.shape)}"
    assert same(F.conv2d(x, kernel, bias, padding=6), due), (
        "with four output channels, the one convolution differs from the sum of the two branches: which axis of a kernel does a norm scale?"
    )

# %% [markdown]
# ## task_16_2 · The best single kernel
# difficulty 4/5 · importance 5/5 · 12 minutes
#
# Selection without a ReLU gives image i a kernel of its own, $K^{(i)} = \sum_p a_{ip} K_p$. **Derive** the single kernel K that is nearest to all of them, and how much of their outputs it explains.
#
# The images are *white noise*: the pixels have mean 0, variance 1, and no pixel tells anything about another. They are also independent of the weights a. Then a kernel's output has mean 0 and, as its variance, the sum of the squares of its numbers. We want
#
# $$\min_K \; \sum_i \mathbb{E}\bigl[(K^{(i)} * x - K * x)^2\bigr] \qquad R^2 = 1 - \frac{\sum_i \mathbb{E}[(K^{(i)} * x - K * x)^2]}{\sum_i \mathbb{E}[(K^{(i)} * x)^2]}$$
#
# where squares are summed over the output channels too. Return K and R². (If all $K^{(i)}$ are 0, there is nothing to explain: R² = 1.)
#
# Shapes: `kernels` ($K_p$) p o c k k, `weights` (a) b p for b images, any numbers -> o c k k, a number.
#
# <details><summary>Hint 1: two convolutions, one difference</summary>
#
# A convolution is linear in its kernel: which *one* kernel makes $K^{(i)} * x - K * x$? What is the variance of its output?
# </details>
#
# <details><summary>Hint 2: the nearest to many</summary>
#
# Which number is nearest to several numbers, if distances are squared? Each number of a kernel can be chosen alone.
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# Make all b kernels (b p and p o c i j make b o c i j); K is one of their simplest statistics; R² is 1 minus (squares of the differences) / (squares of the kernels), both summed over everything.
# </details>


# %% tags=["task_16_2"]
def best_single(kernels, weights):
    """The best single kernel for all images, and its R²: p o c k k, b p -> o c k k, a number."""
    ### BEGIN SOLUTION
    each = torch.einsum("bp,pocij->bocij", weights, kernels)
    best = each.mean(dim=0)
    power = each.square().sum().item()
    return best, 1 - (each - best).square().sum().item() / power if power > 0 else 1.0
    ### END SOLUTION


# %% tags=["folded"]
PAIR = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).view(2, 1, 1, 1, 2)  # K₁ reads the left place, K₂ the right one


def check_best(weights, due, share, words):
    """The best kernel, two numbers, and its R², for images that weigh K₁ and K₂ so."""
    best, explained = best_single(PAIR, torch.tensor(weights))
    assert best.shape == (1, 1, 1, 2), f"one kernel, o c k k, here (1, 1, 1, 2), not {tuple(best.shape)}"
    assert same(best.flatten(), torch.tensor(due)), f"{words}: the nearest to all is {due}, not {rounded(best)}"
    assert abs(float(explained) - share) < 1e-4, (
        f"{words}: the nearest kernel {due} explains R² = {share} of their outputs, not {float(explained):.3f}"
    )


# %% tags=["check_16_2"]
with exercise.check(2):
    left, right = [1.0, 0.0], [0.0, 1.0]
    check_best([left, right], [0.5, 0.5], 0.5, "one image takes the kernel (1, 0), the other (0, 1)")
    check_best([left, left, left, right], [0.75, 0.25], 0.625, "three of four images take (1, 0), one takes (0, 1)")
    check_best([[2.0, 1.0]] * 3, [2.0, 1.0], 1.0, "all three images take 2 K₁ + K₂")
    check_best([left, [-1.0, 0.0]], [0.0, 0.0], 0.0, "one image takes (1, 0), the other (−1, 0)")
    kernels, weights = drawn((3, 4, 2, 5, 5), (6, 3))
    shape = best_single(kernels, weights)[0].shape
    assert shape == (4, 2, 5, 5), f"three kernels o c k k of (4, 2, 5, 5) give one, not {tuple(shape)}"
    assert float(best_single(kernels, 0 * weights)[1]) == 1, "all weights 0: nothing is to be explained, R² = 1"

# %% [markdown]
# ## task_16_3 · Repair a dynamic convolution
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# Somebody wrote a dynamic convolution: each image gets its own mixture of p kernels and biases, and all images are convolved in one call, each as a *group* of channels. It runs, its shapes are right, it trains. It is wrong in two ways.
#
# ```python
# def dynamic_convolution(x, logits, kernels, biases, tau):
#     b, c, h, w = x.shape
#     weights = (logits / tau).softmax(dim=1)  # b p
#     mixed = torch.einsum("bp,pocij->obcij", weights, kernels).flatten(0, 1)  # one kernel for each image and output
#     y = F.conv2d(x.reshape(1, b * c, h, w), mixed, padding=kernels.shape[-1] // 2, groups=b)
#     return y.view(b, -1, h, w) + biases.mean(dim=0)[:, None, None]
# ```
#
# Find both by asking: what does one image get alone, and what in a batch? And what if one kernel has nearly all the weight? Write it correctly.
#
# Shapes: `x` b c h w, `logits` b p, `kernels` p o c k k (k odd), `biases` p o, `tau` a number above 0 -> b o h w.
#
# <details><summary>Hint 1: a batch of two</summary>
#
# With `groups=2`, `conv2d` gives the first half of the kernels to the first half of the channels. Which kernels stand in the first half of `mixed`?
# </details>
#
# <details><summary>Hint 2: everything that an expert has</summary>
#
# An expert is a kernel and a bias. Which of the two knows of the weights?
# </details>


# %% tags=["task_16_3"]
def dynamic_convolution(x, logits, kernels, biases, tau):
    """Each image with its own mixture of kernels and biases: b c h w, b p, p o c k k, p o -> b o h w."""
    ### BEGIN SOLUTION
    b, c, h, w = x.shape
    weights = (logits / tau).softmax(dim=1)  # b p
    mixed = torch.einsum("bp,pocij->bocij", weights, kernels).flatten(0, 1)  # bo c k k
    y = F.conv2d(x.reshape(1, b * c, h, w), mixed, padding=kernels.shape[-1] // 2, groups=b)
    return y.view(b, -1, h, w) + (weights @ biases)[:, :, None, None]
    ### END SOLUTION


# %% tags=["folded"]
def check_one_image():
    """One pixel, one image, two experts that multiply by 1 and by 3 and add 10 and 20."""
    kernels, biases = torch.tensor([1.0, 3.0]).view(2, 1, 1, 1, 1), torch.tensor([[10.0], [20.0]])
    x = torch.full((1, 1, 1, 1), 2.0)
    found = dynamic_convolution(x, torch.zeros(1, 2), kernels, biases, 1.0)
    assert found.shape == (1, 1, 1, 1), f"one image, one output, one pixel: (1, 1, 1, 1), not {tuple(found.shape)}"
    assert same(found.flatten(), torch.tensor([19.0])), (
        f"equal weights: (1 + 3)/2 · 2 + (10 + 20)/2 = 19, not {rounded(found)}"
    )
    found = dynamic_convolution(x, torch.tensor([[100.0, 0.0]]), kernels, biases, 1.0)
    assert same(found.flatten(), torch.tensor([12.0])), (
        f"the first expert has all the weight: 1 · 2 + 10 = 12, not {rounded(found)}: what of the other one is still there?"
    )
    found = dynamic_convolution(x, torch.tensor([[2 * torch.log(torch.tensor(3.0)), 0.0]]), kernels, biases, 2.0)
    assert same(found.flatten(), torch.tensor([15.5])), (
        f"logits 2 log 3 and 0 with τ = 2: weights ¾ and ¼, so 1.5 · 2 + 12.5 = 15.5, not {rounded(found)}"
    )


# %% tags=["check_16_3"]
with exercise.check(3):
    check_one_image()
    x, logits, kernels, biases = drawn((3, 2, 4, 5), (3, 6), (6, 7, 2, 3, 3), (6, 7))
    batch = dynamic_convolution(x, logits, kernels, biases, 0.5)
    assert batch.shape == (3, 7, 4, 5), f"three images, seven outputs: (3, 7, 4, 5), not {tuple(batch.shape)}"
    alone = torch.cat([dynamic_convolution(*one, kernels, biases, 0.5) for one in zip(x[:, None], logits[:, None])])
    assert same(batch, alone), (
        "in a batch, an image does not get what it gets alone: whose kernel and bias does it meet?"
    )
    only = dynamic_convolution(x, 100 * F.one_hot(torch.tensor([4, 0, 2]), 6).float(), kernels, biases, 0.5)
    due = torch.stack([F.conv2d(one, kernels[k], biases[k], padding=1) for one, k in zip(x, (4, 0, 2))])
    assert same(only, due), (
        "images that give all weight to experts 4, 0 and 2 must get exactly these experts' convolutions with their biases"
    )

# %% [markdown]
# ## task_16_4 · Exactly k open
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# GaterNet's λ decides only on average how many filters open. Write gates that open **exactly k filters in each image**: those with the k largest logits.
#
# *Forward*: 1 for the k largest logits of each image, 0 for the others; no noise. *Backward*: the gradient of the soft gates $g_\alpha = \mathrm{clip}(1.2\,\sigma(z) - 0.1,\ 0,\ 1)$, for **all** filters, whether they are open or not. So a closed filter can learn to open.
#
# Shapes: `logits` b m, `k` a whole number from 1 to m -> b m, of the type of the logits.
#
# <details><summary>Hint 1: two tensors</summary>
#
# Make what shall be *seen* (hard) and what shall be *derived* (soft). They have the same shape.
# </details>
#
# <details><summary>Hint 2: a difference that is zero</summary>
#
# `soft − soft.detach()` is 0 everywhere. What is its gradient?
# </details>


# %% tags=["task_16_4"]
def open_exactly(logits, k):
    """1 for the k largest logits of each image, 0 for the others; the gradient is that of the soft gates: b m -> b m."""
    ### BEGIN SOLUTION
    soft = (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)
    best = logits.topk(k, dim=1).indices
    hard = torch.zeros_like(logits).scatter(1, best, 1.0)
    return hard + soft - soft.detach()
    ### END SOLUTION


# %% tags=["check_16_4"]
with exercise.check(4):
    logits = torch.tensor([[0.5, -1.0, 2.0, -3.0], [-9.0, -0.5, -2.0, -1.0]], requires_grad=True)
    gates = open_exactly(logits, 2)
    assert gates.shape == (2, 4), f"a gate for each logit: (2, 4), not {tuple(gates.shape)}"
    assert same(gates[0], torch.tensor([1.0, 0, 1, 0])), (
        f"logits 0.5, −1, 2, −3 and k = 2: the gates are 1, 0, 1, 0, not {rounded(gates[0])}"
    )
    assert same(gates[1], torch.tensor([0.0, 1, 0, 1])), (
        f"logits −9, −0.5, −2, −1 and k = 2: two filters open though all logits are negative: 0, 1, 0, 1, not {rounded(gates[1])}"
    )
    assert gates.requires_grad, "no gradient reaches the logits: a rounded number alone has none"
    slope = torch.autograd.grad(gates.sum(), logits)[0]
    due = 1.2 * torch.tensor(0.5).sigmoid() * torch.tensor(-0.5).sigmoid()
    assert same(slope[0, 0], due), (
        f"at an open filter with logit 0.5, g_α rises by 1.2 σ(0.5) (1 − σ(0.5)) = {due:.3f}, your gate by {slope[0, 0]:.3f}"
    )
    assert same(slope[1, 1], due), f"at −0.5, g_α rises by the same {due:.3f}, your gate by {slope[1, 1]:.3f}"
    due = 1.2 * torch.tensor(-1.0).sigmoid() * torch.tensor(1.0).sigmoid()
    assert same(slope[0, 1], due), (
        f"at a *closed* filter with logit −1, g_α rises by {due:.3f}, your gate by {slope[0, 1]:.3f}: can it learn to open?"
    )
    assert slope[0, 3] == 0 and slope[1, 0] == 0, (
        f"at −3 and −9, 1.2 σ(z) − 0.1 is below 0 and clipped: the gradient is 0, not {slope[0, 3]:.3f} and {slope[1, 0]:.3f}"
    )
