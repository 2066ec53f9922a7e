"""Grades exercise 10 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same, number

# --- task 1: fold the block ---


def drawn_layers(draw):
    """Random layers of a block with c channels and d inside, and ε."""
    c, d = draw.primes(2, high=11)
    shapes = {"phi_weight": (d, c), "g_weight": (d, c), "z_weight": (c, d)}
    shapes |= dict.fromkeys(("theta_bias", "phi_bias", "g_bias"), (d,))
    shapes |= dict.fromkeys(("z_bias", "gamma", "beta", "mean"), (c,))
    layers = {name: draw.normal(*shape) for name, shape in shapes.items()}
    return layers | {"variance": draw.uniform(c) + 0.5}, draw.number(0.1, 0.9)


def change_by_loops(layers, eps, pixels):
    """What the block adds to every pixel, without any folding: n c -> c."""
    scores = [layers["theta_bias"] @ (layers["phi_weight"] @ pixel + layers["phi_bias"]) for pixel in pixels]
    shares = torch.stack(scores).exp()
    values = [layers["g_weight"] @ pixel + layers["g_bias"] for pixel in pixels]
    y = sum(share * value for share, value in zip(shares, values, strict=True)) / shares.sum()
    read = layers["z_weight"] @ y + layers["z_bias"]
    return layers["gamma"] * (read - layers["mean"]) / (layers["variance"] + eps).sqrt() + layers["beta"]


@task(
    "task_10_1",
    without=("course_lib",),
    hint="The folded block must add what the whole block adds, with every bias and the norm.",
)
def test_the_folded_block_adds_the_same(student, draw):
    layers, eps = drawn_layers(draw)
    pixels = 0.3 * draw.normal(17, len(layers["mean"]))
    w_k, w_v, shift = student.fold(layers, eps)
    alpha = (pixels @ w_k).softmax(dim=0)
    assert_same(shift + w_v @ (alpha @ pixels), change_by_loops(layers, eps, pixels))


@task("task_10_1", hint="Each of the three parts alone: one pixel that is zero, and scores of single channels.")
def test_each_folded_part(student, draw):
    layers, eps = drawn_layers(draw)
    c = len(layers["mean"])
    w_k, w_v, shift = student.fold(layers, eps)
    empty = change_by_loops(layers, eps, torch.zeros(1, c, dtype=torch.float64))
    assert_same(shift, empty)
    units = torch.eye(c, dtype=torch.float64)
    assert_same(w_v, torch.stack([change_by_loops(layers, eps, unit[None]) - empty for unit in units], dim=1))
    assert_same(w_k, torch.stack([layers["theta_bias"] @ layers["phi_weight"][:, k] for k in range(c)]))


def _fold(layers, eps, *, norm=True, root=True, rows=True, inner=("g_bias",), outer=("z_bias",)):
    """The right answer with the parts that a wrong answer exchanges."""
    spread = layers["variance"] + eps
    factor = layers["gamma"] / (spread.sqrt() if root else spread) if norm else torch.ones_like(spread)
    w_v = layers["z_weight"] @ layers["g_weight"]
    constant = sum((layers["z_weight"] @ layers[name] for name in inner), torch.zeros_like(spread))
    constant = sum((layers[name] for name in outer), constant)
    shift = factor * (constant - layers["mean"]) + layers["beta"] if norm else constant
    return layers["theta_bias"] @ layers["phi_weight"], w_v * (factor[:, None] if rows else factor), shift


@wrong("task_10_1")
def fold__as_in_the_lesson(layers, eps):
    """The biases and the norm are lost; in the lesson they were zero, here they are not."""
    return _fold(layers, eps, norm=False, inner=(), outer=())


@wrong("task_10_1")
def fold__without_the_norm(layers, eps):
    """The norm is missing: each output channel is multiplied by one number and shifted by another."""
    return _fold(layers, eps, norm=False)


@wrong("task_10_1")
def fold__loses_the_bias_of_g(layers, eps):
    """b_g is lost: the weights sum to 1, so it passes the sum and then W_z."""
    return _fold(layers, eps, inner=())


@wrong("task_10_1")
def fold__loses_the_bias_of_z(layers, eps):
    """b_z is lost: it is added after the mixture, before the norm."""
    return _fold(layers, eps, outer=())


@wrong("task_10_1")
def fold__bias_of_phi_in_the_shift(layers, eps):
    """b_φ arrived in the shift: it adds the same number to all scores, which a softmax does not see."""
    return _fold(layers, eps, inner=("g_bias", "phi_bias"))


@wrong("task_10_1")
def fold__variance_without_root(layers, eps):
    """The norm divides by the root of variance plus ε."""
    return _fold(layers, eps, root=False)


@wrong("task_10_1")
def fold__scales_the_columns(layers, eps):
    """The norm scales output channels, the rows of W_v; here its columns are scaled."""
    return _fold(layers, eps, rows=False)


@wrong("task_10_1")
def fold__gamma_forgotten(layers, eps):
    """γ is missing: after the division, the norm multiplies each output channel by it."""
    return _fold(layers | {"gamma": torch.ones_like(layers["gamma"])}, eps)


@wrong("task_10_1")
def fold__epsilon_forgotten(layers, eps):
    """ε is missing under the root."""
    return _fold(layers, 0.0)


# --- task 2: do they differ? ---


def distance_by_loops(maps, asks):
    """Every pair of different asking pixels, one by one."""
    averages = []
    for image, who in zip(maps, asks, strict=True):
        rows = [image[i] for i in range(len(who)) if who[i]]
        pairs = [(a, b) for a in range(len(rows)) for b in range(len(rows)) if a != b]
        if pairs:
            averages.append(sum((rows[a] - rows[b]).abs().sum().item() / 2 for a, b in pairs) / len(pairs))
    return sum(averages) / len(averages) if averages else 0.0


@task("task_10_2", without=("course_lib",), hint="Pairs of different asking pixels; then images, all counted alike.")
def test_the_distance_equals_the_loops(student, draw):
    b, n, m = draw.primes(3, high=13)
    maps, asks = draw.normal(b, n, m).softmax(dim=-1), draw.mask(b, n)
    asks[0], asks[1, :2] = True, True  # so that images differ in the number of their pairs
    assert_number(student.distance_of_others(maps, asks), distance_by_loops(maps, asks))


@task("task_10_2", hint="Images in which one pixel or nobody asks do not count.")
def test_images_without_a_pair_do_not_count(student, draw):
    b, n, m = draw.primes(3, high=13)
    maps, asks = draw.normal(b, n, m).softmax(dim=-1), draw.mask(b, n)
    asks[0], asks[1:3] = True, False
    asks[1, 0] = asks[2, :2] = True  # one pixel asks, and two: no pair, and the smallest number of pairs
    assert_number(student.distance_of_others(maps, asks), distance_by_loops(maps, asks))
    assert number(student.distance_of_others(maps, torch.zeros_like(asks))) == 0


def _averages(maps, asks, *, half=2.0, own=False, fewest=2, compare=None):
    """One number an image, with the parts that a wrong answer exchanges."""
    found = []
    for rows in (some[which] for some, which in zip(maps, asks, strict=True)):
        k = len(rows)
        if k >= fewest:
            difference = rows[:, None] - rows[None]
            each = difference.abs().sum(-1) / half if compare is None else compare(difference)
            found.append((each.sum(), k * k if own else max(k * (k - 1), 1)))
    return found


def _mean(found):
    return torch.stack([total / pairs for total, pairs in found]).mean() if found else 0.0


@wrong("task_10_2")
def distance_of_others__as_in_the_lesson(maps, asks):
    """A pixel was also compared with itself, as in the lesson; only pairs of different pixels count."""
    return _mean(_averages(maps, asks, own=True))


@wrong("task_10_2")
def distance_of_others__not_halved(maps, asks):
    """The half is missing: what is moved is counted where it leaves and where it arrives."""
    return _mean(_averages(maps, asks, half=1.0))


@wrong("task_10_2")
def distance_of_others__everyone(maps, asks):
    """All pixels were compared; only those who ask count."""
    return _mean(_averages(maps, torch.ones_like(asks)))


@wrong("task_10_2")
def distance_of_others__pairs_count_alike(maps, asks):
    """All pairs of all images were averaged at once; images count alike, however many of their pixels ask."""
    found = _averages(maps, asks)
    return sum(total for total, _ in found) / sum(pairs for _, pairs in found) if found else 0.0


@wrong("task_10_2")
def distance_of_others__lonely_images_count(maps, asks):
    """An image in which one pixel asks was counted as 0; it has no pair and does not count."""
    return _mean(_averages(maps, asks, fewest=1))


@wrong("task_10_2")
def distance_of_others__euclidean(maps, asks):
    """The differences were squared; the distance is half of the sum of their sizes."""
    return _mean(_averages(maps, asks, compare=lambda difference: difference.square().sum(-1).sqrt()))


@wrong("task_10_2")
def distance_of_others__each_pair_once(maps, asks):
    """Each pair was added once and divided by twice as many."""
    return _mean(_averages(maps, asks)) / 2


# --- task 3: a map for each group ---


def grouped_by_loops(weights, x, groups):
    """Group by group and position by position, for one image: c h w -> c h w."""
    c, size = len(x), len(x) // groups
    pixels = x.flatten(1).mT
    context = []
    for k in range(groups):
        scores = [math.exp(weights["key.weight"][k, :, 0, 0] @ p + weights["key.bias"][k]) for p in pixels]
        mixture = sum(s * p for s, p in zip(scores, pixels, strict=True)) / sum(scores)
        context += mixture[k * size : (k + 1) * size]
    hidden = weights["reduce.weight"] @ torch.stack(context) + weights["reduce.bias"]
    hidden = (hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5).sqrt()
    hidden = (weights["norm.weight"] * hidden + weights["norm.bias"]).clamp(min=0)
    added = weights["expand.weight"] @ hidden + weights["expand.bias"]
    return torch.stack([x[k] + added[k] for k in range(c)])


def drawn_block(student, draw):
    """The student's block with drawn weights: 6 or 10 channels in groups of two, and the number of groups."""
    groups, hidden = draw.primes(2, high=7)
    net = student.GroupedContext(2 * groups, groups, hidden).double()
    net.load_state_dict({name: 0.5 * draw.normal(*value.shape) for name, value in net.state_dict().items()})
    return net, groups


