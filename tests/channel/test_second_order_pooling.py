import numpy
import pytest
import torch

from course_lib.channel.second_order_pooling import SecondOrderPooling
from tests.properties import assert_same, features, randomise


def normalise(norm, values, i):
    """BN in eval mode, for channel i."""
    scale = norm.weight[i] / (norm.running_var[i] + norm.eps).sqrt()
    return (values - norm.running_mean[i]) * scale + norm.bias[i]


@pytest.mark.parametrize("released", [False, True])
def test_equals_the_double_loop(released):
    c, d, n = 13, 5, 35
    block = randomise(SecondOrderPooling(c, hidden=d, released=released))
    x = features(3, c, 5, 7)
    expected = torch.empty_like(x)
    conv, norm, _ = block.reduce
    for b in range(3):
        u = x[b].reshape(c, n).clamp(min=0)
        v = [normalise(norm, conv.weight[i, :, 0, 0] @ u + conv.bias[i], i).clamp(min=0) for i in range(d)]
        t = []
        for i in range(d):
            row = torch.stack([((v[i] - v[i].sum() / n) * (v[j] - v[j].sum() / n)).sum() / n for j in range(d)])
            row = normalise(block.norm, row, i)
            four = range(4 * i, 4 * i + 4)
            t += [(block.rows.weight[f, 0] * row).sum() + block.rows.bias[f] for f in four]
        t = torch.stack([value if value > 0 or released else value / 10 for value in t])
        for k in range(c):
            expected[b, k] = x[b, k] / (1 + torch.exp(-(block.excite.weight[k, :, 0] @ t) - block.excite.bias[k]))
    assert_same(block(x), expected)


def test_forward_applies_attention():
    block, x = randomise(SecondOrderPooling(13, hidden=5)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


@pytest.mark.parametrize("size", [(5, 7), (2, 1), (1, 1)])
def test_covariance_is_that_of_numpy(size):
    block, x = randomise(SecondOrderPooling(13, hidden=5)), features(3, 13, *size)
    for cov, v in zip(block.covariance(x), block.reduce(x.relu()), strict=True):
        expected = numpy.cov(v.flatten(1).detach().numpy(), bias=True)
        assert_same(cov, torch.from_numpy(expected))
        assert_same(cov, cov.mT)
        assert torch.linalg.eigvalsh(cov).min() > -1e-9
        assert torch.linalg.matrix_rank(cov, rtol=1e-9) <= min(5, size[0] * size[1] - 1)


def test_covariance_ignores_an_offset_of_a_channel_and_the_order_of_pixels():
    block, x = randomise(SecondOrderPooling(13, hidden=5)), features(3, 13, 5, 7)
    before = block.covariance(x)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    assert_same(block.covariance(x.flatten(2)[:, :, order].unflatten(2, (5, 7))), before)
    block.reduce[2] = torch.nn.Identity()  # without the ReLU, BN's shift is an offset of each channel
    before = block.covariance(x)
    block.reduce[1].bias.data += 3
    assert_same(block.covariance(x), before)


def test_equal_means_and_variances_with_opposite_correlation_are_told_apart():
    """What no first-order gate can do."""
    block = randomise(SecondOrderPooling(2, hidden=2))
    block.reduce = torch.nn.Identity()
    noise = features(3, 2, 5, 7)
    noise = (noise - noise.mean((2, 3), keepdim=True)).flatten(2)
    a, b = torch.linalg.qr(noise.mT).Q.mT.chunk(2, dim=1)  # uncorrelated, of equal length
    together = torch.cat([a, 0.6 * a + 0.8 * b], dim=1).unflatten(2, (5, 7)) + 1  # shifted above 0, past the ReLU
    apart = torch.cat([a, -0.6 * a + 0.8 * b], dim=1).unflatten(2, (5, 7)) + 1
    assert together.min() > 0 and apart.min() > 0
    assert_same(apart.mean((2, 3)), together.mean((2, 3)))
    assert_same(apart.var((2, 3)), together.var((2, 3)))
    assert (block.attention(together) - block.attention(apart)).abs().max() > 1e-3


def test_a_row_is_read_by_its_own_four_filters():
    block = randomise(SecondOrderPooling(13, hidden=5))
    cov = features(3, 5, 5)
    changed = cov.clone()
    changed[:, 2] += 1
    moved = (block.rows(changed) != block.rows(cov)).any(dim=0).flatten()
    assert moved.nonzero().flatten().tolist() == [8, 9, 10, 11]


def test_starts_with_variance_two_over_fan_out():
    torch.manual_seed(0)
    block = SecondOrderPooling(256, hidden=64)
    for layer, fan_out in ((block.reduce[0], 64), (block.rows, 4 * 64 * 64), (block.excite, 256)):
        assert layer.weight.var().item() == pytest.approx(2 / fan_out, rel=0.1)


def test_adds_the_parameters_of_the_released_network_to_resnet_50():
    counts = [sum(p.numel() for p in SecondOrderPooling(c).parameters()) for c in (256, 512, 1024, 2048)]
    assert counts == [230_784, 394_880, 723_072, 1_379_456]


def test_names_the_hidden_channels_that_fit():
    with pytest.raises(ValueError, match="use hidden >= 1"):
        SecondOrderPooling(8, hidden=0)
