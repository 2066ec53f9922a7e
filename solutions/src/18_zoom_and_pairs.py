# %% [markdown]
# # Exercise 18 · Zoom and pairs
#
# You read pairs of which some are padding, derive what is lost when pairs are forgotten, repair a soft box, and ask each closer look to be surer than the one before.
#
# *Minutes:* 46 · *Needs:* 18
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import math

import torch

from course_lib.answers import drawn, rounded, same
from course_lib.exercises import Exercise

exercise = Exercise("18_zoom_and_pairs", points=[3, 3, 3, 3])

# %% [markdown]
# ## task_18_1 · Questions of different lengths
# difficulty 3/5 · importance 5/5 · 14 minutes
#
# Questions of different lengths are put into one batch by padding the shorter ones. Words of the padding get *no* weight in any pair, and the other pairs share the whole of it.
# `left` and `right` are regions and words *after* their layers and ReLU, ready to be compared: the score of a pair in glimpse g is $\sum_k h_{gk}\, \text{left}_{ik}\, \text{right}_{jk}$. One softmax over all real pairs of an image, for each glimpse.
#
# Return what each glimpse reads, $f_{gd} = \sum_{ij} A_{gij}\, x_{id}\, y_{jd}$, where x and y (`read_v`, `read_q`) are regions and words ready to be read. A question without any real word reads 0. The padding may hold any finite numbers.
#
# Shapes: `left` b v k, `right` b q k, `h` g k, `read_v` b v d, `read_q` b q d, `real` b q, True where a word is real -> b g d.
#
# <details><summary>Hint 1: which axes share one softmax?</summary>
#
# The scores have four axes, b g v q. Two of them share one sum of 1. What must you do to these two before `softmax`, which takes one axis?
# </details>
#
# <details><summary>Hint 2: no weight</summary>
#
# Which score has the weight 0? And what is a softmax of nothing but such scores?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# scores b g v q; −∞ where the word is padding; flatten v q, softmax, back to b g v q; put 0 where the word is padding; sum over v and q the product of the map, x and y.
# </details>


# %% tags=["task_18_1"]
def read_pairs(left, right, h, read_v, read_q, real):
    """What the real pairs say, glimpse by glimpse: b v k, b q k, g k, b v d, b q d, b q -> b g d."""
    ### BEGIN SOLUTION
    scores = torch.einsum("bvk,gk,bqk->bgvq", left, h, right)
    scores = scores.masked_fill(~real[:, None, None], -math.inf)
    pairs = scores.flatten(2).softmax(dim=2).view_as(scores)
    pairs = torch.where(real[:, None, None], pairs, 0.0)  # NaN where no word is real
    return torch.einsum("bgvq,bvd,bqd->bgd", pairs, read_v, read_q)
    ### END SOLUTION


# %% tags=["folded"]
LEFT, RIGHT = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[math.log(3)], [0.0]]])  # scores log 3, 0; 0, 0
READ_V, READ_Q = torch.tensor([[[2.0], [4.0]]]), torch.tensor([[[1.0], [10.0]]])
BOTH = torch.tensor([[True, True]])


def check_pairs():
    """Two regions, two words, everything in the head."""
    found = read_pairs(LEFT, RIGHT, torch.ones(1, 1), READ_V, READ_Q, BOTH)
    assert found.shape == (1, 1, 1), f"one image, one glimpse, one number: (1, 1, 1), not {tuple(found.shape)}"
    assert same(found, torch.tensor([[[(3 * 2 + 20 + 4 + 40) / 6]]])), (
        "scores log 3, 0, 0, 0 give the weights 3, 1, 1, 1 of 6, products to read 2, 20, 4, 40: 70/6 = 11.667, "
        f"not {rounded(found)}: over what does the softmax sum to 1, and what is multiplied before the sum?"
    )
    found = read_pairs(LEFT, RIGHT, torch.tensor([[0.0], [1.0]]), READ_V, READ_Q, BOTH)
    assert same(found[0, 0], torch.tensor([66 / 4])), (
        f"a glimpse with h = 0 reads all four pairs alike: (2 + 20 + 4 + 40)/4 = 16.5, not {rounded(found[0, 0])}"
    )


# %% tags=["folded"]
def check_padded():
    """What stands in the padding, and a question that is nothing else."""
    first = torch.tensor([[True, False]])
    found = read_pairs(LEFT, RIGHT, torch.ones(1, 1), READ_V, READ_Q, first)
    assert same(found, torch.tensor([[[(3 * 2 + 4) / 4]]])), (
        f"the second word is padding: two pairs share the weight, 3 and 1 of 4, so (3·2 + 4)/4 = 2.5, not {rounded(found)}"
    )
    found = read_pairs(LEFT, RIGHT, torch.ones(1, 1), READ_V, READ_Q, ~BOTH)
    assert not found.isnan().any(), "a question without a real word gave NaN: a softmax of −∞ alone has no sum"
    assert not found.any(), f"a question without a real word must read 0, not {rounded(found)}"


