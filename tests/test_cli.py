"""The ``course`` command: each verb, each way of using it wrongly, and that it starts light."""

import json
import os
import re
import subprocess
import sys

import nbformat
import pytest
import torch

from course_lib.authoring import builder as notebooks
from course_lib.authoring import places
from course_lib.authoring.builder import KINDS, build, stale
from course_lib.authoring.places import parts
from course_lib.cli import main
from course_lib.exercises import ROOT
from course_lib.self_check import report, run_checks
from tests.tiny_course import tiny_course

SLUG = "01_averages"


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A tiny course that is built, with the kernel left out."""
    monkeypatch.setattr(notebooks, "run", lambda notebook, *, folder, name: [])
    root = tiny_course(tmp_path)
    assert main(["build"], root=root) == 0
    return root


def solve(path, **answers):
    """Write answers into the task cells of an exercise, as a student does."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        for task, answer in answers.items():
            if task in cell.metadata.get("tags", []):
                cell.source = answer
    nbformat.write(notebook, path)
    return path


def refused(capsys, arguments, root=ROOT):
    """The one sentence on stderr of a use that ends with status 2."""
    capsys.readouterr()
    try:
        status = main(arguments, root=root)
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    assert status == 2 and not output.out and len(output.err.splitlines()) == 1
    return output.err


# build


def test_build_makes_all_notebooks_and_the_tables(course, capsys):
    assert main(["build", "--check"], root=course) == 0
    assert [stale(SLUG, kind, course) for kind in KINDS] == [None] * 3
    text = (course / "README.md").read_text(encoding="utf-8")
    assert (
        "| 01 | [Averages](notebooks/01_averages.ipynb) | What is in the middle? | 5 | – | [Colab](https://" in text
    )
    assert '01["01 Averages"]' in text
    assert [word for word in text.split() if word in ("before", "between", "after")] == ["before", "between", "after"]


def test_check_names_stale_files_and_the_cure_and_changes_nothing(course, capsys):
    source = parts(SLUG, course)["lesson source"]
    source.write_text(source.read_text(encoding="utf-8").replace("# 01 · Averages", "# 01 · Means"), encoding="utf-8")
    before = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    assert main(["build", "--check"], root=course) == 1
    error = capsys.readouterr().err
    assert "notebooks/01_averages.ipynb does not match its source" in error
    assert "README.md does not match" in error and "course build" in error
    assert "solutions/" not in error
    assert before == {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}


def test_a_refused_source_is_refused_before_anything_is_executed(course, capsys):
    for part, old, new in (("lesson source", "[0, 1, 2, 3]", "[3, 2, 1, 0]"), ("solution source", "[2, 1]", "[2]")):
        path = parts(SLUG, course)[part]
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert main(["build", "01"], root=course) == 2
    told = capsys.readouterr()
    assert told.out == "" and "points for 1 tasks" in told.err


def test_a_solved_exercise_survives_any_build(course, capsys):
    path = solve(parts(SLUG, course)["exercise"], task_01_1="def mean(numbers):\n    return 3")
    before = path.read_bytes()
    for arguments in (["build"], ["build", "01"], ["build", "--check"]):
        assert main(arguments, root=course) in (1, 2)
        assert path.read_bytes() == before
    assert main(["build"], root=course) == 2
    assert re.search(r"left alone.*exercises/01_averages.ipynb.*--force", capsys.readouterr().err)
    assert main(["build", "--force"], root=course) == 0
    assert path.read_bytes() != before


def test_one_slug_builds_one_lesson(course, capsys):
    main(["new", "16", "branch"], root=course)
    capsys.readouterr()
    assert main(["build", "averages"], root=course) == 0
    assert "16_branch" not in capsys.readouterr().out.replace("README.md", "")


def test_readme_markers_that_do_not_pair_are_refused(course, capsys):
    (course / "README.md").write_text("<!-- lessons -->\n")
    assert main(["build", "--check"], root=course) == 2
    assert "<!-- /lessons -->" in capsys.readouterr().err


