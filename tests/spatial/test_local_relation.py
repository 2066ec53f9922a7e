import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.local_relation import LocalRelation
from tests.properties import assert_same, features, randomise


def small(**arguments):
    return randomise(LocalRelation(12, **({"kernel_size": 3, "groups": 3} | arguments)))


def looped(block, x, phi):
    """One position, one group at a time."""
    k, g, m = block.kernel_size, block.groups, block.channels // block.groups
    query, key, prior = block.query(x), block.key(x), block.prior().unflatten(1, (k, k))
    (_, _, h, w), p = x.shape, k // 2
    y, maps = torch.zeros_like(x), torch.zeros(len(x), g, h, w, k, k, dtype=x.dtype)
    for b, n, i, j in ((b, n, i, j) for b in range(len(x)) for n in range(g) for i in range(h) for j in range(w)):
        inside = [(a, c) for a in range(k) for c in range(k) if 0 <= i + a - p < h and 0 <= j + c - p < w]
        scores = [phi(query[b, n, i, j], key[b, n, i + a - p, j + c - p]) + prior[n, a, c] for a, c in inside]
        for weight, (a, c) in zip(torch.stack(scores).softmax(0), inside, strict=True):
            maps[b, n, i, j, a, c] = weight
            y[b, n * m : n * m + m, i, j] += weight * x[b, n * m : n * m + m, i + a - p, j + c - p]
    return block.project(y), maps.flatten(4)


PHI = {"squared": lambda q, k: -((q - k) ** 2), "absolute": lambda q, k: -abs(q - k), "product": lambda q, k: q * k}


@pytest.mark.parametrize("composability", PHI)
@pytest.mark.parametrize("geometry", ["mlp", "table"])
def test_equals_the_double_loop(composability, geometry):
    block, x = small(composability=composability, geometry=geometry), features(3, 12, 2, 4)
    y, maps = looped(block, x, PHI[composability])
    assert_same(block(x), y)
    assert_same(block.attention(x), maps)


@pytest.mark.parametrize("shape", [(3, 12, 1, 1), (3, 12, 1, 4)])
def test_equals_the_double_loop_where_the_window_is_larger_than_the_image(shape):
    block, x = small(kernel_size=5), features(*shape)
    assert_same(block(x), looped(block, x, PHI["squared"])[0])


def test_forward_applies_attention():
    block, x = small(), features(3, 12, 4, 5)
    value = F.unfold(x, 3, padding=1).view(3, 3, 4, 9, 4, 5)  # b g m k² h w
    y = torch.einsum("bghwk,bgmkhw->bgmhw", block.attention(x), value)
    assert_same(block(x), block.project(y.flatten(1, 2)))


def test_the_papers_prior_is_two_layers_on_the_offset():
    block = small(kernel_size=5)
    first, _, second = block.geometry
    offset = torch.tensor([-0.5, 1.0], dtype=torch.float64)  # one up, two to the right, of at most two
    expected = second.weight @ (first.weight @ offset + first.bias).relu()
    assert_same(block.prior()[:, 1 * 5 + 4], expected)


def test_without_questions_it_is_a_depthwise_convolution_with_a_positive_kernel_of_sum_one():
    block, x = small(geometry="table"), features(3, 12, 5, 6)
    for layer in (block.query, block.key):
        torch.nn.init.zeros_(layer.weight)
    kernel = block.geometry.softmax(dim=1).repeat_interleave(4, 0).view(12, 1, 3, 3)
    inside = F.conv2d(torch.ones_like(x), kernel, padding=1, groups=12)
    assert_same(block(x), block.project(F.conv2d(x, kernel, padding=1, groups=12) / inside))


@pytest.mark.parametrize(("composability", "unchanged"), [("squared", True), ("absolute", True), ("product", False)])
def test_only_differences_forget_a_common_shift_of_query_and_key(composability, unchanged):
    block, x = small(composability=composability), features(3, 12, 4, 5)
    before = block.attention(x)
    for layer in (block.query, block.key):
        layer.bias = torch.nn.Parameter(torch.full((3,), 2.0, dtype=torch.float64))
    assert torch.allclose(block.attention(x), before) == unchanged


def test_no_weight_falls_outside_the_image():
    maps = small().attention(features(3, 12, 4, 5)).unflatten(-1, (3, 3))
    assert maps[:, :, 0, :, 0].count_nonzero() == 0 and maps[:, :, -1, :, 2].count_nonzero() == 0
    assert maps[:, :, :, 0, :, 0].count_nonzero() == 0 and maps[:, :, :, -1, :, 2].count_nonzero() == 0


def test_constant_features_stay_constant_also_at_the_border():
    block = small()
    torch.nn.init.dirac_(block.project.weight)
    x = features(3, 12, 1, 1).expand(3, 12, 4, 5)
    assert_same(block(x), x)


def test_groups_share_weights_and_differ():
    maps = small().attention(features(3, 12, 4, 5))
    assert maps.shape[1] == 3 and (maps[:, 0] - maps[:, 1]).abs().max() > 0.1


@pytest.mark.parametrize(
    ("geometry", "parameters"), [("mlp", 2 * 8 * 64 + 64**2 + 48 + 16 * 8), ("table", 2 * 8 * 64 + 64**2 + 8 * 49)]
)
def test_parameter_count(geometry, parameters):
    assert sum(p.numel() for p in LocalRelation(64, geometry=geometry).parameters()) == parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size=4 has no centre; use an odd number"),
        ({"groups": 5}, "use a divisor of 12"),
        ({"groups": 0}, "groups=0"),
        ({"groups": 3, "composability": "cosine"}, "'cosine' is unknown; use one of squared, absolute, product"),
        ({"groups": 3, "geometry": "sine"}, "use 'mlp' or 'table'"),
    ],
)
def test_errors_name_the_value_and_the_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        LocalRelation(12, **arguments)
