"""Stand-Alone Self-Attention in Vision Models.

Prajit Ramachandran, Niki Parmar, Ashish Vaswani, Irwan Bello, Anselm Levskaya, Jonathon Shlens,
NeurIPS 2019, arXiv 1906.05909, section 3.
Lesson: notebooks/13_local_attention.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features
from course_lib.spatial.window import border, collect, compare


class StandAloneAttention(nn.Module):
    """Replace a convolution: every position looks at the k×k window around it and decides what to take from where.

        y_ij = Σ_ab softmax_ab(q_ij · k_ab + q_ij · r_{a−i, b−j}) v_ab    for ab in the window of ij

    q, k, v are ``query``, ``key`` and ``value``, linear and without bias. r describes an offset, one half of its
    numbers its row and the other half its column: ``rows`` and ``columns``. There is no 1/√d. Where the window leaves
    the image there is nothing to look at: those weights are 0 (the paper is silent; ports in circulation let the
    softmax run over zeros there, with logits q · r). A stride is a 2×2 average pool after the layer, as in the paper;
    its spatially aware stem is left out.

    Args:
        channels: number of channels c.
        kernel_size: side k of the window, odd.
        num_heads: number of heads s; each has its own weights, one for all of its d = c / s channels.

    Shape:
        x: b c h w -> b c h w; the map ``attention(x)``: b s h w k², sums to 1 over the window, row by row.

    Learned: three c × c matrices, torch's start; ``rows`` and ``columns`` (s × k × d/2 each), normal with
    deviation 1/√d. Their number grows with k only by the two tables.

    Raises:
        ValueError: if the window has no centre, d is not a whole even number, or the input does not fit.

    >>> import torch
    >>> StandAloneAttention(4, kernel_size=3, num_heads=2).attention(torch.zeros(1, 4, 2, 2))[0, 0, 0, 0].tolist()
    [0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.0, 0.25, 0.25]
    """

    def __init__(self, channels: int, *, kernel_size: int = 7, num_heads: int = 8):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} has no centre; use an odd number")
        if num_heads < 1 or channels % (2 * num_heads):
            raise ValueError(
                f"channels={channels} and num_heads={num_heads} leave no even number of channels per head; "
                "use channels divisible by 2 * num_heads"
            )
        self.channels, self.kernel_size, self.num_heads = channels, kernel_size, num_heads
        self.query = nn.Conv2d(channels, channels, 1, bias=False)
        self.key = nn.Conv2d(channels, channels, 1, bias=False)
        self.value = nn.Conv2d(channels, channels, 1, bias=False)
        width = channels // num_heads
        self.rows = nn.Parameter(torch.randn(num_heads, kernel_size, width // 2) * width**-0.5)
        self.columns = nn.Parameter(torch.randn(num_heads, kernel_size, width // 2) * width**-0.5)

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.num_heads, -1))  # b (s d) h w -> b s d h w

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, [self.kernel_size // 2] * 4)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        query, key = self.split(self.query(x)), self.split(self.key(x))
        content = compare(query, self.pad(key)).unflatten(0, (self.kernel_size, -1))  # -> k k b s h w
        row, column = (
            torch.einsum("bsdhw,skd->kbshw", half, table)
            for half, table in zip(query.chunk(2, dim=2), (self.rows, self.columns), strict=True)
        )
        row = row + border(x.shape[2], self.kernel_size, x)[:, None, None, :, None]
        column = column + border(x.shape[3], self.kernel_size, x)[:, None, None, None, :]
        scores = content + row[:, None] + column
        return scores.flatten(0, 1).softmax(dim=0).movedim(0, -1)  # k k b s h w -> b s h w k²

    def forward(self, x: Tensor) -> Tensor:
        weights = self.attention(x).movedim(-1, 0)  # b s h w k² -> k² b s h w
        return collect(weights, self.pad(self.split(self.value(x)))).flatten(1, 2)  # b s d h w -> b c h w
