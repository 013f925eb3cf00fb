"""Whoever answers in the place of the cloud gets neither keys nor the daemon's memory or time."""

from __future__ import annotations

import base64
import gc
import gzip
import shutil
import ssl
import subprocess
import tracemalloc
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from elastiq.ec2 import MOST_INSTANCES, Ec2, Limits
from elastiq.ec2.answers import CONSOLE_LINES, LINE_CHARACTERS, WORD_CHARACTERS
from elastiq.ec2.bounds import MOST_ANSWER_BYTES
from elastiq.ec2.sending import MAX_STUCK_REQUESTS
from elastiq.errors import CloudError
from elastiq.model import Pool
from elastiq.planning.launching import MOST_VMS_AT_ONCE
from elastiq.report.status import picture
from elastiq.state import read_report
from tests.bench.replay import Replay
from tests.security.floods import DOCUMENTS, FLOODS, MEGABYTE, SLOW, listed, pages, vm
from tests.security.hostile import GOOD, Answer, Server, serve
from tests.unit.fakes import settings_with
from tests.unit.rig import SETTINGS, Rig

pytestmark = pytest.mark.xdist_group("security")

KEY, SECRET = "AKIACANARYKEYIDCANARY", "canarySecretwJalrXUtnFEMIK7MDENGbPx"
USER_DATA = b"#!/bin/sh\nexport POOL_PASSWORD=canary-pool-password\n"
LONG = 120.0
ONCE = Limits(connect_seconds=LONG, read_seconds=LONG, launch_seconds=LONG, attempts=1, deadline_seconds=LONG)


@pytest.fixture(autouse=True)
def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def cloud(url: str, limits: Limits = ONCE, **options: object) -> Ec2:
    settings = settings_with(
        api_url=url,
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        image_id="ami-12345678",
        flavour="m5.large",
        cluster_name="physics",
        **options,
    )
    return Ec2(settings, user_data={"default": USER_DATA}, limits=limits)


@pytest.mark.parametrize("flood", FLOODS.values(), ids=list(FLOODS))
def test_no_more_than_so_much_is_read_of_an_answer(flood: Answer) -> None:
    with serve(flood) as server:
        with pytest.raises(CloudError):
            cloud(server.url).list_instances(everything=True)
        assert server.ended.acquire(timeout=LONG), "the connection is closed, or the server could go on for ever"
    buffers_bytes = 20_000_000
    assert server.sent_bytes < MOST_ANSWER_BYTES + buffers_bytes


@pytest.mark.parametrize(("document", "said"), DOCUMENTS.values(), ids=list(DOCUMENTS))
def test_a_document_that_is_none_of_ec2_is_refused(document: bytes, said: str) -> None:
    with serve(lambda to: to.answer(document)) as server, pytest.raises(CloudError) as refused:
        cloud(server.url).list_instances(everything=True)
    assert said in str(refused.value)
    assert "root:" not in str(refused.value)
    assert len(str(refused.value)) < 500
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("flood", [*FLOODS.values(), lambda to: to.answer(b" " * 11_000_000)], ids=[*FLOODS, "no XML"])
def test_what_is_refused_is_not_kept(flood: Answer) -> None:
    gc.collect()
    gc.disable()
    try:
        with serve(flood) as server:
            tracemalloc.start()
            ec2 = cloud(server.url)
            for _ in range(3):
                with pytest.raises(CloudError):
                    ec2.list_instances(everything=True)
            kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert kept_bytes < MOST_ANSWER_BYTES


def test_the_answer_to_the_largest_launch_is_no_flood() -> None:
    """Of VMs as AWS describes them, each with three network interfaces, which large types may have."""
    asked = {"Action": ["RunInstances"], "MaxCount": [f"{MOST_VMS_AT_ONCE}"], "ClientToken": ["token-1"]}
    answer, ends = Replay(0, "running", 0.0).answer(asked), b"</networkInterfaceSet>"
    assert answer is not None
    interface = answer.partition(b"<networkInterfaceSet>")[2].partition(ends)[0]
    with serve(lambda to: to.answer(answer.replace(ends, 2 * interface + ends))) as server:
        launched = cloud(server.url).launch(Pool(instance_type="m5.large"), MOST_VMS_AT_ONCE, "token-1")
    assert len({instance.id for instance in launched}) == MOST_VMS_AT_ONCE


