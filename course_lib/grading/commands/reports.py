"""``course report``: graded marks in another format."""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from course_lib.exercises import UsageError
from course_lib.grading.marks import Marks, lessons_from_json


def report(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.grading.reports import IMPORTED, write_report
    from course_lib.grading.reports.tables import without_participant

    one_mark = arguments.format in IMPORTED
    if arguments.after_late and not one_mark:
        raise UsageError(f"--after-late is for {' and '.join(IMPORTED)}; leave it out")
    options = {"after_late": True} if arguments.after_late else {}
    lessons, folder = read_marks(arguments.folder), arguments.out or arguments.folder
    show(write_report(lessons, arguments.format, folder, **options))
    for words in filter(None, map(without_participant, lessons if arguments.format == "moodle" else ())):
        print(f"course: {words}", file=sys.stderr)
    if one_mark and any(record.penalty for marks in lessons for record in marks.records):
        print("lateness is taken off" if options else "lateness is not taken off; --after-late does it")
    return 0


def read_marks(folder: Path) -> tuple[Marks, ...]:
    """The marks that a run left in ``folder``.

    Raises:
        UsageError: if there are none that can be read.
    """
    path = folder / "marks.json"
    try:
        return lessons_from_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"{path} does not exist; run `course grade SUBMISSIONS --out {folder}` first") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged; run `course grade SUBMISSIONS --out {folder}` again") from None


def show(paths: Iterable[Path]) -> None:
    paths = list(paths)
    for path in paths[:5]:
        print(path)
    if len(paths) > 5:
        print(f"and {len(paths) - 5} more")
