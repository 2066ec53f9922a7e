"""What it costs to teach this: the lessons, in an order that their needs allow, spread over some weeks."""

from functools import cache
from typing import NamedTuple

from course_lib.authoring.website.course import Lesson


class Part(NamedTuple):
    """Something to do in one week: a lesson's walk, its exercise, or what goes deeper."""

    lesson: Lesson
    what: str
    minutes: int


def parts(lessons: list[Lesson], weeks: int) -> list[Part]:
    """Walks and exercises; with more weeks than lessons also what goes deeper."""
    found = []
    for lesson in lessons:  # numbers follow needs
        found.append(Part(lesson, "walk", lesson.header.minutes))
        if weeks > len(lessons) and lesson.header.deeper:
            found.append(Part(lesson, "deeper", lesson.header.deeper))
        if lesson.exercise:
            found.append(Part(lesson, "exercise", lesson.exercise.minutes))
    return found


def syllabus(lessons: list[Lesson], weeks: int) -> list[list[Part]]:
    """The parts of each week, in order, so that the weeks are as equal as they can be."""
    todo = parts(lessons, weeks)
    ends = best_ends(tuple(part.minutes for part in todo), weeks)
    return [todo[start:end] for start, end in zip((0, *ends), ends, strict=False)]


def best_ends(minutes: tuple[int, ...], weeks: int) -> tuple[int, ...]:
    """Where each week ends, so that the squares of the weeks' minutes have the smallest sum.

    >>> best_ends((30, 30, 50, 10), 2)
    (2, 4)
    """

    @cache
    def best(last: int, weeks: int) -> tuple[int, tuple[int, ...]]:
        if weeks == 1:
            return sum(minutes[:last]) ** 2, (last,)
        tried = []
        for end in range(weeks - 1, last):
            cost, ends = best(end, weeks - 1)
            tried.append((cost + sum(minutes[end:last]) ** 2, (*ends, last)))
        return min(tried)

    return best(len(minutes), weeks)[1]
