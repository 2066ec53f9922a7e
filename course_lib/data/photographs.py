"""Six photographs of at most 256 pixels a side; see data/README.md for sources and licences."""

from pathlib import Path

import torch
from matplotlib.image import imread
from torch import Tensor
from torch.nn import functional as F

PHOTOGRAPHS = ("astronaut", "cat", "coffee", "flower", "rocket", "temple")


def load_photograph(name: str, *, height: int | None = None) -> Tensor:
    """One photograph as c h w with values in [0, 1], scaled to ``height`` rows if given.

    Raises:
        ValueError: naming the photographs there are.

    >>> load_photograph("cat", height=32).shape
    torch.Size([3, 32, 48])
    """
    if name not in PHOTOGRAPHS:
        raise ValueError(f"no photograph is called {name!r}; there are {', '.join(PHOTOGRAPHS)}")
    pixels = imread(Path(__file__).with_name(f"{name}.jpg"))
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255  # h w c -> c h w
    if height is None:
        return image
    width = round(height * image.shape[2] / image.shape[1])
    scaled = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True, align_corners=False)
    return scaled[0].clamp(0, 1)
