"""Grading many submissions: each is one job; threads here or a Dask cluster do them, in any order."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from course_lib.exercises import ROOT, need_asserts
from course_lib.grading.assignment import read_assignment
from course_lib.grading.cells import NAME, Cell, Unreadable, cells_of
from course_lib.grading.diagnose import Diagnosis
from course_lib.grading.marks import Record, record_from_data, record_to_data
from course_lib.grading.sandbox.host import Gone, Sandbox
from course_lib.grading.session import Session, shown
from course_lib.grading.submissions import Submission


class Settings(NamedTuple):
    """What all jobs of a run share."""

    slug: str
    seed: str
    seconds: float = 10.0
    memory: float = 2.0
    mode: str | None = None


class Job(NamedTuple):
    """One submission: whose, from which file, and its bytes."""

    student: str
    id: str
    file: str
    data: bytes

    @classmethod
    def of(cls, submission: Submission) -> "Job":
        """The job with the file's bytes in it, read only now: hundreds of notebooks need not be in memory at once."""
        return cls(submission.student, submission.id, submission.file, submission.read())


class Broken(RuntimeError):
    """The grader itself failed at a submission: not the student's fault, and not to be remembered."""


class Undecided(RuntimeError):
    """Load may have decided a mark, and no mark depends on load."""


class Grader:
    """The trusted side: one sandbox, one exercise, its hidden tests; grades one job at a time per thread."""

    def __init__(self, settings: Settings, root: Path = ROOT):
        need_asserts()
        torch.set_num_threads(1)
        self.settings = settings
        self.assignment = read_assignment(settings.slug, root)
        self.diagnosis = Diagnosis(self.assignment, settings.seed)
        self.sandbox = Sandbox(memory=settings.memory, modules=self.assignment.modules, mode=settings.mode)

    def grade(self, job: Job, *, alone: bool = False) -> Record:
        """The record of one submission; ``alone``: no other is being graded, so the time that it had counts.

        Raises:
            Undecided: if it hit a deadline on a busy machine, where only a run alone can tell why, or not even that.
            Broken: if not the submission but the grader failed.
        """
        record = Record(job.student, job.id, job.file, sandbox=self.sandbox.mode)
        try:
            cells = cells_of(job.data, job.file.lower())
            refuse_other_lessons(cells, self.settings.slug)
            session = Session(
                self.sandbox, self.assignment, cells, seed=self.settings.seed, seconds=self.settings.seconds
            )
            tasks = tuple(session.grade(self.diagnosis))
        except Unreadable as error:
            return replace(record, problem=shown(error), sandbox="")
        except (Exception, Gone) as error:
            raise Broken(f"the grader failed: {type(error).__name__}: {shown(error)}") from error
        if session.starved or (session.undecided and not alone):
            raise Undecided("the machine was too busy to grade this; close other programs and grade again")
        if any(task.reason == "lost" for task in tasks):
            raise Broken("the sandbox broke three times in one test")
        return replace(record, tasks=tasks, notes=session.notes, asked=session.asked)

    def close(self) -> None:
        self.sandbox.stop()


def refuse_other_lessons(cells: list[Cell], slug: str) -> None:
    """A notebook whose tasks are all of another lesson was handed in by mistake."""
    lessons = {cell.name.split("_")[1] for cell in cells if NAME.fullmatch(cell.name)}
    if lessons and slug[:2] not in lessons:
        raise Unreadable(f"this is exercise {', '.join(sorted(lessons))}; hand in exercise {slug[:2]}")


Result = tuple[Submission, Record, bool]  # what was graded, its record, and whether that may be remembered


def failed(submission: Submission, why: str) -> Record:
    return Record(submission.student, submission.id, submission.file, problem=why)


def grade_one(grader: Grader, submission: Submission, *, alone: bool = False) -> Record:
    return grader.grade(Job.of(submission), alone=alone)


def grade_until_decided(grader: Grader, job: Job) -> Record:
    try:
        return grader.grade(job)
    except Undecided:
        return grader.grade(job, alone=True)


def in_threads(grader: Grader, submissions: list[Submission], count: int) -> Iterator[Result]:
    """Each submission with its record, as they finish; ``count`` are graded at the same time.

    Those that a busy machine left undecided come last, one by one.
    """
    pool = ThreadPoolExecutor(count)
    undecided = []
    try:
        futures = {pool.submit(grade_one, grader, one): one for one in submissions}
        for future in as_completed(futures):
            submission = futures.pop(future)
            if isinstance(future.exception(), Undecided):
                undecided.append(submission)
            else:
                yield outcome(submission, future)
        for submission in undecided:
            yield outcome(submission, pool.submit(grade_one, grader, submission, alone=True))
    finally:  # also of Ctrl-C: what is still being graded ends with the sandbox
        pool.shutdown(wait=False, cancel_futures=True)
        grader.close()
        pool.shutdown(wait=True)


def outcome(submission: Submission, future: Future) -> Result:
    """What came of one job; a failure is told in its row, and tried again by the next run."""
    if error := future.exception():
        return submission, failed(submission, shown(error) or type(error).__name__), False
    return submission, future.result(), True


# Dask: the same jobs on the workers of an existing cluster, each with a grader of its own

_graders: dict[Settings, Grader] = {}
_lock = threading.Lock()


def grade_on_cluster(settings: tuple, version: str, job: tuple) -> dict:
    """Runs in a Dask worker, whose checkout of the course must be the same as the instructor's.

    Returns the record as data, or ``failed`` with why: an exception would have to be unpickled over there.
    """
    settings, job = Settings(*settings), Job(*job)
    try:
        with _lock:
            if settings not in _graders:
                _graders[settings] = Grader(settings)
        grader = _graders[settings]
        if grader.assignment.version != version:
            raise Broken("the course on this Dask worker is another version; install the same one everywhere")
        return record_to_data(grade_until_decided(grader, job))
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {shown(error)}"}


def on_cluster(address: str, settings: Settings, version: str, submissions: list[Submission]) -> Iterator[Result]:
    """As ``in_threads``; a submission whose worker dies again and again (Dask's allowed-failures) is given up."""
    from dask.distributed import Client, KilledWorker
    from dask.distributed import as_completed as as_completed_there

    with Client(address, timeout=30, set_as_default=False) as client:
        futures = {}
        for one in submissions:
            try:
                job = tuple(Job.of(one))
            except (Unreadable, OSError) as unread:
                yield one, failed(one, shown(unread)), False
                continue
            futures[client.submit(grade_on_cluster, tuple(settings), version, job, pure=False)] = one
        for future in as_completed_there(list(futures), loop=client.loop):
            submission, error = futures.pop(future), future.exception()
            if isinstance(error, KilledWorker):
                why = "each machine that graded this submission died; it was given up"
                yield submission, failed(submission, why), True
            elif error is not None:
                yield submission, failed(submission, f"Dask failed: {shown(error)}"), False
            elif "failed" in (data := future.result()):
                yield submission, failed(submission, data["failed"]), False
            else:
                yield submission, record_from_data(data), True
