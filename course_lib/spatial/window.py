"""The two products of every local attention, k × k shifts instead of k × k copies.

Unfolding the windows of an image copies each number k² times, forward and backward. A shifted view copies nothing,
so both products loop over the taps of the window, t = 1 … k², row by row, and so do their gradients.
``padded`` is an image with a border of (k − 1)/2 on each side; what stands in the border is the caller's choice.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def taps(padded: Tensor, height: int, width: int) -> Iterator[Tensor]:
    """The k² shifted views of size height × width: ... H W -> ... h w, k = H − h + 1, the upper left one first."""
    for row in range(padded.shape[-2] - height + 1):
        for column in range(padded.shape[-1] - width + 1):
            yield padded[..., row : row + height, column : column + width]


def border(length: int, kernel_size: int, like: Tensor) -> Tensor:
    """To be added to scores: 0 where a step of the window stays on an axis, −∞ where it leaves it. -> k length"""
    return F.pad(like.new_zeros(length), [kernel_size // 2] * 2, value=-torch.inf).unfold(0, length, 1)


def compare(query: Tensor, padded: Tensor) -> Tensor:
    """Dot product of each query with every key of its window: b s d h w, b s d H W -> t b s h w."""
    return Compare.apply(query, padded)


def collect(weights: Tensor, padded: Tensor) -> Tensor:
    """Weighted sum of the values in each window: t b s h w, b s d H W -> b s d h w."""
    return Collect.apply(weights, padded.to(weights.dtype))


class Compare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, query: Tensor, padded: Tensor) -> Tensor:
        ctx.save_for_backward(query, padded)
        return dot(query, padded)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        query, padded = ctx.saved_tensors
        return Collect.apply(gradient, padded), Spread.apply(gradient, query, padded.shape)


class Collect(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weights: Tensor, padded: Tensor) -> Tensor:
        ctx.save_for_backward(weights, padded)
        return gather(weights, padded)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        weights, padded = ctx.saved_tensors
        return Compare.apply(gradient, padded), Spread.apply(weights, gradient, padded.shape)


class Spread(torch.autograd.Function):
    """The way back of both. Its own way back is made of them, so that derivatives of any order exist."""

    @staticmethod
    def forward(ctx, weights: Tensor, source: Tensor, shape: torch.Size) -> Tensor:
        ctx.save_for_backward(weights, source)
        return scatter(weights, source, shape)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        weights, source = ctx.saved_tensors
        return Compare.apply(source, gradient), Collect.apply(weights, gradient), None


def dot(query: Tensor, padded: Tensor) -> Tensor:
    """scores_t = Σ_d query · tap_t"""
    views, product = list(taps(padded, *query.shape[-2:])), torch.empty_like(query)
    scores = query.new_empty(len(views), *product[:, :, 0].shape)
    for score, tap in zip(scores, views, strict=True):
        torch.sum(torch.mul(query, tap, out=product), dim=2, out=score)  # one product in memory, not k²
    return scores


def gather(weights: Tensor, padded: Tensor) -> Tensor:
    """Σ_t weights_t · tap_t"""
    total = padded.new_zeros(*padded.shape[:3], *weights.shape[-2:])
    for weight, tap in zip(weights, taps(padded, *weights.shape[-2:]), strict=True):
        total.addcmul_(weight.unsqueeze(2), tap)
    return total


def scatter(weights: Tensor, source: Tensor, shape: torch.Size) -> Tensor:
    """The way back of a gather: tap_t += weights_t · source, for every tap of an empty image."""
    total = source.new_zeros(shape)
    for weight, tap in zip(weights, taps(total, *weights.shape[-2:]), strict=True):
        tap.addcmul_(weight.unsqueeze(2), source)
    return total
