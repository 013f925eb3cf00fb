"""What `why`, `vms` and `jobs` print."""

from __future__ import annotations

import json
from dataclasses import replace

from elastiq.memory import Breaker
from elastiq.planning.plan import plan
from elastiq.planning.why import Account, OfferAway, PoolNow, Told, account
from elastiq.report import why
from elastiq.state.kept import Life
from tests.unit.planning.table import NOW, PLAIN, jobs, joined, remember, see, vm, wide, worker


def told() -> Account:
    records = [joined(1), vm(2)]
    breakers = {"default": Breaker(refusals=1, paused_until=NOW + 60, reason="no such image")}
    memory = remember(records, waiting_since=NOW - 100, breakers=breakers)
    seen = see(records, demand=(jobs(20), wide(1, 2, cpus=2)), workers=(worker(1, idle_seconds=5.0),))
    return account(plan(seen, memory, PLAIN), PLAIN, NOW)


def test_all_that_waits_or_is_held_back() -> None:
    document = why.whole_document(told(), [Told("not-running", "The daemon does not run.")])
    text = "\n".join(why.lines_of_all(json.loads(json.dumps(document)), NOW + 5))
    assert text.startswith("NOT-RUNNING\n  why          The daemon does not run.\n  to change it elastiqctl start\n")
    assert "launches-paused    15 of 20 jobs of 1 CPU (group " in text
    assert "(in 55 s) at the earliest" in text
    assert "to change it mend what the cloud refuses" in text
    assert (
        "VMs default  2 VMs of at most 5 of its own and 5 of all pools; 1 booting (i-00000002), 180 s is usual;" in text
    )
    assert "launches pause until " in text
    assert text.endswith("(5 s ago)")


def test_nothing_waits() -> None:
    assert why.lines_of_all(why.whole_document(Account(NOW)), NOW)[0] == "no jobs wait"


def test_one_job() -> None:
    known = told()
    group = next(one for one in known.groups if one.vms_per_job == 2)
    document = {
        "job": "7",
        "said": "no match",
        "told": [why.answer(one) for one in group.told],
        "group": why.group_document(group),
        "pools": [why.pool_document(one) for one in known.pools],
        "max_vms": 5,
        "at": known.at,
    }
    lines = why.lines_of_job(json.loads(json.dumps(document)), NOW)
    assert lines[0] == "job 7"
    assert any(line.startswith("  group        1 job of 2 CPUs on each of 2 machines") for line in lines)
    assert "  pool default yes" in lines
    assert "  it is said   no match" in lines
    group = next(one for one in known.groups if one.vms_per_job == 1)
    document |= {"told": [why.answer(one) for one in group.told], "group": why.group_document(group)}
    lines = why.lines_of_job(json.loads(json.dumps(document)), NOW)
    assert "LAUNCHES-PAUSED  15 of 20 jobs of its group" in lines


def test_a_job_that_is_no_demand_has_no_group() -> None:
    document = {"job": "7", "told": [why.answer(Told("job-held", "It is held."))], "said": ""}
    assert why.lines_of_job(document, NOW)[:3] == ["job 7", "JOB-HELD", "  why          It is held."]


def test_one_vm() -> None:
    (vm_one, _) = told().vms
    document = {**why.vm_document(vm_one), "told": [why.answer(vm_one.told)], "at": NOW}
    lines = why.lines_of_vm(document, NOW)
    assert lines[:2] == ["VM i-00000001 of pool default", "IDLE-YET-SHORT"]
    assert any("worker       w1" in line for line in lines)
    assert any("(in 60 min) at the earliest" in line for line in lines)


def test_what_a_vm_costs_and_how_much_of_it_for_nothing() -> None:
    (vm_one, _) = told().vms
    life = Life("i-00000001", "default", "m5.large", NOW - 7200, NOW - 7000, price=0.1, idle_since=NOW - 900)
    bill = why.bill_document(life, NOW, "EUR")
    assert (bill["cost"], bill["idle_cost"], bill["idle_seconds"]) == (0.2, 0.025, 900.0)
    lines = why.lines_of_vm({**why.vm_document(vm_one), **bill, "told": []}, NOW)
    assert "  cost         0.2000 EUR, at 0.1 EUR an hour for 2 h so far" in lines
    assert "  idle         15 min of 2 h so far, which cost 0.0250 EUR" in lines
    unpriced = why.bill_document(replace(life, price=None, idle_since=None, idle_seconds=None), NOW, "")
    lines = why.lines_of_vm({"id": "i-1", "stage": "gone", **unpriced, "told": []}, NOW)
    assert lines[2:] == [
        "  cost         not known: it has no price in instance_types",
        "  idle         not known for how long",
    ]


def test_offers_that_are_put_away_say_until_when() -> None:
    away = (
        OfferAway("spot m5.large", NOW + 180, "cloud-capacity", "no room"),
        OfferAway("spot m5.large in a", NOW + 360, "cloud-capacity", "", 4),
    )
    pool = PoolNow("cpu", 0, None, (), 0, 0, 180.0, None, "", away, 5, 9)
    document = json.loads(json.dumps(why.whole_document(Account(NOW, pools=(pool,)))))
    lines = why.lines_of_all(document, NOW)
    (first, many, rest) = [line for line in lines if line.startswith("  away cpu")]
    assert "spot m5.large until " in first and first.endswith("(in 3 min): no room")
    assert "spot m5.large in a for 4 VMs at once or more until " in many and many.endswith("(in 6 min)")
    assert rest.endswith("and 3 more offers")


def test_tables_have_a_line_each() -> None:
    vms = why.table_of_vms([why.vm_document(one) for one in told().vms], NOW)
    assert vms[0].split() == ["VM", "POOL", "STAGE", "WORKER", "AGE", "IDLE", "VERDICT"]
    assert vms[1].split() == ["i-00000001", "default", "working", "w1", "3", "h", "5", "s", "idle-yet-short"]
    assert vms[2].split()[-1] == "still-booting"
    groups = why.table_of_jobs([why.group_document(one) for one in told().groups], NOW)
    assert [line.split()[0] for line in groups[1:]] == ["2", "3", "15", "1"]
    assert why.table_of_vms([], NOW) == ["VM  POOL  STAGE  WORKER  AGE  IDLE  VERDICT"]
