"""A daemon that is killed again and again gives up what it waits for nearly as soon as one that lives on; and none that
was away gives anything up for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elastiq.errors import CloudError, CloudFault
from elastiq.memory import Intent, Memory, VmRecord
from elastiq.model import Instance, InstanceState, Observation, Policy, Pool
from elastiq.planning.intents import settle_seconds
from elastiq.planning.patience import MISSING_GRACE_SECONDS, UNSEEN_SECONDS
from elastiq.planning.tracking import track
from elastiq.state import after_restart
from tests.unit.fakes import FakeCloud, settings_with
from tests.unit.rig import SETTINGS, Rig

DEPLOY_SECONDS, LOST_SECONDS = 300, 600
OPTIONS = settings_with(SETTINGS, estimated_vm_deploy_time_s=DEPLOY_SECONDS, lost_worker_time_s=LOST_SECONDS, min_vms=2)
MEMORY_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
MOST = 1.5
"""So many times as long as without kills it may take to give something up."""
LOOK_SECONDS = 50.0
"""After a limit is over, the next look at VMs and workers comes within that time."""

lives = st.lists(st.tuples(st.floats(20, 40), st.floats(0.5, 2)), min_size=1, max_size=20)
"""How long a daemon lives, and until when the next one is there; again from the beginning after the last."""


pytestmark = pytest.mark.usefixtures("quiet")


class LosesAnswers(FakeCloud):
    """Makes nothing, and does not say so."""

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        self.launches.append(count)
        raise CloudError("the answer is damaged", CloudFault.UNREACHABLE)


def booting(rig: Rig) -> None:
    rig.run(1)
    rig.cloud.run()
    assert len(rig.cloud.alive) == 2


def gone_out_of_sight(rig: Rig) -> None:
    rig.run(1)
    rig.join_all()
    rig.run(60)
    rig.batch.joined = {}


def left_out_by_listings(rig: Rig) -> None:
    booting(rig)
    rig.settings = settings_with(OPTIONS, estimated_vm_deploy_time_s=9000)
    rig.start()
    rig.cloud.hidden = set(rig.cloud.vms)


def asked_for_in_vain(rig: Rig) -> None:
    rig.cloud = LosesAnswers()
    rig.start()
    rig.run(1)
    assert rig.core.memory.intents


def nothing_ended(rig: Rig) -> bool:
    return not rig.cloud.terminations


def all_remembered(rig: Rig) -> bool:
    return rig.cloud.hidden <= rig.core.memory.vms.keys()


def first_launch_counts(rig: Rig) -> bool:
    return any(intent.count == 2 for intent in rig.core.memory.intents) and len(rig.cloud.launches) == 1


CASES = (
    (booting, nothing_ended, DEPLOY_SECONDS),
    (gone_out_of_sight, nothing_ended, LOST_SECONDS),
    (left_out_by_listings, all_remembered, MISSING_GRACE_SECONDS),
    (asked_for_in_vain, first_launch_counts, settle_seconds(Intent("", "", 2, 0.0)) + UNSEEN_SECONDS),
)


@pytest.mark.parametrize(("begin", "is_kept", "limit"), CASES, ids=[begin.__name__ for begin, _, _ in CASES])
@settings(max_examples=30, deadline=None)
@given(lives)
def test_kills_do_not_keep_anything_from_being_given_up(
    begin: Callable[[Rig], None],
    is_kept: Callable[[Rig], bool],
    limit: float,
    drawn: list[tuple[float, float]],
) -> None:
    with TemporaryDirectory(dir=MEMORY_DISK) as directory:
        rig = Rig(Path(directory), OPTIONS)
        begin(rig)
        began_at = rig.clock.now()
        for alive_seconds, away_seconds in chain.from_iterable(repeat(drawn)):
            dies_at = rig.clock.now() + alive_seconds
            while rig.clock.now() < dies_at and is_kept(rig):
                rig.run(0.1)
            if not is_kept(rig):
                break
            assert rig.clock.now() - began_at <= MOST * (limit + LOOK_SECONDS), "it is never given up"
            rig.state.close()
            rig.clock.time += away_seconds
            rig.start()
        took_seconds = rig.clock.now() - began_at
        rig.state.close()
        assert limit - LOOK_SECONDS <= took_seconds <= MOST * (limit + LOOK_SECONDS)


SINCE = 1_000_000.0
steps = st.floats(-50_000, 50_000)
"""Of the wall clock, between two lives of a daemon."""


def _used(memory: Memory, now: float) -> list[float]:
    """How much of each patience is used up."""
    (record,), (intent,) = memory.vms.values(), memory.intents
    moments = (record.lost_since, record.missing_since, intent.unseen_since, intent.waiting_since)
    awaited = () if record.joined_at is not None else (record.awaited_since,)
    return [now - moment for moment in (*moments, *awaited) if moment is not None]


@settings(max_examples=500)
@given(
    st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 50_000), steps), min_size=1, max_size=8),
    st.booleans(),
    st.none() | st.just(SINCE),
)
def test_no_restart_uses_up_patience_and_none_lets_time_run_back(
    history: list[tuple[float, float, float]], has_joined: bool, present_at: float | None
) -> None:
    """Whatever the wall clock does meanwhile, of which nobody can tell how long the daemon was away."""
    joined_at = SINCE if has_joined else None
    record = VmRecord("i-1", launched_at=SINCE, joined_at=joined_at, lost_since=SINCE, missing_since=SINCE)
    memory = Memory(vms={"i-1": record}, intents=(Intent("t", "default", 1, SINCE, unseen_since=SINCE),))
    now, looked_seconds = SINCE, 0.0
    for up_seconds, away_seconds, step_seconds in history:
        now += up_seconds
        looked_seconds += up_seconds
        if present_at is not None:
            present_at = now
        now += away_seconds + step_seconds
        memory = after_restart(memory, now, present_at)
        used = _used(memory, now)
        assert all(-1e-6 <= seconds <= looked_seconds + 1e-6 for seconds in used)
        if present_at is None or present_at > now:
            assert max(used) <= 1e-6, "nobody knows how long it was away"
        present_at = now
    again = after_restart(memory, now, now)
    assert _used(again, now) == _used(memory, now), "nothing was missed"


@given(st.floats(0, 5000), st.floats(0, 60))
def test_a_short_absence_does_not_count_at_all(up_seconds: float, away_seconds: float) -> None:
    record = VmRecord("i-1", launched_at=SINCE)
    now = SINCE + up_seconds + away_seconds
    found = after_restart(Memory(vms={"i-1": record}), now, SINCE + up_seconds).vms["i-1"]
    assert abs(now - found.awaited_since - up_seconds) < 1e-6
    assert found.launched_at == SINCE


@given(st.floats(0, 5000), st.floats(0, 50_000))
def test_after_a_long_absence_there_is_as_much_time_again(up_seconds: float, away_seconds: float) -> None:
    record = replace(VmRecord("i-1", launched_at=SINCE), joined_at=SINCE, lost_since=SINCE)
    now = SINCE + up_seconds + away_seconds + up_seconds + 60
    found = after_restart(Memory(vms={"i-1": record}), now, SINCE + up_seconds).vms["i-1"]
    assert found.lost_since is not None
    assert now - found.lost_since < 1e-6


@pytest.mark.parametrize("begin", [booting, gone_out_of_sight], ids=["booting", "gone out of sight"])
@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1, 300), st.one_of(st.floats(0, 100), st.floats(0, 50_000)), st.just(0.0) | steps),
        min_size=1,
        max_size=8,
    )
)
def test_nothing_is_given_up_before_a_daemon_has_looked_for_long_enough(
    begin: Callable[[Rig], None], history: list[tuple[float, float, float]]
) -> None:
    """Whatever the absence, and whatever the wall clock does meanwhile, which a daemon that runs does not notice."""
    limit = DEPLOY_SECONDS if begin is booting else LOST_SECONDS
    with TemporaryDirectory(dir=MEMORY_DISK) as directory:
        rig = Rig(Path(directory), OPTIONS)
        begin(rig)
        looked_seconds = 0.0
        for up_seconds, away_seconds, step_seconds in history:
            began_at = rig.clock.now()
            while rig.clock.now() - began_at < up_seconds and looked_seconds + rig.clock.now() - began_at < limit:
                rig.core.step()
                rig.clock.time += rig.settings.elastiq.sleep_s
            looked_seconds += rig.clock.now() - began_at
            assert not rig.cloud.terminations
            if looked_seconds >= limit:
                break
            rig.state.close()
            rig.clock.time += away_seconds + step_seconds
            rig.start()
        rig.join_all()
        rig.run(LOOK_SECONDS)
        assert all(rig.core.memory.vms[id_].joined_at is not None for id_ in ("i-00000001", "i-00000002"))
        rig.state.close()


LAUNCHED = [f"i-{number}" for number in range(4)]
listings = st.lists(
    st.tuples(st.floats(1, 400), st.dictionaries(st.sampled_from(LAUNCHED), st.sampled_from(InstanceState)))
)


@settings(max_examples=500)
@given(st.integers(1, 4), listings, st.lists(st.booleans(), min_size=1), st.booleans())
def test_no_more_vms_of_a_launch_are_awaited_as_time_goes_by(
    count: int, history: list[tuple[float, dict[str, InstanceState]]], restarts: list[bool], shows_tokens: bool
) -> None:
    """Whatever listings show and leave out, and however often the daemon is restarted."""
    policy = Policy((Pool(image_id="ami-1"),), cluster="test")
    memory, now = Memory(intents=(Intent("t", "default", count, SINCE),)), SINCE
    before = count
    for number, (seconds, shown) in enumerate(history):
        now += seconds
        token = "t" if shows_tokens else ""
        instances = tuple(
            Instance(id_, state, launched_at=SINCE, client_token=token, image_id="ami-1")
            for id_, state in shown.items()
        )
        memory = track(Observation(now, instances=instances), memory, policy).memory
        if restarts[number % len(restarts)]:
            memory = after_restart(memory, now, now)
        awaited = sum(0 if intent.needs_people else memory.unseen(intent) for intent in memory.intents)
        assert awaited <= before
        before = awaited