@task(
    "task_10_3", without=("course_lib",), hint="Compare with loops: each group pools its channels with its own map."
)
def test_the_block_equals_the_loops(student, draw):
    net, groups = drawn_block(student, draw)
    x = draw.normal(3, 2 * groups, 4, 5)
    expected = torch.stack([grouped_by_loops(net.state_dict(), image, groups) for image in x])
    assert_same(net(x), expected)


@task("task_10_3", hint="A fresh block is the identity, and only its last layer starts at zero.")
def test_a_fresh_block_is_the_identity(student, draw):
    groups, hidden = draw.primes(2, high=7)
    net = student.GroupedContext(2 * groups, groups, hidden).double()
    x = draw.normal(2, 2 * groups, 4, 3)
    assert_same(net(x), x)
    weights = net.state_dict()
    assert all(weights[name].any() for name in ("key.weight", "reduce.weight", "norm.weight"))


class _Grouped(nn.Module):
    """The right answer with the parts that a wrong answer exchanges."""

    def __init__(self, channels, groups, hidden):
        super().__init__()
        self.groups = groups
        self.key = nn.Conv2d(channels, groups, 1)
        self.reduce, self.norm = nn.Linear(channels, hidden), nn.LayerNorm(hidden)
        self.expand = nn.Linear(hidden, channels)
        self.start()

    def start(self):
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def maps(self, x):
        return self.key(x).flatten(2).softmax(dim=2)

    def pool(self, x):
        parts = x.flatten(2).unflatten(1, (self.groups, -1))
        return (parts * self.maps(x)[:, :, None]).sum(dim=3).flatten(1)

    def bottleneck(self, u):
        return self.expand(self.norm(self.reduce(u)).relu())

    def forward(self, x):
        return x + self.bottleneck(self.pool(x))[:, :, None, None]


