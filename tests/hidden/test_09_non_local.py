"""Grades exercise 09 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same, number

# --- task 1: colour by looking up ---


def patch(picture, y, x, size):
    """The numbers around (y, x), the edge repeated, one by one: h w -> d."""
    h, w = picture.shape
    reach = range(-(size // 2), size // 2 + 1)
    return torch.stack([picture[min(max(y + a, 0), h - 1), min(max(x + b, 0), w - 1)] for a in reach for b in reach])


def colours_by_loops(grey, example, size, bandwidth):
    """Every pixel of the grey picture asks every pixel of the example."""
    (h, w), (p, q), brightness = grey.shape[1:], example.shape[1:], example.mean(dim=0)
    keys = {(b, a): patch(brightness, b, a, size) for b in range(p) for a in range(q)}
    result = torch.zeros(len(example), h, w, dtype=grey.dtype)
    for y, x in ((y, x) for y in range(h) for x in range(w)):
        query = patch(grey[0], y, x, size)
        likeness = {
            place: math.exp(-((query - key) ** 2).mean().item() / bandwidth**2) for place, key in keys.items()
        }
        for (b, a), weight in likeness.items():
            result[:, y, x] += weight / sum(likeness.values()) * example[:, b, a]
    return result


def pictures(draw):
    """A grey picture, a coloured example of another size, and h."""
    h, w = draw.primes(2, high=7)
    return draw.uniform(1, h, w), draw.uniform(2, h + 1, w - 1), draw.number(0.2, 0.6)


@task(
    "task_09_1",
    without=("course_lib",),
    hint="Compare with loops: grey patches ask the example's brightness and read its colours; h squared.",
)
def test_colours_equal_the_loops(student, draw):
    grey, example, bandwidth = pictures(draw)
    expected = colours_by_loops(grey, example, 3, bandwidth)
    assert_same(student.colour_by_look_up(grey, example, 3, bandwidth), expected)


@task("task_09_1", hint="Another patch size, and one pixel as a patch.")
def test_colours_with_other_patches(student, draw):
    grey, example, bandwidth = pictures(draw)
    for size in (1, 5):
        expected = colours_by_loops(grey, example, size, bandwidth)
        assert_same(student.colour_by_look_up(grey, example, size, bandwidth), expected)


def _colours(grey, example, size, bandwidth, *, mode="replicate", axis=-1, compare=None, bright=None, values=None):
    """The right answer with the parts that a wrong answer exchanges."""

    def patches(picture):
        return F.unfold(F.pad(picture[None], (size // 2,) * 4, mode=mode), size)[0].mT

    brightness = example.mean(dim=0, keepdim=True) if bright is None else bright
    difference = patches(grey)[:, None] - patches(brightness)[None]
    distance = difference.square().mean(-1) if compare is None else compare(difference)
    weights = (-distance / bandwidth**2).softmax(dim=axis)
    values = example if values is None else values
    return (weights @ values.flatten(1).mT).mT.unflatten(1, grey.shape[1:])


@wrong("task_09_1")
def colour_by_look_up__as_in_the_lesson(grey, example, patch_size, bandwidth):
    """The grey picture looked itself up, as in the lesson; it asks the example, and reads the example's colours."""
    return _colours(grey, grey, patch_size, bandwidth).expand(len(example), -1, -1)


@wrong("task_09_1")
def colour_by_look_up__reads_brightness(grey, example, patch_size, bandwidth):
    """The keys, the example's brightness, were read; the values are its colours."""
    bright = example.mean(dim=0, keepdim=True)
    return _colours(grey, example, patch_size, bandwidth, values=bright).expand(len(example), -1, -1)


@wrong("task_09_1")
def colour_by_look_up__compares_with_the_first_channel(grey, example, patch_size, bandwidth):
    """The grey patches were compared with the first channel; the example's brightness is the mean of its channels."""
    return _colours(grey, example, patch_size, bandwidth, bright=example[:1])


