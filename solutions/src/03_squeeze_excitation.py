# %% [markdown]
# # Exercise 03 · Squeeze-and-Excitation
#
# You write a block that gates the frames of a film, and the relative of SE without parameters; you count what SE adds to a ResNet-50, derive the
# gradient that passes through the gates, and repair a block that looks at the wrong images.
#
# *Minutes:* 60 · *Needs:* 03
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
exercise = Exercise("03_squeeze_excitation", points=[3, 2, 3, 3, 3])

# %% [markdown]
# ## task_03_1 · Which frames?
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# The lesson's block asks which *channels* matter for an image. Write the `forward` of one that asks which *frames* matter for a film: all frames'
# averages together decide how much of each frame passes.
#
# $$z_t = \frac{1}{c h w} \sum_{c, h, w} x_{tchw} \qquad s = \sigma(W_2\, \delta(W_1 z)) \qquad y_{tchw} = s_t\, x_{tchw}$$
#
# with δ the ReLU and σ the sigmoid. $W_1$ is the weight of `self.squeeze`, $W_2$ that of `self.excite`; there are no biases.
#
# Shapes: `x` b t c h w; $z$ b t; $s$ b t; result b t c h w.
#
# <details><summary>Hint 1: the squeeze</summary>
#
# `mean` takes several axes at once. Which axes does one number of z average over, and which two stay?
# </details>
#
# <details><summary>Hint 2: the scale</summary>
#
# Gates of shape b t must get as many axes of length 1 as x has more, before they are multiplied onto it.
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# z = mean of x over c, h and w; s = sigmoid of excite of relu of squeeze of z; give s three axes of length 1; multiply.
# </details>


