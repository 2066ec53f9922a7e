# %% [markdown]
# # Exercise 19 · Which one
#
# You find out which modules are beaten for sure, repair a test of what a module can do, derive when attention is the cheaper way to see a whole image, and let a task choose.
#
# *Minutes:* 56 · *Needs:* 19
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import copy

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.answers import drawn, rounded, same
from course_lib.exercises import Exercise

exercise = Exercise("19_which_one", points=[3, 3, 3, 3])
torch.manual_seed(0)

# %% [markdown]
# ## task_19_1 · Beaten for sure
# difficulty 2/5 · importance 5/5 · 12 minutes
#
# n modules were each trained with s seeds, and cost in k ways: parameters, multiply–adds, time. Scores of different seeds scatter, so the mean of a few seeds is a weak reason to throw a module away. We throw it away only if another one beats it **for sure**:
#
# - even the *worst* score of the other one is at least as high as the *best* score of this one;
# - *no* cost of the other one is higher;
# - and something is gained: the worst score of the other one is above the best one of this, or at least one cost is lower.
#
# A higher score is better, a lower cost is better. The seeds of two modules have nothing to do with each other. Return which modules stay. Two modules that are equal in everything both stay.
#
# Shapes: `scores` n s, `costs` n k -> n, True where nobody beats the module for sure.
#
# <details><summary>Hint 1: two numbers for each module</summary>
#
# You never need all s scores. Which two of them does the rule name?
# </details>
#
# <details><summary>Hint 2: everybody against everybody</summary>
#
# `a[:, None] >= b[None]` is a table n n: the row is the one that beats, the column the one that is beaten. The costs give a table n n k: which of `all` and `any` belongs to "no cost is higher", which to "one is lower"?
# </details>
#
# <details><summary>Hint 3: the steps</summary>
#
# as good: worst of the row ≥ best of the column. As cheap: all costs ≤. Gained: worst > best, or any cost <. Row beats column where all three hold. A module stays if its column holds no True.
# </details>


# %% tags=["task_19_1"]
def stay(scores, costs):
    """Which modules nobody beats for sure: n s, n k -> n."""
    ### BEGIN SOLUTION
    worst, best = scores.min(dim=1).values, scores.max(dim=1).values
    as_good = worst[:, None] >= best  # n n: the row beats the column
    as_cheap = (costs[:, None] <= costs).all(dim=2)
    gained = (worst[:, None] > best) | (costs[:, None] < costs).any(dim=2)
    return ~(as_good & as_cheap & gained).any(dim=0)
    ### END SOLUTION


# %% tags=["folded"]
def check_stay(scores, costs, due, words):
    """One small table, a row for each module."""
    found = stay(torch.tensor(scores), torch.tensor(costs))
    assert torch.is_tensor(found), f"a tensor is due, not {type(found).__name__}"
    assert found.shape == (len(scores),), f"one answer for each module: ({len(scores)},), not {tuple(found.shape)}"
    assert found.tolist() == due, f"scores {scores}, costs {costs}: {words}: {due} is due, not {found.tolist()}"


# %% tags=["folded"]
def check_one_seed():
    """One seed: nothing scatters."""
    check_stay(
        [[0.9], [0.8], [0.5]],
        [[4.0], [2.0], [3.0]],
        [True, True, False],
        "the second is better than the third, and cheaper",
    )
    check_stay(
        [[0.9], [0.9], [0.9]],
        [[3.0], [2.0], [2.0]],
        [False, True, True],
        "as good for less wins; the last two are equal, so both stay",
    )
    check_stay([[0.8], [0.9]], [[2.0], [2.0]], [False, True], "better for the same")
    check_stay([[0.7], [0.8]], [[2.0, 1.0], [1.0, 3.0]], [True, True], "the first has the lower second cost")
    check_stay([[0.7], [0.8]], [[1.0, 5.0], [2.0, 2.0]], [True, True], "the first has the lower first cost")
    for costs in ([[2.0, 3.0], [2.0, 1.0]], [[3.0, 2.0], [1.0, 2.0]]):
        check_stay([[0.8], [0.8]], costs, [False, True], "as good; one cost is equal, one lower: that is a gain")


