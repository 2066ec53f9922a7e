"""Deformable convolution, without and with modulation.

Jifeng Dai et al., Deformable Convolutional Networks, ICCV 2017, arXiv 1703.06211, section 2.1. Xizhou Zhu, Han Hu,
Stephen Lin, Jifeng Dai, Deformable ConvNets v2: More Deformable, Better Results, CVPR 2019, arXiv 1811.11168,
section 3.1.
Lesson: notebooks/08_deformable.ipynb
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course_lib.checks import check_features

Pair = int | tuple[int, int]


def pair(value: Pair) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def sampling_points(offset: Tensor, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Tensor:
    """Where each tap of the kernel reads, for each output position: p₀ + p_n + Δp_n, in pixels of the input.

    Shape: offset: b (g k 2) h w, y before x -> b g k h w 2, y before x.
    """
    offset = offset.to(torch.promote_types(offset.dtype, torch.float32))  # half precision blurs coordinates
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = pair(kernel_size), pair(stride), pair(padding), pair(dilation)
    h, w = offset.shape[-2:]

    def count(n: int) -> Tensor:
        return torch.arange(n, dtype=offset.dtype, device=offset.device)

    rows = (count(kh) * dh)[:, None, None, None] + (count(h) * sh - ph)[:, None]  # kh 1 h 1
    columns = (count(kw) * dw)[:, None, None] + (count(w) * sw - pw)  # kw 1 w
    regular = torch.stack(torch.broadcast_tensors(rows, columns), dim=-1).flatten(0, 1)  # kh kw h w 2 -> k h w 2
    return regular + offset.unflatten(1, (-1, kh * kw, 2)).movedim(3, -1)  # b g k h w 2


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """A convolution whose taps are moved by ``offset``, and weighed by ``mask`` where one is given.

        y(p₀) = Σ_n w(p_n) · x(p₀ + p_n + Δp_n(p₀)) · Δm_n(p₀)

    Between pixels x is interpolated, beyond the border it is zero. Arguments, their order and the layout of
    ``offset`` are those of ``torchvision.ops.deform_conv2d``.

    Args:
        x: the input.
        offset: how far each tap is moved, in pixels of the input; for each group of channels and each tap,
            row by row, first y and then x.
        weight: as of a convolution; its second axis tells the number of groups.
        bias: added to each output channel.
        stride, padding, dilation: as of a convolution.
        mask: the factor Δm of each tap (v2), None for 1 (v1).

    Shape:
        x: b c_in H W, offset: b (g k 2) h w, weight: c_out c_in/groups kh kw, mask: b (g k) h w -> b c_out h w,
        with k = kh·kw; the channels of x are split into g equal parts, one for each set of offsets.

    Raises:
        ValueError: if a shape does not fit the others.

    >>> x = torch.arange(9.0).view(1, 1, 3, 3)
    >>> one_to_the_right = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 3, 3)
    >>> deform_conv2d(x, one_to_the_right, torch.ones(1, 1, 1, 1))[0, 0].round().tolist()
    [[1.0, 2.0, 0.0], [4.0, 5.0, 0.0], [7.0, 8.0, 0.0]]
    """
    check_shapes(x, offset, weight, stride, padding, dilation, mask)
    kernel_size = tuple(weight.shape[2:])
    read = read_taps(x, sampling_points(offset, kernel_size, stride, padding, dilation), kernel_size, mask)
    return F.conv2d(read, weight, bias, stride=kernel_size, groups=x.shape[1] // weight.shape[1])


def read_taps(x: Tensor, points: Tensor, kernel_size: tuple[int, int], mask: Tensor | None = None) -> Tensor:
    """Lay out what the taps read, so that a convolution whose stride is its size finds its taps side by side.

    Shape: x: b c H W, points: b g k h w 2, y before x, mask: b (g k) h w -> b c (h kh) (w kw).
    """
    exact = x.to(points.dtype)
    b, g, *_ = points.shape
    rows, columns = points.unbind(-1)  # each b g k h w
    grid = torch.stack(
        [(2 * columns + 1) / x.shape[3] - 1, (2 * rows + 1) / x.shape[2] - 1], dim=-1
    )  # x, y in [−1, 1]
    grid = grid.unflatten(2, kernel_size).permute(0, 1, 4, 2, 5, 3, 6)  # b g (kh kw) h w 2 -> b g h kh w kw 2
    parts = exact.unflatten(1, (g, -1)).flatten(0, 1)  # b c H W -> (b g) c/g H W
    read = F.grid_sample(parts, grid.flatten(4, 5).flatten(2, 3).flatten(0, 1), align_corners=False).to(x.dtype)
    if mask is not None:
        weights = mask.unflatten(1, (g, *kernel_size)).permute(0, 1, 4, 2, 5, 3)  # b (g kh kw) h w -> b g h kh w kw
        read = read * weights.reshape(b * g, 1, *read.shape[2:])
    return read.unflatten(0, (b, g)).flatten(1, 2)  # (b g) c/g (h kh) (w kw) -> b c (h kh) (w kw)


def check_shapes(
    x: Tensor, offset: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, mask: Tensor | None
) -> None:
    """Raise ``ValueError`` naming the shape that would fit, unless the arguments of ``deform_conv2d`` do."""
    check_features(x, None)
    c_out, c_part, *kernel_size = weight.shape
    k = kernel_size[0] * kernel_size[1]
    if x.shape[1] % c_part or c_out % (x.shape[1] // c_part):
        raise ValueError(f"weight of shape {tuple(weight.shape)} does not fit input with {x.shape[1]} channels")
    sizes = zip(x.shape[2:], kernel_size, pair(stride), pair(padding), pair(dilation), strict=True)
    h, w = ((n + 2 * p - d * (kernel - 1) - 1) // s + 1 for n, kernel, s, p, d in sizes)
    if min(h, w) < 1:
        raise ValueError(f"input of {tuple(x.shape[2:])} is smaller than the kernel; use padding")
    g = offset.shape[1] // (2 * k)
    if g < 1 or x.shape[1] % g or offset.shape != (x.shape[0], 2 * g * k, h, w):
        raise ValueError(
            f"offset has shape {tuple(offset.shape)}; give ({x.shape[0]}, {2 * k}·g, {h}, {w}), "
            f"with g a divisor of the {x.shape[1]} channels"
        )
    if mask is not None and mask.shape != (x.shape[0], g * k, h, w):
        raise ValueError(f"mask has shape {tuple(mask.shape)}; give {(x.shape[0], g * k, h, w)}")


class DeformableConv2d(nn.Module):
    """Let every position move the taps of its kernel to where it wants to read.

        v1: y(p₀) = Σ_n w(p_n) · x(p₀ + p_n + Δp_n)        v2: y(p₀) = Σ_n w(p_n) · x(p₀ + p_n + Δp_n) · Δm_n

    Δp is ``offset``, a convolution of the same input; Δm = σ(``modulation``) is another (v2). The weights w are
    the same everywhere; only the places differ. Published v2 code predicts both with one convolution: its
    first 2gk² channels are our ``offset``, the others our ``modulation``.

    Args:
        in_channels, out_channels: channels before and after.
        kernel_size: side of the kernel; k² taps.
        modulated: False for v1, True for v2.
        stride, padding, dilation, groups, bias: as of ``nn.Conv2d``; padding None keeps the size at stride 1
            (odd kernels).
        offset_groups: number of parts g of the channels, each with its own offsets.

    Shape:
        x: b in_channels H W -> b out_channels h w; ``attention(x)``: offsets b (g k² 2) h w in pixels of the input,
        y before x.

    ``convolution`` holds w and is called on what the taps read, laid side by side: its stride is its size.

    Learned: w and its bias, torch's default start; ``offset`` and ``modulation`` with biases, zero at the start. So
    v1 starts as the ordinary convolution and v2 (without bias) as half of it, because σ(0) = ½.

    Raises:
        ValueError: if the channels cannot be divided, padding=None meets an even kernel, or the input does not fit.

    >>> layer = DeformableConv2d(4, 6)
    >>> x = torch.ones(1, 4, 5, 7)
    >>> torch.allclose(layer(x), F.conv2d(x, *layer.convolution.parameters(), padding=1), atol=1e-6)
    True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 3,
        modulated: bool = False,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
        offset_groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        if padding is None and kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} is even and cannot keep the size; name the padding")
        if offset_groups < 1 or in_channels % offset_groups:
            raise ValueError(f"offset_groups={offset_groups} does not divide in_channels={in_channels}; use 1")
        padding = dilation * (kernel_size - 1) // 2 if padding is None else padding
        self.in_channels = in_channels
        shape = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
        taps = offset_groups * kernel_size**2
        self.shape = {name: (value, value) for name, value in shape.items()}
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size, kernel_size, groups=groups, bias=bias)
        self.offset = nn.Conv2d(in_channels, 2 * taps, **shape)
        self.modulation = nn.Conv2d(in_channels, taps, **shape) if modulated else None
        for predictor in filter(None, (self.offset, self.modulation)):
            nn.init.zeros_(predictor.weight)
            nn.init.zeros_(predictor.bias)

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.in_channels)
        return self.offset(x)  # b (g k² 2) h w

    def forward(self, x: Tensor) -> Tensor:
        points = sampling_points(self.attention(x), **self.shape)
        mask = None if self.modulation is None else self.modulation(x).sigmoid()
        return self.convolution(read_taps(x, points, self.convolution.kernel_size, mask))
