"""However launches go from one offer to the next, with answers lost and late, and the daemon killed at any moment of
it: there are never more VMs than there may be, and none is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.ec2.codes import fault_of
from elastiq.ec2.errors import RequestError
from elastiq.errors import CloudError, CloudFault
from elastiq.memory import Memory
from elastiq.model import ON_DEMAND, SPOT, Demand, Instance, Pool, Shape
from elastiq.state import State
from tests.unit.fakes import FakeClock, FakeCloud, settings_with
from tests.unit.rig import SETTINGS, Rig

pytestmark = pytest.mark.usefixtures("quiet")

MEMORY_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
MOST = 6
OPTIONS = settings_with(
    SETTINGS,
    max_vms=MOST,
    waiting_jobs_time_s=0.0,
    estimated_vm_deploy_time_s=90_000.0,
    idle_for_time_s=90_000.0,
    instance_types=("m5.large 0.1", "c5.large 0.2"),
    subnets=("subnet-1", "subnet-2"),
    market=(SPOT, ON_DEMAND),
)
CODES = (
    "InsufficientInstanceCapacity",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "InsufficientFreeAddressesInSubnet",
    "QuotaExceeded",
    "InvalidParameterValue",
    "RequestLimitExceeded",
)
Turn = tuple[str, Any]
turns = st.one_of(
    st.tuples(st.just("refuse"), st.sampled_from(CODES)),
    st.tuples(st.sampled_from(["give", "lose", "lose, made later", "late", "killed after"]), st.integers(0, MOST)),
    st.tuples(st.sampled_from(["lose, nothing made", "killed before"]), st.none()),
)
"""What becomes of a request, and how many VMs of it there are."""
demands = st.lists(
    st.builds(Demand, st.just(Shape()), st.integers(1, 40), vms_per_job=st.sampled_from([1, 1, 2, 3])),
    min_size=1,
    max_size=3,
)


class Killed(BaseException):
    """The daemon is no more."""


class Crowd(FakeCloud):
    """Does with each launch what its turn says; afterwards all is well."""

    def __init__(self, clock: FakeClock, script: Sequence[Turn]) -> None:
        super().__init__()
        self.clock, self.script = clock, list(script)
        self.to_make: list[tuple[float, Callable[[], object]]] = []
        self.made_and_to_come = 0

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        assert len(pool.offers) == 1
        what, number = self.script.pop(0) if self.script else ("give", count)
        if what == "killed before":
            raise Killed
        if what == "refuse":
            raise RequestError(str(number), fault_of(number, 400, ""), number, 400)
        if what == "lose, nothing made":
            raise CloudError("no answer", CloudFault.UNREACHABLE)
        number = min(count, number)
        self.made_and_to_come += number
        assert self.made_and_to_come <= MOST, "too many"
        if number < at_least and what == "give":
            self.made_and_to_come -= number
            raise RequestError("too few", CloudFault.CAPACITY, "InsufficientInstanceCapacity", 400)
        if what == "lose, made later":
            self.to_make.append((self.clock.now() + 60.0, lambda: FakeCloud.launch(self, pool, number, token)))
            raise CloudError("no answer", CloudFault.UNREACHABLE)
        if what == "late":
            due_at = self.clock.now() + 40.0
            made: list[Instance] = []
            self.to_make.append((due_at, lambda: made.extend(FakeCloud.launch(self, pool, number, token))))
            raise self._late_until(due_at, made)
        found = FakeCloud.launch(self, pool, number, token)
        if what == "killed after":
            raise Killed
        if what == "lose":
            raise CloudError("no answer", CloudFault.UNREACHABLE)
        if not found:
            raise CloudError("answered without any VM", CloudFault.UNREACHABLE)
        return found

    def _late_until(self, due_at: float, made: list[Instance]) -> Exception:
        def answer() -> tuple[Instance, ...]:
            if self.clock.now() < due_at:
                raise self._late_until(due_at, made)
            self.go_on()
            return tuple(made)

        self.is_late = True
        error = self._late(answer)
        self.is_late = False
        error.answer = answer  # type: ignore[attr-defined]
        return error

    def go_on(self) -> None:
        """Make what is due."""
        due = [make for at, make in self.to_make if at <= self.clock.now()]
        self.to_make = [(at, make) for at, make in self.to_make if at > self.clock.now()]
        for make in due:
            make()

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        self.go_on()
        return super().list_instances(everything=everything)


class Fragile:
    """A state whose writes may be the last thing that is done: before they are on disk, or just after."""

    def __init__(self, state: State, dies_at: set[int]) -> None:
        self._state, self._dies_at, self._saves = state, dies_at, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._state, name)

    def save(self, memory: Memory) -> None:
        self._saves += 1
        if self._saves in self._dies_at:
            raise Killed
        self._state.save(memory)
        if -self._saves in self._dies_at:
            raise Killed


def live(rig: Rig, seconds: float) -> None:
    """Go on for so long, with a new daemon whenever one is killed."""
    ends_at = rig.clock.now() + seconds
    while rig.clock.now() < ends_at:
        try:
            rig.core.step()
        except Killed:
            rig.state.close()
            rig.start()
        rig.clock.time += 5.0


@settings(max_examples=60, deadline=None)
@given(st.lists(turns, max_size=16), demands, st.sets(st.integers(-40, 40), max_size=4))
def test_never_more_than_there_may_be_and_none_forgotten(
    script: list[Turn], demand: list[Demand], dies_at: set[int]
) -> None:
    with TemporaryDirectory(dir=MEMORY_DISK) as directory:
        rig = Rig(Path(directory), OPTIONS)
        rig.cloud = cloud = Crowd(rig.clock, script)
        rig.batch.jobs = tuple(replace(group, wants=str(number)) for number, group in enumerate(demand))
        rig.start()
        rig.core._ports = replace(rig.core._ports, state=Fragile(rig.state, dies_at))  # type: ignore[arg-type]
        rig.core._use(rig.settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
        live(rig, 400.0)
        cloud.script = []
        live(rig, 1200.0)
        rig.state.close()
        assert len(cloud.alive) == cloud.made_and_to_come <= MOST
        assert set(cloud.alive) == set(rig.core.memory.vms)
        assert not rig.core.memory.intents
        assert {(one.market, one.zone) for one in rig.core.memory.vms.values()} <= {
            (market, zone) for market in (SPOT, ON_DEMAND) for zone in ("subnet-1", "subnet-2")
        }
