"""Compact Generalized Non-local Network (CGNL).

Kaiyu Yue, Ming Sun, Yuchen Yuan, Feng Zhou, Errui Ding, Fuxin Xu, NeurIPS 2018, arXiv 1810.13125, section 3.
Lesson: notebooks/11_cheaper_non_local.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features


class CompactNonLocal(nn.Module):
    """Relate every channel at every position to every other, which for a dot product needs but one number.

        vec(Y) = vec(θ) (vec(φ)ᵀ vec(g)) = s vec(θ)        Z = GN(W_z Y) + X

    θ, φ, g are the 1×1 convolutions ``query``, ``key``, ``value``, vec lays channels and positions in one row,
    and W_z is ``output``. The channels are cut into groups, each with its own s; W_z and the group norm GN keep
    to the same groups. The Gaussian kernel of section 3.3, a Taylor series of such products, is left out.

    GN does not see the scale of its input, so that of each s little more than its sign reaches Z (the ε of GN
    lets the rest through while W_z Y is small): lesson 11 measures it.

    Args:
        channels: number of channels c; θ, φ, g have c // 2.
        groups: number of groups, a divisor of c // 2 and of c.
        scaled: divide each s by the root of the number of its products, as the released code can (``use_scale``).

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b groups, the numbers s, of any size and sign.

    Learned: θ, φ, g (c/2 × c) and W_z (c × c/2 in groups) without bias, GN's scale and shift, which start at
    zero: the block starts as the identity. The released code draws the convolutions from N(0, 0.01²).

    Raises:
        ValueError: if the groups do not divide the channels, or the input does not fit.

    >>> import torch
    >>> x = torch.randn(2, 16, 5, 3)
    >>> CompactNonLocal(16, groups=4).attention(x).shape
    torch.Size([2, 4])
    """

    def __init__(self, channels: int, *, groups: int = 8, scaled: bool = False):
        super().__init__()
        inner = channels // 2
        if inner < 1:
            raise ValueError(f"channels={channels} leaves no channel inside the block; use channels >= 2")
        if groups < 1 or inner % groups or channels % groups:
            fits = [g for g in range(1, inner + 1) if inner % g == 0 and channels % g == 0]
            raise ValueError(f"groups={groups} does not divide channels={channels} and {inner}; use one of {fits}")
        self.channels, self.groups, self.scaled = channels, groups, scaled
        self.query = nn.Conv2d(channels, inner, 1, bias=False)
        self.key = nn.Conv2d(channels, inner, 1, bias=False)
        self.value = nn.Conv2d(channels, inner, 1, bias=False)
        self.output = nn.Conv2d(inner, channels, 1, groups=groups, bias=False)
        self.norm = nn.GroupNorm(groups, channels)
        nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        product = self.key(x) * self.value(x)
        product = product.unflatten(1, (self.groups, -1)).flatten(2)  # b c/2 h w -> b groups c'hw
        return product.sum(dim=2) / (product.shape[2] ** 0.5 if self.scaled else 1)

    def forward(self, x: Tensor) -> Tensor:
        s = self.attention(x)[:, :, None, None, None]
        y = s * self.query(x).unflatten(1, (self.groups, -1))  # b c/2 h w -> b groups c' h w
        return x + self.norm(self.output(y.flatten(1, 2)))
