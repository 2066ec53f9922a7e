# Plain aliases: README.md shows each of these as the lines to type where there is no make.
PYTHON ?= python3
OMP_NUM_THREADS ?= 1# two threads gain little on an idle machine and lose much on a busy one
export OMP_NUM_THREADS
unexport PYTHONDONTWRITEBYTECODE# a process that may not keep what it compiled takes 3 s more for torch at each start
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt

# Linux without an NVIDIA driver takes the build of torch for processors; the usual one brings 4 GB of CUDA.
CPU_BUILD := https://download.pytorch.org/whl/cpu
CPU_TORCH = if [ "$$(uname)" = Linux ] && [ -z "$$PIP_EXTRA_INDEX_URL" ] && ! command -v nvidia-smi >/dev/null \
	&& ! ls .venv/lib/*/site-packages/torch >/dev/null 2>&1; then \
	echo "There is no NVIDIA driver here: torch is taken without CUDA, from $(CPU_BUILD)"; \
	$(PIP) --no-deps --timeout 5 --retries 0 --index-url $(CPU_BUILD) torch 2>/dev/null || echo "(it cannot be reached: the usual build is taken)"; fi

.PHONY: lab
lab: .venv/lab
	$(BIN)/jupyter lab notebooks/00_start_here.ipynb

# The environment. A file in .venv says what was installed last, so nothing happens until one of these two changes.
.venv/lab: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "Installing the course into .venv (a few minutes the first time) ..."
	@$(CPU_TORCH)
	@$(PIP) --editable ".[course]" || { $(NO_PIP); }
	@touch $@

.venv/bin/pip:
	@command -v "$(PYTHON)" >/dev/null || { $(NO_PYTHON); }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { $(OLD_PYTHON); }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { $(NO_VENV); }
	@"$(PYTHON)" -m venv .venv || { $(NO_VENV); }

NO_PYTHON = echo 'There is no $(PYTHON) here: install Python 3.11 or newer, or name yours: make lab PYTHON=/path/to/python3.11' >&2; exit 2
OLD_PYTHON = echo '$(PYTHON) is older than 3.11: install Python 3.11 or newer, then: make lab PYTHON=python3.11' >&2; exit 2
NO_VENV = echo '$(PYTHON) cannot make an environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)' >&2; exit 2
NO_PIP = echo 'pip could not install the course (its reason stands above): this first step needs a network and 2 GB of disk' >&2; exit 2

# test, lint, build, bench and site: an edition for students comes without them.
-include course_lib/authoring/authors.mk
