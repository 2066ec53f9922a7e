"""One grading run: find the submissions, grade those that no earlier run did, write marks and reports."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from course_lib.authoring.places import slugs
from course_lib.exercises import ROOT, UsageError
from course_lib.grading.assignment import Assignment, read_assignment
from course_lib.grading.batch import Grader, Job, Result, Settings, failed, in_threads, on_cluster
from course_lib.grading.cells import NAME, Unreadable, cells_of
from course_lib.grading.marks import Marks, Record, TaskInfo, marks_to_json
from course_lib.grading.reports import write_report
from course_lib.grading.store import Store, key, write
from course_lib.grading.submissions import NOTEBOOKS, Submission, files, find_submissions


def grade_folder(
    place: Path, store: Store, settings: Settings, *, jobs: int, dask: str | None = None, root: Path = ROOT
) -> Marks:
    """Grade every submission below ``place``; records, marks and reports go to ``store``."""
    assignment = read_assignment(settings.slug, root)
    submissions = find_submissions(place, settings.slug)
    names = {one: name_of(one, assignment, settings) for one in submissions}
    records = {one: record for one, name in names.items() if (record := known(one, name, store))}
    waiting = [one for one in submissions if one not in records]
    with tqdm(total=len(submissions), initial=len(records), unit="submission", smoothing=0) as bar:
        for submission, record, certain in graded(waiting, assignment, settings, jobs, dask, root):
            if certain:
                store.put(names[submission], record)
            records[submission] = record
            bar.set_postfix_str(so_far(list(records.values()), assignment))
            bar.update()
    tasks = tuple(TaskInfo(task.name, task.title, task.points) for task in assignment.tasks)
    marks = Marks(settings.slug, tasks, tuple(with_notes(records[one], one) for one in submissions))
    write_results(marks, store.folder)
    return marks


def graded(
    waiting: list[Submission], assignment: Assignment, settings: Settings, jobs: int, dask: str | None, root: Path
) -> Iterator[Result]:
    """The results of what is still to be graded, from threads here or from a cluster."""
    if not waiting:
        return iter(())
    if dask:
        return on_cluster(dask, settings, assignment.version, waiting)
    return in_threads(Grader(settings, root), waiting, jobs)


def name_of(submission: Submission, assignment: Assignment, settings: Settings) -> str:
    """The key of a submission's result: everything that the result follows from."""
    if submission.problem:
        return ""
    try:
        return key(assignment.version, *map(str, settings), *map(str, Job.of(submission)[:3]), submission.read())
    except (Unreadable, OSError):
        return ""


def known(submission: Submission, name: str, store: Store) -> Record | None:
    """The record of a submission that need not be graded: there is nothing to read, or an earlier run did it."""
    if name:
        return store.get(name)
    try:
        submission.read()
        problem = "the file changed while it was read; grade once more"
    except (Unreadable, OSError) as error:
        problem = str(error)
    return failed(submission, problem)


def with_notes(record: Record, submission: Submission) -> Record:
    return replace(record, notes=record.notes + submission.notes)


def so_far(records: list[Record], assignment: Assignment) -> str:
    """The running table beside the progress bar."""
    earned = [record.earned for record in records if record.earned is not None]
    mean = f"mean {sum(earned) / len(earned):.1f} of {assignment.points}" if earned else "none graded"
    return f"{mean}, {len(records) - len(earned)} not graded"


def write_results(marks: Marks, folder: Path) -> None:
    """The marks, the instructor's table and summary, a page for each student; pages of earlier runs go."""
    write(folder / "marks.json", marks_to_json(marks))
    write_report(marks, "csv", folder)
    pages = set(write_report(marks, "html", folder))
    for old in (folder / "students").glob("*.html"):
        if old not in pages:
            old.unlink()


def guess_lesson(place: Path, root: Path) -> str:
    """The exercise that most of the first submissions name in their cells.

    Raises:
        UsageError: if they name none.
    """
    found: Counter[str] = Counter()
    if place.exists():
        for file in list(files(place))[:50]:
            if file.parts[-1].lower().endswith(NOTEBOOKS):
                try:
                    cells = cells_of(file.read(), file.parts[-1].lower())
                except (Unreadable, OSError):
                    continue
                found.update({cell.name.split("_")[1] for cell in cells if NAME.fullmatch(cell.name)})
    written = [slug for number, _ in found.most_common() for slug in slugs(root) if slug[:2] == number]
    if not written:
        raise UsageError(f"the notebooks in {place} name no exercise; say which one with --lesson 01")
    return written[0]
