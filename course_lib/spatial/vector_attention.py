"""Exploring Self-attention for Image Recognition.

Hengshuang Zhao, Jiaya Jia, Vladlen Koltun, CVPR 2020, arXiv 2004.13621, sections 3.1 and 3.2.
Lesson: notebooks/13_local_attention.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features
from course_lib.spatial.window import collect, taps

RELATIONS = {
    "subtraction": lambda query, keys: query - keys,
    "summation": lambda query, keys: query + keys,
    "hadamard": lambda query, keys: query * keys,
    "concatenation": lambda query, keys: torch.cat([query.expand_as(keys), keys], dim=1),
    "dot": lambda query, keys: (query * keys).sum(dim=1, keepdim=True),
}


class PairwiseVectorAttention(nn.Module):
    """Compare two pixels, and let the comparison weigh every group of channels differently.

        y_i = Σ_{j ∈ R(i)} α(x_i, x_j) ⊙ β(x_j)    α = softmax_j γ(δ(x_i, x_j), p_i − p_j)

    R(i) is the k×k window around i, reflected at the border of the image. δ subtracts ψ(x_j) from φ(x_i); the paper's
    other relations are named by ``relation``. φ, ψ and β are ``query``, ``key`` and ``value``; p is ``position``,
    a linear layer on coordinates from −1 to 1; γ is ``weigh``: twice norm, ReLU and a linear layer.
    Channel c of the values takes weight c mod c', as in the released code. Without p the window is a set.
    The paper's residual block is ``x + W ReLU(BN(y))``; it is left to the network, and so are BN and ReLU before x.

    Args:
        channels: number of channels c.
        kernel_size: side k of the window, odd; k // 2 must be smaller than the image's sides.
        hidden: channels of φ and ψ; the paper's c / 16.
        value_channels: channels m of β and of the output; the paper's c / 4.
        share: how many channels of the output share one weight; c' = m / share.
        relation: δ: ``"subtraction"``, ``"summation"``, ``"hadamard"``, ``"concatenation"`` or ``"dot"``.
        position: whether γ sees p_i − p_j.

    Shape:
        x: b c h w -> b m h w; the map ``attention(x)``: b c' h w k², sums to 1 over the window, row by row.

    Learned: five 1×1 convolutions and two norms, torch's start. The biases of ``position`` (subtracted away) and of
    the last layer of γ (lost in the softmax) do nothing; they are kept because the released weights have them.

    Raises:
        ValueError: if the window has no centre or is too large, share does not divide m, or the input does not fit.

    >>> import torch
    >>> block = PairwiseVectorAttention(32, kernel_size=3)
    >>> block(torch.zeros(2, 32, 5, 7)).shape, block.attention(torch.zeros(2, 32, 5, 7)).shape
    (torch.Size([2, 8, 5, 7]), torch.Size([2, 1, 5, 7, 9]))
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        hidden: int | None = None,
        value_channels: int | None = None,
        share: int = 8,
        relation: str = "subtraction",
        position: bool = True,
    ):
        super().__init__()
        hidden, value_channels = channels // 16 if hidden is None else hidden, value_channels or channels // 4
        check_sizes(channels, kernel_size, hidden, value_channels, share)
        if relation not in RELATIONS:
            raise ValueError(f"relation={relation!r} is unknown; use one of {', '.join(RELATIONS)}")
        self.channels, self.kernel_size, self.share, self.relation = channels, kernel_size, share, relation
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, value_channels, 1)
        self.position = nn.Conv2d(2, 2, 1) if position else None
        related = {"concatenation": 2 * hidden, "dot": 1}.get(relation, hidden) + 2 * position
        self.weigh = nn.Sequential(
            nn.BatchNorm2d(related),
            nn.ReLU(),
            nn.Conv2d(related, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, value_channels // share, 1),
        )

    def window(self, x: Tensor) -> Tensor:
        return torch.stack(list(taps(reflect(x, self.kernel_size), *x.shape[2:])), dim=2)  # b c h w -> b c k² h w

    def steps(self, x: Tensor) -> Tensor:
        """p_i − p_j for all i and all j of their windows: 1 2 k² h w."""
        rows, columns = (torch.linspace(-1, 1, length).to(x) for length in x.shape[2:])
        place = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]  # 1 2 h w, columns first
        place = self.position(place)
        return place.unsqueeze(2) - self.window(place)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        check_window(x, self.kernel_size)
        related = RELATIONS[self.relation](self.query(x).unsqueeze(2), self.window(self.key(x)))  # b r k² h w
        if self.position is not None:
            related = torch.cat([related, self.steps(x).expand(x.shape[0], -1, -1, -1, -1)], dim=1)
        scores = self.weigh(related.flatten(3))  # b r k² n -> b c' k² n
        return scores.softmax(dim=2).unflatten(3, x.shape[2:]).movedim(2, -1)  # b c' k² n -> b c' h w k²

    def forward(self, x: Tensor) -> Tensor:
        return weigh_window(self.attention(x), self.value(x), self.kernel_size)


