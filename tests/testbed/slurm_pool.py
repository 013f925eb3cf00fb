"""A real Slurm cluster on the testbed: a head node, and workers that run docs/examples/slurm-worker.sh."""

from __future__ import annotations

import base64
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tests.testbed.batch import EXAMPLES, BatchTestbed, filled_in, wait_until
from tests.testbed.machines import HEAD_ADDRESS, Machine, Network
from tests.testbed.rootfs import JOB_USER, JOB_USER_ID, SERVICE_USER

_REPLACED = ("ProctrackType", "TaskPlugin", "NodeName", "SchedulerParameters", "AuthInfo")
_TESTBED = """
# What the testbed sets beside or in place of the example: machines without control groups, which have as many
# processors as they say, no waiting, and a memory of all that was.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000
AuthInfo=cred_expire=10
SlurmctldLogFile=/var/log/testbed/slurmctld.log
SlurmdLogFile=/var/log/testbed/slurmd.log
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
JobCompType=jobcomp/filetxt
JobCompLoc=/var/log/testbed/jobs
MinJobAge=3600
MaxJobCount=120000
MaxArraySize=100001
"""
_SUDOERS = f"""\
{SERVICE_USER} ALL=(slurm) NOPASSWD: /usr/bin/scontrol, /usr/bin/squeue
Defaults:{SERVICE_USER} env_keep += "SLURM_TIME_FORMAT SLURM_BITSTR_LEN"
"""
_CGROUP = "CgroupPlugin=disabled\n"
_MEMORY_PER_CPU_MB = 1000
_HEAD_SCRIPT = """#!/bin/sh
set -eu
chown munge: /etc/munge/munge.key
install -d -o munge -g munge /run/munge
setpriv --reuid=munge --regid=munge --clear-groups munged
install -d -m 0700 -o slurm -g slurm /var/spool/slurmctld
exec setpriv --reuid=slurm --regid=slurm --clear-groups slurmctld
"""
_RUNNING = ("RUNNING", "COMPLETING")


