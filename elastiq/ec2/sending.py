"""How requests are sent: each ends by its deadline, and what the cloud has no time for is asked again until then."""

from __future__ import annotations

import random
import re
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any, Protocol, TypeVar

from elastiq.clock import Clock, Time
from elastiq.config import Settings
from elastiq.ec2 import bounds
from elastiq.ec2.client import OPERATIONS, ClientMaker
from elastiq.ec2.errors import REQUEST_ERRORS, RequestError, explain
from elastiq.ec2.foreign import place_of
from elastiq.errors import CloudError, CloudFault
from elastiq.redaction import Redactor

MAX_STUCK_REQUESTS = 4
"""So many requests may hang beyond their deadline before no further one is sent."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 16.0
"""Pauses before a request is sent again double, from the first to the longest, and each is between half and one and a
half of that: heads of clusters that were refused together do not come back together."""

Result = TypeVar("Result")
Send = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Limits:
    """How long a request may take, in seconds."""

    connect_seconds: float = 5.0
    read_seconds: float = 60.0
    """Longest silence within an answer, but for those below. A busy OpenStack was seen to list for 50 s."""
    terminate_seconds: float = 180.0
    """Longest silence of a TerminateInstances, and how long one may take with all that is tried in it: of one that is
    given up nobody knows what became of its VMs, and they are waited for or asked for again."""
    launch_seconds: float = 300.0
    """Longest silence of a RunInstances, and how long a launch may take with all that is tried in it. Only AWS answers
    within seconds. OpenStack makes one VM after the other before it says a word, an idle one about 1.4 s each and a
    busy one many times that, and a launch whose answer nobody waits for is in doubt for minutes: it holds its place in
    the quota, and what the cloud refused is never told."""
    launch_seconds_per_vm: float = 6.0
    """Added for each VM of a launch."""
    attempts: int = 3
    """Of requests that may be repeated."""
    deadline_seconds: float = 120.0
    """Of a whole request with all its attempts and pages, however slowly the answer drips."""

    def of_launch(self, vms: int) -> float:
        """Return how long a launch of so many VMs may take."""
        return self.launch_seconds + self.launch_seconds_per_vm * vms


class Sleeper(Time, Protocol):
    """A clock that can wait."""

    def sleep(self, seconds: float) -> None:
        """Wait for so long."""


class Repeat(Enum):
    """What of a request's failures lets it be sent again. A throttled request did nothing, so it always is."""

    QUESTION = "whatever failed, Limits.attempts times"
    IDEMPOTENT = "a busy cloud: once or twice is the same"
    NEVER = "nothing but throttling"


@dataclass
class Deadline:
    """The moment by which something has to end, and the pauses on the way to it."""

    clock: Sleeper
    seconds: float
    uniform: Callable[[float, float], float] = random.uniform
    ends_at: float = field(init=False)
    pauses: int = 0

    def __post_init__(self) -> None:
        self.ends_at = self.clock.now() + self.seconds

    @property
    def seconds_left(self) -> float:
        return self.ends_at - self.clock.now()

    def pause(self) -> bool:
        """Wait before something is tried again, longer each time; at once return False if it would be too late then."""
        usual = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0**self.pauses)
        seconds = usual * self.uniform(0.5, 1.5)
        if seconds >= self.seconds_left:
            return False
        self.pauses += 1
        self.clock.sleep(seconds)
        return True


