# %% [markdown]
# # 04 · Richer squeeze
#
# **What does an average throw away?**
#
# After this lesson you will be able to
#
# - describe a channel by more than its mean in four ways, and say what each of them averages;
# - name for each description two kinds of images that it tells apart, and a rival that cannot;
# - find out by controls why SRM sees a rare cue that SE misses.
#
# *Minutes:* 39, deeper 18 · *Needs:* 03 · *Paper:* Lee et al., 2019, arXiv 1903.10829; Gao et al., 2019, arXiv 1811.12006; Qin et al., 2021, arXiv 2012.11879; Zhang et al., 2018, arXiv 1803.08904 · *Exercise:* [04 richer squeeze](../exercises/04_richer_squeeze.ipynb) · *Module:* [style_recalibration.py](../course_lib/channel/style_recalibration.py), [second_order_pooling.py](../course_lib/channel/second_order_pooling.py), [frequency_channel.py](../course_lib/channel/frequency_channel.py), [context_encoding.py](../course_lib/channel/context_encoding.py)
#
# Out of scope: lighter ways to mix channels (05), where in the image something is (09, 15).

# %%
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.channel.frequency_channel import LOW_16, TOP_16, dct_basis, dct_filters
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.channel.style_recalibration import StyleRecalibration
from course_lib.data.alike import PAIRS, alike
from course_lib.data.cued_channels import TEXTURES, cued_channels
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, SIGNED, describe, new_figure, plot_runs, show_image, show_images
from course_lib.training import accuracy, fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Two channels with one average
#
# Squeeze-and-Excitation (SE, lesson 03) describes a channel by one number, its mean. Here are two channels of 2 × 2 pixels: a
# grey field, and a black and a white stripe. *Before running: what are their means? And how far are the pixels of each from their mean?*

# %%
grey = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
stripe = torch.tensor([[0.0, 2.0], [0.0, 2.0]])

# %% tags=["answer"]
for name, channel in {"grey": grey, "stripe": stripe}.items():
    print(f"{name:7} mean {channel.mean():.0f}   deviation {channel.std(correction=0):.0f}")
assert grey.mean() == stripe.mean() and stripe.std(correction=0) == 1

# %% [markdown]
# To SE both are the same channel. The *standard deviation* tells them apart: the root of the average squared distance from the mean.
#
# ## One of the four by hand: mean and deviation
#
# SRM (style-based recalibration) describes each channel by both numbers, and lets them set the channel's own gate:
#
# $$t_c = (\mu_c, \sigma_c) \qquad z_c = w_{c1}\, \mu_c + w_{c2}\, \sigma_c$$
# $$s = \mathrm{sigmoid}\bigl(\mathrm{BN}(z)\bigr) \qquad y_c = s_c\, x_c$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $t$ | mean and deviation of each channel | b c 2 |
# | $w$ | two learned weights for each channel, which start at 0 | c 2 |
# | BN | batch norm: each $z_c$ minus its mean over the batch, divided by its deviation, times a learned scale, plus a learned shift | b c |
# | $s$ | the gates | b c |

# %% tags=["folded"]
diagram(StyleRecalibration)

# %% [markdown]
# **For each image and channel: its mean, its deviation, their weighted sum.** First as loops:


# %%
def sum_by_loops(x, weight):
    """For each image and channel: its mean, its deviation, their weighted sum. b c h w -> b c"""
    z = torch.empty(x.shape[:2])
    for b, image in enumerate(x):
        for c, channel in enumerate(image):
            mean = sum(channel.flatten()) / channel.numel()
            variance = sum((channel.flatten() - mean) ** 2) / channel.numel()
            z[b, c] = weight[c, 0] * mean + weight[c, 1] * variance.sqrt()
    return z


# %% [markdown]
# Then as tensors, and as the module of `course_lib` with random weights. (ε, which protects the root of zero, is off here.)


# %%
def style(x):
    """The mean and the deviation of each channel: b c h w -> b c 2."""
    return torch.stack([x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)], dim=-1)


# %%
torch.manual_seed(0)
x = torch.randn(2, 3, 4, 5)
block = StyleRecalibration(3, epsilon=0.0).eval()
nn.init.normal_(block.weight)
z = (style(x) * block.weight).sum(dim=-1)  # b c 2, c 2 -> b c

# %%
torch.testing.assert_close(z, sum_by_loops(x, block.weight))
torch.testing.assert_close(x * block.norm(z).sigmoid()[:, :, None, None], block(x))
print("the gates:", list(block.attention(x).shape), "= b c 1 1")

