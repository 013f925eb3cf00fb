"""What a simulation counts, and how it ends when a promise is broken."""

from __future__ import annotations

from collections import Counter

INVARIANTS = {
    "no job killed": "a VM is terminated only when no job runs there and none can start there",
    "never above max": "VMs pending, running or perhaps launched are at most max_vms at every launch",
    "never above max_per_hour": "VMs pending, running or perhaps launched cost at most max_per_hour at every launch",
    "nothing at a cap": "nothing is launched on a day or in a month whose money is spent",
    "no idle VM at a cap": "some time after the faults end no VM idles on a day or in a month whose money is spent",
    "only its own": "no call touches a VM that elastiq did not launch",
    "drains left alone": "a worker that an administrator has closed is neither closed, opened nor terminated",
    "no VM lost": "some time after the faults end elastiq knows every VM it launched that still exists",
    "no ghost": "some time after the faults end elastiq counts no VM that is gone",
    "no VM idle for good": "some time after the faults end no VM above the minimum idles for longer than it should",
    "minimum reached": "some time after the faults end min_vms VMs are at work",
    "no job stuck": "some time after the faults end every job that a VM can run has run, or runs",
    "broken pool bounded": "VMs launched in an hour while every boot fails are at most what the breaker lets through",
    "no harm in doubt": "nothing is launched or terminated after a failed answer, nor a lost worker given up soon",
    "nothing blocks": "queue and VMs are asked for in time, whatever the other system does; after stop nothing begins",
    "no VM in vain": "for jobs that never start no VM is launched but for a first try and ever rarer trials",
    "reason recorded": "every launch, termination and reopening is recorded with its reason",
}
"""By name: what must hold."""


class Violation(BaseException):
    """A broken promise. No Exception, so that the daemon's own catch-all does not swallow it."""


class Killed(BaseException):
    """The process is gone from one moment to the next; nothing in elastiq catches this."""


class Book:
    """Counts what was injected and tested."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.tested: Counter[str] = Counter()
        self.work: Counter[str] = Counter()

    def check(self, invariant: str, holds: bool, text: str) -> None:
        """Count one test of `invariant`. Raise Violation unless it holds."""
        self.tested[invariant] += 1
        if not holds:
            raise Violation(f"{invariant}: {text}")

    def add(self, other: Book) -> None:
        """Add the counts of another book."""
        self.faults += other.faults
        self.tested += other.tested
        self.work += other.work
