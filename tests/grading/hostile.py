# ruff: noqa: E501 - lines of the submissions' own code
"""Hostile and broken submissions to the small exercise, each with the tasks that its code honestly earns.

Unless it says otherwise a submission answers every task rightly, so that only its malice can cost it anything.
``earns`` None means: cannot be read, so nobody may give it a mark.
"""

import io
import json
import zipfile
from typing import NamedTuple

from tests.grading.small import RIGHT, answered, code_cell, notebook, task_cell

ALL = frozenset({1, 2, 3, 4})


class Hostile(NamedTuple):
    """One submission: its file, what it tries, and the tasks that it earns all the same."""

    name: str
    kind: str
    data: bytes
    earns: frozenset[int] | None
    suffix: str = ".ipynb"
    exact: bool = True  # else it may earn less: its own forged frames can hit any task


def without(*tasks: int) -> frozenset[int]:
    return ALL - set(tasks)


def body(function: str, text: str) -> str:
    """A function whose body is ``text``."""
    return f"def {function}:\n" + "".join(f"    {line}\n" for line in text.strip("\n").splitlines())


def mean_as(text: str) -> bytes:
    """Everything right, but ``mean(x)`` runs ``text``."""
    return answered({2: body("mean(x)", text)})


HANDLE = "import socket, struct\nwire = socket.socket(fileno=3)\n"
FORGED = 'struct.pack(">4sIIQ", b"AiV1", {sequence}, {header}, {body})'

# --- reading what is not theirs ---

SEARCH = """
import gc, os, sys
def found_by():
    for frame in sys._current_frames().values():
        while frame:
            if "draw" in frame.f_locals or "SECRET" in frame.f_globals: yield "frames"
            frame = frame.f_back
    for one in gc.get_objects():
        if isinstance(one, str) and one.startswith("canary-"): yield "memory"
        if callable(one) and type(one).__name__ == "function" and hasattr(one, "hint"): yield "tests"
    for folder, below, names in os.walk("/"):
        below[:] = [name for name in below if name not in ("usr", "dev", "lib", "site-packages", "python3.11")]
        for name in names:
            try: text = open(os.path.join(folder, name), "rb").read(1 << 20)
            except OSError: continue
            if b"canary-" + b"4f1d9b" in text: yield folder
    for value in os.environ.values():
        if "canary-" in value: yield "environment"
"""

READING = [
    Hostile(
        "walks_the_frames",
        "reads tests",
        mean_as("""
import sys
frame = sys._getframe()
while frame:
    for name in ("expected", "draw", "test"):
        if name in frame.f_locals: return frame.f_locals[name]
    frame = frame.f_back
return None
"""),
        without(2),
    ),
    Hostile(
        "asks_the_garbage_collector",
        "reads tests",
        mean_as("""
import gc
tests = [one for one in gc.get_objects() if type(one).__name__ == "function" and hasattr(one, "hint")]
return tests[0].__globals__["draw"] if tests else None
"""),
        without(2),
    ),
    Hostile(
        "searches_for_the_canary",
        "reads tests",
        answered({2: SEARCH + body("mean(x)", "raise AssertionError(f'found: {sorted(set(found_by()))}')")}),
        without(2),
    ),
    Hostile(
        "reads_the_hidden_tests",
        "reads tests",
        mean_as("""
import glob
for path in glob.glob("/c*/**/test_*.py", recursive=True) + ["/course/tests/hidden/test_07_small.py"]:
    return open(path).read()
"""),
        without(2),
    ),
    Hostile(
        "imports_the_hidden_tests",
        "reads tests",
        mean_as("""
from course_lib.grading.hidden import load
return load("07_small").tests[0]
"""),
        without(2),
    ),
    Hostile(
        "imports_the_solution",
        "reads solutions",
        mean_as("""
from pathlib import Path
import course_lib
root = Path(course_lib.__file__).parents[1]
names = {}
exec((root / "solutions/src/07_small.py").read_text(), names)
return names["mean"](x)
"""),
        without(2),
    ),
    Hostile(
        "reads_proc",
        "reads tests",
        mean_as("""
import os
for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
    if pid != os.getpid(): return open(f"/proc/{pid}/maps").read()
"""),
        without(2),
    ),
    Hostile(
        "reads_its_mother_s_memory",
        "reads tests",
        mean_as("""
import os
with open(f"/proc/{os.getppid()}/mem", "rb") as memory: return memory.read(10)
"""),
        without(2),
    ),
    Hostile(
        "guesses_the_seed",
        "reads tests",
        mean_as("""
from course_lib.grading import Draw
draw = Draw(0, "test_mean")
return draw.normal(*draw.primes(2)).mean()
"""),
        without(2),
    ),
    Hostile(
        "sends_a_hidden_input_home_in_an_exception",
        "reads tests",
        answered({2: body("mean(x)", "raise type('E' + 'x'.join(map(str, x.flatten().tolist())), (ValueError,), {})(x)")}),
        without(2),
    ),
    Hostile(
        "sends_a_hidden_input_home_in_a_file",
        "reads tests",
        answered({
            2: body("mean(x)", "open('seen', 'a').write(repr(x.tolist()))\nraise ValueError"),
            4: body("count(mask)", "raise AssertionError(open('seen').read())"),
        }),
        without(2, 4),
    ),
]  # fmt: skip

