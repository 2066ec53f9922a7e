"""Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks (EANet).

Meng-Hao Guo, Zheng-Ning Liu, Tai-Jiang Mu, Shi-Min Hu, TPAMI 2022, arXiv 2105.02358, section 3.
Lesson: notebooks/11_cheaper_non_local.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features

NORMALISATIONS = ("double", "slots", "positions")


class ExternalAttention(nn.Module):
    """Ask a small learned memory, the same for all images, instead of the other pixels.

        F = W₁ X    A = Norm(F M_kᵀ)    Y = ReLU(X + BN(W₂ (A M_v)))

    M_k and M_v are ``memory_key`` and ``memory_value``, W₁ and W₂ the 1×1 convolutions ``embed`` and ``output``.
    ``normalise`` chooses Norm for the scores z_ij of position i and slot j:

    - ``"double"``, the paper's: softmax over the positions i, then divide by the sum over the slots j. That is the
      softmax over j of z_ij − logsumexp_i z_ij: a slot that all positions like is no better off. (The code adds
      1e-9 to the sum, which counts when positions are many; we only keep it off zero.)
    - ``"slots"``: softmax over j alone. Then no position sees another: a two-layer network at each pixel.
    - ``"positions"``: softmax over i alone.

    With several heads each reads c / num_heads channels from the one memory (the paper's algorithm 2; its code
    for classification also widens F four times and gives the memories biases).

    Args:
        channels: number of channels c.
        slots: number m of memory slots (the paper's S).
        num_heads: number s of heads, a divisor of c.
        normalise: one of the three above.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b s n m, for n positions; sums to 1 over m (over n for
        ``"positions"``).

    Learned: M_k and M_v (m × c/s each, without bias, drawn apart), W₁ with bias (as released, though a softmax over
    positions takes it away), W₂ without, and the batch norm, all at torch's default start. The released code starts
    M_v as a view of M_k, which ties the two on a CPU until the model moves: a slip, not repeated here.

    Raises:
        ValueError: for no slot, heads that do not divide c, an unknown Norm, or an input that does not fit.

    >>> import torch
    >>> ExternalAttention(8, slots=5, num_heads=2).attention(torch.randn(3, 8, 4, 6)).shape
    torch.Size([3, 2, 24, 5])
    """

    def __init__(self, channels: int, *, slots: int = 64, num_heads: int = 1, normalise: str = "double"):
        super().__init__()
        if slots < 1 or num_heads < 1 or channels % num_heads:
            raise ValueError(
                f"channels={channels}, slots={slots}, num_heads={num_heads}; "
                "use slots >= 1 and a num_heads that divides channels"
            )
        if normalise not in NORMALISATIONS:
            raise ValueError(f"normalise={normalise!r} is unknown; use one of {', '.join(NORMALISATIONS)}")
        self.channels, self.num_heads, self.normalise = channels, num_heads, normalise
        self.embed = nn.Conv2d(channels, channels, 1)
        self.memory_key = nn.Conv1d(channels // num_heads, slots, 1, bias=False)
        self.memory_value = nn.Conv1d(slots, channels // num_heads, 1, bias=False)
        self.output = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def weights(self, x: Tensor) -> Tensor:
        """The map with its heads in the batch and its slots before its positions: (b s) m n."""
        check_features(x, self.channels)
        heads = self.embed(x).flatten(2).unflatten(1, (self.num_heads, -1)).flatten(0, 1)  # b c h w -> (b s) c/s n
        scores = self.memory_key(heads)
        if self.normalise == "slots":
            return scores.softmax(dim=1)
        weights = scores.softmax(dim=2)
        if self.normalise == "positions":
            return weights
        return weights / weights.sum(dim=1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)

    def attention(self, x: Tensor) -> Tensor:
        return self.weights(x).unflatten(0, (x.shape[0], self.num_heads)).mT  # (b s) m n -> b s n m

    def forward(self, x: Tensor) -> Tensor:
        read = self.memory_value(self.weights(x)).reshape(x.shape)  # (b s) c/s n -> b c h w
        return (x + self.norm(self.output(read))).relu()
