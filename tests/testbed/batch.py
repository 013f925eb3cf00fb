"""What the end-to-end tests need of a batch system on the testbed: `pool.HtcondorPool`, `slurm_pool.SlurmPool`, ..."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from tests.testbed.machines import Machine, Network


class BatchTestbed(Protocol):
    """A batch system whose head node is up and that has no workers yet.

    Its class has the constants, and is made with a network and the CPUs that each worker is to have.
    """

    plugin: str
    """Name of the plugin."""
    options: Mapping[str, str]
    """What elastiq.conf needs in the plugin's own section."""
    earliest_submit_seconds: float
    """How long before a close a job has to be submitted to be sure to be on its worker by then."""
    latest_submit_seconds: float = 0.2
    """How long after the request to close a job has to be submitted to be sure to come too late."""
    network: Network
    head: Machine

    def user_data(self) -> str:
        """Return the example user data with all that a user has to fill in, before elastiq's substitutions."""

    def substituted_user_data(self) -> str:
        """Return `user_data()` as elastiq would send it, for workers that no elastiq launches."""

    def start_worker(self, instance_id: str, address: str, user_data: str | bytes, *, lane: str = "") -> Machine:
        """Start the VM `instance_id`, whose image has the batch system installed, with `user_data`.

        With `lane` it takes, beside others, the jobs of that lane.
        """

    def submit(
        self,
        count: int,
        seconds: float,
        *,
        cpus: int = 1,
        lane: str = "",
        held: bool = False,
        after: str = "",
        at_once: int = 0,
    ) -> str:
        """Submit `count` jobs that take `seconds` each, as an unprivileged user; return their common name.

        With `lane` they run on workers of that lane only, `held` by their user, not before the jobs `after` succeeded,
        no more than `at_once` of them at a time. AssertionError for what the batch system does not have.
        """

    def queue(self) -> list[dict[str, Any]]:
        """Return what is not finished."""

    def is_unfinished(self, job: str) -> bool:
        """Return whether anything of `job`, as named by `submit`, is in the queue."""

    def wait_all(self) -> None:
        """Wait until no job is left in the queue."""

    def cancel_all(self) -> None:
        """Remove every job."""

    def busy(self) -> Mapping[str, int]:
        """Return, by instance id, how many jobs really run on each worker that has any."""

    def last_ran_on(self, job: str) -> str:
        """Return the instance id of the worker where `job`, a single one that is finished, ran last."""

    def job_starts(self) -> dict[str, int]:
        """Return how often each job, finished or not, was started."""

    def evictions(self) -> list[str]:
        """Return what the batch system says of jobs that were taken from their workers."""

    def joined(self) -> set[str]:
        """Return the instance ids of the workers that the batch system knows."""

    def wait_joined(self, instance_ids: Iterable[str]) -> None:
        """Wait until the batch system knows just these workers."""

    def silence(self) -> None:
        """Make the scheduler give no answer at all until `wake`; jobs that run go on."""

    def wake(self) -> None:
        """Undo `silence`."""

    def restart_master(self) -> None:
        """Restart the scheduler, and wait until it answers; not of HTCondor."""

    def logs(self) -> str:
        """Return the end of the logs of all machines."""
