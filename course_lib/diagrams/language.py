"""The short text of a diagram, read into lanes and steps; ``texts.md`` explains the notation and holds the texts."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

CIRCLES = "×+−·@‖"  # operations that need no box
SECTION = re.compile(r"^### (\w+)\n+```\n(.*?)```", re.M | re.S)
STEP = re.compile(
    r"(?P<label>\[[^\]]+\]|.+?)(?: with (?P<joins>.+?))?(?: as (?P<name>\S+))?(?:: (?P<shape>.+))?", re.S
)


class Step(NamedTuple):
    """One operation. ``joins`` are the results that come in from other lines."""

    label: str
    learned: bool = False
    joins: tuple[str, ...] = ()
    name: str = ""  # what other lines call the result; "" if none does
    shape: str = ""  # on the arrow that leaves; "" where it is that of before

    @property
    def circle(self) -> bool:
        return self.label in CIRCLES


class Lane(NamedTuple):
    """One line of the text: where it starts, and what happens one after the other."""

    source: str
    steps: tuple[Step, ...]

    @property
    def name(self) -> str:
        return self.steps[-1].name if self.steps else self.source


class Diagram(NamedTuple):
    g: str  # what attention does, in words
    f: str  # what forward does, in words
    where: str  # what the letters mean
    inputs: dict[str, str]  # name -> shape
    lanes: tuple[Lane, ...]  # the last one is the straight line from x to y

    def map_names(self) -> list[str]:
        """The results that ``attention`` returns, in its order."""
        return sorted(step.name for lane in self.lanes for step in lane.steps if step.name.startswith("map"))


@cache
def texts() -> dict[str, str]:
    """The text of every diagram, by the name of the class."""
    return dict(SECTION.findall(Path(__file__).with_name("texts.md").read_text(encoding="utf-8")))


def read(name: str) -> Diagram:
    """The diagram of one class of the catalogue.

    Raises:
        KeyError: if it has no text.
    """
    if name not in texts():
        raise KeyError(f"{name} has no diagram; write one in course_lib/diagrams/texts.md")
    return parse(texts()[name])


def parse(text: str) -> Diagram:
    """Read the few lines of one text.

    >>> diagram = parse("x: b c h w\\nmap = x -> mean: b c -> [W fc]\\ny = x -> × map: b c h w")
    >>> diagram.lanes[0].steps[1].label, diagram.lanes[1].steps[0].joins
    ('W fc', ('map',))
    """
    words: dict[str, str] = dict.fromkeys(("g", "f", "where"), "")
    inputs: dict[str, str] = {}
    lanes: list[Lane] = []
    for line in re.sub(r"\n\s+->", " ->", text.strip()).splitlines():
        head, equals, chain = line.partition(" = ")
        if equals and "->" in chain:
            lanes.append(lane(head.strip(), chain))
        else:
            name, _, said = line.partition(": ")
            (words if name in words else inputs)[name] = said.strip()
    return Diagram(**words, inputs=inputs, lanes=tuple(with_own_lanes(inputs, lanes)))


def with_own_lanes(inputs: dict[str, str], lanes: list[Lane]) -> list[Lane]:
    """An input that no line starts with gets one of its own, over the first that it joins."""
    starts = {one.source for one in lanes}
    for name in inputs:
        if name not in starts:
            users = (k for k, one in enumerate(lanes) if any(name in step.joins for step in one.steps))
            lanes.insert(next(users), Lane(name, ()))
    return lanes


def lane(name: str, chain: str) -> Lane:
    source, *steps = (part.strip() for part in chain.split("->"))
    read = [step(text) for text in steps if text]
    return Lane(source, (*read[:-1], read[-1]._replace(name=name)) if read else ())


def step(text: str) -> Step:
    """One operation: ``[W₁ squeeze]: b c/r``, ``× map``, ``sample with map: b c p q``."""
    if text[0] in CIRCLES and text[1:3].strip(": "):
        text = f"{text[0]} with {text[1:].strip()}"
    found = STEP.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text!r} is no step; write '[learned layer] with other as name: b c h w', all but the first if needed"
        )
    label, joins, name, shape = (found[part] or "" for part in ("label", "joins", "name", "shape"))
    return Step(label.strip("[]"), label[0] == "[", tuple(joins.split(", ")) if joins else (), name, shape)


def words(mechanism: type) -> str:
    """The picture in words, made from the same text, for those who don't see it."""
    diagram = read(mechanism.__name__)
    given = " and ".join(f"{name} of shape {shape}" for name, shape in diagram.inputs.items())
    lines = [f"{one.name or 'y'}: {spoken(one)}" for one in diagram.lanes]
    said = [f"attention: {diagram.g}", f"forward: {diagram.f}", diagram.where]
    return ". ".join([f"Diagram. In: {given}", *lines, *(line for line in said if line)]) + "."


SPOKEN = {"×": "times", "+": "plus", "−": "minus", "·": "dot", "@": "read by", "‖": "joined with"}


def spoken(one: Lane) -> str:
    parts = [one.source]
    for step in one.steps:
        label = f"learned {step.label}" if step.learned else SPOKEN.get(step.label, step.label)
        joins = " and ".join(step.joins) and f"{'' if step.circle else ' with'} {' and '.join(step.joins)}"
        parts.append(label + joins + (f" giving {step.shape}" if step.shape else ""))
    return ", ".join(parts)
