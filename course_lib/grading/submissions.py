"""Who handed in what: the folders and zips that Canvas, Moodle, nbgrader, Otter and Gradescope make, or plain files.

Nothing is unpacked to disk. Whoever handed in anything has a submission, if only to say why it cannot be graded.
A submission's time is what Gradescope or nbgrader recorded; else the time of the file, or the one that the downloaded
zip gives it. Canvas keeps no times: there, the mark ``_LATE_`` in the name decides alone.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from course_lib.authoring.places import known_lessons
from course_lib.exercises import ROOT, UsageError
from course_lib.grading.archives import Allowance, Found, files_below, is_document, unpacked
from course_lib.grading.cells import Unreadable
from course_lib.grading.contents import Candidate, choose, is_notebook, is_touched, lessons_of, some
from course_lib.grading.identity import NAMELESS, UPLOAD, Who, in_container, is_nameless, moment, who_of
from course_lib.grading.shelves import is_side_file, sort_out

MAX_NOTEBOOKS = 100  # of one student
TWO = "two sources"
DECIDE = "keep the one that counts, or give it by itself: `course grade FILE`, with the same --out"


class Submission(NamedTuple):
    """What one student handed in for one lesson; ``problem`` says why there is nothing to grade.

    ``who`` is the same in each run; ``time`` counts seconds since 1970 (0: nobody knows), ``clock`` says whose time.
    ``aside``: it came in a download that is about another lesson; ``by_itself``: where it was given alone.
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
    aside: bool = False
    by_itself: str = ""

    def read(self) -> bytes:
        """The bytes to grade.

        Raises:
            Unreadable: if there is nothing to grade, naming why.
        """
        if self.found is None:
            raise Unreadable(self.problem)
        return self.found.read()


@dataclass
class Entry:
    """One outermost thing of a student's, a file, folder or zip, and what the platform says of it."""

    path: str
    places: frozenset[Path] = frozenset()  # of its files on the disk
    late: bool = False
    upload: str = ""
    time: float = 0.0
    stamps: dict[tuple[str, ...], float] = field(default_factory=dict)  # nbgrader's: a time for each assignment
    candidates: list[Candidate] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no notebook
    problem: str = ""
    meant: set[str] = field(default_factory=set)  # the lessons that it was handed in for, whatever is in it
    about: str = ""  # the lesson that most of its download is about

    @property
    def download(self) -> str:
        """The folder or zip that it lies in."""
        return self.path.rpartition("/")[0]

    @property
    def lessons(self) -> set[str]:
        """What was worked on; where nothing was, all that it is about."""
        worked = {lesson for one in self.candidates if one.touched for lesson in one.lessons}
        return worked or {lesson for one in self.candidates for lesson in one.lessons}

    def lies_below(self, place: Path | None) -> bool:
        return place is None or any(one.is_relative_to(place) for one in self.places)

    def moment(self, candidate: Candidate) -> float:
        """When the platform received a file; 0 where it does not say."""
        return self.stamps.get(candidate.found.parts[:2], self.time)


