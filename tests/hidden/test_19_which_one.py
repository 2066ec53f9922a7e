"""Grades exercise 19 on sizes and values that the student has not seen, and names the mistakes people make."""

import copy
import itertools

import torch

from course_lib.grading import task, wrong
from tests.properties import assert_same, number, tensor

# --- task 1: beaten for sure ---


def stay_by_loops(scores, costs):
    """Module by module, against every other one."""
    modules = list(zip(scores.tolist(), costs.tolist(), strict=True))
    return torch.tensor([not any(beats(*one, *other) for one in modules) for other in modules])


def beats(own, own_costs, other, other_costs):
    """Whether the first of two modules beats the second for sure."""
    if min(own) < max(other) or any(a > b for a, b in zip(own_costs, other_costs, strict=True)):
        return False
    return min(own) > max(other) or any(a < b for a, b in zip(own_costs, other_costs, strict=True))


def drawn_modules(draw, n, s, k, shared):
    """Scores and costs that are often equal: each module has a level; seeds scatter around it, or all alike."""
    scatter = draw.integers(0, 3, 1 if shared else n, s)
    return (draw.integers(0, 7, n, 1) + scatter).double() / 16, draw.integers(1, 4, n, k).double()


@task("task_19_1", without=("course_lib",), hint="The worst of one against the best of the other, and every cost.")
def test_who_stays(student, draw):
    n, s, k = draw.primes(3, high=7)
    for seeds, costs, shared in itertools.product((s, 1), (k, 1), (False, True)):
        for _ in range(5):
            modules = drawn_modules(draw, 3 * n, seeds, costs, shared)
            assert torch.equal(tensor(student.stay(*modules)), stay_by_loops(*modules))


@task("task_19_1", without=("course_lib",), hint="Two modules that are equal in everything both stay.")
def test_equal_modules_stay(student, draw):
    n, s = draw.primes(2)
    costs = draw.uniform(1, 2).expand(n, 2)
    assert tensor(student.stay(torch.full((n, s), draw.number(0.1, 0.9)), costs)).tolist() == [True] * n


def _stay(scores, costs, *, own=None, other=None, as_good=None, as_cheap=None, gained=None):
    """The right answer with the parts that a wrong answer exchanges: tables n n, the row beats the column."""
    own = scores.min(dim=1).values if own is None else own
    other = scores.max(dim=1).values if other is None else other
    as_good = own[:, None] >= other if as_good is None else as_good
    as_cheap = (costs[:, None] <= costs).all(dim=2) if as_cheap is None else as_cheap
    gained = (own[:, None] > other) | (costs[:, None] < costs).any(dim=2) if gained is None else gained
    return ~(as_good & as_cheap & gained).any(dim=0)


@wrong("task_19_1")
def stay__by_the_mean(scores, costs):
    """The means were compared; a mean of few seeds is no sure reason."""
    return _stay(scores, costs, own=scores.mean(dim=1), other=scores.mean(dim=1))


@wrong("task_19_1")
def stay__best_against_best(scores, costs):
    """The best seeds were compared: that may have been luck."""
    return _stay(scores, costs, own=scores.max(dim=1).values)


@wrong("task_19_1")
def stay__worst_against_worst(scores, costs):
    """The worst seeds were compared; the worst of one must reach the best of the other."""
    return _stay(scores, costs, other=scores.min(dim=1).values)


@wrong("task_19_1")
def stay__may_be_beaten(scores, costs):
    """The best of one was compared with the worst of the other: this says who may be beaten, not who is for sure."""
    return _stay(scores, costs, own=scores.max(dim=1).values, other=scores.min(dim=1).values)


@wrong("task_19_1")
def stay__seed_by_seed(scores, costs):
    """The seeds were compared one by one; those of two modules have nothing to do with each other."""
    higher = (scores[:, None] > scores).all(dim=2)
    as_good = (scores[:, None] >= scores).all(dim=2)
    return _stay(scores, costs, as_good=as_good, gained=higher | (costs[:, None] < costs).any(dim=2))


@wrong("task_19_1")
def stay__first_cost_only(scores, costs):
    """Only the first cost was compared."""
    return _stay(scores, costs[:, :1])


@wrong("task_19_1")
def stay__costs_summed(scores, costs):
    """The costs were summed; parameters and milliseconds have no sum."""
    return _stay(scores, costs.sum(dim=1, keepdim=True))


