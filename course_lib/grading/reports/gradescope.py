"""Marks as Gradescope's results.json: one file for each student, or the one of an autograder container."""

from course_lib.grading.marks import Marks, Record, to_json
from course_lib.grading.reports.apart import each, student
from course_lib.grading.reports.pages import page_name


def results(marks: Marks, record: Record) -> dict:
    """What Gradescope reads: a score of each task, with what its student may read."""
    if record.mark is None:
        return {"score": 0, "output": f"Not graded: {record.problem}", "visibility": "visible", "tests": []}
    titles = {task.name: task.title for task in marks.tasks}
    tests = [
        {
            "name": f"{task.task} · {titles[task.task]}",
            "number": task.task.removeprefix("task_").replace("_", "."),
            "score": task.mark,
            "max_score": task.points,
            "status": "passed" if task.mark == task.points else "failed",
            "output": "\n".join(filter(None, [task.check, task.sentence, *task.hints])),
            "output_format": "text",
            "visibility": "visible",
        }
        for task in record.tasks
    ]
    by_hand = f", given by hand: {'; '.join(record.reasons)}" if record.reasons else ""
    first = f"{record.mark} of {marks.points} points{by_hand}. Sandbox: {marks.sandbox}."
    output = "\n".join([first, *record.notes])
    return {
        "score": record.mark,
        "output": output,
        "output_format": "text",
        "visibility": "visible",
        "tests": tests,
    }


def gradescope(marks: Marks) -> dict[str, str]:
    def file(record: Record) -> tuple[str, str]:
        return f"gradescope/{page_name(record)}.json", to_json(results(marks, record))

    return dict(each(marks.records, file, student))
