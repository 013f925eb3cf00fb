"""Whose turn it is while one of the two outside systems takes long to say nothing."""

from __future__ import annotations

from pathlib import Path

from elastiq.core import Core
from elastiq.errors import CloudError
from elastiq.model import Demand, Instance
from elastiq.ports import Ports
from elastiq.process.lanes import ASK_WAIT_SECONDS
from elastiq.state import State
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud, settings_with


class SlowCloud(FakeCloud):
    """A cloud that hangs, as the loop sees it through a lane."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        self._clock.sleep(ASK_WAIT_SECONDS)
        raise CloudError("the list of VMs has not answered")


class TimedBatch(FakeBatch):
    """A batch system that writes down when it was asked for the queue."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock
        self.asked_at: list[float] = []

    def demand(self) -> tuple[Demand, ...]:
        self.asked_at.append(self._clock.now())
        return super().demand()


def test_a_queue_check_that_falls_due_during_a_slow_vm_check_comes_next(tmp_path: Path) -> None:
    clock = FakeClock()
    batch = TimedBatch(clock)
    settings = settings_with(cluster_name="test", check_queue_every_s=4, check_vms_every_s=3)
    state = State(tmp_path, clock.now())
    core = Core(settings, Ports(clock, batch, SlowCloud(clock), state))
    end = clock.now() + 600
    while clock.now() < end:
        core.step()
        clock.sleep(max(0.1, core.seconds_to_next_check()))
    state.close()
    gaps = [later - earlier for earlier, later in zip(batch.asked_at, batch.asked_at[1:])]
    assert max(gaps) < settings.elastiq.check_queue_every_s + ASK_WAIT_SECONDS + 1
