"""What the end-to-end tests need of a batch system on the testbed, and what all of them do alike: `HtcondorPool`,
`SlurmPool` and `GridEnginePool` are made of it."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.testbed.machines import DOMAIN, HEAD_ADDRESS, Machine, Network
from tests.testbed.rootfs import JOB_USER

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
PATIENCE_SECONDS = 240.0
"""A bound against hangs, for two processors that run several pools."""


class BatchTestbed(ABC):
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
    metadata: Mapping[str, str] = {}
    """What the metadata services of VMs know beside the rest, path to text."""

    @abstractmethod
    def user_data(self) -> str:
        """Return the example user data with all that a user has to fill in, before elastiq's substitutions."""

    def substituted_user_data(self) -> str:
        """Return `user_data()` as elastiq would send it, for workers that no elastiq launches."""
        return self.user_data().replace("%ipv4%", HEAD_ADDRESS).replace("%fqdn%", f"head.{DOMAIN}")

    @abstractmethod
    def start_worker(self, instance_id: str, address: str, user_data: str | bytes, *, lane: str = "") -> Machine:
        """Start the VM `instance_id`, whose image has the batch system installed, with `user_data`.

        With `lane` it takes, beside others, the jobs of that lane.
        """

    @abstractmethod
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

    @abstractmethod
    def queue(self) -> list[dict[str, Any]]:
        """Return what is not finished."""

    @abstractmethod
    def is_unfinished(self, job: str) -> bool:
        """Return whether anything of `job`, as named by `submit`, is in the queue."""

    def wait_all(self) -> None:
        """Wait until no job is left in the queue."""
        wait_until(lambda: not self.queue(), "all jobs are finished", detail=self.queue)

    @abstractmethod
    def cancel_all(self) -> None:
        """Remove every job."""

    @abstractmethod
    def busy(self) -> Mapping[str, int]:
        """Return, by instance id, how many jobs really run on each worker that has any."""

    @abstractmethod
    def last_ran_on(self, job: str) -> str:
        """Return the instance id of the worker where `job`, a single one that is finished, ran last."""

    @abstractmethod
    def job_starts(self) -> dict[str, int]:
        """Return how often each job, finished or not, was started."""

    @abstractmethod
    def evictions(self) -> list[str]:
        """Return what the batch system says of jobs that were taken from their workers."""

    @abstractmethod
    def joined(self) -> set[str]:
        """Return the instance ids of the workers that the batch system knows."""

    def wait_joined(self, instance_ids: Iterable[str]) -> None:
        """Wait until the batch system knows just these workers."""
        expected = set(instance_ids)
        wait_until(lambda: self.joined() == expected, f"workers {expected} are joined", detail=self.joined)

    @abstractmethod
    def silence(self) -> None:
        """Make the scheduler give no answer at all until `wake`; jobs that run go on."""

    @abstractmethod
    def wake(self) -> None:
        """Undo `silence`."""

    def restart_master(self) -> None:
        """Restart the scheduler, and wait until it answers."""
        raise NotImplementedError("no test asks it of this one")

    def logs(self) -> str:
        """Return the end of every log of every machine, dead ones included, to be shown when a test fails."""
        parts = []
        for path in sorted(self.network.directory.glob("*/log/*")):
            if self.is_log(path.name):
                tail = path.read_text(encoding="utf-8", errors="replace")[-3000:]
                parts.append(f"--- {path.relative_to(self.network.directory)}\n{tail}")
        return "\n".join(parts)

    def is_log(self, name: str) -> bool:
        """Return whether a file among a machine's logs is worth showing."""
        return True

    def start(
        self,
        instance_id: str,
        address: str,
        user_data: str | bytes,
        *,
        files: Iterable[tuple[str, str, int]],
        metadata: Mapping[str, str] | None = None,
    ) -> Machine:
        """Start a VM with `files` in its image; its metadata service tells its id, and what `metadata` adds."""
        return self.network.start(
            instance_id,
            address,
            script=user_data.decode() if isinstance(user_data, bytes) else user_data,
            metadata={"/latest/meta-data/instance-id": instance_id, **self.metadata, **(metadata or {})},
            files=tuple(files),
        )


def filled_in(example: str, **values: str) -> str:
    """Return a script of docs/examples with these of its settings, each a line, set as a user would."""
    text = (EXAMPLES / example).read_text(encoding="utf-8")
    for name, value in values.items():
        text, replaced = re.subn(rf"^{name}='.*'$", f"{name}='{value}'", text, flags=re.MULTILINE)
        assert replaced == 1, name
    return text


def wait_until(
    condition: Callable[[], object],
    what: str,
    timeout_seconds: float = PATIENCE_SECONDS,
    detail: Callable[[], object] | None = None,
) -> None:
    """Wait until `condition` holds. Raise AssertionError with `what`, and `detail` if given, if it never does."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            seen = f": {detail()}" if detail else ""
            raise AssertionError(f"not within {timeout_seconds} s: {what}{seen}")
        time.sleep(0.2)


def end_jobs(batch: BatchTestbed, job: str = "") -> None:
    """Let all jobs be done well before their time, until none, or nothing of `job`, is left in the queue.

    What a job runs is `sleep SECONDS || :`; it may be said to run a moment before it does.
    """

    def are_done() -> bool:
        for machine in batch.network.machines:
            machine.run("pkill", "-x", "-u", f"{JOB_USER},nobody", "sleep", check=False)
        return not (batch.is_unfinished(job) if job else batch.queue())

    wait_until(are_done, "the jobs are done", detail=batch.queue)
