"""Beyond Self-attention: External Attention using Two Linear Layers for Visual Tasks (EANet).

Meng-Hao Guo, Zheng-Ning Liu, Tai-Jiang Mu, Shi-Min Hu, TPAMI 2022, arXiv 2105.02358, section 3.
Lesson: notebooks/11_cheaper_non_local.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features, check_tokens

NORMALISATIONS = ("double", "slots", "positions")


class ExternalAttention(nn.Module):
    """Ask a small learned memory, the same for all images, instead of the other pixels.

        F = W₁ X    A = Norm(F M_kᵀ)    Y = ReLU(X + BN(W₂ (A M_v)))

    M_k and M_v are ``memory_key`` and ``memory_value``, W₁ and W₂ the 1×1 convolutions ``embed`` and ``output``.
    ``normalise`` chooses Norm for the scores z_ij of position i and slot j:

    - ``"double"``, the paper's: softmax over the positions i, then divide by the sum over the slots j. That is the
      softmax over j of z_ij − logsumexp_i z_ij: a slot that all positions like is no better off. (The code adds
      1e-9 to the sum, ``released=True``, which counts when positions are many; we only keep it off zero.)
    - ``"slots"``: softmax over j alone. Then no position sees another: a two-layer network at each pixel.
    - ``"positions"``: softmax over i alone.

    With several heads each reads c / num_heads channels from the one memory (the paper's algorithm 2). Its code for
    classification is ``ExternalTokenAttention``.

    Args:
        channels: number of channels c.
        slots: number m of memory slots (the paper's S).
        num_heads: number s of heads, a divisor of c.
        normalise: one of the three above.
        released: the released code, which adds 1e-9.

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

    def __init__(
        self,
        channels: int,
        *,
        slots: int = 64,
        num_heads: int = 1,
        normalise: str = "double",
        released: bool = False,
    ):
        super().__init__()
        if slots < 1 or num_heads < 1 or channels % num_heads:
            raise ValueError(
                f"channels={channels}, slots={slots}, num_heads={num_heads}; "
                "use slots >= 1 and a num_heads that divides channels"
            )
        if normalise not in NORMALISATIONS:
            raise ValueError(f"normalise={normalise!r} is unknown; use one of {', '.join(NORMALISATIONS)}")
        self.channels, self.num_heads, self.normalise = channels, num_heads, normalise
        self.released = released
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
        return weights if self.normalise == "positions" else share(weights, axis=1, released=self.released)

    def attention(self, x: Tensor) -> Tensor:
        return self.weights(x).unflatten(0, (x.shape[0], self.num_heads)).mT  # (b s) m n -> b s n m

    def forward(self, x: Tensor) -> Tensor:
        read = self.memory_value(self.weights(x)).reshape(x.shape)  # (b s) c/s n -> b c h w
        return (x + self.norm(self.output(read))).relu()


def share(weights: Tensor, *, axis: int, released: bool) -> Tensor:
    """Divide by the sum over the slots."""
    total = weights.sum(dim=axis, keepdim=True)
    return weights / (total + 1e-9 if released else total.clamp(min=torch.finfo(weights.dtype).tiny))


class ExternalTokenAttention(nn.Module):
    """External attention for tokens, as the released code puts it into transformers for classification.

        F = W₁ X    A_j = Norm(F_j M_kᵀ + b_k)    Y = W₂ [A_1 M_v + b_v; …; A_s M_v + b_v]

    Against ``ExternalAttention``: W₁ widens the tokens four times, and the heads become four times as many; the
    memories have biases; residual, norm and ReLU are left to the network. Norm is the double one, released.

    Args:
        embed_dim: length d of a token.
        num_heads: number of heads before widening, a divisor of d; s = num_heads · widening, of d / num_heads each.
        slots: number m of memory slots.
        widening: how many times W₁ widens the tokens.

    Shape:
        x: b n d -> b n d; ``attention(x)``: b s n m, sums to 1 over m.

    Learned: four linear layers with biases, torch's default start.

    Raises:
        ValueError: for no slot, heads that do not divide d, or an input that does not fit.

    >>> import torch
    >>> ExternalTokenAttention(8, num_heads=2, slots=5).attention(torch.randn(3, 6, 8)).shape
    torch.Size([3, 8, 6, 5])
    """

    def __init__(self, embed_dim: int, *, num_heads: int = 8, slots: int = 64, widening: int = 4):
        super().__init__()
        if slots < 1 or widening < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                f"embed_dim={embed_dim}, num_heads={num_heads}, slots={slots}, widening={widening}; use slots and "
                "widening >= 1 and a num_heads that divides embed_dim"
            )
        self.embed_dim, self.heads, width = embed_dim, num_heads * widening, embed_dim // num_heads
        self.embed = nn.Linear(embed_dim, widening * embed_dim)
        self.memory_key = nn.Linear(width, slots)
        self.memory_value = nn.Linear(slots, width)
        self.output = nn.Linear(widening * embed_dim, embed_dim)

    def attention(self, x: Tensor) -> Tensor:
        check_tokens(x, self.embed_dim)
        heads = self.embed(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # b n d -> b s n d_head
        return share(self.memory_key(heads).softmax(dim=2), axis=3, released=True)

    def forward(self, x: Tensor) -> Tensor:
        read = self.memory_value(self.attention(x))  # b s n m -> b s n d_head
        return self.output(read.transpose(1, 2).flatten(2))  # b s n d_head -> b n d