# %% [markdown]
# Unlike in SE, no channel sees another. A fresh block has $w = 0$, so all its gates are one half.
#
# ## The other three: average something else
#
# The deviation is an average, too: not of the pixels, but of their squared distances. That is what all four have in common. **Each still
# averages over all positions; each averages something else.**

# %% tags=["folded"]
SQUEEZES = {  # what each averages, and what comes out
    "SE": ("x", "b c"),
    "SRM": ("x,  (x − μ)²", "b 2c"),
    "GSoP": ("(x − μ)(x − μ)ᵀ", "b cc"),
    "FcaNet": ("x × a wave", "b c"),
    "EncNet": ("a (x − d)", "b mc"),
}


def box(axes, x, y, text, colour="black", fill="white"):
    """An operation, or a name."""
    style = {"boxstyle": "round,pad=0.4", "fc": fill, "ec": colour}
    axes.text(x, y, text, ha="center", va="center", color=colour, bbox=style, zorder=3)


def arrow(axes, start, end, colour):
    """From one point to another."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5})


# %% tags=["folded"]
figure = new_figure(7.0, 3.4)
axes, blue = figure.subplots(), COLOURS[0]
for k, (name, (averaged, shape)) in enumerate(SQUEEZES.items()):
    y = 2 - k
    arrow(axes, (0.5, 0.0), (2.0, y), blue)
    axes.text(2.1, y, name, weight="bold", va="center", color=blue)
    box(axes, 4.7, y, f"mean of  {averaged}", blue)
    arrow(axes, (6.3, y), (8.0, 0.05 * y), blue)
    axes.text(*((6.4, y + 0.15) if k < 3 else (5.75, y + 0.3)), shape, family="monospace", color=blue, fontsize=9)

# %% tags=["folded"]
box(axes, 8.7, 0, "learned\nweights,\nsigmoid", blue, "#f5deb3")
axes.plot([0.2, 0.2, 8.7, 8.7], [-0.3, -3.0, -3.0, -3.0], color="black", lw=1.5)
arrow(axes, (8.7, -0.75), (8.7, -2.75), blue)
arrow(axes, (8.95, -3.0), (10.3, -3.0), "black")
axes.text(0.2, 0, "x", ha="center", va="center", style="italic", fontsize=13)
axes.text(0.2, 0.4, "b c h w", ha="center", family="monospace", fontsize=9)
axes.text(8.85, -1.8, "b c 1 1", family="monospace", color=blue, fontsize=9)
box(axes, 8.7, -3.0, "×"), axes.text(10.5, -3.0, "y", va="center", style="italic", fontsize=13)
axes.set(xlim=(-0.5, 10.8), ylim=(-3.5, 2.6)), axes.set_axis_off()
describe(
    figure,
    "from x, b c h w, five blue arrows lead to five boxes, one for each block: SE takes the mean of x; SRM of x and of its squared distance from the mean; GSoP of the product of "
    "that distance with its transpose; FcaNet of x times a wave; EncNet of the share a times the way from a codeword d. All five lead to one box, learned weights and sigmoid, which gives the "
    "gates, b c 1 1; x itself runs below in black and is multiplied by them.",
)

# %% [markdown]
# | block | what is averaged at position i | numbers |
# |---|---|---|
# | SE | $x_i$ | c |
# | SRM | $x_i$, and $(x_i - \mu)^2$, then the root | 2 c |
# | GSoP, second-order pooling | $(x_i - \mu)(x_i - \mu)^\top$: every channel times every channel | c² |
# | FcaNet, frequencies | $x_i B_i$: times a fixed wave $B$, another for each group of channels | c |
# | EncNet, context encoding | $a_{ik} (x_i - d_k)$: how far $x_i$ lies from the codeword $d_k$, counted by its share $a_{ik}$ | m c, then summed to c |
#
# A *codeword* is a typical pixel; EncNet learns m of them. The shares $a_{ik} = \mathrm{softmax}_k(-\kappa_k \lVert x_i - d_k \rVert^2)$ say which codeword is near; $\kappa_k$ says how sharply.
#
# **Each difference is a line.** We write the descriptions for images with two channels of 8 × 8 pixels:


# %%
def mean(x):
    """The average of each channel, as in SE: b c h w -> b c."""
    return x.mean(dim=(2, 3))


def deviation(x):
    """The mean, and how far from it, as in SRM: b c h w -> b 2c."""
    return style(x).flatten(1)


# %%
def covariance(x):
    """How channels rise and fall together, as in GSoP: b c h w -> b cc."""
    v = (x - x.mean(dim=(2, 3), keepdim=True)).flatten(2)  # b c n
    return (v @ v.mT / v.shape[2]).flatten(1)


# %%
waves_of_16 = dct_filters(TOP_16, 8, 8).float()  # f h w: 16 cosines, the paper's choice


def waves(x):
    """How much of its own wave each channel holds, as in FcaNet: b c h w -> b 16."""
    copies = x.repeat_interleave(16 // x.shape[1], dim=1)  # two channels -> 16, since FcaNet needs one a wave
    return (copies * waves_of_16).sum(dim=(2, 3))


# %%
codewords = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])  # m c, chosen by us


def residuals(x):
    """How far pixels lie from the codeword that is near, as in EncNet: b c h w -> b mc."""
    away = x.flatten(2).mT[:, :, None] - codewords  # b n 1 c, m c -> b n m c
    share = (-away.square().sum(dim=3, keepdim=True)).softmax(dim=2)  # b n m 1
    return (share * away).mean(dim=1).flatten(1)


# %% [markdown]
# (The blocks of `course_lib` start from the same: a deeper section. There EncNet's c numbers are sums of these m c.)
#
# ## Four pairs of kinds of images
#
# In every image of these pairs, both channels have mean 0. So the mean of a channel tells nothing, beyond rounding. The deviation is 1 everywhere, except in the first pair.
#
# | pair | kind 0 | kind 1 |
# |---|---|---|
# | spread | weak noise, deviation 1 | strong noise, deviation 1.5 |
# | together | the two channels rise together | one rises where the other falls |
# | order | noisy stripes that lie, at any height | stripes that stand, at any place |
# | shape | values −1 and 1, equally often | values −√2, 0, 0, √2, equally often |

# %% tags=["folded"]
figure = new_figure(7.0, 3.1)
panels = figure.subplots(2, 4)
for column, pair in zip(panels.T, PAIRS):
    images, _ = alike(pair, 1)
    for kind, axes in enumerate(column):
        both = F.pad(images[kind], (0, 1), value=float("nan")).transpose(0, 1).flatten(1)[:, :-1]  # 2 h w -> h 2w + 1
        drawn = axes.imshow(both, cmap=SIGNED, vmin=-3, vmax=3, interpolation="nearest")
        axes.set(title=f"{pair}, kind {kind}"), axes.set_axis_off()
        axes.text(3.5, 8.2, "channel 0", ha="center", va="top", fontsize=9)
        axes.text(12.5, 8.2, "channel 1", ha="center", va="top", fontsize=9)
figure.colorbar(drawn, ax=panels, label="value", shrink=0.6)
describe(
    figure,
    "two rows of four pictures, one image each, with its two channels beside each other, orange and violet for values of either sign. Spread: pale and strong noise. Shape: two colours only, and two "
    "colours and white. In the pictures of together and of order only noise meets the eye.",
)

# %% [markdown]
# In one image noise hides *together* and *order*. *Before running: write down which of the five descriptions will tell which pairs apart.*
#
# The read-out is a small network on the description alone, as in SE. It is trained on 800 images of a pair and asked about 800 others. A sixth row is what EncNet's gates get: its residuals, summed over the codewords.


# %%
images_of = cache(alike)  # each set is made once


def read_out(description, pair, seed):
    """The share of unseen images whose kind a small network tells from this description."""
    (x, kinds), (unseen, expected) = images_of(pair, 400, seed=seed), images_of(pair, 400, seed=100 + seed)
    z = description(x)  # one row of numbers an image
    torch.manual_seed(seed)
    network = nn.Sequential(nn.BatchNorm1d(z.shape[1]), nn.Linear(z.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    fit(network, z, kinds, steps=40, learning_rate=0.05, seed=seed)
    return accuracy(network, description(unseen), expected)


# %% tags=["answer"]
def summed(x):
    """The residuals, summed over the codewords after a ReLU: b c h w -> b c."""
    return residuals(x).unflatten(1, (4, -1)).relu().sum(dim=1)


descriptions = {one.__name__: one for one in (mean, deviation, covariance, waves, residuals, summed)}
told = {
    (name, pair): torch.tensor([read_out(one, pair, seed) for seed in (0, 1, 2)])
    for name, one in descriptions.items()
    for pair in PAIRS
}
print("worst of three seeds", *(f"{pair:>9}" for pair in PAIRS))
for name in descriptions:
    print(f"{name:20}", *(f"   ≈ {told[name, pair].min():.2f}" for pair in PAIRS))

# %%
sees = {("deviation", "spread"), ("covariance", "spread"), ("covariance", "together"), ("waves", "order")}
sees |= {("residuals", "spread"), ("residuals", "together"), ("residuals", "shape"), ("summed", "shape")}
partly = {("waves", "spread"), ("summed", "spread")}
for cell, shares in told.items():
    assert (shares > 0.95).all() if cell in sees else cell in partly or (shares < 0.6).all(), cell

# %% [markdown]
# **Read it by columns.** The mean is at chance everywhere, by construction. Each of the four tells apart a pair that a simpler rival does not:
#
# - **spread**: SRM's deviation can, the mean cannot;
# - **together**: GSoP's covariance can, the deviation cannot, since it looks at one channel at a time;
# - **order**: FcaNet's waves can, and *nothing else*: all others average something that does not know its place (a control: deeper);
# - **shape**: EncNet's residuals can; the covariance cannot, as it knows only squares and products.
#
# By rows, no description tells all four. The waves see some of the spread (perhaps since stronger noise has larger coefficients). The residuals see three of four; but summed over the codewords, as EncNet's gates
# get them, they lose *together*. Ours may be lucky, too: we chose codewords where the values of the last pair lie, EncNet must learn them.
#
# ## The experiment: a rare cue
#
# The task of lesson 03: three digits stand in three channels, and a texture in a fourth channel, far away, says which of the digits is the answer. There SE learned it.
# Now the cue is *rare*: 2 × 2 pixels of the texture, somewhere among 8 × 8 with a little noise. Who cannot choose a digit gets about 0.40 (1/3 by luck, and one in ten of the rest).

# %%
images, labels, cues = cued_channels(4000, sparse=True)
test_images, test_labels, _ = cued_channels(1000, sparse=True, test=True, seed=1)

# %% tags=["folded"]
kinds = [int((cues == cue).nonzero()[0]) for cue in range(3)]  # one of each texture
describe(
    show_images([images[k, 3] for k in kinds], [f"{TEXTURES[cues[k]]}: digit {labels[k]}" for k in kinds]),
    "three wide, nearly black panels: the fourth channel of three canvases. At the right of each, in faint noise, two bright pixels: beside each "
    "other, one above the other, and on a diagonal.",
)

# %% [markdown]
# The network: a convolution that can see the cue, **one gate**, a second convolution, a linear layer. The convolution mixes the four channels: one of its
# 16 features can answer to the cue *and* to a digit. So a gate that sees only its own channel can still learn from the cue. Five gates:
#
# - **SE**, and **SE, with norm**: with SRM's batch norm before its sigmoid. A control for the *norm*;
# - **SRM**: mean and deviation, then the norm, then the sigmoid;
# - **SRM, no norm**: a learned scale and shift instead of the batch norm: a second control;
# - **SRM, mean twice**: the mean also takes the place of the deviation. A control for the *deviation*.
#
# The three SRMs have equally many learned numbers, and all five the same data, steps and learning rate.


# %%
class MeanTwice(StyleRecalibration):
    """SRM that gets the mean in place of the deviation."""

    def style(self, x):
        return x.mean(dim=(2, 3))[:, :, None].expand(-1, -1, 2)  # b c 2


# %%
class ScaleAndShift(nn.BatchNorm1d):
    """What a batch norm learns, without what it measures: b c -> b c."""

    def forward(self, z):
        return self.weight * z + self.bias


# %%
def se_with_norm():
    """SE with a batch norm before its sigmoid."""
    gate = SqueezeExcitation(16, reduction=1)
    gate.excite = nn.Sequential(gate.excite, nn.BatchNorm1d(16))
    return gate


def without_norm():
    """SRM with a scale and a shift in place of its batch norm."""
    gate = StyleRecalibration(16)
    gate.norm = ScaleAndShift(16)
    return gate


# %%
gates = {
    "SE": lambda: SqueezeExcitation(16, reduction=1),
    "SE, with norm": se_with_norm,
    "SRM": lambda: StyleRecalibration(16),
    "SRM, no norm": without_norm,
    "SRM, mean twice": lambda: MeanTwice(16),
}


# %%
def train_with(name, seed):
    """The small network with this gate, trained; the share of right answers on unseen digits."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        *(nn.Conv2d(4, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), gates[name]()),
        *(nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(16 * 4 * 12, 10)),
    )
    fit(network, images, labels, steps=400, learning_rate=5e-3, batch_size=20, one_cycle=False, seed=seed, title=name)
    return accuracy(network, test_images, test_labels)