@wrong("task_10_3")
class GroupedContext__random_start(_Grouped):
    """The last layer starts at random, so a fresh block is not the identity."""

    def start(self):
        pass


@wrong("task_10_3")
class GroupedContext__only_the_weight_is_zero(_Grouped):
    """The bias of the last layer starts at random: it is added, too."""

    def start(self):
        nn.init.zeros_(self.expand.weight)


@wrong("task_10_3")
class GroupedContext__first_layer_zero(_Grouped):
    """W_1 starts at zero as well; only the last layer may."""

    def start(self):
        super().start()
        nn.init.zeros_(self.reduce.weight)


@wrong("task_10_3")
class GroupedContext__softmax_over_the_groups(_Grouped):
    """The weights sum to 1 over the groups; each map must sum to 1 over the positions."""

    def maps(self, x):
        return self.key(x).flatten(2).softmax(dim=1)


@wrong("task_10_3")
class GroupedContext__softmax_in_each_row(_Grouped):
    """The weights sum to 1 in each row; each map must sum to 1 over all positions."""

    def maps(self, x):
        return self.key(x).softmax(dim=3).flatten(2)


@wrong("task_10_3")
class GroupedContext__mean_of_the_weighted(_Grouped):
    """The weighted positions are averaged; they must be added, for the weights sum to 1 already."""

    def pool(self, x):
        return super().pool(x) / (x.shape[2] * x.shape[3])


