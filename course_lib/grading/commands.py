"""The verbs of the ``course`` command that are the instructor's: release, grade, override, report, export."""

import argparse
import errno
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.authoring.places import find_slug, gradable, known_lessons, require_exercises, require_sources
from course_lib.exercises import UsageError

if TYPE_CHECKING:
    from course_lib.grading.marks import Marks, Record
    from course_lib.grading.run import Evening
    from course_lib.grading.store import Store
    from course_lib.grading.submissions import Download

UNSAFE = """\
WARNING: --unsafe-no-sandbox runs the students' code with your rights, on your files and your network.
A submission can read the hidden tests and change any mark. Every report will say so.
"""


ELSEWHERE = """\
`course grade` runs on Linux, where submissions can be locked up; here, in a container, from a clone of the course:
  docker build -t course -f Containerfile .
  docker run --rm -v "{work}:/class" course grade /class/SUBMISSIONS --out /class/RESULTS
(podman takes the same words). `course report` works here."""


EXIT_STATUS = """\
Exit status: 0 all were graded; 1 some could not be (they are listed, the others stand); 2 wrong usage or no sandbox;
130 stopped by Ctrl-C. Who shares what hardly anybody else wrote is listed in the summary: a hint, never a mark."""


def add_grade(subparsers) -> None:
    parser = verb(subparsers, "grade", grade, "Grade a folder of submissions: marks, pages, tables, a picture.")
    parser.epilog = EXIT_STATUS
    parser.add_argument(
        "submissions", type=Path, help="a folder (of one lesson or several), a downloaded zip, or one notebook"
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of results; what is in it stays")
    parser.add_argument("--lesson", help="grade this exercise only (01, addressing); default: all that are found")
    parser.add_argument(
        "--roster", type=Path, metavar="CSV", help="who should hand in: columns name, id, email, section"
    )
    parser.add_argument(
        "--deadline",
        action="append",
        metavar="[LESSON=]TIME",
        help="2026-11-20T23:59, or 03=2026-11-20T23:59; times are those of Gradescope and nbgrader, else of the "
        "files; on Canvas the mark LATE in the name",
    )
    parser.add_argument("--late", metavar="RULE", help='"10%% a day, at most 50%%": shown beside the mark')
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=positive(int), help="submissions graded at the same time (default: one a core)")
    where.add_argument("--dask", metavar="ADDRESS", help="grade on the workers of this Dask cluster")
    parser.add_argument("--seed", help="secret that the hidden inputs follow from (default: random, kept)")
    parser.add_argument("--timeout", type=positive(float), help="seconds a call or a cell may take (default 10)")
    parser.add_argument("--memory", type=positive(float), help="GB a submission may use (default 2)")
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run submissions with your own rights")


def add_override(subparsers) -> None:
    parser = verb(subparsers, "override", override, "Give a mark by hand, with a reason; it stays when graded again.")
    parser.add_argument("folder", type=Path, help="the --out folder of `course grade`")
    parser.add_argument("student", help="name or id, as in marks.csv")
    parser.add_argument("points", nargs="?", type=float, help="the mark; leave out with --remove")
    parser.add_argument("--reason", help="why, for the student's page and the tables")
    parser.add_argument("--lesson", help="which, where there are several")
    parser.add_argument(
        "--task", help="for this task alone (2, or with its lesson 03_2); the others keep the tests' points"
    )
    parser.add_argument("--remove", action="store_true", help="take the mark by hand back")


def add_report(subparsers) -> None:
    parser = verb(subparsers, "report", report, "Write graded marks in another format.")
    parser.add_argument("folder", type=Path, help="the --out folder of `course grade`")
    formats = ("csv", "canvas", "moodle", "nbgrader", "gradescope", "junit", "html", "feedback")
    parser.add_argument(
        "--format", choices=formats, default="csv", help="feedback: a zip of pages to upload to Canvas or Moodle"
    )
    parser.add_argument(
        "--after-late", action="store_true", help="canvas, moodle: the mark that lateness leaves (default: before it)"
    )
    parser.add_argument("--out", type=Path, help="the folder to write to (default: the same)")


def add_release(subparsers) -> None:
    parser = verb(subparsers, "release", release, "The student edition: lessons, exercises, library, nothing else.")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet, or a .zip")


def add_export(subparsers) -> None:
    parser = verb(subparsers, "export", export, "An autograder to upload elsewhere.")
    parser.add_argument("platform", choices=("gradescope",))
    parser.add_argument("lesson", help="the exercise (01, addressing)")
    parser.add_argument("--out", type=Path, required=True, help="the .zip to write")


