# %% [markdown]
# # Exercise 01 · Addressing
#
# You write the look-up of lesson 01 yourself: weights, scores, several heads; then you repair a masked softmax,
# and derive the number under the square root.
#
# *Minutes:* 55 · *Needs:* 01
#
# Each task has a cell to fill in, a check to run, and folded hints. The check answers in words and counts your points.
# Your work is graded with other sizes and values than the ones you see here.

# %%
import copy
import math

import torch
from torch import nn

from course_lib.exercises import Exercise

exercise = Exercise("01_addressing", points=[3, 3, 3, 3, 2])

# %% [markdown]
# ## task_01_1 · Masked scaled dot-product attention
# difficulty 2/5 · importance 5/5 · 10 minutes
#
# Write two functions.
#
# `attention_weights` compares every query with every key, $e_{ij} = q_i \cdot k_j / \sqrt d$, and turns each query's scores
# into weights that sum to 1 over the keys. `mask` is boolean, `True` = may attend; each query may attend to at least one key.
#
# `attend` mixes the values with those weights, $o_i = \sum_j \alpha_{ij} v_j$.
#
# Shapes: `query` n d, `key` m d, `value` m v, `mask` n m; weights n m; result n v. Do not use
# `scaled_dot_product_attention`.
#
# <details><summary>Hint 1: which axis?</summary>
#
# Rows of the score matrix belong to queries, columns to keys. One query shares its attention out over the keys.
# </details>
#
# <details><summary>Hint 2: the mask</summary>
#
# A key that may not be seen must have a score so low that its exponential is zero, *before* the softmax;
# `masked_fill` makes a new tensor.
# </details>
#
# <details><summary>Hint 3: pseudo-code</summary>
#
# scores = query times key transposed, divided by the root of the length of a query; where mask is False: minus infinity;
# softmax over the last axis.
# </details>


# %% tags=["task_01_1"]
def attention_weights(query, key, mask=None):
    """The weight of every key for every query: n d, m d -> n m."""
    ### BEGIN SOLUTION
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1)
    ### END SOLUTION


def attend(query, key, value, mask=None):
    """What each query reads: n d, m d, m v -> n v."""
    ### BEGIN SOLUTION
    return attention_weights(query, key, mask) @ value
    ### END SOLUTION


# %% tags=["check_01_1"]
with exercise.check(1):
    query, key = torch.tensor([[2.0, 0.0, 0.0, 0.0], [0.0, 2.0, 0.0, 0.0]]), math.log(3) * torch.eye(3, 4)
    weights = attention_weights(query, key)
    assert weights.shape == (2, 3), f"2 queries and 3 keys need weights of shape (2, 3), not {tuple(weights.shape)}"
    assert not torch.allclose(weights.sum(0), torch.ones(3)), (
        "weights sum to 1 over the queries; they must sum to 1 over the keys (last axis)"
    )
    assert torch.allclose(weights.sum(1), torch.ones(2)), "the weights of each query must sum to 1"
    # q·k = 2 log 3 and d = 4, so the fitting key has score log 3: three times the weight of the two others
    assert torch.allclose(weights[0], torch.tensor([0.6, 0.2, 0.2])), (
        f"expected 0.6, 0.2, 0.2 for the first query, not {weights[0].numpy().round(2)}: divide q·k by √d, d = 4 entries a query"
    )
    mask = torch.tensor([[True, True, False], [False, True, True]])
    masked = attention_weights(query, key, mask)
    assert not (masked[~mask] > 0).any(), "a key whose mask is False got weight; True means may attend"
    assert torch.allclose(masked.sum(1), torch.ones(2)), (
        "with a mask the weights no longer sum to 1: hide the keys before the softmax, not after it"
    )
    value = torch.tensor([[10.0], [20.0], [30.0]])
    assert attend(query, key, value).shape == (2, 1), "each query must return a vector as long as a value"
    assert torch.allclose(attend(query, key, value)[0], torch.tensor([16.0])), "0.6·10 + 0.2·20 + 0.2·30 is 16"
    assert torch.allclose(attend(query, key, value, mask), masked @ value), (
        "attend must pass the mask on to the weights"
    )

