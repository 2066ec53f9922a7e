"""Hidden tests and named wrong answers: how they are written, found and run."""

import importlib.util
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from course_lib.authoring.places import parts
from course_lib.exercises import ROOT, UsageError
from course_lib.grading.draw import Draw
from course_lib.grading.precision import Judged, Trial, here, judged


class HiddenTest(NamedTuple):
    """One hidden test of a task: ``run(student, draw)`` raises where the student's functions are wrong."""

    task: str
    hint: str
    run: Callable
    double: bool = False
    without: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.run.__name__


class WrongAnswer(NamedTuple):
    """One mistake that people make at a task: a function that stands in for the right one."""

    task: str
    answer: Callable

    @property
    def name(self) -> str:
        return self.answer.__name__

    @property
    def replaces(self) -> str:
        """The function whose place it takes: ``mean__sums`` is a wrong ``mean``."""
        return self.name.split("__")[0]

    @property
    def sentence(self) -> str:
        """What somebody who made this mistake should read."""
        return " ".join((self.answer.__doc__ or "").split())


def task(name: str, *, hint: str, double: bool = False, without: Iterable[str] = ()) -> Callable:
    """Mark a hidden test as grading task ``name``; ``hint`` is all that a student who fails it reads.

    ``double``: the test is about double precision, so an answer in single precision fails it.
    ``without``: what an answer to the task may not use, as code calls it: ``conv1d``, ``autograd``, ``course_lib``.
    """

    def mark(test: Any) -> Any:  # the function itself comes back, because pytest collects functions
        test.mark = HiddenTest(name, hint, test, double, tuple(without))
        return test

    return mark


def wrong(name: str) -> Callable:
    """Mark a named wrong answer to task ``name``.

    ``attention_weights__over_the_queries`` is a wrong ``attention_weights``; its docstring is the sentence
    that a student who wrote it should read.
    """

    def mark(answer: Any) -> Any:
        answer.mark = WrongAnswer(name, answer)
        return answer

    return mark


class Hidden(NamedTuple):
    """The hidden tests and the wrong answers of one exercise, each in the order of its file."""

    tests: list[HiddenTest]
    wrong: list[WrongAnswer]


def load(slug: str, path: Path | None = None) -> Hidden:
    """Import ``tests/hidden/test_<slug>.py`` and collect what it marks."""
    path = path or parts(slug)["hidden tests"]
    spec = importlib.util.spec_from_file_location(f"hidden_{slug}", path)
    assert spec and spec.loader, f"{path} is no Python file"
    module: ModuleType = importlib.util.module_from_spec(spec)
    places = [str(path.resolve().parents[2]), str(ROOT)]  # hidden tests import tests.properties, of their own course
    sys.path[:0] = places
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        cure = f"put it into {places[0]}, as in the course, or install it"
        raise UsageError(f"{path} imports {error.name}, which is not there; {cure}") from error
    finally:
        for place in places:
            sys.path.remove(place)
    marks = [getattr(member, "mark", None) for member in vars(module).values()]
    return Hidden(
        [mark for mark in marks if isinstance(mark, HiddenTest)],
        [mark for mark in marks if isinstance(mark, WrongAnswer)],
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
        verdict = judged(partial(try_here, test, vars(student), seed), double=test.double)
        verdicts.append(Verdict(test.task, test.name, verdict.rest))
    return verdicts


def try_here(test: HiddenTest, answers: dict[str, Any], seed: int | str, trial: Trial) -> Judged:
    """Run one hidden test on functions of this process; what it raised comes along."""
    try:
        test.run(SimpleNamespace(**{name: here(one, trial) for name, one in answers.items()}), Draw(seed, test.name))
    except Exception as error:
        return Judged("wrong" if isinstance(error, AssertionError) else "raised", error)
    return Judged("", None)
