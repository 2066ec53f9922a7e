"""Train the small vision transformer that lesson 14 looks into: ``python -m course_lib.data.train_vit``.

About 10 minutes on one CPU thread. A ViT with four layers of four heads learns to name the digits of
``pasted_digits`` and is saved in half precision as vit.npz beside this file; ``course_lib.models.trained_vit`` loads
it. Printed: its accuracy on digits and photographs that training never showed. The start and all pictures are seeded.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from course_lib.data.pasted_digits import pasted_digits
from course_lib.models import small_vit
from course_lib.spatial.vision_transformer import VisionTransformer
from course_lib.training import accuracy, progress, step

PLACE = Path(__file__).with_name("vit.npz")
STEPS, BATCH, ROUND = 6000, 32, 128  # new pictures are made for every round of steps; each is seen about four times


def train(vit: VisionTransformer, steps: int, *, seed: int = 0) -> None:
    """AdamW under a one-cycle schedule; no pieces of other digits in the first eighth, which is hard enough."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(vit.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.1)
    for k in (bar := progress(range(steps), desc="training", unit="step")):
        if k % ROUND == 0:
            made = pasted_digits(ROUND * BATCH // 4, pieces=0 if k < steps // 8 else 2, seed=1000 + k)
        batch = torch.randint(len(made.images), (BATCH,), generator=generator)
        loss = step(vit, made.images[batch] - 0.5, made.labels[batch], F.cross_entropy, optimiser)
        schedule.step()
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)


@torch.no_grad()
def take_half(vit: VisionTransformer) -> None:
    """Move the 0.5 that training took from every pixel into the bias: the model then reads pixels from 0 to 1."""
    patches = vit.patches.projection
    patches.bias -= 0.5 * patches.weight.sum((1, 2, 3))


def save(vit: VisionTransformer, place: Path) -> None:
    """The weights in half precision; the file is there as a whole or not at all."""
    with open(place.with_suffix(".part"), "wb") as file:
        np.savez(file, **{name: weights.half().numpy() for name, weights in vit.state_dict().items()})
    os.replace(place.with_suffix(".part"), place)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vit = small_vit(64, 8, channels=3, width=64, depth=4)
    train(vit, int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
    take_half(vit)
    held_out = pasted_digits(2000, test=True)
    print(f"right on held-out digits and photographs: {accuracy(vit, held_out.images, held_out.labels):.3f}")
    save(vit, PLACE)
