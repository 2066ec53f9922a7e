"""Grading runs that are killed at random moments: real processes, each started afresh, as an instructor's are.

They come from multiprocessing's fork server, which has imported the grader and done nothing else: nobody inherits a
lock that a killed one held (a fork of the test's own process would share its progress bar's).
"""

import multiprocessing
import os
import random
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from course_lib.grading import run
from course_lib.grading.batch import Settings
from course_lib.grading.marks import Record, TaskMark
from course_lib.grading.store import Store
from tests.grading.small import POINTS, RIGHT, SLUG, answered

SETTINGS = Settings(SLUG, "a seed", seconds=10, memory=1.5)
afresh = multiprocessing.get_context("forkserver")
afresh.set_forkserver_preload([__name__])


def submissions(folder: Path, count: int) -> Path:
    """Some right, some with a wrong mean, one damaged."""
    folder.mkdir()
    for number in range(count):
        changes = {} if number % 2 else {2: RIGHT[2].replace("sum", "max")}
        (folder / f"s{number:02d}.ipynb").write_bytes(answered(changes) if number else b"{")
    return folder


def grade(place: Path, out: Path, root: Path) -> None:
    store = Store(out)
    run.grade_folder(place, store, SETTINGS, jobs=2, root=root)
    store.close()


def grade_without_sandbox(place: Path, out: Path, root: Path) -> None:
    run.graded = half_of_the_marks
    grade(place, out, root)


def half_of_the_marks(waiting: list, *_: object) -> Iterator:
    """Stands in for the real grading, to kill the rest of a run many times; each submission takes a moment."""
    for submission in waiting:
        time.sleep(0.002)
        tasks = tuple(TaskMark(f"task_07_{k}", points, points * (k % 2)) for k, points in POINTS.items())
        yield submission, Record(submission.student, submission.id, submission.file, tasks), True


def started(work, *arguments: Path) -> BaseProcess:
    """``work`` in a process of its own, which says nothing."""
    process = afresh.Process(target=in_silence, args=(work, *arguments))
    process.start()
    return process


def in_silence(work, *arguments: Path) -> None:
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    work(*arguments)


def killed_until_done(work, *arguments: Path, longest: float, random_: random.Random) -> int:
    """Start ``work`` again and again, kill it at a random moment, until it ends by itself; how many kills it took."""
    kills = 0
    while True:
        process = started(work, *arguments)
        process.join(random_.uniform(0, longest))
        if process.exitcode is not None:
            assert process.exitcode == 0
            return kills
        process.kill()
        process.join()
        kills += 1
        longest *= 1.15


def tables(folder: Path) -> dict[str, bytes]:
    """Every file of the results, but those of a run in progress."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
