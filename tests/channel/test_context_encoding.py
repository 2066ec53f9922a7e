import pytest
import torch

from course_lib.channel.context_encoding import ContextEncoding
from tests.properties import assert_same, features, randomise


def random_block(channels, codewords, **named):
    block = randomise(ContextEncoding(channels, codewords=codewords, **named))
    block.smoothing.data.abs_()
    return block


@pytest.mark.parametrize("released", [False, True])
def test_equals_the_double_loop(released):
    c, m, n = 6, 5, 6
    block = random_block(c, m, released=released)
    x = features(3, c, 2, 3)
    d, s, norm, expected = block.codewords, block.smoothing, block.norm, torch.empty_like(x)
    for b in range(3):
        f = block.project(x)[b].reshape(c, n).T
        e = torch.zeros(m, c, dtype=x.dtype)
        for i in range(n):
            closeness = [torch.exp(-s[k] * sum((f[i, j] - d[k, j]) ** 2 for j in range(c))) for k in range(m)]
            for k in range(m):
                e[k] += closeness[k] / sum(closeness) * (f[i] - d[k])
        for k in range(m):
            e[k] = (e[k] - norm.running_mean[k]) / (norm.running_var[k] + norm.eps).sqrt() * norm.weight[k]
            e[k] = (e[k] + norm.bias[k]).clamp(min=0)
        total = sum(e) / (m if released else 1)
        gate = 1 / (1 + torch.exp(-(block.excite.weight @ total + block.excite.bias)))
        gated = x[b] * gate[:, None, None]
        expected[b] = (x[b] + gated).clamp(min=0) if released else gated
    assert_same(block(x), expected)


def test_projects_with_a_convolution_without_bias_then_norm_then_relu():
    block, x = random_block(13, 5), features(3, 13, 5, 7)
    conv, norm, _ = block.project
    y = torch.einsum("oi,bihw->bohw", conv.weight[:, :, 0, 0], x)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    y = (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
    assert_same(block.project(x), y.clamp(min=0))
    assert conv.bias is None


@pytest.mark.parametrize("released", [False, True])
def test_forward_applies_attention(released):
    block, x = random_block(13, 5, released=released), features(3, 13, 5, 7)
    gated = block.attention(x) * x
    assert_same(block(x), (x + gated).relu() if released else gated)


def test_assignment_is_a_distribution_over_the_codewords():
    block, x = random_block(13, 5), features(3, 13, 5, 7)
    a = block.assignment(x)
    assert a.shape == (3, 35, 5) and a.min() >= 0 and a.std() > 0
    assert_same(a.sum(dim=2), torch.ones(3, 35, dtype=x.dtype))


def test_descriptor_does_not_see_where_pixels_are():
    block, x = random_block(13, 5), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    assert_same(block.descriptor(shuffled), block.descriptor(x))
    assert_same(block.assignment(shuffled), block.assignment(x)[:, order])


def test_the_order_of_the_codewords_does_not_matter():
    block, permuted = random_block(13, 5), random_block(13, 5)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    for tensor in (permuted.codewords, permuted.smoothing, *permuted.norm.parameters(), permuted.norm.running_mean,
                   permuted.norm.running_var):  # fmt: skip
        tensor.data = tensor.data[order]
    x = features(3, 13, 5, 7)
    assert_same(permuted.descriptor(x), block.descriptor(x))


def test_large_smoothing_assigns_to_the_nearest_codeword_and_negative_to_the_farthest():
    block, x = random_block(13, 5), features(3, 13, 5, 7)
    distance = torch.cdist(block.project(x).flatten(2).mT, block.codewords.expand(3, 5, 13))
    torch.nn.init.constant_(block.smoothing, 1e6)
    assert torch.equal(block.assignment(x).round(), torch.nn.functional.one_hot(distance.argmin(2), 5).double())
    torch.nn.init.constant_(block.smoothing, -1e6)
    assert torch.equal(block.assignment(x).round(), torch.nn.functional.one_hot(distance.argmax(2), 5).double())


def test_one_codeword_takes_the_sum_of_all_differences():
    block, x = random_block(13, 1), features(3, 13, 5, 7)
    block.norm = torch.nn.Identity()
    differences = block.project(x).sum((2, 3)) - 35 * block.codewords[0]
    assert_same(block.descriptor(x), differences.relu())
    torch.nn.init.zeros_(block.codewords)
    assert_same(block.descriptor(x), 35 * block.project(x).mean((2, 3)))  # average pooling, up to the factor


def test_the_gate_passes_its_gradient_on_to_the_input():
    """Random parameters saturate the gates, whose gradient is then lost in rounding: take those of the start."""
    torch.manual_seed(0)
    block = ContextEncoding(6, codewords=5).double().eval()
    assert torch.autograd.gradcheck(block, features(3, 6, 2, 3).requires_grad_())


def test_starts_with_positive_smoothing_and_small_codewords():
    block = ContextEncoding(13, codewords=50)
    assert 0 <= block.smoothing.min() and 0.5 < block.smoothing.max() < 1
    assert 0.9 < block.codewords.abs().max() * (13 * 50) ** 0.5 <= 1


def test_has_542304_parameters_at_the_papers_size():
    assert sum(p.numel() for p in ContextEncoding(512, codewords=32).parameters()) == 542_304


def test_names_the_codewords_that_fit():
    with pytest.raises(ValueError, match="use codewords >= 1"):
        ContextEncoding(8, codewords=0)
