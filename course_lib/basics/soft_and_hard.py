"""Reading a memory softly, by averaging, or hard, by picking one place; and how to train the second.

Kelvin Xu et al., ICML 2015, arXiv 1502.03044, section 4 (soft and hard attention);
Ronald Williams, Machine Learning 8, 1992, no arXiv (REINFORCE);
Eric Jang, Shixiang Gu, Ben Poole, ICLR 2017, arXiv 1611.01144 (Gumbel-softmax);
Yoshua Bengio, Nicholas Léonard, Aaron Courville, 2013, arXiv 1308.3432 (straight-through).
Lesson: notebooks/02_soft_and_hard.ipynb
"""

from typing import NamedTuple

import torch
from torch import Generator, Tensor


def check_memory(scores: Tensor, values: Tensor, temperature: float = 1.0) -> None:
    if scores.ndim < 1 or scores.shape != values.shape[:-1] or scores.shape[-1] == 0:
        raise ValueError(
            f"scores of shape {tuple(scores.shape)} and values of shape {tuple(values.shape)} do not fit; "
            "give … n and … n d, with n of 1 or more"
        )
    if temperature <= 0:
        raise ValueError(f"temperature={temperature} must be above 0; for the limit 0 use hard_read(sample=False)")


def blend(weights: Tensor, values: Tensor) -> Tensor:
    """Mean of the values under the weights. Shape: weights: … n, values: … n d -> … d."""
    return (weights[..., None, :] @ values).squeeze(-2)


def soft_read(scores: Tensor, values: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Read everywhere a little: the expected value under α = softmax(e/τ).

        r = Σ_n α_n v_n        ∂r/∂e_n = α_n (v_n − r)/τ

    A small τ picks the best slot, a large one averages them all. A slot of weight 0 gets no gradient.

    Shape: scores: … n, values: … n d -> … d.

    >>> soft_read(torch.zeros(2), torch.tensor([[1.0], [3.0]])).item()
    2.0
    """
    check_memory(scores, values, temperature)
    return blend((scores / temperature).softmax(-1), values)


class HardRead(NamedTuple):
    """What was read, where, and how likely that place was."""

    value: Tensor  # … d
    index: Tensor  # …
    log_prob: Tensor  # …, log α_index: the only part whose gradient reaches the scores


def hard_read(scores: Tensor, values: Tensor, *, sample: bool = True, generator: Generator | None = None) -> HardRead:
    """Read one place: draw it from α = softmax(e), or take the likeliest.

        n ~ Cat(α)  or  n = argmax_n α_n        r = v_n

    The value says nothing about the scores' gradient (picking has none): feed ``log_prob`` to
    ``reinforce_surrogate``. On average over draws the value is the soft read.

    Shape: scores: … n, values: … n d -> value … d, index …, log_prob ….

    >>> hard_read(torch.tensor([0.0, 1.0]), torch.tensor([[1.0], [3.0]]), sample=False).value.item()
    3.0
    """
    check_memory(scores, values)
    log_alpha = scores.log_softmax(-1)  # … n
    if sample:
        choices = log_alpha.detach().exp().reshape(-1, scores.shape[-1])  # (…) n
        index = torch.multinomial(choices, 1, generator=generator).view(scores.shape[:-1])
    else:
        index = scores.argmax(-1)
    at = index[..., None]  # … 1
    value = values.gather(-2, at[..., None].expand(*at.shape, values.shape[-1])).squeeze(-2)  # … n d -> … d
    return HardRead(value, index, log_alpha.gather(-1, at).squeeze(-1))


def gumbel_weights(scores: Tensor, temperature: float, generator: Generator | None) -> Tensor:
    """A random point of the simplex, near a corner for small τ; its largest entry is a draw from softmax(e).

    y = softmax((e + g)/τ)        g = −log E,  E ~ Exp(1)
    """
    gumbel = -torch.empty_like(scores).exponential_(generator=generator).log()
    return ((scores + gumbel) / temperature).softmax(-1)


def gumbel_read(
    scores: Tensor, values: Tensor, *, temperature: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Nearly pick one place, with a gradient: the choice softened by a temperature (Gumbel-softmax).

        r = Σ_n y_n v_n        y = softmax((e + g)/τ)

    A small τ reads nearly one value, with a gradient of high variance; a large τ blends, with a biased one.

    Shape: scores: … n, values: … n d -> … d.
    """
    check_memory(scores, values, temperature)
    return blend(gumbel_weights(scores, temperature, generator), values)


def straight_through_read(
    scores: Tensor, values: Tensor, *, temperature: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Pick one place, and pretend in the backward pass to have read softly (straight-through Gumbel-softmax).

        forward: r = v_n, n = argmax_n y_n        backward: as of r = Σ_n y_n v_n

    The value is an exact draw; the gradient is biased. The earlier straight-through (2013) has no Gumbel noise.

    Shape: scores: … n, values: … n d -> … d.
    """
    check_memory(scores, values, temperature)
    y = gumbel_weights(scores, temperature, generator)  # … n
    one_hot = torch.zeros_like(y).scatter(-1, y.argmax(-1, keepdim=True), 1.0)
    return blend(one_hot + (y - y.detach()), values)  # the bracket is zero, with the gradient of y


def reinforce_surrogate(log_prob: Tensor, reward: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """A loss whose gradient, on average over draws, is that of minus the expected reward.

        −mean log p(n) · (R − b)        E[R ∂log p] = ∂E[R]        E[b ∂log p] = 0

    R − b is a number without gradient: neither the reward nor the baseline is trained by this loss. The
    baseline may be anything that does not depend on the draw; a good one is near the mean reward.

    Shape: log_prob, reward, baseline: any one shape (a baseline may be one number) -> a number.

    >>> round(reinforce_surrogate(torch.tensor([-2.0]), torch.tensor([3.0]), 1.0).item(), 3)
    4.0
    """
    if log_prob.shape != reward.shape:
        raise ValueError(
            f"log_prob has shape {tuple(log_prob.shape)} and reward {tuple(reward.shape)}; give one reward a draw"
        )
    return -(log_prob * (reward - baseline).detach()).mean()
