"""Ec2 without a cloud: what errors mean, what their text may show, how clients are made, how answers are read."""

from __future__ import annotations

import base64
import http.client
import logging
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from elastiq.config import Settings
from elastiq.ec2 import Ec2, Limits, _epoch, _instance, _listed
from elastiq.ec2.client import OPERATIONS, ClientMaker
from elastiq.ec2.errors import MAX_MESSAGE_CHARACTERS, REQUEST_ERRORS, Scrubber, explain
from elastiq.errors import CloudError, CloudFault
from elastiq.model import InstanceState, Pool

UNREACHABLE, THROTTLED, CAPACITY = CloudFault.UNREACHABLE, CloudFault.THROTTLED, CloudFault.CAPACITY
UNSENT = CloudFault.UNSENT
CONFIGURATION, CREDENTIALS, NOT_FOUND = CloudFault.CONFIGURATION, CloudFault.CREDENTIALS, CloudFault.NOT_FOUND
LOCAL = {"api_url": "http://127.0.0.1:1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
ONCE = Limits(attempts=1)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def client_error(code: str, status: int, message: str = "because") -> exceptions.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(answer, "RunInstances")


CLIENT_ERRORS = [
    # of OpenStack, as measured
    ("TypeError", 500, "Unknown error occurred.", UNREACHABLE),
    ("InvalidRequest", 400, "The request received is invalid", CONFIGURATION),
    ("Forbidden", 403, "Quota exceeded for instances: Requested 1, but already used 8 of 8 instances", CAPACITY),
    ("Forbidden", 403, "Policy does not allow this", CREDENTIALS),
    ("AuthFailure", 401, "Signature not provided", CREDENTIALS),
    ("AuthFailure", 404, "Not found", CREDENTIALS),
    ("InvalidParameterValue", 400, "flavour", CONFIGURATION),
    ("InvalidAMIID.NotFound", 400, "image", CONFIGURATION),
    ("InvalidSubnetID.NotFound", 400, "subnet", CONFIGURATION),
    ("BadRequest", 400, "key", CONFIGURATION),
    ("InvalidInstanceID.NotFound", 400, "The instance ID 'i-1' does not exist", NOT_FOUND),
    ("ConnectFailure", 500, "Unable to establish connection", UNREACHABLE),
    # of AWS
    ("RequestLimitExceeded", 503, "", THROTTLED),
    ("Client.RequestLimitExceeded", 503, "", THROTTLED),
    ("Throttling", 400, "", THROTTLED),
    ("TooManyRequests", 429, "", THROTTLED),
    ("InsufficientInstanceCapacity", 500, "", CAPACITY),
    ("Server.InsufficientInstanceCapacity", 500, "", CAPACITY),
    ("InsufficientFreeAddressesInSubnet", 400, "", CAPACITY),
    ("InstanceLimitExceeded", 400, "", CAPACITY),
    ("VcpuLimitExceeded", 400, "", CAPACITY),
    ("VolumeLimitExceeded", 400, "", CAPACITY),
    ("MaxSpotInstanceCountExceeded", 400, "", CAPACITY),
    ("SpotMaxPriceTooLow", 400, "", CAPACITY),
    ("Unsupported", 400, "not supported in your requested Availability Zone", CAPACITY),
    ("UnauthorizedOperation", 403, "", CREDENTIALS),
    ("InvalidClientTokenId", 403, "", CREDENTIALS),
    ("SignatureDoesNotMatch", 403, "", CREDENTIALS),
    ("ExpiredToken", 400, "", CREDENTIALS),
    ("RequestExpired", 400, "", CREDENTIALS),
    ("OptInRequired", 401, "", CREDENTIALS),
    ("Whatever", 401, "", CREDENTIALS),
    ("Whatever", 403, "", CREDENTIALS),
    ("IdempotentParameterMismatch", 400, "", UNREACHABLE),
    ("InternalError", 500, "", UNREACHABLE),
    ("Unavailable", 503, "", UNREACHABLE),
    ("502", 502, "Bad Gateway", UNREACHABLE),
    ("504", 504, "Gateway Timeout", UNREACHABLE),
    ("RequestTimeout", 408, "", UNREACHABLE),
    ("InvalidKeyPair.NotFound", 400, "", CONFIGURATION),
    ("InvalidGroup.NotFound", 400, "", CONFIGURATION),
    ("UnknownParameter", 400, "", CONFIGURATION),
    ("OperationNotPermitted", 400, "", CONFIGURATION),
    ("404", 404, "Not Found", CONFIGURATION),
]


@pytest.mark.parametrize(("code", "status", "message", "fault"), CLIENT_ERRORS)
def test_what_an_error_of_the_cloud_means(code: str, status: int, message: str, fault: CloudFault) -> None:
    error = explain("RunInstances", client_error(code, status, message), Scrubber())
    assert error.fault is fault
    assert str(error).startswith(
        f"RunInstances: {code.split('.', 1)[1] if code[:7] in ('Client.', 'Server.') else code}"
    )
    assert f"HTTP {status}" in str(error)


OTHER_ERRORS = [
    (exceptions.EndpointConnectionError(endpoint_url="http://x"), UNSENT),
    (exceptions.ConnectTimeoutError(endpoint_url="http://x"), UNSENT),
    (exceptions.ReadTimeoutError(endpoint_url="http://x"), UNREACHABLE),
    (exceptions.ConnectionClosedError(endpoint_url="http://x"), UNREACHABLE),
    (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), UNREACHABLE),
    (exceptions.HTTPClientError(error=OSError("x")), UNREACHABLE),
    (ResponseParserError("Unable to parse response: <all of it>"), UNREACHABLE),
    (http.client.IncompleteRead(b""), UNREACHABLE),
    (ConnectionResetError("reset"), UNREACHABLE),
    (KeyError("reservationSet"), UNREACHABLE),
    (exceptions.NoCredentialsError(), CREDENTIALS),
    (exceptions.PartialCredentialsError(provider="env", cred_var="x"), CREDENTIALS),
    (exceptions.CredentialRetrievalError(provider="role", error_msg="x"), CREDENTIALS),
    (exceptions.ProfileNotFound(profile="x"), CREDENTIALS),
    (exceptions.NoRegionError(), CONFIGURATION),
    (exceptions.ParamValidationError(report="x"), CONFIGURATION),
    (exceptions.SSLError(endpoint_url="https://x", error="certificate verify failed"), CONFIGURATION),
]


