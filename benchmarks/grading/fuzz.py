"""The fuzz tests of ``tests/grading/test_frames.py``, for longer and with other examples each time."""

import os
import time
from importlib import import_module
from pathlib import Path

from benchmarks.grading.measure import machine, table

EXAMPLES = 5_000


def main() -> None:
    os.environ["FUZZ_EXAMPLES"] = str(EXAMPLES)
    tests = import_module("tests.grading.test_frames")
    rows = []
    for name in sorted(vars(tests)):
        test = getattr(tests, name)
        if name.startswith("test_") and hasattr(test, "hypothesis"):
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
