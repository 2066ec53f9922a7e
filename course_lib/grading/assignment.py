"""What the grader knows of one exercise: its tasks and points, its own cells, its hidden tests."""

import ast
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from course_lib.authoring.builder import stub
from course_lib.authoring.closure import closure, content_hash
from course_lib.authoring.places import parts
from course_lib.authoring.sources import points, read_cells, tagged
from course_lib.exercises import ROOT
from course_lib.grading.cells import Cell
from course_lib.grading.hidden import Hidden, load
from course_lib.grading.scripts import pieces

TITLE = re.compile(r"^## (task_\d\d_\d+) · (.+)$", re.M)


@dataclass(frozen=True)
class Task:
    """One task of an exercise: ``task_01_2``, what it is called, what it is worth, and its visible check."""

    name: str
    title: str
    points: int
    check: str


@dataclass(frozen=True)
class Assignment:
    """One exercise, ready to grade.

    ``prelude`` is the exercise's own code that belongs to no task; ``stubs`` are the task cells as handed out;
    ``answers`` the same cells solved; ``version`` changes with anything that could change a mark.
    """

    slug: str
    tasks: tuple[Task, ...]
    prelude: tuple[str, ...]
    stubs: dict[str, str]
    answers: dict[str, str]
    hidden: Hidden
    version: str

    @property
    def points(self) -> int:
        return sum(task.points for task in self.tasks)

    @cached_property
    def own_cells(self) -> set[str]:
        """The cells that students receive, as they receive them, without spaces; also as a script divides them."""
        return with_pieces([*self.prelude, *self.stubs.values(), *(task.check for task in self.tasks)])

    @cached_property
    def untouched(self) -> set[str]:
        """The cells of tasks that nobody worked on."""
        return with_pieces(self.stubs.values())

    @property
    def modules(self) -> tuple[str, ...]:
        """What the exercise imports, which every worker will need."""
        nodes = [node for cell in self.prelude for node in ast.walk(ast.parse(cell))]
        plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        return tuple(
            sorted({*plain, *(node.module or "" for node in nodes if isinstance(node, ast.ImportFrom))} - {""})
        )


def read_assignment(slug: str, root: Path = ROOT) -> Assignment:
    """Read an exercise from its solution's source and its hidden tests."""
    files = parts(slug, root)
    source, tests = files["solution source"], files["hidden tests"]
    cells, worth, number = read_cells(source), points(source), slug[:2]
    titles = dict(TITLE.findall("\n".join(cell.source for cell in cells if cell.cell_type == "markdown")))
    code = [cell for cell in cells if cell.cell_type == "code"]
    answers = {f"task_{number}_{k}": cell.source for cell in code if (k := tagged(cell, "task"))}
    checks = {k: cell.source for cell in code if (k := tagged(cell, "check"))}
    tasks = tuple(
        Task(f"task_{number}_{k}", titles.get(f"task_{number}_{k}", ""), worth[k - 1], checks[k])
        for k in range(1, len(worth) + 1)
    )
    prelude = tuple(cell.source for cell in code if tagged(cell, "task") is None and tagged(cell, "check") is None)
    stubs = {name: stub(name, text) for name, text in answers.items()}
    return Assignment(slug, tasks, prelude, stubs, answers, load(slug, tests), version_of(source, tests, root))


def tidy(source: str) -> str:
    """A cell's text without what editors change: spaces at line ends, empty lines."""
    return "\n".join(line.rstrip() for line in source.splitlines() if line.strip())


def with_pieces(cells: Iterable[str]) -> set[str]:
    return {tidy(one) for cell in cells for one in (cell, *pieces(cell))}


def is_own(cell: Cell, assignment: Assignment) -> bool:
    return tidy(cell.source) in assignment.own_cells


def version_of(source: Path, tests: Path, root: Path) -> str:
    """A hash of everything that marks follow from, but the submission and the seed.

    The exercise, its hidden tests and what they import or read; and the grader, with what shapes stubs and cells.
    """
    grader = [ROOT / "course_lib/__init__.py", *(ROOT / "course_lib/grading").rglob("*.py")]  # the first: its version
    exercise = content_hash(closure([source, tests], root), root)
    return hashlib.sha256(f"{exercise} {content_hash(closure(grader, ROOT), ROOT)}".encode()).hexdigest()