@wrong("task_09_1")
def colour_by_look_up__over_the_queries(grey, example, patch_size, bandwidth):
    """The weights sum to 1 over the asking pixels; each pixel's weights must sum to 1 over those that it reads."""
    return _colours(grey, example, patch_size, bandwidth, axis=0)


@wrong("task_09_1")
def colour_by_look_up__sum_instead_of_mean(grey, example, patch_size, bandwidth):
    """The squared differences are summed; the mean keeps h comparable between patch sizes."""
    return _colours(grey, example, patch_size, bandwidth, compare=lambda difference: difference.square().sum(-1))


@wrong("task_09_1")
def colour_by_look_up__bandwidth_not_squared(grey, example, patch_size, bandwidth):
    """The distance is divided by h; it is h squared."""
    return _colours(grey, example, patch_size, bandwidth**0.5)


@wrong("task_09_1")
def colour_by_look_up__twice_h_squared(grey, example, patch_size, bandwidth):
    """The distance is divided by 2h², as in a Gaussian of width h; here it is h² alone."""
    return _colours(grey, example, patch_size, bandwidth * 2**0.5)


@wrong("task_09_1")
def colour_by_look_up__absolute_difference(grey, example, patch_size, bandwidth):
    """The differences are not squared."""
    return _colours(grey, example, patch_size, bandwidth, compare=lambda difference: difference.abs().mean(-1))


@wrong("task_09_1")
def colour_by_look_up__far_is_good(grey, example, patch_size, bandwidth):
    """The minus is missing: patches that differ most get the most weight."""
    return _colours(grey, example, patch_size, bandwidth, compare=lambda difference: -difference.square().mean(-1))


@wrong("task_09_1")
def colour_by_look_up__zeros_beyond_the_border(grey, example, patch_size, bandwidth):
    """Beyond the border stand zeros, so patches at the edge look alike because of them; repeat the edge pixel."""
    return _colours(grey, example, patch_size, bandwidth, mode="constant")


@wrong("task_09_1")
def colour_by_look_up__compares_single_pixels(grey, example, patch_size, bandwidth):
    """Single pixels are compared; the patches around them tell noise from content."""
    return _colours(grey, example, 1, bandwidth)


@wrong("task_09_1")
def colour_by_look_up__scrambled_channels(grey, example, patch_size, bandwidth):
    """What is read is n c and was reshaped to c h w; it must be transposed first."""
    coloured = _colours(grey, example, patch_size, bandwidth)
    return coloured.flatten(1).mT.reshape(coloured.shape)


# --- task 2: the block ---

PAIRINGS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def random_block(student, draw, pairing):
    """Your block with random numbers everywhere, in eval mode, and its state."""
    inner, h, w = draw.primes(3, high=7)
    channels = 2 * inner  # with 3 channels d would be 1, and √d go unseen
    block = student.NonLocal(channels, pairing).double().eval()
    state = {name: draw.normal(*t.shape) if t.is_floating_point() else t for name, t in block.state_dict().items()}
    state["norm.running_var"] = draw.uniform(channels) + 0.5
    block.load_state_dict(state)
    return block, state, draw.normal(3, channels, h, w) / 2


def project(state, name, pixels):
    """A 1 × 1 convolution: c n -> d n."""
    return state[f"{name}.weight"][:, :, 0, 0] @ pixels + state[f"{name}.bias"][:, None]


