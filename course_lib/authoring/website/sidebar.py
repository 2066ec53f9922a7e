"""The list of all documents, which every page shows, is drawn from their titles alone.

Sphinx copies the sections of every document anew for each page, and throws them away: a tenth of its time.
"""

from functools import cache, partial
from typing import Any

from docutils.nodes import Element
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def use_titles(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree) -> None:
    context["toctree"] = partial(drawn, app.env, context["toctree"])


def drawn(env: BuildEnvironment, draw, **options) -> str:
    """What Sphinx's own ``draw`` makes of titles; the page's own sections are asked for elsewhere."""
    whole, env.tocs = env.tocs, titles(env)
    try:
        return draw(**options)
    finally:
        env.tocs = whole


@cache
def titles(env: BuildEnvironment) -> dict[str, Element]:
    return {name: title(contents.deepcopy()) for name, contents in env.tocs.items()}


def title(contents: Element) -> Element:
    """The contents of one document with nothing below its title but its lists of documents."""
    for item in contents:
        item[1:] = [type(part)("", *lists) for part in item[1:] if (lists := [*part.findall(addnodes.toctree)])]
    return contents


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", use_titles, priority=400)  # before the theme asks for the list
