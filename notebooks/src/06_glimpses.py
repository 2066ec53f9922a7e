# %% [markdown]
# # 06 · Glimpses
#
# **Can a network decide where to look next?**
#
# After this lesson you will be able to
#
# - build a retina that sees sharply in the middle and coarsely around it, and say what its cost depends on;
# - derive the gradient that trains the choice of a place, and say which of three losses trains which part;
# - tell by a measurement whether a network chooses well.
#
# *Minutes:* 43, deeper 20 · *Needs:* 02 · *Paper:* Mnih et al., Recurrent Models of Visual Attention, 2014, arXiv 1406.6247; Ba et al., Multiple Object Recognition with Visual Attention, 2015, arXiv 1412.7755 · *Exercise:* [06 glimpses](../exercises/06_glimpses.ipynb) · *Module:* [glimpse.py](../course_lib/spatial/glimpse.py)
#
# Out of scope: choosing a place with a gradient, by warping the image (07), and zooming in by stages (18).

# %%
import copy
from itertools import pairwise

import torch
from matplotlib.patches import Rectangle
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F

from course_lib.data.canvases import digit_canvases
from course_lib.data.photographs import load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, describe, new_figure, show_image, show_weights
from course_lib.spatial.glimpse import Episode, RecurrentAttention, gaussian_log_prob, hybrid_loss, retina
from course_lib.training import fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## A retina by hand
#
# Your eye sees sharply in a small spot, and coarsely around it. A retina copies that: a small
# square of pixels, then a square twice as wide, shrunk to the same size, and so on. A place (x, y) has x = −1 at the left
# edge and 1 at the right, y = −1 on top and 1 below.
#
# **A 4 × 4 image with the values 0 to 15, looked at in its middle, with patches of 2 × 2.** *Before running: the sharp patch holds the four
# middle values. What are the four values of the coarse patch, which averages each quarter of the image?*

# %% tags=["answer"]
image = torch.arange(16.0).view(4, 4)
print(image.int())
sharp, coarse = image[1:3, 1:3], F.avg_pool2d(image[None], 2)[0]
print("sharp", sharp.tolist(), "  coarse", coarse.tolist())
assert coarse[0, 0] == (0 + 1 + 4 + 5) / 4

# %% [markdown]
# Eight numbers, for an image of 16 pixels or of a million.

# %% [markdown]
# ## The retina
#
# $$\rho(x, l) = \bigl[\mathrm{crop}_s,\ \mathrm{shrink}_2(\mathrm{crop}_{2s}),\ \mathrm{shrink}_4(\mathrm{crop}_{4s}),\ \dots\bigr]$$
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $x$ | image | b c h w | never seen as a whole |
# | $l$ | place | b 2 | (x, y), one for each image |
# | $s$ | size | | side of each patch, in pixels (the paper's g) |
# | $k$ | scales | | how many patches |
# | $\rho$ | what is seen | b kc s s | the sharpest patch first |
#
# **As loops: cut a square twice as wide each time, and shrink it by averaging.** Beyond the border all is zero. The square begins at
# the whole pixel that puts its middle nearest to the place.


# %%
def corner(location, height, width, side):
    """Column and row of the first pixel of a square around each place: … 2 -> … 2."""
    return ((location + 1) * torch.tensor([width, height]) / 2 - (side - 1) / 2).floor().int()


