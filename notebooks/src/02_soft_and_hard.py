# %% [markdown]
# # 02 · Soft and hard
#
# **Blend everything, or pick one place?**
#
# After this lesson you will be able to
#
# - read a memory softly or hard, and say which gradient reaches the scores in each case;
# - measure bias and variance of a gradient estimator against the exact gradient;
# - train a network that picks one place, and say what a baseline is good for.
#
# *Minutes:* 65 · *Needs:* 01 · *Paper:* Xu et al., 2015, arXiv 1502.03044; Jang et al., 2017, arXiv 1611.01144; Bengio et al., 2013, arXiv 1308.3432 · *Exercise:* [02 soft and hard](../exercises/02_soft_and_hard.ipynb) · *Module:* [soft_and_hard.py](../course_lib/basics/soft_and_hard.py), [show_attend_tell.py](../course_lib/basics/show_attend_tell.py)
#
# Out of scope: choosing where to look several times in a row, each time by what was seen before (06).

# %%
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.basics.show_attend_tell import ShowAttendTellCell, doubly_stochastic_penalty
from course_lib.basics.soft_and_hard import (
    gumbel_read,
    hard_read,
    reinforce_surrogate,
    soft_read,
    straight_through_read,
)
from course_lib.data.hidden_digit import hidden_digits
from course_lib.data.strips import WORDS, digit_strips
from course_lib.interactive import slider, steer
from course_lib.plotting import (
    COLOURS,
    describe,
    new_figure,
    plot_lines,
    show_image,
    show_images,
    show_row,
    show_weights,
)
from course_lib.recording import record_attention
from course_lib.training import accuracy, fit, repeat

# %% [markdown]
# ## Two ways to read
#
# In lesson 01 every key answered a little. Now we compare that with picking one. A memory holds three numbers, 0, 4 and 10; a
# query has been compared with their keys, and the weights are one half, one quarter, one quarter.
#
# **Soft: take the mean under the weights.** *Before running: compute it in your head.*

# %% tags=["answer"]
alpha = torch.tensor([0.5, 0.25, 0.25])
scores, values = alpha.log(), torch.tensor([[0.0], [4.0], [10.0]])  # softmax(log α) is α
soft = soft_read(scores, values)
print(f"soft read: {soft.item():.1f}")
assert torch.isclose(soft, torch.tensor(3.5)).all()

# %% [markdown]
# **Hard: draw one place, as likely as its weight says, and take what lies there.** *Before running: how often will 10 000
# draws return 3.5?*

# %% tags=["answer"]
generator = torch.Generator().manual_seed(0)
draws = hard_read(scores.expand(10_000, 3), values.expand(10_000, 3, 1), generator=generator).value
print("values that occur:", draws.unique().tolist(), "  3.5 on average:", bool((draws.mean() - 3.5).abs() < 0.2))
assert draws.unique().tolist() == [0, 4, 10] and abs(draws.mean() - 3.5) < 0.2

# %% [markdown]
# Never; but their average is near it. Hard reading returns something that exists, soft reading something in between.
#
# ## The formula
#
# $$\alpha = \mathrm{softmax}(e) \qquad r_{\mathrm{soft}} = \sum_n \alpha_n v_n \qquad r_{\mathrm{hard}} = v_n, \; n \sim \alpha$$
#
# $n \sim \alpha$ means: draw the place n, with the probabilities α.
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $e$ | scores | n | how well each place fits; lesson 01 wrote s |
# | $\alpha$ | weights | n | the share of each place, or its probability; sum 1 |
# | $v$ | values | n d | what lies at each place |
# | $r$ | read | d | what the rest of the network sees |
#
# In the course's formula $\mathrm{Attention}(x) = f(g(x), x)$, $\alpha$ is $g$ in both; they differ in $f$: one mixes, the other picks.
#
# **Place by place, then as a product, then from the library.** Two images with five places of three entries each.

# %%
e, v = torch.randn(2, 5, generator=generator), torch.randn(2, 5, 3, generator=generator)
by_loops = torch.zeros(2, 3)
for b in range(2):
    for n in range(5):
        by_loops[b] += e[b].exp()[n] / e[b].exp().sum() * v[b, n]

# %%
product = (e.softmax(dim=-1)[:, None] @ v)[:, 0]  # b 1 n times b n d
torch.testing.assert_close(product, by_loops)
torch.testing.assert_close(product, soft_read(e, v))
print("loops = product = course_lib:", list(product.shape), "= b d")

# %% [markdown]
# ## Which gradient reaches the scores?
#
# **The soft read has one.** When $e_n$ grows, place n gains weight, and every place, n too, pays for it by its share:
#
# $$\frac{\partial \alpha_m}{\partial e_n} = \alpha_m \bigl([m = n] - \alpha_n\bigr) \qquad \frac{\partial r}{\partial e_n} = \sum_m \frac{\partial \alpha_m}{\partial e_n}\, v_m = \alpha_n (v_n - r)$$
#
# where $[m = n]$ is 1 if m is n, and 0 otherwise. So to raise the read, raise the scores of values above it.
# *Before running: r = 3.5. What is the gradient for the value 10, whose weight is one quarter?*

# %% tags=["answer"]
e = scores.clone().requires_grad_()
(gradient,) = torch.autograd.grad(soft_read(e, values).sum(), e)
print("gradient", [round(g, 3) for g in gradient.tolist()])
torch.testing.assert_close(gradient, alpha * (values[:, 0] - 3.5))

