"""Dynamic Graph Message Passing Networks.

Li Zhang, Dan Xu, Anurag Arnab, Philip H. S. Torr, CVPR 2020, arXiv 1908.06955, section 3.
The comparing form: Li Zhang, Mohan Chen, Anurag Arnab, Xiangyang Xue, Philip H. S. Torr, arXiv 2209.09760 (DGMN2).
Lesson: notebooks/12_graph_reasoning.ipynb
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features


class DynamicGraph(nn.Module):
    """Let every pixel choose a few places to listen to, how far to trust each, and how to hear it.

        y_i = x_i + γ Σ_k w_ik · a_ik · x̃_ik    x̃_ik = x(i + r·p_k + Δ_ik)    Δ = conv_r(x)
        [w, a′] = W [x̃_i1; …; x̃_iK]    a = softmax_k(a′)

    p_k are the K places of a k×k grid of dilation r, moved by ``offset`` (conv_r); between pixels x is interpolated,
    outside the image it is 0. W is ``predict``: a deformable convolution in the released code, and as such a linear
    layer on the samples. a is one weight per sample, w the filter of each of ``groups`` groups of channels.
    The network sums such messages for r = 1, 4, 8 and 12: four modules, one input.
    ``affinity="compared"`` takes a from queries and keys, as DGMN2 does: a′_ik = (Q x_i) · (K x̃_ik) / √c + b_k.
    Predicted weights know only what lies around the places chosen; compared weights know what is asked for.

    Args:
        channels: number of channels c.
        samples: number K of samples, the square of an odd number.
        groups: number of groups g of channels that share a filter.
        dilation: step r of the grid.
        affinity: ``"predicted"`` as in DGMN, or ``"compared"``.

    Shape:
        x: b c h w -> b c h w; the map ``attention(x)``: b samples h w, sums to 1 over the samples; where they are is
        ``places(x)``: b samples h w 2 in pixels, row and column.

    Learned: ``offset`` (k × k, no bias) starts at zero: the plain grid; ``predict`` and, compared, ``query``, ``key``
    and ``place`` (zeros): torch's start; ``gamma`` starts at 1 (0 in the simplest of the released variants).

    Raises:
        ValueError: if samples make no grid with a centre, groups do not divide the channels, or the input does
            not fit.

    >>> import torch
    >>> block = DynamicGraph(8)
    >>> block.attention(torch.zeros(1, 8, 5, 7)).shape
    torch.Size([1, 9, 5, 7])
    >>> block.places(torch.zeros(1, 8, 5, 7))[0, :2, 2, 3].tolist()
    [[1.0, 2.0], [1.0, 3.0]]
    """

    def __init__(
        self, channels: int, *, samples: int = 9, groups: int = 4, dilation: int = 1, affinity: str = "predicted"
    ):
        super().__init__()
        kernel_size = math.isqrt(max(samples, 0))
        if kernel_size**2 != samples or kernel_size % 2 == 0:
            raise ValueError(f"samples={samples} make no square grid with a centre; use 1, 9, 25, …")
        if groups < 1 or channels % groups:
            raise ValueError(f"channels={channels} cannot be shared by groups={groups}; use a divisor of {channels}")
        if affinity not in ("predicted", "compared"):
            raise ValueError(f"affinity={affinity!r} is unknown; use 'predicted' or 'compared'")
        self.channels, self.samples, self.groups, self.dilation = channels, samples, groups, dilation
        self.kernel_size, self.compared = kernel_size, affinity == "compared"
        padding = dilation * (kernel_size // 2)
        self.offset = nn.Conv2d(channels, 2 * samples, kernel_size, padding=padding, dilation=dilation, bias=False)
        nn.init.zeros_(self.offset.weight)
        outputs = groups * samples if self.compared else (groups + 1) * samples
        self.predict = nn.Conv2d(channels * samples, outputs, 1, bias=False)
        if self.compared:
            self.query = nn.Conv2d(channels, channels, 1, bias=False)
            self.key = nn.Conv2d(channels, channels, 1, bias=False)
            self.place = nn.Parameter(torch.zeros(samples))
        self.gamma = nn.Parameter(torch.ones(()))

    def places(self, x: Tensor) -> Tensor:
        """Row and column of each sample of each pixel: b c h w -> b K h w 2."""
        check_features(x, self.channels)
        rows, columns = (torch.arange(length).to(x) for length in x.shape[2:])
        half = self.kernel_size // 2
        steps = self.dilation * torch.arange(-half, half + 1).to(x)
        here = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=2)  # h w 2
        grid = torch.cartesian_prod(steps, steps)[:, None, None] if half else x.new_zeros(1, 1, 1, 2)  # K 1 1 2
        moved = self.offset(x).unflatten(1, (self.samples, 2)).movedim(2, -1)  # b (K 2) h w -> b K h w 2
        return here + grid + moved

    def sample(self, x: Tensor) -> Tensor:
        """x̃: b c h w -> b c K h w."""
        height, width = x.shape[2:]
        size = torch.tensor([width, height]).to(x)
        place = (2 * self.places(x).flip(-1) + 1) / size - 1  # grid_sample wants columns first, edges at −1 and 1
        sampled = F.grid_sample(x, place.flatten(1, 2).to(x.dtype), align_corners=False)  # b c (K h) w
        return sampled.unflatten(2, (self.samples, height))

    def weigh(self, x: Tensor, sampled: Tensor) -> tuple[Tensor, Tensor]:
        """The filters w, b g K h w, and the affinities a, b K h w."""
        predicted = self.predict(sampled.flatten(1, 2))  # b (c K) h w -> b (g K + K) h w
        filters = predicted[:, : self.groups * self.samples].unflatten(1, (self.groups, self.samples))
        scores = self.compare(x, sampled) if self.compared else predicted[:, self.groups * self.samples :]
        return filters, scores.softmax(dim=1)

    def compare(self, x: Tensor, sampled: Tensor) -> Tensor:
        key = self.key(sampled.flatten(2, 3)).view_as(sampled)  # b c (K h) w -> b c K h w
        match = (self.query(x).unsqueeze(2) * key).sum(dim=1) / math.sqrt(self.channels)  # b c K h w -> b K h w
        return match + self.place[:, None, None]

    def attention(self, x: Tensor) -> Tensor:
        return self.weigh(x, self.sample(x))[1]

    def forward(self, x: Tensor) -> Tensor:
        sampled = self.sample(x)
        filters, affinity = self.weigh(x, sampled)
        weights = (filters * affinity.unsqueeze(1)).unsqueeze(2)  # b g 1 K h w
        message = (weights * sampled.unflatten(1, (self.groups, -1))).sum(dim=3)  # b g c/g K h w -> b g c/g h w
        return x + self.gamma * message.flatten(1, 2)
