# %% [markdown]
# # 05 · Gated channel transformation
#
# **Can three vectors replace two fully connected layers?**
#
# After this lesson you will be able to
#
# - compute GCT's embedding, normalisation and gate by hand, and say what the sign of γ does;
# - derive all its gradients and check each of them against autograd;
# - answer by an experiment whether channels can have neighbours, as ECA assumes.
#
# *Minutes:* 53 · *Needs:* 03 · *Paper:* Yang et al., 2020, arXiv 1909.11519; Wang et al., 2020, arXiv 1910.03151 · *Exercise:* [05 gated channel](../exercises/05_gated_channel.ipynb) · *Module:* [gated_channel.py](../course_lib/channel/gated_channel.py), [efficient_channel.py](../course_lib/channel/efficient_channel.py)
#
# Out of scope: other ways to describe a channel than by its size (04), and gates for positions (15).

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.channel.efficient_channel import EfficientChannel, adaptive_kernel_size
from course_lib.channel.gated_channel import GatedChannelTransform
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.data.cued_channels import cued_channels
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, describe, new_figure, plot_lines, show_image, show_weights
from course_lib.training import accuracy, fit, repeat

# %% [markdown]
# ## Who is loud?
#
# A feature map has channels, and a *channel gate* multiplies each whole channel by one number. Squeeze-and-Excitation computes these numbers
# with two fully connected layers. Gated channel transformation (GCT) asks a simpler question: **how loud is this channel, compared with the
# others?** Take an image of two channels with four pixels each.