@wrong("task_10_3")
class GroupedContext__alternating_groups(_Grouped):
    """Channels 0, k, 2k … form a group; a group is neighbours."""

    def pool(self, x):
        parts = x.flatten(2).unflatten(1, (-1, self.groups))
        return (parts * self.maps(x)[:, None]).sum(dim=3).flatten(1)


@wrong("task_10_3")
class GroupedContext__one_map(_Grouped):
    """All groups read with the first map; each has its own."""

    def maps(self, x):
        first = super().maps(x)[:, :1]
        return first.expand(-1, self.groups, -1)


@wrong("task_10_3")
class GroupedContext__plain_average(_Grouped):
    """Every position counts alike; the map must weigh them."""

    def pool(self, x):
        return x.mean(dim=(2, 3))


@wrong("task_10_3")
class GroupedContext__norm_after_relu(_Grouped):
    """ReLU stands before LN; the norm comes first."""

    def bottleneck(self, u):
        return self.expand(self.norm(self.reduce(u).relu()))


@wrong("task_10_3")
class GroupedContext__without_norm(_Grouped):
    """The norm between W_1 and the ReLU is missing."""

    def bottleneck(self, u):
        return self.expand(self.reduce(u).relu())


@wrong("task_10_3")
class GroupedContext__gate(_Grouped):
    """The summary gates x, as in SE; it must be added."""

    def forward(self, x):
        return x * (1 + self.bottleneck(self.pool(x))[:, :, None, None])


# --- task 4: repair a block that pools everything alike ---


def context_by_loops(x, w_k, w_1, w_2):
    """Position by position, for one image: c h w -> c h w."""
    pixels = x.flatten(1).mT
    scores = [math.exp((w_k[0] @ p).item()) for p in pixels]
    context = sum(s / sum(scores) * p for s, p in zip(scores, pixels, strict=True))
    hidden = torch.stack([row @ context for row in w_1])
    hidden = ((hidden - hidden.mean()) / (hidden.var(correction=0) + 1e-5).sqrt()).clamp(min=0)
    return x + torch.stack([row @ hidden for row in w_2])[:, None, None]


@task(
    "task_10_4", without=("course_lib",), hint="Each image for itself, and a map that sums to 1 over its positions."
)
def test_the_repaired_block_equals_the_loops(student, draw):
    b, c, d = draw.primes(3, high=11)
    x, w_k = draw.normal(b, c, 4, 6), 0.5 * draw.normal(1, c)
    w_1, w_2 = draw.normal(d, c), draw.normal(c, d)
    expected = torch.stack([context_by_loops(image, w_k, w_1, w_2) for image in x])
    assert_same(student.global_context(x, w_k, w_1, w_2), expected)


def _context(x, w_k, w_1, w_2, *, axis=2, norm=None, pool=None, relu_first=False):
    """The right answer with the parts that a wrong answer exchanges."""
    flat = x.flatten(2)
    weights = (w_k @ flat).softmax(dim=axis)
    hidden = ((flat * weights).sum(dim=2) if pool is None else pool(flat, weights)) @ w_1.mT
    hidden = hidden.relu() if relu_first else hidden
    hidden = F.layer_norm(hidden, hidden.shape[1:]) if norm is None else norm(hidden)
    return x + (hidden.relu() @ w_2.mT)[:, :, None, None]


@wrong("task_10_4")
def global_context__not_repaired(x, w_k, w_1, w_2):
    """Nothing was repaired."""
    return _context(x, w_k, w_1, w_2, axis=1, norm=lambda h: F.layer_norm(h, h.shape))


