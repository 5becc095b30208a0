# Everything goes through here; no target needs containers, and none but test-packets root. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.SUFFIXES:

# The Python of the image: the one to test on, where it is there.
SHIPPED := $(shell sed -n 's/^ARG BASE=python:\([0-9]*\.[0-9]*\)-.*/\1/p' Containerfile)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
PYTHON := python$(SHIPPED) python3 python3.14 python3.13 python3.12 python3.11
CONSTRAINTS := constraints.txt
TENANTS ?= 100
NAMESPACES ?= 1
# Cluster tests wait more than they work: one worker, with a control plane, more than there are cores; four at most.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
SPREAD := -n $(shell echo $$(( $(CORES) < 3 ? $(CORES) + 1 : 4 ))) --dist loadfile
SOURCES := operator sandbox tests $(wildcard demo bench monitoring)

# $(call step,NAME,COMMAND): the name, the command's own output, then how it went and how long it took.
define step
@printf '\n=== %s\n' '$(1)'; begin=$$(date +%s); \
if $(2); then printf '=== %s: ok, %d s\n' '$(1)' $$(( $$(date +%s) - begin )); \
else code=$$?; printf '=== %s: FAILED (exit %d), %d s\n' '$(1)' $$code $$(( $$(date +%s) - begin )); exit $$code; fi
endef

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- set-up: a virtual environment with the versions of constraints.txt, made anew when those change. With another VENV
# also of another PYTHON (the first of these that runs), or with other CONSTRAINTS.

.PHONY: setup
setup: $(STAMP) ## Make the virtual environment (the other targets do it as well)

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@set -e; \
	if ! $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  for candidate in $(PYTHON); do \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Python 3.11 or newer is needed; python3 is: $$(python3 --version 2>&1)" >&2; exit 1; fi; \
	  echo "making $(VENV) with $$($$found --version)"; \
	  $$found -m venv --clear $(VENV) || { echo "the module venv is missing (on Debian: the package python3-venv)" >&2; exit 1; }; \
	fi; \
	echo "installing the dependencies into $(VENV) (a minute)"; \
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c $(CONSTRAINTS); \
	touch $@

# --- the two commands

.PHONY: demo
demo: $(STAMP) ## Run the main job on a local control plane and show it (HOLD=0: do not stay up; PROMETHEUS=1: with alerts)
	@$(PY) -m demo

.PHONY: test
test: $(STAMP) ## Run every check
	@$(MAKE) --no-print-directory lint
	$(call step,control plane (built once),$(PY) -m sandbox build)
	$(call step,tests,$(PY) -m pytest $(SPREAD) $(PYTEST))

# --- parts of them

.PHONY: lint
lint: $(STAMP) ## ruff, mypy --strict, import rules, generated files up to date
	$(call step,ruff check,$(PY) -m ruff check $(SOURCES))
	$(call step,ruff format,$(PY) -m ruff format --check $(SOURCES))
	$(call step,mypy --strict,$(PY) -m mypy $(SOURCES))
	$(call step,import rules,$(VENV)/bin/lint-imports)
	$(call step,generated files,$(PY) -m securetenant.api.crd --check && $(PY) -m securetenant.controls.admission.manifests --check && $(PY) -m monitoring --check)

.PHONY: test-pure
test-pure: $(STAMP) ## Only the tests that need no control plane (seconds)
	$(call step,pure tests,$(PY) -m pytest $(SPREAD) -m 'not cluster and not full' $(PYTEST))

.PHONY: test-cluster
test-cluster: $(STAMP) ## Only the tests on the control plane
	$(call step,control plane (built once),$(PY) -m sandbox build)
	$(call step,cluster tests,$(PY) -m pytest $(SPREAD) -m 'cluster and not full' $(PYTEST))

.PHONY: test-full
test-full: $(STAMP) ## Every bad answer to every kind of request, once and for a while (15 minutes)
	$(call step,control plane (built once),$(PY) -m sandbox build)
	$(call step,oracles (built once; without them their tests are skipped, but not in CI),$(PY) -m sandbox oracles || [ -z "$$CI" ])
	$(call step,enforcer of policies (built once; without it there are no packets, but in CI there must be),$(PY) -m sandbox build --packets || [ -z "$$CI" ])
	$(call step,full tests,$(PY) -m pytest -m full -s $(PYTEST))

