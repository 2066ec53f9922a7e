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
        """What each position's column and row score, before the softmax: b h w i and b h w j."""
        query, key = by_row(self.query(x)), by_row(self.key(x))  # b h w d
        column = by_column(query) @ by_column(key).mT  # b w h d, b w d i -> b w h i
        return column.transpose(1, 2), query @ key.mT  # b h w d, b h d j -> b h w j

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
        value = by_row(self.value(x))  # b h w c
        down = column.transpose(1, 2).contiguous() @ by_column(value)  # b w h i, b w i c -> b w h c
        across = row.contiguous() @ value  # b h w j, b h j c -> b h w c
        return x + self.gamma * (down.transpose(1, 2) + across).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        for _ in range(self.loops):
            x = self.once(x)
        return x


def by_row(x: Tensor) -> Tensor:
    """Rows of positions, each with its channels side by side in memory: b c h w -> b h w c."""
    return x.permute(0, 2, 3, 1).contiguous()


def by_column(x: Tensor) -> Tensor:
    """The same, column by column: b h w c -> b w h c."""
    return x.transpose(1, 2).contiguous()


def other_columns(width: int, device: torch.device) -> Tensor:
    """For each column, the w − 1 others: [[1, 2], [0, 2], [0, 1]] for three."""
    position = torch.arange(width, device=device)
    others = position[: width - 1].expand(width, -1)
    return others + (others >= position[:, None])
