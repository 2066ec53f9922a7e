"""Five lessons' submissions on a Dask cluster of two workers, one of which is killed on the way.

``python -m benchmarks.grading.cluster 100`` takes 100 submissions instead of 1000.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.grading.measure import machine, table
from course_lib.authoring.places import parts, slugs
from course_lib.exercises import ROOT
from course_lib.grading.marks import lessons_from_json
from tests.grading.test_hostile import processes

LESSONS, STUDENTS = 5, 200


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


def graded(out: Path) -> int:
    return len(list((out / "records").glob("*.json")))


def main() -> None:
    count = (int(sys.argv[1]) if len(sys.argv) > 1 else LESSONS * STUDENTS) // LESSONS
    lessons = [slug for slug in slugs() if parts(slug)["hidden tests"].exists()][:LESSONS]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place, out = folder / "in", folder / "out"
        hand_in(place, lessons, count)
        cluster = started(folder)
        try:
            while not (folder / "scheduler.json").exists():
                time.sleep(0.1)
            address = json.loads((folder / "scheduler.json").read_text())["address"]
            line = [sys.executable, "-m", "course_lib.cli", "grade", str(place), "--out", str(out), "--dask", address]
            start = time.monotonic()
            run = subprocess.Popen(line, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"})
            while run.poll() is None and graded(out) < count:  # a fifth of all
                time.sleep(0.5)
            killed_at = graded(out)
            ended(cluster.pop())
            status, seconds = run.wait(), time.monotonic() - start
        finally:
            for process in cluster:
                ended(process)
        records = [one for marks in lessons_from_json((out / "marks.json").read_text()) for one in marks.records]
        full = {marks.slug: marks.points for marks in lessons_from_json((out / "marks.json").read_text())}
        right = sum(one.earned == full[one.file.split("/")[0]] for one in records)
        time.sleep(2)
        row = [len(records), killed_at, status, right, f"{seconds:.0f}", len(processes())]
    header = [
        "submissions",
        "graded when a worker was killed",
        "exit",
        "with all points",
        "seconds",
        "processes left",
    ]
    text = (
        f"# On a cluster\n\n{len(lessons)} lessons, right answers, Dask, two workers on one machine, {machine()}.\n"
        f"Written by `python -m benchmarks.grading.cluster`.\n\n{table(header, [row])}"
    )
    Path(__file__).with_name("cluster.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
