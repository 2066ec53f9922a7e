# %% [markdown]
# # Exercise 11 · Cheaper non-local
#
# You give criss-cross attention a third axis, count the paths of three loops, find the number that pooled keys have lost, repair a block of two thin maps, and
# balance an external memory in several rounds.
#
# *Minutes:* 56 · *Needs:* 11
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.exercises import Exercise

exercise = Exercise("11_cheaper_non_local", points=[3, 3, 3, 3, 2])

# %% [markdown]
# ## task_11_1 · A cross in a video
# difficulty 3/5 · importance 5/5 · 14 minutes
#
# In a video a position has three coordinates: time, row and column. It shall read three lines through itself: all moments of its own pixel, its own column, and its own row,
# each within t · h · w. It stands in all three lines, and counts **once**: t + h + w − 2 places. Scores are plain dot products, and *one* softmax runs over all these places.
#
# Shapes: `query`, `key` d t h w, `value` e t h w -> e t h w. There is no γ, and x is not added.
#
# <details><summary>Hint 1: what do places on a line share?</summary>
#
# In an image, a place of the cross has one of two coordinates in common with the position. How many of three are it here?
# </details>
#
# <details><summary>Hint 2: full, then hidden</summary>
#
# Sizes are small, so all n × n scores may be built. Lay out the three coordinates of the n positions (`torch.meshgrid`), compare all with all, and hide the scores of
# places that are on no line before the softmax.
# </details>


# %% tags=["task_11_1"]
def video_cross(query, key, value):
    """Every position reads the three lines through itself: d t h w, d t h w, e t h w -> e t h w."""
    ### BEGIN SOLUTION
    axes = [torch.arange(size) for size in query.shape[1:]]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)  # 3 n
    shared = (place[:, :, None] == place[:, None]).sum(dim=0)  # n n: how many coordinates are equal
    scores = query.flatten(1).mT @ key.flatten(1)  # n n
    weights = scores.masked_fill(shared < 2, -torch.inf).softmax(dim=1)
    return (value.flatten(1) @ weights.mT).view_as(value)
    ### END SOLUTION


# %% tags=["folded"]
def check_even():
    """All scores equal: who is read, and how often."""
    t, h, w = 2, 3, 5
    zero, lit = torch.zeros(2, t, h, w), torch.zeros(3, t, h, w)
    lit[:, 1, 2, 3] = 8.0
    found = video_cross(zero, zero, lit)
    assert found.shape == lit.shape, (
        f"the result has the shape of value, {tuple(lit.shape)}, not {tuple(found.shape)}"
    )
    places = (found[0].abs() > 1e-6).sum().item()
    assert places == 8, (
        f"one position of 2 × 3 × 5 is lit: 2 + 3 + 5 − 2 = 8 positions should see it, but {places} do; in how many coordinates do they agree with it?"
    )
    itself, other = found[0, 1, 2, 3].item(), found[0, 1, 2, 0].item()
    assert abs(itself - other) < 1e-4, (
        f"with equal scores the lit position counts for itself as for others of its row, but itself it gets {itself:.2f}, they {other:.2f}: how often is a position counted?"
    )
    assert abs(other - 1) < 1e-4, (
        f"8 places with equal scores: each has 1/8 of the weight, and 8 · 1/8 = 1, not {other:.2f}; over what does the softmax run?"
    )


# %% tags=["check_11_1"]
with exercise.check(1):
    check_even()
    query, key = torch.zeros(4, 2, 1, 3), torch.zeros(4, 2, 1, 3)
    value = torch.arange(1.0, 7).view(1, 2, 1, 3)  # 1 2 3, a moment later 4 5 6
    query[0, 0, 0, 0], key[0, 1, 0, 0] = 1.0, torch.tensor(4.0).log()  # the first asks; the key scores ln 4
    found = video_cross(query, key, value)
    assert abs(found[0, 0, 0, 0] - 22 / 7) < 1e-4, (
        f"scores 0, 0, 0 for the row 1 2 3 and ln 4 for the later 4: weights of 1, 1, 1 and 4 of 7 give {22 / 7:.3f}, not {found[0, 0, 0, 0]:.3f}"
    )
    assert abs(found[0, 1, 0, 0] - 4.0) < 1e-4, (
        f"the position that holds 4 asks with a query of 0, so 4 5 6 and 1 count alike: 4, not {found[0, 1, 0, 0]:.3f}; whose query meets whose key?"
    )

