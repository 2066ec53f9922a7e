# %% [markdown]
# # 11 · Cheaper non-local
#
# **How far can n × n be cut?**
#
# After this lesson you will be able to
#
# - compute criss-cross attention by hand, and say what two loops reach;
# - draw five cheap blocks as one picture, and say how their costs grow;
# - say which cut loses what, on a task that needs far pixels, and on a photograph.
#
# *Minutes:* 43, deeper 19 · *Needs:* 09 · *Paper:* Huang et al., CCNet, 2019, arXiv 1811.11721 · *Exercise:* [11 cheaper non-local](../exercises/11_cheaper_non_local.ipynb) · *Module:* [criss_cross.py](../course_lib/spatial/criss_cross.py)
#
# Out of scope: one map for all (10), nodes that talk to each other (12), windows (13).

# %%
import itertools
import math
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from course_lib.costs import kept_for_backward, milliseconds, multiply_adds
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.data.recall import in_image_recall
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import describe, frameless, new_figure, plot_runs, ring, show_found, show_weights
from course_lib.spatial.asymmetric_non_local import AsymmetricFusion, AsymmetricPyramid
from course_lib.spatial.compact_non_local import CompactNonLocal
from course_lib.spatial.criss_cross import CrissCross
from course_lib.spatial.double_attention import DoubleAttention
from course_lib.spatial.external import ExternalAttention
from course_lib.spatial.non_local import NonLocal
from course_lib.training import accuracy, fit, predict
from course_lib.trunk import load_trunk

# %% [markdown]
# ## The bill
#
# In the non-local block (lesson 09) each of n pixels asks each of n. **CCNet works on features of 97 × 97.** *Before running: how many pairs is that, and how many
# megabytes are its weights, at four bytes a number?*

# %% tags=["answer"]
n = 97 * 97
print(f"n = {n:,}   pairs n² = {n**2:,}   map {4 * n**2 / 1e6:.0f} MB")

# %% [markdown]
# Twice the side means four times the pixels and *sixteen* times the pairs. Five papers cut this, by one trick: what
# pixels tell each other goes **through something narrow**.


# %% tags=["folded"]
def draw_step(axes, x, sources, targets, joined, colour):
    """A line for each pair that is joined: targets × sources."""
    for i, j in torch.as_tensor(joined).nonzero().tolist():
        axes.plot([x, x + 1], [sources[j], targets[i]], color=colour, linewidth=0.6, alpha=0.7)


def dots(axes, x, places, colour="black"):
    axes.plot([x] * len(places), places, "o", color=colour, markersize=5, zorder=3)


