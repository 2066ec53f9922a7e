import copy

import pytest
import torch

from course_lib.spatial.double_attention import DoubleAttention
from tests.properties import assert_same, features, randomise


def at(layer, vector):
    return layer.weight.flatten(1) @ vector + layer.bias


@pytest.mark.parametrize("arguments", [{"slots": 3}, {"gather": 5, "slots": 1}, {"gather": 2, "slots": 4}], ids=str)
def test_equals_the_double_loop(arguments):
    block, x = randomise(DoubleAttention(13, **arguments)), 0.3 * features(3, 13, 4, 5)
    expected = x.clone()
    for b in range(3):
        places = [(i, j) for i in range(4) for j in range(5)]
        take = {p: torch.exp(at(block.gather, x[b, :, *p])) for p in places}  # θ, one number per slot
        give = {p: torch.exp(at(block.distribute, x[b, :, *p])) for p in places}  # ρ
        for p in places:
            z = 0
            for m in range(arguments["slots"]):
                descriptor = sum(take[q][m] * at(block.feature, x[b, :, *q]) for q in places)
                descriptor = descriptor / sum(take[q][m] for q in places)  # softmax over positions
                z = z + give[p][m] / give[p].sum() * descriptor  # softmax over slots
            expected[b, :, *p] += at(block.output, z)
    assert_same(block(x), expected)


def test_forward_applies_attention():
    block, x = randomise(DoubleAttention(13, slots=3)), 0.3 * features(3, 13, 5, 7)
    gather, distribute = block.attention(x)
    a = block.feature(x).flatten(2)  # A = φ(X): b width n
    z = torch.einsum("bcn,bmn,bmk->bck", a, gather, distribute)
    assert_same(block(x), x + block.output(z.mT).mT.view(x.shape))


def test_one_softmax_runs_over_positions_and_the_other_over_slots():
    gather, distribute = randomise(DoubleAttention(13, slots=4)).attention(0.3 * features(3, 13, 5, 7))
    assert_same(gather.sum(dim=2), torch.ones(3, 4).double())
    assert_same(distribute.sum(dim=1), torch.ones(3, 35).double())


def test_an_image_does_not_see_the_rest_of_the_batch():
    block, x = randomise(DoubleAttention(13, slots=3)), features(3, 13, 5, 7)
    other = x.clone()
    other[1:] += 1
    assert_same(block(other)[0], block(x)[0])


def test_is_a_non_local_map_of_low_rank():
    block, x = randomise(DoubleAttention(13, slots=3)), 0.3 * features(1, 13, 5, 7)
    gather, distribute = block.attention(x)
    dense = gather.mT @ distribute  # n n, columns: what each position reads
    assert torch.linalg.matrix_rank(dense[0]) == 3
    assert_same(dense.sum(dim=1), torch.ones(1, 35).double())


def test_with_one_slot_all_positions_receive_the_same():
    block, x = randomise(DoubleAttention(13, slots=1)), features(3, 13, 5, 7)
    added = (block(x) - x).flatten(2)
    assert_same(added, added[:, :, :1].expand_as(added))
    torch.nn.init.zeros_(block.gather.weight)  # then the one descriptor is squeeze-and-excitation's mean
    mean = block.output(block.feature(x.mean(dim=(2, 3), keepdim=True)).flatten(1))
    assert_same(block(x), x + mean[:, :, None, None])


def test_positions_have_no_order():
    block, x = randomise(DoubleAttention(13, slots=3)), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))

    def shuffle(maps):
        return maps.flatten(2)[:, :, order].unflatten(2, (5, 7))

    assert_same(block(shuffle(x)), shuffle(block(x)))


def test_gathering_does_not_see_the_bias_of_theta():
    block, x = randomise(DoubleAttention(13, slots=3)), features(3, 13, 5, 7)
    other = copy.deepcopy(block)
    other.gather.bias.data += 5
    assert_same(other(x), block(x))


def test_has_the_number_of_parameters_of_the_recall_experiment():
    block = DoubleAttention(32, gather=32, slots=8)
    assert sum(p.numel() for p in block.parameters()) == 2_640
    assert [m.shape for m in DoubleAttention(13).attention(torch.randn(1, 13, 2, 2))] == [(1, 3, 4), (1, 3, 4)]
    assert DoubleAttention(13).feature.out_channels == 3


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"gather": 0}, {"channels": 3}], ids=str)
def test_refuses_in_words(wrong):
    with pytest.raises(ValueError, match="use at least 1"):
        DoubleAttention(wrong.pop("channels", 8), **wrong)