def test_what_is_compressed_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    with serve(lambda to: to.answer(bomb, b"Content-Encoding: gzip\r\n")) as server, pytest.raises(CloudError):
        cloud(server.url).list_instances(everything=True)
    assert server.sent_bytes < 1_000_000


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See", b"307 Temporary", b"308 Permanent"])
def test_a_redirection_is_not_followed(status: bytes) -> None:
    with serve(lambda to: to.answer(GOOD % b"")) as thief:
        location = b"Location: %b\r\n" % thief.url.encode()
        with serve(lambda to: to.answer(b"", location, status)) as server:
            ec2 = cloud(server.url)
            for ask in (
                lambda: ec2.list_instances(everything=True),
                lambda: ec2.launch(Pool(instance_type="m5.large"), 1, "token-1"),
                lambda: ec2.terminate(["i-0123456789abcdef0"]),
            ):
                with pytest.raises(CloudError) as refused:
                    ask()
                # Of a 303 urllib3 itself cannot make another request.
                assert "a redirection to http://127.0.0.1" in str(refused.value) or status == b"303 See"
        assert server.requests
        assert thief.requests == [], "neither a signature nor user data"


def test_a_proxy_of_the_environment_sees_what_is_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with boto3; what it sees is in docs/security.md."""
    with serve(lambda to: to.answer(GOOD % b"")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "")
        cloud("http://cloud.example.org/").list_instances(everything=True)
    assert proxy.requests[0].startswith(b"POST http://cloud.example.org/")
    assert SECRET.encode() not in proxy.requests[0]


def test_the_secret_key_itself_is_in_no_request() -> None:
    with serve(lambda to: to.answer(GOOD % b"")) as server:
        cloud(server.url).list_instances(everything=True)
    assert server.requests
    assert not any(SECRET.encode() in request for request in server.requests)


IDS = [
    b"",
    b" ",
    b"--all",
    b"i-1\x07",
    b"i-1\n2026 ERROR",
    b"../../x",
    b"i 1",
    b"*",
    b"i" * 101,
    MEGABYTE,
    "\u0456-1".encode(),
]


@pytest.mark.parametrize("id_", IDS, ids=lambda id_: repr(id_[:20]))
def test_what_is_no_id_makes_the_listing_unknown(id_: bytes) -> None:
    document = listed(vm(b"i-0123456789abcdef0"), vm(id_))
    with serve(lambda to: to.answer(document)) as server, pytest.raises(CloudError) as refused:
        cloud(server.url).list_instances(everything=True)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500


def test_names_types_and_tags_of_a_vm_are_made_short_and_harmless() -> None:
    evil = "<![CDATA[\u202e\u2028" + "y" * 100_000 + "]]>"
    fields = "".join(
        f"<{name}>{evil}</{name}>" for name in ("privateDnsName", "instanceType", "imageId", "clientToken")
    )
    tag = f"<tagSet><item><key>elastiq:pool</key><value>{evil}</value></item></tagSet>"
    with serve(lambda to: to.answer(listed(vm(b"i-1", (fields + tag).encode())))) as server:
        found = cloud(server.url).list_instances(everything=True)[0]
    for text in (found.name, found.type, found.image_id, found.client_token, found.pool):
        assert text.startswith("??y") and len(text) <= WORD_CHARACTERS


def test_one_vm_many_times_is_one() -> None:
    document = listed(vm(b"i-0123456789abcdef0") * 20_000)
    with serve(lambda to: to.answer(document)) as server:
        assert len(cloud(server.url).list_instances(everything=True)) == 1


def test_a_listing_that_grows_for_ever_is_given_up() -> None:
    with (
        serve(pages(lambda n: b"page-%d" % n)) as server,
        pytest.raises(CloudError, match=f"more than {MOST_INSTANCES}"),
    ):
        cloud(server.url).list_instances(everything=True)
    assert len(server.requests) == MOST_INSTANCES // 2_000 + 1


def test_the_token_of_a_page_is_not_kept_if_it_is_long() -> None:
    with serve(pages(lambda n: b"%d" % n + MEGABYTE)) as server, pytest.raises(CloudError, match="do not end"):
        cloud(server.url).list_instances(everything=True)
    assert len(server.requests) == 1


def test_the_same_page_for_ever_is_given_up() -> None:
    with serve(pages(lambda n: b"again")) as server, pytest.raises(CloudError, match="do not end"):
        cloud(server.url).list_instances(everything=True)
    assert len(server.requests) == 2


@pytest.mark.parametrize("answer", SLOW.values(), ids=list(SLOW))
def test_an_answer_without_end_ends_by_its_deadline_and_its_connection_with_it(answer: Answer) -> None:
    with serve(answer) as server:
        limits = Limits(connect_seconds=LONG, read_seconds=LONG, attempts=1, deadline_seconds=0.3)
        ec2 = cloud(server.url, limits)
        # Where the machine is slow, some are over before they are sent.
        while server.accepted < MAX_STUCK_REQUESTS + 2:
            with pytest.raises(CloudError, match="no whole answer within 0 s"):
                ec2.list_instances(everything=True)
        for _ in range(server.accepted):
            assert server.ended.acquire(timeout=LONG), "or they would keep every later request from the cloud"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, and its key, in one file: anybody can make one."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate")
    made = tmp_path_factory.mktemp("certificate") / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 "
        f"-keyout {made} -out {made}.crt".split(),
        check=True,
        capture_output=True,
        timeout=LONG,
    )
    made.write_text(made.read_text() + Path(f"{made}.crt").read_text())
    return made


def by_tls(certificate: Path, answer: Answer) -> AbstractContextManager[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return serve(answer, context)


def secure_cloud(server: Server, seconds: float = LONG, **options: object) -> Ec2:
    limits = Limits(connect_seconds=LONG, read_seconds=LONG, attempts=1, deadline_seconds=seconds)
    return cloud(f"https://127.0.0.1:{server.port}/", limits, **options)


def test_who_cannot_prove_to_be_the_cloud_is_asked_nothing(certificate: Path) -> None:
    with by_tls(certificate, lambda to: to.answer(GOOD % b"")) as server:
        with pytest.raises(CloudError, match="check ca_bundle and verify"):
            secure_cloud(server).list_instances(everything=True)
        assert server.requests == []
        assert secure_cloud(server, ca_bundle=str(certificate)).list_instances(everything=True) == ()
        assert secure_cloud(server, verify=False).list_instances(everything=True) == ()


def test_an_encrypted_answer_without_end_ends_as_well(certificate: Path) -> None:
    with by_tls(certificate, SLOW["a body that drips"]) as server:
        ec2 = secure_cloud(server, 0.5, ca_bundle=str(certificate))
        while server.accepted < 2:
            with pytest.raises(CloudError, match="no whole answer within"):
                ec2.list_instances(everything=True)
        for _ in range(server.accepted):
            assert server.ended.acquire(timeout=LONG)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"api_url": "http://cloud.example.org/"}, ["api_url begins with http:// and is not on this machine"]),
        ({"api_url": "https://cloud.example.org/", "verify": False}, ["verify = no: nobody checks"]),
        ({"api_url": "https://cloud.example.org/"}, []),
        ({"api_url": "http://127.0.0.1:8773/"}, []),
        ({"verify": True}, []),
    ],
)
def test_status_says_that_the_cloud_is_asked_without_protection(
    options: dict[str, object], said: list[str], tmp_path: Path
) -> None:
    rig = Rig(tmp_path, settings_with(SETTINGS, **options))
    rig.run(60)
    report = read_report(tmp_path)
    assert report
    lines = [line for line in picture(report, rig.clock.monotonic_microseconds()) if line.startswith("  advice")]
    assert len(lines) == len(said) and all(words in line for line, words in zip(lines, said))


ERRORS = (
    b"<?xml version='1.0'?><Response><Errors><Error><Code>%b</Code><Message>%b</Message></Error></Errors></Response>"
)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (b"A" * 1_000_000, b"x"),
        (b"InvalidParameterValue", b"%(value)s" * 1_000_000),
        (b"InvalidParameterValue", b"a/" * 4_000_000),
        (b"InvalidParameterValue", b"=" * 8_000_000),
        (b"InvalidParameterValue", b"&#155;31m \xe2\x80\xae &#13;&#10;2026-01-01 ERROR forged"),
        (b"Forged\xe2\x80\xa8line", b"x"),
        (b"AuthFailure", USER_DATA + KEY.encode() + SECRET.encode()),
    ],
    ids=["long code", "templates", "pieces", "line", "controls", "code of two lines", "echo"],
)
def test_what_a_cloud_says_of_a_refusal_is_one_short_line(code: bytes, message: bytes) -> None:
    with (
        serve(lambda to: to.answer(ERRORS % (code, message), status=b"400 Bad")) as server,
        pytest.raises(CloudError) as refused,
    ):
        cloud(server.url).launch(Pool(instance_type="m5.large"), 1, "token-1")
    said = str(refused.value)
    assert said.isprintable() and len(said) < 1000
    assert not any(secret in said for secret in (KEY, SECRET, "canary-pool-password"))


@pytest.mark.parametrize(
    "text", [b"\x1b]0;owned\x07\x1b[2J" * 200_000, b"a/" * 3_000_000, b"\n" * 5_000_000, b"\xff" * 99]
)
def test_a_console_of_any_bytes_is_a_few_printable_lines(text: bytes) -> None:
    body = (
        b"<?xml version='1.0'?><GetConsoleOutputResponse xmlns='http://ec2.amazonaws.com/doc/2016-11-15/'>"
        b"<instanceId>i-1</instanceId><output>%b</output></GetConsoleOutputResponse>" % base64.b64encode(text)
    )
    with serve(lambda to: to.answer(body)) as server:
        tail = cloud(server.url).console_tail("i-0123456789abcdef0")
    lines = tail.split("\n")
    assert len(lines) <= CONSOLE_LINES and all(line.isprintable() and len(line) <= LINE_CHARACTERS for line in lines)
