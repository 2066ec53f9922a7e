# %% [markdown]
# # 03 · Squeeze-and-Excitation
#
# **Which channels matter for this image?**
#
# After this lesson you will be able to
#
# - compute the gates of a Squeeze-and-Excitation block by hand, and say what each of its three steps sees;
# - show by a measurement what the squeeze keeps of an image and what it throws away;
# - place the block in a network, count what it costs, and name a task that it solves and one where it changes little.
#
# *Minutes:* 40, deeper 12 · *Needs:* 01 · *Paper:* Hu et al., 2018, arXiv 1709.01507; Hu et al., 2018, arXiv 1810.12348 · *Exercise:* [03 squeeze_excitation](../exercises/03_squeeze_excitation.ipynb) · *Module:* [squeeze_excitation.py](../course_lib/channel/squeeze_excitation.py), [gather_excite.py](../course_lib/channel/gather_excite.py)
#
# Out of scope: richer summaries than the average (04), lighter ways to mix channels (05).

# %%
from collections import OrderedDict

import torch
from torch import nn

from course_lib.channel.gather_excite import GatherExcite
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.data.canvases import draw_digits
from course_lib.data.cued_channels import TEXTURES, cued_channels
from course_lib.data.digits import load_digits
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph

# %%
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.models import SmallCNN
from course_lib.plotting import (
    COLOURS,
    WEIGHTS,
    describe,
    new_figure,
    plot_runs,
    show_image,
    show_images,
    show_weights,
)
from course_lib.training import accuracy, fit, repeat
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Channels of a photograph
#
# A convolutional network turns an image into a stack of maps, its *channels*. Each map says where one thing is. Before we take
# learned maps, here are six that everybody can read: three colours, vertical edges, horizontal edges, and "more red than
# green".
#
# **Look for maps that say the same thing.**


# %%
def channels_of(image):
    """Six readable channels of a colour image: 3 h w -> 6 h w."""
    grey = image.mean(dim=0)
    vertical, horizontal = grey.diff(dim=1, prepend=grey[:, :1]), grey.diff(dim=0, prepend=grey[:1])
    return torch.stack([*image, 4 * vertical.abs(), 4 * horizontal.abs(), 2 * (image[0] - image[1]).relu()])


# %% tags=["folded"]
names = ["red", "green", "blue", "vertical edges", "horizontal edges", "red − green"]
coffee = load_photograph("coffee", height=96)
features = channels_of(coffee)
figure = new_figure(7.0, 2.8)
for axes, image, name in zip(
    figure.subplots(2, 4).flat, [coffee, *features, torch.ones(1, 1)], ["photograph", *names, ""]
):
    show_image(axes, image, title=name)
describe(
    figure,
    "a photograph of a cup of coffee on a red saucer and a wooden table, and six grey maps of it. The maps of green and "
    "blue look alike, and that of red is brighter; the two edge maps show thin outlines; the last is "
    "bright on the saucer and in the coffee, and dark at the rim of the cup.",
)

# %% [markdown]
# Green and blue nearly repeat each other here. **Is that so for every image?** Correlate the maps of colours on this
# photograph and on two others; at 1, one map repeats the other up to its scale.

# %%
for name in ("coffee", "temple", "flower"):
    likeness = torch.corrcoef(load_photograph(name, height=96).flatten(1))  # 3 3: red, green, blue
    print(f"{name}: green and blue {likeness[1, 2]:.1f}, red and blue {likeness[0, 2]:.1f}")

# %% [markdown]
# On the temple blue repeats red; on the flower much less so. A convolution treats its channels the same either
# way, since its weights are fixed after training. Squeeze-and-Excitation (SE) lets *this image* decide how much of each channel
# passes.
#
# ## Squeeze: describe each channel by one number, its average
#
# $$z_i = \frac{1}{h w} \sum_{h, w} x_{ihw} \quad \text{for channel } i \qquad x: \text{b c h w} \to z: \text{b c}$$


# %%
def squeeze(x):
    """Describe each channel by one number, its average: b c h w -> b c."""
    return x.mean(dim=(2, 3))


x = torch.tensor([[[[1.0], [2.0], [6.0]], [[0.0], [5.0], [1.0]]]])  # one image, two channels, 3 × 1 pixels
print(squeeze(x).tolist())
assert squeeze(x).tolist() == [[3.0, 2.0]]

# %% [markdown]
# *Before running: two images with three channels of 5 × 7 pixels. What shape does the squeeze return?*

# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
x = torch.randn(2, 3, 5, 7, generator=generator)
print(list(squeeze(x).shape))
assert squeeze(x).shape == (2, 3)

# %% tags=["folded"]
diagram(SqueezeExcitation)

# %% [markdown]
# One number a channel *and an image*: an average over the batch too would let the images of a batch change each other.
#
# ## Excite: let all the averages together decide each gate
#
# $$s = \sigma\bigl(W_2\, \delta(W_1 z)\bigr)$$
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $z$ | descriptor | b c | one average for each channel |
# | $W_1$ | squeeze weights | c/r c | mixes the channels down to c/r hidden units |
# | $\delta$ | ReLU | | a hidden unit speaks or is silent |
# | $W_2$ | excite weights | c c/r | back to one number for each channel |
# | $\sigma$ | sigmoid | | each number alone becomes a gate between 0 and 1 |
# | $s$ | gates | b c | the share of each channel that passes |
# | $r$ | reduction | | 16 in the paper |
#
# A sigmoid and no softmax: several channels may be open at once, so gates need not sum to 1.


# %%
def excite(z, w_squeeze, w_excite):
    """Let all the averages together decide each gate: b c -> b c."""
    return ((z @ w_squeeze.mT).relu() @ w_excite.mT).sigmoid()


# %% [markdown]
# **Two channels, one hidden unit.** It computes $\delta(z_1 - z_2)$, and tells channel 1 to close and channel 2 to open.
# *Before running: what are the gates for averages (5, 2)? And for (2, 5)?* (σ(3) is about 0.95.)

# %% tags=["answer"]
w_squeeze, w_excite = torch.tensor([[1.0, -1.0]]), torch.tensor([[-1.0], [1.0]])
gates = excite(torch.tensor([[5.0, 2.0], [2.0, 5.0]]), w_squeeze, w_excite)
for row in gates:
    print([round(gate, 2) for gate in row.tolist()])
assert gates[0, 0] < 0.05 < 0.95 < gates[0, 1] and (gates[1] == 0.5).all()

# %% [markdown]
# In the first image a *strong* channel is shut because of what another channel says. In the second the hidden unit is silent,
# and all gates are one half. The same happens when the weights are zero: the logit is 0, and $\sigma(0) = 1/2$. So a new block
# with small weights is not the identity; it halves everything.
#
# ## Scale, and all three together
#
# $y_{ihw} = s_i\, x_{ihw}$. In the course's formula $\mathrm{Attention}(x) = f(g(x), x)$, squeeze and excite are $g$, and the
# multiplication is $f$.
#
# First as loops:


# %%
def se_by_loops(x, w_squeeze, w_excite):
    """For each image: average each channel, compute its gates, multiply each channel by its gate."""
    y = torch.empty_like(x)
    for b, image in enumerate(x):
        z = torch.stack([channel.sum() / channel.numel() for channel in image])
        for c, gate in enumerate(excite(z[None], w_squeeze, w_excite)[0]):
            y[b, c] = gate * image[c]
    return y


# %% [markdown]
# Then as tensors, and from `course_lib`, with the same weights. All three must agree. (Mind the names: `block.squeeze` and
# `block.excite` are the layers $W_1$ and $W_2$, while our function `squeeze` is the average.)

# %%
torch.manual_seed(0)
block = SqueezeExcitation(3, reduction=1)
w_squeeze, w_excite = block.squeeze.weight, block.excite.weight
s = excite(squeeze(x), w_squeeze, w_excite)  # b c
y = x * s[:, :, None, None]  # b c -> b c 1 1, the same gate at every position

# %%
torch.testing.assert_close(y, se_by_loops(x, w_squeeze, w_excite))
torch.testing.assert_close(y, block(x))
print("gates", list(block.attention(x).shape), "= b c 1 1")

# %% [markdown]
# ## What does the squeeze keep? First answer: no places
#
# The average does not care about order. **Shuffle the pixels of the photograph's maps**, all maps in the same way, and then each
# map in its own way. *Before running: will the gates change in the first case? In the second?*

# %%
torch.manual_seed(0)
block = SqueezeExcitation(6, reduction=2)
order = torch.randperm(features[0].numel(), generator=generator)
shuffled = features.flatten(1)[:, order].view_as(features)
each = torch.stack([one.flatten()[torch.randperm(one.numel(), generator=generator)].view_as(one) for one in features])