# %% [markdown]
# **The hard read has none.** Picking is a step: move a score a little, and with the same luck the same place is picked. But the *log-probability* of
# the place that was picked depends smoothly on the scores. That is where we will take hold.

# %%
read = hard_read(e, values, generator=generator)
print(
    "gradient through the value:",
    read.value.requires_grad,
    "  through its log-probability:",
    read.log_prob.requires_grad,
)
assert not read.value.requires_grad and read.log_prob.requires_grad

# %% [markdown]
# ## REINFORCE: a gradient without a derivative
#
# Say that to have read $v_n$ costs $L(v_n)$, the *loss*. What we want to lower is its mean over the draws, the *expected* loss
# $J = \sum_n \alpha_n L(v_n)$. Write ∂ for the gradient with respect to the scores, and E for the mean over draws. Since
# $\partial \log \alpha_n = \partial \alpha_n / \alpha_n$,
#
# $$\partial J = \sum_n L(v_n)\, \partial \alpha_n = \sum_n \alpha_n\, L(v_n)\, \partial \log \alpha_n = E\bigl[L(v_n)\, \partial \log \alpha_n\bigr]$$
#
# So draw a place and multiply its loss by the gradient of its log-probability: on average this is right. It is called *REINFORCE*
# (Williams, 1992). And that gradient is simple: dividing the formula for $\partial \alpha_m$ above by $\alpha_m$ gives $\partial \log \alpha_m / \partial e_n = [m = n] - \alpha_n$.
#
# **By hand.** Let the loss be the value itself, 0, 4 or 10, and look at the third score. A draw of the third place says
# $10 \cdot (1 - \frac14)$, one of the second $4 \cdot (0 - \frac14)$, one of the first 0. *Before running: what is the mean of
# 0, −1 and 7.5 under ½, ¼, ¼?*

# %% tags=["answer"]
direction = torch.tensor([0.0, 0.0, 1.0]) - alpha[2]  # of the third score, for each draw
said = values[:, 0] * direction
print(f"a draw of the second place says {said[1]}, of the third {said[2]}; on average {alpha @ said}")
torch.testing.assert_close(alpha @ said, gradient[2])

# %% [markdown]
# The third entry of the gradient above, as it must be: when the loss is the value, J is the soft read.
#
# In code one minimises a *surrogate*, $-\log \alpha_n \cdot R$, where the *reward* $R = -L(v_n)$ is a mere number to which no gradient
# flows. The value of the surrogate means nothing; its gradient is the one above.
#
# **With eight places we go through all of them**, instead of drawing.


# %%
def example(seed):
    """Eight scores, eight values of length 3, and the loss of each value: its squared distance to a target."""
    start = torch.Generator().manual_seed(seed)
    scores = torch.randn(8, generator=start).requires_grad_()
    memory, target = torch.randn(8, 3, generator=start), torch.randn(3, generator=start)
    return scores, memory, lambda read: (read - target).square().sum(-1)


# %%
e, memory, loss_of = example(0)
(exact,) = torch.autograd.grad(e.softmax(0) @ loss_of(memory), e)  # n


# %%
def average_of_all_draws(baseline):
    """What REINFORCE estimates: the gradient of each draw, weighted with the draw's probability."""
    average = torch.zeros(8)
    for n, probability in enumerate(e.softmax(0).detach()):
        surrogate = reinforce_surrogate(e.log_softmax(0)[n], -loss_of(memory[n]), baseline)
        average += probability * torch.autograd.grad(surrogate, e)[0]
    return average


# %%
torch.testing.assert_close(average_of_all_draws(baseline=0.0), exact)
print("averaged over all places, REINFORCE is exact")

# %% [markdown]
# ## A baseline
#
# All rewards of the eight places are negative, so every draw makes its own place *less* likely; some more, some less. Only the
# difference says anything. So take a number b, the *baseline*, off the reward. The average stays right, because b is multiplied by
#
# $$E[\partial \log \alpha_n] = \sum_n \alpha_n\, \partial \log \alpha_n = \sum_n \partial \alpha_n = \partial \sum_n \alpha_n = \partial\, 1 = 0$$
#
# **By hand, once more**: the rewards are 0, −4 and −10, their mean is −3.5. Take it off, and the losses 0, 4, 10 become −3.5, 0.5, 6.5.

# %%
said = (values[:, 0] - 3.5) * direction
print("the three draws say", said.tolist(), "and on average", (alpha @ said).item())
torch.testing.assert_close(alpha @ said, gradient[2])

# %% [markdown]
# The same average; but the draws now lie between −0.1 and 4.9 instead of −1 and 7.5. Back to the eight places.
# *Before running: is it still right with an absurd baseline, 100?*

# %% tags=["answer"]
for b in (-3.0, 100.0):
    average = average_of_all_draws(baseline=b)
    torch.testing.assert_close(average, exact, atol=1e-4, rtol=0)  # large terms cancel: float32 keeps fewer digits
print("averaged over all places, REINFORCE is exact with any baseline")

# %% [markdown]
# What changes is how far *single* draws are from that average: the variance. Again we go through all places instead of sampling.


