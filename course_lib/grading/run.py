"""One grading run: find the submissions, grade those that no earlier run did, write marks and reports."""

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from course_lib.exercises import ROOT
from course_lib.grading.assignment import Assignment, read_assignment
from course_lib.grading.batch import Grader, Job, Result, Settings, failed, in_threads, on_cluster
from course_lib.grading.cells import Unreadable, cells_of
from course_lib.grading.contents import blocks_of, functions
from course_lib.grading.identity import NAMELESS, is_nameless
from course_lib.grading.lateness import Rule, lateness
from course_lib.grading.marks import (
    FROM_ROSTER,
    MISSING,
    Marks,
    Record,
    TaskInfo,
    called,
    namesakes,
    record_to_data,
    sorting,
    to_json,
)
from course_lib.grading.overrides import by_hand
from course_lib.grading.reports import write_results
from course_lib.grading.reports.tables import table_row
from course_lib.grading.roster import Person, Roster, Unclear
from course_lib.grading.similarity import Prints, alike, fingerprints
from course_lib.grading.sources import NOT_LISTED, as_before, is_left_over, is_there, one_source, without_roster
from course_lib.grading.store import Store, key
from course_lib.grading.submissions import Submission, find_submissions

MAX_NOTES, MAX_NOTE = 20, 500


class Evening(NamedTuple):
    """What the instructor adds to the marks, apart from grading."""

    roster: Roster | None = None
    deadlines: dict[str, float] = {}  # noqa: RUF012  (never changed)
    rule: Rule | None = None


class How(NamedTuple):
    """How submissions are graded: so many at the same time here, or on a cluster; of which course."""

    jobs: int
    dask: str | None = None
    root: Path = ROOT


def grade_folder(
    place: Path, store: Store, settings: Settings, *, jobs: int, dask: str | None = None, root: Path = ROOT
) -> Marks:
    """Grade every submission of one lesson below ``place``; records, marks and reports go to ``store``."""
    lessons = {settings.slug: find_submissions(place, settings.slug, root)}
    (marks,) = grade_lessons(lessons, store, settings, How(jobs, dask, root))
    return marks


def grade_lessons(
    lessons: dict[str, list[Submission]],
    store: Store,
    settings: Settings,
    how: How,
    evening: Evening = Evening(),  # noqa: B008  (never changed)
    keep: Callable[[str, Record], bool] = lambda lesson, record: False,
) -> tuple[Marks, ...]:
    """Grade each lesson's submissions with its own tests, and write everything.

    ``keep`` says which rows of an earlier run stay, besides those of lessons that are not graded now.
    """
    before = {marks.slug: marks for marks in store.lessons()}
    after = dict(before)
    with tqdm(total=sum(map(len, lessons.values())), unit="submission", smoothing=0) as bar:
        for slug, submissions in lessons.items():
            after[slug] = grade_lesson(submissions, store, settings._replace(slug=slug), how, evening, bar)
    for slug, marks in after.items():
        earlier = before[slug].records if slug in before else ()
        if slug in lessons:
            seen = {record.who for record in marks.records}
            new = [as_before(record, earlier) for record in marks.records]
            old = [one for one in earlier if keep(slug, one) and one.who not in seen]
            marks = replace(marks, records=(*new, *old))
        after[slug] = completed(marks, store, evening)
    done = tuple(after[slug] for slug in sorted(after))
    write_results(done, store.folder)
    return done


def grade_lesson(
    submissions: list[Submission], store: Store, settings: Settings, how: How, evening: Evening, bar: tqdm
) -> Marks:
    """The marks of one lesson's submissions, from an earlier run where it graded the same."""
    assignment = read_assignment(settings.slug, how.root)
    names = {one: name_of(one, assignment, settings) for one in submissions}
    records = {one: record for one, name in names.items() if (record := known(one, name, store))}
    waiting = [one for one in submissions if one not in records]
    bar.set_postfix_str(f"{bar.total - bar.n - len(records)} left", refresh=False)
    bar.update(len(records))
    results = graded(waiting, assignment, settings, how.jobs, how.dask, how.root)
    try:
        for submission, record, certain in results:
            records[submission] = kept(names[submission], record, store) if certain else record
            left = f"{bar.total - bar.n - 1} left, {so_far(list(records.values()), assignment)}"
            bar.set_postfix_str(left, refresh=False)
            bar.update()
    finally:
        if isinstance(results, Generator):  # now, not when somebody collects it: Ctrl-C ends the sandbox
            results.close()
    prints = {one.who: (names[one], one) for one in submissions if not records[one].problem}
    asked = {name.decode() for name in functions(settings.slug, how.root)}
    store.add_fingerprints(settings.slug, prints, lambda one: fingerprints_of(one, asked))
    marks = Marks(settings.slug, tuple(TaskInfo(task.name, task.title, task.points) for task in assignment.tasks), ())
    return replace(marks, records=tuple(row_of(records[one], one, marks, evening) for one in submissions))


