"""What holds for every plan, whatever is seen and remembered."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.decisions import Kind, Plan, Token, Verdict
from elastiq.memory import Away, Breaker, Intent, Memory, VmRecord
from elastiq.model import (
    ON_DEMAND,
    SPOT,
    Demand,
    Instance,
    InstanceState,
    Observation,
    Offer,
    Policy,
    Pool,
    Shape,
    Worker,
)
from elastiq.planning import words
from elastiq.planning.down import RULES, seen_at_once
from elastiq.planning.draft import Answer
from elastiq.planning.fleet import Fleet
from elastiq.planning.plan import plan
from elastiq.planning.tracking import track

NOW = 1_000_000.0
IDS = [f"i-{number:08x}" for number in range(8)]
TIMES = st.sampled_from([NOW - age for age in (0, 1, 30, 59, 130, 599, 601, 3599, 3601, 90_000)])
OFFERS = tuple(
    Offer(market, type_, zone, price, None if price is None else round(price * 1e6))
    for market in (SPOT, ON_DEMAND)
    for type_, price in (("a", 0.1), ("b", 0.2), ("c", None))
    for zone in ("z1", "z2")
)
TYPES = st.sampled_from(["", "a", "b", "old"])
SHAPES = st.builds(
    Shape,
    st.integers(1, 8),
    st.sampled_from([None, 0, 500, 4000]),
    st.sampled_from([None, 0, 100]),
    st.sampled_from([0, 1, None]),
)

demands = st.lists(
    st.builds(Demand, SHAPES, st.integers(1, 50), vms_per_job=st.sampled_from([1, 1, 1, 2, 3])), max_size=3
).map(tuple)
workers = st.lists(
    st.builds(
        Worker,
        st.sampled_from(["w1", "w2", "w3", "w4"]),
        st.sampled_from([None, *IDS]),
        st.just(None),
        SHAPES,
        SHAPES,
        st.integers(0, 4),
        st.sampled_from([None, 0.0, 3599.0, 3601.0, 99_999.0]),
        st.booleans(),
        st.booleans(),
        interrupted=st.booleans(),
    ).map(
        lambda worker: replace(
            worker,
            closed_by_other=worker.closed and worker.closed_by_other,
            interrupted=worker.closed and worker.interrupted,
        )
    ),
    max_size=6,
    unique_by=lambda worker: worker.name,
).map(tuple)
instances = st.lists(
    st.builds(
        Instance,
        st.sampled_from(IDS),
        st.sampled_from(InstanceState),
        cluster=st.sampled_from(["", "test", "other"]),
        client_token=st.sampled_from(["", "t1", "t2"]),
        launched_at=st.none() | TIMES,
        image_id=st.sampled_from(["", "ami-1"]),
        interrupted=st.sampled_from([False, False, True]),
    ),
    max_size=8,
    unique_by=lambda instance: instance.id,
).map(tuple)
records = st.dictionaries(
    st.sampled_from(IDS),
    st.builds(
        VmRecord,
        st.just(""),
        st.just("default"),
        st.sampled_from(["", "t1", "t2"]),
        TIMES,
        st.sampled_from(InstanceState).filter(lambda state: state.alive),
        joined_at=st.none() | TIMES,
        lost_since=st.none() | TIMES,
        interrupted_at=st.none() | st.none() | TIMES,
        requeued_at=st.none() | TIMES,
        closing_at=st.none() | TIMES,
        closed=st.booleans(),
        doomed=st.booleans(),
        terminated_at=st.none() | TIMES,
        terminate_retry_at=st.sampled_from([0.0, NOW + 5]),
        worker_name=st.sampled_from(["", "w1"]),
        type=TYPES,
        market=st.sampled_from(["", SPOT, ON_DEMAND]),
    ),
).map(lambda found: {id_: replace(record, id=id_) for id_, record in found.items()})
memories = st.builds(
    Memory,
    waiting_since=st.none() | TIMES,
    vms=records,
    intents=st.lists(
        st.builds(
            lambda intent, type_: replace(intent, instance_type=type_),
            st.builds(
                Intent, st.sampled_from(["t1", "t2"]), st.just("default"), st.integers(1, 4), TIMES, st.none() | TIMES
            ),
            TYPES,
        ),
        max_size=2,
    ).map(tuple),
    breakers=st.sampled_from([{}, {"default": Breaker(3, 1, 0, NOW + 60, "broken")}, {"default": Breaker(3)}]),
    capacities=st.sampled_from([{}, {"default": Shape(4, 4000)}, {"a": Shape(4, 4000), "b": Shape(8, 8000)}]),
    interruptions=st.dictionaries(
        st.sampled_from([f"{one.market} {one.type} {one.zone}" for one in OFFERS]),
        st.sampled_from([(9.0, 1.0, NOW), (0.5, 90.0, NOW - 90_000), (0.0, 9.0, NOW)]),
        max_size=3,
    ),
    offers_away=st.dictionaries(
        st.sampled_from([SPOT, "z1", "spot a.*", *(f"{one.market} {one.type} {one.zone}" for one in OFFERS)]),
        st.builds(Away, st.sampled_from([NOW - 1, NOW + 60, NOW + 180]), at_least=st.sampled_from([1, 1, 2])),
        max_size=6,
    ),
)
policies = st.builds(
    lambda low, high, per_vm, offers: Policy(
        (Pool("default", 0, high, offers[0].type if offers else "", image_id="ami-1", offers=offers),),
        min(low, high or low),
        high,
        per_vm,
        cluster="test",
        requeues_interrupted=low < 2,
    ),
    st.integers(0, 3),
    st.none() | st.integers(1, 6),
    st.none() | st.integers(1, 8),
    st.sampled_from([(), (), OFFERS[:1], OFFERS[:2], OFFERS, OFFERS[4:]]),
)
observations = st.builds(
    Observation,
    st.just(NOW),
    st.none() | demands,
    st.just(0.0),
    st.none() | workers,
    st.sampled_from([0.0, 40.0]),
    st.none() | instances,
    st.sampled_from([0.0, 40.0]),
)


def counted(made: Plan) -> int:
    """VMs that exist or may exist, as the memory after the plan has them."""
    memory = made.memory
    stopping = sum(
        record.terminated_at is not None and record.state is InstanceState.STOPPING for record in memory.vms.values()
    )
    unseen = sum(
        len(intent.lookalikes)
        if intent.needs_people
        else max(0, intent.count - sum(record.token == intent.token for record in memory.vms.values()))
        for intent in memory.intents
    )
    return len(memory.vms) - stopping + unseen


def of(made: Plan, kind: Kind) -> list[str]:
    return [decision.instance_id for decision in made.decisions if decision.kind is kind]


@settings(max_examples=1500)
@given(observations, memories, policies)
def test_every_plan_keeps_the_promises(seen: Observation, memory: Memory, policy: Policy) -> None:
    made = plan(seen, memory, policy)
    launched = sum(decision.count for decision in made.decisions if decision.kind is Kind.LAUNCH)
    ending = of(made, Kind.TERMINATE)
    own = set(made.memory.vms)

    assert all(decision.reason.text for decision in made.decisions), "everything has a reason"
    assert all(decision.count > 0 for decision in made.decisions if decision.kind is Kind.LAUNCH)
    if policy.max_vms is not None and launched:
        assert counted(made) + launched <= policy.max_vms, "never too many"
    if None in (seen.demand, seen.workers, seen.instances):
        assert not launched, "nothing is launched in doubt"
    if seen.workers is None or seen.instances is None:
        assert not ending, "nothing is terminated in doubt"
    for decision in made.decisions:
        counts = [step.count for step in decision.walk]
        assert not counts or (counts[0] == decision.count == max(counts) and min(counts) > 0), "none asks for more"
        assert bool(counts) is (decision.kind is Kind.LAUNCH and policy.pools[0].has_choice)
    assert set(ending) <= own, "only its own"
    assert len(ending) == len(set(ending))
    assert not set(ending) & set(of(made, Kind.REOPEN)), "nothing is reopened and ended at once"
    for id_ in of(made, Kind.REOPEN):
        record = made.memory.vms[id_]
        assert not record.doomed and record.terminated_at is None, "what may be dying is not reopened"
    assert plan(seen, memory, policy) == made, "the same facts give the same plan"


usual = st.builds(
    VmRecord,
    st.just(IDS[0]),
    st.just("default"),
    st.just("t1"),
    TIMES,
    st.sampled_from([InstanceState.RUNNING, InstanceState.RUNNING, InstanceState.STOPPING]),
    joined_at=st.sampled_from([NOW - 130, NOW - 130, None]),
    interrupted_at=st.sampled_from([None, None, None, NOW - 30]),
    closing_at=st.sampled_from([None, None, None, NOW - 30]),
    termination_asked_at=st.sampled_from([None, None, None, NOW - 1]),
    terminate_retry_at=st.sampled_from([0.0, 0.0, NOW - 5, NOW + 5]),
)
claims = st.builds(
    Worker,
    st.sampled_from(["w1", "w2"]),
    st.just(IDS[0]),
    jobs=st.sampled_from([0, 0, 1]),
    idle_seconds=st.sampled_from([None, 3599.0, 99_999.0]),
    closed=st.sampled_from([False, False, True]),
)


@settings(max_examples=1500)
@given(usual, st.lists(claims, min_size=1, max_size=2, unique_by=lambda worker: worker.name).map(tuple), policies)
def test_what_is_seen_at_once_of_a_vm_is_what_the_rules_say(
    record: VmRecord, workers: tuple[Worker, ...], policy: Policy
) -> None:
    memory = Memory(vms={record.id: record})
    instances = (Instance(record.id, record.state, cluster="test", launched_at=record.launched_at),)
    seen = Observation(NOW, (), workers=workers, instances=instances)
    fleet = Fleet.of(seen, track(seen, memory, policy), policy)
    for one in fleet.records:
        worker = fleet.worker(one)
        said = (answer for rule in RULES if (answer := rule(fleet, one, worker)) is not None)
        if worker is not None and seen_at_once(fleet, one, worker):
            assert next(said, None) == (Answer(words.stays(Token.AT_WORK, one, None)) if worker.jobs else None)


@settings(max_examples=500)
@given(observations, memories, policies)
def test_jobs_are_only_taken_from_a_worker_that_says_that_its_vm_is_taken_back(
    seen: Observation, memory: Memory, policy: Policy
) -> None:
    made = plan(seen, memory, policy)
    found = {worker.instance_id: worker for worker in seen.workers or ()}
    for id_ in of(made, Kind.REQUEUE):
        assert policy.requeues_interrupted
        assert found[id_].interrupted and found[id_].jobs
        assert made.memory.vms[id_].interrupted_at is not None
    assert not set(of(made, Kind.REQUEUE)) & set(of(made, Kind.TERMINATE))


@settings(max_examples=500)
@given(observations, memories, policies)
def test_what_somebody_else_closed_is_left_alone(seen: Observation, memory: Memory, policy: Policy) -> None:
    made = plan(seen, memory, policy)
    ids = {worker.instance_id for worker in seen.workers or () if worker.closed_by_other}
    claimed_twice = [worker.instance_id for worker in seen.workers or ()]
    for id_ in {*of(made, Kind.TERMINATE), *of(made, Kind.REOPEN)} & ids:
        record = made.memory.vms[id_]
        assert record.state is InstanceState.ERROR or claimed_twice.count(id_) > 1


@settings(max_examples=500)
@given(observations, memories, policies)
def test_vms_that_look_like_a_lost_launch_are_counted_and_never_ended(
    seen: Observation, memory: Memory, policy: Policy
) -> None:
    made = plan(seen, memory, policy)
    alike = [id_ for intent in made.memory.intents for id_ in intent.lookalikes]
    assert len(alike) == len(set(alike)), "none counts twice"
    assert not set(alike) & {*of(made, Kind.TERMINATE), *of(made, Kind.REOPEN), *made.memory.vms}
    for id_ in alike:
        assert any(id_ in decision.reason.text for decision in made.decisions if decision.kind is Kind.HOLD)


@settings(max_examples=500)
@given(observations, memories, policies)
def test_no_vm_is_forgotten_that_the_cloud_still_shows(seen: Observation, memory: Memory, policy: Policy) -> None:
    made = plan(seen, memory, policy)
    alive = {instance.id for instance in seen.instances or () if instance.state.alive}
    assert set(memory.vms) & alive <= set(made.memory.vms)
    if seen.instances is None:
        assert set(memory.vms) == set(made.memory.vms)


@settings(max_examples=500)
@given(observations, memories, policies)
def test_the_minimum_is_never_undercut_by_ending_idle_vms(seen: Observation, memory: Memory, policy: Policy) -> None:
    made = plan(seen, memory, policy)
    idle = [decision for decision in made.decisions if decision.reason.token is Token.IDLE]
    ending = set(of(made, Kind.TERMINATE))
    if idle:
        left = [
            record
            for record in made.memory.vms.values()
            if record.state in (InstanceState.PENDING, InstanceState.RUNNING)
            and not record.leaving
            and record.id not in ending
        ]
        assert len(left) >= policy.min_vms


@settings(max_examples=1000)
@given(observations, memories, policies)
def test_every_job_and_every_vm_has_its_verdict(seen: Observation, memory: Memory, policy: Policy) -> None:
    made = plan(seen, memory, policy)
    on_jobs = [verdict for verdict in made.verdicts if verdict.group is not None]
    told: Counter[Demand] = Counter()
    for group in seen.demand or ():
        told[group] += group.jobs
    assert all(verdict.jobs > 0 for verdict in on_jobs)
    assert Counter({group: 0 for group in told}) + _jobs_of(on_jobs) == told, "the verdicts on a group add up"
    on_vms = {verdict.instance_id: verdict.reason for verdict in made.verdicts if verdict.group is None}
    assert sorted(on_vms) == sorted(made.memory.vms)
    assert len(on_vms) == len(made.verdicts) - len(on_jobs), "one verdict on each VM"
    for decision in made.decisions:
        if decision.kind is Kind.TERMINATE:
            assert on_vms[decision.instance_id] == decision.reason
        elif decision.kind is Kind.REOPEN:
            assert on_vms[decision.instance_id].token is Token.REOPENED
        elif decision.kind is Kind.LAUNCH and decision.reason.token is Token.NO_ROOM:
            is_for_running = any(worker.interrupted and worker.jobs for worker in seen.workers or ())
            assert is_for_running or any(verdict.reason == decision.reason for verdict in on_jobs)
    assert {verdict.reason.token for verdict in made.verdicts if verdict.instance_id in of(made, Kind.TERMINATE)} <= {
        Token.IDLE, Token.IN_THE_WAY, Token.UNFINISHED, Token.VM_IN_ERROR, Token.NEVER_JOINED, Token.WORKER_LOST,
        Token.CLOSED_AND_IDLE, Token.INTERRUPTED_IDLE,
    } | {verdict.reason.token for verdict in on_jobs}  # fmt: skip


def _jobs_of(verdicts: list[Verdict]) -> Counter[Demand]:
    jobs: Counter[Demand] = Counter()
    for verdict in verdicts:
        assert verdict.group is not None
        jobs[verdict.group] += verdict.jobs
    return jobs


def _gist(made: Plan) -> tuple[object, ...]:
    """What a plan does, and why, but for figures."""
    decisions = [(one.kind, one.reason.token, one.instance_id, one.pool, one.count) for one in made.decisions]
    verdicts = [(one.reason.token, one.group and one.group.shape, one.jobs, one.instance_id) for one in made.verdicts]
    return decisions, verdicts


def _later(seen: Observation, seconds: float) -> Observation:
    """Return the same answers of the world, so much older."""
    return replace(
        seen,
        now=seen.now + seconds,
        demand_age_seconds=seen.demand_age_seconds + seconds,
        workers_age_seconds=seen.workers_age_seconds + seconds,
        instances_age_seconds=seen.instances_age_seconds + seconds,
    )


def _looked_at_again(seen: Observation, seconds: float) -> Observation:
    """Return new answers of a world in which nothing but time has changed."""
    workers = seen.workers and tuple(
        replace(one, idle_seconds=None if one.idle_seconds is None else one.idle_seconds + seconds)
        for one in seen.workers
    )
    demand = seen.demand and tuple(
        replace(one, oldest_wait_seconds=None if one.oldest_wait_seconds is None else one.oldest_wait_seconds + seconds)
        for one in seen.demand
    )
    return Observation(seen.now + seconds, demand, 0.0, workers, 0.0, seen.instances, 0.0)


SHARES = st.sampled_from([0.0, 0.001, 0.3, 0.7, 0.999])


@settings(max_examples=1500)
@given(observations, memories, policies, SHARES)
def test_nothing_changes_before_the_plan_says_so(
    seen: Observation, memory: Memory, policy: Policy, share: float
) -> None:
    """Neither by time alone, nor at a new look at a world that is still the same."""
    memory = plan(seen, memory, policy).memory
    first = plan(seen, memory, policy)
    assert first.wake_at >= seen.now
    seconds = share * min(first.wake_at - seen.now, 1e6)
    assert _gist(plan(_later(seen, seconds), first.memory, policy)) == _gist(first)

    fresh = _looked_at_again(seen, 0.0)
    memory = plan(fresh, first.memory, policy).memory
    first = plan(fresh, memory, policy)
    seconds = share * min(first.wake_at - seen.now, first.look_at - seen.now, 1e6)
    assert seconds >= 0
    assert _gist(plan(_looked_at_again(fresh, seconds), first.memory, policy)) == _gist(first)
