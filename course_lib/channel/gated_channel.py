"""Gated Channel Transformation for Visual Recognition.

Zongxin Yang, Linchao Zhu, Yu Wu, Yi Yang, CVPR 2020, arXiv 1909.11519, section 3.
Lesson: notebooks/05_gated_channel.ipynb
"""

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from course_lib.checks import check_features


class GatedChannelTransform(nn.Module):
    """Measure how large each channel is, compare it with the other channels, and amplify or damp it accordingly.

        embedding       s_c = α_c (Σ_hw x_c² + ε)^½
        normalisation   ŝ_c = √c s_c / (Σ_k s_k² + ε)^½
        gate            y_c = x_c (1 + tanh(γ_c ŝ_c + β_c))

    These are the lines of ``embedding``, ``normalised`` and ``attention``. γ_c > 0 lets large channels grow at the
    cost of the others (competition), γ_c < 0 damps them (cooperation), γ_c = 0 ignores their size.

    The released code divides by the root of the *mean*, ŝ_c = s_c / (mean_k s_k² + ε)^½, which is the same but for an
    ε that is c times larger: ``released=True``. With ``norm="l1"``, ``s_c = α_c Σ_hw |x_c|`` and
    ``ŝ_c = c s_c / (Σ_k |s_k| + ε)``, in the code ``s_c / (mean_k |s_k| + ε)``.
    The code's ``after_relu`` leaves out the absolute value there, for features that have no sign.

    Args:
        channels: number of channels c.
        norm: ``"l2"`` or ``"l1"``, the size of a channel and of all channels together.
        epsilon: the paper's ε, which keeps the roots and quotients finite.
        after_relu: leave out the absolute value, as the released code does behind a ReLU (``norm="l1"`` alone).
        released: the released code, which adds ε to the mean over the channels, and not to their sum.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 2).
        ``embedding(x)``: b c; ``normalised(s)``: b c -> b c.

    Learned: α, β, γ (c each). α starts at 1, β and γ at 0, so that the block starts as the identity, exactly.
    While γ = 0 the gate does not depend on α, whose first gradient is therefore exactly 0.

    float16 holds no square above 65504: a channel whose norm exceeds 255 overflows; use bfloat16 or autocast.

    Raises:
        ValueError: if an argument is none of its choices, or the input does not fit.

    >>> import torch
    >>> x = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    >>> block = GatedChannelTransform(2)
    >>> block.normalised(block.embedding(x)).square().mean().round(decimals=4).item()
    1.0
    >>> torch.equal(block(x), x)
    True
    """

    def __init__(
        self,
        channels: int,
        *,
        norm: str = "l2",
        epsilon: float = 1e-5,
        after_relu: bool = False,
        released: bool = False,
    ):
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels={channels} leaves nothing to gate; use channels >= 1")
        if norm not in ("l1", "l2"):
            raise ValueError(f"norm={norm!r} is neither of the paper's two; use 'l2' or 'l1'")
        if epsilon <= 0:
            raise ValueError(f"epsilon={epsilon} lets a channel of zeros divide by zero; use epsilon > 0")
        self.channels, self.norm, self.after_relu, self.released = channels, norm, after_relu, released
        self.epsilon = epsilon
        # (Σ + ε) / c = mean + ε/c: both forms divide by the mean, with an ε of their own
        self.channel_epsilon = epsilon if released else epsilon / channels
        self.alpha = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def embedding(self, x: Tensor) -> Tensor:
        """How large each channel is, times its α: s."""
        check_features(x, self.channels)
        if self.norm == "l1":
            size = x.sum(dim=(2, 3)) if self.after_relu else vector_norm(x, 1, dim=(2, 3))  # b c h w -> b c
            return self.alpha * size
        # the square of a norm, and not x.square().sum(), which would make a copy of x
        return self.alpha * (vector_norm(x, dim=(2, 3)).square() + self.epsilon).sqrt()  # b c h w -> b c

    def normalised(self, s: Tensor) -> Tensor:
        """How large each channel is in comparison with all channels of its image: ŝ."""
        if self.norm == "l1":
            return s / (s.abs().mean(dim=1, keepdim=True) + self.channel_epsilon)
        return s / (s.square().mean(dim=1, keepdim=True) + self.channel_epsilon).sqrt()

    def attention(self, x: Tensor) -> Tensor:
        s = self.embedding(x)
        gates = 1 + torch.tanh(self.gamma * self.normalised(s) + self.beta)
        return gates[:, :, None, None]  # b c -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
