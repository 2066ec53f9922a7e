"""Every way in which submissions come: the student, her identifier and her notebook are found in each."""

import io
import json
import time
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from course_lib.exercises import UsageError
from course_lib.grading.archives import Allowance
from course_lib.grading.cells import Unreadable, cells_of
from course_lib.grading.identity import who_of
from course_lib.grading.submissions import MAX_NOTEBOOKS, Submission, find_submissions, read_download
from tests.grading.small import RIGHT, SLUG, another_lesson, answered, code_cell, notebook, small_course, task_cell

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
    assert [(one.student, bool(one.problem)) for one in found] == [("ana", False), ("ben", True), ("eve", True)]


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


# Whose work it is: the outermost name alone


@pytest.mark.parametrize(
    "inner",
    ["turingalan_1912_98_07_small.ipynb", "Alan Turing_12_assignsubmission_file_/a.ipynb", "turingalan/a.ipynb"],
)
@pytest.mark.parametrize("outer", ["lovelaceada_1815_99_work.zip", "ada.zip", "Ada_5_assignsubmission_file_/x.zip"])
def test_no_name_inside_a_student_s_zip_decides(tmp_path, outer, inner):
    lay_out(tmp_path, "turingalan_1912_97_07_small.ipynb")
    (tmp_path / outer).parent.mkdir(exist_ok=True)
    (tmp_path / outer).write_bytes(zipped(inner))
    found = {one.student: one for one in find_submissions(tmp_path, SLUG)}
    assert len(found) == 2 and found["turingalan"].file == "turingalan_1912_97_07_small.ipynb"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lovelaceada_1815_99_turingalan_1912_98_x.ipynb", ("lovelaceada", "1815")),
        ("lovelaceada_1815_99_Alan_12_assignsubmission_file_.ipynb", ("lovelaceada", "1815")),
        ("lovelaceada_1815_99_ben_2026_11_21T10_20_30_123456.zip", ("lovelaceada", "1815")),
        ("ben_2026_11_21T10_20_30_123456.zip", ("ben", "")),
        ("Ada Lovelace_1815_assignsubmission_file_turingalan_1912_98_x.ipynb", ("Ada Lovelace", "1815")),
        ("Ada Lovelace_1815_assignsubmission_file", ("Ada Lovelace", "1815")),
        ("Participant_77_assignsubmission_file_", ("Participant 77", "77")),
        ("anon_aB3dE_99_x.ipynb", ("anon aB3dE", "aB3dE")),
        ("LATE_anon_aB3dE_99_x.ipynb", ("anon aB3dE", "aB3dE")),
        ("lovelaceada_1815_text.html", ("lovelaceada", "1815")),
        ("ada_07_small.ipynb", ("ada", "")),
        ("j.smith.ipynb", ("j.smith", "")),
        ("ada.ipynb.txt", ("ada", "")),
    ],
)
def test_the_leftmost_mark_of_a_name_decides(name, expected):
    found = who_of(name, [SLUG])
    assert (found.student, found.id) == expected


BARE = ("07_small.ipynb", "07_small (1).ipynb", "07_small-Copy1.ipynb", "Copy of 07_small.ipynb")


@pytest.mark.parametrize("bare", BARE)
def test_among_people_the_exercise_s_own_name_is_nobody(tmp_path, bare):
    root = small_course(tmp_path / "course")
    lay_out(tmp_path / "in", "ada.ipynb", "07_small_1815.ipynb", "ben/07_small.ipynb", bare)
    problems = {one.file: one.problem for one in find_submissions(tmp_path / "in", SLUG, root)}
    assert len(problems) == 4 and "whose this is" in problems.pop(bare) and not any(problems.values())


def test_the_exercise_s_own_name_is_enough_for_a_notebook_alone(tmp_path):
    root = small_course(tmp_path / "course")
    (found,) = find_submissions(lay_out(tmp_path / "in", "07_small.ipynb") / "07_small.ipynb", SLUG, root)
    assert not found.problem


@pytest.mark.parametrize("data", [zipped("[Content_Types].xml", "word/document.xml"), b"PK\3\4 damaged"])
@pytest.mark.parametrize("name", ["work.docx", "work.ODT"])
def test_a_document_is_called_one_though_it_is_a_zip(tmp_path, data, name):
    folder = tmp_path / "Ada_5_assignsubmission_file_"
    folder.mkdir()
    (folder / name).write_bytes(data)
    (found,) = find_submissions(tmp_path, SLUG)
    assert found.problem.startswith(f"{name} is a document, no notebook; hand in the .ipynb")


