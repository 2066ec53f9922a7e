"""An autograder for Gradescope: the zip to upload, and what runs in Gradescope's container for each submission."""

import json
import os
import secrets
import sys
import tempfile
import traceback
from pathlib import Path

from course_lib.authoring.places import parts
from course_lib.authoring.release import tracked, zipped
from course_lib.exercises import ROOT

SETUP = """\
#!/bin/sh
# Runs once, when Gradescope builds the image. Any base image with Python 3.11 or newer, or an apt that has one.
set -e
umask 022
cd /autograder/source/course
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y bubblewrap || true  # where it cannot be used, Landlock holds the submissions
for version in 3.13 3.12 3.11; do
    if command -v python$version || apt-get install -y python$version python$version-venv; then break; fi
done
python$version -m venv /autograder/venv
/autograder/venv/bin/python -m pip install -c constraints.txt -e ".[grade]"
{locks}"""

# The sandboxed user, who is not root, may enter the folder and read the library, and nothing else: bubblewrap and
# Landlock start as that user, and a door that only root may pass would need mounts, which a container refuses.
LOCKS = """\
chmod -R go-rwx .
chmod go=x . ..
chmod -R go=rX course_lib
"""

RUN = """\
#!/bin/sh
# Runs for each submission. AUTOGRADER and PYTHON are only set to try this elsewhere.
cd "${{AUTOGRADER:-/autograder}}/source/course"
exec "${{PYTHON:-/autograder/venv/bin/python}}" -m course_lib.grading.container {slug}
"""


def write_gradescope_zip(slug: str, out: Path, root: Path) -> None:
    """The autograder of one exercise: library, solution, hidden tests, and a secret seed made now."""
    files = parts(slug, root)
    wanted = [root / name for name in ("pyproject.toml", "constraints.txt", "tests/__init__.py")]
    wanted += [root / "tests/properties.py", root / "tests/hidden/__init__.py"]
    wanted += [files[part] for part in ("lesson source", "solution source", "hidden tests")]
    wanted += sorted(path for path in tracked(root) if path.is_relative_to(root / "course_lib"))
    content = {f"course/{path.relative_to(root).as_posix()}": path.read_bytes() for path in wanted if path.is_file()}
    content["course/seed"] = secrets.token_hex(16).encode()
    content |= {"setup.sh": SETUP.format(locks=LOCKS).encode(), "run_autograder": RUN.format(slug=slug).encode()}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(zipped(content))


def grade_container(slug: str, place: Path, root: Path) -> dict:
    """Grade the one submission in a container's folder; what results.json says."""
    from course_lib.grading.batch import Settings
    from course_lib.grading.reports.gradescope import results
    from course_lib.grading.run import grade_folder
    from course_lib.grading.store import Store

    seed = (root / "seed").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "results")
        marks = grade_folder(place / "submission", store, Settings(slug, seed), jobs=1, root=root)
        store.close()
    return results(marks, marks.records[0])


def main() -> None:
    """Write results.json, whatever happens: a grader that failed says so, and gives no mark above zero."""
    place = Path(os.environ.get("AUTOGRADER", "/autograder"))
    try:
        said = grade_container(sys.argv[1], place, ROOT)
    except Exception:
        traceback.print_exc()  # Gradescope shows the output of the run to instructors only
        said = {"score": 0, "output": "Not graded: the autograder failed; tell your instructor.", "tests": []}
    results = place / "results"
    results.mkdir(exist_ok=True)
    (results / "results.json").write_text(json.dumps(said, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
