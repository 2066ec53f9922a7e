"""Rows are written each by itself: one that cannot be written is named, and costs no other its place."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from course_lib.grading.marks import Record

Row = TypeVar("Row")
Written = TypeVar("Written")


def each(rows: Iterable[Row], make: Callable[[Row], Written], name: Callable[[Row], str]) -> Iterator[Written]:
    """``make(row)`` of each row; where it fails, who is left out is said, by ``name(row)``."""
    for row in rows:
        try:
            yield make(row)
        except Exception as error:
            who = "".join(one if one.isprintable() else "�" for one in name(row)[:100])
            print(
                f"course: {who} is left out of this file ({type(error).__name__}); the others stand", file=sys.stderr
            )


def student(record: Record) -> str:
    return record.student
