"""Running built notebooks, so that the stored outputs are the same on every machine that can make them so."""

import base64
import io
import os
import re
from pathlib import Path

from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image
from tqdm.auto import tqdm

from course_lib.authoring import sliders
from course_lib.authoring.address import from_source
from course_lib.notebook_client import Client

# One thread and fixed hashes: the same outputs everywhere. Bars tell the time, so they are not stored.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "TQDM_DISABLE": "1"}
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
INLINE = re.compile(r"(data:image/png;base64,)([\w+/=]+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
IN = re.compile(r"\bCell In ?\[(\d+)\]")
WIDGET = "application/vnd.jupyter.widget-view+json"


class CellFailed(RuntimeError):
    """A cell of a lesson or solution raised; the words say which and what."""


def run(notebook: NotebookNode, *, folder: Path, name: str) -> list[dict]:
    """Execute ``notebook`` in place in a fresh kernel, from ``folder``, with a progress bar over its code cells.

    Returns the sprites of its sliders, in their order; they are no part of the notebook.

    Raises:
        CellFailed: naming the cell and what it raised. Nothing is written then.
    """
    metadata = dict(notebook.metadata)  # the kernel would add its own Python version and the state of widgets
    total = sum(cell.cell_type == "code" for cell in notebook.cells)
    with tqdm(total=total, desc=name, unit="cell", leave=False, disable=None) as bar:
        client = Client(
            notebook,
            timeout=600,
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR", f"--IPKernelApp.exec_lines={sliders.WATCH}"],
            resources={"metadata": {"path": str(folder)}},
            on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
        )
        try:
            client.execute(env={**os.environ, **ENVIRONMENT})
        except CellExecutionError as error:
            raise CellFailed(f"{name} stopped at {in_the_source(notebook)}") from error
    notebook.metadata = NotebookNode(metadata)
    drawn = []
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        drawn += [output.data[sliders.MIME] for output in cell.outputs if sliders.MIME in output.get("data", {})]
        cell.outputs = [
            clean(output) for output in cell.outputs if not {WIDGET, sliders.MIME} & {*output.get("data", {})}
        ]
    return drawn


def in_the_source(notebook: NotebookNode) -> str:
    """Which cell raised, and its traceback without colours, counting cells as the lint does."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    raised = [(i, output) for i, cell in enumerate(code) for output in cell.outputs if output.output_type == "error"]
    places, (last, error) = numbers(notebook), raised[-1]
    lines = COLOUR.sub("", "\n".join(error.traceback)).splitlines()
    words = "\n".join(lines[2:] if lines[0].startswith("---") else lines)  # the last line names the error once more
    return f"cell {places[last]}:\n" + IN.sub(lambda found: f"cell {places[int(found[1]) - 1]}", words)


def numbers(notebook: NotebookNode) -> list[int]:
    """The place of each code cell among the cells of its source, from 1; the set-up cell stands in no source."""
    found, place = [], 0
    for cell in notebook.cells:
        place += bool(from_source([cell]))
        found += [place] * (cell.cell_type == "code")
    return found


def clean(output: NotebookNode) -> NotebookNode:
    """Take out of one output what differs from run to run: addresses in memory, a picture's software."""
    if "text" in output:
        output.text = ADDRESS.sub(" at 0x0", output.text)
    data = output.get("data", {})
    if "text/plain" in data:
        data["text/plain"] = ADDRESS.sub(" at 0x0", data["text/plain"])
    if "image/png" in data:
        data["image/png"] = lossless_png(data["image/png"])
    if "text/html" in data:
        data["text/html"] = INLINE.sub(lambda found: found[1] + lossless_png(found[2]), data["text/html"])
    return output


def lossless_png(encoded: str) -> str:
    """The same pixels in a smaller file: what is stored is what is drawn. No metadata, no transparency."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    picture, file = Image.alpha_composite(white, image).convert("RGB"), io.BytesIO()
    if colours := picture.getcolors(256):
        picture = picture.quantize(len(colours), dither=Image.Dither.NONE)  # a palette that holds every colour
    picture.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
