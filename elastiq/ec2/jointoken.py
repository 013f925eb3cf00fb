"""Join tokens: each launch has one of its own, which a command prints, and which only its VMs are given."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from elastiq import command
from elastiq.config import Settings
from elastiq.config.convert import MAX_USER_DATA, MAX_USER_DATA_AWS
from elastiq.config.vms import JOIN_TOKEN
from elastiq.errors import BatchError, CloudError, CloudFault
from elastiq.redaction import SHORTEST_KEY, Redactor

SECONDS = 20.0
"""How long the command has. One that makes a signature needs none of it, one that asks a daemon a few at most."""

LONGEST_TOKEN = 4096
"""Characters. Tokens of HTCondor have some 300, credentials of MUNGE up to a few thousand."""

SHORTEST_TOKEN = SHORTEST_KEY
"""Shorter ones could not be hidden where they turn up."""

_ENDS_BYTES = 16
"""What may be behind a token: line ends."""

LAUNCHES_KEPT = 8
"""So many of the last launches may be asked for again with what their VMs were given the first time."""

_SAID_CHARACTERS = 200

_PRINTED_LINES = 3
"""Of what a command has printed that failed, so many may be tokens."""


class JoinTokens:
    """Puts a token into the user data of each launch. Safe in several threads."""

    def __init__(self, settings: Settings, user_data: Mapping[str, bytes], redactor: Redactor) -> None:
        """`user_data` is that of each pool, rendered but for the token."""
        self._settings, self._user_data, self._redactor = settings, user_data, redactor
        self._lock = threading.Lock()
        self._made: dict[str, bytes] = {}
        """What the VMs of the last launches were given, by client tokens."""
        for data in user_data.values():
            if JOIN_TOKEN in data:
                # What comes behind a token has three forms in base64, and its length decides which.
                redactor.add((), (data.replace(JOIN_TOKEN, b"." * length) for length in range(3)))

    def user_data(self, pool: str, launch: str) -> bytes:
        """Return what the VMs of a launch are given, which its client token names: with a new token, unless it is asked
        for again; a cloud takes no other request for the same one.

        Raise CloudError, of CloudFault.JOIN_TOKEN, if there is no token, or the user data is too long with it.
        """
        given = self._user_data.get(pool, b"")
        arguments = self._settings.vm_options(pool).user_data_token_command
        if not arguments or JOIN_TOKEN not in given:
            return given
        with self._lock:
            kept = self._made.get(launch)
        if kept is not None:
            return kept
        token = self._token(arguments)
        made = given.replace(JOIN_TOKEN, token.encode())
        self._redactor.add_passing(token, made)
        most = MAX_USER_DATA_AWS if self._settings.ec2.is_aws else MAX_USER_DATA
        if len(made) > most:
            size = f"{len(made)} bytes long with a join token of {len(token)}, and no more than {most} are taken"
            raise CloudError(f"nothing was asked for: the user data is {size}; make it shorter", CloudFault.JOIN_TOKEN)
        with self._lock:
            self._made = dict([*self._made.items(), (launch, made)][-LAUNCHES_KEPT:])
        return made

    def _token(self, arguments: Sequence[str]) -> str:
        name = arguments[0]
        try:
            result = command.execute(arguments, SECONDS, output_limit_bytes=LONGEST_TOKEN + _ENDS_BYTES)
        except BatchError as error:
            raise _no_token(str(error)) from None
        printed = result.output.strip()
        if result.status:
            # It may have printed one before it failed, and say it once more among its complaints.
            for line in printed.splitlines()[:_PRINTED_LINES]:
                self._redactor.add_passing(line.strip())
            said = next((line for line in result.error_output.splitlines() if line.strip()), "")
            said = self._redactor.brief(said, _SAID_CHARACTERS)
            raise _no_token(f"{name} {result.ending}{f': {said}' if said else ''}")
        problem = _problem(printed)
        if problem:
            raise _no_token(f"{name} printed {problem}")
        return printed


def _problem(printed: str) -> str:
    """Return what is wrong with what the command has printed, without saying what it is; "" if it is a token."""
    if not printed:
        return "nothing"
    if len(printed.splitlines()) > 1:
        return "more than one line"
    if not (printed.isascii() and printed.isprintable()):
        return "what is no token: a character of it is not ASCII, or cannot be seen"
    if len(printed) < SHORTEST_TOKEN:
        return f"{len(printed)} characters, and a token has {SHORTEST_TOKEN} or more"
    return "" if len(printed) <= LONGEST_TOKEN else f"more than {LONGEST_TOKEN} characters"


def _no_token(why: str) -> CloudError:
    text = f"no join token, so nothing was asked for: {why}; see user_data_token_command"
    return CloudError(text, CloudFault.JOIN_TOKEN)
