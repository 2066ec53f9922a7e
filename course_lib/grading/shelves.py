"""The outermost names of a download: which are students', and which are folders or zips of a whole class."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from course_lib.exercises import UsageError
from course_lib.grading.archives import ZIP, Allowance, Found, files_below, table_of, unpacked
from course_lib.grading.cells import Unreadable
from course_lib.grading.contents import is_notebook, numbers_in, some
from course_lib.grading.identity import NOBODY, Who, in_export, plain, who_of

SHELF = re.compile(
    r"submi(?:ssions?|tted)(?: ?\(\d+\))?|assignment_\d+_export(?: ?\(\d+\))?|downloads?"
    r"|(?:assignment|homework|hw|week|wk|exercise|ex|lesson|sheet|unit)[ _-]*\d{1,2}(?:[ _-].*)?",
    re.I,
)
MOODLE = re.compile(r".+-.+-\d+(?: ?\(\d+\))?(?:\.zip)?", re.I)  # COURSE-ASSIGNMENT-NUMBER.zip
WORK = re.compile(  # what people call their work, not themselves
    r"untitled|notebook|cop(y|ie)|final|draft|old|new|version|\bv\d|solution|answer|exercise|homework|hw\d|lesson|lab|"
    r"assign|submi|attempt|task|week|part|test|backup|work|first|second|third|last|mine|try|good|bad|better|correct|"
    r"blank|empty|orig|start|untouched|done|finished|\d\d[_ ]|^\d*$|\(\d+\)$|-\d+$",
    re.I,
)


class Shelves(NamedTuple):
    """Outermost things, ready to be given to students: the files below each name, and what was noticed."""

    files: dict[tuple[str, ...], list[Found]]
    exports: dict[tuple[str, ...], dict[str, list[Who]]]
    notes: list[str]


def sort_out(place: Path, known: list[str]) -> Shelves:
    """The outermost names below ``place``: shelves (folders of a whole lesson) are opened, the only folder too.

    A shelf is told by its name, which the instructor or the platform gave: ``submissions (1).zip``, ``week 2``,
    ``03_squeeze_excitation``. No content can make one; a name like Moodle's (``VIS-Exercise 3-4711.zip``), which may
    be a person's, needs Moodle's names in it, too.
    """
    found, folders = files_below(place)
    whole = place.is_file() and found[0].head().startswith(ZIP) and who_of(place.name).platform == "plain"
    if whole:
        found, folders = table_of(found[0])
    shelves = Shelves({}, {}, [])
    level = grouped(found, folders, ())
    while len(level) == 1 and place.exists():
        (path,) = level
        inside = grouped(level[path], folders, path)
        if not (is_folder(path, level[path], folders) and is_class(path, inside, whole, place)):
            break
        shelves.notes.append(f"{path[-1]} is taken for the folder of a class: {some(name[-1] for name in inside)}")
        level = inside
    open_shelves(level, folders, known, shelves)
    return shelves


def open_shelves(
    level: dict[tuple[str, ...], list[Found]], folders: list[tuple[str, ...]], known: list[str], shelves: Shelves
) -> None:
    """Put what lies on each shelf, and beside them, into ``shelves``."""
    for files in level.values():
        for one in files:
            if one.parts[-1] == "submission_metadata.yml" and one.parts in level:
                shelves.exports[one.parts[:-1]] = in_export(one.read())
    numbered = are_lessons(level, folders, known)
    for path, files in level.items():
        named = numbered or is_shelf(path[-1], known)
        opened = contents(path, files, folders) if named or MOODLE.fullmatch(path[-1]) else None
        if opened and (named or is_of_moodle(opened[0])):
            open_shelves(*opened, known, shelves)
        else:
            shelves.files[path] = files


Level = dict[tuple[str, ...], list[Found]]  # the files below each name of one folder


def contents(
    path: tuple[str, ...], files: list[Found], folders: list[tuple[str, ...]]
) -> tuple[Level, list[tuple[str, ...]]] | None:
    """What lies in a class's folder or zip, with the folders below it; None where it is neither."""
    if is_folder(path, files, folders):
        return grouped(files, folders, path), folders
    if not (opened := in_zip(files[0])):
        return None
    inside, below = opened
    table = grouped(inside, below, path)
    if len(table) == 1 and is_folder(only := next(iter(table)), table[only], below):
        table = grouped(inside, below, only)
    return table, below


def is_of_moodle(level: Level) -> bool:
    """Whether all names are Moodle's, and several people's."""
    people = [who_of(path[-1]) for path in level]
    return len({who.key for who in people}) > 1 and all(who.platform == "Moodle" for who in people)


