"""What ``course grade`` refuses before anything runs."""

import argparse
import sys
from pathlib import Path

from course_lib.authoring.places import require_exercises
from course_lib.exercises import UsageError

UNSAFE = """\
WARNING: --unsafe-no-sandbox runs the students' code with your rights, on your files and your network.
A submission can read the hidden tests and change any mark. Every report will say so.
"""

ELSEWHERE = """\
`course grade` runs on Linux, where submissions can be locked up; here, in a container, from a clone of the course:
  docker build -t course -f Containerfile .
  docker run --rm -v "{work}:/class" course grade /class/SUBMISSIONS --out /class/RESULTS
(podman takes the same words). `course report` works here."""


def grade(arguments: argparse.Namespace, root: Path) -> int:
    """Exit 0 when every submission was graded, 1 when some could not be, 2 for wrong usage or no sandbox."""
    if sys.platform != "linux":
        raise UsageError(ELSEWHERE.format(work=Path.cwd()))
    require_exercises(root)
    from course_lib.grading.commands.evening import run_grade
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
