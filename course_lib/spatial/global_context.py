"""GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond.

Yue Cao, Jiarui Xu, Stephen Lin, Fangyun Wei, Han Hu, ICCV workshops 2019, arXiv 1904.11492, sections 3 and 4.
Lesson: notebooks/10_global_context.ipynb
"""

from torch import Tensor, nn

from course_lib.checks import check_features, hidden_width

FUSIONS = ("add", "scale", "scale_add")


class SimplifiedNonLocal(nn.Module):
    """Look at the same places whoever asks, and add what is there to every position.

        α_j = exp(W_k x_j) / Σ_m exp(W_k x_m)    z_i = x_i + W_v Σ_j α_j x_j

    ``W_k`` is ``key`` (one number per position) and ``W_v`` is ``value``. The paper's equation has W_v inside the
    sum; it is linear and the α_j sum to 1, so we apply it once, to the sum.

    Args:
        channels: number of channels c.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b 1 n over the n = h·w positions, one map for all queries.

    Learned: W_k (1 × c) and W_v (c × c), without bias. The paper names no start: W_v starts at zero, as the last
    layer of the global context block does, so that the block starts as the identity.

    Raises:
        ValueError: if the input does not fit.

    >>> import torch
    >>> SimplifiedNonLocal(8).attention(torch.zeros(1, 8, 2, 2)).tolist()
    [[[0.25, 0.25, 0.25, 0.25]]]
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        self.key = nn.Conv1d(channels, 1, 1, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        nn.init.kaiming_normal_(self.key.weight)
        nn.init.zeros_(self.value.weight)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        return self.key(x.flatten(2)).softmax(dim=2)  # b c h w -> b c n -> b 1 n

    def forward(self, x: Tensor) -> Tensor:
        context = self.value(pool(x, self.attention(x)))
        return x + context[:, :, None, None]  # b c -> b c 1 1


class GlobalContext(nn.Module):
    """Pool one summary of the image where it matters, transform it, and add it to every position.

        α_j = exp(W_k x_j) / Σ_m exp(W_k x_m)    z_i = x_i + W_v2 ReLU(LN(W_v1 Σ_j α_j x_j))

    ``W_k`` is ``key``; W_v1, LN, ReLU, W_v2 are the layers of ``add``. With ``fusion="scale"`` the summary gates
    instead, z_i = x_i · σ(W_v2 ReLU(LN(W_v1 Σ_j α_j x_j))), as in squeeze-and-excitation, with the layers of
    ``scale``; ``"scale_add"`` does the one and then the other, each with its own layers. The paper and its code
    add; one widespread re-implementation gates unless told otherwise.

    Args:
        channels: number of channels c.
        reduction: how many times fewer hidden units than channels (the paper's r; its code takes 1/r).
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.
        fusion: ``"add"``, ``"scale"`` or ``"scale_add"``.
        eps: what LN adds to the variance; timm's is 1e-6.

    Shape:
        x: b c h w -> b c h w; ``attention(x)``: b 1 n over the n = h·w positions, one map for all queries.

    Learned: W_k (1 × c), and W_v1 (c/r × c), LN (c/r), W_v2 (c × c/r) per fusion, with biases. W_v2 starts at
    zero: adding starts as the identity, scaling as x/2.

    Raises:
        ValueError: if no hidden unit would be left, the fusion is unknown, or the input does not fit.

    >>> import torch
    >>> x = torch.randn(1, 8, 5, 3)
    >>> bool((GlobalContext(8, reduction=4)(x) == x).all())
    True
    """

    def __init__(
        self,
        channels: int,
        *,
        reduction: int = 16,
        hidden: int | None = None,
        fusion: str = "add",
        eps: float = 1e-5,
    ):
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"fusion={fusion!r} is unknown; use one of {', '.join(FUSIONS)}")
        self.channels, self.eps = channels, eps
        self.key = nn.Conv1d(channels, 1, 1)
        nn.init.kaiming_normal_(self.key.weight)
        nn.init.zeros_(self.key.bias)
        hidden = hidden_width(channels, reduction, hidden)
        self.scale = bottleneck(channels, hidden, eps) if "scale" in fusion else None
        self.add = bottleneck(channels, hidden, eps) if "add" in fusion else None

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        return self.key(x.flatten(2)).softmax(dim=2)  # b c h w -> b c n -> b 1 n

    def forward(self, x: Tensor) -> Tensor:
        context = pool(x, self.attention(x))
        if self.scale is not None:
            x = x * self.scale(context).sigmoid()[:, :, None, None]  # b c -> b c 1 1
        if self.add is not None:
            x = x + self.add(context)[:, :, None, None]
        return x


def pool(x: Tensor, weights: Tensor) -> Tensor:
    """Σ_j α_j x_j. b c h w, b 1 n -> b c."""
    return (x.flatten(2) @ weights.mT).squeeze(2)


def bottleneck(channels: int, hidden: int, eps: float) -> nn.Sequential:
    """W_v1, LN, ReLU, W_v2 on b c, with W_v2 at zero."""
    layers = nn.Sequential(
        nn.Linear(channels, hidden), nn.LayerNorm(hidden, eps=eps), nn.ReLU(), nn.Linear(hidden, channels)
    )
    nn.init.zeros_(layers[3].weight)
    nn.init.zeros_(layers[3].bias)
    return layers
