"""CondConv, and dynamic convolution: attention over kernels.

Brandon Yang, Gabriel Bender, Quoc V. Le, Jiquan Ngiam, CondConv: Conditionally Parameterized Convolutions for
Efficient Inference, NeurIPS 2019, arXiv 1904.04971, section 3. Yinpeng Chen et al., Dynamic Convolution: Attention
over Convolution Kernels, CVPR 2020, arXiv 1912.03458, section 3.
Lesson: notebooks/16_branch.ipynb
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.checks import check_features


class DynamicConv2d(nn.Module):
    """Keep several kernels, and convolve each image once, with its own mixture of them.

        W(x) = Σ_k π_k(x) W_k    b(x) = Σ_k π_k(x) b_k    y = W(x) * x + b(x)
        dynamic convolution:  π = softmax(W₂ δ(W₁ mean_hw x) / τ)
        CondConv:             π = σ(R mean_hw x + r)

    Mixing kernels equals mixing the outputs of K convolutions and costs one. ``weight`` and ``bias`` hold the K
    experts, ``route`` is what stands inside softmax or σ, and τ is the buffer ``temperature``, saved with the
    weights. Dynamic convolution lowers it during training: ``layer.temperature.fill_(tau)``, from 30 to 1 in the
    first epochs, since at a low τ one expert gets most of the gradient at first. BatchNorm and activation come after
    the layer.

    Args:
        in_channels, out_channels, kernel_size: as in ``nn.Conv2d``; kernel_size odd, the size of the map is kept.
        experts: number of kernels K (4 in dynamic convolution, 8 in CondConv).
        normalise: "softmax" for dynamic convolution, "sigmoid" for CondConv.
        temperature: τ at the start of training; CondConv has none.
        reduction: how many times fewer hidden units than channels in the softmax route.
        stride, groups, bias: as in ``nn.Conv2d``.

    Shape:
        x: b c h w -> b o h w (divided by the stride, rounded up); ``attention(x)``: b p, in (0, 1); with softmax
        it sums to 1 over the experts p.

    Learned: K kernels and biases, each started by itself as ``nn.Conv2d`` starts; W₁ without bias, W₂ and R with,
    torch's default start.

    Raises:
        ValueError: if ``normalise`` is unknown, a size does not fit, or the input does not.

    >>> DynamicConv2d(8, 4, 3, experts=2).attention(torch.zeros(1, 8, 5, 5)).sum(dim=1).round(decimals=4).tolist()
    [1.0]
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        experts: int = 4,
        normalise: str = "softmax",
        temperature: float = 30.0,
        reduction: int = 4,
        stride: int = 1,
        groups: int = 1,
        bias: bool = True,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} has no middle; use {kernel_size - 1} or {kernel_size + 1}")
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        if experts < 1 or temperature <= 0:
            raise ValueError(f"experts={experts} must be at least 1 and temperature={temperature} above 0")
        self.in_channels, self.stride, self.groups, self.normalise = in_channels, stride, groups, normalise
        fan_in = in_channels // groups * kernel_size**2
        # torch's start of one convolution: uniform with bound 1 / √fan_in for kernel and bias
        kernel = (out_channels, in_channels // groups, kernel_size, kernel_size)
        self.weight = nn.ParameterList(torch.empty(kernel) for _ in range(experts))  # channels_last refuses five axes
        for expert in self.weight:
            nn.init.uniform_(expert, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        self.bias = nn.Parameter(torch.empty(experts, out_channels)) if bias else None
        if bias:
            nn.init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        if normalise == "softmax":
            if not 1 <= reduction <= in_channels:
                raise ValueError(
                    f"in_channels={in_channels} leaves no hidden unit at reduction={reduction}; "
                    f"use reduction <= {in_channels}"
                )
            hidden = in_channels // reduction
            squeeze = nn.Linear(in_channels, hidden, bias=False)
            self.route = nn.Sequential(squeeze, nn.ReLU(), nn.Linear(hidden, experts))
            self.register_buffer("temperature", torch.tensor(float(temperature)))
        elif normalise == "sigmoid":
            self.route = nn.Linear(in_channels, experts)
        else:
            raise ValueError(f"normalise={normalise!r} is unknown; use 'softmax' or 'sigmoid'")

    def attention(self, x: Tensor) -> Tensor:
        check_features(x, self.in_channels)
        logits = self.route(x.mean(dim=(2, 3)))  # b c h w -> b c -> b p
        return logits.sigmoid() if self.normalise == "sigmoid" else (logits / self.temperature).softmax(dim=1)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.attention(x)
        padding = self.weight[0].shape[-1] // 2
        if x.shape[0] == 0:  # no image, no mixture: any kernel gives the empty result its shape
            return F.conv2d(x, self.weight[0], None, self.stride, padding, groups=self.groups)
        experts = torch.stack(list(self.weight))  # p o c i i
        kernels = (weights @ experts.flatten(1)).view(-1, *experts.shape[2:])  # b p, p ocii -> bo c i i
        bias = None if self.bias is None else (weights @ self.bias).flatten()  # b p, p o -> bo
        images = x.reshape(1, -1, *x.shape[2:])  # b c h w -> 1 bc h w: the channels of an image are a group
        y = F.conv2d(images, kernels, bias, self.stride, padding, groups=x.shape[0] * self.groups)
        return y.view(x.shape[0], -1, *y.shape[2:])  # 1 bo h w -> b o h w
