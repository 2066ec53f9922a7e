# %% [markdown]
# # 10 · Global context
#
# **Do the pixels even ask different questions?**
#
# After this lesson you will be able to
#
# - measure whether the maps of different queries differ, and test whether the difference matters;
# - go from the non-local block to SE in four steps, and say for each step what is equal and what is lost;
# - say when GCNet's observation, "one map serves all", holds and when it does not.
#
# *Minutes:* 40, deeper 11 · *Needs:* 09, 03 · *Paper:* Cao et al., GCNet, 2019, arXiv 1904.11492 · *Exercise:* [10 global context](../exercises/10_global_context.ipynb) · *Module:* [global_context.py](../course_lib/spatial/global_context.py)
#
# Out of scope: cheaper maps that stay different for each query (11), positions (13, 14).

# %%
import math
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.costs import milliseconds, multiply_adds
from course_lib.data.cued_channels import cued_channels
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.data.recall import IGNORE, in_image_recall
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, MARKERS, describe, new_figure, ring, show_asked, show_weights
from course_lib.spatial.global_context import GlobalContext, SimplifiedNonLocal
from course_lib.spatial.non_local import NonLocal
from course_lib.training import accuracy, fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Three pixels, two maps
#
# In a non-local block (lesson 09) every pixel i has a map of its own: the weights $\alpha_{ij}$ with which it reads the pixels j. The authors of GCNet
# drew such maps from trained networks, and saw nearly the same map for every i. *If all ask the same, why answer n times?*
#
# First we need a number. The **distance** of two maps is the share of the weight that must be moved to turn one into the other:
#
# $$D(\alpha_i, \alpha_{i'}) = \tfrac{1}{2} \sum_j \lvert \alpha_{ij} - \alpha_{i'j} \rvert$$
#
# It is 0 for equal maps, and 1 for maps that share no place. **An image of three pixels. The map of pixel 0 is even; that of pixel 1 puts two thirds on the middle
# one.** *Before running: how much weight must move?*


# %%
def distance(one, other):
    """The share of the weight that must be moved to turn one map into the other: n, n -> a number."""
    return (one - other).abs().sum() / 2


# %% tags=["answer"]
even, middle = torch.tensor([1.0, 1.0, 1.0]) / 3, torch.tensor([1.0, 4.0, 1.0]) / 6
print(f"distance {distance(even, middle):.2f}")
assert abs(distance(even, middle) - 1 / 3) < 1e-6

# %% [markdown]
# The middle pixel gains a third. The paper uses the cosine distance; a deeper section compares the two.
#
# **The average over all pairs of pixels that ask.** In recall (lesson 09) only eight of 144 pixels ask, so we must say who counts.


# %%
def mean_distance(maps, asks):
    """The average distance of all pairs of asking pixels of an image: b n n, b n -> a number."""
    rows = [some[which] for some, which in zip(maps, asks)]
    return torch.stack([torch.cdist(r, r, p=1).mean() / 2 for r in rows]).mean().item()


# %% [markdown]
# ## One map by hand
#
# **What remains of a non-local block when its queries are all equal?** Then θ(x) is one vector for all pixels, whatever x is: its weight is zero,
# and only its bias $b_\theta$ is left. The score of pixel j becomes $b_\theta^\top W_\phi\, x_j$: one number a pixel, for all who ask. GCNet writes $W_k = b_\theta^\top W_\phi$, and calls this
# the *simplified* non-local block:
#
# $$\alpha_j = \frac{\exp(W_k x_j)}{\sum_m \exp(W_k x_m)} \qquad z_i = x_i + \sum_j \alpha_j\, W_v\, x_j$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $x$, $z$ | input and output (y in the diagrams) | b c h w, with n = h · w positions |
# | $W_k$ | a 1 × 1 convolution to one number | 1 c |
# | $\alpha$ | the map, the same for all i | b 1 n |
# | $W_v$ | what is done with the mixture; it stands for $W_z W_g$ of lesson 09 | c c |

# %% tags=["folded"]
diagram(SimplifiedNonLocal)

