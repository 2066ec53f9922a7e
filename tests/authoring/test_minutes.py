"""Minutes are counted by the rule that the house gives, each part of it alone."""

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from course_lib.authoring.minutes import lines_to_read, sections

PICTURE = new_output("execute_result", data={"text/html": '<img src="data:image/png;base64,AA" alt="a cat">'})
PRINTED = new_output("stream", text="3")


def walk(cell, *outputs) -> float:
    """The seconds that one cell with these outputs takes."""
    return 60 * sections([cell], [list(outputs)])[""]


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("five words make two seconds", 2),
        ("**Bold**, $x^2$ and `code` count.", 2),
        ("[a link](somewhere/very/far)", 0.8),
        ("| a | b |\n|---|---|\n| c | d |", 1.6),
        ("*Alt text:* a cat on a mat", 0),
        ("*References.* Wang et al., arXiv 1711.07971", 0),
        ("Words.\n\n*References.* Wang et al.", 0.4),
        ("*Before running: which shape?*", 4 * 0.4 + 30),
    ],
)
def test_a_text_takes_its_words(text, seconds):
    assert walk(new_markdown_cell(text)) == pytest.approx(seconds)


CODE = "import torch\nfrom x import (\n    a,\n    b,\n)\n\ny = 1\nprint(y)\nassert y == 1, (\n    y\n)"


def test_a_cell_takes_the_lines_that_do_something():
    assert lines_to_read(new_code_cell(CODE)) == ["y = 1", "print(y)"]
    assert walk(new_code_cell(CODE)) == 16
    assert walk(new_code_cell("%matplotlib inline\nx = 1")) == 16


@pytest.mark.parametrize("tag", ["folded", "set-up"])
def test_what_is_folded_is_free_and_its_picture_is_not(tag):
    assert walk(new_code_cell(CODE, metadata={"tags": [tag]})) == 0
    assert walk(new_code_cell(CODE, metadata={"tags": [tag]}), PICTURE) == 30


def test_pictures_widgets_and_other_outputs():
    assert walk(new_code_cell(""), PICTURE, PICTURE) == 60
    assert walk(new_code_cell(""), PRINTED) == 10
    assert walk(new_code_cell(""), PRINTED, PRINTED) == 10
    assert walk(new_code_cell(""), PRINTED, PICTURE) == 40
    assert walk(new_code_cell("", metadata={"tags": ["widget"]})) == 30


def test_the_first_deeper_heading_ends_the_walk():
    cells = [
        new_markdown_cell("five words make two seconds"),
        new_markdown_cell("two words\n\n## Deeper · Why (1 minute)\n\nthree more words"),
        new_code_cell("x = 1"),
        new_markdown_cell("## Deeper · How (2 minutes)"),
        new_code_cell("x = 1\ny = 2"),
    ]
    seconds = {title: round(60 * minutes, 1) for title, minutes in sections(cells, None).items()}
    assert seconds == {"": 2.8, "Why": 7 * 0.4 + 8, "How": 4 * 0.4 + 16}
