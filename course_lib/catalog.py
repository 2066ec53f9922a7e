"""Every mechanism of the library, one row each: the only list anywhere.

The contract test, the tables of the README, ``course list`` and lesson 19 read it.
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from course_lib.basics.multi_head import MultiHeadAttention
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.vision_transformer import VisionTransformer


class Gate(NamedTuple):
    """A map that multiplies the features element by element, with values in [low, high]."""

    low: float
    high: float


class Distribution(NamedTuple):
    """A map of weights >= 0 that sum to 1 over ``axis``."""

    axis: int | tuple[int, ...]


class Free(NamedTuple):
    """A map of any real numbers: signed affinities, offsets in pixels, a region."""

    meaning: str


Map = Gate | Distribution | Free


class Mechanism(NamedTuple):
    """One row. ``build(c, h, w)`` makes the module for that size; ``small`` are the arguments at test size."""

    module: type[nn.Module]
    title: str
    paper: str  # first author, year, arXiv id
    lesson: int
    map: Map | tuple[Map, ...]  # a tuple where attention(x) returns several maps
    map_shape: str  # in axis letters, as in the docstring
    parameters: Callable[[nn.Module], int]  # the number of parameters by the paper's formula
    arguments: Callable[[int, int, int], tuple] = lambda c, h, w: (c,)
    small: dict = {}  # noqa: RUF012  (rows are constants)
    size: tuple[int, int, int] = (12, 5, 7)  # c h w of the tests
    inputs: Callable[[int, int, int, int], tuple] = lambda b, c, h, w: ((b, c, h, w),)
    output: Callable[[int, int, int, int], tuple] = lambda b, c, h, w: (b, c, h, w)
    no_gradient: dict = {}  # noqa: RUF012  parameter -> why it gets none in the first step
    untraceable: str = ""  # why torch.compile cannot take it whole
    couples_samples: str = ""  # why one sample's output depends on the others in eval mode

    @property
    def name(self) -> str:
        return self.module.__name__

    @property
    def room(self) -> str:
        return self.module.__module__.split(".")[1]

    def build(self, c: int, h: int, w: int, **arguments) -> nn.Module:
        return self.module(*self.arguments(c, h, w), **arguments)


CATALOG = (
    # basics — before any network
    Mechanism(
        MultiHeadAttention,
        title="Multi-head attention",
        paper="Vaswani 2017, arXiv 1706.03762",
        lesson=1,
        map=Distribution(-1),
        map_shape="b s n n",
        parameters=lambda m: 4 * m.channels**2 + 4 * m.channels,
        arguments=lambda c, h, w: (c, 4),
        inputs=lambda b, c, h, w: ((b, h * w, c),),
        output=lambda b, c, h, w: (b, h * w, c),
        no_gradient={"key.bias": "a constant added to all keys changes no weight"},
    ),
    # channel — what
    Mechanism(
        SqueezeExcitation,
        title="Squeeze-and-Excitation",
        paper="Hu 2018, arXiv 1709.01507",
        lesson=3,
        map=Gate(0, 1),
        map_shape="b c 1 1",
        parameters=lambda m: 2 * m.channels * m.squeeze.out_features,
        small={"reduction": 2},
    ),
    # spatial — where
    Mechanism(
        VisionTransformer,
        title="Vision Transformer (ViT)",
        paper="Dosovitskiy 2021, arXiv 2010.11929",
        lesson=14,
        map=Distribution(3),
        map_shape="list of b s n n",
        parameters=lambda m: (
            (d := m.class_token.shape[2]) * (m.patches.channels * m.patches.patch_size**2 + m.positions.shape[1] + 4)
            + len(m.blocks) * (12 * d * d + 13 * d)
            + (d + 1) * m.head.out_features
        ),
        arguments=lambda c, h, w: ((h, w), 4, c),
        small={"embed_dim": 10, "depth": 2, "num_heads": 2, "num_classes": 7},
        size=(5, 8, 12),
        output=lambda b, c, h, w: (b, 7),
        no_gradient={f"blocks.{i}.key.bias": "a constant added to all keys changes no weight" for i in (0, 1)},
    ),
    Mechanism(
        NonLocal,
        title="Non-local",
        paper="Wang 2018, arXiv 1711.07971",
        lesson=9,
        map=Distribution(2),
        map_shape="b n n",
        parameters=lambda m: 4 * m.channels * (d := m.channels // 2) + 3 * d + 3 * m.channels,
        no_gradient=dict.fromkeys(
            [f"{layer}.{name}" for layer in ("query", "key", "value", "output") for name in ("weight", "bias")],
            "the batch norm after W_z starts with scale zero",
        ),
    ),
    # channel_spatial — what and where
    # branch — which
    # temporal, spatial_temporal — when
    # cross — two inputs
)
