#!/bin/sh
# User data of a Slurm worker that elastiq launches: makes a fresh VM join the head node's cluster as a dynamic node.
#
# Works on Debian, Ubuntu and EL images, with the head node's version of Slurm (22.05 or later, and not newer than the
# head node's). Slurm in the image makes a VM ready in seconds; without it, it is installed first (EL needs EPEL). The
# head node is set up as in slurm-head.conf. In elastiq.conf:
#
#   user_data_file = /etc/elastiq/slurm-worker.sh        or
#   user_data_b64 = the output of: base64 -w0 slurm-worker.sh
#
# elastiq puts the head node's address and name in place of the two words between percent signs in the next lines.
set -eu

head_address='%ipv4%'
head_name='%fqdn%'

# Output of `base64 -w0 /etc/munge/munge.key` on the head node. Whoever has this key can act as any user of the cluster.
# Leave it empty if the image has the key: then nobody who can read the user data (any process on the VM) gets to know
# it.
munge_key_base64=''

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

if ! command -v slurmd >/dev/null; then
  if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    apt-get -qy install --no-install-recommends slurmd slurm-client slurm-wlm-basic-plugins munge
  else
    dnf -qy install slurm-slurmd slurm munge
  fi
fi

# A worker that does not know the head node's name by DNS learns it here, in full and in short.
grep -qF "$head_name" /etc/hosts || echo "$head_address $head_name ${head_name%%.*}" >>/etc/hosts

if [ -n "$munge_key_base64" ]; then
  (umask 077 && printf '%s' "$munge_key_base64" | base64 -d >/etc/munge/munge.key.new)
  chown munge: /etc/munge/munge.key.new
  mv /etc/munge/munge.key.new /etc/munge/munge.key
fi

for user in $users; do
  id "${user%:*}" >/dev/null 2>&1 || useradd --uid "${user#*:}" --create-home "${user%:*}"
done

# What this VM offers: what the image says in /etc/slurm/elastiq-node (such as: CPUs=8 RealMemory=30000 Gres=gpu:1
# Feature=fast, all on one line), or else what slurmd finds, less 5 % of the memory for the system itself. Not its
# sockets, cores and threads: with these Slurm would give each job whole cores, and half of the CPUs of most types of VM,
# which are hyperthreads, would serve nobody.
if [ -r /etc/slurm/elastiq-node ]; then
  node=$(cat /etc/slurm/elastiq-node)
else
  node=$(slurmd -C | awk '/^NodeName=/ {
    for (i = 2; i <= NF; i++) {
      if ($i ~ /^RealMemory=/) $i = "RealMemory=" int(substr($i, 12) * 0.95)
      if ($i ~ /^(CPUs|RealMemory)=/) printf "%s ", $i
    }
  }')
fi

# The node is called like its VM: by this elastiq knows which VM a worker is.
if [ -d /run/systemd/system ]; then
  mkdir -p /etc/systemd/system/slurmd.service.d
  cat >/etc/systemd/system/slurmd.service.d/elastiq.conf <<END
[Unit]
ConditionPathExists=
[Service]
Type=simple
PIDFile=
ExecStart=
ExecStart=$(command -v slurmd) -D -Z -N $instance_id --conf-server $head_address --conf "$node"
Restart=on-failure
END
  systemctl daemon-reload
  systemctl enable munge slurmd
  systemctl restart munge slurmd
else
  install -d -o munge -g munge /run/munge
  setpriv --reuid=munge --regid=munge --clear-groups munged
  slurmd -Z -N "$instance_id" --conf-server "$head_address" --conf "$node"
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
  systemd-run --unit=spot-interruption -p Restart=on-failure /usr/local/sbin/spot-interruption.sh slurm
else
  /usr/local/sbin/spot-interruption.sh slurm &
fi
