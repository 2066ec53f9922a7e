"""How long a process has waited for a processor: a busy machine is nobody's fault.

Only the zygote sees bubblewrap's workers; Landlock's zygote may not read /proc, so there the trusted end looks.
"""

import os
from contextlib import suppress


def queued(pid: int) -> float:
    """Seconds that a process was ready to run and had to wait.

    0 where the kernel does not say, or where it may be waiting behind threads of its own.
    """
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat") as file:
        return 0.0 if runs_threads(pid) else int(file.read().split()[1]) / 1e9
    return 0.0


def runs_threads(pid: int) -> bool:
    """Whether a thread of a process, besides its first, is running or wants to."""
    others = (task for task in os.listdir(f"/proc/{pid}/task") if task != str(pid))
    return any(state(f"/proc/{pid}/task/{task}/stat") == "R" for task in others)


def state(path: str) -> str:
    with suppress(OSError), open(path) as file:
        return file.read().rpartition(")")[2].split()[0]
    return ""
