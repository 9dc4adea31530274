# `make help` lists what can be made. `make test` is what CI runs.
SHELL := /bin/bash
CARGO ?= cargo
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
STATIC := target/$(TRIPLE)/release
LANE := $(CARGO) run --quiet -p skiff-integration-tests --bin lane --
ARCH ?= x86_64 aarch64 armv7

.PHONY: help build release dist demo demo-runtime test test-quick lanes lane setup test-unit test-arm-unit test-arm-guest test-guest bench lint fmt clippy deny tidy msrv clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## debug build of everything, into target/debug
	$(CARGO) build --workspace

# --target, so that the flags reach our code only: procedural macros cannot be linked statically.
release: ## static release binaries; prints where they are
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --target $(TRIPLE) -p skiff -p skiff-shim -p skiff-supervisor --bins
	@cd $(STATIC) && ls -l skiff containerd-shim-skiff-v1 skiffd skiffctl | awk '{print "$(STATIC)/" $$NF ": " $$5 " bytes"}'

dist: ## static release binaries for each ARCH (default all three), checked, into target/dist/ARCH
	@PROFILE=$(or $(PROFILE),release) integration-tests/dist.sh $(ARCH)

demo: ## build, then show the main job: a fleet over HTTP becomes running, limited, restarted, reported containers (root)
	@integration-tests/demo.sh

demo-runtime: ## the OCI runtime alone: a container with limits, as the kernel has them (root)
	@integration-tests/demo-runtime.sh

test: ## set-up, lint, every lane (`make lanes`), one line for each with what passed, failed and was skipped (root; cold about forty minutes)
	$(MAKE) --no-print-directory setup
	@$(LANE) --all

test-quick: ## the same without virtual machines and other architectures, one lane after the other (root)
	$(MAKE) --no-print-directory setup
	@$(LANE) --quick

lanes: ## name the lanes; `make lane NAME=guest-v1 [TESTS=mounts]` runs one, or those tests of it (root)
	@$(LANE) --list

lane:
	@$(LANE) $(NAME) $(if $(TESTS),-- $(TESTS))

setup: ## install what the tests need and is missing; says what before
	@integration-tests/setup.sh

test-unit: ## the tests of each crate; those that need root say so and are counted without it
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace --exclude skiff-integration-tests --exclude skiff-lanes
	$(CARGO) test -p skiff-integration-tests --lib --bin without
	$(CARGO) test -p skiff-lanes --doc

test-arm-unit: ## the tests of each crate on aarch64 and armv7, under qemu-user
	@integration-tests/arm-unit.sh $(filter-out x86_64,$(ARCH))

test-arm-guest: ## the same tests for armv7, with those that need a kernel, in the arm64 guest (root; emulation)
	@integration-tests/arm-guest.sh

test-guest: ## everything in a Debian guest: systemd, cgroup v2, another kernel (root; emulation)
	@$(LANE) guest

bench: ## compare skiff, crun, runc and the bare system calls; writes SPECIFICATION.md (root)
	integration-tests/bench.sh --write

lint: fmt clippy deny tidy ## everything that can be said without running a container

fmt: ## rustfmt, as a check
	$(CARGO) fmt --all --check

clippy: ## clippy; a warning is an error
	$(CARGO) clippy --workspace --all-targets -- -D warnings

deny: ## cargo-deny: licences, duplicate versions, sources; advisories where they can be fetched
	@integration-tests/setup-deny.sh

tidy: ## sizes, names, floors, headers, documents
	$(CARGO) test -p skiff-integration-tests --test tidy

msrv: ## check with rustc 1.85, where there is one
	@compiler=$$(integration-tests/setup-msrv.sh); case $$? in \
	0) echo "RUSTC=$$compiler $(CARGO) check --workspace --lib --bins --target-dir target/msrv"; \
	   RUSTC=$$compiler $(CARGO) check --workspace --lib --bins --target-dir target/msrv;; \
	3) echo "SKIP msrv: no rustc 1.85 here" | tee -a "$${SKIFF_SKIP_LOG:-/dev/null}";; \
	*) exit 1;; esac

clean: ## remove target/ (the guest's cache stays: ~/.cache/skiff-vm)
	$(CARGO) clean
