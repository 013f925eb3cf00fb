"""Slurm 20.11 and later: asked through its commands, closed by a drain with elastiq's own reason.

Workers are nodes of any kind; dynamic nodes (`slurmd -Z`, Slurm 22.05 and later), which are deleted when their VMs are
gone, need the least configuration: docs/examples/slurm-head.conf. Draining needs the rights of SlurmUser or, with
slurmdbd, of an administrator (an operator may not); `[slurm] sudo_user` lends them to scontrol.

Nodes are read from `scontrol show node`, a line each, not from `sinfo --json`. Both say the same, but the lines have
one form from 20.11 on, while the JSON came with 21.08 and has changed how it writes states and numbers since.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from elastiq.clock import Clock
from elastiq.command import Result, execute, pipeline, run
from elastiq.errors import BatchError
from elastiq.model import Demand, Explanation, Judgement, Standing, Usage, Worker
from elastiq.plugins import Closing, kit
from elastiq.plugins.kit import Deadline, explained, is_same, label
from elastiq.plugins.placement import slurm_advice
from elastiq.plugins.sections import SlurmOptions
from elastiq.plugins.slurm_explain import JOB, NO_SUCH_JOB, Found, explain_format, parse_job
from elastiq.plugins.slurm_limits import Cluster, Partition, parse_licenses, parse_partitions, parse_sharing
from elastiq.plugins.slurm_narrowing import judge, narrowed, taken_of
from elastiq.plugins.slurm_parse import OWN_REASON, Node, parse_nodes, parse_server_time, with_addresses
from elastiq.plugins.slurm_queue import GROUP_JOBS, Waiting, demand_of, parse_queue, queue_format
from elastiq.plugins.slurm_usage import (
    DATABASE,
    SACCT,
    parse_ended,
    parse_running,
    parse_sacct,
    running_format,
    source_of,
)
from elastiq.text import one_line

if TYPE_CHECKING:
    from elastiq.config import Settings

log = logging.getLogger(__name__)

_ENVIRONMENT = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0"}
"""Times in seconds, and lists of array tasks in full length."""
_ACTIVE_STATES = "R,CF,CG,S,SI,SO,ST"
"""All states of a job that has something on a node."""
_RUNNING_STATES = "R,CF,S,SO,ST"
"""Those of jobs that do not end yet."""
_DOUBTFUL_PRIVACY = frozenset({"jobs", "nodes"})
_SHOW = ("scontrol", "--oneliner", "--all", "show")
_SHOW_NODES = ("scontrol", "--oneliner", "--details", "--all", "show", "node")
_DELETED_AT_ONCE = 100
_RESOLVING_SECONDS = 5.0
"""For so long the addresses of hosts are waited for; without them the rest of the answer is good."""
_ENDED_JOBS_BYTES = 32 * 1024 * 1024
"""So much is read of the end of the file of ended jobs: some 100,000 of them."""
_FARTHEST_SECONDS = 10 * 366 * 86400.0
"""sacct is asked for no longer: it takes the epoch for a time that it cannot read."""
_NO_SUCH_NODE = "elastiq-no-such-node"
_UNKNOWN_NODE = "Invalid node name"
"""How scontrol says that a node it should change is gone."""


def create(settings: Settings) -> Slurm:
    """Return the plugin; nothing is asked of Slurm yet."""
    options = settings.of(SlurmOptions)
    return Slurm(options.timeout_s, options.sudo_user, options.partitions)


class Slurm:
    """The cluster that this machine's Slurm configuration names."""

    def __init__(self, timeout_seconds: float, sudo_user: str = "", partitions: Sequence[str] = ()) -> None:
        """`timeout_seconds` bounds every method. Nodes are changed as `sudo_user`, by sudo, if one is given. Only jobs
        of `partitions` are demand, if any are given."""
        self._timeout_seconds = timeout_seconds
        self._partitions = tuple(partitions)
        self._asked: frozenset[str] = frozenset()
        """The partitions by which pools take jobs."""
        self._clock = Clock()
        self._sudo = ("sudo", "-n", "-u", sudo_user) if sudo_user else ()
        self._reading: tuple[str, ...] | None = None
        self._idle_since: dict[str, float] = {}
        self._lookup_fault = ""
        """Why the addresses of nodes could not be looked up the last time, if so."""
        self._sharing = Cluster()
        """How nodes are shared out, of the configuration."""
        self._said: dict[str, str] = {}
        """What was said last of what cannot be read, by where it stands."""

    def demand(self) -> tuple[Demand, ...]:
        deadline = self._deadline()
        reading = self._readable(deadline)
        now = self._server_time(deadline)
        waiting, counts = parse_queue(self._queue(reading, now, deadline))
        self._once("jobs", counts.example, f"{counts.unread} jobs cannot be read and are left out: ")
        return demand_of(waiting, counts, now, self._partitions, self._cluster(waiting, deadline), self._asked)

    def _queue(self, reading: Sequence[str], now: float, deadline: Deadline, *only: str) -> str:
        """Return the groups of equal jobs in the queue, or among those that the option `only` names."""
        words = ["squeue", "--all", "--noconvert", f"--states=PD,{_ACTIVE_STATES}", f"--Format={queue_format()}"]
        return pipeline(
            [[*reading, *words, *only], ["awk", "-v", f"now={now:.0f}", GROUP_JOBS]],
            deadline.remaining(),
            environment=_ENVIRONMENT,
        )

    def explain(self, job: str) -> Explanation:
        """Return what squeue says of the job, which is a number, that of a task (7_3), or of a component (7+1)."""
        match = JOB.fullmatch(job)
        if not match:
            return explained(Standing.UNKNOWN, "jobs of Slurm are numbers, tasks of arrays such as 7_3")
        deadline = self._deadline()
        reading = self._readable(deadline)
        now = self._server_time(deadline)
        only = f"--jobs={job.partition('+')[0]}"
        found = self._job(reading, only, now, deadline)
        if found is None:
            return explained(Standing.UNKNOWN)
        if found.standing is not Standing.WAITS:
            return explained(found.standing, found.text)
        waiting, counts = parse_queue(self._queue(reading, now, deadline, only))
        cluster = self._cluster(waiting, deadline)
        group = next(iter(demand_of(waiting, counts, now, self._partitions, cluster, self._asked)), None)
        if group is not None:
            return explained(Standing.WAITS, found.text, replace(group, jobs=1))
        is_elsewhere = bool(demand_of(waiting, counts, now, (), cluster))
        again = self._job(reading, only, now, deadline)  # it may have started since
        if again is not None and again.standing is not Standing.WAITS:
            return explained(again.standing, again.text)
        return explained(Standing.ELSEWHERE if is_elsewhere else Standing.LIMITED, found.text)

    def usage(self, since: float) -> tuple[Usage, ...]:
        """Return who used which node, by slurmdbd, or by the file of ended jobs and the queue."""
        deadline = self._deadline()
        reading = self._readable(deadline)
        source = source_of(run(["scontrol", "show", "config"], deadline.remaining()))
        if source == DATABASE:
            seconds = min(max(0.0, self._clock.now() - since), _FARTHEST_SECONDS)
            words = ["sacct", "--allusers", "--allocations", "--duplicates", "--noheader", "--parsable2"]
            words += [f"--starttime=now-{seconds:.0f}", f"--format={','.join(SACCT)}"]
            return parse_sacct(run(words, deadline.remaining(), environment=_ENVIRONMENT))
        asked_at = self._clock.now()
        words = ["squeue", "--all", "--noheader", f"--states={_ACTIVE_STATES}", f"--Format={running_format()}"]
        running = parse_running(run([*reading, *words], deadline.remaining(), environment=_ENVIRONMENT))
        ended = run(["tail", "-c", str(_ENDED_JOBS_BYTES), "--", source], deadline.remaining())
        return kit.stays(running, parse_ended(ended, since), asked_at)

    def _job(self, reading: Sequence[str], only: str, now: float, deadline: Deadline) -> Found | None:
        """Return the job that the option `only` names; None if Slurm does not know it."""
        question = [*reading, "squeue", "--all", "--states=all", only, f"--Format={explain_format()}"]
        result = execute(question, deadline.remaining(), environment=_ENVIRONMENT)
        if result.status and NO_SUCH_JOB not in result.error_output:
            raise BatchError(f"squeue failed with exit status {result.status}: {result.excerpt}")
        return None if result.status else parse_job(result.output, now)

    def workers(self) -> tuple[Worker, ...]:
        nodes = self._nodes(self._deadline())
        self._once("nodes", "; ".join(node.doubt for node in nodes if node.doubt))
        return tuple(self._since_seen_idle(node.worker) for node in nodes if node.present)

    def template(self, worker: Worker) -> str:
        node = _find(worker, self._nodes(self._deadline(), worker))
        if node is None or node.doubt or node.down or node.worker.closed or node.worker.hurt:
            raise BatchError(f"{label(worker)} is not there, closed or broken: others are not like it")
        return node.offer.text()

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return judge(wants, template)

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        self._asked |= taken_of(jobs).partitions
        return narrowed(template, jobs, offers)

    def close(self, worker: Worker) -> Closing:
        deadline = self._deadline()
        nodes = self._nodes(deadline, worker, again=True)
        self._delete_left_overs(nodes, deadline)
        node = _find(worker, nodes)
        if node is None:
            strangers = [other.worker.name for other in nodes if other.may_be_any]
            if strangers:
                names = ", ".join(strangers[:5])
                why = f": {self._lookup_fault}" if self._lookup_fault else ""
                raise BatchError(
                    f"{label(worker)} may be {names}, of which Slurm tells neither VM nor IPv4 address{why}"
                )
            return Closing.CLOSED  # no job can be on a machine that is no node
        if node.worker.closed_by_other:
            raise BatchError(f"{label(worker)} was drained by somebody else, not by elastiq: {node.reason[:200]}")
        if not node.drained_by_elastiq:
            # What Slurm has drained itself stays so: it is not drained again, and opened again, over the end of a job.
            if node.worker.jobs or (node.worker.closed and self._has_jobs(node, deadline)):
                return Closing.BUSY
            self._change(node, "state=drain", f"reason={node.reason_to_close}", deadline=deadline)
        found = _find(node.worker, self._nodes(deadline))
        if found is None:
            return Closing.CLOSED
        if not found.drained_by_elastiq:
            raise BatchError(f"{label(worker)} took the drain, but is not drained: {found.reason[:200]}")
        if not found.worker.jobs and not self._has_jobs(found, deadline):
            return Closing.CLOSED
        if not (found.drained_by_slurm or found.worker.interrupted):
            self._undrain(found, deadline)
        return Closing.BUSY

    def reopen(self, worker: Worker) -> None:
        deadline = self._deadline()
        node = _find(worker, self._nodes(deadline, worker))
        if node is not None and node.doubt:
            raise BatchError(node.doubt)
        if node is None or not node.worker.closed:
            return
        if node.worker.closed_by_other:
            raise BatchError(f"{label(worker)} was drained by somebody else, not by elastiq: {node.reason[:200]}")
        if node.drained_by_slurm:
            raise BatchError(
                f"{label(worker)} was drained by Slurm itself, and stays so until somebody mends and resumes it "
                f"(scontrol update nodename={node.worker.name} state=resume): {node.reason[:200]}"
            )
        self._undrain(node, deadline)

    def requeue(self, worker: Worker) -> None:
        """Have the jobs of the node requeued: they get SIGTERM, and KillWait later SIGKILL."""
        deadline = self._deadline()
        node = _find(worker, self._nodes(deadline, worker))
        if node is None or not node.worker.interrupted:
            return
        question = ["squeue", "--all", "--noheader", f"--nodelist={node.worker.name}", f"--states={_RUNNING_STATES}"]
        jobs = run([*self._readable(deadline), *question, "--format=%A"], deadline.remaining()).split()
        if jobs:
            self._try(["requeue", ",".join(jobs)], f"requeue jobs of {label(node.worker)}", deadline)

    def forget(self, worker: Worker) -> None:
        """Delete the node, so that its jobs are queued again at once. A node that cannot be deleted, because the
        configuration names it, is set down until its next VM registers."""
        deadline = self._deadline()
        nodes = self._nodes(deadline, worker)
        self._delete_left_overs(nodes, deadline)
        node = _find(worker, nodes)
        if node is None:
            return
        if not node.down:
            self._change(node, "state=down", f"reason={OWN_REASON}its VM is gone", deadline=deadline)
        if node.dynamic:
            self._try(["delete", f"nodename={node.worker.name}"], f"delete {label(worker)}", deadline)
        elif node.drained_by_elastiq:
            self._change(node, "state=undrain", deadline=deadline)

    def check(self) -> str:
        deadline = self._deadline()
        self._reading = None
        self._readable(deadline)
        version = run(["scontrol", "--version"], deadline.remaining()).split()
        nodes = [node for node in self._nodes(deadline) if node.present]
        trial = self._scontrol(["update", f"nodename={_NO_SUCH_NODE}", "state=resume"], deadline)
        if _UNKNOWN_NODE not in trial.error_output:
            raise BatchError(
                f"this user may not drain nodes ({trial.excerpt}): set [slurm] sudo_user = slurm and allow it in "
                "sudoers, or make the user an administrator in slurmdbd"
            )
        return f"Slurm {' '.join(version[1:2])}, {len(nodes)} workers, may drain them"

    def advice(self) -> tuple[str, ...]:
        deadline = self._deadline()
        configuration = run(["scontrol", "show", "config"], deadline.remaining())
        return slurm_advice(configuration, self._all_partitions(deadline), self._partitions)

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, self._timeout_seconds, "Slurm")

    def _readable(self, deadline: Deadline, *, again: bool = False) -> tuple[str, ...]:
        """Return the words to put before commands that read, so that nothing is hidden from them.

        Raise BatchError if there is no way: a user from whom jobs and nodes are hidden is told that there are none.
        """
        if self._reading is None or again:
            answer = run(["scontrol", "show", "config"], deadline.remaining())
            private = re.search(r"^PrivateData\s*=\s*(\S+)", answer, re.MULTILINE)
            owner = re.search(r"^SlurmUser\s*=\s*\S+\((\d+)\)", answer, re.MULTILINE)
            if not private or not owner:
                raise BatchError("scontrol show config did not say whether jobs and nodes are hidden (PrivateData)")
            hidden = _DOUBTFUL_PRIVACY.intersection(private[1].lower().split(","))
            sees_all = not hidden or os.geteuid() in (0, int(owner[1]))
            if not sees_all and not self._sudo:
                raise BatchError(
                    f"Slurm's PrivateData={private[1]} hides {' and '.join(sorted(hidden))} from elastiq: "
                    "set [slurm] sudo_user = slurm and allow it in sudoers"
                )
            self._reading = () if sees_all else self._sudo
            self._sharing = parse_sharing(answer)
        return self._reading

    def _cluster(self, waiting: Sequence[Waiting], deadline: Deadline) -> Cluster:
        """Return what decides about jobs beside their own wishes; no more is asked than matters for what waits."""
        parts = [part for group in waiting for part in group.parts]
        if not parts:
            return self._sharing
        partitions = self._all_partitions(deadline)
        gone = sorted({name for part in parts for name in part.partitions if name not in partitions})
        self._once("partitions", f"scontrol knows no partition {', '.join(gone)}, which jobs name" if gone else "")
        licenses = {}
        if any(part.licenses for part in parts):
            command = [*self._readable(deadline), *_SHOW, "licenses"]
            licenses = dict(parse_licenses(run(command, deadline.remaining())))
        return replace(self._sharing, partitions=partitions, licenses=licenses)

    def _all_partitions(self, deadline: Deadline) -> Mapping[str, Partition]:
        command = [*self._readable(deadline), *_SHOW, "partition"]
        return parse_partitions(run(command, deadline.remaining(), environment=_ENVIRONMENT))

    def _once(self, where: str, fault: str, introduction: str = "") -> None:
        """Log a fault of `where` once, until it is over or another one."""
        if fault and self._said.get(where) != fault:
            log.warning("%s%s", introduction, one_line(fault, 1000))
        self._said[where] = fault

    def _server_time(self, deadline: Deadline) -> float:
        return parse_server_time(run(["sdiag"], deadline.remaining()))

    def _nodes(self, deadline: Deadline, worker: Worker | None = None, *, again: bool = False) -> tuple[Node, ...]:
        """Return the nodes; of those that are down the hosts are looked up only if one of them may be `worker`."""
        reading = self._readable(deadline, again=again)
        now = self._server_time(deadline)
        nodes = parse_nodes(run([*reading, *_SHOW_NODES], deadline.remaining(), environment=_ENVIRONMENT), now)
        nodes, fault = _looked_up(nodes, deadline, down=False)
        if fault and not self._lookup_fault:
            log.warning("addresses of nodes cannot be looked up: %s", fault)
        self._lookup_fault = fault
        if worker and [node.down for node in nodes if is_same(worker, node.worker)] != [False]:
            nodes, _ = _looked_up(nodes, deadline, down=True)
        return nodes

    def _since_seen_idle(self, worker: Worker) -> Worker:
        """Return `worker`, of which Slurm before 21.08 does not say since when it is idle, with the time since it was
        first seen so."""
        if worker.jobs or worker.idle_seconds is not None:
            self._idle_since.pop(worker.name, None)
            return worker
        now = self._clock.now()
        return replace(worker, idle_seconds=now - self._idle_since.setdefault(worker.name, now))

    def _delete_left_overs(self, nodes: Sequence[Node], deadline: Deadline) -> None:
        """Delete the dead nodes that elastiq has drained for a termination, or that it could not delete when their VMs
        were gone. Nobody says `forget` for the former, or again for the latter, and Slurm keeps them for ever."""
        names = [
            node.worker.name for node in nodes if node.dynamic and node.down and node.reason.startswith(OWN_REASON)
        ]
        for start in range(0, len(names), _DELETED_AT_ONCE):
            self._scontrol(["delete", f"nodename={','.join(names[start : start + _DELETED_AT_ONCE])}"], deadline)

    def _has_jobs(self, node: Node, deadline: Deadline) -> bool:
        """Return whether any job has something on `node`, by the list of jobs."""
        question = ["squeue", "--all", f"--nodelist={node.worker.name}", f"--states={_ACTIVE_STATES}", "--format=%A"]
        answer = run([*self._readable(deadline), *question], deadline.remaining())
        header, *jobs = answer.split() or [""]
        if header != "JOBID":
            raise BatchError(f"squeue did not say what runs on {label(node.worker)}")
        return bool(jobs)

    def _undrain(self, node: Node, deadline: Deadline) -> None:
        # Not state=resume: it would also bring back a node that is down, or that somebody has set to fail.
        self._change(node, "state=undrain", deadline=deadline)
        found = _find(node.worker, self._nodes(deadline))
        if found is not None and found.worker.closed:
            raise BatchError(f"{label(node.worker)} is still drained: {found.reason[:200]}")

    def _change(self, node: Node, *changes: str, deadline: Deadline) -> None:
        arguments = ["update", f"nodename={node.worker.name}", *changes]
        self._try(arguments, f"set {changes[0]} of {label(node.worker)}", deadline)

    def _try(self, arguments: Sequence[str], what: str, deadline: Deadline) -> None:
        """Run scontrol. Raise BatchError if it failed for another reason than that the node is gone."""
        result = self._scontrol(arguments, deadline)
        if result.status != 0 and _UNKNOWN_NODE not in result.error_output + result.output:
            raise BatchError(f"scontrol could not {what}: {result.excerpt}")

    def _scontrol(self, arguments: Sequence[str], deadline: Deadline) -> Result:
        return execute([*self._sudo, "scontrol", *arguments], deadline.remaining())


