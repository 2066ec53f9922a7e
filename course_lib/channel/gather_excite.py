"""Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks.

Jie Hu, Li Shen, Samuel Albanie, Gang Sun, Andrea Vedaldi, NeurIPS 2018, arXiv 1810.12348, section 3.
Lesson: notebooks/03_squeeze_excitation.ipynb
"""

from torch import Tensor, nn
from torch.nn.functional import interpolate

from course_lib.checks import check_features, hidden_width


class GatherExcite(nn.Module):
    """Gather what a neighbourhood of each channel holds, spread it back, and let it gate that same channel.

        x̂ = gather(x)    y = x · σ(interp(excite(x̂)))

    The family runs over how wide to gather and how much to learn:

    * extent: 0 gathers the whole map to 1 × 1; e ≥ 2 gathers windows of 2e − 1 pixels, every e pixels, to
      ⌈h/e⌉ × ⌈w/e⌉ cells.
    * kind "minus" (θ⁻): gather is the average, excite nothing, no parameters.
    * kind "theta" (θ): gather is a depth-wise convolution (global: one kernel as large as the map; local: log₂ e
      3 × 3 convolutions of stride 2 with ReLU between them), each followed by BN.
    * kind "plus" (θ⁺): as θ with a ReLU at the end, and excite is SE's pair of layers, c → c/r → c.

    Global average with excite would be SE. interp repeats the nearest cell. The average leaves out the padding: if
    it counted, gates at the border would lie nearer to one half. σ comes before interp here: the same numbers,
    computed once a cell.

    Args:
        channels: number of channels c.
        extent: the paper's extent ratio e; a power of 2 if something is learned.
        kind: ``"minus"``, ``"theta"`` or ``"plus"``.
        size: (h, w) of the map, which the kernel of a global θ or θ⁺ must know.
        reduction: how many times fewer hidden units than channels in θ⁺ (the paper's r).
        hidden: number of hidden units, where it is no quotient of the channels; reduction then has no say.

    Shape:
        x: b c h w -> b c h w; the gates ``attention(x)``: b c h w, in (0, 1).

    Learned: θ⁻ nothing; θ c·h·w + 2c (global) or 11c for each of the log₂ e steps (local); θ⁺ adds
    2c·c/r + c/r + c. Depth-wise weights start normal with variance 2 / fan-in, those of excite normal with
    deviation 0.01, biases at 0; no kind starts as the identity.

    Raises:
        ValueError: if extent, kind and size do not go together, no hidden unit would be left, or the input does not
            fit.

    >>> import torch
    >>> GatherExcite(2, extent=4).attention(torch.zeros(1, 2, 6, 5)).unique().tolist()
    [0.5]
    """

    def __init__(
        self,
        channels: int,
        *,
        extent: int = 0,
        kind: str = "minus",
        size: tuple[int, int] | None = None,
        reduction: int = 16,
        hidden: int | None = None,
    ):
        super().__init__()
        self.channels, self.extent, self.kind = channels, extent, kind
        self.size = size and tuple(size)
        learned = kind in ("theta", "plus")
        if channels < 1:
            raise ValueError(f"channels={channels} leaves nothing to gate; use channels >= 1")
        if not learned and kind != "minus":
            raise ValueError(f"kind={kind!r} is unknown; use 'minus', 'theta' or 'plus'")
        if extent < 0 or extent == 1:
            raise ValueError(f"extent={extent} gathers nothing; use 0 for the whole map, or 2 and more")
        if learned and extent & (extent - 1):
            raise ValueError(f"extent={extent} is not reached by steps of stride 2; use a power of 2 (2, 4, 8) or 0")
        if (size is not None) != (learned and extent == 0):
            raise ValueError(
                f"size={size} does not go with extent={extent}, kind={kind!r}; give size=(h, w) for a learned kernel "
                "over the whole map (extent=0, kind 'theta' or 'plus') and for nothing else"
            )
        if learned:
            self.gather = _depthwise(channels, extent, size, last_relu=kind == "plus")
        elif extent == 0:
            self.gather = nn.AdaptiveAvgPool2d(1)
        else:
            self.gather = nn.AvgPool2d(2 * extent - 1, stride=extent, padding=extent - 1, count_include_pad=False)
        self.excite = nn.Identity()
        if kind == "plus":
            self.excite = _excite(channels, hidden_width(channels, reduction, hidden))

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.channels)
        if self.size is not None and x.shape[2:] != self.size:
            raise ValueError(f"input has maps of {tuple(x.shape[2:])}, the kernel was built for size={self.size}")
        gates = self.excite(self.gather(x)).sigmoid()  # b c h w -> b c h' w'
        if self.extent == 0:
            return gates.expand_as(x)  # b c 1 1 -> b c h w, without a copy
        return interpolate(gates, size=x.shape[2:], mode="nearest")  # b c h' w' -> b c h w

    def forward(self, x: Tensor) -> Tensor:
        return x * self.attention(x)


def _depthwise(channels: int, extent: int, size: tuple[int, int] | None, *, last_relu: bool) -> nn.Sequential:
    """Depth-wise convolutions from b c h w to b c h' w', each followed by BN, with ReLU between them."""
    layers = []
    for _ in range(extent.bit_length() - 1 if extent else 1):  # log₂ e steps, or one as large as the map
        shape = {"kernel_size": 3, "stride": 2, "padding": 1} if extent else {"kernel_size": size}
        conv = nn.Conv2d(channels, channels, groups=channels, bias=False, **shape)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers if last_relu else layers[:-1])


def _excite(channels: int, hidden: int) -> nn.Sequential:
    """SE's two layers as 1 × 1 convolutions, which also serve where more than one cell was gathered."""
    layers = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
    for conv in (layers[0], layers[2]):
        nn.init.normal_(conv.weight, std=0.01)
        nn.init.zeros_(conv.bias)
    return layers
