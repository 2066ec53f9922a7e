"""Whose work a file is: told by the outermost name of the download alone, one rule for each platform.

| platform | outermost name | student, identifier |
|---|---|---|
| Canvas | ``lovelaceada_LATE_1815_99_FILE`` (without a file: ``_text.html``, ``_link.html``) | lovelaceada, 1815 |
| Canvas, names hidden | ``anon_aB3dE_99_FILE`` | anon aB3dE, aB3dE |
| Moodle | ``Ada Lovelace_1815_assignsubmission_file_``: a folder, or how a file begins | Ada Lovelace, 1815 |
| nbgrader | ``submitted/ada/01_addressing/`` | ada |
| Gradescope | ``submission_77/``, with the ``submission_metadata`` beside it | e-mail, number |
| Otter | ``ada_2026_11_21T13_11_42_251608.zip`` | ada |
| plain | a folder, zip or file: its name, without ending and without a lesson's name behind it | ada |

What a student's own zip or folder holds never decides.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

RULES = {
    "Moodle": re.compile(r"(?P<name>[^_]+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)(?:_.*)?"),
    "Canvas": re.compile(r"(?P<name>.+?)_(?P<late>LATE_)?(?P<id>\d+)_(?:\d+_(?!\d\dT\d\d_).+|text\.html|link\.html)"),
    "Canvas, names hidden": re.compile(
        r"(?P<late>LATE_)?(?P<name>anon)_(?P<id>[0-9A-Za-z]{5})_(?:\d+_.+|text\.html|link\.html)"
    ),
    "Otter": re.compile(r"(?P<name>.+?)_\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d.*"),
}
UPLOAD = {  # what a feedback file's name must begin with, so that the platform gives it to its student
    "Moodle": re.compile(r".+?_\d+_assignsubmission_(?:file|onlinetext)_?"),
    "Canvas": re.compile(r".+?_(?:LATE_)?\d+_\d+_"),
    "Canvas, names hidden": re.compile(r"(?:LATE_)?anon_[0-9A-Za-z]{5}_\d+_"),
}
ENDING = re.compile(
    r"(?:\.(?:ipynb|py|zip|txt|json|html?|pdf|md|docx?|odt|rtf|png|jpe?g|heic|tar|t?gz|7z|rar))+$", re.I
)
# Files that instructors and platforms put beside submissions.
NOBODY = (
    ".csv",
    ".tsv",
    ".xlsx",
    ".json",
    ".yml",
    ".yaml",
    ".db",
    ".log",
    ".toml",
    ".ini",
    ".sh",
)  # of the instructor


NAMELESS = "nothing tells whose this is: put the student's name into the file or folder name"


class Who(NamedTuple):
    """A student as the platform names her. ``upload``: see UPLOAD; ``late``: the platform says so."""

    student: str
    id: str = ""
    platform: str = "plain"
    upload: str = ""
    late: bool = False
    time: float = 0.0

    @property
    def key(self) -> str:
        """The same for all files of one student: her identifier there, else her name, however it is typed."""
        if self.id:
            return f"{self.platform.split(',')[0]} {self.id}"
        return " ".join(unicodedata.normalize("NFKC", self.student).casefold().split())


def who_of(name: str, slugs: Iterable[str] = ()) -> Who:
    """Whose the outermost file, zip or folder called ``name`` is; the platform's mark that stands leftmost decides.

    What stands right of it, a student chose: ``ada_18_99_bo_7_assignsubmission_file_.zip`` is ada's.
    """
    matches = {platform: match for platform, pattern in RULES.items() if (match := pattern.fullmatch(name))}
    if not matches:
        return Who(plain(name, slugs))
    platform = min(matches, key=lambda one: len(matches[one]["name"]))
    found = matches[platform].groupdict()
    student, number = found["name"], found.get("id", "")
    student = f"{student} {number}" if student in ("anon", "Participant") else student
    start = UPLOAD[platform].match(name) if platform in UPLOAD else None
    return Who(student, number, platform, start[0] if start else "", bool(found.get("late")))


def plain(name: str, slugs: Iterable[str]) -> str:
    """``ada_01_addressing.ipynb`` is ada's, and so is ``ada.zip``."""
    stem = ENDING.sub("", name) or name
    for slug in slugs:
        before = re.split(rf"[ _-]*{slug}", stem, maxsplit=1)[0]
        if before:
            stem = before
    return stem


def is_nameless(name: str, slugs: Iterable[str]) -> bool:
    """Whether a file is called as the exercise was handed out, so that nothing tells whose it is.

    Browsers, Jupyter and Colab mark a copy: ``01_addressing (1).ipynb``, ``-Copy1``, ``Copy of``.
    """
    stem = ENDING.sub("", name)
    copy = r"(?:[ _-]*(?:\(\d+\)|copy ?\d*)|-\d)*"
    return any(re.fullmatch(rf"(?:copy of )?{slug}{copy}", stem, re.I) for slug in slugs)


def in_container(place: Path) -> list[Who]:
    """The students of a Gradescope container's submission folder; empty elsewhere."""
    for path in (place / "submission_metadata.json", place.parent / "submission_metadata.json"):
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            time = moment(data.get("created_at"))
            users = [(str(one.get("email") or one["name"]), str(one.get("id", ""))) for one in data["users"]]
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            continue
        return [Who(name, number, "Gradescope", time=time) for name, number in users]
    return []


def in_export(text: bytes) -> dict[str, list[Who]]:
    """The students of each folder of a Gradescope export, from its ``submission_metadata.yml``."""
    import yaml

    found: dict[str, list[Who]] = {}
    try:
        for folder, one in yaml.safe_load(text).items():
            time, people = moment(one.get(":created_at")), one[":submitters"]
            names = [
                (str(who.get(":email") or who[":name"]), str(who.get(":sid") or who.get(":email") or ""))
                for who in people
            ]
            found[str(folder)] = [Who(name, number, "Gradescope", time=time) for name, number in names]
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return {}
    return found


def moment(value: object) -> float:
    """Seconds since 1970 of a time that a platform wrote; 0 where it is none. Without a zone it is UTC."""
    if isinstance(value, str):
        text = re.sub(r"\s*(UTC|GMT|Z)$", "+00:00", value.strip())
        text = re.sub(r"(\.\d{6})\d+", r"\1", text)
        try:
            value = datetime.fromisoformat(text)
        except ValueError:
            return 0.0
    if not isinstance(value, datetime):
        return 0.0
    return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