# --- making comparisons lie ---

LYING = [
    Hostile(
        "patches_the_comparisons_of_torch",
        "lies",
        answered(
            {2: body("mean(x)", "return torch.tensor(0.0)")},
            before="import torch\nyes = lambda *a, **k: True\n"
            "torch.testing.assert_close = torch.allclose = torch.equal = torch.isclose = yes\n"
            "torch.Tensor.allclose = torch.Tensor.equal = torch.Tensor.__eq__ = yes",
        ),
        without(2),
    ),
    Hostile(
        "patches_numpy_and_builtins",
        "lies",
        answered(
            {2: body("mean(x)", "return torch.tensor(0.0)")},
            after="import builtins, numpy\nnumpy.testing.assert_allclose = lambda *a, **k: None\n"
            "numpy.allclose = lambda *a, **k: True\nbuiltins.all = lambda *a: True\nbuiltins.abs = lambda x: 0",
        ),
        without(2),
    ),
    Hostile(
        "returns_a_tensor_subclass_that_always_agrees",
        "lies",
        answered({
            2: "class Yes(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, *a, **k):\n"
            "        return True\n\ndef mean(x):\n    return torch.zeros(()).as_subclass(Yes)\n"
        }),
        without(2),
    ),
    Hostile(
        "returns_a_float_that_equals_everything",
        "lies",
        answered({
            2: "class Yes(float):\n    def __eq__(self, other): return True\n    def __sub__(self, other): return 0.0\n"
            "    def __hash__(self): return 0\n\ndef mean(x):\n    return Yes(0)\n",
            4: "class Any(int):\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n\n"
            "def count(mask):\n    return Any(-1)\n",
        }),
        without(2, 4),
    ),
    Hostile(
        "returns_an_object_that_equals_everything",
        "lies",
        answered({
            4: "class Yes:\n    def __eq__(self, other): return True\n    def __len__(self): return 1\n"
            "    def __getattr__(self, name): return lambda *a, **k: self\n\ndef count(mask):\n    return Yes()\n"
        }),
        without(4),
    ),
    Hostile("returns_nan", "lies", mean_as("return x.sum() * float('nan')"), without(2)),
    Hostile("returns_infinity", "lies", mean_as("return x.sum() * float('inf')"), without(2)),
    Hostile("returns_a_number_for_a_tensor", "lies", mean_as("return float(x.mean())"), without(2)),
    Hostile("returns_another_dtype", "lies", mean_as("return x.mean().half()"), without(2)),
    Hostile("returns_10_to_the_400", "lies", answered({4: "def count(mask):\n    return 10**400\n"}), without(4)),
    Hostile("returns_half_a_character", "lies", mean_as("return '\\ud800'"), without(2)),
    Hostile("says_half_a_character", "lies", answered({2: body("mean(x)", "raise AssertionError('half \\ud800')")},
            before="raise ValueError('\\ud800 \\x00 \\x1b[31m')"), without(2)),
    Hostile("fails_in_900_cells", "output", json.dumps(notebook(
        [code_cell(f"raise ValueError({k})") for k in range(900)] + [task_cell(k, RIGHT[k]) for k in RIGHT])).encode(), ALL),
    Hostile("returns_a_shape_that_broadcasts", "lies", mean_as("return x.mean().expand(3, 3)"), without(2)),
    Hostile(
        "makes_the_input_agree_with_its_answer",
        "lies",
        mean_as("x.zero_()\nreturn torch.zeros((), dtype=x.dtype)"),
        without(2),
    ),
    Hostile(
        "is_right_but_without_a_gradient",
        "lies",
        answered({1: "def softmax(x):\n    return x.detach().softmax(-1)\n"}),
        without(1),
    ),
    Hostile(
        "is_right_with_a_gradient_of_another",
        "lies",
        answered({
            1: "class Odd(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x.softmax(-1)\n"
            "    @staticmethod\n    def backward(ctx, g): return 2 * g\n\ndef softmax(x):\n    return Odd.apply(x)\n"
        }),
        without(1),
    ),
    Hostile(
        "learns_the_visible_check_by_heart",
        "lies",
        mean_as("return torch.tensor(3.0)"),
        without(2),
    ),
]  # fmt: skip