def test_a_folder_without_pyproject_is_refused(course, capsys):
    (course / "pyproject.toml").unlink()
    assert "run `course` from a clone" in refused(capsys, ["build", "--check"], course)


# new


def test_new_lays_out_six_parts_that_build(course, capsys):
    assert main(["new", "16", "branch"], root=course) == 0
    assert [path for path in parts("16_branch", course).values() if not path.exists()] == []
    assert [stale("16_branch", kind, course) for kind in KINDS] == [None] * 3
    assert "(does not exist)" not in capsys.readouterr().out


def test_a_new_lesson_runs_and_its_exercise_is_sound(tmp_path, capsys):
    """The templates as they are: the lesson executes, the solution earns its points, the hidden tests tell."""
    from types import SimpleNamespace

    from course_lib.grading.hidden import judge, load

    root = tiny_course(tmp_path)
    main(["new", "16", "branch"], root=root)
    assert build("16_branch", "lesson", root) == "executed"
    assert main(["check", str(parts("16_branch", root)["solution"])], root=root) == 0
    hidden = load("16_branch", parts("16_branch", root)["hidden tests"])
    right = {"weights": lambda s: s.softmax(1), "look": torch.matmul, "attend": lambda x: (x @ x.mT).softmax(1) @ x}
    wrong = {answer.replaces: answer.answer for answer in hidden.wrong}
    assert [verdict.error for verdict in judge(hidden, SimpleNamespace(**right), seed=1)] == [None] * 3
    assert [bool(verdict.error) for verdict in judge(hidden, SimpleNamespace(**wrong), seed=1)] == [True] * 3


def test_a_draft_stays_out_of_the_tables(course, capsys):
    before = (course / "README.md").read_text(encoding="utf-8")
    main(["new", "16", "branch"], root=course)
    assert main(["build", "--check"], root=course) == 0
    assert main(["build"], root=course) == 0
    assert (course / "README.md").read_text(encoding="utf-8") == before
    source = parts("16_branch", course)["lesson source"]
    source.write_text(source.read_text(encoding="utf-8").replace("FILL IN", "done"), encoding="utf-8")
    assert main(["build"], root=course) == 0
    assert '16["16 Branch"]' in (course / "README.md").read_text(encoding="utf-8")


def test_new_never_overwrites(course, capsys):
    assert main(["new", "16", "branch"], root=course) == 0
    parts("16_branch", course)["hidden tests"].write_text("mine")
    assert "hidden" in refused(capsys, ["new", "16", "branch"], course)
    for part in ("lesson source", "solution source", "lesson", "solution", "exercise"):
        parts("16_branch", course)[part].unlink()
    assert "would be overwritten" in refused(capsys, ["new", "16", "branch"], course)
    assert parts("16_branch", course)["hidden tests"].read_text() == "mine"
    assert not parts("16_branch", course)["lesson source"].exists()


@pytest.mark.parametrize(
    "number, name, words",
    [
        ("6", "branch", "no slug"),
        ("16", "My-Lesson", "no slug"),
        ("16", "../x", "no slug"),
        ("01", "means", "lesson 01 is"),
    ],
)
def test_new_refuses_what_is_no_slug(course, capsys, number, name, words):
    assert words in refused(capsys, ["new", number, name], course)


# where


def test_where_finds_a_slug_by_number_name_and_module(course, capsys):
    source = parts("03_squeeze_excitation", course)["lesson source"]
    source.write_text("# %% [markdown]\n# # 03 · Squeeze\n")
    answers = []
    for name in ("03", "squeeze_excitation", "03_squeeze_excitation", "gather_excite"):
        assert main(["where", name], root=course) == 0
        answers.append(capsys.readouterr().out)
    assert len(set(answers)) == 1
    for file in (
        "notebooks/src/03_squeeze_excitation.py",
        "notebooks/03_squeeze_excitation.ipynb",
        "solutions/src/03_squeeze_excitation.py",
        "solutions/03_squeeze_excitation.ipynb",
        "exercises/03_squeeze_excitation.ipynb",
        "tests/hidden/test_03_squeeze_excitation.py",
        "course_lib/channel/squeeze_excitation.py",
        "tests/channel/test_squeeze_excitation.py",
    ):
        assert len(re.findall(rf" {file}\b", answers[0])) == 1
    assert "course_lib/channel/gather_excite.py" in answers[0]


