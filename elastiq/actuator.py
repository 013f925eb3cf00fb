"""Carries out a plan: reopens, launches, closes and terminates, with every intent on disk before the request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from elastiq.clock import Budget
from elastiq.config import Settings
from elastiq.decisions import Decision, End, Kind, Outcome, Plan, Reason, Token
from elastiq.errors import BatchError, CloudError, CloudFault, PendingError, StateError
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import ON_DEMAND, Instance, Offer, Policy, Pool, Worker
from elastiq.planning.hours import in_force
from elastiq.planning.intents import usual_seconds
from elastiq.planning.learning import learn
from elastiq.planning.money import Purse
from elastiq.planning.offers import next_request, of_request, what_is_left
from elastiq.plugins import Closing
from elastiq.ports import Ports
from elastiq.text import last_lines

log = logging.getLogger(__name__)

ASK_AGAIN_SECONDS = 10.0
"""How long after its request a launch without an answer is first asked for again."""

CLOSING_BUDGET_SECONDS = 5.0
"""A cycle closes workers for so long at most, and reads consoles; the rest has its turn in the next cycle."""

REOPENING_BUDGET_SECONDS = 5.0
"""The same for reopening: one worker that does not answer keeps neither the others nor the loop waiting for long."""

REQUEUING_BUDGET_SECONDS = 15.0
"""The same for jobs that are queued again: a cloud may take all VMs back at once, and gives two minutes for that."""

CONSOLE_CHARACTERS = 160
"""So much of the end of a console is a reason to show; the log has more."""

IN_HAND_SECONDS = 3600.0
"""How long an answer is waited for, in seconds. The cloud's own deadlines are over long before; if they fail, too, the
listings must settle what became of the request."""


@dataclass(frozen=True)
class InHand:
    """A request that the cloud owes the answer to."""

    decisions: tuple[Decision, ...]
    asked_at: float
    answer: Callable[[], Any]
    """Returns or raises what it came to; raises PendingError while there is no answer."""
    token: str = ""
    """Client token of a launch."""


def actuator(
    settings: Settings, ports: Ports, new_token: Callable[[], str], in_hand: Iterable[InHand] = ()
) -> Actuator:
    """Return who acts by `settings`: a dry run is another actuator. `in_hand` is of the one before."""
    boot, shutdown = settings.debug.dry_run_boot_vms, settings.debug.dry_run_shutdown_vms
    if boot or shutdown:
        return DryRunActuator(settings.policy(), ports, new_token, in_hand, boot=boot, shutdown=shutdown)
    return Actuator(settings.policy(), ports, new_token, in_hand)


class Actuator:
    """Acts through the ports. What it did is in its memory, whether that could be saved or not, and whether or not a
    defect ended the pass."""

    def __init__(
        self, policy: Policy, ports: Ports, new_token: Callable[[], str], in_hand: Iterable[InHand] = ()
    ) -> None:
        self._policy, self._ports, self._new_token = policy, ports, new_token
        self.in_hand = tuple(in_hand)
        """What the cloud owes an answer to. It is collected whenever it comes, also after the configuration changed."""
        self._pools = {pool.name: pool for pool in policy.pools}
        self._stopping = False
        self.memory = Memory()
        """What is remembered, with all that was done in this pass so far."""
        self.outcomes: list[Outcome] = []
        """What became of the decisions of this pass so far."""
        self.is_any_left = False
        """Whether workers that are to be closed had to be left for the next pass: each pass has its time."""
        self._unsaved = ""
        """Why the journal cannot be written; if it cannot, nothing more is begun in this pass."""

    def stop(self) -> None:
        """Begin no further launch, close or reopening: the daemon is to end."""
        self._stopping = True

    def collect(self, memory: Memory) -> None:
        """Learn, beginning with `memory`, what the cloud has answered since to requests of earlier passes: exactly as
        if it had been in time."""
        self.memory, self.outcomes, self._unsaved = memory, [], ""
        for request in self.in_hand:
            outcomes = self._answered(request)
            if outcomes:
                self.in_hand = tuple(other for other in self.in_hand if other is not request)
                self._note(outcomes)

    def _answered(self, request: InHand) -> list[Outcome]:
        """Return what became of a request; nothing while there is no answer."""
        try:
            answer = request.answer()
        except PendingError as error:
            if self._ports.clock.now() - request.asked_at < IN_HAND_SECONDS:
                return []
            failure = CloudError(f"{error}; it is no longer waited for")
            return [_failed(decision, failure, request.token) for decision in request.decisions]
        except CloudError as error:
            return [_failed(decision, error, request.token) for decision in request.decisions]
        if request.token:
            return [self._launched(decision, answer, request.token) for decision in request.decisions]
        return _terminated(request.decisions, answer)

    def _awaits(self, kind: Kind) -> bool:
        """Return whether the answer to a request of this kind is still to come: one at a time is enough."""
        return any(decision.kind is kind for request in self.in_hand for decision in request.decisions)

    def _wait_for(self, decisions: Sequence[Decision], pending: PendingError, token: str) -> list[Outcome]:
        self.in_hand = (*self.in_hand, InHand(tuple(decisions), self._ports.clock.now(), pending.answer, token))
        return [_failed(decision, pending, token) for decision in decisions]

    def act(self, plan: Plan, memory: Memory) -> None:
        """Carry out `plan`, beginning with `memory`; what cannot be journalled first is not done. The order is the safe
        one: reopen before anything is launched; all that is closed is terminated in one request."""
        self.memory, self.outcomes, self._unsaved = memory, [], ""
        self.is_any_left = False
        urgent = Budget(self._ports.clock, REQUEUING_BUDGET_SECONDS)
        for decision in plan.decisions:
            if decision.kind is Kind.REQUEUE and self._may_begin():
                self.is_any_left = not urgent.is_left
                if urgent.is_left:
                    self._note([self.requeue(decision)])
        budget = Budget(self._ports.clock, REOPENING_BUDGET_SECONDS)
        for decision in plan.decisions:
            if decision.kind is Kind.REOPEN and self._may_begin() and budget.is_left:
                self._reopen(decision)
        if plan.ask_again and self._ports.cloud.token_is_lock:
            self._ask_again(plan.ask_again)
        for decision in plan.decisions:
            if decision.kind is Kind.LAUNCH and self._may_begin() and not self._awaits(Kind.LAUNCH):
                self._launch(decision)
        ending = [decision for decision in plan.decisions if decision.kind is Kind.TERMINATE]
        if ending and self._may_begin() and not self._awaits(Kind.TERMINATE):
            self._end(ending)

    def _may_begin(self) -> bool:
        return not (self._stopping or self._unsaved)

    def _save(self, memory: Memory) -> bool:
        """Remember `memory` if it could be saved, and return whether it could."""
        try:
            self._ports.state.save(memory)
            self.memory = memory
        except StateError as error:
            self._unsaved = str(error)
        return not self._unsaved

    def _note(self, outcomes: Iterable[Outcome]) -> None:
        """Remember what became of actions, and save it if that is possible."""
        for outcome in outcomes:
            self.outcomes.append(outcome)
            self.memory = learn(self.memory, outcome, self._ports.clock.now())
        self._save(self.memory)

    def _not_begun(self, decisions: Iterable[Decision]) -> None:
        text, cause = f"not begun: {self._unsaved}", Token.NOT_JOURNALLED
        self.outcomes += [Outcome(decision, End.FAILED, text, cause=cause) for decision in decisions]

    def _record(self, decision: Decision) -> VmRecord:
        return self.memory.vms[decision.instance_id]

    def _reopen(self, decision: Decision) -> None:
        # Whoever does not read the answer finds a worker that may be open.
        unclear = learn(self.memory, Outcome(decision, End.UNCLEAR), self._ports.clock.now())
        if self._save(unclear):
            self._note([self.reopen(decision)])
        else:
            self._not_begun([decision])

    def requeue(self, decision: Decision) -> Outcome:
        """Have the jobs of a VM queued again that the cloud itself is about to end."""
        try:
            self._ports.batch.requeue(_worker(self._record(decision)))
        except BatchError as error:
            return Outcome(decision, End.FAILED, f"could not be asked for: {error}", cause=Token.BATCH_ERROR)
        return Outcome(decision, End.DONE, "asked for")

    def reopen(self, decision: Decision) -> Outcome:
        """Open the worker of a VM again that was closed but not terminated."""
        try:
            self._ports.batch.reopen(_worker(self._record(decision)))
        except BatchError as error:
            return Outcome(decision, End.FAILED, f"could not be reopened: {error}", cause=Token.BATCH_ERROR)
        return Outcome(decision, End.DONE, "reopened")

    def _launch(self, decision: Decision) -> None:
        """Ask for VMs: of one offer of the pool after the other, until there are all or an answer is missing."""
        left: Decision | None = decision
        while left is not None and self._may_begin() and not self._awaits(Kind.LAUNCH):
            now = self._ports.clock.now()
            # Whatever the offers before have come to, what comes now is within the caps.
            affordable = Purse.of(self.memory, in_force(self._policy, self.memory, now), now).within(left)
            request = affordable and next_request(affordable, self.memory, now)
            if request is None:
                return
            outcome = self._request(of_request(request))
            left = None if outcome is None else what_is_left(replace(request, reason=decision.reason), outcome)

    def _request(self, decision: Decision) -> Outcome | None:
        """Ask for VMs, in one request that is on disk before; return what became of it, None if it was not begun."""
        now, pool, token = self._ports.clock.now(), self._pools[decision.pool], self._new_token()
        if decision.walk:
            pool = pool.at(decision.walk[0].offer)
        chosen = pool.offers[0] if pool.offers else Offer("")
        intent = Intent(
            token,
            pool.name,
            decision.count,
            now,
            pool.instance_type,
            pool.image_id,
            market=chosen.market,
            zone=chosen.zone,
            most_micros=chosen.most_micros or 0,
            at_least=decision.at_least,
            usual_seconds=usual_seconds(self.memory, decision.count),
        )
        if not self._save(replace(self.memory, intents=(*self.memory.intents, intent))):
            self._not_begun([decision])
            return None
        outcome = self.launch(decision, intent.token, pool)
        self._note([outcome])
        return outcome

    def _ask_again(self, tokens: Sequence[str]) -> None:
        """Settle launches whose answer was lost, where the same token never launches twice. Only a good answer does."""
        now = self._ports.clock.now()
        for intent in self.memory.intents:
            if intent.token not in tokens or now - intent.requested_at < ASK_AGAIN_SECONDS or not self._may_begin():
                continue
            if self._awaits(Kind.LAUNCH):
                return
            text = "the answer to this launch was lost, so it is asked for again with the same client token"
            reason = Reason(Token.ASKED_AGAIN, text, intent.pool)
            again = Decision(Kind.LAUNCH, reason, intent.pool, intent.count, at_least=intent.at_least)
            outcome = self.launch(again, intent.token, _asked_pool(self._pools[intent.pool], intent))
            if outcome.end is End.REFUSED:
                self.outcomes.append(outcome)  # a dry run: nothing was learnt
            else:
                settled = outcome.end in (End.DONE, End.PENDING)
                self._note([outcome if settled else replace(outcome, end=End.UNCLEAR)])

    def launch(self, decision: Decision, token: str, pool: Pool) -> Outcome:
        """Ask the cloud for VMs of `pool`, which leaves it no choice, in one request."""
        try:
            instances = self._ports.cloud.launch(pool, decision.count, token, decision.at_least)
        except PendingError as pending:
            (outcome,) = self._wait_for([decision], pending, token)
            return outcome
        except CloudError as error:
            return _failed(decision, error, token)
        return self._launched(decision, instances, token)

    def _launched(self, decision: Decision, instances: Sequence[Instance], token: str) -> Outcome:
        known = self.memory.vms
        # An answer may list VMs of other launches, too.
        ids = tuple(one.id for one in instances if one.id not in known or known[one.id].token == token)
        # No interface names the cause of a partial answer.
        silent = "the cloud gave no more and named no cause"
        some = f" ({len(ids)} of {decision.count}: {silent})" if len(ids) < decision.count else ""
        text = f"launched {', '.join(ids) or 'nothing'}{some}"
        return Outcome(decision, End.DONE, text, instance_ids=ids, token=token)

    def _end(self, decisions: Sequence[Decision]) -> None:
        """Close the workers, then terminate the VMs of those that are closed."""
        # A VM that is not known as a worker cannot be kept from becoming one after all. So nothing that takes long
        # comes between its close and the request: consoles are read before, and others are closed before it.
        consoles = self._consoles(decisions)
        decisions = [decision for decision in decisions if decision.instance_id in consoles and not self._stopping]
        decisions.sort(key=lambda decision: not self._record(decision).worker_name)
        before, now = self.memory, self._ports.clock.now()
        budget = Budget(self._ports.clock, CLOSING_BUDGET_SECONDS)
        if not self._save(_with(before, [replace(self._record(decision), closing_at=now) for decision in decisions])):
            self._not_begun(decisions)
            return
        closed: list[Decision] = []
        failed: list[Outcome] = []
        for decision in decisions:
            if self._stopping or not budget.is_left:
                self.is_any_left = True
                self.memory = _with(self.memory, [before.vms[decision.instance_id]])
                continue
            failure = self.close(decision)
            if failure is None:
                closed.append(_explained(decision, consoles[decision.instance_id]))
            elif failure.end is End.REFUSED:
                failed.append(failure)
            else:
                failed.append(replace(failure, decision=_explained(decision, consoles[decision.instance_id])))
        # Doomed before the request: whatever becomes of it, no job may start there any more.
        doomed = [replace(self._record(decision), closed=True, doomed=True) for decision in closed]
        self.memory = _with(self.memory, doomed)
        self._note(failed)
        if closed and not self._unsaved:
            ended = self.terminate(closed)
            spared = [self._record(outcome.decision) for outcome in ended if outcome.end is End.FAILED]
            self.memory = _with(self.memory, [replace(vm, doomed=before.vms[vm.id].doomed) for vm in spared])
            self._note(ended)

    def close(self, decision: Decision) -> Outcome | None:
        """Close the worker of a VM; return None if it is closed, otherwise what became of it."""
        try:
            answer = self._ports.batch.close(_worker(self._record(decision)))
        except BatchError as error:
            return Outcome(
                decision, End.FAILED, f"its worker could not be closed, so it stays: {error}", cause=Token.BATCH_ERROR
            )
        if answer is Closing.BUSY:
            return Outcome(decision, End.REFUSED, "a job runs there, so it stays", cause=Token.JOB_GOT_IN)
        return None

    def _consoles(self, decisions: Iterable[Decision]) -> dict[str, str | CloudError | None]:
        """Return the ends of the consoles of VMs that never became workers, or why one cannot be read, by instance id;
        None for other VMs, and if it was told before. VMs for which there is no time are left out."""
        budget = Budget(self._ports.clock, CLOSING_BUDGET_SECONDS)
        consoles: dict[str, str | CloudError | None] = {}
        for decision in decisions:
            record = self._record(decision)
            if not decision.failed_boot or record.failed_boot or record.closed:
                consoles[record.id] = None
            elif not self._stopping and budget.is_left:
                console = self.console(record.id)
                if not (isinstance(console, CloudError) and console.fault is CloudFault.BUSY):
                    consoles[record.id] = console
        return consoles

    def console(self, instance_id: str) -> str | CloudError | None:
        """Return the end of the console of a VM, or why it cannot be read."""
        try:
            return self._ports.cloud.console_tail(instance_id)
        except CloudError as error:
            return error

    def terminate(self, decisions: Sequence[Decision]) -> list[Outcome]:
        """Terminate VMs whose workers are closed, in one request."""
        try:
            accepted = self._ports.cloud.terminate([decision.instance_id for decision in decisions])
        except PendingError as pending:
            return self._wait_for(decisions, pending, "")
        except CloudError as error:
            return [_failed(decision, error, "") for decision in decisions]
        return _terminated(decisions, accepted)


class DryRunActuator(Actuator):
    """Says what it would do, by the two options of [debug], and does the rest."""

    def __init__(
        self,
        policy: Policy,
        ports: Ports,
        new_token: Callable[[], str],
        in_hand: Iterable[InHand] = (),
        *,
        boot: bool,
        shutdown: bool,
    ) -> None:
        """Leave out launches if `boot`, closing and terminating if `shutdown`."""
        super().__init__(policy, ports, new_token, in_hand)
        self._boot, self._shutdown = boot, shutdown

    def launch(self, decision: Decision, token: str, pool: Pool) -> Outcome:
        """Launch nothing if dry_run_boot_vms is set."""
        if not self._boot:
            return super().launch(decision, token, pool)
        return Outcome(
            decision, End.REFUSED, "dry run: not launched (dry_run_boot_vms)", token=token, cause=Token.DRY_RUN
        )

    def close(self, decision: Decision) -> Outcome | None:
        """Close nothing if dry_run_shutdown_vms is set."""
        if not self._shutdown:
            return super().close(decision)
        return Outcome(decision, End.REFUSED, "dry run: not terminated (dry_run_shutdown_vms)", cause=Token.DRY_RUN)

    def requeue(self, decision: Decision) -> Outcome:
        """Leave jobs alone if dry_run_shutdown_vms is set."""
        if not self._shutdown:
            return super().requeue(decision)
        return Outcome(decision, End.REFUSED, "dry run: not queued again (dry_run_shutdown_vms)", cause=Token.DRY_RUN)

    def console(self, instance_id: str) -> str | CloudError | None:
        """Ask for no console if dry_run_shutdown_vms is set: nothing is terminated that it could explain."""
        return None if self._shutdown else super().console(instance_id)


def _explained(decision: Decision, console: str | CloudError | None) -> Decision:
    """Log the console of a VM that never became a worker; return the decision with the end of it as a reason."""
    if not console:
        return decision
    if isinstance(console, CloudError):
        log.warning("VM %s never became a worker; its console cannot be read: %s", decision.instance_id, console)
        return decision
    log.warning("VM %s never became a worker; the end of its console:\n%s", decision.instance_id, console)
    end = last_lines(console, CONSOLE_CHARACTERS)
    text = f"{decision.reason}; its console ends with: {end}" if end else str(decision.reason)
    return replace(decision, reason=replace(decision.reason, text=text))


def _asked_pool(pool: Pool, intent: Intent) -> Pool:
    """Return of which offer VMs were asked for, whatever the configuration says since."""
    if not (intent.market or intent.zone):
        return pool
    return pool.at(Offer(intent.market or ON_DEMAND, intent.instance_type, intent.zone))


def _terminated(decisions: Iterable[Decision], accepted: Iterable[str]) -> list[Outcome]:
    ids = set(accepted)
    return [
        Outcome(decision, End.DONE, "terminated")
        if decision.instance_id in ids
        # Refused, or left without an answer while others were accepted: which of the two is not known.
        else Outcome(decision, End.UNCLEAR, "the cloud did not accept its termination", cause=Token.NOT_ACCEPTED)
        for decision in decisions
    ]


def _failed(decision: Decision, error: CloudError, token: str) -> Outcome:
    """Return what became of a request that came to no answer, or to a bad one."""
    cause = Token[f"CLOUD_{error.fault.name}"]
    if error.fault is CloudFault.PENDING:
        return Outcome(decision, End.PENDING, "asked for, no answer yet", token=token, cause=cause)
    if error.fault is CloudFault.BUSY and decision.kind is Kind.LAUNCH:
        return Outcome(decision, End.REFUSED, f"not asked for yet: {error}", token=token, cause=cause)
    end = End.UNCLEAR if error.uncertain else End.FAILED
    what = "" if decision.kind is Kind.LAUNCH else "could not be terminated: "
    return Outcome(decision, end, f"{what}{error}", token=token, cause=cause, scope=error.scope)


def _worker(record: VmRecord) -> Worker:
    return Worker(record.worker_name, instance_id=record.id, address=record.address)


def _with(memory: Memory, records: Iterable[VmRecord]) -> Memory:
    return replace(memory, vms={**memory.vms, **{record.id: record for record in records}})