# --- forging results ---

FORGING = [
    Hostile(
        "writes_replies_before_they_are_asked_for",
        "forges",
        answered(
            {2: body("mean(x)", "return None")},
            after=HANDLE + "for sequence in range(40):\n    header = b'{\"dict\": [[\"value\", 1]]}'\n"
            "    wire.send(" + FORGED.format(sequence="sequence", header="len(header)", body="0") + " + header)\n"
            "wire.detach()",
        ),
        without(2),
    ),
    Hostile(
        "writes_replies_of_the_right_numbers",
        "forges",
        answered(
            {2: body("mean(x)", "return None")},
            after=HANDLE + "import sys\nframe = sys._getframe()\nwhile 'sequence' not in frame.f_locals:\n    frame = frame.f_back\n"
            "for sequence in range(frame.f_locals['sequence'], frame.f_locals['sequence'] + 60):\n"
            "    header = b'{\"dict\": [[\"value\", 1]]}'\n"
            "    wire.send(" + FORGED.format(sequence="sequence", header="len(header)", body="0") + " + header)\n"
            "wire.detach()",
        ),
        without(2),
        exact=False,
    ),
    Hostile(
        "replaces_the_encoder",
        "forges",
        answered(after="""
import json, struct
from course_lib.grading.sandbox import frames
real = frames.encode
def forge(message, sequence):
    return real({"value": True, "changed": [], "buffers": {}, "passed": True, "score": 1000, "names": {}}, sequence)
frames.encode = forge
"""),
        frozenset(),
    ),
    Hostile(
        "finds_the_worker_and_patches_it",
        "forges",
        answered(
            {2: body("mean(x)", "return None")},
            after="""
import gc
from course_lib.grading.sandbox.worker import Kernel
for one in gc.get_objects():
    if type(one) is Kernel:
        call = one.op_call
        one.op_call = lambda request: call(request) | {"value": torch.zeros(())}
""",
        ),
        frozenset(),
    ),
    Hostile(
        "claims_the_visible_checks",
        "forges",
        answered(
            {2: body("mean(x)", "return 0")},
            after="exercise.earned = exercise.points = [1000, 1000, 1000, 1000]\n"
            "type(exercise).check = lambda self, k: __import__('contextlib').nullcontext()",
        ),
        without(2),
    ),
    Hostile(
        "gives_itself_points_in_the_metadata",
        "forges",
        json.dumps(
            notebook(
                [
                    {**task_cell(k, RIGHT[k] if k != 2 else "def mean(x):\n    return 0\n"),
                     "metadata": {"nbgrader": {"grade_id": f"task_07_{k}", "grade": True, "points": 1e308}}}
                    for k in RIGHT
                ]
            )
        ).encode(),
        without(2),
    ),
    Hostile(
        "prints_results",
        "forges",
        answered(
            {2: body("mean(x)", "return 0")},
            after="import json, os, sys\nresult = json.dumps({'score': 100, 'tests': []})\nprint(result)\n"
            "print(result, file=sys.stderr)\nopen('results.json', 'w').write(result)\n"
            "os.makedirs('records'); open('records/x.json', 'w').write(result)",
        ),
        without(2),
    ),
    Hostile(
        "sends_garbage_from_a_thread_later",
        "forges",
        answered(
            after="import threading, time\n" + HANDLE + "def later():\n    time.sleep(0.03)\n"
            "    while True: wire.send(b'x' * 100)\nthreading.Thread(target=later, daemon=True).start()"
        ),
        ALL,
        exact=False,
    ),
    Hostile(
        "leaves_a_child_that_answers_later",
        "forges",
        answered(
            {2: body("mean(x)", "import os\nif os.fork() == 0:\n    return torch.zeros((), dtype=x.dtype)\nreturn None")}
        ),
        without(2),
        exact=False,  # a second reply that comes late is taken for a forged answer to the next task's first call
    ),
    Hostile(
        "replies_with_an_odd_gradient",
        "forges",
        answered({
            1: RIGHT[1] + "\nfrom course_lib.grading.sandbox.worker import Kernel\n"
            "Kernel.op_backward = lambda self, request: {'grads': [torch.ones(1, 1, 1)]}\n"
        }),
        without(1, 3),
    ),
    Hostile(
        "builds_a_module_with_the_names_of_others",
        "forges",
        answered({
            3: RIGHT[3] + "\nfrom course_lib.grading.sandbox import worker\nreal = worker.describe\n"
            "worker.describe = lambda m: real(m) | {'parameters': {'forward': torch.ones(2), '__class__': torch.ones(2)}}\n"
        }),
        without(3),
    ),
    Hostile(
        "builds_a_module_of_endless_parts",
        "forges",
        answered({
            3: RIGHT[3] + "\nfrom course_lib.grading.sandbox import worker\nreal = worker.describe\n"
            "worker.describe = lambda m: real(m) | {'parts': ['a.' * k + 'a' for k in range(900)]}\n"
        }),
        without(3),
    ),
]  # fmt: skip


