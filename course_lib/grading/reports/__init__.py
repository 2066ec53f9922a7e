"""Marks as others want them: each format is a function from Marks to named files."""

from collections.abc import Callable, Mapping
from pathlib import Path

from course_lib.grading.marks import Marks, marks_to_json
from course_lib.grading.reports.feedback import feedback
from course_lib.grading.reports.gradescope import gradescope
from course_lib.grading.reports.junit import junit
from course_lib.grading.reports.pages import html, overview_page
from course_lib.grading.reports.tables import canvas, moodle, nbgrader, overview, table
from course_lib.grading.store import write

FORMATS: dict[str, Callable[..., Mapping[str, str | bytes]]] = {
    "csv": table,
    "canvas": canvas,
    "moodle": moodle,
    "nbgrader": nbgrader,
    "gradescope": gradescope,
    "junit": junit,
    "html": html,
    "feedback": feedback,
}
IMPORTED = ("canvas", "moodle")  # one mark a student: ``after_late=True`` for the one that lateness leaves
# What several lessons have in one file; every other format has a folder for each lesson.
TOGETHER: dict[str, Callable[..., Mapping[str, str | bytes]]] = {
    "csv": overview,
    "canvas": canvas,
    "nbgrader": nbgrader,
    "html": overview_page,
}
APART = FORMATS.keys() - {"canvas", "nbgrader"}


def files_of(name: str, lessons: tuple[Marks, ...], **options: bool) -> Mapping[str, str | bytes]:
    """One format of one lesson, or of several: what they share, and a folder for each."""
    if len(lessons) == 1:
        return FORMATS[name](lessons[0], **options)
    files = dict(TOGETHER[name](*lessons, **options)) if name in TOGETHER else {}
    for marks in lessons if name in APART else ():
        files |= {f"{marks.slug}/{path}": content for path, content in FORMATS[name](marks, **options).items()}
    return files


def write_report(marks: Marks | tuple[Marks, ...], name: str, folder: Path, **options: bool) -> list[Path]:
    """Write one format, of one lesson or of several, into ``folder``; the files written."""
    files = files_of(name, (marks,) if isinstance(marks, Marks) else marks, **options)
    for path, content in files.items():
        write(folder / path, content)
    return [folder / path for path in files]


def write_results(lessons: tuple[Marks, ...], folder: Path) -> None:
    """The marks, the instructor's tables and summaries, a page for each student; pages of earlier runs go."""
    write(folder / "marks.json", marks_to_json(*lessons))
    written = {*write_report(lessons, "csv", folder), *write_report(lessons, "html", folder)}
    for pattern in ("students/*.html", "[0-9][0-9]_*/students/*.html", "distribution.png"):
        for old in folder.glob(pattern):
            if old not in written:
                old.unlink()
