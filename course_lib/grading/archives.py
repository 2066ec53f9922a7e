"""The files of a download: folders and zips, read in place and within limits; no link is followed."""

import os
import struct
import time
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from course_lib.exercises import UsageError
from course_lib.grading.cells import MAX_BYTES, Unreadable

MAX_FILES = 20_000  # in a whole download
MAX_NAME = 200
MAX_DEPTH = 3  # zips in zips
ZIP = (b"PK\3\4", b"PK\5\6")
DOCUMENTS = (".docx", ".odt", ".pages", ".pptx", ".odp", ".key", ".xlsx", ".ods", ".epub")  # zips, all of them
UNPACK = "unpack it and give the folder"


class Found(NamedTuple):
    """One file: where it lies in the download, how to come by its bytes (a file, then members of zips), its time."""

    parts: tuple[str, ...]
    path: Path
    members: tuple[str, ...] = ()
    time: float = 0.0

    @property
    def name(self) -> str:
        return "/".join(self.parts)

    def read(self, limit: int = MAX_BYTES) -> bytes:
        """The file's bytes, at most one more than ``limit``."""
        if not self.members:
            with self.path.open("rb") as file:
                return file.read(limit + 1)
        data = b""
        for place, member in enumerate(self.members):
            archive = opened(BytesIO(data)) if place else opened_at(self.path, self.path.stat().st_mtime_ns)
            data = read_member(archive, member, Allowance.size if place < len(self.members) - 1 else limit)
        return data

    def head(self) -> bytes:
        """The first bytes, by which a file's kind is known."""
        return self.read(3) if not self.members else self.read()[:4]

    def inside(self, entry: zipfile.ZipInfo) -> "Found":
        """A member of this zip, as if the zip were a folder of its name."""
        return self._replace(parts=(*self.parts, *parts_of(entry)), members=(*self.members, entry.filename))


class Allowance:
    """What reading one student's files may cost: files, bytes, and processor seconds (a busy machine costs none)."""

    files, size, seconds = 2000, 200 << 20, 10.0
    table = 1 << 20  # bytes of a zip's table of contents

    def __init__(self) -> None:
        self.files_left, self.size_left = self.files, self.size
        self.start = time.thread_time()

    def spend(self, *, files: int = 0, size: int = 0) -> None:
        """Count what was read.

        Raises:
            Unreadable: if it is more than one student may hand in.
        """
        self.files_left -= files
        self.size_left -= size
        if self.files_left < 0:
            raise Unreadable(f"more than {self.files} files in a zip; hand in the notebook alone")
        if self.size_left < 0:
            raise Unreadable(f"more than {self.size >> 20} MB in a zip; hand in the notebook alone")
        if time.thread_time() - self.start > self.seconds:
            raise Unreadable(f"unpacking took more than {self.seconds:.0f} s; hand in the notebook alone")


def opened(archive: Path | BytesIO) -> zipfile.ZipFile:
    """A zip, ready to be read.

    Raises:
        Unreadable: if it is damaged, or its table of contents alone would take seconds and gigabytes.
    """
    refuse_long_table(archive)
    try:
        return zipfile.ZipFile(archive)
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError):
        raise Unreadable("the zip is damaged; zip the notebook again") from None


@lru_cache(maxsize=8)
def opened_at(path: Path, changed: int) -> zipfile.ZipFile:
    """The zip at ``path``, kept open: its table of contents is read once, not for each of its members."""
    return opened(path)


def read_member(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo, limit: int) -> bytes:
    """At most ``limit`` bytes, and one more, of a member of a zip.

    Raises:
        Unreadable: if it is damaged or locked.
    """
    try:
        with archive.open(member) as file:
            return file.read(limit + 1)
    except OSError as error:
        if error.errno:  # of the disk, not of the zip
            raise
        raise Unreadable("the zip is damaged; zip the notebook again") from None
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, KeyError, ValueError, EOFError):
        raise Unreadable("the zip is damaged or locked with a password; zip the notebook again") from None
    except Exception as error:  # zlib and lzma have errors of their own
        raise Unreadable(f"the zip is damaged ({type(error).__name__}); zip the notebook again") from None


def files_below(place: Path) -> tuple[list[Found], list[tuple[str, ...]]]:
    """Every regular file below a folder, and every folder; of a file, the file alone.

    Raises:
        UsageError: if there are too many, or the folder cannot be read.
    """
    if place.is_file():
        return [Found((harmless(place.name),), place, time=changed(place))], []
    if not os.access(place, os.R_OK | os.X_OK):
        raise UsageError(f"{place} cannot be read; allow it, or give another folder")
    found: list[Found] = []
    folders: list[tuple[str, ...]] = []
    for above, below, names in os.walk(place):
        below[:] = sorted(name for name in below if not hidden(name) and not Path(above, name).is_symlink())
        parts = tuple(map(harmless, Path(above).relative_to(place).parts))
        folders += [(*parts, harmless(name)) for name in below]
        paths = [Path(above, name) for name in sorted(names) if not hidden(name)]
        found += [Found((*parts, harmless(path.name)), path, time=changed(path)) for path in paths if is_plain(path)]
        if len(found) > MAX_FILES:
            raise UsageError(f"{place} holds more than {MAX_FILES} files; give the folder of one assignment")
    return found, folders


