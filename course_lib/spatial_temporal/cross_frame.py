"""SpSequenceNet: Semantic Segmentation Network on 4D Point Clouds.

Hanyu Shi, Guosheng Lin, Hao Wang, Tzu-Yi Hung, Zhenhua Wang, CVPR 2020, pages 4574-4583 (no arXiv version),
section 3.
Lesson: notebooks/17_time.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features


class CrossFrameGlobalAttention(nn.Module):
    """The previous frame, as a whole, decides which channels of this frame pass.

        s = σ(mean_hw W₂ δ(BN(W₁ previous)))    y_c = s_c · x_c

    Squeeze-and-Excitation whose squeeze looks one frame back; W₁ is ``embed``, W₂ is ``excite``, both 1×1
    convolutions without biases, δ is ReLU. The paper's frames are clouds of voxels with sparse convolutions; these
    are pictures. The mean is taken before W₂, which is linear: the same numbers, fewer products.

    Args:
        channels: number of channels c of both frames.

    Shape:
        x: b c h w and previous: b c h' w' -> b c h w; ``attention(x, previous)``: b c, in (0, 1), which does not
        depend on x.

    Learned: W₁, BN, W₂, torch's default start.

    Raises:
        ValueError: if an input does not fit.

    >>> CrossFrameGlobalAttention(3).eval().attention(torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).tolist()
    [[0.5, 0.5, 0.5]]
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.embed = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU())
        self.excite = nn.Linear(channels, channels, bias=False)

    def attention(self, x: Tensor, previous: Tensor) -> Tensor:
        for frame in (x, previous):
            check_features(frame, self.channels)
        if previous.shape[0] != x.shape[0]:
            raise ValueError(
                f"{x.shape[0]} frames and {previous.shape[0]} previous ones; give one previous frame for each"
            )
        z = self.embed(previous).mean(dim=(2, 3))  # b c h' w' -> b c
        return self.excite(z).sigmoid()

    def forward(self, x: Tensor, previous: Tensor) -> Tensor:
        return x * self.attention(x, previous)[:, :, None, None]  # b c -> b c 1 1


class CrossFrameLocalInterpolation(nn.Module):
    """Every point of this frame reads from the points of the previous frame that lie nearest to it.

        w_ij = r − min(d_ij, r)    p_i = Σ_j w_ij previous_j    y = W [x; p]    j over the k nearest of i

    d is the Euclidean distance of the positions, r is ``radius``. A point farther than r has no say, and the
    weights are not normalised: where the previous frame was empty, nothing arrives. W is ``join``, without bias.
    The published code divides voxel coordinates by 32 before it measures distances with r = 0.5, k = 3.

    Args:
        channels: number of channels c of both frames.
        neighbours: number k of previous points that a point reads from.
        radius: distance r from which on nothing is read, in the units of the positions.

    Shape:
        x: b c n, position: b n d, previous: b c m, previous_position: b m d -> b c n, for any d and m >= k;
        ``attention`` of the same four: b n k, in [0, r], nearest point first.

    Learned: W (c × 2c), torch's default start.

    Raises:
        ValueError: if there are fewer than k previous points, or an input does not fit.

    >>> points = torch.tensor([[[0.0], [1.0]]])
    >>> x = torch.ones(1, 4, 2)
    >>> CrossFrameLocalInterpolation(4, 1).attention(x, points + 0.125, x, points).tolist()
    [[[0.375], [0.375]]]
    """

    def __init__(self, channels: int, neighbours: int, *, radius: float = 0.5):
        super().__init__()
        if neighbours < 1 or radius <= 0:
            raise ValueError(f"neighbours={neighbours} must be at least 1 and radius={radius} above 0")
        self.channels, self.neighbours, self.radius = channels, neighbours, radius
        self.join = nn.Conv1d(2 * channels, channels, 1, bias=False)

    def nearest(self, position: Tensor, previous_position: Tensor) -> tuple[Tensor, Tensor]:
        """Distances and indices of the k nearest previous points, each b n k."""
        exact = torch.promote_types(position.dtype, torch.float32)
        with torch.no_grad():  # not by ‖a‖² + ‖b‖² − 2ab, which loses small distances
            how = "donot_use_mm_for_euclid_dist"
            distance = torch.cdist(position.to(exact), previous_position.to(exact), compute_mode=how)  # b n m
            index = distance.topk(self.neighbours, dim=2, largest=False).indices  # b n k
        places = index.flatten(1)[:, :, None].expand(-1, -1, position.shape[2])  # b nk d
        near = previous_position.gather(1, places).unflatten(1, index.shape[1:])  # b m d -> b n k d
        return torch.linalg.vector_norm(position[:, :, None] - near, dim=3), index

    def attention(self, x: Tensor, position: Tensor, previous: Tensor, previous_position: Tensor) -> Tensor:
        self._check(x, position, previous, previous_position)
        distance, _ = self.nearest(position, previous_position)
        return self.radius - distance.clamp(max=self.radius)

    def forward(self, x: Tensor, position: Tensor, previous: Tensor, previous_position: Tensor) -> Tensor:
        self._check(x, position, previous, previous_position)
        distance, index = self.nearest(position, previous_position)
        weights = self.radius - distance.clamp(max=self.radius)  # b n k
        index = index.flatten(1)[:, None].expand(-1, self.channels, -1)  # b n k -> b c nk
        read = previous.gather(2, index).unflatten(2, weights.shape[1:])  # b c m -> b c n k
        return self.join(torch.cat([x, (read * weights[:, None]).sum(dim=3)], dim=1))  # b 2c n -> b c n

    def _check(self, x: Tensor, position: Tensor, previous: Tensor, previous_position: Tensor) -> None:
        for features, points in ((x, position), (previous, previous_position)):
            check_features(features, self.channels, dims=1)
            if points.ndim != 3 or points.shape[:2] != (x.shape[0], features.shape[2]):
                raise ValueError(
                    f"features of shape {tuple(features.shape)} with positions of shape {tuple(points.shape)}; "
                    f"give positions b n d with b={x.shape[0]} and n={features.shape[2]}"
                )
        if previous.shape[2] < self.neighbours:
            raise ValueError(
                f"the previous frame has {previous.shape[2]} points, fewer than neighbours={self.neighbours}; "
                f"use neighbours <= {previous.shape[2]}"
            )
