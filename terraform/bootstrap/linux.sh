# Makes an EC2 instance a GitHub Actions runner, watches it and ends it: a box of no use never stays.
#
# Terraform puts `#!/bin/sh` and the pool's settings in front and leaves out lines that are only a comment: EC2 takes
# 16 KB. Needs curl (from 7.86 on it signs the session token), tar, gzip and sha256sum. Runs as root. Whatever happens,
# its last line is `muster: ended: REASON`.
# shellcheck shell=sh
set -eu

: "${MUSTER_BUCKET:=}"
: "${MUSTER_ARCHITECTURE:=x64}"
: "${MUSTER_VERSION:=latest}"
: "${MUSTER_USER:=runner}"
: "${MUSTER_WORK:=_work}"
: "${MUSTER_HOOK_STARTED:=}"
: "${MUSTER_HOOK_COMPLETED:=}"
: "${MUSTER_PRE_INSTALL:=}"
: "${MUSTER_POST_INSTALL:=}"
: "${MUSTER_PROXY_HTTP:=}"
: "${MUSTER_PROXY_HTTPS:=}"
: "${MUSTER_PROXY_NONE:=}"
: "${MUSTER_MAX_LIFETIME:=86400}" # seconds without a job
: "${MUSTER_BOOT_DEADLINE:=300}" # seconds for the secret and the installation, then for the runner to listen
# Seconds of denials: a policy that asks for a secret's tag also denies what is not there yet.
: "${MUSTER_DENIED_DEADLINE:=$MUSTER_BOOT_DEADLINE}"
: "${MUSTER_REPORT_STAGES:=no}" # yes: by a tag, which is a call of ec2:CreateTags
: "${MUSTER_WATCH:=5}" # seconds between looks
: "${MUSTER_HOME:=/opt/actions-runner}"
: "${MUSTER_STATE:=/run/muster}"
: "${MUSTER_CONSOLE:=/dev/console}"
: "${MUSTER_CLOUD:=/var/lib/cloud}"
: "${MUSTER_END:=shutdown -h now}" # shutdown behaviour is terminate
: "${MUSTER_IMDS:=http://169.254.169.254}"
: "${MUSTER_GITHUB:=https://github.com}"
: "${MUSTER_GITHUB_API:=https://api.github.com}"
: "${AWS_ENDPOINT_URL:=}" # SSM, S3 and EC2 at one address

# --- words and the end

# By no process of its own: that could speak after the last word.
say() {
  printf 'muster: %s\n' "$*" 2>/dev/null || :
  printf 'muster: %s\n' "$*" 2>/dev/null >>"$MUSTER_CONSOLE" || :
}

now_ms() {
  ms=$(date +%s%3N) # GNU; others print the format
  case $ms in *[!0-9]* | ??????????) ms=$(date +%s)000 ;; esac
  printf %s "$ms"
}

# Whole seconds since a moment in ms.
since() { echo $((($(now_ms) - $1) / 1000)); }

stage() {
  at=$(now_ms)
  echo "$1=$at" >>stages
  say "stage $1 $(((at - began) / 1000)).$(printf %03d $(((at - began) % 1000)))s"
}

# Sleeps so that a signal is heard at once.
nap() {
  sleep "$1" &
  wait $! || :
}

# Whether it is time for another look.
due() { [ "$(since "$looked")" -ge "$MUSTER_WATCH" ] && looked=$(now_ms); }

end() {
  reason=$1
  # shellcheck disable=SC2086 # a list
  [ -z "$errands" ] || wait $errands || :
  exit "${2:-0}"
}

fail() { end "$1" 1; }

# shellcheck disable=SC2329 # the trap's
finish() {
  trap - EXIT
  trap '' HUP INT TERM
  set +e
  if [ -n "$preparing" ]; then
    kill "$preparing" 2>/dev/null
    wait "$preparing" 2>/dev/null
  fi
  say "ended: ${reason:-failed unexpectedly, at: $step}"
  exec >/dev/null 2>&1 # what a shell says of killed processes
  for _ in 1 2 3 4 5; do
    sh -c "$MUSTER_END" && break
    sleep 5
  done
}

