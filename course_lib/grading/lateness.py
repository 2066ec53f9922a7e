"""Late days: how late a submission is, and what the instructor's rule takes off. The mark itself stays as it is."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from course_lib.exercises import UsageError

RULE = re.compile(
    r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<kind>%|percent|points?)\s*(?:an?|per|/|every)\s*(?P<unit>hour|day|week)s?"
    r"(?:[\s,]*(?:at most|up to|max(?:imum)?)\s*(?P<most>\d+(?:\.\d+)?)\s*(?:%|percent|points?)?)?",
    re.I,
)
SECONDS = {"hour": 3600, "day": 86400, "week": 604800}
EXAMPLES = '--late "10% a day", --late "1 point an hour, at most 5"'


@dataclass(frozen=True)
class Late:
    """By how much a submission is late, whose clock says so, and what that takes off.

    ``percent`` is of the mark. ``by`` is "" where the platform says late, but not by how much.
    """

    by: str
    clock: str
    percent: float = 0.0
    points: float = 0.0

    def penalty(self, mark: float) -> float:
        return round(min(mark, mark * self.percent / 100 + self.points), 2)

    @property
    def words(self) -> str:
        return f"late by {self.by} ({self.clock})" if self.by else f"late ({self.clock} does not say by how much)"


class Rule(NamedTuple):
    """What each begun hour, day or week costs."""

    amount: float
    percent: bool
    seconds: int
    most: float

    def takes(self, seconds: float) -> dict[str, float]:
        """What is taken off after so many seconds; of a submission that is late by nobody knows what, one unit."""
        off = min(self.most, self.amount * max(1, math.ceil(seconds / self.seconds)))
        return {"percent" if self.percent else "points": off}


def read_rule(text: str) -> Rule:
    """The rule in ``--late``.

    Raises:
        UsageError: with two examples.
    """
    match = RULE.fullmatch(text.strip())
    if not match:
        raise UsageError(f"--late {text!r} is not understood; write for instance {EXAMPLES}")
    percent = match["kind"] in "%percent"
    most = float(match["most"] or (100 if percent else 1e6))
    return Rule(float(match["amount"]), percent, SECONDS[match["unit"].lower()], most)


def read_deadlines(texts: Iterable[str], find_slug) -> dict[str, float]:
    """The deadline of each lesson, in seconds since 1970; under "" the one of all others.

    Raises:
        UsageError: with an example.
    """
    deadlines = {}
    for text in texts:
        lesson, _, time = text.rpartition("=")
        try:
            when = datetime.fromisoformat(time.strip())
        except ValueError:
            raise UsageError(
                f"--deadline {text!r} is no date; write for instance --deadline 2026-11-20T23:59, or for one lesson "
                "--deadline 03=2026-11-20T23:59"
            ) from None
        if len(time.strip()) <= 10:  # a day ends at midnight
            when += timedelta(days=1, seconds=-1)
        deadlines[find_slug(lesson) if lesson else ""] = when.timestamp()
    return deadlines


def lateness(time: float, clock: str, late: bool, deadline: float | None, rule: Rule | None) -> Late | None:
    """How late a submission is; None where it is in time, or nobody can know."""
    if late and not time:
        return Late("", "Canvas", **(rule.takes(0) if rule else {}))
    if deadline is None or not time or time <= deadline:
        return None
    return Late(in_words(time - deadline), clock, **(rule.takes(time - deadline) if rule else {}))


def in_words(seconds: float) -> str:
    """``2 days 3 hours``: the two largest units."""
    minutes = max(1, math.ceil(seconds / 60))
    sizes = {"day": minutes // 1440, "hour": minutes // 60 % 24, "minute": minutes % 60}
    said = [f"{count} {unit}{'s' * (count != 1)}" for unit, count in sizes.items() if count]
    return " ".join(said[:2])
