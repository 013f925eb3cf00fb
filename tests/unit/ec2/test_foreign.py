"""Answers of others than EC2 are told by what they look like, and what they did by their status."""

from __future__ import annotations

import pytest

from elastiq.ec2.errors import explain
from elastiq.ec2.foreign import ForeignAnswerError, place_of, refuse_foreign
from elastiq.errors import CloudFault
from elastiq.redaction import Redactor
from tests.unit.fakes import settings_with

HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head></html>"
KEYSTONE = b'{"error":{"code":404,"title":"Not Found","message":"The resource could not be found."}}'
NOVA = b'{"choices": [{"id": "v2.0", "status": "SUPPORTED"}]}'
S3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>MethodNotAllowed</Code></Error>'
CONFIGURATION, UNREACHABLE, THROTTLED = CloudFault.CONFIGURATION, CloudFault.UNREACHABLE, CloudFault.THROTTLED
CHECK = "no EC2 service answers there: check api_url in the section [ec2]"
LATER = "will be tried again; check api_url if it stays so"

FOREIGN = [
    (301, HTML, "a redirection to https://cloud.example.org/login", CONFIGURATION, CHECK),
    (302, b"", "a redirection to https://cloud.example.org/login", CONFIGURATION, CHECK),
    (300, NOVA, "a redirection to https://cloud.example.org/login", CONFIGURATION, CHECK),
    (401, b"Authentication required", "plain text", CONFIGURATION, CHECK),
    (403, NOVA, "JSON of another service", CONFIGURATION, CHECK),
    (404, KEYSTONE, "JSON of another service", CONFIGURATION, CHECK),
    (404, b"<!DOCTYPE html>\n<html lang=en>", "an HTML page", CONFIGURATION, CHECK),
    (405, S3, "XML of another service", CONFIGURATION, CHECK),
    (404, b"", "an empty answer", CONFIGURATION, CHECK),
    (200, b"<!--a--><!DOCTYPE x []><!--b--><DescribeInstancesResponse>", "plain text", UNREACHABLE, CHECK),
    (413, HTML, "an HTML page", CONFIGURATION, "shorten the user data, or check api_url"),
    (429, HTML, "an HTML page", THROTTLED, LATER),
    (408, HTML, "an HTML page", UNREACHABLE, LATER),
    (200, HTML, "an HTML page", UNREACHABLE, CHECK),
    (200, b"[]", "JSON of another service", UNREACHABLE, CHECK),
    (500, b"Keystone is down", "plain text", UNREACHABLE, LATER),
    (502, HTML, "an HTML page", UNREACHABLE, LATER),
    (503, HTML, "an HTML page", UNREACHABLE, LATER),
    (504, b"  " + HTML, "an HTML page", UNREACHABLE, LATER),
    (502, b"", "an empty answer", UNREACHABLE, LATER),
]


@pytest.mark.parametrize(("status", "body", "seen", "fault", "what_to_do"), FOREIGN)
def test_an_answer_of_another_service_says_status_place_and_what_was_seen(
    status: int, body: bytes, seen: str, fault: CloudFault, what_to_do: str
) -> None:
    headers = {"location": "https://user:t0ps3cret@cloud.example.org/login?next=t0ps3cret"}
    with pytest.raises(ForeignAnswerError) as raised:
        refuse_foreign({"status_code": status, "headers": headers, "body": body})
    place = place_of(settings_with(api_url="https://me:t0ps3cret@cloud.example.org:8774/v2.1/?token=t0ps3cret").ec2)
    error = explain("RunInstances", raised.value, Redactor(), place=place, asked="image_id ami-1")
    assert str(error).startswith(f"RunInstances: HTTP {status} with {seen} from https://cloud.example.org:8774/v2.1; ")
    assert str(error).endswith(what_to_do)
    assert "check api_url" in str(error)
    assert "t0ps3cret" not in str(error)
    assert (error.fault, error.status, error.is_foreign) == (fault, status, True)
    assert error.is_busy == (status == 503)


@pytest.mark.parametrize(
    "body",
    [
        b"<Response><Errors><Error><Code>X</Code></Error></Errors></Response>",
        b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- of\nmoto --><DescribeInstancesResponse xmlns='x'>",
        b'\n<?xml version="1.0" encoding="UTF-8"?><ec2:RunInstancesResponse xmlns:ec2="x"/>',
        b"<ErrorResponse><Error><Code>InvalidAction</Code></Error></ErrorResponse>",
    ],
)
@pytest.mark.parametrize("status", [200, 400, 503])
def test_answers_of_ec2_are_let_pass(body: bytes, status: int) -> None:
    refuse_foreign({"status_code": status, "headers": {}, "body": body})


def test_a_place_is_named_also_without_api_url() -> None:
    assert place_of(settings_with(region="eu-west-1").ec2) == "EC2 of AWS in eu-west-1"
    assert place_of(settings_with().ec2) == "EC2 of AWS"
