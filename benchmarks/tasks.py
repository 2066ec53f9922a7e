"""Every mechanism on five small tasks with one budget: ``python -m benchmarks.tasks``.

Each row of the catalogue that fits into a slot b c h w, and four rivals without attention, is trained on each task of
``course_lib.comparison`` with three seeds. One process a core, each with one thread; a run that is stopped goes on
where it was, and ``--again NAME …`` measures these rows anew. Beside the scores: learned numbers and multiply-adds of
the slot, and milliseconds of CPU time of a training step of the whole network (they depend on the machine).
Writes tasks.md beside this file, and course_lib/data/five_tasks.json, which lesson 19 reads.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean

import torch
from tqdm import tqdm

from course_lib.catalog import CATALOG
from course_lib.comparison.slot import LEFT_OUT, RIVALS, fill
from course_lib.comparison.tasks import TASKS
from course_lib.costs import multiply_adds

HERE = Path(__file__).parent
FILE = HERE.parent / "course_lib/data/five_tasks.json"  # shipped with the library: lesson 19 reads it
SEEDS = (0, 1, 2)
NAMES = [*RIVALS, *(row.name for row in CATALOG if row.name not in LEFT_OUT)]
Job = tuple[str, str]  # task, name


def measure(job: Job) -> dict:
    """One mechanism on one task: scores, numbers, multiply-adds, milliseconds; or why there is none."""
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"
    task = TASKS[job[0]]
    try:
        slot = fill(job[1], *task.size)
    except ValueError as reason:
        return {"missing": str(reason)}
    start = time.process_time()
    scores = [task.run(lambda: fill(job[1], *task.size), seed) for seed in SEEDS]
    seconds = (time.process_time() - start) / len(SEEDS) / task.budget["steps"]
    return {
        "scores": [round(score, 3) for score in scores],
        "numbers": sum(p.numel() for p in slot.parameters()),
        "multiply_adds": multiply_adds(slot, torch.zeros(1, *task.size)),
        "milliseconds": round(1000 * seconds, 2),
    }


def run(jobs: list[Job], known: dict[str, dict]) -> None:
    """Measure what is not known, and write after each."""
    with ProcessPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        waiting = {pool.submit(measure, job): job for job in jobs}
        for done in tqdm(as_completed(waiting), total=len(waiting), unit="run"):
            task, name = waiting[done]
            if done.exception():
                pool.shutdown(cancel_futures=True)  # else all others run on, and nobody writes what they find
            known.setdefault(task, {})[name] = done.result()
            write(known)


def write(known: dict[str, dict]) -> None:
    ordered = {
        task: {name: known[task][name] for name in NAMES if name in known[task]} for task in TASKS if task in known
    }
    FILE.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (HERE / "tasks.md").write_text(table(ordered), encoding="utf-8")


def table(known: dict[str, dict]) -> str:
    """The scores, a row for each mechanism; the best three and their equals are bold."""
    head = [f"# Five tasks, one budget\n\n{__doc__}\n", f"| | {' | '.join(TASKS)} |", "|---" * (len(TASKS) + 1) + "|"]
    rows = [f"| {name} | {' | '.join(cell(known.get(task, {}).get(name)) for task in TASKS)} |" for name in NAMES]
    missing = [f"- {name}: {why}" for name, why in LEFT_OUT.items()]
    return "\n".join([*head, *rows, "\nLeft out:\n", *missing]) + "\n"


def cell(one: dict | None) -> str:
    """The mean of the scores, and the smallest and the largest."""
    if one is None:
        return "?"
    if "missing" in one:
        return "–"
    scores = one["scores"]
    return f"{mean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f}), {one['milliseconds']:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", nargs="*", default=[], metavar="NAME", help="measure these rows anew")
    again = parser.parse_args().again
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    run([(t, n) for t in TASKS for n in NAMES if n in again or n not in known.get(t, {})], known)


if __name__ == "__main__":
    main()
