#!/bin/sh
# Makes .venv at the root of the repository, with the pinned packages of tests/requirements.txt: moto plays AWS in the
# black-box tests, shellcheck reads the boxes' boot script. And .venv-checkov, with tests/requirements-checkov.txt: a security scanner for Terraform's plans. Safe to run
# again; takes no time when nothing changed. What cannot be set up is skipped with a word on why; with CI=true a skip is a failure (exit 1).
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.venv

skip() {
    echo "setup: SKIPPED: $1" >&2
    echo "setup: the tests that need AWS (most of tests/wire/) will be skipped" >&2
    rm -rf "$venv" # half an environment would fail in a hundred strange ways
    [ "${CI:-}" = true ] || exit 0
    echo "setup: CI=true, so a skip is a failure" >&2
    exit 1
}

# Programs that some tests need. On a Debian without a running systemd (a container) and as root they are installed: nobody is surprised
# there, and no service starts. Elsewhere one line says what to install, and the tests that need it are skipped.
missing=
# needs PROGRAM PACKAGE TESTS: notes what is not there, one line for each package.
needs() {
    command -v "$1" >/dev/null 2>&1 && return
    if [ "$(id -u)" = 0 ] && [ ! -d /run/systemd/system ] && command -v apt-get >/dev/null 2>&1; then
        [ -n "${updated:-}" ] || { apt-get update -qq >/dev/null || :; updated=yes; }
        echo "setup: installing $2 for $3"
        # One package a call: a name that a distribution lacks must not keep the others away.
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2" >/dev/null 2>&1 || :
        command -v "$1" >/dev/null 2>&1 && return
    fi
    echo "setup: SKIPPED: there is no \`$1\`, so $3 will be skipped; install $2 (that is its name on Debian and Ubuntu)" >&2
    missing="$missing $2"
}
needs chromium chromium "the live page's tests"
needs chromedriver chromium-driver "the live page's tests"
needs prometheus prometheus "the tests of metrics, rules and dashboards"
needs promtool prometheus "the tests of metrics, rules and dashboards"
needs systemd-analyze systemd "the judgement of the systemd unit"
if [ -n "$missing" ] && [ "${CI:-}" = true ]; then
    echo "setup: CI=true, so a skip is a failure:$missing" >&2
    exit 1
fi

python=
for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || skip "no Python 3.10 or newer found; install one, or name it: PYTHON=/path/to/python3 sh tests/setup.sh"
"$python" -c 'import venv, ensurepip' 2>/dev/null \
    || skip "$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"

# FOLDER REQUIREMENTS: an environment with those packages, made anew when they changed.
environment() {
    venv=$root/$1
    stamp=$venv/.muster-requirements
    wanted=$(cksum <"$root/tests/$2")
    if [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "setup: $1 is up to date"
        return
    fi
    echo "setup: making $1 with $("$python" --version) (about a minute, 320 MB)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input -r "$root/tests/$2" \
        || skip "pip could not install tests/$2; see its message above"
    echo "$wanted" >"$stamp"
    echo "setup: $1 is ready"
}

environment .venv requirements.txt
# A scanner's pins and moto's exclude each other. Only the plans of terraform/ need it, so without Terraform it is left out.
if command -v terraform >/dev/null 2>&1 || [ "${CI:-}" = true ]; then
    environment .venv-checkov requirements-checkov.txt
fi
# The linker of a release (release/build.sh). Whether what it links runs on other distributions is tried on Linux.
if [ "$(uname -s)" = Linux ]; then
    environment .venv-release ../release/requirements.txt
fi

# The evaluator of IAM's policies. Another program that the tests run, never a part of muster: its licence is the AGPL.
if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then
    stamp=$root/tests/iam/node_modules/.muster-lock
    wanted=$(cksum <"$root/tests/iam/package-lock.json")
    if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
        echo "setup: tests/iam is up to date"
    elif (cd "$root/tests/iam" && npm ci --silent); then
        echo "$wanted" >"$stamp"
        echo "setup: tests/iam is ready"
    else
        echo "setup: SKIPPED: npm could not install tests/iam; calls will not be held against IAM's policies" >&2
        [ "${CI:-}" != true ] || { echo "setup: CI=true, so a skip is a failure" >&2; exit 1; }
    fi
else
    echo "setup: SKIPPED: no node or npm; calls will not be held against IAM's policies (apt-get install nodejs npm)" >&2
    [ "${CI:-}" != true ] || { echo "setup: CI=true, so a skip is a failure" >&2; exit 1; }
fi
