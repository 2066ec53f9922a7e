"""Grades exercise 18 on sizes and values that the student has not seen, and names the mistakes people make."""

import math
from itertools import pairwise

import torch

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

# --- task 1: questions of different lengths ---


def pairs_by_loops(left, right, h, read_v, read_q, real):
    """Pair by pair: b g d."""
    f = read_v.new_zeros(len(left), len(h), read_v.shape[2])
    for image, said in enumerate(f):
        pairs = [(i, j) for i in range(left.shape[1]) for j in range(right.shape[1]) if real[image, j]]
        for g, glimpse in enumerate(said):
            shares = [math.exp((h[g] * left[image, i] * right[image, j]).sum()) for i, j in pairs]
            for share, (i, j) in zip(shares, pairs, strict=True):
                glimpse += share / sum(shares) * read_v[image, i] * read_q[image, j]
    return f


@task("task_18_1", without=("course_lib",), hint="One softmax over all real pairs of an image, for each glimpse.")
def test_the_pairs_equal_the_loops(student, draw):
    v, q, k, g, d = draw.primes(5, high=13)
    left, right, h = draw.normal(3, v, k).relu(), draw.normal(3, q, k).relu(), draw.normal(g, k)
    read_v, read_q, real = draw.normal(3, v, d), draw.normal(3, q, d), draw.mask(3, q)
    expected = pairs_by_loops(left, right, h, read_v, read_q, real)
    assert_same(student.read_pairs(left, right, h, read_v, read_q, real), expected)


@task("task_18_1", hint="Questions without padding, and questions that are nothing else.")
def test_full_and_empty_questions(student, draw):
    v, q, k, g, d = draw.primes(5, high=13)
    left, right, h = draw.normal(4, v, k).relu(), draw.normal(4, q, k).relu(), draw.normal(g, k)
    read_v, read_q = draw.normal(4, v, d), draw.normal(4, q, d)
    real = torch.arange(q) < torch.tensor([q, 0, q - 1, 1])[:, None]
    expected = pairs_by_loops(left, right, h, read_v, read_q, real)
    assert_same(student.read_pairs(left, right, h, read_v, read_q, real), expected)


def _pairs(left, right, h, read_v, read_q, real, *, axes="both", outside=-math.inf, nan=True, forget=False):
    """The right answer with the parts that a wrong answer exchanges."""
    scores = torch.einsum("bvk,gk,bqk->bgvq", left, h, right)
    scores = scores.masked_fill(~real[:, None, None], outside)
    if axes == "both":
        pairs = scores.flatten(2).softmax(dim=2).view_as(scores)
    elif axes == "all":
        pairs = scores.flatten(1).softmax(dim=1).view_as(scores)
    else:
        pairs = scores.softmax(dim=axes)
    pairs = torch.where(real[:, None, None], pairs, 0.0) if nan else pairs
    pairs = pairs.sum(dim=3, keepdim=True) * pairs.sum(dim=2, keepdim=True) if forget else pairs
    return torch.einsum("bgvq,bvd,bqd->bgd", pairs, read_v, read_q)


@wrong("task_18_1")
def read_pairs__over_the_regions(left, right, h, read_v, read_q, real):
    """Each word has a softmax of its own over the regions; one softmax runs over all pairs."""
    return _pairs(left, right, h, read_v, read_q, real, axes=2)


@wrong("task_18_1")
def read_pairs__over_the_words(left, right, h, read_v, read_q, real):
    """Each region has a softmax of its own over the words; one softmax runs over all pairs."""
    return _pairs(left, right, h, read_v, read_q, real, axes=3)


@wrong("task_18_1")
def read_pairs__over_the_glimpses_too(left, right, h, read_v, read_q, real):
    """The glimpses share one softmax; each has its own."""
    return _pairs(left, right, h, read_v, read_q, real, axes="all")


@wrong("task_18_1")
def read_pairs__padding_scores_zero(left, right, h, read_v, read_q, real):
    """The padding has a score of 0 and takes its share of the weight, though nothing of it is read."""
    return _pairs(left, right, h, read_v, read_q, real, outside=0.0)


@wrong("task_18_1")
def read_pairs__padding_is_read(left, right, h, read_v, read_q, real):
    """The padding is read like any word."""
    return _pairs(left, right, h, read_v, read_q, torch.ones_like(real))


@wrong("task_18_1")
def read_pairs__nan(left, right, h, read_v, read_q, real):
    """A question without a real word gave NaN; it must read 0."""
    return _pairs(left, right, h, read_v, read_q, real, nan=False)