# %%
def exact_variance(baseline, e, memory, loss_of):
    """The variance of one draw of REINFORCE, summed over its entries."""
    alpha, loss = e.softmax(0), loss_of(memory)
    directions = torch.autograd.functional.jacobian(lambda e: e.log_softmax(0), e)  # draw n
    estimates = (loss + baseline)[:, None] * directions  # −(R − b), since R is −loss
    return (alpha[:, None] * (estimates - alpha @ estimates).square()).sum().item()


# %%
mean_loss = (e.softmax(0) @ loss_of(memory)).item()
baselines = [-mean_loss * k / 10 for k in range(0, 21)]

# %% tags=["folded"]
figure = new_figure(5.0, 2.4)
axes = figure.subplots()
variances = [exact_variance(b, e, memory, loss_of) for b in baselines]
plot_lines(axes, baselines, {"variance": variances}, xlabel="baseline b", ylabel="variance of one draw")
axes.axvline(-mean_loss, color="grey", linestyle=":")
axes.text(-mean_loss + 0.05, 6.5, "mean reward")
axes.set_ylim(0)
describe(
    figure,
    'a parabola over the baseline. Its lowest point lies next to a dotted line titled "mean reward"; '
    "there it is a fifth of what it is at b = 0.",
)

# %% [markdown]
# **The mean reward is a good baseline.** Is it the best one? A parabola is known from three of its points, so we need not search for
# its lowest one. In the exercise you derive where it lies.


# %%
def three_variances(seed):
    """Without a baseline, with the mean reward, and with the best baseline: the lowest point of the parabola."""
    e, memory, loss_of = example(seed)
    mean_reward = -(e.softmax(0) @ loss_of(memory)).item()
    left, at, right = (exact_variance(mean_reward + step, e, memory, loss_of) for step in (-1, 0, 1))
    best = at - (right - left) ** 2 / (8 * (left + right - 2 * at))
    return exact_variance(0.0, e, memory, loss_of), at, best


# %%
without, at_mean, best = torch.tensor([three_variances(seed) for seed in range(100)]).T
for seed in (0, 1, 2):
    print(f"example {seed}: without : mean reward = {without[seed] / at_mean[seed]:.1f} : 1.0")
print(f"best, as a share of mean reward, in 100 examples: median {(best / at_mean).median():.2f}")
assert (without > at_mean).all() and (best / at_mean).median() > 0.98 and (best / at_mean).min() < 0.33
worst_case = example(int((best / at_mean).argmin()))
assert 0.75 < worst_case[0].softmax(0).max() < 0.8

# %% [markdown]
# In all of a hundred examples the mean reward is better than no baseline, and in most of them nearly the best. Not in all: in one, where a
# single place has nearly four fifths of the weight, the best baseline leaves less than a third of its variance.

# %% [markdown]
# ## Soft and hard want different things
#
# Training softly lowers $L(\sum_n \alpha_n v_n)$, the loss of the mean. Training hard lowers $\sum_n \alpha_n L(v_n)$, the mean of the losses.
# *Before running: values −1 and 1, squared distance to 0, equal weights. What are the two losses?*

# %% tags=["answer"]
both = torch.tensor([[-1.0], [1.0]])
of_the_mean = soft_read(torch.zeros(2), both).square().item()
mean_of_losses = both.square().mean().item()
print(f"loss of the mean {of_the_mean:.0f}, mean of the losses {mean_of_losses:.0f}")
assert (of_the_mean, mean_of_losses) == (0, 1)

# %% [markdown]
# The blend is perfect, and no single place is. (For a convex L the loss of the mean is never the larger one: Jensen's inequality.)
#
# **Do the two gradients at least point the same way?** A cosine of 1 would mean yes.


# %%
def cosine(seed):
    """Between the gradients of the mean of the losses and of the loss of the mean."""
    e, memory, loss_of = example(seed)
    (hard,) = torch.autograd.grad(e.softmax(0) @ loss_of(memory), e)
    (soft,) = torch.autograd.grad(loss_of(soft_read(e, memory)), e)
    return torch.cosine_similarity(hard, soft, dim=0)


# %%
cosines = torch.stack([cosine(seed) for seed in range(100)])
print("examples 0, 1, 2:", [round(c, 2) for c in cosines[:3].tolist()])
print(f"of 100 examples: above one half {(cosines > 0.5).sum()}, negative {(cosines < 0).sum()}")
assert cosines[0] < 0 and 0 < (cosines < 0).sum() < 10 and (cosines > 0.5).sum() > 75

# %% [markdown]
# Mostly, and not always: example 0 is one of the rare ones where a small step that helps the soft reader harms the hard one. A network
# trained softly and then used hard was trained for something else.

# %% [markdown]
# ## Between the two: noise and a temperature
#
# Add *Gumbel noise* $g_n = -\log E_n$ to the scores, where each $E_n = -\log U_n$ comes from the exponential distribution and $U_n$ from the
# uniform one. Then **the largest of $e_n + g_n$ is a draw from softmax(e)**. For $e_n + g_n = -\log (E_n / \exp e_n)$: think of a
# clock at each place that rings after $E_n / \exp e_n$ seconds, hence at the rate $\exp e_n$. The first to ring has the largest sum, and
# the chance to be first is the share of all rates, which is α. Check it with our weights, one half and two quarters:

