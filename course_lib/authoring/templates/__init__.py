"""``course new``: the hand-written parts of a lesson, laid out to be filled in.

The templates beside this file run as they are; ``course check-lessons`` names every place that still says FILL IN.
"""

import re
from pathlib import Path

from course_lib.authoring.places import parts, slugs
from course_lib.exercises import UsageError

TEMPLATES = {"lesson source": "lesson", "solution source": "solution", "hidden tests": "hidden_tests"}
FINISHED = "09_non_local"  # a lesson to read beside the templates


def lay_out(number: str, name: str, root: Path) -> str:
    """Write the hand-written parts of lesson ``number`` and return its slug.

    Raises:
        UsageError: if the slug is not one, or any part of the lesson exists already.
    """
    slug = f"{number}_{name}"
    if not re.fullmatch(r"\d\d_[a-z][a-z0-9_]*", slug):
        raise UsageError(f"{slug!r} is no slug; give two digits and lower-case words: course new 16 branch")
    taken = [other for other in slugs(root) if other[:2] == number and other != slug]
    if taken:
        raise UsageError(f"lesson {number} is {taken[0]}; choose another number")
    existing = [path.relative_to(root).as_posix() for path in parts(slug, root).values() if path.exists()]
    if existing:
        raise UsageError(f"{', '.join(existing)} would be overwritten; edit what is there, or move it away")
    for part, template in TEMPLATES.items():
        path = parts(slug, root)[part]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(filled(template, slug), encoding="utf-8")
    return slug


def filled(template: str, slug: str) -> str:
    """A template with the number, the slug and the title of the lesson."""
    text = Path(__file__).with_name(f"{template}.template").read_text(encoding="utf-8")
    title = slug[3:].replace("_", " ").capitalize()
    return text.replace("NN", slug[:2]).replace("SLUG", slug).replace("TITLE", title)
