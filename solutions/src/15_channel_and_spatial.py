# %% [markdown]
# # Exercise 15 · What and where at once
#
# You gate the channels of images that are partly padding, derive which patterns a gate can make and how two ways to join its parts learn, repair a position
# attention that circulates, and let a question choose channels, and then places.
#
# *Minutes:* 58 · *Needs:* 15
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.answers import drawn, rounded, same
from course_lib.exercises import Exercise

exercise = Exercise("15_channel_and_spatial", points=[3, 3, 2, 3, 3])

# %% [markdown]
# ## task_15_1 · CBAM's channel gate, without the padding
# difficulty 2/5 · importance 4/5 · 10 minutes
#
# Images of different sizes are put into one batch by padding the smaller ones. The padding of `x` holds any numbers, perhaps ∞. Compute CBAM's channel gate
#
# $$M_c = \sigma\bigl(W_1 \delta(W_0\, \mathrm{mean}) + W_1 \delta(W_0\, \max)\bigr)$$
#
# where mean and max run over the **real** pixels of each image alone. An image without any real pixel has mean 0 and max 0.
#
# Shapes: `x` b c h w, `real` b h w, True where a pixel is real, `w0` m c, `w1` c m -> b c, all in (0, 1).
#
# <details><summary>Hint 1: two statistics, two fillings</summary>
#
# Which number in the padding leaves a sum as it is? And which one leaves a maximum as it is, even if all real numbers are negative?
# </details>
#
# <details><summary>Hint 2: nothing real</summary>
#
# What is the mean of no pixel, if the sum is 0 and the count is 0? What is the maximum of no pixel, if the filling is −∞?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# Mask b 1 h w; sum of the masked x over h and w, divided by the count (at least 1); maximum of the masked x; where an image is empty, 0; the MLP on each; add; sigmoid.
# </details>


# %% tags=["task_15_1"]
def channel_gate(x, real, w0, w1):
    """CBAM's channel gate of the real pixels alone: b c h w, b h w, m c, c m -> b c."""
    ### BEGIN SOLUTION
    mask = real[:, None]  # b 1 h w
    mean = torch.where(mask, x, 0.0).sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1)  # b c
    peak = torch.where(mask, x, float("-inf")).amax(dim=(2, 3))
    peak = torch.where(mask.any(dim=3).any(dim=2), peak, 0.0)
    return sum((z @ w0.mT).relu() @ w1.mT for z in (mean, peak)).sigmoid()
    ### END SOLUTION


# %% tags=["folded"]
def logit(gate):
    """What the sigmoid was given."""
    return gate.double().logit()


# %% tags=["folded"]
pair = torch.tensor([[[[4.0, 0.0, 2.0]], [[-3.0, -1.0, -2.0]]]])  # 1 2 1 3: two channels, three pixels
both_open = torch.ones(1, 1, 3) > 0
first, second = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -1.0]])  # 1 2: a hidden unit for one channel
out = torch.tensor([[0.5], [0.25]])  # 2 1


def check_statistics():
    """One image without padding: mean and maximum, each through the MLP."""
    gate = channel_gate(pair, both_open, first, out)
    assert gate.shape == (1, 2), f"one image, two channels: the gate is (1, 2), not {tuple(gate.shape)}"
    assert ((gate > 0) & (gate < 1)).all(), f"every gate lies between 0 and 1, not {rounded(gate)}"
    assert same(logit(gate), torch.tensor([[3.0, 1.5]])), (
        f"channel 0 has mean 2 and maximum 4; w1 makes the logits 0.5·2 + 0.5·4 = 3 and 0.25·2 + 0.25·4 = 1.5, not {rounded(logit(gate))}"
    )