def raw_reply(code: str) -> bytes:
    """From task 2 on, what goes over the wire is what ``code`` makes of a sequence number."""
    patch = "from course_lib.grading.sandbox import frames\nimport struct\n"
    patch += f"frames.encode = lambda message, sequence: {code}\n"
    return answered({2: body("mean(x)", patch + "return 0")})


FRAMES = [
    Hostile("frame_garbage", "breaks the protocol", raw_reply("b'\\xff' * 64"), without(2)),
    Hostile("frame_empty", "breaks the protocol", raw_reply("b''"), without(2)),
    Hostile(
        "frame_of_the_wrong_number",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence + 1", header="2", body="0") + " + b'{}'"),
        without(2),
    ),
    Hostile(
        "frame_with_a_huge_header",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence", header="0xffffffff", body="0")),
        without(2),
    ),
    Hostile(
        "frame_with_a_huge_body",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence", header="2", body="1 << 62")),
        without(2),
    ),
    Hostile(
        "frame_that_never_ends",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence", header="1000", body="0") + " + b'{'"),
        without(2),
    ),
    Hostile(
        "frame_of_deep_json",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence", header="100000", body="0") + " + b'[' * 100000"),
        without(2),
    ),
    Hostile(
        "frame_of_a_list",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence", header="2", body="0") + " + b'[]'"),
        without(2),
    ),
    Hostile(
        "frame_with_no_such_tensor",
        "breaks the protocol",
        raw_reply(
            "(lambda h: " + FORGED.format(sequence="sequence", header="len(h)", body="0") + " + h)"
            "(b'{\"dict\": [[\"value\", {\"tensor\": \"9\"}]]}')"
        ),
        without(2),
    ),
    Hostile(
        "frame_of_broken_safetensors",
        "breaks the protocol",
        raw_reply(FORGED.format(sequence="sequence", header="2", body="24") + " + b'{}' + b'\\xff' * 24"),
        without(2),
    ),
]  # fmt: skip

# --- leaving early ---

