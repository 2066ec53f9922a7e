"""A worker runs the cells of one submission, then answers calls to what they defined. It knows no test.

Each request is a frame with an ``op``; each answer is a frame of the same sequence number, with either what was
asked for or ``raised``: the exception's built-in type and its message.
"""

import builtins
import os
import socket
import struct
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import torch
from torch import Tensor, nn

from course_lib.grading import precision
from course_lib.grading.sandbox import frames
from course_lib.grading.sandbox.guard import guard
from course_lib.grading.sandbox.nosy import Nosy
from course_lib.grading.sandbox.shell import Shell

MAX_WORDS = 600
MAX_NAMES = 5000
PLAIN = (type(None), bool, int, float, str, Tensor, numpy.ndarray, numpy.generic, torch.dtype)


class Kernel:
    """The student's namespace, the objects handed out by number, and the graphs that wait for a backward pass."""

    def __init__(self) -> None:
        self.main = types.ModuleType("__main__")
        self.shell = Shell(self.main.__dict__)
        self.kept: dict[int, Any] = {}
        self.graphs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}
        self.count = 0
        self.nosy = Nosy()
        self.single = False  # whether what was asked for was computed in single precision

    def answer(self, request: dict) -> dict:
        """The reply to one request; whatever a student's code raises is part of the reply."""
        self.single = False
        try:
            reply = getattr(self, f"op_{request['op']}")(request)
        except BaseException as error:
            reply = {"raised": builtin_name(error), "words": words(error)}
        return reply | {"single": True} if self.single else reply

    def op_cell(self, request: dict) -> dict:
        """Run one cell in the student's namespace; ``again``: it may do better once other cells have run."""
        sys.modules["__main__"] = self.main
        with self.nosy:
            raised = self.shell.run(request["source"], f"<{request['name']}>")
        asked = {"asked": self.nosy.found} if self.nosy.found else {}
        if not raised:
            return asked
        again = any(isinstance(error, NameError) for error in raised)
        return {"raised": builtin_name(raised[0]), "words": words(raised[0]), "again": again} | asked

    def op_check(self, request: dict) -> dict:
        """Run one visible check; the reply carries its words when it does not hold."""
        reply = self.op_cell(request)
        return {"words": reply.get("words"), "asked": reply.get("asked", [])}

    def op_names(self, request: dict) -> dict:
        """What the cells defined: each public name, and whether it is data."""
        public = [name for name in list(self.main.__dict__) if not name.startswith("_")][:MAX_NAMES]
        return {"names": {name: not callable(self.main.__dict__[name]) for name in public}}

    def op_value(self, request: dict) -> dict:
        return {"value": self.refer(self.find(request["target"]), [])}

    def op_fresh(self, request: dict) -> dict:
        """Before each hidden test: forget objects and graphs, and make chance the same each time."""
        self.kept.clear()
        self.graphs.clear()
        torch.default_generator.manual_seed(request["seed"])  # torch.manual_seed asks for other devices, too
        numpy.random.seed(request["seed"] % 2**32)
        return {}

    def op_call(self, request: dict) -> dict:
        """Call a function, a class, or a method of a module built before."""
        inputs: list[Tensor] = []
        self.sync(request["modules"])
        function = self.find(request["target"])
        arguments = self.resolve(request["args"], inputs)
        named = self.resolve(request["kwargs"], inputs)
        before = [tensor.detach().clone() for tensor in inputs]
        with (
            torch.set_grad_enabled(request["grad"]),
            precision_of(inputs),
            self.watching(request["watch"]),
            guard(request["without"]),
        ):
            result = function(*arguments, **named)
        if isinstance(result, nn.Module):
            self.single = request["watch"] and precision.built_single(result)
        outputs: list[Tensor] = []
        reply = {"value": self.refer(result, outputs)}
        reply["changed"] = [i for i, x in enumerate(inputs) if not same(x, before[i])]
        reply["buffers"] = {key: dict(self.kept[key].named_buffers()) for key in request["modules"]}
        sources = inputs + [p for key in request["modules"] for p in self.kept[key].parameters()]
        if any(one.requires_grad for one in outputs):
            self.count += 1
            self.graphs[self.count] = (outputs, sources)
            reply["graph"] = self.count
        return reply

    @contextmanager
    def watching(self, watch: bool) -> Iterator[None]:
        """Note whether an operation takes or gives float32, where the grader asks for it."""
        if not watch:
            yield
            return
        with precision.Watch() as seen:
            try:
                yield
            finally:
                self.single = self.single or seen.single

    def op_backward(self, request: dict) -> dict:
        """The gradients of a call's sources, from those of its outputs."""
        outputs, sources = self.graphs[request["graph"]]
        pairs = [(y, g) for y, g in zip(outputs, request["grads"], strict=True) if y.requires_grad and g is not None]
        wanted = [source for source in sources if source.requires_grad]
        grads = torch.autograd.grad(
            [y for y, _ in pairs], wanted, [g for _, g in pairs], retain_graph=True, allow_unused=True
        )
        found = iter(grads)
        return {"grads": [next(found) if source.requires_grad else None for source in sources]}

    def find(self, target: list) -> Any:
        """``["f"]`` is the student's f; ``[3, "query", "forward"]`` is inside module 3."""
        root, *path = target
        if isinstance(root, int):
            found = self.kept[root]
        elif root in self.main.__dict__:
            found = self.main.__dict__[root]
        else:
            raise AttributeError(f"{root} is not defined")
        for name in path:
            found = getattr(found, name)
        return found

    def sync(self, modules: dict[int, dict]) -> None:
        """Give each module the parameters, buffers and mode that the grader's side has."""
        for key, state in modules.items():
            module = self.kept[key]
            module.train(state["training"])
            own = dict(module.named_parameters()) | dict(module.named_buffers())
            for name, value in state["tensors"].items():
                if name in own:
                    own[name].data = value.detach()

    def resolve(self, value: object, inputs: list[Tensor]) -> Any:
        """Received data with modules in the place of their numbers; its tensors are appended to ``inputs``."""
        if isinstance(value, Tensor):
            inputs.append(value)
        if isinstance(value, dict):
            if set(value) == {"__module__", "path"}:
                return self.find([value["__module__"], *value["path"]])
            return {key: self.resolve(one, inputs) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.resolve(one, inputs) for one in value)
        return value

    def refer(self, value: object, outputs: list[Tensor]) -> object:
        """A result as data: what is not plain becomes a number; its tensors are appended to ``outputs``."""
        if isinstance(value, nn.Module):
            return {"__module__": self.keep(value)} | describe(value)
        if isinstance(value, Tensor):
            outputs.append(value)
        if isinstance(value, dict):
            return {key: self.refer(one, outputs) for key, one in value.items()}
        if isinstance(value, list | tuple):
            return (list if isinstance(value, list) else tuple)(self.refer(one, outputs) for one in value)
        return value if isinstance(value, PLAIN) else {"__object__": self.keep(value)}

    def keep(self, value: object) -> int:
        self.count += 1
        self.kept[self.count] = value
        return self.count


