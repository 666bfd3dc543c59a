# Squeeze, Excite, Measure. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# The first Python of a supported version that really runs (a pyenv shim may exist and not run).
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c '' 2>/dev/null && echo $$p && break; done)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
BIN := .venv/bin
READY := .venv/.ready-$(VERSION)
CHAPTERS ?=
BENCH ?= *
STUDY ?=
ARGS ?=
SYMBOL ?= BTCUSDT
INTERVAL ?= 60
START ?= 2022-01-01
END ?= 2025-01-01

# The digits of the stored outputs: two threads, AVX2 code paths. What the caller's environment
# sets wins; `PINS=none make notebooks` sets nothing. Other processors may differ in what was
# trained, within the tolerance that a cell declares (tools/compare.py, `make robust`).
ifneq ($(PINS),none)
export OMP_NUM_THREADS ?= 2
export MKL_NUM_THREADS ?= 2
export OPENBLAS_NUM_THREADS ?= 2
export NUMBA_NUM_THREADS ?= 2
ifneq ($(filter x86_64 amd64 AMD64,$(shell uname -m)),)  # elsewhere ATen warns of the name
export ATEN_CPU_CAPABILITY ?= avx2
export ONEDNN_MAX_CPU_ISA ?= AVX2
export MKL_ENABLE_INSTRUCTIONS ?= AVX2
export OPENBLAS_CORETYPE ?= Haswell
# Two workers of pytest on two cores: a thread each, unless the caller says how many. Three take
# longer, although the tests of servers and of processes that end wait.
ALONE := $(if $(filter file,$(origin OMP_NUM_THREADS)),OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1)
# numpy picks among what the processor has, so the names it lacks are no fault.
ifeq ($(origin NPY_DISABLE_CPU_FEATURES),undefined)
export NPY_DISABLE_CPU_FEATURES := $(shell grep -qm1 avx512f /proc/cpuinfo 2>/dev/null && echo X86_V4)
endif
endif
# Keep freed memory in the process: fresh pages fault at every allocation (chapter 21).
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592
export MALLOC_TOP_PAD_ ?= 268435456
export THP_MEM_ALLOC_ENABLE ?= 1
endif
# Chapters and notebook tests never leave this machine.
OFFLINE := PYTHONPATH=tools/offline:tools

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# A .venv whose Python has gone (removed or moved) is made again too.
$(shell test -e $(READY) && ! $(BIN)/python -c '' 2>/dev/null && rm -f $(READY))

# What is missing is named by the check below, and not by make.
pyproject.toml constraints.txt: ;

# A stamp for each Python: a .venv that another version made, or half of one, is made again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(VERSION)" || { echo "no Python found: install 3.11, 3.12 or 3.13, or make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) tools/install_check.py
	@test -x $(BIN)/python && test "$$($(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$(VERSION)" \
	  && $(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf .venv && $(PYTHON) -m venv .venv; }
	@# The pip of a new .venv may be years old and takes three times as long to choose 180 packages.
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt pip
	@# Half of what is installed is never imported: Python compiles what is, when it is.
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile -c constraints.txt -e '.[cpu,book,test,bench]'
	@touch $@

.PHONY: execute
execute: $(READY) ## run the chapters that changed (CHAPTERS="03 04": only these; FORCE=1: even if up to date)
	@$(OFFLINE) $(BIN)/python tools/book.py execute $(if $(FORCE),--force) $(CHAPTERS)

.PHONY: book
book: execute ## install, run what changed, build the site into _build/html
	@$(BIN)/python tools/book.py build

.PHONY: pdf
pdf: book ## the whole book as a PDF (wants Chromium) and as an EPUB, linked from the site: _build/paper
	@$(BIN)/python tools/paper.py
	@$(BIN)/python tools/epub_book.py

.PHONY: lint
lint: $(READY) ## ruff, pyright, the floors and the size of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/house.py

.PHONY: notebooks
notebooks: $(READY) ## execute chapters, compare every printed number with the stored one (CHAPTERS="05 13")
	@$(OFFLINE) $(BIN)/python tools/book.py notebooks $(CHAPTERS)

.PHONY: robust
robust: $(READY) ## the same under ten numeric environments: what moves, and how far (long)
	@$(OFFLINE) $(BIN)/python studies/robust.py $(CHAPTERS)

.PHONY: site
site: $(READY) # the site from the notebooks as they are, once they are known to be up to date
	$(BIN)/python tools/calls.py
	$(BIN)/python tools/book.py check
	$(BIN)/python tools/book.py build

.PHONY: test
test: $(READY) ## everything that CI checks: code, notebooks, site
	@# Each keeps one core busy; both are waited for where one fails.
	$(MAKE) --no-print-directory -j 2 lint site
	$(ALONE) $(BIN)/python -m pytest -n 2 --dist loadfile -q --durations=60
	$(OFFLINE) $(BIN)/python tools/book.py notebooks
	$(OFFLINE) $(BIN)/python tools/book.py notebooks --environment other

.PHONY: lab
lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=book

.PHONY: bench
bench: $(READY) ## race against the peers; this processor's record goes into book/results/bench.json (BENCH=se: one file)
	$(BIN)/python tests/benchmarks/run.py '$(BENCH)'

.PHONY: study
study: $(READY) ## run the long computations whose results the chapters show (STUDY=name: one, ARGS='--help')
	@for file in $(if $(STUDY),studies/$(STUDY).py,studies/*.py); do echo "$$file"; $(BIN)/python $$file $(if $(STUDY),$(ARGS)) || exit 1; done

.PHONY: fetch
fetch: $(READY) ## download Bybit bars into data/ (SYMBOL=BTCUSDT INTERVAL=60 START=2022-01-01 END=2025-01-01)
	$(BIN)/python -m setrade.bybit fetch $(SYMBOL) $(INTERVAL) $(START) $(END) --out data/$(SYMBOL)_$(INTERVAL).parquet

.PHONY: torture
torture: $(READY) ## every fault and every kill, in full; results are stored (chapters 20, 20b and 22)
	@for file in studies/torture_*.py; do echo "$$file"; $(BIN)/python $$file || exit 1; done

.PHONY: clean
clean: ## remove the site and caches, keep the environment
	rm -rf _build book/generated .pytest_cache .ruff_cache .hypothesis .benchmarks
