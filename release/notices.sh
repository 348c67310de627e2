#!/bin/sh
# Writes what must or should go with a binary, into a folder (default dist):
#   THIRD-PARTY.txt                    the licences of all crates that are linked into it, with their texts
#   muster-VERSION-ARCHITECTURE.cdx.json   its software bill of materials (CycloneDX)
#   sh release/notices.sh [FOLDER]
# Needs two programs: cargo install --locked --features cli cargo-about@0.9.3, and cargo install --locked cargo-cyclonedx@0.5.9
set -eu
for program in cargo-about cargo-cyclonedx; do
    command -v "$program" >/dev/null 2>&1 || { echo "release/notices.sh: no $program; the head of this file says how it is installed" >&2; exit 1; }
done
root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/dist}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
cd "$root"
version=$(sh release/version.sh)
# The bills' time is the commit's, so that the same commit gives the same bytes.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export SOURCE_DATE_EPOCH

cargo about generate --locked --fail --config release/about.toml release/about.hbs --output-file "$folder/THIRD-PARTY.txt"

for pair in linux-x64:x86_64-unknown-linux-gnu linux-arm64:aarch64-unknown-linux-gnu; do
    name=muster-$version-${pair%%:*}
    # cargo-cyclonedx writes beside Cargo.toml, for each member of the workspace.
    cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target "${pair#*:}" --override-filename "$name.cdx"
    mv "$name.cdx.json" "$folder/"
    for member in cloud message operations reconciler simulator; do rm -f "$member/$name.cdx.json"; done
done
