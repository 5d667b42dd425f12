# The commands of this project. Each does its own set-up and is quick when there is nothing to do.
#   make demo    the whole thing on this machine: an SSH server, a web site, the helper
#   make test    installs what the tests need, then runs all of them, several at a time
#   make check   style, types, the rooms' import rule
#   make fuzz    100,000 made-up names each over SFTP and HTTP, none of which may lead out of a docroot,
#                and made-up headers
#   make bench   1 GiB up and down against OpenSSH
#   make extension   packs the browser extension into dist/, for Chromium and for Firefox
PYTHON ?= python3
DEMO_ARGS ?=
# Options for pytest after ours: "-n 4" for more at a time, "-n 0" for one after the other.
PYTEST_ARGS ?=
BENCH_ARGS ?=
ESCAPE_NAMES ?= 100000

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_NPM := node_modules/.ready

.PHONY: demo test check fuzz bench extension clean programs
.DELETE_ON_ERROR:

demo: $(READY)
	$(BIN)/connect-helper demo $(DEMO_ARGS)

test: programs $(READY_DEV) $(READY_NPM)
	@scripts/run-tests $(BIN)/python $(PYTEST_ARGS)

check: $(READY_DEV) $(READY_NPM)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p connect_helper -p benchmarks
	$(BIN)/lint-imports
	node_modules/.bin/tsc --project web/sdk
	node_modules/.bin/tsc --project web/demo
	node_modules/.bin/tsc --project examples/parts
	node_modules/.bin/tsc --project web/extension

fuzz: $(READY_DEV)
	ESCAPE_NAMES=$(ESCAPE_NAMES) $(BIN)/python -m pytest -n 2 --dist worksteal --durations=5 \
	  tests/server/sftp/test_sftp_escapes.py::test_no_path_of_a_client_leads_outside \
	  tests/server/http/test_escapes.py tests/server/http/test_made_up_headers.py $(PYTEST_ARGS)

bench: programs $(READY_DEV)
	$(BIN)/python -m benchmarks.loopback $(BENCH_ARGS)

extension:
	@$(PYTHON) scripts/pack-extension

programs:
	@scripts/install-test-programs

clean:
	rm -rf $(VENV) node_modules artefacts dist build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml scripts/make-venv
	@PYTHON='$(PYTHON)' scripts/make-venv $(VENV)
	$(PIP) --editable .
	@touch $@

# The same environment with the development tools on top.
$(READY_DEV): pyproject.toml scripts/make-venv
	@PYTHON='$(PYTHON)' scripts/make-venv $(VENV)
	$(PIP) --editable '.[dev]'
	@touch $(READY) $@

$(READY_NPM): package.json package-lock.json
	@command -v npm >/dev/null || scripts/install-test-programs
	npm ci --loglevel=error
	@touch $@
