"""The sections [schedule NAME]: what holds at some hours of the week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from elastiq.calendars import Hours
from elastiq.config import hours, zones
from elastiq.config.options import DAY, Section, ValueKind, option
from elastiq.config.reading import Reading
from elastiq.model import DEFAULT_POOL, Schedule
from elastiq.text import shown


@dataclass(frozen=True)
class ScheduleOptions:
    """What holds at some hours of the week: there may be any number of these sections, each with a name of its own,
    such as [schedule day]. Of several that hold at the same time, and of what holds always, the highest min_vms and the
    lowest max_vms count, and the longest idle_for_time_s of the schedules. When the hours end no VM is closed for that:
    those above the minimum go when they have been idle for long enough."""

    when: str = option(
        "",
        "Days and hours of the week: Mon-Fri 08:00-18:00, or several with semicolons between them, such as Mon,Wed "
        "08:00-12:00; Sat 10:00-14:00. 22:00-06:00 goes on to the next day; without days it is every day, without "
        "hours whole days. What begins or ends at a time that clocks going forward leave out does so then; what begins "
        "at one that comes twice begins the first time, and what ends then ends the second time.",
        kind=ValueKind.HOURS,
        example="Mon-Fri 08:00-18:00",
        new=True,
    )
    timezone: str = option(
        "",
        "In which time zone, such as Europe/Rome.",
        kind=ValueKind.ZONE,
        example="Europe/Rome",
        new=True,
        default_text="as in [cost], or that of the head node",
    )
    pool: str = option(
        "", "For which pool.", example="NAME", new=True, default_text="for all pools together, as [quota]"
    )
    min_vms: int | None = option(
        None,
        "At least this many VMs are there at these hours, jobs or not; they are launched so long before as VMs lately "
        "took to boot.",
        kind=ValueKind.COUNT,
        example="2",
        maximum=100_000,
        new=True,
        default_text="as always",
    )
    max_vms: int | None = option(
        None,
        "No VM more than this is launched at these hours; those that are there stay while jobs run on them.",
        kind=ValueKind.COUNT,
        example="3",
        maximum=100_000,
        new=True,
        default_text="as always",
    )
    idle_for_time_s: float | None = option(
        None,
        "How long a VM may have no job at these hours until it is terminated.",
        kind=ValueKind.DURATION,
        example="30m",
        maximum=365 * DAY,
        new=True,
        default_text="as always",
    )


SCHEDULE = Section("schedule NAME", ScheduleOptions, is_one_of_many=True)
"""As the documents show it."""

_CHANGES = ("min_vms", "max_vms", "idle_for_time_s")


def take(reading: Reading) -> tuple[Section, ...]:
    """Take the values of every section [schedule NAME]; return these sections, as they come in the file."""
    return reading.take_named("schedule", ScheduleOptions, "day")


def settled(reading: Reading, section: Section, zone: str) -> Schedule:
    """Return a schedule; `zone` is that of those which name none."""
    options: ScheduleOptions = reading.section(section)
    when = Hours(hours.parse(options.when), zones.calendar(options.timezone or zone))
    name = section.name.partition(" ")[2]
    return Schedule(name, when, options.pool, options.min_vms, options.max_vms, options.idle_for_time_s)


def check(reading: Reading, sections: Sequence[Section], pools: Sequence[Section]) -> None:
    """Tell `reading` what does not go together in the schedules."""
    names = [pool.name.partition(" ")[2] for pool in pools] or [DEFAULT_POOL]
    for section in sections:
        title = f"[{section.name}]"
        if not reading.given(f"{title} when"):
            reading.fault(f"{title} when", f"is missing; {hours.WANTED}")
        pool = reading.value(f"{title} pool")
        if pool and pool not in names:
            reading.fault(f"{title} pool", f"there is no [pool {shown(str(pool))}]; there are {', '.join(names)}")
        if not any(reading.given(f"{title} {name}") for name in _CHANGES):
            reading.warn(f"{title} when", f"changes nothing; give {', '.join(_CHANGES[:-1])} or {_CHANGES[-1]}")
        least, most = reading.value(f"{title} min_vms"), reading.value(f"{title} max_vms")
        if isinstance(least, int) and isinstance(most, int) and least > most:
            reading.fault(f"{title} min_vms", f"{least} is more than max_vms {most}")
        of_all = reading.value(f"[pool {pool}] max_vms" if pool and pool in names and pools else "[quota] max_vms")
        if isinstance(least, int) and isinstance(of_all, int) and least > of_all:
            reading.fault(f"{title} min_vms", f"{least} is more than max_vms {of_all}, which a schedule cannot raise")
