"""A check of this machine: what the course needs, each line "fine" or one sentence with the cure.

Run ``python -m course_lib.machine``. It imports nothing that may be missing, so that it can say what is.
"""

from __future__ import annotations  # an old Python must get as far as being told that it is too old

import os
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHON = (3, 11)
PACKAGES = {  # the lowest versions, as in pyproject.toml
    "torch": "2.7",
    "numpy": "1.26",
    "matplotlib": "3.9",
    "tqdm": "4.66",
    "ipykernel": "6.17",
    "ipywidgets": "7.7.1",
}
MAKES = {"course": "lab", "test": "test"}  # what `make` installs which extra


def in_folder(root: Path = ROOT) -> bool:
    """Whether the library lies in a folder of the course, a clone or a student edition; else pip brought it alone."""
    return (root / "Makefile").exists()


def install(extra: str = "course", root: Path = ROOT) -> str:
    """What brings the packages of an extra, where this library lies. Double quotes: cmd.exe knows no others."""
    if in_folder(root):
        by_hand = f'pip install -c constraints.txt -e ".[{extra}]"'
        return f'run "make {MAKES[extra]}" in the course\'s folder (or: {by_hand})'
    return f'pip install "attention-in-vision[{extra}]"'


def bring_back(root: Path = ROOT) -> str:
    """What brings back a file of the library, where this library lies."""
    if (root / ".git").exists():
        return "git checkout -- course_lib/data"
    again = "pip install --force-reinstall --no-deps attention-in-vision"
    return "unpack the course once more" if in_folder(root) else again


@dataclass(frozen=True)
class Finding:
    """One line of the check; ``detail`` (a version, an amount) differs between machines, the rest does not."""

    name: str
    fine: bool
    cure: str = ""
    detail: str = ""
    essential: bool = True

    def line(self, *, detail: bool = False) -> str:
        verdict = "fine" if self.fine else self.cure
        return f"{self.name:<10} {verdict}" + (f" ({self.detail})" if detail and self.detail else "")


def check_machine() -> list[Finding]:
    """Everything a lesson relies on, looked at on this machine.

    >>> all(finding.fine or finding.cure for finding in check_machine())
    True
    """
    packages = [check_package(name, lowest) for name, lowest in PACKAGES.items()]
    complete = all(package.fine for package in packages)
    used = [check_arrays(), check_pictures(), check_threads()] if complete else []
    return [
        check_python(sys.version_info[:3]),
        *packages,
        check_kernel(Path(sys.prefix), ROOT / ".venv", complete),
        *used,
        check_data(ROOT / "course_lib/data"),
        check_memory(available_memory()),
        check_disk(shutil.disk_usage(ROOT).free),
    ]


def show_machine() -> None:
    """Print the check as lesson 00 does: without versions, so that the text is the same on every machine."""
    for finding in check_machine():
        print(finding.line())


def check_python(version: tuple) -> Finding:
    shown, wanted = (".".join(map(str, numbers)) for numbers in (version, PYTHON))
    cure = f'this is Python {shown}; install Python {wanted} or newer, then run "make lab PYTHON=python{wanted}"'
    return Finding("Python", tuple(version) >= PYTHON, cure, shown)


def check_package(name: str, lowest: str) -> Finding:
    try:
        version = import_module(name).__version__
    except ModuleNotFoundError as error:
        return Finding(name, False, f"{error.name} is missing; {install()}")
    except Exception as error:  # a library of the system is missing, two versions do not fit together, …
        return Finding(name, False, f"{name} does not load ({error}); delete .venv and {install()}")
    cure = f"{name} {version} is older than {lowest}; {install()}"
    return Finding(name, numbers(version) >= numbers(lowest), cure, version)


def numbers(version: str) -> tuple[int, ...]:
    """The release as integers, without a local label.

    >>> numbers("2.13.0+cpu")
    (2, 13, 0)
    """
    return tuple(int(part) for part in re.findall(r"\d+", version.split("+")[0]))


def check_kernel(prefix: Path, venv: Path, complete: bool) -> Finding:
    """A Python other than the course's own is welcome as long as it has all the packages (conda, Colab)."""
    foreign = venv.exists() and prefix.resolve() != venv.resolve()
    cure = "this is not the Python of the course's .venv and it lacks packages; start JupyterLab with make lab"
    return Finding("kernel", complete or not foreign, cure, str(prefix))


def check_arrays() -> Finding:
    """torch and numpy hand arrays to each other: fails where one was built for another version of the other."""
    try:
        total = import_module("torch").ones(2, 2).softmax(dim=1).numpy().sum()
    except Exception as error:
        return Finding("arrays", False, f"torch and numpy do not work together ({error}); {install()}")
    return Finding("arrays", total == 2, f"the softmax of two rows sums to {total}, not 2; {install()}")


def check_pictures() -> Finding:
    """A figure is drawn in memory: the course never needs a display."""
    try:
        figure = import_module("matplotlib.figure").Figure(figsize=(1, 1))
        import_module("matplotlib.backends.backend_agg").FigureCanvasAgg(figure).draw()
    except Exception as error:
        return Finding("pictures", False, f"matplotlib cannot draw ({error}); {install()}")
    return Finding("pictures", True, detail="no display needed")


def check_data(folder: Path) -> Finding:
    """Digits and photographs came with the course: it never needs a network."""
    missing = [kind for kind in ("*.npz", "*.jpg") if not any(folder.glob(kind))]
    cure = f"no {' and no '.join(missing)} in {folder.name}/; to bring them back: {bring_back()}"
    return Finding("data", not missing, cure, "no network needed")


def check_threads() -> Finding:
    """More threads than processors make small networks many times slower."""
    threads = import_module("torch").get_num_threads()
    cure = f"torch uses {threads} threads for {os.cpu_count()} processors; set OMP_NUM_THREADS=1 before Python starts"
    return Finding("threads", threads <= (os.cpu_count() or 1), cure, str(threads), essential=False)


def available_memory() -> int | None:
    """Bytes that a new program may use; None where the system does not say in a file."""
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    return int(found[1]) * 1024 if found else None


def check_memory(free: int | None) -> Finding:
    if free is None:
        return Finding("memory", True, essential=False)
    cure = f"{gigabytes(free)} free; a lesson uses up to 1 GB: close other programs or stop other kernels"
    return Finding("memory", free >= 1e9, cure, f"{gigabytes(free)} free", essential=False)


def check_disk(free: int) -> Finding:
    cure = f"{gigabytes(free)} free; make room for 0.2 GB, or your notebooks cannot be saved"
    return Finding("disk", free >= 0.2e9, cure, f"{gigabytes(free)} free", essential=False)


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def main() -> int:
    """Print every finding with its detail; 2 when something essential is missing, else 0."""
    findings = check_machine()
    for finding in findings:
        print(finding.line(detail=True))
    return 2 if any(finding.essential and not finding.fine for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
