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

    In the paper σ_c divides by h·w, in the released code by h·w − 1: ``released=True``, which a map of one pixel does
    not have. The code's ε is in both. The authors train w and BN without weight decay.

    Args:
        channels: number of channels c.
        epsilon: added to the variance, so that the root of a constant map has a gradient.
        released: the released code, whose variance divides by h·w − 1.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1). ``style(x)``: b c 2.

    Learned: w (c × 2), which starts at 0; BN's scale and shift (c each), which start at 1 and 0. Every gate starts at
    exactly one half. While w = 0, z = 0 and BN's scale gets no gradient.

    Raises:
        ValueError: if the input does not fit; in training, BN also refuses a batch of one image.

    >>> import torch
    >>> stripes = torch.tensor([[1.0, -1.0], [1.0, -1.0]]).reshape(1, 1, 2, 2)
    >>> StyleRecalibration(1).style(stripes).round(decimals=3).tolist()
    [[[0.0, 1.0]]]
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5, released: bool = False):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels={channels} leaves nothing to gate; use channels >= 1")
        self.channels, self.epsilon, self.released = channels, epsilon, released
        self.weight = nn.Parameter(torch.zeros(channels, 2))
        self.norm = nn.BatchNorm1d(channels)

    def style(self, x: Tensor) -> Tensor:
        """Mean and standard deviation of each channel: t."""
        check_features(x, self.channels)
        if self.released and x.shape[2] * x.shape[3] == 1:
            raise ValueError("a map of 1 pixel has no unbiased deviation (released=True); use released=False")
        variance = x.var(dim=(2, 3), correction=int(self.released))  # b c h w -> b c
        return torch.stack([x.mean(dim=(2, 3)), (variance + self.epsilon).sqrt()], dim=-1)  # b c, b c -> b c 2

    def attention(self, x: Tensor) -> Tensor:
        z = (self.style(x) * self.weight).sum(dim=-1)  # b c 2 -> b c
        return self.norm(z).sigmoid()[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
