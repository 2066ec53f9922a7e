"""Grades exercise 09 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_same

# --- task 1: non-local means ---


def patch(image, y, x, size):
    """The numbers around (y, x), the edge repeated, one by one."""
    _, h, w = image.shape
    reach = range(-(size // 2), size // 2 + 1)
    return torch.stack([image[:, min(max(y + a, 0), h - 1), min(max(x + b, 0), w - 1)] for a in reach for b in reach])


def means_by_loops(image, size, bandwidth):
    _, h, w = image.shape
    places = [(y, x) for y in range(h) for x in range(w)]
    patches = [patch(image, y, x, size) for y, x in places]
    result = torch.zeros_like(image)
    for (y, x), query in zip(places, patches, strict=True):
        likeness = [math.exp(-((query - key) ** 2).mean().item() / bandwidth**2) for key in patches]
        for weight, (b, a) in zip(likeness, places, strict=True):
            result[:, y, x] += weight / sum(likeness) * image[:, b, a]
    return result


@task(
    "task_09_1", hint="Compare with a loop over all pairs of pixels: mean squared difference of patches, h squared."
)
def test_means_equal_the_loops(student, draw):
    c, h, w = draw.primes(3, high=7)
    image, bandwidth = draw.uniform(c, h, w), draw.number(0.2, 0.6)
    assert_same(student.non_local_means(image, 3, bandwidth), means_by_loops(image, 3, bandwidth))


@task("task_09_1", hint="Another patch size, and one pixel as a patch.")
def test_means_with_other_patches(student, draw):
    c, h, w = draw.primes(3, high=7)
    image, bandwidth = draw.uniform(c, h, w), draw.number(0.2, 0.6)
    for size in (1, 5):
        assert_same(student.non_local_means(image, size, bandwidth), means_by_loops(image, size, bandwidth))


def _means(image, size, bandwidth, *, mode="replicate", axis=-1, compare=None, add=0.0):
    padded = F.pad(image[None], (size // 2,) * 4, mode=mode)
    patches = F.unfold(padded, size)[0].mT
    difference = patches[:, None] - patches[None]
    distance = difference.square().mean(-1) if compare is None else compare(difference)
    weights = (add - distance / bandwidth**2).softmax(dim=axis)
    return (weights @ image.flatten(1).mT).mT.view_as(image)


@wrong("task_09_1")
def non_local_means__over_the_queries(image, patch_size, bandwidth):
    """The weights sum to 1 over the queries; each pixel's weights must sum to 1 over the pixels it reads."""
    return _means(image, patch_size, bandwidth, axis=0)


@wrong("task_09_1")
def non_local_means__sum_instead_of_mean(image, patch_size, bandwidth):
    """The squared differences are summed; the mean keeps h comparable between patch sizes."""
    return _means(image, patch_size, bandwidth, compare=lambda difference: difference.square().sum(-1))


@wrong("task_09_1")
def non_local_means__bandwidth_not_squared(image, patch_size, bandwidth):
    """The distance is divided by h; it is h squared."""
    return _means(image, patch_size, bandwidth**0.5)


@wrong("task_09_1")
def non_local_means__twice_h_squared(image, patch_size, bandwidth):
    """The distance is divided by 2h², as in a Gaussian of width h; here it is h² alone."""
    return _means(image, patch_size, bandwidth * 2**0.5)


@wrong("task_09_1")
def non_local_means__absolute_difference(image, patch_size, bandwidth):
    """The differences are not squared."""
    return _means(image, patch_size, bandwidth, compare=lambda difference: difference.abs().mean(-1))


@wrong("task_09_1")
def non_local_means__far_is_good(image, patch_size, bandwidth):
    """The minus is missing: patches that differ most get the most weight."""
    return _means(image, patch_size, bandwidth, compare=lambda difference: -difference.square().mean(-1))


@wrong("task_09_1")
def non_local_means__without_itself(image, patch_size, bandwidth):
    """A pixel may read itself too; here it is left out."""
    return _means(image, patch_size, bandwidth, add=-1e9 * torch.eye(image[0].numel(), dtype=image.dtype))


@wrong("task_09_1")
def non_local_means__zeros_beyond_the_border(image, patch_size, bandwidth):
    """Beyond the border stand zeros, so patches at the edge look alike because of them; repeat the edge pixel."""
    return _means(image, patch_size, bandwidth, mode="constant")