def test_a_damaged_zip_is_named_itself_not_its_folder(tmp_path):
    folder = tmp_path / "Ada_5_assignsubmission_file_"
    folder.mkdir()
    (folder / "work.zip").write_bytes(b"PK\3\4 damaged")
    (found,) = find_submissions(tmp_path, SLUG)
    assert found.problem.startswith("work.zip: the zip is damaged")


def test_two_sources_for_one_student_are_an_error_that_lists_both(tmp_path):
    lay_out(tmp_path, "ana.ipynb", "Ana.zip", "ben.ipynb")
    ana, ben = sorted(find_submissions(tmp_path, SLUG), key=lambda one: one.student.lower())
    assert not ben.problem and ana.found is None
    assert "ana.ipynb" in ana.problem and "Ana.zip" in ana.problem and "keep the one that counts" in ana.problem


def test_one_identifier_with_two_names_is_an_error_that_lists_both(tmp_path):
    lay_out(tmp_path, "lovelaceada_1815_99_a.ipynb", "turingalan_1815_98_a.ipynb")
    (found,) = find_submissions(tmp_path, SLUG)
    assert "lovelaceada" in found.problem and "turingalan" in found.problem


def test_whoever_handed_in_anything_has_a_row_with_the_reason(tmp_path):
    others = {"b_2_12_work.html": b"<html>", "c_3_13_a.pdf": b"%PDF", "d_4_14_a.md": b"#", "e_5_15_text.html": b"x"}
    others |= {
        "f_6_16_a.txt": b"words",
        "g_7_17_empty.zip": zipped(),
        "h_8_18_none.ipynb": b"",
        "i_9_19_a.rar": b"Rar!",
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    right = {"j_1_11_a.ipynb.txt", "k_1_21_a.ipynb.json", "l_1_31_a.json", "m_1_41_homework"}
    for number, name in enumerate(sorted(right)):
        (tmp_path / name.replace("_1_", f"_{90 + number}_")).write_bytes(answered())
    found = {one.student: one for one in find_submissions(tmp_path, SLUG)}
    assert len(found) == 12
    assert all(found[name].found for name in "hjklm") and all("hand in" in found[name].problem for name in "bcdefgi")


def test_a_group_on_gradescope_has_a_row_each(tmp_path):
    lay_out(tmp_path, "submission_77/a.ipynb", "submission_78/a.ipynb")
    (tmp_path / "submission_metadata.yml").write_text(
        "submission_77:\n  :submitters:\n  - :name: Ada\n    :sid: '5'\n    :email: ada@x.org\n"
        "  - :name: Bo\n    :sid: '6'\n    :email: bo@x.org\n  :created_at: 2026-11-20 10:00:00.123456789 Z\n"
        "submission_78:\n  :submitters:\n  - :name: Cy\n    :sid: '7'\n    :email: cy@x.org\n"
    )
    found = find_submissions(tmp_path, SLUG)
    assert who(found) == [("ada@x.org", "5"), ("bo@x.org", "6"), ("cy@x.org", "7")]
    assert found[0].time == datetime(2026, 11, 20, 10, tzinfo=UTC).timestamp() + 0.123456


# Folders of a class


@pytest.mark.parametrize(
    "names",
    [
        ["up/ann.ipynb", "up/bob.ipynb", "up/cy.ipynb"],
        ["up/ann/07_small.ipynb", "up/bob/07_small.ipynb", "up/cy/07_small.ipynb"],
        ["submissions/ann.ipynb", "submissions/bob.ipynb", "submissions/cy.ipynb"],
        ["week 1/deep/ann/a.ipynb", "week 1/deep/bob/a.ipynb", "week 1/deep/cy/a.ipynb"],
        ["07_small/ann.ipynb", "07_small/bob.ipynb", "hw2/cy/a.ipynb"],
    ],
)
@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_a_folder_too_high_is_understood(tmp_path, names, as_zip):
    place = tmp_path / "in"
    if as_zip:
        place = tmp_path / "in.zip"
        place.write_bytes(zipped(*names))
    else:
        lay_out(place, *names)
    root = small_course(tmp_path / "course")
    assert [one.student for one in find_submissions(place, SLUG, root)] == ["ann", "bob", "cy"]


@pytest.mark.parametrize(
    "names",
    [
        ["ana/07_small.ipynb", "ana/untitled.ipynb"],
        ["ana/draft/07_small.ipynb", "ana/final/07_small.ipynb"],
        ["ana/work/07_small.ipynb"],
        ["ana/07_small (1).ipynb", "ana/07_small (2).ipynb"],
    ],
)
def test_one_student_s_folder_is_no_class(tmp_path, names):
    assert [one.student for one in find_submissions(lay_out(tmp_path, *names), SLUG)] == ["ana"]


def test_a_zip_that_looks_like_a_class_among_students_is_named_and_graded_for_nobody(tmp_path):
    lay_out(tmp_path, "ann.ipynb")
    (tmp_path / "eve.zip").write_bytes(
        zipped("bo_7_assignsubmission_file_/a.ipynb", "cy_8_assignsubmission_file_/a.ipynb")
    )
    ann, eve = find_submissions(tmp_path, SLUG)
    assert (ann.student, ann.problem) == ("ann", "") and "several people" in eve.problem


def test_downloaded_zips_on_one_shelf_are_opened(tmp_path):
    (tmp_path / "submissions.zip").write_bytes(zipped("lovelaceada_1815_99_a.ipynb"))
    (tmp_path / "submissions (1).zip").write_bytes(zipped("turingalan_1912_98_a.ipynb", "x.ipynb"))
    assert [one.student for one in find_submissions(tmp_path, SLUG)] == ["lovelaceada", "turingalan", "x"]


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_moodle_s_download_among_others_is_opened(tmp_path, as_zip):
    names = ["Bo_7_assignsubmission_file_/a.ipynb", "Cy_8_assignsubmission_file_/a.ipynb"]
    lay_out(tmp_path, "ann.ipynb", "ada-lovelace-1815/07_small.ipynb")
    if as_zip:
        (tmp_path / "VIS26-Exercise 3-4711.zip").write_bytes(zipped(*names))
    else:
        lay_out(tmp_path, *(f"VIS26-Exercise 3-4711/{name}" for name in names))
    (tmp_path / "jo-li-5.zip").write_bytes(zipped(names[0]))
    found = find_submissions(tmp_path, SLUG)
    assert [one.student for one in found] == ["Bo", "Cy", "ada-lovelace-1815", "ann", "jo-li-5"]


def test_students_with_numbers_are_no_lessons(tmp_path):
    root = small_course(tmp_path / "course")
    found = find_submissions(lay_out(tmp_path / "in", "07/07_small.ipynb", "12/07_small.ipynb"), SLUG, root)
    assert [one.student for one in found] == ["07", "12"]


# Several downloads


def of_other(data: bytes) -> bytes:
    return data.replace(b"task_07", b"task_08")


@pytest.fixture
def two_downloads(tmp_path):
    """Of lesson 07 and of lesson 08, three students in each; a function that reads both, by lesson and student."""
    root, place = another_lesson(small_course(tmp_path / "course")), tmp_path / "in"
    for name, number in (("ana", 1), ("ben", 2), ("cy", 3)):
        lay_out(
            place,
            f"submissions/{name}_{number}_7{number}_a.ipynb",
            f"submissions (1)/{name}_{number}_8{number}_a.ipynb",
        )
    for path in (place / "submissions (1)").iterdir():
        path.write_bytes(of_other(answered()))

    def read() -> dict[str, dict]:
        lessons = read_download(place, root=root).lessons
        return {slug: {one.student: one for one in found} for slug, found in lessons.items()}

    return place, read


def test_lateness_and_upload_names_are_those_of_the_lesson(two_downloads):
    place, read = two_downloads
    (place / "submissions (1)/ben_2_82_a.ipynb").rename(place / "submissions (1)/ben_LATE_2_82_a.ipynb")
    small, other = read().values()
    assert (small["ben"].late, small["ben"].upload) == (False, "ben_2_72_")
    assert (other["ben"].late, other["ben"].upload) == (True, "ben_LATE_2_82_")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.pdf", b"%PDF", "no notebook among"),
        ("08_other.html", b"<html>", "no notebook among"),
        ("a.zip", zipped(), "no file in it"),
    ],
)
def test_who_handed_in_something_else_for_one_lesson_is_told_so_there(two_downloads, name, data, words):
    place, read = two_downloads
    (place / "submissions/ben_2_72_a.ipynb").unlink()
    (place / f"submissions/ben_2_72_{name}").write_bytes(data)
    small, other = read().values()
    assert words in small["ben"].problem and not other["ben"].problem


