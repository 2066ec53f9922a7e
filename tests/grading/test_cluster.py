"""The same marks from one thread, from several, and from a Dask cluster, also when one of its machines dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course_lib.grading import run
from course_lib.grading.batch import Settings
from course_lib.grading.store import Store
from tests.grading.small import SLUG, answered, small_course

pytest.importorskip("distributed")
SETTINGS = Settings(SLUG, "a seed", seconds=15, memory=1.5)

# Loaded by each Dask worker: the exercise's folder, and a submission that takes its machine down.
PRELOAD = """
import os
from pathlib import Path
from course_lib.grading import assignment, batch
batch.read_assignment = lambda slug, root: assignment.read_assignment(slug, Path({root!r}))
class Grader(batch.Grader.__mro__[-2]):  # whether Dask loads this file once or twice
    def grade(self, job):
        if job.student == "killer" or (job.student == "once" and not os.path.exists({flag!r})):
            open({flag!r}, "w").close()
            os._exit(1)
        return super().grade(job)
batch.Grader = Grader
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two worker processes on loopback, and the exercise that all of them grade."""
    folder = tmp_path_factory.mktemp("cluster")
    root = small_course(folder / "root")
    (folder / "preload.py").write_text(PRELOAD.format(root=str(root), flag=str(folder / "died")))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "2"}
    python = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": folder}
    loopback = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    started = [subprocess.Popen([*python, *loopback], start_new_session=True, **quiet)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1"]
    worker += ["--no-dashboard", "--host", "127.0.0.1", "--preload", str(folder / "preload.py")]
    started += [subprocess.Popen(worker, start_new_session=True, **quiet) for _ in range(2)]
    try:
        yield root, address(file), folder
    finally:
        for process in started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def address(file: Path) -> str:
    """The scheduler's address, once it and its two workers are there."""
    from dask.distributed import Client

    for _ in range(600):
        if file.exists() and file.stat().st_size:
            break
        time.sleep(0.1)
    with Client(scheduler_file=str(file), set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
        return client.scheduler.address


def graded(place: Path, out: Path, root: Path, **how) -> dict[str, bytes]:
    store = Store(out)
    run.grade_folder(place, store, SETTINGS, root=root, **({"jobs": 1} | how))
    store.close()
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.suffix != ".lock"
            and path.is_file() and path.name != ".lock"}  # fmt: skip


def submissions(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        changes = {2: "def mean(x):\n    return x.sum()\n"} if number % 2 else {4: "def count(mask):\n    exit()\n"}
        (folder / f"{name}.ipynb").write_bytes(answered(changes))
    return folder


def test_serial_threads_and_dask_agree_byte_for_byte(cluster, tmp_path):
    root, scheduler, _ = cluster
    place = submissions(tmp_path / "in", *(f"student{k}" for k in range(7)))
    (place / "damaged.ipynb").write_bytes(b"{")
    serial = graded(place, tmp_path / "serial", root)
    assert graded(place, tmp_path / "threads", root, jobs=4) == serial
    assert graded(place, tmp_path / "dask", root, dask=scheduler) == serial
    assert len(serial) > 15


def test_a_machine_that_dies_costs_nobody_a_mark_and_one_that_always_dies_is_given_up(cluster, tmp_path):
    root, scheduler, folder = cluster
    place = submissions(tmp_path / "in", "ana", "once", "killer", "zoe")
    store = Store(tmp_path / "out")
    marks = run.grade_folder(place, store, SETTINGS, jobs=1, dask=scheduler, root=root)
    store.close()
    by_name = {record.student: record for record in marks.records}
    assert (folder / "died").exists()
    assert "given up" in by_name["killer"].problem
    assert [by_name[name].earned for name in ("ana", "once")] == [6, 6]
    assert by_name["zoe"].earned == 6
