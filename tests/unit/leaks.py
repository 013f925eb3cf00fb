"""Every way in which a secret was seen to come out, for the doors that it must not get through."""

from __future__ import annotations

import base64
from urllib.parse import quote

from elastiq.redaction import Redactor

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # the example of the AWS documentation
USER_DATA = b"#!/bin/sh\nTOKEN='geheim-4711'\ncondor_store_cred -p s3cr3t-p4ss add\necho 'a \"b\" \xc3\xbc'\nexit 0\n"
ENCODED = base64.b64encode(USER_DATA).decode()
BLOB = "qR_-x" * 20 + "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4"

LEAKS = {
    "key": SECRET,
    "key in an address": "Signature=" + quote(SECRET, safe=""),
    "beginning of the key": f"cannot sign with {SECRET[:18]}...",
    "end of the key": f"...{SECRET[-12:]} is wrong",
    "key in base64": base64.b64encode(SECRET.encode()).decode(),
    "key shown by Python": repr({"key": SECRET}),
    "another access key": "signed by ASIAIOSFODNN7EXAMPLE",
    "password in an address": "cannot reach http://user:pr0xy-w0rd@proxy.example.org:3128/",
    "blob": f"Encoded authorization failure message: {BLOB} (Service: EC2)",
    "user data": USER_DATA.decode(),
    "a line of it": "line 3: condor_store_cred -p s3cr3t-p4ss add: not found",
    "a line of it in an address": quote("condor_store_cred -p s3cr3t-p4ss add", safe=""),
    "a value of it in a trace": "+ TOKEN=geheim-4711",
    "shown by Python": f"Invalid value: {USER_DATA!r}",
    "shown as text": repr(USER_DATA.decode()),
    "base64": f"UserData={ENCODED}&Version=2016",
    "base64 in an address": f"UserData={quote(ENCODED, safe='')}&Version=2016",
    "a part of the base64": ENCODED[7:50] + "...",
    "base64 split over lines": "\n".join(ENCODED[start : start + 16] for start in range(0, len(ENCODED), 16)),
}

SECRET_PARTS = (
    SECRET,
    SECRET[:12],
    "MDENG",
    SECRET[-10:],
    base64.b64encode(SECRET.encode()).decode()[10:30],
    "IOSFODNN7",
    "pr0xy-w0rd",
    "qR_-x",
    "Zm9vYmFy",
    "geheim-4711",
    "s3cr3t-p4ss",
    "s3cr3t",
    *(ENCODED[start : start + 12] for start in range(0, len(ENCODED) - 12, 4)),
)


def redactor() -> Redactor:
    """Return one that knows SECRET and USER_DATA."""
    made = Redactor()
    made.add((SECRET, ""), (USER_DATA, b""))
    return made


def leaked(text: str) -> list[str]:
    """Return which parts of secrets are in `text`."""
    return [part for part in SECRET_PARTS if part in text]
