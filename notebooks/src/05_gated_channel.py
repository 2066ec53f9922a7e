# %% [markdown]
# # 05 · Gated channel transformation
#
# **Can three vectors replace two fully connected layers?**
#
# After this lesson you will be able to
#
# - compute GCT's embedding, normalisation and gate by hand, and say what the sign of γ does;
# - derive all its gradients and check each of them against autograd;
# - test whether a gate works for the reason that is given for it.
#
# *Minutes:* 39, deeper 23 · *Needs:* 03 · *Paper:* Yang et al., 2020, arXiv 1909.11519; Wang et al., 2020, arXiv 1910.03151 · *Exercise:* [05 gated channel](../exercises/05_gated_channel.ipynb) · *Module:* [gated_channel.py](../course_lib/channel/gated_channel.py), [efficient_channel.py](../course_lib/channel/efficient_channel.py)
#
# Out of scope: other ways to describe a channel than by its size (04), and gates for positions (15).

# %%
import math

import torch
from torch import nn

from course_lib.channel.efficient_channel import EfficientChannel, adaptive_kernel_size
from course_lib.channel.gated_channel import GatedChannelTransform
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.data.cued_channels import cued_channels
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, describe, new_figure, plot_runs, show_image, show_weights
from course_lib.training import accuracy, fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Who is loud?
#
# A feature map has channels, and a *channel gate* multiplies each whole channel by one number. Squeeze-and-Excitation (SE, lesson 03) computes these
# numbers with two fully connected layers. Gated channel transformation (GCT) asks a simpler question: **how loud is this channel, compared with
# the others?** Take an image of two channels with four pixels each.

# %%
x = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])  # b c h w = 1 2 2 2
s = x.square().sum(dim=(2, 3)).sqrt()  # b c
print("sizes", s.tolist()[0])

# %% [markdown]
# The *size* of a channel is the root of its sum of squares: $\sqrt{9} = 3$ and $\sqrt{4 + 4 + 4 + 4} = 4$.
#
# **Compare: divide by the root mean square of all sizes.** Here that is $\sqrt{(9 + 16) / 2} = 3.54$. *Before running: the new
# numbers are 0.85 and 1.13. What is the sum of their squares?*

# %% tags=["answer"]
s_hat = s / s.square().mean(dim=1, keepdim=True).sqrt()
print("compared", [round(v, 2) for v in s_hat.tolist()[0]], " sum of squares", round(s_hat.square().sum().item(), 2))
assert torch.isclose(s_hat.square().sum(), torch.tensor(2.0)), "always the number of channels"

# %% [markdown]
# The sum is always the number of channels: they share out a fixed budget. If one channel grows, the numbers of all others shrink.
#
# **Gate: one number γ decides what being loud means.** The gate is $1 + \tanh(\gamma \hat s)$, between 0 and 2. Before the gate, the loud channel is
# 4 / 3 = 1.33 times as large as the quiet one. *Before running: does γ = 0.5 raise or lower this ratio? And γ = −0.5? And γ = 0?*

# %% tags=["answer"]
ratio = {}
for gamma in (0.5, -0.5, 0.0):
    gates = 1 + torch.tanh(gamma * s_hat)
    after = (s * gates)[0]
    ratio[gamma] = after[1] / after[0]
    print(f"γ = {gamma:4}: gates {gates[0, 0]:.2f} {gates[0, 1]:.2f}, loud : quiet = {ratio[gamma]:.2f}")
assert ratio[-0.5] < ratio[0.0] < ratio[0.5]

# %% [markdown]
# A positive γ raises the ratio (the paper says *competition*). A negative one makes both channels smaller, the loud one more, and lowers it
# (*cooperation*). γ = 0 changes nothing at all.

# %% tags=["folded"]
diagram(GatedChannelTransform)

# %% [markdown]
# ## The formula
#
# For channel i of c:
#
# $$s_i = \alpha_i \Bigl(\sum_{h,w} x_{ihw}^2 + \epsilon\Bigr)^{1/2} \qquad \hat s_i = \frac{s_i}{\bigl(\frac1c \sum_j s_j^2 + \epsilon\bigr)^{1/2}}$$
# $$y_i = x_i \bigl(1 + \tanh(\gamma_i \hat s_i + \beta_i)\bigr)$$
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $x$, $y$ | features | b c h w | in and out |
# | $s$ | embedding | b c | how large each channel is |
# | $\hat s$ | normalised | b c | how large, compared with all channels of its image |
# | $\alpha$ | embedding weight | c | how much the channel counts in the comparison; starts at 1 |
# | $\gamma$ | gate weight | c | what being large does; starts at 0 |
# | $\beta$ | gate bias | c | a plain scale for the channel; starts at 0 |
# | $\epsilon$ | | | $10^{-5}$, keeps roots and quotients finite |
#
# The three vectors of the title are α, γ and β. In the course's formula $\mathrm{Attention}(x) = f(g(x), x)$, the gate is $g$ and the
# multiplication is $f$. Channels meet only in the mean under the second root.
#
# (These are the equations of the released code, `released=True`. The paper divides by the root of the *sum* and multiplies by $\sqrt c$: the
# same, but for an ε that is c times smaller.)
#
# ## As loops, as tensors, from the library
#
# **For every channel its size; then the common measure; then the gate.**


