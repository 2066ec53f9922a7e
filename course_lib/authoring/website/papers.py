"""The bibliography: every paper that a mechanism was built from or a lesson refers to."""

import inspect
import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from course_lib.authoring.address import repository
from course_lib.authoring.tables import ARXIV, citation
from course_lib.authoring.website.cards import Card
from course_lib.authoring.website.course import Lesson

REFERENCES = re.compile(r"^\*References?\.\* ((?:.+\n)+)", re.M)
DOI = re.compile(r"\bdoi (10\.\d+/[\w./-]*\w)")
END = re.compile(r"((?:arXiv \d{4}\.\d{4,5}|\bdoi \S+|\b(?:19|20)\d\d)\.)\s+(?=[A-Z])")  # of a citation


@dataclass
class Paper:
    citation: str
    cards: list[Card] = field(default_factory=list)
    lessons: list[Lesson] = field(default_factory=list)

    @property
    def year(self) -> str:
        return next(iter(re.findall(r"\b(?:19|20)\d\d\b", ARXIV.sub("", self.citation))), "")


def papers(cards: list[Card], lessons: list[Lesson]) -> list[Paper]:
    """The newest first; two citations of one arXiv number are one paper."""
    found: dict[str, Paper] = {}
    for lesson in lessons:
        for line in references(lesson):
            found.setdefault(key(line), Paper(line)).lessons.append(lesson)
    for card in cards:
        for short in card.row.paper.split("; "):
            cited = of_file(card.row.module, key(short))
            found.setdefault(key(short if ARXIV.search(short) else cited), Paper(cited)).cards.append(card)
    for number, paper in found.items():
        title = re.split(r"\. | \(", paper.citation)[0]
        mark = number if ARXIV.search(f"arXiv {number}") else title  # what a lesson that names the paper holds
        paper.lessons = [lesson for lesson in lessons if lesson in paper.lessons or mark in lesson.text]
    return sorted(
        sorted(found.values(), key=lambda paper: paper.citation), key=lambda paper: paper.year, reverse=True
    )


def key(citation: str) -> str:
    numbers = ARXIV.findall(citation) or DOI.findall(citation)
    return numbers[0] if numbers else citation


def references(lesson: Lesson) -> list[str]:
    """The lesson's references with an arXiv number or a DOI."""
    entries = citations("\n".join(REFERENCES.findall(lesson.text)))
    return [entry for entry in entries if ARXIV.search(entry) or "doi " in entry]


def citations(text: str) -> list[str]:
    """Each ends in a full stop behind a number, a DOI or a year.

    >>> citations("Li, Hu, A Net, CVPR 2019, arXiv 1903.06586. Xu, Of A. and B, 2018.\\nHu, It.")
    ['Li, Hu, A Net, CVPR 2019, arXiv 1903.06586.', 'Xu, Of A. and B, 2018.', 'Hu, It.']
    """
    return END.sub(r"\1\n", " ".join(text.split())).splitlines()


def of_file(module: type, number: str) -> str:
    """Title, authors and place, as the file's first lines give them; of several papers the one of this number."""
    title, _, rest = (inspect.getdoc(inspect.getmodule(module)) or "").partition("\n\n")
    papers = re.split(r"(?<=[.;])\s+(?=[A-Z][\w-]+ [A-Z])", " ".join(rest.partition("Lesson:")[0].split()))
    several = [one.rstrip(";") for one in papers if ARXIV.search(one)]
    if len(several) < 2:
        return f"{title} {' '.join(papers)}"
    return next((one for one in several if number in one), several[0])


def bibtex(root: Path) -> str:
    """How to cite the course itself, from CITATION.cff."""
    about = yaml.safe_load(citation(root))
    authors = " and ".join(f"{{{one['name']}}}" for one in about["authors"])
    fields = {"title": f"{{{about['title']}}}", "author": authors, "version": about["version"]}
    if address := repository(root):
        fields["url"] = address
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join(["@software{attention_in_vision,", *lines, "}"])
