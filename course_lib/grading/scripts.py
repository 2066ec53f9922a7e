"""The cells of a notebook that was saved as a script: by jupytext (percent or light), JupyterLab, Colab, or by hand.

    # %% tags=["task_01_1"]      percent: also Spyder's, VS Code's and PyCharm's
    # + tags=["task_01_1"]       light, up to # -; a paragraph without this mark is a cell, too
    # In[3]:                     JupyterLab, and nbconvert
    (nothing)                    Colab: all of it, with its text in strings

Where no marks divide a script, its definitions and paragraphs do, so that a line which is no Python, or never ends,
costs no more than it would in the notebook.
"""

import ast
import re
import warnings
from collections.abc import Iterator

MARKER = re.compile(
    r"^# ?(?:%%+(?P<percent>[ \t].*)?|\+(?P<light>[ \t].*)?|-|In ?\[[ \d*]*\]:|COMMAND -+)[ \t]*$", re.MULTILINE
)
TEXT = re.compile(r"\[(?:markdown|md|raw)\]")
MAGIC = re.compile(r"^# ?(?=%%\w)")  # jupytext writes %%writefile mine.py as a comment
MAGIC_PARAGRAPH = re.compile(r"^(# ?%%\w.*(?:\n.+)*)$", re.MULTILINE)
SHELL_LINE = re.compile(r"^([ \t]*)(?:(?:[\w, ]+=[ \t]*)?[!%?]|[\w.]+\?+[ \t]*$).*$", re.MULTILINE)
START = re.compile(r"(?!(?:else|elif|except|finally)\b)[^\s#)\]}]")  # of a line that begins a statement
BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.With)  # definitions, and a visible check
MAX_PARSED = 20 << 20  # characters of one script, however many mistakes it holds
MAX_PIECES = 500


def split(text: str) -> Iterator[tuple[str, str]]:
    """What each marker says, and the code below it."""
    marks = list(MARKER.finditer(text))
    starts = [0, *(mark.end() for mark in marks)]
    ends = [*(mark.start() for mark in marks), len(text)]
    for mark, start, end in zip([None, *marks], starts, ends, strict=True):
        said = (mark["percent"] or mark["light"] or "") if mark else ""
        code = text[start:end].strip("\n")
        if mark and MAGIC.match(code):
            yield said, uncommented(code)
        elif not TEXT.search(said):
            code = without_text(code) if mark and not MAGIC_PARAGRAPH.search(code) else code
            yield from ((said, one) for one in cells_in(code, marked=bool(marks)))


def cells_in(code: str, *, marked: bool) -> Iterator[str]:
    """The cells of code that no marker divides; a magic that was made a comment has one of its own."""
    for one in MAGIC_PARAGRAPH.split(code):
        if MAGIC.match(one):
            yield uncommented(one)
        elif marked and isinstance(parsed(one), list):
            yield one
        else:
            yield from pieces(one)


def without_text(code: str) -> str:
    """Code without the comments below it: JupyterLab writes the text before the next cell there."""
    lines = code.split("\n")
    while lines and (not lines[-1].strip() or lines[-1].startswith("#")):
        lines.pop()
    return "\n".join(lines)


def pieces(code: str) -> list[str]:
    """The definitions and paragraphs of code; what is no Python stands alone, so that the rest runs."""
    found: list[str] = []
    waiting: list[str | list[str]] = [code.split("\n")]  # lines to divide, or a piece, what comes first at the end
    left = MAX_PARSED
    while waiting and len(found) <= MAX_PIECES:
        part = waiting.pop()
        if isinstance(part, str):
            found += [part] if part.strip() else []
        else:
            left -= sum(map(len, part)) + len(part)
            waiting += reversed(_divided(part, parse=left >= 0))
    return found if len(found) <= MAX_PIECES else [code]


def _divided(lines: list[str], *, parse: bool) -> list[str | list[str]]:
    """Lines in pieces, and in lines that are to be divided further; unparsed, they are cut at empty lines."""
    code = "\n".join(lines)
    if not parse:
        return [*re.split(r"\n\s*\n(?=\S)", code)]
    read = parsed(code)
    return [*_paragraphs(lines, read)] if isinstance(read, list) else _apart(lines, read)


def _apart(lines: list[str], mistake: int) -> list[str | list[str]]:
    """The statement that holds the mistake, between the lines before and after it, which are to be divided."""
    place = min(mistake, len(lines)) - 1
    start = next((number for number in range(place, -1, -1) if START.match(lines[number])), 0)
    end = next((number for number in range(place + 1, len(lines)) if START.match(lines[number])), len(lines))
    return [lines[:start], "\n".join(lines[start:end]), lines[end:]]


def _paragraphs(lines: list[str], body: list[ast.stmt]) -> Iterator[str]:
    """Cut code that is Python at its definitions and checks, and at empty lines between its statements."""
    start = end = 0
    for before, statement in zip([None, *body], body, strict=False):
        first = min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", []))]) - 1
        between = lines[end:first]
        parted = isinstance(statement, BLOCKS) or isinstance(before, BLOCKS)
        if before and first >= end and (parted or any(not line.strip() for line in between)):
            yield "\n".join(lines[start:end])
            start = end
        end = max(end, statement.end_lineno or first + 1)
        while end < len(lines) and re.match(r"[ \t]+#", lines[end]):  # the last words of a function
            end += 1
    yield "\n".join(lines[start:])


def parsed(code: str) -> list[ast.stmt] | int:
    """The statements of code; where it is no Python all along, the line at which it stops being so."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(as_python(code)).body
    except SyntaxError as error:
        return max(error.lineno or 1, 1)
    except Exception:  # brackets far too deep
        return 1


def as_python(code: str) -> str:
    """Code with ``pass`` for each line that only a notebook understands: ``!pip``, ``%cd``, ``torch?``.

    Line stands for line, which IPython's own translation does not promise; the pieces are cut from the original.
    """
    return SHELL_LINE.sub(r"\1pass", code)


def uncommented(code: str) -> str:
    """A cell with a magic on top, without the comment sign in front of the magic, or of all its lines."""
    first, *rest = code.splitlines()
    if all(not line.strip() or line.startswith("#") for line in rest):
        rest = [re.sub(r"^# ?", "", line) for line in rest]
    return "\n".join([MAGIC.sub("", first), *rest])
