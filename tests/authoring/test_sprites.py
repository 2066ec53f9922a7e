"""The pictures of a slider, drawn beforehand: each frame is what the widget would draw for its values."""

import base64
import io
import itertools
import json

import numpy as np
import pytest
from PIL import Image

from course_lib import interactive
from course_lib.authoring import sliders, sprites
from course_lib.interactive import slider

CONTROLS = {"red": slider("red", [0, 100, 200], value=100), "green": slider("green", [0, 50], value=50)}


def draw(figure, red, green):
    """Nothing but one colour."""
    figure.set_facecolor((red / 255, green / 255, 0))


@pytest.fixture(scope="module")
def made():
    return sprites.sprite(draw, (1.0, 0.5), CONTROLS)


def test_each_frame_has_the_colour_of_its_values(made):
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(made["picture"]))).convert("RGB"))
    (width, height), columns = made["about"]["frame"], made["about"]["columns"]
    assert (width, height) == (100, 50)
    for k, (red, green) in enumerate(itertools.product((0, 100, 200), (0, 50))):
        row, column = divmod(k, columns)
        pixel = sheet[row * height + height // 2, column * width + width // 2]
        assert np.abs(pixel.astype(int) - (red, green, 0)).max() <= 4  # the smaller file may lose a little


def test_what_the_page_must_know(made):
    assert made["about"]["sliders"] == [
        {"name": "red", "options": ["0", "100", "200"], "start": 1},
        {"name": "green", "options": ["0", "50"], "start": 1},
    ]


@pytest.mark.parametrize("counts", [(16, 24, 4), (13, 6, 9, 9), (5, 5), (100,)])
def test_at_most_sixty_combinations_in_order_with_the_start(counts):
    controls = [(list(range(count)), count // 3) for count in counts]
    chosen = sprites.thinned(controls)
    assert np.prod([len(options) for options in chosen]) <= sprites.MOST
    for options, (_, start) in zip(chosen, controls, strict=True):
        assert start in options and options == sorted(set(options))


def test_watching_sends_the_sprite_and_keeps_the_widget(monkeypatch, tmp_path):
    sent = []
    monkeypatch.setattr(interactive, "steer", interactive.steer)
    monkeypatch.setattr("IPython.display.display", lambda data, raw: sent.append(data))
    sprites.watch()
    widget = interactive.steer(draw, width=1, height=0.5, **CONTROLS)
    assert len(widget.children) == 3
    sliders.keep([one[sliders.MIME] for one in sent], "03_x", tmp_path)
    (about,) = tmp_path.glob("site/sliders/*.json")
    assert about.stem == "03_x-1" and json.loads(about.read_text())["rows"] == 2
    assert Image.open(about.with_suffix(".webp")).size == (300, 100)
