"""What the tests share: modules whose every number is random, and the comparisons that all of them make."""

import torch
from torch import Tensor, nn

from course_lib.grading.precision import tolerance


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Every parameter and running statistic random, in float64: a gate that starts at zero would pass any test.

    What is computed, and therefore not saved, stays.
    """
    generator = torch.Generator().manual_seed(seed)
    module.double()  # before the values: a buffer that changes its type with its data cannot be traced
    saved = module.state_dict().keys()
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_floating_point() and name in saved:
            values = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            tensor.data = values.square() + 0.5 if name.endswith("running_var") else values
    return module.eval()


def features(*shape: int, seed: int = 1) -> Tensor:
    """Random float64 features of the given shape."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    """Equal in shape and dtype, and in value to 1e-9, or to single precision where the answer computes in it."""
    torch.testing.assert_close(actual, expected, **tolerance(expected))


def number(value: object) -> float:
    """The number that an answer gave, bare or in a tensor; a text, a truth value or a list is none."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    assert isinstance(value, int | float) and not isinstance(value, bool), f"a number is due, not {value!r}"
    return value


def tensor(value: object) -> Tensor:
    """The tensor that an answer gave; whatever else has its attributes is none."""
    assert isinstance(value, Tensor), f"a tensor is due, not {type(value).__name__}"
    return value


def assert_number(actual: object, expected: float) -> None:
    """A number equal to ``expected``, as closely as ``assert_same`` compares."""
    assert_same(*(torch.tensor(one, dtype=torch.float64) for one in (number(actual), expected)))
