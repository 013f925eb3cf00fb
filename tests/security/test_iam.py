"""docs/iam.md: its policy allows what elastiq calls, on what bears its tag, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from elastiq.clock import Clock
from elastiq.config import Settings
from elastiq.config.sections import Ec2Options
from elastiq.ec2 import Ec2, Limits
from elastiq.ec2.answers import CLUSTER_TAG
from elastiq.ec2.client import OPERATIONS, QUESTIONS_OF_CHECK, ClientMaker
from elastiq.errors import CloudError
from elastiq.model import Pool
from tests.unit.fakes import settings_with

TOP = Path(__file__).parents[2]


class Recording(ClientMaker):
    """Makes clients that note which operations are called, with what, and send nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, 1.0)
        self.called: dict[str, dict[str, Any]] = {}

    def make(self, read_seconds: float) -> Any:
        client = super().make(read_seconds)
        client.meta.events.register("provide-client-params.ec2", self._note)
        client.meta.events.register("before-send.ec2", self._refuse)
        return client

    def _note(self, params: dict[str, Any], model: Any, **_: object) -> None:
        self.called[model.name] = params

    def _refuse(self, **_: object) -> None:
        raise OSError("nothing is sent")


@pytest.fixture
def called() -> dict[str, dict[str, Any]]:
    """What elastiq calls at AWS, and the parameters, by operation."""
    settings = settings_with(
        region="eu-west-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        image_id="ami-12345678",
        flavour="m5.large",
        cluster_name="CLUSTER",
        instance_profile="workers",
    )
    cloud = Ec2(settings, limits=Limits(attempts=1))
    cloud._sender.clients = recording = Recording(settings)
    for call in (
        lambda: cloud.list_instances(everything=False),
        lambda: cloud.launch(Pool(), 1, "token"),
        lambda: cloud.terminate(["i-1"]),
        lambda: cloud.tag(["i-1"], Pool(), "token"),
        lambda: cloud.console_tail("i-1"),
        lambda: cloud.capacity(Pool()),
        lambda: cloud.spot_prices(["m5.large"], Clock().now()),
    ):
        with pytest.raises(CloudError):
            call()
    return recording.called


@pytest.fixture
def statements() -> list[dict[str, Any]]:
    text = (TOP / "docs" / "iam.md").read_text()
    found: list[dict[str, Any]] = json.loads(text.split("```json\n")[1].split("```")[0])["Statement"]
    return found


def actions(statement: dict[str, Any]) -> set[str]:
    action = statement["Action"]
    return set(action) if isinstance(action, list) else {action}


def test_the_policy_allows_what_is_called_and_nothing_else(
    statements: list[dict[str, Any]], called: dict[str, dict[str, Any]]
) -> None:
    assert set(called) == OPERATIONS, "every operation of the lean client is used, and no other could be"
    allowed = set().union(*map(actions, statements))
    assert allowed == {f"ec2:{operation}" for operation in called} | {"iam:PassRole"}
    assert hasattr(Ec2Options, "instance_profile"), "for whose sake PassRole is there"
    assert all(statement["Effect"] == "Allow" for statement in statements)


def test_the_policy_lets_elastiq_change_only_what_bears_its_tag(
    statements: list[dict[str, Any]], called: dict[str, dict[str, Any]]
) -> None:
    of_cluster = {"aws:ResourceTag/elastiq:cluster": "CLUSTER"}
    for statement in statements:
        condition = statement.get("Condition", {}).get("StringEquals", {})
        if actions(statement) & {"ec2:TerminateInstances", "ec2:GetConsoleOutput"}:
            assert condition == of_cluster
        if "ec2:CreateTags" in actions(statement):
            assert condition["ec2:CreateAction"] == "RunInstances"
        if any("instance/*" in resource for resource in statement["Resource"]) or "instance/*" in statement["Resource"]:
            assert any(name.endswith(f"Tag/{CLUSTER_TAG}") for name in condition), statement["Sid"]
        if statement["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in actions(statement))


def test_a_launch_meets_the_conditions_of_the_policy(called: dict[str, dict[str, Any]]) -> None:
    launch = called["RunInstances"]
    tagged = {specification["ResourceType"]: specification["Tags"] for specification in launch["TagSpecifications"]}
    assert set(tagged) == {"instance"}, "the policy lets it tag nothing else"
    assert {"Key": CLUSTER_TAG, "Value": "CLUSTER"} in tagged["instance"]
    assert launch["MetadataOptions"]["HttpTokens"] == "required"


def test_the_table_has_a_row_for_each_right_that_is_needed(
    statements: list[dict[str, Any]], called: dict[str, dict[str, Any]]
) -> None:
    text = (TOP / "docs" / "iam.md").read_text()
    rows = re.findall(r"^\| `(\w+:\w+)` \|", text, re.MULTILINE)
    assert sorted(rows) == sorted({f"ec2:{operation}" for operation in called} | {"iam:PassRole"})
    assert set(rows) == set().union(*map(actions, statements))


def test_the_page_names_what_the_check_asks_beside_that() -> None:
    section = (TOP / "docs" / "iam.md").read_text().split("## Ask before the first launch")[1]
    assert set(re.findall(r"`ec2:(\w+)`", section)) == QUESTIONS_OF_CHECK
