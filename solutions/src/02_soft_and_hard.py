# %% [markdown]
# # Exercise 02 · Soft and hard
#
# You write the soft read and straight-through, repair a REINFORCE loss, and derive two numbers: the smallest
# doubly stochastic penalty and the best baseline.
#
# *Minutes:* 55 · *Needs:* 02
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.exercises import Exercise

exercise = Exercise("02_soft_and_hard", points=[2, 3, 3, 3, 3])

# %% [markdown]
# ## task_02_1 · The soft context
# difficulty 1/5 · importance 5/5 · 8 minutes
#
# $z_b = \sum_n \alpha_{bn}\, a_{bn}$ with $\alpha_b = \mathrm{softmax}(e_b / \tau)$: what each image's decoder reads.
#
# Shapes: `scores` b n, `annotations` b n d; result b d. `temperature` is τ.
#
# <details><summary>Hint 1: which axis?</summary>
#
# The weights of one image sum to 1 over its n places; another image of the batch has no say.
# </details>
#
# <details><summary>Hint 2: the product</summary>
#
# Give the weights a last axis of length 1, multiply, and sum over n.
# </details>


# %% tags=["task_02_1"]
def soft_context(scores, annotations, temperature=1.0):
    """The mean annotation under the weights: b n, b n d -> b d."""
    ### BEGIN SOLUTION
    weights = (scores / temperature).softmax(dim=1)
    return (weights[:, :, None] * annotations).sum(dim=1)
    ### END SOLUTION


# %% tags=["check_02_1"]
with exercise.check(1):
    scores = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 1.0]]).log()  # weights ½ ¼ ¼ and ⅓ ⅓ ⅓
    annotations = torch.tensor([[[0.0, 1.0], [4.0, 1.0], [12.0, 1.0]], [[3.0, 1.0], [6.0, 1.0], [9.0, 1.0]]])
    z = soft_context(scores, annotations)
    assert z.shape == (2, 2), f"2 images, annotations of length 2: the result is b d = (2, 2), not {tuple(z.shape)}"
    assert torch.allclose(z[:, 1], torch.ones(2)), (
        f"annotations that are all 1 must give 1, not {z[:, 1].numpy().round(2)}: the weights of each image sum to 1 over its n places"
    )
    assert torch.allclose(z[:, 0], torch.tensor([4.0, 6.0])), (
        f"½·0 + ¼·4 + ¼·12 is 4, and the mean of 3, 6, 9 is 6; not {z[:, 0].numpy().round(2)}"
    )
    sharper = soft_context(scores, annotations, temperature=0.5)[0, 0]
    assert sharper < 4, (
        "a small τ must bring the result nearer to the likeliest place: divide the scores by τ, before the softmax"
    )
    assert abs(sharper - 16 / 6) < 1e-5, (
        f"τ = ½ squares the ratio 2 : 1 : 1 to 4 : 1 : 1, so z = 16/6 = 2.67, not {sharper:.2f}"
    )

# %% [markdown]
# ## task_02_2 · Repair a REINFORCE loss
# difficulty 3/5 · importance 5/5 · 12 minutes
#
# This code runs, and it is wrong in two ways.
#
# ```python
# def surrogate(log_prob, reward, baseline):
#     return (log_prob * (reward - baseline)).mean()
# ```
#
# Minimising it makes rewarded draws *less* likely; and its gradient also runs into the reward (which a network may have computed)
# and into the baseline (which may be learned, by another loss). Repair both, so that its gradient, on average over draws, is that of *minus* the expected
# reward, whatever the baseline is.
#
# Shapes: `log_prob`, `reward`, `baseline` b each (one entry a draw); result a number, the mean over the draws.
#
# <details><summary>Hint 1: the sign</summary>
#
# An optimiser goes down; the reward must go up.
# </details>
#
# <details><summary>Hint 2: a number, not a path</summary>
#
# Reward minus baseline only says how strongly to push the log-probability. For the gradient it is a constant factor: `detach` it.
# </details>


# %% tags=["task_02_2"]
def surrogate(log_prob, reward, baseline):
    """A loss whose average gradient is that of minus the expected reward: b, b, b -> a number."""
    ### BEGIN SOLUTION
    return -(log_prob * (reward - baseline).detach()).mean()
    ### END SOLUTION


# %% tags=["check_02_2"]
with exercise.check(2):
    log_prob, reward, baseline = (
        torch.tensor(numbers, requires_grad=True) for numbers in ([-1.0, -3.0], [5.0, 2.0], [1.0, 4.0])
    )
    loss = surrogate(log_prob, reward, baseline)
    assert loss.ndim == 0, (
        f"the result is one number, the mean over the draws, not a tensor of shape {tuple(loss.shape)}"
    )
    assert loss.requires_grad, "no gradient reaches the log-probabilities: detach the factor beside them, not them"
    of_log_prob, *others = torch.autograd.grad(loss, (log_prob, reward, baseline), allow_unused=True)
    assert of_log_prob is not None, (
        "no gradient reaches the log-probabilities: detach the factor beside them, not them"
    )
    assert of_log_prob[0] < 0, (
        "the first draw earned 5, more than its baseline of 1: going down the gradient must make it more likely"
    )
    assert of_log_prob[1] > 0, "the second draw earned 2, less than its baseline of 4: it must become less likely"
    assert torch.allclose(of_log_prob, torch.tensor([-2.0, 1.0])), (
        f"with advantages 4 and −2 and two draws the gradient is −4/2 and 2/2, not {of_log_prob.numpy().round(2)}"
    )
    for name, gradient in zip(("reward", "baseline"), others):
        assert gradient is None or (gradient == 0).all(), f"this loss must not train the {name}: it is a number here"

