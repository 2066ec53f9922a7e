"""Starting workers from the trusted side: the outer sandbox, its zygote, and one socket per worker.

bubblewrap where it works, else Landlock with seccomp; each is proved by trying to break out before it is used.
Where neither holds, nothing is graded.
"""

import itertools
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

from course_lib.exercises import ROOT
from course_lib.grading.sandbox import confine, frames, waiting

FIRST_USER = 61184
START_SECONDS = 120
CPU_SECONDS = 600
PATIENCE = 3  # a busy machine may make a request last so many times longer, on top
BUSY = 0.05  # of its time queueing: then it may have been the machine
MODES = ("bubblewrap", "landlock")

# Run in the first worker of a new sandbox. Each line must fail there; a line that works names a hole.
ESCAPES = {
    "read the hidden tests": "import os; os.listdir({tests!r})",
    "read the home folder": "import os; os.listdir({home!r}); open({home!r} + '/.bashrc')",
    "write beside the library": "open({library!r} + '/escape', 'w')",
    "write beside the interpreter": "import sys; open(sys.prefix + '/escape', 'w')",
    "open a socket": "import socket; socket.socket()",
    "see other processes": "import os; assert any(int(p) != os.getpid() for p in os.listdir('/proc') if p.isdigit())",
    "be root": "import os; os.setuid(0); assert os.getuid() == 0",
    "stop the grader": "import os; os.kill({grader}, 0)",
    "enter a namespace": "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
}


UNASKED = "broke the protocol: it spoke without being asked"  # so not the request at hand is to blame, but one before


class Refused(RuntimeError):
    """No sandbox holds on this machine, so nothing may run."""


class Gone(BaseException):
    """The worker is dead; ``why`` says how. Not an Exception, so that no test can swallow it."""

    def __init__(self, why: str):
        super().__init__(why)
        self.why = why


class Worker:
    """One running worker: ask it, with a deadline; end it."""

    def __init__(self, sandbox: "Sandbox", number: int, pid: int, connection: socket.socket):
        self.sandbox, self.number, self.pid, self.connection = sandbox, number, pid, connection
        self.sequence = 0
        self.why = ""
        self.deadline = self.waited = self.patience = 0.0
        self.charged = 0.0  # seconds of the last request that are the worker's own: it ran, or waited for nobody
        self.undecided = False  # a request was given up although the machine, not the worker, may have been slow
        self.starved = False  # … and it never had the time that it may take

    def ask(self, request: dict, seconds: float) -> dict:
        """The reply to ``request``, within ``seconds`` in which the worker had a processor or did not want one.

        Raises:
            Gone: if the worker does not reply in time, dies, or breaks the protocol; it is dead afterwards.
        """
        if self.why:
            raise Gone(self.why)
        start, waited = time.monotonic(), self.waited
        self.deadline, self.patience = start + seconds, PATIENCE * seconds
        if select.select([self.connection], [], [], 0)[0]:
            self.lose(UNASKED)
        try:
            frame = frames.encode(request, self.sequence)
            self.connection.settimeout(seconds)
            self.connection.sendall(frame)
            reply = frames.next_message(self.receive, self.sequence)
        except TimeoutError:
            self.undecided = self.queued() - waited > BUSY * (time.monotonic() - start)
            self.starved = self.undecided and self.patience < 0.1
            self.lose("timeout")
        except frames.Stale:
            self.lose(UNASKED)
        except frames.BadFrame as error:
            self.lose(f"broke the protocol: {error}")
        except OSError:
            self.lose("gone")
        self.sequence += 1
        self.charged = time.monotonic() - start
        if self.charged > 0.5:
            self.waited = self.queued()
            self.charged -= self.waited - waited
        return reply

    def receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self.connection.settimeout(max(self.deadline - time.monotonic(), 1e-3))
            try:
                part = self.connection.recv(min(count - len(parts), 1 << 20))
            except TimeoutError:
                self.wait_longer()
                continue
            if not part:
                raise ConnectionError
            parts += part
            if time.monotonic() > self.deadline:
                self.wait_longer()
        return bytes(parts)

    def wait_longer(self) -> None:
        """Move the deadline by the time that the worker queued for a processor: a busy machine is nobody's fault."""
        queued = self.queued()
        more = min(queued - self.waited, self.patience)
        if more < 0.1:
            raise TimeoutError
        self.waited, self.patience, self.deadline = queued, self.patience - more, time.monotonic() + more

    def queued(self) -> float:
        """Seconds that the worker has waited for a processor, so far."""
        if self.sandbox.mode != "bubblewrap":  # its processes are this machine's, and its zygote may not look at them
            return max(self.waited, waiting.queued(self.pid))
        return max(self.waited, self.sandbox.order({"order": "queued", "id": self.number}).get("seconds", 0.0))

    def end(self, why: str = "ended") -> None:
        """Kill the worker with all its processes; what the sandbox knows of its death is the better reason."""
        if self.why:
            return
        told = self.sandbox.order({"order": "end", "id": self.number, "gone": why == "gone"}).get("why", "lost")
        self.connection.close()
        self.why = told if told == "memory" or (why in ("gone", UNASKED) and told != "killed") else why

    def lose(self, why: str) -> NoReturn:
        """Kill the worker and say so.

        Raises:
            Gone: always.
        """
        self.end(why)
        raise Gone(self.why)


