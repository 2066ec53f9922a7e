"""What the visible checks of several exercises need: an answer beside what is due, numbers for a sentence, inputs."""

import torch
from torch import Tensor


def same(found: Tensor, due: Tensor) -> bool:
    """Equal but for rounding, in whatever precision; no number is missing.

    >>> same(torch.ones(2), torch.ones(2, dtype=torch.float64)), same(torch.ones(2), torch.ones(3))
    (True, False)
    """
    return found.shape == due.shape and torch.allclose(found.double(), due.double(), atol=1e-4)


def rounded(tensor: Tensor | float) -> list[float]:
    """The numbers of a tensor, for a sentence.

    >>> rounded(torch.tensor([[1 / 3], [2.0]]))
    [0.333, 2.0]
    """
    return [round(value, 3) for value in torch.as_tensor(tensor).flatten().tolist()]


def drawn(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Random tensors, always the same.

    >>> [one.shape for one in drawn((2, 3), (5,))]
    [torch.Size([2, 3]), torch.Size([5])]
    """
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator) for shape in shapes]
