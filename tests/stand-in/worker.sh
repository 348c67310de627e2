# The stand-in for Runner.Worker: a job that has a text runs it, and lasts until `finish`.
: >"$TEST_CONTROL/working"
[ ! -s "$TEST_CONTROL/taken" ] || sh "$TEST_CONTROL/taken" >"$TEST_CONTROL/output" 2>&1
round=0
until [ -e "$TEST_CONTROL/finish" ] || [ $round -gt 600 ]; do
    round=$((round + 1))
    sleep 0.1
done
: >"$TEST_CONTROL/finished"