@dataclass
class Hand:
    """Everything that one student handed in."""

    who: Who
    names: set[str] = field(default_factory=set)
    entries: list[Entry] = field(default_factory=list)
    nameless: bool = False  # among people who are named; alone, it needs no name

    @property
    def candidates(self) -> list[Candidate]:
        return [one for entry in self.entries for one in entry.candidates]


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

    ``only`` leaves out what does not lie below it; names, and what each thing was handed in for, are still read from
    all that ``place`` holds.

    Raises:
        UsageError: if there is none, or nothing says of which lesson they are.
    """
    if not place.exists():
        raise UsageError(f"{place} does not exist; give the folder (or zip) with the submissions")
    known = known_lessons(root)
    hands, notes = hands_in(place, known, root)
    place_meant(hands, known)
    mark_nameless(hands, known)
    hands = [replace(one, entries=below) for one in hands if (below := leave_to_own(one, only))]
    if not hands:
        raise UsageError(
            f"{only or place} holds no submission; give a folder with one notebook (or folder, or zip) a student"
        )
    candidates = [one for hand in hands for one in hand.candidates]
    named = {lesson for one in candidates if one.touched for lesson in one.lessons}  # who zips the whole course,
    named = named or {lesson for one in candidates for lesson in one.lessons}  # hands in what she worked on
    named = named or {lesson for hand in hands for entry in hand.entries for lesson in entry.meant}
    chosen = [slug] if slug else sorted(named)
    if not chosen:
        raise UsageError(f"the notebooks in {place} name no exercise; say which one with --lesson 01")
    lessons = {}
    for one in chosen:
        alone = named <= {one} or not any(one in each.lessons for each in candidates)
        found = [submission_of(hand, one, root, alone=alone) for hand in hands]
        lessons[one] = sorted((each for each in found if each), key=lambda each: each[:3])
    return Download(lessons, notes + skipped(hands, slug) if slug and not alone else notes)


def mark_nameless(hands: list[Hand], known: list[str]) -> None:
    """Among people who are named, say of whom nothing is known but the exercise's own name."""
    without = [all(is_nameless(entry.path.rpartition("/")[2], known) for entry in hand.entries) for hand in hands]
    for hand, nameless in zip(hands, without, strict=True):
        hand.nameless = nameless and not all(without)


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
    """Say for which lessons each thing was handed in: for the one that its download is about.

    Where that is not clear, or there is one download only, a thing without a notebook is meant by its name, else for
    what its download is about; beside a notebook of the same student it means nothing.
    """
    about: dict[str, list[set[str]]] = {}
    for entry in (entry for hand in hands for entry in hand.entries):
        about.setdefault(entry.download, []).extend([entry.lessons] if entry.lessons else [])
    for hand in hands:
        told = {entry.download for entry in hand.entries if entry.lessons}
        for entry in hand.entries:
            beside = about[entry.download]
            entry.about = lesson_of(beside)
            lesson = {entry.about} - {""}
            if lesson and len(about) > 1:
                entry.meant = lesson
            elif not entry.lessons:
                named = {slug for slug in known if slug in " ".join([entry.path, *entry.others])}
                entry.meant = named or (set() if entry.download in told else lesson or set().union(*beside))


def leave_to_own(hand: Hand, only: Path | None) -> list[Entry]:
    """A student's things below ``only``; of notebooks of a lesson those stay that were handed in for it, else all.

    Who zips everything each time hands in copies of what she worked on in other weeks.
    """
    own = {lesson for entry in hand.entries for one in entry.candidates for lesson in entry.meant & one.lessons}
    for entry in hand.entries:
        entry.candidates = [one._replace(lessons=one.lessons - (own - entry.meant)) for one in entry.candidates]
    return [entry for entry in hand.entries if entry.lies_below(only)]


def lesson_of(download: list[set[str]]) -> str:
    """The lesson that at least two of three things in a download are about, and at most half as many another."""
    counts = Counter(lesson for lessons in download for lesson in lessons).most_common(2)
    (lesson, most), (_, next_) = (*counts, ("", 0), ("", 0))[:2]
    return lesson if 3 * most >= 2 * len(download) and 2 * next_ <= most else ""


# From names to students


def hands_in(place: Path, known: list[str], root: Path) -> tuple[list[Hand], list[str]]:
    """Each student with all her files."""
    users = in_container(place)
    if users:
        found, _ = files_below(place)
        if not found:
            return [], []
        entry = Entry("submission", places_of(found), time=users[0].time)
        fill(entry, found, known, root)
        return [Hand(user, {user.student}, [entry]) for user in users], []
    nbgrader = (place / "submitted").is_dir()
    shelves = sort_out(place / "submitted" if nbgrader else place, known)
    hands_by_key: dict[str, Hand] = {}
    for path, found in shelves.files.items():
        people = shelves.exports.get(path[:-1], {}).get(path[-1])
        for who in people or [who_of(path[-1], known)]:
            if who.platform == "plain" and is_side_file(path[-1], found):
                continue
            hand = hands_by_key.setdefault(who.key, Hand(who))
            hand.names.add(who.student)
            stamps = recorded(found) if nbgrader else {}
            entry = Entry("/".join(path), places_of(found), who.late, who.upload, who.time, stamps)
            hand.entries.append(entry)
            fill(entry, found, known, root)
    return list(hands_by_key.values()), shelves.notes


def places_of(files: list[Found]) -> frozenset[Path]:
    return frozenset(one.path for one in files)


def recorded(files: list[Found]) -> dict[tuple[str, ...], float]:
    """The times that nbgrader noted: ``submitted/STUDENT/ASSIGNMENT/timestamp.txt``."""
    stamps = [one for one in files if one.parts[2:] == ("timestamp.txt",) and not one.members]
    return {one.parts[:2]: moment(one.read(100).decode(errors="replace")) for one in stamps}


