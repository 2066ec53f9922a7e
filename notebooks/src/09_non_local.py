# %% [markdown]
# # 09 · Non-local
#
# **What if every pixel may ask every other pixel?**
#
# After this lesson you will be able to
#
# - remove noise from a photograph by a look-up that has no learned number, and say when it beats a blur;
# - write the non-local block with its four pairings, and say what starts at zero and why;
# - say what the map of N × N weights costs, and compute the same result without ever storing it.
#
# *Minutes:* 45 · *Needs:* 01 · *Paper:* Wang et al., Non-local Neural Networks, 2018, arXiv 1711.07971 · *Exercise:* [09 non-local](../exercises/09_non_local.ipynb) · *Module:* [non_local.py](../course_lib/spatial/non_local.py)
#
# Out of scope: whether the pixels really ask different questions (10), cheaper maps (11), positions (13, 14).

# %%
import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.basics.addressing import attend, gaussian_score
from course_lib.data.moving_digits import moving_digits
from course_lib.data.photographs import load_photograph
from course_lib.data.recall import in_image_recall
from course_lib.interactive import slider, steer
from course_lib.plotting import describe, new_figure, plot_lines, show_image, show_weights
from course_lib.spatial.non_local import NonLocal, non_local_means
from course_lib.training import accuracy, fit

# %% [markdown]
# ## The idea is older than the networks
#
# A noisy pixel is repaired by averaging: noise cancels. But *which* pixels should be averaged? A blur takes the neighbours.
# Non-local means takes those that look alike, wherever they are.
#
# **Three pixels in a row: 0.2, 0.8, 0.2.** We repair the first. A blur averages it with its neighbour; a look-up weighs every
# pixel by $e^{-(\text{difference})^2 / h^2}$ with $h = 0.2$. *Before running: which pixel gets almost no weight?*

# %% tags=["answer"]
row = torch.tensor([0.2, 0.8, 0.2])
weights = (-((row - row[0]) ** 2) / 0.2**2).softmax(dim=0)
blurred, looked_up = row[:2].mean(), weights @ row
print(f"blur {blurred:.1f}   look-up {looked_up:.1f}   weights", [round(w, 2) for w in weights.tolist()])
assert abs(looked_up - 0.2) < 0.01

# %% [markdown]
# The look-up skipped the neighbour and found its like two pixels further.
#
# **Now a real photograph, with noise of standard deviation 0.1.**

# %%
clean = load_photograph("temple", height=64)


def add_noise(image, seed):
    """The image plus Gaussian noise of standard deviation 0.1."""
    return image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


# %% [markdown]
# **Quality is measured by the PSNR**, $-10 \log_{10}$ of the mean squared error, in decibels: 10 more means a tenth of the error, 3 more half of it.
# *Before running: noise of 0.1 has a mean square of 0.01; how many decibels?*


# %% tags=["answer"]
def psnr(image, truth):
    """Peak signal-to-noise ratio in decibels, for values in [0, 1]."""
    return -10 * (image - truth).square().mean().log10().item()


noisy = add_noise(clean, seed=0)
print(f"image {list(clean.shape)}, noisy: {psnr(noisy, clean):.0f} dB")

# %% [markdown]
# **The opponent: a Gaussian blur**, at its best. We will let it choose its width σ by looking at the clean photograph, and give
# the look-up the same privilege for its $h$.


# %%
def blur(image, sigma):
    """Each pixel becomes an average of its neighbours, weighted by their distance in the image: c h w -> c h w."""
    reach = math.ceil(3 * sigma)
    kernel = (-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).softmax(dim=0)
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")  # c h w -> c 1 h w
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


blurs = {sigma: psnr(blur(noisy, sigma), clean) for sigma in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2)}
best_sigma = max(blurs, key=blurs.get)
print(f"best blur: σ = {best_sigma}, {blurs[best_sigma]:.1f} dB")

# %% [markdown]
# ## Non-local means
#
# A single noisy pixel says little about what it shows. So we compare *patches*. With $u$ the image and $N_i$ the little square
# of pixels around pixel $i$,
#
# $$v_i = \sum_j w_{ij}\, u_j \qquad w_{ij} = \frac{1}{Z_i} \exp\Bigl(-\frac{\lVert u(N_i) - u(N_j) \rVert^2}{h^2}\Bigr) \qquad Z_i = \sum_j \exp(\ldots)$$
#
# | symbol | name in lesson 01 | shape |
# |---|---|---|
# | $u(N_i)$ | query, and $u(N_j)$ key: the same patches | n d, d numbers in a patch |
# | $u_j$ | value: the pixel itself | n c |
# | $w$ | weights, rows sum to 1 | n n |
#
# Here $\lVert\cdot\rVert^2$ is the *mean* of the squared differences over the patch and its colours (in the paper its centre counts more).
#
# **For every pixel and every pixel, compare patches; then share out; then mix.**


