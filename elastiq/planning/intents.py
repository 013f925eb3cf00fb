"""Launches without a clear answer: which VMs may be of them, and when they are given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from elastiq.memory import Intent, LaunchTook, Memory, VmRecord
from elastiq.model import Instance, Policy, Pool
from elastiq.planning import patience


def made_of(intent: Intent, id_: str, made_at: float) -> VmRecord:
    """Return the record of a VM of a launch."""
    return VmRecord(
        id_,
        intent.pool,
        intent.token,
        made_at,
        type=intent.instance_type,
        market=intent.market,
        zone=intent.zone,
        most_micros=intent.most_micros,
        asked_at=intent.requested_at,
    )


def track_intents(
    memory: Memory,
    listed: Mapping[str, Instance],
    nobodys: list[Instance],
    listed_at: float,
    policy: Policy,
) -> tuple[tuple[Intent, ...], list[str]]:
    """Return the launches that are still unclear, and the client tokens of those that are given up.

    One of `nobodys`, VMs of a cloud that shows neither token nor tag, keeps a launch that it could be of from being
    given up.
    """
    turned_up: dict[str, set[str]] = {intent.token: set(memory.found(intent)) for intent in memory.intents}
    for instance in listed.values():
        if instance.client_token in turned_up:
            turned_up[instance.client_token].add(instance.id)
    unclear = []
    given_up = []
    for intent in memory.intents:
        missing = intent.count - len(turned_up[intent.token])
        if missing <= 0 and not intent.in_hand:
            continue
        if turned_up[intent.token] != set(intent.found):
            intent = replace(intent, found=tuple(sorted(turned_up[intent.token])))
        if intent.in_hand or listed_at - intent.waiting_since <= settle_seconds(intent):
            unclear.append(intent)
            continue
        alike = [instance.id for instance in nobodys if _looks_like(instance, intent, policy)]
        alike = sorted(alike, key=lambda id_: id_ not in intent.lookalikes)[:missing]
        nobodys = [instance for instance in nobodys if instance.id not in alike]
        known = intent.lookalikes if intent.unseen_since is None else ()
        since = listed_at if intent.unseen_since is None else intent.unseen_since
        if (
            len(alike) < missing
            and not (known and listed.keys() >= set(known))
            and listed_at - since <= patience.UNSEEN_SECONDS
        ):
            unclear.append(replace(intent, unseen_since=since))
        elif alike:
            unclear.append(replace(intent, lookalikes=tuple(alike), unseen_since=None))
        else:
            given_up.append(intent.token)
    return tuple(unclear), given_up


def settle_seconds(intent: Intent) -> float:
    """Return for how long VMs of a launch may still turn up."""
    by_count = patience.SETTLE_SECONDS + patience.SETTLE_SECONDS_PER_VM * intent.count
    return max(by_count, min(patience.SETTLE_USUAL * intent.usual_seconds, patience.LONGEST_SETTLE_SECONDS))


def usual_seconds(memory: Memory, count: int) -> float:
    """Return how long the cloud has lately taken at most to launch `count` VMs; 0 if nothing is known."""
    return max((took.seconds * max(1.0, count / took.vms) for took in memory.launches_took), default=0.0)


def with_answer(memory: Memory, vms: int, seconds: float) -> Memory:
    """Return `memory` with how long the cloud took to launch `vms` VMs."""
    took = LaunchTook(vms, max(0.0, seconds))
    return replace(memory, launches_took=(*memory.launches_took, took)[-patience.LAUNCHES_REMEMBERED :])


def given_up_at(intent: Intent) -> float:
    """Return until when a launch counts of which nothing turns up."""
    since = intent.unseen_since
    return (intent.waiting_since + settle_seconds(intent) if since is None else since) + patience.UNSEEN_SECONDS


def is_unmarked(instance: Instance) -> bool:
    """Return whether nothing says whose VM this is."""
    return instance.state.alive and not (instance.client_token or instance.cluster or instance.pool)


def _looks_like(instance: Instance, intent: Intent, policy: Policy) -> bool:
    """Return whether a VM without token and tag is of the image, the type and the time of a launch."""
    pools = [pool for pool in policy.pools if pool.name == intent.pool]
    image_id = intent.image_id or next((pool.image_id for pool in pools), "")
    if intent.image_id:
        pools = [Pool(intent.pool, instance_type=intent.instance_type)]
    of_type = all(pool.takes(instance.type) for pool in pools)
    if not image_id or instance.image_id != image_id or not of_type or instance.launched_at is None:
        return False
    late_seconds = instance.launched_at - intent.requested_at
    return -patience.CLOCKS_APART_SECONDS <= late_seconds <= settle_seconds(intent) + patience.CLOCKS_APART_SECONDS