@pytest.mark.parametrize(("raised", "fault"), OTHER_ERRORS, ids=lambda value: type(value).__name__)
def test_what_other_errors_mean(raised: Exception, fault: CloudFault) -> None:
    assert isinstance(raised, REQUEST_ERRORS)
    error = explain("DescribeInstances", raised, Scrubber())
    assert error.fault is fault
    assert "<all of it>" not in str(error)


def test_an_error_says_which_option_to_check() -> None:
    def text(code: str) -> str:
        return str(explain("RunInstances", client_error(code, 400), Scrubber()))

    assert "check image_id" in text("InvalidAMIID.Malformed")
    assert "check key_name" in text("InvalidKeyPair.NotFound")
    assert "check the clock" in text("RequestExpired")


USER_DATA = b"#!/bin/bash\nexport TOKEN=very-secret-token\nshort\necho 'a \"quoted\" line'\n" * 3


@pytest.mark.parametrize(
    "echo",
    [
        USER_DATA.decode(),
        repr(USER_DATA),
        base64.b64encode(USER_DATA).decode(),
        base64.b64encode(USER_DATA).decode()[7:60],
        base64.encodebytes(USER_DATA).decode(),
        base64.b64encode(USER_DATA * 4000).decode(),
    ],
    ids=["plain", "as bytes", "base64", "a piece", "in lines", "long"],
)
def test_echoed_user_data_is_never_shown(echo: str) -> None:
    message = f"Invalid input for field user_data. Value: {echo}. '{echo}' is too long"
    text = str(explain("RunInstances", client_error("BadRequest", 400, message), Scrubber((), USER_DATA)))
    assert len(text) <= MAX_MESSAGE_CHARACTERS
    assert "BadRequest" in text and "Invalid input" in text
    for secret in ("secret-token", "IyEv", "ZXhw", base64.b64encode(USER_DATA).decode()[20:32]):
        assert secret not in text


