"""Cost of every mechanism, as a ratio to a 3×3 convolution measured beside it: ``python benchmarks/speed.py``.

CPU time of forward and backward on one thread, in turn with the convolution, medians; and the bytes that forward
keeps for backward. The bar of a row is the best line that was measured for the same work in other collections or
in a straightforward rewrite (torch 2.13, the same protocol); a row should stay below 1.1 × its bar. "work" is the
multiply-adds of products and convolutions, again as a ratio to the convolution's. A row without a bar is as near to
its arithmetic as its ratio is to its work: MultiHeadAttention needs 2.2 × at A. FactorisedAttention and
AugmentedConv2d do more work than a look-up of their width, on purpose: a one at the row and the column of each key
picks its step, and no map is stored.
Writes speed.md, speed.json and speed.png beside this file. ``--only NAME`` measures some rows again; ``--device
cuda`` measures on a GPU, in float32 and bfloat16, with and without torch.compile.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from course_lib.catalog import CATALOG, mechanism
from course_lib.costs import kept_for_backward, multiply_adds, required
from course_lib.plotting import COLOURS, new_figure, png

HERE = Path(__file__).parent
SIZES = {"A": (4, 64, 32, 32), "B": (2, 128, 56, 56)}
CONVOLUTION = {"A": 5.52, "B": 29.3}  # milliseconds of the 3×3 convolution beside which the bars were measured

# name: arguments under which the bar was measured (some depend on channels and side), and the bar's milliseconds
# and kept MiB at A and at B
AUGMENTED = {
    "num_heads": 2,
    "key_ratio": lambda c, h: 40 / c,
    "value_ratio": lambda c, h: 8 / c,
    "size": lambda c, h: h,
}
BARS: dict[str, tuple[dict, float, float, float, float]] = {
    "SqueezeExcitation": ({}, 0.45, 0.0, 1.90, 0.0),
    "EfficientChannel": ({}, 0.65, 0.0, 1.93, 0.0),
    "GatedChannelTransform": ({}, 0.69, 0.0, 4.49, 0.0),
    "StyleRecalibration": ({}, 2.50, 0.0, 6.87, 0.0),
    "FrequencyChannel": ({}, 4.00, 0.0, 2.51, 0.0),
    "SecondOrderPooling": ({"hidden": 64}, 5.60, 3.1, 10.1, 4.7),
    "ContextEncoding": ({}, 3.82 + 1.63, 2.0, 10.8 + 7.86, 4.6),  # the encoding's line and that of a 1×1 convolution
    "GatherExcite": ({"extent": 8}, 1.70, 1.0, 5.77, 3.1),
    "CBAM": ({}, 3.50, 1.1, 7.20, 3.2),
    "BAM": ({}, 2.95, 2.4, 8.74, 7.3),
    "SelectiveKernel": ({}, 13.9, 4.0, 24.9, 12.3),
    "GlobalContext": ({}, 1.14, 0.0, 3.56, 0.0),
    "NonLocal": ({}, 30.2, 3.0, 217, 9.2),
    "NonLocal dot": ({"pairing": "dot_product"}, 5.30, 3.0, 22.7, 9.2),
    "NonLocal concatenation": ({"pairing": "concatenation"}, 41.3, 36.0, 368, 162.3),
    "CompactNonLocal": ({}, 2.88, 3.0, 14.8, 9.2),
    "GlobalReasoning": ({"nodes": lambda c, h: c // 4}, 3.26, 2.3, 17.0, 6.9),
    "DoubleAttention": ({}, 2.02, 1.5, 11.6, 4.6),
    "CrissCross": ({"loops": 1}, 8.30, 5.0, 40.1, 14.7),
    "PositionAttention": ({}, 39.9, 4.0, 371, 12.3),
    "ChannelAttention": ({}, 2.97, 1.1, 19.6, 3.2),
    "ExternalAttention": ({}, 6.38, 6.0, 31.1, 15.3),
    "AsymmetricPyramid": ({}, 12.7, 7.8, 51.0, 21.1),
    "StandAloneAttention": ({"kernel_size": 7, "num_heads": 4}, 58.1, 7.9, 168, 18.3),
    "PairwiseVectorAttention": ({"kernel_size": 7}, 168, 108.5, 740, 327.4),
    "LocalRelation": ({"kernel_size": 7}, 103, 62.4, 401, 191.0),
    "AugmentedConv2d": (AUGMENTED, 219, 20.0, 1469, 49.2),
    "MultiHeadAttention": ({}, 64.0, 5.1, 492, 15.4),
    "DeformableConv2d": ({}, 35.2, 9.3, 137, 28.0),
    "DynamicGraph": ({}, 21.4, 10.8, 99.9, 31.9),
}


# a row without a bar whose default size is a large network
SMALLER = {"VisionTransformer": {"embed_dim": lambda c, h: c, "depth": 1, "num_heads": 4, "num_classes": 10}}


class Cost(NamedTuple):
    """Ratio of CPU time to the convolution's, and MiB kept for the backward pass."""

    ratio: float
    kept: float


