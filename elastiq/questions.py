"""What `elastiqctl why`, `plan`, `vms` and `jobs` find out, beside the daemon and without disturbing it.

What the daemon last planned is read from its state; only of the one job that is asked for, and for `plan`, are the
batch system and the cloud asked as well. Nothing is written, launched, closed or terminated.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.decisions import Decision, Kind, Outcome, Reason, Token
from elastiq.errors import BatchError
from elastiq.ledger import seen_until
from elastiq.memory import Memory
from elastiq.model import Demand, Judgement, Standing, of_pool
from elastiq.observer import Observer, Reading, as_taken, best, text_for, texts_known
from elastiq.planning import remedies
from elastiq.planning.plan import plan
from elastiq.planning.why import Account, GroupTold, Told, VmTold, account, group_told, vm_told
from elastiq.plugins import loading
from elastiq.plugins.adapter import Adapter
from elastiq.ports import Batch, Cloud, Outside
from elastiq.process.pidfile import find_daemon
from elastiq.redaction import Redactor
from elastiq.report import accounts, why
from elastiq.report.reporter import Reporter
from elastiq.report.why import Document
from elastiq.state import after_restart, read_account, read_decisions_on, read_memory
from elastiq.state.kept import Life
from elastiq.state.past import read_life

INSTANCE_ID = re.compile(r"i-[0-9a-f]+")
"""What is a VM's id, and no name of a job, whether it is known or not."""


@dataclass(frozen=True)
class Known:
    """What the daemon has left in its state."""

    directory: Path
    now: float
    is_running: bool
    told: Account
    """What it last planned; nothing, of the time 0, before that."""
    memory: Memory

    @staticmethod
    def read(directory: Path) -> Known:
        """Return what is there. Raise StateError if it cannot be seen whether the daemon runs."""
        told = accounts.read(read_account(directory)) or Account(0.0)
        is_running = find_daemon(directory) is not None
        return Known(directory, Clock().now(), is_running, told, read_memory(directory) or Memory())

    @property
    def first_of_all(self) -> tuple[Told, ...]:
        """Return what has to be known before all else: that the daemon does not run, or has planned nothing yet."""
        if not self.is_running:
            return (_told(remedies.not_running()),)
        return () if self.told.at else (_told(remedies.no_plan_yet()),)

    def vm(self, name: str, settings: Settings) -> VmTold | None:
        """Return the VM of that id, or whose worker has that name or address."""
        for one in self.vms(settings):
            if name in (one.id, one.worker, one.address) and name:
                return one
        return None

    def vms(self, settings: Settings) -> tuple[VmTold, ...]:
        """Return all VMs that are remembered: what was planned of them, or that they are new."""
        planned = {one.id: one for one in self.told.vms}
        records = self.memory.vms.values()
        return tuple(planned.get(record.id) or vm_told(record, None, settings.policy(), self.now) for record in records)


def _told(reason: Reason, jobs: int = 0) -> Told:
    return Told(reason.token.value, str(reason), jobs)


@dataclass(frozen=True)
class Answer:
    """What was found out."""

    document: Document
    lines: list[str]
    is_known: bool = True
    """Whether there is such a job or VM."""
    is_whole: bool = True
    """Whether the daemon runs, and all could be asked."""


def redactor_of(settings: Settings) -> Redactor:
    """Return what takes the secrets of a configuration out of texts."""
    redactor = Redactor()
    redactor.add(settings.secrets(), [pool.vm.user_data for pool in settings.pools])
    return redactor


def cleaned(document: Any, clean: Callable[[str], str]) -> Any:
    """Return a document with all of its texts cleaned."""
    if isinstance(document, str):
        return clean(document)
    if isinstance(document, Mapping):
        return {name: cleaned(value, clean) for name, value in document.items()}
    return [cleaned(one, clean) for one in document] if isinstance(document, (list, tuple)) else document


def of_all(known: Known) -> Answer:
    """Return all that waits or is held back, as it was last planned."""
    document = why.whole_document(known.told, known.first_of_all)
    return Answer(document, why.lines_of_all(document, known.now), is_whole=not known.first_of_all)


def of_vms(known: Known, settings: Settings) -> Answer:
    """Return the VMs that are there."""
    vms = [why.vm_document(one) for one in known.vms(settings)]
    told = [why.answer(one) for one in known.first_of_all]
    lines = [*(f"{one['token']}: {one['text']}" for one in told), *why.table_of_vms(vms, known.now)]
    return Answer({"at": known.told.at, "told": told, "vms": vms}, lines, is_whole=not told)


