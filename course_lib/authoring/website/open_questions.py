"""The open questions of site/questions.txt: lesson | question | how the sentences begin that answer it | …"""

from typing import NamedTuple

from course_lib.authoring.website.course import Lesson
from course_lib.authoring.website.glossary import sentences
from course_lib.exercises import ROOT


class Question(NamedTuple):
    number: str
    question: str
    lesson: Lesson | None
    answer: list[str]  # empty until the lesson measures it


def open_questions(lessons: list[Lesson]) -> list[Question]:
    """In the order of the lessons, each answered by the sentences of its lesson as they stand there.

    Where none are named, by the three things that the lesson wants to be kept. A test notices where a lesson says a
    named one no longer.
    """
    by_number = {lesson.number: lesson for lesson in lessons}
    lines = (ROOT / "site/questions.txt").read_text(encoding="utf-8").splitlines()
    found = []
    for number, question, *begins in ([part.strip() for part in line.split("|")] for line in lines):
        lesson = by_number.get(number)
        said = sentences(lesson.text) if lesson else []
        answer = [sentence for begin in filter(None, begins) for sentence in said if sentence.startswith(begin)]
        found.append(Question(number, question, lesson, answer or (lesson.kept if lesson else [])))
    return found
