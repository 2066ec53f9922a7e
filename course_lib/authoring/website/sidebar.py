"""The list of all documents, which every page shows, is drawn once for each folder; a page marks its place in it.

Sphinx and the theme would draw it anew for each page: an eighth of the time of a build.
"""

from functools import cache, partial
from posixpath import basename, dirname
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import AttributeValueList
from sphinx.application import Sphinx


def use_one_list(
    lists: dict, app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree
) -> None:
    """For site/templates/sbt-sidebar-nav.html, which the theme draws twice: once to see whether it is empty."""
    context["list_of_pages"] = cache(partial(list_of_pages, lists, pagename))


def list_of_pages(lists: dict[str, BeautifulSoup], pagename: str, draw, **options) -> str:
    """What the theme's ``draw(**options)`` makes for this page. ``lists`` has one for each folder, without a mark."""
    folder, address = dirname(pagename), f"{basename(pagename)}.html"
    if folder not in lists:
        lists[folder] = draw(**options)  # the theme has marked this page
    mark(lists[folder], address, "#", here=True)
    text = str(lists[folder])
    mark(lists[folder], "#", address, here=False)
    return text


def mark(soup: BeautifulSoup, old: str, new: str, *, here: bool) -> None:
    """The link to a page gets its ``new`` address, and whatever it lies in is marked and open, or no longer."""
    link = soup.find("a", href=old)
    if link is None:
        return
    link["href"] = new
    for tag in (link, *link.find_parents(["li", "ul"])):
        put(tag, "current", here)
    for item in link.find_parents("li"):
        put(item, "active", here)
        if (fold := item.find("details", recursive=False)) and here:
            fold["open"] = "open"
        elif fold:
            del fold["open"]


def put(tag: Tag, name: str, here: bool) -> None:
    """Add a class, or take it off."""
    names = [one for one in tag.get_attribute_list("class") if one and one != name]
    tag["class"] = AttributeValueList([*names, name] if here else names)


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", partial(use_one_list, {}))  # before the theme, which is set up later