# %% tags=["folded"]
def check_negative():
    """Numbers below zero, and a hidden unit that is silent."""
    gate = channel_gate(pair, both_open, second, out)
    assert same(logit(gate), torch.tensor([[1.5, 0.75]])), (
        f"channel 1 has mean −2 and maximum −1; its unit (−1) gets 2 and 1, so the logits are 1.5 and 0.75, not {rounded(logit(gate))}"
    )
    tilted = torch.tensor([[[[-5.0, 2.0, 0.0]], [[0.0, 0.0, 0.0]]]])
    gate = channel_gate(tilted, both_open, first, out)
    assert same(logit(gate), torch.tensor([[1.0, 0.5]])), (
        f"channel 0 has mean −1 and maximum 2: the hidden unit is silent for the one and 2 for the other, logits 1 and 0.5, not {rounded(logit(gate))}"
    )
    gate = channel_gate(pair, both_open, -first, out)
    assert same(gate, torch.tensor([[0.5, 0.5]])), (
        f"the hidden unit gets −2 and −4: the ReLU makes it silent both times, so all gates are 0.5, not {rounded(gate)}"
    )


# %% tags=["check_15_1"]
with exercise.check(1):
    check_statistics()
    check_negative()
    two = torch.cat([pair, pair + 10])  # the second image must not matter to the first
    real = torch.tensor([[[False, True, True]], [[True, True, True]]])
    gate = channel_gate(two, real, first, out)
    assert same(logit(gate)[0], torch.tensor([1.5, 0.75])), (
        f"pixel 0 of the first image is padding: mean 1 and maximum 2 are left, logits 1.5 and 0.75, not {rounded(logit(gate)[0])}"
    )
    gate = channel_gate(two, real, second, out)
    assert same(logit(gate)[0], torch.tensor([1.25, 0.625])), (
        f"channel 1, pixels 1 and 2: mean −1.5, maximum −1: logits 1.25 and 0.625, not {rounded(logit(gate)[0])}: what fills the padding?"
    )
    rubbish = pair.clone()
    rubbish[..., 0] = float("inf")
    gate = channel_gate(rubbish, real[:1], first, out)
    assert not gate.isnan().any(), "the padding held an infinite number, and NaN came out: 0 · ∞ is no number"
    assert same(logit(gate), torch.tensor([[1.5, 0.75]])), f"∞ in the padding reached the gate: {rounded(gate)}"
    gate = channel_gate(pair, ~both_open, first, out)
    assert same(gate, torch.tensor([[0.5, 0.5]])), (
        f"no real pixel: mean and maximum are 0, gates 0.5, not {rounded(gate)}"
    )

# %% [markdown]
# ## task_15_2 · Which patterns can a gate make?
# difficulty 4/5 · importance 5/5 · 14 minutes
#
# A *pattern* says for each channel and each place whether it shall be on or off. A gate has a number $a_c$ for each channel and a number $b_n$ for each place, as large as you like, and joins them:
#
# - **gates**: $\sigma(a_c) \cdot \sigma(b_n)$, as in CBAM;
# - **sum**: $\sigma(a_c + b_n)$, as in BAM's paper;
# - **product**: $\sigma(a_c \cdot b_n)$, as in BAM's released code.
#
# Derive for *any* pattern, of any size, which of the three can come as close to it as you like: near 1 where it is on, near 0 where it is off.
# **Nothing is trained here**, no gradient descent: find what the patterns of each kind have in common.
#
# Shapes: `pattern` c n, True = on -> three truth values, for gates, sum, product.
#
# <details><summary>Hint 1: two rows, two columns</summary>
#
# Take two channels and two places. Which of the 16 patterns can each kind make? Multiply (or add) along the two diagonals.
# </details>
#
# <details><summary>Hint 2: two channels that differ</summary>
#
# Gates: in which ways can the rows of two channels differ? Sum: a larger $a_c$ can only switch places on; so if one channel has a place that the other lacks, can the other have one too? Product: what happens to a row if $a_c$ changes its sign?
# </details>
#
# <details><summary>Hint 3: what to compare</summary>
#
# For every two rows r and s, look at two sets: the places that r has on and s has not, and those that s has on and r has not. For each kind: may both sets be empty, may one be, may none? And does it matter whether r is empty as a whole, or whether each place is in one of the two sets?
# </details>