# %% [markdown]
# ## task_01_2 · Three other ways to compare
# difficulty 2/5 · importance 3/5 · 10 minutes
#
# - `gaussian_score`: $e_{ij} = -\lVert q_i - k_j \rVert^2 / 2$
# - `bilinear_score`: $e_{ij} = q_i^\top W k_j$
# - `additive_score`: $e_{ij} = w^\top \tanh(W_q q_i + W_k k_j)$
#
# Shapes: `query` n a, `key` m b, `w` of the bilinear score a b; `w_query` h a, `w_key` h b, `w` of the additive score h;
# every result n m. For the Gaussian score a = b.
#
# <details><summary>Hint 1: all pairs at once</summary>
#
# `query[:, None, :]` is n 1 a and `key[None, :, :]` is 1 m b: adding or subtracting two such tensors gives every pair.
# </details>
#
# <details><summary>Hint 2: the additive score</summary>
#
# First project queries to n h and keys to m h. Add all pairs to n m h. Only then the tanh, then the product with `w`.
# </details>


# %% tags=["task_01_2"]
def gaussian_score(query, key):
    """Minus half the squared distance: n d, m d -> n m."""
    ### BEGIN SOLUTION
    return -(query[:, None, :] - key[None, :, :]).square().sum(-1) / 2
    ### END SOLUTION


def bilinear_score(query, key, w):
    """A dot product through a matrix: n a, m b, a b -> n m."""
    ### BEGIN SOLUTION
    return query @ w @ key.mT
    ### END SOLUTION


def additive_score(query, key, w_query, w_key, w):
    """A small network on each pair: n a, m b, h a, h b, h -> n m."""
    ### BEGIN SOLUTION
    pairs = (query @ w_query.mT)[:, None, :] + (key @ w_key.mT)[None, :, :]  # n m h
    return pairs.tanh() @ w
    ### END SOLUTION


# %% tags=["check_01_2"]
with exercise.check(2):
    query, key = torch.tensor([[0.0, 0.0], [1.0, 3.0]]), torch.tensor([[0.0, 0.0], [3.0, 4.0], [1.0, 3.0]])
    gaussian = gaussian_score(query, key)
    assert gaussian.shape == (2, 3), f"2 queries and 3 keys need scores of shape (2, 3), not {tuple(gaussian.shape)}"
    assert gaussian[0, 1] < 0, "a key that is farther away must score lower, not higher"
    assert gaussian[0, 1] == -12.5, f"(3, 4) lies 5 from the origin, so its score is −25/2, not {gaussian[0, 1]:.3f}"
    w = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    shape = tuple(bilinear_score(torch.ones(4, 2), torch.ones(5, 3), w).shape)
    assert shape == (4, 5), f"bilinear: 4 queries of length 2 and 5 keys of length 3 need scores (4, 5), not {shape}"
    bilinear = bilinear_score(query, torch.tensor([[1.0, 1.0, 1.0]]), w)
    assert torch.equal(bilinear, torch.tensor([[0.0], [6.0]])), (
        f"for q = (1, 3): qᵀW = (1, 3, 2), times k = (1, 1, 1) is 6, not {bilinear[1].item():.2f}"
    )
    shape = tuple(
        additive_score(torch.ones(4, 2), torch.ones(5, 3), torch.ones(6, 2), torch.ones(6, 3), torch.ones(6)).shape
    )
    assert shape == (4, 5), f"additive: 4 queries, 5 keys and 6 hidden numbers need scores (4, 5), not {shape}"
    w_query, w_key = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    additive = additive_score(query, key, w_query, w_key, torch.tensor([2.0]))
    assert abs(additive[1, 1] - 2 * math.tanh(1 - 3)) < 1e-6, (
        f"for q₁ = 1, k₁ = 3 the score is 2·tanh(1 − 3) = −1.928, not {additive[1, 1]:.3f}: one tanh, of the sum"
    )

# %% [markdown]
# ## task_01_3 · Several heads
# difficulty 4/5 · importance 4/5 · 15 minutes
#
# Write the `forward` of a multi-head self-attention that gives the same numbers as `nn.MultiheadAttention` with the same
# weights. `in_weight` holds $W_Q$, $W_K$, $W_V$ stacked in this order: each is c × c, and head $i$ owns rows
# $i d \ldots (i+1) d - 1$ of each, with $d = c / s$.
#
# Shapes: `x` b n c; inside, heads b s n d; result b n c. Use `attention_weights` of task 1 if yours works on the last two axes,
# or write the softmax again, but neither `scaled_dot_product_attention` nor `nn.MultiheadAttention`.
#
# <details><summary>Hint 1: the three projections</summary>
#
# `(x @ self.in_weight.mT + self.in_bias).chunk(3, dim=-1)` gives queries, keys and values, each b n c.
# </details>
#
# <details><summary>Hint 2: splitting is two steps</summary>
#
# b n c becomes b n s d (`unflatten`), and then the axes n and s must change places. A single `reshape` to b s n d has
# the right shape and the wrong numbers.
# </details>
#
# <details><summary>Hint 3: merging is the same two steps backwards</summary>
#
# b s n d -> b n s d -> b n c, then the output projection with its bias.
# </details>


