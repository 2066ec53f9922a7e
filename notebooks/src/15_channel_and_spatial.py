# %% [markdown]
# # 15 · What and where at once
#
# **Gate or aggregate: what do channel and spatial attention each *do*?**
#
# After this lesson you will be able to
#
# - write CBAM by hand, and prove it equal to loops;
# - say which patterns a gate can make, by how its two parts are joined;
# - measure what a block carries from place to place, and choose a gate or a look-up by where the answer stands.
#
# *Minutes:* 45, deeper 14 · *Needs:* 03, 09 · *Paper:* Woo et al., CBAM, 2018, arXiv 1807.06521; Park et al., BAM, 2018, arXiv 1807.06514; Chen et al., SCA-CNN, 2017, arXiv 1611.05594; Fu et al., DANet, 2019, arXiv 1809.02983 · *Exercise:* [15 channel and spatial](../exercises/15_channel_and_spatial.ipynb) · *Module:* [cbam.py](../course_lib/channel_spatial/cbam.py), [bam.py](../course_lib/channel_spatial/bam.py), [sca.py](../course_lib/channel_spatial/sca.py), [dual.py](../course_lib/channel_spatial/dual.py)
#
# Out of scope: gates over channels alone (03 to 05), look-ups over places alone (09 to 14).

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.channel_spatial.bam import BAM
from course_lib.channel_spatial.cbam import CBAM
from course_lib.channel_spatial.dual import ChannelAttention, DualAttention, PositionAttention
from course_lib.channel_spatial.sca import SCA
from course_lib.data.photographs import load_photograph
from course_lib.data.recall import IGNORE, in_image_recall
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import describe, new_figure, plot_runs, show_image, show_weights
from course_lib.training import accuracy, fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Two ways to attend
#
# **Two channels, three places.** A *gate* multiplies each channel by its own number, each place by its own. A *look-up* mixes: each place gets an average of places. Place 1 shuts its gate; in the look-up it asks place 0.
# *Before running: what does place 1 hold, behind the gate and behind the look-up?*

# %% tags=["answer"]
x = torch.tensor([[4.0, 0.0, 2.0], [3.0, 5.0, 1.0]])  # c n: channels, places
what, where = torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.0, 1.0])
asks = torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])  # row: who asks; column: who answers
print("gate   ", (what[:, None] * where * x).tolist())
print("look-up", (x @ asks.T).tolist())
assert (x @ asks.T)[:, 1].tolist() == [4, 3]

# %% [markdown]
# A gate makes louder or softer what a place has already. A look-up brings what stands elsewhere: it *aggregates*. Four papers:
#
# | paper | what (channels) | where (places) | joined by | y |
# |---|---|---|---|---|
# | SCA-CNN | softmax over c | softmax over n, of what is left | one after the other | gate · x |
# | CBAM | sigmoid | sigmoid, of what is left | one after the other | gate · x |
# | BAM | a logit for each c | a logit for each n | their sum, then one sigmoid | (1 + gate) · x |
# | DANet | c × c weights | n × n weights | their results are added | look-up + x |
#
# CBAM (convolutional block attention module) by hand:

# %% tags=["folded"]
diagram(CBAM)

# %% [markdown]
# ## CBAM
#
# $$M_c = \sigma\bigl(W_1 \delta(W_0\, \mathrm{mean}_{hw}\, x) + W_1 \delta(W_0\, \mathrm{max}_{hw}\, x)\bigr) \qquad x' = M_c\, x$$
# $$M_s = \sigma\bigl(f([\mathrm{max}_c\, x';\ \mathrm{mean}_c\, x'])\bigr) \qquad y = M_s\, x'$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | mean, max over h, w | two descriptions of each channel | b c |
# | $W_0$, δ, $W_1$ | *one* small network for both: c to c/r, ReLU, back to c | c/r c, c c/r |
# | $M_c$ | what: one number for each channel | b c 1 1 |
# | max, mean over c | two descriptions of each *place*, of what the channels left | b 2 h w |
# | $f$ | one convolution, 7 × 7 | 2 to 1 channel |
# | $M_s$ | where: one number for each place, *the same for all channels* | b 1 h w |
#
# **Gate each channel; then gate each place by what is left.**


# %%
def by_loops(block, image):
    """Gate each channel; then gate each place by what is left: c h w -> c h w."""
    left = torch.empty_like(image)
    through = [block.excite(block.squeeze(z).relu()) for z in (image.mean(dim=(1, 2)), image.amax(dim=(1, 2)))]
    for channel, logit in enumerate(through[0] + through[1]):
        left[channel] = logit.sigmoid() * image[channel]
    y, reach = torch.empty_like(image), block.locate.padding[0]
    seen = F.pad(torch.stack([left.amax(dim=0), left.mean(dim=0)]), [reach] * 4)  # 2 h+6 w+6
    for i in range(image.shape[1]):
        for j in range(image.shape[2]):
            logit = (block.locate.weight[0] * seen[:, i : i + 2 * reach + 1, j : j + 2 * reach + 1]).sum()
            y[:, i, j] = logit.sigmoid() * left[:, i, j]
    return y


