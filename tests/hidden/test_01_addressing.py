"""Grades exercise 01 on sizes and values that the student has not seen, and names the mistakes people make."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from course_lib.grading import task, wrong
from tests.properties import assert_number, assert_same

# --- task 1: masked scaled dot-product attention ---


@task(
    "task_01_1",
    without=("scaled_dot_product_attention", "course_lib"),
    hint="Compare with a loop over queries and keys: each query shares 1 over its keys, scores over √d.",
)
def test_weights_equal_the_loop(student, draw):
    n, m, d = draw.primes(3)
    query, key = draw.normal(n, d), draw.normal(m, d)
    expected = torch.empty(n, m, dtype=torch.float64)
    for i in range(n):
        exponentials = [math.exp(query[i] @ key[j] / math.sqrt(d)) for j in range(m)]
        expected[i] = torch.tensor(exponentials, dtype=torch.float64) / sum(exponentials)
    assert_same(student.attention_weights(query, key), expected)


@task("task_01_1", hint="A hidden key has weight exactly 0, and the weights of the others still sum to 1.")
def test_masked_weights_equal_torch(student, draw):
    n, m, d = draw.primes(3)
    query, key, mask = draw.normal(n, d), draw.normal(m, d), draw.mask(n, m)
    identity = torch.eye(m, dtype=torch.float64)
    expected = F.scaled_dot_product_attention(query, key, identity, attn_mask=mask)
    assert_same(student.attention_weights(query, key, mask), expected)


@task("task_01_1", hint="The result mixes the values, one row for each query, with and without a mask.")
def test_reading_equals_torch(student, draw):
    n, m, d, v = draw.primes(4)
    query, key, value, mask = draw.normal(n, d), draw.normal(m, d), draw.normal(m, v), draw.mask(n, m)
    assert_same(student.attend(query, key, value), F.scaled_dot_product_attention(query, key, value))
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    assert_same(student.attend(query, key, value, mask), expected)


@wrong("task_01_1")
def attention_weights__over_the_queries(query, key, mask=None):
    """The weights sum to 1 over the queries; they must sum to 1 over the keys, the last axis."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(dim=-2)


@wrong("task_01_1")
def attention_weights__without_the_root(query, key, mask=None):
    """The scores are not divided by √d, so the weights become sharper the longer the vectors are."""
    scores = query @ key.mT
    return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(dim=-1)


@wrong("task_01_1")
def attention_weights__divided_by_d(query, key, mask=None):
    """The scores are divided by d; it is the square root of d."""
    scores = query @ key.mT / query.shape[-1]
    return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(dim=-1)


@wrong("task_01_1")
def attention_weights__root_of_the_number_of_keys(query, key, mask=None):
    """The root is taken of the number of keys; d is the length of one query."""
    scores = query @ key.mT / math.sqrt(key.shape[-2])
    return (scores if mask is None else scores.masked_fill(~mask, -1e9)).softmax(dim=-1)


