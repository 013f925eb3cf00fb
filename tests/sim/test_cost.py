"""A month of a simulated cluster's life, as the daemon has kept it, costs what it has cost in truth."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from elastiq import ledger
from elastiq.ledger import Asked
from elastiq.model import Cost
from elastiq.sim.engine import DAY, HOUR
from elastiq.sim.things import START, Vm
from elastiq.state.past import read_hours, read_lives
from tests.sim.month import Month, with_options

pytestmark = pytest.mark.usefixtures("quiet")

PRICE, DAYS = 0.12, 30


class Meter:
    """Counts what VMs live in truth: from the moment the cloud makes one until it is asked to end it, which is when
    clouds stop the bill, or until it ends by itself."""

    def __init__(self, month: Month) -> None:
        self.month, self.vms = month, dict[str, Vm]()
        month.world.on_birth = self.born

    def born(self, vm: Vm) -> None:
        self.vms[vm.id] = vm

    def vm_hours(self) -> float:
        now, seconds = self.month.engine.time, 0.0
        for vm in self.vms.values():
            ended = vm.end_asked_at if vm.end_requested else self.month.world.gone_at.get(vm.id, now)
            seconds += ended - vm.created_at
        return seconds / HOUR


def test_a_month_costs_what_it_has_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elastiq.recorder.price_of", lambda record, policy: PRICE)
    # Looks that are rarer than usual, for the time that this takes.
    month = Month(tmp_path, settings=with_options(sleep_s=150.0, check_queue_every_s=150.0, check_vms_every_s=150.0))
    meter = Meter(month)
    month.run(DAYS * DAY)
    month.core.end()
    now = month.engine.time
    truth = meter.vm_hours()
    assert truth > 100
    assert len(read_lives(tmp_path, 0, now).lives) == len(meter.vms)
    for by in ("", "day", "pool", "market", "type"):
        total = ledger.costs(tmp_path, Asked(START - DAY, by=by), now, Cost()).document["total"]
        assert total["vm_hours"] == pytest.approx(truth, rel=0.001), by
        assert total["cost"] == pytest.approx(truth * PRICE, rel=0.001)
        assert total["unknown_hours"] == 0 < total["work_hours"]
    hours = read_hours(tmp_path, 0, now)
    assert hours.gaps(START, now) == () and not hours.damage
    alive = math.fsum(
        hour.booting_vm_seconds + hour.idle_vm_seconds + hour.busy_vm_seconds + hour.unknown_vm_seconds
        for hour in hours.hours
    )
    assert alive / HOUR == pytest.approx(truth, rel=0.02), "sums are taken from look to look"
