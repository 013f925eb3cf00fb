"""Errors that elastiq raises on purpose; each message names what happened, to what, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

from elastiq.model import Scope


class ElastiqError(Exception):
    """Base of every error that elastiq raises on purpose."""


class ConfigError(ElastiqError):
    """The configuration cannot be used. `problems` holds every problem found, one line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class BatchError(ElastiqError):
    """The batch system did not answer, or answered what cannot be believed. Never means "no jobs"."""


class PluginError(BatchError):
    """A batch plugin raised what it must not raise, or its answer breaks the contract."""


class NoticeError(ElastiqError):
    """A notice did not arrive; the message says what the receiver answered."""


class TraceError(ElastiqError):
    """Recorded jobs cannot be read, or there are none."""


class StateError(ElastiqError):
    """The state directory cannot be used (no permission, disk full, another daemon holds it)."""


class CloudFault(Enum):
    """What kind of trouble a cloud request met; decides what is done next."""

    UNREACHABLE = "unreachable"
    """No answer, a broken answer or a server error: it may or may not have taken effect."""
    UNSENT = "unsent"
    """The request never left, for there is no connection. Nothing happened."""
    BUSY = "busy"
    """The request was not sent, since elastiq still waits for the answer to another one. Nothing happened, and the
    cloud has not failed."""
    PENDING = "pending"
    """The request was sent, and its answer is still to come: it may take effect."""
    THROTTLED = "throttled"
    """Refused for now; nothing happened."""
    CAPACITY = "capacity"
    """Quota used up or no capacity in the zone; nothing happened."""
    CONFIGURATION = "configuration"
    """A wrong image, flavour, subnet, key, ...; nothing happened and nothing will until it is mended."""
    CREDENTIALS = "credentials"
    """Keys missing, wrong or not allowed to do this; nothing happened."""
    JOIN_TOKEN = "join token"  # noqa: S105
    """The request was not made, for the command that makes join tokens made none. The cloud has not failed."""
    NOT_FOUND = "not found"
    """The instance does not exist (any more)."""


class CloudError(ElastiqError):
    """A cloud request failed. Its text carries neither keys nor user data."""

    def __init__(self, message: str, fault: CloudFault = CloudFault.UNREACHABLE, scope: Scope = Scope.OFFER) -> None:
        super().__init__(message)
        self.fault = fault
        self.scope = scope
        """If the fault is CAPACITY: what there is no room for."""

    @property
    def retryable(self) -> bool:
        """True when the same request may succeed later without anybody changing anything."""
        return self.fault in (CloudFault.UNREACHABLE, CloudFault.UNSENT, CloudFault.THROTTLED, CloudFault.CAPACITY)

    @property
    def uncertain(self) -> bool:
        """True when the request may have taken effect although it failed."""
        return self.fault in (CloudFault.UNREACHABLE, CloudFault.PENDING)


class PendingError(CloudError):
    """A request was sent, and its answer is still to come."""

    def __init__(self, message: str, answer: Callable[[], Any]) -> None:
        super().__init__(message, CloudFault.PENDING)
        self.answer = answer
        """Returns or raises what the request came to; raises PendingError again while there is no answer."""
