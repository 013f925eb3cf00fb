"""Grid Engine: asked by qstat, qhost and qconf, closed by disabling all queue instances of a host.

An execution host says which VM it is by complexes that docs/examples/gridengine-head.sh defines, and elastiq marks
there which queues it has disabled, so that it knows its own closings from other people's also after a restart. Works
with Son of Grid Engine 8.1 and its relatives. Commands are found by PATH; the daemon's user has to be a manager.

Grid Engine has no idle clock. The plugin takes the time itself, from when it first saw a host without a job, and starts
over when a line of the host turns up in the accounting file, which the batch system writes for every job that ends: a
job between two looks is not missed. So it never says more than the truth, and starts from zero with the process.
"""

from __future__ import annotations

import logging
import os
import pwd
import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from elastiq.clock import Clock
from elastiq.command import Result, execute, run
from elastiq.errors import BatchError
from elastiq.model import Demand, Explanation, Judgement, Standing, Usage, Worker
from elastiq.plugins import TEMPLATE_LIMIT, Closing, kit
from elastiq.plugins.gridengine_accounting import Accounting
from elastiq.plugins.gridengine_complexes import CLOSED, INSTANCE, QUEUE_LIMITS, is_given, parse_complexes
from elastiq.plugins.gridengine_explain import JOB, parse_job, parse_listed
from elastiq.plugins.gridengine_hosts import NOTHING, Host, host_resources, parse_global, parse_hosts
from elastiq.plugins.gridengine_narrowing import judge, narrowed
from elastiq.plugins.gridengine_parse import Group, Jobs, deciding_of, demand_of, limited, parse_jobs, parse_names
from elastiq.plugins.gridengine_site import Site
from elastiq.plugins.gridengine_template import template_of
from elastiq.plugins.gridengine_usage import USED, parse_ended, parse_running
from elastiq.plugins.gridengine_wants import to_text
from elastiq.plugins.kit import Deadline, explained, is_same, label, run_module
from elastiq.plugins.placement import gridengine_advice
from elastiq.plugins.sections import GridEngineOptions

if TYPE_CHECKING:
    from elastiq.config import Settings

log = logging.getLogger(__name__)

SWEPT_AT_ONCE = 3
"""Hosts of terminated VMs that one call removes: each takes some commands, and every termination brings a call."""

_Key = tuple[str, Optional[str]]
"""Name and instance id of a host."""


def create(settings: Settings) -> GridEngine:
    """Return the plugin; nothing is asked of Grid Engine yet."""
    root, cell = os.environ.get("SGE_ROOT", "/var/lib/gridengine"), os.environ.get("SGE_CELL", "default")
    options = settings.of(GridEngineOptions)
    directory = options.cell_dir or Path(root, cell)
    return GridEngine(options.timeout_s, directory / "common" / "accounting")