# %% tags=["check_18_1"]
with exercise.check(1):
    check_pairs()
    check_padded()
    left, right, h, read_v, read_q = drawn((2, 5, 4), (2, 3, 4), (6, 4), (2, 5, 7), (2, 3, 7))
    real = torch.tensor([[True, True, False], [True, True, True]])
    found = read_pairs(left, right, h, read_v, read_q, real)
    assert found.shape == (2, 6, 7), f"b g d is (2, 6, 7), not {tuple(found.shape)}"
    alone = read_pairs(left[:1], right[:1], h, read_v[:1], read_q[:1], real[:1])
    assert same(alone, found[:1]), "another image of the batch changed this one"
    assert same(read_pairs(left, right, h[:2], read_v, read_q, real), found[:, :2]), "other glimpses changed this one"
    ones = read_pairs(left, right, h, torch.ones_like(read_v), torch.ones_like(read_q), real)
    assert same(ones, torch.ones(2, 6, 7)), (
        "where there are ones to read, the weights must give 1: what do they sum to?"
    )

# %% [markdown]
# ## task_18_2 · What is lost when the pairs are forgotten
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# There are m matches: thing i belongs to claim i, and to no other. A map puts the weight $p_i$ on match i, and nothing elsewhere; the $p_i$ sum to 1. Somebody keeps only its marginals, and multiplies them.
#
# Derive, for given p:
#
# - the weight that now lies on **foreign** pairs (thing i with claim j, i ≠ j);
# - what the new map **says** if thing i has the colour $c_i$ and claim j says $d_j$ (each +1 or −1): $\sum_{ij} A_{ij}\, c_i\, d_j$. Derive it without an m × m map (m may be a million);
# - the **most** weight that can lie on foreign pairs, over all p, for this m.
#
# Shapes: `p`, `colours`, `claimed` m -> three numbers.
#
# <details><summary>Hint 1: two matches</summary>
#
# Write the 2 × 2 map for p = (¾, ¼), its two marginals, and their product. Which of the four numbers are foreign?
# </details>
#
# <details><summary>Hint 2: what lies on the right pairs?</summary>
#
# The product sums to 1. So foreign is 1 minus what the diagonal holds. And a sum over i and j of something of i times something of j is a product of two sums.
# </details>
#
# <details><summary>Hint 3: the most</summary>
#
# For which p is the sum of squares smallest? Try (1, 0), (¾, ¼), (½, ½).
# </details>


# %% tags=["task_18_2"]
def forgotten(p, colours, claimed):
    """The weight on foreign pairs, what the marginals say, the most foreign weight: m, m, m -> three numbers."""
    ### BEGIN SOLUTION
    foreign = 1 - p.square().sum()
    said = (p * colours).sum() * (p * claimed).sum()
    return foreign, said, 1 - 1 / len(p)
    ### END SOLUTION


# %% tags=["check_18_2"]
with exercise.check(2):
    p, colours = torch.tensor([0.75, 0.25]), torch.tensor([1.0, -1.0])
    foreign, said, most = forgotten(p, colours, colours)
    assert abs(float(foreign) - 0.375) < 1e-4, (
        f"p = (¾, ¼): the product holds 9/16 and 1/16 on the diagonal, so 6/16 = 0.375 is foreign, not {float(foreign):.3f}"
    )
    assert abs(float(said) - 0.25) < 1e-4, (
        f"p = (¾, ¼), both claims true: the things say ¾ − ¼ = ½, the claims too, so ¼, not {float(said):.3f}: pairs or marginals?"
    )
    assert abs(float(most) - 0.5) < 1e-4, f"two matches: at most half of the weight is foreign, not {float(most):.3f}"
    _, said, _ = forgotten(p, colours, torch.tensor([1.0, 1.0]))
    assert abs(float(said) - 0.5) < 1e-4, (
        f"p = (¾, ¼), c = (1, −1), d = (1, 1): ½ · 1 = 0.5, not {float(said):.3f}: who speaks of whom is forgotten"
    )
    foreign, _, most = forgotten(torch.tensor([1.0, 0, 0]), torch.ones(3), torch.ones(3))
    assert abs(float(foreign)) < 1e-4, f"one match has all the weight: nothing is foreign, not {float(foreign):.3f}"
    assert abs(float(most) - 2 / 3) < 1e-4, (
        f"three matches: at most ⅔ is foreign, whatever p is; not {float(most):.3f}"
    )

