"""The verbs of the ``course`` command that are the instructor's: release, grade, report, export."""

import argparse
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from course_lib.authoring.places import find_slug
from course_lib.exercises import UsageError

UNSAFE = """\
WARNING: --unsafe-no-sandbox runs the students' code with your rights, on your files and your network.
A submission can read the hidden tests and change any mark. Every report will say so.
"""


def add_grade(subparsers) -> None:
    parser = verb(subparsers, "grade", grade, "Grade a folder of submissions: marks, pages, tables, a picture.")
    parser.add_argument("submissions", type=Path, help="a folder, a zip or one notebook")
    parser.add_argument("--out", type=Path, required=True, help="the folder of results; run again after a crash")
    parser.add_argument("--lesson", help="the exercise (01, addressing); found from the notebooks if left out")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=positive(int), help="submissions graded at the same time (default: one a core)")
    where.add_argument("--dask", metavar="ADDRESS", help="grade on the workers of this Dask cluster")
    parser.add_argument("--seed", help="secret that the hidden inputs follow from (default: random, kept)")
    parser.add_argument("--timeout", type=positive(float), help="seconds a call or a cell may take (default 10)")
    parser.add_argument("--memory", type=positive(float), help="GB a submission may use (default 2)")
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run submissions with your own rights")


def add_report(subparsers) -> None:
    parser = verb(subparsers, "report", report, "Write graded marks in another format.")
    parser.add_argument("folder", type=Path, help="the --out folder of `course grade`")
    formats = ("csv", "canvas", "moodle", "nbgrader", "gradescope", "junit", "html")
    parser.add_argument("--format", choices=formats, default="csv")
    parser.add_argument("--out", type=Path, help="the folder to write to (default: the same)")


def add_release(subparsers) -> None:
    parser = verb(subparsers, "release", release, "The student edition: lessons, exercises, library, nothing else.")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet, or a .zip")


def add_export(subparsers) -> None:
    parser = verb(subparsers, "export", export, "An autograder to upload elsewhere.")
    parser.add_argument("platform", choices=("gradescope",))
    parser.add_argument("lesson", help="the exercise (01, addressing)")
    parser.add_argument("--out", type=Path, required=True, help="the .zip to write")


VERBS = (add_release, add_grade, add_report, add_export)


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


def grade(arguments: argparse.Namespace, root: Path) -> int:
    """Exit 0 when every submission was graded, 1 when some could not be, 2 for wrong usage or no sandbox."""
    from course_lib.grading.sandbox.host import Refused

    try:
        return run_grade(arguments, root)
    except Refused as error:
        print(f"course: {error}", file=sys.stderr)
        return 2


def run_grade(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.grading.batch import Settings
    from course_lib.grading.run import grade_folder, guess_lesson
    from course_lib.grading.store import Store

    if arguments.unsafe_no_sandbox:
        print(UNSAFE, file=sys.stderr)
    store = Store(arguments.out)
    try:
        wanted = {"lesson": arguments.lesson and find_slug(arguments.lesson, root), "seed": arguments.seed}
        wanted |= {"seconds": arguments.timeout, "memory": arguments.memory}
        known = store.settings(wanted)
        known["lesson"] = known["lesson"] or guess_lesson(arguments.submissions, root)
        known["seed"] = known["seed"] or secrets.token_hex(16)
        known = {"seconds": 10.0, "memory": 2.0} | {name: value for name, value in known.items() if value}
        store.remember(known)
        settings = Settings(
            known["lesson"],
            str(known["seed"]),
            float(known["seconds"]),
            float(known["memory"]),
            "unsafe" if arguments.unsafe_no_sandbox else None,
        )
        jobs = arguments.jobs or len(os.sched_getaffinity(0))
        marks = grade_folder(arguments.submissions, store, settings, jobs=jobs, dask=arguments.dask, root=root)
    finally:
        store.close()
    for record in marks.problems:
        words = f"not graded: {record.student} ({record.file or 'no file'}): {record.problem}"
        print("".join(one if one.isprintable() else "�" for one in words), file=sys.stderr)
    print(f"{len(marks.graded)} graded, {len(marks.problems)} not; open {arguments.out / 'summary.html'}")
    return 1 if marks.problems else 0


def report(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.grading.marks import marks_from_json
    from course_lib.grading.reports import write_report

    path, again = arguments.folder / "marks.json", f"`course grade SUBMISSIONS --out {arguments.folder}`"
    try:
        marks = marks_from_json(path.read_text(encoding="utf-8"))
    except OSError:
        raise UsageError(f"{path} does not exist; run {again} first") from None
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{path} is damaged; run {again} again") from None
    show(write_report(marks, arguments.format, arguments.out or arguments.folder))
    return 0


def show(paths: Iterable[Path]) -> None:
    for path in list(paths)[:5]:
        print(path)


def release(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.authoring.release import release

    print(f"{release(arguments.out, root)} files in {arguments.out}")
    return 0


def export(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.grading.container import write_gradescope_zip

    write_gradescope_zip(find_slug(arguments.lesson, root), arguments.out, root)
    print(f"{arguments.out}: upload it as the autograder of the assignment")
    return 0
