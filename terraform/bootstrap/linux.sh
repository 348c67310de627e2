# Makes an EC2 instance a GitHub Actions runner, watches the runner and ends the instance. No useless instance stays.
#
# Terraform puts `#!/bin/sh` and the pool's settings in front, leaves out lines that are only a comment, and packs the rest,
# because EC2 takes 16 KB of user data. The script needs curl (from 7.86 on it signs the session token), tar, gzip and
# sha256sum. The script runs as root; on systemd it runs as a unit of its own, so that the boot ends. Whatever happens, the
# script's last line is `muster: ended: REASON`.
# shellcheck shell=sh
set -eu

: "${MUSTER_BUCKET:=}"
: "${MUSTER_ARCHITECTURE:=x64}"
: "${MUSTER_VERSION:=latest}"
: "${MUSTER_USER:=runner}"
: "${MUSTER_WORK:=_work}"
: "${MUSTER_SUDO:=no}" # yes: jobs may become root by sudo, without a password
: "${MUSTER_DOCKER_GROUP:=yes}" # yes: where Docker is installed, jobs may use it, and so become root
: "${MUSTER_ALLOW_UNVERIFIED:=no}" # yes: an archive whose digest nobody tells is installed all the same
: "${MUSTER_HOOK_STARTED:=}"
: "${MUSTER_HOOK_COMPLETED:=}"
: "${MUSTER_PRE_INSTALL:=}"
: "${MUSTER_POST_INSTALL:=}"
: "${MUSTER_PROXY_HTTP:=}"
: "${MUSTER_PROXY_HTTPS:=}"
: "${MUSTER_PROXY_NONE:=}"
: "${MUSTER_MAX_LIFETIME:=86400}" # the instance ends after so many seconds without a job
: "${MUSTER_BOOT_DEADLINE:=300}" # seconds for the secret and the installation, then for the runner to listen
# Seconds in which denials are no failure: a policy that asks for a secret's tag also denies a secret that does not exist yet.
: "${MUSTER_DENIED_DEADLINE:=$MUSTER_BOOT_DEADLINE}"
: "${MUSTER_REPORT_STAGES:=no}" # yes: in a tag, by one call of ec2:CreateTags
: "${MUSTER_WATCH:=5}" # seconds between two looks
: "${MUSTER_HOME:=/opt/actions-runner}"
: "${MUSTER_STATE:=/run/muster}"
: "${MUSTER_CONSOLE:=/dev/console}"
: "${MUSTER_CLOUD:=/var/lib/cloud}"
# Seconds in which Docker must answer, if it is installed: at most half of the boot deadline.
: "${MUSTER_DOCKER_WAIT:=$((MUSTER_BOOT_DEADLINE < 240 ? MUSTER_BOOT_DEADLINE / 2 : 120))}"
: "${MUSTER_TAKEN:=120}" # seconds in which a job that was taken gets its worker
: "${MUSTER_UNIT=muster-box}" # the systemd unit that runs this script; empty: no unit
: "${MUSTER_END:=}" # for tests: a command in place of the power switch
: "${MUSTER_PATIENCE:=100}" # seconds for one way to power off: a little more than systemd gives a unit to stop
: "${MUSTER_SYSTEMD:=/run/systemd/system}" # exists while systemd runs
: "${MUSTER_SYSRQ:=/proc/sysrq-trigger}"
: "${MUSTER_SUDOERS:=/etc/sudoers.d}"
: "${MUSTER_IMDS:=http://169.254.169.254}"
: "${MUSTER_GITHUB:=https://github.com}"
: "${MUSTER_GITHUB_API:=https://api.github.com}"
: "${AWS_ENDPOINT_URL:=}" # SSM, S3 and EC2 at one address

# --- words and the end

# `say` starts no process, because a process could still print after the script's last line.
say() {
  printf 'muster: %s\n' "$*" 2>/dev/null || :
  printf 'muster: %s\n' "$*" 2>/dev/null >>"$MUSTER_CONSOLE" || :
}

