# %% [markdown]
# # 01 · Addressing
#
# **How does a network look something up?**
#
# After this lesson you will be able to
#
# - say what query, key, value, score and weight are, with their shapes, and compute a small look-up in your head;
# - choose between four scores, and explain the $\sqrt d$ and the mask from measurements;
# - say why one look-up gives one mixture, and what several heads change.
#
# *Minutes:* 40, deeper 10 · *Needs:* 00 · *Paper:* Vaswani et al., 2017, arXiv 1706.03762; Bahdanau et al., 2015, arXiv 1409.0473; Luong et al., 2015, arXiv 1508.04025 · *Exercise:* [01 addressing](../exercises/01_addressing.ipynb) · *Module:* [addressing.py](../course_lib/basics/addressing.py), [multi_head.py](../course_lib/basics/multi_head.py)
#
# Out of scope: where queries and keys come from in a deep network (09, 14), and picking one place instead of blending (02).

# %%
import math

import torch
from torch.nn import functional as F

from course_lib.basics.addressing import (
    AdditiveScore,
    BilinearScore,
    attend,
    dot_score,
    gaussian_score,
    masked_softmax,
    scaled_dot_score,
)
from course_lib.basics.multi_head import MultiHeadAttention

# %%
from course_lib.data.digits import load_digits
from course_lib.data.photographs import load_photograph
from course_lib.diagrams import diagram
from course_lib.interactive import slider, steer
from course_lib.plotting import (
    describe,
    new_figure,
    plot_lines,
    ring,
    show_found,
    show_image,
    show_images,
    show_row,
    side_by_side,
)
from course_lib.trunk import load_trunk

# %% [markdown]
# ## From a dictionary to a soft dictionary
#
# A Python dictionary is the hardest kind of attention: the key must fit exactly, and one value comes back.
#
# **Ask for a key that is not there.** Expect an error: nearly right counts for nothing.

# %%
brightness = {"red": 3.0, "green": 9.0}
try:
    brightness["reddish"]
except KeyError as error:
    print("no such key:", error)

# %% [markdown]
# **Turn names into vectors, and take the key that is nearest.** Now every question has an answer. Red is $(1, 0)$, green is
# $(0, 1)$; our *query* leans to red, so we expect 3.

# %%
query = torch.tensor([0.7, 0.0])
key = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # m d
value = torch.tensor([3.0, 9.0])
scores = key @ query  # how well each key fits
print(f"scores {scores.tolist()[0]:.1f} and {scores.tolist()[1]:.1f}, answer {value[scores.argmax()]:.0f}")

# %% [markdown]
# But `argmax` jumps: a query that moves a little either changes nothing or changes everything, and no gradient passes.
#
# **Let every value answer, in proportion to how well its key fits.** The softmax turns scores into shares. Our scores are 0.7
# and 0. Since $\exp(0.7) \approx 2$, the shares are about 2 to 1. *Before running: what is two thirds of 3 plus one third of 9?*

# %% tags=["answer"]
weights = scores.softmax(dim=0)
answer = weights @ value
print(f"weights {weights[0]:.2f} and {weights[1]:.2f}, answer {answer:.1f}")
assert torch.isclose(answer, torch.tensor(5.0), atol=0.05)

# %% [markdown]
# ## The formula
#
# With n queries, m keys and m values,
#
# $$e_{ij} = \mathrm{score}(q_i, k_j) \qquad \alpha_{ij} = \frac{\exp(e_{ij})}{\sum_{l=1}^{m} \exp(e_{il})} \qquad o_i = \sum_{j=1}^{m} \alpha_{ij}\, v_j$$
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $q$ | query | n d | what is sought |
# | $k$ | key | m d | what it is compared with |
# | $v$ | value | m v | what is returned |
# | $e$ | score (the letter of Bahdanau et al.) | n m | how well key j fits query i |
# | $\alpha$ | weight | n m | the share of key j: $\ge 0$, each row sums to 1 |
# | $o$ | output | n v | a mixture of values, one for each query |
#
# (In a shape, v is the length of a value.) In the course's formula $\mathrm{Attention}(x) = f(g(x), x)$, the weights are $g$ and the mixing is $f$.
#
# **The softmax runs over the keys.** One query shares out 1 over everything it may read. Take the other axis, and all shapes
# stay right while the answer is wrong.

# %% [markdown]
# ## First as loops, then as matrices, then from the library
#
# **For every query and every key, compare; then share out; then mix.**


