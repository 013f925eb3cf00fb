"""What a cloud refuses of a request, and how that is found out: hardly any says it in the same way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

from elastiq.ec2.codes import OUTAGE_CODES
from elastiq.ec2.errors import RequestError
from elastiq.errors import CloudFault

logger = logging.getLogger("elastiq.ec2")

INSTANCE_TYPES = "DescribeInstanceTypes"

API_VERSION = "api_version"
"""Kept among what the cloud refuses, so that a user is told once, and not at every start, that it is ignored."""

MARKET = "InstanceMarketOptions"

_SERVED = {MARKET: "VMs that were to be of the spot market are launched on demand from now on"}
"""What is done about features whose lack costs something."""

Offered = dict[str, dict[str, Any]]
"""What a request has beside what it needs: the parameters of each feature, by its name."""

# Names of features, as `refused` gives them, and the words that a complaint about one has.
_WORDS = {
    "TagSpecifications": ("tagspecification",),
    MARKET: ("instancemarketoption", "markettype"),
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
    """What one cloud was found to refuse. Safe in several threads; of launches there is one at a time."""

    def __init__(self, refused: frozenset[str], *, takes_all: bool) -> None:
        """`takes_all`: it is known to take every feature, and fails for other reasons only."""
        self._lock = threading.Lock()
        self._refused = refused
        self._takes_all = takes_all
        self._taken: frozenset[str] = frozenset()
        self._blamed: frozenset[str] = frozenset()
        """Found once to be refused by a failure that may have been a passing one."""
        self._unclear: frozenset[str] = frozenset()
        """Left out of the last launch, and one of them at least is refused."""
        self.unfinished: Search | None = None
        """The search of a launch that has not succeeded so far."""

    @property
    def refused(self) -> frozenset[str]:
        return self._refused

    @property
    def taken(self) -> frozenset[str]:
        """What the last launch that had it in it showed the cloud to take."""
        return self._taken

    @property
    def unclear(self) -> frozenset[str]:
        return self._unclear

    def offerable(self, offered: Offered) -> Offered:
        """Return `offered` without what the cloud refuses."""
        return {name: values for name, values in offered.items() if name not in self._refused}

    def suspects(self, failure: RequestError, offered: Iterable[str]) -> set[str]:
        """Return which of the offered features a launch may have failed for: those that are named, or else those that
        no launch has shown to be taken.
        """
        if self._takes_all or failure.is_foreign or (failure.retryable and failure.status != 500):
            return set()
        if failure.code in OUTAGE_CODES:
            return set()
        said = named(failure, offered)
        if said or failure.fault is CloudFault.CAPACITY or failure.fault is CloudFault.THROTTLED:
            return said
        vague = failure.status == 500 or failure.code in ("UnknownParameter", "UnsupportedOperation", "InvalidRequest")
        return (set(offered) - self._taken or set(offered)) if vague else set()

    def note(self, name: str, message: str) -> None:
        """Say `message` if it was never said of this cloud."""
        if name not in self._refused:
            self._refuse(name)
            logger.warning("%s", message)

    def learn(self, refused: Iterable[str]) -> None:
        """Remember what the cloud was seen to refuse."""
        for name in sorted(set(refused) - self._refused):
            self._refuse(name)
            level = logging.WARNING if name in _SERVED else logging.INFO
            logger.log(level, "this cloud refuses %s: %s", name, _SERVED.get(name, "it is served without from now on"))

    def learn_from_launch(self, taken: Iterable[str], refused: dict[str, bool], unclear: Iterable[str]) -> None:
        """Remember how a launch went: with what it succeeded, without which single feature (and whether that is sure),
        and what else had to be left out.

        What is not sure is believed when it happens again, with no launch that took it in between.
        """
        unsure = {name for name, sure in refused.items() if not sure}
        believed = set(refused) - (unsure - self._blamed)
        with self._lock:
            self._taken = (self._taken | frozenset(taken)) - frozenset(refused)
            self._blamed = (self._blamed | unsure) - frozenset(taken)
            self._unclear = (frozenset(unclear) | unsure) - believed
        self.learn(believed)

    def _refuse(self, name: str) -> None:
        with self._lock:
            self._refused |= {name}


class Search:
    """What one launch offers, try by try, until it is taken; what is refused is found out by halves.

    A launch that succeeds ends the search. What it leaves open is gone on with in the next launch, and so is the
    search of a launch that fails: for other reasons, or because there was no time for another try.
    """

    def __init__(self, features: Features, offered: Offered) -> None:
        self._features = features
        self._offered = features.offerable(offered)
        self._left_out: set[str] = set()
        self._unclear = [name for name in self._offered if name in features.unclear]
        self._failed: list[tuple[set[str], bool]] = []
        self._kept = self._with_half()
        before = features.unfinished
        if before is not None and before._offered.keys() == self._offered.keys():
            self._left_out, self._unclear = before._left_out, before._unclear
            self._failed, self._kept = before._failed, before._kept

    @property
    def kept(self) -> Offered:
        """What the next try offers."""
        return {name: values for name, values in self._offered.items() if name in self._kept}

    def narrow(self, failure: RequestError) -> bool:
        """Given how a try failed, offer less in the next one; return False if it did not fail for what it offered."""
        suspects = self._features.suspects(failure, self._kept)
        if not suspects:
            return False
        sure = failure.status < 500 or failure.code == "TypeError"
        said = named(failure, suspects)
        if said:
            self._failed += [({name}, sure) for name in said]
        else:
            self._failed.append((set(self._kept), sure))
        if said or len(suspects) == 1:
            self._left_out |= suspects
            self._unclear = [name for name in self._unclear if name not in suspects]
            self._kept = self._with_half()
        else:
            doubtful = [name for name in self._offered if name in suspects]
            others = [name for name in self._unclear if name not in suspects]
            self._kept = self._kept - suspects | set(_half(doubtful))
            self._unclear = doubtful + others
        self._features.unfinished = self
        return True

    def succeeded(self) -> None:
        """Learn from a try that launched."""
        self._features.unfinished = None
        # A try that failed, and would have offered nothing but what has just been taken without this one feature.
        alone = [(failed - self._kept, sure) for failed, sure in self._failed]
        refused: dict[str, bool] = {}
        for names, sure in alone:
            if len(names) == 1:
                (name,) = names
                refused[name] = refused.get(name, False) or sure
        unclear = set(self._offered) - self._kept - set(refused)
        self._features.learn_from_launch(self._kept, refused, unclear)

    def _with_half(self) -> set[str]:
        return set(self._offered) - self._left_out - set(self._unclear) | set(_half(self._unclear))


def _half(names: list[str]) -> list[str]:
    return names[: max(1, len(names) // 2)]
