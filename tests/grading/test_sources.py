"""Several things of one student: one given by itself counts, and a mark by hand is never lost on the way."""

import csv
import re
import zipfile

import pytest

from course_lib.cli import main
from tests.grading.evening import OTHER, hand_in, of_other, rows
from tests.grading.small import SLUG, answered

ROSTER = "name,id\nAda Lovelace,1815\nAlan Turing,1912\n"
CLASS = ("lovelaceada_1815_99_a.ipynb", "turingalan_1912_98_a.ipynb")


def a_download(folder, *names: str, data: bytes | None = None) -> None:
    """A class's zip, which nobody can put another file into."""
    with zipfile.ZipFile(folder / "submissions.zip", "w") as archive:
        for name in names:
            archive.writestr(name, data or answered())


@pytest.fixture(params=["roster", "names"])
def downloaded(request, evening):
    """The evening once a class's zip is graded, with a roster and without."""
    folder, grade = evening
    a_download(folder, *CLASS)
    more = ()
    if request.param == "roster":
        (folder / "roster.csv").write_text(ROSTER)
        more = ("--roster", str(folder / "roster.csv"))
    assert grade(*more, place="submissions.zip") == 0
    return folder, grade


def file_of(folder, number: str = "1815") -> str:
    (found,) = (row["file"] for row in rows(folder).values() if row["id"] == number)
    return found


@pytest.mark.parametrize("name", ["Ada Lovelace.ipynb", "lovelaceada_1815_7_new.ipynb", "lovelaceada.py"])
def test_a_mailed_file_takes_the_place_of_the_one_in_the_zip_until_it_is_moved_away(downloaded, capsys, name):
    folder, grade = downloaded
    data = b"def softmax(x):\n    return x\n" if name.endswith(".py") else None
    hand_in(folder / "mail", name, data=data)
    for place in (f"mail/{name}", "submissions.zip", "submissions.zip"):
        capsys.readouterr()
        assert grade("--lesson", "07", place=place) == 0 and len(rows(folder)) == 2
        assert file_of(folder) == name and file_of(folder, "1912") == CLASS[1]
        said = capsys.readouterr().err
        if place == "submissions.zip" or name.startswith("lovelaceada_") is False:
            assert f"not counted: {CLASS[0]} ({name} was graded by itself); move that file away" in said
    (folder / "mail" / name).unlink()
    for told in (1, 0):
        capsys.readouterr()
        assert grade(place="submissions.zip") == 0 and len(rows(folder)) == 2 and file_of(folder) == CLASS[0]
        said = capsys.readouterr().err
        assert said.count(f"{name} is not where it was graded, so {CLASS[0]} counts; put it back") == told


def test_of_two_sources_in_one_folder_the_one_given_by_itself_counts(evening, capsys):
    folder, grade = evening
    (folder / "roster.csv").write_text(ROSTER)
    a_download(folder / "in", *CLASS)
    hand_in(folder / "in", "Ada Lovelace.ipynb")
    assert grade("--roster", str(folder / "roster.csv")) == 1
    assert "give it by itself: `course grade FILE`" in capsys.readouterr().err
    assert grade(place="in/Ada Lovelace.ipynb") == 0 and grade() == 0
    assert file_of(folder) == "Ada Lovelace.ipynb" and "not counted: submissions.zip/lovel" in capsys.readouterr().err


def test_the_last_of_two_files_given_by_themselves_counts(downloaded):
    folder, grade = downloaded
    for name in ("old/Ada Lovelace.ipynb", "new/lovelace, ada.ipynb"):
        hand_in(folder, name)
        assert grade(place=name) == 0
    assert grade(place="submissions.zip") == 0 and file_of(folder) == "lovelace, ada.ipynb" and len(rows(folder)) == 2


def test_a_file_by_itself_that_cannot_be_graded_leaves_the_other_and_is_told(downloaded, capsys):
    folder, grade = downloaded
    hand_in(folder / "mail", "Ada Lovelace.pdf", data=b"%PDF")
    grade("--lesson", "07", place="mail/Ada Lovelace.pdf")
    assert file_of(folder) == CLASS[0]
    assert "not counted: Ada Lovelace.pdf (no notebook" in capsys.readouterr().err


