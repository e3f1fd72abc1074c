#!/bin/bash
# shellcheck disable=SC2317  # finish and what it calls are reached by the trap
# What a BISON Spot machine does from its first second to its last; container/userdata.py filled in the values.
# However it ends, the machine terminates itself: by this trap, or by the deadline where even the trap cannot run.
# The last words are said in a subshell, so that no fault in them keeps the machine running.
trap 'trap "" TERM; (finish); shutdown -h now' EXIT
%%{settings}
systemd-run --quiet --on-active="$LIMIT_SECONDS" shutdown -h now || shutdown -h "+$((LIMIT_SECONDS / 60))"

set -o nounset -o pipefail
export DEBIAN_FRONTEND=noninteractive HOME=/root DOCKER_CONFIG="$FOLDER" AWS_REGION IMAGE MEMORY_MIB LOG_GROUP
started=$(date --utc +%FT%TZ)
reason="The machine's script ended early." # the failure marker's error, unless the task wrote a marker itself
interrupted=false                          # AWS takes the machine away: no marker, the next attempt starts
BISON_STACK='' BISON_MONTH='' BISON_STEP='' BISON_ATTEMPT=''
mkdir -p "$FOLDER"
exec >"$LOG" 2>&1

# ------------------------------------------------------------------------------------------------ the machine's words

say() { printf '%s %s\n' "$(date --utc +%FT%TZ)" "$*"; }

fail() {
  reason=$*
  say "FAILED: $reason"
  exit 1
}

# retry <what> <command…>: five times, 75 seconds in all, for locks and networks that come free again.
retry() {
  local what=$1 pause=5
  shift
  while ! timeout 600 "$@"; do
    ((pause <= 40)) || fail "$what failed five times; the last lines of $LOG say why."
    say "$what failed; again in $pause seconds."
    sleep "$pause"
    ((pause *= 2))
  done
}

