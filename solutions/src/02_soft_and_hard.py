# %% [markdown]
# # Exercise 02 · Soft and hard
#
# You measure how far a hard read strays from the soft one, repair the loss of several looks, pick more than one place
# straight-through, and derive two things: the smallest doubly stochastic penalty and the best baseline.
#
# *Minutes:* 58 · *Needs:* 02
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import torch

from course_lib.exercises import Exercise

exercise = Exercise("02_soft_and_hard", points=[2, 3, 3, 3, 3])

# %% [markdown]
# ## task_02_1 · How far a hard read strays
# difficulty 2/5 · importance 4/5 · 10 minutes
#
# The soft read $r$ is the mean of the hard reads. How far are they from it? Return, for each image of a batch, the mean of
# $\lVert v_i - r \rVert^2$ over the draws $i \sim \alpha = \mathrm{softmax}(e / \tau)$: exactly, without drawing.
#
# Shapes: `scores` b n, `values` b n d; result b. `temperature` is τ.
#
# <details><summary>Hint 1: what is the mean over the draws?</summary>
#
# Place i is drawn with the probability $\alpha_i$, so a mean over draws is a sum over places, each times its weight. The weights of one
# image sum to 1; another image of the batch has no say.
# </details>
#
# <details><summary>Hint 2: which tensors, of which shapes?</summary>
#
# The weights are b n, the soft read is b d. How many squared distances are there for an image, and over which axis do they sum to one number each?
# </details>


# %% tags=["task_02_1"]
def spread(scores, values, temperature=1.0):
    """The mean squared distance of a hard read to the soft one: b n, b n d -> b."""
    ### BEGIN SOLUTION
    alpha = (scores / temperature).softmax(dim=1)
    read = (alpha[:, :, None] * values).sum(dim=1)  # b d
    return (alpha * (values - read[:, None]).square().sum(dim=2)).sum(dim=1)
    ### END SOLUTION


# %% tags=["folded"]
W3 = torch.tensor([[1.0, 1.0, 1.0], [2.0, 1.0, 1.0]]).log()  # scores: weights ⅓ ⅓ ⅓ and ½ ¼ ¼
V3 = torch.tensor([[3.0, 6.0, 9.0], [0.0, 4.0, 12.0]])[:, :, None] * torch.tensor([1.0, 0.0, 0.0, 2.0])


def strays(image, values=None, temperature=1.0):
    """What the answer says about one image alone."""
    values = V3[image : image + 1] if values is None else values
    return spread(W3[image : image + 1], values, temperature=temperature).item()


def equal_values_stray_by_nothing():
    still = strays(0, torch.full((1, 3, 4), 7.0))
    assert abs(still - 196) > 1e-3, (
        "values that are all 7 stray by 0, not by 196: that is their distance from zero, not from r"
    )
    assert abs(still) < 1e-3, (
        f"values that are all 7 stray by 0, not by {still:.2f}: do the weights of an image sum to 1 over its places?"
    )


# %% tags=["folded"]
def equal_weights():
    even = strays(0)
    assert abs(even - 7.5) > 1e-3, (
        "7.5 is a quarter of it: the length of a difference adds up over d, it is no mean over d"
    )
    assert abs(even - 30) < 1e-3, (
        f"3, 6, 9 with equal weights stray by (9 + 0 + 9)/3 = 6, and the last column, twice as large, by 24: 30 in all, not {even:.2f}"
    )


def unequal_weights():
    uneven = strays(1)
    assert abs(uneven - 400 / 3) > 1e-2, (
        "a draw takes the first place in half of the cases; you counted all places alike"
    )
    assert abs(uneven - 1160 / 9) > 1e-2, (
        "distances are measured from the soft read, 4; you took another middle, 5.33"
    )
    assert abs(uneven - 120) < 1e-3, (
        f"0, 4, 12 with weights ½ ¼ ¼: the soft read is 4, and they stray by ½·16 + ¼·0 + ¼·64 = 24, with the last column 120, not {uneven:.2f}"
    )


# %% tags=["folded"]
def another_temperature():
    sharper = strays(1, temperature=0.5)
    assert abs(sharper - 120) > 1e-3, "τ = ½ must change the result: is τ used?"
    still = strays(1, torch.full((1, 3, 4), 7.0), temperature=0.5)
    assert abs(still) < 1e-3, f"with τ = ½ values that are all 7 stray by {still:.2f}: the weights no longer sum to 1"
    assert sharper < 120, (
        f"a small τ prefers the likeliest place more, so draws stray less than 120, not {sharper:.2f}"
    )
    assert abs(sharper - 880 / 9) < 1e-2, (
        f"τ = ½ squares the ratio 2 : 1 : 1 to 4 : 1 : 1, and 0, 4, 12 stray by 97.78 in all, not {sharper:.2f}"
    )


