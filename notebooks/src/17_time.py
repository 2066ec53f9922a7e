# %% [markdown]
# # 17 · Time
#
# **Which moment of a film counts, and what came first?**
#
# After this lesson you will be able to
#
# - give the frames of a film weights by hand, and say what an average or a maximum does as well;
# - say from where a network knows the order of frames, and what must happen to it before the frames are blended;
# - split attention over space and time into two cheap looks, and find the film on which the split fails.
#
# *Minutes:* 44, deeper 27 · *Needs:* 09 · *Paper:* Yao et al., Describing Videos by Exploiting Temporal Structure, 2015, arXiv 1502.08029; Bertasius et al., TimeSformer, 2021, arXiv 2102.05095 · *Exercise:* [17 time](../exercises/17_time.ipynb) · *Module:* [frame_attention.py](../course_lib/temporal/frame_attention.py), [divided.py](../course_lib/spatial_temporal/divided.py)
#
# Out of scope: convolutions over time, sound, how films are read from disk.

# %%
import math
from functools import cache

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.costs import milliseconds
from course_lib.data.digits import load_digits
from course_lib.data.moving_digits import moving_digits
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import COLOURS, describe, frameless, new_figure, plot_runs, ring, show_found, show_row
from course_lib.spatial_temporal.cross_frame import CrossFrameGlobalAttention, CrossFrameLocalInterpolation
from course_lib.spatial_temporal.divided import DividedSpaceTime
from course_lib.spatial_temporal.stc import SpatioTemporalChannel
from course_lib.temporal.frame_attention import FramePooling, TemporalSelfAttention
from course_lib.training import accuracy, fit
from course_lib.trunk import load_trunk

# %% [markdown]
# ## Three films, two questions
#
# A film is t frames of h × w pixels. In the first film one digit is bright, in the second one is pale: *which one?* In the third, two digits appear: *which came first?* We train small networks for all three. `eight_frames` draws eight digits a film, their labels, and a random generator.


# %% tags=["folded"]
digits = load_digits()


def eight_frames(count, seed, test):
    """Eight digits for each film, count 8 8 8; their labels; the generator that goes on."""
    generator = torch.Generator().manual_seed(seed)
    images = digits.test_images if test else digits.train_images
    labels = digits.test_labels if test else digits.train_labels
    chosen = torch.randint(len(images), (count, 8), generator=generator)
    return images[chosen], labels[chosen], generator


# %%
def bright(count, seed, test=False, *, one=1.0, others=0.35):
    """One bright digit among seven pale ones: films b t c with c = 64 pixels, and its label."""
    images, labels, generator = eight_frames(count, seed, test)
    which = torch.randint(8, (count, 1), generator=generator)
    light = torch.full((count, 8), others).scatter(1, which, one)
    return (images * light[..., None, None]).flatten(2), labels.gather(1, which)[:, 0]


# %%
def pale(count, seed, test=False):
    """One pale digit among seven bright ones."""
    return bright(count, seed, test, one=0.35, others=1.0)


def first(count, seed, test=False):
    """Two digits among empty frames; the label of the one that comes first."""
    images, labels, generator = eight_frames(count, seed, test)
    two = torch.rand(count, 8, generator=generator).argsort(dim=1)[:, :2].sort(dim=1).values
    light = torch.zeros(count, 8).scatter(1, two, 1.0)
    return (images * light[..., None, None]).flatten(2), labels.gather(1, two)[:, 0]


# %% tags=["folded"]
figure = new_figure(7.0, 3.9)
for axes, (task, seed) in zip(figure.subplots(3, 1), ((bright, 2), (pale, 5), (first, 6))):
    (film,), (label,) = task(1, seed, test=True)
    show_row(axes, film.unflatten(1, (8, 8)), [f"frame {k}" for k in range(8)])
    axes.set_title(f"{task.__name__}: a {label}", pad=18)
describe(
    figure,
    "three films of eight frames. Bright: eight digits, one of them bright, the others pale. Pale: one pale, the others bright. First: two digits, all other frames empty.",
)

# %% [markdown]
# ## Weights for frames, by hand
#
# **Three frames hold one number each: 0, 4 and 8. Their scores are log 1, log 1 and log 2.** The softmax of logarithms shares in proportion (lesson 01). *Before running: what are the weights, and what is the blend?*

# %% tags=["answer"]
film, scores = torch.tensor([0.0, 4.0, 8.0]), torch.tensor([1.0, 1.0, 2.0]).log()
weights = scores.softmax(dim=0)
print("weights", weights.tolist(), " blend", round((weights @ film).item(), 4), " average", film.mean().item())

# %% [markdown]
# Where do the scores come from? From what a frame shows. Yao et al. use the additive score of lesson 01:
#
# $$e_i = u^\top \tanh(W \bar x_i + \beta) \qquad \alpha = \mathrm{softmax}_i(e) \qquad y = \sum_i \alpha_i\, x_i$$
#
# | symbol | meaning | shape |
# |---|---|---|
# | $x_i$ | frame i of t | b c h w |
# | $\bar x_i$ | its average over the h · w places | b c |
# | $W$, $\beta$, $u$ | learned (in the paper β and u are b and w). There is no query: what is asked is always the same | c c, c, c |
# | $\alpha$ | weights of the frames, `attention(x)`; sum to 1 over *time* | b t |

# %% tags=["folded"]
diagram(FramePooling)


