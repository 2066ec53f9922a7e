# %% [markdown]
# # 12 · Graph reasoning
#
# **Reason over regions instead of pixels?**
#
# After this lesson you will be able to
#
# - write GloRe as two products with a talk in between, and say why it must divide by the number of pixels;
# - measure on a photograph whether its nodes are regions;
# - find out, when a look-up fails, whether it read at the wrong places or did not know what to believe.
#
# *Minutes:* 46, deeper 19 · *Needs:* 08, 09 · *Paper:* Chen et al., GloRe, 2019, arXiv 1811.12814; Li et al., SpyGR, 2020, arXiv 2003.10211; Zhang et al., DGMN, 2020, arXiv 1908.06955 · *Exercise:* [12 graph reasoning](../exercises/12_graph_reasoning.ipynb) · *Module:* [global_reasoning.py](../course_lib/spatial/global_reasoning.py), [pyramid_graph.py](../course_lib/spatial/pyramid_graph.py), [dynamic_graph.py](../course_lib/spatial/dynamic_graph.py)
#
# Out of scope: other ways to make n × n cheaper (11), positions (13).

# %%
from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.data.photographs import load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import ASKING, COLOURS, SIGNED, describe, frameless, new_figure, plot_runs
from course_lib.spatial.deformable import DeformableConv2d
from course_lib.spatial.dynamic_graph import DynamicGraph
from course_lib.spatial.global_reasoning import GlobalReasoning
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.pyramid_graph import GraphReasoning, PyramidGraph
from course_lib.training import accuracy, fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Two nodes by hand
#
# In a non-local block (lesson 09) n pixels ask n pixels: n² weights. GloRe (graph-based global reasoning) puts a few **nodes** in between: the pixels *write* into them, the nodes *talk*, the pixels *read*. Nodes, and who listens to whom (the *edges*), are a **graph**.
#
# **Six pixels, two nodes.** The first three pixels belong to node 0, the others to node 1. A node holds the sum of its pixels, divided by *all* six. Node 0 listens to node 1.
# *Before running: what does the first pixel read, and what the last?*

# %%
row = torch.tensor([1.0, 2.0, 3.0, 6.0, 6.0, 12.0])
belongs = torch.tensor([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])  # m n: nodes, pixels
talk = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # row 0: whom node 0 listens to

# %% tags=["answer"]
nodes = belongs @ row / 6
heard = nodes + talk @ nodes
print("nodes", nodes.tolist(), " after the talk", heard.tolist(), " read", (heard @ belongs).tolist())
assert heard.tolist() == [5, 4]

# %% [markdown]
# The first pixel has heard of pixels outside its node, with 12 weights to write and read and 4 to talk, not 36.
#
# ## What three papers have in common
#
# A graph of all pixels has n² edges. None of these papers builds it: **each puts a few things between pixels and pixels** (SpyGR: deeper).


# %% tags=["folded"]
def box(axes, x, y, text, colour="black", fill="white"):
    """An operation, or what is held."""
    style = {"boxstyle": "round,pad=0.4", "fc": fill, "ec": colour}
    axes.text(x, y, text, ha="center", va="center", color=colour, bbox=style, zorder=3)


