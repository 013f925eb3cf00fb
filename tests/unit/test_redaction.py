"""What is secret and what is not: a shell shows values without their lines, a cloud sends back what it was sent."""

from __future__ import annotations

import re

import pytest

from elastiq.redaction import PASSING_KEPT, Redactor, secret_texts
from tests.unit.leaks import ENCODED, LEAKS, SECRET, USER_DATA, leaked, redactor


def redactor_of(user_data: bytes) -> Redactor:
    made = Redactor()
    made.add((), (user_data,))
    return made


@pytest.mark.parametrize("text", LEAKS.values(), ids=LEAKS)
def test_every_way_out_is_closed_whoever_speaks(text: str) -> None:
    assert leaked(text)
    for cleaned in (redactor().clean(text), redactor().clean(text, foreign=True), redactor().brief(text, 300)):
        assert not leaked(cleaned)
    assert redactor().clean(redactor().clean(text)) == redactor().clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "exit 0; fi; i-0123456789abcdef0; /usr/lib/python3/distpackages/elastiq/abcdefghijklmnop",
        '  File "/usr/lib/python3/dist-packages/elastiq/planning/tracking.py", line 12, in _merged_with_all_known',
        "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0 is missing",
        "elastiq-a1b2c3d4-0000-1111-2222-333344445555 has no answer yet",
        "tests/unit/ec2/test_DescribeInstances/InsufficientInstanceCapacity/UnauthorizedOperation",
        "slot1@ip-10-0-0-1.example.org, <10.0.0.1:9618?addrs=10.0.0.1-9618&alias=ip-10-0-0-1>, https://example.org/@",
        "-" * 300,
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redactor().clean(text) == text


def test_a_key_of_few_letters_is_not_hidden_letter_by_letter() -> None:
    made = Redactor()
    made.add(("a", "secret7"), ())
    assert made.clean("a launch was refused: secret7 YQ==") == "a launch was refused: secret7 YQ=="
    made.add(("secret-8",), ())
    assert made.clean("secret-8") == "(hidden)"


def test_the_longer_secret_is_hidden_whole() -> None:
    made = Redactor()
    made.add(("password", "password-and-more"), ())
    assert made.clean("password-and-more") == "(hidden)"


def test_short_lines_of_the_user_data_are_hidden_only_where_others_speak() -> None:
    assert USER_DATA.endswith(b"exit 0\n")
    assert redactor().clean("exit 0", foreign=True) == "(hidden)"
    assert redactor().clean("exit 0") == "exit 0"


def test_of_an_echo_the_beginning_alone_is_shown() -> None:
    """Pieces that are too short to be known are not shown either."""
    echo = "user_data is too long: " + " ".join(re.findall(".{1,7}", ENCODED)) * 20
    assert len(redactor().brief(echo, 300)) == 80
    assert len(redactor().brief(echo[:2000], 300)) == 300


def test_marks_in_a_row_are_one() -> None:
    assert redactor().brief(f"{SECRET}, {SECRET}\n{SECRET} is wrong", 300) == "(hidden) is wrong"


SECRETS = [
    ("POOL_PASSWORD='s3cret-pool-word'", "+ POOL_PASSWORD=s3cret-pool-word", "s3cret-pool-word"),
    ('export TOKEN="two secret words"; run', "+ export 'TOKEN=two secret words'", "two secret words"),
    ("A=1 POOL_TOKEN=c2VjcmV0cw== ./join --now", "+ POOL_TOKEN=c2VjcmV0cw==", "c2VjcmV0cw"),
    ('join --token="t0ps3cret" --now', "+ join --token=t0ps3cret --now", "t0ps3cret"),
    ("join --key=t0ps3cret; exit", "+ join --key=t0ps3cret", "t0ps3cret"),
    ('curl -H "Authorization: Bearer t0ps3cret" "$url"', "+ curl -H 'Authorization: Bearer t0ps3cret' x", "t0ps3cret"),
    ("  password: correct horse battery", "password set to correct horse battery", "horse"),
    ('{"auth": "t0ps3cret"}', "auth t0ps3cret", "t0ps3cret"),
    ("PASSWORD=\\$wordfish\\$", "password is \\$wordfish\\$", "wordfish"),
    ("PASSWORD=swordfish", "+ PASSWORD=swordfish", "swordfish"),
    ("JOIN=8f14e45f-ceea-467f-a8a5-0a1b2c3d4e5f", "JOIN=8f14e45f-ceea-467f-a8a5-0a1b2c3d4e5f", "ceea-467f"),
    ("proxy=http://me:t0ps3cret@proxy.example.org", "proxy http://me:t0ps3cret@proxy.example.org", "t0ps3cret"),
    ("SECRET=correct.horse.battery", "+ SECRET=correct.horse.battery", "horse"),
]