# %%
def by_hand(block, x):
    """The same as matrices: b c h w -> b c h w."""
    mean, peak = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))  # b c
    logits = sum((z @ block.squeeze.weight.mT).relu() @ block.excite.weight.mT for z in (mean, peak))
    x = logits.sigmoid()[:, :, None, None] * x
    z = torch.stack([x.amax(dim=1), x.mean(dim=1)], dim=1)  # b 2 h w
    return F.conv2d(z, block.locate.weight, padding=3).sigmoid() * x


# %% [markdown]
# *Before running: x is 2 × 8 × 5 × 9. Which shapes have the two maps, and their product?*

# %% tags=["answer"]
torch.manual_seed(0)
block, x = CBAM(8, reduction=2).requires_grad_(False), torch.randn(2, 8, 5, 9)
gate = block.channel(x)
print(list(gate.shape), "·", list(block.spatial(gate * x).shape), "=", list(block.attention(x).shape))

# %%
torch.testing.assert_close(torch.stack([by_loops(block, image) for image in x]), block(x))
torch.testing.assert_close(by_hand(block, x), block(x))

# %% [markdown]
# ## A gate is a table with two factors
#
# CBAM's gate is a table of channels × places, $g_c \cdot m_n$: c · n numbers made from c + n, a table of *rank one*. Which *patterns* can it make?
# Two channels, two places, 16 patterns of on and off. Each channel gets a number $a$, each place a number $b$, joined in three ways; gradient descent finds them, from eight random starts.
# *Before running: how many of the 16 can each way make? And from a = b = 0?*

# %%
joins = {
    "gates": lambda a, b: a.sigmoid() * b.sigmoid(),  # CBAM
    "sum": lambda a, b: (a + b).sigmoid(),  # BAM, paper
    "product": lambda a, b: (a * b).sigmoid(),  # BAM, released code
}
patterns = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4).view(16, 1, 2, 2)


