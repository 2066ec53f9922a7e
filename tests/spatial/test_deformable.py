import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.deformable import DeformableConv2d, deform_conv2d
from tests.properties import assert_same, features, randomise

X = features(3, 6, 4, 5)
SETTINGS = [  # kernel, stride, padding, dilation, groups, offset groups
    ((3, 3), 1, 1, 1, 1, 1),
    ((3, 2), (2, 1), (2, 0), (1, 2), 2, 3),
    ((1, 3), 1, (0, 2), 2, 3, 2),
    ((2, 1), (1, 2), (1, 0), (2, 1), 1, 2),
]


def arguments(kernel_size, stride, padding, dilation, groups, offset_groups):
    weight = features(12, 6 // groups, *kernel_size, seed=2)
    shape = F.conv2d(X, weight, None, stride, padding, dilation, groups).shape[2:]
    k = kernel_size[0] * kernel_size[1]
    offset = 1.5 * features(3, 2 * k * offset_groups, *shape, seed=3)
    mask = features(3, k * offset_groups, *shape, seed=4)
    return offset, weight, features(12, seed=5), stride, padding, dilation, mask


def between_pixels(plane, y, x):
    """The plane at a point: its four neighbours, by nearness; zero outside."""
    total = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += plane[row][column].item() * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def deform_by_loop(x, offset, weight, bias, stride, padding, dilation, mask):
    (sy, sx), (py, px), (dy, dx) = (v if isinstance(v, tuple) else (v, v) for v in (stride, padding, dilation))
    (c_out, part, kh, kw), (b, _, h, w) = weight.shape, offset.shape
    g, groups = offset.shape[1] // (2 * kh * kw), x.shape[1] // part
    y = bias[:, None, None].repeat(b, 1, h, w)
    for n, i, j, tap, c in torch.cartesian_prod(*map(torch.arange, (b, h, w, kh * kw, x.shape[1]))).tolist():
        slot = (c // (x.shape[1] // g)) * kh * kw + tap
        row = i * sy - py + tap // kw * dy + offset[n, 2 * slot, i, j].item()
        column = j * sx - px + tap % kw * dx + offset[n, 2 * slot + 1, i, j].item()
        value = between_pixels(x[n, c], row, column) * (1 if mask is None else mask[n, slot, i, j])
        outs = slice((c // part) * (c_out // groups), (c // part + 1) * (c_out // groups))
        y[n, outs, i, j] += weight[outs, c % part, tap // kw, tap % kw] * value
    return y


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("modulated", [False, True])
def test_equals_the_loop(setting, modulated):
    offset, weight, bias, *where, mask = arguments(*setting)
    mask = mask if modulated else None
    expected = deform_by_loop(X, offset, weight, bias, *where, mask)
    assert_same(deform_conv2d(X, offset, weight, bias, *where, mask), expected)


@pytest.mark.parametrize("setting", SETTINGS)
def test_without_offsets_it_is_the_ordinary_convolution(setting):
    offset, weight, bias, *where, _ = arguments(*setting)
    assert_same(deform_conv2d(X, offset * 0, weight, bias, *where), F.conv2d(X, weight, bias, *where, setting[4]))


def ordinary(layer, x):
    """What ``nn.Conv2d`` computes with the weights of the layer."""
    places = {name: value for name, value in layer.shape.items() if name != "kernel_size"}
    groups = x.shape[1] // layer.convolution.weight.shape[1]
    return F.conv2d(x, layer.convolution.weight, layer.convolution.bias, groups=groups, **places)


def test_v1_starts_as_the_convolution_and_v2_as_half_of_it():
    v1 = DeformableConv2d(6, 4).double()
    v2 = DeformableConv2d(6, 4, kernel_size=3, modulated=True, bias=False).double()
    assert_same(v1(X), ordinary(v1, X))
    assert_same(v2(X), ordinary(v2, X) / 2)


def shifted_reading(dy, dx):
    weight = features(4, 6, 3, 3, seed=2)
    offset = torch.tensor([dy, dx], dtype=torch.float64).repeat(9)[None, :, None, None].expand(3, 18, 4, 5)
    return deform_conv2d(X, offset, weight, padding=1), F.conv2d(X, weight, padding=1)


def test_offsets_are_pixels_and_y_comes_before_x():
    moved, plain = shifted_reading(1.0, 0.0)
    assert_same(moved[:, :, :-2], plain[:, :, 1:-1])  # one row lower
    moved, plain = shifted_reading(0.0, 1.0)
    assert_same(moved[..., :-2], plain[..., 1:-1])  # one column to the right


def test_half_precision_does_not_blur_the_coordinates():
    wide, one = features(1, 1, 4, 300).bfloat16(), torch.ones(1, 1, 1, 1, dtype=torch.bfloat16)
    assert torch.equal(deform_conv2d(wide, torch.zeros(1, 2, 4, 300, dtype=torch.bfloat16), one), wide)


def test_taps_go_row_by_row_each_with_its_y_and_x():
    offset = torch.zeros(3, 18, 4, 5, dtype=torch.float64)
    offset[:, 2 * 5 + 1] = 2.0  # tap 5 = second row, third column; x
    weight = torch.zeros(4, 6, 3, 3, dtype=torch.float64)
    weight[:, :, 1, 2] = features(4, 6, seed=2)
    expected = F.conv2d(F.pad(X, (0, 3))[:, :, :, 3:], weight[:, :, 1:2, 2:3])
    assert_same(deform_conv2d(X, offset, weight, padding=1), expected)


def test_taps_beyond_the_image_read_zero():
    offset = torch.full((3, 18, 4, 5), 100.0, dtype=torch.float64)
    assert deform_conv2d(X, offset, features(4, 6, 3, 3), padding=1).abs().max() == 0


def test_a_zero_mask_kills_its_tap():
    offset, weight, bias, *where, mask = arguments(*SETTINGS[0])
    mask[:, 4] = 0
    without = weight.clone()
    without[:, :, 1, 1] = 0
    masked = deform_conv2d(X, offset, weight, bias, *where, mask)
    assert_same(masked, deform_conv2d(X, offset, without, bias, *where, mask))


def test_constant_offsets_are_a_convolution_with_a_resampled_kernel():
    moved, _ = shifted_reading(0.25, 0.0)
    weight = features(4, 6, 3, 3, seed=2)
    taller = 0.75 * F.pad(weight, (0, 0, 0, 1)) + 0.25 * F.pad(weight, (0, 0, 1, 0))  # 4 x 3
    assert_same(moved, F.conv2d(F.pad(X, (1, 1, 1, 2)), taller))


@pytest.mark.parametrize("modulated", [False, True])
def test_forward_applies_attention(modulated):
    layer = randomise(DeformableConv2d(6, 4, kernel_size=3, modulated=modulated, groups=2, offset_groups=3))
    mask = layer.modulation(X).sigmoid() if modulated else None
    conv = layer.convolution
    offset = layer.attention(X)
    assert offset.shape == (3, 54, 4, 5)
    assert_same(layer(X), deform_conv2d(X, offset, conv.weight, conv.bias, padding=1, mask=mask))


@pytest.mark.parametrize("sizes", [{"stride": 2}, {"dilation": 2}, {"padding": 0}, {"kernel_size": 2, "padding": 1}])
def test_has_the_shape_of_the_convolution(sizes):
    layer = randomise(DeformableConv2d(6, 4, **sizes))
    assert layer(X).shape == ordinary(layer, X).shape == (3, 4, *layer.attention(X).shape[2:])


def test_gradients_are_those_of_finite_differences():
    offset, weight, bias, *where, mask = arguments(*SETTINGS[1])
    free = [t.clone().requires_grad_() for t in (X, offset, weight, bias, mask)]

    def forward(x, offset, weight, bias, mask):
        return deform_conv2d(x, offset, weight, bias, *where, mask)

    assert torch.autograd.gradcheck(forward, free, fast_mode=True)


@pytest.mark.parametrize("modulated, predictors", [(False, 82_962), (True, 124_443)])
def test_predictor_size_on_512_channels(modulated, predictors):
    with torch.device("meta"):
        layer = DeformableConv2d(512, 512, kernel_size=3, modulated=modulated)
    total = sum(p.numel() for p in layer.parameters()) - sum(p.numel() for p in layer.convolution.parameters())
    assert total == predictors


@pytest.mark.parametrize("height, width", [(1, 5), (4, 1), (1, 1)])
def test_one_row_or_column_still_equals_the_convolution(height, width):
    layer = DeformableConv2d(6, 4).double()
    assert_same(layer(X[:, :, :height, :width]), ordinary(layer, X[:, :, :height, :width]))


def test_an_empty_batch_stays_empty():
    assert DeformableConv2d(6, 4, kernel_size=3, modulated=True).double()(X[:0]).shape == (0, 4, 4, 5)


def test_wrong_arguments_are_named():
    weight, offset = features(4, 6, 3, 3), features(3, 18, 4, 5)
    with pytest.raises(ValueError, match=r"give \(3, 18·g, 4, 5\)"):
        deform_conv2d(X, offset[:, :9], weight, padding=1)
    with pytest.raises(ValueError, match=r"give \(3, 18·g, 2, 3\)"):
        deform_conv2d(X, offset, weight)
    with pytest.raises(ValueError, match=r"mask has shape .*give \(3, 9, 4, 5\)"):
        deform_conv2d(X, offset, weight, padding=1, mask=offset)
    with pytest.raises(ValueError, match="6 channels"):
        deform_conv2d(X, offset, features(4, 5, 3, 3), padding=1)
    with pytest.raises(ValueError, match="use padding"):
        deform_conv2d(X, offset, features(4, 6, 7, 7))
    with pytest.raises(ValueError, match="kernel_size=4 is even"):
        DeformableConv2d(6, 4, kernel_size=4)
    with pytest.raises(ValueError, match="offset_groups=4 does not divide in_channels=6"):
        DeformableConv2d(6, 4, offset_groups=4)