def test_where_of_a_module_whose_lesson_is_not_written(course, capsys):
    assert main(["where", "squeeze_excitation"], root=course) == 0
    output = capsys.readouterr().out
    assert "lesson 03 is not written yet" in output and "course_lib/channel/squeeze_excitation.py" in output


def test_what_a_removed_lesson_left_behind_is_named(course, capsys):
    left = ("exercises/16_branch.ipynb", "site/sliders/16_branch-1.json")
    for name in (*left, "site/sliders/01_averages-1.json"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        (course / name).write_text("{}")
    assert main(["build", "--check"], root=course) == 1
    error = capsys.readouterr().err
    assert all(f"{name} has no lesson source; delete it" in error for name in left) and "01_averages" not in error


# check


def test_check_of_an_unsolved_exercise(course, capsys):
    assert main(["check", "01"], root=course) == 1
    output = capsys.readouterr().out
    assert output == (
        "✗ task_01_1 · 0 of 2 points\n    mean is yours to write\n"
        "✗ task_01_2 · 0 of 1 point\n    count is yours to write\nso far 0 of 3 ▱▱▱\n"
    )


def test_check_counts_points_and_says_each_failure_below_its_task(course, capsys, tmp_path):
    path = parts(SLUG, course)["exercise"]
    (tmp_path / "home").mkdir()
    path = path.rename(tmp_path / "home/my copy.ipynb")  # a student may rename and move it
    solve(path, task_01_1="%matplotlib inline\n%time 1\ndef mean(numbers):\n    return sum(numbers) / len(numbers)")
    assert main(["check", str(path)], root=course) == 1
    output = capsys.readouterr().out
    assert "✓ task_01_1 · 2 of 2 points" in output and "so far 2 of 3 ▰▰▱" in output
    assert "✗ task_01_2 · 0 of 1 point\n    count is yours to write" in output
    solve(path, task_01_2="class Counter:\n    def count(self, numbers):\n        return len(numbers)")
    before = path.read_bytes()
    assert main(["check", str(path)], root=course) == 0
    assert "yours" not in capsys.readouterr().out and path.read_bytes() == before


@pytest.mark.parametrize(
    "answer, words",
    [
        ("def mean(numbers):\n    return 1 / 0", "your code raised ZeroDivisionError: division by zero"),
        ("def mean(numbers):\n    return 4", "the mean of 1, 2 and 6 is 3"),
        ("def mean(numbers:\n    return 4", "SyntaxError"),
        ("import sys; sys.exit('bye')", "SystemExit"),
        ("1 / 0", "cell 5: your code raised ZeroDivisionError"),
        ("raise KeyError", "KeyError"),
    ],
)
def test_check_survives_any_answer(course, capsys, answer, words):
    solve(parts(SLUG, course)["exercise"], task_01_1=answer)
    assert main(["check", "averages"], root=course) == 1
    output = capsys.readouterr().out
    assert words in output and "Traceback" not in output and "so far 0 of 3" in output


@pytest.mark.parametrize(
    "answer, words",
    [
        ("import os; os._exit(0)", "cell 5: it ended Python itself and was left out"),
        ("while True:\n    pass", "cell 5: it did not end within 2 seconds and was left out"),
    ],
)
def test_a_cell_that_takes_the_kernel_with_it_costs_its_own_task(course, monkeypatch, answer, words):
    path = parts(SLUG, course)["exercise"]
    solve(path, task_01_1=answer)
    solve(path, task_01_2="class Counter:\n    def count(self, numbers):\n        return len(numbers)")
    outcome = run_checks(path, seconds=2)
    assert outcome.exercise.earned == [0, 1] and words in report(outcome)


def test_a_question_to_the_kernel_takes_no_cell_s_place(course):
    """An error is asked for, then the kernel is lost: the next run has the last check still in it."""
    path = parts(SLUG, course)["exercise"]
    solve(path, task_01_1="1 / 0", check_01_1="import os; os._exit(0)")
    solve(path, task_01_2="class Counter:\n    def count(self, numbers):\n        return len(numbers)")
    assert run_checks(path).exercise.earned == [0, 1]


def test_check_runs_nothing_of_the_student_in_this_process(course):
    solve(parts(SLUG, course)["exercise"], task_01_1="import sys, os\nsys.canary = os.environ['CANARY'] = '1'")
    before = dict(os.environ)
    main(["check", "01"], root=course)
    assert not hasattr(sys, "canary") and dict(os.environ) == before


def test_check_of_what_is_no_exercise(course, capsys, tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    assert "is not a notebook" in refused(capsys, ["check", str(tmp_path / "broken.ipynb")], course)
    assert "starts no exercise" in refused(capsys, ["check", str(parts(SLUG, course)["lesson"])], course)
    assert "does not exist" in refused(capsys, ["check", "nowhere.ipynb"], course)


def test_check_needs_no_sources(course, capsys):
    """The student edition, and a folder in Colab, hold exercises and no sources."""
    parts(SLUG, course)["lesson source"].unlink()
    assert main(["check", "01"], root=course) == 1
    assert "so far 0 of 3" in capsys.readouterr().out
    assert "nothing to build" in refused(capsys, ["build"], course)


# list


def test_list_shows_the_catalogue_with_its_cost(capsys):
    assert main(["list", "--size", "32", "8", "8"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("SqueezeExcitation"))
    _, asks, author, year, _, arxiv, parameters, multiply_adds, lesson = line.split()
    assert (asks, author, arxiv, lesson) == ("what", "Hu", "1709.01507", "03")
    assert (year, parameters, multiply_adds) == ("2018,", str(2 * 32 * 2), str(2 * 32 * 2))  # reduction 16: 2 hidden


def test_list_of_a_size_that_some_mechanisms_refuse_says_why(capsys):
    assert main(["list", "--size", "7", "8", "8"]) == 0
    output = capsys.readouterr().out
    assert re.search(r"^SqueezeExcitation: .*7", output, re.M)


def test_the_usual_size_suits_every_mechanism(capsys):
    from course_lib.catalog import CATALOG
    from course_lib.costs import cost

    assert [reason for row in CATALOG if (reason := cost(row, 96, 32, 32)[2])] == []


def test_fused_attention_is_counted():
    import torch
    from torch.nn import functional as F

    from course_lib.costs import multiply_adds

    class Fused(torch.nn.Module):
        def forward(self, x):
            return F.scaled_dot_product_attention(x, x, x)

    assert multiply_adds(Fused(), torch.zeros(1, 1, 11, 5)) == 2 * 11 * 11 * 5


# wrong usage


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "VERB"),
        (["bake"], "invalid choice"),
        (["build", "nonesuch"], "no lesson is called 'nonesuch'; there are 01_averages"),
        (["where", "nonesuch"], "there are 01_averages"),
        (["check", "nonesuch"], "there are 01_averages"),
        (["check-lessons", "nonesuch"], "there are 01_averages"),
        (["check"], "required"),
        (["list", "--size", "1", "2"], "expected 3 arguments"),
        (["list", "--size", "0", "2", "2"], "from 1"),
        (["list", "--size", "a", "2", "2"], "invalid int value"),
    ],
)
def test_wrong_usage_gets_one_sentence_and_status_2(course, capsys, arguments, words):
    assert words in refused(capsys, arguments, course)


