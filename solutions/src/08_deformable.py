# %% [markdown]
# # Exercise 08 · Deformable
#
# You let the taps of a row wander, find the channel that moves a tap, turn fixed offsets into an ordinary kernel, and repair a layer of version 2.
#
# *Minutes:* 58 · *Needs:* 08
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here. Offsets are in pixels, and outside the image there are zeros.

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.exercises import Exercise

torch.manual_seed(0)  # the weights of task 4 start at random
exercise = Exercise("08_deformable", points=[3, 2, 3, 3])

# %% [markdown]
# ## task_08_1 · A deformable row
# difficulty 3/5 · importance 5/5 · 20 minutes
#
# Sound and text are rows: they have one axis. Write a deformable convolution for them, with dilation. There are k taps, k odd. Tap 0 is the leftmost, and the middle tap lies at the position itself. Neighbouring taps lie `dilation`
# pixels apart; then each tap moves by its own offset, in pixels, to the right if it is positive. Between two pixels read linearly, and outside the row read 0. Use neither the library nor
# `F.grid_sample` nor `F.conv1d`.
#
# Shapes: `x` b c w, `offset` b k w, `weight` o c k -> b o w.
#
# <details><summary>Hint 1: one tap, one position</summary>
#
# With k = 5 and dilation 2, where does tap 0 read at position 10, before it moves? Which formula gives that for all taps?
# </details>
#
# <details><summary>Hint 2: all places</summary>
#
# The places are a sum of three: positions (w), taps (k 1) and offsets (b k w). How near is each place to each pixel? One axis more.
# </details>
#
# <details><summary>Hint 3: two sums</summary>
#
# nearness = max(0, 1 − |place − pixel|), b k w s. First sum over the pixels s, then over channels and taps; `torch.einsum` can do both.
# </details>


