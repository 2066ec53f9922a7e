"""Grades exercise 15 on sizes and values that the student has not seen, and names the mistakes people make."""

import math
from itertools import product

import torch

from course_lib.grading import task, wrong
from tests.properties import assert_same

# --- task 1: CBAM's channel gate, without the padding ---


def channel_gate_by_loops(x, real, w0, w1):
    """Image by image: b c."""
    gates = []
    for image, counts in zip(x, real, strict=True):
        pixels = image[:, counts]  # c k, the real ones only
        empty = x.new_zeros(x.shape[1])
        mean, peak = (pixels.mean(dim=1), pixels.amax(dim=1)) if counts.any() else (empty, empty)
        logits = [w1 @ (w0 @ z).clamp(min=0) for z in (mean, peak)]
        gates.append(1 / (1 + torch.exp(-logits[0] - logits[1])))
    return torch.stack(gates)


def drawn_images(draw):
    """Features below zero, masks (the first image has no real pixel) and the MLP."""
    c, m = draw.primes(2, high=11)
    real = draw.mask(4, 3, 5)
    real[0], real[1] = False, True
    return draw.normal(4, c, 3, 5) - 1, real, draw.normal(m, c), draw.normal(c, m)


@task("task_15_1", without=("course_lib",), hint="Mean and maximum of each image's own real pixels, through one MLP.")
def test_the_gate_equals_the_loops(student, draw):
    x, real, w0, w1 = drawn_images(draw)
    assert_same(student.channel_gate(x, real, w0, w1), channel_gate_by_loops(x, real, w0, w1))


@task("task_15_1", hint="Nothing of what stands in the padding reaches the gate.")
def test_rubbish_in_the_padding_does_nothing(student, draw):
    x, real, w0, w1 = drawn_images(draw)
    rubbish = torch.where(real[:, None], x, math.inf)
    assert_same(student.channel_gate(rubbish, real, w0, w1), channel_gate_by_loops(x, real, w0, w1))


@task("task_15_1", hint="One real pixel is its own mean and maximum.")
def test_a_single_real_pixel_is_mean_and_maximum(student, draw):
    x, real, w0, w1 = drawn_images(draw)
    real = torch.zeros_like(real)
    real[:, 1, 0] = True
    assert_same(student.channel_gate(x, real, w0, w1), channel_gate_by_loops(x, real, w0, w1))


def _gate(x, real, w0, w1, *, count=None, filling=-math.inf, empty=0.0, join=None):
    """The right answer with the parts that a wrong answer exchanges."""
    mask = real[:, None]
    count = mask.sum(dim=(2, 3)).clamp(min=1) if count is None else count
    mean = torch.where(mask, x, 0.0).sum(dim=(2, 3)) / count
    peak = torch.where(mask, x, filling).amax(dim=(2, 3))
    peak = torch.where(mask.flatten(1).any(dim=1, keepdim=True), peak, empty)

    def mlp(z):
        return (z @ w0.mT).relu() @ w1.mT

    return (mlp(mean) + mlp(peak)).sigmoid() if join is None else join(mlp, mean, peak)


@wrong("task_15_1")
def channel_gate__all_pixels_are_counted(x, real, w0, w1):
    """The sum was divided by all pixels, those of the padding too."""
    return _gate(x, real, w0, w1, count=real[0].numel())


@wrong("task_15_1")
def channel_gate__counted_over_the_batch(x, real, w0, w1):
    """The real pixels of all images were counted together; each image has its own number."""
    return _gate(x, real, w0, w1, count=real.sum() / len(x))


@wrong("task_15_1")
def channel_gate__maximum_of_zeros(x, real, w0, w1):
    """The padding was set to 0 before the maximum: where all real numbers are negative, 0 is the largest."""
    return _gate(x, real, w0, w1, filling=0.0)


