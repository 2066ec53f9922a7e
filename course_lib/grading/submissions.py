"""Who handed in what: the folders and zips that Canvas, Moodle, nbgrader, Otter and Gradescope make, or plain files.

Nothing is unpacked to disk and no link is followed; only notebooks are ever read.
"""

import json
import re
import stat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from course_lib.exercises import UsageError
from course_lib.grading.cells import MAX_BYTES, Unreadable

MAX_FILES = 20_000
MAX_ZIP_BYTES = 500 << 20
NOTEBOOKS = (".ipynb", ".py")
SIDE_FILES = (".csv", ".json", ".yml", ".yaml", ".txt", ".md", ".db", ".log", ".html", ".pdf", ".png", ".jpg")

MOODLE = re.compile(r"(?P<name>.+)_(?P<id>\d+)_assignsubmission_(?:file|onlinetext)_?")
CANVAS = re.compile(r"(?P<name>[^_]+)(?:_LATE)?_(?P<id>\d+)_\d+_(?P<file>.+)", re.I)
OTTER = re.compile(r"(?P<name>.+?)_\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d.*")
AGAIN = re.compile(r"-(\d+)$")  # Canvas marks a file handed in again


class Found(NamedTuple):
    """One file: where it lies below the folder, and how to come by its bytes (a file, then members of zips)."""

    parts: tuple[str, ...]
    path: Path
    members: tuple[str, ...] = ()

    def read(self) -> bytes:
        """The file's bytes, at most one more than a submission may have."""
        if not self.members:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        data: Path | BytesIO = self.path
        content = b""
        for place, member in enumerate(self.members):
            limit = MAX_ZIP_BYTES if place < len(self.members) - 1 else MAX_BYTES
            try:
                with zipfile.ZipFile(data) as archive, archive.open(member) as file:
                    content = file.read(limit + 1)
                    data = BytesIO(content)
            except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, KeyError, ValueError, EOFError):
                raise Unreadable("the zip is damaged or locked with a password; zip the notebook again") from None
            except Exception as error:  # zlib and lzma have errors of their own
                raise Unreadable(f"the zip is damaged ({type(error).__name__}); zip the notebook again") from None
        return content


class Submission(NamedTuple):
    """What one student handed in; ``problem`` says why there is nothing to grade."""

    student: str
    id: str
    file: str
    found: Found | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()

    def read(self) -> bytes:
        """The bytes to grade.

        Raises:
            Unreadable: if there is nothing to grade, naming why.
        """
        if self.found is None:
            raise Unreadable(self.problem)
        return self.found.read()


def find_submissions(place: Path, slug: str) -> list[Submission]:
    """One submission for each student found below ``place`` (a folder, a zip or one notebook), by name.

    Raises:
        UsageError: if there is none.
    """
    if not place.exists():
        raise UsageError(f"{place} does not exist; give the folder (or zip) with the submissions")
    if (place / "submitted").is_dir():  # the root of an nbgrader course
        place = place / "submitted"
    metadata = gradescope_metadata(place)
    by_student: dict[tuple[str, str], list[Found]] = {}
    problems: dict[tuple[str, str], str] = {}
    for found in files(place):
        who = metadata or student_of(found.parts)
        if isinstance(found.path, Path) and found.parts[-1].lower().endswith(NOTEBOOKS):
            by_student.setdefault(who, []).append(found)
        elif not found.parts[-1].lower().endswith(SIDE_FILES):
            problems.setdefault(who, f"{found.parts[-1]} is no notebook; hand in the .ipynb file of the exercise")
    for folder in [] if metadata or not place.is_dir() else sorted(place.iterdir()):
        if folder.is_dir() and not folder.is_symlink() and not folder.name.startswith("."):
            problems.setdefault(student_of((folder.name, "")), "there is no notebook in the folder")
    submissions = [choose(who, candidates, slug) for who, candidates in by_student.items()]
    submissions += [Submission(*who, "", problem=why) for who, why in problems.items() if who not in by_student]
    if not submissions:
        raise UsageError(
            f"{place} holds no submission; give a folder with one notebook (or folder, or zip) a student"
        )
    return sorted(submissions)


