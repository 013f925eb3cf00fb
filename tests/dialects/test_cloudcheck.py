"""`--check --cloud` against moto behind a proxy that refuses: what is missing or wrong is named, and nothing launched.

moto heeds DryRun itself, and is not trusted: the proxy has a record of every request, and moto is asked afterwards.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from elastiq import cli
from elastiq.ec2.trial import LIMITS, Trial
from tests.dialects.conftest import MakeEndpoint
from tests.testbed.moto_server import MotoServer
from tests.testbed.proxy import Ec2Endpoint

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
PASSWORD = "hunter2-hunter2"
CHANGING = ("RunInstances", "TerminateInstances", "CreateTags")


@dataclass
class Account:
    """What there is at moto."""

    image: str
    subnets: list[str]
    group: str
    key: str = "mykey"


@cache
def client_of(moto: MotoServer) -> Any:
    session = botocore.session.Session()
    session.set_credentials("testing", "testing")
    return session.create_client("ec2", region_name="us-east-1", endpoint_url=moto.url)


@dataclass
class Head:
    """A head node beside a cloud."""

    endpoint: Ec2Endpoint
    account: Account
    path: Path
    capsys: pytest.CaptureFixture[str]

    def check(self, *, change: tuple[str, str] | None = None, more: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Write the configuration, with one value replaced by another, and check it."""
        one, two = self.account.subnets[:2]
        text = f"""[elastiq]
batch_plugin = sandbox
cluster_name = physics
[sandbox]
spool_dir = {self.path.parent}
[quota]
max_vms = 10
[ec2]
api_url = {self.endpoint.url}
region = us-east-1
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = {SECRET}
image_id = {self.account.image}
key_name = {self.account.key}
security_groups = {self.account.group}
instance_profile = workers
subnet_id = {one}
flavour = m5.large
user_data_b64 = {PASSWORD_BASE64}
[pool small]
priority = 1
[pool large]
instance_types = m5.xlarge 0.2, m5.2xlarge 0.4
market = spot, on-demand
subnets = {one}, {two}
[pool zoned]
zones = us-east-1a
"""
        if change:
            assert change[0] in text
            text = text.replace(*change)
        self.path.write_text(text, encoding="utf-8")
        self.path.chmod(0o600)
        code = cli.main([f"--config={self.path}", "--check", "--cloud", *more])
        output, errors = self.capsys.readouterr()
        assert SECRET not in output + errors
        assert "hunter2" not in output + errors
        assert "AKIA" not in output + errors
        assert "4GIOHlTkIaWHQD0" not in output + errors, "what AWS encodes names the account's rules"
        return code, output, errors

    def place(self, title: str) -> str:
        """Return where an option stands, in the words of the check: `title` is as [ec2] image_id."""
        section, name = re.fullmatch(r"(\[.*\]) (\w+)", title).groups()  # type: ignore[union-attr]
        lines = self.path.read_text(encoding="utf-8").split("\n")
        start = lines.index(section)
        number = next(number for number, line in enumerate(lines) if number > start and line.startswith(f"{name} ="))
        return f"{self.path}:{number + 1}: {title}: "


PASSWORD_BASE64 = "IyEvYmluL3NoCmV4cG9ydCBQQVNTV09SRD1odW50ZXIyLWh1bnRlcjIK"


