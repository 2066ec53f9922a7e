"""What a run of ``course grade`` says: who was graded, who not and why."""

import sys
from collections.abc import Iterable
from pathlib import Path

from course_lib.grading.marks import Marks, Record
from course_lib.grading.sources import BY_ITSELF, NOT_COUNTED


def say(lessons: Iterable[Marks], now: set[tuple[str, str]], out: Path) -> int:
    """What this run graded and what not, in words; the exit status. ``now``: its submissions, as (lesson, who)."""
    lessons = list(lessons)
    alone = len({who for _, who in now}) == 1
    problems = 0
    for marks in lessons:
        rows = [record for record in marks.records if now & {(marks.slug, one) for one in (record.who, *record.also)}]
        if rows:
            say_lesson(marks, rows, f"{marks.slug}: " if len(lessons) > 1 else "", alone=alone)
        problems += sum(bool(record.problem) for record in rows)
    print(f"open {out / 'summary.html'}")
    return 1 if problems else 0


def say_lesson(marks: Marks, rows: list[Record], lesson: str, *, alone: bool) -> None:
    """One lesson's part of a run; ``lesson`` begins each sentence, ``alone``: the run is about one student."""
    bad = [record for record in rows if record.problem]
    for record in bad:
        files = (record.file or "no file").split(" and ")
        where = "" if all(one in record.problem for one in files) else f" ({' and '.join(files)})"
        print(printable(f"{lesson}not graded: {record.student}{where}: {record.problem}"), file=sys.stderr)
    for record in (one for one in rows if one.by_itself or alone):
        for note in (one for one in record.notes if one.startswith(NOT_COUNTED)):
            cure = "; move that file away to take this one back" * note.endswith(f"{BY_ITSELF})")
            warn([f"{lesson}{record.student}: {note}{cure}"])
    nothing = f", {len(marks.missing)} handed in nothing" if marks.missing else ""
    print(f"{lesson}{len(rows) - len(bad)} graded, {len(bad)} not{nothing}")
    if words := all_late_by_file(marks.graded):
        warn([f"{lesson}{words}"])


def warn(sentences: Iterable[str]) -> None:
    for words in sentences:
        print(printable(f"course: {words}"), file=sys.stderr)


def printable(words: str) -> str:
    """Words that may hold a file's name, without what moves a terminal's cursor or colours it."""
    return "".join(one if one.isprintable() else "�" for one in words)


def all_late_by_file(graded: list[Record]) -> str:
    """What to do where each submission is late by the time of its file, which copying changes; else ""."""
    if not graded or not all(record.late and record.late.clock == "the file" for record in graded):
        return ""
    return (
        f"every submission ({len(graded)}) is late by the time of its file, which copying and unpacking may change: "
        "give the zip as it was downloaded, copy with the times (cp -p), or leave out --deadline"
    )
