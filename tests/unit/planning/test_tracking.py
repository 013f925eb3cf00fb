"""Which VMs are elastiq's own, and what their listings and workers tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Token
from elastiq.memory import Breaker, Departed, Intent, Memory, VmRecord
from elastiq.model import Instance, InstanceState, Observation, Policy, Pool, Shape, Worker
from elastiq.planning import patience
from elastiq.planning.learning import learn
from elastiq.planning.tracking import track

NOW = 1_000_000.0
POLICY = Policy(cluster="test")
RECORD = VmRecord("i-00000001", launched_at=NOW - 5000, address="10.0.0.5", name="ip-10-0-0-5.cloud")


def listing(*instances: Instance, now: float = NOW, age: float = 0.0) -> Observation:
    return Observation(now, instances=instances, instances_age_seconds=age)


def vms(*records: VmRecord) -> Memory:
    return Memory(vms={record.id: record for record in records})


@pytest.mark.parametrize(
    ("instance", "own"),
    [
        (Instance("i-1", InstanceState.RUNNING, cluster="test"), True),
        (Instance("i-1", InstanceState.RUNNING, cluster="other"), False),
        (Instance("i-1", InstanceState.RUNNING), False),
        (Instance("i-1", InstanceState.RUNNING, client_token="open"), True),
        (Instance("i-1", InstanceState.RUNNING, address="10.0.0.5"), False),
        (Instance("i-1", InstanceState.TERMINATED, cluster="test"), False),
    ],
)
def test_ownership_is_by_tag_or_token_never_by_address(instance: Instance, own: bool) -> None:
    memory = replace(vms(RECORD), intents=(Intent("open", "default", 3, NOW - 5),))
    assert ("i-1" in track(listing(instance), memory, POLICY).memory.vms) is own


def test_a_cluster_without_a_name_owns_nothing_by_tag() -> None:
    foreign = Instance("i-1", InstanceState.RUNNING, cluster="")
    assert not track(listing(foreign), Memory(), replace(POLICY, cluster="")).memory.vms


def test_one_empty_listing_forgets_nothing() -> None:
    situation = track(listing(), vms(RECORD), POLICY)
    assert situation.memory.vms[RECORD.id].missing_since == NOW


def test_a_vm_missing_for_long_is_given_up_but_known_again_if_it_comes_back() -> None:
    missing = replace(RECORD, missing_since=NOW - patience.MISSING_GRACE_SECONDS - 1)
    situation = track(listing(), vms(missing), POLICY)
    assert not situation.memory.vms
    assert [record.id for record in situation.departed] == [RECORD.id]
    back = track(listing(Instance(RECORD.id, InstanceState.RUNNING)), situation.memory, POLICY)
    assert RECORD.id in back.memory.vms
    assert not back.memory.once_own


@pytest.mark.parametrize("joined_at", [NOW - 4000, None])
def test_a_vm_is_not_given_up_in_the_moment_its_worker_is_shown(joined_at: float | None) -> None:
    """Found by the simulator: of answers ten minutes apart, one without it is long ago at the next."""
    since = NOW - patience.MISSING_GRACE_SECONDS - 1
    missing = replace(RECORD, joined_at=joined_at, missing_since=since, lost_since=joined_at and since)
    there = replace(listing(), workers=(Worker("node", instance_id=RECORD.id),))
    situation = track(there, vms(missing), POLICY)
    assert RECORD.id in situation.memory.vms
    assert not situation.departed


def test_a_worker_that_was_lost_is_not_given_up_while_the_workers_can_not_be_read() -> None:
    since = NOW - patience.MISSING_GRACE_SECONDS - 1
    missing = replace(RECORD, joined_at=NOW - 4000, missing_since=since, lost_since=since)
    assert RECORD.id in track(listing(), vms(missing), POLICY).memory.vms
    assert track(replace(listing(), workers=()), vms(missing), POLICY).departed


@pytest.mark.parametrize("closed", [False, True])
def test_a_vm_whose_worker_elastiq_wants_to_close_is_given_up_no_sooner(closed: bool) -> None:
    """Found by the simulator: a defect of the plugin ended the close, and its job ran on while listings left it out."""
    leaving = replace(RECORD, joined_at=NOW - 4000, closing_at=NOW - 5, closed=closed, missing_since=NOW - 5000)
    assert RECORD.id in track(listing(), vms(leaving), POLICY).memory.vms, "the workers cannot be read"
    nobody = replace(listing(), workers=())
    situation = track(nobody, vms(leaving), POLICY)
    assert RECORD.id in situation.memory.vms, "one answer may be wrong"
    later = replace(nobody, now=NOW + patience.MISSING_GRACE_SECONDS + 1)
    assert track(later, situation.memory, POLICY).departed
    assert track(nobody, vms(replace(leaving, doomed=True)), POLICY).departed


def test_a_vm_launched_after_the_listing_began_is_not_missing() -> None:
    fresh = replace(RECORD, launched_at=NOW - 1)
    assert track(listing(age=2.0), vms(fresh), POLICY).memory.vms[RECORD.id].missing_since is None


def test_a_terminated_vm_is_gone_at_once_where_the_cloud_forgets_it() -> None:
    ended = replace(RECORD, terminated_at=NOW - 3, doomed=True)
    situation = track(listing(), vms(ended), POLICY)
    assert not situation.memory.vms
    assert not situation.departed


def test_a_vm_that_died_by_itself_is_reported_and_counts_as_failed_boot_if_it_never_joined() -> None:
    dead = Instance(RECORD.id, InstanceState.TERMINATED, detail="Server.InternalError")
    situation = track(listing(dead), vms(RECORD), POLICY)
    assert [record.id for record in situation.departed] == [RECORD.id]
    assert situation.memory.breakers["default"].failed_boots == 1
    joined = replace(RECORD, joined_at=NOW - 4000)
    assert not track(listing(dead), vms(joined), POLICY).memory.breakers


def test_an_adopted_old_vm_gets_the_patience_of_a_lost_worker() -> None:
    old = Instance("i-9", InstanceState.RUNNING, cluster="test", launched_at=NOW - 90_000)
    record = track(listing(old), Memory(), POLICY).memory.vms["i-9"]
    assert (record.joined_at, record.lost_since) == (NOW - 90_000, NOW)
    young = replace(old, launched_at=NOW - 50)
    assert track(listing(young), Memory(), POLICY).memory.vms["i-9"].joined_at is None


@pytest.mark.parametrize(
    ("once_own", "launched_at"), [(("i-9",), NOW - 50), (("t1",), NOW - 5000), ((), NOW + 9000), ((), None)]
)
def test_an_adopted_vm_that_may_be_old_gets_that_patience_too(once_own: tuple[str, ...], launched_at: float) -> None:
    """Found by the simulator: one that listings had left out for an hour came back, and the clock was hours behind."""
    back = Instance("i-9", InstanceState.RUNNING, client_token="t1", cluster="test", launched_at=launched_at)
    record = track(listing(back), Memory(once_own=once_own), POLICY).memory.vms["i-9"]
    assert record.joined_at is not None
    assert record.joined_at <= NOW
    assert record.lost_since == NOW


def test_a_vm_that_turns_up_late_from_a_launch_that_was_given_up_is_taken_for_one_that_boots() -> None:
    """Nobody ever saw it, so it is no lost worker: it is room for jobs, and if it fails to boot that is said."""
    late = Instance("i-9", InstanceState.RUNNING, client_token="t1", launched_at=NOW - 50)
    assert track(listing(late), Memory(once_own=("t1",)), POLICY).memory.vms["i-9"].joined_at is None


def test_joining_is_remembered_teaches_the_capacity_and_ends_the_failures() -> None:
    memory = replace(vms(RECORD), breakers={"default": Breaker(failed_boots=2)})
    worker = Worker("w", RECORD.id, capacity=Shape(8, 16000))
    after = track(Observation(NOW, workers=(worker,)), memory, POLICY).memory
    assert (after.vms[RECORD.id].joined_at, after.vms[RECORD.id].worker_name) == (NOW, "w")
    assert after.capacities == {"default": Shape(8, 16000)}
    assert after.breakers["default"].failed_boots == 0


def test_a_vm_that_has_been_at_work_for_long_tells_nothing_of_those_that_do_not_boot_now() -> None:
    """Found by the simulator: while one VM worked, another one was launched in vain every few minutes."""
    broken = {"default": Breaker(failed_boots=2, trips=1)}
    for record, left in ((replace(RECORD, joined_at=NOW - 900, at_work=True), 2), (replace(RECORD), 0)):
        busy = Worker("w1", instance_id=RECORD.id, jobs=1)
        seen = replace(listing(), workers=(busy,))
        after = track(seen, replace(vms(record), breakers=broken), POLICY).memory
        assert after.breakers["default"].failed_boots == left


@pytest.mark.parametrize(("type_", "teaches"), [("large", True), ("", False), ("small", False)])
def test_a_worker_teaches_only_what_vms_of_its_own_type_hold(type_: str, teaches: bool) -> None:
    policy = replace(POLICY, pools=(Pool(instance_type="large"),))
    vm = Instance(RECORD.id, InstanceState.RUNNING, type=type_)
    seen = Observation(NOW, instances=(vm,), workers=(Worker("any", RECORD.id, capacity=Shape(8)),))
    assert track(seen, vms(RECORD), policy).memory.capacities == ({"large": Shape(8)} if teaches else {})


def test_a_vm_is_of_the_type_that_was_asked_for_before_any_listing_says_so() -> None:
    """Found by the simulator: its worker joined while the cloud hung, and the type was changed meanwhile."""
    memory = Memory(intents=(Intent("t1", "default", 1, NOW, "small"),))
    launch = Outcome(
        Decision(Kind.LAUNCH, Reason(Token.NO_ROOM, "jobs wait"), count=1), End.DONE, instance_ids=("i-1",), token="t1"
    )
    launched = learn(memory, launch, NOW)
    assert launched.vms["i-1"].type == "small"
    policy = replace(POLICY, pools=(Pool(instance_type="large"),))
    seen = Observation(NOW, workers=(Worker("any", "i-1", capacity=Shape(8)),))
    assert not track(seen, launched, policy).memory.capacities


def test_a_worker_that_somebody_reopened_is_open_again() -> None:
    closed = replace(RECORD, joined_at=NOW - 900, closing_at=NOW - 100, closed=True)
    seen = Observation(NOW, workers=(Worker("w", RECORD.id),))
    assert not track(seen, vms(closed), POLICY).memory.vms[RECORD.id].leaving
    doomed = replace(closed, doomed=True)
    assert track(seen, vms(doomed), POLICY).memory.vms[RECORD.id].leaving


def test_an_unchanged_record_stays_the_same_object() -> None:
    seen = replace(RECORD, state=InstanceState.RUNNING, tagged=True)
    instance = Instance(RECORD.id, InstanceState.RUNNING, "10.0.0.5", RECORD.name, cluster="test")
    assert track(listing(instance), vms(seen), POLICY).memory.vms[RECORD.id] is seen


def test_a_failed_boot_counts_whatever_became_of_its_termination() -> None:
    """Found by the simulator: the answer to the termination was lost, and the breaker did not trip."""
    doomed = replace(RECORD, closing_at=NOW - 50, closed=True, doomed=True)
    dead = Instance(RECORD.id, InstanceState.TERMINATED)
    assert track(listing(dead), vms(doomed), POLICY).memory.breakers["default"].failed_boots == 1
    vanished = replace(doomed, missing_since=NOW - patience.MISSING_GRACE_SECONDS - 1)
    assert track(listing(), vms(vanished), POLICY).memory.breakers["default"].failed_boots == 1
    counted = replace(doomed, terminated_at=NOW - 5)
    assert not track(listing(dead), vms(counted), POLICY).memory.breakers


@pytest.mark.parametrize(
    ("workers", "address"),
    [
        ((), "10.0.0.5"),
        ((Worker("w1", address="10.0.0.5"),), "10.0.0.5"),
        ((Worker("w1", instance_id=RECORD.id, address="10.0.0.5"),), "10.0.0.5"),
        ((Worker("w1", address="10.0.0.6"),), "10.0.0.5"),
        ((Worker("w1", address="10.0.0.5", idle_seconds=9000.0),), None),
        ((Worker("w1", instance_id="i-00000002", address="10.0.0.5"),), None),
        ((Worker("w1", address="10.0.0.5"), Worker("w2", address="10.0.0.5")), None),
        (None, None),
    ],
)
def test_a_vm_that_died_before_elastiq_saw_its_worker_is_forgotten_by_what_is_surely_its_own(
    workers: tuple[Worker, ...] | None, address: str | None
) -> None:
    """A physical machine may have its address, and lose its jobs by that."""
    died = replace(listing(Instance(RECORD.id, InstanceState.TERMINATED)), workers=workers)
    assert track(died, vms(RECORD), POLICY).memory.to_forget == {RECORD.id: Departed("", address, NOW)}


def seen(worker: Worker, record: VmRecord, now: float = NOW, breaker: Breaker | None = None) -> tuple[Worker, Memory]:
    """Return the worker and the memory after a look at it on the VM `record`."""
    memory = replace(vms(record), breakers={"default": breaker} if breaker else {})
    situation = track(Observation(now, workers=(worker,)), memory, POLICY)
    return situation.matches.workers[record.id], situation.memory


def test_a_worker_has_been_idle_for_no_longer_than_since_it_was_last_seen_with_a_job() -> None:
    """HTCondor 23.9 gives the start of the last job for its end; the VM went 2 s after that end."""
    record = replace(RECORD, joined_at=NOW - 4000)
    busy = Worker("w", RECORD.id, jobs=1)
    idle = Worker("w", RECORD.id, idle_seconds=3000.0)
    assert seen(idle, record)[0].idle_seconds == 3000, "nothing is known against it"
    _, memory = seen(busy, record)
    at_work = memory.vms[RECORD.id]
    assert (at_work.at_work, at_work.idle_from) == (True, None)
    worker, memory = seen(idle, at_work, NOW + 30)
    assert (worker.idle_seconds, memory.vms[RECORD.id].idle_from) == (0, NOW + 30)
    worker, memory = seen(replace(idle, idle_seconds=3100.0), memory.vms[RECORD.id], NOW + 90)
    assert worker.idle_seconds == 60
    assert seen(replace(idle, idle_seconds=5.0), memory.vms[RECORD.id], NOW + 90)[0].idle_seconds == 5


@pytest.mark.parametrize(
    ("worker", "record", "is_failed_boot"),
    [
        pytest.param({}, {}, True, id="closed ever since it joined"),
        pytest.param({"closed_by_other": True}, {}, True, id="by somebody who says so"),
        pytest.param({"closed": False}, {}, False, id="open"),
        pytest.param({"idle_seconds": 300.0}, {}, False, id="a job came and went unseen"),
        pytest.param({}, {"joined_at": NOW - 500}, False, id="not for long yet"),
        pytest.param({}, {"idle_from": NOW - 700}, False, id="it has worked"),
        pytest.param({}, {"closing_at": NOW - 700}, False, id="closed by elastiq"),
    ],
)
def test_a_worker_closed_by_others_before_it_ran_anything_is_a_failed_boot(
    worker: dict[str, object], record: dict[str, object], is_failed_boot: bool
) -> None:
    born = replace(RECORD, **{"joined_at": NOW - 700, **record})
    closed = replace(Worker("w", RECORD.id, idle_seconds=700.0, closed=True), **worker)
    _, memory = seen(closed, born)
    assert memory.vms[RECORD.id].failed_boot is is_failed_boot
    assert memory.breakers.get("default", Breaker()).useless_births == int(is_failed_boot)
    again = track(Observation(NOW + 60, workers=(closed,)), memory, POLICY).memory
    assert again.breakers == memory.breakers, "it counts once"


@pytest.mark.parametrize(
    ("worker", "record", "is_failed_boot"),
    [
        pytest.param({}, {}, True, id="it has idled for as long as it may"),
        pytest.param({"hurt": False}, {}, False, id="whole"),
        pytest.param({"jobs": 1}, {}, False, id="of use all the same"),
        pytest.param({"idle_seconds": 299.0}, {}, False, id="not for long yet"),
        pytest.param({}, {"idle_from": NOW - 310}, False, id="it has worked"),
        pytest.param({"interrupted": True}, {}, False, id="taken back by the cloud"),
        pytest.param({}, {"closing_at": NOW - 5}, False, id="it goes already"),
    ],
)
def test_a_worker_that_comes_hurt_and_is_of_no_use_is_a_failed_boot(
    worker: dict[str, object], record: dict[str, object], is_failed_boot: bool
) -> None:
    """A simulated weekend: an image without its GPU driver made VMs that joined, idled out and came again, for nobody
    counted them."""
    born = replace(RECORD, launched_at=NOW - 400, joined_at=NOW - 310, **record)
    hurt = replace(Worker("w", RECORD.id, idle_seconds=301.0, hurt=True), **worker)
    policy = replace(POLICY, idle_for_time_s=300)
    memory = track(Observation(NOW, workers=(hurt,)), vms(born), policy).memory
    assert memory.vms[RECORD.id].failed_boot is is_failed_boot
    breaker = memory.breakers.get("default", Breaker())
    assert breaker.useless_births == int(is_failed_boot)
    assert "holds less than its VM does" in breaker.boot_reason or not is_failed_boot
    again = track(Observation(NOW + 20, workers=(hurt,)), memory, policy).memory
    assert again.breakers == memory.breakers, "it counts once"


def test_joining_does_not_end_a_series_of_workers_closed_at_birth_but_a_job_does() -> None:
    breaker = Breaker(failed_boots=3, trips=1, useless_births=3)
    _, memory = seen(Worker("w", RECORD.id, idle_seconds=0.0), RECORD, breaker=breaker)
    assert memory.breakers["default"] == breaker
    _, memory = seen(Worker("w", RECORD.id, jobs=1), RECORD, breaker=breaker)
    assert memory.breakers["default"] == Breaker()


@pytest.mark.parametrize(
    ("idle_for_time_s", "is_adaptive", "expected"), [(300, False, 0), (3600, False, 3), (60, True, 3)]
)
def test_nor_does_one_that_stays_open_as_long_as_it_may_idle(
    idle_for_time_s: int, is_adaptive: bool, expected: int
) -> None:
    """Found by the simulator: for a job of two VMs one was launched to try, idled out, and was launched again."""
    record = replace(RECORD, joined_at=NOW - 310, launched_at=NOW - 400)
    memory = Memory(vms={record.id: record}, breakers={"default": Breaker(failed_boots=3, trips=1, useless_births=3)})
    policy = replace(POLICY, idle_for_time_s=idle_for_time_s, is_adaptive=is_adaptive)
    after = track(Observation(NOW, workers=(Worker("w", RECORD.id, idle_seconds=305.0),)), memory, policy).memory
    assert after.breakers["default"].useless_births == expected
