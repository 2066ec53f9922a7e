"""The ``course`` command. Each verb is one function that adds its subcommand; torch is imported only where needed."""

import argparse
import sys
from pathlib import Path

from course_lib.authoring.places import (
    course_folder,
    find_slug,
    home,
    parts,
    require_own_library,
    require_sources,
    slugs,
)
from course_lib.command import Parser, carry_out
from course_lib.exercises import ROOT, UsageError
from course_lib.grading.commands import VERBS as GRADING
from course_lib.grading.commands import verb
from course_lib.machine import in_folder


def main(argv: list[str] | None = None, *, root: Path | None = None) -> int:
    parser = Parser(prog="course", description="Build, find and check the lessons and exercises of the course.")
    subparsers = parser.add_subparsers(metavar="VERB", required=True)
    for add in VERBS:
        add(subparsers)
    place, extra = root or course_folder(), "test" if in_folder() else "grade"
    return carry_out(parser, argv, lambda arguments: arguments.run(arguments, place), extra=extra)


def add_build(subparsers) -> None:
    parser = verb(subparsers, "build", build, "Make notebooks from their text sources, and the tables of README.md.")
    parser.add_argument("slug", nargs="*", help="only these lessons (01, addressing or 01_addressing)")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if anything is out of date")
    parser.add_argument("--force", action="store_true", help="execute again, and overwrite notebooks edited by hand")


def build(arguments: argparse.Namespace, root: Path) -> int:
    """Exit 0 when all is up to date, 1 when a cell or a check failed, 2 when an edited notebook was left alone."""
    require_sources(root)
    require_own_library(root)
    from course_lib.authoring.builder import build, generate, kinds
    from course_lib.authoring.execution import CellFailed

    chosen = [find_slug(name, root) for name in arguments.slug] or slugs(root)
    if arguments.check:
        return check_build(chosen, root)
    edited, notebooks = [], [(slug, kind) for slug in chosen for kind in kinds(slug, root)]
    for slug, kind in notebooks:
        generate(slug, kind, root)  # what is refused is refused now, not after minutes of execution
    try:
        for slug, kind in notebooks:
            done = build(slug, kind, root, force=arguments.force)
            print(f"{relative(slug, kind, root)}: {done}")
            edited += [relative(slug, kind, root)] * (done == "edited")
    except CellFailed as error:
        print(f"course: {error}", file=sys.stderr)
        return 1
    for name, text in generated(root).items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")
        print(f"{name}: written")
    if edited:
        raise UsageError(
            f"left alone, because a person edited them: {', '.join(edited)}; "
            "move your work away, or overwrite it with `course build --force`"
        )
    return 0


def check_build(chosen: list[str], root: Path) -> int:
    from course_lib.authoring.builder import kinds, stale

    reasons = {relative(slug, kind, root): stale(slug, kind, root) for slug in chosen for kind in kinds(slug, root)}
    reasons |= dict.fromkeys(generated(root), "does not match the lessons, the catalogue and pyproject.toml")
    reasons |= dict.fromkeys(leftovers(root), "has no lesson source; delete it, or bring the source back")
    out_of_date = {name: reason for name, reason in reasons.items() if reason}
    for name, reason in out_of_date.items():
        print(f"{name} {reason}", file=sys.stderr)
    if out_of_date:
        print("run `course build` (`course build --force` overwrites what was edited by hand)", file=sys.stderr)
    return 1 if out_of_date else 0


def leftovers(root: Path) -> list[str]:
    """The files of a lesson that is no longer there."""
    places = [path.relative_to(root).as_posix() for path in parts("[0-9][0-9]_*", root).values()]
    places += ["site/sliders/[0-9][0-9]_*"]
    kept = {path for slug in slugs(root) for path in parts(slug, root).values()}
    kept |= {path for slug in slugs(root) for path in root.glob(f"site/sliders/{slug}-*")}
    return [path.relative_to(root).as_posix() for place in places for path in root.glob(place) if path not in kept]


def generated(root: Path) -> dict[str, str]:
    """The new texts of the files that are generated in part, by name, where they are not up to date."""
    from course_lib.authoring.tables import citation, readme

    makers = {"README.md": readme, "CITATION.cff": citation}
    new = {name: make(root) for name, make in makers.items() if (root / name).exists()}
    return {name: text for name, text in new.items() if text != (root / name).read_text(encoding="utf-8")}


def relative(slug: str, kind: str, root: Path) -> str:
    return parts(slug, root)[kind].relative_to(root).as_posix()


def add_new(subparsers) -> None:
    parser = verb(subparsers, "new", new, "Lay out the six parts of a lesson, ready to fill.")
    parser.add_argument("number", help="two digits: 16")
    parser.add_argument("name", help="lower-case words joined by underscores: branch")


