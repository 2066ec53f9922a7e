"""Where the six files of a lesson lie: one slug finds them all."""

import re
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from course_lib.exercises import ROOT, UsageError


def slugs(root: Path = ROOT) -> list[str]:
    """Every lesson that has a text source, in order: ``["00_start_here", "01_addressing", …]``."""
    return sorted(path.stem for path in (root / "notebooks/src").glob("[0-9][0-9]_*.py"))


def known_lessons(root: Path = ROOT) -> list[str]:
    """Every lesson here: in a clone those with a source, elsewhere those with files to grade with or to solve."""
    given = sorted({path.stem for place in ("solutions/src/*.py", "exercises/*.ipynb") for path in root.glob(place)})
    return slugs(root) or [name for name in given if re.match(r"\d\d_", name)]


def course_folder() -> Path:
    """Where the lessons lie: beside this library, or, where that was installed alone, in the current folder."""
    return ROOT if known_lessons(ROOT) else Path.cwd()


def find_slug(name: str, root: Path = ROOT) -> str:
    """The full slug of ``"01"``, ``"addressing"`` or ``"01_addressing"``.

    Raises:
        UsageError: naming the slugs there are.
    """
    known = known_lessons(root)
    if not known:
        raise UsageError(f"no lesson lies in {root}; {go()}, or beside its exercises/")
    matches = [slug for slug in known if name in (slug, slug[:2], slug[3:])]
    if not matches:
        raise UsageError(f"no lesson is called {name!r}; there are {', '.join(known)}")
    return matches[0]


def require_sources(root: Path) -> None:
    """Refuse where only the package is installed, without the sources of the course."""
    if not slugs(root) or not (root / "course_lib").is_dir():
        raise UsageError(
            f"there is nothing to build in {root}: no notebooks/src/NN_slug.py beside course_lib; {go()}"
        )


def require_own_library(root: Path) -> None:
    """Refuse to execute a clone by a library from elsewhere: the outputs would be that one's."""
    if root != ROOT and (root / "course_lib/cli.py").exists():
        raise UsageError(f"this `course` runs the library in {ROOT}, not that of {root}; run there: pip install -e .")


def require_exercises(root: Path) -> None:
    """Refuse where there is nothing to grade with."""
    if not any(gradable(slug, root) for slug in known_lessons(root)):
        files = "solutions/src/NN_slug.py with tests/hidden/test_NN_slug.py"
        raise UsageError(f"no exercise to grade lies in {root} ({files}); {go()}, or where these files are")


@lru_cache
def gradable(slug: str, root: Path) -> bool:
    """Whether a lesson has an exercise with hidden tests."""
    files = parts(slug, root)
    return files["solution source"].exists() and files["hidden tests"].exists()


def go() -> str:
    return f"work in a clone of {home()}"


def home() -> str:
    """Where the course lives, as the installed package says."""
    try:
        urls = dict(one.split(", ") for one in metadata("attention-in-vision").get_all("Project-URL") or [])
    except PackageNotFoundError:
        urls = {}
    address = urls.get("Repository", "")
    return "the course" if "OWNER" in address else address or "the course"


def parts(slug: str, root: Path = ROOT) -> dict[str, Path]:
    """The six files of a slug, by what they are, in the order in which an author writes them."""
    return {
        "lesson source": root / f"notebooks/src/{slug}.py",
        "lesson": root / f"notebooks/{slug}.ipynb",
        "solution source": root / f"solutions/src/{slug}.py",
        "solution": root / f"solutions/{slug}.ipynb",
        "exercise": root / f"exercises/{slug}.ipynb",
        "hidden tests": root / f"tests/hidden/test_{slug}.py",
    }


def refuse_without_exercise(slug: str, root: Path) -> None:
    if not gradable(slug, root):
        there_are = ", ".join(one[:2] for one in known_lessons(root) if gradable(one, root)) or "none"
        raise UsageError(f"lesson {slug} has no exercise to grade; those that have one: {there_are}")