reason='' step='begin' preparing='' errands='' began=$(now_ms)
looked=$began
trap finish EXIT
trap 'reason="stopped by a signal"; exit 1' HUP INT TERM
# Who takes our output may die. Not '': that the runner would inherit.
trap : PIPE

# --- the instance's metadata

# A string field of the JSON on stdin.
field() {
  tr -d '\n' | sed -nE 's/.*"'"$1"'" *: *"(([^"\\]|\\.)*)".*/\1/p' | sed 's/\\\(.\)/\1/g'
}

# Runs curl; $answer is the body, $code the status (000: none).
ask() {
  answer=$("$@" -sS -w '\n%{http_code}' 2>>errors) || :
  code=${answer##*"$nl"}
  answer=${answer%"$nl"*}
}

# shellcheck disable=SC2329 # through ask
imds_curl() {
  about=$1
  shift
  printf 'header = "X-aws-ec2-metadata-token%s"\n' "$about" | curl -K - --noproxy '*' --connect-timeout 2 -m 4 "$@"
}

# Sets $answer. 1: there is none, or nobody answers.
imds() {
  if [ -z "$token" ] || [ "$(since "$token_at")" -gt 10000 ]; then
    ask imds_curl '-ttl-seconds: 21600' -X PUT "$MUSTER_IMDS/latest/api/token"
    [ "$code" = 200 ] || return 1
    token=$answer token_at=$(now_ms)
  fi
  ask imds_curl ": $token" "$MUSTER_IMDS/latest/$1"
  [ "$code" != 401 ] || token=
  [ "$code" = 200 ]
}

# For what must be there: it may take a moment after the launch.
must_imds() {
  for _ in 1 2 3 4 5 6 7 8; do
    if imds "$1" && [ -n "$answer" ]; then return; fi
    nap 1
  done
  fail "the metadata service does not tell $1 (status $code)"
}

# --- AWS

# Keys and session token go in by stdin: a command line is for all to see.
# shellcheck disable=SC2329 # through ask and unpack
aws() {
  service=$1
  shift
  printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' "$key" "$key_secret" "$session" |
    curl -K - --aws-sigv4 "aws:amz:$region:$service" --connect-timeout 3 "$@"
}

endpoint() {
  case $region in cn-*) domain=amazonaws.com.cn ;; *) domain=amazonaws.com ;; esac
  printf %s "${AWS_ENDPOINT_URL:-https://$1.$region.$domain}"
}

ssm() {
  ask aws ssm -m 10 -H "X-Amz-Target: AmazonSSM.$1" -H 'Content-Type: application/x-amz-json-1.1' \
    --data "$2" "$(endpoint ssm)/"
  error=$(printf %s "$answer" | field __type)
  error=${error##*#}
  seen="${error:-no word} (status $code)"
  [ "$code" = 200 ]
}

# Waits for the secret that muster puts down for this box.
read_secret() {
  step="read $name"
  pause=1000 denied_at=
  while ! ssm GetParameter "{\"Name\":\"$name\",\"WithDecryption\":true}"; do
    [ ! -s failed ] || fail "$(cat failed)"
    case $code$error in
    403* | 400AccessDenied*)
      seen="$seen; check the instance profile's policy"
      : "${denied_at:=$(now_ms)}"
      [ "$(since "$denied_at")" -lt "$MUSTER_DENIED_DEADLINE" ] || fail "no secret $name: $seen"
      ;;
    *) denied_at= ;;
    esac
    [ "$(since "$began")" -lt "$MUSTER_BOOT_DEADLINE" ] || fail "no secret $name within $MUSTER_BOOT_DEADLINE s: $seen"
    ! imds "$drain_tag" || end "drained before it had a secret: $answer"
 # A fleet boots together: a quarter more or less, by chance.
    ms=$((pause * (75 + $(od -An -N1 -tu1 /dev/urandom) * 50 / 255) / 100))
    nap "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    pause=$((pause < 3000 ? pause * 2 : 5000))
  done
  secret=$(printf %s "$answer" | field Value)
  answer=
  [ -n "$secret" ] || fail "the secret $name is empty"
  stage secret
}

