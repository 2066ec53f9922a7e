# %% [markdown]
# # Exercise 17 · Time
#
# You look back over a film while it runs, find the split of a clip that is cheapest, repair the time half of a divided block,
# let frames ask by how long ago it was, and gate a frame by all that came before.
#
# *Minutes:* 54 · *Needs:* 17
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.answers import drawn, rounded, same
from course_lib.exercises import Exercise

exercise = Exercise("17_time", points=[3, 2, 3, 3, 3])

# %% [markdown]
# ## task_17_1 · The film so far
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# The lesson's weights need the whole film. Here the film is still running: after *each* frame k we want the weighted average of the frames **up to and including** k, by a softmax over these frames alone.
#
# Some frames were lost (`real` is False there): they hold any numbers, perhaps ∞, and get no weight; but an answer is due after them, too. As long as no real frame has come, the answer is 0.
#
# Shapes: `x` b c t, `scores` b t (one for each frame), `real` b t -> b c t.
#
# <details><summary>Hint 1: how many different softmaxes?</summary>
#
# Each k has weights of its own, which sum to 1. Which shape have all weights together?
# </details>
#
# <details><summary>Hint 2: who may be read</summary>
#
# Frame k reads frame j if j ≤ k and j is real. That is a mask b t t. What does a softmax of nothing but −∞ give? And what is 0 · ∞?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# may = (j ≤ k) and real[j]; scores for each k, −∞ where may not; softmax over j; 0 where may not; lost frames of x become 0; sum over j: b c j, b k j -> b c k.
# </details>


# %% tags=["task_17_1"]
def so_far(x, scores, real):
    """After each frame, the weighted average of the real frames up to it: b c t, b t, b t -> b c t."""
    ### BEGIN SOLUTION
    t = x.shape[2]
    may = real[:, None] & (torch.arange(t) <= torch.arange(t)[:, None])  # b k j
    weights = scores[:, None].expand(may.shape).masked_fill(~may, float("-inf")).softmax(dim=2)
    weights = torch.where(may, weights, 0.0)  # NaN where nothing has come
    x = torch.where(real[:, None], x, 0.0)  # a lost frame may be infinite
    return x @ weights.mT  # b c j, b j k -> b c k
    ### END SOLUTION


# %% tags=["folded"]
film = torch.tensor([[8.0, 4.0, 0.0], [1.0, 1.0, 1.0]])  # two channels, three frames
likes = torch.tensor([1.0, 3.0, 4.0]).log()
everyone = torch.ones(1, 3) > 0


def check_running():
    """One film, no frame lost."""
    found = so_far(film[None], likes[None], everyone)
    assert found.shape == (1, 2, 3), f"the result has the shape of x, (1, 2, 3), not {tuple(found.shape)}"
    assert same(found[0, 1], torch.ones(3)), (
        f"channel 1 holds 1 in every frame, so each average is 1, not {rounded(found[0, 1])}: do the weights of each k sum to 1?"
    )
    assert same(found[0, 0], torch.tensor([8.0, 5.0, 2.5])), (
        f"frames 8, 4, 0 with shares 1, 3, 4: after the first 8, then (8 + 12)/4 = 5, then 20/8 = 2.5, not {rounded(found[0, 0])}: which frames are known after frame k?"
    )
    high = so_far(film[None].double(), likes[None].double() + 1000, everyone)
    assert same(high, found), "1000 more for every score changes no share, yours it does: what is exp(1000)?"


# %% tags=["folded"]
def check_lost():
    """Two films, frames lost in one."""
    real = torch.tensor([[False, True, False], [True, True, True]])
    both, their = torch.stack([film, 2 * film]), torch.stack([likes, likes])
    found = so_far(both, their, real)
    assert not found.isnan().any(), "before the first real frame came NaN: what is a softmax of nothing?"
    assert found[0, 0, 0] == 0, f"nothing real has come after frame 0: 0, not {found[0, 0, 0]:.3f}"
    assert same(found[0, 0], torch.tensor([0.0, 4.0, 4.0])), (
        f"only frame 1 (a 4) was not lost: 0, 4, 4, not {rounded(found[0, 0])}: who may be read, and after which frames is an answer due?"
    )
    assert same(found[1, 0], torch.tensor([16.0, 10.0, 5.0])), (
        f"the second film lost nothing: 16, 10, 5, not {rounded(found[1, 0])}: do the films share their weights?"
    )
    both[0, :, 2] = float("inf")
    assert same(so_far(both, their, real), found), "a lost frame held ∞, and it shows: 0 · ∞ is no number"