# %% [markdown]
# **Step 1 is an equality.** We take a non-local block, set the weight of θ to zero, and multiply its matrices together. *Before running: four layers; how many
# are left?*

# %%
torch.manual_seed(0)
x = torch.randn(2, 8, 5, 3)
asked, simple = NonLocal(8, norm=False), SimplifiedNonLocal(8)
nn.init.normal_(asked.output.weight)
for silent in (asked.query.weight, asked.value.bias):
    nn.init.zeros_(silent)

# %% tags=["answer"]
phi, g, w_z = (layer.weight[:, :, 0, 0] for layer in (asked.key, asked.value, asked.output))
simple.key.weight.data = (asked.query.bias @ phi).view(1, 8, 1)
simple.value.weight.data = w_z @ g
torch.testing.assert_close(simple(x), asked(x))
print("maps", list(asked.attention(x).shape), "and", list(simple.attention(x).shape), "layers: 4 and 2")
rows = asked.attention(x)[0]
print(f"largest distance of two rows: {torch.cdist(rows, rows, p=1).max():.0f}")

# %% [markdown]
# Two layers are left, and the map is n times smaller. (Biases of φ do not matter: they add the same to all scores.)
#
# **Step 2 is an equality too.** $W_v$ is linear and the $\alpha_j$ sum to 1, so it may wait until *after* the sum. It is then applied once, not n times. The whole block as loops:


# %%
def by_loops(block, image):
    """Score every pixel; share out; mix; apply W_v once; add to all: c h w -> c h w."""
    w_k, pixels = block.key.weight[0, :, 0].detach(), image.flatten(1).mT  # c, n c
    scores = [math.exp(w_k @ pixel) for pixel in pixels]
    context = sum(score / sum(scores) * pixel for score, pixel in zip(scores, pixels))  # c
    return image + (block.value.weight @ context)[:, None, None]


# %%
alpha, pixels = simple.attention(x), x.flatten(2).mT  # b 1 n, b n c
inside = alpha @ (pixels @ simple.value.weight.mT)  # b 1 c, W_v at every pixel
outside = (alpha @ pixels) @ simple.value.weight.mT  # W_v once
torch.testing.assert_close(inside, outside)
torch.testing.assert_close(x + inside.mT[..., None], simple(x))
torch.testing.assert_close(by_loops(simple, x[0]), simple(x)[0])

# %% [markdown]
# **What it cannot do: tell the pixels different things.** The same vector is added everywhere, so $z - x$ is constant over the image.

# %%
added = (simple(x) - x).flatten(2)  # b c n
print(f"spread of z − x over the pixels ≈ {added.std(dim=2).max():.0e}")
assert added.std(dim=2).max() < 1e-5

# %% [markdown]
# ## GC and SE: two more steps
#
# **Step 3: GC.** $W_v$ has c² numbers. GCNet replaces it by a bottleneck with a layer norm (LN) inside, $W_{v2}\, \mathrm{ReLU}(\mathrm{LN}(W_{v1} \cdot))$, with c/r hidden units. $W_{v2}$ starts at
# zero: the block starts as the identity. This is no equality: a bottleneck of rank c/r is not every matrix, and the norm forgets how long a vector was.

# %% tags=["folded"]
diagram(GlobalContext)

# %% [markdown]
# **Step 4: SE.** Three things change: the *map* becomes a plain average, *adding* becomes a gate in (0, 1), and the norm goes. *Before running: will GC then equal SE
# exactly?*

# %% tags=["answer"]
gate = GlobalContext(8, reduction=2, fusion="scale")
squeeze = SqueezeExcitation(8, reduction=2, bias=True)
nn.init.zeros_(gate.key.weight)  # all scores equal: the plain average
gate.scale[0], gate.scale[1], gate.scale[3] = squeeze.squeeze, nn.Identity(), squeeze.excite
torch.testing.assert_close(gate(x), squeeze(x))
print("all weights:", {round(one, 4) for one in gate.attention(x).flatten().tolist()}, "= 1/15")

