"""What the pages tell of a mechanism: from its row, its docstring and the running module."""

import inspect
import re
from functools import cached_property

from course_lib.authoring.website import reach
from course_lib.authoring.website.reference import picture
from course_lib.catalog import CATALOG, Distribution, Free, Gate, Map, Mechanism
from course_lib.costs import sizes

C, H, W = 96, 32, 32  # the size at which costs are compared
CONVOLUTION = 9 * C * C * H * W  # multiply-adds of a 3×3 convolution

SCALE = f'<span class="scale"><span>{reach.FLOOR:g}</span><span>|∂y/∂x|, the largest as 1</span><span>1</span></span>'


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
        return (
            f"{parameters:,} parameters, {count:,} multiply-adds: {self.relative:.2g} of a 3 × 3 convolution ({at})"
        )

    @property
    def diagram(self) -> str:
        return picture(self.row.module, up=1)

    @cached_property
    def reach(self) -> reach.Reach:
        return reach.reach(self.row)

    @property
    def reach_figure(self) -> str:
        """Places and channels side by side, with the scale and the words."""
        caption = f"<figcaption>{reach.words(self.reach)}</figcaption>"
        return f'<figure class="reach">{self.thumbnail}{SCALE}{caption}</figure>'

    @property
    def thumbnail(self) -> str:
        *places, channels = reach.pictures(self.reach)
        images = [f'<img class="places" src="{one}" alt="">' for one in places]
        return f'<span class="thumbnail">{"".join(images)}<img class="channels" src="{channels}" alt=""></span>'


def kind(one: Map) -> str:
    """What the numbers of a map are."""
    if isinstance(one, Gate):
        return f"a gate between {one.low} and {one.high}"
    return "weights ≥ 0 that sum to 1" if isinstance(one, Distribution) else one.meaning


def cards() -> list[Card]:
    return [Card(row) for row in CATALOG]
