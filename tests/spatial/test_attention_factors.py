import math
from itertools import product

import pytest
import torch

from course_lib.spatial.attention_factors import FactorisedAttention, sines
from tests.properties import assert_same, features, randomise

CHOICES = ["".join(digits) for digits in product("01", repeat=4)][1:]


def small(factors="1111", **named):
    block = randomise(FactorisedAttention(12, num_heads=3, factors=factors, **named))
    for layer in (block.query, block.key, block.rows, block.columns):
        if layer is not None:
            layer.weight.data *= 0.3  # scores of a size that leaves several weights alive
    return block


def step_code(step):
    """R for one step on one axis: 3 sines, 3 cosines."""
    angles = [step / 1000 ** (f / 3) for f in range(3)]
    return torch.tensor([math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64)


def looped(block, x, factors, stride=1):
    """The maps from E1 to E4, one head, one query and one key at a time."""
    (b, _, h, w), e = x.shape, [int(digit) for digit in factors]
    keys = [j for j in range(h * w) if j // w % stride == 0 and j % w % stride == 0]
    maps = torch.empty(b, 3, h * w, len(keys), dtype=x.dtype)
    for n, s, i in ((n, s, i) for n in range(b) for s in range(3) for i in range(h * w)):
        head, scores = slice(4 * s, 4 * s + 4), []
        for j in keys:
            if e[0] or e[1]:
                q = block.query.weight[head, :, 0, 0] @ x[n, :, i // w, i % w]
            if e[0] or e[2]:
                k = block.key.weight[head, :, 0, 0] @ x[n, :, j // w, j % w]
            if e[1] or e[3]:
                r = block.rows.weight[head] @ step_code(j // w - i // w)
                r = (r + block.columns.weight[head] @ step_code(j % w - i % w)) / math.sqrt(2)
            terms = (lambda: q @ k, lambda: q @ r, lambda: block.key_bias[s] @ k, lambda: block.step_bias[s] @ r)  # noqa: B023
            scores.append(sum(term() for term, on in zip(terms, e, strict=True) if on))
        maps[n, s, i] = torch.stack(scores).softmax(0)
    return maps


@pytest.mark.parametrize("factors", CHOICES)
def test_every_choice_of_factors_equals_the_double_loop(factors):
    block, x = small(factors), features(3, 12, 2, 3)
    assert_same(block.attention(x), looped(block, x, factors))


@pytest.mark.parametrize("factors", CHOICES)
def test_forward_applies_attention(factors):
    block, x = small(factors), features(3, 12, 3, 4)
    value = block.value(x).flatten(2).unflatten(1, (3, -1))  # b s d n
    heard = torch.einsum("bsij,bsdj->bsdi", block.attention(x), value).flatten(1, 2).unflatten(2, (3, 4))
    assert_same(block(x), x + block.gamma * block.project(heard))


@pytest.mark.parametrize("factors", ["1111", "0010", "0101"])
def test_keys_may_be_every_second_row_and_column(factors):
    block, x = small(factors, kv_stride=2), features(2, 12, 3, 4)
    maps = looped(block, x, factors, stride=2)
    assert maps.shape[3] == 4
    assert_same(block.attention(x), maps)
    value = block.value(x[:, :, ::2, ::2]).flatten(2).unflatten(1, (3, -1))
    heard = torch.einsum("bsij,bsdj->bsdi", maps, value).flatten(1, 2).unflatten(2, (3, 4))
    assert_same(block(x), x + block.gamma * block.project(heard))
    with pytest.raises(ValueError, match="use kv_stride >= 1"):
        FactorisedAttention(12, kv_stride=0)


def test_starts_as_the_identity():
    x = features(3, 12, 3, 4)
    assert torch.equal(FactorisedAttention(12, num_heads=3).double()(x), x)


def test_key_content_alone_is_the_same_for_all_queries():
    maps = small("0010").attention(features(3, 12, 3, 4))
    assert_same(maps, maps[:, :, :1].expand_as(maps))
    assert maps.std() > 0


def test_steps_alone_are_the_same_for_all_images_and_for_all_places():
    block = small("0001")
    maps = block.attention(features(3, 12, 3, 4))
    assert_same(maps, block.attention(features(3, 12, 3, 4, seed=8)))
    grid = maps.unflatten(2, (3, 4)).unflatten(4, (3, 4))  # b s y x h w
    ratio = grid[..., 1:, 1:] / grid[..., :-1, :-1]  # softmax sums cancel
    assert_same(ratio[:, :, 1:, 1:, 1:, 1:], ratio[:, :, :-1, :-1, :-1, :-1])


@pytest.mark.parametrize("factors", ["1000", "0010", "1010"])
def test_content_alone_does_not_know_places(factors):
    block, x = small(factors), features(3, 12, 3, 4)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].view_as(x)
    assert_same(block(shuffled).flatten(2), block(x).flatten(2)[:, :, order])


def test_match_contains_salience_where_a_channel_is_constant():
    """E1 with a query that is the same everywhere is E3 with u = that query."""
    match, salience, x = small("1000"), small("0010"), features(3, 12, 3, 4)
    x[:, 0] = 1
    torch.nn.init.zeros_(match.query.weight)
    match.query.weight.data[:, 0, 0, 0] = salience.key_bias.flatten()
    match.key.weight.data = salience.key.weight.data
    assert_same(match.attention(x), salience.attention(x))


@pytest.mark.parametrize(
    ("factors", "parameters"),
    [("1000", 5_221), ("0100", 5_221), ("0010", 3_961), ("0001", 3_961), ("1111", 6_589)],
)
def test_has_as_many_parameters_as_the_released_module(factors, parameters):
    block = FactorisedAttention(36, num_heads=9, factors=factors)
    assert sum(p.numel() for p in block.parameters()) == parameters


def test_biases_start_as_released():
    torch.manual_seed(0)
    block = FactorisedAttention(800, num_heads=8)
    for bias in (block.key_bias, block.step_bias):
        assert 0.068 < bias.abs().max() <= 200**-0.5 and abs(bias.mean()) < 5e-3


@pytest.mark.parametrize("factors", ["0000", "111", "1211", "11111", ""])
def test_factors_that_say_nothing_are_refused(factors):
    with pytest.raises(ValueError, match=r"is no choice of E1 to E4; use four digits"):
        FactorisedAttention(12, num_heads=3, factors=factors)


@pytest.mark.parametrize(("channels", "num_heads"), [(12, 5), (12, 0), (6, 2)])
def test_sizes_that_do_not_divide_are_refused(channels, num_heads):
    with pytest.raises(ValueError, match=rf"channels={channels} must be divisible by num_heads={num_heads} and by 4"):
        FactorisedAttention(channels, num_heads=num_heads)


def test_forward_stores_no_map():
    stored = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t.numel()) or t, lambda t: t):
        FactorisedAttention(8, num_heads=2, factors="1000")(torch.randn(1, 8, 20, 20))
    assert max(stored) < 2 * 400**2


def test_the_released_code_codes_the_step_from_the_key_to_the_query():
    paper, released = (
        randomise(FactorisedAttention(8, num_heads=2, factors="0001", released=r)) for r in (False, True)
    )
    x = features(1, 8, 1, 4)
    paper.rows.weight.data.zero_(), released.rows.weight.data.zero_()
    turned = released.attention(x.flip(3)).flip(2, 3)  # the picture turned round turns every step round
    assert_same(paper.attention(x), turned)
    assert not torch.allclose(paper.attention(x), released.attention(x))
    assert sines(2, 2, x)[0, 1, 0].item() == pytest.approx(0.841, abs=1e-3)
