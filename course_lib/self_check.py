"""A student's own run of the visible checks of one exercise, in a terminal."""

import os
from contextlib import chdir
from pathlib import Path
from typing import NamedTuple

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from tqdm.auto import tqdm
from traitlets.config import Config

from course_lib.exercises import Exercise, NotYet, UsageError, in_words


class Shell(InteractiveShell):
    """An IPython in this process: magics work, and no window opens."""

    def enable_gui(self, gui=None):
        """``%matplotlib inline`` asks for it; there is nothing to enable."""


class Outcome(NamedTuple):
    """What the cells of one exercise did: the exercise with its points, and each failure in words."""

    exercise: Exercise
    failures: list[str]

    @property
    def solved(self) -> bool:
        return self.exercise.earned == self.exercise.points


def run_checks(path: Path) -> Outcome:
    """Run the cells of a notebook in order, in a fresh IPython shell, from the notebook's folder.

    Raises:
        UsageError: if the file is missing, is no notebook, or makes no ``exercise``.
    """
    cells = code_cells(path)
    backend = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "Agg"  # no window may open and wait
    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        with chdir(path.parent):
            bar = tqdm(cells, desc=path.stem, unit="cell", leave=False, disable=None)
            failures = [failure for number, source in bar if (failure := run_cell(shell, number, source))]
        exercise = shell.user_ns.get("exercise")
    finally:
        shell.restore_sys_module_state()
        Shell.clear_instance()
        if backend is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = backend
    if not isinstance(exercise, Exercise):
        first = f"; {failures[0]}" if failures else ""
        raise UsageError(
            f"{path} starts no exercise{first}: give an exercise of exercises/, with its first cells kept"
        )
    return Outcome(exercise, failures)


def code_cells(path: Path) -> list[tuple[int, str]]:
    """The code cells of a notebook, each with its place, counted from 1 over all cells as a reader counts."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; give 01, or the path of your notebook")
    try:
        notebook = nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise UsageError(f"{path} is not a notebook; give a file that JupyterLab opens") from error
    return [(i, cell.source) for i, cell in enumerate(notebook.cells, start=1) if cell.cell_type == "code"]


def run_cell(shell: InteractiveShell, number: int, source: str) -> str | None:
    """Run one cell without showing its outputs, and say in words what failed."""
    with capture_output():
        result = shell.run_cell(source)
    error = result.error_before_exec or result.error_in_exec
    if isinstance(error, KeyboardInterrupt):
        raise error
    if isinstance(error, NotYet):
        return str(error).split("\n")[0]
    if result.error_before_exec or isinstance(error, SystemExit):  # a mistake in syntax has no line that ran
        return f"cell {number}: {type(error).__name__}: {error}"
    return f"cell {number}: {in_words(error)}" if error else None


def report(outcome: Outcome) -> str:
    """A line for each task, the first failure in words, and the progress line."""
    exercise, failures = outcome
    lines = [
        f"{'✓' if earned else '✗'} {exercise.task(k)} · {earned} of {worth} point{'s' * (worth > 1)}"
        for k, (earned, worth) in enumerate(zip(exercise.earned, exercise.points, strict=True), start=1)
    ]
    lines += [f"First: {failures[0]}"] if failures else []
    return "\n".join([*lines, exercise.progress])
