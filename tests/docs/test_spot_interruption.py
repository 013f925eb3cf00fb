"""The script of docs/examples that closes a worker before the cloud takes its VM back, with metadata of its own and
commands that write down what they are asked."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SCRIPT = EXAMPLES / "spot-interruption.sh"
SYSTEMS = ("htcondor", "slurm", "gridengine")
NOTICE = '{"action": "terminate", "time": "2026-11-28T20:17:00Z"}'
FAKE = """#!/bin/sh
echo "${0##*/} $*" >>"$ASKED"
! [ -e "$ASKED.fail" ] || { rm "$ASKED.fail"; exit 1; }
"""


class Vm:
    """A worker VM in a directory; its metadata service knows `documents`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.documents = {"instance-id": "i-1", "instance-life-cycle": "spot"}
        self.looks: list[str] = []
        self.sessions: set[str] = set()
        vm = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
                self._answer(200, "session")

            def do_GET(self) -> None:
                assert self.headers["X-aws-ec2-metadata-token"] == "session"
                path = self.path.partition("/meta-data/")[2]
                vm.looks.append(path)
                found = vm.documents.get(path)
                self._answer(404 if found is None else 200, found or "")

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        for name in ("scontrol", "qconf", "qmod", "hostname"):
            (directory / name).write_text(FAKE if name != "hostname" else "#!/bin/sh\necho node1\n")
            (directory / name).chmod(0o755)
        (directory / "config.d").mkdir()
        (directory / "proc").mkdir()

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        settings = {
            "PATH": f"{self.directory}:{os.environ['PATH']}",
            "METADATA": f"http://127.0.0.1:{self.server.server_address[1]}/latest",
            "EVERY_SECONDS": "0.1",
            "CONDOR_DIRECTORY": str(self.directory / "config.d"),
            "PROC": str(self.directory / "proc"),
            "ASKED": str(self.directory / "asked"),
        }
        return subprocess.Popen(["sh", str(SCRIPT), *arguments], env=settings, stderr=subprocess.PIPE, text=True)

    @property
    def asked(self) -> list[str]:
        path = self.directory / "asked"
        return path.read_text().splitlines() if path.exists() else []


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[Vm]:
    made = Vm(tmp_path)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.mark.parametrize("life_cycle", ["on-demand", None], ids=str)
def test_where_there_is_no_spot_market_it_ends_at_once(vm: Vm, life_cycle: str | None) -> None:
    vm.documents = {"instance-id": "i-1", **({"instance-life-cycle": life_cycle} if life_cycle else {})}
    process = vm.start("slurm")
    assert "not of the spot market" in process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "spot/instance-action" not in vm.looks


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_recommendation_to_rebalance_closes_nothing(vm: Vm, system: str) -> None:
    vm.documents["events/recommendations/rebalance"] = '{"noticeTime": "2026-11-28T20:15:00Z"}'
    process = vm.start(system)
    wait_until(lambda: vm.looks.count("spot/instance-action") > 3)
    process.kill()
    process.communicate(timeout=60)
    assert not vm.asked
    assert not list((vm.directory / "config.d").iterdir())


@pytest.mark.parametrize(
    ("system", "asked"),
    [
        ("slurm", ["scontrol update nodename=i-1 state=drain reason=elastiq: spot interruption 2026-11-28T20:17:00Z"]),
        (
            "gridengine",
            [
                "qconf -mattr exechost complex_values elastiq_closed=elastiq.interruption node1",
                "qmod -d *@node1",
            ],
        ),
    ],
)
@pytest.mark.parametrize("fails", [False, True], ids=["works", "works the second time"])
def test_a_notice_closes_the_worker(vm: Vm, system: str, asked: list[str], *, fails: bool) -> None:
    if fails:
        (vm.directory / "asked.fail").touch()
    process = vm.start(system)
    wait_until(lambda: "spot/instance-action" in vm.looks)
    vm.documents["spot/instance-action"] = NOTICE
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert said.endswith("this worker takes no more jobs\n")
    assert vm.asked == ([asked[0]] if fails else []) + asked


def test_a_notice_closes_a_worker_of_htcondor_which_reads_its_configuration_again(vm: Vm) -> None:
    # Whoever runs the tests by nohup has everybody ignore the signal.
    startd = subprocess.Popen(["env", "--default-signal=HUP", "sleep", "1000"])
    (vm.directory / "proc" / str(startd.pid)).mkdir()
    (vm.directory / "proc" / str(startd.pid) / "comm").write_text("condor_startd\n")
    vm.documents["spot/instance-action"] = NOTICE
    try:
        process = vm.start("htcondor")
        process.communicate(timeout=60)
        assert startd.wait(timeout=60) == -signal.SIGHUP
    finally:
        startd.kill()
        startd.wait()
    (file,) = (vm.directory / "config.d").iterdir()
    assert file.read_text().splitlines() == [
        "START = False",
        'ElastiqInterruption = "2026-11-28T20:17:00Z"',
        "STARTD_ATTRS = $(STARTD_ATTRS) ElastiqInterruption",
    ]


def test_odd_words_of_the_metadata_go_nowhere(vm: Vm) -> None:
    vm.documents["spot/instance-action"] = '{"action": "stop", "time": "$(touch x)\\"; reboot"}'
    vm.start("slurm").communicate(timeout=60)
    assert vm.asked == ["scontrol update nodename=i-1 state=drain reason=elastiq: spot interruption soon"]


def test_how_it_is_called(vm: Vm) -> None:
    process = vm.start("pbs")
    assert process.communicate(timeout=60)[1].startswith("usage: ")
    assert process.returncode == 2


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_user_data_has_it_as_it_is(system: str) -> None:
    text = (EXAMPLES / f"{system}-worker.sh").read_text(encoding="utf-8")
    _, _, rest = text.partition("<<'END_OF_WATCH'\n")
    script, _, end = rest.partition("END_OF_WATCH\n")
    assert script == SCRIPT.read_text(encoding="utf-8")
    assert end.count(f"spot-interruption.sh {system}") == 2
    assert len(text) < 12_000, "EC2 takes 16 kB of user data"
