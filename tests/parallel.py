"""Each row of the catalogue trains twice under DistributedDataParallel; what fails is printed as JSON.

A process of its own: torch 2.x now and then waits for ever when a process group of gloo ends inside a larger
program (its destructor joins a thread that needs the interpreter's lock), so this one is left without ending it.
"""

import functools
import json
import os
import subprocess
import sys

import torch
from torch import nn

from course_lib.catalog import CATALOG, Mechanism
from course_lib.exercises import ROOT
from tests.test_contract import built


def train(row: Mechanism) -> None:
    module, inputs = built(row)
    if list(module.parameters()):
        parallel = nn.parallel.DistributedDataParallel(module.train())
        for _ in range(2):
            parallel(*inputs).square().mean().backward()


def problem(row: Mechanism) -> str | None:
    try:
        train(row)
    except Exception as error:  # whatever it is, the row's test shows it
        return f"{type(error).__name__}: {error}"
    return None


@functools.cache
def problems() -> dict[str, str | None]:
    """What each row fails with, or None; measured once in a fresh process."""
    command = [sys.executable, "-m", "tests.parallel"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    print(json.dumps({row.name: problem(row) for row in CATALOG}), flush=True)
    os._exit(0)