VERBS = (add_release, add_grade, add_override, add_report, add_export)


def verb(subparsers, name: str, run: Callable, help: str) -> argparse.ArgumentParser:
    """Add one subcommand: ``run(arguments, root)`` returns the exit status."""
    parser = subparsers.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def positive(kind: type) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < 1e6:
            raise argparse.ArgumentTypeError(f"{text} must be larger than 0")
        return value

    return parse


def one_sentence(run: Callable[[argparse.Namespace, Path], int]) -> Callable[[argparse.Namespace, Path], int]:
    """A verb that says in one sentence what the disk refused, and what to do."""

    def guarded(arguments: argparse.Namespace, root: Path) -> int:
        try:
            return run(arguments, root)
        except OSError as error:
            if not error.errno:
                raise
            kept = "nothing that was graded is lost, run it again then"
            raise UsageError(f"{what_failed(error, elsewhere=hasattr(arguments, 'out'))}; {kept}") from error

    return guarded


def what_failed(error: OSError, *, elsewhere: bool) -> str:
    """What the disk refused, where, and the cure; ``elsewhere``: the verb can write to another --out."""
    number = error.errno or 0
    why, cure = next((words for numbers, words in CURES.items() if number in numbers), (error.strerror, "look there"))
    place = f" at {error.filename}" if error.filename else ""
    return f"{why}{place}: {cure}{', or give another --out' * elsewhere}"


CURES = {
    (errno.ENOSPC,): ("the disk is full", "make room"),
    (errno.EDQUOT,): ("your quota is used up", "make room"),
    (errno.EROFS,): ("it is read-only", "allow writing"),
    (errno.EACCES, errno.EPERM): ("you may not write or read", "change the rights"),
    (errno.EEXIST, errno.ENOTDIR): ("there is a file where a folder should be", "move it away"),
    (errno.EISDIR,): ("there is a folder where a file should be", "move it away"),
    (errno.ENOENT,): ("nothing is there, and nothing can be made", "put back what was moved away"),
    (errno.ENAMETOOLONG,): ("the name is too long", "shorten it"),
    (errno.EMFILE, errno.ENFILE): ("too many files are open", "close programs"),
}


@one_sentence
def grade(arguments: argparse.Namespace, root: Path) -> int:
    """Exit 0 when every submission was graded, 1 when some could not be, 2 for wrong usage or no sandbox."""
    if sys.platform != "linux":
        raise UsageError(ELSEWHERE.format(work=Path.cwd()))
    require_exercises(root)
    from course_lib.grading.sandbox.host import Refused
    from course_lib.grading.store import Store

    refuse_places(arguments.submissions, arguments.out)
    if arguments.unsafe_no_sandbox:
        print(UNSAFE, file=sys.stderr)
    store = Store(arguments.out)
    try:
        return run_grade(arguments, store, root)
    except Refused as error:
        raise UsageError(str(error)) from error
    except KeyboardInterrupt:
        print(
            f"\ncourse: stopped; what is graded is kept in {arguments.out}: run the same line again to go on",
            file=sys.stderr,
        )
        return 130
    finally:
        store.close()


def refuse_places(submissions: Path, out: Path) -> None:
    """Results and submissions must not mix: the next run would grade the results."""
    if not submissions.exists():
        raise UsageError(f"{submissions} does not exist; give the folder (or zip) with the submissions")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder for the results")
    inner, outer = out.resolve(), submissions.resolve()
    if inner == outer or inner.is_relative_to(outer):
        raise UsageError(f"--out {out} lies in the submissions {submissions}; give a folder beside them")
    if outer.is_relative_to(inner) and (out / "marks.json").exists():
        raise UsageError(f"{submissions} lies in the results {out}; give a folder elsewhere")