def block_by_loops(state, pairing, image):
    """What one image becomes, query by query: c h w -> c h w."""
    x = image.flatten(1)
    theta, phi, g = (project(state, name, x) for name in ("query", "key", "value"))
    if pairing == "gaussian":
        theta = phi = x
    y = torch.empty_like(g)
    for i in range(x.shape[1]):
        score = torch.stack([theta[:, i] @ phi[:, j] for j in range(x.shape[1])])
        if pairing == "concatenation":
            pairs = [torch.cat([theta[:, i], phi[:, j]]) for j in range(x.shape[1])]
            score = torch.stack([(state["pair.weight"][0] @ pair).clamp_min(0) for pair in pairs])
        weights = score.softmax(dim=0) if "gaussian" in pairing else score / x.shape[1]
        y[:, i] = g @ weights
    out = (project(state, "output", y) - state["norm.running_mean"][:, None]) * state["norm.weight"][:, None]
    out = out / (state["norm.running_var"][:, None] + 1e-5).sqrt() + state["norm.bias"][:, None]
    return (x + out).view_as(image)


def check_pairing(student, draw, pairing):
    block, state, x = random_block(student, draw, pairing)
    assert_same(block(x), torch.stack([block_by_loops(state, pairing, image) for image in x]))


@task(
    "task_09_2",
    without=("course_lib",),
    hint="pairing='gaussian': a softmax over the keys of x_iᵀ x_j, without θ and φ.",
)
def test_gaussian_equals_the_loops(student, draw):
    check_pairing(student, draw, "gaussian")


@task("task_09_2", hint="pairing='embedded_gaussian': a softmax over the keys of θ_iᵀ φ_j, without √d.")
def test_embedded_gaussian_equals_the_loops(student, draw):
    check_pairing(student, draw, "embedded_gaussian")


@task("task_09_2", hint="pairing='dot_product': θ_iᵀ φ_j divided by the number of positions.")
def test_dot_product_equals_the_loops(student, draw):
    check_pairing(student, draw, "dot_product")


@task(
    "task_09_2", hint="pairing='concatenation': ReLU of w_fᵀ [θ_i, φ_j], θ first, divided by the number of positions."
)
def test_concatenation_equals_the_loops(student, draw):
    check_pairing(student, draw, "concatenation")


@task("task_09_2", hint="A fresh block must return x itself, whatever the pairing.")
def test_a_fresh_block_is_the_identity(student, draw):
    channels, h, w = draw.primes(3, high=11)
    x = draw.normal(3, channels, h, w)
    for pairing in PAIRINGS:
        assert_same(student.NonLocal(channels, pairing).double()(x), x)


@task("task_09_2", hint="γ is the only zero: with a W_z of zeros as well, no gradient would ever pass.")
def test_only_the_norm_starts_at_zero(student, draw):
    channels, *_ = draw.primes(3, high=11)
    for pairing in PAIRINGS:
        block = student.NonLocal(channels, pairing)
        assert not block.norm.weight.any() and block.output.weight.any()