def is_plain(path: Path) -> bool:
    """Whether a path is a file, not a link, a pipe or a device; one that may not be looked at is told later."""
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:
        return True


def changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def table_of(archive: Found) -> tuple[list[Found], list[tuple[str, ...]]]:
    """Files and folders of a class's zip, with the times that it gives them; its own name is no part of theirs.

    Raises:
        UsageError: if it cannot be read.
    """
    above = archive.parts[:-1]
    try:
        inside = opened(BytesIO(archive.read(Allowance.size)) if archive.members else archive.path)
    except Unreadable as error:
        raise UsageError(f"{archive.path}: {error}; or {UNPACK}") from None
    entries = [entry for entry in inside.infolist() if shown(entry)]
    if len(entries) > MAX_FILES:
        raise UsageError(f"{archive.path} holds more than {MAX_FILES} files; give the zip of one assignment")
    files = [
        Found((*above, *parts_of(entry)), archive.path, (*archive.members, entry.filename), time_of(entry))
        for entry in entries
        if not entry.is_dir()
    ]
    folders = {(*above, *parts_of(entry)[:depth]) for entry in entries for depth in range(1, len(parts_of(entry)))}
    folders |= {(*above, *parts_of(entry)) for entry in entries if entry.is_dir()}
    return files, sorted(folders)


def unpacked(found: Found, allowance: Allowance) -> Iterator[tuple[Found, bytes]]:
    """A student's file with its bytes; of a zip, each file in it, zips in zips too.

    Raises:
        Unreadable: if a zip cannot be read, or holds too much.
    """
    if is_document(found.parts[-1]) or not found.head().startswith(ZIP):
        yield found, found.read()
        return
    try:
        archive = opened(BytesIO(found.read(allowance.size)) if found.members else found.path)
        yield from _members(found, archive, allowance, 1)
    except Unreadable as error:
        raise Unreadable(f"{found.parts[-1]}: {error}") from None


def is_document(name: str) -> bool:
    """Whether a file's name is that of a document which is a zip; nobody's notebook lies in one."""
    return name.lower().endswith(DOCUMENTS)


def _members(archive: Found, inside: zipfile.ZipFile, allowance: Allowance, depth: int) -> Iterator:
    entries = [entry for entry in inside.infolist() if not entry.is_dir() and shown(entry)]
    allowance.spend(files=len(entries))
    for entry in entries:
        try:
            content = read_member(inside, entry, MAX_BYTES)
        except Unreadable:  # the others stand
            content = b""
        allowance.spend(size=len(content))
        if content.startswith(ZIP) and not is_document(entry.filename) and depth < MAX_DEPTH:
            yield from _members(archive.inside(entry), opened(BytesIO(content)), allowance, depth + 1)
        else:
            yield archive.inside(entry), content


def refuse_long_table(data: Path | BytesIO) -> None:
    """Refuse a zip whose table of contents alone would take seconds and gigabytes to read.

    zipfile reads the whole table before anybody can count it, so its length is read from the end of the zip first.
    """
    with data.open("rb") if isinstance(data, Path) else BytesIO(data.getbuffer()) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - (1 << 16) - 22))
        tail = file.read()
    end = len(tail) - 22
    if not (end >= 0 and tail[end:].startswith(b"PK\5\6") and tail.endswith(b"\0\0")):
        end = tail.rfind(b"PK\5\6")
    large = tail[max(0, end - 20) : max(0, end)].startswith(b"PK\6\7")  # the end record of zips above 4 GB
    if end < 0 or len(tail) < end + 22:
        raise Unreadable("the zip is damaged; zip the notebook again")
    if large or struct.unpack_from("<L", tail, end + 12)[0] > Allowance.table:
        raise Unreadable(f"more than {Allowance.files} files in a zip; hand in the notebook alone")


def parts_of(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    """A member's path, however it was written, without the steps that would lead out of the zip."""
    parts = PurePosixPath(entry.filename.replace("\\", "/")).parts
    return tuple(harmless(part) for part in parts if part not in ("/", "..")) or ("_",)


def time_of(entry: zipfile.ZipInfo) -> float:
    """A member's time; zips keep it in the local time of whoever made them."""
    try:
        return time.mktime((*entry.date_time, 0, 0, -1))
    except (ValueError, OverflowError):
        return 0.0


def shown(entry: zipfile.ZipInfo) -> bool:
    return not any(hidden(part) for part in parts_of(entry))


def hidden(name: str) -> bool:
    """What editors and systems leave behind."""
    return name.startswith((".", "__MACOSX", "__pycache__"))


def harmless(name: str) -> str:
    """A file's name that can be printed and stored, whatever the file system or a zip allows."""
    return "".join(one if one.isprintable() else "�" for one in name[:MAX_NAME])