class Sandbox:
    """The outer sandbox and the zygote in it; ``spawn`` gives workers. A context manager.

    ``mode`` None chooses the first that holds; "unsafe" must be asked for.
    """

    def __init__(self, *, memory: float = 2.0, modules: tuple[str, ...] = (), mode: str | None = None):
        self.settings = {"memory": int(memory * 2**30), "seconds": CPU_SECONDS, "modules": list(modules)}
        self.lock, self.numbers = threading.Lock(), itertools.count(1)
        self.process: subprocess.Popen | None = None
        self.stopped = False
        self.handles = ExitStack()
        reasons = []
        for candidate in [mode] if mode else MODES:
            try:
                self.mode = candidate
                self.start()
                self.prove()
                return
            except (OSError, RuntimeError, Gone) as error:
                reasons.append(f"{candidate}: {str(error) or type(error).__name__}")
                self.close()
        raise Refused(
            "no sandbox holds on this machine, so nothing was graded.\n  " + "\n  ".join(reasons) + "\n"
            "  Install bubblewrap (apt install bubblewrap), or use a kernel with Landlock (5.13 or newer)."
        )

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the zygote and wait until it is warm."""
        if self.mode != "unsafe":
            confine.machine()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kind = {"bubblewrap": "namespaces"}.get(self.mode, self.mode)
        root = os.getuid() == 0
        self.settings |= {"mode": kind, "first_user": FIRST_USER if root and kind == "landlock" else 0}
        self.settings["readable"] = readable() if kind == "landlock" else []
        self.control = self.handles.enter_context(ours)
        self.errors = self.handles.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  (the stack closes it)
        command, extra = self.command(theirs.fileno())
        try:
            self.process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno(), *extra],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.errors,
                env=environment(),
                cwd="/",
                start_new_session=True,
            )
        finally:
            theirs.close()
            for handle in extra:
                os.close(handle)
        ours.settimeout(START_SECONDS)
        ours.send(json.dumps(self.settings).encode())
        if not ours.recv(4096):
            raise RuntimeError(self.complaint())

    def command(self, control: int) -> tuple[list[str], list[int]]:
        """The command that starts the zygote, and further handles that it needs."""
        zygote = [sys.executable, "-B", "-s", "-m", "course_lib.grading.sandbox.zygote", str(control)]
        launch = [sys.executable, "-B", "-S", "-s", str(Path(__file__).with_name("launch.py"))]
        if self.mode == "landlock" and os.getuid() == 0:
            return [*launch, "keep", *interpreter(), str(ROOT / "course_lib"), "--", *zygote], []
        if self.mode != "bubblewrap":
            return zygote, []
        bwrap = shutil.which("bwrap")
        if not bwrap:
            raise RuntimeError("the program bwrap is not installed")
        arguments = os.memfd_create("arguments")
        os.write(arguments, "\0".join(mounts()).encode() + b"\0")
        os.lseek(arguments, 0, os.SEEK_SET)
        command = [bwrap, "--args", str(arguments), "--", *zygote]
        if os.getuid() == 0:
            command = [*launch, "drop", *interpreter(), str(ROOT / "course_lib"), "--", *command]
        return command, [arguments]

    def running(self) -> subprocess.Popen:
        if self.process is None:
            raise RuntimeError("the sandbox was not started")
        return self.process

    def complaint(self) -> str:
        """What the sandbox said on its way down."""
        with suppress(subprocess.TimeoutExpired):
            self.running().wait(5)
        self.errors.seek(0)
        lines = self.errors.read()[-2000:].decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "the sandbox ended before it was ready"

    def order(self, order: dict, handles: tuple[int, ...] = ()) -> dict:
        """Send one order to the zygote and return its answer; an empty one when the zygote is dead."""
        with self.lock, suppress(OSError, ValueError):
            socket.send_fds(self.control, [json.dumps(order).encode()], handles)
            return json.loads(self.control.recv(4096))
        return {}

    def spawn(self) -> Worker:
        """A fresh worker; a zygote that died is started again, once."""
        for attempt in range(2):
            ours, theirs = socket.socketpair()
            process, number = self.running(), next(self.numbers)
            answer = self.order({"order": "spawn", "id": number}, (theirs.fileno(),))
            theirs.close()
            if answer.get("ok"):
                return Worker(self, number, answer["pid"], ours)
            ours.close()
            if attempt == 0 and not answer:
                self.restart(process)
        raise Gone(answer.get("error", "the sandbox does not start again"))

    def restart(self, dead: subprocess.Popen) -> None:
        """Start again after ``dead``; once, however many threads noticed."""
        with self.lock:
            if self.process is dead and not self.stopped:
                dead.kill()
                self.close()
                self.start()

    def prove(self) -> None:
        """Try to break out; refuse a sandbox in which that works."""
        if self.mode == "unsafe":
            return
        worker = self.spawn()
        places = {"tests": str(ROOT / "tests"), "home": str(Path.home()), "grader": os.getpid()}
        places["library"] = str(ROOT / "course_lib") if self.mode == "landlock" else "/course/course_lib"
        hello = worker.ask({"op": "cell", "name": "probe", "source": "import decimal, sqlite3, wave"}, 30)
        if hello.get("raised"):
            raise RuntimeError(f"a worker cannot use the interpreter {sys.executable}: {hello['words']}")
        for what, source in ESCAPES.items():
            source = source.format(**places)
            if not worker.ask({"op": "cell", "name": "probe", "source": source}, 30).get("raised"):
                raise RuntimeError(f"a worker could {what}")
        worker.end()

    def stop(self) -> None:
        """Close for good, whatever other threads are still asking for: they get ``Gone``."""
        self.stopped = True
        with self.lock:
            self.close()

    def close(self) -> None:
        """End every worker and the zygote; nothing is left."""
        self.handles.close()
        if self.process:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def environment() -> dict[str, str]:
    """All that a worker sees of the environment."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": "/scratch",
        "TMPDIR": "/scratch",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": "/scratch",
    }


