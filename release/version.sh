#!/bin/sh
# Prints the version that Cargo.toml names, after looking whether a release may bear it:
#   sh release/version.sh [TAG]
# With a tag: the tag is `v` and that version, and CHANGELOG.md has a section for it with a date. Without one only the version is printed.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n '/^\[workspace.package\]$/,/^$/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
[ -n "$version" ] || { echo "Cargo.toml: no version in [workspace.package]" >&2; exit 1; }

if [ $# -gt 0 ]; then
    if [ "$1" != "v$version" ]; then
        echo "the tag $1 is not v$version, the version in Cargo.toml. Change [workspace.package] version, or move the tag." >&2
        exit 1
    fi
    if ! grep -Eq "^## \[$(printf %s "$version" | sed 's/\./\\./g')\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md; then
        echo "CHANGELOG.md has no line \"## [$version] - YYYY-MM-DD\". Give the section [Unreleased] that heading, and begin a new one." >&2
        exit 1
    fi
fi
echo "$version"
