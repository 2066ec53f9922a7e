import pytest

from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.diagrams import diagram, figure, read, words
from course_lib.diagrams.language import parse

TEXT = """
g: how much
where: d = c/2
x: b c
extra: b d
map = u -> [W score] with extra: b 1
  -> sigmoid
y = x -> [V embed] as u: b d -> × map -> ‖ x: b d+c
"""


def test_a_text_is_read_line_by_line():
    diagram = parse(TEXT)
    assert (diagram.g, diagram.f, diagram.where) == ("how much", "", "d = c/2")
    assert diagram.inputs == {"x": "b c", "extra": "b d"}
    extra, first, last = diagram.lanes
    assert (extra.source, extra.steps) == ("extra", ())  # it only joins, so it gets a line of its own
    assert [(step.label, step.learned, step.joins, step.name, step.shape) for step in first.steps] == [
        ("W score", True, ("extra",), "", "b 1"),
        ("sigmoid", False, (), "map", ""),
    ]
    assert [(step.label, step.learned, step.joins, step.name, step.shape) for step in last.steps] == [
        ("V embed", True, (), "u", "b d"),
        ("×", False, ("map",), "", ""),
        ("‖", False, ("x",), "y", "b d+c"),
    ]
    assert [step.circle for step in last.steps] == [False, True, True] and diagram.map_names() == ["map"]


def test_the_description_says_all_that_the_picture_shows():
    said = words(SqueezeExcitation)
    assert "In: x of shape b c h w" in said
    assert "map: x, mean over h w giving b c, learned W₁ squeeze giving b c/r, ReLU, learned W₂ excite" in said
    assert "y: x, times map giving b c h w" in said
    assert "attention: one number per channel" in said
    assert diagram(SqueezeExcitation).words == said


def test_a_class_without_a_text_is_told_where_to_write_one():
    class Unknown: ...

    for ask in (lambda: read("Unknown"), lambda: figure(Unknown)):
        with pytest.raises(KeyError, match=r"Unknown has no diagram; write one in course_lib/diagrams/texts\.md"):
            ask()
