"""Draw one example of every data set: ``python -m course_lib.data data.png``."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from course_lib.data.canvases import digit_canvases
from course_lib.data.cued_channels import TEXTURES, cued_channels
from course_lib.data.digits import load_digits
from course_lib.data.hidden_digit import hidden_digits
from course_lib.data.moving_digits import moving_digits
from course_lib.data.pasted_digits import pasted_digits
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph
from course_lib.data.recall import in_image_recall
from course_lib.data.strips import WORDS, digit_strips
from course_lib.plotting import new_figure, png, show_image


def draw_all() -> Figure:
    """One row for each data set, with its function and what the labels say."""
    rows = [photographs, digits, canvases, cues, hidden, strips, videos, recall, pasted]
    figure = new_figure(9, 1.5 * len(rows))
    for panel, row in zip(figure.subfigures(len(rows), 1), rows, strict=True):
        images, titles, name = row()
        panel.suptitle(name, fontsize=9, x=0.01, ha="left", family="monospace")
        for axes, image, title in zip(panel.subplots(1, len(images)), images, titles, strict=True):
            show_image(axes, image, title=title)
    return figure


def photographs():
    return [load_photograph(name) for name in PHOTOGRAPHS], PHOTOGRAPHS, "load_photograph(name)"


def digits():
    few = load_digits()
    return few.train_images[:10], [str(int(label)) for label in few.train_labels[:10]], "load_digits()"


def canvases():
    few = digit_canvases(6, digit=(12, 26), max_angle=60, clutter=3)
    titles = [f"{label}, turned {angle.rad2deg():.0f}°" for label, angle in zip(few.labels, few.angles, strict=True)]
    return few.images[:, 0], titles, "digit_canvases(6, digit=(12, 26), max_angle=60, clutter=3)"


def cues():
    images, labels, cue = cued_channels(1)
    titles = ["channel 0", "channel 1", "channel 2", f"{TEXTURES[cue[0]]}: {labels[0]} counts"]
    return images[0], titles, "cued_channels(1)"


def hidden():
    few = hidden_digits(1)
    titles = [f"a real {few.labels[0]}" if k == few.places[0] else "" for k in range(9)]
    return few.cells[0], titles, "hidden_digits(1)"


def strips():
    images, captions, _ = digit_strips(4)
    return images[:, 0], [" ".join(WORDS[word] for word in caption) for caption in captions], "digit_strips(4)"


def videos():
    video, labels, shown = moving_digits(1, visible=4)
    titles = [f"frame {t}" + ("" if seen else ", empty") for t, seen in enumerate(shown[0])]
    return video[0, 0], titles, f"moving_digits(1, visible=4), label {labels[0]}"


def recall():
    few = in_image_recall(1)
    names = [f"key {k}" for k in range(4)] + [f"value {k}" for k in range(4)] + ["source", "asks"]
    return few.images[0], names, "in_image_recall(1)"


def pasted():
    few = pasted_digits(8)
    return few.images, [str(int(label)) for label in few.labels], "pasted_digits(8)"


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "data.png").write_bytes(png(draw_all()))
