#!/bin/sh
# Shows that the simulator catches the deliberate defects of simulator/defects/. All patches go into one copy of the core and the
# simulator, which is built once. At run time the test switches one defect on, by its name. `tests/defects.sh ARGS...`: for cargo test.
set -eu
cd "$(dirname "$0")/.."
here=$PWD
# A defect need not be free of warnings. `.ci/run` compiles with clippy.
unset RUSTC_WORKSPACE_WRAPPER
copy=$here/target/defects
rm -rf "$copy"
mkdir -p "$copy"
cp -R Cargo.lock reconciler simulator "$copy"
# The workspace without the crates that decide nothing. The profile stays, so that the dependencies are not built again. The version is
# another one: cargo names what it builds by the package's version and its path below the workspace, so the copy would otherwise replace
# the product's own core in the target directory.
awk '/^\[/ { kept = /^\[(workspace|profile\.dev)/ } kept' Cargo.toml |
    sed 's/^members = .*/members = ["reconciler", "simulator"]/; s/^version = .*/version = "0.0.0-defects"/' >"$copy/Cargo.toml"
cp simulator/defects/switch.rs "$copy/reconciler/src/defects.rs"
echo 'pub mod defects;' >>"$copy/reconciler/src/lib.rs"
cp simulator/defects/catches.rs "$copy/simulator/tests/defects.rs"
cd "$copy"
for patch in "$here"/simulator/defects/*.patch; do
    # The copy lies in a repository that ignores it: git must not look for that repository.
    GIT_CEILING_DIRECTORIES=$here/target git apply -C1 "$patch" ||
        { echo "defects: $patch no longer fits the core; see CONTRIBUTING.md, \"Deliberate defects\"" >&2 && exit 1; }
done
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$here/target} cargo test --no-fail-fast -p muster-simulator --test defects "$@"
