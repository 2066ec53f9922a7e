"""The verbs of the ``course`` command that are the instructor's: release, grade, override, report, export.

disk      what the disk refuses, in one sentence with the cure
grade     what is refused before anything runs;  evening  one run, from the download to the tables;  said  its words
override  a mark by hand;  reports  the marks in another format;  editions  for students, for another platform
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from course_lib.grading.commands.disk import one_sentence

EXIT_STATUS = """\
Exit status: 0 all were graded; 1 some could not be (they are listed, the others stand); 2 wrong usage or no sandbox;
130 stopped by Ctrl-C. Who shares what hardly anybody else wrote is listed in the summary: a hint, never a mark."""


def add_grade(subparsers) -> None:
    parser = verb(
        subparsers,
        "grade",
        later("grade", "grade"),
        "Grade a folder of submissions: marks, pages, tables, a picture.",
    )
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
    parser = verb(
        subparsers,
        "override",
        later("override", "override"),
        "Give a mark by hand, with a reason; it stays when graded again.",
    )
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
    parser = verb(subparsers, "report", later("reports", "report"), "Write graded marks in another format.")
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
    parser = verb(
        subparsers,
        "release",
        later("editions", "release"),
        "The student edition: lessons, exercises, library, nothing else.",
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet, or a .zip")


def add_export(subparsers) -> None:
    parser = verb(subparsers, "export", later("editions", "export"), "An autograder to upload elsewhere.")
    parser.add_argument("platform", choices=("gradescope",))
    parser.add_argument("lesson", help="the exercise (01, addressing)")
    parser.add_argument("--out", type=Path, required=True, help="the .zip to write")


VERBS = (add_release, add_grade, add_override, add_report, add_export)


def verb(subparsers, name: str, run: Callable, help: str) -> argparse.ArgumentParser:
    """Add one subcommand: ``run(arguments, root)`` returns the exit status."""
    parser = subparsers.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def later(module: str, name: str) -> Callable[[argparse.Namespace, Path], int]:
    """A function of a module here that is imported when it runs: help and the other verbs need not wait for it."""

    def run(arguments: argparse.Namespace, root: Path) -> int:
        return getattr(import_module(f"{__name__}.{module}"), name)(arguments, root)

    return one_sentence(run)


def positive(kind: type) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not 0 < value < 1e6:
            raise argparse.ArgumentTypeError(f"{text} must be larger than 0")
        return value

    return parse
