"""What it costs to teach this: the lessons, in an order that their needs allow, spread over some weeks."""

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
    """The parts of each week: in order, each part in the week in which its middle falls."""
    todo = parts(lessons, weeks)
    total, done = sum(part.minutes for part in todo), 0.0
    plan: list[list[Part]] = [[] for _ in range(weeks)]
    for part in todo:
        plan[int((done + part.minutes / 2) / total * weeks)].append(part)
        done += part.minutes
    return plan
