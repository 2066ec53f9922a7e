"""A diagram drawn with matplotlib: boxes and circles at their places, arrows between them, shapes on the arrows."""

from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Circle, FancyBboxPatch

from course_lib import plotting
from course_lib.diagrams.language import Diagram, read, words
from course_lib.diagrams.layout import (
    MARGIN,
    MONO,
    NAME_SIZE,
    PITCH,
    RADIUS,
    SANS,
    SHAPE_SIZE,
    SIZE,
    Node,
    layout,
    typeset,
)

INCH, WIDTH = 72, 9.0


class Colours(NamedTuple):
    paper: str
    ink: str  # f, and all words
    blue: str  # g, the map
    box: str
    learned: str


LIGHT = Colours("#FFFFFF", "#1F1F1F", "#0B6FA8", "#EDF0F3", "#F3D9B1")
DARK = Colours("#14181E", "#E8E8E8", "#63B8F0", "#2A313A", "#6B4E26")


def draw(place: FigureBase | Axes, mechanism: type, *, dark: bool = False) -> Axes:
    """The diagram of one class of the catalogue, on an empty figure (or axes) of at least its size.

    Raises:
        KeyError: if the class has no diagram.
        ValueError: if the place is too small; the message says how large it must be.
    """
    diagram = read(mechanism.__name__)
    nodes = layout(diagram)
    axes = place if isinstance(place, Axes) else place.add_axes((0, 0, 1, 1))
    box = axes.get_window_extent()
    have = [length * INCH / axes.figure.dpi for length in (box.width, box.height)]
    need = size(diagram, nodes)
    if have[0] < need[0] - 1 or have[1] < need[1] - 1:
        raise ValueError(f"{mechanism.__name__} needs {need[0] / INCH:.2f} × {need[1] / INCH:.2f} inches")
    axes.set(xlim=(0, have[0]), ylim=(0, have[1]))
    axes.set_axis_off()
    spread(nodes, have[0], below(diagram), len(diagram.lanes))
    for blue in (True, False):  # black lies over blue where a line serves both
        for node in nodes:
            draw_arrows(axes, node, DARK if dark else LIGHT, blue)
    for node in nodes:
        draw_node(axes, node, DARK if dark else LIGHT)
    draw_words(axes, diagram, have, DARK if dark else LIGHT)
    return axes


def figure(mechanism: type, *, dark: bool = False) -> Figure:
    """The diagram on a figure of its own, as wide as a notebook's text."""
    diagram = read(mechanism.__name__)
    height = size(diagram, layout(diagram))[1] / INCH
    made = plt.figure(figsize=(WIDTH, height), dpi=plotting.DOTS, facecolor=(DARK if dark else LIGHT).paper)
    plt.close(made)
    draw(made, mechanism, dark=dark)
    return made


def diagram(mechanism: type) -> plotting.Picture:
    """The last line of a lesson's cell: the diagram, and in words for those who don't see it."""
    return plotting.describe(figure(mechanism), words(mechanism))


def below(diagram: Diagram) -> float:
    """The room under the lowest row, for the input's shape and the words."""
    return 46 + 17 * bool(diagram.where)


def size(diagram: Diagram, nodes: list[Node]) -> tuple[float, float]:
    """The least width and the height, in points."""
    return max(node.right for node in nodes) + MARGIN, below(diagram) + (len(diagram.lanes) - 1) * PITCH + 54


def spread(nodes: list[Node], wide: float, low: float, rows: int) -> None:
    """Use the whole width, and give every row its height."""
    scale = (wide - 2 * MARGIN) / (max(node.right for node in nodes) - MARGIN)
    for node in nodes:
        node.y = low + (rows - 1 - node.row) * PITCH
        source = node.before or node.tapped
        beside_an_input = not node.joins and (source is None or source.step is None)
        if not beside_an_input:
            node.x = min(MARGIN + (node.x - MARGIN) * scale, wide - MARGIN - node.width / 2)


