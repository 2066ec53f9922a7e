"""Marks in every format: what each platform reads, and nothing that a spreadsheet or a browser would run."""

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import jsonschema
import pytest

from course_lib.cli import main
from course_lib.grading.marks import (
    MISSING,
    Marks,
    Override,
    Record,
    TaskInfo,
    TaskMark,
    marks_from_json,
    marks_to_json,
)
from course_lib.grading.reports import FORMATS, write_report
from course_lib.grading.reports.gradescope import results
from course_lib.grading.reports.pages import described, mistakes, overview_page, page_name
from course_lib.grading.reports.tables import comment, overview, safe

TASKS = (TaskInfo("task_07_1", "Softmax", 2), TaskInfo("task_07_2", "The mean", 1))
SAID, EVIL = "the mean of 1, 2 and 6 is 3", "<script>alert(1)</script>"
WRONG = TaskMark("task_07_2", 1, 0, "wrong", SAID, ("Divide.",), "mean__of_rows", "This is the sum.")
FIRST = TaskMark("task_07_1", 2, 2)
MARKS = Marks(
    "07_small",
    TASKS,
    (
        Record("ada", "1815", "ada.ipynb", (FIRST, TaskMark("task_07_2", 1, 1)), "", (), "bubblewrap"),
        Record("=HYPERLINK(1)", "7", "+b.ipynb", (FIRST, WRONG), "", (EVIL,), "bubblewrap"),
        Record("../../etc/x\x01", "", "c.ipynb", (), "the file is damaged; hand in again"),
    ),
)  # fmt: skip

# From Gradescope's autograder specification: what results.json may hold.
RESULTS = {
    "type": "object",
    "required": ["score", "tests"],
    "additionalProperties": False,
    "properties": {
        "score": {"type": "number"},
        "execution_time": {"type": "number"},
        "output": {"type": "string"},
        "output_format": {"enum": ["text", "html", "simple_format", "md", "ansi"]},
        "test_output_format": {"enum": ["text", "html", "simple_format", "md", "ansi"]},
        "test_name_format": {"enum": ["text", "html", "simple_format", "md", "ansi"]},
        "visibility": {"enum": ["hidden", "after_due_date", "after_published", "visible"]},
        "stdout_visibility": {"enum": ["hidden", "after_due_date", "after_published", "visible"]},
        "extra_data": {"type": "object"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "score": {"type": "number"},
                    "max_score": {"type": "number"},
                    "status": {"enum": ["passed", "failed"]},
                    "name": {"type": "string"},
                    "name_format": {"enum": ["text", "html", "simple_format", "md", "ansi"]},
                    "number": {"type": "string"},
                    "output": {"type": "string"},
                    "output_format": {"enum": ["text", "html", "simple_format", "md", "ansi"]},
                    "tags": {"type": "array"},
                    "visibility": {"enum": ["hidden", "after_due_date", "after_published", "visible"]},
                    "extra_data": {"type": "object"},
                },
            },
        },
    },
}


def rows(name: str) -> list[dict[str, str]]:
    (text,) = FORMATS[name](MARKS).values()
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_the_table_has_a_row_a_submission_and_a_column_a_task():
    table = rows("csv")
    assert [row["earned"] for row in table] == ["3", "2", ""]
    assert [row["task_07_2"] for row in table] == ["1", "0", ""]
    assert table[1]["mistakes"] == "mean__of_rows" and table[2]["problem"].startswith("the file is damaged")