# %%
noise = -(-torch.rand(10_000, 3, generator=generator).log()).log()
share = (scores + noise).argmax(dim=1).bincount() / 10_000
print(
    "shares of the places:",
    [round(s, 2) for s in (share * 20).round().div(20).tolist()],
    "(to the nearest twentieth)",
)
assert (share - alpha).abs().max() < 0.02

# %% [markdown]
# Now two ways to let a gradient through:
#
# - *Gumbel-softmax* (Jang et al.) replaces the argmax by $y = \mathrm{softmax}((e + g)/\tau)$: for small τ nearly one place.
# - *Straight-through* (Bengio et al.) reads exactly the argmax, and in the backward pass pretends to have read with y.
#
# With the same noise, *what do you expect for the two values, and for the two gradients?*

# %%
e3 = scores.clone().requires_grad_()
nearly = gumbel_read(e3, values, temperature=0.5, generator=torch.Generator().manual_seed(5))
exactly = straight_through_read(e3, values, temperature=0.5, generator=torch.Generator().manual_seed(5))
print(
    "reads 0, 4 or 10:   Gumbel-softmax",
    nearly.item() in (0, 4, 10),
    "  straight-through",
    exactly.item() in (0, 4, 10),
)
assert nearly.item() not in (0, 4, 10) and exactly.item() in (0, 4, 10)
torch.testing.assert_close(torch.autograd.grad(nearly.sum(), e3), torch.autograd.grad(exactly.sum(), e3))

# %% [markdown]
# Different values, and the same gradient, since this read-out is only summed. With a loss behind it the two differ, as the loss
# sees different values.
#
# ## From soft to hard by one number
#
# Here is the memory of our experiment: nine cells. In eight of them the pixels of a digit are shuffled, one is left as it was.

# %% tags=["folded"]
train, test = hidden_digits(3000), hidden_digits(300, test=True, seed=1)
describe(
    show_images(train.cells[0], ["real" if k == train.places[0] else "" for k in range(9)]),
    'nine grey 8 × 8 images in a row; eight look like noise, the one titled "real" is a digit.',
)

# %% [markdown]
# A searcher that is not quite sure: score 3 for the real cell, plus a random number for every cell. **Move τ, without noise and
# with three draws of it.** Below the
# bars lie the cells, at the right what is read: all cells, added up with the bars as weights.

# %%
row_cells = train.cells[0]
row_scores = 3 * F.one_hot(train.places[0], 9) + torch.randn(9, generator=torch.Generator().manual_seed(1))
row_noise = {"no noise": torch.zeros(9)}
for k, seed in enumerate((10, 3, 6), start=1):
    row_noise[f"draw {k}"] = -(-torch.rand(9, generator=torch.Generator().manual_seed(seed)).log()).log()


# %%
def draw_read(figure, temperature, noise="no noise"):
    """The weights as bars over their cells, and the image that is read."""
    weights = ((row_scores + row_noise[noise]) / temperature).softmax(0)
    left, right = figure.subplots(1, 2, width_ratios=[9, 1.8])
    show_row(left, row_cells, [f"{weight:.2f}" for weight in weights])
    left.bar(9 * torch.arange(9) + 3.5, -12 * weights, bottom=-5, width=5, color=COLOURS[0])
    left.set_ylim(7.5, -18)
    show_image(right, (weights @ row_cells.flatten(1)).view(8, 8), title=f"τ = {temperature}, {noise}")


# %% tags=["widget"]
steer(
    draw_read,
    temperature=slider("τ", [0.1, 0.3, 1, 3, 10], value=1),
    noise=slider("noise", list(row_noise), value="no noise"),
    height=1.7,
)

# %% tags=["static", "folded"]
settings = [(0.1, "no noise"), (1, "no noise"), (10, "no noise"), (0.1, "draw 1"), (0.1, "draw 2"), (10, "draw 1")]
figure = new_figure(7.0, 9.0)
for panel, (temperature, noise) in zip(figure.subfigures(6, 1), settings):
    draw_read(panel, temperature, noise)
describe(
    figure,
    "six rows; each shows nine cells with a bar for the weight above each, and at the right the image "
    "that is read. Without noise: at τ = 0.1 one bar reaches 1, and the digit is read; at τ = 1 the bar "
    "of the digit has 0.32 and the image is a grey blur; at τ = 10 all bars are about 0.11. At τ = 0.1 "
    "draw 1 reads a scrambled cell, draw 2 the digit. At τ = 10 the bars of draw 1 lie between 0.09 and "
    "0.15.",
)

# %% [markdown]
# **Read it.** Without noise a small τ always reads the likeliest place. With noise it reads one place, *not always the same*: that is what hard
# reading needs to find out which places pay. A large τ drowns the noise, too: with it or without, the read is nearly the plain average.

# %% [markdown]
# ## Bias and variance
#
# Now there are many estimators of the same gradient, that of the expected loss. **An estimator's bias is how far its average is from the exact
# gradient; its variance, how far single draws are from their average.** We predict: REINFORCE has no bias; the others have, and a small τ trades
# it for variance.
#
# Many copies of the eight places give many independent draws at once.

# %%
MANY = 10_000
places, copies = e.detach().expand(MANY, 8).clone().requires_grad_(), memory.expand(MANY, 8, 3)


# %%
def bias_and_variance(estimate):
    """Distance of the mean gradient from the exact one, and the sum of the variances of its entries."""
    (gradients,) = torch.autograd.grad(estimate().sum(), places)  # MANY n
    return (gradients.mean(0) - exact).norm().item(), gradients.var(0).sum().item()


