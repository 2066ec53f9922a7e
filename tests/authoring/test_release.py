"""What is handed out, and what is handed in elsewhere: the student edition, the autograder zip."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from course_lib.authoring.release import TELLTALE, edition, refuse_telltales, release
from course_lib.cli import main
from course_lib.exercises import ROOT, UsageError
from tests.grading.small import CANARY, answered, small_course
from tests.grading.test_reports import RESULTS

QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "JUPYTER_PLATFORM_DIRS": "1"}


@pytest.fixture(scope="module")
def released(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("edition") / "course"
    assert main(["release", "--out", str(folder)]) == 0
    return folder


def test_the_edition_holds_nothing_that_tells(released):
    names = {path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file()}
    assert not [name for name in names if name.startswith(("solutions", "tests", "benchmarks")) or "grading" in name]
    assert {"README.md", "Makefile", "notebooks/01_addressing.ipynb", "exercises/01_addressing.ipynb"} <= names
    for name in names:
        assert not TELLTALE.search((released / name).read_bytes().decode(errors="ignore")), name


def test_no_answer_is_in_an_exercise(released):
    exercises = sorted((released / "exercises").glob("*.ipynb"))
    assert exercises
    for path in exercises:
        source, exercise = ROOT / f"solutions/src/{path.stem}.py", path.read_text(encoding="utf-8")
        code = "\n".join(
            "".join(cell["source"]) for cell in json.loads(exercise)["cells"] if cell["cell_type"] == "code"
        )
        for answer in re.findall(r"### BEGIN SOLUTION\n(.*?)### END SOLUTION", source.read_text("utf-8"), re.S):
            assert answer.strip() not in code


def test_the_edition_starts_by_the_readme_s_first_command(released):
    first = re.search(r"```sh\n(make \w+)", (released / "README.md").read_text(encoding="utf-8"))[1]
    assert first == re.search(r"```sh\n(make \w+)", (ROOT / "README.md").read_text(encoding="utf-8"))[1]
    dry = subprocess.run([*first.split(), "--dry-run"], cwd=released, capture_output=True, text=True)
    assert dry.returncode == 0 and "notebooks/00_start_here.ipynb" in dry.stdout
    extra = re.search(r'-e "\.\[(\w+)\]"', (released / "README.md").read_text(encoding="utf-8"))[1]
    assert extra in tomllib.loads((released / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def test_the_makefile_of_the_edition_has_no_target_of_ours(released):
    for target in ("test", "lint", "build", "bench", "site"):
        asked = subprocess.run(["make", "-n", target], cwd=released, capture_output=True, text=True)
        assert asked.returncode == 2 and "No rule to make target" in asked.stderr
        assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


def test_what_is_shipped_is_shipped_as_it_is(released):
    """Only the command, its one page of words and nothing else are written for students."""
    written = {"README.md", "course_lib/cli.py"}
    for path in (path for path in released.rglob("*") if path.is_file()):
        name = path.relative_to(released).as_posix()
        assert name in written or path.read_bytes() == (ROOT / name).read_bytes(), name


def test_every_module_of_the_edition_imports_and_its_commands_run(released):
    environment = {**QUIET, "PYTHONPATH": str(released), "PYTHONDONTWRITEBYTECODE": "1"}
    code = (
        "import course_lib, pkgutil, importlib\n"
        f"assert course_lib.__file__.startswith({str(released)!r})\n"
        "for m in pkgutil.walk_packages(course_lib.__path__, 'course_lib.'): importlib.import_module(m.name)\n"
        "from course_lib.cli import main\n"
        "assert main(['check', '01']) == 1 and main(['check', 'nothing']) == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=released, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "task_01_1" in done.stdout and "there are" in done.stderr


def test_the_edition_s_command_survives_a_code_page_and_a_python_without_asserts(released):
    environment = {**QUIET, "PYTHONPATH": str(released), "PYTHONDONTWRITEBYTECODE": "1"}
    odd = {"PYTHONIOENCODING": "gbk", "PYTHONOPTIMIZE": "1"}
    command = [sys.executable, "-m", "course_lib.cli", "check", "01"]
    done = subprocess.run(command, cwd=released, env=environment | odd, capture_output=True)
    assert done.returncode == 1 and "✗ task_01_1" in done.stdout.decode("utf-8"), done.stderr
    code = (
        "import sys; sys.modules['nbclient'] = None; from course_lib.cli import main; sys.exit(main(['check', '01']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=released, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and re.search(r"has no nbclient; run .make lab.", done.stderr), done.stderr


def test_the_zip_is_the_folder_and_the_same_each_time(released, tmp_path):
    for name in ("one.zip", "two.zip"):
        release(tmp_path / name, ROOT)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert len(archive.namelist()) == len(edition(ROOT))


def test_a_release_overwrites_nothing_and_refuses_what_tells(released):
    with pytest.raises(UsageError, match="exists"):
        release(released, ROOT)
    with pytest.raises(UsageError, match="reword"):
        refuse_telltales({"notebooks/x.ipynb": b"compare with solutions/01.ipynb"})


@pytest.fixture(scope="module")
def autograder(tmp_path_factory) -> Path:
    """A clean folder laid out like Gradescope's container, with the small exercise's zip unpacked in it."""
    folder = tmp_path_factory.mktemp("gradescope")
    root = small_course(folder / "root")
    shutil.copytree(ROOT / "course_lib", root / "course_lib", ignore=shutil.ignore_patterns("__pycache__"))
    assert main(["export", "gradescope", "07", "--out", str(folder / "autograder.zip")], root=root) == 0
    place = folder / "autograder"
    (place / "submission").mkdir(parents=True)
    (place / "results").mkdir()
    with zipfile.ZipFile(folder / "autograder.zip") as archive:
        archive.extractall(place / "source")
    users = [{"id": 5, "name": "Ada", "email": "ada@example.org", "assignment": {}}]
    (place / "submission_metadata.json").write_text(json.dumps({"id": 1, "users": users}))
    return place


def run_autograder(place: Path) -> dict:
    environment = {**QUIET, "AUTOGRADER": str(place), "PYTHON": sys.executable}
    done = subprocess.run(["sh", "source/run_autograder"], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads((place / "results/results.json").read_text(encoding="utf-8"))


def test_the_gradescope_zip_grades_in_a_clean_folder(autograder):
    import jsonschema

    (autograder / "submission/work.ipynb").write_bytes(answered({2: "def mean(x):\n    return x.sum()\n"}))
    results = run_autograder(autograder)
    jsonschema.validate(results, RESULTS)
    assert results["score"] == 6 and [test["score"] for test in results["tests"]] == [2, 0, 3, 1]
    assert "it is not divided" in results["tests"][1]["output"] and CANARY not in json.dumps(results)


def test_a_gradescope_submission_without_a_notebook_gets_words(autograder):
    (autograder / "submission/work.ipynb").unlink(missing_ok=True)
    results = run_autograder(autograder)
    assert results["score"] == 0 and "tell your instructor" in results["output"]


def test_the_setup_script_is_shell(autograder):
    for name in ("setup.sh", "run_autograder"):
        assert subprocess.run(["sh", "-n", autograder / "source" / name]).returncode == 0
