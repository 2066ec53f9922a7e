"""Marks as tables: for a spreadsheet, for Canvas, for Moodle, and nbgrader's export."""

import csv
import io
from collections.abc import Iterable
from functools import partial

from course_lib.grading.marks import Marks, Record, TaskMark, by_name, people, short
from course_lib.grading.reports.apart import each, student

FORMULA = ("=", "+", "-", "@", "|", "%", "＝", "＋", "－", "＠")
BREAKS = "\t\r\n"
JOINERS = "\u200c\u200d"  # unseen, but part of how some names are written
MAX_CELL = 5000


def safe(value: object) -> str:
    """A cell that no spreadsheet takes for a formula, and that holds nothing that cannot be seen.

    A student may be called ``=cmd()``; spaces of any kind before a formula do not stop a spreadsheet.
    """
    text = "" if value is None else str(value)[:MAX_CELL]
    formula = text.startswith(tuple(BREAKS)) or text.lstrip().lstrip(f"\u200b\ufeff\u2060{JOINERS}").startswith(
        FORMULA
    )
    text = "".join(one if one.isprintable() or one in JOINERS else " " if one.isspace() else "�" for one in text)
    return f"'{text}" if formula else text


def write_csv(header: list[str], rows: Iterable[list]) -> str:
    """Every cell quoted and guarded, lines as RFC 4180 wants them; empty rows are left out."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([safe(value) for value in row] for row in rows if row)
    return out.getvalue()


def table(marks: Marks) -> dict[str, str]:
    """The instructor's table: one row a submission, one column a task."""
    names = [task.name for task in marks.tasks]
    header = ["student", "id", "section", "file", "earned", "of", *names, "problem", "late", "late_penalty"]
    header += ["after_late", "override", "reason", "mark", "mistakes", "notes", "sandbox"]
    return {"marks.csv": "\ufeff" + write_csv(header, each(marks.records, partial(table_row, marks), student))}


def table_row(marks: Marks, record: Record) -> list:
    names = [task.name for task in marks.tasks]
    return [*start(record, marks), *by_task(record, names), record.problem, *by_hand(record), *end(record)]


def start(record: Record, marks: Marks) -> list:
    return [record.student, record.id, record.section, record.file, record.earned, marks.points]


def end(record: Record) -> list[str]:
    asked = [f"asked for {', '.join(record.asked)}, which is not its own"] if record.asked else []
    return [mistakes(record), " | ".join([*record.notes, *asked]), record.sandbox]


def by_hand(record: Record) -> list:
    """What the instructor adds: lateness, apart from the mark; her own mark with its reason; what counts."""
    late = [record.late.words, record.penalty, record.after_late] if record.late else ["", None, record.mark]
    given = [record.mark, "; ".join(record.reasons)] if record.reasons else [None, ""]
    return [*late, *given, record.mark]


def overview(*lessons: Marks) -> dict[str, str]:
    """One row a student, one column a lesson, and what is to be said of each."""
    slugs = [marks.slug for marks in lessons]
    header = ["student", "id", "section", *slugs, "total", "of", "after_late", "problem", "late"]
    rows = each(by_name(people(lessons)), partial(overview_row, lessons), called)
    return {"marks.csv": "\ufeff" + write_csv(header, rows)}


Person = tuple[tuple[str, str], dict[str, Record]]  # as ``people`` tells: name and key, a record for each lesson


def called(person: Person) -> str:
    return person[0][0]


def overview_row(lessons: tuple[Marks, ...], person: Person) -> list:
    (name, _), records = person
    found, slugs = list(records.values()), [marks.slug for marks in lessons]
    marks = [record.mark for record in found if record.mark is not None]
    after = [record.after_late for record in found if record.after_late is not None]
    row = [name, *first_of(found), *(records[slug].mark if slug in records else None for slug in slugs)]
    row += [short(sum(marks)) if marks else None, sum(marks.points for marks in lessons)]
    row += [short(round(sum(after), 2)) if after else None]
    row += [said({slug: one.problem for slug, one in records.items()})]
    return [*row, said({slug: one.late.words for slug, one in records.items() if one.late})]


def first_of(records: list[Record]) -> list[str]:
    """Identifier and section of a student, from whichever record has them."""
    return [first(records, name) for name in ("id", "section")]


def first(records: Iterable[Record], name: str) -> str:
    return next((value for one in records if (value := getattr(one, name))), "")


