"""The picture of a run: how the marks are spread, and which tasks are missed."""

from io import BytesIO

from matplotlib import rc_context, rcParamsDefault
from matplotlib.figure import Figure

from course_lib.grading.marks import Marks

SIZES = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize")
BLUE, ORANGE = "#0072b2", "#d55e00"  # told apart by everybody, and by lightness


@rc_context({name: rcParamsDefault[name] for name in SIZES})  # type: ignore[misc,index]
def picture(marks: Marks) -> bytes:
    """A PNG: a histogram of the marks beside the share of submissions that miss each task."""
    figure = Figure(figsize=(9, 3.2), dpi=100, layout="constrained")
    left, right = figure.subplots(1, 2)
    earned = [record.earned for record in marks.graded]
    left.hist(earned, bins=[edge - 0.5 for edge in range(marks.points + 2)], color=BLUE)
    left.set(title="Marks", xlabel=f"points, of {marks.points}", ylabel="submissions")
    for axis in (left.xaxis, left.yaxis):
        axis.get_major_locator().set_params(integer=True)
    names = [task.name for task in marks.tasks]
    missed = [missed_by(marks, name) for name in names]
    right.barh(names, missed, color=ORANGE)
    right.set(title="Missed by", xlabel="% of submissions", xlim=(0, 100))
    right.invert_yaxis()
    out = BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def missed_by(marks: Marks, name: str) -> float:
    """Per cent of the graded submissions that did not earn a task."""
    seen = [task for record in marks.graded for task in record.tasks if task.task == name]
    return 100 * sum(not task.earned for task in seen) / len(seen) if seen else 0.0