def arrow(axes, start, end, words, colour="black"):
    """From one box to the next, with words above."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5})
    axes.text((start[0] + end[0]) / 2, start[1] + 0.12, words, ha="center", color=colour)


IN_COMMON = {  # few things; how pixels write; what happens there; how pixels read
    "GloRe": ("m nodes,\nthe same for all", "write: B", "talk: I + $A_g$", "read: Bᵀ"),
    "SpyGR": ("M features,\nthe same for all", "write: Pᵀ", "weigh: Λ", "read: P"),
    "DGMN": ("k samples,\neach pixel's own", "go: Δ", "believe: a", "sum"),
}

# %% tags=["folded"]
figure = new_figure(7.0, 3.6)
axes, blue = figure.subplots(), COLOURS[0]
for k, (name, (few, write, inside, read)) in enumerate(IN_COMMON.items()):
    y = 2.4 - 1.2 * k
    axes.text(-0.3, y, name, weight="bold", va="center")
    box(axes, 1.5, y, "n pixels"), box(axes, 4.4, y, few, blue), box(axes, 9.9, y, "n pixels")
    box(axes, 7.3, y, inside, *(("black", "#f5deb3") if k == 0 else (blue, "white")))
    arrow(axes, (2.05, y), (3.4, y), write, blue), arrow(axes, (5.45, y), (6.5, y), "")
    arrow(axes, (8.1, y), (9.35, y), read, blue)
axes.text(5.2, -0.75, "blue: made anew from each image; tinted: learned, the same for all images", ha="center")
axes.set(xlim=(-0.4, 10.6), ylim=(-1.0, 3.1)), axes.set_axis_off()
describe(
    figure,
    "three rows, each from n pixels over few things and what happens there back to n pixels. GloRe: write with B into m nodes, the same for all pixels; talk with I + A_g, which is tinted; read with B transposed. "
    "SpyGR: write with P transposed into M features, the same for all; weigh with Λ; read with P. DGMN: each pixel goes with its offsets Δ to k samples of its own; believes them with a; sums.",
)

# %% [markdown]
# ## The block
#
# $$V = \tfrac1n B\, \varphi(X)^\top \qquad Z = (I + A_g)\, V\, W_g \qquad Y = X + \mathrm{BN}\bigl((B^\top Z\, W_o)^\top\bigr)$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $X$, $Y$ | input and output; a *pixel*, or place, is one of n = h · w | b c h w |
# | $B = \theta(X)$ | how strongly each pixel belongs to each node, `attention(x)`; **no softmax, any sign** | b m n |
# | $\varphi(X)$ | what each pixel writes | b d n |
# | $A_g$ | who listens to whom: learned, *the same for all images* | m m |
# | $W_g$, $W_o$ | a layer on what nodes hold; back to c channels | d d, d c |

# %% tags=["folded"]
diagram(GlobalReasoning)

# %% [markdown]
# **Write into the nodes; let them talk; read back.** *Before running: x is 2 × 8 × 5 × 7 and there are 3 nodes; which shape has the map?*


# %%
def by_hand(block, x):
    """Write into the nodes; let them talk; read back. b c h w -> b c h w"""
    b, states = block.attention(x), block.state(x.flatten(2))  # b m n, b d n
    nodes = b @ states.mT / b.shape[2]  # b m d
    nodes = nodes + block.adjacency.weight @ nodes + block.adjacency.bias[:, None]
    y = block.extend(block.update(nodes.mT)) @ b  # b c m, b m n -> b c n
    return x + block.norm(y.view_as(x))


# %%
def by_loops(block, image):
    """The same, node by node and pixel by pixel, up to the norm: c h w -> c h w."""
    pixels, few = image.flatten(1), range(block.adjacency.in_features)  # c n
    b, states, a = block.assignment(pixels), block.state(pixels), block.adjacency  # m n, d n
    n = pixels.shape[1]
    nodes = [sum(b[k, j] * states[:, j] for j in range(n)) / n for k in few]
    heard = [nodes[k] + sum(a.weight[k, o] * nodes[o] for o in few) + a.bias[k] for k in few]
    z = [block.extend.weight[..., 0] @ block.update.weight[..., 0] @ one for one in heard]
    y = [sum(b[k, i] * z[k] for k in few) for i in range(n)]
    return torch.stack(y, dim=1).view_as(image)


# %% tags=["answer"]
torch.manual_seed(0)
block, x = GlobalReasoning(8, nodes=3, normalise=True).eval(), torch.randn(2, 8, 5, 7)
nn.init.ones_(block.norm.weight)  # it starts at 0: a new block changes nothing
print("the map:", list(block.attention(x).shape))

# %%
torch.testing.assert_close(by_hand(block, x), block(x))
looped = torch.stack([by_loops(block, image) for image in x])
torch.testing.assert_close(x + block.norm(looped), block(x))

# %% [markdown]
# ## Why divide by n?
#
# The paper's V is a *sum*; the released code divides by n only if told to (`normalise=True`). **One photograph in two sizes**, as features of the trunk (lesson 09, block 2). The batch norm has learned its statistics at the small size.
# *Before running: twice the height and width. How much more does the block add, with a sum and with an average?*

# %%
trunk = load_trunk()
small, large = (trunk(load_photograph("cat", height=height)[None], block=2) for height in (96, 192))


def growth(normalise, own_statistics):
    """How much more the block adds to the large image than to the small one, by the deviation."""
    torch.manual_seed(0)
    block = GlobalReasoning(24, nodes=8, normalise=normalise)
    block.norm = nn.BatchNorm2d(24, momentum=None)  # its statistics are those of all that it has seen
    before = (block(small) - small).std()  # in training
    return ((block.train(own_statistics)(large) - large).std() / before).item()


# %% tags=["answer"]
print(f"places: {small[0, 0].numel()} and {large[0, 0].numel()}")
grown = {(normalise, own): growth(normalise, own) for normalise in (False, True) for own in (False, True)}
for (normalise, own), times in grown.items():
    print(f"{'average' if normalise else 'sum':8} norm with {'own' if own else 'learned'} statistics: × {times:.1f}")

# %%
assert 3.5 < grown[False, False] < 4.5 and 0.8 < grown[True, False] < 1.2
assert all(0.9 < grown[normalise, True] < 1.1 for normalise in (False, True)), "own statistics hide the size"

# %% [markdown]
# **Read it.** Four times the places, four times the sum: in use, the block adds four times too much. With the statistics of its own batch, as in training, the norm hides this. We divide from here on.
#
# ## What it cannot do
#
# **Pixels that belong alike hear alike**: between the n pixels stands a matrix of rank m at most. And nothing in it knows *where* a pixel is.

# %%
b = block.attention(x)[0].detach()  # m n
between = b.mT @ (b + block.adjacency.weight @ b) / b.shape[1]  # n n: what each pixel hears of each
order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
shuffled = x.flatten(2)[:, :, order].view_as(x)
print("pixels to pixels:", list(between.shape), " rank", torch.linalg.matrix_rank(between, rtol=1e-4).item())
torch.testing.assert_close(block(shuffled), block(x).flatten(2)[:, :, order].view_as(x))

# %% [markdown]
# ## Are nodes regions?
#
# Three numbers, for one photograph and the trunk's block 7 (80 channels, 13 × 19 places):
#
# 1. *Does each place belong to one node?* The **share** of the largest of a place's four assignments (without sign): 1 for regions, about 0.47 for four random numbers.
# 2. *Is a node in one piece?* **Smoothness**: the correlation of its map with itself, one place further.
# 3. *Does it mean something?* **Find**: of all pairs of a place on the flower and one off it, how many does the best of the four maps put in the same order? Luck: ½ for one map, 0.56 for the best of four.

# %%
photograph = load_photograph("flower", height=200)
features = trunk(photograph[None], block=7)  # 1 c h w
features = (features - features.mean(dim=(2, 3), keepdim=True)) / features.std()
orange = (photograph[0] - photograph[2] > 0.2).float()  # the flower, cut out by its colour
flower = F.adaptive_avg_pool2d(orange[None], (13, 19))[0] > 0.5  # h w


# %%
def share(maps):
    """The share of the largest assignment of each place: m h w -> a number."""
    return (maps.abs().amax(dim=0) / maps.abs().sum(dim=0)).mean().item()


def smoothness(maps):
    """The correlation of a map with itself, one place further: m h w -> a number."""
    z = (maps - maps.mean(dim=(1, 2), keepdim=True)) / maps.std(dim=(1, 2), keepdim=True)
    return ((z[:, :, 1:] * z[:, :, :-1]).mean() + (z[:, 1:] * z[:, :-1]).mean()).item() / 2


def find(maps):
    """How well the best map orders places on and off the flower: m h w -> a number."""
    shares = [(one[flower][:, None] > one[~flower]).float().mean().item() for one in maps]
    return max(max(one, 1 - one) for one in shares)


# %% [markdown]
# We train the block to **copy the features through four nodes**: what it adds shall be x again (no norm). Beside it:
#
# - **fresh**: a random θ. A control for *training*. **Fresh, shuffled places** and **fresh, random trunk**: where does smoothness come from?
# - **softmax**: trained alike, but each place's four assignments are a softmax. **Softmax, fresh**: its control;
# - **colours**: red, green and blue in place of nodes. The flower was cut out by its colour: no *find* can be better.


# %%
class Softmax(GlobalReasoning):
    """GloRe in which each place shares itself out among the nodes."""

    def attention(self, x):
        return super().attention(x).softmax(dim=1)  # b m n, over the m nodes


def block_of(kind, seed, steps=300):
    """A block that has learned to copy these features through four nodes."""
    torch.manual_seed(seed)
    block = kind(80, nodes=4, states=80, normalise=True)
    block.norm = nn.Identity()
    fit(block, features, 2 * features, steps=steps, learning_rate=0.01, batch_size=1, loss=F.mse_loss)  # x + y = 2x
    return block


def maps_of(block, x):
    """Its assignments: m h w."""
    return block.attention(x)[0].detach().unflatten(1, x.shape[2:])


# %% [markdown]
# **We predicted**: training makes nodes that find the flower, and the softmax makes regions. *Before running: do you agree?*

# %%
torch.manual_seed(0)
untrained = load_trunk()
for p in untrained.parameters():
    nn.init.kaiming_normal_(p) if p.dim() > 1 else nn.init.zeros_(p)
noise = untrained(photograph[None], block=7)
noise = (noise - noise.mean(dim=(2, 3), keepdim=True)) / noise.std()
elsewhere = features.flatten(2)[:, :, torch.randperm(13 * 19)].view_as(features)

# %%
MEASURES = {"share": share, "smoothness": smoothness, "find": find}


def measure(many):
    """Each of the three numbers, for each of these sets of maps."""
    return {what: torch.tensor([one(maps) for maps in many]) for what, one in MEASURES.items()}


def report(name, numbers):
    """One line: what was measured, a number a seed."""
    words = (f"{what} ≈ {' '.join(f'{one:.2f}' for one in column)}" for what, column in numbers.items())
    print(f"{name:23}", "   ".join(words))


# %%
fresh = [block_of(GlobalReasoning, seed, steps=0) for seed in (0, 1, 2)]
copied = [block_of(GlobalReasoning, seed) for seed in (0, 1, 2)]
fresh_soft = [block_of(Softmax, seed, steps=0) for seed in (0, 1, 2)]
soft = [block_of(Softmax, seed) for seed in (0, 1, 2)]

# %% tags=["answer"]
looks = {"fresh": [maps_of(one, features) for one in fresh]}
looks["fresh, shuffled places"] = [maps_of(one, elsewhere) for one in fresh]
looks["fresh, random trunk"] = [maps_of(one, noise) for one in fresh]
for name, many in {"GloRe": copied, "softmax, fresh": fresh_soft, "softmax": soft}.items():
    looks[name] = [maps_of(one, features) for one in many]
looks["colours"] = [F.adaptive_avg_pool2d(photograph, (13, 19))]
of = {name: measure(many) for name, many in looks.items()}
for name, numbers in of.items():
    report(name, numbers)

# %%
assert of["GloRe"]["share"].max() < 0.55 and of["softmax"]["share"].max() < 0.55, "no place belongs to one node"
assert of["fresh"]["smoothness"].min() > 0.4 > of["fresh, random trunk"]["smoothness"].max(), "the trunk is smooth"
assert of["fresh, shuffled places"]["smoothness"].abs().max() < 0.1
assert of["fresh, shuffled places"]["find"].max() < 0.65 and of["softmax, fresh"]["find"].min() < 0.9
assert of["GloRe"]["find"].min() < of["fresh"]["find"].max() and of["softmax"]["find"].min() > 0.95


# %% tags=["folded"]
def show_map(axes, one, title):
    """A node's map, of either sign, and the outline of the flower."""
    axes.imshow(one, cmap=SIGNED, vmin=-one.abs().max(), vmax=one.abs().max(), interpolation="nearest")
    axes.contour(flower, levels=[0.5], colors="black", linewidths=0.8)
    frameless(axes, title)