def new(arguments: argparse.Namespace, root: Path) -> int:
    require_sources(root)
    from course_lib.authoring.builder import KINDS, build
    from course_lib.authoring.templates import FINISHED, lay_out

    slug = lay_out(arguments.number, arguments.name, root)
    for kind in KINDS:
        build(slug, kind, root, execute=False)
    print_parts(slug, root)
    print(f"Fill in the two sources and the hidden tests, then run `course build {slug[:2]}`.")
    print(f"A finished lesson to read beside them: {FINISHED} (`course where {FINISHED[:2]}` prints its files).")
    return 0


def add_where(subparsers) -> None:
    parser = verb(subparsers, "where", where, "Print the files of a lesson, with its modules and their tests.")
    parser.add_argument("name", help="a lesson (03, squeeze_excitation) or a module (gather_excite)")


def where(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.catalog import CATALOG

    modules = dict.fromkeys((row.module.__module__.replace(".", "/") + ".py", row.lesson) for row in CATALOG)
    numbers = {f"{lesson:02d}" for file, lesson in modules if Path(file).stem == arguments.name}
    sources = slugs(root)
    written = [slug for slug in sources if slug[:2] in numbers]
    if not numbers:
        written = [find_slug(arguments.name, root)]
        numbers = {written[0][:2]}
    for slug in written:
        print_parts(slug, root)
    for number in sorted(numbers - {slug[:2] for slug in written}):
        elsewhere = f"and its tests lie in a clone of {home()}"
        print(f"lesson {number} {'is not written yet' if sources else elsewhere}")
    for file in [file for file, lesson in modules if f"{lesson:02d}" in numbers]:
        print_file("module", (root if sources else ROOT) / file, root)
        if sources:
            print_file("unit test", root / unit_test(file), root)
    return 0


def unit_test(file: str) -> str:
    """``course_lib/channel/squeeze_excitation.py`` is tested in ``tests/channel/test_squeeze_excitation.py``."""
    _, *rooms, name = file.split("/")
    return "/".join(["tests", *rooms, f"test_{name}"])


def print_parts(slug: str, root: Path) -> None:
    for what, path in parts(slug, root).items():
        print_file(what, path, root)


def print_file(what: str, path: Path, root: Path) -> None:
    missing = "" if path.exists() else "  (does not exist)"
    shown = path.relative_to(root) if path.is_relative_to(root) else path  # an installed library lies elsewhere
    print(f"{what:<16} {shown.as_posix()}{missing}")


def add_check(subparsers) -> None:
    parser = verb(subparsers, "check", check, "Run the visible checks of an exercise and count the points.")
    parser.add_argument("exercise", help="a lesson (01, addressing) or the path of a notebook")


def check(arguments: argparse.Namespace, root: Path) -> int:
    """Exit 0 when every task is solved, 1 when one is not."""
    path = Path(arguments.exercise)
    if path.suffix != ".ipynb":
        path = parts(find_slug(arguments.exercise, root), root)["exercise"]
    from course_lib.self_check import report, run_checks

    outcome = run_checks(path)
    print(report(outcome))
    return 0 if outcome.solved else 1


def add_check_lessons(subparsers) -> None:
    parser = verb(subparsers, "check-lessons", check_lessons, "The lint of teaching: what every lesson must have.")
    parser.add_argument("slug", nargs="*", help="only these lessons")


def check_lessons(arguments: argparse.Namespace, root: Path) -> int:
    require_sources(root)
    from course_lib.authoring.lint import findings

    chosen = [find_slug(name, root) for name in arguments.slug] or slugs(root)
    found = findings(chosen, root)
    for finding in found:
        print(finding, file=sys.stderr)
    print(f"{len(chosen)} lessons read, {len(found)} findings")
    return 1 if found else 0


def add_list(subparsers) -> None:
    parser = verb(subparsers, "list", list_mechanisms, "The catalogue: every mechanism, its size and its cost.")
    parser.add_argument("--size", nargs=3, type=int, metavar=("C", "H", "W"), default=[96, 32, 32])


def list_mechanisms(arguments: argparse.Namespace, root: Path) -> int:
    from course_lib.costs import cost_table

    if min(arguments.size) < 1:
        raise UsageError(
            f"--size {' '.join(map(str, arguments.size))} is no size; give three numbers from 1, as 64 32 32"
        )
    print(cost_table(*arguments.size))
    return 0


VERBS = (add_build, add_new, add_where, add_check, add_check_lessons, add_list, *GRADING)

if __name__ == "__main__":
    sys.exit(main())
