"""HTCondor: asked through its Python bindings or its commands, closed by condor_drain with the startd's own check.

Demand comes from every schedd that the collector knows, never from the collector's totals, which are minutes old.
Commands are found by PATH and take the head node's HTCondor configuration. Draining needs ADMINISTRATOR rights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from elastiq.clock import Clock
from elastiq.command import execute, run
from elastiq.errors import BatchError
from elastiq.model import Demand, Explanation, Judgement, Standing, Usage, Worker
from elastiq.plugins import Closing, kit
from elastiq.plugins.htcondor_explain import ATTRIBUTES, JOB, Found, constraint, nearer, parse_job
from elastiq.plugins.htcondor_matching import asked_of_jobs, template_of
from elastiq.plugins.htcondor_narrowing import narrowed, narrowing_of, untold
from elastiq.plugins.htcondor_parse import (
    OWN_DRAIN,
    Machine,
    parse_demand,
    parse_judgements,
    parse_machines,
    parse_schedds,
    parse_total,
    slots_of,
)
from elastiq.plugins.htcondor_query import SLOT_ATTRIBUTES, SLOT_CONSTRAINT, perhaps, quoted
from elastiq.plugins.htcondor_usage import HISTORY, IS_RUNNING, RUNNING, parse_history, parse_running, since_constraint
from elastiq.plugins.kit import Deadline, execute_module, explained, is_posing, is_same, label, run_module
from elastiq.plugins.placement import DIVIDED, SEVERAL, condor_advice
from elastiq.plugins.sections import HTCondorOptions

if TYPE_CHECKING:
    from elastiq.config import Settings

NO_JOB_CHECK = (
    "ifThenElse(DynamicSlot =?= true,"
    ' State =?= "Unclaimed" && (SlotBrokenCode =!= undefined || SlotBrokenReason =!= undefined),'
    ' (PartitionableSlot =!= true || NumDynamicSlots =?= 0{broken}) && (State =?= "Unclaimed" || State =?= "Owner"))'
)
"""The startd evaluates it on each of its slots, dynamic ones too, and drains only if it is true on all of them.