def interpreter() -> list[str]:
    """The folders that Python and its packages live in, outside /usr."""
    places = {sys.prefix, sys.base_prefix, os.path.dirname(os.path.realpath(sys.executable))}
    return sorted(place for place in places if not place.startswith("/usr/") and place != "/usr")


def readable() -> list[str]:
    """What a worker may read where there are no mounts of its own."""
    system = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime"]
    library = [str(ROOT / "course_lib")]
    return [path for path in [*system, *interpreter(), *library] if os.path.exists(path)]


def mounts() -> list[str]:
    """bubblewrap's arguments: own namespaces, the interpreter read-only, and nothing else of this machine."""
    arguments = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--hostname", "worker"]
    arguments += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        if os.path.islink(f"/{name}"):
            arguments += ["--symlink", os.readlink(f"/{name}"), f"/{name}"]
        elif os.path.isdir(f"/{name}"):
            arguments += ["--ro-bind", f"/{name}", f"/{name}"]
    for path in ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts"):
        arguments += ["--ro-bind-try", path, path]
    for path in interpreter():
        arguments += ["--ro-bind", path, path]
    arguments += ["--ro-bind", str(ROOT / "course_lib"), "/course/course_lib"]
    arguments += [
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--dir",
        "/scratch",
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/",
    ]
    arguments += ["--setenv", "PYTHONPATH", "/course", "--chdir", "/"]
    return arguments
