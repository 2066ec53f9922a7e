# %% [markdown]
# # 08 · Deformable
#
# **Can every position choose its own samples?**
#
# After this lesson you will be able to
#
# - compute by hand what a deformable convolution reads, and say which channel moves which tap which way;
# - say in which of two tasks each position must choose where it reads, and in which fixed taps are enough;
# - draw the places that a layer really reads, and say why it cannot choose between what it finds there.
#
# *Minutes:* 43, deeper 8 · *Needs:* 07 · *Paper:* Dai et al., Deformable Convolutional Networks, 2017, arXiv 1703.06211; Zhu et al., 2019, arXiv 1811.11168 · *Exercise:* [08 deformable](../exercises/08_deformable.ipynb) · *Module:* [deformable.py](../course_lib/spatial/deformable.py)
#
# Out of scope: weights that come from comparing what was read (09, 12), deformable pooling of regions.

# %%
import math
import time
from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.data.photographs import load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, SIGNED, describe, frameless, new_figure, ring, show_found, show_image
from course_lib.spatial.deformable import DeformableConv2d, deform_conv2d
from course_lib.training import fit, predict
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Three taps that wander
#
# The transformer of lesson 07 has six numbers for the whole image. Now **every position gets a warp of its own**.
#
# A convolution reads at fixed places around each position; we call them its *taps*. Here is a row of six pixels, and a kernel of three taps with the weights 1, 2, 1. At
# position 2 it reads the places 1, 2, 3. Now each tap may move: by −1, 0 and +0.5. Between pixels we read as in lesson 07, and beyond the border stand zeros.
# *Before running: which three values are read, and what is the output?*

# %% tags=["answer"]
row = torch.tensor([2.0, 4.0, 8.0, 6.0, 2.0, 0.0])


def read(row, place):
    """Every pixel counts by how near it is: 1 at its own place, 0 from one pixel away."""
    return (1 - (place - torch.arange(6.0)).abs()).clamp(min=0) @ row


values = [read(row, place + moved).item() for place, moved in [(1, -1), (2, 0), (3, 0.5)]]
print(values, " output:", 1 * values[0] + 2 * values[1] + 1 * values[2])
assert values == [2, 8, 4]

# %% [markdown]
# That is all. The rest is: *who says how far?* A second convolution, on the same input, at the same position.
#
# ## The layer

# %% tags=["folded"]
diagram(DeformableConv2d)

# %% [markdown]
# $$y(p_0) = \sum_n w(p_n)\; x\bigl(p_0 + p_n + \Delta p_n(p_0)\bigr)\; \Delta m_n(p_0)$$
#
# | symbol | name | shape |
# |---|---|---|
# | $p_0$ | a position; $p_n$: where tap n of the kernel lies around it, from (−1, −1) to (1, 1) | row, column |
# | $w$ | weights of the taps, **the same at every position** (in shapes, w is the width) | o c k k |
# | $\Delta p_n(p_0)$ | offsets, in pixels: `attention(x)` | b (g k² 2) h w |
# | $\Delta m_n(p_0)$ | factors between 0 and 1 in version 2; 1 in version 1 | b (g k²) h w |
#
# The c channels of x may be split into g groups (not the g of the diagram), each with its own offsets. The offsets stand in this order: *group by group; tap by tap, row by row of the kernel; first the row, then the column*.
# *Before running: a 3 × 3 kernel, two groups. How many channels do the offsets have? And which one moves the last tap of the second group to the right?*

# %% tags=["answer"]
torch.manual_seed(0)
layer = DeformableConv2d(4, 5, offset_groups=2)
print("offsets:", layer.attention(torch.zeros(1, 4, 6, 7)).shape[1], "  last tap's column:", 1 * 18 + 2 * 8 + 1)

# %% [markdown]
# **For each channel, position and tap: find the place, read there, weigh.** First as loops, for one image and 3 × 3 taps:


# %%
def between(plane, row, column):
    """What stands between the pixels: every pixel counts by how near it is. h w -> a number"""
    down = (1 - (row - torch.arange(plane.shape[0])).abs()).clamp(min=0)
    across = (1 - (column - torch.arange(plane.shape[1])).abs()).clamp(min=0)
    return down @ plane @ across


