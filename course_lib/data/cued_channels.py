"""Three digits in three channels, and a texture far away that says which of them counts.

The task of lesson 03: a convolution sees digit or texture but never both; selecting a channel needs the whole image.
"""

import torch
from torch import Tensor

from course_lib.data.canvases import draw_digits

TEXTURES = ("horizontal stripes", "vertical stripes", "checkerboard")


def cued_channels(
    count: int, *, test: bool = False, sparse: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Images n 4 8 24, labels n, cues n.

    Channels 0–2 hold a digit each in columns 0–7; channel 3 holds texture ``TEXTURES[cue]`` in columns 16–23, with
    a little noise; the label is the digit of channel number ``cue``. ``sparse`` leaves 2 × 2 pixels of the texture,
    anywhere in those columns.

    >>> [part.shape[0] for part in cued_channels(5)]
    [5, 5, 5]
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.zeros(count, 4, 8, 24)
    digits, labels = draw_digits(3 * count, test=test, generator=generator)
    images[:, :3, :, :8] = digits.view(count, 3, 8, 8)
    cues = torch.randint(3, (count,), generator=generator)
    noise = 0.1 * torch.randn(count, 8, 8, generator=generator)
    texture = textures()[cues]
    images[:, 3, :, 16:] = (texture * one_tile(count, generator) if sparse else texture) + noise
    return images, labels.view(count, 3)[torch.arange(count), cues], cues


def one_tile(count: int, generator: torch.Generator) -> Tensor:
    """Masks n 8 8 with 2 × 2 ones: at even rows and columns, so that every tile shows the texture alike."""
    row, column = 2 * torch.randint(4, (2, count, 1), generator=generator)  # n 1 each
    inside = [(torch.arange(8) - start).div(2, rounding_mode="floor") == 0 for start in (row, column)]  # n 8 each
    return (inside[0][:, :, None] & inside[1][:, None, :]).float()


def textures() -> Tensor:
    """The three textures, 3 8 8, of zeros and ones."""
    row, column = torch.arange(8)[:, None], torch.arange(8)[None, :]
    return torch.stack([row.expand(8, 8) % 2, column.expand(8, 8) % 2, (row + column) % 2]).float()
