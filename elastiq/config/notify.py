"""The section [notify]: who is told of what people should know of, and what single values of it do not show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from elastiq.config.addresses import is_here
from elastiq.config.options import DAY, ValueKind, option
from elastiq.config.reading import Reading

EVENTS: Mapping[str, str] = {
    "breaker": "launches pause for more than a minute, after failed boots or refusals",
    "unreadable": "queue, workers or VMs have not been readable for silent_after_s",
    "unknown-vm": "a VM may be elastiq's own, and nothing tells; or no worker is known for sure to be its own",
    "leaked-vm": "a VM that is to go has not been terminated for half an hour, or left the listings for as long",
    "in-vain": "jobs do not start although there is room for them",
    "cap": "jobs wait, and max_per_hour, max_per_day or max_per_month leaves no money for another VM",
    "defect": "a pass was given up, by a defect in elastiq or because its state cannot be written",
}
"""What notices are about, and when. elastiq.report.notices says what shows each."""

SENDMAIL = ("/usr/sbin/sendmail",)

WEBHOOK, WEBHOOK_FILE, PLAIN = "[notify] webhook", "[notify] webhook_file", "[notify] webhook_plain_http"


@dataclass(frozen=True)
class NotifyOptions:
    """Who is told when people should look: at most one notice an hour of each kind of event, with how often it came
    since, and one when it is over. Nobody is told of anything unless one of mail, webhook and command is given."""

    mail: tuple[str, ...] = option(
        (),
        "Addresses that notices are mailed to, with commas between them.",
        kind=ValueKind.LIST,
        pattern=r"[A-Za-z0-9][A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]*(@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)?",
        example="admin@example.org, root",
        new=True,
        is_choice=True,
        default_text="nobody",
    )
    sendmail: tuple[str, ...] = option(
        SENDMAIL,
        "The program that mails them, with arguments of its own if it needs any: that of Postfix, Exim, sendmail, "
        "msmtp or nullmailer. It is given -i -- and the addresses, and the mail on its standard input. As a service of "
        "systemd elastiq starts none that needs rights of others, as those of Postfix, Exim and nullmailer do; msmtp "
        "needs none.",
        kind=ValueKind.COMMAND,
        example="/usr/sbin/sendmail",
        new=True,
        default_text="/usr/sbin/sendmail",
    )
    webhook: str = option(
        "",
        "Address to which notices are posted, as JSON that incoming webhooks of Slack, Mattermost and Matrix "
        "(hookshot) take. It is a secret, for who knows it may post there. The receiver's certificate is checked; "
        "proxies are taken from https_proxy and no_proxy in the daemon's environment, another certificate authority "
        "from SSL_CERT_FILE.",
        kind=ValueKind.WEBHOOK,
        example="https://hooks.example.org/services/T000/B000/0000",
        new=True,
        default_text="none",
    )
    webhook_file: bytes = option(
        b"",
        "A file that holds that address, in place of webhook. A relative path begins where this configuration file is.",
        kind=ValueKind.WEBHOOK_FILE,
        example="/etc/elastiq.webhook",
        new=True,
        default_text="none",
    )
    webhook_plain_http: bool = option(
        False,
        "Whether that address may begin with http:// if it is not on this machine. Everybody on the way can then read "
        "notices and address.",
        new=True,
    )
    command: tuple[str, ...] = option(
        (),
        "A program, with its whole path, and its arguments, with spaces between them: it reads the same JSON from its "
        "standard input. There is no shell, so quotes and $ mean nothing. It has 10 s.",
        kind=ValueKind.COMMAND,
        example="/usr/local/bin/tell-us --about elastiq",
        new=True,
        default_text="none",
    )
    events: tuple[str, ...] = option(
        tuple(EVENTS),
        "Kinds of events that are told of, with commas between them. "
        + " ".join(f"{name}: {meaning}." for name, meaning in EVENTS.items()),
        kind=ValueKind.LIST,
        choices=tuple(EVENTS),
        example=", ".join(EVENTS),
        new=True,
        is_choice=True,
        default_text="all",
    )
    silent_after_s: float = option(
        900.0,
        "For how long queue, workers or VMs must not have been readable before that is told.",
        minimum=60,
        maximum=7 * DAY,
        example="15m",
        new=True,
        default_text="15m",
    )

    @property
    def address(self) -> str:
        """Return where notices are posted; empty: nowhere."""
        return self.webhook or self.webhook_file.decode()

    @property
    def is_used(self) -> bool:
        """Return whether anybody is told."""
        return bool(self.mail or self.address or self.command)

    def secrets(self) -> tuple[str, ...]:
        """Return what must not be shown of the address: all behind the host, also alone. The name of the host is a
        word that may stand anywhere."""
        parts = urlsplit(self.address)
        behind = parts.path + (f"?{parts.query}" if parts.query else "")
        pieces = behind.replace("?", "/").replace("&", "/").replace("=", "/").split("/")
        # A piece of letters alone (services, incoming-webhook) is a common word, no key.
        keys = (piece for piece in pieces if not piece.replace("-", "").isalpha())
        return tuple(dict.fromkeys(filter(None, (behind, *keys)))) if parts.netloc else ()


def check(reading: Reading) -> None:
    """Tell `reading` what is wrong or odd about the section as a whole."""
    if reading.given(WEBHOOK) and reading.given(WEBHOOK_FILE):
        first = reading.line(WEBHOOK)
        reading.fault(WEBHOOK_FILE, f"given besides webhook in line {first}; give only one of them")
    for title in (WEBHOOK, WEBHOOK_FILE):
        value = reading.values.get(title)
        address = value.decode() if isinstance(value, bytes) else str(value or "")
        if address.startswith("http:") and not is_here(address) and reading.value(PLAIN) is False:
            reading.fault(
                title,
                "begins with http:// and is not on this machine, so that everybody on the way could read it; give "
                "https://, or webhook_plain_http = yes if that is no harm",
            )
    sendmail = str(SENDMAIL[0])
    if reading.given("[notify] mail") and not reading.given("[notify] sendmail") and not os.access(sendmail, os.X_OK):
        reading.warn("[notify] mail", f"there is no {sendmail} to send it by; install one, or name another in sendmail")
    receivers = (*(f"[notify] {name}" for name in ("mail", "command")), WEBHOOK, WEBHOOK_FILE)
    others = [f"[notify] {name}" for name in ("events", "silent_after_s", "sendmail", "webhook_plain_http")]
    given = [title for title in others if reading.given(title)]
    if given and not any(map(reading.given, receivers)):
        reading.warn(given[0], "nobody is told of anything: give mail, webhook or command, too")
