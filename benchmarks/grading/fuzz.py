"""The fuzz tests of ``tests/grading/test_frames.py``, for longer and with another seed each time."""

import time
from pathlib import Path

from hypothesis import HealthCheck, settings

from benchmarks.grading.measure import machine, table
from tests.grading import test_frames

EXAMPLES = 5_000
LONG = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=False, database=None, suppress_health_check=list(HealthCheck)
)


def main() -> None:
    rows = []
    for name in sorted(vars(test_frames)):
        test = getattr(test_frames, name)
        if name.startswith("test_") and hasattr(test, "hypothesis"):
            start = time.perf_counter()
            LONG(test)()
            rows.append(
                [name.removeprefix("test_").replace("_", " "), EXAMPLES, f"{time.perf_counter() - start:.0f}", "none"]
            )
    text = (
        f"# Fuzzing what workers and students send\n\n{machine()}. Written by `python -m benchmarks.grading`.\n\n"
        + table(["what must hold", "examples", "wall s", "failures"], rows)
    )
    Path(__file__).with_name("fuzz.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
