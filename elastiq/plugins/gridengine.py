"""Grid Engine: asked by qstat, qhost and qconf, closed by disabling all queue instances of a host.

An execution host says which VM it is by complexes that docs/examples/gridengine-head.sh defines, and elastiq marks
there which queues it has disabled, so that it knows its own closings from other people's also after a restart. Works
with Son of Grid Engine 8.1 and its relatives. Commands are found by PATH; the daemon's user has to be a manager.

Grid Engine has no idle clock. The plugin takes the time itself, from when it first saw a host without a job, and starts
over when a line of the host turns up in the accounting file, which the batch system writes for every job that ends: a
job between two looks is not missed. So it never says more than the truth, and starts from zero with the process.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from elastiq.clock import Clock
from elastiq.command import Result, execute, pipeline, run
from elastiq.errors import BatchError
from elastiq.model import Demand, Shape, Worker
from elastiq.plugins import Closing, kit
from elastiq.plugins.gridengine_parse import (
    CLOSED,
    HOST_RESOURCES,
    INSTANCE,
    NOTHING,
    Group,
    Host,
    Resource,
    demand_of,
    parse_groups,
    parse_hosts,
    parse_names,
    parse_resources,
    parse_rule,
    rule_of,
)
from elastiq.plugins.kit import Deadline, is_same, label, run_module
from elastiq.plugins.sections import GridEngineOptions

if TYPE_CHECKING:
    from elastiq.config import Settings

CONFIGURATION_SECONDS = 300.0
"""For so long parallel environments and complexes are remembered; administrators hardly ever change them."""

SWEPT_AT_ONCE = 3
"""Hosts of terminated VMs that one call removes: each takes some commands, and every termination brings a call."""

LAST_HOSTS = "{ ended[$2] } END { for (host in ended) print host }"
"""Of lines of the accounting file: the hosts on which the jobs ran."""

_READ_LIMIT_BYTES = 64 * 1024 * 1024
"""More of the accounting file than this is not read at once; then every host may have had a job."""


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
        self._accounting = _Accounting(accounting_file)
        self._rules: dict[str, str] = {}
        self._resources: dict[str, Resource] = {}
        self._configuration_at: float | None = None
        self._idle_since: dict[tuple[str, str | None], float] = {}
        self._full: dict[tuple[str, str | None], Shape] = {}

    def demand(self) -> tuple[Demand, ...]:
        deadline = self._deadline()
        groups = parse_groups(_count_jobs(deadline.remaining()))
        if not groups:
            return ()
        self._learn_configuration(groups, deadline)
        return demand_of(groups, self._rules, self._resources, self._clock.now())

    def workers(self) -> tuple[Worker, ...]:
        """Return the hosts that are heard of. After a restart of the master that are all that have reported since."""
        deadline = self._deadline()
        hosts = [host for host in _hosts(deadline) if host.joined]
        # After the hosts: a job that ended before they were listed is in the file by now.
        ended = self._accounting.hosts_of_ended_jobs(deadline)
        now = self._clock.now()
        idle_since, full = self._idle_since, self._full
        self._idle_since, self._full = {}, {}
        workers = []
        for host in hosts:
            key = (host.name, host.instance_id)
            starts_over = host.jobs or ended is None or host.name.lower() in ended
            self._idle_since[key] = now if starts_over else idle_since.get(key, now)
            seen = host.worker().free if not host.jobs else full.get(key)
            if seen:
                self._full[key] = seen
            workers.append(host.worker(seen, now - self._idle_since[key]))
        return tuple(workers)

    def close(self, worker: Worker) -> Closing:
        """Disable the queue instances of the host, then look whether a job got in first.

        The master does both one after the other: once a queue instance is disabled, it refuses the scheduler's orders
        for it, also those made before.
        """
        deadline = self._deadline()
        hosts = _hosts(deadline)
        host = _find(worker, hosts)
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
            host = _find(worker, _hosts(deadline))
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
        host = _find(worker, _hosts(deadline))
        if host and host.closed_by_other:
            raise BatchError(f"{label(worker)} was disabled by somebody else and is left alone")
        if not host or not host.closed_queues:
            return
        _switch("-e", host, host.own_closed, deadline)
        host = _find(worker, _hosts(deadline))
        if host and host.own_closed:
            raise BatchError(f"{label(worker)} cannot be opened again: {', '.join(host.own_closed)} stays disabled")
        if host:
            _mark(host, (), deadline)

    def forget(self, worker: Worker) -> None:
        """Take the host out of its host groups and the cluster, after its jobs, if it died with some, were sent
        elsewhere.

        A job that may not be rerun (`qsub -r n`) stays where it was, and the host with it, until an administrator
        decides. The host stays an administrative one: the next VM of its address needs that to join.
        """
        deadline = self._deadline()
        host = _find(worker, _hosts(deadline))
        if not host:
            return
        if host.jobs:
            _switch("-d", host, host.open_queues, deadline)  # or they would start there again
            run(["qmod", "-rq", *_instances(host, [queue.queue for queue in host.queues])], deadline.remaining())
        result = _remove(host, deadline)
        left = _find(worker, _hosts(deadline))
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
        version = run(["qconf", "-help"], deadline.remaining()).strip().splitlines()[:1]
        user = pwd.getpwuid(os.geteuid()).pw_name
        if user not in parse_names(run(["qconf", "-sm"], deadline.remaining()), "qconf -sm"):
            raise BatchError(
                f"{user} is no manager of Grid Engine and cannot disable or remove hosts: qconf -am {user}"
            )
        resources = parse_resources(run(["qconf", "-sc"], deadline.remaining()))
        missing = sorted({INSTANCE, CLOSED} - set(resources))
        if missing:
            raise BatchError(
                f"Grid Engine does not know {' and '.join(missing)}: define them as gridengine-head.sh does"
            )
        joined = sum(host.joined for host in _hosts(deadline))
        return (
            f"Grid Engine {' '.join(version)}, {joined} workers, {user} is a manager, {self._accounting.description()}"
        )

    def _sweep(self, worker: Worker, deadline: Deadline) -> None:
        """Remove a few hosts other than `worker` that elastiq has closed and that are no longer heard of.

        VMs that were terminated are never forgotten by name: this is how their hosts leave. It must not spoil the call
        that it is part of.
        """
        try:
            gone = [host for host in _hosts(deadline) if host.swept and not is_same(worker, host.worker())]
            for host in gone[:SWEPT_AT_ONCE]:
                _remove(host, deadline)
        except BatchError:
            pass  # the next call tries again

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, self._timeout_seconds, "Grid Engine")

    def _learn_configuration(self, groups: Sequence[Group], deadline: Deadline) -> None:
        """Read complexes and the parallel environments that `groups` name, unless they are known."""
        now = self._clock.now()
        if self._configuration_at is None or now - self._configuration_at > CONFIGURATION_SECONDS:
            self._resources = parse_resources(run(["qconf", "-sc"], deadline.remaining()))
            self._rules = {}
            self._configuration_at = now
        wanted = {group.parallel_environment for group in groups if group.parallel_environment}
        if any(rule_of(pattern, self._rules) is None for pattern in wanted):
            names = parse_names(run(["qconf", "-spl"], deadline.remaining()), "qconf -spl")
            self._rules = {name: parse_rule(run(["qconf", "-sp", name], deadline.remaining()), name) for name in names}


class _Accounting:
    """The accounting file, read on from where the last look ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        """File number and size at the last look."""

    def hosts_of_ended_jobs(self, deadline: Deadline) -> frozenset[str] | None:
        """Return the hosts, in small letters, of the jobs that ended since the last look; None if that may be any.

        A file that is not there tells nothing; whoever cannot read it has to look more often.
        """
        status = execute(["stat", "-L", "-c", "%i %s", str(self._path)], deadline.remaining())
        match = re.fullmatch(r"([0-9]{1,20}) ([0-9]{1,20})", status.output.strip())
        if status.status or not match:
            return frozenset()
        before, self._seen = self._seen, (int(match[1]), int(match[2]))
        if before == self._seen:
            return frozenset()
        if before is None:
            return None
        number, size = self._seen
        # Rotated or cut: the end of the old file is lost, and with it who knows which jobs.
        if number != before[0] or size < before[1] or size - before[1] > _READ_LIMIT_BYTES:
            return None
        lines = ["tail", "-c", f"+{before[1] + 1}", str(self._path)]
        try:
            return frozenset(pipeline([lines, ["awk", "-F:", LAST_HOSTS]], deadline.remaining()).lower().split())
        except BatchError:
            return frozenset()  # `check` has said that it cannot be read

    def description(self) -> str:
        """Return what to say about the file."""
        if os.access(self._path, os.R_OK) or (self._path.parent.is_dir() and not self._path.exists()):
            return f"jobs that end are seen in {self._path}"
        return f"{self._path} can NOT be read: a job between two looks does not start the idle time over"