@pytest.mark.parametrize(("line", "shown", "secret"), SECRETS)
def test_a_value_is_hidden_without_its_line(line: str, shown: str, secret: str) -> None:
    made = redactor_of(f"#!/bin/sh -x\n{line}\n".encode())
    assert secret in shown
    for text in (made.clean(shown, foreign=True), made.brief(shown, 300), made.clean(shown)):
        assert secret not in text


HARMLESS = """\
# Note: terminate
TOKEN_FILE=/etc/condor/tokens.d/pool
export DEBIAN_FRONTEND=noninteractive
CONDOR_HOST = head01.example.org
HEAD_ADDRESS=192.168.100.10
collector=192.168.100.10:9618
role: condor_startd
head_name='ip-172-31-20-8.eu-west-1.compute.internal'
AWS_DEFAULT_REGION=eu-west-1
https_proxy=http://proxy.example.org:3128
url=https://cloud.example.org/ec2/Cloud
SGE_ROOT=/opt/SGE/default
head6=fd00:10::77:1
server=head-01.example.org
mode=0755
x=y
"""


@pytest.mark.parametrize(
    "text",
    [
        "terminate",
        "/etc/condor/tokens.d/pool: no such file",
        "noninteractive",
        "no route to host head01.example.org (192.168.100.10:9618)",
        "condor_startd has ended",
        "schedd ip-172-31-20-8.eu-west-1.compute.internal, which may run jobs there, does not answer",
        'Could not connect to "https://ec2.eu-west-1.amazonaws.com/"',
        "Failed to connect to proxy URL: http://proxy.example.org:3128",
        "https://cloud.example.org/ec2/Cloud has not answered",
        "/opt/SGE/default: no such file",
        "no route to fd00:10::77:1",
        "no such host: head-01.example.org",
        "mode 0755, y",
    ],
)
def test_what_helps_to_find_faults_stays_readable(text: str) -> None:
    made = redactor_of(HARMLESS.encode())
    assert made.clean(text) == text
    assert made.clean(text, foreign=True) == text


def test_lines_are_hidden_from_the_given_length_on() -> None:
    assert secret_texts(b"short\n  longer\n", 6) == {"longer"}
    assert secret_texts(b"\xff\xfe", 6) == set()


@pytest.mark.long
def test_a_line_of_many_signs_gives_no_more_than_its_length_many_times() -> None:
    """The user data of a cloud may be 48 kB in one line."""
    assert sum(map(len, secret_texts(b"a=" * 20_000, 6))) < 30_000_000


JWT = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6IlBPT0wifQ.eyJleHAiOjE3OTU5MjQxOTMsImlhdCI6MTc5NTkyNDEzMywiaXNzIjoicG9vbC5leGFtcGxlIiwi"
    "anRpIjoiNzgxMjgwYjMyNjgxZjA4MmZlY2E5OGM1ZjY3M2FlMTUiLCJzdWIiOiJlbGFzdGlxQHBvb2wuZXhhbXBsZSJ9."
    "FO47eqhsoGZ7eZMT_BYYuGw3yk60iIDmFcA77DwuHGw"
)
"""What condor_token_fetch prints; of a pool that is no more."""


def test_a_passing_secret_is_forgotten_when_many_others_have_come() -> None:
    made = Redactor()
    made.add(("lasting-secret",), ())
    for number in range(PASSING_KEPT + 1):
        made.add_passing(f"passing-secret-{number:04}")
    assert made.clean("passing-secret-0000") == "passing-secret-0000"
    assert made.clean("passing-secret-0001") == "(hidden)"
    assert made.clean(f"passing-secret-{PASSING_KEPT:04}, lasting-secret") == "(hidden), (hidden)"


def test_a_passing_secret_is_hidden_whole_although_a_part_of_it_is_known() -> None:
    made = Redactor()
    made.add(("password",), ())
    made.add_passing("a password that passes")
    assert made.clean("a password that passes; password") == "(hidden); (hidden)"


def test_what_is_too_short_to_be_hidden_is_not() -> None:
    made = Redactor()
    made.add_passing("secret7")
    assert made.clean("secret7") == "secret7"


def test_the_place_of_a_token_is_no_secret() -> None:
    made = redactor_of(b"pool_token='%join_token%'\n%join_token%\n")
    assert made.clean("elastiq.conf:4: has %join_token% in it") == "elastiq.conf:4: has %join_token% in it"


def test_of_a_token_that_nobody_has_told_of_nothing_is_shown_that_lets_one_in() -> None:
    """As one of a launch before a restart, on the console of its VM: what is signed, and the signature."""
    assert Redactor().clean(f"+ pool_token={JWT}") == "+ (hidden).(hidden).(hidden)"