def kept(name: str, record: Record, store: Store) -> Record:
    """The record once it is stored; what cannot be stored is told in its row, and graded by the next run."""
    try:
        store.put(name, record)
    except OSError:  # the disk's fault, which would be that of every other row, too
        raise
    except Exception as error:
        return replace(record, tasks=(), notes=(), problem=f"the result cannot be stored ({type(error).__name__})")
    return record


def row_of(record: Record, submission: Submission, marks: Marks, evening: Evening) -> Record:
    """The row of one submission; where it cannot be written, one that says so, so that the others stand."""
    try:
        row = handed_in(record, submission, marks.slug, evening)
        to_json(record_to_data(row))
        table_row(marks, row)
        return row
    except Exception as error:
        problem = f"its row cannot be written ({type(error).__name__})"
        return replace(failed(submission, problem), who=submission.who, upload=submission.upload)


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
    except Exception:  # `known` says why
        return ""


def known(submission: Submission, name: str, store: Store) -> Record | None:
    """The record of a submission that need not be graded: there is nothing to read, or an earlier run did it."""
    if name:
        return store.get(name)
    try:
        submission.read()
        problem = "the file changed while it was read; grade once more"
    except Unreadable as error:
        problem = str(error)
    except Exception as error:
        problem = f"the file cannot be read ({type(error).__name__}: {error})"
    return failed(submission, problem)


def fingerprints_of(submission: Submission, asked: set[str]) -> Prints:
    """The fingerprints of the answers to what was asked for."""
    try:
        return fingerprints(blocks_of(cells_of(submission.read(), submission.file.lower()), asked))
    except Exception:  # a hint that one student gives no cause for
        return {}


# From what the grader says to what the instructor reads


def handed_in(record: Record, submission: Submission, lesson: str, evening: Evening) -> Record:
    """A record with what the download tells of it: notes, whose it is, and how late."""
    notes = [note[:MAX_NOTE] for note in record.notes[:MAX_NOTES]]
    if len(record.notes) > MAX_NOTES:
        notes.append(f"and {len(record.notes) - MAX_NOTES} more notes")
    deadline = evening.deadlines.get(lesson, evening.deadlines.get(""))
    late = lateness(submission.time, submission.clock, submission.late, deadline, evening.rule)
    notes += [note[:MAX_NOTE] for note in submission.notes]
    row = replace(record, notes=tuple(notes), late=late, who=submission.who)
    return replace(row, upload=submission.upload, aside=submission.aside, by_itself=submission.by_itself)


def completed(marks: Marks, store: Store, evening: Evening) -> Marks:
    """Marks with the roster's names, with whoever handed in nothing, and with the marks given by hand."""
    records = [record for record in marks.records if not (record.missing or is_left_over(record))]
    if evening.roster:
        records = on_the_roster(records, evening.roster, marks.slug)
    else:
        records = without_roster(records, marks.slug)
    records.sort(key=lambda record: (sorting(record.student), record.student, record.id, record.file))
    prints, shared = store.fingerprints(marks.slug), namesakes([replace(marks, records=tuple(records))])
    similar = alike((called(record, shared), prints.get(record.who, {})) for record in records if not record.problem)
    return by_hand(replace(marks, records=tuple(records), similar=similar), store)


def on_the_roster(records: list[Record], roster: Roster, slug: str) -> list[Record]:
    """The records under the roster's names, one for each person; who handed in nothing gets one."""
    rows: list[Record] = []
    of: dict[str, list[Record]] = {person.key: [] for person in roster.people}
    perhaps: dict[str, str] = {}
    for record in records:
        try:
            if person := roster.find(record.student, record.id):
                of[person.key].append(record)
            elif is_nameless(record.who, [slug]):
                rows.append(replace(record, tasks=(), problem=NAMELESS, section=NOT_LISTED))
            elif is_there(record) or not record.by_itself:
                rows.append(replace(record, section=NOT_LISTED))
        except Unclear as unclear:
            rows.append(replace(record, tasks=(), problem=str(unclear), section="unclear"))
            perhaps |= {one.key: f"perhaps hers: {record.file}" for one in unclear.people}
    for person in roster.people:
        nothing = Record(person.name, "", "", problem=perhaps.get(person.key, MISSING), who=person.key)
        rows += [
            replace(one, student=person.name, id=one.id or person.id, person=person.key, **told_of(person, one))
            for one in one_source(person.name, of[person.key] or [nothing])
        ]
    return rows


def told_of(person: Person, record: Record) -> dict[str, Any]:
    """What a row takes over from the roster; of a number that is not there it keeps its own."""
    numbers = {name: getattr(person, name) or getattr(record, name) for name in FROM_ROSTER}
    return {"section": person.section} | numbers


def so_far(records: list[Record], assignment: Assignment) -> str:
    """The running table beside the progress bar."""
    earned = [record.earned for record in records if record.earned is not None]
    mean = f"mean {sum(earned) / len(earned):.1f} of {assignment.points}" if earned else "none graded"
    return f"{mean}, {len(records) - len(earned)} not graded"