figure = new_figure(7.0, 4.0)
for row, (name, block) in zip(
    figure.subplots(3, 4), {"fresh": fresh[1], "GloRe": copied[1], "softmax": soft[1]}.items()
):
    for k, (axes, one) in enumerate(zip(row, maps_of(block, features))):
        show_map(axes, one, f"{name}, node {k}")
describe(
    figure,
    "three rows of four maps of 13 × 19 cells, each with the outline of a round flower. Fresh: scattered orange and violet cells, the flower partly visible. GloRe: smoother; the flower stands out in nodes 0 and 3, "
    "but so do other places, and every map has both colours. Softmax: violet only; node 1 fills the flower, node 3 its rim, nodes 0 and 2 the rest.",
)

# %% [markdown]
# **Read it.** (Orange is below zero, violet above.) *Half of our prediction was wrong.*
#
# - *Share*: places do not belong to one node, not even with the softmax.
# - *Smoothness*: 0.6 after training, but 0.5 before; 0.3 on a random trunk, 0 in shuffled places. Where neighbours have like features, any map looks a little like a region.
# - *Find*: GloRe's best node finds the flower a little better than a fresh one (twelve seeds, tried once: 0.93 against 0.87, better in ten). The softmax finds it each time, once it is trained.
#
# It is one photograph, trained by us for one purpose; the paper's networks may differ.
#
# **GloRe's answer does not even know which nodes there are**: turn them into each other by any rotation R, $B' = R B$, and the talk too, $I + A'_g = R (I + A_g) R^\top$. The maps change, the answer does not, since $R^\top R = I$.


