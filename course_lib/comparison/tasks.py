"""Five small tasks, each with a network that leaves one slot free.

What stands in the slot gets features b c h w and returns as many; a film is an image whose width is time.
The budget of a task is the same for every mechanism: images, batch, steps, learning rate.

>>> list(TASKS)
['cued channel', 'recall', 'shift', 'salient frame', 'clutter']
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.data.canvases import digit_canvases, draw_digits
from course_lib.data.cued_channels import cued_channels
from course_lib.data.recall import in_image_recall
from course_lib.spatial.deformable import deform_conv2d
from course_lib.training import accuracy, fit, predict


class Task(NamedTuple):
    """``data(count, seed, test)`` gives inputs and targets, ``network(slot)`` the model around a slot of ``size``."""

    size: tuple[int, int, int]  # c h w of the slot
    data: Callable[[int, int, bool], tuple[Tensor, Tensor]]
    network: Callable[[nn.Module], nn.Module]
    budget: dict
    score: Callable[[nn.Module, Tensor, Tensor], float] = accuracy

    def run(self, slot: Callable[[], nn.Module], seed: int) -> float:
        """The score on new images of the network with this slot, trained with the task's budget."""
        torch.manual_seed(seed)
        model = self.network(slot())
        fit(model, *self.data(2000, seed, False), **self.budget, one_cycle=False, seed=seed)
        return self.score(model, *self.data(1000, 1000, True))


def explained(model: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """The share of the targets' variance that the model explains: 1 − error / variance."""
    return 1 - (F.mse_loss(predict(model, inputs), targets) / targets.var()).item()


def layer(before: int, after: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    convolution = nn.Conv2d(before, after, size, stride, padding=size // 2)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


# cued channel (lesson 03): a texture at the right says which of three digits at the left counts


def cued(count: int, seed: int, test: bool) -> tuple[Tensor, Tensor]:
    images, labels, _ = cued_channels(count, test=test, seed=seed)
    return images, labels


def cued_network(slot: nn.Module) -> nn.Module:
    return nn.Sequential(layer(4, 16, stride=2), slot, layer(16, 16), nn.Flatten(), nn.Linear(16 * 4 * 12, 10))


# recall (lesson 09): a pixel asks what another one holds


def recall(count: int, seed: int, test: bool) -> tuple[Tensor, Tensor]:
    made = in_image_recall(count, height=8, width=8, seed=seed)
    return made.images, made.targets


def recall_network(slot: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(10, 32, 1), slot, nn.Conv2d(32, 4, 1))


# shift (lesson 08): a smooth pattern, moved by up to four rows, as a second field says at each place


def shift(count: int, seed: int, test: bool) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pattern, cue = smooth(count, generator), (smooth(count, generator) / 1.5).clamp(-1, 1)
    rows = torch.cat([4 * cue, torch.zeros_like(cue)], dim=1)
    return torch.cat([pattern, cue], dim=1), deform_conv2d(pattern, rows, torch.ones(1, 1, 1, 1))


def smooth(count: int, generator: torch.Generator) -> Tensor:
    """Blurred noise with deviation 1: count 1 16 8."""
    noise = torch.randn(count, 1, 28, 20, generator=generator)
    kernel = (-(torch.arange(-6, 7) ** 2) / 8).softmax(dim=0)
    blurred = F.conv2d(F.conv2d(noise, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return blurred / blurred.std()


def shift_network(slot: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 16, 1), slot, nn.ReLU(), nn.Conv2d(16, 1, 1))


# salient frame (lesson 17): one of eight frames is bright; name its digit


def salient(count: int, seed: int, test: bool) -> tuple[Tensor, Tensor]:
    """Films count 64 1 8, the pixels of a frame as channels, and the label of the bright frame."""
    generator = torch.Generator().manual_seed(seed)
    digits, labels = draw_digits(8 * count, test=test, generator=generator)
    which = torch.randint(8, (count, 1), generator=generator)
    light = torch.full((count, 8), 0.35).scatter(1, which, 1.0)
    films = digits.view(count, 8, 64) * light[:, :, None]
    return films.mT[:, :, None], labels.view(count, 8).gather(1, which)[:, 0]


def salient_network(slot: nn.Module) -> nn.Module:
    see = nn.Sequential(nn.Conv2d(64, 32, 1), nn.ReLU())
    return nn.Sequential(see, slot, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


# clutter (lesson 06): a digit somewhere among pieces of others


def clutter(count: int, seed: int, test: bool) -> tuple[Tensor, Tensor]:
    made = digit_canvases(count, size=28, digit=(14, 14), clutter=2, test=test, seed=seed)
    return made.images, made.labels


def clutter_network(slot: nn.Module) -> nn.Module:
    see = nn.Sequential(layer(1, 16, size=5, stride=2), layer(16, 32, stride=2))
    return nn.Sequential(see, slot, layer(32, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


TASKS = {
    "cued channel": Task(
        (16, 4, 12),
        cued,
        cued_network,
        {"steps": 600, "learning_rate": 5e-3, "batch_size": 32},
    ),
    "recall": Task(
        (32, 8, 8),
        recall,
        recall_network,
        {"steps": 120, "learning_rate": 3e-3, "batch_size": 64},
    ),
    "shift": Task(
        (16, 16, 8),
        shift,
        shift_network,
        {"steps": 150, "learning_rate": 0.01, "batch_size": 16, "loss": F.mse_loss},
        explained,
    ),
    "salient frame": Task(
        (32, 1, 8),
        salient,
        salient_network,
        {"steps": 100, "learning_rate": 0.01, "batch_size": 64},
    ),
    "clutter": Task(
        (32, 7, 7),
        clutter,
        clutter_network,
        {"steps": 400, "learning_rate": 5e-3, "batch_size": 32},
    ),
}
