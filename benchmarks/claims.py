"""What papers say that their mechanism costs, beside what this library counts: ``python -m benchmarks.claims``.

A claim is a function: its first line is the claim and where it stands, its result is what was counted. Multiply-adds
are those of products and convolutions, kept memory is what forward stores for backward; both are counted on
tensors without numbers, so that any size costs nothing. The claim about speed is measured; ``--device cuda`` does it
on a GPU.
Left out: claims about whole networks that the library does not build (LR-Net, SAN, EANet) and about accuracy.
Writes claims.md beside this file. ``tests/test_claims.py`` counts again and compares.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.speed import clock, once
from course_lib.branch.dynamic_convolution import DynamicConv2d
from course_lib.branch.selective_kernel import SelectiveKernel
from course_lib.channel.efficient_channel import EfficientChannel
from course_lib.channel.frequency_channel import FrequencyChannel
from course_lib.channel.gated_channel import GatedChannelTransform
from course_lib.channel.gather_excite import GatherExcite
from course_lib.channel.second_order_pooling import SecondOrderPooling
from course_lib.channel.squeeze_excitation import SqueezeExcitation
from course_lib.costs import kept_for_backward, multiply_adds
from course_lib.spatial.asymmetric_non_local import AsymmetricPyramid
from course_lib.spatial.compact_non_local import CompactNonLocal
from course_lib.spatial.criss_cross import CrissCross
from course_lib.spatial.double_attention import DoubleAttention
from course_lib.spatial.external import ExternalAttention
from course_lib.spatial.global_reasoning import GlobalReasoning
from course_lib.spatial.non_local import NonLocal
from course_lib.spatial.stand_alone import StandAloneAttention

HERE = Path(__file__).parent
STAGES = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))  # ResNet-50: blocks, width, side; 4 × width leave


class Finding(NamedTuple):
    """What was counted or measured, and whether it says what the paper says."""

    found: str
    holds: bool


def parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def work(module: nn.Module, channels: int, height: int, width: int) -> int:
    """Multiply-adds of one image."""
    return multiply_adds(module.to("meta"), torch.empty(1, channels, height, width, device="meta"))


def kept(module: nn.Module, channels: int, height: int, width: int) -> float:
    """MiB that forward keeps for backward, of one image."""
    image = torch.empty(1, channels, height, width, device="meta", requires_grad=True)
    return kept_for_backward(module.to("meta").train(), image) / 2**20


def blocks() -> Iterator[tuple[int, int, int]]:
    """The channels that leave each of ResNet-50's sixteen blocks, the width of its 3×3 convolution, and its side."""
    for count, width, side in STAGES:
        yield from [(4 * width, width, side)] * count


def convolutions() -> Iterator[tuple[int, int, int, int]]:
    """All convolutions of ResNet-50 (stride in the 3×3): channels in, channels out, kernel, side of the output."""
    yield 3, 64, 7, 112
    before, side_before = 64, 56
    for channels, width, side in blocks():
        yield before, width, 1, side_before
        yield width, width, 3, side
        yield width, channels, 1, side
        if before != channels:
            yield before, channels, 1, side
        before, side_before = channels, side


RESNET_50 = sum(i * o * k * k + 2 * o for i, o, k, _ in convolutions()) + 2049 * 1000  # with norms and classifier
RESNET_50_WORK = sum(i * o * k * k * side * side for i, o, k, side in convolutions()) + 2048 * 1000
RESNET_152 = 60_192_808


def se_parameters() -> Finding:
    """SE adds 2.5 M parameters to ResNet-50, about 10 % (SE, eq. 5 and section 6)."""
    added = parameters(*(SqueezeExcitation(channels) for channels, _, _ in blocks()))
    return Finding(f"{added:,}: {added / RESNET_50:.1%}", 0.095 < added / RESNET_50 < 0.105)


def se_work() -> Finding:
    """SE adds .26 % to ResNet-50's multiply-adds (SE, section 4)."""
    layers = sum(work(SqueezeExcitation(c), c, side, side) for c, _, side in blocks())
    passes = 2 * sum(c * side * side for c, _, side in blocks())  # the mean and the product, which no counter sees
    share = (layers + passes) / RESNET_50_WORK
    return Finding(f"{layers / RESNET_50_WORK:.2%} in its layers, {share:.2%} with mean and product", share < 0.0035)


def eca_parameters() -> Finding:
    """ECA has 80 parameters in ResNet-50 (ECA, abstract)."""
    count = parameters(*(EfficientChannel(channels) for channels, _, _ in blocks()))
    return Finding(f"{count} by the paper's own rule for the kernel (5 5 5 7)", count == 80)


