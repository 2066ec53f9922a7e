"""What a notebook says of the course's address: badge, set-up cell, feedback link. Changing one executes nothing.

The address stands in pyproject.toml alone. As long as it is a placeholder, nothing links to it or fetches from it.
"""

import re
import tomllib
from pathlib import Path
from urllib.parse import quote

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from course_lib import __version__
from course_lib.exercises import UsageError

PLACEHOLDER = "https://github.com/OWNER/"
PUBLISHED = False  # True once the package index has this version: set-up cells install it then, and clone nothing
OURS = {"set-up", "feedback"}  # the tags of cells that stand in no source

BADGE = "[▶ Open in Colab](https://colab.research.google.com/github/{repository}/blob/{ref}/{path})\n\n"
BADGE_LINE = re.compile(r"\A\[▶ Open in Colab\]\(.*\)\n\n")
FEEDBACK = "[Unclear, wrong, or a stumble? Tell us]({url}/issues/new?template=lesson.yml&title={title})"

SET_UP = """\
import importlib.util, os, pathlib, shutil, sys  # makes `import course_lib` work here, offline and in Colab
assert importlib.util.find_spec("torch"), f"{sys.executable} has no torch: choose the kernel that `make lab` installed"
if importlib.util.find_spec("course_lib") is None:  # look in `course`, here and above; else fetch it
    found = [str(p) for p in pathlib.Path("course/.course/x").absolute().parents if (p / "course_lib").is_dir()]
"""
CLONE = """\
    assert found or shutil.rmtree(".course", ignore_errors=True) or os.system("git clone -q --depth 1 --filter=blob:none --sparse -b " + os.getenv("COURSE_REF", "{ref}") + " " + os.getenv("COURSE_REPO", "{url}") + " .course && git -C .course sparse-checkout set course_lib exercises") == 0, "the course could not be fetched: " + ("connect to the network" if shutil.which("git") else "install git") + " and run this cell again, or open this notebook inside the course's folder"
    sys.path.insert(0, found[0] if found else os.path.abspath(shutil.move(".course", "course")))"""
INSTALL = """\
    assert found or os.system(f'"{{sys.executable}}" -m pip install -q attention-in-vision=={version}') == 0, "the course could not be installed: connect to the network and run this cell again, or open this notebook inside the course's folder"
    sys.path[:0] = found[:1] or importlib.invalidate_caches() or []"""


def repository(root: Path, *, placeholder: bool = False) -> str:
    """The address, [project.urls] Repository; empty as long as it is a placeholder, if that is not asked for."""
    path = root / "pyproject.toml"
    if not path.exists():
        raise UsageError(f"{path} does not exist; run `course` from a clone of the course")
    address = tomllib.loads(path.read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    return "" if address.startswith(PLACEHOLDER) and not placeholder else address


def ref(version: str = __version__) -> str:
    """The tag of a released version; between releases the branch.

    >>> ref("0.2.0"), ref("0.3.0.dev0")
    ('v0.2.0', 'main')
    """
    return "main" if "dev" in version else f"v{version}"


def badge(path: Path, root: Path) -> str:
    """The link that opens a notebook in Colab."""
    address = repository(root).removeprefix("https://github.com/")
    return address and BADGE.format(repository=address, ref=ref(), path=path.relative_to(root).as_posix())


def set_up(root: Path, *, published: bool = PUBLISHED) -> NotebookNode:
    """The cell that finds the library or fetches it, at the version of the notebook; safe to run twice."""
    fetch = INSTALL.format(version=__version__) if published else CLONE.format(ref=ref(), url=repository(root))
    return new_code_cell(SET_UP + fetch, metadata={"tags": ["set-up"]})


def feedback(slug: str, root: Path) -> list[NotebookNode]:
    """The last cell of a lesson: a link to the form for stumbles, with the lesson's name in it."""
    address = repository(root)
    text = FEEDBACK.format(url=address, title=quote(f"{slug}: "))
    return [new_markdown_cell(text, metadata={"tags": ["feedback"]})] if address else []


def from_source(cells: list[NotebookNode]) -> list[NotebookNode]:
    """The cells that stand in the source."""
    return [cell for cell in cells if not OURS & set(cell.metadata.get("tags", []))]


def written(cells: list[NotebookNode]) -> list[tuple[str, str]]:
    """What authors wrote: types and sources, without anything that names the address."""
    return [(cell.cell_type, BADGE_LINE.sub("", cell.source)) for cell in from_source(cells)]
