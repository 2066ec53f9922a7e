"""What the pages tell of a mechanism: from its row, its docstring and the running module."""

import inspect
import re
from functools import cached_property
from math import floor, log10

import torch
from torch import nn

from course_lib.authoring.website import reach
from course_lib.authoring.website.reference import diagram, picture
from course_lib.catalog import CATALOG, Distribution, Free, Gate, Map, Mechanism
from course_lib.costs import required, sizes

C, H, W = 96, 32, 32  # the size at which costs are compared
CONVOLUTION = 9 * C * C * H * W  # multiply-adds of a 3×3 convolution

SCALE = (
    f'<span class="scale"><span>{reach.FLOOR:.6f}</span><span>|∂y/∂x|, the largest as 1</span><span>1</span></span>'
)


class Card:
    """One mechanism."""

    def __init__(self, row: Mechanism):
        self.row = row

    @cached_property
    def docstring(self) -> str:
        return inspect.getdoc(self.row.module) or ""

    @property
    def sentence(self) -> str:
        """The sentence that a student can repeat."""
        return " ".join(self.docstring.split("\n\n")[0].split())

    @property
    def formula(self) -> str:
        """The first indented block, in the paper's letters."""
        block = re.search(r"\n\n((?:    +\S.*\n)+)", self.docstring + "\n")
        return inspect.cleandoc(block[1]) if block else ""

    @property
    def paper_title(self) -> str:
        """The first line of the file."""
        return (inspect.getmodule(self.row.module).__doc__ or "").splitlines()[0].rstrip(".")

    @cached_property
    def sizes(self) -> tuple[int, int] | None:
        """Parameters and multiply-adds at 96 × 32 × 32; None where the mechanism does not exist at this size."""
        try:
            return sizes(self.row, C, H, W)
        except ValueError:
            return None

    @property
    def relative(self) -> float:
        """Multiply-adds, a 3×3 convolution as 1."""
        return self.sizes[1] / CONVOLUTION if self.sizes else float("nan")

    @property
    def plainly(self) -> str:
        """That number without powers of ten: 0.000014, 0.25, 67."""
        digits = 0 if not self.relative else max(0, 1 - floor(log10(self.relative)))
        return f"{self.relative:.{digits}f}"

    @property
    def maps(self) -> list[tuple[str, str]]:
        """Shape and kind of each map."""
        kinds = (self.row.map,) if isinstance(self.row.map, Gate | Distribution | Free) else self.row.map
        return [(shape, kind(one)) for shape, one in zip(self.row.map_shape.split(", "), kinds, strict=True)]

    @property
    def cost(self) -> str:
        if not self.sizes:
            return f"it does not exist at {C} channels on {H} × {W}"
        parameters, count = self.sizes
        at = f"{C} channels on {H} × {W}"
        numbers = f"{parameters:,} parameter{'s' * (parameters != 1)}, {count:,} multiply-adds"
        return f"{numbers}: {as_much(self.relative)} ({at})"

    @property
    def diagram(self) -> str:
        return diagram(self.row.module)

    @property
    def small_diagram(self) -> str:
        """For a card on the home page, whose words say what the picture would."""
        return re.sub(r'alt="[^"]*"', 'alt=""', picture(self.row.module, up=0))

    @property
    def call(self) -> str:
        """How the module is built at the size at which costs are compared."""
        named = {**self.row.named(C, H, W), **required(self.row)}
        arguments = [*map(code, self.row.arguments(C, H, W)), *(f"{name}={code(one)}" for name, one in named.items())]
        inputs = ", ".join(str(shape) for shape in self.row.inputs(1, C, H, W))
        return f"{self.row.name}({', '.join(arguments)})  # for inputs of {inputs}"

    @cached_property
    def made(self) -> tuple[int, ...]:
        """The shape that forward gives when the module is built as the page says."""
        with torch.device("meta"):
            module = self.row.build(C, H, W, **required(self.row)).eval()
            return tuple(module(*map(torch.empty, self.row.inputs(1, C, H, W))).shape)

    @property
    def output(self) -> str:
        """That shape, beside what the module is given."""
        given = ", ".join(" × ".join(map(str, shape)) for shape in self.row.inputs(1, C, H, W))
        return f"{given} → {' × '.join(map(str, self.made))}"

    @property
    def vector(self) -> bool:
        """Whether it gives a vector for the whole image, as a network does, and is no block of one."""
        return len(self.row.inputs(1, C, H, W)[0]) == 4 and len(self.made) == 2

    @property
    def placed(self) -> bool:
        """Whether the output has places, too."""
        return len(self.made) > 3

    @cached_property
    def reach(self) -> reach.Reach:
        return reach.reach(self.row)

    @property
    def reach_figure(self) -> str:
        """Places and channels under their names, with the scale and the words."""
        *places, channels = reach.pictures(self.reach)
        shape = "channels" if reach.in_a_list(self.reach) else "places"
        frames = "".join(f'<img class="{shape}" src="{one}" alt="">' for one in places)
        images = f'<span>places</span>{frames}<span>channels</span><img class="channels" src="{channels}" alt="">'
        caption = f"<figcaption>{reach.words(self.reach, self.placed)}</figcaption>"
        return f'<figure class="reach"><span class="thumbnail">{images}</span>{SCALE}{caption}</figure>'

    @property
    def thumbnail(self) -> str:
        *places, channels = reach.pictures(self.reach)
        images = [f'<img class="places" src="{one}" alt="">' for one in places]
        return f'<span class="thumbnail">{"".join(images)}<img class="channels" src="{channels}" alt=""></span>'


def code(argument: object) -> str:
    """An argument as it is written; a layer's own ``repr`` is no Python.

    >>> code([nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Tanh())]), code((3, 5))
    ('[nn.Sequential(nn.AdaptiveAvgPool2d(output_size=4), nn.Tanh())]', '(3, 5)')
    """
    if isinstance(argument, list):
        return f"[{', '.join(map(code, argument))}]"
    if not isinstance(argument, nn.Module):
        return repr(argument)
    inside = ", ".join(map(code, argument.children())) or argument.extra_repr()
    return f"nn.{type(argument).__name__}({inside})"


def as_much(cost: float) -> str:
    """A cost beside a 3 × 3 convolution, in words.

    >>> as_much(67.2), as_much(0.25), as_much(1.4e-5)
    ('as much as 67 convolutions of 3 × 3', '0.25 of a 3 × 3 convolution', '1/71,000 of a 3 × 3 convolution')
    """
    if cost == 0:
        return "no product or convolution; sums, means and gates are not counted"
    if cost >= 2:
        return f"as much as {cost:.0f} convolutions of 3 × 3"
    if cost >= 0.001:
        return f"{cost:.2g} of a 3 × 3 convolution"
    return f"1/{float(f'{1 / cost:.2g}'):,.0f} of a 3 × 3 convolution"


def kind(one: Map) -> str:
    """What the numbers of a map are."""
    if isinstance(one, Gate):
        return f"a gate between {one.low} and {one.high}"
    return "weights ≥ 0 that sum to 1" if isinstance(one, Distribution) else one.meaning


def cards() -> list[Card]:
    return [Card(row) for row in CATALOG]
