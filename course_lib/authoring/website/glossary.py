"""Every term of site/terms.txt in a sentence of the lesson that earns it: name, or name | how the sentence begins."""

import re
from typing import NamedTuple

from course_lib.authoring.website.course import Lesson
from course_lib.exercises import ROOT

BLOCK = re.compile(r"\n\n|\n(?=- |\d\. )")  # a paragraph, or one item of a list
ITEM = re.compile(r"^(- |\d\. |\*\*Read it\.\*\* )")
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z*$])")


class Term(NamedTuple):
    name: str
    sentence: str
    lesson: Lesson


def glossary(lessons: list[Lesson]) -> list[Term]:
    """In alphabetical order; a term waits until a lesson names it."""
    names = (ROOT / "site/terms.txt").read_text(encoding="utf-8").splitlines()
    said = [(sentence, lesson) for lesson in lessons for sentence in sentences(lesson.text)]
    lines = [line.partition(" | ") for line in sorted(names, key=str.lower)]
    found = (earned(name, begin, said) for name, _, begin in lines)
    return [term for term in found if term]


def earned(name: str, begin: str, said: list[tuple[str, Lesson]]) -> Term | None:
    """The term in the sentence that begins so; else in the first that stresses it, or that names it."""
    stressed, named = rf"\*{re.escape(name)}\w*[.,:;]?\*", rf"\b{re.escape(name)}"
    for pattern in [rf"^{re.escape(begin)}"] if begin else [stressed, named]:
        for sentence, lesson in said:
            if re.search(pattern, sentence, re.I):
                return Term(name, sentence, lesson)
    return None


def sentences(text: str) -> list[str]:
    """The sentences of the prose: no headings, tables, lists of facts or displayed formulas."""
    blocks = [block for block in BLOCK.split(text) if not re.match(r"[#|]|\$\$|\*Minutes", block)]
    return [one for block in blocks for one in SENTENCE.split(" ".join(ITEM.sub("", block).split()))]
