"""Write every diagram, light and dark: ``python -m course_lib.diagrams FOLDER [png]``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context

from course_lib.catalog import CATALOG
from course_lib.diagrams.drawing import figure


def write_all(folder: Path, kind: str = "svg", *, grounds: Sequence[str] = ("light", "dark")) -> list[Path]:
    """One file for each row of the catalogue and each ground: ``SqueezeExcitation-dark.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with rc_context({"svg.hashsalt": "diagrams"}):  # the same bytes each time
        for row in CATALOG:
            for ground in grounds:
                paths.append(folder / f"{row.name}-{ground}.{kind}")
                made = figure(row.module, dark=ground == "dark")
                made.savefig(paths[-1], metadata={"Date": None} if kind == "svg" else {"Software": None})
    return paths


if __name__ == "__main__":
    print(f"{len(write_all(Path(sys.argv[1]), *sys.argv[2:]))} pictures in {sys.argv[1]}")
