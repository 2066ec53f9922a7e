"""How many minutes a lesson takes to read: counted from its source and its outputs, never guessed.

words / 150 + 8 s for each line of code that must be read + 30 s for each picture + 10 s for each other output
+ 30 s for each "before running". Folded cells, set-up, imports, asserts, alternative texts and references are free.
"""

import ast
import re
from collections.abc import Iterator

from nbformat import NotebookNode

WORDS_A_MINUTE = 150
LINE, PICTURE, OUTPUT, PREDICTION = 8, 30, 10, 30  # seconds each
DEEPER = re.compile(r"^## Deeper · (.+?) \((1 minute|(?!1 )\d+ minutes)\)$", re.M)
PREDICTIONS = re.compile(r"\bbefore (?:running|moving|reading on)\b", re.I)
FREE_TEXT = re.compile(
    r"^\*Alt text:\*.*?(?=\n\s*\n|\Z)"  # alternative texts
    r"|^[*_]*References?\b.*?(?=\n\s*\n|\Z)"  # references
    r"|\]\([^)]*\)|<[^>]+>|^\|[-| :]+\|$",  # where links lead, HTML, the lines of tables
    re.M | re.S,
)
WORD = re.compile(r"\S*\w\S*")


def in_words(minutes: float) -> str:
    """
    >>> in_words(0.7), in_words(2)
    ('1 minute', '2 minutes')
    """
    return f"{minutes:.0f} minute{'s' * (round(minutes) != 1)}"


def promised(cells: list[NotebookNode]) -> dict[str, int]:
    """The minutes that the heading of each deeper section names, by its title."""
    return {title: int(words.split()[0]) for cell in cells for title, words in DEEPER.findall(cell.source)}


def sections(cells: list[NotebookNode], outputs: list[list[NotebookNode]] | None) -> dict[str, float]:
    """The minutes of the walk (named "") and of each deeper section, by its title."""
    seconds = {"": 0.0}
    title = ""
    for cell, put_out in zip(cells, outputs or [[]] * len(cells), strict=True):
        if cell.cell_type == "code":
            seconds[title] += of_code(cell) + of_outputs(cell, put_out)
            continue
        walk, *deeper = re.split(r"^(?=## Deeper · )", cell.source, flags=re.M)
        seconds[title] += of_text(walk)
        for text in deeper:
            found = DEEPER.search(text)
            title = found[1] if found else text.partition("\n")[0].removeprefix("## Deeper · ")
            seconds[title] = seconds.get(title, 0.0) + of_text(text)
    return {title: found / 60 for title, found in seconds.items()}


def of_text(text: str) -> float:
    """The seconds that a Markdown text takes."""
    words = len(WORD.findall(FREE_TEXT.sub(" ", text)))
    return 60 * words / WORDS_A_MINUTE + PREDICTION * len(PREDICTIONS.findall(text))


def of_code(cell: NotebookNode) -> float:
    return LINE * len(lines_to_read(cell))


def lines_to_read(cell: NotebookNode) -> list[str]:
    """The lines of a cell that a reader must understand: no set-up, import or assert, and nothing that is folded."""
    if {"folded", "set-up"} & set(cell.metadata.get("tags", [])):
        return []
    free = set(free_lines(cell.source))
    lines = enumerate(cell.source.splitlines(), start=1)
    return [line for number, line in lines if number not in free and line.strip()]


def free_lines(source: str) -> Iterator[int]:
    """The numbers of the lines that only import or assert."""
    plain = "\n".join("" if re.match(r"\s*[%!]", line) else line for line in source.splitlines())
    for node in ast.walk(ast.parse(plain)):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
            yield from range(node.lineno, (node.end_lineno or node.lineno) + 1)


def of_outputs(cell: NotebookNode, outputs: list[NotebookNode]) -> float:
    """A widget counts as the picture that it shows."""
    pictures = sum(is_picture(output) for output in outputs)
    if "widget" in cell.metadata.get("tags", []):
        return PICTURE
    return PICTURE * pictures + OUTPUT * (len(outputs) > pictures)


def is_picture(output: NotebookNode) -> bool:
    data = output.get("data", {})
    return "image/png" in data or "<img" in "".join(data.get("text/html", ""))