# %%
def by_loops(image, alpha, gamma, beta, epsilon=1e-5):
    """For every channel its size; then the common measure; then the gate: c h w -> c h w."""
    sizes = [a * math.sqrt((channel**2).sum() + epsilon) for a, channel in zip(alpha, image)]
    measure = math.sqrt(sum(size**2 for size in sizes) / len(sizes) + epsilon)
    gates = [1 + math.tanh(g * size / measure + b) for g, size, b in zip(gamma, sizes, beta)]
    return torch.stack([gate * channel for gate, channel in zip(gates, image)])


# %% [markdown]
# And for a whole batch. *Before running: x is 2 × 5 × 3 × 4. Which shapes do s, the root below ŝ, and the gates have?*


# %%
def by_tensors(x, alpha, gamma, beta, epsilon=1e-5):
    """The same for a batch: b c h w -> b c h w."""
    s = alpha * (x.square().sum(dim=(2, 3)) + epsilon).sqrt()  # b c
    s_hat = s / (s.square().mean(dim=1, keepdim=True) + epsilon).sqrt()  # b c
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]


# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
x = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
alpha, gamma, beta = torch.randn(3, 5, generator=generator, dtype=torch.float64)
block = GatedChannelTransform(5, released=True).double()
block.load_state_dict({"alpha": alpha, "gamma": gamma, "beta": beta})
s, gates = block.embedding(x), block.attention(x)
root = s.square().mean(dim=1, keepdim=True).sqrt()
print(f"s {list(s.shape)}, root {list(root.shape)}, gates {list(gates.shape)}")

# %%
torch.testing.assert_close(by_tensors(x, alpha, gamma, beta)[1], by_loops(x[1], alpha, gamma, beta))
torch.testing.assert_close(by_tensors(x, alpha, gamma, beta), block(x))

# %% [markdown]
# **What it costs.** Three numbers a channel, where SE's two layers need $2c^2 / r$ weights, for a bottleneck of c / r units.

# %%
for c in (64, 256, 2048):
    se, three = (sum(p.numel() for p in m.parameters()) for m in (SqueezeExcitation(c), GatedChannelTransform(c)))
    print(f"c = {c:4}   SE with r = 16: {se:6}   GCT: {three:4}")
    assert three == 3 * c and se == 2 * c * c // 16

# %% [markdown]
# **A new block changes nothing.** With γ = β = 0 the gate is $1 + \tanh 0 = 1$, exactly. So GCT can be put into a trained network without harm.

# %%
flower = load_photograph("flower")[None]
print("largest change by a new block:", (GatedChannelTransform(3)(flower) - flower).abs().max().item())
assert torch.equal(GatedChannelTransform(3)(flower), flower)

# %% [markdown]
# ## All gradients, by hand
#
# GCT is small enough to be differentiated on one page. Write $E_i$ for the root in the first formula (so $s = \alpha E$), $M$ for the
# root below $\hat s$ (so $\hat s = s / M$), $T = \tanh(\gamma \hat s + \beta)$, and $G = \partial L / \partial y$ for
# the gradient that arrives from above. First the forward pass again:

# %%
E = (x.square().sum(dim=(2, 3)) + 1e-5).sqrt()  # b c
M = ((alpha * E).square().mean(dim=1, keepdim=True) + 1e-5).sqrt()  # b 1
s_hat = alpha * E / M  # b c
T = torch.tanh(gamma * s_hat + beta)  # b c

# %% [markdown]
# And autograd's answers, to compare with:

# %%
G = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
leaves = [t.clone().requires_grad_() for t in (x, alpha, gamma, beta)]
truth = dict(zip("xαγβ", torch.autograd.grad(by_tensors(*leaves), leaves, G)))


def compare(**ours):
    """Print by how much each gradient differs from autograd's."""
    for name, gradient in ours.items():
        difference = (gradient - truth[name]).abs().max()
        print(f"gradient of {name}, shape {list(gradient.shape)}: differs by ≈ {difference:.0e}")
        assert difference < 1e-8


# %% [markdown]
# **Step 1: the gate's argument $u = \gamma \hat s + \beta$.** A gate touches every pixel of its channel, so the pixels' gradients add
# up. With $\tanh' = 1 - \tanh^2$,
#
# $$\frac{\partial L}{\partial u_i} = (1 - T_i^2) \sum_{hw} G_{ihw} x_{ihw}$$
#
# From it the two easy ones follow:
#
# $$\frac{\partial L}{\partial \beta_i} = \sum_b \frac{\partial L}{\partial u_{bi}} \qquad \frac{\partial L}{\partial \gamma_i} = \sum_b \frac{\partial L}{\partial u_{bi}}\, \hat s_{bi}$$