def gct_parameters() -> Finding:
    """GCT has 3c parameters (GCT, section 3)."""
    count = parameters(GatedChannelTransform(256))
    return Finding(f"{count} at c = 256", count == 3 * 256)


def fca_parameters() -> Finding:
    """FcaNet costs no parameter more than SE (FcaNet, section 3)."""
    counts = parameters(FrequencyChannel(256, 56, 56)), parameters(SqueezeExcitation(256))
    return Finding(f"{counts[0]:,} and {counts[1]:,} at c = 256", counts[0] == counts[1])


def gather_parameters() -> Finding:
    """Gather-Excite's θ⁻ has no parameter (GE, section 3)."""
    count = parameters(GatherExcite(256, extent=4))
    return Finding(f"{count}", count == 0)


def gsop_work() -> Finding:
    """GSoP-Net takes 60 % more multiply-adds than ResNet-50 (ECA, table 3: 6.18 G against 3.86 G)."""
    last = [(4 * width, max(side, 14)) for _, width, side in STAGES]  # one block a stage, the last stage at 14×14
    own = sum(work(SecondOrderPooling(c), c, side, side) for c, side in last) / RESNET_50_WORK
    stage = sum(i * o * k * k * side**2 for i, o, k, side in convolutions() if side == 7)
    finer = 3 * stage / RESNET_50_WORK
    return Finding(f"{own:.0%} by the four blocks, {finer:.0%} by the finer last stage", 0.55 < own + finer < 0.65)


def sk_parameters() -> Finding:
    """SKNet-50 has 27.5 M parameters, ResNeXt-50 25.0 M (the authors' README)."""
    added = sum(
        parameters(SelectiveKernel(2 * width)) - parameters(nn.Conv2d(2 * width, 2 * width, 3, groups=32, bias=False))
        for _, width, _ in blocks()
    )
    return Finding(f"{25.0 + added / 1e6:.1f} M", abs(added / 1e6 - 2.5) < 0.15)