# %% [markdown]
# ## task_18_3 · Repair a soft box
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# Somebody wrote RA-CNN's mask for boxes of any width and height, in pixels: middle x and y, *half* width and *half* height; pixel i lies at i. It runs, and its shape is right. It is wrong in two ways; one of them cannot be seen for a square in the middle of a square image.
#
# ```python
# def soft_box(region, height, width, sharpness):
#     x, y, half_w, half_h = region.unbind(dim=1)  # b each
#
#     def edges(middle, half, n):
#         pixels = torch.arange(n)
#         rises = (sharpness * (pixels - (middle - half)[:, None])).sigmoid()
#         falls = (sharpness * (pixels - (middle + half)[:, None])).sigmoid()
#         return rises * falls  # b n
#
#     return edges(x, half_w, height)[:, :, None] * edges(y, half_h, width)[:, None, :]  # b h w
# ```
#
# Find both by asking: how large is the mask in the middle of the box? And where does it go when x grows? Write it correctly.
#
# Shapes: `region` b 4 as (x, y, half width, half height), `height`, `width`, `sharpness` numbers -> b height width.
#
# <details><summary>Hint 1: one row</summary>
#
# Draw rises and falls along one axis, for a large sharpness. Where is each 0, where 1? Which combination is 1 only between the two edges?
# </details>
#
# <details><summary>Hint 2: x counts columns</summary>
#
# In a tensor b h w, which axis does x run along? Which of the two edges belongs to the axis of the height?
# </details>


# %% tags=["task_18_3"]
def soft_box(region, height, width, sharpness):
    """Near 1 inside the box, near 0 outside: b 4 -> b height width."""
    ### BEGIN SOLUTION
    x, y, half_w, half_h = region.unbind(dim=1)  # b each

    def edges(middle, half, n):
        pixels = torch.arange(n)
        rises = (sharpness * (pixels - (middle - half)[:, None])).sigmoid()
        falls = (sharpness * (pixels - (middle + half)[:, None])).sigmoid()
        return rises - falls  # b n

    return edges(y, half_h, height)[:, :, None] * edges(x, half_w, width)[:, None, :]  # b h w
    ### END SOLUTION


# %% tags=["folded"]
def check_place():
    """A sharp square in the middle of a square image; then columns 5 to 7 and rows 1 to 2 of 8 × 9 pixels."""
    middle = soft_box(torch.tensor([[2.0, 2.0, 1.5, 1.5]]), 5, 5, 50.0)
    assert middle.shape == (1, 5, 5), f"height 5, width 5: (1, 5, 5), not {tuple(middle.shape)}"
    assert middle[0, 2, 2] > 0.99, (
        f"a square in the middle of 5 × 5 pixels: its middle must be near 1, not {middle[0, 2, 2]:.3f}: what is 1 only between the edges?"
    )
    mask = soft_box(torch.tensor([[6.0, 1.5, 1.5, 1.0]]), 8, 9, 50.0)
    assert mask.shape == (1, 8, 9), f"height 8, width 9: (1, 8, 9), not {tuple(mask.shape)}"
    due = torch.zeros(8, 9)
    due[1:3, 5:8] = 1
    assert same((mask[0] > 0.5).float(), due), (
        f"x = 6, y = 1.5, half width 1.5, half height 1: columns 5–7, rows 1–2; near 1 are (row, column) {(mask[0] > 0.5).nonzero().tolist()}"
    )
    assert same(mask[0], due), f"sharpness 50, half a pixel inside the edge: near 1, not {mask[0, 1, 5]:.3f}"