def test_secrets_and_blobs_are_never_shown() -> None:
    scrub = Scrubber(("s3cret/key+with=signs", "0123456789abcdef0123456789abcdef"))
    blob = "qR_-x" * 100
    shown = scrub(
        f"denied s3cret/key+with=signs for 0123456789abcdef0123456789abcdef and AKIAIOSFODNN7EXAMPLE. "
        f"Encoded authorization failure message: {blob} at http://user:password@host/\n\x1b[31mred"
    )
    for secret in ("s3cret", "abcdef0123", "AKIA", "qR_-x", "password", "\n", "\x1b"):
        assert secret not in shown
    assert "Encoded authorization failure message: [...]" in shown
    assert "http://host/" in shown


def test_ids_and_arns_stay_readable() -> None:
    text = "The image 'a1b2c3d4-0000-1111-2222-333344445555' of arn:aws:iam::123456789012:role/worker is gone"
    assert Scrubber((), USER_DATA)(text) == text


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_names_a_vm_only_as_a_whole(status: int) -> None:
    error = explain("TerminateInstances", client_error("X", status, "The IDs 'i-12, i-3' do not exist"), Scrubber())
    assert error.names_instance("i-12") and error.names_instance("i-3")
    assert not error.names_instance("i-1")


# Clients


def client(**settings: Any) -> Any:
    return ClientMaker(Settings(**{**LOCAL, **settings}), 1).make(1, 1)


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
    session = ClientMaker(Settings(region="eu-north-1"), 1)._make_session()
    assert session.create_client("sts", region_name="eu-north-1").meta.endpoint_url == "http://127.0.0.1:3"


def test_no_region_and_no_url_is_a_configuration_error() -> None:
    with pytest.raises(CloudError, match="region") as failed:
        Ec2(Settings(aws_access_key_id="a", aws_secret_access_key="b")).list_instances(everything=True)
    assert failed.value.fault is CONFIGURATION


def test_no_keys_anywhere_is_a_credentials_error() -> None:
    with pytest.raises(CloudError, match="redentials") as failed:
        Ec2(Settings(api_url="http://127.0.0.1:1"), limits=ONCE).list_instances(everything=True)
    assert failed.value.fault is CREDENTIALS


def test_keys_that_come_later_are_found_without_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    ec2 = Ec2(Settings(api_url="http://127.0.0.1:1"), limits=ONCE)
    with pytest.raises(CloudError) as failed:
        ec2.list_instances(everything=True)
    assert failed.value.fault is CREDENTIALS
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(CloudError) as failed:
        ec2.list_instances(everything=True)
    assert failed.value.fault is UNSENT, "signed, and then nobody listens on that port"