# %% tags=["check_19_1"]
with exercise.check(1):
    check_one_seed()
    check_stay(
        [[0.6, 0.8], [0.7, 0.9]], [[2.0], [1.0]], [True, True], "the first may be the better one, 0.8 against 0.7"
    )
    check_stay([[0.7, 0.6], [0.7, 0.9]], [[2.0], [1.0]], [False, True], "never worse, and cheaper")
    check_stay(
        [[0.7, 0.6], [0.7, 0.9]], [[1.0], [1.0]], [True, True], "never worse, but a gain is not sure: 0.7 and 0.7"
    )
    check_stay([[0.7, 0.6], [0.8, 0.9]], [[1.0], [1.0]], [False, True], "surely better for the same cost")
    check_stay([[0.5, 0.5], [0.5, 0.5]], [[1.0], [1.0]], [True, True], "equal in everything, both stay")
    level, scatter, costs = drawn((7, 1), (7, 4), (7, 2))
    scores = level + scatter / 9
    found = stay(scores, costs)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    assert stay(scores[order], costs[order]).equal(found[order]), "in another order, other modules stay"

# %% [markdown]
# **Given for task 2**: three small modules of the kind that stand in many networks.


# %% tags=["folded"]
class Before(nn.Module):
    """x + γ · what a convolution reads at this place and before it; γ starts at 0."""

    def __init__(self, c, down, across):
        super().__init__()
        self.norm, self.read = nn.BatchNorm2d(c), nn.Conv2d(c, c, (down, across))
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        centred = self.norm(x - x.mean(dim=1, keepdim=True))
        down, across = self.read.kernel_size
        return x + self.gate * self.read(F.pad(centred, (across - 1, 0, down - 1, 0)))


# %% tags=["folded"]
class Excited(nn.Module):
    """x times a gate that knows the mean of all pixels; the layer of the gate starts at 0."""

    def __init__(self, c):
        super().__init__()
        self.gate = nn.Linear(c, c)
        nn.init.zeros_(self.gate.weight)

    def forward(self, x):
        mean = (x - x.mean(dim=1, keepdim=True)).mean(dim=(2, 3))  # b c
        return x * self.gate(mean).sigmoid()[:, :, None, None]


# %% tags=["folded"]
class Asking(nn.Module):
    """x + γ · attention in which pixel i asks the pixels that row i of a mask n n allows; γ starts at 0."""

    def __init__(self, c, d, allowed):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(c, d), nn.Linear(c, d), nn.Linear(c, c)
        self.gate, self.drop = nn.Parameter(torch.zeros(())), nn.Dropout(0.2)
        self.register_buffer("allowed", allowed)

    def forward(self, x):
        pixels = x.flatten(2).mT  # b n c
        centred = pixels - pixels.mean(dim=2, keepdim=True)
        scores = self.query(centred) @ self.key(centred).mT / self.query.out_features
        weights = scores.masked_fill(~self.allowed, -torch.inf).softmax(dim=2)
        return x + self.gate * self.drop(weights @ self.value(centred)).mT.view_as(x)


# %% [markdown]
# ## task_19_2 · Repair a test of what a module can do
# difficulty 4/5 · importance 5/5 · 16 minutes
#
# What a module can do by construction is found by changing its input. Somebody wrote such a test: which pixels of the input reach which pixels of the output? The answer shall hold for the *trained* module in *use*, whatever numbers its training finds. It runs, and it is right for a plain convolution. For most modules with attention it is wrong, in three ways.
#
# ```python
# def what_reaches(module, x):
#     h, w = x.shape[2:]
#     reached = torch.zeros(h, w, h, w, dtype=torch.bool)
#     for p in range(h):
#         for q in range(w):
#             changed = x.clone()
#             changed[:, :, p, q] += 1
#             moved = (module(changed) - module(x)).abs() > 1e-9  # less is rounding, in double precision
#             reached[:, :, p, q] = moved.any(dim=1).any(dim=0)
#     return reached
# ```
#
# Read the three modules above, and ask of each: what does it do in its first minute, before any training? Which change of a pixel can it not see? And what else changes its output? Then write the test correctly. The module that you are given must stay as it is.
#
# Shapes: `module` takes and gives b c h w, `x` b c h w, random, both in double precision -> h w h w, True at [i, j, p, q] where the input's pixel (p, q) reaches the output's pixel (i, j).
#
# <details><summary>Hint 1: asleep</summary>
#
# Many modules start as if they were not there: a gate is 0. What is 0 now need not be 0 after training. `copy.deepcopy(module)` is a module that you may change.
# </details>
#
# <details><summary>Hint 2: what can't be seen</summary>
#
# A norm over the channels subtracts their mean. What is left of a pixel to which 1 was added in all channels? For the same reason: are weights that are all equal a good choice?
# </details>
#
# <details><summary>Hint 3: in use</summary>
#
# A BatchNorm has two modes. In one of them each pixel of a batch has a say in all others.
# </details>
#
# <details><summary>Hint 4: the steps</summary>
#
# copy the module; put the copy into the mode of use; without gradients, fill each of its parameters with random numbers that are not near 0, for instance from 0.5 to 1.5; then the loop, where a pixel's channels change by different random numbers.
# </details>


