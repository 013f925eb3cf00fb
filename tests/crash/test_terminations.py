"""A termination that the cloud accepted and that came to nothing is asked for again."""

from __future__ import annotations

from pathlib import Path

from elastiq.core import Core
from elastiq.model import Demand, Shape
from elastiq.ports import Ports
from elastiq.state import State
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud, settings_with


class ForgetfulCloud(FakeCloud):
    """Accepts the first termination and does nothing; so does EC2 with a VM too fresh to be known by its id."""

    def terminate(self, instance_ids: list[str]) -> tuple[str, ...]:
        if self.terminations:
            return super().terminate(instance_ids)
        self.terminations.append(tuple(instance_ids))
        return tuple(instance_ids)


def test_a_vm_that_is_listed_long_after_its_termination_is_terminated_again(tmp_path: Path) -> None:
    clock, batch, cloud = FakeClock(), FakeBatch(), ForgetfulCloud()
    settings = settings_with(cluster_name="test", n_jobs_per_vm=4, max_vms=1, waiting_jobs_time_s=0, idle_for_time_s=60)
    state = State(tmp_path, clock.now())
    core = Core(settings, Ports(clock, batch, cloud, state))

    def run(seconds: float) -> None:
        end = clock.now() + seconds
        while clock.now() < end:
            core.step()
            clock.sleep(max(0.1, core.seconds_to_next_check()))

    batch.jobs = (Demand(Shape(), 1),)
    run(60)
    cloud.run()
    (vm,) = cloud.alive
    batch.jobs = ()
    batch.join(vm, idle_seconds=100)
    run(60)
    assert cloud.terminations == [(vm,)]
    run(600)
    assert cloud.alive == []
    assert len(cloud.terminations) == 2
    state.close()