# %% [markdown]
# **We predicted**: the mean of a rare event is too small to be of use, and the deviation is what makes SRM work. A feature that answers at
# 2 of 192 positions, and nowhere else, has a deviation ten times its mean. So "mean twice" and both SEs should fail, and "SRM, no norm" should do well. *Before
# running: do you agree?* (The cell runs for half a minute.)

# %% tags=["answer"]
right = {name: torch.tensor([train_with(name, seed) for seed in (0, 1, 2)]) for name in gates}
for name, shares in right.items():
    learned = sum(p.numel() for p in gates[name]().parameters())
    print(f"{name:16} {learned:4} numbers   right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
assert right["SRM"].min() > 0.6, "SRM learns from the cue, with every seed"
assert max(right[name].max() for name in ("SE", "SRM, no norm")) < 0.45, "without the norm nothing does"
assert right["SE, with norm"].mean() > 0.45, "with the norm the mean does, too"
assert right["SRM, mean twice"].mean() < right["SRM"].mean() - 0.15, "in SRM the deviation counts"

# %% tags=["folded"]
figure = new_figure(7.0, 2.4)
plot_runs(figure.subplots(), right, guess=0.4)
describe(
    figure,
    "shares of right answers, three dots for each gate, and a dotted line at 0.4: SE and SRM without norm lie at the line, SRM "
    "far right of it near 0.8; SE with norm comes close to it; SRM with the mean twice lies far left of both.",
)

# %% [markdown]
# **Our prediction was wrong in one half, and too strong in the other.** Without the norm, the deviation gets no further than SE. With it, even SE's mean learns from the cue. Three seeds say little about how surely, so we ran nine seeds outside this notebook:
# SE with SRM's norm 0.50 to 0.90 (mean 0.67), SRM 0.71 to 0.84 (0.78), SRM with the mean twice 0.35 to 0.62 (0.47). *The norm is what SE lacks most; the deviation makes it sure.*
#
# This does not show that SE never learns it: lesson 03 trained it for 1500 steps, on a cue that fills 64 pixels. And which part of the norm does
# the work, that it subtracts the batch's mean, or that it divides by the deviation, we did not find out.
#
# ## Real features: does one half find the other?
#
# Our pairs were *made* so that the mean fails. Does it fail on photographs? We cut six photographs in a left and a right half, and describe each half by its features
# (trunk, block 4, 40 channels, as in lesson 03). For each left half we take the right half that is described most alike (each number standardised over all twelve halves). *Before running: which description will find most of
# the six partners?*

# %%
trunk = load_trunk()
photographs = [load_photograph(name, height=200) for name in PHOTOGRAPHS]
halves = [p[:, :, : p.shape[2] // 2] for p in photographs] + [p[:, :, -(p.shape[2] // 2) :] for p in photographs]
features = [trunk(half[None], block=4) for half in halves]  # 12 times 1 c h w: six left halves, six right halves

# %% [markdown]
# Waves and codewords must fit these maps: 16 slow waves on 14 × 14, each for two or three channels; and eight pixels drawn from the features as codewords, with $\kappa_k$ such that
# a pixel's mean squared distance from the *average pixel* counts as 8.


# %%
def waves_of_features(x):
    """Each channel's own wave, one of 16 slow ones, on maps pooled to 14 × 14: b c h w -> b c."""
    own = dct_filters(LOW_16, 14, 14).float()[torch.arange(40) * 16 // 40]  # c h w
    return (F.adaptive_avg_pool2d(x, 14) * own).sum(dim=(2, 3))


# %%
pixels = torch.cat([x[0].flatten(1) for x in features], dim=1).mT  # n c
typical = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:8]]


def residuals_of_features(x):
    """Residuals to eight pixels of the features: b c h w -> b 8c."""
    away = x.flatten(2).mT[:, :, None] - typical
    share = (-8 * away.square().sum(dim=3, keepdim=True) / pixels.var(dim=0).sum()).softmax(dim=2)
    return (share * away).mean(dim=1).flatten(1)


# %%
def likeness(description):
    """How alike (by the cosine) each left half's description is to each right half's, standardised over all 12: 6 6."""
    z = torch.cat([description(x) for x in features])
    z = F.normalize((z - z.mean(dim=0)) / (z.std(dim=0) + 1e-6), dim=1)
    return z[:6] @ z[6:].mT


# %% tags=["answer"]
of_features = {"mean": mean, "deviation": deviation, "covariance": covariance}
of_features |= {"waves": waves_of_features, "residuals": residuals_of_features}
tables = {name: likeness(one) for name, one in of_features.items()}
found = {name: int((table.argmax(dim=1) == torch.arange(6)).sum()) for name, table in tables.items()}
print(found)

# %%
assert found["mean"] == 6 and found["waves"] < 5

# %% tags=["folded"]
figure = new_figure(7.0, 2.6)
panels = figure.subplots(1, 5, sharey=True)
for axes, (name, table) in zip(panels, tables.items()):
    shown = axes.imshow(table, cmap=SIGNED, vmin=-1, vmax=1, interpolation="nearest")
    axes.set(
        title=f"{name}:\n{found[name]} of 6",
        yticks=range(6),
        yticklabels=PHOTOGRAPHS,
        xticks=[],
        xlabel="right halves",
    )
panels[0].set_ylabel("left halves")
figure.colorbar(shown, ax=panels, label="likeness", shrink=0.6)
describe(
    figure,
    "five tables of 6 × 6 likenesses, left halves down, right halves across in the same order. In four tables the diagonal is violet and most of the rest paler or orange; it is darkest with the "
    "mean and the deviation. In the table of the waves all colours are pale, and the diagonal hardly stands out.",
)

# %% [markdown]
# **Read it.** On photographs the plain mean finds all partners, and the waves find fewest (why: a deeper section). So an average throws away much that *can* matter; on these photographs,
# what it kept was enough. What this does not show: whether a network that is *trained* with richer descriptions would use them.
#
# ## Put back what the average threw away
#
# The mean is the slowest wave. Take the brightness of a photograph as a channel, and rebuild it from its k × k slowest waves, k² numbers. *Before moving: what will k = 1 show?*

# %%
brightness = {name: load_photograph(name, height=64).mean(dim=0) for name in PHOTOGRAPHS}  # h w each


def rebuild(channel, k):
    """A map from its k × k slowest waves: h w -> h w."""
    down, across = (dct_basis(size)[:k].float() for size in channel.shape)  # k h, k w
    coefficients = down @ channel @ across.mT  # k k
    return down.mT @ coefficients @ across


# %% tags=["folded"]
def draw_rebuilt(figure, k=1, name="cat"):
    """The brightness of one photograph from its k × k slowest waves."""
    whole = brightness[name]
    left = (rebuild(whole, k) - whole).square().sum() / (whole - whole.mean()).square().sum()
    show_image(figure.subplots(), rebuild(whole, k), title=f"k = {k}: {100 * (1 - left):.0f} %")


# %% tags=["widget"]
steer(
    draw_rebuilt,
    height=4.6,
    k=slider("waves a side, k", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64], value=1),
    name=slider("photograph", list(PHOTOGRAPHS), value="cat"),
)

# %% [markdown]
# (The title says how much of the variance is there.) The same without a widget, for k = 1, 3, 8 and 32:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 1.6)
for panel, k in zip(figure.subfigures(1, 4), (1, 3, 8, 32)):
    draw_rebuilt(panel, k)
describe(
    figure,
    "a photograph of a cat's face four times: one flat grey; nearly flat, a little darker on one side; pale and dark blots; a nearly sharp face. The titles say "
    "0 %, then more and more of the variance.",
)

# %%
cat = brightness["cat"]
torch.testing.assert_close(rebuild(cat, 1), cat.mean().expand_as(cat))
torch.testing.assert_close(rebuild(cat, 96), cat, rtol=1e-3, atol=1e-4)

# %% [markdown]
# FcaNet does not keep all these numbers. Like SE it keeps **one** a channel; only *which* one differs between groups of channels.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 03 SE | averages of all channels, through $W_1$ | rows of $W_2$, learned, one a channel | the channels | b c | sigmoid, each gate alone | 2 c²/r + 2 c h w |
# | 04 SRM | mean and deviation of a channel | $w_c$, learned, one a channel | that channel | b c | batch norm and sigmoid | 4 c + 3 c h w |
# | 04 GSoP | covariance | learned, as in SE | the channels | b c | sigmoid, each gate alone | c² h w + … |
# | 04 FcaNet | waves | learned, as in SE | the channels | b c | sigmoid, each gate alone | 2 c²/r + 3 c h w |
# | 04 EncNet | residuals, summed | learned, as in SE | the channels | b c | sigmoid, each gate alone | m c h w + … |
#
# ## Three things to keep
#
# 1. All four still average over positions; **they average something else**: squared distances, products of channels, products with waves, ways from codewords.
# 2. An average of what does not know its place cannot see **order**; one channel alone cannot see **together**; squares and products cannot see **shape**.
# 3. On a rare cue the **norm** counted most, for SE, too; deviation and norm together learned it every time. On photographs the mean found every partner.
#
# **Now the [exercise](../exercises/04_richer_squeeze.ipynb).** What follows goes deeper; each section can be read alone.

# %% [markdown]
# ## Deeper · The other three blocks (5 minutes)
#
# Each averages something else than SE; GSoP and EncNet first pass x through a learned 1 × 1 convolution. GSoP reads row i of the covariance, "how channel i goes with all others", with four filters of its own (RC):

# %% tags=["folded"]
from course_lib.channel.context_encoding import ContextEncoding
from course_lib.channel.frequency_channel import FrequencyChannel
from course_lib.channel.second_order_pooling import SecondOrderPooling

diagram(SecondOrderPooling)

# %% [markdown]
# FcaNet is SE with a cosine in the place of the average:

# %% tags=["folded"]
diagram(FrequencyChannel)

# %% [markdown]
# EncNet sorts the pixels first. (Its released code also *adds* the gated channels to x: `released=True`.) During training it also has to predict from its description which classes are in the
# image:

# %% tags=["folded"]
diagram(ContextEncoding)

# %% [markdown]
# **They start from our lines**, once their learned first layers are taken out (and x ≥ 0, since GSoP's block first takes the ReLU of x). EncNet sums where we average, and then adds its codewords up.

# %%
x = torch.rand(3, 2, 8, 8)
second, frequency = SecondOrderPooling(2, hidden=2), FrequencyChannel(16, 8, 8, reduction=1)
encoding = ContextEncoding(2, codewords=4)
second.reduce = encoding.project = encoding.norm = nn.Identity()
encoding.codewords.data, encoding.smoothing.data = codewords, torch.ones(4)

# %%
torch.testing.assert_close(second.covariance(x).flatten(1), covariance(x))
torch.testing.assert_close(frequency.squeeze_waves(x.repeat_interleave(8, dim=1)), waves(x))
summed = 64 * residuals(x).unflatten(1, (4, 2))  # b m c
torch.testing.assert_close(encoding.descriptor(x), summed.relu().sum(dim=1))

# %% [markdown]
# ## Deeper · Is it the order that the waves see? (2 minutes)
#
# A control: the pixels of each image are shuffled, in the same way in both channels. *Before running: which descriptions will change?*


# %%
def shuffle(x):
    """The pixels of each image in an order of its own: b c h w -> b c h w."""
    places = torch.rand(len(x), 1, 64, generator=torch.Generator().manual_seed(0)).argsort(dim=2)
    return x.flatten(2).gather(2, places.expand(-1, 2, -1)).view_as(x)


# %%
stripes, _ = alike("order", 400)
torch.testing.assert_close(covariance(shuffle(stripes)), covariance(stripes))
torch.testing.assert_close(residuals(shuffle(stripes)), residuals(stripes))
shuffled = torch.tensor([read_out(lambda x: waves(shuffle(x)), "order", seed) for seed in (0, 1, 2)])
print("waves of shuffled stripes", *(f"≈ {share:.2f}" for share in shuffled))
assert (shuffled < 0.6).all()

# %% [markdown]
# It is the order. Shuffling leaves the other descriptions as they were, and brings the waves down to chance.

# %% [markdown]
# ## Deeper · Why do waves find fewer partners? (2 minutes)
#
# On photographs the waves were worst. Is it that other channels have other waves, or is it what a wave measures? A control: **One and the same slow wave for all channels**, the mean (wave 0) and the next three:


# %%
def one_wave(k):
    """A description: all channels with the same slow wave."""
    wave = dct_filters(LOW_16, 14, 14)[k].float()  # h w
    return lambda x: (F.adaptive_avg_pool2d(x, 14) * wave).sum(dim=(2, 3))


partners = [int((likeness(one_wave(k)).argmax(dim=1) == torch.arange(6)).sum()) for k in range(4)]
print("found with wave 0, 1, 2, 3 for all channels:", partners)
assert partners[0] == 6 > max(partners[1:])

# %% [markdown]
# It is what a wave measures: where in the half a thing stands. That is not the same in the other half, and only the mean does not ask.

# %% [markdown]
# ## Deeper · The same waves, or others (3 minutes)
#
# In a first version of our table both channels had all 16 waves, and "together", which we expected at chance, was told apart. Was it that there were twice as many numbers, or
# that both channels had the *same* waves? The control has 16 numbers as in the table, but **the same eight waves in both channels**. *Before running: which of the two was it?*


# %% tags=["answer"]
def same_waves(x):
    """The same eight waves in both channels: b c h w -> b 16."""
    return torch.einsum("bchw,fhw->bcf", x, waves_of_16[:8]).flatten(1)


same = torch.tensor([read_out(same_waves, "together", seed) for seed in (0, 1, 2)])
print(
    "together: the same waves",
    *(f"≈ {share:.2f}" for share in same),
    f"  others, worst ≈ {told['waves', 'together'].min():.2f}",
)

# %%
assert same.min() > 0.7 and told["waves", "together"].max() < 0.6

# %% [markdown]
# It was the same waves. If two channels rise together, so do their coefficients of one wave, and a hidden layer can compare them. With different waves there was nothing to compare. *FcaNet's
# saving, one number a channel, costs what GSoP sees*: here, at least, where nothing learned stands before it.
#
# ## Deeper · How many waves hold a digit? (3 minutes)
#
# A ridge regression (as in lesson 03) reads digits from the k × k slowest waves of the 8 × 8 image. *Before running: what will one wave, the mean, give?*


# %% tags=["answer"]
from course_lib.data.digits import load_digits

digits = load_digits()


def from_waves(k):
    """The share of unseen digits that a linear read-out of the k × k slowest waves gets right."""
    slow = dct_basis(8)[:k].float()
    x, unseen = (
        F.pad((slow @ some @ slow.mT).flatten(1), (0, 1), value=1.0)
        for some in (digits.train_images, digits.test_images)
    )
    weights = torch.linalg.solve(
        x.mT @ x + 0.1 * torch.eye(x.shape[1]), x.mT @ F.one_hot(digits.train_labels).float()
    )
    return ((unseen @ weights).argmax(dim=1) == digits.test_labels).float().mean().item()


by_waves = [from_waves(k) for k in (1, 2, 3, 4, 8)]
print("k = 1, 2, 3, 4, 8:", *(f"≈ {share:.2f}" for share in by_waves))

# %%
assert by_waves[0] < 0.25 and by_waves[3] > 0.7 and by_waves[4] - by_waves[3] < 0.2

# %% [markdown]
# Sixteen of 64 numbers hold most of what a linear read-out finds in a digit; from the mean alone it guesses.
#
# ## Deeper · The sign of a codeword (2 minutes)
#
# The paper writes $-s_k$ before the distance (our $-\kappa_k$; here s, too, is a number and no gate). The released code stores the negative number and multiplies without a sign; nothing keeps it negative. **One pixel at 0.9, codewords at
# −1 and 1.** *Before running: to which codeword does it go if the sign is lost? And if s is large?*

# %% tags=["answer"]
distance = (torch.tensor(0.9) - torch.tensor([-1.0, 1.0])).square()
for s in (1.0, 20.0, -1.0):
    print(f"s = {s:3.0f}: shares", [round(one, 2) for one in (-s * distance).softmax(dim=0).tolist()])
assert (-distance).softmax(dim=0)[1] > 0.9 > 0.1 > distance.softmax(dim=0)[1]

# %% [markdown]
# With a negative s the pixel goes to the *farthest* codeword, and nothing raises an error. A large s sorts hard: each pixel to one codeword, as in VLAD, the older form that the exercise asks for.
#
# ## Deeper · What to believe (1 minute)
#
# The authors report for ResNet-50 on ImageNet, top-1: GSoP-Net1 77.98 % (22.02 % error), FcaNet 78.52 %. The first paid with about 60 % more multiplications (6.2 against 3.9 billion, from the table of the ECA paper); most of
# them come from a larger last map. FcaNet's abstract once compared itself with an SE network of another recipe; with their own recipe the authors' plain ResNet-50 gets 77.27 %
# (issue 36 of their repository), so the gain is 1.25 points, and less over SE. EncNet segments: on ADE20K 41.5 % mean intersection over union, 38.5 % without (as far as we know from the authors' toolbox). Compare within a table only.
# Our tasks show what a description *can* tell apart, not how often that is needed.
#
# *References.* Lee, Kim, Nam, SRM: A Style-based Recalibration Module for Convolutional Neural Networks, ICCV 2019, arXiv 1903.10829.
# Gao, Xie, Wang, Li, Global Second-order Pooling Convolutional Networks, CVPR 2019, arXiv 1811.12006.
# Qin, Zhang, Wu, Li, FcaNet: Frequency Channel Attention Networks, ICCV 2021, arXiv 2012.11879.
# Zhang, Dana, Shi, Zhang, Wang, Tyagi, Agrawal, Context Encoding for Semantic Segmentation, CVPR 2018, arXiv 1803.08904.
# Zhang, Xue, Dana, Deep TEN: Texture Encoding Network, CVPR 2017, arXiv 1612.02844.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