# %% tags=["task_19_2"]
def what_reaches(module, x):
    """Which pixels of the input can reach which pixels of the output: h w h w, output's places first."""
    ### BEGIN SOLUTION
    awake = copy.deepcopy(module).eval()
    h, w = x.shape[2:]
    reached = torch.zeros(h, w, h, w, dtype=torch.bool)
    with torch.no_grad():
        for numbers in awake.parameters():
            numbers.copy_(torch.rand_like(numbers) + 0.5)  # none is near 0, no two are equal
        for p in range(h):
            for q in range(w):
                changed = x.clone()
                changed[:, :, p, q] += torch.randn_like(x[:, :, p, q])
                moved = (awake(changed) - awake(x)).abs() > 1e-9  # less is rounding, in double precision
                reached[:, :, p, q] = moved.any(dim=1).any(dim=0)
    return reached
    ### END SOLUTION


# %% tags=["folded"]
def check_reach(module, x, due, words):
    """The map of one module; the module must stay as it was."""
    kept = copy.deepcopy(module.double().state_dict())
    found = what_reaches(module, x)
    assert torch.is_tensor(found), f"a tensor is due, not {type(found).__name__}"
    h, w = x.shape[2:]
    assert found.shape == (h, w, h, w), f"{h} × {w} pixels: ({h}, {w}, {h}, {w}) is due, not {tuple(found.shape)}"
    wrong = found.bool() != due
    if wrong.any():
        i, j, p, q = wrong.nonzero()[0].tolist()
        says, truth = ("reaches", "it cannot") if found[i, j, p, q] else ("does not reach", "it can")
        raise AssertionError(f"{words}: your map says that pixel ({p}, {q}) {says} the output at ({i}, {j}); {truth}")
    assert module.training, f"{words}: your test left the module in another mode"
    assert all(kept[name].equal(now) for name, now in module.state_dict().items()), (
        f"{words}: your test changed the module"
    )


def places(h, w):
    """The row and the column of the output's and of the input's pixel, to be compared: each h w h w."""
    return torch.meshgrid(*map(torch.arange, (h, w, h, w)), indexing="ij")


# %% tags=["folded"]
def check_one_fault_each(x, i, j, p, q):
    """Modules that show one fault each, from the plainest on."""
    here, window = (i == p) & (j == q), (0 <= i - p) & (i - p < 2) & (0 <= j - q) & (j - q < 3)
    check_reach(nn.Conv2d(3, 3, 1), x, here, "a 1 × 1 convolution")
    check_reach(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)), x, here, "a BatchNorm and a 1 × 1 convolution")
    awake = Before(3, 2, 3)
    nn.init.ones_(awake.gate)
    check_reach(awake, x, window, "Before, 2 rows and 3 columns, with γ = 1")
    check_reach(Before(3, 2, 3), x, window, "Before, 2 rows and 3 columns, as it starts")
    check_reach(Excited(3), x, torch.ones_like(i) > 0, "Excited, as it starts")


# %% tags=["check_19_2"]
with exercise.check(2):
    x = drawn((2, 3, 4, 5))[0].double()
    i, j, p, q = places(4, 5)
    check_one_fault_each(x, i, j, p, q)
    check_reach(Asking(3, 4, (i >= p).reshape(20, 20)), x, i >= p, "Asking in its row and the rows above")
    both = nn.Sequential(Asking(3, 4, ((i == p) & (j >= q)).reshape(20, 20)), Before(3, 2, 1))
    due = (0 <= i - p) & (i - p < 2) & (j >= q)
    check_reach(both, x, due, "Asking to the left in its row, then Before, 2 rows and 1 column")

