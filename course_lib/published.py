"""Published weights: one table of names for each mechanism, theirs → ours, and one loader for all.

>>> import torch
>>> from course_lib.channel.efficient_channel import EfficientChannel
>>> eca, file = EfficientChannel(8, kernel_size=3), {"module.layer1.0.eca.conv.weight": torch.ones(1, 1, 3)}
>>> load(eca, file, "layer1.0.eca.")
Loaded(source='the authors, timm', wrappers=['module.'])
>>> eca.conv.weight.flatten().tolist()
[1.0, 1.0, 1.0]
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
from course_lib.cross.bilinear import BilinearAttention
from course_lib.spatial.asymmetric_non_local import AsymmetricFusion, AsymmetricPyramid
from course_lib.spatial.attention_factors import FactorisedAttention
from course_lib.spatial.criss_cross import CrissCross
from course_lib.spatial.double_attention import DoubleAttention
from course_lib.spatial.external import ExternalAttention
from course_lib.spatial.global_context import GlobalContext
from course_lib.spatial.global_reasoning import GlobalReasoning
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.vision_transformer import VisionTransformer


class Format(NamedTuple):
    """What one code base stores."""

    names: dict[str, str]  # their layers and parameters → ours; {} is a number, and several of ours are stacked there
    change: dict[str, Callable[[Tensor], Tensor]] = {}  # noqa: RUF012  our name → what else must be done to the tensor
    absent: tuple[str, ...] = ()  # ours that their files may lack; they are zero then
    root: str = ""  # what may stand before all names
    needs: dict[str, object] = {}  # noqa: RUF012  what the module must be built with, by the names of its attributes
    around: tuple[str, ...] = ()  # names of the network around the block
    read: Callable[[str, Tensor], Tensor] = lambda key, tensor: tensor
    fold: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict  # what must be done to several tensors together


class Table(NamedTuple):
    """All that is known of one mechanism's files."""

    formats: dict[str, Format]  # by who writes them
    strangers: dict[str, str] = {}  # noqa: RUF012  pattern of a key → the other function that it belongs to
    cures: dict[str, str] = {}  # noqa: RUF012  our parameter → what helps if its first axis has another length


class Loaded(NamedTuple):
    """Whose file it was, and what its names were wrapped in."""

    source: str
    wrappers: list[str]


def from_jax(key: str, kernel: Tensor) -> Tensor:
    """Bring a kernel whose input axes come first into torch's order, its heads into one axis."""
    if key.endswith("/bias"):
        return kernel.flatten()  # s d_head -> d
    if not key.endswith("/kernel"):
        return kernel
    if kernel.ndim == 4:
        return kernel.permute(3, 2, 0, 1)  # P P c d -> d c P P
    return (kernel.flatten(0, -2) if "/out/" in key else kernel.flatten(1)).T  # s d_head d, or d s d_head -> d d


QKV = {"query_conv": "query", "key_conv": "key", "value_conv": "value", "gamma": "gamma"}
QUERY_WIDTH = {"query.weight": "build the module with hidden={}"}
HIDDEN = {"squeeze.weight": "build the module with hidden={}"}


def non_local(query: str, key: str, value: str, output: str, norm: str, pair: str) -> dict[str, str]:
    """The names of a non-local block; a layer in front of a pooling has a number more."""
    names = {query: "query", output: "output", norm: "norm", pair: "pair_query pair_key"}
    keys = {theirs + end: ours for theirs, ours in ((key, "key"), (value, "value")) for end in ("", ".0")}
    return names | keys | {name.replace(".conv", ".0.conv"): ours for name, ours in keys.items() if ".conv" in name}


