"""No diagram lies: every module is run, and what it makes is compared with the shapes on the arrows."""

import math
import re
from fractions import Fraction
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from course_lib.catalog import CATALOG, Mechanism, mechanism
from course_lib.diagrams.language import Diagram, Step, parse, read, texts
from tests.properties import features, randomise

BATCH, SIZE = 23, (12, 13, 11)  # no two axes are as long
OWN = {  # what a row needs so that no two of its letters are equal
    "RecurrentAttention": {"inputs": lambda b, c, h, w: ((b, c, h, w),)},  # it chooses the places itself
    "Gater": {"inputs": lambda b, c, h, w: ((b, c, h, w), (b, 10, 17, 19))},
    "CrossFrameGlobalAttention": {"inputs": lambda b, c, h, w: ((b, c, h, w), (b, c, 17, 19))},
    "VisionTransformer": {
        "size": (5, 8, 12),  # patches must fit
        "small": {"embed_dim": 26, "depth": 2, "num_heads": 2, "num_classes": 17},
    },
    "CrissCross": {"size": (24, 13, 11)},  # so that c/8 is more than 1
    "DynamicGraph": {"small": {"samples": 9, "groups": 4}},
    "SelectiveKernel": {"small": {"branches": 3, "groups": 4, "reduction": 2, "min_hidden": 5}},
    "DoubleAttention": {"small": {"slots": 5}},
    "StandAloneAttention": {"small": {"kernel_size": 3, "num_heads": 2}},
    "LocalRelation": {"small": {"kernel_size": 3, "groups": 4}},
    "AugmentedConv2d": {
        "arguments": lambda c, h, w: (c, 28),
        "small": {"num_heads": 2, "key_ratio": 0.25, "value_ratio": 0.5, "size": 13},
    },
    "DeformableConv2d": {"arguments": lambda c, h, w: (c, 19)},
    "TemporalSelfAttention": {"arguments": lambda c, h, w: (c, 3)},
    "DividedSpaceTime": {"arguments": lambda c, h, w: (c, 3)},
    "BilinearAttention": {
        "arguments": lambda c, h, w: (c, 19, 5, 2),
        "inputs": lambda b, c, h, w: ((b, h, c), (b, w, 19)),
    },
}
LETTER = re.compile(r"[^\W\d_²]′*")
FORMULA = re.compile(r"([^\W\d_²]′*) = ([\w′·/+−² ]+)")


class Run(TorchFunctionMode):
    """One call of attention and one of forward: the shapes of all that each makes, in order, and of layers."""

    def __init__(self, row: Mechanism):
        super().__init__()
        row = row._replace(size=SIZE)._replace(**OWN.get(row.name, {}))
        torch.manual_seed(0)
        module = randomise(row.build(*row.size, **row.small))
        inputs = [features(*shape, seed=i) for i, shape in enumerate(row.inputs(BATCH, *row.size))]
        self.made: list[tuple] = []
        self.layers: dict[str, list] = {name.split(".")[0]: [] for name, _ in module.named_parameters()}
        for name, child in module.named_children():
            child.register_forward_hook(lambda _, __, out, name=name: self.layers.get(name, []).append(first(out)))
        with torch.no_grad(), self:
            maps = module.attention(*inputs)
            self.in_attention, self.made = self.made, []
            output = module(*inputs)
        maps = [maps] if isinstance(maps, Tensor) else maps
        self.inputs, self.maps, self.output = [*map(first, inputs)], [*map(first, maps)], first(output)
        self.numbers = {name: value for name, value in row.small.items() if isinstance(value, int)}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        tensors = result if isinstance(result, tuple | list) else [result]
        self.made += [tuple(one.shape) for one in tensors if isinstance(one, Tensor)]
        return result


def first(result: Tensor | tuple) -> tuple:
    return tuple(result.shape) if isinstance(result, Tensor) else tuple(result[0].shape)


