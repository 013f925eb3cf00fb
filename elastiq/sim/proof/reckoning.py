"""Whether everything is in order again some time after the faults have ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elastiq.planning import patience
from elastiq.sim.engine import HOUR
from elastiq.sim.things import Job, Vm

if TYPE_CHECKING:
    from elastiq.sim.proof.life import Life
    from elastiq.sim.world import World


class Reckoning:
    """Looks at a cluster in calm."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def reckon(self) -> None:
        """See whether everything is in order again."""
        life = self._life
        world, check, core = life.world, life.book.check, life.core
        memory = core.memory
        now = life.engine.time
        own = [vm for vm in world.own() if not vm.seen.excused or vm.id in memory.vms]
        for vm in own:
            check("no VM lost", vm.id in memory.vms, f"{vm.id} ({vm.state.value}) is not known")
            check("no VM lost", bool(vm.cluster), f"{vm.id} has no tag by which it could be found again")
        noticed_by = now - 3 * life.settings.elastiq.check_vms_every_s - 300.0
        for id_ in memory.vms:
            gone_at = world.gone_at.get(id_, now)
            check("no ghost", gone_at > noticed_by, f"{id_} has been gone for {now - gone_at:.0f} s and still counts")
        options, quota = life.settings.elastiq, life.settings.quota
        # elastiq can do no more about a VM that the cloud keeps than to ask for its end again and again.
        grace = patience.TERMINATE_AGAIN_SECONDS + 3 * options.check_vms_every_s + 60.0
        kept = [vm for vm in own if vm.kept and vm.end_requested and now - vm.end_asked_at <= grace]
        own = [vm for vm in own if vm not in kept]
        slack = options.check_vms_every_s * 3 + options.idle_for_time_s + options.lost_worker_time_s + 1800.0
        held = world.till is not None and world.till.held_since(now - self.recovery_seconds(), core.last_plan)
        least = quota.min_vms if world.till is None else world.till.least(quota.min_vms)
        slack += 0.0 if world.till is None else world.till.idle_seconds
        idle = [vm for vm in own if not vm.jobs and now - max(vm.idle_since, vm.created_at) > slack]
        check("no VM idle for good", len(idle) <= least, f"idle: {', '.join(vm.id for vm in idle)}")
        working = [vm for vm in own if vm.joined and not vm.closed]
        minimum = min(quota.min_vms, (quota.max_vms or 0) - len(kept))
        check("minimum reached", held or len(own) >= minimum, f"{len(own)} of {minimum} VMs")
        waiting = [job for job in world.waiting if world.is_feasible(job) and not life.vain.waits_for_a_trial(job)]
        if sum(job is job.mates[0] for job in waiting) < options.waiting_jobs_threshold:
            waiting = []
        # One that has idled for long is in the way of jobs that it does not hold.
        in_use = [vm for vm in working if vm not in idle]
        new = (math.inf if quota.max_vms is None else quota.max_vms) - len(in_use) - len(kept)
        roomy = [] if world.negotiating else working
        # After the cloud has given less than all it is asked for that many again after a day.
        limits = [one.most or 1 for one in memory.breakers.values() if life.clock.now() < one.most_until]
        waiting = [job for job in waiting if len(job.mates) <= max(limits, default=len(job.mates))]
        stuck = [job for job in waiting if _places(job, roomy, in_use, new, world) >= len(job.mates)]
        check("no job stuck", held or not stuck, f"{len(stuck)} of {len(world.waiting)} jobs wait")
        # Those that cannot run any more are taken out by their owners.
        world.waiting = [job for job in world.waiting if world.is_feasible(job)]
        world.engine.version += 1  # the queue is another one

    def recovery_seconds(self) -> float:
        """Return how long the daemon may take to put everything right after the last fault.

        The sum of the longest pauses that it may have to sit out one after the other.
        """
        options, traits = self._life.settings.elastiq, self._life.traits
        checks = options.check_queue_every_s + options.check_vms_every_s
        pauses = (
            patience.BOOT_PAUSES_SECONDS[-1]
            + patience.MISSING_GRACE_SECONDS
            + 2 * patience.RETRY_SECONDS[-1]
            + patience.LONGEST_SETTLE_SECONDS
        )
        life = 2 * options.estimated_vm_deploy_time_s + options.lost_worker_time_s + options.idle_for_time_s
        batch = traits.lease_seconds + traits.ad_lifetime_seconds + traits.advertise_seconds
        return pauses + life + batch + options.waiting_jobs_time_s + 8 * checks + HOUR


def _places(job: Job, roomy: Sequence[Vm], in_use: Sequence[Vm], new: float, world: World) -> float:
    """Return on how many VMs a part of `job` could be: those that have room, and `new` ones in place of others that
    idle."""
    jobs_per_vm = world.settings.elastiq.n_jobs_per_vm if len(job.mates) > 1 else None
    taken = math.inf if jobs_per_vm is None else jobs_per_vm
    room = [vm for vm in roomy if world.has_room(job, vm) and len(vm.jobs) < taken]
    return len(room) if new <= 0 else new + sum(vm in in_use for vm in room)
