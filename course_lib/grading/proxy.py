"""``student``: what a hidden test holds instead of the student's functions and modules.

It looks like a namespace of ordinary functions and ``nn.Module`` classes. Each call goes to the worker as plain data
and comes back as plain data; no code of the student's ever runs in this process.
"""

import builtins
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from course_lib.grading import precision
from course_lib.grading.precision import Trial
from course_lib.grading.sandbox.frames import BadFrame

MAX_PARAMETERS = 512
MAX_KEPT = 100_000  # numbers of one result


class StudentError(Exception):
    """The student's code raised; caught as the built-in exception that it was (``pytest.raises(ValueError)``)."""


class Result(NamedTuple):
    """One value that a call returned, kept to compare with what a named wrong answer returns."""

    target: str
    value: object


class Student:
    """The names that a submission defined; ``ask(request)`` brings a request to its worker."""

    def __init__(
        self,
        ask: Callable[[dict], dict],
        names: dict[str, bool],
        trial: Trial = Trial.PLAIN,
        *,
        without: Iterable[str] = (),
    ):
        self._ask, self._names, self._trial, self._without = ask, names, trial, list(without)
        self._results: list[Result] = []
        self._modules: dict[int, RemoteModule] = {}

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        if self._names.get(name) is True:
            return value_of(self, [name])
        return Remote(self, [name])

    def _remember(self, result: Result, tensors: list[Tensor]) -> None:
        """Keep a result, but a huge or thousandth one: it would only fill the grader's memory."""
        if sum(one.numel() for one in tensors) <= MAX_KEPT and len(self._results) < 1000:
            self._results.append(result)

    def _exchange(self, request: dict) -> dict:
        reply = self._ask(request)
        if reply.get("single") is True:
            precision.found()
        if "raised" in reply:
            raise raised_by_student(reply)
        return reply


class Remote:
    """A function, a class, a method or an object on the other side."""

    def __init__(self, student: Student, target: list):
        self.student, self.target = student, target
        self.__name__ = str(target[-1])

    def __call__(self, *args: object, **kwargs: object) -> object:
        return call(self.student, self.target, args, kwargs)

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        return value_of(self.student, [*self.target, name])

    def __repr__(self) -> str:
        return f"<the student's {self.__name__}>"