# %%
def mixed(block, angle):
    """The same block with its first two nodes turned into each other by this angle."""
    radians = torch.tensor(angle * torch.pi / 180)
    turn, other = torch.eye(4), deepcopy(block)
    turn[:2, :2] = torch.stack([radians.cos(), -radians.sin(), radians.sin(), radians.cos()]).view(2, 2)
    theta, talk = other.assignment, other.adjacency
    theta.weight.data, theta.bias.data = torch.einsum("km,mcs->kcs", turn, theta.weight), turn @ theta.bias
    talk.weight.data = turn @ (torch.eye(4) + talk.weight) @ turn.T - torch.eye(4)
    talk.bias.data = turn @ talk.bias
    return other


# %%
with torch.no_grad():
    turned = mixed(copied[1], 60)
    torch.testing.assert_close(turned(features), copied[1](features), rtol=1e-4, atol=1e-4)
    print(
        f"maps differ by up to ≈ {(maps_of(turned, features) - maps_of(copied[1], features)).abs().max():.1f}, answers by rounding only"
    )

# %% [markdown]
# **Turn the nodes.** *Before moving: is there an angle at which node 0 shows the flower best? And would the block be better there?*


# %% tags=["folded"]
def draw_mixed(figure, angle=0):
    """The first two nodes of one trained block, turned into each other."""
    for k, (axes, one) in enumerate(zip(figure.subplots(1, 2), maps_of(mixed(copied[1], angle), features))):
        show_map(axes, one, f"node {k}, turned by {angle}°: find {find(one[None]):.2f}")


# %% tags=["widget"]
steer(draw_mixed, height=2.5, angle=slider("angle", [0, 15, 30, 45, 60, 75, 90], value=0))

# %% [markdown]
# The same without a widget:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 5.0)
for panel, angle in zip(figure.subfigures(2, 1), (0, 60)):
    draw_mixed(panel, angle)
describe(
    figure,
    "two rows of two maps with the outline of a round flower. Turned by 0°: node 0 is orange inside the outline and violet elsewhere; node 1 is orange in the background and pale or violet at the flower. Turned by 60°: both have changed; the flower is orange in both, and so are parts of the background.",
)

# %%
finds = [find(maps_of(mixed(copied[1], angle), features)[:1]) for angle in (15, 60, 90)]
assert finds[0] > 0.93 and finds[2] < 0.8 and finds[0] > finds[1] > finds[2]

# %% [markdown]
# Node 0 finds the flower well up to 45°, badly at 90°; the block's answer stays. (With a softmax, or a ReLU: deeper.)
#
# ## Or a few samples of one's own?
#
# DGMN (dynamic graph message passing) gives each pixel k = 9 **samples** at places that it chooses, as in lesson 08. There (version 1) the samples' weights were the same for all pixels. DGMN also predicts how far to believe each sample; DGMN2 *compares* it with the pixel:
#
# $$y_i = x_i + \gamma \sum_k u_{ik}\, a_{ik}\, \tilde x_{ik}$$
# $$\tilde x_{ik} = x(i + p_k + \Delta_{ik}) \qquad a_{ik} = \mathrm{softmax}_k(s_{ik})$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $p_k + \Delta_{ik}$ | **where to read**: a 3 × 3 grid, moved by a convolution on x | b 2k h w |
# | $a$ | **what to believe**: `attention(x)` | b k h w |
# | $s$ | *predicted* by a linear layer from the nine samples, or *compared*: $(Q x_i)^\top (K \tilde x_{ik}) / \sqrt c$ + a bias for each k; Q, K learned | b k h w |
# | $u$, $\gamma$ | how to hear it: predicted too, for each of g groups of channels; one learned number | b g k h w, – |

# %% tags=["folded"]
diagram(DynamicGraph)

# %% [markdown]
# ## The experiment: where to read, or what to believe
#
# Every pixel holds a colour and a number, drawn at random, and asks for a colour. **Of the four pixels at distance 2 (above, below, left, right), it must say the number of the one that has this colour.** Only pixels count for which there is exactly one. `who_is_right` returns such images (12 channels of 0 and 1: colour, number, colour asked for), each pixel's answer (−100: does not count), and which of the four gives it.