# %%
def attend_by_loops(query, key, value):
    """For every query and every key, compare; then share out; then mix."""
    output = torch.zeros(len(query), value.shape[1])
    for i, q in enumerate(query):
        exponentials = [math.exp(q @ k) for k in key]
        for j, v in enumerate(value):
            output[i] += exponentials[j] / sum(exponentials) * v
    return output


# %% [markdown]
# The same in two matrix products. *Before running: 5 queries and 7 keys of length 3, values of length 2: which shapes do the
# scores, the weights and the result have?*

# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
query, key = torch.randn(5, 3, generator=generator), torch.randn(7, 3, generator=generator)
value = torch.randn(7, 2, generator=generator)
scores = query @ key.mT
weights = scores.softmax(dim=-1)
output = weights @ value
print("scores", list(scores.shape), "weights", list(weights.shape), "output", list(output.shape))

# %% [markdown]
# All three must agree: loops, matrices, and `attend` of `course_lib`.

# %%
torch.testing.assert_close(output, attend_by_loops(query, key, value))
torch.testing.assert_close(output, attend(query, key, value, score=dot_score))
torch.testing.assert_close(weights.sum(dim=-1), torch.ones(5))
print(f"largest difference to the loops ≈ {(output - attend_by_loops(query, key, value)).abs().max():.0e}")

# %% [markdown]
# ## A real dictionary: handwritten digits
#
# Now the keys are 1300 images of handwritten digits (8 × 8 pixels), the values are their labels, and the query is a digit that
# the dictionary has never seen. Nothing is trained.

# %% tags=["folded"]
digits = load_digits()
describe(
    show_images(digits.train_images[:10], [str(label.item()) for label in digits.train_labels[:10]]),
    "ten grey 8 × 8 images of handwritten digits in a row, each under its label.",
)

# %% [markdown]
# Each image becomes a vector of length 1, so that the dot product of two images is the cosine of their angle: 1 for equal images,
# 0 for images without a common bright pixel. A label becomes a vector with a single 1, so a mixture of labels is a
# probability for each digit.


# %%
def as_vectors(images):
    """Each image as a vector of length 1: n h w -> n d."""
    return F.normalize(images.flatten(1), dim=1)


known, label = as_vectors(digits.train_images), F.one_hot(digits.train_labels).float()  # keys and values
unseen = as_vectors(digits.test_images)  # queries
print("queries", list(unseen.shape), "keys", list(known.shape), "values", list(label.shape))

# %% [markdown]
# **Ask for all 497 unseen digits at once.** The scores are divided by a *temperature* τ, here 0.01: a small τ makes large
# differences between the weights. *Before running: guess how many answers are right, with no training at all.*


# %% tags=["answer"]
def look_up(query, key, value, temperature):
    """The mixture of labels for every query: n 10."""
    return attend(query, key, value, score=lambda q, k: dot_score(q, k) / temperature)


answers = look_up(unseen, known, label, temperature=0.01)
right = (answers.argmax(dim=1) == digits.test_labels).float().mean()
print(f"share right ≈ {right:.2f}")
assert right > 0.97

# %% [markdown]
# ## The experiment: hard, soft, or in between?
#
# τ → 0 leaves only the best key (the nearest neighbour); τ → ∞ makes all weights equal (the average label). Is a blend in between
# better? We predict: *the share of right answers will not show it, but the quality of the probabilities will.*
#
# Three numbers for each τ: the **share of right answers**; the **NLL**, the average of $-\log p$ of the true digit (lower is
# better; a probability of zero counts as one in a million); and the **effective number of keys**,
# $\exp\bigl(-\sum_j \alpha_j \log \alpha_j\bigr)$, which is 1 for a single key and m for equal weights.


# %%
def three_numbers(digits, temperature):
    """Share of right answers, NLL, and effective number of keys, over all test digits."""
    query, key = as_vectors(digits.test_images), as_vectors(digits.train_images)
    weights = (query @ key.mT / temperature).softmax(dim=-1)
    answers = weights @ F.one_hot(digits.train_labels).float()
    truth = answers[torch.arange(len(query)), digits.test_labels]
    right = (answers.argmax(dim=1) == digits.test_labels).float().mean()
    used = torch.special.entr(weights).sum(dim=1).exp().mean()
    return torch.stack([right, -truth.clamp_min(1e-6).log().mean(), used])


