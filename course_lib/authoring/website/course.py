"""What the pages tell of lessons and exercises, read from their notebooks and sources."""

import re
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import nbformat

from course_lib.authoring import address
from course_lib.authoring.places import parts
from course_lib.authoring.sources import Header, points, read_header
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
        return "\n\n".join(texts(parts(self.slug, self.root)["lesson"])) + "\n"

    @cached_property
    def kept(self) -> list[str]:
        """The three things that the lesson wants to be kept."""
        found = KEPT.search(self.text)
        return [" ".join(one.split()) for one in re.split(r"^\d\. ", found[1], flags=re.M)[1:]] if found else []

    @cached_property
    def exercise(self) -> Exercise | None:
        files = parts(self.slug, self.root)
        if not files["solution source"].exists():
            return None
        header = read_header(texts(files["exercise"])[0])
        return Exercise(points(files["solution source"]), header.minutes)


def texts(notebook: Path) -> list[str]:
    """The Markdown cells that an author wrote; their source takes five times as long to read."""
    cells = nbformat.read(notebook, as_version=4).cells
    return [text for kind, text in address.written(cells) if kind == "markdown"]


@cache
def lessons(root: Path) -> list[Lesson]:
    return [Lesson(slug, header, root) for slug, header in written(root).items()]