.PHONY: test-packets
test-packets: $(STAMP) ## Only the full tests with real packets, under SIG Network's enforcer (needs Linux and root)
	$(call step,control plane and enforcer (built once),$(PY) -m sandbox build --packets)
	$(call step,packets,$(PY) -m pytest -m 'full and packets' -s tests/packets $(PYTEST))

# --- other Pythons, and the oldest dependencies: each with an environment of its own, .venv-3.12 and the like

PYENV := $(or $(PYENV_ROOT),$(HOME)/.pyenv)

.PHONY: test-pythons
test-pythons: ## test-pure on every Python >= 3.11 that is here, on PATH or of pyenv, but for the image's
	@for version in 3.11 3.12 3.13 3.14; do \
	  if [ $$version = "$(SHIPPED)" ]; then continue; fi; \
	  found=; \
	  for candidate in python$$version $(PYENV)/versions/$$version.*/bin/python; do \
	    if $$candidate -c '' 2>/dev/null; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then printf '\n=== Python %s: not here, skipped\n' $$version; continue; fi; \
	  printf '\n=== Python %s: %s\n' $$version "$$found"; \
	  $(MAKE) --no-print-directory test-pure VENV=.venv-$$version PYTHON=$$found || exit $$?; \
	done

.PHONY: test-min
test-min: ## test-pure with every dependency at its lower bound (constraints-min.txt)
	@$(MAKE) --no-print-directory test-pure VENV=.venv-min CONSTRAINTS=constraints-min.txt

.PHONY: shipped-python
shipped-python: $(STAMP) ## Fail unless the tests run on the Python of the image
	@$(PY) -c 'import sys; here = "%d.%d" % sys.version_info[:2]; \
	sys.exit(here != "$(SHIPPED)" and f"the image has Python $(SHIPPED), $(VENV) has {here}: make clean, and install $(SHIPPED)")'

.PHONY: release-check
release-check: ## Before a tag: the version is the changelog's newest, nothing is unreleased, nothing is uncommitted
	@.ci/release-check

# --- other Kubernetes: the minors that the sandbox builds beside the newest, which every other target uses

MINORS ?= $(notdir $(wildcard sandbox/controlplane/1.*))

.PHONY: test-versions
test-versions: $(STAMP) ## test-cluster on older Kubernetes (MINORS="1.35 1.34"; the first time, each builds for a quarter of an hour)
	@for minor in $(MINORS); do \
	  printf '\n=== Kubernetes %s\n' $$minor; \
	  SANDBOX_KUBERNETES=$$minor $(MAKE) --no-print-directory test-cluster || exit $$?; \
	done

.PHONY: coverage
coverage: $(STAMP) ## The tests, and which lines of the operator none of them runs (a quarter longer)
	$(call step,control plane (built once),$(PY) -m sandbox build)
	$(call step,coverage,$(PY) -m pytest $(SPREAD) --cov=securetenant --cov-report=term:skip-covered $(PYTEST))

.PHONY: fmt
fmt: $(STAMP) ## Format the code and put right what ruff can
	@$(PY) -m ruff check --fix $(SOURCES)
	@$(PY) -m ruff format $(SOURCES)

.PHONY: crds
crds: $(STAMP) ## Generate crds/ from the models
	@$(PY) -m securetenant.api.crd

.PHONY: docs-pictures
docs-pictures: $(STAMP) ## Make docs/pictures anew: the dashboards' panels of a real run (needs chromium; 5 minutes)
	$(call step,control plane (built once),$(PY) -m sandbox build)
	@$(PY) -m monitoring.pictures

.PHONY: bench
bench: $(STAMP) ## Measure (TENANTS=100 NAMESPACES=1)
	@$(PY) -m bench --tenants $(TENANTS) --namespaces $(NAMESPACES)

.PHONY: sandbox-up
sandbox-up: $(STAMP) ## Start a local control plane; prints the line that points kubectl at it
	@$(PY) -m sandbox up

.PHONY: sandbox-down
sandbox-down: $(STAMP) ## Stop it
	@$(PY) -m sandbox down

.PHONY: clean
clean: ## Stop the sandbox and remove what was made here (the build cache outside stays)
	@if [ -x $(PY) ] && [ -e .sandbox ]; then $(PY) -m sandbox down; fi
	@rm -rf $(VENV) .venv-* .sandbox .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage coverage.xml build dist operator/*.egg-info
