"""How long a reader waits in the browser: for JupyterLab, a lesson, all its cells, a slider's new picture.

Run from the root: ``python -m benchmarks.browser``. It writes benchmarks/browser.json and benchmarks/browser.md.
"""

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from tests.browser import lab
from tests.browser.test_lessons import LESSONS, LIMIT

ROOT = Path(__file__).resolve().parents[1]


def seconds_since(start: float) -> float:
    return round(time.perf_counter() - start, 1)


def measure_lesson(page, address: str) -> dict:
    start = time.perf_counter()
    notebook = lab.Notebook(page)
    notebook.start(address)
    row = {"open_s": seconds_since(start)}
    start = time.perf_counter()
    notebook.run_all()
    row["run_all_s"] = seconds_since(start)
    row["sliders"] = [measure_slider(notebook, slider) for slider in notebook.sliders]
    assert notebook.tracebacks == [] and notebook.requests_elsewhere == []
    return row


def measure_slider(notebook: lab.Notebook, slider) -> dict:
    share = share_of_a_core()
    taken = list(lab.eight_moves(notebook, slider))
    row = {
        "median_ms": round(statistics.median(taken)),
        "max_ms": round(max(taken)),
        "share_of_a_core": round(share, 2),
    }
    return row | {"drag_ms": round(notebook.drag(slider))}


def share_of_a_core(seconds: float = 0.3) -> float:
    """How much of one processor a busy program gets at this moment: 1 on an idle machine, 0.5 if it must share."""
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        pass
    return (time.process_time() - cpu) / (time.perf_counter() - wall)


def measure() -> dict:
    with tempfile.TemporaryDirectory() as home:
        notebooks = Path(home) / "notebooks"
        shutil.copytree(ROOT / "notebooks", notebooks, ignore=shutil.ignore_patterns("src", ".*"))
        start = time.perf_counter()
        with lab.jupyterlab(notebooks, Path(home)) as address, lab.chromium() as browser:
            found = {"lab_s": seconds_since(start), "lessons": {}}
            for slug, _ in LESSONS:
                page = browser.new_page(viewport={"width": 1280, "height": 1600})
                found["lessons"][slug] = measure_lesson(page, address(f"{slug}.ipynb"))
                page.close()
    return found


def table(found: dict) -> str:
    lines = [
        "# Waiting in the browser",
        "",
        f"Headless Chromium and JupyterLab on {found['machine']}. Written by `python -m benchmarks.browser`.",
        f"The wish is a new picture within {LIMIT} ms (median of eight keys). It takes longer where others use",
        "the same processors: *core* is the share of one that a busy program got just before.",
        f"JupyterLab and the browser were up after {found['lab_s']} s.",
        "",
        "| lesson | open s | all cells s | slider | key → picture ms, median | max | drag ms | core |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for slug, lesson in found["lessons"].items():
        for number, row in enumerate(lesson["sliders"], start=1):
            cells = [slug, lesson["open_s"], lesson["run_all_s"], number, row["median_ms"], row["max_ms"]]
            lines.append("| " + " | ".join(map(str, [*cells, row["drag_ms"], row["share_of_a_core"]])) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    found = measure() | {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}"
    }
    (ROOT / "benchmarks/browser.json").write_text(json.dumps(found, indent=1) + "\n")
    (ROOT / "benchmarks/browser.md").write_text(table(found))
    print(table(found))
