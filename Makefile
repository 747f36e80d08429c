# make run    the built-in experiment, from nothing to tables and figures
# make plan   what that will cost, after a few steps of it
# make test   the tests
# make check  formatting and linters
# make bench  speed and memory against others, in docs/performance.md; TEXT="--source FILE --target FILE" for text of yours
# make bench-planning  how long a thousand runs of the grid are planned, in docs/planning.md
# make statistics  how often the test of significance is right, in docs/statistics.md
# make test-comet  the tests of COMET, in that environment
# make test-slurm  the workflow on a Slurm that the test starts here; needs Debian's slurm-wlm and munge. With WHOLE=1, the
#                  default experiment as well
# make chaos  kill the workflow again and again and compare what comes out, in docs/chaos.md; KILLS=50
# make sweep  try every decoder of transformers that can be made small, in docs/architectures.md; ONLY="llama rwkv"
# make comet  an environment of its own for COMET and XCOMET
# make clean  remove what the built-in experiment made (not the environment)

PYTHON ?= python3
# With `python -m`: the scripts that are there do not start from every path.
BIN := .venv/bin

.PHONY: run plan test test-comet test-slurm check bench bench-planning statistics chaos sweep comet clean

run: .venv/installed
	$(BIN)/python -m snakemake --cores all

plan: .venv/installed
	$(BIN)/python -m skipclm plan

# Two at a time, and a file's tests together: they share what takes long to make.
test: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "not comet and not slurm"

check: .venv/installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m snakefmt --check Snakefile workflow
	$(BIN)/python -m snakemake --lint

bench: .venv/installed
	$(BIN)/python bench/run.py $(TEXT)

bench-planning: .venv/installed
	$(BIN)/python tests/planning.py

statistics: .venv/installed
	$(BIN)/python bench/simulation.py

test-comet: .venv/installed .venv-comet/installed
	$(BIN)/python -m pytest -m comet

test-slurm: .venv/installed
	$(BIN)/python -m pytest -m slurm

chaos: .venv/installed
	$(BIN)/python tests/chaos.py $(KILLS)

sweep: .venv/installed
	$(BIN)/python tests/sweep.py $(ONLY)

# The versions of envs/comet.yaml.
comet: .venv-comet/installed

.venv-comet/installed: envs/comet.yaml
	$(PYTHON) -c 'import sys; sys.exit("COMET needs Python 3.11; set PYTHON=..." if sys.version_info[:2] != (3, 11) else 0)'
	$(PYTHON) -m venv .venv-comet
	.venv-comet/bin/python -m pip install --quiet $$(sed -n 's/^    - \([^ ]*==[^ ]*\).*/\1/p' envs/comet.yaml)
	touch $@

clean:
	rm -rf results/demo logs/demo benchmarks/demo

# torch first and by its exact version: other packages ask for it loosely, and would bring another build.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("skipclm needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