# %% [markdown]
# Three seeds: three ways to split the digits into keys and queries. The baselines:
# τ = 0.001 is almost the nearest neighbour, and τ = 10 is nearly the average label, whose NLL is about log 10 = 2.30.

# %%
temperatures = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 10]
splits = [load_digits(seed=seed) for seed in (0, 1, 2)]
results = torch.stack([torch.stack([three_numbers(split, t) for t in temperatures]) for split in splits])
print("    τ    right      NLL     keys used")
for t, (right, nll, used) in zip(temperatures, results.mean(dim=0)):
    print(f"{t:6}  ≈ {right:.2f}   ≈ {nll:5.2f}   ≈ {used:6.0f}")

# %% tags=["folded"]
figure = new_figure()
left, right = figure.subplots(1, 2)
names = ["split 0", "split 1", "split 2"]
plot_lines(left, temperatures, dict(zip(names, results[:, :, 0])), xlabel="temperature τ", ylabel="share right")
plot_lines(right, temperatures, dict(zip(names, results[:, :, 1])), xlabel="temperature τ", ylabel="NLL (nats)")
left.set_xscale("log"), right.set(xscale="log", yscale="log")
describe(
    figure,
    "two line plots over the temperature on a logarithmic axis, three lines each. The shares of right answers are near 1 and lie "
    "on top of each other up to τ = 0.01; then they fall, to between 0.6 and 0.8 at τ = 1 and between 0.15 and 0.35 at τ = 10. The NLL, on a logarithmic axis "
    "too, has a clear minimum at τ = 0.01 in all three; at τ = 0.001 the lines differ about 2.5-fold, from τ = 0.03 on they lie on top of each other.",
)

# %% [markdown]
# **Read it.** Up to τ = 0.01 the share of right answers hardly moves. The NLL
# halves against the hardest look-up. From τ = 0.1 on, an NLL above 1 says that most of the weight lies on other digits. In each of the three splits:

# %%
nll = results[:, :, 1]
best = nll.argmin(dim=1)
assert (best == temperatures.index(0.01)).all()
assert (nll[:, 2] < 0.6 * nll[:, 0]).all(), "the blend beats the nearest key"
assert (nll[:, 2] < 0.1 * nll[:, -1]).all(), "and beats the average of everything"
print("best temperature in each split:", [temperatures[i] for i in best])

# %% [markdown]
# **Why does the blend help?** At τ = 0.01 about ten keys share the weight. *Because ten keys vote instead of one, or because near keys weigh more than far ones?* The
# controls: the nearest one, three or ten keys vote with equal weights, and ten with the blend's. *Before running: which will be
# near the blend?*


# %%
def vote(digits, count, temperature):
    """The NLL when only so many of the nearest keys vote; all alike if the temperature is infinite."""
    scores = as_vectors(digits.test_images) @ as_vectors(digits.train_images).mT
    top = scores.topk(count)
    weights = (top.values / temperature).softmax(dim=-1)[:, :, None]  # n count 1
    votes = (weights * F.one_hot(digits.train_labels[top.indices], 10)).sum(dim=1)  # n 10
    return -votes[torch.arange(len(votes)), digits.test_labels].clamp_min(1e-6).log().mean()


# %% tags=["answer"]
who = {"one key": (1, math.inf), "3 equal votes": (3, math.inf), "10 equal votes": (10, math.inf)}
who["10 weighted votes"] = (10, 0.01)
rows = {name: torch.stack([vote(split, *how) for split in splits]) for name, how in who.items()}
rows["all, τ = 0.01"] = nll[:, 2]
for name, numbers in rows.items():
    print(f"{name:18} NLL ≈ {numbers[0]:.2f} {numbers[1]:.2f} {numbers[2]:.2f}   mean ≈ {numbers.mean():.2f}")

# %%
one, three, ten, weighted, blend = rows.values()
assert (three < 0.85 * one).all() and (ten.mean() - three.mean()).abs() < 0.02 and (blend < 0.7 * ten).all()
assert (weighted < 0.85 * ten).all() and weighted.mean() < 1.6 * blend.mean()

# %% [markdown]
# Both help. Three equal votes take about a third off the NLL of one key, but ten equal votes are no better than three. With the blend's weights, ten are better. In split 0 the far keys add something, too. As a cosine is at most 1, τ = 1 is nearly the plain average: a score needs the right *scale* (see $\sqrt d$ below).

