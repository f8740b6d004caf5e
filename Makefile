# For a newcomer: `make demo` and `make test`. What CI runs: `make check`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help setup demo test bench check lint format types contracts style tree labeler weights lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.ready  ## a virtual environment in .venv, exactly as requirements.lock names it

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"msvlm needs Python 3.11 or newer and $(PYTHON) is {v[0]}.{v[1]}; run: make $(MAKECMDGOALS) PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "python3 -m venv failed; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet "$$(grep -oE '^uv==[^ ]+' requirements.lock)"
	$(BIN)/uv pip sync --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## a synthetic chest CT, read by the bundled model, into demo/
	$(BIN)/msvlm demo

weights: setup  ## train the bundled model again: synthetic studies, six runs, scores on held-out studies
	$(BIN)/msvlm phantom data/chest --dicom --studies 1500 100 200
	$(BIN)/msvlm prepare data/chest/manifest.jsonl data/chest_prepared --model configs/bundled/1_slices.toml
	for stage in configs/bundled/*.toml; do $(BIN)/msvlm train $$stage || exit 1; done
	$(BIN)/msvlm evaluate data/chest/manifest.jsonl data/chest_prepared --model runs/bundled/6_finetune/model --output runs/bundled/scores
	find src/msvlm/weights -type f ! -name README.md -delete
	cp -r runs/bundled/6_finetune/model/. src/msvlm/weights/
	cp runs/bundled/scores/scores.txt src/msvlm/weights/

test: setup  ## all tests but the slow ones, which `make check` runs too
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m 'not slow'

bench: setup  ## seconds of the common steps on this machine
	$(BIN)/python benchmarks/seconds.py

check: setup lint types contracts style  ## all that CI checks, slow tests included
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

contracts: setup
	$(BIN)/lint-imports

style: setup
	$(BIN)/python checks/style.py
	$(BIN)/python checks/tree.py

tree:  ## update the list of files in docs/architecture.md
	$(PYTHON) checks/tree.py --write

labeler: setup  ## score the labeler on real reports; MSVLM_REAL_DATA names the folder, PART= the part
	@test -n "$(MSVLM_REAL_DATA)" || { echo "MSVLM_REAL_DATA names no folder of real files; see docs/labeler.md" >&2; exit 1; }
	$(BIN)/python checks/labeler.py "$(MSVLM_REAL_DATA)/reports/ct_clip_800_labelled_reports.csv" --part $(or $(PART),development)

format: setup  ## formats every file
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup  ## regenerate requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --no-header --quiet --output-file requirements.lock

clean:  ## the environment, the demo and the caches; data, runs and reports stay
	rm -rf .venv demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
