# Every target sets the environment up first; that takes no time once it is up to date.
#
#   make book                                   execute stale chapters, build _build/html
#   make test                                   everything that a clean machine can check
#   make chapter NAME=alpha_sweep SCALE=paper DEVICE=cuda
#   make serve                                  look at the book in a browser
#   make gpu                                    the library on a CUDA device against the CPU
#   make fast | fuzz | lint | format | cover | bench | lock | clean

SHELL := /bin/bash
SCALE ?= laptop
DEVICE ?= auto
SEED ?= 0
JOBS ?= 2
PORT ?= 8000

BIN := .venv/bin
# The first Python of a supported version; PYTHON=... on the command line decides.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	2>/dev/null && echo $$python && break; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
TORCH = $(shell sed -n 's/^\(torch==[^ ]*\)$$/\1/p' requirements/constraints.txt)
RUN = $(BIN)/lazyrich book --scale '$(SCALE)' --device '$(DEVICE)' --seed '$(SEED)' \
	--jobs '$(JOBS)'

.PHONY: help install book test fast fuzz lint format chapter serve cover bench gpu lock
.PHONY: clean

help:
	@sed -n 's/^#   /  /p' Makefile

install: .venv/.stamp

# torch comes first, from the constraints alone: which of its builds fits is the machine's
# business. Everything else must match the recorded hashes.
.venv/.stamp: pyproject.toml requirements/constraints.txt requirements/lock.txt
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a few minutes the first time)"
	$(PIP) install "$(TORCH)" -c requirements/constraints.txt
	$(PIP) install --require-hashes -r requirements/lock.txt
	$(PIP) install --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	@touch $@

book: install
	$(RUN)

chapter: install
	@test -n '$(NAME)' || { echo "which chapter? make chapter NAME=..." >&2; exit 2; }
	$(RUN) --chapter '$(NAME)'

# First the quick tests on two processes; then, alone and one by one, whatever executes
# the book, drives a browser or kills processes.
SERIAL := book or browser or kill
test: install
	$(BIN)/python -m pytest -n 2 -m "not ($(SERIAL))"
	$(BIN)/python -m pytest -m "$(SERIAL)"

fast: install
	$(BIN)/python -m pytest -n 2 -m "not (slow or book or browser or kill)"

# Calls of the whole library with generated arguments; a sample is among the quick tests.
CALLS ?= 4000
fuzz: install
	for seed in 0 1 2; do $(BIN)/python tests/generated_calls.py $(CALLS) $$seed || exit 1; done

lint: install
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

serve: install
	@test -f _build/html/index.html || $(MAKE) book
	@$(BIN)/lazyrich serve --port '$(PORT)'

# The picture of the README and the front page, from the stored runs of the sweep.
cover: install
	$(BIN)/lazyrich cover

bench: install
	$(BIN)/python -m benchmarks

# Needs CUDA; some minutes, at most eight.
gpu: install
	@$(BIN)/python -m benchmarks.gpu

lock: install
	$(BIN)/python requirements/relock.py

# The study store stays: it holds results that took time. Remove _build to lose it too.
clean:
	rm -rf _build/html _build/.doctrees _build/executed _build/staged _build/notebooks
	rm -rf _build/records _build/*.json
	rm -rf _build/*/_build _build/*/executed _build/*/staged
