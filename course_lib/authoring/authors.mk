# The targets of authors and instructors; Makefile includes them.
.PHONY: test needs lint build bench site
test:
	@$(MAKE) --no-print-directory --jobs=2 lint needs
	$(BIN)/python -m pytest -n 2

needs:  # what pip cannot install comes beside what it can
	@sh tests/needs.sh

lint: .venv/test  # every tool speaks; the status tells whether one of them found something
	@found=0; for tool in "ruff check ." "ruff format --check ." codespell mypy; do \
		echo "$(BIN)/$$tool"; $(BIN)/$$tool || found=1; done; exit $$found

build: .venv/test
	$(BIN)/course build

bench: .venv/test
	for file in benchmarks/*.py; do $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit; done

site: .venv/test
	$(BIN)/python -m sphinx -q -W --keep-going -c site -d site/_build/doctrees . site/_build/html
	@echo "The website: site/_build/html/index.html"

.venv/test: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "Installing the course and its test tools into .venv (a few minutes the first time) ..."
	@$(CPU_TORCH)
	@$(PIP) --editable ".[test]" || { $(NO_PIP); }
	@touch $@ .venv/lab
