"""Right answers in honest styles over all exercises, in both sandboxes: each is worth all points.

``python -m benchmarks.grading.honest 2`` tries each style in two exercises, by turns, where all would take too long.
"""

import sys
from pathlib import Path

from benchmarks.grading.measure import machine, table
from course_lib.authoring.places import parts, slugs
from course_lib.grading.batch import Grader, Job, Settings
from tests.grading.honest import STYLES, solved

MODES = ("bubblewrap", "landlock")


def by_turns(place: int, count: int, each: int) -> list[str]:
    """The styles tried in the exercise at ``place`` of ``count``: each style is tried in ``each`` of them."""
    step = max(1, count // each)
    return [style for k, style in enumerate(STYLES) if place in {(k + turn * step) % count for turn in range(each)}]


def punished(slug: str, mode: str, styles: list[str]) -> dict[str, str]:
    """The styles in which a right answer to an exercise lost points, and where."""
    grader = Grader(Settings(slug, "honest", seconds=30, mode=mode))
    found = {}
    try:
        for style in styles:
            suffix, write = STYLES[style]
            record = grader.grade(Job("ana", "", f"mine{suffix}", write(solved(grader.assignment))), alone=True)
            if record.earned != grader.assignment.points:
                found[style] = record.problem or ", ".join(task.task for task in record.tasks if not task.earned)
                print(slug, mode, style, found[style], flush=True)
    finally:
        grader.close()
    return found


def main() -> None:
    chosen = [slug for slug in slugs() if parts(slug)["hidden tests"].exists()]
    each = int(sys.argv[1]) if len(sys.argv) > 1 else len(chosen)
    rows = []
    for place, slug in enumerate(chosen):
        styles = by_turns(place, len(chosen), each)
        lost = {mode: punished(slug, mode, styles) for mode in MODES}
        cells = ["; ".join(f"{style}: {why}" for style, why in lost[mode].items()) or "none" for mode in MODES]
        rows.append([slug, len(styles), *cells])
        print(*rows[-1], flush=True)
    count = sum(row[1] for row in rows)
    text = (
        f"# Right answers in honest styles\n\n{len(STYLES)} styles, {len(chosen)} exercises, {count} right "
        f"answers in each sandbox, {machine()}.\n"
        f"Written by `python -m benchmarks.grading.honest {each}`: each style in {each} exercises, by turns.\n\n"
        + table(["exercise", "styles", *(f"lost points in {mode}" for mode in MODES)], rows)
        + "\nThe styles: "
        + ", ".join(STYLES)
        + ".\n"
    )
    Path(__file__).with_name("honest.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