def _looked_up(nodes: tuple[Node, ...], deadline: Deadline, *, down: bool) -> tuple[tuple[Node, ...], str]:
    """Return `nodes`, those that are `down`, or those that are not, with the addresses of their hosts as this machine
    resolves them (slurmctld has to, too); and why that failed, if it did: it must not hide the nodes that need none.

    Not all at once: a name service hangs on the names of machines that are gone, and then tells of no other either.
    """
    unknown = (node for node in nodes if node.down is down and node.host and not node.worker.instance_id)
    hosts = sorted({node.host.lower() for node in unknown})
    if not hosts:
        return nodes, ""
    seconds = min(_RESOLVING_SECONDS, deadline.remaining())
    try:
        answer = execute(["getent", "ahostsv4", *hosts], seconds).output
    except BatchError as error:
        return nodes, f"the name service does not answer ({error})"
    return with_addresses(nodes, kit.addresses(answer, hosts)), ""


def _find(worker: Worker, nodes: Sequence[Node]) -> Node | None:
    """Return the node that `worker` is, or None. Raise BatchError if there are several: which one has the jobs?"""
    found = [node for node in nodes if is_same(worker, node.worker)]
    if len(found) > 1:
        names = ", ".join(node.worker.name for node in found[:5])
        raise BatchError(f"{label(worker)} is more than one node of Slurm: {names}")
    return found[0] if found else None
