"""Pairs of kinds of images that an average cannot tell apart, each pair for another reason.

The task of lesson 04: which description of an image tells which pair apart?
"""

import math

import torch
from torch import Tensor

PAIRS = ("spread", "together", "order", "shape")


def alike(pair: str, count: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images 2n 2 8 8, n of each kind, and their kinds 2n: 0 or 1.

    In every image, each of the two channels has mean 0, to rounding, and deviation 1, except for kind 1 of "spread".

    - "spread": noise of deviation 1 or 1.5;
    - "together": the two channels rise together (correlation about 0.6) or against each other (−0.6);
    - "order": noisy stripes that lie or stand, at any phase;
    - "shape": values −1 and 1 equally often, or −√2, 0, 0 and √2; shuffled.

    Raises:
        ValueError: naming the pairs there are.

    >>> images, kinds = alike("shape", 3)
    >>> images.shape, kinds.tolist()
    (torch.Size([6, 2, 8, 8]), [0, 0, 0, 1, 1, 1])
    """
    if pair not in PAIRS:
        raise ValueError(f"no pair is called {pair!r}; there are {', '.join(PAIRS)}")
    generator = torch.Generator().manual_seed(seed)
    images = [DRAWN[pair](count, kind, generator) for kind in (0, 1)]
    return torch.cat(images), torch.arange(2).repeat_interleave(count)


def spread(count: int, kind: int, generator: torch.Generator) -> Tensor:
    return standardised(noise(count, generator)) * (1.0, 1.5)[kind]


def together(count: int, kind: int, generator: torch.Generator) -> Tensor:
    x = noise(count, generator)
    second = (0.6, -0.6)[kind] * x[:, 0] + 0.8 * x[:, 1]
    return standardised(torch.stack([x[:, 0], second], dim=1))


def order(count: int, kind: int, generator: torch.Generator) -> Tensor:
    phase = 8 * torch.rand(count, 2, 1, 1, generator=generator)
    wave = (math.pi / 2 * (torch.arange(8)[:, None] + phase)).sin()  # n 2 8 1: four pixels long, going down
    return standardised((wave, wave.mT)[kind] + noise(count, generator))


def shape(count: int, kind: int, generator: torch.Generator) -> Tensor:
    values = torch.tensor([(-1.0, -1.0, 1.0, 1.0), (-(2**0.5), 0.0, 0.0, 2**0.5)][kind]).repeat(16)
    return values[torch.rand(count, 2, 64, generator=generator).argsort(dim=2)].view(count, 2, 8, 8)


DRAWN = {"spread": spread, "together": together, "order": order, "shape": shape}


def noise(count: int, generator: torch.Generator) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=generator)


def standardised(x: Tensor) -> Tensor:
    """Mean 0 and deviation 1 in each channel of each image."""
    x = x - x.mean(dim=(2, 3), keepdim=True)
    return x / x.std(dim=(2, 3), correction=0, keepdim=True)