@wrong("task_09_1")
def non_local_means__compares_single_pixels(image, patch_size, bandwidth):
    """Single pixels are compared; the patches around them tell noise from content."""
    return _means(image, 1, bandwidth)


@wrong("task_09_1")
def non_local_means__scrambled_channels(image, patch_size, bandwidth):
    """The result is n c and was reshaped to c h w; it must be transposed first."""
    return _means(image, patch_size, bandwidth).flatten(1).mT.reshape(image.shape)


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


@task("task_09_2", hint="pairing='gaussian': a softmax over the keys of x_iᵀ x_j, without θ and φ.")
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


@task("task_09_3", hint="With windows of 2 × 2 and 3 × 3: pool x, project, ask; incomplete windows are left out.")
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


@task("task_09_4", hint="Pixel by pixel: its scores with all pixels, a softmax over these, then mix and add.")
def test_repaired_block_equals_the_loops(student, draw):
    c, d, h, w = draw.primes(4, high=11)
    x, theta, phi, g = draw.normal(3, c, h, w), draw.normal(d, c) / 2, draw.normal(d, c) / 2, draw.normal(c, c)
    expected = x + read_by_loops(x, (theta, phi, g), x.flatten(2))
    assert_same(student.non_local(x, theta, phi, g), expected)


@task("task_09_4", hint="Shuffle the pixels: the output must be shuffled alike.")
def test_repaired_block_knows_no_order(student, draw):
    c, d, h, w = draw.primes(4, high=11)
    x, theta, phi, g = draw.normal(3, c, h, w), draw.normal(d, c) / 2, draw.normal(d, c) / 2, draw.normal(c, c)
    order = draw.uniform(h * w).argsort()
    shuffled = student.non_local(x.flatten(2)[:, :, order].view_as(x), theta, phi, g)
    assert_same(shuffled.flatten(2), student.non_local(x, theta, phi, g).flatten(2)[:, :, order])


def _repair(x, theta, phi, g, *, axis=-1, transpose=True, residual=True, scale=1.0):
    flat = x.flatten(2)
    weights = (scale * (theta @ flat).mT @ (phi @ flat)).softmax(dim=axis)
    y = weights @ (g @ flat).mT  # b n c
    return residual * x + (y.mT.reshape(x.shape) if transpose else y.reshape(x.shape))


@wrong("task_09_4")
def non_local__as_it_was(x, theta, phi, g):
    """This is still the code that circulates: softmax over the queries, and y viewed without a transposition."""
    return _repair(x, theta, phi, g, axis=1, transpose=False)


@wrong("task_09_4")
def non_local__only_transposed(x, theta, phi, g):
    """The transposition is right, but the softmax still runs over the queries."""
    return _repair(x, theta, phi, g, axis=1)


@wrong("task_09_4")
def non_local__only_the_axis(x, theta, phi, g):
    """The softmax is right, but y is b n c and viewed as b c h w: channels and positions are scrambled."""
    return _repair(x, theta, phi, g, transpose=False)


@wrong("task_09_4")
def non_local__softmax_over_the_batch(x, theta, phi, g):
    """The softmax runs over the images of the batch, so that one image changes another."""
    return _repair(x, theta, phi, g, axis=0)


@wrong("task_09_4")
def non_local__without_the_residual(x, theta, phi, g):
    """The input is no longer added."""
    return _repair(x, theta, phi, g, residual=False)


@wrong("task_09_4")
def non_local__scaled(x, theta, phi, g):
    """A √d was added that the formula does not have."""
    return _repair(x, theta, phi, g, scale=len(theta) ** -0.5)


@wrong("task_09_4")
def non_local__map_transposed(x, theta, phi, g):
    """Keys ask and queries answer: θ and φ have changed places."""
    return _repair(x, phi, theta, g)


# --- task 5: what does it cost ---


@task("task_09_5", hint="Add the convolutions one by one: θ and W_z at N positions, φ and g at M; then two products.")
def test_multiplications_equal_the_sum(student, draw):
    for subsample in (1, 2, 3):
        half, h, w = draw.primes(3)
        asked, answering = h * w, len(range(subsample, h + 1, subsample)) * len(range(subsample, w + 1, subsample))
        convolutions = [asked, asked, answering, answering]
        expected = [sum(2 * half * half * positions for positions in convolutions), 2 * asked * answering * half]
        counted = student.multiplications(2 * half, h, w, subsample)
        assert [int(number) for number in counted] == expected


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
