"""A real OpenStack whose answers come late: six VMs come and go, each launched once, and status is true meanwhile.

ELASTIQ_LATE_SECONDS says how late, as in `5 10 30 120`. tests/crash has the same with kills, at moto.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.openstack.rig import CPUS_PER_VM, Site
from tests.testbed.openstack.cloud import OpenStack
from tests.testbed.openstack.relay import Relay

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("openstack")]

DELAYS_SECONDS = [float(word) for word in os.environ.get("ELASTIQ_LATE_SECONDS", "10 30").split()]
LONGEST_LISTING_SECONDS = 30.0
"""A listing that takes longer is none: it is given up."""
VMS = 6


def made_by(relay: Relay) -> Counter[str]:
    """Return how many VMs each launch has made, by its client token."""
    made: dict[str, set[str]] = {}
    for request in relay.operations("RunInstances"):
        made.setdefault(request.parameters["ClientToken"], set()).update(_ids(request.body))
    return Counter({token: len(ids) for token, ids in made.items()})


def _ids(answer: str) -> list[str]:
    return re.findall(r"<instanceId>(i-[0-9a-f]+)", answer)


def last_action(site: Site) -> str:
    """Return what status shows, without the time."""
    shown = re.findall(r"^ *last action +(?:\d[^+]*[+]\d{4}: )?(.*)", "\n".join(site.status()), re.MULTILINE)
    return shown[0] if shown else "none"


@contextmanager
def watched(site: Site) -> Iterator[list[tuple[float, str, str]]]:
    """Look at the last action each second; the list has the moments, what was shown, and the log of then."""
    seen: list[tuple[float, str, str]] = []
    closing = threading.Event()

    def look() -> None:
        while not closing.wait(1):
            seen.append((time.monotonic(), last_action(site), site.log()))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        closing.set()
        thread.join()


@pytest.mark.parametrize("seconds", DELAYS_SECONDS)
def test_six_vms_come_once_and_go(openstack: OpenStack, tmp_path: Path, seconds: float) -> None:
    relay = openstack.relay()
    relay.answer_delay_seconds = {
        "*": min(seconds, LONGEST_LISTING_SECONDS),
        "RunInstances": seconds,
        "TerminateInstances": seconds,
    }
    jobs = VMS * CPUS_PER_VM
    with Site(openstack, tmp_path) as site, watched(site) as seen:
        site.submit_held(jobs)
        site.start({"api_url": relay.url})
        site.wait_for(lambda: len(site.jobs_running()) == jobs, "all jobs run")
        site.wait_for(lambda: all(one.status for one in relay.operations("RunInstances")), "all launches are answered")
        assert len(openstack.servers()) == VMS
        site.wait_for(lambda: "; launched i-" in last_action(site), "status tells of the launch")
        site.release()
        site.wait_for(lambda: not openstack.servers(), "idle VMs are gone")
        site.wait_for(lambda: all(one.status for one in relay.operations("TerminateInstances")), "and that is told")
        site.wait_for(lambda: last_action(site).endswith("; terminated"), "status tells of that, too")
        site.wait_for(lambda: "VMs 0 pending, 0 running of" in site.log().splitlines()[-1], "elastiq knows it")
        site.stop()
        assert {job.starts for job in site.jobs_done()} == {1}
        assert site.most_vms == VMS
        assert sum(made_by(relay).values()) == VMS, "none is launched twice"
        done = "\n".join(re.findall(r"launched i-.*", site.log()))
        ids = {id_ for one in relay.operations("RunInstances") for id_ in _ids(one.body)}
        assert ids == set(re.findall(r"\bi-[0-9a-f]+", done)), "each is named as launched"
        assert site.lines("WARNING", "ERROR") == []
        _check_last_action(seen, relay)


def _check_last_action(seen: list[tuple[float, str, str]], relay: Relay) -> None:
    """What is shown has been done by then, and what was done before comes back no more."""
    first_answer_at = min(
        one.at + one.took_seconds + relay.answer_delay_seconds["RunInstances"]
        for one in relay.operations("RunInstances")
        if one.status == 200
    )
    assert {shown for at, shown, _ in seen if at < first_answer_at} <= {"none"}
    shown = [shown for _, shown, _ in seen]
    stretches = [one for one, before in zip(shown, [None, *shown], strict=False) if one != before]
    assert len(stretches) == len(set(stretches))
    for _, text, log in seen:
        deed, _, end = text.rpartition("; ")
        assert text == "none" or (deed in log and re.match("launched i-|terminated$", end)), text