def deform_by_loops(x, offset, weight):
    """Find the place, read there, weigh: c h w, (g 9 2) h w, o c 3 3 -> o h w."""
    (c, h, w), groups = x.shape, len(offset) // 18
    y = torch.zeros(len(weight), h, w)
    for channel, i, j, tap in product(range(c), range(h), range(w), range(9)):
        down, right = divmod(tap, 3)
        slot = 18 * (channel // (c // groups)) + 2 * tap
        place = i + down - 1 + offset[slot, i, j], j + right - 1 + offset[slot + 1, i, j]
        y[:, i, j] += weight[:, channel, down, right] * between(x[channel], *place)
    return y


# %% [markdown]
# **Then all places at once**, and two sums: over the pixels around each place, and over channels and taps.


# %%
def places(offset):
    """The place of each tap, for each position: (g 9 2) h w -> g 9 2 h w, row before column."""
    taps = torch.cartesian_prod(torch.arange(-1, 2), torch.arange(-1, 2))  # 9 2
    here = torch.stack(torch.meshgrid(*map(torch.arange, offset.shape[1:]), indexing="ij"))  # 2 h w
    return offset.unflatten(0, (-1, 9, 2)) + taps[:, :, None, None] + here


def deform_by_matrices(x, offset, weight):
    """Pixels by nearness, then taps by weight: c h w, (g 9 2) h w, o c 3 3 -> o h w."""
    rows, columns = places(offset).unbind(dim=2)  # g 9 h w each
    down = (1 - (rows[..., None] - torch.arange(x.shape[1])).abs()).clamp(min=0)  # g 9 h w r, rows r
    across = (1 - (columns[..., None] - torch.arange(x.shape[2])).abs()).clamp(min=0)  # g 9 h w s, columns s
    parts = x.unflatten(0, (len(down), -1))  # c r s -> g c/g r s
    taken = torch.einsum("gcrs,gnhwr,gnhws->gcnhw", parts, down, across).flatten(0, 1)  # c 9 h w
    return torch.einsum("ocn,cnhw->ohw", weight.flatten(2), taken)


# %% [markdown]
# **Loops, matrices and `course_lib` agree**, on random offsets of two groups; some places lie outside.

# %%
generator = torch.Generator().manual_seed(0)
x, weight = torch.randn(4, 5, 7, generator=generator), torch.randn(3, 4, 3, 3, generator=generator)
offset = 2 * torch.randn(2 * 18, 5, 7, generator=generator)
looped = deform_by_loops(x, offset, weight)
torch.testing.assert_close(deform_by_matrices(x, offset, weight), looped)
torch.testing.assert_close(deform_conv2d(x[None], offset[None], weight, padding=1)[0], looped)

# %% [markdown]
# **Would a wrong order be noticed?** By no shape. We exchange row and column:

# %%
exchanged = offset.unflatten(0, (2, 9, 2)).flip(2).flatten(0, 2)
y = deform_conv2d(x[None], exchanged[None], weight, padding=1)[0]
print(f"shape {list(y.shape)}   largest error ≈ {(y - looped).abs().max():.1f}")
assert y.shape == looped.shape and (y - looped).abs().max() > 1

# %% [markdown]
# ## How it starts, and what version 2 adds
#
# The convolutions that predict offsets and factors start at zero. *Before running: what does a fresh layer compute in version 1? And in version 2, where the factors are sigmoids?*

# %% tags=["answer"]
image = torch.randn(1, 4, 6, 7, generator=generator)
for version in (1, 2):
    layer = DeformableConv2d(4, 5, modulated=version == 2, bias=False)
    ordinary = F.conv2d(image, layer.convolution.weight, padding=1)
    ratio = (layer(image) / ordinary).mean().item()
    print(f"version {version}: {ratio:.1f} × the ordinary convolution")
    torch.testing.assert_close(layer(image), ordinary / version)

# %% [markdown]
# σ(0) = ½: version 2, put into a trained network, halves the output of its layer. **Why factors at all?** A tap of version 1 must read *somewhere*. Its weight is shared by all positions, so no position can
# switch it off. A factor can: Δm = 0 at one position switches it off there alone.
#
# ## Where does it look? On a photograph
#
# **Steer the offsets of one position**: the nine taps of a layer that stands on features of a trained network (trunk of lesson 07, block 2, 24 channels, each side a quarter of the photograph's). They spread and turn together: $\Delta p_n = A\,p_n - p_n$ with a
# matrix $A$ as in lesson 07.  Left the places; right the *receptive field*: which pixels change this one output, by their gradient. *Before moving: which pixels will be bright at spread 3?*

# %%
cat = load_photograph("cat", height=96)
pixels = cat[None].clone().requires_grad_()
trunk = load_trunk()
features = trunk(pixels, block=2)  # 1 24 24 36
eye = (9, 14)  # row, column of the features


# %%
def turned(spread, angle):
    """Offsets that spread and turn all taps, in every position alike: 9 2."""
    taps = torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2))  # row, column
    angle = torch.as_tensor(angle * math.pi / 180)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    return spread * taps @ turn - taps


