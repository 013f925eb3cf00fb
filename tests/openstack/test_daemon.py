"""The real daemon at a real OpenStack: a good run, and what the log says of a wrong setting."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.openstack.rig import CPUS_PER_VM, Site
from tests.testbed.openstack.cloud import OpenStack

pytestmark = [pytest.mark.real, pytest.mark.xdist_group("openstack")]


@pytest.fixture
def site(openstack: OpenStack, tmp_path: Path) -> Iterator[Site]:
    with Site(openstack, tmp_path) as made:
        yield made


def test_six_vms_come_for_jobs_and_go_after_them_without_a_warning(openstack: OpenStack, site: Site) -> None:
    jobs = 6 * CPUS_PER_VM
    site.submit(jobs, 1)
    site.start()
    site.wait_for(lambda: len(site.jobs_done()) == jobs, "all jobs are done")
    site.wait_for(lambda: not openstack.servers(), "idle VMs are gone")
    site.stop()
    assert {job.starts for job in site.jobs_done()} == {1}
    assert 1 <= site.most_vms <= 6
    launched = set(
        re.findall(r"i-[0-9a-f]{8}", "\n".join(line for line in site.log().splitlines() if "launched" in line))
    )
    asked = sum(exchange.body.count("<instanceId>") for exchange in openstack.ec2.operations("RunInstances"))
    assert len(launched) == asked, "each VM is named as launched"
    assert site.lines("WARNING", "ERROR") == []


def test_with_a_quota_of_two_of_six_the_quota_is_named_and_two_vms_do_it_all_until_it_is_raised(
    openstack: OpenStack, site: Site
) -> None:
    openstack.set_quota(2)
    jobs = 24
    site.submit_held(jobs)
    site.start()
    site.wait_for(lambda: site.lines("WARNING", "ERROR"), "the quota is named")
    some, refused = openstack.ec2.operations("RunInstances")[-2:]
    assert (some.status, refused.status) == (200, 403), "the cloud gave some, and the next request was refused"
    assert "(2 of 6: the cloud gave no more" in site.log()
    words = "Quota exceeded for instances: .*; asked for image_id .*: raise the quota or lower max_vms"
    assert re.search(words, site.lines("WARNING", "ERROR")[0])
    site.release()
    site.wait_for(lambda: len(site.jobs_done()) == jobs, "all jobs are done")
    assert site.most_vms == 2
    site.submit_held(jobs)
    refusals = len(site.lines("WARNING", "ERROR"))
    site.wait_for(lambda: len(site.lines("WARNING", "ERROR")) > refusals, "the quota is named again")
    assert re.search("last error .*Quota exceeded", "\n".join(site.status()))
    openstack.set_quota(6)
    raised_at = time.monotonic()
    site.wait_for(lambda: site.most_vms == 6, "the rest comes")
    print(f"\nsix VMs {time.monotonic() - raised_at:.0f} s after the quota was raised")
    assert "unconfirmed" not in site.log(), "what the cloud did not give is not waited for"
    site.release()
    site.wait_for(lambda: len(site.jobs_done()) == 2 * jobs, "all jobs are done")
    assert {job.starts for job in site.jobs_done()} == {1}
    site.wait_for(lambda: not openstack.servers(), "idle VMs are gone")


class WebPage(BaseHTTPRequestHandler):
    """What a web server says to those who ask it for something else."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        page = b"<!DOCTYPE html><html><head><title>It works</title></head><body><h1>It works</h1></body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def web_page() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), WebPage) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


WRONG: dict[str, tuple[Callable[[OpenStack, str], dict[str, str]], str]] = {
    "image": (lambda cloud, page: {"image_id": "ami-0000000a"}, "image_id"),
    "image of another project": (lambda cloud, page: {"image_id": cloud.facts.private_image_id}, "image_id"),
    "flavour": (lambda cloud, page: {"flavour": "m5.large"}, "flavour"),
    "key": (lambda cloud, page: {"key_name": "nobody"}, "key_name"),
    "subnet": (lambda cloud, page: {"subnet_id": "subnet-0000000a"}, "subnet_id"),
    "group": (lambda cloud, page: {"security_groups": "nobody"}, "security_groups"),
    "secret": (lambda cloud, page: {"aws_secret_access_key": "wrong-secret"}, "aws_secret_access_key"),
    "access key": (lambda cloud, page: {"aws_access_key_id": "wrong-key-id"}, "aws_access_key_id"),
    "keys of another project": (
        lambda cloud, page: {
            "aws_access_key_id": cloud.facts.other_access_key,
            "aws_secret_access_key": cloud.facts.other_secret_key,
        },
        "key_name",
    ),
    "nova": (lambda cloud, page: {"api_url": cloud.nova_url}, "api_url"),
    "keystone": (lambda cloud, page: {"api_url": cloud.keystone_url}, "api_url"),
    "web page": (lambda cloud, page: {"api_url": page}, "api_url"),
}
"""What is wrong -> options, and what the log has to name in words that say what to do."""


@pytest.mark.parametrize("what", WRONG)
def test_the_option_that_is_wrong_is_named(openstack: OpenStack, site: Site, web_page: str, what: str) -> None:
    options, named = WRONG[what]
    site.submit(1, 1)
    site.start(options(openstack, web_page))
    site.wait_for(lambda: site.lines("WARNING", "ERROR"), "something is said")
    assert re.search(rf"check .*\b{named}\b", site.lines("WARNING", "ERROR")[0])
    assert not openstack.servers()


def test_keystone_that_is_down_is_an_outage_and_no_setting(openstack: OpenStack, site: Site) -> None:
    site.submit(1, 1)
    openstack.stop_keystone()
    try:
        site.start()
        site.wait_for(lambda: site.lines("WARNING", "ERROR"), "something is said")
        site.wait_for(lambda: len(openstack.ec2.operations("DescribeInstances")) > 3, "it is tried again")
    finally:
        openstack.start_keystone()
    site.wait_for(site.jobs_done, "the job is done once keystone is back")
