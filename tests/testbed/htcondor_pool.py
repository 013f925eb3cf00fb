"""A real HTCondor pool on the testbed: a head node, and workers that run docs/examples/htcondor-worker.sh."""

from __future__ import annotations

import base64
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from tests.testbed.batch import EXAMPLES, BatchTestbed, filled_in, wait_until
from tests.testbed.machines import DOMAIN, HEAD_ADDRESS, Machine, Network
from tests.testbed.rootfs import BINDINGS, JOB_USER, SERVICE_USER

_EVERY_MACHINE = f"""
LINUX_KERNEL_TUNING_SCRIPT =
LOG = /var/log/testbed
NO_DNS = True
DEFAULT_DOMAIN_NAME = {DOMAIN}
ENABLE_IPV6 = False
BIND_ALL_INTERFACES = False
UPDATE_INTERVAL = 5
MASTER_UPDATE_INTERVAL = 5
POLLING_INTERVAL = 2
CLASSAD_LIFETIME = 20
"""
"""What the testbed sets beside the examples: no DNS, a kernel that is not ours to tune, and no waiting."""
_HEAD_ONLY = f"""
NETWORK_INTERFACE = {HEAD_ADDRESS}
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
JOB_DEFAULT_LEASE_DURATION = 600
ALIVE_INTERVAL = 60
MAX_SHADOW_EXCEPTIONS = 1000
"""
_CONFIG = "/etc/condor/config.d/"
_JOB_LOG = f"/home/{JOB_USER}/jobs.log"
_HEAD_SCRIPT = f"""#!/bin/sh
set -eu
condor_token_create -identity worker@{DOMAIN} \\
  -authz READ -authz ADVERTISE_STARTD -authz ADVERTISE_MASTER >/run/worker-token
install -d -o {SERVICE_USER} -g {SERVICE_USER} -m 0700 ~{SERVICE_USER}/.condor ~{SERVICE_USER}/.condor/tokens.d
condor_token_create -identity {SERVICE_USER}@{DOMAIN} >~{SERVICE_USER}/.condor/tokens.d/elastiq
chown {SERVICE_USER}: ~{SERVICE_USER}/.condor/tokens.d/elastiq
chmod 0600 ~{SERVICE_USER}/.condor/tokens.d/elastiq
condor_master
"""


LASTING_ADS = "CLASSAD_LIFETIME = 900\n"
"""For the head node: an ad that nobody takes back outlives every test, and a busy machine's late reports."""
SHORT_LEASE = "job_lease_duration = 20"
"""For a job whose worker is to die: what htcondor-head.conf sets, only smaller. A shadow whose worker does not answer
waits for its end, whatever it is told (measured: condor_vacate_job, also -fast, condor_hold and condor_qedit -forward).
A busy machine may be late for it, so that other jobs have a long one."""


