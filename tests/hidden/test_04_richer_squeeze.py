"""Grades exercise 04 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same

# --- task 1: style where the mask allows it ---


def masked(draw):
    """Features far from zero, and for each image a mask of its own that is neither full nor empty."""
    b, c, h, w = draw.primes(4, high=11)
    return draw.normal(b, c, h, w) + draw.number(2.0, 4.0), draw.mask(b, h * w).double().view(b, h, w)


def style_by_loops(x, mask):
    result = torch.zeros(*x.shape[:2], 2, dtype=x.dtype)
    for b, image in enumerate(x):
        for c, channel in enumerate(image):
            values = channel[mask[b] == 1].tolist()
            mean = sum(values) / len(values)
            squares = [(value - mean) ** 2 for value in values]
            result[b, c] = torch.tensor([mean, math.sqrt(sum(squares) / len(values))], dtype=x.dtype)
    return result


@task(
    "task_04_1",
    without=("course_lib",),
    hint="Compare with loops over the positions that count; each image has its own number of them.",
)
def test_style_equals_the_loops(student, draw):
    x, mask = masked(draw)
    assert_same(student.masked_style(x, mask), style_by_loops(x, mask))


@task("task_04_1", hint="With a full mask it is the plain mean and deviation; what is masked must not matter at all.")
def test_style_does_not_see_what_is_masked(student, draw):
    x, mask = masked(draw)
    full = torch.stack([x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)], dim=-1)
    assert_same(student.masked_style(x, torch.ones_like(mask)), full)
    changed = x + 100 * (1 - mask)[:, None]
    assert_same(student.masked_style(changed, mask), style_by_loops(x, mask))


def _style(x, mask, *, count=None, root=True, centre=None, squares=None):
    """The right answer with the parts that a wrong answer exchanges."""
    mask = mask[:, None]
    m = mask.sum(dim=(2, 3)) if count is None else count
    mean = (mask * x).sum(dim=(2, 3)) / m
    away = x - (mean if centre is None else centre)[:, :, None, None]
    squares = (mask * away.square()).sum(dim=(2, 3)) if squares is None else squares(mask, away)
    variance = squares / m
    return torch.stack([mean, variance.sqrt() if root else variance], dim=-1)


@wrong("task_04_1")
def masked_style__divided_by_all(x, mask):
    """Both sums are divided by h · w; only the positions with mask 1 are counted."""
    return _style(x, mask, count=torch.tensor(mask[0].numel()))


@wrong("task_04_1")
def masked_style__mask_ignored(x, mask):
    """The mask has no effect: this is the style of the whole map."""
    return _style(x, torch.ones_like(mask))


@wrong("task_04_1")
def masked_style__variance(x, mask):
    """The second number is the variance; its root is the deviation."""
    return _style(x, mask, root=False)


@wrong("task_04_1")
def masked_style__masked_before_centring(x, mask):
    """The mask was applied before the mean was taken away, so each masked position adds μ²."""
    return _style(x * mask[:, None], mask, squares=lambda mask, away: away.square().sum(dim=(2, 3)))


@wrong("task_04_1")
def masked_style__mean_of_everything(x, mask):
    """The distances are measured from the mean of the whole map, not from that of the masked part."""
    return _style(x, mask, centre=x.mean(dim=(2, 3)))


@wrong("task_04_1")
def masked_style__one_count_for_the_batch(x, mask):
    """The positions of all images are counted together; each image has its own number of them."""
    return _style(x, mask, count=mask.sum() / len(mask))


@wrong("task_04_1")
def masked_style__absolute(x, mask):
    """The average absolute distance is not the deviation: square, average, then take the root."""
    return _style(x, mask, root=False, squares=lambda mask, away: (mask * away.abs()).sum(dim=(2, 3)))


@wrong("task_04_1")
def masked_style__inverted(x, mask):
    """The positions with mask 0 are described; those with mask 1 count."""
    return _style(x, 1 - mask, count=(1 - mask).sum(dim=(1, 2)).clamp_min(1)[:, None])


@wrong("task_04_1")
def masked_style__root_of_a_sum(x, mask):
    """The root is of the sum of the squares, which was not divided by the number of positions."""
    mean, deviation = _style(x, mask).unbind(dim=-1)
    return torch.stack([mean, deviation * mask.sum(dim=(1, 2))[:, None].sqrt()], dim=-1)


# --- task 2: together, whatever the scale ---


def correlation_by_loops(x):
    b, c = x.shape[:2]
    result = torch.zeros(b, c, c, dtype=x.dtype)
    for one, image in zip(result, x.flatten(2), strict=True):
        away = [channel - channel.sum() / len(channel) for channel in image]
        for i in range(c):
            for j in range(c):
                lengths = math.sqrt((away[i] ** 2).sum()) * math.sqrt((away[j] ** 2).sum())
                one[i, j] = (away[i] * away[j]).sum() / lengths if lengths > 0 else 0.0
    return result


def scaled(draw):
    """Features whose channels have very different sizes, none centred."""
    b, c, h, w = draw.primes(4, high=11)
    return draw.normal(b, c, h, w) * (draw.uniform(c, 1, 1) + 0.1) * 5 + draw.normal(c, 1, 1)


@task("task_04_2", without=("course_lib", "corrcoef"), hint="Compare with loops: cosines of centred channels.")
def test_correlations_equal_the_loops(student, draw):
    x = scaled(draw)
    assert_same(student.correlations(x), correlation_by_loops(x))


@task("task_04_2", hint="A constant channel has zeros in its row and column, and on the diagonal; never NaN.")
def test_correlations_of_constant_channels(student, draw):
    x = scaled(draw)
    x[:, 1] = draw.number(0.2, 0.9) + 1e-7 * draw.uniform(*x[:, 1].shape)  # as constant as rounding leaves it
    expected = correlation_by_loops(x)
    expected[:, 1] = expected[:, :, 1] = 0.0
    assert_same(student.correlations(x), expected)


@task("task_04_2", hint="Small channels vary, too: a spread of 1e-4 is no constant.")
def test_correlations_of_small_channels(student, draw):
    x = scaled(draw) * 1e-4
    x[:, 0], x[:, 0, 0, 0] = 0.0, -4e-6  # one dip: far below the mean, and hardly above it
    assert_same(student.correlations(x), correlation_by_loops(x))


def _correlations(x, *, centre=2, length=None, constant=True, ending=lambda r: r):
    """The right answer with the parts that a wrong answer exchanges."""
    v = x.flatten(2)
    v = v - v.mean(dim=centre, keepdim=True) if centre is not None else v
    v = torch.where(v.abs().amax(dim=2, keepdim=True) > 1e-6, v, 0.0) if constant else v
    norm = v.norm(dim=2, keepdim=True) if length is None else length(v)
    v = v / (norm.clamp_min(1e-12) if constant else norm)
    return ending(v @ v.mT)


@wrong("task_04_2")
def correlations__not_centred(x):
    """The mean was not taken away: these are cosines of raw channels."""
    return _correlations(x, centre=None)


@wrong("task_04_2")
def correlations__covariance(x):
    """This is the covariance: it grows with the channels; divide by both lengths."""
    return _correlations(x, length=lambda v: torch.tensor(float(v.shape[2])).sqrt())


@wrong("task_04_2")
def correlations__divided_by_variances(x):
    """The product is divided by the squared lengths; each length itself is due."""
    return _correlations(x, length=lambda v: v.square().sum(dim=2, keepdim=True))


@wrong("task_04_2")
def correlations__nan(x):
    """A constant channel has length 0, and 0 / 0 is NaN; its entries must be 0."""
    return _correlations(x, constant=False)


@wrong("task_04_2")
def correlations__centred_over_the_channels(x):
    """The mean was taken over the channels at each position; it is the mean over the positions of a channel."""
    return _correlations(x, centre=1)


@wrong("task_04_2")
def correlations__ones_on_the_diagonal(x):
    """The diagonal was filled with ones; a constant channel has 0 there, too."""

    def filled(r):
        return r - torch.diag_embed(r.diagonal(dim1=1, dim2=2)) + torch.eye(r.shape[1], dtype=r.dtype)

    return _correlations(x, ending=filled)


@wrong("task_04_2")
def correlations__absolute(x):
    """Signs are lost: a channel that falls where another rises has a negative correlation."""
    return _correlations(x, ending=torch.Tensor.abs)


@wrong("task_04_2")
def correlations__one_deviation(x):
    """All channels are divided by one common length; each has its own."""
    return _correlations(x, length=lambda v: v.norm(dim=2, keepdim=True).amax(dim=1, keepdim=True))


@wrong("task_04_2")
def correlations__length_plus_a_constant(x):
    """A constant of 0.001 beside the lengths bends the correlations of small channels; guard against zeros only."""
    return _correlations(x, length=lambda v: v.norm(dim=2, keepdim=True) + 1e-3)


@wrong("task_04_2")
def correlations__over_the_batch(x):
    """Lengths are taken over the whole batch, so other images change this one."""
    return _correlations(x, length=lambda v: v.norm(dim=(0, 2), keepdim=True))


# --- task 3: repair waves that collapse ---


def coefficient(channel, u, v):
    """Times the wave, position by position: h w -> a number. A wave that does not exist has none."""
    h, w = channel.shape
    u, v = (u if h < 7 else u * (h // 7)), (v if w < 7 else v * (w // 7))
    if u >= h or v >= w:
        return 0.0
    return sum(
        channel[i, j].item() * math.cos(math.pi * u * (i + 0.5) / h) * math.cos(math.pi * v * (j + 0.5) / w)
        for i in range(h)
        for j in range(w)
    )


def check_waves(student, draw, h, w):
    b, c = draw.primes(2, high=11)
    x, pairs = draw.normal(b, c, h, w), [tuple(pair) for pair in draw.integers(0, 7, c, 2).tolist()]
    pairs[0], pairs[1], pairs[2] = (1, 2), (2, 0), (2, 1)
    expected = [[coefficient(channel, *pair) for channel, pair in zip(image, pairs, strict=True)] for image in x]
    assert_same(student.squeeze_waves(x, pairs), torch.tensor(expected, dtype=torch.float64))


@task("task_04_3", without=("course_lib",), hint="Maps shorter than 7: the pair itself is the frequency.")
def test_waves_on_small_maps(student, draw):
    check_waves(student, draw, 5, 3)
    check_waves(student, draw, 4, 6)


@task("task_04_3", hint="Maps of 7 and more: u · ⌊h/7⌋ down, v · ⌊w/7⌋ across, each with its own length.")
def test_waves_on_large_maps(student, draw):
    for h, w in ((7, 7), (20, 23), (8, 13)):
        check_waves(student, draw, h, w)


@task("task_04_3", hint="One axis may be short while the other is long.")
def test_waves_on_long_thin_maps(student, draw):
    check_waves(student, draw, 5, 17)
    check_waves(student, draw, 22, 3)


@task("task_04_3", hint="A wave whose frequency is not below the length of its axis has the coefficient 0.")
def test_waves_that_do_not_exist(student, draw):
    x = draw.normal(2, 6, 4, 5)
    pairs = [(4, 1), (1, 5), (6, 0), (0, 6), (3, 4), (5, 6)]
    expected = [[coefficient(channel, *pair) for channel, pair in zip(image, pairs, strict=True)] for image in x]
    assert_same(student.squeeze_waves(x, pairs), torch.tensor(expected, dtype=torch.float64))


def _waves(x, pairs, *, times=lambda size: max(size // 7, 1), lengths=lambda h, w: (h, w), missing=True, factor=1.0):
    """The right answer with the parts that a wrong answer exchanges."""
    h, w = x.shape[2:]
    long, wide = lengths(h, w)
    i, j = torch.arange(h, dtype=x.dtype) + 0.5, torch.arange(w, dtype=x.dtype) + 0.5
    result = x.new_zeros(x.shape[:2])
    for k, (u, v) in enumerate(pairs):
        down, across = u * times(h), v * times(w)
        if not missing or (down < h and across < w):
            picture = torch.cos(math.pi * down * i / long)[:, None] * torch.cos(math.pi * across * j / wide)
            result[:, k] = factor * (x[:, k] * picture).sum(dim=(1, 2))
    return result


@wrong("task_04_3")
def squeeze_waves__still_collapses(x, pairs):
    """On maps below 7 × 7 all frequencies are still 0, so each coefficient is only the sum."""
    return _waves(x, pairs, times=lambda size: size // 7)


@wrong("task_04_3")
def squeeze_waves__lengths_exchanged(x, pairs):
    """The wave down has the length of the width, and the one across that of the height."""
    return _waves(x, pairs, lengths=lambda h, w: (w, h))


@wrong("task_04_3")
def squeeze_waves__frequencies_exchanged(x, pairs):
    """The pair is (down, across); here it is read as (across, down)."""
    return _waves(x, [(v, u) for u, v in pairs])


@wrong("task_04_3")
def squeeze_waves__never_multiplied(x, pairs):
    """The pair is the frequency on every map; on maps of 14 and more it is multiplied by ⌊h/7⌋ and ⌊w/7⌋."""
    return _waves(x, pairs, times=lambda size: 1)


@wrong("task_04_3")
def squeeze_waves__rounded_up(x, pairs):
    """The factor is rounded up; on 8 or 15 positions it is ⌊h/7⌋, rounded down."""
    return _waves(x, pairs, times=lambda size: -(-size // 7))


@wrong("task_04_3")
def squeeze_waves__a_fraction(x, pairs):
    """The factor h/7 is not rounded, so the waves do not fit the map."""
    return _waves(x, pairs, times=lambda size: size / 7)


@wrong("task_04_3")
def squeeze_waves__aliases(x, pairs):
    """A wave that does not exist on the map is replaced by a slower one that looks like it; its coefficient is 0."""
    return _waves(x, pairs, missing=False)


@wrong("task_04_3")
def squeeze_waves__both_axes_at_once(x, pairs):
    """One factor serves both axes: on a map of 5 × 14 each axis needs its own."""
    return _waves(x, pairs, times=lambda size: max(min(x.shape[2:]) // 7, 1))


@wrong("task_04_3")
def squeeze_waves__averaged(x, pairs):
    """The products are averaged over the map; the coefficient is their sum."""
    return _waves(x, pairs, factor=1 / x[0, 0].numel())


# --- task 4: sort hard ---


def pixels_and_words(draw):
    """Pixels around codewords, of which one is so far that nothing is near it."""
    b, c, h, w, m = draw.primes(5, high=13)
    codewords = draw.normal(m, c)
    codewords[-1] = 50
    return draw.normal(b, c, h, w) * 1.5, codewords


def residuals_by_loops(x, codewords):
    result = torch.zeros(len(x), *codewords.shape, dtype=x.dtype)
    for one, image in zip(result, x, strict=True):
        for pixel in image.flatten(1).mT:
            distances = [((pixel - word) ** 2).sum().item() for word in codewords]
            k = distances.index(min(distances))
            one[k] += pixel - codewords[k]
        for k, e in enumerate(one):
            length = math.sqrt((e**2).sum())
            one[k] = e / length if length > 0 else e
    return result


@task("task_04_4", without=("course_lib",), hint="Compare with loops: each pixel adds to its nearest codeword alone.")
def test_residuals_equal_the_loops(student, draw):
    x, codewords = pixels_and_words(draw)
    assert_same(student.hard_residuals(x, codewords), residuals_by_loops(x, codewords))


@task("task_04_4", hint="However short a sum is, its length becomes 1.")
def test_short_residuals_are_scaled_too(student, draw):
    x, codewords = pixels_and_words(draw)
    assert_same(student.hard_residuals(x / 1000, codewords / 1000), residuals_by_loops(x, codewords))


@task("task_04_4", hint="Codewords without pixels, and pixels that lie on their codeword, keep zeros.")
def test_residuals_without_length_stay_zero(student, draw):
    c, m, w = draw.primes(3, high=11)
    codewords = 10 * draw.normal(m, c)
    x = codewords[draw.integers(0, m, w)].mT[None, :, None]  # 1 c 1 w: pixels that are codewords
    assert_same(student.hard_residuals(x, codewords), torch.zeros(1, m, c, dtype=torch.float64))


def _residuals(x, codewords, *, pick=torch.argmin, share=None, sign=1, ending=None):
    """The right answer with the parts that a wrong answer exchanges."""
    away = x.flatten(2).mT[:, :, None] - codewords  # b n m c
    distance = away.square().sum(dim=3)
    chosen = torch.nn.functional.one_hot(pick(distance, dim=2), len(codewords)).to(x.dtype)
    chosen = chosen if share is None else share(distance)
    e = sign * (chosen[..., None] * away).sum(dim=1)
    return e / e.norm(dim=2, keepdim=True).clamp_min(1e-12) if ending is None else ending(e)


@wrong("task_04_4")
def hard_residuals__farthest(x, codewords):
    """Pixels go to the farthest codeword: the sign of the distance."""
    return _residuals(x, codewords, pick=torch.argmax)


@wrong("task_04_4")
def hard_residuals__soft(x, codewords):
    """The shares are soft, as in EncNet; here each pixel belongs to one codeword."""
    return _residuals(x, codewords, share=lambda distance: (-distance).softmax(dim=2))


@wrong("task_04_4")
def hard_residuals__everybody(x, codewords):
    """Every pixel adds its residual to every codeword, near or not."""
    return _residuals(x, codewords, share=torch.ones_like)


@wrong("task_04_4")
def hard_residuals__the_other_way(x, codewords):
    """The residual is d − x; it is x − d, from the codeword to the pixel."""
    return _residuals(x, codewords, sign=-1)


@wrong("task_04_4")
def hard_residuals__not_scaled(x, codewords):
    """The sums are not scaled to length 1."""
    return _residuals(x, codewords, ending=lambda e: e)


@wrong("task_04_4")
def hard_residuals__nan(x, codewords):
    """A codeword without pixels was divided by its length 0; it keeps zeros."""
    return _residuals(x, codewords, ending=lambda e: e / e.norm(dim=2, keepdim=True))


@wrong("task_04_4")
def hard_residuals__scaled_together(x, codewords):
    """The whole description has length 1; each codeword's sum has."""
    return _residuals(x, codewords, ending=lambda e: e / e.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12))


