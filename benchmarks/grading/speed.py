"""``course grade`` against ``nbgrader autograde``: the same exercise, the same submissions, the same run."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.grading.measure import Cost, cost, machine, table
from course_lib.authoring.places import parts
from course_lib.exercises import ROOT

SLUG = "01_addressing"
OURS, THEIRS = (1, 20, 200), (2, 10)  # submissions


def solved(kind: str) -> bytes:
    """The exercise's notebook, solved, or with the answers as handed out."""
    return parts(SLUG)[kind].read_bytes()


def submission(number: int) -> bytes:
    """Four of five students are right; the fifth divides by the wrong number, as a wrong answer with a name does."""
    notebook = json.loads(solved("solution"))
    if number % 5 == 0:
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"]).replace("math.sqrt(query.shape[-1])", "query.shape[-1]")
    notebook["metadata"]["student"] = number
    return json.dumps(notebook).encode()


def ours(folder: Path, count: int) -> Cost:
    place = folder / f"in{count}"
    place.mkdir()
    for number in range(count):
        (place / f"student{number:03d}.ipynb").write_bytes(submission(number))
    command = [sys.executable, "-m", "course_lib.cli", "grade", str(place), "--out", str(folder / f"out{count}")]
    return cost([*command, "--lesson", "01", "--seed", "benchmark"], cwd=ROOT)


def theirs(folder: Path, count: int) -> Cost:
    course = folder / f"nbgrader{count}"
    source = course / f"source/{SLUG}"
    source.mkdir(parents=True)
    shutil.copy(parts(SLUG)["solution"], source)
    nbgrader = [sys.executable, "-m", "nbgrader"]
    cost([*nbgrader, "generate_assignment", SLUG], cwd=course)
    for number in range(count):
        place = course / f"submitted/student{number:03d}/{SLUG}"
        place.mkdir(parents=True)
        (place / f"{SLUG}.ipynb").write_bytes(submission(number))
    return cost([*nbgrader, "autograde", SLUG], cwd=course)


def main() -> None:
    rows, costs = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run, counts in (("course grade", ours, OURS), ("nbgrader autograde", theirs, THEIRS)):
            for count in counts:
                one = costs[name, count] = run(Path(folder), count)
                per = [f"{one.cpu / count:.2f}", f"{one.wall / count:.2f}", f"{60 * count / one.wall:.0f}"]
                rows.append([name, count, f"{one.cpu:.1f}", f"{one.wall:.1f}", *per, f"{one.memory:.0f}"])
    warm = (costs["course grade", 200].cpu - costs["course grade", 20].cpu) / 180
    other = (costs["nbgrader autograde", 10].cpu - costs["nbgrader autograde", 2].cpu) / 8
    header = ["", "submissions", "CPU s", "wall s", "CPU s each", "wall s each", "a minute", "peak MB"]
    text = (
        f"# The grader's speed\n\nExercise {SLUG}, {machine()}. Written by `python -m benchmarks.grading`; both with "
        "everything they start.\nOne submission is cold: it pays for the start. CPU includes the reports.\n\n"
        f"{table(header, rows)}\nA further submission, warm: **{warm:.2f} CPU-s**, nbgrader **{other:.2f} CPU-s**: "
        f"{other / warm:.0f} times less; 200 submissions, start included: "
        f"{other / (costs['course grade', 200].cpu / 200):.0f} times less.\n"
    )
    Path(__file__).with_name("speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
