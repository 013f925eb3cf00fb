"""Launches with a join token: killed and begun again, and in want of a token. No VM twice, none lost, no token kept."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.crash.launcher import QUICK, SCRIPT, Order
from tests.crash.rig import Head, Site, head_node, wait_until

MAKER = """#!/bin/sh
test ! -e "$0.fails" || { echo "no key for $1" >&2; echo more >&2; exit 3; }
read -r token </proc/sys/kernel/random/uuid
echo "$token" | tee -a "$0.made"
"""
TOKEN = re.compile(rb"token=([0-9a-f-]{36});")
AGAIN_AT_ONCE = {**QUICK, "elastiq.actuator": {"ASK_AGAIN_SECONDS": 0.0}}


def configured(head: Head) -> Path:
    """Have the VMs of `head` be given join tokens; return the program that makes them."""
    maker, script = head.directory / "make-token", head.directory / "user-data"
    maker.write_text(MAKER)
    maker.chmod(0o755)
    script.write_text(head.user_data("token=%join_token%"))
    pool = f"[pool own]\nuser_data_file = {script}\nuser_data_token_command = {maker} workers\n"
    head.configure(max_vms=2, log_level="debug", pools=pool)
    return maker


def made_by(maker: Path) -> list[bytes]:
    return Path(f"{maker}.made").read_bytes().split()


def check_secrecy(head: Head, maker: Path) -> None:
    """See that no file of the daemon has a token in it."""
    written = {path: path.read_bytes() for path in (*head.state.rglob("*"), *head.log.parent.rglob("*"))}
    assert head.log in written
    assert not [path for path, content in written.items() for token in made_by(maker) if token[:12] in content]


@pytest.mark.parametrize("is_aws", [True, False])
def test_a_launch_whose_token_died_with_the_daemon_is_found_by_listing(is_aws: bool, tmp_path: Path) -> None:
    """Only AWS is asked again, with another token for the same launch: its refusal says that the first was done."""
    with Site() as site:
        site.prepare("aws", visible_after_seconds=3600.0)
        with head_node(tmp_path / "head", site, "tokens") as head:
            maker = configured(head)
            head.submit_waiting(3)
            order = Order("RunInstances", "after", note=str(head.note), constants=AGAIN_AT_ONCE, is_aws=is_aws)
            assert head.start(order).wait(120) < 0, head.story()
            (vm,) = {vm.reservation: vm for vm in site.cloud.alive()}.values()
            alive = len(site.cloud.alive())
            head.start(Order(constants=AGAIN_AT_ONCE, is_aws=is_aws))
            if is_aws:
                wait_until(
                    lambda: len(site.cloud.operations("RunInstances")) >= 4, "to be asked again and again", head.story
                )
                again = site.cloud.operations("RunInstances")[1:]
                assert {request.status for request in again} == {400}
                assert len({request.parameters["UserData"] for request in again}) == 1
                assert len(made_by(maker)) == 2, "one for each process"
                assert "IdempotentParameterMismatch" in head.log.read_text()
            else:
                wait_until(head.has_started, "the daemon to start again", head.story)
            site.cloud.visible_after_seconds = 0.0
            head.let_end()
            head.wait_until_quiet()
            head.stop()
            head.check_jobs()
            assert site.cloud.max_alive == alive <= 2
            assert {vm.reservation for vm in site.cloud.vms.values()} == {vm.reservation}
            assert TOKEN.findall(vm.user_data) == made_by(maker)[:1]
            check_secrecy(head, maker)


def test_without_a_token_nothing_is_asked_for_and_why_is_said(tmp_path: Path) -> None:
    with Site() as site:
        site.prepare("aws")
        with head_node(tmp_path / "head", site, "tokens") as head:
            maker = configured(head)
            Path(f"{maker}.fails").touch()
            head.submit(2)
            head.start(Order(constants={"elastiq.planning.patience": {"REFUSAL_PAUSES_SECONDS": (0.3, 3600.0)}}))
            why = f"no join token, so nothing was asked for: {maker} failed with exit status 3: no key for workers"
            paused = re.compile(r"launches of pool own pause for 3\d\d\d s more: " + re.escape(why))

            def is_paused() -> bool:
                return head.log.exists() and bool(paused.search(head.log.read_text()))

            wait_until(is_paused, "the second pause", head.story)
            told = [sys.executable, str(SCRIPT), f"--config={head.configuration}", "status"]
            status = subprocess.run(told, capture_output=True, text=True, check=False).stdout
            assert why in " ".join(status.split()), status
            assert not site.cloud.operations("RunInstances")
            assert not head.open_intents()
            Path(f"{maker}.fails").unlink()
            assert head.process
            head.process.send_signal(signal.SIGUSR1)
            head.wait_until_quiet()
            head.stop()
            head.check_jobs()
            check_secrecy(head, maker)