# Milliseconds since the boot, by a clock that nobody sets. The time of day jumps while a machine boots.
now_ms() {
  read -r up _ </proc/uptime
  echo $((${up%.*} * 1000 + 1${up#*.}0 - 1000))
}

# The whole seconds that have passed since `$1` (in milliseconds, as `now_ms` gives them).
since() { echo $((($(now_ms) - $1) / 1000)); }

# Picks the line that names the cause from a program's output. It skips stack frames and lines that every end prints.
cause() {
  grep -vE '^[[:space:]]*($|at |--- End of |Exiting|Restarting|Runner listener exit|tar: (Exiting|Error is not|Child)|curl: \(23\)|gzip: stdin: unexpected end|[0-9]+ packages? not|E: Sub-process)' "$1" 2>/dev/null |
    tail -n 1 | sed 's/^[[:space:]]*//' | cut -c 1-250
}

stage() {
  at=$(now_ms)
  echo "$1=$at" 2>/dev/null >>stages || :
  say "stage $1 $(((at - began) / 1000)).$(printf %03d $(((at - began) % 1000)))s"
}

# Sleeps. The shell hears a signal at once, because it waits for a process in the background.
nap() {
  sleep "$1" &
  wait $! || :
}

# Whether it is time for another look. If so, the time of the look is noted.
due() { [ "$(since "$looked")" -ge "$MUSTER_WATCH" ] && looked=$(now_ms); }

# end REASON [CODE]: ends the script. The reason becomes one line, cut to a length that fits into a list.
end() {
  reason=$(printf %s "$1" | tr -s '[:space:]' ' ' | cut -c 1-400)
  # shellcheck disable=SC2086 # a list
  [ -z "$errands" ] || wait $errands || :
  exit "${2:-0}"
}

fail() { end "$1" 1; }

# Runs a command that fails only when the machine is broken. Its output is then the reason of the end.
must() {
  what=$1
  shift
  said=$("$@" 2>&1) || fail "$what: ${said:-it failed}"
}

# put FILE TEXT [MODE]: writes the file. After a power cut the file is complete or absent.
put() {
  said=$({ printf '%s\n' "$2" | tee "$1.new" >/dev/null && chmod "${3:-644}" "$1.new"; } 2>&1) || fail "cannot write $1: $said"
  sync "$1.new" 2>/dev/null || sync
  mv "$1.new" "$1"
  sync "${1%/*}" 2>/dev/null || sync
}

# `shutdown` comes second: a program that holds a lock of systemd's forbids it, as apt does while it installs. No lock forbids
# the start of a target.
# https://systemd.io/INHIBITOR_LOCKS/
# shellcheck disable=SC2329 # through finish
switch_off() {
  case $1 in
  0) systemctl --no-block --job-mode=replace-irreversibly start poweroff.target || shutdown -h now || poweroff || halt -p ;;
  1) systemctl poweroff -ff || poweroff -f || halt -fp ;;
  *)
    # Sync, mount read-only, power off. Root may always use these keys here, even where the keyboard may not.
    # https://docs.kernel.org/admin-guide/sysrq.html
    for key in s u o; do
      echo "$key" >>"$MUSTER_SYSRQ"
      sleep 1
    done
    ;;
  esac
}

# shellcheck disable=SC2329 # the trap's
finish() {
  trap - EXIT
  trap '' HUP INT TERM
  set +e
  for helper in $preparing $reading; do
    kill "$helper" 2>/dev/null
    wait "$helper" 2>/dev/null
  done
  if [ -z "$reason" ]; then
    said=$(cause errors)
    reason="failed unexpectedly, at: $step${said:+; the last error was: $said}"
  fi
  say "ended: $reason"
  exec >/dev/null 2>&1 # hides the shell's messages about killed processes
  # The script tries again for ever. If somebody stops the unit meanwhile, the end of the unit powers the machine off.
  [ "$in_unit" = no ] || trap 'exit 0' TERM
  round=0
  while :; do
    if [ -n "$MUSTER_END" ]; then
      ! sh -c "$MUSTER_END" || exit
    else
      switch_off "$round"
      if [ "$stopped$in_unit" = yesyes ]; then exit; fi
    fi
    nap "$MUSTER_PATIENCE"
    round=$((round + 1))
  done
}

# EC2 has pressed the power button, or somebody stops the script. The runner gets 10 s to tell GitHub what becomes of its job.
# shellcheck disable=SC2329 # the trap's
leave() {
  trap '' HUP INT TERM
  stopped=yes
  if [ -n "$runner" ]; then
    signal TERM "$(processes Runner.Listener)"
    for _ in 1 2 3 4 5 6 7 8 9 10; do
      [ ! -e exited ] || break
      sleep 1
    done
  fi
  reason='stopped by a signal'
  exit 1
}

reason='' blamed='' step='begin' preparing='' reading='' errands='' runner='' stopped=no began=$(now_ms)
looked=$began in_unit=no
[ "${1:-}" != in-its-unit ] || in_unit=yes
trap finish EXIT
trap leave HUP INT TERM
# The process that reads our output may die, so SIGPIPE is caught. It is not ignored (''), because the runner would inherit that.
trap : PIPE

# --- the instance's metadata

# A string field of the JSON on stdin.
field() {
  tr -d '\n' | sed -nE 's/.*"'"$1"'" *: *"(([^"\\]|\\.)*)".*/\1/p' | sed 's/\\\(.\)/\1/g'
}