# %% tags=["folded"]
IGNORE = -100  # the target of pixels that do not count
STEPS = torch.tensor([[-2, 0], [2, 0], [0, -2], [0, 2]])  # row, column


def around(plane):
    """What stands two places above, below, left and right; −1 outside: n h w -> 4 n h w."""
    p = F.pad(plane, (2, 2, 2, 2), value=-1)
    return torch.stack([p[:, 2 + i : p.shape[1] - 2 + i, 2 + j : p.shape[2] - 2 + j] for i, j in STEPS.tolist()])


def who_is_right(count, seed, size=14):
    """Colours, numbers and questions; what must be answered; whose answer it is: n 12 h w, n h w, n h w."""
    generator = torch.Generator().manual_seed(seed)
    colour, number, one = (torch.randint(4, (count, size, size), generator=generator) for _ in range(3))
    colours = around(colour)
    asked = colours.gather(0, one[None])[0]
    counts = ((colours == asked).sum(dim=0) == 1) & (colours >= 0).all(dim=0)
    targets = torch.where(counts, around(number).gather(0, one[None])[0], IGNORE)
    planes = [F.one_hot(plane.clamp(min=0), 4) for plane in (colour, number, asked)]
    return torch.cat(planes, dim=-1).movedim(-1, 1).float().contiguous(), targets, one


train, test = who_is_right(2000, seed=0), who_is_right(150, seed=1)

# %% tags=["folded"]
figure = new_figure(4.2, 4.0)
axes, (image, answers, whose) = figure.subplots(), (one[0] for one in test)
for i, j in torch.cartesian_prod(torch.arange(9), torch.arange(9)).tolist():
    axes.plot(j, i, "s", ms=17, color=COLOURS[int(image[:4, i, j].argmax())])
    axes.text(j, i, int(image[4:8, i, j].argmax()), ha="center", va="center", color="white")
clear = (answers >= 0) & (image[:4].argmax(dim=0) != image[8:].argmax(dim=0))
i, j = next((i, j) for i, j in clear[:7, :7].nonzero().tolist() if i > 2 and j > 2)
axes.plot(j, i, "o", ms=25, mfc="none", mec=ASKING, mew=2)
for step, (di, dj) in enumerate(STEPS.tolist()):
    right = step == int(whose[i, j])
    axes.plot(j + dj, i + di, "s", ms=22, mfc="none", mec="black", mew=3.0 if right else 1.0)
axes.set(xlim=(-0.7, 8.7), ylim=(8.7, -0.7), aspect="equal"), axes.set_axis_off()
axes.set_title(f"the ringed pixel asks for {('blue', 'orange', 'green', 'pink')[int(image[8:, i, j].argmax())]}")
describe(
    figure,
    "a field of 9 × 9 coloured squares with numbers from 0 to 3. One pixel carries a ring; the four pixels two places above, below, left and right of it are framed. Only one of them, framed thickly, has the colour that the title names.",
)

# %% [markdown]
# The network is one block and a 1 × 1 convolution to four logits. We choose separately where it reads and what it believes:
#
# - **where**: a fixed 3 × 3 grid, **one away**; **two away**, put there by us; **chosen**, which starts one away and learns its offsets; or **everywhere**;
# - **believe**: weights that are the **same** for all pixels (a convolution; chosen: lesson 08), **predicted** (DGMN), or **compared** (DGMN2; everywhere: the non-local block);
# - and **8 nodes**: GloRe.


# %%
class StayPut(DynamicGraph):
    """DGMN whose samples stay on their grid."""

    def places(self, x):
        return super().places(x).detach()  # the offsets start at zero, and learn nothing


# %%
blocks = {
    "one away, compared": lambda: StayPut(12, affinity="compared"),
    "two away, same": lambda: nn.Conv2d(12, 12, 3, padding=2, dilation=2),
    "two away, predicted": lambda: StayPut(12, dilation=2),
    "two away, compared": lambda: StayPut(12, dilation=2, affinity="compared"),
    "chosen, same": lambda: DeformableConv2d(12, 12),
    "chosen, predicted": lambda: DynamicGraph(12),
    "chosen, compared": lambda: DynamicGraph(12, affinity="compared"),
    "everywhere, compared": lambda: NonLocal(12),
    "8 nodes": lambda: GlobalReasoning(12, nodes=8, normalise=True),
}


# %%
def train_with(make, seed, steps=200):
    """The network with this block, trained; and the share of right answers."""
    torch.manual_seed(seed)
    model = nn.Sequential(make(), nn.Conv2d(12, 4, 1))
    recipe = {"steps": steps, "learning_rate": 0.01, "batch_size": 8, "one_cycle": False}
    fit(model, *train[:2], **recipe, seed=seed)
    return model.eval(), accuracy(model, *test[:2])


# %% [markdown]
# **We predicted** three levels. Who cannot reach the four: 0.25. Who reads all four, and cannot tell which one to believe, says the most frequent number: 0.53 (counted in lesson 09). Who also knows whom to believe: 1.
# *Before running: give each of the nine its level.*