class Sender:
    """Sends requests to one cloud, each in a thread of its own. One that hangs beyond its deadline is left behind, and
    later requests use new connections. Safe in several threads.
    """

    def __init__(
        self,
        settings: Settings,
        limits: Limits,
        redactor: Redactor,
        clock: Sleeper | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        operations: frozenset[str] = OPERATIONS,
    ) -> None:
        self.limits = limits
        self.clients = ClientMaker(settings, limits.connect_seconds, operations)
        self._options = settings.ec2
        self._redactor = redactor
        self._clock = clock or Clock()
        self._uniform = uniform
        self._lock = threading.Lock()
        """Held for moments, never during a request."""
        self._client: Any = None
        self._stuck: list[threading.Thread] = []

    def deadline(self, seconds: float) -> Deadline:
        """Return the deadline that is so far away."""
        return Deadline(self._clock, seconds, self._uniform)

    def ask(
        self,
        operation: str,
        parameters: Mapping[str, Any],
        repeat: Repeat = Repeat.QUESTION,
        *,
        seconds: float | None = None,
        read_seconds: float | None = None,
    ) -> dict[str, Any]:
        """Send one request and return its answer. Raise CloudError."""
        return self.converse(
            operation, lambda send: send(parameters), repeat, seconds=seconds, read_seconds=read_seconds
        )

    def converse(
        self,
        operation: str,
        work: Callable[[Send], Result],
        repeat: Repeat = Repeat.QUESTION,
        *,
        seconds: float | None = None,
        read_seconds: float | None = None,
        asked: str = "",
    ) -> Result:
        """Return what `work` makes of the answers to requests of `operation`, within `seconds`. Raise CloudError.

        What is no question has a connection of its own: one that broke while it lay idle would leave it in doubt.
        """
        seconds = self.limits.deadline_seconds if seconds is None else seconds
        silence = self.limits.read_seconds if read_seconds is None else read_seconds

        def run(abandoned: threading.Event) -> Result:
            deadline = self.deadline(seconds)
            own = repeat is not Repeat.QUESTION
            client = self.clients.make(silence) if own else self._shared_client()
            try:
                call = self._method(client, operation)

                def send(parameters: Mapping[str, Any]) -> dict[str, Any]:
                    for tries in count(1):
                        if abandoned.is_set():
                            break
                        try:
                            return dict(call(**parameters))
                        except REQUEST_ERRORS as error:
                            failure = self._explained(operation, error, asked)
                        if not self._may_be_repeated(failure, repeat, tries) or not deadline.pause():
                            raise failure
                    raise CloudError(f"{operation}: nobody waits for it any more")

                return work(send)
            finally:
                if own:
                    client.close()

        return self._within(seconds, operation, run, asked)

    def _may_be_repeated(self, failure: RequestError, repeat: Repeat, tries: int) -> bool:
        if failure.fault is CloudFault.THROTTLED:
            return True
        if repeat is Repeat.NEVER:
            return False
        if failure.is_busy:
            return True
        passing = failure.fault in (CloudFault.UNREACHABLE, CloudFault.UNSENT) and failure.code != "TypeError"
        return repeat is Repeat.QUESTION and passing and tries < self.limits.attempts

    def _explained(self, operation: str, error: BaseException, asked: str = "") -> RequestError:
        failure = explain(operation, error, self._redactor, place=place_of(self._options), asked=asked)
        # botocore keeps errors in frames that they refer to: answers of megabytes would stay, for Python looks seldom.
        traceback.clear_frames(error.__traceback__)
        return failure

    def _method(self, client: Any, operation: str) -> Callable[..., Any]:
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()
        if not hasattr(client, method):
            message = f"{operation}: is not in api_version {self._options.api_version}; leave api_version out"
            raise RequestError(message, CloudFault.CONFIGURATION, "InvalidAction")
        made: Callable[..., Any] = getattr(client, method)
        return made

    def _shared_client(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = self.clients.make(self.limits.read_seconds)
            return self._client

    def _forget_credentials(self) -> None:
        with self._lock:
            self._client = None
        self.clients.forget_credentials()

    def _within(
        self, seconds: float, operation: str, work: Callable[[threading.Event], Result], asked: str = ""
    ) -> Result:
        """Return what `work` returns, or raise CloudError, within `seconds`.

        Timeouts of sockets count from byte to byte: only another thread can end a wait for an answer that drips. The
        event tells `work` that nobody waits for it any more, and cuts the connection.

        The lane's own thread is not enough. A lane knows of calls and not of their requests: a launch may be several of
        RunInstances, listings and a tagging, and a call that it left behind would go on with its next request, such as
        another RunInstances, whenever the answer came after all.
        """
        abandoned = bounds.Abandonment()
        results: list[Result] = []
        errors: list[CloudError] = []

        def run() -> None:
            bounds.abandonment.set(abandoned)
            try:
                results.append(work(abandoned))
            except CloudError as error:
                errors.append(error)
            except REQUEST_ERRORS as error:
                errors.append(self._explained(operation, error, asked))
            finally:
                abandoned.close()

        self._check_stuck(operation)
        thread = threading.Thread(target=run, name=f"elastiq-{operation}", daemon=True)
        thread.start()
        thread.join(seconds)
        if results:
            return results[0]
        if errors:
            if errors[0].fault is CloudFault.CREDENTIALS:
                self._forget_credentials()
            raise errors[0]
        abandoned.set()
        if not thread.is_alive():
            raise CloudError(f"{operation}: ended without an answer; will be tried again")
        with self._lock:
            self._stuck.append(thread)
        raise CloudError(f"{operation}: no whole answer within {seconds:.0f} s; will be tried again")

    def _check_stuck(self, operation: str) -> None:
        with self._lock:
            self._stuck = [thread for thread in self._stuck if thread.is_alive()]
            stuck = len(self._stuck)
        if stuck >= MAX_STUCK_REQUESTS:
            raise RequestError(
                f"{operation}: not sent, {stuck} earlier requests still hang; check the api_url", CloudFault.UNSENT
            )
