"""The templates of site/pages become documents; nothing is written beside the sources."""

import html
import json
import os
import re
import tomllib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sphinx.application import Sphinx

from course_lib import published
from course_lib.authoring.address import repository
from course_lib.authoring.tables import with_links
from course_lib.authoring.website.cards import Card, cards
from course_lib.authoring.website.chart import chart
from course_lib.authoring.website.course import Lesson, lessons
from course_lib.authoring.website.glossary import glossary
from course_lib.authoring.website.needs import lesson_map
from course_lib.authoring.website.notebooks import moving, still
from course_lib.authoring.website.open_questions import open_questions
from course_lib.authoring.website.papers import bibtex, papers
from course_lib.authoring.website.syllabus import Part, syllabus
from course_lib.catalog import CITIZEN, QUESTIONS
from course_lib.diagrams.__main__ import write_all
from course_lib.exercises import ROOT

TEMPLATES = ROOT / "site/pages"
WEEKS = (4, 8, 14)  # of the syllabi
EACH = {"mechanism.md", "room.rst"}  # one document for each mechanism, for each room


def documents() -> Iterator[tuple[str, str]]:
    """The path and the text of every generated document."""
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    jinja.filters |= {"links": with_links, "groupby_lesson": by_lesson, "stressed": stressed}
    facts = known()
    for path in sorted(TEMPLATES.rglob("*.*")):
        name = path.relative_to(TEMPLATES).as_posix()
        if name not in EACH:
            yield name, jinja.get_template(name).render(facts)
    for card in facts["cards"]:
        yield f"mechanisms/{card.row.name}.md", jinja.get_template("mechanism.md").render(facts, card=card)
    for room, question in QUESTIONS.items():
        yield f"reference/{room}.rst", jinja.get_template("room.rst").render(facts, room=room, question=question)


def known() -> dict[str, Any]:
    """All that the templates may name."""
    course, mechanisms = lessons(ROOT), cards()
    numbers = {int(lesson.number): lesson for lesson in course}
    exercises = [lesson.exercise for lesson in course if lesson.exercise]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    waiting = [card for card in mechanisms if card.row.lesson not in numbers]
    return {
        "lessons": course,
        "by_number": numbers,
        "cards": mechanisms,
        "to_come": [(number, [*group]) for number, group in groupby(sorted(waiting, key=lesson_of), key=lesson_of)],
        "rooms": QUESTIONS,
        "map": lesson_map(course),
        "papers": papers(mechanisms, course),
        "bibtex": bibtex(ROOT),
        "glossary": glossary(course),
        "syllabi": {weeks: syllabus(course, weeks) for weeks in WEEKS},
        "deeper": " and ".join(str(weeks) for weeks in WEEKS if weeks > len(course)),
        "exercises": exercises,
        "still": still,
        "total_points": sum(sum(one.points) for one in exercises),
        "open_questions": open_questions(course),
        "python": project["requires-python"],
        "torch": next(one for one in project["dependencies"] if one.startswith("torch")),
        "citizen": CITIZEN,
        "grading": (ROOT / "site/static/grading.svg").read_text(encoding="utf-8").strip(),
        "published": published.TABLES,
        "chart": chart(mechanisms),
        "moving": first_slider(),
        "address": repository(ROOT),
        "changes": changes(),
    }


def by_lesson(week: list[Part]) -> Iterator[tuple[Lesson, list[str]]]:
    """What is to be done of each lesson in one week."""
    for lesson, group in groupby(week, key=lambda part: part.lesson):
        yield lesson, [part.what for part in group]


def stressed(text: str) -> str:
    """Text for a cell that is HTML.

    >>> stressed("a < b: what does it *do*?")
    'a &lt; b: what does it <em>do</em>?'
    """
    return re.sub(r"\*(.+?)\*", r"<em>\1</em>", html.escape(text, quote=False))


def lesson_of(card: Card) -> int:
    return card.row.lesson


def changes() -> str:
    """What readers want of the changelog: its title and its versions, not how a version is made."""
    title, *versions = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")
    return "\n\n## ".join([title.splitlines()[0], *versions])


def first_slider() -> str:
    """The first lesson's picture for the home page: all but the last slider in the middle; it moves for a moment."""
    path = min((ROOT / "site/sliders").glob("*.json"))
    about = json.loads(path.read_text(encoding="utf-8"))
    for one in about["sliders"][:-1]:
        one["start"] = len(one["options"]) // 2
    return moving(about, f"_static/{path.stem}.webp", play=1)


def write(app: Sphinx) -> None:
    """All documents, below the folder in which Sphinx keeps what it has read, and the diagrams that they show."""
    write_all(Path(app.outdir) / "_static/diagrams")
    for name, text in documents():
        path = folder(app) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def register(app: Sphinx, env, added: set[str], changed: set[str], removed: set[str]) -> list[str]:
    """Sphinx looks for documents below its source folder; these it is told of."""
    names = []
    for path in sorted(folder(app).rglob("*.*")):
        names.append(path.relative_to(folder(app)).with_suffix("").as_posix())
        env.project.docnames.add(names[-1])
        env.project._docname_to_path[names[-1]] = Path(os.path.relpath(path, app.srcdir))  # readers may see it
        env.project._path_to_docname[path] = names[-1]
    removed.difference_update(names)
    return names


def folder(app: Sphinx) -> Path:
    return Path(app.doctreedir).resolve() / "pages"


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write)
    app.connect("env-get-outdated", register)
