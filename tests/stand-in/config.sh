#!/bin/sh
printf '%s\n' "$@" >"$TEST_CONTROL/config"
printf '%s' "$ACTIONS_RUNNER_INPUT_TOKEN" >"$TEST_CONTROL/token"