# %%
def retina_by_loops(image, location, size, scales):
    """Cut a square twice as wide each time, and shrink it by averaging: h w, (x, y) -> k s s."""
    (h, w), patches = image.shape, torch.zeros(scales, size, size)
    for k in range(scales):
        left, top = corner(location, h, w, size * 2**k).tolist()
        for i in range(size * 2**k):
            for j in range(size * 2**k):
                if 0 <= top + i < h and 0 <= left + j < w:
                    patches[k, i // 2**k, j // 2**k] += image[top + i, left + j] / 4**k
    return patches


# %% [markdown]
# **For a whole batch at once.** `unfold` is a view of all windows of one size; one indexing step picks a window of each image.


# %%
def retina_of_batch(images, location, size, scales):
    """The same for a batch, without a loop over images or pixels: b h w, b 2 -> b k s s."""
    h, w = images.shape[1:]
    edge, batch, patches = size * 2**scales, torch.arange(len(images)), []
    padded = F.pad(images, (edge, edge, edge, edge))
    for k in range(scales):
        left, top = (corner(location, h, w, size * 2**k) + edge).unbind(dim=1)
        windows = padded.unfold(1, size * 2**k, 1).unfold(2, size * 2**k, 1)  # b y x wide wide
        patches.append(F.avg_pool2d(windows[batch, top, left], 2**k))
    return torch.stack(patches, dim=1)


# %% [markdown]
# *Before running: five images of 13 × 17 pixels, patches of 4 × 4 at three scales; which shape?*

# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
images, places = torch.rand(5, 13, 17, generator=generator), 2 * torch.rand(5, 2, generator=generator) - 1
seen = retina(images[:, None], places, size=4, scales=3)
by_loops = torch.stack([retina_by_loops(one, place, 4, 3) for one, place in zip(images, places)])
print("seen:", list(seen.shape), "= b kc s s")

# %%
torch.testing.assert_close(seen, retina_of_batch(images, places, 4, 3))
torch.testing.assert_close(seen, by_loops)

# %% [markdown]
# ## Real features: what does it see?
#
# **Look at a photograph at one place, with 12 × 12 pixels and four scales**. Then paste each patch back where it was cut, the coarsest first. What stays
# black is never seen.


# %% tags=["folded"]
def what_is_seen(image, location, size, scales):
    """The patches of a retina, each pasted where it was cut, the coarsest first: c h w, (x, y) -> c h w."""
    c, h, w = image.shape
    patches = retina(image[None], location[None], size, scales)[0].unflatten(0, (scales, c))
    edge = size * 2**scales
    seen = torch.zeros(c, h + 2 * edge, w + 2 * edge)
    for k in reversed(range(scales)):
        side = size * 2**k
        left, top = (corner(location, h, w, side) + edge).tolist()
        seen[:, top : top + side, left : left + side] = F.interpolate(patches[None, k], scale_factor=2**k)[0]
    return seen[:, edge:-edge, edge:-edge]


# %% [markdown]
# **Move the retina yourself.** From which places can you tell the badge on the suit?


# %% tags=["folded"]
astronaut = load_photograph("astronaut", height=160)


def draw_squares(axes, place, scales):
    """The squares of the retina."""
    for k, colour in zip(range(scales), COLOURS):
        side = 12 * 2**k
        box = corner(place, *astronaut.shape[1:], side).tolist()
        axes.add_patch(Rectangle(box, side, side, fill=False, edgecolor=colour, linewidth=2))


def draw_retina(figure, x, y, scales=4):
    """The photograph with the squares of the retina, and what the network would see."""
    place = torch.tensor([x, y])
    left, right = figure.subplots(1, 2)
    show_image(left, astronaut, title="where it looks")
    draw_squares(left, place, scales)
    show_image(right, what_is_seen(astronaut, place, 12, scales), title=f"what it sees: {scales} · 12 · 12 pixels")


# %% tags=["widget"]
steps = [round(-1 + 0.1 * i, 1) for i in range(21)]
x, y = slider("x", steps, value=-0.1), slider("y", steps, value=-0.5)
steer(draw_retina, x=x, y=y, scales=slider("scales", [1, 2, 3, 4], value=4), height=3.6)

# %% [markdown]
# The same without a widget, for two places:

# %% tags=["static", "folded"]
figure = new_figure(6.4, 6.6)
for panel, (x, y) in zip(figure.subfigures(2, 1), ((-0.1, -0.5), (-0.7, 0.3))):
    draw_retina(panel, x, y)
describe(
    figure,
    "two rows, each the photograph with four nested squares and what is seen from there. From the face: "
    "the face is sharp, the rest of the head coarse. From the sleeve at the left: the sleeve is sharp, a "
    "purple blob of squares hints at a badge. All is black beyond the widest square.",
)

# %% [markdown]
# **How much of its features is left?** The trunk, a network trained on ImageNet, sees the photograph and what the retina sees of it. At each place we compare
# the features of block 2 by their cosine; as a control, also from the sleeve. *Before running: 1 means the same, 0 nothing in common. In which square will it fall
# below a half?*


# %%
trunk, cells = load_trunk(), 4 * torch.arange(40) + 1.5  # the pixel in the middle of each cell


def likeness_of(place):
    """How alike the features of the photograph and of what is seen are: 40 40; and how far each cell is from the place."""
    both = torch.stack([astronaut, what_is_seen(astronaut, place, 12, 4)])
    features = trunk(both, block=2)
    whole, glimpsed = features - features.mean(dim=(2, 3), keepdim=True)  # c 40 40 each
    across, down = ((place + 1) * 80 - 0.5).tolist()
    away = torch.maximum((cells - across).abs()[None, :], (cells - down).abs()[:, None])
    return F.cosine_similarity(whole, glimpsed, dim=0), away


# %% tags=["answer"]
face, sleeve = torch.tensor([-0.12, -0.55]), torch.tensor([-0.7, 0.3])
rings = {"sharp": (-1, 6), "2": (6, 12), "3": (12, 24), "4": (24, 48), "beyond": (48, 200)}
for name, place in (("face", face), ("sleeve", sleeve)):
    alike, away = likeness_of(place)
    by_ring = {square: alike[(away > near) & (away <= far)].mean() for square, (near, far) in rings.items()}
    print(f"{name:7}", "  ".join(f"{square} ≈ {value:.2f}" for square, value in by_ring.items()))
    assert all(a > b + 0.05 for a, b in pairwise(by_ring.values()))

# %% tags=["folded"]
figure = new_figure(7.0, 3.4)
left, right = figure.subplots(1, 2)
show_image(left, astronaut, title="photograph")
draw_squares(left, face, 4)
show_weights(right, likeness_of(face)[0].clamp(min=0), title="cosine of the features (yellow: the same)", top=1.0)
describe(
    figure,
    "left, the astronaut with four nested squares on the face; right, a map of 40 × 40 cells: bright where the squares are smallest, "
    "greener outwards, dark beyond the widest square except on the black helmet.",
)

# %% [markdown]
# **Read it.** Where the patch is sharp, most of these features survive, and each wider square loses more, at both places. (Bright spots below: helmet and shelf are black,
# as is what was never seen.) What the map does *not* show: where one *should* look. That must be learned.
#
# What it costs depends on s and k alone:

# %%
for side in (60, 600):
    large = torch.zeros(1, 1, side, side)
    print(f"{side} × {side} pixels: {retina(large, torch.zeros(1, 2), 12, 4).numel()} numbers are seen")
assert retina(large, torch.zeros(1, 2), 12, 4).numel() == 4 * 12 * 12

# %% [markdown]
# ## The network: see, remember, choose, answer

# %% tags=["folded"]
diagram(RecurrentAttention)

# %% [markdown]
# RAM (recurrent attention model, 2014) looks T times. Each $W$ below is a matrix of its own, and has a bias,
#
# $$g_t = \mathrm{ReLU}\bigl(W\,\mathrm{ReLU}(W \rho(x, l_t)) + W\,\mathrm{ReLU}(W l_t)\bigr)$$
# $$m_t = \mathrm{ReLU}(W m_{t-1} + W g_t)$$
#
# $$\mu_{t+1} = W m_t \qquad l_{t+1} \sim \mathcal N(\mu_{t+1}, \sigma^2 I) \qquad y = \mathrm{softmax}(W m_T)$$
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $g_t$ | glimpse | b d | what was seen *plus* where |
# | $m_t$ | memory | b d | everything seen so far (h in the paper and in the diagram, whose k counts classes); $m_0 = 0$ |
# | $\mu_t$ | mean | b 2 | where it would like to look |
# | $l_t$ | place | b 2 | where it does look: the mean plus noise in training, the mean itself in use |
# | $\sigma$ | spread | | how far it strays, fixed |
# | $y$ | answer | b classes | read from the last memory only |
#
# In $\mathrm{Attention}(x) = f(g(x), x)$ the places are $g$, and $f$ reads the image there. The rule by which a place is drawn is called the *policy*; one
# image, from the first glimpse to the answer, is an *episode*.
#
# **The equations as a loop, and `RecurrentAttention`.** The first glimpse falls in the middle.

# %%
torch.manual_seed(0)
ram = RecurrentAttention(1, 10, glimpses=3, size=4, scales=2, hidden_dim=32, glimpse_dim=16).eval()


def ram_by_hand(images):
    """Look, remember, choose where to look next; after three looks, answer: b 1 h w -> b 10."""
    place, memory = torch.zeros(len(images), 2), torch.zeros(len(images), 32)
    for _ in range(3):
        what, where = ram.glimpse.image(retina(images, place, 4, 2)), ram.glimpse.location(place)
        memory = ram.core.cell((what + where).relu(), memory)
        place = ram.locate(memory).clamp(-1, 1)
    return ram.classify(memory)


# %%
torch.testing.assert_close(ram_by_hand(images[:, None]), ram(images[:, None]))
print("places", list(ram.attention(images[:, None]).shape), "= b t 2")

# %% [markdown]
# ## How do you learn where, when looking has no gradient?
#
# A crop is made of whole pixels. Move the place by a millionth, and nothing changes. **Ask autograd.**
# *Before running: does the crop have a gradient for the image, for the place, for both?*

# %% tags=["answer"]
x, place = images[:, None].clone().requires_grad_(), places.clone().requires_grad_()
retina(x, place, 4, 2).sum().backward()
reached = 0.0 if place.grad is None else place.grad.abs().max().item()
print(f"largest gradient: image ≈ {x.grad.abs().max():.2f}, place {reached}")
assert x.grad.any() and reached == 0

# %% [markdown]
# Lesson 02 knew a way: draw, be rewarded or not, and make rewarded draws likelier. Here the choice is a point, drawn from a Gaussian. We need the
# derivative of its log-density:
#
# $$\log \pi(l) = -\frac{\lVert l - \mu \rVert^2}{2\sigma^2} - 2 \log(\sigma \sqrt{2\pi}) \qquad \frac{\partial \log \pi}{\partial \mu} = \frac{l - \mu}{\sigma^2}$$
#
# Times the reward: *move the mean towards places that paid.* The check by hand: $l - \mu = (0.1, -0.2)$ and $\sigma = 0.1$.

# %%
mean = torch.tensor([[0.5, 0.5]], requires_grad=True)
gaussian_log_prob(torch.tensor([[0.6, 0.3]]), mean, 0.1).sum().backward()
print([round(value, 1) for value in mean.grad.tolist()[0]])
assert torch.allclose(mean.grad, torch.tensor([[10.0, -20.0]]))

# %% [markdown]
# A single estimate is noisy, the more so the smaller σ is (measured in a deeper section). So the network also learns to predict its reward, and only what differs from the
# prediction counts.
#
# **Clip the place, never the draw.** A draw may fall outside the image. Then the retina gets the nearest place on the border; but the log-density stays that of the
# draw *before* clipping. (What happens otherwise: a deeper section.)

# %% [markdown]
# ## Three losses for five parts
#
# The answer is trained by its label, the places by the reward $R$, and a third head learns to expect the reward, $e_t$ (the paper's baseline b):
#
# $$\underbrace{-\log y_{\text{true}}}_{\text{classification}} \;+\; \underbrace{\tfrac1T \sum_t (R - e_t)^2}_{\text{baseline}} \;-\; \underbrace{\sum_t \log \pi(l_t)\,[R - e_t]}_{\text{policy}}$$
#
# $R$ is 1 if the answer is right and 0 if not; $[\,\cdot\,]$ is a number without gradient, the *advantage*. Two more gradients are cut: the
# draw $l_t$, and the memory $m_t$ before the location head and before the baseline.
#
# **By hand, for one image and two glimpses.** The answer gives the true class one half and is right, so R = 1. The expected rewards were 0.4, then 0.8. Nobody chose the first
# place, so its log π is 0; that of the second is −2. *Before running: what are the three losses?*

# %% tags=["answer"]
logits = torch.full((1, 2, 10), -9.0)
logits[0, 1, 3], logits[0, 1, 7] = 0.001, 0.0  # two classes share all; class 3 is a little ahead
episode = Episode(torch.zeros(1, 2, 2), torch.tensor([[0.0, -2.0]]), torch.tensor([[0.4, 0.8]]), logits)
print([round(loss.item(), 1) for loss in hybrid_loss(episode, torch.tensor([3]))])
by_hand = torch.tensor([0.693, (0.6**2 + 0.2**2) / 2, -(0 * 0.6 + -2 * 0.2)])
torch.testing.assert_close(torch.stack(hybrid_loss(episode, torch.tensor([3]))), by_hand, atol=2e-3, rtol=0)

# %% [markdown]
# −log ½ = 0.7; the mean of 0.6² and 0.2² is 0.2; and −(−2) · 0.2 = 0.4.
#
# In `RecurrentAttention` the five parts are `glimpse` (sees), `core` (remembers), `classify` (answers), `expect` (predicts the reward) and `locate`
# (gives the mean). **Which loss trains which part?** Measure it: ask autograd, for each loss and each part, whether a gradient arrives.
# *Before running: which loss reaches the memory, `core`?*


# %%
def reaches(loss, part):
    """Whether the loss gives a gradient to any weight of this part of the network."""
    gradients = torch.autograd.grad(loss, list(part.parameters()), retain_graph=True, allow_unused=True)
    return any(one is not None and one.any() for one in gradients)


def routes(model, parts):
    """For each loss, the parts that it trains, on twenty images of noise."""
    torch.manual_seed(0)
    episode = model.train().episode(torch.rand(20, 1, 16, 16))
    losses = hybrid_loss(episode, torch.arange(20) % 10, torch.arange(20) % 2.0)._asdict()
    return {
        name: [part for part in parts if reaches(loss, model.get_submodule(part))] for name, loss in losses.items()
    }


# %% tags=["answer"]
ROUTED = ["glimpse", "core", "classify", "expect", "locate"]
for name, reached in (found := routes(RecurrentAttention(1, 10, glimpses=3), ROUTED)).items():
    print(f"{name:15} → {', '.join(reached)}")
assert list(found.values()) == [["glimpse", "core", "classify"], ["expect"], ["locate"]]

# %% [markdown]
# **No part has two teachers.** The location head must work with a memory that was made for answering.

# %% [markdown]
# ## The experiment: does choosing help?
#
# A digit of 12 × 12 pixels lies anywhere on a canvas of 32 × 32. The retina has 8 × 8 pixels and two scales: one look covers
# a quarter of the canvas, and only its middle sharply. The first look falls in the middle of the canvas. The memory
# has gates (`core="gru"`). The second look is the whole question:
#
# - **chosen** by the network, and learned by reward;
# - **random**, uniformly over the places where the middle of a digit may lie;
# - **centre**, the middle once more.
#
# *Claim: the chosen look is right more often than the random one and than the centre, by more than 5 points (of 100) each,
# on average.* If a random look does as well, a second view helps, and not the choice.

# %% tags=["folded"]
train_set = digit_canvases(6000, size=32, digit=(12, 12))
test_set = digit_canvases(1000, size=32, digit=(12, 12), test=True, seed=1)
figure = new_figure(7.0, 2.0)
for axes, image, label in zip(figure.subplots(1, 5), train_set.images, train_set.labels):
    show_image(axes, image[0], title=str(label.item()))
describe(figure, "five black squares, each with one small digit at another place, under its label.")


# %%
def then(places):
    """First a look in the middle, then these: n 2 -> n t 2."""
    return torch.stack([torch.zeros_like(places), places], dim=1)


def middle(images):
    """The middle once more."""
    return then(torch.zeros(len(images), 2))


def somewhere(images):
    """Uniformly over the places where the middle of a digit may lie: 6 to 26 of 32 pixels."""
    return then(0.625 * (2 * torch.rand(len(images), 2) - 1))


def its_own(images):
    """No places are given: the network chooses for itself."""


# %%
class Looking(nn.Module):
    """A network and the policy that gives it its places; calling it plays an episode."""

    def __init__(self, model, policy):
        super().__init__()
        self.model, self.policy = model, policy

    def forward(self, images):
        return self.model.episode(images, self.policy(images))


# %% [markdown]
# **A fair comparison.** All three share a beginning: the network learns to read with its second look at random. Then three copies go on, each under its
# own policy, with equally many updates. (`Looking` joins network and policy, so that `fit` can train them.)
#
# The reward for the choice is the probability of the true digit.


# %%
def all_losses(episode, labels):
    """Classification, baseline and policy together; the reward is the probability of the true class."""
    reward = episode.logits[:, -1].softmax(dim=-1).gather(1, labels[:, None])[:, 0]
    return sum(hybrid_loss(episode, labels, reward))


def answer_only(episode, labels):
    """Classification alone: a place that was given teaches nothing about choosing."""
    return F.cross_entropy(episode.logits[:, -1], labels)


# %%
def train(model, policy, steps, seed):
    """Train in place under a policy."""
    loss = all_losses if policy is its_own else answer_only
    settings = {"steps": steps, "batch_size": 128, "learning_rate": 6e-3, "seed": seed}
    fit(Looking(model, policy), train_set.images, train_set.labels, loss=loss, **settings)
    return model


# %%
@torch.no_grad()
def share_right(model, policy=its_own):
    """The share of right answers on unseen digits."""
    answers = Looking(model, policy).eval()(test_set.images).logits[:, -1].argmax(dim=1)
    return (answers == test_set.labels).float().mean().item()


# %%
def reader(seed):
    """The shared beginning: it learns to read with its second look at random."""
    torch.manual_seed(seed)
    sizes = {"glimpses": 2, "size": 8, "scales": 2, "hidden_dim": 96, "glimpse_dim": 64}
    return train(RecurrentAttention(1, 10, core="gru", std=0.25, **sizes), somewhere, 420, seed)


def goes_on(seed, policy):
    """A copy of the reader, trained further under a policy."""
    return train(copy.deepcopy(readers[seed]), policy, 350, seed + 10)


# %% [markdown]
# Three seeds, three policies each. About half a minute.

# %%
readers = [reader(seed) for seed in (0, 1, 2)]
choosing, wandering, staying = ([goes_on(seed, p) for seed in (0, 1, 2)] for p in (its_own, somewhere, middle))

# %%
chosen = torch.tensor([share_right(model) for model in choosing])
random = torch.tensor([share_right(model, somewhere) for model in wandering])
centre = torch.tensor([share_right(model, middle) for model in staying])
for name, shares in (("chosen", chosen), ("random", random), ("centre", centre)):
    print(f"{name:7} ≈ {' '.join(f'{one:.2f}' for one in shares)}   mean ≈ {shares.mean():.2f}")

# %%
assert (chosen > torch.maximum(random, centre)).all(), "in each seed the chosen look is best"
assert chosen.mean() > max(random.mean(), centre.mean()) + 0.05, "the claim"

# %% [markdown]
# **How good is that?** Four controls: the places chosen for *another* canvas; the chosen places *lent* to the networks that learned with random looks; the *true centre* of the digit;
# and one copy of the reader that goes on with true centres from the start. *Before running: which will read best, and how well?*


# %%
def true_centre(images):
    """The middle of the digit, that is, of what is bright on the canvas."""
    light = images[:, 0] / images.sum(dim=(1, 2, 3))[:, None, None]  # b h w
    steps = (2 * torch.arange(32) + 1) / 32 - 1
    return then(torch.stack([light.sum(dim=1) @ steps, light.sum(dim=2) @ steps], dim=1))


# %%
def with_places_of(eye, model, shift=0):
    """The share right of a model at the places that ``eye`` chose, for each canvas or for one ``shift`` before it."""
    with torch.no_grad():
        places = eye.eval().attention(test_set.images).roll(shift, dims=0)
    return share_right(model, lambda images: places)


# %% tags=["answer"]
foreign = torch.tensor([with_places_of(model, model, shift=1) for model in choosing])
lent = torch.tensor([with_places_of(eye, model) for eye, model in zip(choosing, wandering)])
shown = torch.tensor([share_right(model, true_centre) for model in choosing])
for name, shares in (("foreign places", foreign), ("lent to random", lent), ("true centre", shown)):
    print(f"{name:24} ≈ {' '.join(f'{one:.2f}' for one in shares)}   mean ≈ {shares.mean():.2f}")
told = share_right(goes_on(0, true_centre), true_centre)
print(f"trained with true centre ≈ {told:.2f}")

# %%
assert (foreign < chosen).all() and chosen.mean() - foreign.mean() > 0.04
assert lent.mean() > random.mean() + 0.04, "the places help a reader that never learned with them"
assert (shown > chosen).all() and shown.mean() < 0.85 < 0.9 < told

# %% [markdown]
# **Read it.** Choosing helps, and it is *this* canvas' place that helps: with foreign places most of the gain is gone, and lent to readers that never learned with them, the places bring nearly all of it. Shown the true centre, the same networks read only a little
# better. So is the place already nearly right? *No*: a network that always looked at the digit while it learned reads nearly all. Eye and reader learn together here, and both stop
# far from what two looks allow.
#
# **Where does it look?** The arrow leads to the chosen place; the square is the sharp patch there.


# %% tags=["folded"]
def draw_path(axes, image, path, title):
    """A canvas with the places that were looked at, joined by arrows."""
    side = image.shape[-1]
    show_image(axes, image, title=title)
    points = ((path.clamp(-1, 1) + 1) * side / 2 - 0.5).tolist()
    for start, end in pairwise(points):
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": COLOURS[1], "linewidth": 2})
    x, y = corner(path[-1], side, side, 8).tolist()
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 8, 8, fill=False, edgecolor=COLOURS[5], linewidth=2))