class Letters(dict):
    """How long the axis of each letter is; a letter is learned where it first stands alone."""

    def value(self, axis: str) -> Fraction | None:
        """2k², c/r or h+w−1 as a number; None while one of its letters is unknown."""
        if not set(LETTER.findall(axis)) <= self.keys():
            return None
        return sum((self.term(sign, term) for sign, term in re.findall(r"([+−]?)([^+−]+)", axis)), Fraction(0))

    def term(self, sign: str, term: str) -> Fraction:
        product = Fraction(-1 if sign == "−" else 1)
        for over, number, letter, square in re.findall(r"(/?)(?:(\d+)|([^\W\d_²]′*)(²?))", term):
            factor = Fraction(number) if number else Fraction(self[letter]) ** (2 if square else 1)
            product = product / factor if over else product * factor
        return product

    def fits(self, shape: str, actual: tuple) -> bool:
        """Whether a tensor of that size can have these axes; if so, the letters that were unknown are learned."""
        axes = shape.split()
        if len(axes) != len(actual):
            return False
        learned = Letters(self)
        for axis, length in zip(axes, actual, strict=True):
            if LETTER.fullmatch(axis):
                learned.setdefault(axis, length)
        if any(learned.value(axis) != length for axis, length in zip(axes, actual, strict=True)):
            return False
        self.update(learned)
        return True

    def holds(self, shape: str, actual: tuple) -> bool:
        """Whether a tensor of these axes has as many numbers; one letter may be solved for."""
        known = math.prod(value for axis in shape.split() if (value := self.value(axis)) is not None)
        unknown = [axis for axis in shape.split() if self.value(axis) is None]
        if len(unknown) != 1 or not LETTER.fullmatch(unknown[0]):
            return known == math.prod(actual) if not unknown else self.fits(shape, actual)
        self[unknown[0]] = int(math.prod(actual) / known)
        return self[unknown[0]] * known == math.prod(actual)


