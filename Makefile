# Everything that a newcomer needs: `make demo` to see it, `make test` to trust it.
#
# DEMO_ARGS     options of the tour: `make demo DEMO_ARGS="--once --dir demo"`; `--help` lists them
# PARTS         what `make bench` and `make bench-ocsp` measure: `make bench-ocsp PARTS="--json cached nonce"`; all by default
# SOAK_SECONDS  how long `make soak` runs each fuzz target; 60 by default
# SOAK_NETWORK_SECONDS  the same for what reads from the network; 600 by default
# SOAK_KILLS    how often `make soak` kills a process in the middle of its work; 100 by default

SHELL := /bin/bash
CARGO ?= cargo
SOAK_SECONDS ?= 60
SOAK_NETWORK_SECONDS ?= 600
SOAK_KILLS ?= 100

.DEFAULT_GOAL := help
.PHONY: help setup packages build demo test bench bench-ocsp soak fmt lint clean

help:            ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { sub(/ +$$/, "", $$1); printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup:           ## install what is missing: a software token, OpenSSL and the like, and the linters of the tests
	@scripts/setup.sh tests

packages:
	@scripts/setup.sh

build: packages     ## build everything
	$(CARGO) build --workspace

demo: packages   ## the tour: from nothing to a revoked card
	$(CARGO) build --release --bin cardinal --bin ocsp-responder
	"$${CARGO_TARGET_DIR:-target}/release/cardinal" demo $(DEMO_ARGS)

test: setup build ## all tests
	$(CARGO) test --workspace

bench: packages    ## issuance and OCSP per second, beside what the token alone can do
	$(CARGO) run --release -p tests --bin bench -- $(PARTS)

bench-ocsp: packages ## the OCSP responder beside bare hyper and the signature alone; 2,400,000 certificates, attacks
	$(CARGO) build --release -p ocsp-responder --bin ocsp-responder
	$(CARGO) run --release -p tests --bin bench -- responder $(PARTS)

soak: packages     ## what takes long: many kills, and every decoder under a fuzzer
	$(CARGO) build --release --workspace
	CARDINAL_KILLS=$(SOAK_KILLS) $(CARGO) test --release --workspace -- kill
	SOAK_SECONDS=$(SOAK_SECONDS) SOAK_NETWORK_SECONDS=$(SOAK_NETWORK_SECONDS) scripts/fuzz.sh

fmt:             ## format the code
	$(CARGO) fmt --all

lint:            ## formatting and clippy, as .ci/run asks for them
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

clean:           ## remove what was built, and the demo's folder
	$(CARGO) clean
	rm -rf demo fuzz/target