@wrong("task_04_4")
def hard_residuals__scaled_over_the_codewords(x, codewords):
    """Lengths are taken over the codewords, for each channel; they belong to one codeword, over its channels."""
    return _residuals(x, codewords, ending=lambda e: e / e.norm(dim=1, keepdim=True).clamp_min(1e-12))


@wrong("task_04_4")
def hard_residuals__sum_of_absolute_values(x, codewords):
    """The absolute values sum to 1; it is the length, the root of the squares, that is 1."""
    return _residuals(x, codewords, ending=lambda e: e / e.abs().sum(dim=2, keepdim=True).clamp_min(1e-12))


@wrong("task_04_4")
def hard_residuals__pixels_not_residuals(x, codewords):
    """The pixels themselves are summed; take their codeword away first."""
    away = x.flatten(2).mT[:, :, None] - codewords
    mine = torch.nn.functional.one_hot(away.square().sum(dim=3).argmin(dim=2), len(codewords)).to(x.dtype)
    e = mine.mT @ x.flatten(2).mT
    return e / e.norm(dim=2, keepdim=True).clamp_min(1e-12)


# --- task 5: a rare event ---


@task(
    "task_04_5", without=("course_lib", "std", "var"), hint="Build the channel, and take its mean and its deviation."
)
def test_rare_event_equals_the_channel(student, draw):
    for sign in (1, -1):
        n, k = sorted(draw.primes(2), reverse=True)
        a, b = sign * draw.number(0.5, 3.0), draw.number(-2.0, 2.0)
        channel = [b + a] * k + [b] * (n - k)
        mean = sum(channel) / n
        rise, deviation = student.rare_event(n, k, a, b)
        assert_number(rise, mean - b)
        assert_number(deviation, math.sqrt(sum((value - mean) ** 2 for value in channel) / n))


