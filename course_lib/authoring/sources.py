"""The text sources of lessons and solutions: their cells, what their headers promise, the points they name."""

import ast
import copy
import functools
import re
from pathlib import Path
from typing import NamedTuple

import jupytext
from nbformat import NotebookNode

from course_lib.authoring.places import parts, slugs
from course_lib.exercises import UsageError

TAG = re.compile(r"(task|check)_(\d\d)_(\d+)")


class Header(NamedTuple):
    """The first cell of a source; what is missing is empty, and ``course check-lessons`` says so."""

    title: str
    question: str
    objectives: list[str]
    minutes: int
    deeper: int
    needs: list[str]


def read_cells(path: Path) -> list[NotebookNode]:
    """The cells of a percent file, with nothing in their metadata but the tags that the author wrote."""
    return copy.deepcopy(cells_of(path.read_text(encoding="utf-8")))  # the builder works on what it is given


@functools.cache
def cells_of(text: str) -> list[NotebookNode]:
    """jupytext takes a tenth of a second for a lesson, which is read for notebooks, header and lint."""
    cells = jupytext.reads(text, fmt="py:percent").cells
    for cell in cells:
        tags = cell.metadata.get("tags")
        cell.metadata = NotebookNode({"tags": list(tags)} if tags else {})
    return cells


def tagged(cell: NotebookNode, kind: str) -> int | None:
    """The number of the task whose ``kind`` ("task" or "check") this cell is, from its tag."""
    matches = [TAG.fullmatch(tag) for tag in cell.metadata.get("tags", [])]
    return next((int(match[3]) for match in matches if match and match[1] == kind), None)


def read_header(first: str) -> Header:
    """Parse the header cell: title, question in bold, objectives as bullets, ``*Minutes:* 40 · *Needs:* 01, 03``."""
    minutes = re.search(r"\*Minutes:\*\s*(\d+)(?:, deeper (\d+))?", first)
    needs = re.search(r"\*Needs:\*\s*([^·\n]*)", first)
    objectives = re.search(r"able to\b.*\n+((?:[-*] .*\n?(?:  .*\n?)*)+)", first)
    return Header(
        title=next(iter(re.findall(r"^# (?:.*?· )?(.+)$", first, re.M)), ""),
        question=next(iter(re.findall(r"^\*\*(.+?)\*\*", first, re.M | re.S)), "").replace("\n", " "),
        objectives=re.findall(r"^[-*] (.+)$", objectives[1], re.M) if objectives else [],
        minutes=int(minutes[1]) if minutes else 0,
        deeper=int(minutes[2] or 0) if minutes else 0,
        needs=re.findall(r"\d+", needs[1]) if needs else [],
    )


def headers(root: Path) -> dict[str, Header]:
    """The header of every lesson that has a source, by slug."""
    texts = {slug: parts(slug, root)["lesson source"].read_text(encoding="utf-8") for slug in slugs(root)}
    firsts = {slug: cells_of(text.partition("\n# %%")[0]) for slug, text in texts.items()}
    return {slug: read_header(cells[0].source if cells else "") for slug, cells in firsts.items()}


def is_draft(source: Path) -> bool:
    """Whether a source made by ``course new`` still has places to fill in."""
    return "FILL IN" in source.read_text(encoding="utf-8")


def points(source: Path) -> list[int]:
    """The points of each task, read from ``Exercise("01_addressing", points=[2, 3])`` without running anything."""
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Exercise"):
            for keyword in node.keywords:
                if keyword.arg == "points":
                    return ast.literal_eval(keyword.value)
    raise UsageError(f'{source.name} names no points; write exercise = Exercise("{source.stem}", points=[2, 3])')


def parse(source: Path) -> ast.Module:
    """The syntax tree of a source; jupytext keeps its text valid Python, with magics as comments."""
    try:
        return ast.parse(source.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise UsageError(f"{source} line {error.lineno} is not Python ({error.msg}); repair it") from error