# Runs curl. $answer is the body, $code the status. 000: there was no complete answer, and $fault says why.
ask() {
  fault=
  if answer=$("$@" -sS -w '\n%{http_code}' 2>&1); then
    code=${answer##*"$nl"}
    answer=${answer%"$nl"*}
  else
    code=000 left=$? fault=$(printf '%s\n' "$answer" | sed -n 's/^curl: //p' | tail -n 1)
    : "${fault:=exit code $left}"
    answer=
    echo "curl: $fault" >>errors || :
  fi
}

# shellcheck disable=SC2329 # through ask
imds_curl() {
  about=$1
  shift
  printf 'header = "X-aws-ec2-metadata-token%s"\n' "$about" | curl -K - --noproxy '*' --connect-timeout 2 -m 4 "$@"
}

# imds PATH: sets $answer. Returns 1 if the path does not exist, or if nobody answers.
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

# Takes the credentials of the instance's role from the last answer.
take_credentials() {
  key=$(printf %s "$answer" | field AccessKeyId)
  key_secret=$(printf %s "$answer" | field SecretAccessKey)
  session=$(printf %s "$answer" | field Token)
}

# must_imds PATH: the same for a path that must exist. It may appear only some seconds after the launch.
must_imds() {
  for _ in 1 2 3 4 5 6 7 8; do
    if imds "$1" && [ -n "$answer" ]; then return; fi
    nap 1
  done
  fail "the metadata service does not tell $1 (status $code${fault:+, curl: $fault})"
}

# --- AWS

# The keys and the session token go in by stdin, because every user of the machine can read a command line.
# shellcheck disable=SC2329 # through ask and unpack
aws() {
  service=$1
  shift
  printf 'user = "%s:%s"\nheader = "x-amz-security-token: %s"\n' "$key" "$key_secret" "$session" |
    curl -K - --aws-sigv4 "aws:amz:$region:$service" --connect-timeout 3 "$@"
}

endpoint() {
  case $region in
  cn-*) domain=amazonaws.com.cn ;;
  eusc-*) domain=amazonaws.eu ;;
  *) domain=amazonaws.com ;;
  esac
  printf %s "${AWS_ENDPOINT_URL:-https://$1.$region.$domain}"
}

ssm() {
  ask aws ssm -m 10 -H "X-Amz-Target: AmazonSSM.$1" -H 'Content-Type: application/x-amz-json-1.1' \
    --data "$2" "$(endpoint ssm)/"
  error=$(printf %s "$answer" | field __type)
  error=${error##*#}
  if [ "$code" = 000 ]; then seen="no answer (curl: $fault)"; else seen="${error:-no word} (status $code)"; fi
  [ "$code" = 200 ]
}

# Waits for the secret that muster stores for this instance, and hands it over by the pipe `secret`. Runs in a process of its own,
# which ends with that: a reusable runner's secret registers further runners, so no process that jobs could look into may hold it.
# If this fails, the file `failed` says why.
read_secret() {
  pause=1000 denied_at=
  while ! ssm GetParameter "{\"Name\":\"$name\",\"WithDecryption\":true}"; do
    case $code$error in
    403* | 400AccessDenied*)
      seen="$seen; check the instance profile's policy"
      : "${denied_at:=$(now_ms)}"
      [ "$(since "$denied_at")" -lt "$MUSTER_DENIED_DEADLINE" ] || give_up "no secret $name: $seen"
      ;;
    000*)
      case $fault in '(4)'*) give_up "curl of this image cannot sign for AWS: $fault" ;; esac
      denied_at=
      ;;
    *) denied_at= ;;
    esac
    [ "$(since "$began")" -lt "$MUSTER_BOOT_DEADLINE" ] || give_up "no secret $name within $MUSTER_BOOT_DEADLINE s: $seen"
    # A fleet boots together, so each instance waits up to a quarter more or less, by chance.
    ms=$((pause * (75 + $(od -An -N1 -tu1 /dev/urandom) * 50 / 255) / 100))
    nap "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
    pause=$((pause < 3000 ? pause * 2 : 5000))
  done
  [ -n "$(printf %s "$answer" | field Value)" ] || give_up "the secret $name is empty"
  stage secret
  : >has-secret
  printf %s "$answer" | field Value >secret
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

# Runs a command as MUSTER_USER. Secrets travel in the environment, never on a command line. If $become is `exec`, the command takes
# the place of this process.
as_user() {
  if [ "$switch" = no ]; then
    $become "$@"
  elif command -v runuser >/dev/null; then
    $become env HOME="$user_home" runuser -u "$MUSTER_USER" -- "$@"
  else
    # shellcheck disable=SC2016 # for the inner shell
    $become su -s /bin/sh -c 'exec "$@"' -- "$MUSTER_USER" sh "$@"
  fi
}

# header NAME: a header of the last download's answer.
header() { tr -d '\r' <headers | awk -v name="$1:" 'tolower($1) == name { v = $2 } END { print v }'; }

# Runs curl. The archive is hashed and unpacked while it arrives. Sets $status and $digest. Returns 0 if all of it is in $new.
unpack() {
  corrupt=
  rm -rf "$new" pipe broken
  as_user mkdir "$new"
  mkfifo pipe
  : >headers
  sha256sum <pipe >sum &
  hashing=$!
  : >unpacking
  { "$@" -fsS -m 600 --speed-limit 10000 --speed-time 20 -D headers 2>>unpacking || : >broken; } | tee pipe |
    (cd "$new" && as_user tar -xzf -) 2>>unpacking || : >broken
  wait "$hashing" || :
  read -r digest _ <sum || :
  status=$(awk '/^HTTP\// { s = $2 } END { print s ? s : "000" }' headers)
  [ ! -e broken ] && [ -e "$new/run.sh" ]
}

# install DIGEST VERSION ETAG: puts the unpacked runner in the place of the image's, if the digest is right.
install() {
  if [ "$digest" != "$1" ]; then
    corrupt="it is corrupt: SHA-256 $digest, not $1"
    return 1
  fi
  for part in "$new"/*; do
    rm -rf "${MUSTER_HOME:?}/${part##*/}"
    mv "$part" "$MUSTER_HOME/"
  done
  echo "$2" >"$MUSTER_HOME/.muster-version"
  echo "$3" >"$MUSTER_HOME/.muster-etag"
}

