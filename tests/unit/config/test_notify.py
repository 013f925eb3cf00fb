"""The section [notify]: what it may say, what is refused, and what of it is secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.config import notify as notify_section
from elastiq.config.notify import EVENTS, NotifyOptions
from elastiq.errors import ConfigError
from elastiq.redaction import HIDDEN, Redactor
from tests.unit.config.rig import IMAGE, loaded, warnings_of

SECRET = "https://hooks.example.org/services/T0A1B2C3D/B0A1B2C3D/aBcDeFgHiJkLmNoPqRsTuVwX"


def notify(directory: Path, *lines: str) -> NotifyOptions:
    return loaded(directory, "\n".join([IMAGE, "[notify]", *lines, ""])).notify


def problems(directory: Path, *lines: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        notify(directory, *lines)
    return [one.replace(f"{directory}/", "").partition(": [notify] ")[2] for one in caught.value.problems]


def test_nobody_is_told_unless_the_file_says_so(tmp_path: Path) -> None:
    made = loaded(tmp_path, IMAGE).notify
    assert not made.is_used and made.address == "" and made.events == tuple(EVENTS)


def test_all_of_it(tmp_path: Path) -> None:
    made = notify(
        tmp_path,
        "mail = a.b+c@example.org, root",
        "sendmail = /bin/true -C x",
        f"webhook = {SECRET} # chat",
        "command = /bin/sh  -x $HOME",
        "events = defect, breaker",
        "silent_after_s = 1h",
    )
    assert made == NotifyOptions(
        mail=("a.b+c@example.org", "root"),
        sendmail=("/bin/true", "-C", "x"),
        webhook=SECRET,
        command=("/bin/sh", "-x", "$HOME"),
        events=("defect", "breaker"),
        silent_after_s=3600,
    )
    assert made.is_used


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["mail = a@b.org, -oQ/tmp"],
            ["mail: '-oQ/tmp' is none; give names with commas between them, such as admin@example.org, root"],
        ),
        (["mail = a@b.org b@b.org"], ["mail: 'a@b.org b@b.org' has a space in it; put a comma between two names"]),
        (
            ["mail = a@b.org|x"],
            ["mail: 'a@b.org|x' is none; give names with commas between them, such as admin@example.org, root"],
        ),
        (["events = braeker"], ["events: 'braeker' is not known, did you mean breaker?"]),
        (["webhok = x"], ["webhok: unknown option, did you mean webhook?"]),
        (
            ["command = tell-us"],
            ["command: 'tell-us' is a relative path; write the whole path of the program, from / on"],
        ),
        (["command = /no/such x"], ["command: /no/such is not there"]),
        (["command = /etc/passwd"], ["command: /etc/passwd is no program that can be run"]),
        (
            ["webhook = ftp://hooks.example.org/x"],
            ["webhook: is not an address that begins with https:// and names a host"],
        ),
        (
            ["webhook = https://me:secret@hooks.example.org/x"],
            ["webhook: has a user name, a password or a # in it, which is not sent; give it as the receiver shows it"],
        ),
        (["webhook = https://hooks.example.org:x/"], ["webhook: is not a valid address (host or port is wrong)"]),
        (
            [f"webhook = {SECRET}", "webhook_file = hook"],
            ["webhook_file: given besides webhook in line 6; give only one of them"],
        ),
        (
            ["webhook = http://hooks.example.org/x"],
            [
                "webhook: begins with http:// and is not on this machine, so that everybody on the way could read it; "
                "give https://, or webhook_plain_http = yes if that is no harm"
            ],
        ),
        (["webhook_file = nothing"], ["webhook_file: nothing cannot be read: No such file or directory"]),
        (
            ["webhook_file = words"],
            ["webhook_file: what words holds is not an address that begins with https:// and names a host"],
        ),
    ],
)
def test_what_is_refused(lines: list[str], told: list[str], tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(f"{SECRET}\n")
    (tmp_path / "words").write_text("some words\n")
    assert problems(tmp_path, *lines) == told


@pytest.mark.parametrize("address", ["http://127.0.0.1:8080/x", "http://[::1]/x", "http://localhost/x"])
def test_without_tls_on_this_machine_alone(address: str, tmp_path: Path) -> None:
    assert notify(tmp_path, f"webhook = {address}").address == address
    other = "http://192.0.2.1/x"
    assert notify(tmp_path, f"webhook = {other}", "webhook_plain_http = yes").address == other


def test_the_address_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(f"  {SECRET}\n\n")
    (tmp_path / "hook").chmod(0o600)
    assert notify(tmp_path, "webhook_file = hook").address == SECRET


def test_what_is_odd(tmp_path: Path) -> None:
    assert warnings_of(tmp_path, f"{IMAGE}[notify]\nevents = breaker\n") == [
        "/elastiq.conf:5: [notify] events: nobody is told of anything: give mail, webhook or command, too"
    ]


def test_an_address_that_others_can_read(reachable: Path) -> None:
    (reachable / "hook").write_text(SECRET)
    (reachable / "hook").chmod(0o604)
    (said,) = warnings_of(reachable, f"{IMAGE}[notify]\nwebhook_file = hook\n")
    assert "anybody on this machine can read or change /hook, and who knows that address may post there" in said


def test_a_sendmail_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notify_section, "SENDMAIL", ("/no/sendmail",))
    assert warnings_of(tmp_path, f"{IMAGE}[notify]\nmail = root\n") == [
        "/elastiq.conf:5: [notify] mail: there is no /no/sendmail to send it by; install one, or name another in "
        "sendmail"
    ]


@pytest.mark.parametrize("where", ["webhook", "webhook_file"])
def test_the_address_is_a_secret_but_not_its_host(where: str, tmp_path: Path) -> None:
    (tmp_path / "hook").write_text(SECRET)
    settings = loaded(tmp_path, f"{IMAGE}[notify]\n{where} = {SECRET if where == 'webhook' else 'hook'}\n")
    redactor = Redactor()
    redactor.add(settings.secrets(), [])
    assert "aBcDeFgH" not in repr(settings)
    said = redactor.clean(f"POST {SECRET}: the services of hooks.example.org refuse aBcDeFgHiJkLmNoPqRsTuVwX")
    assert said == f"POST https://hooks.example.org{HIDDEN}: the services of hooks.example.org refuse {HIDDEN}"
