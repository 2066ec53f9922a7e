"""How many numbers cross a slot by its construction, counted in its derivatives; nothing is trained.

>>> from course_lib.comparison.slot import fill
>>> crossing(lambda: fill("GatherExcite", *STRIP))
(16, 16)
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

TRIES = 2
STRIP = (16, 7, 24)  # c h w: so long that no window reaches from end to end
ENDS = 4  # places at an end


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
