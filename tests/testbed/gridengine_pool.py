"""A real Grid Engine cluster on the testbed: a head node that docs/examples/gridengine-head.sh set up, and workers that
run docs/examples/gridengine-worker.sh."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree import ElementTree

from tests.testbed.batch import BatchTestbed, filled_in, wait_until
from tests.testbed.machines import HEAD_ADDRESS, Machine, Network
from tests.testbed.rootfs import JOB_USER, JOB_USER_ID

_NETWORKS = " ".join(f"10.77.{number}" for number in (1, 2, 3, 4, 5, 9))
_ACCOUNTING = "/var/lib/gridengine/default/common/accounting"
_START_MASTER = "SGE_ROOT=/var/lib/gridengine SGE_CELL=default sge_qmaster"
_TESTBED = """
# What the testbed sets beside the example: no waiting, lanes, jobs that have a machine for themselves, and an
# environment with two slots on each machine.
qconf -sc | grep -v '^#' >"$work/complexes"
echo 'lane lane RESTRING == YES NO NONE 0' >>"$work/complexes"
echo 'whole whole BOOL EXCL YES YES 0 0' >>"$work/complexes"
qconf -Mc "$work/complexes"
mkdir "$work/faster"
sed -e 's/^load_report_time .*/load_report_time 00:00:03/' -e 's/^max_unheard .*/max_unheard 00:00:15/' \
  -e 's/^finished_jobs .*/finished_jobs 0/' "$work/global" >"$work/faster/global"
