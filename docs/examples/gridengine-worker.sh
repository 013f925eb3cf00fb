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
