"""What a slot can do by its construction, found by changing its input; nothing is trained.

>>> from course_lib.comparison.slot import fill
>>> abilities(lambda: fill("SqueezeExcitation", *STRIP))
['sees all places', 'sees all channels', 'weighs by the image']
>>> crossing(lambda: fill("GatherExcite", *STRIP))
(16, 16)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

TRIES = 2
STRIP = (16, 7, 24)  # c h w: so long that no window reaches from end to end
ENDS = 4  # places at an end
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
    other = x.flip(3) + 3 * torch.randn(x.shape[1], 1, 1, generator=torch.Generator().manual_seed(1))
    zero = torch.zeros_like(x)
    return differs(slot(x + other) - slot(zero), slot(x) + slot(other) - 2 * slot(zero))


ABILITIES: dict[str, Callable[[nn.Module, Tensor], bool]] = {
    "sees all places": sees_all_places,
    "sees all channels": sees_all_channels,
    "knows places": knows_places,
    "weighs by the image": weighs_by_the_image,
}


def abilities(make: Callable[[], nn.Module], size: tuple[int, int, int] = STRIP) -> list[str]:
    """The names of what a slot of size c h w can do.

    Each asker gets an answer of its own where several places read more numbers than one of them: see `crossing`.
    """
    slots = [wide_awake(make(), seed) for seed in range(TRIES)]
    found = [name for name, holds in ABILITIES.items() if any(holds(slot, some_image(size)) for slot in slots)]
    one, four = crossing(make, size)
    return [*found, "answers each asker"] if four > one else found


def crossing(make: Callable[[], nn.Module], size: tuple[int, int, int] = STRIP) -> tuple[int, int]:
    """How many numbers go from the strip's left end to one place at its right end, and to four: at most c and 4c.

    (0, 0): nothing crosses. (k, k): one message for all. (k, more): each place gets its own.
    """
    ends = [across(wide_awake(make(), seed), some_image(size)) for seed in range(TRIES)]
    return max(rank(place) for end in ends for place in end), max(rank(end.flatten(0, 1)) for end in ends)


def across(slot: nn.Module, x: Tensor) -> Tensor:
    """Derivatives of the first row's last four places by its first four: places, channels, inputs 4c.

    One backward pass finds all: of many copies of the image, each asks for one of the outputs.
    """
    copies = x.repeat(ENDS * x.shape[1], 1, 1, 1).requires_grad_()
    outputs = slot(copies)[:, :, 0, -ENDS:].mT.flatten(1)  # copies, 4c
    [derivatives] = torch.autograd.grad(outputs.diagonal().sum(), copies)
    return derivatives[:, :, 0, :ENDS].flatten(1).unflatten(0, (ENDS, -1))


def rank(matrix: Tensor) -> int:
    return int(torch.linalg.matrix_rank(matrix, rtol=1e-12))  # rounding lies near 1e-15 of the largest


def some_image(size: tuple[int, int, int]) -> Tensor:
    """Numbers so small that no softmax is full: 1 c h w."""
    return 0.3 * torch.randn(1, *size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def with_first_pixel(x: Tensor) -> Tensor:
    """The image with another first pixel, so bright that a gate of 0 or 1 turns."""
    changed = x.clone()
    changed[..., 0, 0] = 30 * torch.randn(x.shape[:2], generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    return changed


def shuffled(x: Tensor, order: Tensor) -> Tensor:
    return x.flatten(2)[..., order].view_as(x)


def differs(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() > NOTICED)
