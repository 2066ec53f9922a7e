"""Small files in each published format: loaded, a module computes what the code that wrote them computes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

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
from course_lib.published import load
from course_lib.spatial.asymmetric_non_local import AsymmetricFusion, AsymmetricPyramid
from course_lib.spatial.attention_factors import FactorisedAttention
from course_lib.spatial.criss_cross import CrissCross
from course_lib.spatial.double_attention import DoubleAttention
from course_lib.spatial.external import ExternalAttention
from course_lib.spatial.global_context import GlobalContext
from course_lib.spatial.global_reasoning import GlobalReasoning
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.vision_transformer import VisionTransformer
from tests import originals
from tests.properties import assert_same, features, randomise


def through_a_file(weights, path):
    torch.save(weights, path / "weights.pth")
    return torch.load(path / "weights.pth", weights_only=True)


# Squeeze-and-Excitation


@pytest.mark.parametrize(
    ("prefix", "first", "second"),
    [
        ("layer1.0.se.", "fc1", "fc2"),  # timm
        ("trunk_output.block1.block1-0.f.se.", "fc1", "fc2"),  # torchvision's RegNet
        ("layer1.0.se_module.", "fc1", "fc2"),  # ports of the authors' models
        ("conv2_1_1x1_", "down", "up"),  # the authors' Caffe layers
    ],
)
def test_se_of_convolutions_with_biases(tmp_path, prefix, first, second):
    w1, b1, w2, b2 = features(4, 13, 1, 1), features(4), features(13, 4, 1, 1, seed=2), features(13, seed=3)
    names = (f"{first}.weight", f"{first}.bias", f"{second}.weight", f"{second}.bias")
    file = {prefix + name: tensor for name, tensor in zip(names, (w1, b1, w2, b2), strict=True)}
    block = SqueezeExcitation(13, reduction=3, bias=True).double()
    load(block, through_a_file(file | {"bn1.weight": torch.ones(3)}, tmp_path), prefix)
    x = features(3, 13, 5, 7)
    hidden = F.conv2d(x.mean((2, 3), keepdim=True), w1, b1).relu()
    assert_same(block(x), x * F.conv2d(hidden, w2, b2).sigmoid())


def test_se_of_linear_layers_without_biases():
    w1, w2 = features(4, 13), features(13, 4, seed=2)
    block = SqueezeExcitation(13, reduction=3).double()
    load(block, {"fc.0.weight": w1, "fc.2.weight": w2})
    x = features(3, 13, 5, 7)
    assert_same(block(x), x * ((x.mean((2, 3)) @ w1.T).relu() @ w2.T).sigmoid()[:, :, None, None])


@pytest.mark.parametrize(
    ("prefix", "first", "function"),
    [
        ("blocks.1.0.se.", "conv_reduce", "SiLU"),  # timm's EfficientNet and MobileNetV3
        ("features.2.0.block.2.", "fc1", "SiLU"),  # torchvision's EfficientNet
        ("features.4.block.2.", "fc1", "hard sigmoid"),  # torchvision's MobileNetV3
    ],
)
def test_an_se_with_other_non_linearities_is_refused(prefix, first, function):
    with pytest.raises(ValueError, match=f"{prefix}{first}.weight' belongs to another function.*{function}"):
        load(SqueezeExcitation(13, reduction=3), {f"{prefix}{first}.weight": torch.ones(4, 13, 1, 1)}, prefix)


class Excitation(nn.Module):
    """As in timm, where options that leave no trace in a file change the function."""

    def __init__(self, *, add_maxpool=False, act=nn.ReLU):
        super().__init__()
        self.add_maxpool, self.act = add_maxpool, act()
        self.fc1, self.fc2 = nn.Conv2d(13, 4, 1), nn.Conv2d(4, 13, 1)

    def forward(self, x):
        z = x.mean((2, 3), keepdim=True)
        z = (z + x.amax((2, 3), keepdim=True)) / 2 if self.add_maxpool else z
        return x * self.fc2(self.act(self.fc1(z))).sigmoid()


def test_an_original_module_is_compared():
    block = SqueezeExcitation(13, reduction=3, bias=True)
    network = nn.Sequential(nn.ReLU(), Excitation())
    load(block, network, "1.")
    x = torch.randn(2, 13, 3, 3)
    torch.testing.assert_close(block(x), network[1](x))
    for options in ({"add_maxpool": True}, {"act": nn.SiLU}):
        with pytest.raises(ValueError, match="Excitation computes something else: outputs differ by up to"):
            load(block, Excitation(**options))


# ECA


@pytest.mark.parametrize("key", ["layer1.0.eca.conv.weight", "layer1.0.se.conv.weight", "conv.weight"])
def test_eca(tmp_path, key):
    weight, others = features(1, 1, 5), {} if key == "conv.weight" else {"layer1.0.bn1.weight": torch.ones(4)}
    block = EfficientChannel(13, kernel_size=5).double()
    load(block, through_a_file({key: weight} | others, tmp_path), prefix=key.removesuffix("conv.weight"))
    x = features(3, 13, 5, 7)
    mixed = F.conv1d(x.mean((2, 3))[:, None], weight, padding=2)[:, 0]
    assert_same(block(x), x * mixed.sigmoid()[:, :, None, None])


def test_an_eca_with_a_bias_is_refused():
    file = {"a.conv.weight": torch.ones(1, 1, 3), "a.conv.bias": torch.ones(1)}
    with pytest.raises(ValueError, match=r"only the file has \['conv.bias'\]"):
        load(EfficientChannel(8, kernel_size=3), file, "a.")


# CBAM


def released_cbam(block):
    """What the released code saves for such a block."""
    theirs = {"squeeze": "ChannelGate.mlp.1", "excite": "ChannelGate.mlp.3"}
    theirs |= {"locate": "SpatialGate.spatial.conv", "norm": "SpatialGate.spatial.bn"}
    return {f"{theirs[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in block.state_dict().items()}


def timm_cbam(block):
    """What timm saves: 1×1 convolutions, and the mean as first input of the 7×7 convolution."""
    theirs = {"squeeze": "channel.fc1", "excite": "channel.fc2"}
    theirs |= {"locate": "spatial.conv.conv", "norm": "spatial.conv.bn"}
    state = {f"{theirs[k.split('.')[0]]}.{k.split('.')[1]}": v for k, v in block.state_dict().items()}
    for name in ("channel.fc1.weight", "channel.fc2.weight"):
        state[name] = state[name][:, :, None, None]
    conv = state["spatial.conv.conv.weight"]
    return state | {"spatial.conv.conv.weight": torch.stack([conv[:, 1], conv[:, 0]], dim=1)}


@pytest.mark.parametrize("made", [released_cbam, timm_cbam])
def test_cbam(made):
    block, x = randomise(CBAM(13, reduction=3, kernel_size=5, released=True)), features(3, 13, 5, 7)
    file = {f"layer1.0.cbam.{key}": value for key, value in made(block).items()} | {"fc.weight": torch.zeros(3)}
    loaded = CBAM(13, reduction=3, kernel_size=5, released=True).double().eval()
    load(loaded, file, "layer1.0.cbam.")
    assert_same(loaded(x), block(x))


def test_a_timm_cbam_without_biases_has_biases_of_zero():
    block, x = randomise(CBAM(13, reduction=3, released=True)), features(3, 13, 5, 7)
    for layer in (block.squeeze, block.excite):
        nn.init.zeros_(layer.bias)
    loaded = randomise(CBAM(13, reduction=3, released=True), seed=4)
    load(loaded, {key: value for key, value in timm_cbam(block).items() if "fc" not in key or "weight" in key})
    assert_same(loaded(x), block(x))


# GCNet and DANet


class ReleasedContext(nn.Module):
    """The block as its authors store it, in 1×1 convolutions and a norm over c/r 1 1."""

    def __init__(self):
        super().__init__()
        self.conv_mask = nn.Conv2d(13, 1, 1)
        self.channel_mul_conv, self.channel_add_conv = (
            nn.Sequential(nn.Conv2d(13, 4, 1), nn.LayerNorm([4, 1, 1]), nn.ReLU(), nn.Conv2d(4, 13, 1))
            for _ in range(2)
        )

    def forward(self, x):
        context = (x * self.conv_mask(x).flatten(2).softmax(2).view(3, 1, 5, 7)).sum((2, 3), keepdim=True)
        return x * self.channel_mul_conv(context).sigmoid() + self.channel_add_conv(context)


def test_gcnet_out_of_a_whole_network(tmp_path):
    released, x = randomise(ReleasedContext()), features(3, 13, 5, 7)
    network = {f"layer2.0.context_block.{key}": value for key, value in released.state_dict().items()}
    file = through_a_file({**network, "layer2.0.conv3.weight": torch.zeros(2)}, tmp_path)
    block = randomise(GlobalContext(13, reduction=3, fusion="scale_add"), seed=4)
    load(block, file, "layer2.0.context_block.")
    assert_same(block(x), released(x))


def test_danet_positions():
    block, x = randomise(PositionAttention(16)), features(3, 16, 5, 7)
    names = {"query": "query_conv", "key": "key_conv", "value": "value_conv"}
    state = {"head.sa.gamma": block.gamma.data, "head.sc.gamma": torch.ones(1)}
    for ours, theirs in names.items():
        state |= {f"head.sa.{theirs}.{k}": v for k, v in getattr(block, ours).state_dict().items()}
    loaded = PositionAttention(16).double()
    load(loaded, state, "head.sa.")
    assert_same(loaded(x), block(x))


# All others: an oracle under the names of the code that wrote the files


def waves(size):
    return FrequencyChannel(6, *size, hidden=4, frequencies=((0, 0), (0, 1), (2, 1))).filters


X, LOW, REGIONS, WORDS = features(3, 13, 5, 7), features(3, 4, 9, 8, seed=2), features(3, 5, 6), features(3, 4, 10)


def files() -> dict[str, tuple]:
    """Our module, theirs, and inputs for both."""
    return {
        "SRM": (StyleRecalibration(13, released=True), originals.SRM(13), (X,)),
        "GCT": (GatedChannelTransform(13, released=True), originals.GCT(13), (X,)),
        "FcaNet": (
            FrequencyChannel(6, 5, 7, hidden=4, frequencies=((0, 0), (0, 1), (2, 1))),
            originals.FCA(waves((5, 7)), 4),
            (X[:, :6],),
        ),
        "EncNet": (ContextEncoding(13, codewords=5, released=True), originals.Enc(13, 5), (X,)),
        "GSoP": (SecondOrderPooling(13, hidden=4, stride=2, released=True), originals.GSoP(13, 4, 2), (X,)),
        "BAM": (BAM(13, hidden=3, released=True), originals.ReleasedBAM(13, 3), (X,)),
        "CAM": (ChannelAttention(released=True), originals.CAM(), (0.1 * X,)),
        "PAM": (PositionAttention(13, hidden=2), originals.PAM(13, 2), (X,)),
        "DANet": (DualAttention(13, hidden=2, released=True), originals.DA(13, 2), (0.1 * X,)),
        "CCNet": (CrissCross(13, hidden=2, loops=1), originals.CCA(13, 2), (X,)),
        **{
            f"NonLocal, {pairing}, {'pooled' if pooled else 'whole'}": (
                NonLocal(13, hidden=4, pairing=pairing, subsample=1 + pooled, pool_input=False, norm=norm),
                originals.PortedNonLocal(13, 4, pairing, pooled=pooled, norm=norm),
                (0.3 * X,),
            )
            for pairing in ("embedded_gaussian", "dot_product", "concatenation")
            for pooled, norm in ((False, True), (True, False))
        },
        "NonLocal, mmcv": (NonLocal(13, hidden=4, scaled=True), originals.MMNonLocal(13, 4), (0.3 * X,)),
        "GCNet, timm": (
            GlobalContext(13, hidden=4, fusion="scale_add", eps=1e-6),
            originals.TimmContext(13, 4),
            (X,),
        ),
        "A²": (DoubleAttention(13, gather=4, slots=3), originals.A2(13, 4, 3), (X,)),
        "GloRe": (GlobalReasoning(13, nodes=3, released=True), originals.GloRe(13, 3), (X,)),
        "APNB": (
            AsymmetricPyramid(13, key_channels=4, sizes=(1, 3)),
            originals.Asymmetric(13, 13, 4, (1, 3), shared=True),
            (X,),
        ),
        "AFNB": (
            AsymmetricFusion(13, 4, key_channels=5, sizes=(1, 3)),
            originals.Asymmetric(13, 4, 5, (1, 3), shared=False),
            (X, LOW),
        ),
        "SK, timm": (SelectiveKernel(12, groups=4, hidden=5), originals.TimmKernels(12, 5, 4), (X[:, :12],)),
        "four factors": (
            FactorisedAttention(12, num_heads=3, kv_stride=2, released=True),
            originals.GeneralizedAttention(12, 3, 2),
            (0.3 * X[:, :12],),
        ),
        "BAN": (BilinearAttention(6, 10, 3, 2), originals.BAN(6, 10, 3, 2), (REGIONS, WORDS)),
        "EANet": (ExternalAttention(13, slots=5, released=True), originals.External(13, 5), (X,)),
        "GE, timm": (GatherExcite(13, extent=4, kind="theta"), originals.TimmGather(13), (X,)),
    }


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")  # as their code does it
@pytest.mark.parametrize("name", files())
def test_a_file_gives_what_its_own_code_computes(name, tmp_path):
    module, original, inputs = files()[name]
    randomise(original, seed=5)
    if "FcaNet" in name:
        original.dct_layer.weight = waves((5, 7)).double()
    wrapped = {f"module.{key}": tensor for key, tensor in original.state_dict().items()}
    module.double().eval()
    assert load(module, through_a_file({"model": wrapped}, tmp_path)).wrappers == ["model", "module."]
    assert_same(module(*inputs), original(*inputs))


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (BAM(13, hidden=3), "BAM", "belong to combine='product', the module has combine='sum'"),
        (ChannelAttention(), "CAM", "belong to released=True"),
        (GlobalReasoning(13, nodes=3), "GloRe", "belong to released=True"),
        (FactorisedAttention(12, num_heads=3), "four factors", "or with released=True"),
        (ContextEncoding(13, codewords=5), "EncNet", "belong to released=True"),
        (ExternalAttention(13, slots=5, normalise="slots"), "EANet", "belong to normalise='double'"),
        (ExternalAttention(13, slots=5), "EANet", "belong to released=True"),
        (SelectiveKernel(12, groups=2, hidden=5), "SK, timm", "split_input"),
        (NonLocal(13, norm=False, hidden=4), "NonLocal, dot_product, whole", "only the file has"),
        (FrequencyChannel(6, 5, 7, hidden=4, frequencies=((0, 0), (1, 1), (2, 1))), "FcaNet", "are others than"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_of_another_function_is_refused(module, name, message):
    with pytest.raises(ValueError, match=message):
        load(module, files()[name][1].state_dict())


def test_frequencies_of_another_size_are_computed_anew():
    small, large = (
        FrequencyChannel(6, *size, hidden=4, frequencies=((0, 0), (0, 1), (2, 1))) for size in ((5, 7), (10, 14))
    )
    large.load_state_dict(small.state_dict())
    load(large, files()["FcaNet"][1].state_dict())
    assert large.filters.shape == (6, 10, 14)


def test_what_is_one_layer_here_must_be_one_there():
    state = files()["APNB"][1].state_dict()
    state["stages.0.f_query.0.weight"] = state["stages.0.f_query.0.weight"] + 1
    with pytest.raises(ValueError, match=r"f_query\.0\.weight' differs from what is the same layer"):
        load(AsymmetricPyramid(13, key_channels=4, sizes=(1, 3)), state)


def test_a_ban_that_counts_is_refused():
    state = files()["BAN"][1].state_dict() | {"c_prj.0.main.0.bias": torch.ones(2)}
    with pytest.raises(ValueError, match="counting module"):
        load(BilinearAttention(6, 10, 3, 2), state)


@pytest.mark.parametrize(("key", "message"), [("mlp.fc1.weight", "no ReLU"), ("conv.0.weight", "has a bias")])
def test_another_gather_excite_is_refused(key, message):
    with pytest.raises(ValueError, match=message):
        load(GatherExcite(13, extent=4, kind="theta"), {key: torch.ones(2)})


# The loader

SE = {"fc1.weight": torch.ones(4, 13, 1, 1), "fc2.weight": torch.ones(13, 4, 1, 1)}


@pytest.mark.parametrize(
    ("wrap", "wrappers"),
    [
        (lambda key: key, []),
        (lambda key: f"module.{key}", ["module."]),
        (lambda key: f"_orig_mod.module.{key}", ["_orig_mod.", "module."]),
        (lambda key: f"backbone.{key}", ["backbone."]),
    ],
)
@pytest.mark.parametrize("nest", [[], ["model"], ["state_dict"]])
@pytest.mark.parametrize("prefix", ["", "layer1.0.se."])
def test_wrappers_are_stripped_and_named(wrap, wrappers, nest, prefix):
    file = {wrap(prefix + key): tensor for key, tensor in SE.items()}
    if prefix:
        file["head.weight"] = torch.ones(2)
    for name in nest:
        file = {name: file, "epoch": 7}
    block = SqueezeExcitation(13, reduction=3)
    assert load(block, file, prefix).wrappers == nest + wrappers
    assert block.squeeze.weight.eq(1).all()


@pytest.mark.parametrize(
    ("module", "file", "prefix", "message"),
    [
        (SqueezeExcitation(13, reduction=3), SE, "layer9.", r"no key starts with prefix='layer9\.'"),
        (SqueezeExcitation(13, reduction=3), {"a.se." + k: v for k, v in SE.items()}, "", r"such as 'a\.se\.'"),
        (SqueezeExcitation(13, reduction=3), {"se.fc3.weight": torch.ones(2)}, "se.", "'se.fc3.weight' is in no"),
        (SqueezeExcitation(13, reduction=3), dict([*SE.items()][:1]), "", r"only the module has \['excite.weight'\]"),
        (SqueezeExcitation(13, reduction=2), SE, "", "build the module with hidden=4"),
        (nn.Linear(13, 4), SE, "", "no published weights are known for Linear; there are tables for GatherExcite"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(module, file, prefix, message):
    with pytest.raises(ValueError, match=message):
        load(module, file, prefix)


# ViT: each format is run by its own rules, on numbers under its own names

D, HEADS, K = 10, 2, 7


def tiny(**arguments) -> VisionTransformer:
    sizes = {"patch_size": 4, "embed_dim": D, "depth": 2, "num_heads": HEADS, "num_classes": K} | arguments
    return randomise(VisionTransformer((8, 12), **sizes))


def run(x, w, names, attend, *, dense=None, norm=None, patch=None, eps=1e-6, gelu="none"):
    """A pre-norm Transformer that finds its numbers in ``w``, by ``names``: what all four formats have in common."""
    dense = dense or (lambda z, name: F.linear(z, w[f"{name}.weight"], w[f"{name}.bias"]))
    norm = norm or (lambda z, name: F.layer_norm(z, (D,), w[f"{name}.weight"], w[f"{name}.bias"], eps))
    patch = patch or (lambda name: (w[f"{name}.weight"], w[f"{name}.bias"]))
    z = F.conv2d(x, *patch(names["patch"]), stride=4).flatten(2).transpose(1, 2)
    z = torch.cat([w[names["cls"]].expand(len(z), 1, D), z], dim=1) + w[names["pos"]]
    for i in range(2):
        z = z + attend(norm(z, names["norm1"].format(i)), i)
        hidden = F.gelu(dense(norm(z, names["norm2"].format(i)), names["fc1"].format(i)), approximate=gelu)
        z = z + dense(hidden, names["fc2"].format(i))
    return dense(norm(z, names["norm"])[:, 0], names["head"])


def weigh(query, key, value):
    return (query @ key.transpose(-2, -1) / math.sqrt(D // HEADS)).softmax(dim=-1) @ value  # b s n d


def numbers(shapes: dict[str, tuple]) -> dict[str, torch.Tensor]:
    return {name: features(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}


def layers(torch_shapes: dict[str, tuple]) -> dict[str, tuple]:
    """Weight and bias of layers given by the shape of their weight."""
    return {f"{n}.weight": s for n, s in torch_shapes.items()} | {f"{n}.bias": s[:1] for n, s in torch_shapes.items()}


def timm(x):
    names = {
        "patch": "patch_embed.proj",
        "cls": "cls_token",
        "pos": "pos_embed",
        "norm1": "blocks.{}.norm1",
        "norm2": "blocks.{}.norm2",
        "fc1": "blocks.{}.mlp.fc1",
        "fc2": "blocks.{}.mlp.fc2",
        "norm": "norm",
        "head": "head",
    }
    shapes = {"patch_embed.proj": (D, 3, 4, 4), "norm": (D,), "head": (K, D)}
    for i in range(2):
        b = f"blocks.{i}."
        shapes |= {b + "norm1": (D,), b + "attn.qkv": (3 * D, D), b + "attn.proj": (D, D), b + "norm2": (D,)}
        shapes |= {b + "mlp.fc1": (4 * D, D), b + "mlp.fc2": (D, 4 * D)}
    w = numbers({"cls_token": (1, 1, D), "pos_embed": (1, 7, D)} | layers(shapes))

    def attend(z, i):
        qkv = F.linear(z, w[f"blocks.{i}.attn.qkv.weight"], w[f"blocks.{i}.attn.qkv.bias"])
        query, key, value = qkv.reshape(3, 7, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)  # b n 3 s d -> 3 b s n d
        heard = weigh(query, key, value).transpose(1, 2).reshape(3, 7, D)
        return F.linear(heard, w[f"blocks.{i}.attn.proj.weight"], w[f"blocks.{i}.attn.proj.bias"])

    return w, run(x, w, names, attend)


def torchvision(x, mlp=("mlp.0", "mlp.3")):
    layer = "encoder.layers.encoder_layer_{}."
    names = {
        "patch": "conv_proj",
        "cls": "class_token",
        "pos": "encoder.pos_embedding",
        "norm1": layer + "ln_1",
        "norm2": layer + "ln_2",
        "fc1": layer + mlp[0],
        "fc2": layer + mlp[1],
        "norm": "encoder.ln",
        "head": "heads.head",
    }
    shapes, stacked = {"conv_proj": (D, 3, 4, 4), "encoder.ln": (D,), "heads.head": (K, D)}, {}
    for b in (layer.format(i) for i in range(2)):
        shapes |= {b + "ln_1": (D,), b + "self_attention.out_proj": (D, D), b + "ln_2": (D,)}
        shapes |= {b + mlp[0]: (4 * D, D), b + mlp[1]: (D, 4 * D)}
        stacked |= {b + "self_attention.in_proj_weight": (3 * D, D), b + "self_attention.in_proj_bias": (3 * D,)}
    w = numbers({"class_token": (1, 1, D), "encoder.pos_embedding": (1, 7, D)} | stacked | layers(shapes))

    def attend(z, i):
        attention = nn.MultiheadAttention(D, HEADS, batch_first=True).double()
        prefix = layer.format(i) + "self_attention."
        attention.load_state_dict({k.removeprefix(prefix): v for k, v in w.items() if k.startswith(prefix)})
        return attention(z, z, z, need_weights=False)[0]

    return w, run(x, w, names, attend)


def older_torchvision(x):
    return torchvision(x, mlp=("mlp.linear_1", "mlp.linear_2"))


def hugging_face(x):
    layer = "vit.encoder.layer.{}."
    names = {
        "patch": "vit.embeddings.patch_embeddings.projection",
        "cls": "vit.embeddings.cls_token",
        "pos": "vit.embeddings.position_embeddings",
        "norm1": layer + "layernorm_before",
        "norm2": layer + "layernorm_after",
        "fc1": layer + "intermediate.dense",
        "fc2": layer + "output.dense",
        "norm": "vit.layernorm",
        "head": "classifier",
    }
    shapes = {names["patch"]: (D, 3, 4, 4), names["norm"]: (D,), "classifier": (K, D)}
    for b in (layer.format(i) for i in range(2)):
        shapes |= {f"{b}attention.attention.{part}": (D, D) for part in ("query", "key", "value")}
        shapes |= {b + "attention.output.dense": (D, D), b + "layernorm_before": (D,), b + "layernorm_after": (D,)}
        shapes |= {b + "intermediate.dense": (4 * D, D), b + "output.dense": (D, 4 * D)}
    w = numbers({names["cls"]: (1, 1, D), names["pos"]: (1, 7, D)} | layers(shapes))

    def attend(z, i):
        def dense(z, part):
            return F.linear(z, *(w[f"{layer.format(i)}attention.{part}.{leaf}"] for leaf in ("weight", "bias")))

        parts = [
            dense(z, f"attention.{part}").view(3, 7, HEADS, -1).transpose(1, 2) for part in ("query", "key", "value")
        ]
        return dense(weigh(*parts).transpose(1, 2).reshape(3, 7, D), "output.dense")

    return w, run(x, w, names, attend, eps=1e-12)


def original(x):
    layer, d = "Transformer/encoderblock_{}/", D // HEADS
    names = {
        "patch": "embedding",
        "cls": "cls",
        "pos": "Transformer/posembed_input/pos_embedding",
        "norm1": layer + "LayerNorm_0",
        "norm2": layer + "LayerNorm_2",
        "fc1": layer + "MlpBlock_3/Dense_0",
        "fc2": layer + "MlpBlock_3/Dense_1",
        "norm": "Transformer/encoder_norm",
        "head": "head",
    }
    shapes = {"cls": (1, 1, D), names["pos"]: (1, 7, D), "embedding/kernel": (4, 4, 3, D), "embedding/bias": (D,)}
    shapes |= {"head/kernel": (D, K), "head/bias": (K,)}
    norms = [names["norm"], *(names[norm].format(i) for norm in ("norm1", "norm2") for i in range(2))]
    shapes |= {f"{norm}/{leaf}": (D,) for norm in norms for leaf in ("scale", "bias")}
    for b in (layer.format(i) for i in range(2)):
        heads = b + "MultiHeadDotProductAttention_1/"
        shapes |= {f"{heads}{part}/kernel": (D, HEADS, d) for part in ("query", "key", "value")}
        shapes |= {f"{heads}{part}/bias": (HEADS, d) for part in ("query", "key", "value")}
        shapes |= {heads + "out/kernel": (HEADS, d, D), heads + "out/bias": (D,)}
        shapes |= {b + "MlpBlock_3/Dense_0/kernel": (D, 4 * D), b + "MlpBlock_3/Dense_0/bias": (4 * D,)}
        shapes |= {b + "MlpBlock_3/Dense_1/kernel": (4 * D, D), b + "MlpBlock_3/Dense_1/bias": (D,)}
    w = numbers(shapes)

    def attend(z, i):
        prefix = layer.format(i) + "MultiHeadDotProductAttention_1/"
        query, key, value = (
            torch.einsum("bnc,csd->bsnd", z, w[f"{prefix}{part}/kernel"]) + w[f"{prefix}{part}/bias"][:, None]
            for part in ("query", "key", "value")
        )
        return (
            torch.einsum("bsnd,sdc->bnc", weigh(query, key, value), w[prefix + "out/kernel"]) + w[prefix + "out/bias"]
        )

    def dense(z, name):
        return z @ w[name + "/kernel"] + w[name + "/bias"]

    def norm(z, name):
        return F.layer_norm(z, (D,), w[name + "/scale"], w[name + "/bias"], 1e-6)

    def patch(name):
        return torch.einsum("hwio->oihw", w[name + "/kernel"]), w[name + "/bias"]

    return w, run(x, w, names, attend, dense=dense, norm=norm, patch=patch, gelu="tanh")


def newer_hugging_face(x):
    """The same numbers under the names of version 5."""
    weights, logits = hugging_face(x)
    new = {"encoder.layer": "layers", "attention.attention.query": "attention.q_proj"}
    new |= {"attention.attention.key": "attention.k_proj", "attention.attention.value": "attention.v_proj"}
    new |= {"attention.output.dense": "attention.o_proj", "intermediate.dense": "mlp.fc1", "output.dense": "mlp.fc2"}
    for old, name in new.items():
        weights = {key.replace(old, name): tensor for key, tensor in weights.items()}
    return weights, logits


@pytest.mark.parametrize(
    ("published", "arguments"),
    [
        (timm, {}),
        (torchvision, {}),
        (older_torchvision, {}),
        (hugging_face, {"eps": 1e-12}),
        (newer_hugging_face, {"eps": 1e-12}),
        (original, {"approximate": "tanh"}),
    ],
)
def test_vit(published, arguments, tmp_path):
    x = features(3, 3, 8, 12)
    weights, logits = published(x)
    if published is original:
        np.savez(tmp_path / "weights.npz", **{name: tensor.numpy() for name, tensor in weights.items()})
        read = np.load(tmp_path / "weights.npz")
    else:
        torch.save(weights, tmp_path / "weights.pth")
        read = torch.load(tmp_path / "weights.pth", weights_only=True)
    vit = tiny(**arguments)
    load(vit, read)
    assert_same(vit(x), logits)


@pytest.mark.parametrize(
    ("published", "name"),
    [(timm, "pre_logits.fc"), (torchvision, "heads.pre_logits"), (hugging_face, "vit.pooler.dense")],
)
def test_the_heads_hidden_layer_is_found(published, name):
    weights, _ = published(features(3, 3, 8, 12))
    head = next(key for key in weights if weights[key].shape == (K, D))
    weights |= {f"{name}.weight": features(5, D), f"{name}.bias": features(5), head: features(K, 5)}
    vit = tiny(representation_size=5)
    load(vit, weights)
    assert_same(vit.pre_logits[0].weight.data, weights[f"{name}.weight"])


def test_the_heads_hidden_layer_of_the_papers_files_is_turned():
    weights, _ = original(features(3, 3, 8, 12))
    weights |= {"pre_logits/kernel": features(D, 5), "pre_logits/bias": features(5), "head/kernel": features(5, K)}
    vit = tiny(representation_size=5)
    load(vit, weights)
    assert_same(vit.pre_logits[0].weight.data, weights["pre_logits/kernel"].T)


def test_hugging_faces_bare_encoder_has_no_prefix():
    weights, _ = hugging_face(features(3, 3, 8, 12))
    vit = tiny()
    load(vit, {key.removeprefix("vit."): tensor for key, tensor in weights.items()})
    assert_same(vit.class_token.data, weights["vit.embeddings.cls_token"])


def test_a_key_of_another_vit_is_named():
    with pytest.raises(ValueError, match=r"blocks\.3\.ls1\.gamma"):
        load(tiny(), {"blocks.3.ls1.gamma": torch.zeros(10)})


def test_positions_of_another_size_say_what_to_do():
    weights, _ = timm(features(3, 3, 8, 12))
    with pytest.raises(ValueError, match="interpolate_positions"):
        load(tiny(), weights | {"pos_embed": features(1, 17, D)})


def test_a_dino_file_has_no_head_and_gives_features():
    x = features(3, 3, 8, 12)
    weights, logits = timm(x)
    bare = {f"module.backbone.{key}": tensor for key, tensor in weights.items() if not key.startswith("head")}
    vit = tiny(num_classes=0)
    assert load(vit, {"teacher": bare, "epoch": 1}).wrappers == ["teacher", "module.", "backbone."]
    assert_same(F.linear(vit(x), weights["head.weight"], weights["head.bias"]), logits)


def test_a_vit_that_averages_its_patches_is_told_apart():
    weights, _ = timm(features(3, 3, 8, 12))
    mean = {key.replace("norm.", "fc_norm.") if key.startswith("norm.") else key: weights[key] for key in weights}
    assert load(tiny(pool="mean"), mean).source == "timm, mean of the patches"
    for vit, file in ((tiny(), mean), (tiny(pool="mean"), weights)):
        with pytest.raises(ValueError, match="belong to pool="):
            load(vit, file)