# %% tags=["task_03_1"]
class FrameExcitation(nn.Module):
    """All frame averages of a film together decide how much of each frame passes: b t c h w -> b t c h w."""

    def __init__(self, frames, reduction):
        super().__init__()
        self.squeeze = nn.Linear(frames, frames // reduction, bias=False)
        self.excite = nn.Linear(frames // reduction, frames, bias=False)

    def forward(self, x):
        ### BEGIN SOLUTION
        z = x.mean(dim=(2, 3, 4))  # b t c h w -> b t
        s = self.excite(self.squeeze(z).relu()).sigmoid()
        return x * s[:, :, None, None, None]  # b t -> b t 1 1 1
        ### END SOLUTION


# %% tags=["check_03_1"]
with exercise.check(1):  # 2 films of 3 frames with 4 channels of 1 × 5 pixels
    block = FrameExcitation(3, 1)
    block.load_state_dict({"squeeze.weight": torch.eye(3), "excite.weight": torch.zeros(3, 3)})
    x = torch.arange(120.0).view(2, 3, 4, 1, 5) - 62.5
    before, y = x.clone(), block(x).detach()
    assert torch.equal(x, before), "your block changed x itself: the caller still needs it"
    assert y.shape == x.shape, f"the result must have the shape of x, {tuple(x.shape)}, not {tuple(y.shape)}"
    assert torch.allclose(y, x / 2), "with W₂ = 0 each logit is 0 and each gate σ(0) = 1/2, so y must be x / 2"
    block.load_state_dict({"squeeze.weight": torch.eye(3), "excite.weight": torch.eye(3) / 50})
    gates = (block(x) / x).detach()
    for axis, name in ((2, "channels"), (3, "rows"), (4, "columns")):
        one = gates.narrow(axis, 0, 1)
        assert torch.allclose(gates, one.expand_as(gates), atol=1e-5), f"the {name} of one frame have different gates"
    assert torch.allclose(block(x[1:]), block(x)[1:], atol=1e-5), (
        "the second film alone gives another result than in a batch"
    )
    assert not torch.allclose(gates[1], gates[1, :1].expand_as(gates[1])), "all frames of a film have the same gate"
    gates = gates[:, :, 0, 0, 0]
    assert torch.allclose(gates[0], torch.full((3,), 0.5)), (
        f"in film 0 all averages are negative, and the ReLU makes them 0, so every gate is 1/2, not {gates[0].numpy().round(3)}"
    )
    due = torch.tensor([7.0, 27.0, 47.0]).div(50).sigmoid()
    assert torch.allclose(gates[1], due, atol=1e-4), (
        f"in film 1 the frames average 7, 27 and 47, and the logits are a fiftieth: the gates are {due.numpy().round(3)}, not {gates[1].numpy().round(3)}"
    )

# %% [markdown]
# ## task_03_2 · What it adds to a network
# difficulty 2/5 · importance 3/5 · 10 minutes
#
# Derive on paper how many learned numbers SE adds to a network whose stages hold `blocks` residual blocks with `channels`
# output channels each; every residual block has one SE block on its output. Return the number for
# `stages = [(blocks, channels), …]`, without and with biases in both layers. Hidden units: $\lfloor c / r \rfloor$.
#
# For ResNet-50, `[(3, 256), (4, 512), (6, 1024), (3, 2048)]` and r = 16, the number without biases is 2 514 944.
#
# <details><summary>Hint 1: one block</summary>
#
# Two matrices, c/r × c and c × c/r. Which biases does each layer have, if it has any?
# </details>
#
# <details><summary>Hint 2: whole numbers</summary>
#
# A layer cannot have 3.5 units: divide with `//` *before* you multiply.
# </details>


# %% tags=["task_03_2"]
def added_parameters(stages, reduction=16, bias=False):
    """How many learned numbers one SE block in every residual block adds."""
    ### BEGIN SOLUTION
    total = 0
    for blocks, channels in stages:
        hidden = channels // reduction
        total += blocks * (2 * channels * hidden + (hidden + channels if bias else 0))
    return total
    ### END SOLUTION


# %% tags=["check_03_2"]
with exercise.check(2):
    one = added_parameters([(1, 64)])
    assert one == 512, (
        f"one block with 64 channels has 4 hidden units: two matrices of 4 · 64 numbers, 512, not {one}"
    )
    assert added_parameters([(1, 64)], reduction=4) == 2048, "64 channels at r = 4 have 16 hidden units: 2 · 64 · 16"
    assert added_parameters([(3, 64)]) == 1536, "three blocks have three times as many numbers"
    assert added_parameters([(1, 40)]) == 160, "40 channels at r = 16 leave 2 whole units: 2 · 40 · 2 numbers"
    biases = added_parameters([(2, 64)], bias=True) - 2 * one
    assert biases == 136, (
        f"in each of two blocks the first layer has 4 biases and the second 64, 136 in all; you count {biases}"
    )
    resnet_50 = added_parameters([(3, 256), (4, 512), (6, 1024), (3, 2048)])
    assert resnet_50 == 2_514_944, f"for ResNet-50 the paper's number is 2 514 944, not {resnet_50}"

# %% [markdown]
# ## task_03_3 · The gradient through the gates
# difficulty 4/5 · importance 4/5 · 15 minutes
#
# Let $G = \partial L / \partial y$ be the gradient that arrives at the output. The input is used twice: it is scaled, and
# it decides the scale. Derive $\partial L / \partial x$ for one image, and write it **without autograd**.
#
# Shapes: `x` c h w; `w_squeeze` ($W_1$) k c; `w_excite` ($W_2$) c k; `upstream` ($G$) c h w; result c h w.
#
# <details><summary>Hint 1: two paths</summary>
#
# For channel i, $y_{ihw} = s_i x_{ihw}$. While $s$ stands still the gradient is $s_i G_{ihw}$. The second path begins with
# $\partial L / \partial s_i = \sum_{h, w} G_{ihw}\, x_{ihw}$.
# </details>
#
# <details><summary>Hint 2: back through the layers</summary>
#
# A sigmoid multiplies by $s (1 - s)$, a matrix by its transpose, the ReLU by 1 where its input was positive and by 0
# elsewhere, and the average hands 1/(hw) to each position.
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# u = W₁ z; s = σ(W₂ relu(u)); a = s (1 − s) Σ G x; d = W₁ᵀ ((u > 0) · W₂ᵀ a); result = s G + d / (h w), where s and d
# belong to channels and are the same at every position.
# </details>


# %% tags=["task_03_3"]
def input_gradient(x, w_squeeze, w_excite, upstream):
    """∂L/∂x of an SE block from ∂L/∂y: c h w, k c, c k, c h w -> c h w."""
    ### BEGIN SOLUTION
    u = w_squeeze @ x.mean(dim=(1, 2))  # k
    s = (w_excite @ u.relu()).sigmoid()  # c
    a = s * (1 - s) * (upstream * x).sum(dim=(1, 2))  # c: the gradient of the logits
    d = w_squeeze.mT @ ((u > 0) * (w_excite.mT @ a))  # c: the gradient of the averages
    return s[:, None, None] * upstream + d[:, None, None] / x[0].numel()
    ### END SOLUTION


# %% tags=["folded"]
draw = torch.Generator().manual_seed(0)
X, G = torch.randn(2, 2, 3, 2, generator=draw)  # 2 channels of 3 × 2 pixels
W_1 = torch.tensor([[2.0, 1.0], [-2.0, 1.0], [-1.0, -3.0]])
W_2 = torch.tensor([[1.0, -2.0, 1.5], [0.5, 1.0, 2.0]])


def se_gates(x):
    return (W_2 @ (W_1 @ x.mean(dim=(1, 2))).relu()).sigmoid()[:, None, None]


# %% tags=["folded"]
def check_second_path(second):
    """What is left of the gradient without s·G, against autograd's."""
    assert second.abs().max() > 1e-6, (
        "beyond s·G there is nothing: the second path, x to the averages to the gates, is missing or comes out as 0"
    )
    assert torch.allclose(second, second[:, :1, :1].expand_as(second), atol=1e-5), (
        "beyond s·G the gradient must be the same at every position of a channel, since only the average was seen"
    )
    leaf = X.clone().requires_grad_()
    truth = torch.autograd.grad((leaf * se_gates(leaf) * G).sum(), leaf)[0] - se_gates(X) * G
    one, two = (second / truth)[:, 0, 0].tolist()
    why = (
        "how many positions are averaged, and how often?" if abs(one - two) < 1e-3 else "follow the path step by step"
    )
    why = "its sign is turned round" if abs(one + 1) + abs(two + 1) < 1e-3 else why
    assert abs(one - 1) + abs(two - 1) < 1e-3, (
        f"in channels 0 and 1 the second path is {one:.2f} and {two:.2f} times what autograd finds (6 positions): {why}"
    )


# %% tags=["check_03_3"]
with exercise.check(3):
    with torch.inference_mode():  # without autograd
        result = input_gradient(X, W_1, W_2, G).clone()
    assert result.shape == X.shape, f"the gradient must have the shape of x, (2, 3, 2), not {tuple(result.shape)}"
    assert torch.allclose(input_gradient(X, W_1, 0 * W_2, G), G / 2), (
        "with W₂ = 0 the gates stay 1/2: only G / 2 is left"
    )
    check_second_path(result - se_gates(X) * G)

# %% [markdown]
# ## task_03_4 · Gather-excite without parameters
# difficulty 3/5 · importance 3/5 · 10 minutes
#
# Write GE-θ⁻: average each channel over a neighbourhood, take the sigmoid, spread it back, multiply. No channel sees another.
#
# - `extent` 0: the neighbourhood is the whole map.
# - `extent` e ≥ 2: windows of 2e − 1 by 2e − 1 pixels centred on every e-th pixel, the first at (0, 0), so that
#   ⌈h/e⌉ × ⌈w/e⌉ cells are gathered. Where a window reaches over the border, average only the pixels that exist.
#
# The gates of the cells go back to h × w by repetition, as `F.interpolate(…, size=(h, w), mode="nearest")` does: pixel i takes
# the cell ⌊i · ⌈h/e⌉ / h⌋.
#
# Shapes: `x` b c h w; result b c h w, for any h and w.
#
# <details><summary>Hint 1: which pooling?</summary>
#
# `F.avg_pool2d` with kernel 2e − 1, stride e and padding e − 1 puts the windows in the right places.
# </details>
#
# <details><summary>Hint 2: the border</summary>
#
# By default the padding counts as zeros, and a constant image gets smaller averages at its border. `avg_pool2d` has an
# argument that leaves it out.
# </details>


# %% tags=["task_03_4"]
def gather_excite(x, extent):
    """Each channel gated by the sigmoid of its own neighbourhood's average: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    if extent == 0:
        return x * x.mean(dim=(2, 3), keepdim=True).sigmoid()
    kernel, padding = 2 * extent - 1, extent - 1
    cells = F.avg_pool2d(x, kernel, stride=extent, padding=padding, count_include_pad=False)
    return x * F.interpolate(cells.sigmoid(), size=x.shape[2:], mode="nearest")  # b c h' w' -> b c h w
    ### END SOLUTION


# %% tags=["folded"]
def check_constant():
    """A constant image has constant gates, with the whole map and with windows."""
    x = math.log(3) * torch.ones(1, 1, 5, 7)
    y = gather_excite(x, 0)
    assert y.shape == x.shape, f"the result must have the shape of x, {tuple(x.shape)}, not {tuple(y.shape)}"
    assert torch.allclose(y, 0.75 * x), "for a constant log 3 every gate is σ(log 3) = 3/4; y is x times it"
    assert torch.allclose(gather_excite(x, 2), 0.75 * x), (
        "a constant image must have constant gates at extent 2, too: leave the padding out of the average"
    )
    assert gather_excite(x, 4).shape == (1, 1, 5, 7), "sizes need not be multiples of the extent"


def check_alone(row):
    """No channel and no image changes another."""
    both = gather_excite(torch.cat([row, 3 - row], dim=1), 4)
    assert torch.allclose(both[:, :1], gather_excite(row, 4)), (
        "a second channel changed the first: no channel sees another"
    )
    whole = gather_excite(torch.cat([row, row + 5]), 0)[:1]
    assert torch.allclose(whole, gather_excite(row, 0)), "one image changed the gates of another"


# %% tags=["check_03_4"]
with exercise.check(4):
    check_constant()
    row = torch.arange(1.0, 9.0).view(1, 1, 1, 8)
    check_alone(row)
    gate = (gather_excite(row, 4) / row).flatten()
    count = len(gate.round(decimals=4).unique())
    assert count == 2, (
        f"8 pixels at extent 4 are 2 cells: 2 different gates, each repeated; not {count} different ones"
    )
    second, of_sigmoids = gate[7].logit().item(), row[..., 1:].sigmoid().mean().logit().item()
    assert abs(second - of_sigmoids) > 1e-2, "the sigmoid is taken of the average; here sigmoids were averaged"
    assert abs(second - 5) < 1e-2, (
        f"the second window is centred on pixel 4 and reaches 3 to each side: (2 + … + 8) / 7 is 5, not {second:.2f}"
    )
    odd = (gather_excite(row[..., :5], 4) / row[..., :5]).flatten()
    assert len(odd) == 5 and odd[2] < odd[3], (
        "5 pixels at extent 4 are 2 cells: pixels 0, 1, 2 take the first, 3 and 4 the second; give interpolate the size"
    )

# %% [markdown]
# ## task_03_5 · Repair a block that sees its neighbours
# difficulty 3/5 · importance 5/5 · 15 minutes
#
# This code runs, its shapes are right, with a batch of one image it even gives the
# right numbers. It is wrong in two ways.
#
# ```python
# class RepairedSE(nn.Module):
#     def __init__(self, channels, reduction=16):
#         super().__init__()
#         hidden = channels // reduction
#         self.squeeze = nn.Linear(channels, hidden, bias=False)
#         self.excite = nn.Linear(hidden, channels, bias=False)
#
#     def forward(self, x):
#         z = x.mean(dim=(0, 2, 3))
#         s = self.excite(self.squeeze(z).relu()).sigmoid()
#         return x * s[None, :, None, None]
# ```
#
# First, what one image gives depends on the other images of its batch. Second, for `RepairedSE(8)` there are no hidden
# units: the block is a constant one half, it has nothing to learn, and nobody is told. Repair both; such a block
# must raise a `ValueError` whose words name both numbers, 8 and 16. Keep the names `squeeze` and `excite`, and no biases.
#
# Shapes: `x` b c h w, result b c h w, for any b, h and w.
#
# <details><summary>Hint 1: find the first by an experiment</summary>
#
# Pass two images together, then each alone. Which axis has been summed up that should not have been?
# </details>
#
# <details><summary>Hint 2: the second</summary>
#
# `channels // reduction` is 0 when the reduction is larger than the number of channels. One `if` before the layers
# are made, and an f-string with both numbers.
# </details>


# %% tags=["task_03_5"]
class RepairedSE(nn.Module):
    """An SE block in which images do not mix, and which never comes without hidden units: b c h w -> b c h w."""

    def __init__(self, channels, reduction=16):
        super().__init__()
        ### BEGIN SOLUTION
        hidden = channels // reduction
        if hidden == 0:
            raise ValueError(f"channels={channels} leaves no hidden unit at reduction={reduction}; reduce less")
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        z = x.mean(dim=(2, 3))  # b c h w -> b c
        s = self.excite(self.squeeze(z).relu()).sigmoid()
        return x * s[:, :, None, None]  # b c -> b c 1 1
        ### END SOLUTION


# %% tags=["folded"]
def check_refusal():
    """Eight channels are refused in words, sixteen are not."""
    try:
        RepairedSE(8)
    except ValueError as error:
        assert "8" in str(error) and "16" in str(error), f"name both numbers, 8 and 16; you say: {error}"
    except Exception as error:
        raise AssertionError(f"raise a ValueError; you raise: {type(error).__name__}") from error
    else:
        raise AssertionError("RepairedSE(8) has no hidden unit at reduction 16: raise a ValueError that says so")
    try:
        RepairedSE(16)
    except ValueError as error:
        raise AssertionError(f"RepairedSE(16) has one hidden unit, which is enough; you say: {error}") from error


# %% tags=["check_03_5"]
with exercise.check(5):
    block = RepairedSE(4, reduction=2)
    assert [*block.state_dict()] == ["squeeze.weight", "excite.weight"], (
        "keep the layers squeeze and excite, no biases"
    )
    block.load_state_dict({"squeeze.weight": torch.eye(4)[:2] - 0.1, "excite.weight": torch.eye(4)[:, :2] + 0.1})
    x = torch.arange(72.0).view(3, 4, 2, 3) % 11 - 3
    together, alone = block(x), torch.cat([block(image[None]) for image in x])
    assert together.shape == x.shape, (
        f"the result must have the shape of x, {tuple(x.shape)}, not {tuple(together.shape)}"
    )
    assert torch.allclose(together, alone, atol=1e-5), (
        "an image gives another result in a batch than alone: squeeze over h and w only, in training mode, too"
    )
    z = x.mean(dim=(2, 3))
    s = (z @ block.squeeze.weight.mT).relu() @ block.excite.weight.mT
    assert torch.allclose(alone, x * s.sigmoid()[:, :, None, None], atol=1e-5), (
        "images no longer mix, but the gates are not σ(W₂ δ(W₁ z)) with z the average over the positions of each channel"
    )
    assert together.requires_grad, "no gradient reaches W₁ and W₂: the gates must stay part of the graph"
    check_refusal()
