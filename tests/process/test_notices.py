"""A real daemon on the sandbox tells of a real breaker, in every way, and is not kept from its work by anybody."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from elastiq.process.pidfile import find_daemon
from elastiq.sandbox.spool import Job, Spool
from tests.process.conftest import HeadNode
from tests.testbed.proxy import Ec2Endpoint
from tests.unit.process.receiver import Receiver

pytestmark = pytest.mark.xdist_group("notices")

SENDMAIL = """#!/bin/sh
for one in "$@"; do echo "argument $one"; done >>{home}/mails
cat >>{home}/mails
"""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture
def head(tmp_path: Path, receiver: Receiver) -> Iterator[HeadNode]:
    with Ec2Endpoint() as endpoint:
        made = HeadNode(tmp_path, endpoint.url)
        (tmp_path / "sendmail").write_text(SENDMAIL.format(home=tmp_path))
        (tmp_path / "sendmail").chmod(0o755)
        (tmp_path / "hook").write_text(receiver.url)
        made.configure(
            f"[notify]\nmail = admin@example.org\nsendmail = {tmp_path}/sendmail\nwebhook_file = hook\n"
            f"command = /usr/bin/tee {tmp_path}/told\n[sandbox]\nspool_dir = {tmp_path}/spool\n",
            batch_plugin="sandbox",
            estimated_vm_deploy_time_s="1",
            waiting_jobs_time_s="0",
        )
        yield made
        made.ctl("stop")


def test_a_breaker_is_told_once_in_every_way_and_not_again_after_a_restart(head: HeadNode, receiver: Receiver) -> None:
    spool = Spool(head.home / "spool")
    spool.create()
    for _ in range(40):
        spool.submit(Job("new", ["true"]))
    receiver.hangs = True
    assert head.ctl("start")[0] == 0
    head.wait_for_file(head.home / "mails", "What the events mean")
    mail = (head.home / "mails").read_text()
    assert mail.startswith("argument -i\nargument --\nargument admin@example.org\nTo: admin@example.org\n")
    assert "Subject: elastiq, cluster test: launches pause\n" in mail
    # The webhook hangs by now, and nothing of elastiq does.
    checks = json.loads(head.ctl("plan", "--json")[1] or "{}")
    assert checks
    pid = find_daemon(head.state)
    assert pid
    os.kill(pid, signal.SIGHUP)
    head.wait_for("was read again and is in force")
    receiver.over.set()
    head.wait_for_file(head.home / "told", '"event": "breaker"')
    told = json.loads((head.home / "told").read_text())
    assert told["elastiq"]["state"] == "begun" and told["elastiq"]["token"] in ("launches-paused", "trial-booting")
    assert "not joined" in told["text"]
    assert [json.loads(got.body) for got in receiver.got] == [told]
    (head.home / "told").unlink()
    assert head.ctl("restart")[0] == 0
    head.wait_for("must join first", times=2)
    assert head.ctl("stop")[0] == 0
    assert not (head.home / "told").exists(), "at most one an hour, also across a restart"
    log = head.log.read_text()
    assert "Traceback" not in log and "a1b2c3d4e5f6" not in log


def test_a_test_notice(head: HeadNode, receiver: Receiver) -> None:
    """What elastiqctl notify-test prints."""
    receiver.status, receiver.answer = 403, f"no such hook {receiver.url}".encode()
    code, output, errors = head.ctl("notify-test")
    host = receiver.url.rpartition("/hooks")[0]
    assert code == 1 and not errors
    assert output.splitlines()[:2] == [
        "mail     sent: taken",
        f"webhook  NOT sent: answered 403: no such hook {host}(hidden)",
    ]
    receiver.status = 200
    assert head.ctl("notify-test")[0] == 0
    head.configure()
    code, output, errors = head.ctl("notify-test")
    assert (code, output) == (1, "") and "nobody is told of anything: give mail, webhook or command" in errors