EXITS = [
    Hostile("os_exit_in_a_call", "leaves", mean_as("import os\nos._exit(0)"), without(2)),
    Hostile("spells_the_input_in_its_exit", "reads tests",
            mean_as("import os\nif x.numel() > 3: os._exit(int(x.numel()) % 200)\nreturn x.mean()"), without(2)),
    Hostile("exits_with_a_number", "leaves", mean_as("import os\nos._exit(7)"), without(2)),
    Hostile("os_exit_in_a_cell", "leaves", answered(before="import os\nos._exit(0)"), ALL),
    Hostile("os_exit_after_the_answers", "leaves", answered(after="import os\nos._exit(0)"), ALL),
    Hostile("os_exit_in_the_answer_s_cell", "leaves", answered({2: "import os\nos._exit(1)\n" + RIGHT[2]}), without(2)),
    Hostile("sys_exit", "leaves", answered({2: body("mean(x)", "raise SystemExit(0)")}, before="import sys\nsys.exit()"),
            without(2)),
    Hostile("keyboard_interrupt", "leaves", mean_as("raise KeyboardInterrupt"), without(2)),
    Hostile("own_base_exception", "leaves",
            mean_as("class Bye(BaseException):\n    pass\nraise Bye('x' * 10**6)"), without(2)),
    Hostile("generator_exit", "leaves", mean_as("raise GeneratorExit"), without(2)),
    Hostile("skips_like_pytest", "leaves",
            mean_as("try:\n    import pytest\nexcept ImportError:\n    raise ValueError\npytest.skip('not today')"),
            without(2)),
    Hostile("aborts", "leaves", mean_as("import os\nos.abort()"), without(2)),
    Hostile("segfaults", "leaves", mean_as("import ctypes\nctypes.string_at(1)"), without(2)),
    Hostile("kills_everybody", "leaves",
            mean_as("import os, signal\nos.kill(-1, signal.SIGKILL)\nos.kill(os.getppid(), signal.SIGKILL)\n"
                    "os.kill(os.getpid(), signal.SIGKILL)\nos._exit(0)"), without(2)),
    Hostile("becomes_another_program", "leaves", mean_as("import os\nos.execv('/bin/true', ['true'])"), without(2)),
    Hostile("closes_every_handle", "leaves", mean_as("import os\nos.closerange(0, 100)"), without(2)),
    Hostile("recurses_in_c", "leaves",
            mean_as("import sys\nsys.setrecursionlimit(10**9)\nf = lambda: f()\n"
                    "x = None\nfor _ in range(10**6): x = [x]\nreturn repr(x)"), without(2)),
    Hostile("exits_at_the_end", "leaves",
            answered(after="import atexit, time\natexit.register(time.sleep, 1000)\natexit.register(print, 'bye')"), ALL),
]  # fmt: skip

# --- hanging ---

HANGS = [
    Hostile("loops_for_ever", "hangs", mean_as("while True: pass"), without(2)),
    Hostile("catches_whatever_stops_it", "hangs", mean_as("""
import signal
for number in range(1, 30):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True:
    try:
        while True: pass
    except BaseException: pass
"""), without(2)),
    Hostile("sleeps_in_a_cell", "hangs", answered(before="import time\ntime.sleep(10**6)"), ALL),
    Hostile("waits_for_a_lock", "hangs",
            mean_as("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()"), without(2)),
    Hostile("waits_for_input", "hangs", answered(before="name = input('Your name? ')"), ALL),
    Hostile("stops_itself", "hangs",
            mean_as("import os, signal, time\nos.kill(os.getpid(), signal.SIGSTOP)\ntime.sleep(1000)"), without(2)),
    Hostile("hangs_in_the_backward_pass", "hangs", answered({
        1: "import time\nclass Slow(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x): return x.softmax(-1)\n"
        "    @staticmethod\n    def backward(ctx, g): time.sleep(1000)\n\ndef softmax(x):\n    return Slow.apply(x)\n"}),
        without(1)),
    Hostile("hangs_when_its_result_is_sent", "hangs", answered({
        4: "class Slow(dict):\n    def items(self):\n        while True: pass\n\ndef count(mask):\n    return Slow(a=1)\n"}),
        without(4)),
]  # fmt: skip

