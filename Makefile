# `make demo` and `make test` are the two commands to know; `make help` lists the rest.
# Everything is installed into .venv; PYTHON=python3.12 chooses the interpreter it is made with.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
VENV := .venv
PEERS := $(VENV)/peers
BIN := $(VENV)/bin
# para-attn's metadata names a direct URL in an extra: pip 26.3 refuses it. pip 26.2.1 takes it, and runs from its wheel.
PIP_VERSION := 26.2.1
PIP := $(BIN)/python $(VENV)/pip-$(PIP_VERSION)-py3-none-any.whl/pip --disable-pip-version-check
TORCH := $(shell grep '^torch==' constraints.txt)
CPU_TORCH := --no-deps --index-url https://download.pytorch.org/whl/cpu --retries 1 --timeout 10
NVIDIA := /proc/driver/nvidia/version /dev/dxg
# In variables: a comma would end an argument of $(call).
RUN := --constraint constraints.txt --editable ".[para-attn]"
TEST := --constraint constraints.txt --editable ".[para-attn,test]"
DEV := --constraint constraints.txt --editable ".[para-attn,dev]"
# What pip downloads as one line on a terminal, nothing elsewhere; the end of what it says where it fails.
BAR = while read -r what first _ total _; do case $$what in \
    Downloading) file=$${first\#\#*/}; file=$${file%%-[0-9]*};; \
    Progress) [ ! -t 1 ] || printf '\r\033[K  %s %d %%' "$$file" $$((100 * first / (total + 1)));; esac; done; \
    [ ! -t 1 ] || printf '\r\033[K'
install = { $(PIP) install --progress-bar raw $(1) 2>&1 | tee $(VENV)/pip.log | { $(BAR); }; } \
    || { tail -n 40 $(VENV)/pip.log >&2; exit 1; }
PACKAGING := setup.py pyproject.toml constraints.txt
MODEL ?= demo
ARGS ?=
# Two processes of tests, each test file in one of them: most tests wait for processes to start, most of the time.
TESTS := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo serve test test-slow test-all failure-matrix reliability soak lint bench bench-peers gpu-check clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 22

demo: $(VENV)/.stamp-demo ## start a server with the embedded model, draw one picture, stop the server
	@$(BIN)/python examples/demo.py

serve: $(VENV)/.stamp-demo ## leave a server running on port 5000 (MODEL=demo, ARGS="--port 8080 ...")
	@exec $(BIN)/para-attn-server --model $(MODEL) --num-devices 2 $(ARGS)

test: $(VENV)/.stamp-test ## run the test suite, without what is slow (ARGS: more for pytest)
	$(TESTS) -m "not slow" $(ARGS)

test-slow: $(VENV)/.stamp-test
	$(TESTS) -m slow $(ARGS)

test-all: ## the whole test suite
	$(MAKE) test
	$(MAKE) test-slow

failure-matrix: $(VENV)/.stamp-test ## inject every fault at every point, and write the table to docs/
	FAILURE_MATRIX=docs/failure-matrix.md $(BIN)/python -m pytest tests/e2e/test_failure_matrix.py $(ARGS)

reliability: $(VENV)/.stamp-demo ## inject faults, measure what they cost, and write the table to docs/
	$(BIN)/python benchmarks/reliability.py --output docs/reliability.md $(ARGS)

soak: $(VENV)/.stamp-demo ## 2,000 jobs with cancels, kills and restarts; write what became of them to docs/
	$(BIN)/python benchmarks/soak.py --output docs/soak.md $(ARGS)

lint: $(VENV)/.stamp-dev ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.stamp-demo ## measure what the server adds to a bare torchrun of the same pipeline
	$(BIN)/python benchmarks/overhead.py $(ARGS)

bench-peers: $(VENV)/.stamp-demo $(VENV)/.stamp-peers ## the same work behind a floor of the standard library and LitServe; writes docs/peers.md
	$(BIN)/python benchmarks/peers.py --output docs/peers.md \
	    $$(test -x $(PEERS)/bin/python && echo --litserve $(PEERS)/bin/python) $(ARGS)

gpu-check: $(VENV)/.stamp-test ## check and measure on real GPUs what the tests do on CPU ranks, and write docs/gpu-check.md
	$(BIN)/python benchmarks/gpu_check.py --output docs/gpu-check.md $(ARGS)

clean: ## remove .venv, caches and build files; outputs and state directories stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the virtual environment; a stamp is written last, so that what was interrupted is done again -------------------

$(VENV)/.stamp-venv:
	@python=$${PYTHON:-$$(for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)}; \
	test -n "$$python" || { echo "Python 3.11 or newer is needed: PYTHON=/path/to/python make ..." >&2; exit 1; }; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check download -qq --no-deps --dest $(VENV) pip==$(PIP_VERSION)
	@touch $@

# Without an NVIDIA driver torch's CPU build will do: it is a tenth of the CUDA build, which pip takes by itself.
$(VENV)/.stamp-torch: $(VENV)/.stamp-venv constraints.txt
	@echo "installing PyTorch (the first time takes minutes: it is large)"
	@ls $(NVIDIA) >/dev/null 2>&1 || ( $(call install,$(CPU_TORCH) $(TORCH)) ) \
	    || echo "no CPU build of $(TORCH) to be had: taking the build of the package index"
	@touch $@

$(VENV)/.stamp-demo: $(VENV)/.stamp-torch $(PACKAGING)
	@echo "installing para-attn-server"
	@$(call install,$(RUN))
	@touch $@

$(VENV)/.stamp-peers: $(VENV)/.stamp-venv benchmarks/litserve.txt
	@$(BIN)/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement benchmarks/litserve.txt || \
	    { rm -rf $(PEERS); echo "LitServe cannot be installed: it is left out"; }
	@touch $@

$(VENV)/.stamp-test: $(VENV)/.stamp-torch $(PACKAGING)
	@echo "installing para-attn-server with the test extra"
	@$(call install,$(TEST))
	@touch $@ $(VENV)/.stamp-demo

$(VENV)/.stamp-dev: $(VENV)/.stamp-torch $(PACKAGING)
	@echo "installing para-attn-server with the dev extra"
	@$(call install,$(DEV))
	@touch $@ $(VENV)/.stamp-test $(VENV)/.stamp-demo