class GridEngine:
    """The cluster of which this machine is the master, or an administrative host."""

    def __init__(self, timeout_seconds: float, accounting_file: Path) -> None:
        """`timeout_seconds` bounds every method."""
        self._timeout_seconds = timeout_seconds
        self._clock = Clock()
        self._accounting = Accounting(accounting_file)
        self._site = Site(self._clock)
        self._asked: frozenset[str] = frozenset()
        """The complexes that decide what the waiting jobs need of a machine, as they were seen last."""
        self._offered: frozenset[str] | None = None
        """The complexes that any host has a value of; None before there was one."""
        self._idle_since: dict[_Key, float] = {}
        self._full: dict[_Key, Host] = {}
        self._queues: dict[_Key, frozenset[str]] = {}
        """The queues that each host was ever seen to have."""
        self._said: set[str] = set()
        """What was said of hosts that cannot be read, so that each is said once."""
        self._jobs_said = False

    def demand(self) -> tuple[Demand, ...]:
        """Return the waiting jobs. Of consumables of the whole cluster (`qconf -me global`) no more jobs are counted
        than what is left of them is enough for. A job that cannot be read is left out and said once."""
        deadline = self._deadline()
        jobs = parse_jobs(_count_jobs(deadline.remaining()))
        demand, faults = self._demand_of(jobs.groups, deadline) if jobs.groups else ((), ())
        self._say_unreadable(jobs, faults)
        return demand

    def _demand_of(self, waiting: Sequence[Group], deadline: Deadline) -> tuple[tuple[Demand, ...], tuple[str, ...]]:
        """Return the demand of groups of jobs, and what is wrong with those that cannot be read."""
        complexes = self._site.complexes(deadline)
        rules = self._site.rules(waiting, deadline)
        self._asked = deciding_of(waiting, complexes)
        wide = self._site.cluster_wide
        asked = {name for group in waiting for name in group.requests}
        left = self._left_of({name for name in wide if name in asked or is_given(name, complexes)}, deadline)
        # Every queue has its limits; of those that are consumables, only machines with a value run out.
        unlimited = QUEUE_LIMITS & complexes.consumables - self._offered if self._offered is not None else ()
        groups = limited(waiting, left, complexes)
        return demand_of(groups, rules, complexes, self._clock.now(), cluster_wide=wide, unlimited=unlimited)

    def explain(self, job: str) -> Explanation:
        """Return what qstat says of the job, which is a number, or that of a task (7.3)."""
        match = JOB.fullmatch(job)
        if not match:
            return explained(Standing.UNKNOWN, "jobs of Grid Engine are numbers, tasks of arrays such as 7.3")
        deadline = self._deadline()
        found = parse_job(run(["qstat", "-xml", "-j", match[1]], deadline.remaining()))
        if found is None:
            return explained(Standing.UNKNOWN)
        owner, now = kit.name(found.owner, "qstat"), self._clock.now()

        def listed(state: str) -> list[range]:
            return parse_listed(run(["qstat", "-xml", "-s", state, "-u", owner], deadline.remaining()), match[1])

        held = listed("h")
        if match[2]:
            waiting = listed("p")
            standing = found.standing_of(int(match[2]), now, waiting, held)
        else:
            standing = found.standing(now, sum(map(len, held)))
        if standing is not Standing.WAITS:
            return explained(standing, found.text)
        if QUEUE_LIMITS & found.job.requests.keys() & self._site.complexes(deadline).consumables:
            # As `workers` would have found it before.
            self._offered = frozenset(name for host in self._hosts(deadline) if host.joined for name in host.offered)
        demand, faults = self._demand_of([found.group], deadline)
        if demand:
            return explained(standing, found.text, replace(demand[0], jobs=1))
        return explained(Standing.BLOCKED if faults else Standing.LIMITED, "; ".join(faults) or found.text)

    def usage(self, since: float) -> tuple[Usage, ...]:
        """Return who used which host, by the accounting file and by what runs."""
        deadline = self._deadline()
        # What runs first: a job that ends in between is told twice, and counted once, instead of not at all.
        asked_at = self._clock.now()
        running = parse_running(run(["qstat", "-xml", "-s", "rs", "-u", "*"], deadline.remaining()))
        return kit.stays(running, parse_ended(self._accounting.used(USED, since, deadline), since), asked_at)

    def workers(self) -> tuple[Worker, ...]:
        """Return the hosts that are heard of. After a restart of the master that are all that have reported since.

        A host of which qhost says what cannot be read is there, busy in doubt and hurt: left out, its VM would be taken
        for one that was lost with its jobs, and idle, it would be terminated. It is neither closed nor opened.
        """
        deadline = self._deadline()
        hosts = [host for host in self._hosts(deadline) if host.joined]
        # After the hosts: a job that ended before they were listed is in the file by now.
        ended = self._accounting.hosts_of_ended_jobs(deadline)
        now = self._clock.now()
        idle_since, full, queues = self._idle_since, self._full, self._queues
        self._idle_since, self._full, self._queues = {}, {}, {}
        workers = []
        if hosts:
            self._offered = frozenset(name for host in hosts for name in host.offered)
        for host in hosts:
            key = (host.name, host.instance_id)
            starts_over = host.jobs or ended is None or host.name.lower() in ended
            self._idle_since[key] = now if starts_over else idle_since.get(key, now)
            seen = full.get(key) if host.jobs else host
            if seen:
                self._full[key] = seen
            here = frozenset(queue.queue for queue in host.queues)
            self._queues[key] = here | queues.get(key, here)
            lost = bool(self._queues[key] - here)
            workers.append(host.worker(seen, now - self._idle_since[key], self._asked, lost_queues=lost))
        self._say_once({f"host {host.name} cannot be read: {host.unreadable}" for host in hosts if host.unreadable})
        return tuple(workers)

    def template(self, worker: Worker) -> str:
        """Return what decides which jobs such workers run: the queues of the host as they are there, its host groups,
        what it, its queues and the cluster offer, and how requests are compared."""
        deadline = self._deadline()
        host = _find(worker, self._hosts(deadline))
        if not host or host.unreadable or not host.joined:
            raise BatchError(f"{label(worker)} is not heard of: nothing can be learnt from it")
        if host.closed or host.hurt:
            raise BatchError(f"{label(worker)} is closed or has a queue out of order: others are not like it")
        complexes = self._site.complexes(deadline)
        queues = {
            queue.queue: run(["qconf", "-sq", f"{queue.queue}@{host.name}"], deadline.remaining())
            for queue in host.queues
        }
        text = to_text(
            template_of(
                run(["qconf", "-se", host.name], deadline.remaining()),
                queues,
                _host_groups(host, deadline, "-shgrp_resolved"),
                self._site.everywhere,
                complexes,
                self._site.fingerprint,
            )
        )
        if len(text) > TEMPLATE_LIMIT:
            raise BatchError(f"what decides which jobs {label(worker)} runs is too long: {len(text)} characters")
        return text

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        return judge(wants, template, self._site.fingerprint, self._site.known)

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        return narrowed(template, jobs, offers)

    def close(self, worker: Worker) -> Closing:
        """Disable the queue instances of the host, then look whether a job got in first.

        The master does both one after the other: once a queue instance is disabled, it refuses the scheduler's orders
        for it, also those made before.
        """
        deadline = self._deadline()
        hosts = self._hosts(deadline)
        host = _find(worker, hosts)
        _must_be_readable(host)
        if not host:
            strangers = [other.name for other in hosts if other.may_be_any]
            if strangers:
                names = ", ".join(strangers[:5])
                raise BatchError(
                    f"{label(worker)} may be {names}, of which Grid Engine tells neither VM nor IPv4 address"
                )
            return Closing.CLOSED  # the master knows no such host, and so no job on it
        if host.jobs:
            return Closing.BUSY
        if host.closed_by_other:
            raise BatchError(f"{label(worker)} was disabled by somebody else and is left alone")
        if not host.queues:
            return Closing.CLOSED  # it takes no job
        if not host.closed:
            closed_before, newly_closed = host.own_closed, host.open_queues
            _mark(host, (*closed_before, *newly_closed), deadline)
            _switch("-d", host, newly_closed, deadline)
            host = _find(worker, self._hosts(deadline))
            if host and host.jobs:
                _switch("-e", host, newly_closed, deadline)
                _mark(host, closed_before, deadline)
                return Closing.BUSY
            if host and not host.closed:
                raise BatchError(f"{label(worker)} took the request, but is still open: {', '.join(host.open_queues)}")
        self._sweep(worker, deadline)
        return Closing.CLOSED

    def reopen(self, worker: Worker) -> None:
        deadline = self._deadline()
        host = _find(worker, self._hosts(deadline))
        _must_be_readable(host)
        if host and host.closed_by_other:
            raise BatchError(f"{label(worker)} was disabled by somebody else and is left alone")
        if not host or not host.closed_queues:
            return
        _switch("-e", host, host.own_closed, deadline)
        host = _find(worker, self._hosts(deadline))
        if host and host.own_closed:
            raise BatchError(f"{label(worker)} cannot be opened again: {', '.join(host.own_closed)} stays disabled")
        if host:
            _mark(host, (), deadline)

    def requeue(self, worker: Worker) -> None:
        deadline = self._deadline()
        host = _find(worker, self._hosts(deadline))
        _must_be_readable(host)
        if host and host.jobs and host.closed and host.is_marked:
            _rerun(host, deadline)

    def forget(self, worker: Worker) -> None:
        """Take the host out of its host groups and the cluster, after its jobs, if it died with some, were sent
        elsewhere.

        A job that may not be rerun (`qsub -r n`) stays where it was, and the host with it, until an administrator
        decides. The host stays an administrative one: the next VM of its address needs that to join.
        """
        deadline = self._deadline()
        host = _find(worker, self._hosts(deadline))
        _must_be_readable(host)
        if not host:
            return
        if host.jobs:
            _switch("-d", host, host.open_queues, deadline)  # or they would start there again
            _rerun(host, deadline)
        result = _remove(host, deadline)
        left = _find(worker, self._hosts(deadline))
        if left and left.jobs:
            raise BatchError(
                f"{label(worker)} is gone, but jobs that may not be rerun are still assigned to it: see "
                f"qstat -u '*' -q '*@{left.name}', and end them by qdel -f or start them again by qmod -f -rj"
            )
        if left:
            raise BatchError(f"{label(worker)} cannot be removed: {result.excerpt}")
        self._sweep(worker, deadline)

    def check(self) -> str:
        deadline = self._deadline()
        version = kit.lines(run(["qconf", "-help"], deadline.remaining()).strip())[:1]
        user = pwd.getpwuid(os.geteuid()).pw_name
        if user not in parse_names(run(["qconf", "-sm"], deadline.remaining()), "qconf -sm"):
            raise BatchError(
                f"{user} is no manager of Grid Engine and cannot disable or remove hosts: qconf -am {user}"
            )
        complexes = parse_complexes(run(["qconf", "-sc"], deadline.remaining()))
        missing = sorted({INSTANCE, CLOSED} - set(complexes.named))
        if missing:
            raise BatchError(
                f"Grid Engine does not know {' and '.join(missing)}: define them as gridengine-head.sh does"
            )
        joined = sum(host.joined for host in self._hosts(deadline))
        return (
            f"Grid Engine {' '.join(version)}, {joined} workers, {user} is a manager, {self._accounting.description()}"
        )

    def advice(self) -> tuple[str, ...]:
        return gridengine_advice(run(["qconf", "-ssconf"], self._deadline().remaining()))

    def _sweep(self, worker: Worker, deadline: Deadline) -> None:
        """Remove a few hosts other than `worker` that elastiq has closed and that are no longer heard of.

        VMs that were terminated are never forgotten by name: this is how their hosts leave. It must not spoil the call
        that it is part of.
        """
        try:
            gone = [host for host in self._hosts(deadline) if host.swept and not is_same(worker, host.worker())]
            for host in gone[:SWEPT_AT_ONCE]:
                _remove(host, deadline)
        except BatchError:
            pass  # the next call tries again

    def _hosts(self, deadline: Deadline) -> tuple[Host, ...]:
        """Return the execution hosts; those that do not say their address have the one that this machine resolves."""
        complexes = self._site.complexes(deadline)
        asked = ["qhost", "-xml", "-q", "-F", ",".join(host_resources(complexes))]
        hosts = parse_hosts(run(asked, deadline.remaining()), complexes)
        silent = [host.name for host in hosts if (host.reported or host.jobs) and not host.address]
        if not silent:
            return hosts
        known = kit.addresses(execute(["getent", "ahostsv4", *silent], deadline.remaining()).output, silent)
        return tuple(replace(host, address=host.address or known.get(host.name.lower())) for host in hosts)

    def _left_of(self, names: Collection[str], deadline: Deadline) -> dict[str, float]:
        if not names:
            return {}
        return parse_global(run(["qhost", "-xml", "-F", ",".join(sorted(names))], deadline.remaining()), names)

    def _say_unreadable(self, jobs: Jobs, faults: Sequence[str]) -> None:
        count = jobs.unreadable + len(faults)
        if not count:
            self._jobs_said = False
        elif not self._jobs_said:
            self._jobs_said = True
            log.warning("jobs that cannot be read are left out (%d): %s", count, jobs.example or faults[0])

    def _say_once(self, faults: set[str]) -> None:
        for fault in sorted(faults - self._said):
            log.warning("%s; it counts as busy", fault)
        self._said = faults

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, self._timeout_seconds, "Grid Engine")


