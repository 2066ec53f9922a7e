"""Temporal attention: weights for frames, and self-attention over frames.

Frame weights: Li Yao et al., Describing Videos by Exploiting Temporal Structure, ICCV 2015, arXiv 1502.08029, section
3.2 (here without the query of a decoder). Self-attention: Ashish Vaswani et al., Attention Is All You Need, NeurIPS
2017, arXiv 1706.03762, section 3.2, with frames as the tokens.
Lesson: notebooks/17_time.ipynb
"""

import math

import torch
from torch import Tensor, nn

from course_lib.checks import check_features, check_mask


class FramePooling(nn.Module):
    """Give every frame a weight by what it shows, and average the frames with these weights.

        h_t = mean_hw x_t    e_t = wᵀ tanh(W h_t + b)    α = softmax_t(e)    y = Σ_t α_t x_t

    W and b are ``embed``, w is ``score``. The mean of y over its positions is the papers' Σ_t α_t h_t; keeping the
    positions costs nothing. The frames are judged one by one, so their order does not matter.

    Args:
        channels: number of channels c.
        hidden: rows of W (the papers' m); c if not given.

    Shape:
        x: b c t h w -> b c h w; ``attention(x)``: b t, sums to 1 over t; ``attn_mask``: b t, True where there is a
        frame and False where a shorter clip is padded: padding has weight 0 and must be finite.

    Learned: W, b and w, torch's default start, so that the weights start nearly equal.

    Raises:
        ValueError: if the input or the mask does not fit, or the mask leaves a clip no frame.

    >>> FramePooling(3).attention(torch.ones(1, 3, 4, 5, 5)).tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """

    def __init__(self, channels: int, *, hidden: int | None = None):
        super().__init__()
        self.channels = channels
        self.embed = nn.Linear(channels, hidden or channels)
        self.score = nn.Linear(hidden or channels, 1, bias=False)

    def attention(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        check_features(x, self.channels, dims=3)
        frames = x.mean(dim=(3, 4)).mT  # b c t h w -> b t c
        scores = self.score(self.embed(frames).tanh())[:, :, 0]  # b t c -> b t
        if attn_mask is not None:
            check_mask(attn_mask, x.shape[0], x.shape[2])
            scores = scores.masked_fill(~attn_mask, -math.inf)
        return scores.softmax(dim=1)

    def forward(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        return torch.einsum("bt,bcthw->bchw", self.attention(x, attn_mask=attn_mask), x)


class TemporalSelfAttention(nn.Module):
    """Let every frame ask all frames, and add to each what it was told.

        A = softmax(Q Kᵀ / √d)    y = x + W_O (A V)    Q, K from the frames' means, V from every position

    Frames are matched as wholes, by their means over h and w, and each position reads the same position of the
    other frames; on frame vectors (h = w = 1) this is multi-head self-attention over time. Nothing in it knows the
    order of the frames: add a time embedding to x where order counts.

    Args:
        channels: number of channels c.
        num_heads: number of heads s; it must divide c, d = c / s.

    Shape:
        x: b c t h w -> b c t h w; ``attention(x)``: b s t t, sums to 1 over the last axis, the frames read;
        ``attn_mask``: b t, True where there is a frame: padded frames are read by none.

    Learned: ``query``, ``key``, ``value`` and ``output``, 4c² + 4c numbers, torch's default start.

    Raises:
        ValueError: if the heads do not divide the channels, the input or the mask does not fit, or the mask leaves
            a clip no frame.

    >>> TemporalSelfAttention(4, 2).attention(torch.ones(1, 4, 2, 3, 3))[0, 0].tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    def __init__(self, channels: int, num_heads: int):
        super().__init__()
        if num_heads < 1 or channels % num_heads:
            raise ValueError(f"num_heads={num_heads} does not divide channels={channels}; choose a divisor")
        self.channels, self.num_heads = channels, num_heads
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)

    def attention(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        check_features(x, self.channels, dims=3)
        frames = x.mean(dim=(3, 4)).mT  # b c t h w -> b t c
        query, key = (f(frames).unflatten(2, (self.num_heads, -1)).transpose(1, 2) for f in (self.query, self.key))
        scores = query @ key.mT / math.sqrt(query.shape[3])  # b s t d -> b s t t
        if attn_mask is not None:
            check_mask(attn_mask, x.shape[0], x.shape[2])
            scores = scores.masked_fill(~attn_mask[:, None, None], -math.inf)
        return scores.softmax(dim=3)

    def forward(self, x: Tensor, *, attn_mask: Tensor | None = None) -> Tensor:
        attention = self.attention(x, attn_mask=attn_mask)
        value = self.value(x.movedim(1, 4)).unflatten(4, (self.num_heads, -1))  # b c t h w -> b t h w s d
        read = torch.einsum("bsij,bjhwsd->bihwsd", attention, value).flatten(4)  # b t h w c
        return x + self.output(read).movedim(4, 1)  # b t h w c -> b c t h w