# %% [markdown]
# ## task_11_2 · The paths of three loops
# difficulty 4/5 · importance 3/5 · 12 minutes
#
# In one loop a position reads h + w − 1 places, itself among them. After two loops, what stood at v has come to u on 2 paths, if they share neither row nor column; on w paths, if they share the row; on h paths,
# if they share the column; and on h + w − 1, if they are the same (the lesson counts them by hand). **Derive how many paths there are after three loops**, and return four whole numbers: to the position
# *itself*, to another of its *row*, to another of its *column*, to one in *neither*.
#
# h and w are at least 2, and may be a million: no matrix of n × n will fit.
#
# <details><summary>Hint 1: the last step first</summary>
#
# In the last loop u reads a place k of its cross. How many paths of two loops lead from v to k? That depends on where k lies: make a list of the kinds of k, and how many there are of each.
# </details>
#
# <details><summary>Hint 2: a sum to test with</summary>
#
# Every position reads h + w − 1 places, three times. So all paths that end at u are (h + w − 1)³. Multiply each of your four numbers by how many such v there are, and add.
# </details>


# %% tags=["task_11_2"]
def paths_of_three(height, width):
    """Paths after three loops: to itself, to another of the row, of the column, to one in neither. Four numbers."""
    ### BEGIN SOLUTION
    h, w = height, width
    itself = (h + w - 1) + (w - 1) * w + (h - 1) * h  # stay; over the row, which is left by w paths; the column
    row = w + (h + w - 1) + (w - 2) * w + (h - 1) * 2  # k is u, is v, another of the row, of u's column
    column = h + (h + w - 1) + (h - 2) * h + (w - 1) * 2
    neither = 2 + (h + (w - 2) * 2) + (w + (h - 2) * 2)  # k is u; on u's row; on u's column
    return itself, row, column, neither
    ### END SOLUTION


# %% tags=["check_11_2"]
with exercise.check(2):
    itself, row, column, neither = paths_of_three(2, 2)
    assert (itself, row, column, neither) != (3, 2, 2, 2), "these are the paths of two loops; a third one follows"
    assert (itself, row, column, neither) == (7, 7, 7, 6), (
        f"on 2 × 2 each position reads all but the opposite corner; three times, that makes 7, 7, 7 and 6 paths, not {itself}, {row}, {column} and {neither}"
    )
    itself, row, column, neither = paths_of_three(2, 3)
    assert row >= column, (
        f"2 rows, 3 columns: to another of the row lead {row} paths, to another of the column {column}; the row is longer, so which must be more?"
    )
    total = itself + 2 * row + 1 * column + 2 * neither
    assert total == 64, (
        f"2 rows, 3 columns: 1 itself, 2 others in the row, 1 in the column, 2 in neither have {total} paths together, but three steps with 4 choices each are 64"
    )
    assert neither == 9, (
        f"2 rows, 3 columns: 9 paths lead to a position in neither, not {neither}: may a path stand still, go along its own row first, or last?"
    )
    itself, row, column, neither = paths_of_three(4, 3)
    assert row == 18, f"4 rows, 3 columns: 18 paths lead to another position of the row, not {row}"

