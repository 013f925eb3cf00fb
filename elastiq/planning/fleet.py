"""elastiq's VMs and workers at one moment: what room they have, what counts, and what is left of the quota."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from elastiq.decisions import Figures, Token
from elastiq.memory import Breaker, Intent, Memory, VmRecord
from elastiq.model import (
    DEFAULT_JOBS_PER_VM,
    DEFAULT_POOL,
    Demand,
    InstanceState,
    Observation,
    Policy,
    Pool,
    Shape,
    Worker,
    of_pool,
)
from elastiq.planning import patience
from elastiq.planning.capacities import capacity_of
from elastiq.planning.eligibility import Chances, Judged
from elastiq.planning.intents import given_up_at
from elastiq.planning.matching import Matches
from elastiq.planning.money import Purse
from elastiq.planning.offers import variants
from elastiq.planning.pace import launches_left
from elastiq.planning.packing import UNLIMITED, Room
from elastiq.planning.suspicion import Shown
from elastiq.planning.tracking import Situation


@dataclass(frozen=True)
class Fleet:
    """What the rules of a plan ask about. Nothing of it changes while a plan is made, so that what all VMs have to be
    looked at for is found out once."""

    now: float
    memory: Memory
    policy: Policy
    matches: Matches
    foreign_workers: tuple[Worker, ...]
    seen_at: float
    """When the workers were last looked at."""
    listed_at: float = math.inf
    """When the VMs were last listed."""

    @staticmethod
    def of(observation: Observation, situation: Situation, policy: Policy) -> Fleet:
        """Return the fleet as `observation` shows it."""
        seen_at = observation.now - observation.workers_age_seconds
        listed_at = observation.now - observation.instances_age_seconds
        matches, foreign = situation.matches, situation.foreign_workers
        return Fleet(observation.now, situation.memory, policy, matches, foreign, seen_at, listed_at)

    def after(self, memory: Memory) -> Fleet:
        """Return the fleet with a `memory` in which nothing is another but what is remembered of jobs."""
        fleet = replace(self, memory=memory)
        known = {name: found for name, found in vars(self).items() if name not in vars(fleet)}
        vars(fleet).update(known)
        return fleet

    @property
    def records(self) -> Iterable[VmRecord]:
        return self.memory.vms.values()

    @cached_property
    def unusual(self) -> Sequence[VmRecord]:
        """Those of `records` that are not `is_usual`: few, where VMs are thousands."""
        return [record for record in self.records if not record.is_usual]

    @property
    def own_workers(self) -> Mapping[str, Worker]:
        """Workers on VMs of elastiq, by instance id."""
        return self.matches.workers

    def worker(self, record: VmRecord) -> Worker | None:
        """Return the live worker of a VM."""
        return self.matches.workers.get(record.id)

    def is_closed_by_other(self, record: VmRecord) -> bool:
        worker = self.worker(record)
        return worker is not None and worker.closed_by_other

    def is_on_its_way(self, record: VmRecord) -> bool:
        """Return whether it is expected to join yet."""
        return record.works and record.joined_at is None and not self.is_late(record)

    def is_late(self, record: VmRecord) -> bool:
        """Return whether a VM should have joined long ago. Up to when both workers and VMs were last looked at: one may
        have joined since, and as long as its address is not known nobody knows which worker is its."""
        looked_at = min(self.seen_at, self.listed_at)
        return looked_at - record.awaited_since > self.policy.estimated_vm_deploy_time_s

    def is_just_out_of_sight(self, record: VmRecord) -> bool:
        """Return whether its worker is probably coming back: just reopened, or the batch system was restarted."""
        unseen = record.lost_since is None or self.now - record.lost_since <= patience.OUT_OF_SIGHT_SECONDS
        return record.works and record.joined_at is not None and unseen

    def counts_until(self, record: VmRecord) -> float:
        """Return until when a VM counts that listings leave out; infinity: as long as its worker is in sight, or may
        be."""
        over_at = (record.missing_since or 0.0) + patience.MISSING_GRACE_SECONDS
        if record.doomed:
            return over_at
        if self.worker(record) is not None or (record.joined_at is not None and record.lost_since is None):
            return math.inf
        return max(over_at, (record.lost_since or 0.0) + patience.MISSING_GRACE_SECONDS)

    def pool_of(self, record: VmRecord) -> Pool:
        """Return the pool of a VM; the first one if its own is not configured any more."""
        return self.policy.pool(record.pool) or self.policy.pools[0]

    @cached_property
    def variants(self) -> tuple[Pool, ...]:
        """The pools in the order in which VMs are launched of them, those of several types once for each type."""
        return variants(self.policy, self.memory, self.now)

    @cached_property
    def _variants(self) -> Mapping[tuple[str, str], Pool]:
        return {
            (variant.name, variant.instance_type): variant for variant in self.policy.variants if variant.is_variant
        }

    @cached_property
    def variant_of_key(self) -> Mapping[str | None, Pool]:
        """The `variants` by their keys."""
        return {variant.key: variant for variant in self.variants}

    def variant(self, pool: Pool, type_: str) -> Pool:
        """Return what of `pool` VMs of `type_` are; those of a type that it has not, or that is not known, are like
        those of its first one."""
        if pool.is_variant or not self._variants:
            return pool
        return self._variants.get((pool.name, type_)) or self._variants.get((pool.name, pool.instance_type)) or pool

    def key_of(self, record: VmRecord) -> str:
        """Return by what jobs are known that can never run on a VM: the key of its pool."""
        kind = (record.pool, record.type)
        key = self._keys.get(kind)
        if key is None:
            key = self._keys[kind] = self.variant(self.pool_of(record), record.type).key
        return key

    @cached_property
    def _keys(self) -> dict[tuple[str, str], str]:
        return {}

    def chances(self, group: Demand) -> Chances:
        """Return whether VMs of the `variants`, by their keys, are worth launching for `group`."""
        return self._judged.chances(group)

    @cached_property
    def _judged(self) -> Judged:
        return Judged(self.memory, self.variants, self.now)

    def new_room(self, pool: Pool, type_: str = "") -> Room:
        """Return what one VM of `pool` takes: a new one, or one of an earlier `type_`."""
        free, jobs = self._holds(pool, type_)
        return Room(free, jobs, Token.ROOM_BOOTING, self.variant(pool, type_).key)

    def _holds(self, pool: Pool, type_: str) -> tuple[Shape | None, int]:
        if self.policy.n_jobs_per_vm is not None:
            return None, self.policy.n_jobs_per_vm
        kind = (pool.key, type_)
        if kind not in self._capacities:
            of_type = replace(pool, instance_type=type_) if type_ and pool.instance_type else pool
            self._capacities[kind] = capacity_of(self.memory, of_type)
        capacity = self._capacities[kind]
        return capacity, DEFAULT_JOBS_PER_VM if capacity is None else UNLIMITED

    @cached_property
    def _capacities(self) -> dict[tuple[str, str], Shape | None]:
        return {}

    def rooms(self, least_cpus: int = 0) -> list[Room]:
        """Return the room on elastiq's workers that take jobs, and on VMs that are on their way, to be filled up with
        jobs of which none asks for fewer CPUs than so many.

        A free worker of elastiq is as good as a new VM, so what fits there needs no launch, however long it waits.
        """
        rooms, workers, there = [], self.open_workers, self.rooms_there
        for record in self.records:
            id_ = record.id
            if id_ in there:
                rooms.append(Room(*there[id_], id_))
            elif id_ in workers:
                # Nothing but jobs that ask for no CPU has room there.
                rooms += [Room(*self._room_there(record, workers[id_]), id_)] if least_cpus <= 0 else []
            elif id_ not in self.own_workers and (self.is_on_its_way(record) or self.is_just_out_of_sight(record)):
                rooms.append(self.new_room(self.pool_of(record), record.type))
        for intent in self.memory.intents:
            pool = self.policy.pool(intent.pool)
            if pool is not None and not intent.needs_people:
                rooms += [self.new_room(pool, intent.instance_type) for _ in range(self._unseen[intent])]
        return rooms

    def is_open(self, record: VmRecord) -> bool:
        """Return whether the worker of a VM is there and takes jobs, if it has room."""
        return record.id in self.open_workers

    @cached_property
    def open_workers(self) -> Mapping[str, Worker]:
        """elastiq's workers that take jobs, if they have room, by instance id."""
        found, workers = {}, self.own_workers
        for record in self.records:
            worker = workers.get(record.id)
            if worker is not None and not worker.closed and record.works:
                found[record.id] = worker
        return found

    @cached_property
    def rooms_there(self) -> Mapping[str, tuple[Shape, int, Token, str, bool]]:
        """What Room says of those of the `open_workers` that have a free CPU, by instance id."""
        vms = self.memory.vms
        return {
            id_: self._room_there(vms[id_], worker) for id_, worker in self.open_workers.items() if worker.free.cpus > 0
        }

    def _room_there(self, record: VmRecord, worker: Worker) -> tuple[Shape, int, Token, str, bool]:
        shown, jobs_per_vm = self._shown[record.pool, record.type], self.policy.n_jobs_per_vm
        free = worker.free if record.id in shown.usual else shown.believed(record.id, worker)
        jobs = UNLIMITED if jobs_per_vm is None else max(0, jobs_per_vm - worker.jobs)
        return free, jobs, Token.HAS_ROOM, self.key_of(record), not worker.jobs

    @cached_property
    def _shown(self) -> Mapping[tuple[str, str], Shown]:
        """What the workers that are there show that VMs hold, by their pool and type."""
        found: dict[tuple[str, str], Shown] = {}
        for id_, worker in self.own_workers.items():
            record = self.memory.vms[id_]
            found.setdefault((record.pool, record.type), Shown()).add(id_, worker)
        return found

    def foreign_rooms(self) -> list[Room]:
        """Return the room on workers that are not elastiq's."""
        return [
            Room(one.free, UNLIMITED, Token.FOREIGN_ROOM, is_empty=not one.jobs)
            for one in self.foreign_workers
            if not one.closed
        ]

    def fits_a_worker(self, shape: Shape) -> bool:
        """Return whether a worker that is there, elastiq's or not, would hold a job of `shape` if it were idle."""
        return any(shape.fits(capacity) for capacity in self._worker_capacities)

    def lacks(self, shape: Shape, machines: int) -> int:
        """Return how many more workers must come for a job on so many machines, once all that would hold its part are
        free; one at least."""
        if machines == 1:
            return 1
        if shape not in self._able:
            coming = sum(map(self.is_on_its_way, self.unusual)) + sum(self._unseen.values())
            workers = [*self.open_workers.values()]
            workers += [worker for worker in self.foreign_workers if not worker.closed]
            able = (one for one in workers if shape.fits(one.capacity) and (one.jobs or shape.fits(one.free)))
            self._able[shape] = coming + sum(1 for _ in able)
        return max(1, machines - self._able[shape])

    @cached_property
    def _able(self) -> dict[Shape, int]:
        return {}

    @cached_property
    def _worker_capacities(self) -> Collection[Shape]:
        return {worker.capacity for worker in (*self.own_workers.values(), *self.foreign_workers)}

    @cached_property
    def is_any_at_work(self) -> bool:
        """Whether any worker that is there, elastiq's or not, has a job."""
        return any(worker.jobs for worker in (*self.own_workers.values(), *self.foreign_workers))

    @cached_property
    def last_work_from(self) -> float:
        """When a worker of elastiq's was last first seen with jobs after it had none, of those that still have some."""
        return max((record.work_from or 0.0 for record in self.records), default=0.0)

    def is_any_on_its_way(self, pool: Pool) -> bool:
        """Return whether VMs of `pool` are expected to join yet."""
        awaited = self.awaited(pool.name, pool.instance_type if pool.is_variant else None)
        return _name(pool) in self._on_their_way or awaited > 0

    @cached_property
    def _on_their_way(self) -> Collection[tuple[str, str]]:
        coming = [one for one in self.unusual if self.is_on_its_way(one)]
        return {(one.pool, type_) for one in coming for type_ in ("", one.type)}

    @cached_property
    def working(self) -> Counter[str]:
        """How many VMs are, or are expected to become, workers that take jobs, by pool."""
        return Counter([record.pool for record in self.records if record.works])

    @cached_property
    def counted(self) -> Counter[str]:
        """How many VMs count against the quota, by pool, without those that elastiq does not know for its own."""
        return Counter([record.pool for record in self.records if record.is_usual or record.counts])

    @cached_property
    def _unseen(self) -> Mapping[Intent, int]:
        """How many VMs of each launch have not turned up yet."""
        return {intent: self.memory.unseen(intent) for intent in self.memory.intents}

    @property
    def is_any_in_hand(self) -> bool:
        """Return whether the answer to a launch is still to come."""
        return any(intent.in_hand for intent in self.memory.intents)

    def possible(self, pool: str) -> int:
        """Return how many VMs may exist that elastiq does not know for its own."""
        return self.awaited(pool) + sum(
            len(intent.lookalikes) for intent in self.memory.intents if intent.pool == pool and intent.needs_people
        )

    def awaited(self, pool: str, type_: str | None = None) -> int:
        """Return how many VMs of the pool of that name, or of one type of it, may still turn up as elastiq's own."""
        intents = (intent for intent in self.memory.intents if intent.pool == pool and not intent.needs_people)
        return sum(self._unseen[intent] for intent in intents if type_ in (None, intent.instance_type))

    @cached_property
    def _of_cluster(self) -> int:
        """How many VMs count against the quota of the cluster."""
        of_launches = sum(self.possible(name) for name in {intent.pool for intent in self.memory.intents})
        return sum(self.counted.values()) + of_launches

    def quota_left(self, pool: Pool) -> int:
        """Return what is left of the quota for `pool`; less than nothing if the quota was lowered."""
        vms = self.counted[pool.name] + self.possible(pool.name)
        return min(
            UNLIMITED if pool.max_vms is None else pool.max_vms - vms,
            self.quota_left_of_all,
        )

    @property
    def quota_left_of_all(self) -> int:
        """Return what is left of the quota for all pools together."""
        return UNLIMITED if self.policy.max_vms is None else self.policy.max_vms - self._of_cluster

    def quota_room(self, pool: Pool) -> int:
        """Return how many more VMs of `pool` there may be at once, by their number and by what they cost an hour."""
        return max(0, min(self.quota_left(pool), self.purse.room_of_hour(pool)))

    @cached_property
    def purse(self) -> Purse:
        """What there is to spend."""
        return Purse.of(self.memory, self.policy, self.now)

    @cached_property
    def launches_left(self) -> int:
        """How many VMs the cloud lets be launched by now."""
        return launches_left(self.memory, self.now) if self.policy.is_paced else UNLIMITED

    @cached_property
    def most_to_come(self) -> int:
        """How many workers may come at most beside those that have room now: VMs to launch or to reopen, and such that
        are not elastiq's."""
        of_pools = sum(map(self.quota_room, self.policy.pools))
        new = of_pools if self.policy.max_vms is None else min(of_pools, max(0, self.policy.max_vms - self._of_cluster))
        reopened = sum(record.leaving and record.may_reopen for record in self.unusual)
        return new + reopened + sum(not worker.closed for worker in self.foreign_workers)

    def limit(self, pool: Pool) -> str:
        """Return by what name the limit goes that leaves the least to `pool`."""
        own, of_all = pool.max_vms, self.policy.max_vms
        other_vms = self._of_cluster - self.counted[pool.name] - self.possible(pool.name)
        if own is not None and (of_all is None or own < of_all - other_vms):
            return f"max_vms {own}{of_pool(pool.name)}"
        return f"max_vms {of_all}"

    def is_any_unused(self, pool: Pool) -> bool:
        """Return whether a worker of `pool` is there and open that has never had a job."""
        return _name(pool) in self._unused

    @cached_property
    def _unused(self) -> Collection[tuple[str, str]]:
        unused = [record for record in self.records if not record.has_worked and self.is_open(record)]
        return {(record.pool, type_) for record in unused for type_ in ("", record.type)}

    def is_to_prove_itself(self, record: VmRecord) -> bool:
        """Return whether it is not known yet how its boot ends: after workers that others closed before they ran
        anything, or that came hurt, that is only known when a job runs there, or when it has stayed open for as
        long."""
        if record.may_yet_join:
            return True
        breaker = self.memory.breakers.get(record.pool, Breaker())
        open_seconds = self.seen_at - (record.joined_at or 0.0)
        is_proven = record.has_worked or record.failed_boot or open_seconds > patience.CLOSED_AT_BIRTH_SECONDS
        return bool(breaker.useless_births) and record.works and not is_proven

    def ask(self, pool: Pool) -> int | None:
        """Return how many VMs of `pool` are asked for at once at most; None: any number."""
        return self.memory.breakers.get(pool.name, Breaker()).ask

    def cloud_limit(self, pool: Pool) -> int | None:
        """Return how many VMs of `pool` the cloud is known to give at most at a time; None: that is not known."""
        breaker = self.memory.breakers.get(pool.name, Breaker())
        return breaker.most if breaker.most is not None and self.now < breaker.most_until else None

    def figures(self, observation: Observation) -> Figures:
        """Return the cluster in numbers, for people."""
        # Some may be said to be pending yet of which a worker is there.
        states = Counter([_state(record) for record in self.unusual if record.counts])
        pending = sum([record.state is InstanceState.PENDING for record in self.records if record.is_usual])
        unclear = [intent for intent in self.memory.intents if self._unseen[intent] and not intent.in_hand]
        demand, workers = observation.demand, observation.workers
        busy = None if workers is None else sum(worker.jobs > 0 for worker in workers)
        asked_for = sum(self._unseen[intent] for intent in self.memory.intents if intent.in_hand)
        return Figures(
            None if demand is None else sum(group.jobs for group in demand),
            busy,
            None if workers is None or busy is None else len(workers) - busy,
            states[InstanceState.PENDING] + pending,
            states[InstanceState.RUNNING] + len(self.memory.vms) - len(self.unusual) - pending,
            states[InstanceState.STOPPING],
            states[InstanceState.ERROR],
            states[InstanceState.STOPPED],
            asked_for,
            sum(self.possible(pool.name) for pool in self.policy.pools) - asked_for,
            None if any(intent.needs_people for intent in unclear) else max(map(given_up_at, unclear), default=None),
            self._of_named_pools(),
            self.purse.figures(),
        )

    def _of_named_pools(self) -> Mapping[str, int]:
        names = [pool.name for pool in self.policy.pools]
        return {} if names == [DEFAULT_POOL] else {name: self.counted[name] + self.possible(name) for name in names}


def _name(pool: Pool) -> tuple[str, str]:
    return pool.name, pool.instance_type if pool.is_variant else ""


def _state(record: VmRecord) -> InstanceState:
    """Return the state of a VM; also one is on its way out of which only elastiq knows it."""
    return InstanceState.STOPPING if record.leaving else record.state
