"""What the daemon can know of the truth, and the promises that are measured against that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from elastiq.config import Settings
from elastiq.model import InstanceState
from elastiq.planning import patience
from elastiq.sim.engine import Engine
from elastiq.sim.proof.book import Book
from elastiq.sim.proof.faults import Faults
from elastiq.sim.things import Ad, Job, Traits, Vm


class Witness:
    """Follows what the daemon is told. It changes nothing of the truth."""

    def __init__(
        self, engine: Engine, book: Book, faults: Faults, traits: Traits, settings: Callable[[], Settings]
    ) -> None:
        self._engine, self._book, self._faults, self._traits, self._settings = engine, book, faults, traits, settings
        self.last_served: set[str] = set()
        """VMs whose workers were in the last answer to the daemon."""
        self.offset_seconds = 0.0
        """How wrong the daemon's clock is."""
        self.workers_known = False
        """Whether that answer was a good one."""
        self.demand_known = False
        """Whether the last answer of the queue was."""
        self.good_jobs_wait = False
        """Whether any of the last two answers showed jobs that would start if they had room."""
        self._good_jobs_waited = False
        self.defect_at = 0.0
        """When a defect of the plugin last ended a pass."""
        self.launches: list[float] = []
        self.broken_since: float | None = None
        self.broken_excuse = 0

    def counts(self, vm: Vm) -> bool:
        """Return whether the daemon can know that this VM is there."""
        if vm.seen.excused or not vm.exists:
            return False
        if vm.seen.lost_at is not None:
            lost_seconds = self._engine.time + self.offset_seconds - vm.seen.lost_at
            return lost_seconds <= patience.SETTLE_SECONDS + patience.UNSEEN_SECONDS
        # A VM that the cloud has agreed to end, and does not list any more, is gone for all that anybody can tell.
        return vm.seen.listed or not (vm.kept or vm.seen.given_up)

    def note_demand(self, jobs: Iterable[Job]) -> None:
        """Note which jobs the daemon is shown."""
        before, self._good_jobs_waited = self._good_jobs_waited, any(not job.is_hopeless for job in jobs)
        self.good_jobs_wait = before or self._good_jobs_waited

    def note_listed(self, vm: Vm) -> None:
        """Note that a good listing shows this VM."""
        vm.seen.listed, vm.seen.listed_at, vm.seen.lost_at, vm.seen.given_up = True, self._engine.time, None, False

    def note_unlisted(self, vm: Vm) -> None:
        """Note that a good listing leaves this VM out, and what the daemon may make of that."""
        now = self._engine.time
        vm.seen.listed = False
        if vm.kept and vm.end_requested:
            self.come_back(vm)
        unlisted_seconds = now - vm.seen.listed_at
        if not vm.seen.recorded:
            # Of a launch whose answer was lost: its worker could be anybody's.
            vm.seen.given_up = unlisted_seconds > patience.UNSEEN_SECONDS
            vm.seen.excused = vm.seen.excused or (vm.seen.given_up and not (vm.cluster or self._traits.shows_tokens))
            return
        lately = vm.seen.served_at is not None and now - vm.seen.served_at <= patience.MISSING_GRACE_SECONDS
        # A closed worker may be shown for a while when its VM is gone.
        is_seen = self.is_in_sight(vm) or (lately and not vm.closed)
        vm.seen.given_up = vm.seen.given_up or (unlisted_seconds > patience.MISSING_GRACE_SECONDS and not is_seen)

    def is_in_sight(self, vm: Vm) -> bool:
        """Return whether the last answer of the batch system showed its worker at work."""
        return vm.id in self.last_served and self.can_be_told(vm) and not vm.closed

    def come_back(self, vm: Vm) -> None:
        """Let a VM that the cloud keeps be as new to the daemon, which has to take it for gone or has lost its records.

        Nobody can know then of a termination of which the cloud itself knows nothing.
        """
        vm.end_requested = False
        vm.seen.excused = vm.seen.excused or not vm.cluster

    def note_launch(self) -> None:
        """Note that the daemon has launched a VM: while no boot ends well the breaker lets few through."""
        now = self._engine.time
        self.launches = [at for at in self.launches if at > now - 3600.0] + [now]
        if self.broken_since is None:
            return
        during = sum(at >= self.broken_since for at in self.launches)
        limit = (self._settings().quota.max_vms or 0) + 6 + self.broken_excuse
        self._book.check("broken pool bounded", during <= limit, f"{during} VMs in an hour, at most {limit} expected")

    def break_image(self, own: Iterable[Vm], seconds: float) -> None:
        """From now on, for `seconds`, no boot ends well; what boots already may still do so."""
        if all(vm.joined for vm in own):
            self.broken_since, self.broken_excuse = self._engine.time, 0
            self._engine.after(seconds, self._mend_image)

    def _mend_image(self) -> None:
        self.broken_since = None

    def check_patience(self, vm: Vm, ads: Iterable[Ad]) -> None:
        """Check that a worker which went out of sight was given the time to come back."""
        if vm.seen.wished_gone or vm.state is InstanceState.ERROR:
            return
        if vm.seen.served_at is None:
            self._check_look(vm, ads)
            return
        unseen = self._engine.time - vm.seen.served_at
        limit = self._settings().elastiq.lost_worker_time_s
        self._book.check(
            "no harm in doubt",
            vm.id in self.last_served or unseen >= limit - 1.0,
            f"{vm.id} terminated though its worker was out of sight for {unseen:.0f} s only",
        )
        vm.seen.wished_gone = True

    def can_be_told(self, vm: Vm) -> bool:
        """Return whether the daemon can tell the VM of a worker that it sees.

        Without an id it needs the address, and a worker that has been idle for longer than its VM seems to exist is
        taken for an earlier VM's: so it seems if the wall clock went back between launch and joining.
        """
        if self._traits.advertises == "id":
            return True
        seems_old = self._engine.time + self.offset_seconds - vm.created_at - vm.seen.offset_seconds
        idle_seconds = 0.0 if vm.jobs else self._engine.time - vm.idle_since
        plausible = vm.seen.served_at is not None or idle_seconds <= seems_old + patience.STALE_WORKER_SLACK_SECONDS
        return vm.seen.shown_address and plausible

    def _check_look(self, vm: Vm, ads: Iterable[Ad]) -> None:
        """Check that the daemon looked for a worker lately before it took it for one that never joined."""
        if self._faults.any or vm.id in self.last_served or not vm.joined:
            return
        there = [self._engine.time - ad.listed_at for ad in ads if ad.vm is vm and ad.frozen is None]
        unnoticed = max(there, default=0.0)
        what = f"{vm.id} terminated unseen after it had been a worker for {unnoticed:.0f} s"
        self._book.check("no harm in doubt", unnoticed < 60.0, what)

    def commit(self, vms: Mapping[str, Vm], recorded: Iterable[str]) -> None:
        """Note that the daemon knows these VMs, has seen the workers of its last answer, and has that on disk."""
        for id_ in recorded:
            if id_ in vms:
                vms[id_].seen.recorded = True
        for id_ in self.last_served:
            vm = vms.get(id_)
            if vm is not None and vm.exists and self.can_be_told(vm):
                vm.seen.served_at = self._engine.time