@wrong("task_15_1")
def channel_gate__mask_by_product(x, real, w0, w1):
    """The mask was multiplied with x: 0 · ∞ is no number."""
    mask = real[:, None]
    mean = (x * mask).sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1)
    peak = torch.where(mask, x, -math.inf).amax(dim=(2, 3))
    peak = torch.where(mask.flatten(1).any(dim=1, keepdim=True), peak, 0.0)
    return sum((z @ w0.mT).relu() @ w1.mT for z in (mean, peak)).sigmoid()


@wrong("task_15_1")
def channel_gate__empty_is_nan(x, real, w0, w1):
    """An image without a real pixel divided 0 by 0."""
    return _gate(x, real, w0, w1, count=real[:, None].sum(dim=(2, 3)))


@wrong("task_15_1")
def channel_gate__sum_of_the_gates(x, real, w0, w1):
    """Each statistic got a sigmoid of its own; the logits are added before one sigmoid."""
    return _gate(x, real, w0, w1, join=lambda mlp, mean, peak: (mlp(mean).sigmoid() + mlp(peak).sigmoid()) / 2)


@wrong("task_15_1")
def channel_gate__one_pass(x, real, w0, w1):
    """The statistics were added before the MLP; between its layers stands a ReLU, so this is another function."""
    return _gate(x, real, w0, w1, join=lambda mlp, mean, peak: mlp(mean + peak).sigmoid())


@wrong("task_15_1")
def channel_gate__mean_only(x, real, w0, w1):
    """The maximum is not used."""
    return _gate(x, real, w0, w1, join=lambda mlp, mean, peak: (2 * mlp(mean)).sigmoid())


@wrong("task_15_1")
def channel_gate__softmax(x, real, w0, w1):
    """A softmax made the channels compete; each gate is a sigmoid of its own logit."""
    return _gate(x, real, w0, w1, join=lambda mlp, mean, peak: (mlp(mean) + mlp(peak)).softmax(dim=1))


# --- task 2: which patterns can a gate make? ---


def can_make_by_trying(pattern):
    """Try all subsets, orders and signs, for few channels: three truth values."""
    c, n = pattern.shape
    rows = [[bool(one) for one in row] for row in pattern.tolist()]
    subsets = [product([False, True], repeat=size) for size in (c, n)]
    gates = any(rows == [[i and j for j in places] for i in channels] for channels, places in product(*subsets))
    sizes = [sum(row) for row in rows]
    nested = all(
        all(not small or large for small, large in zip(rows[i], rows[k], strict=True))
        for i, k in product(range(c), repeat=2)
        if sizes[i] <= sizes[k]
    )
    signs = any(
        rows == [[(s == t) for t in places] for s in channels]
        for channels, places in product(product([0, 1], repeat=c), product([0, 1], repeat=n))
    )
    return gates, nested, signs


def drawn_pattern(draw, kind):
    """A pattern of the kind, or any; 3 channels, 5 places."""
    c, n = draw.primes(2, high=5)
    if kind == "gates":
        return draw.mask(1, c).mT & draw.mask(1, n)
    if kind == "sum":
        return draw.normal(c, 1) + draw.normal(1, n) > 0
    if kind == "product":
        return draw.normal(c, 1) * draw.normal(1, n) > 0
    return draw.uniform(c, n) > 0.5


@task(
    "task_15_2",
    without=("autograd", "backward", "course_lib", "optim"),
    hint="Try every way to switch three channels and five places on and off.",
)
def test_patterns_of_each_kind(student, draw):
    for kind in ("gates", "sum", "product", "any"):
        for _ in range(6):
            pattern = drawn_pattern(draw, kind)
            found = tuple(bool(one) for one in student.can_make(pattern))
            assert found == can_make_by_trying(pattern)


@task("task_15_2", hint="Compare every two channels, also those that do not follow each other.")
def test_another_channel_lies_between(student, draw):
    some = draw.mask(5)
    for between in (some | True, some & False):
        pattern = torch.stack([some, between, ~some])
        assert tuple(bool(one) for one in student.can_make(pattern)) == can_make_by_trying(pattern)


