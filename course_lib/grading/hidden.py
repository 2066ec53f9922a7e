"""Hidden tests and named wrong answers: how they are written, found and run."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from course_lib.authoring.places import parts
from course_lib.exercises import ROOT
from course_lib.grading.draw import Draw


def task(name: str, *, hint: str) -> Callable:
    """Mark a hidden test as grading task ``name``; ``hint`` is all that a student who fails it reads."""

    def mark(test: Callable) -> Callable:
        test.task, test.hint = name, hint
        return test

    return mark


def wrong(name: str) -> Callable:
    """Mark a named wrong answer to task ``name``.

    ``attention_weights__over_the_queries`` is a wrong ``attention_weights``; its docstring is the sentence
    that a student who wrote it should read.
    """

    def mark(answer: Callable) -> Callable:
        answer.wrong, answer.replaces = name, answer.__name__.split("__")[0]
        return answer

    return mark


class Hidden(NamedTuple):
    """The hidden tests and the wrong answers of one exercise, each in the order of its file."""

    tests: list[Callable]
    wrong: list[Callable]


def load(slug: str, path: Path | None = None) -> Hidden:
    """Import ``tests/hidden/test_<slug>.py`` and collect what it marks."""
    path = path or parts(slug)["hidden tests"]
    spec = importlib.util.spec_from_file_location(f"hidden_{slug}", path)
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT))  # hidden tests import tests.properties, from wherever the command runs
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT))
    members = list(vars(module).values())
    return Hidden(
        [one for one in members if hasattr(one, "task") and hasattr(one, "hint")],
        [one for one in members if hasattr(one, "replaces")],
    )


class Verdict(NamedTuple):
    """What one hidden test said; ``error`` is None where it passed."""

    task: str
    test: str
    error: Exception | None


def judge(hidden: Hidden, student: object, *, seed: int | str) -> list[Verdict]:
    """Run every hidden test against ``student``, whose attributes are the functions to grade."""
    verdicts = []
    for test in hidden.tests:
        error = None
        try:
            test(student, Draw(seed, test.__name__))
        except Exception as raised:
            error = raised
        verdicts.append(Verdict(test.task, test.__name__, error))
    return verdicts