def files(place: Path) -> Iterator[Found]:
    """Every regular file below ``place``, with the members of zips in their zip's place; never through a link."""
    paths = [place] if place.is_file() else sorted(place.rglob("*"))
    if len(paths) > MAX_FILES:
        raise UsageError(f"{place} holds more than {MAX_FILES} files; give the folder of one assignment")
    for path in paths:
        parts = path.relative_to(place.parent if place.is_file() else place).parts
        if hidden(parts) or not stat.S_ISREG(path.lstat().st_mode) or through_link(path, place):
            continue
        if path.suffix.lower() == ".zip":
            yield from members(Found(parts, path), whole=place.is_file())
        else:
            yield Found(parts, path)


def hidden(parts: tuple[str, ...]) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in parts)


def through_link(path: Path, place: Path) -> bool:
    return any(parent.is_symlink() for parent in path.parents if parent != place and place in parent.parents)


def members(archive: Found, *, whole: bool, depth: int = 0) -> Iterator[Found]:
    """The files of a zip as if it were a folder of its name; of the ``whole`` download as if it were the folder."""
    *above, name = archive.parts
    above = above if whole else [*above, name[:-4]]
    try:
        data = BytesIO(archive.read()) if archive.members else archive.path
        with zipfile.ZipFile(data) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, Unreadable, OSError, ValueError, RuntimeError, NotImplementedError):
        entries = None
    if entries is None or len(entries) > MAX_FILES or sum(entry.file_size for entry in entries) > MAX_ZIP_BYTES:
        yield Found((*above, name), archive.path, archive.members)  # reported as no notebook
        return
    for entry in entries:
        inside = tuple(
            part for part in PurePosixPath(entry.filename.replace("\\", "/")).parts if part not in ("/", "..")
        )
        found = Found((*above, *inside), archive.path, (*archive.members, entry.filename))
        if not inside or hidden(inside):
            continue
        if inside[-1].lower().endswith(".zip") and depth < 2:
            yield from members(found, whole=False, depth=depth + 1)
        else:
            yield found


def student_of(parts: tuple[str, ...]) -> tuple[str, str]:
    """Name and identifier of the student whose file this is, from the names that the platforms give."""
    for part in parts:
        if match := MOODLE.fullmatch(part):
            return match["name"], match["id"]
    first = parts[0] if len(parts) > 1 else re.sub(r"\.(ipynb|py|zip)$", "", parts[0], flags=re.I)
    for pattern in (OTTER, CANVAS):
        if match := pattern.fullmatch(first):
            return match["name"], match.groupdict().get("id") or ""
    return first, ""


def choose(who: tuple[str, str], candidates: list[Found], slug: str) -> Submission:
    """The notebook of a student's that belongs to the lesson, the latest if there are several."""
    best = max(candidates, key=lambda found: (fits(found, slug), resubmission(found), -len(found.parts), found.parts))
    others = ["/".join(found.parts) for found in candidates if found is not best and fits(found, slug)]
    notes = (f"several notebooks fit; graded {best.parts[-1]}, not {', '.join(sorted(others))}",) if others else ()
    return Submission(*who, "/".join(best.parts), best, notes=notes)


def fits(found: Found, slug: str) -> int:
    """2 where the file's content names a task of the lesson, 1 where its name does, else 0."""
    try:
        content = found.read()
    except (Unreadable, OSError):
        return 0
    return 2 if f"task_{slug[:2]}_".encode() in content else int(slug in found.parts[-1])


def resubmission(found: Found) -> int:
    match = AGAIN.search(PurePosixPath(found.parts[0] if len(found.parts) == 1 else found.parts[-1]).stem)
    return int(match[1][:9]) if match else 0


def gradescope_metadata(place: Path) -> tuple[str, str] | None:
    """The student of a Gradescope container's submission folder, else None."""
    for path in (place / "submission_metadata.json", place.parent / "submission_metadata.json"):
        try:
            users = json.loads(path.read_text(encoding="utf-8"))["users"]
            return str(users[0].get("email") or users[0]["name"]), str(users[0].get("id", ""))
        except (OSError, ValueError, KeyError, IndexError, AttributeError, TypeError):
            continue
    return None
