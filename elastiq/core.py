"""The daemon's loop, one pass at a time: check what is due, plan, act, record, report."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from dataclasses import replace

from elastiq.actuator import actuator
from elastiq.chores import Chores, SpotPrices
from elastiq.config import Settings
from elastiq.decisions import Kind, Plan
from elastiq.errors import ElastiqError
from elastiq.memory import Memory
from elastiq.observer import Observer, Reading
from elastiq.planning import interruptions
from elastiq.planning.breaker import begin_anew
from elastiq.planning.plan import plan
from elastiq.planning.prices import priced
from elastiq.ports import Batch, Cloud, Ports
from elastiq.recorder import Recorder
from elastiq.redaction import Redactor
from elastiq.report.notices import Notices
from elastiq.report.reporter import Reporter

log = logging.getLogger(__name__)

LISTING_PAUSE = 2.0
"""A cloud that takes long to list its VMs is left alone for so many times as long between two listings, but not for
longer than LONGEST_LISTING_PAUSE_SECONDS: it may have been an outage."""

LONGEST_LISTING_PAUSE_SECONDS = 60.0

QUEUE_LASTS_SECONDS = 60.0
"""A look at the queue that is older than this is not taken together with one at the workers."""

JUST_AFTER_SECONDS = 0.01
"""A limit is over when it is passed, not when it is reached."""


class Core:
    """Ties the ports together; it decides nothing and never waits on its own."""

    def __init__(
        self,
        settings: Settings,
        ports: Ports,
        new_token: Callable[[], str] = lambda: f"elastiq-{uuid.uuid4()}",
        redactor: Redactor | None = None,
    ) -> None:
        """Load what was remembered. Raise StateError if that cannot be read."""
        self._ports, self._clock, self._new_token = ports, ports.clock, new_token
        now = self._clock.now()
        self._memory = ports.state.adopt_legacy(ports.state.load(now), now)
        self._reporter = Reporter(ports.clock, ports.state, redactor or Redactor())
        self._recorder = Recorder(ports.history, self._reporter)
        self._notices = Notices(ports.teller, self._reporter, now)
        self._observer = Observer(ports, self._reporter, Reading())
        self._actuator = actuator(settings, ports, new_token)
        self._stopping = False
        self._spot_prices = SpotPrices()
        self._last_plan: Plan | None = None
        self._use(settings, ports.batch, ports.cloud)
        self._end_pauses()

    def reconfigure(self, settings: Settings, batch: Batch, cloud: Cloud) -> None:
        """Go on with another configuration and its ports, and begin anew with what was given up."""
        self._use(settings, batch, cloud)
        self.try_again()

    def _use(self, settings: Settings, batch: Batch, cloud: Cloud) -> None:
        self._ports = ports = replace(self._ports, batch=batch, cloud=cloud)
        self._settings = settings
        self._policy = priced(settings.policy(), self._spot_prices.known(settings, self._clock.now()))
        self._observer = Observer(ports, self._reporter, replace(self._observer.reading, listing=None))
        self._chores = Chores(settings, ports, self._reporter)
        self._actuator = actuator(settings, ports, self._new_token, self._actuator.in_hand)
        self._queue_due_at = self._vms_due_at = 0.0

    def try_again(self) -> None:
        """Begin anew with what was given up: jobs that did not start, that workers could not run or did not hold,
        launches that pause."""
        self._end_pauses()
        self._memory = replace(self._memory, futile={}, watched={}, showings={}, offers_away={})
        self._memory = replace(self._memory, templates={}, second_templates={})
        self._queue_due_at = 0.0

    def _end_pauses(self) -> None:
        """Let launches go on: somebody has probably mended something."""
        damaged_at = self._ports.state.damaged_at()
        breakers = begin_anew(self._memory.breakers, self._policy.pools, damaged_at, self._clock.now())
        self._memory = replace(self._memory, breakers=breakers)

    @property
    def memory(self) -> Memory:
        """What is remembered, as of the last pass."""
        return self._memory

    @property
    def reading(self) -> Reading:
        """The last answers of the batch system and the cloud."""
        return self._observer.reading

    @property
    def last_plan(self) -> Plan | None:
        """The plan of the last pass with a check; None if that was given up, as its figures are not true any more."""
        return self._last_plan

    @property
    def vms_due_at(self) -> float:
        """When workers and VMs are looked at again."""
        return self._vms_due_at

    def stop(self) -> None:
        """Begin nothing new; safe in a signal handler."""
        self._stopping = True
        self._actuator.stop()
        self._chores.stop()
        self._reporter.stop()

    def end(self) -> None:
        """Keep what was seen and is not kept yet; nothing else is lost without."""
        self._recorder.finish(self._clock.now())

    def seconds_to_next_check(self) -> float:
        """Return after how many seconds something is due again."""
        return max(0.0, min(self._queue_due_at, self._vms_due_at) - self._clock.now())

    def step(self) -> None:
        """Do one pass. It never raises: what went wrong is logged, shown by `status`, and tried again."""
        self._do(self._pass)
        self._do(lambda: self._notices.look(self._last_plan, self._clock.now()))

    def _do(self, part: Callable[[], None]) -> None:
        try:
            part()
        except ElastiqError as error:
            self._give_up("pass", f"this pass was given up: {error}")
        except Exception as error:
            log.exception("this pass was given up because of a defect in elastiq; the next one starts afresh")
            self._give_up("defect", f"a defect in elastiq ended a pass: {type(error).__name__}: {error}")

    def _give_up(self, topic: str, text: str) -> None:
        self._notices.fault(topic, self._reporter.error(topic, text), self._clock.now())

    def _pass(self) -> None:
        began_at = self._clock.now()
        self._collect()
        due = self.seconds_to_next_check() <= 0
        if due:
            self._last_plan = None
            self._check_what_is_due()
        if self._stopping:
            return
        if due:
            made = self._plan()
            if any(decision.kind is Kind.LAUNCH for decision in made.decisions) and self._look_again(began_at):
                made = self._plan()
            self._carry_out(made, began_at)
            self._schedule(made, began_at)
            self._last_plan = made
        if self._last_plan is not None:
            self._reporter.report(self._last_plan, self._settings)
            if self.reading.workers is not None and self.reading.instances is not None:
                self._ports.state.present(self._clock.now())
        if due:
            self._chores.keep_features()
            self._recorder.note(self.reading, self._memory, self._policy, self._clock.now())
        if not self._stopping:
            self._chores.write_page()

    def _collect(self) -> None:
        """Take what the cloud has answered since to requests of earlier passes."""
        if not self._actuator.in_hand or self._stopping:
            return
        self._actuator.collect(self._memory)
        self._memory = self._actuator.memory
        if self._actuator.outcomes:
            self._queue_due_at = 0.0  # what is shown, and what is wanted, is another now
            self._recorder.outcomes(self._actuator.outcomes, self._clock.now())
            self._reporter.outcomes(self._actuator.outcomes)

    def _plan(self) -> Plan:
        return plan(self.reading.observation(self._clock.now()), self._memory, self._policy)

    def _carry_out(self, made: Plan, pass_began_at: float) -> None:
        """Do what is planned, and keep what came of it."""
        self._ports.state.save(made.memory)
        self._memory = made.memory
        for record in made.departed:
            log.warning("VM %s is gone and elastiq did not terminate it: %s", record.id, record.detail or "no reason")
        for memory in self._chores.forget_departed(self._memory, self.reading, pass_began_at):
            self._memory = memory
        try:
            self._actuator.act(made, self._memory)
        finally:
            # Also if a defect ends the pass: what was begun must not be forgotten, nor why.
            self._memory = self._actuator.memory
            self._recorder.planned(made, self._actuator.outcomes, self._clock.now())
            self._reporter.outcomes(self._actuator.outcomes)
            self._reporter.cycle(made)
        self._ports.state.save(self._memory)

    def _check_what_is_due(self) -> None:
        are_vms_due, queue_seconds = self._clock.now() >= self._vms_due_at, self._clock.now() - self.reading.demand_at
        if are_vms_due:
            self._check_vms()
        # How high the load is, and beside which room jobs wait, is only known of both at about the same moment.
        both = are_vms_due and (self._policy.is_adaptive or queue_seconds > QUEUE_LASTS_SECONDS)
        if both or self._clock.now() >= self._queue_due_at:
            if not are_vms_due and any(map(interruptions.may_come, self._memory.vms.values())):
                self._check_workers()  # before the queue: a job that starts in between waits nowhere
            self._check_queue()

    def _check_workers(self) -> None:
        self._observer.check_workers()
        # A VM may go before the next check of VMs: what it showed would have to be learnt of another one.
        self._memory = self._chores.learn_templates(self._memory, self.reading)

    def _check_queue(self) -> None:
        options = self._settings.elastiq
        self._queue_due_at = self._clock.now() + max(options.check_queue_every_s, options.sleep_s)
        self._observer.check_queue(self._memory, self._policy.variants)

    def _check_vms(self) -> None:
        ports, now, options = self._ports, self._clock.now(), self._settings.elastiq
        booting = any(record.joined_at is None for record in self._memory.vms.values())
        pause = min(options.check_vms_every_s, options.check_vms_in_error_every_s if booting else float("inf"))
        # If they cannot be read, or a defect ends the pass meanwhile, they are asked for again one poll later.
        self._vms_due_at = now + max(min(pause, options.check_queue_every_s), options.sleep_s)
        is_fresh = self.reading.workers is not None and now - self.reading.workers_at < options.check_queue_every_s
        if self.reading.listing is None or not is_fresh:
            self._observer.check_workers()
        self._observer.check_instances(self._memory)
        if self.reading.listing is not None:
            self._vms_due_at = now + options.sleep_s  # it is on its way
            return
        if self.reading.instances is None:
            return
        if self.reading.workers is not None:
            rest = min(LISTING_PAUSE * self.reading.listing_seconds, LONGEST_LISTING_PAUSE_SECONDS)
            self._vms_due_at = now + max(pause, options.sleep_s, rest)
        self._chores.tag_untagged(self._memory, self.reading)
        self._memory = self._chores.learn_capacity(self._memory)
        self._memory = self._chores.learn_templates(self._memory, self.reading)
        self._chores.take_advice(self.reading, self._memory, self._policy)
        if self._spot_prices.look(ports.cloud, self._settings, now):
            self._policy = priced(self._settings.policy(), self._spot_prices.known(self._settings, now))

    def _look_again(self, pass_began_at: float) -> bool:
        """Make sure that what is about to cost money is decided on fresh facts; return whether anything was asked.

        The queue has to be read after the workers: a job that started in between would count as waiting, and as one
        that leaves no room for others.
        """
        poll_seconds = self._settings.elastiq.check_queue_every_s
        if self.reading.workers_at < pass_began_at - poll_seconds:
            self._check_workers()
            if self.reading.workers is None:
                self._vms_due_at = min(self._vms_due_at, pass_began_at + poll_seconds)
        elif self.reading.demand_at >= self.reading.workers_at:
            return False
        self._check_queue()
        return True

    def _schedule(self, made: Plan, pass_began_at: float) -> None:
        """See to it that the queue is read again the moment a plan comes out differently, as when the waiting time is
        over, or when there is time again for what was left of this one; at once if that moment has passed meanwhile."""
        if self._actuator.is_any_left:
            self._queue_due_at = self._clock.now() + self._settings.elastiq.sleep_s
        if made.wake_at >= pass_began_at:
            self._queue_due_at = min(self._queue_due_at, made.wake_at + JUST_AFTER_SECONDS)
