"""Non-local Neural Networks, and the non-local means that they take their name from.

Xiaolong Wang, Ross Girshick, Abhinav Gupta, Kaiming He, CVPR 2018, arXiv 1711.07971, section 3.
Antoni Buades, Bartomeu Coll, Jean-Michel Morel, A Non-Local Algorithm for Image Denoising, CVPR 2005 (no arXiv).
Lesson: notebooks/09_non_local.ipynb
"""

from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features

LAYERS = {
    1: (nn.Conv1d, nn.MaxPool1d, nn.BatchNorm1d),
    2: (nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.MaxPool3d, nn.BatchNorm3d),
}
PAIRINGS = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


class NonLocal(nn.Module):
    """Let every position ask every other how well they fit, and add what the fitting ones hold.

        y_i = 1/C(x) Σ_j f(x_i, x_j) g(x_j)        z_i = W_z y_i + x_i

    ===================== =========================== ======================
    pairing               f(x_i, x_j)                 C(x)
    ===================== =========================== ======================
    ``gaussian``          exp(x_iᵀ x_j)               Σ_j f(x_i, x_j)
    ``embedded_gaussian`` exp(θ(x_i)ᵀ φ(x_j))         Σ_j f(x_i, x_j)
    ``dot_product``       θ(x_i)ᵀ φ(x_j)              N, the number of keys
    ``concatenation``     ReLU(w_fᵀ [θ(x_i), φ(x_j)]) N, the number of keys
    ===================== =========================== ======================

    θ, φ, g, W_z are the 1×1 convolutions ``query``, ``key``, ``value``, ``output``; w_f is its two halves
    ``pair_query`` and ``pair_key``. A Gaussian divided by its sum is a softmax over the keys j.

    With ``subsample=s`` the keys and values come from an s×s max-pooling, so that each query asks N/s² keys. The
    paper's equation and its code pool x before φ and g (``pool_input=True``); the paper's text and most ports
    pool what comes out of φ and g. Pooling and a 1×1 convolution do not commute, so these differ.
    Video (``dims=3``) flattens b c t h w the same way and pools h and w only.
    The released code multiplies the logits of the softmax by d^-½, which the paper does not: ``scaled=True``. It
    also draws the convolutions from N(0, 0.01²), biases 0; ``released=True`` does both. Where it leaves out the norm,
    W_z starts at zero instead: ``norm=False``.

    ``forward`` does not need the map: the softmax forms run torch's fused attention (which still builds the map
    for ``gaussian``, whose values are narrower than its keys), (QKᵀ)V is Q(KᵀV), and the ReLU sums by sorting.

    Args:
        channels: number of channels c; θ, φ, g have d = c // 2.
        pairing: one of the four names above.
        subsample: side of the max-pooling window over the keys' h and w.
        dims: 1 for sequences b c n, 2 for images, 3 for video.
        pool_input: pool before φ and g, or after.
        scaled: whether softmax logits are divided by the square root of their width; None follows ``released``.
        hidden: the width d; c // 2 if not given (the code's inter_channels).
        norm: whether a batch norm follows W_z.
        released: the released code: scaled logits, and its start.

    Shape:
        x: b c h w -> b c h w (or b c t h w); ``attention(x)``: b n m, for n positions and m keys, m = n when
        ``subsample=1``. Rows sum to 1 in both Gaussian forms; else they are weights of any size.

    Learned: θ, φ (not for ``gaussian``), g, W_z, all with bias, w_f (``concatenation``), and a batch norm after
    W_z whose scale and shift start at zero: the block starts as the identity.

    Raises:
        ValueError: for an unknown pairing, too few channels, or a map smaller than the pooling window.

    >>> import torch
    >>> x = torch.randn(2, 8, 5, 3)
    >>> block = NonLocal(8, pairing="dot_product", subsample=2)
    >>> block.attention(x).shape, bool((block(x) == x).all())
    (torch.Size([2, 15, 2]), True)
    """

    def __init__(
        self,
        channels: int,
        *,
        pairing: str = "embedded_gaussian",
        subsample: int = 1,
        dims: int = 2,
        pool_input: bool = True,
        scaled: bool | None = None,
        hidden: int | None = None,
        norm: bool = True,
        released: bool = False,
    ):
        super().__init__()
        if pairing not in PAIRINGS:
            raise ValueError(f"pairing={pairing!r} is unknown; use one of {', '.join(PAIRINGS)}")
        inner = channels // 2 if hidden is None else hidden
        if inner < 1:
            raise ValueError(f"channels={channels} leaves no channel inside the block; use channels >= 2 or hidden")
        if dims not in LAYERS or subsample < 1:
            raise ValueError(f"dims={dims}, subsample={subsample}; use dims 1, 2 or 3 and subsample >= 1")
        conv, pool, normalise = LAYERS[dims]
        self.channels, self.pairing, self.subsample, self.dims = channels, pairing, subsample, dims
        embedded = pairing != "gaussian"
        scaled = released if scaled is None else scaled
        self.query = conv(channels, inner, 1) if embedded else nn.Identity()
        self.key = conv(channels, inner, 1) if embedded else nn.Identity()
        self.value = conv(channels, inner, 1)
        if pairing == "concatenation":
            self.pair_query = nn.Linear(inner, 1, bias=False)
            self.pair_key = nn.Linear(inner, 1, bias=False)
        self.scale = (inner if embedded else channels) ** -0.5 if scaled else 1.0

        window = pool((1, subsample, subsample)) if dims == 3 else pool(subsample)
        self.pools_input = pool_input and subsample > 1
        self.pool_before = window if pool_input else nn.Identity()
        self.pool_after = nn.Identity() if pool_input else window

        self.output = conv(inner, channels, 1)
        self.norm = normalise(channels) if norm else nn.Identity()
        for last in self.norm.parameters() if norm else self.output.parameters():
            nn.init.zeros_(last)
        if released:
            for layer in (self.query, self.key, self.value, *([self.output] if norm else [])):
                if not isinstance(layer, nn.Identity):
                    nn.init.normal_(layer.weight, std=0.01)
                    nn.init.zeros_(layer.bias)

    def embed(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """θ(x) at every position, φ(x) and g(x) at every key: b d n, b d m, b d m."""
        check_features(x, self.channels, dims=self.dims)
        sides = x.shape[-2:] if self.dims > 1 else x.shape[-1:]
        if min(sides) < self.subsample:
            raise ValueError(
                f"subsample={self.subsample} leaves no key in maps of {'×'.join(map(str, sides))}; "
                f"use subsample <= {min(sides)}"
            )
        pooled = self.pool_before(x)
        query, key, value = self.query(x), self.pool_after(self.key(pooled)), self.pool_after(self.value(pooled))
        return query.flatten(2), key.flatten(2), value.flatten(2)  # b d t h w -> b d n

    def attention(self, x: Tensor) -> Tensor:
        query, key, _ = self.embed(x)
        keys = key.shape[2]
        match self.pairing:
            case "gaussian" | "embedded_gaussian":
                return (self.scale * query.mT @ key).softmax(dim=-1)  # b n d, b d m -> b n m
            case "dot_product":
                return query.mT @ key / keys
            case "concatenation":  # w_fᵀ [θ_i, φ_j] is a number of i plus a number of j
                return (self.pair_query(query.mT) + self.pair_key(key.mT).mT).relu() / keys  # b n 1, b 1 m -> b n m

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.embed(x)
        keys = key.shape[2]
        match self.pairing:
            case "gaussian" | "embedded_gaussian":
                y = softmax_read(query, key, value, self.scale)
            case "dot_product":
                y = (value @ key.mT / keys) @ query  # b d d, b d n -> b d n
            case "concatenation":
                y = relu_read(self.pair_query(query.mT).mT, self.pair_key(key.mT).mT, value) / keys
        return x + self.norm(self.output(y.unflatten(2, x.shape[2:])))  # b d n -> b d t h w


def softmax_read(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """y_i = Σ_j softmax_j(scale · q_iᵀ k_j) v_j. b d n, b d m, b e m -> b e n."""
    query, key, value = (t.mT.unsqueeze(1).contiguous() for t in (query, key, value))  # b d n -> b 1 n d, one head
    return F.scaled_dot_product_attention(query, key, value, scale=scale).squeeze(1).mT


def relu_read(a: Tensor, b: Tensor, value: Tensor) -> Tensor:
    """y_i = Σ_j ReLU(a_i + b_j) v_j. b 1 n, b 1 m, b e m -> b e n.

    Sort the keys by b, largest first: those with a_i + b_j > 0 are the first few. So y_i is a_i Σ v_j + Σ b_j v_j
    over the first few j, and running sums hold both for any few.
    """
    value = value.to(torch.promote_types(value.dtype, torch.float32))  # half precision cannot count to N
    b, order = b.sort(dim=-1, descending=True)
    value = value.gather(-1, order.expand_as(value))
    sums = F.pad(torch.cat([value, b * value], dim=1).cumsum(dim=-1), (1, 0))  # b 2e m+1, first the empty sum
    few = torch.searchsorted(-b.detach(), a.detach().contiguous())  # b 1 n: how many j have -b_j < a_i
    of_value, of_product = sums.gather(-1, few.expand(-1, sums.shape[1], -1)).chunk(2, dim=1)
    return (a * of_value + of_product).to(a.dtype)


def non_local_means(image: Tensor, *, patch_size: int = 5, window_size: int = 21, bandwidth: float = 0.1) -> Tensor:
    """Replace each pixel by the average of the pixels around it, weighted by how alike their patches look.

        v_i = Σ_j w(i, j) u_j        w(i, j) = exp(−‖u(N_i) − u(N_j)‖² / h²) / Z(i)

    N_i is the patch centred on pixel i, j runs over the pixels of a window centred on i, Z makes the weights of
    each i sum to 1. It is a non-local block without a learned number, whose "features" are patches. The norm is
    a plain mean over the patch and the channels (the paper's is Gaussian-weighted); at the border, patches see
    the edge pixel repeated, and the window ends.

    Args:
        image: the noisy image u, one image without a batch axis.
        patch_size: side of the patches, odd.
        window_size: side of the window, odd; one of at least twice the image's side reaches every pixel.
        bandwidth: how large a difference of patches still counts as alike (the paper's h).

    Shape:
        image: c h w -> c h w.

    Raises:
        ValueError: for an image of the wrong kind, an even size, or a bandwidth that is not positive.

    >>> import torch
    >>> flat = torch.full((1, 6, 4), 0.5)
    >>> bool(torch.isclose(non_local_means(flat), flat).all())
    True
    """
    if image.ndim != 3 or not image.is_floating_point():
        raise ValueError(f"image has shape {tuple(image.shape)} and {image.dtype}; give one float image, c h w")
    if patch_size % 2 == 0 or window_size % 2 == 0 or bandwidth <= 0:
        raise ValueError(
            f"patch_size={patch_size}, window_size={window_size}, bandwidth={bandwidth}; use odd sizes, bandwidth > 0"
        )
    _, h, w = image.shape
    border, reach = patch_size // 2, min(window_size // 2, max(h, w) - 1)
    centre = F.pad(image, (border,) * 4, mode="replicate")
    around = F.pad(image, (border + reach,) * 4, mode="replicate")
    inside = F.pad(torch.ones_like(image[:1]), (reach,) * 4)  # 1 where a neighbour is a pixel of the image
    total, weights = torch.zeros_like(image), torch.zeros_like(image[:1])
    for dy, dx in product(range(2 * reach + 1), repeat=2):  # one shift compares every pixel with one neighbour
        shifted = around[:, dy : dy + h + 2 * border, dx : dx + w + 2 * border]
        difference = (centre - shifted).square().mean(dim=0, keepdim=True)  # c h w -> 1 h w
        distance = F.avg_pool2d(difference, patch_size, stride=1)
        weight = (-distance / bandwidth**2).exp() * inside[:, dy : dy + h, dx : dx + w]
        total = total + weight * shifted[:, border : border + h, border : border + w]
        weights = weights + weight
    return total / weights
