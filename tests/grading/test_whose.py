"""Which row the instructor means: by any spelling of a name, by any identifier, and never by chance."""

from dataclasses import replace

import pytest

from course_lib.cli import main
from course_lib.exercises import UsageError
from course_lib.grading.marks import Marks, Record, TaskInfo, TaskMark, lessons_from_json, marks_to_json
from course_lib.grading.whose import row_of

PEOPLE = (  # name and id on the roster; who it is in the lesson from Canvas; in the other, with the id there
    ("May, Karl", "1168", "Canvas 1168", "karl may", "1168"),
    ("Lovelace, Ada", "1815", "Canvas 1815", "ada lovelace", "1815"),
    ("Aabye, Søren", "1070", "Canvas 1070", "Moodle 70", "70"),
    ("Li, Jo", "1028", "Canvas 1028", "Moodle 77", "77"),
    ("Li, Jo", "1035", "Canvas 1035", "Moodle 78", "78"),
)


def lesson(slug: str, rows: list[tuple[str, str, str, str]]) -> Marks:
    """The marks of a lesson, from name, id, who, and the roster's key of each row."""
    task = f"task_{slug[:2]}_1"
    records = [
        Record(name, number, f"{who}.ipynb", (TaskMark(task, 2, 0),), who=who, person=person)
        for name, number, who, person in rows
    ]
    return Marks(slug, (TaskInfo(task, "Softmax", 2),), tuple(records))


CLASS = (
    lesson("07_small", [(name, number, who, number) for name, number, who, _, _ in PEOPLE]),
    lesson("08_other", [(name, number, who, key) for name, key, _, who, number in PEOPLE]),
)
NO_ROSTER = (
    lesson("07_small", [("maykarl", "1168", "Canvas 1168", ""), ("jo li", "1", "Canvas 1", "")]),
    lesson("08_other", [("Karl May", "", "karl may", ""), ("Jo Li", "2", "Canvas 2", "")]),
)
CLASHING = (  # the same number, from two platforms
    lesson("07_small", [("Ada", "1000", "Canvas 1000", "a")]),
    lesson("08_other", [("Ada", "70", "Moodle 70", "a"), ("Bo", "1000", "Moodle 1000", "b")]),
)
TWICE = (lesson("07_small", [("Ada", "1", "Canvas 1", "1"), ("Ada", "1", "ada", "1")]),)


@pytest.mark.parametrize("lessons", [CLASS, NO_ROSTER])
@pytest.mark.parametrize("student", ["Karl May", "May, Karl", "1168", "karl  MAY"])
def test_no_spelling_chooses_the_lesson(lessons, student):
    with pytest.raises(UsageError, match="has rows in 07, 08; add --lesson"):
        row_of(lessons, student, None)
    assert [row_of(lessons, student, one)[0].slug for one in ("07", "other")] == ["07_small", "08_other"]


@pytest.mark.parametrize(
    ("student", "person"),
    [
        *[(one, "1815") for one in ("Ada Lovelace", "LOVELACE, ADA", "lovelace ada", "canvas 1815", "1815")],
        *[(one, "1070") for one in ("Soren Aabye", "aabye, søren", "70", "1070", "Participant 70")],
        *[(one, "1028") for one in ("1028", "77", "Moodle 77")],
    ],
)
def test_every_spelling_and_every_id_finds_her_in_each_lesson(student, person):
    assert {row_of(CLASS, student, one)[1].person for one in ("07", "08")} == {person}


@pytest.mark.parametrize(
    ("lessons", "student", "lesson", "words", "never"),
    [
        (CLASS, "Jo Li", "07", "give the id", "--lesson"),
        (CLASS, "Jo Li", None, "give the id and add --lesson", "again"),
        (CLASS, "1028", None, "add --lesson", "the id"),
        (CLASS, "Karl Mai", None, "the nearest are May, Karl", "--lesson"),
        (CLASS, "Lovlace", None, "the nearest are Lovelace, Ada", "--lesson"),
        (CLASS, "1071", "08", "the nearest are Aabye, Søren", "--lesson"),
        (CLASS, "1028", "05", "lesson 05 is not graded here; there are 07, 08", "add"),
        (CLASHING, "1000", "08", "give the name as it stands here", "the id"),
        (TWICE, "ada", "07", "keep one of the files", "--lesson"),
        (NO_ROSTER, "1", "08", "jo li has no row in 08; there are some in 07", "add"),
    ],
)
def test_advice_is_what_was_not_done_yet(lessons, student, lesson, words, never):
    with pytest.raises(UsageError) as refused:
        row_of(lessons, student, lesson)
    assert words in str(refused.value) and never not in str(refused.value)


@pytest.mark.parametrize("field", ["participant", "sis", "login"])
def test_what_the_roster_alone_knows_of_her_finds_her_too(field):
    first, *others = CLASS[0].records
    known = replace(CLASS[0], records=(replace(first, **{field: "S-4711"}), *others))
    assert row_of((known, CLASS[1]), "s-4711", "08")[1].student == "May, Karl"


def test_a_name_in_each_order_may_be_two_people():
    lessons = (lesson("07_small", [("Wei, Li", "1", "Canvas 1", "1"), ("Li, Wei", "2", "Canvas 2", "2")]),)
    assert [row_of(lessons, one, None)[1].id for one in ("Wei, Li", "li, wei")] == ["1", "2"]
    with pytest.raises(UsageError, match="give the id"):
        row_of(lessons, "Li Wei", None)


def test_a_mark_is_taken_back_only_where_it_was_given(tmp_path, capsys):
    (tmp_path / "marks.json").write_text(marks_to_json(*(replace(one, records=one.records[:1]) for one in CLASS)))

    def override(*more: str) -> tuple[int, str, list[str]]:
        status, said = main(["override", str(tmp_path), "Karl May", *more]), capsys.readouterr()
        lessons = lessons_from_json((tmp_path / "marks.json").read_text(encoding="utf-8"))
        return status, said.err, [one.slug for one in lessons if one.records[0].reasons]

    assert override("1", "--task", "1", "--reason", "x")[::2] == (2, [])
    assert override("1", "--task", "08_1", "--reason", "x") == (0, "", ["08_other"])
    for more, words in (
        ([], "add --lesson"),
        (["--lesson", "07"], "no mark by hand for 07_small; there is nothing"),
        (["--lesson", "08"], "no mark by hand for 08_other; there is one for task_08_1"),
        (["--lesson", "07", "--task", "08_1"], "07_small has no task '08_1'"),
    ):
        status, said, given = override("--remove", *more)
        assert status == 2 and words in said and given == ["08_other"]
    assert override("--remove", "--task", "08_1") == (0, "", [])
