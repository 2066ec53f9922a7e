"""What the pages tell of lessons and exercises, read from their sources."""

import re
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from course_lib.authoring.places import parts
from course_lib.authoring.sources import Header, points, read_cells, read_header
from course_lib.authoring.tables import written

KEPT = re.compile(r"^## Three things to keep\n+((?:\d\. .*\n(?:   .*\n)*)+)", re.M)


class Exercise(NamedTuple):
    points: list[int]
    minutes: int


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
        return Exercise(points(source), read_header(read_cells(source)[0].source).minutes)


@cache
def lessons(root: Path) -> list[Lesson]:
    return [Lesson(slug, header, root) for slug, header in written(root).items()]
