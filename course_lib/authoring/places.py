"""Where the six files of a lesson lie: one slug finds them all."""

from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from course_lib.exercises import ROOT, UsageError


def slugs(root: Path = ROOT) -> list[str]:
    """Every lesson that has a text source, in order: ``["00_start_here", "01_addressing", …]``."""
    return sorted(path.stem for path in (root / "notebooks/src").glob("[0-9][0-9]_*.py"))


def find_slug(name: str, root: Path = ROOT) -> str:
    """The full slug of ``"01"``, ``"addressing"`` or ``"01_addressing"``.

    Raises:
        UsageError: naming the slugs there are.
    """
    exercises = sorted(path.stem for path in (root / "exercises").glob("[0-9][0-9]_*.ipynb"))
    known = slugs(root) or exercises  # the student edition has no sources
    matches = [slug for slug in known if name in (slug, slug[:2], slug[3:])]
    if not matches:
        raise UsageError(f"no lesson is called {name!r}; there are {', '.join(known) or 'none yet'}")
    return matches[0]


def require_sources(root: Path) -> None:
    """Refuse where only the package is installed, without the sources of the course."""
    if not slugs(root):
        raise UsageError(
            f"there is nothing to build in {root}: no notebooks/src/NN_slug.py; work in a clone of {home()}"
        )


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