@task("task_15_2", hint="Patterns of two by two, and patterns without any place that is on.")
def test_all_small_patterns(student, draw):
    c, n = draw.primes(2)
    for bits in product([False, True], repeat=4):
        pattern = torch.tensor(bits).view(2, 2)
        assert tuple(bool(one) for one in student.can_make(pattern)) == can_make_by_trying(pattern)
    for pattern in (torch.zeros(c, n) > 0, torch.ones(c, n) > 0):
        assert tuple(bool(one) for one in student.can_make(pattern)) == (True, True, True)


def _can_make(pattern, **other):
    """The right answer with the parts that a wrong answer exchanges."""
    gates = (pattern == (pattern.any(dim=1)[:, None] & pattern.any(dim=0))).all()
    lacks = (pattern[:, None] & ~pattern[None]).any(dim=2)
    same = pattern == pattern[:1]
    found = {"gates": gates, "sum": not (lacks & lacks.mT).any(), "product": (same == same[:, :1]).all()} | other
    return tuple(bool(found[kind]) for kind in ("gates", "sum", "product"))


def _rank_one(pattern):
    return torch.linalg.matrix_rank(pattern.double()) <= 1


@wrong("task_15_2")
def can_make__the_rank_for_all(pattern):
    """Rank one was asked of all three; the pattern of the sum and of the product is that of its *signs*."""
    return _can_make(pattern, sum=_rank_one(pattern), product=_rank_one(pattern))


@wrong("task_15_2")
def can_make__a_sum_is_a_product_of_gates(pattern):
    """The sum was taken for the gates; it can also leave out a single corner."""
    return _can_make(pattern, sum=_rank_one(pattern))


@wrong("task_15_2")
def can_make__the_product_is_the_gates(pattern):
    """The product of logits was taken for the product of gates; two negative logits make a positive one."""
    return _can_make(pattern, product=_rank_one(pattern))


@wrong("task_15_2")
def can_make__the_gates_are_a_sum(pattern):
    """The gates were taken for a sum; two open gates cannot be shut where they meet."""
    lacks = (pattern[:, None] & ~pattern[None]).any(dim=2)
    return _can_make(pattern, gates=not (lacks & lacks.mT).any())


@wrong("task_15_2")
def can_make__the_sum_makes_all(pattern):
    """The sum cannot make every pattern: two channels that each have a place of their own."""
    return _can_make(pattern, sum=True)


@wrong("task_15_2")
def can_make__exactly_rank_one(pattern):
    """The empty pattern was refused: its rank is 0, and all gates shut make it."""
    return _can_make(pattern, gates=torch.linalg.matrix_rank(pattern.double()) == 1)


@wrong("task_15_2")
def can_make__only_equal_rows(pattern):
    """For the product only equal rows were allowed; the opposite row is one too."""
    return _can_make(pattern, product=(pattern == pattern[:1]).all())


@wrong("task_15_2")
def can_make__neighbours_only(pattern):
    """Only channels that follow each other were compared."""
    lacks = (pattern[:-1] & ~pattern[1:]).any(dim=1) & (pattern[1:] & ~pattern[:-1]).any(dim=1)
    return _can_make(pattern, sum=not lacks.any())


@wrong("task_15_2")
def can_make__kinds_exchanged(pattern):
    """Sum and product are exchanged."""
    gates, added, multiplied = _can_make(pattern)
    return gates, multiplied, added


# --- task 3: repair a position attention ---


def position_by_loops(x, w_q, w_k, w_v, gamma):
    """Pixel by pixel, for one image: c h w -> c h w."""
    _, h, w = x.shape
    places = list(product(range(h), range(w)))
    y = x.clone()
    for i, j in places:
        scores = [math.exp((w_q @ x[:, i, j]) @ (w_k @ x[:, k, m])) for k, m in places]
        read = sum(s / sum(scores) * (w_v @ x[:, k, m]) for s, (k, m) in zip(scores, places, strict=True))
        y[:, i, j] += gamma * read
    return y