`{broken}` allows partitionable slots as many broken dynamic slots as were seen there, and no more."""

CHECK_FALSE = "error code 10003"
"""How condor_drain says that the startd found the check false, and changed nothing."""

REASON_UNKNOWN = "argument: -reason"
"""How a condor_drain too old for reasons refuses one: as every argument that it does not know."""

SHARED_BY = {
    DIVIDED: "PartitionableSlot =?= true && ConsumptionPolicy =!= true && TotalSlotCpus > 1",
    SEVERAL: "DynamicSlot =!= true && SlotID > 1",
}
"""Slots by which several jobs may share a worker."""

PLACED_BY = ("NEGOTIATOR_DEPTH_FIRST", "NEGOTIATOR_PRE_JOB_RANK")

CONFIRM_SECONDS = 10.0
"""How long an accepted drain may take until the collector knows (measured: 0.2 s, static slots 1.2 s), and a startd
that was started again (3 s)."""

_POLL_SECONDS = 0.25

MOST_CRASHES = 5
"""So many jobs may crash what judges them, in one call."""

MOST_VACATED = 1000


def create(settings: Settings) -> HTCondor:
    """Return the plugin; nothing is asked of HTCondor yet."""
    options = settings.of(HTCondorOptions)
    return HTCondor(options.query, options.timeout_s)


class HTCondor:
    """The pool of which this machine is the head node, or a submit node with ADMINISTRATOR rights."""

    def __init__(self, query: str, timeout_seconds: float) -> None:
        """`query` is `bindings`, `cli`, or `auto`: bindings if they import. `timeout_seconds` bounds every method."""
        self._query = query
        self._timeout_seconds = timeout_seconds
        self._clock = Clock()
        self._known_schedds: frozenset[str] = frozenset()
        self._drain_takes_reason = True
        self._vacated: set[str] = set()
        """Startds whose jobs were asked to end, some of them."""
        self._asked_of_jobs: frozenset[str] = frozenset()
        """Attributes of jobs by which workers accept them, as far as templates have shown."""

    def demand(self) -> tuple[Demand, ...]:
        demand, schedds = self._demand(self._deadline())
        self._known_schedds |= set(schedds)
        return demand

    def _demand(self, deadline: Deadline, *one: str) -> tuple[tuple[Demand, ...], tuple[str, ...]]:
        """Return the demand of all jobs, or of `one` as htcondor_demand takes it, and the schedds."""
        question = json.dumps({"asked": sorted(self._asked_of_jobs), "one": one}).encode()
        arguments = [self._how(deadline), f"{deadline.remaining():.0f}"]
        text = run_module("elastiq.plugins.htcondor_demand", arguments, deadline.remaining(), input_bytes=question)
        return parse_demand(text)

    def explain(self, job: str) -> Explanation:
        """Return what its schedd says of the job: a cluster (7), a process (7.3), or with the schedd (name#7.3)."""
        match = JOB.fullmatch(job)
        if not match:
            return explained(Standing.UNKNOWN, "jobs of HTCondor are numbers such as 7.3")
        deadline = self._deadline()
        schedd, cluster, process = match.groups()
        found = {name: self._job(name, cluster, process, deadline) for name in self._schedds_called(schedd, deadline)}
        jobs = {name: one for name, one in found.items() if one is not None}
        if not jobs:
            return explained(Standing.UNKNOWN, "" if found else f"there is no schedd {schedd}")
        if len(jobs) > 1:
            names = " and ".join(f"{name}#{cluster}" for name in jobs)
            raise BatchError(f"several schedds have a job {job}: ask for {names}")
        ((schedd, one),) = jobs.items()
        if one.standing is not Standing.WAITS:
            return explained(one.standing, one.text)
        demand, _ = self._demand(deadline, schedd, one.constraint, *(["deferred"] if one.is_deferred else []))
        if demand:
            return explained(Standing.WAITS, one.text, replace(demand[0], jobs=1, running=None))
        again = self._job(schedd, cluster, process, deadline)  # it may have started since
        if again is not None and again.standing is not Standing.WAITS:
            return explained(again.standing, again.text)
        return explained(one.standing_if_left_out, one.text)

    def usage(self, since: float) -> tuple[Usage, ...]:
        """Return who used which machine, by the history of all schedds and their queues."""
        deadline = self._deadline()
        found: list[Usage] = []
        for schedd in self._schedds(deadline):
            # The queue first: a job that ends in between is told twice, and counted once, instead of not at all.
            asked_at = self._clock.now()
            question = [*_condor_q(schedd), "-constraint", IS_RUNNING, "-af", *RUNNING]
            running = parse_running(run(question, deadline.remaining()))
            question = ["condor_history", "-name", schedd, "-since", since_constraint(since), "-af", *HISTORY]
            found += kit.stays(running, parse_history(run(question, deadline.remaining())), asked_at)
        return tuple(found)

    def _schedds_called(self, name: str | None, deadline: Deadline) -> tuple[str, ...]:
        """Return the schedds of that name, or with that host; all without a name."""
        schedds = self._schedds(deadline)
        return tuple(one for one in schedds if name is None or name in (one, one.rpartition("@")[2], one.rstrip("@")))

    def _job(self, schedd: str, cluster: str, process: str | None, deadline: Deadline) -> Found | None:
        question = [*_condor_q(schedd), "-limit", "1", "-json", "-attributes", ",".join(ATTRIBUTES), "-constraint"]
        first = parse_job(run([*question, constraint(cluster, process)], deadline.remaining()))
        for other in nearer(first, cluster, process) if first else ():
            found = parse_job(run([*question, other], deadline.remaining()))
            if found is not None:
                return found
        return first

    def workers(self) -> tuple[Worker, ...]:
        deadline = self._deadline()
        if self._by_bindings(deadline):
            machines = parse_machines(_ask_bindings("workers", deadline.remaining()))
        else:
            machines = self._machines(SLOT_CONSTRAINT, deadline)
        return tuple(machine.worker for machine in machines)

    def close(self, worker: Worker) -> Closing:
        deadline = self._deadline()
        machines = self._find(worker, deadline)
        if not machines:
            return self._close_unlisted(worker, deadline)
        if any(machine.worker.jobs for machine in machines):
            return Closing.BUSY
        _leave_to_other(machines)
        # Whoever is root on another worker may have put other ads in the place of its own: schedds know what runs.
        if self._is_at_work([worker, *(machine.worker for machine in machines)], self._schedds(deadline), deadline):
            return Closing.BUSY
        if all(machine.drained for machine in machines):
            return Closing.CLOSED
        if not self._drain(_startd(machines), _no_job_check(machines), deadline):
            return Closing.BUSY
        self._confirm_closed(worker, deadline)
        return Closing.CLOSED

    def reopen(self, worker: Worker) -> None:
        """Cancel the drain or start the startd again, until the collector shows the worker open.

        Asked more than once if need be: a master forgets the request to start a startd that has not ended yet.
        """
        deadline = self._deadline()
        end = self._clock.now() + min(CONFIRM_SECONDS, deadline.remaining())
        while True:
            machines = self._find(worker, deadline)
            if machines and not any(machine.worker.closed for machine in machines):
                return
            if machines:
                _leave_to_other(machines)
                request = ["condor_drain", "-cancel", _startd(machines)]
            else:
                request = ["condor_on", "-daemon", "startd", self._master(worker, deadline)]
            trouble = execute(request, deadline.remaining()).excerpt
            if self._clock.now() >= end:
                raise BatchError(f"{label(worker)} cannot be opened again: {trouble}")
            self._clock.sleep(1.0)

    def requeue(self, worker: Worker) -> None:
        """Vacate the slots: at first jobs have time to end and to hand over what they wrote, the second time none."""
        deadline = self._deadline()
        machines = [one for one in self._find(worker, deadline) if one.worker.interrupted and one.worker.jobs]
        if machines:
            startd = _startd(machines)
            how = "-fast" if startd in self._vacated else "-graceful"
            run(["condor_vacate", how, startd.partition("@")[2]], deadline.remaining())
            self._vacated = {startd, *list(self._vacated)[:MOST_VACATED]}

    def forget(self, worker: Worker) -> None:
        deadline = self._deadline()
        match = perhaps(worker)
        if worker.instance_id:
            # The next VM may have got the same address and name: its ads must stay.
            match = f"({match}) && (EC2InstanceId =?= {quoted(worker.instance_id)} || EC2InstanceId =?= undefined)"
        for command in ("INVALIDATE_STARTD_ADS", "INVALIDATE_MASTER_ADS"):
            target = "Machine" if "STARTD" in command else "DaemonMaster"
            query = f'MyType = "Query"\nTargetType = "{target}"\nRequirements = {match}\n'
            run(["condor_advertise", command, "-"], deadline.remaining(), input_bytes=query.encode())

    def template(self, worker: Worker) -> str:
        deadline = self._deadline()
        text = run(
            ["condor_status", "-json", "-constraint", f"{SLOT_CONSTRAINT} && ({perhaps(worker)})"], deadline.remaining()
        )
        machines = parse_machines(text) if text.strip() else ()
        found = [machine.worker for machine in machines if is_same(worker, machine.worker)]
        if not found or any(one.closed or one.hurt for one in found):
            what = "is closed, or has lost a slot" if found else "is not listed"
            raise BatchError(f"{label(worker)} {what}, so it does not tell what others like it may run")
        template = template_of(slots_of(text, found[0]))
        self._asked_of_jobs |= asked_of_jobs(template)
        return template

    def judge(self, wants: Sequence[str], template: str) -> tuple[Judgement, ...]:
        deadline = self._deadline()
        narrowing = narrowing_of(template)
        self._asked_of_jobs |= narrowing.asked
        found: list[Judgement] = []
        crashes = 0
        while len(found) < len(wants) and crashes <= MOST_CRASHES:
            question = {"wants": list(wants[len(found) :]), "template": template}
            result = execute_module(
                "elastiq.plugins.htcondor_judge",
                [self._how(deadline), f"{deadline.remaining():.0f}"],
                deadline.remaining(),
                input_bytes=json.dumps(question).encode(),
            )
            found += parse_judgements(result.output)
            if result.status > 0 or (result.status == 0 and len(found) != len(wants)):
                raise BatchError(f"jobs could not be judged: {result.excerpt}")
            if result.status < 0 and len(found) < len(wants):
                crashes += 1
                found.append(untold("Requirements: what evaluates them crashed or hung", narrowing.jobs))
        late = untold("Requirements: others crashed what evaluates them", narrowing.jobs)
        return (*found[: len(wants)], *[late] * (len(wants) - len(found)))

    def narrowed(self, template: str, jobs: str, offers: str) -> str:
        text = narrowed(template, jobs, offers)
        self._asked_of_jobs |= narrowing_of(text).asked
        return text

    def check(self) -> str:
        deadline = self._deadline()
        version = run(["condor_version"], deadline.remaining()).split()
        bindings = self._by_bindings(deadline)
        schedds = self._schedds(deadline)
        machines = self._machines(SLOT_CONSTRAINT, deadline)
        return (
            f"HTCondor {' '.join(version[1:2])}, asked by {'Python bindings' if bindings else 'commands'}, "
            f"schedds: {', '.join(schedds)}, {len(machines)} workers, {_rights(machines, deadline)}"
        )

    def advice(self) -> tuple[str, ...]:
        deadline = self._deadline()
        question = ["condor_status", "-limit", "1", "-af", "Name", "-constraint"]
        shared = [kind for kind, slots in SHARED_BY.items() if run([*question, slots], deadline.remaining()).strip()]
        if not shared:
            return ()
        # The negotiator itself is asked: its files may say what it has not read, and may be on another machine.
        question = ["condor_config_val", "-negotiator"]
        depth_first, rank = (run([*question, name], deadline.remaining()) for name in PLACED_BY)
        return condor_advice(depth_first, rank, shared)

    def _deadline(self) -> Deadline:
        return Deadline(self._clock, self._timeout_seconds, "HTCondor")

    def _by_bindings(self, deadline: Deadline) -> bool:
        if self._query == "auto":
            try:
                _ask_bindings("probe", deadline.remaining())
                self._query = "bindings"
            except BatchError:
                self._query = "cli"
        return self._query == "bindings"

    def _how(self, deadline: Deadline) -> str:
        return "bindings" if self._by_bindings(deadline) else "cli"

    def _schedds(self, deadline: Deadline) -> tuple[str, ...]:
        schedds = parse_schedds(run(["condor_status", "-schedd", "-af", "Name"], deadline.remaining()))
        self._known_schedds |= set(schedds)
        return schedds

    def _machines(self, constraint: str, deadline: Deadline) -> tuple[Machine, ...]:
        text = run(
            ["condor_status", "-json", "-attributes", ",".join(SLOT_ATTRIBUTES), "-constraint", constraint],
            deadline.remaining(),
        )
        if text.strip() not in ("", "[\n]", "[]"):
            return parse_machines(text)
        # Silence is only believed of a collector that shows that it knows something.
        self._schedds(deadline)
        return ()

    def _find(self, worker: Worker, deadline: Deadline) -> tuple[Machine, ...]:
        if not (worker.name or worker.instance_id or worker.address):
            return self._machines("false", deadline)
        found = self._machines(f"{SLOT_CONSTRAINT} && ({perhaps(worker)})", deadline)
        return tuple(one for one in found if is_same(worker, one.worker) and not is_posing(one.worker, worker))

    def _close_unlisted(self, worker: Worker, deadline: Deadline) -> Closing:
        schedds = self._schedds(deadline)
        missing = sorted(self._known_schedds - set(schedds))
        if missing:
            raise BatchError(
                f"{label(worker)} is not listed, and schedd {', '.join(missing)}, which may run jobs there, "
                "does not answer (if it is gone for good, restart elastiq)"
            )
        # Without an address it never reached the pool.
        return Closing.BUSY if self._is_at_work([worker], schedds, deadline) else Closing.CLOSED

    def _is_at_work(self, workers: Sequence[Worker], schedds: Sequence[str], deadline: Deadline) -> bool:
        """Return whether any of the schedds has a job on a machine of one of these names or addresses."""
        terms = [
            f'split(RemoteHost, "@")[1] == {quoted(name)}' for name in sorted({one.name for one in workers} - {""})
        ]
        for address in sorted({one.address for one in workers if one.address}):
            terms.append(f"substr(StartdIpAddr, 0, {len(address) + 2}) == {quoted(f'<{address}:')}")
        # RemoteHost is there as long as a claim is used: also while files are transferred and for suspended jobs.
        running = " || ".join(f"({term}) =?= true" for term in terms)
        asked = ([*_condor_q(schedd), "-constraint", running, "-totals"] for schedd in schedds if terms)
        return any(parse_total(run(question, deadline.remaining())) for question in asked)

    def _drain(self, startd: str, check: str, deadline: Deadline) -> bool:
        """Close one startd for good and return True; return False if it refused because of a job. Raise BatchError."""
        request = ["condor_drain", "-graceful", "-exit-on-completion", "-check", check]
        reason = ["-reason", f"{OWN_DRAIN}: idle"] if self._drain_takes_reason else []
        result = execute([*request, *reason, startd], deadline.remaining())
        if result.status == 0:
            return True
        if CHECK_FALSE in result.error_output:
            return False
        if reason and REASON_UNKNOWN in result.error_output:
            self._drain_takes_reason = False
            return self._drain(startd, check, deadline)
        raise BatchError(f"condor_drain failed with exit status {result.status}: {result.excerpt}")

    def _confirm_closed(self, worker: Worker, deadline: Deadline) -> None:
        """Wait until the collector shows that the drain is done: the ads are gone, or say so."""
        end = self._clock.now() + min(CONFIRM_SECONDS, deadline.remaining())
        while True:
            machines = [machine.worker for machine in self._find(worker, deadline)]
            if all(machine.closed and not machine.jobs for machine in machines):
                return
            if self._clock.now() >= end:
                raise BatchError(f"{label(worker)} took the drain request, but the collector still shows it open")
            self._clock.sleep(_POLL_SECONDS)

    def _master(self, worker: Worker, deadline: Deadline) -> str:
        if worker.name:
            return worker.name
        names = run(
            ["condor_status", "-master", "-af", "Name", "-constraint", perhaps(worker)], deadline.remaining()
        ).split()
        if len(names) != 1:
            raise BatchError(f"{label(worker)} cannot be opened again: its condor_master is not in the collector")
        return names[0]


def _ask_bindings(question: str, timeout_seconds: float) -> str:
    return run_module("elastiq.plugins.htcondor_query", [question, f"{timeout_seconds:.0f}"], timeout_seconds)


def _condor_q(schedd: str) -> list[str]:
    return ["condor_q", "-name", schedd, "-allusers"]


def _startd(machines: Sequence[Machine]) -> str:
    """Return the name of the one startd of a VM.

    Raise BatchError if there is not just one: two cannot be closed as one, and the ads of an earlier one go by
    themselves.
    """
    startds = {startd for machine in machines for startd in machine.startds}
    if len(startds) != 1:
        raise BatchError(f"{label(machines[0].worker)} advertises {len(startds)} startds; only one can be closed")
    return startds.pop()


def _no_job_check(machines: Sequence[Machine]) -> str:
    broken = [item for machine in machines for item in sorted(machine.broken.items())]
    allowed = (f" || (Name =?= {quoted(name)} && NumDynamicSlots =?= {count})" for name, count in broken)
    return NO_JOB_CHECK.format(broken="".join(allowed))


def _leave_to_other(machines: Sequence[Machine]) -> None:
    for machine in machines:
        if machine.worker.closed_by_other:
            raise BatchError(f"{label(machine.worker)} is drained by somebody else and left to them")


def _rights(machines: Sequence[Machine], deadline: Deadline) -> str:
    for machine in machines:
        for startd in machine.startds:
            # Who is told that the check is false would have been obeyed if it were true.
            result = execute(["condor_drain", "-graceful", "-check", "false", startd], deadline.remaining())
            may_drain = CHECK_FALSE in result.error_output
            return "may drain them" if may_drain else f"may NOT drain them: {result.excerpt}"
    return "right to drain not known yet"
