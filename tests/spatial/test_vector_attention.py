import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.vector_attention import PairwiseVectorAttention, PatchwiseVectorAttention
from tests.properties import assert_same, features, randomise

SIZES = {"kernel_size": 3, "hidden": 5, "value_channels": 6, "share": 3}  # two weights, three channels each


def pairwise(**arguments):
    return randomise(PairwiseVectorAttention(7, **(SIZES | arguments)))


def patchwise(**arguments):
    return randomise(PatchwiseVectorAttention(7, **(SIZES | arguments)))


def mirror(i, length):
    """Where a step beyond the border lands: -1 -> 1, length -> length - 2."""
    return length - 1 - abs(length - 1 - abs(i))


def window(i, j, k, h, w):
    """The k² places of the window around (i, j), row by row."""
    half = k // 2
    return [(mirror(i + a, h), mirror(j + c, w)) for a in range(-half, half + 1) for c in range(-half, half + 1)]


def gamma(layers, numbers):
    """weigh, on one vector of numbers."""
    for layer in layers:
        if isinstance(layer, torch.nn.BatchNorm2d):
            numbers = (numbers - layer.running_mean) / (layer.running_var + layer.eps).sqrt()
            numbers = numbers * layer.weight + layer.bias
        elif isinstance(layer, torch.nn.Conv2d):
            numbers = layer.weight[:, :, 0, 0] @ numbers + (0 if layer.bias is None else layer.bias)
        else:
            numbers = numbers.clamp(min=0)
    return numbers


DELTA = {
    "subtraction": lambda q, k: q - k,
    "summation": lambda q, k: q + k,
    "hadamard": lambda q, k: q * k,
    "concatenation": lambda q, k: torch.cat([q, k]),
    "dot": lambda q, k: (q @ k)[None],
}


def weighted(maps, block, x):
    """Apply maps b c' h w k² one position and one channel at a time."""
    value, y = block.value(x), torch.zeros(len(x), 6, *x.shape[2:], dtype=x.dtype)
    (_, _, h, w) = x.shape
    for c, i, j in ((c, i, j) for c in range(6) for i in range(h) for j in range(w)):
        for t, (a, e) in enumerate(window(i, j, block.kernel_size, h, w)):
            y[:, c, i, j] += maps[:, c % 2, i, j, t] * value[:, c, a, e]
    return y


@pytest.mark.parametrize("relation", DELTA)
@pytest.mark.parametrize("position", [True, False])
def test_pairwise_equals_the_double_loop(relation, position):
    block, x = pairwise(relation=relation, position=position), features(3, 7, 3, 4)
    query, key = block.query(x), block.key(x)
    maps = torch.empty(3, 2, 3, 4, 9, dtype=torch.float64)
    rows, columns = torch.linspace(-1, 1, 3).double(), torch.linspace(-1, 1, 4).double()
    for b, i, j in ((b, i, j) for b in range(3) for i in range(3) for j in range(4)):
        scores = []
        for a, c in window(i, j, 3, 3, 4):
            related = DELTA[relation](query[b, :, i, j], key[b, :, a, c])
            if position:
                step = torch.stack([columns[j] - columns[c], rows[i] - rows[a]])
                related = torch.cat([related, block.position.weight[:, :, 0, 0] @ step])
            scores.append(gamma(block.weigh, related))
        maps[b, :, i, j] = torch.stack(scores, dim=1).softmax(dim=1)
    assert_same(block.attention(x), maps)
    assert_same(block(x), weighted(maps, block, x))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_patchwise_equals_the_double_loop(kernel_size):
    block, x = patchwise(kernel_size=kernel_size), features(3, 7, 3, 4)
    query, key = block.query(x), block.key(x)
    maps = torch.empty(3, 2, 3, 4, kernel_size**2, dtype=torch.float64)
    for b, i, j in ((b, i, j) for b in range(3) for i in range(3) for j in range(4)):
        keys = torch.stack([key[b, :, a, c] for a, c in window(i, j, kernel_size, 3, 4)], dim=1)  # r k²
        maps[b, :, i, j] = gamma(block.weigh, torch.cat([query[b, :, i, j], keys.flatten()])).view(2, -1)
    assert_same(block.attention(x), maps)
    assert_same(block(x), weighted(maps, block, x))


