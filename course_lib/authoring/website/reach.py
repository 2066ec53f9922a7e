"""What one output number depends on: |∂y/∂x| of the running module, over places and over channels.

A map of an untrained module on a photograph is nearly uniform and says nothing. This picture does: a window shows its
window, efficient channel attention its two neighbours, and DANet's channels that each of them hears only itself.
"""

import base64
import io
from math import log10, prod
from typing import Any, NamedTuple

import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor, nn

from course_lib.catalog import Mechanism
from course_lib.costs import required
from course_lib.plotting import WEIGHTS

SIZE = (32, 16, 16)  # c h w
DRAWS = 3  # a ReLU that is silent at one start speaks at another
MANY = 1_000_000
FLOOR = 1e-6  # of the largest: the darkest colour
NOTHING = 1e-12  # of the largest: rounding


class Reach(NamedTuple):
    """How much each part of the input that is heard most moves the output, the largest as 1."""

    places: Tensor  # t h w, one frame for images; 1 1 n where there are no places but a list
    channels: Tensor  # c
    hard: bool  # whether its map is chosen in a way that has no derivative

    @property
    def shares(self) -> tuple[float, float]:
        """Which part of the places, and of the channels, is heard at all."""
        heard = [(part > NOTHING).float().mean().item() for part in (self.places, self.channels)]
        return heard[0], heard[1]


def reach(row: Mechanism) -> Reach:
    """How the output's middle number moves with its inputs, the largest of a few random starts."""
    draws = [dependence(row, seed) for seed in range(DRAWS)]
    gradients = [torch.stack(one).amax(dim=0) for one in zip(*draws, strict=True)]
    gradient = in_space(max(gradients, key=lambda one: (one > NOTHING * one.max()).sum()))  # c t h w
    gradient = gradient / gradient.max()
    hard = all(chosen_hard(row, seed) for seed in range(DRAWS))
    return Reach(gradient.amax(dim=0), gradient.amax(dim=(1, 2, 3)), hard)


def chosen_hard(row: Mechanism, seed: int = 0) -> bool:
    """Whether no small change of the input moves the map."""
    module, inputs = moved(row, seed)
    maps = module.attention(*inputs)
    learning = [one for one in (maps if isinstance(maps, tuple | list) else (maps,)) if one.requires_grad]
    if learning:
        sum((one * torch.rand_like(one)).sum() for one in learning).backward()
    return all(x.grad is None or not x.grad.any() for x in inputs)


def dependence(row: Mechanism, seed: int) -> list[Tensor]:
    """|∂y/∂x| for each input, without the batch."""
    module, inputs = moved(row, seed)
    y = module(*inputs)
    y[(0, 3 * y.shape[1] // 4, *(length // 2 for length in y.shape[2:]))].backward()
    return [torch.zeros_like(x[0]) if x.grad is None else x.grad[0].abs() for x in inputs]


def moved(row: Mechanism, seed: int) -> tuple[Any, list[Tensor]]:
    """The module with its parameters moved, since many blocks start as the identity, and random inputs.

    They are so small that a softmax over products of hundreds of places still hears more than one of them.
    """
    torch.manual_seed(seed)
    module = built(row).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    inputs = [0.2 * (2 * torch.rand(shape, dtype=torch.double) - 1) for shape in row.inputs(1, *SIZE)]
    return module, [x.requires_grad_() for x in inputs]


def built(row: Mechanism) -> nn.Module:
    """As published, or with the arguments of the tests where that would be millions of parameters."""
    with torch.device("meta"):
        many = sum(p.numel() for p in row.build(*SIZE, **required(row)).parameters()) > MANY
    return row.build(*SIZE, **(row.small if many else required(row)))


def in_space(gradient: Tensor) -> Tensor:
    """Any layout of the input as c t h w."""
    if gradient.ndim >= 3:
        return gradient if gradient.ndim == 4 else gradient[:, None]  # c (t) h w
    tokens = gradient if gradient.shape[0] == SIZE[0] else gradient.mT  # c n or n c -> c n
    height, width = SIZE[1:] if tokens.shape[1] == prod(SIZE[1:]) else (1, tokens.shape[1])
    return tokens.reshape(-1, 1, height, width)


def pictures(found: Reach) -> list[str]:
    """A tiny picture for each frame, and one for the channels, as addresses: a pixel for each place or channel."""
    return [address(part) for part in (*found.places, found.channels[None])]


def address(values: Tensor) -> str:
    """Values from 0 to 1 in colours on a logarithmic scale; what is not heard stays transparent."""
    level = 1 - values.clamp_min(FLOOR).log10() / log10(FLOOR)
    pixels = (colormaps[WEIGHTS](level.numpy()) * 255).astype("uint8")
    pixels[..., 3] *= (values > NOTHING).numpy()
    Image.fromarray(pixels).save(file := io.BytesIO(), "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def in_a_list(found: Reach) -> bool:
    """Whether the places are the entries of a list, and no image."""
    return found.places.shape[1] == 1


def words(found: Reach, placed: bool) -> str:
    """The pictures for those who don't see them."""
    places, channels = (f"{100 * share:.3g} %" for share in found.shares)
    hard = (
        " Its map is a choice between hard options: it moves in jumps, which a derivative does not see." * found.hard
    )
    middle = "The number lies in the middle. " * placed
    where = "Each stripe is an entry of a list. " if in_a_list(found) else middle
    return (
        f"One number of the output depends on {places} of the places and on {channels} of the channels. "
        f"{where}Bright parts move it much, empty ones not at all. The weights are random, so this shows what the "
        f"mechanism can hear, and not what a trained network attends to.{hard}"
    )
