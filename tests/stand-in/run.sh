#!/bin/sh
cd "$(dirname "$0")" || exit 99
env >"$TEST_CONTROL/environment"
printf '%s\n' "$@" >"$TEST_CONTROL/arguments"
echo $$ >"$TEST_CONTROL/run.pid"
if [ "${RUNNER_WAIT_FOR_DOCKER_IN_SECONDS:-0}" -gt 0 ]; then
    echo 'Waiting for docker to be ready.'
    round=0
    while [ $round -lt "$RUNNER_WAIT_FOR_DOCKER_IN_SECONDS" ]; do
        round=$((round + 1))
        if docker ps >/dev/null 2>&1; then
            echo 'Docker is ready.'
            break
        fi
        sleep 1
    done
fi
[ ! -e "$TEST_CONTROL/slow" ] || sleep 3
./bin/Runner.Listener ./listener.sh
code=$?
[ ! -e "$TEST_CONTROL/linger" ] || sleep 15
case $code in
0) echo 'Runner listener exit with 0 return code, stop the service, no retry needed.' ;;
1) echo 'Runner listener exit with terminated error, stop the service, no retry needed.' ;;
5) echo 'Runner listener exit with Session Conflict error, stop the service, no retry needed.' ;;
7) echo 'Runner listener exit with deprecated version exit code: 7.' ;;
*) echo "Exiting with unknown error code: $code" ;;
esac
echo 'Exiting runner...'
case $code$RUNNER_MANUALLY_TRAP_SIG$ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE in 711) exit 7 ;; esac
