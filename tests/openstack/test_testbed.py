"""The testbed's OpenStack is one, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

from tests.testbed.openstack.cloud import OpenStack

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("openstack")]

CHECKOUT = Path(__file__).parents[2]
LONG = 300.0
"""Seconds; a bound against hangs."""


def test_instances_are_launched_within_the_quota_counted_and_removed(openstack: OpenStack) -> None:
    openstack.set_quota(2)
    known = openstack.facts
    launch = {"ImageId": known.image_id, "InstanceType": known.flavours[0], "KeyName": known.key_name}
    made = openstack.client().run_instances(**launch, MinCount=1, MaxCount=6)["Instances"]
    assert len(made) == len(openstack.servers()) == 2
    with pytest.raises(ClientError, match="Quota exceeded for instances"):
        openstack.client().run_instances(**launch, MinCount=1, MaxCount=1)
    assert [exchange.status for exchange in openstack.ec2.operations("RunInstances")] == [200, 403]
    openstack.remove_servers()
    assert not openstack.servers()


def test_keystone_goes_and_comes_back(openstack: OpenStack) -> None:
    openstack.stop_keystone()
    try:
        with pytest.raises(ResponseParserError):
            openstack.client().describe_images()
    finally:
        openstack.start_keystone()
    assert openstack.client().describe_images()["Images"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_one_that_was_interrupted(openstack: OpenStack, number: int) -> None:
    """Also in the middle of its start."""
    del openstack  # only for what it is built from
    mounts = Path("/proc/self/mounts").read_text()
    process = subprocess.Popen([sys.executable, "-m", "tests.testbed", "openstack"], cwd=CHECKOUT)
    namespace = _wait_for_namespace(process.pid)
    process.send_signal(number)
    process.wait(LONG)
    deadline = time.monotonic() + LONG
    while _processes_in(namespace):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert Path("/proc/self/mounts").read_text() == mounts


def _wait_for_namespace(parent: int) -> str:
    """Return the network namespace of the system that the process `parent` has made, as soon as a service runs."""
    deadline = time.monotonic() + LONG
    own = os.readlink("/proc/self/ns/net")
    while time.monotonic() < deadline:
        for child in re.findall(r"\d+", Path(f"/proc/{parent}/task/{parent}/children").read_text()):
            try:
                namespace = os.readlink(f"/proc/{child}/ns/net")
            except OSError:
                continue
            if namespace != own and len(_processes_in(namespace)) > 4:
                return namespace
        time.sleep(0.05)
    raise AssertionError("no system came up")


def _processes_in(namespace: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(process / "ns/net") == namespace:
                found.append(process.name)
        except OSError:
            continue
    return found