def dynamic_work() -> Finding:
    """Dynamic convolution takes 4 % more multiply-adds in MobileNetV2 (DyConv, abstract)."""
    plain = dynamic = 1280 * 1000 + 3 * 32 * 9 * 112**2  # the classifier and the first convolution stay
    for i, o, k, stride, groups, side in mobile_convolutions():
        layer = {"stride": stride, "groups": groups, "bias": False}
        plain += work(nn.Conv2d(i, o, k, padding=k // 2, **layer), i, side, side)
        dynamic += work(DynamicConv2d(i, o, k, **layer), i, side, side)
    return Finding(f"{plain / 1e6:.0f} M → {dynamic / 1e6:.0f} M: {dynamic / plain - 1:.1%}", dynamic / plain < 1.05)


def mobile_convolutions() -> Iterator[tuple[int, int, int, int, int, int]]:
    """MobileNetV2 behind its first layer: channels in and out, kernel, stride, groups, side of the input."""
    before, side = 32, 112
    for expand, channels, count, first in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for stride in [first] + [1] * (count - 1):
            wide = before * expand
            if expand > 1:
                yield before, wide, 1, 1, 1, side
            yield wide, wide, 3, stride, wide, side
            side //= stride
            yield wide, channels, 1, 1, 1, side
            before = channels
    yield before, 1280, 1, 1, 1, side


def sasa_parameters() -> Finding:
    """Attention in place of all 3×3 convolutions: ResNet-50 with 29 % fewer parameters (SASA, abstract)."""
    saved = sum(9 * width**2 - parameters(StandAloneAttention(width)) for _, width, _ in blocks())
    return Finding(f"{(RESNET_50 - saved) / 1e6:.1f} M of {RESNET_50 / 1e6:.1f} M: {saved / RESNET_50:.0%} fewer",
                   0.28 < saved / RESNET_50 < 0.31)  # fmt: skip


def sasa_work() -> Finding:
    """… and with 12 % fewer multiply-adds (SASA, abstract)."""
    saved, before = 0, 56
    for _, width, side in blocks():  # the first of a stage looks at the finer map, an average pooling follows
        local = 2 * 49 * width * before**2  # scores and mixture of 49 places, which no counter sees
        saved += 9 * width**2 * side**2 - work(StandAloneAttention(width), width, before, before) - local
        before = side
    share = saved / RESNET_50_WORK
    return Finding(f"{share:.0%} fewer (the stem keeps its convolution)", share >= 0.12)


def double_parameters() -> Finding:
    """ResNet-50 with five A² blocks has over 40 % fewer parameters than ResNet-152 (A², abstract)."""
    narrow = [DoubleAttention(c) for c in (512, 512, 1024, 1024, 1024)]
    wide = [DoubleAttention(c, gather=c // 2, slots=c // 2) for c in (512, 512, 1024, 1024, 1024)]
    fewer = [1 - (RESNET_50 + parameters(*five)) / RESNET_152 for five in (narrow, wide)]
    return Finding(f"{fewer[0]:.0%} with c/4 slots, {fewer[1]:.0%} with c/2", min(fewer) > 0.4)


def criss_cross_work() -> Finding:
    """Two criss-cross loops take 85 % fewer multiply-adds than a non-local block (CCNet, abstract; 512×97×97)."""
    ours, theirs = work(CrissCross(512), 512, 97, 97), work(NonLocal(512), 512, 97, 97)
    return Finding(
        f"{ours / 1e9:.1f} G against {theirs / 1e9:.1f} G: {1 - ours / theirs:.0%} fewer", ours < 0.18 * theirs
    )


def criss_cross_memory() -> Finding:
    """… and 11 times less memory (CCNet, abstract)."""
    return memory(CrissCross(512), 2 * (97 + 97), 512, 97, 97, 11)


def pyramid_memory() -> Finding:
    """A pyramid of keys takes 28 times less memory than a non-local block (ANN, abstract; 256×128)."""
    return memory(AsymmetricPyramid(512), 1 + 9 + 36 + 64, 512, 128, 256, 28)


def memory(module: nn.Module, keys: int, channels: int, height: int, width: int, times: float) -> Finding:
    """The module, of so many keys a query, beside a non-local block that stores its map and one that does not."""
    pixels = height * width
    ours = kept(module, channels, height, width)
    with sdpa_kernel(SDPBackend.MATH):
        stored = kept(NonLocal(channels), channels, height, width)
    block, image = NonLocal(channels).train(), torch.randn(1, channels, 16, 16, requires_grad=True)
    fused = kept_for_backward(block, image) / 2**20 * pixels / 256  # linear: there is no map
    less = stored / ours
    found = f"{ours:,.0f} MiB, {less:.1f} times less than {stored:,.0f}; the maps alone {pixels / keys:.0f} times"
    return Finding(f"{found}. With the fused kernel non-local keeps {fused:,.0f}", less >= 0.9 * times)


def linear_work() -> Finding:
    """A², CGNL, GloRe and external attention are linear in the number of pixels (their papers)."""
    modules = (DoubleAttention, CompactNonLocal, GlobalReasoning, ExternalAttention)
    growth = {module.__name__: work(module(64), 64, 64, 64) / work(module(64), 64, 32, 32) for module in modules}
    quadratic = work(NonLocal(64), 64, 64, 64) / work(NonLocal(64), 64, 32, 32)
    found = ", ".join(f"{name} × {times:.2f}" for name, times in growth.items())
    return Finding(f"four times the pixels: {found}; NonLocal × {quadratic:.1f}", max(growth.values()) <= 4)


def pyramid_time(device: str) -> Finding:
    """A pyramid of keys is about 6 times faster than a non-local block on a GPU at 256×128 (ANN, abstract)."""
    height, width = (64, 128) if device == "cpu" else (128, 256)
    own, fused = (seconds(block, 64, height, width, device) for block in (AsymmetricPyramid(64), NonLocal(64)))
    with sdpa_kernel(SDPBackend.MATH):
        stored = seconds(NonLocal(64), 64, height, width, device)
    found = f"≈ {stored / own:.0f} times with the stored map, ≈ {fused / own:.0f} with the fused kernel"
    return Finding(f"{found} ({device}, c = 64, {width}×{height}, forward and backward)", stored / own > 5)


def seconds(module: nn.Module, channels: int, height: int, width: int, device: str) -> float:
    """Median of three passes, forward and backward."""
    inputs = (torch.randn(1, channels, height, width, device=device, requires_grad=True),)
    return statistics.median(once(module.to(device), inputs, clock(device)) for _ in range(4))


COUNTED: tuple[Callable[[], Finding], ...] = (
    se_parameters, se_work, gather_parameters, gsop_work, fca_parameters, gct_parameters, eca_parameters,
    double_parameters, linear_work, criss_cross_work, criss_cross_memory, pyramid_memory,
    sasa_parameters, sasa_work, sk_parameters, dynamic_work,
)  # fmt: skip


def row(claim: Callable, finding: Finding) -> str:
    return f"| {claim.__doc__} | {finding.found} | {'held' if finding.holds else '**not held**'} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    device = parser.parse_args().device
    torch.set_num_threads(1)
    rows = [row(claim, claim()) for claim in COUNTED] + [row(pyramid_time, pyramid_time(device))]
    text = "\n".join(["| the claim | here | |", "|---|---|---|", *rows]) + "\n"
    print(text)
    (HERE / "claims.md").write_text(f"# Claims about cost\n\n{__doc__}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
