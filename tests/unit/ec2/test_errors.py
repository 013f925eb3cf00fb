"""What errors of EC2 and its dialects mean, and what their text may show."""

from __future__ import annotations

import base64
import http.client
from typing import Any

import pytest
from botocore import exceptions
from botocore.parsers import ResponseParserError

from elastiq.ec2.errors import MAX_MESSAGE_CHARACTERS, REQUEST_ERRORS, explain
from elastiq.errors import CloudFault
from elastiq.redaction import Redactor

UNREACHABLE, THROTTLED, CAPACITY = CloudFault.UNREACHABLE, CloudFault.THROTTLED, CloudFault.CAPACITY
UNSENT = CloudFault.UNSENT
CONFIGURATION, CREDENTIALS, NOT_FOUND = CloudFault.CONFIGURATION, CloudFault.CREDENTIALS, CloudFault.NOT_FOUND


def redactor(user_data: bytes, *keys: str) -> Redactor:
    made = Redactor()
    made.add(keys, (user_data,))
    return made


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
    error = explain("RunInstances", client_error(code, status, message), Redactor())
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
    error = explain("DescribeInstances", raised, Redactor())
    assert error.fault is fault
    assert "<all of it>" not in str(error)


def test_an_error_says_which_option_to_check() -> None:
    def text(code: str) -> str:
        return str(explain("RunInstances", client_error(code, 400), Redactor()))

    assert "check image_id" in text("InvalidAMIID.Malformed")
    assert "check key_name" in text("InvalidKeyPair.NotFound")
    assert "check the clock" in text("RequestExpired")


USER_DATA = b"#!/bin/bash\nexport TOKEN=very-secret-token\nshort\necho 'a \"quoted\" line'\n" * 3


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("Unsupported", "change flavour or subnet_id"),
        ("InsufficientFreeAddressesInSubnet", "change subnet_id"),
        ("InsufficientInstanceCapacity", "no room for this flavour now"),
        ("NotEnoughResourcesAvailable", "no room for this flavour now"),
        ("VcpuLimitExceeded", "raise the quota"),
    ],
)
def test_nobody_is_told_to_raise_a_quota_that_would_not_help(code: str, remedy: str) -> None:
    error = explain("RunInstances", client_error(code, 400), Redactor())
    assert error.fault is CAPACITY
    assert remedy in str(error)
    assert ("quota" in str(error)) == (remedy == "raise the quota")


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
    text = str(explain("RunInstances", client_error("BadRequest", 400, message), redactor(USER_DATA)))
    assert len(text) <= MAX_MESSAGE_CHARACTERS
    assert "BadRequest" in text and "Invalid input" in text
    for secret in ("secret-token", "IyEv", "ZXhw", base64.b64encode(USER_DATA).decode()[20:32]):
        assert secret not in text


def test_secrets_and_blobs_are_never_shown() -> None:
    made = redactor(b"", "s3cret/key+with=signs", "0123456789abcdef0123456789abcdef")
    blob = "qR_-x" * 100
    shown = made.brief(
        f"denied s3cret/key+with=signs for 0123456789abcdef0123456789abcdef and AKIAIOSFODNN7EXAMPLE. "
        f"Encoded authorization failure message: {blob} at http://user:password@host/\n\x1b[31mred",
        MAX_MESSAGE_CHARACTERS,
    )
    for secret in ("s3cret", "abcdef0123", "AKIA", "qR_-x", "password", "\n", "\x1b"):
        assert secret not in shown
    assert "Encoded authorization failure message: (hidden)" in shown
    assert "http://host/" in shown


def test_ids_and_arns_stay_readable() -> None:
    text = "The image 'a1b2c3d4-0000-1111-2222-333344445555' of arn:aws:iam::123456789012:role/worker is gone"
    assert redactor(USER_DATA).brief(text, MAX_MESSAGE_CHARACTERS) == text


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_names_a_vm_only_as_a_whole(status: int) -> None:
    error = explain("TerminateInstances", client_error("X", status, "The IDs 'i-12, i-3' do not exist"), Redactor())
    assert error.names_instance("i-12") and error.names_instance("i-3")
    assert not error.names_instance("i-1")
