"""Grades exercise 11 on sizes and values that the student has not seen, and names the mistakes people make."""

import math
from itertools import product

import torch
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same, number, tensor

# --- task 1: a cross in a video ---


def video_by_loops(query, key, value):
    """Position by position, place by place: d t h w, d t h w, e t h w -> e t h w."""
    result = torch.zeros_like(value)
    places = list(product(*map(range, query.shape[1:])))
    for here in places:
        lines = [there for there in places if sum(a == b for a, b in zip(here, there, strict=True)) >= 2]
        likeness = [math.exp(query[:, *here] @ key[:, *there]) for there in lines]
        for weight, there in zip(likeness, lines, strict=True):
            result[:, *here] += weight / sum(likeness) * value[:, *there]
    return result


@task("task_11_1", without=("course_lib",), hint="Compare with loops over the places of the three lines, each once.")
def test_the_cross_equals_the_loops(student, draw):
    shape = draw.primes(3, high=7)  # t h w
    query, key, value = 0.5 * draw.normal(4, *shape), draw.normal(4, *shape), draw.normal(6, *shape)
    assert_same(student.video_cross(query, key, value), video_by_loops(query, key, value))


@task("task_11_1", hint="A video of one moment is an image, and one row of it a line.")
def test_short_axes(student, draw):
    h, w = draw.primes(2, high=7)
    for shape in ((1, h, w), (h, 1, w), (1, 1, w), (1, 1, 1)):
        query, key, value = draw.normal(4, *shape), draw.normal(4, *shape), draw.normal(6, *shape)
        assert_same(student.video_cross(query, key, value), video_by_loops(query, key, value))


