"""When a request is sent again, with which pauses, and that several threads may send."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from elastiq.ec2.sending import Limits, Repeat, Sender
from elastiq.errors import CloudError, CloudFault
from elastiq.redaction import Redactor
from tests.unit.fakes import FakeClock, settings_with

SETTINGS = settings_with(api_url="http://127.0.0.1:1", aws_access_key_id="a", aws_secret_access_key="b")


def refusal(code: str, status: int) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "RunInstances")


class Clients:
    """Makes clients whose requests end as they are told, in their order."""

    def __init__(self, *ends: Exception) -> None:
        self.ends = list(ends)
        self.made = self.closed = self.sent = 0
        self.meeting: threading.Barrier | None = None

    def make(self, read_seconds: float) -> Clients:
        self.made += 1
        return self

    def forget_credentials(self) -> None:
        self.made = 0

    def close(self) -> None:
        self.closed += 1

    def describe_instances(self, **parameters: object) -> dict[str, object]:
        self.sent += 1
        if self.meeting:
            self.meeting.wait()
        if self.ends:
            raise self.ends.pop(0)
        return dict(parameters)

    run_instances = terminate_instances = describe_instances


class Recorder(FakeClock):
    def __init__(self) -> None:
        super().__init__()
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        super().sleep(seconds)


def sender(clients: Clients, clock: Recorder, limits: Limits | None = None) -> Sender:
    made = Sender(SETTINGS, limits or Limits(), Redactor(), clock, uniform=lambda low, high: (low + high) / 2)
    made.clients = clients  # type: ignore[assignment]
    return made


BUSY = [
    refusal("RequestLimitExceeded", 503),
    refusal("Throttling", 400),
    refusal("SlowDown", 503),
    refusal("TooManyRequests", 429),
]
DOUBTFUL = [refusal("Unavailable", 503), refusal("Whatever", 503), refusal("ServiceUnavailable", 500)]


@pytest.mark.parametrize("repeat", Repeat)
@pytest.mark.parametrize("end", BUSY, ids=str)
def test_whatever_is_throttled_is_sent_again_with_growing_pauses(repeat: Repeat, end: ClientError) -> None:
    clients, clock = Clients(*[end] * 6), Recorder()
    assert sender(clients, clock).ask("RunInstances", {"a": 1}, repeat) == {"a": 1}
    assert clock.pauses == [1, 2, 4, 8, 16, 16]


@pytest.mark.parametrize("end", DOUBTFUL, ids=str)
def test_a_busy_cloud_is_asked_again_unless_that_could_do_a_thing_twice(end: ClientError) -> None:
    for repeat in (Repeat.QUESTION, Repeat.IDEMPOTENT):
        clients, clock = Clients(*[end] * 4), Recorder()
        sender(clients, clock).ask("TerminateInstances", {}, repeat)
        assert clock.pauses == [1, 2, 4, 8]
    clients, clock = Clients(end), Recorder()
    with pytest.raises(CloudError) as failed:
        sender(clients, clock).ask("RunInstances", {}, Repeat.NEVER)
    assert failed.value.uncertain
    assert clients.sent == 1


def test_three_refusals_for_a_moment_cost_seconds() -> None:
    clock = Recorder()
    sender(Clients(*[refusal("Unavailable", 503)] * 3), clock).ask("DescribeInstances", {})
    assert sum(clock.pauses) == 7


def test_throttling_is_an_error_only_when_the_time_is_over() -> None:
    clients, clock = Clients(*[refusal("Throttling", 400)] * 99), Recorder()
    with pytest.raises(CloudError) as failed:
        sender(clients, clock, Limits(deadline_seconds=40)).ask("DescribeInstances", {})
    assert failed.value.fault is CloudFault.THROTTLED
    assert clock.pauses == [1, 2, 4, 8, 16], "the next one would end too late"


@pytest.mark.parametrize(
    "end", [refusal("InternalError", 500), ReadTimeoutError(endpoint_url="x"), ConnectionResetError()], ids=repr
)
def test_only_a_question_is_repeated_after_other_failures(end: Exception) -> None:
    for repeat in (Repeat.IDEMPOTENT, Repeat.NEVER):
        clients = Clients(end)
        with pytest.raises(CloudError):
            sender(clients, Recorder()).ask("TerminateInstances", {}, repeat)
        assert (clients.sent, clients.closed) == (1, 1)
    clients = Clients(*[end] * 9)
    with pytest.raises(CloudError):
        sender(clients, Recorder()).ask("DescribeInstances", {})
    assert (clients.sent, clients.closed) == (3, 0)


@pytest.mark.parametrize("code", ["TypeError", "InvalidRequest", "AuthFailure", "InsufficientInstanceCapacity"])
def test_what_is_refused_is_not_asked_again(code: str) -> None:
    clients = Clients(refusal(code, 500 if code == "TypeError" else 400))
    with pytest.raises(CloudError):
        sender(clients, Recorder()).ask("DescribeInstances", {})
    assert clients.sent == 1


def test_pauses_are_random() -> None:
    clock = Recorder()
    deadline = Sender(SETTINGS, Limits(), Redactor(), clock).deadline(10_000)
    for _ in range(200):
        deadline.pauses = 3
        assert deadline.pause()
    assert 4 <= min(clock.pauses) < 6 < 10 < max(clock.pauses) <= 12


def test_acts_may_take_minutes_and_listings_one() -> None:
    limits = Limits()
    assert limits.of_launch(1) >= 300
    assert limits.of_launch(100) >= 900
    assert limits.terminate_seconds > 120
    assert 30 + 20 < limits.read_seconds <= 60


def test_three_threads_may_send_at_the_same_time() -> None:
    """Each is under way while the others are, with one shared client between the questions."""
    clients = Clients()
    clients.meeting = threading.Barrier(3, timeout=60)
    made = sender(clients, Recorder())
    answers: list[dict[str, Any]] = []
    calls = (
        lambda: answers.append(made.ask("DescribeInstances", {"of": 1})),
        lambda: answers.append(made.ask("RunInstances", {"of": 2}, Repeat.NEVER)),
        lambda: answers.append(made.ask("DescribeInstances", {"of": 3})),
    )
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer["of"] for answer in answers) == [1, 2, 3]
    assert clients.made == 2


def test_keys_that_were_refused_are_looked_for_again() -> None:
    clients = Clients(refusal("AuthFailure", 401))
    made = sender(clients, Recorder())
    with pytest.raises(CloudError):
        made.ask("DescribeInstances", {})
    assert clients.made == 0
    made.ask("DescribeInstances", {})
    assert clients.made == 1
