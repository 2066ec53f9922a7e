# %% [markdown]
# # 09 · Non-local
#
# **What if every pixel may ask every other pixel?**
#
# After this lesson you will be able to
#
# - remove noise from a photograph by a look-up that has no learned number, and say whether likeness or reach does the work;
# - write the non-local block, and prove it equal to two loops;
# - say which tasks need a pixel to *compare* itself with others, and which only need to see far.
#
# *Minutes:* 40, deeper 36 · *Needs:* 01 · *Paper:* Wang et al., Non-local Neural Networks, 2018, arXiv 1711.07971 · *Exercise:* [09 non-local](../exercises/09_non_local.ipynb) · *Module:* [non_local.py](../course_lib/spatial/non_local.py)
#
# Out of scope: whether the pixels really ask different questions (10), cheaper maps (11), positions (13, 14).

# %%
import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.basics.addressing import attend, gaussian_score
from course_lib.costs import kept_for_backward
from course_lib.data.moving_digits import moving_digits
from course_lib.data.photographs import load_photograph
from course_lib.data.recall import in_image_recall
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, describe, new_figure, plot_runs, ring, show_asked, show_image, show_weights
from course_lib.spatial.non_local import NonLocal, non_local_means
from course_lib.training import accuracy, fit
from course_lib.trunk import ask, load_trunk

# %% [markdown]
# ## A question from one pixel
#
# Noise is removed by averaging: the errors cancel. But *which* pixels should be averaged? A blur takes the neighbours. We could
# also take the pixels that look alike.
#
# **Three pixels in a row: 0.2, 0.8, 0.2.** We repair the first one. A blur averages it with its neighbour. A look-up gives each
# pixel the weight $e^{-(\text{difference} / 0.2)^2}$, and then makes the weights sum to 1. *Before running: which pixel gets
# almost no weight?*

# %% tags=["answer"]
row = torch.tensor([0.2, 0.8, 0.2])
weights = (-(((row - row[0]) / 0.2) ** 2)).softmax(dim=0)
print("weights", [round(w, 2) for w in weights.tolist()])
print(f"blur {row[:2].mean():.1f}   look-up {weights @ row:.1f}")
assert abs(weights @ row - 0.2) < 0.01

# %% [markdown]
# The look-up left out the neighbour. It found the pixel that is like ours, two places further.
#
# ## On a photograph
#
# **A photograph with noise of standard deviation 0.1.** We measure quality by the PSNR, $-10 \log_{10}$ of the mean squared error, in
# decibels (dB). Ten more means a tenth of the error. *Before running: noise of 0.1 has a mean square of 0.01; how many decibels?*


# %%
def psnr(image, truth):
    """Peak signal-to-noise ratio in decibels, for values in [0, 1]."""
    return -10 * (image - truth).square().mean().log10().item()


# %% tags=["answer"]
clean = load_photograph("temple", height=64)
noisy = clean + 0.1 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
print(f"image {list(clean.shape)}, noisy: {psnr(noisy, clean):.0f} dB")

# %% [markdown]
# One noisy pixel says little about what it shows. So we compare *patches*: the small square of pixels around each pixel.
# **For every pixel and every pixel, compare patches; then share out; then mix.**
#
# $$\hat u_i = \sum_j \alpha_{ij}\, u_j \qquad \alpha_{ij} = \frac{1}{Z_i} \exp\Bigl(-\frac{\lVert u(P_i) - u(P_j) \rVert^2}{\text{bandwidth}^2}\Bigr)$$
#
# | symbol | name in lesson 01 | shape |
# |---|---|---|
# | $u(P_i)$ and $u(P_j)$: patches | query and key | n d, d numbers in a patch |
# | $u_j$: the pixel | value | n c |
# | $\alpha$; $Z_i$ makes each row sum to 1 | weights | n n |
# | $\hat u_i$: the repaired pixel | what is read | n c |
#
# ($P_i$ is the square of pixels around pixel i. The paper calls the bandwidth h. In this course h is the height.) $\lVert\cdot\rVert^2$ is here the *mean* of the squared differences.


