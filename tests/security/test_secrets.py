"""Secrets stay where they are and files are private: shown on a running daemon."""

from __future__ import annotations

import base64
import os
import re
import signal
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from elastiq.process.pidfile import find_daemon
from tests.process.conftest import HeadNode
from tests.testbed.proxy import Ec2Endpoint

pytestmark = pytest.mark.xdist_group("security")

KEY = "AKIACANARYKEYIDCANARY"
SECRET = "canarySecret/wJalrXUtnFEMI%K7MDENG+bPx=="
WEBHOOK_KEY = "canaryHook0a1b2c3d4e5f6g7h8"
FROM_ENVIRONMENT = "canary-secret-in-the-environment"
JOIN_TOKEN = "canaryJoin.0a1b2c3d4e5f6g7h8i9"
USER_DATA = (
    b"#!/bin/sh\nexport POOL_PASSWORD=canary-pool-password\ncurl -H 'X-Token: canary-token-canary' http://%ipv4%/\n"
    b"pool_token='%join_token%'\nexec join\n"
)
BEFORE = USER_DATA.replace(b"%ipv4%", b"192.0.2.7")
"""Nobody knows a join token before there is a launch."""
RENDERED = BEFORE.replace(b"%join_token%", JOIN_TOKEN.encode())
CANARIES = (
    KEY,
    WEBHOOK_KEY,
    SECRET,
    FROM_ENVIRONMENT,
    JOIN_TOKEN,
    JOIN_TOKEN[:10],
    JOIN_TOKEN[-10:],
    base64.b64encode(JOIN_TOKEN.encode()).decode()[:-4],
    base64.b64encode(RENDERED).decode()[-60:-45],
    base64.b64encode(RENDERED).decode()[-75:-45],
    "canary-pool-password",
    "canary-token-canary",
    base64.b64encode(USER_DATA).decode()[20:80],
    base64.b64encode(RENDERED).decode()[20:],
    base64.b64encode(SECRET.encode()).decode(),
    quote(SECRET, safe="")[:-3],
    base64.b64encode(USER_DATA).decode()[-30:-5],
)

CONDOR = """#!/bin/sh
{ cat /proc/$$/cmdline /proc/$$/environ | tr '\\0' '\\n'; } >>%(home)s/children
case "$0 $*" in
*condor_version*) echo '$CondorVersion: 23.4.0 2026-01-01 $' ;;
*-schedd*) echo schedd-a@ ;;
*condor_status*) echo '[' && echo ']' ;;
*-totals*) echo 'Total for query: 0 jobs; 0 completed' ;;
*condor_q*) test ! -e %(home)s/fail || { cat %(home)s/fail >&2 && exit 1; } ;;
esac
"""


MAKER = f"""#!/bin/sh
{{ cat /proc/$$/cmdline /proc/$$/environ | tr '\\0' '\\n'; }} >>%(home)s/children
test -e %(home)s/made || {{ touch %(home)s/made; echo 'no key, {JOIN_TOKEN}' >&2; echo {JOIN_TOKEN}; exit 1; }}
echo {JOIN_TOKEN}
"""

TELLER = """#!/bin/sh
{ cat /proc/$$/cmdline /proc/$$/environ | tr '\\0' '\\n'; cat; } >>%(home)s/notices
"""