# %% [markdown]
# ## task_02_3 · Straight-through
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# Return weights that *pick*: a one-hot of the largest entry of `scores` + `noise`, whose gradient with respect to the scores is that of
# $y = \mathrm{softmax}((e + g)/\tau)$.
#
# Shapes: `scores` … n, `noise` … n (Gumbel noise, given); result … n, where … stands for any axes, or none.
# Do not use `F.gumbel_softmax`, which draws its own noise.
#
# <details><summary>Hint 1: add a zero</summary>
#
# `y - y.detach()` is zero, and has the gradient of y.
# </details>
#
# <details><summary>Hint 2: the one-hot</summary>
#
# `torch.zeros_like(y).scatter(-1, index, 1.0)` writes a 1 at `index`, which needs a last axis: `argmax(-1, keepdim=True)`.
# </details>


# %% tags=["task_02_3"]
def straight_through(scores, noise, temperature):
    """One-hot forward, softmax backward: … n, … n -> … n."""
    ### BEGIN SOLUTION
    y = ((scores + noise) / temperature).softmax(dim=-1)
    one_hot = torch.zeros_like(y).scatter(-1, y.argmax(dim=-1, keepdim=True), 1.0)
    return one_hot + (y - y.detach())
    ### END SOLUTION


# %% tags=["check_02_3"]
with exercise.check(3):
    scores = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 3.0]], requires_grad=True)
    noise = torch.tensor([[0.0, 3.0, 0.5], [0.0, 1.0, 0.0]])  # sums 2 3 1.5 and 0 1 3
    picked = straight_through(scores, noise, 0.5)
    assert picked.shape == (2, 3), f"the result has the shape of the scores, (2, 3), not {tuple(picked.shape)}"
    assert torch.allclose(picked.sum(-1), torch.ones(2)), "each row must sum to 1 over its n places, the last axis"
    assert torch.allclose(picked.max(-1).values, torch.ones(2)), "forward, each row must be a one-hot, not a blend"
    assert picked.argmax(-1).tolist() == [1, 2], (
        f"scores + noise are largest at places 1 and 2; you picked {picked.argmax(-1).tolist()}: is the noise added?"
    )
    assert picked.requires_grad, "the one-hot alone has no gradient: add a zero that has one"
    alone = straight_through(scores[0].detach(), noise[0], 0.5)  # one row, no axis before n
    assert alone.tolist() == [0, 1, 0], f"a row alone, of shape (3,), must give [0, 1, 0], not {alone.tolist()}"
    values = torch.tensor([1.0, 0.0, 0.0])
    (gradient,) = torch.autograd.grad((picked * values).sum(), scores)
    y = torch.tensor([4.0, 6.0, 3.0]).softmax(0)  # row 0, (e + g)/τ
    expected = (y * (values - y[0]) / 0.5)[0]
    assert gradient[0, 0] > 0, "the gradient has the wrong sign: a larger score must give a larger weight"
    assert torch.allclose(gradient[0, 0], expected), (
        f"∂y₀/∂e₀ = y₀(1 − y₀)/τ = {expected:.3f} with y = softmax((e + g)/τ), not {gradient[0, 0]:.3f}"
    )

# %% [markdown]
# ## task_02_4 · The doubly stochastic penalty and its minimum
# difficulty 3/5 · importance 3/5 · 12 minutes
#
# Write `penalty`: $\sum_n \bigl(1 - \sum_t \alpha_{tn}\bigr)^2$, averaged over the batch. Then derive on paper: what is the *smallest* value it can have, over all
# weights that are possible for t words and n places? Return it from `smallest_penalty`.
#
# Shapes: `weights` b t n, each word's weights sum to 1; result a number. `words` and `places` are whole numbers, either may be the larger one.
#
# <details><summary>Hint 1: what is fixed?</summary>
#
# Each word's weights sum to 1, so all weights together sum to t. The penalty only sees what each place gets in all.
# </details>
#
# <details><summary>Hint 2: where is the minimum?</summary>
#
# Share a fixed total t among n places so that $\sum_n (1 - s_n)^2$ is smallest. Move a little from a place with more to one with less: what happens to the
# sum? So all are equal.
# </details>


# %% tags=["task_02_4"]
def penalty(weights):
    """How unequally a caption looks at the places: b t n -> a number."""
    ### BEGIN SOLUTION
    return (1 - weights.sum(dim=1)).square().sum(dim=1).mean()
    ### END SOLUTION


