"""A scheduled minimum is there at the minute, across both changes of the clock in three zones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from elastiq.calendars import Calendar, Hours
from elastiq.config.hours import parse
from elastiq.core import Core
from elastiq.model import Schedule
from elastiq.ports import Ports
from tests.unit.fakes import FakeBatch, FakeClock, FakeCloud, NoState, settings_with

pytestmark = pytest.mark.usefixtures("quiet")

CHANGES = {
    "Europe/Rome": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/New_York": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 4, 5), date(2026, 10, 4)),
}
VMS, BOOT_SECONDS = 3, 170.0
SETTINGS = settings_with(max_vms=VMS, idle_for_time_s=300.0, waiting_jobs_time_s=40.0, cluster_name="test")


class Cluster:
    """The real core on a batch system and a cloud that do what they should. Time that changes nothing is passed over:
    the daemon looks again when its own plan says that something changes."""

    def __init__(self, schedule: Schedule, at: float) -> None:
        self.clock, self.batch, self.cloud = FakeClock(at), FakeBatch(), FakeCloud()
        settings = replace(SETTINGS, schedules=(schedule,))
        self.core = Core(settings, Ports(self.clock, self.batch, self.cloud, NoState()))
        self.born: dict[str, float] = {}

    def run(self, until: float) -> Iterator[tuple[float, int]]:
        """Return how many workers there are after each change of that, and when."""
        last = -1
        while self.clock.time < until:
            self._boot()
            self.core.step()
            found = len(self.batch.joined or {})
            if found != last:
                yield self.clock.time, found
                last = found
            made, pause = self.core.last_plan, max(0.1, min(5.0, self.core.seconds_to_next_check()))
            assert made is not None
            is_quiet = found == len(self.cloud.alive) and not made.memory.intents
            is_quiet = is_quiet and all(vm.joined_at is not None for vm in made.memory.vms.values())
            moment = min(made.wake_at, made.look_at) + 0.01
            self.clock.time = max(self.clock.time + pause, min(until, moment) if is_quiet else 0.0)

    def _boot(self) -> None:
        now, joined = self.clock.time, self.batch.joined
        assert joined is not None
        self.cloud.run()
        for id_ in self.cloud.alive:
            ready_at = self.born.setdefault(id_, now) + BOOT_SECONDS
            if now >= ready_at:
                self.batch.join(id_, idle_seconds=now - ready_at)
        for name in [name for name, one in joined.items() if one.instance_id not in self.cloud.alive]:
            del joined[name]


@pytest.mark.parametrize("hours", ["08:00-18:00", "01:15-05:30", "23:00-02:20"])
@pytest.mark.parametrize(("zone", "day"), [(zone, day) for zone, days in CHANGES.items() for day in days])
def test_the_minimum_is_there_at_the_minute(zone: str, day: date, hours: str) -> None:
    calendar = Calendar(ZoneInfo(zone), zone)
    when = Hours(parse(hours), calendar)
    first = calendar.moment(day - timedelta(days=3), 20 * 60)
    cluster = Cluster(Schedule("s", when, "", VMS), first)
    seen = list(cluster.run(calendar.moment(day + timedelta(days=3), 12 * 60)))
    ready = [at for at, found in seen if found == VMS]
    spans = [span for span in when.spans(calendar.moment(day, 720)) if first < span[0] < cluster.clock.time]
    assert len(spans) == len(ready) == 6
    assert max(abs(at - begin) for at, (begin, _) in zip(ready, spans)) <= 60.0
    gone = [at for at, found in seen[1:] if found == 0]
    assert max(abs(at - end) for at, (_, end) in zip(gone, spans)) <= 120.0, "they have idled for long"
    local = [datetime.fromtimestamp(begin, ZoneInfo(zone)).strftime("%H:%M") for begin, _ in spans]
    assert local.count(hours[:5]) >= 5