@pytest.fixture
def make_head(
    make_endpoint: MakeEndpoint,
    moto: MotoServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., Head]]:
    heads = []

    def make(*, is_aws: bool = True, **settings: Any) -> Head:
        endpoint = make_endpoint(**settings)
        client = client_of(moto)
        image = client.register_image(Name="worker", RootDeviceName="/dev/sda1", Architecture="x86_64")["ImageId"]
        client.create_key_pair(KeyName="mykey")
        subnets = sorted(one["SubnetId"] for one in client.describe_subnets()["Subnets"])
        vpc = client.describe_vpcs()["Vpcs"][0]["VpcId"]
        group = client.create_security_group(GroupName="workers", Description="-", VpcId=vpc)["GroupId"]
        if endpoint.dialect == "aws":
            endpoint.known = {
                "ImageId": {image},
                "KeyName": {"mykey"},
                "SubnetId": set(subnets),
                "SecurityGroupId.1": {group},
                "IamInstanceProfile.Name": {"workers"},
                "InstanceType": {"m5.large", "m5.xlarge", "m5.2xlarge"},
                "Placement.AvailabilityZone": {"us-east-1a"},
            }
        monkeypatch.setattr("elastiq.config.sections.Ec2Options.is_aws", is_aws)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        heads.append(Head(endpoint, Account(image, subnets, group), tmp_path / "elastiq.conf", capsys))
        return heads[-1]

    yield make
    for head in heads:
        made = {vm.moto_id for vm in head.endpoint.vms.values() if vm.parameters.get("ClientToken") == "made by hand"}
        there = client_of(moto).describe_instances()["Reservations"]
        assert {one["InstanceId"] for group in there for one in group["Instances"]} <= made, "asked of moto itself"
        for request in head.endpoint.operations(*CHANGING):
            assert request.parameters.get("DryRun") == "true", f"{request.operation} without DryRun"


def test_all_is_well(make_head: Callable[..., Head]) -> None:
    head = make_head()
    code, output, errors = head.check()
    assert (code, errors) == (0, "")
    assert "refused " not in output
    # small: one offer; large: 2 markets x 2 types x 2 subnets, of which no price is known for spot; zoned: one zone.
    assert len(head.endpoint.operations("RunInstances")) == 10
    assert output.count("ok                 RunInstances for pool large (spot, m5.xlarge, subnet-") == 2
    assert output.endswith("cannot be checked\n")


RIGHTS = [
    "ec2:DescribeInstances",
    "ec2:DescribeInstanceTypes",
    "ec2:RunInstances",
    "ec2:CreateTags",
    "iam:PassRole",
    "ec2:TerminateInstances",
    "ec2:GetConsoleOutput",
]


@pytest.mark.parametrize("is_aws", [True, False])
@pytest.mark.parametrize("right", RIGHTS)
def test_a_missing_right_is_named(make_head: Callable[..., Head], right: str, is_aws: bool) -> None:
    head = make_head(is_aws=is_aws)
    head.endpoint.dry_run = "checked" if is_aws else "first"
    [vm] = head.endpoint.make_vms(1, cluster="physics", token="made by hand")
    head.endpoint.terminate_from_outside(vm.id)
    head.endpoint.denied = {right}
    code, output, _ = head.check()
    if right == "ec2:DescribeInstances" and not is_aws:
        assert "cannot be checked  RunInstances: the cloud has no DryRun" in output
    refused = [line for line in output.splitlines() if line.startswith("refused")]
    assert code == 2
    assert refused
    assert all(f"the right {right} is missing" in line for line in refused), output


@pytest.mark.parametrize("is_missing", [True, False])
def test_the_right_to_spot_prices_is_named_where_they_are_of_use(
    make_head: Callable[..., Head], *, is_missing: bool
) -> None:
    head = make_head()
    head.endpoint.denied = {"ec2:DescribeSpotPriceHistory"} if is_missing else set()
    in_dollars = ("[quota]", "[cost]\ncurrency = USD\n[quota]")
    code, output, _ = head.check(change=in_dollars)
    assert code == 0, "elastiq does without"
    said = "it needs the right ec2:DescribeSpotPriceHistory, without which what spot costs is not known"
    assert (said in output) is is_missing
    assert ("ok                 DescribeSpotPriceHistory" in output) is not is_missing
    assert "DescribeSpotPriceHistory" not in head.check()[1], "of no use: nobody has said that prices are in USD"


def test_rights_that_aws_does_not_name_are_named_by_the_request(make_head: Callable[..., Head]) -> None:
    head = make_head()
    head.endpoint.denied, head.endpoint.rights_are_named = {"iam:PassRole"}, False
    code, output, _ = head.check()
    assert code == 2
    assert "the right ec2:RunInstances is missing, or one that belongs to it (ec2:CreateTags, iam:PassRole)" in output


@pytest.mark.parametrize("right", ["ec2:TerminateInstances", "ec2:GetConsoleOutput"])
def test_rights_by_tag_are_not_called_missing_where_there_is_no_vm(make_head: Callable[..., Head], right: str) -> None:
    head = make_head()
    head.endpoint.denied = {right}
    code, output, _ = head.check()
    assert code == 0
    assert f"cannot be checked  {right.partition(':')[2]}: the right {right}: refused of a VM that does not" in output


