"""CPU time, wall time and peak memory of a command with everything that it starts."""

import os
import platform
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

GROUP = Path("/sys/fs/cgroup/cpuacct/course-benchmark")  # counts also what outlives its parent


class Cost(NamedTuple):
    """Seconds of processor, seconds of clock, peak of proportional memory in MB."""

    cpu: float
    wall: float
    memory: float


def cost(command: list[str], *, cwd: Path, ok: tuple[int, ...] = (0,)) -> Cost:
    """Run ``command`` to its end and say what it cost.

    Raises:
        OSError: where there is no cpuacct control group to count in: run as root on such a machine.
    """
    GROUP.mkdir(exist_ok=True)
    before, start = usage(), time.perf_counter()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PATH": path}
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: (GROUP / "cgroup.procs").write_text(str(os.getpid())),
    )
    peak = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peak))
    watcher.start()
    errors = process.communicate()[1]
    watcher.join()
    if process.returncode not in ok:
        raise RuntimeError(errors.decode()[-2000:])
    return Cost(usage() - before, time.perf_counter() - start, peak[0])


def usage() -> float:
    return int((GROUP / "cpuacct.usage").read_text()) / 1e9


def watch(process: subprocess.Popen, peak: list[float]) -> None:
    """Look at the memory of the whole tree, once a second."""
    while process.poll() is None:
        with suppress(psutil.Error):
            tree = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            peak[0] = max(peak[0], sum(map(pss, tree)))
        time.sleep(1)


def pss(process: psutil.Process) -> float:
    """MB of a process, each shared page counted by its share."""
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024
    return 0.0


def machine() -> str:
    processors = len(os.sched_getaffinity(0))
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return f"{processors} processors, {platform.machine()}, Python {platform.python_version()}, {load}"


def table(header: list[str], rows: list[list]) -> str:
    lines = [header, ["---"] * len(header), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