class HtcondorPool(BatchTestbed):
    """The head node, and what users, administrators and clouds do with a pool."""

    plugin = "htcondor"
    options: Mapping[str, str] = {}
    earliest_submit_seconds = 1.5

    def __init__(self, network: Network, head_configuration: str = "", worker_configuration: str = "") -> None:
        self.network = network
        self._worker_configuration = _EVERY_MACHINE + worker_configuration
        key = base64.b64encode(os.urandom(48)).decode()
        self.head = network.start(
            "head",
            HEAD_ADDRESS,
            script=_HEAD_SCRIPT,
            files=[
                ("/etc/condor/passwords.d/POOL", key, 0o600),
                (_CONFIG + "50-elastiq.conf", (EXAMPLES / "htcondor-head.conf").read_text(encoding="utf-8"), 0o644),
                (_CONFIG + "90-testbed.conf", _EVERY_MACHINE + _HEAD_ONLY + head_configuration, 0o644),
            ],
        )
        wait_until(lambda: self.head.run("condor_q", "-allusers", check=False).returncode == 0, "the head node is up")
        self.worker_token = self.head.run("cat", "/run/worker-token").stdout.strip()

    def user_data(self) -> str:
        """Return the example user data with the pool's token, before elastiq's substitutions."""
        return filled_in("htcondor-worker.sh", pool_token=self.worker_token)

    def start_worker(
        self, instance_id: str, address: str, user_data: str | bytes, configuration: str = "", *, lane: str = ""
    ) -> Machine:
        """Start the VM `instance_id` of the cloud, whose image has HTCondor installed and `configuration` in it."""
        if lane:
            configuration += f'Lane = "{lane}"\nSTARTD_ATTRS = $(STARTD_ATTRS) Lane\n'
        return self.start(
            instance_id,
            address,
            user_data,
            files=[(_CONFIG + "90-testbed.conf", self._worker_configuration + configuration, 0o644)],
            metadata={
                "/latest/meta-data/local-ipv4": address,
                "/latest/meta-data/local-hostname": f"{instance_id}.{DOMAIN}",
            },
        )

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
        memory_mb: int = 16,
        extra: str = "",
        schedd: str = "",
    ) -> str:
        """Submit `count` jobs that take `seconds` each; return their cluster's number."""
        assert not after and not at_once, "condor_submit knows neither"
        if lane:
            extra += f'\nrequirements = Lane =?= "{lane}"'
        if held:
            extra += "\nhold = true"
        description = (
            f"executable = /bin/sh\narguments = \"-c 'sleep {seconds} || :'\"\ntransfer_executable = false\n"
            f"request_cpus = {cpus}\nrequest_memory = {memory_mb}\nrequest_disk = 1M\n"
            f"should_transfer_files = yes\nlog = {_JOB_LOG}\n{extra}\nqueue {count}\n"
        )
        to_schedd = ["-name", schedd] if schedd else []
        answer = self.head.run("condor_submit", "-terse", *to_schedd, "-", user=JOB_USER, stdin=description).stdout
        return answer.split(".")[0].strip()

    def queue(self) -> list[dict[str, Any]]:
        """Return the jobs that are not finished, as JobStatus, ClusterId, ProcId and NumJobStarts."""
        return self._jobs("condor_q", "-allusers")

    def is_unfinished(self, job: str) -> bool:
        """Return whether a job of the cluster `job` is in the queue."""
        return any(each["ClusterId"] == int(job) for each in self.queue())

    def cancel_all(self) -> None:
        """Remove every job."""
        self.head.run("condor_rm", "-all", check=False)

    def busy(self) -> Counter[str]:
        """Return, by instance id, how many jobs really run on each worker that has any.

        Running by JobStatus is also a job whose shadow still has to ask the schedd what to run.
        """
        slots = self.slots("-constraint", 'State == "Claimed" && Activity == "Busy"')
        return Counter(slot["EC2InstanceId"] for slot in slots)

    def last_ran_on(self, job: str) -> str:
        """Return the instance id, which the testbed makes the host's name, of the last host of a finished job."""
        (host,) = self.head.run("condor_history", job, "-af", "LastRemoteHost").stdout.split()
        return host.split("@")[1].split(".")[0]

    def silence(self) -> None:
        """Stop the schedd in the middle of what it does."""
        self.head.run("sh", "-c", "kill -STOP $(pidof condor_schedd)")

    def wake(self) -> None:
        """Let the schedd go on."""
        self.head.run("sh", "-c", "kill -CONT $(pidof condor_schedd)")

    def finished(self) -> list[dict[str, Any]]:
        """Return the finished jobs, likewise."""
        return self._jobs("condor_history")

    def job_starts(self) -> dict[str, int]:
        """Return how often each job, finished or not, was started."""
        jobs = self.queue() + self.finished()
        return {f"{job['ClusterId']}.{job['ProcId']}": job.get("NumJobStarts", 0) for job in jobs}

    def evictions(self) -> list[str]:
        """Return the events of the users' job log that tell of a job taken from its worker: evicted (004), shadow
        exception (007), disconnected (022), reconnect failed (024)."""
        log = self.head.run("cat", _JOB_LOG, check=False).stdout
        return [line for line in log.splitlines() if re.match(r"(004|007|022|024) \(", line)]

    def slots(self, *options: str) -> list[dict[str, Any]]:
        """Return the slots that the collector knows."""
        text = self.head.run("condor_status", "-json", *options).stdout
        return json.loads(text) if text.strip() else []

    def joined(self) -> set[str]:
        """Return the instance ids of the workers that the collector knows."""
        return {slot["EC2InstanceId"] for slot in self.slots() if "EC2InstanceId" in slot}

    def is_log(self, name: str) -> bool:
        return name == "console" or name.endswith("Log")

    def _jobs(self, *command: str) -> list[dict[str, Any]]:
        attributes = "JobStatus,ClusterId,ProcId,NumJobStarts"
        text = self.head.run(*command, "-json", "-attributes", attributes).stdout
        return json.loads(text) if text.strip() else []


BINDINGS_ENVIRONMENT = {"PYTHONPATH": BINDINGS}
"""With this a Python on the head node imports the newest htcondor2; without it, the one of Debian's HTCondor."""
