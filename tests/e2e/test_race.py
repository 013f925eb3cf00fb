"""A job that arrives while an idle worker is being closed: whoever comes first, no job may be lost.

Each trial submits a job for one worker, closes the worker by the real plugin at a random moment about then, and pulls
the plug of its VM if the answer was "closed", just as a termination does. Whoever has won gets a worse start the next
time, so that most trials are close, however fast the machine is.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.harness import PluginOnHead
from tests.e2e.systems import BatchMaker, on
from tests.testbed.batch import BatchTestbed, wait_until

TRIALS = int(os.environ.get("ELASTIQ_RACE_TRIALS", "20"))
LANES = 5
"""So many workers are tried at a time, each with jobs of its own."""
JOB_SECONDS = 3
SHIFT_SECONDS = 0.5
"""How much later, or earlier, the next job is submitted; less than a job takes, or it would be over at the close."""
MOST_TRIALS = 12
"""Of a lane while only one outcome was seen in all: a job may take long to be placed on a busy machine."""


class Lane:
    """Workers, one after the other, that take only the jobs of this lane."""

    def __init__(self, batch: BatchTestbed, number: int, seen: set[str]) -> None:
        self._batch = batch
        self._seen = seen
        self._number = number
        self._vms = 0
        self._random = random.Random(number)
        self._shift_seconds = -SHIFT_SECONDS * number  # on a busy machine it takes long to place a job
        self.outcomes: Counter[str] = Counter()
        self._start_worker()

    def run(self, trials: int) -> None:
        """Let a job and a close meet so many times."""
        with PluginOnHead(self._batch) as plugin, ThreadPoolExecutor(1) as self._user:
            made = 0
            while made < trials or (made < MOST_TRIALS and len(self._seen) < 2):
                self._trial(plugin)
                made += 1

    def _trial(self, plugin: PluginOnHead) -> None:
        wait_until(lambda: self._is_idle(plugin), f"worker {self._id} is idle")
        # On a machine with nothing else to do the outcome is certain outside of this.
        earliest, latest = -self._batch.earliest_submit_seconds, self._batch.latest_submit_seconds
        submit_after_close_seconds = self._random.uniform(earliest, latest) + self._shift_seconds
        job = self._user.submit(self._submit_after, max(0.0, submit_after_close_seconds))
        time.sleep(max(0.0, -submit_after_close_seconds))
        outcome = plugin.call("close", self._worker)
        self.outcomes[outcome] += 1
        self._seen.add(outcome)
        self._shift_seconds += SHIFT_SECONDS if outcome == "busy" else -SHIFT_SECONDS
        if outcome == "closed":
            self._batch.network.remove(self._id)
            plugin.call("forget", self._worker)
            self._start_worker()
        name = job.result()
        wait_until(lambda: not self._batch.is_unfinished(name), f"job {name} is done")

    def _is_idle(self, plugin: PluginOnHead) -> bool:
        self._worker = next((each for each in plugin.call("workers") if each["instance_id"] == self._id), None)
        return self._worker is not None and self._worker["jobs"] == 0 and not self._worker["closed"]

    def _submit_after(self, seconds: float) -> str:
        time.sleep(seconds)
        return self._batch.submit(1, JOB_SECONDS, lane=f"lane{self._number}")

    def _start_worker(self) -> None:
        self._vms += 1
        self._id = f"i-{self._number:08x}{self._vms:09x}"
        address = f"10.77.{self._number + 1}.{self._vms}"
        user_data = self._batch.substituted_user_data()
        self._batch.start_worker(self._id, address, user_data, lane=f"lane{self._number}")


@pytest.mark.real
@on()
def test_race_of_a_job_and_a_close(make_batch: BatchMaker) -> None:
    batch = make_batch(2)
    seen: set[str] = set()
    lanes = [Lane(batch, number, seen) for number in range(LANES)]
    with ThreadPoolExecutor(LANES) as executor:
        list(executor.map(lambda lane: lane.run(-(-TRIALS // LANES)), lanes))
    outcomes = Counter({name: sum(lane.outcomes[name] for lane in lanes) for name in ("closed", "busy")})
    starts, evictions = batch.job_starts(), batch.evictions()
    print(f"\n{sum(outcomes.values())} trials: {dict(outcomes)}, {len(starts)} jobs, {len(evictions)} evicted")
    assert evictions == []
    assert set(starts.values()) == {1}
    assert len(starts) == sum(outcomes.values())
    assert set(outcomes) == {"closed", "busy"}
    assert all(outcomes.values()), "both outcomes have to be seen"
