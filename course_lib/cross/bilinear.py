"""Bilinear Attention Networks.

Jin-Hwa Kim, Jaehyun Jun, Byoung-Tak Zhang, NeurIPS 2018, arXiv 1805.07932, sections 3 and 4.
Lesson: notebooks/18_zoom_and_pairs.ipynb
"""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import check_mask, check_tokens


class BilinearAttention(nn.Module):
    """One softmax over all pairs of an image region and a question word, and a feature made of the pairs it picks.

        A_g = softmax_ij(Σ_k h_gk · δ(W_v v_i)_k · δ(W_q q_j)_k + b_g)          one map for each glimpse g
        f_g = Σ_ij A_gij · δ(V_g v_i) ⊙ δ(Q_g q_j)     q ← q + P_g f_g for every word, then the next glimpse

    δ is ReLU. ``attend_v`` and ``attend_q`` are W_v and W_q, ``h`` and ``h_bias`` are h and b; ``read_v[g]``,
    ``read_q[g]`` and ``project[g]`` are V_g, Q_g and P_g: what is read is not what was matched. One
    softmax over regions times one over words would be a map of rank one; this one is free of that. All maps come from
    the question as it was asked; only the reading sees the refined words. Left out: weight normalisation, dropout,
    and the classifier on Σ_words.

    Args:
        v_dim: length of a region's vector.
        q_dim: length of a word's vector.
        hidden: length of f.
        glimpses: number of maps g.
        rank: K, the numbers in which regions and words are matched; 3 · hidden, as in the paper, if not given.

    Shape:
        v: b v v_dim and q: b q q_dim -> the refined words, b q q_dim; ``attention(v, q)``: b g v q, sums to 1 over
        v and q together; ``attn_mask``: b v, True where there is a region: padded regions have weight 0.

    Learned: all matrices with biases, torch's default start, h and b from N(0, 1) as published (b shifts all pairs
    of a map alike, so that softmax ignores it and it never learns).

    Raises:
        ValueError: if an input or the mask does not fit, or the mask leaves a sample no region.

    >>> BilinearAttention(5, 4, 3, 2).attention(torch.zeros(1, 2, 5), torch.zeros(1, 2, 4))[0, 0].tolist()
    [[0.25, 0.25], [0.25, 0.25]]
    """

    def __init__(self, v_dim: int, q_dim: int, hidden: int, glimpses: int, *, rank: int | None = None):
        super().__init__()
        self.v_dim, self.q_dim = v_dim, q_dim
        rank = rank or 3 * hidden
        self.attend_v = nn.Linear(v_dim, rank)
        self.attend_q = nn.Linear(q_dim, rank)
        self.h = nn.Parameter(torch.randn(glimpses, rank))
        self.h_bias = nn.Parameter(torch.randn(glimpses))
        self.read_v = nn.ModuleList(nn.Linear(v_dim, hidden) for _ in range(glimpses))
        self.read_q = nn.ModuleList(nn.Linear(q_dim, hidden) for _ in range(glimpses))
        self.project = nn.ModuleList(nn.Linear(hidden, q_dim) for _ in range(glimpses))

    def attention(self, v: Tensor, q: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        check_tokens(v, self.v_dim)
        check_tokens(q, self.q_dim)
        if v.shape[0] != q.shape[0]:
            raise ValueError(f"{v.shape[0]} images and {q.shape[0]} questions; give one question for each image")
        regions, words = self.attend_v(v).relu(), self.attend_q(q).relu()  # b v k, b q k
        logits = (regions[:, None] * self.h[:, None]) @ words[:, None].mT  # b g v k, b 1 k q -> b g v q
        logits = logits + self.h_bias[:, None, None]
        if attn_mask is not None:
            check_mask(attn_mask, *v.shape[:2])
            logits = logits.masked_fill(~attn_mask[:, None, :, None], -math.inf)
        return logits.flatten(2).softmax(dim=2).view(logits.shape)  # one softmax over v and q

    def forward(self, v: Tensor, q: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        for g, pairs in enumerate(self.attention(v, q, attn_mask=attn_mask).unbind(1)):  # b v q
            regions, words = self.read_v[g](v).relu(), self.read_q[g](q).relu()  # b v k, b q k
            f = (regions * (pairs @ words)).sum(dim=1)  # b v q, b q k -> b v k -> b k
            q = q + self.project[g](f)[:, None]  # b 1 q_dim, the same for every word
        return q
