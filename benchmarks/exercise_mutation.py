"""Break every exercise's solution in small ways and see that its hidden tests notice.

``python benchmarks/exercise_mutation.py [SLUG ...]`` tries the mechanical mutants of each task's answer against the
hidden tests of that task, in this process. It keeps what it found, so a run that was stopped goes on where it was;
what changes in a solution or in a hidden test is tried again. Without arguments it writes exercise_mutation.md.
"""

import contextlib
import hashlib
import io
import json
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the hidden tests import tests.properties
from benchmarks.equivalent import EQUIVALENT  # noqa: E402
from benchmarks.mechanical import Mutant, mutants  # noqa: E402
from benchmarks.mutation import table  # noqa: E402
from course_lib.authoring.places import parts, slugs  # noqa: E402
from course_lib.grading.hidden import load  # noqa: E402
from tests.solved import Solved, passes_all  # noqa: E402

FOUND = ROOT / "benchmarks/.exercise_mutation.json"
SEEDS = (1, 2, 3)  # a student is graded with one seed, so each of them must notice
SECONDS = 20


class Trial(NamedTuple):
    """One mutant of the answer to one task."""

    task: str
    mutant: Mutant


def trials(solved: Solved) -> Iterator[Trial]:
    """Every mutant of every answer: of the lines of its solution, and of the defaults in its signatures."""
    for task, source in solved.tasks.items():
        for mutant in mutants(source, answered(source)):
            yield Trial(task, mutant)


def answered(source: str) -> set[int]:
    """The lines that the author solved, and those that begin a function: what is given in a task is no answer."""
    inside, lines = False, set()
    for number, line in enumerate(source.split("\n"), start=1):
        inside = (inside or "### BEGIN SOLUTION" in line) and "### END SOLUTION" not in line
        if inside or line.lstrip().startswith("def "):
            lines.add(number)
    return lines


def survives(solved: Solved, hidden, trial: Trial, seconds: float = SECONDS) -> bool:
    """Whether the hidden tests of the task let the mutant pass with at least one seed."""
    names = dict(solved.names)
    try:
        with within(seconds), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(trial.mutant.source, "<mutant>", "exec"), names)
            return any(passes_all(hidden, trial.task, names, seed) for seed in SEEDS)
    except Exception:
        return False


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the lines inside take longer."""

    def late(*_):
        raise TimeoutError(f"longer than {seconds} s")

    handler, before = signal.signal(signal.SIGALRM, late), signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def try_all(slug: str, found: dict[str, bool]) -> list[tuple[str, str, bool]]:
    """Right line, wrong line, and whether it survived, for each mutant of an exercise, from ``found`` if there."""
    solved, hidden, rows = Solved(slug), load(slug), []
    tests = parts(slug)["hidden tests"].read_text()
    for trial in tqdm(list(trials(solved)), desc=slug, unit="mutant"):
        key = hashlib.sha256((tests + trial.task + trial.mutant.source).encode()).hexdigest()[:20]
        if key not in found:
            found[key] = survives(solved, hidden, trial)
        rows.append((f"{trial.task}: {trial.mutant.right}", trial.mutant.wrong, found[key]))
    return rows


def unexplained(rows: list[tuple[str, str, bool]]) -> list[tuple[str, str]]:
    return [(right, wrong) for right, wrong, alive in rows if alive and (right, wrong) not in EQUIVALENT]


def outdated(results: dict[str, list[tuple[str, str, bool]]]) -> bool:
    """Whether equivalent.py explains a mutant that no longer survives; such rows are named."""
    alive = {(right, wrong) for rows in results.values() for right, wrong, survived in rows if survived}
    for right, wrong in EQUIVALENT.keys() - alive:
        print(f"no survivor: {right} → {wrong}; take its row out of benchmarks/equivalent.py")
    return bool(EQUIVALENT.keys() - alive)


def main(only: list[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    found = json.loads(FOUND.read_text()) if FOUND.exists() else {}
    results = {}
    for slug in only or [slug for slug in slugs() if parts(slug)["solution source"].exists()]:
        try:
            results[slug] = try_all(slug, found)
        finally:
            FOUND.write_text(json.dumps(found))
    text = table(results, EQUIVALENT, "the hidden tests of the exercises")
    print(text)
    if not only:
        (ROOT / "benchmarks/exercise_mutation.md").write_text(text)
    return int(any(map(unexplained, results.values())) or (not only and outdated(results)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