class PatchwiseVectorAttention(nn.Module):
    """Look at the whole patch at once, and let it decide what to take from each of its places, channel by channel.

        y_i = Σ_{j ∈ R(i)} α(x_{R(i)})_j ⊙ β(x_j)    α = γ([φ(x_i), [ψ(x_j)]_{j ∈ R(i)}])

    There is no softmax: weights may be negative, and with a constant γ this is a depthwise convolution. The window
    and the sharing of weights are those of ``PairwiseVectorAttention``; places need no code, for each has its own
    inputs to γ. The paper's star and clique products, other ways to make α, are left out.

    Args:
        channels, kernel_size, hidden, value_channels, share: as in ``PairwiseVectorAttention``.

    Shape:
        x: b c h w -> b m h w; the map ``attention(x)``: b c' h w k², any real numbers.

    Learned: φ, ψ, β and the two layers of γ, 1×1 convolutions, and two norms, torch's start.

    Raises:
        ValueError: if the window has no centre or is too large, share does not divide m, or the input does not fit.

    >>> import torch
    >>> PatchwiseVectorAttention(32, kernel_size=3)(torch.zeros(2, 32, 5, 7)).shape
    torch.Size([2, 8, 5, 7])
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        hidden: int | None = None,
        value_channels: int | None = None,
        share: int = 8,
    ):
        super().__init__()
        hidden, value_channels = channels // 16 if hidden is None else hidden, value_channels or channels // 4
        check_sizes(channels, kernel_size, hidden, value_channels, share)
        self.channels, self.kernel_size, self.share = channels, kernel_size, share
        self.query = nn.Conv2d(channels, hidden, 1)
        self.key = nn.Conv2d(channels, hidden, 1)
        self.value = nn.Conv2d(channels, value_channels, 1)
        patch, weights = hidden * (1 + kernel_size**2), value_channels // share
        self.weigh = nn.Sequential(
            nn.BatchNorm2d(patch),
            nn.ReLU(),
            nn.Conv2d(patch, weights, 1, bias=False),
            nn.BatchNorm2d(weights),
            nn.ReLU(),
            nn.Conv2d(weights, weights * kernel_size**2, 1),
        )

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        check_window(x, self.kernel_size)
        keys = F.unfold(reflect(self.key(x), self.kernel_size), self.kernel_size).unflatten(2, x.shape[2:])
        patch = torch.cat([self.query(x), keys], dim=1)  # b r h w, b (r k²) h w -> b (r + r k²) h w
        weights = self.weigh(patch)  # -> b (c' k²) h w
        return weights.unflatten(1, (-1, self.kernel_size**2)).movedim(2, -1)  # -> b c' h w k²

    def forward(self, x: Tensor) -> Tensor:
        return weigh_window(self.attention(x), self.value(x), self.kernel_size)


def check_sizes(channels: int, kernel_size: int, hidden: int, value_channels: int, share: int) -> None:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size={kernel_size} has no centre; use an odd number")
    if hidden < 1:
        raise ValueError(f"channels={channels} leaves hidden={hidden} channels to compare; give hidden >= 1")
    if share < 1 or value_channels < 1 or value_channels % share:
        raise ValueError(
            f"value_channels={value_channels} (channels // 4 unless given) cannot be shared by share={share}; "
            "give value_channels, or share that divides it"
        )


def check_window(x: Tensor, kernel_size: int) -> None:
    if min(x.shape[2:]) <= kernel_size // 2:
        raise ValueError(
            f"an image of {x.shape[2]}×{x.shape[3]} cannot be reflected by {kernel_size // 2} for "
            f"kernel_size={kernel_size}; use kernel_size <= {2 * min(x.shape[2:]) - 1}"
        )


def reflect(x: Tensor, kernel_size: int) -> Tensor:
    return F.pad(x, [kernel_size // 2] * 4, mode="reflect")


def weigh_window(weights: Tensor, value: Tensor, kernel_size: int) -> Tensor:
    """Apply a map: b c' h w k², b m h w -> b m h w, channel c of the values with weight c mod c'."""
    value = reflect(value, kernel_size).unflatten(1, (-1, weights.shape[1]))  # b (share c') H W -> b share c' H W
    y = collect(weights.movedim(-1, 0), value.transpose(1, 2))  # k² b c' h w, b c' share H W -> b c' share h w
    return y.transpose(1, 2).flatten(1, 2)  # -> b (share c') h w