def run_grade(arguments: argparse.Namespace, store: "Store", root: Path) -> int:
    from course_lib.grading.batch import Settings
    from course_lib.grading.overrides import without_row
    from course_lib.grading.run import How, grade_lessons
    from course_lib.grading.sources import new_rows, rows_gone

    known = settings(arguments, store, root)
    evening = read_evening(known, root)
    here, place = arguments.submissions.resolve(), first_place(arguments.submissions, known["places"])
    download, own = to_grade(here, place, known, store, root)
    for note in download.notes:
        print(f"course: {note}", file=sys.stderr)
    mode = "unsafe" if arguments.unsafe_no_sandbox else None
    shared = Settings("", str(known["seed"]), float(known["seconds"]), float(known["memory"]), mode)
    store.remember(known)
    from_here = set(map(tuple, known["places"].get(str(place), []))) if place == here else set()

    def keep(lesson: str, record: "Record") -> bool:
        return (lesson, record.who) not in from_here

    how = How(arguments.jobs or processors(), arguments.dask, root)
    earlier = {(marks.slug, record.who) for marks in store.lessons() for record in marks.records}
    lessons = grade_lessons(download.lessons, store, shared, how, evening, keep)
    now = rows_of(download)
    before = set(map(tuple, known["places"].get(str(place), []))) - from_here
    known["places"][str(place)] = sorted([list(one) for one in own | before])
    store.remember(known)
    for words in [*rows_gone(lessons, earlier), *without_row(lessons, store), *new_rows(lessons, earlier)]:
        print(f"course: {words}", file=sys.stderr)
    return say(lessons, now, arguments.out)


def to_grade(
    here: Path, place: Path, known: dict, store: "Store", root: Path
) -> "tuple[Download, set[tuple[str, str]]]":
    """What is to be graded, and which rows come from ``place``; what was given by itself before goes first."""
    from course_lib.grading.sources import by_itself, in_their_place
    from course_lib.grading.submissions import read_download

    download = read_download(place, known.get("lesson"), root, only=None if place == here else here)
    download = leave_graded(download, store, known["places"].get(str(place), []))
    own, download = rows_of(download), by_itself(download, here, place)
    if not any(one.by_itself for found in download.lessons.values() for one in found):
        download = in_their_place(download, given_before(store, known, root))
    return download, own


def rows_of(download: "Download") -> set[tuple[str, str]]:
    """The rows that a download makes, as (lesson, who)."""
    return {(slug, one.who) for slug, found in download.lessons.items() for one in found}


def given_before(store: "Store", known: dict, root: Path) -> "Iterator[Download]":
    """What was given by itself in earlier runs, counts, and is still where it was."""
    from course_lib.grading.sources import by_itself
    from course_lib.grading.submissions import read_download

    paths = {Path(record.by_itself) for marks in store.lessons() for record in marks.records if record.by_itself}
    for here in sorted(path for path in paths if path.exists()):
        place = first_place(here, known["places"])
        with suppress(UsageError):  # it changed, and holds nothing any more
            download = read_download(place, known.get("lesson"), root, only=None if place == here else here)
            yield by_itself(download, here, place)


def leave_graded(download: "Download", store: "Store", own: list[list[str]]) -> "Download":
    """A download without the copies of other lessons' work, where another download's own is graded already.

    ``own`` are the rows, as [lesson, who], that came from this download before.
    """
    from course_lib.grading.marks import listed

    graded = {(marks.slug, one.who) for marks in store.lessons() for one in marks.graded} - set(map(tuple, own))
    lessons = {
        slug: [one for one in found if not (one.aside and (slug, one.who) in graded)]
        for slug, found in download.lessons.items()
    }
    left = {slug: len(found) - len(lessons[slug]) for slug, found in download.lessons.items()}
    words = listed([f"{count} of {slug}" for slug, count in left.items() if count])
    note = f"not graded: copies that lie in a download of another lesson ({words}); their rows stay"
    lessons = {slug: found for slug, found in lessons.items() if found}
    return download._replace(lessons=lessons, notes=download.notes + [note] * bool(words))


def settings(arguments: argparse.Namespace, store: "Store", root: Path) -> dict:
    """The settings of this run; what the command line leaves open is as in the last run to the same folder."""
    lesson = find_slug(arguments.lesson, root) if arguments.lesson else None
    if lesson:
        refuse_without_exercise(lesson, root)
    wanted = {"lesson": lesson, "seed": arguments.seed, "seconds": arguments.timeout, "memory": arguments.memory}
    wanted |= {"roster": arguments.roster and str(arguments.roster.resolve()), "late": arguments.late}
    wanted |= {"deadline": arguments.deadline, "places": None}
    known = {name: value for name, value in store.settings(wanted).items() if value}
    return {"seconds": 10.0, "memory": 2.0, "seed": secrets.token_hex(16), "places": {}} | known


def refuse_without_exercise(slug: str, root: Path) -> None:
    if not gradable(slug, root):
        there_are = ", ".join(one[:2] for one in known_lessons(root) if gradable(one, root)) or "none"
        raise UsageError(f"lesson {slug} has no exercise to grade; those that have one: {there_are}")


def read_evening(known: dict, root: Path) -> "Evening":
    """Roster, deadlines and the rule for late work."""
    from course_lib.grading.lateness import read_deadlines, read_rule
    from course_lib.grading.roster import Roster, read_roster
    from course_lib.grading.run import Evening

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


