"""What befalls a cluster: faults for a time, and mishaps of a moment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from elastiq.model import InstanceState, Shape
from elastiq.sim.proof.disks import Disk
from elastiq.sim.proof.faults import ANNOUNCED, ONE_OFF, PROBABILITIES
from elastiq.sim.things import LARGE, SMALL, TAKEN_BACK, Ad, Vm
from elastiq.state import DATABASE

if TYPE_CHECKING:
    from elastiq.sim.proof.life import Life

LYING_LISTINGS = ("listing: VMs missing", "listing: empty")
"""Only for minutes: the daemon believes listings that say the same for longer, and has to."""

NOTICE_SECONDS = 120.0
"""So long before the end AWS announces it."""


class Trouble:
    """Brings faults and mishaps upon a cluster."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def plan(self, seconds: float) -> None:
        """Choose what befalls the cluster in the next `seconds`, and when."""
        life = self._life
        engine = life.engine
        kinds = life.options.kinds or (*PROBABILITIES, *ONE_OFF)
        chosen = engine.random.sample(kinds, min(len(kinds), engine.random.randint(0, 6)))
        lies = [kind for kind in chosen if kind in LYING_LISTINGS]
        for kind in chosen:
            if kind in LYING_LISTINGS and kind != lies[0]:
                continue  # listings that lie for longer than the daemon's patience cannot be told from the truth
            at = engine.between(0, seconds * 0.9)
            if kind in (*ONE_OFF, *ANNOUNCED):
                for _ in range(engine.random.randint(1, 2)):
                    engine.after(engine.between(0, seconds), lambda kind=kind: self._befall(kind))  # type: ignore[misc]
                continue
            length = engine.between(5, 240) if kind in LYING_LISTINGS else engine.between(60, 2400)
            if kind == "listing: another account's":
                length = engine.between(900, 7200)
            engine.after(at, lambda kind=kind, length=length: self._begin(kind, length))  # type: ignore[misc]

    def _begin(self, kind: str, seconds: float) -> None:
        life = self._life
        life.world.tell("fault", f"{kind} for {seconds:.0f} s")
        if kind.startswith("image broken"):
            life.world.witness.break_image(life.world.own(), seconds)
        life.faults.begin(kind, seconds)

    def end(self) -> None:
        """Let the faults have an end."""
        life = self._life
        for vm in life.plants:
            life.world.vms.pop(vm.id, None)
        life.plants = []
        life.opening_tries = 0
        for vm in life.world.own():
            # The others stay, through the reckoning and longer: no VM can be got rid of at all times.
            vm.kept = vm.kept and life.engine.chance(0.5)
            # As an event, so that no time is passed over as if nothing had changed.
            if vm.drained:
                life.engine.after(0.0, lambda vm=vm: life.world.open(vm))  # type: ignore[misc]

    def _befall(self, kind: str) -> None:
        life = self._life
        engine, world = life.engine, life.world
        own = world.own()
        joined = [vm for vm in own if vm.joined]
        # By what but its tag should the daemon know one of which it has not heard yet?
        known = [vm for vm in own if vm.id in life.core.memory.vms]
        if kind == "foreign VM with an own VM's address":
            vm = world.create(own=False, token="")
            vm.state = engine.random.choice((InstanceState.RUNNING, InstanceState.PENDING, InstanceState.STOPPED))
            vm.address = engine.random.choice(own).address if own else "10.0.0.2"
            vm.name = "elastiq-default"
            vm.cluster, vm.pool = engine.random.choice((("", ""), ("other", "default")))
            life.plants.append(vm)
        elif kind == "collector restarts empty":
            world.restart_collector()
        elif kind == "administrator opens closed workers":
            # Between two passes: whoever opens a worker in the very moment of its termination kills a job himself.
            life.opening_tries = 200
            return
        elif kind == "flavour changed":
            self._change_flavour()
        elif kind == "configuration reload":
            self._reload()
        elif kind == "restart":
            life.restart_wanted = True
        elif kind == "worker listed twice" and joined:
            vm = engine.random.choice(joined)
            ad = Ad(vm, f"old-{vm.id}.pool", *self._ad_keys(vm), engine.time)
            ad.frozen = world.picture(vm)
            world.ads.append(ad)
            engine.after(engine.between(60, 900), lambda: world.drop_ad(ad))
        elif kind == "administrator drains workers" and joined:
            for vm in engine.random.sample(joined, engine.random.randint(1, len(joined))):
                # Whoever opens what is going, as these are in the end, kills a job himself.
                if not vm.end_requested:
                    vm.closed = vm.drained = True
        elif kind in ("spot loss", "VM crashes", "VM stops") and own:
            self._lose(kind, engine.random.choice(joined or own))
        elif kind == "spot notice" and joined:
            vm = engine.random.choice(joined)
            vm.taken_back = True
            engine.after(NOTICE_SECONDS, lambda: self._lose("spot loss", vm))
        elif kind == "tag taken off" and known:
            engine.random.choice(known).give("", "")
        elif kind == "VM in error while jobs run" and joined:
            engine.random.choice(joined).state = InstanceState.ERROR
        else:
            return
        life.book.faults[kind] += 1
        world.tell("fault", kind)

    def _ad_keys(self, vm: Vm) -> tuple[str | None, str | None]:
        life = self._life
        by = life.traits.advertises
        return (vm.id if by == "id" else None, vm.address if by != "name" else None)

    def _lose(self, kind: str, vm: Vm) -> None:
        life = self._life
        if vm.state is not InstanceState.RUNNING:
            return
        if kind == "VM stops":
            vm.state = InstanceState.STOPPED
            life.world.lose_worker(vm)
        elif kind == "spot loss":
            vm.detail = TAKEN_BACK
            life.world.gone(vm)
        else:
            # Its kernel hangs: the cloud knows nothing of it.
            life.world.lose_worker(vm)

    def _reload(self) -> None:
        life = self._life
        random = life.engine.random
        wanted = life.reload_wanted or life.settings
        quota = replace(wanted.quota, max_vms=random.randint(max(1, life.settings.quota.min_vms), 6))
        options = replace(
            wanted.elastiq,
            idle_for_time_s=random.choice((300.0, 900.0)),
            waiting_jobs_time_s=random.choice((0.0, 40.0, 120.0)),
        )
        life.reload_wanted = replace(wanted, elastiq=options, quota=quota)

    def _change_flavour(self) -> None:
        """Let people change the type of new VMs, and send jobs that only the larger one holds."""
        life = self._life
        engine, world = life.engine, life.world
        wanted = life.reload_wanted or life.settings
        flavour = SMALL if wanted.ec2.flavour == LARGE else LARGE
        life.reload_wanted = replace(wanted, ec2=replace(wanted.ec2, flavour=flavour))
        least, most = life.traits.capacity.cpus + 1, world.capacity_of(LARGE).cpus
        for _ in range(engine.random.randint(1, 3)):
            world.submit(Shape(engine.random.randint(least, most)), engine.between(60, 600))

    def open_closed_workers(self) -> None:
        """Open, as an administrator may, what elastiq has closed; there are few moments at which there is any."""
        life = self._life
        life.opening_tries -= 1
        closed = [vm for vm in life.world.own() if vm.closed and not (vm.end_requested or vm.drained)]
        if not closed:
            return
        life.opening_tries = 0
        life.book.faults["administrator opens closed workers"] += 1
        for vm in closed:
            life.world.open(vm)

    def damage(self) -> None:
        """Damage the database of the daemon, which is not running."""
        life = self._life
        life.book.faults["database damaged"] += 1
        if life.disk is not None:
            life.disk = Disk()
            life.disk.damaged_at = life.engine.time + life.offset_seconds
        else:
            (life.directory / DATABASE).write_bytes(b"\0garbage" * 100)
        for vm in life.world.vms.values():
            vm.seen.served_at, vm.seen.recorded = None, False
            vm.seen.lost_at = life.engine.time + life.offset_seconds
            if vm.kept:
                life.world.witness.come_back(vm)
            if vm.own and not vm.cluster:
                vm.seen.excused = True
        life.world.witness.broken_excuse += (life.settings.quota.max_vms or 0) + 6
