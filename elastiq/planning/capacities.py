"""What a VM of a pool holds: what most of its workers offer, doubted where one alone offers less."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from elastiq.memory import Memory, Showing, VmRecord
from elastiq.model import Policy, Pool, Shape, Worker
from elastiq.planning import patience

TEACHERS = 2
"""After so many VMs have offered the same, what a VM holds is taken for known."""

SURE = 4
"""After so many VMs in turn have offered less than earlier ones did, nothing more is expected of the next ones."""

BELIEVED_SECONDS = 300.0
"""So long after it has joined what one VM alone shows is taken for what others hold, where nobody else has said it."""


LASTS_SECONDS = 86400.0
"""What no worker has shown for so long is doubted: whoever makes images and types may have changed them, and those that
showed it last may have been hurt."""

NOTED_SECONDS = 3600.0
"""So seldom it is noted that workers still show what is known."""

_Offer = tuple[VmRecord, Shape]
"""A VM, and what its worker offers."""


def learn_capacities(memory: Memory, own: Mapping[str, Worker], policy: Policy, seen_at: float) -> Memory:
    """Return `memory` with what VMs hold, as the workers `own` (by instance id) offered it at `seen_at`.

    Closed workers, and those that have lost part of what they had, teach nothing. What most of the others offer counts;
    if that is less than what others have shown before, only once two VMs say so: one alone may be hurt.
    """
    offers_of = _offers(memory.vms.values(), own)
    for pool in policy.variants:
        # A VM launched before the type was changed does not tell what the next ones will hold.
        offers = [offer for offer in offers_of.get(pool.name, ()) if pool.instance_type in ("", offer[0].type)]
        if offers:
            memory = _learn(memory, pool.capacity_key, offers, own, seen_at)
    return memory


def _learn(memory: Memory, key: str, offers: Sequence[_Offer], own: Mapping[str, Worker], seen_at: float) -> Memory:
    found, known = _of_most([shape for _, shape in offers]), memory.capacities.get(key)
    teachers = tuple(islice((record.id for record, shape in offers if _is_alike(shape, found)), SURE))
    once_held, showing = memory.once_held.get(key), memory.showings.get(key, Showing())
    if known is not None and _is_alike(found, known):
        teachers = _first((*memory.taught_by.get(key, ()), *teachers))
        if seen_at - showing.at >= NOTED_SECONDS:
            showing = replace(showing, at=seen_at)
    elif known is not None and not known.fits(found) and len(teachers) < TEACHERS:
        earlier = memory.doubted_by.get(key)
        if earlier is None or earlier in own:
            return _with(memory, "doubted_by", key, teachers[0])
        teachers, once_held, showing = _first((earlier, *teachers)), _larger(once_held, known), Showing(seen_at)
    else:
        once_held = None if known is None or known.fits(found) else _larger(once_held, known)
        showing = Showing(seen_at)
    if len(teachers) >= SURE or (once_held is not None and once_held.fits(found)):
        once_held = None
    if known is None or _is_news(found, known):
        memory = _with(memory, "capacities", key, found)
    memory = _with(_with(memory, "taught_by", key, teachers), "doubted_by", key, None)
    return _with(_with(memory, "once_held", key, once_held), "showings", key, showing)


def capacity_of(memory: Memory, pool: Pool) -> Shape | None:
    """Return what a VM of `pool` is taken to hold; None if nobody has said it yet."""
    learnt = memory.capacities.get(pool.capacity_key)
    return expected(memory, pool) if learnt is None else learnt


def holds_perhaps(memory: Memory, pool: Pool, shape: Shape, now: float) -> bool:
    """Return whether a VM of `pool` might hold a job of `shape` that is larger than what VMs are taken to hold, and one
    may be launched to see it: so few have shown it that they may have been hurt, or it was long ago."""
    key = pool.capacity_key
    teachers, showing = memory.taught_by.get(key, ()), memory.showings.get(key, Showing())
    if not teachers or now < showing.try_at:
        return False
    described = _expected_beside(memory, pool)
    larger = (described, memory.once_held.get(key))
    if len(teachers) < SURE and any(one is not None and shape.fits(one) for one in larger):
        return True
    if described is not None and not shape.fits(described):
        return False
    if now - showing.at > LASTS_SECONDS:
        return True
    teacher = memory.vms.get(teachers[0])
    return len(teachers) < SURE and (teacher is None or now - (teacher.joined_at or now) > BELIEVED_SECONDS)


def is_larger(memory: Memory, pool: Pool, shape: Shape) -> bool:
    """Return whether a job of `shape` is larger than what VMs of `pool` are taken to hold."""
    capacity = capacity_of(memory, pool)
    return capacity is not None and not shape.fits(capacity)


def size_tried(memory: Memory, pool: Pool, now: float) -> Memory:
    """Return `memory` after a VM of `pool` was launched to see whether it holds more."""
    showing = memory.showings.get(pool.capacity_key, Showing())
    pause = patience.pause_seconds(patience.TRIAL_PAUSES_SECONDS, showing.trials)
    again = replace(showing, trials=showing.trials + 1, try_at=now + pause)
    return _with(memory, "showings", pool.capacity_key, again)


def size_trial_failed(memory: Memory, key: str) -> Memory:
    """Return `memory` after the cloud gave no VM for such a trial of the pool with this `capacity_key`."""
    showing = memory.showings.get(key, Showing())
    return _with(memory, "showings", key, replace(showing, trials=max(0, showing.trials - 1), try_at=0.0))


def expected(memory: Memory, pool: Pool) -> Shape | None:
    """Return what workers on VMs of `pool` will offer by what the cloud says of the type, less the memory that workers
    of other types were seen to hold back; None if the cloud does not say it."""
    described = memory.described.get(pool.capacity_key)
    if described is None or described.memory_mb is None:
        return described
    share = min((share for share in _shares(memory) if share <= 1.0), default=1.0)
    return replace(described, memory_mb=int(described.memory_mb * share))


def _expected_beside(memory: Memory, pool: Pool) -> Shape | None:
    """Return the same, with what workers have shown in place of what the cloud does not say."""
    described, shown = expected(memory, pool), memory.capacities.get(pool.capacity_key)
    if described is None or shown is None:
        return described
    return replace(
        described,
        memory_mb=shown.memory_mb if described.memory_mb is None else described.memory_mb,
        disk_mb=shown.disk_mb if described.disk_mb is None else described.disk_mb,
        gpus=shown.gpus if described.gpus is None else described.gpus,
    )


def _shares(memory: Memory) -> Iterable[float]:
    for key, ids in memory.taught_by.items():
        offered, described = memory.capacities.get(key), memory.described.get(key)
        if offered and described and len(ids) >= TEACHERS and offered.memory_mb and described.memory_mb:
            yield offered.memory_mb / described.memory_mb


def _offers(records: Iterable[VmRecord], own: Mapping[str, Worker]) -> Mapping[str, Sequence[_Offer]]:
    """Return what workers offer that teach something, by the names of their pools."""
    found: dict[str, list[_Offer]] = {}
    for record in records:
        worker = own.get(record.id)
        if worker is None or worker.closed or worker.hurt or record.leaving or worker.capacity.cpus <= 0:
            continue
        found.setdefault(record.pool, []).append((record, worker.capacity))
    return found


def _of_most(shapes: Collection[Shape]) -> Shape:
    """Return what most of them are; the largest of several that are as many."""
    votes = Counter([(shape.cpus, shape.memory_mb, shape.gpus) for shape in shapes])

    def weight(kind: tuple[int, int | None, int | None]) -> tuple[int, ...]:
        cpus, memory_mb, gpus = kind
        return votes[kind], cpus, memory_mb or 0, gpus or 0

    best = max(votes, key=weight)
    disks = [shape.disk_mb for shape in shapes if shape.disk_mb is not None and _but_disk(shape) == best]
    return Shape(best[0], best[1], max(disks, default=None), best[2])


def _but_disk(shape: Shape) -> tuple[int, int | None, int | None]:
    return shape.cpus, shape.memory_mb, shape.gpus


def _is_alike(one: Shape, other: Shape) -> bool:
    return _but_disk(one) == _but_disk(other)


def _is_news(found: Shape, known: Shape) -> bool:
    """Return whether it is worth writing down; the free disk that some batch systems give as capacity changes all the
    time."""
    if not _is_alike(found, known) or (found.disk_mb is None) != (known.disk_mb is None):
        return True
    return abs((found.disk_mb or 0) - (known.disk_mb or 0)) > (known.disk_mb or 0) / 10


def _larger(one: Shape | None, other: Shape) -> Shape:
    return other if one is None or one.fits(other) else one


def _first(teachers: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(teachers))[:SURE]


def _with(memory: Memory, name: str, key: str, value: object) -> Memory:
    """Return `memory` with `value` in the mapping `name`; None: nothing there. Itself if that is so already."""
    mapping = getattr(memory, name)
    if mapping.get(key) == value:
        return memory
    others = {other: kept for other, kept in mapping.items() if other != key}
    changed = others if value is None else {**others, key: value}
    return replace(memory, **{name: changed})  # type: ignore[arg-type]
