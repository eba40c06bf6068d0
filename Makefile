.DEFAULT_GOAL := help
SHELL := /bin/sh
# Bytecode is kept, whatever the shell asks for: the tests start hundreds of processes, each three seconds slower without.
export PYTHONDONTWRITEBYTECODE :=
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Twice quiet: an error is printed, a remark about a machine's own pip settings is not.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist loadgroup
LOCK := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-strip-extras --no-emit-index-url --no-header \
	--annotation-style line --python-version 3.11 --group build pyproject.toml
# Of `make proof`: where chance begins, how often all is done again, bytes from one cut of the wire to the next.
SEED ?= 1
ROUNDS ?= 1
EVERY ?= 20
# And how many due times killed senders share.
DUE ?= 2000
QUERIES ?= 10000
EXTRAS := --extra local --extra otel --extra postgres

# One pip at a time, whatever -j says.
.NOTPARALLEL:
.PHONY: help demo test quick lint proof bench bench-full bench-reports bench-views pictures docs events lock clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "This needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

# The package is installed without its dependencies: they come from the hashed lock and nowhere else.
$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "installing (about a minute the first time)"
	@$(PIP) install --require-hashes --no-deps -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.bench: $(VENV)/.%: requirements/%.txt $(VENV)/.run
	@echo "installing what $* needs"
	@$(PIP) install --require-hashes --no-deps -r requirements/$*.txt
	@touch $@

demo: $(VENV)/.run ## Run the main job on simulated upstreams: no account, no server
	@$(BIN)/signalroom demo

test: $(VENV)/.test ## Run every test (under 10 minutes on 2 cores)
	@$(PYTEST)

quick: $(VENV)/.test ## Run the quick tests (two minutes on 2 cores)
	@$(PYTEST) -m "not slow"

lint: $(VENV)/.test $(VENV)/.lint ## Check format, style, types, layers, dependencies, spelling
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/deptry src
	@$(BIN)/codespell
	@$(BIN)/hadolint Dockerfile
	@$(BIN)/yamllint --strict deploy
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml

proof: $(VENV)/.test ## Kill and cut everywhere, then `up` and workers over 400 due times; print the figures (an hour; ROUNDS=25 QUERIES=100000 for a release)
	@$(BIN)/python tests/crash/proof.py --seed $(SEED) --rounds $(ROUNDS)
	@$(BIN)/python tests/crash/cuts.py --seed $(SEED) --every $(EVERY)
	@$(BIN)/python tests/soak/soak.py --runs 200
	@$(BIN)/python tests/soak/soak.py --runs 200 --warehouse postgres
	@$(BIN)/python tests/soak/projections.py --seconds 60
	@$(BIN)/python tests/soak/followers.py --seconds 60
	@$(BIN)/python tests/soak/once.py --seed $(SEED) --due $(DUE)
	@$(BIN)/python tests/fuzz_manifests.py --seed $(SEED) --queries $(QUERIES)
	@$(BIN)/python tests/soak/changes.py --seed $(SEED) --lives 500
	@$(BIN)/python tests/soak/large_transaction.py

bench: $(VENV)/.test $(VENV)/.bench ## Floor, ours and dlt side by side at a tenth of the size (8 minutes)
	@$(BIN)/python bench/run.py --scale 0.1

bench-reports: $(VENV)/.test ## From a report's queries to Slack, e-mail and chart; a thousand reports of agencies
	@$(BIN)/python bench/reports.py

bench-full: $(VENV)/.test $(VENV)/.bench ## The same at full size
	@$(BIN)/python bench/run.py --scale 1

bench-views: $(VENV)/.test ## 500 report views on Postgres, one REFRESH each against ours (5 minutes)
	@$(BIN)/python bench/views.py

pictures: $(VENV)/.test demo ## Take the documentation's pictures of the demo, in Chromium
	@$(BIN)/python tests/docs/pictures.py demo

events: $(VENV)/.test ## Write the page that sets projections beside events anew (half a minute; a Postgres server)
	@$(BIN)/python tests/docs/events.py

docs: $(VENV)/.run ## Write docs/reference and the list of modules from the code itself
	@$(BIN)/python -m signalroom.cli.reference
	@$(BIN)/python tests/architecture/house_map.py

lock: | $(BIN)/python ## Compile the locks again (hashes, no addresses); UPGRADE=--upgrade takes the newest
	@test -x $(BIN)/uv || $(PIP) install 'uv>=0.8'
	@$(LOCK) $(UPGRADE) -o requirements/run.txt
	@$(LOCK) $(UPGRADE) --extra otel --extra postgres --extra worker -c requirements/run.txt -o requirements/image.txt
	@$(LOCK) $(UPGRADE) $(EXTRAS) --group test -c requirements/run.txt -o requirements/test.txt
	@$(LOCK) $(UPGRADE) $(EXTRAS) --group test --group lint -c requirements/test.txt -o requirements/lint.txt
	@$(LOCK) $(UPGRADE) $(EXTRAS) --group test --group bench -c requirements/test.txt -o requirements/bench.txt

clean: ## Remove what was built and the demo's workspace
	@rm -rf $(VENV) demo build dist bench/out .pytest_cache .ruff_cache .hypothesis .import_linter_cache