# %% tags=["answer"]
before = block.attention(features[None])
for name, maps in {"all alike": shuffled, "each in its own way": each}.items():
    change = (block.attention(maps[None]) - before).abs().max()
    print(f"{name:20} largest change of a gate ≈ {change:.0e}")
    assert change < 1e-5

# %% tags=["folded"]
describe(
    show_images(
        [features[0], shuffled[0], features[3], shuffled[3]], ["red", "red, shuffled", "vertical edges", "shuffled"]
    ),
    "the map of red and the map of vertical edges, each beside a version whose pixels are shuffled into "
    "grey noise. To SE, each pair is the same.",
)

# %% [markdown]
# SE knows *what* is in the image, in amounts. It cannot know *where*, or what lies beside
# what, unless an earlier convolution has already written that into a channel.
#
# **But only the description is compressed, not the maps.** "The squeeze compresses the features" is half true: 96 × 144 values
# become one, and that one only sets a gate. No gate is ever 0, so the scaled maps still hold everything:

# %%
y = block(features[None])
assert torch.allclose(y / block.attention(features[None]), features[None])
print(f"{features[0].numel()} values of a channel, 1 in its description, {y[0, 0].numel()} after scaling")

# %% [markdown]
# ## Real features: what do the averages say?
#
# The 40 channels of block 4 of a network that was trained on ImageNet (the trunk of this course; no attention inside), squeezed, for six photographs. Each channel is measured against its
# mean and standard deviation over the six. *Before running: photographs of a temple and of a rocket share a wide sky. Will a channel know it?*

# %% tags=["answer"]
trunk = load_trunk()
real = {name: trunk(load_photograph(name, height=200)[None], block=4) for name in PHOTOGRAPHS}  # 1 40 h w each
averages = torch.cat([squeeze(x) for x in real.values()])  # 6 40
standard = (averages - averages.mean(dim=0)) / averages.std(dim=0)
for name, row in zip(real, standard):
    print(f"{name:10} channel 23 ≈ {row[23]:+.1f}   channel 11 ≈ {row[11]:+.1f}")

# %% tags=["folded"]
figure = new_figure(7.0, 3.8)
panels = figure.subplot_mosaic([["table"] * 3, ["temple", "rocket", "cat"]])
table = panels["table"].imshow(standard, cmap="PuOr", vmin=-2, vmax=2, aspect="auto", interpolation="nearest")
panels["table"].set(yticks=range(6), yticklabels=real, xlabel="channel")
figure.colorbar(table, ax=panels["table"], label="deviations")
for name in ("temple", "rocket", "cat"):
    show_weights(panels[name], real[name][0, 23].abs(), title=f"channel 23: {name}", top=40)
describe(
    figure,
    "above, a table of six photographs by 40 channels in orange and violet, all rows different. Below, the strength of channel 23 "
    "on three photographs: the sky of the temple is bright, the rocket's and the cat's pictures are darker.",
)

# %% [markdown]
# **Read it.** The prediction was wrong. Channel 23 is high for the temple, and its map is bright on that sky; but the rocket lies in the middle, and the astronaut, who has no sky, comes second. A channel is
# no word: its average says how much of *something* is there. Still, each photograph has its own row, and rows are all that the gates get to see. What the table does *not* show: which
# channel should count.
#
# ## The experiment: which digit counts is said elsewhere
#
# Each canvas holds three digits in three channels. A fourth channel holds a texture, far to the right: horizontal stripes mean
# "the digit of channel 0 is the answer", vertical stripes
# "that of channel 1", a checkerboard "that of channel 2". A convolution sees the digit or the texture, never
# both.

# %% tags=["folded"]
images, labels, cues = cued_channels(4000)
test_images, test_labels, test_cues = cued_channels(1000, test=True, seed=1)
titles = ["channel 0", "channel 1", "channel 2", f"{TEXTURES[cues[0]]}: digit {labels[0]}"]
describe(
    show_images(list(images[0]), titles),
    "four wide black panels. Three show a different digit each at the left edge; the fourth shows a "
    "texture at the right edge.",
)

# %% [markdown]
# **The prediction.** Whoever reads all digits but not the texture guesses one channel of three; a wrong channel still gives the
# right digit one time in ten. So $\frac13 + \frac23 \cdot \frac1{10} = 0.40$ (0.43 for one who bets on a digit that stands there
# twice). *Claim: the network below stays near 0.40 without SE, and gets far beyond it with one SE block.* It would be refuted
# if the baseline climbed, too, or if SE stayed at 0.40.
#
# But does its last layer not see both ends? It does, and only *adds* what it sees: a texture can make the answer "7" likelier,
# yet equally so whatever the digits are. To say *which* digit counts, the texture must act on the digit's maps, before a ReLU.


