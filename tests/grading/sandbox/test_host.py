"""The sandboxes hold for every kind of user that may start the grader."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from course_lib.exercises import ROOT
from course_lib.grading.sandbox import confine, waiting
from course_lib.grading.sandbox.host import ESCAPES, Gone, Sandbox, interpreter

PROBE = """
import sys
from course_lib.grading.sandbox.host import Gone, Sandbox
with Sandbox(memory=1.5, mode={mode!r}) as sandbox:  # it tries every escape, and refuses when one works
    worker = sandbox.spawn()
    assert not worker.ask({{"op": "cell", "name": "x", "source": "import torch\\ntorch.ones(2) @ torch.ones(2)"}}, 20)
    try:
        worker.ask({{"op": "cell", "name": "x", "source": "while True: pass"}}, 1)
    except Gone as gone:
        print(gone.why)
"""
WITHOUT = "-sys_admin,-sys_ptrace,-net_admin,-dac_read_search"
AS = {
    "root": [],
    "nobody": ["drop"],
    "root of a plain container": ["keep", "setpriv", "--bounding-set", WITHOUT, "--inh-caps", "-sys_admin"],
}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try to be somebody else")
@pytest.mark.parametrize(
    ("who", "mode"), [("nobody", "bubblewrap"), ("nobody", "landlock"), ("root of a plain container", "landlock")]
)
def test_it_holds_whoever_starts_it(who, mode, tmp_path):
    script = tmp_path / "probe.py"
    script.write_text(PROBE.format(mode=mode))
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp/pytest-of-root"):
            folder.chmod(0o755)
    how, *more = AS[who]
    launch = [
        sys.executable,
        str(ROOT / "course_lib/grading/sandbox/launch.py"),
        how,
        *interpreter(),
        str(ROOT / "course_lib"),
    ]
    if more:
        more[0] = subprocess.run(["which", more[0]], capture_output=True, text=True).stdout.strip()
    command = [*launch, "--", *more, sys.executable, str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "timeout", done.stderr


@pytest.fixture(scope="module", params=["bubblewrap", "landlock"])
def sandbox(request):
    with Sandbox(memory=1.5, mode=request.param) as sandbox:
        yield sandbox


def raised(sandbox: Sandbox, source: str) -> str:
    worker = sandbox.spawn()
    try:
        return worker.ask({"op": "cell", "name": "x", "source": source}, 20).get("raised", "nothing")
    except Gone as gone:
        return gone.why
    finally:
        worker.end()


@pytest.mark.parametrize("name", confine.FORBIDDEN)
def test_each_forbidden_system_call_is_refused(sandbox, name):
    number = confine.FORBIDDEN[name][confine.machine()]
    call = f"libc.syscall({number}, -1, 0, 0, 0, 0)"
    source = f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert {call} == -1\n"
    assert raised(sandbox, source + "assert ctypes.get_errno() == 1  # EPERM") == "nothing"


def test_a_worker_cannot_be_reached_by_another(sandbox):
    """Not through a signal, not through a file."""
    first, second = sandbox.spawn(), sandbox.spawn()
    leave = "try:\n    open('note', 'w').write('hello')\nexcept OSError:\n    pass"
    first.ask({"op": "cell", "name": "x", "source": leave}, 20)
    look = "import os, signal\nassert not os.path.exists('note')\n"
    look += "for pid in range(2, 40000):\n    try:\n        os.kill(pid, 0)\n    except OSError:\n        continue\n"
    look += "    if pid != os.getpid(): raise ValueError(pid)"
    assert second.ask({"op": "cell", "name": "x", "source": look}, 20) == {}
    first.end(), second.end()


def test_workers_of_many_threads_do_not_disturb_each_other(sandbox):
    answers = []

    def use() -> None:
        answers.extend(raised(sandbox, "raise ValueError") for _ in range(3))

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["ValueError"] * 18


def test_time_in_the_queue_for_a_processor_is_not_the_student_s(sandbox, monkeypatch):
    """A worker that says nothing while it waits for a processor gets that time on top, up to a bound."""
    worker = sandbox.spawn()
    asked: list[float] = []

    def busy() -> float:
        asked.append(0.4)
        return sum(asked)

    monkeypatch.setattr(worker, "queued", busy)
    assert worker.ask({"op": "cell", "name": "x", "source": "import time; time.sleep(1)"}, 0.5) == {}
    with pytest.raises(Gone, match="timeout"):
        worker.ask({"op": "cell", "name": "x", "source": "import time; time.sleep(10)"}, 0.5)
    assert len(asked) < 12 and worker.undecided and worker.starved


def test_every_escape_is_one_that_works_outside(tmp_path):
    """A probe that fails everywhere would prove nothing. Those left out need root, or write where Python is."""
    (tmp_path / ".bashrc").write_text("")
    places = {"tests": str(ROOT / "tests"), "home": str(tmp_path), "grader": os.getpid(), "library": str(tmp_path)}
    for what, source in ESCAPES.items():
        if what in ("be root", "enter a namespace", "write beside the interpreter") or (
            os.geteuid() and "root" in what
        ):
            continue
        exec(source.format(**places), {})
    assert Path(tmp_path / "escape").exists()


SPIN = "while True: pass"
THREADS = """
import hashlib, threading
for _ in range(3):
    threading.Thread(target=lambda: [hashlib.sha256(bytes(1 << 25)) for _ in range(10**6)], daemon=True).start()
while True: hashlib.sha256(bytes(1 << 25))
"""


@contextmanager
def load(*sources: str) -> Iterator[list[int]]:
    """Processes that want a processor all the time; their numbers."""
    started = [subprocess.Popen([sys.executable, "-c", source]) for source in sources]
    try:
        time.sleep(1)
        yield [one.pid for one in started]
    finally:
        for one in started:
            one.kill()
            one.wait()


def test_waiting_behind_one_s_own_threads_does_not_count():
    with load(THREADS, *[SPIN] * 2 * os.cpu_count()) as (threads, alone, *_):
        assert waiting.queued(alone) > 0.05 and max(waiting.queued(threads) for _ in range(3)) == 0


def test_each_sandbox_sees_how_long_its_worker_waited(sandbox):
    worker = sandbox.spawn()
    with load(*[SPIN] * 2 * os.cpu_count()):
        worker.ask(
            {"op": "cell", "name": "x", "source": "import time\nt = time.time()\nwhile time.time() < t + 3: 0"}, 30
        )
    assert worker.waited > 0.1 and worker.charged < 3
    worker.end()
