#!/bin/sh
# Installs what the tests need besides Rust. Each group of tests needs programs, and some an environment: .venv (moto plays AWS, shellcheck
# reads the boot script), .venv-checkov (a security scanner), .venv-release (a linker), tests/iam (an evaluator of IAM's policies), tests/page
# (a judge of the page's accessibility). Safe to run again; it takes no time when nothing changed. A group whose part is missing gets one
# line that says what to install, and its tests are skipped. With CI=true that is a failure, told at the end.
set -u

root=$(cd "$(dirname "$0")/.." && pwd)
missing=

# skip TESTS WHY: prints one line for a group of tests that cannot run here.
skip() {
    echo "setup: SKIPPED: $1: $2" >&2
    missing=yes
}

# needs TESTS PACKAGES PROGRAM...: true if all programs exist. As root on a Debian without a running systemd (a container), the packages
# are installed, because that surprises nobody there, and no service starts.
needs() {
    tests=$1 packages=$2
    shift 2
    for program in "$@"; do
        command -v "$program" >/dev/null 2>&1 && continue
        if [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ] && command -v apt-get >/dev/null 2>&1; then
            [ -n "${updated:-}" ] || { apt-get update -qq >/dev/null || :; updated=yes; }
            echo "setup: installing $packages for $tests"
            # One package for each call, so that a name that a distribution lacks does not prevent the others.
            for package in $packages; do
                DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null 2>&1 || :
            done
            command -v "$program" >/dev/null 2>&1 && continue
        fi
        skip "$tests" "there is no \`$program\`; install $packages (so they are called on Debian and Ubuntu)"
        return 1
    done
}

# environment FOLDER REQUIREMENTS TESTS: makes a virtual environment with these packages, and makes it anew when they change.
environment() {
    stamp=$root/$1/.muster-requirements
    wanted=$(cksum <"$root/tests/$2")
    if [ -x "$root/$1/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "setup: $1 is up to date"
        return
    fi
    echo "setup: making $1 with $("$python" --version) (a minute or two, 320 MB)"
    rm -rf "${root:?}/$1"
    if "$python" -m venv "$root/$1" &&
        "$root/$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$root/tests/$2"; then
        echo "$wanted" >"$stamp"
        echo "setup: $1 is ready"
    else
        rm -rf "${root:?}/$1" # half an environment would fail in a hundred strange ways
        skip "$3" "pip could not install tests/$2; its message is above"
    fi
}

aws='the tests that need AWS (most of tests/wire/)'
needs "the live page's tests" 'chromium chromium-driver' chromium chromedriver || :
needs 'the tests of metrics, rules and dashboards' prometheus prometheus promtool || :
if [ "$(uname -s)" = Linux ]; then
    needs "systemd's own judgement of the unit" systemd systemd-analyze || :
fi
terraform=yes
command -v terraform >/dev/null 2>&1 || {
    terraform=no
    skip 'the tests of terraform/, and of what each role may' 'there is no `terraform`; install Terraform 1.11 or newer'
}

python=
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    skip "$aws" 'there is no Python 3.11 or newer; install one, or name it: PYTHON=/path/to/python3 make setup'
elif ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    skip "$aws" "$python cannot make virtual environments; install python3-venv (so it is called on Debian and Ubuntu)"
else
    environment .venv requirements.txt "$aws"
    # The scanner's pinned versions and moto's exclude each other. Only the plans of terraform/ need the scanner.
    [ "$terraform" = no ] || environment .venv-checkov requirements-checkov.txt "checkov's judgement of Terraform's plans"
    # The linker of a release (release/build.sh). Only on Linux do the tests try what it links on other distributions.
    [ "$(uname -s)" != Linux ] || environment .venv-release ../release/requirements.txt 'the tests of the released binary'
fi

# npm_folder FOLDER TESTS: installs what its lock file names, and again when that changes.
npm_folder() {
    needs "$2" 'nodejs npm' node npm || return
    stamp=$root/$1/node_modules/.muster-lock
    wanted=$(cksum <"$root/$1/package-lock.json")
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "setup: $1 is up to date"
    elif (cd "$root/$1" && npm ci --silent); then
        echo "$wanted" >"$stamp"
        echo "setup: $1 is ready"
    else
        skip "$2" "npm could not install $1; its message is above"
    fi
}

# The tests run this program, and it is never a part of muster, because its licence is the AGPL.
npm_folder tests/iam "the judgement of each call by IAM's policies"
# This one runs in the tests' browser, and is never a part of muster either (MPL-2.0).
npm_folder tests/page "axe's judgement of the live page"

if [ -n "$missing" ] && [ "${CI:-}" = true ]; then
    echo 'setup: CI=true, so each SKIPPED above is a failure' >&2
    exit 1
fi
