import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.spatial.dynamic_graph import DynamicGraph
from tests.properties import assert_same, features, randomise


def small(**arguments):
    block = randomise(DynamicGraph(6, **({"groups": 2} | arguments)))
    block.offset.weight.data *= 0.1  # samples stay near the image
    block.predict.weight.data *= 0.3
    return block


def bilinear(x, row, column):
    """All channels of one image at a place between pixels; 0 outside."""
    total = torch.zeros(len(x), dtype=x.dtype)
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            total += max(0.0, 1 - abs(float(row) - i)) * max(0.0, 1 - abs(float(column) - j)) * x[:, i, j]
    return total


def looped(block, x):
    """One pixel, one sample at a time."""
    k, r, g = block.kernel_size, block.dilation, block.groups
    offset = F.conv2d(x, block.offset.weight, padding=r * (k // 2), dilation=r)
    y, maps = x.clone(), torch.empty(len(x), k * k, *x.shape[2:], dtype=x.dtype)
    for b, i, j in ((b, i, j) for b in range(len(x)) for i in range(x.shape[2]) for j in range(x.shape[3])):
        heard = []
        for n in range(k * k):
            row, column = i + r * (n // k - k // 2), j + r * (n % k - k // 2)
            heard.append(bilinear(x[b], row + offset[b, 2 * n, i, j], column + offset[b, 2 * n + 1, i, j]))
        heard = torch.stack(heard, dim=1)  # c K
        predicted = block.predict.weight[:, :, 0, 0] @ heard.flatten()
        scores = predicted[g * k * k :]
        if block.compared:
            key, query = block.key.weight[:, :, 0, 0] @ heard, block.query.weight[:, :, 0, 0] @ x[b, :, i, j]
            scores = query @ key / math.sqrt(len(heard)) + block.place
        maps[b, :, i, j] = scores.softmax(0)
        for c in range(len(heard)):
            filters = predicted[: g * k * k].view(g, k * k)[c // (len(heard) // g)]
            y[b, c, i, j] += block.gamma * (filters * maps[b, :, i, j]) @ heard[c]
    return y, maps


@pytest.mark.parametrize("affinity", ["predicted", "compared"])
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [({}, (3, 6, 3, 4)), ({"dilation": 2}, (3, 6, 4, 3)), ({"samples": 1}, (3, 6, 3, 4)), ({}, (3, 6, 1, 1))],
)
def test_equals_the_double_loop(affinity, arguments, shape):
    block, x = small(affinity=affinity, **arguments), features(*shape)
    with torch.no_grad():
        y, maps = looped(block, x)
        assert_same(block(x), y)
        assert_same(block.attention(x), maps)


@pytest.mark.parametrize("affinity", ["predicted", "compared"])
def test_forward_applies_attention(affinity):
    block, x = small(affinity=affinity), features(3, 6, 3, 4)
    sampled = block.sample(x)
    filters = block.predict(sampled.flatten(1, 2))[:, :18].unflatten(1, (2, 9))
    heard = torch.einsum("bgkhw,bkhw,bgckhw->bgchw", filters, block.attention(x), sampled.unflatten(1, (2, 3)))
    assert_same(block(x), x + block.gamma * heard.flatten(1, 2))


@pytest.mark.parametrize("dilation", [1, 3])
def test_starts_on_the_plain_grid(dilation):
    block, x = DynamicGraph(6, groups=2, dilation=dilation).double(), features(3, 6, 5, 7)
    windows = F.unfold(x, 3, padding=dilation, dilation=dilation).view(3, 6, 9, 5, 7)
    assert_same(block.sample(x), windows)
    assert block.gamma == 1


def test_a_silent_gamma_gives_the_identity():
    block, x = small(), features(3, 6, 3, 4)
    torch.nn.init.zeros_(block.gamma)
    assert torch.equal(block(x), x)


def test_offsets_are_row_then_column_in_pixels():
    block, x = DynamicGraph(6, groups=2).double(), features(1, 6, 5, 7).abs()
    block.offset.weight.data[0, :, 1, 1] = 1.0  # sample 0 moves down by the sum of the pixel's channels
    place = block.places(x)[0, 0]
    assert_same(place[2, 3], torch.stack([1 + x[0, :, 2, 3].sum(), torch.tensor(2.0).double()]))


def test_pixels_that_are_not_sampled_do_not_matter():
    block, x = small(samples=1), features(1, 6, 5, 7)
    torch.nn.init.zeros_(block.offset.weight)
    other = x.clone()
    other[:, :, 0] += 1
    assert_same(block(other)[:, :, 1:], block(x)[:, :, 1:])


def test_compared_weights_follow_the_key_and_predicted_ones_have_no_query():
    block, x = small(affinity="compared"), features(3, 6, 3, 4)
    before = block.attention(x)
    block.query.weight.data *= -1
    block.place.data *= -1  # all scores change their sign
    ratio = before.log() + block.attention(x).log()
    assert_same(ratio, ratio[:, :1].expand_as(ratio))
    assert not hasattr(small(), "query")


@pytest.mark.parametrize(
    ("arguments", "parameters"),
    [
        ({}, 18 * 64 * 9 + 64 * 9 * 45 + 1),
        ({"affinity": "compared"}, 18 * 64 * 9 + 64 * 9 * 36 + 2 * 64**2 + 9 + 1),
    ],
)
def test_parameter_count(arguments, parameters):
    assert sum(p.numel() for p in DynamicGraph(64, **arguments).parameters()) == parameters


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 8}, "samples=8 make no square grid with a centre; use 1, 9, 25"),
        ({"samples": 4}, "samples=4"),
        ({"samples": -1}, "samples=-1"),
        ({"groups": 5}, "channels=6 cannot be shared by groups=5; use a divisor of 6"),
        ({"groups": 2, "affinity": "guessed"}, "'guessed' is unknown; use 'predicted' or 'compared'"),
    ],
)
def test_errors_name_the_value_and_the_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        DynamicGraph(6, **arguments)