@wrong("task_18_1")
def read_pairs__marginals(left, right, h, read_v, read_q, real):
    """The pairs were forgotten: only how much weight each region and each word gets was kept."""
    return _pairs(left, right, h, read_v, read_q, real, forget=True)


@wrong("task_18_1")
def read_pairs__without_h(left, right, h, read_v, read_q, real):
    """h is lost: all glimpses compare alike."""
    return _pairs(left, right, torch.ones_like(h), read_v, read_q, real)


@wrong("task_18_1")
def read_pairs__added(left, right, h, read_v, read_q, real):
    """What is read of region and word was added; it is multiplied."""
    regions = _pairs(left, right, h, read_v, torch.ones_like(read_q), real)
    return regions + _pairs(left, right, h, torch.ones_like(read_v), read_q, real)


@wrong("task_18_1")
def read_pairs__mask_inverted(left, right, h, read_v, read_q, real):
    """The mask is inverted: True means that the word is real."""
    return _pairs(left, right, h, read_v, read_q, ~real)


# --- task 2: what is lost when the pairs are forgotten ---


def forgotten_by_the_map(p, colours, claimed):
    """With the whole m × m map, number by number."""
    m = len(p)
    a = torch.stack([torch.stack([p[i] * p[j] for j in range(m)]) for i in range(m)])
    foreign = sum(a[i, j] for i in range(m) for j in range(m) if i != j)
    said = sum(a[i, j] * colours[i] * claimed[j] for i in range(m) for j in range(m))
    return foreign, said, (m - 1) / m


@task("task_18_2", without=("course_lib",), hint="Write the product of the marginals for two matches, then for m.")
def test_what_is_forgotten(student, draw):
    for m in draw.primes(2, high=13):
        p, signs = draw.normal(m).softmax(dim=0), draw.normal(2, m).sign()
        found = student.forgotten(p, *signs)
        for one, due in zip(found, forgotten_by_the_map(p, *signs), strict=True):
            assert abs(number(one) - number(due)) < 1e-5


@task("task_18_2", hint="A million matches: an m × m map does not fit in memory, two sums do.")
def test_a_million_matches(student, draw):
    m = 1_000_000
    p = torch.full((m,), 0.25 / (m - 1))
    p[0] = 0.75
    colours = torch.cat([torch.ones(1), -torch.ones(m - 1)])  # the things say ¾ − ¼
    for one, due in zip(student.forgotten(p, colours, torch.ones(m)), (7 / 16, 0.5, 1.0), strict=True):
        assert abs(number(one) - due) < 1e-3


def _forgotten(p, colours, claimed, *, foreign=None, said=None, most=None):
    """The right answer with the parts that a wrong answer exchanges."""
    return (
        1 - p.square().sum() if foreign is None else foreign,
        (p * colours).sum() * (p * claimed).sum() if said is None else said,
        1 - 1 / len(p) if most is None else most,
    )


@wrong("task_18_2")
def forgotten__what_is_left(p, colours, claimed):
    """This is the weight on the right pairs, not on the foreign ones."""
    return _forgotten(p, colours, claimed, foreign=p.square().sum())


@wrong("task_18_2")
def forgotten__one_side(p, colours, claimed):
    """Each foreign pair is counted once, but i with j and j with i are two."""
    return _forgotten(p, colours, claimed, foreign=(1 - p.square().sum()) / 2)


@wrong("task_18_2")
def forgotten__the_largest(p, colours, claimed):
    """The largest weight was subtracted; the diagonal holds the squares."""
    return _forgotten(p, colours, claimed, foreign=1 - p.max())


@wrong("task_18_2")
def forgotten__says_the_pairs(p, colours, claimed):
    """This is what the map of pairs says; the marginals mix foreign pairs in."""
    return _forgotten(p, colours, claimed, said=(p * colours * claimed).sum())


@wrong("task_18_2")
def forgotten__says_the_diagonal(p, colours, claimed):
    """Only the diagonal of the product speaks; foreign pairs speak too."""
    return _forgotten(p, colours, claimed, said=(p.square() * colours * claimed).sum())


@wrong("task_18_2")
def forgotten__says_evenly(p, colours, claimed):
    """The weights are lost: the plain means of both sides were multiplied."""
    return _forgotten(p, colours, claimed, said=colours.mean() * claimed.mean())


