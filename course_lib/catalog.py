"""Every mechanism of the library, one row each: the only list anywhere.

The contract test, the tables of the README, ``course list`` and lesson 19 read it.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from torch import nn

from course_lib.basics.multi_head import MultiHeadAttention
from course_lib.basics.show_attend_tell import ShowAttendTellCell
from course_lib.branch.dynamic_convolution import DynamicConv2d
from course_lib.branch.gater import Gater
from course_lib.branch.selective_kernel import SelectiveKernel
from course_lib.channel.context_encoding import ContextEncoding
from course_lib.channel.efficient_channel import EfficientChannel
from course_lib.channel.frequency_channel import FrequencyChannel
from course_lib.channel.gated_channel import GatedChannelTransform
from course_lib.channel.gather_excite import GatherExcite
from course_lib.channel.second_order_pooling import SecondOrderPooling
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.channel.style_recalibration import StyleRecalibration
from course_lib.channel_spatial.bam import BAM
from course_lib.channel_spatial.cbam import CBAM
from course_lib.channel_spatial.dual import ChannelAttention, DualAttention, PositionAttention
from course_lib.channel_spatial.sca import SCA
from course_lib.cross.bilinear import BilinearAttention
from course_lib.cross.context import ContextTransformer
from course_lib.spatial.asymmetric_non_local import AsymmetricFusion, AsymmetricPyramid
from course_lib.spatial.attention_factors import FactorisedAttention
from course_lib.spatial.augmented_convolution import AugmentedConv2d
from course_lib.spatial.compact_non_local import CompactNonLocal
from course_lib.spatial.criss_cross import CrissCross
from course_lib.spatial.deformable import DeformableConv2d
from course_lib.spatial.double_attention import DoubleAttention
from course_lib.spatial.dynamic_graph import DynamicGraph
from course_lib.spatial.external import ExternalAttention
from course_lib.spatial.glimpse import RecurrentAttention
from course_lib.spatial.global_context import GlobalContext, SimplifiedNonLocal
from course_lib.spatial.global_reasoning import GlobalReasoning
from course_lib.spatial.granularity import GranularityDescriptors
from course_lib.spatial.local_relation import LocalRelation
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.pyramid_graph import PyramidGraph
from course_lib.spatial.spatial_transformer import SpatialTransformer
from course_lib.spatial.stand_alone import StandAloneAttention
from course_lib.spatial.vector_attention import PairwiseVectorAttention, PatchwiseVectorAttention
from course_lib.spatial.vision_transformer import VisionTransformer
from course_lib.spatial.zoom import AttentionProposal
from course_lib.spatial_temporal.cross_frame import CrossFrameGlobalAttention, CrossFrameLocalInterpolation
from course_lib.spatial_temporal.divided import DividedSpaceTime
from course_lib.spatial_temporal.stc import SpatioTemporalChannel
from course_lib.temporal.frame_attention import FramePooling, TemporalSelfAttention


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

QUESTIONS = {  # what each room asks: the survey's taxonomy
    "basics": "how",
    "channel": "what",
    "spatial": "where",
    "channel_spatial": "what and where",
    "branch": "which",
    "temporal": "when",
    "spatial_temporal": "where and when",
    "cross": "between two inputs",
}


CITIZEN = {  # what engineers ask of a module; tests/test_citizens.py drives every row through each
    "batch": "`torch.export` once, run at any batch size",
    "size": "`torch.export` once, run at any height and width",
    "called": "every layer is called, not only read: LoRA, pruning and int8 layers take effect",
    "half": "`.half()` and `.bfloat16()`",
    "twice": "second derivatives, with torch's default attention kernel",
    "ddp": "`DistributedDataParallel` with its defaults, trained by the loss of `forward`",
    "samples": "gradients of each sample by `torch.func`",
    "copies": "`deepcopy` and pickle, also after a training step; `.to(memory_format=torch.channels_last)`",
    "meta": "built on the meta device, `to_empty`, `reset_parameters` where there is one, `load_state_dict`",
    "onnx": "`torch.onnx.export` of what was exported, run by onnxruntime at another batch size",
}


# reasons that several rows share
FUSED = "torch's fused kernel has none; call it inside sdpa_kernel(SDPBackend.MATH)"
TAPS = "a loop over the taps of the window is unrolled for one size"
IN_PLACE = "its sums over the window are written in place"


class Mechanism(NamedTuple):
    """One row. ``build(c, h, w)`` makes the module for that size; ``small`` are the arguments at test size."""

    module: type[nn.Module]
    title: str
    paper: str  # first author, year, arXiv id
    lesson: int
    map: Map | tuple[Map, ...]  # a tuple where attention(x) returns several maps
    map_shape: str  # in axis letters, as in the docstring; ", " between several maps
    parameters: Callable[[Any], int]  # the number of parameters by the paper's formula
    arguments: Callable[[int, int, int], tuple] = lambda c, h, w: (c,)
    named: Callable[[int, int, int], dict] = lambda c, h, w: {}
    small: dict = {}  # noqa: RUF012  (rows are constants)
    size: tuple[int, int, int] = (12, 5, 7)  # c h w of the tests
    inputs: Callable[[int, int, int, int], tuple] = lambda b, c, h, w: ((b, c, h, w),)
    output: Callable[[int, int, int, int], tuple] = lambda b, c, h, w: (b, c, h, w)
    no_gradient: dict = {}  # noqa: RUF012  parameter -> why it gets none in the first step
    any_channels: str = ""  # why any number of channels is right
    untraceable: str = ""  # why torch.compile cannot take it whole
    cannot: dict = {}  # noqa: RUF012  one of CITIZEN -> why it cannot hold here
    couples_samples: str = ""  # why one sample's output depends on the others in eval mode

    @property
    def name(self) -> str:
        return self.module.__name__

    @property
    def room(self) -> str:
        return self.module.__module__.split(".")[1]

    @property
    def question(self) -> str:
        return QUESTIONS[self.room]

    def build(self, c: int, h: int, w: int, **arguments) -> nn.Module:
        return self.module(*self.arguments(c, h, w), **self.named(c, h, w), **arguments)


CATALOG = (
    # basics — before any network
    Mechanism(
        MultiHeadAttention,
        title="Multi-head attention",
        paper="Vaswani 2017, arXiv 1706.03762",
        lesson=1,
        map=Distribution(-1),
        map_shape="b s n n",
        parameters=lambda m: 4 * m.embed_dim**2 + 4 * m.embed_dim,
        arguments=lambda c, h, w: (c, 4),
        inputs=lambda b, c, h, w: ((b, h * w, c),),
        output=lambda b, c, h, w: (b, h * w, c),
        no_gradient={"key.bias": "a constant added to all keys changes no weight"},
        cannot={"twice": FUSED},
    ),
    Mechanism(
        ShowAttendTellCell,
        title="Show, attend and tell",
        paper="Xu 2015, arXiv 1502.03044",
        lesson=2,
        map=Distribution(-1),
        map_shape="b t n",
        parameters=lambda m: (
            (d := m.feature_dim) * (d + 2)  # key and score
            + (n := m.lstm.hidden_size) * d  # query
            + n
            + 1  # selector
            + 2 * (d + 1) * n  # first state
            + 4 * n * (m.embedding_dim + d + n + 2)  # LSTM with torch's two biases
            + m.embedding_dim * (n + 1 + d)  # output
        ),
        arguments=lambda c, h, w: (c, 6, 9),
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, 4, 6)),
        output=lambda b, c, h, w: (b, 4, 6),
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
    Mechanism(
        GatherExcite,
        title="Gather-Excite",
        paper="Hu 2018, arXiv 1810.12348",
        lesson=3,
        map=Gate(0, 1),
        map_shape="b c h w",
        parameters=lambda m: (
            (
                0
                if m.kind == "minus"
                else m.channels * (11 * (m.extent.bit_length() - 1) if m.extent else prod(m.size) + 2)
            )
            + (m.channels + (2 * m.channels + 1) * m.excite[0].out_channels if m.kind == "plus" else 0)
        ),
        small={"extent": 2, "kind": "plus", "reduction": 3},  # the kind that learns and mixes most
    ),
    Mechanism(
        SecondOrderPooling,
        title="Second-order pooling (GSoP)",
        paper="Gao 2019, arXiv 1811.12006",
        lesson=4,
        map=Gate(0, 1),
        map_shape="b c 1 1",
        parameters=lambda m: (c := m.channels) * (d := m.norm.num_features) + 9 * d + 4 * d * d + 4 * d * c + c,
        small={"hidden": 5},
        no_gradient={"reduce.0.bias": "the batch norm after it takes the mean away again"},
    ),
    Mechanism(
        StyleRecalibration,
        title="Style recalibration (SRM)",
        paper="Lee 2019, arXiv 1903.10829",
        lesson=4,
        map=Gate(0, 1),
        map_shape="b c 1 1",
        parameters=lambda m: 4 * m.channels,
        no_gradient={"norm.weight": "it scales z = 0 while the weights of mean and deviation are zero"},
    ),
    Mechanism(
        FrequencyChannel,
        title="Frequency channel attention (FcaNet)",
        paper="Qin 2021, arXiv 2012.11879",
        lesson=4,
        map=Gate(0, 1),
        map_shape="b c 1 1",
        parameters=lambda m: 2 * m.channels * m.squeeze.out_features,
        arguments=lambda c, h, w: (c, h, w),
        small={"reduction": 2, "frequencies": ((0, 0), (0, 1), (2, 1))},
        cannot={"size": "a map of another size is pooled first, and one of its own size is not"},
    ),
    Mechanism(
        ContextEncoding,
        title="Context encoding (EncNet)",
        paper="Zhang 2018, arXiv 1803.08904",
        lesson=4,
        map=Gate(0, 1),
        map_shape="b c 1 1",
        parameters=lambda m: (c := m.channels) * (2 * c + (k := m.norm.num_features) + 3) + 3 * k,
        small={"codewords": 5},
    ),
    Mechanism(
        GatedChannelTransform,
        title="Gated channel transformation (GCT)",
        paper="Yang 2020, arXiv 1909.11519",
        lesson=5,
        map=Gate(0, 2),
        map_shape="b c 1 1",
        parameters=lambda m: 3 * m.channels,
        no_gradient={"alpha": "the gate does not see the channels' size while γ = 0"},
    ),
    Mechanism(
        EfficientChannel,
        title="Efficient channel attention (ECA)",
        paper="Wang 2020, arXiv 1910.03151",
        lesson=5,
        map=Gate(0, 1),
        map_shape="b c 1 1",
        parameters=lambda m: m.conv.kernel_size[0],
    ),
    # spatial — where
    Mechanism(
        RecurrentAttention,
        title="RAM, DRAM glimpses",
        paper="Mnih 2014, arXiv 1406.6247; Ba 2015, arXiv 1412.7755",
        lesson=6,
        map=Free("where each glimpse falls, (x, y) in [−1, 1]"),
        map_shape="b t 2",
        parameters=lambda m: (
            (d := m.glimpse.location[0].out_features) * (m.glimpse.scales * m.channels * m.glimpse.size**2 + 4)
            + 2 * ((h := m.locate.in_features) * d + h)
            + 2 * (h * h + h)
            + (h + 1) * (m.classify.out_features + 3)
        ),
        arguments=lambda c, h, w: (c, 5),
        small={"size": 4, "scales": 2, "hidden_dim": 16, "glimpse_dim": 8},
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, 6, 2)),  # along given places: choosing has no gradient
        output=lambda b, c, h, w: (b, 5),
        no_gradient={
            f"{head}.{part}": "choosing where to look has no gradient; hybrid_loss trains this"
            for head in ("locate", "expect")
            for part in ("weight", "bias")
        },
        cannot={
            "ddp": "locate and expect are trained by hybrid_loss, not by forward; its docstring shows how",
            "size": "the retina counts the pixels of the size that was exported",
        },
    ),
    Mechanism(
        SpatialTransformer,
        title="Spatial transformer (STN)",
        paper="Jaderberg 2015, arXiv 1506.02025",
        lesson=7,
        map=Free("the affine map θ from output to input coordinates"),
        map_shape="b 2 3",
        parameters=lambda m: sum(p.numel() for p in m.localisation.parameters()),
        arguments=lambda c, h, w: (
            nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * c, 8), nn.Tanh(), nn.Linear(8, 6)),
        ),
        small={"size": (4, 6)},
        output=lambda b, c, h, w: (b, c, 4, 6),
        any_channels="the localisation network that it is given decides",
        no_gradient={
            f"localisation.2.{part}": "the last layer starts at zero, so that the map starts as the identity"
            for part in ("weight", "bias")
        },
    ),
    Mechanism(
        DeformableConv2d,
        title="Deformable convolution v1, v2",
        paper="Dai 2017, arXiv 1703.06211; Zhu 2019, arXiv 1811.11168",
        lesson=8,
        map=Free("how far each tap is moved, in pixels, y before x"),
        map_shape="b 2k² h w",
        parameters=lambda m: (
            (k := m.convolution.kernel_size[0] ** 2) * m.in_channels * m.convolution.out_channels
            + m.convolution.out_channels
            + (2 if m.modulation is None else 3) * k * (k * m.in_channels + 1)
        ),
        arguments=lambda c, h, w: (c, c),
        small={"modulated": True},
    ),
    Mechanism(
        AttentionProposal,
        title="Attention proposal (RA-CNN)",
        paper="Fu 2017, no arXiv version",
        lesson=18,
        map=Free("the square to zoom into: x, y, half side, the image from −1 to 1"),
        map_shape="b 3",
        parameters=lambda m: m.channels * m.pool**2 * (n := m.propose[0].out_features) + n + 3 * n + 3,
        small={"size": (3, 4), "pool": 2, "hidden": 8},
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, 3, 2 * h, 2 * w)),
        output=lambda b, c, h, w: (b, 3, 3, 4),
        cannot={"onnx": "torch's converter knows no adaptive max pooling"},
    ),
    Mechanism(
        GranularityDescriptors,
        title="Multiple granularity descriptors (MGD)",
        paper="Wang 2015, no arXiv version",
        lesson=18,
        map=Free("for each level of labels the number of its window"),
        map_shape="b levels",
        parameters=lambda m: sum(p.numel() for net in (*m.detectors, *m.descriptors) for p in net.parameters()),
        arguments=lambda c, h, w: tuple(
            [nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * c, n)) for n in outputs]
            for outputs in ((2, 5), (3, 4))
        ),
        small={"size": 3, "stride": 2},
        output=lambda b, c, h, w: (b, 7),
        any_channels="the networks that it is given decide",
        no_gradient={
            f"detectors.{level}.2.{part}": "the choice is an argmax; a detector is trained first, on its own labels"
            for level in (0, 1)
            for part in ("weight", "bias")
        },
        cannot={"ddp": "detectors have no gradient in forward; freeze them with requires_grad_(False) before"},
    ),
    Mechanism(
        VisionTransformer,
        title="Vision Transformer (ViT)",
        paper="Dosovitskiy 2021, arXiv 2010.11929",
        lesson=14,
        map=Distribution(3),
        map_shape="b s n n",
        parameters=lambda m: (
            (d := m.class_token.shape[2]) * (m.patches.channels * m.patches.patch_size**2 + m.positions.shape[1] + 4)
            + len(m.blocks) * (12 * d * d + 13 * d)
            + (d + 1) * m.head.out_features
        ),
        arguments=lambda c, h, w: ((h, w),),
        named=lambda c, h, w: {"patch_size": 4, "channels": c},
        small={"embed_dim": 10, "depth": 2, "num_heads": 2, "num_classes": 7},
        size=(5, 8, 12),
        output=lambda b, c, h, w: (b, 7),
        no_gradient={f"blocks.{i}.key.bias": "a constant added to all keys changes no weight" for i in (0, 1)},
        cannot={"twice": FUSED, "size": "the positions belong to one size; give interpolate_positions another"},
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
        cannot={"twice": FUSED},
    ),
    Mechanism(
        GlobalContext,
        title="Global context (GCNet)",
        paper="Cao 2019, arXiv 1904.11492",
        lesson=10,
        map=Distribution(2),
        map_shape="b 1 n",
        parameters=lambda m: 2 * (c := m.channels) * (d := m.add[0].out_features) + 2 * c + 3 * d + 1,
        small={"reduction": 2},
        no_gradient=dict.fromkeys(
            [f"{layer}.{name}" for layer in ("key", "add.0", "add.1") for name in ("weight", "bias")],
            "W_v2 starts at zero",
        ),
    ),
    Mechanism(
        SimplifiedNonLocal,
        title="Simplified non-local",
        paper="Cao 2019, arXiv 1904.11492",
        lesson=10,
        map=Distribution(2),
        map_shape="b 1 n",
        parameters=lambda m: m.channels + m.channels**2,
        no_gradient={"key.weight": "W_v starts at zero"},
    ),
    Mechanism(
        StandAloneAttention,
        title="Stand-alone self-attention (SASA)",
        paper="Ramachandran 2019, arXiv 1906.05909",
        lesson=13,
        map=Distribution(-1),
        map_shape="b s h w k²",
        parameters=lambda m: 3 * m.channels**2 + m.kernel_size * m.channels,
        small={"kernel_size": 3, "num_heads": 3},
        cannot={
            "onnx": "torch's converter writes the batch of the export into a reshape",
            "size": TAPS,
            "samples": IN_PLACE,
        },
    ),
    Mechanism(
        CompactNonLocal,
        title="Compact generalised non-local (CGNL)",
        paper="Yue 2018, arXiv 1810.13125",
        lesson=11,
        map=Free("how well keys and values of a group agree over all channels and positions"),
        map_shape="b groups",
        parameters=lambda m: 3 * m.channels * (d := m.channels // 2) + m.channels * d // m.groups + 2 * m.channels,
        small={"groups": 2},
        no_gradient=dict.fromkeys(
            [f"{layer}.weight" for layer in ("query", "key", "value", "output")],
            "the group norm after W_z starts with scale zero",
        ),
    ),
    Mechanism(
        CrissCross,
        title="Criss-cross (CCNet)",
        paper="Huang 2019, arXiv 1811.11721",
        lesson=11,
        map=Distribution(3),
        map_shape="b h w h+w-1",
        parameters=lambda m: (c := m.channels) * (c + 2 * (d := c // 8)) + c + 2 * d + 1,
        size=(19, 5, 7),
        no_gradient=dict.fromkeys(
            [f"{layer}.{name}" for layer in ("query", "key", "value") for name in ("weight", "bias")],
            "γ starts at zero",
        ),
    ),
    Mechanism(
        AsymmetricPyramid,
        title="Asymmetric non-local, pyramid block (ANN)",
        paper="Zhu 2019, arXiv 1908.07678",
        lesson=11,
        map=Distribution(2),
        map_shape="b n m",
        parameters=lambda m: 3 * (c := m.channels) * (d := m.value.out_channels) + 4 * d + c + (2 * c + 3) * c,
        small={"sizes": (1, 2, 3), "dropout": 0.0},
        no_gradient=dict.fromkeys(
            [f"{layer}.{name}" for layer in ("key.0", "key.1", "value") for name in ("weight", "bias")],
            "W_o starts at zero",
        )
        | dict.fromkeys(["output.bias", "fuse.0.bias"], "the batch norm that follows takes constants away"),
    ),
    Mechanism(
        AsymmetricFusion,
        title="Asymmetric non-local, fusion block (ANN)",
        paper="Zhu 2019, arXiv 1908.07678",
        lesson=11,
        map=Distribution(2),
        map_shape="b n m",
        parameters=lambda m: (
            (h := m.high_channels) * (d := m.value.out_channels)
            + 2 * m.low_channels * d
            + 7 * d
            + h * (d + 1)
            + (2 * h + 3) * h
        ),
        arguments=lambda c, h, w: (c, 10),
        small={"sizes": (1, 2, 3), "dropout": 0.0},
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, 10, 2 * h, 2 * w)),
        no_gradient=dict.fromkeys(
            [
                f"{layer}.{name}"
                for layer in ("query.0", "query.1", "key.0", "key.1", "value")
                for name in ("weight", "bias")
            ],
            "W_o starts at zero",
        )
        | dict.fromkeys(["output.bias", "fuse.0.bias"], "the batch norm that follows takes constants away"),
    ),
    Mechanism(
        DoubleAttention,
        title="Double attention (A²-Nets)",
        paper="Chen 2018, arXiv 1810.11579",
        lesson=11,
        map=(Distribution(2), Distribution(1)),
        map_shape="b m n, b m n",
        parameters=lambda m: (
            2 * (c := m.channels) * ((d := m.feature.out_channels) + (s := m.gather.out_channels)) + c + d + 2 * s
        ),
        no_gradient={"gather.bias": "a constant added to all positions changes no weight"},
    ),
    Mechanism(
        ExternalAttention,
        title="External attention",
        paper="Guo 2021, arXiv 2105.02358",
        lesson=11,
        map=Distribution(3),
        map_shape="b s n m",
        parameters=lambda m: (
            2 * (c := m.channels) ** 2 + 3 * c + 2 * m.memory_key.in_channels * m.memory_key.out_channels
        ),
        small={"slots": 5, "num_heads": 3},
        no_gradient={"embed.bias": "it gives all positions the same score, which the softmax over them takes away"},
    ),
    Mechanism(
        GlobalReasoning,
        title="Global reasoning (GloRe)",
        paper="Chen 2019, arXiv 1811.12814",
        lesson=12,
        map=Free("how strongly a pixel belongs to a node, of any sign"),
        map_shape="b m n",
        parameters=lambda m: (
            m.channels * (2 * (s := m.state.out_channels) + (n := m.assignment.out_channels) + 2)
            + s * (s + 1)
            + n * (n + 2)
        ),
        small={"nodes": 5},
        no_gradient=dict.fromkeys(
            [f"{layer}.{name}" for layer in ("assignment", "state", "adjacency") for name in ("weight", "bias")]
            + ["update.weight", "extend.weight"],
            "the batch norm after W_o starts with scale zero",
        ),
    ),
    Mechanism(
        PyramidGraph,
        title="Pyramid graph reasoning (SpyGR)",
        paper="Li 2020, arXiv 2003.10211",
        lesson=12,
        map=Free("normalised similarity of two pixels, in [0, 1], of largest eigenvalue 1"),
        map_shape="b n n",
        parameters=lambda m: (
            len(m.levels) * (2 * (c := m.channels) * (f := m.levels[0].embed.out_channels) + 2 * f + c * c)
        ),
    ),
    Mechanism(
        LocalRelation,
        title="Local relation (LR-Net)",
        paper="Hu 2019, arXiv 1904.11491",
        lesson=13,
        map=Distribution(-1),
        map_shape="b groups h w k²",
        parameters=lambda m: 2 * m.channels * m.groups + m.channels**2 + 48 + 16 * m.groups,
        small={"kernel_size": 3, "groups": 3},
        cannot={"size": TAPS, "samples": IN_PLACE},
    ),
    Mechanism(
        PairwiseVectorAttention,
        title="Pairwise vector attention (SAN)",
        paper="Zhao 2020, arXiv 2004.13621",
        lesson=13,
        map=Distribution(-1),
        map_shape="b c' h w k²",
        parameters=lambda m: (
            (2 * (r := m.query.out_channels) + (v := m.value.out_channels)) * (m.channels + 1)
            + 6
            + (r + 2) * (r + 2)
            + 2 * r
            + (r + 1) * v // m.share
        ),
        small={"kernel_size": 3, "hidden": 5, "value_channels": 6, "share": 3},
        output=lambda b, c, h, w: (b, 6, h, w),
        no_gradient={
            "query.bias": "the norm after it subtracts the mean",
            "key.bias": "the norm after it subtracts the mean",
            "position.bias": "subtracted away with p_i − p_j",
            "weigh.5.bias": "a constant added to all scores changes no weight",
        },
        cannot={"size": TAPS, "samples": IN_PLACE},
    ),
    Mechanism(
        PatchwiseVectorAttention,
        title="Patchwise vector attention (SAN)",
        paper="Zhao 2020, arXiv 2004.13621",
        lesson=13,
        map=Free("weight of each place of the window, of either sign"),
        map_shape="b c' h w k²",
        parameters=lambda m: (
            (2 * (r := m.query.out_channels) + (v := m.value.out_channels)) * (m.channels + 1)
            + r * (1 + m.kernel_size**2) * (2 + (n := v // m.share))
            + 2 * n
            + (n + 1) * n * m.kernel_size**2
        ),
        small={"kernel_size": 3, "hidden": 5, "value_channels": 6, "share": 3},
        output=lambda b, c, h, w: (b, 6, h, w),
        no_gradient={
            "query.bias": "the norm after it subtracts the mean",
            "key.bias": "the norm after it subtracts the mean",
        },
        cannot={"samples": IN_PLACE},
    ),
    Mechanism(
        AugmentedConv2d,
        title="Attention-augmented convolution (AA-conv)",
        paper="Bello 2019, arXiv 1904.09925",
        lesson=13,
        map=Distribution(3),
        map_shape="b s n n",
        parameters=lambda m: (
            m.conv.weight.numel()
            + m.in_channels * (2 * (k := m.query.out_channels) + (v := m.value.out_channels))
            + v * v
            + (2 * sum(m.size) - 2) * k // m.num_heads
            + (m.conv.out_channels + 2 * k + 2 * v)  # biases
        ),
        arguments=lambda c, h, w: (c, c),
        small={"num_heads": 2, "key_ratio": 0.5, "value_ratio": 0.25, "size": 7},
        no_gradient={"key.bias": "a constant added to all keys changes no weight"},
        cannot={
            "twice": FUSED,
            "size": "the tables of steps are cut, and widths compared, at the size that was exported",
        },
    ),
    Mechanism(
        FactorisedAttention,
        title="Four factors of spatial attention",
        paper="Zhu 2019, arXiv 1904.05873",
        lesson=13,
        map=Distribution(3),
        map_shape="b s n n",
        parameters=lambda m: (
            m.channels**2 * (2 + (m.query is not None) + (m.key is not None) + (m.rows is not None))
            + m.channels * (1 + m.key_only + m.step_only)
            + 1
        ),
        small={"num_heads": 3},
        no_gradient=dict.fromkeys(
            (
                *("query.weight", "key.weight", "rows.weight", "columns.weight", "key_bias", "step_bias"),
                *("value.weight", "project.weight", "project.bias"),
            ),
            "gamma starts at 0, so only gamma moves in the first step",
        ),
        cannot={"twice": FUSED},
    ),
    Mechanism(
        DynamicGraph,
        title="Dynamic graph message passing (DGMN)",
        paper="Zhang 2020, arXiv 1908.06955",
        lesson=12,
        map=Distribution(1),
        map_shape="b samples h w",
        parameters=lambda m: m.channels * m.samples**2 * (2 + m.groups + 1) + 1,
    ),
    # channel_spatial — what and where
    Mechanism(
        CBAM,
        title="CBAM",
        paper="Woo 2018, arXiv 1807.06521",
        lesson=15,
        map=Gate(0, 1),
        map_shape="b c h w",
        parameters=lambda m: 2 * m.channels * m.squeeze.out_features + m.locate.weight.numel(),
        small={"reduction": 2},
    ),
    Mechanism(
        BAM,
        title="BAM",
        paper="Park 2018, arXiv 1807.06514",
        lesson=15,
        map=Gate(1, 2),
        map_shape="b c h w",
        parameters=lambda m: (
            3 * m.channels + 3 + (3 * m.channels + 13) * m.what[0].out_features + 18 * m.what[0].out_features ** 2
        ),
        small={"reduction": 2, "dilation": 2},
        no_gradient={
            f"{layer}.bias": "the BatchNorm behind it removes the mean"
            for layer in ("what.0", "what.3", "where.0", "where.3", "where.6", "where.9")
        },
    ),
    Mechanism(
        SCA,
        title="SCA-CNN",
        paper="Chen 2017, arXiv 1611.05594",
        lesson=15,
        map=(Distribution(1), Distribution(1)),
        map_shape="b c, b n",
        parameters=lambda m: m.score_channel.in_features * (m.channels + 2 * m.hidden_dim + 5),
        arguments=lambda c, h, w: (c, 5),
        small={"attention_dim": 4},
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, 5)),
    ),
    Mechanism(
        PositionAttention,
        title="DANet, positions",
        paper="Fu 2019, arXiv 1809.02983",
        lesson=15,
        map=Distribution(2),
        map_shape="b n n",
        parameters=lambda m: (2 * m.query.out_channels + m.channels) * (m.channels + 1) + 1,
        small={"reduction": 4},
        no_gradient={
            f"{layer}.{part}": "gamma starts at zero"
            for layer in ("query", "key", "value")
            for part in ("weight", "bias")
        },
        cannot={"samples": "the map is computed again for the backward pass, and torch.func knows no checkpoint"},
    ),
    Mechanism(
        ChannelAttention,
        title="DANet, channels",
        paper="Fu 2019, arXiv 1809.02983",
        lesson=15,
        map=Distribution(2),
        map_shape="b c c",
        parameters=lambda m: 1,
        arguments=lambda c, h, w: (),
        any_channels="it has no projection",
    ),
    Mechanism(
        DualAttention,
        title="DANet, both",
        paper="Fu 2019, arXiv 1809.02983",
        lesson=15,
        map=(Distribution(2), Distribution(2)),
        map_shape="b n n, b c c",
        parameters=lambda m: (
            (2 * m.position.query.out_channels + m.position.channels) * (m.position.channels + 1) + 2
        ),
        small={"reduction": 4},
        no_gradient={
            f"position.{layer}.{part}": "gamma starts at zero"
            for layer in ("query", "key", "value")
            for part in ("weight", "bias")
        },
        cannot={"samples": "the map is computed again for the backward pass, and torch.func knows no checkpoint"},
    ),
    # branch — which
    Mechanism(
        SelectiveKernel,
        title="Selective kernel",
        paper="Li 2019, arXiv 1903.06586",
        lesson=16,
        map=Distribution(1),
        map_shape="b p c 1 1",
        parameters=lambda m: (
            len(m.branches) * (9 * m.channels**2 // m.branches[0][0].groups + 2 * m.channels)
            + (1 + len(m.branches)) * m.channels * m.squeeze.out_features
            + 2 * m.squeeze.out_features
        ),
        small={"groups": 4, "reduction": 2, "min_hidden": 5},
    ),
    Mechanism(
        DynamicConv2d,
        title="Dynamic convolution, CondConv",
        paper="Chen 2020, arXiv 1912.03458; Yang 2019, arXiv 1904.04971",
        lesson=16,
        map=Distribution(1),
        map_shape="b p",
        parameters=lambda m: (
            sum(w.numel() for w in m.weight)
            + m.bias.numel()
            + m.in_channels**2 // 4
            + len(m.weight) * (m.in_channels // 4 + 1)
        ),
        arguments=lambda c, h, w: (c, 10, 3),
        output=lambda b, c, h, w: (b, 10, h, w),
        cannot={"onnx": "the images are groups of one convolution, and ONNX wants their number fixed"},
    ),
    Mechanism(
        Gater,
        title="GaterNet",
        paper="Chen 2019, arXiv 1811.11205",
        lesson=16,
        map=Gate(0, 1),
        map_shape="b filters",
        parameters=lambda m: (
            sum(p.numel() for p in m.extract.parameters())
            + (m.decide[0].in_features + m.filters) * m.decide[0].out_features
            + 2 * m.decide[0].out_features
        ),
        arguments=lambda c, h, w: (c, 10),
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, 10, h, w)),
        output=lambda b, c, h, w: (b, 10, h, w),
    ),
    # temporal, spatial_temporal — when
    Mechanism(
        FramePooling,
        title="Weights for frames",
        paper="Yao 2015, arXiv 1502.08029",
        lesson=17,
        map=Distribution(1),
        map_shape="b t",
        parameters=lambda m: m.embed.out_features * (m.channels + 2),
        inputs=lambda b, c, h, w: ((b, c, 4, h, w),),
    ),
    Mechanism(
        TemporalSelfAttention,
        title="Self-attention over time",
        paper="Vaswani 2017, arXiv 1706.03762",
        lesson=17,
        map=Distribution(3),
        map_shape="b s t t",
        parameters=lambda m: 4 * m.channels**2 + 4 * m.channels,
        arguments=lambda c, h, w: (c, 4),
        inputs=lambda b, c, h, w: ((b, c, 4, h, w),),
        output=lambda b, c, h, w: (b, c, 4, h, w),
        no_gradient={"key.bias": "a constant added to all keys changes no weight"},
    ),
    Mechanism(
        DividedSpaceTime,
        title="Divided space-time attention",
        paper="Bertasius 2021, arXiv 2102.05095",
        lesson=17,
        map=(Distribution(4), Distribution(4)),
        map_shape="b s n t t, b s t n n",
        parameters=lambda m: 9 * m.channels**2 + 13 * m.channels,
        arguments=lambda c, h, w: (c, 4),
        inputs=lambda b, c, h, w: ((b, c, 4, h, w),),
        output=lambda b, c, h, w: (b, c, 4, h, w),
        no_gradient={
            f"time_{layer}.{part}": "the gate behind it starts at zero"
            for layer in ("norm", "qkv", "output")
            for part in ("weight", "bias")
        },
        cannot={"twice": FUSED},
    ),
    Mechanism(
        SpatioTemporalChannel,
        title="Spatio-temporal channel correlation (STC)",
        paper="Diba 2018, arXiv 1806.07754",
        lesson=17,
        map=(Gate(0, 1), Gate(0, 1)),
        map_shape="b c 1 1 1, b c 1 1 1",
        parameters=lambda m: (
            2 * m.channels * m.by_mean[0].out_features + (m.frames + 1) * m.channels * m.by_time[0].out_features
        ),
        arguments=lambda c, h, w: (c, 2),
        small={"frames": 4},
        inputs=lambda b, c, h, w: ((b, c, 4, h, w),),
        output=lambda b, c, h, w: (b, c, 4, h, w),
    ),
    Mechanism(
        CrossFrameGlobalAttention,
        title="Cross-frame global attention (SpSequenceNet)",
        paper="Shi 2020, no arXiv version",
        lesson=17,
        map=Gate(0, 1),
        map_shape="b c",
        parameters=lambda m: 2 * m.channels**2 + 2 * m.channels,
        inputs=lambda b, c, h, w: ((b, c, h, w), (b, c, h, w)),
    ),
    Mechanism(
        CrossFrameLocalInterpolation,
        title="Cross-frame local interpolation (SpSequenceNet)",
        paper="Shi 2020, no arXiv version",
        lesson=17,
        map=Gate(0, 0.5),
        map_shape="b n k",
        parameters=lambda m: 2 * m.channels**2,
        arguments=lambda c, h, w: (c, 4),
        inputs=lambda b, c, h, w: ((b, c, h * w), (b, h * w, 2), (b, c, 20), (b, 20, 2)),
        output=lambda b, c, h, w: (b, c, h * w),
        cannot={"onnx": "torch's converter knows no cdist"},
    ),
    # cross — two inputs
    Mechanism(
        BilinearAttention,
        title="Bilinear attention (BAN)",
        paper="Kim 2018, arXiv 1805.07932",
        lesson=18,
        map=Distribution((2, 3)),
        map_shape="b g v q",
        parameters=lambda m: (
            (m.v_dim + m.q_dim + 2) * m.h.shape[1]
            + len(m.h) * (m.h.shape[1] + 1)
            + len(m.h) * ((m.v_dim + 2 * m.q_dim + 2) * m.project[0].in_features + m.q_dim)
        ),
        arguments=lambda c, h, w: (c, 11, 4, 2),
        inputs=lambda b, c, h, w: ((b, h, c), (b, w, 11)),
        output=lambda b, c, h, w: (b, w, 11),
        no_gradient={"h_bias": "a constant added to all pairs changes no weight"},
    ),
    Mechanism(
        ContextTransformer,
        title="Context-Transformer",
        paper="Yang 2020, arXiv 2003.07304",
        lesson=18,
        map=Distribution(2),
        map_shape="b p q",
        parameters=lambda m: 3 * (m.classes**2 + m.classes) + m.classes,
        inputs=lambda b, c, h, w: ((b, h * w, c), (b, h, c)),
        output=lambda b, c, h, w: (b, h * w, c),
        no_gradient={
            f"{layer}.{part}": "the gain behind it starts at zero"
            for layer in ("theta", "phi", "g")
            for part in ("weight", "bias")
        },
        cannot={"twice": FUSED},
    ),
)


def mechanism(name: str) -> Mechanism:
    """The row of that name.

    Raises:
        ValueError: if the catalogue has none.
    """
    for row in CATALOG:
        if row.name == name:
            return row
    raise ValueError(f"the catalogue has no row {name!r}; `course list` shows all")
