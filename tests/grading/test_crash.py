"""The grader is killed with SIGKILL at random moments and started again: the tables equal an undisturbed run's."""

import random
import time

import pytest

from course_lib.exercises import UsageError
from course_lib.grading import run
from course_lib.grading.marks import Record, TaskMark
from course_lib.grading.store import Store, key, write
from tests.grading.killing import (
    grade,
    grade_without_sandbox,
    half_of_the_marks,
    killed_until_done,
    started,
    submissions,
    tables,
)
from tests.grading.small import RIGHT, answered, small_course


def test_many_kills_leave_the_tables_of_an_undisturbed_run(tmp_path):
    root, place = small_course(tmp_path / "course"), submissions(tmp_path / "in", 12)
    started(grade_without_sandbox, place, tmp_path / "calm", root).join()
    rough = (place, tmp_path / "rough", root)
    assert killed_until_done(grade_without_sandbox, *rough, longest=0.03, random_=random.Random(5)) >= 10
    assert tables(tmp_path / "rough") == tables(tmp_path / "calm")


def test_kills_of_the_real_grader(tmp_path):
    root, place = small_course(tmp_path / "course"), submissions(tmp_path / "in", 8)
    start = time.monotonic()
    started(grade, place, tmp_path / "calm", root).join()
    longest = time.monotonic() - start
    random_ = random.Random(3)
    for _ in range(2):
        process = started(grade, place, tmp_path / "rough", root)
        process.join(random_.uniform(0.5, 1) * longest)
        process.kill()
        process.join()
    grade(place, tmp_path / "rough", root)
    assert tables(tmp_path / "rough") == tables(tmp_path / "calm")


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "graded", half_of_the_marks)
    root, place = small_course(tmp_path / "course"), submissions(tmp_path / "in", 5)
    grade(place, tmp_path / "out", root)
    waiting = []
    monkeypatch.setattr(run, "graded", lambda found, *_: waiting.extend(found) or iter(()))
    grade(place, tmp_path / "out", root)
    assert waiting == []
    (place / "s03.ipynb").write_bytes(answered({1: RIGHT[1] + "# handed in again\n"}))
    with pytest.raises(KeyError):  # the stand-in grades nothing, so the changed one is missing
        grade(place, tmp_path / "out", root)
    assert [one.student for one in waiting] == ["s03"]


def test_the_lock_of_the_results_ends_with_the_process_that_held_it(tmp_path):
    process = started(hold, tmp_path / "out")
    while not (tmp_path / "out/held").exists():
        time.sleep(0.01)
    with pytest.raises(UsageError, match="another"):
        Store(tmp_path / "out")
    process.kill()
    process.join()
    Store(tmp_path / "out").close()


def hold(out):
    store = Store(out)
    (out / "held").touch()
    time.sleep(1000)
    store.close()


def test_a_damaged_record_is_graded_again(tmp_path):
    store = Store(tmp_path)
    record = Record("a", "", "a.ipynb", (TaskMark("task_07_1", 2, 2),))
    store.put("x", record)
    assert store.get("x") == record
    (tmp_path / "records/x.json").write_text('{"student": "a"')
    assert store.get("x") is None
    assert store.get("y") is None


def test_only_one_grader_writes_to_a_folder(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(UsageError, match="another"):
        Store(tmp_path)
    store.close()
    Store(tmp_path).close()


def test_unfinished_files_go(tmp_path):
    write(tmp_path / "records/a.json", "whole")
    (tmp_path / "records/.a.json.unfinished").write_text("hal")
    Store(tmp_path).close()
    assert [path.name for path in (tmp_path / "records").iterdir()] == ["a.json"]


def test_keys_differ_with_every_part():
    assert len({key("ab", "c"), key("a", "bc"), key("abc"), key("ab", "c", ""), key(b"ab", "d")}) == 5


@pytest.mark.parametrize("earned", [-1, 3, 1, True, float("nan"), float("inf"), 2.0])
def test_an_impossible_mark_cannot_be_made(earned):
    with pytest.raises(ValueError, match="earns"):
        TaskMark("task_07_1", 2, earned)
