"""``course override``: a mark by hand, written beside the others, and every report again."""

import argparse
import re
from pathlib import Path

from course_lib.exercises import UsageError
from course_lib.grading.commands.reports import read_marks
from course_lib.grading.marks import Marks, Override, Record
from course_lib.grading.overrides import write_again
from course_lib.grading.store import Store
from course_lib.grading.whose import row_of


def override(arguments: argparse.Namespace, root: Path) -> int:
    """Write the mark beside the others, and every report again."""
    lessons, named = read_marks(arguments.folder), re.match(r"(?:task_)?(\d\d)_", arguments.task or "")
    lesson = arguments.lesson or (named[1] if named else None)
    marks, record = row_of(lessons, arguments.student, lesson)
    what, most = task_of(arguments.task, marks) if arguments.task else (marks.slug, marks.points)
    if arguments.task and not arguments.remove:
        refuse_without_tasks(record)
    mark = None if arguments.remove else Override(*given(arguments, what, most))
    store = Store(arguments.folder)
    try:
        if mark is None:
            require_by_hand(store, what, marks, record)
        store.override(what, record.known_as, mark)
        write_again(store)
    finally:
        store.close()
    said = "the tests' mark counts again" if mark is None else f"{mark.points:g} of {most}: {mark.reason}"
    print(f"{record.student}, {what}: {said}")
    return 0


def task_of(text: str, marks: Marks) -> tuple[str, int]:
    """The task that is meant, and its points."""
    names = {task.name: task.points for task in marks.tasks}
    name = next((one for one in names if text in (one, one[5:], one[8:])), None)
    if name is None:
        raise UsageError(f"{marks.slug} has no task {text!r}; there are {', '.join(names)}")
    return name, names[name]


def refuse_without_tasks(record: Record) -> None:
    """A mark for one task counts only beside the tests' points for the others."""
    if record.override or record.problem:
        why = "has a mark by hand for the whole" if record.override else "was not graded, so no task has points"
        cure = "take it back first, with --remove" if record.override else "give the whole mark, without --task"
        raise UsageError(f"{record.student} {why}; {cure}")


def require_by_hand(store: Store, what: str, marks: Marks, record: Record) -> None:
    """Nothing can be taken back that was not given."""
    given, names = store.overrides(), set(record.known_as)
    there = [one for one in (marks.slug, *(task.name for task in marks.tasks)) if names & given.get(one, {}).keys()]
    if what not in there:
        others = f"there is one for {', '.join(there)}" if there else "there is nothing to take back"
        raise UsageError(f"{record.student} has no mark by hand for {what}; {others}")


def given(arguments: argparse.Namespace, what: str, most: int) -> tuple[float, str]:
    """The mark and its reason from the command line."""
    points, reason = arguments.points, (arguments.reason or "").strip()
    if points is None or not 0 <= points <= most:
        raise UsageError(f"give a mark from 0 to {most}, the points of {what}")
    if not reason:
        raise UsageError('say why, with --reason "…": the student reads it')
    return points, reason[:500]
