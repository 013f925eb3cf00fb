"""What the end-to-end tests need of a batch system on the testbed; `pool.HtcondorPool` is the one for HTCondor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from tests.testbed.machines import Machine, Network


class BatchTestbed(Protocol):
    """A batch system whose head node is up and that has no workers yet."""

    plugin: str
    """Name of the plugin."""
    network: Network
    head: Machine

    def user_data(self) -> str:
        """Return the example user data with all that a user has to fill in, before elastiq's substitutions."""

    def start_worker(self, instance_id: str, address: str, user_data: str | bytes) -> Machine:
        """Start the VM `instance_id`, whose image has the batch system installed, with `user_data`."""

    def submit(self, count: int, seconds: float) -> str:
        """Submit `count` jobs of one CPU that take `seconds` each, as an unprivileged user; return their name."""

    def queue(self) -> list[dict[str, Any]]:
        """Return what is not finished."""

    def wait_all(self, timeout_seconds: float) -> None:
        """Wait until no job is left in the queue."""

    def job_starts(self) -> dict[str, int]:
        """Return how often each job, finished or not, was started."""

    def evictions(self) -> list[str]:
        """Return what the batch system says of jobs that were taken from their workers."""

    def joined(self) -> set[str]:
        """Return the instance ids of the workers that the batch system knows."""

    def wait_joined(self, instance_ids: Iterable[str], timeout_seconds: float = 60) -> None:
        """Wait until the batch system knows just these workers."""

    def logs(self) -> str:
        """Return the end of the logs of all machines."""
