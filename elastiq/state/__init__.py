"""What must outlive the daemon: the launch journal, the owned VMs, the last decisions and the report for `status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from elastiq.decisions import Decision, Outcome
from elastiq.memory import Memory
from elastiq.state import history, journal, legacy
from elastiq.state.database import DATABASE, Database
from elastiq.state.history import read_account, read_decisions, read_decisions_on, read_memory, read_report
from elastiq.state.journal import kept_watches
from elastiq.state.restart import after_restart

__all__ = [
    "DATABASE",
    "PRESENT_EVERY_SECONDS",
    "State",
    "after_restart",
    "kept_watches",
    "read_account",
    "read_decisions",
    "read_decisions_on",
    "read_memory",
    "read_report",
]

PRESENT_EVERY_SECONDS = 3.0
"""So often it is noted at most that a daemon is at work."""


class State:
    """The state directory. Every `save` is one transaction that is on disk when it returns."""

    def __init__(self, directory: Path, now: float, *, is_durable: bool = True) -> None:
        """Open or create the database in `directory`; a damaged one is moved aside and said loudly.

        Raise StateError if the directory cannot be used.
        """
        self._directory = directory
        self._saved = Memory()
        self._present_at: float | None = None
        self.database = Database(directory / DATABASE, now, journal.read, is_durable=is_durable)

    @property
    def damaged(self) -> str:
        """Where a damaged database was moved to, if that happened now."""
        return self.database.damaged

    def load(self, now: float) -> Memory:
        """Return what was saved last, as it is to be seen after a restart. Raise StateError."""
        self._saved = self.database.read()
        present_at = journal.presence(self.database.fact("present_at"))
        # What is returned has its times as of now, so that is what goes with them to the disk.
        self._present_at = now
        return after_restart(self._saved, now, present_at)

    def save(self, memory: Memory) -> None:
        """Write what changed since the last save. Raise StateError if it is not safely on disk."""
        journal.write(self.database, memory, self._saved, self._present_at)
        self._saved = memory

    def present(self, now: float) -> None:
        """Keep that the daemon is at work, and knows how the world is, while patience with anything is counted.

        Otherwise nothing is written, so that an idle daemon leaves the disk alone. Raise StateError.
        """
        if not self._saved.is_patient or now - (self._present_at or 0.0) < PRESENT_EVERY_SECONDS:
            return
        with self.database.transaction():
            self.database.put("present_at", now)
        self._present_at = now

    def damaged_at(self) -> float | None:
        """Return when a damaged database was last replaced by an empty one. Raise StateError."""
        found = self.database.fact("damaged_at")
        return found if isinstance(found, float) else None

    def refused_features(self, cloud: str) -> frozenset[str]:
        """Return the request features that `cloud` (Settings.cloud) was found to refuse; none if another one did."""
        of, features = journal.refused_features(self.database.fact("refused_features"))
        return features if of == cloud else frozenset()

    def save_refused_features(self, cloud: str, features: frozenset[str]) -> None:
        """Keep them across restarts, instead of those of any other cloud. Raise StateError."""
        with self.database.transaction():
            self.database.put("refused_features", {"of": cloud, "features": sorted(features)})

    def record(self, at: float, decision: Decision, outcome: Outcome | None) -> None:
        """Add a decision and what became of it to the last decisions. Raise StateError."""
        history.record(self.database, at, decision, outcome)

    def save_report(self, report: Mapping[str, object], account: Mapping[str, object] | None = None) -> None:
        """Write what `elastiqctl status` shows, and what `why` answers from; None: that stays. Raise StateError."""
        with self.database.transaction():
            self.database.put("report", dict(report))
            if account is not None:
                self.database.put("account", dict(account))

    def told(self) -> Mapping[str, Mapping[str, object]]:
        """Return what was kept of the notices that were sent, by their events. Raise StateError."""
        found = self.database.fact("notices")
        return found if isinstance(found, dict) else {}

    def keep_told(self, told: Mapping[str, Mapping[str, object]]) -> None:
        """Keep across restarts what was sent, so that it is not sent again at once. Raise StateError."""
        with self.database.transaction():
            self.database.put("notices", {event: dict(one) for event, one in told.items()})

    def adopt_legacy(self, memory: Memory, now: float) -> Memory:
        """Return `memory` with the ids of the original's state file, which is read once and then renamed."""
        found = legacy.read(self._directory, now)
        if found is None:
            return memory
        memory = replace(memory, vms={**found, **memory.vms})
        self.save(memory)
        legacy.set_aside(self._directory, len(memory.vms))
        return memory

    def close(self) -> None:
        """Close the database; nothing is lost without it."""
        self.database.close()
