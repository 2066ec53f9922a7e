"""The hostile submissions of ``tests/grading`` in both sandboxes, as a table."""

import tempfile
from pathlib import Path

from benchmarks.grading.measure import machine, table
from tests.grading.small import POINTS
from tests.grading.test_hostile import HONEST, SUBMISSIONS, Batch, earned, grade_all, record_of


def tasks(found: frozenset[int] | set[int] | None) -> str:
    return "not graded" if found is None else "".join(map(str, sorted(found))) or "none"


def row(one, batches: dict[str, Batch]) -> list[str]:
    cells = [one.name.replace("_", " "), one.kind, ("" if one.exact else "at most ") + tasks(one.earns)]
    for mode, batch in batches.items():
        if one not in SUBMISSIONS[mode]:
            cells.append("–")
            continue
        record = record_of(batch.marks, one.name)
        got = None if record.problem else earned(record)
        as_expected = got == one.earns or (not one.exact and got is not None and got <= one.earns)
        reasons = sorted({task.reason for task in record.tasks if task.reason})
        cells.append(
            f"{tasks(got)}{'' if as_expected else ' **WRONG**'} {'(' + ', '.join(reasons) + ')' if reasons else ''}"
        )
    return cells


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        batches = {}
        for mode, ones in SUBMISSIONS.items():
            (Path(folder) / mode).mkdir()
            batches[mode] = grade_all(ones, mode, Path(folder) / mode)
    rows = [row(one, batches) for one in SUBMISSIONS["bubblewrap"]]
    moved = sum(
        record_of(batch.marks, f"honest{k}").earned != sum(POINTS.values())
        for batch in batches.values()
        for k in range(HONEST)
    )
    left = sum(len(batch.left) for batch in batches.values())
    text = (
        f"# Hostile and broken submissions\n\n{len(rows)} submissions, {machine()}.\n"
        "Written by `python -m benchmarks.grading`.\n"
        "The exercise has tasks 1 to 4; *earns* are the tasks whose code is right. "
        f"Marks of honest students in the same batches that moved: {moved}; "
        f"processes and files left behind: {left}.\n\n"
        + table(["submission", "kind", "earns", *(f"marked in {mode}" for mode in batches)], rows)
    )
    Path(__file__).with_name("hostile.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
