.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url --no-header \
	--annotation-style line --python-version 3.11 --group build

.PHONY: help demo test quick lint bench bench-full docs lock clean

help: ## Print this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# The package is installed without its dependencies: they come from the hashed lock and nowhere else.
$(VENV)/.run: requirements/run.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing (about a minute the first time)"
	@$(PIP) install --require-hashes --no-deps -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.%: requirements/%.txt $(VENV)/.run
	@$(PIP) install --require-hashes --no-deps -r requirements/$*.txt
	@touch $@

demo: $(VENV)/.run ## Run the main job on simulated upstreams: no account, no server
	@$(BIN)/signalroom demo

test: $(VENV)/.test ## Run every test (under 10 minutes on 2 cores)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup

quick: $(VENV)/.test ## Run the quick tests (under a minute)
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup -m "not slow"

lint: $(VENV)/.test $(VENV)/.lint ## Format check, lint, types, layers, dependencies, spelling
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/deptry src
	@$(BIN)/codespell

bench: $(VENV)/.test $(VENV)/.bench ## Floor, ours and dlt side by side at a tenth of the size (8 minutes)
	@$(BIN)/python bench/run.py --scale 0.1

bench-full: $(VENV)/.test $(VENV)/.bench ## The same at full size
	@$(BIN)/python bench/run.py --scale 1

docs: $(VENV)/.run ## Write docs/reference from the settings and commands themselves
	@$(BIN)/python -m signalroom.cli.reference

lock: ## Compile the locks again (hashes, no addresses)
	@test -x $(BIN)/uv || ($(PYTHON) -m venv $(VENV) && $(PIP) install 'uv>=0.8')
	@$(LOCK) pyproject.toml -o requirements/run.txt
	@$(LOCK) pyproject.toml --extra postgres --group test -c requirements/run.txt -o requirements/test.txt
	@$(LOCK) pyproject.toml --extra postgres --group test --group lint -c requirements/test.txt -o requirements/lint.txt
	@$(LOCK) pyproject.toml --extra postgres --group test --group bench -c requirements/test.txt -o requirements/bench.txt

clean: ## Remove what was built and the demo's workspace
	@rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .hypothesis
