"""What a grading run says: one record per submission, plain data that JSON holds."""

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

from course_lib.grading.lateness import Late

MISSING = "handed in nothing"
FROM_ROSTER = ("participant", "sis", "login")
CUT_SHORT = "did not run to its end"  # of a cell
PLATFORMS = ("Canvas", "Moodle", "Gradescope")  # whose identifiers ``Record.who`` begins with


@dataclass(frozen=True)
class Override:
    """A mark that the instructor gave by hand, and why."""

    points: float
    reason: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.points) and self.points >= 0):
            raise ValueError(f"a mark of {self.points!r}; give a number from 0")


@dataclass(frozen=True)
class TaskMark:
    """One task of one submission.

    ``reason``: "" where it is earned, else wrong, raised, untouched, timeout, died, memory or protocol.
    ``check``: what the visible check said ("" where it holds); ``hints``: one for each hidden test that failed.
    ``mistake``: the named wrong answer that the submission matches; ``sentence``: what that one says.
    ``given``: the instructor's mark for this task.
    """

    task: str
    points: int
    earned: int
    reason: str = ""
    check: str = ""
    hints: tuple[str, ...] = ()
    mistake: str = ""
    sentence: str = ""
    given: Override | None = None

    def __post_init__(self) -> None:
        if type(self.earned) is not int or self.earned not in (0, self.points):
            raise ValueError(f"{self.task} earns {self.earned!r}; a task earns 0 or its {self.points} points")

    @property
    def mark(self) -> float:
        """What counts: the instructor's points where she gave some, else what the tests say."""
        return self.earned if self.given is None else short(self.given.points)


