"""The fuzz tests of ``tests/grading/sandbox/test_frames.py``, for longer and with other examples each time."""

import os
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from benchmarks.grading.measure import machine, table

EXAMPLES = 5_000


def fuzzed() -> dict[str, Callable[[], None]]:
    """The tests that hypothesis drives, by name."""
    tests = vars(import_module("tests.grading.sandbox.test_frames"))
    return {name: test for name, test in sorted(tests.items()) if hasattr(test, "hypothesis")}


def main() -> None:
    os.environ["FUZZ_EXAMPLES"] = str(EXAMPLES)
    rows = []
    for name, test in fuzzed().items():
        start = time.perf_counter()
        test()  # raises at the first example that does not hold
        seconds = f"{time.perf_counter() - start:.0f}"
        rows.append([name.removeprefix("test_").replace("_", " "), EXAMPLES, seconds, "none"])
    text = (
        f"# Fuzzing what workers and students send\n\n{machine()}. Written by `python -m benchmarks.grading`.\n\n"
        + table(["what must hold", "examples", "wall s", "failures"], rows)
    )
    Path(__file__).with_name("fuzz.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
