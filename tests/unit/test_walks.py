"""Launches that go from one offer of a pool to the next, in one pass: what is asked, what is remembered, and that it
never comes to more VMs than there may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from elastiq.calendars import Hours, Spell
from elastiq.decisions import Token
from elastiq.ec2.codes import fault_of
from elastiq.ec2.errors import RequestError
from elastiq.errors import CloudError, CloudFault
from elastiq.model import ON_DEMAND, SPOT, Demand, Instance, Offer, Pool, Schedule, Shape
from elastiq.state import read_decisions
from tests.unit.fakes import FakeCloud, settings_with
from tests.unit.rig import SETTINGS, Rig

FAMILIES = tuple(f"{letter}5.large" for letter in "abcdefghij")
SUBNETS = tuple(f"subnet-{letter}" for letter in "abcdefghij")
FAMILY_CODES = ("VcpuLimitExceeded", "InstanceLimitExceeded")
OFFER_CODES = (
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientCapacity",
    "UnfulfillableCapacity",
    "Unsupported",
    "MaxFleetCountExceeded",
    "ReservationCapacityExceeded",
    "SpotMaxPriceTooLow",
    "NotEnoughResources",
)
ACCOUNT_CODES = ("QuotaExceeded", "TooManyInstances", "InstanceQuotaExceeded", "OverLimit")


class CrowdedCloud(FakeCloud):
    """Refuses offers, or gives fewer VMs, as `answers` says of each; keeps what it was asked."""

    def __init__(self, answers: Callable[[Offer], str | int | None]) -> None:
        super().__init__()
        self.answers = answers
        self.asked: list[tuple[Offer, int, int, str]] = []

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        (offer,) = pool.offers
        assert pool.instance_type == offer.type
        self.asked.append((offer, count, at_least, token))
        answer = self.answers(offer)
        if isinstance(answer, str):
            raise RequestError(f"RunInstances: {answer}", fault_of(answer, 400, ""), answer, 400)
        before = set(self.vms)
        FakeCloud.launch(self, pool, count if answer is None else min(answer, count), token, at_least)
        for id_ in self.vms.keys() - before:
            self.vms[id_] = replace(self.vms[id_], type=offer.type)
        return tuple(vm for id_, vm in self.vms.items() if id_ not in before)

    @property
    def offers(self) -> list[Offer]:
        return [offer for offer, *_ in self.asked]


def rig_of(directory: Path, answers: Callable[[Offer], str | int | None], **options: Any) -> Rig:
    rig = Rig(directory, settings_with(SETTINGS, **{"instance_types": FAMILIES, **options}))
    rig.cloud = CrowdedCloud(answers)  # type: ignore[assignment]
    rig.start()
    return rig


def one_launching_pass(rig: Rig) -> None:
    """Go on until a pass asks for VMs."""
    while not rig.cloud.asked:
        rig.core.step()
        rig.clock.time += 5.0


def crowded(code: str, but: int) -> Callable[[Offer], str | None]:
    return lambda offer: None if offer.type == FAMILIES[but] else code


@pytest.mark.parametrize("code", [*OFFER_CODES, *FAMILY_CODES])
def test_with_nine_of_ten_offers_refused_all_vms_are_there_after_one_pass(code: str, tmp_path: Path) -> None:
    rig = rig_of(tmp_path, crowded(code, 9))
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert [offer.type for offer in rig.cloud.offers] == list(FAMILIES)
    assert len(rig.cloud.alive) == 5
    assert len({token for *_, token in rig.cloud.asked}) == 10, "each request has a token of its own"
    assert {record.type for record in rig.core.memory.vms.values()} == {FAMILIES[9]}
    assert {record.market for record in rig.core.memory.vms.values()} == {ON_DEMAND}
    assert not rig.core.memory.intents
    assert len(rig.core.memory.offers_away) == 9
    assert {one.reason for one in rig.core.memory.offers_away.values()} == {Token.CLOUD_CAPACITY.value}
    breaker = rig.core.memory.breakers["default"]
    assert (breaker.refusals, breaker.ask, breaker.paused_until) == (0, None, 0.0)


@pytest.mark.parametrize("code", ["InsufficientFreeAddressesInSubnet", "IpAddressGenerationFailureClient"])
def test_a_subnet_without_addresses_is_left_out_for_every_type(code: str, tmp_path: Path) -> None:
    def answers(offer: Offer) -> str | None:
        return None if offer.zone == SUBNETS[9] else code

    rig = rig_of(tmp_path, answers, instance_types=FAMILIES[:2], subnets=SUBNETS)
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert [offer.zone for offer in rig.cloud.offers] == list(SUBNETS)
    assert len(rig.cloud.alive) == 5
    assert {record.zone for record in rig.core.memory.vms.values()} == {SUBNETS[9]}


def test_where_no_more_spot_vms_may_be_the_next_one_is_on_demand(tmp_path: Path) -> None:
    def answers(offer: Offer) -> str | None:
        return "MaxSpotInstanceCountExceeded" if offer.is_spot else None

    rig = rig_of(tmp_path, answers, market=(SPOT, ON_DEMAND))
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert [offer.market for offer in rig.cloud.offers] == [SPOT, ON_DEMAND]
    assert len(rig.cloud.alive) == 5


def test_a_quota_of_one_family_is_asked_of_once(tmp_path: Path) -> None:
    types = ("m5.large", "m5.xlarge", "c5.large")
    rig = rig_of(tmp_path, lambda offer: "VcpuLimitExceeded" if offer.family == "m5" else None, instance_types=types)
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert [offer.type for offer in rig.cloud.offers] == ["m5.large", "c5.large"]
    assert len(rig.cloud.alive) == 5


@pytest.mark.parametrize("code", ACCOUNT_CODES)
def test_a_quota_of_the_account_pauses_the_pool(code: str, tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda _: code)
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert len(rig.cloud.asked) == 1
    assert not rig.core.memory.offers_away
    assert rig.core.memory.breakers["default"].refusals == 1


@pytest.mark.parametrize(
    "code",
    ["UnauthorizedOperation", "AuthFailure", "InvalidAMIID.NotFound", "InvalidParameterValue", "RequestLimitExceeded"],
)
def test_what_no_other_offer_would_mend_stops_the_pool(code: str, tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda _: code)
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert len(rig.cloud.asked) == 1
    assert not rig.core.memory.offers_away
    assert rig.core.memory.breakers["default"].paused_until > rig.clock.now() - 5


def test_what_one_offer_does_not_give_comes_of_the_next(tmp_path: Path) -> None:
    parts = {FAMILIES[0]: 2, FAMILIES[1]: 0, FAMILIES[2]: 1}
    rig = rig_of(tmp_path, lambda offer: parts.get(offer.type) or ("Unsupported" if offer.type in parts else None))
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert [(offer.type, count) for offer, count, *_ in rig.cloud.asked] == list(zip(FAMILIES[:4], (5, 3, 3, 2)))
    assert len(rig.cloud.alive) == 5


PRICES = {"a5.large": 0.1, "b5.large": 0.1, "c5.large": 0.35, "d5.large": 0.4}
PRICED = tuple(f"{type_} {price}" for type_, price in PRICES.items())


def in_use(rig: Rig) -> float:
    return round(sum(PRICES[rig.cloud.vms[id_].type] for id_ in rig.cloud.alive), 6)


@pytest.mark.parametrize("parts", [(None,), (1, None), (1, 1, None), (0, 2, None), (0, 0, None), (2, 0, 1, None)])
def test_whatever_offers_give_what_all_vms_cost_an_hour_is_never_above_the_cap(
    parts: tuple[int | None, ...], tmp_path: Path
) -> None:
    given = dict(zip(PRICES, (*parts, *[None] * 4)))
    answers = {type_: "Unsupported" if most == 0 else most for type_, most in given.items()}
    rig = rig_of(tmp_path, lambda offer: answers[offer.type], instance_types=PRICED, max_per_hour=0.5)
    rig.wait_for_jobs(40)
    one_launching_pass(rig)
    assert 0.15 < in_use(rig) <= 0.5
    assert {record.most_micros for record in rig.core.memory.vms.values()} <= {100_000, 350_000, 400_000}
    rig.run(300)
    assert in_use(rig) <= 0.5


def test_a_reload_adds_changes_and_removes_caps_and_schedules(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda _: None, instance_types=PRICED)
    rig.wait_for_jobs(8)
    one_launching_pass(rig)
    rig.join_all(jobs=4)
    assert len(rig.cloud.alive) == 2
    rig.wait_for_jobs(40)

    def reloaded(*schedules: Schedule, **options: Any) -> list[str]:
        settings = replace(settings_with(rig.settings, **options), schedules=schedules)
        rig.core.reconfigure(settings, rig.batch, rig.cloud)  # type: ignore[arg-type]
        rig.run(120)
        made = rig.core.last_plan
        assert made is not None
        return [one.reason.token.value for one in made.decisions]

    assert "cap-hour" in reloaded(max_per_hour=0.25)
    assert len(rig.cloud.alive) == 2
    reloaded(max_per_hour=0.3)
    assert len(rig.cloud.alive) == 3
    always = Hours((Spell(tuple(range(7))),))
    assert "quota-full" in reloaded(Schedule("s", always, "", None, 3))
    reloaded()
    assert len(rig.cloud.alive) == 5
    rig.wait_for_jobs(0)
    rig.join_all(idle_seconds=10.0)
    reloaded(max_per_hour=0.15)
    assert len(rig.cloud.alive) == 1, "they go at once, until the cap is kept"


def test_a_lost_answer_stops_the_walk(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda offer: 2 if offer.type == FAMILIES[0] else None)
    launch = rig.cloud.launch

    def lose_second(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        made = launch(pool, count, token, at_least)
        if len(rig.cloud.asked) == 2:
            raise CloudError("no answer", CloudFault.UNREACHABLE)
        return made

    rig.cloud.launch = lose_second  # type: ignore[method-assign]
    rig.cloud.hidden = {f"i-{number:08x}" for number in range(3, 99)}
    rig.wait_for_jobs(40)
    one_launching_pass(rig)
    assert len(rig.cloud.asked) == 2
    (intent,) = rig.core.memory.intents
    assert (intent.count, intent.instance_type, intent.market) == (3, FAMILIES[1], ON_DEMAND)
    rig.run(300)
    assert len(rig.cloud.asked) == 2, "all that may exist counts"
    rig.cloud.hidden = set()
    rig.run(60)
    assert len(rig.core.memory.vms) == len(rig.cloud.alive) == 5


def test_an_unclear_launch_is_asked_for_again_of_the_same_offer(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda offer: "Unsupported" if offer.type == FAMILIES[0] else None, subnets=SUBNETS[:2])
    rig.cloud.token_is_lock = True
    launch = rig.cloud.launch

    def lose_request(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        if pool.instance_type == FAMILIES[1]:
            rig.cloud.launch = launch  # type: ignore[method-assign]
            rig.cloud.asked.append((pool.offers[0], count, at_least, token))
            raise CloudError("no answer")
        return launch(pool, count, token, at_least)

    rig.cloud.launch = lose_request  # type: ignore[method-assign]
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    rig.run(60)
    lost, again = rig.cloud.asked[2:4]
    assert (lost[0].type, lost[0].zone, lost[3]) == (again[0].type, again[0].zone, again[3])
    assert lost[0].zone == SUBNETS[0]
    assert len(rig.core.memory.vms) == 5
    assert not rig.core.memory.intents


def test_the_vms_of_one_job_are_all_in_one_zone_or_none(tmp_path: Path) -> None:
    """The first subnet has room for two: a job of three gets none there."""

    def answers(offer: Offer) -> str | None:
        return "InsufficientInstanceCapacity" if offer.zone == SUBNETS[0] else None

    rig = rig_of(tmp_path, answers, instance_types=FAMILIES[:1], subnets=SUBNETS[:3])
    rig.batch.jobs = (Demand(Shape(), 1, vms_per_job=3), Demand(Shape(), 2))
    one_launching_pass(rig)
    assert [(offer.zone, count, least) for offer, count, least, _ in rig.cloud.asked] == [
        (SUBNETS[0], 3, 3),
        (SUBNETS[1], 3, 3),
        (SUBNETS[0], 1, 1),
        (SUBNETS[1], 1, 1),
    ], "that three are refused tells nothing of one"
    zones = [record.zone for record in rig.core.memory.vms.values()]
    assert zones == [SUBNETS[1]] * 4


def test_a_pool_all_of_whose_offers_are_refused_says_so_and_leaves_its_jobs_to_the_next(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda _: "InsufficientInstanceCapacity", instance_types=FAMILIES[:3])
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    rig.run(60)
    assert len(rig.cloud.asked) == 3
    assert rig.core.last_plan is not None
    assert "but all offers were refused, and none is asked for" in rig.core.last_plan.summary
    assert "RunInstances: InsufficientInstanceCapacity" in rig.core.last_plan.summary
    rig.cloud.answers = lambda _: None
    rig.run(180)
    assert len(rig.cloud.alive) == 5
    assert len(rig.cloud.asked) == 4
    assert FAMILIES[0] not in str(rig.core.memory.offers_away), "a success ends it"


def test_what_is_put_away_is_known_after_a_restart_and_forgotten_on_a_reload(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, crowded("InsufficientInstanceCapacity", 2), instance_types=FAMILIES[:3])
    rig.wait_for_jobs(4)
    one_launching_pass(rig)
    before = rig.core.memory.offers_away
    assert len(before) == 2
    rig.state.close()
    rig.start()
    assert rig.core.memory.offers_away == before
    rig.wait_for_jobs(20)
    rig.run(60)
    assert [offer.type for offer in rig.cloud.offers[3:]] == [FAMILIES[2]]
    rig.core.try_again()
    assert not rig.core.memory.offers_away


def test_the_log_and_the_history_tell_which_offer_was_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rig = rig_of(
        tmp_path,
        lambda offer: "Unsupported" if offer.is_spot else None,
        instance_types=("m5.large",),
        market=(SPOT, ON_DEMAND),
    )
    rig.wait_for_jobs(4)
    one_launching_pass(rig)
    assert (
        "launch 1 VM: 4 jobs have found no room for more than 40 s; spot m5.large; RunInstances: Unsupported"
        in caplog.text
    )
    assert "have found no room for more than 40 s; on-demand m5.large; launched i-00000001" in caplog.text
    launches = [one for one in read_decisions(rig.directory, 0) if one["kind"] == "launch"]
    assert [one["cause"] for one in launches] == ["cloud-capacity", "done"]


def test_stopping_ends_a_walk(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda _: "Unsupported")
    launch = rig.cloud.launch

    def stop(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        rig.core.stop()
        return launch(pool, count, token, at_least)

    rig.cloud.launch = stop  # type: ignore[method-assign]
    rig.wait_for_jobs(20)
    one_launching_pass(rig)
    assert len(rig.cloud.asked) == 1


def test_a_dry_run_asks_nobody(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda _: None, dry_run_boot_vms=True)
    rig.wait_for_jobs(20)
    rig.run(100)
    assert not rig.cloud.asked
    assert not rig.core.memory.intents


def test_an_answer_that_comes_late_is_learnt_as_one_in_time(tmp_path: Path) -> None:
    rig = rig_of(tmp_path, lambda offer: "Unsupported" if offer.type == FAMILIES[0] else None)
    rig.cloud.is_late = True
    asked: list[Pool] = []

    def late(pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        asked.append(pool)
        if rig.cloud.is_late:
            raise rig.cloud._late(lambda: CrowdedCloud.launch(rig.cloud, pool, count, token, at_least))
        return CrowdedCloud.launch(rig.cloud, pool, count, token, at_least)

    rig.cloud.launch = late  # type: ignore[method-assign]
    rig.wait_for_jobs(20)
    rig.run(60)
    assert len(asked) == 1, "nothing more is asked for until there is an answer"
    rig.cloud.is_late = False
    rig.run(30)
    assert list(rig.core.memory.offers_away) == [f"{ON_DEMAND} {FAMILIES[0]}"]
    assert [offer.type for offer in rig.cloud.offers] == list(FAMILIES[:2])
    assert len(rig.cloud.alive) == 5
