"""Where the sprites of sliders lie, which ``sprites`` draws in the kernel while a lesson is executed."""

import base64
import json
from pathlib import Path

MIME = "application/x-steer-sprite+json"
WATCH = "from course_lib.authoring.sprites import watch; watch()"  # what the kernel runs before the first cell


def place(slug: str, number: int, root: Path) -> Path:
    """Where the sprite of a lesson's widget lies, without its suffix; widgets are counted from 1."""
    return root / f"site/sliders/{slug}-{number}"


def keep(sprites: list[dict], slug: str, root: Path) -> None:
    """Store a lesson's sprites, a picture and a few numbers each."""
    for number, made in enumerate(sprites, start=1):
        path = place(slug, number, root)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".webp").write_bytes(base64.b64decode(made["picture"]))
        path.with_suffix(".json").write_text(json.dumps(made["about"], ensure_ascii=False) + "\n", encoding="utf-8")