# %% tags=["check_17_1"]
with exercise.check(1):
    check_running()
    check_lost()

# %% [markdown]
# ## task_17_2 · The cheapest split
# difficulty 2/5 · importance 4/5 · 10 minutes
#
# Count *pairs* (who asks, who is asked; a token also asks itself) for a clip of t frames with h × w places:
#
# - **joint**: every token asks all tokens;
# - **divided**: every token asks its place in all frames, then all places of its frame;
# - **axial**: every token asks along time, then along its column (h places), then along its row (w places).
#
# Then derive: N tokens are given, and you may choose into how many frames t (a divisor of N) they are split. Which t makes *divided* cheapest? Of two that are equally cheap, return the smaller.
#
# Shapes: three whole numbers t, h, w -> three whole numbers (joint, divided, axial); a whole number N -> a whole number t.
#
# <details><summary>Hint 1: one token first</summary>
#
# How many does one token ask in each step? How many tokens are there?
# </details>
#
# <details><summary>Hint 2: a sum with a fixed product</summary>
#
# t · n = N is fixed, and t + n shall be small. Where is the derivative of t + N/t zero? That t need not be a divisor. Which divisors lie on both sides of it, and what is the sum of each?
# </details>


# %% tags=["task_17_2"]
def pairs(t, h, w):
    """How many pairs compare: joint, divided, axial."""
    ### BEGIN SOLUTION
    tokens = t * h * w
    return tokens**2, tokens * (t + h * w), tokens * (t + h + w)
    ### END SOLUTION


def cheapest(tokens):
    """The number of frames, a divisor of ``tokens``, that makes divided attention cheapest."""
    ### BEGIN SOLUTION
    divisors = [t for t in range(1, tokens + 1) if tokens % t == 0]
    return min(divisors, key=lambda t: t + tokens // t)  # smallest near the root; min keeps the first of equals
    ### END SOLUTION


# %% tags=["check_17_2"]
with exercise.check(2):
    joint, divided, axial = pairs(2, 3, 5)
    assert joint == 900, f"2 · 3 · 5 = 30 tokens, each asks 30: 900 pairs, not {joint}"
    assert divided == 510, f"each of 30 tokens asks 2 frames, then 15 places: 30 · 17 = 510, not {divided}"
    assert axial == 300, f"each of 30 tokens asks 2 + 3 + 5 others or itself: 300, not {axial}"
    found = {tokens: cheapest(tokens) for tokens in (16, 24, 7, 90)}
    assert found[16] == 4, f"16 tokens: 4 + 4 = 8 is less than 2 + 8 and 1 + 16, so 4 frames, not {found[16]}"
    assert found[24] == 4, f"24 tokens: 4 + 6 and 6 + 4 are the smallest sums; the smaller t is 4, not {found[24]}"
    assert found[7] == 1, f"7 tokens: 1 + 7 and 7 + 1 are all there is; the smaller t is 1, not {found[7]}"
    assert found[90] == 9, f"90 tokens: 9 + 10 is the smallest sum, so 9 frames, not {found[90]}"

# %% [markdown]
# ## task_17_3 · Repair a time half
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# Somebody wrote the time half of a divided block: every place asks *itself* in all frames. It runs, its shapes are right, it trains. It is wrong in two ways.
#
# ```python
# def over_time(x, query, key, value):
#     b, c, t, h, w = x.shape
#     tokens = x.permute(0, 2, 3, 4, 1).reshape(b * h * w, t, c)
#     scores = (tokens @ query.mT) @ (tokens @ key.mT).mT / query.shape[0] ** 0.5
#     read = scores.softmax(dim=1) @ (tokens @ value.mT)
#     return x + read.view(b, h, w, t, c).permute(0, 4, 3, 1, 2)
# ```
#
# Find both by asking: which numbers stand together in one row of `tokens`? And what sums to 1? Write it correctly.
#
# Shapes: `x` b c t h w, `query` and `key` d c, `value` c c -> b c t h w.
#
# <details><summary>Hint 1: a clip in which each number tells where it is</summary>
#
# Let x hold 10 · frame + place, with one channel, two frames and three places. Write down `tokens` by hand. Which frames and places stand in the first row?
# </details>
#
# <details><summary>Hint 2: reshape joins only neighbours</summary>
#
# `reshape(b * h * w, t, c)` joins the first axes of what it gets. So b, h and w must be the first three, in this order, and then t, c.
# </details>
#
# <details><summary>Hint 3: who shares</summary>
#
# scores are (place, frame that asks, frame that is asked). Each asking frame has one whole to give away.
# </details>


# %% tags=["task_17_3"]
def over_time(x, query, key, value):
    """Every place asks itself in all frames; added to x: b c t h w -> b c t h w."""
    ### BEGIN SOLUTION
    b, c, t, h, w = x.shape
    tokens = x.permute(0, 3, 4, 2, 1).reshape(b * h * w, t, c)
    scores = (tokens @ query.mT) @ (tokens @ key.mT).mT / query.shape[0] ** 0.5
    read = scores.softmax(dim=2) @ (tokens @ value.mT)  # bn t c
    return x + read.view(b, h, w, t, c).permute(0, 4, 3, 1, 2)
    ### END SOLUTION


# %% tags=["folded"]
def check_average():
    """All scores equal: every place reads its own average over time."""
    x = torch.tensor([[[[[0.0, 1.0, 2.0]], [[10.0, 11.0, 12.0]]]]])  # 1 1 2 1 3: ten times the frame, plus the place
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    found = over_time(x, zero, zero, one)
    assert found.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(found.shape)}"
    read = (found - x)[0, 0, :, 0]  # t w
    assert same(read, torch.tensor([[5.0, 6.0, 7.0]] * 2)), (
        f"the places hold 0, 1, 2 in frame 0 and 10, 11, 12 in frame 1, all scores are equal: each reads its own average, 5, 6, 7, in both frames, not {rounded(read)}: what stands in one row of tokens?"
    )


