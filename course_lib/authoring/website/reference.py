"""Docstrings become pages: a template names a package or modules with ``.. modules:: course_lib.channel``."""

import html
import importlib
import pkgutil
import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from course_lib.catalog import CATALOG, CITIZEN
from course_lib.diagrams.language import texts, words

SECTION = re.compile(r"(Shape|Learned): (.+)")
LINKS = {  # what the docstring of a module names
    r"notebooks/(\w+)\.ipynb": r":doc:`/notebooks/\1`",
    r"arXiv (\d{4}\.\d{4,5})": r"`arXiv \1 <https://arxiv.org/abs/\1>`__",
    r"^([A-Z])\. ": r"\1\\. ",  # a first name, and no list
}


def sections_of_one_line(lines: list[str]) -> list[str]:
    """``Shape: b c h w`` up to the next empty line becomes a section like ``Args``."""
    result, inside = [], False
    for line in lines:
        inside = inside and bool(line)
        if start := SECTION.fullmatch(line):
            result.append(f"{start[1]}:")
            line, inside = start[2], True
        result.append("    " + line if inside else line)
    return result


def formulas(lines: list[str]) -> list[str]:
    """An indented block behind an empty line and a line of text is a formula: it keeps its blanks."""
    result: list[str] = []
    for line in lines:
        text = [earlier for earlier in result if earlier][-1:]
        if line[:1] == " " and text and not result[-1] and text[0][:1] not in (" ", "-", "."):
            result += ["::", ""]
        result.append(line)
    return result


def before_napoleon(app, what, name, obj, options, lines: list[str]) -> None:
    if lines[:1] and lines[0].startswith("Alias for field number"):  # Python's own words, about every named tuple
        lines.clear()
    if what == "module":
        lines[:] = map(linked, lines)
    lines[:] = formulas(sections_of_one_line(lines))


def linked(line: str) -> str:
    for pattern, link in LINKS.items():
        line = re.sub(pattern, link, line)
    return line


def names_alone(app, what, name, obj, options, signature: str, returns: str) -> tuple[str, str] | None:
    """The signature of a row with functions as defaults: its fields stand below, with their types."""
    return (f"({', '.join(obj._fields)})", returns) if what == "class" and "<function" in (signature or "") else None


def with_diagram(app, what, name, obj, options, lines: list[str]) -> None:
    """A mechanism's picture stands below the sentence that says what it does."""
    if what == "class" and obj.__name__ in texts():
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", ".. raw:: html", "", f"   {diagram(obj)}", ""]


def diagram(mechanism: type) -> str:
    """The diagram for a page one folder down; a narrow screen moves along it instead of making its letters small."""
    name = f"diagram of {mechanism.__name__}"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">{picture(mechanism, up=1)}</div>'


def picture(mechanism: type, *, up: int) -> str:
    """The diagram in HTML, light or dark as the page is, for a page that many folders down."""
    source, alt = f"{'../' * up}_static/diagrams/{mechanism.__name__}", html.escape(words(mechanism))
    images = [
        f'<img class="only-{ground} diagram" src="{source}-{ground}.svg" alt="{alt}" loading="lazy">'
        for ground in ("light", "dark")
    ]
    return "".join(images)


def show_contract(app, what, name, obj, skip, options) -> bool | None:
    """``attention`` and ``forward`` are listed even where the docstring of their class says all."""
    return False if name in ("attention", "forward") else None


class Modules(SphinxDirective):
    """A section for each module named, and for each module of a package named."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        found = []
        for name in self.content:
            path = getattr(importlib.import_module(name), "__path__", ())
            inside = [f"{name}.{module.name}" for module in pkgutil.iter_modules(path) if module.name != "__main__"]
            found += inside or [name]
        text = [f"{name}\n{'=' * len(name)}\n\n.. automodule:: {name}\n" for name in found]
        return self.parse_text_to_nodes("\n".join(text), allow_section_headings=True)


class Works(SphinxDirective):
    """The table of what works for each module, from the catalogue; a test drives every module through each column."""

    def run(self) -> list[nodes.Node]:
        lines = [
            ".. list-table::",
            "   :class: wide",
            "   :header-rows: 1",
            "",
            "   * - module",
            *(f"     - {name}" for name in CITIZEN),
        ]
        notes = []
        for row in CATALOG:
            lines.append(f"   * - :class:`~{row.module.__module__}.{row.name}`")
            lines += [f"     - {'**no**' if name in row.cannot else 'yes'}" for name in CITIZEN]
            notes += [f"- {row.name}, {name}: {why}." for name, why in row.cannot.items()]
        meanings = [f"- {name}: {what}." for name, what in CITIZEN.items()]
        text = "\n".join([*meanings, "", "What does not hold, and why:", "", *notes, "", *lines, ""])
        return self.parse_text_to_nodes(re.sub("(?<!:)(`[^`<~\n]+`)", r"`\1`", text))  # code, as Markdown writes it


def setup(app: Sphinx) -> None:
    app.add_directive("modules", Modules)
    app.add_directive("works", Works)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", with_diagram, priority=600)
    app.connect("autodoc-process-signature", names_alone)
    app.connect("autodoc-skip-member", show_contract)
