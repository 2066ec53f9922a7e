"""Every attention map of one forward pass, by the name of the module that made it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def record_attention(model: nn.Module) -> Iterator[dict[str, list]]:
    """Collect what every ``attention`` method inside ``model`` returns, while the model runs unchanged.

    A list for each module, with one entry for each time it was called. The map is computed beside the forward
    pass from the same inputs, the same random numbers and the same norm statistics, so it is there even when
    ``forward`` takes a fast way that never builds it. Nothing is kept for gradients.

    >>> from course_lib.channel.squeeze_excitation import SqueezeExcitation
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 1), SqueezeExcitation(8, reduction=2))
    >>> with record_attention(model) as maps:
    ...     _ = model(torch.zeros(1, 3, 5, 7))
    >>> {name: [tuple(one.shape) for one in recorded] for name, recorded in maps.items()}
    {'1': [(1, 8, 1, 1)]}
    """
    maps: dict[str, list] = {}
    states: list = []  # of the random generator and the buffers, one for each module call that is under way

    aside = False  # computing a map: modules inside it that run again are not recorded again

    def remember(module: nn.Module, args: tuple, kwargs: dict) -> None:
        if aside:
            return
        states.append((torch.get_rng_state(), [buffer.clone() for buffer in module.buffers()]))

    def record(module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        nonlocal aside
        if aside:
            return
        random, buffers = states.pop()
        aside = True
        after = [buffer.clone() for buffer in module.buffers()]
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.set_rng_state(random)
            restore(module, buffers)
            maps.setdefault(names[module], []).append(module.attention(*args, **kwargs))
            restore(module, after)
        aside = False

    names = {module: name for name, module in model.named_modules() if hasattr(module, "attention")}
    handles = []
    for module in names:
        handles.append(module.register_forward_pre_hook(remember, with_kwargs=True))
        handles.append(module.register_forward_hook(record, with_kwargs=True))
    try:
        yield maps
    finally:
        for handle in handles:
            handle.remove()


def restore(module: nn.Module, values: list[torch.Tensor]) -> None:
    """Put back the buffers of ``module``, its running statistics among them."""
    for buffer, value in zip(module.buffers(), values, strict=True):
        buffer.copy_(value)
