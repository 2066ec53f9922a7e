"""BAM: Bottleneck Attention Module.

Jongchan Park, Sanghyun Woo, Joon-Young Lee, In So Kweon, BMVC 2018, arXiv 1807.06514, section 3.
Lesson: notebooks/15_channel_and_spatial.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features, hidden_width


class BAM(nn.Module):
    """Ask "which channel?" and "which place?" side by side, join the two answers, and amplify what both favour.

        M = σ(M_c + M_s)    y = x + x · M
        M_c = BN(W₁ δ(BN(W₀ mean_hw x)))    M_s = BN(f₃¹ˣ¹(f₂³ˣ³(f₁³ˣ³(f₀¹ˣ¹(x)))))    f₀ f₁ f₂ followed by BN and δ

    ``M_c`` is ``what``, ``M_s`` is ``where``; δ is ReLU, and the two 3×3 convolutions are dilated, so that a place
    is judged by the 17×17 places around it. The gate 1 + M lies in (1, 2): BAM amplifies, it never suppresses.
    The released code (and so the released weights) multiplies the logits, ``combine="product"``, and ends the
    branches without a BatchNorm: ``released=True`` does both. The product of two numbers near zero has almost no
    gradient and a free sign. The code also pools with the height for both sides: of a map that is not square it sees
    a part, or fails; ours sees all of it.

    Args:
        channels: number of channels c.
        reduction: how many times fewer channels inside both branches (the paper's r).
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.
        dilation: dilation of the two 3×3 convolutions (the paper's d).
        combine: "sum" as in the paper, or "product" as in the released code; None follows ``released``.
        released: the released code: the product, and no BatchNorm at the end of the branches.

    Shape:
        x: b c h w -> b c h w, for any h and w; the logits ``channel(x)``: b c 1 1 and ``spatial(x)``: b 1 h w;
        the gate ``attention(x)`` = 1 + M: b c h w, in (1, 2).

    Learned: both branches, all layers with biases as in the released code (those in front of a BatchNorm do
    nothing in training: their mean is removed), torch's default start; the released gate starts near 1.5. In
    training mode the BatchNorm of ``what`` needs at least two samples.

    Raises:
        ValueError: if no hidden channel would be left, ``combine`` is neither, or the input does not fit.

    >>> import torch
    >>> BAM(8, reduction=2).eval().attention(torch.ones(1, 8, 5, 3)).shape
    torch.Size([1, 8, 5, 3])
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden: int | None = None,
        dilation: int = 4,
        combine: str | None = None,
        released: bool = False,
    ):
        super().__init__()
        combine = combine or ("product" if released else "sum")
        if combine not in ("sum", "product"):
            raise ValueError(
                f"combine={combine!r} is unknown; use 'sum' (the paper) or 'product' (the released code)"
            )
        self.channels, self.combine = channels, combine
        hidden = hidden_width(channels, reduction, hidden)
        self.what = nn.Sequential(
            nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        layers = [nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.ReLU()]
        for _ in range(2):
            dilated = nn.Conv2d(hidden, hidden, 3, padding=dilation, dilation=dilation)
            layers += [dilated, nn.BatchNorm2d(hidden), nn.ReLU()]
        self.where = nn.Sequential(*layers, nn.Conv2d(hidden, 1, 1))
        if not released:
            self.what.append(nn.BatchNorm1d(channels))
            self.where.append(nn.BatchNorm2d(1))

    def channel(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        return self.what(x.mean(dim=(2, 3)))[:, :, None, None]  # b c h w -> b c -> b c 1 1

    def spatial(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        return self.where(x)  # b c h w -> b 1 h w

    def attention(self, x: Tensor) -> Tensor:
        channel, spatial = self.channel(x), self.spatial(x)
        logits = channel + spatial if self.combine == "sum" else channel * spatial  # b c h w
        return 1 + logits.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