def test_the_wrong_exercise_is_told_where_it_was_handed_in_and_the_right_one_counts(two_downloads):
    place, read = two_downloads
    (place / "submissions/ben_2_72_a.ipynb").write_bytes(of_other(answered()) + b" ")
    small, other = read().values()
    assert small["ben"].file == "submissions/ben_2_72_a.ipynb"  # graded, it says which exercise it is
    assert other["ben"].file == "submissions (1)/ben_2_82_a.ipynb" and not other["ben"].problem


def test_who_hands_in_everything_each_time_is_read_where_it_was_due(two_downloads):
    place, read = two_downloads
    for shelf, number in (("submissions", 72), ("submissions (1)", 82)):
        (place / f"{shelf}/ben_2_{number}_a.ipynb").unlink()
        with zipfile.ZipFile(place / f"{shelf}/ben_2_{number}_all.zip", "w") as archive:
            archive.writestr("07.ipynb", answered())
            archive.writestr("08.ipynb", of_other(answered()))
    small, other = read().values()
    assert (small["ben"].file, small["ben"].problem) == ("submissions/ben_2_72_all.zip/07.ipynb", "")
    assert (other["ben"].file, other["ben"].problem) == ("submissions (1)/ben_2_82_all.zip/08.ipynb", "")


def test_a_picture_beside_a_notebook_is_no_submission_of_the_other_lesson(tmp_path):
    root = another_lesson(small_course(tmp_path / "course"))
    lay_out(tmp_path / "in", "ana_1_71_a.ipynb", "ben_2_72_a.ipynb", "ben_2_73_screen.png")
    (tmp_path / "in/ana_1_81_b.ipynb").write_bytes(of_other(answered()))
    lessons = read_download(tmp_path / "in", root=root).lessons
    assert {slug: [one.student for one in found] for slug, found in lessons.items()} == {
        SLUG: ["ana", "ben"],
        "08_other": ["ana"],
    }


