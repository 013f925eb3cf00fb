"""Two head nodes in one account."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash.launcher import QUICK, Order
from tests.crash.rig import Site, head_node, wait_until
from tests.testbed.proxy import Dialect, Vm


@pytest.mark.parametrize("dialect", ["aws", "openstack"])
def test_neither_touches_the_vms_of_the_other(dialect: Dialect, tmp_path: Path) -> None:
    with Site() as site:
        site.prepare(dialect)
        with (
            head_node(tmp_path / "one", site, "one", min_vms=1, max_vms=2) as one,
            head_node(tmp_path / "two", site, "two", max_vms=3) as two,
        ):
            for head in (one, two):
                head.submit_waiting(4)
                head.start(Order(constants=QUICK))
            # With their tags: what has none yet is lost with the state.
            wait_until(lambda: all(map(has_tagged_vms, (site.alive("one"), site.alive("two")))), "both", one.story)
            for head in (one, two):
                head.let_end()
            # One of them loses all that it knew, and finds its own again.
            one.kill()
            for file in one.state.glob("elastiq.db*"):
                file.unlink()
            one.submit(2)
            one.start(Order(constants=QUICK))
            one.wait_until_quiet(minimum=1)
            two.wait_until_quiet()
            for head, maximum in ((one, 2), (two, 3)):
                head.stop()
                head.check_jobs()
                ours = {vm.id for vm in site.cloud.vms.values() if f"cluster={head.cluster};".encode() in vm.user_data}
                log = head.log.read_text()
                others = set(site.cloud.vms) - ours
                assert ours and others
                assert not [name for name in others if name in log], head.story()
                assert most_alive(site, ours) <= maximum


def has_tagged_vms(vms: list[Vm]) -> bool:
    return bool(vms) and all("elastiq:cluster" in vm.tags for vm in vms)


def most_alive(site: Site, ids: set[str]) -> int:
    """Return how many of these VMs were alive at once."""
    vms = [site.cloud.vms[id_] for id_ in ids]
    ends = [float("inf") if vm.terminated_at is None else vm.terminated_at for vm in vms]
    return max(sum(vm.launched_at <= at.launched_at < end for vm, end in zip(vms, ends)) for at in vms)
