"""While an answer runs: what its task is to be answered without is refused, however the answer came by it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from torch.overrides import TorchFunctionMode

LIBRARY = str(Path(__file__).resolve().parents[2])
OURS = str(Path(__file__).resolve().parents[1])
SHARED = ("exercises.py", "checks.py")  # of the library, what every answer may use


class Forbidden(RuntimeError):
    """An answer used what its task forbids."""

    def __init__(self, name: str):
        super().__init__(f"this task is to be answered without {name}")


class Without(TorchFunctionMode):
    """No function of torch that has one of the names, or lives in a module that has."""

    def __init__(self, names: set[str]):
        super().__init__()
        self.names = names

    def __torch_function__(self, function, types, args=(), kwargs=None):
        path = f"{getattr(function, '__module__', '')}.{getattr(function, '__name__', '')}".split(".")
        if found := self.names & set(path):
            raise Forbidden(found.pop())
        return function(*args, **(kwargs or {}))


@contextmanager
def without_library() -> Iterator[None]:
    def see(frame: FrameType, event: str, _: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file.startswith(LIBRARY) and not file.startswith(OURS) and not file.endswith(SHARED):
            raise Forbidden("course_lib")

    sys.setprofile(see)
    try:
        yield
    finally:
        sys.setprofile(None)


@contextmanager
def guard(names: list[str]) -> Iterator[None]:
    """Refuse ``names`` until the block ends."""
    wanted = set(names) | ({"backward"} if "autograd" in names else set())
    with without_library() if "course_lib" in wanted else nullcontext(), Without(wanted) if wanted else nullcontext():
        yield