# %% tags=["folded"]
row, column = torch.arange(9) // 3, torch.arange(9) % 3
own_cross = (row[:, None] == row) | (column[:, None] == column)
cells = torch.stack([row >= 0, *((row // 2 == a) & (column // 2 == b) for a in (0, 1) for b in (0, 1))])
g, fixed, learned = "#0B6FA8", "#999999", "#D9A441"
panels = {
    "non-local\n81 pairs": [(own_cross | True, g)],
    "criss-cross\n2 · 45 pairs": [(own_cross, g), (own_cross, g)],
    "pyramid\n5 · 9": [(cells, fixed), (torch.ones(9, 5), g)],
    "A²\n2 · 3 · 9": [(torch.ones(3, 9), g), (torch.ones(9, 3), g)],
    "external\n3 · 9": [None, (torch.ones(9, 3), g)],
    "CGNL\n1 number": [(torch.ones(1, 9), g), (torch.ones(9, 1), g)],
}

# %% tags=["folded"]
figure, pixels = new_figure(9.0, 2.9), torch.linspace(0, 1, 9)
for axes, (title, steps) in zip(figure.subplots(1, 6), panels.items()):
    places = [pixels]
    for k, step in enumerate(steps):
        size = len(step[0]) if step else 3
        places.append(pixels if size == 9 else 0.5 + (torch.arange(size) - (size - 1) / 2) / 5)
        if step:
            draw_step(axes, k, places[-2], places[-1], *step)
    for k, spots in enumerate(places):
        if not (steps[0] is None and k == 0):
            dots(axes, k, spots, learned if steps[0] is None and k == 1 else "black")
    axes.set(xlim=(-0.2, len(steps) + 0.2))
    frameless(axes, title)
describe(
    figure,
    "six panels of dots in columns, nine pixels of a 3 × 3 image left and right. Non-local: each of the left is joined to each of the right in one step. Criss-cross: two steps over nine dots, five lines each. "
    "Pyramid: fixed grey lines to five cells, then blue lines from all cells to all pixels. A²: blue lines to three dots and from them. External: no left dots, three learned dots, blue lines to all pixels. CGNL: blue lines to one dot and from it.",
)

# %% [markdown]
# Columns of dots: pixels that are read, the narrow place, pixels that ask. Blue lines depend on the image; grey ones are fixed; ochre dots are learned.
#
# | block | the narrow place | pairs |
# |---|---|---|
# | **criss-cross** (CCNet) | the own row and column, but twice | n (h + w − 1) a loop |
# | **pyramid** (ANN) | m averages over cells; in the paper 1 + 3² + 6² + 8² = 110 | n · m |
# | **A²** | m *slots*, filled from the image | 2 · n · m |
# | **external attention** | m learned slots, the same for all images | n · m |
# | **CGNL** | one number for each group of channels | – |
#
# ## A cross, twice
#
# **An image of 2 × 3 pixels; the one at the lower right holds 16, all others 0.** Let all scores be equal: then each pixel reads the average of its own row and column, in
# which it stands once: h + w − 1 = 4 pixels. That is one *loop*. *Before running: what does the pixel at the upper left hold after one loop? And after two?*


# %%
def cross_average(x):
    """Each pixel reads the average of its own row and column: h w -> h w."""
    (h, w), rows, columns = x.shape, x.sum(dim=1, keepdim=True), x.sum(dim=0, keepdim=True)
    return (rows + columns - x) / (h + w - 1)


# %% tags=["answer"]
lit = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 16.0]])
once = cross_average(lit)
twice = cross_average(once)
print("once ", once.int().tolist(), "\ntwice", twice.int().tolist())
assert twice.tolist() == [[2, 2, 2], [3, 3, 4]]

# %% [markdown]
# After one loop the upper left has nothing: the lit pixel is not on its cross. But the two corners between them hold a part, and pass it on: two
# **paths**, each 16 · ¼ · ¼. In the same row there are w = 3 paths, in the same column h = 2, and to itself h + w − 1 = 4.
#
# ## The block

# %% tags=["folded"]
diagram(CrissCross)

# %% [markdown]
# $$z_{iu} = Q_u \cdot K_i \qquad A_{iu} = \operatorname{softmax}_i(z_{iu}) \qquad y_u = x_u + \gamma \sum_{i \in \text{cross}(u)} A_{iu}\, V_i$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $x$, $y$ | input, and output of one loop | b c h w |
# | $Q$, $K$ | queries and keys, from 1 × 1 convolutions | b d h w, d = c/8 |
# | $V$ | values, from a 1 × 1 convolution | b c h w |
# | $A$ | `attention(x)`: for each u, its column, then the others of its row | b h w (h+w−1) |
# | $\gamma$ | learned, starts at 0: then the block is the identity (only in the authors' code) | 1 |
#
# Then all of it *once more, with the same layers*: R = 2 loops. *Before running: x is 2 × 8 × 5 × 3; what is the shape of A?*

# %% tags=["answer"]
torch.manual_seed(0)
block, x = CrissCross(8, loops=1), torch.randn(2, 8, 5, 3)
nn.init.ones_(block.gamma)
print("A:", list(block.attention(x).shape))

# %% [markdown]
# **List the cross of each pixel; score; softmax; mix; add.**


# %%
def by_loops(block, image):
    """For each pixel, its cross; score, softmax, mix, add: c h w -> c h w."""
    query, key, value = (layer(image).detach() for layer in (block.query, block.key, block.value))
    (_, h, w), result = image.shape, image.clone()
    for row, column in itertools.product(range(h), range(w)):
        cross = [(i, column) for i in range(h)] + [(row, j) for j in range(w) if j != column]
        scores = [math.exp(query[:, row, column] @ key[:, i, j]) for i, j in cross]
        for score, (i, j) in zip(scores, cross):
            result[:, row, column] += block.gamma.item() * score / sum(scores) * value[:, i, j]
    return result


# %% [markdown]
# **As matrices it is the non-local block with a mask:** all n × n scores, and all that are not on the cross are hidden.


# %%
def crosses(h, w):
    """n n: True where two pixels share the row or the column."""
    row, column = torch.arange(h).repeat_interleave(w), torch.arange(w).repeat(h)
    return (row[:, None] == row) | (column[:, None] == column)


def by_mask(block, x):
    """All scores, hide what is not on the cross, softmax, mix, add: b c h w -> b c h w."""
    query, key, value = (layer(x).flatten(2) for layer in (block.query, block.key, block.value))  # b d n
    scores = (query.mT @ key).masked_fill(~crosses(*x.shape[2:]), -math.inf)  # b n n
    return x + block.gamma * (value @ scores.softmax(dim=2).mT).view_as(x)


# %%
torch.testing.assert_close(by_loops(block, x[0]), block(x)[0])
torch.testing.assert_close(by_mask(block, x), block(x))
twice = CrissCross(8, loops=2)
twice.load_state_dict(block.state_dict())  # nothing new is learned
torch.testing.assert_close(twice(x), by_mask(block, by_mask(block, x)))

# %% [markdown]
# ## What two loops reach
#
# **Which pixels change the output at one place?** We ask the gradient, for R = 1, 2, 3. *Before running: how many of 9 × 13 pixels?*


# %%
def reached(loops, place=(2, 4)):
    """How strongly each pixel changes the output at one place: h w."""
    torch.manual_seed(0)
    block, x = CrissCross(8, loops=loops), torch.randn(1, 8, 9, 13, requires_grad=True)
    nn.init.ones_(block.gamma)
    y = block(x)[0, :, *place].sum()
    return torch.autograd.grad(y, x)[0][0].abs().sum(dim=0)


# %% tags=["answer"]
change = [reached(loops) for loops in (1, 2, 3)]
print("pixels that count:", [(one > 0).sum().item() for one in change])
assert [(one > 0).sum() for one in change] == [9 + 13 - 1, 117, 117]

# %% tags=["folded"]
figure = new_figure(7.0, 1.9)
for axes, one, loops in zip(figure.subplots(1, 3), change, (1, 2, 3)):
    show_weights(axes, (one / one.max()) ** 0.3, title=f"R = {loops}")
    ring(axes, 2, 4)
describe(
    figure,
    "three fields of 9 × 13 cells with a ring at row 2, column 4. R = 1: only its row and column are bright, all else is dark. R = 2 and R = 3: every cell has some brightness, the cross most.",
)

# %% [markdown]
# (Brightness: the gradient to the power 0.3.) Two loops reach all; a third adds paths, but no pixel.
#
# **What it cannot do.** Between two pixels lie two corners, the *relays*. Each gathers by *its own* query, before anybody asks it: of two pixels on its cross, it does not know which will be wanted. So we expect mistakes where both relays see too much.
#
# ## A variation: gather, then hand out
#
# **A²** has two maps. The first fills m slots, each with a weighted average of all pixels, a *descriptor*; by the second each pixel mixes them. *Multiplied*, they are a non-local map of rank m at most, which nobody builds.

# %%
double = DoubleAttention(8, slots=3)
gather, hand_out = double.attention(x)  # b m n twice; rows sum to 1 over n, columns to 1 over m
whole = hand_out.mT @ gather  # b n n
values = double.feature(x).flatten(2).mT  # b n d
descriptors = gather @ values  # b m d
mixed = hand_out.mT @ descriptors  # b n d
torch.testing.assert_close(x + double.output(mixed).mT.unflatten(2, (5, 3)), double(x))
torch.testing.assert_close(whole @ values, mixed)

# %%
rank = torch.linalg.matrix_rank(whole)[0].item()
print(f"map {list(whole.shape[1:])}, rank {rank}, rows sum to {whole[0, 0].sum():.0f}")
assert rank == 3

# %% [markdown]
# In the pyramid the first map is fixed; external attention has none. CGNL lays the queries, keys and values of the whole image in one long column each: q, k, v. Its map $q k^\top$ has rank 1, so $(q k^\top) v = q\, (k^\top v)$: one number.
#
# ## The experiment: recall, through the narrow place
#
# The task of lesson 09, on 8 × 8 pixels: four sources hold a colour and a number; eight queries hold a colour and must say the number of *their* source. Only the block connects
# pixels. Data, learning rate and 110 steps are the same for all. (γ starts at 1: with 0, criss-cross needs many more steps.)
#
# *Before running: what will each get?* **We predicted**:
#
# - R = 1 sees 14 of 63 others, else it guesses: $\frac{14}{63} + \frac{49}{63} \cdot \frac14 \approx 0.42$. R = 2 gets most right. R = 3 *less*: harder to train, nothing new to reach.
# - A² gets all: 8 slots for four sources. The pyramid gets little: an average of four pixels loses the one that matters.
# - External attention and CGNL guess, 0.25: what is the same for all images cannot hold what *this* image says, nor can a number.

# %%
train, test = (in_image_recall(count, height=8, width=8, seed=seed) for count, seed in ((2560, 0), (512, 1)))


def criss_cross(loops):
    """Criss-cross with γ = 1 at the start, and queries as wide as those of the non-local block."""
    block = CrissCross(32, loops=loops, hidden=16)
    nn.init.ones_(block.gamma)
    return block


# %%
blocks = {
    "non-local": lambda: NonLocal(32),
    "criss-cross, R = 1": lambda: criss_cross(1),
    "criss-cross, R = 2": lambda: criss_cross(2),
    "criss-cross, R = 3": lambda: criss_cross(3),
    "pyramid, 21 cells": lambda: AsymmetricPyramid(32, sizes=(1, 2, 4), dropout=0.0),
    "A², 8 slots": lambda: DoubleAttention(32, gather=16, slots=8),
    "external, 16 slots": lambda: ExternalAttention(32, slots=16),
    "CGNL, 8 numbers": lambda: CompactNonLocal(32),
}


# %%
def train_with(make, seed, steps=110, rate=4e-3):
    """The network with this block, trained; and the share of right answers."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(10, 32, 1), make(), nn.Conv2d(32, 4, 1))
    fit(model, train.images, train.targets, steps=steps, learning_rate=rate, one_cycle=False, seed=seed)
    return model.eval(), accuracy(model, test.images, test.targets)


# %%
trained = {name: [train_with(make, seed) for seed in (0, 1, 2)] for name, make in blocks.items()}

# %% tags=["answer"]
right = {name: [share for _, share in runs] for name, runs in trained.items()}
for name, shares in right.items():
    learned = sum(p.numel() for p in blocks[name]().parameters())
    print(f"{name:18}  {learned:5} numbers   right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
assert min(right["non-local"]) > 0.97 and min(right["criss-cross, R = 2"] + right["criss-cross, R = 3"]) > 0.85
assert all(0.36 < one < 0.46 for one in right["criss-cross, R = 1"]) and min(right["pyramid, 21 cells"]) > 0.85
assert max(right["A², 8 slots"]) > 0.85 and max(right["external, 16 slots"] + right["CGNL, 8 numbers"]) < 0.7

# %% [markdown]
# R = 1 gets what we derived. Three predictions were **wrong**: R = 3 is not worse, the pyramid loses little, and the last two do more than guess. A² got all with two seeds of three. *Why?*
#
# ## Controls
#
# - **Pyramid**: in a cell of 2 × 2 with one source, the average is this source, only smaller. If it loses what *shares a cell*, cells of 4 × 4 must lose much more.
# - **External attention**: only its first softmax sees more than one pixel. With a softmax over the slots alone it can only guess. *And we train it twice as long, in larger steps*: one success refutes "cannot".
# - **CGNL**: pixels meet in the number s, and in the norm behind it. We replace s by 1.
# - **A²**: four slots could do. We give it 16.
#
# *Before running: which will fall or rise?*


# %%
class Constant(CompactNonLocal):
    """CGNL with 1 in place of each number s, whatever the image says."""

    def attention(self, x):
        return torch.ones_like(super().attention(x))


controls = {  # and the seeds: one where a single run settles it
    "pyramid, 5 cells": (lambda: AsymmetricPyramid(32, sizes=(1, 2), dropout=0.0), (0,), {}),
    "external, slots alone": (lambda: ExternalAttention(32, slots=16, normalise="slots"), (0,), {}),
    "external, longer": (blocks["external, 16 slots"], (0,), {"steps": 220, "rate": 1e-2}),
    "CGNL, s = 1": (lambda: Constant(32), (0,), {}),
    "A², 16 slots": (lambda: DoubleAttention(32, gather=16, slots=16), (0, 1, 2), {}),
}

# %% tags=["answer"]
for name, (make, seeds, more) in controls.items():
    trained[name] = [train_with(make, seed, **more) for seed in seeds]
    right[name] = [share for _, share in trained[name]]
    print(f"{name:21}  right ≈ {' '.join(f'{one:.2f}' for one in right[name])}")

# %%
assert max(right["external, slots alone"]) < 0.3 < min(right["external, 16 slots"])
assert min(right["external, longer"]) > 0.9, "a memory that is the same for all images is no hindrance"
assert max(right["pyramid, 5 cells"]) < 0.8 < min(right["pyramid, 21 cells"])
assert min(right["CGNL, s = 1"]) > 0.33 and min(right["A², 16 slots"]) > 0.9

# %% tags=["folded"]
figure = new_figure(7.0, 3.4)
plot_runs(figure.subplots(), right, guess=0.25)
describe(
    figure,
    "shares of right answers, three dots a block, one for four controls. Non-local 1; criss-cross R = 1 at 0.4, R = 2 and R = 3 near 0.94; pyramid of 21 cells 0.95; A² from 0.67 to 1; external and CGNL around a half; "
    "controls: pyramid of 5 cells 0.7, external with slots alone at the dotted line of a guess, external trained longer near 1, CGNL with s = 1 still near a half, A² of 16 slots near 1.",
)

# %% [markdown]
# **Read it.** The pyramid falls with larger cells. Without its first norm external attention guesses: *all* that it knows of the image comes through there. And **with more training it gets all**: the
# memory is the same for all images, but each slot is divided by a sum over *this* image. We called impossible what was slow. CGNL **hardly** falls: without s, its run ends among the three with s, though pixels meet
# only in the norm (deeper: later it falls more). With 16 slots all seeds of A² succeed.
#
# So 110 steps show what learns *early*; only R = 1 and the slots alone do not see the source.
#
# R = 3, with more paths but no new pixel, ends close to R = 2.
#
# ## When the relays are crowded
#
# **Three kinds of queries:** the source is on the own cross; one relay sees no other source; both relays see another one. For the pyramid two: the source shares its cell, or not. *Before running: what will each kind get?* `kinds` (folded) returns these masks of the queries.


# %% tags=["folded"]
def kinds(recall):
    """For each query, four masks: its source is on its cross; not, but one relay sees no other source; both do; and: its
    source shares its 2 × 2 pixels with another one."""
    b, y, x = recall.queries.nonzero().T
    keys, sources = recall.images[:, :4], recall.sources.int()
    colour = keys[b, :, y, x].argmax(dim=1)
    place = (keys * sources[:, None]).flatten(2).argmax(dim=2)[b, colour]
    down, across = place // 8, place % 8  # where its source is
    seen = sources.sum(dim=1, keepdim=True) + sources.sum(dim=2, keepdim=True) - sources  # sources on each cross
    near = (y == down) | (x == across)
    free = (seen[b, y, across] == 1) | (seen[b, down, x] == 1)
    shared = 4 * F.avg_pool2d(sources[:, None].float(), 2)[b, 0, down // 2, across // 2] > 1
    return near, ~near & free, ~near & ~free, shared


# %%
def hits(name):
    """Which queries each of three trained networks answers rightly: 3 q."""
    answers = [predict(model, test.images).argmax(dim=1) for model, _ in trained[name]]
    return torch.stack([(one == test.targets)[test.queries] for one in answers]).float()


# %%
near, free, crowded, shared = kinds(test)
asked = {"source on the own cross": near, "one relay is free": free, "both relays are crowded": crowded}
asked = {("criss-cross, R = 2", kind): mask for kind, mask in asked.items()}
asked["criss-cross, R = 3", "both relays are crowded"] = crowded
asked |= {("pyramid, 21 cells", kind): mask for kind, mask in (("cell shared", shared), ("cell not shared", ~shared))}

# %% tags=["answer"]
answered = {name: hits(name) for name in {name for name, _ in asked}}
found = {(name, kind): answered[name][:, mask].mean().item() for (name, kind), mask in asked.items()}
for (name, kind), share in found.items():
    print(f"{name}: {kind:24} {asked[name, kind].float().mean():4.0%} of the queries   right ≈ {share:.2f}")

# %%
on_cross, one_free, both, third, in_shared, alone = found.values()
assert on_cross > one_free > 0.85 and both < one_free - 0.1 and in_shared < alone - 0.1
assert both < third < one_free

# %% [markdown]
# As predicted: criss-cross errs where both relays are crowded, the pyramid in shared cells. A third loop helps, but not enough.
#
# ## The bill again
#
# Multiply-adds and *kept* bytes (what forward stores for backward, beside x) are counted, time is measured (`milliseconds`: the shortest of seven runs, in time of the processor). The **exponent** p in
# $\text{cost} \propto n^p$ compares 64 × 64 with 128 × 128 pixels; for time, 32 × 32 with 64 × 64. *Before running: what is p for the pairs of criss-cross?*


# %%
def counted(make, side):
    """Pairs, multiply-adds and bytes kept, for one image of side × side pixels and 32 channels."""
    with torch.device("meta"):
        block, x = make(), torch.empty(1, 32, side, side, requires_grad=True)
        maps = block.attention(x)
        pairs = sum(one.numel() for one in maps) if isinstance(maps, tuple) else maps.numel()
        with sdpa_kernel(SDPBackend.MATH):  # with every map stored
            stored = kept_for_backward(block.train(), x)
        return pairs * getattr(block, "loops", 1), multiply_adds(block, x.detach()), stored


# %%
def exponent(small, large):
    """p, if four times the pixels cost 4^p times as much."""
    return math.log(large / small, 4)


# %%
images = [torch.zeros(1, 32, side, side) for side in (32, 64)]
costs, speed = {}, {}
for name, make in blocks.items():
    costs[name] = counted(make, 64), counted(make, 128)
    block = make().eval()
    speed[name] = [milliseconds(lambda: block(x)) for x in images]

# %% tags=["answer"]
print("64 × 64 pixels           pairs      n^p   M mul-adds n^p    MiB kept  n^p    ms       n^p    recall")
for name, (small, large) in costs.items():
    (pairs, work, stored), powers = small, [exponent(a, b) for a, b in zip(small, large)]
    timed = f"≈ {speed[name][1]:4.1f}  {exponent(*speed[name]):.1f}   {' '.join(f'{one:.2f}' for one in right[name])}"
    row = f"{pairs:>11,} {powers[0]:6.2f} {work / 1e6:9.1f} {powers[1]:6.2f} {stored / 2**20:8.1f} {powers[2]:6.2f}"
    print(f"{name:19} {row}   {timed}")

# %%
powers = {name: [exponent(a, b) for a, b in zip(*pair)] for name, pair in costs.items()}
assert abs(powers["non-local"][0] - 2) < 0.01 and abs(powers["criss-cross, R = 2"][0] - 1.5) < 0.01
assert all(abs(powers[name][0] - 1) < 0.01 for name in ("pyramid, 21 cells", "A², 8 slots", "external, 16 slots"))
assert all(speed["non-local"][1] > 2 * speed[name][1] for name in ("A², 8 slots", "CGNL, 8 numbers"))
assert speed["criss-cross, R = 2"][1] < speed["non-local"][1]

# %% [markdown]
# **Read it.** Pairs grow as n², n √n (h + w grows as √n) and n. The other counts include the 1 × 1 convolutions. *Time* is another matter: criss-cross with R = 2 does an
# eighth of the multiply-adds, and is three times as fast on one processor, six times on another. The non-local block runs in a *fused kernel* that never stores its map: "kept" is what it keeps without.
#
# ## Real features: how many slots would do?
#
# *How many slots does a map of a photograph need?* The best m belong to its m largest singular values. **We count how many hold
# 90 % of its sum of squares.** The map is that of lesson 09: trunk features (block 7, 80 channels), softmax of *sharpness* times cosine. A² takes c/4 = 20 slots. *Before
# running: will 20 do? We predicted: nearly.*

# %%
trunk = load_trunk()


def likeness_map(features, sharpness, itself=True):
    """Whom each place asks by likeness alone: c h w -> n n."""
    x = features.flatten(1).mT  # n c
    x = F.normalize(x - x.mean(dim=0), dim=1)
    scores = sharpness * x @ x.mT
    return (scores if itself else scores.fill_diagonal_(-math.inf)).softmax(dim=1)


def slots_needed(whole):
    """How many slots hold 90 % of the sum of squares of a map: n n -> a number."""
    squares = torch.linalg.svdvals(whole).square()
    return 1 + (squares.cumsum(dim=0) < 0.9 * squares.sum()).sum().item()


# %%
small, large = ([trunk(load_photograph(p, height=side)[None])[0] for p in PHOTOGRAPHS] for side in (136, 272))
noise = [torch.randn(one.shape, generator=torch.Generator().manual_seed(seed)) for seed, one in enumerate(large)]
kinds_of_map = {
    "small": small,
    "large": large,
    "noise": noise,
    "large, not itself": large,
    "noise, not itself": noise,
}
needed = {}
for sharpness in (2, 4, 8):
    for kind, all_features in kinds_of_map.items():
        maps = [likeness_map(one, sharpness, itself="not itself" not in kind) for one in all_features]
        needed[kind, sharpness] = torch.tensor([[slots_needed(one), len(one)] for one in maps]).float()

# %% tags=["answer"]
print("sharpness", "".join(f"{kind:>20}" for kind in kinds_of_map))
for sharpness in (2, 4, 8):
    means = [needed[kind, sharpness].mean(dim=0).tolist() for kind in kinds_of_map]
    print(f"{sharpness:9}", "".join(f"{f'≈ {few:3.0f} of {of:.0f}':>20}" for few, of in means))

# %%
slots = {key: found[:, 0].mean() for key, found in needed.items()}
assert slots["large", 2] < slots["small", 2] < 20 and all(slots["large", k] < slots["noise", k] for k in (2, 4, 8))
assert all(slots["noise, not itself", k] < slots["large, not itself", k] for k in (2, 4, 8))
assert (needed["large", 8] / needed["large", 8][:, 1:])[:, 0].min() > 0.4, "a sharp map needs half of all, or more"

# %% [markdown]
# **Read it.** At sharpness 2 few are enough, fewer for the larger map. At sharpness 8, with which lesson 09 found the other eye, it is *about two thirds of n, or more*: then n · m is n² again. There we were wrong.
# Does likeness save slots? Noise needs more than a photograph; but without each place's weight *on itself* it needs fewer. So it was the diagonal. What this does not show: maps *trained* through few slots may be soft where that costs little.
#
# **Move slots and sharpness.** The cat's left eye asks. Left its whole map; right the best m slots.


# %% tags=["folded"]
cat = load_photograph("cat", height=200)
seen = trunk(cat[None])[0]  # 80 13 19


@cache
def map_and_slots(sharpness):
    """The whole map, and its singular vectors and values."""
    whole = likeness_map(seen, sharpness)
    return whole, *torch.linalg.svd(whole)


def draw_slots(figure, slots=20, sharpness=8):
    """The map of one place: whole, and from the best few slots."""
    whole, u, s, v = map_and_slots(sharpness)
    few = (u[:, :slots] * s[:slots]) @ v[:slots]
    place, error = 5 * 19 + 7, ((few - whole).square().sum() / whole.square().sum()).item()
    others = whole[place].clone()
    others[place] = 0
    titles = f"sharpness {sharpness}: all 247", f"best {slots}: ≈ {error:.0%} of the map missing"
    for axes, map_, title in zip(figure.subplots(1, 2), (whole, few), titles):
        show_found(axes, cat, map_[place].clamp(min=0).view(13, 19), title=title, top=others.max().item())
        ring(axes, 5.5 * cat.shape[1] / 13 - 0.5, 7.5 * cat.shape[2] / 19 - 0.5)


# %% tags=["widget"]
steer(
    draw_slots,
    slots=slider("slots", [1, 2, 5, 10, 20, 50, 100, 200], value=20),
    sharpness=slider("sharpness", [2, 4, 8], value=8),
)

# %% [markdown]
# *What contradicts our story:* at sharpness 8, with 20 slots, nine tenths of the squares are missing, and yet this eye finds the other one.

# %% tags=["static", "folded"]
figure = new_figure(7.0, 5.0)
for panel, sharpness in zip(figure.subfigures(2, 1), (2, 8)):
    draw_slots(panel, 20, sharpness)
describe(
    figure,
    "two rows of two darkened pictures of a cat's face with a ring at its left eye. Sharpness 2: left nearly all places are faintly bright, the right picture, from 20 slots, is almost the same. "
    "Sharpness 8: left the other eye is bright; right, from 20 slots, it is so, too, with some cells around it.",
)

# %% [markdown]
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 11 criss-cross | Q | K | V | n (h+w−1) | softmax over the cross | R n (h+w) (d+c) |
# | 11 pyramid | K(x) | cells of K(x) | cells of x | n m | softmax over cells | n m c |
# | 11 A² | ρ(x) | – | φ(x), gathered by θ(x) | m n, twice | over pixels; over slots | 2 n m c |
# | 11 external | W₁x | $M_k$ | $M_v$ | n m | over pixels, then slots | 2 n m c |
#
# ## Three things to keep
#
# 1. Five blocks, one trick: **through something narrow**. Few lines, twice: n √n; m places between: n · m.
# 2. **To reach is not to ask.** A relay chooses before it is asked; where both relays were crowded, a quarter of the answers was wrong.
# 3. **n · m is cheap only while m stays small**: a handful for a soft map, two thirds of n for a sharp one. What a map seems to do may be the work of a *norm*: take the map away, and see. And train longer before you say *cannot*.
#
# **Now the [exercise](../exercises/11_cheaper_non_local.ipynb).** Next lesson: 12, reasoning over regions.

# %% [markdown]
# ## Deeper · Why does external attention normalise twice? (9 minutes)

# %% tags=["folded"]
diagram(ExternalAttention)

# %% [markdown]
# The scores $z_{ij}$ of pixel i and slot j first pass a softmax over the *pixels*; then each pixel's weights are divided by their sum over the *slots*. A softmax over the slots alone would
# also sum to 1. *Why not that?* **First: what is it?** Write the first step as $e^{z_{ij}} / P_j$ with the slot's *popularity* $P_j = \sum_i e^{z_{ij}}$; the second divides by the sum of this over j. That is, by definition, a softmax over the slots of
#
# $$z_{ij} - \log \textstyle\sum_i e^{z_{ij}}$$
#
# So it *is* a softmax over the slots, after the logarithm of each slot's popularity was taken away. *Before running: slot 0 gets 4 more at every pixel. What becomes of its share, with one norm and with two?*

# %%
scores = torch.randn(60, 16, generator=torch.Generator().manual_seed(0))  # n m


def twice_normalised(scores):
    """Over the pixels, then a share over the slots: n m -> n m."""
    weights = scores.softmax(dim=0)
    return weights / weights.sum(dim=1, keepdim=True)


torch.testing.assert_close(twice_normalised(scores), (scores - scores.logsumexp(dim=0)).softmax(dim=1))

# %% tags=["answer"]
louder = scores.clone()
louder[:, 0] += 4
for name, norm in {"slots alone": lambda s: s.softmax(dim=1), "twice": twice_normalised}.items():
    print(f"{name:12} share of slot 0 ≈ {norm(scores)[:, 0].mean():.3f}, then ≈ {norm(louder)[:, 0].mean():.3f}")
torch.testing.assert_close(twice_normalised(louder), twice_normalised(scores))

# %% [markdown]
# No slot can win by a score that is larger at *every* pixel. **Second: who meets whom?** We ask the gradient whether pixel 1 changes the output at pixel 0.

# %%
meets = {}
for normalise in ("double", "slots", "positions"):
    torch.manual_seed(0)
    external, x = (
        ExternalAttention(8, slots=5, normalise=normalise).eval(),
        torch.randn(1, 8, 4, 6, requires_grad=True),
    )
    change = torch.autograd.grad(external(x)[0, :, 0, 0].sum(), x)[0][0].abs().sum(dim=0)
    meets[normalise] = (change[0, 1] / change[0, 0]).item()
    print(f"{normalise:10} pixel 1, as a share of pixel 0: ≈ {meets[normalise]:.0e}")
assert meets["slots"] == 0 and min(meets["double"], meets["positions"]) > 0

# %% [markdown]
# With a softmax over the slots alone, *no pixel sees another*: what remains is a small network at each pixel. Outside training (where the batch norm averages, too) the sum over the pixels is the only place where they meet. **Third: does it matter?** For recall it did: 0.25 with the slots alone (walk). What of the other half, a softmax over the *pixels* alone? Beside
# the answers we count *slots in use*: e to the entropy of the average share, 16 if all are used alike. *Before running: which of the two steps brings the accuracy, and which the even use?*


# %%
@torch.no_grad()
def slots_in_use(model):
    """e to the entropy of the average share of the slots: between 1 and m."""
    weights = model[1].attention(model[0](test.images))[:, 0]  # b n m
    usage = (weights / weights.sum(dim=2, keepdim=True)).mean(dim=(0, 1))
    return torch.special.entr(usage).sum().exp().item()


# %% tags=["answer"]
runs = {"double": trained["external, 16 slots"], "slots": trained["external, slots alone"]}
runs["positions"] = [train_with(lambda: ExternalAttention(32, slots=16, normalise="positions"), seed=0)]
for name, some in runs.items():
    shares, used = zip(*((share, slots_in_use(model)) for model, share in some))
    print(f"{name:10} right ≈ {' '.join(f'{v:.2f}' for v in shares)}   in use ≈ {' '.join(f'{v:.1f}' for v in used)}")

# %%
usage = [slots_in_use(model) for some in runs.values() for model, _ in some]
assert max(share for _, share in runs["slots"]) < 0.3 < min(share for _, share in runs["double"] + runs["positions"])
assert min(usage) > 14, "and no slot wins everywhere"

# %% [markdown]
# **Read it.** The step over the *pixels* brings the accuracy: with it, alone or as the first of two, external attention learns; without it, it guesses. The even use, which the algebra promises, made no difference here: each time more than 14 of 16 slots are in use. So the
# answer has three parts. Two norms are one softmax over slots whose popularity was taken away. The first norm is the only place where pixels meet. And that, not the balance, is what our task noticed.
#
# **How can it tell *whose* number it was?** Each $P_j$ is a number about this image, and all pixels are divided by it: m numbers, a narrow place after all. If so, fewer slots should do worse, and they did (outside this
# notebook, 480 steps, with fewer parameters, too): 4 slots 0.67, 0.63, 8 slots 0.93, 0.90, 16 slots 1.00 with three seeds; the slots alone still 0.26.
#
# ## Deeper · One number, and a norm that forgets it (4 minutes)

# %% tags=["folded"]
diagram(CompactNonLocal)

# %% [markdown]
# CGNL compares every channel of every pixel with every other: a map of nc × nc, of rank 1. So all that is left of it is one number s a group: $y = s\,\theta$. Then follow, group by group, a
# convolution without bias and a *group norm*. *Before running: what does the norm leave of s?*

# %%
torch.manual_seed(0)
compact, x = CompactNonLocal(16, groups=4), torch.randn(1, 16, 5, 3)
nn.init.ones_(compact.norm.weight)
theta, phi, g = (layer(x)[0, :2].flatten() for layer in (compact.query, compact.key, compact.value))  # group 0: c'n
torch.testing.assert_close((theta[:, None] * phi) @ g, compact.attention(x)[0, 0] * theta)


# %% tags=["answer"]
constant = Constant(16, groups=4)
constant.load_state_dict(compact.state_dict())
sign = compact.attention(x).sign().repeat_interleave(4, dim=1)[:, :, None, None]  # 4 channels of each group
change, expected = compact(x) - x, sign * (constant(x) - x)
print("s ≈", " ".join(f"{one:.1f}" for one in compact.attention(x)[0]))
print(f"without s, but with its sign: the change differs by ≈ {(change - expected).norm() / change.norm():.4f}")
assert (change - expected).norm() < 0.02 * change.norm()

# %% [markdown]
# The norm takes s away, all but its sign (the rest is the ε of the norm). So it is no wonder that the walk's network lost little with s = 1. With s = 1 the norm, whose mean and deviation are those of the whole image, is the only place where pixels meet. (Later s counts: outside this notebook, after 480 steps, CGNL got 0.95, 0.85, 0.79, with s = 1 0.77, 0.77, 0.78.) Do the authors' gains come from this norm and the extra branch? We did not train their networks; the control is one line.
#
# ## Deeper · The pyramid, and its fusion of two levels (3 minutes)

# %% tags=["folded"]
diagram(AsymmetricPyramid)

# %% [markdown]
# In ANN, one layer makes queries and keys; the keys are averaged over cells. (S in the diagram is our m.) A value may be averaged before or after its 1 × 1 convolution, which is linear; a key may not, for
# a norm and a ReLU follow. The start is *not* the identity, although $W_o$ starts at zero: x itself passes $W_f$, a norm and a ReLU. And an average forgets how many pixels it stands for: a cell of one pixel and a cell of forty weigh the same
# (the exercise mends that).

# %%
pyramid = AsymmetricPyramid(8).eval()
print(
    "keys for 16 × 12 and for 97 × 97 pixels:",
    [pyramid.attention(torch.zeros(1, 8, *s)).shape[2] for s in ((16, 12), (97, 97))],
)

# %% [markdown]
# The second block of the paper, AFNB, lets a *deep* map ask the cells of an *earlier, finer* one. The number of keys does not depend on the size of either.

# %%
fusion = AsymmetricFusion(8, 4)
deep, fine = torch.randn(2, 8, 6, 7), torch.randn(2, 4, 24, 28)
print("map:", list(fusion.attention(deep, fine).shape), " result:", list(fusion(deep, fine).shape))

# %% [markdown]
# ## Deeper · What to believe (3 minutes)
#
# What the papers say about cost, counted again by [benchmarks/claims.py](../benchmarks/claims.md), with the papers' own sizes:
#
# | claim | counted | |
# |---|---|---|
# | CCNet: 85 % fewer multiply-adds than non-local (512 channels, 97 × 97, R = 2) | 8.3 G against 50.3 G: 84 % fewer | held |
# | CCNet: 11 times less memory | kept for backward: 2.6 times less; the maps alone 24 times | not held |
# | ANN: 28 times less memory (256 × 128) | kept for backward: 13.4 times less; the maps alone 298 times | not held |
# | ANN: about 6 times faster on a GPU | on a processor, 64 channels, 128 × 64: ≈ 38 times; ≈ 14 against the fused kernel | not measured on a GPU |
# | A²: ResNet-50 with five blocks has over 40 % fewer parameters than ResNet-152 | 51 % with c/4 slots, 45 % with c/2 | held |
# | A², CGNL, external attention: linear in n | four times the pixels cost 3.99 to 4.00 times as much | held |
#
# Since these papers, the *fused* kernel computes the non-local block without ever storing its map. With it the block keeps 111 MiB where CCNet keeps 175: the argument of memory is gone; that of time, on our processor, is not.
#
# *Accuracy.* The authors of CCNet report on Cityscapes (validation, ResNet-101) 75.1 without, 78.0 with R = 1, 79.8 with R = 2 and 80.2 with R = 3, and in their repository three runs of R = 2: 79.74, 79.22, 78.40. The spread of runs is larger than the
# step from 2 to 3.
#
# *Our own numbers.* Outside this notebook, at rate 0.003, and 120 steps where none are named: on 12 × 12 pixels with γ = 0 at the start, R = 2 got 0.44, 0.26, 0.47 after 120 steps, with γ = 1 0.93, 0.97, 0.95. After 90 steps on 8 × 8, R = 2 had 0.67, 0.69, 0.76 and R = 3 0.85, 0.89, 0.91: the third loop
# learns earlier. A² with 2 slots got 0.71, 0.51, 0.67, with 4 slots 0.87, 0.61, 1.00; with 8 slots and a width of 24, so that it has as many numbers as with 16, 0.69, 0.81, 0.81: more numbers do not help. With 16 slots and a width of 8, as many numbers as in the walk, 1.00, 0.87, 0.80; with the walk's 8 slots and 240 steps 1.00 three times: here spare slots only saved steps. After 480 steps (one seed) R = 2 still has 0.77 where both relays are crowded, R = 3 0.90, the pyramid 0.85 in shared cells: that is not a lack of steps alone. On digits (8 × 8, 60 steps, five seeds) the three norms of external attention lie within the spread of the seeds: double 0.59 0.72 0.69 0.65 0.63, slots 0.58 0.70 0.65 0.70 0.67, pixels 0.57 0.64 0.66 0.65 0.66.
#
# *References.* Huang, Wang, Huang, Huang, Wei, Liu, CCNet: Criss-Cross Attention for Semantic Segmentation, ICCV 2019, arXiv 1811.11721.
# Zhu, Xu, Bai, Huang, Bai, Asymmetric Non-local Neural Networks for Semantic Segmentation, ICCV 2019, arXiv 1908.07678.
# Chen, Kalantidis, Li, Yan, Feng, A²-Nets: Double Attention Networks, NeurIPS 2018, arXiv 1810.11579.
# Yue, Sun, Yuan, Zhou, Ding, Xu, Compact Generalized Non-local Network, NeurIPS 2018, arXiv 1810.13125.
# Guo, Liu, Mu, Hu, Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks, TPAMI 2022, arXiv 2105.02358.
# Wang, Girshick, Gupta, He, Non-local Neural Networks, CVPR 2018, arXiv 1711.07971.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
