"""What elastiq needs of the world outside its loop, and the one object that holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from elastiq.clock import Time
from elastiq.memory import Memory
from elastiq.model import Instance, Pool, Shape
from elastiq.plugins import Adviser, Narrower, Requeuer
from elastiq.report.notices import Teller
from elastiq.report.reporter import Records
from elastiq.state.archive import Piece
from elastiq.state.kept import Event, Hour, Life


class Cloud(Protocol):
    """`elastiq.ec2` is the real one.

    Every method ends within its own deadline and raises CloudError alone, with the right `fault`.

    The text of a CloudError never holds keys, tokens or user data, and is at most a few hundred characters long.
    """

    @property
    def refused_features(self) -> frozenset[str]:
        """Names of request features that this cloud was found to refuse (for example "TagSpecifications").

        The caller keeps them across restarts and gives them back when it makes the next Cloud of the same endpoint.
        """

    @property
    def token_is_lock(self) -> bool:
        """True if a launch that is asked for again with the same client token never makes more VMs than the first
        time, not even while the first request is still under way: AWS says so of itself. Elsewhere (OpenStack, where
        it is a look-up) an unclear launch is settled by listings alone.
        """

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        """Return the VMs of the account: complete (all pages), terminated ones included where the cloud lists them.

        With `everything` false a cloud that filters by tag may return only those tagged for this cluster.
        Raise CloudError if any page is missing: half a list is no list.
        """

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        """Ask once for `at_least` (MinCount) to `count` VMs (MaxCount) of `pool`, and return those that were made.

        `token` is the client token; it and the tags (cluster, pool, token) go with the same request where the cloud
        takes them. Fewer than `count` is an answer, not an error. An answer that took a retry is believed only after
        a listing by token.

        Raise CloudError; if its `uncertain` is true some VMs may exist, otherwise none does.
        """

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """Ask once to terminate all of `instance_ids`; return those that the cloud accepted or no longer knows.

        An unknown id never keeps the others from being terminated. Raise CloudError if nothing was accepted.
        """

    def tag(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        """Put elastiq's tags on VMs that were launched without. Raise CloudError."""

    def console_tail(self, instance_id: str) -> str:
        """Return the last lines of the VM's console, without keys and user data, or an empty string if the cloud has
        none. Raise CloudError."""

    def capacity(self, pool: Pool) -> Shape:
        """Return what one VM of `pool` holds, from its instance type. Raise CloudError if the cloud cannot say."""

    def spot_prices(self, types: Sequence[str], now: float) -> Mapping[tuple[str, str], float]:
        """Return what VMs of these types cost an hour on the spot market `now`, by type and availability zone. Raise
        CloudError."""


class State(Records, Protocol):
    """`elastiq.state` is the real one. What is saved outlives the process: it is on disk when `save` returns.

    Every method raises StateError alone.
    """

    def load(self, now: float) -> Memory:
        """Return what was saved last. Times later than `now` (the wall clock went back) become `now`."""

    def adopt_legacy(self, memory: Memory, now: float) -> Memory:
        """Return `memory` with the VMs of the original elastiq, if it has left any."""

    def save(self, memory: Memory) -> None:
        """Write what changed since the last save."""

    def present(self, now: float) -> None:
        """Keep that the daemon is at work and knows how the world is: patience is counted up to then if it ends."""

    def damaged_at(self) -> float | None:
        """Return when a damaged database was last replaced by an empty one."""

    def save_refused_features(self, cloud: str, features: frozenset[str]) -> None:
        """Keep what `cloud` was found to refuse, instead of what any other one does."""


class History(Protocol):
    """`elastiq.state.archive` is the real one. Nothing is decided by what it keeps.

    Every method raises StateError alone.
    """

    def living(self, now: float) -> dict[str, Life]:
        """Return the VMs that were there when it was written last."""

    def add(
        self,
        piece: Piece | None,
        lives: Iterable[Life],
        now: float,
        events: Iterable[Event] = (),
        hours: Iterable[Hour] = (),
    ) -> None:
        """Keep what was seen, lives of VMs and events, and add to the sums of hours; let go what is old."""


class Pages(Protocol):
    """`elastiq.process.pages` is the real one."""

    def write(self, path: Path) -> bool:
        """Have the page written to `path`, beside the loop; return whether it is. Until then it goes on, and is asked
        for again. Raise StateError if it could not be written."""


class Batch(Narrower, Adviser, Requeuer, Protocol):
    """A batch system as the loop asks it: `elastiq.plugins.adapter` makes one of every plugin."""


@dataclass(frozen=True)
class Outside:
    """What can be asked of the world."""

    clock: Time
    batch: Batch
    cloud: Cloud


@dataclass(frozen=True)
class Ports(Outside):
    """All that the loop has to do with."""

    state: State
    history: History | None = None
    """None: nothing is kept but what must be."""
    teller: Teller | None = None
    """None: nobody is told of anything."""
    pages: Pages | None = None
    """None: no page is written."""
