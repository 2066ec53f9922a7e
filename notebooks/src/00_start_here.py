# %% [markdown]
# # 00 · Start here
#
# **How does this course work, and does it run here?**
#
# After this lesson you will be able to
#
# - tell whether this machine is ready, and what to do if it is not;
# - read the one formula that all lessons share, and the letters for the axes;
# - work on an exercise and see your points.
#
# *Minutes:* 17 · *Needs:* nothing · *Paper:* Guo et al., Attention Mechanisms in Computer Vision: A Survey, 2022, arXiv 2111.07624 · *Exercise:* the first one belongs to lesson 01
#
# You need to know how to train a small PyTorch network. You need no graphics card, and once this page is open, no network.

# %% [markdown]
# ## Does it run here?
#
# On the website nothing runs, and nothing has to: read on, the sliders move there, too. In JupyterLab or Colab,
# **run the next cell** (click into it, then press Shift and Enter). Expect the word *fine* on every line. Where something is missing, the line says
# what to do; then choose *Kernel → Restart* in the menu and run the page again from the top.

# %%
from course_lib.machine import show_machine

show_machine()

# %% [markdown]
# ## A taste: where does a petal look?
#
# First what the next cells need: two functions from the library, a photograph, and a few ways to draw.

# %%
import torch
from matplotlib.patches import Rectangle

from course_lib.basics.addressing import gaussian_score, masked_softmax
from course_lib.data.photographs import load_photograph
from course_lib.interactive import slider, steer
from course_lib.plotting import describe, new_figure, show_images, show_overlay, side_by_side

# %% [markdown]
# A photograph, cut into squares of 8 × 8 pixels. Each square is described by its average colour: three numbers. Expect the same picture, coarser.

# %% tags=["folded"]
photograph = load_photograph("flower", height=128)[:, :, :192]
colour = torch.nn.functional.avg_pool2d(photograph, kernel_size=8)  # c h w -> c h/8 w/8
describe(
    show_images([photograph, colour], ["photograph, 128 × 192", "average colours, 16 × 24"]),
    "left, a large orange dahlia before dark green leaves, with a second one cut off at the lower edge; "
    "right, the same picture in coarse squares of one colour each.",
)

# %% [markdown]
# Now one square asks: **who looks like me?** It compares its colour with the colour of every square. The comparison gives a *score*
# for each; the softmax turns all scores into *weights* that are positive and sum to 1. That is attention.
#
# *Before running: the asking square lies on an outer petal. Which parts of the photograph will stay bright?*


# %% tags=["answer"]
def ask(row, column, tolerance):
    """The weight of every square for the square at (row, column): h w."""
    squares = colour.flatten(1).mT  # c h w -> n c
    asking = colour[:, row, column][None]
    return masked_softmax(gaussian_score(asking, squares, bandwidth=tolerance)).view(colour.shape[1:])


weights = ask(row=4, column=9, tolerance=0.1)
print(f"{weights.numel()} weights, sum {weights.sum():.2f}, largest {weights.max():.3f}")
torch.testing.assert_close(weights.sum(), torch.tensor(1.0))


# %% tags=["folded"]
def draw_question(figure, row=4, column=9, tolerance=0.1):
    """The photograph, bright where the square at (row, column) looks; the square itself has a frame."""
    axes = figure.subplots()
    show_overlay(
        axes, photograph, ask(row, column, tolerance), title=f"row {row}, column {column}, tolerance {tolerance}"
    )
    corner = (column * 8 - 0.5, row * 8 - 0.5)
    axes.add_patch(Rectangle(corner, 8, 8, fill=False, edgecolor="white"))


figure = new_figure(5, 3.4)
draw_question(figure)
describe(
    figure,
    "the photograph is dark except for outer petals of the large dahlia, most of them at its top, and for the second one "
    "below it. A white frame marks the asking square.",
)

# %% [markdown]
# The petal finds the rim of its own flower, most of all at the top, and the second flower far away at the lower edge: distance does not matter, only likeness. The claim
# as a check: the ten squares of the second flower get several times their fair share.

# %%
second_flower = weights[14:, 11:16]
share, fair_share = second_flower.sum().item(), second_flower.numel() / weights.numel()
print(f"second flower: {share / fair_share:.1f} times its fair share")
assert share > 5 * fair_share

# %% [markdown]
# But it does not find *flowers*. **Let an inner, darker petal ask**, two squares below. Expect a ring, and nothing of the second flower: this attention knows
# colours and no more.

# %% tags=["folded"]
inner = ask(row=6, column=10, tolerance=0.1)
assert inner[14:, 11:16].sum() < 0.1 * fair_share
figure = new_figure(5, 3.4)
draw_question(figure, row=6, column=10)
describe(
    figure,
    "the photograph is dark except for a ring of reddish petals around the centre of the large dahlia.",
)

# %% [markdown]
# **Steer it yourself.** Move the square, and change how much two colours may differ. (Click a slider; the arrow keys work too.)

# %% tags=["widget"]
steer(
    draw_question,
    width=5,
    height=3.4,
    row=slider("row", list(range(16)), value=4),
    column=slider("column", list(range(24)), value=9),
    tolerance=slider("tolerance", [0.03, 0.1, 0.3, 1.0], value=0.1),
)

# %% [markdown]
# The same without a widget, three settings side by side:

