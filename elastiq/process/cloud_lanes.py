"""The cloud in lanes: one for each trade, for a listing of minutes must keep no launch waiting, and a launch of minutes
no termination.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from elastiq.clock import Clock
from elastiq.errors import CloudError, CloudFault, PendingError
from elastiq.model import Instance, Pool, Shape
from elastiq.ports import Cloud
from elastiq.process.lanes import Lane, LaneBusyError

Answer = TypeVar("Answer")

LAUNCH_SECONDS_PER_VM = 6.0
"""How much later a launch is left to itself for each of its VMs: there are clouds that make one after the other."""


@dataclass(frozen=True)
class CloudLanes:
    """A lane for each trade of a cloud."""

    listing: Lane
    launching: Lane
    terminating: Lane
    details: Lane
    """For tags, consoles, types and prices, which nobody is in a hurry for."""

    @staticmethod
    def of(clock: Clock) -> CloudLanes:
        return CloudLanes(*(Lane("cloud", clock) for _ in fields(CloudLanes)))

    def all(self) -> tuple[Lane, ...]:
        return tuple(getattr(self, lane.name) for lane in fields(self))


class CloudLane:
    """A Cloud in lanes. A call that never left did nothing; of one without an answer PendingError tells later."""

    def __init__(self, cloud: Cloud, lanes: CloudLanes) -> None:
        self._cloud, self._lanes = cloud, lanes

    @property
    def refused_features(self) -> frozenset[str]:
        return self._cloud.refused_features

    @property
    def token_is_lock(self) -> bool:
        return self._cloud.token_is_lock

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        key = "list everything" if everything else "list"
        listing = self._lanes.listing
        return _ask(listing, "the list of VMs", lambda: self._cloud.list_instances(everything=everything), key)

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        what, extra_seconds = f"launching {count} VM{'' if count == 1 else 's'}", LAUNCH_SECONDS_PER_VM * count
        launching = self._lanes.launching
        return _act(launching, what, lambda: self._cloud.launch(pool, count, token, at_least), extra_seconds)

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        ids = tuple(instance_ids)
        return _act(self._lanes.terminating, f"terminating {_some(ids)}", lambda: self._cloud.terminate(ids))

    def tag(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        ids = tuple(instance_ids)
        return _act(self._lanes.details, f"tagging {_some(ids)}", lambda: self._cloud.tag(ids, pool, token))

    def console_tail(self, instance_id: str) -> str:
        what, key = f"the console of {instance_id}", f"console {instance_id}"
        return _ask(self._lanes.details, what, lambda: self._cloud.console_tail(instance_id), key)

    def capacity(self, pool: Pool) -> Shape:
        what, key = f"the size of {pool.instance_type or pool.name}", f"capacity {pool.name} {pool.instance_type}"
        return _ask(self._lanes.details, what, lambda: self._cloud.capacity(pool), key)

    def spot_prices(self, types: Sequence[str], now: float) -> Mapping[tuple[str, str], float]:
        asked = tuple(types)
        return _ask(self._lanes.details, "spot prices", lambda: self._cloud.spot_prices(asked, now), "spot prices")


def _ask(lane: Lane, what: str, function: Callable[[], Answer], key: str) -> Answer:
    try:
        return lane.ask(what, function, key)
    except LaneBusyError as error:
        raise _cloud_error(lane, error) from None


def _act(lane: Lane, what: str, function: Callable[[], Answer], extra_seconds: float = 0.0) -> Answer:
    try:
        return lane.act(what, function, extra_seconds=extra_seconds)
    except LaneBusyError as error:
        raise _cloud_error(lane, error) from None


def _cloud_error(lane: Lane, error: LaneBusyError) -> CloudError:
    call = error.call
    if call is None:
        return CloudError(str(error), CloudFault.BUSY)

    def late() -> Any:
        try:
            return lane.late(call)
        except LaneBusyError as busy:
            raise _cloud_error(lane, busy) from None

    return PendingError(str(error), late)


def _some(instance_ids: tuple[str, ...]) -> str:
    more = f" and {len(instance_ids) - 3} more" if len(instance_ids) > 3 else ""
    return ", ".join(instance_ids[:3]) + more
