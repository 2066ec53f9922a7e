"""The picture at the top of the README, from the real thing: ``python -m tests.browser.picture``."""

import shutil
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.browser import lab

ROOT = Path(__file__).resolve().parents[2]


def take(slug: str, file: Path) -> None:
    """The part of a lesson that leads to its first slider, as JupyterLab shows it, in few colours."""
    with tempfile.TemporaryDirectory() as home:
        shutil.copy(ROOT / f"notebooks/{slug}.ipynb", home)
        with lab.jupyterlab(Path(home), Path(home) / "home") as address, lab.chromium() as browser:
            page = browser.new_page(viewport={"width": 860, "height": 900})
            notebook = lab.Notebook(page, address(f"{slug}.ipynb"))
            notebook.run_all()
            page.keyboard.press("Control+b")  # without the list of files
            lead_in = page.locator(".jp-Cell:has([role=slider])").first.locator("xpath=preceding-sibling::*[1]")
            lead_in.evaluate("cell => cell.scrollIntoView()")
            shot = page.locator(".jp-NotebookPanel-notebook").screenshot()
    Image.open(BytesIO(shot)).convert("RGB").quantize(256).save(file, optimize=True)


if __name__ == "__main__":
    (ROOT / "pictures").mkdir(exist_ok=True)
    take("00_start_here", ROOT / "pictures/lesson.png")