@wrong("task_19_1")
def stay__any_cost(scores, costs):
    """One cost that is not higher is not enough: no cost may be."""
    return _stay(scores, costs, as_cheap=(costs[:, None] <= costs).any(dim=2))


@wrong("task_19_1")
def stay__better_in_everything(scores, costs):
    """A module was thrown away only if another one is better in everything; as good in some is enough."""
    own, other = scores.min(dim=1).values, scores.max(dim=1).values
    return ~((own[:, None] > other) & (costs[:, None] < costs).all(dim=2)).any(dim=0)


@wrong("task_19_1")
def stay__equals_beat_each_other(scores, costs):
    """Equal modules beat each other, and each itself: something must be gained."""
    return _stay(scores, costs, gained=torch.tensor(True))


@wrong("task_19_1")
def stay__gain_in_score_only(scores, costs):
    """A lower cost is a gain, too."""
    worst, best = scores.min(dim=1).values, scores.max(dim=1).values
    return _stay(scores, costs, gained=worst[:, None] > best)


@wrong("task_19_1")
def stay__gain_in_cost_only(scores, costs):
    """A higher score is a gain, too."""
    return _stay(scores, costs, gained=(costs[:, None] < costs).any(dim=2))


@wrong("task_19_1")
def stay__every_cost_lower(scores, costs):
    """One lower cost is a gain; not all need be lower."""
    higher = scores.min(dim=1).values[:, None] > scores.max(dim=1).values
    return _stay(scores, costs, gained=higher | (costs[:, None] < costs).all(dim=2))


@wrong("task_19_1")
def stay__first_of_equals(scores, costs):
    """Of equal modules only the first was kept, as a sorted list does it; all of them stay."""
    kept = _stay(scores, costs)
    seen = [scores[i].tolist() + costs[i].tolist() for i in range(len(scores))]
    return kept & torch.tensor([one not in seen[:i] for i, one in enumerate(seen)])


@wrong("task_19_1")
def stay__dear_is_good(scores, costs):
    """A higher cost was taken for the better one."""
    return _stay(scores, -costs)


@wrong("task_19_1")
def stay__turned(scores, costs):
    """These are the modules that beat nobody: the table was read along the wrong axis."""
    worst, best = scores.min(dim=1).values, scores.max(dim=1).values
    as_cheap, cheaper = (costs[:, None] <= costs).all(dim=2), (costs[:, None] < costs).any(dim=2)
    return ~((worst[:, None] >= best) & as_cheap & ((worst[:, None] > best) | cheaper)).any(dim=1)


@wrong("task_19_1")
def stay__the_beaten(scores, costs):
    """These are the modules that are beaten, not those that stay."""
    return ~_stay(scores, costs)


# --- task 2: repair a test of what a module can do ---


def reach(h, w, reaches):
    """The map of a module that one knows, place by place: h w h w."""
    due = torch.zeros(h, w, h, w, dtype=torch.bool)
    for i, j, p, q in itertools.product(range(h), range(w), range(h), range(w)):
        due[i, j, p, q] = reaches(i, j, p, q)
    return due


def reached(student, module, x):
    """The student's map, as truth values."""
    return tensor(student.what_reaches(module, x)).bool()


@task("task_19_2", without=("course_lib",), hint="A gate that is 0 wakes up in training; a change may be hidden.")
def test_a_convolution_behind_a_gate(student, draw):
    h, w = draw.primes(2, high=7)
    found = reached(student, student.Before(2, 2, 3).double(), draw.normal(1, 2, h, w))  # few numbers to see it in
    assert torch.equal(found, reach(h, w, lambda i, j, p, q: 0 <= i - p < 2 and 0 <= j - q < 3))


@task("task_19_2", without=("course_lib",), hint="What a gate knows of all pixels reaches every pixel.")
def test_a_gate_knows_all_pixels(student, draw):
    c, h, w = draw.primes(3, high=7)
    found = reached(student, student.Excited(c).double(), draw.normal(2, c, h, w))
    assert torch.equal(found, reach(h, w, lambda *_: True))


@task("task_19_2", without=("course_lib",), hint="Which pixel asks, and which is asked?")
def test_attention_reaches_what_its_mask_allows(student, draw):
    c, h, w = draw.primes(3, high=7)
    allowed = draw.mask(h * w, h * w)
    found = reached(student, student.Asking(c, 4, allowed).double(), draw.normal(2, c, h, w))
    due = reach(h, w, lambda i, j, p, q: (i, j) == (p, q) or bool(allowed[i * w + j, p * w + q]))
    assert torch.equal(found, due)


