import math

import pytest
import torch

from course_lib.spatial.augmented_convolution import AugmentedConv2d
from tests.properties import assert_same, features, randomise


def small(**arguments):
    """Two heads; six channels of keys and four of values, so that no two sizes agree."""
    sizes = {"num_heads": 2, "key_ratio": 6 / 11, "value_ratio": 4 / 11, "size": (3, 4)} | arguments
    return randomise(AugmentedConv2d(7, 11, **sizes))


def looped(layer, x):
    """The maps, one query and one key at a time."""
    (b, _, h, w), s = x.shape, layer.num_heads
    query, key = (part(x).flatten(2).chunk(s, dim=1) for part in (layer.query, layer.key))  # s times b d n
    maps, d = torch.empty(b, s, h * w, h * w, dtype=x.dtype), query[0].shape[1]
    for head, i in ((head, i) for head in range(s) for i in range(h * w)):
        scores = []
        for j in range(h * w):
            r = layer.rows[j // w - i // w + layer.size[0] - 1] + layer.columns[j % w - i % w + layer.size[1] - 1]
            scores.append((query[head][:, :, i] * (key[head][:, :, j] + r)).sum(1) / math.sqrt(d))
        maps[:, head, i] = torch.stack(scores, dim=1).softmax(dim=1)
    return maps


@pytest.mark.parametrize("shape", [(3, 7, 3, 4), (3, 7, 2, 3), (3, 7, 1, 1)])
def test_maps_equal_the_double_loop_also_on_smaller_images(shape):
    layer, x = small(), features(*shape)
    assert_same(layer.attention(x), looped(layer, x))


@pytest.mark.parametrize("value_ratio", [2 / 11, 4 / 11, 10 / 11])
def test_forward_applies_attention_and_keeps_the_convolution_in_front(value_ratio):
    layer, x = small(value_ratio=value_ratio), features(3, 7, 3, 4)
    value = layer.value(x).flatten(2).unflatten(1, (2, -1))  # b s d n
    heard = torch.einsum("bsij,bsdj->bsdi", layer.attention(x), value).flatten(1, 2).unflatten(2, (3, 4))
    assert_same(layer(x), torch.cat([layer.conv(x), layer.project(heard)], dim=1))


def test_values_wider_than_keys_and_places_come_back_whole():
    layer = randomise(AugmentedConv2d(7, 12, num_heads=1, key_ratio=0.1, value_ratio=1, size=(2, 3)))
    x = features(3, 7, 2, 3)
    heard = torch.einsum("bsij,bdj->bdi", layer.attention(x), layer.value(x).flatten(2))
    assert_same(layer(x), layer.project(heard.unflatten(2, (2, 3))))


def test_what_a_position_attends_to_comes_back_at_its_place():
    layer = small()
    for part in (layer.query, layer.rows, layer.columns):
        torch.nn.init.zeros_(getattr(part, "weight", part))
    with torch.no_grad():  # the query is (1, 1, 1), and only the step "stay" pleases it
        torch.nn.init.ones_(layer.query.bias)
        torch.nn.init.zeros_(layer.key.weight)
        layer.rows[2] = layer.columns[3] = 100.0
    torch.nn.init.dirac_(layer.project.weight)
    torch.nn.init.zeros_(layer.project.bias)
    x = features(3, 7, 3, 4)
    assert_same(layer(x)[:, -4:], layer.value(x))


def test_the_tables_are_parameters_and_two_calls_agree():
    layer, x = small(), features(3, 7, 3, 4)
    assert {"rows", "columns"} <= {name for name, _ in layer.named_parameters()}
    assert torch.equal(layer(x), layer(x))


def test_only_a_common_shift_of_image_and_table_goes_unseen():
    layer = small(size=(3, 9))
    for part in (layer.query, layer.key):
        torch.nn.init.zeros_(part.weight)
    maps = layer.attention(features(3, 7, 3, 4)).unflatten(2, (3, 4)).unflatten(4, (3, 4))  # b s y x h w
    ratio = maps[..., 1:] / maps[..., :-1]  # depends on the step alone
    assert_same(ratio[:, :, :, 1:, :, 1:], ratio[:, :, :, :-1, :, :-1])


@pytest.mark.parametrize(("ratio", "parameters"), [(0.25, 1_983_328), (1, 1_052_032)])
def test_replaces_the_parameters_of_a_convolution_as_derived(ratio, parameters):
    layer = AugmentedConv2d(512, 512, key_ratio=ratio, value_ratio=ratio, size=14)
    assert sum(p.numel() for name, p in layer.named_parameters() if "bias" not in name) == parameters


def test_a_value_ratio_of_one_leaves_no_convolution():
    layer = AugmentedConv2d(7, 12, num_heads=4, value_ratio=1.0)
    assert layer.conv is None and layer(torch.zeros(2, 7, 3, 4)).shape == (2, 12, 3, 4)


def test_tables_start_as_documented():
    torch.manual_seed(0)
    layer = AugmentedConv2d(8, 512, num_heads=2, key_ratio=0.5, size=50)  # 128 numbers per head
    assert abs(layer.rows.std() - 128**-0.5) < 3e-3 and abs(layer.columns.std() - 128**-0.5) < 3e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size=4 has no centre; use an odd number"),
        ({"key_ratio": 0}, "key_ratio=0.* use positive numbers, or nn.Conv2d"),
        ({"value_ratio": 0}, "value_ratio=0 leave no attention"),
        ({"num_heads": 0}, "num_heads=0"),
        ({"num_heads": 16}, "out_channels=12 cannot hold the 16 channels .* num_heads <= 12"),
        ({"value_ratio": 2}, "use value_ratio <= 1"),
    ],
)
def test_errors_name_the_value_and_the_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        AugmentedConv2d(7, 12, **arguments)


def test_an_image_beyond_the_tables_is_refused():
    with pytest.raises(ValueError, match=r"input is 3×5, the tables reach 3×4; build the layer with size=\(3, 5\)"):
        small()(features(1, 7, 3, 5))


def test_forward_stores_no_map():
    stored = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: stored.append(t.numel()) or t, lambda t: t):
        AugmentedConv2d(8, 16, num_heads=2)(torch.randn(1, 8, 20, 20))
    assert max(stored) < 2 * 400**2
