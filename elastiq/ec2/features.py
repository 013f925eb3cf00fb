"""What a cloud refuses of a request, and how that is found out: hardly any says it in the same way."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from elastiq.ec2.errors import OUTAGE_CODES, RequestError
from elastiq.errors import CloudFault

logger = logging.getLogger("elastiq.ec2")

INSTANCE_TYPES = "DescribeInstanceTypes"

Offered = dict[str, dict[str, Any]]
"""What a request has beside what it needs: the parameters of each feature, by its name."""

# Names of features, as `refused` gives them, and the words that a complaint about one has.
_WORDS = {
    "TagSpecifications": ("tagspecification",),
    "MetadataOptions": ("metadataoption", "httptokens"),
    "InstanceInitiatedShutdownBehavior": ("shutdownbehavior",),
    "MaxResults": ("maxresult",),
    "Filter:tag": ("filter",),
    "Filter:client-token": ("filter",),
}


def parameters(offered: Offered) -> dict[str, Any]:
    """Return the parameters of all that is offered."""
    return {name: value for values in offered.values() for name, value in values.items()}


def named(failure: RequestError, offered: Iterable[str]) -> set[str]:
    """Return which of the offered features a failure complains of in words."""
    return {name for name in offered if failure.names_parameter(_WORDS[name])}


class Features:
    """What one cloud was found to refuse."""

    def __init__(self, refused: frozenset[str], *, takes_all: bool) -> None:
        """`takes_all`: it is known to take every feature, and fails for other reasons only."""
        self._refused = set(refused)
        self._suspected: set[str] = set()
        self._takes_all = takes_all

    @property
    def refused(self) -> frozenset[str]:
        return frozenset(self._refused)

    def offerable(self, offered: Offered) -> Offered:
        """Return `offered` without what the cloud refuses."""
        return {name: values for name, values in offered.items() if name not in self._refused}

    def suspects(self, failure: RequestError, offered: Iterable[str]) -> set[str]:
        """Return which of the offered features a launch may have failed for."""
        if self._takes_all or (failure.retryable and failure.status != 500) or failure.code in OUTAGE_CODES:
            return set()
        said = named(failure, offered)
        if said or failure.fault is CloudFault.CAPACITY or failure.fault is CloudFault.THROTTLED:
            return said
        vague = failure.status == 500 or failure.code in ("UnknownParameter", "UnsupportedOperation", "InvalidRequest")
        return set(offered) if vague else set()

    def took(self, offered: Iterable[str]) -> None:
        """Suspect nothing any more that the cloud has just taken."""
        self._suspected.difference_update(offered)

    def learn(self, refused: Iterable[str], *, sure: bool) -> None:
        """Remember what the cloud refused; what is not sure only when it happens for the second time, with no launch
        that took it in between, since the first may have been a passing failure.
        """
        for name in refused:
            if name in self._refused:
                continue
            if sure or name in self._suspected:
                self._refused.add(name)
                logger.warning("this cloud refuses %s: it is served without from now on", name)
            self._suspected.add(name)