class Witness:
    """Compares one diagram with one run, and collects what is not true."""

    def __init__(self, diagram: Diagram, run: Run):
        self.diagram, self.run, self.letters, self.lies = diagram, run, Letters(), []
        self.steps = [step for lane in diagram.lanes for step in lane.steps]
        self.one_of_many = any("ₜ" in name for name in diagram.inputs)  # one of t steps is drawn
        self.ends()
        self.maps()
        self.learned()
        self.define()
        self.arrows()
        self.words()

    def demand(self, true: bool, lie: str) -> None:
        self.lies += [] if true else [f"{lie}; {dict(self.letters)}"]

    def same(self, what: str, shape: str, actual: tuple) -> None:
        fits = self.letters.fits(shape, actual)
        if not fits and self.one_of_many:
            fits = self.letters.fits(shape.replace("b", "b t", 1), actual)
        self.demand(fits, f"{what} is {actual}, not {shape}")

    def ends(self) -> None:
        given = {name: shape for name, shape in self.diagram.inputs.items() if "ₜ" not in name}
        self.demand(len(given) == len(self.run.inputs), f"the module takes {len(self.run.inputs)} inputs")
        for (name, shape), actual in zip(given.items(), self.run.inputs, strict=False):
            self.same(name, shape, actual)
        self.same("y", self.shape(self.steps[-1]), self.run.output)
        self.define()

    def define(self) -> None:
        """Learn what the words say of letters, where it is a formula or an argument."""
        for letter, formula in FORMULA.findall(self.diagram.where):
            known = self.run.numbers.get(formula.strip()) or self.letters.value(formula.strip())
            if known is not None:
                self.demand(self.letters.setdefault(letter, known) == known, f"{letter} is not {formula}")

    def shape(self, wanted: Step) -> str:
        """What leaves a step: written there, or before it on its line."""
        for lane in self.diagram.lanes:
            shape = self.diagram.inputs.get(lane.source, "")
            for step in lane.steps:
                shape = step.shape or shape
                if step is wanted:
                    return shape
        raise AssertionError(wanted)

    def maps(self) -> None:
        """Each map that attention returns is drawn, or one of several alike, or factors of their product."""
        drawn = {name: next(s.shape for s in self.steps if s.name == name) for name in self.diagram.map_names()}
        if len(drawn) > len(self.run.maps) == 1:
            sizes = [tuple(int(self.letters.value(axis)) for axis in shape.split()) for shape in drawn.values()]
            self.demand(torch.broadcast_shapes(*sizes) == self.run.maps[0], f"{drawn} make no map")
            return
        self.demand(len(drawn) in (1, len(self.run.maps)), f"{len(self.run.maps)} maps are returned, not {drawn}")
        for (name, shape), actual in zip(drawn.items(), self.run.maps, strict=False):
            self.same(name, shape, actual)

    def learned(self) -> None:
        """Every layer is drawn; where a box is one layer alone, its output has as many numbers as the arrow says."""
        labels = [step.label for step in self.steps if step.learned]
        named = set(re.findall(r"\w+", " ".join([*labels, self.diagram.where])))
        self.demand(self.run.layers.keys() <= named, f"not drawn: {self.run.layers.keys() - named}")
        for step in self.steps:
            parts = [word for word in re.findall(r"\w+", step.label) if word in self.run.layers]
            self.demand(bool(parts) or not step.learned, f"{step.label} is none of {list(self.run.layers)}")
            if parts and step.shape and re.fullmatch(r"[^,+×@]*\b" + parts[-1], step.label):
                for actual in self.run.layers[parts[-1]]:
                    self.demand(self.letters.holds(step.shape, actual), f"{step.label} gives {actual}")

    def arrows(self) -> None:
        """Tensors of exactly these shapes are made in the order of each line, by attention or by forward."""
        for lane in self.diagram.lanes:
            ends = [k for k, step in enumerate(lane.steps, 1) if step.name.startswith("map")] or [0]
            before, after = lane.steps[: ends[-1]], lane.steps[ends[-1] :]
            stuck = [self.stuck(before, self.run.in_attention) or self.stuck(after, self.run.made)]
            stuck += [self.stuck(lane.steps, made) for made in (self.run.made, self.run.in_attention)]
            self.demand(None in stuck, f"nothing of the shape that leaves {stuck[0]} is made where it should")

    def stuck(self, steps: tuple[Step, ...], made: list[tuple]) -> str | None:
        """The first step whose shape does not come after those before it."""
        for step in (step for step in steps if step.shape):
            later = next((k for k, actual in enumerate(made) if self.letters.fits(step.shape, actual)), None)
            if later is None:
                return step.label
            made = made[later:]
        return None

    def words(self) -> None:
        """The formulas hold, and no two letters are equal, so that none could stand for another."""
        self.define()
        for one, other in combinations(self.letters, 2):
            self.demand(self.letters[one] != self.letters[other], f"nothing tells {one} from {other}")


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_a_diagram_says_what_the_module_does(row):
    assert Witness(read(row.name), Run(row)).lies == []


@pytest.mark.parametrize(
    "true, lie, told",
    [
        ("[W₁ squeeze]: b c/r", "[W₁ squeeze]: b c", "W₁ squeeze gives"),
        ("mean over h w: b c", "mean over h w: b c 1 1", "nothing of the shape that leaves W₁ squeeze"),
        ("sigmoid: b c 1 1", "sigmoid: b 1 c 1", "map is (23, 12, 1, 1), not b 1 c 1"),
        ("[W₂ excite]", "[W₂ second]", "not drawn: {'excite'}"),
        ("× map: b c h w", "× map: b c w h", "y is (23, 12, 13, 11)"),
        ("x: b c h w", "x: b h w c", "y is (23, 12, 13, 11)"),
        ("where: r = reduction", "where: r = c/2", "W₁ squeeze gives"),
    ],
)
def test_a_lie_is_found(true, lie, told):
    row = mechanism("SqueezeExcitation")
    text = texts()[row.name]
    assert text.count(true) == 1
    lies = Witness(parse(text.replace(true, lie)), Run(row)).lies
    assert any(told in one for one in lies), lies
