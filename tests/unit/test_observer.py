"""What is asked for is unknown until it is answered; what the tag cannot tell is asked of the whole account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from elastiq.errors import CloudFault
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Instance
from elastiq.observer import Observer, Reading
from elastiq.ports import Ports
from elastiq.redaction import Redactor
from elastiq.report.reporter import Reporter
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud, NoState, settings_with
from tests.unit.rig import SETTINGS, Rig


def test_nothing_is_launched_on_what_was_known_before_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, check_queue_every_s=60))

    def fail() -> NoReturn:
        raise KeyError("a defect")

    rig.wait_for_jobs(4)
    rig.run(5)
    monkeypatch.setattr(rig.batch, "demand", fail)
    rig.run(300)
    assert not rig.cloud.launches


def test_a_vm_that_has_lost_its_tag_is_still_known_and_its_job_left_alone(rig: Rig) -> None:
    """Listings are asked for by tag, and so they leave it out."""
    rig.wait_for_jobs(4)
    rig.run(60)
    rig.wait_for_jobs(0)
    rig.join_all(jobs=4)
    rig.run(200)

    def by_tag(*, everything: bool) -> tuple[Instance, ...]:
        return tuple(vm for vm in rig.cloud.vms.values() if everything or vm.cluster)

    rig.cloud.list_instances = by_tag  # type: ignore[method-assign]
    rig.cloud.vms = {id_: replace(vm, cluster="", client_token="") for id_, vm in rig.cloud.vms.items()}
    rig.cloud.tag = lambda *arguments: None  # type: ignore[method-assign]
    rig.run(3600)
    assert list(rig.core.memory.vms) == ["i-00000001"]
    assert "forget" not in [call for call, _ in rig.batch.calls]


@pytest.mark.parametrize(
    ("memory", "everything"),
    [
        (Memory(), False),
        (Memory(vms={"i-1": VmRecord("i-1", tagged=True)}), False),
        (Memory(vms={"i-1": VmRecord("i-1")}), True),
        (Memory(vms={"i-1": VmRecord("i-1", tagged=True, missing_since=5.0)}), True),
        (Memory(intents=(Intent("token", "default", 1, 5.0),)), True),
        (Memory(once_own=("i-1",)), True),
    ],
)
def test_the_whole_account_is_listed_where_the_tag_alone_does_not_tell(memory: Memory, everything: bool) -> None:
    asked: list[bool] = []

    class Cloud(FakeCloud):
        def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
            asked.append(everything)
            return ()

    ports = Ports(FakeClock(), FakeBatch(), Cloud(), NoState())
    observer = Observer(ports, Reporter(ports.clock, ports.state, Redactor()), Reading())
    observer.check_instances(memory)
    assert asked == [everything]
    assert observer.reading.instances == ()


def test_what_fails_is_unknown_with_its_age_and_its_reason(rig: Rig) -> None:
    rig.run(1)
    rig.batch.joined = None
    rig.cloud.fault = CloudFault.UNREACHABLE
    rig.run(300)
    seen = rig.core.reading.observation(rig.clock.now())
    assert seen.demand == ()
    assert (seen.workers, seen.instances) == (None, None)
    assert seen.faults == (
        "worker check failed: the collector does not answer",
        "VM check failed: the cloud is out of order",
    )
    assert seen.workers_age_seconds == rig.clock.now() - rig.core.reading.workers_at