def test_of_one_download_most_say_what_a_file_without_a_notebook_is_for(two_downloads):
    place, _ = two_downloads
    (place / "submissions/ben_2_72_a.ipynb").unlink()
    (place / "submissions/ben_2_72_a.pdf").write_bytes(b"%PDF")
    (place / "submissions/cy_3_83_b.ipynb").write_bytes(of_other(answered()))
    lay_out(place, "submissions/di_4_74_a.ipynb")
    lessons = read_download(place / "submissions", root=place.parent / "course").lessons
    assert [[one.student for one in found] for found in lessons.values()] == [["ana", "ben", "cy", "di"], ["cy"]]


def test_nbgrader_notes_a_time_for_each_assignment(tmp_path):
    root = another_lesson(small_course(tmp_path / "course"))
    for slug, day, data in ((SLUG, 20, answered()), ("08_other", 27, of_other(answered()))):
        folder = tmp_path / f"in/submitted/ana/{slug}"
        folder.mkdir(parents=True)
        (folder / f"{slug}.ipynb").write_bytes(data)
        (folder / "timestamp.txt").write_text(f"2026-11-{day} 12:00:00.000000 UTC")
    lessons = read_download(tmp_path / "in", root=root).lessons
    assert [datetime.fromtimestamp(found[0].time, UTC).day for found in lessons.values()] == [20, 27]
    assert lessons[SLUG][0].clock == "nbgrader"


# Which of several notebooks


def stub() -> bytes:
    cells = [
        task_cell(number, f'raise NotImplementedError("task_07_{number} is yours to write")') for number in RIGHT
    ]
    return json.dumps(notebook(cells)).encode()


@pytest.mark.parametrize(
    "names", [("07_small-3.ipynb", "Untitled.ipynb"), ("a.ipynb", "z.ipynb"), ("z.py", "a.ipynb.txt")]
)
def test_of_two_notebooks_the_one_that_was_worked_on_counts(tmp_path, names):
    empty, worked = names
    (tmp_path / "ana").mkdir()
    (tmp_path / "ana" / empty).write_bytes(stub() if empty.endswith("ipynb") else b"x = 1")
    (tmp_path / "ana" / worked).write_bytes(answered())
    (found,) = find_submissions(tmp_path, SLUG)
    assert found.file == f"ana/{worked}" and empty in found.notes[0]