def _lines(shape, least=2, most=3):
    """n n: on how many coordinates two places agree, and whether these are enough."""
    axes = [torch.arange(size) for size in shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
    shared = (place[:, :, None] == place[:, None]).sum(dim=0)
    return (shared >= least) & (shared <= most), shared


def _read(query, key, value, seen, *, count=None, axis=1, scale=1.0):
    """The right answer with the parts that a wrong answer exchanges."""
    scores = scale * (query.flatten(1).mT @ key.flatten(1))
    scores = scores.masked_fill(~seen, -torch.inf)
    scores = scores if count is None else scores + count.log().to(scores)
    return (value.flatten(1) @ scores.softmax(dim=axis).nan_to_num().mT).view_as(value)


@wrong("task_11_1")
def video_cross__itself_three_times(query, key, value):
    """A position stands in three lines and was counted three times; it counts once."""
    seen, shared = _lines(query.shape[1:])
    return _read(query, key, value, seen, count=torch.where(shared == 3, 3.0, 1.0))


@wrong("task_11_1")
def video_cross__without_itself(query, key, value):
    """A position does not read itself; it is one of its t + h + w − 2 places."""
    return _read(query, key, value, _lines(query.shape[1:], most=2)[0])


@wrong("task_11_1")
def video_cross__planes(query, key, value):
    """Places that share one coordinate make three planes; a line shares two."""
    return _read(query, key, value, _lines(query.shape[1:], least=1)[0])


@wrong("task_11_1")
def video_cross__within_the_moment(query, key, value):
    """Only row and column of the own moment are read; the other moments of the pixel are the third line."""
    _, t, h, w = query.shape
    same = torch.arange(t).repeat_interleave(h * w)
    return _read(query, key, value, _lines((t, h, w))[0] & (same[:, None] == same))


@wrong("task_11_1")
def video_cross__everyone(query, key, value):
    """All positions are read: that is the whole non-local block."""
    return _read(query, key, value, _lines(query.shape[1:], least=0)[0])


@wrong("task_11_1")
def video_cross__softmax_over_queries(query, key, value):
    """The weights sum to 1 over those who ask; for each who asks they must sum to 1 over the places."""
    return _read(query, key, value, _lines(query.shape[1:])[0], axis=0)


@wrong("task_11_1")
def video_cross__key_asks(query, key, value):
    """Query and key are exchanged: the position's own key asks."""
    return _read(key, query, value, _lines(query.shape[1:])[0])


@wrong("task_11_1")
def video_cross__scaled(query, key, value):
    """The scores are divided by √d; they are plain dot products."""
    return _read(query, key, value, _lines(query.shape[1:])[0], scale=len(query) ** -0.5)


@wrong("task_11_1")
def video_cross__a_softmax_for_each_line(query, key, value):
    """Each line has a softmax of its own, and the three results were averaged; one softmax runs over all places."""
    parts = []
    for axis in (1, 2, 3):
        q, k, v = (x.movedim(axis, -1).flatten(1, 2).transpose(0, 1) for x in (query, key, value))  # lines d l
        read = v @ (q.mT @ k).softmax(dim=2).mT  # lines e l
        shape = [size for i, size in enumerate(value.shape) if i not in (0, axis)]
        parts.append(read.transpose(0, 1).unflatten(1, shape).movedim(-1, axis))
    return sum(parts) / 3


# --- task 2: the paths of three loops ---


def walked(h, w):
    """Paths counted by the matrix of one loop, to the third power; a position of each kind."""
    places = list(product(range(h), range(w)))
    once = torch.tensor([[float(a[0] == b[0] or a[1] == b[1]) for b in places] for a in places]).double()
    paths = (once @ once @ once).view(h, w, h, w)[0, 0]
    return paths[:2, :2].flatten().tolist()


@task("task_11_2", without=("course_lib",), hint="Four whole numbers for other h and w; walk them on a small grid.")
def test_small_grids_are_walked(student, draw):
    for h, w in (draw.primes(2, high=13), (2, draw.primes(1)[0])):
        found = list(student.paths_of_three(h, w))
        assert [number(one) for one in found] == walked(h, w)


@task("task_11_2", hint="A million rows: no matrix fits, the numbers must come from h and w.")
def test_large_grids_add_up(student, draw):
    h, w = (int(one) for one in draw.integers(100_000, 1_000_000, 2))
    itself, row, column, neither = (number(one) for one in student.paths_of_three(h, w))
    assert itself + (w - 1) * row + (h - 1) * column + (h - 1) * (w - 1) * neither == (h + w - 1) ** 3
    assert [itself, *student.paths_of_three(w, h)] == [itself, itself, column, row, neither]


def _paths(h, w):
    return h * h + w * w - 1, w * w + 3 * h - 3, h * h + 3 * w - 3, 3 * h + 3 * w - 6


@wrong("task_11_2")
def paths_of_three__of_two(height, width):
    """These are the paths of two loops."""
    return height + width - 1, width, height, 2


@wrong("task_11_2")
def paths_of_three__row_and_column_exchanged(height, width):
    """Row and column are exchanged: a row has w positions."""
    itself, row, column, neither = _paths(height, width)
    return itself, column, row, neither


@wrong("task_11_2")
def paths_of_three__never_stands_still(height, width):
    """A position reads itself, too: a path may stand still."""
    itself, row, column, neither = _paths(height, width)
    return itself - 3 * (height + width - 1) + 2, row - 3 * width + 3, column - 3 * height + 3, neither - 6


@wrong("task_11_2")
def paths_of_three__corners_only(height, width):
    """To a position in neither lead more than the two paths with a pause: one can also go along a row twice."""
    return *_paths(height, width)[:3], 6


@wrong("task_11_2")
def paths_of_three__two_at_each_step(height, width):
    """A place of the own row is left by w paths, not by two."""
    h, w = height, width
    return (h + w - 1) * 3 - 2, *_paths(h, w)[1:]


@wrong("task_11_2")
def paths_of_three__loops_multiplied(height, width):
    """The numbers of two loops were multiplied by the places of a third; which place it is counts."""
    each = height + width - 1
    return tuple(each * one for one in (each, width, height, 2))


@wrong("task_11_2")
def paths_of_three__itself_twice(height, width):
    """A position was counted in its row and in its column; it stands in both, and counts once."""
    h, w = height, width
    itself, row, column, neither = _paths(h, w)
    return itself + 3 * (h + w) + 1, row + 3 * w + 3, column + 3 * h + 3, neither + 6


# --- task 3: what pooled keys have lost ---


def drawn_cells(draw):
    """Queries, keys and values of more positions than cells, one cell empty, the others of different sizes."""
    n, d, e, m = draw.primes(4, high=13)
    used = [k for k in range(m + 1) if k != 1]
    cells = torch.cat([torch.tensor(used), *(torch.full((1 + int(draw.integers(0, 5)),), k) for k in used[::2])])
    cells = cells[torch.randperm(len(cells), generator=draw.generator)]
    return 0.7 * draw.normal(n, d), draw.normal(len(cells), d), draw.normal(len(cells), e), cells


@task(
    "task_11_3",
    without=("course_lib",),
    hint="Where keys are equal within a cell, nothing may differ from asking all.",
)
def test_equal_keys_lose_nothing(student, draw):
    query, key, value, cells = drawn_cells(draw)
    key = draw.normal(int(cells.max()) + 1, key.shape[1])[cells]
    assert_same(student.ask_cells(query, key, value, cells), (query @ key.mT).softmax(dim=1) @ value)


@task("task_11_3", hint="Loops over queries and cells, with keys that differ within a cell; one cell is empty.")
def test_the_cells_equal_the_loops(student, draw):
    query, key, value, cells = drawn_cells(draw)
    expected = []
    for one in query:
        parts = [(key[cells == k], value[cells == k]) for k in cells.unique()]
        weights = [len(keys) * math.exp(one @ keys.mean(dim=0)) for keys, _ in parts]
        means = [values.mean(dim=0) for _, values in parts]
        expected.append(sum(a * b for a, b in zip(weights, means, strict=True)) / sum(weights))
    assert_same(student.ask_cells(query, key, value, cells), torch.stack(expected))


def _ask(query, key, value, cells, *, term=torch.log, sums=(False, False), empty=True, scale=1.0):
    """The right answer with the parts that a wrong answer exchanges."""
    member = F.one_hot(cells).to(key.dtype).mT
    size = member.sum(dim=1)
    share = member / size.clamp(min=1)[:, None]
    scores = scale * query @ ((member if sums[0] else share) @ key).mT + term(size.clamp(min=0 if empty else 1))
    return scores.softmax(dim=1) @ ((member if sums[1] else share) @ value)


@wrong("task_11_3")
def ask_cells__as_in_the_paper(query, key, value, cells):
    """Nothing was added to the scores: a cell of one position counts as much as one of ten."""
    return _ask(query, key, value, cells, term=torch.zeros_like)


@wrong("task_11_3")
def ask_cells__adds_the_number(query, key, value, cells):
    """The number of positions itself was added to the score; in front of the exponential it is a factor."""
    return _ask(query, key, value, cells, term=lambda size: size.where(size > 0, -math.inf))


@wrong("task_11_3")
def ask_cells__subtracts(query, key, value, cells):
    """The logarithm was taken away: larger cells count less, they must count more."""
    return _ask(query, key, value, cells, term=lambda size: (-size.log()).where(size > 0, -math.inf))


@wrong("task_11_3")
def ask_cells__weighs_after_the_softmax(query, key, value, cells):
    """The weights were multiplied by the sizes after the softmax, and sum to 1 no more."""
    return _ask(query, key, value, cells, term=torch.zeros_like, sums=(False, True))


@wrong("task_11_3")
def ask_cells__sums_of_keys(query, key, value, cells):
    """The keys of a cell were added up; they must be averaged."""
    return _ask(query, key, value, cells, sums=(True, False))


@wrong("task_11_3")
def ask_cells__sums_of_values(query, key, value, cells):
    """The values of a cell were added up as well as counted in the score: counted twice."""
    return _ask(query, key, value, cells, sums=(False, True))


@wrong("task_11_3")
def ask_cells__empty_cell_counts(query, key, value, cells):
    """The empty cell got weight, as if one position belonged to it."""
    return _ask(query, key, value, cells, empty=False)


@wrong("task_11_3")
def ask_cells__empty_cell_divides(query, key, value, cells):
    """The average of an empty cell is 0 / 0, and nan reaches every result."""
    member = F.one_hot(cells).to(key.dtype).mT
    share = member / member.sum(dim=1)[:, None]
    return (query @ (share @ key).mT + member.sum(dim=1).log()).softmax(dim=1) @ (share @ value)


@wrong("task_11_3")
def ask_cells__one_key_of_each(query, key, value, cells):
    """One key of each cell was taken for all; keys that differ must be averaged."""
    first = torch.stack([key[cells == k][0] if (cells == k).any() else key[0] for k in range(int(cells.max()) + 1)])
    return _ask(query, first[cells], value, cells)


@wrong("task_11_3")
def ask_cells__scaled(query, key, value, cells):
    """The scores are divided by √d; they are plain dot products."""
    return _ask(query, key, value, cells, scale=key.shape[1] ** -0.5)


# --- task 4: repair two thin maps ---


def double_by_loops(x, w_phi, w_theta, w_rho):
    """Slot by slot, then position by position, for one image: c h w -> d h w."""
    pixels = x.flatten(1).mT
    slots = []
    for row in w_theta:
        shares = [math.exp(row @ p) for p in pixels]
        slots.append(sum(s * (w_phi @ p) for s, p in zip(shares, pixels, strict=True)) / sum(shares))
    result = []
    for p in pixels:
        shares = [math.exp(row @ p) for row in w_rho]
        result.append(sum(s * slot for s, slot in zip(shares, slots, strict=True)) / sum(shares))
    return torch.stack(result).mT.reshape(-1, *x.shape[1:])


@task("task_11_4", without=("course_lib",), hint="Each image for itself; first averages of the image, then of these.")
def test_the_repaired_block_equals_the_loops(student, draw):
    b, c, d, m = draw.primes(4, high=11)
    x, w_phi = draw.normal(b, c, 4, 6), draw.normal(d, c)
    w_theta, w_rho = 0.5 * draw.normal(m, c), 0.5 * draw.normal(m, c)
    expected = torch.stack([double_by_loops(image, w_phi, w_theta, w_rho) for image in x])
    assert_same(student.double_attention(x, w_phi, w_theta, w_rho), expected)


def _double(x, w_phi, w_theta, w_rho, *, gather=2, hand_out=1, mean=False):
    """The right answer with the axes that a wrong answer exchanges."""
    pixels = x.flatten(2)
    first, second = (w_theta @ pixels).softmax(dim=gather), (w_rho @ pixels).softmax(dim=hand_out)
    first = first / pixels.shape[2] if mean else first
    return ((w_phi @ pixels) @ first.mT @ second).unflatten(2, x.shape[2:])


@wrong("task_11_4")
def double_attention__not_repaired(x, w_phi, w_theta, w_rho):
    """Nothing was repaired."""
    return _double(x, w_phi, w_theta, w_rho, gather=0, hand_out=2)


@wrong("task_11_4")
def double_attention__only_the_first(x, w_phi, w_theta, w_rho):
    """Gathering is right; handing out still sums to 1 over positions: each gets a share, not an average."""
    return _double(x, w_phi, w_theta, w_rho, hand_out=2)


@wrong("task_11_4")
def double_attention__only_the_second(x, w_phi, w_theta, w_rho):
    """Handing out is right; gathering still sums to 1 over the batch."""
    return _double(x, w_phi, w_theta, w_rho, gather=0)


@wrong("task_11_4")
def double_attention__gathers_over_slots(x, w_phi, w_theta, w_rho):
    """Gathering sums to 1 over the descriptors; each descriptor must be an average over positions."""
    return _double(x, w_phi, w_theta, w_rho, gather=1)


@wrong("task_11_4")
def double_attention__gathers_over_slots_and_divides(x, w_phi, w_theta, w_rho):
    """Gathering sums to 1 over the descriptors and is divided by n: still no average over positions."""
    return _double(x, w_phi, w_theta, w_rho, gather=1, mean=True)


@wrong("task_11_4")
def double_attention__maps_exchanged(x, w_phi, w_theta, w_rho):
    """The two maps are exchanged: θ gathers, ρ hands out."""
    return _double(x, w_phi, w_rho, w_theta)


@wrong("task_11_4")
def double_attention__hands_out_over_the_batch(x, w_phi, w_theta, w_rho):
    """Handing out sums to 1 over the images of the batch."""
    return _double(x, w_phi, w_theta, w_rho, hand_out=0)


# --- task 5: balance in several rounds ---


def balanced_by_division(scores, rounds):
    """Divide by the sums, again and again."""
    weights = scores.exp()
    for _ in range(rounds):
        weights = torch.stack([column / column.sum() for column in weights.mT], dim=1)
        weights = torch.stack([row / row.sum() for row in weights])
    return weights


@task("task_11_5", without=("course_lib",), hint="One round and several, against plain division by the sums.")
def test_rounds_equal_repeated_division(student, draw):
    n, m, many = draw.primes(3, high=13)
    scores = 2 * draw.normal(n, m)
    for rounds in (1, 2, many):
        assert_same(student.balanced(scores, rounds), balanced_by_division(scores, rounds))


@task(
    "task_11_5",
    hint="Add thousands to a whole slot: nothing changes. Take them from a whole position: it is not lost.",
)
def test_large_scores(student, draw):
    n, m, rounds = draw.primes(3, high=13)
    scores = draw.normal(n, m)
    moved = scores + 4000 * draw.uniform(1, m) - 2000  # another number for each slot
    assert_close(student.balanced(moved, rounds), balanced_by_division(scores, rounds))
    far = torch.cat([scores[:1] - 2000, scores[1:]])  # the others make up the sums over the positions
    alone = (scores[0] - scores[1:].logsumexp(dim=0)).softmax(dim=0)
    assert_close(student.balanced(far, 1), torch.cat([alone[None], balanced_by_division(scores[1:], 1)]))


def assert_close(found, expected):
    """Scores of thousands have four decimals in single precision."""
    torch.testing.assert_close(tensor(found).double(), expected, rtol=0, atol=2e-3)


def _balance(scores, rounds, first=0, second=1):
    for _ in range(rounds):
        scores = scores - scores.logsumexp(dim=first, keepdim=True)
        scores = scores - scores.logsumexp(dim=second, keepdim=True)
    return scores.exp()


@wrong("task_11_5")
def balanced__the_other_order(scores, rounds):
    """The steps are exchanged: at the end, the weights sum to 1 over the positions."""
    return _balance(scores, rounds, 1, 0)


@wrong("task_11_5")
def balanced__one_round(scores, rounds):
    """The steps were done once, however many rounds are asked for."""
    return _balance(scores, 1)


@wrong("task_11_5")
def balanced__one_too_many(scores, rounds):
    """There was one round more than was asked for."""
    return _balance(scores, rounds + 1)


@wrong("task_11_5")
def balanced__slots_only(scores, rounds):
    """Only the softmax over the slots is left; the step over the positions comes first."""
    return scores.softmax(dim=1)


@wrong("task_11_5")
def balanced__softmax_of_a_softmax(scores, rounds):
    """The second step took a softmax of weights; it must divide by their sum."""
    for _ in range(rounds):
        scores = scores.softmax(dim=0).softmax(dim=1)
    return scores


@wrong("task_11_5")
def balanced__overflows(scores, rounds):
    """The exponential came first: beyond some 700 it is infinite, and then nothing is a number."""
    weights = scores.exp()
    for _ in range(rounds):
        weights = weights / weights.sum(dim=0)
        weights = weights / weights.sum(dim=1, keepdim=True)
    return weights


@wrong("task_11_5")
def balanced__shifted_by_the_largest(scores, rounds):
    """The largest score of all was taken away before the exponential: slots far below it are lost, 0 / 0."""
    return balanced__overflows(scores - scores.max(), rounds)


@wrong("task_11_5")
def balanced__logarithms(scores, rounds):
    """Logarithms were returned; weights are due."""
    return _balance(scores, rounds).log()
