"""A training is done once in a run of the suite: whoever asks for the same one again is given what it learned.

Importing this in a kernel wraps ``course_lib.training.fit``. Each training is written down under a hash of all that
goes in: the model with the code of its functions, each byte of its weights and of the data, the settings, and torch's
own generator. With ``look_up``, a training that goes in alike is not repeated, as it would come out alike.
"""

import functools
import hashlib
import io
import os
import types
from pathlib import Path

import cloudpickle
import torch

from course_lib import training

FOLDER = Path(os.environ["COURSE_LEARNED"])
NAMES = cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS
look_up = False


def tensor_bytes(kind: str, shape: tuple, learns: bool, content: bytes) -> None:
    """What a tensor is in a fingerprint, which nobody reads back."""


def code_parts(*parts) -> None:
    """What a function's code is in a fingerprint: without the file, whose name holds the number of a process."""


class Fingerprint(cloudpickle.Pickler):
    """Pickles the values of tensors instead of their addresses."""

    def reducer_override(self, it):
        if isinstance(it, torch.Tensor):
            values = it.detach().contiguous().numpy().tobytes()
            return tensor_bytes, (str(it.dtype), tuple(it.shape), it.requires_grad, values)
        if isinstance(it, types.CodeType):
            return code_parts, (it.co_code, it.co_consts, it.co_names, it.co_freevars, it.co_flags)
        if isinstance(it, type):
            NAMES[it] = it.__qualname__  # instead of a random one
        return super().reducer_override(it)


def fingerprint(*things) -> str:
    file = io.BytesIO()
    Fingerprint(file).dump((*things, torch.get_rng_state()))
    return hashlib.sha256(file.getvalue()).hexdigest()


def once(fit):
    """``fit``, which looks up what it has learned before."""

    @functools.wraps(fit)
    def fit_once(model, inputs, targets, **settings):
        file = FOLDER / fingerprint(model, inputs, targets, settings)
        if look_up and file.exists():
            fit(model, inputs, targets, **settings | {"steps": 0})  # it refuses, and shows its bar, as always
            return learned(model, torch.load(file))
        losses = fit(model, inputs, targets, **settings)
        write_down(model, losses, file)
        return losses

    return fit_once


def tensors(model) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]


def write_down(model, losses: list[float], file: Path) -> None:
    kept = {"values": [one.detach() for one in tensors(model)], "slopes": [one.grad for one in model.parameters()]}
    torch.save({**kept, "losses": losses, "random": torch.get_rng_state()}, file.with_suffix(f".{os.getpid()}"))
    file.with_suffix(f".{os.getpid()}").rename(file)


@torch.no_grad()
def learned(model, kept: dict) -> list[float]:
    for tensor, value in zip(tensors(model), kept["values"], strict=True):
        tensor.copy_(value)
    for parameter, slope in zip(model.parameters(), kept["slopes"], strict=True):
        parameter.grad = slope
    torch.set_rng_state(kept["random"])
    return kept["losses"]


training.fit = once(training.fit)
