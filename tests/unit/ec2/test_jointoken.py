"""Join tokens: whose they are, what is no token, and that none is said."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from elastiq.ec2 import jointoken
from elastiq.ec2.jointoken import LAUNCHES_KEPT, LONGEST_TOKEN, JoinTokens
from elastiq.errors import CloudError, CloudFault
from elastiq.redaction import Redactor
from tests.unit.fakes import settings_with

USER_DATA = b"#!/bin/sh\npool_token='%join_token%'\nexec join\n"
TOKEN = "canary-0123456789.abcdefghij"
EACH_ITS_OWN = "echo run >>count; echo token-number-$(wc -l <count)"


def program(directory: Path, script: str) -> str:
    """Return the path of a program that runs `script` in `directory`."""
    path = directory / "make-token"
    path.write_text(f"#!/bin/sh\ncd {directory}\n{script}\n")
    path.chmod(0o755)
    return str(path)


def tokens(directory: Path, script: str, user_data: bytes = USER_DATA, **settings: object) -> JoinTokens:
    arguments = (program(directory, script), "-lifetime", "60")
    made = settings_with(user_data_token_command=arguments, **settings)
    return JoinTokens(made, {"default": user_data}, Redactor())


def runs(directory: Path) -> int:
    counted = directory / "count"
    return len(counted.read_text().splitlines()) if counted.exists() else 0


def test_each_launch_has_a_token_of_its_own(tmp_path: Path) -> None:
    made = tokens(tmp_path, EACH_ITS_OWN)
    first, second = made.user_data("default", "launch-1"), made.user_data("default", "launch-2")
    assert first == USER_DATA.replace(b"%join_token%", b"token-number-1")
    assert second == USER_DATA.replace(b"%join_token%", b"token-number-2")


def test_a_launch_that_is_asked_for_again_is_the_same_request(tmp_path: Path) -> None:
    """EC2 refuses another one of the same client token."""
    made = tokens(tmp_path, EACH_ITS_OWN)
    first = made.user_data("default", "launch-1")
    assert made.user_data("default", "launch-1") == first
    assert runs(tmp_path) == 1
    for number in range(LAUNCHES_KEPT):
        made.user_data("default", f"later-{number}")
    assert made.user_data("default", "launch-1") != first, "nothing is kept for ever"


@pytest.mark.parametrize(
    ("user_data", "has_command"), [(b"#!/bin/sh\n", True), (b"", True), (USER_DATA, False)], ids=repr
)
def test_the_command_is_run_only_where_its_token_goes_somewhere(
    user_data: bytes, has_command: bool, tmp_path: Path
) -> None:
    made = tokens(tmp_path, EACH_ITS_OWN, user_data)
    if not has_command:
        made = JoinTokens(settings_with(), {"default": user_data}, Redactor())
    assert made.user_data("default", "launch-1") == user_data
    assert made.user_data("a pool that is gone", "launch-1") == b""
    assert not runs(tmp_path)


def test_the_token_stands_in_all_places(tmp_path: Path) -> None:
    made = tokens(tmp_path, f"printf %s '{TOKEN}'", b"%join_token%%join_token% %join_token\xff%join_token%")
    token = TOKEN.encode()
    assert made.user_data("default", "launch-1") == token + token + b" %join_token\xff" + token


@pytest.mark.parametrize("script", [f"echo '{TOKEN}'", f"printf '\\n {TOKEN}\\r\\n\\n'", f"printf %s '{TOKEN}'"])
def test_what_is_around_a_token_is_no_part_of_it(script: str, tmp_path: Path) -> None:
    assert TOKEN.encode() + b"'" in tokens(tmp_path, script).user_data("default", "launch-1")


NO_TOKENS = {
    "nothing": ("true", "printed nothing"),
    "spaces": ("printf '\\n  \\n'", "printed nothing"),
    "two lines": (f"echo {TOKEN}; echo {TOKEN}", "printed more than one line"),
    "another kind of line end": (f"printf '{TOKEN}\\r{TOKEN}'", "printed more than one line"),
    "a control character": (f"printf '{TOKEN}\\033[2J'", "printed what is no token: a character of it is not ASCII"),
    "a NUL byte": (f"printf '{TOKEN}\\000'", "printed what is no token"),
    "not ASCII": (f"printf '{TOKEN}\\303\\274'", "printed what is no token"),
    "not UTF-8": (f"printf '{TOKEN}\\377'", "printed what is no token"),
    "too short to be hidden": ("echo abc-123", "printed 7 characters, and a token has 8 or more"),
    "too long": (f"head -c {LONGEST_TOKEN + 1} /dev/zero | tr '\\0' a", "printed more than 4096 characters"),
    "endless": ("yes", "wrote more than 4112 bytes and was killed"),
    "failed": ("exit 3", "make-token failed with exit status 3; see user_data_token_command"),
    "failed with words": (
        "echo; echo 'no signing key' >&2; echo 'at line 3' >&2; exit 1",
        "make-token failed with exit status 1: no signing key; see user_data_token_command",
    ),
    "killed": ("kill -9 $$", "make-token was killed by SIGKILL"),
    "words of a terminal": ("printf 'no\\033[2J\\tkey' >&2; exit 1", ": no [2J key; see"),
}


@pytest.mark.parametrize(("script", "said"), NO_TOKENS.values(), ids=NO_TOKENS)
def test_what_is_no_token_is_refused_and_not_said(script: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(CloudError) as failed:
        tokens(tmp_path, script).user_data("default", "launch-1")
    assert failed.value.fault is CloudFault.JOIN_TOKEN
    assert not failed.value.uncertain
    text = str(failed.value)
    assert text.startswith("no join token, so nothing was asked for: ")
    assert said in text
    assert text.isprintable()
    assert len(text) < 500
    assert TOKEN not in text
    assert "canary" not in text


def test_what_a_command_prints_before_it_fails_is_a_secret(tmp_path: Path) -> None:
    made = tokens(tmp_path, f"echo {TOKEN}; echo 'cannot write {TOKEN}' >&2; exit 1")
    with pytest.raises(CloudError, match=r"exit status 1: cannot write \(hidden\); see"):
        made.user_data("default", "launch-1")


def test_a_command_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jointoken, "SECONDS", 0.3)
    with pytest.raises(CloudError, match=r"gave no complete answer within 0\.3 s and was killed"):
        tokens(tmp_path, f"echo {TOKEN}; sleep 600").user_data("default", "launch-1")


def test_a_command_that_is_gone_is_named(tmp_path: Path) -> None:
    made = tokens(tmp_path, "true")
    (tmp_path / "make-token").unlink()
    with pytest.raises(CloudError, match="make-token was not found"):
        made.user_data("default", "launch-1")


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    made = tokens(tmp_path, f"test -e good || exit 1; echo {TOKEN}")
    with pytest.raises(CloudError, match="exit status 1"):
        made.user_data("default", "launch-1")
    (tmp_path / "good").touch()
    assert TOKEN.encode() in made.user_data("default", "launch-1")


@pytest.mark.parametrize(("region", "most"), [("", 49149), ("eu-west-1", 16384)])
def test_the_token_counts_for_the_length_of_the_user_data(region: str, most: int, tmp_path: Path) -> None:
    url = {} if region else {"api_url": "https://cloud.example.org:8773/"}
    for length in (most, most + 1):
        content = b"%join_token%" + b"x" * (length - len(TOKEN))
        made = tokens(tmp_path, f"echo {TOKEN}", content, region=region, **url)
        if length == most:
            assert len(made.user_data("default", "launch-1")) == most
            continue
        with pytest.raises(CloudError, match=f"is {length} bytes long with a join token of {len(TOKEN)}") as failed:
            made.user_data("default", "launch-1")
        assert failed.value.fault is CloudFault.JOIN_TOKEN


def test_no_variable_of_the_cloud_is_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-of-the-environment")
    made = tokens(tmp_path, 'test -z "$AWS_SECRET_ACCESS_KEY" && echo token-without-it')
    assert b"token-without-it" in made.user_data("default", "launch-1")


@pytest.mark.parametrize("token", [TOKEN, TOKEN + "k", TOKEN + "kl"])
def test_the_redactor_knows_it_however_it_is_echoed(token: str, tmp_path: Path) -> None:
    redactor = Redactor()
    settings = settings_with(user_data_token_command=(program(tmp_path, f"echo '{token}'"),))
    made = JoinTokens(settings, {"default": USER_DATA}, redactor).user_data("default", "launch-1")
    redactor.add((), [USER_DATA])
    encoded = base64.b64encode(made).decode().rstrip("=")
    for width in range(10, 60):
        for start in range(len(encoded) - width):
            piece = encoded[start : start + width]
            assert redactor.clean(f"<{piece}>") == "<(hidden)>", f"{width} characters from {start} on"
    assert redactor.clean(f"+ pool_token={token}") == "+ pool_token=(hidden)"
    assert token[:12] not in redactor.clean(repr(made))
