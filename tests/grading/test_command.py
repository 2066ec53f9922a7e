"""``course grade`` from the command line: exit status, resumption, refusal, and the real exercises through it."""

import json
import os
import shutil
from functools import cache

import pytest

from course_lib.authoring.places import parts, slugs
from course_lib.cli import main
from course_lib.exercises import ROOT, UsageError
from course_lib.grading.assignment import read_assignment
from course_lib.grading.batch import Grader, Job, Settings
from course_lib.grading.sandbox import host as sandbox_module
from course_lib.grading.sandbox.host import Refused, Sandbox
from course_lib.grading.submissions import read_download
from tests.grading.small import SLUG, answered, code_cell, notebook, small_course, task_cell

GRADED = [
    slug for slug in slugs() if parts(slug)["hidden tests"].exists() and parts(slug)["solution source"].exists()
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A graded folder: two honest students, one unreadable; and a function that runs the command there again."""
    folder = tmp_path_factory.mktemp("command")
    root = small_course(folder / "root")
    (folder / "in").mkdir()
    (folder / "in/ana.ipynb").write_bytes(answered())
    (folder / "in/ben.ipynb").write_bytes(answered({2: "def mean(x):\n    return x.sum()\n"}))
    (folder / "in/eve.ipynb").write_bytes(b"{")

    def again(*more: str) -> int:
        return main(["grade", str(folder / "in"), "--out", str(folder / "out"), *more], root=root)

    return folder, again


def test_grade_writes_marks_pages_and_tables_and_says_what_it_could_not_grade(run, capsys):
    folder, again = run
    assert again("--seed", "s", "--jobs", "2", "--timeout", "8", "--memory", "1.5") == 1
    said = capsys.readouterr()
    assert "not graded: eve (eve.ipynb)" in said.err and "2 graded, 1 not" in said.out
    marks = json.loads((folder / "out/marks.json").read_text(encoding="utf-8"))
    assert [one["earned"] for one in marks["submissions"]] == [7, 6, None] and marks["lesson"] == "07_small"
    assert marks["sandbox"] == "bubblewrap" and marks["submissions"][1]["tasks"][1]["mistake"] == "mean__of_rows"
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"marks.json", "marks.csv", "summary.html", "distribution.png", "students", "run.json"} <= names
    assert (folder / "out").stat().st_mode & 0o077 == 0


def test_a_second_run_keeps_seed_and_settings_and_grades_nothing_again(run, capsys, monkeypatch):
    folder, again = run
    before = (folder / "out/marks.json").read_bytes()
    monkeypatch.setattr("course_lib.grading.run.Grader", None)  # nothing is waiting, so nobody grades
    assert again() == 1
    assert (folder / "out/marks.json").read_bytes() == before
    assert json.loads((folder / "out/run.json").read_text())["seed"] == "s"


def test_a_run_without_a_seed_makes_a_secret_one(run, tmp_path, monkeypatch):
    folder, _ = run
    seeds = []
    monkeypatch.setattr(
        "course_lib.grading.run.graded", lambda waiting, assignment, settings, *_: seeds.append(settings.seed) or []
    )
    for out in ("one", "two"):
        with pytest.raises(KeyError):
            main(["grade", str(folder / "in"), "--out", str(tmp_path / out)], root=folder / "root")
    assert seeds[0] != seeds[1] and len(seeds[0]) >= 32


@pytest.mark.parametrize(
    "arguments",
    [
        ["--timeout", "0"],
        ["--memory", "-1"],
        ["--jobs", "0"],
        ["--lesson", "nothing"],
        ["--jobs", "2", "--dask", "x"],
    ],
)
def test_wrong_usage_exits_with_2(run, arguments, capsys):
    _, again = run
    try:
        assert again(*arguments) == 2
    except SystemExit as error:
        assert error.code == 2


def test_where_no_sandbox_holds_nothing_is_graded(run, tmp_path, monkeypatch, capsys):
    folder, _ = run
    monkeypatch.setattr(sandbox_module, "MODES", ())
    assert main(["grade", str(folder / "in"), "--out", str(tmp_path / "out")], root=folder / "root") == 2
    assert "Install bubblewrap" in capsys.readouterr().err
    assert not (tmp_path / "out/marks.json").exists()


def test_files_that_were_given_are_enough_to_grade_with(tmp_path):
    """Beside an installed library, nothing of the course but an exercise's solution and its hidden tests."""
    root = small_course(tmp_path / "given")
    shutil.rmtree(root / "notebooks")
    (root / "oracle.py").write_text("right = True\n")
    tests = parts(SLUG, root)["hidden tests"]
    tests.write_text(f"import oracle\n{tests.read_text()}")
    (tmp_path / "ana.ipynb").write_bytes(answered())
    assert list(read_download(tmp_path / "ana.ipynb", root=root).lessons) == [SLUG]
    assert read_assignment(SLUG, root).points == 7
    tests.write_text(f"import tests.oracle\n{tests.read_text()}")
    with pytest.raises(UsageError, match=f"imports tests.oracle, which is not there; put it into {root}"):
        read_assignment(SLUG, root)


@pytest.mark.parametrize("wrong", [("--lesson", "99"), ("--deadline", "soon"), ("--roster", "nowhere.csv"), ()])
def test_a_run_that_is_refused_leaves_no_folder(tmp_path, wrong):
    root, out = small_course(tmp_path / "root"), tmp_path / "out"
    (tmp_path / "in").mkdir()  # with nothing in it
    assert main(["grade", str(tmp_path / "in"), "--out", str(out), *wrong], root=root) == 2
    assert not out.exists()
    out.mkdir()
    assert main(["grade", str(tmp_path / "in"), "--out", str(out), *wrong], root=root) == 2
    assert out.exists()  # it is not ours


def test_a_sandbox_with_a_hole_is_refused(monkeypatch):
    monkeypatch.setitem(sandbox_module.ESCAPES, "breathe", "1 + 1")
    with pytest.raises(Refused, match="could breathe"):
        Sandbox(memory=1.5, mode="bubblewrap")


def test_the_unsafe_way_warns_and_is_written_into_every_report(run, tmp_path, capsys):
    folder, _ = run
    assert (
        main(
            ["grade", str(folder / "in/ana.ipynb"), "--out", str(tmp_path), "--unsafe-no-sandbox"],
            root=folder / "root",
        )
        == 0
    )
    assert "WARNING" in capsys.readouterr().err
    assert "unsafe" in (tmp_path / "marks.csv").read_text(encoding="utf-8")
    assert "without a sandbox" in (tmp_path / "summary.html").read_text(encoding="utf-8")


def test_both_sandboxes_hold_here():
    """Not a promise about every machine: where one is missing, the suite must not pass as if it had been tried."""
    if os.uname().sysname != "Linux":
        pytest.skip("the sandboxes are Linux's")
    for mode in sandbox_module.MODES:
        with Sandbox(memory=1.5, mode=mode) as sandbox:
            assert sandbox.mode == mode


@pytest.fixture(scope="module")
def graders():
    """The grader of each exercise, all with one sandbox: to start one takes longer than to grade in it."""
    modules = {module for slug in GRADED for module in read_assignment(slug, ROOT).modules}
    with Sandbox(modules=tuple(sorted(modules))) as sandbox, pytest.MonkeyPatch.context() as patch:
        patch.setattr("course_lib.grading.batch.Sandbox", lambda **_: sandbox)
        yield cache(lambda slug: Grader(Settings(slug, "s", seconds=20)))


@pytest.mark.parametrize("slug", GRADED)
def test_a_solution_earns_everything_and_an_untouched_exercise_nothing(graders, slug):
    grader = graders(slug)
    assignment = read_assignment(slug, ROOT)
    solved, untouched = (
        json.dumps(notebook([*map(code_cell, assignment.prelude), *(task_cell(0, text) for text in cells.values())]))
        for cells in (assignment.answers, assignment.stubs)
    )
    whole = grader.grade(Job("ana", "", f"{slug}.ipynb", solved.replace("task_07_0", f"task_{slug[:2]}_1").encode()))
    assert whole.earned == assignment.points, [mark for mark in whole.tasks if not mark.earned]
    assert not [mark.check for mark in whole.tasks if mark.check] and not whole.notes
    empty = grader.grade(
        Job("ben", "", f"{slug}.ipynb", untouched.replace("task_07_0", f"task_{slug[:2]}_1").encode())
    )
    assert empty.earned == 0


@pytest.mark.parametrize("slug", GRADED)
def test_no_wrong_answer_is_taken_for_another(graders, slug):
    """The sentence that a student reads is hers, or there is none: draws where two mistakes agree tell nothing."""
    diagnosis = graders(slug).diagnosis
    found = []
    for task in graders(slug).assignment.tasks:
        for wrong, outcomes in diagnosis.known(task.name):
            match = diagnosis.match(task.name, outcomes)
            assert match in (wrong, None), f"{wrong.name} is taken for another"
            found.append(match is wrong)
    assert sum(found) >= 0.8 * len(found), f"{sum(found)} of {len(found)} named wrong answers are recognised"
