"""Which row of the results is meant by a name or an identifier, as the instructor types them."""

from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import cache
from heapq import nlargest

from course_lib.exercises import UsageError
from course_lib.grading.marks import FROM_ROSTER, Marks, Record, listed
from course_lib.grading.reports.tables import participant
from course_lib.grading.roster import spellings, squeezed

Row = tuple[Marks, Record]


def row_of(lessons: tuple[Marks, ...], student: str, lesson: str | None) -> Row:
    """The one row that is meant.

    Raises:
        UsageError: naming what there is to choose from.
    """
    wanted = {one.slug for one in lessons if lesson in (None, one.slug, one.slug[:2], one.slug[3:])}
    if not wanted:
        raise UsageError(f"lesson {lesson} is not graded here; there are {numbers(lessons)}")
    rows = rows_of(lessons, student)
    if not rows:
        raise UsageError(f"no row is called {student!r}; the nearest are {listed(nearest(lessons, student))}")
    here = [row for row in rows if row[0].slug in wanted]
    if not here:
        there = numbers(marks for marks, _ in rows)
        raise UsageError(f"{rows[0][1].student} has no row in {lesson}; there are some in {there}")
    if len(here) > 1:
        raise UsageError(unclear(here, student))
    return here[0]


def rows_of(lessons: tuple[Marks, ...], student: str) -> list[Row]:
    """All rows of whoever is meant: those that fit, and in lessons that call her differently, hers."""
    hits = [record for marks in lessons for record in marks.records if fits(record, student)]
    return [(marks, record) for marks in lessons for record in in_lesson(marks.records, hits, student)]


def in_lesson(records: tuple[Record, ...], hits: list[Record], student: str) -> list[Record]:
    """The rows in one lesson of those who fit anywhere; a name that stands there as it was typed goes first."""
    direct = [one for one in records if fits(one, student)]
    elsewhere = [hit for hit in hits if not any(same_person(hit, one) for one in direct)]
    linked = [one for one in records if any(same_person(hit, one) for hit in elsewhere)]
    return [one for one in direct if one.student.casefold() == student.casefold()] or direct + linked


def fits(record: Record, student: str) -> bool:
    return student.strip().casefold() in ids(record) or bool(alike(student) & names(record))


def same_person(one: Record, other: Record) -> bool:
    """As the roster says; without it, by the platform's identifier or the name. Moodle numbers each lesson anew."""
    if one.person or other.person:
        return one.person == other.person
    if one.who == other.who or all(record.who.startswith("Canvas ") for record in (one, other)):
        return one.who == other.who
    return bool(names(one) & names(other))


def ids(record: Record) -> set[str]:
    """Every identifier under which pages and tables show this row."""
    found = {record.id, record.person, participant(record), *(getattr(record, name) for name in FROM_ROSTER)}
    found |= {record.who} if record.on_platform else set()
    return {one.casefold() for one in found if one}


def names(record: Record) -> frozenset[str]:
    return alike(record.student) | (frozenset() if record.on_platform else alike(record.who))


@cache
def alike(name: str) -> frozenset[str]:
    """What is the same for a name in any order, with or without accents, capitals and punctuation."""
    in_order = "".join(sorted(map(squeezed, name.replace(",", " ").split())))
    return frozenset(spellings(name) | {in_order}) - {""}


def nearest(lessons: tuple[Marks, ...], student: str, but: Record | None = None) -> list[str]:
    """The names that look most like what was typed: as a whole, one of their words, or an identifier."""
    asked = squeezed(student)
    near: dict[str, float] = {}
    for record in (record for marks in lessons for record in marks.records if record is not but):
        forms = names(record) | ids(record) | set(map(squeezed, record.student.split()))
        likeness = max((SequenceMatcher(None, asked, one).ratio() for one in forms), default=0.0)
        near[record.student] = max(likeness, near.get(record.student, 0.0))
    return nlargest(3, near, key=near.__getitem__) or ["none"]


def numbers(lessons: Iterable[Marks]) -> str:
    return ", ".join(dict.fromkeys(marks.slug[:2] for marks in lessons))


def unclear(rows: list[Row], student: str) -> str:
    """Why several rows fit, and what to add that was not given yet."""
    lessons: dict[str, list[Record]] = {}
    for marks, record in rows:
        lessons.setdefault(marks.slug, []).append(record)
    crowd = max(lessons.values(), key=len)
    if len(crowd) == 1:
        return f"{crowd[0].student} has rows in {numbers(marks for marks, _ in rows)}; add --lesson"
    choices = "; ".join(f"{record.student} ({record.id or record.file}) in {marks.slug}" for marks, record in rows)
    lesson = " and add --lesson" if len(lessons) > 1 else ""
    return f"{student!r} has {len(rows)} rows: {choices}; {told_apart(crowd, student)}{lesson}"


def told_apart(records: list[Record], student: str) -> str:
    """How to choose among rows of one lesson."""
    by_id = any(student.strip().casefold() in ids(record) for record in records)
    if not by_id and len({record.id for record in records} - {""}) == len(records):
        return "give the id"
    if len({record.student for record in records}) == len(records):
        return "give the name as it stands here"
    return "keep one of the files and grade again"
