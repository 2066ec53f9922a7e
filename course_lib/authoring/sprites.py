"""Sliders for readers without a kernel: the pictures of ``steer``, drawn beforehand into one file.

While the builder executes a lesson, ``watch()`` lets every ``steer`` also send its sprite: a grid of its pictures,
for at most ``MOST`` combinations of its controls. ``sliders`` keeps it, the website moves it about. Lessons and
library know nothing of this.
"""

import base64
import io
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
from matplotlib.figure import Figure
from PIL import Image

from course_lib import interactive
from course_lib.authoring.sliders import MIME
from course_lib.plotting import SHOWN, new_figure, png

MOST = 60


def watch() -> None:
    """From now on, ``steer`` also sends its sprite."""
    from IPython.display import display

    steer = interactive.steer

    def steer_and_send(draw: Callable, *, width: float = 7.0, height: float = 2.6, **controls: ipywidgets.Widget):
        display({MIME: sprite(draw, (width, height), controls)}, raw=True)
        return steer(draw, width=width, height=height, **controls)

    interactive.steer = steer_and_send


def sprite(draw: Callable, size: tuple[float, float], controls: dict[str, ipywidgets.Widget]) -> dict[str, Any]:
    """All pictures in one, and what the page must know of them: each slider's name, options and start."""
    pairs = [labelled(control.options) for control in controls.values()]
    starts = [options[control.index] for options, control in zip(pairs, controls.values(), strict=True)]
    chosen = thinned(list(zip(pairs, starts, strict=True)))
    frames = []
    for combination in itertools.product(*chosen):
        figure = new_figure(*size)
        figure.set_dpi(SHOWN)
        draw(figure, **{name: value for name, (_, value) in zip(controls, combination, strict=True)})
        frames.append(drawn(figure))
    columns = math.ceil(math.sqrt(len(frames)))
    sliders = [
        {
            "name": control.description,
            "options": [label for label, _ in options],
            "start": options.index(start),
        }
        for control, options, start in zip(controls.values(), chosen, starts, strict=True)
    ]
    about = {
        "sliders": sliders,
        "columns": columns,
        "rows": math.ceil(len(frames) / columns),
        "frame": frames[0].size,
    }
    return {"about": about, "picture": base64.b64encode(packed(grid(frames, columns))).decode()}


def labelled(options: Sequence) -> list[tuple[str, Any]]:
    """Each option as the slider shows it, and its value, as ipywidgets reads them.

    >>> labelled([("nobody", 0), 7])
    [('nobody', 0), ('7', 7)]
    """
    return [one if isinstance(one, tuple) else (str(one), one) for one in options]


def thinned(controls: Sequence[tuple[Sequence, Any]], most: int = MOST) -> list[list]:
    """Fewer options where there are too many combinations: evenly spread, the start and both ends kept.

    Of equally long ones the last gives an option up: the first slider is the one that a reader comes to first.

    >>> thinned([(range(9), 4), ("ab", "a")], most=10)
    [[0, 2, 4, 6, 8], ['a', 'b']]
    >>> [len(options) for options in thinned([(range(9), 4)] * 4)]
    [3, 3, 3, 2]
    """
    counts = [len(options) for options, _ in controls]
    while math.prod(counts) > most:
        longest = max(range(len(counts)), key=lambda k: (counts[k], k))
        counts[longest] -= 1
    return [spread(list(options), start, count) for (options, start), count in zip(controls, counts, strict=True)]


def spread(options: list, start: Any, count: int) -> list:
    """``count`` of the options, in their order; the start takes the place of its nearest neighbour.

    >>> spread([0, 1, 2, 3, 4, 5, 6], 5, 3)
    [0, 3, 5]
    """
    if count == 1:
        return [start]
    last, at = len(options) - 1, options.index(start)
    places = [round(k * last / (count - 1)) for k in range(count)]
    nearest = min(range(count), key=lambda k: abs(places[k] - at))
    places[nearest] = at
    return [options[place] for place in places]


def drawn(figure: Figure) -> Image.Image:
    return Image.open(io.BytesIO(png(figure))).convert("RGB")


def grid(frames: list[Image.Image], columns: int) -> Image.Image:
    """The frames row by row, like words on a page."""
    width, height = frames[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(len(frames) / columns) * height), "white")
    for k, frame in enumerate(frames):
        sheet.paste(frame, (k % columns * width, k // columns * height))
    return sheet


def packed(sheet: Image.Image) -> bytes:
    """As WebP: without loss or with a little, whichever is smaller."""
    files = []
    for options in ({"lossless": True}, {"quality": 45}):
        sheet.save(file := io.BytesIO(), "WEBP", **options)
        files.append(file.getvalue())
    return min(files, key=len)