# From a student's files to candidates


def fill(entry: Entry, files: list[Found], known: list[str], root: Path) -> None:
    """Look at each file, in zips too, and note what it is. Whatever goes wrong here is this student's alone."""
    allowance, people = Allowance(), set[str]()
    name, depth = entry.path.split("/")[-1], entry.path.count("/") + 1
    plain_name = who_of(name).platform == "plain"
    try:
        for found, data in (piece for file in files for piece in unpacked(file, allowance)):
            if plain_name and len(found.parts) > depth:
                people |= {who.key for who in [who_of(found.parts[depth])] if who.platform in UPLOAD}
            if len(people) > 1:
                raise Unreadable(
                    f"{name}: it holds files of several people; unpack it, or give it alone if it is a class's"
                )
            if is_notebook(found.parts[-1], data):
                lessons = lessons_of(found, data, known, root)
                entry.candidates.append(Candidate(found, entry.path, lessons, is_touched(data, lessons, root)))
            elif found.parts[-1] != "timestamp.txt":
                entry.others.append(found.parts[-1] if data else f"{found.parts[-1]} (empty)")
            if len(entry.candidates) > MAX_NOTEBOOKS:
                raise Unreadable(
                    f"{name}: more than {MAX_NOTEBOOKS} notebooks or scripts; hand in the one that counts alone"
                )
    except Unreadable as error:
        entry.problem = str(error)
        entry.candidates.clear()
    except Exception as error:
        entry.problem = f"{name} cannot be read ({type(error).__name__}: {error})"


# From candidates to the one that counts


def submission_of(hand: Hand, slug: str, root: Path, *, alone: bool) -> Submission | None:
    """What a student handed in for a lesson; None where she handed in other lessons only.

    ``alone``: there is no other lesson, so whatever she handed in was meant for this one.
    """
    meant = [entry for entry in hand.entries if alone or slug in entry.meant]
    fitting = [one for one in hand.candidates if slug in one.lessons]
    if not fitting and not meant and any(entry.lessons or entry.meant for entry in hand.entries):
        return None
    meant = meant or hand.entries
    fitting = fitting or [one for entry in meant for one in entry.candidates]
    who = hand.who
    row = Submission(who.student, who.id, "", who=who.key)
    if problem := contradiction(hand, fitting) or ("" if fitting else what_else(meant)):
        late, files = any(entry.late for entry in meant), " and ".join(sorted(entry.path for entry in meant))[:500]
        return row._replace(problem=problem, file=files, late=late, upload=meant[0].upload)
    best, notes = choose(fitting, slug, root)
    entry = next(one for one in hand.entries if one.path == best.entry)
    time = entry.moment(best)
    platform = "nbgrader" if entry.stamps else who.platform
    clock = platform if time else "" if platform.startswith("Canvas") else "the file"
    row = row._replace(file=best.found.name, found=best.found, notes=notes, late=entry.late, upload=entry.upload)
    row = row._replace(aside=entry.about not in ("", slug))
    return row._replace(time=time or (best.found.time if clock else 0.0), clock=clock)


def contradiction(hand: Hand, candidates: list[Candidate]) -> str:
    """Two sources for one student, two students in one identifier, in words that list both; or no student at all."""
    if hand.nameless:
        return NAMELESS
    names = {" ".join(name.casefold().split()) for name in hand.names}
    if hand.who.id and len(names) > 1:
        return f"the identifier {hand.who.id} stands for {some(hand.names)}; correct the names and grade again"
    entries = sorted({one.entry for one in candidates})
    downloads = {entry.rpartition("/")[0] for entry in entries}
    if len(downloads) > 1 or (len(entries) > 1 and not hand.who.id):
        return f"{TWO} for one student: {some(entries)}; {DECIDE}"
    return ""


def what_else(entries: list[Entry]) -> str:
    """Why a student without a notebook has none."""
    if problems := [entry.problem for entry in entries if entry.problem]:
        return "; ".join(problems)[:500]
    others = [name for entry in entries for name in entry.others]
    if not others:
        return "there is no file in it; hand in the .ipynb file of the exercise"
    if all(map(is_document, others)):
        are = "is a document, no notebook" if len(others) == 1 else "are documents, no notebooks"
        return f"{some(others)} {are}; hand in the .ipynb file of the exercise"
    return f"no notebook among {some(others)}; hand in the .ipynb file of the exercise"
