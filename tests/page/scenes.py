"""How things may stand, to be shown: nothing yet, as usual, in trouble, and very many VMs."""

from __future__ import annotations

import math
from dataclasses import replace

from elastiq.decisions import Token
from elastiq.planning.why import Account, GroupTold, PoolNow, PoolTold, Told, VmTold
from elastiq.report.charts import Layer, Span
from elastiq.report.now import Happened, Now, Report
from elastiq.report.series import Past, Period
from elastiq.state.kept import Event

AT = 1_790_000_000.0
HOUR = 3600.0


def told(token: Token, text: str = "", jobs: int = 0, until: float | None = None) -> Told:
    return Told(token.value, text or token.meaning, jobs, AT - 600, until)


def vm(number: int, stage: str, verdict: Told, pool: str = "cpu", idle_since: float | None = None) -> VmTold:
    joined = None if stage == "booting" else AT - 7000
    name, address = f"worker-{number}", f"10.0.{number // 250}.{number % 250}"
    return VmTold(f"i-{number:017x}", pool, stage, name, address, AT - 7200, joined, idle_since, verdict)


def group(number: int, jobs: int, *verdicts: Told, cpus: int = 4, memory_mb: int | None = 16000) -> GroupTold:
    pools = (PoolTold("cpu", "yes"), PoolTold("gpu", "no", "TARGET.HasGPU is not advertised"))
    return GroupTold(f"{number:012x}", jobs, cpus, memory_mb, None, 0, 1, False, 3, AT - 420.0, verdicts, pools)


REPORT = Report(
    version="2.0.0",
    cluster="physics.example.org",
    batch_plugin="htcondor",
    started_at=AT - 5 * 24 * HOUR,
    updated_at=AT - 12.0,
    monotonic_microseconds=1,
    summary="120 jobs wait, room for 8 of them is booting",
    jobs_waiting=0,
    workers_busy=0,
    workers_idle=0,
    max_vms=50,
)
USUAL_VMS = (
    *(vm(number, "working", told(Token.AT_WORK)) for number in range(24)),
    *(vm(number, "working", told(Token.IDLE_YET_SHORT), "gpu", AT - 500) for number in range(30, 33)),
    *(vm(number, "booting", told(Token.STILL_BOOTING)) for number in range(40, 45)),
    vm(50, "going", told(Token.GOING)),
)


def pool(name: str, vms: int, max_vms: int | None) -> PoolNow:
    return PoolNow(name, vms, max_vms, (), 0, 0, 180.0, None, "")


def waves(
    period: str, seconds: float, steps: int, most: float, gap: tuple[int, int] = (0, 0), *, is_priced: bool = False
) -> Period:
    """Return a time in which the load rises and falls by the day."""
    span = Span(AT - seconds, seconds / steps, steps)

    def each(function: object, begin: float = 0.0) -> tuple[float | None, ...]:
        return tuple(
            None if gap[0] <= step < gap[1] else function(span.begins_at + step * span.step_seconds)  # type: ignore[operator]
            for step in range(steps)
        )

    def load(at: float) -> float:
        return most * max(0.05, 0.5 + 0.45 * math.sin(at / 86400 * 2 * math.pi) + 0.1 * math.sin(at / 5000))

    working = each(lambda at: round(min(load(at), 0.8 * most), 1))
    idle = each(lambda at: round(max(0.0, load(at - 4000) - load(at)), 1))
    booting = each(lambda at: round(max(0.0, load(at + 3000) - load(at)) / 2, 1))
    demand = each(lambda at: round(load(at + 1500), 1))
    capacity = (Layer("at work", "work", working), Layer("idle", "idle", idle), Layer("booting", "boot", booting))
    waiting = Layer("waiting jobs", "wait", each(lambda at: round(max(0.0, load(at + 2000) - load(at)) * 7)))
    columns = 24 if period == "day" else 30
    wide = Span(span.begins_at, seconds / columns, columns)
    counts = [round(most / 3 * (1 + math.sin(step / columns * 2 * math.pi))) for step in range(columns)]
    launches = (Layer("launched", "boot", counts),)
    ends = (
        Layer("idle", "idle", [max(0, one - 2) for one in counts[::-1]]),
        Layer("never joined", "bad", [int(step % 7 == 0) for step in range(columns)]),
    )
    spent = (
        Layer("at work", "work", [one * 20.0 for one in counts]),
        Layer("idle", "idle", [one * 2.0 for one in counts]),
    )
    name = "The last day" if period == "day" else "The last month"
    line = Layer("wanted by jobs", "line", demand)
    money = (Layer("all VMs that have a price", "wait", [one * 2.112 for one in counts]),) if is_priced else ()
    return Period(name, period, span, capacity, line, waiting, wide, launches, ends, spent, money)