# %% tags=["check_18_3"]
with exercise.check(3):
    check_place()
    mask = soft_box(torch.tensor([[3.0, 2.0, 1.0, 1.0], [3.0, 2.0, 2.0, 1.0]]), 5, 7, 2.0)
    due = 1 / (1 + math.exp(-2.0)) - 1 / (1 + math.exp(2.0))  # one pixel from either edge
    assert abs(mask[0, 2, 3].item() - due**2) < 1e-4, (
        f"sharpness 2, both edges one pixel away on both axes: (0.881 − 0.119)² = 0.580, not {mask[0, 2, 3]:.3f}"
    )
    edge = 0.5 - 1 / (1 + math.exp(4.0))
    assert abs(mask[0, 2, 4].item() - edge * due) < 1e-4, (
        f"sharpness 2, on the right edge: the mask is about half as large, {edge * due:.3f}, not {mask[0, 2, 4]:.3f}"
    )
    assert mask[1, 2, 5] > 2 * mask[0, 2, 5], "the second box is wider: it must reach column 5, and the first not"
    region = torch.tensor([[3.0, 2.0, 1.0, 1.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(soft_box(region, 5, 7, 2.0)[0, 2, 5], region)
    assert slope[0, 0] > 0, (
        f"a step to the right must brighten column 5, to the right of the box; slope {slope[0, 0]:.3f}"
    )
    assert slope[0, 2] > 0, f"a wider box must brighten column 5; slope {slope[0, 2]:.3f}"

# %% [markdown]
# ## task_18_4 · Surer with every closer look
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# RA-CNN looks at s scales, from coarse to fine. What teaches it where to zoom is a **ranking loss**: each scale shall give the true class a *probability* that is larger than that of the scale before it, by a margin; if it does, the loss is 0:
#
# $$L = \sum_{s} \max(0,\; p_s - p_{s+1} + \text{margin})$$
#
# averaged over the images. A loss like this has a way out that nobody wants: the *coarse* scale could become worse. Close it: **no gradient may reach a scale as the coarser one of a pair**, only as the finer one.
#
# Shapes: `logits` s b k, from coarse to fine, `labels` b, `margin` a number -> a number.
#
# <details><summary>Hint 1: how sure?</summary>
#
# Logits are not probabilities. Add 5 to all logits of one scale: may the loss change? What must happen to the logits before one of the k is picked?
# </details>
#
# <details><summary>Hint 2: pairs of scales</summary>
#
# `p[:-1]` and `p[1:]` are the coarser and the finer one of each pair. Which of the two must be held fixed, and what cuts a tensor off from its gradient?
# </details>


# %% tags=["task_18_4"]
def surer(logits, labels, margin):
    """How far each scale stays behind the one before it, plus the margin: s b k, b -> a number."""
    ### BEGIN SOLUTION
    picked = labels.expand(len(logits), -1)[..., None]  # s b 1
    p = logits.softmax(dim=2).gather(2, picked)[..., 0]  # s b
    return (p[:-1].detach() - p[1:] + margin).clamp(min=0).sum(dim=0).mean()
    ### END SOLUTION


# %% tags=["folded"]
def sure(*probabilities):
    """Logits of three classes whose class 1 has these probabilities, a row an image, a list a scale: s b 3."""
    p = torch.tensor(probabilities)
    return torch.stack([(1 - p) / 4, p, (1 - p) * 3 / 4], dim=2).log()


def check_loss():
    """One image, two or three scales."""
    ones = torch.tensor([1])
    for p, due, why in (
        (([0.5], [0.3]), 0.25, "0.5 − 0.3 + 0.05"),
        (([0.3], [0.5]), 0.0, "the finer scale is surer by more than the margin"),
        (([0.3], [0.32]), 0.03, "surer, but by less than the margin: 0.3 − 0.32 + 0.05"),
        (([0.5], [0.3], [0.9]), 0.25, "0.25 + 0: what one pair gains does not pay for another"),
        (([0.5], [0.4], [0.3]), 0.3, "two pairs, 0.15 + 0.15, summed"),
    ):
        found = surer(sure(*p), ones, 0.05)
        assert abs(float(found) - due) < 1e-4, f"probabilities {p}: {why}, so {due}, not {float(found):.3f}"


# %% tags=["check_18_4"]
with exercise.check(4):
    check_loss()
    found = surer(sure([0.5, 0.2], [0.3, 0.6]), torch.tensor([1, 1]), 0.05)
    assert abs(float(found) - 0.125) < 1e-4, f"0.25 and 0, averaged over two images: 0.125, not {float(found):.3f}"
    logits, labels = drawn((3, 5, 4))[0].requires_grad_(), torch.tensor([0, 3, 2, 1, 0])
    shifted = logits + torch.tensor([0.0, 5.0, -2.0])[:, None, None]
    assert abs((surer(shifted, labels, 0.05) - surer(logits, labels, 0.05)).item()) < 1e-4, (
        "5 added to all logits of one scale changed the loss: logits are not probabilities"
    )
    (slope,) = torch.autograd.grad(surer(logits, labels, 1.0), logits)
    assert not slope[0].any(), "a gradient reached the coarsest scale: it could lower the loss by becoming worse"
    assert slope[1].any() and slope[2].any(), "each finer scale must get a gradient, also the one in the middle"
    logits = sure([0.5], [0.4], [0.3]).requires_grad_()
    (slope,) = torch.autograd.grad(surer(logits, torch.tensor([1]), 0.05), logits)
    assert abs(slope[1, 0, 1].item() + 0.24) < 1e-4, (
        f"the middle scale, p = 0.4: its slope as the finer one is −p(1 − p) = −0.24, not {slope[1, 0, 1]:.3f}"
    )
