#!/bin/sh
# `make test`: all tests, the core's first, because they need no AWS SDK and answer first. It goes on after a failure. The last lines say what
# failed, what was skipped and why, and how long the first verdict and everything took.
set -u
cd "$(dirname "$0")/.." || exit 1

kept=$(mktemp -d)
trap 'rm -rf "$kept"' EXIT
export MUSTER_SKIPPED="$kept/skipped" MUSTER_FIGURES="$kept/figures"
: >"$kept/failed" && : >"$MUSTER_SKIPPED" && : >"$MUSTER_FIGURES"
began=$(date +%s)
first=

# group NAME COMMAND...: runs the command, and keeps the names of the tests that failed.
group() {
    name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    { "$@" 2>&1 || echo "$name" >"$kept/broken"; } | tee "$kept/output"
    grep -E '^test .* \.\.\. FAILED$' "$kept/output" | sed 's/^test \(.*\) \.\.\. FAILED$/\1/' >"$kept/names"
    if [ -e "$kept/broken" ]; then
        # A group can fail without a test that fails, because it does not compile, for example.
        [ -s "$kept/names" ] || echo "the whole group; see its output above" >"$kept/names"
        sed "s/^/$name: /" "$kept/names" >>"$kept/failed"
        rm "$kept/broken"
    fi
    [ -n "$first" ] || first=$(($(date +%s) - began))
}

group core cargo test --no-fail-fast -p muster-reconciler
group simulator cargo test --no-fail-fast -p muster-simulator
group defects sh tests/defects.sh
group setup sh tests/setup.sh
group wire cargo test --no-fail-fast --workspace --exclude muster-reconciler --exclude muster-simulator

printf '\n== Summary\n'
if [ -s "$MUSTER_FIGURES" ]; then
    sort "$MUSTER_FIGURES" | awk -F '\t' '{ sum[$1] += $2 } END { for (name in sum) printf "%s: %d\n", name, sum[name] }' | sort
fi
echo "The first verdict came after ${first} s, the last after $(($(date +%s) - began)) s."
if [ -s "$MUSTER_SKIPPED" ]; then
    echo "Tests SKIPPED: $(cut -f1 "$MUSTER_SKIPPED" | sort -u | wc -l | tr -d ' ')"
    cut -f2 "$MUSTER_SKIPPED" | sort -u | while IFS= read -r why; do
        tests=$(awk -F '\t' -v why="$why" '$2 == why { print $1 }' "$MUSTER_SKIPPED" | sort -u)
        echo "  $(echo "$tests" | wc -l | tr -d ' ') because $why: $(echo "$tests" | paste -sd ' ' -)"
    done
else
    echo "Tests SKIPPED: 0"
fi
if [ -s "$kept/failed" ]; then
    echo "Tests FAILED: $(wc -l <"$kept/failed" | tr -d ' ')"
    sed 's/^/  /' "$kept/failed"
    exit 1
fi
echo "Tests FAILED: 0"