# %% [markdown]
# ## Look at the weights
#
# **Which keys does one unseen digit read?** Move the slider from hard to soft and watch
# the six heaviest keys (above each its label and its weight), and the answer.


# %% tags=["folded"]
def draw_look_up(figure, temperature, which=3):
    """The query, the six keys with the largest weights, and the answer as bars."""
    weights = (unseen[which] @ known.mT / temperature).softmax(dim=-1)
    top = weights.topk(6)
    figure.figure.set_layout_engine("none")  # placed by hand: finding the layout takes half of the time
    left, right = figure.add_axes((0.01, 0.2, 0.72, 0.6)), figure.add_axes((0.78, 0.2, 0.21, 0.6))
    images = [digits.test_images[which], *digits.train_images[top.indices]]
    names = [f"{digits.train_labels[k]}: {100 * weight:.1f}%" for k, weight in zip(top.indices, top.values)]
    show_row(left, images, ["query", *names])
    right.bar(range(10), weights @ label, color="#0072B2")
    right.set(xticks=range(10), ylim=(0, 1))
    right.set_title(f"answer, τ = {temperature}")


# %% tags=["widget"]
steer(
    draw_look_up,
    temperature=slider("τ", temperatures, value=0.01),
    which=slider("query", [3, 133, 433], value=3),
    height=1.6,
)

# %% [markdown]
# The same without a widget, for three temperatures:

# %% tags=["static", "folded"]
figure = new_figure(7.0, 4.2)
for panel, temperature in zip(figure.subfigures(3, 1), (0.001, 0.01, 1)):
    draw_look_up(panel, temperature)
describe(
    figure,
    "three rows. Each shows a query digit, its six heaviest keys with their labels and weights above, and a bar for "
    "each possible answer. At τ = 0.001 nearly all weight is on one key and one bar reaches 1. At τ = "
    "0.01 several keys of the same digit share the weight and the same bar is tall. At τ = 1 each of the six "
    "has a tenth of a percent, and the ten bars are about equally low.",
)

# %% [markdown]
# **Now a query that goes wrong.** Test digit 433 is a 9; 133 is an 8. Expect to see *why* they fail.

# %% tags=["folded"]
describe(
    side_by_side(draw_look_up, [{"temperature": 0.01, "which": 433}], height=1.6),
    "a 9 whose loop is nearly open, followed by six keys with the labels 4, 9, 4, 8, 1 and 1; the bar of 4 is "
    "near one half, that of 9 near one third.",
)

# %% tags=["folded"]
describe(
    side_by_side(draw_look_up, [{"temperature": 0.01, "which": 133}], height=1.6),
    "a narrow 8 that looks like a thick stroke, followed by six keys with the label 1; the bar of 1 is close to 1.",
)

# %% [markdown]
# The first answer is split, mostly between 4 and 9: it shows its doubt. The second is a confident 1, and wrong: nearly all keys that it reads are a 1.
# *Weights show what was read. They do not show whether reading it was right.*

# %%
honest, confident = answers[433].max(), answers[133].max()
assert digits.test_labels[[433, 133]].tolist() == [9, 8] and answers[[433, 133]].argmax(dim=1).tolist() == [4, 1]
assert honest < 0.6 and confident > 0.9
print(f"9 read as 4 with probability ≈ {honest:.2f}; 8 read as 1 with probability ≈ {confident:.2f}")

# %% [markdown]
# ## Four ways to compare
#
# | name | $\mathrm{score}(q, k)$ | learned | remarks |
# |---|---|---|---|
# | dot, scaled dot | $q \cdot k$, $\; q \cdot k / \sqrt d$ | nothing | one matrix product; long keys score high |
# | Gaussian | $-\lVert q - k\rVert^2 / 2\sigma^2$ | nothing | its softmax is kernel regression |
# | bilinear | $q^\top W k$ | $W$ | query and key may have different lengths |
# | additive | $w^\top \tanh(W_q q + W_k k)$ | $W_q, W_k, w$ | a small network on each pair; memory n · m · its width |
#
# **The two learned scores** compare entries of different kinds. Here only their shapes.

# %%
query_2, key_5 = torch.randn(4, 2, generator=generator), torch.randn(6, 5, generator=generator)
for score in (BilinearScore(2, 5), AdditiveScore(2, 5, hidden=8)):
    learned = sum(p.numel() for p in score.parameters())
    print(f"{type(score).__name__}: scores {list(score(query_2, key_5).shape)}, {learned} learned numbers")