@wrong("task_01_1")
def attention_weights__inverted_mask(query, key, mask=None):
    """The mask is read the wrong way round: True means may attend."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return (scores if mask is None else scores.masked_fill(mask, -1e9)).softmax(dim=-1)


@wrong("task_01_1")
def attention_weights__masked_after_the_softmax(query, key, mask=None):
    """The hidden keys took part in the softmax, so the weights that are left no longer sum to 1."""
    weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
    return weights if mask is None else weights * mask


@wrong("task_01_1")
def attend__ignores_the_mask(query, key, value, mask=None):
    """The weights know the mask, but the reading was made without it."""
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1) @ value


# --- task 2: three other scores ---


@task("task_01_2", without=("course_lib",), hint="Minus half of the sum of squared differences, for every pair.")
def test_gaussian_equals_the_loop(student, draw):
    n, m, d = draw.primes(3)
    query, key = draw.normal(n, d), draw.normal(m, d)
    expected = torch.stack([torch.stack([-((q - k) ** 2).sum() / 2 for k in key]) for q in query])
    assert_same(student.gaussian_score(query, key), expected)


@task("task_01_2", hint="qᵀ W k, where q and k may have different lengths, and nothing else.")
def test_bilinear_equals_the_loop(student, draw):
    n, m, a, b = draw.primes(4)
    query, key, w = draw.normal(n, a), draw.normal(m, b), draw.normal(a, b)
    expected = torch.stack([torch.stack([q @ w @ k for k in key]) for q in query])
    assert_same(student.bilinear_score(query, key, w), expected)


@task("task_01_2", hint="One tanh, of the sum of both projections, for every pair; then the product with w.")
def test_additive_equals_the_loop(student, draw):
    n, m, a, b, h = draw.primes(5)
    query, key = draw.normal(n, a), draw.normal(m, b)
    w_query, w_key, w = draw.normal(h, a), draw.normal(h, b), draw.normal(h)
    expected = torch.stack([torch.stack([w @ (w_query @ q + w_key @ k).tanh() for k in key]) for q in query])
    assert_same(student.additive_score(query, key, w_query, w_key, w), expected)


@wrong("task_01_2")
def gaussian_score__far_is_good(query, key):
    """The sign is missing: a key that is farther away scores higher."""
    return torch.cdist(query, key).square() / 2


@wrong("task_01_2")
def gaussian_score__distance_not_squared(query, key):
    """The distance is not squared."""
    return -torch.cdist(query, key) / 2


@wrong("task_01_2")
def gaussian_score__without_the_half(query, key):
    """The squared distance is not halved."""
    return -torch.cdist(query, key).square()


@wrong("task_01_2")
def bilinear_score__scaled(query, key, w):
    """The bilinear score is divided by a root; W can learn that by itself, and the formula has none."""
    return query @ w @ key.mT / math.sqrt(query.shape[-1])


@wrong("task_01_2")
def additive_score__without_tanh(query, key, w_query, w_key, w):
    """Without the tanh the score is a sum of a query part and a key part: no pair can fit better than another."""
    return (query @ w_query.mT @ w)[:, None] + (key @ w_key.mT @ w)[None, :]


@wrong("task_01_2")
def additive_score__tanh_of_each_side(query, key, w_query, w_key, w):
    """The tanh is taken of each projection; it belongs to their sum, else query and key never meet."""
    return ((query @ w_query.mT).tanh() @ w)[:, None] + ((key @ w_key.mT).tanh() @ w)[None, :]


# --- task 3: several heads ---


def multi_heads(student, draw):
    """Your module and torch's with the same random weights, and tokens of random size."""
    heads, d, n = draw.primes(3, high=7)
    torchs = nn.MultiheadAttention(heads * d, heads, batch_first=True).double()
    for parameter in torchs.parameters():
        parameter.data = draw.normal(*parameter.shape)
    theirs = torchs.state_dict()
    names = {"in_weight": "in_proj_weight", "in_bias": "in_proj_bias"}
    names |= {"out_weight": "out_proj.weight", "out_bias": "out_proj.bias"}
    yours = student.MultiHead(heads * d, heads).double()
    yours.load_state_dict({ours: theirs[name] for ours, name in names.items()})
    return yours, torchs, draw.normal(3, n, heads * d)


@task(
    "task_01_3",
    without=("scaled_dot_product_attention", "MultiheadAttention", "course_lib"),
    hint="Copy the weights of nn.MultiheadAttention and compare head by head.",
)
def test_multi_head_equals_torch(student, draw):
    yours, torchs, x = multi_heads(student, draw)
    assert_same(yours(x), torchs(x, x, x, need_weights=False)[0])


@task("task_01_3", hint="What one image of the batch gives must not depend on the other images.")
def test_images_do_not_mix(student, draw):
    yours, torchs, x = multi_heads(student, draw)
    assert_same(yours(x[1:2]), torchs(x, x, x, need_weights=False)[0][1:2])


class _MultiHead(nn.Module):
    """The right answer in small steps, each of which a wrong answer changes."""

    def __init__(self, channels, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.in_weight = nn.Parameter(torch.zeros(3 * channels, channels))
        self.in_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_weight = nn.Parameter(torch.zeros(channels, channels))
        self.out_bias = nn.Parameter(torch.zeros(channels))

    def project(self, x):
        return (x @ self.in_weight.mT + self.in_bias).chunk(3, dim=-1)

    def split(self, tokens):
        return tokens.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def weigh(self, query, key):
        return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)

    def merge(self, heads):
        return heads.transpose(1, 2).flatten(2)

    def leave(self, tokens):
        return tokens @ self.out_weight.mT + self.out_bias

    def forward(self, x):
        query, key, value = map(self.split, self.project(x))
        return self.leave(self.merge(self.weigh(query, key) @ value))


@wrong("task_01_3")
class MultiHead__scaled_by_all_channels(_MultiHead):
    """The scores are divided by √c; each head compares only d = c / s entries, so it is √d."""

    def weigh(self, query, key):
        return (query @ key.mT / math.sqrt(query.shape[-1] * self.num_heads)).softmax(dim=-1)


