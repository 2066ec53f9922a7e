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
    another level of the network (AFNB) is ``AsymmetricFusion``.

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


class AsymmetricFusion(nn.Module):
    """Let every position of the deep features ask a few averages of the shallow ones, and join the answer to itself.

        V = softmax_s(Qᵀ P(K) / √ĉ)    O = V P(v)ᵀ    Y = BN(W_f [W_o O ; X_h])

    Q = ReLU(BN(1×1(X_h))), K = ReLU(BN(1×1(X_l))) and v = 1×1(X_l) are ``query``, ``key`` and ``value``; X_h are the
    high-level features, X_l the low-level ones of an earlier stage. P and the cells are those of
    ``AsymmetricPyramid``; here query and key are layers of their own, and no ReLU ends the block. Paper and released
    code agree.

    Args:
        high_channels: channels of the deep features X_h.
        low_channels: channels of the shallow features X_l.
        sizes: the sides n of the grids.
        key_channels: the width ĉ of Q, K and v; high_channels // 2 if not given.
        out_channels: channels of the result; high_channels if not given.
        dropout: share of the output's maps that training drops.

    Shape:
        high: b c_h h w and low: b c_l h' w' -> b out_channels h w; ``attention(high, low)``: b n S over the S cells
        of the shallow map, for the n positions of the deep one; rows sum to 1.

    Learned: Q, K, v, W_o, W_f with bias and three batch norms. W_o starts at zero (weight and bias), so that the
    block starts blind to the shallow features.

    Raises:
        ValueError: if a size or a width is below 1, or an input does not fit.

    >>> import torch
    >>> block = AsymmetricFusion(8, 4)
    >>> block.attention(torch.randn(2, 8, 5, 6), torch.randn(2, 4, 16, 12)).shape
    torch.Size([2, 30, 110])
    """

    def __init__(
        self,
        high_channels: int,
        low_channels: int,
        *,
        sizes: tuple[int, ...] = (1, 3, 6, 8),
        key_channels: int | None = None,
        out_channels: int | None = None,
        dropout: float = 0.05,
    ):
        super().__init__()
        width = high_channels // 2 if key_channels is None else key_channels
        if min(width, low_channels) < 1 or not sizes or min(sizes) < 1:
            raise ValueError(
                f"high_channels={high_channels}, low_channels={low_channels}, key_channels={width}, sizes={sizes}; "
                "all must be at least 1"
            )
        outputs = out_channels or high_channels
        self.high_channels, self.low_channels, self.sizes = high_channels, low_channels, tuple(sizes)
        self.query, self.key = (
            nn.Sequential(nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU())
            for channels in (high_channels, low_channels)
        )
        self.value = nn.Conv2d(low_channels, width, 1)
        self.output = nn.Conv2d(width, outputs, 1)
        self.fuse = nn.Sequential(
            nn.Conv2d(outputs + high_channels, outputs, 1), nn.BatchNorm2d(outputs), nn.Dropout2d(dropout)
        )
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def attention(self, high: Tensor, low: Tensor) -> Tensor:
        check_features(high, self.high_channels)
        check_features(low, self.low_channels)
        if high.shape[0] != low.shape[0]:
            raise ValueError(f"high has {high.shape[0]} samples, low {low.shape[0]}; give both for each image")
        query = self.query(high).flatten(2)  # b ĉ n
        key = pyramid_tokens(self.key(low), self.sizes) * query.shape[1] ** -0.5
        return (key.mT @ query).softmax(dim=1).mT  # b S ĉ, b ĉ n -> b S n -> b n S

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        attention = self.attention(high, low)
        value = self.output(self.value(pyramid_tokens(low, self.sizes)[..., None]))  # b c S 1
        context = value[..., 0] @ attention.mT  # b c S, b S n -> b c n
        return self.fuse(torch.cat([context.unflatten(2, high.shape[2:]), high], dim=1))


def pyramid_tokens(x: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """The averages over n × n cells for each n in ``sizes``, one after the other. b c h w -> b c S."""
    return torch.cat([F.adaptive_avg_pool2d(x, size).flatten(2) for size in sizes], dim=2)