delete_secret() {
  for _ in 1 2 3; do
    ! ssm DeleteParameter "{\"Name\":\"$name\"}" || return 0
    case $error in ParameterNotFound) return 0 ;; AccessDenied*) break ;; esac
    sleep 2
  done
  say "the secret $name was not deleted: $seen"
}

# --- the runner, unpacked

# As MUSTER_USER. Secrets travel in the environment, never on a command line.
as_user() {
  if [ "$switch" = no ]; then
    "$@"
  elif command -v runuser >/dev/null; then
    HOME=$user_home runuser -u "$MUSTER_USER" -- "$@"
  else
    # shellcheck disable=SC2016 # for the inner shell
    su -s /bin/sh -c 'exec "$@"' -- "$MUSTER_USER" sh "$@"
  fi
}

# A header of the last archive.
header() { tr -d '\r' <headers | awk -v name="$1:" 'tolower($1) == name { v = $2 } END { print v }'; }

# Runs curl; the archive is hashed and unpacked while it comes. Sets $status and $digest; 0: all of it is in $new.
unpack() {
  rm -rf "$new" pipe broken
  as_user mkdir "$new"
  mkfifo pipe
  : >headers
  sha256sum <pipe >sum &
  hashing=$!
  { "$@" -fsS -m 600 --speed-limit 10000 --speed-time 20 -D headers 2>>errors || : >broken; } | tee pipe |
    (cd "$new" && as_user tar -xzf -) 2>>errors || : >broken
  wait "$hashing" || :
  read -r digest _ <sum || :
  status=$(awk '/^HTTP\// { s = $2 } END { print s ? s : "000" }' headers)
  [ ! -e broken ] && [ -e "$new/run.sh" ]
}

# NAME DIGEST VERSION ETAG: what was unpacked takes the place of the image's, if the digest is right.
install() {
  if [ "$digest" != "$2" ]; then
    say "$1 is corrupt: SHA-256 $digest, not $2"
    return 1
  fi
  for part in "$new"/*; do
    rm -rf "${MUSTER_HOME:?}/${part##*/}"
    mv "$part" "$MUSTER_HOME/"
  done
  echo "$3" >"$MUSTER_HOME/.muster-version"
  echo "$4" >"$MUSTER_HOME/.muster-etag"
}

in_image() { [ ! -x "$MUSTER_HOME/run.sh" ] || cat "$MUSTER_HOME/.muster-$1" 2>/dev/null || :; }

from_s3() {
  path=runners/linux-$MUSTER_ARCHITECTURE/$MUSTER_VERSION.tar.gz
  what=s3://$MUSTER_BUCKET/$path
  url=$(endpoint s3)
  if [ -n "$AWS_ENDPOINT_URL" ]; then url=$url/$MUSTER_BUCKET; else url=https://$MUSTER_BUCKET.${url#*//}; fi
  etag=$(in_image etag)
  for _ in 1 2; do
    # The hash of an empty body: curl before 7.88 does not add it.
    if unpack aws s3 -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' \
      ${etag:+-H "If-None-Match: $etag"} "$url/$path"; then
      install "$what" "$(header x-amz-meta-sha256)" "$(header x-amz-meta-version)" "$(header etag)"
      return
    fi
    case $status in 304) return 0 ;; 2?? | 4??) break ;; esac
    sleep 1
  done
  say "$what cannot be had (status $status)"
  return 1
}

