"""Which worker runs on which VM."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.memory import VmRecord
from elastiq.model import Worker
from elastiq.planning.matching import match_workers

NOW = 1_000_000.0
RECORD = VmRecord("i-00000001", launched_at=NOW - 5000, address="10.0.0.5", name="ip-10-0-0-5.cloud")


@pytest.mark.parametrize(
    ("worker", "matches"),
    [
        (Worker("any", instance_id="i-00000001"), True),
        (Worker("any", instance_id="i-other", address="10.0.0.5"), False),
        (Worker("any", address="10.0.0.5"), True),
        (Worker("ip-10-0-0-5.pool"), True),
        (Worker("10-0-0-5.pool"), True),
        (Worker("any", address="10.0.0.6"), False),
        (Worker("any", address="10.0.0.5", idle_seconds=9000.0), False),
    ],
)
def test_worker_to_vm(worker: Worker, matches: bool) -> None:
    assert bool(match_workers([worker], [RECORD], NOW).workers) is matches


def test_an_address_of_two_vms_matches_neither() -> None:
    other = replace(RECORD, id="i-00000002", name="")
    matches = match_workers([Worker("any", address="10.0.0.5")], [RECORD, other], NOW)
    assert not matches.workers
    assert matches.shared == {"any": (RECORD.id, other.id)}


def test_two_workers_on_one_vm_are_not_known_to_be_idle() -> None:
    workers = [Worker("a", RECORD.id, idle_seconds=50.0), Worker("b", RECORD.id, jobs=1)]
    matches = match_workers(workers, [RECORD], NOW)
    found = matches.workers[RECORD.id]
    assert (found.jobs, found.idle_seconds) == (1, None)
    assert matches.rivals == {RECORD.id: ("a", "b")}


@pytest.mark.parametrize("victim_address", ["10.0.0.5", None])
@pytest.mark.parametrize("address", ["10.0.0.6", "10.0.0.7", "10.0.0.5", None])
@pytest.mark.parametrize("is_first", [True, False])
def test_who_claims_a_vm_but_has_the_address_of_another_runs_on_that_one(
    is_first: bool, address: str | None, victim_address: str | None
) -> None:
    other = replace(RECORD, id="i-00000002", address="10.0.0.6", name="")
    records = [replace(RECORD, address=victim_address), other]
    honest = Worker("honest", RECORD.id, victim_address, idle_seconds=50.0)
    liar = Worker("liar", RECORD.id, address, jobs=1)
    matches = match_workers([liar, honest] if is_first else [honest, liar], records, NOW)
    if (address, victim_address) == ("10.0.0.6", "10.0.0.5"):
        assert matches.workers == {RECORD.id: honest, other.id: replace(liar, instance_id=None)}
        assert not matches.rivals
    else:
        assert matches.workers[RECORD.id].idle_seconds is None, "nobody can tell which of them it is"
        assert set(matches.rivals[RECORD.id]) == {"liar", "honest"}


def test_a_vm_that_has_joined_keeps_its_worker_when_the_wall_clock_went_back() -> None:
    """Found by the simulator: times in the future become now, so that the VM seemed younger than its worker."""
    idle = Worker("any", address="10.0.0.5", idle_seconds=9000.0)
    assert match_workers([idle], [replace(RECORD, launched_at=NOW, joined_at=NOW)], NOW).workers


def test_a_worker_is_as_old_as_the_request_for_its_vm_may_be() -> None:
    """Found by the simulator: answers came three minutes late, and the worker had been idle for longer than its VM was
    known: it was no worker of elastiq's, and its VM ended as one that had never joined."""
    idle = Worker("any", address="10.0.0.5", idle_seconds=1300.0)
    answered = replace(RECORD, launched_at=NOW - 1100)
    assert not match_workers([idle], [answered], NOW).workers
    assert match_workers([idle], [replace(answered, asked_at=NOW - 1200)], NOW).workers