def _some(numbers):
    """Numbers that differ, none of them near 0."""
    return torch.rand_like(numbers) + 0.5


def _after(module, changed, x):
    """How far the output of a changed input is from the output: b c h w."""
    return module(changed) - module(x)


def _reaches(module, x, *, mode=False, wake=_some, change=torch.randn_like, compare=_after, turned=False):
    """The right answer with the parts that a wrong answer exchanges."""
    awake, (h, w) = copy.deepcopy(module).train(mode), x.shape[2:]
    found = torch.zeros(h, w, h, w, dtype=torch.bool)
    with torch.no_grad():
        for numbers in awake.parameters():
            numbers.copy_(wake(numbers))
        for p, q in itertools.product(range(h), range(w)):
            changed = x.clone()
            changed[:, :, p, q] += change(x[:, :, p, q])
            found[:, :, p, q] = (compare(awake, changed, x).abs() > 1e-9).any(dim=1).any(dim=0)
    return found.permute(2, 3, 0, 1) if turned else found


@wrong("task_19_2")
def what_reaches__not_repaired(module, x):
    """Nothing was repaired."""
    return _reaches(module, x, mode=True, wake=torch.clone, change=torch.ones_like)


@wrong("task_19_2")
def what_reaches__in_training(module, x):
    """The module is still in training: a norm over the batch lets every pixel reach every other one."""
    return _reaches(module, x, mode=True)


@wrong("task_19_2")
def what_reaches__asleep(module, x):
    """The gates are still 0: nothing that stands behind them is seen."""
    return _reaches(module, x, wake=torch.clone)


@wrong("task_19_2")
def what_reaches__one_in_all_channels(module, x):
    """All channels change by the same: a norm over the channels hides it."""
    return _reaches(module, x, change=torch.ones_like)


@wrong("task_19_2")
def what_reaches__random_but_the_same_in_all_channels(module, x):
    """The change is random, but the same in all channels: a norm over the channels hides it."""
    return _reaches(module, x, change=lambda pixel: torch.randn_like(pixel[:, :1]).expand_as(pixel))


@wrong("task_19_2")
def what_reaches__filled_with_ones(module, x):
    """All numbers are 1: a sum of channels without their mean is 0, and nothing is seen."""
    return _reaches(module, x, wake=torch.ones_like)


@wrong("task_19_2")
def what_reaches__gates_only(module, x):
    """Only single numbers were woken; the layer of a gate may start at 0, too."""
    return _reaches(module, x, wake=lambda numbers: torch.ones_like(numbers) if numbers.ndim == 0 else numbers)


@wrong("task_19_2")
def what_reaches__turned(module, x):
    """The places are turned: the output's come first."""
    return _reaches(module, x, turned=True)


@wrong("task_19_2")
def what_reaches__compared_before_the_output(module, x):
    """The changed input was compared with the input, not what the module makes of them."""
    return _reaches(module, x, compare=lambda awake, changed, x: changed - x)


@wrong("task_19_2")
def what_reaches__the_module_alone(module, x):
    """What the module gives was compared with its input: this says where it changes the image at all."""
    return _reaches(module, x, compare=lambda awake, changed, x: awake(changed) - x)


@wrong("task_19_2")
def what_reaches__left_alone(module, x):
    """These are the pairs that do not reach each other."""
    return ~_reaches(module, x)


@wrong("task_19_2")
def what_reaches__everything(module, x):
    """Everything reaches everything: a convolution behind the gate does not."""
    return _reaches(module, x, compare=lambda awake, changed, x: torch.ones_like(x))


# --- task 3: when is attention the cheaper way to see everything? ---


def costs(n, c, d, k):
    """Multiply–adds of the block and of the stack, layer by layer."""
    pixels = n * n
    block = 3 * pixels * c * d + 2 * pixels * pixels * d + pixels * d * c
    return block, (n - 1) / ((k - 1) / 2) * pixels * c * k * c * k


def gain(n, *sizes):
    """Stack / block."""
    block, stack = costs(n, *sizes)
    return stack / block


