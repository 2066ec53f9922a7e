"""What ``python -m benchmarks.tasks`` measured, as lesson 19 reads it.

>>> load_rows()["recall"]["NonLocal"].numbers
2192
"""

import json
from importlib.resources import files
from statistics import mean
from typing import NamedTuple

import course_lib.data


class Row(NamedTuple):
    """A mechanism on a task: a score for each seed; what its slot, and a training step of its network, cost."""

    scores: list[float]
    numbers: int  # that are learned, of the slot
    multiply_adds: int  # of the slot, one image
    milliseconds: float  # of CPU time, a step of the whole network; they depend on the machine

    @property
    def score(self) -> float:
        return mean(self.scores)


def load_rows() -> dict[str, dict[str, Row]]:
    """Task -> mechanism -> what was measured; a mechanism that does not exist at a task's size is not in it."""
    text = (files(course_lib.data) / "five_tasks.json").read_text(encoding="utf-8")
    return {
        task: {name: Row(**row) for name, row in rows.items() if "missing" not in row}
        for task, rows in json.loads(text).items()
    }
