"""What a VM of a pool holds: what most of its workers offer, doubted where one alone offers less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from elastiq.memory import Memory, VmRecord
from elastiq.model import Policy, Pool, Shape, Worker

TEACHERS = 2
"""After so many VMs have offered the same, what a VM holds is taken for known."""


BELIEVED_SECONDS = 300.0
"""So long after it has joined what one VM alone shows is taken for what others hold, where nobody else has said it."""


def learn_capacities(memory: Memory, own: Mapping[str, Worker], policy: Policy) -> Memory:
    """Return `memory` with what VMs hold, as the workers `own` (by instance id) offer it.

    Closed workers, and those that have lost part of what they had, teach nothing. What most of the others offer counts;
    if that is less than what others have shown before, only once two VMs say so: one alone may be hurt.
    """
    capacities, taught_by, doubted_by = dict(memory.capacities), dict(memory.taught_by), dict(memory.doubted_by)
    for pool in policy.pools:
        key = pool.capacity_key
        offers = dict(_offers(memory.vms.values(), own, pool))
        if not offers:
            continue
        found = _of_most(offers.values())
        teachers = tuple(id_ for id_, shape in offers.items() if _is_alike(shape, found))[:TEACHERS]
        known = capacities.get(key)
        if known is not None and _is_alike(found, known):
            taught_by[key] = _first_two(taught_by.get(key, ()), teachers)
            doubted_by.pop(key, None)
        elif known is not None and not known.fits(found) and len(teachers) < TEACHERS:
            earlier = doubted_by.get(key)
            if earlier is None or earlier in own:
                doubted_by[key] = teachers[0]
                continue
            taught_by[key] = _first_two((earlier,), teachers)
            doubted_by.pop(key)
        else:
            taught_by[key] = teachers
            doubted_by.pop(key, None)
        if known is None or _is_news(found, known):
            capacities[key] = found
    return _changed(memory, capacities=capacities, taught_by=taught_by, doubted_by=doubted_by)


def capacity_of(memory: Memory, pool: Pool) -> Shape | None:
    """Return what a VM of `pool` is taken to hold; None if nobody has said it yet."""
    learnt = memory.capacities.get(pool.capacity_key)
    return expected(memory, pool) if learnt is None else learnt


def holds_perhaps(memory: Memory, pool: Pool, shape: Shape, now: float) -> bool:
    """Return whether a VM of `pool` might hold a job of `shape` that is larger than what VMs are taken to hold: so far
    only one has shown it, which may have been hurt. It is believed for a while all the same."""
    key = pool.capacity_key
    if len(memory.taught_by.get(key, ())) >= TEACHERS or key not in memory.taught_by:
        return False
    described = expected(memory, pool)
    if described is not None:
        return shape.fits(described)
    teacher = memory.vms.get(memory.taught_by[key][0])
    return teacher is None or now - (teacher.joined_at or now) > BELIEVED_SECONDS


def expected(memory: Memory, pool: Pool) -> Shape | None:
    """Return what workers on VMs of `pool` will offer by what the cloud says of the type, less the memory that workers
    of other types were seen to hold back; None if the cloud does not say it."""
    described = memory.described.get(pool.capacity_key)
    if described is None or described.memory_mb is None:
        return described
    share = min((share for share in _shares(memory) if share <= 1.0), default=1.0)
    return replace(described, memory_mb=int(described.memory_mb * share))


def _shares(memory: Memory) -> Iterable[float]:
    for key, ids in memory.taught_by.items():
        offered, described = memory.capacities.get(key), memory.described.get(key)
        if offered and described and len(ids) >= TEACHERS and offered.memory_mb and described.memory_mb:
            yield offered.memory_mb / described.memory_mb


def _offers(records: Iterable[VmRecord], own: Mapping[str, Worker], pool: Pool) -> Iterable[tuple[str, Shape]]:
    for record in records:
        worker = own.get(record.id)
        # A VM launched before the type was changed does not tell what the next ones will hold.
        if worker is None or record.pool != pool.name or pool.instance_type not in ("", record.type):
            continue
        if worker.capacity.cpus > 0 and not (worker.closed or worker.hurt or record.leaving):
            yield record.id, worker.capacity


def _of_most(shapes: Iterable[Shape]) -> Shape:
    """Return what most of them are; the largest of several that are as many."""
    shapes = list(shapes)
    votes = Counter(replace(shape, disk_mb=None) for shape in shapes)

    def weight(shape: Shape) -> tuple[int, ...]:
        return votes[shape], shape.cpus, shape.memory_mb or 0, shape.gpus or 0

    best = max(votes, key=weight)
    disks = [shape.disk_mb for shape in shapes if replace(shape, disk_mb=None) == best and shape.disk_mb is not None]
    return replace(best, disk_mb=max(disks, default=None))


def _is_alike(one: Shape, other: Shape) -> bool:
    return replace(one, disk_mb=None) == replace(other, disk_mb=None)


def _is_news(found: Shape, known: Shape) -> bool:
    """Return whether it is worth writing down; the free disk that some batch systems give as capacity changes all the
    time."""
    if not _is_alike(found, known) or (found.disk_mb is None) != (known.disk_mb is None):
        return True
    return abs((found.disk_mb or 0) - (known.disk_mb or 0)) > (known.disk_mb or 0) / 10


def _first_two(known: tuple[str, ...], further: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*known, *further)))[:TEACHERS]


def _changed(memory: Memory, **values: Mapping[str, object]) -> Memory:
    changed = {name: value for name, value in values.items() if value != getattr(memory, name)}
    return replace(memory, **changed) if changed else memory  # type: ignore[arg-type]
