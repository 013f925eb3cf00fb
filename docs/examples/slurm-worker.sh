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
