"""ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks.

Qilong Wang, Banggu Wu, Pengfei Zhu, Peihua Li, Wangmeng Zuo, Qinghua Hu, CVPR 2020, arXiv 1910.03151, section 3.
Lesson: notebooks/05_gated_channel.ipynb
"""

import math

from torch import Tensor, nn

from course_lib.checks import check_features


def adaptive_kernel_size(channels: int, gamma: float = 2, b: float = 1) -> int:
    """The odd number near (log₂ c + b) / γ: more channels, longer reach.

    "The nearest odd" (the paper's equation 12) leaves even numbers open: the published code cuts off the fraction
    and then rounds an even number up, and so do we.

    >>> [adaptive_kernel_size(c) for c in (16, 32, 64, 128, 256, 512, 1024, 2048)]
    [3, 3, 3, 5, 5, 5, 5, 7]
    """
    if channels < 1:
        raise ValueError(f"channels={channels} has no logarithm; use channels >= 1")
    k = int(abs((math.log2(channels) + b) / gamma))
    return k if k % 2 else k + 1


class EfficientChannel(nn.Module):
    """Let each channel's gate look at the means of its few neighbours in the list of channels, and at no other.

        z = mean_hw(x)    ω = σ(C1D_k(z))    y_c = ω_c · x_c

    C1D_k is one filter of length k that slides over the channels, without bias; σ is the sigmoid. As a matrix it is
    a band of k diagonals, each with one number.

    The paper computes k from c (``adaptive_kernel_size``, the default here). The released networks do not: they fix k
    by stage, 3, 5, 5, 7 for ResNet-50, and the released module's default is 3; give ``kernel_size`` for these. The
    paper's figure 3 forgets the sigmoid; its equations and the code have it. ``padding_mode="circular"`` is timm's
    variant, in which the first and the last channel are neighbours, so that no channel has fewer of them.

    Args:
        channels: number of channels c.
        kernel_size: the odd k, or None for the paper's rule.
        padding_mode: what lies beyond the first and last channel, ``"zeros"`` or ``"circular"``.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1).

    Learned: the filter (k numbers), torch's default start; the block does not start as the identity.

    Raises:
        ValueError: if k is even or longer than the channels can use, or the input does not fit.

    >>> import torch
    >>> EfficientChannel(8, kernel_size=3).attention(torch.zeros(1, 8, 5, 3)).flatten().tolist()
    [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    """

    def __init__(self, channels: int, *, kernel_size: int | None = None, padding_mode: str = "zeros"):
        super().__init__()
        k = adaptive_kernel_size(channels) if kernel_size is None else kernel_size
        if padding_mode not in ("zeros", "circular"):
            raise ValueError(f"padding_mode={padding_mode!r} is unknown; use 'zeros' or 'circular'")
        if k < 1 or k % 2 == 0:
            raise ValueError(f"kernel_size={k} has no middle; use an odd one, {max(k - 1, 1)} or {max(k + 1, 3)}")
        reach = 2 * channels - 1 if padding_mode == "zeros" else channels
        if k > reach:
            raise ValueError(f"kernel_size={k} reaches beyond channels={channels}; use kernel_size <= {reach}")
        self.channels = channels
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, padding_mode=padding_mode, bias=False)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        z = x.mean(dim=(2, 3))[:, None]  # b c h w -> b 1 c
        gates = self.conv(z).sigmoid()[:, 0]  # b 1 c -> b c
        return gates[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
