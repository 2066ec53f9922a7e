"""FcaNet: Frequency Channel Attention Networks.

Zequn Qin, Pengyi Zhang, Fei Wu, Xi Li, ICCV 2021, arXiv 2012.11879, section 3.
Lesson: notebooks/04_richer_squeeze.ipynb
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from course_lib.checks import check_features, hidden_width

# Frequencies (down, across) on a 7 × 7 grid. TOP_16 did best one by one on ImageNet, LOW_16 are the slowest waves.
TOP_16 = ((0, 0), (0, 1), (6, 0), (0, 5), (0, 2), (1, 0), (1, 2), (4, 0),
          (5, 0), (1, 6), (3, 0), (0, 4), (0, 6), (0, 3), (3, 5), (2, 2))  # fmt: skip
LOW_16 = ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (2, 1), (1, 2),
          (2, 2), (0, 3), (3, 0), (4, 0), (0, 4), (1, 3), (3, 1), (0, 5))  # fmt: skip
GRID = 7


def dct_basis(size: int) -> Tensor:
    """The orthonormal cosines of one axis: row u is the wave of frequency u at each position, in float64.

    Shape: u i, both of length ``size``; row 0 is constant, 1/√size.
    """
    position = torch.arange(size, dtype=torch.float64) + 0.5
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    basis = math.sqrt(2 / size) * torch.cos(math.pi * frequency * position / size)  # u i
    basis[0] = 1 / math.sqrt(size)
    return basis


def dct_filters(frequencies: tuple[tuple[int, int], ...], height: int, width: int) -> Tensor:
    """One picture of h × w for each pair (u, v) of the 7 × 7 grid, scaled to the map: on 14 × 14, u means 2u.

    Shape: f h w, f the number of pairs, in float64.
    """
    down, across = max(height // GRID, 1), max(width // GRID, 1)
    for u, v in frequencies:
        if not (0 <= u * down < height and 0 <= v * across < width):
            raise ValueError(
                f"frequency {(u, v)} does not exist on a map of {height}×{width}; use frequencies 0 to {GRID - 1}, "
                f"height > {u} and width > {v} (inputs of another size are pooled to height×width)"
            )
    rows = dct_basis(height)[[u * down for u, _ in frequencies]]  # f h
    columns = dct_basis(width)[[v * across for _, v in frequencies]]  # f w
    return rows[:, :, None] * columns[:, None, :]  # f h 1, f 1 w -> f h w


class FrequencyChannel(nn.Module):
    """Describe each channel by how much of one wave it holds; the mean is the wave of frequency zero.

        z_c = Σ_hw x_c · B_c    s = σ(W₂ δ(W₁ z))    y_c = s_c · x_c

    B_c is the two-dimensional cosine (DCT) of channel c's frequency: the c channels are split into equal groups in
    order, one for each pair of ``frequencies``. After the squeeze everything is SE without biases.

    The paper writes the cosines without a factor; the released code makes them orthonormal, and so do we: frequency
    (0, 0) gives √(hw) times the mean. On maps that 7 does not divide, the code's frequencies u·(h // 7) are kept; on
    maps smaller than 7 they would all be zero, so here they stay u, and one that does not fit is refused.

    Args:
        channels: number of channels c, a multiple of the number of frequencies.
        height, width: size of the cosines; inputs of another size are first average-pooled to it.
        reduction: how many times fewer hidden units than channels.
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.
        frequencies: pairs (down, across) on the 7 × 7 grid, such as ``TOP_16`` or ``LOW_16``.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1).
        ``squeeze_waves(x)``: b c, the coefficients z.

    Learned: ``W₁`` (c/r × c), ``W₂`` (c × c/r), torch's default start; the block does not start as the identity.
    The cosines (c h w) are a buffer that is computed and not saved: weights trained at one size load at any other.

    Raises:
        ValueError: if the groups come out unequal, a frequency does not exist on the map, no hidden unit would be
            left, or the input does not fit.

    >>> import torch
    >>> block = FrequencyChannel(2, 4, 4, reduction=1, frequencies=((0, 0), (0, 1)))
    >>> block.squeeze_waves(torch.ones(1, 2, 4, 4)).abs().round(decimals=4).tolist()
    [[4.0, 0.0]]
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        reduction: int = 16,
        hidden: int | None = None,
        frequencies: tuple[tuple[int, int], ...] = TOP_16,
    ):
        super().__init__()
        if not frequencies or channels % len(frequencies):
            raise ValueError(
                f"channels={channels} cannot be split over {len(frequencies)} frequencies; "
                f"use a number of frequencies that divides {channels}"
            )
        self.channels, hidden = channels, hidden_width(channels, reduction, hidden)
        self.frequencies = frequencies
        self.register_buffer("filters", torch.empty(channels, height, width), persistent=False)
        self.reset_parameters()
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.excite = nn.Linear(hidden, channels, bias=False)

    def reset_parameters(self) -> None:
        """Compute the cosines, also for who started on the meta device and then called ``to_empty``."""
        channels, height, width = self.filters.shape
        filters = dct_filters(self.frequencies, height, width)  # f h w
        self.filters.copy_(filters.repeat_interleave(channels // len(filters), dim=0))  # c h w

    def squeeze_waves(self, x: Tensor) -> Tensor:
        """How much of its wave each channel holds: z."""
        check_features(x, self.channels)
        size = self.filters.shape[1:]
        if x.shape[2:] != size:
            x = adaptive_avg_pool2d(x, size)
        return (x * self.filters).sum(dim=(2, 3))  # b c h w, c h w -> b c

    def attention(self, x: Tensor) -> Tensor:
        z = self.squeeze_waves(x)
        s = self.excite(self.squeeze(z).relu()).sigmoid()
        return s[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