# %% tags=["task_08_1"]
def deformable_row(x, offset, weight, dilation):
    """Each tap of each position reads at its own place: b c w, b k w, o c k -> b o w."""
    ### BEGIN SOLUTION
    w, k = x.shape[2], weight.shape[2]
    taps = dilation * (torch.arange(k) - k // 2)
    places = torch.arange(w) + taps[:, None] + offset  # b k w
    nearness = (1 - (places[..., None] - torch.arange(w)).abs()).clamp(min=0)  # b k w s
    return torch.einsum("bcs,bkws,ock->bow", x, nearness, weight)
    ### END SOLUTION


# %% tags=["folded"]
x = torch.tensor([[[1.0, 10.0, 100.0, 1000.0, 10000.0]]])  # each digit of the output tells a pixel
still, left = torch.zeros(1, 3, 5), torch.tensor([[[1.0, 0.0, 0.0]]])  # only tap 0 has a weight


def check_still():
    """No tap has moved yet."""
    y = deformable_row(x, still, left, 1)
    assert y.shape == (1, 1, 5), f"one image, one output channel, five positions: (1, 1, 5), not {tuple(y.shape)}"
    assert y[0, 0, 2] != 1000, "tap 0 of three read right of the position: is the kernel mirrored?"
    assert y[0, 0, 2] == 10, f"position 2: tap 0 of three lies at 1, where 10 stands, not {y[0, 0, 2]:.0f}"
    y = deformable_row(x, still, left, 2)
    assert y[0, 0, 2] == 1, f"with dilation 2 tap 0 of position 2 lies at 0, where 1 stands, not {y[0, 0, 2]:.0f}"
    assert y[0, 0, 1] == 0, f"at position 1 it lies at −1, outside: 0, not {y[0, 0, 1]:.0f}"


# %% tags=["check_08_1"]
with exercise.check(1):
    check_still()
    moved = still.clone()
    moved[0, 0, 2] = 1.0
    y = deformable_row(x, moved, left, 2)[0, 0]
    assert y[2] != 100, "moved by 1 it should read pixel 1: offsets are in pixels, whatever the dilation"
    assert y[2] == 10, f"tap 0 lies at 0 and moves to the right by 1: there stands 10, not {y[2]:.0f}"
    assert y[3] == 10, f"only position 2 was moved; position 3 still reads pixel 1, not {y[3]:.0f}"
    moved[0, 0, 2] = 0.75
    y = deformable_row(x, moved, left, 2)[0, 0, 2]
    assert abs(y - 7.75) < 1e-4, f"at 0.75 stand a quarter of 1 and three quarters of 10: 7.75, not {y:.2f}"
    moved[0, 0, 2] = -0.5
    y = deformable_row(x, moved, left, 2)[0, 0, 2]
    assert abs(y - 0.5) < 1e-4, f"at −0.5 stand half of 1 and half of the zero outside: 0.5, not {y:.2f}"
    two = deformable_row(x.expand(2, 1, 5), torch.cat([still, moved]), left, 2)[:, 0, 2]
    assert two.tolist() == [1, 0.5], f"each row of a batch has its own offsets: 1 and 0.5, not {two.tolist()}"
    mixed = deformable_row(torch.cat([x, 2 * x], dim=1), still, torch.tensor([[[0.0, 1, 0], [0, 3, 0]]]), 1)[0, 0, 2]
    assert mixed == 700, f"two channels of 100 and 200 with weights 1 and 3: 700, not {mixed:.0f}"

# %% [markdown]
# ## task_08_2 · Which channel?
# difficulty 2/5 · importance 4/5 · 10 minutes
#
# Published code of version 2 predicts everything with **one** convolution. First come all offsets: group by group; in each group tap by tap, row by row of the kernel; for each tap the row, then the column. Behind *all* offsets
# come the factors: group by group, tap by tap. Which three channels belong to the tap in row `i` and column `j` of a kernel of `kernel = (kh, kw)` taps, in group `group` of `groups`? All counts start at 0. Return the numbers for row, column and factor.
#
# <details><summary>Hint 1: number the taps</summary>
#
# Draw a kernel of 2 × 3 taps and number them row by row. What stands at i = 1, j = 0?
# </details>
#
# <details><summary>Hint 2: how many came before?</summary>
#
# A channel's number is how many channels stand before it. For the factor: all offsets of all groups, then the factors of the groups before, then those of the taps before.
# </details>


# %% tags=["task_08_2"]
def channels_of(group, i, j, groups, kernel):
    """The channels that hold row offset, column offset and factor of one tap: three whole numbers."""
    ### BEGIN SOLUTION
    kh, kw = kernel
    tap = group * kh * kw + i * kw + j
    return 2 * tap, 2 * tap + 1, 2 * groups * kh * kw + tap
    ### END SOLUTION


# %% tags=["check_08_2"]
with exercise.check(2):
    found = tuple(channels_of(0, 0, 0, 1, (2, 3)))
    assert len(found) == 3, f"three numbers: row, column, factor; not {found}"
    assert found[:2] != (1, 0), "the very first channel is a row offset; row and column are exchanged"
    assert found[:2] == (0, 1), f"the first tap has channels 0 and 1, one after the other, not {found[:2]}"
    assert found[2] == 12, f"6 taps have 12 offsets, channels 0 to 11; the first factor is channel 12, not {found[2]}"
    found = tuple(channels_of(0, 1, 0, 1, (2, 3)))
    assert found[:2] == (6, 7), (
        f"before row 1 of a 2 × 3 kernel come 3 taps with two offsets each: 6 and 7, not {found[:2]}"
    )
    assert found[2] == 15, f"12 offsets and 3 factors come before: 15, not {found[2]}"
    found = tuple(channels_of(1, 0, 2, 2, (2, 3)))
    assert found[:2] == (16, 17), (
        f"group 1: the 12 offsets of group 0 and those of 2 taps come before: 16 and 17, not {found[:2]}"
    )
    assert found[2] == 32, (
        f"two groups have 24 offsets; then the 6 factors of group 0 and 2 more come before: 32, not {found[2]}"
    )

# %% [markdown]
# ## task_08_3 · One kernel for fixed offsets
# difficulty 4/5 · importance 4/5 · 18 minutes
#
# Each tap of a k × k kernel (k odd) has an offset of its own, but it is the same at every position: `offset` k² 2, tap by tap, row by row, first row and then column. Then the layer is an ordinary convolution. Derive its kernel: it reaches `reach` pixels in
# each direction, and no tap lies farther. `F.conv2d(x, your_kernel, padding=reach)` must equal the deformable layer.
#
# Shapes: `weight` o c k k, `offset` k² 2 -> o c (2·reach + 1) (2·reach + 1).
#
# <details><summary>Hint 1: one tap</summary>
#
# A kernel of one tap with weight 1 moves down by 0.25. The output is ¾ of one pixel and ¼ of another. So what stands in the ordinary kernel, and where?
# </details>
#
# <details><summary>Hint 2: each tap spreads</summary>
#
# Tap n lies at (row, column) = p_n + offset. It gives w_n · max(0, 1 − |row − r|) · max(0, 1 − |column − s|) to the cell that lies r rows and s columns from the middle. Cells may get something from many taps.
# </details>


# %% tags=["task_08_3"]
def as_kernel(weight, offset, reach):
    """The ordinary kernel that reads what the moved taps read: o c k k, k² 2 -> o c 2·reach+1 2·reach+1."""
    ### BEGIN SOLUTION
    k = weight.shape[2]
    from_middle, cells = torch.arange(k) - k // 2, torch.arange(2 * reach + 1) - reach
    taps = torch.cartesian_prod(from_middle, from_middle) + offset  # k² 2
    down, across = (1 - (taps.T[..., None] - cells).abs()).clamp(min=0)  # k² r, k² s
    return torch.einsum("ocn,nr,ns->ocrs", weight.flatten(2), down, across)
    ### END SOLUTION


# %% tags=["folded"]
one, none = torch.ones(1, 1, 1, 1), torch.zeros(1, 2)


def check_one_tap():
    """A kernel of one tap: its weight spreads over the cells nearby."""
    kernel = as_kernel(one, none, 1)
    assert kernel.shape == (1, 1, 3, 3), f"reach 1 is a kernel of 3 × 3: (1, 1, 3, 3), not {tuple(kernel.shape)}"
    assert kernel[0, 0, 1, 1] == 1, "a tap that does not move stands in the middle, whole"
    kernel = as_kernel(one, torch.tensor([[0.25, 0.0]]), 1)[0, 0]
    column = kernel[:, 1].tolist()
    assert column != [0.25, 0.75, 0], "moved down by 0.25, but the quarter went up"
    assert kernel[1, 2] == 0, "moved down by 0.25, but the quarter went to the right: the row comes first"
    assert column == [0, 0.75, 0.25], f"down by 0.25: ¾ in the middle, ¼ in the row below, not {column}"
    corner = as_kernel(one, torch.tensor([[0.5, -0.5]]), 1)[0, 0]
    assert corner[1:, :2].flatten().tolist() == [0.25] * 4, (
        f"half a pixel down and half to the left: a quarter in each of four cells, not {corner[1:, :2].tolist()}"
    )


# %% tags=["check_08_3"]
with exercise.check(3):
    check_one_tap()
    weight = torch.arange(1.0, 10).view(1, 1, 3, 3)
    assert torch.equal(as_kernel(weight, torch.zeros(9, 2), 2)[0, 0, 1:4, 1:4], weight[0, 0]), (
        "with offsets of zero the kernel itself stands in the middle: each tap has a place of its own, row by row"
    )
    inward = -torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2))  # every tap moves to the middle
    total = as_kernel(weight, inward, 1)[0, 0, 1, 1]
    assert total != 5, (
        "all nine taps meet in the middle, and there stands the mean of their weights, 5; what does a convolution do with its taps?"
    )
    assert total == 45, f"all nine taps meet in the middle: 1 + 2 + … + 9 = 45, not {total:.0f}"
    both = as_kernel(torch.ones(2, 3, 1, 1) * torch.tensor([2.0, 5.0]).view(2, 1, 1, 1), none, 1)
    assert both.shape == (2, 3, 3, 3) and both[:, 0, 1, 1].tolist() == [2, 5], (
        f"two output and three input channels: (2, 3, 3, 3), each with its own weight, not {tuple(both.shape)}"
    )

