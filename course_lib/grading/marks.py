"""What a grading run says: one record per submission, plain data that JSON holds."""

import json
from dataclasses import asdict, dataclass, field

PASSED, WRONG, RAISED, CHANGED = "passed", "wrong", "raised", "unreadable"


@dataclass(frozen=True)
class TaskMark:
    """One task of one submission.

    ``reason``: "" where it is earned, else wrong, raised, late, died, memory or protocol, with what a student may read.
    ``check``: what the visible check said ("" where it holds); ``hints``: authored, one for each hidden test that failed.
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
    """One graded submission; ``problem`` says why it could not be graded, and then it has no mark."""

    student: str
    file: str
    tasks: tuple[TaskMark, ...] = ()
    problem: str = ""
    notes: tuple[str, ...] = field(default=())

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
    return Record(data["student"], data["file"], tasks, data["problem"], tuple(data["notes"]))
