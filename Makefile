# Everything runs in .venv, made with venv and filled by uv. A torch wheel lying in $PIP_FIND_LINKS is preferred to the
# registry's newest build (which on Linux brings several GB of CUDA along).
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
TORCH := $(shell ls $(PIP_FIND_LINKS)/torch-[0-9]*.whl 2>/dev/null | sed -n '1s|.*/torch-\([0-9.]*\).*|torch==\1|p')
SHARED ?= ../shared

.DELETE_ON_ERROR:
.PHONY: audit test test-all test-real check bench docs env clean

audit: $(STAMP)
	$(BIN)/foolscope audit digits_cnn digits --eps 0.1 --out foolscope-audit --overwrite

env: $(STAMP)
$(STAMP): pyproject.toml
	test -x $(BIN)/python || python3 -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/pip install --quiet uv
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -e '.[dev]' $(TORCH)
	touch $@

# One thread each: as many workers as cores are at work already, and the programs that tests start are small.
test test-all test-real: export OMP_NUM_THREADS := 1

test: $(STAMP)
	$(BIN)/python -m pytest -m "not real and not gpu and not slow" -n auto --dist worksteal

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "not real and not gpu" -n auto --dist worksteal

test-real: $(STAMP)
	FOOLSCOPE_DATA=$(abspath $(SHARED))/data FOOLSCOPE_WEIGHTS=$(abspath $(SHARED))/weights \
		$(BIN)/python -m pytest -m real --fail-on-skip

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) test-all

docs: $(STAMP)
	$(BIN)/python -m foolscope.attacks._page > docs/attacks.md

bench: $(STAMP)
	FOOLSCOPE_DATA=$(abspath $(SHARED))/data FOOLSCOPE_WEIGHTS=$(abspath $(SHARED))/weights $(BIN)/foolscope bench

clean:
	rm -rf $(VENV) foolscope-audit .mypy_cache .pytest_cache .ruff_cache
