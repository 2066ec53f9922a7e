"""Every way in which submissions come: the student, her identifier and her notebook are found in each."""

import io
import json
import zipfile
from pathlib import Path

import pytest

from course_lib.exercises import UsageError
from course_lib.grading.cells import Unreadable, cells_of
from course_lib.grading.submissions import Submission, find_submissions
from tests.grading.small import RIGHT, SLUG, answered, code_cell, notebook, task_cell

OTTER = Path(__file__).with_name("otter")


def lay_out(folder: Path, *names: str) -> Path:
    """A right notebook under each name that ends as one, a zip with one under each that ends in .zip."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zipped(path.stem + ".ipynb") if name.endswith(".zip") else answered())
    return folder


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, answered())
    return out.getvalue()


def who(found: list[Submission]) -> list[tuple[str, str]]:
    return [(one.student, one.id) for one in found]


@pytest.mark.parametrize(
    ("names", "expected"),
    {
        "plain": (["ana.ipynb", "ben.py"], [("ana", ""), ("ben", "")]),
        "folders": (["ana/07_small.ipynb", "ben/my work.ipynb"], [("ana", ""), ("ben", "")]),
        "nbgrader": (
            ["submitted/ana/07_small/07_small.ipynb", "submitted/ben/07_small/07_small.ipynb", "source/x.ipynb"],
            [("ana", ""), ("ben", "")],
        ),
        "canvas": (
            ["lovelaceada_1815_99_07_small.ipynb", "turingalan_LATE_1912_98_07_small-2.ipynb"],
            [("lovelaceada", "1815"), ("turingalan", "1912")],
        ),
        "moodle": (
            [
                "Ada Lovelace_1815_assignsubmission_file_/07_small.ipynb",
                "Alan Turing_12_assignsubmission_file/a.ipynb",
            ],
            [("Ada Lovelace", "1815"), ("Alan Turing", "12")],
        ),
        "zips": (["ana.zip", "ben_2026_11_21T10_20_30_123456.zip"], [("ana", ""), ("ben", "")]),
        "zips in canvas": (["lovelaceada_1815_99_work.zip"], [("lovelaceada", "1815")]),
        "zips in moodle": (["Ada Lovelace_1815_assignsubmission_file_/work.zip"], [("Ada Lovelace", "1815")]),
    }.values(),
)
def test_each_platform_s_names_are_read(tmp_path, names, expected):
    found = find_submissions(lay_out(tmp_path, *names), SLUG)
    assert who(found) == expected
    assert all(
        not one.problem and len(cells_of(one.found.read(), one.file)) == 4 for one in found if one.student != "ben"
    )


def test_a_downloaded_zip_is_read_like_its_folder(tmp_path):
    path = tmp_path / "submissions.zip"
    path.write_bytes(
        zipped("lovelaceada_1815_99_07_small.ipynb", "Bo_7_assignsubmission_file_/w.ipynb", "__MACOSX/._x.ipynb")
    )
    assert who(find_submissions(path, SLUG)) == [("Bo", "7"), ("lovelaceada", "1815")]


def test_a_gradescope_container_names_the_student(tmp_path):
    lay_out(tmp_path, "submission/07_small.ipynb")
    users = [{"id": 5, "name": "Ada Lovelace", "email": "ada@example.org"}]
    (tmp_path / "submission_metadata.json").write_text(json.dumps({"id": 1, "users": users}))
    assert who(find_submissions(tmp_path / "submission", SLUG)) == [("ada@example.org", "5")]


def test_a_notebook_that_real_otter_exported_is_read():
    """Made by otter-grader 7.0.0: ``otter assign``, then ``grader.export()`` in the student's notebook."""
    (found,) = find_submissions(OTTER, SLUG)
    cells = cells_of(found.found.read(), found.file)
    assert found.student == "small" and "def mean(x):" in "".join(cell.source for cell in cells)


def test_the_notebook_of_the_lesson_is_chosen_and_the_latest(tmp_path):
    lay_out(tmp_path, "ana/07_small.ipynb", "ana/07_small-1.ipynb")
    other = json.dumps(notebook([{**code_cell("x = 1"), "metadata": {"tags": ["task_03_1"]}}]))
    (tmp_path / "ana/03_other-9.ipynb").write_text(other)
    (found,) = find_submissions(tmp_path, SLUG)
    assert found.file == "ana/07_small-1.ipynb" and "07_small.ipynb" in found.notes[0]


def test_a_student_without_a_notebook_is_listed(tmp_path):
    lay_out(tmp_path, "ana.ipynb")
    (tmp_path / "ben").mkdir()
    (tmp_path / "eve.docx").write_bytes(b"words")
    found = find_submissions(tmp_path, SLUG)
    assert [(one.student, bool(one.problem)) for one in found] == [("ana", False), ("ben", True), ("eve.docx", True)]


def test_what_is_no_submission_is_left_alone(tmp_path):
    lay_out(tmp_path, "ana.ipynb", ".ipynb_checkpoints/ana-checkpoint.ipynb", "ana_files/.ipynb_checkpoints/b.ipynb")
    (tmp_path / "roster.csv").write_text("a,b")
    assert [one.student for one in find_submissions(tmp_path, SLUG) if not one.problem] == ["ana"]


def test_a_link_to_another_s_work_is_not_followed(tmp_path):
    lay_out(tmp_path, "ana/07_small.ipynb")
    (tmp_path / "eve").symlink_to(tmp_path / "ana")
    assert [one.student for one in find_submissions(tmp_path, SLUG)] == ["ana"]


def test_nothing_to_grade_says_what_to_give(tmp_path):
    with pytest.raises(UsageError, match="give a folder"):
        find_submissions(tmp_path, SLUG)
    with pytest.raises(UsageError, match="does not exist"):
        find_submissions(tmp_path / "nowhere", SLUG)


# One notebook


def test_cells_are_named_by_nbgrader_s_metadata_or_by_tags():
    tagged = {**code_cell("b"), "metadata": {"tags": ["x", "task_07_2"]}}
    cells = cells_of(json.dumps(notebook([task_cell(1, "a"), tagged, code_cell("c")])).encode(), "a.ipynb")
    assert [(cell.name, cell.source) for cell in cells] == [("task_07_1", "a"), ("task_07_2", "b"), ("", "c")]


def test_a_text_notebook_gives_its_code_cells():
    text = '# ---\n# jupyter:\n# ---\n# %% [markdown]\n# words\n# %% tags=["task_07_2"]\n' + RIGHT[2] + "# %%\n\n"
    (cell,) = [cell for cell in cells_of(text.encode(), "a.py") if cell.name]
    assert cell.name == "task_07_2" and cell.source.strip() == RIGHT[2].strip()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"{", "damaged"),
        (b"[]", "no notebook"),
        (b"{}", "no cells"),
        (b'{"a": "\n<<<<<<< x\n', "conflict"),
    ],
)
def test_an_unreadable_file_names_the_reason_and_the_cure(data, words):
    with pytest.raises(Unreadable, match=words) as error:
        cells_of(data, "a.ipynb")
    assert "hand in" in str(error.value)
