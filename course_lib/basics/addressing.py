"""Looking something up by content: scores, weights, reading.

Dzmitry Bahdanau, Kyunghyun Cho, Yoshua Bengio, ICLR 2015, arXiv 1409.0473 (additive score);
Minh-Thang Luong, Hieu Pham, Christopher Manning, EMNLP 2015, arXiv 1508.04025 (dot and bilinear score);
Ashish Vaswani et al., NeurIPS 2017, arXiv 1706.03762, section 3.2.1 (scaled dot product).
Lesson: notebooks/01_addressing.ipynb
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def dot_score(query: Tensor, key: Tensor) -> Tensor:
    """How far query and key point the same way: ``s_ij = q_i · k_j``.

    Shape: query: … n d, key: … m d -> … n m.
    """
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            f"query has {query.shape[-1]} entries and key {key.shape[-1]}; "
            "make them equal, or use BilinearScore or AdditiveScore"
        )
    return query @ key.mT


def scaled_dot_score(query: Tensor, key: Tensor) -> Tensor:
    """The dot product, divided so that its size does not grow with d: ``s_ij = q_i · k_j / √d``.

    Shape: query: … n d, key: … m d -> … n m.
    """
    return dot_score(query, key) / math.sqrt(query.shape[-1])


def gaussian_score(query: Tensor, key: Tensor, *, bandwidth: float = 1.0) -> Tensor:
    """How near the key is: ``s_ij = −‖q_i − k_j‖² / 2σ²``; its softmax is Nadaraya–Watson kernel regression.

    Computed as ``q·k − ‖q‖²/2 − ‖k‖²/2``, which needs no … n m d tensor of differences.

    Shape: query: … n d, key: … m d -> … n m.
    """
    lengths = query.square().sum(-1)[..., :, None] + key.square().sum(-1)[..., None, :]  # … n m
    return (dot_score(query, key) - lengths / 2) / bandwidth**2


class BilinearScore(nn.Module):
    """A learned dot product between entries of different kinds: ``s_ij = q_iᵀ W k_j`` (Luong's "general").

    Args:
        query_dim: length of a query.
        key_dim: length of a key.

    Shape:
        query: … n query_dim, key: … m key_dim -> … n m.

    Learned: ``W`` (query_dim × key_dim), uniform in ±1/√key_dim at the start.
    """

    def __init__(self, query_dim: int, key_dim: int):
        super().__init__()
        self.project = nn.Linear(key_dim, query_dim, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return dot_score(query, self.project(key))


class AdditiveScore(nn.Module):
    """A small network looks at each pair: ``s_ij = wᵀ tanh(W_q q_i + W_k k_j)`` (Bahdanau).

    Args:
        query_dim: length of a query.
        key_dim: length of a key.
        hidden: number of hidden units.

    Shape:
        query: … n query_dim, key: … m key_dim -> … n m, through a tensor … n m hidden.

    Learned: ``W_q``, ``W_k``, ``w``, without biases: hidden · (query_dim + key_dim + 1) numbers.
    """

    def __init__(self, query_dim: int, key_dim: int, hidden: int):
        super().__init__()
        self.query = nn.Linear(query_dim, hidden, bias=False)
        self.key = nn.Linear(key_dim, hidden, bias=False)
        self.score = nn.Linear(hidden, 1, bias=False)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        pairs = self.query(query)[..., :, None, :] + self.key(key)[..., None, :, :]  # … n m hidden
        return self.score(pairs.tanh()).squeeze(-1)  # … n m 1 -> … n m


def masked_softmax(scores: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """Weights over the keys that may be seen: ≥ 0, summing to 1 over the last axis.

        α_ij = exp(s_ij) / Σ_k exp(s_ik),  over the keys j and k that query i may attend to

    A query that may see no key gets weights of zero, and gradients of zero: nothing is read.

    Args:
        scores: any real numbers.
        attn_mask: True = may attend, as in ``scaled_dot_product_attention`` (``nn.MultiheadAttention`` means the
            opposite). Broadcasts to the shape of the scores.

    Shape:
        scores: … n m -> … n m.
    """
    if attn_mask is None:
        return scores.softmax(dim=-1)
    if attn_mask.dtype != torch.bool:
        raise ValueError(f"attn_mask has dtype {attn_mask.dtype}; give booleans, True = may attend (mask.bool())")
    lowest = torch.finfo(scores.dtype).min  # −inf would make a NaN of a fully masked row, which debuggers report
    return scores.masked_fill(~attn_mask, lowest).softmax(dim=-1).masked_fill(~attn_mask, 0.0)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    score: Callable[[Tensor, Tensor], Tensor] = scaled_dot_score,
    attn_mask: Tensor | None = None,
) -> Tensor:
    """Compare the query with every key, and return the values mixed by how well their keys fit.

        α = softmax_j(score(q_i, k_j))    o_i = Σ_j α_ij v_j

    Args:
        query, key, value: what is sought, what it is compared with, what is returned.
        score: any function of query and key that gives … n m scores.
        attn_mask: True = may attend; broadcasts to … n m.

    Shape:
        query: … n d, key: … m d, value: … m v -> … n v.

    Raises:
        ValueError: if there are not as many keys as values, or queries do not fit the keys.

    >>> key, value = 30 * torch.eye(3), torch.tensor([[1.0], [2.0], [3.0]])
    >>> attend(key[1:2], key, value).round()
    tensor([[2.]])
    """
    if key.shape[-2] != value.shape[-2]:
        raise ValueError(f"{key.shape[-2]} keys and {value.shape[-2]} values; every key needs its value")
    return masked_softmax(score(query, key), attn_mask) @ value
