"""Asymmetric Non-local Neural Networks for Semantic Segmentation (ANN).

Zhen Zhu, Mengde Xu, Song Bai, Tengteng Huang, Xiang Bai, ICCV 2019, arXiv 1908.07678, section 3.
Lesson: notebooks/11_cheaper_non_local.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features


class AsymmetricPyramid(nn.Module):
    """Let every position ask a few averages of the image, from the whole down to small cells, instead of positions.

        V = softmax_s(Qᵀ P(K) / √ĉ)    O = V P(v)ᵀ    Y = ReLU(BN(W_f [W_o O ; X]))

    P averages maps over grids of n × n cells, n in ``sizes``: S = Σ n² keys, whatever the size of the image. As in
    the released code, Q and K are one and the same layer ReLU(BN(1×1)), ``key``; v, W_o, W_f are the 1×1
    convolutions ``value``, ``output``, ``fuse``. This is the block inside one level (APNB); the one that asks
    another level of the network (AFNB) is left out.

    ``forward`` uses that averaging and a 1×1 convolution commute: v and W_o act on S averages, not on n positions.

    Args:
        channels: number of channels c.
        sizes: the sides n of the grids.
        key_channels: the width ĉ of Q, K and v; c // 2 by default, as released for c = 512.
        dropout: share of the output's maps that training drops.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b n S over the S cells; rows sum to 1. A grid finer than the
        image repeats positions.

    Learned: K, v, W_o, W_f with bias and two batch norms. W_o starts at zero (weight and bias), so that the block
    starts blind to its keys; it is still no identity, for X passes W_f, BN and ReLU.

    Raises:
        ValueError: if a size or a width is below 1, or the input does not fit.

    >>> import torch
    >>> AsymmetricPyramid(8).attention(torch.randn(2, 8, 16, 12)).shape
    torch.Size([2, 192, 110])
    """

    def __init__(
        self,
        channels: int,
        *,
        sizes: tuple[int, ...] = (1, 3, 6, 8),
        key_channels: int | None = None,
        dropout: float = 0.05,
    ):
        super().__init__()
        width = channels // 2 if key_channels is None else key_channels
        if width < 1 or not sizes or min(sizes) < 1:
            raise ValueError(f"channels={channels}, key_channels={width}, sizes={sizes}; all must be at least 1")
        self.channels, self.sizes = channels, tuple(sizes)
        self.key = nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU())
        self.value = nn.Conv2d(channels, width, 1)
        self.output = nn.Conv2d(width, channels, 1)
        self.fuse = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Dropout2d(dropout)
        )
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        query = self.key(x)
        key = pyramid_tokens(query, self.sizes) * query.shape[1] ** -0.5
        return (key.mT @ query.flatten(2)).softmax(dim=1).mT  # b S ĉ, b ĉ n -> b S n -> b n S

    def forward(self, x: Tensor) -> Tensor:
        attention = self.attention(x)
        value = self.output(self.value(pyramid_tokens(x, self.sizes)[..., None]))  # b c S 1
        context = value[..., 0] @ attention.mT  # b c S, b S n -> b c n
        return self.fuse(torch.cat([context.unflatten(2, x.shape[2:]), x], dim=1))


def pyramid_tokens(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The averages over n × n cells for each n in ``sizes``, one after the other. b c h w -> b c S."""
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in sizes], dim=2)