def draw_node(axes: Axes, node: Node, colours: Colours) -> None:
    """A box, a circle, or a name over its shape."""
    text: dict[str, Any] = {"ha": "center", "va": "center", "color": colours.ink, "family": SANS}
    if node.step is None:
        colour = colours.blue if node.is_map else colours.ink
        axes.text(node.x, node.y, node.label, **text | {"color": colour}, size=NAME_SIZE, style="italic")
        axes.text(node.x, node.y - 19, node.shape, **text | {"family": MONO, "color": colour}, size=SHAPE_SIZE)
        return
    edge = colours.blue if node.blue else colours.ink
    line: dict[str, Any] = {"lw": 1.2, "ec": edge, "zorder": 3}
    if node.step.circle:
        axes.add_patch(Circle((node.x, node.y), RADIUS, fc=colours.paper, **line))
    else:
        fill = colours.learned if node.step.learned else colours.box
        corner = (node.left + 3, node.y - node.height / 2 + 3)
        style = "round,pad=3,rounding_size=4"
        axes.add_patch(FancyBboxPatch(corner, node.width - 6, node.height - 6, boxstyle=style, fc=fill, **line))
    axes.text(
        node.x, node.y, typeset(node.label), **text, size=11 if node.step.circle else SIZE, zorder=4, linespacing=1.15
    )


def draw_arrows(axes: Axes, node: Node, colours: Colours, blue: bool) -> None:
    """What comes in, if it is of that colour."""
    for source, path in paths(node):
        if (source.blue or node.blue) == blue:
            arrow(axes, path, colours.blue if blue else colours.ink)
            if source.step and (source is node.before or (source.last and source.reader is node)):
                shape_text(axes, source, path, colours.blue if blue else colours.ink)


def paths(node: Node) -> list:
    """The corners of every arrow that ends at a node, with the node where it starts."""
    found = []
    if node.before:
        found.append((node.before, [(node.before.right, node.y), (node.left, node.y)]))
    if node.tapped:
        at = node.tapped.tap
        found.append(
            (
                node.tapped,
                [(node.tapped.right, node.tapped.y), (at, node.tapped.y), (at, node.y), (node.left, node.y)],
            )
        )
    for source in node.joins:
        side = 1 if source.y > node.y else -1
        end = (node.x, node.y + side * node.height / 2)
        if source.last:
            found.append((source, [(source.right, source.y), (node.x, source.y), end]))
        else:
            level = node.y + side * PITCH / 2
            found.append((source, [(source.tap, source.y), (source.tap, level), (node.x, level), end]))
    return found


def arrow(axes: Axes, path: list[tuple[float, float]], colour: str) -> None:
    axes.plot(*zip(*path[:-1], strict=True), color=colour, lw=1.4, solid_joinstyle="round")
    style = {"arrowstyle": "-|>,head_width=0.28,head_length=0.55", "color": colour, "lw": 1.4}
    axes.annotate("", path[-1], path[-2], arrowprops=style | {"shrinkA": 0, "shrinkB": 0, "mutation_scale": 11})


def shape_text(axes: Axes, node: Node, path: list[tuple[float, float]], colour: str) -> None:
    """The shape of a result over its arrow, or beside it where that soon turns down."""
    start, end = node.tap if node.branches else node.right, path[1][0]
    text: dict[str, Any] = {"color": colour, "family": MONO, "size": SHAPE_SIZE}
    if end - start >= node.shape_width + 4:
        axes.text((start + end - 3) / 2, node.y + 3, node.shape, ha="center", va="bottom", **text)
    else:
        down = 1 if path[-1][1] < node.y else -1
        axes.text(end + 4, node.y - down * PITCH * 0.46, node.shape, ha="left", va="center", **text)


def draw_words(axes: Axes, diagram: Diagram, have: list[float], colours: Colours) -> None:
    """What g and f do, and what the letters mean."""
    text: dict[str, Any] = {"ha": "center", "va": "center", "family": SANS, "size": SIZE}
    middle, high = have[0] / 2, have[1]
    axes.text(middle, high - 10, typeset(f"g · attention: {diagram.g}"), color=colours.blue, **text)
    low = 9 + 17 * bool(diagram.where)
    axes.text(middle, low, typeset(f"f · forward: {diagram.f}"), color=colours.ink, **text)
    axes.text(middle, 9, typeset(diagram.where), color=colours.ink, **text)
