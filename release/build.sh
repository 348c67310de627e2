#!/bin/sh
# Builds the muster that is released, for one kind of Linux, on any machine:
#   sh release/build.sh x64|arm64 [OUTPUT]      (OUTPUT: default dist/linux-x64/muster or dist/linux-arm64/muster)
# The binary runs on every Linux with glibc 2.28 or newer. Why so: docs/decisions/0016-linked-against-an-old-glibc.md.
# Needs Rust, and the packages of release/requirements.txt in .venv-release (tests/setup.sh makes it) or on the PATH. Takes about 20
# minutes on two cores, for the AWS SDK.
set -eu

# Debian 10 and RHEL 8 have 2.28, Ubuntu 20.04 2.31, Amazon Linux 2023 2.34.
glibc=2.28

root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
x64 | amd64) name=linux-x64 target=x86_64-unknown-linux-gnu ;;
arm64) name=linux-arm64 target=aarch64-unknown-linux-gnu ;;
*)
    echo "release/build.sh: which machine is the binary for? Write x64 or arm64." >&2
    exit 2
    ;;
esac
output=${2:-$root/dist/$name/muster}
cd "$root"

PATH=$root/.venv-release/bin:$PATH
if ! command -v cargo-zigbuild >/dev/null 2>&1; then
    echo "release/build.sh: no cargo-zigbuild. Run: python3 -m venv .venv-release && .venv-release/bin/pip install --require-hashes -r release/requirements.txt" >&2
    exit 1
fi
# Rust's own library for that target. Without rustup (a distribution's Rust) it must be there already. Asking cargo first makes rustup
# fetch the compiler that rust-toolchain.toml names.
cargo --version
if command -v rustup >/dev/null 2>&1 && ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target"
fi

cargo zigbuild --release --locked --package muster --bin muster --target "$target.$glibc"
mkdir -p "$(dirname "$output")"
cp "${CARGO_TARGET_DIR:-target}/$target/release/muster" "$output"
sh release/check-binary.sh "$output"
