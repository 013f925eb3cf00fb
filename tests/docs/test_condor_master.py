"""What docs/operations.md says of elastiq under condor_master, on a real head node."""

from __future__ import annotations

import re

import pytest

from tests.docs.blocks import TOP, blocks
from tests.e2e import configurations
from tests.e2e.harness import ElasticCluster
from tests.testbed.batch import wait_until
from tests.testbed.htcondor_pool import HtcondorPool
from tests.testbed.machines import CHECKOUT, Network
from tests.testbed.rootfs import UnavailableError, rootfs

LONG = 180
"""Seconds; a bound against hangs."""
PREPARATION = """
for directory in /var/lib/elastiq /var/log/elastiq; do install -d -o elastiq -g elastiq -m 0700 $directory; done
install -d -o condor -g condor /share/condor-locks
cat >/etc/condor/config.d/60-elastiq.conf
condor_restart -master
"""


def configuration(highly_available: bool) -> str:
    """Return the lines of the page, with elastiq where the testbed has it."""
    page = blocks(TOP / "docs/operations.md")
    (daemon,) = (block.text for block in page if block.language == "condor")
    (stand_in,) = (block.text for block in page if block.text.startswith("MASTER_HA_LIST"))
    text = daemon.replace("/usr/bin/elastiq-real.py", f"/usr/bin/python3 {CHECKOUT}/scripts/elastiq-real.py")
    return re.sub(r"^DAEMON_LIST = .*\n", stand_in, text, flags=re.MULTILINE) if highly_available else text


@pytest.mark.real
@pytest.mark.parametrize("highly_available", [False, True], ids=["daemon-list", "ha-list"])
def test_condor_master_runs_elastiq(highly_available: bool) -> None:
    try:
        rootfs()
    except UnavailableError as reason:
        pytest.skip(str(reason))
    with Network() as network:
        batch = HtcondorPool(network)
        with ElasticCluster(batch, user="") as cluster:
            cluster.configure(configurations.own(cluster, min_vms="1", max_vms="1"))
            batch.head.run("sh", "-euc", PREPARATION, stdin=configuration(highly_available))
            wait_until(lambda: cluster.elastiqctl("status").returncode == 0, "elastiq runs", LONG, cluster.log)
            wait_until(lambda: len(cluster.alive()) == 1, "the minimum is launched", LONG, cluster.log)
            batch.head.run("condor_reconfig")
            wait_until(lambda: "was read again and is in force" in cluster.log(), "it was told to reload", LONG)
            batch.head.run("condor_off", "-daemon", "elastiq")
            wait_until(lambda: "elastiq has stopped on SIGTERM" in cluster.log(), "it was told to end", LONG)
            assert len(cluster.alive()) == 1
            if not highly_available:
                batch.head.run("condor_on", "-daemon", "elastiq")
                wait_until(lambda: cluster.elastiqctl("status").returncode == 0, "it runs again", LONG, cluster.log)