def test_a_file_by_itself_that_names_nobody_takes_no_place(downloaded, capsys):
    folder, grade = downloaded
    hand_in(folder / "mail", f"{SLUG} (1).ipynb")
    assert grade(place=f"mail/{SLUG} (1).ipynb") == 1
    assert "put the student's name into the file" in capsys.readouterr().err


def test_no_file_name_reaches_the_terminal_as_more_than_text(evening, capsys):
    folder, grade = evening
    hand_in(folder / "in/class", "Ada \x1b[8m Lovelace.ipynb", "Ben.ipynb", "Cy.ipynb")
    assert grade() == 0
    said = capsys.readouterr().err
    assert "\x1b" not in said and "taken for the folder of a class: Ada �[8m Lovelace" in said


def test_a_file_by_itself_with_another_name_is_a_new_row_and_the_cure_is_told(downloaded, capsys):
    folder, grade = downloaded
    hand_in(folder / "mail", "A. Lovelace.ipynb")
    assert grade(place="mail/A. Lovelace.ipynb") == 0 and len(rows(folder)) == 3
    said = capsys.readouterr().err
    assert "is a new row, A. Lovelace" in said and re.search(r"place \((lovelaceada|Ada Lovelace)", said)
    grade(place="mail/A. Lovelace.ipynb")
    assert "is a new row" not in capsys.readouterr().err
    (folder / "mail/A. Lovelace.ipynb").rename(folder / "mail/Ada Lovelace.ipynb")
    grade(place="mail/Ada Lovelace.ipynb")
    listed = (folder / "roster.csv").exists()  # else nothing says that the row of the old name is nobody's
    assert len(rows(folder)) == (2 if listed else 3) and file_of(folder) == "Ada Lovelace.ipynb"
    assert listed == ("taken out, since the files are not there any more: A. Lovelace" in capsys.readouterr().err)


def test_a_file_by_itself_of_who_handed_in_nothing_is_no_new_row(evening, capsys):
    folder, grade = evening
    (folder / "roster.csv").write_text(ROSTER)
    hand_in(folder / "in", CLASS[1])
    grade("--roster", str(folder / "roster.csv"))
    hand_in(folder / "mail", "Ada Lovelace.ipynb")
    capsys.readouterr()
    assert grade(place="mail/Ada Lovelace.ipynb") == 0
    assert len(rows(folder)) == 2 and file_of(folder) == "Ada Lovelace.ipynb"
    assert capsys.readouterr().err.count("course:") == 0


def test_a_file_by_itself_that_may_be_one_of_two_peoples_leaves_no_row_once_it_has_a_better_name(evening, capsys):
    folder, grade = evening
    (folder / "roster.csv").write_text("name,id\nWei Lee,2001\nWei Lee,2002\n")
    a_download(folder, "leewei_2001_99_a.ipynb", "leewei_2002_98_a.ipynb")
    grade("--roster", str(folder / "roster.csv"), place="submissions.zip")
    hand_in(folder / "mail", "Wei Lee.ipynb")
    assert grade(place="mail/Wei Lee.ipynb") == 1
    assert "Wei Lee (2001) and Wei Lee (2002); call the file by what stands in brackets" in capsys.readouterr().err
    (folder / "mail/Wei Lee.ipynb").rename(folder / "mail/2002.ipynb")
    assert grade(place="mail/2002.ipynb") == 0
    assert "any more: Wei Lee\n" in capsys.readouterr().err
    with (folder / "out/marks.csv").open(encoding="utf-8-sig") as file:
        files = {row["id"]: row["file"] for row in csv.DictReader(file)}
    assert files == {"2001": "leewei_2001_99_a.ipynb", "2002": "2002.ipynb"}


def test_who_withdrew_is_told_by_name(evening, capsys):
    folder, grade = evening
    (folder / "roster.csv").write_text(ROSTER + "Emmy Noether,1882\n")
    for name in CLASS:
        hand_in(folder / "in", name)
    grade("--roster", str(folder / "roster.csv"))
    (folder / "roster.csv").write_text(ROSTER.replace("Ada Lovelace,1815\n", ""))
    (folder / "in" / CLASS[0]).unlink()
    capsys.readouterr()
    assert grade() == 0
    assert capsys.readouterr().err.endswith(
        "taken out, since the files are not there any more: Ada Lovelace (1815)\n"
    )