# %%
def patches_of(image, size):
    """The size × size square around every pixel, edge pixels repeated: c h w -> n d."""
    padded = F.pad(image[None], (size // 2,) * 4, mode="replicate")
    return F.unfold(padded, size)[0].mT  # 1 d n -> n d


# %%
def denoise_by_loops(image, size, bandwidth):
    """For every pixel and every pixel, compare patches; then share out; then mix: c h w -> c h w."""
    patches, pixels = patches_of(image, size), image.flatten(1).mT  # n d, n c
    result = torch.zeros_like(pixels)
    for i, query in enumerate(patches):
        likeness = [math.exp(-((query - key) ** 2).mean() / bandwidth**2) for key in patches]
        for j, value in enumerate(pixels):
            result[i] += likeness[j] / sum(likeness) * value
    return result.mT.view_as(image)


# %% [markdown]
# **The loops, the Gaussian look-up of lesson 01 and the function of `course_lib` are equal**, here on a corner of 7 × 5 pixels.
# Lesson 01 divides the *sum* of squares by 2σ²; so σ² = bandwidth² · d/2.

# %%
corner = noisy[:, 20:27, 20:25]
patches, pixels = patches_of(corner, 3), corner.flatten(1).mT
sigma = 0.1 * math.sqrt(patches.shape[1] / 2)
looked_up = attend(patches, patches, pixels, score=lambda q, k: gaussian_score(q, k, bandwidth=sigma))

# %%
expected = looked_up.mT.view_as(corner)
torch.testing.assert_close(denoise_by_loops(corner, 3, 0.1), expected)
torch.testing.assert_close(non_local_means(corner, patch_size=3, window_size=15, bandwidth=0.1), expected)

# %% [markdown]
# ## Likeness or reach?
#
# The look-up differs from a blur in two ways: it prefers what is *alike*, and it may look *far*. Which one helps? We give it windows
# of 5 × 5 to 41 × 41 pixels, and let both methods choose their one number (the width of the blur, the bandwidth) by looking at
# the clean image. *Before running: what will be the best window for the temple, with its many equal roofs?*


# %%
def blur(image, sigma):
    """Each pixel becomes an average of its neighbours, weighted by their distance in the image: c h w -> c h w."""
    reach = math.ceil(3 * sigma)
    kernel = (-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).softmax(dim=0)
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")  # c h w -> c 1 h w
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))[:, 0]


# %%
def best_of(name, windows, size=3, seed=0):
    """The best PSNR of a blur, and of a look-up in each of these windows."""
    truth = load_photograph(name, height=64)
    image = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(seed))
    best = [max(psnr(blur(image, sigma), truth) for sigma in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2))]
    for window in windows:
        look_up = partial(non_local_means, image, patch_size=size, window_size=window)
        bandwidths = (0.13, 0.16, 0.2, 0.25) if window < 20 else (0.08, 0.09, 0.1)  # others, tried, never win
        best.append(max(psnr(look_up(bandwidth=h), truth) for h in bandwidths))
    return best


# %% tags=["answer"]
names = ("temple", "coffee", "cat")
decibels = {name: best_of(name, (5, 7, 21, 41)) for name in names}
print("          blur   5 × 5   7 × 7   21 × 21   41 × 41")
for name, found in decibels.items():
    print(f"{name:8}", "".join(f"  ≈ {one:.1f}" for one in found))

# %%
for blurred, five, seven, _, far in decibels.values():
    assert five > blurred + 0.2, "likeness helps, even among 25 neighbours"
    assert far < seven + 0.3, "reach hardly does"

# %% [markdown]
# **Read it.** Likeness helps: with only 25 neighbours to choose from, the look-up beats the best blur on all three photographs. Reach
# hardly does: beyond 7 × 7 pixels the temple gains a fifth of a decibel at most, and coffee and cat lose. A guess for the loss: among
# 1681 noisy patches, more are alike by chance. (A deeper section tests it, and asks what likeness does that a blur cannot.) "Non-local" is in the name, but on
# these small photographs the neighbours do the work.

# %% tags=["folded"]
figure = new_figure(7.0, 4.6)
denoised = non_local_means(noisy, patch_size=3, window_size=7, bandwidth=0.13)
pictures = {"clean": clean, "noisy": noisy, "best blur": blur(noisy, 0.7), "look-up in 7 × 7 pixels": denoised}
for axes, (name, picture) in zip(figure.subplots(2, 2).flat, pictures.items()):
    show_image(axes, picture, title=name)
describe(
    figure,
    "a Chinese temple before a pale sky, four times: clean; covered by coloured grain; blurred, with soft roof edges and a "
    "blotchy sky; and by the look-up, with a smoother sky and sharper roof edges, while the bushes are still grainy.",
)

# %% [markdown]
# So is there anything for which a pixel *must* look far? We need a task where the answer lies somewhere else. First, the learned version.
#
# ## The block

# %% tags=["folded"]
diagram(NonLocal)

# %% [markdown]
# A non-local block is the same look-up on *features*, with learned projections, and its result is added to the input:
#
# $$y_i = \sum_j \alpha_{ij}\, g(x_j) \qquad \alpha_{ij} = \frac{\exp(\theta(x_i)^\top \phi(x_j))}{\sum_k \exp(\theta(x_i)^\top \phi(x_k))} \qquad z_i = W_z\, y_i + x_i$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $x$, $z$ | input and output | b c h w, with n = h · w positions |
# | $\theta$, $\phi$, $g$ | 1 × 1 convolutions that make queries, keys, values | c to d = c/2 channels |
# | $\alpha$ | the map, `attention(x)` | b n n |
# | $W_z$ | a 1 × 1 convolution and a batch norm | d to c channels |
#
# Two letters of the paper differ from the diagram's: its g makes the *values*, while the blue g is the map, as in all lessons; and its output is z, while every diagram ends in y.
#
# **Project; compare all with all; softmax over the keys; mix; project back; add.** *Before running: x is 2 × 8 × 5 × 3; which shape has the map?*


# %%
def by_hand(block, x):
    """Project; compare all with all; softmax over the keys; mix; project back; add. b c h w -> b c h w"""
    query, key, value = (conv(x).flatten(2) for conv in (block.query, block.key, block.value))  # b d n
    weights = (query.mT @ key).softmax(dim=-1)  # b n n
    y = value @ weights.mT  # b d n
    return x + block.norm(block.output(y.unflatten(2, x.shape[2:])))  # b d n -> b d h w