@pytest.mark.parametrize("package, arguments", [("torch", ["list"]), ("jupytext", ["build"])])
def test_a_missing_package_is_named_with_its_cure(course, capsys, monkeypatch, package, arguments):
    for name in (
        "course_lib.costs",
        "course_lib.catalog",
        "course_lib.authoring.builder",
        "course_lib.authoring.closure",
        "course_lib.authoring.sources",
        package,
    ):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    error = refused(capsys, arguments, course)
    assert f"has no {package}" in error and "make test" in error


def test_the_command_starts_without_torch_and_without_jupyter():
    code = (
        "import sys; from course_lib.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'jupytext', 'nbformat', 'IPython', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# Where only the package is installed


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """An empty current folder, a library that was installed alone, and none of its optional packages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "ROOT", tmp_path / "site-packages")
    for name in [one for one in sys.modules if one.startswith(("course_lib.authoring.", "course_lib.grading."))]:
        if name not in (
            "course_lib.authoring.places",
            "course_lib.grading.commands",
            "course_lib.grading.commands.disk",
        ):
            monkeypatch.delitem(sys.modules, name)
    for package in ("nbformat", "jupytext", "nbclient", "safetensors", "filelock", "jinja2"):
        monkeypatch.setitem(sys.modules, package, None)
    return tmp_path


@pytest.mark.parametrize(
    "line",
    [
        "build", "new 16 branch", "check-lessons", "release --out out.zip", "check 01", "where 01",
        "export gradescope 03 --out out.zip", "grade . --out out", "grade . --out out --lesson 01",
    ],
)  # fmt: skip
def test_what_needs_the_sources_says_so_before_all_else_and_writes_nothing(alone, capsys, line):
    said = refused(capsys, line.split(), None)
    assert f"in {alone}" in said and "work in a clone of" in said
    assert list(alone.iterdir()) == []


def test_where_of_a_module_shows_the_installed_file(alone, capsys):
    assert main(["where", "gather_excite"]) == 0
    said = capsys.readouterr().out
    files = [line.split()[1] for line in said.splitlines() if line.startswith("module")]
    assert str(ROOT / "course_lib/channel/gather_excite.py") in files and all(map(os.path.exists, files))
    assert "lie in a clone of" in said and "does not exist" not in said


def test_the_course_is_beside_the_library_else_in_the_current_folder(alone, capsys, monkeypatch):
    tiny_course(alone)
    assert main(["where", "averages"]) == 0
    assert "notebooks/src/01_averages.py" in capsys.readouterr().out
    (alone / "course_lib/cli.py").touch()  # a whole clone: its outputs must be its own library's
    assert "pip install -e ." in refused(capsys, ["build"], None)
    monkeypatch.setattr(places, "ROOT", ROOT)
    assert places.course_folder() == ROOT


def test_a_release_without_git_takes_what_is_there(monkeypatch):
    from course_lib.authoring.release import tracked

    monkeypatch.setattr("shutil.which", lambda name: None)
    assert ROOT / "pyproject.toml" in tracked(ROOT)


def test_a_pipe_of_a_code_page_without_ticks_breaks_nothing():
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "course_lib.cli", "check", "01"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
    assert done.returncode == 1 and "✗ task_01_1" in done.stdout.decode("utf-8"), done.stderr


UNHELD = """
from course_lib.exercises import Exercise
exercise = Exercise("01_x", points=[1])
with exercise.check(1):
    assert 1 == 2, "one is not two"
"""


def test_without_asserts_nothing_is_judged(tmp_path):
    """python -O leaves out asserts, so every check would hold; the command starts itself again with them."""
    cell = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": UNHELD}
    notebook = tmp_path / "wrong.ipynb"
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}))
    optimized = {**os.environ, "PYTHONOPTIMIZE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "course_lib.cli", "check", str(notebook)]
    plain, again = (
        subprocess.run(one, env=optimized, capture_output=True, text=True, cwd=ROOT)
        for one in ([sys.executable, "-c", UNHELD], command)
    )
    assert "unset PYTHONOPTIMIZE" in plain.stderr and "✓" not in plain.stdout
    assert again.returncode == 1 and "so far 0 of 1" in again.stdout, again.stderr


def test_a_reader_who_has_seen_enough_is_no_error():
    """``course where 01 | head -6``"""
    reads, writes = os.pipe()
    os.close(reads)
    done = subprocess.run(
        [sys.executable, "-m", "course_lib.cli", "where", "01"], cwd=ROOT, stdout=writes, stderr=subprocess.PIPE
    )
    os.close(writes)
    assert done.stderr == b"" and done.returncode == 1