WRONG = {
    "image": ("image_id = ami-", "image_id = ami-0", "[ec2] image_id"),
    "key": ("key_name = mykey", "key_name = yourkey", "[ec2] key_name"),
    "group": ("security_groups = sg-", "security_groups = sg-0", "[ec2] security_groups"),
    "profile": ("instance_profile = workers", "instance_profile = nobody", "[ec2] instance_profile"),
    "subnet": ("subnet_id = subnet-", "subnet_id = subnet-0", "[ec2] subnet_id"),
    "flavour": ("flavour = m5.large", "flavour = m5.lrage", "[ec2] flavour"),
    "types": ("m5.2xlarge", "m5.xxlarge", "[pool large] instance_types"),
    "subnets": ("subnets = subnet-", "subnets = subnet-0", "[pool large] subnets"),
    "zone": ("us-east-1a", "us-east-9z", "[pool zoned] zones"),
    "image of a pool": ("[pool small]", "[pool small]\nimage_id = ami-9", "[pool small] image_id"),
    "key of a pool": ("[pool zoned]", "[pool zoned]\nkey_name = hers", "[pool zoned] key_name"),
    "flavour of a pool": ("[pool small]", "[pool small]\nflavour = x9.huge", "[pool small] flavour"),
    "user data": (f"= {PASSWORD_BASE64}", f"= {'QUFB' * 6000}", "[ec2] user_data_b64"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_id_is_named_with_its_option_and_line(make_head: Callable[..., Head], wrong: str) -> None:
    head = make_head()
    before, after, option = WRONG[wrong]
    code, output, _ = head.check(change=(before, after))
    assert code == 2
    refused = [one for one in output.splitlines() if one.startswith("refused")]
    assert refused
    assert all(head.place(option) in one for one in refused), output


def test_twenty_missing_rights_and_wrong_ids_are_tried() -> None:
    assert len(RIGHTS) + len(WRONG) >= 20


def test_a_cloud_that_heeds_dry_run_before_all_else_is_asked_for_its_ids(make_head: Callable[..., Head]) -> None:
    """As moto does."""
    head = make_head(is_aws=False)
    head.endpoint.dry_run = "first"
    code, output, _ = head.check(change=("key_name = mykey", "key_name = yourkey"))
    assert code == 2
    assert f"key_name yourkey: {head.place('[ec2] key_name')}DescribeKeyPairs: " in output
    assert head.endpoint.operations("RunInstances")[0].parameters["MaxCount"] == "0"
    assert len(head.endpoint.operations("RunInstances")) == 11


@pytest.mark.parametrize(
    ("dialect", "dry_run", "launches"),
    [
        ("aws", "ignored", 0),
        ("aws", "questions", 1),
        ("aws", "checked", 1),
        ("openstack", "ignored", 0),
        ("openstack", "checked", 0),
    ],
)
def test_a_cloud_that_would_carry_it_out_is_asked_for_no_vm(
    make_head: Callable[..., Head], dialect: str, dry_run: str, launches: int
) -> None:
    """The endpoint would launch: only such a launch may reach it as is one of no VM at all."""
    head = make_head(is_aws=False, dialect=dialect)
    head.endpoint.dry_run, head.endpoint.known = dry_run, {}
    code, output, _ = head.check()
    asked = head.endpoint.operations("RunInstances")
    assert [one.parameters["MaxCount"] for one in asked] == ["0"] * launches
    assert "cannot be checked  RunInstances: " in output
    assert "cannot be checked  instance_profile workers: only a DryRun of a launch tells\n" in output
    assert code == 0, output
    assert head.endpoint.max_alive == 0


def test_at_openstack_wrong_ids_are_named_all_the_same(make_head: Callable[..., Head]) -> None:
    head = make_head(is_aws=False, dialect="openstack")
    code, output, _ = head.check(change=("key_name = mykey", "key_name = yourkey"))
    assert code == 2
    assert f"refused            key_name yourkey: {head.place('[ec2] key_name')}" in output
    assert "cannot be checked  flavour m5.large: the cloud has no DescribeInstanceTypes" in output
    assert not head.endpoint.operations(*CHANGING)


def test_no_dry_run_is_sent_after_one_was_carried_out(make_head: Callable[..., Head], moto: MotoServer) -> None:
    """Which no cloud is known to do that is taken for AWS; what it launched is named, and bears the cluster's tag."""
    head = make_head()
    head.endpoint.dry_run = "questions"
    code, output, _ = head.check()
    assert code == 2
    assert len(head.endpoint.operations("RunInstances")) == 1
    [vm] = head.endpoint.vms.values()
    assert f"the cloud launched in spite of DryRun: terminate {vm.id}" in output
    assert vm.tags["elastiq:cluster"] == "physics"
    assert not head.endpoint.operations("TerminateInstances", "CreateTags")
    vm.parameters["ClientToken"] = "made by hand"


def test_the_quota_is_asked_for_where_it_is_told(make_head: Callable[..., Head]) -> None:
    head = make_head(is_aws=False)
    code, output, _ = head.check(change=("max_vms = 10", "max_vms = 500"))
    assert code == 2
    assert f"refused            [quota] max_vms: {head.place('[quota] max_vms')}the cloud" in output


def test_wrong_keys_are_said_once(make_head: Callable[..., Head]) -> None:
    head = make_head()
    head.endpoint.keys = {"another": "secret"}
    code, output, _ = head.check()
    assert code == 2
    assert len(output.splitlines()) == 2
    assert f"refused            DescribeInstances: {head.place('[ec2] aws_access_key_id')}" in output


def test_a_cloud_that_is_down_is_another_exit_code(make_head: Callable[..., Head]) -> None:
    head = make_head()
    code, output, _ = head.check(change=(head.endpoint.url, "http://127.0.0.1:1"))
    assert code == 4
    assert output.splitlines()[-1] == f"{head.path}: the cloud does not answer, so nothing can be checked"


def test_a_cloud_that_hangs_ends_by_its_time(make_head: Callable[..., Head], monkeypatch: pytest.MonkeyPatch) -> None:
    head = make_head()
    monkeypatch.setitem(Trial.__init__.__kwdefaults__, "total_seconds", 0.0)
    code, output, _ = head.check()
    assert code == 0
    assert "not asked, for the cloud took too long before" in output
    assert not head.endpoint.operations("RunInstances")


@pytest.mark.parametrize(("operation", "status"), [("DescribeInstances", 4), ("RunInstances", 0)])
def test_a_request_that_hangs_is_given_up(
    make_head: Callable[..., Head], monkeypatch: pytest.MonkeyPatch, operation: str, status: int
) -> None:
    head = make_head()
    limits = replace(LIMITS, read_seconds=1.0, attempts=1, deadline_seconds=3.0)
    monkeypatch.setitem(Trial.__init__.__kwdefaults__, "limits", limits)
    head.endpoint.inject(operation, hang_seconds=600.0)
    code, output, _ = head.check()
    assert code == status
    first = next(line for line in output.splitlines() if operation in line)
    assert first.startswith(f"cannot be checked  {operation}"), output
    assert "will be tried again" not in output


def test_an_answer_that_is_of_no_ec2_is_a_wrong_api_url(make_head: Callable[..., Head]) -> None:
    head = make_head()
    head.endpoint.inject("DescribeInstances", body="<html>welcome</html>", status=404)
    code, output, _ = head.check()
    assert code == 2
    assert f"refused            DescribeInstances: {head.place('[ec2] api_url')}HTTP 404 with an HTML page" in output


def test_json_has_the_same(make_head: Callable[..., Head]) -> None:
    head = make_head()
    head.endpoint.denied = {"iam:PassRole"}
    code, output, _ = head.check(more=("--json",))
    document = json.loads(output)
    assert (code, document["result"]) == (2, "refused")
    refused = [one for one in document["answers"] if one["answer"] == "refused"]
    assert {one["right"] for one in refused} == {"iam:PassRole"}
    assert {one["pool"] for one in refused} == {"small", "large", "zoned"}


def test_cloud_goes_with_check_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--config=/x", "--cloud"])
    assert ended.value.code == 1
    assert "--cloud goes with --check" in capsys.readouterr().err
