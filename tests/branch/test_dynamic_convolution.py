import pytest
import torch
from torch.nn import functional as F

from course_lib.branch.dynamic_convolution import DynamicConv2d
from tests.properties import assert_same, features, randomise


def route_by_hand(layer, image):
    z = image.flatten(1).mean(dim=1)
    if layer.normalise == "sigmoid":
        return 1 / (1 + (-(layer.route.weight @ z + layer.route.bias)).exp())
    hidden = (layer.route[0].weight @ z).clamp(min=0)
    odds = ((layer.route[2].weight @ hidden + layer.route[2].bias) / layer.temperature).exp()
    return odds / odds.sum()


@pytest.mark.parametrize("stride, groups, bias", [(1, 1, True), (2, 3, True), (1, 3, False)])
@pytest.mark.parametrize("normalise", ["softmax", "sigmoid"])
def test_equals_each_image_with_its_own_kernel(normalise, stride, groups, bias):
    layer = DynamicConv2d(15, 6, 3, experts=5, normalise=normalise, stride=stride, groups=groups, bias=bias)
    layer, x = randomise(layer), features(3, 15, 5, 7)
    if normalise == "softmax":
        layer.temperature.fill_(7)
    for b in range(3):
        weights = route_by_hand(layer, x[b])
        biases = layer.bias if bias else [None] * 5
        outputs = [F.conv2d(x[b : b + 1], layer.weight[k], biases[k], stride, 1, 1, groups) for k in range(5)]
        expected = sum(weights[k] * outputs[k] for k in range(5))
        assert_same(layer(x)[b : b + 1], expected)


@pytest.mark.parametrize("normalise", ["softmax", "sigmoid"])
def test_forward_applies_attention(normalise):
    layer, x = randomise(DynamicConv2d(13, 6, 5, normalise=normalise)), features(3, 13, 5, 7)
    weights = layer.attention(x)
    outputs = [F.conv2d(x, w, b, padding=2) for w, b in zip(layer.weight, layer.bias, strict=True)]
    assert_same(layer(x), sum(p[:, None, None, None] * y for p, y in zip(weights.unbind(1), outputs, strict=True)))


def test_one_expert_is_a_convolution():
    layer, x = randomise(DynamicConv2d(13, 6, 3, experts=1)), features(3, 13, 5, 7)
    assert_same(layer(x), F.conv2d(x, layer.weight[0], layer.bias[0], padding=1))


def test_a_sure_route_picks_one_kernel():
    layer, x = randomise(DynamicConv2d(13, 6, 3)), features(3, 13, 5, 7)
    torch.nn.init.zeros_(layer.route[2].weight)
    layer.route[2].bias.data = torch.tensor([0.0, 0, 900, 0]).double()
    layer.temperature.fill_(1)
    assert_same(layer(x), F.conv2d(x, layer.weight[2], layer.bias[2], padding=1))


def test_temperature_flattens_the_weights_and_lets_every_expert_learn():
    x = features(3, 13, 5, 7)
    smallest = {}
    for temperature in (30, 0.01):
        layer = randomise(DynamicConv2d(13, 6, 3))
        layer.temperature.fill_(temperature)
        layer(x).square().sum().backward()
        norms = torch.stack([expert.grad.norm() for expert in layer.weight])
        smallest[temperature] = norms.min() / norms.max()
    assert smallest[30] > 0.1 and smallest[0.01] < 1e-3


def test_temperature_of_the_paper():
    logits = torch.tensor([3.0, 1, 0, -2])
    layer = DynamicConv2d(8, 4, 3, temperature=30)
    torch.nn.init.zeros_(layer.route[2].weight)
    layer.route[2].bias.data = logits
    for temperature, expected in ((30, [0.27, 0.25, 0.25, 0.23]), (1, [0.84, 0.11, 0.04, 0.01])):
        layer.temperature.fill_(temperature)
        weights = layer.attention(torch.ones(1, 8, 3, 3))[0]
        torch.testing.assert_close(weights, torch.tensor(expected), atol=6e-3, rtol=0)


def test_temperature_is_saved_with_the_weights():
    layer, other = DynamicConv2d(8, 4, 3), DynamicConv2d(8, 4, 3)
    layer.temperature.fill_(1)
    other.load_state_dict(layer.state_dict())
    assert other.temperature == 1


def test_experts_start_apart_and_as_torch_starts_one():
    torch.manual_seed(0)
    layer, plain = DynamicConv2d(64, 32, 3), torch.nn.Conv2d(64, 32, 3)
    for kernel in layer.weight:
        torch.testing.assert_close(kernel.std(), plain.weight.std(), rtol=0.05, atol=0)
    assert not torch.allclose(layer.weight[0], layer.weight[1])


def test_parameter_counts():
    def count(**arguments):
        return sum(p.numel() for p in DynamicConv2d(64, 32, 3, **arguments).parameters())

    assert count() == 4 * (9 * 64 * 32 + 32) + 64**2 // 4 + 4 * 64 // 4 + 4
    assert count(normalise="sigmoid", experts=8) == 8 * (9 * 64 * 32 + 32) + 64 * 8 + 8


def test_names_what_would_fit():
    with pytest.raises(ValueError, match="use 3 or 5"):
        DynamicConv2d(8, 8, 4)
    with pytest.raises(ValueError, match="groups=3 must divide in_channels=8"):
        DynamicConv2d(8, 9, 3, groups=3)
    with pytest.raises(ValueError, match="'sigmoid'"):
        DynamicConv2d(8, 8, 3, normalise="none")
    with pytest.raises(ValueError, match="use reduction <= 3"):
        DynamicConv2d(3, 8, 3)
    with pytest.raises(ValueError, match="temperature=0"):
        DynamicConv2d(8, 8, 3, temperature=0)