class SlurmPool(BatchTestbed):
    """The head node, and what users, administrators and clouds do with a cluster."""

    plugin = "slurm"
    options: Mapping[str, str] = {"sudo_user": "slurm"}
    earliest_submit_seconds = 2.0

    def __init__(self, network: Network, cpus: int, configuration: str = "", gres: str = "") -> None:
        """`configuration` is added to slurm.conf; `gres` is gres.conf, which workers take from the head node."""
        self.network = network
        self._node = f"CPUs={cpus} RealMemory={cpus * _MEMORY_PER_CPU_MB}"
        self._key = base64.b64encode(os.urandom(96)).decode()
        example = (EXAMPLES / "slurm-head.conf").read_text(encoding="utf-8")
        kept = [line for line in example.splitlines() if line.partition("=")[0] not in _REPLACED]
        templates = (
            f"NodeName=template-[1-8] {self._node} Feature=lane0,lane1,lane2,lane3,lane4 State=FUTURE\n"
            "NodeName=template-large CPUs=128 RealMemory=128000 State=FUTURE\n"
        )
        self.head = network.start(
            "head",
            HEAD_ADDRESS,
            script=_HEAD_SCRIPT,
            files=[
                ("/etc/munge/munge.key", self._key, 0o600),
                ("/etc/slurm/slurm.conf", "\n".join(kept) + _TESTBED + templates + configuration, 0o644),
                ("/etc/slurm/cgroup.conf", _CGROUP, 0o644),
                ("/etc/slurm/gres.conf", gres, 0o644),
                ("/etc/sudoers.d/elastiq", _SUDOERS, 0o440),
            ],
        )
        self._wait_for_slurmctld()

    def user_data(self) -> str:
        """Return the example user data with the cluster's key, before elastiq's substitutions."""
        key = base64.b64encode(self._key.encode()).decode()
        return filled_in("slurm-worker.sh", munge_key_base64=key, users=f"{JOB_USER}:{JOB_USER_ID}")

    def start_worker(
        self, instance_id: str, address: str, user_data: str | bytes, *, lane: str = "", node: str = ""
    ) -> Machine:
        """Start the VM `instance_id` of the cloud, whose image has Slurm installed and may say what the `node` has."""
        description = (node or self._node) + (f" Feature={lane}" if lane else "")
        files = [("/etc/slurm/elastiq-node", f"{description}\n", 0o644)]
        return self.start(instance_id, address, user_data, files=files)

    def submit(
        self,
        count: int,
        seconds: float,
        *,
        cpus: int = 1,
        lane: str = "",
        held: bool = False,
        after: str = "",
        at_once: int = 0,
        options: Iterable[str] = (),
    ) -> str:
        """Submit an array of `count` jobs that take `seconds` each, or a single job; return its number."""
        words = ["sbatch", "--parsable", "--output=/dev/null", f"--cpus-per-task={cpus}"]
        if count > 1 or at_once:
            words.append(f"--array=1-{count}" + (f"%{at_once}" if at_once else ""))
        if lane:
            words.append(f"--constraint={lane}")
        if held:
            words.append("--hold")
        if after:
            words.append(f"--dependency=afterok:{after}")
        script = f"#!/bin/sh\nsleep {seconds} || :\n"
        return self.head.run(*words, *options, user=JOB_USER, stdin=script).stdout.strip()

    def queue(self) -> list[dict[str, Any]]:
        """Return the jobs that are not finished, as id, state, reason and nodes; a waiting array is one."""
        lines = self.head.run("squeue", "--noheader", "--format=%A|%i|%T|%r|%N").stdout.splitlines()
        return [dict(zip(("job", "id", "state", "reason", "nodes"), line.strip().split("|"))) for line in lines]

    def is_unfinished(self, job: str) -> bool:
        """Return whether anything of the job or array `job` is in the queue."""
        return any(re.split("[_+]", each["id"])[0] == job for each in self.queue())

    def cancel_all(self) -> None:
        """Remove every job."""
        self.head.run("scancel", f"--user={JOB_USER}")

    def busy(self) -> Counter[str]:
        """Return, by instance id, how many jobs run on each worker that has any."""
        running = [each["nodes"] for each in self.queue() if each["state"] in _RUNNING]
        names = self.head.run("scontrol", "show", "hostnames", ",".join(running)).stdout.split() if running else []
        return Counter(names)

    def last_ran_on(self, job: str) -> str:
        """Return the instance id, which is the node's name, of the worker where `job` ran last."""
        return re.findall(r" NodeList=(\S+)", self.head.run("scontrol", "-o", "show", "job", job).stdout)[-1]

    def job_starts(self) -> dict[str, int]:
        """Return how often each job, finished or not, was started: slurmctld writes a line whenever one ends. Jobs that
        never ran are not among them."""
        ended = Counter(record["JobId"] for record in self._ended())
        running = Counter(each["job"] for each in self.queue() if each["state"] in _RUNNING)
        return dict(ended + running)

    def evictions(self) -> list[str]:
        """Return the records of jobs that ended by anything but their own success."""
        return [json.dumps(record) for record in self._ended() if record["JobState"] != "COMPLETED"]

    def joined(self) -> set[str]:
        """Return the instance ids of the workers that slurmctld may start jobs on. Nodes that elastiq has drained stay
        until it closes the next one."""
        lines = self.head.run("sinfo", "--noheader", "--Node", "--format=%N %T").stdout.splitlines()
        return {name for name, state in map(str.split, lines) if not re.match("drain|down|unk|inval", state)}

    def silence(self) -> None:
        """Stop slurmctld as its service does: for its clients that is a head node that says nothing.

        Not by a plain kill: what it had not yet saved is lost then. Jobs on a dynamic node that had joined two seconds
        before were requeued and held by Slurm itself.
        """
        self.head.run("pkill", "-TERM", "-x", "slurmctld")
        wait_until(lambda: self.head.run("pidof", "slurmctld", check=False).returncode, "slurmctld has ended")

    def wake(self) -> None:
        """Start slurmctld again, with what it had saved."""
        self.head.run("setpriv", "--reuid=slurm", "--regid=slurm", "--clear-groups", "slurmctld")
        self._wait_for_slurmctld()

    def restart_master(self) -> None:
        """Restart slurmctld as its service does."""
        self.silence()
        self.wake()

    def _wait_for_slurmctld(self) -> None:
        wait_until(lambda: self.head.run("scontrol", "ping", check=False).returncode == 0, "slurmctld is up")

    def _ended(self) -> list[dict[str, str]]:
        lines = self.head.run("cat", "/var/log/testbed/jobs", check=False).stdout.splitlines()
        records = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
        return [record for record in records if record["NodeList"] != "(null)"]