# %% [markdown]
# So the four blocks are four rungs of one ladder. *Which task allows which step down?*
#
# ## The experiment: same images, other question
#
# Three tasks for the non-local block:
#
# - **own question**: recall, as in lesson 09. Each of eight query pixels must say the number that stands at the source *of its own colour*;
# - **one question**: *the same images*, but all queries must say the number at the source of colour 0. Their own colour does not matter;
# - **cued channel** (lesson 03): a texture says which of three digits is the answer. The whole image needs *one* piece of news: which texture.
#
# The first two have equal images, networks, steps and learning rate; only the right answers differ.


# %%
def one_question(recall):
    """What every query must say instead: the number that the source of colour 0 holds. n h w"""
    colour_0 = recall.images[:, :1] * recall.sources[:, None]  # n 1 h w
    held = (recall.images[:, 4:8] * colour_0).sum(dim=(2, 3)).argmax(dim=1)
    return torch.where(recall.queries, held[:, None, None], IGNORE)


# %%
train, test = in_image_recall(2560, seed=0), in_image_recall(256, seed=1)
cued, cued_test = cued_channels(4000)[:2], cued_channels(500, test=True, seed=1)[:2]
tasks = {
    "own question": ((train.images, train.targets), (test.images, test.targets)),
    "one question": ((train.images, one_question(train)), (test.images, one_question(test))),
    "cued channel": (cued, cued_test),
}

# %% [markdown]
# For recall the network is that of lesson 09. For the cued channel the block stands between two convolutions, on 4 × 12 pixels with 16 channels; all 48 ask.


