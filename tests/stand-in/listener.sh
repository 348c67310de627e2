# The stand-in for Runner.Listener; see tests/wire/support/linux.rs.
cd "$(dirname "$0")" || exit 99
if [ -e "$TEST_CONTROL/leave" ]; then
    cat "$TEST_CONTROL/words" 2>/dev/null || echo 'Http response code: NotFound from POST'
    exit "$(cat "$TEST_CONTROL/leave")"
fi
trap 'echo "Exiting..."; [ -e "$TEST_CONTROL/stubborn" ] || exit 0' TERM
echo '2024-01-01 00:00:00Z: Listening for Jobs'
: >"$TEST_CONTROL/listening"
round=0
while [ $round -lt 1200 ]; do
    round=$((round + 1))
    if [ -e "$TEST_CONTROL/crash" ]; then
        cat "$TEST_CONTROL/words" 2>/dev/null
        exit "$(cat "$TEST_CONTROL/crash")"
    fi
    if mv "$TEST_CONTROL/job" "$TEST_CONTROL/taken" 2>/dev/null; then
        echo '2024-01-01 00:00:01Z: Running job: build'
        while [ -e "$TEST_CONTROL/no-worker" ]; do sleep 0.05; done
        ./bin/Runner.Worker ./worker.sh
        echo '2024-01-01 00:00:02Z: Job build completed with result: Succeeded'
        exit 0
    fi
    sleep 0.05
done
