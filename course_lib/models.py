"""Two small models for the lessons: a residual CNN with a slot for a mechanism, and small ViTs."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import course_lib.data
from course_lib.spatial.vision_transformer import VisionTransformer

POOLS = {"average": nn.AdaptiveAvgPool2d(1), "max": nn.AdaptiveMaxPool2d(1), "none": nn.Identity()}


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut: ``x + slot(norm(conv(relu(norm(conv(x))))))``, then ReLU.

    ``slot`` stands where Squeeze-and-Excitation has its standard place: on the residual branch, after the last
    norm, before the addition.

    Shape:
        x: b c h w -> b c h w.
    """

    def __init__(self, channels: int, slot: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.slot = slot

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.slot(self.branch(x))).relu()


class SmallCNN(nn.Module):
    """A residual CNN that trains in seconds, with a slot for a mechanism in each of its blocks.

    Args:
        channels: of the image.
        classes: number of logits.
        width: channels of every block.
        blocks: number of residual blocks; after each but the last, a 2 × 2 max-pooling.
        slot: makes the mechanism for a number of channels, e.g. ``lambda c: SqueezeExcitation(c, reduction=4)``.
        pool: how positions are summed up at the end: "max", "average", or "none" (then give ``positions``).
        positions: number of positions of the last feature map, for ``pool="none"``.

    Shape:
        x: b channels h w -> b classes.

    >>> import torch
    >>> SmallCNN(1, 10, width=8)(torch.zeros(2, 1, 28, 20)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int = 32,
        blocks: int = 2,
        slot: Callable[[int], nn.Module] = lambda channels: nn.Identity(),
        pool: str = "max",
        positions: int = 1,
    ):
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool={pool!r} is not known; use one of {', '.join(POOLS)}")
        stem = [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        body = [layer for _ in range(blocks) for layer in (ResidualBlock(width, slot(width)), nn.MaxPool2d(2))]
        self.features = nn.Sequential(*stem, *body[:-1])
        self.head = nn.Sequential(POOLS[pool], nn.Flatten(), nn.Linear(width * positions, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def small_vit(
    image_size: int, patch_size: int, *, channels: int = 1, classes: int = 10, width: int = 48, depth: int = 2
) -> VisionTransformer:
    """The ViT of the paper, four heads and a few layers: 16 patches of an 8 × 8 digit train in 10 seconds.

    >>> sum(p.numel() for p in small_vit(8, 2).parameters())
    58234
    """
    return VisionTransformer(
        image_size,
        patch_size=patch_size,
        channels=channels,
        embed_dim=width,
        depth=depth,
        num_heads=4,
        num_classes=classes,
    )


class ConvolutionalStem(nn.Sequential):
    """Three small convolutions instead of one large one: tokens of 8 × 8 pixels that also know what lies around them.

    Tete Xiao, Mannat Singh, Eric Mintun, Trevor Darrell, Piotr Dollár, Ross Girshick, Early Convolutions Help
    Transformers See Better, NeurIPS 2021, arXiv 2106.14881.

    Shape:
        x: b c h w -> b n d, n = h·w / 64.
    """

    def __init__(self, channels: int, embed_dim: int):
        widths = [channels, embed_dim // 4, embed_dim // 2, embed_dim]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(embed_dim, embed_dim, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).flatten(2).mT  # b d h/8 w/8 -> b n d


def stem_vit() -> VisionTransformer:
    """A ViT for ``pasted_digits``, 64 × 64 pixels: four layers of four heads behind a convolutional stem."""
    vit = small_vit(64, 8, channels=3, width=64, depth=4)
    vit.patches = ConvolutionalStem(3, 64)
    return vit


def trained_vit() -> VisionTransformer:
    """The same after ``python -m course_lib.authoring.train_vit``: it names the one whole digit on a picture.

    >>> trained_vit().grid
    (8, 8)
    """
    vit = stem_vit()
    with np.load(Path(course_lib.data.__file__).with_name("vit.npz")) as file:
        vit.load_state_dict({name: torch.from_numpy(file[name]) for name in file})
    return vit.eval()
