# make up     everything on this machine, from nothing but Python 3.11 or newer and a package registry
# make test   every check that this machine can run; at the end it names what it could not run
# make prove  the long proofs       make bench CLAIM=money  one claim with its peers
# make lint   the checks without the tests       make lock  lock the dependencies anew

.DELETE_ON_ERROR:
.PHONY: up install test lint prove bench lock help
.DEFAULT_GOAL := help

# Nothing is compiled by hand: every package has a wheel, and every wheel its hash.
PIP := .venv/bin/python -m pip install -qq --disable-pip-version-check --no-input --root-user-action=ignore
HASHED := $(PIP) --require-hashes --only-binary :all:

# A stamp is named after what it was made from and where, so another lock file or a moved checkout installs anew.
key = $(shell { pwd; cat requirements/build.txt $(1) pyproject.toml; } | cksum | cut -d' ' -f1)
RUNTIME := .venv/.runtime-$(call key,requirements/runtime.txt)
TESTED := .venv/.test-$(call key,requirements/test.txt)

help:
	@sed -n 's/^# make/make/p' Makefile

up: $(RUNTIME)
	@exec .venv/bin/callmeback up

install: $(RUNTIME)

$(RUNTIME):
	@echo "Installing into .venv (once; less than a minute) …"
	@head -n 1 .venv/bin/pip 2>/dev/null | grep -qF "$$PWD/.venv/" && .venv/bin/python -c '' || { \
		for python in $(PYTHON) python3 python3.13 python3.12 python3.11 none; do \
			$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
		done; \
		test $$python != none || { echo "Python 3.11 or newer is needed; set PYTHON to it." >&2; exit 1; }; \
		$$python -m venv --clear .venv || { echo "On Debian, install python3-venv." >&2; exit 1; }; }
	@$(HASHED) -r requirements/build.txt -r requirements/runtime.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@.venv/bin/python -m compileall -q src
	@rm -f .venv/.runtime-* && touch $@

$(TESTED): $(RUNTIME)
	@echo "Installing what the tests need …"
	@$(HASHED) -r requirements/test.txt
	@rm -f .venv/.test-* && touch $@

# Every check runs, whatever the others say; the result is that of all.
lint: $(TESTED)
	@status=0; run() { echo "== $$*"; .venv/bin/"$$@" || status=1; }; \
	run ruff check .; \
	run ruff format --check .; \
	run mypy; \
	run sqlfluff lint --disable-progress-bar src/callmeback; \
	run squawk src/callmeback/sql/migrations/*.sql; \
	exit $$status

# Three workers on two cores: many tests wait for a talk or a server. Neighbours stay together, since they share servers.
test: $(TESTED)
	@status=0; $(MAKE) --no-print-directory lint || status=1; \
	echo "== pytest"; .venv/bin/python -m pytest -n 3 --dist worksteal -q -m "not proof" $(PYTEST) || status=1; \
	exit $$status

prove: $(TESTED)
	@.venv/bin/python -m pytest -q -m proof $(PYTEST)

bench: $(TESTED)
	@test -d "bench/$(CLAIM)" && test -n "$(CLAIM)" || { echo "make bench CLAIM=<a folder of bench/>" >&2; exit 2; }
	@.venv/bin/python -m bench.$(CLAIM)

# The lock files name no registry, so they work with any.
COMPILE = .lock/bin/pip-compile -q --generate-hashes --strip-extras --allow-unsafe --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host
lock:
	@test -x .lock/bin/pip-compile || { python3 -m venv .lock && .lock/bin/pip install -qq -r requirements/tools.in; }
	@cd requirements && for name in build runtime test; do ../$(COMPILE) -o $$name.txt $$name.in || exit 1; done
