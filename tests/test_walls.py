"""The walls between the rooms."""

import ast
from pathlib import Path

import pytest

import course_lib
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