# %%
du = (G * x).sum(dim=(2, 3)) * (1 - T**2)  # b c
compare(β=du.sum(dim=0), γ=(du * s_hat).sum(dim=0))

# %% [markdown]
# **Step 2: through the comparison.** $s_j$ enters $\hat s_i$ twice: directly if $j = i$, and through $M$ always. As
# $\partial M / \partial s_j = s_j / (c M) = \hat s_j / c$,
#
# $$\frac{\partial \hat s_i}{\partial s_j} = \frac{1}{M}\Bigl(\delta_{ij} - \frac{\hat s_i \hat s_j}{c}\Bigr) \qquad \delta_{ij} = 1 \text{ if } i = j, \text{ else } 0$$
#
# For two different channels only the minus is left: as long as α is positive, *every channel pushes down all others*. With
# $D_i = \partial L / \partial \hat s_i = \gamma_i\, \partial L / \partial u_i$ the chain rule, summed over i, gives
#
# $$S_j = \frac{\partial L}{\partial s_j} = \frac{1}{M}\Bigl(D_j - \hat s_j \, \frac1c \sum_i D_i \hat s_i\Bigr)$$

# %%
D = gamma * du
S = (D - s_hat * (D * s_hat).mean(dim=1, keepdim=True)) / M  # b c

# %% [markdown]
# **Step 3: α and x.** $s_i = \alpha_i E_i$ gives the gradient of α. And x enters y directly, and through its size, with
# $\partial E_i / \partial x_{ihw} = x_{ihw} / E_i$:
#
# $$\frac{\partial L}{\partial \alpha_i} = \sum_b S_{bi} E_{bi} \qquad \frac{\partial L}{\partial x_{bihw}} = G_{bihw} (1 + T_{bi}) + S_{bi}\, \alpha_i \frac{x_{bihw}}{E_{bi}}$$

# %%
through_size = (S * alpha / E)[:, :, None, None] * x
compare(α=(S * E).sum(dim=0), x=G * (1 + T)[:, :, None, None] + through_size)

# %% [markdown]
# **What the formulas tell before any training.** Everything that reaches α passes through $D = \gamma\,(\dots)$. *Before running: which of α, γ, β
# get a gradient in the first step, when γ = β = 0?*

# %% tags=["answer"]
fresh = GatedChannelTransform(5).double()
(fresh(x) * G).sum().backward()
first = {name: p.grad.abs().max().item() for name, p in fresh.named_parameters()}
print("largest gradient:", ", ".join(f"{name} ≈ {size:.1f}" for name, size in first.items()))
assert first["alpha"] == 0 < min(first["gamma"], first["beta"])

# %% [markdown]
# **While γ = 0, α learns nothing.** First γ must move; then it matters how channels are weighed.
#
# ## Real features
#
# Now a photograph, and the 40 channels of block 4 of a network that was trained on ImageNet (the trunk of this course; no attention inside). Nothing
# is trained here.

# %%
trunk = load_trunk()
features = {name: trunk(load_photograph(name, height=200)[None], block=4) for name in PHOTOGRAPHS}  # 1 40 h w each


def compared(x):
    """The sizes ŝ of all channels, compared with each other: 1 c h w -> c."""
    size = x.norm(dim=(2, 3))[0]
    return size / size.square().mean().sqrt()


# %% tags=["folded"]
temple = features["temple"]
figure = new_figure(7.0, 3.4)
panels = figure.subplots(2, 3).flat
show_image(panels[0], load_photograph("temple", height=200), title="photograph")
for axes, i in zip(panels[1:], (23, 11, 27, 8, 25)):
    show_weights(axes, temple[0, i].abs(), title=f"channel {i}, ŝ ≈ {compared(temple)[i]:.1f}", top=40)
describe(
    figure,
    "a photograph of a temple with several roofs, and the strength of five channels on it. Channel 23 is bright all over the sky, "
    "channel 11 on the temple, channel 27 along the outline of roof and trees. Channels 8 and 25 are dark nearly everywhere.",
)

# %% [markdown]
# **Read it.** Here channel 23 answers to the sky and 11 to the building. 23 is the loudest. *Because of the sky?* We cut it off, and then the other half:

# %%
halves = {"without the upper half": temple[:, :, 12:], "without the lower half": temple[:, :, :13]}
for name, x in {"whole temple": temple, **halves}.items():
    print(f"{name:22} place of channel 23: ≈ {1 + (compared(x) > compared(x)[23]).sum()} of 40")
assert compared(temple).argmax() == 23 and (compared(temple[:, :, 12:]) > compared(temple[:, :, 12:])[23]).sum() >= 3
assert compared(features["astronaut"]).argmax() == 23

# %% [markdown]
# Yes: a size adds up over pixels, and the sky has many. But a channel is no word: 23 is the loudest on the astronaut too, who has no sky.
# And loud need not mean important. GCT sees 40 sizes, and no place.
#
# **Are the same channels loud in every photograph?** Then the gate would say little about *this* photograph. We correlate the 40 sizes
# of each two photographs.

