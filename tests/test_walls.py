"""The walls between the rooms."""

import ast
import subprocess
import sys
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import course_lib.grading
from course_lib.authoring.closure import closure, imports
from course_lib.authoring.sources import parse
from course_lib.catalog import QUESTIONS

LIBRARY = Path(course_lib.__file__).parent
MECHANISMS = [file for room in QUESTIONS for file in sorted((LIBRARY / room).glob("*.py"))]


def imported(file: Path) -> list[str]:
    """The modules that the file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    return plain + [f"{'.' * node.level}{node.module}" for node in nodes if isinstance(node, ast.ImportFrom)]


@pytest.mark.parametrize("file", MECHANISMS, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_mechanism_reaches_torch_checks_basics_and_its_own_room(file):
    allowed = ("torch", "course_lib.checks", "course_lib.basics", f"course_lib.{file.parent.name}")
    standard = ("math", "itertools", "collections", "typing")
    for name in imported(file):
        assert any(name == one or name.startswith(one + ".") for one in (*allowed, *standard)), name


# The untrusted side

SANDBOX = sorted((LIBRARY / "grading/sandbox").glob("*.py"))
SECRET = {f"course_lib.grading.{name}" for name in ("hidden", "draw", "assignment")}


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(LIBRARY.parent).with_suffix("").parts).removesuffix(".__init__")


def reached(files: Iterable[Path]) -> set[str]:
    """The modules that files import, directly or through others, also inside functions."""
    return {name_of(path) for path in closure(files, LIBRARY.parent) if path.suffix == ".py"}


def test_the_sandbox_reaches_no_hidden_test_draw_or_assignment():
    assert {"course_lib.exercises", "course_lib.grading.sandbox.confine"} <= reached(SANDBOX)
    assert reached(SANDBOX) & SECRET == set()


def test_the_sandbox_asks_the_grader_for_no_name_that_is_fetched_when_used():
    """``from course_lib.grading import Draw`` would fetch ``draw``, and no syntax tree says so."""
    nodes = [node for file in SANDBOX for node in ast.walk(parse(file)) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in nodes if node.module == "course_lib.grading" for alias in node.names}
    assert names & {"*", *course_lib.grading.__all__} == set()


def test_nor_does_the_process_that_runs_submissions():
    modules = [
        f"course_lib.grading.sandbox.{file.stem}" for file in SANDBOX if file.stem not in ("__init__", "launch")
    ]
    code = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=LIBRARY.parent, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert set(modules) <= loaded and loaded & SECRET == set()


# Which room may import which

ORDER = (  # a room imports from its own line and from those above
    "checks",
    "basics",
    " ".join(QUESTIONS),
    "catalog costs published",
    "plotting diagrams interactive recording",
    "data",
    "models training trunk",
    "comparison",
    "exercises notebook_client self_check machine",
    "command",
    "authoring",
    "grading.precision",  # both sides of the wall judge by it
    "grading.sandbox",
    "grading",
    "cli",
)
ROOMS = {room: place for place, line in enumerate(ORDER) for room in line.split()}


def room(name: str) -> str:
    """The room of a module: the longest that its name starts with."""
    words = name.split(".")[1:]
    rooms = [".".join(words[:n]) for n in (2, 1) if ".".join(words[:n]) in ROOMS]
    assert rooms, f"{name} stands in no line of ORDER: say there what it may import"
    return rooms[0]


def arrows() -> dict[str, set[str]]:
    """What each module imports of the library; a package contains its modules, so a module may name it."""
    files = [file for file in LIBRARY.rglob("*.py") if file != LIBRARY / "__init__.py"]
    found = {name_of(file): {name_of(one) for one in imports(parse(file), LIBRARY.parent)} for file in files}
    return {name: {one for one in others if not f"{name}.".startswith(f"{one}.")} for name, others in found.items()}


def test_no_arrow_runs_up():
    up = [(a, b) for a, others in arrows().items() for b in others if ROOMS[room(b)] > ROOMS[room(a)]]
    assert up == [], "these import from a room below; see ORDER"


def test_no_import_runs_in_a_circle():
    TopologicalSorter(arrows()).prepare()  # raises CycleError, which names the circle
