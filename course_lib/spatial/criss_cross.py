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
        return torch.einsum("bcyx,bcix->byxi", query, key), torch.einsum("bcyx,bcyi->byxi", query, key)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        column, row = self.scores(x)
        others = other_columns(x.shape[3], x.device).expand(*row.shape[:3], -1)
        return torch.cat([column, row.gather(3, others)], dim=3).softmax(dim=3)

    def once(self, x: Tensor) -> Tensor:
        """One loop: every position reads its cross."""
        column, row = self.scores(x)
        itself = torch.eye(x.shape[2], dtype=torch.bool, device=x.device)[:, None]  # y 1 i: i is y
        both = torch.cat([column.masked_fill(itself, -math.inf), row], dim=3).softmax(dim=3)  # b h w h+w
        column, row = both.split(x.shape[2:], dim=3)
        value = self.value(x)
        read = torch.einsum("bcix,byxi->bcyx", value, column) + torch.einsum("bcyi,byxi->bcyx", value, row)
        return x + self.gamma * read

    def forward(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        for _ in range(self.loops):
            x = self.once(x)
        return x


def other_columns(width: int, device: torch.device) -> Tensor:
    """For each column, the w − 1 others: [[1, 2], [0, 2], [0, 1]] for three."""
    position = torch.arange(width, device=device)
    others = position[: width - 1].expand(width, -1)
    return others + (others >= position[:, None])
