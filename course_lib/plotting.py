"""Pictures: each function draws on the figure it is given, or returns a new one.

Figures are closed as soon as they are made: pyplot shows none of them twice and keeps none in memory.
"""

import base64
import html
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import NamedTuple

import matplotlib.pyplot as plt
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito, 2008
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DOTS = 150  # drawn for an inch: sharp
SHOWN = 100  # pixels of the page that an inch takes, so that 10 points are as large as the text around them
WEIGHTS = "viridis"  # for values >= 0
SIGNED = "PuOr"  # for values around 0
ASKING = "#FF00FF"  # the ring around the place that asks

plt.rcParams["svg.hashsalt"] = "attention"
plt.rcParams.update({"font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "legend.fontsize": 10})
plt.rcParams.update({"xtick.labelsize": 10, "ytick.labelsize": 10, "figure.titlesize": 10})


def new_figure(width: float = 7.0, height: float = 2.6) -> Figure:
    """An empty figure of that many inches."""
    figure = plt.figure(figsize=(width, height), dpi=DOTS, layout="constrained")
    plt.close(figure)
    return figure


def png(figure: Figure, *, compression: int = 6) -> bytes:
    """The picture as bytes, without the name of the software that made it; ``compression`` from 1, soon, to 9, small.

    Not ``savefig``, which draws everything twice. Only the layout is found twice, and only where an image keeps its
    shape: there a first layout may leave a title without its upper half.
    """
    layout = figure.get_layout_engine()
    if layout and any(axes.get_aspect() != "auto" for axes in figure.axes):
        layout.execute(figure)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None}, pil_kwargs={"compress_level": compression})
    return buffer.getvalue()


class Picture(NamedTuple):
    """A figure for a notebook, with its description where a screen reader finds it, and nobody else."""

    figure: Figure
    words: str

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:  # JupyterLab reads out no alternative text of a PNG
        data, width = base64.b64encode(png(self.figure)).decode(), round(self.figure.get_figwidth() * SHOWN)
        words = html.escape(self.words, quote=True)
        image = f'<img src="data:image/png;base64,{data}" width="{width}" alt="{words}" style="background: white">'
        return {"text/html": image, "text/plain": self.words}


def describe(figure: Figure, words: str) -> Picture:
    """``figure`` as the last line of a cell; ``words`` say what it shows to somebody who cannot see it."""
    return Picture(figure, " ".join(words.split()))


def side_by_side(draw: Callable, settings: Sequence[dict], *, width: float = 7.0, height: float = 2.6) -> Figure:
    """The static twin of a slider: ``draw(figure, **setting)`` once for each setting, in a row."""
    figure = new_figure(width, height)
    panels = figure.subfigures(1, len(settings), squeeze=False)[0]
    for panel, setting in zip(panels, settings, strict=True):
        draw(panel, **setting)
    return figure


def show_image(axes: Axes, image: Tensor, *, title: str = "") -> None:
    """A grey (h w) or colour (3 h w) image with values in [0, 1], each pixel as a square."""
    pixels = image.permute(1, 2, 0) if image.ndim == 3 else image  # c h w -> h w c
    pixels = (255 * pixels.detach().clamp(0, 1)).round().byte().numpy()  # drawn sooner than floats
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    frameless(axes, title)


def frameless(axes: Axes, title: str) -> None:
    """A title, and no frame."""
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    axes.set(xticks=[], yticks=[])  # ticks take half of the time to draw, hidden or not


def show_images(images: Sequence[Tensor], titles: Sequence[str] = (), *, width: float = 7.0) -> Figure:
    """Images in one row, each under its title."""
    figure = new_figure(width, width / len(images) * images[0].shape[-2] / images[0].shape[-1] + 0.3)
    row = figure.subplots(1, len(images), squeeze=False)[0]
    for axes, image, title in zip(row, images, titles or [""] * len(images), strict=True):
        show_image(axes, image, title=title)
    return figure


def show_row(axes: Axes, images: Sequence[Tensor], titles: Sequence[str]) -> None:
    """Grey images (h w each) beside each other in one frame, which is drawn faster than a frame for each."""
    show_image(axes, torch.cat([F.pad(image, (0, 1), value=1.0) for image in images], dim=1))
    width = images[0].shape[1]
    for k, title in enumerate(titles):
        axes.text(k * (width + 1) + (width - 1) / 2, -1, title, ha="center", va="bottom", fontsize=10)


def show_weights(axes: Axes, weights: Tensor, *, title: str = "", top: float | None = None) -> None:
    """Weights (h w) as colours from 0 to ``top``, or to their largest value."""
    weights = weights.detach().numpy()
    axes.imshow(weights, cmap=WEIGHTS, vmin=0, vmax=top or weights.max(), interpolation="nearest")
    frameless(axes, title)


def show_overlay(axes: Axes, image: Tensor, weights: Tensor, *, title: str = "") -> None:
    """A colour image (3 h w) darkened where the weights (any h' w') are small."""
    scaled = F.interpolate(weights[None, None].float(), image.shape[1:], mode="nearest")[0, 0]
    share = scaled / scaled.max().clamp_min(1e-12)
    show_image(axes, image * (0.15 + 0.85 * share), title=title)


def show_found(axes: Axes, image: Tensor, weights: Tensor, *, title: str = "", top: float | None = None) -> None:
    """Weights (h' w') in colour over the darkened image (3 h w), up to ``top`` or the largest weight."""
    share = (weights / (top or weights.max())).clamp(0, 1)
    share = F.interpolate(share[None, None], image.shape[1:])[0, 0].detach()
    colours = torch.from_numpy(colormaps["inferno"](share.numpy())[..., :3]).movedim(2, 0)  # 3 h w
    show_image(axes, share * colours + (1 - share) * 0.4 * image.mean(dim=0), title=title)


def show_asked(axes: Axes, image: Tensor, weights: Tensor, place: tuple[int, int], *, title: str = "") -> None:
    """Whom one place asks, over its own image; a ring around the place, the colours as far as the *others* reach."""
    others = weights.clone()
    others[place] = 0
    show_found(axes, image, weights, title=title, top=others.max().item())
    (row, column), (rows, columns) = place, weights.shape
    ring(axes, (row + 0.5) * image.shape[1] / rows - 0.5, (column + 0.5) * image.shape[2] / columns - 0.5)


def ring(axes: Axes, row: float, column: float) -> None:
    """Mark the place that asks."""
    axes.plot(column, row, "o", markersize=11, markerfacecolor="none", markeredgecolor=ASKING, markeredgewidth=2)


def plot_lines(
    axes: Axes, x: Sequence[float], lines: dict[str, Sequence[float]], *, xlabel: str, ylabel: str, title: str = ""
) -> None:
    """One line with markers for each name; colours and markers tell the lines apart."""
    for (name, values), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
        axes.plot(x, values, color=colour, marker=marker, markersize=4, label=name)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, fontsize=10)
    if len(lines) > 1:
        axes.legend(fontsize=10, frameon=False)


def plot_runs(axes: Axes, runs: dict[str, Sequence[float]], *, guess: float) -> None:
    """Shares of right answers: one dot a run, one row a name, and a dotted line where guessing lies."""
    for row, shares in enumerate(runs.values()):
        axes.plot(shares, [row] * len(shares), "o", color="black", alpha=0.5, markersize=7)  # equal ones look darker
    axes.axvline(guess, color="grey", linestyle=":")
    axes.set(yticks=range(len(runs)), yticklabels=list(runs), ylim=(len(runs) - 0.5, -0.5))  # the first on top
    axes.set(xlim=(0, 1.03), xlabel="share right (dotted: a guess)")