# %%
def reached(features, pixels, moved, place):
    """How strongly each pixel changes the average that nine moved taps read: 1 c h w, 1 3 H W, 9 2 -> H W."""
    offset = moved.reshape(1, 18, 1, 1).expand(1, 18, *features.shape[2:])
    mean = torch.full((1, features.shape[1], 3, 3), 1 / 9)
    y = deform_conv2d(features, offset, mean, padding=1)[0, 0, place[0], place[1]]
    return torch.autograd.grad(y, pixels, retain_graph=True)[0][0].abs().sum(dim=0)


# %% tags=["folded"]
def draw_reached(figure, spread=3.0, angle=0):
    """The places of nine taps on the photograph, and the pixels that change the output."""
    moved, scale = turned(spread, angle), 4  # 4 pixels to a feature
    taps = torch.cartesian_prod(torch.arange(-1.0, 2), torch.arange(-1.0, 2)) + moved + torch.tensor(eye)
    left, right = figure.subplots(1, 2)
    show_image(left, cat, title=f"spread {spread}, turned by {angle}°")
    left.plot(*(scale * (taps.flip(1) + 0.5) - 0.5).T, "o", color=COLOURS[4], markersize=4)
    ring(left, scale * (eye[0] + 0.5) - 0.5, scale * (eye[1] + 0.5) - 0.5)
    show_found(right, cat, reached(features, pixels, moved, eye), title="pixels that change the output")


# %% tags=["widget"]
steer(
    draw_reached,
    height=2.6,
    spread=slider("spread", [0.5, 1.0, 2.0, 3.0, 4.0], value=3.0),
    angle=slider("angle", [0, 15, 30, 45, 60], value=0),
)

# %% [markdown]
# The same without a widget:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 7.2)
for panel, (spread, angle) in zip(figure.subfigures(3, 1), [(1.0, 0), (3.0, 0), (3.0, 30)]):
    draw_reached(panel, spread, angle)
describe(
    figure,
    "three rows, left a cat's face with a ring on its left eye and nine dots, right the dark photograph with the pixels that change the output. Spread 1: the dots stand close, "
    "a few pixels light up in the pupil. Spread 3: a square of dots around the eye, and nine small separate spots. Turned by 30°: the square of dots is turned clockwise, and so are the spots, most of them faint.",
)

# %%
areas = {}
for block in (2, 4, 7):
    found = trunk(pixels, block=block)
    place = int(0.4 * found.shape[2]), int(0.4 * found.shape[3])
    areas[block] = [(reached(found, pixels, turned(spread, 0), place) > 0).float().mean().item() for spread in (1, 3)]
    print(f"block {block}: share of pixels reached: plain ≈ {areas[block][0]:.2f}, spread 3 ≈ {areas[block][1]:.2f}")
assert areas[2][1] > 1.7 * areas[2][0] and areas[7][0] > 0.9