# %% tags=["answer"]
torch.manual_seed(0)
block, x = NonLocal(8).eval(), torch.randn(2, 8, 5, 3)
nn.init.ones_(block.norm.weight)
print("the map:", list(block.attention(x).shape))

# %% [markdown]
# **The same with two loops**, for the first image: one query at a time, one key at a time.

# %%
query, key, value = (part[0].mT.detach() for part in block.embed(x))  # n d
y = torch.zeros_like(value)
for i in range(15):
    likeness = [math.exp(query[i] @ key[j]) for j in range(15)]
    for j in range(15):
        y[i] += likeness[j] / sum(likeness) * value[j]

# %%
looped = x[0] + block.norm(block.output(y.mT.reshape(1, -1, 5, 3)))[0]
torch.testing.assert_close(looped, block(x)[0])
torch.testing.assert_close(by_hand(block, x), block(x))

# %% [markdown]
# **It starts as the identity.** The block is meant to be put into a network that is already trained, and must not disturb it. So the scale and
# the shift of its last norm start at zero. *Before running: by how much does a new block change its input?*

# %% tags=["answer"]
print("largest change:", (NonLocal(8)(x) - x).abs().max().item())
assert torch.equal(NonLocal(8)(x), x)

# %% [markdown]
# ## What it cannot do
#
# **Shuffle the pixels of x, and the output is shuffled alike.** The block sees a *bag* of pixels: it does not know which are neighbours.

# %%
order = torch.randperm(15, generator=torch.Generator().manual_seed(0))


def shuffle(x):
    """The pixels in another order."""
    return x.flatten(2)[:, :, order].view_as(x)


# %%
torch.testing.assert_close(block(shuffle(x)), shuffle(block(x)))
print(f"largest difference ≈ {(block(shuffle(x)) - shuffle(block(x))).abs().max():.0e}")

# %% [markdown]
# ## The experiment: recall inside an image
#
# Each image has 12 × 12 pixels. Four *sources* (squares) hold a colour and a number. Eight *queries* (rings) hold only a colour, and must say the
# number of the source with the same colour, wherever it is. All other pixels are empty. Guessing gets one in four.


# %%
train, test = in_image_recall(2560, seed=0), in_image_recall(256, seed=1)


# %% tags=["folded"]
def draw_recall(axes, recall, which):
    """Sources as squares with their value, queries as rings, coloured by key."""
    image = recall.images[which]
    for y, x in (recall.sources[which] | recall.queries[which]).nonzero().tolist():
        colour, is_source = COLOURS[image[:4, y, x].argmax()], recall.sources[which, y, x]
        face = colour if is_source else "none"
        axes.plot(x, y, "s" if is_source else "o", ms=11, mec=colour, mew=2, mfc=face, clip_on=False)
        if is_source:
            axes.text(x, y, image[4:8, y, x].argmax().item(), ha="center", va="center", color="white", weight="bold")
    axes.set(xlim=(-0.6, 11.6), ylim=(11.6, -0.6), xticks=[], yticks=[], aspect="equal")


figure = new_figure()
for which, axes in enumerate(figure.subplots(1, 3)):
    draw_recall(axes, test, which)
describe(
    figure,
    "three square fields, each with four filled squares in four colours, numbered from 0 to 3, and eight "
    "empty rings in the same colours, all scattered at random.",
)

# %% [markdown]
# The network: a 1 × 1 convolution to 32 channels, **one block**, a 1 × 1 convolution to four logits. So only the block can carry
# anything from one pixel to another. Three blocks:
#
# - a **3 × 3 convolution** sees near pixels only;
# - **everyone's average** sees all pixels and compares nothing: a non-local block in which every weight is 1/n (its θ and φ are idle);
# - the **non-local block** sees all pixels and compares.


# %%
class Average(NonLocal):
    """A non-local block that does not compare: every pixel gets the average of all values."""

    def forward(self, x):
        y = self.value(x).mean(dim=(2, 3), keepdim=True)  # b d 1 1
        return x + self.norm(self.output(y.expand(-1, -1, *x.shape[2:])))


# %%
blocks = {
    "convolution 3 × 3": lambda: nn.Conv2d(32, 32, 3, padding=1),
    "everyone's average": lambda: Average(32),
    "non-local": lambda: NonLocal(32),
}

# %% [markdown]
# **We predict.** The convolution knows the answer only if the source is one of its 8 neighbours among 143 other pixels; else it
# guesses: $8/143 + (1 - 8/143)/4 \approx 0.29$. The average tells how often each number occurs, so the best answer is the most frequent one.
# *Before running: four sources, four numbers: how often is the most frequent number right?* (The exact value is printed below.)

# %%
draws = torch.cartesian_prod(*[torch.arange(4)] * 4)  # all 256 ways to give four sources their numbers
most = F.one_hot(draws, 4).sum(dim=1).amax(dim=1)  # how many sources hold the most frequent number
print(f"the most frequent number is right in {most.float().mean() / 4:.2f} of the questions")