# %% tags=["folded"]
def check_shares():
    """One place, two frames: what each frame gives away sums to 1."""
    log_3 = 1.0986123
    x = torch.zeros(1, 5, 2, 1, 1)  # c = 5, d = 4
    x[0, 0, 1], x[0, 1], x[0, 2, 0], x[0, 2, 1] = 1.0, 1.0, 4.0, 8.0  # a mark on frame 1; a constant; what is read
    query, key, value = torch.zeros(4, 5), torch.zeros(4, 5), torch.zeros(5, 5)
    query[0, 1], key[0, 0], value[3, 2] = 2 * log_3, 1.0, 1.0
    read = (over_time(x, query, key, value) - x)[0, 3, :, 0, 0]
    assert same(read, torch.tensor([7.0, 7.0])), (
        "scores 0 and log 3 (after √d) for the frames 4 and 8: each asking frame reads ¼ · 4 + ¾ · 8 = 7; "
        f"yours read {rounded(read)}: over which axis do shares sum to 1, what are scores divided by, who asks whom?"
    )


# %% tags=["check_17_3"]
with exercise.check(3):
    check_average()
    check_shares()
    x, query, key, value = drawn((2, 4, 3, 2, 5), (3, 4), (3, 4), (4, 4))
    result = over_time(x, query, key, value)
    turned = over_time(x.mT, query, key, value).mT
    assert same(turned, result), "a film that is turned (h and w exchanged) must give the turned result"
    assert same(over_time(x[:1], query, key, value), result[:1]), "another film of the batch changed this one"
    assert same(over_time(x.flip(2), query, key, value), result.flip(2)), (
        "no time embedding: the film played backward must give the same frames in the other order"
    )
    assert same(over_time(x, query, key, 0 * value), x), "with values of 0 nothing is read, and x must come out"