# %% [markdown]
# ## task_11_3 · What pooled keys have lost
# difficulty 4/5 · importance 4/5 · 12 minutes
#
# The positions are cut into cells; `cells` tells the number of each position's cell. Keys and values are averaged within each cell, and every query asks the m cells instead of the p positions. *Suppose that all
# keys within a cell are equal.* Then nothing need be lost: **the result can be exactly that of asking all p positions**, if one number is added to the score of each cell. Derive it, and write the look-up with
# it. (ANN leaves it out.) A cell to which no position belongs must get no weight.
#
# Shapes: `query` n d, `key` p d, `value` p e, `cells` p (whole numbers from 0; m is the largest plus 1) -> n e. Scores are plain dot products.
#
# <details><summary>Hint 1: write out the softmax</summary>
#
# Write the softmax over all p positions, and collect the terms of one cell: they are all the same. What stands in front of the exponential, and how does it get into the exponent?
# </details>
#
# <details><summary>Hint 2: averages by a product</summary>
#
# `torch.nn.functional.one_hot(cells)` is a p × m matrix of zeros and ones. Its product with the keys gives sums. Mind the empty cells: what is 0 / 0, and what is the logarithm of 0?
# </details>


# %% tags=["task_11_3"]
def ask_cells(query, key, value, cells):
    """Ask the averages of cells as if all their positions were asked: n d, p d, p e, p -> n e."""
    ### BEGIN SOLUTION
    member = torch.nn.functional.one_hot(cells).to(key.dtype).mT  # m p
    size = member.sum(dim=1)  # m
    share = member / size.clamp(min=1)[:, None]  # m p, rows sum to 1
    scores = query @ (share @ key).mT + size.log()  # n m; −∞ for an empty cell
    return scores.softmax(dim=1) @ (share @ value)
    ### END SOLUTION


# %% tags=["folded"]
def check_sizes():
    """One cell of one position, one of three, with equal keys."""
    query, key = torch.tensor([[1.0, 0.0]]), torch.zeros(4, 2)
    value, cells = torch.tensor([[8.0], [0.0], [2.0], [4.0]]), torch.tensor([0, 1, 1, 1])
    found = ask_cells(query, key, value, cells)
    assert found.shape == (1, 1), f"one query, values of length 1: the result is 1 × 1, not {tuple(found.shape)}"
    found = found.item()
    assert abs(found - 3.5) < 1e-4, (
        f"all keys equal, so all four values 8, 0, 2, 4 count alike: 3.5, not {found:.3f}"
        + " (each cell counted alike, though one holds three positions)" * (abs(found - 5) < 1e-3)
        + " (the cell of 8 counts too much, or the weights do not sum to 1)" * (found > 6)
        + " (the cell of three counts too much: 3 is a factor in front of its exponential, no summand in the exponent)"
        * (found < 3)
    )


# %% tags=["check_11_3"]
with exercise.check(3):
    check_sizes()
    generator = torch.Generator().manual_seed(0)
    cells = torch.tensor([2, 0, 2, 0, 0, 2, 3])  # no position belongs to cell 1
    query, key, value = (torch.randn(*shape, generator=generator) for shape in ((3, 2), (4, 2), (7, 5)))
    key = key[cells]  # p d: equal within a cell
    found, due = ask_cells(query, key, value, cells), (query @ key.mT).softmax(dim=1) @ value
    assert found.shape == due.shape, (
        f"three queries, values of length 5: the result has the shape (3, 5), not {tuple(found.shape)}"
    )
    assert found.isfinite().all(), "nan or inf among the results: no position belongs to cell 1; what is its average?"
    assert torch.allclose(found, due, atol=1e-4), (
        f"keys are equal within each cell, so the first query should read {due[0, 0]:.3f} as from all seven positions, not {found[0, 0]:.3f}; cells of 3, 0, 3 and 1 positions"
    )
    uneven = ask_cells(torch.ones(1, 1), torch.tensor([[0.0], [2.0], [1.0]]), torch.eye(3), torch.tensor([0, 0, 1]))
    assert torch.allclose(uneven[0], torch.tensor([1.0, 1.0, 1.0]) / 3, atol=1e-4), (
        "keys 0 and 2 in one cell, 1 in the other: the averages are both 1, so all three count alike; is a key summed, or one picked?"
    )