# %% tags=["folded"]
eye = choosing[0].eval()
with torch.no_grad():
    episode = eye.episode(test_set.images)
answers = episode.logits[:, -1].argmax(dim=1)
figure = new_figure(7.0, 4.0)
for k, axes in enumerate(figure.subplots(2, 4).flat):
    draw_path(axes, test_set.images[k, 0], episode.locations[k], f"{test_set.labels[k]} → {answers[k]}")
describe(
    figure,
    "eight canvases, each with an arrow from the middle to a chosen place and a square there. "
    "Most arrows point towards the side on which the digit lies; the squares often cut the digit, and some "
    "lie beside it.",
)


# %% [markdown]
# *Before running: is the chosen place much nearer to the digit than the middle is?*

# %% tags=["answer"]
digit, from_middle = test_set.centres, test_set.centres.norm(dim=1).mean()
with torch.no_grad():
    second = [model.eval().attention(test_set.images)[:, 1] for model in choosing]  # b 2 each
follows = [torch.corrcoef(torch.stack([place.flatten(), digit.flatten()]))[0, 1] for place in second]
distance = [(place - digit).norm(dim=1).mean() for place in second]
print("correlation of place and digit ≈", *(f"{one:.2f}" for one in follows))
print("distance to the digit ≈", *(f"{one:.2f}" for one in distance), f"  from the middle ≈ {from_middle:.2f}")