# --- without bound ---

BOUNDS = [
    Hostile("takes_all_memory", "memory", mean_as("held = []\nwhile True: held.append(bytearray(1 << 28))"), without(2)),
    Hostile("takes_all_memory_with_torch", "memory", mean_as("return torch.empty(1 << 40)"), without(2)),
    Hostile("takes_memory_in_children", "memory", mean_as("""
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(b"x" * (300 << 20))
        time.sleep(1000)
time.sleep(1000)
"""), without(2)),
    Hostile("fork_bomb", "processes", mean_as("import os\nwhile True: os.fork()"), without(2)),
    Hostile("fork_bomb_in_a_cell", "processes",
            answered(before="import os\nfor _ in range(200):\n    try: os.fork()\n    except OSError: pass"), ALL),
    Hostile("thread_bomb", "processes", answered(
        before="import threading, time\nfor _ in range(10**5):\n"
        "    threading.Thread(target=time.sleep, args=(10**6,), daemon=True).start()"), ALL),
    Hostile("fills_the_disk", "disk", answered(before="""
import os
for folder in (".", "/tmp", "/var/tmp", "/dev/shm", "/dev", "/", os.path.expanduser("~"), "/course"):
    try:
        for number in range(100):
            with open(f"{folder}/full{number}", "wb") as file: file.write(bytes(30 << 20))
    except OSError: pass
"""), ALL),
    Hostile("makes_endless_files", "disk", answered(before="""
for number in range(20000):
    try: open(f"f{number}", "w").close()
    except OSError: break
"""), ALL),
    Hostile("memory_of_no_process", "memory", answered(before="""
import os
for k in range(100):
    handle = os.memfd_create(f"m{k}")
    for _ in range(30): os.write(handle, bytes(1 << 20))
""", after="""
import ctypes, socket
libc = ctypes.CDLL(None)
for k in range(30): assert libc.shmget(0, ctypes.c_size_t(100 << 20), 0o1600) < 0
pairs = [socket.socketpair() for _ in range(100)]
"""), ALL),
    Hostile("spinning_children", "processes", answered(before="""
import os, time
for _ in range(40):
    try:
        if os.fork() == 0:
            start = time.time()
            while time.time() - start < 5: pass
            os._exit(0)
    except OSError: break
"""), ALL),
    Hostile("prints_without_end", "output",
            answered(before="import os\nfor _ in range(300):\n    print('x' * 10**6)\n    os.write(2, b'y' * 10**6)"), ALL),
    Hostile("returns_more_than_fits", "output", mean_as("return torch.zeros(20_000_000, dtype=x.dtype)"), without(2)),
    Hostile("returns_a_million_numbers", "output", mean_as("return list(range(10**6))"), without(2)),
    Hostile("returns_a_deep_list", "output",
            mean_as("deep = []\nfor _ in range(10**4): deep = [deep]\nreturn deep"), without(2)),
    Hostile("returns_itself", "output", mean_as("loop = []\nloop.append(loop)\nreturn loop"), without(2)),
    Hostile("raises_a_huge_message", "output", mean_as("raise ValueError('x' * 10**8)"), without(2)),
    Hostile("defines_a_million_names", "output",
            answered(after="globals().update({f'name{k}': k for k in range(10**6)})"), ALL),
]  # fmt: skip

# --- outside ---