# %% [markdown]
# ## task_11_4 · Repair two thin maps
# difficulty 3/5 · importance 5/5 · 10 minutes
#
# Somebody wrote the core of A²: gather the image into m descriptors, then hand them out. It runs, its shapes are right, it trains. It is wrong in two ways.
#
# ```python
# def double_attention(x, w_phi, w_theta, w_rho):
#     pixels = x.flatten(2)  # b c n
#     gather = (w_theta @ pixels).softmax(dim=0)  # m c, b c n -> b m n
#     hand_out = (w_rho @ pixels).softmax(dim=2)  # b m n
#     descriptors = (w_phi @ pixels) @ gather.mT  # b d n, b n m -> b d m
#     return (descriptors @ hand_out).unflatten(2, x.shape[2:])  # b d m, b m n -> b d h w
# ```
#
# Find both by asking of each map: what must sum to 1, so that a descriptor is an average of the image, and a position gets an average of the descriptors? Write it correctly.
#
# Shapes: `x` b c h w, `w_phi` d c, `w_theta` and `w_rho` m c -> b d h w.
#
# <details><summary>Hint 1: one image alone</summary>
#
# Give it a batch of one. Which numbers stand in `gather`?
# </details>
#
# <details><summary>Hint 2: an image of one colour</summary>
#
# If all positions hold the same x, averages of averages change nothing: every position must get W_φ x. What does it get, and which of the two maps is to blame?
# </details>


# %% tags=["task_11_4"]
def double_attention(x, w_phi, w_theta, w_rho):
    """Gather into m descriptors, then hand them out: b c h w, d c, m c, m c -> b d h w."""
    ### BEGIN SOLUTION
    pixels = x.flatten(2)  # b c n
    gather = (w_theta @ pixels).softmax(dim=2)  # b m n, over the positions
    hand_out = (w_rho @ pixels).softmax(dim=1)  # b m n, over the descriptors
    descriptors = (w_phi @ pixels) @ gather.mT  # b d m
    return (descriptors @ hand_out).unflatten(2, x.shape[2:])
    ### END SOLUTION


