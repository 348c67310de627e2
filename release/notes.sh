#!/bin/sh
# Prints what CHANGELOG.md says of one version, for the release's page:
#   sh release/notes.sh VERSION
set -eu
cd "$(dirname "$0")/.."
notes=$(awk -v heading="## [$1]" 'index($0, "## [") == 1 { inside = index($0, heading) == 1; next } inside' CHANGELOG.md)
[ -n "$notes" ] || { echo "CHANGELOG.md has no section \"## [$1]\"" >&2; exit 1; }
printf '%s\n' "$notes"