# %% tags=["static", "folded"]
settings = [{"tolerance": 0.03}, {"tolerance": 0.3}, {"row": 2, "column": 2}]
describe(
    side_by_side(draw_question, settings, height=1.7),
    "three panels. Tolerance 0.03: only a few squares of nearly the same colour are bright. Tolerance "
    "0.3: both flowers are bright but for the dark centre of the large one. Row 2, column 2, a leaf: the "
    "leaves are bright and both flowers are dark.",
)

# %% [markdown]
# ## The one formula
#
# Every mechanism of this course does two things: it decides **where to look**, and it **looks**:
#
# $$\mathrm{Attention}(x) = f\bigl(g(x),\, x\bigr)$$
#
# $g$ makes a map, and $f$ applies the map to the input. In our library every mechanism has these two methods: `attention(x)` is $g$, and
# `forward(x)` is $f$. Here are both in one that weighs *channels* (lesson 03):

# %%
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.diagrams import diagram

torch.manual_seed(0)
block = SqueezeExcitation(channels=3, reduction=1)
x = photograph[None]  # b c h w
print("map", list(block.attention(x).shape), "   result", list(block(x).shape))
torch.testing.assert_close(block(x), block.attention(x) * x)

# %% [markdown]
# **Every mechanism has a diagram.** A straight line runs from x to y; what hangs on it is the map. Blue is $g$, black is $f$, tinted boxes are
# learned, and every arrow carries its shape in the letters of the next section.

# %% tags=["folded"]
diagram(SqueezeExcitation)

# %% [markdown]
# What the map looks like decides the family:
#
# | question | map | folder of `course_lib` | lessons |
# |---|---|---|---|
# | what? | one number per channel | `channel/` | 03–05 |
# | where? | weights over positions, or a region, or samples | `spatial/` | 06–14 |
# | what and where? | both | `channel_spatial/` | 15 |
# | which path? | one number per branch | `branch/` | 16 |
# | when? | one number per frame | `temporal/`, `spatial_temporal/` | 17 |
# | one input at another? | weights over pairs | `cross/` | 18 |

# %% [markdown]
# ## Letters for axes
#
# A wrong axis often gives no error, only wrong numbers. So every reshape in the library carries its letters:
#
# b batch · c channels · h height · w width · n = h · w positions · m keys, memory slots · d length of one query · s heads · t frames
#
# `b c h w -> b n c` reads: an image batch becomes, for every image, a list of n positions with c numbers each. *Before running: which shape?*

# %% tags=["answer"]
tokens = x.flatten(2).mT  # b c h w -> b c n -> b n c
print(list(tokens.shape))
assert tokens.shape == (1, 128 * 192, 3)

# %% [markdown]
# ## How a lesson speaks
#
# - *Before running:* stop and guess. A wrong guess teaches more than a right one. So the answer is stored *folded*: run the cell, or unfold it with a click (in JupyterLab, on the three dots).
# - Code that only draws is folded, too. You need not read it.
# - `≈ 0.61` is a number that may be a little different on your machine. All other numbers are the same everywhere.
# - `assert` and `assert_close` are claims that check themselves. If one fails on your machine, we are wrong: tell us.
# - The first part of a lesson, the *walk*, takes the minutes that its header promises, and ends with three key points and the exercise. Sections called
#   *Deeper* follow. Each has its own minutes and can be read alone; the next lessons do not need them.
# - Every picture carries a description that a screen reader reads aloud.
# - Numbers are measured by the cells above them. Figures from papers are named with their source.

# %% [markdown]
# ## How an exercise works
#
# An exercise gives you cells that say `raise NotImplementedError("… is yours to write")`, each followed by a *check*. A check reads like this one
# and answers in words. Let us make one with two tasks of one point each:

# %%
from course_lib.exercises import Exercise, NotYet

exercise = Exercise("00_start_here", points=[1, 1])

# %% [markdown]
# The task: turn scores into shares that are positive and sum to 1.


# %%
def share_out(scores):
    """Scores become shares: positive, summing to 1."""
    return scores.exp() / scores.exp().sum()


# %% [markdown]
# **Check it.** Expect a tick, and one point of two.

# %%
with exercise.check(1):
    shares = share_out(torch.tensor([0.0, 1.0, 2.0]))
    assert torch.isclose(shares.sum(), torch.tensor(1.0)), f"shares must sum to 1, not {shares.sum():.2f}"

# %% [markdown]
# And one that is not solved yet. In an exercise the sentence appears by itself; in this lesson we catch it, so that the page runs to its end.

# %%
try:
    with exercise.check(2):
        assert share_out(torch.tensor([1000.0, 0.0])).isfinite().all(), (
            "e¹⁰⁰⁰ is too large for a float: subtract the maximum first"
        )
except NotYet as answer:
    print(answer)

# %% [markdown]
# Your teacher grades with *hidden* tests: the same questions with other sizes and values. `.venv/bin/course check 01` in a terminal (in the folder of the
# course) shows your points without opening the notebook. git does not write over a file that you have changed: before you update the course, put a copy of your exercise elsewhere.
#
# ## Three things to keep
#
# 1. Attention decides where to look, and looks: $f(g(x), x)$.
# 2. `attention(x)` shows the map of any mechanism in the library; `forward(x)` applies it.
# 3. Guess first, then run.
#
# *Reference.* Guo et al., Attention Mechanisms in Computer Vision: A Survey, Computational Visual Media 2022, arXiv 2111.07624.
#
# **Next:** [01 Addressing](01_addressing.ipynb), where the colours become queries, keys and values.
