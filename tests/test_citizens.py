"""Every row of the catalogue as engineers use it; where something cannot hold, the row says why."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.export import Dim, export
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import prune

from course_lib.catalog import CATALOG, CITIZEN, FUSED, Mechanism
from tests.parallel import problems
from tests.properties import assert_same, features
from tests.test_contract import built


def larger(row: Mechanism, b: int, more: int) -> tuple:
    """Inputs for b samples whose sides are ``more`` times 4 longer."""
    c, h, w = row.size
    shapes = row.inputs(b, c, h + 4 * more, w + 4 * more)
    return tuple(features(*shape, seed=i) for i, shape in enumerate(shapes))


def exported(row: Mechanism, module: nn.Module, *, size: bool):
    """The program of the row's module with a free batch and, if asked for, every axis free that follows h or w."""
    inputs, other = larger(row, 3, 0), larger(row, 3, 1)
    free = tuple(
        {0: Dim("b", min=2, max=64)} | {i: Dim.AUTO for i in range(1, x.ndim) if size and x.shape[i] != more.shape[i]}
        for x, more in zip(inputs, other, strict=True)
    )
    with torch.no_grad():
        return export(module, inputs, dynamic_shapes=free).module()


def batch(row: Mechanism) -> None:
    if "size" not in row.cannot:
        return  # that program's batch is free as well
    module, _ = built(row)
    more = larger(row, 5, 0)
    with torch.no_grad():  # as it was exported: a program that answers, and does not learn
        assert_same(exported(row, module, size=False)(*more), module(*more))


def size(row: Mechanism) -> None:
    module, _ = built(row)
    more = larger(row, 5, 1)
    with torch.no_grad():
        assert_same(exported(row, module, size=True)(*more), module(*more))


class Adapter(nn.Module):
    """A wrapper that adds to what the layer computes, and shows the layer's attributes, as those of PEFT do."""

    def __init__(self, base: nn.Module, size: float):
        super().__init__()
        self.base, self.size = base, size

    def __getattr__(self, name: str):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("base"), name)

    def forward(self, x):
        y = self.base(x)
        return y + self.size * features(*y.shape, seed=round(10 * abs(self.size)))


def called(row: Mechanism) -> None:
    module, inputs = built(row)
    expected = module(*inputs)
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)]
    for name in set(layers) - {
        key.rpartition(".")[0] for key, why in row.no_gradient.items() if "no gradient" in why
    }:
        effects = []
        for size in (0.1, 1, 10, 100, -1, -10, -100):  # what is small a hard gate may hide, what is large a softmax
            changed = copy.deepcopy(module)
            changed.set_submodule(name, Adapter(changed.get_submodule(name), size))
            effects.append(not torch.equal(changed(*inputs), expected))
        assert any(effects), f"an adapter on {name} has no effect"
    for name in layers:
        prune.l1_unstructured(module.train().get_submodule(name), "weight", amount=0.3)
    for _ in range(2):  # a weight that is only read keeps the graph of the first step
        module(*inputs).square().mean().backward()
    module, inputs = built(row)
    int8 = torch.ao.quantization.quantize_dynamic(module.float(), {nn.Linear}, dtype=torch.qint8)
    assert int8(*(x.float() for x in inputs)).isfinite().all()


def half(row: Mechanism) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        module, inputs = built(row)
        module(*inputs)
        assert module.to(dtype)(*(x.to(dtype) for x in inputs)).dtype == dtype


def twice(row: Mechanism) -> None:
    module, inputs = built(row)
    inputs = [x.requires_grad_() for x in inputs]
    slopes = torch.autograd.grad(module(*inputs).square().sum(), inputs, create_graph=True, allow_unused=True)
    sum(slope.square().sum() for slope in slopes if slope is not None).backward()
    assert all(p.grad.isfinite().all() for p in module.parameters() if p.grad is not None)


def ddp(row: Mechanism) -> None:
    assert problems()[row.name] is None, problems()[row.name]


def samples(row: Mechanism) -> None:
    module, inputs = built(row)
    weights = dict(module.named_parameters())

    def loss(weights, *sample):
        return functional_call(module, weights, tuple(x[None] for x in sample)).square().sum()

    each = vmap(grad(loss), in_dims=(None, *(0 for _ in inputs)), randomness="same")(weights, *inputs)
    total = grad(lambda weights: functional_call(module, weights, inputs).square().sum())(weights)
    for name, slopes in each.items():
        torch.testing.assert_close(slopes.sum(dim=0), total[name], rtol=1e-6, atol=1e-6)


def copies(row: Mechanism) -> None:
    module, inputs = built(row)
    module.train()(*inputs).square().mean().backward()  # what a step leaves behind must be no obstacle
    expected = module.eval()(*inputs)
    assert torch.equal(copy.deepcopy(module)(*inputs), expected)
    assert torch.equal(pickle.loads(pickle.dumps(module))(*inputs), expected)
    last = [x.to(memory_format=torch.channels_last) if x.ndim == 4 else x for x in inputs]
    assert_same(module.to(memory_format=torch.channels_last)(*last), expected)


def meta(row: Mechanism) -> None:
    module, inputs = built(row)
    with torch.device("meta"):
        empty = row.build(*row.size, **row.small)
    empty = empty.to_empty(device="cpu")
    for part in empty.modules():  # as FSDP does
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    empty.double().eval().load_state_dict(module.state_dict())
    assert_same(empty(*inputs), module(*inputs))


CHECKS = {check.__name__: check for check in (batch, size, called, half, twice, ddp, samples, copies, meta)}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_holds_or_the_row_says_why(row, name):
    if name in row.cannot:
        with pytest.raises(Exception):  # noqa: B017  a reason that is out of date must go
            CHECKS[name](row)
    else:
        CHECKS[name](row)


@pytest.mark.parametrize(
    "row", [row for row in CATALOG if row.cannot.get("twice") == FUSED], ids=lambda row: row.name
)
def test_second_derivatives_hold_under_the_maths_kernel(row):
    with sdpa_kernel(SDPBackend.MATH):
        twice(row)


def test_every_reason_belongs_to_a_check():
    assert CHECKS.keys() | {"onnx"} == CITIZEN.keys()  # that one is in test_onnx.py
    assert {name for row in CATALOG for name in row.cannot} <= CITIZEN.keys()
