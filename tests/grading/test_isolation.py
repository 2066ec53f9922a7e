"""Whatever goes wrong with one submission, at whatever stage, its row says so and the next one stands."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from course_lib.grading import batch
from course_lib.grading.assignment import read_assignment
from course_lib.grading.batch import Grader, Job, Settings, outcome
from course_lib.grading.cells import cells_of
from course_lib.grading.diagnose import Diagnosis
from course_lib.grading.session import Session
from course_lib.grading.submissions import Submission
from tests.grading.small import RIGHT, SLUG, answered, small_course

pytestmark = pytest.mark.skipif(os.uname().sysname != "Linux", reason="the sandboxes are Linux's")
EVIL = "# the one that fails\n"


@pytest.fixture(scope="module")
def grader(tmp_path_factory):
    root = small_course(tmp_path_factory.mktemp("course"))
    grader = Grader(Settings(SLUG, "a seed", seconds=10, memory=1.5), root)
    yield grader
    grader.close()


def graded(grader: Grader, data: bytes):
    """The record, and whether it may be remembered."""
    with ThreadPoolExecutor(1) as pool:
        job = Job("ana", "", "ana.ipynb", data)
        return outcome(Submission("ana", "", "ana.ipynb"), pool.submit(grader.grade, job))[1:]


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("half \ud800 \x00")


def failing_at(op: str, ask):
    """The session's ``ask``, which fails at one kind of request of the submission that is to fail."""

    def asked(session: Session, request: dict) -> dict:
        if request["op"] == op and any(EVIL in cell.source for cell in session.cells):
            fail()
        return ask(session, request)

    return asked


@pytest.mark.parametrize("stage", ["reading", "start", "cell", "check", "names", "fresh", "call"])
def test_a_failure_stays_in_its_row(grader, monkeypatch, stage):
    if stage == "reading":
        read = batch.cells_of

        def reading(data: bytes, name: str) -> list:
            return fail() if EVIL.strip().encode() in data else read(data, name)

        monkeypatch.setattr(batch, "cells_of", reading)
    elif stage == "start":
        ready = Session.ready
        monkeypatch.setattr(
            Session, "ready", lambda one: fail() if any(EVIL in cell.source for cell in one.cells) else ready(one)
        )
    else:
        monkeypatch.setattr(Session, "ask", failing_at(stage, Session.ask))
    record, certain = graded(grader, answered({1: EVIL + RIGHT[1]}))
    if record.problem:
        assert "the grader failed: RuntimeError: half � �" in record.problem and not certain
    else:  # a call that fails costs its task
        assert stage == "call" and record.earned < 7
    assert graded(grader, answered())[0].earned == 7


def test_a_diagnosis_that_fails_changes_no_mark(grader, monkeypatch):
    monkeypatch.setattr(Diagnosis, "only_match", fail)
    record, certain = graded(grader, answered({2: "def mean(x):\n    return x.sum()\n"}))
    assert (record.earned, record.tasks[1].mistake, certain) == (6, "", True)


def test_a_cell_that_is_no_python_is_the_reason_of_its_task(grader):
    check = graded(grader, answered({2: f"x = (\n\n{RIGHT[2]}"}))[0].tasks[1].check
    assert check.startswith("this cell did not run to its end: line 1 is not Python") and "NameError" not in check


def test_what_cut_a_cell_short_is_the_reason_of_its_task_and_of_what_misses_its_names(tmp_path):
    assignment = read_assignment(SLUG, small_course(tmp_path))
    session = Session(None, assignment, cells_of(answered(), "a.ipynb"), seed="", seconds=1)
    session.failed = {place: "why" for place, cell in enumerate(session.cells) if cell.name == "task_07_2"}
    lost = "your code raised NameError: name 'mean' is not defined (at: mean(x))"
    softmax, mean, *_ = assignment.tasks
    assert session.cause(lost, mean) == "this cell did not run to its end: why"
    assert session.cause(lost, softmax) == "task_07_2 did not run to its end: why"
    for other in (lost.replace("mean", "mea"), "the mean of 1, 2 and 6 is 3", ""):
        assert session.cause(other, mean) == other
