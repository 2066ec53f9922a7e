"""What a submission looks for that is not its own: hidden tests, solutions, marks, other processes.

Nothing of that is there for it. The instructor is told what was asked for, in the words of whoever asked; nobody is
told of what lies in the submission's own folder, or of what it writes.
"""

import os
import re
from contextlib import suppress

MOST, LONGEST = 5, 200
NOT_ITS_OWN = re.compile(
    r"(?:^|/)(?:tests?/hidden(?:[/*]|$)|test_\d\d_\w+\.py$|test_(?:\d\d_)?\*\.py$|marks\.json$|autograder/source"
    r"|solutions/(?:src/)?\d\d_\w+\.(?:py|ipynb)$)"
    r"|^/proc/\d+/(?:mem|maps|environ|cmdline|fd|cwd|root)\b"
)
DRIVE = "/content/drive/"  # what lies on the student's own drive in Colab
PATHS = ("open", "glob.glob", "os.scandir", "os.listdir")


class Nosy:
    """Hears of what Python opens, lists and imports (PEP 578) while it is ``listening``; ``found`` is not its own."""

    def __init__(self) -> None:
        self.listening = False
        self.found: list[str] = []
        self.written: set[str] = set()  # also where nothing could be written

    def __enter__(self) -> None:
        self.listening = True

    def __exit__(self, *_: object) -> None:
        self.listening = False

    def hear(self, event: str, arguments: tuple) -> None:
        """An audit hook; whatever happens in it must not change what the submission does."""
        if not self.listening or len(self.found) >= MOST:
            return
        with suppress(Exception):
            if event in PATHS:
                self.note(os.fsdecode(arguments[0]), event, arguments)
            elif event == "import" and re.match(r"tests\.hidden(\.|$)", arguments[0]) and not os.path.exists("tests"):
                self.add(f"import {arguments[0]}")

    def note(self, path: str, event: str, arguments: tuple) -> None:
        if not (walks_everything(path, event) or NOT_ITS_OWN.search(path)):
            return
        if makes_a_file(event, arguments):
            self.written.add(path)
        elif path not in self.written and not is_own(path):
            self.add(path)

    def add(self, what: str) -> None:
        if what[:LONGEST] not in self.found:
            self.found.append(what[:LONGEST])


def walks_everything(path: str, event: str) -> bool:
    """Whether a search begins at the root: ``os.walk`` and ``glob`` scan folders.

    Python's own imports list the root, where the worker started; under Landlock a submission stands there.
    """
    return path == "/" and event == "os.scandir" and os.getcwd() != "/"


def makes_a_file(event: str, arguments: tuple) -> bool:
    """Whether a file is opened to be made; a new one is nobody else's."""
    return event == "open" and bool((arguments[2] or 0) & os.O_CREAT)


def is_own(path: str) -> bool:
    """Whether a file is the submission's: on its drive, of its own process, or in its own folder.

    Under Landlock it has no folder, and stands at the root.
    """
    if path.startswith((DRIVE, f"/proc/{os.getpid()}/")):
        return True
    here = os.getcwd()
    return here != "/" and os.path.exists(path) and os.path.realpath(path).startswith(f"{here}/")
