"""A course of two lessons and an instructor in front of it."""

import pytest

from course_lib.cli import main
from course_lib.grading import run
from course_lib.grading.reports import pages
from tests.grading.evening import half_of_the_marks
from tests.grading.small import another_lesson, small_course


@pytest.fixture
def evening(tmp_path, monkeypatch):
    """A course of two lessons, a folder for submissions, and a function that grades it without a sandbox."""
    monkeypatch.setattr(run, "graded", half_of_the_marks)
    monkeypatch.setattr(pages, "picture", lambda marks: b"not drawn")  # most of the time; test_reports.py draws it
    root = another_lesson(small_course(tmp_path / "course"))
    (tmp_path / "in").mkdir()

    def grade(*more: str, place: str = "in") -> int:
        return main(["grade", str(tmp_path / place), "--out", str(tmp_path / "out"), *more], root=root)

    return tmp_path, grade