def in_zip(archive: Found) -> tuple[list[Found], list[tuple[str, ...]]] | None:
    """The files and folders of a class's zip, as if it were a folder of its name; None where it is none."""
    try:
        if archive.members or not archive.head().startswith(ZIP):
            return None
        files, folders = table_of(archive)
    except (UsageError, OSError):  # whoever's it is, the others stand
        return None
    depth = len(archive.parts) - 1
    inside = [one._replace(parts=(*archive.parts, *one.parts[depth:])) for one in files]
    return inside, [(*archive.parts, *one[depth:]) for one in folders]


def grouped(
    found: list[Found], folders: Iterable[tuple[str, ...]], above: tuple[str, ...]
) -> dict[tuple[str, ...], list[Found]]:
    """The files below each name that stands in the folder ``above``; an empty folder has none."""
    depth = len(above) + 1
    names: dict[tuple[str, ...], list[Found]] = {
        one[:depth]: [] for one in folders if one[: depth - 1] == above and len(one) >= depth
    }
    for one in found:
        names.setdefault(one.parts[:depth], []).append(one)
    return dict(sorted(names.items()))


def is_folder(path: tuple[str, ...], files: list[Found], folders: Iterable[tuple[str, ...]]) -> bool:
    return path in set(folders) or any(len(one.parts) > len(path) for one in files)


def is_shelf(name: str, known: list[str]) -> bool:
    stem = re.sub(r"\.zip$", "", name, flags=re.I)
    if who_of(name).platform != "plain" or re.search(r"\.\w{1,5}$", stem):
        return False
    return bool(SHELF.fullmatch(stem)) or any(re.fullmatch(rf"{slug}(?:[ _(-].*)?", stem) for slug in known)


def are_lessons(level: dict, folders: list[tuple[str, ...]], known: list[str]) -> bool:
    """Whether all names are numbers of lessons with students below, as ``01/ada.ipynb``.

    Students may have numbers too. A student's own folder holds work, not people, so one such is enough to say no.
    """
    numbers = {slug[:2] for slug in known}
    shelves = {path: files for path, files in level.items() if not is_side_file(path[-1], files)}
    return bool(shelves) and all(
        path[-1] in numbers
        and is_folder(path, files, folders)
        and not any(is_work(name[-1]) for name in grouped(files, folders, path))
        for path, files in shelves.items()
    )


def is_class(path: tuple[str, ...], inside: dict[tuple[str, ...], list[Found]], whole: bool, place: Path) -> bool:
    """Whether the only folder of a download holds a class, not one student's work."""
    if who_of(path[-1]).platform != "plain":
        return False
    if (whole and path[-1] == re.sub(r"\.zip$", "", place.name, flags=re.I)) or SHELF.fullmatch(path[-1]):
        return True
    return is_crowd(inside)


def is_crowd(inside: dict[tuple[str, ...], list[Found]]) -> bool:
    """Whether the names look like those of several people: two as a platform gives them, or none that names work.

    Of files alone it takes three: two notebooks side by side are rather one student's.
    """
    names = [path[-1] for path, files in inside.items() if not is_side_file(path[-1], files)]
    people = {who_of(name).key for name in names if who_of(name).platform not in ("plain", "Otter")}
    if len(people) > 1:
        return True
    alone = all(one.parts == path for path, files in inside.items() for one in files)
    if len(names) < (3 if alone else 2) or any(is_work(name) for name in names):
        return False
    lessons = Counter(lesson for files in inside.values() for lesson in lessons_of_some(files))
    return any(count > 1 for count in lessons.values())


def lessons_of_some(files: list[Found]) -> set[str]:
    """The numbers of the lessons that the first few files of one name are about."""
    found: set[str] = set()
    for one in files[:5]:
        try:
            for path, data in unpacked(one, Allowance()):
                found |= {number.decode() for number in numbers_in(data) if is_notebook(path.parts[-1], data)}
        except (Unreadable, OSError):
            continue
    return found


def is_work(name: str) -> bool:
    return bool(WORK.search(plain(name, ())))


def is_side_file(name: str, files: list[Found]) -> bool:
    """What an instructor or a platform puts beside submissions: a roster, a list, a read-me."""
    if len(files) != 1 or files[0].parts[-1] != name or not name.lower().endswith(NOBODY):
        return bool(re.fullmatch(r"read[_ -]?me(\.\w+)?", name, re.I))
    try:
        return not is_notebook(name, files[0].read())
    except (Unreadable, OSError):
        return True
