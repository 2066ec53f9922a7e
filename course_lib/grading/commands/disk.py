"""What the disk refuses, in one sentence with the cure."""

import argparse
import errno
from collections.abc import Callable
from pathlib import Path

from course_lib.exercises import UsageError

CURES = {
    (errno.ENOSPC,): ("the disk is full", "make room"),
    (errno.EDQUOT,): ("your quota is used up", "make room"),
    (errno.EROFS,): ("it is read-only", "allow writing"),
    (errno.EACCES, errno.EPERM): ("you may not write or read", "change the rights"),
    (errno.EEXIST, errno.ENOTDIR): ("there is a file where a folder should be", "move it away"),
    (errno.EISDIR,): ("there is a folder where a file should be", "move it away"),
    (errno.ENOENT,): ("nothing is there, and nothing can be made", "put back what was moved away"),
    (errno.ENAMETOOLONG,): ("the name is too long", "shorten it"),
    (errno.EMFILE, errno.ENFILE): ("too many files are open", "close programs"),
}


def one_sentence(run: Callable[[argparse.Namespace, Path], int]) -> Callable[[argparse.Namespace, Path], int]:
    """A verb that says in one sentence what the disk refused, and what to do."""

    def guarded(arguments: argparse.Namespace, root: Path) -> int:
        try:
            return run(arguments, root)
        except OSError as error:
            if not error.errno:
                raise
            kept = "nothing that was graded is lost, run it again then"
            raise UsageError(f"{what_failed(error, elsewhere=hasattr(arguments, 'out'))}; {kept}") from error

    return guarded


def what_failed(error: OSError, *, elsewhere: bool) -> str:
    """What the disk refused, where, and the cure; ``elsewhere``: the verb can write to another --out."""
    number = error.errno or 0
    why, cure = next((words for numbers, words in CURES.items() if number in numbers), (error.strerror, "look there"))
    place = f" at {error.filename}" if error.filename else ""
    return f"{why}{place}: {cure}{', or give another --out' * elsewhere}"
