"""What a cloud is found to refuse: what it names, what is suspected, and when that is believed."""

from __future__ import annotations

import pytest

from elastiq.ec2.errors import RequestError
from elastiq.ec2.features import Features, Offered, named, parameters
from elastiq.errors import CloudFault

OFFERED: Offered = {
    "TagSpecifications": {"TagSpecifications": [{"ResourceType": "instance"}]},
    "MetadataOptions": {"MetadataOptions": {"HttpTokens": "required"}},
}


def failure(fault: CloudFault, code: str = "", status: int = 0, message: str = "") -> RequestError:
    return RequestError("failed", fault, code, status, message)


VAGUE = failure(CloudFault.UNREACHABLE, "UnknownError", 500)


def features(*refused: str, takes_all: bool = False) -> Features:
    return Features(frozenset(refused), takes_all=takes_all)


def test_what_is_refused_is_not_offered() -> None:
    offered = features("TagSpecifications").offerable(OFFERED)
    assert parameters(offered) == {"MetadataOptions": {"HttpTokens": "required"}}
    assert parameters(features().offerable(OFFERED)).keys() == OFFERED.keys()


@pytest.mark.parametrize("said", ["HttpTokens is not recognized", "metadata_options", "MetadataOptions.1"])
def test_what_is_named_is_known_however_it_is_spelled(said: str) -> None:
    refusal = failure(CloudFault.CONFIGURATION, "InvalidParameter", 400, said)
    assert named(refusal, OFFERED) == features().suspects(refusal, OFFERED) == {"MetadataOptions"}


@pytest.mark.parametrize(
    ("error", "suspected"),
    [
        (VAGUE, True),
        (failure(CloudFault.CONFIGURATION, "UnknownParameter", 400), True),
        (failure(CloudFault.CONFIGURATION, "InvalidAMIID.NotFound", 400), False),
        (failure(CloudFault.UNREACHABLE, "InternalError", 500), False),
        (failure(CloudFault.UNREACHABLE, "502", 502), False),
        (failure(CloudFault.CAPACITY, "InsufficientInstanceCapacity", 500), False),
        (failure(CloudFault.THROTTLED, "RequestLimitExceeded", 503), False),
    ],
)
def test_of_a_vague_failure_everything_is_suspected(error: RequestError, suspected: bool) -> None:
    assert features().suspects(error, OFFERED) == (set(OFFERED) if suspected else set())


def test_a_cloud_that_takes_all_is_never_suspected() -> None:
    assert features(takes_all=True).suspects(VAGUE, OFFERED) == set()


def test_a_suspicion_is_believed_the_second_time_unless_it_was_taken_in_between(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = features()
    made.learn(OFFERED, sure=False)
    assert made.refused == frozenset()
    made.took(["TagSpecifications"])
    made.learn(OFFERED, sure=False)
    assert made.refused == {"MetadataOptions"}
    made.learn(["TagSpecifications"], sure=True)
    assert made.refused == set(OFFERED)
    made.learn(OFFERED, sure=True)
    assert caplog.text.count("this cloud refuses") == 2
