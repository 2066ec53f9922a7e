"""The mother of all workers: imports torch once, then forks one worker per submission into namespaces of its own.

It runs inside the outer sandbox, holds no test and no secret, and obeys one control socket:
``spawn`` (with the worker's socket), ``queued`` and ``end``. When the socket closes, everything ends.
"""

import asyncio
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import time
from contextlib import suppress
from unittest.mock import patch

from course_lib.grading import precision
from course_lib.grading.sandbox import confine, worker
from course_lib.grading.sandbox.waiting import queued

SCRATCH = "/scratch"
POLL_SECONDS = 0.25


class Zygote:
    """``settings``: mode (namespaces, landlock or unsafe), memory, seconds, first_user."""

    def __init__(self, control: socket.socket, settings: dict):
        self.control, self.settings = control, settings
        self.pids: dict[int, int] = {}
        self.ended: dict[int, str] = {}
        self.born = 0
        self.crowded: set[int] = set()  # the workers that were seen to have started processes
        self.next_watch = 0.0

    def serve(self) -> None:
        """Obey until the control socket closes."""
        while True:
            if select.select([self.control], [], [], POLL_SECONDS)[0]:
                data, handles, _, _ = socket.recv_fds(self.control, 4096, 1)
                if not data:
                    return
                self.control.send(json.dumps(self.obey(json.loads(data), handles)).encode())
            self.watch()

    def obey(self, order: dict, handles: list[int]) -> dict:
        try:
            if order["order"] == "spawn":
                self.pids[order["id"]] = self.spawn(handles[0])
                return {"ok": True, "pid": self.pids[order["id"]]}
            if order["order"] == "queued":
                alone = order["id"] not in self.crowded  # else it may be queueing behind processes of its own
                return {"seconds": queued(self.pids.get(order["id"], 0)) if alone else 0.0}
            return {"why": self.end(order["id"], gone=order["gone"])}
        except OSError as error:
            return {"error": str(error)}
        finally:
            for handle in handles:
                os.close(handle)

    def spawn(self, handle: int) -> int:
        """Fork a confined worker that speaks through ``handle``; its process id as the zygote sees it."""
        self.born += 1
        if self.settings["mode"] != "namespaces":
            return self.fork_worker(handle)
        reader, writer = os.pipe()
        between = os.fork()
        if between == 0:
            with dying("entering namespaces"):
                confine.own_namespaces()
                os.write(writer, b"%d" % self.fork_worker(handle))
        os.close(writer)
        answer = os.read(reader, 20)
        os.close(reader)
        os.waitpid(between, 0)
        if not answer:
            raise OSError("the worker could not enter namespaces of its own")
        return int(answer)

    def fork_worker(self, handle: int) -> int:
        pid = os.fork()
        if pid == 0:
            with dying("starting a worker"):
                os.dup2(handle, 3)
                os.closerange(4, 1024)
                os.setsid()  # its processes share the processors as one, where the kernel groups sessions
                asyncio.set_event_loop(asyncio.new_event_loop())  # now: later nothing may open a pair of sockets
                self.confine_worker()
                worker.serve(socket.socket(fileno=3))
        return pid

    def confine_worker(self) -> None:
        """The inner locks, in the order in which the kernel still permits them."""
        mode, alone = self.settings["mode"], self.settings["mode"] == "landlock"
        silence = os.open("/dev/null", os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        if mode != "namespaces":  # inside namespaces, the end of the outer one ends all
            confine.prctl(confine.PR_SET_PDEATHSIG, signal.SIGKILL)  # workers end with the zygote
        if mode == "unsafe":
            return
        if mode == "namespaces":
            confine.mount(
                "tmpfs", SCRATCH, "tmpfs", confine.NO_SUID | confine.NO_DEVICES, "size=64m,nr_inodes=8k,mode=777"
            )
            confine.mount("tmpfs", "/proc", "tmpfs", confine.READ_ONLY, "size=4k")
            os.chdir(SCRATCH)
        elif self.settings["first_user"]:
            confine.become(self.settings["first_user"] + self.born % 4000)
        confine.limit(
            memory=self.settings["memory"],
            seconds=self.settings["seconds"],
            processes=64 if not alone or self.settings["first_user"] else None,
            file_bytes=0 if alone else 32 << 20,
        )
        confine.drop_privileges()
        confine.seccomp(alone=alone)

    def end(self, number: int, *, gone: bool) -> str:
        """End worker ``number``; why it ended: memory, exit STATUS, signal NUMBER, or killed (only now).

        ``gone``: it closed its socket, so it is dying and can soon say how.
        """
        pid = self.pids.pop(number, None)
        if pid is None:
            return "unknown"
        why = self.ended.pop(number, None)
        deadline = time.monotonic() + (0.3 if gone else 0)
        done, status = os.waitpid(pid, os.WNOHANG)
        while not done and time.monotonic() < deadline:
            time.sleep(0.002)
            done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return why or "killed"
        return why or (f"signal {-code}" if (code := os.waitstatus_to_exitcode(status)) < 0 else f"exit {code}")

    def watch(self) -> None:
        """Kill each worker whose processes hold more memory, all together, than it may; what it starts comes last."""
        if self.settings["mode"] != "namespaces" or not self.pids or time.monotonic() < self.next_watch:
            return
        self.next_watch = time.monotonic() + POLL_SECONDS
        processes = processes_by_namespace()
        for number, pid in self.pids.items():
            children = [one for one in processes.get(pid_namespace(pid), []) if one != pid]
            if children:
                self.crowded.add(number)
            for child in children:
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, child, 19)
            if sum(map(proportional_memory, [pid, *children])) > self.settings["memory"]:
                self.ended[number] = "memory"
                os.kill(pid, signal.SIGKILL)