# %% tags=["task_01_3"]
class MultiHead(nn.Module):
    """Multi-head self-attention: b n c -> b n c."""

    def __init__(self, channels, num_heads):
        super().__init__()
        self.num_heads = num_heads
        self.in_weight = nn.Parameter(torch.zeros(3 * channels, channels))
        self.in_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_weight = nn.Parameter(torch.zeros(channels, channels))
        self.out_bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        ### BEGIN SOLUTION
        projected = (x @ self.in_weight.mT + self.in_bias).chunk(3, dim=-1)
        query, key, value = (t.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for t in projected)  # b s n d
        weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
        merged = (weights @ value).transpose(1, 2).flatten(2)  # b s n d -> b n s d -> b n c
        return merged @ self.out_weight.mT + self.out_bias
        ### END SOLUTION


# %% tags=["folded"]
def check_alone(block, x):
    """No image of a batch changes another."""
    assert torch.allclose(block(x[1:]), block(x)[1:], atol=1e-4), (
        "the second image alone gives another result than in the batch: the images mix"
    )


def check_equal_values(block, x):
    """Where all values are 1, so is what every token reads, whatever the weights are, if they sum to 1."""
    c = x.shape[2]
    with torch.no_grad():
        block.in_weight[2 * c :], block.in_bias[2 * c :] = 0.0, 1.0
    assert torch.allclose(block(x), block.out_weight.sum(dim=1) + block.out_bias, atol=1e-4), (
        "all values were set to 1, and some token read something else: over which axis do the weights sum to 1?"
    )


# %% tags=["check_01_3"]
with exercise.check(3):
    torch.manual_seed(0)
    torchs, yours = nn.MultiheadAttention(6, 2, batch_first=True), MultiHead(6, 2)
    with torch.no_grad():
        for ours, theirs in zip(yours.parameters(), torchs.parameters(), strict=True):
            ours.copy_(theirs.normal_())
    x = torch.randn(2, 5, 6)
    result = yours(x)
    assert result.shape == x.shape, (
        f"the result must have the shape of x, {tuple(x.shape)}, not {tuple(result.shape)}"
    )
    one_token = yours(x[:, :1])[0, 0]
    value = x[0, 0] @ yours.in_weight[12:].mT + yours.in_bias[12:]
    assert torch.allclose(one_token, value @ yours.out_weight.mT + yours.out_bias, atol=1e-4), (
        "a single token can only read its own value (the last third of in_weight), then goes through out_weight and out_bias"
    )
    check_alone(yours, x)
    order = [3, 1, 4, 0, 2]
    assert torch.allclose(yours(x[:, order]), result[:, order], atol=1e-4), (
        "permuting the tokens must permute the result: tokens and heads are mixed up; swap axes instead of reshaping"
    )
    check_equal_values(copy.deepcopy(yours), x)
    assert torch.allclose(result, torchs(x, x, x, need_weights=False)[0], atol=1e-4), (
        "the weights sum to 1, but the numbers differ from nn.MultiheadAttention: look at √d (d per head), at which channels belong to a head, and at who asks whom"
    )

# %% [markdown]
# ## task_01_4 · Repair a masked softmax
# difficulty 3/5 · importance 4/5 · 10 minutes
#
# This code runs, and it is wrong in two ways.
#
# ```python
# def masked_softmax(scores, mask):
#     scores[~mask] = -1e6
#     return scores.softmax(dim=-1)
# ```
#
# A query that may attend to no key at all gets *uniform* weights, as if it might see everything; and the caller's `scores`
# are overwritten. Repair both: such a row gets weights of zero, in the gradient too (no NaN), and the input stays as it was.
# What it does right must stay right: a score may be 1000.
#
# Shapes: `scores` … m, `mask` … m, True = may attend; result … m, where … stands for any axes, or none.
#
# <details><summary>Hint 1: minus infinity is not the answer</summary>
#
# A row of −∞ only has the softmax 0/0 = NaN. Replacing the NaN afterwards repairs the weights, but a NaN may stay in the
# gradient.
# </details>
#
# <details><summary>Hint 2: two fills</summary>
#
# Fill the hidden scores with the lowest *finite* number of their dtype (`torch.finfo(scores.dtype).min`), take the
# softmax, and then fill the hidden *weights* with zero.
# </details>


# %% tags=["task_01_4"]
def masked_softmax(scores, mask):
    """Weights over the keys that may be seen; all zero where none may: … m, … m -> … m."""
    ### BEGIN SOLUTION
    lowest = torch.finfo(scores.dtype).min
    return scores.masked_fill(~mask, lowest).softmax(dim=-1).masked_fill(~mask, 0.0)
    ### END SOLUTION


