import pytest
import torch
from torch import nn

from course_lib.spatial.global_reasoning import GlobalReasoning
from tests.properties import assert_same, features, randomise


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("normalise", [False, True])
def test_equals_the_double_loop(released, normalise):
    block = randomise(GlobalReasoning(7, nodes=3, states=4, released=released, normalise=normalise))
    x = features(3, 7, 2, 5)
    y = torch.zeros_like(x)
    for b in range(3):
        pixels = [x[b, :, i, j] for i in range(2) for j in range(5)]
        weight = [block.assignment.weight[:, :, 0] @ p + block.assignment.bias for p in pixels]  # B, per pixel
        state = [block.state.weight[:, :, 0] @ p + block.state.bias for p in pixels]
        v = [sum(w[m] * s for w, s in zip(weight, state, strict=True)) / (10 if normalise else 1) for m in range(3)]
        a = block.adjacency
        talked = [v[m] + sum(a.weight[m, k] * v[k] for k in range(3)) + a.bias[m] for m in range(3)]
        z = [block.update.weight[:, :, 0] @ (t.clamp(min=0) if released else t) for t in talked]
        for n in range(10):
            y[b, :, n // 5, n % 5] = block.extend.weight[:, :, 0] @ sum(weight[n][m] * z[m] for m in range(3))
    mean, var, scale, shift = (
        t[:, None, None]
        for t in (block.norm.running_mean, block.norm.running_var, block.norm.weight, block.norm.bias)
    )
    assert_same(block(x), x + scale * (y - mean) / (var + 1e-4).sqrt() + shift)


def test_forward_applies_attention():
    block, x = randomise(GlobalReasoning(7, nodes=3)), features(3, 7, 5, 4)
    attention = block.attention(x)
    nodes = torch.einsum("bmn,bsn->bsm", attention, block.state(x.flatten(2)))
    y = torch.einsum("bmn,bsm->bsn", attention, block.reason(nodes))
    assert_same(block(x), x + block.norm(block.extend(y).view(x.shape)))


def test_starts_as_the_identity():
    x = torch.randn(3, 7, 5, 4)
    assert torch.equal(GlobalReasoning(7, nodes=3)(x), x)


def test_without_talk_it_projects_there_and_back():
    block, x = randomise(GlobalReasoning(7, nodes=3)), features(3, 7, 5, 4)
    nn.init.zeros_(block.adjacency.weight)
    nn.init.zeros_(block.adjacency.bias)
    block.update.weight.data = torch.eye(6)[:, :, None].double()
    b = block.attention(x)
    y = block.state(x.flatten(2)) @ b.mT @ b
    assert_same(block(x), x + block.norm(block.extend(y).view(x.shape)))
    assert (torch.linalg.matrix_rank(b.mT @ b) == 3).all()  # of 20 positions


def test_dividing_by_the_positions_makes_the_nodes_independent_of_the_image_size():
    x = features(3, 7, 5, 4)
    larger = x.repeat_interleave(2, dim=2).repeat_interleave(3, dim=3)
    for normalise in (True, False):
        block = randomise(GlobalReasoning(7, nodes=3, normalise=normalise))
        same = torch.allclose(block(larger)[:, :, ::2, ::3], block(x))
        assert same == normalise


def test_positions_have_no_order():
    block, x = randomise(GlobalReasoning(7, nodes=3)), features(3, 7, 5, 4)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))

    def shuffle(maps):
        return maps.flatten(2)[:, :, order].unflatten(2, (5, 4))

    assert_same(block(shuffle(x)), shuffle(block(x)))


@pytest.mark.parametrize(("channels", "nodes", "parameters"), [(512, 128, 411_136), (1024, 256, 1_641_472)])
def test_has_the_published_number_of_parameters(channels, nodes, parameters):
    with torch.device("meta"):
        assert sum(p.numel() for p in GlobalReasoning(channels, nodes=nodes).parameters()) == parameters


@pytest.mark.parametrize("wrong", [{"nodes": 0}, {"states": 0}], ids=str)
def test_refuses_in_words(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        GlobalReasoning(8, **wrong)
