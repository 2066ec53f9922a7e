"""A strip of digits and its caption: "seven three".

The task of the captioning part of lesson 02.
"""

import torch
from torch import Tensor

from course_lib.data.canvases import draw_digits

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digit_strips(
    count: int, *, digits: int = 2, cells: int = 4, test: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Images n 1 8 (8 · cells), captions n digits (from left to right), and the cell of each digit n digits.

    The digits lie in ``cells`` cells of 8 × 8 pixels; the other cells are empty.

    >>> [tuple(part.shape) for part in digit_strips(5)]
    [(5, 1, 8, 32), (5, 2), (5, 2)]
    """
    if not 0 < digits <= cells:
        raise ValueError(f"digits={digits} do not fit into cells={cells}; use 1 to {cells}")
    generator = torch.Generator().manual_seed(seed)
    images, labels = draw_digits(count * digits, test=test, generator=generator)
    places = torch.rand(count, cells, generator=generator).argsort(dim=1)[:, :digits].sort(dim=1).values
    strip = torch.zeros(count, cells, 8, 8)
    strip[torch.arange(count)[:, None], places] = images.view(count, digits, 8, 8)
    return strip.transpose(1, 2).flatten(2)[:, None], labels.view(count, digits), places  # n k h w -> n 1 h (k w)