# %% tags=["folded"]
def check_other_shapes():
    """A batch of tables, and one row alone."""
    tables = masked_softmax(torch.zeros(2, 3, 4), torch.ones(2, 3, 4, dtype=torch.bool))
    assert torch.allclose(tables.sum(-1), torch.ones(2, 3)), (
        "in a batch of 2 tables of 3 queries and 4 keys the weights of a query no longer sum to 1: over which axis do they?"
    )
    alone = masked_softmax(torch.tensor([1.0, 1.0, 5.0, 1.0]), torch.tensor([True, True, False, False]))
    assert alone.tolist() == [0.5, 0.5, 0.0, 0.0], (
        f"one row alone, of shape (4,), must give 0.5, 0.5, 0, 0, not {alone.numpy().round(2)}: the keys are the last axis"
    )


def check_large():
    """Scores whose exponential is too large for a float."""
    large = masked_softmax(torch.tensor([[1000.0, 1000.0, 0.0]]), torch.tensor([[True, True, False]]))
    assert large.tolist() == [[0.5, 0.5, 0.0]], (
        f"scores 1000, 1000 and a hidden one must give 0.5, 0.5, 0, not {large.numpy().round(2)}: e¹⁰⁰⁰ is too large for a float"
    )


# %% tags=["check_01_4"]
with exercise.check(4):
    scores = torch.tensor([[1.0, 1.0, 5.0], [2.0, 3.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    given = scores.detach().clone()
    weights = masked_softmax(given, mask)
    assert torch.equal(given, scores), (
        "your function changed the scores of its caller; masked_fill makes a new tensor"
    )
    assert not weights.isnan().any(), "a query that may see nothing got NaN; its weights must be zero"
    assert torch.equal(weights[1], torch.zeros(3)), (
        f"a query that may see nothing must read nothing: weights 0, 0, 0, not {weights[1].numpy().round(2)}"
    )
    assert torch.equal(weights[0], torch.tensor([0.5, 0.5, 0.0])), (
        f"two equal keys and a hidden one have weights 0.5, 0.5, 0, not {weights[0].numpy().round(4)}"
    )
    check_other_shapes()
    check_large()
    masked_softmax(scores, mask).square().sum().backward()
    assert scores.grad.isfinite().all(), "the weights are right, but their gradient is NaN: hide the keys without −∞"

# %% [markdown]
# ## task_01_5 · The number under the root
# difficulty 3/5 · importance 3/5 · 10 minutes
#
# Derive on paper: the $d$ entries of $q$ have mean 0 and variance $\sigma_q^2$, the $d$ entries of $k$ have mean $\mu_k$ and
# variance $\sigma_k^2$, and all are independent. What is the variance of $q \cdot k$? Return it.
#
# (For $\sigma_q = \sigma_k = 1$ and $\mu_k = 0$ the answer is the number under the root.)
#
# <details><summary>Hint 1: one entry first</summary>
#
# The variance of a sum of independent terms is the sum of their variances, so look at one product $q_1 k_1$.
# Its mean is $E[q_1] E[k_1] = 0$.
# </details>
#
# <details><summary>Hint 2: the second moment</summary>
#
# Hence $\mathrm{Var}(q_1 k_1) = E[q_1^2]\,E[k_1^2]$, and $E[k_1^2]$ is not the variance when the mean is not zero.
# </details>


# %% tags=["task_01_5"]
def score_variance(d, query_variance, key_variance, key_mean):
    """The variance of q · k."""
    ### BEGIN SOLUTION
    return d * query_variance * (key_variance + key_mean**2)
    ### END SOLUTION


# %% tags=["check_01_5"]
with exercise.check(5):
    assert score_variance(64, 1.0, 1.0, 0.0) == 64, (
        "with unit variances and zero means the variance is d: that is why √d"
    )
    assert score_variance(16, 2.0, 3.0, 0.0) == 96, (
        "16 independent products, each with variance 2 · 3: 96 (use the variances, not their roots or their sum)"
    )
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(100_000, 8, generator=generator) * math.sqrt(2)
    k = torch.randn(100_000, 8, generator=generator) * math.sqrt(3) + 1.5
    measured, derived = (q * k).sum(1).var().item(), score_variance(8, 2.0, 3.0, 1.5)
    assert abs(measured - derived) < 2, (
        f"100 000 draws have variance {measured:.0f}, yours is {derived:.0f}: what does the mean of the keys do?"
    )