# %%
def made(join, start):
    """For each pattern: whether one of eight starts comes within a quarter of it."""
    generator = torch.Generator().manual_seed(0)
    a = (start * torch.randn(16, 8, 2, 1, generator=generator)).requires_grad_()
    b = (start * torch.randn(16, 8, 1, 2, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([a, b], lr=0.1)
    for _ in range(300):
        gate = join(a, b).clamp(1e-6, 1 - 1e-6)
        loss = F.binary_cross_entropy(gate, patterns.expand_as(gate), reduction="sum")
        optimiser.zero_grad(), loss.backward(), optimiser.step()
    return ((join(a, b) - patterns).abs().amax(dim=(2, 3)) < 0.25).any(dim=1)


# %% tags=["answer"]
can = {name: made(join, start=1) for name, join in joins.items()}
for name, join in joins.items():
    print(f"{name:8} {can[name].sum():2} of 16; from a = b = 0: {made(join, start=0).sum()}")
assert [found.sum().item() for found in can.values()] == [10, 14, 8]

# %% tags=["folded"]
figure = new_figure(7.0, 2.2)
for row, (name, found) in zip(figure.subplots(3, 16), can.items()):
    for axes, pattern, possible in zip(row, patterns, found):
        axes.imshow(pattern[0], cmap="Greys", vmin=0, vmax=1.6 if possible else 6)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="black" if possible else "lightgrey", linewidth=2 if possible else 1)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")
describe(
    figure,
    "three rows of the 16 patterns of two by two cells; a dark one with a frame can be made. Gates: ten, all where rows and columns are on or off as a whole, single corners among them. "
    "Sum: all but the two in which only a diagonal is on. Product: eight, among them the two diagonals, but no single corner.",
)

# %% [markdown]
# **Read it.** The gates make "this channel AND this place", and no OR. The sum makes AND and OR. Neither makes a diagonal: for gates $g_1 m_1 \cdot g_2 m_2 = g_1 m_2 \cdot g_2 m_1$, so if both on the left are near 1, so are both on the right;
# for sums the four logits obey the same with +, so one on the right is on. The product makes the diagonals ("*same* sign"), but no AND. And from a = b = 0 it learns nothing: the gradient for $a$ is a multiple of $b$, that for $b$ one of $a$. That point is a *saddle*.
#
# **Try it.** *Before moving: can you make the diagonal, and a single corner, with each of the three?*


# %% tags=["folded"]
def draw_join(figure, join="sum", channel_0=4, channel_1=4, place_0=4, place_1=4):
    """A gate of two channels and two places."""
    a, b = torch.tensor([[channel_0], [channel_1]]), torch.tensor([[place_0, place_1]])
    axes = figure.subplots()
    gate = joins[join](a.float(), b.float())
    axes.imshow(gate, cmap="Greys", vmin=0, vmax=1)
    for i in range(2):
        for j in range(2):
            colour = "white" if gate[i, j] > 0.5 else "black"
            axes.text(j, i, f"{gate[i, j]:.2f}", ha="center", va="center", color=colour)
    axes.set(xticks=[0, 1], yticks=[0, 1], title=join)
    (
        axes.set_xticklabels([f"b = {place_0}", f"b = {place_1}"]),
        axes.set_yticklabels([f"a = {channel_0}", f"a = {channel_1}"]),
    )


# %% tags=["widget"]
steer(
    draw_join,
    width=3.0,
    join=slider("join", list(joins), value="sum"),
    channel_0=slider("channel_0", [-6, 4], value=4),
    channel_1=slider("channel_1", [-6, 4], value=4),
    place_0=slider("place_0", [-6, 4], value=4),
    place_1=slider("place_1", [-6, 4], value=4),
)

# %% [markdown]
# The same without a widget:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 2.4)
for panel, join in zip(figure.subfigures(1, 3), joins):
    draw_join(panel, join, 4, -6, 4, -6)
describe(
    figure,
    "three tables of two channels by two places, both with the numbers 4 and −6. Gates: 0.96 at the upper left, 0.00 elsewhere. Sum: 1.00 at the upper left, 0.12 twice, 0.00. Product: 1.00 on the diagonal, 0.00 off it.",
)

# %% [markdown]
# ## What moves?
#
# How much does an output change with an input? All these slopes are the *Jacobian*. We take each block *whole*, and with its map **held**: computed once, then constant. What a held block passes on, it *carries*; the rest is *decided*.
# DANet's two halves, with γ (α and β in the paper) set to 1: positions, $y = \gamma\, V A^\top + x$, where row i of $A$ (n × n) is whom place i asks, and channels, $y = \gamma\, A\, x + x$, where row i of $A$ (c × c) is whom *channel* i asks. DANet adds the two.

# %% tags=["folded"]
diagram(DualAttention)


# %%
def held(block, x):
    """The block with its map held as it is for x."""
    weights = block.attention(x).detach()
    if isinstance(block, PositionAttention):
        return lambda z: (block.value(z).flatten(2) @ weights.mT).view_as(z) + z
    if isinstance(block, ChannelAttention):
        return lambda z: (weights @ z.flatten(2)).view_as(z) + z
    return lambda z: weights * z


# %%
def slopes(function, x):
    """How much each output changes with each input, place by place: 1 c h w -> (n c) (n c)."""
    c, n = x.shape[1], x[0, 0].numel()
    jacobian = torch.autograd.functional.jacobian(function, x).view(c, n, c, n)
    return jacobian.permute(1, 0, 3, 2).reshape(n * c, n * c).abs()


# %%
torch.manual_seed(0)
x = torch.randn(1, 3, 2, 3)
blocks = {"CBAM": CBAM(3, reduction=1, kernel_size=3), "BAM": BAM(3, reduction=1).eval()}
blocks |= {"positions": PositionAttention(3, reduction=1), "channels": ChannelAttention()}
for name in ("positions", "channels"):
    nn.init.ones_(blocks[name].gamma)

# %% [markdown]
# *Before running: which of the four blocks carry something to another place? To another channel? Which decide by another place?*

# %% tags=["answer"]
place, channel = torch.arange(6).repeat_interleave(3), torch.arange(3).repeat(6)
elsewhere, mixed = place != place[:, None], (place == place[:, None]) & (channel != channel[:, None])
carried = {name: slopes(held(block, x), x) for name, block in blocks.items()}
for name, block in blocks.items():
    whole = slopes(block, x)
    print(f"{name:9} carried: to another place ≈ {carried[name][elsewhere].max():.2f}", end=", ")
    print(f"channel ≈ {carried[name][mixed].max():.2f};  whole: to another place ≈ {whole[elsewhere].max():.2f}")
    assert whole[elsewhere].max() > 0.001

# %%
assert all(not carried[name][elsewhere].any() for name in ("CBAM", "BAM", "channels"))
assert all(not carried[name][mixed].any() for name in ("CBAM", "BAM"))
assert carried["positions"][elsewhere].max() > 0.02 and carried["channels"][mixed].max() > 0.02

# %% tags=["folded"]
figure = new_figure(7.0, 2.3)
for axes, (name, one) in zip(figure.subplots(1, 4), carried.items()):
    show_weights(axes, one.clamp(max=0.3), title=f"{name}, held", top=0.3)
describe(
    figure,
    "four tables of 18 × 18 slopes, six places of three channels each. CBAM and BAM: only the diagonal. Positions: cells everywhere, bright near the diagonal. Channels: small blocks along the diagonal, all alike.",
)

# %% [markdown]
# **Read it.** (Six places, three channels each.) *A gate moves nothing: held, CBAM and BAM are a diagonal.* Does spatial attention enlarge the receptive field? Only that of the *decision*: CBAM's place gate decides by 7 × 7 places, BAM's by 17 × 17. Does channel attention compress? Only its *descriptor*, to one or two numbers a channel; y has all of x.
# DANet's positions bring content from place to place. Its channels mix channels *in each place*, and all places alike.
#
# ## The experiment: where does the answer stand?
#
# Images of 5 × 5 pixels; every pixel says a number. Three tasks:
#
# - **decided elsewhere**: a pixel holds *two* numbers. Six pixels hold a cue: in this image all others say their first, or all their second.
# - **decided by both** (for gates): the same, and each pixel holds a mark, 0 or 1. It says its second if its mark equals the cue, else its first. A pattern of the diagonal kind.
# - **stands elsewhere**: lesson 09's recall with eight colours and eight numbers. A pixel says the number of the source with its colour.
#
# The folded functions return images and answers (cues and sources are not asked).


# %% tags=["folded"]
def decided(count, seed, marked=False):
    """The first or the second number by the cue, or by cue and mark: images n 12 5 5, targets n 5 5."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(4, (count, 2, 25), generator=generator)
    mark = torch.randint(2, (count, 25), generator=generator) * marked
    cue = torch.randint(2, (count, 1), generator=generator)
    cues = torch.rand(count, 25, generator=generator).argsort(dim=1) < 6  # n 25
    marks = F.one_hot(mark, 2) * marked
    pixels = torch.cat([F.one_hot(numbers[:, 0], 4), F.one_hot(numbers[:, 1], 4), marks], dim=2) * ~cues[..., None]
    told = 8 * cues[..., None] * F.one_hot(cue, 2)  # loud
    which = (mark == cue).long() if marked else cue.expand(count, 25)
    targets = numbers.gather(1, which[:, None])[:, 0].masked_fill(cues, IGNORE)
    return torch.cat([pixels, told], dim=2).float().mT.unflatten(2, (5, 5)), targets.unflatten(1, (5, 5))


def by_both(count, seed):
    """The second number where the mark equals the cue, else the first."""
    return decided(count, seed, marked=True)


def elsewhere_in(count, seed):
    """Recall with eight colours and eight numbers."""
    return in_image_recall(count, height=5, width=5, symbols=8, queries=8, seed=seed)[:2]


# %% [markdown]
# The network: a 1 × 1 convolution to 16 channels, **one block**, a 1 × 1 convolution to the answers, both without biases. So only the block brings anything from place to place. BAM with the sum, and with the product. Controls:
#
# - **full gate**, **two factors** (for *both*): both see x and its mean. The first makes a number for each channel *and* place; the second multiplies one for each channel and one for each place.
# - **everyone's average**: DANet's positions, but each place reads all alike.
# - **foreign map** (for *elsewhere*): DANet's channels, with the c × c map of *another image*.
#
# `gate_of` (folded) returns 1 × 1 convolutions with a final sigmoid.


# %% tags=["folded"]
def gate_of(seen, numbers):
    """A small network that makes gates of what it sees: b seen h w -> b numbers h w."""
    # BatchNorm as in BAM: without it the full gate stays near 0.625 for 140 steps
    hidden = [nn.Conv2d(seen, 16, 1), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Conv2d(16, numbers, 1), nn.BatchNorm2d(numbers), nn.Sigmoid())


# %%
def with_mean(x):
    """What a pixel says, and what all say: b c h w -> b 2c h w."""
    return torch.cat([x, x.mean(dim=(2, 3), keepdim=True).expand_as(x)], dim=1)


# %%
class FullGate(nn.Module):
    """A number for each channel and place: b c h w -> b c h w."""

    def __init__(self):
        super().__init__()
        self.gate = gate_of(32, 16)

    def forward(self, x):
        return self.gate(with_mean(x)) * x


# %%
class TwoFactors(nn.Module):
    """A number for each channel, times a number for each place: b c h w -> b c h w."""

    def __init__(self):
        super().__init__()
        self.what, self.where = gate_of(16, 16), gate_of(32, 1)

    def forward(self, x):
        return self.what(x.mean(dim=(2, 3), keepdim=True)) * self.where(with_mean(x)) * x


# %%
class Average(PositionAttention):
    """DANet's positions, but each place reads all alike."""

    def forward(self, x):
        return self.gamma * self.value(x).mean(dim=(2, 3), keepdim=True) + x


# %%
class ForeignMap(ChannelAttention):
    """DANet's channels, with the map of the next image of the batch."""

    def attention(self, x):
        return super().attention(x).roll(1, dims=0)


# %%
rivals = {
    "CBAM": lambda: CBAM(16, reduction=1, kernel_size=3),
    "BAM, sum": lambda: BAM(16, reduction=2, dilation=1),
    "BAM, product": lambda: BAM(16, reduction=2, dilation=1, combine="product"),
    "positions": lambda: PositionAttention(16, reduction=2),
    "channels": ChannelAttention,
    "full gate": FullGate,
    "two factors": TwoFactors,
    "everyone's average": lambda: Average(16, reduction=2),
    "foreign map": ForeignMap,
}
gates, look_ups = ["CBAM", "BAM, sum"], ["positions", "channels"]
shown = {"decided elsewhere": [*gates, *look_ups, "everyone's average"]}
shown["decided by both"] = [*gates, "BAM, product", "full gate", "two factors"]
shown["stands elsewhere"] = [*gates, *look_ups, "everyone's average", "foreign map"]

# %%
tasks = {"decided elsewhere": decided, "decided by both": by_both, "stands elsewhere": elsewhere_in}
data = {name: (task(4000, seed=0), task(300, seed=1)) for name, task in tasks.items()}


# %%
def train_with(make, task, seed):
    """The share right, after 140 steps."""
    torch.manual_seed(seed)
    train, test = data[task]
    answers = 8 if task == "stands elsewhere" else 4
    model = nn.Sequential(
        nn.Conv2d(train[0].shape[1], 16, 1, bias=False), make(), nn.Conv2d(16, answers, 1, bias=False)
    )
    fit(model, *train, steps=140, learning_rate=0.02, one_cycle=False, seed=seed, title=task)
    return accuracy(model, *test)


# %% [markdown]
# Who always says the first is right in half of the images, and by luck in a quarter of the rest: 0.625. In recall: say the number that most sources hold.
# **We predicted**: only gates do the first (adding cannot select), only product and full gate the second, only look-ups the third. *Before running: do you agree?*

# %% tags=["answer"]
right = {task: {} for task in tasks}
pairs = [(task, name) for task in tasks for name in shown[task]]
for task, name in pairs:
    right[task][name] = [train_with(rivals[name], task, seed) for seed in (0, 1, 2)]
    print(f"{task:18} {name:18} ≈ {' '.join(f'{one:.2f}' for one in right[task][name])}")
images, answers = data["stands elsewhere"][1]
most = images[:, 8:16].sum(dim=(2, 3)).argmax(dim=1)[:, None, None]
counted = (most == answers)[answers >= 0].float().mean()
print(f"the most frequent number is right in ≈ {counted:.2f}")

# %%
first, second, third = right.values()
assert min(min(first[name]) for name in ("CBAM", "BAM, sum", "channels")) > 0.9
assert max(first["everyone's average"]) < 0.74 < min(first["positions"])
assert max(second["CBAM"]) < 0.7 < min(second["two factors"] + second["BAM, sum"])
assert max(second["two factors"]) < 0.84 and min(second["BAM, product"] + second["full gate"]) > 0.97
assert min(third["positions"]) > 0.97 and min(third["channels"]) > 0.6 and max(third["foreign map"]) < 0.2
assert max(third["CBAM"] + third["BAM, sum"]) < counted + 0.03 and max(third["everyone's average"]) < counted + 0.05

# %% tags=["folded"]
figure = new_figure(7.0, 5.0)
for axes, (task, found) in zip(figure.subplots(3, 1), right.items()):
    plot_runs(axes, found, guess=0.125 if task == "stands elsewhere" else 0.625)
    axes.set(title=task, xlabel="share right (dotted: a block that is worth nothing)" if found is third else "")
describe(
    figure,
    "three panels, a row a block and a dot a seed. Decided elsewhere: CBAM, BAM and channels at 1 or close to it, positions between 0.8 and 0.95, everyone's average near the line of 0.625. "
    "Decided by both: CBAM at the line of 0.625, two factors at 0.8, BAM with the sum between 0.8 and 0.9, BAM with the product and the full gate at 1. "
    "Stands elsewhere: positions at 1, channels at about 0.8, both kinds of gates and everyone's average near 0.3, the foreign map at the line of 0.125.",
)

# %% [markdown]
# **Read it.** *Our prediction was wrong in two of three tasks.*
#
# - *Decided elsewhere*: gates do it. So do DANet's channels, and positions in most pixels. Everyone's average does not help: adding alone does not select, *whom a pixel asks* does. The cue is loud (8): with 1, CBAM stays near 0.6.
# - *Decided by both*: in CBAM and two factors, the answers at a place are *one matrix of the image* times x, times $m_n > 0$, which changes no ranking. So at most 0.81 are right: for numbers i ≠ j a matrix can be right at both marks for (i, j) or for (j, i), not for both: ¼ + ¾ · ¾. Two factors get there, CBAM does not. The full gate sees what they see, is not of rank one, and gets 1.
# - Nor is BAM's 1 + gate: the product gets 1, the *sum* 0.8 to 0.9, though it makes no diagonal. How, we did not measure. (With biases, two factors get more than 0.81, too: then $m_n$ can change a ranking.)
# - *Stands elsewhere*: no gate beats counting here. Reach is not enough (everyone's average). *Channels*, with one learned number, get about 0.8: what they carry is in the c × c map of *this* image; with another's, they guess.
#
# Does a gate carry *nothing* of what stands elsewhere? (Deeper.)
#
# ## Real features: cut out the flower
#
# **Features of a photograph** (trunk of lesson 09, block 7). The flower's features shall pass, all others be silent; the photograph's colours say where it is. We train CBAM and BAM on this photograph and a darker copy, and test on its *mirror image*.
# The **error** is the mean square of what is wrong, as a share of the flower's. **Find**: for a place on the flower and one off it, how often is the map larger on the first? Controls: *max* and *mean* over the channels, and CBAM trained on as many *scattered* places.

# %% tags=["folded"]
trunk, photograph = load_trunk(), load_photograph("flower", height=200)


def features_of(image):
    """Features of block 7, with mean 0 and standard deviation 1: 3 h w -> 1 80 13 19."""
    features = trunk(image[None], block=7)
    # one mean for all: with each channel's own removed, the means that BAM's gate reads would all be 0
    return (features - features.mean()) / features.std()


def flower_in(image):
    """Where the flower is, by its colour: 3 h w -> 13 19, of 0 and 1."""
    orange = (image[0] - image[2] > 0.2).float()
    return (F.adaptive_avg_pool2d(orange[None], (13, 19))[0] > 0.5).float()


# %%
def find(map_, mask):
    """How often a map is larger on the mask than off it: h w, h w -> a number."""
    return (map_[mask > 0.5][:, None] > map_[mask < 0.5]).float().mean().item()


# %%
mirrored, mask = photograph.flip(2), flower_in(photograph)
here, there = features_of(photograph), features_of(mirrored)
both = torch.cat([here, features_of(0.7 * photograph)])
scattered = mask.flatten()[torch.randperm(247, generator=torch.Generator().manual_seed(0))].view_as(mask)


# %%
def cut_out(make, target, seed=0):
    """A block trained to let x pass on the target and to silence the rest."""
    torch.manual_seed(seed)
    block = make()
    fit(block, both, both * target, steps=150, learning_rate=0.01, batch_size=2, one_cycle=False, loss=F.mse_loss)
    return block.eval()


# %%
@torch.no_grad()
def places_of(block, x):
    """What the block says about each place: 1 c h w -> h w."""
    return block.spatial(block.channel(x) * x if isinstance(block, CBAM) else x)[0, 0]


# %%
@torch.no_grad()
def error(block, x, target):
    """The mean square of what is wrong, as a share of what is due."""
    return ((block(x) - x * target).square().sum() / (x * target).square().sum()).item()


# %%
def report(name, blocks, target):
    """Error and find on the photograph and on its mirror image, a number a seed."""
    for kind, x, due in (("trained on", here, target), ("mirror", there, target.flip(1))):
        errors = " ".join(f"{error(one, x, due):.2f}" for one in blocks)
        finds = " ".join(f"{find(places_of(one, x), due):.2f}" for one in blocks)
        print(f"{name:15} {kind:10}  error ≈ {errors}   find ≈ {finds}")


# %% [markdown]
# *Before running: BAM's gate lies between 1 and 2. Will its error be more or less than that of changing nothing?*

# %%
cbam = [cut_out(lambda: CBAM(80, reduction=8), mask, seed) for seed in (0, 1, 2)]
scatter = [cut_out(lambda: CBAM(80, reduction=8), scattered, seed) for seed in (0, 1, 2)]
bam = cut_out(lambda: BAM(80, reduction=8), mask)

# %% tags=["answer"]
nothing = error(nn.Identity(), there, mask.flip(1))
print(f"change nothing, mirror: error ≈ {nothing:.2f}")
report("BAM", [bam], mask)
report("CBAM", cbam, mask)
report("CBAM, scattered", scatter, scattered)
maps = {"max": there.amax(dim=1)[0], "mean": there.mean(dim=1)[0]}  # over the channels
for name, map_ in maps.items():
    print(f"{name}, mirror: find ≈ {find(map_, mask.flip(1)):.2f}")

# %%
found = [find(places_of(one, there), mask.flip(1)) for one in cbam]
assert max(error(one, there, mask.flip(1)) for one in cbam) < 0.7 < 1.5 < nothing < error(bam, there, mask.flip(1))
assert min(found) > 0.8 and max(find(places_of(one, there), scattered.flip(1)) for one in scatter) < 0.65
assert min(find(places_of(one, here), scattered) for one in scatter) > 0.75, "learned by heart"

# %% tags=["folded"]
figure = new_figure(7.0, 3.4)
maps = {"CBAM": places_of(cbam[0], there), "BAM, logits": places_of(bam, there), **maps}
panels = figure.subplots(2, 3)
show_image(panels[0, 0], mirrored, title="photograph, mirrored")
show_weights(panels[1, 0], mask.flip(1), title="the flower")
for axes, (name, map_) in zip(panels[:, 1:].flat, maps.items()):
    show_weights(axes, map_ - map_.min(), title=name)
describe(
    figure,
    "six panels. The mirrored photograph of an orange flower, a part of a second one below; the flowers as two blocks of cells. CBAM: bright on the flower, weaker at some cells to its right and below. BAM: bright at a few cells of the flower, a little brighter on the rest of it than elsewhere. Max: a few bright cells, most of them on the flower's rim. Mean: dark on the flower, bright on its rim.",
)

# %% [markdown]
# **Read it.** CBAM finds the flower in the mirror image, too; scattered places it learned by heart, and fails on the mirror. BAM also finds the flower, but can only amplify: no gate between 1 and 2 has a smaller error than changing nothing. Its best is to shut every gate.
# What contradicts the story: the *mean* alone, low on the flower, finds nearly as much with its sign turned. One photograph, one object.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 15 CBAM | none | none | x | c + n, rank one | none: sigmoids | n · c + 4 c²/r + 98 n |
# | 15 SCA-CNN | the sentence | each channel's mean; each place | x | c + n | softmax over c, and over n | n · c · k, with k hidden units |
# | 15 DANet, positions | B x | C x | D x | n n | softmax over the keys | n² · c + projections |
# | 15 DANet, channels | a channel | a channel | a channel | c c | softmax over the keys | n · c² |
#
# ## Three things to keep
#
# 1. **A gate moves nothing, a look-up moves content.** A channel gate says how much of *what*, a place gate how much of *where*. Far places only *decide*.
# 2. **How the two are joined says what can be asked for**: gates make AND, a sum AND and OR, a product "same", and it cannot start from 0.
# 3. **Ask where the answer stands.** Decided elsewhere: a gate. Stands elsewhere: a look-up, over places or over channels.
#
# **Now the [exercise](../exercises/15_channel_and_spatial.ipynb).** Next lesson: 16, which path?

# %% [markdown]
# ## Deeper · Why the maximum? (7 minutes)
#
# **One bright pixel.** CBAM describes a channel by mean *and* maximum. 256 pixels of noise with standard deviation 0.1. In half of the images *one* pixel is brighter by 1, or *all* are brighter by 1/256. Take an image with light and one without: how often is the number of the one with light larger?


# %%
def tells(describe_by, light):
    """How often an image with this light gets a larger number than one without."""
    noise = 0.1 * torch.randn(2, 1000, 256, generator=torch.Generator().manual_seed(0))
    with_light, without = describe_by(noise[0] + light), describe_by(noise[1])
    return (with_light[:, None] > without).float().mean().item()


# %%
one, spread = F.one_hot(torch.tensor(100), 256), torch.full((256,), 1 / 256)
told = {
    (name, light): tells(by, amount)
    for name, by in {"mean": lambda x: x.mean(dim=1), "max": lambda x: x.amax(dim=1)}.items()
    for light, amount in {"one pixel": one, "all pixels": spread}.items()
}
for key, share in told.items():
    print(f"{key[0]:4} {key[1]:10} ≈ {share:.2f}")

# %%
assert told["max", "one pixel"] > 0.99 and told["max", "all pixels"] < 0.55
assert abs(told["mean", "one pixel"] - told["mean", "all pixels"]) < 0.03

# %% [markdown]
# The mean cannot tell the two kinds of light apart. The maximum sees the single pixel, and misses light that is spread.
#
# **A decision can carry an answer.** Recall again, but with *four* colours and four numbers. CBAM, with its channel gate given the mean alone, or the maximum alone (both twice, so that nothing else changes). *Before running: which of the two beats counting?*


# %%
class OneStatistic(CBAM):
    """CBAM whose channel gate gets one description of each channel, twice."""

    def __init__(self, description):
        super().__init__(16, reduction=1, kernel_size=3)
        self.description = description

    def channel(self, x):
        return (2 * self.excite(self.squeeze(self.description(x)).relu())).sigmoid()[:, :, None, None]


# %%
few = [in_image_recall(count, height=5, width=5, queries=8, seed=seed)[:2] for count, seed in ((4000, 0), (300, 1))]
descriptions = {"mean": lambda x: x.mean(dim=(2, 3)), "max": lambda x: x.amax(dim=(2, 3))}


# %% tags=["answer"]
def recalls(description, seed):
    """The share right, after 300 steps."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(10, 16, 1), OneStatistic(description), nn.Conv2d(16, 4, 1))
    fit(model, *few[0], steps=300, learning_rate=0.02, one_cycle=False, seed=seed)
    return accuracy(model, *few[1])


recalled = {name: [recalls(by, seed) for seed in (0, 1, 2)] for name, by in descriptions.items()}
most = few[1][0][:, 4:8].sum(dim=(2, 3)).argmax(dim=1)[:, None, None]
print(f"counting ≈ {(most == few[1][1])[few[1][1] >= 0].float().mean():.2f}")
for name, shares in recalled.items():
    print(f"{name:5} ≈ {' '.join(f'{one:.2f}' for one in shares)}")
assert max(recalled["mean"]) < 0.6 < min(recalled["max"])

# %% [markdown]
# The mean counts, and no more. The *maximum* of "red plus 3" over all places is larger if one place is red *and* holds a 3: it sees pairs. 16 channels have room for the 16 pairs of four colours and four numbers. (In one run each, 8 channels got 0.62 and 64 got 1.00.) So a gate *can* bring an answer from far away, through c numbers, the same for all places. For the 64 pairs of eight colours and eight numbers not even 64 channels beat counting in 300 steps: room alone is not enough.
#
# ## Deeper · DANet's channel map, normalised three times (4 minutes)
#
# Row i of DANet's channel map is a softmax of $E_{ij} = x_i \cdot x_j$, where $x_i$ is channel i as one long vector. The *paper* takes softmax(E). The *released code* takes softmax$(\max_j E_{ij} - E_{ij})$. This looks like the usual step against overflow, but it is softmax(−E): the constant falls out, the sign stays. A third way: E divided by the number of places n.
# The trunk's features (block 4, 40 channels, centred, standard deviation 1). *Before running: which channel does a channel read mostly, in each of the three?*

# %%
cat = load_trunk()(load_photograph("cat", height=200)[None], block=4)
cat = (cat - cat.mean(dim=(2, 3), keepdim=True)) / cat.std()
n = cat[0, 0].numel()

# %% tags=["answer"]
three = {
    "softmax(E), paper": ChannelAttention().attention(cat)[0],
    "softmax(−E), code": ChannelAttention(released=True).attention(cat)[0],
    "softmax(E/n)": ChannelAttention().attention(cat / n**0.5)[0],
}
for name, map_ in three.items():
    entropy = torch.special.entr(map_).sum(dim=1).mean()
    read = map_.argmax(dim=1).unique().numel()
    print(f"{name:18} itself ≈ {map_.diagonal().mean():.2f}  entropy ≈ {entropy:.2f}  channels read first ≈ {read}")
paper, code, mean = three.values()
assert paper.diagonal().mean() > 0.99 and code.diagonal().max() < 0.01 and mean.diagonal().mean() < 0.1

# %% tags=["folded"]
figure = new_figure(7.0, 2.5)
for axes, (name, map_) in zip(figure.subplots(1, 3), three.items()):
    show_weights(axes, map_, title=name)
describe(
    figure,
    "three maps of 40 × 40 channels. Paper: the diagonal alone. Code: one bright cell in each row, off the diagonal, many of them in the same few columns. E/n: nearly even, with a diagonal that is a little brighter.",
)

# %% [markdown]
# Log 40 ≈ 3.69 is the entropy of reading all alike. The paper's map is the *identity*: the block is (1 + γ) x. The code's picks for each channel the one with the lowest product: few channels are read by all 40. E/n reads nearly everything. It depends on the scale: features twice as large make E four times as large, and the block has no parameter to change this back. Our experiment used the paper's sign, and there it was no identity: with a foreign map the answers were lost.
#
# For the positions, notes often write $V \cdot \mathrm{softmax}(Q^\top K)$. V stands left and is c × n, so the softmax must run over the *first* index, the one that is summed. With the usual rows it is $V\, \mathrm{softmax}(Q^\top K)^\top$: the exercise repairs this.
#
# ## Deeper · SCA-CNN: asked by a sentence (3 minutes)
#
# SCA-CNN (spatial and channel-wise attention) gates while a caption is written: the sentence so far chooses channels, then places in what is left. Both gates are a softmax. *Before running: 64 channels, 7 × 7 places, nearly equal weights. How much of x is left?*

# %% tags=["folded"]
diagram(SCA)

# %% tags=["answer"]
torch.manual_seed(0)
x, sentence = torch.rand(1, 64, 7, 7), torch.randn(1, 16)
for released in (False, True):
    sca = SCA(64, 16, attention_dim=32, released=released).requires_grad_(False)
    print(f"released={released!s:5}: mean of |y| / mean of |x| ≈ {sca(x, sentence).mean() / x.mean():.1g}")
    assert 0.5 < sca(x, sentence).mean() / x.mean() * (1 if released else 64 * 49) < 2

# %% [markdown]
# Weights that sum to 1 take away a factor of 64, and one of 49. The released code gives it back: β · c and α · n. Sigmoids need not share: two of them start near ½ · ½, whatever c and n.
#
# What is it worth? For ResNet-50 on ImageNet (top-1) the CBAM paper reports 77.34 %; another group's run with one recipe for all (the PytorchInsight repository) has 76.38 % without, 77.18 % with SE, 76.90 % with BAM, 77.63 % with CBAM; for ResNet-101, 78.20 % without and 78.35 % with CBAM. Our tasks show what blocks can and cannot do, not how much natural images need it.
#
# *References.* Woo, Park, Lee, Kweon, CBAM: Convolutional Block Attention Module, ECCV 2018, arXiv 1807.06521. Park, Woo, Lee, Kweon, BAM: Bottleneck Attention Module, BMVC 2018, arXiv 1807.06514.
# Chen, Zhang, Xiao, Nie, Shao, Liu, Chua, SCA-CNN, CVPR 2017, arXiv 1611.05594. Fu, Liu, Tian, Li, Bao, Fang, Lu, Dual Attention Network for Scene Segmentation, CVPR 2019, arXiv 1809.02983. Tan, Le, EfficientNet, ICML 2019, arXiv 1905.11946.
