"""Multi-head attention.

Ashish Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, section 3.2.2.
Lesson: notebooks/01_addressing.ipynb
"""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.basics.addressing import masked_softmax


class MultiHeadAttention(nn.Module):
    """Several small look-ups side by side, each with its own idea of what fits.

        A_i = softmax(Q_i K_iᵀ / √d)    head_i = A_i V_i    output = [head_1 … head_s] W_O,    d = c / s

    ``Q_i`` are the columns of head i of ``x W_Q``, and so on. One head returns one mixture of the values for each
    query; s heads return s of them. The same numbers as ``nn.MultiheadAttention`` with the same weights, but a
    mask of True means "may attend" here and "must not" there.

    Args:
        channels: length c of every token.
        num_heads: number of heads s; it must divide c.

    Shape:
        x: b n c and memory: b m c (x itself if not given) -> b n c; ``attention(x)``: b s n m, sums to 1 over m;
        mask: anything that broadcasts to b s n m.

    Learned: ``W_Q, W_K, W_V, W_O`` with biases, 4c² + 4c numbers whatever s is, torch's default start.

    Raises:
        ValueError: if the heads do not divide the channels, or the input does not fit.

    >>> import torch
    >>> MultiHeadAttention(6, num_heads=2).attention(torch.zeros(1, 4, 6))[0, 0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide channels={channels}; choose a divisor")
        self.channels = channels
        self.num_heads = num_heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def attention(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        memory = self._check(x) if memory is None else self._check(memory)
        query, key = self._split(self.query(x)), self._split(self.key(memory))  # b s n d, b s m d
        return masked_softmax(query @ key.mT / math.sqrt(query.shape[-1]), mask)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        memory = self._check(x) if memory is None else self._check(memory)
        query, key, value = self.query(x), self.key(memory), self.value(memory)
        heads = F.scaled_dot_product_attention(*map(self._split, (query, key, value)), attn_mask=mask)
        return self.output(heads.transpose(1, 2).flatten(2))  # b s n d -> b n s d -> b n c

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # b n c -> b n s d -> b s n d

    def _check(self, tokens: Tensor) -> Tensor:
        if tokens.ndim != 3 or tokens.shape[2] != self.channels or not tokens.is_floating_point():
            raise ValueError(
                f"tokens have shape {tuple(tokens.shape)} and dtype {tokens.dtype}; "
                f"give floating-point tokens b n c with c={self.channels}"
            )
        return tokens