# %% [markdown]
# What the last task reads with; it is right.


# %%
def read_at(x, rows, columns):
    """What stands at these places, zero outside: b c h w, b h w, b h w -> b c h w."""
    grid = torch.stack([(2 * columns + 1) / x.shape[3] - 1, (2 * rows + 1) / x.shape[2] - 1], dim=-1)
    return F.grid_sample(x, grid, align_corners=False)


# %% [markdown]
# ## task_08_4 · Repair version 2
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# This layer runs and its shapes are right, but put into a trained network it destroys what the network knew. It is wrong in three ways.
#
# ```python
# self.predict = nn.Conv2d(channels, 27, 3, padding=1)
# ...
# columns, rows, factors = self.predict(x).chunk(3, dim=1)  # b 9 h w each
# ```
#
# Repair it. The 27 channels are ordered as in task 2 (one group). A factor is **twice the sigmoid** of its channel, so that it lies between 0 and 2. And a fresh layer must compute exactly the ordinary convolution with `weight` (padding 1). The loop over the taps and `read_at` are
# right; give it `rows`, `columns` and `factors`, and set the start.
#
# Shapes: `x` b c h w -> b o h w.
#
# <details><summary>Hint 1: nine and nine?</summary>
#
# Task 2 says where the rows stand: channels 0, 2, 4, … How do you take every second channel of the first 18?
# </details>
#
# <details><summary>Hint 2: the start</summary>
#
# Which output of `predict` moves no tap and gives each the factor 1? Which numbers inside `predict` make that output for every x?
# </details>


