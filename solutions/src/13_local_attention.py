# %% [markdown]
# # Exercise 13 · Local attention
#
# You turn heads that know only places back into a convolution, write a window with gaps, repair a local relation that mixes up pixels and taps, and find
# the window at which attention costs as much as a convolution.
#
# *Minutes:* 52 · *Needs:* 13
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch
from torch.nn import functional as F

from course_lib.exercises import Exercise

exercise = Exercise("13_local_attention", points=[3, 4, 3, 2])

# %% [markdown]
# ## task_13_1 · Which convolution is it?
# difficulty 3/5 · importance 5/5 · 14 minutes
#
# The lesson turns a convolution into attention. Go back. Here is a layer of s heads that know only *places*: the score of a tap is a learned number, whatever stands in the pixels.
# A window has k rows and l columns of taps; the first tap is the upper left one. Away from the border the layer computes
#
# $$y_i = \sum_p W_O^{(p)} \sum_t a^{(p)}_t\, W_V^{(p)} x_{i+t}$$
# $$a^{(p)} = \text{softmax of all the scores of head } p$$
#
# Derive on paper which kernel a convolution needs to compute the same, and return it.
#
# Shapes: `scores` s k l, `w_v` s d c, `w_o` s o d -> o c k l, a kernel for `F.conv2d` (which does not mirror it).
#
# <details><summary>Hint 1: one tap</summary>
#
# Let only one pixel of the window be nonzero. Which matrix stands between that pixel and $y_i$, if there is one head? And if there are two?
# </details>
#
# <details><summary>Hint 2: the weights</summary>
#
# A head shares out one whole, among all the taps of its window. Over how many numbers does its softmax run?
# </details>
#
# <details><summary>Hint 3: letters</summary>
#
# Write the result with the letters o, c, k, l; what is summed away? `torch.einsum` takes three tensors.
# </details>


# %% tags=["task_13_1"]
def as_convolution(scores, w_v, w_o):
    """The kernel that does the same as heads that know only places: s k l, s d c, s o d -> o c k l."""
    ### BEGIN SOLUTION
    weights = scores.flatten(1).softmax(dim=1).view_as(scores)  # s k l
    return torch.einsum("skl,sdc,sod->ockl", weights, w_v, w_o)
    ### END SOLUTION


# %% tags=["folded"]
def rounded(tensor):
    """The numbers of a tensor, for the sentences below."""
    return [round(value, 3) for value in tensor.flatten().tolist()]


def check_one_head():
    """One head: its shares, its matrices, and which tap is which."""
    scores = torch.tensor([[[1.0, 2.0, 3.0], [2.0, 3.0, 5.0]]]).log()  # 1 2 3, shares of 16
    one = torch.ones(1, 1, 1)
    found = as_convolution(scores, one, one)
    assert found.shape == (1, 1, 2, 3), (
        f"o = c = 1, k = 2, l = 3: the kernel is (1, 1, 2, 3), not {tuple(found.shape)}"
    )
    assert abs(found.sum() - 1) < 1e-4, (
        f"one head shares out one whole over all six taps, but its kernel sums to {found.sum():.3f}: over which axes does the softmax run?"
    )
    assert torch.allclose(found.flatten(), torch.tensor([1.0, 2.0, 3.0, 2.0, 3.0, 5.0]) / 16, atol=1e-4), (
        f"scores log 1, 2, 3 above log 2, 3, 5: the kernel is 1, 2, 3, 2, 3, 5 sixteenths in this order, not {rounded(found)}"
    )


