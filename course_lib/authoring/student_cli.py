"""The ``course`` command of the student edition: check an exercise, list the mechanisms."""

import argparse
import sys
from pathlib import Path

from course_lib.command import Parser, carry_out
from course_lib.exercises import ROOT, UsageError


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="course", description="Check your exercises, and look up mechanisms.")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    check = verbs.add_parser("check", help="run the visible checks of an exercise and count the points")
    check.add_argument("exercise", help="a lesson (01, addressing) or the path of a notebook")
    check.set_defaults(run=lambda arguments: run_check(arguments.exercise))
    verbs.add_parser("list", help="the mechanisms, their sizes and their costs").set_defaults(run=run_list)
    return carry_out(parser, argv, lambda arguments: arguments.run(arguments))


def run_check(name: str) -> int:
    """Exit 0 when every task is solved, 1 when one is not."""
    path = Path(name) if name.endswith(".ipynb") else exercise(name)
    from course_lib.self_check import report, run_checks

    outcome = run_checks(path)
    print(report(outcome))
    return 0 if outcome.solved else 1


def exercise(name: str) -> Path:
    """The notebook of ``"01"``, ``"addressing"`` or ``"01_addressing"``."""
    known = sorted((ROOT / "exercises").glob("[0-9][0-9]_*.ipynb"))
    for path in known:
        if name in (path.stem, path.stem[:2], path.stem[3:]):
            return path
    raise UsageError(f"no exercise is called {name!r}; there are {', '.join(path.stem for path in known)}")


def run_list(arguments: argparse.Namespace) -> int:
    from course_lib.costs import cost_table

    print(cost_table(96, 32, 32))
    return 0


if __name__ == "__main__":
    sys.exit(main())
