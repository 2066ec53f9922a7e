"""Selective Kernel Networks.

Xiang Li, Wenhai Wang, Xiaolin Hu, Jian Yang, CVPR 2019, arXiv 1903.06586, section 3.1.
Lesson: notebooks/16_branch.ipynb
"""

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import check_features


class SelectiveKernel(nn.Module):
    """Look with several kernel sizes at once, and let each channel choose the size that suits this image.

        U_p = F_p(x)    s = mean_hw Σ_p U_p    z = δ(BN(W s))    a = softmax_p(A_p z)    V_c = Σ_p a_pc · U_pc

    F_p is ``branches[p]``: a grouped 3×3 convolution with dilation p + 1 (so that the second sees 5×5 places), BN and
    ReLU δ; W is ``squeeze``, all A_p together are the one layer ``choose``. Paper and released code agree. Popular
    re-implementations drop the BN of z, take full kernels (``dilated=False``), or give each branch a part of the
    channels (``split_input=True``, as in some networks of timm).

    Args:
        channels: number of channels c, in and out.
        branches: number of kernel sizes p.
        reduction: how many times fewer numbers in z than channels (the paper's r).
        min_hidden: z never has fewer numbers than this (the paper's L).
        hidden: how many numbers z has, where it follows no such rule.
        groups: groups of the convolutions (the paper's G); it must divide c.
        dilated: whether branch p has 3×3 taps, p + 1 apart, or all (2p + 3)² taps: 3×3, 5×5, 7×7 …
        split_input: whether branch p reads only the p-th of equal parts of the channels, or all of them.
        linear: leave BN and ReLU out of the branches. Then V is one convolution whose kernel Σ_p a_p F_p
            depends on the image (see ``merge_kernels``).

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b p c 1 1, sums to 1 over p.

    Learned: the branches (He's normal start), W and A (normal, 0.01): every branch starts with a weight near 1 / p.
    In training mode the BN of z needs at least two samples.

    Raises:
        ValueError: if groups or parts do not divide the channels, no branch is asked for, or the input does not fit.

    >>> import torch
    >>> SelectiveKernel(8, groups=4).eval().attention(torch.zeros(1, 8, 5, 3))[0, :, 0].flatten().tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        channels: int,
        *,
        branches: int = 2,
        reduction: int = 16,
        min_hidden: int = 32,
        hidden: int | None = None,
        groups: int = 32,
        dilated: bool = True,
        split_input: bool = False,
        linear: bool = False,
    ):
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups} does not divide channels={channels}; choose a divisor")
        if branches < 1 or reduction < 1:
            raise ValueError(f"branches={branches} and reduction={reduction} must be at least 1")
        self.channels, self.parts = channels, branches if split_input else 1
        if channels % (self.parts * groups):
            raise ValueError(f"channels={channels} have no {self.parts} parts of groups={groups}; use fewer groups")
        hidden = max(channels // reduction, min_hidden) if hidden is None else hidden
        self.branches = nn.ModuleList()
        for reach in range(1, branches + 1):  # how far a branch sees to each side
            taps, apart = (3, reach) if dilated else (2 * reach + 1, 1)
            conv = nn.Conv2d(
                channels // self.parts,
                channels,
                taps,
                padding=reach,
                dilation=apart,
                groups=groups,
                bias=False,
            )
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            self.branches.append(conv if linear else nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU()))
        self.squeeze = nn.Linear(channels, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.choose = nn.Linear(hidden, branches * channels, bias=False)
        nn.init.normal_(self.squeeze.weight, std=0.01)
        nn.init.normal_(self.choose.weight, std=0.01)

    def split(self, x: Tensor) -> list[Tensor]:
        check_features(x, self.channels)
        parts = x.chunk(self.parts, dim=1) if self.parts > 1 else [x] * len(self.branches)
        return [branch(part) for branch, part in zip(self.branches, parts, strict=True)]  # p times b c h w

    def select(self, features: list[Tensor]) -> Tensor:
        s = sum(u.mean(dim=(2, 3)) for u in features)  # the mean of the sum; b c h w -> b c
        z = self.norm(self.squeeze(s)).relu()
        logits = self.choose(z).view(-1, len(features), self.channels, 1, 1)  # b pc -> b p c 1 1
        return logits.softmax(dim=1)

    def attention(self, x: Tensor) -> Tensor:
        return self.select(self.split(x))

    def forward(self, x: Tensor) -> Tensor:
        features = self.split(x)
        return sum(a * u for a, u in zip(self.select(features).unbind(1), features, strict=True))


def merge_kernels(*weights: Tensor, dilations: list[int] | None = None) -> Tensor:
    """One kernel whose convolution is the sum of the convolutions with the given ones.

        conv(x, W₃) + conv(x, W₅) = conv(x, P(W₃) + W₅)    P pads with zeros to the larger size

    It holds because convolution is linear in its kernel, for kernels of odd size, "same" padding and equal stride and
    groups; biases simply add. A dilated kernel is a larger one with zeros in between. A ReLU in the branches, or
    BatchNorm in training mode, breaks it; weights that depend on the image give one kernel for each image.

    Args:
        weights: kernels, each o c k k (the same o and c, any odd k).
        dilations: the dilation of each; all 1 if not given.

    Shape:
        -> o c K K, with K the largest extent, dilation · (k − 1) + 1.

    Raises:
        ValueError: if a kernel is even or the kernels differ in channels.

    >>> import torch
    >>> merge_kernels(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 3, 3), dilations=[1, 2])[0, 0].int().tolist()
    [[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 0, 2, 0, 1], [0, 0, 0, 0, 0], [1, 0, 1, 0, 1]]
    """
    if any(w.shape[:2] != weights[0].shape[:2] or w.shape[2] != w.shape[3] or w.shape[2] % 2 == 0 for w in weights):
        raise ValueError(
            f"kernels of shapes {[tuple(w.shape) for w in weights]} do not merge; give odd square kernels with the "
            "same channels"
        )
    dilations = dilations or [1] * len(weights)
    spaced = [spread(w, d) for w, d in zip(weights, dilations, strict=True)]
    size = max(w.shape[-1] for w in spaced)
    return sum(F.pad(w, [(size - w.shape[-1]) // 2] * 4) for w in spaced)


def spread(weight: Tensor, dilation: int) -> Tensor:
    """The same kernel with ``dilation`` − 1 zeros between its taps. Shape: o c k k -> o c k' k'."""
    size = dilation * (weight.shape[-1] - 1) + 1
    spaced = weight.new_zeros(*weight.shape[:2], size, size)
    spaced[:, :, ::dilation, ::dilation] = weight
    return spaced