# %% tags=["check_13_1"]
with exercise.check(1):
    check_one_head()
    v, o = torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.0], [10.0]]])  # s d c, s o d
    found = as_convolution(torch.zeros(1, 1, 1), v, o)
    assert found.shape == (2, 3, 1, 1), f"o = 2, c = 3: the kernel is (2, 3, 1, 1), not {tuple(found.shape)}"
    assert torch.allclose(found[:, :, 0, 0], torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])), (
        f"W_V = (1, 2, 3), then W_O = (1, 10): the matrix of a single tap is W_O W_V, not {found[:, :, 0, 0].tolist()}"
    )
    far_left, far_right = [[9.0, -9.0, -9.0]], [[-9.0, -9.0, 9.0]]
    scores = torch.tensor([far_left, far_right])  # 2 1 3: head 0 looks to the left, head 1 to the right
    w_v = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])  # head 0 takes channel 0, head 1 takes channel 1
    w_o = torch.tensor([[[5.0]], [[-7.0]]])
    found = as_convolution(scores, w_v, w_o)[0, :, 0].round()
    assert found.tolist() == [[5, 0, 0], [0, 0, -7]], (
        "head 0 takes channel 0 from the left, times 5; head 1 takes channel 1 from the right, times −7. So the kernel is "
        f"[[5, 0, 0], [0, 0, −7]], not {found.tolist()}: heads are added, each with its own share and its own matrices"
    )

# %% [markdown]
# ## task_13_2 · A window with gaps
# difficulty 4/5 · importance 5/5 · 16 minutes
#
# Write the local attention of one head with three changes: the window has k rows and l columns (both odd) of taps; neighbouring taps stand `dilation` pixels apart; and the vector of
# a step is a *sum*, $r = \mathrm{rows}_a + \mathrm{columns}_b$, for the tap in row a and column b of the window. The tap in the middle is the asking pixel itself.
#
# $$y_i = \sum_{ab} \mathrm{softmax}_{ab}\bigl(q_i \cdot (k_{ab} + r_{ab})\bigr)\, v_{ab}$$
#
# No $1/\sqrt d$. A tap outside the image gets the weight 0, and the others share the whole.
#
# Shapes: `query`, `key` b d h w; `value` b e h w; `rows` k d; `columns` l d -> b e h w.
#
# <details><summary>Hint 1: what F.unfold can do</summary>
#
# It takes `kernel_size`, `padding` and `dilation` as pairs (rows, columns). How wide must the padding be, so that every pixel is the middle of a window? Its result is
# b (c k l) n: which axes hide in the middle one, and in which order?
# </details>
#
# <details><summary>Hint 2: inside or outside?</summary>
#
# Unfold an image of ones in the same way: what stands at the taps outside? What must the score be there, so that its share is 0?
# </details>
#
# <details><summary>Hint 3: the steps of the plan</summary>
#
# Windows of the keys, b d t n; add the steps, d t; multiply by the query and sum over d; −∞ outside; softmax over t; windows of the values, b e t n; sum over t.
# </details>


