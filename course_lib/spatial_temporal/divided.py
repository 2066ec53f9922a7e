"""TimeSformer: Is Space-Time Attention All You Need for Video Understanding?

Gedas Bertasius, Heng Wang, Lorenzo Torresani, ICML 2021, arXiv 2102.05095, section 3.
Lesson: notebooks/17_time.ipynb
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import check_features


class DividedSpaceTime(nn.Module):
    """First every place asks itself at other times, then every place asks the other places of its own frame.

        z' = z + W_T MHA_time(LN(z))    y = z' + MHA_space(LN(z'))    MHA(u) = W_O softmax(Q Kᵀ / √d) V

    Two small look-ups, t + n comparisons for each of the t · n tokens, in place of one large one with t · n; after
    both, every token has heard of every other. W_T is ``time_gate``; it starts at zero, so that the block starts as
    the image block it was taken from, applied to each frame. Left out: the class token and the MLP that ends the
    published block.

    Args:
        channels: number of channels c.
        num_heads: number of heads s; it must divide c, d = c / s.

    Shape:
        x: b c t h w -> b c t h w; ``attention(x)``: the time map b s n t t and the space map b s t n n with n = h·w,
        both sum to 1 over the last axis.

    Learned: LN, the packed q, k, v and W_O of each half, torch's default start, and W_T, which starts at zero
    (weight and bias): the time half gets its first gradient only after the first step. 9c² + 13c numbers.

    Raises:
        ValueError: if the heads do not divide the channels, or the input does not fit.

    >>> import torch
    >>> time, space = DividedSpaceTime(4, 2).attention(torch.zeros(1, 4, 3, 2, 2))
    >>> time.shape, space.shape
    (torch.Size([1, 2, 4, 3, 3]), torch.Size([1, 2, 3, 4, 4]))
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide channels={channels}; choose a divisor")
        self.channels, self.num_heads = channels, num_heads
        self.time_norm = nn.LayerNorm(channels, eps=1e-6)
        self.time_qkv = nn.Linear(channels, 3 * channels)
        self.time_output = nn.Linear(channels, channels)
        self.time_gate = nn.Linear(channels, channels)
        nn.init.zeros_(self.time_gate.weight)
        nn.init.zeros_(self.time_gate.bias)
        self.space_norm = nn.LayerNorm(channels, eps=1e-6)
        self.space_qkv = nn.Linear(channels, 3 * channels)
        self.space_output = nn.Linear(channels, channels)

    def over_time(self, x: Tensor) -> Tensor:
        """The time half. Shape: x: b c t h w -> b c t h w."""
        check_features(x, self.channels, dims=3)
        heads = self._split(self.time_qkv(self._time_tokens(x)))
        read = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)  # bn s t d -> bn t c
        b, c, t, h, w = x.shape
        return x + self.time_gate(self.time_output(read)).view(b, h, w, t, c).permute(0, 4, 3, 1, 2)  # -> b c t h w

    def over_space(self, x: Tensor) -> Tensor:
        """The space half. Shape: x: b c t h w -> b c t h w."""
        check_features(x, self.channels, dims=3)
        heads = self._split(self.space_qkv(self._space_tokens(x)))
        read = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)  # bt s n d -> bt n c
        b, c, t, h, w = x.shape
        return x + self.space_output(read).view(b, t, h, w, c).permute(0, 4, 1, 2, 3)  # -> b c t h w

    def attention(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_features(x, self.channels, dims=3)
        maps = []
        for qkv, batch in (
            (self.time_qkv(self._time_tokens(x)), x.shape[3] * x.shape[4]),
            (self.space_qkv(self._space_tokens(self.over_time(x))), x.shape[2]),
        ):
            query, key, _ = self._split(qkv)
            weights = (query @ key.mT / math.sqrt(query.shape[3])).softmax(dim=3)
            maps.append(weights.view(x.shape[0], batch, *weights.shape[1:]).transpose(1, 2))  # b s n t t, b s t n n
        return tuple(maps)

    def forward(self, x: Tensor) -> Tensor:
        return self.over_space(self.over_time(x))

    def _time_tokens(self, x: Tensor) -> Tensor:
        return self.time_norm(x.permute(0, 3, 4, 2, 1)).flatten(0, 2)  # b c t h w -> b h w t c -> bn t c

    def _space_tokens(self, x: Tensor) -> Tensor:
        return self.space_norm(x.permute(0, 2, 3, 4, 1)).flatten(2, 3).flatten(0, 1)  # -> b t h w c -> bt n c

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)  # B l 3c -> 3 B s l d
        return heads.contiguous().unbind(0)
