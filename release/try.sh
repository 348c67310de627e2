#!/bin/sh
# Runs a binary in other distributions' own images: it starts, resolves a name or says that it cannot, and no signal ends it.
#   sh release/try.sh BINARY [IMAGE...]
# Needs Docker, and the binary must be for this machine's architecture. tests/wire/binary.rs does the same without Docker, in more ways.
set -eu
binary=$(realpath "$1")
shift
# What the module's machine runs, then the oldest and the newest of what people have.
[ $# -gt 0 ] || set -- amazonlinux:2023 debian:11 debian:13 ubuntu:20.04 ubuntu:24.04 rockylinux:8

for image in "$@"; do
    run() { docker run --rm --network none --volume "$binary:/usr/local/bin/muster:ro" --env AWS_ACCESS_KEY_ID=none --env AWS_SECRET_ACCESS_KEY=none \
        --env AWS_REGION=eu-west-1 --env AWS_ENDPOINT_URL=http://aws.invalid:1 "$image" muster "$@"; }
    run --version
    code=0
    said=$(run run --manifests s3://bucket/manifests 2>&1) || code=$?
    # 6: a manifest cannot be read, and the message says why. A signal would be 128 or more.
    if [ "$code" != 6 ]; then
        printf '%s: expected exit 6 for a name that does not exist, got %s:\n%s\n' "$image" "$code" "$said" >&2
        exit 1
    fi
    echo "$image: runs"
done
