# Two commands matter: `make demo` (needs Rust only) and `make test` (all tests).
# Cargo runs one after another, never side by side: two builds at once need twice the memory and are no faster.

.PHONY: help demo screenshot test setup lint deny e2e bench dist vm fuzz
.DEFAULT_GOAL := help

help: ## Say what there is
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: ## The real controller on a simulated cloud; watch it on http://127.0.0.1:8080/
	cargo run --no-default-features -- demo

screenshot: ## The docs' pictures of the live page, `explain` and `top`, made of the demo (needs chromium and Python 3)
	sh tests/screenshot.sh

test: ## All tests, the core's first; at the end what failed and what was skipped
	@sh tests/run.sh

setup: ## The black-box tests' virtual environments (moto, checkov) and Debian packages
	sh tests/setup.sh

# clippy as the compiler of our own crates, in the profile of the tests: `cargo clippy` would check the AWS SDK all over again.
lint: ## Formatting, lints, the dependencies, and that the build without AWS and GitHub still stands
	cargo fmt --all --check
	rustfmt --check --edition 2024 simulator/defects/*.rs
	RUSTC_WORKSPACE_WRAPPER=clippy-driver CLIPPY_ARGS='-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__' \
		cargo test --workspace --all-targets --no-run
	cargo check --no-default-features
	sh tests/deny.sh

deny: ## The dependencies' licences, sources, and advisories if RustSec's database can be had (a part of `make lint`)
	sh tests/deny.sh

e2e: setup ## Twenty jobs through real boot scripts: webhook, SQS, controller, moto, instances, and back to zero
	cargo test --workspace --test wire e2e_instance -- --nocapture

vm: setup ## The boot script on a Debian that boots in QEMU, as EC2 would boot it (CASES="..." runs some): docs/a-real-machine.md
	@python=.venv/bin/python; [ -x $$python ] || python=python3; $$python tests/vm/run.py $(CASES)

fuzz: ## Each fuzz target for a minute, or for FUZZ_SECONDS (needs cargo-fuzz): webhook, queue, manifests, GitHub's answers, ...
	sh fuzz/run.sh

bench: ## Print the figures: a step, a webhook, memory, the page and the lists
	cargo bench --no-default-features --bench step --bench webhook --bench show

dist: setup ## What a release publishes, in dist/: binaries for Linux on x64 and arm64, archives, licences, checksums (an hour)
	sh release/build.sh x64
	sh release/build.sh arm64
	sh release/notices.sh
	sh release/pack.sh