def events(count: int) -> tuple[Event, ...]:
    launched = "launch 3 VMs of pool cpu: 12 jobs find no room; launched i-1, i-2, i-3"
    kinds = (
        Event(0.0, "launch", Token.NO_ROOM.value, "cpu", launched),
        Event(0.0, "terminate", Token.IDLE.value, "i-0000000000000001f", "it is idle for 3612 s"),
        Event(0.0, "hold", Token.QUOTA_FULL.value, "cpu", "no room for more than 50 VMs: 88 jobs wait"),
    )
    return tuple(replace(kinds[number % 3], at=AT - 97.0 * number) for number in range(count))


def empty() -> tuple[Now, Past]:
    return Now(AT, is_running=False), Past()


def usual() -> tuple[Now, Past]:
    groups = (
        group(1, 120, told(Token.ROOM_BOOTING, "jobs fit in VMs that boot", 8), told(Token.QUOTA_FULL, jobs=112)),
        group(2, 7, told(Token.WAITING_TIME, "jobs have waited for 12 s of 40 s", 7, AT + 28), cpus=1, memory_mb=2000),
    )
    account = Account(AT - 12, groups, 0, USUAL_VMS, (pool("cpu", 30, 40), pool("gpu", 3, None)), 50)
    action = Happened(AT - 300, "launch 5 VMs of pool cpu: 20 jobs find no room; launched i-1, i-2, i-3, i-4, i-5")
    report = replace(REPORT, jobs_waiting=127, workers_busy=24, workers_idle=3, last_action=action)
    periods = (waves("day", 86400, 144, 40, is_priced=True), waves("month", 30 * 86400.0, 720, 40, is_priced=True))
    return Now(AT, True, 12.0, report, account), Past(periods, events(40))


def trouble() -> tuple[Now, Past]:
    now, past = usual()
    holds = (
        told(
            Token.LAUNCHES_PAUSED,
            "launches of pool cpu pause for 600 s: the cloud says: InsufficientInstanceCapacity: no room in zone b",
        ),
        told(
            Token.UNREADABLE,
            "the queue cannot be read: queue check failed: condor_q failed with exit status 1: SECMAN:2007",
        ),
        told(Token.IN_VAIN, "12 jobs of 4 CPUs did not start although there was room for them"),
    )
    groups = (
        group(1, 120, told(Token.LAUNCHES_PAUSED, holds[0].text, 120, AT + 540)),
        group(2, 12, told(Token.IN_VAIN, holds[2].text, 12, AT + 3000)),
        group(3, 4, told(Token.NOT_ELIGIBLE, "no pool can run them: Requirements: TARGET.HasGPU is not advertised", 4)),
    )
    broken = (
        vm(90, "broken", told(Token.VM_IN_ERROR)),
        vm(91, "unlisted", told(Token.NOT_LISTED)),
        vm(92, "out of sight", told(Token.WORKER_OUT_OF_SIGHT)),
    )
    account = replace(now.told, groups=groups, holds=holds, vms=(*USUAL_VMS, *broken))
    error = Happened(
        AT - 700,
        "queue check failed: condor_q failed with exit status 1: SECMAN:2007: no <script>alert(1)</script>",
    )
    advice = ("set NEGOTIATOR_DEPTH_FIRST = True: HTCondor spreads jobs over workers, and no VM gets idle",)
    report = replace(now.report or REPORT, last_error=error, jobs_waiting=None, advice=advice)
    day = waves("day", 86400, 144, 40, (60, 90))
    return Now(AT, True, 400.0, report, account), replace(
        past, periods=(day, past.periods[1]), damage="looks 17: the end is missing"
    )


def large() -> tuple[Now, Past]:
    now, past = usual()
    stages = ("working",) * 7 + ("booting", "leaving", "working")
    verdicts = (told(Token.AT_WORK), told(Token.IDLE_YET_SHORT))
    vms = tuple(
        vm(
            number,
            stages[number % 10],
            verdicts[number % 10 == 9],
            f"pool-{number % 25}",
            AT - 60 if number % 10 == 9 else None,
        )
        for number in range(5000)
    )
    groups = tuple(
        group(
            number,
            5000 - 2 * number,
            told(Token.QUOTA_FULL, f"no room for more than 5000 VMs: {number} jobs wait", 5000 - 2 * number),
            cpus=1 + number % 32,
        )
        for number in range(2000)
    )
    pools = tuple(pool(f"pool-{number}", 200, 300) for number in range(25))
    account = Account(AT - 12, groups, 312, vms, pools, 5000)
    report = replace(now.report or REPORT, jobs_waiting=6_000_000, workers_busy=3500, workers_idle=500, max_vms=5000)
    past = Past((waves("day", 86400, 144, 4800), waves("month", 30 * 86400.0, 720, 4800, (200, 260))), events(1000))
    return Now(AT, True, 3.0, report, account), past


SCENES = {"empty": empty, "usual": usual, "trouble": trouble, "large": large}