# %%
def layer(channels, stride=1):
    """A 3 × 3 convolution to 16 channels, norm, ReLU."""
    return nn.Sequential(nn.Conv2d(channels, 16, 3, stride, padding=1), nn.BatchNorm2d(16), nn.ReLU())


def small_network(slot):
    """Two convolutions, the slot, one convolution, and a linear layer that sees every position."""
    before = nn.Sequential(layer(4), layer(16, stride=2))
    after = nn.Sequential(layer(16), nn.Flatten(), nn.Linear(16 * 4 * 12, 10))
    return nn.Sequential(OrderedDict(before=before, slot=slot, after=after))


# %% [markdown]
# Without SE, for the seeds 0, 1 and 2, measured after 300 steps; and seed 0 also after 700, as many as
# SE will get.


# %%
def train(network, steps, seed):
    """Train in place at a constant rate: the share of right answers on unseen digits, and all losses."""
    losses = fit(network, images, labels, steps=steps, learning_rate=5e-3, batch_size=32, one_cycle=False, seed=seed)
    return accuracy(network, test_images, test_labels), losses


# %%
def small(slot, seed):
    """A fresh small network."""
    torch.manual_seed(seed)
    return small_network(slot())


# %%
without = [small(nn.Identity, seed) for seed in (0, 1, 2)]
baseline, flat = zip(*(train(network, 300, seed) for seed, network in enumerate(without)))
longer, more = train(without[0], 400, seed=10)  # 300 + 400 steps
print("without SE ≈", *(f"{one:.2f}" for one in baseline), f"  seed 0 after 700 steps ≈ {longer:.2f}")

# %%
assert max(baseline) < 0.5, "without SE no seed gets beyond guessing the channel"
assert longer < 0.5, "and more training does not help"

# %% [markdown]
# With SE. The reduction is 1: with only 16 channels there is nothing to save. About fifteen seconds.

# %%
trained = [small(lambda: SqueezeExcitation(16, reduction=1), seed) for seed in (0, 1, 2)]
attentive, falling = zip(*(train(network, 700, seed) for seed, network in enumerate(trained)))
print("with SE ≈", *(f"{one:.2f}" for one in attentive))
assert sum(attentive) / 3 > sum(baseline) / 3 + 0.3, "the claim"

# %% tags=["folded"]
figure = new_figure(7.0, 2.8)
left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
rows = {"without, 300 steps": baseline, "without, 700 steps": [longer], "with SE, 700 steps": attentive}
plot_runs(left, rows, guess=0.4)
middle = torch.arange(25, 700, 50)  # each point is the mean of 50 steps
for losses, name, colour in ((flat[0] + more, "without", "grey"), (falling[0], "with SE", COLOURS[0])):
    right.plot(middle, torch.tensor(losses).view(14, 50).mean(dim=1), color=colour, label=name)
right.set(xlabel="step", ylabel="loss, seed 0", ylim=(0, None))
right.legend(frameon=False)
describe(
    figure,
    "left, shares of right answers, one dot a run: without SE all lie at 0.4, after 300 steps and after 700; with SE all lie near 0.95. "
    "Right, the loss of seed 0 over 700 steps: the two lines fall together for 300 steps; then the one with SE drops to nearly 0, and the one without stays near 1.3.",
)

# %% [markdown]
# SE is slow to find its use: for 300 steps its loss is that of the network without. *Can select* is not *selects at once*. (Without SE the loss goes on falling, but
# only on the training images: on unseen digits 0.40 stays.)
#
# ## Look at the gates
#
# **Which channels does each texture open?** The gates of one network, averaged over all
# test images with the same texture.

# %%
best = trained[attentive.index(max(attentive))].eval()
with torch.no_grad():
    maps_before = best.before(test_images)
    gates = best.slot.attention(maps_before)  # n 16 1 1
gates_of = torch.stack([gates[test_cues == cue].mean(dim=0).flatten() for cue in range(3)])  # 3 16
spread = gates_of.amax(dim=0) - gates_of.amin(dim=0)
assert (spread > 0.5).any(), "some gates are opened by one texture and shut by another"