def said(words: dict[str, str]) -> str:
    """What is said of each lesson; lessons of which the same is said share it."""
    same: dict[str, list[str]] = {}
    for slug, one in words.items():
        if one:
            same.setdefault(one, []).append(slug)
    return " | ".join(f"{', '.join(slugs)}: {one}" for one, slugs in same.items())


def mistakes(record: Record) -> str:
    return " ".join(task.mistake for task in record.tasks if task.mistake)


def by_task(record: Record, names: list[str]) -> list[int | None]:
    earned = {task.task: task.earned for task in record.tasks}
    return [earned.get(name) for name in names]


def canvas(*lessons: Marks, after_late: bool = False) -> dict[str, str]:
    """Canvas's gradebook import; a student without a mark is left out, so that nothing is overwritten.

    Lateness is taken off ``after_late`` only: Canvas has a rule of its own.
    """
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *(marks.slug for marks in lessons)]
    points = ["    Points Possible", "", "", "", "", *(marks.points for marks in lessons)]
    rows = each(people(lessons).items(), partial(canvas_row, lessons, after_late), called)
    return {"canvas.csv": write_csv(header, [points, *rows])}


def canvas_row(lessons: tuple[Marks, ...], after_late: bool, person: Person) -> list:
    """One student's marks; empty where there is none."""
    (name, _), records = person
    marks = [counts(records[one.slug], after_late) if one.slug in records else None for one in lessons]
    if all(mark is None for mark in marks):
        return []
    known = [first(records.values(), what) for what in ("id_on_canvas", "sis", "login", "section")]
    return [name, *known, *marks]


def moodle(marks: Marks, *, after_late: bool = False) -> dict[str, str]:
    """Moodle's offline grading worksheet, which finds a student by the participant number of the download.

    Lateness is taken off ``after_late`` only; the comment says which.
    """
    header = ["Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)", "Feedback comments"]
    return {"moodle.csv": write_csv(header, each(marks.records, partial(moodle_row, marks, after_late), student))}


def moodle_row(marks: Marks, after_late: bool, record: Record) -> list:
    """One participant's mark; empty where there is none."""
    if record.mark is None:
        return []
    mark, words = counts(record, after_late), comment(record, after_late)
    return [participant(record), record.student, mark, marks.points, "", words]


def participant(record: Record) -> str:
    return f"Participant {record.id_on_moodle}" if record.id_on_moodle else ""


def without_participant(marks: Marks) -> str:
    """How many rows Moodle cannot find a participant for, and the cure; "" where there is none."""
    count = sum(not record.id_on_moodle for record in marks.marked)
    if not count:
        return ""
    return (
        f"{marks.slug}: {count} of {len(marks.marked)} rows have no participant number, and Moodle passes over them; "
        "grade again with --roster and Moodle's grading worksheet of this assignment, or a roster with its numbers "
        "in a column participant"
    )


def counts(record: Record, after_late: bool) -> float | None:
    return record.after_late if after_late else record.mark


def comment(record: Record, after_late: bool) -> str:
    given = [f"Mark given by hand: {reason.rstrip('.')}." for reason in record.reasons]
    taken = (
        f": {record.penalty:g} points {'are' if after_late else 'are not yet'} taken off" if record.penalty else ""
    )
    late = [f"{record.late.words}{taken}."] if record.late else []
    missed = [f"{task.task}: {sentence(task)}" for task in record.tasks if task.mark < task.points]
    return " ".join([*given, *late, "; ".join(missed)]).strip()


def sentence(task: TaskMark) -> str:
    """The first thing to tell a student about a task not earned."""
    return task.check or task.sentence or next(iter(task.hints), "not solved yet")


def nbgrader(*lessons: Marks) -> dict[str, str]:
    """The columns of ``nbgrader export``."""
    header = ["assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"]
    header += ["raw_score", "late_submission_penalty", "score", "max_score"]
    rows = [row for marks in lessons for row in each(marks.records, partial(nbgrader_row, marks), student)]
    return {"grades.csv": write_csv(header, rows)}


def nbgrader_row(marks: Marks, record: Record) -> list:
    """One student's mark; empty where there is none."""
    if record.mark is None:
        return []
    what = [marks.slug, None, None, record.student, None, None, None]
    return [*what, record.mark, record.penalty, record.after_late, marks.points]
