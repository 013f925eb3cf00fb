"""The worked examples of docs/pools.md: the file of the page, the planner and a cloud that says what the page says."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Token
from elastiq.ec2.codes import fault_of, scope_of
from elastiq.memory import Memory
from elastiq.model import Demand, Eligibility, Judgement, Observation, Offer, Policy, Shape
from elastiq.observer import as_taken
from elastiq.planning.learning import learn
from elastiq.planning.offer_words import described
from elastiq.planning.offers import next_request, what_is_left
from elastiq.planning.plan import plan
from elastiq.planning.rates import Rates, weighed
from elastiq.plugins.htcondor import HTCondor
from elastiq.plugins.htcondor_narrowing import refusals
from elastiq.plugins.loading import load, read_without_plugin
from tests.docs.blocks import TOP

PAGE = (TOP / "docs/pools.md").read_text(encoding="utf-8")
ROWS = {row[0]: row[1:] for row in re.findall(r"^\| (O\d+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)}
RATES = {row[0]: row[1:] for row in re.findall(r"^\| (R\d+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)}
POOL = re.findall(r"```ini\n(\[pool cpu\]\n.*?)```", PAGE, re.DOTALL)[0]
NOW = 360_000.0
HOLDS = {"cpu m5.xlarge": Shape(4), "cpu m5a.xlarge": Shape(4), "cpu c5.2xlarge": Shape(8)}
FIRST = "spot m5a.xlarge in subnet-aaa"
NO_ROOM = "InsufficientInstanceCapacity"
Answers = Callable[[Offer], "str | int"]
"""The code of a refusal, or how many VMs there are at most."""
ANSWERS: dict[str, tuple[str, Answers]] = {
    "O1": ("all is well", lambda _: 9),
    "O2": ("no room for the first offer", lambda offer: NO_ROOM if described(offer) == FIRST else 9),
    "O3": ("the first offer gives one VM", lambda offer: 1 if described(offer) == FIRST else 9),
    "O4": ("`MaxSpotInstanceCountExceeded`", lambda offer: "MaxSpotInstanceCountExceeded" if offer.is_spot else 9),
    "O5": (
        "`VcpuLimitExceeded` for `m5a` and `m5` on the spot market",
        lambda offer: "VcpuLimitExceeded" if offer.is_spot and offer.family in ("m5a", "m5") else 9,
    ),
    "O6": (
        "`InsufficientFreeAddressesInSubnet` for `subnet-aaa`",
        lambda offer: "InsufficientFreeAddressesInSubnet" if offer.zone == "subnet-aaa" else 9,
    ),
    "O7": ("the first answer is lost", lambda _: ""),
    "O8": ("not enough rights", lambda _: "UnauthorizedOperation"),
}


def outcome_of(request: Decision, answer: str | int) -> Outcome:
    if isinstance(answer, int):
        ids = tuple(f"i-{number}" for number in range(min(answer, request.count)))
        return Outcome(request, End.DONE, instance_ids=ids, token="t")
    if not answer:
        return Outcome(request, End.UNCLEAR, token="t", cause=Token.CLOUD_UNREACHABLE)
    cause = Token[f"CLOUD_{fault_of(answer, 400, '').name}"]
    return Outcome(request, End.FAILED, token="t", cause=cause, scope=scope_of(answer, ""))


def read_pool(tmp_path: Path) -> Policy:
    file = tmp_path / "elastiq.conf"
    file.write_text(f"[ec2]\nimage_id = ami-1\napi_url = https://cloud.example.org\n[quota]\nmax_vms = 200\n{POOL}")
    return replace(read_without_plugin(file).policy(), is_adaptive=False)


@pytest.mark.parametrize("name", ANSWERS)
def test_the_planner_and_a_walk_come_to_what_the_page_says(name: str, tmp_path: Path) -> None:
    policy = read_pool(tmp_path)
    memory = Memory(waiting_since=NOW - 100, capacities=HOLDS)
    made = plan(Observation(NOW, (Demand(Shape(1), 8),), workers=(), instances=()), memory, policy)
    (decision,) = [one for one in made.decisions if one.kind is Kind.LAUNCH]
    says, answers = ANSWERS[name]
    asked = []
    left: Decision | None = decision
    while left is not None and (request := next_request(left, memory, NOW)) is not None:
        offer = request.walk[0].offer
        asked.append(f"{request.count} {described(offer)}")
        outcome = outcome_of(request, answers(offer))
        memory = learn(memory, outcome, NOW)
        left = what_is_left(request, outcome)
    known, told = ROWS[name]
    assert known == says
    assert re.findall(r"`(.+?)`", told) == asked


def test_every_row_is_tried() -> None:
    assert set(ROWS) == set(ANSWERS)
    assert set(RATES) == {"R1", "R2", "R3"}


@pytest.mark.parametrize("name", ["R1", "R2", "R3"])
def test_what_interruptions_add_to_a_price(name: str, tmp_path: Path) -> None:
    policy, memory = read_pool(tmp_path), Memory()
    known, first = RATES[name]
    told = re.fullmatch(r"(\d+) `(.+)` in `(.+)` in (\d+) hours: (\S+) an hour, (\S+) x (\S+) = (\S+)", known)
    if told:
        times, type_, zone, hours, per_hour, price, dearer, cost = told.groups()
        memory = Memory(interruptions={f"spot {type_} {zone}": (float(times), float(hours), NOW)})
        (pool,) = policy.pools
        offer = next(one for one in pool.offers if (one.market, one.type, one.zone) == ("spot", type_, zone))
        rates = Rates(memory, NOW)
        assert f"{rates.per_hour(offer):.4g}" == per_hour
        assert (offer.most_micros or 0) == round(float(price) * 1e6)
        assert f"{rates.dearer(offer, pool, policy):.3f}" == dearer
        assert f"{float(price) * rates.dearer(offer, pool, policy):.4f}" == cost
    else:
        assert known == "nothing"
    (pool,) = weighed(policy, memory, NOW).pools
    assert re.findall(r"`(.+?)`", first) == [described(offer) for offer in pool.offers[:3]]


MIXES = {row[0]: row[1:] for row in re.findall(r"^\| (P\d+) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)}
ANY = re.findall(r"```ini\n(\[pool any\]\n.*?)```", PAGE, re.DOTALL)[0]
CPUS = {type_: int(cpus) for type_, cpus in re.findall(r"of\s+`(\S+)`(?: hold)? (\d+)", PAGE)}


@pytest.mark.parametrize("name", MIXES)
def test_the_planner_launches_what_costs_least_as_the_page_says(name: str, tmp_path: Path) -> None:
    known, told = MIXES[name]
    demand = [
        Demand(Shape(int(cpus)), int(jobs), vms_per_job=int(vms or 1))
        for jobs, vms, cpus in re.findall(r"(\d+) (?:on (\d+) VMs )?of (\d+) CPU", known)
    ]
    most = re.findall(r"`(max_vms = \d+)`", known)
    text = ANY.replace("max_vms = 100", most[0]) if most else ANY
    file = tmp_path / "elastiq.conf"
    file.write_text(f"[ec2]\nimage_id = ami-1\napi_url = https://cloud.example.org\n[quota]\nmax_vms = 200\n{text}")
    policy = replace(read_without_plugin(file).policy(), is_adaptive=False)
    holds = {f"any {type_}": Shape(cpus) for type_, cpus in CPUS.items()}
    made = plan(Observation(NOW, tuple(demand), workers=(), instances=()), Memory(NOW - 100, capacities=holds), policy)
    launched = [f"{one.count} {one.walk[0].offer.type}" for one in made.decisions if one.kind is Kind.LAUNCH]
    assert re.findall(r"`(\d+ \S+)`", told) == launched


def test_jobs_that_opt_in(tmp_path: Path) -> None:
    file = tmp_path / "elastiq.conf"
    (section,) = re.findall(r"```ini\n(\[pool campus\]\n.*?)```", PAGE, re.DOTALL)
    file.write_text(f"[ec2]\nimage_id = ami-1\nregion = eu-west-1\n[quota]\nmax_vms = 200\n{section}")
    settings = read_without_plugin(file)
    assert isinstance(load("htcondor", settings), HTCondor), "the plugin reads them"
    (pool,) = settings.policy().pools
    refused = as_taken(pool, Judgement(Eligibility.NO, refusals(["{}"], pool.jobs, lambda jobs, slot: [])[0]))
    said = f"`pool campus takes only jobs with {pool.jobs}`"
    assert refused is not None
    assert refused.reason.startswith(said.strip("`"))
    assert said in PAGE