# %% [markdown]
# **Score each frame; share out; blend the frames.**


# %%
def by_loops(layer, film):
    """Score each frame; share out; blend the frames: c t h w -> c h w."""
    frames = film.unbind(dim=1)
    scores = [layer.score.weight[0] @ layer.embed(frame.mean(dim=(1, 2))).tanh() for frame in frames]
    shares = [math.exp(score) for score in scores]
    return sum(share / sum(shares) * frame for share, frame in zip(shares, frames))


# %%
def by_matrices(layer, x):
    """The same for a batch: b c t h w -> b c h w, b t."""
    means = x.mean(dim=(3, 4)).mT  # b t c
    weights = ((means @ layer.embed.weight.mT + layer.embed.bias).tanh() @ layer.score.weight[0]).softmax(dim=1)
    return (weights[:, None, :, None, None] * x).sum(dim=2), weights


# %% [markdown]
# *Before running: two films, 3 channels, 4 frames of 5 × 7. Which shapes have the result and the map?*

# %% tags=["answer"]
torch.manual_seed(0)
layer, x = FramePooling(3).requires_grad_(False), torch.randn(2, 3, 4, 5, 7)
y, weights = by_matrices(layer, x)
print(list(y.shape), list(weights.shape))

# %%
torch.testing.assert_close(torch.stack([by_loops(layer, film) for film in x]), y)
torch.testing.assert_close(layer(x), y)

# %% [markdown]
# ## Experiment 1: the frame that stands out
#
# A network sees each frame through one layer (64 pixels to 32 channels, ReLU), makes one of the eight frames (it *pools* over time), and names a digit. Only the pooling differs:
#
# - **average**, or **maximum** of each channel;
# - **a layer** before the average or the maximum: 1056 more numbers, against 1088 of the frame weights;
# - **fixed weights**: eight learned numbers, one for each frame, whatever it shows;
# - **frame weights**, α.
#
# All train 100 steps; on *pale* three of them train 300 steps, too.


# %%
class FilmNet(nn.Module):
    """See each frame, perhaps know when it is, pool over time, name a digit: b t 64 -> b 10."""

    def __init__(self, pool, *, layer=False, time=False, shuffled=False):
        super().__init__()
        self.see = nn.Sequential(nn.Linear(64, 32), nn.ReLU())
        self.time = nn.Parameter(0.5 * torch.randn(8, 32)) if time else 0
        self.layer = nn.Sequential(nn.Linear(32, 32), nn.ReLU()) if layer else nn.Identity()
        self.pool, self.name, self.shuffled = pool, nn.Linear(32, 10), shuffled

    def forward(self, x):
        order = torch.rand(len(x), 8).argsort(dim=1)  # b t
        time = self.time[order] if self.shuffled else self.time  # b t c, or t c
        frames = self.layer(self.see(x) + time)  # b t c
        return self.name(self.pool(frames.mT[..., None, None]).flatten(1))  # pooled: b c 1 1


# %%
def on_films(task, make, seed, steps=100):
    """The share of right answers on new films."""
    torch.manual_seed(seed)
    model = make()
    fit(model, *task(2000, seed), steps=steps, learning_rate=0.02, seed=seed, title=task.__name__)
    return accuracy(model, *task(1000, 99, test=True))


# %%
average, maximum = nn.AdaptiveAvgPool3d(1), nn.AdaptiveMaxPool3d(1)  # over time: a frame has one place here
poolings = {
    "average": lambda: FilmNet(average),
    "a layer, average": lambda: FilmNet(average, layer=True),
    "maximum": lambda: FilmNet(maximum),
    "a layer, maximum": lambda: FilmNet(maximum, layer=True),
    "fixed weights": lambda: FilmNet(nn.Sequential(nn.Flatten(2), nn.Linear(8, 1))),
    "frame weights": lambda: FilmNet(FramePooling(32)),
}

# %% [markdown]
# *Before running: who does well on bright, and who on pale?* **We predicted**: frame weights on both, the maximum on bright alone, the average on neither.