in_image() { [ ! -x "$MUSTER_HOME/run.sh" ] || cat "$MUSTER_HOME/.muster-$1" 2>/dev/null || :; }

# The controller names the release that this instance gets, and the SHA-256 of its archive, in a tag. A controller that knows none (its
# cache is off) sets no such tag. Then $wanted stays empty, and the archive in the cache is compared with its own metadata only, which
# shows corruption but no forger. Later versions of muster may add fields to the end of the tag.
name_release() {
  release_tag=meta-data/tags/instance/muster:release wanted=
  for _ in 1 2 3 4 5 6 7 8; do
    if imds "$release_tag" || [ "$code" = 404 ]; then break; fi
    nap 1
  done
  case $code in
  200) ;;
  404) return 0 ;;
  *) give_up "the metadata service does not tell $release_tag (status $code${fault:+, curl: $fault})" ;;
  esac
  release=$(printf %s "$answer" | sed -nE 's/^version=([0-9]+\.[0-9]+\.[0-9]+),sha256=([0-9a-f]{64})(,.*)?$/\1 \2/p')
  if [ -n "$release" ]; then
    MUSTER_VERSION=${release% *} wanted=${release#* }
  else
    say "the tag muster:release is left aside, because it names no version with a SHA-256: $answer"
  fi
}

from_s3() {
  [ -n "$MUSTER_BUCKET" ] || return 1
  path=runners/linux-$MUSTER_ARCHITECTURE/$MUSTER_VERSION.tar.gz
  what=s3://$MUSTER_BUCKET/$path
  url=$(endpoint s3)
  if [ -n "$AWS_ENDPOINT_URL" ]; then url=$url/$MUSTER_BUCKET; else url=https://$MUSTER_BUCKET.${url#*//}; fi
  etag=
  [ -n "$wanted" ] || etag=$(in_image etag)
  for _ in 1 2; do
    # This is the hash of an empty body. curl before 7.88 does not add it.
    if unpack aws s3 -H 'x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855' \
      ${etag:+-H "If-None-Match: $etag"} "$url/$path"; then
      version=$MUSTER_VERSION
      [ -n "$wanted" ] || version=$(header x-amz-meta-version)
      ! install "${wanted:-$(header x-amz-meta-sha256)}" "$version" "$(header etag)" || return 0
      break
    fi
    case $status in 304) return 0 ;; 2?? | 4??) break ;; esac
    sleep 1
  done
  missed "$what cannot be had (status $status)"
  return 1
}

from_github() {
  corrupt=
  version=$MUSTER_VERSION
  releases=$MUSTER_GITHUB/actions/runner/releases
  if [ "$version" = latest ]; then
    version=$(curl -sS -o /dev/null -w '%{redirect_url}' -m 20 --retry 3 "$releases/latest" 2>unpacking) || :
    version=${version##*/v}
    case $version in
    [0-9]*.[0-9]*.[0-9]*) ;;
    *)
      missed 'GitHub does not tell its latest release'
      return 1
      ;;
    esac
    [ "$version" != "$(in_image version)" ] || return 0
  fi
  archive=actions-runner-linux-$MUSTER_ARCHITECTURE-$version.tar.gz
  [ -n "$wanted" ] || wanted=$(curl -fsS -m 20 --retry 1 "$MUSTER_GITHUB_API/repos/actions/runner/releases/tags/v$version" 2>unpacking |
    tr , '\n' | awk -v name="\"$archive\"" 'index($0, name) { on = 1 }
      on && /"digest"/ && match($0, /sha256:[0-9a-f]+/) { print substr($0, RSTART + 7, RLENGTH - 7); exit }') || :
  if [ -z "$wanted" ]; then
    if [ "$MUSTER_ALLOW_UNVERIFIED" != yes ]; then
      missed "$archive is not installed, because nobody tells its SHA-256: set spec.bucket, or bootstrap.allowUnverified"
      return 1
    fi
    say "nobody tells the SHA-256 of $archive, and this pool has bootstrap.allowUnverified: taken as it comes"
  fi
  for _ in 1 2 3; do
    if unpack curl -L --connect-timeout 10 "$releases/download/v$version/$archive"; then
      ! install "${wanted:-$digest}" "$version" '' || return 0
    fi
    case $status in 4??) break ;; esac
    sleep 2
  done
  missed "$archive cannot be had (status $status)"
  return 1
}

# Notes from which place the runner program could not be loaded, and why.
missed() {
  said=${corrupt:-$(cause unpacking | cut -c 1-150)}
  # When the disk is full, tar may only say that it wrote less than it should.
  case $said$(df -Pk "$MUSTER_HOME" | awk 'NR == 2 && $4 < 1024 { print "full" }') in
  tar:*full) said="no space left on the disk of $MUSTER_HOME ($said)" ;;
  esac
  why="${why:+$why; }$1${said:+: $said}"
  say "$1${said:+: $said}"
}

give_up() {
  echo "$1" >failed
  exit 1
}

