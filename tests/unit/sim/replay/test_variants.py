"""Other options beside one another, and what to set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.config import Settings
from elastiq.config.sections import ElastiqOptions
from elastiq.sim.replay.simulate import Scenario
from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.variants import Tried, Variant, advice, changes_of, compared, front, searched, table, tried

FIGURES = Scenario([Job(0.0, 60.0, 1)]).run(Settings())


def one(name: str, hours: float, wait: float, *changes: str, idle: float = 3600.0, jobs: int = 1) -> Tried:
    figures = replace(FIGURES, vm_hours=hours, mean_wait_seconds=wait, jobs=jobs)
    return Tried(Variant(name, changes), Settings(elastiq=ElastiqOptions(idle_for_time_s=idle)), figures)


def test_one_set_may_hold_several_changes() -> None:
    assert changes_of("idle_for_time_s=60,quota.min_vms=1") == ["idle_for_time_s=60", "quota.min_vms=1"]
    assert changes_of("security_groups=a,b") == ["security_groups=a,b"]


def test_every_variant_is_a_good_configuration() -> None:
    from elastiq.sim.replay.command import options_of

    seen = []

    def read(changes: object) -> Settings:
        seen.append(changes)
        return Settings()

    found = tried([*compared(["min_vms=1"]), *searched()[:2]], read, Scenario([Job(0.0, 60.0, 1)]), lambda _: None)  # type: ignore[arg-type]
    assert len(found) == len(seen)
    assert options_of(found[0].settings, 1)["max_vms"] == 1


def test_the_front_has_nothing_that_is_beaten() -> None:
    cheap, quick, middle = one("cheap", 10, 90), one("quick", 20, 10), one("middle", 15, 50)
    beaten, twin = one("beaten", 16, 60), one("twin", 10, 95)
    assert front([quick, beaten, cheap, twin, middle]) == [cheap, middle, quick]


def test_advice_is_the_cheapest_that_lets_nobody_wait_for_longer() -> None:
    present = one("this file", 100, 60)
    fit = one("fit", 80, 55, "idle_for_time_s=60", "waiting_jobs_threshold=0", idle=60)
    slow = one("slow", 50, 300, idle=60)
    gain = "20.0% fewer VM-hours (80.00 instead of 100.0), and jobs wait 55 s on average instead of 60 s"
    assert advice(present, [present, fit, slow]) == f"Set idle_for_time_s = 60: {gain}."


@pytest.mark.parametrize("jobs", [0, 1])
def test_advice_takes_a_little_more_wait_if_nothing_else_is_cheaper_but_no_lost_jobs(jobs: int) -> None:
    present = one("this file", 100, 60)
    slower = one("slower", 90, 85, "idle_for_time_s=60", idle=60, jobs=jobs)
    assert advice(present, [present, slower]).startswith("Set idle_for_time_s = 60: 10.0%" if jobs else "Leave")


def test_without_anything_better_options_stay() -> None:
    present = one("this file", 100, 60)
    assert advice(present, [present, one("as good", 99.5, 60), one("slow", 50, 91)]).startswith("Leave the options")


def test_a_table_has_its_columns_in_line() -> None:
    lines = table([one("a", 1.5, 3), one("a longer name", 12345, 300)])
    assert [line.split()[-1] for line in lines] == ["VMs", "1", "1"]
    assert len({line.index("VMs") if "VMs" in line else line.rindex("1") - 2 for line in lines}) == 1