class _NonLocal(nn.Module):
    """The right answer in small steps, each of which a wrong answer changes."""

    def __init__(self, channels, pairing):
        super().__init__()
        inner = channels // 2
        self.pairing = pairing
        self.query, self.key = nn.Conv2d(channels, inner, 1), nn.Conv2d(channels, inner, 1)
        self.value, self.output = nn.Conv2d(channels, inner, 1), nn.Conv2d(inner, channels, 1)
        self.pair = nn.Linear(2 * inner, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.start()

    def start(self):
        nn.init.zeros_(self.norm.weight)

    def embed(self, x):
        if self.pairing == "gaussian":
            return x.flatten(2), x.flatten(2)
        return self.query(x).flatten(2), self.key(x).flatten(2)

    def concatenate(self, query, key):
        of_query, of_key = self.pair.weight.chunk(2, dim=1)
        return ((of_query @ query).mT + of_key @ key).relu()

    def score(self, query, key):
        return self.concatenate(query, key) if self.pairing == "concatenation" else query.mT @ key

    def normalise(self, scores):
        return scores.softmax(dim=-1) if "gaussian" in self.pairing else scores / scores.shape[-1]

    def reshape(self, y, x):
        return y.mT.unflatten(2, x.shape[2:])

    def join(self, x, z):
        return x + z

    def forward(self, x):
        weights = self.normalise(self.score(*self.embed(x)))
        y = weights @ self.value(x).flatten(2).mT  # b n d
        return self.join(x, self.norm(self.output(self.reshape(y, x))))


@wrong("task_09_2")
class NonLocal__softmax_over_the_queries(_NonLocal):
    """The softmax runs over the queries; each query's weights must sum to 1 over the keys, the last axis."""

    def normalise(self, scores):
        return scores.softmax(dim=1) if "gaussian" in self.pairing else scores / scores.shape[-1]


@wrong("task_09_2")
class NonLocal__not_transposed_back(_NonLocal):
    """y is b n d and was viewed as b d h w: channels and positions are scrambled; transpose first."""

    def reshape(self, y, x):
        return y.reshape(len(x), -1, *x.shape[2:])


@wrong("task_09_2")
class NonLocal__without_the_residual(_NonLocal):
    """The input is not added, so a fresh block returns zeros instead of x."""

    def join(self, x, z):
        return z


@wrong("task_09_2")
class NonLocal__disturbs_at_the_start(_NonLocal):
    """The norm's weight starts at one, so a fresh block disturbs the network that it is put into."""

    def start(self):
        pass


@wrong("task_09_2")
class NonLocal__two_zeros(_NonLocal):
    """γ and W_z both start at zero: each blocks the other's gradient, and the block never wakes. Only γ is zero."""

    def start(self):
        nn.init.zeros_(self.norm.weight), nn.init.zeros_(self.output.weight)


@wrong("task_09_2")
class NonLocal__zero_in_the_projection(_NonLocal):
    """W_z starts at zero, and the norm's γ at one. Let γ be the zero, and leave W_z its random start."""

    def start(self):
        nn.init.zeros_(self.output.weight), nn.init.zeros_(self.output.bias)


@wrong("task_09_2")
class NonLocal__not_divided(_NonLocal):
    """Dot product and concatenation are not divided by N, the number of positions."""

    def normalise(self, scores):
        return scores.softmax(dim=-1) if "gaussian" in self.pairing else scores


@wrong("task_09_2")
class NonLocal__scaled(_NonLocal):
    """The scores are divided by √d; the paper's block does not do that."""

    def score(self, query, key):
        scores = super().score(query, key)
        return scores / math.sqrt(key.shape[1]) if "gaussian" in self.pairing else scores


@wrong("task_09_2")
class NonLocal__softmax_for_all(_NonLocal):
    """Dot product and concatenation are divided by N; here they pass a softmax."""

    def normalise(self, scores):
        return scores.softmax(dim=-1)


@wrong("task_09_2")
class NonLocal__divided_by_channels(_NonLocal):
    """The dot product is divided by the number of channels; it is the number of keys."""

    def normalise(self, scores):
        return scores.softmax(dim=-1) if "gaussian" in self.pairing else scores / self.value.out_channels


@wrong("task_09_2")
class NonLocal__divided_by_the_sum(_NonLocal):
    """Dot product and concatenation are divided by their sum, which may be zero; the paper divides by N."""

    def normalise(self, scores):
        return scores.softmax(dim=-1) if "gaussian" in self.pairing else scores / scores.sum(dim=-1, keepdim=True)


@wrong("task_09_2")
class NonLocal__gaussian_embedded(_NonLocal):
    """The plain Gaussian compares x with x; here it uses θ and φ."""

    def embed(self, x):
        return self.query(x).flatten(2), self.key(x).flatten(2)


@wrong("task_09_2")
class NonLocal__halves_exchanged(_NonLocal):
    """The first half of w_f belongs to θ and the second to φ; they are exchanged."""

    def concatenate(self, query, key):
        of_key, of_query = self.pair.weight.chunk(2, dim=1)
        return ((of_query @ query).mT + of_key @ key).relu()


@wrong("task_09_2")
class NonLocal__without_relu(_NonLocal):
    """The ReLU of the concatenation is missing: a score is then a number of i plus a number of j."""

    def concatenate(self, query, key):
        of_query, of_key = self.pair.weight.chunk(2, dim=1)
        return (of_query @ query).mT + of_key @ key


# --- task 3: fewer keys, and no map ---


def reading(draw, subsample):
    """Random features and projections, and the pooled pixels, window by window."""
    c, h, w, d, e = draw.primes(5, high=13)
    x = draw.normal(3, c, h, w)
    windows = [
        x[:, :, y : y + subsample, a : a + subsample].flatten(2).max(dim=2).values
        for y in range(0, h - subsample + 1, subsample)
        for a in range(0, w - subsample + 1, subsample)
    ]
    projections = draw.normal(d, c) / 2, draw.normal(d, c) / 2, draw.normal(e, c)
    return x, projections, torch.stack(windows, dim=2)  # b c m


def read_by_loops(x, projections, keys):
    theta, phi, g = projections
    result = torch.empty(len(x), len(g), *x.shape[2:], dtype=x.dtype)
    for b in range(len(x)):
        for y in range(x.shape[2]):
            for a in range(x.shape[3]):
                scores = (theta @ x[b, :, y, a]) @ (phi @ keys[b])
                result[b, :, y, a] = (g @ keys[b]) @ scores.softmax(dim=0)
    return result


@task(
    "task_09_3",
    without=("course_lib",),
    hint="With windows of 2 × 2 and 3 × 3: pool x, project, ask; incomplete windows are left out.",
)
def test_fewer_keys_equal_the_loops(student, draw):
    for subsample in (2, 3):
        x, projections, keys = reading(draw, subsample)
        assert_same(student.read_fewer_keys(x, *projections, subsample), read_by_loops(x, projections, keys))


@task("task_09_3", hint="With subsample=1 every pixel answers: the plain embedded Gaussian, no √d.")
def test_all_keys_equal_the_loops(student, draw):
    x, projections, keys = reading(draw, 1)
    assert_same(student.read_fewer_keys(x, *projections, 1), read_by_loops(x, projections, keys))


def _read(x, w_query, w_key, w_value, pooled, *, scale=1.0):
    y = F.scaled_dot_product_attention(
        (w_query @ x.flatten(2)).mT, (w_key @ pooled).mT, (w_value @ pooled).mT, scale=scale
    )
    return y.mT.unflatten(2, x.shape[2:])


@wrong("task_09_3")
def read_fewer_keys__scaled(x, query_weight, key_weight, value_weight, subsample):
    """The kernel divides by √d by itself; the scores are to stay as they are: scale=1.0."""
    return _read(x, query_weight, key_weight, value_weight, F.max_pool2d(x, subsample).flatten(2), scale=None)


@wrong("task_09_3")
def read_fewer_keys__average(x, query_weight, key_weight, value_weight, subsample):
    """The windows are averaged; take their maximum."""
    return _read(x, query_weight, key_weight, value_weight, F.avg_pool2d(x, subsample).flatten(2))


@wrong("task_09_3")
def read_fewer_keys__every_second_pixel(x, query_weight, key_weight, value_weight, subsample):
    """One pixel of each window was taken; take the maximum over the window."""
    h, w = (size // subsample * subsample for size in x.shape[2:])
    return _read(x, query_weight, key_weight, value_weight, x[:, :, :h:subsample, :w:subsample].flatten(2))


@wrong("task_09_3")
def read_fewer_keys__pooled_after_the_projections(x, query_weight, key_weight, value_weight, subsample):
    """Pool x and then project; the largest projection is not the projection of the largest."""
    key, value = (F.max_pool2d(torch.einsum("dc,bchw->bdhw", w, x), subsample) for w in (key_weight, value_weight))
    query = (query_weight @ x.flatten(2)).mT
    y = F.scaled_dot_product_attention(query, key.flatten(2).mT, value.flatten(2).mT, scale=1.0)
    return y.mT.unflatten(2, x.shape[2:])


@wrong("task_09_3")
def read_fewer_keys__queries_pooled_too(x, query_weight, key_weight, value_weight, subsample):
    """The queries were pooled as well, so the result is smaller than x; every position asks."""
    pooled = F.max_pool2d(x, subsample)
    return _read(pooled, query_weight, key_weight, value_weight, pooled.flatten(2))


@wrong("task_09_3")
def read_fewer_keys__not_transposed_back(x, query_weight, key_weight, value_weight, subsample):
    """The kernel returns b n e; it was reshaped to b e h w without swapping positions and channels."""
    y = _read(x, query_weight, key_weight, value_weight, F.max_pool2d(x, subsample).flatten(2))
    return y.flatten(2).mT.reshape(y.shape)


@wrong("task_09_3")
def read_fewer_keys__keys_from_the_wrong_weight(x, query_weight, key_weight, value_weight, subsample):
    """Queries and keys are exchanged: θ belongs to the position that asks, φ to those that answer."""
    return _read(x, key_weight, query_weight, value_weight, F.max_pool2d(x, subsample).flatten(2))


@wrong("task_09_3")
def read_fewer_keys__incomplete_windows_kept(x, query_weight, key_weight, value_weight, subsample):
    """A window that does not fit at the border is left out; here it gives a key of its own."""
    pooled = F.max_pool2d(x, subsample, ceil_mode=True).flatten(2)
    return _read(x, query_weight, key_weight, value_weight, pooled)


# --- task 4: repair a block ---


def channels_by_loops(x):
    """Channel by channel: its scores with all channels, a softmax over these, then mix and add."""
    z = torch.empty_like(x)
    for image, out in zip(x, z, strict=True):
        for c, query in enumerate(image):
            scores = torch.stack([(query * key).mean() for key in image])
            out[c] = query + sum(weight * value for weight, value in zip(scores.softmax(dim=0), image, strict=True))
    return z


@task(
    "task_09_4",
    without=("course_lib",),
    hint="Channel by channel: its scores with all channels, a softmax over these, then mix and add.",
)
def test_repaired_block_equals_the_loops(student, draw):
    b, c, h, w = draw.primes(4, high=11)
    x = draw.normal(b, c, h, w)
    assert_same(student.channels_ask(x), channels_by_loops(x))


@task("task_09_4", hint="Shuffle the pixels, or the channels: the output must be shuffled alike.")
def test_repaired_block_knows_no_order(student, draw):
    b, c, h, w = draw.primes(4, high=11)
    x, order, channels = draw.normal(b, c, h, w), draw.uniform(h * w).argsort(), draw.uniform(c).argsort()
    whole = student.channels_ask(x)
    shuffled = student.channels_ask(x.flatten(2)[:, :, order].view_as(x))
    assert_same(shuffled.flatten(2), whole.flatten(2)[:, :, order])
    assert_same(student.channels_ask(x[:, channels]), whole[:, channels])


def _repair(x, *, axis=-1, reshape=False, residual=True, scale=1.0):
    flat = x.reshape(len(x), -1, x.shape[1]).mT if reshape else x.flatten(2)  # b c n
    weights = (scale * flat @ flat.mT / flat.shape[2]).softmax(dim=axis)
    y = weights @ flat
    return residual * x + (y.mT if reshape else y).reshape(x.shape)


@wrong("task_09_4")
def channels_ask__as_it_was(x):
    """This is still the code of the task: softmax over those that ask, and pixels read as if they were channels."""
    return _repair(x, axis=1, reshape=True)


@wrong("task_09_4")
def channels_ask__only_the_axes(x):
    """Channels are channels now, but the softmax still runs over those that ask."""
    return _repair(x, axis=1)


@wrong("task_09_4")
def channels_ask__only_the_softmax(x):
    """The softmax is right, but b c h w is reshaped to b n c: channels and positions are scrambled."""
    return _repair(x, reshape=True)


@wrong("task_09_4")
def channels_ask__softmax_over_the_batch(x):
    """The softmax runs over the images of the batch, so that one image changes another."""
    return _repair(x, axis=0)


@wrong("task_09_4")
def channels_ask__without_the_residual(x):
    """The input is no longer added."""
    return _repair(x, residual=False)


@wrong("task_09_4")
def channels_ask__not_divided(x):
    """The scores are not divided by N, so the weights get sharper the larger the picture is."""
    return _repair(x, scale=x[0, 0].numel())


@wrong("task_09_4")
def channels_ask__divided_by_the_root(x):
    """The scores are divided by √N; the formula has N."""
    return _repair(x, scale=x[0, 0].numel() ** 0.5)


@wrong("task_09_4")
def channels_ask__positions_ask(x):
    """This is the lesson's look-up, in which positions ask; here channels ask channels."""
    flat = x.flatten(2)
    weights = (flat.mT @ flat / flat.shape[2]).softmax(dim=-1)
    return x + (flat @ weights.mT).view_as(x)


# --- task 5: what does it cost ---


@task(
    "task_09_5",
    without=("course_lib",),
    hint="Add the convolutions one by one: θ and W_z at N positions, φ and g at M; then two products.",
)
def test_multiplications_equal_the_sum(student, draw):
    for subsample in (1, 2, 3):
        half, h, w = draw.primes(3)
        asked, answering = h * w, len(range(subsample, h + 1, subsample)) * len(range(subsample, w + 1, subsample))
        convolutions = [asked, asked, answering, answering]
        expected = [sum(2 * half * half * positions for positions in convolutions), 2 * asked * answering * half]
        counted = student.multiplications(2 * half, h, w, subsample)
        assert [number(one) for one in counted] == expected


def _count(c, n, m, *, d=None, pooled=None, products=2):
    d = c // 2 if d is None else d
    return 2 * c * d * (n + (m if pooled is None else pooled)), products * n * m * d


@wrong("task_09_5")
def multiplications__phi_and_g_everywhere(channels, height, width, subsample):
    """φ and g work only at the pooled positions; here they are counted at all."""
    n, m = height * width, (height // subsample) * (width // subsample)
    return _count(channels, n, m, pooled=n)


@wrong("task_09_5")
def multiplications__theta_pooled_too(channels, height, width, subsample):
    """θ and W_z work at all positions; only the keys are fewer."""
    m = (height // subsample) * (width // subsample)
    return _count(channels, m, m)


@wrong("task_09_5")
def multiplications__one_product(channels, height, width, subsample):
    """There are two products with N · M pairs: the scores, and the mixing."""
    return _count(channels, height * width, (height // subsample) * (width // subsample), products=1)


@wrong("task_09_5")
def multiplications__not_halved(channels, height, width, subsample):
    """Inside the block there are c / 2 channels; here there are c."""
    return _count(channels, height * width, (height // subsample) * (width // subsample), d=channels)


@wrong("task_09_5")
def multiplications__pairs_without_pooling(channels, height, width, subsample):
    """With pooling there are N · M pairs, not N · N."""
    n, m = height * width, (height // subsample) * (width // subsample)
    return _count(channels, n, m)[0], 2 * n * n * (channels // 2)


@wrong("task_09_5")
def multiplications__pooled_to_n_over_s(channels, height, width, subsample):
    """A window of s × s leaves a quarter of the keys for s = 2, not half."""
    return _count(channels, height * width, height * width // subsample)


@wrong("task_09_5")
def multiplications__windows_by_area(channels, height, width, subsample):
    """Windows that do not fit leave nothing: ⌊h/s⌋ · ⌊w/s⌋ keys, not ⌊h · w / s²⌋."""
    return _count(channels, height * width, height * width // subsample**2)
