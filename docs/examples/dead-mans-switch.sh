#!/bin/sh
# Dead man's switch for workers: powers this VM off when its head node has been silent for long and no job runs here.
#
# elastiq terminates VMs from the head node. If the head node itself is lost for good, its VMs would run until somebody
# sees the bill; with this script, which is optional, they end by themselves. (On AWS elastiq launches VMs so that one
# that powers itself off is terminated. On other clouds it may be left stopped, and cost a little until somebody
# terminates it.)
#
# Put it into the image as /usr/local/sbin/dead-mans-switch.sh, mode 0755, or into the user data between the lines
#   cat >/usr/local/sbin/dead-mans-switch.sh <<'END_OF_SWITCH'
#   END_OF_SWITCH
#   chmod 0755 /usr/local/sbin/dead-mans-switch.sh
# and let the end of htcondor-worker.sh (elastiq's user data) start it:
#   systemd-run --unit=dead-mans-switch -p Restart=on-failure /usr/local/sbin/dead-mans-switch.sh --loop "$head_address"
# Without systemd, a line of /etc/crontab that calls it once a minute does as well:
#   * * * * * root /usr/local/sbin/dead-mans-switch.sh HEAD
#
# As it is, it is for HTCondor alone: it takes a worker of another batch system for one without jobs and without a head
# node. Elsewhere give it (systemd-run -E NAME=VALUE, or before the command in /etc/crontab)
#   Slurm:        HEAD_PORT=6817 WORKER_PROCESS=slurmd JOB_CHECK='pgrep -f "^slurmstepd: [[]"'
#   Grid Engine:  HEAD_PORT=6444 WORKER_PROCESS=sge_execd JOB_PROCESSES=sge_shepherd
#
# usage: dead-mans-switch.sh [--loop] HEAD      HEAD: address or name of the head node
#
# Times are those of the uptime, which a step of the clock does not move. Whatever is not known for sure (no tool to
# probe with, a failed job check, unreadable state) keeps the VM on. Settings, by environment:
silent_seconds=${SILENT_SECONDS:-3600}                  # how long the head node must have been silent
head_port=${HEAD_PORT:-9618}                            # its TCP port that must answer (HTCondor's collector)
every_seconds=${EVERY_SECONDS:-60}                      # pause between checks with --loop
gap_seconds=${GAP_SECONDS:-600}                         # after a longer pause (VM suspended) the count starts over
probe=${PROBE:-}                                        # a command instead of the port: succeeds if the head is there
job_check=${JOB_CHECK:-}                                # a command: exit 0 if a job runs here, 1 if none, else unknown
worker_process=${WORKER_PROCESS-condor_startd}          # starts jobs; held still during the last look
job_processes=${JOB_PROCESSES:-condor_starter}          # without JOB_CHECK: processes of such a name are jobs
power_off=${POWER_OFF:-poweroff}
state_directory=${STATE_DIRECTORY:-/run/dead-mans-switch}
proc=${PROC:-/proc}
set -u

say() { echo "dead-mans-switch: $*" >&2; }

is_number() {
  case $1 in
    '' | *[!0-9]* | ???????????*) return 1 ;;
  esac
}

# Prints the ids of the processes of this name.
processes() {
  for file in "$proc"/[0-9]*/comm; do
    if { read -r name <"$file"; } 2>/dev/null && [ "$name" = "$1" ]; then
      file=${file%/comm}
      echo "${file##*/}"
    fi
  done
}

# Exit 0: the head node answers; 1: it does not; anything else: that cannot be told.
head_answers() {
  if [ -n "$probe" ]; then
    timeout 30 sh -c "$probe" </dev/null >/dev/null 2>&1
    case $? in
      0) return 0 ;;
      126 | 127) return 2 ;;
      *) return 1 ;;
    esac
  fi
  command -v timeout >/dev/null || return 2
  if command -v bash >/dev/null; then
    # shellcheck disable=SC2016 # the inner shell is to expand them
    timeout 10 bash -c ': <"/dev/tcp/$0/$1"' "$head" "$head_port" >/dev/null 2>&1 || return 1
  elif command -v nc >/dev/null; then
    timeout 10 nc -z -w 5 "$head" "$head_port" >/dev/null 2>&1 || return 1
  else
    return 2
  fi
}

# Exit 0 unless it is certain that no job runs here.
job_may_run() {
  if [ -n "$job_check" ]; then
    timeout 30 sh -c "$job_check" </dev/null >/dev/null 2>&1
    [ $? -ne 1 ]
    return
  fi
  [ -r "$proc/self/comm" ] || return 0
  for wanted in $job_processes; do
    [ -z "$(processes "$wanted")" ] || return 0
  done
  return 1
}

signal_worker() {
  [ -n "$worker_process" ] || return 0
  for process in $(processes "$worker_process"); do
    kill "-$1" "$process" 2>/dev/null
  done
}

remember() {
  mkdir -p "$state_directory"
  if ! { echo "$1 $2" >"$state_directory/new" && mv -f "$state_directory/new" "$state_directory/state"; }; then
    say "cannot write to $state_directory"
  fi
}

check() {
  now=''
  read -r now _ <"$proc/uptime"
  now=${now%%.*}
  if ! is_number "$now"; then
    say "cannot read $proc/uptime"
    return
  fi
  head_answers
  case $? in
    0)
      remember "$now" "$now"
      return
      ;;
    1) ;;
    *)
      say "cannot try whether $head is there: timeout and bash or nc are needed, or a PROBE that works"
      return
      ;;
  esac
  # The state: when the head node was heard last or first missed, and when it was last looked for.
  heard='' looked=''
  { read -r heard looked <"$state_directory/state"; } 2>/dev/null
  if ! is_number "$heard" || ! is_number "$looked" || [ "$heard" -gt "$looked" ] || [ "$looked" -gt "$now" ] ||
    [ $((now - looked)) -gt "$gap_seconds" ]; then
    heard=$now
  fi
  remember "$heard" "$now"
  [ $((now - heard)) -ge "$silent_seconds" ] || return 0
  if job_may_run; then
    say "$head has been silent for $((now - heard)) s, but a job runs here"
    return
  fi
  # A head node that comes back just now must not start a job between the look and the end.
  trap 'signal_worker CONT' EXIT
  trap 'exit 1' HUP INT TERM
  signal_worker STOP
  head_answers
  if [ $? -ne 1 ] || job_may_run; then
    say "a job has come or $head is back"
  else
    say "$head has been silent for $((now - heard)) s and no job runs here: powering off"
    sh -c "$power_off" && trap - EXIT && exit 0
    say "$power_off failed"
  fi
  signal_worker CONT
  trap - EXIT HUP INT TERM
}

loop=no
[ "${1:-}" != --loop ] || { loop=yes && shift; }
if [ $# -ne 1 ] || [ -z "$1" ] || ! is_number "$silent_seconds" || ! is_number "$gap_seconds"; then
  echo "usage: dead-mans-switch.sh [--loop] HEAD" >&2
  exit 2
fi
head=$1
umask 077
check
while [ "$loop" = yes ]; do
  sleep "$every_seconds"
  check
done
