"""Global Second-order Pooling Convolutional Networks.

Zilin Gao, Jiangtao Xie, Qilong Wang, Peihua Li, CVPR 2019, arXiv 1811.12006, section 3.2.
Lesson: notebooks/04_richer_squeeze.ipynb
"""

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from course_lib.checks import check_features


class SecondOrderPooling(nn.Module):
    """Describe the image by which channels occur together, their covariance, and gate each channel by that.

        V = ReLU(BN(W₀ ReLU(x)))    Σ = (V − V̄)(V − V̄)ᵀ / n    s = σ(W · δ(RC(BN(Σ))))    y_c = s_c · x_c

    W₀ reduces c channels to d, V̄ is the mean over the n = h·w positions, and RC is the row-wise convolution: row i of
    Σ says how channel i goes with every other, and is read by four filters of its own; δ is a leaky ReLU of slope
    0.1. ``covariance`` is Σ, with 1/n (not 1/(n − 1)), as in the released code. BN before RC normalises each row.

    The released code has no δ: ``released=True``. Its first stage has a stride of 2 in W₀. Left out: its twin over
    positions, and the matrix square root at the end of GSoP-Net2.

    Args:
        channels: number of channels c.
        hidden: number of channels d of the covariance.
        stride: of W₀, 2 in the first stage of the released network.
        released: the released code, which has no δ.

    Shape:
        x: b c h w -> b c h w, for any h and w; the gates ``attention(x)``: b c 1 1, in (0, 1).
        ``covariance(x)``: b d d, symmetric, without negative eigenvalues, of rank at most min(d, n − 1).

    Learned: W₀ (d × c) and its BN, BN of the rows, RC (4d × d), W (c × 4d), with biases: cd + 13d + 4d² + 4dc + c
    in all. Weights start normal with variance 2 / fan-out; the block does not start as the identity.

    Raises:
        ValueError: if no reduced channel would be left, or the input does not fit.

    >>> import torch
    >>> SecondOrderPooling(6, hidden=3).covariance(torch.rand(2, 6, 4, 5)).shape
    torch.Size([2, 3, 3])
    """

    def __init__(self, channels: int, *, hidden: int = 128, stride: int = 1, released: bool = False):
        super().__init__()
        if hidden < 1:
            raise ValueError(f"hidden={hidden} leaves no channel for the covariance; use hidden >= 1")
        self.channels, self.released = channels, released
        self.reduce = nn.Sequential(nn.Conv2d(channels, hidden, 1, stride), nn.BatchNorm2d(hidden), nn.ReLU())
        self.norm = nn.BatchNorm1d(hidden)
        self.rows = nn.Conv1d(hidden, 4 * hidden, kernel_size=hidden, groups=hidden)
        self.excite = nn.Conv1d(4 * hidden, channels, 1)
        for layer in (self.reduce[0], self.rows, self.excite):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def covariance(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        v = self.reduce(x.relu()).flatten(2)  # b c h w -> b d n
        v = v - v.mean(dim=2, keepdim=True)
        return v @ v.mT / v.shape[2]  # b d n, b n d -> b d d

    def attention(self, x: Tensor) -> Tensor:
        rows = self.rows(self.norm(self.covariance(x)))  # b d d -> b 4d 1
        gates = self.excite(rows if self.released else leaky_relu(rows, 0.1)).sigmoid()  # b 4d 1 -> b c 1
        return gates[..., None]  # b c 1 -> b c 1 1

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)