@pytest.mark.parametrize("name", ["csv", "canvas", "moodle", "nbgrader"])
def test_no_cell_is_a_formula(name):
    (text,) = FORMATS[name](MARKS).values()
    for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"))):
        assert not [cell for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert "'=HYPERLINK(1)" in text and text.count('"') > 10


@pytest.mark.parametrize("value", ["=1", "+1", "-1", "@a", "\t=1", "\r=1", " =1", "|x", "%x", "＝1"])
def test_every_start_of_a_formula_is_guarded(value):
    assert safe(value).startswith("'")


def test_canvas_finds_students_by_number_and_no_mark_is_overwritten_by_nothing():
    table = rows("canvas")
    assert table[0]["Student"].strip() == "Points Possible" and table[0]["07_small"] == "3"
    assert [(row["ID"], row["07_small"]) for row in table[1:]] == [("1815", "3"), ("7", "2")]


def moodle_numbers(*records: Record) -> list[str]:
    text = FORMATS["moodle"](replace(MARKS, records=records))["moodle.csv"]
    return [row["Identifier"] for row in csv.DictReader(io.StringIO(text))]


def test_moodle_finds_participants_by_numbers_that_it_gave():
    ada = MARKS.records[0]
    of_moodle, on_roster = replace(ada, who="Moodle 1815"), replace(ada, who="Canvas 5", participant="70004")
    assert moodle_numbers(of_moodle, on_roster, ada) == ["Participant 1815", "Participant 70004", ""]
    assert moodle_numbers(replace(of_moodle, participant="9")) == ["Participant 1815"]  # this download's own counts


def test_canvas_is_given_the_login_of_the_roster_and_no_other_number_as_its_own():
    ada = replace(MARKS.records[0], id="s15", who="ada", sis="15", login="s15")
    text = FORMATS["canvas"](replace(MARKS, records=(ada,)))["canvas.csv"]
    row = list(csv.DictReader(io.StringIO(text)))[-1]
    assert (row["ID"], row["SIS User ID"], row["SIS Login ID"]) == ("", "15", "s15")


def test_no_platform_is_given_the_identifier_of_another():
    records = [replace(MARKS.records[0], student=who, who=who) for who in ("Canvas 1815", "Moodle 1815", "ada")]
    marks = replace(MARKS, records=tuple(records))
    canvas, moodle = FORMATS["canvas"](marks)["canvas.csv"], FORMATS["moodle"](marks)["moodle.csv"]
    assert [row["ID"] for row in csv.DictReader(io.StringIO(canvas))] == ["", "1815", "", "1815"]
    found = [row["Identifier"] for row in csv.DictReader(io.StringIO(moodle))]
    assert found == ["", "Participant 1815", ""]


def test_the_nbgrader_columns_are_those_of_its_exporter(tmp_path):
    from nbgrader.plugins.export import CsvExportPlugin

    CsvExportPlugin(to=str(tmp_path / "grades.csv")).export(SimpleNamespace(assignments=[]))
    header = (tmp_path / "grades.csv").read_text().splitlines()[0].split(",")
    assert list(rows("nbgrader")[0]) == header


def test_gradescope_results_obey_its_specification():
    for text in FORMATS["gradescope"](MARKS).values():
        jsonschema.validate(json.loads(text), RESULTS)
    first, second, problem = map(json.loads, FORMATS["gradescope"](MARKS).values())
    assert (first["score"], second["score"], problem["score"]) == (3, 2, 0)
    assert second["tests"][1]["output"].splitlines() == ["the mean of 1, 2 and 6 is 3", "This is the sum.", "Divide."]


@pytest.mark.parametrize("row", [0, 2])
def test_gradescope_is_told_the_mark_given_by_hand(row):
    said = results(MARKS, replace(MARKS.records[row], override=Override(2.5, "explained it")))
    assert said["score"] == 2.5 and "2.5 of 3 points, given by hand: explained it" in said["output"]


def test_junit_has_a_case_a_task():
    (text,) = FORMATS["junit"](MARKS).values()
    suites = ElementTree.fromstring(text)
    assert [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in suites] == [
        ("2", "0", "0"),
        ("2", "1", "0"),
        ("1", "0", "1"),
    ]
    assert suites[1].find("testcase/failure").get("message") == "the mean of 1, 2 and 6 is 3"


def test_pages_show_what_helps_and_run_nothing(tmp_path):
    pages = FORMATS["html"](MARKS)
    student = next(text for name, text in pages.items() if "HYPERLINK" in name)
    for words in ("2 of 3 points", "the mean of 1, 2 and 6 is 3", "This is the sum.", "Divide."):
        assert words in student
    assert ".venv/bin/course check 07" in student
    assert EVIL not in student and "&lt;script&gt;" in student
    assert all(".." not in name and "\x01" not in name for name in pages)
    for path in write_report(MARKS, "html", tmp_path):
        assert path.resolve().is_relative_to(tmp_path.resolve())


def test_the_summary_names_mistakes_and_what_was_missed():
    text = FORMATS["html"](MARKS)["summary.html"]
    assert mistakes(MARKS) == [("mean__of_rows", "This is the sum.", ["=HYPERLINK(1)"])]
    assert "mean__of_rows" in text and "1 not" in text
    assert "task most missed is task_07_2" in described(MARKS)
    assert described(replace(MARKS, records=MARKS.records[:1])).endswith("the highest 3; nobody missed a task.")


def test_who_asked_for_what_is_not_theirs_is_told_to_the_instructor_alone():
    nosy = replace(MARKS.records[0], asked=("../tests/hidden/<b>",))
    marks = replace(MARKS, records=(nosy, *MARKS.records[1:]))
    pages = FORMATS["html"](marks)
    told = [name for name, text in pages.items() if "tests/hidden" in str(text)]
    assert told == ["summary.html"] and "It was refused" in pages["summary.html"]
    assert "<code>../tests/hidden/&lt;b&gt;</code>" in pages["summary.html"]
    (above,) = overview_page(marks, replace(MARKS, slug="08_other")).values()
    assert re.search(r'href="07_small/students/ada-\w+\.html">ada</a></td>\s*<td>07_small</td>', above)
    assert "asked for ../tests/hidden/<b>" in FORMATS["csv"](marks)["marks.csv"]
    unsafe = replace(marks, records=(replace(nosy, sandbox="unsafe"),))
    assert "look at what it got" in FORMATS["html"](unsafe)["summary.html"]
    assert "Asked for" not in FORMATS["html"](MARKS)["summary.html"]


def test_names_with_a_comma_are_parted_by_a_semicolon():
    similar = (("Babbage, Charles", "Lovelace, Ada"), ("bo", "cy"))
    (page,) = (
        text for name, text in FORMATS["html"](replace(MARKS, similar=similar)).items() if name == "summary.html"
    )
    assert "Babbage, Charles; Lovelace, Ada" in page and "bo, cy" in page


def test_an_unsafe_run_says_so_in_every_page():
    record = Record("ada", "", "a.ipynb", (), "", (), "unsafe")
    pages = FORMATS["html"](Marks("07_small", TASKS, (record,)))
    assert all("without a sandbox" in text for name, text in pages.items() if name.endswith(".html"))
    (table,) = FORMATS["csv"](Marks("07_small", (), (record,))).values()
    assert "unsafe" in table


def test_a_run_without_a_mark_can_be_reported():
    for make in FORMATS.values():
        make(Marks("07_small", TASKS, ()))
        make(replace(MARKS, records=MARKS.records[-1:]))  # whose file is damaged


def test_the_picture_is_the_same_each_time():
    assert FORMATS["html"](MARKS)["distribution.png"] == FORMATS["html"](MARKS)["distribution.png"]


def test_marks_survive_json():
    assert marks_from_json(marks_to_json(MARKS)) == MARKS


@pytest.mark.parametrize("name", FORMATS)
def test_the_report_command_writes_each_format(tmp_path, name, capsys):
    (tmp_path / "marks.json").write_text(marks_to_json(MARKS), encoding="utf-8")
    assert main(["report", str(tmp_path), "--format", name, "--out", str(tmp_path / "there")]) == 0
    assert str(tmp_path / "there") in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"html"}))  # pages have a page that says why
