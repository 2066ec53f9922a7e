"""The autograder for Gradescope as its container sees it: rights of files included."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from course_lib.cli import main
from course_lib.exercises import ROOT
from course_lib.grading.container import LOCKS, SETUP
from course_lib.grading.sandbox import host
from tests.grading.small import SLUG, answered, small_course

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="Gradescope's containers run as root")
NOBODY = 65534


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """/autograder after setup.sh, but for the packages: in a folder that everybody may enter, as there."""
    folder = tmp_path_factory.mktemp("export")
    root = small_course(folder / "root")
    shutil.copytree(ROOT / "course_lib", root / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    assert main(["export", "gradescope", "07", "--out", str(folder / "autograder.zip")], root=root) == 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        with zipfile.ZipFile(folder / "autograder.zip") as archive:
            archive.extractall(place / "source")
        subprocess.run(["sh", "-ec", LOCKS], cwd=place / "source/course", check=True)
        (place / "submission").mkdir()
        (place / "submission/work.ipynb").write_bytes(answered())
        yield place


@AS_ROOT
def test_the_locks_let_the_sandbox_read_the_library_and_nothing_else(place):
    course = place / "source/course"

    def can_read(name: str) -> bool:
        command = ["cat", str(course / name)]
        return (
            subprocess.run(command, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True).returncode == 0
        )

    assert can_read("course_lib/exercises.py")
    assert not can_read(f"tests/hidden/test_{SLUG}.py") and not can_read("seed")
    assert not can_read(f"solutions/src/{SLUG}.py")


@AS_ROOT
@pytest.mark.parametrize("modes", [("bubblewrap",), ("landlock",)], ids=str)
def test_each_sandbox_starts_behind_the_locks(place, modes):
    """``-c`` because the command has no option for it: only this sandbox may be tried."""
    course = place / "source/course"
    script = (
        f"from course_lib.grading.sandbox import host; host.MODES = {modes!r}\n"
        f"from course_lib.grading import container; import sys; sys.argv = ['x', {SLUG!r}]; container.main()"
    )
    environment = {**os.environ, "AUTOGRADER": str(place), "PYTHONPATH": str(course), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], cwd=course, env=environment, capture_output=True, text=True)
    results = json.loads((place / "results/results.json").read_text(encoding="utf-8"))
    assert results["score"] == 7 and modes[0] in results["output"], done.stderr


def test_the_locks_are_part_of_the_setup():
    assert set(host.MODES) == {"bubblewrap", "landlock"}
    assert SETUP.format(locks=LOCKS).rstrip().endswith(LOCKS.rstrip())