@wrong("task_04_5")
def rare_event__mean_itself(n, k, a, b):
    """The first number is the mean; how much it *rises* does not depend on b."""
    return b + a * k / n, abs(a) * (k / n * (1 - k / n)) ** 0.5


@wrong("task_04_5")
def rare_event__variance(n, k, a, b):
    """The second number is the variance; the deviation is its root."""
    return a * k / n, a * a * k / n * (1 - k / n)


@wrong("task_04_5")
def rare_event__mean_square(n, k, a, b):
    """The squared average was not taken away: this is the root of the mean square."""
    return a * k / n, abs(a) * (k / n) ** 0.5


@wrong("task_04_5")
def rare_event__signed(n, k, a, b):
    """A deviation is never negative, whatever the sign of a."""
    return a * k / n, a * (k / n * (1 - k / n)) ** 0.5


@wrong("task_04_5")
def rare_event__unbiased(n, k, a, b):
    """The variance is divided by n − 1; here it is n."""
    return a * k / n, abs(a) * (k / n * (1 - k / n) * n / (n - 1)) ** 0.5


@wrong("task_04_5")
def rare_event__exchanged(n, k, a, b):
    """The two numbers stand in the other order: first the rise of the mean."""
    return abs(a) * (k / n * (1 - k / n)) ** 0.5, a * k / n


@wrong("task_04_5")
def rare_event__height_left_out(n, k, a, b):
    """The deviation does not depend on the height a of the event; twice as high must be twice as wide."""
    return a * k / n, (k / n * (1 - k / n)) ** 0.5


@wrong("task_04_5")
def rare_event__among_the_others(n, k, a, b):
    """k is set in relation to the other n − k positions; the share is k / n, of all."""
    p = k / (n - k)
    return a * p, abs(a) * abs(p * (1 - p)) ** 0.5
