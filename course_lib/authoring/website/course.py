"""What the pages tell of lessons and exercises, read from their sources."""

import re
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from course_lib.authoring.places import parts
from course_lib.authoring.sources import Header, points, read_cells
from course_lib.authoring.tables import written

ARXIV = re.compile(r"\barXiv (\d{4}\.\d{4,5})")
KEPT = re.compile(r"^## Three things to keep\n+((?:\d\. .*\n(?:   .*\n)*)+)", re.M)


class Exercise(NamedTuple):
    points: list[int]
    minutes: int
    titles: list[str]


class Lesson:
    """One lesson that readers may see."""

    def __init__(self, slug: str, header: Header, root: Path):
        self.slug, self.number, self.header, self.root = slug, slug[:2], header, root

    @cached_property
    def text(self) -> str:
        """Its Markdown, without code."""
        cells = read_cells(parts(self.slug, self.root)["lesson source"])
        return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown") + "\n"

    @cached_property
    def kept(self) -> list[str]:
        """The three things that the lesson wants to be kept."""
        found = KEPT.search(self.text)
        return [" ".join(one.split()) for one in re.split(r"^\d\. ", found[1], flags=re.M)[1:]] if found else []

    @cached_property
    def exercise(self) -> Exercise | None:
        source = parts(self.slug, self.root)["solution source"]
        if not source.exists():
            return None
        text = "\n\n".join(cell.source for cell in read_cells(source) if cell.cell_type == "markdown")
        minutes = re.search(r"\*Minutes:\*\s*(\d+)", text)
        titles = re.findall(r"^## task_\d\d_\d+ · (.+)$", text, re.M)
        return Exercise(points(source), int(minutes[1]) if minutes else 0, titles)


@cache
def lessons(root: Path) -> list[Lesson]:
    return [Lesson(slug, header, root) for slug, header in written(root).items()]


def with_links(text: str) -> str:
    """Every arXiv number becomes a link.

    >>> with_links("Hu 2018, arXiv 1709.01507")
    'Hu 2018, [arXiv 1709.01507](https://arxiv.org/abs/1709.01507)'
    """
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)