# %% [markdown]
# ## Why √d?
#
# Take queries and keys whose d entries are independent with mean 0 and variance 1. Each product $q_l k_l$ has variance 1, so
# $q \cdot k$ has variance d: longer vectors give larger scores, and a softmax of large scores is nearly one-hot. How much that hurts shows in its
# Jacobian $J = \mathrm{diag}(\alpha) - \alpha \alpha^\top$, through which every gradient must pass.
#
# **Measure both**, for 10 keys and d from 4 to 1024. We predict: unscaled, the entropy of the weights and the size of the Jacobian
# fall towards 0; divided by √d, they do not depend on d.


# %%
def entropy_and_jacobian(scores):
    """The mean entropy of the weights, and the mean largest singular value of the softmax's Jacobian."""
    weights = scores.softmax(dim=-1)  # n m
    jacobian = torch.diag_embed(weights) - weights[:, :, None] * weights[:, None, :]  # n m m
    return torch.special.entr(weights).sum(dim=-1).mean(), torch.linalg.matrix_norm(jacobian, ord=2).mean()


sizes = [4, 16, 64, 256, 1024]
rows = []
for d in sizes:
    q, k = torch.randn(1000, 1, d, generator=generator), torch.randn(1000, 10, d, generator=generator)
    rows.append([*entropy_and_jacobian(dot_score(q, k)[:, 0]), *entropy_and_jacobian(scaled_dot_score(q, k)[:, 0])])
measured = torch.tensor(rows)

# %% tags=["folded"]
figure = new_figure()
left, right = figure.subplots(1, 2)
plot_lines(left, sizes, {"q·k": measured[:, 0], "q·k/√d": measured[:, 2]}, xlabel="d", ylabel="entropy (nats)")
plot_lines(right, sizes, {"q·k": measured[:, 1], "q·k/√d": measured[:, 3]}, xlabel="d", ylabel="norm of the Jacobian")
left.set_xscale("log", base=2), right.set_xscale("log", base=2)
left.axhline(math.log(10), color="grey", linestyle=":")
describe(
    figure,
    "two line plots over d from 4 to 1024. Unscaled, entropy and Jacobian norm fall towards zero. Scaled "
    "by √d, both are flat. A dotted line marks the largest possible entropy, log 10.",
)

# %%
assert (measured[:-1, :2] > measured[1:, :2]).all(), "unscaled: both fall with every step of d"
assert (measured[:, 2:].max(dim=0).values / measured[:, 2:].min(dim=0).values < 1.15).all(), "scaled: both stay"
print(f"Jacobian at d = 1024: unscaled ≈ {measured[-1, 1]:.2f}, scaled ≈ {measured[-1, 3]:.2f}")

# %% [markdown]
# The argument needs independent entries with variance 1. **Has a fresh network such queries?** Its inputs have variance 1.

# %%
for c in (64, 1024):
    torch.manual_seed(0)
    fresh = MultiHeadAttention(c, num_heads=1).query(torch.randn(100, c))
    print(f"c = {c:4}: variance of a query's entry ≈ {fresh.var():.2f}")
    assert 0.3 < fresh.var() < 0.37

# %% [markdown]
# No, it is a third: the scores start smaller than in our picture, whatever d is. Training may then choose any scale.

# %% [markdown]
# ## The mask, and the row that may see nothing
#
# A mask says which keys a query may read (`True` = may attend). Hidden keys must vanish *before* the softmax, so that the rest still sums
# to 1. Two ways that come to mind both go wrong when a query may see *nothing*. *Before running: what is the softmax of three times −∞? And of
# three times −1 000 000?*

# %% tags=["answer"]
scores, mask = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[False, False, False]])
with_infinity = scores.masked_fill(~mask, -math.inf).softmax(-1)
with_a_million = scores.masked_fill(~mask, -1e6).softmax(-1)
print("−∞:        ", with_infinity.tolist()[0])
print("−1 000 000:", [round(w, 2) for w in with_a_million.tolist()[0]])
print("course_lib:", masked_softmax(scores, mask).tolist()[0])
assert with_infinity.isnan().all() and masked_softmax(scores, mask).eq(0).all()

# %% [markdown]
# NaN spreads through the whole network. Uniform weights are harder to notice: a query that may read nothing reads the average of
# everything it must not see. `masked_softmax` returns zeros: nothing is read.

