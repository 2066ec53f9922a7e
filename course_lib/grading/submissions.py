"""Who handed in what: the folders and zips that Canvas, Moodle, nbgrader, Otter and Gradescope make, or plain files.

Nothing is unpacked to disk. Whoever handed in anything has a submission, if only to say why it cannot be graded.
A submission's time is what Gradescope or nbgrader recorded; else the time of the file, or the one that the downloaded
zip gives it. Canvas keeps no times: there, the mark ``_LATE_`` in the name decides alone.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from course_lib.authoring.places import known_lessons
from course_lib.exercises import ROOT, UsageError
from course_lib.grading.archives import Allowance, Found, files_below, unpacked
from course_lib.grading.cells import Unreadable
from course_lib.grading.contents import Candidate, choose, is_notebook, is_touched, lessons_of, some
from course_lib.grading.identity import UPLOAD, Who, in_container, moment, who_of
from course_lib.grading.shelves import is_side_file, sort_out

MAX_NOTEBOOKS = 100  # of one student


class Submission(NamedTuple):
    """What one student handed in for one lesson; ``problem`` says why there is nothing to grade.

    ``who`` is the same in each run; ``time`` counts seconds since 1970 (0: nobody knows), ``clock`` says whose time.
    """

    student: str
    id: str
    file: str
    found: Found | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    who: str = ""
    upload: str = ""
    time: float = 0.0
    clock: str = ""
    late: bool = False

    def read(self) -> bytes:
        """The bytes to grade.

        Raises:
            Unreadable: if there is nothing to grade, naming why.
        """
        if self.found is None:
            raise Unreadable(self.problem)
        return self.found.read()


@dataclass
class Hand:
    """Everything that one student handed in."""

    who: Who
    names: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)
    candidates: list[Candidate] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no notebook
    meant: set[str] = field(default_factory=set)  # the lessons that files without a lesson were meant for
    problems: list[str] = field(default_factory=list)
    time: float = 0.0


class Download(NamedTuple):
    """What was found: the submissions of each lesson, and what the instructor should know about how it was read."""

    lessons: dict[str, list[Submission]]
    notes: list[str]


def find_submissions(place: Path, slug: str, root: Path = ROOT) -> list[Submission]:
    """One submission for each student below ``place`` (a folder, a zip or one notebook), by name.

    Raises:
        UsageError: if there is none.
    """
    return read_download(place, slug, root).lessons[slug]


def read_download(place: Path, slug: str | None = None, root: Path = ROOT, *, only: Path | None = None) -> Download:
    """The submissions of each lesson below ``place``, or of the lesson ``slug`` alone.

    ``only`` leaves out what does not lie below it; names are still read from ``place`` on.

    Raises:
        UsageError: if there is none, or nothing says of which lesson they are.
    """
    if not place.exists():
        raise UsageError(f"{place} does not exist; give the folder (or zip) with the submissions")
    known = known_lessons(root)
    hands, notes = hands_in(place, known, root, only)
    if not hands:
        raise UsageError(
            f"{only or place} holds no submission; give a folder with one notebook (or folder, or zip) a student"
        )
    candidates = [one for hand in hands for one in hand.candidates]
    named = {lesson for one in candidates if one.touched for lesson in one.lessons}  # who zips the whole course,
    named = named or {lesson for one in candidates for lesson in one.lessons}  # hands in what she worked on
    chosen = [slug] if slug else sorted(named)
    if not chosen:
        raise UsageError(f"the notebooks in {place} name no exercise; say which one with --lesson 01")
    place_meant(hands, known)
    lessons = {}
    for one in chosen:
        alone = named <= {one} or not any(one in each.lessons for each in candidates)
        found = [submission_of(hand, one, root, alone=alone) for hand in hands]
        lessons[one] = sorted((each for each in found if each), key=lambda each: each[:3])
    return Download(lessons, notes + skipped(hands, slug) if slug and not alone else notes)


def skipped(hands: list[Hand], slug: str) -> list[str]:
    """How many submissions are of other lessons than the one that was asked for."""
    work = [
        {lesson for one in hand.candidates if one.touched and slug not in one.lessons for lesson in one.lessons}
        for hand in hands
    ]
    count = sum(map(len, work))
    left = f"{count} submission{'s' * (count != 1)} of other lessons ({some(set().union(*work))})"
    return [f"{left} left out, because of --lesson {slug[:2]}"] if count else []


def place_meant(hands: list[Hand], known: list[str]) -> None:
    """Say for which lessons something was handed in that names none: by its name, else by what lies beside it."""
    beside: dict[str, set[str]] = {}
    for hand in hands:
        for one in hand.candidates:
            beside.setdefault(one.entry.rpartition("/")[0], set()).update(one.lessons)
    for hand in hands:
        named = " ".join([*hand.entries, *hand.others])
        hand.meant = {slug for slug in known if slug in named} or {
            lesson for entry in hand.entries for lesson in beside.get(entry.rpartition("/")[0], ())
        }


# From names to students


def hands_in(place: Path, known: list[str], root: Path, only: Path | None) -> tuple[list[Hand], list[str]]:
    """Each student with all her files."""
    users = in_container(place)
    if users:
        found, _ = files_below(place)
        if not found:
            return [], []
        hands = [Hand(user, {user.student}, {"submission"}, time=user.time) for user in users]
        for hand in hands:
            fill(hand, "submission", found, known, root)
        return hands, []
    nbgrader = (place / "submitted").is_dir()
    shelves = sort_out(place / "submitted" if nbgrader else place, known)
    hands_by_key: dict[str, Hand] = {}
    for path, found in shelves.files.items():
        if only and found and not any(one.path.is_relative_to(only) for one in found):
            continue
        people = shelves.exports.get(path[:-1], {}).get(path[-1])
        for who in people or [who_of(path[-1], known)]:
            if who.platform == "plain" and is_side_file(path[-1], found):
                continue
            hand = hands_by_key.setdefault(who.key, Hand(who))
            hand.names.add(who.student)
            hand.entries.add("/".join(path))
            hand.time = max(hand.time, who.time, recorded(found) if nbgrader else 0.0)
            hand.who = hand.who._replace(late=hand.who.late or who.late, upload=hand.who.upload or who.upload)
            fill(hand, "/".join(path), found, known, root)
    return list(hands_by_key.values()), shelves.notes


def recorded(files: list[Found]) -> float:
    """The time that nbgrader noted: ``submitted/STUDENT/ASSIGNMENT/timestamp.txt``."""
    times = [one for one in files if one.parts[2:] == ("timestamp.txt",) and not one.members]
    return max((moment(one.read(100).decode(errors="replace")) for one in times), default=0.0)


# From a student's files to candidates


def fill(hand: Hand, entry: str, files: list[Found], known: list[str], root: Path) -> None:
    """Look at each file, in zips too, and note what it is. Whatever goes wrong here is hers alone."""
    allowance, people = Allowance(), set[str]()
    plain_name, depth = who_of(entry.split("/")[-1]).platform == "plain", entry.count("/") + 1
    try:
        for found, data in (piece for file in files for piece in unpacked(file, allowance)):
            if plain_name and len(found.parts) > depth:
                people |= {who.key for who in [who_of(found.parts[depth])] if who.platform in UPLOAD}
            if len(people) > 1:
                raise Unreadable("it holds files of several people; unpack it, or give it alone if it is a class's")
            if is_notebook(found.parts[-1], data):
                lessons = lessons_of(found, data, known, root)
                hand.candidates.append(Candidate(found, entry, lessons, is_touched(data, lessons, root)))
            elif found.parts[-1] != "timestamp.txt":
                hand.others.append(found.parts[-1] if data else f"{found.parts[-1]} (empty)")
            if len(hand.candidates) > MAX_NOTEBOOKS:
                raise Unreadable(f"more than {MAX_NOTEBOOKS} notebooks or scripts; hand in the one that counts alone")
    except Unreadable as error:
        hand.problems.append(f"{entry.split('/')[-1]}: {error}")
        hand.candidates = [one for one in hand.candidates if one.entry != entry]
    except Exception as error:
        hand.problems.append(f"{entry.split('/')[-1]} cannot be read ({type(error).__name__}: {error})")


# From candidates to the one that counts


def submission_of(hand: Hand, slug: str, root: Path, *, alone: bool) -> Submission | None:
    """What a student handed in for a lesson; None where she handed in other lessons only.

    ``alone``: there is no other lesson, so whatever she handed in was meant for this one.
    """
    who = hand.who
    row = Submission(who.student, who.id, "", who=who.key, upload=who.upload, late=who.late)
    fitting = [one for one in hand.candidates if slug in one.lessons]
    about = {lesson for one in hand.candidates for lesson in one.lessons} or hand.meant
    if not fitting and not alone and about and slug not in about:
        return None
    fitting = fitting or [one for one in hand.candidates if alone or not one.lessons]
    if problem := contradiction(hand, fitting) or ("" if fitting else what_else(hand)):
        return row._replace(problem=problem, file=" and ".join(sorted(hand.entries))[:500])
    best, notes = choose(fitting, slug, root)
    clock = who.platform if hand.time else "" if who.platform.startswith("Canvas") else "the file"
    time = hand.time or (best.found.time if clock else 0.0)
    return row._replace(file=best.found.name, found=best.found, notes=notes, time=time, clock=clock)


def contradiction(hand: Hand, candidates: list[Candidate]) -> str:
    """Two sources for one student, or two students in one identifier, in words that list both."""
    names = {" ".join(name.casefold().split()) for name in hand.names}
    if hand.who.id and len(names) > 1:
        return f"the identifier {hand.who.id} stands for {some(hand.names)}; correct the names and grade again"
    entries = sorted({one.entry for one in candidates})
    downloads = {entry.rpartition("/")[0] for entry in entries}
    if len(downloads) > 1 or (len(entries) > 1 and not hand.who.id):
        return f"two sources for one student: {some(entries)}; keep the one that counts and grade again"
    return ""


def what_else(hand: Hand) -> str:
    """Why a student without a notebook has none."""
    if hand.problems:
        return "; ".join(hand.problems)[:500]
    if not hand.others:
        return "there is no file in it; hand in the .ipynb file of the exercise"
    return f"no notebook among {some(hand.others)}; hand in the .ipynb file of the exercise"