def smallest_penalty(words, places):
    """The minimum of the penalty over all weights."""
    ### BEGIN SOLUTION
    return places * (1 - words / places) ** 2
    ### END SOLUTION


# %% tags=["check_02_4"]
with exercise.check(4):
    same_place = torch.tensor([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])  # 1 2 3: two words look at place 0
    two_places = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    assert penalty(same_place).ndim == 0, "the result is one number, not one for each image or place"
    assert penalty(same_place) == 3, (
        f"the places get 2, 0, 0, so the penalty is 1 + 1 + 1 = 3, not {penalty(same_place):.2f}: sum over words, then 1 minus, square, sum over places"
    )
    assert penalty(two_places) == 1, f"the places get 1, 1, 0: the penalty is 1, not {penalty(two_places):.2f}"
    blended = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]])
    assert penalty(blended) == 1.5, (
        f"the places get 1.5, 0.5, 0: the penalty is ¼ + ¼ + 1 = 1.5, not {penalty(blended):.2f}: each difference is squared by itself"
    )
    both = torch.cat([same_place, two_places])
    assert penalty(both) == 2, f"two images with 3 and 1 have the mean 2, not {penalty(both):.2f}"
    assert abs(smallest_penalty(3, 3)) < 1e-6, "as many words as places: each place can get 1, and nothing is left"
    generator = torch.Generator().manual_seed(0)
    for words, places in ((2, 3), (5, 3)):
        weights = torch.randn(2000, words, places, generator=generator).softmax(-1)
        least, yours = min(penalty(one[None]).item() for one in weights), float(smallest_penalty(words, places))
        case = f"{words} words, {places} places: 2000 random weights come down to {least:.2f}"
        assert yours < least + 1e-6, f"{case}, less than your minimum {yours:.2f}"
        assert yours > least - 0.05, f"{case}, and none near your minimum {yours:.2f}: all weights together sum to t"

# %% [markdown]
# ## task_02_5 · The best baseline
# difficulty 4/5 · importance 3/5 · 13 minutes
#
# One place is drawn from $\alpha = \mathrm{softmax}(e)$, and the estimate of the gradient is $(L_n - b)\, \partial \log \alpha_n / \partial e$: the loss of that place minus b,
# times its *direction*, the gradient of its log-probability. Derive the number b for which the variance of the estimate, summed
# over the entries of e, is smallest. (Here b is taken off the loss. The lesson takes its baseline off the reward, which is minus
# the loss: the two have opposite signs.)
#
# Shapes: `scores` n, `losses` n; result a number.
#
# <details><summary>Hint 1: only one term has b</summary>
#
# The variance is the mean square minus the square of the mean, and the mean does not depend on b. So minimise
# $E\bigl[(L - b)^2\, \lVert \partial \log \alpha \rVert^2\bigr]$.
# </details>
#
# <details><summary>Hint 2: set the derivative to zero</summary>
#
# A mean of the losses comes out, in which place n counts $\alpha_n \lVert \partial \log \alpha_n \rVert^2$.
# </details>
#
# <details><summary>Hint 3: the gradient of log α</summary>
#
# $\partial \log \alpha_n / \partial e$ is a one-hot of n, minus α: n entries for each n, `torch.eye(n) - alpha`.
# </details>


# %% tags=["task_02_5"]
def best_baseline(scores, losses):
    """The constant that makes the variance smallest: n, n -> a number."""
    ### BEGIN SOLUTION
    alpha = scores.softmax(dim=0)
    lengths = (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(dim=1)  # n
    return (alpha * lengths * losses).sum() / (alpha * lengths).sum()
    ### END SOLUTION


# %% tags=["check_02_5"]
with exercise.check(5):
    even, losses = torch.zeros(4), torch.tensor([1.0, 2.0, 3.0, 10.0])
    b = float(best_baseline(even, losses))
    assert abs(b - 4) < 1e-4, (
        f"with four equal weights every direction has the same length: b is the mean loss, 4, not {b:.2f}"
    )
    same = float(best_baseline(torch.tensor([1.0, -1.0, 0.5]), torch.full((3,), 7.0)))
    assert abs(same - 7) < 1e-4, f"if every loss is 7 the best baseline is 7, not {same:.2f}: it is a weighted mean"
    scores = torch.tensor([4.0, 1.0, 1.0]).log()  # weights 4/6, 1/6, 1/6
    b = float(best_baseline(scores, losses[1:]))
    alpha = scores.softmax(0)
    directions = torch.autograd.functional.jacobian(lambda e: e.log_softmax(0), scores)  # draw n

    def mean_square(b):
        return (alpha[:, None] * ((losses[1:] - b)[:, None] * directions).square()).sum().item()

    assert abs(b - (alpha @ losses[1:]).item()) > 1e-3, (
        f"{b:.2f} is the mean loss: nearly the best, but a likely place has a short direction and counts less"
    )
    nearby = {step: mean_square(b + step) - mean_square(b) for step in (-0.1, 0.1)}
    better = min(nearby, key=nearby.get)
    assert nearby[better] > 0, (
        f"at your b = {b:.2f} a {'smaller' if better < 0 else 'larger'} b still lowers the variance: how much does each loss count?"
    )