def _count_jobs(timeout_seconds: float) -> str:
    return run_module("elastiq.plugins.gridengine_query", [], timeout_seconds)


def _hosts(deadline: Deadline) -> tuple[Host, ...]:
    """Return the execution hosts; those that do not say their address have the one that this machine resolves."""
    hosts = parse_hosts(run(["qhost", "-xml", "-q", "-F", ",".join(HOST_RESOURCES)], deadline.remaining()))
    silent = [host.name for host in hosts if (host.reported or host.jobs) and not host.address]
    if not silent:
        return hosts
    known = kit.addresses(execute(["getent", "ahostsv4", *silent], deadline.remaining()).output, silent)
    return tuple(replace(host, address=host.address or known.get(host.name.lower())) for host in hosts)


def _find(worker: Worker, hosts: Sequence[Host]) -> Host | None:
    """Return the host that is `worker`. Raise BatchError if more than one may be it."""
    found = [host for host in hosts if is_same(worker, host.worker())]
    if len(found) > 1:
        raise BatchError(f"{label(worker)} may be each of {', '.join(host.name for host in found)}")
    return found[0] if found else None


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


def _host_groups(host: Host, deadline: Deadline) -> list[str]:
    """Return the host groups that name `host`."""
    listed = execute(["qconf", "-shgrpl"], deadline.remaining())
    groups = () if listed.status else parse_names(listed.output, "qconf -shgrpl")  # it fails if there is none
    word = re.compile(rf"(?<![\w.-]){re.escape(host.name)}(?![\w.-])", re.IGNORECASE)
    return [group for group in groups if word.search(run(["qconf", "-shgrp", group], deadline.remaining()))]