# %%
assert min(follows) > 0.2 and min(distance) > 0.6 * from_middle

# %% [markdown]
# **What contradicts the story.** The eye turns to the digit's side. But it does *not* put its sharp patch on the digit: its place is little nearer
# to it than the middle is. Nothing pays for being near, only for being right.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
# | 06 glimpses | what is in memory | none: it points, it does not compare | one crop | 0 or 1, a place drawn | none: a Gaussian over places | T · k · s², free of h · w |
#
# ## Three things to keep
#
# 1. A retina sees **k patches of s × s numbers**, however large the image; the coarse ones tell where to look.
# 2. A place has no gradient. The **score $(l - \mu)/\sigma^2$ of the unclipped draw, times the advantage**, replaces it, and trains the location head only.
# 3. **Compare with random, with staying, and with a network that was told.** A picture of paths proves nothing.
#
# **Now the [exercise](../exercises/06_glimpses.ipynb).** What follows goes deeper; each section can be read alone.

# %% [markdown]
# ## Deeper · Begin elsewhere (3 minutes)
#
# In the paper the first glimpse is random; ours is always in the middle. *Before
# running: what happens to the same networks when the first look falls anywhere?* And, as a control, when the second still falls where they would have looked from the middle?


# %%
def begins_anywhere(model):
    """The share of right answers when the first place is random and the second is chosen from there."""
    torch.manual_seed(0)
    wanderer = copy.deepcopy(model)
    wanderer.first = "random"
    return share_right(wanderer)


