"""Answers that do not come from EC2 at all: of another service, of a gateway, of a web server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.parsers import ResponseParserError

from elastiq.config.sections import Ec2Options
from elastiq.errors import CloudFault

_BEFORE_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*)?")
_ROOT = re.compile(rb"<(?:[\w.-]+:)?([\w.-]+)")
"""The first element of a document. Of a document type it is none, nor of what stands behind one: no answer of EC2 has
one, and entities, which may become a thousand times as long as they are, are made there alone."""

_LOOKED_AT = 2000


class ForeignAnswerError(ResponseParserError):  # type: ignore[misc]
    """An answer that no EC2 service gives; `seen` says in few words what it was."""

    def __init__(self, status: int, seen: str) -> None:
        super().__init__(f"HTTP {status} with {seen}")
        self.status = status
        self.seen = seen

    @property
    def fault(self) -> CloudFault:
        """What the request may have done: a redirection or a refusal did nothing, whoever gave it; a gateway that
        fails may have passed the request on.
        """
        if self.status == 429:
            return CloudFault.THROTTLED
        if 300 <= self.status < 500 and self.status != 408:
            return CloudFault.CONFIGURATION
        return CloudFault.UNREACHABLE

    @property
    def what_to_do(self) -> str:
        if self.status == 413:
            return "the request is too large for what stands before the cloud: shorten the user data, or check api_url"
        if self.fault is CloudFault.CONFIGURATION or self.status < 300:
            return "no EC2 service answers there: check api_url in the section [ec2]"
        return "will be tried again; check api_url if it stays so"


def refuse_foreign(response: Mapping[str, Any]) -> None:
    """Given an HTTP response as botocore hands it to its parsers, raise ForeignAnswerError if it is not of EC2."""
    status = int(response["status_code"])
    seen = _seen(status, response["headers"], bytes(response["body"] or b"")[:_LOOKED_AT])
    if seen:
        raise ForeignAnswerError(status, seen)


def _seen(status: int, headers: Mapping[str, Any], body: bytes) -> str:
    """Return what an answer is in few words; "" if it can be one of EC2."""
    if 300 <= status < 400:
        location = _place(str(headers.get("location") or ""))
        return f"a redirection to {location}" if location else "a redirection"
    begin = body.lstrip()[:20].lower()
    if not begin:
        return "an empty answer"
    root = _root(body)
    if root and root[1].endswith(b"Response"):
        return ""
    if begin.startswith((b"<!doctype html", b"<html")) or (root and root[1].lower() == b"html"):
        return "an HTML page"
    if root:
        return "XML of another service"
    if begin.startswith((b"{", b"[")):
        return "JSON of another service"
    return "plain text"


def _root(body: bytes) -> re.Match[bytes] | None:
    """Return the first element behind comments. One by one: an expression for all of them could be led to take years,
    or to take a document type for a part of a comment."""
    begin = _BEFORE_ROOT.match(body)
    position = begin.end() if begin else 0
    while body.startswith(b"<!--", position):
        end = body.find(b"-->", position + 4)
        if end < 0:
            return None
        position = end + 3
        position += len(body[position:]) - len(body[position:].lstrip())
    return _ROOT.match(body, position)


def place_of(options: Ec2Options) -> str:
    """Return where requests go to, without user and password."""
    return _place(options.api_url) or f"EC2 of AWS{f' in {options.region}' if options.region else ''}"


def _place(url: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2] + parts.path.rstrip("/")
    return f"{parts.scheme}://{place}" if parts.scheme else place