# %% tags=["check_02_1"]
with exercise.check(1):
    both = spread(W3, V3)
    assert both.shape == (2,), (
        f"2 images give 2 numbers, one for each image, not a tensor of shape {tuple(both.shape)}"
    )
    equal_values_stray_by_nothing()
    equal_weights()
    unequal_weights()
    assert torch.allclose(both, torch.tensor([30.0, 120.0])), (
        f"alone the images give 30 and 120, together {both.numpy().round(2)}: one image changes the other"
    )
    another_temperature()

# %% [markdown]
# ## task_02_2 · Repair the loss of several looks
# difficulty 3/5 · importance 5/5 · 13 minutes
#
# A captioner looks once before each of its t words, and draws each place. A look helps its own word and all words *after* it, which build on what was seen; it
# can't help a word that was said before. So the reward of a look is minus the losses of its own word and of the later ones. This code runs, and is wrong in three ways:
#
# ```python
# def surrogate(log_prob, losses, baseline):
#     reward = -losses.cumsum(dim=1)
#     return (log_prob * (reward - baseline)).sum(dim=1).mean()
# ```
#
# Repair it: on average over the draws, its gradient with respect to the *scores* behind the log-probabilities must be that of the expected sum of the losses, whatever the baseline is. It must train
# neither the losses (a network computed them) nor the baseline (it may be learned, by another loss).
#
# Shapes: `log_prob`, `losses` b t; `baseline` t (one entry a look); result a number: the sum over the looks, the mean over the images.
#
# <details><summary>Hint 1: three questions</summary>
#
# An optimiser goes down; which way goes the reward? Write down `losses.cumsum(dim=1)` for the losses 1, 2, 4: which words is the second look paid
# for? And where can a gradient run?
# </details>
#
# <details><summary>Hint 2: from here to the end</summary>
#
# The sum from word t to the end is the sum of all, minus the sum up to t, plus word t's own loss (it was taken off with the rest).
# </details>
#
# <details><summary>Hint 3: a number, not a path</summary>
#
# Reward minus baseline only says how strongly to push the log-probability. For the gradient it is a constant factor.
# </details>


# %% tags=["task_02_2"]
def surrogate(log_prob, losses, baseline):
    """A loss whose average gradient is that of the expected sum of the losses: b t, b t, t -> a number."""
    ### BEGIN SOLUTION
    to_come = losses.sum(dim=1, keepdim=True) - losses.cumsum(dim=1) + losses  # b t
    return (log_prob * (to_come + baseline).detach()).sum(dim=1).mean()
    ### END SOLUTION


# %% tags=["folded"]
def gradients(first=1.0, last=4.0, baseline=-2.0):
    """By the log-probabilities, the losses (of the first and the last word of image 0, say) and the baseline."""
    losses, baselines = [[first, 2.0, last], [3.0, 0.0, 1.0]], [-5.0, -3.0, baseline]
    leaves = [t.requires_grad_() for t in (torch.full((2, 3), -1.0), torch.tensor(losses), torch.tensor(baselines))]
    loss = surrogate(*leaves)
    assert loss.ndim == 0, f"the result is one number, not a tensor of shape {tuple(loss.shape)}"
    assert loss.requires_grad, "no gradient reaches the log-probabilities: cut its factor off, not them"
    found = torch.autograd.grad(loss, leaves, allow_unused=True)
    assert found[0] is not None, "no gradient reaches the log-probabilities: cut its factor off, not them"
    return found


# %% tags=["folded"]
def each_look_is_paid_for_what_follows():
    later, first = gradients(last=104.0)[0] - gradients()[0], gradients(first=101.0)[0] - gradients()[0]
    by_last = (
        f"the last word got worse by 100, and the gradients of the three looks moved by {later[0].numpy().round(1)}"
    )
    by_first = (
        f"the first word got worse by 100, and the gradients of the three looks moved by {first[0].numpy().round(1)}"
    )
    assert later[0, :2].any() or not first[0, 1:].any(), f"{by_first}: a look is paid for words before it"
    assert later[0].all(), f"{by_last}: all three helped it"
    assert not first[0, 1:].any(), f"{by_first}: later looks can't have helped it"
    assert later[0, 2] > 0, (
        "a word got worse, and going down this gradient makes the look before it *more* likely: the sign"
    )


