"""Marks that the instructor gave by hand, put into the results; no sandbox is needed, so it works on every system."""

from dataclasses import replace

from course_lib.grading.marks import Marks, Override, Record
from course_lib.grading.reports import write_results
from course_lib.grading.store import Store


def write_again(store: Store) -> None:
    """Write every result again, with the marks that were given by hand since."""
    lessons = tuple(by_hand(marks, store) for marks in store.lessons())
    write_results(lessons, store.folder)


def without_row(lessons: tuple[Marks, ...], store: Store) -> list[str]:
    """The marks by hand that no row shows, because whose they are is not here any more, and the cure."""
    given, said = store.overrides(), []
    for marks in lessons:
        here = {one for record in marks.records for one in record.known_as}
        for what in (marks.slug, *(task.name for task in marks.tasks)):
            shown = {mark for who, mark in given.get(what, {}).items() if who in here}
            said += [
                f"{marks.slug}: nobody here is {who!r}, whose {what} got {mark.points:g} by hand ({mark.reason}); "
                "the mark is kept for her, or give it again to the row that is meant, with `course override`"
                for who, mark in given.get(what, {}).items()
                if who not in here and mark not in shown
            ]
    return said


def by_hand(marks: Marks, store: Store) -> Marks:
    """Marks with those that the instructor gave, for the whole or for a task."""
    given = store.overrides()

    def of(what: str, record: Record) -> Override | None:
        marks = given.get(what, {})
        return next((marks[one] for one in record.known_as if one in marks), None)

    def with_given(record: Record) -> Record:
        tasks = tuple(replace(task, given=of(task.task, record)) for task in record.tasks)
        return replace(record, override=of(marks.slug, record), tasks=tasks)

    return replace(marks, records=tuple(map(with_given, marks.records)))
