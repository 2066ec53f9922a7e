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

from course_lib.channel.efficient_channel import EfficientChannel
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.channel_spatial.cbam import CBAM
from course_lib.channel_spatial.dual import PositionAttention
from course_lib.spatial.global_context import GlobalContext
from course_lib.spatial.vision_transformer import VisionTransformer


class Format(NamedTuple):
    """What one code base stores."""

    names: dict[str, str]  # their layers and parameters → ours; {} is a number, and several of ours are stacked there
    change: dict[str, Callable[[Tensor], Tensor]] = {}  # noqa: RUF012  our name → what else must be done to the tensor
    absent: tuple[str, ...] = ()  # ours that their files may lack; they are zero then
    root: str = ""  # what may stand before all names
    read: Callable[[str, Tensor], Tensor] = lambda key, tensor: tensor


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


TABLES = {
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
                }
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
                }
            ),
        },
        cures={f"{part}.0.weight": "build the module with hidden={}" for part in ("add", "scale")},
    ),
    PositionAttention: Table(
        {
            "the authors": Format(
                {"query_conv": "query", "key_conv": "key", "value_conv": "value", "gamma": "gamma"},
            ),
        },
        cures={"query.weight": "build the module with hidden={}"},
    ),
    # A file says nothing of num_heads, eps and approximate: a model built with others loads, and is wrong.
    VisionTransformer: Table(
        {
            # timm stacks query, key and value in one layer ...
            "timm": Format(
                {
                    "cls_token": "class_token",
                    "pos_embed": "positions",
                    "patch_embed.proj": "patches.projection",
                    "blocks.{}.norm1": "blocks.{}.attention_norm",
                    "blocks.{}.attn.qkv": "blocks.{}.query key value",
                    "blocks.{}.attn.proj": "blocks.{}.project",
                    "blocks.{}.norm2": "blocks.{}.mlp_norm",
                    "blocks.{}.mlp.fc1": "blocks.{}.expand",
                    "blocks.{}.mlp.fc2": "blocks.{}.contract",
                    "norm": "norm",
                    "pre_logits.fc": "pre_logits.0",
                    "head": "head",
                }
            ),
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
    source, ours = translate(block, prefix, table)
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


def translate(block: dict, prefix: str, table: Table) -> tuple[str, dict[str, Tensor]]:
    """Who wrote the file, and its tensors by our names."""
    named = {who: {key: our_names(key, form) for key in block} for who, form in table.formats.items()}
    source = max(named, key=lambda who: sum(map(bool, named[who].values())))  # who knows most of the keys
    form, ours = table.formats[source], {}
    for key, names in named[source].items():
        if names is None:
            raise ValueError(
                f"key {prefix + key!r} is in no published format known here; "
                f"the names of {source} are {list(form.names)[:4]} …{hint(block, prefix, table)}"
            )
        tensor = form.read(key, torch.as_tensor(block[key]))
        parts = tensor.chunk(len(names)) if len(names) > 1 else [tensor]
        ours |= {name: form.change.get(name, keep)(part) for name, part in zip(names, parts, strict=True)}
    for bias in set(form.absent) - ours.keys():
        if (weight := bias.removesuffix("bias") + "weight") in ours:
            ours[bias] = ours[weight].new_zeros(len(ours[weight]))
    return source, ours


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
        layer, leaf = LEAF.fullmatch(pattern).groups()
        if layer in form.names:
            *room, last = form.names[layer].rsplit(".", 1)
            end = f".{LEAVES[leaf]}" if leaf else ""
            return [".".join([*room, part]).format(number and number[0]) + end for part in last.split()]
    return None


def fill(module: nn.Module, ours: dict[str, Tensor], table: Table) -> None:
    """Copy the tensors into the module: every one that it has, and no other."""
    wanted = module.state_dict()
    lost = [name for name in wanted.keys() - ours.keys() if not name.endswith("num_batches_tracked")]
    extra = ours.keys() - wanted.keys()
    if lost or extra:
        raise ValueError(
            f"only the file has {sorted(extra)[:4]}, only the module has {sorted(lost)[:4]}; "
            "build the module with the arguments of the network that wrote the file"
        )
    for name, tensor in ours.items():
        if plain(tensor) != plain(wanted[name]):
            cure = table.cures.get(name, "build the module with the sizes of the file").format(len(tensor))
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} in the file and {tuple(wanted[name].shape)} in the module; {cure}"
            )
    module.load_state_dict({name: tensor.reshape(wanted[name].shape) for name, tensor in ours.items()}, strict=False)


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