# %% [markdown]
# **Train each block three times**, with equal data, steps and learning rate. Only the asking pixels count. This takes about 20 seconds.


# %%
def train_with(name, seed, steps=120):
    """The network with this block, trained; and the share of the test questions that it answers."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(10, 32, 1), blocks[name](), nn.Conv2d(32, 4, 1))
    fit(model, train.images, train.targets, steps=steps, one_cycle=False, seed=seed, title=name)
    return model, accuracy(model, test.images, test.targets)


# %%
trained = {name: [train_with(name, seed) for seed in (0, 1, 2)] for name in blocks}

# %%
right = {name: torch.tensor([share for _, share in runs]) for name, runs in trained.items()}
for name, shares in right.items():
    learned = sum(p.numel() for p in blocks[name]().parameters())
    print(f"{name:18} {learned:5} numbers   right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
assert (right["non-local"] > 0.95).all()
assert ((right["everyone's average"] > 0.38) & (right["everyone's average"] < 0.6)).all()
assert (right["convolution 3 × 3"] < 0.36).all()

# %% tags=["folded"]
figure = new_figure(7.0, 1.7)
plot_runs(figure.subplots(), right, guess=0.25)
describe(
    figure,
    "shares of right answers, three dots for each block, and a dotted line of guessing at 0.25: the convolution lies "
    "just right of the line near 0.3, everyone's average near 0.5, the non-local block at 1.",
)

# %% [markdown]
# **Read it.** Seeing far is worth something: the average comes near the best that it can know. In this network, *comparing* is worth the rest, from about
# a half to all. The convolution has four times more learned numbers than the non-local block, and they do not help it.
# Three warnings. The task was *made* for look-ups. Eleven 3 × 3 convolutions in a row would also reach all pixels. And this network has no hidden layer,
# so its average can only count; between hidden layers an average could in principle carry a table of all 16 pairs of colour and number.
#
# **Whom do the queries ask?** We know where the right source is. *Before running: how much of its weight should a query put there?*

# %%
model = trained["non-local"][0][0].eval()
with torch.no_grad():
    maps = model[1].attention(model[0](test.images))  # b n n

# %% tags=["answer"]
keys = test.images[:, :4].flatten(2)  # b 4 n
is_right = (keys.mT @ keys) * test.sources.flatten(1)[:, None, :]  # b n n: the same colour, and a source
asks = test.queries.flatten(1)  # b n
print(f"a query's weight on the right source ≈ {(maps * is_right).sum(-1)[asks].mean():.2f}")
assert (maps * is_right).sum(-1)[asks].mean() > 0.8

# %% [markdown]
# ## Real features: whom does an eye ask?
#
# Now we take *features* in place of patches: the outputs of a convolutional network that was trained on ImageNet and never saw attention (EfficientNet-Lite0, eleven blocks).
# Nothing is learned here: the weights are a softmax of 8 times the cosine between the features of two places.
#
# **Move the asking place and the depth.** The colours end at the largest weight of the *others*, since a place is most like itself.

# %%
cat = load_photograph("cat", height=200)
trunk = load_trunk()


def draw_asked(figure, across=0.39, down=0.40, block=7):
    """Whom the place asks that lies this far across and down the photograph, by the features of this block."""
    features = trunk(cat[None], block=block)[0]
    place = int(down * features.shape[1]), int(across * features.shape[2])
    weights = ask(features, *place)
    title = f"block {block}: {features.shape[0]} channels, weight on itself ≈ {weights[place]:.2f}"
    show_asked(figure.subplots(), cat, weights, place, title=title)


# %% tags=["widget"]
steer(
    draw_asked,
    height=4.6,
    across=slider("across", sorted([k / 20 for k in range(1, 20)] + [0.39]), value=0.39),
    down=slider("down", [k / 10 for k in range(1, 10)], value=0.4),
    block=slider("block", [1, 2, 4, 6, 7, 9, 10], value=7),
)

# %% [markdown]
# The same without a widget, the left eye at three depths:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 2.2)
for panel, block in zip(figure.subfigures(1, 3), (2, 7, 10)):
    draw_asked(panel, block=block)
    panel.axes[0].set_title(f"block {block}")
describe(
    figure,
    "a cat's face three times, darkened, with a ring on its left eye. At block 2, some small bright spots: in the other eye, in "
    "the fur, at the nose. At block 7, one bright cell besides: the other eye. At block 10, the other eye and cells beside the ring.",
)

# %% [markdown]
# One eye asks the other, across the whole face. At block 2 the map looks different. *Is that the depth, or only the size of the cells?* A cell of block 2
# is a sixteenth as large. **Three controls, all with the 13 × 19 cells of block 7:** block 2, averaged; plain colours, averaged; and block 7 of the same network with
# random weights, three times. *Before running: in which of the three is the other eye the place most alike?*


# %%
def to_cells(features):
    """Averaged to the cells of block 7: c h w -> c 13 19."""
    return F.adaptive_avg_pool2d(features, (13, 19))


def random_trunk(seed):
    """The same network with random weights."""
    torch.manual_seed(seed)
    trunk = load_trunk()
    for p in trunk.parameters():
        nn.init.kaiming_normal_(p) if p.dim() > 1 else nn.init.zeros_(p)
    return trunk


# %%
def other_eye(features, sharpness=8):
    """The weight on the other eye, and how many of the 246 other places get more."""
    weights = ask(features, 5, 7, sharpness=sharpness)
    weights[5, 7] = 0  # the asking place
    return weights[6, 13].item(), (weights > weights[6, 13]).sum().item()


# %% tags=["answer"]
found = {
    "block 7": other_eye(trunk(cat[None], block=7)[0]),
    "block 2, averaged": other_eye(to_cells(trunk(cat[None], block=2)[0])),
    "colours, averaged": other_eye(to_cells(cat)),
    "colours, 300 times the cosine": other_eye(to_cells(cat), sharpness=300),
} | {f"block 7, random weights {seed}": other_eye(random_trunk(seed)(cat[None], block=7)[0]) for seed in (0, 1, 2)}
for name, (weight, ahead) in found.items():
    print(f"{name:29} weight ≈ {weight:.3f}, more on ≈ {ahead} places")

# %%
(deep, _), (shallow, _), (colours, _), (sharp, _), *_ = found.values()
assert min(deep, shallow, sharp) > 0.15 > 0.05 > colours
assert [ahead == 0 for _, ahead in found.values()] == 4 * [True] + 3 * [False]

# %% [markdown]
# **Read it.** We expected that only the middle of the network knows an eye, and that early blocks compare mere texture. That was *wrong*, twice. Block 2, averaged to
# cells of the same size, finds the other eye as well; and so do plain colours: no other place is more alike. Their weight is small because 8 was chosen for features; times 300, it is
# as large as that of block 7. So this question does not need a trained network (only random weights fail). And a weight can be compared between two maps only if both are equally sharp.
# What the picture does *not* show: that a network would *use* this. These weights were made by us from likeness, and most of the weight stays on the asking place itself
# (its share stands above the picture that you steer).
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 09 non-local means | patch of pixel i | patch of pixel j | pixel j | n n | softmax over the keys | n² · (d + c) |
# | 09 non-local block | θ(x) | φ(x) | g(x) | n n | softmax over the keys | n² · c + projections |
#
# ## Three things to keep
#
# 1. Non-local means and the non-local block are one look-up: compare, softmax **over the keys**, mix. The block learns what "alike" means.
# 2. In denoising, *likeness* did the work and reach hardly any. In our recall network, reach alone gave about half, and comparing gave the rest.
# 3. It starts as the **identity**, knows **no place**, and its map has **n × n** weights.
#
# **Now the [exercise](../exercises/09_non_local.ipynb).** What follows goes deeper; each section can be read alone. Next lesson: 10, do the pixels even ask
# different questions?

# %% [markdown]
# ## Deeper · Where the decibels come from (8 minutes)
#
# **The size of the patch.** A patch of 1 × 1 compares single noisy pixels. The gain over the best blur in decibels, in a window of 7 × 7, for all six
# photographs of the course. *Before running: which patch will win?*

# %% tags=["answer"]
names = ("temple", "flower", "coffee", "astronaut", "rocket", "cat")
gains = torch.tensor(
    [[torch.tensor(best_of(name, (7,), size)).diff().item() for size in (1, 3, 5)] for name in names]
)
print("patch        1 × 1     3 × 3     5 × 5")
for name, row in zip(names, gains.tolist()):
    print(f"{name:10}", *(f"≈ {gain:+5.1f}  " for gain in row))

# %%
assert (gains[:, 1] > 0.2).all() and (gains[:, 0] < gains[:, 1]).all()

# %% [markdown]
# Patches of 3 × 3 beat the blur on all six photographs, and they beat single pixels.
#
# **And where in the picture?** We look at the sky, the temple and the bushes apart. There is a rival explanation: the blur has *one* width for the whole
# photograph. So we also let it choose a width for each region. *Before running: what will be left of the gain?*


# %%
def gains_in(rows, columns):
    """By how many decibels the look-up beats, in this region, the best blur of the photograph and that of the region."""
    part = (slice(None), slice(*rows), slice(*columns))
    found = psnr(pictures["look-up in 7 × 7 pixels"][part], clean[part])
    of_region = max(psnr(blur(noisy, sigma)[part], clean[part]) for sigma in (0.6, 0.7, 0.8, 1.0, 1.5, 2.0, 3.0))
    return found - psnr(pictures["best blur"][part], clean[part]), found - of_region


# %% tags=["answer"]
REGIONS = {"sky": ((0, 20), (62, 96)), "temple": ((14, 50), (14, 54)), "bushes": ((54, 64), (0, 96))}
regions = {name: gains_in(*place) for name, place in REGIONS.items()}
for name, (over_one, over_own) in regions.items():
    print(f"{name:7} over one width ≈ {over_one:+.1f} dB, over its own width ≈ {over_own:+.1f} dB")
assert regions["sky"][0] > 2 and max(own for _, own in regions.values()) < 1

# %% [markdown]
# Most of the gain lies in the sky; and a blur that may be wide there and narrow at the temple is nowhere much worse than the look-up. So likeness does what
# a blur of *changing* width would do, and nobody has to tell it where the sky is.
#
# **Now the guess of the walk**: far patches are alike by chance, because of the noise. We compare the *clean* patches, which nobody has, and average the noisy
# pixels as before. *Before running: coffee and cat lost by looking far. If the guess is right, what will they do now?*


# %%
def by_clean_likeness(name, windows):
    """The PSNR in each window, with its bandwidth, when clean patches are compared and noisy pixels averaged."""
    truth = load_photograph(name, height=64)
    image = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    patches = patches_of(truth, 3)  # n d
    distances = torch.cdist(patches, patches).square() / patches.shape[1]  # n n
    places = torch.cartesian_prod(*(torch.arange(side) for side in truth.shape[1:])).float()  # n 2
    steps, found = torch.cdist(places, places, p=math.inf), []  # n n
    for window, bandwidth in windows.items():
        inside = distances.masked_fill(steps > window // 2, math.inf)
        mixed = (-inside / bandwidth**2).softmax(dim=-1) @ image.flatten(1).mT  # n c
        found.append(psnr(mixed.mT.view_as(image), truth))
    return found


# %% tags=["answer"]
for name in ("coffee", "cat"):
    near, wide = by_clean_likeness(name, {7: 0.07, 41: 0.05})  # of 0.03 to 0.09, the best
    print(f"{name:7} by clean likeness: 7 × 7 ≈ {near:.1f} dB, 41 × 41 ≈ {wide:.1f} dB")
    assert wide > near + 0.2 and decibels[name][4] < decibels[name][2] - 0.3, "reach pays, but only without the noise"

# %% [markdown]
# Reach pays as soon as noise does not disturb the comparison: the guess holds. The two bandwidths, too, were chosen by looking at the clean image, so only their *difference* means something.
#
# ## Deeper · Four pairings, and a map that must not be read (5 minutes)
#
# The paper tries four ways to compare two positions:
#
# | pairing | $f(x_i, x_j)$ | divided by |
# |---|---|---|
# | `gaussian` | $\exp(x_i^\top x_j)$ | the sum over the keys: a softmax |
# | `embedded_gaussian` | $\exp(\theta(x_i)^\top \phi(x_j))$ | the sum over the keys: a softmax |
# | `dot_product` | $\theta(x_i)^\top \phi(x_j)$ | n, the number of keys |
# | `concatenation` | $\mathrm{ReLU}(w_f^\top [\theta(x_i), \phi(x_j)])$ | n, the number of keys |
#
# *Before running: which maps have rows that sum to 1, and which have negative weights?*

# %% tags=["answer"]
for pairing in ("gaussian", "embedded_gaussian", "dot_product", "concatenation"):
    weights = NonLocal(8, pairing=pairing).attention(x)
    print(
        f"{pairing:18} row sums ≈ {weights.sum(-1).min():.2f} to ≈ {weights.sum(-1).max():.2f}, smallest ≈ {weights.min():.2f}"
    )
    softmax = pairing in ("gaussian", "embedded_gaussian")
    assert torch.allclose(weights.sum(dim=-1), torch.ones(2, 15), atol=1e-5) == softmax

# %% [markdown]
# Only the first two are shares. A negative weight *subtracts* what another pixel holds. **We predicted that the dot product fails at recall**, because no
# softmax singles out *one* source. Train it for 240 steps:

# %%
blocks["dot product"] = lambda: NonLocal(32, pairing="dot_product")
late = [train_with("dot product", seed, steps=240) for seed in (0, 1, 2)]
print("right ≈", *(f"{share:.2f}" for _, share in late))
assert min(share for _, share in late) > 0.9

# %% [markdown]
# *The prediction was wrong.* So whom do its queries ask? Weights may be negative, so we compare their sizes.

# %%
model = late[0][0].eval()
with torch.no_grad():
    signed = model[1].attention(model[0](test.images)).abs()  # b n n
no_value = ~test.sources.flatten(1)[:, None, :]  # b 1 n
for name, one in (("on the right source", is_right), ("on pixels without a value", no_value)):
    share = ((signed * one).sum(-1) / signed.sum(-1))[asks].mean()
    print(f"{name:26} ≈ {share:.2f}")
assert share > 0.6

# %% tags=["folded"]
asked = test.queries[0].nonzero()[[0, 3, 4]]  # three queries with different keys: y, x
figure = new_figure(7.0, 4.2)
grid = figure.subplots(2, 4)
for k, (name, found) in enumerate({"non-local": maps, "dot product": signed}.items()):
    draw_recall(grid[k, 0], test, 0)
    grid[k, 0].set_title(name)
    for column, (y, x_) in enumerate(asked.tolist(), start=1):
        show_weights(grid[k, column], found[0, 12 * y + x_].view(12, 12), title=f"row {y}, column {x_}")
        ring(grid[k, column], y, x_)
describe(
    figure,
    "two rows: the non-local block above, the dot product below. Left the image with its coloured squares and rings. Then a map for "
    "each of three query pixels. With softmax one cell is bright, at the square of the query's colour, and all others are dark. With the "
    "dot product that square is bright as well, but many rings are about half as bright, and all empty cells are a little above zero.",
)

# %% [markdown]
# Most of its weight lies on pixels that hold no value, and it answers well. What these pixels add does not depend on the right number, so $W_z$ and the last
# convolution can learn to ignore it. **A map need not point at the answer for the answer to be right.** Even a softmax map says nothing of what $W_z$ does
# with what was read.
#
# ## Deeper · Waking up from zero (4 minutes)
#
# The scale of the last norm starts at zero. *Before running: which parameters get a gradient in the first step?*


# %%
def reached(block):
    """The parameters that a gradient reaches; then one step of gradient descent."""
    block.zero_grad()
    (block(x) * wanted).sum().backward()
    names = [name for name, p in block.named_parameters() if p.grad.abs().max() > 1e-6]
    torch.optim.SGD(block.parameters(), lr=0.1).step()
    return names


# %% tags=["answer"]
torch.manual_seed(0)
fresh, wanted = NonLocal(8), torch.randn(2, 8, 5, 3)
print("first step: ", first := reached(fresh))
print("second step:", second := reached(fresh))
assert first == ["norm.weight", "norm.bias"] and {"query.weight", "key.weight", "output.weight"} <= set(second)

# %% [markdown]
# A scale of zero blocks the way to everything behind it. One step later it is no longer zero, and θ, φ, g and $W_z$ wake up. A block that starts with *two* zeros in
# a row never wakes: the gradient of each contains the other.

# %%
asleep = NonLocal(8)
nn.init.zeros_(asleep.output.weight), nn.init.zeros_(asleep.output.bias)
later = [reached(asleep) for _ in range(5)]
print("two zeros, fifth step:", later[-1])
assert later[-1] == ["norm.bias"]

# %% [markdown]
# ## Deeper · Fewer keys (3 minutes)
#
# **Sub-sampling** max-pools x by 2 × 2 before φ and g, not before θ: every pixel still asks, but only n/4 answer. The output keeps its size.

# %%
torch.manual_seed(0)
fewer = NonLocal(8, subsample=2).eval()
ported = NonLocal(8, subsample=2, pool_input=False).eval()
ported.load_state_dict(fewer.state_dict())
large = torch.randn(2, 8, 6, 10)
difference = (fewer.attention(large) - ported.attention(large)).abs().max()
print(
    "map", list(fewer.attention(large).shape), " output", list(fewer(large).shape), f" difference ≈ {difference:.2f}"
)
assert difference > 0.01

# %% [markdown]
# The difference: the paper's equation pools *before* φ and g; its text pools what comes *out*. The largest of four inputs, projected, is not the
# largest of four projections. Weights moved from one to the other silently give other numbers. And with pooling the block does know a little of places:
# shuffle the pixels, and other four share a window.
#
# ## Deeper · A gate asks nobody (5 minutes)
#
# Many blocks called attention are *gates*: they multiply x where it is. A channel gate (lesson 03) has one factor for each channel, a spatial
# gate one for each pixel. In their barest form, the factor is the sigmoid of an average.

# %%
torch.manual_seed(0)
look_up = NonLocal(8).eval()
nn.init.ones_(look_up.norm.weight)
gates_and_look_up = {
    "channel gate": lambda x: x * x.mean(dim=(2, 3), keepdim=True).sigmoid(),
    "spatial gate": lambda x: x * x.mean(dim=1, keepdim=True).sigmoid(),
    "look-up": look_up,
}

# %% [markdown]
# Two questions. **Two images are empty at the first pixel and differ elsewhere: how much do the outputs there differ?** And: **change the first pixel
# of an image: how much does the output at the last pixel change?** *Before running: which of the three brings anything from one pixel to another?*

# %%
one, other = torch.randn(2, 1, 8, 6, 10, generator=torch.Generator().manual_seed(1))
one[..., 0, 0] = other[..., 0, 0] = 0
changed = one.clone()
changed[..., 0, 0] += 1

# %% tags=["answer"]
for name, gate in gates_and_look_up.items():
    arrives = (gate(one) - gate(other))[..., 0, 0].abs().max().item()
    notices = (gate(one) - gate(changed))[..., -1, -1].abs().max().item()
    print(f"{name:13} first pixel: ≈ {arrives:.3f}   last pixel: ≈ {notices:.3f}")
    expected = {"channel gate": (False, True), "spatial gate": (False, False), "look-up": (True, True)}
    assert (arrives > 1e-3, notices > 1e-5) == expected[name]

# %% [markdown]
# Gates make louder or softer what is already in place. The channel gate decides from the whole image, this spatial gate from one pixel. Neither carries
# content from pixel to pixel. Only the look-up does.
#
# Is attention *addressing*? Where a query is compared with keys, yes, softly: the answer is a mixture. A gate addresses nothing: it has no query and no key.
#
# ## Deeper · Video (4 minutes)
#
# In video, the positions are t · h · w, and everything else stays (`dims=3`). **A digit moves through six frames. A pixel of frame 0 asks
# all pixels of all frames.** The features of a pixel are the 7 × 7 patch around it, as a vector of length 5. The pairing is `gaussian`: nothing is
# learned. *Before running: 24 × 24 pixels and six frames; how many keys?*

# %%
video = moving_digits(8, seed=0)[0][4:5]  # 1 1 t h w, an 8
frames = [F.unfold(F.pad(frame, (3,) * 4), 7).unflatten(2, (24, 24)) for frame in video.unbind(dim=2)]
stacked = torch.stack(frames, dim=2)  # 1 49 t h w

# %% tags=["answer"]
features = 5 * F.normalize(stacked - stacked.mean(dim=1, keepdim=True), dim=1)
weights = NonLocal(49, pairing="gaussian", dims=3).attention(features)
seen = weights.view(6, 24, 24, 6, 24, 24)[0, 14, 14]  # t h w, for the query at frame 0, row 14, column 14
print("map", list(weights.shape), "largest weight in each frame at", [divmod(int(w.argmax()), 24) for w in seen])

# %% tags=["folded"]
figure = new_figure(7.0, 2.6)
panels = figure.subplots(2, 6)
for k in range(6):
    show_image(panels[0, k], video[0, 0, k], title=f"frame {k}: {seen[k].sum():.2f}")
    show_weights(panels[1, k], seen[k], top=seen.max())
ring(panels[0, 0], 14, 14)
describe(
    figure,
    "above, six frames of an 8 that moves from the lower right to the upper left, each with the weight that falls into it; a ring on "
    "its waist in frame 0. Below, one or two bright cells in each frame, which move with the digit; in frame 2 they are hardly visible.",
)

# %% [markdown]
# The look-up follows the same stroke of the digit without any notion of motion. But frame 2 gets a tenth of the weight of frame 4. Nothing tells the block that
# frame 2 is nearer. A guess: between frames 0 and 2 the digit moved by half pixels, not by whole ones, so its patches look a little different. How far did its middle move?

# %%
path = torch.tensor([divmod(int(w.argmax()), 24) for w in seen])
light = video[0, 0].sum(dim=2)  # t h
middle = light @ torch.arange(24.0) / light.sum(dim=1)  # the row of the digit's middle in each frame
moved = middle[0] - middle
print("pixels moved up ≈", *(f"{one:.2f}" for one in moved))
assert abs(moved[2] - 2.5) < 0.1 and abs(moved[4] - 5) < 0.1, "half a pixel off in frame 2, whole in frame 4"
assert (path.diff(dim=0) < 0).all(), "up and left in every frame, like the digit"
assert seen[2].sum() < 0.2 * seen[4].sum()

# %% [markdown]
# ## Deeper · The price: n × n (6 minutes)
#
# The map of one 97 × 97 feature map (769 × 769 pixels at stride 8, as in segmentation) has $(97^2)^2 = 88.5$ million weights, 354 MB in single
# precision, and training must keep it. Four times the pixels, sixteen times the map.
#
# **The map never has to exist as a whole.** A fused kernel goes through the keys in pieces and keeps for each query only
# the running sum of exponentials and the running mixture. We count the bytes that each way keeps for the backward pass, beside its
# inputs.


# %%
def with_map(query, key, value):
    """Compare, share out, mix: b 1 n d, b 1 n d, b 1 n d -> b 1 n d."""
    return (query @ key.mT).softmax(dim=-1) @ value


def fused(query, key, value):
    """The same without the map; scale=1, since the paper's block does not divide by √d."""
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


