"""Every mechanism on five small tasks with one budget: ``python -m benchmarks.tasks``.

Each row of the catalogue that fits into a slot b c h w, and four rivals without attention, is trained on each task of
``course_lib.comparison`` with three seeds. One process a core, each with one thread; a run that is stopped goes on
where it was, and ``--again NAME …`` measures these rows anew. Beside the scores: learned numbers and multiply-adds of
the slot, and milliseconds of a training step of the whole network, measured afterwards, one after the other
(they depend on the machine; ``--clock`` measures them all anew, in about four minutes: leave the machine alone).
Writes tasks.md beside this file, and course_lib/data/five_tasks.json, which lesson 19 reads.
"""

import argparse
import json
import math
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from statistics import mean

import torch
from torch import Tensor
from tqdm import tqdm

from course_lib.catalog import CATALOG
from course_lib.comparison.slot import LEFT_OUT, RIVALS, fill
from course_lib.comparison.tasks import TASKS, Task
from course_lib.costs import multiply_adds
from course_lib.training import fit

HERE = Path(__file__).parent
FILE = HERE.parent / "course_lib/data/five_tasks.json"  # shipped with the library: lesson 19 reads it
SEEDS = (0, 1, 2)
NAMES = [*RIVALS, *(row.name for row in CATALOG if row.name not in LEFT_OUT)]
Job = tuple[str, str]  # task, name


def measure(job: Job) -> dict:
    """One mechanism on one task: scores, numbers, multiply-adds; or why there is none."""
    quiet()
    task = TASKS[job[0]]
    try:
        slot = fill(job[1], *task.size)
    except ValueError as reason:
        return {"missing": str(reason)}
    scores = [task.run(lambda: fill(job[1], *task.size), seed) for seed in SEEDS]
    return {
        "scores": [round(score, 3) for score in scores],
        "numbers": sum(p.numel() for p in slot.parameters()),
        "multiply_adds": multiply_adds(slot, torch.zeros(1, *task.size)),
    }


def quiet() -> None:
    """One thread, no bar inside of the bar."""
    torch.set_num_threads(1)
    os.environ["TQDM_DISABLE"] = "1"


def milliseconds(task: Task, name: str, data: tuple[Tensor, Tensor]) -> float:
    """CPU time of a training step: the fastest of three runs of 20 steps."""
    model, budget = task.network(fill(name, *task.size)), task.budget | {"steps": 20}
    seconds = []
    for seed in SEEDS:
        start = time.process_time()
        fit(model, *data, **budget, one_cycle=False, seed=seed)
        seconds.append(time.process_time() - start)
    return round(1000 * min(seconds) / budget["steps"], 2)


def clock(known: dict[str, dict]) -> None:
    """Time the rows that have no time yet, one after the other."""
    quiet()
    for task in TASKS:
        data = TASKS[task].data(2000, 0, False)
        rows = {name: row for name, row in known[task].items() if not row.keys() & {"missing", "milliseconds"}}
        for name, row in (bar := tqdm(rows.items(), desc=task, unit="row", disable=False)):
            row["milliseconds"] = milliseconds(TASKS[task], name, data)
            bar.set_postfix_str(name)
        write(known)


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
    """The scores, a row for each mechanism, and what is left out."""
    head = [f"# Five tasks, one budget\n\n{__doc__}\n", f"| | {' | '.join(TASKS)} |", "|---" * (len(TASKS) + 1) + "|"]
    rows = [f"| {name} | {' | '.join(cell(known.get(task, {}).get(name)) for task in TASKS)} |" for name in NAMES]
    missing = [f"- {name}: {why}" for name, why in LEFT_OUT.items()]
    return "\n".join([*head, *rows, "\nLeft out:\n", *missing]) + "\n"


def cell(one: dict | None) -> str:
    """The mean of the scores, the smallest and the largest, and the time of a step."""
    if one is None:
        return "?"
    if "missing" in one:
        return "–"
    scores, step = one["scores"], one.get("milliseconds", math.nan)  # no time yet: nan
    return f"{mean(scores):.2f} ({min(scores):.2f} to {max(scores):.2f}), {step:.1f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--again", nargs="*", default=[], metavar="NAME", help="measure these rows anew")
    parser.add_argument("--clock", action="store_true", help="time all rows anew")
    options = parser.parse_args()
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    run([(t, n) for t in TASKS for n in NAMES if n in options.again or n not in known.get(t, {})], known)
    if options.clock:
        for row in (row for rows in known.values() for row in rows.values()):
            row.pop("milliseconds", None)
    clock(known)


if __name__ == "__main__":
    main()