def test_a_zip_of_the_whole_course_counts_for_the_lessons_that_were_worked_on(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("course/exercises/07_small.ipynb", answered())
        archive.writestr("course/exercises/08_other.ipynb", stub().replace(b"task_07", b"task_08"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ana.zip").write_bytes(out.getvalue())
    root = another_lesson(small_course(tmp_path / "course"))
    assert list(read_download(tmp_path / "in", root=root).lessons) == [SLUG]


def as_script(changes: dict[int, str] | None = None) -> bytes:
    """A script that has lost the names of its cells, as Colab saves it; by default it is solved."""
    text = ['exercise = Exercise("07_small", points=[2, 1, 3, 1])', *(RIGHT | (changes or {})).values()]
    return "\n\n".join(text).encode()


def test_a_script_without_names_was_worked_on_when_an_answer_was_written(tmp_path):
    root = another_lesson(small_course(tmp_path / "course"))
    untouched = {k: f'raise NotImplementedError("task_07_{k} is yours to write")' for k in RIGHT}
    one_left = {k: text for k, text in untouched.items() if k > 1}
    files = {
        "ana.py": as_script(),
        "ben.py": as_script(one_left),
        "cy.py": as_script(untouched).replace(b"07", b"08"),
    }
    (tmp_path / "in").mkdir()
    for name, data in files.items():
        (tmp_path / "in" / name).write_bytes(data.replace(b"08_small", b"08_other"))
    assert list(read_download(tmp_path / "in", root=root).lessons) == [SLUG]
    (tmp_path / "in/ana.py").unlink()
    assert list(read_download(tmp_path / "in", root=root).lessons) == [SLUG]


def test_of_a_download_of_several_lessons_one_is_chosen_and_the_others_are_counted(tmp_path):
    root, folder = (
        another_lesson(small_course(tmp_path / "course")),
        lay_out(tmp_path / "in", "ana/07.ipynb", "ben.ipynb"),
    )
    for name in ("ana/08.ipynb", "cy.ipynb"):
        (folder / name).write_bytes(answered().replace(b"task_07", b"task_08"))
    (folder / "di.pdf").write_bytes(b"%PDF")
    found = read_download(folder, SLUG, root)
    assert who(found.lessons[SLUG]) == [("ana", ""), ("ben", ""), ("di", "")]
    assert found.notes == ["2 submissions of other lessons (08_other) left out, because of --lesson 07"]
    assert not read_download(folder, root=root).notes


def test_where_nobody_handed_in_the_lesson_everybody_is_told_so(tmp_path):
    root = another_lesson(small_course(tmp_path / "course"))
    found = read_download(lay_out(tmp_path / "in", "ana.ipynb", "ben.ipynb"), "08_other", root)
    assert who(found.lessons["08_other"]) == [("ana", ""), ("ben", "")] and not found.notes


# What one student's zip may cost


def test_a_zip_of_many_files_costs_its_student_the_row_and_nobody_a_second(tmp_path):
    (tmp_path / "ana.zip").write_bytes(zipped(*(f"{k}.txt" for k in range(Allowance.files + 1))))
    (tmp_path / "bob.zip").write_bytes(zipped(*(f"{k}.ipynb" for k in range(MAX_NOTEBOOKS + 1))))
    lay_out(tmp_path, "cy.ipynb")
    start = time.thread_time()
    ana, bob, cy = find_submissions(tmp_path, SLUG)
    assert "2000 files" in ana.problem and "100 notebooks" in bob.problem and not cy.problem
    assert time.thread_time() - start < 2


def test_a_long_table_of_contents_is_refused_before_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "ana.zip").write_bytes(zipped(*(f"{k}.txt" for k in range(50))))
    monkeypatch.setattr(Allowance, "table", 1000)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    (found,) = find_submissions(tmp_path, SLUG)
    assert "files in a zip" in found.problem


def test_bytes_and_seconds_are_counted_over_zips_in_zips(tmp_path, monkeypatch):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as zeros:
                zeros.writestr("zeros.bin", bytes(1 << 20))
            archive.writestr(f"{number}.zip", inner.getvalue())
    (tmp_path / "ana.zip").write_bytes(out.getvalue())
    monkeypatch.setattr(Allowance, "size", 2 << 20)
    (found,) = find_submissions(tmp_path, SLUG)
    assert "2 MB" in found.problem
    monkeypatch.setattr(Allowance, "seconds", -1.0)
    (found,) = find_submissions(tmp_path, SLUG)
    assert "took more than" in found.problem


def test_names_that_no_terminal_can_print_are_made_harmless(tmp_path):
    (
        tmp_path / "ana\x1b[2J\udcff.ipynb".encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    ).write_bytes(answered())
    (found,) = find_submissions(tmp_path, SLUG)
    assert found.student.isprintable() and found.student.startswith("ana") and found.read() == answered()


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