# %% [markdown]
# ## Several heads
#
# One head gives one row of weights, hence **one mixture**. A memory of three painted digits: red 4, green 7, blue 2. The keys are the colours, the values the digits.
# *Before running: what comes back for "green"? And for "red and blue"?*

# %% tags=["answer"]
colour, digit = torch.eye(3), torch.tensor([[4.0], [7.0], [2.0]])
for name, question in {"green": 9 * colour[1:2], "red and blue": 9 * (colour[0:1] + colour[2:3])}.items():
    print(f"{name:13} {attend(question, colour, digit, score=dot_score).item():.1f}")
two_heads = attend(9 * colour[[0, 2]], colour, digit, score=dot_score)
print("two heads, one for each colour:", [round(one, 1) for one in two_heads.flatten().tolist()])
assert two_heads.round().flatten().tolist() == [4, 2]

# %% [markdown]
# A single question about two places gets an average that belongs to nobody.
#
# **Multi-head attention cuts q, k and v into s pieces of length d = c / s, looks up in each piece, and joins the s answers**:
#
# $$A_i = \mathrm{softmax}\Bigl(\tfrac{Q_i K_i^\top}{\sqrt d}\Bigr) \qquad \mathrm{head}_i = A_i V_i \qquad o = [\mathrm{head}_1 \dots \mathrm{head}_s]\, W_O$$
#
# Note the $\sqrt d$ of *one head*, and that each head has a map of its own:

# %% tags=["folded"]
diagram(MultiHeadAttention)

# %% [markdown]
# ## Real features: from one photograph to another
#
# Here the keys are the places of one photograph, and a query is a place of *another*. Their
# vectors are features of the course's trunk, block 9 (a convolutional network, trained on ImageNet, no attention inside). The score is 8 times the cosine.
#
# **Three places of an astronaut ask the photograph of a cat:** her hair, the round badge, her eye. *Before looking: what will each find?*


# %%
def directions(photograph):
    """The features of every place as vectors of length 1, without what all places share: 3 h w -> c h' w'."""
    features = load_trunk()(photograph[None], block=9)[0]
    return F.normalize(features - features.mean(dim=(1, 2), keepdim=True), dim=0)


# %%
astronaut, cat = load_photograph("astronaut", height=384), load_photograph("cat", height=256)
asking, asked = directions(astronaut), directions(cat)  # c 24 24, c 16 25
places = {"hair": (2, 10), "badge": (17, 9), "eye": (4, 11)}


def find(query):
    """Whom a place asks in the photograph of the cat: c -> h w."""
    return (8 * dot_score(query[None], asked.flatten(1).mT)).softmax(dim=-1).view(asked.shape[1:])  # 1 c, m c -> 1 m


found = {name: find(asking[:, row, column]) for name, (row, column) in places.items()}

# %% tags=["folded"]
figure = new_figure(7.0, 3.6)
above, below = figure.subplots(2, 3)
for k, (name, (row, column)) in enumerate(places.items()):
    show_image(above[k], astronaut, title=f"the {name} asks")
    ring(above[k], 16 * row + 8, 16 * column + 8)
    show_found(below[k], cat, found[name], title=f"largest weight ≈ {found[name].max():.2f}")
describe(
    figure,
    "above, the photograph of an astronaut three times, with a ring on her hair, on a round badge on her suit, on her eye. Below, what each finds "
    "in a cat's face: the hair finds striped fur above the eyes and on the cheek; the badge finds the edges of both eyes; the eye finds them too, and "
    "a few other places.",
)

# %%
eyes = torch.zeros_like(found["eye"], dtype=torch.bool)  # rows and columns of places
eyes[4:8, 7:12] = eyes[5:8, 16:19] = True  # both eyes of the cat, with their edges
for name, weights in found.items():
    print(f"{name:6} weight on the cat's eyes ≈ {weights[eyes].sum():.2f} (their area: {eyes.float().mean():.2f})")
everyone = (8 * asked.flatten(1).mT @ asking.flatten(1)).softmax(dim=0)[eyes.flatten()].sum(dim=0)  # all places ask
more = (everyone > found["eye"][eyes].sum()).sum()
print(f"of all {len(everyone)} places of her photograph ≈ {more} put more there than her eye")
assert more < 60
assert min(found[name][eyes].sum() for name in ("badge", "eye")) > 2 * eyes.float().mean() > found["hair"][eyes].sum()

