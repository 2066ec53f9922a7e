"""SRM: A Style-based Recalibration Module for Convolutional Neural Networks.

HyunJae Lee, Hyo-Eun Kim, Hyeonseob Nam, ICCV 2019, arXiv 1903.10829, section 3.
Lesson: notebooks/04_richer_squeeze.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features


class StyleRecalibration(nn.Module):
    """Describe each channel by its mean and its standard deviation, and let these two numbers set its own gate.

        t_c = (μ_c, σ_c)    z_c = w_c1 μ_c + w_c2 σ_c    g = sigmoid(BN(z))    y_c = g_c · x_c

    ``style`` is t (style pooling), ``weight`` is w (the channel-wise fully connected layer, CFC), and BN normalises
    each z_c over the batch, which keeps the gates from being all alike. No channel sees another.

    In the paper σ_c divides by h·w; the released code divides by h·w − 1 and adds ε to the variance.
    ``correction=0`` is the former, ``correction=1`` the latter; a map of one pixel has only the former. The authors
    train w and BN without weight decay.

    Args:
        channels: number of channels c.
        correction: what is taken from h·w in the variance, as in ``torch.var``.
        epsilon: added to the variance, so that the root of a constant map has a gradient.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1). ``style(x)``: b c 2.

    Learned: w (c × 2), which starts at 0; BN's scale and shift (c each), which start at 1 and 0. Every gate starts at
    exactly one half. While w = 0, z = 0 and BN's scale gets no gradient.

    Raises:
        ValueError: if ``correction`` takes all pixels, or the input does not fit; in training, BN also refuses a
            batch of one image.

    >>> import torch
    >>> stripes = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).reshape(1, 1, 2, 2)
    >>> StyleRecalibration(1, correction=0).style(stripes).round(decimals=3).tolist()
    [[[0.0, 1.0]]]
    """

    def __init__(self, channels: int, *, correction: int = 1, epsilon: float = 1e-5):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels={channels} leaves nothing to gate; use channels >= 1")
        if correction not in (0, 1):
            raise ValueError(f"correction={correction} is unknown; use 0 (paper) or 1 (released code)")
        self.channels, self.correction, self.epsilon = channels, correction, epsilon
        self.weight = nn.Parameter(torch.zeros(channels, 2))
        self.norm = nn.BatchNorm1d(channels)

    def style(self, x: Tensor) -> Tensor:
        """Mean and standard deviation of each channel: t."""
        check_features(x, self.channels)
        if x.shape[2] * x.shape[3] <= self.correction:
            raise ValueError("one pixel has no unbiased standard deviation (correction=1); use correction=0")
        variance = x.var(dim=(2, 3), correction=self.correction)  # b c h w -> b c
        return torch.stack([x.mean(dim=(2, 3)), (variance + self.epsilon).sqrt()], dim=-1)  # b c, b c -> b c 2

    def attention(self, x: Tensor) -> Tensor:
        z = (self.style(x) * self.weight).sum(dim=-1)  # b c 2 -> b c
        return self.norm(z).sigmoid()[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
