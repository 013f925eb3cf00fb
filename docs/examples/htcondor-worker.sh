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
# /etc/condor/tokens.d: then nobody who can read the user data (any process on the VM) gets to know it.
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
