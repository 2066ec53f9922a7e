"""How ``make site`` turns the docstrings of course_lib into pages.

A page names a package or modules with ``.. modules:: course_lib.channel``; new files of a room appear by themselves.
"""

import html
import importlib
import pkgutil
import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import course_lib
from course_lib.catalog import CATALOG, CITIZEN
from course_lib.diagrams.__main__ import write_all
from course_lib.diagrams.language import texts, words

project = "Attention in computer vision"
version = release = course_lib.__version__
html_title = f"{project} {version}: reference"
html_theme = "alabaster"
html_theme_options = {
    "page_width": "84rem",
    "sidebar_width": "19rem",
    "body_max_width": "none",
    "code_font_size": "0.8em",  # a line of 118 characters fits
}
html_show_copyright = html_show_sourcelink = False
smartquotes_action = "D"  # dashes only: c' has a prime
exclude_patterns = ["_build"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = False  # forward() would show what torch says about every module
autodoc_preserve_defaults = True
add_module_names = False
highlight_language = "text"  # formulas; examples with >>> are Python all the same
napoleon_use_param = False  # so that "size, scales: of the retina" stays one line
napoleon_custom_sections = ["Shape", "Learned"]

SECTION = re.compile(r"(Shape|Learned): (.+)")


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
    lines[:] = formulas(sections_of_one_line(lines))


def draw_diagrams(app: Sphinx) -> None:
    """The picture of every mechanism, written beside the pages."""
    write_all(Path(app.outdir) / "_diagrams", grounds=("light",))


def with_diagram(app, what, name, obj, options, lines: list[str]) -> None:
    """A mechanism's picture stands below the sentence that says what it does."""
    if what == "class" and obj.__name__ in texts():
        source, alt = f"_diagrams/{obj.__name__}-light.svg", html.escape(words(obj))
        image = f'   <img src="{source}" alt="{alt}" style="width: 100%; max-width: 900px">'
        end = lines.index("") if "" in lines else len(lines)
        lines[end:end] = ["", ".. raw:: html", "", image, ""]


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
            "   :header-rows: 1",
            "",
            "   * - module",
            *(f"     - {name}" for name in CITIZEN),
        ]
        notes = []
        for row in CATALOG:
            lines.append(f"   * - :class:`~{row.module.__module__}.{row.name}`")
            lines += [f"     - {'no' if name in row.cannot else 'yes'}" for name in CITIZEN]
            notes += [f"- {row.name}, {name}: {why}." for name, why in row.cannot.items()]
        meanings = [f"- {name}: {what}." for name, what in CITIZEN.items()]
        text = "\n".join([*meanings, "", *lines, "", "What does not hold, and why:", "", *notes, ""])
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> None:
    app.add_directive("modules", Modules)
    app.add_directive("works", Works)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", with_diagram, priority=600)
    app.connect("builder-inited", draw_diagrams)
    app.connect("autodoc-skip-member", show_contract)