# %%
loudness = torch.stack([compared(x) for x in features.values()])  # 6 c
pairs = torch.corrcoef(loudness)[*torch.triu_indices(6, 6, offset=1)]
print(
    f"correlation of two photographs: from ≈ {pairs.min():.2f} to ≈ {pairs.max():.2f}, on average ≈ {pairs.mean():.2f}"
)
assert 0.4 < pairs.mean() < 0.8

# %% [markdown]
# Partly. So GCT sees something of this photograph, and something that the channel always does.
#
# ## Steer it
#
# **One GCT, with γ the same everywhere: sizes before and after.** Move γ. Then move α of the first ten channels, and β. *Before moving: what does α alone do while γ = 0?*


# %%
def gated(x, gamma, alpha=1.0, beta=0.0):
    """Sizes before and after, in units of their root mean square before, and gates; ``alpha`` for a quarter: c each."""
    block = GatedChannelTransform(x.shape[1]).requires_grad_(False)
    block.alpha[: x.shape[1] // 4] = alpha
    block.gamma.fill_(gamma), block.beta.fill_(beta)
    gates = block.attention(x).flatten()
    return compared(x), compared(x) * gates, gates


# %% tags=["folded"]
def draw_sizes(figure, gamma, alpha=1.0, beta=0.0):
    """Sizes of all channels, and the gates that made them."""
    before, after, gates = gated(temple, gamma, alpha, beta)
    figure.figure.set_layout_engine("none")  # margins given by hand, and labels as text, are drawn faster
    margins = {"left": 0.05, "right": 0.98, "bottom": 0.17, "top": 0.88, "wspace": 0.12}
    left, right = figure.subplots(1, 2, gridspec_kw=margins)
    left.stairs(before, color="lightgrey", fill=True)
    left.plot(torch.arange(40) + 0.5, after, "o", color=COLOURS[1], markersize=4)
    right.stairs(gates, color=COLOURS[0], fill=True)
    right.axhline(1, color="grey", linewidth=0.5)
    left.set_title("size before (grey) and after (dots)")
    right.set_title(f"gate for γ = {gamma}, α = {alpha}, β = {beta}")
    for axes, top in ((left, 3), (right, 2)):
        axes.set_ylim(0, top)
        axes.set_yticks(range(top + 1), [str(tick) for tick in range(top + 1)])
        axes.set_xticks((0, 10, 40), ("0", "10", "40"))
        axes.set_xlabel("channel", labelpad=-8)
        axes.spines[["top", "right"]].set_visible(False)


# %% tags=["widget"]
steer(
    draw_sizes,
    gamma=slider("γ", [-2.0, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 2.0], value=0.5),
    alpha=slider("α (0–9)", [0.25, 0.5, 1.0, 2.0, 4.0], value=1.0),
    beta=slider("β", [-1.0, -0.5, 0.0, 0.5, 1.0], value=0.0),
)

# %% [markdown]
# The same without a widget, for three values of γ:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 6.6)
for panel, gamma in zip(figure.subfigures(3, 1), (-0.5, 0.0, 0.5)):
    draw_sizes(panel, gamma)
describe(
    figure,
    "three rows, each with the sizes of 40 channels on the left (grey steps before, dots after) and their "
    "gates on the right. At γ = −0.5 the gates lie below 1, lowest for the largest channels, and the dots "
    "form a nearly flat line. At γ = 0 all gates are 1 and the dots sit on the steps. At γ = 0.5 the "
    "gates lie above 1, highest for the largest channels, and the tallest dots rise far above their steps.",
)

# %%
assert torch.equal(*gated(temple, gamma=0.0, alpha=4.0)[:2]), "α alone does nothing while γ = 0"
change = gated(temple, gamma=0.5, alpha=4.0)[2] - gated(temple, gamma=0.5)[2]
print(f"γ = 0.5, α = 4: gates 0–9 change by ≈ {change[:10].mean():+.2f}, all others by ≈ {change[10:].mean():+.2f}")
assert (change[:10] > 0).all() and (change[10:] < 0).all()

# %% [markdown]
# **Does the sign do what we said, on all six photographs?** The *spread* is the standard deviation of the sizes over their mean. *Before running: the story says that it
# falls for γ < 0 and rises for γ > 0. Does that go on and on?*


# %% tags=["answer"]
def spread(x, gamma):
    """Standard deviation of the sizes after the gate, over their mean."""
    after = gated(x, gamma)[1]
    return (after.std() / after.mean()).item()


steps = (-2, -1, -0.5, 0, 0.5, 1, 2)
spreads = torch.tensor([[spread(x, gamma) for gamma in steps] for x in features.values()])
print("γ        ", "".join(f"{gamma:8}" for gamma in steps))
for name, row in zip(features, spreads.tolist()):
    print(f"{name:10}", *(f" ≈ {one:.2f}" for one in row))

# %%
lowest, lower, low, middle, high, higher, highest = spreads.T
assert (low < 0.5 * middle).all() and (high > 1.05 * middle).all(), "around 0 the story holds"
assert (lowest > 1.2 * middle).all() and (highest < 0.9 * high).all(), "at the ends it does not"

# %% [markdown]
# **What contradicts the story.** It holds near 0, in every photograph, and fails at both ends. A large positive γ opens every gate to nearly 2: a plain doubling, which
# changes no ratio. And after the gate a size is $\hat s\,(1 + \tanh \gamma \hat s)$. For γ = −2 this rises only up to $\hat s \approx 0.32$ and then falls. All our channels
# are larger, so the order turns round: the loudest becomes the quietest.

# %%
before, after, _ = gated(temple, gamma=-2.0)
turned = torch.equal(before.argsort(), after.argsort(descending=True))
print(
    f"loudest before: channel {before.argmax()}, quietest after: channel {after.argmin()}; smallest ŝ ≈ {before.min():.2f}"
)
assert turned and before.argmax() == after.argmin()

# %% [markdown]
# ## The experiment: three vectors against two layers
#
# The task must need a channel gate. Three channels hold a digit each, all in the left half; three more channels are empty, and *one* of them
# is lit in the right half. It says which digit counts. (A small form of the task of lesson 03.)


# %%
def lit_channels(count, **which):
    """Images n 6 8 16 and labels n: digits on the left in channels 0–2, a lit half in one of 3–5."""
    images, labels, cue = cued_channels(count, **which)
    x = torch.zeros(count, 6, 8, 16)
    x[:, :3, :, :8] = images[:, :3, :, :8]
    x[torch.arange(count), 3 + cue, :, 8:] = 1
    return x, labels


inputs, labels = lit_channels(4000)
test_inputs, test_labels = lit_channels(1000, test=True, seed=1)

# %% tags=["folded"]
figure = new_figure(7.0, 2.3)
for i, axes in enumerate(figure.subplots(2, 3).flat):
    show_image(axes, 0.8 * inputs[0, i], title=f"channel {i}")
figure.suptitle(f"channel 4 is lit, so the digit of channel 1 counts: {labels[0]}")
describe(
    figure,
    "six dark images, twice as wide as high. The first three show a coarse digit in their left half; of "
    "the other three only channel 4 has a bright right half.",
)

# %% [markdown]
# The network sees one pixel at a time and adds up at the end. So without a gate, left and right half can only *add* to the logits: no
# product of "cue" and "digit" is possible.


# %%
def train_and_test(make, seed, steps=300):
    """The share of right answers of the network that ``make`` returns, after training."""
    torch.manual_seed(seed)
    model = make()
    fit(model, inputs, labels, steps=steps, learning_rate=2e-2, seed=seed)
    return accuracy(model, test_inputs, test_labels)


# %%
def network(gate):
    """Mix the 6 channels to 12 at every pixel, gate them, classify."""
    return nn.Sequential(nn.Conv2d(6, 12, 1), nn.BatchNorm2d(12), nn.ReLU(), gate, nn.Flatten(), nn.Linear(1536, 10))


# %% [markdown]
# **Why should GCT work?** Its gate sees the channel's own size and one common measure. *A reason that sounds right: in this measure the channels
# meet.* If that is the reason, a GCT *without* the comparison must fail. We take the comparison out, and put a constant in its place:


# %%
class OwnSize(GatedChannelTransform):
    """A GCT whose channels never meet: each gate knows the size of its own channel only."""

    def normalised(self, s):
        return s / 4  # a constant of the order of the sizes


# %% [markdown]
# And SE twice: with 12 / 4 = 3 units in its bottleneck, and with 12. *Before running: guessing among the three digits gives
# 1/3 + 2/3 · 1/10 = 0.40. Who will stay at 0.40?*

# %%
GATES = {
    "no gate": nn.Identity,
    "GCT": lambda: GatedChannelTransform(12),
    "GCT, own size only": lambda: OwnSize(12),
    "SE, 3 units": lambda: SqueezeExcitation(12, reduction=4),
    "SE, 12 units": lambda: SqueezeExcitation(12, reduction=1),
}


# %% [markdown]
# **Train each three times** (about one second a run).

# %% tags=["answer"]
right = {}
for name, gate in GATES.items():
    right[name] = torch.tensor([train_and_test(lambda: network(gate()), seed) for seed in (0, 1, 2)])
    numbers = sum(p.numel() for p in gate().parameters())
    print(f"{name:20} {numbers:4} numbers   right ≈ {' '.join(f'{one:.2f}' for one in right[name])}")

# %%
assert right["no gate"].max() < 0.5 and right["GCT"].min() > 0.85 and right["SE, 12 units"].min() > 0.9
assert right["GCT, own size only"].median() > 0.8, "the comparison is not what makes it work"
assert right["SE, 3 units"].min() < 0.75, "with three units training fails in at least one seed"
assert right["SE, 3 units"].max() > 0.85, "and three units can do it"

# %% tags=["folded"]
figure = new_figure(7.0, 2.4)
plot_runs(figure.subplots(), right, guess=0.4)
describe(
    figure,
    "three dots for each of five gates. No gate: on the dotted line of guessing, 0.4. GCT: near 0.9. GCT with its own size only: "
    "near 0.9 as well. SE with 3 units: scattered between 0.4 and 0.95. SE with 12 units: near 0.95.",
)

# %% [markdown]
# **Read it.** Three vectors are enough for this task: 36 numbers reach about what SE reaches with 288. *But the reason was wrong.* Without the comparison GCT answers nearly as well.
# A guess: the convolution before the gate puts a cue and a digit into the *same* channel, and then the channel's own size rises when its cue is lit. The first
# deeper section forbids just that: there the guess holds, and the comparison counts.
#
# And SE with three units is the least reliable. One seed solves the task, so three units *can* hold the answer; but in the same steps training does not find it in each
# seed, and with twelve units it does. One task, one budget: no ranking.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 03 SE | two learned layers | the channel averages | the channel | b c | sigmoid, each by itself | c · h · w + 2c²/r |
# | 05 GCT | γ, a learned number a channel | the channel's size | the channel | b c | root mean square over the channels, then 1 + tanh | c · h · w |
#
# There is no softmax: gates do not sum to 1, and a channel is scaled, never exchanged for another.
#
# ## Three things to keep
#
# 1. GCT: **size, compare, gate**. Near 0, γ > 0 spreads the sizes and γ < 0 evens them out; γ = 0 is the identity, and then α has no gradient.
# 2. Every channel pushes down all others: the gradient of the comparison has a **minus** between any two.
# 3. **Take out what is said to be the reason.** GCT solved our task without it.
#
# **Now the [exercise](../exercises/05_gated_channel.ipynb).** What follows goes deeper; each section can be read alone. Next lesson: 06, which leaves the channels and asks *where* to look.

# %% [markdown]
# ## Deeper · What the layer before does (6 minutes)
#
# The guess was: the convolution before the gate mixes a digit and a cue into the same channel. **Forbid only that.** Let the first six of the 12 channels mix the digits, and the
# other six the cues. Norm, ReLU, gates and steps stay. *Before running: if the guess is right, what does GCT with its own size only reach now?*


# %%
def apart(gate):
    """The network of before, but no channel mixes a digit with a cue."""
    model = network(gate)
    model[0] = nn.Conv2d(6, 12, 1, groups=2)  # channels 0–5 see the digits, 6–11 the cues
    return model


def run(make, steps=200):
    """Shares of right answers in three seeds."""
    return torch.tensor([train_and_test(make, seed, steps) for seed in (0, 1, 2)])


# %% tags=["answer"]
parted = {
    "own size only": run(lambda: apart(OwnSize(12)), 300),
    "GCT": run(lambda: apart(GatedChannelTransform(12)), 300),
}
for name, shares in parted.items():
    print(f"{name:14} right ≈ {' '.join(f'{one:.2f}' for one in shares)}")
assert parted["own size only"].max() < 0.5 and parted["GCT"].min() > 0.55

# %% [markdown]
# The guess holds: its own size alone no longer tells a channel anything, and the network guesses. And now the comparison counts, but it does not reach what mixing reached.
#
# **Why not?** We take the layer before away, so that the gates stand on the six channels themselves, once with all α fixed at 1.


# %%
def bare(gate):
    """Gates directly on the image, then classify."""
    return nn.Sequential(gate, nn.Flatten(), nn.Linear(6 * 8 * 16, 10))


def equal_weights():
    """GCT whose α stay at 1: all channels count alike in the common measure."""
    model = bare(GatedChannelTransform(6))
    model[0].alpha.requires_grad_(False)
    return model


# %%
alone = {"GCT": run(lambda: bare(GatedChannelTransform(6))), "GCT, all α = 1": run(equal_weights)}
for name, shares in alone.items():
    print(f"{name:14} right ≈ {' '.join(f'{one:.2f}' for one in shares)}")
assert alone["GCT, all α = 1"].max() < 0.5 and 0.55 < alone["GCT"].min() and alone["GCT"].max() < 0.8

# %% [markdown]
# Only if the α can weigh the cues differently does the common measure tell which half is lit. But it is *one* number for all gates, and a gate can only open or close
# with it. So it should single out *one* cue, and leave the other two together: there, one guess between two digits is right in 1/2 + 1/2 · 1/10 = 0.55.

# %%
torch.manual_seed(0)
model = bare(GatedChannelTransform(6))
fit(model, inputs, labels, steps=200, learning_rate=2e-2)
lit = test_inputs[:, 3:, 0, 15].argmax(dim=1)  # which cue
by_cue = torch.tensor([accuracy(model, test_inputs[lit == cue], test_labels[lit == cue]) for cue in range(3)])
print("right, by the cue that is lit ≈", *(f"{one:.2f}" for one in by_cue))
assert by_cue.max() > 0.75 and by_cue.sort().values[:2].max() < 0.7

# %% [markdown]
# ## Deeper · How should one measure size? (6 minutes)
#
# The released code offers a second measure, $\ell_1$: $s_i = \alpha_i \sum_{hw} |x_{ihw}|$ and $\hat s_i = s_i / (\frac1c \sum_j |s_j| + \epsilon)$.
#
# **A single peak and a flat area: which is louder?** *Before running: channel 0 is (8, 0, 0, 0), channel 1 is (2, 2, 2, 2).*

# %% tags=["answer"]
peak = torch.tensor([[[[8.0, 0.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])
for norm in ("l1", "l2"):
    print(norm, [round(v, 1) for v in GatedChannelTransform(2, norm=norm).embedding(peak).tolist()[0]])

# %% [markdown]
# $\ell_1$ sees no difference, $\ell_2$ calls the peak twice as loud. The plain average agrees with $\ell_1$ here, until numbers are
# negative: then they cancel. On the temple's 40 channels:

# %%
average, l1 = temple.mean(dim=(2, 3)).abs()[0], temple.abs().mean(dim=(2, 3))[0]
kept = average / l1
print(
    f"average / l1: smallest ≈ {kept.min():.2f}, median ≈ {kept.median():.2f}; below a half in {(kept < 0.5).sum()} of 40"
)
assert kept.min() < 0.1 and kept.median() < 0.5

# %% [markdown]
# **Reading a paper critically.** The GCT paper prefers norms to averages also because after *InstanceNorm*, which gives every channel of every image the mean 0 and variance 1,
# the average is a constant and tells nothing. True. **But is the $\ell_2$ norm any better there?** *Before running: the
# mean of squares is variance plus squared mean. So what is it after InstanceNorm?*
#
# We measure how much each number differs between the six photographs: its standard deviation over them, as a share of the average $\ell_2$ of
# the channel, and then the mean over the channels. All are cut to the same 25 × 25 places.


# %%
def variation(x):
    """Average, l1 and l2 of each channel: how much each varies over the images, b c h w -> 3."""
    l1, l2 = x.abs().mean(dim=(2, 3)), x.square().mean(dim=(2, 3)).sqrt()
    return torch.stack([(t.std(dim=0) / l2.mean(dim=0)).mean() for t in (x.mean(dim=(2, 3)), l1, l2)])


# %% tags=["answer"]
raw = torch.cat([x[:, :, :25, :25] for x in features.values()])
normed = nn.InstanceNorm2d(40, eps=1e-9)(raw)
varied = {"features": raw, "after InstanceNorm": normed, "after InstanceNorm and ReLU": normed.relu()}
for name, x in varied.items():
    average, l1, l2 = (100 * variation(x)).tolist()
    print(f"{name:28} average ≈ {average:4.1f} %   l1 ≈ {l1:4.1f} %   l2 ≈ {l2:4.1f} %")

# %%
average, l1, l2 = variation(normed)
assert average < 1e-3 and l2 < 1e-3, "both are constants after InstanceNorm"
assert l1 > 0.01 and (variation(normed.relu()) > 0.01).all(), "l1 is not, and after ReLU none of them is"

# %% [markdown]
# After InstanceNorm the $\ell_2$ norm, the paper's own choice, is as constant as the average. The argument speaks
# for $\ell_1$, or for a ReLU in between: after it none of the three is constant. A reason may be wrong while the method works: what remains
# true is that averages of signed features cancel.
#
# ## Deeper · ECA: ask the neighbours (4 minutes)
#
# GCT lets all channels meet in one mean. Efficient channel attention (ECA) goes another way: keep the averages $z_i$, and let each gate look at
# its k neighbours *in the list of channels*, with the same k weights everywhere:
#
# $$z = \mathrm{mean}_{hw}(x) \qquad \omega_i = \sigma\Bigl(\sum_{j=-(k-1)/2}^{(k-1)/2} w_j\, z_{i+j}\Bigr) \qquad y_i = \omega_i x_i$$
#
# | symbol | shape | in words |
# |---|---|---|
# | $z$ | b c | average of each channel; 0 beyond the first and last |
# | $w$ | k | the only parameters, no bias (the paper's letter; not the width) |
# | $\omega$ | b c | gates in (0, 1); σ is the sigmoid |

# %% tags=["folded"]
diagram(EfficientChannel)

# %%
eca = EfficientChannel(7, kernel_size=3)
eca.load_state_dict({"conv.weight": torch.tensor([[[1.0, 2.0, 3.0]]])})
with torch.no_grad():
    band = eca.conv(torch.eye(7)[:, None])[:, 0].mT  # what seven averages 1 0 0 …, 0 1 0 …, become: its columns
print(band.int().numpy())

# %%
x = torch.randn(2, 7, 3, 5, generator=generator)
torch.testing.assert_close((x.mean(dim=(2, 3)) @ band.mT).sigmoid(), eca.attention(x).flatten(1))

# %% [markdown]
# **As a matrix it is a band**, with one number on each diagonal. In SE every average reaches every gate. The first and the last channel
# have one neighbour less.
#
# How wide should the band be? The paper's rule: the odd number near $(\log_2 c + 1) / 2$. (The released code cuts off the fraction, and an even
# number becomes the next odd one.) *Before running: what is k for 2048 channels?*

# %% tags=["answer"]
print({c: adaptive_kernel_size(c) for c in (16, 64, 256, 512, 1024, 2048)})
assert [adaptive_kernel_size(c) for c in (256, 512, 1024, 2048)] == [5, 5, 5, 7]

# %% [markdown]
# The released networks differ from the rule: ResNet-50 was published with k = 3, 5, 5, 7 in its four stages, where the rule gives 5, 5, 5, 7.
#
# ## Deeper · Can channels have neighbours? (6 minutes)
#
# Pixels have neighbours: shuffle them and the image is gone. But the number of a channel means nothing; before training, any order is as likely as
# any other. Is ECA nonsense, then? Five changes separate what could be at work.


# %%
class Shuffled(nn.Module):
    """A gate that sees the channels in another order; ``order=None`` draws a new one each time."""

    def __init__(self, gate, order=None):
        super().__init__()
        self.gate, self.order = gate, order

    def forward(self, x):
        order = torch.randperm(x.shape[1]) if self.order is None else self.order
        return self.gate(x[:, order])[:, order.argsort()]


# %%
def frozen(model):
    """The layer before the gate stays at its random start."""
    model[0].requires_grad_(False)
    return model


# %% [markdown]
# - **k = 1**: the same without neighbours.
# - **A new order in every step**: neighbours, but never the same.
# - **The layer before frozen** at its random start: it can learn nothing about who should be whose neighbour.
# - **Frozen and apart**: moreover, channels 0–5 see only the digits and 6–11 only the cues (`apart`, three sections above); also with a cue beside each digit (0 6 1 7 …).
# - **No layer before**, and two orders: digits first, then cues (0 1 2 3 4 5); or each digit beside its cue (0 3 1 4 2 5).
#
# *Before running: it is said that the layer before learns to put next to each other what belongs together. What should the frozen one reach then?*

# %% tags=["answer"]
beside, beside_12 = torch.arange(6).view(2, 3).T.flatten(), torch.arange(12).view(2, 6).T.flatten()
orders = {
    "ECA, k = 3": run(lambda: network(EfficientChannel(12, kernel_size=3))),
    "k = 1": run(lambda: network(EfficientChannel(12, kernel_size=1))),
    "a new order each step": run(lambda: network(Shuffled(EfficientChannel(12, kernel_size=3)))),
    "layer before frozen": run(lambda: frozen(network(EfficientChannel(12, kernel_size=3)))),
    "frozen and apart": run(lambda: frozen(apart(EfficientChannel(12, kernel_size=3)))),
    "frozen, apart, cue beside": run(lambda: frozen(apart(Shuffled(EfficientChannel(12, kernel_size=3), beside_12)))),
    "no layer before, digits first": run(lambda: bare(EfficientChannel(6, kernel_size=3))),
    "no layer before, cue beside": run(lambda: bare(Shuffled(EfficientChannel(6, kernel_size=3), beside))),
}
for name, shares in orders.items():
    print(f"{name:30} right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
learned, one, changing, held, held_apart, held_beside, first, beside_it = orders.values()
assert learned.min() > 0.75 and beside_it.min() > 0.65 and held.min() > 0.65
assert max(one.max(), changing.max(), first.max()) < 0.5 and held_apart.median() < 0.5
assert held_beside.max() < held.min(), "neighbours of both kinds are not enough"

# %% [markdown]
# **Read it.** The neighbours do the work: with k = 1, or with an order that never stays, ECA guesses. *And the order can matter*: without a layer before, a digit beside its cue is enough, and digits
# first fails. So the doubt is right for a network whose channels are given.
#
# Must the layer before *learn* to arrange them? Mostly not. Frozen at random it reaches most of what the trained one reaches. A guess: each of the 12 channels mixes all six, so
# every gate has cues and digits among its neighbours by chance. Frozen and apart, only the two middle gates have both, and most runs only guess: that fits. *But* with a cue beside
# each digit every gate has both, and stays far below. So the mixing does more than bring neighbours together; what, these runs do not tell.
# (Training in another fixed order would not be a test: all orders of a random start are alike.)
# This holds for one task, 12 channels and two hundred steps.
#
# ## Deeper · What to believe (1 minute)
#
# For ResNet-50 on ImageNet, the code released by Yang et al. lists 77.3 % against 76.2 % (its own baseline), Wang et al. 77.48 % against 75.20 %. Do not
# compare the two gains: the second baseline is copied from an older paper with another training recipe, and neither has error bars.
#
# *References.* Yang, Zhu, Wu, Yang, Gated Channel Transformation for Visual Recognition, CVPR 2020, arXiv 1909.11519.
# Wang, Wu, Zhu, Li, Zuo, Hu, ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, CVPR 2020, arXiv 1910.03151.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