# %% tags=["folded"]
def a_look_is_pushed_by_50():
    step = round((gradients(last=104.0)[0] - gradients()[0])[0, 2].item(), 1)
    assert step != 100, (
        "with two images, 100 more must push a look by 50, not by 100: the mean over the images is due"
    )
    assert step != 16.7, (
        "with two images and three looks, 100 more must push a look by 50, not by a sixth of it: looks add up"
    )
    assert step != 18.4, "a look of log-probability −1 is pushed by 50/e, not 50: do you push the probability?"
    assert step == 50, f"with two images, 100 more must push a look by 50, not by {step}"


def nothing_else_is_trained():
    for name, gradient in zip(("losses", "baseline"), gradients()[1:]):
        assert gradient is None or not gradient.any(), f"this loss must not train the {name}: a number, not a path"


# %% tags=["check_02_2"]
with exercise.check(2):
    each_look_is_paid_for_what_follows()
    a_look_is_pushed_by_50()
    nothing_else_is_trained()
    found = gradients()[0]
    moved = gradients(baseline=98.0)[0] - found
    assert moved.any(), "another baseline must change the gradients; yours does not enter them"
    assert moved[0, 2] > 0, "a larger baseline must make a look seem worse; here it makes it seem better"
    expected = torch.tensor([[1.0, 1.5, 1.0], [-0.5, -1.0, -0.5]])
    assert torch.allclose(found, expected), (
        f"the rewards are −7 −6 −4 and −4 −1 −1, the baselines −5 −3 −2: the gradients are {expected.tolist()}, not {found.numpy().round(2).tolist()}"
    )

# %% [markdown]
# ## task_02_3 · Straight-through, with several picks
# difficulty 3/5 · importance 4/5 · 12 minutes
#
# Hard reading may also pick k places and take their mean. Return its weights: $1/k$ at the k largest entries of e + ε, 0 elsewhere. The gradient with respect to the scores
# shall be that of $y = \mathrm{softmax}((e + \varepsilon)/\tau)$.
#
# Shapes: `scores` … n, `noise` … n (ε, given); result … n, where … stands for any axes, or none. `picks` is k. Do not use `F.gumbel_softmax`, which draws its own noise.
#
# <details><summary>Hint 1: forward and backward</summary>
#
# Forward and backward are computed apart. The picks must have no gradient. The soft weights must not change the value: something is added that is zero forward.
# </details>
#
# <details><summary>Hint 2: the places</summary>
#
# `topk(k, dim=-1).indices` finds them, … k; `torch.zeros_like(y).scatter(-1, index, number)` writes a number there.
# </details>


# %% tags=["task_02_3"]
def pick_several(scores, noise, temperature, picks):
    """1/k at k places forward, softmax backward: … n, … n -> … n."""
    ### BEGIN SOLUTION
    noisy = scores + noise
    y = (noisy / temperature).softmax(dim=-1)
    picked = torch.zeros_like(y).scatter(-1, noisy.topk(picks, dim=-1).indices, 1 / picks)
    return picked + (y - y.detach())
    ### END SOLUTION


# %% tags=["folded"]
E4 = torch.tensor([[2.0, 0.0, 1.0, -1.0], [0.0, 0.0, 3.0, 0.5]], requires_grad=True)  # scores
NOISE = torch.tensor([[0.0, 3.0, 0.5, 0.0], [0.0, 1.0, 0.0, -0.5]])  # sums 2 3 1.5 −1 and 0 1 3 0


def one_pick():
    one = pick_several(E4, NOISE, 0.5, 1).detach()
    assert torch.allclose(one.sum(-1), torch.ones(2)), (
        f"with k = 1 each row sums to 1 over its n places, the last axis, not to {one.sum(-1).numpy().round(2)}"
    )
    assert torch.allclose(one.amax(-1), torch.ones(2)), (
        f"with k = 1 each row reads one place; the largest weights are {one.amax(-1).numpy().round(2)}: this blends"
    )
    assert one.argmax(-1).tolist() == [1, 2], (
        f"the sums are largest at places 1 and 2; you picked {one.argmax(-1).tolist()}: does the noise take part?"
    )


