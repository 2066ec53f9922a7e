"""Train the small vision transformer that lesson 14 looks into: ``python -m course_lib.authoring.train_vit``.

Eight minutes on one CPU thread. ``stem_vit`` learns to name the digits of ``pasted_digits`` and is saved in half
precision as course_lib/data/vit.npz; ``course_lib.models.trained_vit`` loads it. Printed: its accuracy on digits and
photographs that training never showed, 0.86. The start and all pictures are seeded.

With a plain patch embedding instead of the stem it was at 0.40 after 2000 steps; with the stem at 0.66 after 1000.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR

from course_lib.data.pasted_digits import pasted_digits
from course_lib.exercises import ROOT
from course_lib.models import stem_vit
from course_lib.spatial.vision_transformer import VisionTransformer
from course_lib.training import accuracy, progress, step

PLACE = ROOT / "course_lib/data/vit.npz"
STEPS, BATCH, ROUND = 5000, 32, 128  # new pictures are made for every round of steps; each is seen about four times


def train(vit: VisionTransformer, steps: int, *, seed: int = 0) -> None:
    """AdamW under a one-cycle schedule, on pictures that are replaced again and again."""
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(vit.parameters(), lr=1.5e-3, weight_decay=0.05)
    schedule = OneCycleLR(optimiser, 1.5e-3, total_steps=steps, pct_start=0.1)
    for k in (bar := progress(range(steps), desc="training", unit="step")):
        if k % ROUND == 0:
            made = pasted_digits(ROUND * BATCH // 4, seed=1000 + k)
        batch = torch.randint(len(made.images), (BATCH,), generator=generator)
        loss = step(vit, made.images[batch], made.labels[batch], F.cross_entropy, optimiser)
        schedule.step()
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)


def save(vit: VisionTransformer, place: Path) -> None:
    """The weights in half precision; the file is there as a whole or not at all."""
    with open(place.with_suffix(".part"), "wb") as file:
        np.savez(file, **{name: weights.half().numpy() for name, weights in vit.state_dict().items()})
    os.replace(place.with_suffix(".part"), place)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    vit = stem_vit()
    train(vit, int(sys.argv[1]) if len(sys.argv) > 1 else STEPS)
    held_out = pasted_digits(2000, test=True)
    print(f"right on held-out digits and photographs: {accuracy(vit, held_out.images, held_out.labels):.3f}")
    save(vit, PLACE)
