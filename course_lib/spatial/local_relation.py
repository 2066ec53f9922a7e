"""Local Relation Networks for Image Recognition.

Han Hu, Zheng Zhang, Zhenda Xie, Stephen Lin, ICCV 2019, arXiv 1904.11491, section 3.
Lesson: notebooks/13_local_attention.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features
from course_lib.spatial.window import border, collect, taps

COMPOSABILITY = {
    "squared": lambda query, key: -(query - key).square(),
    "absolute": lambda query, key: -(query - key).abs(),
    "product": lambda query, key: query * key,
}


class LocalRelation(nn.Module):
    """Take from a neighbour what fits: one number asks, one number answers, and the neighbour's place counts too.

        ω(p′, p) = softmax_p( Φ(f_θq(x_p′), f_θk(x_p)) + f_θg(p − p′) )    y_p′ = W Σ_p ω(p′, p) x_p

    for p in the k×k window of p′. f_θq and f_θk are ``query`` and ``key``: a scalar for each group of channels.
    f_θg is ``geometry``, W is ``project``, and the values are x itself. Φ is ``-(q − k)²``, ``-|q − k|``
    or ``q · k``.
    The paper computes f_θg with two layers from the offset, the released code learns a table. Weights outside the
    image are 0 (the released code sets their score to −100). A softmax cannot subtract: no edges in one layer.

    Args:
        channels: number of channels c.
        kernel_size: side k of the window, odd.
        groups: number of groups g of channels that share their weights (the paper has eight channels in each).
        composability: Φ: ``"squared"``, ``"absolute"`` or ``"product"``.
        geometry: ``"mlp"`` as in the paper or ``"table"`` as released.

    Shape:
        x: b c h w -> b c h w; the map ``attention(x)``: b g h w k², sums to 1 over the window, row by row.

    Learned: ``query`` and ``key`` (g × c), ``project`` (c × c), without biases, torch's start; ``geometry``:
    two layers 2 -> 16 -> g with ReLU between, or a table g × k² that starts at zero. A bias of its last layer
    would be lost in the softmax and is left out.

    Raises:
        ValueError: if the window has no centre, groups do not divide the channels, or the input does not fit.

    >>> import torch
    >>> block = LocalRelation(4, kernel_size=3, groups=2, geometry="table")
    >>> block.attention(torch.zeros(1, 4, 2, 2))[0, 0, 0, 0].tolist()
    [0.0, 0.0, 0.0, 0.0, 0.25, 0.25, 0.0, 0.25, 0.25]
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        groups: int = 8,
        composability: str = "squared",
        geometry: str = "mlp",
    ):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} has no centre; use an odd number")
        if groups < 1 or channels % groups:
            raise ValueError(f"channels={channels} cannot be shared by groups={groups}; use a divisor of {channels}")
        if composability not in COMPOSABILITY:
            raise ValueError(f"composability={composability!r} is unknown; use one of {', '.join(COMPOSABILITY)}")
        if geometry not in ("mlp", "table"):
            raise ValueError(f"geometry={geometry!r} is unknown; use 'mlp' or 'table'")
        self.channels, self.kernel_size, self.groups = channels, kernel_size, groups
        self.composability = composability
        self.query = nn.Conv2d(channels, groups, 1, bias=False)
        self.key = nn.Conv2d(channels, groups, 1, bias=False)
        self.project = nn.Conv2d(channels, channels, 1, bias=False)
        if geometry == "mlp":
            self.geometry = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, groups, bias=False))
        else:
            self.geometry = nn.Parameter(torch.zeros(groups, kernel_size**2))

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, [self.kernel_size // 2] * 4)

    def prior(self) -> Tensor:
        """f_θg for every step of the window, rows and columns in units of its half: g k²."""
        if isinstance(self.geometry, nn.Parameter):
            return self.geometry
        half = self.kernel_size // 2
        steps = torch.arange(-half, half + 1).to(self.project.weight) / max(half, 1)
        offsets = torch.cartesian_prod(steps, steps)  # k -> k² 2
        return self.geometry(offsets).T  # k² g -> g k²

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        query, key = self.query(x), self.pad(self.key(x))
        composable = COMPOSABILITY[self.composability]
        height, width = x.shape[2:]
        scores = torch.stack([composable(query, tap) for tap in taps(key, height, width)])  # k² b g h w
        rows, columns = border(height, self.kernel_size, x), border(width, self.kernel_size, x)
        outside = (rows[:, None, :, None] + columns[:, None]).flatten(0, 1)  # k 1 h 1 + k 1 w -> k² h w
        scores = scores + (self.prior().T[:, None, :, None, None] + outside[:, None, None])
        return scores.softmax(dim=0).movedim(0, -1)  # k² b g h w -> b g h w k²

    def forward(self, x: Tensor) -> Tensor:
        weights = self.attention(x).movedim(-1, 0)  # b g h w k² -> k² b g h w
        groups = self.pad(x).unflatten(1, (self.groups, -1))  # b c H W -> b g c/g H W
        return self.project(collect(weights, groups).flatten(1, 2))  # b g c/g h w -> b c h w
