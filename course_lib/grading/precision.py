"""The precision at which an answer is judged: double, or single where the answer itself computes in single precision.

Hidden tests draw float64 and compare to 1e-9. An answer may still hold a ``.float()``, a buffer, or a constant made
when the notebook started; its visible check, which sends float32, is content with it. So a test that fails is run
again while each operation is watched. Only where one of them takes or gives float32 are the results compared as
closely as single precision allows. An answer that computes in double is never judged by less, and a test about double
precision (``@task(..., double=True)``) is run once.
"""

from collections.abc import Callable
from contextvars import ContextVar
from enum import Enum
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

ROUNDING = 1e-5  # of a few hundred operations in float32, each of which rounds to 6e-8

_single = ContextVar("single", default=False)  # each thread has its own, and grades one submission at a time


class Trial(Enum):
    """How a test is run: as it is; with the answer watched; with float32 sent, for one that cannot mix the two."""

    PLAIN = "plain"
    WATCHED = "watched"
    LOWERED = "lowered"


class Judged(NamedTuple):
    """What one run of a test said: "" where it passed, wrong, raised, or another reason; and what came with it."""

    reason: str
    rest: Any
    single: bool = False


def judged(run: Callable[[Trial], Judged], *, double: bool) -> Judged:
    """The verdict of ``run``, at the precision at which the answer computes."""
    first = watched_run(run, Trial.PLAIN)
    if double or first.reason not in ("wrong", "raised"):
        return first
    again = watched_run(run, Trial.WATCHED)
    if again.single and again.reason == "raised":
        again = watched_run(run, Trial.LOWERED)
    return again if again.single else first


def watched_run(run: Callable[[Trial], Judged], trial: Trial) -> Judged:
    token = _single.set(trial is Trial.LOWERED)
    try:
        return run(trial)._replace(single=_single.get())
    finally:
        _single.reset(token)


def found() -> None:
    """The answer at hand was seen to compute in single precision."""
    _single.set(True)


def tolerance(expected: object) -> dict[str, float]:
    """How far an answer may be from ``expected``: 1e-9, or a rounding in single precision of its largest value."""
    if not _single.get():
        return {"rtol": 1e-9, "atol": 1e-9}
    values = torch.as_tensor(expected).detach()
    largest = float(values.abs().max()) if values.numel() else 0.0
    return {"rtol": ROUNDING, "atol": ROUNDING / 10 * (largest or 1.0)}


class Watch(TorchDispatchMode):
    """While it is entered, ``single`` becomes true as soon as an operation takes or gives float32."""

    single = False

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled, and asking torch's compiler to stay away imports all of it

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.look(args, kwargs)
        result = function(*args, **(kwargs or {}))
        self.look(result)
        return result

    def look(self, *values: object) -> None:
        self.single = self.single or any(is_single(one) for one in tree_leaves(values))


def is_single(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.float32, torch.complex64)


def built_single(module: nn.Module) -> bool:
    """A module starts in float32 like every module; one that keeps numbers of its own in it computes with them."""
    return any(map(is_single, module.buffers()))


def lowered(value: Any) -> Any:
    """The same values in float32, wherever they are float64."""
    return tree_map_only(Tensor, lambda one: one.float() if one.dtype == torch.float64 else one, value)


def lifted(value: Any, inputs: object) -> Any:
    """Float32 results as the float64 that ``inputs`` are; a test that sent float32 gets what it asked for."""
    floats = [one for one in tree_leaves(inputs) if isinstance(one, Tensor) and one.is_floating_point()]
    if floats and all(map(is_single, floats)):
        return value
    return tree_map_only(Tensor, lambda one: one.double() if one.dtype == torch.float32 else one, value)


def here(answer: Any, trial: Trial) -> Any:
    """An answer of this process (a function or a class), tried so; what is neither stays as it is."""
    if trial is Trial.PLAIN or not callable(answer) or isinstance(answer, nn.Module):
        return answer

    def call(*args: Any, **kwargs: Any) -> Any:
        sent, named = lowered((args, kwargs)) if trial is Trial.LOWERED else (args, kwargs)
        with Watch() as watch:
            try:
                result = answer(*sent, **named)
            finally:
                single = watch.single
                if single and not isinstance(answer, type):
                    found()
        if isinstance(result, nn.Module):
            if built_single(result):
                found()
            result.forward = here(result.forward, trial)
        return lifted(result, (args, kwargs))

    return call