# %% tags=["task_15_2"]
def can_make(pattern):
    """Whether gates, sum and product can make this pattern: c n -> three truth values."""
    ### BEGIN SOLUTION
    gates = bool((pattern == (pattern.any(dim=1)[:, None] & pattern.any(dim=0))).all())
    lacks = (pattern[:, None] & ~pattern[None]).any(dim=2)  # c c: has channel i a place that channel j lacks?
    same_or_opposite = pattern == pattern[:1]  # c n
    product = (same_or_opposite == same_or_opposite[:, :1]).all()
    return gates, not bool((lacks & lacks.mT).any()), bool(product)
    ### END SOLUTION


# %% tags=["folded"]
KINDS = ("gates", "sum", "product")


def expect(rows, due, why):
    """Compare the three answers for a pattern of 0 and 1 with those that are due, and say what it looks like."""
    found = [bool(one) for one in can_make(torch.tensor(rows) > 0)]
    assert len(found) == 3, f"three truth values are due, for gates, sum and product, not {len(found)}"
    for kind, one, right in zip(KINDS, found, due):
        says = "can" if right else "cannot"
        assert one == right, f"{kind}: {rows} – {why} – you say {one}, but it {says} be made"


# %% tags=["check_15_2"]
with exercise.check(2):
    expect([[1, 0], [0, 0]], (True, True, False), "one channel at one place")
    expect([[1, 1], [1, 0]], (False, True, False), "all but one channel at one place")
    expect([[1, 0], [0, 1]], (False, False, True), "each channel at a place of its own")
    expect([[0, 0, 0], [0, 0, 0]], (True, True, True), "nothing")
    expect([[1, 0, 1], [1, 0, 1]], (True, True, True), "both channels at the same places")
    expect([[1, 1, 1], [0, 0, 0]], (True, True, True), "one channel everywhere")
    expect([[1, 1, 0], [0, 0, 0], [1, 1, 0]], (True, True, False), "two channels at two places")
    expect([[1, 1, 1], [1, 1, 0], [1, 0, 0]], (False, True, False), "a staircase")
    expect([[1, 0, 0], [0, 1, 1], [1, 0, 0]], (False, False, True), "the middle channel where the others are not")
    expect([[1, 1, 0], [0, 1, 1]], (False, False, False), "two channels that share one place")
    expect(
        [[1, 0], [1, 1], [0, 1]], (False, False, False), "the first and the last channel each lack what the other has"
    )
    expect([[1, 0, 0], [0, 1, 0], [0, 0, 1]], (False, False, False), "three channels, each at a place of its own")

# %% [markdown]
# ## task_15_3 · Repair a position attention
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# DANet's position attention is often written $X + V \cdot \mathrm{softmax}(Q^\top K)$. Somebody made code of it, with γ. It runs, its shapes are right, it trains. It is wrong in two ways.
#
# ```python
# def position_attention(x, w_q, w_k, w_v, gamma):
#     query, key, value = (w @ x.flatten(2) for w in (w_q, w_k, w_v))  # b d n, b d n, b c n
#     weights = (query.mT @ key).softmax(dim=2)  # b n n
#     read = value @ weights  # b c n
#     return gamma * (read + x.flatten(2)).view_as(x)
# ```
#
# Find both by asking: if every pixel has the *same* value, what must every pixel read? And what is left of x where γ = 0? Write it correctly.
#
# Shapes: `x` b c h w, `w_q` and `w_k` d c, `w_v` c c, `gamma` one number -> b c h w.
#
# <details><summary>Hint 1: what sums to 1?</summary>
#
# `weights[b, i, j]`: which of i and j asks, and over which of them do the weights sum to 1? Over which of them does `value @ weights` sum?
# </details>
#
# <details><summary>Hint 2: the block that starts as nothing</summary>
#
# DANet's γ starts at 0, and a new block must not disturb the network. So which of the two terms does γ belong to?
# </details>


# %% tags=["task_15_3"]
def position_attention(x, w_q, w_k, w_v, gamma):
    """Every pixel reads from all pixels; γ times what was read is added to x: b c h w -> b c h w."""
    ### BEGIN SOLUTION
    query, key, value = (w @ x.flatten(2) for w in (w_q, w_k, w_v))  # b d n, b d n, b c n
    weights = (query.mT @ key).softmax(dim=2)  # b n n: row i asks
    read = value @ weights.mT  # b c n
    return gamma * read.view_as(x) + x
    ### END SOLUTION


