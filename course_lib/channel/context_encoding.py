"""Context Encoding for Semantic Segmentation.

Hang Zhang, Kristin Dana, Jianping Shi, Zhongyue Zhang, Xiaogang Wang, Ambrish Tyagi, Amit Agrawal, CVPR 2018,
arXiv 1803.08904, section 3; the encoding layer is from Deep TEN, CVPR 2017, arXiv 1612.02844.
Lesson: notebooks/04_richer_squeeze.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features


class ContextEncoding(nn.Module):
    """Sort every pixel softly into a few learned codewords, and gate the channels by how the pixels differ from them.

        a_ik = softmax_k(−s_k ‖f_i − d_k‖²)    e_k = Σ_i a_ik (f_i − d_k)    e = Σ_k ReLU(BN(e_k))
        γ = σ(W e + b)    y = γ · x

    f = ReLU(BN(conv 1×1(x))) has n = h·w rows f_i, d_k are the m codewords, s_k > 0 says how hard codeword k sorts.
    ``assignment`` is a and ``descriptor`` is e. The paper's SE-loss is not in here: it is the binary cross-entropy of
    a linear layer on ``descriptor(x)`` that predicts which classes are in the image.

    The released code takes the mean over k, and returns ReLU(x + γ · x): ``released=True``. It also stores −s_k
    (which starts in (−1, 0)) and multiplies without a sign; ours is the paper's s_k. Nothing keeps it positive, and
    where it turns negative, pixels are sorted to the *farthest* codeword.

    Args:
        channels: number of channels c.
        codewords: number of codewords m.
        released: the released code: the mean over the codewords, and ReLU(x + γ · x).

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1).
        ``assignment(x)``: b n m, rows sum to 1 over the codewords; ``descriptor(x)``: b c.

    Learned: conv (c × c) and its BN, codewords (m × c) uniform in ±1/√(mc), s (m) uniform in (0, 1), BN over the
    codewords (m each), W and b: 2c² + mc + 3m + 3c in all. The block does not start as the identity.

    Raises:
        ValueError: if there is no codeword, or the input does not fit.

    >>> import torch
    >>> block = ContextEncoding(4, codewords=3)
    >>> block.assignment(torch.rand(1, 4, 2, 5)).sum(dim=-1).allclose(torch.ones(1, 10))
    True
    """

    def __init__(self, channels: int, *, codewords: int = 32, released: bool = False):
        super().__init__()
        if codewords < 1:
            raise ValueError(f"codewords={codewords} leaves nothing to compare with; use codewords >= 1")
        self.channels, self.released = channels, released
        conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.project = nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
        bound = (codewords * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-bound, bound))
        self.smoothing = nn.Parameter(torch.rand(codewords))
        self.norm = nn.BatchNorm1d(codewords)
        self.excite = nn.Linear(channels, channels)

    def _features(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        return self.project(x).flatten(2).mT  # b c h w -> b n c

    def _assign(self, f: Tensor) -> Tensor:
        # ‖f − d‖² = ‖f‖² − 2 f·d + ‖d‖² needs no b n m c array of differences
        distance = (
            f.square().sum(dim=2, keepdim=True)  # b n 1
            - 2 * f @ self.codewords.mT  # b n c, c m -> b n m
            + self.codewords.square().sum(dim=1)  # m
        )
        return (-self.smoothing * distance).softmax(dim=2)

    def assignment(self, x: Tensor) -> Tensor:
        """How much each pixel belongs to each codeword: a."""
        return self._assign(self._features(x))

    def descriptor(self, x: Tensor) -> Tensor:
        """What the whole image is like, whatever the order of its pixels: e."""
        f = self._features(x)
        a = self._assign(f)
        # Σ_i a_ik (f_i − d_k) = Σ_i a_ik f_i − (Σ_i a_ik) d_k
        residuals = a.mT @ f - a.sum(dim=1)[:, :, None] * self.codewords  # b m n, b n c -> b m c
        e = self.norm(residuals).relu()
        return e.mean(dim=1) if self.released else e.sum(dim=1)  # b m c -> b c

    def attention(self, x: Tensor) -> Tensor:
        return self.excite(self.descriptor(x)).sigmoid()[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        gated = x * self.attention(x)
        return (x + gated).relu() if self.released else gated
