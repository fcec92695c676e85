# Every target does its own set-up on a fresh Debian or Ubuntu, as root or with sudo.
SHELL := /bin/bash
.DEFAULT_GOAL := help
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

RUN_PACKAGES := iperf3 openssh-client openssh-server iproute2 iputils-ping libpango-1.0-0 libpangoft2-1.0-0 fonts-dejavu-core python3-venv
TEST_PACKAGES := nftables tshark frr
BENCH_PACKAGES := irtt sockperf iputils-tracepath scamper
# Tests whose time goes into waiting and whose figures no busy machine can spoil, the longest first. Those of the second
# group use the lab, of which there is one.
WAITING := $(addprefix tests/integration/test_,agent_methods.py agent_iperf3.py stamp_by_hand.py pmtu.py edge.py)
WAITING_LAB := $(addprefix tests/integration/test_,lab.py lab_bgp.py lab_faults.py reach.py trouble.py bgp_is_read.py)

.PHONY: help demo test check bench prove fuzz lock clean

help: ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.run ## the whole job on the built-in lab: order, measure, judge, report
	@$(call debian,$(RUN_PACKAGES))
	@$(SUDO) $(BIN)/perfharness demo

test: $(VENV)/.dev ## all tests, the lab and real SSH included (needs root)
	@$(call debian,$(RUN_PACKAGES) $(TEST_PACKAGES))
ifdef PYTEST_ARGS
	@$(SUDO) $(BIN)/pytest $(PYTEST_ARGS)
else
	@# What mostly waits goes beside what computes, three at a time, each told when it has ended; what measures is left alone.
	@logs=$$(mktemp -d); failed=0; \
	printf '%s\n' "--ignore=tests/contract --ignore=tests/integration" "$(WAITING_LAB)" tests/contract $(WAITING) \
		| xargs -P 3 -I WORDS sh -c 'log='$$logs'/$$$$; $(SUDO) $(BIN)/pytest WORDS >$$log 2>&1; code=$$?; cat $$log; exit $$code' \
		|| failed=1; rm -r $$logs; [ $$failed = 0 ]
	@$(SUDO) $(BIN)/pytest tests/integration $(WAITING:%=--ignore=%) $(WAITING_LAB:%=--ignore=%)
endif

check: $(VENV)/.dev ## linter, types, and the invariants of the architecture
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## ratios against iperf3, irtt and sockperf, in one run; intervals; outages against captures; BGP beside every scenario (an hour)
	@$(call debian,$(RUN_PACKAGES) $(TEST_PACKAGES) $(BENCH_PACKAGES))
	@for bench in tests/bench/bench_*.py; do $(SUDO) $(BIN)/python $$bench || exit 1; done

prove: $(VENV)/.run ## every fault of the lab, alone and in pairs, against verdict and cause (45 minutes); a part: make prove CASES="…"
	@$(call debian,$(RUN_PACKAGES) nftables frr)
	@$(SUDO) $(BIN)/perfharness lab prove $(CASES)

fuzz: $(VENV)/.dev ## a million hostile packets against both ends of STAMP; another number: make fuzz INPUTS=…
	$(BIN)/python tests/fuzz/stamp_mutations.py $(or $(INPUTS),1000000)

lock: $(VENV)/.dev ## resolve the requirements again: names, versions, hashes
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --strip-extras --allow-unsafe -o requirements.txt pyproject.toml
	$(BIN)/pip-compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-header --strip-extras --allow-unsafe --extra dev -o requirements-dev.txt pyproject.toml

clean: ## remove what the targets above made here
	rm -rf $(VENV) build *.egg-info agents/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(call debian,python3-venv)
	@$(PYTHON) -c 'import sys; sys.exit("perfharness needs Python 3.11 or later, this is %d.%d; name another one: make PYTHON=python3.12 …" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VENV)/.dev: requirements-dev.txt pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@ $(VENV)/.run

# debian PACKAGES: install what is missing. A new openssh-server or frr is only wanted for its programs, so its
# service is masked first: a test tool must not open port 22 on somebody's machine, nor make a router of it.
define debian
missing=; for package in $(1); do dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed' || missing="$$missing $$package"; done; \
if [ -n "$$missing" ]; then \
  command -v apt-get >/dev/null || { echo "These Debian packages are missing and there is no apt-get here:$$missing"; exit 2; }; \
  echo "Installing Debian packages:$$missing"; \
  case "$$missing" in *openssh-server*) \
    if command -v systemctl >/dev/null && ! [ -e /usr/sbin/sshd ]; then \
      $(SUDO) systemctl mask ssh.service ssh.socket >/dev/null 2>&1 && echo "The ssh service is left masked; to use it: systemctl unmask ssh.service ssh.socket"; fi;; esac; \
  case "$$missing" in *frr*) \
    if command -v systemctl >/dev/null && ! [ -e /usr/lib/frr/zebra ]; then \
      $(SUDO) systemctl mask frr.service >/dev/null 2>&1 && echo "The frr service is left masked; to use it: systemctl unmask frr.service"; fi;; esac; \
  $(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null || exit 2; \
fi
endef
