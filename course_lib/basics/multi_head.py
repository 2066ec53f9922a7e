"""Multi-head attention.

Ashish Vaswani et al., Attention Is All You Need, NeurIPS 2017, arXiv 1706.03762, section 3.2.2.
Lesson: notebooks/01_addressing.ipynb
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.basics.addressing import masked_softmax
from course_lib.checks import check_tokens


class MultiHeadAttention(nn.Module):
    """Several small look-ups side by side, each with its own idea of what fits.

        A_i = softmax(Q_i K_iᵀ / √d)    head_i = A_i V_i    output = [head_1 … head_s] W_O,    d = c / s

    ``Q_i`` are the columns of head i of ``x W_Q``, and so on. One head returns one mixture of the values for each
    query; s heads return s of them. The same numbers as ``nn.MultiheadAttention`` with the same weights, but a
    mask of True means "may attend" here and "must not" there.

    Args:
        embed_dim: length c of every token.
        num_heads: number of heads s; it must divide c.
        kdim, vdim: length of a token of the memory, and of one of ``values``; c if not given.

    Shape:
        x: b n c, memory: b m kdim (x itself if not given) and values: b m vdim (the memory if not given) -> b n c;
        ``attention(x)``: b s n m, sums to 1 over m; attn_mask: anything that broadcasts to b s n m, booleans with
        True = may attend, or numbers that are added to the scores Q Kᵀ / √d.

    Learned: ``W_Q, W_K, W_V, W_O`` with biases, 4c² + 4c numbers whatever s is, torch's default start.

    Raises:
        ValueError: if the heads do not divide the tokens' length, or an input or the mask does not fit.

    >>> import torch
    >>> MultiHeadAttention(6, num_heads=2).attention(torch.zeros(1, 4, 6))[0, 0, 0].tolist()
    [0.25, 0.25, 0.25, 0.25]
    """

    def __init__(self, embed_dim: int, num_heads: int, *, kdim: int | None = None, vdim: int | None = None):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide embed_dim={embed_dim}; choose a divisor")
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(kdim or embed_dim, embed_dim)
        self.value = nn.Linear(vdim or embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)

    def attention(self, x: Tensor, memory: Tensor | None = None, *, attn_mask: Tensor | None = None) -> Tensor:
        memory = self._check(x, memory, attn_mask)
        query, key = self._split(self.query(x)), self._split(self.key(memory))  # b s n d, b s m d
        scores = query @ key.mT / math.sqrt(query.shape[-1])  # b s n m
        if attn_mask is not None and attn_mask.dtype != torch.bool:
            scores, attn_mask = scores + attn_mask, attn_mask > -math.inf
        return masked_softmax(scores, attn_mask)

    def forward(
        self,
        x: Tensor,
        memory: Tensor | None = None,
        *,
        values: Tensor | None = None,
        attn_mask: Tensor | None = None,
    ) -> Tensor:
        memory = self._check(x, memory, attn_mask)
        values = memory if values is None else values
        check_tokens(values, self.value.in_features)
        if values.shape[:2] != memory.shape[:2]:
            raise ValueError(
                f"{tuple(memory.shape[:2])} keys and {tuple(values.shape[:2])} values; give one for each"
            )
        query, key, value = self.query(x), self.key(memory), self.value(values)
        heads = F.scaled_dot_product_attention(*map(self._split, (query, key, value)), attn_mask=attn_mask)
        return self.output(heads.transpose(1, 2).flatten(2))  # b s n d -> b n s d -> b n c

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # b n c -> b n s d -> b s n d

    def _check(self, x: Tensor, memory: Tensor | None, attn_mask: Tensor | None) -> Tensor:
        """The memory, which is x where none is given."""
        memory = x if memory is None else memory
        check_tokens(x, self.embed_dim)
        check_tokens(memory, self.key.in_features)
        if memory.shape[0] != x.shape[0]:
            raise ValueError(
                f"memory has {memory.shape[0]} samples and x {x.shape[0]}; give one memory for each sample"
            )
        if attn_mask is not None and attn_mask.dtype not in (torch.bool, x.dtype):
            raise ValueError(
                f"attn_mask has dtype {attn_mask.dtype}; give booleans, True = may attend (attn_mask.bool()), or "
                f"numbers of dtype {x.dtype} to add to the scores"
            )
        return memory
