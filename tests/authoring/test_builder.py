"""The builder: deterministic, one-way, and it never overwrites what a person wrote."""

import base64
import io
import shutil

import nbformat
import pytest
from PIL import Image

from course_lib.authoring.builder import KINDS, build, generate, kinds, read, skeleton, stale, write
from course_lib.authoring.execution import CellFailed
from course_lib.authoring.places import parts
from course_lib.cli import main
from course_lib.exercises import UsageError
from tests.tiny_course import tiny_course

SLUG = "01_averages"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    root = tiny_course(tmp_path_factory.mktemp("built"))
    assert [build(SLUG, kind, root) for kind in KINDS] == ["executed", "executed", "written"]
    return root


@pytest.fixture
def course(built, tmp_path):
    return shutil.copytree(built, tmp_path / "course")


def rewrite(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_by_hand(path):
    """What JupyterLab does when a student has written into the last code cell and saved."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "\nmine = 1"
    notebook.metadata.language_info["version"] = "3.12.1"
    nbformat.write(notebook, path)


def cell_of(root, kind, tag):
    cells = read(parts(SLUG, root)[kind]).cells
    return next(cell for cell in cells if tag in cell.metadata.get("tags", []))


# What the notebooks hold


def test_a_second_build_changes_no_byte(course):
    paths = [parts(SLUG, course)[kind] for kind in KINDS]
    before = [path.read_bytes() for path in paths]
    assert [build(SLUG, kind, course) for kind in KINDS] == ["unchanged"] * 3
    assert [path.read_bytes() for path in paths] == before


def test_executing_again_changes_no_byte(course):
    path = parts(SLUG, course)["lesson"]
    before = path.read_bytes()
    assert build(SLUG, "lesson", course, force=True) == "executed"
    assert path.read_bytes() == before


def test_notebooks_are_valid_and_ids_are_unique(built):
    for kind in KINDS:
        notebook = read(parts(SLUG, built)[kind])
        nbformat.validate(notebook)
        assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_twin_cells_get_different_ids(course):
    source = parts(SLUG, course)["lesson source"]
    source.write_text(source.read_text() + "\n# %%\nobject()\n")
    ids = [cell.id for cell in generate(SLUG, "lesson", course).cells if cell.source == "object()"]
    assert len(ids) == 2 and ids[1] == ids[0] + "-2"


def test_one_changed_cell_changes_one_id(course):
    before = [cell.id for cell in generate(SLUG, "lesson", course).cells]
    rewrite(parts(SLUG, course)["lesson source"], "four pixels", "4 pixels")
    after = [cell.id for cell in generate(SLUG, "lesson", course).cells]
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_badge_and_set_up_cell_come_from_one_address(course):
    rewrite(course / "pyproject.toml", "somebody/a-course", "else/where")
    for kind in KINDS:
        first, set_up = generate(SLUG, kind, course).cells[:2]
        assert ("github/else/where/blob/main/" in first.source) == (kind != "solution")
        assert "https://github.com/else/where" in set_up.source
        assert set_up.source.startswith("# @title") and len(set_up.source.splitlines()) <= 1 + 6


def test_answers_are_stripped_from_the_exercise_only(built):
    function = cell_of(built, "exercise", "task_01_1").source
    assert function == (
        'def mean(numbers):\n    """The sum over the count."""\n'
        '    raise NotImplementedError("task_01_1 is yours to write")'
    )
    method = cell_of(built, "exercise", "task_01_2").source
    assert method.endswith('        raise NotImplementedError("task_01_2 is yours to write")')
    assert "SOLUTION" not in parts(SLUG, built)["exercise"].read_text(encoding="utf-8")
    assert "### BEGIN SOLUTION\n    return sum" in cell_of(built, "solution", "task_01_1").source


def test_tasks_and_checks_carry_nbgrader_metadata(built):
    for kind in ("solution", "exercise"):
        task, check = cell_of(built, kind, "task_01_1"), cell_of(built, kind, "check_01_1")
        assert task.metadata.nbgrader == {
            "grade": False, "solution": True, "locked": False, "task": False,
            "grade_id": "task_01_1", "schema_version": 3,
        }  # fmt: skip
        assert check.metadata.nbgrader == {
            "grade": True, "solution": False, "locked": True, "task": False, "points": 2,
            "grade_id": "check_01_1", "schema_version": 3,
        }  # fmt: skip
        assert ("raises-exception" in check.metadata.tags) == (kind == "exercise")


def test_outputs_hold_no_address_no_widget_and_a_small_picture(built):
    text = parts(SLUG, built)["lesson"].read_text(encoding="utf-8")
    assert "<object at 0x0>" in text and "widget-view" not in text and "widget-state" not in text
    assert "nbval-ignore-output" in cell_of(built, "lesson", "widget").metadata.tags
    data = [
        output.data["image/png"]
        for cell in read(parts(SLUG, built)["lesson"]).cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    image = Image.open(io.BytesIO(base64.b64decode(data[0])))
    assert image.mode == "P" and not image.info and len(data) == 1


def test_exercises_have_no_outputs(built):
    assert not any(cell.get("outputs") for cell in read(parts(SLUG, built)["exercise"]).cells)


# What is executed again


def test_only_what_changed_is_executed_again(course):
    rewrite(parts(SLUG, course)["solution source"], "len(numbers)\n    ###", "len(list(numbers))\n    ###")
    assert [build(SLUG, kind, course) for kind in KINDS] == ["unchanged", "executed", "unchanged"]


def test_a_mended_sentence_executes_nothing_and_keeps_the_outputs(course):
    path = parts(SLUG, course)["lesson"]
    before = [cell.outputs for cell in read(path).cells if cell.cell_type == "code"]
    rewrite(parts(SLUG, course)["lesson source"], "take a mean", "take an average")
    assert build(SLUG, "lesson", course) == "written" and stale(SLUG, "lesson", course) is None
    assert [cell.outputs for cell in read(path).cells if cell.cell_type == "code"] == before and any(before)
    assert "take an average" in path.read_text(encoding="utf-8")


def test_unexecuted_notebooks_are_executed_by_the_next_build(tmp_path):
    root = tiny_course(tmp_path)
    assert build(SLUG, "solution", root, execute=False) == "written"
    assert stale(SLUG, "solution", root) is None
    assert build(SLUG, "solution", root) == "executed"
    before = parts(SLUG, root)["solution"].read_bytes()
    assert build(SLUG, "solution", root, execute=False) == "unchanged"
    assert parts(SLUG, root)["solution"].read_bytes() == before


# What is refused


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_person_wrote_is_never_overwritten(course, kind):
    path = parts(SLUG, course)[kind]
    edit_by_hand(path)
    before = path.read_bytes()
    rewrite(parts(SLUG, course)["lesson source"], "four", "4")
    rewrite(parts(SLUG, course)["solution source"], "sum over", "sum by")
    assert build(SLUG, kind, course) == "edited"
    assert build(SLUG, kind, course, execute=False) == "edited"
    assert path.read_bytes() == before
    assert stale(SLUG, kind, course) == "was edited by hand"


def test_force_overwrites_an_edited_notebook(course):
    edit_by_hand(parts(SLUG, course)["exercise"])
    assert build(SLUG, "exercise", course, force=True) == "written"
    assert stale(SLUG, "exercise", course) is None


def test_running_and_saving_a_notebook_is_no_edit(course):
    path = parts(SLUG, course)["exercise"]
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].execution_count = 7
    nbformat.write(notebook, path)
    assert stale(SLUG, "exercise", course) is None
    assert build(SLUG, "exercise", course) == "written"


def test_check_ignores_outputs_and_sees_cells_ids_and_metadata(course):
    path = parts(SLUG, course)["lesson"]

    def after(change):
        notebook = read(path)
        change(notebook)
        return skeleton(notebook) != skeleton(generate(SLUG, "lesson", course))

    assert not after(lambda nb: None)
    assert not after(lambda nb: nb.cells[3].update(outputs=[], execution_count=None))
    assert not after(lambda nb: nb.metadata.course.update(library="another machine's"))
    assert after(lambda nb: nb.cells[3].update(source="object(1)"))
    assert after(lambda nb: nb.cells[3].update(id="abc"))
    assert after(lambda nb: nb.cells[3].metadata.update(tags=["new"]))
    assert after(lambda nb: nb.metadata.language_info.update(version="3.12.1"))
    assert after(lambda nb: nb.cells.pop())


def test_stale_says_why(course):
    assert [stale(SLUG, kind, course) for kind in KINDS] == [None] * 3
    rewrite(parts(SLUG, course)["solution source"], "sum over", "sum by")
    parts(SLUG, course)["lesson"].unlink()
    assert [stale(SLUG, kind, course) for kind in KINDS] == [
        "does not exist",
        "does not match its source: the first other cell is cell 4",
        "does not match its source: the first other cell is cell 4",
    ]


def test_stale_tells_a_new_tag_and_a_last_cell(course):
    rewrite(parts(SLUG, course)["lesson source"], ', "folded"]', "]")
    assert stale(SLUG, "lesson", course).endswith("the first other cell is cell 6")  # folding writes a title
    build(SLUG, "lesson", course)
    rewrite(parts(SLUG, course)["lesson source"], '["static"]', '["static", "answer"]')
    assert stale(SLUG, "lesson", course).endswith("the tags or other metadata")
    rewrite(parts(SLUG, course)["lesson source"], "[0, 1, 2, 3]", "[0, 1, 2, 3]\n\n# %%\n4")
    assert stale(SLUG, "lesson", course).endswith("the first other cell is cell 7")


def test_a_changed_library_makes_outputs_stale_and_executes_again(course):
    (course / "course_lib/inner.py").write_text("words = repr\n")  # imported by exercises.py, not by the lesson
    assert [stale(SLUG, kind, course) for kind in KINDS] == [
        "was executed before course_lib/inner.py changed",
    ] * 2 + [None]  # fmt: skip
    assert main(["build", "--check"], root=course) == 1
    notebook = read(parts(SLUG, course)["lesson"])
    del notebook.metadata.course["files"]  # as once, when no file was noted
    write(parts(SLUG, course)["lesson"], notebook)
    assert stale(SLUG, "lesson", course) == "was executed before the library or its data changed"
    assert [build(SLUG, kind, course) for kind in KINDS] == ["executed", "executed", "unchanged"]
    assert [stale(SLUG, kind, course) for kind in KINDS] == [None] * 3


def test_a_cell_that_raises_leaves_the_old_notebook(course):
    path = parts(SLUG, course)["solution"]
    before = path.read_bytes()
    rewrite(parts(SLUG, course)["solution source"], "sum(numbers) / len(numbers)\n    ###", "1 / 0\n    ###")
    with pytest.raises(CellFailed, match=r"stopped at cell 5:\n✗ task_01_1: .*division by zero"):  # the check
        build(SLUG, "solution", course)
    assert path.read_bytes() == before


def test_a_failing_cell_is_shown_once_without_colours_and_counted_as_in_the_source(course):
    rewrite(parts(SLUG, course)["solution source"], "with exercise.check(1):", "mean([])\nwith exercise.check(1):")
    with pytest.raises(CellFailed) as failed:
        build(SLUG, "solution", course)
    words = str(failed.value)
    assert words.startswith("solution 01_averages stopped at cell 5:\ncell 5, line 1\n"), words
    assert words.count("division by zero") == 1 and "\x1b" not in words
    assert "cell 4, line 4, in mean(numbers)" in words


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("points=[2, 1]", "points=[2, 1, 5]", r"task cells \[1, 2\] but points for 3 tasks"),
        (", points=[2, 1]", "", "names no points"),
        ('tags=["check_01_2"]', "", r"check cells \[1\] but points for 2"),
        ("(numbers)\n    ### END SOLUTION\n", "(numbers)\n", "an answer stands between"),
        ("    ### BEGIN SOLUTION\n", "", "an answer stands between"),
        ("with exercise.check(2):", "### BEGIN SOLUTION\n### END SOLUTION\nwith exercise.check(2):", "only there"),
        ("def mean(numbers):", "def mean(numbers:", "is not Python"),
    ],
)  # fmt: skip
def test_a_source_that_would_make_a_wrong_exercise_is_refused(tmp_path, old, new, words):
    root = tiny_course(tmp_path)
    rewrite(parts(SLUG, root)["solution source"], old, new)
    with pytest.raises(UsageError, match=words):
        generate(SLUG, "exercise", root)


def test_a_file_that_is_no_notebook_is_named(course):
    parts(SLUG, course)["lesson"].write_text("not json")
    with pytest.raises(UsageError, match=r"01_averages.ipynb is not a notebook"):
        build(SLUG, "lesson", course)


def test_a_lesson_without_exercise_makes_one_notebook(course):
    assert kinds(SLUG, course) == list(KINDS)
    parts(SLUG, course)["solution source"].unlink()
    assert kinds(SLUG, course) == ["lesson"]


def test_writing_the_same_text_leaves_the_file_alone(course):
    path = parts(SLUG, course)["lesson"]
    assert write(path, read(path)) == "unchanged"


def test_what_is_tagged_is_folded_in_every_front_end(course):
    rewrite(parts(SLUG, course)["lesson source"], "# %%\nobject()", '# %% tags=["folded", "answer"]\nobject()')
    set_up, folded = (generate(SLUG, "lesson", course).cells[k] for k in (1, 3))
    assert set_up.metadata["jupyter"] == {"source_hidden": True} and set_up.metadata["cellView"] == "form"
    assert folded.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}
    assert folded.metadata["collapsed"] and folded.source.startswith("# @title ")  # Colab folds what has a title
