import math

import pytest
import torch
from torch import nn

from course_lib.basics.multi_head import MultiHeadAttention
from tests.properties import assert_same, features, randomise

X, MEMORY = features(3, 5, 12, seed=1), features(3, 7, 12, seed=2)
MASK = features(3, 1, 5, 7, seed=3) > 0
MASK[..., 0] = True


@pytest.mark.parametrize("memory", [None, MEMORY])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_equals_the_loop_over_heads_and_queries(num_heads, memory):
    block = randomise(MultiHeadAttention(12, num_heads))
    source = X if memory is None else memory
    d = 12 // num_heads
    expected = torch.empty_like(X)
    for b in range(3):
        q, k, v = block.query(X[b]), block.key(source[b]), block.value(source[b])
        for i in range(5):
            mixed = torch.empty(12, dtype=torch.float64)
            for s in range(num_heads):
                columns = slice(s * d, (s + 1) * d)
                scores = torch.stack([q[i, columns] @ k[j, columns] for j in range(len(k))]) / math.sqrt(d)
                weights = scores.exp() / scores.exp().sum()
                mixed[columns] = sum(weights[j] * v[j, columns] for j in range(len(k)))
            expected[b, i] = block.output.weight @ mixed + block.output.bias
    assert_same(block(X, memory), expected)


@pytest.mark.parametrize("mask", [None, MASK])
def test_forward_applies_attention(mask):
    block = randomise(MultiHeadAttention(12, 3))
    value = block.value(MEMORY).unflatten(2, (3, 4)).transpose(1, 2)
    heads = block.attention(X, MEMORY, attn_mask=mask) @ value  # b s n d
    assert_same(block(X, MEMORY, attn_mask=mask), block.output(heads.transpose(1, 2).flatten(2)))


def test_equals_torch_with_the_same_weights_and_the_mask_turned_round():
    ours, torchs = randomise(MultiHeadAttention(12, 3)), nn.MultiheadAttention(12, 3, batch_first=True).double()
    torchs.in_proj_weight.data = torch.cat([ours.query.weight, ours.key.weight, ours.value.weight])
    torchs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key.bias, ours.value.bias])
    torchs.out_proj.load_state_dict(ours.output.state_dict())
    mask = MASK[0, 0]
    expected, weights = torchs(X, MEMORY, MEMORY, attn_mask=~mask, average_attn_weights=False)
    assert_same(ours(X, MEMORY, attn_mask=mask), expected)
    assert_same(ours.attention(X, MEMORY, attn_mask=mask), weights)


def test_a_query_that_sees_nothing_reads_the_bias_alone():
    block = randomise(MultiHeadAttention(12, 3))
    mask = MASK.clone()
    mask[:, :, 2] = False
    assert_same(block(X, MEMORY, attn_mask=mask)[:, 2], block.output.bias.expand(3, 12))


def test_permuting_tokens_permutes_the_output():
    block = randomise(MultiHeadAttention(12, 3))
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    assert_same(block(X[:, order]), block(X)[:, order])


@pytest.mark.parametrize("num_heads", [1, 2, 8])
def test_parameter_count_does_not_depend_on_the_heads(num_heads):
    assert sum(p.numel() for p in MultiHeadAttention(64, num_heads).parameters()) == 16_640


@pytest.mark.parametrize("num_heads", [0, 5])
def test_heads_must_divide_channels(num_heads):
    with pytest.raises(ValueError, match=f"num_heads={num_heads} does not divide embed_dim=12"):
        MultiHeadAttention(12, num_heads)


def test_numbers_in_the_mask_are_added_to_the_scores():
    block, bias = randomise(MultiHeadAttention(12, 3)), features(3, 1, 5, 7, seed=4)
    bias[..., 2] = -math.inf
    scores = (block.attention(X, MEMORY).log() + bias).exp()  # softmax does not see what log takes from a row
    expected = scores / scores.sum(dim=-1, keepdim=True)
    assert_same(block.attention(X, MEMORY, attn_mask=bias), expected)
    value = block.value(MEMORY).unflatten(2, (3, 4)).transpose(1, 2)
    read = (expected @ value).transpose(1, 2).flatten(2)
    assert_same(block(X, MEMORY, attn_mask=bias), block.output(read))


def test_a_mask_of_minus_infinity_reads_nothing():
    block, nothing = randomise(MultiHeadAttention(12, 3)), torch.full((3, 1, 5, 7), -math.inf, dtype=torch.float64)
    assert_same(block.attention(X, MEMORY, attn_mask=nothing), torch.zeros(3, 3, 5, 7, dtype=torch.float64))
    assert_same(block(X, MEMORY, attn_mask=nothing), block.output.bias.expand(3, 5, 12))


def test_keys_and_values_of_other_lengths():
    block = randomise(MultiHeadAttention(12, 3, kdim=10, vdim=8))
    keys, values = features(3, 7, 10, seed=5), features(3, 7, 8, seed=6)
    torchs = nn.MultiheadAttention(12, 3, kdim=10, vdim=8, batch_first=True).double()
    for ours, theirs in zip((block.query, block.key, block.value), "qkv", strict=True):
        getattr(torchs, f"{theirs}_proj_weight").data = ours.weight.data
    torchs.in_proj_bias.data = torch.cat([block.query.bias, block.key.bias, block.value.bias])
    torchs.out_proj.load_state_dict(block.output.state_dict())
    assert_same(block(X, keys, values=values), torchs(X, keys, values, need_weights=False)[0])


@pytest.mark.parametrize("call", ["attention", "forward"])
@pytest.mark.parametrize(
    ("x", "memory", "mask", "message"),
    [
        (features(3, 5, 11), MEMORY, None, "tokens have shape"),
        (X.long(), MEMORY, None, "convert them with x.float"),
        (X, MEMORY[:, :0], None, "at least 1 token"),
        (X, MEMORY[:1], None, "memory has 1 samples and x 3"),
        (X, MEMORY, MASK.long(), r"attn_mask has dtype torch.int64; give booleans.*torch.float64 to add"),
    ],
)
def test_attention_and_forward_refuse_the_same(call, x, memory, mask, message):
    with pytest.raises(ValueError, match=message):
        getattr(MultiHeadAttention(12, 3).double(), call)(x, memory, attn_mask=mask)


def test_every_key_needs_its_value():
    with pytest.raises(ValueError, match=r"\(3, 7\) keys and \(3, 5\) values"):
        MultiHeadAttention(12, 3).double()(X, MEMORY, values=X)