def test_keys_come_from_the_chain(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = filed\naws_secret_access_key = x\n")
    maker = ClientMaker(Settings(api_url="http://127.0.0.1:1"), 1)
    maker.make(1, 1)
    assert maker._session.get_credentials().access_key == "filed"


def test_an_api_version_that_boto3_knows_is_used(caplog: pytest.LogCaptureFixture) -> None:
    assert client(api_version="2015-10-01").meta.service_model.api_version == "2015-10-01"
    assert not caplog.text


@pytest.mark.parametrize("api_url", ["", "https://ec2.eu-west-1.amazonaws.com"])
def test_an_old_api_version_is_ignored_at_aws(api_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The original's were; none of them knows tags in a launch."""
    for version in ("2014-10-01", "2016-09-15"):
        made = client(api_url=api_url, region="eu-west-1", api_version=version)
        assert "TagSpecifications" in made.meta.service_model.operation_model("RunInstances").input_shape.members
    assert [record.getMessage() for record in caplog.records] == [
        "api_version 2014-10-01 is older than what elastiq needs at AWS and is ignored",
        "api_version 2016-09-15 is older than what elastiq needs at AWS and is ignored",
    ]
    caplog.clear()
    client(api_url=api_url, region="eu-west-1", api_version="2016-11-15")
    assert not caplog.text


def test_another_api_version_is_ignored_with_one_note(caplog: pytest.LogCaptureFixture) -> None:
    maker = ClientMaker(Settings(**LOCAL, api_version="2013-02-01"), 1)
    maker.make(1, 1)
    maker.forget_credentials()
    assert maker.make(1, 1).meta.service_model.api_version == "2016-11-15"
    assert [record.getMessage() for record in caplog.records] == [
        "api_version 2013-02-01 is not known to boto3 and is ignored"
    ]


def test_a_missing_ca_bundle_is_an_error_of_the_request() -> None:
    ec2 = Ec2(Settings(**{**LOCAL, "api_url": "https://127.0.0.1:1"}, ca_bundle="/no/such/file"), limits=ONCE)
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
    ec2 = Ec2(Settings(**LOCAL, api_version="2014-10-01"))
    with pytest.raises(CloudError, match="leave api_version out") as failed:
        ec2.capacity(Pool(instance_type="m5.large"))
    assert failed.value.fault is CONFIGURATION
    assert ec2.refused_features == {"DescribeInstanceTypes"}


def test_libraries_that_print_requests_are_kept_quiet() -> None:
    for name in ("botocore", "botocore.parsers", "boto3", "urllib3.connectionpool"):
        assert logging.getLogger(name).getEffectiveLevel() >= logging.WARNING


def test_group_names_with_a_subnet_are_refused_before_anything_is_sent() -> None:
    settings = Settings(**LOCAL, image_id="ami-1", subnet_id="subnet-1", security_groups=("sg-1", "default"))
    with pytest.raises(CloudError, match="security group default: with subnet_id") as failed:
        Ec2(settings).launch(Pool(), 1, "token-1")
    assert failed.value.fault is CONFIGURATION


# Answers


def test_an_instance_with_hardly_anything_in_it() -> None:
    instance = _instance({"InstanceId": "i-1"})
    assert (instance.state, instance.address, instance.launched_at) == (InstanceState.RUNNING, None, None)
    assert _instance({"InstanceId": "i-1", "PrivateIpAddress": "", "Tags": [], "StateReason": {}}).address is None


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("pending", InstanceState.PENDING),
        ("running", InstanceState.RUNNING),
        ("shutting-down", InstanceState.STOPPING),
        ("stopping", InstanceState.STOPPING),
        ("stopped", InstanceState.STOPPED),
        ("terminated", InstanceState.TERMINATED),
        ("error", InstanceState.ERROR),
        ("rescued", InstanceState.RUNNING),
        ("", InstanceState.RUNNING),
    ],
)
def test_states_go_by_name(name: str, state: InstanceState) -> None:
    assert _instance({"InstanceId": "i-1", "State": {"Code": 0, "Name": name}}).state is state


def test_an_answer_without_a_list_is_no_empty_list() -> None:
    assert _listed({"Reservations": []}) == ()
    for answer in ({}, {"Reservations": [{}]}, {"Reservations": [{"Instances": [{}]}]}):
        with pytest.raises(CloudError):
            _listed(answer)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-02T00:00:00.000Z", 86400.0),
        ("1970-01-02T00:00:00Z", 86400.0),
        ("1970-01-02T00:00:00", 86400.0),
        ("1970-01-02T00:00:00.123456", 86400.0),
        ("", None),
        ("yesterday", None),
    ],
)
def test_times(text: str, seconds: float | None) -> None:
    assert _epoch(text) == seconds