# script NAME TEXT: runs the operator's script. Its output goes to a file: a program that it leaves running would hold a pipe open.
script() {
  [ -n "$2" ] || return 0
  echo "$1" >doing
  script_at=$(now_ms) left=0
  (cd / && sh -c "$2") </dev/null >output 2>&1 || left=$?
  cat output
  [ "$left" = 0 ] || give_up "$1 failed with exit code $left$(it_said output)"
  took=$(since "$script_at")
  [ "$((took * 2))" -lt "$MUSTER_BOOT_DEADLINE" ] ||
    say "$1 took $took s of the $MUSTER_BOOT_DEADLINE s that this pool's bootDeadline leaves: make it longer, or put what $1 does into the image"
}

# Starts Docker, whether the image or preInstall installed it. Not every package starts Docker.
start_docker() {
  command -v docker >/dev/null || return 0
  if command -v systemctl >/dev/null; then set -- systemctl start docker; else set -- service docker start; fi
  "$@" >docker.said 2>&1 || : >no-docker
}

# A job may come as soon as the runner listens, so the script waits for Docker. But a job that needs no Docker must not suffer
# from a slow start of Docker: the script waits only until nine tenths of bootDeadline have passed. run.sh then waits on.
wait_for_docker() {
  echo 'the start of Docker' >doing
  docker_at=$(now_ms)
  while kill -0 "$starting" 2>/dev/null && [ "$(since "$docker_at")" -lt "$MUSTER_DOCKER_WAIT" ] &&
    [ "$(since "$began")" -lt "$((MUSTER_BOOT_DEADLINE * 9 / 10))" ]; do
    nap 0.2
  done
}

may_sudo() {
  command -v sudo >/dev/null || give_up 'bootstrap.sudo is set, and this image has no sudo: let preInstall install it'
  printf '%s ALL=(ALL:ALL) NOPASSWD: ALL\n' "$MUSTER_USER" >"$MUSTER_SUDOERS/90-muster"
  chmod 440 "$MUSTER_SUDOERS/90-muster"
  said=$(as_user sudo -n true 2>&1) || give_up "bootstrap.sudo is set, and sudo refuses $MUSTER_USER: $said"
}

# Installs the runner while the script waits for the secret. If this fails, the file `failed` says why.
prepare() {
  why=
  script preInstall "$MUSTER_PRE_INSTALL"
  echo 'the installation' >doing
  for tool in tar gzip sha256sum awk; do
    command -v "$tool" >/dev/null || give_up "this image has no $tool: let preInstall install it"
  done
  start_docker &
  starting=$!
  if [ "$switch" = yes ]; then
    id "$MUSTER_USER" >/dev/null 2>&1 || said=$(useradd -m -s /bin/sh "$MUSTER_USER" 2>&1) ||
      give_up "user $MUSTER_USER cannot be made: $said"
    [ "$MUSTER_DOCKER_GROUP" != yes ] || ! getent group docker >/dev/null || usermod -aG docker "$MUSTER_USER" || :
    chown "$MUSTER_USER" "$MUSTER_HOME"
  fi
  user_home=$(eval "echo ~$MUSTER_USER")
  [ "$switch$MUSTER_SUDO" != yesyes ] || may_sudo
  name_release
  had=$(in_image version)
  new=$MUSTER_HOME/.muster-new
  if [ -n "$had" ] && [ "$had" = "$MUSTER_VERSION" ]; then
    say "runner $had is in the image"
  elif ! from_s3 && ! from_github; then
    [ -n "$had" ] || give_up "no runner: $why"
    say "runner $had of the image must do"
  fi
  rm -rf "$new"
  # Later, the runner's directory is the jobs'.
  in_image version >runs
  stage unpacked
  script postInstall "$MUSTER_POST_INSTALL"
  wait_for_docker
}

# --- the runner, running

# Runs in a process of its own, so that its exports do not reach the rest of the script. The last command replaces this process, and
# with it all that the process knew of the secret. What is left for an ephemeral runner is the JIT configuration in the environment
# of run.sh and of its children: GitHub's runner takes it there or on the command line.
run() {
  cd "$MUSTER_HOME"
  env | grep -E '^(https?|no)_proxy=' >>.env || :
  [ -z "$MUSTER_HOOK_STARTED" ] || export ACTIONS_RUNNER_HOOK_JOB_STARTED="$MUSTER_HOOK_STARTED"
  [ -z "$MUSTER_HOOK_COMPLETED" ] || export ACTIONS_RUNNER_HOOK_JOB_COMPLETED="$MUSTER_HOOK_COMPLETED"
  # Without these variables, run.sh exits with 0 even if GitHub refuses the release as too old.
  export RUNNER_MANUALLY_TRAP_SIG=1 ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1
  # Docker may run and still refuse the runner's user. With this variable, run.sh waits for `docker ps` to work, at most this
  # many seconds, and then goes on without a message.
  if [ "$MUSTER_DOCKER_GROUP" = yes ] && command -v docker >/dev/null && [ ! -e "$MUSTER_STATE/no-docker" ]; then
    export RUNNER_WAIT_FOR_DOCKER_IN_SECONDS="$MUSTER_DOCKER_WAIT"
  fi
  [ "$(id -u)" != 0 ] || [ "$switch" = yes ] || export RUNNER_ALLOW_RUNASROOT=1
  secret=$(cat "$MUSTER_STATE/secret")
  case $secret in
  '{'*) # reusable
    of() { printf %s "$secret" | field "$1"; }
    ACTIONS_RUNNER_INPUT_TOKEN=$(of token)
    export ACTIONS_RUNNER_INPUT_TOKEN
    group=$(of group)
    # Only the pool's labels: with others, the runner would get jobs that are not for this pool.
    as_user ./config.sh --unattended --replace --disableupdate --no-default-labels --url "$(of url)" --name "$(of name)" \
      --labels "$(printf %s "$secret" | sed -n 's/.*"labels":\[\([^]]*\)\].*/\1/p' | tr -d '"')" \
      ${group:+--runnergroup "$group"} --work "$MUSTER_WORK"
    unset ACTIONS_RUNNER_INPUT_TOKEN
    ;;
  *) export ACTIONS_RUNNER_INPUT_JITCONFIG="$secret" ;;
  esac
  become='exec'
  as_user ./run.sh
}

