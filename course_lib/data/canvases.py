"""A digit somewhere on a larger canvas: shifted, scaled, turned, among pieces of other digits.

The tasks of lessons 06 (glimpses), 07 (spatial transformer) and 14 (vision transformer).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.data.digits import load_digits


class Canvases(NamedTuple):
    """Images n 1 s s in [0, 1], labels n, and how each digit was placed.

    ``angles`` in radians, anticlockwise as seen; ``scales``, side of the digit over side of the canvas;
    ``centres`` n 2 as (x, y) in [−1, 1], right and down.
    """

    images: Tensor
    labels: Tensor
    angles: Tensor
    scales: Tensor
    centres: Tensor


def digit_canvases(
    count: int,
    *,
    size: int = 40,
    digit: tuple[int, int] = (16, 16),
    max_angle: float = 0.0,
    clutter: int = 0,
    test: bool = False,
    seed: int = 0,
) -> Canvases:
    """``count`` canvases of ``size`` × ``size`` pixels with one digit each, wholly inside.

    Args:
        digit: smallest and largest side of the digit, in pixels.
        max_angle: the digit is turned by up to this many degrees either way.
        clutter: pieces (a quarter of a digit each) laid anywhere on the canvas.
        test: draw from the digits kept for testing, so that train and test share none.

    Raises:
        ValueError: if the digit does not fit on the canvas.

    >>> digit_canvases(5, size=28, clutter=2).images.shape
    torch.Size([5, 1, 28, 28])
    """
    generator = torch.Generator().manual_seed(seed)
    images, labels = draw_digits(count, test=test, generator=generator)
    scales = draw_scales(count, digit, size, generator=generator)
    angles = between(-1, 1, count, generator=generator) * math.radians(max_angle)
    centres = between(-1, 1, count, 2, generator=generator) * (1 - scales)[:, None]
    canvas = place(images, size, scales, angles, centres)
    for _ in range(clutter):
        pieces = draw_pieces(count, test=test, generator=generator)
        anywhere = between(-0.9, 0.9, count, 2, generator=generator)
        canvas = torch.maximum(canvas, place(pieces, size, scales / 2, torch.zeros(count), anywhere))
    return Canvases(canvas, labels, angles, scales, centres)


def place(images: Tensor, size: int, scales: Tensor, angles: Tensor, centres: Tensor) -> Tensor:
    """Each image (n 1 h w) scaled, turned and moved onto an empty canvas: n 1 size size."""
    cos, sin = angles.cos() / scales, angles.sin() / scales
    x, y = centres.unbind(dim=1)
    # where on the image does each pixel of the canvas come from: the inverse of turning, scaling and moving
    theta = torch.stack([cos, -sin, -cos * x + sin * y, sin, cos, -sin * x - cos * y], dim=1).unflatten(1, (2, 3))
    grid = F.affine_grid(theta, [len(images), 1, size, size], align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).clamp(0, 1)


def draw_digits(count: int, *, test: bool, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random digits n 1 8 8 and their labels, from the training or from the test part."""
    digits = load_digits()
    images, labels = (digits.test_images, digits.test_labels) if test else (digits.train_images, digits.train_labels)
    chosen = torch.randint(len(images), (count,), generator=generator)
    return images[chosen, None], labels[chosen]


def draw_pieces(count: int, *, test: bool, generator: torch.Generator) -> Tensor:
    """Random quarters of random digits: n 1 4 4."""
    images, _ = draw_digits(count, test=test, generator=generator)
    corner = torch.randint(0, 5, (count, 2), generator=generator)
    rows, columns = corner[:, :1] + torch.arange(4), corner[:, 1:] + torch.arange(4)  # n 4 each
    return images[torch.arange(count)[:, None, None], 0, rows[:, :, None], columns[:, None, :]][:, None]


def draw_scales(count: int, digit: tuple[int, int], size: int, *, generator: torch.Generator) -> Tensor:
    """Random sides of digits, from the smallest to the largest of ``digit``, as shares of a canvas of ``size``: n."""
    if not 0 < digit[0] <= digit[1] <= size:
        raise ValueError(f"digit={digit} does not fit on size={size}; give 0 < smallest <= largest <= {size}")
    return between(digit[0] / size, digit[1] / size, count, generator=generator)


def between(low: float, high: float, *shape: int, generator: torch.Generator) -> Tensor:
    """Uniform numbers from low to high."""
    return low + (high - low) * torch.rand(shape, generator=generator)
