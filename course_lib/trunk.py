"""Features of photographs that mean something: the first eleven blocks of a network that was trained on ImageNet.

EfficientNet-Lite0: depthwise convolutions and ReLU6, no attention anywhere. Tan and Le, EfficientNet, 2019,
arXiv 1905.11946, section 4 (blocks after Sandler et al., MobileNetV2, 2018, arXiv 1801.04381). The norms are folded
into the convolutions; data/README.md tells source and licence, authoring/fold_trunk.py how the file was made.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import course_lib.data

BLOCKS = (  # kernel size, stride, how many times more channels inside, channels
    *((3, 1, 1, 16), (3, 2, 6, 24), (3, 1, 6, 24), (5, 2, 6, 40), (5, 1, 6, 40)),
    *((3, 2, 6, 80), (3, 1, 6, 80), (3, 1, 6, 80), (5, 1, 6, 112), (5, 1, 6, 112), (5, 1, 6, 112)),
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green and blue, as in training


class SameConv2d(nn.Conv2d):
    """A convolution whose output is the input's size over the stride, rounded up; a spare zero goes to the end."""

    def forward(self, x: Tensor) -> Tensor:
        short = [self.missing(size) for size in x.shape[:1:-1]]  # of the width, of the height
        return super().forward(F.pad(x, [part for m in short for part in (m // 2, m - m // 2)]))

    def missing(self, size: int) -> int:
        """How many zeros an axis of this size lacks."""
        kernel_size, stride = self.kernel_size[0], self.stride[0]
        return max((-(-size // stride) - 1) * stride + kernel_size - size, 0)


class TrunkBlock(nn.Module):
    """Widen, filter each channel alone, narrow; added to x where the shape stays: b c h w -> b c' h/s w/s."""

    def __init__(self, channels: int, *, kernel_size: int, stride: int, expansion: int, out_channels: int):
        super().__init__()
        wide = channels * expansion
        self.expand = nn.Conv2d(channels, wide, 1) if expansion > 1 else None
        self.filter = SameConv2d(wide, wide, kernel_size, stride=stride, groups=wide)
        self.project = nn.Conv2d(wide, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        wide = F.relu6(self.expand(x)) if self.expand else x
        y = self.project(F.relu6(self.filter(wide)))
        return x + y if y.shape == x.shape else y


class Trunk(nn.Module):
    """A photograph becomes 16 to 112 channels, at a half to a sixteenth of its side.

    Shape: images b 3 h w in [0, 1] -> b c h' w'. Blocks 0 to 10 give channels 16 24 24 40 40 80 80 80 112 112 112 at
    1/2 1/4 1/4 1/8 1/8 and 1/16 of the side, rounded up.

    Raises:
        ValueError: if ``block`` is none of 0 to 10, or the images are no colour images.
    """

    def __init__(self):
        super().__init__()
        self.stem = SameConv2d(3, 32, 3, stride=2)
        self.blocks, channels = nn.ModuleList(), 32
        for kernel_size, stride, expansion, out_channels in BLOCKS:
            inside = {"kernel_size": kernel_size, "stride": stride, "expansion": expansion}
            self.blocks.append(TrunkBlock(channels, **inside, out_channels=out_channels))
            channels = out_channels

    def forward(self, images: Tensor, *, block: int = 7) -> Tensor:
        if not 0 <= block < len(self.blocks):
            raise ValueError(f"block={block}; the trunk has blocks 0 to {len(self.blocks) - 1}")
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images of shape {list(images.shape)}; give b 3 h w, as photograph[None]")
        mean, deviation = (images.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
        x = F.relu6(self.stem((images - mean) / deviation))  # b 3 h w -> b 32 h/2 w/2
        for layer in self.blocks[: block + 1]:
            x = layer(x)
        return x


def load_trunk() -> Trunk:
    """The trained trunk, which learns no more.

    >>> load_trunk()(torch.zeros(1, 3, 64, 96)).shape
    torch.Size([1, 80, 4, 6])
    """
    trunk = Trunk()
    with np.load(Path(course_lib.data.__file__).with_name("trunk.npz")) as file:
        trunk.load_state_dict({name: torch.from_numpy(file[name]) for name in file})
    return trunk.eval().requires_grad_(False)


def ask(features: Tensor, row: int, column: int, *, sharpness: float = 8.0) -> Tensor:
    """Whom one place asks when nothing was learned for it: softmax(sharpness · cosine) over all places.

    What all places have in common is taken away first, so that 0 means "as unlike as two places are on average".

    Shape: features c h w -> weights h w, which sum to 1.
    """
    directions = F.normalize(features - features.mean(dim=(1, 2), keepdim=True), dim=0)  # c h w, length 1 at a place
    likeness = torch.einsum("c,chw->hw", directions[:, row, column], directions)
    return (sharpness * likeness).flatten().softmax(dim=0).view_as(likeness)
