"""What a submission looks for that is not its own: hidden tests, solutions, marks, other processes.

Nothing of that is there for it. The instructor is told what was asked for, in the words of whoever asked; nobody is
told of what lies in the submission's own folder, or of what it writes.
"""

import os
import re
from contextlib import suppress

MOST, LONGEST = 5, 200
NOT_ITS_OWN = re.compile(
    r"(?:^|/)(?:tests?/hidden|test_\d\d_\w+\.py|test_\*|solutions(?:/src)?/\d\d_|marks\.json|autograder/source)"
    r"|^/proc/\d+/"
)
PATHS = ("open", "glob.glob", "os.scandir", "os.listdir")


class Nosy:
    """Hears of what Python opens, lists and imports (PEP 578) while it is ``listening``; ``found`` is not its own."""

    def __init__(self) -> None:
        self.listening = False
        self.found: list[str] = []

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
                self.note(str(os.fsdecode(arguments[0])), writing(event, arguments))
            elif event == "import" and re.match(r"tests(\.|$)", arguments[0]) and not os.path.exists("tests"):
                self.add(f"import {arguments[0]}")

    def note(self, path: str, writes: bool) -> None:
        asks = path == "/" or NOT_ITS_OWN.search(path)
        if asks and not writes and not is_own(path) and f"/proc/{os.getpid()}/" not in path:
            self.add(path)

    def add(self, what: str) -> None:
        if what[:LONGEST] not in self.found:
            self.found.append(what[:LONGEST])


def writing(event: str, arguments: tuple) -> bool:
    """Whether a file is opened to be written; a new one is nobody else's."""
    return event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def is_own(path: str) -> bool:
    """Whether a file lies in the submission's own folder; under Landlock it has none, and stands at the root."""
    here = os.getcwd()
    return here != "/" and os.path.exists(path) and os.path.realpath(path).startswith(f"{here}/")