@wrong("task_01_3")
class MultiHead__reshaped_instead_of_transposed(_MultiHead):
    """One reshape to b s n d mixes tokens and heads: split the channels first, then swap the axes."""

    def split(self, tokens):
        b, n, c = tokens.shape
        return tokens.reshape(b, self.num_heads, n, c // self.num_heads)


@wrong("task_01_3")
class MultiHead__merged_without_swapping_back(_MultiHead):
    """Heads and tokens change places again before the heads are joined; without that the channels are scrambled."""

    def merge(self, heads):
        b, s, n, d = heads.shape
        return heads.reshape(b, n, s * d)


@wrong("task_01_3")
class MultiHead__without_the_output_projection(_MultiHead):
    """The heads are joined but never mixed: the output projection and its bias are missing."""

    def leave(self, tokens):
        return tokens


@wrong("task_01_3")
class MultiHead__keys_and_values_exchanged(_MultiHead):
    """in_weight holds W_Q, W_K, W_V in this order; keys and values are exchanged."""

    def project(self, x):
        query, value, key = super().project(x)
        return query, key, value


@wrong("task_01_3")
class MultiHead__softmax_over_the_queries(_MultiHead):
    """The weights sum to 1 over the queries; they must sum to 1 over the keys, the last axis."""

    def weigh(self, query, key):
        return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-2)


@wrong("task_01_3")
class MultiHead__interleaved_heads(_MultiHead):
    """Head i owns d neighbouring channels; here it owns every s-th one."""

    def split(self, tokens):
        return tokens.unflatten(-1, (-1, self.num_heads)).permute(0, 3, 1, 2)

    def merge(self, heads):
        return heads.permute(0, 2, 3, 1).flatten(2)


# --- task 4: repair a masked softmax ---


@task(
    "task_01_4",
    without=("course_lib",),
    hint="Where something may be seen, the weights are the softmax over what may be seen.",
)
def test_open_rows_equal_the_softmax_of_what_is_seen(student, draw):
    n, m = draw.primes(2)
    scores, mask = draw.normal(n, m), draw.mask(n, m)
    assert_same(student.masked_softmax(scores, mask), shares_seen(scores, mask))


def shares_seen(scores, mask):
    """The softmax over what is seen, written out, whatever axes stand before the keys: … m, … m -> … m."""
    votes = scores.exp() * mask
    return votes / votes.sum(dim=-1, keepdim=True).clamp(min=1e-300)  # a closed row has no votes


@task("task_01_4", hint="… stands for any axes before the keys: one row alone, and a batch of tables, work too.")
def test_any_axes_may_stand_before_the_keys(student, draw):
    b, n, m = draw.primes(3)
    for shape in ((m,), (b, n, m), (2, b, n, m)):
        scores, mask = draw.normal(*shape), draw.mask(*shape)
        assert_same(student.masked_softmax(scores, mask), shares_seen(scores, mask))


@task("task_01_4", hint="A row in which nothing may be seen: weights zero, not uniform, not NaN.")
def test_closed_rows_are_zero(student, draw):
    n, m = draw.primes(2)
    mask = draw.mask(n, m)
    mask[1] = False
    weights = student.masked_softmax(draw.normal(n, m), mask)
    assert torch.equal(weights[1], torch.zeros(m, dtype=torch.float64))
    assert weights.isfinite().all()


@task("task_01_4", hint="A hidden score may be huge; it must still have no influence at all.")
def test_a_huge_hidden_score_stays_hidden(student, draw):
    n, m = draw.primes(2)
    scores, mask = draw.normal(n, m), draw.mask(n, m)
    expected = student.masked_softmax(scores, mask)
    assert_same(student.masked_softmax(torch.where(mask, scores, 1e8), mask), expected)
    assert_same(expected.sum(-1), torch.ones(n, dtype=torch.float64))


@task("task_01_4", hint="The same number added to all scores changes nothing, even if it is a large one.")
def test_large_scores_are_no_trouble(student, draw):
    n, m = draw.primes(2)
    scores, mask = (64 * draw.normal(n, m)).round() / 64, draw.mask(n, m)  # so that the sum is exact in any dtype
    assert_same(student.masked_softmax(scores + 1024, mask), shares_seen(scores, mask))


@task("task_01_4", hint="The gradient through a closed row is zero, and it is never NaN.")
def test_the_gradient_is_finite(student, draw):
    n, m = draw.primes(2)
    scores, mask = draw.normal(n, m).requires_grad_(), draw.mask(n, m)
    mask[0] = False
    factor = draw.normal(n, m)
    (student.masked_softmax(scores, mask) * factor).sum().backward()
    reference = scores.detach().clone().requires_grad_()
    (reference[1:].masked_fill(~mask[1:], -math.inf).softmax(dim=-1) * factor[1:]).sum().backward()
    assert_same(scores.grad, reference.grad)


