import pytest
import torch

from course_lib.spatial.stand_alone import StandAloneAttention
from tests.properties import assert_same, features, randomise


def small(kernel_size=3, num_heads=3, channels=12):
    return randomise(StandAloneAttention(channels, kernel_size=kernel_size, num_heads=num_heads))


def looped(block, x):
    """One position, one head at a time."""
    k, s, d = block.kernel_size, block.num_heads, block.channels // block.num_heads
    query, key, value = (layer(x) for layer in (block.query, block.key, block.value))
    (_, _, h, w), p = x.shape, k // 2
    y, maps = torch.zeros_like(x), torch.zeros(len(x), s, h, w, k * k, dtype=x.dtype)
    for b, head, i, j in ((b, n, i, j) for b in range(len(x)) for n in range(s) for i in range(h) for j in range(w)):
        part, inside, scores = slice(head * d, head * d + d), [], []
        for a, c in ((a, c) for a in range(k) for c in range(k) if 0 <= i + a - p < h and 0 <= j + c - p < w):
            r = torch.cat([block.rows[head, a], block.columns[head, c]])
            scores.append(query[b, part, i, j] @ (key[b, part, i + a - p, j + c - p] + r))
            inside.append((a * k + c, value[b, part, i + a - p, j + c - p]))
        for weight, (tap, v) in zip(torch.stack(scores).softmax(0), inside, strict=True):
            maps[b, head, i, j, tap] = weight
            y[b, part, i, j] += weight * v
    return y, maps


@pytest.mark.parametrize(("kernel_size", "shape"), [(3, (3, 12, 3, 5)), (5, (3, 12, 4, 2)), (3, (3, 12, 1, 1))])
def test_equals_the_double_loop(kernel_size, shape):
    block, x = small(kernel_size), features(*shape)
    y, maps = looped(block, x)
    assert_same(block(x), y)
    assert_same(block.attention(x), maps)


def test_forward_applies_attention():
    block, x = small(), features(3, 12, 4, 5)
    value = torch.nn.functional.unfold(block.value(x), 3, padding=1).view(3, 3, 4, 9, 4, 5)  # b s d k² h w
    assert_same(block(x), torch.einsum("bshwk,bsdkhw->bsdhw", block.attention(x), value).flatten(1, 2))


def test_a_window_of_one_pixel_returns_the_values():
    block, x = small(kernel_size=1), features(3, 12, 4, 5)
    assert_same(block(x), block.value(x))


def test_a_window_over_the_whole_image_is_masked_dense_attention():
    block, x = small(kernel_size=7), features(3, 12, 4, 3)
    for table in (block.rows, block.columns):
        torch.nn.init.zeros_(table)
    tokens = (layer(x).unflatten(1, (3, 4)).flatten(3).mT for layer in (block.query, block.key, block.value))
    dense = torch.nn.functional.scaled_dot_product_attention(*tokens, scale=1.0)
    assert_same(block(x), dense.mT.flatten(1, 2).unflatten(2, (4, 3)))


def test_no_weight_falls_outside_the_image():
    maps = small().attention(features(3, 12, 4, 5)).unflatten(-1, (3, 3))
    assert maps[:, :, 0, :, 0].count_nonzero() == 0 and maps[:, :, -1, :, 2].count_nonzero() == 0
    assert maps[:, :, :, 0, :, 0].count_nonzero() == 0 and maps[:, :, :, -1, :, 2].count_nonzero() == 0


def test_content_far_from_the_border_moves_with_the_image():
    block, x = small(), features(3, 12, 6, 7)
    assert_same(block(x.roll(1, dims=3))[:, :, 2:-2, 3:-2], block(x).roll(1, dims=3)[:, :, 2:-2, 3:-2])


def test_rows_tell_rows_apart_and_columns_columns():
    block = small()
    for layer in (block.key, block.columns):
        torch.nn.init.zeros_(getattr(layer, "weight", layer))
    centre = block.attention(features(3, 12, 3, 3))[:, :, 1, 1].unflatten(-1, (3, 3))
    assert_same(centre, centre[..., :1].expand_as(centre))
    assert centre.std(dim=2).min() > 0


def test_channels_of_a_head_share_one_weight_and_heads_do_not():
    block, x = small(), features(3, 12, 4, 5)
    torch.nn.init.ones_(block.value.weight)  # every channel of the values is the same image
    y = block(x).unflatten(1, (3, 4))
    assert_same(y, y[:, :, :1].expand_as(y))
    assert (y[:, 0] - y[:, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_parameters_grow_with_the_window_only_by_its_tables(kernel_size):
    block = StandAloneAttention(64, kernel_size=kernel_size)
    assert sum(p.numel() for p in block.parameters()) == 3 * 64**2 + 2 * kernel_size * 4 * 8


def test_tables_start_as_documented():
    torch.manual_seed(0)
    block = StandAloneAttention(1024, num_heads=8)
    assert abs(block.rows.std() - 128**-0.5) < 4e-3 and abs(block.columns.std() - 128**-0.5) < 4e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 4}, "kernel_size=4 has no centre; use an odd number"),
        ({"kernel_size": -1}, "kernel_size=-1"),
        ({"num_heads": 5}, r"divisible by 2 \* num_heads"),
        ({"num_heads": 12}, "even number of channels per head"),
        ({"num_heads": 0}, "num_heads=0"),
    ],
)
def test_errors_name_the_value_and_the_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        StandAloneAttention(12, **arguments)
