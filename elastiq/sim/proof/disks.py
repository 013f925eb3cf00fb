"""State directories for the simulator: the real one, watched, and a quick one that keeps the same promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from elastiq.decisions import Decision, End, Outcome
from elastiq.errors import StateError
from elastiq.memory import Memory
from elastiq.sim.proof.gate import Gate
from elastiq.sim.world import World
from elastiq.state import PRESENT_EVERY_SECONDS, State, after_restart, kept_watches


class Disk:
    """What outlives a process, if no real file is used."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.features: dict[str, frozenset[str]] = {}
        self.damaged_at: float | None = None
        self.present_at: float | None = None


class QuickState:
    """A `ports.State` on a `Disk`. What is not kept across restarts by the real one is not kept here either."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._present_at: float | None = None

    def load(self, now: float) -> Memory:
        self._present_at = now
        kept = replace(self.disk.memory, waiting_since=None, watched=kept_watches(self.disk.memory), loads={})
        return after_restart(kept, now, self.disk.present_at)

    def close(self) -> None:
        pass

    def save(self, memory: Memory) -> None:
        self.disk.memory, self.disk.present_at = memory, self._present_at

    def present(self, now: float) -> None:
        if self.disk.memory.is_patient and now - (self._present_at or 0.0) >= PRESENT_EVERY_SECONDS:
            self.disk.present_at = self._present_at = now

    def damaged_at(self) -> float | None:
        return self.disk.damaged_at

    def refused_features(self, cloud: str) -> frozenset[str]:
        return self.disk.features.get(cloud, frozenset())

    def save_refused_features(self, cloud: str, features: frozenset[str]) -> None:
        self.disk.features = {cloud: features}

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        pass

    def save_report(self, report: Mapping[str, object], account: Mapping[str, object] | None = None) -> None:
        pass

    def adopt_legacy(self, memory: Memory, now: float) -> Memory:
        return memory


class WatchedState:
    """Stands before a State: kills around its calls, fills its disk, and hears what is recorded."""

    def __init__(self, state: State | QuickState, world: World, gate: Gate) -> None:
        self.state, self._world, self._gate = state, world, gate
        self.recorded: list[tuple[str, str, str, bool]] = []
        """Kind, subject, reason and whether it was done, of this step."""
        self.failed = False
        """Whether a write failed in this step."""

    def load(self, now: float) -> Memory:
        return self.state.load(now)

    def adopt_legacy(self, memory: Memory, now: float) -> Memory:
        return self.state.adopt_legacy(memory, now)

    def damaged_at(self) -> float | None:
        return self.state.damaged_at()

    def refused_features(self, cloud: str) -> frozenset[str]:
        return self.state.refused_features(cloud)

    def _full(self) -> None:
        if self._world.faults.any and self._world.faults.strikes("disk full"):
            self.failed = True
            raise StateError("database or disk is full")

    def save(self, memory: Memory) -> None:
        self._gate.pass_through("state.save", lambda: self._save(memory))

    def _save(self, memory: Memory) -> None:
        self._full()
        self.state.save(memory)
        self._world.witness.commit(self._world.vms, memory.vms)

    def present(self, now: float) -> None:
        self._full()
        self.state.present(now)

    def save_refused_features(self, cloud: str, features: frozenset[str]) -> None:
        self.state.save_refused_features(cloud, features)

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        if self._gate.dead:
            return
        self._full()
        done = outcome is not None and outcome.end is End.DONE
        self.recorded.append((decision.kind.value, decision.instance_id or decision.pool, str(decision.reason), done))
        self.state.record(at, decision, outcome)

    def save_report(self, report: Mapping[str, object], account: Mapping[str, object] | None = None) -> None:
        self._full()
        self.state.save_report(report, account)

    def close(self) -> None:
        self.state.close()