@wrong("task_18_2")
def forgotten__most_of_this_p(p, colours, claimed):
    """The most is over all p, not for the p given."""
    return _forgotten(p, colours, claimed, most=1 - p.square().sum())


@wrong("task_18_2")
def forgotten__most_is_a_half(p, colours, claimed):
    """A half is the most for two matches only."""
    return _forgotten(p, colours, claimed, most=0.5)


@wrong("task_18_2")
def forgotten__most_is_one(p, colours, claimed):
    """Not all of the weight can be foreign: the diagonal keeps 1/m at least."""
    return _forgotten(p, colours, claimed, most=1.0)


# --- task 3: repair a soft box ---


def box_by_loops(region, height, width, sharpness):
    """Pixel by pixel: b height width."""

    def rise(z):
        return 1 / (1 + math.exp(-sharpness * z))

    mask = region.new_zeros(len(region), height, width)
    for one, (x, y, half_w, half_h) in zip(mask, region.tolist(), strict=True):
        for i in range(height):
            for j in range(width):
                across = rise(j - x + half_w) - rise(j - x - half_w)
                one[i, j] = across * (rise(i - y + half_h) - rise(i - y - half_h))
    return mask


@task("task_18_3", without=("course_lib",), hint="1 only between the edges, and x counts columns.")
def test_the_box_equals_the_loops(student, draw):
    height, width = draw.primes(2, high=13)
    middle = draw.uniform(5, 2) * torch.tensor([width, height])
    region = torch.cat([middle, 0.5 + 3 * draw.uniform(5, 2)], dim=1)
    for sharpness in (0.3, 2.0):
        expected = box_by_loops(region, height, width, sharpness)
        assert_same(student.soft_box(region, height, width, sharpness), expected)


def _box(region, height, width, sharpness, *, combine=None, turned=False, halves=1.0, swap=False):
    """The right answer with the parts that a wrong answer exchanges."""
    x, y, half_w, half_h = region.unbind(dim=1)
    half_w, half_h = (half_h, half_w) if swap else (half_w, half_h)

    def edges(middle, half, n):
        z = torch.arange(n) - middle[:, None]
        rises = (sharpness * (z + halves * half[:, None])).sigmoid()
        falls = (sharpness * (z - halves * half[:, None])).sigmoid()
        return rises - falls if combine is None else combine(rises, falls)

    if turned:
        return edges(x, half_w, height)[:, :, None] * edges(y, half_h, width)[:, None, :]
    return edges(y, half_h, height)[:, :, None] * edges(x, half_w, width)[:, None, :]


def _times(rises, falls):
    return rises * falls


@wrong("task_18_3")
def soft_box__not_repaired(region, height, width, sharpness):
    """Nothing was repaired."""
    return _box(region, height, width, sharpness, combine=_times, turned=True)


@wrong("task_18_3")
def soft_box__still_a_product(region, height, width, sharpness):
    """Rises times falls is 1 beyond the far edge, not between the two."""
    return _box(region, height, width, sharpness, combine=_times)


@wrong("task_18_3")
def soft_box__still_turned(region, height, width, sharpness):
    """x still moves the rows."""
    return _box(region, height, width, sharpness, turned=True)


@wrong("task_18_3")
def soft_box__sizes_exchanged(region, height, width, sharpness):
    """The middle is right now, but half width and half height are exchanged."""
    return _box(region, height, width, sharpness, swap=True)


@wrong("task_18_3")
def soft_box__negative(region, height, width, sharpness):
    """Falls minus rises, on one axis: the mask is negative inside."""
    return -_box(region, height, width, sharpness)


@wrong("task_18_3")
def soft_box__rises_times_not_falls(region, height, width, sharpness):
    """Rises · (1 − falls) is nearly the same for a sharp box, and larger for a soft one."""
    return _box(region, height, width, sharpness, combine=lambda rises, falls: rises * (1 - falls))


@wrong("task_18_3")
def soft_box__half_of_the_half(region, height, width, sharpness):
    """The half sides were halved once more."""
    return _box(region, height, width, sharpness, halves=0.5)


@wrong("task_18_3")
def soft_box__hard(region, height, width, sharpness):
    """The edges are hard: no gradient says where the box should go."""
    return _box(region, height, width, sharpness).round()


@wrong("task_18_3")
def soft_box__fixed_sharpness(region, height, width, sharpness):
    """The sharpness is lost: it says how soft the edges are."""
    return _box(region, height, width, 10.0)


# --- task 4: surer with every closer look ---


