"""Pictures of inputs whose picture is known, and controls that draw them again."""

import base64
import re
from io import BytesIO
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib import colormaps
from matplotlib.image import imread

from course_lib.interactive import slider, steer
from course_lib.plotting import (
    describe,
    new_figure,
    plot_lines,
    plot_runs,
    png,
    show_found,
    show_image,
    show_images,
    show_overlay,
    show_row,
    show_weights,
)
from course_lib.plotting import side_by_side as twins

LESSONS = sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb"))


def pixels(figure):
    return imread(BytesIO(png(figure)))[..., :3]


def test_an_image_is_shown_upright_with_its_own_colours():
    image = torch.zeros(3, 4, 8)
    image[0, 0, 0], image[2, 3, 7] = 1, 1  # red in the upper left corner, blue in the lower right
    shown = pixels(show_images([image]))
    red, blue = (np.argwhere(np.isclose(shown, colour).all(-1)).mean(0) for colour in ([1, 0, 0], [0, 0, 1]))
    assert red[0] < blue[0] and red[1] < blue[1]


@pytest.mark.parametrize("part", [lambda figure: figure, lambda figure: figure.subfigures()], ids=["whole", "part"])
def test_no_title_is_cut_off(part):
    figure = new_figure(7.0, 2.5)  # hardly high enough: at the first layout the maps are too tall
    for axes in part(figure).subplots(1, 3):
        show_weights(axes, torch.ones(40, 40), title="the map of a layer")
    assert (pixels(figure)[0] == 1).all()


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parents[1].glob("notebooks/*.ipynb")), ids=lambda path: path.stem
)
def test_no_stored_picture_is_cut_off(path):
    for picture in re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", path.read_text(encoding="utf-8")):
        shown = imread(BytesIO(base64.b64decode(picture)))[..., :3]
        assert (shown[[0, -1]] > 0.7).all(), "letters or lines touch the upper or lower edge: draw a higher figure"


def test_a_row_keeps_its_images_apart_and_puts_each_title_over_its_image():
    figure = new_figure()
    show_row(figure.subplots(), [torch.zeros(4, 3), torch.full((4, 3), 0.5)], ["first", "second"])
    axes = figure.axes[0]
    shown = axes.images[0].get_array()
    assert shown[0].tolist() == [0, 0, 0, 255, 128, 128, 128, 255]
    assert [(text.get_text(), text.get_position()[0]) for text in axes.texts] == [("first", 1), ("second", 5)]


def test_each_run_is_a_dot_in_the_row_of_its_name():
    figure = new_figure()
    axes = figure.subplots()
    plot_runs(axes, {"none": [0.1, 0.3], "ours": [0.9, 0.8, 0.7]}, guess=0.2)
    none, ours, line = axes.lines
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["none", "ours"] and axes.yaxis.get_inverted()
    assert none.get_xydata().tolist() == [[0.1, 0], [0.3, 0]] and ours.get_xydata()[:, 1].tolist() == [1, 1, 1]
    assert line.get_xdata() == [0.2, 0.2]


def test_weights_run_from_zero_to_the_largest():
    figure = new_figure()
    show_weights(figure.subplots(), torch.tensor([[0.0, 0.25], [0.5, 0.25]]))
    shown = figure.axes[0].images[0]
    assert shown.get_clim() == (0, 0.5) and shown.get_cmap().name == "viridis"


def test_an_overlay_keeps_the_brightest_and_darkens_the_rest():
    figure = new_figure()
    show_overlay(figure.subplots(), torch.ones(3, 4, 4), torch.tensor([[1.0, 0.0], [0.5, 0.0]]))
    shown = figure.axes[0].images[0].get_array() / 255
    np.testing.assert_allclose(shown[[0, 0, 3], [0, 3, 0], 0], [1, 0.15, 0.575], atol=0.002)


def test_what_is_found_shines_over_the_darkened_image():
    image, weights = torch.rand(3, 4, 6), torch.tensor([[0.0, 0.2, 0.8], [0.1, 0.4, 0.3]])
    figure = new_figure()
    show_found(figure.subplots(), image, weights)
    shown, inferno = figure.axes[0].images[0].get_array() / 255, colormaps["inferno"]
    for row, column in np.ndindex(4, 6):
        share = (weights[row // 2, column // 2] / 0.8).item()
        expected = share * np.array(inferno(share)[:3]) + (1 - share) * 0.4 * image[:, row, column].mean().item()
        np.testing.assert_allclose(shown[row, column], expected, atol=0.003)


def test_lines_differ_in_colour_and_marker():
    figure = new_figure()
    plot_lines(figure.subplots(), [1, 2], {"a": [1, 2], "b": [2, 3]}, xlabel="x", ylabel="y")
    first, second = figure.axes[0].lines
    assert first.get_color() != second.get_color() and first.get_marker() != second.get_marker()
    assert list(second.get_ydata()) == [2, 3] and figure.axes[0].get_xlabel() == "x"


def test_figures_do_not_pile_up():
    before = plt.get_fignums()  # other tests of this process may have left one
    for _ in range(30):
        new_figure()
    assert plt.get_fignums() == before


def draw(figure, level=1, name="a"):
    show_image(figure.subplots(), torch.full((4, 4), float(level)), title=name)


def test_a_control_draws_again_what_the_plain_call_draws():
    control = slider("level", [0, 0.5, 1], value=0.5)
    box = steer(draw, level=control)
    before = box.children[-1].value
    control.value = 1
    after = box.children[-1].value
    plain = new_figure()
    draw(plain, level=1)
    assert before != after and (imread(BytesIO(after))[..., :3] == pixels(plain)).all()
    assert isinstance(box.children[0], ipywidgets.SelectionSlider) and isinstance(box.children[-1], ipywidgets.Image)


def test_twins_stand_side_by_side():
    figure = twins(draw, [{"level": 0}, {"level": 1}])
    assert [axes.images[0].get_array()[0, 0] for panel in figure.subfigs for axes in panel.axes] == [0, 255]


def test_a_description_reaches_a_screen_reader_and_is_shown_where_no_picture_can_be():
    figure = new_figure(2, 1)
    figure.subplots()
    shown = describe(figure, 'a "flat"\n    line')._repr_mimebundle_()
    assert shown["text/plain"] == 'a "flat" line'
    assert 'alt="a &quot;flat&quot; line"' in shown["text/html"] and 'width="200"' in shown["text/html"]
    data = re.search(r"base64,([^\"]+)", shown["text/html"])[1]
    assert imread(BytesIO(base64.b64decode(data))).shape[:2] == (150, 300)  # 150 dots an inch
