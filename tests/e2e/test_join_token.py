"""A worker joins HTCondor by a token that the user elastiq fetched for its launch, and that nothing shows."""

from __future__ import annotations

import base64
import json
import re

import pytest

from tests.e2e import configurations
from tests.e2e.conftest import PoolMaker
from tests.e2e.harness import ElasticCluster
from tests.testbed.batch import wait_until
from tests.testbed.rootfs import SERVICE_USER

FETCH = "/usr/bin/condor_token_fetch -lifetime 300 -authz READ -authz ADVERTISE_STARTD -authz ADVERTISE_MASTER"


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
        said = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert said["exp"] - said["iat"] == 300
        assert said["scope"].split() == ["condor:/READ", "condor:/ADVERTISE_STARTD", "condor:/ADVERTISE_MASTER"]
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