start() {
  step='start the runner'
  (
    status=0
    # This command stands alone, because `set -e` has no effect on a command before `||`.
    (run) >log 2>&1 </dev/null &
    wait $! || status=$?
    : >exited
    exit "$status"
  ) &
  runner=$!
}

# processes NAME: this runner's processes of that name. A process whose program cannot be read may be ours, so it counts, unless
# it is dead: a dead process has no command line.
processes() {
  grep -slx "$1" /proc/[0-9]*/comm | while IFS=/ read -r _ _ pid _; do
    case $(readlink "/proc/$pid/exe") in
    "$MUSTER_HOME"/*) echo "$pid" ;;
    '') ! grep -qs . "/proc/$pid/cmdline" || echo "$pid" ;;
    esac
  done
}

# Whether a job runs. A job that was just taken has no worker yet. If the job never gets a worker, `Running job` stays the last
# line of the log.
busy() {
  [ -z "$(processes Runner.Worker)" ] || return 0
  line=$(tail -n 1 log | grep '^[-0-9: ]*Z: Running job: ') || line=
  [ "$line" = "$taken" ] || taken=$line taken_at=$(now_ms)
  [ -n "$taken" ] && [ "$(since "$taken_at")" -lt "$MUSTER_TAKEN" ]
}

# shellcheck disable=SC2086 # a list
signal() { [ -z "$2" ] || kill "-$1" $2 2>>errors || :; }

# Stops the listener so that no job can begin. Returns 1 if a job runs; the listener then goes on.
freeze() {
  listener=$(processes Runner.Listener)
  signal STOP "$listener"
  busy || return 0
  signal CONT "$listener"
  return 1
}

# drain REASON: ends the instance, unless a job runs. A job may come at any moment, even to a listener that was asked to leave.
# The signal is SIGTERM: a shell ignores SIGINT for its background processes, and .NET goes on to ignore an ignored signal.
drain() {
  freeze || return 0
  if [ -z "$listener" ]; then
    # The listener may be about to start, and could take a job while the script waits for its end.
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

# it_said FILE: the last words in the file, in a form that ends a sentence.
it_said() {
  said=$(cause "$1")
  [ -z "$said" ] || printf '; it said: %s' "$said"
}

# Whether this instance should end. While a job runs, the script says this once.
look() {
  why='' spot=
  if imds meta-data/spot/instance-action; then
    spot="spot takes this instance at $(printf %s "$answer" | field time)"
    why=$spot
  elif imds "$drain_tag"; then
    why="drained: $answer"
  elif imds meta-data/events/recommendations/rebalance; then
    why='spot recommends another instance'
  fi
  if busy; then
    idle_at=$(now_ms)
    case $why in
    "$warned" | '') ;;
    "$spot") say "$spot; the job on it will be lost" ;;
    *) say "$why; it waits for the job to end" ;;
    esac
    warned=$why
  elif [ -n "$why" ]; then
    drain "$why"
  elif [ "$(since "$idle_at")" -ge "$MUSTER_MAX_LIFETIME" ]; then
    drain "no job for $MUSTER_MAX_LIFETIME s"
  elif [ "$listening" = no ] && [ "$(since "$started")" -ge "$MUSTER_BOOT_DEADLINE" ]; then
    drain "registration failed: no listener after $MUSTER_BOOT_DEADLINE s$(it_said log)"
  fi
}

# Writes the stages and the runner's version into one tag of this instance. The times are times of day, by the clock as it is set now.
tag_stages() {
  ms=$(date +%s%3N) # GNU; others print the format
  case $ms in *[!0-9]* | ??????????) ms=$(date +%s)000 ;; esac
  times=$(awk -F= -v by="$((ms - $(now_ms)))" '{ printf "%s%s=%.0f", (NR > 1 ? "," : ""), $1, $2 + by }' stages)
  runs=$(cat runs 2>/dev/null) || :
  case $runs in '' | *[!0-9.]*) ;; *) times=$times,version=$runs ;; esac
  [ -z "$blamed" ] || times="$times,$blamed=$ms"
  ask aws ec2 -m 10 --data Action=CreateTags --data Version=2016-11-15 --data "ResourceId.1=$id" \
    --data Tag.1.Key=muster%3Astages --data-urlencode "Tag.1.Value=$times" "$(endpoint ec2)/"
  [ "$code" = 200 ] || say "the tag muster:stages was refused (status $code)"
}

# blame: whether the machine was at fault at the runner's end: a full disk, or a worker that crashed. The reason of the end says so, and
# so does the tag of the stages, where the pool has it: muster then takes the machine for the cause, if the job was cut short.
blame() {
  blamed=
  # The listener's console tells a crash of the worker as a job that failed, so its log is read. A job may have put anything there.
  # The names have the time, so the last one is the newest.
  newest=
  for each in "$MUSTER_HOME"/_diag/Runner_*.log; do newest=$each; done
  if [ -f "$newest" ] && [ ! -L "$newest" ] && command -v timeout >/dev/null; then
    last=$(timeout 5 tail -c 1000000 "$newest" 2>/dev/null |
      grep -aE 'Worker finished for job|worker encounter an unhandled exception' | tail -n 1) || last=
    case $last in *'unhandled exception'*) blamed=crashed ;; esac
  fi
  full=$(df -Pk "$MUSTER_HOME" 2>/dev/null | awk 'NR == 2 && $4 < 1024 { print "full" }') || full=
  [ "$full" != full ] || blamed=disk-full
  if [ -n "$blamed" ] && [ "$MUSTER_REPORT_STAGES" = yes ]; then
    # The tag of the start must not come last.
    # shellcheck disable=SC2086 # a list
    [ -z "$errands" ] || wait $errands || :
    # The credentials of the start hold for six hours.
    if imds meta-data/iam/security-credentials/ && imds "meta-data/iam/security-credentials/$answer"; then take_credentials; fi
    tag_stages
  fi
}

hear() {
  if [ "$listening" = no ] && grep -qs 'Listening for Jobs' log; then
    listening=yes
    stage listener
    wait "$reading" || : # it ended when the runner took the secret
    reading=
    if [ -e no-docker ]; then
      say "Docker does not start, and jobs that need it will fail$(it_said docker.said)"
    elif grep -q '^Waiting for docker' log && ! grep -q '^Docker is ready' log; then
      say "Docker does not answer $MUSTER_USER after $MUSTER_DOCKER_WAIT s, and jobs that need it will fail"
    fi
    if [ "$MUSTER_REPORT_STAGES" = yes ]; then
      tag_stages &
      errands="$errands $!"
    fi
  fi
  # The runner updates itself only if its server asks for it. JIT configurations of github.com forbid this so far.
  if [ "$updates" = no ] && grep -qs '^Runner update in progress' log; then
    updates=yes
    say "the runner updates itself before it takes a job: run \`muster sync\`, or write a newer bootstrap.version"
  fi
}

watch() {
  step='watch the runner'
  listening=no updates=no taken='' warned='' started=$(now_ms)
  idle_at=$started looked=$started
  # A job may have killed run.sh and still run.
  until [ -e exited ] && freeze; do
    hear
    if due; then look; fi
    if [ "$listening" = yes ]; then nap "$MUSTER_WATCH"; else nap 0.2; fi
  done
  hear
  status=0
  wait "$runner" || status=$?
  # run.sh's helper turns most of the listener's exit codes into 0, and prints the code in its last lines.
  told=$(tail -n 2 log | sed -n 's/^Exiting with unknown error code: //p
    s/^Runner listener exit with terminated.*/1/p; s/^Runner listener exit with Session.*/5/p')
  status=${told:-$status}
  # Releases before 2.333 have no exit code of their own for this.
  if grep -qs 'is deprecated and cannot receive messages' log; then status=7; fi
  [ "$status" != 7 ] ||
    fail "GitHub refuses runner $(cat runs) as too old: run \`muster sync\`, or write a newer bootstrap.version"
  [ "$listening" = yes ] || fail "registration failed: the runner left with exit code $status before it listened$(it_said log)"
  blame
  [ "$status" = 0 ] || fail "the runner failed with exit code $status$(it_said log)${blamed:+; at fault: $blamed}"
  end "the runner is done${blamed:+; at fault: $blamed}"
}

