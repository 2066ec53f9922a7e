"""Where everything of a diagram stands, in points: one row for each line of its text, the last one lowest.

Each result lies as far to the left as what leads to it allows.
"""

import re
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from typing import Literal

import numpy as np
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from course_lib.diagrams.language import Diagram, Lane, Step

INDEX = re.compile(r"\b([A-Za-zα-ω])([_^])(\w{1,3})\b")
SANS, MONO = "DejaVu Sans", "DejaVu Sans Mono"
SIZE, SHAPE_SIZE, NAME_SIZE = 10.5, 10, 15  # of letters
PITCH, TAP, HEAD, RADIUS, MARGIN = 58, 8, 9, 10.5, 7


@cache
def width(text: str, family: str = SANS, size: float = SIZE, style: Literal["normal", "italic"] = "normal") -> float:
    """How wide a text is drawn."""
    if not text.strip():
        return 0.0
    font = FontProperties(family=family, size=size, style=style)
    outline = TextPath((0, 0), typeset(text), prop=font).vertices  # its exact bounds would take ten times longer
    return float(np.ptp(outline[:, 0]))


def typeset(text: str) -> str:
    """The same with W_O and V^C as letters with an index; names of the code keep their underscores."""
    return INDEX.sub(lambda found: f"{found[1]}${found[2]}{{\\mathrm{{{found[3]}}}}}$", text)


def name_width(name: str, shape: str) -> float:
    """How wide the name of an input or result is with its shape below it."""
    return max(width(name, size=NAME_SIZE, style="italic") + 3, width(shape, MONO, SHAPE_SIZE))


@dataclass
class Node:
    """A box, a circle, or the name of an input, with its middle at x in its row."""

    row: int
    label: str
    width: float
    shape: str  # on the arrow that leaves it
    step: Step | None = None  # None for an input
    name: str = ""
    before: "Node | None" = None  # on the same line
    tapped: "Node | None" = None  # where its line branches off
    joins: "tuple[Node, ...]" = ()
    is_map: bool = False
    least: float = 0.0  # x may not be smaller
    x: float = 0.0
    y: float = 0.0
    blue: bool = False
    shift: float = 0.0  # keeps the branches of several inputs apart
    branches: bool = False  # another line starts on its arrow
    last: bool = False  # of its line
    reader: "Node | None" = None  # the first that its line joins: there its shape is written

    @property
    def height(self) -> float:
        return 2 * RADIUS if self.step and self.step.circle else 11 + 12.3 * len(self.label.split("\n"))

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def tap(self) -> float:
        return self.right + TAP + self.shift

    @property
    def gap(self) -> float:
        """The least length of the arrow behind it."""
        if not self.step:
            return TAP + self.shift + HEAD + 5  # as before the first boxes of other lines
        text = 0 if self.last else self.shape_width
        return text + HEAD + (TAP + self.shift if self.branches else 2)

    @property
    def shape_width(self) -> float:
        return width(self.shape, MONO, SHAPE_SIZE) + 3 if self.shape else 0


def layout(diagram: Diagram) -> list[Node]:
    """All nodes in their places."""
    nodes = make_nodes(diagram)
    colour(nodes)
    for _ in range(50):  # each round moves something to the right, until nothing is in the way
        settle(nodes)
        if not make_room(nodes):
            return nodes
    raise ValueError("the lines of this diagram stay in each other's way; change their order")


def make_nodes(diagram: Diagram) -> list[Node]:
    """Nodes with what leads to each."""
    named = input_nodes(diagram)
    lines = [line_nodes(row, lane, named) for row, lane in enumerate(diagram.lanes)]
    named |= {node.name: node for line in lines for node in line if node.name}
    for line, lane in zip(lines, diagram.lanes, strict=True):
        if line[0].step:
            branch_off(line[0], named[lane.source])
        for node in line:
            join(node, tuple(named[name] for name in node.step.joins) if node.step else ())
    nodes = [node for line in lines for node in line]
    return nodes + [ending(node, lane.name or "y") for node, lane in ends(nodes, diagram)]


def input_nodes(diagram: Diagram) -> dict[str, Node]:
    """The names of the inputs, each where the last line starts with it."""
    rows = {lane.source: row for row, lane in enumerate(diagram.lanes) if lane.source in diagram.inputs}
    wide = max(name_width(name, shape) for name, shape in diagram.inputs.items())
    return {
        name: Node(row, name, wide, diagram.inputs[name], name=name, shift=TAP * k)
        for k, (name, row) in enumerate(rows.items())
    }