def test_a_lesson_graded_alone_hides_no_other_from_the_next_run(evening):
    folder, grade = evening
    hand_in(folder / "in", "ana.ipynb", "ben.ipynb", data=answered())
    hand_in(folder / "in", "cy.ipynb", data=of_other(answered()))
    assert grade() == 0 and grade("--lesson", "08") == 0
    (folder / "in/ben.ipynb").unlink()
    hand_in(folder / "in", "dan.ipynb")
    assert grade() == 0
    assert rows(folder).keys() == {"ana", "cy", "dan"}


def test_a_folder_of_a_class_with_one_student_so_far_is_not_given_by_itself(downloaded):
    folder, grade = downloaded
    hand_in(folder / "week 1", CLASS[0])
    grade(place="week 1")
    a_download(folder, "lovelaceada_1815_100_newer.ipynb", CLASS[1])
    assert grade(place="submissions.zip") == 0 and "newer" in file_of(folder)


def test_what_is_given_by_itself_keeps_what_the_platform_needs(evening):
    folder, grade = evening
    names = [f"{name}_{number}_assignsubmission_file_/a.ipynb" for name, number in (("Ada", 70), ("Ben", 71))]
    a_download(folder, *names)
    grade(place="submissions.zip")
    hand_in(folder / "mail", "Ada.ipynb")
    grade(place="mail/Ada.ipynb")
    main(["report", str(folder / "out"), "--format", "moodle"])
    main(["report", str(folder / "out"), "--format", "feedback"])
    assert '"Participant 70","Ada"' in (folder / "out/moodle.csv").read_text()
    assert any(one.startswith("Ada_70_") for one in zipfile.ZipFile(folder / "out/feedback.zip").namelist())


# Marks by hand


def give(folder, student: str, *more: str) -> int:
    return main(["override", str(folder / "out"), student, "3", "--reason", "by word of mouth", *more])


@pytest.mark.parametrize("late_name", ["lovelaceada_1815_99_a.ipynb", "Ada Lovelace.ipynb"])
def test_a_mark_by_hand_for_who_handed_in_nothing_stays_when_she_does(evening, late_name):
    folder, grade = evening
    (folder / "roster.csv").write_text(ROSTER)
    hand_in(folder / "in", CLASS[1])
    grade("--roster", str(folder / "roster.csv"))
    assert give(folder, "Ada Lovelace") == 0
    hand_in(folder / "in", late_name)
    grade()
    row = rows(folder)["Ada Lovelace"]
    assert (row["earned"], row["mark"], row["reason"]) == ("5", "3", "by word of mouth")
    (folder / "in" / late_name).unlink()
    grade()
    assert rows(folder)["Ada Lovelace"]["mark"] == "3"
    assert main(["override", str(folder / "out"), "Ada Lovelace", "--remove"]) == 0
    assert rows(folder)["Ada Lovelace"]["mark"] == ""


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_mark_by_hand_follows_to_the_file_that_is_given_by_itself_and_back(downloaded, before):
    folder, grade = downloaded
    hand_in(folder / "mail", "Ada Lovelace.ipynb")
    for _ in range(before):
        grade(place="mail/Ada Lovelace.ipynb")
    assert give(folder, "1815") == 0

    def by_hand() -> set[str]:
        return {row["mark"] for row in rows(folder).values() if row["id"] == "1815"}

    grade(place="mail/Ada Lovelace.ipynb")
    assert by_hand() == {"3"}
    (folder / "mail/Ada Lovelace.ipynb").unlink()
    grade(place="submissions.zip")
    assert by_hand() == {"3"}


def test_a_mark_by_hand_that_no_row_shows_is_told(evening, capsys):
    folder, grade = evening
    hand_in(folder / "in", "ana.ipynb", "bne.ipynb")
    hand_in(folder / "in", "cy.ipynb", data=of_other(answered()))
    grade()
    assert give(folder, "bne", "--lesson", "07") == 0
    (folder / "in/bne.ipynb").rename(folder / "in/ben.ipynb")
    capsys.readouterr()
    grade()
    said = capsys.readouterr().err
    assert f"{SLUG}: nobody here is 'bne', whose {SLUG} got 3 by hand (by word of mouth)" in said
    assert OTHER in rows(folder)["cy"] and said.count("by hand") == 1