# %% [markdown]
# ## task_17_4 · How long ago
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# The lesson added an embedding to each frame. Another way to tell the order: a learned number for each **step** from the asking frame i to the read frame j, added to the score,
#
# $$\text{score}_{ij} = \frac{q_i \cdot k_j}{\sqrt d} + r_{j-i}$$
#
# and a softmax over j. `steps` holds $r$ for each head, in the order $-(t-1), \dots, -1, 0, 1, \dots, t-1$: the past first. Return what each frame reads.
#
# Shapes: `query` and `key` b s t d, `value` b s t e, `steps` s 2t−1 -> b s t e.
#
# <details><summary>Hint 1: a table of steps</summary>
#
# Write the matrix j − i for three frames. Which place of `steps` holds the step −2? And the step 0?
# </details>
#
# <details><summary>Hint 2: one index for all</summary>
#
# `steps[:, index]` with an `index` of shape t t gives s t t. Where must it be added: before or after the softmax, before or after the division?
# </details>


# %% tags=["task_17_4"]
def ask_by_steps(query, key, value, steps):
    """Attention over time with a number for each step: b s t d, b s t d, b s t e, s 2t-1 -> b s t e."""
    ### BEGIN SOLUTION
    t = query.shape[2]
    index = torch.arange(t) - torch.arange(t)[:, None] + t - 1  # i j: 0 is the longest ago
    scores = query @ key.mT / query.shape[3] ** 0.5 + steps[:, index]  # b s t t
    return scores.softmax(dim=3) @ value
    ### END SOLUTION


# %% tags=["folded"]
def check_steps():
    """Three frames, two heads, no content: the steps alone. With d = 1 no division shows."""
    nothing, value = torch.zeros(1, 2, 3, 1), torch.tensor([[8.0], [4.0], [0.0]]).expand(1, 2, 3, 1)
    last = torch.tensor([[1e-9, 1.0, 1e-9, 1e-9, 1e-9], [1e-9, 1e-9, 3.0, 1.0, 1e-9]]).log()
    found = ask_by_steps(nothing, nothing, value, last)
    assert found.shape == (1, 2, 3, 1), f"the result is (1, 2, 3, 1), not {tuple(found.shape)}"
    assert same(found[0, 0, 1:, 0], torch.tensor([8.0, 4.0])), (
        f"head 0 reads one frame back: frame 1 reads 8 and frame 2 reads 4, not {rounded(found[0, 0, 1:, 0])}: is j − i positive for the past?"
    )
    assert same(found[0, 1, :2, 0], torch.tensor([7.0, 3.0])), (
        "head 1 gives three shares to its own frame and one to the next: (3 · 8 + 4)/4 = 7 and (3 · 4 + 0)/4 = 3, "
        f"not {rounded(found[0, 1, :2, 0])}: which head has which steps, and what stands in the middle?"
    )


# %% tags=["folded"]
def check_content():
    """Two frames, d = 4: content and steps together."""
    log_3 = 1.0986123
    query, key = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)
    query[..., 0], key[0, 0, 1, 0] = 2 * log_3, 1.0
    value = torch.tensor([[4.0], [8.0]])[None, None]
    found = ask_by_steps(query, key, value, torch.zeros(1, 3))[0, 0, :, 0]
    assert same(found, torch.tensor([7.0, 7.0])), (
        f"no steps: scores 0 and (2 log 3)/√4 = log 3, so each frame reads ¼ · 4 + ¾ · 8 = 7, not {rounded(found)}"
    )
    found = ask_by_steps(query, key, value, torch.tensor([[log_3, 0.0, 0.0]]))[0, 0, :, 0]
    assert same(found, torch.tensor([7.0, 6.0])), (
        f"frame 1 gets log 3 more for one step back: equal shares, 6; frame 0 stays at 7; not {rounded(found)}: what is added where?"
    )


# %% tags=["check_17_4"]
with exercise.check(4):
    check_steps()
    check_content()
    query, key, value, steps = drawn((2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 6), (3, 7))
    result = ask_by_steps(query, key, value, steps)
    assert same(ask_by_steps(query, key, value, steps + 7), result), "a number added to all steps must change nothing"
    assert same(ask_by_steps(query[1:], key[1:], value[1:], steps), result[1:]), (
        "another film of the batch changed this one"
    )
    backward = ask_by_steps(query.flip(2), key.flip(2), value.flip(2), steps.flip(1)).flip(2)
    assert same(backward, result), "film and steps turned backward must give the same, backward"

