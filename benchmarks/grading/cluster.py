"""Five lessons' submissions on a Dask cluster of two workers, one of which is killed on the way.

``python -m benchmarks.grading.cluster 100`` takes 100 submissions instead of 1000.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.grading.measure import machine, table
from course_lib.authoring.places import parts, slugs
from course_lib.exercises import ROOT
from course_lib.grading.marks import lessons_from_json
from tests.grading.test_hostile import processes

LESSONS, STUDENTS = 5, 200
HEADER = [
    "submissions",
    "graded when a worker was killed",
    "exit",
    "with all points",
    "seconds",
    "seconds each",
    "processes left",
]


def hand_in(place: Path, lessons: list[str], count: int) -> None:
    """Solved notebooks, each another file, in a folder for each lesson."""
    for slug in lessons:
        notebook = json.loads(parts(slug)["solution"].read_bytes())
        (place / slug).mkdir(parents=True)
        for number in range(count):
            notebook["metadata"]["student"] = number
            (place / slug / f"student{number:03d}.ipynb").write_text(json.dumps(notebook))


def started(folder: Path) -> list[subprocess.Popen]:
    """A scheduler and two workers on loopback, each in a group of its own."""
    scheduler = ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    worker = ["worker", "--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard"]
    how = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "start_new_session": True}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{one[0]}", *one[1:], "--scheduler-file", "scheduler.json"],
            env=environment,
            **how,
        )
        for one in (scheduler, worker, worker)
    ]


def ended(process: subprocess.Popen) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, list[subprocess.Popen]]]:
    """The address of a running cluster, and its processes; whoever ends one takes it out of the list."""
    processes = started(folder)
    try:
        while not (folder / "scheduler.json").exists():
            time.sleep(0.1)
        yield json.loads((folder / "scheduler.json").read_text())["address"], processes
    finally:
        for one in processes:
            ended(one)


def graded(out: Path) -> int:
    return len(list((out / "records").glob("*.json")))


def grade_and_kill(folder: Path, kill_at: int) -> tuple[int, int, float]:
    """Grade ``in`` into ``out``, and kill a worker at so many records: how many there were, exit status, seconds."""
    with cluster(folder) as (address, processes):
        place, out, start = folder / "in", folder / "out", time.monotonic()
        line = [sys.executable, "-m", "course_lib.cli", "grade", place, "--out", out, "--dask", address]
        run = subprocess.Popen(line, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"})
        while run.poll() is None and graded(out) < kill_at:
            time.sleep(0.5)
        killed_at = graded(out)
        ended(processes.pop())
        return killed_at, run.wait(), time.monotonic() - start


def with_all_points(out: Path) -> tuple[int, int]:
    """How many records there are, and how many of them have every point of their lesson."""
    lessons = lessons_from_json((out / "marks.json").read_text())
    right = [one.earned == marks.points for marks in lessons for one in marks.records]
    return len(right), sum(right)


def main() -> None:
    count = (int(sys.argv[1]) if len(sys.argv) > 1 else LESSONS * STUDENTS) // LESSONS
    lessons = [slug for slug in slugs() if parts(slug)["hidden tests"].exists()][:LESSONS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hand_in(folder / "in", lessons, count)
        killed_at, status, seconds = grade_and_kill(folder, kill_at=count)  # a fifth of all
        records, right = with_all_points(folder / "out")
        time.sleep(2)
        row = [records, killed_at, status, right, f"{seconds:.0f}", f"{seconds / records:.2f}", len(processes())]
    text = (
        f"# On a cluster\n\n{len(lessons)} lessons, right answers, Dask, two workers on one machine, {machine()}.\n"
        f"Written by `python -m benchmarks.grading.cluster`.\n\n{table(HEADER, [row])}"
    )
    Path(__file__).with_name("cluster.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