# %%
def softened(way, temperature):
    """The loss of each draw of a read that has a gradient itself."""
    return lambda: loss_of(way(places, copies, temperature=temperature, generator=generator))


def reinforce(baseline):
    """MANY times the surrogate, which is a mean: one estimate a row."""
    read = hard_read(places, copies, generator=generator)
    return MANY * reinforce_surrogate(read.log_prob, -loss_of(read.value), baseline)


# %%
estimators = {"soft": lambda: loss_of(soft_read(places, copies))}
estimators |= {f"Gumbel τ = {t}": softened(gumbel_read, t) for t in (2.0, 0.5, 0.1)}
estimators |= {f"straight-through τ = {t}": softened(straight_through_read, t) for t in (1.0, 0.1)}
estimators |= {"REINFORCE": lambda: reinforce(0.0), "REINFORCE, baseline": lambda: reinforce(-mean_loss)}
measured = {name: bias_and_variance(estimate) for name, estimate in estimators.items()}

# %% tags=["folded"]
figure = new_figure(7.0, 2.8)
axes = figure.subplots(1, 2, sharey=True)
for panel, k, label in zip(axes, (0, 1), ("bias", "variance of one draw, logarithmic")):
    panel.barh(list(measured), [pair[k] for pair in measured.values()], color=COLOURS[k])
    panel.set(xlabel=label)
marks = [(spread / MANY) ** 0.5 for _, spread in measured.values()]
axes[0].plot(marks, range(len(measured)), "|", color="black", markersize=12)
axes[1].set_xscale("symlog", linthresh=0.1)
axes[0].invert_yaxis()
describe(
    figure,
    "two bar charts with a bar for each of eight estimators; the variance has a logarithmic axis. The "
    "soft gradient has the largest bias and no variance. With falling τ the bias of Gumbel and straight- "
    "through shrinks and the variance grows more than tenfold. The bars of REINFORCE for the bias end "
    "near their black marks; the baseline cuts its variance to about a fifth.",
)

# %% [markdown]
# **The black marks are the noise of the measurement**: a mean of 10 000 draws is off by about $\sqrt{\text{variance} / 10\,000}$ itself. A
# bias that does not reach far beyond its mark may be zero.

# %%
bias, variance = ({name: pair[k] for name, pair in measured.items()} for k in (0, 1))
assert bias["REINFORCE"] < 0.15 and bias["REINFORCE, baseline"] < 0.06, "no more than the noise of the measurement"
assert bias["Gumbel τ = 0.1"] < bias["Gumbel τ = 0.5"] < bias["soft"]
assert bias["straight-through τ = 0.1"] < bias["straight-through τ = 1.0"] < bias["soft"]
assert variance["Gumbel τ = 0.1"] > 10 * variance["Gumbel τ = 2.0"] and variance["soft"] < 1e-6
assert variance["REINFORCE, baseline"] < variance["straight-through τ = 1.0"] < variance["REINFORCE"]
print(
    "the baseline cuts the variance by more than half:", variance["REINFORCE, baseline"] < 0.5 * variance["REINFORCE"]
)

# %% [markdown]
# **Read it.** Soft has no variance and the largest bias, REINFORCE no bias and, without a baseline, much variance. "Straight-through at τ = 1
# has less variance than REINFORCE" does not make it better: the gradient that it estimates so well is another one. With its baseline REINFORCE
# beats straight-through in *both* columns. Keep that in mind: it is a forecast, from one memory and one set of scores. Which error hurts
# more must be tried.
#
# ## The experiment: find the digit
#
# Nobody says which cell is real: the network only hears whether it named the digit. It *must* search. Without attention, with the
# mean of all cells, it fails:


# %%
def without_attention(seed):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    fit(network, train.cells.flatten(2).mean(1), train.labels, steps=200, one_cycle=False, seed=seed)
    return accuracy(network, test.cells.flatten(2).mean(1), test.labels)


# %%
blind = repeat(without_attention)
print("mean of all cells: more than half right in any seed:", bool((blind > 0.5).any()))
assert (blind < 0.5).all()