@task("task_15_3", without=("course_lib",), hint="Each asking pixel's weights sum to 1; γ belongs to what was read.")
def test_the_repaired_attention_equals_the_loops(student, draw):
    c, d = draw.primes(2, high=7)
    x, gamma = draw.normal(2, c, 3, 4), draw.number(0.3, 2.0)
    w_q, w_k, w_v = (draw.normal(rows, c) / c**0.5 for rows in (d, d, c))
    expected = torch.stack([position_by_loops(image, w_q, w_k, w_v, gamma) for image in x])
    assert_same(student.position_attention(x, w_q, w_k, w_v, gamma), expected)


@task("task_15_3", hint="γ may also be a tensor with one number, as the module has it.")
def test_gamma_is_a_tensor(student, draw):
    x, gamma = draw.normal(2, 5, 2, 3), draw.normal(1)
    w_q, w_k, w_v = draw.normal(2, 5) / 2, draw.normal(2, 5) / 2, draw.normal(5, 5)
    expected = torch.stack([position_by_loops(image, w_q, w_k, w_v, gamma) for image in x])
    assert_same(student.position_attention(x, w_q, w_k, w_v, gamma), expected)


def _position(x, w_q, w_k, w_v, gamma, *, axis=2, turn=True, scale=1.0, add=None):
    """The right answer with the parts that a wrong answer exchanges."""
    query, key, value = (w @ x.flatten(2) for w in (w_q, w_k, w_v))
    weights = (scale * query.mT @ key).softmax(dim=axis)
    read = (value @ (weights.mT if turn else weights)).view_as(x)
    return gamma * read + x if add is None else add(read, x, gamma)


@wrong("task_15_3")
def position_attention__not_repaired(x, w_q, w_k, w_v, gamma):
    """Nothing was repaired."""
    return _position(x, w_q, w_k, w_v, gamma, turn=False, add=lambda read, x, gamma: gamma * (read + x))


@wrong("task_15_3")
def position_attention__gamma_on_both(x, w_q, w_k, w_v, gamma):
    """γ still multiplies x too: a block that starts at γ = 0 deletes what the network knew."""
    return _position(x, w_q, w_k, w_v, gamma, add=lambda read, x, gamma: gamma * (read + x))


@wrong("task_15_3")
def position_attention__still_turned(x, w_q, w_k, w_v, gamma):
    """The mixture still sums over the pixels that ask: what a pixel reads is no average."""
    return _position(x, w_q, w_k, w_v, gamma, turn=False)


@wrong("task_15_3")
def position_attention__other_axis_only(x, w_q, w_k, w_v, gamma):
    """The softmax runs over the pixels that ask: now what a pixel *gives* sums to 1, not what it reads."""
    return _position(x, w_q, w_k, w_v, gamma, axis=1)


@wrong("task_15_3")
def position_attention__keys_ask(x, w_q, w_k, w_v, gamma):
    """Axis *and* side were changed, so the averages are right, but keys ask and queries answer."""
    return _position(x, w_q, w_k, w_v, gamma, axis=1, turn=False)


@wrong("task_15_3")
def position_attention__divided_by_the_root(x, w_q, w_k, w_v, gamma):
    """The scores were divided by √d; DANet's are not."""
    return _position(x, w_q, w_k, w_v, gamma, scale=len(w_q) ** -0.5)


@wrong("task_15_3")
def position_attention__x_is_lost(x, w_q, w_k, w_v, gamma):
    """x is no longer added."""
    return _position(x, w_q, w_k, w_v, gamma, add=lambda read, x, gamma: gamma * read)


@wrong("task_15_3")
def position_attention__without_gamma(x, w_q, w_k, w_v, gamma):
    """γ is no longer used: what was read is added in full."""
    return _position(x, w_q, w_k, w_v, gamma, add=lambda read, x, gamma: read + x)


@wrong("task_15_3")
def position_attention__gamma_on_x(x, w_q, w_k, w_v, gamma):
    """γ multiplies x, not what was read."""
    return _position(x, w_q, w_k, w_v, gamma, add=lambda read, x, gamma: read + gamma * x)