# --- all of it

# cloud-init runs user data only at an instance's first boot. This script must run at later boots too, to end the instance. An
# instance from an image of this one has another id: there, cloud-init runs the user data, and the script below does nothing.
come_again() {
  again=$MUSTER_CLOUD/scripts/per-boot/muster
  if [ -d "${again%/*}" ] && [ ! -s "$again" ]; then
    # shellcheck disable=SC2016 # for the other boot
    put "$again" "$(printf '#!/bin/sh\ncase $(readlink %s/instance) in "%s") exec sh %s ;; esac' \
      "$MUSTER_CLOUD" "$(readlink "$MUSTER_CLOUD/instance")" "$1")" 755
  fi
}

# hand_over SCRIPT: runs the script as a unit of systemd, for three reasons. The boot ends: otherwise its last step would last as
# long as the instance, and `cloud-init status --wait` in a job would wait for ever. The power button stops our unit in seconds;
# cloud-init's takes 90. If the shell dies, the end of the unit still ends the instance. Nobody can stop the unit by hand: after
# an upgrade of packages, needrestart restarts the services that use them, and this would end the instance under a job.
hand_over() {
  [ -n "$MUSTER_UNIT" ] && [ -d "$MUSTER_SYSTEMD" ] && [ -f "$1" ] || return 0
  if said=$(systemd-run --quiet --unit="$MUSTER_UNIT" --description='The runner of this instance' -p After=network-online.target \
    -p KillMode=mixed -p TimeoutStopSec=30 -p OOMPolicy=continue -p TasksMax=infinity \
    -p RefuseManualStop=yes -p SuccessAction=poweroff -p FailureAction=poweroff sh "$1" in-its-unit 2>&1); then
    trap - EXIT
    exit
  fi
  # A lost answer is no refusal: the unit may have started. Two copies of this script would end each other.
  case $(systemctl is-active "$MUSTER_UNIT" 2>/dev/null) in
  active | activating) trap - EXIT && exit ;;
  esac
  say "it stays in the boot's last step, since systemd takes no unit: $said"
}

