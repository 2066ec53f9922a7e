"""The trunk computes what the published network computes, and its features mean something."""

import efficientnet_lite_pytorch
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib.authoring.fold_trunk import EPSILON, PLACE, fold, folded, published, save
from course_lib.data.photographs import load_photograph
from course_lib.trunk import DEVIATION, MEAN, SameConv2d, Trunk, ask, load_trunk


@pytest.mark.parametrize(
    "kernel_size, stride, size", [(3, 1, (7, 5)), (3, 2, (7, 6)), (5, 2, (11, 8)), (5, 2, (2, 13))]
)
def test_a_same_convolution_is_the_loop_over_a_padded_image(kernel_size, stride, size):
    convolution, x = SameConv2d(1, 1, kernel_size, stride=stride).double(), torch.randn(1, 1, *size).double()
    rows, columns = (-(-side // stride) for side in size)
    before = [((n - 1) * stride + kernel_size - side) // 2 for n, side in zip((rows, columns), size, strict=True)]
    expected = convolution.bias.expand(rows, columns).clone()
    for i, j, a, b in np.ndindex(rows, columns, kernel_size, kernel_size):
        y, x_ = i * stride + a - max(before[0], 0), j * stride + b - max(before[1], 0)
        if 0 <= y < size[0] and 0 <= x_ < size[1]:
            expected[i, j] += convolution.weight[0, 0, a, b] * x[0, 0, y, x_]
    torch.testing.assert_close(convolution(x)[0, 0], expected)


def test_a_folded_convolution_is_the_convolution_and_its_norm():
    torch.manual_seed(0)
    convolution, norm = nn.Conv2d(3, 5, 2, bias=False).double(), nn.BatchNorm2d(5, eps=EPSILON).double().eval()
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        value.copy_(torch.rand(5) + 0.1)
    x = torch.randn(2, 3, 7, 5).double()
    weight, bias = fold(convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    torch.testing.assert_close(F.conv2d(x, weight, bias), norm(convolution(x)))


@pytest.fixture(scope="module")
def theirs():
    return {name: value.double() for name, value in published().items()}


def test_every_block_equals_the_published_network(theirs):
    original = efficientnet_lite_pytorch.EfficientNet.from_name("efficientnet-lite0").double().eval()
    original.load_state_dict(theirs)
    trunk = Trunk().double().eval()
    trunk.load_state_dict(folded(theirs))
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0)).double()
    mean, deviation = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, DEVIATION))
    with torch.no_grad():
        x = F.relu6(original._bn0(original._conv_stem((images - mean) / deviation)))
        for k in range(11):
            x = original._blocks[k](x)
            torch.testing.assert_close(trunk(images, block=k), x, rtol=1e-9, atol=1e-9)


def test_the_stored_file_is_the_folded_network_in_half_precision(theirs, tmp_path):
    save(folded(published()), tmp_path / "again.npz")
    with np.load(PLACE) as stored, np.load(tmp_path / "again.npz") as again:
        assert stored.files == again.files
        for name in stored.files:
            np.testing.assert_array_max_ulp(stored[name], again[name])  # processors round the product differently


def test_one_eye_of_the_cat_asks_the_other():
    features = load_trunk()(load_photograph("cat", height=200)[None], block=7)[0]
    weights = ask(features, 5, 7)
    weights[5, 7] = 0
    assert divmod(int(weights.argmax()), weights.shape[1]) == (6, 13) and weights[6, 13] > 10 * weights[3, 10]


def test_asking_is_the_softmax_of_cosines_of_centred_features():
    features = torch.randn(5, 3, 7, generator=torch.Generator().manual_seed(0)).double()
    centred = features.flatten(1) - features.flatten(1).mean(dim=1, keepdim=True)
    asking = centred[:, 2 * 7 + 4]
    cosines = torch.stack([asking @ other / (asking.norm() * other.norm()) for other in centred.mT])
    expected = (3 * cosines).exp() / (3 * cosines).exp().sum()
    torch.testing.assert_close(ask(features, 2, 4, sharpness=3).flatten(), expected)


def test_errors_name_the_value_and_the_cure():
    with pytest.raises(ValueError, match="block=11; the trunk has blocks 0 to 10"):
        Trunk()(torch.zeros(1, 3, 8, 8), block=11)
    with pytest.raises(ValueError, match=r"\[3, 8, 8\]; give b 3 h w"):
        Trunk()(torch.zeros(3, 8, 8))
