"""The student edition: lessons, exercises and the library. No solution, no hidden test, nothing that names one."""

import re
import shutil
import subprocess
import zipfile
from io import BytesIO
from pathlib import Path

from course_lib.authoring.places import require_sources
from course_lib.exercises import UsageError

COPIED = (
    "pyproject.toml",
    "constraints.txt",
    "environment.yml",
    "Makefile",
    "LICENSE*",
    "CITATION.cff",
    "notebooks/*.ipynb",
    "notebooks/pictures/*",
    "exercises/*.ipynb",
    "course_lib/**/*",
)
OURS = ("course_lib/authoring/", "course_lib/grading/", "course_lib/cli.py")  # what only authors and instructors use
TELLTALE = re.compile(r"solutions/|tests/hidden|hidden[ _]test|BEGIN SOLUTION|course_lib[./]grading", re.I)
OLD = (1980, 1, 1, 0, 0, 0)  # a zip without the date of its making is the same each time

README = """\
# Attention in computer vision

A course in notebooks: the lessons are in `notebooks/`, your tasks in `exercises/`.

## Start

You need Python 3.11 or newer and make.

```sh
make lab     # sets up .venv, then opens the first lesson in JupyterLab
```

Without make (on Windows write `.venv\\Scripts\\python` for `.venv/bin/python`, and `py` for `python3`):

```sh
python3 -m venv .venv
.venv/bin/python -m pip install -c constraints.txt -e ".[course]"
.venv/bin/python -m jupyter lab notebooks/00_start_here.ipynb
```

Each task has a visible check in the cell under it. All checks of an exercise at once: `.venv/bin/course check 01`.

{lessons}
"""


def release(out: Path, root: Path) -> int:
    """Write the student edition into a new folder, or a ``.zip``; the number of its files.

    Raises:
        UsageError: if ``out`` exists, or a file would tell of a solution or a hidden test.
    """
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UsageError(f"{out} exists; give a folder or a .zip that does not")
    require_sources(root)
    files = edition(root)
    refuse_telltales(files)
    if out.suffix == ".zip":
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(zipped({f"attention-in-vision/{name}": data for name, data in files.items()}))
    else:
        for name, data in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(data)
    return len(files)


def edition(root: Path) -> dict[str, bytes]:
    """Every file of the student edition, by its path."""
    paths = sorted({path for pattern in COPIED for path in root.glob(pattern) if path.is_file()} & tracked(root))
    names = {path.relative_to(root).as_posix(): path for path in paths}
    files = {name: path.read_bytes() for name, path in names.items() if not name.startswith(OURS)}
    files["course_lib/cli.py"] = Path(__file__).with_name("student_cli.py").read_bytes()
    files["README.md"] = README.format(lessons=lessons(root)).encode()
    return files


def tracked(root: Path) -> set[Path]:
    """What git keeps; every file where there is no git: an unzipped copy has nothing else in it."""
    listed = shutil.which("git") and subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True)
    if not listed or listed.returncode:
        return {path for path in root.rglob("*") if "__pycache__" not in path.parts}
    return {root / name.decode() for name in listed.stdout.split(b"\0") if name}


def refuse_telltales(files: dict[str, bytes]) -> None:
    """Nothing in the edition may say where answers or hidden tests are."""
    for name, data in files.items():
        if found := TELLTALE.search(f"{name}\n{data.decode('utf-8', errors='ignore')}"):
            raise UsageError(f"{name} names {found[0]!r}, which students must not find; reword it, or leave it out")


def lessons(root: Path) -> str:
    """The table of lessons of README.md."""
    found = re.search(r"<!-- lessons -->\n(.*?)<!-- /lessons -->", (root / "README.md").read_text("utf-8"), re.S)
    return found[1].strip() if found else ""


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip that is the same, byte for byte, each time."""
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in sorted(files.items()):
            info = zipfile.ZipInfo(name, OLD)
            info.external_attr = (0o755 if name in EXECUTABLE else 0o644) << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


EXECUTABLE = ("setup.sh", "run_autograder")
