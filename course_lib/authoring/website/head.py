"""What stands in the head of a page: what it is about, a root for lost addresses, and the name of its source."""

import html
import os
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from sphinx.application import Sphinx

from course_lib.authoring.address import repository
from course_lib.authoring.website.cards import cards
from course_lib.authoring.website.course import lessons
from course_lib.exercises import ROOT

OURS = r"(?:notebooks|exercises|mechanisms|reference)\/"  # folders
ABOUT = (
    "What attention is, where an image model can use it, and which kind is worth its price: a course to read and run."
)


def describe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Lessons are described by their question, mechanisms by their sentence, other pages by the course's."""
    kind, _, name = pagename.partition("/")
    words = descriptions().get((kind, name), ABOUT)
    context["metatags"] = context.get("metatags", "") + f'<meta name="description" content="{html.escape(words)}">'
    if pagename == "404":
        address = repository(ROOT) or os.environ.get("GITHUB_REPOSITORY", "")  # where a workflow builds it
        context["metatags"] += lost(root(address))
    if pagename == "index":
        context["docstitle"] = ""  # its own title is the site's
    if context.get("sourcename"):  # Sphinx cuts it from a path, and a generated page lies in another folder
        suffix = Path(app.env.doc2path(pagename)).suffix
        context |= {"page_source_suffix": suffix, "sourcename": pagename + suffix}


def lost(root: str) -> str:
    """The root for the page of lost addresses, which is shown at any depth.

    What stands before one of our folders, or before the page's own name, is the root, wherever the site lies.
    """
    find = rf"const found = location.pathname.match(/^(.*?\/)(?:{OURS}|404\.html)/);"
    use = "if (found) document.querySelector('base').href = found[1];"
    return f'<base href="{root}"><script>{find} {use}</script>'


@cache
def descriptions() -> dict[tuple[str, str], str]:
    found = {("mechanisms", card.row.name): card.sentence for card in cards()}
    for lesson in lessons(ROOT):
        found |= {(kind, lesson.slug): lesson.header.question for kind in ("notebooks", "exercises")}
    return found


def root(address: str) -> str:
    """Where the site of a repository begins on its host.

    >>> root("https://github.com/someone/attention"), root("https://github.com/someone/someone.github.io"), root("")
    ('/attention/', '/', '/')
    """
    name = urlsplit(address).path.strip("/").rpartition("/")[2]
    return "/" if not name or name.endswith(".github.io") else f"/{name}/"


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", describe)
