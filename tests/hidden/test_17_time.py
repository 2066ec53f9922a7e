"""Grades exercise 17 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

# --- task 1: the film so far ---


def so_far_by_loops(x, scores, real):
    """Film by film and frame by frame: b c t -> b c t."""
    y = torch.zeros_like(x)
    for film, likes, who, told in zip(x, scores, real, y, strict=True):
        for k in range(len(who)):
            known = [j for j in range(k + 1) if who[j]]
            shares = [math.exp(likes[j]) for j in known]
            for share, j in zip(shares, known, strict=True):
                told[:, k] += share / sum(shares) * film[:, j]
    return y


@task("task_17_1", without=("course_lib",), hint="After frame k the real frames up to k share one whole.")
def test_the_running_average_equals_the_loops(student, draw):
    b, c, t = draw.primes(3, high=13)
    x, scores, real = draw.normal(b, c, t), draw.normal(b, t), draw.mask(b, t)
    assert_same(student.so_far(x, scores, real), so_far_by_loops(x, scores, real))


@task("task_17_1", hint="Films that lost nothing, everything, or frames that hold no number; and high scores.")
def test_whole_and_lost_films(student, draw):
    c, t = draw.primes(2, high=13)
    x, scores, real = draw.normal(3, c, t), draw.integers(0, 3, 3, t).double(), torch.ones(3, t) > 0
    real[1], real[2, 1] = False, False
    expected = so_far_by_loops(x, scores, real)
    x[2, :, 1] = math.inf
    assert_same(student.so_far(x, scores + 1000, real), expected)


def _may(real, *, later=False, own=True):
    """Which frames each frame may read: b t -> b t t."""
    k = torch.arange(real.shape[1])
    past = k[None] <= k[:, None] if own else k[None] < k[:, None]
    return real[:, None] & (torch.ones_like(past) if later else past)


def _running(x, scores, may, *, clean=True, axis=2, nan=True, real=None):
    """The right answer with the parts that a wrong answer exchanges."""
    weights = scores[:, None].expand(may.shape).masked_fill(~may, -math.inf).softmax(dim=axis)
    weights = torch.where(may, weights, 0.0) if nan else weights
    return (torch.where(real[:, None], x, 0.0) if clean else x) @ weights.mT


@wrong("task_17_1")
def so_far__the_whole_film(x, scores, real):
    """Frames that come later were read; after frame k only the frames up to k are known."""
    return _running(x, scores, _may(real, later=True), real=real)


@wrong("task_17_1")
def so_far__without_its_own_frame(x, scores, real):
    """After frame k, frame k itself is known, too."""
    return _running(x, scores, _may(real, own=False), real=real)


@wrong("task_17_1")
def so_far__shares_of_the_whole_film(x, scores, real):
    """The shares were made once, for the whole film; those of the frames up to k must sum to 1."""
    weights = scores.masked_fill(~real, -math.inf).softmax(dim=1).nan_to_num()
    return (torch.where(real[:, None], x, 0.0) * weights[:, None]).cumsum(dim=2)


@wrong("task_17_1")
def so_far__lost_frames_count(x, scores, real):
    """Lost frames were read like the others."""
    return _running(x, scores, _may(torch.ones_like(real)), real=torch.ones_like(real))


@wrong("task_17_1")
def so_far__lost_frames_share(x, scores, real):
    """Lost frames gave nothing, but took their share of the weight."""
    everyone = torch.ones_like(real)
    return _running(torch.where(real[:, None], x, 0.0), scores, _may(everyone), real=everyone)


@wrong("task_17_1")
def so_far__over_the_asking_frames(x, scores, real):
    """The weights sum to 1 over the asking frames; they must sum to 1 over the frames that are read."""
    return _running(x, scores, _may(real), axis=1, real=real)


@wrong("task_17_1")
def so_far__nan(x, scores, real):
    """Before the first real frame came NaN; it must be 0."""
    return _running(x, scores, _may(real), nan=False, real=real)


@wrong("task_17_1")
def so_far__zero_times_infinity(x, scores, real):
    """A lost frame held ∞, and 0 · ∞ is no number."""
    return _running(x, scores, _may(real), clean=False)


@wrong("task_17_1")
def so_far__no_answer_after_a_lost_frame(x, scores, real):
    """After a lost frame an answer is due as well: what came before still counts."""
    return torch.where(real[:, None], _running(x, scores, _may(real), real=real), 0.0)


@wrong("task_17_1")
def so_far__overflow(x, scores, real):
    """High scores gave no number: exp(1000) is infinite; take the highest score away first, or use softmax."""
    shares = scores.exp() * real
    whole = shares.cumsum(dim=1)[:, None].clamp(min=1e-300)
    return (torch.where(real[:, None], x, 0.0) * shares[:, None]).cumsum(dim=2) / whole


@wrong("task_17_1")
def so_far__plain_average(x, scores, real):
    """All frames got the same weight; the scores were not used."""
    return _running(x, 0 * scores, _may(real), real=real)


# --- task 2: the cheapest split ---


def count_pairs(t, h, w):
    """Token by token, who is asked: joint, divided, axial."""
    tokens = [(k, i, j) for k in range(t) for i in range(h) for j in range(w)]
    same = [tuple(p == q for p, q in zip(one, other, strict=True)) for one in tokens for other in tokens]
    time = sum(row and column for _, row, column in same)
    space = sum(frame for frame, _, _ in same)
    columns, rows = sum(frame and column for frame, _, column in same), sum(frame and row for frame, row, _ in same)
    return len(same), time + space, time + columns + rows


@task("task_17_2", without=("course_lib",), hint="Who asks whom, in each of the steps?")
def test_the_pairs_are_those_that_one_can_count(student, draw):
    t, h, w = draw.primes(3, high=7)
    assert [number(one) for one in student.pairs(t, h, w)] == list(count_pairs(t, h, w))


@task("task_17_2", hint="The divisor whose sum with its partner is smallest; of two such, the smaller.")
def test_the_cheapest_split_is_found(student, draw):
    a, b = draw.primes(2, high=13)
    for tokens in (1, a, a * a, a * b, 4 * a * b, 90):
        price = {t: t + tokens / t for t in range(1, tokens + 1) if tokens % t == 0}
        assert number(student.cheapest(tokens)) == min(t for t in price if price[t] == min(price.values()))


@wrong("task_17_2")
def pairs__divided_is_a_product(t, h, w):
    """Divided attention asks first, then again: t + h·w for each token, not t · h·w."""
    tokens = t * h * w
    return tokens**2, tokens * t * h * w, tokens * (t + h + w)


@wrong("task_17_2")
def pairs__one_token(t, h, w):
    """These are the questions of one token; all tokens ask."""
    return t * h * w, t + h * w, t + h + w


@wrong("task_17_2")
def pairs__not_itself(t, h, w):
    """A token was not counted among those that it asks."""
    tokens = t * h * w
    return tokens * (tokens - 1), tokens * (t + h * w - 2), tokens * (t + h + w - 3)


@wrong("task_17_2")
def pairs__each_pair_once(t, h, w):
    """Who asks and who is asked are two things: each pair counts twice."""
    tokens = t * h * w
    return tokens * (tokens + 1) // 2, tokens * (t + h * w + 2) // 2, tokens * (t + h + w + 3) // 2


@wrong("task_17_2")
def pairs__squares(t, h, w):
    """Time and space were counted once, not at every place and in every frame."""
    return (t * h * w) ** 2, t**2 + (h * w) ** 2, t**2 + h**2 + w**2


@wrong("task_17_2")
def pairs__axial_forgets_time(t, h, w):
    """Axial attention asks along three axes; time is one of them."""
    tokens = t * h * w
    return tokens**2, tokens * (t + h * w), tokens * (h + w)


@wrong("task_17_2")
def cheapest__root(tokens):
    """The root need not be a divisor."""
    return round(math.sqrt(tokens))


@wrong("task_17_2")
def cheapest__larger(tokens):
    """Of two that are equally cheap the smaller was asked for."""
    return min((t for t in range(tokens, 0, -1) if tokens % t == 0), key=lambda t: t + tokens // t)


@wrong("task_17_2")
def cheapest__one_frame(tokens):
    """One frame is the dearest split, not the cheapest."""
    return 1


@wrong("task_17_2")
def cheapest__two_frames(tokens):
    """The smallest divisor above 1 was taken; look near the root."""
    return next((t for t in range(2, tokens + 1) if tokens % t == 0), 1)


# --- task 3: repair a time half ---


def over_time_by_loops(x, query, key, value):
    """Place by place and frame by frame: b c t h w."""
    b, _, t, h, w = x.shape
    y = x.clone()
    for n in range(b):
        for i in range(h):
            for j in range(w):
                line = x[n, :, :, i, j].mT  # t c
                for k in range(t):
                    shares = [math.exp((query @ line[k]) @ (key @ one) / math.sqrt(len(query))) for one in line]
                    read = sum(share / sum(shares) * (value @ one) for share, one in zip(shares, line, strict=True))
                    y[n, :, k, i, j] += read
    return y


@task("task_17_3", without=("course_lib",), hint="Every place asks itself, and each asking frame has one whole.")
def test_the_repaired_half_equals_the_loops(student, draw):
    c, d, t, h = draw.primes(4, high=11)
    x, query, key, value = draw.normal(2, c, t, h, 4), draw.normal(d, c), draw.normal(d, c), draw.normal(c, c)
    query = query / c  # else the shares are 0 or 1
    assert_same(student.over_time(x, query, key, value), over_time_by_loops(x, query, key, value))


def _half(x, query, key, value, *, order=(0, 3, 4, 2, 1), axis=2, back=(0, 4, 3, 1, 2), root=None, add=1):
    """The right answer with the parts that a wrong answer exchanges."""
    b, c, t, h, w = x.shape
    tokens = x.permute(order).reshape(b * h * w, t, c)
    scores = (tokens @ query.mT) @ (tokens @ key.mT).mT / (len(query) ** 0.5 if root is None else root)
    read = scores.softmax(dim=axis) @ (tokens @ value.mT)
    return add * x + read.reshape(b, h, w, t, c).permute(back).reshape(x.shape)


@wrong("task_17_3")
def over_time__not_repaired(x, query, key, value):
    """Nothing was repaired."""
    return _half(x, query, key, value, order=(0, 2, 3, 4, 1), axis=1)


@wrong("task_17_3")
def over_time__still_mixed(x, query, key, value):
    """A row of tokens still holds different places."""
    return _half(x, query, key, value, order=(0, 2, 3, 4, 1))


@wrong("task_17_3")
def over_time__still_the_asking_axis(x, query, key, value):
    """The shares still sum to 1 over the frames that ask."""
    return _half(x, query, key, value, axis=1)


@wrong("task_17_3")
def over_time__over_the_places(x, query, key, value):
    """The shares sum to 1 over films and places; they must sum to 1 over the frames that are asked."""
    return _half(x, query, key, value, axis=0)


@wrong("task_17_3")
def over_time__columns_before_rows(x, query, key, value):
    """Rows and columns are exchanged on the way back."""
    b, c, t, h, w = x.shape
    read = _half(x, query, key, value, add=0).permute(0, 3, 4, 2, 1).reshape(b, w, h, t, c)
    return x + read.permute(0, 4, 3, 2, 1)


@wrong("task_17_3")
def over_time__scrambled_back(x, query, key, value):
    """What was read was not brought back to its axes, only reshaped."""
    return _half(x, query, key, value, back=(0, 1, 2, 3, 4))


@wrong("task_17_3")
def over_time__x_not_added(x, query, key, value):
    """x is no longer added; that part was right."""
    return _half(x, query, key, value, add=0)


@wrong("task_17_3")
def over_time__divided_by_d(x, query, key, value):
    """The scores are divided by d, not by its root; that part was right."""
    return _half(x, query, key, value, root=len(query))


@wrong("task_17_3")
def over_time__divided_by_the_root_of_c(x, query, key, value):
    """The scores are divided by the root of c; query and key have d numbers, and that part was right."""
    return _half(x, query, key, value, root=x.shape[1] ** 0.5)


@wrong("task_17_3")
def over_time__asked_and_asking(x, query, key, value):
    """Query and key were exchanged; that part was right."""
    return _half(x, key, query, value)


# --- task 4: how long ago ---


def ask_by_loops(query, key, value, steps):
    """Frame by frame: b s t d, b s t d, b s t e, s 2t-1 -> b s t e."""
    b, s, t, d = query.shape
    y = torch.zeros_like(value)
    for n in range(b):
        for head in range(s):
            for i in range(t):
                q, r = query[n, head, i], steps[head]
                shares = [math.exp(q @ key[n, head, j] / math.sqrt(d) + r[j - i + t - 1]) for j in range(t)]
                for share, told in zip(shares, value[n, head], strict=True):
                    y[n, head, i] += share / sum(shares) * told
    return y


@task("task_17_4", without=("course_lib",), hint="Content over √d, plus the number of the step from i to j.")
def test_steps_and_content_equal_the_loops(student, draw):
    s, t, d, e = draw.primes(4, high=11)
    query, key, value = draw.normal(2, s, t, d), draw.normal(2, s, t, d), draw.normal(2, s, t, e)
    steps = draw.normal(s, 2 * t - 1)
    assert_same(student.ask_by_steps(query, key, value, steps), ask_by_loops(query, key, value, steps))


@task("task_17_4", hint="A film of one frame has one step.")
def test_a_film_of_one_frame(student, draw):
    s, d, e = draw.primes(3, high=11)
    query, key, value = draw.normal(3, s, 1, d), draw.normal(3, s, 1, d), draw.normal(3, s, 1, e)
    assert_same(student.ask_by_steps(query, key, value, draw.normal(s, 1)), value)


def _asked(query, key, value, steps, *, index=None, root=None, axis=3, scale=1.0):
    """The right answer with the parts that a wrong answer exchanges."""
    i = torch.arange(query.shape[2])
    index = i - i[:, None] + len(i) - 1 if index is None else index
    scores = query @ key.mT / (query.shape[3] ** 0.5 if root is None else root) + scale * steps[:, index]
    return scores.softmax(dim=axis) @ value


@wrong("task_17_4")
def ask_by_steps__backward(query, key, value, steps):
    """Past and future are exchanged: the step is j − i, and the past comes first."""
    i = torch.arange(query.shape[2])
    return _asked(query, key, value, steps, index=i[:, None] - i + len(i) - 1)


@wrong("task_17_4")
def ask_by_steps__by_the_place_of_the_read_frame(query, key, value, steps):
    """The number was chosen by j alone; it belongs to the step from i to j."""
    i = torch.arange(query.shape[2])
    return _asked(query, key, value, steps, index=i.expand(len(i), -1))


@wrong("task_17_4")
def ask_by_steps__only_how_far(query, key, value, steps):
    """Only the distance counts: one frame back and one ahead got the same number."""
    i = torch.arange(query.shape[2])
    return _asked(query, key, value, steps, index=(i - i[:, None]).abs() + len(i) - 1)


@wrong("task_17_4")
def ask_by_steps__negative_index(query, key, value, steps):
    """A negative index reads from the end: the step 0 must find the middle of the table."""
    i = torch.arange(query.shape[2])
    return _asked(query, key, value, steps, index=i - i[:, None])


@wrong("task_17_4")
def ask_by_steps__divided_too(query, key, value, steps):
    """The number of the step was divided by √d as well."""
    return _asked(query, key, value, steps, scale=query.shape[3] ** -0.5)


@wrong("task_17_4")
def ask_by_steps__not_divided(query, key, value, steps):
    """The product q · k was not divided by √d."""
    return _asked(query, key, value, steps, root=1)


@wrong("task_17_4")
def ask_by_steps__over_the_asking_frames(query, key, value, steps):
    """The weights sum to 1 over the frames that ask; they must sum to 1 over those that are read."""
    return _asked(query, key, value, steps, axis=2)


@wrong("task_17_4")
def ask_by_steps__after_the_softmax(query, key, value, steps):
    """The number was added to the weights, which no longer sum to 1; it belongs to the scores."""
    i = torch.arange(query.shape[2])
    weights = (query @ key.mT / query.shape[3] ** 0.5).softmax(dim=3)
    return (weights + steps[:, i - i[:, None] + len(i) - 1]) @ value


@wrong("task_17_4")
def ask_by_steps__the_first_head_for_all(query, key, value, steps):
    """All heads used the steps of the first one."""
    return _asked(query, key, value, steps[:1].expand(steps.shape))


# --- task 5: a gate with a memory ---


def gated_by_loops(x, w1, w2):
    """Frame by frame: b c t h w -> b c t h w."""
    y = x.clone()
    for film, gated in zip(x, y, strict=True):
        for k in range(1, film.shape[1]):
            z = film[:, :k].flatten(1).mean(dim=1)
            gated[:, k] *= (w2 @ (w1 @ z).clamp(min=0)).sigmoid()[:, None, None]
    return y


@task(
    "task_17_5",
    without=("course_lib",),
    hint="The gate of frame k is made from the frames before k, from all of them.",
)
def test_the_gates_equal_the_loops(student, draw):
    b, c, t, m, h = draw.primes(5, high=13)
    x, w1, w2 = draw.normal(b, c, t, h, 4), draw.normal(m, c), draw.normal(c, m)
    assert_same(student.gated_by_the_past(x, w1, w2), gated_by_loops(x, w1, w2))


@task("task_17_5", hint="A film of one frame, and of two.")
def test_short_films(student, draw):
    c, m, h = draw.primes(3, high=11)
    w1, w2 = draw.normal(m, c), draw.normal(c, m)
    for t in (1, 2):
        x = draw.normal(3, c, t, h, 2)
        assert_same(student.gated_by_the_past(x, w1, w2), gated_by_loops(x, w1, w2))


def _gated(x, w1, w2, *, past=None, own=False, first=1.0, relu=torch.relu):
    """The right answer with the parts that a wrong answer exchanges."""
    z = x.mean(dim=(3, 4))
    past = z.cumsum(dim=2) / torch.arange(1, z.shape[2] + 1) if past is None else past
    gate = (w2 @ relu(w1 @ past)).sigmoid()
    if not own:
        gate = torch.cat([torch.full_like(z[..., :1], first), gate[..., :-1]], dim=2)
    return x * gate[..., None, None]


@wrong("task_17_5")
def gated_by_the_past__with_its_own_frame(x, w1, w2):
    """The gate of a frame looked at the frame itself; only earlier ones are its past."""
    return _gated(x, w1, w2, own=True)


@wrong("task_17_5")
def gated_by_the_past__one_frame_back(x, w1, w2):
    """The gate looked at the frame before only; all earlier ones count."""
    return _gated(x, w1, w2, past=x.mean(dim=(3, 4)))


@wrong("task_17_5")
def gated_by_the_past__a_sum(x, w1, w2):
    """The past was summed over the frames, not averaged."""
    return _gated(x, w1, w2, past=x.mean(dim=(3, 4)).cumsum(dim=2))


@wrong("task_17_5")
def gated_by_the_past__divided_by_all(x, w1, w2):
    """The sum of the past was divided by the length of the film, not of the past."""
    return _gated(x, w1, w2, past=x.mean(dim=(3, 4)).cumsum(dim=2) / x.shape[2])


@wrong("task_17_5")
def gated_by_the_past__first_is_half(x, w1, w2):
    """Frame 0 was halved: σ(0) is ½; it has no past and passes as it is."""
    return _gated(x, w1, w2, first=0.5)


@wrong("task_17_5")
def gated_by_the_past__first_is_lost(x, w1, w2):
    """Frame 0 became 0; it passes as it is."""
    return _gated(x, w1, w2, first=0.0)


@wrong("task_17_5")
def gated_by_the_past__the_whole_film(x, w1, w2):
    """One gate for all, from the whole film: a frame must not look ahead."""
    z = x.mean(dim=(3, 4))
    return _gated(x, w1, w2, past=z.mean(dim=2, keepdim=True).expand(z.shape))


@wrong("task_17_5")
def gated_by_the_past__without_relu(x, w1, w2):
    """The ReLU between W₁ and W₂ is lost."""
    return _gated(x, w1, w2, relu=lambda z: z)


@wrong("task_17_5")
def gated_by_the_past__backward(x, w1, w2):
    """The film was read from its end: the past comes before, not after."""
    return _gated(x.flip(2), w1, w2).flip(2)


@wrong("task_17_5")
def gated_by_the_past__x_added(x, w1, w2):
    """x was added to what passes; here the gate alone decides."""
    return x + _gated(x, w1, w2)
