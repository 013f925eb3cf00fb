"""What the outcome of an action changes in what is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from elastiq.decisions import Decision, End, Kind, Outcome, Reason, Step, Token
from elastiq.memory import Away, Breaker, Intent, LaunchTook, Memory, Showing, VmRecord
from elastiq.model import ON_DEMAND, SPOT, Instance, InstanceState, Observation, Offer, Policy, Scope
from elastiq.planning.breaker import boot_failed
from elastiq.planning.learning import learn
from elastiq.planning.tracking import track

NOW = 1_000_000.0
RECORD = VmRecord("i-00000001", launched_at=NOW - 5000, address="10.0.0.5", name="ip-10-0-0-5.cloud")
JOBS_WAIT, DID_NOT_JOIN = Reason(Token.NO_ROOM, "jobs wait"), Reason(Token.NEVER_JOINED, "did not join")
TERMINATE = Decision(Kind.TERMINATE, Reason(Token.IDLE, "idle"), instance_id=RECORD.id)


def vms(*records: VmRecord) -> Memory:
    return Memory(vms={record.id: record for record in records})


def test_a_worker_that_is_reopened_has_all_its_time_to_be_seen_again() -> None:
    closed = replace(RECORD, joined_at=NOW - 4000, closing_at=NOW - 2000, closed=True, lost_since=NOW - 1900)
    reopen = Outcome(replace(TERMINATE, kind=Kind.REOPEN), End.DONE)
    assert learn(vms(closed), reopen, NOW).vms[RECORD.id].lost_since is None
    open_ = replace(closed, closed=False)
    assert learn(vms(open_), reopen, NOW).vms[RECORD.id].lost_since == NOW - 1900, "it had gone by itself"


@pytest.mark.parametrize("closed", [True, False])
def test_a_job_that_keeps_a_lost_worker_gives_it_no_new_time_unless_it_had_been_closed(closed: bool) -> None:
    """Grid Engine believes in the job of a machine that hangs until somebody deletes it."""
    lost = replace(RECORD, joined_at=NOW - 9000, closing_at=NOW, closed=closed, lost_since=NOW - 3601)
    after = learn(vms(lost), Outcome(TERMINATE, End.REFUSED), NOW).vms[RECORD.id]
    assert after.lost_since == (None if closed else NOW - 3601)


def test_the_end_of_a_boot_is_kept_beside_the_reason_of_a_pause() -> None:
    breaker = boot_failed(None, NOW, "a broken image")
    memory = Memory(breakers={"default": breaker}, intents=(Intent("t", "default", 1, NOW),))
    refused = Outcome(Decision(Kind.LAUNCH, JOBS_WAIT, count=1), End.FAILED, "no capacity", token="t")
    after = learn(memory, refused, NOW).breakers["default"]
    assert (after.reason, after.boot_reason) == ("no capacity", "a broken image")


def test_failed_terminations_back_off_and_a_refused_close_leaves_everything_as_it_was() -> None:
    memory = vms(replace(RECORD, closing_at=NOW))
    pauses = []
    for _ in range(8):
        memory = learn(memory, Outcome(TERMINATE, End.FAILED, "no"), NOW)
        pauses.append(memory.vms[RECORD.id].terminate_retry_at - NOW)
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600]
    memory = learn(memory, Outcome(TERMINATE, End.REFUSED), NOW)
    assert not memory.vms[RECORD.id].leaving


@pytest.mark.parametrize(("end", "left"), [(End.UNCLEAR, 1), (End.FAILED, 0)])
def test_a_failed_launch_stays_open_only_if_it_may_have_worked(end: End, left: int) -> None:
    memory = Memory(intents=(Intent("t", "default", 2, NOW),))
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=2)
    after = learn(memory, Outcome(launch, end, "quota", token="t"), NOW)
    assert len(after.intents) == left
    assert after.breakers["default"].paused_until == (0 if end is End.UNCLEAR else NOW + 15), (
        "the open intent holds it back"
    )


@pytest.mark.parametrize("shown", [True, False])
def test_a_launch_of_which_vms_are_there_is_not_over_when_it_is_called_failed(shown: bool) -> None:
    """Seen at OpenStack: a launch of six took 94 s, two of them had done their jobs and were gone before the answer
    was made, which then was an error; two that no listing had shown by then were never found."""
    intent = Intent("t", "default", 6, NOW - 94, in_hand=True, found=("i-1",) if shown else ())
    failed = Outcome(Decision(Kind.LAUNCH, JOBS_WAIT, count=6), End.FAILED, "no such VM", token="t")
    after = learn(Memory(intents=(intent,)), failed, NOW)
    assert after.intents == ((replace(intent, in_hand=False),) if shown else ())
    assert after.breakers["default"].refusals == (0 if shown else 1)


@pytest.mark.parametrize("end", [End.DONE, End.FAILED, End.UNCLEAR])
def test_a_failed_boot_counts_once_however_often_its_termination_is_asked_for(end: End) -> None:
    decision = Decision(Kind.TERMINATE, DID_NOT_JOIN, instance_id=RECORD.id, failed_boot=True)
    memory = vms(RECORD)
    for _ in range(4):
        memory = learn(memory, Outcome(decision, end), NOW)
    assert memory.breakers["default"].failed_boots == 1
    dead = Instance(RECORD.id, InstanceState.TERMINATED)
    assert (
        track(Observation(NOW, instances=(dead,)), memory, Policy(cluster="test"))
        .memory.breakers["default"]
        .failed_boots
        == 1
    )


def test_a_termination_that_a_job_prevents_is_no_failed_boot() -> None:
    decision = Decision(Kind.TERMINATE, DID_NOT_JOIN, instance_id=RECORD.id, failed_boot=True)
    assert not learn(vms(RECORD), Outcome(decision, End.REFUSED), NOW).breakers


def test_what_was_launched_is_remembered_with_what_was_asked_for_and_ends_the_row_of_refusals() -> None:
    known = VmRecord("i-2", launched_at=NOW - 5, state=InstanceState.RUNNING)
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=2)
    memory = Memory(vms={"i-2": known}, intents=(Intent("t", "default", 2, NOW - 5, instance_type="m1.small"),))
    for _ in range(2):
        refused = learn(memory, Outcome(launch, End.FAILED, "quota", token="other"), NOW)
    after = learn(refused, Outcome(launch, End.DONE, instance_ids=("i-1", "i-2"), token="t"), NOW)
    assert (after.vms["i-1"].token, after.vms["i-1"].type) == ("t", "m1.small")
    assert after.vms["i-2"] is known, "the listing was faster"
    assert not after.intents
    assert (refused.breakers["default"].refusals, after.breakers["default"].refusals) == (1, 0)


def test_a_dry_run_of_a_launch_leaves_nothing_open_and_pauses_nothing() -> None:
    memory = Memory(intents=(Intent("t", "default", 2, NOW),))
    after = learn(memory, Outcome(Decision(Kind.LAUNCH, JOBS_WAIT, count=2), End.REFUSED, token="t"), NOW)
    assert not after.intents
    assert after.breakers["default"].paused_until == 0


def test_after_a_reopening_that_failed_the_termination_has_its_turn() -> None:
    """Found by the simulator: with long intervals a dead worker was opened again and again, and jobs waited for it."""
    closed = replace(RECORD, closing_at=NOW - 600, closed=True, joined_at=NOW - 900, state=InstanceState.RUNNING)
    reopen = Decision(Kind.REOPEN, JOBS_WAIT, instance_id=RECORD.id)
    failed = learn(vms(closed), Outcome(reopen, End.FAILED), NOW)
    assert failed.vms[RECORD.id].reopen_failed
    end = Decision(Kind.TERMINATE, Reason(Token.UNFINISHED, "was closed"), instance_id=RECORD.id)
    for result in (End.FAILED, End.REFUSED, End.UNCLEAR, End.DONE):
        assert not learn(failed, Outcome(end, result), NOW + 1).vms[RECORD.id].reopen_failed
    assert not learn(failed, Outcome(reopen, End.DONE), NOW + 1).vms[RECORD.id].reopen_failed


@pytest.mark.parametrize("result", [End.FAILED, End.UNCLEAR])
def test_a_worker_whose_reopening_had_no_answer_may_be_open_and_patience_starts_over(result: End) -> None:
    closed = replace(RECORD, closing_at=NOW - 600, closed=True, joined_at=NOW - 900, lost_since=NOW - 500)
    reopen = Decision(Kind.REOPEN, JOBS_WAIT, instance_id=RECORD.id)
    (failed,) = learn(vms(closed), Outcome(reopen, result), NOW).vms.values()
    assert (failed.leaving, failed.closed, failed.lost_since) == (True, False, None)
    (again,) = learn(vms(replace(failed, lost_since=NOW + 1)), Outcome(reopen, result), NOW + 9).vms.values()
    assert again.lost_since == NOW + 1
    (opened,) = learn(vms(failed), Outcome(reopen, End.DONE), NOW + 1).vms.values()
    assert (opened.leaving, opened.reopen_retry_at) == (False, 0.0)


def test_a_vm_that_was_found_before_the_answer_came_and_has_ended_since_is_gone() -> None:
    memory = Memory(intents=(Intent("t", "default", 2, NOW - 60, found=("i-1",)),))
    answer = Outcome(Decision(Kind.LAUNCH, JOBS_WAIT, count=2), End.DONE, instance_ids=("i-1", "i-2"), token="t")
    after = learn(memory, answer, NOW)
    assert (set(after.vms), after.intents) == ({"i-2"}, ())


def test_how_long_a_launch_takes_is_learnt_from_answers_late_ones_too_and_from_nothing_else() -> None:
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=4)
    memory = Memory(intents=(Intent("t", "default", 4, NOW - 100),))
    answered = Outcome(launch, End.DONE, instance_ids=("i-1", "i-2"), token="t")
    assert learn(memory, answered, NOW).launches_took == (LaunchTook(2, 100.0),)
    pending = learn(memory, Outcome(launch, End.PENDING, token="t"), NOW - 90)
    assert pending.launches_took == ()
    assert learn(pending, answered, NOW).launches_took == (LaunchTook(2, 100.0),)
    again = replace(launch, reason=Reason(Token.ASKED_AGAIN, "lost"))
    for other in (
        replace(answered, end=End.FAILED, instance_ids=()),
        replace(answered, end=End.UNCLEAR, instance_ids=()),
        replace(answered, instance_ids=()),
        replace(answered, decision=again),
        replace(answered, token="another"),
    ):
        assert learn(memory, other, NOW).launches_took == ()


@pytest.mark.parametrize(
    ("asked", "cause", "ask"),
    [
        pytest.param(10, Token.CLOUD_CAPACITY, 5, id="half as many"),
        pytest.param(1, Token.CLOUD_CAPACITY, 1, id="one at least"),
        pytest.param(10, Token.CLOUD_CREDENTIALS, None, id="no number mends keys"),
        pytest.param(10, Token.CLOUD_CONFIGURATION, None, id="nor a wrong image"),
        pytest.param(10, Token.CLOUD_THROTTLED, None, id="nor too many requests"),
        pytest.param(10, Token.CLOUD_JOIN_TOKEN, None, id="nor a command that fails"),
    ],
)
def test_a_cloud_that_refuses_is_asked_for_half_until_it_gives(asked: int, cause: Token, ask: int | None) -> None:
    memory = Memory(intents=(Intent("t", "default", asked, NOW),))
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=asked)
    memory = learn(memory, Outcome(launch, End.FAILED, "no", token="t", cause=cause), NOW)
    assert memory.breakers["default"].ask == ask
    memory = replace(memory, intents=(Intent("u", "default", 1, NOW),))
    memory = learn(memory, Outcome(replace(launch, count=1), End.DONE, "", ("i-1",), "u"), NOW)
    assert memory.breakers["default"].ask is None


def test_a_cloud_that_gives_a_part_of_what_a_job_needs_at_once_is_remembered_for_a_day() -> None:
    memory = Memory(vms={RECORD.id: RECORD}, intents=(Intent("t", "default", 8, NOW),))
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=8, at_least=8)
    after = learn(memory, Outcome(launch, End.DONE, "", ("i-1", "i-2"), "t"), NOW).breakers["default"]
    assert (after.most, after.most_until) == (3, NOW + 86400)
    some = replace(launch, at_least=1)
    assert learn(memory, Outcome(some, End.DONE, "", ("i-1", "i-2"), "t"), NOW).breakers["default"].most is None


FIRST, SECOND = Offer(SPOT, "a", "z"), Offer(ON_DEMAND, "a", "z")
WALK = (Step(FIRST, 2), Step(SECOND, 2))


def of_walk(end: End, cause: Token, scope: Scope = Scope.OFFER, steps: int = 2, trial_of: str = "") -> Memory:
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=2, walk=WALK[2 - steps :], trial_of=trial_of)
    intent = Intent("t", "default", 2, NOW, "a", market=SPOT, zone="z")
    memory = Memory(intents=(intent,), showings={"a": Showing(trials=1, try_at=NOW + 3600)})
    return learn(memory, Outcome(launch, end, "no room", token="t", cause=cause, scope=scope), NOW)


def test_an_offer_without_room_is_put_away_and_its_pool_goes_on() -> None:
    memory = of_walk(End.FAILED, Token.CLOUD_CAPACITY)
    assert list(memory.offers_away) == ["spot a z"]
    assert memory.breakers["default"] == Breaker()
    assert not memory.intents


@pytest.mark.parametrize(
    ("cause", "scope"),
    [
        (Token.CLOUD_CAPACITY, Scope.ACCOUNT),
        (Token.CLOUD_CONFIGURATION, Scope.OFFER),
        (Token.CLOUD_CREDENTIALS, Scope.OFFER),
        (Token.CLOUD_THROTTLED, Scope.OFFER),
        (Token.CLOUD_JOIN_TOKEN, Scope.OFFER),
    ],
)
def test_what_holds_for_all_offers_pauses_the_pool(cause: Token, scope: Scope) -> None:
    memory = of_walk(End.FAILED, cause, scope)
    assert not memory.offers_away
    assert memory.breakers["default"].paused_until == NOW + 15


def test_a_trial_is_over_when_no_offer_is_left_for_it() -> None:
    assert of_walk(End.FAILED, Token.CLOUD_CAPACITY, trial_of="a").showings["a"].trials == 1
    assert of_walk(End.FAILED, Token.CLOUD_CAPACITY, steps=1, trial_of="a").showings["a"].trials == 0
    assert of_walk(End.FAILED, Token.CLOUD_CAPACITY, Scope.ZONE, trial_of="a").showings["a"].trials == 0
    assert of_walk(End.FAILED, Token.CLOUD_CONFIGURATION, trial_of="a").showings["a"].trials == 0


def test_a_vm_is_known_by_the_offer_that_it_was_asked_of() -> None:
    intent = Intent("t", "default", 2, NOW, "a", market=SPOT, zone="z")
    memory = Memory(intents=(intent,), offers_away={"spot a z": Away(NOW - 1), "spot": Away(NOW), "x": Away(NOW)})
    launch = Decision(Kind.LAUNCH, JOBS_WAIT, count=2, walk=WALK)
    memory = learn(memory, Outcome(launch, End.DONE, "", ("i-1", "i-2"), "t"), NOW)
    assert {(one.type, one.market, one.zone) for one in memory.vms.values()} == {("a", SPOT, "z")}
    assert list(memory.offers_away) == ["x"], "what was put away of it is forgotten"