@dataclass
class Run:
    """What a daemon at log_level debug left behind, and what was seen while it ran."""

    written: dict[str, bytes] = field(default_factory=dict)
    """Files by name, and the output of commands."""
    modes: dict[str, int] = field(default_factory=dict)
    command_lines: list[bytes] = field(default_factory=list)
    user_data: set[bytes] = field(default_factory=set)
    decisions: list[str] = field(default_factory=list)
    """Reasons and outcomes in the table of decisions."""


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Let a daemon launch, fail to launch, list, fail to list, show a console, close and terminate; umask 0."""
    with tempfile.TemporaryDirectory(prefix="elastiq-security-") as home, Ec2Endpoint() as endpoint:
        before = os.umask(0)
        head = HeadNode(Path(home), endpoint.url)
        try:
            yield record(head, endpoint)
        finally:
            os.umask(before)
            pid = find_daemon(head.state)
            if pid:
                os.kill(pid, signal.SIGKILL)


def record(head: HeadNode, endpoint: Ec2Endpoint) -> Run:
    made = Run()
    tools = head.home / "bin"
    tools.mkdir()
    for name in ("q", "status", "drain", "on", "advertise", "version"):
        (tools / f"condor_{name}").write_text(CONDOR % {"home": head.home})
        (tools / f"condor_{name}").chmod(0o755)
    head.environment.update(
        PATH=f"{tools}:{head.environment['PATH']}",
        AWS_SECRET_ACCESS_KEY=FROM_ENVIRONMENT,
        AWS_SESSION_TOKEN=FROM_ENVIRONMENT,
    )
    (head.home / "teller").write_text(TELLER % {"home": head.home})
    (head.home / "teller").chmod(0o755)
    (head.home / "maker").write_text(MAKER % {"home": head.home})
    (head.home / "maker").chmod(0o755)
    encoded = base64.b64encode(USER_DATA).decode()
    published = head.home / "published.html"
    head.configure(
        batch_plugin="htcondor",
        log_level="debug",
        metrics_file=str(head.home / "elastiq.prom"),
        estimated_vm_deploy_time_s="1",
        page_file=str(published),
    )
    with head.config.open("a") as config:
        config.write(
            f"user_data_b64 = {encoded}\nuser_data_token_command = {head.home}/maker -lifetime 60\n"
            f"[notify]\nmail = root\nsendmail = {head.home}/teller\nwebhook = http://127.0.0.1:1/{WEBHOOK_KEY}\n"
            f"command = {head.home}/teller\n"
            "[quota]\nmin_vms = 2\n[htcondor]\nquery = cli\n[substitute]\nipv4 = 192.0.2.7\n"
        )
    text = head.config.read_text()
    text = re.sub("(?m)^aws_access_key_id = .*", f"aws_access_key_id = {KEY}", text)
    head.config.write_text(
        re.sub("(?m)^aws_secret_access_key = .*", lambda _: f"aws_secret_access_key = {SECRET}", text)
    )

    echo, later_echo = (
        f"UserData '{base64.b64encode(sent).decode()}' ({sent.decode()!r}, {sent!r}) of {KEY} with {SECRET} is refused"
        for sent in (BEFORE, RENDERED)
    )
    endpoint.console = lambda _: f"cloud-init runs:\n{RENDERED.decode()}\nand {SECRET}\n"
    endpoint.inject("DescribeInstances", status=401, code="AuthFailure", message=echo)
    endpoint.inject("DescribeInstances", status=500, body=f"<html>{echo}</html>")
    endpoint.inject("RunInstances", status=400, code="InvalidUserData.Malformed", message=later_echo)
    (head.home / "fail").write_text(f"SECMAN: {SECRET} {quote(SECRET, safe='')} {encoded[-40:]} {BEFORE[10:]!r}\n")

    code, output, errors = head.ctl("start")
    made.written["output of start"] = (output + errors).encode()
    assert code == 0, output + errors
    head.wait_for("AuthFailure")
    head.wait_for("queue check failed: condor_q")
    _, output, errors = head.ctl("status")
    made.written["output of status, queue unknown"] = (output + errors).encode()
    for words in (
        "why",
        "why 7.3",
        "why 7.3 --json",
        "why --json",
        "plan",
        "plan --json",
        "vms",
        "jobs --json",
        "cost --by user",
        "page",
        "top",
    ):
        _, output, errors = head.ctl(*words.split())
        made.written[f"output of {words}, queue unknown"] = (output + errors).encode()
    (head.home / "fail").unlink()
    metrics = head.home / "elastiq.prom"
    for _ in range(6):
        # Each SIGHUP ends the pause after a refused launch.
        running = find_daemon(head.state)
        assert running, "it has ended"  # and 0 would be this very process group
        os.kill(running, signal.SIGHUP)
        endpoint.wait(0.5)
        if endpoint.alive():
            break
    head.wait_for("the end of its console:")
    head.wait_for("terminated")
    pid = find_daemon(head.state)
    made.command_lines = [Path(f"/proc/{pid}/cmdline").read_bytes()]
    for path in [head.state, head.logs, *head.state.rglob("*"), *head.logs.rglob("*")]:
        with suppress(FileNotFoundError):  # the database's journal comes and goes
            made.modes[path.name] = stat.S_IMODE(path.stat().st_mode)
    for action in (
        "status",
        "conf",
        "notify-test",
        "stop",
        "history",
        "history --json",
        "history --csv",
        "cost --json",
        "page",
        "top",
    ):
        _, output, errors = head.ctl(*action.split())
        made.written[f"output of {action}"] = (output + errors).encode()
    head.config.write_text(head.config.read_text().replace("image_id = ", f"image_id = {SECRET} x "))
    made.written["output of check"] = "".join(map(str, head.real(f"--config={head.config}", "--check"))).encode()
    for path in [
        *head.state.rglob("*"),
        *head.logs.rglob("*"),
        head.home / "children",
        head.home / "notices",
        metrics,
        published,
    ]:
        made.written[path.name] = path.read_bytes()
    with closing(sqlite3.connect(head.state / "elastiq.db")) as database:
        made.decisions = [
            f"{reason} {detail}" for reason, detail in database.execute("SELECT reason, detail FROM decisions")
        ]
    made.user_data = {vm.user_data for vm in endpoint.vms.values()}
    return made


def test_the_run_did_what_could_betray_a_secret(run: Run) -> None:
    log = run.written["elastiq.log"].decode()
    assert " DEBUG " in log
    assert "InvalidUserData.Malformed" in log
    assert "maker failed with exit status 1: no key, (hidden)" in log
    assert b"maker\n-lifetime\n60" in run.written["children"]
    assert b"condor_q" in run.written["children"]
    assert b"PATH=" in run.written["children"]
    said = [run.written["output of status, queue unknown"].decode(), *run.decisions]
    assert len([text for text in said if re.search(r"condor_q.*SECMAN: \(hidden\) \(hidden\)", text)]) > 1
    assert b"SECMAN: (hidden)" in run.written["output of why 7.3, queue unknown"]
    assert b"SECMAN: (hidden)" in run.written["output of plan --json, queue unknown"]
    assert b"SECMAN: (hidden)" in run.written["output of cost --by user, queue unknown"]
    assert b"InvalidUserData.Malformed" in run.written["output of history --json"], "the cloud's words are kept"
    assert b"SECMAN: (hidden)" in run.written["output of page, queue unknown"]
    assert b"SECMAN: (hidden)" in run.written["output of top, queue unknown"]
    assert b"is running" in run.written["published.html"]
    assert b"Newest events" in run.written["output of page"]
    assert len(run.user_data) == 1
    assert run.user_data == {RENDERED}, "the VMs do get their user data"


@pytest.mark.parametrize("canary", CANARIES)
def test_no_secret_is_written_shown_or_handed_on(run: Run, canary: str) -> None:
    for name, content in run.written.items():
        if name == "output of check" and canary == SECRET:
            continue  # what stands in image_id is no secret
        assert canary.encode() not in content, name
    assert not any(canary.encode() in line for line in run.command_lines)


def test_notices_were_sent_or_refused(run: Run) -> None:
    said = run.written["output of notify-test"].decode()
    assert re.search(r"mail +sent", said) and re.search(r"webhook +NOT sent: .*refused", said)
    assert b"this is a test" in run.written["notices"]
    assert b"elastiq_vms" in run.written["elastiq.prom"]


def test_children_know_no_variable_of_the_cloud(run: Run) -> None:
    assert b"AWS_" not in run.written["notices"]
    assert b"AWS_" not in run.written["children"]


def test_all_that_was_written_is_private(run: Run) -> None:
    assert {"elastiq.db", "history.db", "elastiq.log", "elastiq.pid", "lock"} <= set(run.modes)
    for name, mode in run.modes.items():
        assert mode == (0o700 if name in ("state", "log") else 0o600), name
