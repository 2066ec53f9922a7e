"""The class list: who should have handed in, how people are called, and in which section they are."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from course_lib.exercises import UsageError
from course_lib.grading.marks import without_accents

# The columns that are read, under the names that Canvas, Moodle, Gradescope, nbgrader and people give them.
COLUMNS = {
    "name": ("name", "student", "full name", "student name", "display name"),
    "first": ("first name", "first_name", "given name"),
    "last": ("last name", "last_name", "surname", "family name"),
    "section": ("section", "sections", "group", "groups"),
    "id": ("id", "student id", "student_id", "sid", "canvas id", "user id"),
    "participant": ("identifier", "participant"),  # Moodle's number in this one assignment
    "sis": ("sis user id", "sis_user_id", "id number", "number"),
    "login": ("sis login id", "login", "login id", "username", "user"),
    "email": ("email", "email address", "e-mail"),
}


class Person(NamedTuple):
    """One line of the roster. ``names`` is everything that a download may call this person by."""

    name: str
    id: str
    section: str
    names: frozenset[str]
    ids: frozenset[str]
    email: str = ""
    participant: str = ""
    sis: str = ""
    login: str = ""

    @property
    def key(self) -> str:
        return self.id or self.email or self.name

    @property
    def words(self) -> str:
        """The name with what tells namesakes apart."""
        return f"{self.name} ({self.key})"


class Unclear(LookupError):
    """A submission that may be one person's or another's; the message lists them."""

    def __init__(self, what: str, people: "list[Person]", number: str = ""):
        who = " and ".join(sorted(one.words for one in people))
        by_key = "call the file by what stands in brackets, or correct the roster"
        cure = f"write {number} into one's line, as id or participant" if number else by_key
        super().__init__(f"{what} on the roster: {who}; {cure}, and grade again")
        self.people = people


def read_roster(path: Path) -> list[Person]:
    """The people in a CSV file with a heading, as Canvas, Moodle or a spreadsheet writes it.

    Raises:
        UsageError: if there is no such file, or no column with names.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the roster {path} cannot be read ({reason(error)}); give a CSV file in UTF-8") from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(one.strip() for one in row)]
    except csv.Error as error:
        raise UsageError(f"the roster {path} is no CSV file ({error}); save it as CSV in UTF-8") from None
    places = columns(rows[0]) if rows else {}
    if not {"name", "first", "last"} & places.keys():
        raise UsageError(f"the roster {path} has no column called name; its first line must name its columns")
    people = [person(row, places) for row in rows[1:]]
    return [one for one in people if one.name and "points possible" not in one.name.lower()]


def reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def columns(header: list[str]) -> dict[str, int]:
    """Where each known column stands."""
    titles = [" ".join(title.casefold().split()) for title in header]
    return {
        what: titles.index(title) for what, known in COLUMNS.items() for title in reversed(known) if title in titles
    }


def person(row: list[str], places: dict[str, int]) -> Person:
    told = {what: row[place].strip() for what, place in places.items() if place < len(row)}
    told["participant"] = re.sub(r"^Participant (?=\d)", "", told.get("participant", ""))  # as its worksheet writes
    told["id"] = told.get("id") or told["participant"]
    name = told.get("name") or " ".join(filter(None, [told.get("first"), told.get("last")]))
    login, email = told.get("login", ""), told.get("email", "")
    others = (told["id"], told.get("sis"), login, email, email.split("@")[0])
    names = spellings(name) | {squeezed(one) for one in others if one}
    ids = {one for one in (told["id"], told["participant"], told.get("sis")) if one}
    number = told["id"] or told.get("sis") or login
    systems = {"participant": told["participant"], "sis": told.get("sis", ""), "login": login}
    return Person(name, number, told.get("section", ""), frozenset(names - {""}), frozenset(ids), email, **systems)


def squeezed(name: str) -> str:
    """A name's letters and digits alone, without accents: what systems leave of it."""
    return re.sub(r"[\W_]+", "", without_accents(name.casefold()))


def spellings(name: str) -> set[str]:
    """A name from each of its words on: Canvas makes ``lovelaceada`` of Ada Lovelace."""
    words = name.replace(",", " ").split()
    return {squeezed(" ".join(words[place:] + words[:place])) for place in range(len(words))}


class Roster:
    """Finds the one person that a submission's name and identifier stand for."""

    def __init__(self, people: Iterable[Person]):
        self.people = list(people)
        self.by_name: dict[str, list[Person]] = {}
        for one in self.people:
            for name in one.names:
                self.by_name.setdefault(name, []).append(one)

    def find(self, student: str, number: str) -> Person | None:
        """The person with this identifier, else with this name; None where there is none.

        Raises:
            Unclear: if identifier and name are those of different people, or of several.
        """
        numbered = [one for one in self.people if number and number in one.ids]
        named = self.by_name.get(squeezed(student), [])
        both = [one for one in numbered if one in named]
        found = both or numbered or named
        if numbered and named and not both:
            raise Unclear(
                f"the identifier {number} and the name {student} stand for different people", [*found, *named]
            )
        if len(found) > 1:
            raise Unclear(f"{student} stands for {len(found)} people", found, "" if numbered else number)
        return found[0] if found else None