# %% tags=["folded"]
def two_picks(seen):
    assert (seen > 1e-6).sum(-1).tolist() == [2, 2], (
        f"with k = 2 each row has two weights above 0, not {(seen > 1e-6).sum(-1).tolist()}"
    )
    assert torch.allclose(seen.sum(-1), torch.ones(2)), (
        f"the *mean* of two values is read: each row sums to 1, not to {seen.sum(-1).numpy().round(2)}"
    )
    assert torch.allclose(seen.amax(-1), torch.full((2,), 0.5)), (
        f"both picks count alike, 0.5 each; the largest weights are {seen.amax(-1).numpy().round(2)}"
    )
    assert seen.nonzero()[:, 1].tolist() == [0, 1, 1, 2], "the two largest sums lie at places 0, 1 and at 1, 2"
    alone = pick_several(E4[0].detach(), NOISE[0], 0.5, 2)  # one row, no axis before n
    assert torch.allclose(alone, seen[0]), (
        f"a row alone, of shape (4,), gives {alone.tolist()}, in the batch {seen[0].tolist()}"
    )


# %% tags=["folded"]
def the_gradient_is_the_softmaxs(picked):
    assert picked.requires_grad, "what you return is right and has no gradient: none reaches the scores"
    (gradient,) = torch.autograd.grad(picked[0, 0], E4)
    y = torch.tensor([4.0, 6.0, 3.0, -2.0]).softmax(0)  # row 0, (e + ε)/τ
    expected, yours = (y[0] * (1 - y[0]) / 0.5).item(), gradient[0, 0].item()
    assert yours > 0, "the gradient has the wrong sign: a larger score must give its place a larger weight"
    assert abs(yours - 0.234) > 1e-3, (
        "the picks are right, but the gradient is that of softmax(e/τ), without the noise"
    )
    assert abs(yours - 0.176) > 1e-3, "the picks are right, but the gradient is that of τ = 1: is τ used?"
    assert abs(yours - expected) < 1e-4, (
        f"∂y₀/∂e₀ = y₀(1 − y₀)/τ = {expected:.3f} with y = softmax((e + ε)/τ), not {yours:.3f}"
    )


# %% tags=["check_02_3"]
with exercise.check(3):
    picked = pick_several(E4, NOISE, 0.5, 2)
    assert picked.shape == (2, 4), f"the result has the shape of the scores, (2, 4), not {tuple(picked.shape)}"
    one_pick()
    two_picks(picked.detach())
    the_gradient_is_the_softmaxs(picked)

# %% [markdown]
# ## task_02_4 · The smallest penalty, soft and hard
# difficulty 3/5 · importance 3/5 · 10 minutes
#
# The doubly stochastic penalty of a caption is $\sum_i \bigl(1 - \sum_t \alpha_{ti}\bigr)^2$; each word's weights sum to 1. Derive on paper: what is the *smallest* value it can have
# for t words and n places? First if the words read softly (any weights); then if each word reads *one* place (its weights are a one-hot). Return both numbers.
#
# `words` and `places` are whole numbers; either may be the larger one, even many times.
#
# <details><summary>Hint 1: what is fixed?</summary>
#
# The penalty only sees what each place gets in all, $s_i$. The $s_i$ sum to t. What may they be if the words read softly, and what if hard?
# </details>
#
# <details><summary>Hint 2: share it out</summary>
#
# Move a little from a place that has more to one that has less: what happens to the sum of the squares? Until when does this go on, if only whole looks can be
# moved? Try 7 looks and 3 places.
# </details>


# %% tags=["task_02_4"]
def smallest_penalties(words, places):
    """The minimum of the penalty if words read softly, and if each reads one place: two numbers."""
    ### BEGIN SOLUTION
    soft = places * (1 - words / places) ** 2
    each, more = divmod(words, places)  # every place gets `each` looks, and `more` places get one more
    hard = more * each**2 + (places - more) * (1 - each) ** 2
    return soft, hard
    ### END SOLUTION


# %% tags=["check_02_4"]
with exercise.check(4):
    generator = torch.Generator().manual_seed(0)
    for words, places in ((3, 3), (2, 5), (5, 3), (7, 3)):
        answer, case = smallest_penalties(words, places), f"{words} words, {places} places"
        assert isinstance(answer, tuple) and len(answer) == 2, f"return two numbers, soft and hard, not {answer}"
        soft, hard = (float(number) for number in answer)
        random = torch.randn(5000, words, places, generator=generator).softmax(-1)
        least = (1 - random.sum(1)).square().sum(-1).min().item()
        looks = torch.cartesian_prod(*[torch.arange(places)] * words)  # every way to look
        best = (1 - torch.nn.functional.one_hot(looks, places).sum(1)).square().sum(-1).min().item()
        assert soft < least + 1e-6, (
            f"soft, {case}: 5000 random weights come down to {least:.2f}, below your {soft:.2f}"
        )
        assert soft > least - 0.1, (
            f"soft, {case}: 5000 random weights come down to {least:.2f}, above your {soft:.2f}: too good to be reached"
        )
        assert abs(hard - best) < 1e-6, (
            f"hard, {case}: there are {len(looks)} ways to look, and the best of them has {best}, not {hard:.2f}"
        )

