"""Clients: endpoint, region, keys and version, and as little of EC2 in memory as is used."""

from __future__ import annotations

import logging
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from elastiq.config.sections import Ec2Options
from elastiq.ec2 import Ec2, Limits
from elastiq.ec2.client import OPERATIONS, ClientMaker, _without_unread_parts
from elastiq.errors import CloudError, CloudFault
from elastiq.model import Pool
from tests.unit.fakes import settings_with

pytestmark = pytest.mark.usefixtures("clean_environment")

LOCAL = {"api_url": "http://127.0.0.1:1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
ONCE = Limits(attempts=1)


def client(**settings: Any) -> Any:
    return ClientMaker(settings_with(**{**LOCAL, **settings}), 1).make(1)


@pytest.mark.parametrize(
    ("api_url", "region", "expected"),
    [
        ("http://127.0.0.1:8773/services/Cloud", "", "us-east-1"),
        ("http://127.0.0.1:8773/services/Cloud", "nova", "nova"),
        ("https://ec2.eu-west-1.amazonaws.com", "", "eu-west-1"),
        ("https://eu-central-1.ec2.amazonaws.com/", "", "eu-central-1"),
        ("https://ec2.amazonaws.com", "", "us-east-1"),
        ("https://ec2.cn-north-1.amazonaws.com.cn", "", "cn-north-1"),
        ("https://ec2.us-gov-west-1.api.aws", "", "us-gov-west-1"),
        ("", "eu-north-1", "eu-north-1"),
    ],
)
def test_the_region(api_url: str, region: str, expected: str) -> None:
    made = client(api_url=api_url, region=region)
    assert made.meta.region_name == expected
    assert made.meta.endpoint_url.rstrip("/") == (api_url or "https://ec2.eu-north-1.amazonaws.com").rstrip("/")


def test_the_region_comes_from_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    assert client(api_url="").meta.region_name == "ap-south-1"
    assert client().meta.region_name == "ap-south-1"


@pytest.mark.parametrize("where", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "the file"])
def test_api_url_alone_names_another_endpoint(where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Otherwise another cloud's client token would be taken for a lock, as that of AWS is."""
    if where == "the file":
        (tmp_path / "config").write_text("[default]\nendpoint_url = http://127.0.0.1:2\n")
    else:
        monkeypatch.setenv(where, "http://127.0.0.1:2")
    assert client(api_url="", region="eu-north-1").meta.endpoint_url == "https://ec2.eu-north-1.amazonaws.com"
    assert client(api_url="http://127.0.0.1:1").meta.endpoint_url == "http://127.0.0.1:1"


def test_the_endpoint_that_gives_keys_may_be_named_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:3")
    session = ClientMaker(settings_with(region="eu-north-1"), 1)._make_session()
    assert session.create_client("sts", region_name="eu-north-1").meta.endpoint_url == "http://127.0.0.1:3"


def test_no_region_and_no_url_is_a_configuration_error() -> None:
    with pytest.raises(CloudError, match="region") as failed:
        Ec2(settings_with(aws_access_key_id="a", aws_secret_access_key="b")).list_instances(everything=True)
    assert failed.value.fault is CloudFault.CONFIGURATION


def test_no_keys_anywhere_is_a_credentials_error() -> None:
    with pytest.raises(CloudError, match="redentials") as failed:
        Ec2(settings_with(api_url="http://127.0.0.1:1"), limits=ONCE).list_instances(everything=True)
    assert failed.value.fault is CloudFault.CREDENTIALS


def test_keys_that_come_later_are_found_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    ec2 = Ec2(settings_with(api_url="http://127.0.0.1:1"), limits=ONCE)
    with pytest.raises(CloudError) as failed:
        ec2.list_instances(everything=True)
    assert failed.value.fault is CloudFault.CREDENTIALS
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(CloudError) as failed:
        ec2.list_instances(everything=True)
    assert failed.value.fault is CloudFault.UNSENT, "signed, and then nobody listens on that port"


def test_keys_come_from_the_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = filed\naws_secret_access_key = x\n")
    maker = ClientMaker(settings_with(api_url="http://127.0.0.1:1"), 1)
    maker.make(1)
    assert maker._session.get_credentials().access_key == "filed"


def test_an_api_version_that_boto3_knows_is_used() -> None:
    assert client(api_version="2015-10-01").meta.service_model.api_version == "2015-10-01"
    assert not ClientMaker(settings_with(**LOCAL, api_version="2015-10-01"), 1).note


@pytest.mark.parametrize("api_url", ["", "https://ec2.eu-west-1.amazonaws.com"])
def test_an_old_api_version_is_ignored_at_aws(api_url: str) -> None:
    """The original's were; none of them knows tags in a launch."""
    for version in ("2014-10-01", "2016-09-15"):
        maker = ClientMaker(settings_with(**{**LOCAL, "api_url": api_url, "api_version": version}, region="x"), 1)
        model = maker.make(1).meta.service_model
        assert "TagSpecifications" in model.operation_model("RunInstances").input_shape.members
        assert maker.note == (
            f"api_version {version} is older than what elastiq needs at AWS and is ignored; "
            "leave it out of the section [ec2]"
        )
    assert not ClientMaker(settings_with(api_url=api_url, region="x", api_version="2016-11-15"), 1).note


def test_the_api_version_of_the_documents_is_one_that_works_everywhere() -> None:
    (option,) = [field for field in fields(Ec2Options) if field.name == "api_version"]
    documented = re.findall(r"\d{4}-\d\d-\d\d", str(option.metadata))
    assert len(documented) == 1
    for api_url in ("", LOCAL["api_url"]):
        assert not ClientMaker(settings_with(api_url=api_url, region="x", api_version=documented[0]), 1).note


def test_that_an_api_version_is_ignored_is_told_once_and_not_at_every_start(caplog: pytest.LogCaptureFixture) -> None:
    settings = settings_with(**LOCAL, api_version="2013-02-01")
    ec2 = Ec2(settings, limits=ONCE)
    assert ec2.refused_features == frozenset(), "so that it is seen to change, and kept"
    for made in (ec2, ec2, Ec2(settings, frozenset({"api_version"}), limits=ONCE)):
        with pytest.raises(CloudError):
            made.list_instances(everything=True)
        assert made.refused_features == {"api_version"}
    assert [record.getMessage() for record in caplog.records] == [
        "api_version 2013-02-01 is not known to boto3 and is ignored; leave it out of the section [ec2]"
    ]
    assert ClientMaker(settings, 1).make(1).meta.service_model.api_version == "2016-11-15"


def test_a_missing_ca_bundle_is_an_error_of_the_request() -> None:
    ec2 = Ec2(settings_with(**{**LOCAL, "api_url": "https://127.0.0.1:1"}, ca_bundle="/no/such/file"), limits=ONCE)
    with pytest.raises(CloudError):
        ec2.list_instances(everything=True)


def test_only_what_is_used_of_ec2_is_kept_in_memory() -> None:
    model = client().meta.service_model
    assert set(model.operation_names) == OPERATIONS
    assert len(model.shape_names) < 400
    for parameter in ("TagSpecifications", "MetadataOptions", "ClientToken", "IamInstanceProfile", "UserData"):
        assert parameter in model.operation_model("RunInstances").input_shape.members


def test_old_models_of_ec2_are_cut_down_as_well() -> None:
    model = client(api_version="2014-10-01").meta.service_model
    assert set(model.operation_names) == OPERATIONS - {"DescribeInstanceTypes"}


def test_an_old_api_version_has_no_instance_types() -> None:
    ec2 = Ec2(settings_with(**LOCAL, api_version="2014-10-01"))
    with pytest.raises(CloudError, match="leave api_version out") as failed:
        ec2.capacity(Pool(instance_type="m5.large"))
    assert failed.value.fault is CloudFault.CONFIGURATION
    assert ec2.refused_features == {"DescribeInstanceTypes"}


def test_libraries_that_print_requests_are_kept_quiet() -> None:
    for name in ("botocore", "botocore.parsers", "boto3", "urllib3.connectionpool"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING


def test_group_names_with_a_subnet_are_refused_before_anything_is_sent() -> None:
    settings = settings_with(**LOCAL, image_id="ami-1", subnet_id="subnet-1", security_groups=("sg-1", "default"))
    with pytest.raises(CloudError, match="security group default: with subnet_id") as failed:
        Ec2(settings).launch(Pool(), 1, "token-1")
    assert failed.value.fault is CloudFault.CONFIGURATION


def test_unread_parts_go_and_all_else_stays() -> None:
    listing = (
        b"<a><item><networkInterfaceSet><item><privateIpAddress>10.0.0.1</privateIpAddress></item>"
        b"</networkInterfaceSet><privateIpAddress>10.0.0.2</privateIpAddress></item>"
        b"<item><networkInterfaceSet/><metadataOptions>\n <state>applied</state>\n</metadataOptions>"
        b"<instanceId>i-2</instanceId></item></a>"
    )
    assert _without_unread_parts(listing) == (
        b"<a><item><privateIpAddress>10.0.0.2</privateIpAddress></item>"
        b"<item><networkInterfaceSet/><instanceId>i-2</instanceId></item></a>"
    )


def test_an_answer_that_ends_within_a_part_keeps_its_broken_end() -> None:
    whole = b"<item><blockDeviceMapping>x</blockDeviceMapping></item>"
    assert _without_unread_parts(whole + b"<item><blockDeviceMapping>y") == (
        b"<item></item><item><blockDeviceMapping>y"
    )


def test_an_empty_answer_stays_empty() -> None:
    assert _without_unread_parts(b"") == b""