def clock(device: str) -> Callable[[], float]:
    """Seconds of this process on the CPU; wall seconds after all work is done on a GPU."""
    if device == "cpu":
        return time.process_time

    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised


def once(run: nn.Module, inputs: tuple[Tensor, ...], now: Callable[[], float]) -> float:
    """Seconds of one forward and backward pass."""
    for tensor in (*run.parameters(), *inputs):
        tensor.grad = None
    start = now()
    run(*inputs).sum().backward()
    return now() - start


def measure(module: nn.Module, inputs: tuple[Tensor, ...], size: str, *, seconds: float, device: str) -> Cost:
    """Rounds of convolution, module, convolution, module … for about ``seconds``, at least five of each."""
    shape = SIZES[size]
    convolution = nn.Conv2d(shape[1], shape[1], 3, padding=1).to(device, inputs[0].dtype)
    image = (torch.randn(shape, device=device, dtype=inputs[0].dtype, requires_grad=True),)
    now, times = clock(device), []
    once(convolution, image, now), once(module, inputs, now)
    started = time.perf_counter()
    while len(times) < 5 or (time.perf_counter() - started < seconds and len(times) < 60):
        times.append((once(convolution, image, now), once(module, inputs, now)))
    plain, own = (statistics.median(column) for column in zip(*times, strict=True))
    return Cost(own / plain, kept_for_backward(module, *inputs) / 2**20)


def subjects() -> list[tuple[str, object, dict]]:
    """Every row of the catalogue, with the arguments of its bar, and the two further pairings of NonLocal."""
    extra = [(name, mechanism(name.split()[0]), BARS[name][0]) for name in BARS if " " in name]
    return [(row.name, row, BARS.get(row.name, (SMALLER.get(row.name, {}),))[0]) for row in CATALOG] + extra


