"""Carries out a plan: reopens, launches, closes and terminates, with every intent on disk before the request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from elastiq.clock import Clock
from elastiq.decisions import Decision, End, Kind, Outcome, Plan
from elastiq.errors import BatchError, CloudError, StateError
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Pool, Worker
from elastiq.planning.learning import learn
from elastiq.plugins import BatchSystem, Closing
from elastiq.ports import Cloud
from elastiq.state import State

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 10.0
"""How long after its request a launch without an answer is first asked for again."""

CLOSING_BUDGET_SECONDS = 5.0
"""A cycle closes workers for so long at most; the rest has its turn in the next cycle."""

REOPENING_BUDGET_SECONDS = 5.0
"""The same for reopening: one worker that does not answer keeps neither the others nor the loop waiting for long."""

CONSOLES_BUDGET_SECONDS = 5.0
"""The same for reading consoles."""

CONSOLE_CHARACTERS = 160
"""So much of the end of a console is a reason to show; the log has more."""


class Actuator:
    """Acts through the ports, and keeps the memory of all that it did, whether that could be saved or not."""

    def __init__(
        self,
        clock: Clock,
        batch: BatchSystem,
        cloud: Cloud,
        state: State,
        pools: tuple[Pool, ...],
        new_token: Callable[[], str],
    ) -> None:
        self.clock = clock
        self.batch = batch
        self.cloud = cloud
        self.state = state
        self.pools = {pool.name: pool for pool in pools}
        self.new_token = new_token
        self.image_id = ""
        """Of which image the VMs are, to know them by if the answer to their launch is lost."""
        self.stopping = False
        """Set when the daemon is to end: no further close or launch is begun."""
        self.memory = Memory()
        """The memory of all that was done so far, whether that could be saved or not."""
        self.outcomes: list[Outcome] = []
        """What became of the decisions of the last plan, so far."""
        self._unsaved = ""
        """Why the journal cannot be written; if it cannot, nothing more is begun in this pass."""

    def act(self, plan: Plan, memory: Memory) -> None:
        """Carry out the decisions of `plan`; what cannot be journalled first is not done. `self.outcomes` says what
        became of them, and `self.memory` is `memory` with that.

        The order is the safe one: reopen before anything is launched; all that is closed is terminated in one request.
        """
        self._unsaved = ""
        self.memory = memory
        outcomes = self.outcomes = []
        began_at = self.clock.now()
        for decision in plan.decisions:
            in_time = self.clock.now() - began_at <= REOPENING_BUDGET_SECONDS
            if decision.kind is Kind.REOPEN and self._may_begin() and in_time:
                memory = self._note(memory, [self.reopen(decision, memory)], outcomes)
        if plan.ask_again and self.cloud.token_is_lock:
            memory = self._ask_again(plan.ask_again, memory, outcomes)
        for decision in plan.decisions:
            if decision.kind is Kind.LAUNCH and self._may_begin():
                memory = self._launch(decision, memory, outcomes)
        ending = [decision for decision in plan.decisions if decision.kind is Kind.TERMINATE]
        if ending and self._may_begin():
            memory = self._end(ending, memory, outcomes)
        self.memory = memory

    def _may_begin(self) -> bool:
        return not (self.stopping or self._unsaved)

    def _save(self, memory: Memory) -> bool:
        """Return whether `memory` is on disk. If not, the caller of `act` finds out when it saves."""
        try:
            self.state.save(memory)
            self.memory = memory
        except StateError as error:
            self._unsaved = str(error)
        return not self._unsaved

    def _note(self, memory: Memory, news: list[Outcome], outcomes: list[Outcome]) -> Memory:
        for outcome in news:
            memory = learn(memory, outcome, self.clock.now())
        self.memory = memory
        outcomes += news
        self._save(memory)
        return memory

    def reopen(self, decision: Decision, memory: Memory) -> Outcome:
        """Open the worker of a VM again that was closed but not terminated."""
        try:
            self.batch.reopen(_worker(memory.vms[decision.instance_id]))
        except BatchError as error:
            return Outcome(decision, End.FAILED, f"could not be reopened: {error}")
        return Outcome(decision, End.DONE, "reopened")

    def _launch(self, decision: Decision, memory: Memory, outcomes: list[Outcome]) -> Memory:
        token = self.new_token()
        type_ = self.pools[decision.pool].instance_type
        intent = Intent(token, decision.pool, decision.count, self.clock.now(), type_, self.image_id)
        journalled = replace(memory, intents=(*memory.intents, intent))
        if not self._save(journalled):
            outcomes.append(Outcome(decision, End.FAILED, f"not begun: {self._unsaved}"))
            return memory
        return self._note(journalled, [self.launch(decision, token)], outcomes)

    def _ask_again(self, tokens: tuple[str, ...], memory: Memory, outcomes: list[Outcome]) -> Memory:
        """Settle launches whose answer was lost, where the same token never launches twice. Only a good answer does."""
        now = self.clock.now()
        for intent in memory.intents:
            if intent.token not in tokens or now - intent.requested_at < ASK_AGAIN_SECONDS or not self._may_begin():
                continue
            reason = "the answer to this launch was lost, so it is asked for again with the same client token"
            outcome = self.launch(Decision(Kind.LAUNCH, reason, intent.pool, intent.count), intent.token)
            if outcome.end is End.REFUSED:
                outcomes.append(outcome)  # a dry run settles nothing
                continue
            outcome = outcome if outcome.end is End.DONE else replace(outcome, end=End.UNCLEAR)
            memory = self._note(memory, [outcome], outcomes)
        return memory

    def launch(self, decision: Decision, token: str) -> Outcome:
        """Ask the cloud for VMs, in one request."""
        try:
            instances = self.cloud.launch(self.pools[decision.pool], decision.count, token)
        except CloudError as error:
            return Outcome(decision, _failure(error), str(error), token=token)
        ids = tuple(instance.id for instance in instances)
        return Outcome(decision, End.DONE, f"launched {', '.join(ids) or 'nothing'}", instance_ids=ids, token=token)

    def _end(self, decisions: list[Decision], memory: Memory, outcomes: list[Outcome]) -> Memory:
        """Close the workers, then terminate the VMs of those that are closed."""
        # A VM that is not known as a worker cannot be kept from becoming one after all. So nothing that takes long
        # comes between its close and the request: consoles are read before, and others are closed before it.
        consoles = self._consoles(decisions, memory)
        decisions = [decision for decision in decisions if decision.instance_id in consoles and not self.stopping]
        decisions.sort(key=lambda decision: not memory.vms[decision.instance_id].worker_name)
        now = self.clock.now()
        before = memory
        for decision in decisions:
            memory = _with(memory, replace(memory.vms[decision.instance_id], closing_at=now))
        if not self._save(memory):
            outcomes += [Outcome(decision, End.FAILED, f"not begun: {self._unsaved}") for decision in decisions]
            return before
        closed: list[Decision] = []
        failed: list[Outcome] = []
        for decision in decisions:
            if self.stopping or self.clock.now() - now > CLOSING_BUDGET_SECONDS:
                memory = _with(memory, before.vms[decision.instance_id])
                continue
            failure = self.close(decision, memory)
            if failure is not None and failure.end is End.REFUSED:
                failed.append(failure)
                continue
            decision = _explained(decision, consoles[decision.instance_id])
            if failure is None:
                closed.append(decision)
            else:
                failed.append(replace(failure, decision=decision))
        # Doomed before the request: whatever becomes of it, no job may start there any more.
        for decision in closed:
            memory = _with(memory, replace(memory.vms[decision.instance_id], closed=True, doomed=True))
        memory = self._note(memory, failed, outcomes)
        if not closed or self._unsaved:
            return memory
        ended = self.terminate(closed)
        for outcome in ended:
            record = memory.vms[outcome.decision.instance_id]
            if outcome.end is End.FAILED:
                memory = _with(memory, replace(record, doomed=before.vms[record.id].doomed))
        return self._note(memory, ended, outcomes)

    def close(self, decision: Decision, memory: Memory) -> Outcome | None:
        """Close the worker of a VM; return None if it is closed, otherwise what became of it."""
        record = memory.vms[decision.instance_id]
        try:
            answer = self.batch.close(_worker(record))
        except BatchError as error:
            return Outcome(decision, End.FAILED, f"its worker could not be closed, so it stays: {error}")
        if answer is Closing.BUSY:
            return Outcome(decision, End.REFUSED, "a job runs there, so it stays")
        return None

    def _consoles(self, decisions: list[Decision], memory: Memory) -> dict[str, str | CloudError | None]:
        """Return the ends of the consoles of VMs that never became workers, or why one cannot be read, by instance id;
        None for other VMs, and if it was told before. VMs for which there is no time are left out."""
        began_at = self.clock.now()
        consoles: dict[str, str | CloudError | None] = {}
        for decision in decisions:
            record = memory.vms[decision.instance_id]
            if not decision.failed_boot or record.failed_boot or record.closed:
                consoles[record.id] = None
            elif not self.stopping and self.clock.now() - began_at <= CONSOLES_BUDGET_SECONDS:
                consoles[record.id] = self.console(record.id)
        return consoles

    def console(self, instance_id: str) -> str | CloudError | None:
        """Return the end of the console of a VM, or why it cannot be read."""
        try:
            return self.cloud.console_tail(instance_id)
        except CloudError as error:
            return error

    def terminate(self, decisions: list[Decision]) -> list[Outcome]:
        """Terminate VMs whose workers are closed, in one request."""
        try:
            accepted = set(self.cloud.terminate([decision.instance_id for decision in decisions]))
        except CloudError as error:
            detail = f"could not be terminated: {error}"
            return [Outcome(decision, _failure(error), detail) for decision in decisions]
        return [
            Outcome(decision, End.DONE, "terminated")
            if decision.instance_id in accepted
            # Refused, or left without an answer while others were accepted: which of the two is not known.
            else Outcome(decision, End.UNCLEAR, "the cloud did not accept its termination")
            for decision in decisions
        ]


class DryRunActuator(Actuator):
    """Says what it would do, by the two options of [debug], and does the rest."""

    boot = True
    """Whether launches are left out."""
    shutdown = True
    """Whether closing and terminating are left out."""

    def launch(self, decision: Decision, token: str) -> Outcome:
        """Launch nothing if dry_run_boot_vms is set."""
        if not self.boot:
            return super().launch(decision, token)
        return Outcome(decision, End.REFUSED, "dry run: not launched (dry_run_boot_vms)", token=token)

    def close(self, decision: Decision, memory: Memory) -> Outcome | None:
        """Close nothing if dry_run_shutdown_vms is set."""
        if not self.shutdown:
            return super().close(decision, memory)
        return Outcome(decision, End.REFUSED, "dry run: not terminated (dry_run_shutdown_vms)")

    def console(self, instance_id: str) -> str | CloudError | None:
        """Ask for no console if dry_run_shutdown_vms is set: nothing is terminated that it could explain."""
        return None if self.shutdown else super().console(instance_id)


def _explained(decision: Decision, console: str | CloudError | None) -> Decision:
    """Log the console of a VM that never became a worker; return the decision with the end of it as a reason."""
    if console is None:
        return decision
    if isinstance(console, CloudError):
        log.warning("VM %s never became a worker; its console cannot be read: %s", decision.instance_id, console)
        return decision
    log.warning("VM %s never became a worker; the end of its console:\n%s", decision.instance_id, console or "(empty)")
    end = _last_lines(console)
    return replace(decision, reason=f"{decision.reason}; its console ends with: {end}") if end else decision


def _last_lines(text: str) -> str:
    """Return whole lines from the end of `text`, as many as are worth showing, in one line."""
    end = ""
    for line in reversed([line.strip() for line in text.splitlines() if line.strip()]):
        longer = f"{line} | {end}" if end else line[-CONSOLE_CHARACTERS:]
        if len(longer) > CONSOLE_CHARACTERS:
            break
        end = longer
    return end


def _failure(error: CloudError) -> End:
    return End.UNCLEAR if error.uncertain else End.FAILED


def _worker(record: VmRecord) -> Worker:
    return Worker(record.worker_name, instance_id=record.id, address=record.address)


def _with(memory: Memory, record: VmRecord) -> Memory:
    return replace(memory, vms={**memory.vms, record.id: record})
