"""Write every diagram, light and dark: ``python -m course_lib.diagrams FOLDER [png]``."""

import io
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from matplotlib import rc_context

from course_lib.catalog import CATALOG
from course_lib.diagrams.drawing import DARK, LIGHT, figure


def write_all(folder: Path, kind: str = "svg", *, grounds: Sequence[str] = ("light", "dark")) -> list[Path]:
    """One file for each row of the catalogue and each ground: ``SqueezeExcitation-dark.svg``."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for row in CATALOG:
        for ground in grounds:
            paths.append(folder / f"{row.name}-{ground}.{kind}")
            if kind == "svg":
                paths[-1].write_text(svg(row.module, dark=ground == "dark"), encoding="utf-8")
            else:
                figure(row.module, dark=ground == "dark").savefig(paths[-1], metadata={"Software": None})
    return paths


def svg(mechanism: type, *, dark: bool) -> str:
    """The diagram as text; in the dark it is the same drawing in other colours, which need not be drawn again."""
    colours = {light.lower(): dark.lower() for light, dark in zip(LIGHT, DARK, strict=True)}
    text = drawn(mechanism)
    return re.sub("|".join(colours), lambda found: colours[found[0]], text) if dark else text


@cache
def drawn(mechanism: type) -> str:
    file = io.StringIO()
    with rc_context({"svg.hashsalt": "diagrams"}):  # the same bytes each time
        figure(mechanism).savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


if __name__ == "__main__":
    print(f"{len(write_all(Path(sys.argv[1]), *sys.argv[2:]))} pictures in {sys.argv[1]}")
