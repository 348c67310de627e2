#!/bin/sh
# `make screenshot`: makes the pictures that the README and the docs show: docs/live-page.png, docs/explain.svg and docs/top.svg. It runs
# `muster demo` on a free port and waits until some runners have jobs. A headless Chromium takes the picture of the page, and
# tests/pictures.py those of the terminal. The demo's seed is fixed, so the pools and the jobs are the same in each picture; the numbers
# are not, because they depend on the moment.
# MUSTER=PATH uses a binary that is built already.
set -eu
cd "$(dirname "$0")/.."

picture=docs/live-page.png
largest=300000 # bytes

fail() {
    echo "screenshot: $*" >&2
    exit 1
}

for program in chromium curl python3; do
    command -v "$program" >/dev/null 2>&1 || fail "there is no \`$program\`; install $program (so it is called on Debian and Ubuntu)"
done

environment=.venv-pictures requirements=tests/requirements-pictures.txt
wanted=$(cksum <"$requirements")
if [ "$(cat "$environment/.muster-requirements" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$environment"
    python3 -m venv "$environment" &&
        "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-input --require-hashes -r "$requirements" ||
        fail "pip could not install $requirements; its message is above"
    echo "$wanted" >"$environment/.muster-requirements"
fi

if [ -z "${MUSTER:-}" ]; then
    cargo build --quiet --no-default-features
    MUSTER=${CARGO_TARGET_DIR:-target}/debug/muster
fi

work=$(mktemp -d)
: >"$work/out"
demo=
trap '[ -z "$demo" ] || kill "$demo" 2>/dev/null || :; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

"$MUSTER" demo --port 0 --seed 1 >"$work/out" 2>"$work/log" &
demo=$!

# until_true SECONDS WHAT COMMAND...: repeats the command until it succeeds.
until_true() {
    left=$1 what=$2
    shift 2
    until "$@"; do
        kill -0 "$demo" 2>/dev/null || fail "the demo ended: $(cat "$work/log")"
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "$what"
        sleep 1
    done
}

has_address() {
    url=$(sed -n 's/^ *live page *//p' "$work/out")
    [ -n "$url" ]
}

# Each list of the API is JSON and ends in `"total":N`.
has_busy_runners() {
    busy=$(curl --silent --fail --max-time 5 "${url}api/v1/runners?phase=busy" | sed -n 's/.*"total": *\([0-9]*\).*/\1/p')
    [ "${busy:-0}" -ge 6 ]
}

until_true 20 "the demo did not say within 20 s where it listens" has_address
until_true 120 "fewer than six runners had a job within 120 s" has_busy_runners

chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync \
    --hide-scrollbars --user-data-dir="$work/chromium" --window-size=1280,900 --screenshot="$work/page.png" "$url" >"$work/chromium.log" 2>&1 ||
    fail "chromium failed: $(tail -n 5 "$work/chromium.log")"
[ -s "$work/page.png" ] || fail "chromium wrote no picture: $(tail -n 5 "$work/chromium.log")"

size=$(wc -c <"$work/page.png" | tr -d ' ')
[ "$size" -le "$largest" ] || fail "the picture has $size bytes, and $largest is the most for a README"
mv "$work/page.png" "$picture"
echo "screenshot: $picture, $size bytes, with $busy busy runners"
"$environment/bin/python" tests/pictures.py "$MUSTER" "$url" docs || fail "the pictures of the terminal were not made"
