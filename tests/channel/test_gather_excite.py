import math

import pytest
import torch
from torch.nn.functional import conv2d

from course_lib.channel.gather_excite import GatherExcite
from tests.properties import assert_same, features, randomise


def nearest(cells, h, w):
    """Repeat the cells to h × w, by index."""
    rows = [i * cells.shape[2] // h for i in range(h)]
    columns = [j * cells.shape[3] // w for j in range(w)]
    return cells[:, :, rows][:, :, :, columns]


@pytest.mark.parametrize("size", [(5, 7), (8, 12), (1, 6)])
@pytest.mark.parametrize("extent", [0, 2, 3, 4, 8])
def test_minus_equals_the_double_loop(extent, size):
    h, w = size
    x, e = features(3, 13, h, w), extent
    if extent == 0:
        cells = x.sum((2, 3), keepdim=True) / (h * w)
    else:
        cells = torch.empty(3, 13, math.ceil(h / e), math.ceil(w / e), dtype=x.dtype)
        for i in range(cells.shape[2]):
            for j in range(cells.shape[3]):
                rows, columns = slice(max(0, i * e - e + 1), i * e + e), slice(max(0, j * e - e + 1), j * e + e)
                window = x[:, :, rows, columns]
                cells[:, :, i, j] = window.sum((2, 3)) / (window.shape[2] * window.shape[3])
    expected = x / (1 + torch.exp(-nearest(cells, h, w)))
    assert_same(GatherExcite(13, extent=extent)(x), expected)


@pytest.mark.parametrize("kind", ["theta", "plus"])
@pytest.mark.parametrize("extent", [0, 2, 4])
def test_learned_kinds_equal_their_convolutions_channel_by_channel(kind, extent):
    h, w = 5, 7
    size = (h, w) if extent == 0 else None
    block, x = randomise(GatherExcite(13, extent=extent, kind=kind, size=size, reduction=3)), features(3, 13, h, w)
    cells, convs = x, [layer for layer in block.gather if isinstance(layer, torch.nn.Conv2d)]
    norms = [layer for layer in block.gather if isinstance(layer, torch.nn.BatchNorm2d)]
    for step, (conv, norm) in enumerate(zip(convs, norms, strict=True)):
        how = {"stride": 2, "padding": 1} if extent else {}
        cells = torch.cat([conv2d(cells[:, c : c + 1], conv.weight[c : c + 1], **how) for c in range(13)], dim=1)
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        cells = (cells - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]
        if kind == "plus" or step < len(convs) - 1:
            cells = cells.clamp(min=0)
    if kind == "plus":
        w1, w2 = (block.excite[i].weight[:, :, 0, 0] for i in (0, 2))
        hidden = torch.einsum("ki,bihw->bkhw", w1, cells) + block.excite[0].bias[:, None, None]
        cells = torch.einsum("ck,bkhw->bchw", w2, hidden.clamp(min=0)) + block.excite[2].bias[:, None, None]
    assert len(convs) == (math.log2(extent) if extent else 1)
    assert_same(block(x), x / (1 + torch.exp(-nearest(cells, h, w))))


@pytest.mark.parametrize("extent", [0, 4])
def test_forward_applies_attention(extent):
    block, x = GatherExcite(13, extent=extent), features(3, 13, 5, 7)
    assert block.attention(x).shape == x.shape
    assert_same(block(x), block.attention(x) * x)


@pytest.mark.parametrize("extent", [0, 2, 4, 8])
def test_constant_input_gives_a_constant_gate(extent):
    """Fails where the padding is counted: at the border the mean would sink and the gate move towards one half."""
    x = torch.full((3, 13, 5, 7), 2.0, dtype=torch.float64)
    assert_same(GatherExcite(13, extent=extent).attention(x), x.sigmoid())


@pytest.mark.parametrize(("extent", "inputs"), [(2, 9), (4, 49), (0, 256)])
def test_an_output_pixel_sees_its_neighbourhood(extent, inputs):
    x = features(1, 1, 16, 16).requires_grad_()
    GatherExcite(1, extent=extent)(x)[0, 0, 8, 8].backward()
    assert int((x.grad != 0).sum()) == inputs


@pytest.mark.parametrize(("extent", "distinct"), [(2, 64), (4, 16), (0, 1)])
def test_there_are_as_many_gates_as_cells(extent, distinct):
    assert GatherExcite(1, extent=extent).attention(features(1, 1, 16, 16)).unique().numel() == distinct


@pytest.mark.parametrize("kind", ["minus", "theta"])
def test_a_gate_ignores_the_other_channels(kind):
    block, x = randomise(GatherExcite(13, extent=2, kind=kind)), features(3, 13, 5, 7)
    changed = x.clone()
    changed[:, 4] = features(3, 5, 7, seed=2)
    moved = (block.attention(changed) != block.attention(x)).any(dim=(0, 2, 3))
    assert moved.nonzero().flatten().tolist() == [4]


def test_plus_mixes_the_channels():
    block, x = randomise(GatherExcite(13, extent=2, kind="plus", reduction=1)), features(3, 13, 5, 7)
    torch.nn.init.constant_(block.gather[1].bias, 3)  # awake past the ReLU
    changed = x.clone()
    changed[:, 4] = features(3, 5, 7, seed=2)
    moved = (block.attention(changed) != block.attention(x)).any(dim=(0, 2, 3))
    assert moved.sum() > 6, "most gates, if not saturated, follow the one channel"


def test_parameters_added_to_resnet_50():
    blocks = {256: (3, 56), 512: (4, 28), 1024: (6, 14), 2048: (3, 7)}

    def count(kind, c, side):
        block = GatherExcite(c, kind=kind, size=None if kind == "minus" else (side, side))
        return sum(p.numel() for p in block.parameters())

    def total(kind):
        return sum(n * count(kind, c, side) for c, (n, side) in blocks.items())

    assert [total(kind) for kind in ("minus", "theta", "plus")] == [0, 5_549_568, 8_080_560]


def test_plus_starts_near_one_half():
    block, x = GatherExcite(13, extent=2, kind="plus", reduction=3).double().eval(), features(3, 13, 5, 7)
    assert (block.attention(x) - 0.5).abs().max() < 0.02


def test_depthwise_weights_start_with_variance_two_over_fan_in():
    torch.manual_seed(0)
    assert GatherExcite(512, extent=0, kind="theta", size=(5, 7)).gather[0].weight.var().item() == pytest.approx(
        2 / 35, rel=0.1
    )


def test_a_global_kernel_fits_one_size():
    block = GatherExcite(13, extent=0, kind="theta", size=(5, 7)).eval()
    with pytest.raises(ValueError, match=r"\(7, 5\).*size=\(5, 7\)"):
        block(torch.ones(3, 13, 7, 5))


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"kind": "mean"}, "use 'minus', 'theta' or 'plus'"),
        ({"extent": 1}, "use 0 for the whole map"),
        ({"extent": -2}, "use 0 for the whole map"),
        ({"extent": 6, "kind": "theta"}, "use a power of 2"),
        ({"kind": "theta"}, r"give size=\(h, w\)"),
        ({"extent": 2, "kind": "plus", "size": (5, 7)}, "for nothing else"),
        ({"extent": 2, "kind": "plus"}, "use reduction <= 8"),
        ({"channels": 0}, "use channels >= 1"),
    ],
)
def test_names_the_argument_that_fits(arguments, cure):
    with pytest.raises(ValueError, match=cure):
        GatherExcite(**{"channels": 8, **arguments})
