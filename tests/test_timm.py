"""Weights of timm's own modules: loaded, ours computes what timm computes. Runs where timm is installed."""

import pytest
import torch

from course_lib.branch.selective_kernel import SelectiveKernel
from course_lib.channel.efficient_channel import EfficientChannel
from course_lib.channel.gather_excite import GatherExcite
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.channel_spatial.cbam import CBAM
from course_lib.published import load
from course_lib.spatial.global_context import GlobalContext
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.vision_transformer import VisionTransformer, interpolate_positions
from tests.properties import assert_same, features, randomise

timm = pytest.importorskip(
    "timm", reason="timm or its torchvision is not installed", exc_type=(ImportError, RuntimeError)
)
X = features(3, 24, 6, 8)


def pairs() -> dict[str, tuple]:
    """Our module and theirs."""
    layers = timm.layers
    kernels = {"groups": 4, "rd_channels": 5}
    return {
        "SE": (SqueezeExcitation(24, hidden=8, bias=True), layers.SEModule(24)),  # a hidden width of timm's rule
        "SE without biases": (SqueezeExcitation(24, hidden=3), layers.SEModule(24, rd_channels=3, bias=False)),
        "ECA": (EfficientChannel(24), layers.EcaModule(24)),
        "CBAM": (CBAM(24, hidden=3, released=True), layers.cbam.CbamModule(24, rd_channels=3)),
        "CBAM, biases": (CBAM(24, hidden=3, released=True), layers.cbam.CbamModule(24, rd_channels=3, mlp_bias=True)),
        "GCNet, scale": (GlobalContext(24, hidden=3, fusion="scale", eps=1e-6), layers.GlobalContext(24)),
        "GCNet, both": (
            GlobalContext(24, hidden=3, fusion="scale_add", eps=1e-6),
            layers.GlobalContext(24, fuse_add=True),
        ),
        "NonLocal": (NonLocal(24, hidden=8), layers.NonLocalAttn(24)),
        "SK": (SelectiveKernel(24, groups=4, hidden=5), layers.SelectiveKernel(24, split_input=False, **kernels)),
        "SK, parts": (
            SelectiveKernel(24, groups=4, hidden=5, split_input=True),
            layers.SelectiveKernel(24, **kernels),
        ),
        "SK, 5×5": (
            SelectiveKernel(24, groups=4, hidden=5, dilated=False),
            layers.SelectiveKernel(24, split_input=False, keep_3x3=False, **kernels),
        ),
    }


@pytest.mark.parametrize("name", pairs())
def test_a_module_of_timm_gives_its_outputs(name):
    ours, theirs = pairs()[name]
    theirs = torch.nn.Sequential(randomise(theirs))
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.weight.data *= 0.3  # else every gate saturates
    load(ours.double().eval(), theirs, "0.")  # compares outputs as well
    assert_same(ours(X), theirs(X))


@pytest.mark.parametrize("extent", [0, 2, 4])
def test_the_gather_excite_of_timm_that_runs(extent):
    """Its other forms cannot be built (1.0.31): it hands a dict of arguments on with one star."""
    theirs = timm.layers.GatherExcite(24, extent=extent, use_mlp=False)
    assert_same(GatherExcite(24, extent=extent, kind="minus")(X), theirs(X))


def test_what_timm_s_files_do_not_tell_is_found_in_the_module():
    for options in ({"add_maxpool": True}, {"act_layer": torch.nn.SiLU}, {"gate_layer": "hard_sigmoid"}):
        with pytest.raises(ValueError, match="SEModule computes something else"):
            load(SqueezeExcitation(24, hidden=8, bias=True), timm.layers.SEModule(24, **options))
    theirs = randomise(timm.layers.NonLocalAttn(24, use_scale=False))
    with pytest.raises(ValueError, match="NonLocalAttn computes something else"):
        load(NonLocal(24, hidden=8).double(), theirs)


SIZES = {"embed_dim": 10, "depth": 2, "num_heads": 2, "num_classes": 7}


def timms_vit(height: int, width: int, **options):
    return randomise(timm.models.VisionTransformer(img_size=(height, width), patch_size=4, **SIZES, **options))


@pytest.mark.parametrize(("pool", "theirs"), [("token", "token"), ("mean", "avg")])
def test_the_vit_of_timm_gives_its_logits(pool, theirs):
    network, x = timms_vit(8, 12, global_pool=theirs), features(3, 3, 8, 12)
    vit = VisionTransformer((8, 12), patch_size=4, pool=pool, **SIZES).double().eval()
    load(vit, network)
    assert_same(vit(x), network(x))


def test_positions_are_stretched_as_timm_does():
    network = timms_vit(8, 12)
    stretched = interpolate_positions(network.pos_embed, (4, 5), grid=(2, 3), method="antialiased")
    theirs = timm.layers.resample_abs_pos_embed(network.pos_embed, new_size=[4, 5], old_size=[2, 3])
    torch.testing.assert_close(stretched, theirs, rtol=1e-5, atol=1e-6)  # timm computes it in single precision


@pytest.mark.parametrize("options", [{"qk_norm": True}, {"init_values": 0.1}, {"reg_tokens": 4}, {"pre_norm": True}])
def test_a_vit_of_another_make_is_refused(options):
    with pytest.raises(ValueError, match=r"is in no published format|only the file has|is \("):
        load(VisionTransformer((8, 12), patch_size=4, **SIZES), timms_vit(8, 12, **options))