# %% [markdown]
# **Read it.** The eye finds the cat's eyes, better than most places do. But the badge, which is no eye, finds them even better: these features compare looks, not names. And her eye is far smaller
# in its photograph than the cat's. *Does size count?* We enlarge her face and ask again.

# %%
face = load_photograph("astronaut", height=512)[None, :, 40:200, 150:310]
closer = directions(F.interpolate(face, (384, 384), mode="bilinear")[0])
# her eyes now lie in row 8, columns 8 and 14 of 24 × 24
larger = [find(closer[:, 8, column])[eyes].sum().item() for column in (8, 14)]
small = [find(asking[:, 4, column])[eyes].sum().item() for column in (9, 11)]
print(f"each of her eyes ≈ {small[0]:.2f} {small[1]:.2f}, enlarged ≈ {larger[0]:.2f} {larger[1]:.2f}")
assert sum(larger) > 1.5 * sum(small)

# %% [markdown]
# It does. What the picture does not show: what a network would do with such a map.
#
# ## The bridge
#
# The same row ends every lesson.
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 01 soft look-up | given | memory keys | memory values | n m | softmax over the keys | n · m · (d + v) |
#
# ## Three things to keep
#
# 1. A look-up compares, shares out, mixes. The shares sum to 1 **over the keys**.
# 2. The **scale of the scores** decides between picking and averaging; √d keeps it independent of the length of the vectors.
# 3. One head is **one mixture**; what must be told apart needs separate heads, or a mask.
#
# **Now the [exercise](../exercises/01_addressing.ipynb).** What follows goes deeper. Next lesson: 02, where the look-up must
# pick *one* place.

# %% [markdown]
# ## Deeper · Dot product or distance? (3 minutes)
#
# **Do dot and Gaussian agree?** They differ by $\lVert k \rVert^2 / 2$ only. So they agree when all keys are equally long, and
# disagree when one key is long. *Before running: the query is (1, 0); which key wins, (1, 0) or (3, 3)?*

# %% tags=["answer"]
q, keys = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0], [3.0, 3.0]])
by_dot, by_distance = dot_score(q, keys).softmax(-1), gaussian_score(q, keys).softmax(-1)
print(f"weight of (1, 0): {by_dot[0, 0]:.2f} by dot product, {by_distance[0, 0]:.2f} by distance")
assert by_dot[0, 0] < 0.5 < by_distance[0, 0]

# %%
short = F.normalize(torch.randn(7, 3, generator=generator), dim=1)  # all keys of length 1
same = [score(short[:2], short).softmax(-1) for score in (dot_score, gaussian_score)]
torch.testing.assert_close(*same)
print(f"keys of equal length: largest difference ≈ {(same[0] - same[1]).abs().max():.0e}")

# %% [markdown]
# **The Gaussian score is kernel regression.** Keys are positions on a line, values are noisy measurements there, and the query is any position:
# the look-up draws a smooth curve through them. This is the estimator of Nadaraya and Watson (1964), half a century older
# than the word "attention" for it. Expect a small bandwidth σ to follow the noise and a large one to flatten the curve to about half its height.

# %% tags=["folded"]
position = torch.linspace(0, 6, 25)[:, None]
measured = position.sin() + 0.3 * torch.randn(25, 1, generator=generator)
anywhere = torch.linspace(0, 6, 200)[:, None]
figure = new_figure()
axes = figure.subplots()
axes.plot(position, measured, "o", color="black", markersize=4, label="measured")
for sigma, colour in zip((0.1, 0.4, 2.0), ("#56B4E9", "#D55E00", "#009E73")):
    curve = attend(anywhere, position, measured, score=lambda q, k: gaussian_score(q, k, bandwidth=sigma))
    axes.plot(anywhere, curve, color=colour, label=f"σ = {sigma}")
axes.set(xlabel="position (query)", ylabel="answer")
axes.legend(frameon=False, ncols=2, loc="lower left")
describe(
    figure,
    "25 black points scattered around a sine wave, and three curves through them: σ = 0.1 runs close to "
    "every point, σ = 0.4 follows the wave, σ = 2.0 falls gently from +0.5 to −0.4.",
)

