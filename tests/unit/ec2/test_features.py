"""What a cloud is found to refuse: what it names, what is found out by halves, and when that is believed."""

from __future__ import annotations

import logging
from itertools import combinations

import pytest

from elastiq.ec2.errors import RequestError
from elastiq.ec2.features import Features, Offered, Search, named, parameters
from elastiq.errors import CloudFault

TAGS, IMDS, SHUTDOWN = "TagSpecifications", "MetadataOptions", "InstanceInitiatedShutdownBehavior"
OFFERED: Offered = {
    TAGS: {"TagSpecifications": [{"ResourceType": "instance"}]},
    IMDS: {"MetadataOptions": {"HttpTokens": "required"}},
    SHUTDOWN: {"InstanceInitiatedShutdownBehavior": "terminate"},
}
EVERY_SUBSET = [frozenset(some) for size in range(4) for some in combinations(OFFERED, size)]


def failure(fault: CloudFault, code: str = "", status: int = 0, message: str = "", **more: bool) -> RequestError:
    return RequestError("failed", fault, code, status, message, **more)


VAGUE = failure(CloudFault.UNREACHABLE, "UnknownError", 500)
OF_OPENSTACK = failure(CloudFault.UNREACHABLE, "TypeError", 500)


def features(*refused: str, takes_all: bool = False) -> Features:
    return Features(frozenset(refused), takes_all=takes_all)


def launch(made: Features, refused: frozenset[str], error: RequestError = OF_OPENSTACK, passing: int = 0) -> int:
    """Launch on a cloud that refuses some features; return the number of tries; the first `passing` fail anyway."""
    search = Search(made, OFFERED)
    for tries in range(1, 10):
        if tries > passing and not refused & set(search.kept):
            search.succeeded()
            return tries
        assert search.narrow(error)
    raise AssertionError("the search does not end")


def test_what_is_refused_is_not_offered() -> None:
    offered = features(TAGS, SHUTDOWN).offerable(OFFERED)
    assert parameters(offered) == {"MetadataOptions": {"HttpTokens": "required"}}
    assert parameters(features().offerable(OFFERED)).keys() == OFFERED.keys()


@pytest.mark.parametrize("said", ["HttpTokens is not recognized", "metadata_options", "MetadataOptions.1"])
def test_what_is_named_is_known_however_it_is_spelled(said: str) -> None:
    refusal = failure(CloudFault.CONFIGURATION, "InvalidParameter", 400, said)
    assert named(refusal, OFFERED) == features().suspects(refusal, OFFERED) == {IMDS}
    made = features()
    search = Search(made, OFFERED)
    assert search.narrow(refusal)
    assert set(search.kept) == {TAGS, SHUTDOWN}
    search.succeeded()
    assert made.refused == {IMDS}


@pytest.mark.parametrize(
    ("error", "suspected"),
    [
        (VAGUE, True),
        (OF_OPENSTACK, True),
        (failure(CloudFault.CONFIGURATION, "UnknownParameter", 400), True),
        (failure(CloudFault.CONFIGURATION, "InvalidAMIID.NotFound", 400), False),
        (failure(CloudFault.UNREACHABLE, "InternalError", 500), False),
        (failure(CloudFault.UNREACHABLE, "502", 502), False),
        (failure(CloudFault.UNREACHABLE, "", 500, is_foreign=True), False),
        (failure(CloudFault.CAPACITY, "InsufficientInstanceCapacity", 500), False),
        (failure(CloudFault.THROTTLED, "RequestLimitExceeded", 503), False),
    ],
)
def test_of_a_vague_failure_everything_is_suspected(error: RequestError, suspected: bool) -> None:
    assert features().suspects(error, OFFERED) == (set(OFFERED) if suspected else set())
    assert Search(features(), OFFERED).narrow(error) == suspected


def test_a_cloud_that_takes_all_is_never_suspected() -> None:
    assert features(takes_all=True).suspects(VAGUE, OFFERED) == set()


@pytest.mark.parametrize("refused", EVERY_SUBSET, ids=lambda some: "+".join(sorted(some)) or "nothing")
@pytest.mark.parametrize(("error", "launches"), [(OF_OPENSTACK, 3), (VAGUE, 6)], ids=["sure", "vague"])
def test_what_a_cloud_refuses_is_found_out_and_nothing_else_is_blamed(
    refused: frozenset[str], error: RequestError, launches: int
) -> None:
    made = features()
    tries = 0
    for _ in range(launches):
        once = launch(made, refused, error)
        assert once <= 5
        tries += once
        assert made.refused <= refused
    assert made.refused == refused
    assert tries <= launches + 10
    assert launch(made, refused, error) == 1, "nothing is left to find out"
    assert set(OFFERED) - refused <= made.taken


def test_openstack_is_found_out_in_its_first_launch() -> None:
    made = features()
    assert launch(made, frozenset({TAGS, IMDS})) == 4
    assert made.refused == {TAGS, IMDS}


@pytest.mark.parametrize("passing", [1, 2, 3])
def test_passing_failures_teach_nothing(passing: int) -> None:
    made = features()
    launch(made, frozenset(), VAGUE, passing)
    for _ in range(4):
        launch(made, frozenset(), VAGUE)
    assert made.refused == frozenset()
    assert made.taken == set(OFFERED)


def test_what_is_not_sure_is_believed_the_second_time_unless_it_was_taken_in_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    made = features(TAGS, IMDS)
    assert launch(made, frozenset(), VAGUE, passing=1) == 2
    assert launch(made, frozenset(), VAGUE) == 1, "it was taken"
    assert launch(made, frozenset(), VAGUE, passing=1) == 2
    assert SHUTDOWN not in made.refused
    assert launch(made, frozenset(), VAGUE, passing=1) == 2
    assert SHUTDOWN in made.refused
    assert caplog.text.count("this cloud refuses") == 1


def test_a_launch_that_never_succeeds_teaches_nothing() -> None:
    made = features()
    search = Search(made, OFFERED)
    for _ in range(9):
        if not search.narrow(OF_OPENSTACK):
            break
    assert search.kept == {}
    assert made.refused == frozenset()


def test_a_cloud_that_refuses_what_it_took_before_is_found_out_again() -> None:
    made = features()
    launch(made, frozenset())
    for _ in range(3):
        launch(made, frozenset({IMDS}))
    assert made.refused == {IMDS}


def test_what_is_noted_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    made = features()
    for _ in range(2):
        made.note("api_version", "it is ignored")
    assert caplog.text.count("it is ignored") == 1
    assert made.refused == {"api_version"}
