"""You Look Twice: GaterNet for Dynamic Filter Selection in CNNs.

Zhourong Chen, Yang Li, Samy Bengio, Si Si, CVPR 2019, arXiv 1811.11205, section 3.
Lesson: notebooks/16_branch.ipynb
"""

import torch
from torch import Tensor, nn

from course_lib.checks import check_features


def improved_semhash(logits: Tensor, *, training: bool = True, generator: torch.Generator | None = None) -> Tensor:
    """Round to 0 or 1 and still learn: half of the samples pass soft gates on, half hard ones, all soft gradients.

        z = logits + ε,  ε ~ N(0, 1)    g_α = clip(1.2 σ(z) − 0.1, 0, 1)    g_β = 1[z > 0]

    In training a fair coin for each sample decides between g_α and g_β; the gradient is always that of g_α (the
    straight-through trick), which is zero for ``|z|`` ≥ log 11, where g_α has reached 0 or 1. Otherwise there is no
    noise, the gates are g_β, and they have no gradient.

    Shape:
        logits: b filters -> b filters, in [0, 1].

    >>> improved_semhash(torch.tensor([[-0.3, 0.2, 5.0]]), training=False).tolist()
    [[0.0, 1.0, 1.0]]
    """
    if training:
        like = {"dtype": logits.dtype, "device": logits.device}
        logits = logits + torch.randn(logits.shape, generator=generator, **like)
    soft = (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)
    hard = (logits > 0).to(logits.dtype) + (soft - soft.detach())  # the value of g_β, the gradient of g_α
    if not training:
        return hard.detach()
    coin = torch.rand(logits.shape[0], 1, generator=generator, device=logits.device) < 0.5
    return torch.where(coin, soft, hard)


class Gater(nn.Module):
    """Look once to decide which filters are worth running, and a second time with those only.

        f = E(image)    g⁰ = FC₂(δ(BN(FC₁ f)))    g = ImprovedSemHash(g⁰)    O_i = features_i · g_i

    A small network E with its own weights sees the image and opens or closes every filter of another network, the
    backbone: ``forward`` closes filters of one of its layers, and for several layers the filters of all of them are
    counted in ``filters`` and ``attention(image).split([16, 32], dim=1)`` gives each layer its gates. The paper adds
    λ · ``attention(image).mean()`` to the loss, so that few filters open. Its E is a ResNet-20; here it is two 3×3
    convolutions of stride 2 with BatchNorm. No computing is saved: a closed filter is computed and multiplied by 0.

    Args:
        channels: number of channels c of the image.
        filters: number of gated filters (the paper's c).
        feature_dim: length of f (the paper's h).
        hidden: units between FC₁ and FC₂ (the paper's b).

    Shape:
        image: b c h w and features: b filters h' w' -> b filters h' w'; ``attention(image)``: b filters, 0 or 1
        in eval mode, in [0, 1] and noisy in training mode.

    Learned: E, FC₁ and FC₂ without biases, and the BN between them, torch's default start. In training mode this BN
    needs at least two samples.

    Raises:
        ValueError: if an input does not fit.

    >>> Gater(3, 8).eval()(torch.zeros(2, 3, 9, 9), torch.ones(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, channels: int, filters: int, *, feature_dim: int = 32, hidden: int = 16):
        super().__init__()
        self.channels, self.filters = channels, filters
        layers = []
        for c in (channels, feature_dim):
            conv = nn.Conv2d(c, feature_dim, 3, stride=2, padding=1, bias=False)
            layers += [conv, nn.BatchNorm2d(feature_dim), nn.ReLU()]
        self.extract = nn.Sequential(*layers)
        self.decide = nn.Sequential(
            nn.Linear(feature_dim, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, filters, bias=False),
        )

    def logits(self, image: Tensor) -> Tensor:
        check_features(image, self.channels)
        f = self.extract(image).mean(dim=(2, 3))  # b c h w -> b feature_dim
        return self.decide(f)  # b filters

    def attention(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        return improved_semhash(self.logits(image), training=self.training)

    def forward(self, image: Tensor, features: Tensor) -> Tensor:
        check_features(features, self.filters)
        if features.shape[0] != image.shape[0]:
            raise ValueError(
                f"{image.shape[0]} images and features of {features.shape[0]}; give both for the same batch"
            )
        return features * self.attention(image)[:, :, None, None]  # b filters -> b filters 1 1