def keeps_its_choice(model):
    """The same, but the second place is the one chosen from the middle."""
    torch.manual_seed(0)
    with torch.no_grad():
        places = model.eval().attention(test_set.images)
    places[:, 0] = 2 * torch.rand(len(places), 2) - 1
    return share_right(model, lambda images: places)


# %% tags=["answer"]
elsewhere, kept = (torch.tensor([way(model) for model in choosing]) for way in (begins_anywhere, keeps_its_choice))
for name, shares in (("second look chosen from there", elsewhere), ("chosen from the middle", kept)):
    print(f"{name:29} ≈ {' '.join(f'{one:.2f}' for one in shares)}   lost ≈ {(chosen - shares).mean():.2f}")
assert (chosen - elsewhere).mean() > 0.08 and elsewhere.mean() < random.mean() and (kept > elsewhere).all()

# %% [markdown]
# All that choosing gained is lost, and more. With the same first looks but the old choice much less is lost: from elsewhere the network not only sees less, it *chooses* worse.
# A network that is trained with random beginnings may learn to cope; we did not try.

# %% [markdown]
# ## Deeper · Where the noise comes from (4 minutes)
#
# **Does it point the right way on average?** A toy on a line: the mean is at 0, and a place $l$ pays $1 - (l - 0.3)^2$. The expected reward is then $1 - 0.09 - \sigma^2$, and
# by the mean its derivative is $2 \cdot 0.3 = 0.6$, for every σ. *Before running: σ is tried from 0.05 to 0.4. Where will a single
# estimate be noisiest?* (The last column: the same after the *best* number was taken off every reward, a baseline.)


