"""Every attention map of one forward pass, by the name of the module that made it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

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
    watch = Watch(model)
    handles = []
    for module in watch.names:
        handles.append(module.register_forward_pre_hook(watch.before, with_kwargs=True))
        handles.append(module.register_forward_hook(watch.after, with_kwargs=True))
    try:
        yield watch.maps
    finally:
        for handle in handles:
            handle.remove()


class Watch:
    """What happens before and after each call of a module that has a map."""

    def __init__(self, model: nn.Module):
        self.names = {module: name for name, module in model.named_modules() if hasattr(module, "attention")}
        self.maps: dict[str, list] = {}
        self.starts: list[State] = []  # one for each call that is under way: modules lie inside others
        self.aside = False  # computing a map: what it calls is not recorded again

    def before(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        """Keep how things stand, so that the map is computed from the same."""
        if not self.aside:
            self.starts.append(state_of(module))

    def after(self, module: nn.Module, args: tuple, kwargs: dict, output: object) -> None:
        """Go back to the start of the call, compute the map, and go forward again."""
        if self.aside:
            return
        start, now = self.starts.pop(), state_of(module)
        self.aside = True
        with torch.no_grad():
            restore(module, start)
            self.maps.setdefault(self.names[module], []).append(module.attention(*args, **kwargs))
            restore(module, now)
        self.aside = False


class State(NamedTuple):
    """What a call may change: the random generator, and the buffers of a module (its running statistics)."""

    random: torch.Tensor
    buffers: list[torch.Tensor]


def state_of(module: nn.Module) -> State:
    return State(torch.get_rng_state(), [buffer.clone() for buffer in module.buffers()])


def restore(module: nn.Module, state: State) -> None:
    torch.set_rng_state(state.random)
    for buffer, value in zip(module.buffers(), state.buffers, strict=True):
        buffer.copy_(value)
