"""The generated tables: lessons, their map and the mechanisms, in README.md and for ``course list``."""

import re
from collections.abc import Callable
from pathlib import Path

from course_lib import __version__
from course_lib.authoring.address import badge, repository
from course_lib.authoring.places import parts
from course_lib.authoring.sources import Header, headers, is_draft
from course_lib.exercises import UsageError

ARXIV = re.compile(r"\barXiv (\d{4}\.\d{4,5})")


def written(root: Path) -> dict[str, Header]:
    """The headers of the lessons that readers may see: a draft is not among them."""
    return {
        slug: header for slug, header in headers(root).items() if not is_draft(parts(slug, root)["lesson source"])
    }


def lessons_table(root: Path) -> str:
    """One row for each lesson that is written: number, linked title, question, minutes, needs, Colab."""
    rows = ["| | Lesson | Question | Minutes | Needs | |", "|---|---|---|---|---|---|"]
    for slug, header in written(root).items():
        path = parts(slug, root)["lesson"]
        title = f"[{header.title}]({path.relative_to(root).as_posix()})"
        needs, colab = ", ".join(header.needs) or "–", badge(path, root).replace("▶ Open in ", "").strip() or "–"
        rows.append(f"| {slug[:2]} | {title} | {header.question} | {header.minutes} | {needs} | {colab} |")
    return "\n".join(rows)


def lessons_map(root: Path) -> str:
    """The needs of the lessons as a graph that GitHub draws."""
    found = written(root)
    lines = ["```mermaid", "graph LR"]
    lines += [f'    {slug[:2]}["{slug[:2]} {header.title}"]' for slug, header in found.items()]
    lines += [f"    {need} --> {slug[:2]}" for slug, header in found.items() for need in header.needs]
    return "\n".join([*lines, "```"])


def mechanisms_table(root: Path) -> str:
    """One row for each mechanism of the catalogue; its lesson is linked once it is written."""
    from course_lib.catalog import CATALOG  # imports torch

    lessons = {slug[:2]: parts(slug, root)["lesson"].relative_to(root).as_posix() for slug in written(root)}
    rows = ["| Mechanism | Asks | Paper | Lesson |", "|---|---|---|---|"]
    for row in CATALOG:
        file = row.module.__module__.replace(".", "/") + ".py"
        number = f"{row.lesson:02d}"
        lesson = f"[{number}]({lessons[number]})" if number in lessons else number
        rows.append(f"| [{row.title}]({file}) | {row.question} | {with_links(row.paper)} | {lesson} |")
    return "\n".join(rows)


def with_links(text: str) -> str:
    """Every arXiv number becomes a link.

    >>> with_links("Hu 2018, arXiv 1709.01507")
    'Hu 2018, [arXiv 1709.01507](https://arxiv.org/abs/1709.01507)'
    """
    return ARXIV.sub(r"[arXiv \1](https://arxiv.org/abs/\1)", text)


SECTIONS: dict[str, Callable[[Path], str]] = {
    "lessons": lessons_table,
    "map": lessons_map,
    "mechanisms": mechanisms_table,
}


def citation(root: Path) -> str:
    """The text of CITATION.cff with this version and this address."""
    text = (root / "CITATION.cff").read_text(encoding="utf-8")
    text = re.sub(r"^version: .*$", f"version: {__version__}", text, flags=re.M)
    return re.sub(
        r"^repository-code: .*$", f"repository-code: {repository(root, placeholder=True)}", text, flags=re.M
    )


def readme(root: Path) -> str:
    """The text of README.md with its generated sections brought up to date; the rest is kept as it is."""
    text = (root / "README.md").read_text(encoding="utf-8")
    for name, table in SECTIONS.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if (text.count(start), text.count(end)) not in ((0, 0), (1, 1)) or text.find(start) > text.find(end):
            raise UsageError(f"README.md needs {start} and {end} once each, in this order; repair them")
        if start in text:
            before, rest = text.split(start)
            text = f"{before}{start}\n{table(root)}\n{end}{rest.split(end)[1]}"
    return text