from_github() {
  version=$MUSTER_VERSION
  releases=$MUSTER_GITHUB/actions/runner/releases
  if [ "$version" = latest ]; then
    version=$(curl -sS -o /dev/null -w '%{redirect_url}' -m 20 --retry 3 "$releases/latest") || :
    version=${version##*/v}
    case $version in [0-9]*.[0-9]*.[0-9]*) ;; *) say 'GitHub does not tell its latest release' && return 1 ;; esac
    [ "$version" != "$(in_image version)" ] || return 0
  fi
  archive=actions-runner-linux-$MUSTER_ARCHITECTURE-$version.tar.gz
  wanted=$(curl -fsS -m 20 --retry 1 "$MUSTER_GITHUB_API/repos/actions/runner/releases/tags/v$version" | tr , '\n' |
    awk -v name="\"$archive\"" 'index($0, name) { on = 1 }
      on && /"digest"/ && match($0, /sha256:[0-9a-f]+/) { print substr($0, RSTART + 7, RLENGTH - 7); exit }') || :
  [ -n "$wanted" ] || say "GitHub tells no digest of $archive: taken as it comes"
  for _ in 1 2 3; do
    if unpack curl -L --connect-timeout 10 "$releases/download/v$version/$archive"; then
      install "$archive" "${wanted:-$digest}" "$version" '' && return
    fi
    case $status in 4??) break ;; esac
    sleep 2
  done
  say "$archive cannot be had (status $status)"
  return 1
}

give_up() {
  echo "$1" >failed
  exit 1
}

script() { [ -z "$2" ] || (cd / && sh -c "$2") </dev/null || give_up "$1 failed with exit code $?"; }

# Goes on beside the wait for the secret; why it failed is left in a file.
prepare() {
  script preInstall "$MUSTER_PRE_INSTALL"
  if [ "$switch" = yes ]; then
    id "$MUSTER_USER" || useradd -m -s /bin/sh "$MUSTER_USER" || give_up "user $MUSTER_USER cannot be made"
    usermod -aG docker "$MUSTER_USER" || : # if there is Docker
    chown "$MUSTER_USER" "$MUSTER_HOME"
  fi >>errors 2>&1
  user_home=$(eval "echo ~$MUSTER_USER")
  had=$(in_image version)
  new=$MUSTER_HOME/.muster-new
  if [ -n "$had" ] && [ "$had" = "$MUSTER_VERSION" ]; then
    say "runner $had is in the image"
  elif ! from_s3 && ! from_github; then
    [ -n "$had" ] || give_up 'no runner: neither S3 nor GitHub gave one'
    say "runner $had of the image must do"
  fi
  rm -rf "$new"
  stage unpacked
  script postInstall "$MUSTER_POST_INSTALL"
}

# --- the runner, running

# In a process of its own: what it exports stays there.
run() {
  cd "$MUSTER_HOME"
  env | grep -E '^(https?|no)_proxy=' >>.env || :
  [ -z "$MUSTER_HOOK_STARTED" ] || export ACTIONS_RUNNER_HOOK_JOB_STARTED="$MUSTER_HOOK_STARTED"
  [ -z "$MUSTER_HOOK_COMPLETED" ] || export ACTIONS_RUNNER_HOOK_JOB_COMPLETED="$MUSTER_HOOK_COMPLETED"
 # Without the first two, run.sh says 0 also of a release that GitHub refuses.
  export RUNNER_MANUALLY_TRAP_SIG=1 ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1 DISABLE_RUNNER_UPDATE=1
  [ "$(id -u)" != 0 ] || [ "$switch" = yes ] || export RUNNER_ALLOW_RUNASROOT=1
  case $secret in
  '{'*) # reusable
    of() { printf %s "$secret" | field "$1"; }
    ACTIONS_RUNNER_INPUT_TOKEN=$(of token)
    export ACTIONS_RUNNER_INPUT_TOKEN
    group=$(of group)
    # No labels but the pool's: others would draw jobs that are not for this pool.
    as_user ./config.sh --unattended --replace --disableupdate --no-default-labels --url "$(of url)" --name "$(of name)" \
      --labels "$(printf %s "$secret" | sed -n 's/.*"labels":\[\([^]]*\)\].*/\1/p' | tr -d '"')" \
      ${group:+--runnergroup "$group"} --work "$MUSTER_WORK"
    unset ACTIONS_RUNNER_INPUT_TOKEN
    ;;
  *) export ACTIONS_RUNNER_INPUT_JITCONFIG="$secret" ;;
  esac
  as_user ./run.sh
}

start() {
  step='start the runner'
  (
    status=0
    # On its own, for `set -e` does not hold before `||`.
    (run) >log 2>&1 </dev/null &
    wait $! || status=$?
    : >exited
    exit "$status"
  ) &
  runner=$!
  secret=
}

