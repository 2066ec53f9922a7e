"""The cells of a notebook that was saved as a script: by jupytext (percent or light), JupyterLab, Colab, or by hand.

    # %% tags=["task_01_1"]      percent: also Spyder's, VS Code's and PyCharm's
    # + tags=["task_01_1"]       light, up to # -; a paragraph without this mark is a cell, too
    # In[3]:                     JupyterLab, and nbconvert
    (nothing)                    Colab: all of it, with its text in strings

Nothing of a script is lost by reading it as too few cells, because a line that fails costs itself alone.
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
            yield from ((said, uncommented(one)) for one in pieces(code, marked=bool(marks)))


def pieces(code: str, *, marked: bool) -> list[str]:
    """The cells of code that no marker divides: a magic has its own; so has each paragraph of what is no Python."""
    if not marked and not is_python(code):
        return re.split(r"\n\s*\n(?=\S)", code)
    return [one for one in MAGIC_PARAGRAPH.split(code) if one.strip()]


def is_python(text: str) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except Exception:
        return False
    return True


def uncommented(code: str) -> str:
    """A cell with a magic on top, without the comment sign in front of the magic, or of all its lines."""
    if not MAGIC.match(code):
        return code
    first, *rest = code.splitlines()
    if all(not line.strip() or line.startswith("#") for line in rest):
        rest = [re.sub(r"^# ?", "", line) for line in rest]
    return "\n".join([MAGIC.sub("", first), *rest])
