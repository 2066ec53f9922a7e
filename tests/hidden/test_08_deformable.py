"""Grades exercise 08 on sizes and values that the student has not seen, and names the mistakes people make."""

import math
from itertools import product

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same

# --- task 1: a deformable row ---


def between(row, place):
    """The values at one place of a row, by nearness; zero outside: c w -> c."""
    total = torch.zeros(len(row), dtype=row.dtype)
    for pixel in (math.floor(place), math.floor(place) + 1):
        if 0 <= pixel < row.shape[1]:
            total += (1 - abs(place - pixel)) * row[:, pixel]
    return total


def row_by_loops(x, offset, weight, dilation):
    (b, _, w), (o, _, k) = x.shape, weight.shape
    y = torch.zeros(b, o, w, dtype=x.dtype)
    for n, i, tap in product(range(b), range(w), range(k)):
        place = i + dilation * (tap - (k - 1) // 2) + offset[n, tap, i].item()
        y[n, :, i] += weight[:, :, tap] @ between(x[n], place)
    return y


def a_row(draw):
    """A batch of rows, offsets and weights, no two axes alike."""
    b, c, o = draw.primes(3, high=7)
    w, k = 17, int(2 * draw.integers(4, 6, 1) + 1)  # 9 or 11 taps
    return draw.normal(b, c, w), 2 * draw.normal(b, k, w), draw.normal(o, c, k), int(draw.integers(2, 4, 1))


@task(
    "task_08_1",
    without=("course_lib", "grid_sample", "conv1d"),
    hint="Compare with loops over positions and taps: where the tap lies, how far it moves, what stands there.",
)
def test_row_equals_the_loops(student, draw):
    x, offset, weight, dilation = a_row(draw)
    assert_same(student.deformable_row(x, offset, weight, dilation), row_by_loops(x, offset, weight, dilation))


@task("task_08_1", hint="Without offsets it is the ordinary convolution, with any dilation.")
def test_row_without_offsets_is_the_convolution(student, draw):
    x, offset, weight, dilation = a_row(draw)
    padding = dilation * (weight.shape[2] // 2)
    expected = F.conv1d(x, weight, padding=padding, dilation=dilation)
    assert_same(student.deformable_row(x, 0 * offset, weight, dilation), expected)


def _row(x, offset, weight, dilation, *, taps=None, place=lambda p, w: p, near=None):
    """The right answer with the parts that a wrong answer exchanges."""
    w, k = x.shape[2], weight.shape[2]
    taps = dilation * (torch.arange(k) - k // 2) if taps is None else taps
    away = place(torch.arange(w) + taps[:, None] + offset, w)[..., None] - torch.arange(w)
    nearness = (1 - away.abs()).clamp(min=0) if near is None else near(away)
    return torch.einsum("bcs,bkws,ock->bow", x, nearness.to(x.dtype), weight)


@wrong("task_08_1")
def deformable_row__offset_times_dilation(x, offset, weight, dilation):
    """The offset was multiplied by the dilation; it is in pixels, whatever the dilation."""
    return _row(x, dilation * offset, weight, dilation)


@wrong("task_08_1")
def deformable_row__dilation_ignored(x, offset, weight, dilation):
    """The taps lie one pixel apart; they should lie `dilation` pixels apart."""
    return _row(x, offset, weight, 1)


@wrong("task_08_1")
def deformable_row__nearest_pixel(x, offset, weight, dilation):
    """Only the nearest pixel is read; between two pixels both count."""
    return _row(x, offset.round(), weight, dilation)


@wrong("task_08_1")
def deformable_row__pixel_before(x, offset, weight, dilation):
    """Only the pixel before the place is read; between two pixels both count."""
    return _row(x, offset.floor(), weight, dilation)


@wrong("task_08_1")
def deformable_row__border_repeated(x, offset, weight, dilation):
    """Outside, the border pixel is repeated; there should be zeros."""
    return _row(x, offset, weight, dilation, place=lambda p, w: p.clamp(0, w - 1))


@wrong("task_08_1")
def deformable_row__other_end(x, offset, weight, dilation):
    """Outside, the row goes on at its other end; there should be zeros."""
    return _row(x, offset, weight, dilation, near=None, place=lambda p, w: p.remainder(w))


@wrong("task_08_1")
def deformable_row__to_the_left(x, offset, weight, dilation):
    """A positive offset moves the tap to the left; it should move it to the right."""
    return _row(x, -offset, weight, dilation)


@wrong("task_08_1")
def deformable_row__mirrored(x, offset, weight, dilation):
    """Tap 0 lies at the right end; it is the leftmost."""
    return _row(x, offset, weight, -dilation)


@wrong("task_08_1")
def deformable_row__not_centred(x, offset, weight, dilation):
    """Tap 0 lies at the position itself; the middle tap should."""
    return _row(x, offset, weight, dilation, taps=dilation * torch.arange(weight.shape[2]))


@wrong("task_08_1")
def deformable_row__offsets_of_the_first(x, offset, weight, dilation):
    """All rows of the batch are read with the offsets of the first; each has its own."""
    return _row(x, offset[:1].expand_as(offset), weight, dilation)


@wrong("task_08_1")
def deformable_row__one_offset_for_all_positions(x, offset, weight, dilation):
    """The offsets of one position are used everywhere; each position has its own."""
    return _row(x, offset[:, :, 2:3].expand_as(offset), weight, dilation)


# --- task 2: which channel? ---


def channel_by_counting(group, i, j, groups, kernel):
    """Write down all channels in their order, and look."""
    taps = [(g, *tap) for g in range(groups) for tap in product(range(kernel[0]), range(kernel[1]))]
    channels = [(*tap, axis) for tap in taps for axis in ("row", "column")] + [(*tap, "factor") for tap in taps]
    return [channels.index((group, i, j, axis)) for axis in ("row", "column", "factor")]


@task("task_08_2", hint="Write down all channels of a small kernel that is not square, with three groups, and count.")
def test_channels_are_those_of_the_list(student, draw):
    groups, kh, kw = draw.primes(3, high=7)
    for group, i, j in [(0, 0, 1), (0, 1, 0), (1, 0, 0), (groups - 1, kh - 1, kw - 2)]:
        found = student.channels_of(group, i, j, groups, (kh, kw))
        assert len(found) == 3, "three numbers are due"
        for one, expected in zip(found, channel_by_counting(group, i, j, groups, (kh, kw)), strict=True):
            assert_number(one, expected)


def _channels(tap, groups, k):
    return 2 * tap, 2 * tap + 1, 2 * groups * k + tap


@wrong("task_08_2")
def channels_of__column_first(group, i, j, groups, kernel):
    """The column comes before the row; the row is first."""
    row, column, factor = _channels(group * math.prod(kernel) + i * kernel[1] + j, groups, math.prod(kernel))
    return column, row, factor


@wrong("task_08_2")
def channels_of__all_rows_first(group, i, j, groups, kernel):
    """All row offsets of a group come first, then all column offsets; they alternate, tap by tap."""
    k = math.prod(kernel)
    row = group * 2 * k + i * kernel[1] + j
    return row, row + k, 2 * groups * k + group * k + i * kernel[1] + j


@wrong("task_08_2")
def channels_of__column_by_column(group, i, j, groups, kernel):
    """The taps are counted column by column; they go row by row."""
    k = math.prod(kernel)
    return _channels(group * k + j * kernel[0] + i, groups, k)


@wrong("task_08_2")
def channels_of__height_of_the_kernel(group, i, j, groups, kernel):
    """A row of the kernel holds kw taps, not kh."""
    k = math.prod(kernel)
    return _channels(group * k + i * kernel[0] + j, groups, k)


@wrong("task_08_2")
def channels_of__group_forgotten(group, i, j, groups, kernel):
    """The channels of the groups before are not counted."""
    return _channels(i * kernel[1] + j, groups, math.prod(kernel))


@wrong("task_08_2")
def channels_of__groups_of_k(group, i, j, groups, kernel):
    """A group has 2k offsets; here only k were counted for each group before."""
    k = math.prod(kernel)
    tap = i * kernel[1] + j
    return group * k + 2 * tap, group * k + 2 * tap + 1, 2 * groups * k + group * k + tap


@wrong("task_08_2")
def channels_of__factors_after_each_group(group, i, j, groups, kernel):
    """The factors stand behind the offsets of their own group; they stand behind all offsets."""
    k = math.prod(kernel)
    tap = i * kernel[1] + j
    return group * 3 * k + 2 * tap, group * 3 * k + 2 * tap + 1, group * 3 * k + 2 * k + tap


@wrong("task_08_2")
def channels_of__offsets_of_one_group(group, i, j, groups, kernel):
    """Before the factors stand the offsets of all groups, not of one."""
    k = math.prod(kernel)
    row, column, factor = _channels(group * k + i * kernel[1] + j, groups, k)
    return row, column, factor - 2 * (groups - 1) * k


@wrong("task_08_2")
def channels_of__two_factors_a_tap(group, i, j, groups, kernel):
    """A tap has one factor, not two."""
    k = math.prod(kernel)
    tap = group * k + i * kernel[1] + j
    return 2 * tap, 2 * tap + 1, 2 * groups * k + 2 * tap


@wrong("task_08_2")
def channels_of__three_side_by_side(group, i, j, groups, kernel):
    """Row, column and factor of a tap do not stand side by side: the factors come behind all offsets."""
    tap = 3 * (group * math.prod(kernel) + i * kernel[1] + j)
    return tap, tap + 1, tap + 2


# --- task 3: one kernel for fixed offsets ---


def fixed(draw):
    """A kernel of 3 × 3 taps, and for each an offset that stays within two more pixels."""
    o, c = draw.primes(2, high=7)
    return draw.normal(o, c, 3, 3), 4 * draw.uniform(9, 2) - 2


def plane_at(plane, y, x):
    """The values of each channel at one place, by nearness; zero outside: c h w -> c."""
    row = torch.stack([between(channel.T, y) for channel in plane])  # c h w -> c w
    return between(row, x)


def kernel_by_loops(weight, offset, reach):
    kernel = torch.zeros(*weight.shape[:2], 2 * reach + 1, 2 * reach + 1, dtype=weight.dtype)
    for tap, r, s in product(range(9), range(2 * reach + 1), range(2 * reach + 1)):
        y, x = tap // 3 - 1 + offset[tap, 0].item(), tap % 3 - 1 + offset[tap, 1].item()
        nearness = max(0.0, 1 - abs(y - (r - reach))) * max(0.0, 1 - abs(x - (s - reach)))
        kernel[:, :, r, s] += nearness * weight[:, :, tap // 3, tap % 3]
    return kernel


@task(
    "task_08_3",
    without=("course_lib",),
    hint="Compare with loops over taps and cells: each tap gives to four cells, by nearness.",
)
def test_kernel_equals_the_loops(student, draw):
    weight, offset = fixed(draw)
    assert_same(student.as_kernel(weight, offset, 4), kernel_by_loops(weight, offset, 4))


@task("task_08_3", hint="Run your kernel over an image, and compare with taps that read at their moved places.")
def test_kernel_reads_what_the_taps_read(student, draw):
    weight, offset = fixed(draw)
    image = draw.normal(weight.shape[1], 5, 7)
    y = F.conv2d(image[None], student.as_kernel(weight, offset, 3), padding=3)[0]
    for i, j in ((0, 0), (2, 3), (4, 1)):
        taps = [(t // 3, t % 3, *offset[t].tolist()) for t in range(9)]
        read = [weight[:, :, r, s] @ plane_at(image, i + r - 1 + dy, j + s - 1 + dx) for r, s, dy, dx in taps]
        assert_same(y[:, i, j], torch.stack(read).sum(dim=0))


@task("task_08_3", hint="A kernel need not have 3 × 3 taps: where does the first of 5 × 5 lie?")
def test_kernel_of_five_taps_a_side(student, draw):
    o, c = draw.primes(2, high=7)
    weight = draw.normal(o, c, 5, 5)
    assert_same(student.as_kernel(weight, torch.zeros(25, 2, dtype=torch.float64), 3), F.pad(weight, (1, 1, 1, 1)))


def _kernel(weight, offset, reach, *, own=1, near=None, join="ocn,nr,ns->ocrs"):
    """The right answer with the parts that a wrong answer exchanges."""
    k = weight.shape[2]
    middle, cells = torch.arange(k) - k // 2, torch.arange(2 * reach + 1) - reach
    away = (own * torch.cartesian_prod(middle, middle) + offset).T[..., None] - cells
    down, across = (1 - away.abs()).clamp(min=0) if near is None else near(away).to(weight.dtype)
    return torch.einsum(join, weight.flatten(2), down, across)


@wrong("task_08_3")
def as_kernel__column_first(weight, offset, reach):
    """Row and column of the offsets are exchanged; the row is first."""
    return _kernel(weight, offset.flip(1), reach)


@wrong("task_08_3")
def as_kernel__other_way(weight, offset, reach):
    """The taps moved the other way: a positive offset goes down and to the right."""
    return _kernel(weight, -offset, reach)


@wrong("task_08_3")
def as_kernel__place_forgotten(weight, offset, reach):
    """All taps start from the middle; each lies at its own place of the kernel before it moves."""
    return _kernel(weight, offset, reach, own=0)


@wrong("task_08_3")
def as_kernel__nearest_cell(weight, offset, reach):
    """Each tap gives all to the nearest cell; it gives to four, by nearness."""
    return _kernel(weight, offset.round(), reach)


@wrong("task_08_3")
def as_kernel__mirrored(weight, offset, reach):
    """The kernel is turned by 180°; torch's convolution does not mirror."""
    return _kernel(weight, offset, reach).flip(2, 3)


@wrong("task_08_3")
def as_kernel__transposed(weight, offset, reach):
    """Rows and columns of the kernel are exchanged."""
    return _kernel(weight, offset, reach, join="ocn,nr,ns->ocsr")


@wrong("task_08_3")
def as_kernel__column_by_column(weight, offset, reach):
    """The weights were taken column by column; the taps go row by row."""
    return _kernel(weight.mT, offset, reach)


@wrong("task_08_3")
def as_kernel__averaged(weight, offset, reach):
    """Where taps meet, their weights were averaged; they add up."""
    return _kernel(weight, offset, reach) / weight.shape[2] ** 2


@wrong("task_08_3")
def as_kernel__last_tap_wins(weight, offset, reach):
    """Where taps meet, the last one wins; they add up."""
    kernel = torch.zeros(*weight.shape[:2], 2 * reach + 1, 2 * reach + 1, dtype=weight.dtype)
    for tap in range(len(offset)):
        alone = torch.zeros_like(weight).flatten(2)
        alone[:, :, tap] = weight.flatten(2)[:, :, tap]
        given = _kernel(alone.view_as(weight), offset, reach)
        kernel = torch.where(given == 0, kernel, given)
    return kernel


# --- task 4: repair version 2 ---


def repaired(student, draw):
    """Your layer with random numbers everywhere, its state, and images."""
    c, o, h, w = draw.primes(4, high=11)
    layer = student.Modulated(c, o).double()
    state = {"weight": draw.normal(o, c, 3, 3), "predict.bias": draw.normal(27)}
    state["predict.weight"] = 0.3 * draw.normal(27, c, 3, 3)
    layer.load_state_dict(state)
    return layer, state, draw.normal(2, c, h, w)


def modulated_by_loops(x, state):
    predicted = F.conv2d(x, state["predict.weight"], state["predict.bias"], padding=1)
    weight, (b, _, h, w) = state["weight"], x.shape
    y = torch.zeros(b, len(weight), h, w, dtype=x.dtype)
    for n, i, j, tap in product(range(b), range(h), range(w), range(9)):
        row, column = predicted[n, 2 * tap : 2 * tap + 2, i, j].tolist()
        factor = 2 / (1 + math.exp(-predicted[n, 18 + tap, i, j].item()))
        value = plane_at(x[n], i + tap // 3 - 1 + row, j + tap % 3 - 1 + column)
        y[n, :, i, j] += factor * weight[:, :, tap // 3, tap % 3] @ value
    return y


@task(
    "task_08_4",
    without=("course_lib",),
    hint="A fresh layer is the ordinary convolution with its own weight, for any input.",
)
def test_it_starts_as_the_convolution(student, draw):
    c, o, h, w = draw.primes(4, high=11)
    layer, x, weight = student.Modulated(c, o).double(), 5 * draw.normal(2, c, h, w), draw.normal(o, c, 3, 3)
    layer.load_state_dict({**layer.state_dict(), "weight": weight})
    assert_same(layer(x), F.conv2d(x, weight, padding=1))


@task("task_08_4", hint="Compare with loops: for each tap its row, its column, and twice a sigmoid.")
def test_it_equals_the_loops(student, draw):
    layer, state, x = repaired(student, draw)
    assert_same(layer(x), modulated_by_loops(x, state))


def _read_at(x, rows, columns):
    grid = torch.stack([(2 * columns + 1) / x.shape[3] - 1, (2 * rows + 1) / x.shape[2] - 1], dim=-1)
    return F.grid_sample(x, grid, align_corners=False)


class _Modulated(nn.Module):
    """The right answer in small steps, each of which a wrong answer changes."""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, channels, 3, 3))
        self.predict = nn.Conv2d(channels, 27, 3, padding=1)
        self.start()

    def start(self):
        nn.init.zeros_(self.predict.weight), nn.init.zeros_(self.predict.bias)

    def split(self, predicted):
        return predicted[:, 0:18:2], predicted[:, 1:18:2], self.factors(predicted[:, 18:])

    def factors(self, logits):
        return 2 * logits.sigmoid()

    def forward(self, x):
        rows, columns, factors = self.split(self.predict(x))
        down, across, y = torch.arange(x.shape[2])[:, None], torch.arange(x.shape[3]), 0
        for tap in range(9):
            i, j = divmod(tap, 3)
            read = _read_at(x, down + i - 1 + rows[:, tap], across + j - 1 + columns[:, tap])
            y = y + torch.einsum("oc,bchw->bohw", self.weight[:, :, i, j], factors[:, tap, None] * read)
        return y


@wrong("task_08_4")
class Modulated__random_start(_Modulated):
    """`predict` starts at random, so a fresh layer moves its taps."""

    def start(self):
        pass


@wrong("task_08_4")
class Modulated__random_bias(_Modulated):
    """The bias of `predict` starts at random, so a fresh layer moves its taps alike at all positions."""

    def start(self):
        nn.init.zeros_(self.predict.weight)


@wrong("task_08_4")
class Modulated__random_weight(_Modulated):
    """The weight of `predict` starts at random, so a fresh layer moves its taps."""

    def start(self):
        nn.init.zeros_(self.predict.bias)


@wrong("task_08_4")
class Modulated__rows_then_columns(_Modulated):
    """Nine rows, then nine columns: the two alternate, tap by tap."""

    def split(self, predicted):
        return predicted[:, :9], predicted[:, 9:18], self.factors(predicted[:, 18:])


@wrong("task_08_4")
class Modulated__column_first(_Modulated):
    """The column comes before the row; the row is first."""

    def split(self, predicted):
        return predicted[:, 1:18:2], predicted[:, 0:18:2], self.factors(predicted[:, 18:])


@wrong("task_08_4")
class Modulated__three_side_by_side(_Modulated):
    """Row, column and factor of a tap do not stand side by side: the factors come behind all offsets."""

    def split(self, predicted):
        return predicted[:, 0::3], predicted[:, 1::3], self.factors(predicted[:, 2::3])


@wrong("task_08_4")
class Modulated__factors_first(_Modulated):
    """The factors were taken from the first nine channels; they are the last."""

    def split(self, predicted):
        return predicted[:, 9::2], predicted[:, 10::2], self.factors(predicted[:, :9])


@wrong("task_08_4")
class Modulated__half(_Modulated):
    """The factor is the bare sigmoid, which starts at ½: the fresh layer gives half of the convolution."""

    def factors(self, logits):
        return logits.sigmoid()


@wrong("task_08_4")
class Modulated__no_sigmoid(_Modulated):
    """The factors are not squeezed between 0 and 2."""

    def factors(self, logits):
        return 1 + logits


@wrong("task_08_4")
class Modulated__softmax(_Modulated):
    """The factors compete over the taps; each is a sigmoid of its own."""

    def factors(self, logits):
        return 9 * logits.softmax(dim=1)


@wrong("task_08_4")
class Modulated__raw(_Modulated):
    """The factors are used as predicted; zero at the start, they switch every tap off."""

    def factors(self, logits):
        return logits