# %% [markdown]
# ## task_02_5 · The best baseline
# difficulty 4/5 · importance 3/5 · 13 minutes
#
# One place is drawn from $\alpha = \mathrm{softmax}(e)$, and the estimate of the gradient is $(R_i - B)\, \partial \log \alpha_i$: the reward of that place minus the baseline B,
# times its *direction*, the gradient of its log-probability with respect to e. Derive the number B for which the variance of the estimate, summed
# over the entries of e, is smallest. (The lesson finds it from three points of a parabola. Here a formula is wanted.)
#
# Shapes: `scores` n, `rewards` n; result a number.
#
# <details><summary>Hint 1: only one term has B</summary>
#
# The variance is the mean square minus the square of the mean, and the mean does not depend on B. So minimise the mean of
# $(R_i - B)^2\, \lVert \partial \log \alpha_i \rVert^2$ over the draws.
# </details>
#
# <details><summary>Hint 2: set the derivative to zero</summary>
#
# A weighted mean of the rewards comes out. Its weights are not the α: in the mean square each place also counts by the length of its direction.
# </details>
#
# <details><summary>Hint 3: the length of a direction</summary>
#
# $\partial \log \alpha_i$ is a one-hot of i, minus α: n numbers for each place.
# </details>


# %% tags=["task_02_5"]
def best_baseline(scores, rewards):
    """The constant that makes the variance smallest: n, n -> a number."""
    ### BEGIN SOLUTION
    alpha = scores.softmax(dim=0)
    lengths = (torch.eye(len(scores), dtype=scores.dtype) - alpha).square().sum(dim=1)  # n
    return (alpha * lengths * rewards).sum() / (alpha * lengths).sum()
    ### END SOLUTION


# %% tags=["folded"]
R4 = torch.tensor([-1.0, -2.0, -3.0, -10.0])  # rewards
E3 = torch.tensor([4.0, 1.0, 1.0]).log()  # scores: weights 4/6, 1/6, 1/6
DIRECTIONS = torch.autograd.functional.jacobian(lambda e: e.log_softmax(0), E3)  # draw n


def cases_for_the_head():
    found = float(best_baseline(torch.zeros(4), R4))
    assert found < 0, f"all rewards are below 0 and B is taken off the reward, so it lies among them; not {found:.2f}"
    same = float(best_baseline(torch.tensor([1.0, -1.0, 0.5]), torch.full((3,), -7.0)))
    assert abs(same + 7) < 1e-4, f"if every reward is −7, B = −7 leaves no variance at all; not {same:.2f}"
    assert abs(found + 4) < 1e-4, (
        f"four equal weights: every direction has the same length, and B is the mean reward, −4, not {found:.2f}"
    )


# %% tags=["folded"]
def what_is_forgotten(found):
    assert abs(found + 5) > 1e-3, "−5 is the plain mean: it forgets how often each place is drawn"
    assert abs(found - (E3.softmax(0) @ R4[1:]).item()) > 1e-3, (
        f"{found:.2f} is the mean reward: often near the best, but here the directions are far from equally long"
    )
    near = {
        -6.2: "the lengths count, but not how often each place is drawn",
        -4.56: "the lengths count as they are; the mean square has their squares",
        -5.41: "only one of the three numbers of each direction counts",
        -3.23: "the lengths of the columns count, not those of the directions",
    }
    assert round(found, 2) not in near, f"not {found:.2f}: {near[round(found, 2)]}"


def mean_square(baseline):
    return (E3.softmax(0)[:, None] * ((R4[1:] - baseline)[:, None] * DIRECTIONS).square()).sum().item()


# %% tags=["check_02_5"]
with exercise.check(5):
    cases_for_the_head()
    found = float(best_baseline(E3, R4[1:]))
    what_is_forgotten(found)
    nearby = {step: mean_square(found + step) - mean_square(found) for step in (-0.1, 0.1)}
    better = min(nearby, key=nearby.get)
    assert nearby[better] > 0, (
        f"at your B = {found:.2f} a {'smaller' if better < 0 else 'larger'} B still lowers the variance: how much does each reward count?"
    )
