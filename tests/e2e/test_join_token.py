"""A worker joins HTCondor by a token that the user elastiq fetched for its launch, that is shown nowhere, and good for
nothing else."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster
from tests.testbed.batch import wait_until
from tests.testbed.machines import Machine
from tests.testbed.rootfs import JOB_USER, SERVICE_USER

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial-htcondor.md"
(DAY,) = re.findall(r"^user_data_token_command = (.+)$", TUTORIAL.read_text(), re.MULTILINE)
FETCH = DAY.replace("-lifetime 86400", "-lifetime 300")
"""What the tutorial says, but for minutes."""


RIGHTS = ("READ", "ADVERTISE_STARTD", "ADVERTISE_MASTER")
OTHER_RIGHTS = ("WRITE", "ADMINISTRATOR", "DAEMON", "NEGOTIATOR", "ADVERTISE_SCHEDD")

HOLDER = """#!/bin/sh
umask 077; mkdir -p ~/read; printf '%s\\n' "$1" >~/read/token; shift
export _CONDOR_SEC_TOKEN_DIRECTORY=$HOME/read _CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS
condor_ping -type collector -table "$@"
condor_ping -type schedd -table "$@"
condor_token_fetch -lifetime 864000
"""
"""What a job could try that has read a token on a worker."""


def said_by(token: str) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return said


def decisions(head: Machine, token: str) -> tuple[set[tuple[str, str]], str]:
    """Return which rights one has by a token on the head node, and what one is given who asks for another token."""
    asked = ("sh", "-c", HOLDER, "sh", token, *RIGHTS, *OTHER_RIGHTS)
    answers = [line for line in head.run(*asked, user=JOB_USER, check=False).stdout.splitlines() if line.strip()]
    words = [line.split() for line in answers]
    return {(line[0], line[4]) for line in words if line[0] in RIGHTS + OTHER_RIGHTS}, answers[-1]


@pytest.mark.real
def test_a_token_of_a_launch_is_good_for_joining_alone(make_htcondor: PoolMaker) -> None:
    """And whoever has it gets no other that is good for more, or for longer."""
    head = make_htcondor().head
    token = head.run(*FETCH.split(), user=SERVICE_USER).stdout.strip()
    found, answer = decisions(head, token)
    assert found == {(right, "ALLOW") for right in RIGHTS} | {(right, "FAIL") for right in OTHER_RIGHTS}
    another = said_by(answer)
    assert (another["exp"], another["scope"]) == (said_by(token)["exp"], said_by(token)["scope"])

    short = head.run(*FETCH.replace("300", "2").split(), user=SERVICE_USER).stdout.strip()
    wait_until(
        lambda: decisions(head, short)[0] == {(right, "FAIL") for right in RIGHTS + OTHER_RIGHTS}, "it to be expired"
    )


@pytest.mark.real
def test_a_worker_joins_by_the_token_of_its_launch(make_htcondor: PoolMaker) -> None:
    pool = make_htcondor()
    pool.worker_token = "%join_token%"
    with ElasticCluster(pool) as cluster:
        cluster.ec2 = {**cluster.ec2, "user_data_token_command": FETCH}
        cluster.configure(configurations.own(cluster, max_vms="1"))
        cluster.elastiqctl("start", check=True)
        pool.submit(1, 3600)
        wait_until(lambda: len(pool.busy()) == 1, "the job runs", detail=pool.queue)
        (vm,) = cluster.cloud.vms.values()
        (token,) = re.findall(r"^pool_token='(.+)'$", vm.user_data.decode(), re.MULTILINE)
        said = said_by(token)
        assert said["exp"] - said["iat"] == 300
        assert said["scope"].split() == [f"condor:/{right}" for right in RIGHTS]
        identities = pool.head.run("condor_status", "-af", "AuthenticatedIdentity").stdout.split()
        assert {*identities, said["sub"]} == {f"{SERVICE_USER}@pool.example"}

        shown = "".join(
            cluster.elastiqctl(*words.split()).stdout for words in ("status", "why", "vms", "plan --json", "history")
        )
        assert vm.id in shown
        pieces = [piece[start : start + 12] for piece in token.split(".")[1:] for start in range(0, len(piece), 12)]
        assert not [piece for piece in pieces[:-1] if piece in shown + cluster.log()]
        kept = ("/home", "/var/lib/elastiq", "/tmp", "/run")
        assert pool.head.run("find", *kept, "-name", "elastiq.db", check=False).stdout, "the state is in none of these"
        searched = ("grep", "-rlF", "-e", token.split(".")[1], "-e", token.split(".")[2], *kept)
        assert not pool.head.run(*searched, check=False).stdout