# %%
def patches_of(image, size):
    """The size × size square around every pixel, edge pixels repeated: c h w -> n d."""
    padded = F.pad(image[None], (size // 2,) * 4, mode="replicate")
    return F.unfold(padded, size)[0].mT  # 1 d n -> n d


def denoise_by_loops(image, size, h):
    """For every pixel and every pixel, compare patches; then share out; then mix."""
    patches, pixels = patches_of(image, size), image.flatten(1).mT  # n d, n c
    result = torch.zeros_like(pixels)
    for i, query in enumerate(patches):
        likeness = [math.exp(-((query - key) ** 2).mean() / h**2) for key in patches]
        for j, value in enumerate(pixels):
            result[i] += likeness[j] / sum(likeness) * value
    return result.mT.view_as(image)


# %% [markdown]
# **It is the Gaussian look-up of lesson 01.** That one divides the squared distance by $2\sigma^2$; ours takes a mean over d numbers and
# divides by $h^2$. *Before running: which σ makes them equal?*

# %%
corner, h = noisy[:, 20:27, 20:25], 0.1
patches, pixels = patches_of(corner, 3), corner.flatten(1).mT
sigma = h * math.sqrt(patches.shape[1] / 2)
looked_up = attend(patches, patches, pixels, score=lambda q, k: gaussian_score(q, k, bandwidth=sigma))
library = non_local_means(corner, patch_size=3, window_size=15, bandwidth=h)

# %% [markdown]
# Loops, the look-up of lesson 01, and the module of this lesson, on a corner of 7 × 5 pixels:

# %% tags=["answer"]
torch.testing.assert_close(denoise_by_loops(corner, 3, h), looked_up.mT.view_as(corner))
torch.testing.assert_close(library, looked_up.mT.view_as(corner))
print("loops = attention = course_lib")

# %% [markdown]
# `course_lib` lets each pixel ask a window of 21 × 21 pixels instead of all. *We predict: on this photograph, with its flat sky and
# repeated roofs, it beats every blur.* And on the fur of a cat, where no two patches are alike? Three seeds for the noise:


# %%
def best_of_both(name, seed, size=3):
    """The PSNR of the best blur and of the best look-up with patches of this size."""
    image = load_photograph(name, height=64)
    noisy = add_noise(image, seed)
    by_blur = [psnr(blur(noisy, sigma), image) for sigma in blurs]
    tried = [non_local_means(noisy, patch_size=size, bandwidth=h) for h in (0.09, 0.1, 0.11, 0.13, 0.16)]
    return torch.tensor([max(by_blur), max(psnr(result, image) for result in tried)])


temple, cat = (torch.stack([best_of_both(name, seed) for seed in (0, 1, 2)]) for name in ("temple", "cat"))
for name, result in (("temple", temple), ("cat", cat)):
    for seed, (by_blur, by_look_up) in enumerate(result):
        print(f"{name:6} seed {seed}: blur {by_blur:.1f} dB   look-up {by_look_up:.1f} dB")

# %%
gain_on_temple, gain_on_cat = temple[:, 1] - temple[:, 0], cat[:, 1] - cat[:, 0]
assert (gain_on_temple > 1).all(), "more than 1 dB on the temple, in each seed"
assert (gain_on_cat.abs() < 0.4).all(), "no difference worth naming on the cat"
print("the look-up wins by more than 1 dB on the temple, and by nothing on the cat")

# %% tags=["folded"]
denoised = non_local_means(noisy, patch_size=3, bandwidth=0.1)
figure = new_figure(7.0, 5.0)
grid = figure.subplots(2, 2).flat
pictures = {"clean": clean, "noisy": noisy, "best blur": blur(noisy, best_sigma), "non-local means": denoised}
for axes, (name, picture) in zip(grid, pictures.items()):
    show_image(axes, picture, title=name)
describe(
    figure,
    "a Chinese temple before a pale sky, four times: clean; covered by coloured grain; blurred, with soft "
    "roof edges and a blotchy sky; and by non-local means, with a smooth sky and sharp roof edges, while "
    "the bushes have become a brown wash.",
)

# %% [markdown]
# **Where does the gain come from?** Three parts of the photograph: sky, temple, bushes.


# %%
def gain_in(rows, columns):
    """By how many decibels non-local means beats the blur in this part of the photograph."""
    truth, by_blur, by_look_up = (
        pictures[name][:, slice(*rows), slice(*columns)] for name in ("clean", "best blur", "non-local means")
    )
    return psnr(by_look_up, truth) - psnr(by_blur, truth)


in_sky, in_temple, in_bushes = gain_in((0, 20), (62, 96)), gain_in((14, 50), (14, 54)), gain_in((54, 64), (0, 96))
print(f"gain in the sky {in_sky:.0f} dB, in the temple {in_temple:.1f} dB, in the bushes {in_bushes:.1f} dB")
assert in_sky > 7 and max(in_temple, in_bushes) < 1

# %% [markdown]
# **Read it.** In the sky a pixel has hundreds of true likes, and its noise is gone. The roofs are sharper than in the blur, but
# hardly more exact. In the bushes a leaf has few true likes, and noise makes strangers look alike: they are averaged, and the leaves
# are lost. A cat is all fur and no sky, which would explain the draw. *A look-up is only as good as what there is to find.*
#
# **We chose after trying.** Temple, cat and patches of 3 × 3 were picked because they make two clear points. What would you have seen with the
# other photographs of the course, and with other patches? The gain in decibels, noise of seed 0:

# %%
names, sizes = ("temple", "flower", "coffee", "astronaut", "rocket", "cat"), (1, 3, 5)
gains = torch.tensor([[best_of_both(name, 0, size).diff().item() for size in sizes] for name in names])
print("patches     1 × 1   3 × 3   5 × 5")
for name, row in zip(names, gains.tolist()):
    print(f"{name:10}", *(f"{gain:+6.1f} " for gain in row))
assert (gains[:5, 1] > 0.8).all() and (gains.argmax(dim=1) == 1).all() and (gains[:, 0] < -0.1).sum() == 5
assert (gains[5, [0, 2]] < -0.3).all(), "on the cat, other patches lose to the blur"

# %% [markdown]
# So the temple is no exception: with patches of 3 × 3 the look-up wins on all photographs but the cat. The *patch size* matters more
# than we let you see. With 1 × 1 it loses on five of six, and on the cat only 3 × 3 reaches a draw.
#
# ## Whom does a pixel ask?
#
# **Choose the query pixel** (the ring) and look at its row of weights, over the whole clean photograph, with patches of 5 × 5. Dark is
# zero, yellow the largest weight; the title tells the effective number of keys (lesson 01). Small $h$ demands likeness, large $h$
# forgives. *Before moving: what will a pixel of the sky read, and what a pixel of the red wall?*

# %%
keys = patches_of(clean, 5)  # n d
columns = clean.shape[2]


def draw_query(figure, y, x, h=0.15):
    """The photograph with a ring around pixel (y, x), and the weights of its row."""
    distance = (keys - keys[y * columns + x]).square().mean(dim=1)
    weights = (-distance / h**2).softmax(dim=0).view(-1, columns)
    left, right = figure.subplots(1, 2)
    show_image(left, clean, title=f"query: row {y}, column {x}")
    left.plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="magenta", markeredgewidth=2)
    used = torch.special.entr(weights).sum().exp()
    show_weights(right, weights, title=f"h = {h}: about {used:.0f} of {len(keys)} pixels")


# %% tags=["widget"]
steer(
    draw_query,
    y=slider("row", list(range(0, 64, 3)), value=30),
    x=slider("column", list(range(0, 96, 3)), value=39),
    h=slider("h", [0.03, 0.06, 0.1, 0.15, 0.2, 0.4], value=0.15),
)

# %% [markdown]
# The same without a widget, for three queries:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 7.2)
for panel, (y, x) in zip(figure.subfigures(3, 1), ((9, 21), (30, 39), (27, 69))):
    draw_query(panel, y, x)
describe(
    figure,
    "three rows, each the photograph with a ringed query pixel and its weights as a map. A query in the "
    "blue sky left of the temple: the left sky is bright, and so is a part of the lake. A query on the "
    "dark red wall: walls on all storeys are bright, and the bushes half as bright. A query in the pale "
    "sky at the right: the sky above the horizon is bright, the temple is dark.",
)

# %% [markdown]
# **Read it.** The roof's storeys find each other across the photograph; no 3 × 3 kernel could. But the sky also reads the *lake*, and
# the wall reads *bushes*: alike in colour is not the same thing. Here the patches decide what "alike" means. The block below learns it.

# %%
at = torch.tensor([9 * columns + 21, 30 * columns + 39])  # the query in the sky, the query on the wall
rows = (-(keys[at, None] - keys).square().mean(dim=2) / 0.15**2).softmax(dim=1).view(2, -1, columns)
lake, bushes = rows[0, 35:45, 55:80].sum(), rows[1, 50:].sum()
print(f"more than 5 % of the sky's weight is on the lake: {bool(lake > 0.05)}")
print(f"more than 30 % of the wall's weight is on the lowest 14 rows, mostly bushes: {bool(bushes > 0.3)}")
assert lake > 0.05 and bushes > 0.3

# %% [markdown]
# ## The block
#
# A non-local block is the same look-up on *features*, with learned projections, and added to its input. For a feature map
# $x$ of shape b c h w and N = h · w positions:
#
# $$y_i = \frac{1}{C(x)} \sum_{j} f(x_i, x_j)\, g(x_j) \qquad z_i = W_z\, y_i + x_i$$
#
# | pairing | $f(x_i, x_j)$ | $C(x)$ |
# |---|---|---|
# | `gaussian` | $\exp(x_i^\top x_j)$ | $\sum_j f(x_i, x_j)$: a softmax |
# | `embedded_gaussian` | $\exp(\theta(x_i)^\top \phi(x_j))$ | $\sum_j f(x_i, x_j)$: a softmax |
# | `dot_product` | $\theta(x_i)^\top \phi(x_j)$ | N, the number of keys |
# | `concatenation` | $\mathrm{ReLU}(w_f^\top [\theta(x_i), \phi(x_j)])$ | N, the number of keys |
#
# θ makes queries, φ keys, g values: 1 × 1 convolutions from c to d = c/2 channels. $W_z$, a 1 × 1 convolution back to c, is followed by a batch
# norm. In the course's formula, "where to look" is the N × N map, `attention(x)`, and "look" is `forward(x)`; the letters f and g
# above are the paper's.
#
# **By hand, for the softmax pairing.** *Before running: x is 2 × 8 × 5 × 3; which shape has the map?*


# %% tags=["answer"]
def by_hand(block, x):
    """Project; compare all positions with all; softmax over the keys; mix; project back; add."""
    query, key, value = (conv(x).flatten(2) for conv in (block.query, block.key, block.value))  # b d n
    weights = (query.mT @ key).softmax(dim=-1)  # b n m
    y = value @ weights.mT  # b d m, b m n -> b d n
    return x + block.norm(block.output(y.unflatten(2, x.shape[2:])))  # b d n -> b d h w


torch.manual_seed(0)
block, x = NonLocal(8).eval(), torch.randn(2, 8, 5, 3)
nn.init.ones_(block.norm.weight)
torch.testing.assert_close(by_hand(block, x), block(x))
print("by hand = course_lib; the map:", list(block.attention(x).shape))

# %% [markdown]
# Two mistakes of published attention code, both with the right shapes. The **softmax** must run over the keys, the last axis. And $y$ comes
# as *positions × channels* when one writes `weights @ value`: it must be **transposed** before it becomes an image again, or
# channels and positions are scrambled. Check with a double loop:

# %%
query, key, value = (t[0].mT for t in block.embed(x))  # n d, the first image
y = torch.stack([sum(w * v for w, v in zip((key @ q).softmax(dim=0), value)) for q in query])  # n d
z = x[:1] + block.norm(block.output(y.mT.reshape(1, -1, 5, 3)))
torch.testing.assert_close(z, block(x[:1]))
print("double loop = course_lib")

# %% [markdown]
# **Four pairings.** *Before running: which rows sum to 1, and which pairing has the fewest parameters?*

# %% tags=["answer"]
for pairing in ("gaussian", "embedded_gaussian", "dot_product", "concatenation"):
    other = NonLocal(8, pairing=pairing)
    weights, learned = other.attention(x), sum(p.numel() for p in other.parameters())
    ones = torch.allclose(weights.sum(dim=-1), torch.ones(2, 15), atol=1e-5)
    print(
        f"{pairing:18} rows sum to 1: {ones!s:5}  negative weights: {bool((weights < 0).any())!s:5}  {learned} numbers"
    )
    assert ones == (pairing in ("gaussian", "embedded_gaussian"))

# %% [markdown]
# Only the first two are shares in the sense of lesson 01. A negative weight *subtracts* what another pixel holds.
#
# ## It starts as the identity
#
# The block is meant to be put into a network that is already trained. So it must not disturb it: the scale γ and shift β of its last norm start at zero,
# hence $z = x$. *Before running: which parameters get a gradient in the first step?*

# %%
torch.manual_seed(0)
fresh, wanted = NonLocal(8), torch.randn(2, 8, 5, 3)
assert torch.equal(fresh(x), x)


def reached(block):
    """The parameters that a gradient reaches; then one step of gradient descent."""
    block.zero_grad()
    (block(x) * wanted).sum().backward()
    names = [name for name, p in block.named_parameters() if p.grad.abs().max() > 1e-6]
    torch.optim.SGD(block.parameters(), lr=0.1).step()
    return names


# %% tags=["answer"]
print("identity; first step:", first := reached(fresh))
assert first == ["norm.weight", "norm.bias"]

# %% [markdown]
# γ = 0 blocks the way to everything behind it. In the second step γ is no longer zero, and θ, φ, g and $W_z$ wake up. A block that starts
# with *two* zeros in a row, γ and $W_z$, never wakes: γ's gradient contains $W_z$'s output, and the other way round.

# %%
second = reached(fresh)
asleep = NonLocal(8)
nn.init.zeros_(asleep.output.weight), nn.init.zeros_(asleep.output.bias)
later = [reached(asleep) for _ in range(5)]
weights = {"query.weight", "key.weight", "value.weight", "output.weight"}
print("second step, all four weights:", weights <= set(second), "  two zeros, fifth step:", later[-1])
assert weights <= set(second) and later[-1] == ["norm.bias"]

# %% [markdown]
# ## Fewer keys
#
# **Sub-sampling** max-pools x by 2 × 2 before φ and g, not before θ: every pixel still asks, but only N/4 answer. The output keeps its size.

# %%
torch.manual_seed(0)
fewer = NonLocal(8, subsample=2).eval()
ported = NonLocal(8, subsample=2, pool_input=False).eval()
ported.load_state_dict(fewer.state_dict())
x = torch.randn(2, 8, 6, 10)
print("map", list(fewer.attention(x).shape), " output", list(fewer(x).shape))
assert not torch.allclose(fewer.attention(x), ported.attention(x))

# %% [markdown]
# The last line: the paper's equation pools *before* φ and g; its text, and many ports, pool what comes *out*. The largest of four inputs,
# projected, is not the largest of four projections. Weights moved from one to the other silently give other numbers.
#
# ## The experiment: recall inside an image
#
# Each image has 12 × 12 pixels. Four *sources* hold a key and a value; eight *queries* hold only a key, and must say the value stored with it,
# wherever the source is. Keys are colours below, values are numbers. Guessing gets one in four. A pixel has ten channels: four for its
# key, four for its value, two for "I am a source" and "I ask". All other pixels are empty: ten zeros.


# %% tags=["folded"]
def draw_recall(axes, recall, which):
    """Sources as squares with their value, queries as rings, coloured by key."""
    image, colours = recall.images[which], ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")
    for y, x in (recall.sources[which] | recall.queries[which]).nonzero().tolist():
        colour, is_source = colours[image[:4, y, x].argmax()], recall.sources[which, y, x]
        axes.plot(x, y, "s" if is_source else "o", markersize=11, markeredgecolor=colour, markeredgewidth=2,
                  markerfacecolor=colour if is_source else "none")  # fmt: skip
        if is_source:
            axes.text(x, y, image[4:8, y, x].argmax().item(), ha="center", va="center", fontsize=9)
    axes.set(xlim=(-0.6, 11.6), ylim=(11.6, -0.6), xticks=[], yticks=[], aspect="equal")


train, test = in_image_recall(2560, seed=0), in_image_recall(256, seed=1)
figure = new_figure()
for which, axes in enumerate(figure.subplots(1, 3)):
    draw_recall(axes, test, which)
describe(
    figure,
    "three square fields, each with four filled squares in four colours, numbered from 0 to 3, and eight "
    "empty rings in the same colours, all scattered at random.",
)

# %% [markdown]
# The network: a 1 × 1 convolution to 32 channels, **one block**, a 1 × 1 convolution to four logits. So only the block can carry anything from
# one pixel to another.
#
# *We predict.* A 3 × 3 convolution knows the answer only if the source is one of 8 neighbours (fewer at the edge) among 143 other
# pixels; otherwise it guesses: $8/143 + (1 - 8/143)/4 \approx 0.29$. The softmax pairing solves the task. The dot product has no softmax to single out *one* source, and
# should fail. With sub-sampling, 4 keys become one: we are not sure.

# %%
blocks = {
    "convolution 3×3": lambda: nn.Conv2d(32, 32, 3, padding=1),
    "dot product": lambda: NonLocal(32, pairing="dot_product"),
    "softmax": lambda: NonLocal(32),
    "softmax, N/4 keys": lambda: NonLocal(32, subsample=2),
}

# %% [markdown]
# **Train each three times, for 240 steps.** Only the asking pixels count in the loss. This takes about half a minute.


# %%
def train_with(name, seed):
    """A trained network with this block, and the loss of each step."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(10, 32, 1), blocks[name](), nn.Conv2d(32, 4, 1))
    losses = fit(model, train.images, train.targets, steps=240, one_cycle=False, seed=seed, title=name)
    return model, losses


# %%
trained = {name: [train_with(name, seed) for seed in (0, 1, 2)] for name in blocks}

# %%
right = {
    name: torch.tensor([accuracy(model, test.images, test.targets) for model, _ in runs])
    for name, runs in trained.items()
}

# %% [markdown]
# Learned numbers of the block, and how all three seeds did:

# %%
for name, shares in right.items():
    learned = sum(p.numel() for p in blocks[name]().parameters())
    worst, best = bool(shares.min() >= 0.9), bool(shares.max() <= 0.35)
    print(f"{name:18} {learned:5} numbers   above 90 % in each seed: {worst!s:5}   below 35 % in each: {best}")
assert (right["softmax"] >= 0.95).all()
assert (right["convolution 3×3"] <= 0.35).all()
assert (right["dot product"] >= 0.9).all()
assert (right["softmax, N/4 keys"] >= 0.9).all() and (right["softmax, N/4 keys"] < 0.99).all()

# %% tags=["folded"]
figure = new_figure()
left, axes = figure.subplots(1, 2, width_ratios=[1, 2])
for k, shares in enumerate(right.values()):
    left.plot([k] * 3, shares, "o", color="black", markersize=4)
left.set(xticks=range(4), xticklabels=["conv", "dot", "softmax", "N/4"], ylim=(0, 1.05), ylabel="share right")
left.axhline(0.25, color="grey", linestyle=":")
curves = {name: torch.tensor(runs[0][1]).view(24, 10).mean(dim=1) for name, runs in trained.items()}
plot_lines(axes, list(range(5, 240, 10)), curves, xlabel="step", ylabel="loss (nats)")
describe(
    figure,
    "left, the share of right answers, three points for each block: the convolution just above the dotted "
    "line of guessing at 0.25, dot product and softmax at 1, N/4 keys near 0.95. Right, the loss over 240 "
    "steps of seed 0: the convolution stays at 1.4; softmax and N/4 keys fall within about 70 steps, the "
    "latter not quite to zero; the dot product stays high for about 70 steps and reaches zero near step "
    "200.",
)

# %% [markdown]
# **Read it.** The convolution is near guessing, with four times the parameters; about 0.29 is all that it can know. The softmax needs a few dozen steps. *But our prediction for the dot
# product was wrong*: it starts late, and then solves the task too. And N/4 keys stop short of all. Let us look at what they read.

# %%
assert curves["softmax"][7] < 0.3 < 1 < curves["dot product"][7], "around step 75 one has learned, the other has not"

# %% [markdown]
# ## Look at the maps
#
# **Three query pixels of the first test image, and their rows of weights.** Colour runs from zero to the largest weight; for the dot product we draw the size of
# the weights, since they have signs. *Before running: where should the bright spot be?*


# %% tags=["folded", "answer"]
def maps_of(name):
    """The maps of all test images, with the first of the three trained networks: n 144 144."""
    model = trained[name][0][0].eval()
    with torch.no_grad():
        return model[1].attention(model[0](test.images))


soft, dot = maps_of("softmax"), maps_of("dot product")
asked = test.queries[0].nonzero()[[0, 3, 4]]  # three queries with different keys: y, x
figure = new_figure(7.0, 4.2)
grid = figure.subplots(2, 4)
draw_recall(grid[0, 0], test, 0), draw_recall(grid[1, 0], test, 0)
for column, (y, x) in enumerate(asked.tolist(), start=1):
    for k, weights in enumerate((soft, dot)):
        show_weights(grid[k, column], weights[0, 12 * y + x].abs().view(12, 12), title=f"row {y}, column {x}")
        grid[k, column].plot(x, y, "o", markersize=9, markerfacecolor="none", markeredgecolor="magenta")
grid[0, 0].set_title("softmax", fontsize=9), grid[1, 0].set_title("dot product", fontsize=9)
describe(
    figure,
    "two rows: softmax above, dot product below. Left the image with its coloured squares and rings. Then "
    "a map for each of three query pixels. With softmax one cell is bright, at the square of the query's "
    "colour, and all others are dark. With the dot product that square is bright as well, but many rings "
    "are about half as bright, and all empty cells are a little above zero.",
)

# %% [markdown]
# **How much weight lies on the right source?** We know where it is: the source with the same key. For the dot product we compare
# sizes. And how much lies on pixels that hold no value at all, the rings and the empty ones?

# %%
key = test.images[:, :4].flatten(2)  # n 4 144
is_right = (key.mT @ key) * test.sources.flatten(1)[:, None, :]  # n 144 144: same key, and a source
asks = test.queries.flatten(1)
on_right = [((w.abs() * is_right).sum(-1) / w.abs().sum(-1))[asks].mean() for w in (soft, dot)]
print(f"more than 80 % with softmax: {bool(on_right[0] > 0.8)}, with the dot product: {bool(on_right[1] > 0.8)}")
no_value = ~test.sources.flatten(1)[:, None, :]  # n 1 144
wasted = ((dot.abs() * no_value).sum(-1) / dot.abs().sum(-1))[asks].mean()
print(f"dot product, more than 70 % on pixels without a value: {bool(wasted > 0.7)}")
assert on_right[0] > 0.8 and on_right[1] < 0.3 and wasted > 0.7

# %% [markdown]
# **So a map need not point at the answer for the answer to be right.** The dot product puts most of its weight on
# pixels that hold no value, and answers well. What these add is the same whatever the answer is, so $W_z$ and the last convolution
# can learn to ignore it. Only the softmax maps can be read as "where it looked", and even they say nothing of what $W_z$ does with it.
#
# **And the pixels that do not ask?** All empty pixels are equal, so they ask the same question. *Before running: how many keys do they share
# their weight among?*

# %% tags=["answer"]
used = torch.special.entr(soft).sum(dim=-1).exp()  # the effective number of keys, lesson 01
empty = ~(test.queries | test.sources).flatten(1)
print(f"asking pixels use fewer than 5 keys: {bool(used[asks].mean() < 5)}", end=";  ")
print(f"empty pixels more than 100: {bool(used[empty].mean() > 100)}")
assert used[asks].mean() < 5 and used[empty].mean() > 100

# %% [markdown]
# They read the average of everything, since a softmax must read *something*. In natural images nearly all pixels may end up like this; that is where
# lesson 10 begins.
#
# **What did N/4 keys lose?** Our guess: sources that share their 2 × 2 window with another marked pixel, since the maximum of the two is neither.

# %%
marked = (test.sources | test.queries).float()[:, None]
in_window = F.avg_pool2d(marked, 2, divisor_override=1)  # how many marked pixels share a window
crowded = F.interpolate(in_window, scale_factor=2).flatten(1) > 1  # n 144
shares_window = (is_right * crowded[:, None, :]).sum(dim=-1)[asks] > 0

# %% [markdown]
# How many answers are right where the source is alone in its window, and where it is not?

# %%
model = trained["softmax, N/4 keys"][0][0].eval()
with torch.no_grad():
    correct = (model(test.images).argmax(dim=1) == test.targets)[test.queries].float()
alone, together = correct[~shares_window].mean(), correct[shares_window].mean()
print(f"source alone in its window: all but 2 % right: {bool(alone > 0.98)}; not alone: {bool(together > 0.98)}")
assert alone > 0.98 and together < 0.93

# %% [markdown]
# The guess holds: nearly all errors come from crowded windows.
#
# ## It knows no place
#
# Shuffle the pixels of x, and the output is shuffled alike: the block sees a *bag* of pixels. *Before running: does that hold with
# sub-sampling?*

# %%
order = torch.randperm(60, generator=torch.Generator().manual_seed(0))


def shuffle(x):
    """The pixels in another order."""
    return x.flatten(2)[:, :, order].view_as(x)


# %% tags=["answer"]
torch.manual_seed(0)
plain, x = NonLocal(8).eval(), torch.randn(2, 8, 6, 10)
for block in (plain, fewer):
    nn.init.ones_(block.norm.weight)
torch.testing.assert_close(plain(shuffle(x)), shuffle(plain(x)))
print("with sub-sampling:", torch.allclose(fewer(shuffle(x)), shuffle(fewer(x)), atol=1e-3))

# %% [markdown]
# ## A gate asks nobody
#
# Many blocks called attention are *gates*: they multiply x where it is. A channel gate (lesson 03) has one factor for each map, a spatial
# gate (lesson 10) one for each pixel. In their barest form, the factor is the sigmoid of an average.

# %%
torch.manual_seed(0)
look_up = NonLocal(8).eval()
nn.init.ones_(look_up.norm.weight)
blocks = {
    "channel gate": lambda x: x * x.mean(dim=(2, 3), keepdim=True).sigmoid(),
    "spatial gate": lambda x: x * x.mean(dim=1, keepdim=True).sigmoid(),
    "look-up": look_up,
}

# %% [markdown]
# **Two images are empty at the first pixel and differ elsewhere: does the output there differ? Then change the first pixel of an image: does
# the last pixel notice?** *Before running: which of the three brings anything from one pixel to another?*

# %%
one, other = torch.randn(2, 1, 8, 6, 10, generator=torch.Generator().manual_seed(1))
one[..., 0, 0] = other[..., 0, 0] = 0
changed = one.clone()
changed[..., 0, 0] += 1


def differs(block, x, y, place):
    """Whether two images get different outputs at this pixel."""
    return not torch.allclose(block(x)[..., place, place], block(y)[..., place, place], rtol=0, atol=1e-6)


# %% tags=["answer"]
found = {name: (differs(block, one, other, 0), differs(block, one, changed, -1)) for name, block in blocks.items()}
for name, (arrives, notices) in found.items():
    print(f"{name:13} content arrives: {arrives!s:6} the last pixel notices: {notices}")
assert found == {"channel gate": (False, True), "spatial gate": (False, False), "look-up": (True, True)}
assert all(block(one).shape == one.shape for block in blocks.values())

# %% [markdown]
# So what do channel and spatial gates *do*? They make louder or softer what is already in place. The channel gate decides from the whole image,
# this spatial gate from one pixel (with a 7 × 7 convolution in front, from 49). Neither carries anything from pixel to pixel,
# and neither compresses: the output is as large as the input. Only the look-up moves content.
#
# And is attention *addressing*? Where a query is compared with keys, yes, softly: the answer is a mixture, and a pixel may read itself. A
# gate addresses nothing: it has no query and no key.

# %% [markdown]
# ## Video
#
# In video, the positions are t · h · w, and everything else stays (`dims=3`). **A digit moves through six frames. A pixel of frame 0 asks
# all pixels of all frames.** The features of a pixel are the 7 × 7 patch around it, as a vector of length 5, so that equal patches
# score 25. The pairing is `gaussian`: nothing is trained. *Before running: 24 × 24 pixels and six frames; how many keys?*

# %% tags=["answer"]
video = moving_digits(8, seed=0)[0][4:5]  # 1 1 t h w, an 8
frames = [F.unfold(F.pad(frame, (3,) * 4), 7).unflatten(2, (24, 24)) for frame in video.unbind(dim=2)]
patches = torch.stack(frames, dim=2)  # 1 49 t h w
features = 5 * F.normalize(patches - patches.mean(dim=1, keepdim=True), dim=1)
weights = NonLocal(49, pairing="gaussian", dims=3).attention(features)
seen = weights.view(6, 24, 24, 6, 24, 24)[0, 14, 14]  # t h w, for the query at frame 0, row 14, column 14
print("map", list(weights.shape), "largest weight in each frame at", [divmod(int(w.argmax()), 24) for w in seen])

# %% tags=["folded"]
figure = new_figure(7.0, 2.6)
panels = figure.subplots(2, 6)
for k in range(6):
    show_image(panels[0, k], video[0, 0, k], title=f"frame {k}: {seen[k].sum():.2f}")
    show_weights(panels[1, k], seen[k], top=seen.max())
panels[0, 0].plot(14, 14, "o", markersize=9, markerfacecolor="none", markeredgecolor="magenta")
describe(
    figure,
    "above, six frames of an 8 that moves from the lower right to the upper left, each with the weight "
    "that falls into it; a ring on its waist in frame 0. Below, one or two bright cells in each frame, "
    "which move with the digit; in frame 2 they are hardly visible.",
)

# %% [markdown]
# **Read it.** The look-up follows the same stroke of the digit without any notion of motion. But frame 2 gets a tenth of the weight of frame 4: there the
# digit lies between the pixels, and its patches look a little different. Nothing tells the block that frame 2 is nearer.

# %%
path = torch.tensor([divmod(int(w.argmax()), 24) for w in seen])
assert (path.diff(dim=0) < 0).all(), "up and left in every frame, like the digit"
assert seen[2].sum() < 0.2 * seen[4].sum()

# %% [markdown]
# ## The price: N × N
#
# The map of one 97 × 97 feature map (769 × 769 pixels at stride 8, as in segmentation) has $(97^2)^2 = 88.5$ million weights, 354 MB in single precision, and training must keep it. Four times the pixels,
# sixteen times the map.
#
# **The map never has to exist as a whole.** A fused kernel goes through the keys in pieces and keeps for each query only
# the running sum of exponentials and the running mixture. We count the bytes that each way keeps for the backward pass.


# %%
def bytes_kept(function, *inputs):
    """The result, and the bytes kept for the backward pass, each block of memory counted once."""
    kept = {}

    def remember(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        output = function(*inputs)
    return output, sum(kept.values())


# %% [markdown]
# Note `scale=1.0`: the kernel would divide the scores by √d, and the paper's block does not. *Before running: N = 64 × 64 and
# 4 bytes a number; how large is the map?*


# %%
def with_map(query, key, value):
    """Compare, share out, mix: b 1 n d, b 1 m d, b 1 m d -> b 1 n d."""
    return (query @ key.mT).softmax(dim=-1) @ value


def fused(query, key, value):
    """The same without the map."""
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
inputs = [torch.randn(1, 1, 64 * 64, 16, generator=generator).requires_grad_() for _ in range(3)]
(mixed, large), (also_mixed, small) = bytes_kept(with_map, *inputs), bytes_kept(fused, *inputs)
torch.testing.assert_close(mixed, also_mixed)
print(f"same numbers; kept with the map {large / 1e6:.0f} MB, without {small / 1e6:.0f} MB")
assert large > 4 * 4096**2 and small < large / 30

# %% [markdown]
# The *work* is still N × N; only the memory is not. The dot product can do better, because nothing stands between its two products: $(Q K^\top) V = Q (K^\top V)$, and $K^\top V$ has only
# d × d numbers, however large the image. With a softmax in between, the brackets cannot be moved; lesson 11 asks what to give up for that.

# %%
query, key, value = (t.detach()[0, 0, :1000] for t in inputs)
first, second = query @ key.mT, key.mT @ value
torch.testing.assert_close(first @ value / 1000, query @ second / 1000, rtol=1e-4, atol=1e-4)
print(f"same numbers; in between {first.numel()} or {second.numel()} of them")

# %% [markdown]
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 09 non-local means | patch of pixel i | patch of pixel j | pixel j | n n | softmax over the keys | n² · (d + c) |
# | 09 non-local block | θ(x) | φ(x) | g(x) | n m | softmax over the keys, or 1/m | n · m · c + projections |
#
# ## What to believe
#
# On Kinetics (ResNet-50, top-1) the paper reports 71.8 % without and 73.8 % with five blocks, and hardly any difference between the pairings. Our recall task was
# *made* for look-ups: it shows what the block can do and a small kernel cannot, not how much natural images need it. With eleven 3 × 3
# convolutions in a row, every pixel of our images would reach every other. Both denoisers chose their parameter by looking at the clean image, so only their
# *difference* means something; and we chose photograph and patch size after trying.
#
# ## Three things to keep
#
# 1. Non-local means and the non-local block are one look-up: patches or learned features, softmax **over the keys**, mix, add.
# 2. Its last norm starts at zero, so the block **starts as the identity**; only γ and β learn in the first step.
# 3. The map is **N × N**; sub-sampling shrinks it, a fused kernel never stores it, and without a softmax the brackets move.
#
# *References.* Buades, Coll, Morel, A Non-Local Algorithm for Image Denoising, CVPR 2005, doi 10.1109/CVPR.2005.38.
# Wang, Girshick, Gupta, He, Non-local Neural Networks, CVPR 2018, arXiv 1711.07971.
# Dao, Fu, Ermon, Rudra, Ré, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness, NeurIPS 2022, arXiv 2205.14135.
#
# **Next:** the [exercise](../exercises/09_non_local.ipynb), then lesson 10: do the pixels even ask different questions?
