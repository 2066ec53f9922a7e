"""Handwritten digits, 8×8 pixels: small enough that a laptop learns them in seconds.

E. Alpaydin and C. Kaynak, 1998; see data/README.md for source and licence.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Digits(NamedTuple):
    """Images in [0, 1] of shape n 8 8 and labels 0–9 of shape n, for training and for testing."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_digits(*, train: int = 1300, seed: int = 0) -> Digits:
    """All 1797 digits, shuffled by ``seed`` and split after the first ``train``.

    Raises:
        ValueError: if ``train`` leaves no test image.

    >>> load_digits().test_images.shape
    torch.Size([497, 8, 8])
    """
    if not 0 < train < 1797:
        raise ValueError(f"train={train} of 1797 digits leaves one side empty; use 1 to 1796")
    with np.load(Path(__file__).with_name("digits.npz")) as file:
        images = torch.from_numpy(file["images"]).float() / 16
        labels = torch.from_numpy(file["labels"]).long()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
    first, rest = order[:train], order[train:]
    return Digits(images[first], labels[first], images[rest], labels[rest])
