"""The check of the machine names what is wrong and how to cure it, even where torch itself is missing."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from course_lib import machine

ROOT = Path(__file__).resolve().parents[1]


def test_everything_is_fine_here():
    assert [finding.line() for finding in machine.check_machine() if not finding.fine] == []
    assert machine.main() == 0


def test_the_notebook_prints_names_only(capsys):
    machine.show_machine()
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()} == {"fine"}


def test_it_runs_without_any_package():
    bare = subprocess.run(
        [sys.executable, "-S", "-m", "course_lib.machine"], cwd=ROOT, capture_output=True, text=True
    )
    assert bare.returncode == 2, bare.stderr
    assert "torch is missing; run" in bare.stdout
    assert "Traceback" not in bare.stdout + bare.stderr


def test_lowest_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["course"]]
    lowest = dict(line.split(",")[0].split(">=") for line in declared)
    assert machine.PACKAGES.items() <= lowest.items()
    assert project["requires-python"] == f">={machine.PYTHON[0]}.{machine.PYTHON[1]}"


def test_an_old_python_is_named_with_its_cure():
    finding = machine.check_python((3, 9, 7))
    assert not finding.fine and finding.essential
    assert "3.9.7" in finding.cure and "3.11" in finding.cure and "make lab" in finding.cure
    assert machine.check_python((3, 14, 0)).fine


@pytest.mark.parametrize("version, fine", [("2.3.9", False), ("2.4.0", True), ("2.13.0+cpu", True), ("1.26", False)])
def test_versions_are_compared_as_numbers(monkeypatch, version, fine):
    monkeypatch.setattr("torch.__version__", version)
    finding = machine.check_package("torch", "2.4")
    assert finding.fine is fine
    assert f"torch {version} is older than 2.4" in finding.cure


def test_a_library_that_does_not_load_is_named(monkeypatch):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(machine, "import_module", broken)
    finding = machine.check_package("torch", "2.4")
    assert not finding.fine and "libgomp.so.1" in finding.cure and "delete .venv" in finding.cure


def test_arrays_that_cannot_be_shared_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    finding = machine.check_arrays()
    assert not finding.fine and "do not work together" in finding.cure


def test_wrong_kernel_counts_only_if_it_lacks_packages(tmp_path):
    here, venv = tmp_path / "other", tmp_path / ".venv"
    assert machine.check_kernel(here, venv, complete=False).fine  # no .venv: the missing packages are the news
    venv.mkdir()
    assert machine.check_kernel(here, venv, complete=True).fine  # conda, Colab
    assert machine.check_kernel(venv, venv, complete=False).fine
    assert "start JupyterLab with make lab" in machine.check_kernel(here, venv, complete=False).cure


def test_missing_data_is_named(tmp_path):
    (tmp_path / "digits.npz").touch()
    finding = machine.check_data(tmp_path)
    assert not finding.fine and "*.jpg" in finding.cure and "*.npz" not in finding.cure
    assert finding.cure.endswith("to bring them back: " + machine.bring_back())


def test_a_cure_is_one_that_exists_where_the_library_lies(tmp_path):
    """A package has no make and no git, a student edition no git; a clone has both."""
    alone = machine.install("grade", tmp_path), machine.bring_back(tmp_path)
    assert alone[0] == 'pip install "attention-in-vision[grade]"' and alone[1].startswith("pip install")
    (tmp_path / "Makefile").touch()
    edition = machine.install("course", tmp_path), machine.bring_back(tmp_path)
    assert "make lab" in edition[0] and '-e ".[course]"' in edition[0] and "unpack" in edition[1]
    (tmp_path / ".git").touch()
    clone = machine.install("test", tmp_path), machine.bring_back(tmp_path)
    assert "make test" in clone[0] and clone[1] == "git checkout -- course_lib/data"
    assert "'" not in alone[0] + edition[0].split("(")[1] + clone[0].split("(")[1]  # cmd.exe knows no single quotes


def test_a_full_machine_is_told_without_being_stopped(monkeypatch):
    findings = [machine.check_disk(10**8), machine.check_memory(5 * 10**8)]
    monkeypatch.setattr("torch.get_num_threads", lambda: os.cpu_count() + 1)
    findings.append(machine.check_threads())
    assert not any(finding.fine or finding.essential for finding in findings)
    assert [finding.cure.split()[0] for finding in findings] == ["0.1", "0.5", "torch"]
    assert machine.check_memory(None).fine


def test_no_display_is_needed():
    code = "from course_lib.machine import check_pictures as c; raise SystemExit(not c().fine)"
    bare = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "MPLBACKEND")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bare, check=True)