nl='
'
token='' token_at=0 become='' drain_tag=meta-data/tags/instance/muster:drain switch=no
if [ "$(id -u)" = 0 ] && [ "$MUSTER_USER" != root ]; then switch=yes; fi
if [ "$in_unit" = no ]; then
  self=$(readlink -f "$0") || self=$0
  come_again "$self"
  hand_over "$self"
fi
rm -rf "${MUSTER_STATE:?}" || :
must "cannot make $MUSTER_STATE" mkdir -p "$MUSTER_STATE"
chmod 700 "$MUSTER_STATE"
must "cannot make $MUSTER_HOME" mkdir -p "$MUSTER_HOME"
MUSTER_HOME=$(cd "$MUSTER_HOME" && pwd -P)
cd "$MUSTER_STATE"
# On a full file system a directory can still be made, so the script also writes a file.
must "cannot write $MUSTER_STATE" dd if=/dev/zero of=errors bs=4096 count=16 status=none
: >errors
exec 2>>errors
stage script

command -v curl >/dev/null || fail 'this image has no curl: 7.86 or newer is needed'
version=$(curl --version | sed -n '1s/^curl \([0-9]*\.[0-9]*\).*/\1/p') || :
[ -z "$version" ] || [ "$((${version%.*} * 1000 + ${version#*.}))" -ge 7086 ] ||
  fail "curl $version of this image is too old: from 7.86 on it can sign with a session token. Take a newer image, or put a newer curl into this one"

no_proxy=${no_proxy:+$no_proxy,}${MUSTER_PROXY_NONE:+$MUSTER_PROXY_NONE,}169.254.169.254
[ -z "$MUSTER_PROXY_HTTP" ] || export http_proxy="$MUSTER_PROXY_HTTP" no_proxy
[ -z "$MUSTER_PROXY_HTTPS" ] || export https_proxy="$MUSTER_PROXY_HTTPS" no_proxy

must_imds dynamic/instance-identity/document
id=$(printf %s "$answer" | field instanceId)
region=$(printf %s "$answer" | field region)
[ -n "$id" ] && [ -n "$region" ] || fail 'the identity document of this instance names no instance or no region'
used=$MUSTER_HOME/.muster-used
if [ "$(cat "$used" 2>/dev/null)" = "$id" ]; then fail 'second boot: this instance had its turn'; fi
put "$used" "$id"
must_imds meta-data/tags/instance/muster:cluster
cluster=$answer
must_imds meta-data/tags/instance/muster:pool
say "instance $id of pool $answer in cluster $cluster, $region"
must_imds meta-data/iam/security-credentials/
must_imds "meta-data/iam/security-credentials/$answer"
take_credentials
name=/muster/$cluster/runners/$id

mkfifo -m 600 secret
(prepare) 2>>preparing &
preparing=$!
(read_secret) &
reading=$!
step='prepare the runner'
until [ -n "$errands" ] && ! kill -0 "$preparing" 2>/dev/null; do
  kill -0 "$reading" 2>/dev/null || [ -s failed ] || fail "the secret $name could not be read$(it_said errors)"
  [ ! -s failed ] || fail "$(cat failed)"
  if [ -z "$errands" ] && [ -e has-secret ]; then
    delete_secret &
    errands=$!
  fi
  # Without a secret, the process that waits for it says at the deadline what SSM answered last.
  if [ -n "$errands" ] && [ "$(since "$began")" -ge "$MUSTER_BOOT_DEADLINE" ]; then
    step=$(cat doing) said=
    case $step in *Install) said=$(it_said output) ;; esac
    fail "$step was still under way $MUSTER_BOOT_DEADLINE s after the start, and this pool's bootDeadline leaves no more$said"
  fi
  if due && imds "$drain_tag"; then
    if [ -n "$errands" ]; then lacked=runner; else lacked=secret; fi
    end "drained before it had a $lacked: $answer"
  fi
  nap 0.2
done
if ! wait "$preparing"; then
  [ -s failed ] || fail "the runner could not be prepared$(it_said preparing)"
  fail "$(cat failed)"
fi
preparing=
user_home=$(eval "echo ~$MUSTER_USER")
start
watch