OUTSIDE = [
    Hostile("opens_a_socket", "network", mean_as("""
import socket
with socket.create_connection(("127.0.0.1", 22), timeout=1) as connection: return connection.recv(10)
"""), without(2)),
    Hostile("downloads_the_answer", "network", mean_as("""
import urllib.request
return urllib.request.urlopen("http://example.org/mean").read()
"""), without(2)),
    Hostile("opens_an_abstract_socket", "network", mean_as("""
import socket
meeting = socket.socket(socket.AF_UNIX)
meeting.bind("\\0course-grading-meeting")
return meeting
"""), without(2)),
    Hostile("writes_where_it_can", "files", answered(before="""
import os, sys
places = ["/tmp", "/var/tmp", "/dev/shm", "/etc", "/root", "/usr/lib", sys.prefix, "/course", "/work"]
import course_lib, torch
places += [os.path.dirname(course_lib.__file__), os.path.dirname(torch.__file__), os.path.expanduser("~")]
for place in places:
    try: open(os.path.join(place, "escaped-from-the-sandbox"), "w").write("here")
    except OSError: pass
"""), ALL),
    Hostile("deletes_the_library", "files", answered(before="""
import os, shutil, course_lib, torch
for package in (course_lib, torch):
    shutil.rmtree(os.path.dirname(package.__file__), ignore_errors=True)
shutil.rmtree("/course", ignore_errors=True)
"""), ALL),
    Hostile("leaves_a_daemon", "survivors", answered(before="""
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv("/bin/sleep", ["survivor-of-the-sandbox", "10000"])
    os._exit(0)
"""), ALL),
    Hostile("becomes_root", "privileges", mean_as("""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000) == 0 or libc.mount(b"none", b"/proc", b"proc", 0, None) == 0: return "free"
os.setuid(0)
"""), without(2)),
    Hostile("traces_its_parent", "privileges", mean_as("""
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if libc.ptrace(16, os.getppid(), 0, 0) == 0: return "tracing"
raise PermissionError
"""), without(2)),
    Hostile("installs_a_package", "files", answered(before="!pip install left-pad\n%pip install left-pad\nimport math"), ALL),
]  # fmt: skip

# --- damaged, odd and honest files ---


def cells(*sources: str, **metadata: object) -> bytes:
    return json.dumps(notebook([code_cell(source) for source in sources], **metadata)).encode()


STUB = """\
def mean(x):
    \"""The sum over the count.\"""
    raise NotImplementedError("task_07_2 is yours to write")
"""
IMPORTS = "import torch\nfrom torch import nn\n"
V3 = {
    "nbformat": 3, "nbformat_minor": 0, "metadata": {"name": "old"},
    "worksheets": [{"cells": [{"cell_type": "code", "language": "python", "input": [RIGHT[k]]} for k in RIGHT]}],
}  # fmt: skip
CONFLICT = answered().replace(
    b'"nbformat": 4,', b'\n<<<<<<< HEAD\n"nbformat": 4,\n=======\n"nbformat": 4,\n>>>>>>> b\n'
)


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_ipynb", ".ipynb").replace("_pkl", ".pkl"), data)
    return out.getvalue()


PICKLE = b"cos\nsystem\n(S'touch /tmp/escaped-from-the-sandbox'\ntR."
BOMB = zipped(bomb_ipynb=b" " * (60 << 20))