@wrong("task_10_4")
def global_context__softmax_over_one(x, w_k, w_1, w_2):
    """The softmax runs over an axis of length 1, so every weight is 1; it must run over the positions."""
    return _context(x, w_k, w_1, w_2, axis=1)


@wrong("task_10_4")
def global_context__norm_over_the_batch(x, w_k, w_1, w_2):
    """The norm still takes its mean over the batch as well; each image is for itself."""
    return _context(x, w_k, w_1, w_2, norm=lambda h: F.layer_norm(h, h.shape))


@wrong("task_10_4")
def global_context__softmax_over_the_batch(x, w_k, w_1, w_2):
    """The softmax runs over the images of the batch."""
    return _context(x, w_k, w_1, w_2, axis=0)


@wrong("task_10_4")
def global_context__batch_norm(x, w_k, w_1, w_2):
    """Mean and deviation are taken over the batch; they belong to the hidden units of one image."""
    return _context(x, w_k, w_1, w_2, norm=lambda h: F.layer_norm(h.mT, h.shape[:1]).mT)


@wrong("task_10_4")
def global_context__average(x, w_k, w_1, w_2):
    """Every pixel counts alike: the ones were divided by n, and W_k has no say."""
    return _context(x, w_k, w_1, w_2, pool=lambda flat, weights: flat.mean(dim=2))


@wrong("task_10_4")
def global_context__gate(x, w_k, w_1, w_2):
    """The summary gates x; it must be added."""
    return x * (_context(x, w_k, w_1, w_2) - x).sigmoid()


@wrong("task_10_4")
def global_context__norm_after_relu(x, w_k, w_1, w_2):
    """ReLU moved before the norm."""
    return _context(x, w_k, w_1, w_2, relu_first=True)


# --- task 5: what does each step save? ---


def counted(c, n, r):
    """The four counts, layer by layer."""
    pixel_wise = sum(n * inside * outside for inside, outside in [(c, c // 2)] * 3 + [(c // 2, c)])
    pairs = sum(c // 2 for _ in range(n) for _ in range(n)) * 2
    scores = mixture = n * c
    after = scores + mixture + c * c
    return [pixel_wise + pairs, scores + mixture + n * c * c, after, scores + mixture + (c // r) * c + c * (c // r)]


@task("task_10_5", without=("course_lib",), hint="Four numbers for other c, n and r.")
def test_the_multiplications(student, draw):
    half, n, r = draw.primes(3)
    c = 2 * half * r
    found = list(student.multiplications(c, n, r))
    assert [number(one) for one in found] == counted(c, n, r)


def _count(c, n, r, *, d=None, products=2, pooling=2, matrices=2):
    """The right answer with the parts that a wrong answer exchanges."""
    d = c // 2 if d is None else d
    pool = pooling * n * c
    return 4 * n * c * d + products * n * n * d, pool + n * c * c, pool + c * c, pool + matrices * c * (c // r)


@wrong("task_10_5")
def multiplications__inside_is_full(channels, positions, reduction):
    """The non-local block was counted with d = c; it works with c / 2 inside."""
    return _count(channels, positions, reduction, d=channels)


@wrong("task_10_5")
def multiplications__one_product(channels, positions, reduction):
    """Only one product of pairs was counted: the scores and the mixture are two."""
    return _count(channels, positions, reduction, products=1)


@wrong("task_10_5")
def multiplications__no_mixture(channels, positions, reduction):
    """The mixture was forgotten: every number of x is multiplied by its weight."""
    return _count(channels, positions, reduction, pooling=1)


@wrong("task_10_5")
def multiplications__one_matrix(channels, positions, reduction):
    """A bottleneck has two matrices, down and up."""
    return _count(channels, positions, reduction, matrices=1)


@wrong("task_10_5")
def multiplications__matrix_at_every_pixel(channels, positions, reduction):
    """After the sum W_v is applied once, not at every position."""
    non_local, inside, _, gc = _count(channels, positions, reduction)
    return non_local, inside, inside, gc


@wrong("task_10_5")
def multiplications__bottleneck_of_r(channels, positions, reduction):
    """The bottleneck has c / r hidden units, not r."""
    c, pool = channels, 2 * positions * channels
    return *_count(channels, positions, reduction)[:3], pool + 2 * c * reduction