@task("task_01_4", hint="After the call the scores are what they were before it.")
def test_the_scores_of_the_caller_stay(student, draw):
    n, m = draw.primes(2)
    scores, mask = draw.normal(n, m), draw.mask(n, m)
    before = scores.clone()
    student.masked_softmax(scores, mask)
    assert torch.equal(scores, before)


@wrong("task_01_4")
def masked_softmax__uniform_where_nothing_is_seen(scores, mask):
    """A query that may see nothing gets uniform weights: it reads the average of what it must not see."""
    return scores.masked_fill(~mask, -1e9).softmax(dim=-1)


@wrong("task_01_4")
def masked_softmax__nan_where_nothing_is_seen(scores, mask):
    """A row of −∞ has the softmax 0/0: NaN."""
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1)


@wrong("task_01_4")
def masked_softmax__nan_in_the_gradient(scores, mask):
    """The NaN of the weights is replaced after the softmax; the gradient is NaN all the same."""
    return (scores + torch.zeros_like(scores).masked_fill(~mask, -math.inf)).softmax(dim=-1).nan_to_num()


@wrong("task_01_4")
def masked_softmax__overwrites_its_input(scores, mask):
    """The weights are right, but the scores of the caller were changed on the way."""
    scores.data.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


@wrong("task_01_4")
def masked_softmax__over_axis_one(scores, mask):
    """The softmax runs over axis 1, which holds the keys of a single table only; the keys are the *last* axis."""
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=1).masked_fill(~mask, 0.0)


@wrong("task_01_4")
def masked_softmax__masked_after_the_softmax(scores, mask):
    """The hidden keys took part in the softmax, so the weights that are left do not sum to 1."""
    return scores.softmax(dim=-1).masked_fill(~mask, 0.0)


@wrong("task_01_4")
def masked_softmax__renormalised_with_an_epsilon(scores, mask):
    """A small number in the denominator keeps the weights from summing to 1, and hidden scores can overflow."""
    weights = scores.softmax(dim=-1) * mask
    return weights / (weights.sum(dim=-1, keepdim=True) + 1e-3)


@wrong("task_01_4")
def masked_softmax__overflows(scores, mask):
    """The exponential of a score of 1000 is infinite; torch's softmax subtracts the largest score first."""
    votes = scores.masked_fill(~mask, -math.inf).exp()
    return votes / votes.sum(dim=-1, keepdim=True).clamp(min=1e-30)


@wrong("task_01_4")
def masked_softmax__adds_a_large_negative_number(scores, mask):
    """Subtracting a million hides a key only while its score is smaller than a million."""
    weights = (scores - 1e6 * ~mask).softmax(dim=-1)
    return weights * mask.any(dim=-1, keepdim=True)


# --- task 5: the number under the root ---


@task(
    "task_01_5",
    without=("course_lib",),
    hint="Var(q·k) is the sum of d equal terms; each is E[q²]·E[k²] because E[q] = 0.",
)
def test_variance_equals_the_derivation(student, draw):
    for _ in range(5):
        (d,) = draw.primes(1)
        query_variance, key_variance, key_mean = draw.number(0.5, 3), draw.number(0.5, 3), draw.number(0.5, 3)
        second_moment = key_variance + key_mean * key_mean
        variance = student.score_variance(d, query_variance, key_variance, key_mean)
        assert_number(variance, sum(query_variance * second_moment for _ in range(d)))


@wrong("task_01_5")
def score_variance__of_one_entry(d, query_variance, key_variance, key_mean):
    """This is the variance of one product; the score is a sum of d of them."""
    return query_variance * (key_variance + key_mean**2)


@wrong("task_01_5")
def score_variance__standard_deviation(d, query_variance, key_variance, key_mean):
    """This is the standard deviation; the variance is its square."""
    return math.sqrt(d * query_variance * (key_variance + key_mean**2))


@wrong("task_01_5")
def score_variance__mean_forgotten(d, query_variance, key_variance, key_mean):
    """The mean of the keys is forgotten: E[k²] is the variance plus the squared mean."""
    return d * query_variance * key_variance


@wrong("task_01_5")
def score_variance__variances_added(d, query_variance, key_variance, key_mean):
    """Variances add for a sum; for a product of independent variables with mean zero they multiply."""
    return d * (query_variance + key_variance + key_mean**2)


@wrong("task_01_5")
def score_variance__mean_not_multiplied(d, query_variance, key_variance, key_mean):
    """The squared mean of k is multiplied by the variance of q as well; here it was added outside."""
    return d * (query_variance * key_variance + key_mean**2)


@wrong("task_01_5")
def score_variance__mean_not_squared(d, query_variance, key_variance, key_mean):
    """The mean enters squared: E[k²] = variance + mean²."""
    return d * query_variance * (key_variance + key_mean)