def of_jobs(known: Known) -> Answer:
    """Return the groups of waiting jobs."""
    groups = [why.group_document(one) for one in known.told.groups]
    told = [why.answer(one) for one in known.first_of_all]
    lines = [*(f"{one['token']}: {one['text']}" for one in told), *why.table_of_jobs(groups, known.now)]
    return Answer({"at": known.told.at, "told": told, "groups": groups}, lines, is_whole=not told)


def of_one(name: str, known: Known, settings: Settings) -> Answer:
    """Return what is to be said of a VM, if `name` is its id or that of its worker, or of a job. Raise BatchError or
    ConfigError if a job cannot be asked for."""
    vm = known.vm(name, settings)
    if vm is not None:
        told = [why.answer(one) for one in _of_vm(vm, known)]
        bill = _bill(read_life(known.directory, vm.id), known, settings)
        document = {"at": known.told.at, **why.vm_document(vm), **bill, "told": told}
        return Answer(document, why.lines_of_vm(document, known.now), is_whole=not known.first_of_all)
    gone = _gone(name, known, settings)
    if gone is not None or INSTANCE_ID.fullmatch(name):
        document = gone or {"id": name, "told": [why.answer(_told(remedies.no_such_vm(name)))]}
        return Answer(document, why.lines_of_vm(document, known.now), is_known=gone is not None)
    return _of_job(name, known, settings)


def _of_vm(vm: VmTold, known: Known) -> tuple[Told, ...]:
    return (*known.first_of_all, vm.told)


def _bill(life: Life | None, known: Known, settings: Settings) -> Document:
    """Return what a VM has cost, as far as that is kept."""
    if life is None:
        return {}
    until = seen_until(known.directory, known.now, is_running=known.is_running)
    return why.bill_document(life, until, settings.policy().cost.currency)


def _gone(name: str, known: Known, settings: Settings) -> Document | None:
    """Return what is kept of a VM that is gone: who ended it, and why; None if nothing is."""
    life = read_life(known.directory, name)
    # A number of a job may be in any sentence.
    is_vm = life is not None or INSTANCE_ID.fullmatch(name)
    decisions = [one for one in read_decisions_on(known.directory, name) if is_vm and _is_on(one, name)]
    ended = [one for one in decisions if one["kind"] == Kind.TERMINATE.value and one["cause"] == Token.DONE.value]
    seen = [one for one in decisions if one["token"] in {token.value for token in _DEPARTURES}]
    if life is None and not (ended or seen):
        return None
    at = life.ended_at if life else (ended or seen)[-1]["at"]
    if ended or (life and life.because):
        because = ended[-1]["reason"] if ended else life.because if life else ""
        told = [replace(_told(remedies.ended_by_elastiq(name, because)), since=at)]
        told += [Told(ended[-1]["token"], because)] if ended else []
    elif seen:
        told = [Told(seen[-1]["token"], seen[-1]["reason"], since=at)]
    else:
        told = [replace(_told(remedies.ended_by_others(name)), since=at)]
    facts: Document = (
        {} if life is None else {"pool": life.pool, "launched_at": life.launched_at, "joined_at": life.joined_at}
    )
    facts |= _bill(life, known, settings)
    return {"id": name, "stage": "gone", **facts, "ended_at": at, "told": [why.answer(one) for one in told]}


_DEPARTURES = (Token.VM_ENDED, Token.VM_VANISHED, Token.VM_INTERRUPTED, Token.ENDED_AFTER_ALL)


def _is_on(decision: Mapping[str, Any], name: str) -> bool:
    words = re.findall(r"[\w.-]+", f"{decision['subject']} {decision['reason']}")
    return name in {word.strip(".-") for word in words}