# %% [markdown]
# ## task_19_3 · When is attention the cheaper way to see everything?
# difficulty 3/5 · importance 4/5 · 14 minutes
#
# "Attention costs N², a convolution costs N." But one convolution sees a small window. Compare two ways to let *every* pixel of an n × n image reach every other one:
#
# - **one non-local block**: three 1 × 1 layers make queries, keys and values with d channels from c; the map of all N × N scores (N = n²); the weighted sums of the values; a 1 × 1 layer back to c;
# - **a stack of k × k convolutions** c → c (k odd), just so many that one corner of the image reaches the opposite corner. Let their number be any real number: no rounding.
#
# Count multiply–adds; leave out softmax, biases, norms and what the border saves. **Derive**, in closed form:
#
# - `low` and `high`: between these two sides n the block is cheaper than the stack, outside of them the stack is cheaper (we only ask where both exist);
# - `best`: the side n at which the block saves most, that is where stack / block is largest.
#
# Shapes: `c`, `d`, `k` whole numbers -> three numbers (low, high, best), not rounded.
#
# <details><summary>Hint 1: how many layers?</summary>
#
# How far does one k × k layer carry a pixel along an axis? How many steps are there from the first row to the last? All pixels of all layers cost the same.
# </details>
#
# <details><summary>Hint 2: low and high</summary>
#
# Set both costs equal, and divide by what both have in common: N. What is left is a quadratic equation in n. Check: c = 4, d = 6, k = 3 on 2 × 2 pixels costs 576 both ways.
# </details>
#
# <details><summary>Hint 3: best</summary>
#
# After N is divided out, stack / block is a constant times (n − 1) / (n² + something). Where is its slope 0? Two of the three letters c, d, k fall out.
# </details>


# %% tags=["task_19_3"]
def cheaper_between(c, d, k):
    """The sides between which one non-local block costs less than a stack, and the best side: low, high, best."""
    ### BEGIN SOLUTION
    # block: N (4cd + 2dn²); stack: N · 2(n − 1)/(k − 1) · k²c². Equal where n² − 2 half n + 2 half + 2c = 0
    half = k**2 * c**2 / (2 * d * (k - 1))
    spread = (half**2 - 2 * half - 2 * c) ** 0.5
    return half - spread, half + spread, 1 + (1 + 2 * c) ** 0.5
    ### END SOLUTION


# %% tags=["check_19_3"]
with exercise.check(3):
    found = cheaper_between(4, 6, 3)
    assert not any(isinstance(one, complex) for one in found), (
        "c = 4, d = 6, k = 3: by your formula block and stack never cost the same; on 2 × 2 pixels both cost 576"
    )
    low, high, best = map(float, found)
    assert abs(low - 2) < 1e-4, (
        f"c = 4, d = 6, k = 3, n = 2: the block costs 384 + 192, one layer 4 · 9 · 16, both 576; so low is 2, not {low:.3f}"
    )
    assert abs(high - 10) < 1e-4, (
        f"c = 4, d = 6, k = 3, n = 10: the block costs 9600 + 120000, nine layers 9 · 14400, both 129600; so high is 10, not {high:.3f}"
    )
    assert abs(best - 4) < 1e-4, (
        f"c = 4, d = 6, k = 3: stack / block is 1.412 for n = 3, 1.5 for n = 4, 1.455 for n = 5; the best side is 4, not {best:.3f}"
    )
    low, high, best = map(float, cheaper_between(8, 20, 5))
    assert abs(low - 2) < 1e-4, (
        f"c = 8, d = 20, k = 5, n = 2: half a layer is enough, 3200, and so much costs the block; low is 2, not {low:.3f}"
    )
    assert abs(high - 18) < 1e-4, (
        f"c = 8, d = 20, k = 5, n = 18: 8.5 layers cost 4406400, and so much costs the block; high is 18, not {high:.3f}"
    )
    assert abs(best - 5.123) < 1e-3, f"c = 8: stack / block is largest at n = 5.123, not {best:.3f}"

# %% [markdown]
# **Given for task 4**: the images, and five slots.


