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

UNREACHABLE = CloudFault.UNREACHABLE
UNSENT = CloudFault.UNSENT
CONFIGURATION, CREDENTIALS = CloudFault.CONFIGURATION, CloudFault.CREDENTIALS


def redactor(user_data: bytes, *keys: str) -> Redactor:
    made = Redactor()
    made.add(keys, (user_data,))
    return made


def client_error(code: str, status: int, message: str = "because") -> exceptions.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(answer, "RunInstances")


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


def test_what_elastiq_adds_follows_without_a_full_stop_before_it() -> None:
    error = explain("RunInstances", client_error("BadRequest", 400, "Invalid key_name provided."), Redactor())
    assert str(error).endswith(": Invalid key_name provided; check key_name in the section [ec2]")


def test_what_was_asked_for_is_said_of_refusals_alone_and_is_short_and_clean() -> None:
    made = redactor(b"", "s3cret-key")
    asked = f"image_id ami-1, key_name s3cret-key, security_groups {'sg-0123456789abcdef0, ' * 50}"
    error = explain("RunInstances", client_error("BadRequest", 400, "no such thing " * 100), made, asked=asked)
    assert "; asked for image_id ami-1, key_name (hidden), security_groups sg-0" in str(error)
    assert str(error).startswith("RunInstances: BadRequest (HTTP 400): no such thing")
    assert len(str(error)) <= MAX_MESSAGE_CHARACTERS
    for silent in (client_error("InternalError", 500), client_error("Throttling", 400), OSError("x")):
        assert "asked for" not in str(explain("RunInstances", silent, made, asked=asked))


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
