"""A digit that crosses the canvas, frame by frame.

The task of the 3-D part of lesson 09 and of lesson 17.
"""

import torch
from torch import Tensor

from course_lib.data.canvases import between, draw_digits, place


def moving_digits(
    count: int, *, frames: int = 6, size: int = 24, visible: int | None = None, test: bool = False, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Videos n 1 t s s, labels n, and which frames show the digit n t.

    The digit has 12 pixels a side and moves on a straight line from one random place to another. With ``visible``
    it is shown in that many frames only, chosen at random; the others are empty.

    >>> moving_digits(5)[0].shape
    torch.Size([5, 1, 6, 24, 24])
    """
    visible = frames if visible is None else visible
    if not 0 < visible <= frames or size < 12:
        raise ValueError(
            f"visible={visible} of frames={frames} on size={size}; show 1 to {frames} frames, on at least 12 pixels"
        )
    generator = torch.Generator().manual_seed(seed)
    images, labels = draw_digits(count, test=test, generator=generator)
    scales = torch.full((count,), 12 / size)
    start, end = (between(-1, 1, count, 2, generator=generator) * (1 - scales)[:, None] for _ in range(2))
    steps = torch.linspace(0, 1, frames)
    shown = torch.rand(count, frames, generator=generator).argsort(dim=1) < visible
    video = [place(images, size, scales, torch.zeros(count), start + t * (end - start)) for t in steps]
    return torch.stack(video, dim=2) * shown[:, None, :, None, None], labels, shown  # n 1 s s -> n 1 t s s