# %% tags=["answer"]
few = {"one away, compared": 1, "everywhere, compared": 2, "8 nodes": 2}  # seeds, where they agree
runs = {name: [train_with(make, seed) for seed in range(few.get(name, 3))] for name, make in blocks.items()}
right = {name: torch.tensor([found for _, found in many]) for name, many in runs.items()}
for name, shares in right.items():
    numbers = sum(p.numel() for p in blocks[name]().parameters())
    print(f"{name:21} {numbers:4} numbers   right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
images, answers, _ = test
same_colour = images[:, 8:].flatten(2).mT @ images[:, :4].flatten(2)  # n n for each image
most = (same_colour @ images[:, 4:8].flatten(2).mT).argmax(dim=2).view_as(answers)
counted = (most == answers)[answers >= 0].float().mean()
print(f"the most frequent number among all pixels of the colour is right in ≈ {counted:.2f}")

# %%
by_us = GlobalReasoning(12, nodes=8, states=4, normalise=True)  # a node for each colour, and for each question
talk = torch.zeros(8, 8)
talk[4:, :4] = torch.eye(4)  # question listens to colour
with torch.no_grad():
    for p in by_us.parameters():
        p.zero_()
    by_us.assignment.weight[..., 0] = torch.eye(12)[[0, 1, 2, 3, 8, 9, 10, 11]]
    by_us.state.weight[..., 0] = torch.eye(12)[4:8]  # each pixel writes its number
    by_us.adjacency.weight[:] = talk - torch.eye(8)  # I + A_g is the talk alone
    nodes = by_us.state(images.flatten(2)) @ by_us.attention(images).mT / 14**2  # b 4 m
    read = (nodes + by_us.adjacency(nodes)) @ by_us.attention(images)  # b 4 n
by_nodes = (read.argmax(dim=1).view_as(answers) == answers)[answers >= 0].float().mean()
print(f"8 nodes, with weights set by hand, are right in ≈ {by_nodes:.2f}")
assert (by_nodes - counted).abs() < 0.02

# %%
assert (right["everywhere, compared"] - counted).abs().max() < 0.04
assert right["one away, compared"].max() < 0.3 and right["8 nodes"].max() < 0.35
assert 0.5 < right["two away, same"].min() and right["two away, same"].max() < 0.56, "the most frequent number"
assert right["chosen, same"].max() < 0.56 and right["chosen, predicted"].max() < 0.65
assert min(right["two away, compared"].min(), right["chosen, compared"].min()) > 0.95
assert right["everywhere, compared"].max() < 0.45

# %% tags=["folded"]
figure = new_figure(7.0, 3.4)
axes = figure.subplots()
plot_runs(axes, right, guess=0.25)
axes.set_xlabel("share right (dotted: a guess; dashed: the most frequent number)")
axes.axvline(0.53, color="grey", linestyle="--")
describe(
    figure,
    "the share of right answers, a dot a seed, with lines at a guess, 0.25, and at 0.53. One away and 8 nodes at a guess; everywhere, compared a little above; two away and chosen, same, at 0.53; two away, predicted a little above it, chosen, predicted at and below it; two away and chosen, compared, at 1.",
)

# %% [markdown]
# **Read it.** The three levels came out, and rows between them ("two away, predicted": deeper).
#
# - *Where*: one away, even who compares can only guess. "Chosen, compared" found the places by itself.
# - *What to believe*: two away, three rows read the same. Same weights: 0.53, as counted. Compared: 1.00. It is not the number of learned numbers: "predicted" has more.
# - *Chosen* places bring lesson 08's layer and DGMN from a guess (tried once) to about 0.53 (two of DGMN's three seeds), not further.
# - *Everywhere, compared* knows no places: among *all* pixels of the colour the most frequent number is right as often (counted above). *8 nodes* answer as often if set by hand (above); in 200 steps they do not learn it (in 1500, tried once: 0.32).
#
# **Look inside.** *Read*: does one of a pixel's nine samples lie within half a pixel of the right place? *Believed*: how much weight do these samples get? *Before running: which of the two does DGMN, "chosen, predicted", lack?*


# %%
@torch.no_grad()
def inside(name, seed):
    """How often the right place is read, and how much it is believed where it is read."""
    block, (images, answers, whose) = runs[name][seed][0][0], test
    here = torch.stack(torch.meshgrid(torch.arange(14), torch.arange(14), indexing="ij"), dim=-1)
    right_place = here + STEPS[whose]  # n h w 2
    near = (block.places(images) - right_place[:, None]).norm(dim=-1) < 0.5  # n k h w
    read, believed = near.any(dim=1), (block.attention(images) * near).sum(dim=1)
    counts = answers >= 0
    return read[counts].float().mean().item(), believed[counts & read].mean().item()


# %% tags=["answer"]
seen = {
    name: torch.tensor([inside(name, seed) for seed in (0, 1, 2)]).T
    for name in ("two away, predicted", "two away, compared", "chosen, predicted", "chosen, compared")
}
for name, (read, believed) in seen.items():
    shown = (" ".join(f"{one:.2f}" for one in column) for column in (read, believed))
    print(f"{name:20}  read ≈ {next(shown)}   believed ≈ {next(shown)}")

# %%
assert seen["chosen, predicted"][0].median() > 0.9 and seen["chosen, predicted"][1].max() < 0.3
assert seen["chosen, compared"].min() > 0.6 and seen["two away, compared"][1].min() > 0.4

# %% [markdown]
# **Read it.** In two of three seeds DGMN *found* the places: it reads the right one nearly always. It believes it with a fifth; nine samples alike would get 0.11, four alike 0.25. It learned where to read, not what to believe.
#
# Why is half enough? Can prediction learn to compare? (Deeper.)
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 12 GloRe | $b_i$, where a pixel belongs | $(I + A_g)\, b_j$ | φ(x), then $W_g$, $W_o$ | n n of rank m, never built | 1/n | n · m · (c + d) + m² · d + projections |
# | 12 DGMN | none: predicted | none | k samples | k for each pixel | softmax over the samples | n · k² · c · (g + 1) + offsets |
# | 12 DGMN2 | $Q x_i$ | $K \tilde x_{ik}$ | k samples | k for each pixel | the same | the same + n · k · c² |
#
# ## Three things to keep
#
# 1. **A few in between** spare the n² edges: write, talk, read. Divide by n, or a trained block adds more to a larger image.
# 2. **A node is no region by itself**: turn the nodes into each other, and GloRe's answer stays. On our photograph they overlapped, and found the flower little better than random ones.
# 3. **Where to read and what to believe are two things.** DGMN with predicted weights found the places (two seeds of three) and got no further than a deformable convolution in 200 steps; one that compares what it sampled answered everything.
#
# **Now the [exercise](../exercises/12_graph_reasoning.ipynb).** Next lesson: 13, can attention replace convolution?

# %% [markdown]
# ## Deeper · Can prediction learn to compare? (7 minutes)
#
# "Two away, predicted" got a little more than 0.53. Again with samples two places away, we try more steps; a hidden layer in the prediction, with about as many numbers; and a block that does not get the centre sample, which is the asking pixel itself. Beside them, with *few* steps: the hidden layer and comparing. *Before running: what will they get?*


# %%
class NoCentre(StayPut):
    """DGMN that reads nothing at its own place."""

    def sample(self, x):
        return super().sample(x) * (torch.arange(9) != 4)[:, None, None]  # b c k h w


# %%
def with_hidden_layer():
    """DGMN that predicts from its samples through 32 hidden units."""
    block = StayPut(12, dilation=2)
    block.predict = nn.Sequential(nn.Conv2d(108, 32, 1), nn.ReLU(), nn.Conv2d(32, 45, 1, bias=False))
    return block


# %% tags=["answer"]
trials = [
    ("predicted", blocks["two away, predicted"], 400),
    ("predicted, hidden layer", with_hidden_layer, 400),
    ("predicted, no centre", lambda: NoCentre(12, dilation=2), 400),
    ("predicted, hidden layer", with_hidden_layer, 100),
    ("compared", blocks["two away, compared"], 100),
]
longer = [train_with(make, seed=0, steps=steps)[1] for _, make, steps in trials]
for (name, _, steps), found in zip(trials, longer):
    print(f"two away, {name:23}  {steps} steps   right ≈ {found:.2f}")

# %%
assert longer[0] > 0.6 and longer[1] > 0.75 and longer[2] < 0.56
assert longer[3] < 0.65 and longer[4] > 0.95, "comparing is learned sooner"

# %% [markdown]
# So prediction can learn whom to believe (one seed each), and it does so with the question that its centre sample holds: without it, 0.53 stays. A dot product has question times colour built in, and is learned sooner. *Here comparing changed not what is possible, but how fast it is learned.* And our task was made for comparing.
#
# **Does the map decide?** "Two away, compared" believes the right place with little more than half, and is always right. Does $u$ do the rest? We hold $u$ or $a$ at its mean over all images and pixels. *Before running: without which of the two do the answers stay?*


# %%
def right_without(part, seed):
    """The share right if the filters u (0) or the map a (1) are held at their mean over images and pixels."""
    model = deepcopy(runs["two away, compared"][seed][0])
    weigh = model[0].weigh

    def held(x, sampled):
        both = list(weigh(x, sampled))
        both[part] = both[part].mean(dim=(0, -2, -1), keepdim=True).expand_as(both[part])
        return both

    model[0].weigh = held
    return accuracy(model, *test[:2])


# %% tags=["answer"]
without = torch.tensor([[right_without(part, seed) for seed in (0, 1, 2)] for part in (0, 1)])
for name, shares in zip(("u", "a"), without):
    print(f"two away, compared, {name} held at its mean: right ≈ {' '.join(f'{one:.2f}' for one in shares)}")
assert without[0].min() > 0.95 and without[1].max() < 0.6, "the map decides"

# %% [markdown]
# Without $u$ nearly all answers stay; without $a$ the most frequent number is left. The map decides, and half is enough: the right number needs only more weight than any other number.
#
# ## Deeper · SpyGR: what like pixels hold, and what is left (9 minutes)
#
# SpyGR (spatial pyramid graph reasoning) has no nodes. Each pixel gets M features, none negative: here *they* are called φ (n × M). Pixels are alike if their φ are: $\hat A = \varphi \Lambda \varphi^\top$ (n × n), where the diagonal Λ weighs the features for each image. With the row sums of $\hat A$ on the diagonal of D, and Θ a learned layer:
#
# $$\tilde L = I - D^{-1/2} \hat A\, D^{-1/2} = I - P \Lambda P^\top$$
# $$P = D^{-1/2} \varphi \qquad Y = \mathrm{ReLU}(\tilde L X \Theta)$$
#
# **With all n × n numbers, and as the library computes it.** A *pattern* is an eigenvector of $\tilde L$, its eigenvalue says how much of it is left. *Before running: M = 16 features, 247 places; how many patterns can* $\tilde L$ *weaken at most?*


# %%
@torch.no_grad()
def laplacian(level, x):
    """I − D^-½ Â D^-½ of one image, with all its n × n numbers: 1 c h w -> n n."""
    phi = level.embed(x).relu()[0].flatten(1).mT  # n M
    alike = phi * level.metric(x.mean(dim=(2, 3))).sigmoid() @ phi.mT
    degree = alike.sum(dim=1)
    return torch.eye(len(phi)) - alike / (degree[:, None] * degree).sqrt()


# %% tags=["answer"]
torch.manual_seed(0)
level = GraphReasoning(80, 16)
dense = laplacian(level, features)
torch.testing.assert_close(
    level(features)[0].flatten(1), (level.update.weight[..., 0, 0] @ features[0].flatten(1) @ dense).relu()
)
eigenvalues = torch.linalg.eigvalsh(dense)
print(
    f"eigenvalues from ≈ {eigenvalues[0].abs():.2f} to ≈ {eigenvalues[-1]:.2f}; below 1: {(eigenvalues < 0.999).sum()}"
)
assert eigenvalues.min() > -1e-5 and eigenvalues.max() < 1 + 1e-5 and (eigenvalues < 0.999).sum() <= 16

# %% [markdown]
# All other patterns pass as they are. Which ones are weakened? **Two parts of our features**: the difference *between* the means of flower and rest, and what differs *within* each of the two. How much of each is held and left (as a mean square), three random φ. A control for likeness: the same operator with its places shuffled.


# %%
def parts(x):
    """Squared distance of the two means; mean square around them: c n -> two numbers."""
    on, off = x[:, flower.flatten()], x[:, ~flower.flatten()]
    within = sum((one - one.mean(dim=1, keepdim=True)).square().sum() for one in (on, off)) / x.shape[1]
    return torch.stack([(on.mean(dim=1) - off.mean(dim=1)).square().sum(), within])


# %% tags=["answer"]
held, left, foreign = [], [], []
flat, order = features[0].flatten(1), torch.randperm(247, generator=torch.Generator().manual_seed(0))
for seed in range(3):
    torch.manual_seed(seed)
    operator = laplacian(GraphReasoning(80, 16), features)
    held.append(parts(flat - flat @ operator) / parts(flat))
    left.append(parts(flat @ operator) / parts(flat))
    foreign.append(parts(flat - flat @ operator[order][:, order]) / parts(flat))
for name, many in {"held, I − L̃": held, "held, shuffled": foreign, "left, L̃": left}.items():
    between, within = (" ".join(f"{one:.2f}" for one in column) for column in zip(*many))
    print(f"{name:15} between ≈ {between}   within ≈ {within}")

# %%
assert all(b > 2 * w for b, w in held) and all(b < 0.8 * w for b, w in left)
assert all(b < 0.01 for b, _ in foreign), "a filter by likeness, not by any sixteen patterns"

# %% [markdown]
# $I - \tilde L$ is a *low-pass*: it holds almost nothing of the differences within, more of that between. $\tilde L$ is a *high-pass*: it lets the differences within pass, and weakens what tells the groups apart. "Low" is meant in likeness, not in place: with its places shuffled, the same operator holds nothing.
# And Θ decides the sign: a network that adds $X$ to $\tilde L X \Theta$ with $\Theta = -I$ has $X - \tilde L X$, the low-pass (but for the ReLU).
#
# **SpyGR does so at three sizes**: the map, and its averages over 2 × 2 and again 2 × 2 places. Each size has its own φ, Λ and Θ; their answers are enlarged and added.

# %% tags=["folded"]
diagram(PyramidGraph)

# %%
torch.manual_seed(0)
block, sizes = PyramidGraph(80, features=16), [features]
for _ in range(2):
    sizes.append(F.avg_pool2d(sizes[-1], 2, ceil_mode=True))
said = [F.interpolate(level(one), (13, 19), mode="bilinear") for level, one in zip(block.levels, sizes)]
torch.testing.assert_close(sum(said), block(features))

# %% [markdown]
# ## Deeper · The released code, and the sign (2 minutes)
#
# The paper writes $I - A_g$, the code adds; since $A_g$ is learned, either can learn what the other does. The released code also has a ReLU between talk and $W_g$. *Before running: does this ReLU let the nodes be turned?*

# %% tags=["answer"]
with torch.no_grad():
    for name, block in {"paper": copied[1], "released": deepcopy(copied[1]), "softmax": soft[1]}.items():
        block.released = name == "released"
        change = (mixed(block, 60)(features) - block(features)).abs().max().item()
        print(f"{name:9} turned by 60°: the answer changes by ≈ {change:.1f}")
        assert (change < 1e-3) == (name == "paper")

# %% [markdown]
# With the ReLU, the answer depends on which nodes there are. With the softmax too: here θ(x) was turned, *before* the softmax. (Maps turned *after* it would give the same answer, but they have negative numbers, and no softmax makes these.) That alone makes no regions: see the share of the softmax above. Nor is it the sum of 1 that finds the flower: with a ReLU on the maps in place of the softmax, *find* is 0.98 to 1.00 (tried once).
#
# ## Deeper · What to believe (1 minute)
#
# The released code's table reports ResNet-50 on ImageNet (top-1) at 76.2 % without and 78.4 % with three GloRe blocks. Our tasks show what blocks can and cannot do, not how much natural images need it.
#
# *References.* Chen, Rohrbach, Yan, Yan, Feng, Kalantidis, Graph-Based Global Reasoning Networks, CVPR 2019, arXiv 1811.12814. Li, Yang, Zhao, Shen, Lin, Liu, Spatial Pyramid Based Graph Reasoning for Semantic Segmentation, CVPR 2020, arXiv 2003.10211.
# Zhang, Xu, Arnab, Torr, Dynamic Graph Message Passing Networks, CVPR 2020, arXiv 1908.06955. Zhang, Chen, Arnab, Xue, Torr, Dynamic Graph Message Passing Networks for Visual Recognition (DGMN2), 2022, arXiv 2209.09760. Tan, Le, EfficientNet, ICML 2019, arXiv 1905.11946.