def fold_scale(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm divides the logits by √c, where others take the width of the query, or nothing: let θ be smaller."""
    root = ours["query.weight"].shape[1] ** 0.5
    return ours | {f"query.{leaf}": ours[f"query.{leaf}"] / root for leaf in ("weight", "bias")}


TIMM_VIT = {
    "cls_token": "class_token",
    "pos_embed": "positions",
    "patch_embed.proj": "patches.projection",
    "blocks.{}.norm1": "blocks.{}.attention_norm",
    "blocks.{}.attn.qkv": "blocks.{}.query key value",
    "blocks.{}.attn.proj": "blocks.{}.project",
    "blocks.{}.norm2": "blocks.{}.mlp_norm",
    "blocks.{}.mlp.fc1": "blocks.{}.expand",
    "blocks.{}.mlp.fc2": "blocks.{}.contract",
    "pre_logits.fc": "pre_logits.0",
    "head": "head",
}

TABLES = {
    GatherExcite: Table(
        {
            "timm": Format(
                {f"gather.conv{i}": f"gather.{3 * i - 3}" for i in range(1, 7)}
                | {f"gather.norm{i}": f"gather.{3 * i - 2}" for i in range(1, 7)}
            ),
        },
        strangers={
            r"mlp\.fc[12]": "timm's θ⁺ has no ReLU before excite; its global form without a gather is SE",
            r"conv\.": "this port's convolution has a bias, which the batch norm does not take away in eval mode",
        },
    ),
    StyleRecalibration: Table({"the authors": Format({"cfc": "weight", "bn": "norm"}, needs={"released": True})}),
    GatedChannelTransform: Table(
        {"the authors": Format({name: name for name in ("alpha", "beta", "gamma")}, needs={"released": True})}
    ),
    FrequencyChannel: Table(
        {"the authors": Format({"fc.0": "squeeze", "fc.2": "excite", "dct_layer.weight": "filters"})}, cures=HIDDEN
    ),
    ContextEncoding: Table(
        {
            "the authors": Format(
                {
                    "encoding.0": "project.0",
                    "encoding.1": "project.1",
                    "encoding.3.codewords": "codewords",
                    "encoding.3.scale": "smoothing",
                    "encoding.4": "norm",
                    "fc.0": "excite",
                },
                change={"smoothing": torch.neg},  # they multiply the distances by it, without a sign
                needs={"released": True},
                around=("selayer.",),  # the SE-loss's classifier
            ),
        }
    ),
    SecondOrderPooling: Table(
        {
            "the authors": Format(
                {
                    "conv_for_DR": "reduce.0",
                    "bn_for_DR": "reduce.1",
                    "row_bn": "norm",
                    "row_conv_group": "rows",
                    "fc_adapt_channels": "excite",
                },
                needs={"released": True},
            ),
        },
        cures={"reduce.0.weight": "build the module with hidden={}"},
    ),
    BAM: Table(
        {
            "the authors": Format(
                {
                    "channel_att.gate_c.gate_c_fc_0": "what.0",
                    "channel_att.gate_c.gate_c_bn_1": "what.1",
                    "channel_att.gate_c.gate_c_fc_final": "what.3",
                    "spatial_att.gate_s.gate_s_conv_reduce0": "where.0",
                    "spatial_att.gate_s.gate_s_bn_reduce0": "where.1",
                    "spatial_att.gate_s.gate_s_conv_di_0": "where.3",
                    "spatial_att.gate_s.gate_s_bn_di_0": "where.4",
                    "spatial_att.gate_s.gate_s_conv_di_1": "where.6",
                    "spatial_att.gate_s.gate_s_bn_di_1": "where.7",
                    "spatial_att.gate_s.gate_s_conv_final": "where.9",
                },
                needs={"combine": "product"},
            ),
        },
        cures={"what.0.weight": "build the module with hidden={}"},
    ),
    ChannelAttention: Table({"the authors": Format({"gamma": "gamma"}, needs={"released": True})}),
    DualAttention: Table(
        {
            "the authors": Format(
                {f"sa.{theirs}": f"position.{ours}" for theirs, ours in QKV.items()} | {"sc.gamma": "channel.gamma"},
                needs={"channel.released": True},
                around=("conv5a.", "conv5c.", "conv51.", "conv52.", "conv6.", "conv7.", "conv8."),
            ),
        },
        cures={"position.query.weight": "build the module with hidden={}"},
    ),
    CrissCross: Table({"the authors, mmcv": Format(QKV)}, cures=QUERY_WIDTH),
    NonLocal: Table(
        {
            "the best-known port": Format(
                non_local("theta", "phi", "g", "W.0", "W.1", "concat_project.0") | {"W": "output"},
                needs={"scale": 1.0, "pools_input": False},
            ),
            "mmcv": Format(
                non_local("theta.conv", "phi.conv", "g.conv", "conv_out.conv", "conv_out.bn", "concat_project.conv"),
                needs={"pools_input": False},
            ),
            "timm": Format(
                {"t": "query", "p": "key", "g": "value", "z": "output", "norm": "norm"},
                needs={"scale": 1.0},
                fold=fold_scale,
            ),
        },
        cures={"value.weight": "build the module with hidden={}"},
    ),
    DoubleAttention: Table(
        {
            "ports; the authors released none": Format(
                {"convA": "feature", "convB": "gather", "convV": "distribute", "conv_reconstruct": "output"}
            ),
        },
        cures={
            "gather.weight": "build the module with slots={}",
            "feature.weight": "build the module with gather={}",
        },
    ),
    GlobalReasoning: Table(
        {
            "the authors": Format(
                {
                    "conv_state": "state",
                    "conv_proj": "assignment",
                    "gcn.conv1": "adjacency",
                    "gcn.conv2": "update",
                    "conv_extend": "extend",
                    "blocker": "norm",
                },
                needs={"released": True},
            ),
        },
        cures={"assignment.weight": "build the module with nodes={}"},
    ),
    AsymmetricPyramid: Table(
        {
            "the authors": Format(
                {
                    "stages.0.f_key.0": "key.0",
                    "stages.0.f_key.1.0": "key.1",
                    "stages.0.f_query.0": "key.0",  # the same layer, stored twice
                    "stages.0.f_query.1.0": "key.1",
                    "stages.0.f_value": "value",
                    "stages.0.W": "output",
                    "conv_bn_dropout.0": "fuse.0",
                    "conv_bn_dropout.1.0": "fuse.1",
                }
            ),
        },
        cures={"value.weight": "build the module with key_channels={}"},
    ),
    AsymmetricFusion: Table(
        {
            "the authors": Format(
                {
                    "stages.0.f_key.0": "key.0",
                    "stages.0.f_key.1.0": "key.1",
                    "stages.0.f_query.0": "query.0",
                    "stages.0.f_query.1.0": "query.1",
                    "stages.0.f_value": "value",
                    "stages.0.W": "output",
                    "conv_bn_dropout.0": "fuse.0",
                    "conv_bn_dropout.1": "fuse.1",
                }
            ),
        },
        cures={"value.weight": "build the module with key_channels={}"},
    ),
    SelectiveKernel: Table(
        {
            "timm": Format(
                {"attn.fc_reduce": "squeeze", "attn.bn": "norm", "attn.fc_select": "choose"}
                | {
                    f"paths.{p}.{part}": f"branches.{p}.{i}"
                    for p in range(4)
                    for i, part in enumerate(("conv", "bn"))
                }
            ),
        },
        cures=HIDDEN | {"branches.0.0.weight": "build the module with the file's groups and split_input"},
    ),
    FactorisedAttention: Table(
        {
            "the authors, mmcv": Format(
                {
                    "query_conv": "query",
                    "key_conv": "key",
                    "value_conv": "value",
                    "proj_conv": "project",
                    "appr_geom_fc_x": "columns",
                    "appr_geom_fc_y": "rows",
                    "appr_bias": "key_bias",
                    "geom_bias": "step_bias",
                    "gamma": "gamma",
                },
                needs={"released": True},
            ),
        }
    ),
    BilinearAttention: Table(
        {
            "the authors": Format(
                {
                    "v_att.logits.v_net.main.1": "attend_v",
                    "v_att.logits.q_net.main.1": "attend_q",
                    "v_att.logits.h_mat": "h",
                    "v_att.logits.h_bias": "h_bias",
                    "b_net.{}.v_net.main.1": "read_v.{}",
                    "b_net.{}.q_net.main.1": "read_q.{}",
                    "q_prj.{}.main.1": "project.{}",
                },
                around=("w_emb.", "q_emb.", "classifier."),
            ),
        },
        strangers={r"c_prj\.": "the network with a counting module adds its counts between the glimpses"},
    ),
    ExternalAttention: Table(
        {
            "the authors": Format(
                {
                    "conv1": "embed",
                    "linear_0": "memory_key",
                    "linear_1": "memory_value",
                    "conv2.0": "output",
                    "conv2.1": "norm",
                },
                needs={"normalise": "double", "num_heads": 1, "released": True},
            ),
        },
        cures={"memory_key.weight": "build the module with slots={}"},
    ),
    SqueezeExcitation: Table(
        {
            "timm, torchvision, ports of the authors' models": Format({"fc1": "squeeze", "fc2": "excite"}),
            "the most copied PyTorch module": Format({"fc.0": "squeeze", "fc.2": "excite"}),
            "the authors' Caffe layers": Format({"down": "squeeze", "up": "excite"}),  # of conv2_1_1x1_down
        },
        strangers={
            r"conv_(reduce|expand)": "EfficientNet's block has SiLU between its layers, MobileNetV3's a hard sigmoid",
            r"features\.\d+\.\d+\.block\.\d+\.fc[12]": "torchvision's EfficientNet has SiLU between the two layers",
            r"features\.\d+\.block\.\d+\.fc[12]": "torchvision's MobileNetV3 ends its gate in a hard sigmoid",
        },
        cures={"squeeze.weight": "build the module with hidden={}"},
    ),
    EfficientChannel: Table({"the authors, timm": Format({"conv": "conv"})}),
    CBAM: Table(
        {
            "the authors": Format(
                {
                    "ChannelGate.mlp.1": "squeeze",
                    "ChannelGate.mlp.3": "excite",
                    "SpatialGate.spatial.conv": "locate",
                    "SpatialGate.spatial.bn": "norm",
                },
                needs={"released": True},
            ),
            "timm": Format(
                {
                    "channel.fc1": "squeeze",
                    "channel.fc2": "excite",
                    "spatial.conv.conv": "locate",
                    "spatial.conv.bn": "norm",
                },
                change={"locate.weight": lambda weight: weight.flip(1)},  # mean, max -> max, mean
                absent=("squeeze.bias", "excite.bias"),
                needs={"released": True},
            ),
        },
        cures={"squeeze.weight": "build the module with hidden={}"},
    ),
    GlobalContext: Table(
        {
            "the authors, mmcv": Format(
                {
                    "conv_mask": "key",
                    **{f"channel_add_conv.{i}": f"add.{i}" for i in (0, 1, 3)},
                    **{f"channel_mul_conv.{i}": f"scale.{i}" for i in (0, 1, 3)},
                },
                needs={"eps": 1e-5},
            ),
            "timm": Format(
                {"conv_attn": "key"}
                | {f"mlp_{part}.fc1": f"{part}.0" for part in ("add", "scale")}
                | {f"mlp_{part}.norm": f"{part}.1" for part in ("add", "scale")}
                | {f"mlp_{part}.fc2": f"{part}.3" for part in ("add", "scale")},
                needs={"eps": 1e-6},
            ),
        },
        cures={f"{part}.0.weight": "build the module with hidden={}" for part in ("add", "scale")},
    ),
    PositionAttention: Table(
        {
            "the authors": Format(QKV),
        },
        cures=QUERY_WIDTH,
    ),
    # A file says nothing of num_heads, eps and approximate: a model built with others loads, and is wrong.
    VisionTransformer: Table(
        {
            # timm stacks query, key and value in one layer ...
            "timm": Format(TIMM_VIT | {"norm": "norm"}, needs={"pool": "token"}),
            "timm, mean of the patches": Format(TIMM_VIT | {"fc_norm": "norm"}, needs={"pool": "mean"}),
            # ... and so does torchvision, whose older files say linear_1 and linear_2.
            "torchvision": Format(
                {
                    "class_token": "class_token",
                    "encoder.pos_embedding": "positions",
                    "conv_proj": "patches.projection",
                    "encoder.layers.encoder_layer_{}.ln_1": "blocks.{}.attention_norm",
                    "encoder.layers.encoder_layer_{}.self_attention.in_proj": "blocks.{}.query key value",
                    "encoder.layers.encoder_layer_{}.self_attention.out_proj": "blocks.{}.project",
                    "encoder.layers.encoder_layer_{}.ln_2": "blocks.{}.mlp_norm",
                    "encoder.layers.encoder_layer_{}.mlp.0": "blocks.{}.expand",
                    "encoder.layers.encoder_layer_{}.mlp.3": "blocks.{}.contract",
                    "encoder.layers.encoder_layer_{}.mlp.linear_1": "blocks.{}.expand",
                    "encoder.layers.encoder_layer_{}.mlp.linear_2": "blocks.{}.contract",
                    "encoder.ln": "norm",
                    "heads.pre_logits": "pre_logits.0",
                    "heads.head": "head",
                }
            ),
            # Build the model with eps=1e-12. The pooler is the head's hidden layer, and only some files have one.
            "Hugging Face": Format(
                {
                    "embeddings.cls_token": "class_token",
                    "embeddings.position_embeddings": "positions",
                    "embeddings.patch_embeddings.projection": "patches.projection",
                    "encoder.layer.{}.layernorm_before": "blocks.{}.attention_norm",
                    "encoder.layer.{}.attention.attention.query": "blocks.{}.query",
                    "encoder.layer.{}.attention.attention.key": "blocks.{}.key",
                    "encoder.layer.{}.attention.attention.value": "blocks.{}.value",
                    "encoder.layer.{}.attention.output.dense": "blocks.{}.project",
                    "encoder.layer.{}.layernorm_after": "blocks.{}.mlp_norm",
                    "encoder.layer.{}.intermediate.dense": "blocks.{}.expand",
                    "encoder.layer.{}.output.dense": "blocks.{}.contract",
                    "layernorm": "norm",
                    "pooler.dense": "pre_logits.0",
                    "classifier": "head",
                },
                root="vit.",
            ),
            "Hugging Face, since 5.0": Format(
                {
                    "embeddings.cls_token": "class_token",
                    "embeddings.position_embeddings": "positions",
                    "embeddings.patch_embeddings.projection": "patches.projection",
                    "layers.{}.layernorm_before": "blocks.{}.attention_norm",
                    "layers.{}.attention.q_proj": "blocks.{}.query",
                    "layers.{}.attention.k_proj": "blocks.{}.key",
                    "layers.{}.attention.v_proj": "blocks.{}.value",
                    "layers.{}.attention.o_proj": "blocks.{}.project",
                    "layers.{}.layernorm_after": "blocks.{}.mlp_norm",
                    "layers.{}.mlp.fc1": "blocks.{}.expand",
                    "layers.{}.mlp.fc2": "blocks.{}.contract",
                    "layernorm": "norm",
                    "pooler.dense": "pre_logits.0",
                    "classifier": "head",
                },
                root="vit.",
            ),
            # The paper's own .npz files. Build the model with approximate="tanh".
            "the paper's code": Format(
                {
                    "cls": "class_token",
                    "Transformer/posembed_input/pos_embedding": "positions",
                    "embedding": "patches.projection",
                    "Transformer/encoderblock_{}/LayerNorm_0": "blocks.{}.attention_norm",
                    "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1/query": "blocks.{}.query",
                    "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1/key": "blocks.{}.key",
                    "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1/value": "blocks.{}.value",
                    "Transformer/encoderblock_{}/MultiHeadDotProductAttention_1/out": "blocks.{}.project",
                    "Transformer/encoderblock_{}/LayerNorm_2": "blocks.{}.mlp_norm",
                    "Transformer/encoderblock_{}/MlpBlock_3/Dense_0": "blocks.{}.expand",
                    "Transformer/encoderblock_{}/MlpBlock_3/Dense_1": "blocks.{}.contract",
                    "Transformer/encoder_norm": "norm",
                    "pre_logits": "pre_logits.0",
                    "head": "head",
                },
                read=from_jax,
            ),
        },
        cures={"positions": "build the module for the file's image_size, or stretch them: interpolate_positions"},
    ),
}

NESTS = ("model", "state_dict", "teacher")  # {"model": weights, "optimizer": …}
WRAPPERS = ("module.", "_orig_mod.", "backbone.", "model.")  # of DDP, torch.compile, and larger networks
LEAVES = {"weight": "weight", "bias": "bias", "kernel": "weight", "scale": "weight"} | {
    name: name for name in ("running_mean", "running_var", "num_batches_tracked")
}
LEAF = re.compile(rf"(.+?)(?:[./_]({'|'.join(LEAVES)}))?")


def load(module: nn.Module, state_dict: Mapping[str, Tensor] | nn.Module, prefix: str = "") -> Loaded:
    """Fill ``module`` with published weights, so that it computes what their own code computes.

    A key that belongs to another function is refused, never ignored. But a file cannot say everything: timm's
    ``add_maxpool`` leaves no trace in it. Give the original module where you have it: then the outputs are compared.

    Args:
        module: one of the mechanisms in ``TABLES``, built with the sizes of the file.
        state_dict: what ``torch.load`` or ``numpy.load`` makes of a file, or the original module.
        prefix: picks one block out of a whole network: ``"layer1.0.se."``.

    Raises:
        ValueError: if no table is known for the module, or a name, a shape or an output does not fit.
    """
    table = table_of(module)
    whole = state_dict.state_dict() if isinstance(state_dict, nn.Module) else state_dict
    block, wrappers = below(whole, prefix)
    refuse_strangers(block, prefix, table)
    source, ours = translate(fold_weight_norm(block), prefix, table)
    check_arguments(module, source, table.formats[source].needs)
    fill(module, ours, table)
    if isinstance(state_dict, nn.Module):
        compare(module, state_dict.get_submodule(prefix.removesuffix(".")))
    return Loaded(source, wrappers)


def table_of(module: nn.Module) -> Table:
    if type(module) not in TABLES:
        known = ", ".join(kind.__name__ for kind in TABLES)
        raise ValueError(f"no published weights are known for {type(module).__name__}; there are tables for {known}")
    return TABLES[type(module)]


def below(weights: Mapping, prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """The weights under the prefix, by their names there, and the wrappers passed on the way to them."""
    passed = []
    while nest := next((name for name in NESTS if isinstance(weights.get(name), Mapping)), None):
        weights = weights[nest]
        passed.append(nest)
    weights = dict(weights)
    while wrapper := next((name for name in WRAPPERS if hides(name, weights, prefix)), None):
        weights = {key.removeprefix(wrapper): weights[key] for key in weights if key.startswith(wrapper)}
        passed.append(wrapper)
    block = {key.removeprefix(prefix): tensor for key, tensor in weights.items() if key.startswith(prefix)}
    if not block:
        raise ValueError(f"no key starts with prefix={prefix!r}; the keys are {list(weights)[:3]} …")
    return block, passed


def hides(wrapper: str, weights: dict, prefix: str) -> bool:
    """Whether the names must lose the wrapper first: all have it, or nothing lies under the prefix without that."""
    wrapped = [key.startswith(wrapper) for key in weights]
    return any(wrapped) and (not any(key.startswith(prefix) for key in weights) if prefix else all(wrapped))


def refuse_strangers(block: dict, prefix: str, table: Table) -> None:
    for key in block:
        for pattern, function in table.strangers.items():
            if re.match(pattern, key) or re.search(pattern, prefix + key):
                raise ValueError(f"key {prefix + key!r} belongs to another function: {function}")


def fold_weight_norm(block: dict) -> dict:
    """Weight normalisation stores a length g and a direction v; the weight is g v / ‖v‖."""
    folded = dict(block)
    for key in block:
        g, v, name = key, None, None
        if key.endswith("_g"):
            v, name = key.removesuffix("g") + "v", key.removesuffix("_g")
        elif key.endswith(".original0"):
            v, name = key.removesuffix("0") + "1", key.removesuffix(".original0").replace("parametrizations.", "")
        if v in block:
            length, direction = folded.pop(g), folded.pop(v)
            axes = [i for i in range(direction.ndim) if length.ndim == 0 or length.shape[i] == 1]
            folded[name] = length * direction / torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
    return folded


def check_arguments(module: nn.Module, source: str, needs: dict[str, object]) -> None:
    """Refuse a module that was built for another function than the file's."""
    for name, wanted in needs.items():
        *path, last = name.split(".")
        found = getattr(module.get_submodule(".".join(path)), last)
        if found != wanted:
            raise ValueError(
                f"files of {source} belong to {last}={wanted!r}, the module has {last}={found!r}; "
                "build it so, or with released=True"
            )


def translate(block: dict, prefix: str, table: Table) -> tuple[str, dict[str, Tensor]]:
    """Who wrote the file, and its tensors by our names."""
    named = {
        who: {key: our_names(key, form) for key in block if not key.startswith(form.around)}
        for who, form in table.formats.items()
    }
    source = max(named, key=lambda who: sum(map(bool, named[who].values())))  # who knows most of the keys
    form, ours = table.formats[source], {}
    for key, names in named[source].items():
        if names is None:
            raise ValueError(
                f"key {prefix + key!r} is in no published format known here; "
                f"the names of {source} are {list(form.names)[:4]} …{hint(block, prefix, table)}"
            )
        tensor = form.read(key, torch.as_tensor(block[key]))
        axis = 1 if names[0].startswith("pair_") else 0  # w_f is one row
        parts = tensor.chunk(len(names), dim=axis) if len(names) > 1 else [tensor]
        for name, part in zip(names, parts, strict=True):
            part = form.change.get(name, keep)(part)
            if name in ours and not torch.equal(ours[name], part):
                raise ValueError(f"{prefix + key!r} differs from what is the same layer here, {name}")
            ours[name] = part
    for bias in set(form.absent) - ours.keys():
        if (weight := bias.removesuffix("bias") + "weight") in ours:
            ours[bias] = ours[weight].new_zeros(len(ours[weight]))
    return source, form.fold(ours)


def keep(tensor: Tensor) -> Tensor:
    return tensor


def hint(block: dict, prefix: str, table: Table) -> str:
    """The prefixes under which a whole block lies."""
    first = [next(iter(form.names)) for form in table.formats.values()]
    ends = [f"{name}{leaf}" for name in first for leaf in ("", ".weight")]
    found = sorted({prefix + key.removesuffix(end) for key in block for end in ends if key.endswith("." + end)})
    return f"; give the prefix of one block, such as {found[0]!r}" if found else ""


def our_names(key: str, form: Format) -> list[str] | None:
    """What the tensor is called here, several names where they stack what is several here; None for a stranger."""
    key = key.removeprefix(form.root)
    number = re.search(r"\d+", key)
    for pattern in (key, re.sub(r"\d+", "{}", key, count=1)):
        for layer, leaf in ((pattern, None), LEAF.fullmatch(pattern).groups()):
            if layer in form.names:
                *room, last = form.names[layer].rsplit(".", 1)
                end = f".{LEAVES[leaf]}" if leaf else ""
                return [".".join([*room, part]).format(number and number[0]) + end for part in last.split()]
    return None


def fill(module: nn.Module, ours: dict[str, Tensor], table: Table) -> None:
    """Copy the tensors into the module: every one that it has, and no other."""
    saved, computed = module.state_dict(), dict(module.named_buffers())
    lost = [name for name in saved.keys() - ours.keys() if not name.endswith("num_batches_tracked")]
    extra = ours.keys() - saved.keys() - computed.keys()
    if lost or extra:
        raise ValueError(
            f"only the file has {sorted(extra)[:4]}, only the module has {sorted(lost)[:4]}; "
            "build the module with the arguments of the network that wrote the file"
        )
    for name in filter(saved.__contains__, ours):  # in the file's order
        check_shape(name, ours[name], saved[name], table)
    for name in ours.keys() - saved.keys():  # computed there as here: at the same size the same
        theirs, here = ours[name].to(computed[name]), computed[name]
        if theirs.shape == here.shape and not torch.allclose(theirs, here, atol=1e-5):
            raise ValueError(f"{name} of the file are others than the module's; build it with those of the file")
    fitting = {name: ours[name].reshape(saved[name].shape) for name in ours.keys() & saved.keys()}
    module.load_state_dict(fitting, strict=False)


def check_shape(name: str, theirs: Tensor, ours: Tensor, table: Table) -> None:
    flat = theirs.ndim == 1 and theirs.numel() == ours.numel()  # heads in one row
    if plain(theirs) != plain(ours) and not flat:
        cure = table.cures.get(name, "build the module with the sizes of the file").format(len(theirs))
        raise ValueError(f"{name} is {tuple(theirs.shape)} in the file and {tuple(ours.shape)} in the module; {cure}")


def plain(tensor: Tensor) -> list[int]:
    """The shape without axes of length 1: a 1×1 convolution and a linear layer hold the same numbers."""
    return [length for length in tensor.shape if length != 1]


def compare(module: nn.Module, original: nn.Module) -> None:
    """Refuse an original that computes something else with the same weights."""
    vit = isinstance(module, VisionTransformer)
    shape = (module.patches.channels, *module.image_size) if vit else (module.channels, 7, 5)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = (copy.deepcopy(one).float().cpu().eval()(x) for one in (module, original))
    if not torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5):
        raise ValueError(
            f"with the same weights {type(original).__name__} computes something else: outputs differ by up to "
            f"{(ours - theirs).abs().max():.3g}; look for other non-linearities, poolings or norms in it"
        )
