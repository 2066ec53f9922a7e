"""What stands in a lesson and in the library already: definitions that somebody could paste into an exercise."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.autograd import Function
from torch.utils._pytree import tree_map

from course_lib.authoring.places import parts
from course_lib.authoring.sources import parse
from course_lib.grading.forbidden import LIBRARY, ROOMS
from tests.solved import Solved, passes_all

PRELUDE = "import math\nimport torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"


class Pasted(NamedTuple):
    """One function or class, and whether it is the library's or the lesson's own."""

    name: str
    it: Callable
    of_library: bool


def definitions(slug: str) -> list[Pasted]:
    """Every function and class of the lesson, of the mechanisms, and of what else of the library it imports."""
    lesson = lesson_names(slug)
    modules = {getattr(one, "__module__", None) or "" for one in lesson.values()} | mechanisms()
    library: dict = {}
    for module in sorted(name for name in modules if name.startswith("course_lib.") and name.count(".") == 2):
        own = vars(importlib.import_module(module)).items()
        library |= {f"{module}.{name}": it for name, it in own if getattr(it, "__module__", "") == module}
    own = {name: one for name, one in lesson.items() if getattr(one, "__module__", None) == f"lesson {slug}"}
    found = [(names, of_library) for names, of_library in ((own, False), (library, True))]
    return [
        Pasted(name, one, of_library)
        for names, of_library in found
        for name, one in names.items()
        if inspect.isfunction(one) or (inspect.isclass(one) and not issubclass(one, Function))
    ]


def mechanisms() -> set[str]:
    return {f"course_lib.{room}.{file.stem}" for room in ROOMS for file in (LIBRARY / room).glob("[!_]*.py")}


def taken_over(name: str, it: Callable) -> list[str]:
    """Cells that make ``it`` the answer called ``name``: imported, imported inside, pasted, pasted and renamed."""
    source, own = inspect.getsource(it), it.__name__
    return [
        f"from {it.__module__} import {own} as {name}",
        f"import {it.__module__} as m\n{name} = m.{own}",
        f"def {name}(*args, **kwargs):\n    from {it.__module__} import {own}\n    return {own}(*args, **kwargs)",
        f"{source}\n{name} = {own}",
        f"{source}\ndef {name}(*args, **kwargs):\n    return {own}(*args, **kwargs)",
        re.sub(rf"\b{own}\b", name, source),
        re.sub(rf"\b{own}\b", name, re.sub(r"\b(query|scores|channels|mean|theta|grid)\b", r"my_\1", source)),
    ]


def lesson_names(slug: str) -> dict:
    """The namespace that a lesson's imports and definitions leave, without running its experiments."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    module = parse(parts(slug)["lesson source"])
    module.body = [node for node in module.body if isinstance(node, kept)]
    names: dict = {"__name__": f"lesson {slug}"}
    exec(compile(module, f"<lesson {slug}>", "exec"), names)
    return names


def answers(source: str) -> list[str]:
    """The functions and classes that one task asks for."""
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)]


def adapted(candidate: Callable, answer: Callable) -> Callable:
    """The candidate, called as the answer is: arguments by position, the rest by name or else in order."""
    if inspect.isclass(candidate) or inspect.isclass(answer):
        return candidate
    asked, kinds = inspect.signature(answer), inspect.signature(candidate).parameters.values()
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in kinds)
    only = [p.name for p in kinds if p.kind is p.KEYWORD_ONLY]

    def pasted(*args, **keywords):
        given = list(asked.bind(*args, **keywords).arguments.items())
        first, rest = [value for _, value in given[:places]], dict(given[places:])
        unnamed = iter([name for name in only if name not in rest])
        return candidate(*first, **{name if name in only else next(unnamed): rest[name] for name in rest})

    return pasted


Call = tuple[tuple, dict]


def first_call(solved: Solved, hidden, task: str, name: str, seed: int) -> Call | None:
    """What the hidden tests of a task give the right answer first; None where they do not call it themselves."""
    right, calls = solved.names[name], []

    def noted(*args, **keywords):
        call = untouched((args, keywords))
        result = right(*args, **keywords)
        calls.append(call)
        return result

    with solved.holding(name, noted):
        passes_all(hidden, task, solved.names, seed)
    return calls[0] if calls else None


def untouched(call: Call) -> Call:
    def copied(it):
        return it.detach().clone().requires_grad_(it.requires_grad) if torch.is_tensor(it) else it

    return tree_map(copied, call)


def accepts(candidate: Callable, call: Call | None) -> bool:
    """Whether it returns from a call from which the right answer returned: a test that makes it would fail, too.

    Most of what stands in the library does not; so it is known without the loops that the tests compare with.
    """
    if call is None:
        return True
    args, keywords = untouched(call)
    try:
        candidate(*args, **keywords)
    except Exception:
        return False
    return True
