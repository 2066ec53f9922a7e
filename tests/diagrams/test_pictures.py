"""Nothing in a picture hides anything else."""

from itertools import combinations, pairwise

import pytest
from matplotlib import rc_context
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from course_lib.catalog import CATALOG
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.diagrams import __main__ as writing
from course_lib.diagrams import draw, figure, read
from course_lib.diagrams.layout import layout
from course_lib.plotting import new_figure


def pieces(axes) -> list:
    """All straight pieces of lines, as pairs of points."""
    found = [piece for line in axes.lines for piece in pairwise(line.get_xydata().tolist())]
    return found + [(text.xyann, text.xy) for text in axes.texts if isinstance(text, Annotation)]


def smaller(box: Bbox, by: float) -> Bbox:
    return Bbox.from_extents(box.x0 + by, box.y0 + by, box.x1 - by, box.y1 - by)


def crosses(piece, box: Bbox) -> bool:
    (x0, y0), (x1, y1) = piece
    return min(x0, x1) < box.x1 and max(x0, x1) > box.x0 and min(y0, y1) < box.y1 and max(y0, y1) > box.y0


def faults(mechanism: type) -> list[str]:
    """What lies on what, or outside the picture."""
    axes = figure(mechanism).axes[0]
    points = axes.transData.inverted()
    paper = Bbox.from_extents(axes.get_xlim()[0], axes.get_ylim()[0], axes.get_xlim()[1], axes.get_ylim()[1])
    words = [text for text in axes.texts if text.get_text()]
    places = [(repr(text.get_text()), smaller(text.get_window_extent().transformed(points), 0.5)) for text in words]
    boxes = [shape.get_window_extent().transformed(points) for shape in axes.patches]
    lines = pieces(axes)
    found = [f"{word} leaves the picture" for word, at in places if not within(at, paper)]
    found += [f"{one} lies on {other}" for (one, a), (other, b) in combinations(places, 2) if a.overlaps(b)]
    found += [f"a line crosses {word}" for word, at in places for line in lines if crosses(line, at)]
    found += [f"{word} and a box" for word, at in places for box in boxes if at.overlaps(box) and not within(at, box)]
    found += ["a line crosses a box" for box in boxes for line in lines if crosses(line, smaller(box, 1.5))]
    return found + ["two boxes touch" for one, other in combinations(boxes, 2) if one.overlaps(other)]


def within(inner: Bbox, outer: Bbox) -> bool:
    return inner.x0 >= outer.x0 and inner.x1 <= outer.x1 and inner.y0 >= outer.y0 and inner.y1 <= outer.y1


@pytest.mark.parametrize("row", CATALOG, ids=lambda row: row.name)
def test_nothing_hides_anything(row):
    assert faults(row.module) == []


def test_blue_is_what_leads_to_the_map_and_nowhere_else():
    nodes = {node.label.replace("\n", " "): node.blue for node in layout(read("SelectiveKernel"))}
    assert nodes["sum, mean"] and nodes["A choose, softmax"]
    assert not nodes["F branches"] and not nodes["×"] and not nodes["x"]  # the branches are also what is mixed


def test_a_place_that_is_too_small_is_refused_with_the_size_it_needs():
    with pytest.raises(ValueError, match=r"SqueezeExcitation needs \d\.\d\d × \d\.\d\d inches"):
        draw(new_figure(4, 1), SqueezeExcitation)


def test_every_picture_is_written_on_both_grounds(tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "CATALOG", CATALOG[2:3])
    light, dark = writing.write_all(tmp_path)
    assert (light.name, dark.name) == ("SqueezeExcitation-light.svg", "SqueezeExcitation-dark.svg")
    assert light.read_bytes() != dark.read_bytes()
    first = light.read_bytes()
    with rc_context({"svg.hashsalt": "diagrams"}):
        figure(SqueezeExcitation, dark=True).savefig(tmp_path / "drawn.svg", metadata={"Date": None})
    assert dark.read_bytes() == (tmp_path / "drawn.svg").read_bytes()
    writing.drawn.cache_clear()
    writing.write_all(tmp_path)
    assert light.read_bytes() == first
