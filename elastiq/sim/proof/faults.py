"""Which faults there are, and when they strike."""

from __future__ import annotations

from elastiq.sim.engine import Engine
from elastiq.sim.proof.book import Book

PROBABILITIES = {
    "cloud outage": 1.0,
    "cloud hangs": 1.0,
    "cloud throttles": 0.6,
    "launch: no capacity": 0.8,
    "launch: quota gives fewer": 0.8,
    "launch: credentials refused": 0.8,
    "launch: answer late": 0.7,
    "launch: refusal late": 0.7,
    "launch: answer lost, VMs made": 0.7,
    "launch: answer lost, VMs made later": 0.7,
    "launch: answer lost, some VMs made": 0.7,
    "launch: answer lost, nothing made": 0.7,
    "terminate: answer late": 0.7,
    "terminate: answer lost, done": 0.7,
    "terminate: answer lost, done later": 0.7,
    "terminate: answer lost, not done": 0.7,
    "terminate: some refused": 0.6,
    "terminate: all refused": 0.8,
    "terminate: accepted without effect": 0.7,
    "tagging fails": 0.8,
    "tags show late": 0.7,
    "console fails": 0.5,
    "boot: never joins": 0.5,
    "boot: ends in error": 0.5,
    "boot: stays pending": 0.4,
    "boot: joins late": 0.5,
    "image broken, no boot ends well": 1.0,
    "listing: fresh VMs missing": 0.8,
    "listing: dead VMs still running": 0.8,
    "listing: VMs missing": 0.5,
    "listing: answer late": 0.7,
    "listing: empty": 0.5,
    "listing: VMs twice": 0.5,
    "listing: another account's": 1.0,
    "batch system outage": 1.0,
    "batch system hangs": 1.0,
    "batch system prints garbage": 0.5,
    "plugin has a defect": 0.3,
    "workers: ads out of date": 0.5,
    "workers: empty answer": 0.5,
    "close: refused": 0.5,
    "close: answer lost, done": 0.6,
    "close: answer lost, not done": 0.6,
    "close: worker hangs after it": 0.8,
    "reopen: fails": 0.7,
    "reopen: answer lost, done": 0.7,
    "forget fails": 0.6,
    "job lands before the close": 0.6,
    "job wants in after the close": 0.6,
    "killed before a call": 0.05,
    "killed after a call": 0.05,
    "stopped by a signal": 0.1,
    "disk full": 0.5,
}
"""By name: how likely each strikes at every occasion while its time has come."""

ONE_OFF = (
    "spot loss",
    "VM crashes",
    "VM stops",
    "VM in error while jobs run",
    "tag taken off",
    "foreign VM with an own VM's address",
    "collector restarts empty",
    "worker listed twice",
    "administrator opens closed workers",
    "administrator drains workers",
    "configuration reload",
    "flavour changed",
    "restart",
)
"""Faults that happen at a moment."""

ANNOUNCED = ("spot notice",)
"""Only where a caller asks for it: two minutes later the VM is lost, and its worker says so before."""

IN_VAIN = (
    "jobs that never start",
    "jobs for what no VM offers",
    "jobs of which nobody can tell",
    "jobs that never start come and go",
    "twenty groups that never start",
    "hurt worker that says so",
    "hurt worker that hides it",
    "workers closed at birth",
    "cloud gives all or nothing",
)
"""What VMs could be launched for in vain, or without getting them; see `Vain`."""

AT_RESTART = ("wall clock goes forward", "wall clock goes back", "database damaged")


class Faults:
    """The times of faults that are at work now."""

    def __init__(self, engine: Engine, book: Book) -> None:
        self._engine, self._book = engine, book
        self._until: dict[str, float] = {}

    def begin(self, kind: str, seconds: float) -> None:
        """Let `kind` strike for `seconds` from now."""
        self._until[kind] = max(self._until.get(kind, 0.0), self._engine.time + seconds)
        self._engine.after(seconds, lambda: self._end(kind))

    def _end(self, kind: str) -> None:
        if self._until.get(kind, 0.0) <= self._engine.time:
            self._until.pop(kind, None)

    def note(self, kind: str) -> None:
        """Count one that has struck."""
        self._book.faults[kind] += 1

    @property
    def any(self) -> bool:
        """Return whether any may strike."""
        return bool(self._until)

    def at_work(self, kind: str) -> bool:
        """Return whether `kind` may strike now."""
        return kind in self._until

    def strikes(self, kind: str) -> bool:
        """Return whether `kind` strikes here and now; counted if so."""
        if kind not in self._until or not self._engine.chance(PROBABILITIES[kind]):
            return False
        self._book.faults[kind] += 1
        return True