def line_nodes(row: int, lane: Lane, inputs: dict[str, Node]) -> list[Node]:
    """The nodes of one line, from left to right; the first is an input if that stands here."""
    start = inputs.get(lane.source)
    nodes = [start] if start and start.row == row else []
    for step in lane.steps:
        label = boxed(step)
        wide = 2 * RADIUS if step.circle else max(map(width, label.split("\n"))) + 12
        before = nodes[-1] if nodes else None
        nodes.append(Node(row, label, wide, step.shape, step, step.name, before, is_map=step.name.startswith("map")))
    nodes[-1].last = True
    return nodes


def branch_off(node: Node, source: Node) -> None:
    """Begin a line on the arrow behind ``source``."""
    node.tapped, source.branches, source.reader = source, True, node


def join(node: Node, sources: tuple[Node, ...]) -> None:
    """End other lines in a node."""
    node.joins = sources
    for source in sources:
        source.branches |= not source.last
        source.reader = source.reader or node


def ends(nodes: list[Node], diagram: Diagram) -> list[tuple[Node, Lane]]:
    """The last node of each line that no other line takes up, with its line."""
    taken = {name for lane in diagram.lanes for step in lane.steps for name in step.joins}
    taken |= {lane.source for lane in diagram.lanes}
    last = [node for node in nodes if node.last]
    return [(node, lane) for node, lane in zip(last, diagram.lanes, strict=True) if lane.name not in taken]


def ending(node: Node, name: str) -> Node:
    """The name that a result is handed out under, with the shape that its arrow then need not carry."""
    end = Node(node.row, name, name_width(name, node.shape), node.shape, name=name, before=node, is_map=node.is_map)
    node.shape, node.last, end.last = "", False, True
    return end


def boxed(step: Step) -> str:
    """The label in up to three lines: narrow, and broken behind commas where it has some."""
    words = step.label.split(" ")
    most = 1 if step.circle else 2 if len(step.label) < 16 else 3
    choices = [broken(words, cuts) for n in range(most) for cuts in combinations(range(1, len(words)), n)]

    def cost(lines: list[str]) -> float:
        torn = sum("," in step.label and line[-1] != "," for line in lines[:-1])
        return max(map(width, lines)) + 30 * torn

    best = min(choices, key=cost)
    return "\n".join(best)


def broken(words: list[str], cuts: tuple[int, ...]) -> list[str]:
    return [" ".join(words[i:j]) for i, j in pairwise((0, *cuts, len(words)))]


def colour(nodes: list[Node]) -> None:
    """Blue is what leads to a map and to nothing else."""
    readers: dict[int, list[Node]] = {id(node): [] for node in nodes}
    for node in nodes:
        for source in (node.before, node.tapped, *node.joins):
            if source:
                readers[id(source)].append(node)

    def blue(node: Node) -> bool:
        later = readers[id(node)]
        return node.is_map or (node.step is not None and bool(later) and all(map(blue, later)))

    for node in nodes:
        node.blue = blue(node)


def settle(nodes: list[Node]) -> None:
    """Move every node to the right of what leads to it."""
    moved = True
    while moved:
        moved = False
        for node in nodes:
            x = max(node.least, MARGIN + node.width / 2, *starts(node))
            moved, node.x = moved or x > node.x + 1e-6, max(x, node.x)


def starts(node: Node) -> list[float]:
    """The smallest x that each of its sources allows."""
    half = node.width / 2
    found = [0.0]
    if node.before:
        found.append(node.before.right + node.before.gap + half)
    if node.tapped:
        found.append(node.tapped.tap + HEAD + 5 + half)
    joins = (source.right + source.gap if source.last else source.tap + half + 3 for source in node.joins)
    return [*found, *joins]


def make_room(nodes: list[Node]) -> bool:
    """Push a node whose vertical arrow would cut through a box of the rows between; whether one was pushed."""
    for node in nodes:
        for source in node.joins:
            low, high = sorted((source.row, node.row))
            for other in nodes:
                hit = low < other.row < high and abs(other.x - node.x) < other.width / 2 + 5
                if hit:
                    node.least = other.right + 8
                    return True
    return False