# %%
class Seeker(nn.Module):
    """Scores every cell by itself; names the digit in what was read."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Sequential(nn.Flatten(2), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 1), nn.Flatten(1))
        self.name = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


# %% [markdown]
# The same network is trained in six ways. Three read with a gradient, and need only the loss of the answer:


# %%
def blended(read):
    """The loss of the answer, for reads that have a gradient themselves; there is no reward."""
    return lambda model, x, y, b: (F.cross_entropy(model.name(read(model.scores(x), x.flatten(2))), y), 0.0)


# %% [markdown]
# The three others pick. Two things learn at once: the *name*, from the loss of the answer as always, and the *scores*, from the surrogate. An
# *entropy* term may reward weights that stay spread out, so that the search is not given up too early: $-\sum_n \alpha_n \log \alpha_n$ is 0
# when one place has all the weight, and largest when all have the same.


# %%
def picked(entropy=0.0):
    """The loss of the answer, the surrogate for the place, minus the entropy; and the mean reward."""

    def way(model, cells, labels, baseline):
        scores = model.scores(cells)
        read = hard_read(scores, cells.flatten(2))
        loss = F.cross_entropy(model.name(read.value), labels, reduction="none")
        surrogate = reinforce_surrogate(read.log_prob, -loss, baseline)
        spread = torch.special.entr(scores.softmax(-1)).sum(-1).mean()
        return loss.mean() + surrogate - entropy * spread, -loss.mean().item()

    return way


# %%
WAYS = {
    "soft": blended(soft_read),
    "Gumbel": blended(gumbel_read),
    "straight-through": blended(straight_through_read),
    "baseline": picked(),
    "baseline, entropy": picked(entropy=0.3),
    "neither": picked(),  # `search` below keeps a baseline for the ways with that name
}

# %% [markdown]
# The baseline is a *moving average* of the rewards of earlier updates, as in Xu et al.: it knows nothing about the draw that it
# is taken off from.


# %%
def search(way, seed, updates=200):
    """The share of attention on the real cell of unseen rows, after every fifth update."""
    torch.manual_seed(seed)
    model, baseline, curve = Seeker(), 0.0, []
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for t in range(updates):
        batch = torch.randint(3000, (64,))
        loss, reward = WAYS[way](model, train.cells[batch], train.labels[batch], baseline)
        baseline = 0.9 * baseline + 0.1 * reward if "baseline" in way else 0.0
        optimiser.zero_grad(), loss.backward(), optimiser.step()
        if t % 5 == 4:
            weights = model.scores(test.cells).softmax(-1)
            curve.append(weights[torch.arange(300), test.places].mean().item())
    answer = model.name(hard_read(model.scores(test.cells), test.cells.flatten(2), sample=False).value)
    return [*curve, (answer.argmax(1) == test.labels).float().mean().item()]


# %% [markdown]
# *We predict* that all six find the cell. The variances above say: soft first, REINFORCE without a baseline last, and REINFORCE with a
# baseline *before* straight-through. *What do you expect of the entropy term?*

# %% tags=["folded"]
results = {way: repeat(lambda seed, way=way: search(way, seed)) for way in WAYS}  # seeds 41
updates = list(range(5, 201, 5))
figure = new_figure(height=3.0)
left, right = figure.subplots(1, 2, sharey=True)
curves = {way: runs[:, :-1].mean(0) for way, runs in results.items()}
for axes, ways, title in (
    (left, list(WAYS)[:3], "a gradient through the read"),
    (right, list(WAYS)[3:], "REINFORCE with …"),
):
    plot_lines(axes, updates, {way: curves[way] for way in ways}, xlabel="updates", ylabel="", title=title)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
left.set_ylabel("attention on the real cell")
describe(
    figure,
    "two plots of curves that rise from one ninth to 1 over 200 updates. Left: soft, Gumbel and straight- "
    "through rise close together, soft first, all before update 60. Right: REINFORCE with baseline "
    "reaches 1 at about 100; without it, and with baseline and entropy, at about 150.",
)


# %%
def updates_needed(curve):
    """The first update at which nine tenths of the attention are on the real cell; 205 if there is none."""
    return next((update for update, share in zip(updates, curve) if share > 0.9), 205)


# %%
needed = {way: torch.tensor([updates_needed(run[:-1]) for run in runs]).float() for way, runs in results.items()}
print("in all three seeds within   75     110 updates")
for way, three in needed.items():
    print(f"{way:27}", *("yes   " if (three <= limit).all() else "no    " for limit in (75, 110)))

# %%
assert all((runs[:, -2:] > 0.8).all() for runs in results.values()), "all find it, and name it"
assert needed["soft"].mean() <= needed["straight-through"].mean() < needed["baseline"].mean()
assert needed["baseline"].mean() < needed["neither"].mean()
assert (needed["baseline"] < needed["baseline, entropy"]).all()
print("all six name more than 80 % of the digits by picking the likeliest cell; without attention fewer than 50 %")

# %% [markdown]
# **Read it.** The order is the order of how much each update hears: soft learns from nine cells at once, REINFORCE
# only from the one that it drew. The baseline saves a good part of what REINFORCE loses.
#
# **What contradicts the story.** Three things.
#
# - The forecast was wrong about straight-through: it reads one cell, too, and yet is nearly as fast as soft, twice as fast as REINFORCE with its
#   baseline. Its biased gradient asks what each of the nine would have changed. Bias and variance at one point do not tell how long the way is.
# - The entropy term, often recommended, only costs here: no run gave up the search, so there was nothing to rescue, and it pulls away from
#   the answer. It is as slow as no baseline at all. (With a weight of 0.02 instead of 0.3 we saw no difference to none.)
# - In the end all six are nearly equally good, though the soft one was trained for another goal and is tested here by picking: once α is
#   nearly one-hot, the loss of the mean *is* the mean of the losses.
#
# So with nine places the choice decides about *patience*, not about the result. And about luck: we once ran 15 seeds, and REINFORCE without a
# baseline needed 95 to 160 updates, one run more than 200; with a baseline 70 to 100.

# %% [markdown]
# ## A caption: look again before each word
#
# In *Show, Attend and Tell* (Xu et al.) a recurrent network looks at the image before each word t, where the sentence so far sends it:
#
# $$e_{tn} = u^\top \tanh(W_c a_n + W_d h_{t-1}) \qquad \alpha_t = \mathrm{softmax}(e_t) \qquad \hat z_t = \beta_t \sum_n \alpha_{tn} a_n \;\text{ or }\; \beta_t\, a_n,\; n \sim \alpha_t$$
#
# | symbol | name | shape | in words |
# |---|---|---|---|
# | $a$ | annotations | n D | what lies at each place: keys and values |
# | $h_{t-1}$ | state | k | the sentence so far: the query of an additive score (lesson 01) |
# | $\hat z_t$ | context | D | what is read before word t |
# | $\beta_t$ | selector | 1 | $\sigma(w \cdot h_{t-1})$, between 0 and 1: how much the image counts for this word |
# | $W_c, W_d, u, w$ | learned | D D, D k, D, k | the small networks that score a place, and set the selector |
#
# An LSTM (a recurrent cell, `nn.LSTMCell`) then takes the word before and $\hat z_t$, and gives $h_t$; a linear layer names the word from
# $h_t$, $\hat z_t$ and the word before. The first state comes from the mean annotation.
#
# **Our images** are strips of four cells with two digits; the caption names them from left to right.

# %% tags=["folded"]
strips, captions, _ = digit_strips(3000)
new_strips, new_captions, new_places = digit_strips(500, test=True, seed=1)
titles = [" ".join(WORDS[word] for word in caption) for caption in captions[:4]]
describe(
    show_images(list(strips[:4, 0]), titles),
    "four wide dark strips, each with two digits in two of four cells, under captions of two words that "
    "name them from left to right.",
)

# %% [markdown]
# An annotation is one cell's 64 pixels *and a one-hot of its place*: a look-up knows no order (lesson 01), so without
# the place nothing says which digit is the left one.


# %%
def annotations(strips):
    """The pixels of each cell and its place: b 1 8 32 -> b 68 1 4."""
    place = torch.eye(4)[:, None].expand(len(strips), 4, 1, 4)
    return torch.cat([F.pixel_unshuffle(strips, 8), place], dim=1)


# %%
class Captioner(nn.Module):
    """Two words for a strip; each is predicted from the word before and from where the cell looks."""

    def __init__(self, read):
        super().__init__()
        self.embed, self.word = nn.Embedding(11, 16), nn.Linear(16, 10)
        self.cell = ShowAttendTellCell(68, 16, 32, read=read)

    def inputs(self, strips, captions):
        before = F.pad(captions[:, :-1], (1, 0), value=10)  # the true word before; 10 is "none yet"
        return annotations(strips), self.embed(before)

    def forward(self, strips, captions):
        return self.word(self.cell(*self.inputs(strips, captions)))  # b t 10


# %% [markdown]
# Hard reading needs the surrogate again. A look helps its own word *and those after it*, since the state carries on what was seen. So the
# reward of look t is minus the losses of the words from t on, and each t has its own baseline.


# %%
def caption_loss(model, batch, baseline, penalty):
    """The loss of the words, the penalty, the surrogate of hard looks, and the mean reward of each word."""
    decoding = model.cell.decode(*model.inputs(strips[batch], captions[batch]))
    losses = F.cross_entropy(model.word(decoding.outputs).mT, captions[batch], reduction="none")  # b t
    reward = -losses.detach().flip(1).cumsum(1).flip(1)  # of this word and those after it
    looks = 2 * reinforce_surrogate(decoding.log_prob, reward, baseline)  # 2 words; 0 where reading is soft
    total = losses.sum(1).mean() + penalty * doubly_stochastic_penalty(decoding.weights) + looks
    return total, reward.mean(0)


# %%
def learn_to_caption(read, seed, penalty=0.0, updates=300):
    """A trained captioner, in eval mode: hard reading takes the likeliest place."""
    torch.manual_seed(seed)
    model, baseline = Captioner(read), torch.tensor([-4.6, -2.3])  # the reward of guessing, log 1/10 a word
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(updates):
        loss, reward = caption_loss(model, torch.randint(3000, (64,)), baseline, penalty)
        baseline = 0.9 * baseline + 0.1 * reward
        optimiser.zero_grad(), loss.backward(), optimiser.step()
    return model.eval()


# %% [markdown]
# The paper adds a *doubly stochastic* penalty, $\sum_n (1 - \sum_t \alpha_{tn})^2$: over the whole caption each place should get 1 in all.
# *Before running: two words, four places. What is the penalty if each word looks at one place of its own, and what if both words look
# everywhere equally?*

# %% tags=["answer"]
one_each = torch.eye(4)[None, :2]  # 1 t n: the places get 1, 1, 0, 0
everywhere = torch.full((1, 2, 4), 0.25)  # the places get one half each
print(
    "one each",
    doubly_stochastic_penalty(one_each).item(),
    "  everywhere",
    doubly_stochastic_penalty(everywhere).item(),
)
assert doubly_stochastic_penalty(one_each) == 2 and doubly_stochastic_penalty(everywhere) == 1

# %% [markdown]
# Two words have only 2 to share out, so four places cannot get 1 each. The penalty prefers to look everywhere, even where nothing is.
# We train with and without it.

# %%
kinds = {"soft": ("soft", 0.0), "hard": ("hard", 0.0), "soft + penalty": ("soft", 1.0)}
captioners = {
    name: [learn_to_caption(read, seed, penalty) for seed in (0, 1, 2)] for name, (read, penalty) in kinds.items()
}


# %%
def read_captions(model):
    """What it says and where it looked, for all unseen strips: b t and b t n."""
    with record_attention(model) as maps, torch.no_grad():
        said = model(new_strips, new_captions).argmax(-1)
    (weights,) = maps["cell"]
    return said, weights


# %%
def right_and_found(model):
    """The share of right words, and the mean weight of the cell of the digit to be named."""
    said, weights = read_captions(model)
    found = weights.gather(2, new_places[..., None])
    return [(said == new_captions).float().mean().item(), found.mean().item()]


# %%
table = {name: torch.tensor([right_and_found(model) for model in models]) for name, models in captioners.items()}
for name, three in table.items():
    words, looks = three[:, 0].min() > 0.9, three[:, 1].min() > 0.8
    print(f"{name:15} words above 90 %: {bool(words)!s:6} attention on the right cell above 80 %: {bool(looks)}")

# %%
assert all((three[:, 0] > 0.9).all() for three in table.values())
assert (table["soft"][:, 1] > 0.8).all() and (table["hard"][:, 1] > 0.8).all()
assert (table["soft + penalty"][:, 1] < 0.6).all(), "the penalty spreads attention over empty cells"
lost = table["soft"][:, 0].mean() - torch.stack([table[name][:, 0].mean() for name in ("hard", "soft + penalty")])
assert (0 < lost).all() and (lost < 0.05).all(), "both cost words, but fewer than five in a hundred"

# %% [markdown]
# ## Look at the maps, word by word
#
# Three unseen strips. Each line is one word of one captioner, each square the weight of the cell above it: violet is 0, yellow is 1.

# %% tags=["folded"]
looked = {name: read_captions(models[0]) for name, models in captioners.items()}
figure = new_figure(7.0, 3.2)
above, below = figure.subplots(2, 3, height_ratios=[1, 3.5])
for k in range(3):
    show_image(above[k], new_strips[k, 0], title=" ".join(WORDS[word] for word in new_captions[k]))
    show_weights(below[k], torch.cat([weights[k] for _, weights in looked.values()]), top=1.0)
    below[k].set_axis_on()
    below[k].set(aspect="auto", xticks=[])
    below[k].yaxis.tick_right()
    below[k].set_yticks(range(6), [WORDS[word] for said, _ in looked.values() for word in said[k]])
for row, name in zip((0.5, 2.5, 4.5), looked):
    below[0].text(-0.8, row, name, ha="right", va="center")
describe(
    figure,
    "three strips with the true caption above, and below each a table of six lines, two for each "
    "captioner, and four squares; at the right of each line the word that was said. In the lines of the "
    "soft and the hard captioner one square is bright, under the digit to be named. In those of the "
    "captioner with penalty two or more squares are half bright, some of them under empty cells.",
)

# %%
_, spread = looked["soft + penalty"]
totals = spread.sum(1).mean(0)  # n: what each place gets over both words, on average
print("with penalty each place gets about one half:", bool((totals - 0.5).abs().max() < 0.15))
assert (totals - 0.5).abs().max() < 0.15

# %% [markdown]
# **Read it.** Soft and hard captioner look where we would, first at the left digit and then at the right one. The soft one was free to blend and
# nearly picks. The penalty shares two words' attention out over four places, one half for each, whether there is a digit or not.
#
# **What contradicts the story:** the maps are spoilt, and the words hardly suffer: a wrong one, as you may find above, is the exception. The
# pixels of an empty cell are zeros; mixing it in only dims the digit, and the network reads dim digits. *A map shows what was weighed, not
# what was needed.*

# %% [markdown]
# ## The bridge
#
# | lesson | query | key | value | weights | normaliser | cost |
# |---|---|---|---|---|---|---|
# | 02 soft | sentence so far, or learned | places | places | n | softmax over the places | n scores, n values |
# | 02 hard | the same | places | places | n, one is drawn | softmax over the places | n scores, *one* value |
#
# ## What to believe
#
# Xu et al. report hard a little ahead of soft in BLEU on COCO, without error bars. In our two experiments hard ends equal or a little
# behind, and picking took more updates to get there. Their released code differs from the paper: it divides the reward term by ten, and
# tosses one coin for a whole batch to decide
# whether to draw or to blend. Our digits are small, our places few. Hard reading still scores every
# place, and saves only the values: where each value costs a camera movement, or a network run on a patch, soft reading is not an option.
#
# ## Three things to keep
#
# 1. Soft lowers **the loss of the mean**, hard **the mean of the losses**: different goals, often nearly the same result.
# 2. REINFORCE has no bias; a **baseline** near the mean reward, which does not know the draw, takes variance off at no price. For Gumbel and
#    straight-through a small τ buys less bias with more variance.
# 3. **Each update learns as much as it hears**: soft from all places, a draw from one.
#
# *References.* Xu et al., Show, Attend and Tell, ICML 2015, arXiv 1502.03044.
# Jang, Gu, Poole, Categorical Reparameterization with Gumbel-Softmax, ICLR 2017, arXiv 1611.01144.
# Bengio, Léonard, Courville, Estimating or Propagating Gradients Through Stochastic Neurons for Conditional Computation, 2013, arXiv 1308.3432.
# Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning, Machine Learning 8, 1992.
#
# **Next:** the [exercise](../exercises/02_soft_and_hard.ipynb), then lesson 06, which picks places several times in a row.
