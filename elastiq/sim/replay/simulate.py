"""simulate(): recorded jobs through the real plan()."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from elastiq.config import Settings
from elastiq.model import Policy
from elastiq.sim.replay.cluster import Cluster
from elastiq.sim.replay.daemon import Replay, Rhythm
from elastiq.sim.replay.figures import Figures, billed_hours, elasticity, percentile
from elastiq.sim.replay.oracle import lives_of
from elastiq.sim.replay.traces import Job
from elastiq.sim.replay.work import Work, work_of

BEGINS_AT = 1_000_000_000.0
"""When the first job is submitted, in seconds since the epoch: any time does."""

BOOT_SECONDS = 180.0

CORES = 4


def simulate(
    jobs: Sequence[Job],
    settings: Settings | None = None,
    *,
    policy: Policy | None = None,
    boot_seconds: float = BOOT_SECONDS,
    cores: int = CORES,
    max_vms: int | None = None,
    every_poll: bool = False,
) -> Figures:
    """Return what `jobs` come to with the options of `settings` (the defaults if there are none).

    `policy` is taken instead of that of the settings, which then say but how often is looked. Each VM has `cores` and
    joins `boot_seconds` after its launch. There are at most `max_vms` of them, whatever the policy says; None: as many
    as hold all jobs that would run at the same time if none waited. With `every_poll` a plan is made at every look.
    """
    settings = settings or Settings()
    work = work_of(jobs, cores, max_vms)
    policy = with_quota(policy or settings.policy(), work.max_vms)
    cluster = Cluster(work, boot_seconds, BEGINS_AT)
    replay = Replay(cluster, policy, Rhythm.of(settings), cores, every_poll=every_poll)
    replay.run()
    return _figures(cluster, work, boot_seconds, replay.plans)


def with_quota(policy: Policy, max_vms: int) -> Policy:
    """Return `policy` with a maximum of VMs, and no minimum above it."""
    pools = tuple(replace(pool, max_vms=max_vms, min_vms=min(pool.min_vms, max_vms)) for pool in policy.pools)
    return replace(policy, pools=pools, max_vms=max_vms, min_vms=min(policy.min_vms, max_vms))


def _figures(cluster: Cluster, work: Work, boot_seconds: float, plans: int) -> Figures:
    waits = cluster.waits
    return Figures(
        jobs=len(waits),
        left_out=work.left_out,
        never_started=cluster.never_started,
        vms=cluster.launched,
        vm_hours=billed_hours(cluster.lives),
        oracle_vm_hours=billed_hours(lives_of(work)),
        mean_wait_seconds=math.fsum(waits) / len(waits) if waits else 0.0,
        p95_wait_seconds=percentile(waits, 0.95),
        worst_wait_seconds=max(waits, default=0.0),
        elasticity=elasticity(cluster.demand_curve, cluster.supply_curve, cluster.last_end_at),
        boot_seconds=boot_seconds,
        cores_per_vm=work.cores,
        max_vms=work.max_vms,
        plans=plans,
        demand_curve=cluster.demand_curve,
        supply_curve=cluster.supply_curve,
    )