# %% tags=["folded"]
def check_by_hand():
    """Two pixels, three channels: everything in the head."""
    log2 = torch.tensor(2.0).log().item()
    x = torch.tensor([[[[1.0, 0.0]], [[0.0, log2]], [[0.0, 3.0]]]])  # 1 3 1 2: asks, answers, holds
    w_q, w_k = torch.tensor([[0.5, 0.0, 0.0]]).repeat(2, 1), torch.tensor([[0.0, 1.0, 0.0]]).repeat(2, 1)  # 2 3
    read = position_attention(x, w_q, w_k, torch.eye(3), 1.0) - x
    assert read.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(read.shape)}"
    assert same(read[0, 2, 0], torch.tensor([2.0, 1.5])), (
        "the two pixels hold 0 and 3. Pixel 0 scores them 0 and log 2, so it reads (0 + 2·3)/3 = 2; pixel 1 scores both 0, so it reads (0 + 3)/2 = 1.5; "
        f"yours read {rounded(read[0, 2, 0])}: who asks, whose weights sum to 1, and is a score changed?"
    )


# %% tags=["check_15_3"]
with exercise.check(3):
    x, w_q, w_k, w_v = drawn((2, 5, 3, 4), (2, 5), (2, 5), (5, 5))
    left = position_attention(x, w_q, w_k, w_v, 0.0)
    assert same(left, x), f"γ = 0: the block must return x; {(left - x).abs().max():.2f} is the largest difference"
    check_by_hand()
    alike = torch.cat([x[:, :4], torch.ones(2, 1, 3, 4)], dim=1)  # channel 4 is 1 everywhere
    only = torch.zeros(5, 5)
    only[:, 4] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    read = position_attention(alike, w_q, w_k, only, 1.0) - alike
    assert same(read[0, :, 1, 2], only[:, 4]), (
        f"every pixel has the value 1, 2, 3, 4, 5, so every average of them is that too; pixel (1, 2) reads {rounded(read[0, :, 1, 2])}"
    )
    result = position_attention(x, w_q, w_k, w_v, 0.5)
    assert same(position_attention(x.mT, w_q, w_k, w_v, 0.5).mT, result), (
        "an image that is turned (h and w exchanged) must give the turned result: whose answer lies where?"
    )
    assert same(position_attention(x[:1], w_q, w_k, w_v, 0.5), result[:1]), (
        "another image of the batch changed this one"
    )
    double = position_attention(x, w_q, w_k, w_v, 1.0) - x
    assert same(double, 2 * (result - x)), "twice the γ must add twice as much, and change nothing else"

# %% [markdown]
# ## task_15_4 · First the channels, then the places
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# As in SCA-CNN, a question opens channels, and then places *by what is left in them*, in images that are partly padding:
#
# 1. β is a softmax of `asked` over the c channels; $x' = c \cdot \beta \cdot x$ (so equal weights leave x as it is).
# 2. Each place has the score $\sum_c u_c\, x'_{cn}$; α is a softmax of the scores over the **real** places; $y = r \cdot \alpha \cdot x'$, where r is how many places of this image are real.
#
# Places of the padding get no weight and give 0. Every image has a real place. The padding may hold any finite numbers.
#
# Shapes: `x` b c n, `asked` b c, `u` c, `real` b n, True where a place is real -> b c n.
#
# <details><summary>Hint 1: the second step sees the first</summary>
#
# Which x do the scores of the places read? What would be lost if they read the other one?
# </details>
#
# <details><summary>Hint 2: how much is left</summary>
#
# Weights that sum to 1 over c channels are 1/c on average. Which two numbers give back what the two softmaxes take? The second one differs from image to image.
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# Softmax of b c over c, times c; times x; scores b n from u and x'; −∞ where not real; softmax over n, times the count of real places; times x'.
# </details>


