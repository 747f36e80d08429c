# make run    run the built-in experiment, up to tables and figures
# make plan   estimate its cost after a few training steps
# make test   run the tests
# make check  run formatters and linters
# make bench  measure speed and memory against other implementations, see docs/performance.md;
#             TEXT="--source FILE --target FILE" for your own text
# make bench-planning  measure how long Snakemake plans a grid of a thousand runs, see docs/planning.md
# make statistics  simulate how often the significance test is right, see docs/statistics.md
# make test-comet  run the COMET tests in the COMET environment
# make test-slurm  run the workflow on a local Slurm that the test starts; needs Debian's slurm-wlm and munge;
#                  WHOLE=1 also runs the default experiment
# make chaos  kill the workflow repeatedly and compare the results, see docs/chaos.md; KILLS=50
# make sweep  test every decoder of transformers that can be made small, see docs/architectures.md; ONLY="llama rwkv"
# make comet  build the separate environment for COMET and XCOMET
# make clean  remove the output of the built-in experiment (not the environment)

PYTHON ?= python3
# Commands use `python -m`, because the scripts in this folder do not start from every path.
BIN := .venv/bin

.PHONY: run plan test test-comet test-slurm check bench bench-planning statistics chaos sweep comet clean

run: .venv/installed
	$(BIN)/python -m snakemake --cores all

plan: .venv/installed
	$(BIN)/python -m skipclm plan

# Two worker processes. All tests of a file go to one worker, because they share expensive fixtures. The slowest files
# come first (tests/conftest.py), so pytest-xdist must not sort the files itself.
test: .venv/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m "not comet and not slurm"

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

# Installs the versions of envs/comet.yaml.
comet: .venv-comet/installed

.venv-comet/installed: envs/comet.yaml
	$(PYTHON) -c 'import sys; sys.exit("COMET needs Python 3.11; set PYTHON=..." if sys.version_info[:2] != (3, 11) else 0)'
	$(PYTHON) -m venv .venv-comet
	.venv-comet/bin/python -m pip install --quiet $$(sed -n 's/^    - \([^ ]*==[^ ]*\).*/\1/p' envs/comet.yaml)
	touch $@

clean:
	rm -rf results/demo logs/demo benchmarks/demo

# Install torch first, at its exact version: other packages allow any version and would install another build.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("skipclm needs Python 3.11 or newer; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@
