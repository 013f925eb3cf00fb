"""What a real daemon writes goes through a real node_exporter into a real Prometheus, and alerts and dashboard find it
there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elastiq.sandbox.spool import Job, Spool
from tests.monitoring.tools import Prometheus, free_port, running, tools, wait_for
from tests.process.conftest import HeadNode
from tests.testbed.proxy import Ec2Endpoint
from tests.testbed.rootfs import UnavailableError

pytestmark = pytest.mark.xdist_group("monitoring")

TOP = Path(__file__).parents[2]
ALERTS, DASHBOARD = TOP / "etc/elastiq-alerts.yml", TOP / "etc/elastiq-dashboard.json"

MAY_BE_EMPTY = ("elastiq_failures_total", "elastiq_offer_away", "elastiq_offer_vms")
"""Of which nothing need be there now; VMs of offers the fixture waits for."""


@pytest.fixture(scope="module")
def promtool() -> str:
    try:
        return str(tools() / "usr/bin/promtool")
    except UnavailableError as error:
        pytest.skip(str(error))


def test_the_rules_are_good_and_fire_when_they_are_to(promtool: str) -> None:
    for command in (
        ["check", "rules", str(ALERTS)],
        ["test", "rules", str(Path(__file__).with_name("alerts_test.yml"))],
    ):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried() -> None:
    tried = Path(__file__).with_name("alerts_test.yml").read_text()
    names = re.findall(r"alert: (\w+)", ALERTS.read_text())
    assert len(names) == len(set(names)) > 10
    assert [name for name in names if name not in tried] == []


def test_the_dashboard_is_one() -> None:
    made = json.loads(DASHBOARD.read_text())
    panels = made["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies on another"
        taken |= cells
        assert panel["title"] and panel["type"] in ("stat", "timeseries", "table") and panel["targets"]
    assert {variable["name"] for variable in made["templating"]["list"]} == {"datasource", "cluster"}


@dataclass
class Monitored:
    """A cluster that Prometheus looks at."""

    prometheus: Prometheus
    metrics: str
    """The file, as the daemon wrote it at some time."""


@pytest.fixture(scope="module")
def monitored(promtool: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    home = tmp_path_factory.mktemp("monitored")
    textfiles, binaries = home / "textfiles", tools() / "usr/bin"
    textfiles.mkdir()
    (home / "data").mkdir()
    exporter, port = free_port(), free_port()
    (home / "prometheus.yml").write_text(
        f"global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{ALERTS}]\n"
        f"scrape_configs: [{{job_name: head, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}]\n"
    )
    with ExitStack() as stack:
        endpoint = stack.enter_context(Ec2Endpoint())
        head = HeadNode(home, endpoint.url)
        head.configure(
            f"instance_types = m5.large 0.1, m5a.large 0.09\nmarket = spot, on-demand\n"
            f"[sandbox]\nspool_dir = {home}/spool\n",
            batch_plugin="sandbox",
            metrics_file=f"{textfiles}/elastiq.prom",
            estimated_vm_deploy_time_s="2",
            waiting_jobs_time_s="0",
        )
        spool = Spool(home / "spool")
        spool.create()
        assert head.ctl("start")[0] == 0
        stack.callback(head.ctl, "stop")
        wait_for("metrics", lambda: (textfiles / "elastiq.prom").read_text())
        stack.enter_context(
            running(
                str(binaries / "prometheus-node-exporter"),
                "--collector.disable-defaults",
                "--collector.textfile",
                f"--collector.textfile.directory={textfiles}",
                f"--web.listen-address=127.0.0.1:{exporter}",
                log=home / "node_exporter.log",
            )
        )
        stack.enter_context(
            running(
                str(binaries / "prometheus"),
                f"--config.file={home}/prometheus.yml",
                f"--storage.tsdb.path={home}/data",
                f"--web.listen-address=127.0.0.1:{port}",
                log=home / "prometheus.log",
            )
        )
        prometheus = Prometheus(port)
        wait_for("scrape before there are jobs", lambda: prometheus.query("elastiq_vms_launched_total == 0"))
        for _ in range(40):
            spool.submit(Job("new", ["true"]))
        wait_for("VMs by offer", lambda: prometheus.query("sum by (pool, market, type, zone) (elastiq_offer_vms) > 0"))
        wait_for("breaker", lambda: prometheus.query("elastiq_pool_launches_paused == 1"))
        wait_for("refusal of the file", lambda: prometheus.query("node_textfile_scrape_error == 0"))
        yield Monitored(prometheus, (textfiles / "elastiq.prom").read_text())


def test_the_file_is_as_promtool_wants_it(monitored: Monitored, promtool: str) -> None:
    done = subprocess.run([promtool, "check", "metrics"], input=monitored.metrics, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_rule_can_be_evaluated(monitored: Monitored) -> None:
    def evaluated() -> list[Any] | None:
        rules = [rule for group in monitored.prometheus.get("rules")["groups"] for rule in group["rules"]]
        return rules if rules and all(rule["health"] != "unknown" for rule in rules) else None

    rules = wait_for("evaluation", evaluated)
    assert {rule["name"] for rule in rules if rule["health"] != "ok"} == set()

    def expected() -> list[Any] | None:
        alerts: list[Any] = monitored.prometheus.get("alerts")["alerts"]
        names = {alert["labels"]["alertname"] for alert in alerts}
        return alerts if {"ElastiqLaunchesPaused", "ElastiqCapNear"} & names else None

    alerts = wait_for("alerts", expected)
    assert "error expanding" not in json.dumps(alerts)


def expressions() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize(("title", "expression"), expressions())
def test_every_query_of_the_dashboard(monitored: Monitored, title: str, expression: str) -> None:
    asked = expression.replace("$cluster", ".*")
    if any(name in expression for name in MAY_BE_EMPTY):
        monitored.prometheus.query(asked)
        return
    samples = wait_for(f"data for {title}", lambda: monitored.prometheus.query(asked))
    names = re.findall(r"\{\{(\w+)\}\}", json.dumps(next(one for one in expressions() if one == (title, expression))))
    assert all(set(names) <= set(sample["metric"]) for sample in samples)


def test_the_variable_of_the_dashboard_finds_the_cluster(monitored: Monitored) -> None:
    assert monitored.prometheus.get("label/cluster/values", **{"match[]": "elastiq_report_time_seconds"}) == ["test"]