# %% tags=["task_15_4"]
def what_then_where(x, asked, u, real):
    """Open the channels that are asked for, then the places where they fire: b c n, b c, c, b n -> b c n."""
    ### BEGIN SOLUTION
    channels = asked.softmax(dim=1) * x.shape[1]  # b c
    left = channels[:, :, None] * x  # b c n
    scores = (u[:, None] * left).sum(dim=1).masked_fill(~real, float("-inf"))  # b n
    places = scores.softmax(dim=1) * real.sum(dim=1, keepdim=True)
    return places[:, None] * left
    ### END SOLUTION


# %% tags=["folded"]
def check_equal_weights():
    """Without a question and without scores, real places stay as they are."""
    (x,) = drawn((2, 3, 4))
    everyone = torch.ones(2, 4) > 0
    y = what_then_where(x, torch.zeros(2, 3), torch.zeros(3), everyone)
    assert y.shape == x.shape, f"the result has the shape of x, {tuple(x.shape)}, not {tuple(y.shape)}"
    assert same(y, x), (
        f"all questions and scores are 0, so all weights are equal and y must be x; it is {(y / x).mean():.3f} of it"
    )
    some = torch.tensor([[True, True, False, True], [True, True, True, True]])
    y = what_then_where(x, torch.zeros(2, 3), torch.zeros(3), some)
    assert not y[0, :, 2].any(), f"place 2 of the first image is padding and must give 0, not {rounded(y[0, :, 2])}"
    assert same(y[0, :, some[0]], x[0, :, some[0]]), (
        f"three real places with equal weights must stay as they are; they are {(y[0, :, 0] / x[0, :, 0]).mean():.3f} of it"
    )
    assert same(y[1], x[1]), (
        f"the second image has four real places: it must stay; it is {(y[1] / x[1]).mean():.3f} of it"
    )


# %% tags=["check_15_4"]
with exercise.check(4):
    check_equal_weights()
    log = torch.tensor([1.0, 3.0]).log()
    x = torch.tensor([[[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]]])  # 1 2 3: channel 0 fires at place 0, channel 1 at place 1
    every = torch.ones(1, 3) > 0
    y = what_then_where(x, log[None], torch.zeros(2), every)
    assert same(y, torch.tensor([[[1.0, 0.0, 0.0], [0.0, 6.0, 0.0]]])), (
        f"asked log 1 and log 3: β is ¼ and ¾, times 2 channels ½ and 1½, so 2 and 4 become 1 and 6; you have {rounded(y)}"
    )
    u = log[1:].repeat(2) / 6  # channel 1 leaves 6 at place 1: a score of log 3 there
    y = what_then_where(x, log[None], u, every)
    assert same(y[0, 1], torch.tensor([0.0, 6 * 9 / (3 + 3 ** (1 / 6) + 1), 0.0])), (
        f"the scores of the places are log 3 · (1/6, 1, 0): they read what the channels *left*, 1 and 6; channel 1 becomes {rounded(y[0, 1])}"
    )
    lone = torch.tensor([[False, True, False]])
    y = what_then_where(x + 1, log[None], u, lone)
    assert same(y, torch.tensor([[[0.0, 0.5, 0.0], [0.0, 7.5, 0.0]]])), (
        f"a single real place has all the weight, times r = 1: 0.5 and 7.5 are there, 0 elsewhere; you have {rounded(y)}"
    )

# %% [markdown]
# ## task_15_5 · How a sum and a product learn
# difficulty 4/5 · importance 4/5 · 12 minutes
#
# BAM's gate is $M_{cn} = \sigma(l_{cn})$ with $l_{cn} = a_c + b_n$ (paper) or $l_{cn} = a_c \cdot b_n$ (released code). It shall become a pattern $t_{cn}$ of zeros and ones. The loss is the cross-entropy
#
# $$L = -\sum_{c, n} t_{cn} \log M_{cn} + (1 - t_{cn}) \log (1 - M_{cn}) \qquad \frac{\partial L}{\partial l_{cn}} = M_{cn} - t_{cn}$$
#
# Derive the gradients of L for all $a_c$ and all $b_n$, for both ways to join. **No automatic differentiation here.** Then look at what your function says at $a = b = 0$.
#
# Shapes: `a` c, `b` n, `pattern` c n (of 0.0 and 1.0), `join` "sum" or "product" -> two tensors, c and n.
#
# <details><summary>Hint 1: who depends on whom?</summary>
#
# $a_c$ changes a whole row of l. So its gradient collects that row. By how much does $l_{cn}$ change if $a_c$ grows a little: in the sum, and in the product?
# </details>
#
# <details><summary>Hint 2: the chain rule</summary>
#
# $\partial L / \partial a_c = \sum_n (M_{cn} - t_{cn}) \cdot \partial l_{cn} / \partial a_c$. The second factor is a number for the sum, and something that you have for the product. For $b_n$ sum over the other axis.
# </details>