def build(row, arguments: dict, size: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> tuple:
    """The module in training mode and its inputs at size A or B."""
    torch.manual_seed(0)
    b, c, h, w = SIZES[size]
    chosen = {name: value(c, h) if callable(value) else value for name, value in arguments.items()}
    module = row.build(c, h, w, **required(row) | chosen).to(device, dtype).train()
    shapes = row.inputs(b, c, h, w)
    return module, tuple(torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for shape in shapes)


def bar(name: str, size: str) -> Cost | None:
    if name not in BARS:
        return None
    _, a, kept_a, b, kept_b = BARS[name]
    return Cost((a if size == "A" else b) / CONVOLUTION[size], kept_a if size == "A" else kept_b)


def works() -> dict[str, dict[str, float]]:
    """The multiply-adds of every row as a ratio to the convolution's, at both sizes; nothing is computed for it."""
    ratios: dict[str, dict[str, float]] = {}
    with torch.device("meta"):
        for name, row, arguments in subjects():
            ratios[name] = {}
            for size, shape in SIZES.items():
                convolution = multiply_adds(nn.Conv2d(shape[1], shape[1], 3, padding=1), torch.empty(shape))
                module, inputs = build(row, arguments, size, "meta")
                ratios[name][size] = multiply_adds(module, *map(torch.empty_like, inputs)) / convolution
    return ratios


def table(results: dict[str, dict[str, Cost]]) -> str:
    """A row for each mechanism: ratio, work, bar, their quotient, and MiB kept, at both sizes."""
    columns = [f"{size} ÷ conv | work | bar | of bar | kept MiB (bar)" for size in SIZES]
    lines = [f"| mechanism | {' | '.join(columns)} |", "|---|" + "---:|" * 10]
    work = works()
    for name, sizes in results.items():
        cells = [name]
        for size, cost in sizes.items():
            limit = bar(name, size)
            share = cost.ratio / limit.ratio if limit else None
            mark = "" if share is None or share <= 1.1 else " ✗"
            cells += [f"{cost.ratio:.2f}", f"{work[name][size]:.2f}", f"{limit.ratio:.2f}" if limit else "–"]
            cells += [
                f"{share:.2f}{mark}" if limit else "–",
                f"{cost.kept:.1f}" + (f" ({limit.kept:.1f})" if limit else ""),
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(results: dict[str, dict[str, Cost]]) -> bytes:
    """Bars of the ratios at A on a logarithmic axis, cheapest first, with a tick at each row's limit."""
    rows = sorted(results.items(), key=lambda item: item[1]["A"].ratio)
    figure = new_figure(8, 0.22 * len(rows) + 0.8)
    axes = figure.subplots()
    axes.barh(range(len(rows)), [sizes["A"].ratio for _, sizes in rows], color=COLOURS[0])
    for y, (name, _) in enumerate(rows):
        if limit := bar(name, "A"):
            axes.plot([1.1 * limit.ratio] * 2, [y - 0.4, y + 0.4], color=COLOURS[1], linewidth=2)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=7)
    axes.set(xscale="log", xlabel="CPU time ÷ 3×3 convolution, 4×64×32×32; orange: 1.1 × the best line known")
    axes.margins(y=0.01)
    axes.axvline(1, color="grey", linestyle=":")
    return png(figure)


def measure_all(only: list[str], seconds: float) -> dict[str, dict[str, Cost]]:
    results: dict[str, dict[str, Cost]] = {}
    chosen = [subject for subject in subjects() if not only or subject[0].split()[0] in only]
    for k, (name, row, arguments) in enumerate(chosen, 1):
        print(f"{k}/{len(chosen)} {name}", end=" ", flush=True)
        results[name] = {}
        for size in SIZES:
            module, inputs = build(row, arguments, size)
            results[name][size] = measure(module, inputs, size, seconds=seconds, device="cpu")
            print(f"{size} {results[name][size].ratio:.2f}", end=" ", flush=True)
        print()
    return results


def measure_gpu(seconds: float) -> str:
    """A table of ratios at B on the GPU: float32 and bfloat16, eager and compiled."""
    lines = ["| mechanism | float32 | compiled | bfloat16 | compiled |", "|---|" + "---:|" * 4]
    for name, row, arguments in subjects():
        cells = [name]
        for dtype in (torch.float32, torch.bfloat16):
            for compiled in (False, True):
                module, inputs = build(row, arguments, "B", "cuda", dtype)
                run = torch.compile(module) if compiled else module
                cells.append(f"{measure(run, inputs, 'B', seconds=seconds, device='cuda').ratio:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row and size (default: 2)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.device == "cuda":
        (HERE / "speed_gpu.md").write_text(measure_gpu(arguments.seconds))
        return
    results = earlier() if arguments.only else {}
    results |= measure_all(arguments.only, arguments.seconds)
    print(table(results))
    (HERE / "speed.md").write_text(f"# Cost of every mechanism\n\n{__doc__}\n{table(results)}")
    (HERE / "speed.json").write_text(json.dumps(results, indent=1) + "\n")
    (HERE / "speed.png").write_bytes(picture(results))


def earlier() -> dict[str, dict[str, Cost]]:
    """What the last run measured."""
    rows = json.loads((HERE / "speed.json").read_text())
    return {name: {size: Cost(*cost) for size, cost in sizes.items()} for name, sizes in rows.items()}


if __name__ == "__main__":
    main()
