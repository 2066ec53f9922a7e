"""CBAM: Convolutional Block Attention Module.

Sanghyun Woo, Jongchan Park, Joon-Young Lee, In So Kweon, ECCV 2018, arXiv 1807.06521, section 3.
Lesson: notebooks/15_channel_and_spatial.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features, hidden_width


class CBAM(nn.Module):
    """Decide first which channels matter, then, on what they left, which places; look at mean and maximum for both.

        M_c = σ(W₁δ(W₀ mean_hw x) + W₁δ(W₀ max_hw x))    x' = M_c · x
        M_s = σ(f([max_c x'; mean_c x']))                 y = M_s · x'

    ``W₀`` is ``squeeze``, ``W₁`` is ``excite`` and ``f`` is ``locate``, one 7×7 convolution; δ is ReLU. One MLP
    serves both statistics, and their logits are added before the sigmoid. The gate on x is M_c · M_s, a rank-one
    table of channels × positions. The released code adds biases to the MLP and a BatchNorm after ``f``, which the
    paper's formulas do not have: ``released=True``. The paper writes [mean; max]; the order here is that of the
    released weights, max first (``course_lib.published`` knows who stores it the other way round).

    Args:
        channels: number of channels c.
        reduction: how many times fewer hidden units than channels (the paper's r).
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.
        kernel_size: side of ``f``, odd.
        released: the released code, with biases and a BatchNorm.

    Shape:
        x: b c h w -> b c h w, for any h and w; ``channel(x)``: b c 1 1; ``spatial(x)``: b 1 h w, to be given the
        gated features; their product ``attention(x)``: b c h w, all in (0, 1).

    Learned: ``W₀``, ``W₁``, ``f``. With both gates near one half the block starts near x/4, not at the identity. The
    released BatchNorm starts with weight 0: the spatial gate is one half everywhere, and ``f`` gets its first
    gradient only after the first step.

    Raises:
        ValueError: if no hidden unit would be left, the kernel is even, or the input does not fit.

    >>> CBAM(8, reduction=2, released=True).attention(torch.zeros(1, 8, 3, 2)).unique().tolist()
    [0.25]
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden: int | None = None,
        kernel_size: int = 7,
        released: bool = False,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} has no middle; use {kernel_size - 1} or {kernel_size + 1}")
        self.channels, self.released = channels, released
        hidden = hidden_width(channels, reduction, hidden)
        self.squeeze = nn.Linear(channels, hidden, bias=released)
        self.excite = nn.Linear(hidden, channels, bias=released)
        self.locate = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(self.locate.weight, mode="fan_out")
        self.norm = nn.BatchNorm2d(1, momentum=0.01) if released else nn.Identity()
        if released:
            for start_at_zero in (self.squeeze.bias, self.excite.bias, self.norm.weight):
                nn.init.zeros_(start_at_zero)

    def channel(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        mean, peak = x.mean(dim=(2, 3)), x.amax(dim=(2, 3))  # b c h w -> b c
        logits = sum(self.excite(self.squeeze(z).relu()) for z in (mean, peak))
        return logits.sigmoid()[:, :, None, None]  # b c -> b c 1 1

    def spatial(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        z = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)  # b c h w -> b 2 h w
        return self.norm(self.locate(z)).sigmoid()  # b 2 h w -> b 1 h w

    def attention(self, x: Tensor) -> Tensor:
        gate = self.channel(x)
        return gate * self.spatial(gate * x)  # b c 1 1 · b 1 h w -> b c h w

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel(x)
        return x * self.spatial(x)
