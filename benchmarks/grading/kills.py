"""The real grader, sandbox and all, killed with SIGKILL at random moments and started again."""

import random
import tempfile
import time
from pathlib import Path

from benchmarks.grading.measure import machine, table
from tests.grading.killing import grade, started, submissions, tables
from tests.grading.small import small_course
from tests.grading.test_hostile import processes

ROUNDS, KILLS = 8, 3


def one_round(folder: Path, number: int, calm: dict, place: Path, root: Path, longest: float) -> list:
    """Kill a fresh run some times, let it end, compare; how many records stood after each kill."""
    out, random_, done = folder / f"rough{number}", random.Random(number), []
    for _ in range(KILLS):
        process = started(grade, place, out, root)
        process.join(random_.uniform(0.2, 1.0) * longest)
        process.kill()
        process.join()
        done.append(len(list((out / "records").glob("*.json"))) if out.exists() else 0)
    time.sleep(1)
    left = len(processes())
    grade(place, out, root)
    return [number, KILLS, " ".join(map(str, done)), left, "yes" if tables(out) == calm else "NO"]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root, place = small_course(folder / "course"), submissions(folder / "in", 24)
        start = time.monotonic()
        started(grade, place, folder / "calm", root).join()
        longest, calm = time.monotonic() - start, tables(folder / "calm")
        rows = [one_round(folder, number, calm, place, root, longest) for number in range(ROUNDS)]
    header = ["round", "kills", "records standing after each", "processes left", "tables equal an undisturbed run's"]
    text = (
        f"# Killed and started again\n\n24 submissions, {machine()}; each kill at a random moment of the run.\n"
        f"Written by `python -m benchmarks.grading`.\n\n{table(header, rows)}"
    )
    Path(__file__).with_name("kills.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