def say(lessons: Iterable["Marks"], now: set[tuple[str, str]], out: Path) -> int:
    """What this run graded and what not, in words; the exit status. ``now``: its submissions, as (lesson, who)."""
    from course_lib.grading.sources import BY_ITSELF, NOT_COUNTED

    lessons = list(lessons)
    problems = 0
    for marks in lessons:
        rows = [record for record in marks.records if now & {(marks.slug, one) for one in (record.who, *record.also)}]
        if not rows:
            continue
        lesson = f"{marks.slug}: " if len(lessons) > 1 else ""
        bad = [record for record in rows if record.problem]
        problems += len(bad)
        for record in bad:
            files = (record.file or "no file").split(" and ")
            where = "" if all(one in record.problem for one in files) else f" ({' and '.join(files)})"
            words = f"{lesson}not graded: {record.student}{where}: {record.problem}"
            print("".join(one if one.isprintable() else "�" for one in words), file=sys.stderr)
        alone = len({who for _, who in now}) == 1
        for record in (one for one in rows if one.by_itself or alone):
            for note in (one for one in record.notes if one.startswith(NOT_COUNTED)):
                cure = "; move that file away to take this one back" * note.endswith(f"{BY_ITSELF})")
                print(f"course: {lesson}{record.student}: {note}{cure}", file=sys.stderr)
        nothing = f", {len(marks.missing)} handed in nothing" if marks.missing else ""
        print(f"{lesson}{len(rows) - len(bad)} graded, {len(bad)} not{nothing}")
        if words := all_late_by_file(marks.graded):
            print(f"course: {lesson}{words}", file=sys.stderr)
    print(f"open {out / 'summary.html'}")
    return 1 if problems else 0


def all_late_by_file(graded: "list[Record]") -> str:
    """What to do where each submission is late by the time of its file, which copying changes; else ""."""
    if not graded or not all(record.late and record.late.clock == "the file" for record in graded):
        return ""
    return (
        f"every submission ({len(graded)}) is late by the time of its file, which copying and unpacking may change: "
        "give the zip as it was downloaded, copy with the times (cp -p), or leave out --deadline"
    )


def read_marks(folder: Path) -> "tuple[Marks, ...]":
    """The marks that a run left in ``folder``.

    Raises:
        UsageError: if there are none that can be read.
    """
    from course_lib.grading.marks import lessons_from_json

    path = folder / "marks.json"
    try:
        return lessons_from_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"{path} does not exist; run `course grade SUBMISSIONS --out {folder}` first") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged; run `course grade SUBMISSIONS --out {folder}` again") from None


@one_sentence
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


@one_sentence
def override(arguments: argparse.Namespace, root: Path) -> int:
    """Write the mark beside the others, and every report again."""
    from course_lib.grading.marks import Override
    from course_lib.grading.overrides import write_again
    from course_lib.grading.store import Store
    from course_lib.grading.whose import row_of

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


def task_of(text: str, marks: "Marks") -> tuple[str, int]:
    """The task that is meant, and its points."""
    names = {task.name: task.points for task in marks.tasks}
    name = next((one for one in names if text in (one, one[5:], one[8:])), None)
    if name is None:
        raise UsageError(f"{marks.slug} has no task {text!r}; there are {', '.join(names)}")
    return name, names[name]


def refuse_without_tasks(record: "Record") -> None:
    """A mark for one task counts only beside the tests' points for the others."""
    if record.override or record.problem:
        why = "has a mark by hand for the whole" if record.override else "was not graded, so no task has points"
        cure = "take it back first, with --remove" if record.override else "give the whole mark, without --task"
        raise UsageError(f"{record.student} {why}; {cure}")


def require_by_hand(store: "Store", what: str, marks: "Marks", record: "Record") -> None:
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


def show(paths: Iterable[Path]) -> None:
    paths = list(paths)
    for path in paths[:5]:
        print(path)
    if len(paths) > 5:
        print(f"and {len(paths) - 5} more")


@one_sentence
def release(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.authoring.release import release

    print(f"{release(arguments.out, root)} files in {arguments.out}")
    return 0


@one_sentence
def export(arguments: argparse.Namespace, root: Path) -> int:
    slug = find_slug(arguments.lesson, root)
    require_sources(root)
    refuse_without_exercise(slug, root)
    from course_lib.grading.container import write_gradescope_zip

    write_gradescope_zip(slug, arguments.out, root)
    print(f"{arguments.out}: upload it as the autograder of the assignment")
    return 0
