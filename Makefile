# Two commands matter: `make demo` (needs Rust only) and `make test` (everything that CI runs).
# Cargo runs one after another, never side by side: two builds at once need twice the memory and are no faster.

.PHONY: help demo test setup lint unit e2e bench
.DEFAULT_GOAL := help

help: ## Say what there is
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## The real controller on a simulated cloud; watch it on http://127.0.0.1:8080/
	cargo run --no-default-features -- demo

test: setup lint unit ## All that CI checks

setup: ## The black-box tests' virtual environments (moto, checkov)
	sh tests/setup.sh

lint: ## Formatting, lints, and that the build without AWS and GitHub still stands
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo check --no-default-features

unit: ## All tests, black-box ones included
	cargo test --workspace
	cargo test -p muster-reconciler --features defects --test defects

e2e: setup ## Twenty jobs through real boot scripts: webhook, SQS, controller, moto, box, and back to zero
	cargo test --workspace --test e2e_box -- --nocapture

bench: ## Print the figures: a step, a webhook, memory, the page and the lists
	cargo bench --no-default-features --bench step --bench webhook --bench show
