"""What a slot can do by its construction, found by changing its input; nothing is trained.

>>> from course_lib.comparison.slot import fill
>>> abilities(lambda: fill("SqueezeExcitation", 8, 5, 6), (8, 5, 6))
['sees all places', 'sees all channels', 'weighs by the image']
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

TRIES = 3
NOTICED = 1e-9  # in double precision; a change that is smaller is rounding


def wide_awake(slot: nn.Module, seed: int = 0) -> nn.Module:
    """The slot with every number random, in eval mode and double precision; a gate that starts at zero acts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for number in slot.parameters():
            inputs = max(number[0].numel(), 1) if number.ndim > 1 else 1
            number.copy_(torch.randn(number.shape, generator=generator) * 0.5 / inputs**0.5)
        for name, kept in slot.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                kept.copy_(torch.rand(kept.shape, generator=generator) + 0.5)
    return slot.double().eval()


@torch.no_grad()
def sees_all_places(slot: nn.Module, x: Tensor) -> bool:
    """Changing the first pixel changes the last one's answer."""
    return differs(slot(with_first_pixel(x))[..., -1, -1], slot(x)[..., -1, -1])


@torch.no_grad()
def sees_all_channels(slot: nn.Module, x: Tensor) -> bool:
    """Changing the first channel changes the last one's answer."""
    changed = x.clone()
    changed[:, 0] += torch.randn(x.shape[2:], generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    return differs(slot(changed)[:, -1], slot(x)[:, -1])


@torch.no_grad()
def knows_places(slot: nn.Module, x: Tensor) -> bool:
    """Shuffled pixels get other answers than the same answers shuffled."""
    order = torch.randperm(x.shape[2] * x.shape[3], generator=torch.Generator().manual_seed(2))
    return differs(slot(shuffled(x, order)), shuffled(slot(x), order))


@torch.no_grad()
def weighs_by_the_image(slot: nn.Module, x: Tensor) -> bool:
    """It is no fixed sum: the answer to a sum of images is not the sum of their answers."""
    other = x.flip(3) + 0.5
    zero = torch.zeros_like(x)
    return differs(slot(x + other) - slot(zero), slot(x) + slot(other) - 2 * slot(zero))


@torch.no_grad()
def answers_each_asker(slot: nn.Module, x: Tensor) -> bool:
    """What the first pixel changes in two equal pixels is equal, and in pixels that differ it is no common factor.

    A gate multiplies: what it changes in a pixel is that pixel times something that all share.
    """
    x = x.clone()
    x[..., -1, -2:] = x[..., -1, -3:-2]  # three pixels that are equal
    change = (slot(with_first_pixel(x)) - slot(x))[0, :, -1]  # c w: the last row
    factor = change / x[0, :, -1]
    return differs(change, change[:, :1].expand_as(change)) and differs(factor, factor[:, :1].expand_as(factor))


ABILITIES: dict[str, Callable[[nn.Module, Tensor], bool]] = {
    "sees all places": sees_all_places,
    "sees all channels": sees_all_channels,
    "knows places": knows_places,
    "weighs by the image": weighs_by_the_image,
    "answers each asker": answers_each_asker,
}


def abilities(make: Callable[[], nn.Module], size: tuple[int, int, int]) -> list[str]:
    """The names of what a slot of size c h w can do."""
    x = 0.3 * torch.randn(
        1, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )  # no softmax is full
    slots = [wide_awake(make(), seed) for seed in range(TRIES)]
    return [name for name, holds in ABILITIES.items() if any(holds(slot, x) for slot in slots)]


def with_first_pixel(x: Tensor) -> Tensor:
    """The image with another first pixel."""
    changed = x.clone()
    changed[..., 0, 0] = torch.randn(x.shape[:2], generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    return changed


def shuffled(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(2)[..., order].view_as(x)


def differs(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() > NOTICED)