# %% tags=["folded"]
figure = new_figure(7.0, 1.9)
axes = figure.subplots()
show_weights(axes, gates_of[:, spread.argsort(descending=True)], title="gates, from 0 (dark) to 1 (bright)", top=1.0)
axes.set_axis_on()
axes.set(xlabel="channel, sorted by how much its gate depends on the texture", yticks=range(3), xticks=[])
axes.set_yticklabels(TEXTURES)
describe(
    figure,
    "a table of colours, three textures by sixteen channels. At the left, channels are bright for some "
    "textures and dark for others; at the right, the three rows differ less.",
)

# %% [markdown]
# **Read it by columns.** At the left stand channels that one texture opens and another shuts: here the network chooses. What
# the picture does *not* show is what those channels contain: no gate is called "digit 0", and a texture shuts several at once. And an average over images
# hides how much the gates of single images vary.
#
# **Do the gates cause the answer?** Keep the maps of each image, but give it the gates of *another* image with another texture.
# If the gates select, the network must now read the digit to which the *other* texture points.

# %%
_, digits = draw_digits(3000, test=True, generator=torch.Generator().manual_seed(1))
digits = digits.view(1000, 3)  # the labels of all three digits of each test canvas

# %%
everyone, other = torch.arange(1000), torch.roll(torch.arange(1000), 1)
assert (digits[everyone, test_cues] == test_labels).all()
with torch.no_grad():
    answer = best.after(maps_before * gates[other]).argmax(dim=1)

# %%
changed = test_cues != test_cues[other]
own, foreign = digits[everyone, test_cues], digits[everyone, test_cues[other]]
follows, stays = ((answer == digit)[changed].float().mean() for digit in (foreign, own))
assert follows > 0.6 and follows > stays + 0.3
print(f"with foreign gates: the foreign digit ≈ {follows:.2f}, its own ≈ {stays:.2f}")

# %% [markdown]
# So here the gates decide.
#
# ## What does the squeeze keep? Second answer, measured
#
# Squeezed maps are 16 numbers. **What can a linear read-out recover from them**: the texture? The digit in channel 0? For
# comparison, the same read-out of the maps themselves, columns 0 to 7, where the digits are. Two controls: these maps, each *sorted*: all
# values, no places; and 16 random mixtures of their values: as few as the averages. The read-out is a *ridge
# regression*: least squares with a small penalty on large weights. *Before running: which of the five will
# fail?*


# %%
def read_out(train_x, train_y, test_x, test_y):
    """The share of classes that a ridge regression onto one-hot targets gets right: n d, n, m d, m -> a number."""
    mean, deviation = train_x.mean(dim=0), train_x.std(dim=0) + 1e-3
    train_x, test_x = (nn.functional.pad((x - mean) / deviation, (0, 1), value=1.0) for x in (train_x, test_x))
    target = nn.functional.one_hot(train_y).float()
    gram = train_x.mT @ train_x + 10 * torch.eye(train_x.shape[1])
    weights = torch.linalg.solve(gram, train_x.mT @ target)
    return ((test_x @ weights).argmax(dim=1) == test_y).float().mean().item()


# %%
_, train_digits = draw_digits(12000, test=False, generator=torch.Generator().manual_seed(0))
first = train_digits.view(4000, 3)[:, 0]
with torch.no_grad():
    train_maps = best.before(images)

# %%
mixtures = torch.randn(16 * 4 * 8, 16, generator=generator)
views = {  # n 16 4 12 -> n d
    "averages": squeeze,
    "maps": lambda maps: maps[..., :8].flatten(1),
    "maps, sorted": lambda maps: maps[..., :8].flatten(2).sort(dim=2).values.flatten(1),
    "16 mixtures": lambda maps: maps[..., :8].flatten(1) @ mixtures,
}

# %%
texture = read_out(squeeze(train_maps), cues, squeeze(maps_before), test_cues)
kept = {name: read_out(view(train_maps), first, view(maps_before), digits[:, 0]) for name, view in views.items()}
print(f"texture from the averages     ≈ {texture:.2f}")
for name, share in kept.items():
    print(f"digit from the {name:14} ≈ {share:.2f}")
assert texture > 0.95 and kept["maps"] > 0.8 and 0.2 < kept["averages"] < 0.5
assert all(kept["averages"] + 0.05 < kept[name] < kept["maps"] - 0.15 for name in ("maps, sorted", "16 mixtures"))

