"""One real digit among scrambled ones: where is it, and which is it?

The task of lesson 02: only by finding the right cell can the digit be read.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.data.canvases import draw_digits


class HiddenDigits(NamedTuple):
    """Cells n k 8 8, labels n, and the place of the real digit n."""

    cells: Tensor
    labels: Tensor
    places: Tensor


def hidden_digits(count: int, *, cells: int = 9, test: bool = False, seed: int = 0) -> HiddenDigits:
    """Rows of ``cells`` digits; in all cells but one the pixels are shuffled, each in its own way.

    >>> hidden_digits(5).cells.shape
    torch.Size([5, 9, 8, 8])
    """
    if cells < 2:
        raise ValueError(f"cells={cells} leaves nothing to search; use at least 2")
    generator = torch.Generator().manual_seed(seed)
    images, labels = draw_digits(count * cells, test=test, generator=generator)
    pixels = images.view(count, cells, 64)
    order = torch.rand(pixels.shape, generator=generator).argsort(dim=2)
    places = torch.randint(cells, (count,), generator=generator)
    order[torch.arange(count), places] = torch.arange(64)
    labels = labels.view(count, cells)[torch.arange(count), places]
    return HiddenDigits(pixels.gather(2, order).unflatten(2, (8, 8)), labels, places)