def _count_jobs(timeout_seconds: float) -> str:
    return run_module("elastiq.plugins.gridengine_query", [], timeout_seconds)


def _find(worker: Worker, hosts: Sequence[Host]) -> Host | None:
    """Return the host that is `worker`. Raise BatchError if more than one may be it."""
    found = [host for host in hosts if is_same(worker, host.worker())]
    if len(found) > 1:
        raise BatchError(f"{label(worker)} may be each of {', '.join(host.name for host in found)}")
    return found[0] if found else None


def _must_be_readable(host: Host | None) -> None:
    if host and host.unreadable:
        raise BatchError(f"worker {host.name} is left alone, for qhost cannot be read: {host.unreadable}")


def _instances(host: Host, queues: Sequence[str]) -> list[str]:
    return [f"{queue}@{host.name}" for queue in queues]


def _mark(host: Host, queues: Sequence[str], deadline: Deadline) -> None:
    """Note at the host which of its queues elastiq closes: before it does, so that no closing is without a mark, and
    again after it has opened them, so that nobody else's is taken for elastiq's."""
    value = f"{CLOSED}={':'.join(queues) or NOTHING}"
    run(["qconf", "-mattr", "exechost", "complex_values", value, host.name], deadline.remaining())


def _remove(host: Host, deadline: Deadline) -> Result:
    """Take `host` out of its host groups and queues and then out of the cluster; return how the last step ended.

    The master refuses that for a host on which it believes a job to run.
    """
    for group in _host_groups(host, deadline):
        run(["qconf", "-dattr", "hostgroup", "hostlist", host.name, group], deadline.remaining())
    for queue in host.queues:
        # A queue that names the host itself, or sets something for it alone, would keep it.
        execute(["qconf", "-dattr", "queue", "hostlist", host.name, queue.queue], deadline.remaining())
        execute(["qconf", "-purge", "queue", "*", f"{queue.queue}@{host.name}"], deadline.remaining())
    return execute(["qconf", "-de", host.name], deadline.remaining())


def _switch(option: str, host: Host, queues: Sequence[str], deadline: Deadline) -> None:
    if queues:
        run(["qmod", option, *_instances(host, queues)], deadline.remaining())


def _rerun(host: Host, deadline: Deadline) -> None:
    """Have the jobs of `host` wait again; those that may not be rerun stay."""
    run(["qmod", "-rq", *_instances(host, [queue.queue for queue in host.queues])], deadline.remaining())


def _host_groups(host: Host, deadline: Deadline, option: str = "-shgrp") -> list[str]:
    """Return the host groups that name `host` or, with `-shgrp_resolved`, have it by groups in them."""
    listed = execute(["qconf", "-shgrpl"], deadline.remaining())
    groups = () if listed.status else parse_names(listed.output, "qconf -shgrpl")  # it fails if there is none
    word = re.compile(rf"(?<![\w.-]){re.escape(host.name)}(?![\w.-])", re.IGNORECASE)
    return [group for group in groups if word.search(run(["qconf", option, group], deadline.remaining()))]
