"""What a submitted file is: a notebook or script, of which lessons, and how much of it was worked on."""

import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from course_lib.authoring.places import gradable, parts
from course_lib.grading.archives import ZIP, Found
from course_lib.grading.cells import Cell, Unreadable, cells_of

QUOTED = re.compile(rb'(?<!\\)"(?:task|check)_(\d\d)_\d+"')  # in metadata; in a cell's text the quotes are escaped
STUB = re.compile(rb"""(?<!#)(?<!# )raise NotImplementedError\(\\?["']task_\d\d_\d+ is yours to write""")
NAMED = re.compile(rb"""Exercise\(\s*\\?["'](\d\d_\w+)""")
BLOCK = re.compile(r"^(?:async\s+)?(?:def|class)\s+(\w+).*?(?=^\S|\Z)", re.M | re.S)
DEFINED = re.compile(rb"(?:^|\\n|\")(?:def|class) (\w+)", re.M)
UNTOUCHED = "is yours to write"
AGAIN = re.compile(r"(?:-(\d+)| ?\((\d+)\))$")  # how Canvas and browsers mark a file of the same name


class Candidate(NamedTuple):
    """A file that may be the notebook: the outermost name that it came under, and the lessons that it is about."""

    found: Found
    entry: str
    lessons: frozenset[str]
    touched: bool = True  # not as it was handed out


def is_notebook(name: str, data: bytes) -> bool:
    """Whether a file is a notebook or a script of one, by its content; a name that promises one is believed."""
    name = name.lower()
    if name.endswith((".ipynb", ".py")):
        return True
    if name.endswith((".html", ".htm", ".md", ".pdf", ".csv", ".rmd")) or data.startswith(ZIP):
        return False
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start == b"{":
        return b'"cells"' in data or b'"worksheets"' in data
    return bool(NAMED.search(data) or QUOTED.search(data))


def numbers_in(data: bytes) -> set[bytes]:
    """The numbers of the lessons whose tasks a file's metadata name, or whose ``Exercise`` it makes."""
    return set(QUOTED.findall(data)) or {slug[:2] for slug in NAMED.findall(data)}


def lessons_of(found: Found, data: bytes, known: list[str], root: Path) -> frozenset[str]:
    """The lessons that a file belongs to: by its metadata, else by its name, else by the functions in it."""
    numbers = {number.decode() for number in numbers_in(data)}
    if not numbers:
        numbers = {slug[:2] for slug in known if slug in found.name}
    if not numbers:
        defined = set(DEFINED.findall(data))
        shared = {slug: len(defined & functions(slug, root)) for slug in known}
        most = max(shared.values(), default=0)
        numbers = {slug[:2] for slug, count in shared.items() if count == most > 0}
    return frozenset(slug for slug in known if slug[:2] in numbers and gradable(slug, root))


def is_touched(data: bytes, lessons: Iterable[str], root: Path) -> bool:
    """Whether a notebook or script is not as it was handed out: fewer answers are missing than in the exercise."""
    stubs = len(STUB.findall(data))
    return not lessons or any(stubs < answers(slug, root) for slug in lessons)


@lru_cache
def answers(slug: str, root: Path) -> int:
    """How many answers a lesson's exercise asks for."""
    return parts(slug, root)["solution source"].read_bytes().count(b"### BEGIN SOLUTION")


@lru_cache
def functions(slug: str, root: Path) -> frozenset[bytes]:
    """The names that a lesson's exercise asks for."""
    source = parts(slug, root)["solution source"]
    return frozenset(DEFINED.findall(source.read_bytes())) if source.exists() else frozenset()


def choose(candidates: list[Candidate], slug: str, root: Path) -> tuple[Candidate, tuple[str, ...]]:
    """The notebook in which most tasks were worked on; of equals the latest."""
    if len(candidates) == 1:
        return candidates[0], ()
    wanted = {name.decode() for name in functions(slug, root)}
    worked = {one: (slug in one.lessons, worked_on(one.found, wanted)) for one in candidates}

    def order(one: Candidate) -> tuple:
        return *worked[one], again(one.found), one.found.time, -len(one.found.parts), one.found.parts

    best = max(candidates, key=order)
    others = some(one.found.name for one in candidates if one is not best)
    return best, (f"several notebooks fit; graded {best.found.parts[-1]}, not {others}",)


def worked_on(found: Found, wanted: set[str]) -> int:
    """How many tasks of a notebook are not as they were handed out."""
    try:
        cells = cells_of(found.read(), found.parts[-1].lower())
    except (Unreadable, OSError):
        return -1
    tasks = {cell.name for cell in cells if cell.name.startswith("task") and cell.source.strip()}
    tasks -= {cell.name for cell in cells if UNTOUCHED in cell.source}
    return len(tasks) + len(blocks_of([cell for cell in cells if not cell.name], wanted))


def blocks_of(cells: Iterable[Cell], wanted: set[str]) -> dict[str, str]:
    """The text of each function and class that was written, by name; of all where nothing is ``wanted``."""
    text = "\n".join(cell.source for cell in cells)
    found = {match[1]: match[0] for match in BLOCK.finditer(text) if UNTOUCHED not in match[0]}
    return {name: block for name, block in sorted(found.items()) if not wanted or name in wanted}


def again(found: Found) -> int:
    """Canvas's and browsers' number of a file that was handed in again."""
    stem = re.sub(r"\.\w+$", "", found.parts[-1])
    match = AGAIN.search(stem)
    return int((match[1] or match[2])[:9]) if match else 0


def some(names: Iterable[str], most: int = 6) -> str:
    """The first names, and how many more there are."""
    listed = sorted(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