FILES = [
    Hostile("empty_file", "damaged", b"", None),
    Hostile("only_spaces", "damaged", b" \n\n ", None),
    Hostile("cut_in_half", "damaged", answered()[: len(answered()) // 2], None),
    Hostile("a_picture_by_name_a_notebook", "damaged", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 50, None),
    Hostile("json_of_something_else", "damaged", b'{"marks": 100}', None),
    Hostile("json_list", "damaged", b"[1, 2, 3]", None),
    Hostile("json_far_too_deep", "damaged", b"[" * 200_000, None),
    Hostile("json_of_millions_of_lists", "damaged", b'{"cells": [' + b"[]," * 3_000_000 + b"[]]}", None),
    Hostile("far_too_large", "damaged", answered()[:-1] + b" " * (21 << 20) + b"}", None),
    Hostile("merge_conflict", "damaged", CONFLICT, None),
    Hostile("merge_conflict_in_a_cell", "damaged",
            answered({2: "<<<<<<< HEAD\n" + RIGHT[2] + "=======\n" + RIGHT[2] + ">>>>>>> mine\n"}), without(2)),
    Hostile("written_in_r", "wrong language",
            cells("mean <- function(x) sum(x)", kernelspec={"language": "R", "name": "ir", "display_name": "R"}), None),
    Hostile("another_lesson", "wrong lesson", json.dumps(notebook([
        {**code_cell("def other(): pass"), "metadata": {"nbgrader": {"grade_id": "task_03_1"}}}])).encode(), None),
    Hostile("no_cells", "broken", json.dumps(notebook([])).encode(), frozenset()),
    Hostile("odd_cells", "broken", json.dumps(notebook(
        [1, None, [], {}, {"cell_type": "code"}, {"cell_type": "code", "source": 5, "metadata": []},
         {"cell_type": "code", "source": ["def mean(x):\n", 7, "    return x.sum() / x.numel()\n"], "metadata": None}]
    )).encode(), frozenset({2})),
    Hostile("syntax_error_in_one_task", "broken", answered({2: "def mean(x)\n    return x.mean()\n"}), without(2)),
    Hostile("half_characters_and_nul", "broken", answered(before="a = '\ud800 \0 done'"), ALL),
    Hostile("an_endless_line", "broken", answered(before="a = " + "+".join(["1"] * 200_000)), ALL),
    Hostile("brackets_far_too_deep", "broken", answered(before="(" * 50_000), ALL),
    Hostile("zip_bomb", "damaged", BOMB, None, ".zip"),
    Hostile("damaged_zip", "damaged", zipped(a_ipynb=answered())[:200], None, ".zip"),
    Hostile("zip_with_a_pickle", "damaged", zipped(a_ipynb=answered(), a_pkl=PICKLE), ALL, ".zip"),
    Hostile("zip_that_climbs_out", "damaged",
            zipped(**{"..__..__..__tmp__escaped-from-the-sandbox_ipynb": answered()}), ALL, ".zip"),
]  # fmt: skip

FAIR = [
    Hostile("honest", "honest", answered(), ALL),
    Hostile("single_precision", "honest", answered({2: body("mean(x)", "return x.float().mean()")}), ALL),
    Hostile("old_format", "honest", json.dumps(V3).encode(), ALL),
    Hostile("latin_1", "honest", json.dumps(notebook(
        [code_cell("# café"), *[task_cell(k, RIGHT[k]) for k in RIGHT]]), ensure_ascii=False).encode("latin-1"), ALL),
    Hostile("utf_16", "honest", answered().decode().encode("utf-16"), ALL),
    Hostile("byte_order_mark", "honest", b"\xef\xbb\xbf" + answered(), ALL),
    Hostile("magics_and_shell_lines", "honest", answered(
        before="%matplotlib inline\n!ls -l\nfiles = !ls\n?print\nprint?\n%time a = 1",
        after="%%bash\nrm -rf /\n"), ALL),
    Hostile("no_metadata", "honest", cells(*RIGHT.values()), ALL),
    Hostile("colab", "honest", json.dumps(notebook(
        [{**task_cell(k, RIGHT[k]), "metadata": {"id": "x9", "colab": {"base_uri": "https://colab"}}} for k in RIGHT],
        colab={"provenance": []}, accelerator="GPU")).encode(), ALL),
    Hostile("reordered", "honest", json.dumps(notebook(
        [code_cell("half = mean(torch.ones(2)) / 2")] + [task_cell(k, RIGHT[k]) for k in reversed(RIGHT)])).encode(), ALL),
    Hostile("stub_left_below_the_answer", "honest", json.dumps(notebook(
        [task_cell(k, RIGHT[k]) for k in RIGHT] + [task_cell(2, STUB)])).encode(), ALL),
    Hostile("one_task_deleted", "honest", json.dumps(notebook([task_cell(k, RIGHT[k]) for k in (1, 3, 4)])).encode(),
            without(2)),
    Hostile("noisy", "honest", answered(
        before="import warnings\nwarnings.warn('careful')\nprint('x' * 1000)\n1 / 0",
        after="assert False, 'an extra check of my own'"), ALL),
    Hostile("text_notebook", "honest", ("# %% [markdown]\n# words\n\n# %%\n" + IMPORTS + "".join(
        f'\n# %% tags=["task_07_{k}"]\n{RIGHT[k]}' for k in RIGHT)).encode(), ALL, ".py"),
    Hostile("untouched", "honest", cells(IMPORTS, STUB), frozenset()),
]  # fmt: skip

HOSTILE = [*READING, *LYING, *FORGING, *FRAMES, *EXITS, *HANGS, *BOUNDS, *OUTSIDE, *FILES, *FAIR]
