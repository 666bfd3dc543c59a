# Squeeze, Excite, Measure. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || echo python3)
BIN := .venv/bin
CHAPTERS ?=
BENCH ?= *
STUDY ?=
SYMBOL ?= BTCUSDT
INTERVAL ?= 60
START ?= 2022-01-01
END ?= 2025-01-01

# The same digits on every processor: two threads, AVX2 code paths.
export OMP_NUM_THREADS := 2
export MKL_NUM_THREADS := 2
export OPENBLAS_NUM_THREADS := 2
export NUMBA_NUM_THREADS := 2
export ATEN_CPU_CAPABILITY := avx2
export ONEDNN_MAX_CPU_ISA := AVX2
export MKL_ENABLE_INSTRUCTIONS := AVX2
export OPENBLAS_CORETYPE := Haswell
# numpy picks among what the processor has, so the names it lacks are no fault.
export NPY_DISABLE_CPU_FEATURES := $(shell grep -qm1 avx512f /proc/cpuinfo 2>/dev/null && echo X86_V4)
# Keep freed memory in the process: fresh pages fault at every allocation (chapter 21).
export MALLOC_MMAP_THRESHOLD_ := 4294967296
export MALLOC_TRIM_THRESHOLD_ := 8589934592
export MALLOC_TOP_PAD_ := 268435456
export THP_MEM_ALLOC_ENABLE := 1
# Chapters and notebook tests run without progress bars and never leave this machine.
OFFLINE := TQDM_DISABLE=1 PYTHONPATH=tools/offline:tools

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.venv/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[book,test,bench]'
	@touch $@

.PHONY: execute
execute: .venv/.done ## run the chapters that changed (CHAPTERS="03 04": only these)
	@$(OFFLINE) $(BIN)/python tools/book.py execute $(CHAPTERS)

.PHONY: book
book: execute ## install, run what changed, build the site into _build/html
	@$(BIN)/python tools/book.py build

.PHONY: lint
lint: .venv/.done ## ruff, pyright and the floors of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

.PHONY: test
test: lint ## everything that CI checks: code, notebooks, site
	@find setrade -name '*.nb[ic]' -delete  # numba does not notice a change in what a kernel calls
	$(BIN)/python tools/book.py check
	$(BIN)/python tools/book.py build
	$(BIN)/python -m pytest -n 2 --dist loadfile -q
	$(OFFLINE) $(BIN)/python -m pytest -n 2 --dist loadfile -q -p no:cacheprovider --nbval --nbval-current-env book

.PHONY: lab
lab: .venv/.done ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab --notebook-dir=book

.PHONY: bench
bench: .venv/.done ## race against the peers; ratios go to book/results/bench.json (BENCH=se: one file)
	$(BIN)/python -m pytest -q -s --benchmark-disable-gc --benchmark-json=_build/bench.json tests/benchmarks/bench_$(BENCH).py

.PHONY: study
study: .venv/.done ## run the long computations whose results the chapters show (STUDY=name: one)
	@for file in $(if $(STUDY),studies/$(STUDY).py,studies/*.py); do echo "$$file"; $(BIN)/python $$file || exit 1; done

.PHONY: fetch
fetch: .venv/.done ## download Bybit bars into data/ (SYMBOL=BTCUSDT INTERVAL=60 START=2022-01-01 END=2025-01-01)
	$(BIN)/python -m setrade.bybit fetch $(SYMBOL) $(INTERVAL) $(START) $(END) --out data/$(SYMBOL)_$(INTERVAL).parquet

.PHONY: torture
torture: .venv/.done ## every fault and every kill, in full; results are stored (chapters 20 and 22)
	@for file in studies/torture_*.py; do echo "$$file"; $(BIN)/python $$file || exit 1; done

.PHONY: clean
clean: ## remove the site and caches, keep the environment
	rm -rf _build book/generated .pytest_cache .ruff_cache .hypothesis .benchmarks
