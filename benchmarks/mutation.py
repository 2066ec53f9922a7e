"""Break the library in small ways and see that its unit tests notice: ``python benchmarks/mutation.py``.

Each mutant of mutants.py is applied in a forked process (torch is imported once), where the unit test of its file
runs up to the first failure. Writes mutation.md beside this file. ``ROOM/FILE`` as argument tries that file only.
"""

import importlib.machinery
import os
import sys
from pathlib import Path

import pytest
import torch
import torch._dynamo  # what every child would otherwise import for itself
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests import tests.properties
from benchmarks.mutants import MUTANTS

ROOT = Path(__file__).parents[1]
KILLED = 1  # pytest's exit status when a test failed
EQUIVALENT = {  # survivors that change no result, and why
    "torch.finfo(scores.dtype).min": "the NaN of a closed row is hidden by the second fill; it is only not tidy",
    "torch.promote_types(value.dtype, torch.float32)": "float32 and float64 promote to themselves",
    "row.unsqueeze(4) + column.unsqueeze(3)": "another spelling of the same sum",
    "dim=2, out=score)  #": "times one",
}


def source_of(file: str) -> Path:
    return ROOT / f"course_lib/{file}.py"


def survives(file: str, right: str, wrong: str) -> bool:
    """Whether the unit test of ``file`` passes although ``right`` was replaced by ``wrong``."""
    pid = os.fork()
    if pid == 0:
        mutate(file, right, wrong)
        source = Path(file)
        os._exit(run_quietly(f"{ROOT}/tests/{source.parent}/test_{source.name}.py"))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status != KILLED


def mutate(file: str, right: str, wrong: str) -> None:
    """From now on, importing ``file`` compiles the wrong source."""
    text = source_of(file).read_text()
    if right not in text:
        raise SystemExit(f"{file}: {right!r} is no longer in the source; mend its row in benchmarks/mutants.py")
    code = compile(text.replace(right, wrong), str(source_of(file)), "exec")
    original = importlib.machinery.SourceFileLoader.get_code
    module = f"course_lib.{file.replace('/', '.')}"
    forget_course()
    importlib.machinery.SourceFileLoader.get_code = lambda self, name: (
        code if name == module else original(self, name)
    )


def forget_course() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("course_lib", "tests")]:
        del sys.modules[name]


def run_quietly(test: str) -> int:
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1), os.dup2(silence, 2)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the unit tests need none, and they take seconds to load
    options = ["-x", "-q", "--tb=no", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    return int(pytest.main([*options, f"--rootdir={ROOT}", test]))


def table(results: dict[str, list[tuple[str, str, bool]]], equivalent: dict, tests: str) -> str:
    """How many mutants of each file ``tests`` notice; each survivor with the words of ``equivalent``."""
    killed = sum(not alive for rows in results.values() for *_, alive in rows)
    total = sum(map(len, results.values()))
    lines = ["# Mutants", "", f"{killed} of {total} small wrong changes are noticed by {tests}.", ""]
    lines += ["| file | noticed | of |", "|---|---:|---:|"]
    lines += [f"| {file} | {sum(not alive for *_, alive in rows)} | {len(rows)} |" for file, rows in results.items()]
    for file, rows in results.items():
        for right, wrong, _ in (row for row in rows if row[2]):
            why = equivalent.get((right, wrong)) or equivalent.get(right, "**must be noticed**")
            lines.append(f"\nNot noticed in {file}: `{right.strip()}` → `{wrong.strip()}`: {why}")
    return "\n".join(lines) + "\n"


def main(only: list[str]) -> int:
    torch.set_num_threads(1)
    chosen = {file: rows for file, rows in MUTANTS.items() if not only or file in only}
    results: dict[str, list[tuple[str, str, bool]]] = {file: [] for file in chosen}
    todo = [(file, *pair) for file, pairs in chosen.items() for pair in pairs]
    for file, right, wrong in tqdm(todo, unit="mutant"):
        results[file].append((right, wrong, survives(file, right, wrong)))
    text = table(results, EQUIVALENT, "the unit tests")
    print(text)
    if not only:
        (ROOT / "benchmarks/mutation.md").write_text(text)
    return int(any(alive and right not in EQUIVALENT for rows in results.values() for right, _, alive in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
