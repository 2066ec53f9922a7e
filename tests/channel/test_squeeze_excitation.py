import pytest
import torch

from course_lib.channel.squeeze_excitation import SqueezeExcitation, load_published
from tests.properties import assert_same, features, randomise


@pytest.mark.parametrize("bias", [False, True])
def test_equals_the_double_loop(bias):
    block = randomise(SqueezeExcitation(13, reduction=3, bias=bias))
    x = features(3, 13, 5, 7)
    expected = torch.empty_like(x)
    for b in range(3):
        z = [x[b, c].sum() / (5 * 7) for c in range(13)]
        hidden = [
            max(
                0.0,
                sum(block.squeeze.weight[j, c] * z[c] for c in range(13)) + (block.squeeze.bias[j] if bias else 0),
            )
            for j in range(4)
        ]
        for c in range(13):
            logit = sum(block.excite.weight[c, j] * hidden[j] for j in range(4)) + (
                block.excite.bias[c] if bias else 0
            )
            expected[b, c] = x[b, c] / (1 + torch.exp(-logit))
    assert_same(block(x), expected)


def test_forward_applies_attention():
    block, x = randomise(SqueezeExcitation(13, reduction=3)), features(3, 13, 5, 7)
    assert_same(block(x), block.attention(x) * x)


def test_zero_weights_halve_the_input():
    block, x = SqueezeExcitation(13, reduction=3).double(), features(3, 13, 5, 7)
    torch.nn.init.zeros_(block.excite.weight)
    assert_same(block(x), x / 2)


def test_gates_see_only_the_mean_of_each_channel():
    block, x = randomise(SqueezeExcitation(13, reduction=3)), features(3, 13, 5, 7)
    order = torch.randperm(35, generator=torch.Generator().manual_seed(0))
    shuffled = x.flatten(2)[:, :, order].unflatten(2, (5, 7))
    assert_same(block.attention(shuffled), block.attention(x))


def test_permuting_channels_and_weights_together_permutes_the_output():
    block, permuted = (randomise(SqueezeExcitation(13, reduction=3)) for _ in range(2))
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    permuted.squeeze.weight.data = block.squeeze.weight.data[:, order]
    permuted.excite.weight.data = block.excite.weight.data[order]
    x = features(3, 13, 5, 7)
    assert_same(permuted(x[:, order]), block(x)[:, order])


def test_adds_2514944_parameters_to_resnet_50():
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}  # channels: blocks; Hu et al., equation 5
    total = sum(n * sum(p.numel() for p in SqueezeExcitation(c).parameters()) for c, n in blocks.items())
    assert total == 2_514_944


@pytest.mark.parametrize("reduction", [0, 9])
def test_names_the_reduction_that_fits(reduction):
    with pytest.raises(ValueError, match="use reduction <= 8"):
        SqueezeExcitation(8, reduction=reduction)


@pytest.mark.parametrize(
    ("prefix", "first", "second"),
    [
        ("layer1.0.se.", "fc1", "fc2"),  # timm
        ("features.4.block.1.", "fc1", "fc2"),  # torchvision
        ("layer1.0.se_module.", "fc1", "fc2"),  # ports of the authors' models
        ("conv2_1_1x1_", "down", "up"),  # the authors' Caffe layers
    ],
)
def test_loads_published_convolutions_with_biases(tmp_path, prefix, first, second):
    w1, b1, w2, b2 = features(4, 13, 1, 1), features(4), features(13, 4, 1, 1, seed=2), features(13, seed=3)
    names = (f"{first}.weight", f"{first}.bias", f"{second}.weight", f"{second}.bias")
    file = {prefix + name: tensor for name, tensor in zip(names, (w1, b1, w2, b2), strict=True)}
    torch.save(file | {"bn1.weight": torch.ones(3)}, tmp_path / "se.pth")
    block = SqueezeExcitation(13, reduction=3, bias=True).double()
    block.load_state_dict(load_published(torch.load(tmp_path / "se.pth", weights_only=True), prefix))
    x = features(3, 13, 5, 7)
    hidden = torch.nn.functional.conv2d(x.mean((2, 3), keepdim=True), w1, b1).relu()
    assert_same(block(x), x * torch.nn.functional.conv2d(hidden, w2, b2).sigmoid())


def test_loads_published_linear_layers_without_biases():
    w1, w2 = features(4, 13), features(13, 4, seed=2)
    block = SqueezeExcitation(13, reduction=3).double()
    block.load_state_dict(load_published({"fc.0.weight": w1, "fc.2.weight": w2}))
    x = features(3, 13, 5, 7)
    assert_same(block(x), x * ((x.mean((2, 3)) @ w1.T).relu() @ w2.T).sigmoid()[:, :, None, None])


def test_refuses_published_files_that_are_no_squeeze_excitation():
    with pytest.raises(ValueError, match=r"se.conv_reduce.weight.*fc1"):
        load_published({"se.conv_reduce.weight": torch.ones(4, 13, 1, 1)}, prefix="se.")
    with pytest.raises(ValueError, match=r"no key starts with prefix='layer9\.'"):
        load_published({"layer1.0.se.fc1.weight": torch.ones(4, 13, 1, 1)}, prefix="layer9.")
