"""RAM's retina against two straightforward forms of the same crops: ``python -m benchmarks.retina``.

CPU time of forward on one thread, the three forms in turn, medians. *Loop* pads and slices one image after the
other, as the best-known port does; *index* pads the batch once and picks one window of each image out of a
view of all windows. All three give the same numbers, which is asserted first. ``retina`` should stay below 1.1 × the
fastest form. Writes retina.md beside this file.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.spatial.glimpse import retina

HERE = Path(__file__).parent
SETTINGS = (  # b c h w, size g, scales
    ((128, 1, 28, 28), 8, 1),
    ((128, 1, 60, 60), 12, 3),
    ((256, 1, 100, 100), 12, 4),
    ((32, 3, 224, 224), 16, 4),
)


def corners(images: Tensor, location: Tensor, size: int, padding: int) -> Tensor:
    """Column and row of the first pixel of each crop in the padded image. Shape: b 2 -> b 2."""
    half = torch.tensor([images.shape[3] / 2, images.shape[2] / 2])
    return ((location + 1) * half - (size - 1) / 2).floor().long() + padding


def loop(images: Tensor, location: Tensor, size: int, scales: int) -> Tensor:
    patches = []
    for i in range(scales):
        wide = size * 2**i
        around, crops = wide // 2 + 1, []
        for image, (x, y) in zip(images, corners(images, location, wide, around).tolist(), strict=True):
            crops.append(F.pad(image, (around,) * 4)[:, y : y + wide, x : x + wide])
        patches.append(shrink(torch.stack(crops), 2**i))
    return torch.cat(patches, dim=1)


def index(images: Tensor, location: Tensor, size: int, scales: int) -> Tensor:
    patches, batch = [], torch.arange(len(images))
    around = size * 2 ** (scales - 1) // 2 + 1
    padded = F.pad(images, (around,) * 4)
    for i in range(scales):
        wide = size * 2**i
        x, y = corners(images, location, wide, around).unbind(1)
        windows = padded.unfold(2, wide, 1).unfold(3, wide, 1)  # a view: b c y x wide wide
        patches.append(shrink(windows[batch, :, y, x], 2**i))
    return torch.cat(patches, dim=1)


def shrink(patch: Tensor, times: int) -> Tensor:
    return patch if times == 1 else F.avg_pool2d(patch, times)


def measure(forms: tuple[Callable, ...], arguments: tuple, seconds: float = 4.0) -> list[float]:
    """Median CPU seconds of each form, in turn for about ``seconds``, at least seven rounds."""
    rounds, started = [], time.perf_counter()
    while len(rounds) < 7 or time.perf_counter() - started < seconds:
        times = []
        for form in forms:
            start = time.process_time()
            form(*arguments)
            times.append(time.process_time() - start)
        rounds.append(times)
    return [statistics.median(column) for column in zip(*rounds, strict=True)]


def row(shape: tuple[int, ...], size: int, scales: int) -> str:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(shape, generator=generator)
    location = 2 * torch.rand(shape[0], 2, generator=generator) - 1
    arguments = (images, location, size, scales)
    for form in (loop, index):
        torch.testing.assert_close(form(*arguments), retina(*arguments), rtol=0, atol=1e-6)
    own, looped, indexed = measure((retina, loop, index), arguments)
    share = own / min(looped, indexed)
    cells = ["×".join(map(str, shape)), size, scales, *(f"{1000 * t:.2f}" for t in (own, looped, indexed))]
    cells += [f"{looped / own:.1f}×", f"{share:.2f}" + ("" if share <= 1.1 else " ✗")]
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    torch.set_num_threads(1)
    lines = ["| images | g | scales | retina ms | loop ms | index ms | faster than loop | ÷ fastest other |"]
    lines.append("|---|" + "---:|" * 7)
    for setting in SETTINGS:
        lines.append(row(*setting))
        print(lines[-1], flush=True)
    (HERE / "retina.md").write_text(f"# The retina\n\n{__doc__}\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
