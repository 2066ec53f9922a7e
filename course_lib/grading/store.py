"""Results on disk, so that a crash loses nothing: one file a submission, each written whole or not at all."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_lib.exercises import UsageError
from course_lib.grading.marks import (
    Marks,
    Override,
    Record,
    lessons_from_json,
    record_from_data,
    record_to_data,
    to_json,
)
from course_lib.grading.similarity import Prints


def write(path: Path, content: str | bytes) -> None:
    """Put ``content`` at ``path`` in one step: whoever looks sees the old file or the new one, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    with unfinished.open("wb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def key(*parts: str | bytes) -> str:
    """A name for a result that changes with anything the result follows from."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", errors="surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:40]


class Store:
    """The results folder of one run; only one grader at a time may hold it."""

    def __init__(self, folder: Path):
        from filelock import FileLock, Timeout  # only who grades holds a folder; reports are written without

        self.folder, self.new = folder, not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "records").mkdir(exist_ok=True)
        folder.chmod(0o700)
        self.lock = FileLock(folder / ".lock", timeout=0)  # the system releases it when this process is killed
        try:
            self.lock.acquire()
        except Timeout:
            raise UsageError(
                f"another `course grade` is writing to {folder}; wait for it, or give another --out"
            ) from None
        for left in folder.rglob(".*.unfinished"):
            left.unlink()

    def get(self, name: str) -> Record | None:
        """The stored record, or None where there is none that can be read."""
        try:
            return record_from_data(
                json.loads((self.folder / "records" / f"{name}.json").read_text(encoding="utf-8"))
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, name: str, record: Record) -> None:
        write(self.folder / "records" / f"{name}.json", to_json(record_to_data(record)))

    def lessons(self) -> tuple[Marks, ...]:
        """The marks of the last run here, of each lesson."""
        try:
            return lessons_from_json((self.folder / "marks.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return ()

    def read(self, name: str) -> dict:
        """One of the store's own files; empty where there is none that can be read."""
        try:
            data = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def settings(self, wanted: dict) -> dict:
        """The settings of this run: those wanted, and for each that is None the one of the last run here."""
        before = self.read("run.json")
        return {name: before.get(name) if value is None else value for name, value in wanted.items()}

    def remember(self, settings: dict) -> None:
        write(self.folder / "run.json", to_json(settings))

    # Marks that the instructor gave by hand

    def overrides(self) -> dict[str, dict[str, Override]]:
        """For each lesson or task, and each student (``Record.known_as``), the mark given by hand."""
        return {
            what: {who: Override(**one) for who, one in given.items()}
            for what, given in self.read("overrides.json").items()
        }

    def override(self, what: str, known_as: Iterable[str], mark: Override | None) -> None:
        """Give a mark by hand for a lesson or a task, or with None take it back, under each name of a student."""
        given = self.read("overrides.json")
        for one in known_as:
            given.setdefault(what, {}).pop(one, None)
            if mark:
                given[what][one] = asdict(mark)
        write(self.folder / "overrides.json", to_json(given))

    # What answers look like after renaming

    def fingerprints(self, lesson: str) -> dict[str, Prints]:
        """The fingerprints of each student's answers, by ``Record.who``."""
        found = self.read("answers.json").get(lesson, {})
        return {
            who: {name: (one, length) for name, (one, length) in prints.items()}
            for who, (_, prints) in found.items()
            if isinstance(prints, dict)
        }

    def add_fingerprints(self, lesson: str, found: dict[str, tuple[str, Any]], make: Callable[[Any], Prints]) -> None:
        """Note the fingerprints of ``found`` (name of the result, submission); the same result is not read again."""
        prints = self.read("answers.json")
        before = prints.get(lesson, {})
        fresh = self.fingerprints(lesson)
        new = {
            who: before[who] if who in fresh and before[who][0] == name else [name, make(one)]
            for who, (name, one) in found.items()
        }
        write(self.folder / "answers.json", to_json(prints | {lesson: before | new}))

    def close(self) -> None:
        """Let others write here; a run that was refused leaves no folder behind."""
        self.lock.release()
        files = {path.name for path in self.folder.rglob("*") if path.is_file()}
        if self.new and files <= {".lock"}:
            shutil.rmtree(self.folder)
