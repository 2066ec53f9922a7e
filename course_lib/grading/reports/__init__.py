"""Marks as others want them: each format is a function from Marks to named files."""

from collections.abc import Callable, Mapping
from pathlib import Path

from course_lib.grading.marks import Marks
from course_lib.grading.reports.gradescope import gradescope
from course_lib.grading.reports.junit import junit
from course_lib.grading.reports.pages import html
from course_lib.grading.reports.tables import canvas, moodle, nbgrader, table
from course_lib.grading.store import write

FORMATS: dict[str, Callable[[Marks], Mapping[str, str | bytes]]] = {
    "csv": table,
    "canvas": canvas,
    "moodle": moodle,
    "nbgrader": nbgrader,
    "gradescope": gradescope,
    "junit": junit,
    "html": html,
}


def write_report(marks: Marks, name: str, folder: Path) -> list[Path]:
    """Write one format into ``folder``; the files written."""
    files = FORMATS[name](marks)
    for path, content in files.items():
        write(folder / path, content)
    return [folder / path for path in files]