def surer_by_loops(logits, labels, margin):
    """Image by image and pair by pair, with the coarser scale of each pair held fixed."""
    losses = []
    for image, label in enumerate(labels):
        p = [logits[s, image].softmax(dim=0)[label] for s in range(len(logits))]
        losses += [(a.detach() - b + margin).clamp(min=0) for a, b in pairwise(p)]
    return sum(losses) / len(labels)


@task(
    "task_18_4",
    without=("course_lib",),
    hint="Probabilities of the true class, pair by pair; then the mean.",
)
def test_the_loss_equals_the_loops(student, draw):
    b, k = draw.primes(2, high=13)
    for scales in (2, 4):
        logits, labels = 2 * draw.normal(scales, b, k), draw.integers(0, k, b)
        assert_same(student.surer(logits, labels, 0.1), surer_by_loops(logits, labels, 0.1))


@task("task_18_4", hint="No gradient reaches a scale as the coarser one of a pair.")
def test_only_finer_scales_have_a_gradient(student, draw):
    b, k = draw.primes(2, high=13)
    logits, labels = draw.normal(3, b, k).requires_grad_(), draw.integers(0, k, b)
    (found,) = torch.autograd.grad(student.surer(logits, labels, 0.3), logits)
    (due,) = torch.autograd.grad(surer_by_loops(logits, labels, 0.3), logits)
    assert_same(found, due)


def _surer(logits, labels, margin, *, sure=None, cut=0, total=True, clamp=True, mean=True):
    """The right answer with the parts that a wrong answer exchanges."""
    picked = labels.expand(len(logits), -1)[..., None]
    p = (logits.softmax(dim=2) if sure is None else sure(logits)).gather(2, picked)[..., 0]
    coarse, fine = p[:-1], p[1:]
    coarse, fine = (coarse.detach() if cut == 0 else coarse), (fine.detach() if cut == 1 else fine)
    behind = coarse - fine + margin
    behind = behind.clamp(min=0) if clamp else behind
    behind = behind.sum(dim=0) if total else behind.mean(dim=0)
    return behind.mean() if mean else behind.sum()


@wrong("task_18_4")
def surer__on_logits(logits, labels, margin):
    """The loss compares logits; how sure a scale is, is a probability."""
    return _surer(logits, labels, margin, sure=lambda one: one)


@wrong("task_18_4")
def surer__on_log_probabilities(logits, labels, margin):
    """The loss compares logarithms; the margin is one of probabilities."""
    return _surer(logits, labels, margin, sure=lambda one: one.log_softmax(dim=2))


@wrong("task_18_4")
def surer__softmax_over_the_images(logits, labels, margin):
    """The probabilities sum to 1 over the images; they must over the classes."""
    return _surer(logits, labels, margin, sure=lambda one: one.softmax(dim=1))


@wrong("task_18_4")
def surer__nothing_cut(logits, labels, margin):
    """The coarse scale gets a gradient: it can lower the loss by becoming worse."""
    return _surer(logits, labels, margin, cut=None)


@wrong("task_18_4")
def surer__the_finer_cut(logits, labels, margin):
    """The finer scale was held fixed; only the coarser one learns, to be worse."""
    return _surer(logits, labels, margin, cut=1)


@wrong("task_18_4")
def surer__all_cut_but_the_last(logits, labels, margin):
    """A scale in the middle is the finer one of a pair too, and must learn there."""
    return _surer(torch.cat([logits[:-1].detach(), logits[-1:]]), labels, margin)


@wrong("task_18_4")
def surer__mean_of_the_pairs(logits, labels, margin):
    """The pairs of scales were averaged; they are summed."""
    return _surer(logits, labels, margin, total=False)


@wrong("task_18_4")
def surer__sum_of_the_images(logits, labels, margin):
    """The images were summed; they are averaged."""
    return _surer(logits, labels, margin, mean=False)


@wrong("task_18_4")
def surer__a_gain_pays(logits, labels, margin):
    """Without max(0, …) a pair that is surer by far pays for one that is not."""
    return _surer(logits, labels, margin, clamp=False)


@wrong("task_18_4")
def surer__turned(logits, labels, margin):
    """Coarse and fine are exchanged: the first scale is the coarsest."""
    return _surer(logits.flip(0), labels, margin)


@wrong("task_18_4")
def surer__without_the_margin(logits, labels, margin):
    """The margin is lost: a finer scale must be surer by the margin, not only as sure."""
    return _surer(logits, labels, 0.0)