# %% tags=["folded"]
def check_images():
    """Images of a batch do not meet; an image of one colour keeps it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 5, generator=generator)
    w_phi, w_theta, w_rho = (torch.randn(*shape, generator=generator) for shape in ((6, 3), (2, 3), (2, 3)))
    result = double_attention(x, w_phi, w_theta, w_rho)
    assert result.shape == (2, 6, 4, 5), f"b d h w is (2, 6, 4, 5), not {tuple(result.shape)}"
    assert torch.allclose(double_attention(x[:1], w_phi, w_theta, w_rho), result[:1], atol=1e-4), (
        "another image of the batch changed this one: over which axis does a softmax run?"
    )
    flat = torch.ones(1, 3, 4, 5)
    due, found = w_phi.sum(dim=1), double_attention(flat, w_phi, w_theta, w_rho)[0, :, 0, 0]
    assert torch.allclose(found, due, atol=1e-4), (
        f"all 20 positions hold the same, so each gets W_φ x, which begins with {due[0]:.3f}, not with {found[0]:.3f}: that is {found[0] / due[0]:.2f} times as much; do both maps give averages?"
    )


# %% tags=["check_11_4"]
with exercise.check(4):
    check_images()
    x = torch.tensor([[[[0.0, 0.0, 3.0]], [[9.0, 0.0, 0.0]], [[0.0, 9.0, 0.0]]]])  # 1 3 1 3
    w_theta = torch.tensor([[0.0, 9.0, 0.0], [9.0, 0.0, 0.0]])  # slot 0 gathers pixel 0, slot 1 pixel 2
    w_rho = torch.tensor([[0.0, 0.0, 9.0], [0.0, 0.0, 0.0]])  # pixel 1 wants slot 0; the others both alike
    found = double_attention(x, torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), w_theta, w_rho)[0, :, 0]
    assert torch.allclose(found[:, 1], torch.tensor([0.0, 9.0]), atol=1e-2), (
        f"pixel 1 wants slot 0, which gathered pixel 0, with (0, 9) in its first two channels; it got ({found[0, 1]:.2f}, {found[1, 1]:.2f})"
    )
    assert torch.allclose(found[:, 2], torch.tensor([1.5, 4.5]), atol=1e-2), (
        f"pixel 2 wants both slots alike: half of (0, 9) and half of (3, 0) are (1.5, 4.5), not ({found[0, 2]:.2f}, {found[1, 2]:.2f})"
    )

# %% [markdown]
# ## task_11_5 · Balance in several rounds
# difficulty 3/5 · importance 3/5 · 8 minutes
#
# *This task needs the deeper section on external attention.* There the scores of n positions and m slots are made to sum to 1 over the positions, for each slot; then to 1 over the slots, for each position.
# After the second step the first sum is no longer 1. So repeat: one **round** is both steps, in this order. Write it for any number of rounds.
#
# Scores may be as large as ±2000, and the result must be exact there, too: neither `inf` nor `nan`, nor a position whose weights are all 0.
#
# Shapes: `scores` n m, `rounds` at least 1 -> weights n m, which sum to 1 over the slots.
#
# <details><summary>Hint 1: stay below the exponential</summary>
#
# To divide a weight by a sum is to subtract a number from its logarithm. Do all rounds with logarithms.
# </details>
#
# <details><summary>Hint 2: which number?</summary>
#
# The logarithm of the sum of the weights, along the axis that is to sum to 1; torch has a function for it that does not overflow. Exponentiate once, at the end.
# </details>


# %% tags=["task_11_5"]
def balanced(scores, rounds):
    """In every round: to 1 over the positions, then to 1 over the slots. n m, a number -> n m."""
    ### BEGIN SOLUTION
    for _ in range(rounds):
        scores = scores - scores.logsumexp(dim=0, keepdim=True)
        scores = scores - scores.logsumexp(dim=1, keepdim=True)
    return scores.exp()
    ### END SOLUTION


# %% tags=["check_11_5"]
with exercise.check(5):
    scores = torch.tensor([[1.0, 1.0, 4.0], [3.0, 3.0, 12.0]]).log()  # two positions, three slots
    weights = balanced(scores, 1)
    assert weights.shape == (2, 3), f"two positions and three slots: (2, 3), not {tuple(weights.shape)}"
    assert torch.allclose(weights.sum(dim=1), torch.ones(2), atol=1e-4), (
        f"the weights of a position sum to 1 over the three slots, not to {weights.sum(dim=1)[0]:.3f}: which step comes last?"
    )
    assert torch.allclose(weights, torch.full((2, 3), 1 / 3), atol=1e-4), (
        f"each slot has 1/4 and 3/4 of its weight at the two positions, so no slot is preferred, and all get 1/3; the first got {weights[0, 0]:.3f}"
    )
    scores = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    one, many = balanced(scores, 1), balanced(scores, 40)
    assert abs(one[1, 0] - 0.4062) < 1e-3, (
        f"at the second position slot 0 has 0.5 of its weight, slot 1 has 0.731; after *one* round slot 0 gets 0.5 of 1.231, 0.406, not {one[1, 0]:.3f}"
    )
    assert torch.allclose(many.sum(dim=0), torch.ones(2), atol=1e-3) and not torch.allclose(one, many, atol=1e-3), (
        f"two positions, two slots: after 40 rounds each slot's weights sum to 1, too, not to {many.sum(dim=0)[0]:.3f}; what does a second round begin with?"
    )
    shifted = balanced(torch.tensor([[2000.0, -2000.0], [2000.0, -1999.0]]), 1)
    assert shifted.isfinite().all() and abs(shifted[0, 1] - one[0, 1]) < 1e-3, (
        f"2000 more for the first slot, 2000 less for the second, at both positions alike, changes nothing: {one[0, 1]:.3f}, not {shifted[0, 1]:.3f}"
    )