# %% tags=["folded"]
def images_and_targets(count):
    """Images count 2 4 6, a value and a mark, and the value at the marked pixel with a little noise."""
    value, mark, noise, place = drawn((count, 24), (count, 24), (count,), (count, 24))
    chosen = F.one_hot(place.argmax(dim=1), 24)
    targets = (value * chosen).sum(dim=1) + 0.3 * noise + 0.5
    return torch.stack([value, 1.5 * chosen + 0.2 * mark], dim=1).unflatten(2, (4, 6)), targets


def look(value, mark, sharpness):
    """The value where the softmax of the mark lies: b n, b n -> b 1."""
    return ((sharpness * mark).softmax(dim=1) * value).sum(dim=1, keepdim=True)


CANDIDATES = {  # name: multiply–adds, and the features b f of value and mark, each b n
    "mean": (25, lambda value, mark: value.mean(dim=1, keepdim=True)),
    "each place": (24, lambda value, mark: value),
    "gate, then mean": (49, lambda value, mark: (value * mark).mean(dim=1, keepdim=True)),
    "one look": (73, lambda value, mark: look(value, mark, 6)),
    "two looks": (146, lambda value, mark: torch.cat([look(value, mark, 6), look(value, mark, 1)], dim=1)),
}
MY_ORDER = ["mean", "each place", "gate, then mean", "one look", "two looks"]  # write your own


# %% [markdown]
# ## task_19_4 · Choose, predict the rank, measure, explain
# difficulty 3/5 · importance 5/5 · 14 minutes
#
# **The task.** An image has two channels, a value and a mark: the mark is near 1.5 at one pixel, and near 0 elsewhere. The target is the value at the marked pixel, and a little noise. Five slots turn the image into a few features; `CANDIDATES` above describes them, with their multiply–adds. Behind each stands a linear read-out.
#
# **Choose and predict**, before you measure: write the five names into `MY_ORDER` above, from best to worst. (This is not graded. The check says how well you predicted.)
#
# **Measure.** `measure` gives the score of each candidate on images that its read-out has not seen. `fold` gives each image a number; for each fold k, fit the read-out on all *other* folds: the weights *and the intercept* with the least squared error. Score it on fold k:
#
# $$R^2 = 1 - \sum_i (\hat y_i - y_i)^2 \,/\, \sum_i (y_i - \bar y)^2$$
#
# where i runs over the images of fold k, and $\bar y$ is their mean target.
#
# **Rank and choose.** All candidates saw the same folds: a hard fold is hard for all. So compare *fold by fold*: one candidate beats another if it is better in **every** fold. The rank of a candidate is 1 plus the number of those that beat it. Choose the cheapest of rank 1 (no two cost the same).
#
# Shapes: `features` a list of m tensors, each n f with an f of its own, `targets` n, `fold` n whole numbers from 0 -> scores m s. `scores` m s, `costs` m -> ranks m, and the chosen index.
#
# <details><summary>Hint 1: an intercept</summary>
#
# What does a read-out without an intercept say where all features are 0? A column that is 1 for every image makes the intercept one more weight.
# </details>
#
# <details><summary>Hint 2: who is in the fold?</summary>
#
# `fold == k` is a mask of images. One of the masks `fold == k` and `fold != k` is for `torch.linalg.lstsq`, the other one for R².
# </details>
#
# <details><summary>Hint 3: the ranks</summary>
#
# `scores[:, None] > scores[None]` is m m s. Who beats whom in every fold? Sum over the ones that beat. Then give all that are not of rank 1 an infinite cost.
# </details>


# %% tags=["task_19_4"]
def measure(features, targets, fold):
    """R² of each candidate's read-out on each fold that it has not seen: m tensors n f, n, n -> m s."""
    ### BEGIN SOLUTION
    scores = torch.empty(len(features), int(fold.max()) + 1, dtype=targets.dtype)
    for m, one in enumerate(features):
        inputs = torch.cat([one, torch.ones_like(one[:, :1])], dim=1)  # n f + 1
        for k in range(scores.shape[1]):
            new = fold == k
            weights = torch.linalg.lstsq(inputs[~new], targets[~new, None]).solution
            left = (inputs[new] @ weights)[:, 0] - targets[new]
            scores[m, k] = 1 - left.square().sum() / (targets[new] - targets[new].mean()).square().sum()
    return scores
    ### END SOLUTION


