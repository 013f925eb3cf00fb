"""What a plan says, written and read again."""

from __future__ import annotations

import json

import pytest

from elastiq.memory import Breaker
from elastiq.planning.plan import plan
from elastiq.planning.why import Account, account
from elastiq.report import accounts
from tests.unit.planning.table import NOW, PLAIN, jobs, joined, remember, see, vm, worker


def told() -> Account:
    records = [joined(1), vm(2)]
    breakers = {"default": Breaker(refusals=1, paused_until=NOW + 60, reason="key SECRET is wrong")}
    memory = remember(records, waiting_since=NOW - 100, breakers=breakers)
    seen = see(records, demand=(jobs(20), jobs(2, cpus=3, memory_mb=500)), workers=(worker(1, idle_seconds=5.0),))
    return account(plan(seen, memory, PLAIN), PLAIN, NOW)


def test_what_is_written_is_read_again() -> None:
    assert accounts.read(json.loads(json.dumps(accounts.written(told(), str)))) == told()


def test_every_text_is_cleaned() -> None:
    text = json.dumps(accounts.written(told(), lambda text: text.replace("SECRET", "(hidden)")))
    assert "SECRET" not in text
    assert text.count("(hidden)") >= 2


def damaged() -> list[object]:
    good = accounts.written(told(), str)
    return [None, [], {}, {**good, "at": "now"}, {**good, "groups": 7}, {**good, "vms": [{}]}, {**good, "pools": [7]}]


@pytest.mark.parametrize("document", damaged())
def test_what_is_damaged_is_nothing(document: object) -> None:
    assert accounts.read(document) is None


def test_what_a_later_version_added_is_left_out() -> None:
    assert accounts.read({**json.loads(json.dumps(accounts.written(told(), str))), "mood": "good"}) == told()
