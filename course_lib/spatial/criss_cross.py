"""CCNet: Criss-Cross Attention for Semantic Segmentation.

Zilong Huang, Xinggang Wang, Lichao Huang, Chang Huang, Yunchao Wei, Wenyu Liu, ICCV 2019, arXiv 1811.11721,
sections 3.2 and 3.3.
Lesson: notebooks/11_cheaper_non_local.ipynb
"""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import check_features


class CrissCross(nn.Module):
    """Ask only the own column and row, but ask twice: what the corner pixels heard, they pass on.

        d_{i,u} = Q_u · Ω_{i,u}    A = softmax_i(d)    H'_u = γ Σ_i A_{i,u} Φ_{i,u} + H_u

    Ω_u and Φ_u hold the keys and the values of the h + w − 1 positions in u's column and row; u itself stands in
    both and counts once. Q, K, V are the 1×1 convolutions ``query``, ``key``, ``value``. Each of the ``loops`` does
    this to the result of the one before, with the same weights: two let every position reach every other.
    The paper has no γ; its code has, and so have we.

    ``forward`` stores row and column side by side, h + w numbers of which the second self is masked by −∞.

    Args:
        channels: number of channels c; Q and K have c // 8.
        loops: how often the cross is asked (the paper's R).
        hidden: width of Q and K; c // 8 if not given.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b h w (h+w−1), the weights of the first loop, of the h positions
        of the column from top to bottom and then the w − 1 others of the row from left to right.

    Learned: Q, K (c/8 × c), V (c × c), with bias, and γ, which starts at zero: the block starts as the identity.

    Raises:
        ValueError: for fewer than 8 channels, no loop, or an input that does not fit.

    >>> import torch
    >>> CrissCross(8).attention(torch.randn(2, 8, 5, 3)).shape
    torch.Size([2, 5, 3, 7])
    """

    def __init__(self, channels: int, *, loops: int = 2, hidden: int | None = None):
        super().__init__()
        hidden = channels // 8 if hidden is None else hidden
        if hidden < 1 or loops < 1:
            raise ValueError(
                f"channels={channels}, loops={loops}; use channels >= 8 (queries have c // 8) or hidden, loops >= 1"
            )
        self.channels, self.loops = channels, loops
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Q_u · K_i along u's column and along its row: b h w h, b h w w."""
        query, key = self.query(x), self.key(x)
        column = by_column(query).mT @ by_column(key)  # b w h i
        return column.transpose(1, 2), by_row(query).mT @ by_row(key)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        column, row = self.scores(x)
        others = other_columns(x.shape[3], x.device).expand(*row.shape[:3], -1)
        return torch.cat([column, row.gather(3, others)], dim=3).softmax(dim=3)

    def once(self, x: Tensor) -> Tensor:
        """One loop: every position reads its cross."""
        column, row = self.scores(x)
        itself = torch.diag(column.new_full(x.shape[2:3], -math.inf))[:, None]  # y 1 i: −∞ where i is y, else 0
        column, row = torch.cat([column + itself, row], dim=3).softmax(dim=3).split(x.shape[2:], dim=3)
        value = self.value(x)
        down = by_column(value) @ column.transpose(1, 2).contiguous().mT  # b w c i, b w i h -> b w c h
        across = by_row(value) @ row.contiguous().mT  # b h c i, b h i w -> b h c w
        return x + self.gamma * (down.permute(0, 2, 3, 1) + across.transpose(1, 2))

    def forward(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        for _ in range(self.loops):
            x = self.once(x)
        return x


def by_column(x: Tensor) -> Tensor:
    """b c h w -> b w c h, side by side in memory: then one product serves all columns without a copy."""
    return x.permute(0, 3, 1, 2).contiguous()


def by_row(x: Tensor) -> Tensor:
    """b c h w -> b h c w, side by side in memory."""
    return x.transpose(1, 2).contiguous()


def other_columns(width: int, device: torch.device) -> Tensor:
    """For each column, the w − 1 others: [[1, 2], [0, 2], [0, 1]] for three."""
    position = torch.arange(width, device=device)
    others = position[: width - 1].expand(width, -1)
    return others + (others >= position[:, None])