# This runner's processes of that name. Where the program cannot be told, it may be ours; one that is dead has no command
# line either.
processes() {
  grep -slx "$1" /proc/[0-9]*/comm | while IFS=/ read -r _ _ pid _; do
    case $(readlink "/proc/$pid/exe") in
    "$MUSTER_HOME"/*) echo "$pid" ;;
    '') ! grep -qs . "/proc/$pid/cmdline" || echo "$pid" ;;
    esac
  done
}

# Whether a job runs. One that was just taken has no worker yet; if it never gets one, its line stays the last.
busy() {
  [ -n "$(processes Runner.Worker)" ] ||
    { [ "$(since "$(stat -c %Y log)000")" -lt 120 ] && tail -n 1 log | grep -q '^[-0-9: ]*Z: Running job: '; }
}

# shellcheck disable=SC2086 # a list
signal() { [ -z "$2" ] || kill "-$1" $2 2>>errors || :; }

# Stops the listener so that no job can begin. 1: one runs, and all goes on.
freeze() {
  listener=$(processes Runner.Listener)
  signal STOP "$listener"
  busy || return 0
  signal CONT "$listener"
  return 1
}

# Ends the box, unless a job runs: one may come at any moment, also to a listener that was asked to leave.
# SIGTERM, not SIGINT: that is ignored in a shell's background, and .NET leaves ignored what it finds so.
drain() {
  freeze || return 0
  if [ -z "$listener" ]; then
    # It may be about to start, and could take a job while we wait for its end.
    [ "$(since "$started")" -lt "$MUSTER_BOOT_DEADLINE" ] || end "$1"
    return 0
  fi
  signal TERM "$listener"
  signal CONT "$listener"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ ! -e exited ] || end "$1"
    nap 1
  done
  freeze || return 0
  [ -n "$listener" ] || end "$1"
  signal KILL "$listener"
  end "$1; the listener had to be killed"
}

# Without what run.sh and its helper say of every end.
last_words() { printf 'it said: %s' "$(grep -vE '^($|Exiting|Restarting|Runner listener exit)' log | tail -n 1)"; }

# Whether this box is to go; said once while a job runs.
look() {
  why='' spot=
  if imds meta-data/spot/instance-action; then
    spot="spot takes this box at $(printf %s "$answer" | field time)"
    why=$spot
  elif imds "$drain_tag"; then
    why="drained: $answer"
  elif imds meta-data/events/recommendations/rebalance; then
    why='spot recommends another box'
  fi
  if busy; then
    idle_at=$(now_ms)
    case $why in
    "$said" | '') ;;
    "$spot") say "$spot; the job on it will be lost" ;;
    *) say "$why; it waits for the job to end" ;;
    esac
    said=$why
  elif [ -n "$why" ]; then
    drain "$why"
  elif [ "$(since "$idle_at")" -ge "$MUSTER_MAX_LIFETIME" ]; then
    drain "no job for $MUSTER_MAX_LIFETIME s"
  elif [ "$listening" = no ] && [ "$(since "$started")" -ge "$MUSTER_BOOT_DEADLINE" ]; then
    drain "registration failed: no listener after $MUSTER_BOOT_DEADLINE s; $(last_words)"
  fi
}

# The stages, as one tag on this instance.
tag_stages() {
  ask aws ec2 -m 10 --data Action=CreateTags --data Version=2016-11-15 --data "ResourceId.1=$id" \
    --data Tag.1.Key=muster%3Astages --data-urlencode "Tag.1.Value=$(paste -sd, stages)" "$(endpoint ec2)/"
  [ "$code" = 200 ] || say "the tag muster:stages was refused (status $code)"
}

hear() {
  if [ "$listening" = no ] && grep -qs 'Listening for Jobs' log; then
    listening=yes
    stage listener
    if [ "$MUSTER_REPORT_STAGES" = yes ]; then
      tag_stages &
      errands="$errands $!"
    fi
  fi
}

watch() {
  step='watch the runner'
  listening=no said='' started=$(now_ms)
  idle_at=$started looked=$started
  # A job may have killed run.sh, and go on.
  until [ -e exited ] && freeze; do
    hear
    if due; then look; fi
    if [ "$listening" = yes ]; then nap "$MUSTER_WATCH"; else nap 0.2; fi
  done
  hear
  status=0
  wait "$runner" || status=$?
  # run.sh's helper makes 0 of most of the listener's exit codes, and says so.
  told=$(tail -n 2 log | sed -n 's/^Exiting with unknown error code: //p
    s/^Runner listener exit with terminated.*/1/p; s/^Runner listener exit with Session.*/5/p')
  status=${told:-$status}
  [ "$status" != 7 ] || fail "GitHub refuses runner $(in_image version) as too old: run \`muster sync\`"
  [ "$listening" = yes ] || fail "registration failed: the runner left with exit code $status before it listened; $(last_words)"
  [ "$status" = 0 ] || fail "the runner failed with exit code $status; $(last_words)"
  end 'the runner is done'
}

