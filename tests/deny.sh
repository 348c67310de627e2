#!/bin/sh
# `make deny`, a part of `make lint`: what is linked into muster, held against deny.toml. Licences, bans and sources need no network.
# Advisories need RustSec's database, a git repository at GitHub. Where that cannot be reached, a line says that they were not checked. At
# GitHub, the job `deny` checks them for each change, and the workflow `advisories` every week.
# With CI=true, cargo-deny is installed if it is missing, not optimised, because that is built sooner and fast enough.
set -eu
cd "$(dirname "$0")/.."

version=0.20.2
if ! cargo deny --version >/dev/null 2>&1; then
    if [ "${CI:-}" != true ]; then
        echo "deny: SKIPPED: there is no cargo-deny; install it: cargo install --locked cargo-deny@$version" >&2
        exit 0
    fi
    cargo install --locked --debug "cargo-deny@$version"
fi
cargo deny --log-level error check bans licenses sources

said=$(mktemp)
trap 'rm -f "$said"' EXIT
# `fetch` alone says whether the database can be had, apart from what is in it.
if cargo deny --log-level error fetch db >"$said" 2>&1; then
    cargo deny --log-level error check --disable-fetch advisories
else
    echo "deny: SKIPPED: advisories: RustSec's database cannot be fetched: $(grep -m 1 -E '^(fatal|error)' "$said" || tail -n 1 "$said")" >&2
fi
