"""README.md's moving picture, from the first sprite: ``python -m course_lib.authoring.website.moving``."""

import json
from math import prod
from pathlib import Path

from PIL import Image

from course_lib.exercises import ROOT

SPRITE, PLACE = ROOT / "site/sliders/00_start_here-1.json", ROOT / "pictures/moving.webp"


def frames(about: dict, sheet: Image.Image) -> list[Image.Image]:
    """Every value of all sliders but the last, which stays where it starts; the middle comes first."""
    *moved, still = about["sliders"]
    width, height = about["frame"]
    each, found = len(still["options"]), []
    for k in range(prod(len(one["options"]) for one in moved)):
        row, column = divmod(k * each + still["start"], about["columns"])
        found.append(sheet.crop((column * width, row * height, (column + 1) * width, (row + 1) * height)))
    middle = len(found) // 2
    return found[middle:] + found[:middle]


def write(sprite: Path, place: Path) -> None:
    about = json.loads(sprite.read_text(encoding="utf-8"))
    first, *others = frames(about, Image.open(sprite.with_suffix(".webp")).convert("RGB"))
    first.save(place, save_all=True, append_images=others, duration=700, loop=0, quality=70)


if __name__ == "__main__":
    write(SPRITE, PLACE)
