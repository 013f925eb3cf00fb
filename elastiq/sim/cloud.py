"""A Cloud with the manners of AWS or OpenStack, and their faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from elastiq.errors import CloudError, CloudFault, PendingError
from elastiq.model import Instance, InstanceState, Pool, Shape
from elastiq.planning import patience
from elastiq.sim.proof.gate import Gate
from elastiq.sim.things import ABSENT_SECONDS, CLUSTER, IMAGE, SMALL, TAKEN_BACK, Vm
from elastiq.sim.world import World

HANG_SECONDS = 5.0
"""How long the daemon's lane waits for a cloud that hangs."""


LATEST_ANSWER_SECONDS = 300.0
"""Of a launch or a termination; that of a listing comes within LATEST_LISTING_SECONDS."""

LATEST_LISTING_SECONDS = 40.0

Answer = TypeVar("Answer")


class SimCloud:
    """Implements `elastiq.ports.Cloud` on the truth; as the real one, it raises CloudError alone."""

    def __init__(self, world: World, gate: Gate) -> None:
        self._world, self._gate = world, gate
        self._features = frozenset({"TagSpecifications"}) if world.traits.dialect == "openstack" else frozenset[str]()
        self.list_version = -1
        """Version of the world at the last good listing."""
        self.listed_well = False
        self.listed_at = world.engine.time
        self._late_listing: Callable[[], tuple[Instance, ...]] | None = None
        """What tells the listing that was asked for, while it is still to come."""

    @property
    def refused_features(self) -> frozenset[str]:
        return self._features

    @property
    def token_is_lock(self) -> bool:
        return self._world.traits.dialect == "aws"

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        self._on_time("list_instances")
        was_well, self.listed_well = self.listed_well, False
        try:
            answer = self._gate.pass_through("list_instances", self._late_listing or (lambda: self._list(everything)))
        except PendingError as pending:
            self.listed_well, self._late_listing = was_well, pending.answer
            raise
        except CloudError:
            self._late_listing = None
            raise
        self.listed_well, self._late_listing = True, None
        return answer

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        made = self._gate.pass_through("launch", lambda: self._launch(pool, count, token, at_least))
        self._gate.done.append(("launch", pool.name))
        return made

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        accepted = self._gate.pass_through("terminate", lambda: self._terminate(tuple(instance_ids)))
        self._gate.done.extend(("terminate", id_) for id_ in accepted)
        return accepted

    def _late(self, seconds: float, answer: Callable[[], Answer]) -> PendingError:
        """Return what a call raises whose answer comes in `seconds`."""
        engine = self._world.engine
        at = engine.time + seconds
        engine.after(seconds, lambda: None)

        def late() -> Answer:
            if engine.time < at:
                raise PendingError("the cloud has not answered yet", late)
            return answer()

        return PendingError("the cloud has not answered yet", late)

    def tag(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        self._gate.pass_through("tag", lambda: self._tag(tuple(instance_ids), pool))

    def console_tail(self, instance_id: str) -> str:
        return self._gate.pass_through("console_tail", lambda: self._console(instance_id))

    def capacity(self, pool: Pool) -> Shape:
        return self._gate.pass_through("capacity", lambda: self._capacity(pool))

    def spot_prices(self, types: Sequence[str], now: float) -> dict[tuple[str, str], float]:
        raise CloudError("it tells no prices of the spot market", CloudFault.CONFIGURATION)

    def _on_time(self, what: str) -> None:
        """Notice if the daemon has let the VM check rest for too long."""
        world = self._world
        pause = world.engine.time - max(self.listed_at, world.witness.defect_at)
        limit = world.settings.elastiq.check_vms_every_s + 120.0
        world.book.check("nothing blocks", pause <= limit, f"{what} came {pause:.0f} s after the last one")
        self.listed_at = world.engine.time

    def _trouble(self) -> None:
        faults = self._world.faults
        if not faults.any:
            return
        if faults.strikes("cloud outage"):
            raise CloudError("the cloud does not answer")
        if faults.strikes("cloud throttles"):
            raise CloudError("RequestLimitExceeded", CloudFault.THROTTLED)
        if faults.strikes("cloud hangs"):
            engine = self._world.engine
            engine.run_until(engine.time + HANG_SECONDS)
            fault = CloudFault.UNREACHABLE if engine.chance(0.5) else CloudFault.THROTTLED
            raise CloudError("the cloud has not answered for 5 s", fault)

    def _list(self, everything: bool) -> tuple[Instance, ...]:
        world, faults = self._world, self._world.faults
        self._trouble()
        now = world.engine.time
        found = [
            self._instance(vm, now)
            for vm in world.vms.values()
            if now >= vm.visible_at and (everything or (vm.cluster == CLUSTER and now >= vm.tags_visible_at))
        ]
        if faults.any:
            if faults.strikes("listing: another account's"):
                found = [instance for instance in found if not world.vms[instance.id].own]
            if faults.strikes("listing: empty"):
                found = []
            if faults.strikes("listing: VMs missing"):
                found = [instance for instance in found if world.engine.chance(0.5)]
            if found and faults.strikes("listing: VMs twice"):
                found += [world.engine.random.choice(found)]
        self._note_listed(found)
        self.list_version = world.engine.version
        if faults.strikes("listing: answer late"):
            raise self._late(world.engine.between(1, LATEST_LISTING_SECONDS), lambda: tuple(found))
        return tuple(found)

    def _note_listed(self, found: Sequence[Instance]) -> None:
        world = self._world
        for instance in found:
            if instance.address:
                world.vms[instance.id].seen.shown_address = True
        ids = {instance.id for instance in found}
        for vm in world.vms.values():
            if vm.id in ids:
                world.witness.note_listed(vm)
            else:
                world.witness.note_unlisted(vm)

    def _instance(self, vm: Vm, now: float) -> Instance:
        state = vm.state
        if now < vm.shown_alive_until:
            state = InstanceState.RUNNING
        tagged = now >= vm.tags_visible_at
        return Instance(
            vm.id,
            state,
            vm.address,
            vm.name,
            vm.type,
            vm.created_at,
            vm.token if self._world.traits.shows_tokens else "",
            vm.cluster if tagged else "",
            vm.pool if tagged else "",
            vm.detail,
            IMAGE if vm.own else "ami-other",
            interrupted=vm.detail == TAKEN_BACK,
        )

    def _launch(self, pool: Pool, count: int, token: str, at_least: int) -> tuple[Instance, ...]:
        engine, faults = self._world.engine, self._world.faults
        check, witness = self._world.book.check, self._world.witness
        check("no harm in doubt", self.listed_well, "launched after a listing that failed")
        check("no harm in doubt", witness.workers_known, "launched when no workers were known")
        check("no harm in doubt", witness.demand_known, "launched when the queue was not known")
        if self.token_is_lock and token in self._world.requests:
            return self._launch_again(pool, token)
        self._check_quota(count)
        if self._world.till is not None:
            self._world.till.check_launch(pool, count, token)
        self._trouble()
        if self._world.crowd is not None and pool.offers:
            self._world.crowd.check(pool.offers[0])
        if faults.strikes("launch: no capacity"):
            raise CloudError("InsufficientInstanceCapacity", CloudFault.CAPACITY)
        if faults.strikes("launch: credentials refused"):
            raise CloudError("AuthFailure", CloudFault.CREDENTIALS)
        if faults.strikes("launch: answer lost, nothing made"):
            raise CloudError("connection reset")
        made_now = count
        most = self._world.gives_at_most
        if most is not None and sum(vm.exists for vm in self._world.vms.values()) + count > most:
            faults.note("cloud gives all or nothing")
            raise CloudError("InstanceLimitExceeded", CloudFault.CAPACITY)
        if faults.strikes("launch: quota gives fewer"):
            made_now = engine.random.randint(0, count - 1)
            if made_now < at_least:
                raise CloudError("Quota exceeded for instances", CloudFault.CAPACITY)
        if faults.strikes("launch: answer lost, VMs made later"):
            self._make_later(pool, made_now, token)
            raise CloudError("read timeout")
        if faults.strikes("launch: answer lost, some VMs made"):
            made_now = engine.random.randint(0, made_now)
            self._make(pool, made_now, token, answered=False)
            raise CloudError("connection reset")
        if faults.strikes("launch: answer late"):
            seconds = engine.between(5, LATEST_ANSWER_SECONDS)
            self._make_later(pool, made_now, token, within_seconds=seconds)
            raise self._late(seconds, lambda: self._launched(pool, token))
        if faults.strikes("launch: refusal late"):
            raise self._late(engine.between(5, LATEST_ANSWER_SECONDS), self._refuse)
        lost = faults.strikes("launch: answer lost, VMs made")
        made = self._make(pool, made_now, token, answered=not lost)
        if lost:
            raise CloudError("connection reset")
        return tuple(self._instance(vm, engine.time) for vm in made)

    def _launch_again(self, pool: Pool, token: str) -> tuple[Instance, ...]:
        """Answer a request that came before under the same token: with what it made, or what it is about to make."""
        world = self._world
        self._trouble()
        if world.faults.strikes("launch: answer lost, nothing made"):
            raise CloudError("connection reset")
        if any(vm.type != (pool.instance_type or SMALL) for vm in world.requests[token]):
            raise CloudError("IdempotentParameterMismatch")
        self._make(pool, world.coming.pop(token, 0), token)
        world.book.work["launches asked for again"] += 1
        return tuple(self._instance(vm, world.engine.time) for vm in world.requests[token])

    def _check_quota(self, count: int) -> None:
        world = self._world
        maximum = world.settings.quota.max_vms
        coming = sum(world.coming.values())
        there = sum(map(world.witness.counts, world.own())) + coming
        world.book.check(
            "never above max",
            maximum is None or there + count <= maximum,
            f"{count} VMs asked for when there were {there} ({coming} of them still to come) of {maximum}",
        )

    def _make(self, pool: Pool, count: int, token: str, *, answered: bool = True) -> list[Vm]:
        world = self._world
        made = []
        for _ in range(count):
            vm = world.create(own=True, token=token, type_=pool.instance_type or SMALL)
            made.append(vm)
            world.requests.setdefault(token, []).append(vm)
            if not (answered or world.traits.shows_tokens):
                # Only the time of its launch can tell, and that only if the clocks agree.
                vm.seen.excused = abs(world.witness.offset_seconds) > patience.CLOCKS_APART_SECONDS
                continue
            if world.traits.dialect == "openstack" and world.faults.strikes("tagging fails"):
                continue
            vm.cluster, vm.pool = CLUSTER, pool.name
            if world.faults.strikes("tags show late"):
                vm.tags_visible_at = world.engine.time + world.engine.between(5, 90)
                world.engine.after(vm.tags_visible_at - world.engine.time, lambda: None)
        world.book.work["VMs"] += count
        return made

    def _launched(self, pool: Pool, token: str) -> tuple[Instance, ...]:
        """Answer a launch late: with all that it has made, be it gone by now or not."""
        world = self._world
        self._make(pool, world.coming.pop(token, 0), token)
        self._gate.done.append(("launch", pool.name))
        return tuple(self._instance(vm, world.engine.time) for vm in world.requests[token])

    def _refuse(self) -> tuple[Instance, ...]:
        raise CloudError("Invalid key_name provided.", CloudFault.CONFIGURATION)

    def _make_later(self, pool: Pool, count: int, token: str, within_seconds: float | None = None) -> None:
        """Make VMs one after the other, as OpenStack does while nobody waits for the answer any more, or yet."""
        world = self._world
        world.coming[token] = count
        world.requests[token] = []

        def make_one() -> None:
            if world.coming.get(token, 0) > 0:
                world.coming[token] -= 1
                self._make(pool, 1, token, answered=False)

        for number in range(count):
            seconds = 2.0 * (number + 1) + world.engine.between(0, 20)
            world.engine.after(seconds if within_seconds is None else min(seconds, within_seconds), make_one)

    def _terminate(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        world, engine, faults = self._world, self._world.engine, self._world.faults
        for id_ in ids:
            self._check_end(id_)
        self._trouble()
        if faults.strikes("terminate: all refused"):
            raise CloudError("UnauthorizedOperation", CloudFault.CREDENTIALS)
        if faults.strikes("terminate: answer lost, not done"):
            raise CloudError("connection reset")
        accepted = ids
        if len(ids) > 1 and faults.strikes("terminate: some refused"):
            accepted = ids[: len(ids) // 2]
        delay = engine.between(1, 60) if faults.strikes("terminate: answer lost, done later") else 0.0
        for id_ in accepted:
            vm = world.vms.get(id_)
            if vm is None or not vm.exists:
                continue
            vm.end_requested, vm.end_asked_at = True, engine.time
            world.book.work["terminations"] += 1
            vm.kept = vm.kept or (
                world.traits.dialect == "openstack" and faults.strikes("terminate: accepted without effect")
            )
            if vm.kept:
                continue
            if delay:
                engine.after(delay, lambda vm=vm: world.end(vm))  # type: ignore[misc]
            else:
                world.end(vm)
        if faults.strikes("terminate: answer late"):
            raise self._late(engine.between(5, LATEST_ANSWER_SECONDS), lambda: self._accepted(accepted))
        if delay or faults.strikes("terminate: answer lost, done"):
            raise CloudError("read timeout")
        return accepted

    def _accepted(self, ids: tuple[str, ...]) -> tuple[str, ...]:
        self._gate.done.extend(("terminate", id_) for id_ in ids)
        return ids

    def _check_end(self, id_: str) -> None:
        """Measure the request to terminate a VM against the promises, whatever becomes of it."""
        world = self._world
        vm = world.vms.get(id_)
        check = world.book.check
        check("no harm in doubt", self.listed_well, f"{id_} terminated after a listing that failed")
        check("no harm in doubt", world.witness.workers_known, f"{id_} terminated after the workers could not be read")
        if vm is None:
            return
        check("only its own", vm.own, f"{id_} terminated, which is not elastiq's")
        if not vm.exists:
            return
        risk = vm.seen.joins_at_own_risk = world.engine.time - vm.seen.found_absent_at <= ABSENT_SECONDS
        jobs = vm.joined and not risk and list(vm.jobs)
        check("no job killed", not jobs, f"{id_} terminated while jobs {jobs} run there")
        check("no job killed", risk or not vm.takes_jobs, f"{id_} terminated while its worker takes jobs")
        world.witness.check_patience(vm, world.ads)

    def _tag(self, ids: tuple[str, ...], pool: Pool) -> None:
        world = self._world
        for id_ in ids:
            vm = world.vms.get(id_)
            world.book.check("only its own", vm is None or vm.own, f"{id_} tagged, which is not elastiq's")
        self._trouble()
        if world.faults.strikes("tagging fails"):
            raise CloudError("CreateTags: internal error")
        for id_ in ids:
            vm = world.vms.get(id_)
            if vm is not None:
                vm.cluster, vm.pool = CLUSTER, pool.name

    def _console(self, id_: str) -> str:
        vm = self._world.vms.get(id_)
        for other in self._world.vms.values():
            other.seen.found_absent_at = (
                -ABSENT_SECONDS
            )  # nothing that can wait comes between a close and a termination
        self._world.book.check("only its own", vm is None or vm.own, f"console of {id_} read, which is not elastiq's")
        self._trouble()
        if self._world.faults.strikes("console fails"):
            raise CloudError("no console", CloudFault.NOT_FOUND)
        return "Kernel panic - not syncing"

    def _capacity(self, pool: Pool) -> Shape:
        self._trouble()
        if not self._world.traits.tells_capacity:
            raise CloudError("this cloud describes no instance types", CloudFault.CONFIGURATION)
        return self._world.capacity_of(pool.instance_type)