@dataclass(frozen=True)
class Record:
    """One graded submission; ``problem`` says why it could not be graded, and then it has no mark.

    ``sandbox`` names what held it; ``asked`` is for what its code asked that is not its own: hidden tests, solutions.
    The grader fills the first eight; the rest is the instructor's evening: ``who``
    is the same in each run, ``person`` (from the roster) on all platforms, ``upload`` is how the name of a feedback
    file begins, ``aside`` says that it came in a download that is about another lesson. ``participant`` (Moodle's
    number), ``sis`` and ``login`` (Canvas's SIS User ID and SIS Login ID) are the roster's. ``by_itself`` is the
    path where the instructor gave it by itself; ``also`` are the rows in whose place it stands, by their ``who``.
    """

    student: str
    id: str
    file: str
    tasks: tuple[TaskMark, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()
    sandbox: str = ""
    asked: tuple[str, ...] = ()
    who: str = ""
    person: str = ""
    section: str = ""
    upload: str = ""
    participant: str = ""
    sis: str = ""
    login: str = ""
    aside: bool = False
    by_itself: str = ""
    also: tuple[str, ...] = ()
    late: Late | None = None
    override: Override | None = None

    @property
    def known_as(self) -> tuple[str, ...]:
        """Under what a mark by hand finds this row: whoever handed in nothing is known by the roster alone."""
        return tuple(dict.fromkeys(one for one in (self.person, *self.also, self.who) if one))

    @property
    def earned(self) -> int | None:
        """What the tests say."""
        return None if self.problem else sum(task.earned for task in self.tasks)

    @property
    def mark(self) -> float | None:
        """What counts, lateness apart: the instructor's mark where she gave one, else what the tasks count."""
        if self.override is not None:
            return short(self.override.points)
        return None if self.problem else short(sum(task.mark for task in self.tasks))

    @property
    def reasons(self) -> list[str]:
        """Why the mark is the instructor's, in words: one for the whole, else one for each task that she marked."""
        if self.override is not None:
            return [self.override.reason]
        return [f"{one.task}: {one.mark} of {one.points}, {one.given.reason}" for one in self.tasks if one.given]

    @property
    def penalty(self) -> float:
        """What lateness takes off."""
        return short(self.late.penalty(self.mark)) if self.late and self.mark else 0

    @property
    def after_late(self) -> float | None:
        return None if self.mark is None else short(round(self.mark - self.penalty, 2))

    @property
    def on_platform(self) -> bool:
        """Whether ``who`` is a platform's identifier; else it is the name of what was handed in."""
        return self.who.startswith(tuple(f"{one} " for one in PLATFORMS))

    @property
    def id_on_canvas(self) -> str:
        """The identifier on Canvas; "" where it is another one: there, the number may be somebody else's."""
        if self.who.startswith("Canvas "):
            return self.id
        return "" if self.on_platform or self.id in (self.participant, self.sis, self.login) else self.id

    @property
    def id_on_moodle(self) -> str:
        """The participant number that Moodle gave: the one in the download's names, else the roster's, else ""."""
        return self.id if self.who.startswith("Moodle ") else self.participant

    @property
    def missing(self) -> bool:
        """On the roster, but handed in nothing."""
        return self.problem == MISSING


def short(number: float) -> float:
    """2, not 2.0."""
    return int(number) if number == int(number) else number


def to_json(value: object) -> str:
    """The one way in which results are written: sorted keys, one space of indent, a line end. NaN is refused."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def record_to_data(record: Record) -> dict:
    return asdict(record) | {"earned": record.earned}


def record_from_data(data: dict) -> Record:
    """The record that ``record_to_data`` wrote.

    Raises:
        KeyError, TypeError, ValueError: if the data is no record.
    """
    tasks = tuple(map(task_from_data, data["tasks"]))
    late, override = data.get("late"), data.get("override")
    return Record(
        **{name: data[name] for name in ("student", "id", "file", "problem", "sandbox")},
        **{name: data.get(name, "") for name in ("who", "person", "section", "upload", *FROM_ROSTER)},
        tasks=tasks,
        notes=tuple(data["notes"]),
        asked=tuple(data.get("asked", ())),
        aside=data.get("aside", False),
        by_itself=data.get("by_itself", ""),
        also=tuple(data.get("also", ())),
        late=Late(**late) if late else None,
        override=Override(**override) if override else None,
    )


def task_from_data(data: dict) -> TaskMark:
    given = data.get("given")
    return TaskMark(**data | {"hints": tuple(data["hints"]), "given": Override(**given) if given else None})


@dataclass(frozen=True)
class TaskInfo:
    """A task as reports show it."""

    name: str
    title: str
    points: int


@dataclass(frozen=True)
class Marks:
    """The outcome of a run for one lesson: what every report is made from.

    ``similar`` are groups of students who share what hardly anybody else wrote: a hint to look, never a mark.
    """

    slug: str
    tasks: tuple[TaskInfo, ...]
    records: tuple[Record, ...]
    similar: tuple[tuple[str, ...], ...] = ()

    @property
    def points(self) -> int:
        return sum(task.points for task in self.tasks)

    @property
    def sandbox(self) -> str:
        """What held the submissions; "unsafe" somewhere in it where nothing did."""
        return ", ".join(sorted({record.sandbox for record in self.records if record.sandbox}))

    @property
    def graded(self) -> list[Record]:
        return [record for record in self.records if not record.problem]

    @property
    def problems(self) -> list[Record]:
        """What was handed in and has no mark: it could not be graded, nor was it marked by hand."""
        return [record for record in self.records if record.mark is None and not record.missing]

    @property
    def missing(self) -> list[Record]:
        return [record for record in self.records if record.missing]

    @property
    def marked(self) -> list[Record]:
        """Whoever has a mark, from the tests or by hand."""
        return [record for record in self.records if record.mark is not None]


def marks_to_data(marks: Marks) -> dict:
    data = {"lesson": marks.slug, "sandbox": marks.sandbox, "points": marks.points, "similar": marks.similar}
    data["tasks"] = [asdict(task) for task in marks.tasks]
    data["submissions"] = [record_to_data(record) for record in marks.records]
    return data


def marks_from_data(data: dict) -> Marks:
    """The marks that ``marks_to_data`` wrote."""
    records = tuple(map(record_from_data, data["submissions"]))
    similar = tuple(map(tuple, data.get("similar", ())))
    return Marks(data["lesson"], tuple(TaskInfo(**task) for task in data["tasks"]), records, similar)


def marks_to_json(*lessons: Marks) -> str:
    """One lesson as it is; of several, a list."""
    data = [marks_to_data(marks) for marks in lessons]
    return to_json(data[0] if len(data) == 1 else {"lessons": data})


def marks_from_json(text: str) -> Marks:
    """The marks of the one lesson that ``marks_to_json`` wrote."""
    (marks,) = lessons_from_json(text)
    return marks


def lessons_from_json(text: str) -> tuple[Marks, ...]:
    """The marks of each lesson."""
    data = json.loads(text)
    return tuple(map(marks_from_data, data.get("lessons", [data])))


# Letters that Unicode does not take apart into a plain one and its stroke.
STROKES = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe"}
)


def without_accents(text: str) -> str:
    """``Eva`` for ``Éva``, ``Soren`` for ``Søren``."""
    plain = unicodedata.normalize("NFKD", text).translate(STROKES)
    return "".join(one for one in plain if not unicodedata.combining(one))


def sorting(name: str) -> str:
    """Names in the order of their letters, accents apart."""
    return unicodedata.normalize("NFKD", name.casefold())


def by_name(found: dict[tuple[str, str], dict[str, Record]]) -> list[tuple[tuple[str, str], dict[str, Record]]]:
    return sorted(found.items(), key=lambda one: (sorting(one[0][0]), one[0]))


def people(lessons: Iterable[Marks]) -> dict[tuple[str, str], dict[str, Record]]:
    """Everybody who has a row in any lesson, by name and ``person`` or ``who``, with her record in each."""
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for marks in lessons:
        for record in marks.records:
            found.setdefault((record.student, record.person or record.who), {})[marks.slug] = record
    return found


def namesakes(lessons: Iterable[Marks]) -> set[str]:
    """The names that several people have."""
    counted = Counter(student for student, _ in people(lessons))
    return {student for student, count in counted.items() if count > 1}


def called(record: Record, shared: Collection[str]) -> str:
    """A student's name; where others have it too (it is in ``shared``), with what tells them apart."""
    return f"{record.student} ({record.id or record.file})" if record.student in shared else record.student


def listed(names: Collection[str]) -> str:
    """Names in a row; "Lovelace, Ada" makes the comma no good to part them."""
    return ("; " if any("," in name for name in names) else ", ").join(names)
