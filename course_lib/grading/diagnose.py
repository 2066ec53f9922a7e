"""Which named wrong answer a failing submission matches: same verdicts, same values on the same secret inputs."""

import threading
import types
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.grading.assignment import Assignment
from course_lib.grading.draw import Draw
from course_lib.grading.hidden import HiddenTest, WrongAnswer
from course_lib.grading.proxy import Result, spoil
from course_lib.grading.sandbox.worker import same


class Outcome(NamedTuple):
    """What one hidden test said about an answer, and the values that the answer returned to it, in order."""

    test: str
    passed: bool
    results: list[Result]
    single: bool = False


class Diagnosis:
    """The named wrong answers of an exercise, run on the draws of this seed when their task is first missed."""

    def __init__(self, assignment: Assignment, seed: str):
        self.assignment, self.seed = assignment, seed
        self.lock = threading.Lock()
        self.seen: dict[str, list[tuple[WrongAnswer, list[Outcome]]]] = {}

    def known(self, task: str) -> list[tuple[WrongAnswer, list[Outcome]]]:
        """The wrong answers to a task, each with what its hidden tests say, whichever task is asked for first."""
        with self.lock:
            if task not in self.seen:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    self.seen[task] = self.observed(task)
            return self.seen[task]

    def observed(self, task: str) -> list[tuple[WrongAnswer, list[Outcome]]]:
        tests = [test for test in self.assignment.hidden.tests if test.task == task]
        return [
            (wrong, [observe(test, solution(self.assignment, wrong), self.seed) for test in tests])
            for wrong in self.assignment.hidden.wrong
            if wrong.task == task
        ]

    def match(self, task: str, outcomes: list[Outcome]) -> WrongAnswer | None:
        """The named wrong answer that this one cannot be told from; None where there is none, or more than one."""
        with suppress(Exception):  # values that cannot be compared match nothing, and no mark depends on it
            return self.only_match(task, outcomes)
        return None

    def only_match(self, task: str, outcomes: list[Outcome]) -> WrongAnswer | None:
        matches = [
            wrong
            for wrong, known in self.known(task)
            if len(known) == len(outcomes) and all(map(alike, known, outcomes))
        ]
        return matches[0] if len(matches) == 1 else None


def solution(assignment: Assignment, wrong: WrongAnswer | None = None) -> types.SimpleNamespace:
    """What the solved exercise defines, with one wrong answer in it, which the others then call; our own code."""
    namespace: dict = {"__name__": f"solution_{assignment.slug}"}
    for source in (*assignment.prelude, *assignment.answers.values()):
        exec(compile(source, f"<solution {assignment.slug}>", "exec"), namespace)
    if wrong:
        namespace[wrong.replaces] = wrong.answer
    return types.SimpleNamespace(**{name: value for name, value in namespace.items() if not name.startswith("_")})


def observe(test: HiddenTest, answer: types.SimpleNamespace, seed: str) -> Outcome:
    """Run a hidden test on an answer in this process, noting each value that the answer's functions return."""
    results: list[Result] = []
    recorded = types.SimpleNamespace(**{name: recording(value, results) for name, value in vars(answer).items()})
    try:
        test.run(recorded, Draw(seed, test.name))
    except Exception:
        return Outcome(test.name, False, results)
    return Outcome(test.name, True, results)


def recording(value: object, results: list[Result]) -> object:
    """A function that does the same and notes what it returns; a module notes each of its calls.

    As across the boundary, an argument that it changes is spoilt.
    """
    if not isinstance(value, types.FunctionType | type):
        return value

    def call(*args: object, **kwargs: object) -> object:
        before = [one.detach().clone() if isinstance(one, Tensor) else None for one in args]
        result = value(*args, **kwargs)
        results.append(Result("", result))
        for one, old in zip(args, before, strict=True):
            if isinstance(one, Tensor) and isinstance(old, Tensor) and not same(one, old):
                spoil(one.data)
        if isinstance(result, nn.Module):
            result.register_forward_hook(lambda module, inputs, output: results.append(Result("", output)))
        return result

    return call


def alike(known: Outcome, seen: Outcome) -> bool:
    """The same verdict, reached through the same values."""
    values = zip(known.results, seen.results, strict=False)
    return (
        known.passed == seen.passed
        and len(known.results) == len(seen.results)
        and all(close(one.value, other.value, 1e-5 if seen.single else 1e-6) for one, other in values)
    )


def close(one: object, other: object, rounding: float) -> bool:
    """Equal to rounding; NaN equals NaN. Modules are compared by what they return."""
    if isinstance(one, nn.Module) or isinstance(other, nn.Module):
        return isinstance(one, nn.Module) and isinstance(other, nn.Module)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and torch.allclose(
            one.detach(), other.detach(), rtol=rounding, atol=rounding / 1000, equal_nan=True
        )
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(close(*pair, rounding) for pair in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other or abs(one - other) <= rounding * abs(one) or (one != one and other != other)
    return type(one) is type(other) and one == other
