"""What a student meets in an exercise: tasks, visible checks that answer in words, and the points so far."""

import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


class UsageError(ValueError):
    """One sentence with its cure; the command line shows it without a traceback and exits with status 2."""


def need_asserts() -> None:
    """Checks are asserts, which ``python -O`` leaves out: then everything would hold.

    Raises:
        UsageError: if this Python runs without them.
    """
    if not __debug__:
        raise UsageError("Python runs without asserts, so nothing can be judged; unset PYTHONOPTIMIZE, leave out -O")


class NotYet(AssertionError):
    """A visible check that failed. A notebook shows its words and no traceback."""

    def _render_traceback_(self) -> list[str]:  # IPython calls this to display the exception
        return [f"✗ {self}"]


class Exercise:
    """The tasks of one exercise and the points earned so far.

    >>> exercise = Exercise("01_addressing", points=[2, 3])
    >>> with exercise.check(1):
    ...     assert 1 + 1 == 2, "two and two make four"
    ✓ task_01_1 · 2 points · so far 2 of 5 ▰▰▱▱▱
    """

    def __init__(self, slug: str, *, points: list[int]):
        self.slug = slug
        self.points = points
        self.earned = [0] * len(points)

    def task(self, number: int) -> str:
        if not 1 <= number <= len(self.points):
            raise ValueError(f"{self.slug} has tasks 1 to {len(self.points)}, not {number}")
        return f"task_{self.slug[:2]}_{number}"

    @property
    def progress(self) -> str:
        done, total = sum(self.earned), sum(self.points)
        return f"so far {done} of {total} " + "▰" * done + "▱" * (total - done)

    @contextmanager
    def check(self, number: int) -> Iterator[None]:
        """Say in words whether the indented lines hold, and award the points of the task if they do.

        Raises:
            NotYet: if a line of the check, or the student's code below it, raises anything.
        """
        need_asserts()
        name, worth = self.task(number), self.points[number - 1]
        self.earned[number - 1] = 0
        try:
            yield
        except Exception as error:
            said = in_words(error)
            said = said if said.startswith(name) else f"{name}: {said}"
            raise NotYet(f"{said}\n  {self.progress}") from error
        self.earned[number - 1] = worth
        print(f"✓ {name} · {worth} point{'s' * (worth > 1)} · {self.progress}")


def in_words(error: BaseException) -> str:
    """One sentence about an exception: its own message if an author wrote it, else what was raised and where."""
    message, frames = str(error).strip(), traceback.extract_tb(error.__traceback__)
    if isinstance(error, NotImplementedError) and message.endswith("is yours to write") and len(frames) > 2:
        return f"{frames[-1].name} is yours to write"  # a task may ask for two functions, and one may be there
    if isinstance(error, NotImplementedError | AssertionError) and message:
        return message
    frame = frames[-1]
    line = (linecache.getline(frame.filename, frame.lineno) or frame.line or "").strip()
    if isinstance(error, AssertionError):
        return f"this does not hold: {line}"
    return f"your code raised {type(error).__name__}: {message} (at: {line})"
