"""The grader is killed with SIGKILL at random moments and started again: the tables equal an undisturbed run's."""

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from course_lib.exercises import UsageError
from course_lib.grading import run
from course_lib.grading.batch import Settings
from course_lib.grading.marks import Record, TaskMark
from course_lib.grading.store import Store, key, write
from tests.grading.small import POINTS, RIGHT, SLUG, answered, small_course

SETTINGS = Settings(SLUG, "a seed", seconds=10, memory=1.5)


def submissions(folder: Path, count: int) -> Path:
    """Some right, some with a wrong mean, one damaged."""
    folder.mkdir()
    for number in range(count):
        changes = {} if number % 2 else {2: RIGHT[2].replace("sum", "max")}
        (folder / f"s{number:02d}.ipynb").write_bytes(answered(changes) if number else b"{")
    return folder


def in_child(work) -> int:
    """Run ``work`` in a forked process; its process id."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def killed_until_done(work, longest: float, random_: random.Random) -> int:
    """Start ``work`` again and again, kill it at a random moment, until it ends by itself; how many kills it took."""
    kills = 0
    while True:
        pid, deadline = in_child(work), time.monotonic() + random_.uniform(0, longest)
        while time.monotonic() < deadline:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                assert status == 0
                return kills
            time.sleep(0.0005)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1
        longest *= 1.05


def tables(folder: Path) -> dict[str, bytes]:
    """Every file of the results, but those of a run in progress."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def without_sandbox(waiting: list, *_: object) -> Iterator:
    """Stands in for the real grading, to kill the rest of a run many times: half of the marks, after a moment."""
    for submission in waiting:
        time.sleep(0.002)
        tasks = tuple(TaskMark(f"task_07_{k}", points, points * (k % 2)) for k, points in POINTS.items())
        yield submission, Record(submission.student, submission.id, submission.file, tasks), True


def grading(place: Path, out: Path, root: Path):
    def work() -> None:
        store = Store(out)
        run.grade_folder(place, store, SETTINGS, jobs=2, root=root)
        store.close()

    return work


def test_many_kills_leave_the_tables_of_an_undisturbed_run(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "graded", without_sandbox)
    root, place = small_course(tmp_path / "course"), submissions(tmp_path / "in", 12)
    grading(place, tmp_path / "calm", root)()
    kills = killed_until_done(grading(place, tmp_path / "rough", root), 0.02, random.Random(5))
    assert kills >= 10
    assert tables(tmp_path / "rough") == tables(tmp_path / "calm")


def test_kills_of_the_real_grader(tmp_path):
    root, place = small_course(tmp_path / "course"), submissions(tmp_path / "in", 8)
    start = time.monotonic()
    grading(place, tmp_path / "calm", root)()
    longest = time.monotonic() - start
    random_ = random.Random(3)
    for _ in range(2):
        pid = in_child(grading(place, tmp_path / "rough", root))
        time.sleep(random_.uniform(0.5, 1) * longest)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    grading(place, tmp_path / "rough", root)()
    assert tables(tmp_path / "rough") == tables(tmp_path / "calm")


def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "graded", without_sandbox)
    root, place = small_course(tmp_path / "course"), submissions(tmp_path / "in", 5)
    grading(place, tmp_path / "out", root)()
    waiting = []
    monkeypatch.setattr(run, "graded", lambda found, *_: waiting.extend(found) or iter(()))
    grading(place, tmp_path / "out", root)()
    assert waiting == []
    (place / "s03.ipynb").write_bytes(answered({1: RIGHT[1] + "# handed in again\n"}))
    with pytest.raises(KeyError):  # the stand-in grades nothing, so the changed one is missing
        grading(place, tmp_path / "out", root)()
    assert [one.student for one in waiting] == ["s03"]


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
