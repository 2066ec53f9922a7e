"""Training in functions: fit a model, measure it, repeat with several seeds."""

import os
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR
from tqdm.auto import tqdm
from tqdm.notebook import tqdm as notebook_tqdm

VIEW = "application/vnd.jupyter.widget-view+json"


def progress(items: Iterable, **options) -> tqdm:
    """A bar that goes away by itself, and that a notebook shows as a widget and as nothing else.

    So whoever compares outputs with the stored ones (nbval does) finds the same, with bars or without.
    """
    options |= {"leave": False, "disable": os.environ.get("TQDM_DISABLE") == "1"}
    if not issubclass(tqdm, notebook_tqdm):
        return tqdm(items, **options)
    bar = tqdm(items, display=False, **options)
    if not bar.disable:
        from IPython.display import publish_display_data  # a notebook has it; the library alone does not ask for it

        publish_display_data({VIEW: {"version_major": 2, "version_minor": 0, "model_id": bar.container.model_id}})
    return bar


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    steps: int,
    learning_rate: float = 3e-3,
    batch_size: int = 64,
    seed: int = 0,
    one_cycle: bool = True,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    title: str = "training",
) -> list[float]:
    """Train ``model`` in place on random batches, and return the loss of every step.

    AdamW under a one-cycle schedule that peaks at ``learning_rate``, or at that rate throughout. Interrupt it
    (Ctrl-C, or the stop button of a notebook) and it returns with what was learned so far.

    Args:
        inputs, targets: n … and n …, drawn with replacement by ``seed``.
        one_cycle: whether the rate rises and falls (better for most models) or stays (better while a gate is slow
            to find its use).
        loss: a function of ``model(inputs)`` and the targets.
        title: what the progress bar says.

    Raises:
        ValueError: if inputs and targets are not equally many, or the loss is no longer a number.
    """
    if len(inputs) != len(targets):
        raise ValueError(f"{len(inputs)} inputs and {len(targets)} targets; give one target for each input")
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, fused=True)
    schedule = OneCycleLR(optimiser, learning_rate, total_steps=max(steps, 1)) if one_cycle else None
    losses: list[float] = []
    model.train()
    try:
        for _ in (bar := progress(range(steps), desc=title, unit="step")):
            batch = torch.randint(len(inputs), (batch_size,), generator=generator)
            losses.append(step(model, inputs[batch], targets[batch], loss, optimiser))
            if schedule:
                schedule.step()
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    except KeyboardInterrupt:
        print(f"{title}: stopped after {len(losses)} of {steps} steps; what was learned is kept")
    return losses


def step(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Callable, optimiser: torch.optim.Optimizer
) -> float:
    """One step of the optimiser on one batch; the loss before it."""
    value = loss(model(inputs), targets)
    if not value.isfinite():
        raise ValueError(f"the loss is {value.item()}; use a smaller learning_rate")
    optimiser.zero_grad()
    value.backward()
    optimiser.step()
    return value.item()


@torch.no_grad()
def predict(model: nn.Module, inputs: Tensor, *, batch_size: int = 500) -> Tensor:
    """The model's outputs in eval mode, batch by batch; its mode is restored."""
    training = model.training
    model.eval()
    outputs = torch.cat([model(batch) for batch in inputs.split(batch_size)])
    model.train(training)
    return outputs


def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor, *, ignore: int = -100) -> float:
    """The share of targets whose class has the largest logit; targets equal to ``ignore`` do not count.

    Shape: outputs n k … and targets n …, as in ``cross_entropy``.
    """
    right = predict(model, inputs).argmax(dim=1) == targets
    return right[targets != ignore].float().mean().item()


def repeat(experiment: Callable[[int], float | Sequence[float]], *, seeds: Sequence[int] = (0, 1, 2)) -> Tensor:
    """Run ``experiment(seed)`` for every seed, with torch's own generator seeded alike: seeds …"""
    results = []
    for seed in progress(seeds, desc="seeds"):
        torch.manual_seed(seed)
        results.append(torch.as_tensor(experiment(seed)))
    return torch.stack(results)