class RemoteModule(nn.Module):
    """A module of the student's: its parameters live here, its code runs there.

    Parameters and buffers are this side's; each call sends them along. So a test sets them as it likes, reads
    gradients of them, and compares with a reference of the same weights.
    """

    _remote: tuple[Student, int, tuple[str, ...]]

    def __init__(self, student: Student, number: int, path: tuple[str, ...] = ()):
        super().__init__()
        object.__setattr__(self, "_remote", (student, number, path))

    def forward(self, *args: object, **kwargs: object) -> object:
        student, number, path = self._remote
        return call(student, [number, *path], args, kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
        student, number, path = self._remote
        return value_of(student, [number, *path, name])


def value_of(student: Student, target: list) -> object:
    """The value of an attribute over there; a method keeps its name, so that calling it sends its module along."""
    value = student._exchange({"op": "value", "target": target})["value"]
    if isinstance(value, dict) and "__object__" in value:
        return Remote(student, target)
    return unpack(student, value, [])


def call(student: Student, target: list, args: tuple, kwargs: dict) -> object:
    """Call ``target`` in the worker, with autograd joined across the boundary."""
    tensors: list[Tensor] = []
    modules: dict[int, RemoteModule] = {}
    packed = (
        [pack(one, tensors, modules) for one in args],
        {key: pack(kwargs[key], tensors, modules) for key in kwargs},
    )
    if target[0] in student._modules:
        modules[target[0]] = student._modules[target[0]]
    parameters = [parameter for key in modules for parameter in modules[key].parameters()]
    request: dict[str, Any] = {"op": "call", "target": target, "args": packed[0], "kwargs": packed[1]}
    request |= {"grad": torch.is_grad_enabled(), "modules": {key: state(modules[key]) for key in modules}}
    request |= {"watch": student._trial is not Trial.PLAIN, "without": student._without}
    sources = [*tensors, *parameters]
    if student._trial is Trial.LOWERED:
        request, sources = precision.lowered(request), precision.lowered(sources)
    reply = student._exchange(request)
    put_back(reply, tensors, modules)
    outputs: list[Tensor] = []
    value = unpack(student, reply["value"], outputs)
    if "graph" in reply:
        joined = iter(Joined.apply(student, reply["graph"], outputs, *sources))
        value = replace(value, lambda one: next(joined))
    if student._trial is not Trial.PLAIN:
        value = precision.lifted(value, [*tensors, *parameters])
    student._remember(Result(str(target[-1]), value), outputs)
    return value


class Joined(torch.autograd.Function):
    """The outputs of a call whose backward pass runs in the worker."""

    @staticmethod
    def forward(ctx, student: Student, graph: int, outputs: list[Tensor], *sources: Tensor) -> tuple[Tensor, ...]:
        ctx.student, ctx.graph, ctx.sources = student, graph, [(one.shape, one.dtype) for one in sources]
        results = tuple(one.detach().clone() for one in outputs)
        ctx.mark_non_differentiable(
            *(new for new, old in zip(results, outputs, strict=True) if not old.requires_grad)
        )
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple:
        request = {"op": "backward", "graph": ctx.graph, "grads": list(grads)}
        found = ctx.student._exchange(request)["grads"]
        if len(found) != len(ctx.sources):
            raise BadFrame("a gradient is missing")
        return None, None, None, *map(fitting, found, ctx.sources)


def fitting(grad: object, source: tuple) -> Tensor | None:
    """A gradient that the worker sent, refused unless it has its source's shape and dtype."""
    if grad is not None and not (isinstance(grad, Tensor) and (grad.shape, grad.dtype) == source):
        raise BadFrame("a gradient of the wrong shape")
    return grad


def pack(value: object, tensors: list[Tensor], modules: dict[int, RemoteModule]) -> object:
    """An argument as data: modules become numbers; its tensors are appended to ``tensors``."""
    if isinstance(value, RemoteModule):
        student, number, path = value._remote
        modules[number] = student._modules[number]
        return {"__module__": number, "path": list(path)}
    if isinstance(value, Tensor):
        tensors.append(value)
    if isinstance(value, dict):
        return {key: pack(one, tensors, modules) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return (list if isinstance(value, list) else tuple)(pack(one, tensors, modules) for one in value)
    return value


def unpack(student: Student, value: object, outputs: list[Tensor]) -> object:
    """A result of the worker's, with modules mirrored; its tensors are appended to ``outputs``."""
    if isinstance(value, Tensor):
        outputs.append(value)
    if isinstance(value, dict):
        if "__module__" in value:
            return mirror(student, value)
        if "__object__" in value:
            return Remote(student, [value["__object__"]])
        return {key: unpack(student, one, outputs) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(unpack(student, one, outputs) for one in value)
    return value


def replace(value: object, change: Callable[[Tensor], Tensor]) -> object:
    """``value`` with each tensor changed, in the order of ``unpack``."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: replace(one, change) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(replace(one, change) for one in value)
    return value


def mirror(student: Student, told: dict) -> RemoteModule:
    """This side's module for one that the worker built: the same parts, parameters and buffers."""
    try:
        number, parameters, buffers = told["__module__"], dict(told["parameters"]), dict(told["buffers"])
        if len(parameters) + len(buffers) + len(told["parts"]) > MAX_PARAMETERS:
            raise BadFrame(f"a module of more than {MAX_PARAMETERS} parts")
        root = RemoteModule(student, number)
        for name in told["parts"]:
            owner, own = place(root, name)
            owner._modules[own] = RemoteModule(student, number, tuple(name.split(".")))
        for name, value in parameters.items():
            owner, own = place(root, name)
            owner._parameters[own] = nn.Parameter(value.detach(), requires_grad=value.requires_grad)
        for name, value in buffers.items():
            owner, own = place(root, name)
            owner._buffers[own] = value.detach()
        root.train(told["training"] is True)
    except (KeyError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise BadFrame(f"a module that cannot be mirrored: {type(error).__name__}") from None
    student._modules[number] = root
    return root


def place(root: RemoteModule, name: str) -> tuple[nn.Module, str]:
    """The part of a mirror that holds ``name``, and its name there."""
    *path, own = name.split(".")
    if hasattr(nn.Module, own):
        raise ValueError(f"{own} is a name of nn.Module")
    part: nn.Module = root
    for step in path:
        part = part.get_submodule(step)
    return part, own


def state(module: RemoteModule) -> dict:
    """What the worker must know before a call: values of parameters and buffers, and the mode."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    return {"tensors": tensors, "training": module.training}


def put_back(reply: dict, tensors: list[Tensor], modules: dict[int, RemoteModule]) -> None:
    """What the call changed in the modules' buffers changes here too; an argument that it changed is spoilt.

    Spoilt, not set: a test sees that it was changed, and no expected value follows from what a worker chose.
    """
    with torch.no_grad():
        for index in reply["changed"]:
            spoil(tensors[index].data)
        for number, buffers in reply["buffers"].items():
            own = dict(modules[number].named_buffers())
            for name, value in buffers.items():
                if name in own and own[name].shape == value.shape:
                    own[name].copy_(value)


def spoil(tensor: Tensor) -> None:
    """NaN where the dtype has it, else other values."""
    if tensor.is_floating_point() or tensor.is_complex():
        tensor.fill_(torch.nan)
    else:
        tensor.copy_(tensor.logical_not())


def raised_by_student(reply: dict) -> StudentError:
    """The exception that a call raised there, as one that ``except`` and ``pytest.raises`` recognise here."""
    kind = getattr(builtins, str(reply["raised"]), None)
    if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
        try:
            return type("StudentError", (StudentError, kind), {})(str(reply.get("words", "")))
        except TypeError:  # a built-in whose constructor wants more: UnicodeDecodeError, ExceptionGroup
            pass
    return StudentError(str(reply.get("words", "")))
