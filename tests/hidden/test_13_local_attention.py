"""Grades exercise 13 on sizes and values that the student has not seen, and names the mistakes people make."""

import torch
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same

# --- task 1: which convolution is it? ---


def heads_by_loops(x, scores, w_v, w_o):
    """Heads that know only places, at every position whose whole window exists: b c h w -> b o h' w'."""
    k, l = scores.shape[1:]  # noqa: E741
    height, width = x.shape[2] - k + 1, x.shape[3] - l + 1
    y = x.new_zeros(len(x), w_o.shape[1], height, width)
    for head, one in enumerate(scores):
        shares = one.exp() / one.exp().sum()
        for row in range(k):
            for column in range(l):
                seen = x[:, :, row : row + height, column : column + width]
                value = torch.einsum("dc,bchw->bdhw", w_v[head], seen)
                y += shares[row, column] * torch.einsum("od,bdhw->bohw", w_o[head], value)
    return y


@task("task_13_1", without=("course_lib",), hint="The convolution with your kernel must give what the heads give.")
def test_the_kernel_does_what_the_heads_do(student, draw):
    s, d, c, o = draw.primes(4, high=13)
    scores, w_v, w_o = draw.normal(s, 3, 4), draw.normal(s, d, c), draw.normal(s, o, d)
    x = draw.normal(2, c, 6, 9)
    assert_same(F.conv2d(x, student.as_convolution(scores, w_v, w_o)), heads_by_loops(x, scores, w_v, w_o))


def _kernel(scores, w_v, w_o, *, shares=None, formula="skl,sdc,sod->ockl"):
    """The right answer with the parts that a wrong answer exchanges."""
    weights = scores.flatten(1).softmax(dim=1).view_as(scores) if shares is None else shares(scores)
    return torch.einsum(formula, weights, w_v, w_o)


@wrong("task_13_1")
def as_convolution__softmax_over_a_row(scores, w_v, w_o):
    """Every row of the window shares out a whole of its own; the softmax runs over all taps."""
    return _kernel(scores, w_v, w_o, shares=lambda one: one.softmax(dim=2))


@wrong("task_13_1")
def as_convolution__softmax_over_a_column(scores, w_v, w_o):
    """Every column of the window shares out a whole of its own; the softmax runs over all taps."""
    return _kernel(scores, w_v, w_o, shares=lambda one: one.softmax(dim=1))


@wrong("task_13_1")
def as_convolution__softmax_over_the_heads(scores, w_v, w_o):
    """The shares sum to 1 over the heads; each head shares out over its taps."""
    return _kernel(scores, w_v, w_o, shares=lambda one: one.softmax(dim=0))


@wrong("task_13_1")
def as_convolution__no_softmax(scores, w_v, w_o):
    """The scores themselves were taken as weights."""
    return _kernel(scores, w_v, w_o, shares=lambda one: one)


@wrong("task_13_1")
def as_convolution__mirrored(scores, w_v, w_o):
    """The kernel is mirrored; `F.conv2d` does not mirror."""
    return _kernel(scores, w_v, w_o).flip(2, 3)


@wrong("task_13_1")
def as_convolution__mean_of_the_heads(scores, w_v, w_o):
    """The heads were averaged; they are added."""
    return _kernel(scores, w_v, w_o) / len(scores)


@wrong("task_13_1")
def as_convolution__sums_meet(scores, w_v, w_o):
    """Shares and matrices were summed over the heads apart; each head has its own share *and* its own matrices."""
    return _kernel(scores, w_v, w_o, formula="skl,tdc,tod->ockl") / len(scores)


@wrong("task_13_1")
def as_convolution__values_of_other_heads(scores, w_v, w_o):
    """W_O of one head met W_V of the others."""
    return _kernel(scores, w_v, w_o, formula="skl,tdc,sod->ockl")


# --- task 2: a window with gaps ---


