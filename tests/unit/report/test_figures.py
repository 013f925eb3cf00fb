"""The metrics by pool, offer, stage and token: what they say, and that their labels are bounded."""

from __future__ import annotations

from dataclasses import replace

from elastiq.decisions import Decision, End, Figures, Kind, Outcome, Plan, Reason, Token, Verdict
from elastiq.memory import Away, Breaker, Memory, VmRecord
from elastiq.model import Demand, InstanceState, Offer, Policy, Pool, Shape
from elastiq.report.exposition import lines
from elastiq.report.figures import GOING, MOST_OFFERS, REFUSALS, STAGES, Look, families
from elastiq.report.tally import OTHER, Tally

SPOT, ON_DEMAND = Offer("spot", "m5.large", "a", 0.06), Offer("on-demand", "m5.large", "a", 0.12)
POLICY = Policy(pools=(Pool("p", 1, 9, "m5.large", offers=(SPOT, ON_DEMAND)), Pool("q")), max_vms=10)
VM = VmRecord(
    "i-1", "p", launched_at=100, state=InstanceState.RUNNING, type="m5.large", market="spot", zone="a", joined_at=160
)


def values(made: Plan, tally: Tally | None = None, policy: Policy = POLICY) -> dict[str, float]:
    """Return all samples, by name and labels as they are written."""
    look = Look(made, policy, tally or Tally(), 1000)
    text = [line for family in families(look) for line in lines(family, {})]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text if not line.startswith("#")}


def test_vms_by_pool_and_stage() -> None:
    records = (
        VM,
        replace(VM, id="i-2", at_work=True),
        replace(VM, id="i-3", joined_at=None, state=InstanceState.PENDING),
        replace(VM, id="i-4", pool="gone", lost_since=900),
    )
    found = values(Plan((), Memory(vms={one.id: one for one in records}), ""))
    stages = {key: value for key, value in found.items() if key.startswith("elastiq_pool_vms{") and value}
    assert stages == {
        'elastiq_pool_vms{pool="p",stage="idle"}': 1,
        'elastiq_pool_vms{pool="p",stage="busy"}': 1,
        'elastiq_pool_vms{pool="p",stage="booting"}': 1,
        'elastiq_pool_vms{pool="other",stage="out_of_sight"}': 1,
    }
    assert found['elastiq_pool_vms{pool="q",stage="going"}'] == 0, "what is 0 is said to be"
    assert found['elastiq_pool_counted_vms{pool="p"}'] == 3
    assert found['elastiq_pool_max_vms{pool="p"}'] == 9 and found['elastiq_pool_max_vms{pool="q"}'] == float("inf")
    assert found['elastiq_offer_vms{pool="p",market="spot",type="m5.large",zone="a"}'] == 3


def test_breaker_and_offers_put_away() -> None:
    memory = Memory(
        breakers={"p": Breaker(paused_until=1100, reason="boots failed"), "q": Breaker(paused_until=900)},
        offers_away={"spot m5.large a": Away(1100, reason="cloud-capacity"), "on-demand m5.large a": Away(900)},
    )
    found = values(Plan((), memory, ""))
    assert found['elastiq_pool_launches_paused{pool="p"}'] == 1 and found['elastiq_pool_launches_paused{pool="q"}'] == 0
    away = [key for key in found if key.startswith("elastiq_offer_away")]
    assert away == ['elastiq_offer_away{pool="p",market="spot",type="m5.large",zone="a",reason="cloud-capacity"}']


def test_jobs_and_vms_by_the_token_of_their_verdict() -> None:
    group = Demand(Shape(), 5)
    verdicts = (
        Verdict(Reason(Token.NO_ROOM, ""), group, 3),
        Verdict(Reason(Token.HAS_ROOM, ""), group, 2),
        Verdict(Reason(Token.NO_ROOM, ""), Demand(Shape(2), 4), 4),
        Verdict(Reason(Token.AT_WORK, ""), instance_id="i-1"),
    )
    found = values(Plan((), Memory(), "", figures=Figures(jobs_waiting=9), verdicts=verdicts))
    assert {key: value for key, value in found.items() if "_by_reason" in key} == {
        'elastiq_jobs_by_reason{reason="no-room"}': 7,
        'elastiq_jobs_by_reason{reason="has-room"}': 2,
        'elastiq_vms_by_reason{reason="at-work"}': 1,
    }


def test_counters_begin_at_0() -> None:
    found = values(Plan((), Memory(), ""))
    counters = {key: value for key, value in found.items() if "_total{" in key}
    assert set(counters.values()) == {0.0}
    assert sum("refused" in key for key in counters) == 2 * len(REFUSALS)
    assert sum("pool_terminated" in key for key in counters) == 2 * len(GOING)
    assert 'elastiq_offer_launched_total{pool="p",market="on-demand",type="m5.large",zone="a"}' in counters
    assert 'elastiq_vm_seconds_total{pool="q",market="on-demand",work="idle"}' in counters


def test_a_pool_that_is_not_configured_any_more_is_another() -> None:
    tally = Tally()
    for pool in ("p", "gone", "gone too"):
        launch = Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, ""), pool)
        tally.count(Outcome(launch, End.DONE, instance_ids=("i-1",)))
        tally.count(Outcome(launch, End.FAILED, cause=Token.CLOUD_BUSY))
    found = values(Plan((), Memory(), ""), tally)
    assert found['elastiq_launches_refused_total{pool="other",reason="cloud-busy"}'] == 2
    assert found['elastiq_offer_launched_total{pool="p",market="spot",type="m5.large",zone="a"}'] == 1
    assert found[f'elastiq_offer_launched_total{{pool="{OTHER}",market="on-demand",type="",zone=""}}'] == 2


def test_labels_are_bounded_whatever_the_cloud_calls_its_types() -> None:
    """A user, a job or a VM is never a label: every value is of the configuration, a stage or a token."""
    vms = {
        f"i-{number}": replace(VM, id=f"i-{number}", worker_name=f"w-{number}", type=f"type-{number}")
        for number in range(5000)
    }
    groups = [Demand(Shape(1), 1, wants=f"user {number}") for number in range(5000)]
    verdicts = tuple(Verdict(Reason(Token.NO_ROOM, "", f"about {one.wants}"), one, 1) for one in groups)
    made = Plan((), Memory(vms=vms), "", figures=Figures(jobs_waiting=5000), verdicts=verdicts)
    tally = Tally()
    for now in (1000, 1015):
        tally.look(made, POLICY, now)
    found = values(made, tally)
    offers = {key: value for key, value in found.items() if key.startswith("elastiq_offer_vms")}
    assert len(offers) == MOST_OFFERS + 1 and sum(offers.values()) == 5000
    assert len(found) < MOST_OFFERS + 200
    assert "user" not in str(found) and "i-1" not in str(found) and "w-1" not in str(found)


def test_stages_are_words_of_prometheus() -> None:
    assert all(stage.isidentifier() for stage in STAGES) and len(set(STAGES)) == len(STAGES)
