"""Marks as tables: for a spreadsheet, for Canvas, for Moodle, and nbgrader's export."""

import csv
import io
from collections.abc import Iterable

from course_lib.grading.marks import Marks, Record, TaskMark

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "＝", "＋", "－", "＠")


def safe(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: a student may be called ``=cmd()``."""
    text = "" if value is None else str(value).replace("\0", "")
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text


def write_csv(header: list[str], rows: Iterable[list]) -> str:
    """Every cell quoted and guarded, lines as RFC 4180 wants them."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([safe(value) for value in row] for row in rows)
    return out.getvalue()


def table(marks: Marks) -> dict[str, str]:
    """The instructor's table: one row a submission, one column a task."""
    names = [task.name for task in marks.tasks]
    header = ["student", "id", "file", "earned", "of", *names, "problem", "mistakes", "notes", "sandbox"]
    rows = [
        [*start(record, marks), *by_task(record, names), record.problem, mistakes(record), *end(record)]
        for record in marks.records
    ]
    return {"marks.csv": "\ufeff" + write_csv(header, rows)}


def start(record: Record, marks: Marks) -> list:
    return [record.student, record.id, record.file, record.earned, marks.points]


def end(record: Record) -> list[str]:
    return [" | ".join(record.notes), record.sandbox]


def mistakes(record: Record) -> str:
    return " ".join(task.mistake for task in record.tasks if task.mistake)


def by_task(record: Record, names: list[str]) -> list[int | None]:
    earned = {task.task: task.earned for task in record.tasks}
    return [earned.get(name) for name in names]


def canvas(marks: Marks) -> dict[str, str]:
    """Canvas's gradebook import; a student without a mark is left out, so that nothing is overwritten."""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", marks.slug]
    rows = [["    Points Possible", "", "", "", "", marks.points]]
    rows += [[record.student, record.id, "", "", "", record.earned] for record in marks.graded]
    return {"canvas.csv": write_csv(header, rows)}


def moodle(marks: Marks) -> dict[str, str]:
    """Moodle's offline grading worksheet, which finds a student by the participant number of the download."""
    header = ["Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)", "Feedback comments"]
    rows = [
        [f"Participant {record.id}", record.student, record.earned, marks.points, "", comment(record)]
        for record in marks.graded
    ]
    return {"moodle.csv": write_csv(header, rows)}


def comment(record: Record) -> str:
    return " ".join(f"{task.task}: {sentence(task)}" for task in record.tasks if not task.earned)


def sentence(task: TaskMark) -> str:
    """The first thing to tell a student about a task not earned."""
    return task.check or task.sentence or next(iter(task.hints), "not solved yet")


def nbgrader(marks: Marks) -> dict[str, str]:
    """The columns of ``nbgrader export``."""
    header = ["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"]
    header += ["raw_score", "late_submission_penalty", "score", "max_score"]
    empty, late = [None] * 3, 0.0
    rows = [
        [marks.slug, None, None, record.student, *empty, record.earned, late, record.earned, marks.points]
        for record in marks.graded
    ]
    return {"grades.csv": write_csv(header, rows)}