# %% [markdown]
# **Read it.** Early in the network the nine taps see nine separate patches, where we put them. What contradicts the story: at block 7 the plain taps already reach all of this small photograph. There, moving taps cannot change *how far* the output sees, at most *what counts*. And nothing here was learned: these offsets are ours.
#
# ## The experiment: is choosing needed?
#
# An image has two channels. Channel 0 holds a smooth pattern. Channel 1, the *cue*, says at each position: **copy what stands 4 rows below (+1) or 4 rows above (−1)**.
# In a second task the cue is *any* number from −1 to 1, and the shift is 4 · cue rows.


# %%
def smooth(count, generator, sigma=2.0, height=16, width=8):
    """Smooth random patterns with deviation 1: count 1 height width."""
    noise = torch.randn(count, 1, height + 12, width + 12, generator=generator)
    kernel = (-(torch.arange(-6, 7) ** 2) / (2 * sigma**2)).softmax(dim=0)
    pattern = F.conv2d(F.conv2d(noise, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return pattern / pattern.std()


# %%
def shifted(pattern, cue):
    """At each position, the pattern 4 · cue rows below: b 1 h w, b 1 h w -> b 1 h w."""
    rows = torch.stack([4 * cue[:, 0], torch.zeros_like(cue[:, 0])], dim=1)  # b 2 h w: one tap
    return deform_conv2d(pattern, rows, torch.ones(1, 1, 1, 1))


def task(name, count, seed):
    """Images count 2 h w, pattern and cue, and what should come out, count 1 h w."""
    generator = torch.Generator().manual_seed(seed)
    pattern, cue = smooth(count, generator), smooth(count, generator)
    cue = cue.sign() if name == "two places" else (cue / 1.5).clamp(-1, 1)
    return torch.cat([pattern, cue], dim=1), shifted(pattern, cue)


data = {name: (task(name, 600, seed=0), task(name, 150, seed=1)) for name in ("two places", "any place")}


# %% tags=["folded"]
def show_task(figure, name):
    """Pattern, cue and target of one image."""
    images, targets = task(name, 2, seed=5)
    figure.suptitle(name)
    for axes, plane, title in zip(figure.subplots(1, 3), [*images[0], targets[0, 0]], ("pattern", "cue", "target")):
        drawn = axes.imshow(plane, cmap=SIGNED, vmin=-2.5, vmax=2.5, interpolation="nearest")
        frameless(axes, title)
    figure.colorbar(drawn, ax=figure.axes, shrink=0.7)


figure = new_figure(7.0, 2.5)
for panel, name in zip(figure.subfigures(1, 2), data):
    show_task(panel, name)
describe(
    figure,
    "two groups of three small fields, each with the same smooth pattern of violet and orange. Two places: a cue of two flat colours; the target is the pattern torn "
    "along their border, one part moved up and the other down. Any place: a cue that changes smoothly; the target is the pattern stretched and squeezed, without a tear.",
)

# %% [markdown]
# Every network has one layer of 16 channels (unless named), a ReLU, and a 1 × 1 convolution to one channel. Without the ReLU a convolution is a *sum*, in which no cue can choose.
# The layers, and what each is a control for:
#
# - **3 × 3**: the baseline. **9 × 9**: it reaches ±4 rows, *everywhere*;
# - **9 × 9, 4 channels**: about as many learned numbers as version 1. A control for their *number*;
# - **3 × 3, dilation 4**: its taps lie at −4, 0 and 4. *We* tell it where to read, in every position alike. A control for *reach*;
# - **same offsets**: version 1 that may learn 18 offsets, but the same for all positions. A control for *each position*;
# - **version 1** and **version 2**.


# %%
class SameOffsets(DeformableConv2d):
    """Offsets that are learned, but equal at every position: only their biases count."""

    def attention(self, x):
        return super().attention(torch.zeros_like(x))


layers = {
    "3 × 3": lambda: nn.Conv2d(2, 16, 3, padding=1),
    "9 × 9": lambda: nn.Conv2d(2, 16, 9, padding=4),
    "9 × 9, 4 channels": lambda: nn.Conv2d(2, 4, 9, padding=4),
    "3 × 3, dilation 4": lambda: nn.Conv2d(2, 16, 3, padding=4, dilation=4),
    "same offsets": lambda: SameOffsets(2, 16),
    "version 1": lambda: DeformableConv2d(2, 16),
    "version 2": lambda: DeformableConv2d(2, 16, modulated=True),
}


# %%
def train_with(name, data, seed):
    """The network with this layer, trained for 120 steps, and the milliseconds that a step took."""
    torch.manual_seed(seed)
    layer = layers[name]()
    channels = layer(data[0][:1]).shape[1]
    model = nn.Sequential(layer, nn.ReLU(), nn.Conv2d(channels, 1, 1))
    start = time.process_time()
    fit(model, *data, steps=120, learning_rate=0.02, batch_size=16, seed=seed, loss=F.mse_loss, title=name)
    return model, 1000 * (time.process_time() - start) / 120


# %%
def compare(names, train, test, seeds=(0, 1, 2)):
    """For each layer: the models of the seeds, and their mean squared errors on unseen images."""
    models, errors = {}, {}
    for name in names:
        models[name], milliseconds = zip(*(train_with(name, train, seed) for seed in seeds))
        errors[name] = torch.tensor([F.mse_loss(predict(model, test[0]), test[1]).item() for model in models[name]])
        learned, found = sum(p.numel() for p in models[name][0].parameters()), [f"{e:.3f}" for e in errors[name]]
        print(f"{name:21} {learned:4} numbers, ≈ {min(milliseconds):.0f} ms   error ≈", *found)
    return models, errors


# %% [markdown]
# **We predicted** for two places: the 3 × 3 fails, and version 1 is best, since it alone can send its taps where the cue says. *Before running: which rival could come near?* (An error of ≈ 0.8 means: nothing was learned.)

# %% tags=["answer"]
two_models, two = compare(["3 × 3", "9 × 9", "3 × 3, dilation 4", "version 1", "version 2"], *data["two places"])
assert two["3 × 3"].min() > 0.3 and two["version 1"].max() < 0.1
assert two["3 × 3, dilation 4"].max() < two["version 1"].min(), "two fixed places are enough"

# %% [markdown]
# **Half of our prediction was wrong.** The 3 × 3 fails. But a plain convolution that reads both places *everywhere* is better than version 1 here, with half the numbers and in less time.
# **"Better" depends on the budget:** we fixed width, 120 steps and rate after about six tries, mainly to save computing time. With 300 steps at rate 0.01 (two seeds) both end at ≈ 0.001, same offsets at 0.003.
# So dilation 4 leads only in our short training; it needs no choice to be *as good*.
#
# It reads both places, and the ReLU behind it lets the cue decide. By hand, for a pixel between −9 and 9 and a cue of ±1: *before running, what is*
# ReLU(pixel + 9 · cue) − ReLU(9 · cue)?

# %% tags=["answer"]
for cue in (1, -1):
    gated = [(torch.tensor(pixel + 9 * cue).relu() - torch.tensor(9 * cue).relu()).item() for pixel in (-2, 0, 5)]
    print(f"cue = {cue:2}: pixel = −2, 0, 5 becomes {gated}")
assert gated == [0, 0, 0]

# %% [markdown]
# The cue is a switch. One such pair for the place above, one for the place below: *two places are too few to need choosing.* And now any place:

# %% tags=["answer"]
any_models, anywhere = compare([name for name in layers if name != "3 × 3"], *data["any place"])
rivals = [name for name in anywhere if not name.startswith("version")]
assert max(anywhere[name].max() for name in ("version 1", "version 2")) < 0.06
assert min(anywhere[name].min() for name in rivals) > 3 * anywhere["version 1"].max()

# %% tags=["folded"]
figure = new_figure(7.0, 2.8)
for axes, (name, errors) in zip(
    figure.subplots(1, 2, sharey=True), {"two places": two, "any place": anywhere}.items()
):
    for k, found in enumerate(errors.values()):
        axes.plot([k] * 3, found, "o", color="black", markersize=4)
    axes.set(title=name, yscale="log", xticks=range(len(errors)), xlim=(-0.5, len(errors) - 0.5))
    axes.set_xticklabels(errors, rotation=40, ha="right")
figure.axes[0].set_ylabel("mean squared error")
describe(
    figure,
    "errors of three seeds for each layer, on a logarithmic axis. Two places: 3 × 3 far above the others; 3 × 3 with dilation 4 lowest; 9 × 9, version 1 and version 2 in between. Any place: "
    "both 9 × 9, dilation 4 and same offsets lie together above 0.1; version 1 and 2 far below.",
)

# %% [markdown]
# **Read it.** Now only the layers that choose *at each position* get low, to a quarter of the others or less. It is not the number of learned numbers, not reach, and not that offsets are learned: each of these has its control, with equal data,
# steps and rate. This order held in every setting that we tried (300 steps: 9 × 9 ≈ 0.06, version 1 ≈ 0.01). Version 2 takes more time and hardly gains. What this does not say: that no wider, deeper or longer trained convolution can do it.
# And the task was *made* for the layer: the offset wanted is a linear function of the cue.
#
# ## The sampled places, on a photograph
#
# Version 1 was trained on smooth noise. Now its pattern is a photograph, and the cue falls from +1 at the left to −1 at the right. *Before running: where will the taps lie at the left, in the middle, at the right?*

# %%
flower = load_photograph("flower", height=48).mean(dim=0)  # h w
pattern = ((flower - flower.mean()) / flower.std())[None, None]
cue = torch.linspace(1, -1, pattern.shape[3]).expand_as(pattern)
scene = torch.cat([pattern, cue], dim=1).requires_grad_()
model = any_models["version 1"][0]


def centre_of(model, place):
    """The row where the pixels lie that change the output at this place, on average over their gradients."""
    (slope,) = torch.autograd.grad(model(scene)[0, 0, place[0], place[1]], scene)
    weights = slope[0, 0].abs().sum(dim=1)  # of each row of the pattern
    return (weights @ torch.arange(len(weights), dtype=torch.float32) / weights.sum()).item()


# %% tags=["answer"]
asked = [(24, 8), (24, 36), (24, 64)]
for place in asked:
    wanted = place[0] + 4 * cue[0, 0, 0, place[1]].item()
    found = [centre_of(m[0], place) for m in (any_models["version 1"], any_models["3 × 3, dilation 4"])]
    print(f"column {place[1]}: wanted row {wanted:.1f}, version 1 ≈ {found[0]:.1f}, dilation 4 ≈ {found[1]:.1f}")
    assert abs(found[0] - wanted) < 1.5


# %% tags=["folded"]
def draw_taps(axes, row, column, offset, strength):
    """The places that the taps of one position read, larger where their weight is."""
    at = places(offset)[0, :, :, row, column]  # 9 2
    show_image(axes, flower, title=f"column {column}")
    axes.scatter(at[:, 1], at[:, 0], s=60 * strength / strength.max(), color=COLOURS[4])
    ring(axes, row, column)
    axes.set(xlim=(column - 7.5, column + 7.5), ylim=(row + 7.5, row - 7.5))


figure = new_figure(7.0, 4.4)
above, below = figure.subfigures(2, 1)
for axes, plane, title in zip(above.subplots(1, 2), (model(scene), shifted(pattern, cue)), ("output", "wanted")):
    show_image(axes, flower.mean() + flower.std() * plane[0, 0], title=title)
offset = model[0].attention(scene)[0].detach()  # 18 h w
strength = model[0].convolution.weight[:, 0].norm(dim=0).flatten().detach()
for axes, place in zip(below.subplots(1, 3), asked):
    draw_taps(axes, *place, offset, strength)
describe(
    figure,
    "a flower's head: what came out and what was wanted look alike, sheared, lower at the right than at the left; the first is a little softer. Three enlarged parts, each with a ring "
    "and nine dots of different sizes: below the ring at the left, around it in the middle, above it at the right.",
)

# %% [markdown]
# **Read it.** It works on a photograph that looks nothing like its training data. The pixels that count lie where they should. The fixed taps of dilation 4 lean to the same side, but only part of the way.
# What contradicts the story "each dot is where it looks": the dots spread over several rows, and only their *mean* is right. The output is softer than what was wanted.
# And what moved the dots?

# %%
still = model[0].attention(scene)
for name, part in {"pattern": [0 * pattern, cue], "cue": [pattern, 0 * cue]}.items():
    change = (model[0].attention(torch.cat(part, dim=1)) - still).abs().mean().item()
    print(f"without the {name:7} taps stand ≈ {change:.1f} pixels elsewhere")
    assert (change < 0.5) == (name == "pattern")
rows = places(still[0])[0, :, 0, 24, 8]
assert rows.max() - rows.min() > 1, "the dots of one position spread over several rows"

# %% [markdown]
# Our cue did, hardly the photograph: nothing here has found the flower.
#
# ## It chooses before it sees
#
# **Which pixels move the taps?** Ask the gradient of one position's offsets.

# %%
(slope,) = torch.autograd.grad(model[0].attention(scene)[0, :, 24, 36].sum(), scene)
rows, columns = slope[0].abs().sum(dim=0).nonzero().T
print("rows", sorted(set(rows.tolist())), " columns", sorted(set(columns.tolist())))
assert set(rows.tolist()) <= {23, 24, 25} and set(columns.tolist()) <= {35, 36, 37}

# %% [markdown]
# Only the 3 × 3 pixels around it. Change the image everywhere else, and the same places are read: the layer can't look at two places and *then* go to the better one. A task for that: the cue is noise, and the target is the pattern
# 4 rows above *or* below: from the one of these two places **where** the cue is larger. *Before running: will version 1 beat dilation 4?* The last layer is version 1 that *starts* with dilation 4.

# %%
layers["version 1, dilation 4"] = lambda: DeformableConv2d(2, 16, dilation=4)


def larger(count, seed):
    """Pattern and noise; the target is the pattern at that of two places where the noise is larger."""
    generator = torch.Generator().manual_seed(seed)
    pattern, noise = smooth(count, generator), torch.randn(count, 1, 16, 8, generator=generator)
    both = torch.cat([pattern, noise], dim=1)
    above, below = F.pad(both, (0, 0, 4, 0))[:, :, :16], F.pad(both, (0, 0, 0, 4))[:, :, 4:]
    return both, torch.where(above[:, 1:] > below[:, 1:], above[:, :1], below[:, :1])


# %% tags=["answer"]
there_models, there = compare(
    ["3 × 3", "3 × 3, dilation 4", "version 1", "version 1, dilation 4"], larger(600, 0), larger(150, 1)
)
assert there["version 1"].min() > 2 * there["3 × 3, dilation 4"].max()

# %% [markdown]
# **Read it.** What decides now stands *at the places that are read*, and version 1 has about seven times the error of dilation 4. The layer could do it: with its taps put on the two places from the start it is as good as dilation 4, after the same 120 steps.
# But no better: in dilation 4 only the ReLU behind two *fixed* places can compare. Where to read was never chosen by what stands there. A layer that compares what it has sampled, as lesson 09 does with all pixels, comes in lesson 12.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 07 spatial transformer | a place, by $A_\theta$ | places of the pixels | pixels | p·q h·w, four a row | none: they sum to 1 inside, fall to 0 outside | p · q · c + localisation |
# | 08 deformable | k² places, from the pixels around $p_0$ | places of the pixels | pixels | k² for each position, four pixels each; then the taps' weights, the same everywhere | none; weights may be negative | h · w · k² · (o · c + 4 c) + offsets |
#
# ## Three things to keep
#
# 1. Each position moves its own k² taps; the **weights stay the same everywhere**. Offsets: group, tap, then **row before column**, in pixels.
# 2. Two fixed places did not need it: a dilated convolution with half the numbers led after 120 steps and was equal after 300. For **any place** each position's own choice counted, in every setting that we tried.
# 3. It chooses **before it sees**: from the pixels around the position, never from what it finds.
#
# **Now the [exercise](../exercises/08_deformable.ipynb).** What follows goes deeper; each section can be read alone. Next lesson: 09, what if every pixel may ask every other pixel?

# %% [markdown]
# ## Deeper · When a tap leaves the image (2 minutes)
#
# *Before running: tap 4 moves up from the first row, by 0, ½, 1 and 100 pixels. How much does it read from an image of ones, and does a gradient reach its offset?*

# %% tags=["answer"]
only_middle, ones = torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 5, 7)
only_middle[0, 0, 1, 1] = 1
for up in (0.0, 0.5, 1.0, 100.0):
    moved = torch.zeros(1, 18, 5, 7)
    moved[0, 8, 0, 3] = -up  # tap 4, row
    value = deform_conv2d(ones, moved.requires_grad_(), only_middle, padding=1)[0, 0, 0, 3]
    (slope,) = torch.autograd.grad(value, moved)
    print(f"up by {up:5}: reads {value.item():.1f}, slope ≈ {slope[0, 8, 0, 3].item() + 0:.1f}")
assert value == 0 and not slope.any()

# %% [markdown]
# It fades to zero within one pixel. Far outside nothing is read, and *no gradient brings the tap back*. Only other positions can: they share the convolution that predicts.
#
# ## Deeper · The same offset everywhere is a convolution (2 minutes)
#
# If all taps move by a quarter row, everywhere, each reads ¾ of one pixel and ¼ of the next. *Before running: which ordinary kernel does the same?*

# %% tags=["answer"]
quarter = torch.zeros(1, 18, 5, 7)
quarter[:, 0::2] = 0.25  # all rows
moved = deform_conv2d(x[None], quarter, weight, padding=1)
taller = 0.75 * F.pad(weight, (0, 0, 0, 1)) + 0.25 * F.pad(weight, (0, 0, 1, 0))  # o c 4 3
torch.testing.assert_close(moved, F.conv2d(F.pad(x[None], (1, 1, 1, 2)), taller))
print("a kernel of", list(taller.shape[2:]))

# %% [markdown]
# So "same offsets" in our experiment is a *convolution whose kernel is resampled*. The taps may each go their own way, and still it is one kernel for all positions.
#
# ## Deeper · On noise it finds nothing (3 minutes)
#
# A fresh tap reads at its own place, and its gradient knows only the next pixel (lesson 07). Our patterns were smooth. **The same two places, on a pattern where each pixel is drawn alone.** *Before running: will version 1 find the
# rows 4 away? And if it starts with dilation 4?*


# %%
def rough(count, seed):
    """Two places, but the pattern is white noise."""
    images, _ = task("two places", count, seed)
    images[:, :1] = torch.randn(count, 1, 16, 8, generator=torch.Generator().manual_seed(seed))
    return images, shifted(images[:, :1], images[:, 1:])


# %% tags=["answer"]
names = ["3 × 3, dilation 4", "version 1", "version 1, dilation 4"]
_, on_noise = compare(names, rough(600, 0), rough(150, 1), seeds=(0, 1))
assert on_noise["version 1"].min() > 0.5 > on_noise["3 × 3, dilation 4"].max()
assert on_noise["version 1, dilation 4"].max() < 0.1

# %% [markdown]
# Version 1 learns nothing in 120 steps (two seeds), although the same layer is as good as dilation 4 once it starts there. So the layer could do it, but training did not bring it there; on the smooth pattern, with all else equal, it did.
# *Here a tap found a far place only where the pattern on the way was smooth.* Networks have many layers below, and their features are smoother than noise; how smooth is enough we did not measure, nor did we train longer.
#
# ## Deeper · What to believe (1 minute)
#
# The authors' code reports for ResNet-101 on COCO: R-FCN from 32.1 to 35.7 and Faster R-CNN from 30.3 to 35.0 average precision, with deformable layers in the last stage and deformable pooling of regions. A later
# reimplementation (mmdetection, Faster R-CNN, ResNet-50) gets 41.3 with version 1 and 41.4 with version 2: there, too, factors add little.
# What our tasks show is what the layer *can* do, and not how often images need it. Zhu et al. ask for version 2 because the places of version 1 spread beyond the object; we did not test that.
#
# *References.* Dai, Qi, Xiong, Li, Zhang, Hu, Wei, Deformable Convolutional Networks, ICCV 2017, arXiv 1703.06211.
# Zhu, Hu, Lin, Dai, Deformable ConvNets v2: More Deformable, Better Results, CVPR 2019, arXiv 1811.11168.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