# --- task 4: first the channels, then the places ---


def what_then_where_by_loops(x, asked, u, real):
    """Number by number: b c n."""
    b, c, n = x.shape
    y = torch.zeros_like(x)
    for i in range(b):
        opened = [math.exp(one) for one in asked[i].tolist()]
        left = torch.stack([c * opened[k] / sum(opened) * x[i, k] for k in range(c)])
        places = [j for j in range(n) if real[i, j]]
        scores = {j: math.exp(u @ left[:, j]) for j in places}
        for j in places:
            y[i, :, j] = len(places) * scores[j] / sum(scores.values()) * left[:, j]
    return y


@task(
    "task_15_4", without=("course_lib",), hint="The places see what the channels left; count real places per image."
)
def test_the_two_gates_equal_the_loops(student, draw):
    c, n = draw.primes(2, high=11)
    x, asked, u, real = draw.normal(4, c, n), draw.normal(4, c), draw.normal(c), draw.mask(4, n)
    assert_same(student.what_then_where(x, asked, u, real), what_then_where_by_loops(x, asked, u, real))


def _what_then_where(x, asked, u, real, *, seen=None, c=None, r=None, outside=-math.inf, read=None, open=None):
    """The right answer with the parts that a wrong answer exchanges."""
    channels = asked.softmax(dim=1) if open is None else open(asked)
    left = channels[:, :, None] * (x.shape[1] if c is None else c) * x
    scores = torch.einsum("c,bcn->bn", u, left if seen is None else seen).masked_fill(~real, outside)
    places = scores.softmax(dim=1) * (real.sum(dim=1, keepdim=True) if r is None else r)
    return places[:, None] * (left if read is None else read)


@wrong("task_15_4")
def what_then_where__side_by_side(x, asked, u, real):
    """The places were scored on x, not on what the channels left."""
    return _what_then_where(x, asked, u, real, seen=x)


@wrong("task_15_4")
def what_then_where__channels_not_multiplied(x, asked, u, real):
    """c is lost: weights that sum to 1 over the channels shrink the features by as much."""
    return _what_then_where(x, asked, u, real, c=1)


@wrong("task_15_4")
def what_then_where__places_not_multiplied(x, asked, u, real):
    """r is lost: weights that sum to 1 over the places shrink the features by as much."""
    return _what_then_where(x, asked, u, real, r=1)


@wrong("task_15_4")
def what_then_where__all_places_counted(x, asked, u, real):
    """It was multiplied by all places, those of the padding too."""
    return _what_then_where(x, asked, u, real, r=x.shape[2])


@wrong("task_15_4")
def what_then_where__padding_takes_weight(x, asked, u, real):
    """Places of the padding have a score of 0 and take their share of the weight."""
    return _what_then_where(x, asked, u, real, outside=0.0) * real[:, None]


@wrong("task_15_4")
def what_then_where__nobody_looked_for_padding(x, asked, u, real):
    """The padding is gated like any other place."""
    return _what_then_where(x, asked, u, torch.ones_like(real))


@wrong("task_15_4")
def what_then_where__channels_forgotten(x, asked, u, real):
    """The places multiply x itself; what the channels left is lost on the way."""
    return _what_then_where(x, asked, u, real, read=x)


@wrong("task_15_4")
def what_then_where__softmax_over_the_batch(x, asked, u, real):
    """The question's weights sum to 1 over the images; they sum to 1 over the channels."""
    return _what_then_where(x, asked, u, real, open=lambda asked: asked.softmax(dim=0))


@wrong("task_15_4")
def what_then_where__sigmoid(x, asked, u, real):
    """The channels got a sigmoid each; here they compete in a softmax."""
    return _what_then_where(x, asked, u, real, open=torch.sigmoid, c=2)


# --- task 5: how a sum and a product learn ---


