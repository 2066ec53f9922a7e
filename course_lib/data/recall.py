"""In-image recall: ask at one pixel what another pixel holds.

The task of lessons 09–11: every query pixel must return the value stored with its key, anywhere in the image.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE = -100  # the target of pixels that ask nothing, as in cross_entropy


class Recall(NamedTuple):
    """Images n 10 h w, targets n h w (IGNORE where nothing is asked), and where sources and queries are, n h w."""

    images: Tensor
    targets: Tensor
    sources: Tensor
    queries: Tensor


def in_image_recall(
    count: int, *, height: int = 12, width: int = 12, symbols: int = 4, queries: int = 8, seed: int = 0
) -> Recall:
    """Images in which ``symbols`` source pixels hold a key and a value, and ``queries`` pixels hold only a key.

    The channels: one for each key, one for each value, "I am a source", "I ask". Each key occurs at one source;
    values may repeat. The target of a query pixel is the value at the source with the same key; guessing gets
    one in ``symbols``.

    Raises:
        ValueError: if there are fewer pixels than sources and queries.

    >>> in_image_recall(5).images.shape
    torch.Size([5, 10, 12, 12])
    """
    pixels = height * width
    if symbols + queries > pixels:
        raise ValueError(f"{symbols} sources and {queries} queries do not fit on {height}×{width} = {pixels} pixels")
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, pixels, generator=generator).argsort(dim=1)
    source, query = places[:, :symbols], places[:, symbols : symbols + queries]
    values = torch.randint(symbols, (count, symbols), generator=generator)
    asked = torch.randint(symbols, (count, queries), generator=generator)

    rows = torch.arange(count)[:, None]
    images = torch.zeros(count, pixels, 2 * symbols + 2)
    keys = torch.arange(symbols).expand(count, symbols)
    images[rows, source] = describe(keys, values, symbols, asks=False)
    images[rows, query] = describe(asked, None, symbols, asks=True)
    targets = torch.full((count, pixels), IGNORE)
    targets[rows, query] = values.gather(1, asked)
    marks = [torch.zeros(count, pixels, dtype=torch.bool).scatter(1, where, True) for where in (source, query)]
    shape = (height, width)
    return Recall(images.mT.unflatten(2, shape), targets.unflatten(1, shape), *(m.unflatten(1, shape) for m in marks))


def describe(keys: Tensor, values: Tensor | None, symbols: int, *, asks: bool) -> Tensor:
    """The channels of pixels with these keys and values: n p -> n p (2 · symbols + 2)."""
    key = F.one_hot(keys, symbols).float()
    value = torch.zeros_like(key) if values is None else F.one_hot(values, symbols).float()
    role = torch.tensor([0.0, 1.0] if asks else [1.0, 0.0]).expand(*keys.shape, 2)
    return torch.cat([key, value, role], dim=-1)
