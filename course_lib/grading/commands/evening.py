"""One run of ``course grade``: what is to be graded, by which rules, and what stays of earlier runs."""

import argparse
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from course_lib.authoring.places import find_slug, refuse_without_exercise
from course_lib.exercises import UsageError
from course_lib.grading.batch import Settings
from course_lib.grading.commands.said import say, warn
from course_lib.grading.lateness import read_deadlines, read_rule
from course_lib.grading.marks import Record, listed
from course_lib.grading.overrides import without_row
from course_lib.grading.roster import Roster, read_roster
from course_lib.grading.run import Evening, How, grade_lessons
from course_lib.grading.sources import by_itself, in_their_place, moved_away, new_rows, rows_gone
from course_lib.grading.store import Store
from course_lib.grading.submissions import Download, read_download


def run_grade(arguments: argparse.Namespace, store: Store, root: Path) -> int:
    known = settings(arguments, store, root)
    evening = read_evening(known, root)
    here = arguments.submissions.resolve()
    place, found = found_at(here, known, root)
    old, whole = set(map(tuple, known["places"].get(str(place), []))), place == here
    found = leave_graded(found, store, old)
    own, download = rows_of(found), to_grade(by_itself(found, here, place), known, store, root)
    warn(download.notes)
    store.remember(known)
    earlier = {(marks.slug, record.who): record for marks in store.lessons() for record in marks.records}

    def keep(lesson: str, record: Record) -> bool:
        return not (whole and (lesson, record.who) in old)

    how = How(arguments.jobs or processors(), arguments.dask, root)
    mode = "unsafe" if arguments.unsafe_no_sandbox else None
    lessons = grade_lessons(download.lessons, store, of_all(known, mode), how, evening, keep)
    left = {(slug, who) for slug, who in old if not whole or slug not in download.lessons}
    known["places"][str(place)] = sorted(map(list, own | left))
    store.remember(known)
    warn([*rows_gone(lessons, earlier), *moved_away(lessons, earlier)])
    warn([*without_row(lessons, store), *new_rows(lessons, earlier)])
    return say(lessons, rows_of(download), arguments.out)


def of_all(known: dict, mode: str | None) -> Settings:
    """What the jobs of all lessons share."""
    return Settings("", str(known["seed"]), float(known["seconds"]), float(known["memory"]), mode)


def found_at(here: Path, known: dict, root: Path) -> tuple[Path, Download]:
    """The folder from which names are read (``first_place``), and what lies at ``here``."""
    place = first_place(here, known["places"])
    return place, read_download(place, known.get("lesson"), root, only=None if place == here else here)


def to_grade(download: Download, known: dict, store: Store, root: Path) -> Download:
    """A download in which what was given by itself before goes first, unless it was given by itself now."""
    if any(one.by_itself for found in download.lessons.values() for one in found):
        return download
    return in_their_place(download, given_before(store, known, root))


def rows_of(download: Download) -> set[tuple[str, str]]:
    """The rows that a download makes, as (lesson, who)."""
    return {(slug, one.who) for slug, found in download.lessons.items() for one in found}


def given_before(store: Store, known: dict, root: Path) -> Iterator[Download]:
    """What was given by itself in earlier runs, counts, and is still where it was."""
    paths = {Path(record.by_itself) for marks in store.lessons() for record in marks.records if record.by_itself}
    for here in sorted(path for path in paths if path.exists()):
        with suppress(UsageError):  # it changed, and holds nothing any more
            place, download = found_at(here, known, root)
            yield by_itself(download, here, place)


def leave_graded(download: Download, store: Store, own: set[tuple[str, str]]) -> Download:
    """A download without the copies of other lessons' work, where another download's own is graded already.

    ``own`` are the rows, as (lesson, who), that came from this download before.
    """
    graded = {(marks.slug, one.who) for marks in store.lessons() for one in marks.graded} - own
    lessons = {
        slug: [one for one in found if not (one.aside and (slug, one.who) in graded)]
        for slug, found in download.lessons.items()
    }
    left = {slug: len(found) - len(lessons[slug]) for slug, found in download.lessons.items()}
    words = listed([f"{count} of {slug}" for slug, count in left.items() if count])
    note = f"not graded: copies that lie in a download of another lesson ({words}); their rows stay"
    lessons = {slug: found for slug, found in lessons.items() if found}
    return download._replace(lessons=lessons, notes=download.notes + [note] * bool(words))


def settings(arguments: argparse.Namespace, store: Store, root: Path) -> dict:
    """The settings of this run; what the command line leaves open is as in the last run to the same folder.

    But for the lesson: without ``--lesson``, all that are found are graded.
    """
    lesson = find_slug(arguments.lesson, root) if arguments.lesson else None
    if lesson:
        refuse_without_exercise(lesson, root)
    wanted = {"seed": arguments.seed, "seconds": arguments.timeout, "memory": arguments.memory}
    wanted |= {"roster": arguments.roster and str(arguments.roster.resolve()), "late": arguments.late}
    wanted |= {"deadline": arguments.deadline, "places": None}
    known = {name: value for name, value in store.settings(wanted).items() if value}
    return {"seconds": 10.0, "memory": 2.0, "seed": secrets.token_hex(16), "places": {}} | known | {"lesson": lesson}


def read_evening(known: dict, root: Path) -> Evening:
    """Roster, deadlines and the rule for late work."""
    roster = Roster(read_roster(Path(known["roster"]))) if known.get("roster") else None
    deadlines = read_deadlines(known.get("deadline", []), lambda name: find_slug(name, root))
    return Evening(roster, deadlines, read_rule(known["late"]) if known.get("late") else None)


def first_place(place: Path, before: dict) -> Path:
    """The folder that an earlier run graded and in which ``place`` lies: names are read from there on."""
    place = place.resolve()
    above = [Path(one) for one in before if place.is_relative_to(one) and Path(one).exists()]
    return min(above, key=lambda one: len(one.parts), default=place)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