@task(
    "task_15_5",
    without=("autograd", "backward", "course_lib"),
    hint="Compare with numerical differences of the loss.",
)
def test_the_gradients_are_those_of_the_loss(student, draw):
    c, n = draw.primes(2, high=11)
    pattern = (draw.uniform(c, n) > 0.5).double()
    for join in ("sum", "product"):
        a, b = draw.normal(c).requires_grad_(), draw.normal(n).requires_grad_()
        logits = a[:, None] + b if join == "sum" else a[:, None] * b
        gate = logits.sigmoid()
        loss = -(pattern * gate.log() + (1 - pattern) * (1 - gate).log()).sum()
        expected = torch.autograd.grad(loss, [a, b])
        found = student.gradients(a.detach(), b.detach(), pattern, join)
        for one, due in zip(found, expected, strict=True):
            assert_same(one, due)


@task("task_15_5", hint="Look at a = 0 and b = 0, one after the other.")
def test_at_zero(student, draw):
    c, n = draw.primes(2, high=11)
    pattern, b = (draw.uniform(c, n) > 0.5).double(), draw.normal(n)
    for_a, for_b = student.gradients(torch.zeros(c).double(), b, pattern, "product")
    assert_same(for_a, (0.5 - pattern) @ b)
    assert_same(for_b, torch.zeros(n).double())


def _gradients(a, b, pattern, join, *, error=None, for_a=None, for_b=None):
    """The right answer with the parts that a wrong answer exchanges."""
    logits = a[:, None] + b if join == "sum" else a[:, None] * b
    errors = logits.sigmoid() - pattern if error is None else error(logits)
    by_b, by_a = (torch.ones_like(b), torch.ones_like(a)) if join == "sum" else (b, a)
    return (errors @ by_b if for_a is None else for_a(errors)), (by_a @ errors if for_b is None else for_b(errors))


@wrong("task_15_5")
def gradients__product_like_the_sum(a, b, pattern, join):
    """The product got the gradients of a sum: how much l changes with a depends on b there."""
    return _gradients(a, b, pattern, join, for_a=lambda e: e.sum(dim=1), for_b=lambda e: e.sum(dim=0))


@wrong("task_15_5")
def gradients__sign(a, b, pattern, join):
    """The sign is turned: this is where the loss falls, not its gradient."""
    return tuple(-one for one in _gradients(a, b, pattern, join))


@wrong("task_15_5")
def gradients__sigmoid_twice(a, b, pattern, join):
    """The slope of the sigmoid was multiplied in; the cross-entropy has taken it out already."""
    return _gradients(a, b, pattern, join, error=lambda z: (z.sigmoid() - pattern) * z.sigmoid() * (1 - z.sigmoid()))


@wrong("task_15_5")
def gradients__without_sigmoid(a, b, pattern, join):
    """The logits were compared with the pattern; the gate is their sigmoid."""
    return _gradients(a, b, pattern, join, error=lambda z: z - pattern)


@wrong("task_15_5")
def gradients__means(a, b, pattern, join):
    """Means were taken; the loss is a sum over all channels and places."""
    for_a, for_b = _gradients(a, b, pattern, join)
    return for_a / len(b), for_b / len(a)


@wrong("task_15_5")
def gradients__own_logit(a, b, pattern, join):
    """In the product each was multiplied with itself; l = a · b changes with a by b."""
    if join == "sum":
        return _gradients(a, b, pattern, join)
    return _gradients(a, b, pattern, join, for_a=lambda e: a * e.sum(dim=1), for_b=lambda e: b * e.sum(dim=0))


@wrong("task_15_5")
def gradients__product_of_the_means(a, b, pattern, join):
    """In the product the errors were summed first, and multiplied then; each has its own factor."""
    if join == "sum":
        return _gradients(a, b, pattern, join)
    return _gradients(
        a, b, pattern, join, for_a=lambda e: e.sum(dim=1) * b.mean(), for_b=lambda e: e.sum(dim=0) * a.mean()
    )


@wrong("task_15_5")
def gradients__always_the_sum(a, b, pattern, join):
    """`join` was not read: the logits are always a sum."""
    return _gradients(a, b, pattern, "sum")
