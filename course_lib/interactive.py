"""Figures that a reader can steer. Each draws what its plain twin in plotting.py draws."""

from collections.abc import Callable

import ipywidgets

from course_lib.plotting import SHOWN, new_figure, png


def steer(draw: Callable, *, width: float = 7.0, height: float = 2.6, **controls: ipywidgets.Widget):
    """A picture below its controls, drawn again by ``draw(figure, **values)`` whenever one of them moves.

    The picture is an image widget: it is replaced in place, without flicker, in JupyterLab and in Colab.
    """
    own_size = ipywidgets.Layout(width=f"{width * SHOWN:.0f}px", max_width="100%")
    picture = ipywidgets.Image(format="png", layout=own_size)

    def redraw(*_) -> None:
        figure = new_figure(width, height)
        draw(figure, **{name: control.value for name, control in controls.items()})
        picture.value = png(figure, compression=1)  # nobody stores it

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([*controls.values(), picture])


def slider(name: str, options: list, *, value=None) -> ipywidgets.SelectionSlider:
    """A slider over a list of values, moved by mouse or by the arrow keys."""
    start = options[len(options) // 2] if value is None else value
    layout = ipywidgets.Layout(width="480px")
    return ipywidgets.SelectionSlider(options=options, value=start, description=name, layout=layout)