# %%
def estimates(std):
    """200 000 rewards R, and the scores (l − μ)/σ² that they are multiplied by."""
    place = std * torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    return 1 - (place - 0.3) ** 2, place / std**2


# %% tags=["answer"]
plain, best = [], []
for std in (0.05, 0.1, 0.2, 0.4):
    reward, score = estimates(std)
    baseline = (reward * score**2).mean() / (score**2).mean()
    plain.append((reward * score).std())
    best.append(((reward - baseline) * score).std())
    average = ((reward - baseline) * score).mean()
    print(f"σ = {std}: average ≈ {average:.2f}, spread ≈ {plain[-1]:4.1f}, with the best baseline ≈ {best[-1]:.1f}")
    assert abs(average - 0.6) < 0.02

# %%
assert all(a > 1.8 * b for a, b in pairwise(plain)), "without a baseline, a small σ is noisy"
assert all(a < b for a, b in pairwise(best)), "with the best one it is not"

# %% [markdown]
# Right on average for every σ. *Without* a baseline the noise grows as σ shrinks. With the best one it even falls: all that a small σ makes loud is the part of the reward that is the same everywhere.
# A predicted reward takes off most of that part.
#
# ## Deeper · Clip the place, never the draw (2 minutes)
#
# The clipped place is another random variable than the draw. Let the mean be 0.9, and let a
# look at the border pay 1. *Before running: all rewarded draws lie beyond 1. If they are recorded as exactly 1, is the gradient
# too large or too small?*