# %% tags=["task_08_4"]
class Modulated(nn.Module):
    """A deformable convolution of version 2 that starts as the ordinary one: b c h w -> b o h w."""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, 3, 3))
        self.predict = nn.Conv2d(channels, 27, 3, padding=1)
        ### BEGIN SOLUTION
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)
        ### END SOLUTION

    def forward(self, x):
        ### BEGIN SOLUTION
        predicted = self.predict(x)  # b 27 h w
        rows, columns, factors = predicted[:, 0:18:2], predicted[:, 1:18:2], 2 * predicted[:, 18:].sigmoid()
        ### END SOLUTION
        down, across = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3])
        y = 0
        for tap in range(9):
            i, j = divmod(tap, 3)
            read = read_at(x, down + i - 1 + rows[:, tap], across + j - 1 + columns[:, tap])
            y = y + torch.einsum("oc,bchw->bohw", self.weight[:, :, i, j], factors[:, tap, None] * read)
        return y


# %% tags=["folded"]
def with_bias(channel, value):
    """Your layer, one channel, all weights 1, where only one bias of `predict` is not zero."""
    layer = Modulated(1, 1)
    nn.init.ones_(layer.weight), nn.init.zeros_(layer.predict.weight), nn.init.zeros_(layer.predict.bias)
    layer.predict.bias.data[channel] = value
    return layer


def check_start():
    """A fresh layer is the ordinary convolution."""
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    fresh = Modulated(3, 4)
    ordinary = F.conv2d(x, fresh.weight, padding=1)
    assert not fresh.predict.weight.any() and not fresh.predict.bias.any(), (
        "a fresh layer must move no tap, whatever x is: how does `predict` start?"
    )
    assert fresh.weight.any(), "the kernel `weight` keeps its random start: with zeros nothing would ever be read"
    ratio = (fresh(x) / ordinary).mean().item()
    assert abs(ratio - 0.5) > 1e-3, (
        "a fresh layer gives half of the ordinary convolution: which factor has a sigmoid of 0?"
    )
    assert torch.allclose(fresh(x), ordinary, atol=1e-5), (
        f"a fresh layer must be the ordinary convolution; yours is about {ratio:.2f} times as large"
    )


# %% tags=["check_08_4"]
with exercise.check(4):
    check_start()
    spot = torch.zeros(1, 1, 5, 7)
    spot[0, 0, 2, 4] = 1.0  # row 2, column 4
    y = with_bias(8, 1.0)(spot)[0, 0]  # tap 4, row
    assert not (y[2, 3] == 2 or y[2, 5] == 2), "bias 8 moves the middle tap along its row; it should move it down"
    assert abs(y[1, 4] - 2) < 1e-5, (
        f"bias 8 = 1 moves the middle tap one row down, where the lower tap reads, too: 2 at row 1, not {y[1, 4]:.2f}"
    )
    y = with_bias(9, 1.0)(spot)[0, 0]  # tap 4, column
    assert abs(y[2, 3] - 2) < 1e-5, (
        f"bias 9 = 1 moves the middle tap one column to the right: 2 at row 2, column 3, not {y[2, 3]:.2f}"
    )
    y = with_bias(22, 100.0)(spot)[0, 0]  # tap 4, factor
    assert abs(y[2, 4] - 2) < 1e-5, f"a factor lies between 0 and 2; with a bias of 100 it is 2, not {y[2, 4]:.2f}"
    assert abs(y[1, 4] - 1) < 1e-5, f"only the middle tap got another factor; the others keep 1, not {y[1, 4]:.2f}"
    dead = with_bias(22, -100.0)(spot)[0, 0, 2, 4]
    assert abs(dead) < 1e-5, f"a bias of −100 switches the middle tap off: 0, not {dead:.2f}"