qconf -Mconf "$work/faster/global"
qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:3/' >"$work/scheduler"
qconf -Msconf "$work/scheduler"
qconf -sp mpi | sed -e 's/^pe_name .*/pe_name two/' -e 's/^allocation_rule .*/allocation_rule 2/' >"$work/two"
qconf -Ap "$work/two"
qconf -aattr queue pe_list two all.q
touch /run/head-is-ready
"""
_FIELDS = {"host": 1, "job": 5, "failed": 11, "exit_status": 12, "task": 35}
"""Of a line of the accounting file."""
_RUNNING = ("r", "Rr")  # the latter: not for the first time


class GridEnginePool(BatchTestbed):
    """The head node, and what users, administrators and clouds do with a cluster."""

    plugin = "gridengine"
    options: Mapping[str, str] = {}
    earliest_submit_seconds = 0.6
    latest_submit_seconds = 1.5

    def __init__(self, network: Network, cpus: int) -> None:
        self.network = network
        self._cpus = cpus
        script = filled_in("gridengine-head.sh", worker_networks=_NETWORKS) + _TESTBED
        self.head = network.start("head", HEAD_ADDRESS, script=script)
        wait_until(
            lambda: self.head.run("test", "-e", "/run/head-is-ready", check=False).returncode == 0,
            "the head node is up",
            detail=lambda: network.console("head"),
        )

    def user_data(self) -> str:
        """Return the example user data, before elastiq's substitutions."""
        users = f"{JOB_USER}:{JOB_USER_ID}"
        return filled_in("gridengine-worker.sh", worker_networks=_NETWORKS, users=users)

    def start_worker(
        self, instance_id: str, address: str, user_data: str | bytes, *, lane: str = "", offer: str = ""
    ) -> Machine:
        """Start the VM `instance_id` of the cloud, whose image has Grid Engine installed and says what it offers."""
        offer = (offer or f"slots={self._cpus}") + (f",lane={lane}" if lane else "")
        files = [("/etc/gridengine-node", offer, 0o644)]
        metadata = {"/latest/meta-data/local-ipv4": address}
        return self.start(instance_id, address, user_data, files=files, metadata=metadata)

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
        words = ["qsub", "-terse", "-S", "/bin/sh", "-o", "/dev/null", "-e", "/dev/null", "-N", "job"]
        if count > 1 or at_once:
            words += ["-t", f"1-{count}"] + (["-tc", str(at_once)] if at_once else [])
        if cpus > 1:
            words += ["-pe", "smp", str(cpus)]
        if lane:
            words += ["-l", f"lane={lane}"]
        if held:
            words.append("-h")
        if after:
            words += ["-hold_jid", after]
        answer = self.head.run(*words, *options, user=JOB_USER, stdin=f"sleep {seconds} || :\n").stdout
        return answer.split(".")[0].strip()

    def queue(self) -> list[dict[str, Any]]:
        """Return the jobs that are not finished, as job, state, host and tasks; a waiting array is one."""
        root = ElementTree.fromstring(self.head.run("qstat", "-xml", "-u", "*").stdout)
        return [
            {
                "job": entry.findtext("JB_job_number"),
                "state": entry.findtext("state") or "",
                "host": (entry.findtext("queue_name") or "").partition("@")[2],
                "tasks": entry.findtext("tasks") or "",
            }
            for entry in root.iter("job_list")
        ]

    def is_unfinished(self, job: str) -> bool:
        """Return whether anything of the job or array `job` is in the queue."""
        return any(each["job"] == job for each in self.queue())

    def cancel_all(self) -> None:
        """Remove every job."""
        self.head.run("qdel", "-u", JOB_USER, check=False)

    def busy(self) -> Counter[str]:
        """Return, by instance id, how many jobs run on each worker that has any."""
        ids = {host: instance for host, instance, _ in self._hosts()}
        running = (each["host"] for each in self.queue() if each["state"] in _RUNNING)
        # Of a job that ends at this moment there is no host any more.
        return Counter(ids.get(host, host) for host in running if host)

    def last_ran_on(self, job: str) -> str:
        """Return the instance id of the worker, one that is still there, where `job` ran last."""
        (*_, last) = (record["host"] for record in self._ended() if record["job"] == job)
        ids = {host: instance for host, instance, _ in self._hosts()}
        return ids.get(last, "")

    def job_starts(self) -> dict[str, int]:
        """Return how often each job, finished or not, was started: the master writes a line whenever one ends. Jobs
        that never ran are not among them."""
        ended = Counter(f"{record['job']}.{record['task']}" for record in self._ended())
        running = Counter(f"{each['job']}.{each['tasks'] or 0}" for each in self.queue() if each["host"])
        return dict(ended + running)

    def evictions(self) -> list[str]:
        """Return the records of jobs that ended by anything but their own success."""
        return [str(record) for record in self._ended() if (record["failed"], record["exit_status"]) != ("0", "0")]

    def joined(self) -> set[str]:
        """Return the instance ids of the workers that the master knows and hears of."""
        return {instance for _, instance, state in self._hosts() if instance and state is not None and "u" not in state}

    def silence(self) -> None:
        """Stop the master in the middle of what it does."""
        self.head.run("sh", "-c", "kill -STOP $(pidof sge_qmaster)")

    def wake(self) -> None:
        """Let the master go on."""
        self.head.run("sh", "-c", "kill -CONT $(pidof sge_qmaster)")

    def restart_master(self) -> None:
        """End the master at once, and start it again with what it had saved."""
        self.head.run("sh", "-c", f"kill -9 $(pidof sge_qmaster); {_START_MASTER}")
        wait_until(lambda: self.head.run("qhost", check=False).returncode == 0, "the master is back")

    def logs(self) -> str:
        """Return the end of every machine's console, and of the master's messages."""
        messages = self.head.run("tail", "-n", "60", "/var/spool/gridengine/qmaster/messages", check=False).stdout
        return f"{super().logs()}\n--- messages of sge_qmaster\n{messages}"

    def _hosts(self) -> list[tuple[str, str, str | None]]:
        """Return name, instance id and state of the queue of every host; None for a host without a queue."""
        text = self.head.run("qhost", "-xml", "-q", "-F", "elastiq_instance", check=False).stdout
        hosts = []
        for host in ElementTree.fromstring(text).iter("host") if text.strip() else ():
            values = {value.get("name"): value.text or "" for value in host.iter("resourcevalue")}
            states = [value.text or "" for value in host.iter("queuevalue") if value.get("name") == "state_string"]
            name = host.get("name") or ""
            hosts.append((name, values.get("elastiq_instance", ""), states[0] if states else None))
        return hosts

    def _ended(self) -> list[dict[str, str]]:
        lines = self.head.run("cat", _ACCOUNTING, check=False).stdout.splitlines()
        rows = [line.split(":") for line in lines if not line.startswith("#")]
        return [{name: row[index] for name, index in _FIELDS.items()} for row in rows]
