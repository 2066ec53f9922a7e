"""Right answers in honest styles over all exercises, in both sandboxes: each is worth all points."""

from pathlib import Path

from benchmarks.grading.measure import machine, table
from course_lib.authoring.places import parts, slugs
from course_lib.grading.batch import Grader, Job, Settings
from tests.grading.honest import STYLES, solved

MODES = ("bubblewrap", "landlock")


def punished(slug: str, mode: str) -> dict[str, str]:
    """The styles in which a right answer to an exercise lost points, and where."""
    grader = Grader(Settings(slug, "honest", seconds=30, mode=mode))
    found = {}
    try:
        for style, (suffix, write) in STYLES.items():
            record = grader.grade(Job("ana", "", f"mine{suffix}", write(solved(grader.assignment))), alone=True)
            if record.earned != grader.assignment.points:
                found[style] = record.problem or ", ".join(task.task for task in record.tasks if not task.earned)
                print(slug, mode, style, found[style], flush=True)
    finally:
        grader.close()
    return found


def main() -> None:
    chosen = [slug for slug in slugs() if parts(slug)["hidden tests"].exists()]
    rows = []
    for slug in chosen:
        lost = {mode: punished(slug, mode) for mode in MODES}
        cells = ["; ".join(f"{style}: {why}" for style, why in lost[mode].items()) or "none" for mode in MODES]
        rows.append([slug, len(STYLES), *cells])
    text = (
        f"# Right answers in honest styles\n\n{len(STYLES)} styles, {len(chosen)} exercises, {machine()}.\n"
        "Written by `python -m benchmarks.grading`.\n\n"
        + table(["exercise", "styles", *(f"lost points in {mode}" for mode in MODES)], rows)
        + "\nThe styles: "
        + ", ".join(STYLES)
        + ".\n"
    )
    Path(__file__).with_name("honest.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