def gaps_by_loops(query, key, value, rows, columns, dilation):
    """Pixel by pixel, for one image: d h w, d h w, e h w, k d, l d -> e h w."""
    _, h, w = query.shape
    result = torch.zeros_like(value)
    for i in range(h):
        for j in range(w):
            scores, values = [], []
            for a in range(len(rows)):
                for b in range(len(columns)):
                    y, x = i + dilation * (a - len(rows) // 2), j + dilation * (b - len(columns) // 2)
                    if 0 <= y < h and 0 <= x < w:
                        scores.append(query[:, i, j] @ (key[:, y, x] + rows[a] + columns[b]))
                        values.append(value[:, y, x])
            shares = torch.stack(scores).exp()
            result[:, i, j] = torch.stack(values, dim=1) @ shares / shares.sum()
    return result


def drawn_window(draw):
    """Queries, keys, values, rows, columns: three images smaller and larger than parts of the window."""
    d, e = draw.primes(2, high=7)
    query, key, value = 0.7 * draw.normal(3, d, 5, 8), 0.7 * draw.normal(3, d, 5, 8), draw.normal(3, e, 5, 8)
    key[:, :, 1, 2] = 0  # a zero inside the image is a key like any other
    return query, key, value, 0.7 * draw.normal(3, d), 0.7 * draw.normal(5, d)


@task("task_13_2", without=("course_lib",), hint="Compare with loops over pixels and taps, for several dilations.")
def test_the_window_equals_the_loops(student, draw):
    query, key, value, rows, columns = drawn_window(draw)
    for dilation in (1, 2, 3):
        looped = [gaps_by_loops(*one, rows, columns, dilation) for one in zip(query, key, value, strict=True)]
        assert_same(student.attend_with_gaps(query, key, value, rows, columns, dilation), torch.stack(looped))


@task("task_13_2", hint="A window that is taller than wide, of which only the middle column lies in the image.")
def test_a_tall_window_on_a_narrow_image(student, draw):
    query, key, value, rows, columns = drawn_window(draw)
    narrow = [one[..., :1].contiguous() for one in (query, key, value)]
    looped = [gaps_by_loops(*one, columns, rows, 2) for one in zip(*narrow, strict=True)]
    assert_same(student.attend_with_gaps(*narrow, columns, rows, 2), torch.stack(looped))


def _gaps(query, key, value, rows, columns, dilation, *, scale=1.0, mask=-torch.inf, steps=None, inside=None):
    """The right answer with the parts that a wrong answer exchanges."""
    size = len(rows), len(columns)
    padding = tuple(dilation * (side // 2) for side in size)

    def windows(x):
        return F.unfold(x, size, dilation=dilation, padding=padding).unflatten(1, (x.shape[1], -1))

    step = (rows[:, None] + columns).flatten(0, 1) if steps is None else steps(rows, columns)
    near = windows(key) + step.mT[..., None]  # b d t n
    scores = scale * (query.flatten(2)[:, :, None] * near).sum(dim=1)
    outside = windows(torch.ones_like(key[:1, :1]) if inside is None else inside)[:, 0] == 0
    weights = scores.masked_fill(outside, mask) if mask is not None else scores
    weights = weights.softmax(dim=1)
    return (windows(value) * weights[:, None]).sum(dim=2).unflatten(2, query.shape[2:])


@wrong("task_13_2")
def attend_with_gaps__zeros_outside_count(query, key, value, rows, columns, dilation):
    """Padded zeros take a share: outside the image the score must be −∞."""
    return _gaps(query, key, value, rows, columns, dilation, mask=None)


@wrong("task_13_2")
def attend_with_gaps__score_zero_outside(query, key, value, rows, columns, dilation):
    """The score outside was set to 0, which still takes a share."""
    return _gaps(query, key, value, rows, columns, dilation, mask=0.0)


@wrong("task_13_2")
def attend_with_gaps__zero_keys_masked(query, key, value, rows, columns, dilation):
    """Keys whose first number is 0 were taken for the outside; a key inside the image may be 0."""
    return _gaps(query, key, value, rows, columns, dilation, inside=key[:, :1])


@wrong("task_13_2")
def attend_with_gaps__without_gaps(query, key, value, rows, columns, dilation):
    """The dilation has no effect: taps stand side by side."""
    return _gaps(query, key, value, rows, columns, 1)


@wrong("task_13_2")
def attend_with_gaps__divided_by_root_d(query, key, value, rows, columns, dilation):
    """The scores are divided by √d; the formula does not divide."""
    return _gaps(query, key, value, rows, columns, dilation, scale=query.shape[1] ** -0.5)


@wrong("task_13_2")
def attend_with_gaps__steps_reversed(query, key, value, rows, columns, dilation):
    """The vector of a step belongs to the opposite tap: row 0 of the table is the upper row of the window."""
    return _gaps(query, key, value, rows.flip(0), columns.flip(0), dilation)


@wrong("task_13_2")
def attend_with_gaps__no_steps(query, key, value, rows, columns, dilation):
    """The steps are missing: only content is compared."""
    return _gaps(query, key, value, 0 * rows, 0 * columns, dilation)


@wrong("task_13_2")
def attend_with_gaps__only_rows(query, key, value, rows, columns, dilation):
    """The columns' vectors are missing."""
    return _gaps(query, key, value, rows, 0 * columns, dilation)


@wrong("task_13_2")
def attend_with_gaps__only_steps(query, key, value, rows, columns, dilation):
    """The keys are missing: only steps are compared."""
    return _gaps(query, 0 * key, value, rows, columns, dilation)


@wrong("task_13_2")
def attend_with_gaps__taps_in_columns(query, key, value, rows, columns, dilation):
    """The steps stand column by column; the taps of a window stand row by row."""
    return _gaps(*(query, key, value, rows, columns, dilation), steps=lambda r, c: (c[:, None] + r).flatten(0, 1))


@wrong("task_13_2")
def attend_with_gaps__a_softmax_for_each_channel(query, key, value, rows, columns, dilation):
    """The sum over the d products is missing, as in a port in circulation: every channel has a softmax of its own."""
    parts = [
        _gaps(query[:, [k]], key[:, [k]], value, rows[:, [k]], columns[:, [k]], dilation)
        for k in range(query.shape[1])
    ]
    return sum(parts) / len(parts)


# --- task 3: repair a local relation ---


def relation_by_loops(x, query, key, prior):
    """Group by group and pixel by pixel, for one image: c h w, g h w, g h w, g k k -> c h w."""
    (c, h, w), (groups, k, _) = x.shape, prior.shape
    result, size = torch.zeros_like(x), c // groups
    for group in range(groups):
        own = slice(group * size, (group + 1) * size)
        for i in range(h):
            for j in range(w):
                scores, values = [], []
                for a in range(max(0, i - k // 2), min(h, i + k // 2 + 1)):
                    for b in range(max(0, j - k // 2), min(w, j + k // 2 + 1)):
                        unlike = (query[group, i, j] - key[group, a, b]) ** 2
                        scores.append(prior[group, a - i + k // 2, b - j + k // 2] - unlike)
                        values.append(x[own, a, b])
                result[own, i, j] = torch.stack(values, dim=1) @ torch.stack(scores).softmax(dim=0)
    return result


@task("task_13_3", without=("course_lib",), hint="Compare with loops over groups, pixels and the taps that exist.")
def test_the_relation_equals_the_loops(student, draw):
    groups, size = draw.primes(2, high=7)
    x = draw.normal(2, groups * size, 4, 7)
    query, key, prior = draw.normal(2, groups, 4, 7), draw.normal(2, groups, 4, 7), draw.normal(groups, 3, 3)
    key[:, :, 1, 2] = 0  # a zero inside the image is a key like any other
    looped = [relation_by_loops(*one, prior) for one in zip(x, query, key, strict=True)]
    assert_same(student.local_relation(x, query, key, prior), torch.stack(looped))


@task("task_13_3", hint="A window that is larger than the image: most of its taps lie outside.")
def test_a_large_window(student, draw):
    x, (query, key) = draw.normal(1, 6, 2, 5), draw.normal(2, 1, 2, 2, 5)
    prior = draw.normal(2, 7, 7)
    assert_same(student.local_relation(x, query, key, prior)[0], relation_by_loops(x[0], query[0], key[0], prior))


def _relation(x, query, key, prior, *, near=None, mask=None, sign=-1.0, axis=2, after=0.0, group=(0, -1)):
    """The right answer with the parts that a wrong answer exchanges."""
    k, groups = prior.shape[-1], query.shape[1]

    def windows(image, split):
        return F.unfold(image, k, padding=k // 2).unflatten(1, split)

    taps = windows(key, (groups, k * k)) if near is None else near(F.unfold(key, k, padding=k // 2), groups)
    outside = windows(torch.ones_like(key), (groups, k * k)) == 0 if mask is None else mask(taps)
    scores = sign * (query.flatten(2)[:, :, None] - taps) ** 2 + (1 - after) * prior.flatten(1)[..., None]
    weights = scores.masked_fill(outside, -1e9).softmax(dim=axis)
    weights = weights + after * prior.flatten(1)[..., None]
    channels = torch.arange(x.shape[1]).view(groups, -1)
    channels = channels.flatten() if group == (0, -1) else torch.arange(x.shape[1]).view(-1, groups).mT.flatten()
    mixed = windows(x[:, channels], (groups, -1, k * k)) * weights[:, :, None]
    y = mixed.sum(dim=3).flatten(1, 2)
    return y[:, channels.argsort()].unflatten(2, x.shape[2:])


def nowhere(taps):
    """Nothing is masked."""
    return torch.zeros_like(taps) > 0


def renamed(unfolded, groups):
    """The fault of the task: axes renamed, not exchanged."""
    taps = unfolded.shape[1] // groups
    return unfolded.reshape(len(unfolded), groups, -1, taps).mT


@wrong("task_13_3")
def local_relation__not_repaired(x, query, key, prior):
    """Nothing was repaired."""
    return _relation(x, query, key, prior, near=renamed, mask=nowhere)


@wrong("task_13_3")
def local_relation__border_not_repaired(x, query, key, prior):
    """Padded zeros still take a share at the border."""
    return _relation(x, query, key, prior, mask=nowhere)


@wrong("task_13_3")
def local_relation__axes_not_repaired(x, query, key, prior):
    """Pixels and taps are still mixed up: `view` renames axes, it does not exchange them."""
    return _relation(x, query, key, prior, near=renamed)


@wrong("task_13_3")
def local_relation__zero_keys_masked(x, query, key, prior):
    """Keys that are 0 were taken for the outside; a key inside the image may be 0."""
    return _relation(x, query, key, prior, mask=lambda taps: taps == 0)


@wrong("task_13_3")
def local_relation__unlike_wins(x, query, key, prior):
    """The sign of the square is lost: what is *unlike* the query wins."""
    return _relation(x, query, key, prior, sign=1.0)


@wrong("task_13_3")
def local_relation__softmax_over_the_pixels(x, query, key, prior):
    """The softmax runs over the pixels; it must run over the taps of a window."""
    return _relation(x, query, key, prior, axis=3)


@wrong("task_13_3")
def local_relation__prior_after_the_softmax(x, query, key, prior):
    """The prior was added to the weights; it belongs into the scores."""
    return _relation(x, query, key, prior, after=1.0)


@wrong("task_13_3")
def local_relation__alternating_groups(x, query, key, prior):
    """Channels 0, g, 2g … form a group; a group is neighbours."""
    return _relation(x, query, key, prior, group=(-1, 0))


@wrong("task_13_3")
def local_relation__outside_cut_after_the_softmax(x, query, key, prior):
    """The shares outside were lost after the softmax; the taps inside must share the whole."""
    k, groups = prior.shape[-1], query.shape[1]
    near = F.unfold(key, k, padding=k // 2).unflatten(1, (groups, -1))
    scores = -((query.flatten(2)[:, :, None] - near) ** 2) + prior.flatten(1)[..., None]
    values = F.unfold(x, k, padding=k // 2).unflatten(1, (groups, -1, k * k))  # zeros outside
    return (values * scores.softmax(dim=2)[:, :, None]).sum(dim=3).flatten(1, 2).unflatten(2, x.shape[2:])


# --- task 4: as dear as a convolution ---


def affordable(channels, kernel_size, window):
    """Whether attention with this window costs no more, matrix by matrix and tap by tap."""
    projections = sum(channels * channels for _ in ("query", "key", "value"))
    window_products = sum(channels + channels for _ in range(window * window))
    return projections + window_products <= sum(channels * channels for _ in range(kernel_size * kernel_size))


@task("task_13_4", without=("course_lib",), hint="Other channels and other kernels.")
def test_the_widest_window(student, draw):
    for kernel_size in (1, 2, 3, 5):
        for channels in draw.primes(3):
            fits = [k for k in range(1, 61, 2) if affordable(channels, kernel_size, k)]
            assert_number(student.widest_window(channels, kernel_size), max(fits, default=0))


@task("task_13_4", hint="Where both cost exactly the same, attention is no dearer.")
def test_equal_costs_count(student, draw):
    odd = 2 * int(draw.integers(1, 6)) + 1
    assert_number(student.widest_window(3 * odd**2, 3), 3 * odd)
    assert_number(student.widest_window(11 * odd**2, 5), 11 * odd)


def _widest(channels, kernel_size, *, matrices=3, products=2, more=0, step=2):
    """The right answer with the parts that a wrong answer exchanges."""
    k = 1
    while matrices * channels**2 + products * k**2 * channels + more <= kernel_size**2 * channels**2:
        k += step
    return max(k - step, 0)


@wrong("task_13_4")
def widest_window__no_mixture(channels, kernel_size):
    """The mixture was forgotten: k² values are multiplied by their weights."""
    return _widest(channels, kernel_size, products=1)


@wrong("task_13_4")
def widest_window__no_matrices(channels, kernel_size):
    """The three matrices for query, key and value were forgotten."""
    return _widest(channels, kernel_size, matrices=0)


@wrong("task_13_4")
def widest_window__one_matrix(channels, kernel_size):
    """Only one matrix was counted; query, key and value have one each."""
    return _widest(channels, kernel_size, matrices=1)


@wrong("task_13_4")
def widest_window__even_too(channels, kernel_size):
    """An even window has no middle; only odd ones count."""
    return _widest(channels, kernel_size, step=1)


@wrong("task_13_4")
def widest_window__strictly_less(channels, kernel_size):
    """Equal costs are "no more"."""
    return _widest(channels, kernel_size, more=1)


@wrong("task_13_4")
def widest_window__first_that_is_too_large(channels, kernel_size):
    """The first window that costs *more* was returned; the one before is wanted."""
    return _widest(channels, kernel_size) + 2


@wrong("task_13_4")
def widest_window__one_output_channel(channels, kernel_size):
    """The convolution was counted for one output channel; it has as many as inputs."""
    k = 1
    while 3 * channels**2 + 2 * k**2 * channels <= kernel_size**2 * channels:
        k += 2
    return max(k - 2, 0)