# %% [markdown]
# ## Deeper · Matching on one thing, returning another (2 minutes)
#
# If keys and values are the same vectors, a look-up returns what it matched. With *separate* keys it can match on one property and
# return another. A memory of three painted digits: what digit is green?
#
# *Before running: each item is (red?, green?, blue?, digit). What comes back for "green" when keys and values are the items themselves?*

# %% tags=["answer"]
colour, digit = torch.eye(3), torch.tensor([[4.0], [7.0], [2.0]])  # red 4, green 7, blue 2
items = torch.cat([colour, digit], dim=1)
green = torch.tensor([[0.0, 9.0, 0.0]])
plain = attend(torch.cat([green, torch.zeros(1, 1)], dim=1), items, items, score=dot_score)
separate = attend(green, key=colour, value=digit, score=dot_score)
print("K = V:", [round(x, 1) for x in plain.tolist()[0]], "   key colour, value digit:", round(separate.item(), 1))
assert separate.round().item() == 7

# %% [markdown]
# The plain look-up gave back the whole item, the colour that we already knew and the digit; and every entry of the item, the
# digit too, had a say in the match. Learned projections $W_K$ and $W_V$ let a network choose what to match and what to return;
# plain attention is the special case $W_K = W_V = I$.

# %% [markdown]
# ## Deeper · Several heads are torch's several heads (2 minutes)
#
# In axis letters: `b n c -> b n s d -> b s n d`, look up, and the same way back. Our module and torch's, with the same weights, give the same numbers:

# %%
torch.manual_seed(0)
ours, torchs = MultiHeadAttention(12, num_heads=3), torch.nn.MultiheadAttention(12, 3, batch_first=True)
stacked = torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
biases = torch.cat([ours.query.bias, ours.key.bias, ours.value.bias])
torchs.load_state_dict({"in_proj_weight": stacked, "in_proj_bias": biases,
                        "out_proj.weight": ours.output.weight, "out_proj.bias": ours.output.bias})  # fmt: skip
x = torch.randn(2, 5, 12)
torch.testing.assert_close(ours(x), torchs(x, x, x, need_weights=False)[0])
print("the map of every head:", list(ours.attention(x).shape), "= b s n n")

# %% [markdown]
# One trap: a mask of `True` means "may attend" here and in `scaled_dot_product_attention`, and "must *not*" in
# `nn.MultiheadAttention`. Turning it round gives the same result.

# %%
mask = torch.rand(5, 5, generator=generator) < 0.5
mask |= torch.eye(5, dtype=torch.bool)
torch.testing.assert_close(ours(x, attn_mask=mask), torchs(x, x, x, attn_mask=~mask, need_weights=False)[0])

# %% [markdown]
# ## Deeper · What a look-up cannot do (2 minutes)
#
# - **It knows no order.** Permute keys and values together and nothing changes. Lesson 14 adds positions to the tokens for this reason.
# - **It cannot return nothing.** The weights sum to 1, so some value always comes back. A *null key* with value zero repairs it.
# - **It cannot leave the values.** Every output lies in their convex hull: attention selects and mixes, it does not invent.
# - **It compares everything with everything**: n · m scores. For the pixels of a photograph that is the problem of lesson 11.
#
# The first three as checks:

# %%
order = torch.randperm(7, generator=generator)
query, key, value = (torch.randn(size, 3, generator=generator) for size in (5, 7, 7))
output = attend(query, key, value)
torch.testing.assert_close(attend(query, key[order], value[order]), output)
assert (output <= value.max(dim=0).values).all() and (output >= value.min(dim=0).values).all()
nothing_fits = attend(torch.zeros(1, 3), key, value)
torch.testing.assert_close(nothing_fits, value.mean(dim=0, keepdim=True))
print("no order; inside the hull; a query that fits nothing reads the average")

# %% [markdown]
# ## Deeper · What to believe (1 minute)
#
# Our 99 % must not be compared with published results on MNIST: these digits are 8 × 8, and keys and queries come from the same
# writers. What does carry over is the comparison *within* the table, on the same split. The $\sqrt d$ is argued in Vaswani et al., section
# 3.2.1, footnote 4; our measurement agrees with the argument, and it says nothing about trained networks.
#
# *References.* Bahdanau, Cho, Bengio, Neural Machine Translation by Jointly Learning to Align and Translate, ICLR 2015, arXiv 1409.0473.
# Luong, Pham, Manning, Effective Approaches to Attention-based Neural Machine Translation, EMNLP 2015, arXiv 1508.04025.
# Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762.
