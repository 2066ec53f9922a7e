"""DANet: Dual Attention Network for Scene Segmentation.

Jun Fu, Jing Liu, Haijie Tian, Yong Li, Yongjun Bao, Zhiwei Fang, Hanqing Lu, CVPR 2019, arXiv 1809.02983, section 3.
Lesson: notebooks/15_channel_and_spatial.ipynb
"""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from course_lib.checks import check_features, hidden_width


class PositionAttention(nn.Module):
    """Every position reads from all positions that look like it, wherever they are.

        S_ij = softmax_j(B_i · C_j)    y_i = α Σ_j S_ij D_j + x_i

    The paper's B, C and D are ``query``, ``key`` and ``value``, 1×1 convolutions of x; α is ``gamma``. The scores
    are not divided by √d. ``forward`` takes 256 rows of S at a time and computes them again for the backward pass:
    the n × n map never exists, and what fits the cache is faster. (Query and key are narrower than the values, and
    the fused kernels of torch want them equal.)

    Args:
        channels: number of channels c.
        reduction: how many times narrower query and key are.
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b n n with n = h·w, sums to 1 over the last axis, the positions read.

    Learned: the three convolutions with biases, torch's default start, and ``gamma``, which starts at 0: the block
    starts as the identity, and only ``gamma`` has a gradient in the first step.

    Raises:
        ValueError: if query and key would have no channel, or the input does not fit.

    >>> PositionAttention(8).attention(torch.zeros(1, 8, 2, 2))[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, channels: int, *, reduction: int = 8, hidden: int | None = None):
        super().__init__()
        self.channels, hidden = channels, hidden_width(channels, reduction, hidden)
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        query, key = self.query(x).flatten(2), self.key(x).flatten(2)  # b c h w -> b d n
        return (query.mT @ key).softmax(dim=2)  # b n n

    def forward(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        query, key, value = (f(x).flatten(2).mT.contiguous() for f in (self.query, self.key, self.value))  # b n d
        rows = [
            checkpoint(self._read, some, key, value, use_reentrant=False, preserve_rng_state=False)
            for some in query.split(256, dim=1)
        ]
        return self.gamma * torch.cat(rows, dim=1).mT.reshape(x.shape) + x  # b n c -> b c h w

    @staticmethod
    def _read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return (query @ key.mT).softmax(dim=2) @ value  # b m d, b d n, b n c -> b m c


class ChannelAttention(nn.Module):
    """Every channel becomes a mixture of the channels that fire where it fires.

        X_ij = softmax_j(A_i · A_j)    y_i = β Σ_j X_ij A_j + A_i

    A_i is channel i of x as one long vector; β is ``gamma``. There are no projections: what "similar" means cannot be
    learned. The scores are sums over all positions, so the diagonal wins and the paper's formula is close to
    (1 + β) x. The released code takes softmax_j(max_k E_ik − E_ij) of the scores E, which is softmax(−E): a channel
    reads the channels *least* like it. ``released=True`` does that.

    Args:
        released: the sign of the released code; False is the formula of the paper.

    Shape:
        x: b c h w -> b c h w, for any c; ``attention(x)``: b c c, sums to 1 over the last axis, the channels read.

    Learned: ``gamma``, one number, which starts at 0: the block starts as the identity.

    Raises:
        ValueError: if the input does not fit.

    >>> ChannelAttention().attention(torch.zeros(1, 4, 3, 2))[0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, *, released: bool = False):
        super().__init__()
        self.released = released
        self.gamma = nn.Parameter(torch.zeros(1))

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, None)
        channels = x.flatten(2)  # b c h w -> b c n
        energy = channels @ channels.mT  # b c c
        return (-energy if self.released else energy).softmax(dim=2)

    def forward(self, x: Tensor) -> Tensor:
        read = self.attention(x) @ x.flatten(2)  # b c c, b c n -> b c n
        return self.gamma * read.view(x.shape) + x


class DualAttention(nn.Module):
    """Let positions read from positions and channels from channels, and add the two results.

        y = PositionAttention(x) + ChannelAttention(x)

    Left out of the published head: a 3×3 convolution with BatchNorm and ReLU before and after each branch, and the
    three classifiers. Both branches carry x, so the module starts as 2x.

    Args:
        channels: number of channels c.
        reduction, hidden: width of query and key of the position branch, as there.
        released: the channel branch with the sign of the released code.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b n n and b c c, both sum to 1 over the last axis.

    Learned: see the two branches, ``position`` and ``channel``.

    Raises:
        ValueError: as the two branches do.

    >>> DualAttention(8)(torch.ones(1, 8, 2, 2)).unique().tolist()
    [2.0]
    """

    def __init__(self, channels: int, *, reduction: int = 8, hidden: int | None = None, released: bool = False):
        super().__init__()
        self.position = PositionAttention(channels, reduction=reduction, hidden=hidden)
        self.channel = ChannelAttention(released=released)

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.position.attention(x), self.channel.attention(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.position(x) + self.channel(x)
