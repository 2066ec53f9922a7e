import pytest
import torch
from torch.nn import functional as F

from course_lib.branch.selective_kernel import SelectiveKernel, merge_kernels
from tests.properties import assert_same, features, randomise


def small(**arguments):
    """A randomised unit with 15 channels whose softmax does not saturate."""
    settings = {"groups": 5, "reduction": 2, "min_hidden": 4} | arguments
    block = randomise(SelectiveKernel(15, **settings))
    block.choose.weight.data /= 10
    return block


def branch_by_hand(image, conv, norm, groups, dilation):
    """A grouped, dilated convolution, BN and ReLU of one image, tap by tap."""
    (_, h, w), (c, per_group, taps, _) = image.shape, conv.weight.shape
    out = torch.zeros(c, h, w, dtype=image.dtype)
    for o in range(c):
        first = o // (c // groups) * per_group
        for u in range(taps):
            for v in range(taps):
                dy, dx = dilation * (u - taps // 2), dilation * (v - taps // 2)
                padded = F.pad(image[first : first + per_group], [9] * 4)[:, 9 + dy : 9 + dy + h, 9 + dx : 9 + dx + w]
                out[o] += (conv.weight[o, :, u, v, None, None] * padded).sum(dim=0)
        if norm is not None:
            out[o] = (out[o] - norm.running_mean[o]) / (norm.running_var[o] + norm.eps).sqrt()
            out[o] = (out[o] * norm.weight[o] + norm.bias[o]).clamp(min=0)
    return out


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_equals_the_loop(branches, linear):
    block, x = small(branches=branches, linear=linear), features(3, 15, 5, 7)
    expected, norm = torch.empty_like(x), block.norm
    for b, image in enumerate(x):
        maps = []
        for p, branch in enumerate(block.branches):
            conv, bn = (branch, None) if linear else branch[:2]
            maps.append(branch_by_hand(image, conv, bn, groups=5, dilation=p + 1))
        s = sum(maps).flatten(1).mean(dim=1)
        z = (block.squeeze.weight @ s - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
        z = (z * norm.weight + norm.bias).clamp(min=0)
        logits = [block.choose.weight[p * 15 : (p + 1) * 15] @ z for p in range(branches)]
        total = sum(one.exp() for one in logits)
        expected[b] = sum((one.exp() / total)[:, None, None] * u for one, u in zip(logits, maps, strict=True))
    assert_same(block(x), expected)


@pytest.mark.parametrize("dilated", [False, True])
@pytest.mark.parametrize("split_input", [False, True])
def test_branches_of_the_other_designs_equal_the_loop(dilated, split_input):
    block, x = small(branches=3, dilated=dilated, split_input=split_input), features(3, 15, 5, 7)
    for p, branch in enumerate(block.branches):
        part = x[:, 5 * p : 5 * p + 5] if split_input else x
        maps = [branch_by_hand(image, *branch[:2], groups=5, dilation=p + 1 if dilated else 1) for image in part]
        assert_same(block.split(x)[p], torch.stack(maps))
        assert branch[0].kernel_size[0] == (3 if dilated else 2 * p + 3)
    assert_same(block(x), (block.attention(x) * torch.stack(block.split(x), dim=1)).sum(dim=1))


def test_parts_must_hold_whole_groups():
    with pytest.raises(ValueError, match="no 2 parts of groups=5"):
        SelectiveKernel(15, groups=5, split_input=True)


def test_forward_applies_attention():
    block, x = small(branches=3), features(3, 15, 5, 7)
    assert_same(block(x), (block.attention(x) * torch.stack(block.split(x), dim=1)).sum(dim=1))


def test_every_channel_chooses_for_itself():
    weights = small().attention(features(3, 15, 5, 7))
    assert weights.shape == (3, 2, 15, 1, 1)
    assert weights.std(dim=2).min() > 1e-3 and weights.std(dim=0).min() > 1e-6


def test_equal_logits_give_the_mean_of_the_branches():
    block, x = small(branches=3), features(3, 15, 5, 7)
    torch.nn.init.zeros_(block.choose.weight)
    assert_same(block(x), sum(block.split(x)) / 3)


def test_result_lies_between_the_branches():
    block, x = small(branches=3), features(3, 15, 5, 7)
    maps = torch.stack(block.split(x))
    assert (block(x) >= maps.amin(dim=0) - 1e-9).all() and (block(x) <= maps.amax(dim=0) + 1e-9).all()


def test_starts_near_equal_weights():
    torch.manual_seed(0)
    weights = SelectiveKernel(64, groups=8).attention(torch.randn(8, 64, 5, 7))
    assert (weights - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("channels, count", [(128, 22_080), (256, 62_528), (512, 198_720), (1024, 790_656)])
def test_published_parameter_counts(channels, count):
    assert sum(p.numel() for p in SelectiveKernel(channels).parameters()) == count


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("dilations", [[1, 1], [2, 1], [3, 2]])
def test_two_kernels_are_one(groups, dilations):
    x, small, large = features(3, 12, 9, 11), features(8, 12 // groups, 3, 3, seed=2), features(8, 12 // groups, 5, 5)
    apart = sum(
        F.conv2d(x, w, padding=d * (w.shape[-1] // 2), dilation=d, groups=groups)
        for w, d in zip((small, large), dilations, strict=True)
    )
    merged = merge_kernels(small, large, dilations=dilations)
    assert_same(F.conv2d(x, merged, padding=merged.shape[-1] // 2, groups=groups), apart)


def test_linear_selection_is_one_kernel_for_each_image():
    block, x = small(linear=True, branches=3), features(3, 15, 5, 7)
    weights = block.attention(x)  # b p c 1 1
    for b in range(3):
        kernels = [a[..., None] * branch.weight for a, branch in zip(weights[b], block.branches, strict=True)]
        kernel = merge_kernels(*kernels, dilations=[1, 2, 3])
        assert_same(F.conv2d(x[b : b + 1], kernel, padding=3, groups=5), block(x)[b : b + 1])


def test_a_relu_in_the_branches_breaks_the_merger():
    x, w3, w5 = features(1, 2, 9, 9), features(2, 2, 3, 3, seed=2), features(2, 2, 5, 5, seed=3)
    apart = F.conv2d(x, w3, padding=1).relu() + F.conv2d(x, w5, padding=2).relu()
    assert not torch.allclose(apart, F.conv2d(x, merge_kernels(w3, w5), padding=2).relu())


def test_names_what_would_fit():
    with pytest.raises(ValueError, match="groups=32 does not divide channels=48"):
        SelectiveKernel(48)
    with pytest.raises(ValueError, match="at least 1"):
        SelectiveKernel(32, branches=0)
    with pytest.raises(ValueError, match="odd square"):
        merge_kernels(features(2, 2, 3, 3), features(2, 2, 4, 4))
    with pytest.raises(ValueError, match="same channels"):
        merge_kernels(features(2, 2, 3, 3), features(3, 2, 3, 3))