# %% tags=["task_15_5"]
def gradients(a, b, pattern, join):
    """The gradients of the cross-entropy for a and for b: c, n, c n, "sum" or "product" -> c, n."""
    ### BEGIN SOLUTION
    if join == "sum":
        error = (a[:, None] + b).sigmoid() - pattern  # c n
        return error.sum(dim=1), error.sum(dim=0)
    error = (a[:, None] * b).sigmoid() - pattern
    return error @ b, a @ error
    ### END SOLUTION


# %% tags=["folded"]
def show_gradients(a, b, pattern, join):
    """The two answers, with their shapes seen to."""
    a, b, pattern = (torch.tensor(one, dtype=torch.float32) for one in (a, b, pattern))
    for_a, for_b = gradients(a, b, pattern, join)
    assert for_a.shape == a.shape, f"{join}: a has the shape {tuple(a.shape)}, its gradient {tuple(for_a.shape)}"
    assert for_b.shape == b.shape, f"{join}: b has the shape {tuple(b.shape)}, its gradient {tuple(for_b.shape)}"
    return for_a, for_b


# %% tags=["folded"]
def check_sum():
    """The sum, at zero and elsewhere."""
    for_a, for_b = show_gradients([0, 0], [0, 0, 0], corner, "sum")
    assert same(for_a, torch.tensor([0.5, 1.5])), (
        f"sum, a = b = 0: M is ½ everywhere, the errors are (−½ ½ ½) and (½ ½ ½); for a that makes ½ and 1½, not {rounded(for_a)}"
    )
    assert same(for_b, torch.tensor([0.0, 1.0, 1.0])), f"sum, a = b = 0: for b it makes 0, 1, 1, not {rounded(for_b)}"
    for_a, _ = show_gradients([log3, 0], [0, 0, -log3], corner, "sum")
    assert same(for_a, torch.tensor([1.0, 1.25])), (
        f"sum, a = log 3, 0 and b = 0, 0, −log 3: M is ¾ ¾ ½ and ½ ½ ¼, so a gets −¼ + ¾ + ½ = 1 and 1¼, not {rounded(for_a)}"
    )


# %% tags=["folded"]
corner = [[1, 0, 0], [0, 0, 0]]
log3 = torch.tensor(3.0).log().item()


def check_product():
    """The product, where a is zero and where it is not."""
    for_a, for_b = show_gradients([0, 0], [2, 0, -1], corner, "product")
    assert same(for_a, torch.tensor([-1.5, 0.5])), (
        f"product, a = 0, b = 2, 0, −1: the errors of row 0 are −½, ½, ½, so a₀ gets −½·2 + ½·0 − ½·1 = −1.5; you have {rounded(for_a)}"
    )
    assert not for_b.any(), (
        f"product, a = 0: moving b changes nothing yet, so its gradient is 0, not {rounded(for_b)}"
    )
    _, for_b = show_gradients([log3, 0], [1, 0, -1], corner, "product")
    assert same(for_b, log3 * torch.tensor([-0.25, 0.5, 0.25])), (
        f"product, a = log 3, 0 and b = 1, 0, −1: M₀ is ¾, ½, ¼; the errors −¼, ½, ¼ times log 3, not {rounded(for_b)}"
    )


# %% tags=["check_15_5"]
with exercise.check(5):
    check_sum()
    for_a, for_b = show_gradients([0, 0], [0, 0, 0], corner, "product")
    assert not for_a.any() and not for_b.any(), (
        f"product, a = b = 0: moving one of two zeros changes nothing, so no gradient; you have {rounded(for_a)}"
    )
    check_product()