# %% [markdown]
# ## task_17_5 · A gate with a memory
# difficulty 2/5 · importance 4/5 · 10 minutes
#
# SpSequenceNet's gate looks one frame back. Let it look at **all** earlier frames: for frame k, average the frames 0 to k − 1 over time and over their positions, and
#
# $$s_k = \sigma(W_2\, \delta(W_1 z_k)) \qquad y_k = s_k \cdot x_k$$
#
# with δ the ReLU. Frame 0 has no past: it passes as it is.
#
# Shapes: `x` b c t h w, `w1` m c, `w2` c m -> b c t h w.
#
# <details><summary>Hint 1: who may look at whom</summary>
#
# A change in frame k must leave the gate of frame k as it is. Which frames does it change?
# </details>
#
# <details><summary>Hint 2: sums that grow</summary>
#
# `cumsum` over time gives the sum up to and including each frame. Which of these sums belongs to frame k, and by how many frames is it divided?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# mean over h w: b c t; cumulated and divided by 1, 2, 3, …: the last of these is used by none; W₁, ReLU, W₂, σ; a gate of 1 in front.
# </details>


# %% tags=["task_17_5"]
def gated_by_the_past(x, w1, w2):
    """Each frame's channels, gated by the average of all earlier frames: b c t h w, m c, c m -> b c t h w."""
    ### BEGIN SOLUTION
    z = x.mean(dim=(3, 4))  # b c t
    past = z.cumsum(dim=2) / torch.arange(1, z.shape[2] + 1)  # b c t: up to and including
    gate = (w2 @ (w1 @ past[..., :-1]).relu()).sigmoid()  # b c t-1
    gate = torch.cat([torch.ones_like(z[..., :1]), gate], dim=2)
    return x * gate[..., None, None]
    ### END SOLUTION


# %% tags=["folded"]
def check_gates():
    """Two channels, three frames, two places: numbers for the head."""
    log_3 = 1.0986123
    x = torch.tensor([[[0.0, 2.0], [6.0, 4.0], [8.0, 8.0]], [[4.0, 4.0], [4.0, 4.0], [4.0, 4.0]]])[None, :, :, None]
    w1, w2 = torch.tensor([[log_3, 0.0], [0.0, -1.0], [0.0, 0.0]]), torch.tensor([[0.0, 9.0, 0.0], [1.0, 9.0, 9.0]])
    found = gated_by_the_past(x, w1, w2)
    assert found.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(found.shape)}"
    gate = (found / x.clamp(min=1e-9))[0, 1, :, 0, 1]  # t
    assert same(gate[:1], torch.ones(1)), f"frame 0 has no past and passes as it is; its gate is {gate[0]:.3f}"
    assert same(gate[1:2], torch.tensor([0.75])), (
        f"the past of frame 1 holds (0 + 2)/2 = 1 in channel 0: σ(log 3) = 0.75 for channel 1, not {gate[1]:.3f}: which frames are its past, and is W₂ (W₁ z) in this order?"
    )
    assert same(gate[2:], torch.tensor([27 / 28])), (
        f"the past of frame 2 holds (1 + 5)/2 = 3: σ(3 log 3) = 27/28 ≈ 0.964, not {gate[2]:.3f}: an average of which frames?"
    )
    assert same(found[0, 0, 1, 0], torch.tensor([3.0, 2.0])), (
        f"the −1 of W₁ meets the ReLU, so channel 0 keeps a half: 3 and 2, not {rounded(found[0, 0, 1, 0])}"
    )


# %% tags=["check_17_5"]
with exercise.check(5):
    check_gates()
    x, w1, w2 = drawn((2, 4, 5, 3, 2), (6, 4), (4, 6))
    result = gated_by_the_past(x, w1, w2)
    assert same(gated_by_the_past(x[1:], w1, w2), result[1:]), "another film of the batch changed this one"
    later = torch.cat([x[:, :, :4], 3 * x[:, :, 4:]], dim=2)
    assert same(gated_by_the_past(later, w1, w2)[:, :, 4], 3 * result[:, :, 4]), (
        "the last frame times 3 must come out times 3: a gate must not look at its own frame"
    )
    assert same(gated_by_the_past(x[:, :, :1], w1, w2), x[:, :, :1]), "a film of one frame has no past: it passes"