# %% tags=["task_13_2"]
def attend_with_gaps(query, key, value, rows, columns, dilation):
    """Local attention whose taps stand apart: b d h w, b d h w, b e h w, k d, l d -> b e h w."""
    ### BEGIN SOLUTION
    size = len(rows), len(columns)
    padding = tuple(dilation * (side // 2) for side in size)

    def windows(x):
        near = F.unfold(x, size, dilation=dilation, padding=padding)  # b (c t) n
        return near.unflatten(1, (x.shape[1], -1))  # b c t n

    steps = (rows[:, None] + columns).flatten(0, 1).mT  # d t
    scores = (query.flatten(2)[:, :, None] * (windows(key) + steps[..., None])).sum(dim=1)  # b t n
    outside = windows(torch.ones_like(key[:1, :1]))[:, 0] == 0  # 1 t n
    weights = scores.masked_fill(outside, -torch.inf).softmax(dim=1)  # b t n
    return (windows(value) * weights[:, None]).sum(dim=2).unflatten(2, query.shape[2:])
    ### END SOLUTION


# %% tags=["folded"]
def numbered(height, width):
    """Values that name their place: row r and column s hold 10 r + s. 1 1 h w"""
    return (10 * torch.arange(height)[:, None] + torch.arange(width)).float()[None, None]


def ask(rows=(0.0, 0.0, 0.0), columns=(0.0, 0.0, 0.0, 0.0, 0.0), dilation=1, query=1.0, key=None):
    """Your layer on 6 × 11 numbered places, with d = 1 and all queries equal: h w."""
    value = numbered(6, 11)
    key = torch.zeros_like(value) if key is None else key
    tables = (torch.tensor(one)[:, None] for one in (rows, columns))
    return attend_with_gaps(torch.full_like(value, query), key, value, *tables, dilation)[0, 0]


# %% tags=["folded"]
def check_places():
    """Where each tap of a 3 × 5 window reads."""
    assert ask().isfinite().all(), (
        "all keys are 0, and some y is not a number: a key of 0 *inside* the image counts, too; how do you tell which taps lie outside?"
    )
    up = ask(rows=(60.0, 0.0, 0.0), columns=(0.0, 0.0, 60.0, 0.0, 0.0))
    assert abs(up[3, 5] - 25) < 0.01, (
        f"the upper middle tap of row 3, column 5 is row 2, column 5, value 25, not {up[3, 5]:.2f}"
    )
    far = ask(rows=(0.0, 60.0, 0.0), columns=(0.0, 0.0, 0.0, 0.0, 60.0))
    assert abs(far[3, 5] - 37) < 0.01, (
        f"the rightmost tap of row 3, column 5 is column 7, value 37, not {far[3, 5]:.2f}"
    )
    gaps = ask(rows=(0.0, 0.0, 60.0), columns=(60.0, 0.0, 0.0, 0.0, 0.0), dilation=2)
    assert abs(gaps[3, 5] - 51) < 0.01, (
        f"dilation 2: the lower left tap of row 3, column 5 is row 5, column 1, value 51, not {gaps[3, 5]:.2f}"
    )


# %% tags=["folded"]
def check_border():
    """What a tap outside the image counts."""
    even = ask()
    assert abs(even[0, 0] - 6) < 0.01, (
        f"all scores equal: the corner averages the six places that exist, (0, 1, 2, 10, 11, 12)/6 = 6, not {even[0, 0]:.2f}; what do the others get?"
    )
    gone = ask(key=torch.full((1, 1, 6, 11), -20.0))
    assert abs(gone[0, 0] - 6) < 0.01, (
        f"all keys −20: still the six places that exist share the whole, 6, not {gone[0, 0]:.2f}: does a padded zero win against −20?"
    )


# %% tags=["folded"]
def check_scores():
    """What is summed before the softmax, and with whose query."""
    key = torch.zeros(1, 1, 6, 11)
    key[0, 0, 3, 6] = 1.0
    liked, large = ask(query=3.0, key=key)[3, 5], torch.tensor(3.0).exp()
    due = 35 + (large - 1) / (large + 14)
    assert abs(liked - due) < 0.01, (
        f"one key of 1 at row 3, column 6, fifteen taps, query 3: its score is 3 and y at column 5 is {due:.3f}, not {liked:.3f}"
    )
    query = torch.tensor([0.2, -0.5, 1.0, 0.6]).view(1, 4, 1, 1)  # sums to 1.3
    keys = torch.cat([0 * query, 0 * query + 1], dim=3)  # two pixels, whose scores differ by the sum of the query
    asking, value = torch.cat([query, -query], dim=3), torch.tensor([[[[0.0, 1.0]]]])
    y = attend_with_gaps(asking, keys, value, *torch.zeros(2, 3, 4), 1).flatten()
    assert abs(y[0] - 0.786) < 1e-3, (
        f"d = 4, query (0.2, −0.5, 1, 0.6), keys all 0 and all 1: scores 0 and 1.3, so the second gets 0.786, not {y[0]:.3f}: what is summed before the softmax, and is anything divided?"
    )
    assert abs(y[1] - 0.214) < 1e-3, f"the second pixel asks with −q: the second key gets 0.214, not {y[1]:.3f}"


# %% tags=["check_13_2"]
with exercise.check(2):
    two = torch.zeros(2, 2, 3, 6, 7)  # query and key
    shape = attend_with_gaps(*two, torch.zeros(2, 4, 6, 7), torch.zeros(3, 3), torch.zeros(5, 3), 2).shape
    assert shape == (2, 4, 6, 7), f"b e h w are 2 4 6 7, but the result is {tuple(shape)}"
    check_places()
    check_border()
    check_scores()

# %% [markdown]
# ## task_13_3 · Repair a local relation
# difficulty 3/5 · importance 4/5 · 14 minutes
#
# Somebody wrote the weights of LR-Net, where one number asks and one number answers for each of g groups of channels. It runs, its shapes are right, and its weights are positive
# and sum to 1. It is wrong in two ways.
#
# ```python
# def local_relation(x, query, key, prior):
#     k, groups, n = prior.shape[-1], query.shape[1], query[0, 0].numel()
#     near = F.unfold(key, k, padding=k // 2).view(len(x), groups, n, k * k)
#     scores = -(query.flatten(2)[..., None] - near) ** 2 + prior.flatten(1)[:, None]
#     weights = scores.softmax(dim=-1)  # b g n k²
#     values = F.unfold(x, k, padding=k // 2).unflatten(1, (groups, -1, k * k))  # b g c/g k² n
#     return torch.einsum("bgnt,bgctn->bgcn", weights, values).flatten(1, 2).unflatten(2, x.shape[2:])
# ```
#
# Write it correctly. Weights outside the image must be 0. Groups are neighbouring channels. The border is the only place where the second fault shows.
#
# Shapes: `x` b c h w; `query`, `key` b g h w; `prior` g k k -> b c h w.
#
# <details><summary>Hint 1: does <code>view</code> move anything?</summary>
#
# `F.unfold` gives b (g k²) n. What is the last axis of that, and what is the last axis of `near`? `view` renames axes; it never exchanges them.
# </details>
#
# <details><summary>Hint 2: what stands outside?</summary>
#
# The padding writes zeros. Which score does a zero get from a query that is zero? Find the taps outside by unfolding something whose values you know.
# </details>


# %% tags=["task_13_3"]
def local_relation(x, query, key, prior):
    """What fits is taken: b c h w, b g h w, b g h w, g k k -> b c h w."""
    ### BEGIN SOLUTION
    k, groups = prior.shape[-1], query.shape[1]

    def windows(image):
        return F.unfold(image, k, padding=k // 2).unflatten(1, (groups, -1, k * k))  # b g · k² n

    outside = windows(torch.ones_like(key))[:, :, 0] == 0  # b g k² n
    scores = -((query.flatten(2)[:, :, None] - windows(key)[:, :, 0]) ** 2) + prior.flatten(1)[..., None]
    weights = scores.masked_fill(outside, -torch.inf).softmax(dim=2)  # b g k² n
    return (windows(x) * weights[:, :, None]).sum(dim=3).flatten(1, 2).unflatten(2, x.shape[2:])
    ### END SOLUTION


# %% tags=["folded"]
def relate(key, query=0.0, prior=None, channels=1):
    """Your layer on numbered places of 4 × 6, one group, for this key: h w."""
    x = numbered(4, 6).repeat(1, channels, 1, 1)
    prior = torch.zeros(1, 3, 3) if prior is None else prior
    return local_relation(x, torch.full((1, 1, 4, 6), query), key, prior)[0, 0]


# %% tags=["folded"]
def check_taps():
    """The weight of a tap belongs to that tap, in the middle of the image."""
    key = torch.full((1, 1, 4, 6), 9.0)
    key[0, 0, 1, 3] = 0.0
    liked = relate(key)
    assert abs(liked[2, 2] - 13) < 0.01, (
        f"only row 1, column 3 fits (value 13); row 2, column 2 has it in its window and must answer 13, not {liked[2, 2]:.2f}: which axis of `near` holds the taps?"
    )
    prior = torch.zeros(1, 3, 3)
    prior[0, 2, 0] = 50.0
    placed = relate(torch.zeros(1, 1, 4, 6), prior=prior)
    assert abs(placed[1, 2] - 21) < 0.01, (
        f"equal keys, and a prior that wants the lower left: row 1, column 2 answers 21, not {placed[1, 2]:.2f}"
    )
    one = relate(9 * torch.arange(24.0).view(1, 1, 4, 6), query=126.0)  # the key of row 2, column 2
    assert abs(one[1, 1] - 22) < 0.01, (
        f"the square of the difference is a *loss*: the key nearest to the query wins, 22, not {one[1, 1]:.2f}"
    )


# %% tags=["check_13_3"]
with exercise.check(3):
    check_taps()
    corner = relate(torch.full((1, 1, 4, 6), 9.0))[0, 0]
    assert abs(corner - 5.5) < 0.01, (
        f"query 0, all keys 9: in the corner four places exist and share the whole, (0 + 1 + 10 + 11)/4 = 5.5, not {corner:.2f}: what do the padded zeros get?"
    )
    corner = relate(torch.zeros(1, 1, 4, 6))[0, 0]
    assert abs(corner - 5.5) < 0.01, (
        f"query 0, all keys 0: a key of 0 *inside* the image counts; the corner is 5.5, not {corner:.2f}"
    )
    x = torch.cat([numbered(4, 6) + 100 * channel for channel in range(4)], dim=1)
    prior = torch.full((2, 3, 3), -50.0)
    prior[0, 1, 1] = prior[1, 1, 2] = 0.0  # group 0 takes the middle, group 1 the pixel to the right
    y = local_relation(x, *torch.zeros(2, 1, 2, 4, 6), prior)
    assert y.shape == (1, 4, 4, 6), f"b c h w are 1 4 4 6, but the result is {tuple(y.shape)}"
    assert rounded(y[0, :, 1, 2]) == [12, 112, 213, 313], (
        f"group 0 (channels 0 and 1) takes the middle, group 1 the pixel to the right: 12, 112, 213, 313, not {rounded(y[0, :, 1, 2])}"
    )

# %% [markdown]
# ## task_13_4 · As dear as a convolution
# difficulty 2/5 · importance 3/5 · 8 minutes
#
# Count the multiplications for one position, with c channels in and out. A convolution with a `kernel_size` × `kernel_size` kernel mixes all channels at all taps. Stand-alone attention with a k × k window makes query, key and value
# with one c × c matrix each, compares with k² keys and mixes k² values. (The vector of a step is *added* to the key before it is compared; additions and the softmax do not count.)
#
# Return the largest *odd* k at which attention needs no more multiplications than the convolution, or 0 if there is none.
#
# <details><summary>Hint 1: two counts</summary>
#
# How many multiplications has one dot product of length c? How many of them does one position need, and how many for the mixture?
# </details>
#
# <details><summary>Hint 2: solve for k²</summary>
#
# Write both counts down, one on each side of ≤. Then try odd numbers until one is too large.
# </details>


# %% tags=["task_13_4"]
def widest_window(channels, kernel_size):
    """The largest odd window of attention that is no dearer than the convolution; 0 if there is none."""
    ### BEGIN SOLUTION
    k = 1
    while 3 * channels**2 + 2 * k**2 * channels <= kernel_size**2 * channels**2:
        k += 2
    return max(k - 2, 0)
    ### END SOLUTION


# %% tags=["check_13_4"]
with exercise.check(4):
    found = widest_window(128, 3)
    assert found == 19, (
        f"128 channels, 3 × 3: 147 456 multiplications; with 19 × 19 attention has 141 568, with 21 × 21 it has 162 048. So 19, not {found}"
    )
    found = widest_window(27, 3)
    assert found == 9, f"27 channels, 3 × 3: with 9 × 9 both have 6561, which is *no more*: 9, not {found}"
    found = widest_window(8, 1)
    assert found == 0, f"a 1 × 1 convolution is cheaper than three matrices: 0, not {found}"
    found = widest_window(3, 5)
    assert found == 5, f"3 channels, 5 × 5: 225 multiplications; 5 × 5 has 177, 7 × 7 has 321. So 5, not {found}"
