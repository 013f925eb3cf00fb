"""A program of its own: posts what it reads from standard input, and prints what was answered.

It is run by its path and knows the standard library alone, so that the interpreter can be isolated (-I) from everything
that stands around; whoever runs it ends it when its time is over, whatever it hangs at. Standard input holds a JSON
object: `address` (a secret, so no argument) and `body`.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from email.message import Message
from http.client import HTTPException
from typing import IO

SILENCE_SECONDS = 8.0
"""How long the receiver may be silent at a time; less than the program has in all, so that it can say so."""

LONGEST_ANSWER_BYTES = 2000


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Who redirects a notice gets none: it would be sent to an address that nobody has configured."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None


def post(address: str, body: object) -> tuple[bool, str]:
    """Return whether the receiver has taken a notice, and what it answered or what went wrong, in words."""
    request = urllib.request.Request(  # noqa: S310 - the configuration takes http and https alone
        address,
        json.dumps(body).encode(),
        {"Content-Type": "application/json; charset=utf-8", "User-Agent": "elastiq", "Accept": "*/*"},
    )
    secure = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    opener = urllib.request.build_opener(_NoRedirect, secure)
    try:
        try:
            with opener.open(request, timeout=SILENCE_SECONDS) as answer:
                return True, _said(answer.status, answer)
        except urllib.error.HTTPError as error:
            return False, _said(error.code, error)
    except urllib.error.URLError as error:
        return False, f"no answer: {error.reason}"
    except (OSError, ValueError, HTTPException) as error:  # also what is no HTTP at all, and what ends too soon
        return False, f"no answer that can be read: {type(error).__name__} {error}"


def _said(status: int, answer: IO[bytes]) -> str:
    text = " ".join(answer.read(LONGEST_ANSWER_BYTES).decode("utf-8", "replace").split())
    return f"answered {status}" + (f": {text}" if text else "")


def main() -> int:
    """Post, print the answer, and return 0 if the notice was taken."""
    asked = json.load(sys.stdin)
    is_taken, said = post(asked["address"], asked["body"])
    print(said)
    return 0 if is_taken else 1


if __name__ == "__main__":
    sys.exit(main())