# %% [markdown]
# The average keeps *how much of what*: enough for the texture. The digit is not wholly gone: about three answers of ten are right, one by guessing. It loses places and numbers, and both count: all values without their places give about half, and
# so do 16 numbers that know the places. But no gate has to know the digit: it travels through the
# maps, which were not squeezed.
#
# ## Turn the knob: channels and reduction
#
# SE adds $2c^2/r$ numbers, and c/r hidden units decide all c gates. Three photographs pass through a random convolution and a
# fresh block. *Before running: where do the gates lie, and do they differ between photographs? Which of the
# two knobs changes what SE costs* beside a 3 × 3 convolution?


# %%
names = ["coffee", "cat", "rocket"]
photographs = torch.stack([load_photograph(name, height=48)[:, :, :48] for name in names])


def fresh_gates(reduction, channels=64):
    """The gates of a fresh block behind a fresh convolution, for each photograph: 3 c."""
    torch.manual_seed(1)
    stem, block = nn.Conv2d(3, channels, 5, stride=2), SqueezeExcitation(channels, reduction=reduction)
    with torch.no_grad():
        return block.attention(3 * stem(photographs).relu())[:, :, 0, 0]  # 3 times, to see more of them


# %%
def draw_block(figure, reduction, channels=64):
    """The gates of a fresh block for three photographs, and its learned numbers beside a 3 × 3 convolution's."""
    gates = fresh_gates(reduction, channels)
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    left.imshow(gates[:, gates[0].argsort()], cmap=WEIGHTS, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    left.set(yticks=range(3), yticklabels=names, xticks=[], title="gates, from 0 (dark) to 1 (bright)")
    left.set_xlabel(f"{channels} channels; gates from ≈ {gates.min():.2f} to ≈ {gates.max():.2f}")
    numbers = {"convolution 3 × 3": 9 * channels**2, "SE": 2 * channels * (channels // reduction)}
    right.barh(range(2), list(numbers.values()), height=0.4, color=("lightgrey", COLOURS[0]))
    for row, (name, count) in enumerate(numbers.items()):
        right.text(0, row - 0.25, f"{name}: {count:,} numbers", va="bottom")
    right.set(ylim=(1.4, -0.8), xlim=(0, 9 * channels**2), title=f"r = {reduction}: {200 / 9 / reduction:.0f} %")
    right.set_axis_off()


# %% tags=["widget"]
steer(
    draw_block,
    height=1.9,
    reduction=slider("reduction r", [1, 2, 4, 8, 16], value=4),
    channels=slider("channels c", [16, 32, 64, 128, 256], value=64),
)

# %% [markdown]
# The same without a widget, for three reductions:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 5.1)
for panel, reduction in zip(figure.subfigures(3, 1), (1, 4, 16), strict=True):
    draw_block(panel, reduction)
    gates = fresh_gates(reduction)
    assert (gates - 0.5).abs().max() < 0.1 and (gates.amax(dim=0) - gates.amin(dim=0)).max() < 0.1
describe(
    figure,
    "three rows, for reductions 1, 4 and 16 at 64 channels. Left, the gates of the three photographs: one plain green, "
    "halfway between dark and bright, all between 0.4 and 0.6. Right, a bar for a 3 × 3 convolution's numbers and a shorter one for "
    "SE's: 22, 6 and 1 % of it.",
)

# %% [markdown]
# Beside a convolution the number of channels does not matter: $\frac{2c^2/r}{9c^2} = \frac{2}{9r}$.
#
# A fresh block selects nothing: its gates lie near one half and hardly differ between photographs.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 03 SE | averages of all channels, through $W_1$ | rows of $W_2$, learned, one a channel | the channels | b c | sigmoid, each gate alone | 2 c²/r + 2 c h w |
# | 03 GE-θ⁻ | average of a channel's own window | — | that channel | b c h w | sigmoid | 2 c h w for the whole map, up to 5 c h w for windows |
#
# Is a gate a look-up? In part: hidden units ask, the rows of $W_2$ answer for their channels. But nothing is shared out and
# nothing is mixed: each channel stays where it is and only becomes louder or softer.
#
# ## Three things to keep
#
# 1. Squeeze, excite, scale: **one average a channel, all averages together decide each gate, one gate for all positions.**
# 2. The squeeze keeps **how much of what**, never where. The maps themselves are not compressed.
# 3. In SE all channels **see each other**, so one can say what another is worth; in GE-θ⁻ each sees only itself.
#
# **Now the [exercise](../exercises/03_squeeze_excitation.ipynb).** What follows goes deeper; each section can be read alone. Next lesson: 04, what does an average throw away?

# %% [markdown]
# ## Deeper · Must it multiply? (2 minutes)
#
# SE does two things: it tells every position what stands in the whole image, and it *multiplies*. **Is it the product that solves the task?** The control has the same two layers,
# and adds what they say to the maps, without a sigmoid. *Before running: where will it be after the same 700 steps, at 0.40 or near SE?*


# %%
class Added(SqueezeExcitation):
    """The same layers as SE, but their answer is added to each channel."""

    def forward(self, x):
        return x + self.excite(self.squeeze(x.mean(dim=(2, 3))).relu())[:, :, None, None]


# %% tags=["answer"]
adding = [train(small(lambda: Added(16, reduction=1), seed), 700, seed)[0] for seed in (0, 1, 2)]
print("added      ≈", *(f"{one:.2f}" for one in adding))
print("multiplied ≈", *(f"{one:.2f}" for one in attentive))
assert max(adding) > 0.65 and sum(adding) < sum(attentive)

# %% [markdown]
# Far above 0.40 in at least one seed: the product is not needed. After the slot comes a convolution with a ReLU, and a large negative number that is added before a ReLU shuts a channel, too. What the
# plain network lacks is the *word of the whole image* at the place of the digit. But the product finds its use sooner: in the same steps SE is far in every seed, the sum only in some. Lesson 10 meets a block that adds.
#
# ## Deeper · Bias or no bias? (1 minute)
#
# The journal version of the paper leaves the biases of both layers out and reports that this helps; the
# models that the authors released have them. `bias=True` gives the released form. Whoever copies weights must know which
# form they belong to:

# %%
for bias in (False, True):  # with the paper's r = 16
    block = SqueezeExcitation(64, bias=bias)
    print(f"bias={bias}: {sum(p.numel() for p in block.parameters())} learned numbers")
print("one 3 × 3 convolution with 64 channels:", 9 * 64 * 64)
assert sum(p.numel() for p in block.parameters()) == 2 * 64 * 4 + 4 + 64

# %% [markdown]
# ## Deeper · A silent block (2 minutes)
#
# A small block may be unable to begin: averages of maps after a ReLU are positive and resemble each other between
# images, so a hidden unit that is silent for one image is often silent for all, and through a silent ReLU no gradient passes.
#
# **How often is a whole block silent for all three photographs?** *Before running: guess for one hidden unit and for four.*


# %%
def silent(hidden, seed):
    """Whether no hidden unit of a fresh block speaks for any of the photographs."""
    torch.manual_seed(seed)
    stem, block = nn.Conv2d(3, 64, 5, stride=2), SqueezeExcitation(64, reduction=64 // hidden)
    return bool((block.squeeze(squeeze(stem(photographs).relu())) <= 0).all())


# %% tags=["answer"]
shares = {hidden: sum(silent(hidden, seed) for seed in range(100)) / 100 for hidden in (1, 4)}
assert shares[1] > 0.3 and shares[4] < 0.1
print(f"silent with one hidden unit ≈ {shares[1]:.2f}, with four ≈ {shares[4]:.2f}")

# %% [markdown]
# If the photographs had nothing in common, one unit would be silent for all three in one block of eight (1/2 · 1/2 · 1/2). It is in about
# one of two.
#
# ## Deeper · Gather-Excite: SE is one member of a family (4 minutes)
#
# The same authors split the block into two questions. *Gather*: how wide a neighbourhood is summed up? *Excite*: what may the
# sum do, and may channels mix?
#
# | member | gather | excite | learned, c channels on h × w |
# |---|---|---|---|
# | θ⁻ | average over a window, or all | σ | nothing |
# | θ | depth-wise convolution, BN | σ | c·h·w + 2c (whole map) |
# | θ⁺ | as θ, ReLU | 1 × 1, ReLU, 1 × 1, σ | θ's + 2c²/r + c/r + c |
# | SE | average over all | linear, ReLU, linear, σ | 2c²/r |
#
# (BN is batch normalisation.) **Let the extent grow** from windows of 3 × 3 pixels to the whole map, on the map of red. Dark is a
# gate near 0, bright one near 1.

# %% tags=["folded"]
extents = [2, 8, 32, 0]
bright = 6 * (features[None] - features.mean())  # spread around 0, or every gate would lie near one half
gates = [GatherExcite(6, extent=extent).attention(bright)[0, 0] for extent in extents]
figure = new_figure(7.0, 1.6)
for axes, gate, extent in zip(figure.subplots(1, 4), gates, extents, strict=True):
    show_weights(axes, gate, title=f"extent {extent}" if extent else "whole map", top=1.0)
describe(
    figure,
    "four maps of gates for the red channel of the coffee photograph: at extent 2 a fine picture of cup "
    "and table, then ever coarser squares, and at last one single colour. Bright where the photograph is "
    "red, dark in the shadows.",
)

# %% [markdown]
# **How far does one output pixel see?** Count the input pixels that have any influence on it. *Before running: extent e gathers
# windows of 2e − 1 pixels a side. How many for e = 2, e = 4, and the whole 16 × 16 map?*

# %% tags=["answer"]
seen = []
for extent in (2, 4, 0):
    x = torch.randn(1, 3, 16, 16, generator=generator).requires_grad_()
    GatherExcite(3, extent=extent)(x)[0, 0, 8, 8].backward()
    seen.append(int((x.grad[0, 0] != 0).sum()))
    assert (x.grad[0, 1:] == 0).all(), "no other channel has any influence"
print(seen)
assert seen == [9, 49, 256]

# %% [markdown]
# The assert inside the loop shows how θ⁻ differs from SE: **each channel looks at itself only.** The texture of our canvases stands
# in another channel than the digits, so no gate of θ⁻ can answer it directly; a convolution before it must first carry the cue
# into the digit's own map. SE mixes all averages and needs no such help. (Training can find that convolution, but slowly: try `train(small(lambda: GatherExcite(16, extent=0), 0), 2100, 0)[0]`.
# We found ≈ 0.44 after 700 steps, and ≈ 0.79 after 2100.)
#
# ## Deeper · Where the block goes (2 minutes)
#
# In a residual block SE stands on the branch, after the last norm and *before* the addition, so the shortcut is not scaled:
#
# $$y = \mathrm{ReLU}\bigl(x + s(u) \cdot u\bigr) \qquad u = \mathrm{branch}(x)$$
#
# `SmallCNN` of `course_lib` has a slot at this place. **Train a small SE-ResNet on plain digits**, one digit an image. *Before
# running: will SE help here?*

# %%
plain = load_digits()


def small_resnet(slot):
    """A residual network of two blocks, a few seconds of training, and its share of right answers."""
    network = SmallCNN(1, 10, width=16, blocks=2, slot=slot)
    fit(network, plain.train_images[:, None], plain.train_labels, steps=80, learning_rate=5e-3)
    return accuracy(network, plain.test_images[:, None], plain.test_labels)


# %%
results = repeat(
    lambda seed: [small_resnet(lambda c: nn.Identity()), small_resnet(lambda c: SqueezeExcitation(c, reduction=4))]
)
assert results.min() > 0.85 and (results[:, 0] - results[:, 1]).mean().abs() < 0.05
print("without and with SE ≈", *(f"{a:.3f} {b:.3f}  " for a, b in results.tolist()))
gain = (results[:, 1] - results[:, 0]).mean()
print(f"gain ≈ {gain:+.3f}, in digits: ≈ {gain * len(plain.test_labels):+.0f} of {len(plain.test_labels)}")

# %% [markdown]
# The seeds differ by more than that: here SE neither helps nor harms. In the experiment above it more than doubled the share of right answers. There, the
# image says which channel counts; here there is only one digit, and no channel must be chosen. *SE can pay where the choice of channels depends on the image.*
#
# ## Deeper · What to believe (1 minute)
#
# In the paper, ResNet-50's top-1 error on ImageNet falls from 24.80 to 23.29 % with SE, for 10 % more numbers (2 514 944, which
# the exercise derives) and 0.3 % more multiply-adds. Compare only rows of one table: the "same" ResNet-50 starts anywhere from
# 75.2 to 77.3 % right in papers on channel attention, so a method's gain over its *own* baseline is all that carries over. And
# the gain depends on the recipe: in timm's table of results, with the recipe a1 at 224 pixels, ResNet-50 is right in 80.38 %
# and SE-ResNet-50 in 80.01 %. Our task was made so that channels must be chosen; it shows what SE *can* do, not how often that
# is needed.
#
# *References.* Hu, Shen, Albanie, Sun, Wu, Squeeze-and-Excitation Networks, CVPR 2018 and TPAMI 2020, arXiv 1709.01507.
# Hu, Shen, Albanie, Sun, Vedaldi, Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks, NeurIPS 2018,
# arXiv 1810.12348.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
