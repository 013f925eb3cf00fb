#!/bin/sh
# User data of an HTCondor worker that elastiq launches: makes a fresh VM join the head node's pool.
#
# Works on Debian, Ubuntu and EL images. HTCondor in the image makes a VM ready in seconds; without it, it is installed
# first (on EL the image then has to know the package repository of the HTCondor project). The head node is set up as
# in htcondor-head.conf. In elastiq.conf:
#
#   user_data_file = /etc/elastiq/htcondor-worker.sh        or
#   user_data_b64 = the output of: base64 -w0 htcondor-worker.sh
#
# elastiq puts the head node's address and name in place of the two words between percent signs in the next lines.
set -eu

head_address='%ipv4%'
head_name='%fqdn%'

# The same as UID_DOMAIN of the head node.
pool_domain='pool.example'

# Output of condor_token_create, step 3 of htcondor-head.conf. Leave it empty if the image has a token in
# /etc/condor/tokens.d: then nobody who can read the user data (any process on the VM) gets to know it. Step 4 of the
# tutorial has a third way: a token of its own for each launch, which expires.
pool_token=''

metadata=http://169.254.169.254/latest
session=$(curl -sf --retry 10 --retry-connrefused -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' \
  "$metadata/api/token" || true)
metadata() {
  curl -sf --retry 10 --retry-connrefused ${session:+-H "X-aws-ec2-metadata-token: $session"} \
    "$metadata/meta-data/$1"
}
instance_id=$(metadata instance-id)
address=$(metadata local-ipv4)

if ! command -v condor_master >/dev/null; then
  if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -qy install --no-install-recommends htcondor || apt-get -qy install --no-install-recommends condor
  else
    dnf -qy install condor
  fi
fi

# A worker that does not know the head node's name by DNS learns it here.
grep -qF "$head_name" /etc/hosts || echo "$head_address $head_name" >>/etc/hosts

if [ -n "$pool_token" ]; then
  mkdir -p /etc/condor/tokens.d
  chmod 0700 /etc/condor/tokens.d
  (umask 077 && printf '%s\n' "$pool_token" >/etc/condor/tokens.d/pool)
fi

mkdir -p /etc/condor/config.d
cat >/etc/condor/config.d/50-elastiq.conf <<END
DAEMON_LIST = MASTER STARTD
CONDOR_HOST = $head_address
NETWORK_INTERFACE = $address
UID_DOMAIN = $pool_domain
TRUST_DOMAIN = $pool_domain
FILESYSTEM_DOMAIN = $instance_id
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, IDTOKENS

# By these elastiq knows which VM a worker is.
EC2InstanceId = "$instance_id"
EC2PrivateIp = "$address"
STARTD_ATTRS = \$(STARTD_ATTRS) EC2InstanceId EC2PrivateIp
MASTER_ATTRS = \$(MASTER_ATTRS) EC2InstanceId EC2PrivateIp

# One slot that is divided as jobs need it.
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = True

# A fresh VM knows no accounts of the head node's users: jobs run as nobody.
STARTER_ALLOW_RUNAS_OWNER = False

# Every job on any machine of the pool: a VM that elastiq started has no owner at a keyboard.
START = True
SUSPEND = False
PREEMPT = False
KILL = False

# The startd's benchmarks take a processor for some 15 s of a VM's life, and keep a fresh VM from leaving the pool.
RunBenchmarks = False

# Must be well below the head node's CLASSAD_LIFETIME.
UPDATE_INTERVAL = 60
MASTER_UPDATE_INTERVAL = 60
END

if [ -d /run/systemd/system ]; then
  systemctl enable condor
  systemctl restart condor
else
  condor_master
fi

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
  systemd-run --unit=spot-interruption -p Restart=on-failure /usr/local/sbin/spot-interruption.sh htcondor
else
  /usr/local/sbin/spot-interruption.sh htcondor &
fi
