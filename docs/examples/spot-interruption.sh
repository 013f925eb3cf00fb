#!/bin/sh
# On a worker of the spot market: closes it in the batch system as soon as the cloud announces that it takes the VM back.
#
# AWS says so 120 s before, in the VM's metadata, where this looks every 5 s. A recommendation to rebalance is no notice,
# and is not looked at: it comes far more often than interruptions do. The example user data for each batch system has
# this script in it and starts it. It ends at once on a VM that is not of the spot market, and on clouds without one.
#
# What it needs beside curl: root on this VM, and
#   htcondor    nothing in the pool: START = False goes into the configuration of this worker alone;
#   slurm       scontrol, and slurmctld that takes root of this machine for root: with munge it does, for whoever has
#               the key of the cluster is believed;
#   gridengine  qconf and qmod, and that this machine is an administrative host, as those of gridengine-worker.sh are.
#
# usage: spot-interruption.sh htcondor|slurm|gridengine
set -u

metadata=${METADATA:-http://169.254.169.254/latest}
every_seconds=${EVERY_SECONDS:-5}
condor_mark=${CONDOR_DIRECTORY:-/etc/condor/config.d}/99-spot-interruption.conf
proc=${PROC:-/proc}

say() { echo "spot-interruption: $*" >&2; }

# Prints what the metadata have at this path; fails if there is no such thing.
ask() {
  session=$(curl -sf --max-time 2 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token") &&
    curl -sf --max-time 2 -H "X-aws-ec2-metadata-token: $session" "$metadata/meta-data/$1"
}

# Has the startd read its configuration again, at once and without a right in the pool.
reconfigure_condor() {
  for file in "$proc"/[0-9]*/comm; do
    if { read -r name <"$file"; } 2>/dev/null && [ "$name" = condor_startd ]; then
      file=${file%/comm}
      kill -HUP "${file##*/}"
    fi
  done
}

close_htcondor() {
  # shellcheck disable=SC2016 # HTCondor is to expand it
  printf 'START = False\nElastiqInterruption = "%s"\nSTARTD_ATTRS = $(STARTD_ATTRS) ElastiqInterruption\n' \
    "$when" >"$condor_mark" || return 1
  reconfigure_condor
}

close_slurm() {
  # slurm-worker.sh calls the node like its VM.
  scontrol update nodename="$(ask instance-id)" state=drain reason="elastiq: spot interruption $when"
}

close_gridengine() {
  SGE_ROOT=${SGE_ROOT:-/var/lib/gridengine} SGE_CELL=${SGE_CELL:-default}
  export SGE_ROOT SGE_CELL
  qconf -mattr exechost complex_values elastiq_closed=elastiq.interruption "$(hostname)" && qmod -d "*@$(hostname)"
}

case ${1:-} in
  htcondor | slurm | gridengine) batch_system=$1 ;;
  *)
    echo "usage: spot-interruption.sh htcondor|slurm|gridengine" >&2
    exit 2
    ;;
esac
tries=60
while :; do
  life_cycle=$(ask instance-life-cycle)
  case $? in
    0) break ;;
    22) tries=$((tries - 20)) ;; # there is no such thing, as on clouds without a spot market, or not at this moment
    *) tries=$((tries - 1)) ;;
  esac
  [ "$tries" -gt 0 ] || break
  sleep "$every_seconds"
done
if [ "$life_cycle" != spot ]; then
  say "this VM is not of the spot market"
  exit 0
fi
if [ -e "$condor_mark" ]; then
  # Of an image or a VM that was only stopped.
  rm "$condor_mark"
  reconfigure_condor
fi
until notice=$(ask spot/instance-action) && [ -n "$notice" ]; do
  sleep "$every_seconds"
done
when=$(printf %s "$notice" | sed -n 's/.*"time"[[:space:]]*:[[:space:]]*"\([0-9TZ:.-]*\)".*/\1/p')
when=${when:-soon}
say "the cloud takes this VM back: $when"
until "close_$batch_system"; do
  say "$batch_system cannot be told; tried again"
  sleep "$every_seconds"
done
say "this worker takes no more jobs"
