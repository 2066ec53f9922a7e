"""Spatial Pyramid Based Graph Reasoning for Semantic Segmentation (SpyGR).

Xia Li, Yibo Yang, Qijie Zhao, Tiancheng Shen, Zhouchen Lin, Hong Liu, CVPR 2020, arXiv 2003.10211, section 3.
Lesson: notebooks/12_graph_reasoning.ipynb
"""

import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features


class GraphReasoning(nn.Module):
    """One graph convolution over the pixels: subtract from each what pixels like it hold, and transform the rest.

        Â = φ Λ φᵀ    d = Â 1    L̃ = I − D^-½ Â D^-½    Y = ReLU(L̃ X Θ)

    φ = ReLU(``embed(X)``) is n × M and Λ = diag(σ(``metric(mean of X)``)) weighs its M features; Θ is ``update``.
    With P = D^-½ φ, L̃ X = X − P (Λ (Pᵀ X)) and d = φ (Λ (φᵀ 1)): linear in n, no n × n matrix.
    A pixel whose φ is zero is like no other; its d is kept off zero.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: D^-½ Â D^-½, b n n, symmetric, in [0, 1], of largest eigenvalue 1.
    """

    def __init__(self, channels: int, features: int):
        super().__init__()
        self.embed = nn.Conv2d(channels, features, 1)
        self.metric = nn.Linear(channels, features)
        self.update = nn.Conv2d(channels, channels, 1, bias=False)

    def factors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pᵀ and the diagonal of Λ: b M n, b M 1."""
        features = self.embed(x).relu().flatten(2)  # b M h w -> b M n
        weights = self.metric(x.mean(dim=(2, 3))).sigmoid()[:, :, None]
        degree = (weights * features.sum(dim=2, keepdim=True)).mT @ features  # b 1 M, b M n -> b 1 n
        return features * degree.clamp(min=1e-6).rsqrt(), weights

    def attention(self, x: Tensor) -> Tensor:
        features, weights = self.factors(x)
        return (weights * features).mT @ features  # b n M, b M n -> b n n

    def forward(self, x: Tensor) -> Tensor:
        features, weights = self.factors(x)
        held = (x.flatten(2) @ (weights * features).mT) @ features  # b c M, b M n -> b c n
        return self.update(x - held.unflatten(2, x.shape[2:])).relu()


class PyramidGraph(nn.Module):
    """Let like pixels talk directly, at several sizes of the image, and add up what they say.

        X⁰ = X    X^{l+1} = X^l averaged over 2 × 2    Y = Σ_l up(ReLU(L̃(X^l) X^l Θ_l))

    Each level is a ``GraphReasoning``, with its own φ, Λ and Θ, so that two pixels count as alike in another way at
    another size; up is bilinear. No code was released: how the levels join is our reading of the paper.

    Args:
        channels: number of channels c.
        levels: number of sizes; each has half the height and width of the one before, rounded up.
        features: the width M of φ; c // 2 by default.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: for each level the similarities D^-½ Â D^-½, b n n, which L̃ subtracts
        from the identity; ``forward`` never builds them.

    Learned: per level φ (M × c) and Λ's layer (M × c) with bias, Θ (c × c) without; torch's default start. The I in L̃
    lets X pass, but through Θ and ReLU: no identity.

    Raises:
        ValueError: for no level or feature, or an input that does not fit.

    >>> import torch
    >>> [a.shape[1] for a in PyramidGraph(8).attention(torch.randn(2, 8, 6, 10))]
    [60, 15, 6]
    """

    def __init__(self, channels: int, *, levels: int = 3, features: int | None = None):
        super().__init__()
        features = channels // 2 if features is None else features
        if levels < 1 or features < 1:
            raise ValueError(
                f"channels={channels}, levels={levels}, features={features}; use at least 1 of the last two"
            )
        self.channels = channels
        self.levels = nn.ModuleList(GraphReasoning(channels, features) for _ in range(levels))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """The image at each level's size."""
        check_features(x, self.channels)
        sizes = [x]
        for _ in self.levels[1:]:
            sizes.append(F.avg_pool2d(sizes[-1], 2, ceil_mode=True))
        return sizes

    def attention(self, x: Tensor) -> list[Tensor]:
        return [level.attention(smaller) for level, smaller in zip(self.levels, self.pyramid(x), strict=True)]

    def forward(self, x: Tensor) -> Tensor:
        said = [level(smaller) for level, smaller in zip(self.levels, self.pyramid(x), strict=True)]
        return sum(F.interpolate(y, x.shape[2:], mode="bilinear") for y in said)