# %% tags=["answer"]
budgets = {"bright, 100 steps": (bright, 100), "pale, 100 steps": (pale, 100), "pale, 300 steps": (pale, 300)}
found = {budget: {} for budget in budgets}
for budget, (task, steps) in budgets.items():
    for name in ("maximum", "a layer, maximum", "frame weights") if steps == 300 else poolings:
        shares = found[budget][name] = [on_films(task, poolings[name], seed, steps) for seed in (0, 1, 2)]
        print(f"{budget:17}  {name:16} right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
soon, late = found["pale, 100 steps"], found["pale, 300 steps"]
assert min(soon["frame weights"]) > 0.75 and sum(soon["frame weights"]) > sum(soon["a layer, maximum"]) + 0.3
assert max(soon["average"] + soon["a layer, average"] + soon["maximum"] + soon["fixed weights"]) < 0.5
assert min(late["maximum"] + late["a layer, maximum"]) > 0.7
assert min(found["bright, 100 steps"]["maximum"]) > 0.85 > max(found["bright, 100 steps"]["fixed weights"])

# %% tags=["folded"]
figure = new_figure(7.0, 2.3)
for axes, (budget, rows) in zip(figure.subplots(1, 3, sharey=True), found.items()):
    plot_runs(axes, {name: rows.get(name, []) for name in poolings}, guess=0.1)
    axes.set(title=budget, xlabel="share right")
describe(
    figure,
    "three panels, a row a pooling and a dot a seed; a dotted line at 0.1, a guess. Bright, 100 steps: both maxima and frame weights near 0.95, the others from 0.55 to 0.7. Pale, 100 steps: frame weights near 0.9, a layer and maximum from 0.4 to 0.7, maximum near 0.25, the others at the guess. "
    "Pale, 300 steps, three rows: maximum near 0.87, a layer and maximum near 0.93, frame weights near 0.96.",
)

# %% [markdown]
# **Read it.**
#
# - *Bright*: the maximum is as good as the frame weights, and has no weights. That the weights look at the *content* matters: fixed ones stay far behind.
# - *Pale*: our prediction held for 100 steps only. With 300 the maximum comes close, and with a layer before it, as many numbers as the frame weights, closer. *Frame weights learn soonest here; they are not the only ones that learn it.*
#
# And they **say** where they looked. How much weight has the pale frame, of eight?

# %% tags=["answer"]
torch.manual_seed(0)
model = poolings["frame weights"]()
fit(model, *pale(2000, 0), steps=100, learning_rate=0.02)
films, _ = pale(1000, 99, test=True)
weights = model.pool.attention(model.see(films).mT[..., None, None])  # b t
which = films.amax(dim=2).argmin(dim=1)  # the frame with the least light
mine, largest = weights.gather(1, which[:, None]).mean(), (weights.argmax(dim=1) == which).float().mean()
print(f"its weight ≈ {mine:.2f}; it has the largest weight in ≈ {largest:.2f} of the films")

# %% [markdown]
# ## Frames that ask frames
#
# Frame weights have no query. Let every frame ask all frames: the look-up of lesson 01 with the frames as tokens, $A = \mathrm{softmax}(QK^\top/\sqrt d)$, b s t t for s heads of $d = c / s$ channels. Frames are matched by their averages; each place reads the same place of the other frames.

# %% tags=["folded"]
diagram(TemporalSelfAttention)

# %% [markdown]
# **Play the film backward.** *Before running: what changes in the result of the frame weights, and of the self-attention?*

# %% tags=["answer"]
torch.manual_seed(0)
asking = TemporalSelfAttention(3, num_heads=1).requires_grad_(False)
backward = x.flip(2)  # b c t h w
print("frame weights:", "the same" if torch.allclose(layer(backward), layer(x), atol=1e-6) else "other")
print("self-attention: the same frames, backward:", torch.allclose(asking(backward), asking(x).flip(2), atol=1e-6))

# %%
assert not torch.allclose(asking(backward), asking(x), atol=1e-2)

# %% [markdown]
# **Neither knows the order**: whoever averages the answer over time gets the same from both films. So "first" cannot be answered, whatever is learned. The cure: a *time embedding*, a learned vector for each frame, added to what it shows.
#
# ## Experiment 2: who came first?
#
# Is it then attention that knows the order, or the embedding? The control: *the average with the embedding*, and the same with a layer between. One more: the embedding in *another random order for each film*; as many numbers, and no order.
#
# *Before running: which rows will name the first digit? Half of the answers are right for whoever finds the two digits, and guesses.*

# %%
knowing = {
    "frame weights": lambda: FilmNet(FramePooling(32)),
    "average, time": lambda: FilmNet(average, time=True),
    "time, a layer, average": lambda: FilmNet(average, time=True, layer=True),
    "frame weights, time": lambda: FilmNet(FramePooling(32), time=True),
    "self-attention, time": lambda: FilmNet(nn.Sequential(TemporalSelfAttention(32, 4), average), time=True),
    "frame weights, shuffled time": lambda: FilmNet(FramePooling(32), time=True, shuffled=True),
}

# %% tags=["answer"]
order = {name: [on_films(first, make, seed, steps=150) for seed in (0, 1, 2)] for name, make in knowing.items()}
for name, shares in order.items():
    print(f"{name:29} right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
blind = ("frame weights", "average, time", "frame weights, shuffled time")
assert max(max(order[name]) for name in blind) < 0.6
assert min(order["frame weights, time"] + order["self-attention, time"]) > 0.8
assert min(order["time, a layer, average"]) > 0.62

# %% [markdown]
# **Read it.**
#
# - *Without the embedding*, and with a shuffled one, nobody does more than find two digits and guess (0.55, since one film in ten shows the same digit twice). It is the order in the embedding that helps, not its numbers.
# - *It is not attention that knows the order*: a layer and the plain average learn it, too, if less of it in these 150 steps.
# - *The embedding alone is not enough.* The row "average, time" is as blind as those without. It must be: the average of $x_i + \tau_i$ (τ the embedding) is the average of $x_i$ plus a constant. Time must meet the content *before* the average, in something that is not a sum: a layer with a ReLU, or a score.
#
# ## One look, or two: divided space–time
#
# Now every place of every frame is a token: N = t · n of them, with n = h · w. **Joint**: each token asks all N. **Divided** (TimeSformer): each token asks its own place in all frames; then all places of its own frame.

# %% tags=["folded"]
diagram(DividedSpaceTime)

# %% [markdown]
# **Both halves are the joint look with a mask.** For one head:

# %%
frame = torch.arange(3).repeat_interleave(4)  # 12 tokens: 3 frames of 2 × 2 places
place = torch.arange(4).repeat(3)
same_place, same_frame = place == place[:, None], frame == frame[:, None]  # N N each


def look(x, norm, qkv, may):
    """Each token asks the tokens that it may ask: b c t h w -> b N c."""
    query, key, value = qkv(norm(x.flatten(2).mT)).chunk(3, dim=2)  # b N c
    scores = (query @ key.mT / math.sqrt(x.shape[1])).masked_fill(~may, -math.inf)
    return scores.softmax(dim=2) @ value


def divided(block, x):
    """First over time, then over space, each added: b c t h w -> b c t h w."""
    told = block.time_gate(block.time_output(look(x, block.time_norm, block.time_qkv, same_place)))
    x = x + told.mT.view_as(x)
    told = block.space_output(look(x, block.space_norm, block.space_qkv, same_frame))
    return x + told.mT.view_as(x)


# %% [markdown]
# *Before running: how many pairs of tokens does the joint look compare, how many the two halves? And whom has a token heard of in the end?*

# %% tags=["answer"]
heard = same_frame.int() @ same_place.int() > 0  # N N: the space half after the time half
print("joint", 12 * 12, "pairs; divided", same_place.sum().item(), "+", same_frame.sum().item())
print("heard of:", heard.sum(dim=1).unique().tolist(), "of 12 tokens")

# %%
torch.manual_seed(0)
block, clip = DividedSpaceTime(8, num_heads=1).requires_grad_(False), torch.randn(2, 8, 3, 2, 2)
nn.init.normal_(block.time_gate.weight)  # it starts at zero: a new block looks at each frame alone
torch.testing.assert_close(divided(block, clip), block(clip))

# %% [markdown]
# N · (t + n) pairs, not N²: 319 872 instead of 2 458 624 with 8 frames of 14 × 14 places. And still everybody has heard of everybody. *So what is lost?*
#
# ## Experiment 3: the film on which the split fails
#
# Films of 4 frames with 2 × 3 places. All tokens have a colour; four of them, the *sources*, of different colours, hold a number. Everybody else must say the number of the source of its own colour. That is the recall of lesson 09, in space and time. The sources lie
#
# - **spread**: each in a frame and at a place of its own;
# - **one place**: at the same place, each in a frame of its own;
# - **one frame**: in the same frame, each at a place of its own.
#
# One block and a matrix. The rivals: joint, divided, *space first*, and the space half alone. Joint is the space half alone, on a film that is laid out as one large frame: fewer numbers than divided, so a lack of numbers cannot be what divided fails by. All learn from all three kinds of films.
#
# *Before running: who fails where?* Think of what the time half must hand over at a place with four sources.


# %%
def recall(count, seed, layout):
    """Films count 12 4 2 3 (8 colours, 4 numbers); the number that each token must say, −100 at the sources."""
    generator = torch.Generator().manual_seed(seed)
    places, frames, colours = (torch.rand(count, k, generator=generator).argsort(dim=1)[:, :4] for k in (6, 4, 8))
    places = places[:, :1].expand(-1, 4) if layout == "one place" else places
    frames = frames[:, :1].expand(-1, 4) if layout == "one frame" else frames
    numbers = torch.randint(4, (count, 4), generator=generator)
    source, mine = 6 * frames + places, torch.randint(4, (count, 24), generator=generator)
    colour = colours.gather(1, mine).scatter(1, source, colours)
    says = numbers.gather(1, mine).scatter(1, source, torch.full_like(source, -100))
    held = torch.zeros(count, 24, 4).scatter(1, source[..., None].expand(-1, -1, 4), F.one_hot(numbers, 4).float())
    return torch.cat([F.one_hot(colour, 8), held], dim=2).mT.unflatten(2, (4, 2, 3)), says.view(count, 4, 2, 3)


# %% tags=["folded"]
layouts, figure = ("spread", "one place", "one frame"), new_figure(7.0, 3.3)
k, row, column = torch.meshgrid(torch.arange(4), torch.arange(2), torch.arange(3), indexing="ij")
for axes, layout in zip(figure.subplots(3, 1), layouts):
    (film,), _ = recall(1, 9, layout)
    colour = film[:8].argmax(dim=0).unique(return_inverse=True)[1].flatten()  # which of the four in this film
    axes.scatter(5 * k + column, row, s=380, c=[COLOURS[one] for one in colour], marker="s")
    for frame, i, j in film[8:].sum(dim=0).nonzero().tolist():
        number = film[8:, frame, i, j].argmax().item()
        axes.text(5 * frame + j, i, str(number), color="white", weight="bold", ha="center", va="center")
    axes.set(xlim=(-0.7, 17.7), ylim=(1.7, -0.7), aspect="equal")
    frameless(axes, layout)
describe(
    figure,
    "three films of four frames with 2 × 3 coloured places, four colours. In each, four places of different colours hold a number: the sources. Spread: one in each frame, all at different places. One place: one in each frame, all at the same place. One frame: all four in one frame.",
)


# %%
looks = {
    "joint": lambda block, x: block.over_space(x.flatten(2, 3)[:, :, None]).view_as(x),  # as one frame of (t h) × w
    "divided": lambda block, x: block(x),
    "space half": lambda block, x: block.over_space(x),
    "space first": lambda block, x: block.over_time(block.over_space(x)),
}


class RecallNet(nn.Module):
    """One block, then four outputs for each token: b 12 t h w -> b 4 t h w."""

    def __init__(self, look):
        super().__init__()
        self.see, self.block, self.name = nn.Conv3d(12, 32, 1), DividedSpaceTime(32, num_heads=2), nn.Conv3d(32, 4, 1)
        self.look = looks[look]
        nn.init.eye_(self.block.time_gate.weight)  # not from zero: a short training

    def forward(self, x):
        return self.name(self.look(self.block, self.see(x)))


# %%
def on_recall(look, seed):
    """The share of right answers on each kind of films, by one network."""
    torch.manual_seed(seed)
    model = RecallNet(look)
    films = [recall(1000, 3 * seed + k, layout) for k, layout in enumerate(layouts)]
    inputs, targets = map(torch.cat, zip(*films))
    fit(model, inputs, targets, steps=150, learning_rate=0.01, batch_size=48, seed=seed, title=look)
    return [accuracy(model, *recall(300, 99, layout)) for layout in layouts]


# %% tags=["answer"]
recalled = {name: torch.tensor([on_recall(name, seed) for seed in (0, 1, 2)]) for name in looks}
for name, runs in recalled.items():
    told = "  ".join(f"{layout} ≈ {' '.join(f'{one:.2f}' for one in runs[:, k])}" for k, layout in enumerate(layouts))
    print(f"{name:11} {told}")

# %%
assert min(recalled["joint"].min(), recalled["divided"][:, [0, 2]].min(), recalled["space first"][:, :2].min()) > 0.9
assert recalled["divided"][:, 1].mean() < 0.85 and recalled["space first"][:, 2].mean() < 0.85

# %% tags=["folded"]
figure = new_figure(7.0, 1.9)
for k, (axes, layout) in enumerate(zip(figure.subplots(1, 3, sharey=True), layouts)):
    plot_runs(axes, {name: runs[:, k].tolist() for name, runs in recalled.items()}, guess=0.25)
    axes.set(title=layout, xlabel="share right")
describe(
    figure,
    "three panels, a row a look and a dot a seed; a dotted line at a quarter. Spread: joint, divided and space first at 1, the space half at 0.44. One place: joint and space first at 1, divided near 0.7. One frame: joint and divided at 1, space first near 0.7.",
)

# %% [markdown]
# **Read it.** We predicted both failures. The joint look does all. In these 150 steps divided fails at *one place*, though every token has heard of all, and though it has more learned numbers than joint. Space first fails at *one frame*. So it is neither reach nor a lack of numbers: **each order of the two looks has its own film on which it fails.**
#
# What does the film ask of divided? One token must hand on four colours and four numbers at once. Is this the cause? We do not show it. *Try it*: does more width cure it, more heads, a second block, or more steps? One change at a time.
#
# ## A film strip of maps
#
# Now a real photograph, and a camera that moves to the right: six frames, each 11 pixels on. So what stands at a place moves to the left from frame to frame, by 0.7 cells. Features of the trunk (lesson 09, block 7, 10 × 10 cells of 16 pixels), nothing learned for the task: the score is 8 times the cosine, after the average of the film is taken away. The left eye of the cat asks in frame 0. *Before running: at the end of the film, whom does it ask in each half, and whom jointly?*


# %%
@cache
def camera(name, step=11):
    """Six frames of a photograph, 160 × 160 pixels, each ``step`` pixels further on; features of unit length."""
    whole = load_photograph(name, height=200)
    frames = torch.stack([whole[:, 20:180, step * k : step * k + 160] for k in range(6)])  # t 3 160 160
    features = load_trunk()(frames, block=7).movedim(0, 1)  # c t 10 10
    return frames, F.normalize(features - features.mean(dim=(1, 2, 3), keepdim=True), dim=0)


# %%
def whom(features, frame, row, column, way):
    """Whom one token asks, joint or in one of the two halves: c t h w -> t h w, which sum to 1."""
    scores = 8 * torch.einsum("c,c...->...", features[:, frame, row, column], features)  # t h w
    asked = {"joint": ..., "time half": (slice(None), row, column), "space half": frame}[way]
    allowed = torch.full_like(scores, -math.inf)
    allowed[asked] = scores[asked]
    return allowed.flatten().softmax(dim=0).view_as(scores)


# %% tags=["folded"]
def film_strip(figure, frame=0, way="joint", row=4, column=7):
    """One row of frames with the weights of one token in colour, and each frame's share."""
    frames, features = camera("cat")
    weights = whom(features, frame, row, column, way)
    figure.figure.set_layout_engine("none")  # placed by hand: finding the layout takes a quarter of the time
    places = {"left": 0.01, "right": 0.99, "bottom": 0.02, "top": 0.72, "wspace": 0.05}
    for k, axes in enumerate(figure.subplots(1, 6, gridspec_kw=places)):
        show_found(axes, frames[k], weights[k], title=f"frame {k}: {weights[k].sum():.2f}", top=0.2)
        if k == frame:
            ring(axes, 16 * row + 7.5, 16 * column + 7.5)
    figure.suptitle(f"{way}, frame {frame} asks")


# %% tags=["widget"]
ways = ["joint", "time half", "space half"]
steer(film_strip, height=1.8, frame=slider("frame", list(range(6)), value=0), way=slider("way", ways, value="joint"))

# %% [markdown]
# The same without a widget:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 4.6)
for panel, way in zip(figure.subfigures(3, 1), ways):
    film_strip(panel, 0, way)
describe(
    figure,
    "three rows of six frames in which a cat's eye moves to the left; the corner of the eye asks in frame 0. Joint: in every frame the corner of the eye is lit, most in frames 0, 3 and 4. Time half: the asking cell, weakly the same cell in frame 1, nothing later. Space half: the asking cell alone.",
)

# %% [markdown]
# **Read it.** Jointly, the corner of the eye asks itself in every frame, wherever it has gone. The time half asks the same *place*, where by then something else stands; nearly all of its weight stays in frame 0. The space half sees no other frame. So neither half alone follows a thing that moves.
# What contradicts the story: frame 3 gets more than frames 1 and 2, though it shows the same eye. After 33 pixels, 2.06 cells, the *grid* lies nearly as in frame 0. Is it that? The first deeper section tries it.
#
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 09 non-local, in space and time | θ(x) | φ(x) | g(x) | N N | softmax over N keys | N² · c + projections |
# | 17 frame weights | none; u is the same for all films | $\tanh(W \bar x_i + \beta)$ | x | t | softmax over time | t · c² |
# | 17 self-attention over time | $Q \bar x_i$ | $K \bar x_j$ | V x | t t for each head | softmax over time | t² · (c + n c) + projections |
# | 17 divided | $q$ of a token | its place, then its frame | $v$ | n t t, t n n for each head | softmax over t, then over n | N (t + n) · c + projections |
#
# ## Three things to keep
#
# 1. **Frame weights learn soonest which frame counts, and say it.** They are not the only ones: a maximum learns it, too, sooner with a layer before it.
# 2. **Order comes from the time embedding, not from attention.** And the embedding must meet the content *before* the average: by a score, or by a layer.
# 3. **Divided attention reaches everybody with N (t + n) pairs**, but what the second look reads, the first had to carry in one token.
#
# **Now the [exercise](../exercises/17_time.ipynb).** What follows goes deeper; each section can be read alone. Next lesson: 18, zoom and pairs.

# %% [markdown]
# ## Deeper · Does the look follow the thing? (3 minutes)
#
# The film strip shows one place. For all places of frame 0 that the camera still sees in frame 5, of five photographs (the astronaut is too narrow): does the best cell of frame 5 lie within one cell of where the thing is now? The control: within one cell of where it *was*.


# %%
def within_one(name):
    """Shares of the places whose best cell in frame 5 lies where the thing is now, and where it was."""
    _, features = camera(name)
    best = torch.einsum("chw,cn->hwn", features[:, 0, :, 4:], features[:, 5].flatten(1)).argmax(dim=2)
    row, column = torch.arange(10)[:, None], torch.arange(4, 10)  # 55 pixels are 3.4 cells
    down = (best // 10 - row).abs() <= 1
    return [(down & ((best % 10 - column + moved).abs() <= 1)).float().mean().item() for moved in (3.4, 0)]


# %% tags=["answer"]
now, was = torch.tensor([within_one(name) for name in PHOTOGRAPHS if name != "astronaut"]).mean(dim=0).tolist()
print(f"where it is now ≈ {now:.2f}, where it was ≈ {was:.2f}")
assert now > 0.6 > 0.3 > was

# %% [markdown]
# So the look follows what is alike, not what stands at the same place. **And the grid?** The eye of the film strip once more, with a camera that moves by half a cell (8 pixels), by 11 pixels, by one cell (16). *Before running: how much weight has each frame?*

# %% tags=["answer"]
for step in (8, 11, 16):
    frames = whom(camera("cat", step)[1], 0, 4, 7, "joint").sum(dim=(1, 2))
    print(f"{step:2} pixels: the frames' weights ≈ {' '.join(f'{one:.2f}' for one in frames)}")

# %%
assert frames.max() - frames.min() < 0.05  # by one cell

# %% [markdown]
# By half a cell every second frame counts, by one cell all alike. It is the grid: the weights also tell how well the cells fit the thing.
#
# ## Deeper · Channels gated by when (8 minutes)
#
# STC (Diba et al., arXiv 1806.07754) is the gate of lesson 03 for films, twice. One gate is made from the average over time and space, c numbers; the other from the averages over space alone, t · c numbers. The film times the mean of both gates is the result. (The paper's names sound swapped: TCB averages time away, SCB keeps it.)

# %% tags=["folded"]
diagram(SpatioTemporalChannel)

# %% [markdown]
# *Before running: a film of a moving digit is played backward. Which gates change?*

# %% tags=["answer"]
torch.manual_seed(0)
stc, moving = SpatioTemporalChannel(4, 2, frames=6).requires_grad_(False), moving_digits(1, seed=0)[0]
seen = F.conv3d(moving, torch.randn(4, 1, 1, 5, 5))  # 1 4 t h w
changes = [(one - other).abs().max().item() for one, other in zip(stc.attention(seen), stc.attention(seen.flip(2)))]
print({name: "the same" if change < 1e-6 else "other" for name, change in zip(("TCB", "SCB"), changes)})
assert changes[0] < 1e-6 < 1e-4 < changes[1]

# %% [markdown]
# TCB is invariant to any order of the frames. **In noise, channel 0 lights up in one of eight frames: in the first half of the film, or in the second?** The average of channel 0 is the same in all films. After the gate all is averaged, and a matrix decides. Each gate works alone, then both, as in STC. The control for size: TCB with as many numbers as SCB.


# %%
def event(count, seed):
    """Films count 6 8 3 5; whether channel 0 lights up in the second half."""
    generator = torch.Generator().manual_seed(seed)
    films = 0.3 * torch.randn(count, 6, 8, 3, 5, generator=generator)
    when = torch.randint(8, (count,), generator=generator)
    films[torch.arange(count), 0, when] += 1.0
    films[:, 0] += 1 / 8 - films[:, 0].mean(dim=(1, 2, 3), keepdim=True)
    return films, (when >= 4).long()


# %%
class Gated(nn.Module):
    """The film times the mean of some of STC's gates (0 TCB, 1 SCB); averaged; two outputs."""

    def __init__(self, *which, hidden=3):
        super().__init__()
        self.stc, self.which, self.name = SpatioTemporalChannel(6, 2, frames=8), which, nn.Linear(6, 2)
        first, second = nn.Linear(6, hidden, bias=False), nn.Linear(hidden, 6, bias=False)
        self.stc.by_mean = nn.Sequential(first, nn.ReLU(), second, nn.Sigmoid())

    def forward(self, x):
        gates = [self.stc.attention(x)[k] for k in self.which]
        return self.name((x * sum(gates) / len(gates)).mean(dim=(2, 3, 4)))


def on_events(make, seed):
    """The share of right answers on new films."""
    torch.manual_seed(seed)
    model = make()
    fit(model, *event(1000, seed), steps=150, learning_rate=0.03, seed=seed)
    return accuracy(model, *event(1000, 99))


# %% tags=["answer"]
gates = {
    "TCB, 1296 numbers": lambda: Gated(0, hidden=108),
    "SCB, 1296 numbers": lambda: Gated(1),
    "both: STC": lambda: Gated(0, 1),
}
told = {name: [on_events(make, seed) for seed in (0, 1, 2)] for name, make in gates.items()}
for name, shares in told.items():
    print(f"{name:18} right ≈ {' '.join(f'{one:.2f}' for one in shares)}")

# %%
assert max(told["TCB, 1296 numbers"]) < 0.6 < 0.8 < min(told["SCB, 1296 numbers"] + told["both: STC"])

# %% [markdown]
# So a gate for channels can depend on *when*, if its squeeze keeps time. The mean of both gates does a little worse than SCB alone; TCB has nothing to add here. The price: SCB's first matrix has t² times the numbers of TCB's, and it needs films of exactly t frames.
#
# ## Deeper · This frame asks the one before (6 minutes)
#
# SpSequenceNet (Shi et al., CVPR 2020) segments clouds of points, frame by frame, with two looks at the frame before. We take pictures of moving digits instead. The first look takes **the whole frame before, as a gate**: SE (lesson 03) with a squeeze that looks one frame back.

# %% tags=["folded"]
diagram(CrossFrameGlobalAttention)

# %% [markdown]
# Two digits move, one in channel 0, one in channel 1. In the frame before, only *one* of the two channels showed its digit. *Which digit was it?* Both are seen now; the gate from the frame before must let the right channels pass. Controls: the same gate made from *this* frame, and both frames stacked, four channels for a plain convolution.


# %%
@cache
def before(count, seed, test=False):
    """Films count 2 4 16 16, two channels and then the same a frame before, one of them empty; the label asked for."""
    size = {"frames": 4, "size": 16, "test": test}
    films, labels = zip(*[moving_digits(count, seed=2 * seed + k, **size)[:2] for k in (0, 1)])
    films, labels = torch.cat(films, dim=1), torch.stack(labels, dim=1)  # n 2 t h w, n 2
    generator = torch.Generator().manual_seed(seed)
    which = torch.randint(2, (count, 1), generator=generator)
    shown = torch.zeros(count, 2).scatter(1, which, 1.0)[..., None, None]
    return torch.cat([films[:, :, 1], shown * films[:, :, 0]], dim=1), labels.gather(1, which)[:, 0]


# %%
class TwoFrames(nn.Module):
    """See, gate, name: this frame and the one before, b 4 h w -> b 10."""

    def __init__(self, way):
        super().__init__()
        self.way, self.gate = way, CrossFrameGlobalAttention(16)
        self.see = nn.Conv2d(4, 16, 5, stride=2) if way == "stacked" else nn.Conv2d(2, 16, 5, stride=2, groups=2)
        self.name = nn.Sequential(nn.Conv2d(16, 32, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 16, 10))

    def forward(self, x):
        if self.way == "stacked":
            return self.name(self.see(x).relu())
        this, previous = (self.see(frame).relu() for frame in x.split(2, dim=1))
        return self.name(self.gate(this, previous if self.way == "gate, frame before" else this))


# %% tags=["answer"]
looking, named = ("gate, this frame", "gate, frame before", "stacked"), {}
for way in looking:
    named[way] = []
    for seed in (0, 1, 2):
        torch.manual_seed(seed)
        model = TwoFrames(way)
        fit(model, *before(1500, seed), steps=120, learning_rate=0.01, batch_size=32, seed=seed, title=way)
        named[way].append(accuracy(model, *before(600, 77, test=True)))
    print(f"{way:19} right ≈ {' '.join(f'{one:.2f}' for one in named[way])}")

# %%
assert min(named["gate, frame before"] + named["stacked"]) > 0.6 > max(named["gate, this frame"])

# %% [markdown]
# The gate lets the right channels pass. A gate from this frame, with as many numbers, cannot know which digit is meant. But *attention is not needed for it*: a plain convolution that sees both frames, with 656 numbers more, does as well.
#
# ## Deeper · The nearest points of the frame before (6 minutes)
#
# SpSequenceNet's second look goes to places: each point reads its nearest points of the frame before. The weight is radius − distance, and 0 beyond the radius r; the weights are not normalised. A learned matrix W mixes the answer with x.

# %% tags=["folded"]
diagram(CrossFrameLocalInterpolation)

# %% [markdown]
# We leave W out, nothing is learned. Two digits cross a canvas; the points are the lit pixels. In the frame before we know to which digit each point belongs, and the three nearest vote. *How many points of this frame get the right digit, when the film moves faster?* The control: three points of the frame before that are drawn at random.


# %%
def points(both):
    """The lit pixels of two digits: positions n 2, and which digit n."""
    lit = both.amax(dim=0) > 0.3  # 2 h w -> h w
    return lit.nonzero().float(), (both[1] > both[0])[lit].long()


def carried(frames, radius=6.0, chance=False):
    """The shares of points that get their digit from the frame before, and that get nothing; digits cross in ``frames``."""
    films = [moving_digits(20, frames=frames, test=True, seed=seed)[0][:, 0] for seed in (0, 1)]
    look, told = CrossFrameLocalInterpolation(2, 3, radius=radius), []
    for both in torch.stack(films, dim=1):  # 2 t h w
        (before, digit), (now, truth) = points(both[:, 0]), points(both[:, 1])
        distance, near = (one[0] for one in look.nearest(now[None], before[None]))  # n k
        near = torch.randint(len(digit), near.shape) if chance else near
        weights = torch.ones_like(distance) if chance else radius - distance.clamp(max=radius)
        vote = (weights[..., None] * F.one_hot(digit, 2)[near]).sum(dim=1)  # n 2
        nothing = vote.sum(dim=1) == 0
        told.append(torch.stack([(vote.argmax(dim=1) == truth) & ~nothing, nothing], dim=1))
    return torch.cat(told).float().mean(dim=0).tolist()


# %% tags=["answer"]
torch.manual_seed(0)
for frames in (24, 12, 6, 3):
    (near, _), (short, nothing) = carried(frames), carried(frames, radius=1.5)
    chance, _ = carried(frames, chance=True)
    print(f"cross in {frames:2} frames: right ≈ {near:.2f}, at random ≈ {chance:.2f}", end=";  ")
    print(f"radius 1.5: right ≈ {short:.2f}, nothing ≈ {nothing:.2f}")
    assert {24: 0.9, 3: 0.65}.get(frames, 0.8) < near and short <= near + 0.01 and chance < 0.6

# %% [markdown]
# In a slow film nearly every point gets its digit from its neighbours of a moment ago; random neighbours tell nothing. The faster the film, the fewer; and with a small radius some get nothing at all. This look knows *where*, and compares no content.
#
# ## Deeper · The price, measured (3 minutes)
#
# Joint and divided, 32 channels, 2 heads, 14 × 14 places, both with torch's fused kernel (lesson 09); `milliseconds` is the shortest of seven runs, in time of the processor. *Before running: from 4 to 16 frames, how many times as long do both take?*

# %% tags=["answer"]
block, price = DividedSpaceTime(32, num_heads=2), {}
for t in (1, 4, 16):
    film, tokens = torch.randn(1, 32, t, 14, 14), 196 * t
    for way, compared in (("joint", tokens**2), ("divided", tokens * (t + 196))):
        price[way, t] = milliseconds(lambda: looks[way](block, film))
        print(f"{t:2} frames {way:7} {compared:9} pairs ≈ {price[way, t]:.1f} ms")

# %%
assert price["joint", 16] > price["divided", 16] and price["joint", 1] < price["divided", 1]

# %% [markdown]
# The pairs of joint grow 16 times, those of divided 4.2 times, and the measured times follow, roughly. With one frame both compare about as many pairs, yet divided is the dearer one: the norm and the projections of its time half are paid as well.
#
# ## Deeper · What to believe (1 minute)
#
# *TimeSformer.* Its blocks start as those of an image network, because the matrix behind the time half starts at zero. The time half adds 5c² + 7c numbers: for c = 768 and 12 blocks about 35 million.

# %%
half = [p.numel() for name, p in DividedSpaceTime(768, num_heads=12).named_parameters() if name.startswith("time")]
print(f"{12 * sum(half):,} numbers")
assert sum(half) == 5 * 768**2 + 7 * 768

# %% [markdown]
# Its authors' code reports 77.9 % on Kinetics-400 and 59.1 % on Something-Something v2, where actions differ by their order. *STC* reports 2 to 3 % more on Kinetics over the same network without it; *SpSequenceNet* 43.1 % mean IoU on SemanticKITTI, 1.5 more than the best before. These are the authors' own comparisons. Ask of each what this lesson asked: was there a rival as large, trained as long and at its own best rate, that only averages, with a layer and a time embedding?
#
# *References.* Yao, Torabi, Cho, Ballas, Pal, Larochelle, Courville, Describing Videos by Exploiting Temporal Structure, ICCV 2015, arXiv 1502.08029.
# Bertasius, Wang, Torresani, Is Space-Time Attention All You Need for Video Understanding?, ICML 2021, arXiv 2102.05095.
# Diba, Fayyaz, Sharma, Arzani, Yousefzadeh, Gall, Van Gool, Spatio-Temporal Channel Correlation Networks for Action Classification, ECCV 2018, arXiv 1806.07754.
# Shi, Lin, Wang, Hung, Wang, SpSequenceNet: Semantic Segmentation Network on 4D Point Clouds, CVPR 2020.
# Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762.
