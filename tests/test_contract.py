"""What holds for every row of the catalogue."""

import copy
import inspect
import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from course_lib.catalog import CATALOG, Distribution, Free, Gate, Mechanism, mechanism
from tests.properties import assert_same, features, randomise

BATCH = 3
RELEASED = [row.module for row in CATALOG if "released" in inspect.signature(row.module).parameters]


@pytest.fixture(params=CATALOG, ids=lambda row: row.name)
def row(request) -> Mechanism:
    return request.param


def built(row: Mechanism, c=None, h=None, w=None):
    """The row's module at test size, every number random, and its inputs (b >= 3, h != w)."""
    sizes = [given or usual for given, usual in zip((c, h, w), row.size, strict=True)]
    torch.manual_seed(0)
    module = randomise(row.build(*sizes, **row.small))
    return module, tuple(features(*shape, seed=i) for i, shape in enumerate(row.inputs(BATCH, *sizes)))


def pairs(maps, kinds) -> list:
    """Each map beside its kind."""
    if isinstance(kinds, tuple) and not isinstance(kinds, Gate | Distribution | Free):
        return list(zip(maps, kinds, strict=True))
    return [(one, kinds) for one in ([maps] if isinstance(maps, Tensor) else maps)]


def test_shape_is_kept_or_as_documented(row):
    for h, w in (row.size[1:], row.size[:0:-1]):
        module, inputs = built(row, h=h, w=w)
        torch.manual_seed(1)
        assert module(*inputs).shape == row.output(BATCH, row.size[0], h, w)


def test_the_map_is_of_its_kind(row):
    module, inputs = built(row)
    for attention, kind in pairs(module.attention(*inputs), row.map):
        assert attention.isfinite().all()
        if isinstance(kind, Gate):
            assert kind.low <= attention.min() and attention.max() <= kind.high
            assert attention.std() > 0, "a gate that never differs tests nothing"
        if isinstance(kind, Distribution):
            assert attention.min() >= 0
            total = attention.sum(dim=kind.axis)
            assert_same(total, torch.ones_like(total))


def test_the_map_has_the_shape_that_the_row_says(row):
    module, inputs = built(row)
    known = {"b": BATCH} | dict(zip("chw", row.size, strict=True))
    shapes = row.map_shape.split(", ")
    maps = [attention for attention, _ in pairs(module.attention(*inputs), row.map)]
    for attention, shape in zip(maps, shapes * (len(maps) // len(shapes)), strict=True):
        lengths = dict(known)  # a letter means one length within a map
        axes = shape.split()
        assert attention.ndim == len(axes)
        for axis, length in zip(axes, attention.shape, strict=True):
            wanted = (
                eval(axis, {}, known) if set(axis) <= set("chw+-0123456789") else lengths.setdefault(axis, length)
            )
            assert length == wanted, f"axis {axis} of {shape}"


@pytest.mark.parametrize("module", RELEASED, ids=lambda module: module.__name__)
def test_the_default_is_the_paper(module):
    assert inspect.signature(module).parameters["released"].default is False


def test_every_parameter_gets_a_finite_gradient_at_the_start(row):
    torch.manual_seed(0)
    module = row.build(*row.size, **row.small).double()
    inputs = [features(*shape, seed=i) for i, shape in enumerate(row.inputs(BATCH, *row.size))]
    output = module(*inputs)
    (output * features(*output.shape, seed=9)).sum().backward()
    for name, parameter in module.named_parameters():
        moved = parameter.grad is not None and bool(parameter.grad.abs().max() > 1e-12)
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert moved != (name in row.no_gradient), f"{name}: gradient {moved}, catalogue says {row.no_gradient}"


def test_eval_is_deterministic(row):
    module, inputs = built(row)
    assert torch.equal(module(*inputs), module(*inputs))


def test_input_is_never_changed(row):
    module, inputs = built(row)
    before = copy.deepcopy(inputs)
    module.train()(*inputs)
    module.attention(*inputs)
    for now, then in zip(inputs, before, strict=True):
        assert torch.equal(now, then)


def test_samples_do_not_depend_on_each_other(row):
    module, inputs = built(row)
    together = module(*inputs)
    alone = module(*(x[1:2] for x in inputs))
    if row.couples_samples:
        assert not torch.allclose(together[1:2], alone)
    else:
        assert_same(together[1:2], alone)


def test_gradients_are_those_of_finite_differences(row):
    module, inputs = built(row)
    names, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())

    def forward(*tensors):
        weights = dict(zip(names, tensors[: len(names)], strict=True))
        return functional_call(module, weights, tensors[len(names) :])

    free = [t.detach().clone().requires_grad_() for t in (*parameters, *inputs)]
    assert torch.autograd.gradcheck(forward, free, fast_mode=True, atol=1e-4)


def test_runs_under_bfloat16_autocast(row):
    module, inputs = built(row)
    with torch.autocast("cpu", torch.bfloat16):
        assert module.float()(*(x.float() for x in inputs)).isfinite().all()


def test_traces_whole(row):
    module, inputs = built(row)
    if row.untraceable:
        pytest.skip(row.untraceable)
    torch._dynamo.reset()
    traced = torch.compile(module, fullgraph=True, backend="eager")
    assert_same(traced(*inputs), module(*inputs))


def test_state_dict_round_trip(row):
    module, inputs = built(row)
    torch.manual_seed(5)
    other = row.build(*row.size, **row.small).double().eval()
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(*inputs), module(*inputs))


def test_parameter_count_is_the_papers_formula(row):
    module, _ = built(row)
    assert sum(p.numel() for p in module.parameters()) == row.parameters(module)


def test_an_empty_batch_gives_an_empty_result(row):
    module, inputs = built(row)
    assert module(*(x[:0] for x in inputs)).shape == row.output(0, *row.size)


def test_wrong_inputs_are_refused_in_words(row):
    module, inputs = built(row)
    first, *rest = inputs
    channels = first.shape.index(row.size[0])
    one_more = torch.cat([first, first.narrow(channels, 0, 1)], dim=channels)
    for wrong in (first[0, 0], first.long()) if row.any_channels else (first[0, 0], one_more, first.long()):
        with pytest.raises(ValueError, match=r"\d"):
            module(wrong, *rest)


def test_nan_stays_visible(row):
    module, inputs = built(row)
    spoiled = [x.clone() for x in inputs]
    spoiled[0].view(BATCH, -1)[1] = math.nan
    output = module(*spoiled)
    assert output[1].isnan().any(), "a NaN in the input must not be hidden"


def test_paper_and_lesson_are_named(row):
    assert "arXiv" in row.paper or "no arXiv" in row.paper
    assert row.module.__doc__ and "Shape:" in row.module.__doc__


def test_a_row_is_found_by_its_name():
    assert all(mechanism(row.name) is row for row in CATALOG)
    with pytest.raises(ValueError, match="'Squeeze'"):
        mechanism("Squeeze")
