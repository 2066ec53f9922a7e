"""``course release`` and ``course export``: what is given to students, and to another platform."""

import argparse
from pathlib import Path

from course_lib.authoring.places import find_slug, refuse_without_exercise, require_sources


def release(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.authoring.release import release

    print(f"{release(arguments.out, root)} files in {arguments.out}")
    return 0


def export(arguments: argparse.Namespace, root: Path) -> int:
    slug = find_slug(arguments.lesson, root)
    require_sources(root)
    refuse_without_exercise(slug, root)
    from course_lib.grading.container import write_gradescope_zip

    write_gradescope_zip(slug, arguments.out, root)
    print(f"{arguments.out}: upload it as the autograder of the assignment")
    return 0
