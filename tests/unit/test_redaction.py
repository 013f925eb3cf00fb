"""What of the user data is secret: a shell shows values without the lines that they came from."""

from __future__ import annotations

import pytest

from elastiq.ec2.errors import Scrubber
from elastiq.process.logs import Redactor
from elastiq.redaction import secret_texts

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
    user_data = f"#!/bin/sh -x\n{line}\n".encode()
    redactor = Redactor()
    redactor.add((), (user_data,))
    assert secret in shown
    for text in (Scrubber((), user_data).hide(shown), Scrubber((), user_data)(shown), redactor.clean(shown)):
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
    redactor = Redactor()
    redactor.add((), (HARMLESS.encode(),))
    assert redactor.clean(text) == text
    assert Scrubber((), HARMLESS.encode()).hide(text) == text


def test_lines_are_hidden_from_the_given_length_on() -> None:
    assert secret_texts(b"short\n  longer\n", 6) == {"longer"}
    assert secret_texts(b"\xff\xfe", 6) == set()


def test_a_line_of_many_signs_gives_no_more_than_its_length_many_times() -> None:
    """The user data of a cloud may be 48 kB in one line."""
    assert sum(map(len, secret_texts(b"a=" * 20_000, 6))) < 30_000_000