# %% tags=["answer"]
std, noise = 0.25, torch.randn(200_000, generator=torch.Generator().manual_seed(0))
drawn = 0.9 + std * noise
reward = (drawn >= 1).float()  # of the place on the border
exact = Normal(0.0, 1.0).log_prob(torch.tensor(0.1 / std)).exp() / std  # of P(l ≥ 1), by the mean
unclipped, clipped = ((reward * (place - 0.9) / std**2).mean() for place in (drawn, drawn.clamp(max=1)))
print(f"exact {exact:.2f}   unclipped ≈ {unclipped:.2f}   clipped ≈ {clipped:.2f}")
assert abs(unclipped - exact) < 0.05 and clipped < 0.5 * exact

# %% [markdown]
# ## Deeper · Does the weight of a loss matter? (2 minutes)
#
# The paper adds the three losses
# as they are; kevinzakka's port to PyTorch multiplies the policy's by 0.01. With an optimiser that divides by the gradient's size, like Adam, this hardly
# matters, since it rescales all that `locate` ever hears:

# %%
torch.manual_seed(0)
episode, moves = ram.train().episode(images[:, None]), []
policy = hybrid_loss(episode, torch.arange(5), reward=torch.arange(5) % 2.0).policy
for weight in (1.0, 0.01):
    twin = copy.deepcopy(ram.locate)
    (gradient,) = torch.autograd.grad(weight * policy, ram.locate.weight, retain_graph=True)
    twin.weight.grad = gradient
    torch.optim.Adam(twin.parameters(), lr=0.01).step()
    moves.append(twin.weight - ram.locate.weight)
assert torch.allclose(moves[0], moves[1], rtol=0.01, atol=1e-5)
print(f"Adam's first step: weight 1 ≈ {moves[0].abs().mean():.4f}, weight 0.01 ≈ {moves[1].abs().mean():.4f}")

# %% [markdown]
# ## Deeper · Many draws teach nothing (2 minutes)
#
# REINFORCE learns from differences: the same canvas, another place, another reward. Draw eight places for each canvas, and
# count the canvases on which the answer is right for some places and wrong for others.

# %%
torch.manual_seed(0)
with torch.no_grad():
    draws = [eye.train().episode(test_set.images).logits[:, -1].argmax(dim=1) for _ in range(8)]
right = torch.stack([draw == test_set.labels for draw in draws]).float().mean(dim=0)
telling = ((right > 0) & (right < 1)).float().mean()
print(f"eight places differ in their answer on ≈ {telling:.2f} of the canvases")
assert 0.1 < telling < 0.7