def _of_job(name: str, known: Known, settings: Settings) -> Answer:
    plugin = settings.elastiq.batch_plugin
    batch = Adapter(loading.load(plugin, settings), plugin)
    policy = settings.policy()
    for pool in policy.variants:
        # By what workers have shown the plugin knows which attributes of jobs tell groups apart.
        for template in filter(None, texts_known(known.memory, pool, known.now)):
            with suppress(BatchError):
                batch.judge((), text_for(batch, pool, template))
    explanation = batch.explain(name)
    if explanation is None:
        return _answer_on_job(name, known, (_told(remedies.cannot_tell(plugin)),), None, "", is_whole=False)
    if explanation.standing is not Standing.WAITS or explanation.group is None:
        is_known = explanation.standing is not Standing.UNKNOWN
        told = _told(remedies.no_demand(explanation))
        return _answer_on_job(name, known, (told,), None, explanation.text, is_known=is_known)
    group = next((one for one in known.told.groups if one.key == explanation.group.key), None)
    if group is not None:
        return _answer_on_job(name, known, (*known.first_of_all, *group.told), group, explanation.text)
    judged = _judged(explanation.group, batch, known, settings)
    alone = group_told(judged, known.memory, policy, known.now)
    # Of a queue that could not be read no groups are known.
    unreadable = tuple(one for one in known.told.holds if one.token == Token.UNREADABLE.value)
    verdicts = unreadable or (_told(remedies.not_seen(explanation)),)
    return _answer_on_job(name, known, (*known.first_of_all, *verdicts), alone, explanation.text)


def _answer_on_job(
    name: str,
    known: Known,
    told: tuple[Told, ...],
    group: GroupTold | None,
    said: str,
    *,
    is_known: bool = True,
    is_whole: bool = True,
) -> Answer:
    document: Document = {"job": name, "told": [why.answer(one) for one in told], "said": said}
    if group is not None:
        document |= {"at": known.told.at, "group": why.group_document(group), "max_vms": known.told.max_vms}
        document["pools"] = [why.pool_document(one) for one in known.told.pools]
    is_whole = is_whole and not (group is not None and known.first_of_all)
    return Answer(document, why.lines_of_job(document, known.now), is_known, is_whole)


def _judged(group: Demand, batch: Adapter, known: Known, settings: Settings) -> Demand:
    """Return the group with what the plugin judges of it for each pool, as the daemon would have it judged."""
    found = {}
    for pool in settings.policy().variants:
        told: list[Judgement] = []
        for template in texts_known(known.memory, pool, known.now) if group.wants or pool.jobs else ():
            with suppress(BatchError):
                told += batch.judge((group.wants,), text_for(batch, pool, template))
        judgement = as_taken(pool, best(told))
        if judgement is not None:
            found[pool.key] = judgement
    return replace(group, judgements=found)


class _Nothing:
    """Keeps nothing: what is looked at here is not recorded."""

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        """Do nothing."""

    def save_report(self, report: Mapping[str, object], account: Mapping[str, object] | None = None) -> None:
        """Do nothing."""


def planned(known: Known, settings: Settings, batch: Batch, cloud: Cloud, redactor: Redactor) -> Answer:
    """Return what would be done now, by one look at the batch system and the cloud. Nothing of it is done."""
    logging.getLogger("elastiq").addHandler(logging.NullHandler())  # what goes wrong is in the plan
    clock, policy = Clock(), settings.policy()
    if known.is_running:
        memory = replace(known.memory, waiting_since=known.told.waiting_since)
    else:
        memory = after_restart(known.memory, clock.now(), None)
    observer = Observer(Outside(clock, batch, cloud), Reporter(clock, _Nothing(), redactor), Reading())
    observer.check_workers()
    observer.check_instances(memory)
    observer.check_queue(memory, policy.variants)
    now = clock.now()
    made = plan(observer.reading.observation(now), memory, policy)
    decisions = [_decision(one) for one in made.decisions if one.kind is not Kind.HOLD]
    whole = why.whole_document(account(made, policy, now))
    document = {"summary": made.summary, "decisions": decisions, **whole}
    lines = [made.summary, *(f"would {one['what']}: {one['text']}" for one in decisions)]
    is_whole = not any(one.reason.token in (Token.UNREADABLE, Token.WORLD_UNKNOWN) for one in made.decisions)
    return Answer(document, lines, is_whole=is_whole)


def _decision(one: Decision) -> Document:
    vms = f"{one.count} VM{'s' if one.count != 1 else ''}{of_pool(one.pool)}"
    what = f"launch {vms}" if one.kind is Kind.LAUNCH else f"{one.kind.value} VM {one.instance_id}"
    facts = {"kind": one.kind.value, "pool": one.pool, "count": one.count, "instance_id": one.instance_id}
    return {**facts, "what": what, "token": one.reason.token.value, "text": str(one.reason)}