def test_a_row_that_cannot_be_written_is_named_and_costs_no_other(name, capsys):
    bad = replace(MARKS.records[0], student="bad", tasks=(None,))
    assert FORMATS[name](replace(MARKS, records=(bad, *MARKS.records))) == FORMATS[name](MARKS)
    assert "bad is left out of this file" in capsys.readouterr().err


def test_a_row_that_cannot_be_written_costs_no_other_in_the_table_of_several_lessons(capsys):
    bad = replace(MARKS.records[0], student="bad", tasks=(None,))
    more = replace(MARKS, slug="08_other")
    assert overview(replace(MARKS, records=(bad, *MARKS.records)), more) == overview(MARKS, more)
    assert "bad is left out of this file" in capsys.readouterr().err


def test_a_report_without_marks_names_the_cure(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "course grade" in capsys.readouterr().err
    (tmp_path / "marks.json").write_text("{}")
    assert main(["report", str(tmp_path)]) == 2
    assert "damaged" in capsys.readouterr().err


def test_reports_need_nothing_that_only_posix_has(tmp_path):
    """``report`` and ``override`` run on Windows too: what is not there is taken away, then they are imported."""
    gone = "import sys\nfor name in ('fcntl', 'resource', 'termios', 'pwd', 'grp'): sys.modules[name] = None\n"
    modules = "course_lib.cli, course_lib.grading.reports, course_lib.grading.overrides"
    done = subprocess.run([sys.executable, "-c", f"{gone}import {modules}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_cell_holds_nothing_that_cannot_be_seen():
    assert safe("a\x1b[2J\x07b\x00\u202ec") == "a�[2J�b��c" and safe("\u00a0=1").startswith("'")
    assert safe("\u200b=1").startswith("'") and safe("two\nlines") == "two lines"
    assert len(safe("x" * 10**6)) < 10_000


@pytest.mark.parametrize(
    ("name", "start"), [("Éva Nagy", "Eva_Nagy-"), ("José Núñez", "Jose_Nunez-"), ("../x", "x-")]
)
def test_a_page_is_called_as_its_student_without_accents(name, start):
    assert page_name(Record(name, "", "")).startswith(start)


def test_nine_hundred_notes_are_bounded_and_the_page_says_so():
    record = Record("ada", "", "a.ipynb", (FIRST,), "", tuple(f"note {k}" for k in range(900)))
    (page,) = (text for name, text in FORMATS["html"](Marks("07_small", TASKS, (record,))).items() if "ada" in name)
    assert page.count("<li>note") == 20 and "and 880 more" in page


def test_a_syntax_error_leads_the_page_and_its_name_errors_follow_it():
    note = "task_07_2 did not run to its end: line 1 is not Python: def mean(x:"
    follows = TaskMark("task_07_2", 1, 0, "raised", "your code raised NameError: name 'mean' is not defined")
    record = Record("ada", "", "a.ipynb", (FIRST, follows), "", (note,))
    (page,) = (text for name, text in FORMATS["html"](Marks("07_small", TASKS, (record,))).items() if "ada" in name)
    assert page.index("Mend this first") < page.index("def mean(x:") < page.index("NameError")
    assert page.count("def mean(x:") == 1


def test_what_cut_a_cell_short_leads_its_task_without_hints_that_follow():
    cause = "this cell did not run to its end: it did not finish in the time allowed"
    lost = TaskMark("task_07_2", 1, 0, "raised", cause, ("Divide.",))
    marks = Marks("07_small", TASKS, (Record("ada", "", "a.ipynb", (FIRST, lost), who="Moodle 7"),))
    (page,) = (text for name, text in FORMATS["html"](marks).items() if "ada" in name)
    assert cause in page and "Divide." not in page
    assert f"task_07_2: {cause}" in FORMATS["moodle"](marks)["moodle.csv"]


@pytest.mark.parametrize("reason", ["a slip of the pen", "a slip of the pen."])
def test_a_comment_for_moodle_ends_each_sentence_before_the_next(reason):
    missed = (replace(WRONG, task="task_07_1"), replace(WRONG, check="say why"))
    record = replace(MARKS.records[1], tasks=missed, override=Override(2, reason))
    said = comment(record, after_late=False)
    assert said == f"Mark given by hand: a slip of the pen. task_07_1: {SAID}; task_07_2: say why"
    assert comment(MARKS.records[0], after_late=False) == ""


def test_feedback_is_named_as_canvas_and_moodle_find_its_student():
    records = (
        Record("lovelaceada", "1815", "x", (FIRST,), upload="lovelaceada_LATE_1815_99_"),
        Record("Alan Turing", "7", "x", (FIRST,), upload="Alan Turing_7_assignsubmission_file"),
        Record("../x", "", "x", (FIRST,)),
        Record("Nemo", "", "", problem=MISSING),
    )
    (data,) = FORMATS["feedback"](Marks("07_small", TASKS, records)).values()
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    assert names[0] == "lovelaceada_LATE_1815_99_feedback_07_small.html"
    assert names[1] == "Alan Turing_7_assignsubmission_file_feedback_07_small.html"
    assert len(names) == 3 and ".." not in names[2] and "/" not in names[2]


def test_a_row_that_is_not_graded_leads_to_its_page():
    pages = FORMATS["html"](MARKS)
    links = re.findall(r'href="([^"]+)"', pages["summary.html"])
    assert set(links) == {name for name in pages if name.startswith("students/")}


def cells(page: str, heading: str) -> list[list[str]]:
    """The table under a heading, as words."""
    _, _, rest = page.partition(f"<h2>{heading}</h2>")
    rows = re.findall(r"<tr>.*?</tr>", rest.partition("</table>")[0], re.S)
    found = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]
    return [[" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in row] for row in found]


def test_a_mark_by_hand_stands_beside_the_tests_points():
    ada, other, lost = MARKS.records
    tasks = (FIRST, replace(WRONG, given=Override(0.5, "a slip")))
    hers = replace(lost, student="cy", override=Override(2.5, "explained it"))
    marks = replace(MARKS, records=(ada, replace(other, student="bo", tasks=tasks), hers))
    page = FORMATS["html"](marks)["summary.html"]
    assert [row[1:] for row in cells(page, "Submissions")] == [
        ["earned", "by hand", "task_07_1", "task_07_2"],
        ["3", "", "2", "1"],
        ["2", "2.5*", "2", "0 → 0.5*"],
        ["–", "2.5*", "–", "–"],
    ]
    assert "by hand" not in "".join(map(str, cells(FORMATS["html"](MARKS)["summary.html"], "Submissions")))


def test_who_has_a_mark_by_hand_is_not_listed_as_not_graded():
    marks = replace(MARKS, records=(*MARKS.records[:2], replace(MARKS.records[2], override=Override(2.5, "x"))))
    page = FORMATS["html"](marks)["summary.html"]
    assert "not\ngraded" not in page and not cells(page, "Not graded") and "1 marked by hand\nalone" in page
    several = overview_page(marks, replace(MARKS, slug="08_other"))["summary.html"]
    assert [row[1:4] for row in cells(several, "Not graded")[1:]] == [
        ["08_other", "c.ipynb", MARKS.records[2].problem]
    ]
    assert "Not graded by the tests" in "".join(
        text for name, text in FORMATS["html"](marks).items() if "etc" in name
    )