def choose(scores, costs):
    """The rank of each candidate, and the index of the cheapest of rank 1: m s, m -> m, a number."""
    ### BEGIN SOLUTION
    beats = (scores[:, None] > scores).all(dim=2)  # m m: the row beats the column
    ranks = 1 + beats.sum(dim=0)
    return ranks, costs.masked_fill(ranks > 1, torch.inf).argmin()
    ### END SOLUTION


# %% tags=["folded"]
def check_measure():
    """Numbers that can be checked in the head."""
    x, fold = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 1, 0, 1])
    step = (x > 1).float()  # 0, 0, 1, 1
    line = measure([x, step], 5 - 2 * x[:, 0], fold)
    assert torch.is_tensor(line), f"a tensor is due, not {type(line).__name__}"
    assert line.shape == (2, 2), f"two candidates and two folds: (2, 2), not {tuple(line.shape)}"
    assert same(line, torch.tensor([[1.0, 1.0], [0.0, 0.0]])), (
        f"targets 5 − 2x: from x, R² is 1 in each fold; from 0, 0, 1, 1 it is 0; not {rounded(line)}"
    )
    found = measure([x], torch.tensor([0.0, 2.0, 2.0, 3.0]), fold)
    assert same(found, torch.tensor([[-0.25, -1.0]])), (
        "x = 0 and 2 (fold 0) with y = 0 and 2, x = 1 and 3 (fold 1) with y = 2 and 3: fold 1 says 1.5 + x/2, so "
        "the errors in fold 0 are 1.5 and 0.5; fold 0 says x, so they are −1 and 0 in fold 1. "
        f"R² is 1 − 2.5/2 and 1 − 1/0.5, so −0.25 and −1, not {rounded(found)}"
    )


# %% tags=["folded"]
def check_choose():
    """Three folds, few candidates."""
    for scores, costs, due, best, words in (
        ([[0.5, 0.9, 0.7], [0.4, 0.8, 0.6]], [2.0, 1.0], [1, 2], 0, "the first is better in every fold"),
        ([[0.5, 0.9, 0.7], [0.6, 0.8, 0.6]], [2.0, 1.0], [1, 1], 1, "neither is better in every fold"),
        ([[0.1, 0.2, 0.3], [0.8, 0.9, 0.7], [0.9, 0.8, 0.8]], [1.0, 3.0, 2.0], [3, 1, 1], 2, "two beat the first"),
        ([[0.1, 0.2, 0.1], [0.2, 0.3, 0.3], [0.4, 0.5, 0.4]], [1.0, 2.0, 3.0], [3, 2, 1], 2, "all in order"),
        ([[0.5, 0.5, 0.5], [0.5, 0.6, 0.6]], [1.0, 2.0], [1, 1], 0, "not better in the first fold: equal"),
    ):
        ranks, chosen = choose(torch.tensor(scores), torch.tensor(costs))
        ranks = torch.as_tensor(ranks).tolist()
        assert ranks == due, f"scores {scores}: {words}, so the ranks are {due}, not {ranks}"
        assert int(chosen) == best, f"ranks {due}, costs {costs}: the cheapest of rank 1 is {best}, not {int(chosen)}"


# %% tags=["check_19_4"]
with exercise.check(4):
    check_measure()
    check_choose()
    images, targets = images_and_targets(300)
    features = [make(*images.flatten(2).unbind(dim=1)) for _, make in CANDIDATES.values()]
    scores = measure(features, targets, torch.arange(300) % 5)
    ranks, chosen = choose(scores, torch.tensor([float(cost) for cost, _ in CANDIDATES.values()]))
    for name, row, rank in zip(CANDIDATES, scores, ranks):
        print(f"rank {int(rank)}: {name}, R² {rounded(row)}")
    place = [MY_ORDER.index(name) for name in CANDIDATES]
    pairs = [(a, b) for a in range(5) for b in range(5) if ranks[a] < ranks[b]]
    print(f"you predicted {sum(place[a] < place[b] for a, b in pairs)} of {len(pairs)} pairs as they were measured")
    assert list(CANDIDATES)[int(chosen)] == "one look", (
        f"'{list(CANDIDATES)[int(chosen)]}' was chosen: look at the ranks above"
    )

# %% [markdown]
# **Explain** (not graded), in three sentences of your own: what can the chosen slot do by construction that those below it cannot? Which candidate saw all the values, and why did that not help? What is the smallest change of the task that makes another candidate win?
