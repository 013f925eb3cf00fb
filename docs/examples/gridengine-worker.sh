#!/bin/sh
# User data of a Grid Engine worker that elastiq launches: makes a fresh VM join the head node's cluster.
#
# Written for Son of Grid Engine 8.1 as Debian and Ubuntu package it. Grid Engine in the image makes a VM ready in
# seconds; without it, it is installed first. The head node is set up by gridengine-head.sh. In elastiq.conf:
#
#   user_data_file = /etc/elastiq/gridengine-worker.sh        or
#   user_data_b64 = the output of: base64 -w0 gridengine-worker.sh
#
# elastiq puts the head node's address and name in place of the two words between percent signs in the next lines.
set -eu

head_address='%ipv4%'
head_name='%fqdn%'

# The same as in gridengine-head.sh.
worker_networks='10.77.1'

# Users whose jobs run here, name:uid, with spaces between them; the ids are those of the head node. Leave it empty if
# the VM knows them from a directory service or its image.
users=''

metadata=http://169.254.169.254/latest
session=$(curl -sf --retry 10 --retry-connrefused -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' \
  "$metadata/api/token" || true)
metadata() {
  curl -sf --retry 10 --retry-connrefused ${session:+-H "X-aws-ec2-metadata-token: $session"} \
    "$metadata/meta-data/$1"
}
instance_id=$(metadata instance-id)
address=$(metadata local-ipv4)

# Grid Engine knows machines by name, and head node and worker have to agree on it: it is made of the address.
domain=${head_name#*.}
short_name=ip-$(echo "$address" | tr . -)
name=$short_name.$domain
{
  # Under no other name, and not as 127.0.1.1, as Debian's images have it.
  grep -v "^127\.0\.1\.1[[:space:]]\|^${address}[[:space:]]" /etc/hosts
  grep -qF "$head_name" /etc/hosts || echo "$head_address $head_name ${head_name%%.*}"
  for network in $worker_networks; do
    prefix=ip-$(echo "$network" | tr . -)
    for number in $(seq 1 254); do
      echo "$network.$number $prefix-$number.$domain $prefix-$number"
    done
  done
} >/etc/hosts.new
cat /etc/hosts.new >/etc/hosts
hostname "$name"

if ! command -v sge_execd >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update
  apt-get -qy install --no-install-recommends gridengine-exec gridengine-client
fi
SGE_ROOT=${SGE_ROOT:-/var/lib/gridengine}
SGE_CELL=${SGE_CELL:-default}
export SGE_ROOT SGE_CELL
mkdir -p "$SGE_ROOT/$SGE_CELL/common"
echo "$head_name" >"$SGE_ROOT/$SGE_CELL/common/act_qmaster"

for user in $users; do
  id "${user%:*}" >/dev/null 2>&1 || useradd --uid "${user#*:}" --create-home "${user%:*}"
done

# What this VM offers: what the image says in /etc/gridengine-node (such as: slots=8,h_vmem=30G,gpu=1), or else a slot
# for each CPU.
if [ -r /etc/gridengine-node ]; then
  offer=$(cat /etc/gridengine-node)
else
  offer=slots=$(nproc)
fi

# An earlier VM may have had this address and died unnoticed: nothing of it may be taken for this one.
if qconf -se "$name" >/dev/null 2>&1; then
  qmod -d "*@$name" || true
  qmod -rq "*@$name" || true
  qconf -dattr hostgroup hostlist "$name" @workers || true
  qconf -de "$name" || true
fi

if [ -d /run/systemd/system ]; then
  systemctl enable gridengine-exec
  systemctl restart gridengine-exec
else
  install -d -o sgeadmin -g sgeadmin /run/gridengine
  sge_execd
fi

# The host exists for the head node once sge_execd has reported. It takes jobs only after it has said which VM it is.
tries=480
until qconf -rattr exechost complex_values "elastiq_instance=$instance_id,elastiq_address=$address,$offer" "$name"; do
  tries=$((tries - 1))
  [ "$tries" -gt 0 ] || exit 1
  sleep 0.5
done
qconf -aattr hostgroup hostlist "$name" @workers

# A VM of the spot market is closed in time before the cloud takes it back: spot-interruption.sh of these examples, as it is.
mkdir -p /usr/local/sbin
cat >/usr/local/sbin/spot-interruption.sh <<'END_OF_WATCH'
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
END_OF_WATCH
chmod 0755 /usr/local/sbin/spot-interruption.sh
if [ -d /run/systemd/system ]; then
  systemd-run --unit=spot-interruption -p Restart=on-failure /usr/local/sbin/spot-interruption.sh gridengine
else
  /usr/local/sbin/spot-interruption.sh gridengine &
fi
