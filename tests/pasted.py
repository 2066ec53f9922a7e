"""What a lesson and the library would earn in an exercise if their definitions were pasted into it."""

import ast
import importlib
import inspect
from collections.abc import Callable

from course_lib.authoring.places import parts
from course_lib.authoring.sources import parse


def lesson_names(slug: str) -> dict:
    """The namespace that a lesson's imports and definitions leave, without running its experiments."""
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    module = parse(parts(slug)["lesson source"])
    module.body = [node for node in module.body if isinstance(node, kept)]
    names: dict = {"__name__": f"lesson {slug}"}
    exec(compile(module, f"<lesson {slug}>", "exec"), names)
    return names


def definitions(slug: str) -> dict[str, Callable]:
    """Every function and class of the lesson, and of each module of the library from which it imports a mechanism."""
    names = lesson_names(slug)
    modules = {getattr(one, "__module__", None) or "" for one in names.values()}
    for module in sorted(name for name in modules if name.startswith("course_lib.") and name.count(".") == 2):
        names |= vars(importlib.import_module(module))
    return {name: one for name, one in names.items() if inspect.isfunction(one) or inspect.isclass(one)}


def adapted(candidate: Callable, answer: Callable) -> Callable:
    """The candidate, called as the answer is: arguments by position, the rest by name or else in order."""
    if inspect.isclass(candidate) != inspect.isclass(answer):
        return candidate
    if inspect.isclass(candidate):
        return candidate
    asked = inspect.signature(answer)
    kinds = inspect.signature(candidate).parameters.values()
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in kinds)
    only = [p.name for p in kinds if p.kind is p.KEYWORD_ONLY]

    def pasted(*args, **keywords):
        bound = asked.bind(*args, **keywords)
        given = list(bound.arguments.items())
        first, rest = [value for _, value in given[:places]], given[places:]
        unnamed = iter(name for name in only if name not in dict(rest))
        return candidate(*first, **{name if name in only else next(unnamed): value for name, value in rest})

    return pasted