# metadata <path>: what the machine's metadata service (version 2) knows; fails where it knows nothing.
metadata() {
  local token
  token=$(curl --silent --fail --max-time 5 --retry 3 --request PUT \
    --header 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$METADATA/api/token") &&
    curl --silent --fail --max-time 5 --retry 3 --header "X-aws-ec2-metadata-token: $token" "$METADATA/meta-data/$1"
}

# s3 <key> <curl options…>: a request for an object of the data bucket, signed with the machine's role. The credentials
# go in by a file descriptor, so that no process list shows them.
s3() {
  local key=$1 role credentials
  shift
  role=$(metadata iam/security-credentials/) &&
    credentials=$(metadata "iam/security-credentials/$role" | python3 -c '
import json, sys
found = json.load(sys.stdin)
print("user = \"{AccessKeyId}:{SecretAccessKey}\"\nheader = \"x-amz-security-token: {Token}\"".format(**found))') &&
    curl --silent --show-error --max-time 120 --retry 4 --aws-sigv4 "aws:amz:$AWS_REGION:s3" \
      --header 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --config <(printf '%s' "$credentials") "$@" "$BUCKET_URL/$key"
}

# has_marker <success|failure>: whether this attempt left it. Markers of older attempts count for nothing.
has_marker() { s3 "run/$BISON_MONTH/$BISON_STEP/$1.json" --fail | grep --quiet "\"attempt\": $BISON_ATTEMPT,"; }

# ------------------------------------------------------------------------------------------------------- its last words

# failure_marker <error>: the marker's JSON. On no disk: a full one must not keep the month from hearing of it.
failure_marker() {
  ERROR=$1 STARTED=$started python3 -c '
import datetime, json, os
now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
print(json.dumps({
    "month": os.environ["BISON_MONTH"], "step": os.environ["BISON_STEP"], "attempt": int(os.environ["BISON_ATTEMPT"]),
    "started": os.environ["STARTED"], "finished": now, "outputs": [], "counts": {}, "code": os.environ["IMAGE"],
    "error": os.environ["ERROR"],
}, indent=2))'
}

finish() {
  if [ -n "$BISON_ATTEMPT" ]; then
    local log="log/$BISON_MONTH/$BISON_STEP/$BISON_ATTEMPT/machine.log"
    say "The end after $SECONDS seconds: $reason"
    docker logs bison-task # what the task said, also where CloudWatch did not get it
    s3 "$log" --fail --upload-file "$LOG" || say "The log could not be uploaded."
    if [ "$interrupted" = false ] && ! has_marker success && ! has_marker failure; then
      # What a full disk breaks seldom says so, and then the log cannot.
      [ "$(df --output=avail "$FOLDER" | tail -n 1)" -gt 0 ] || reason="The machine's disk is full. $reason"
      s3 "run/$BISON_MONTH/$BISON_STEP/failure.json" --fail --request PUT --header 'content-type: application/json' \
        --data-binary "$(failure_marker "$reason (see $log)")"
    fi
  fi
  timeout 120 docker compose --file "$FOLDER/compose.yaml" down --volumes
  timeout 120 docker system prune --all --force --volumes
}

# The machine is being shut down from outside: as with an interruption, whoever started it decides what comes next.
trap 'interrupted=true reason="The machine was shut down from outside."; exit 1' TERM

# ------------------------------------------------------------------------------------------------ who and what for

for name in stack month step attempt; do
  tag=$(metadata "tags/instance/bison:$name") || fail "The metadata service does not show the tag bison:$name."
  export "BISON_${name^^}=$tag"
done
export LOG_STREAM="$BISON_MONTH/$BISON_STEP/$BISON_ATTEMPT"
say "$BISON_STACK $BISON_MONTH $BISON_STEP, attempt $BISON_ATTEMPT, in $IMAGE"

# ------------------------------------------------------------------------------------------------ Docker and the image

cat >"$FOLDER/config.json" <<'DOCKER_CONFIGURATION'
%%{docker_configuration}
DOCKER_CONFIGURATION
cat >"$FOLDER/task.env" <<'TASK_ENVIRONMENT'
%%{environment}
TASK_ENVIRONMENT
cat >"$FOLDER/compose.yaml" <<'COMPOSE'
%%{compose}
COMPOSE

if ! { command -v docker-credential-ecr-login && docker compose version; }; then
  retry "Reading Ubuntu's package lists" apt-get -o DPkg::Lock::Timeout=300 update
  retry "Installing Docker" apt-get -o DPkg::Lock::Timeout=300 install --yes --no-install-recommends \
    docker.io docker-compose-v2 amazon-ecr-credential-helper
fi
retry "Reaching Docker's daemon" docker info
retry "Pulling the task image $IMAGE" docker pull --quiet "$IMAGE"

# ------------------------------------------------------------------------------------------------------------- the task

docker compose --file "$FOLDER/compose.yaml" up --detach --pull never ||
  fail "The task's container did not start; the last lines of $LOG say why."

while [ "$(docker inspect --format '{{.State.Running}}' bison-task)" = true ]; do
  if metadata spot/instance-action; then
    # Two minutes are left: the task saves what the next attempt can go on from.
    interrupted=true reason="AWS took the Spot machine back."
    docker stop -t 80 bison-task
  elif ((SECONDS > TASK_SECONDS)); then
    docker stop -t 80 bison-task
    fail "The task took longer than its limit of $((TASK_SECONDS / 60)) minutes and was stopped."
  fi
  sleep 5
done
[ "$interrupted" = true ] && exit 1

read -r exit_code out_of_memory < <(docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}}' bison-task) ||
  fail "The task's container is gone: Docker does not know it any more."
[ "$out_of_memory" = true ] &&
  fail "The task needed more than its $MEMORY_MIB MiB of memory: set taskMemoryMiB higher, and fitting machine types."
reason="The task's container ended with exit code $exit_code and left no marker."
exit "$exit_code"