# %%
def network(task, block):
    """What stands before the block, the block, what stands after."""
    if task != "cued channel":
        return nn.Sequential(nn.Conv2d(10, 32, 1), block(32), nn.Conv2d(32, 4, 1))
    before = nn.Sequential(nn.Conv2d(4, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    after = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(before, block(16), nn.Sequential(*after, nn.Flatten(), nn.Linear(16 * 48, 10)))


# %%
def train_with(task, block, seed):
    """The network with this block, trained on this task; and the share of right answers."""
    torch.manual_seed(seed)
    model = network(task, block)
    steps, batch = (500, 32) if task == "cued channel" else (120, 16)
    recipe = {"steps": steps, "batch_size": batch, "learning_rate": 5e-3, "one_cycle": False}
    fit(model, *tasks[task][0], **recipe, seed=seed, title=task)
    return model.eval(), accuracy(model, *tasks[task][1])


# %% [markdown]
# *Before running: write down for each task whether the maps will differ after training.* **We predicted**: own question, far apart; one question and cued channel, all the same. With
# eight random queries the average cannot pass 7/8 · 3/4 ≈ 0.66: one pair in eight is a pixel with itself, and a quarter of the others have the same colour.


# %%
@torch.no_grad()
def look(model, task):
    """What enters the block, and who asks: b c h w, b n."""
    x = model[0](tasks[task][1][0])
    return x, (torch.ones(len(x), 48) > 0 if task == "cued channel" else test.queries.flatten(1))


@torch.no_grad()
def distance_in(model, task):
    """How much the maps of the asking pixels differ in this network."""
    x, asks = look(model, task)
    return mean_distance(model[1].attention(x), asks)


# %%
torch.manual_seed(0)
fresh = {task: network(task, NonLocal).eval() for task in tasks}
before = {task: distance_in(model, task) for task, model in fresh.items()}
trained = {task: [train_with(task, NonLocal, seed) for seed in (0, 1)] for task in tasks}

# %% tags=["answer"]
after = {task: torch.tensor([distance_in(model, task) for model, _ in trained[task]]) for task in tasks}
for task in tasks:
    right = " ".join(f"{share:.2f}" for _, share in trained[task])
    apart = " ".join(f"{one:.2f}" for one in after[task])
    print(f"{task}   right ≈ {right}   distance before ≈ {before[task]:.3f}, after ≈ {apart}")

# %%
assert max(before.values()) < 0.02, "before training, maps hardly differ"
for task, model in fresh.items():
    maps = model[1].attention(look(model, task)[0])
    assert (maps - 1 / maps.shape[2]).abs().sum(dim=2).mean() / 2 < 0.05, "since they are nearly uniform"
assert after["own question"].min() > 0.5 and after["one question"].max() < 0.05
assert 0.03 < after["cued channel"].min() and after["cued channel"].max() < 0.45

# %% tags=["folded"]
figure = new_figure(7.0, 3.6)
grid = figure.subplots(2, 4)
places = test.queries[0].nonzero()[[0, 3, 4]]  # three queries with different colours: y, x
for row, task in zip(grid, ("own question", "one question")):
    x_, _ = look(trained[task][0][0], task)
    found = trained[task][0][0][1].attention(x_[:1])[0].detach()  # n n
    row[0].set(xlim=(-0.6, 11.6), ylim=(11.6, -0.6), xticks=[], yticks=[], aspect="equal", title=task)
    for y, across in (test.sources[0] | test.queries[0]).nonzero().tolist():
        cell = test.images[0, :, y, across]
        colour, is_source = COLOURS[int(cell[:4].argmax())], bool(cell[8])
        row[0].plot(
            across, y, "s" if is_source else "o", ms=9, mec=colour, mew=2, mfc=colour if is_source else "none"
        )
        if is_source:
            row[0].text(across, y, int(cell[4:8].argmax()), ha="center", va="center", color="white")
    for axes, (y, across) in zip(row[1:], places.tolist()):
        show_weights(axes, found[12 * y + across].view(12, 12), title=f"row {y}, column {across}", top=1.0)
        ring(axes, y, across)
describe(
    figure,
    "two rows: own question above, one question below. Left, the image: four coloured squares with a number and eight rings. Then the maps of three query pixels with a ring each. "
    "Above, each has one bright cell, in three different places. Below, all three have the same bright cell.",
)

# %% [markdown]
# **Read it.** (Colour 0 is blue. Squares are sources, rings ask.) Before training, all maps are nearly equal, *because they are nearly uniform*: equal maps alone say nothing about what was learned. With an own question, the maps
# come nearly as far apart as they can. With one question, the same block on the same images learned **one map for all**. It could have had n maps; but it began with equal ones, and this task gives no reason to make them differ.
#
# On the cued channel we were wrong: small is not zero.
#
# ## Does the difference matter?
#
# **Give all pixels of an image the average of their maps**, and change nothing else in the trained network. What is read is linear in the map, so its average stays the same; only the differences go.
# *Before running: which of the three tasks will suffer?*


# %%
def with_one_map(block, x, asks):
    """The non-local block, but all read with the average map of the asking pixels: b c h w, b n -> b c h w."""
    shared = (block.attention(x) * asks[:, :, None]).sum(dim=1) / asks.sum(dim=1, keepdim=True)  # b n
    y = (block.embed(x)[2] * shared[:, None]).sum(dim=2)  # b d n, b 1 n -> b d
    return x + block.norm(block.output(y[:, :, None, None]))


# %%
@torch.no_grad()
def right_with_one_map(model, task):
    """The share of right answers after the exchange."""
    targets = tasks[task][1][1]
    answers = model[2](with_one_map(model[1], *look(model, task))).argmax(dim=1)
    return (answers == targets)[targets != IGNORE].float().mean().item()


# %% tags=["answer"]
swapped = {task: [right_with_one_map(model, task) for model, _ in trained[task]] for task in tasks}
for task in tasks:
    right = " ".join(f"{share:.2f}" for _, share in trained[task])
    print(f"{task}   own maps ≈ {right}   average map ≈ {' '.join(f'{one:.2f}' for one in swapped[task])}")

# %%
assert min(swapped["one question"]) > 0.95 and max(swapped["own question"]) < 0.7
assert max(swapped["cued channel"]) < 0.55, "without the differences, no news arrives"

# %% [markdown]
# **Read it.** One question: nothing is lost. Own question: much is lost, as it must be. *Cued channel: all is lost*, though the maps
# differed by so little: without any news one gets 0.40 (lesson 04). **A small distance is no proof that one map would do.**
#
# But two explanations remain: one map cannot carry the news, or the layers behind never saw such an input. So we train networks *with* one map.
#
# ## Down the ladder
#
# **Each block, trained from the start**, with the same data, steps and learning rate. Two seeds; three for one map on the cued channel, where they differ. GC has r = 1, so no fewer learned
# numbers than the non-local block.


# %%
class Average(GlobalContext):
    """GC whose map is the plain average."""

    def attention(self, x):
        return torch.full_like(x[:, :1].flatten(2), 1 / x[0, 0].numel())  # b 1 n


# %%
ladder = {
    "non-local": NonLocal,
    "simplified": SimplifiedNonLocal,
    "GC": lambda c: GlobalContext(c, reduction=1),
    "GC, but a gate": lambda c: GlobalContext(c, reduction=1, fusion="scale"),
    "GC, but the average": lambda c: Average(c, reduction=1),
    "SE": lambda c: SqueezeExcitation(c, reduction=1, bias=True),
}
to_do = {"own question": ("simplified", "GC"), "one question": tuple(ladder)[1:], "cued channel": ("simplified",)}
seeds = {"own question": (0, 1), "one question": (0, 1), "cued channel": (0, 1, 2)}

# %% tags=["answer"]
shares = {("non-local", task): [share for _, share in trained[task]] for task in tasks}
for task, names in to_do.items():
    shares |= {(name, task): [train_with(task, ladder[name], seed)[1] for seed in seeds[task]] for name in names}
for (name, task), found in shares.items():
    numbers = sum(p.numel() for p in ladder[name](32).parameters())
    print(f"{task}   {name:20} {numbers:5} numbers   right ≈ {' '.join(f'{one:.2f}' for one in found)}")

# %%
for key in (("simplified", "one question"), ("GC", "one question")):
    assert min(shares[key]) > 0.85, "one map is enough for one question"
assert max(shares["simplified", "own question"] + shares["GC", "own question"]) < 0.6, "and not for many"
assert max(shares["GC, but the average", "one question"] + shares["SE", "one question"]) < 0.55
assert max(shares["GC, but a gate", "one question"]) > 0.95
assert min(shares["simplified", "cued channel"]) > 0.5, "better than 0.40 without the news"

# %% tags=["folded"]
figure = new_figure(7.0, 2.8)
axes = figure.subplots()
for task, shift, colour, marker in zip(tasks, (-0.12, 0, 0.12), COLOURS, MARKERS):
    for k, name in enumerate(ladder):
        found = shares.get((name, task), [])
        axes.plot([k + shift] * len(found), found, marker, color=colour, markersize=5, label=task if k == 0 else None)
axes.set(xticks=range(6), ylim=(0, 1.05), ylabel="share right")
axes.set_xticklabels([name.replace(", but ", ",\nbut ") for name in ladder])
axes.legend(frameon=False, loc="lower left")
describe(
    figure,
    "share of right answers, two or three points a block. Non-local: near 1 for own and one question. Simplified and GC: one question 1, own question near a half. "
    "GC with a gate: one question 1 and about 0.6. GC with the average, and SE: a quarter.",
)

# %% [markdown]
# **Read it, step by step.**
#
# - *Non-local → simplified → GC.* Own question: about a half, and GC, which has as many numbers as the non-local block, gets no more. One question: nothing is lost.
# - *Cued channel.* One map can learn it, with one seed only in part. So the trained non-local block used differences that the task does not need.
# - *GC → SE.* The gate can learn it too, but not with every seed. The *average* is at chance, whether it adds or gates (SE).
#
# About a half is what *counting* gives: one vector, mixed from a linear layer, says which number is most frequent (lesson 09). The two averages did not learn even that in 120 steps (tried once with 500: GC's 0.35, SE's 0.26).
# The layer after our block is linear too: a deeper section shows what one vector can do with a ReLU before and behind.
#
# ## Real features: at which depth do the questions agree?
#
# Our trunk (lesson 09) has no attention, but its features can ask: scores are dot products, θ and φ are not learned. *How much of
# the scores is the same for every query?* Subtract from each row its mean, which a softmax does not see. The **common share** is the mean square of the average row,
# divided by the mean square of all rows: 1 if all ask the same, 0 if nothing is common.


# %%
def scores_of(features, centred=False):
    """Dot products of all places, without the mean of each row, spread to deviation 2: c h w -> n n."""
    x = features.flatten(1).mT  # n c
    x = x - x.mean(dim=0) if centred else x
    scores = x @ x.mT
    scores = scores - scores.mean(dim=1, keepdim=True)
    return 2 * scores / scores.std()


def common_share(scores):
    """How much of the scores is the same for every query: n n -> a number."""
    return scores.mean(dim=0).square().mean() / scores.square().mean()


# %% [markdown]
# The average row is $\bar{x}^\top x_j$, up to a constant: what the *average pixel* would ask. So *centred* features, $x_j - \bar{x}$, have nothing in common, by algebra. They are our control. All
# features are averaged to 13 × 19 places, so that depths are comparable. *Before running: will the common share grow or fall with depth?*

# %%
trunk, blocks = load_trunk(), (0, 2, 4, 6, 8, 10)
photographs = [load_photograph(name, height=200) for name in PHOTOGRAPHS]
pooled = nn.AdaptiveAvgPool2d((13, 19))
by_block = [[pooled(trunk(one[None], block=block))[0] for one in photographs] for block in blocks]


def at_depth(pictures, centred):
    """The common share and the mean distance of each photograph: six times c h w -> 6 2."""
    scores, everyone = [scores_of(one, centred) for one in pictures], torch.ones(1, 247) > 0
    return torch.tensor([[common_share(one), mean_distance(one.softmax(dim=1)[None], everyone)] for one in scores])


# %% tags=["answer"]
depth = {centred: torch.stack([at_depth(one, centred) for one in by_block]) for centred in (False, True)}
for k, block in enumerate(blocks):
    (share, apart), (_, centred) = depth[False][k].mean(dim=0), depth[True][k].mean(dim=0)
    print(f"block {block:2}   common share ≈ {share:.2f}   distance ≈ {apart:.2f}, centred ≈ {centred:.2f}")

# %%
assert depth[False][0, :, 0].mean() > 2 * depth[False][-1, :, 0].mean() and depth[True][..., 0].max() < 1e-3
assert depth[False][-1, :, 1].min() > 0.85 and depth[False][0, 4, 0] > 0.6, "the rocket"
assert (depth[True] - depth[False])[..., 1].mean(dim=1).max() < 0.15, "the common part does little"

# %% tags=["folded"]
figure = new_figure(7.0, 2.6)
axes = figure.subplots()
for name, shares_, colour, marker in zip(PHOTOGRAPHS, depth[False][..., 0].T, COLOURS, MARKERS):
    axes.plot(blocks, shares_, color=colour, marker=marker, markersize=4, label=name)
axes.set(xlabel="block", ylabel="common share", ylim=(0, 1), xticks=blocks)
axes.legend(frameon=False, ncols=2)
describe(
    figure,
    "the common share against the depth for six photographs: at block 0 the lines are spread from nearly 0 to above 0.8, the rocket; at the last two blocks all are below 0.2.",
)

# %% [markdown]
# **Read it.** On average the queries agree *less* at depth: at the last blocks nine tenths of the (squared) scores depend on who asks. Without the common part, the maps are farther apart by 0.1 at most. (The distances depend on the deviation 2 that we chose; the common share does not.)
# What contradicts the story: the rocket. At block 0 four fifths of its scores are the same for all, so there GCNet's observation holds. And the astronaut's share first rises. What this does not show: what θ and φ would *learn*.
#
# **Move the depth, and take the average away.** Three places ask: both eyes, and the fur at the upper left.


# %% tags=["folded"]
cat = photographs[PHOTOGRAPHS.index("cat")]


@cache
def asked_by_the_cat(block, features):
    """Whom each place asks by the features of this block, and the mean distance of these maps."""
    found = pooled(trunk(cat[None], block=block))[0]
    maps = scores_of(found, features == "centred").softmax(dim=1)
    return maps, mean_distance(maps[None], torch.ones(1, 247) > 0)


def draw_asked(figure, block=6, features="as they are"):
    """Whom three places of the cat ask."""
    maps, distance = asked_by_the_cat(block, features)
    for axes, (row, column) in zip(figure.subplots(1, 3), ((5, 7), (6, 13), (1, 1))):
        weights = maps[19 * row + column].view(13, 19).clone()
        show_asked(axes, cat, weights, (row, column))
    figure.suptitle(f"block {block}, {features}: mean distance ≈ {distance:.2f}")


# %% tags=["widget"]
steer(
    draw_asked,
    height=2.2,
    block=slider("block", [0, 2, 4, 6, 8, 10], value=6),
    features=slider("features", ["as they are", "centred"], value="as they are"),
)

# %% [markdown]
# The same without a widget:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 4.4)
for panel, (block, how) in zip(figure.subfigures(2, 1), ((0, "as they are"), (10, "as they are"))):
    draw_asked(panel, block, how)
describe(
    figure,
    "two rows of three darkened pictures of a cat's face, with a ring at the place that asks. Block 0: both eyes read the same dark corner and places beside the nose, the fur reads many places. "
    "Block 10: each eye reads itself and a place at the other eye, the fur reads itself and its neighbours.",
)

# %% [markdown]
# ## When does GCNet's observation hold?
#
# - **It held** where the task asks one question for the whole image: the trained maps *were* equal, and one was enough.
# - **It did not hold** where each pixel has its own question, nor for dot products of our trunk in general.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 09 non-local block | θ(x) | φ(x) | g(x) | n n | softmax over the keys | n² · c + projections |
# | 10 simplified, GC | $W_k$, learned, one for all | x | x, then $W_v$ or a bottleneck | n | softmax over the keys | n · 2c + c² or 2c²/r |
# | 03 SE | none: the average | – | the channels | n, all 1/n; then c gates | mean; sigmoid | n · c + 2c²/r |
#
# ## Three things to keep
#
# 1. A non-local block with one query for all **is** the simplified block, and $W_v$ may wait until after the sum: two equalities, n² → n.
# 2. The **question** decides: on the same images the maps came far apart, or were one. One map was enough for one question; with own questions it gave about a half.
# 3. **Measure, then exchange, then retrain**: even a small difference between maps may be used, and what is used may not be needed.
#
# **Now the [exercise](../exercises/10_global_context.ipynb).** Next lesson: 11, how far can n × n be cut?

# %% [markdown]
# ## Deeper · What each step costs (3 minutes)
#
# One image of 64 channels on 64 × 64 pixels; `milliseconds` is the shortest of seven runs, in time of the processor. *Before running: by how much does the work shrink in the first step?*

# %% tags=["answer"]
large, work = torch.randn(1, 64, 64, 64), {}
for name in ("non-local", "simplified", "GC", "SE"):
    block = {"GC": GlobalContext, "SE": SqueezeExcitation}.get(name, ladder[name])(64).eval()
    work[name] = multiply_adds(block, large)
    numbers = sum(p.numel() for p in block.parameters())
    print(
        f"{name:11} {numbers:6} numbers {work[name]:>13,} multiply-adds  ≈ {milliseconds(lambda: block(large)):.1f} ms"
    )
assert work["non-local"] > 1000 * work["simplified"] and work["SE"] < work["GC"] < work["simplified"] * 1.1

# %% [markdown]
# The first step saves a factor of two thousand in multiplications; the others save little. (GC and SE have r = 16 here.) SE's average costs no multiplication. Time is not multiplications: compare the last columns.
#
# ## Deeper · Whose maps, and which distance? (3 minutes)
#
# The paper averages over *all* positions, and takes the cosine distance, $(1 - \cos)/2$. **On recall, both distances, over those who ask and over all 144 pixels.** *Before running: will
# "own" and "one" question still differ, if all 144 count?*


# %%
def cosine_distance(maps, asks):
    """GCNet's distance: half of one minus the cosine, over all pairs of asking pixels."""
    rows = [F.normalize(some[which], dim=1) for some, which in zip(maps, asks)]
    return torch.stack([((1 - r @ r.mT) / 2).mean() for r in rows]).mean().item()


# %% tags=["answer"]
table = {}
for task in ("own question", "one question"):
    model = trained[task][0][0]
    x_, asks = look(model, task)
    maps = model[1].attention(x_[:64]).detach()
    for who, which in {"who ask": asks[:64], "all 144": torch.ones(64, 144) > 0}.items():
        table[task, who] = mean_distance(maps, which), cosine_distance(maps, which)
        print(f"{task}, {who}: moved ≈ {table[task, who][0]:.2f}, cosine ≈ {table[task, who][1]:.2f}")

# %%
own, one = table["own question", "all 144"], table["one question", "all 144"]
assert abs(own[0] - one[0]) < 0.06 and table["own question", "who ask"][1] > 10 * table["one question", "who ask"][1]

# %% [markdown]
# Over all pixels, the two tasks cannot be told apart: 136 pixels whose answers were never trained hide the eight that matter. *Say over whom you average.* The choice of distance matters less.
#
# ## Deeper · One vector, and every pixel its own answer (4 minutes)
#
# The ladder's lower blocks failed at the own question. Because one vector cannot *hold* all answers? **No.** We set all weights by hand. Before the block, a ReLU makes 16 channels, one for each
# pair of colour p and number q: it is 1 only in a source that holds both. The block is the plain average. After it, a ReLU is 1 only where the vector holds (p, q) *and* the pixel's own colour is p. *Before
# running: how many questions will this answer?*

# %%
colour, number = test.images[:, :4, None], test.images[:, None, 4:8]  # b p 1 h w, b 1 q h w
pairs = (colour + number - 1).relu()  # b p q h w
one_vector = 144 * pairs.mean(dim=(3, 4), keepdim=True)  # b p q 1 1, the same for every pixel

# %% tags=["answer"]
answers = (one_vector + colour - 1).relu().sum(dim=1).argmax(dim=1)  # b q h w -> b h w
asked_for = test.targets != IGNORE
print(f"right: {(answers == test.targets)[asked_for].float().mean():.2f}")
assert (answers == test.targets)[asked_for].all()

# %% [markdown]
# All of them. The pixel still asks its own question, but *after* the block, in the next layer. So what failed in the ladder is one vector **between linear layers**, in 120 steps. We set these weights by hand; whether training
# finds them is another question, which we leave open. A block of GCNet stands inside a deep network, with a ReLU before and behind.
#
# ## Deeper · What to believe (1 minute)
#
# The authors report for Mask R-CNN with ResNet-50 (box / mask AP, from the table of their repository): 37.3 / 34.2 without, 38.5 / 35.1 with GC and r = 16, 38.9 / 35.5 with r = 4. That one map does as well as n maps *there* is their result on
# detection; our tasks say what to test before you believe it elsewhere. A later paper (Yin et al.) splits the score into a common and a pairwise part, as our common share does, and trains them apart.
#
# *Our own numbers.* For the cued channel we took 500 steps *after* seeing one map with 400 (three seeds: 0.93, 0.64, 0.90 right) and with 800 (0.92, 0.95, 0.91); so how often one map learns it depends on that choice. In a full-size version of
# the exchange (two seeds, outside this notebook) 0.96 right fell to 0.38. For recall, a third seed of the simplified block with one question got 1.00, and a third of the gate 0.76.
#
# *References.* Cao, Xu, Lin, Wei, Hu, GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond, ICCV workshops 2019, arXiv 1904.11492.
# Wang, Girshick, Gupta, He, Non-local Neural Networks, CVPR 2018, arXiv 1711.07971.
# Hu, Shen, Albanie, Sun, Wu, Squeeze-and-Excitation Networks, 2018, arXiv 1709.01507.
# Yin, Yao, Cao, Li, Zhang, Lin, Hu, Disentangled Non-Local Neural Networks, ECCV 2020, arXiv 2006.06668.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