# --- all of it

nl='
'
token='' token_at=0 drain_tag=meta-data/tags/instance/muster:drain switch=no
if [ "$(id -u)" = 0 ] && [ "$MUSTER_USER" != root ]; then switch=yes; fi
rm -rf "${MUSTER_STATE:?}"
(umask 077 && mkdir -p "$MUSTER_STATE")
mkdir -p "$MUSTER_HOME"
MUSTER_HOME=$(cd "$MUSTER_HOME" && pwd -P)
cd "$MUSTER_STATE"
stage script

no_proxy=${no_proxy:+$no_proxy,}${MUSTER_PROXY_NONE:+$MUSTER_PROXY_NONE,}169.254.169.254
[ -z "$MUSTER_PROXY_HTTP" ] || export http_proxy="$MUSTER_PROXY_HTTP" no_proxy
[ -z "$MUSTER_PROXY_HTTPS" ] || export https_proxy="$MUSTER_PROXY_HTTPS" no_proxy

must_imds dynamic/instance-identity/document
id=$(printf %s "$answer" | field instanceId)
region=$(printf %s "$answer" | field region)
used=$MUSTER_HOME/.muster-used
if [ "$(cat "$used" 2>/dev/null)" = "$id" ]; then fail 'second boot: this box had its turn'; fi
echo "$id" >"$used"
# cloud-init runs user data at an instance's first boot only; the others are to come here too.
again=$MUSTER_CLOUD/scripts/per-boot/muster
if [ -d "${again%/*}" ]; then
  # shellcheck disable=SC2016 # for the other boot
  printf '#!/bin/sh\ncase $(readlink %s/instance) in */%s) exec sh %s ;; esac\n' "$MUSTER_CLOUD" "$id" "$0" >"$again"
  chmod +x "$again"
fi
must_imds meta-data/tags/instance/muster:cluster
cluster=$answer
must_imds meta-data/tags/instance/muster:pool
say "box $id of pool $answer in cluster $cluster, $region"
must_imds meta-data/iam/security-credentials/
must_imds "meta-data/iam/security-credentials/$answer"
key=$(printf %s "$answer" | field AccessKeyId)
key_secret=$(printf %s "$answer" | field SecretAccessKey)
session=$(printf %s "$answer" | field Token)
name=/muster/$cluster/runners/$id

if [ "$switch" = yes ] && command -v docker >/dev/null; then
  (systemctl start docker || service docker start) >>errors 2>&1 &
fi
(prepare) &
preparing=$!
read_secret
delete_secret &
errands=$!
step='prepare the runner'
while kill -0 "$preparing" 2>/dev/null; do
  [ "$(since "$began")" -lt "$MUSTER_BOOT_DEADLINE" ] ||
    fail "preInstall, the download or postInstall took more than $MUSTER_BOOT_DEADLINE s"
  if due && imds "$drain_tag"; then end "drained before it had a runner: $answer"; fi
  nap 0.2
done
wait "$preparing" || fail "$(cat failed || echo 'the runner could not be prepared')"
preparing=
user_home=$(eval "echo ~$MUSTER_USER")
start
watch
