"""A mechanism of the catalogue made to fit into a slot b c h w -> b c h w, or the reason why it does not.

>>> fill("NonLocal", 16, 4, 12).__class__.__name__
'NonLocal'
"""

from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor, nn

from course_lib.basics.multi_head import MultiHeadAttention
from course_lib.branch.dynamic_convolution import DynamicConv2d
from course_lib.branch.gater import Gater
from course_lib.branch.selective_kernel import SelectiveKernel
from course_lib.catalog import mechanism
from course_lib.costs import required
from course_lib.cross.bilinear import BilinearAttention
from course_lib.cross.context import ContextTransformer
from course_lib.spatial.asymmetric_non_local import AsymmetricFusion
from course_lib.spatial.vector_attention import PairwiseVectorAttention, PatchwiseVectorAttention
from course_lib.spatial_temporal.cross_frame import CrossFrameGlobalAttention
from course_lib.spatial_temporal.divided import DividedSpaceTime
from course_lib.spatial_temporal.stc import SpatioTemporalChannel
from course_lib.temporal.frame_attention import FramePooling, TemporalSelfAttention


class Pixels(nn.Module):
    """Each pixel is an element of a sequence, b n c."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(2).mT).mT.unflatten(2, x.shape[2:])


class Columns(nn.Module):
    """Each column is a frame, b c w h 1; a pooled film, b c h 1, is the answer for every frame."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        film = self.inner(x.movedim(3, 2)[..., None])
        return film.expand_as(x) if film.ndim == 4 else film[..., 0].movedim(2, 3)


class Twice(nn.Module):
    """Both inputs are the same."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x)


RIVALS: dict[str, Callable[[int], nn.Module]] = {  # what stands in the slot where no attention does
    "nothing": lambda c: nn.Identity(),
    "convolution 1 × 1": lambda c: nn.Conv2d(c, c, 1),
    "convolution 3 × 3": lambda c: nn.Conv2d(c, c, 3, padding=1),
    "convolution 7 × 7": lambda c: nn.Conv2d(c, c, 7, padding=3),
}
FITTED: dict[str, Callable[[int, int], nn.Module]] = {  # c and w -> rows of the catalogue that need a hand to fit
    "MultiHeadAttention": lambda c, w: Pixels(MultiHeadAttention(c, 4)),
    "AsymmetricFusion": lambda c, w: Twice(AsymmetricFusion(c, c)),
    "PairwiseVectorAttention": lambda c, w: PairwiseVectorAttention(c, value_channels=c),
    "PatchwiseVectorAttention": lambda c, w: PatchwiseVectorAttention(c, value_channels=c),
    "SelectiveKernel": lambda c, w: SelectiveKernel(c, groups=16),
    "DynamicConv2d": lambda c, w: DynamicConv2d(c, c, 3),
    "Gater": lambda c, w: Twice(Gater(c, c)),
    "FramePooling": lambda c, w: Columns(FramePooling(c)),
    "TemporalSelfAttention": lambda c, w: Columns(TemporalSelfAttention(c, 4)),
    "DividedSpaceTime": lambda c, w: Columns(DividedSpaceTime(c, 4)),
    "SpatioTemporalChannel": lambda c, w: Columns(SpatioTemporalChannel(c, 2, frames=w)),
    "CrossFrameGlobalAttention": lambda c, w: Twice(CrossFrameGlobalAttention(c)),
    "BilinearAttention": lambda c, w: Pixels(Twice(BilinearAttention(c, c, 4, 2))),
    "ContextTransformer": lambda c, w: Pixels(Twice(ContextTransformer(c))),
}
LEFT_OUT = {  # and why
    "ShowAttendTellCell": "writes words, one after the other",
    "RecurrentAttention": "a whole network, whose eye is trained by rewards",
    "AttentionProposal": "cuts a region out of a second, larger image",
    "GranularityDescriptors": "describes an image, with three networks of its own",
    "VisionTransformer": "a whole network; its attention is the row MultiHeadAttention",
    "SCA": "asks for the state of a sentence",
    "CrossFrameLocalInterpolation": "reads points in space, not pixels",
}


def fill(name: str, c: int, h: int, w: int) -> nn.Module:
    """The rival or the mechanism of that name, as wide as the slot, with the catalogue's arguments.

    Inner layers keep a quarter of the channels where the paper's default, made for hundreds, would leave one or two.

    Raises:
        ValueError: if the mechanism is left out (LEFT_OUT says why) or does not exist at this size.
    """
    slot = build(name, c, h, w)
    with torch.no_grad():
        slot.eval()(torch.zeros(1, c, h, w))  # some say only here that they do not exist at this size
    return slot.train()


def build(name: str, c: int, h: int, w: int) -> nn.Module:
    """The module, not yet tried."""
    if name in LEFT_OUT:
        raise ValueError(f"{name} does not fit into a slot: it is or does something else ({LEFT_OUT[name]})")
    if name in RIVALS:
        return RIVALS[name](c)
    if name in FITTED:
        return FITTED[name](c, w)
    row = mechanism(name)
    narrow = {"reduction": 4} if "reduction" in signature(row.module).parameters else {}
    return row.build(c, h, w, **required(row) | narrow)
