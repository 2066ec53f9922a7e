"""How cost grows with the image: ``python -m benchmarks.curves``.

CPU time of forward and backward on one thread, one image of 64 channels, from 8×8 upwards. The side doubles until a
step would take longer than 6 s (by the growth seen so far) or does not fit into 4 GiB, which is enforced.
Memory once used is kept (``keep_memory``): else the cost of fresh pages, paid from 32 MiB on, bends every line.
The exponent p of time ~ (H·W)^p is fitted to each row's three largest sizes.
Writes curves.md and curves.png beside this file.
"""

import ctypes
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from torch import nn

from benchmarks.speed import once
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.plotting import COLOURS, MARKERS, new_figure, png
from course_lib.spatial.criss_cross import CrissCross
from course_lib.spatial.double_attention import DoubleAttention
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.stand_alone import StandAloneAttention

HERE = Path(__file__).parent
CHANNELS = 64
LONGEST = 6.0  # seconds
MEMORY = 4 * 2**30  # bytes

ROWS: dict[str, tuple[Callable[[], nn.Module], str]] = {  # and the exponent that the formula promises
    "NonLocal": (lambda: NonLocal(CHANNELS), "2"),
    "CrissCross": (lambda: CrissCross(CHANNELS, loops=1), "1.5"),
    "StandAloneAttention 7×7": (lambda: StandAloneAttention(CHANNELS), "1"),
    "NonLocal dot_product": (lambda: NonLocal(CHANNELS, pairing="dot_product"), "1"),
    "DoubleAttention": (lambda: DoubleAttention(CHANNELS), "1"),
    "SqueezeExcitation": (lambda: SqueezeExcitation(CHANNELS), "1"),
}


class Curve(NamedTuple):
    """Seconds of a step by side, and why the next side was not measured."""

    seconds: dict[int, float]
    end: str

    @property
    def exponent(self) -> float:
        sides, seconds = zip(*list(self.seconds.items())[-3:], strict=True)
        return float(numpy.polyfit(2 * numpy.log(sides), numpy.log(seconds), 1)[0])


def step(module: nn.Module, side: int) -> float:
    """Median seconds of forward and backward, of as many steps as fit into 1.5 s, at most 30."""
    image = (torch.randn(1, CHANNELS, side, side, requires_grad=True),)
    times = [once(module, image, time.process_time)]
    while sum(times) < 1.5 and len(times) < 30:
        times.append(once(module, image, time.process_time))
    return statistics.median(times)


def measure(module: nn.Module) -> Curve:
    seconds: dict[int, float] = {}
    side, expected = 8, 0.0
    while expected <= LONGEST:
        try:
            seconds[side] = step(module, side)
        except RuntimeError as error:  # torch's word for a refused allocation
            if "memory" not in str(error):
                raise
            return Curve(seconds, "memory")
        growth = seconds[side] / seconds.get(side // 2, seconds[side])
        side, expected = 2 * side, seconds[side] * growth
    return Curve(seconds, "time")


def keep_memory() -> None:
    """Tell the C library to reuse large blocks and not to hand them back to the system after each use (Linux)."""
    mmap_max, trim_threshold = -4, -1  # as in malloc.h
    c_library = ctypes.CDLL(None)
    c_library.mallopt(mmap_max, 0)
    c_library.mallopt(trim_threshold, 2**31 - 1)


def table(curves: dict[str, Curve]) -> str:
    sides = sorted({side for curve in curves.values() for side in curve.seconds})
    lines = ["| ms for a side of | " + " | ".join(map(str, sides)) + " | exponent | expected | ended by |"]
    lines.append("|---|" + "---:|" * (len(sides) + 2) + "---|")
    for name, curve in curves.items():
        cells = [f"{1000 * curve.seconds[side]:.3g}" if side in curve.seconds else "–" for side in sides]
        lines.append("| " + " | ".join([name, *cells, f"{curve.exponent:.2f}", ROWS[name][1], curve.end]) + " |")
    return "\n".join(lines) + "\n"


def picture(curves: dict[str, Curve]) -> bytes:
    figure = new_figure(7.5, 4.5)
    axes = figure.subplots()
    for k, (name, curve) in enumerate(curves.items()):
        places = [side**2 for side in curve.seconds]
        label = f"{name}: (H·W)^{curve.exponent:.2f}"
        axes.plot(places, curve.seconds.values(), color=COLOURS[k], marker=MARKERS[k], label=label)
    axes.set(xscale="log", yscale="log", xlabel="H·W, positions of the feature map", ylabel="CPU seconds, one step")
    axes.set_title(f"Forward and backward of one image with {CHANNELS} channels, one thread")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return png(figure)


def alt_text(curves: dict[str, Curve]) -> str:
    ends = [
        f"{name} ends at {max(curve.seconds)}×{max(curve.seconds)} with {curve.seconds[max(curve.seconds)]:.1f} s"
        for name, curve in curves.items()
    ]
    slopes = sorted(curves, key=lambda name: -curves[name].exponent)
    return (
        "Seconds of a step against the number of positions, both axes logarithmic. Lines are flatter below "
        f"about 1000 positions and nearly straight above. {'; '.join(ends)}. "
        f"From steepest to flattest: {', '.join(slopes)}."
    )


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_memory()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    curves = {}
    for name, (build, _) in ROWS.items():
        curves[name] = measure(build())
        print(f"{name}: exponent {curves[name].exponent:.2f}, ended by {curves[name].end}", flush=True)
    text = f"# Cost against size\n\n{__doc__}\n{table(curves)}\n![{alt_text(curves)}](curves.png)\n"
    (HERE / "curves.md").write_text(text)
    (HERE / "curves.png").write_bytes(picture(curves))
    print(table(curves))


if __name__ == "__main__":
    main()