@contextmanager
def precision_of(inputs: list[Tensor]) -> Iterator[None]:
    """``torch.zeros(n)`` in an answer is as precise as its arguments, as where the student tried it."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(next((x.dtype for x in inputs if x.is_floating_point()), usual))
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def same(now: Tensor, before: Tensor) -> bool:
    """Equal in shape and in every value; NaN equals NaN."""
    return now.shape == before.shape and bool(((now == before) | ((now != now) & (before != before))).all())


def describe(module: nn.Module) -> dict:
    """What the grader needs to mirror a module: names of its parts, its parameters and its buffers."""
    return {
        "parts": [name for name, _ in module.named_modules() if name],
        "parameters": dict(module.named_parameters()),
        "buffers": dict(module.named_buffers()),
        "training": module.training,
    }


def builtin_name(error: BaseException) -> str:
    """The nearest built-in exception; a class of the student's own could carry anything in its name."""
    known = (kind for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind)
    return next(known, BaseException).__name__


def words(error: BaseException) -> str:
    """One sentence about an exception: what a visible check said, else what was raised and at which line."""
    from course_lib.exercises import NotYet, in_words

    try:
        if isinstance(error, NotYet):
            return str(error)[:MAX_WORDS]
        if isinstance(error, SyntaxError):
            return f"line {error.lineno} is not Python: {(error.text or '').strip()}"[:MAX_WORDS]
        return in_words(error)[:MAX_WORDS]
    except Exception:
        return "your code raised an exception that cannot be shown"


def receiver(connection: socket.socket) -> Callable[[int], bytes]:
    """A function that reads exactly n bytes, and ends the worker when the grader has gone."""

    def receive(count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = connection.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise SystemExit
            parts += part
        return bytes(parts)

    return receive


def serve(connection: socket.socket) -> None:
    """Answer requests, in order, until the grader closes the connection."""
    kernel, receive, sequence, born = Kernel(), receiver(connection), 0, os.getpid()
    sys.addaudithook(kernel.nosy.hear)
    while True:
        request = frames.next_message(receive, sequence)
        reply = kernel.answer(request)
        if os.getpid() != born:
            os._exit(0)  # a process that the submission started came back from its cell: it has nothing to say
        try:
            frame = frames.encode(reply, sequence)
        except (TypeError, frames.BadFrame, struct.error) as error:
            frame = frames.encode({"raised": "TypeError", "words": words(error)}, sequence)
        except BaseException:
            frame = frames.encode({"raised": "Exception", "words": ""}, sequence)
        connection.sendall(frame)
        sequence += 1
