import copy

import pytest
import torch

from course_lib.spatial.external import NORMALISATIONS, ExternalAttention, ExternalTokenAttention
from tests.properties import assert_same, features, randomise


@pytest.mark.parametrize("normalise", NORMALISATIONS)
@pytest.mark.parametrize("num_heads", [1, 3])
def test_equals_the_double_loop(normalise, num_heads):
    block = randomise(ExternalAttention(6, slots=5, num_heads=num_heads, normalise=normalise))
    x, width = 0.3 * features(3, 6, 3, 4), 6 // num_heads
    f, read = block.embed(x), torch.empty_like(x)
    keys, values = block.memory_key.weight[:, :, 0], block.memory_value.weight[:, :, 0].T  # slots × width
    for b in range(3):
        for own in torch.arange(6).split(width):
            z = torch.stack([torch.exp(keys @ f[b, own, i, j]) for i in range(3) for j in range(4)])  # n m
            if normalise != "slots":
                z = torch.stack([z[:, m] / z[:, m].sum() for m in range(5)], dim=1)
            if normalise != "positions":
                z = torch.stack([z[n] / z[n].sum() for n in range(12)])
            for n in range(12):
                read[b, own, n // 4, n % 4] = sum(z[n, m] * values[m] for m in range(5))
    assert_same(block(x), (x + block.norm(block.output(read))).clamp(min=0))


def test_the_released_code_adds_to_the_sum_over_the_slots():
    paper, released = (randomise(ExternalAttention(6, slots=5, released=flag)) for flag in (False, True))
    for block in (paper, released):
        torch.nn.init.zeros_(block.memory_key.weight)  # every weight 1 / n, every sum 5 / n
    x = features(3, 6, 3, 4)
    assert_same(paper.attention(x), torch.full((3, 1, 12, 5), 1 / 5, dtype=x.dtype))
    expected = torch.full((3, 1, 12, 5), (1 / 12) / (5 / 12 + 1e-9), dtype=x.dtype)
    torch.testing.assert_close(released.attention(x), expected, rtol=1e-14, atol=0)


def test_tokens_equal_the_double_loop():
    """As the code for classification does it: widths times 4, heads times 4, biases everywhere."""
    block, x = randomise(ExternalTokenAttention(6, num_heads=2, slots=5)), 0.3 * features(3, 4, 6)
    expected = torch.empty_like(x)
    for b in range(3):
        wide = [block.embed.weight @ token + block.embed.bias for token in x[b]]  # n of 24
        read = torch.empty(4, 24, dtype=x.dtype)
        for own in torch.arange(24).split(3):  # 8 heads of 3
            z = torch.stack([torch.exp(block.memory_key.weight @ f[own] + block.memory_key.bias) for f in wide])
            z = torch.stack([z[:, m] / z[:, m].sum() for m in range(5)], dim=1)
            for n in range(4):
                share = z[n] / (z[n].sum() + 1e-9)
                read[n, own] = block.memory_value.weight @ share + block.memory_value.bias
        expected[b] = read @ block.output.weight.T + block.output.bias
    assert_same(block(x), expected)
    total = block.attention(x).sum(dim=3)
    torch.testing.assert_close(total, torch.ones(3, 8, 4, dtype=x.dtype), rtol=0, atol=1e-7)  # but for the 1e-9


def test_tokens_name_what_fits():
    with pytest.raises(ValueError, match="num_heads that divides embed_dim"):
        ExternalTokenAttention(6, num_heads=4)
    with pytest.raises(ValueError, match="last of length 6"):
        ExternalTokenAttention(6, num_heads=2)(features(3, 4, 5))


@pytest.mark.parametrize("normalise", NORMALISATIONS)
def test_forward_applies_attention(normalise):
    block, x = randomise(ExternalAttention(12, slots=5, num_heads=3, normalise=normalise)), features(3, 12, 5, 7)
    attention = block.attention(x)
    assert attention.shape == (3, 3, 35, 5)
    read = torch.einsum("bsnm,cm->bscn", attention, block.memory_value.weight[:, :, 0]).reshape(x.shape)
    assert_same(block(x), (x + block.norm(block.output(read))).relu())


def test_double_normalisation_is_a_softmax_over_slots_of_centred_scores():
    block, x = randomise(ExternalAttention(7, slots=5)), 0.3 * features(3, 7, 5, 4)
    scores = block.memory_key(block.embed(x).flatten(2)).mT  # b n m
    expected = (scores - scores.logsumexp(dim=1, keepdim=True)).softmax(dim=2)
    assert_same(block.attention(x)[:, 0], expected)


def shift_of_the_map(normalise, axis):
    """How far the map moves when all scores along one axis get their own constant."""
    block, x = randomise(ExternalAttention(7, slots=5, normalise=normalise)), 0.3 * features(3, 7, 5, 4)
    before = block.attention(x)
    constants = features(1, 5, 1) if axis == "slots" else features(3, 1, 20)
    block.memory_key.register_forward_hook(lambda module, inputs, scores: scores + constants)
    return (block.attention(x) - before).abs().max().item()


def test_a_popular_slot_is_no_better_off_after_double_normalisation():
    assert shift_of_the_map("double", "slots") < 1e-12 < 1e-2 < shift_of_the_map("double", "positions")
    assert shift_of_the_map("slots", "positions") < 1e-12 < 1e-2 < shift_of_the_map("slots", "slots")


def test_without_the_softmax_over_positions_no_pixel_sees_another():
    for normalise, others in (("slots", 0), ("double", 34), ("positions", 34)):
        block = randomise(ExternalAttention(7, slots=5, normalise=normalise))
        x = 0.1 * features(1, 7, 5, 7)
        grad = torch.autograd.functional.jacobian(lambda t, b=block: b.attention(t)[0, 0, 3, 1], x)
        touched = grad[0].abs().sum(dim=0).flatten() > 0
        assert touched[3]
        assert touched.sum() - 1 == others


def test_positions_far_below_another_read_nothing_rather_than_nan():
    block, x = ExternalAttention(7, slots=5), torch.randn(3, 7, 5, 4)
    highest = 1e4 * (torch.arange(20) == 3)  # its softmax over positions is 1, that of the others 0 in float32
    block.memory_key.register_forward_hook(lambda module, inputs, scores: scores + highest)
    attention = block.attention(x)
    torch.testing.assert_close(attention[:, 0, 3], torch.full((3, 5), 1 / 5))
    assert attention.sum() == attention[:, 0, 3].sum()
    assert block(x).isfinite().all()


def test_the_memories_are_two():
    block = ExternalAttention(7, slots=5)
    for module in (block, copy.deepcopy(block).double()):
        value = module.memory_value.weight.clone()
        assert module.memory_key.weight.data_ptr() != module.memory_value.weight.data_ptr()
        module.memory_key.weight.data += 1
        assert torch.equal(module.memory_value.weight, value)
    assert not torch.allclose(ExternalAttention(7, slots=5).memory_key.weight[:, :, 0].T, value[:, :, 0].float())


def test_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in ExternalAttention(512).parameters()) == 591_360


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [({"slots": 0}, "slots >= 1"), ({"num_heads": 3}, "divides channels"), ({"normalise": "l1"}, "one of double")],
    ids=str,
)
def test_refuses_in_words(wrong, cure):
    with pytest.raises(ValueError, match=cure):
        ExternalAttention(8, **wrong)
