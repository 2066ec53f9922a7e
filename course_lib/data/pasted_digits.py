"""A handwritten digit pasted on a photograph, among pieces of other digits: which digit is it?

What the shipped vision transformer of lesson 14 was trained on (train_vit.py).
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.data.canvases import between, draw_digits, draw_pieces, draw_scales, place
from course_lib.data.photographs import PHOTOGRAPHS, load_photograph

HELD_OUT = ("cat", "coffee")  # photographs that training never shows


class PastedDigits(NamedTuple):
    """Images n 3 s s in [0, 1], labels n, and the square of each digit n s s, True inside."""

    images: Tensor
    labels: Tensor
    squares: Tensor


def pasted_digits(
    count: int,
    *,
    size: int = 64,
    digit: tuple[int, int] = (24, 40),
    pieces: int = 2,
    test: bool = False,
    seed: int = 0,
) -> PastedDigits:
    """Random crops of photographs, each with quarters of digits and one whole digit pasted on it.

    The photographs are darkened, what is pasted has a light tint and hides more or less of what is below. With
    ``test`` both the digits and the photographs (``HELD_OUT``) are others than without.

    Args:
        size: side of the images in pixels.
        digit: smallest and largest side of the digit, in pixels.
        pieces: quarters of digits laid anywhere below the digit.

    Raises:
        ValueError: if the digit does not fit.

    >>> pasted_digits(5, size=32, digit=(16, 20)).images.shape
    torch.Size([5, 3, 32, 32])
    """
    generator = torch.Generator().manual_seed(seed)
    images = crops(count, size, test=test, generator=generator) * between(
        0.3, 0.7, count, 1, 1, 1, generator=generator
    )
    digits, labels = draw_digits(count, test=test, generator=generator)
    scales = draw_scales(count, digit, size, generator=generator)
    upright = torch.zeros(count)
    for _ in range(pieces):
        quarters = draw_pieces(count, test=test, generator=generator)
        anywhere = between(-0.9, 0.9, count, 2, generator=generator)
        images = paste(images, place(quarters, size, scales / 2, upright, anywhere), generator=generator)
    centres = between(-1, 1, count, 2, generator=generator) * (1 - scales)[:, None]
    images = paste(images, place(digits, size, scales, upright, centres), generator=generator)
    squares = place(torch.ones(count, 1, 8, 8), size, scales, upright, centres)[:, 0] > 0.5
    return PastedDigits(images, labels, squares)


def crops(count: int, size: int, *, test: bool, generator: torch.Generator) -> Tensor:
    """Random squares of random photographs, scaled to ``size``, half of them mirrored: n 3 s s."""
    photographs = [load_photograph(name) for name in PHOTOGRAPHS if (name in HELD_OUT) == test]
    found = []
    for which, mirror, wide, down, right in torch.rand(count, 5, generator=generator).tolist():
        photograph = photographs[int(which * len(photographs))]
        height, width = photograph.shape[1:]
        side = int(min(height, width) * (0.3 + 0.7 * wide))
        top, left = int(down * (height - side + 1)), int(right * (width - side + 1))
        crop = photograph[:, top : top + side, left : left + side]
        crop = F.interpolate(crop[None], (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
        found.append(crop.flip(2) if mirror < 0.5 else crop)
    return torch.stack(found)


def paste(images: Tensor, shapes: Tensor, *, generator: torch.Generator) -> Tensor:
    """Paint each shape (n 1 s s) on its image in a light tint of its own: n 3 s s."""
    tint = between(0.6, 1, len(images), 3, 1, 1, generator=generator)
    ink = (1.5 * shapes).clamp(max=between(0.7, 1, len(images), 1, 1, 1, generator=generator))
    return images * (1 - ink) + tint * ink