def sides(*sizes):
    """low, high, best: the best by thirds, and from there the two sides of equal cost by halves."""
    best = narrowed(1, 1e4, lambda a, b: gain(a, *sizes) < gain(b, *sizes))
    low = narrowed(1, best, lambda a, b: gain((a + b) / 2, *sizes) < 1)
    return low, narrowed(best, 1e6, lambda a, b: gain((a + b) / 2, *sizes) > 1), best


def narrowed(left, right, go_right):
    """The place to which shrinking an interval by a third leads, again and again."""
    for _ in range(300):
        a, b = left + (right - left) / 3, right - (right - left) / 3
        left, right = (a, right) if go_right(a, b) else (left, b)
    return (left + right) / 2


@task("task_19_3", without=("course_lib",), hint="Both costs at small sides, layer by layer; set them equal.")
def test_the_sides_of_equal_cost_and_the_best(student, draw):
    for k in (3, 5, 7):
        c = int(draw.integers(8, 65))
        d = int(draw.integers(c // 4, c))
        for one, due in zip(student.cheaper_between(c, d, k), sides(c, d, k), strict=True):
            assert abs(number(one) - due) < 1e-4 * due


def _between(c, d, k, *, layers=2.0, ones=4, maps=2, kernel=None, square=False, best=None):
    """The right answer with the parts that a wrong answer exchanges: ``ones`` 1 × 1 layers, ``maps`` products N²d."""
    kernel = k * k if kernel is None else kernel
    half = layers * kernel * c * c / (k - 1) / (maps * d) / 2
    spread = (half**2 - 2 * half - ones * c / maps) ** 0.5
    best = 1 + (1 + ones * c / maps) ** 0.5 if best is None else best
    low, high = half - spread, half + spread
    return (low * low, high * high, best * best) if square else (low, high, best)


@wrong("task_19_3")
def cheaper_between__without_the_way_back(c, d, k):
    """The 1 × 1 layer back to c channels is missing."""
    return _between(c, d, k, ones=3)


@wrong("task_19_3")
def cheaper_between__without_the_layers(c, d, k):
    """Only the queries' layer was counted; there are three, and one back."""
    return _between(c, d, k, ones=1)


@wrong("task_19_3")
def cheaper_between__scores_only(c, d, k):
    """The N × N weights are made, and then they are used: N²d twice."""
    return _between(c, d, k, maps=1)


@wrong("task_19_3")
def cheaper_between__whole_kernel(c, d, k):
    """A k × k layer carries a pixel (k − 1)/2 further, not k − 1."""
    return _between(c, d, k, layers=1.0)


@wrong("task_19_3")
def cheaper_between__kernel_of_one_axis(c, d, k):
    """A k × k kernel has k² taps, not k."""
    return _between(c, d, k, kernel=k)


@wrong("task_19_3")
def cheaper_between__n_steps(c, d, k):
    """From the first row to the last there are n − 1 steps, not n."""
    half = k**2 * c**2 / (2 * d * (k - 1))
    spread = (half**2 - 2 * c) ** 0.5
    return half - spread, half + spread, (2 * c) ** 0.5


@wrong("task_19_3")
def cheaper_between__wide_values(c, d, k):
    """The queries have d channels here, not c."""
    return _between(c, c, k)


@wrong("task_19_3")
def cheaper_between__one_layer(c, d, k):
    """One layer of the stack was counted: it does not see the whole image."""
    high = ((k**2 * c**2 - 4 * c * d) / (2 * d)) ** 0.5
    return 1.0, high, 1.0


@wrong("task_19_3")
def cheaper_between__exchanged(c, d, k):
    """low and high are exchanged."""
    low, high, best = _between(c, d, k)
    return high, low, best


@wrong("task_19_3")
def cheaper_between__pixels(c, d, k):
    """These are numbers of pixels, N; the sides n are wanted."""
    return _between(c, d, k, square=True)


@wrong("task_19_3")
def cheaper_between__best_in_the_middle(c, d, k):
    """The middle between low and high is not where the ratio is largest."""
    low, high, _ = _between(c, d, k)
    return low, high, (low + high) / 2


@wrong("task_19_3")
def cheaper_between__best_of_the_squares(c, d, k):
    """The geometric mean of low and high is near the best side, and not it: the stack needs n − 1 steps."""
    low, high, _ = _between(c, d, k)
    return low, high, (low * high) ** 0.5


@wrong("task_19_3")
def cheaper_between__largest_difference(c, d, k):
    """This is where stack − block is largest; asked is the largest ratio."""
    a, b = 2 * k**2 * c**2 / (k - 1), 4 * c * d  # the difference a n³ − (a + b) n² − 2d n⁴
    low, high, _ = _between(c, d, k)
    return low, high, (3 * a + (9 * a * a - 64 * d * (a + b)) ** 0.5) / (16 * d)


# --- task 4: choose, predict the rank, measure, explain ---


def measured_by_loops(features, targets, fold):
    """R² by the normal equations of centred features, candidate by candidate and fold by fold."""
    return torch.stack(
        [torch.stack([fresh(one, targets, fold == k) for k in range(int(fold.max()) + 1)]) for one in features]
    )


def fresh(x, y, new):
    """R² on the new images of the line that fits the others."""
    middle, mean = x[~new].mean(dim=0), y[~new].mean()
    seen = x[~new] - middle
    slopes = torch.linalg.solve(seen.mT @ seen, seen.mT @ (y[~new] - mean))
    errors = (mean + (x[new] - middle) @ slopes - y[new]).square().sum()
    return 1 - errors / (y[new] - y[new].mean()).square().sum()


def chosen_by_loops(scores, costs):
    m = len(scores)
    ranks = [
        1 + sum(all(a > b for a, b in zip(scores[j], scores[i], strict=True)) for j in range(m)) for i in range(m)
    ]
    return ranks, min((i for i in range(m) if ranks[i] == 1), key=lambda i: costs[i])


@task("task_19_4", without=("course_lib",), hint="Weights and intercept from the other folds, errors from this one.")
def test_the_scores_equal_the_normal_equations(student, draw):
    s, *sizes = draw.primes(5, high=13)
    n = 30 * s
    fold, signal = (torch.arange(n) % s)[draw.uniform(n).argsort()], draw.normal(n)
    # every candidate knows the signal: R² is far from 0, so that single precision can tell it
    features = [draw.normal(n, f) / 2 + signal[:, None] + draw.number(0.5, 1) for f in sizes]
    targets = 2 * signal + draw.normal(n) + draw.number(2, 4)
    assert_same(student.measure(features, targets, fold), measured_by_loops(features, targets, fold))


@task(
    "task_19_4", without=("course_lib",), hint="Better in every fold; then the cheapest of those that nobody beats."
)
def test_ranks_and_choice(student, draw):
    for _ in range(12):
        m, s = draw.primes(2, high=13)
        scores = (draw.integers(0, 9, m, 1) + draw.integers(0, 3, m, s)).double() / 16  # exact ties
        costs = draw.uniform(m)
        ranks, chosen = student.choose(scores, costs)
        due, best = chosen_by_loops(scores.tolist(), costs.tolist())
        assert torch.as_tensor(ranks).tolist() == due and number(chosen) == best


def _measure(features, targets, fold, *, seen=torch.logical_not, scored=torch.clone, ones=1, spread=None, ridge=0.0):
    """The right answer with the parts that a wrong answer exchanges."""
    scores = []
    for one in features:
        x = torch.cat([one, one.new_ones(len(one), ones)], dim=1)
        for k in range(int(fold.max()) + 1):
            fit, test = seen(fold == k), scored(fold == k)
            held = torch.cat([x[fit], ridge * torch.eye(x.shape[1], dtype=x.dtype)])
            weights = torch.linalg.pinv(held) @ torch.cat([targets[fit], x.new_zeros(x.shape[1])])
            middle = targets[test].mean() if spread is None else spread(targets[fit])
            left = (x[test] @ weights - targets[test]).square().sum()
            scores.append(1 - left / (targets[test] - middle).square().sum())
    return torch.stack(scores).view(len(features), -1)


@wrong("task_19_4")
def measure__on_seen_images(features, targets, fold):
    """The score is that of images which the read-out was fitted to."""
    return _measure(features, targets, fold, scored=torch.logical_not)


@wrong("task_19_4")
def measure__fitted_to_all(features, targets, fold):
    """The read-out was fitted to all images, the fold's own among them."""
    return _measure(features, targets, fold, seen=torch.ones_like)


@wrong("task_19_4")
def measure__exchanged(features, targets, fold):
    """The read-out was fitted to the fold, and scored on all others."""
    return _measure(features, targets, fold, seen=torch.clone, scored=torch.logical_not)


@wrong("task_19_4")
def measure__without_an_intercept(features, targets, fold):
    """The read-out has no intercept."""
    return _measure(features, targets, fold, ones=0)


@wrong("task_19_4")
def measure__mean_of_the_seen(features, targets, fold):
    """The spread is around the mean target of the other folds; the mean of this fold is due."""
    return _measure(features, targets, fold, spread=torch.mean)


@wrong("task_19_4")
def measure__around_zero(features, targets, fold):
    """The spread is around 0; it is around the mean."""
    return _measure(features, targets, fold, spread=lambda targets: 0.0)


@wrong("task_19_4")
def measure__ridge(features, targets, fold):
    """The weights were held small; the least squared error alone is asked."""
    return _measure(features, targets, fold, ridge=1.0)


@wrong("task_19_4")
def measure__what_is_left(features, targets, fold):
    """This is the share that is left, not the one that is explained."""
    return 1 - _measure(features, targets, fold)


@wrong("task_19_4")
def measure__all_features_together(features, targets, fold):
    """All candidates were read together; each has a read-out of its own."""
    return _measure([torch.cat(features, dim=1)] * len(features), targets, fold)


def _choose(scores, costs, *, beats=None, first=1, among=None, best=None):
    """The right answer with the parts that a wrong answer exchanges."""
    beats = (scores[:, None] > scores).all(dim=2) if beats is None else beats
    ranks = 1 + beats.sum(dim=0)
    allowed = (ranks == 1) if among is None else among(ranks)
    ranks = ranks - 1 + first
    return ranks, (costs if best is None else best).masked_fill(~allowed, torch.inf).argmin()


@wrong("task_19_4")
def choose__by_the_mean(scores, costs):
    """The means were ranked; one candidate beats another in every fold, or it doesn't."""
    means = scores.mean(dim=1)
    return _choose(scores, costs, beats=means[:, None] > means)


@wrong("task_19_4")
def choose__worst_against_best(scores, costs):
    """The worst fold of one was compared with the best of another; fold by fold is due: all saw the same."""
    return _choose(scores, costs, beats=scores.min(dim=1).values[:, None] > scores.max(dim=1).values)


@wrong("task_19_4")
def choose__in_some_fold(scores, costs):
    """Better in some fold is not enough: in every fold."""
    beats = (scores[:, None] > scores).any(dim=2)
    return _choose(scores, costs, beats=beats, among=lambda ranks: ranks == ranks.min())


@wrong("task_19_4")
def choose__as_good(scores, costs):
    """As good is not better: so each candidate beats itself."""
    beats = (scores[:, None] >= scores).all(dim=2)
    return _choose(scores, costs, beats=beats, among=lambda ranks: ranks == ranks.min())


@wrong("task_19_4")
def choose__most_folds(scores, costs):
    """Better in most folds is not enough: in every fold."""
    beats = (scores[:, None] > scores).double().mean(dim=2) > 0.5
    return _choose(scores, costs, beats=beats, among=lambda ranks: ranks == ranks.min())


@wrong("task_19_4")
def choose__turned(scores, costs):
    """The number of those that a candidate beats was counted, not of those that beat it."""
    return _choose(scores, costs, beats=(scores[:, None] < scores).all(dim=2))


@wrong("task_19_4")
def choose__from_zero(scores, costs):
    """The ranks start at 0; the best is of rank 1."""
    return _choose(scores, costs, first=0)


@wrong("task_19_4")
def choose__the_cheapest_of_all(scores, costs):
    """The cheapest of all was chosen, also if others beat it."""
    return _choose(scores, costs, among=lambda ranks: ranks > 0)


@wrong("task_19_4")
def choose__the_highest_mean(scores, costs):
    """The highest mean was chosen; of rank 1, the cheapest is due."""
    return _choose(scores, costs, best=-scores.mean(dim=1))


@wrong("task_19_4")
def choose__the_dearest(scores, costs):
    """The dearest of rank 1 was chosen."""
    return _choose(scores, costs, best=-costs)


@wrong("task_19_4")
def choose__without_gaps(scores, costs):
    """The ranks have no gaps: behind two that beat a candidate it is of rank 3, also if these two are equal."""
    ranks, chosen = _choose(scores, costs)
    return torch.unique(ranks, return_inverse=True)[1] + 1, chosen
