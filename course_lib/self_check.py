"""A student's own run of the visible checks of an exercise, in a terminal; its cells run in a kernel of their own."""

import json
import os
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from tqdm.auto import tqdm

from course_lib.exercises import Exercise, UsageError
from course_lib.notebook_client import Client

SECONDS = 60  # that one cell may take
ENVIRONMENT = {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "TQDM_DISABLE": "1"}
TELL_POINTS = "import json; print(json.dumps([exercise.slug, exercise.points, exercise.earned]))"
TELL_ERROR = "import sys, course_lib.exercises; print(course_lib.exercises.in_words(sys.last_value))"


class Outcome(NamedTuple):
    """What the cells of one exercise did: the exercise with its points, and each failure in words."""

    exercise: Exercise
    failures: list[str]

    @property
    def solved(self) -> bool:
        return self.exercise.earned == self.exercise.points


def run_checks(path: Path, *, seconds: float = SECONDS) -> Outcome:
    """Run the cells of a notebook in order, in a fresh kernel, from the notebook's folder.

    A cell that does not end, or ends the kernel, is left out, and the others run again without it.

    Raises:
        UsageError: if the file is missing, is no notebook, or makes no ``exercise``.
    """
    notebook, lost = read(path), {}
    while True:
        try:
            told, failures = run(notebook, path, seconds, lost)
            break
        except Lost as error:
            lost[error.number] = str(error)
    failures = [*lost.values(), *failures]
    if told is None:
        first = f"; {failures[0]}" if failures else ""
        raise UsageError(
            f"{path} starts no exercise{first}: give an exercise of exercises/, with its first cells kept"
        )
    slug, points, earned = told
    exercise = Exercise(slug, points=points)
    exercise.earned = earned
    return Outcome(exercise, failures)


class Lost(RuntimeError):
    """A cell that took the kernel with it; ``number`` counts from 1 over all cells, as a reader counts."""

    def __init__(self, number: int, words: str):
        super().__init__(f"cell {number}: {words}")
        self.number = number


def read(path: Path) -> NotebookNode:
    if not path.exists():
        raise UsageError(f"{path} does not exist; give 01, or the path of your notebook")
    try:
        return nbformat.read(path, as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise UsageError(f"{path} is not a notebook; give a file that JupyterLab opens") from error


def run(notebook: NotebookNode, path: Path, seconds: float, lost: dict[int, str]) -> tuple[list | None, list[str]]:
    """Slug, points and earned points, as the kernel tells them at the end (or None), and the failures in words."""
    numbered = enumerate(notebook.cells, start=1)
    cells = [(number, cell) for number, cell in numbered if cell.cell_type == "code" and number not in lost]
    place = {"metadata": {"path": str(path.parent)}}
    copy = deepcopy(notebook)  # nbclient puts what it ran, our questions too, in the place of cells
    client = Client(copy, timeout=seconds, resources=place, extra_arguments=["--log-level=ERROR"])
    with client.setup_kernel(env={**os.environ, **ENVIRONMENT}):
        bar = tqdm(
            [one for one in cells if one[0] not in lost], desc=path.stem, unit="cell", leave=False, disable=None
        )
        failures = [failure for number, cell in bar if (failure := run_cell(client, number, cell, seconds))]
        told = ask(client, TELL_POINTS)
        return json.loads(told.splitlines()[-1]) if told else None, failures


def run_cell(client: Client, number: int, cell: NotebookNode, seconds: float) -> str | None:
    """Run one cell, and say in words what failed.

    Raises:
        Lost: if it does not end, or ends the kernel.
    """
    try:
        client.execute_cell(new_code_cell(cell.source), number - 1, store_history=False)
    except CellTimeoutError:
        raise Lost(number, f"it did not end within {seconds:g} seconds and was left out") from None
    except DeadKernelError:
        raise Lost(number, "it ended Python itself and was left out") from None
    except CellExecutionError as error:
        if error.ename == "NotYet":
            return error.evalue.split("\n")[0]
        if error.ename in ("SyntaxError", "IndentationError", "SystemExit"):  # no line of it ran, or none is at fault
            return f"cell {number}: {error.ename}: {error.evalue}"
        return f"cell {number}: {ask(client, TELL_ERROR) or error.ename}"
    return None


def ask(client: Client, question: str) -> str:
    """What the kernel prints for a line of ours, or nothing where that fails."""
    cell = new_code_cell(question)
    try:
        client.execute_cell(cell, -1, store_history=False)
    except (CellExecutionError, CellTimeoutError, DeadKernelError):
        return ""
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout").strip()


def report(outcome: Outcome) -> str:
    """A line for each task, below it what its check said; then what failed elsewhere, and the progress line."""
    exercise, failures = outcome
    lines, rest = [], list(failures)
    for k, (earned, worth) in enumerate(zip(exercise.earned, exercise.points, strict=True), start=1):
        name = exercise.task(k)
        lines.append(f"{'✓' if earned else '✗'} {name} · {earned} of {worth} point{'s' * (worth > 1)}")
        said = [failure for failure in failures if failure.startswith(f"{name}: ")]
        lines += [f"    {failure.removeprefix(f'{name}: ')}" for failure in said]
        rest = [failure for failure in rest if failure not in said]
    return "\n".join([*lines, *rest, exercise.progress])