# %% [markdown]
# *Before running: n = 64 × 64 and 4 bytes a number; how large is the map?*

# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
inputs = [torch.randn(1, 1, 64 * 64, 16, generator=generator).requires_grad_() for _ in range(3)]
torch.testing.assert_close(with_map(*inputs), fused(*inputs))
much, little = kept_for_backward(with_map, *inputs), kept_for_backward(fused, *inputs)
print(f"kept with the map ≈ {much / 1e6:.1f} MB, without ≈ {little / 1e6:.1f} MB")
assert much == 4 * 4096**2 and little < much / 30

# %% [markdown]
# The *work* is still n × n; only the memory is not. The dot product can do better, because nothing stands between its two products:
# $(Q K^\top) V = Q (K^\top V)$, and $K^\top V$ has only d × d numbers, however large the image. With a softmax in between, the brackets cannot be
# moved; lesson 11 asks what to give up for that.

# %%
query, key, value = (t.detach()[0, 0, :1000] for t in inputs)
first, second = query @ key.mT, key.mT @ value
torch.testing.assert_close(first @ value / 1000, query @ second / 1000, rtol=1e-4, atol=1e-4)
print(f"same numbers; in between {first.numel()} or {second.numel()} of them")

# %% [markdown]
# ## Deeper · What to believe (1 minute)
#
# On Kinetics (ResNet-50, top-1) the paper reports 71.8 % without and 73.8 % with five blocks, and hardly any difference between the pairings. Our recall task
# shows what the block can do and a small kernel cannot, not how much natural images need it.
#
# *References.* Buades, Coll, Morel, A Non-Local Algorithm for Image Denoising, CVPR 2005, doi 10.1109/CVPR.2005.38.
# Wang, Girshick, Gupta, He, Non-local Neural Networks, CVPR 2018, arXiv 1711.07971.
# Dao, Fu, Ermon, Rudra, Ré, FlashAttention: Fast and Memory-Efficient Exact Attention with IO-Awareness, NeurIPS 2022, arXiv 2205.14135.
# Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019, arXiv 1905.11946.
