import pytest
import torch

from course_lib.channel_spatial.dual import ChannelAttention, DualAttention, PositionAttention
from tests.properties import assert_same, features, randomise


def project(conv, image):
    """A 1×1 convolution of one image, its positions in one axis. Shape: c h w -> d n."""
    return conv.weight[:, :, 0, 0] @ image.flatten(1) + conv.bias[:, None]


def test_positions_equal_the_double_loop():
    block, x = randomise(PositionAttention(13, reduction=3)), features(3, 13, 5, 7)
    expected = x.clone().flatten(2)
    for b in range(3):
        query, key, value = (project(conv, x[b]) for conv in (block.query, block.key, block.value))
        for i in range(35):
            scores = torch.stack([(query[:, i] * key[:, j]).sum() for j in range(35)])
            weights = (scores - scores.max()).exp()
            weights = weights / weights.sum()
            expected[b, :, i] += block.gamma * sum(weights[j] * value[:, j] for j in range(35))
    assert_same(block(x), expected.view_as(x))


@pytest.mark.parametrize("released", [False, True])
def test_channels_equal_the_double_loop(released):
    block, x = randomise(ChannelAttention(released=released)), features(3, 13, 5, 7) / 3
    expected = x.clone()
    for b in range(3):
        for i in range(13):
            energy = torch.stack([(x[b, i] * x[b, j]).sum() for j in range(13)])
            if released:
                energy = energy.max() - energy
            weights = energy.exp() / energy.exp().sum()
            expected[b, i] += block.gamma * sum(weights[j] * x[b, j] for j in range(13))
    assert_same(block(x), expected)


def test_both_are_added():
    block, x = randomise(DualAttention(13, reduction=3)), features(3, 13, 5, 7)
    assert_same(block(x), block.position(x) + block.channel(x))
    for now, then in zip(block.attention(x), (block.position.attention(x), block.channel.attention(x)), strict=True):
        assert_same(now, then)


@pytest.mark.parametrize("reduction", [1, 3, 13])
def test_forward_applies_attention(reduction):
    block, x = randomise(PositionAttention(13, reduction=reduction)), features(3, 13, 5, 7)
    read = block.value(x).flatten(2) @ block.attention(x).mT  # b c n
    assert_same(block(x), block.gamma * read.view_as(x) + x)
    transposed = block.value(x).flatten(2) @ block.attention(x)
    assert not torch.allclose(block(x), block.gamma * transposed.view_as(x) + x)
    block = randomise(ChannelAttention())
    assert_same(block(x), block.gamma * (block.attention(x) @ x.flatten(2)).view_as(x) + x)


def test_many_positions_are_read_block_by_block():
    block, x = randomise(PositionAttention(5, reduction=2)), features(2, 5, 17, 19).requires_grad_()
    block(x).square().sum().backward()
    by_blocks, x.grad = x.grad, None
    read = block.value(x).flatten(2) @ block.attention(x).mT
    (block.gamma * read.view_as(x) + x).square().sum().backward()
    torch.testing.assert_close(by_blocks, x.grad, rtol=1e-9, atol=1e-6)


def test_start_as_the_identity():
    x = features(3, 13, 5, 7)
    assert_same(PositionAttention(13).double()(x), x)
    assert_same(ChannelAttention().double()(x), x)
    assert_same(DualAttention(13).double()(x), 2 * x)


def test_more_similar_channels_get_more_weight_in_the_paper_and_less_in_the_code():
    rows = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    x = rows[None, :, None]  # channel 0 has products 4, 2, 0 with channels 0, 1, 2
    paper, released = (ChannelAttention(released=r).attention(x)[0, 0] for r in (False, True))
    assert paper[0] > paper[1] > paper[2]
    assert_same(released, torch.softmax(torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64), dim=0))


def test_the_papers_channel_map_is_nearly_the_identity():
    x = features(2, 16, 14, 14).relu()
    diagonal = ChannelAttention().attention(x).diagonal(dim1=1, dim2=2)
    assert diagonal.mean() > 0.9
    assert ChannelAttention(released=True).attention(x).diagonal(dim1=1, dim2=2).max() < 1e-3


def test_permuted_positions_give_permuted_results():
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    x = features(3, 13, 5, 7)
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    for block in (randomise(PositionAttention(13, reduction=3)), randomise(ChannelAttention())):
        assert_same(block(shuffled).flatten(2), block(x).flatten(2)[:, :, order])
    assert_same(block.attention(shuffled), block.attention(x))


def test_permuted_channels_give_permuted_results():
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    block, x = randomise(ChannelAttention()), features(3, 13, 5, 7)
    assert_same(block(x[:, order]), block(x)[:, order])
    assert_same(block.attention(x[:, order]), block.attention(x)[:, order][:, :, order])


def test_published_parameter_counts():
    assert sum(p.numel() for p in PositionAttention(512).parameters()) == 328_321
    assert sum(p.numel() for p in ChannelAttention().parameters()) == 1
    assert sum(p.numel() for p in DualAttention(512).parameters()) == 328_322


@pytest.mark.parametrize("shape", [(2, 13, 1, 1), (2, 13, 1, 6), (2, 13, 9, 1)])
def test_one_row_or_column_is_enough(shape):
    x = features(*shape)
    block = randomise(PositionAttention(13, reduction=3))
    read = block.value(x).flatten(2) @ block.attention(x).mT
    assert_same(block(x), block.gamma * read.view_as(x) + x)


def test_names_the_reduction_that_fits():
    with pytest.raises(ValueError, match="use reduction <= 4"):
        PositionAttention(4)
    with pytest.raises(ValueError, match="4 axes"):
        ChannelAttention()(features(3, 13, 5))