# %% [markdown]
# On all others these eight rewards "right or wrong" are equal, and their differences teach nothing. (Eight draws are few: more would differ on more canvases.) So we pay with the probability
# of the true digit, which differs a little everywhere.
#
# ## Deeper · DRAM (6 minutes)
#
# DRAM is short for deep recurrent attention model. Ba et al. (2015) keep the retina and the losses, and change what lies between. Notes about attention sometimes print DRAM's
# equations under the title "RAM". Here they are side by side:
#
# | | RAM, arXiv 1406.6247 | DRAM, arXiv 1412.7755 |
# |---|---|---|
# | glimpse | $g = \mathrm{ReLU}(\text{what} + \text{where})$, a sum | $g = \text{what} \odot \text{where}$, a product |
# | memory | one layer $m_t$ | two, each an LSTM: $r^1_t$ reads $g_t$, and $r^2_t$ reads $r^1_t$ |
# | answer from | $m_T$ | $r^1$, the lower layer |
# | next place from | $m_t$ | $r^2_t$, the upper layer |
# | beginning | $m_0 = 0$ | $r^1_0 = 0$, $r^2_0 = C(\text{coarse image})$: the context, by a small convolutional network $C$ |
#
# **Which loss trains which part of DRAM?** *Before running: which parts does the policy reach, that in RAM it did not?*

# %% tags=["answer"]
torch.manual_seed(0)
sizes = {"glimpses": 3, "hidden_dim": 32, "glimpse_dim": 8}
both = {core: RecurrentAttention(1, 10, core=core, **sizes) for core in ("ram", "dram")}
parts = ["glimpse", "core.lower", "classify", "expect", "core.upper", "core.context", "locate"]
for name, reached in (found := routes(both["dram"], parts)).items():
    print(f"{name:15} → {', '.join(reached)}")
assert found["policy"] == ["core.upper", "core.context", "locate"] and found["classification"] == parts[:3]

# %% [markdown]
# In DRAM, steering has a memory of its own, made for steering. **Whose equation is it? Three experiments that tell the two apart**, with fresh networks: silence
# the path of the place; compare the first places of different images; and ask whether the policy trains any of the memory.


# %%
@torch.no_grad()
def silent_without_a_place(model):
    """Whether the glimpse vanishes when the path of the place gives zero: true of a product only."""
    network = copy.deepcopy(model.glimpse)
    for parameter in network.location.parameters():
        nn.init.zeros_(parameter)
    return network(torch.rand(5, 1, 16, 16, generator=generator), torch.zeros(5, 2)).abs().sum().item() == 0


# %%
@torch.no_grad()
def first_place_differs(model):
    """Whether the first place depends on the image: only if something saw the image before."""
    first = model.eval().attention(torch.rand(5, 1, 16, 16, generator=generator))[:, 0]
    return bool((first - first[0]).abs().sum() > 0)


# %%
def policy_trains_memory(model):
    """Whether the policy's loss reaches a part of the core."""
    return routes(model, ["core"])["policy"] == ["core"]


# %%
for question in (silent_without_a_place, first_place_differs, policy_trains_memory):
    answers = {core: question(model) for core, model in both.items()}
    print(f"{question.__name__:24}", answers)
    assert answers == {"ram": False, "dram": True}

# %% [markdown]
# A page that multiplies what and where, reads the answer from $r^1$ and steers with $r^2$ describes DRAM. One caution: a product is silent when either
# path is, so a path of the place that starts near zero mutes the glimpse. Whether the product *helps* is another
# question, which these checks do not answer.

# %% [markdown]
# ## Deeper · Two published tables (1 minute)
#
# There are **two published tables** of the same paper: that of the proceedings (NIPS 2014) and that of arXiv's version 1. Error on 60 × 60 canvases
# with a digit among clutter, in percent:
#
# | | proceedings | arXiv |
# |---|---|---|
# | convolutional network | 8.09 | 7.83 |
# | RAM, 8 glimpses | 4.04 | 5.23 |
# | RAM, 8 random glimpses | 14.4 | – |
#
# They are two versions of one paper. *Both* networks have other numbers, the opponent too, so the experiments were run again between them; a
# reason for the difference we have not found in either text. So say which one you cite, and never take one row from each: 4.04 against 7.83 stands in no paper.
#
# What agrees with us is the order: chosen is better than random. The size does not carry over. Our canvases have no clutter; our memory has gates; our reward is a probability; and
# we chose canvas, digit, σ and rate after trying several. On canvases this small, nobody needs to save pixels.
#
# *References.* Mnih, Heess, Graves, Kavukcuoglu, Recurrent Models of Visual Attention, NIPS 2014, arXiv 1406.6247.
# Ba, Mnih, Kavukcuoglu, Multiple Object Recognition with Visual Attention, ICLR 2015, arXiv 1412.7755.
# Ports: kevinzakka, recurrent-visual-attention (PyTorch); Léonard, Recurrent Model of Visual Attention, Torch blog, 2015.
# Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning, Machine Learning 8, 1992.
