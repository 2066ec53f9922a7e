"""The code cells of a submitted file. Whatever the file holds, this either reads it or says in words why not."""

import json
import re
from typing import NamedTuple

from course_lib.grading.scripts import split

MAX_BYTES = 20 << 20
MAX_MARKS = 2_000_000
MAX_CELLS = 1000
MAX_CODE = 2 << 20
NAME = re.compile(r"(task|check)_\d\d_\d+")
CODE = re.compile(r"^(?:def|class|import|from|with) [\w.]+|^# (?:%%|In ?\[)", re.M)


class Cell(NamedTuple):
    """One code cell: the task or check that its metadata names (or ""), and its code."""

    name: str
    source: str


class Unreadable(ValueError):
    """A submitted file that cannot be graded; the message names the reason and the cure."""


def cells_of(data: bytes, filename: str) -> list[Cell]:
    """The code cells of a notebook, or of a script that was made of one, in order; the content says which it is.

    Raises:
        Unreadable: naming what is wrong with the file.
    """
    if len(data) > MAX_BYTES:
        raise Unreadable(f"{len(data) >> 20} MB is too large; clear the outputs and hand in again")
    if not data.strip():
        raise Unreadable("the file is empty; save the notebook and hand in again")
    text = decode(data)
    cells = read_script(text) if is_script(text, filename) else read_notebook(text)
    if len(cells) > MAX_CELLS or sum(len(cell.source) for cell in cells) > MAX_CODE:
        raise Unreadable(f"more than {MAX_CELLS} cells or {MAX_CODE >> 20} MB of code; hand in the exercise only")
    return cells


def decode(data: bytes) -> str:
    """Text in whatever encoding an editor may have saved it."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_notebook(text: str) -> list[Cell]:
    """The code cells of an ``.ipynb`` of any version since 3."""
    if text.count("[") + text.count("{") + text.count(",") > MAX_MARKS:
        raise Unreadable("the file holds millions of values; clear the outputs and hand in again")
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        if re.search(r"^(<<<<<<<|>>>>>>>)", text, re.M):
            raise Unreadable("the file holds a merge conflict (<<<<<<<); resolve it and hand in again") from None
        raise Unreadable("the file is damaged: it is no notebook; download it again and hand in again") from None
    if not isinstance(notebook, dict):
        raise Unreadable("the file is no notebook; hand in the .ipynb file of the exercise")
    refuse_other_languages(notebook)
    cells = notebook.get("cells")
    if not isinstance(cells, list):  # version 3 kept them in worksheets
        sheets = notebook.get("worksheets")
        sheets = [sheet for sheet in sheets if isinstance(sheet, dict)] if isinstance(sheets, list) else []
        cells = [cell for sheet in sheets for cell in sheet.get("cells") or []] if sheets else None
    if cells is None:
        raise Unreadable("the notebook has no cells; hand in the .ipynb file of the exercise")
    return [cell for cell in map(code_cell, cells) if cell]


def refuse_other_languages(notebook: dict) -> None:
    """A notebook of R or Julia would only fail cell by cell."""
    metadata = notebook.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    language = kernel.get("language") if isinstance(kernel, dict) else None
    if isinstance(language, str) and language and "python" not in language.lower():
        raise Unreadable(f"the notebook's language is {language[:20]}; hand in the exercise in Python")


def code_cell(cell: object) -> Cell | None:
    """A cell of the file's JSON as a Cell, or None where it holds no code."""
    if not isinstance(cell, dict) or cell.get("cell_type") != "code":
        return None
    source = cell.get("source", cell.get("input", ""))
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        return None
    return Cell(name_of(cell.get("metadata")), printable(source))


def name_of(metadata: object) -> str:
    """The task or check that a cell's metadata names, in nbgrader's field or in our tags."""
    if not isinstance(metadata, dict):
        return ""
    nbgrader, tags = metadata.get("nbgrader"), metadata.get("tags")
    names = [nbgrader.get("grade_id")] if isinstance(nbgrader, dict) else []
    names += tags if isinstance(tags, list) else []
    return next((name for name in names if isinstance(name, str) and NAME.fullmatch(name)), "")


def printable(source: str) -> str:
    """Code that can be sent: JSON allows half characters (lone surrogates) and NUL, Python's compiler neither."""
    return source.encode("utf-8", errors="replace").decode().replace("\0", "").replace("\r\n", "\n")


def is_script(text: str, filename: str) -> bool:
    """Whether the text is code: renamed or not, a notebook starts with a brace and a script with anything else."""
    if text.lstrip().startswith(("{", "[")) and ('"cells"' in text or not filename.endswith(".py")):
        return False
    return filename.endswith(".py") or ("\0" not in text and bool(CODE.search(text)))


def read_script(text: str) -> list[Cell]:
    """The cells of a script; where no marks divide it, its definitions and paragraphs do."""
    if len(text) > MAX_CODE:
        raise Unreadable(f"more than {MAX_CODE >> 20} MB of code; hand in the exercise only")
    pieces = split(printable(text).replace("\r", "\n"))
    return [Cell(name[0] if (name := NAME.search(said)) else "", source) for said, source in pieces if source.strip()]