# %%
x = torch.tensor([[[[3.0, 0.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])  # b c h w = 1 2 2 2
s = x.square().sum(dim=(2, 3)).sqrt()  # b c
print("shape", list(x.shape), "→ sizes", s.tolist()[0])

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
# The sum is always c, here 2: the channels share out a fixed budget. If one grows, the others must shrink.
#
# **Gate: one number γ decides what being loud means.** The gate is $1 + \tanh(\gamma \hat s)$, between 0 and 2. *Before running: which
# channel grows more for γ = 0.5? And for γ = −0.5? What happens for γ = 0?*

# %% tags=["answer"]
ratio = {}
for gamma in (0.5, -0.5, 0.0):
    gates = 1 + torch.tanh(gamma * s_hat)
    after = (s * gates)[0]
    ratio[gamma] = after[1] / after[0]
    print(f"γ = {gamma:4}: gates {gates[0, 0]:.2f} {gates[0, 1]:.2f}, loud : quiet = {ratio[gamma]:.2f}")
assert ratio[-0.5] < ratio[0.0] < ratio[0.5]

# %% [markdown]
# Before, the ratio was 4 : 3 = 1.33. A positive γ raises it (*competition*), a negative one lowers it (*cooperation*), and
# γ = 0 changes nothing at all.

# %% [markdown]
# ## The formula
#
# $$s_c = \alpha_c \Bigl(\sum_{h,w} x_{chw}^2 + \epsilon\Bigr)^{1/2} \qquad \hat s_c = \frac{s_c}{\bigl(\frac1C \sum_k s_k^2 + \epsilon\bigr)^{1/2}} \qquad y_c = x_c \bigl(1 + \tanh(\gamma_c \hat s_c + \beta_c)\bigr)$$
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
# multiplication is $f$. Channels meet only in the mean under the second root, and nothing but α is learned there.
#
# (These are the equations of the released code. The paper divides by the root of the *sum* and multiplies by $\sqrt C$: the same, but for an
# ε that is C times smaller.)

# %% [markdown]
# ## As loops, as tensors, from the library
#
# **For every channel its size; then the common measure; then the gate.**


# %%
def gct_by_loops(image, alpha, gamma, beta, epsilon=1e-5):
    """For every channel its size; then the common measure; then the gate: c h w -> c h w."""
    sizes = [a * math.sqrt((channel**2).sum() + epsilon) for a, channel in zip(alpha, image)]
    measure = math.sqrt(sum(s * s for s in sizes) / len(sizes) + epsilon)
    gates = [1 + math.tanh(g * s / measure + b) for g, s, b in zip(gamma, sizes, beta)]
    return torch.stack([gate * channel for gate, channel in zip(gates, image)])


# %% [markdown]
# And in three lines for a whole batch. *Before running: x is 2 5 3 4. Which shapes do s, the root below ŝ, and the gates have?*


# %%
def gct(x, alpha, gamma, beta, epsilon=1e-5):
    """The same for a batch: b c h w -> b c h w."""
    s = alpha * (x.square().sum(dim=(2, 3)) + epsilon).sqrt()  # b c
    s_hat = s / (s.square().mean(dim=1, keepdim=True) + epsilon).sqrt()  # b c
    return x * (1 + torch.tanh(gamma * s_hat + beta))[:, :, None, None]


# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
x = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
alpha, gamma, beta = torch.randn(3, 5, generator=generator, dtype=torch.float64)
block = GatedChannelTransform(5).double()
block.load_state_dict({"alpha": alpha, "gamma": gamma, "beta": beta})
torch.testing.assert_close(gct(x, alpha, gamma, beta)[1], gct_by_loops(x[1], alpha, gamma, beta))
torch.testing.assert_close(gct(x, alpha, gamma, beta), block(x))
print("loops = tensors = course_lib; gates", list(block.attention(x).shape))

# %% [markdown]
# **What it costs.** Three numbers a channel, where SE's two layers need $2c^2 / r$ weights.

# %%
print("   c     SE (r = 16)     GCT")
for c in (64, 256, 2048):
    se, three = (sum(p.numel() for p in m.parameters()) for m in (SqueezeExcitation(c), GatedChannelTransform(c)))
    print(f"{c:5} {se:14} {three:8}")
    assert three == 3 * c and se == 2 * c * c // 16

# %% [markdown]
# **A new block changes nothing.** With γ = β = 0 the gate is $1 + \tanh 0 = 1$, so GCT can be put into a trained network without harm.
# That holds exactly, not only nearly:

# %%
image = load_photograph("flower")[None]
assert torch.equal(GatedChannelTransform(3)(image), image)
print("a fresh block returns its input, bit for bit")

# %% [markdown]
# ## All gradients, by hand
#
# GCT is small enough to be differentiated on one page. Write $E_c$ for the root in the first formula (so $s = \alpha E$), $M$ for the
# root below $\hat s$ (so $\hat s = s / M$), $T = \tanh(\gamma \hat s + \beta)$, and $g = \partial L / \partial y$ for
# the gradient that arrives from above. First the forward pass again, with autograd's answers to compare with:

# %%
x, alpha, gamma, beta = (t.clone().requires_grad_() for t in (x, alpha, gamma, beta))
g = torch.randn(2, 5, 3, 4, generator=generator, dtype=torch.float64)
truth = torch.autograd.grad(gct(x, alpha, gamma, beta), (x, alpha, gamma, beta), g)
x, alpha, gamma, beta = (t.detach() for t in (x, alpha, gamma, beta))
E = (x.square().sum(dim=(2, 3)) + 1e-5).sqrt()  # b c
M = ((alpha * E).square().mean(dim=1, keepdim=True) + 1e-5).sqrt()  # b 1
s_hat = alpha * E / M  # b c
T = torch.tanh(gamma * s_hat + beta)  # b c

# %% [markdown]
# **Step 1: the gate's argument $z = \gamma \hat s + \beta$.** A gate touches every pixel of its channel, so the pixels' gradients add
# up: $\partial L / \partial z_c = (1 - T_c^2) \sum_{hw} g_{chw} x_{chw}$, because $\tanh' = 1 - \tanh^2$. From it the two easy ones follow:
#
# $$\frac{\partial L}{\partial \beta_c} = \sum_b \frac{\partial L}{\partial z_{bc}} \qquad \frac{\partial L}{\partial \gamma_c} = \sum_b \frac{\partial L}{\partial z_{bc}}\, \hat s_{bc}$$

# %%
dz = (g * x).sum(dim=(2, 3)) * (1 - T**2)  # b c
d_beta, d_gamma = dz.sum(dim=0), (dz * s_hat).sum(dim=0)
assert (d_beta - truth[3]).abs().max() < 1e-8 and (d_gamma - truth[2]).abs().max() < 1e-8
print("gradients of β and γ agree with autograd to 1e-8")

# %% [markdown]
# **Step 2: through the comparison.** $s_k$ enters $\hat s_c$ twice: directly if $k = c$, and through $M$ always. As
# $\partial M / \partial s_k = s_k / (C M) = \hat s_k / C$,
#
# $$\frac{\partial \hat s_c}{\partial s_k} = \frac{1}{M}\Bigl(\delta_{ck} - \frac{\hat s_c \hat s_k}{C}\Bigr) \qquad \delta_{ck} = 1 \text{ if } c = k, \text{ else } 0$$
#
# The product of two different channels has a minus sign: as long as α is positive, *every channel pushes down all others*. With
# $D_c = \partial L / \partial \hat s_c = \gamma_c\, \partial L / \partial z_c$ the chain rule, summed over c, gives
#
# $$S_k = \frac{\partial L}{\partial s_k} = \frac{1}{M}\Bigl(D_k - \hat s_k \, \frac1C \sum_c D_c \hat s_c\Bigr)$$
#
# We check the Jacobian itself, the table of all $\partial \hat s_c / \partial s_k$:

# %%
s = (alpha * E)[0]
jacobian = torch.autograd.functional.jacobian(lambda s: s / (s.square().mean() + 1e-5).sqrt(), s)
by_hand = (torch.eye(5) - s_hat[0, :, None] * s_hat[0, None, :] / 5) / M[0]
assert (jacobian - by_hand).abs().max() < 1e-8
D = gamma * dz
S = (D - s_hat * (D * s_hat).mean(dim=1, keepdim=True)) / M  # b c
print("the Jacobian of the comparison agrees")

# %% [markdown]
# **Step 3: α and x.** $s_c = \alpha_c E_c$ gives the gradient of α. And x enters y directly, and through its size, with
# $\partial E_c / \partial x_{chw} = x_{chw} / E_c$:
#
# $$\frac{\partial L}{\partial \alpha_c} = \sum_b S_{bc} E_{bc} \qquad \frac{\partial L}{\partial x_{bchw}} = g_{bchw} (1 + T_{bc}) + S_{bc}\, \alpha_c \frac{x_{bchw}}{E_{bc}}$$

# %%
d_alpha = (S * E).sum(dim=0)
d_x = g * (1 + T)[:, :, None, None] + (S * alpha / E)[:, :, None, None] * x
for name, ours, theirs in zip(("x", "α", "γ", "β"), (d_x, d_alpha, d_gamma, d_beta), truth):
    difference = (ours - theirs).abs().max().item()
    print(f"gradient of {name}: {list(ours.shape)}, agrees to 1e-8: {difference < 1e-8}")
    assert difference < 1e-8

# %% [markdown]
# ### What the formulas tell before any training
#
# 1. **While γ = 0, α learns nothing**: $D = \gamma\,(\dots) = 0$. First γ must move; then it matters how channels are weighed.
# 2. **Only ratios of α count**: doubling all α doubles $s$ and $M$. The loss does not change in this direction, so
#    $\sum_c \alpha_c\, \partial L / \partial \alpha_c = 0$.
# 3. **Features a times as strong get the same gates**: $y(ax) = a\,y(x)$ for $a > 0$.
#
# The last two hold up to ε; we measure how well. *Before running: which of β and γ gets a gradient at the start?*

# %% tags=["answer"]
fresh = GatedChannelTransform(5).double()
(fresh(x) * g).sum().backward()
moves = {name: bool(p.grad.abs().max() > 0) for name, p in fresh.named_parameters()}
print("gets a gradient at the start:", moves)
assert moves == {"alpha": False, "gamma": True, "beta": True}

# %%
ratio_only = (alpha * d_alpha).sum().abs() / (alpha * d_alpha).abs().sum()
three_times = (gct(3 * x, alpha, gamma, beta) - 3 * gct(x, alpha, gamma, beta)).abs().max()
print(f"Σ α ∂α is nearly 0: {ratio_only < 1e-4}    y(3x) is nearly 3 y(x): {three_times < 1e-4}")
assert ratio_only < 1e-4 and three_times < 1e-4

# %% [markdown]
# ## Competition and cooperation on a photograph
#
# To see the sign of γ at work we need real features. A *Gabor filter* is a wave under a bell: it answers where the image has stripes
# of one direction and one width. We take 3 widths with 8 directions each: channels 0–7 are narrow, 8–15 middle,
# 16–23 wide. Nothing is trained.


# %%
def gabor(wavelength, angle, size=9):
    """A wave of the given direction under a bell, with mean 0 and length 1: size size."""
    y, x = torch.meshgrid(*[torch.arange(size) - size // 2] * 2, indexing="ij")
    bell = torch.exp(-(x**2 + y**2) * 2 / wavelength**2)
    wave = bell * torch.cos(2 * math.pi / wavelength * (x * math.cos(angle) + y * math.sin(angle)))
    wave = wave - bell * wave.sum() / bell.sum()
    return wave / wave.norm()


bank = torch.stack([gabor(w, k * math.pi / 8) for w in (3, 4.5, 7) for k in range(8)])[:, None]  # 24 1 9 9


# %% tags=["folded"]
def features(name):
    """The answers of all filters to the grey photograph: 1 24 h w."""
    return F.conv2d(load_photograph(name, height=96).mean(dim=0)[None, None], bank)


temple = features("temple")
figure = new_figure(7.0, 1.9)
row = figure.subplots(1, 5)
show_image(row[0], load_photograph("temple", height=96), title="photograph")
for axes, c in zip(row[1:], (16, 20, 0, 4)):
    show_weights(axes, temple[0, c].abs(), title=f"channel {c}, size {temple[0, c].norm():.0f}", top=1.5)
describe(
    figure,
    "a photograph of a temple with several roofs, and four maps. Channel 16 is bright along upright edges "
    "such as posts, channel 20 along the flat edges of the roofs; channels 0 and 4 show the same edges "
    "much thinner and darker. The sizes in the titles are 18, 27, 7 and 9.",
)

# %% [markdown]
# Bright means a strong answer. Channels 16 and 20 belong to wide filters, which look for upright and for flat edges; 0 and 4 are the same
# with narrow ones, and nearly dark. Sizes of channels differ a lot, and GCT sees nothing but the sizes.
#
# **Put one GCT with γ the same everywhere, and look at the sizes before and after.** Move γ. Then move α of the narrow filters (channels 0–7),
# and β. We predict: α alone does nothing while γ = 0.


# %%
def gated_sizes(x, gamma, alpha=1.0, beta=0.0):
    """Sizes before, sizes after and gates, each c; ``alpha`` belongs to the first third of the channels."""
    block = GatedChannelTransform(x.shape[1]).requires_grad_(False)
    block.alpha[: x.shape[1] // 3] = alpha
    block.gamma.fill_(gamma), block.beta.fill_(beta)
    return x.norm(dim=(2, 3))[0], block(x).norm(dim=(2, 3))[0], block.attention(x).flatten()


# %%
def draw_sizes(figure, gamma, alpha=1.0, beta=0.0):
    """Sizes of all channels, and the gates that made them."""
    before, after, gates = gated_sizes(temple, gamma, alpha, beta)
    figure.figure.set_layout_engine("none")  # margins given by hand, and labels as text, are drawn faster
    margins = {"left": 0.05, "right": 0.98, "bottom": 0.17, "top": 0.88, "wspace": 0.12}
    left, right = figure.subplots(1, 2, gridspec_kw=margins)
    left.stairs(before, color="lightgrey", fill=True)
    left.plot(torch.arange(24) + 0.5, after, "o", color=COLOURS[1], markersize=3)
    right.stairs(gates, color=COLOURS[0], fill=True)
    right.axhline(1, color="grey", linewidth=0.5)
    left.set_title("size before (grey) and after (dots)", fontsize=9)
    right.set_title(f"gate for γ = {gamma}, α = {alpha}, β = {beta}", fontsize=9)
    for axes, top in ((left, 60), (right, 2)):
        axes.set_ylim(0, top)
        axes.set_yticks((0, top // 2, top), ("0", f"{top // 2}", f"{top}"))
        axes.set_xticks((8, 16), ("", ""))
        axes.set_xlabel("channels: 8 narrow, 8 middle, 8 wide filters", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)


# %% tags=["widget"]
steer(
    draw_sizes,
    gamma=slider("γ", [-1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0], value=0.5),
    alpha=slider("α (0–7)", [0.25, 0.5, 1.0, 2.0, 4.0], value=1.0),
    beta=slider("β", [-1.0, -0.5, 0.0, 0.5, 1.0], value=0.0),
)

# %% [markdown]
# The same without a widget, for three values of γ. Ticks on the lower axis part the narrow, middle and wide filters.

# %% tags=["static", "folded"]
figure = new_figure(7.0, 6.0)
for panel, gamma in zip(figure.subfigures(3, 1), (-0.5, 0.0, 0.5)):
    draw_sizes(panel, gamma)
describe(
    figure,
    "three rows, each with the sizes of 24 channels on the left (grey steps before, dots after) and their "
    "gates on the right. At γ = −0.5 the gates lie below 1, lowest for the largest channels, and the dots "
    "form a nearly flat line. At γ = 0 all gates are 1 and the dots sit on the steps. At γ = 0.5 the "
    "gates lie above 1, highest for the largest channels, and the tallest dots rise far above their "
    "steps.",
)

# %%
before, after, gates = gated_sizes(temple, gamma=0.0, alpha=4.0)
assert torch.equal(before, after), "α alone does nothing while γ = 0"
_, weighed, _ = gated_sizes(temple, gamma=0.5, alpha=4.0)
_, plain, _ = gated_sizes(temple, gamma=0.5)
assert (weighed[:8] > plain[:8]).all() and (weighed[8:] < plain[8:]).all()
print("with γ > 0, a larger α lifts its channels and pushes down all others")

# %% [markdown]
# ### The experiment
#
# The *spread* of the sizes is their standard deviation over their mean. The baseline is γ = 0, which leaves the spread as it is.
# **We predict: the spread falls as γ falls below 0, and rises as γ rises above 0, in every photograph.**


# %% tags=["folded"]
def spread(sizes):
    """Standard deviation over mean."""
    return (sizes.std() / sizes.mean()).item()


gammas = [-2, -1, -0.5, -0.4, -0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3, 0.4, 0.5, 1, 2]
curves = {name: [spread(gated_sizes(features(name), g)[1]) for g in gammas] for name in PHOTOGRAPHS}
figure = new_figure(height=3.0)
axes = figure.subplots()
plot_lines(axes, gammas, curves, xlabel="γ", ylabel="spread of the sizes")
axes.axvline(0, color="grey", linestyle=":")
describe(
    figure,
    "the spread over γ from −2 to 2, one line for each of six photographs, all of the same shape: high at "
    "−2, lowest between −1 and −0.5, rising through γ = 0 (dotted line) to a maximum at 0.5, and slowly "
    "falling to 2.",
)

# %%
middle = torch.tensor(list(curves.values()))[:, 3:12]  # γ from −0.4 to 0.4
assert (middle.diff(dim=1) > 0).all(), "around 0 the spread rises with every step of γ, in every photograph"
below, at, above = (torch.tensor(list(curves.values()))[:, gammas.index(g)] for g in (-0.4, 0, 0.4))
assert (below < 0.75 * at).all() and (above > 1.05 * at).all()
print("around γ = 0 the spread rises with γ in all", len(curves), "photographs")

# %% [markdown]
# **What contradicts the story.** The prediction holds around 0 and fails at the ends: at γ = −2 the spread is far larger than at −1, and from
# γ = 0.5 to 2 it falls. The formula knows why. After the gate, a size is proportional to $\hat s\,(1 + \tanh \gamma \hat s)$.
# For γ = −1 this curve rises, turns at about $\hat s = 0.64$ and falls: *the loudest channels become quieter than middling ones*. And a large
# positive γ opens every gate to nearly 2, which is a plain doubling again. At γ = −2 most channels are past the turn, so the order of all sizes
# should turn round: the correlation of the ranks, before and after, should be negative.

# %%
s_axis = torch.linspace(0, 2.5, 100)
turn = s_axis[(s_axis * (1 + torch.tanh(-s_axis))).argmax()]
assert abs(turn - 0.64) < 0.05
ends = {gamma: torch.tensor([curve[gammas.index(gamma)] for curve in curves.values()]) for gamma in (-2, -1, 0.5, 2)}
assert (ends[-2] > 1.5 * ends[-1]).all() and (ends[2] < 0.95 * ends[0.5]).all(), "in every photograph"
before, after, _ = gated_sizes(temple, gamma=-2.0)
order = torch.corrcoef(torch.stack([before.argsort().argsort(), after.argsort().argsort()]).double())[0, 1]
print(f"γ = -2: does the order of the channels turn round? {order < 0}")
assert order < -0.5

# %% [markdown]
# ## How should one measure size?
#
# The released code offers a second measure, $\ell_1$: $s_c = \alpha_c \sum_{hw} |x_{chw}|$ and $\hat s_c = s_c / (\frac1C \sum_k |s_k| + \epsilon)$.
#
# **A single peak and a flat area: which is louder?** *Before running: channel 0 is (8, 0, 0, 0), channel 1 is (2, 2, 2, 2).*

# %% tags=["answer"]
x = torch.tensor([[[[8.0, 0.0], [0.0, 0.0]], [[2.0, 2.0], [2.0, 2.0]]]])
for norm in ("l1", "l2"):
    print(norm, [round(v, 1) for v in GatedChannelTransform(2, norm=norm).embedding(x).tolist()[0]])

# %% [markdown]
# $\ell_1$ sees no difference, $\ell_2$ calls the peak twice as loud. The plain average agrees with $\ell_1$ here, until numbers are
# negative: then they cancel, and an edge filter, which answers with both signs, looks silent. On the temple:

# %%
average, l1, l2 = (
    temple.mean(dim=(2, 3)).abs()[0],
    temple.abs().mean(dim=(2, 3))[0],
    temple.square().mean(dim=(2, 3)).sqrt()[0],
)
print(f"the average keeps less than a tenth of l1 in {int((average < 0.1 * l1).sum())} of 24 channels")
print(
    f"l2 / l1 lies between {(l2 / l1).min():.1f} and {(l2 / l1).max():.1f} (1.0 would be: equally strong everywhere)"
)
assert (average < 0.1 * l1).all() and (l2 >= l1).all()

# %% [markdown]
# ### Reading a paper critically: the argument from InstanceNorm
#
# The GCT paper prefers norms to averages also because after *InstanceNorm*, which gives every channel of every image the mean 0 and variance 1,
# the average is a constant and tells nothing. True. **But is the $\ell_2$ norm any better there?** *Before running: the
# mean of squares is variance plus squared mean. So what is it after InstanceNorm?*
#
# We measure how much each number differs between the six photographs: its standard deviation over them, as a share of the average $\ell_2$ of
# the channel, and then the mean over the channels. (Sums over pixels become means here, since photographs differ in size.)


# %% tags=["answer"]
def variation(x):
    """Average, l1 and l2 of each channel: how much each varies over the images, b c h w -> 3."""
    l1, l2 = x.abs().mean(dim=(2, 3)), x.square().mean(dim=(2, 3)).sqrt()
    return torch.stack([(t.std(dim=0) / l2.mean(dim=0)).mean() for t in (x.mean(dim=(2, 3)), l1, l2)])


photographs = torch.cat([features(name)[:, :, :80, :80] for name in PHOTOGRAPHS])
normed = nn.InstanceNorm2d(24, eps=1e-9)(photographs)
print("                            average    l1    l2")
for name, x in {
    "features": photographs,
    "after InstanceNorm": normed,
    "after InstanceNorm, ReLU": normed.relu(),
}.items():
    print(f"{name:25}", *(f"{100 * v:6.0f} %" for v in variation(x)))

# %%
average, l1, l2 = variation(normed)
assert average < 1e-3 and l2 < 1e-3, "both are constants after InstanceNorm"
assert l1 > 0.02 and (variation(normed.relu()) > 0.02).all(), "l1 is not, and after ReLU none of them is"

# %% [markdown]
# After InstanceNorm the $\ell_2$ norm, the paper's own choice, is as constant as the average: $\sqrt{hw}$ for every image. The argument speaks
# for $\ell_1$, or for a ReLU in between, which saves the average just as well. A reason may be wrong while the method works: what remains
# true is that averages of signed features cancel.

# %% [markdown]
# ## ECA: ask the neighbours
#
# GCT lets all channels meet in one mean. Efficient channel attention (ECA) goes another way: keep the averages $z_c$, and let each gate look at
# its k neighbours *in the list of channels*, with the same k weights everywhere:
#
# $$z = \mathrm{mean}_{hw}(x) \qquad \omega_c = \sigma\Bigl(\sum_{j=-(k-1)/2}^{(k-1)/2} w_j\, z_{c+j}\Bigr) \qquad y_c = \omega_c x_c$$
#
# | symbol | shape | in words |
# |---|---|---|
# | $z$ | b c | average of each channel; 0 beyond the first and last |
# | $w$ | k | the only parameters, no bias |
# | $\omega$ | b c | gates in (0, 1) |

# %%
eca = EfficientChannel(7, kernel_size=3)
eca.load_state_dict({"conv.weight": torch.tensor([[[1.0, 2.0, 3.0]]])})
band = sum(w * torch.diag(torch.ones(7 - abs(j)), j) for j, w in zip((-1, 0, 1), (1.0, 2.0, 3.0)))
x = torch.randn(2, 7, 3, 5, generator=generator)
gates = (x.mean(dim=(2, 3)) @ band.mT).sigmoid()
torch.testing.assert_close(gates, eca.attention(x).flatten(1))
print(band.int().numpy())

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
# ## Can channels have neighbours?
#
# Pixels have neighbours: shuffle them and the image is gone. But the number of a channel means nothing; before training, any order is as likely as
# any other. *So there should be no neighbourhood among channels.* Is ECA nonsense, then?
#
# There are two different claims, and an experiment can tell them apart. Shuffle the channels before the gates are computed and shuffle back afterwards:
#
# - If the *given* order mattered, a network trained with **another fixed order** would be worse.
# - If order did not matter *at all*, a **new order in every step** would do no harm either.


# %%
torch.manual_seed(0)


class Shuffled(nn.Module):
    """A gate that sees the channels in another order; ``order=None`` draws a new one each time."""

    def __init__(self, gate, order=None):
        super().__init__()
        self.gate, self.order = gate, order

    def forward(self, x):
        order = torch.randperm(x.shape[1]) if self.order is None else self.order
        return self.gate(x[:, order])[:, order.argsort()]


x = torch.randn(2, 12, 3, 5)
assert torch.equal(Shuffled(nn.Identity())(x), x), "shuffling and shuffling back is the identity"

# %% [markdown]
# The task must need a channel gate. Three digits stand side by side in three channels, on the left; three more channels are empty, and *one* of them
# is lit on the right. It says which digit counts. (A small form of the task of lesson 03.)


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
figure = new_figure(7.0, 1.0)
for c, axes in enumerate(figure.subplots(1, 6)):
    show_image(axes, inputs[0, c], title=f"channel {c}")
describe(
    figure,
    "six dark images, twice as wide as high. The first three show a coarse digit in their left half; of "
    "the other three only channel 4 has a white right half.",
)

# %% [markdown]
# The network sees one pixel at a time and adds up at the end, so without a gate, left and right half can only *add* to the logits: no
# product of "cue" and "digit" is possible. *Before running: which share is right if one answers with one of the three digits at random? (Any of
# them may also be the right digit by luck.)*


# %% tags=["answer"]
def network(gate):
    """Mix the 6 channels to 12 at every pixel, gate them, classify."""
    return nn.Sequential(nn.Conv2d(6, 12, 1), nn.BatchNorm2d(12), nn.ReLU(), gate, nn.Flatten(), nn.Linear(1536, 10))


guess = 1 / 3 + 2 / 3 * 1 / 10
print(f"a guess among the three: {guess:.0%}")

# %% [markdown]
# **Train each gate three times** (about one second a run).

# %%
natural, fixed = torch.arange(12), torch.randperm(12, generator=torch.Generator().manual_seed(7))
GATES = {
    "no gate": lambda: Shuffled(nn.Identity(), natural),
    "ECA, k = 1": lambda: Shuffled(EfficientChannel(12, kernel_size=1), natural),
    "SE, r = 4": lambda: Shuffled(SqueezeExcitation(12, reduction=4), natural),
    "GCT": lambda: Shuffled(GatedChannelTransform(12), natural),
    "ECA, natural order": lambda: Shuffled(EfficientChannel(12, kernel_size=3), natural),
    "ECA, another fixed order": lambda: Shuffled(EfficientChannel(12, kernel_size=3), fixed),
    "ECA, new order each step": lambda: Shuffled(EfficientChannel(12, kernel_size=3)),
}
networks = {}


# %%
def train_and_test(name, seed):
    """The share of right answers; the network is kept."""
    networks[name, seed] = network(GATES[name]())
    fit(networks[name, seed], inputs, labels, steps=300, learning_rate=2e-2, seed=seed, title=name)
    return accuracy(networks[name, seed], test_inputs, test_labels)


results = {name: repeat(lambda seed, name=name: train_and_test(name, seed)) for name in GATES}  # three seeds each

# %% [markdown]
# One more row needs no training: take the networks trained in natural order, and shuffle only when testing. Some orders harm more than others, so we
# take the mean over twenty (ten rounds of two batches, each batch in a new order).


# %% tags=["folded"]
def shuffled_at_test(seed):
    """The share of right answers of a network that was trained in natural order, over new orders."""
    model = networks["ECA, natural order", seed]
    model[3].order = None
    return sum(accuracy(model, test_inputs, test_labels) for _ in range(10)) / 10


results["ECA, natural, shuffled at test"] = repeat(shuffled_at_test)
figure = new_figure(7.0, 2.8)
axes = figure.subplots()
for y, shares in enumerate(results.values()):
    axes.plot(shares, [y] * 3, "o", color=COLOURS[0], alpha=0.7)
axes.axvline(guess, color="grey", linestyle=":")
axes.set(yticks=range(len(results)), yticklabels=results, xlim=(0, 1))
axes.set_xlabel("share of right answers, three seeds (dotted: a guess)")
axes.invert_yaxis()
describe(
    figure,
    "three dots for each of eight conditions. GCT, ECA in natural order and ECA in another fixed order "
    "lie near 0.9. No gate, ECA with k = 1 and ECA with a new order each step lie on the dotted line of "
    "guessing, 0.4. ECA shuffled at test lies around that line, between 0.35 and 0.6. SE is scattered "
    "from 0.4 to 0.95.",
)

# %% [markdown]
# The same as a table of medians over three seeds, rounded so that it holds on any machine:

# %%
median = {name: shares.median().item() for name, shares in results.items()}
for name, share in median.items():
    if not name.startswith("SE") and "shuffled" not in name:  # these two differ too much between the seeds
        print(f"{name:26} {'above 80 %' if share > 0.8 else 'below 55 %' if share < 0.55 else 'between'}")

# %%
assert min(median["ECA, natural order"], median["ECA, another fixed order"]) > 0.8
assert abs(median["ECA, natural order"] - median["ECA, another fixed order"]) < 0.1, "no order is privileged"
assert max(median[name] for name in ("no gate", "ECA, new order each step", "ECA, k = 1")) < 0.55
shuffled = median["ECA, natural, shuffled at test"]
assert shuffled < median["ECA, natural order"] - 0.2, "but the trained order counts"

# %% [markdown]
# **Read it.** The doubt is right: the natural order has no privilege, any fixed order serves as well. And ECA is right too: with an order
# that never stays, it learns no more than to guess, and a trained network breaks when its channels are shuffled. The neighbours do the work: with
# k = 1 a gate sees its own channel alone, and ECA is no better than no gate. *Neighbourhood among channels is not found, it is made*:
# the layer before the gate is trained together with it and learns to put next to each other what must talk. The
# band is a budget of parameters, not a map of the channels. It follows that ECA on top of a *frozen* network cannot count on sensible neighbours.
#
# Two things we did not expect. SE, with the most parameters of all, is the least reliable here: after 300 steps its three seeds are spread over half of
# the axis. It may only need more steps. And GCT *selects*, although its gate sees only the channel's own size and one common
# measure: through that measure the channels meet after all. This holds for one task and one budget. Whether it holds for harder cues is open; the
# textures of `cued_channels` are a good place to look for the end of it.

# %%
assert median["GCT"] > 0.8 > 0.55 > median["no gate"]
print("three vectors of 12 numbers are enough for this task:", median["GCT"] > 0.8)

# %% [markdown]
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 05 GCT | γ, a learned number a channel | the channel's size | the channel | b c | root mean square over the channels, then 1 + tanh | c · h · w |
# | 05 ECA | a filter of k numbers | averages of k neighbours | the channel | b c | sigmoid, each by itself | c · h · w + k · c |
#
# There is no softmax: gates do not sum to 1, and a channel is scaled, never exchanged for another.
#
# ## What to believe
#
# For ResNet-50 on ImageNet, the code released by Yang et al. lists 77.3 % against 76.2 % (its own baseline), Wang et al. 77.48 % against 75.20 %. Do not
# compare the two gains: the second baseline is copied from an older paper with another training recipe, and neither has error bars. Our own table
# above must not be read as a ranking either: one task, one budget, 12 channels.
#
# The paper's kernel rule and the released networks differ: ResNet-50 was published with k = 3, 5, 5, 7 in its four stages, where the
# rule gives 5, 5, 5, 7.
#
# ## Three things to keep
#
# 1. GCT: **size, compare, gate**. γ > 0 lets loud channels grow, γ < 0 damps them, γ = 0 is the identity, and then α has no gradient.
# 2. Check an argument even if you like its conclusion: after InstanceNorm the $\ell_2$ norm is as constant as the average.
# 3. Channels have no natural neighbours, yet **a network arranges them** if the gate and the layer before it learn together.
#
# *References.* Yang, Zhu, Wu, Yang, Gated Channel Transformation for Visual Recognition, CVPR 2020, arXiv 1909.11519.
# Wang, Wu, Zhu, Li, Zuo, Hu, ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks, CVPR 2020, arXiv 1910.03151.
#
# **Next:** the [exercise](../exercises/05_gated_channel.ipynb), then lesson 06, which leaves the channels and asks *where* to look.
