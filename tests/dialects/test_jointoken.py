"""A launch with a join token, refused, lost and asked for again: no second token for one launch, no second VM."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.ec2 import Ec2
from elastiq.errors import CloudError
from tests.dialects.rig import POOL, REFUSED, cloud
from tests.testbed.proxy import Ec2Endpoint

pytestmark = pytest.mark.xdist_group("dialects")

MAKER = """#!/bin/sh
echo run >>"$0.runs"
read -r token </proc/sys/kernel/random/uuid
echo "$token"
"""
"""Prints another token whenever it is run."""


@pytest.fixture
def maker(tmp_path: Path) -> Path:
    path = tmp_path / "make-token"
    path.write_text(MAKER)
    path.chmod(0o755)
    return path


def with_token(endpoint: Ec2Endpoint, maker: Path) -> Ec2:
    command, place = (str(maker),), b"#!/bin/sh\njoin '%join_token%'\n"
    refused = frozenset(REFUSED) if endpoint.dialect == "openstack" else frozenset[str]()
    return cloud(endpoint, refused, user_data_token_command=command, user_data=place)


def runs(maker: Path) -> int:
    return len(Path(f"{maker}.runs").read_text().splitlines())


def test_vms_of_one_launch_share_a_join_token_and_others_have_another(either: Ec2Endpoint, maker: Path) -> None:
    ec2 = with_token(either, maker)
    given = []
    for token in ("token-1", "token-2"):
        made = ec2.launch(POOL, 2, token)
        given.append({either.vms[vm.id].user_data for vm in made})
    assert [len(one) for one in given] == [1, 1]
    assert given[0].isdisjoint(given[1])
    assert runs(maker) == 2


def test_a_launch_that_is_sent_again_within_its_time_has_the_same_join_token(either: Ec2Endpoint, maker: Path) -> None:
    either.inject("RunInstances", status=503, code="RequestLimitExceeded", times=3)
    with_token(either, maker).launch(POOL, 2, "token-1")
    sent = either.operations("RunInstances")
    assert len(sent) == 4
    assert len({request.parameters["UserData"] for request in sent}) == 1
    assert runs(maker) == 1


def test_a_lost_launch_that_is_asked_for_again_is_the_same_request(aws: Ec2Endpoint, maker: Path) -> None:
    ec2 = with_token(aws, maker)
    aws.inject("RunInstances", status=500, code="InternalError", after_effect=True)
    with pytest.raises(CloudError) as failed:
        ec2.launch(POOL, 2, "token-1")
    assert failed.value.uncertain
    assert {vm.id for vm in ec2.launch(POOL, 2, "token-1")} == {vm.id for vm in aws.alive()}
    assert runs(maker) == 1
    assert aws.max_alive == 2


def test_a_lost_launch_that_another_process_asks_for_again_is_left_to_the_listings(
    aws: Ec2Endpoint, maker: Path
) -> None:
    """That one does not know the token, which is kept nowhere: EC2 says that the first request was carried out."""
    aws.inject("RunInstances", status=500, code="InternalError", after_effect=True)
    with pytest.raises(CloudError):
        with_token(aws, maker).launch(POOL, 2, "token-1")
    again = with_token(aws, maker)
    with pytest.raises(CloudError, match=r"IdempotentParameterMismatch.*earlier request will be looked for") as failed:
        again.launch(POOL, 2, "token-1")
    assert failed.value.uncertain, "or the VMs would be given up"
    assert [vm.client_token for vm in again.list_instances(everything=False)] == ["token-1"] * 2
    assert aws.max_alive == 2


def test_without_a_join_token_nothing_is_sent(either: Ec2Endpoint, maker: Path) -> None:
    maker.write_text("#!/bin/sh\necho 'no signing key' >&2\nexit 1\n")
    with pytest.raises(CloudError, match="exit status 1: no signing key") as failed:
        with_token(either, maker).launch(POOL, 2, "token-1")
    assert not failed.value.uncertain
    assert not either.requests
