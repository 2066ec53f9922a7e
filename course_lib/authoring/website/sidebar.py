"""The list of all documents, which every page shows, is drawn once for each folder; a page marks its place in it.

Sphinx and the theme would draw it anew for each page: an eighth of the time of a build.
"""

from functools import cache, partial
from posixpath import basename, dirname
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import AttributeValueList
from sphinx.application import Sphinx


def use_one_list(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree) -> None:
    """For site/templates/sbt-sidebar-nav.html, which the theme draws twice: once to see whether it is empty."""
    context["list_of_pages"] = cache(partial(list_of_pages, str(app.outdir), pagename))


def list_of_pages(site: str, pagename: str, draw, **options) -> str:
    """What the theme's ``draw(**options)`` makes for this page."""
    listed = lists(site)
    folder, address = dirname(pagename), f"{basename(pagename)}.html"
    if folder not in listed:
        listed[folder] = draw(**options)
        mark(listed[folder], "#", address, False)
    mark(listed[folder], address, "#", True)
    text = str(listed[folder])
    mark(listed[folder], "#", address, False)
    return text


@cache
def lists(site: str) -> dict[str, BeautifulSoup]:
    """One for each folder, as links are relative; no page is marked."""
    return {}


def mark(soup: BeautifulSoup, old: str, new: str, here: bool) -> None:
    """The link to a page gets its ``new`` address, and whatever it lies in is opened or closed."""
    link = soup.find("a", href=old)
    if link is None:
        return
    link["href"] = new
    put(link, "current", 0, here)
    for around in link.parents:
        if around.name == "ul":
            put(around, "current", 0, here)
        if around.name == "li":
            put(around, "current", 1, here)
            put(around, "active", 2, here)
            fold(around.find("details", recursive=False), here)


def put(tag: Tag, name: str, place: int, here: bool) -> None:
    """Add a class at its place among others, or take it off."""
    names = [one for one in tag.get_attribute_list("class") if one not in (name, None)]
    names[place:place] = [name] * here
    tag["class"] = AttributeValueList(names)
    if not names:
        del tag["class"]


def fold(details: Tag | None, here: bool) -> None:
    if details and here:
        details["open"] = "open"
    elif details:
        del details["open"]


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", use_one_list)