@pytest.mark.parametrize("build", [pairwise, patchwise])
def test_forward_applies_attention(build):
    block, x = build(), features(3, 7, 4, 5)
    padded = F.pad(block.value(x), [1] * 4, mode="reflect")
    value = F.unfold(padded, 3).view(3, 3, 2, 9, 4, 5)  # b share c' k² h w
    y = torch.einsum("bchwk,bsckhw->bschw", block.attention(x), value)
    assert_same(block(x), y.flatten(1, 2))


@pytest.mark.parametrize("build", [pairwise, patchwise])
def test_channel_c_and_c_plus_two_share_a_weight_and_neighbours_do_not(build):
    block, x = build(), features(3, 7, 4, 5)
    torch.nn.init.ones_(block.value.weight)  # every channel of the values is the same image ...
    torch.nn.init.zeros_(block.value.bias)
    y = block(x)
    assert_same(y[:, :2], y[:, 2:4])
    assert_same(y[:, :2], y[:, 4:])
    assert (y[:, 0] - y[:, 1]).abs().max() > 0.1  # ... so a scalar attention would give six equal channels


@pytest.mark.parametrize("position", [False, True])
def test_without_positions_the_window_is_a_set(position):
    block, x = pairwise(position=position), features(1, 7, 3, 3)
    order = torch.tensor([2, 0, 1, 8, 4, 6, 7, 3, 5])  # the centre stays
    shuffled = x.flatten(2)[:, :, order].view_as(x)
    assert torch.allclose(block(shuffled)[:, :, 1, 1], block(x)[:, :, 1, 1]) != position


def test_patchwise_with_a_constant_gamma_is_a_depthwise_convolution():
    block, x = patchwise(), features(3, 7, 4, 5)
    torch.nn.init.zeros_(block.weigh[5].weight)
    kernel = block.weigh[5].bias.view(2, 1, 3, 3).repeat(3, 1, 1, 1)
    expected = F.conv2d(F.pad(block.value(x), [1] * 4, mode="reflect"), kernel, groups=6)
    assert_same(block(x), expected)


def test_pairwise_keeps_constant_features_and_patchwise_need_not():
    x = features(3, 7, 1, 1).expand(3, 7, 4, 5)
    assert_same(pairwise()(x), pairwise().value(x))
    assert (patchwise()(x) - patchwise().value(x)).abs().max() > 0.1


def test_patchwise_weights_may_be_negative_and_sum_to_anything():
    maps = patchwise().attention(features(3, 7, 4, 5))
    assert maps.min() < 0 and maps.sum(dim=-1).std() > 0.1


@pytest.mark.parametrize(
    ("channels", "pair", "patch"), [(256, 25_170, 36_216), (512, 100_250, 140_656), (1024, 400_170, 554_208)]
)
def test_has_as_many_parameters_as_the_released_modules(channels, pair, patch):
    assert sum(p.numel() for p in PairwiseVectorAttention(channels).parameters()) == pair
    assert sum(p.numel() for p in PatchwiseVectorAttention(channels).parameters()) == patch


@pytest.mark.parametrize("kind", [PairwiseVectorAttention, PatchwiseVectorAttention])
@pytest.mark.parametrize(
    ("channels", "arguments", "message"),
    [
        (32, {"kernel_size": 4}, "kernel_size=4 has no centre; use an odd number"),
        (15, {}, "channels=15 leaves hidden=0"),
        (20, {}, "value_channels=5 .* cannot be shared by share=8"),
        (32, {"share": 0}, "share=0"),
    ],
)
def test_errors_name_the_value_and_the_cure(kind, channels, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(channels, **arguments)


@pytest.mark.parametrize("build", [pairwise, patchwise])
def test_a_window_that_cannot_be_reflected_is_refused(build):
    with pytest.raises(ValueError, match=r"image of 2×9 cannot be reflected by 2.*use kernel_size <= 3"):
        build(kernel_size=5)(features(1, 7, 2, 9))


def test_an_unknown_relation_is_named():
    with pytest.raises(ValueError, match="'minus' is unknown; use one of subtraction"):
        pairwise(relation="minus")