class dying:
    """Whatever happens inside, the process ends here: a forked child never runs its parent's code."""

    def __init__(self, doing: str):
        self.doing = doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> None:
        if error is not None and not isinstance(error, SystemExit):
            with suppress(BaseException):
                os.write(2, f"{self.doing}: {error}\n".encode())
        os._exit(0 if error is None else 70)


def pid_namespace(pid: int) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def processes_by_namespace() -> dict[str, list[int]]:
    """The processes of each process namespace but our own."""
    found: dict[str, list[int]] = {}
    own = pid_namespace(os.getpid())
    for name in filter(str.isdigit, os.listdir("/proc")):
        space = pid_namespace(int(name))
        if space not in ("", own):
            found.setdefault(space, []).append(int(name))
    return found


def proportional_memory(pid: int) -> int:
    """Bytes of a process, each page it shares counted by its share (Pss)."""
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        return next((int(line.split()[1]) << 10 for line in file if line.startswith("Pss:")), 0)
    return 0


def warm_up(modules: list[str]) -> None:
    """Pay once for what every worker needs: imports, torch's first backward pass, and a still garbage collector."""
    import torch

    torch.set_num_threads(1)  # a forked child of a process with threads hangs for ever
    x = torch.ones(2, 2, requires_grad=True)
    y = torch.nn.functional.softmax(x @ x, dim=-1)
    torch.autograd.grad([y], [x], [torch.ones(2, 2)])  # with a gradient given: that is what imports sympy
    with precision.Watch():
        torch.ones(2).sum()
    patch.multiple(torch, compile=uncompiled).start()  # for good: there is no compiler in here
    patch.multiple(torch.nn.Module, compile=uncompiled).start()
    tempfile.tempdir = SCRATCH  # without trying whether it can be written
    with patch.object(tempfile, "mkdtemp", return_value=SCRATCH):  # matplotlib wants a folder, and writes nothing yet
        for name in [*modules, "matplotlib.pyplot", "course_lib.exercises"]:
            with suppress(Exception):
                importlib.import_module(name)
    gc.collect()
    gc.freeze()


def uncompiled(model: object = None, **_: object) -> object:
    """What stands in for ``torch.compile``, also as ``@torch.compile(...)``."""
    return model if model is not None else lambda function: function


def main() -> None:
    """Run as ``python -m course_lib.grading.sandbox.zygote FD``; the first message on the socket is the settings."""
    control = socket.socket(fileno=int(sys.argv[1]))
    settings = json.loads(control.recv(65536))
    if settings["mode"] == "landlock":
        confine.landlock(settings["readable"])
    confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)  # a worker's first parent ends at once
    warm_up(settings["modules"])
    control.send(b'{"ready": true}')
    Zygote(control, settings).serve()


if __name__ == "__main__":
    main()
