"""What a grading run says: one record per submission, plain data that JSON holds."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class TaskMark:
    """One task of one submission.

    ``reason``: "" where it is earned, else wrong, raised, untouched, late, died, memory or protocol.
    ``check``: what the visible check said ("" where it holds); ``hints``: one for each hidden test that failed.
    ``mistake``: the named wrong answer that the submission matches; ``sentence``: what that one says.
    """

    task: str
    points: int
    earned: int
    reason: str = ""
    check: str = ""
    hints: tuple[str, ...] = ()
    mistake: str = ""
    sentence: str = ""

    def __post_init__(self) -> None:
        if type(self.earned) is not int or self.earned not in (0, self.points):
            raise ValueError(f"{self.task} earns {self.earned!r}; a task earns 0 or its {self.points} points")


@dataclass(frozen=True)
class Record:
    """One graded submission; ``problem`` says why it could not be graded, and then it has no mark.

    ``sandbox`` names what held it.
    """

    student: str
    id: str
    file: str
    tasks: tuple[TaskMark, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = ()
    sandbox: str = ""

    @property
    def earned(self) -> int | None:
        return None if self.problem else sum(task.earned for task in self.tasks)


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
    tasks = tuple(TaskMark(**task | {"hints": tuple(task["hints"])}) for task in data["tasks"])
    return Record(
        data["student"], data["id"], data["file"], tasks, data["problem"], tuple(data["notes"]), data["sandbox"]
    )


@dataclass(frozen=True)
class TaskInfo:
    """A task as reports show it."""

    name: str
    title: str
    points: int


@dataclass(frozen=True)
class Marks:
    """The outcome of a run: what every report is made from."""

    slug: str
    tasks: tuple[TaskInfo, ...]
    records: tuple[Record, ...]

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
        return [record for record in self.records if record.problem]


def marks_to_json(marks: Marks) -> str:
    data = {"lesson": marks.slug, "sandbox": marks.sandbox, "points": marks.points}
    data["tasks"] = [asdict(task) for task in marks.tasks]
    data["submissions"] = [record_to_data(record) for record in marks.records]
    return to_json(data)


def marks_from_json(text: str) -> Marks:
    """The marks that ``marks_to_json`` wrote."""
    data = json.loads(text)
    records = tuple(map(record_from_data, data["submissions"]))
    return Marks(data["lesson"], tuple(TaskInfo(**task) for task in data["tasks"]), records)
