"""What only several values together show, and who may read the file."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from elastiq.errors import ConfigError
from elastiq.plugins.loading import read_settings as load
from tests.unit.config.rig import IMAGE, warnings_of, written


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o600, "aws_access_key_id = access-a\naws_secret_access_key = secret-b\n", ""),
        (0o640, "aws_access_key_id = access-a\naws_secret_access_key = secret-b\n", ""),
        (0o644, "", ""),
        (
            0o644,
            "aws_access_key_id = access-a\naws_secret_access_key = secret-b\n",
            "anybody on this machine can read this file, and it holds aws_secret_access_key; do chmod o= on it",
        ),
        (
            0o604,
            "aws_access_key_id = access-a\naws_secret_access_key = secret-b\nuser_data_b64 = Yg==\n",
            "anybody on this machine can read this file, and it holds aws_secret_access_key and user_data_b64; "
            "do chmod o= on it",
        ),
        (0o646, "", "anybody on this machine can write to this file; do chmod o= on it"),
    ],
)
def test_file_open_to_others(mode: int, text: str, warned: str, tmp_path: Path) -> None:
    path = written(tmp_path, IMAGE + text)
    path.chmod(mode)
    assert load(path).warnings == ((f"{path}: {warned}",) if warned else ())


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (
            "[ec2]\nimage_id = ami-1a2b3c4d\n",
            "/elastiq.conf:1: [ec2] region: given neither here nor to boto3 (AWS_DEFAULT_REGION, ~/.aws/config), nor "
            "is there an api_url",
        ),
        (
            f"{IMAGE}verify = no\n",
            "/elastiq.conf:4: [ec2] verify: nobody checks that the cloud is who it says it is; name its authority in "
            "ca_bundle",
        ),
        (
            "[ec2]\nimage_id = ami-1a2b3c4d\napi_url = http://cloud.example.org/\n",
            "/elastiq.conf:3: [ec2] api_url: begins with http:// and is not on this machine: everybody on the way can "
            "read the user data of the VMs, and answer as the cloud; give https://",
        ),
        (
            "[ec2]\nimage_id = ami-1a2b3c4d\napi_url = http://127.0.0.1/\nca_bundle = elastiq.conf\n",
            "/elastiq.conf:4: [ec2] ca_bundle: is of no use with an api_url that begins with http://",
        ),
        (
            f"{IMAGE}user_data_b64 = {base64.b64encode(b'x' * 16385).decode()}\n",
            "/elastiq.conf:4: [ec2] user_data_b64: is 16385 bytes long; AWS takes no more than 16384",
        ),
        (
            f"{IMAGE}aws_access_key_id = access-a\naws_secret_access_key = secret-b # c\n",
            "/elastiq.conf:5: [ec2] aws_secret_access_key: has a space or quotes, which are taken for a part of it; "
            "only ; after a space begins a comment",
        ),
        (
            f"{IMAGE}aws_access_key_id = access-a\naws_secret_access_key = secret7\n",
            "/elastiq.conf:5: [ec2] aws_secret_access_key: is shorter than 8 characters, so that it is not hidden "
            "where it shows up in a message",
        ),
        (
            f"[elastiq]\nidle_for_time_s = 10\n{IMAGE}",
            "/elastiq.conf:2: [elastiq] idle_for_time_s: 10s is shorter than check_queue_every_s (15s): a VM may go "
            "before anybody sees that jobs wait for it",
        ),
        (
            f"[elastiq]\nestimated_vm_deploy_time_s = 30\n{IMAGE}",
            "/elastiq.conf:2: [elastiq] estimated_vm_deploy_time_s: 30s is shorter than check_vms_every_s (45s): a VM "
            "may go before anybody sees that it has joined",
        ),
        (
            f"[elastiq]\nsleep_s = 1m\ncheck_vms_every_s = 2m\n{IMAGE}",
            "/elastiq.conf:1: [elastiq] check_queue_every_s: 15s is shorter than sleep_s (1m): the queue is looked at "
            "every sleep_s at best",
        ),
        (
            f"{IMAGE}[substitute]\nipv4 = head\n",
            "/elastiq.conf:5: [substitute] ipv4: is not an address of that kind; it is put in as it stands",
        ),
    ],
)
def test_warning(text: str, warned: str, tmp_path: Path) -> None:
    assert warnings_of(tmp_path, text) == [warned]


def test_region_may_come_from_boto3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert warnings_of(tmp_path, "[ec2]\nimage_id = ami-1a2b3c4d\n") == []
    assert warnings_of(tmp_path, "[ec2]\nimage_id = ami-1a2b3c4d\nregion = eu-west-1\n") == []


PLACE = base64.b64encode(b"token=%join_token%\n").decode()
NO_PLACE = base64.b64encode(b"no token\n").decode()
COMMAND = "user_data_token_command = /bin/true -x\n"
NEVER_RUN = "user_data_token_command: is never run: the user data has no %join_token% in it"


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        (f"{IMAGE}{COMMAND}user_data_b64 = {PLACE}\n", []),
        (
            f"{IMAGE}{COMMAND}user_data_b64 = {base64.b64encode(b'%join_token%' + b'x' * 16100).decode()}\n",
            [
                "/elastiq.conf:5: [ec2] user_data_b64: is 16450 bytes long with a join token of the usual length; "
                "AWS takes no more than 16384"
            ],
        ),
        (f"{IMAGE}{COMMAND}", [f"/elastiq.conf:4: [ec2] {NEVER_RUN}"]),
        (f"{IMAGE}{COMMAND}user_data_b64 = {NO_PLACE}\n", [f"/elastiq.conf:4: [ec2] {NEVER_RUN}"]),
        (f"{IMAGE}{COMMAND}[pool a]\nuser_data_b64 = {PLACE}\n[pool b]\nuser_data_b64 = {NO_PLACE}\n", []),
        (f"{IMAGE}{COMMAND}[pool a]\nuser_data_b64 = {NO_PLACE}\n", [f"/elastiq.conf:4: [ec2] {NEVER_RUN}"]),
        (f"{IMAGE}user_data_b64 = {PLACE}\n[pool a]\n{COMMAND}", []),
        (f"{IMAGE}user_data_b64 = {NO_PLACE}\n[pool a]\n{COMMAND}", [f"/elastiq.conf:6: [pool a] {NEVER_RUN}"]),
        (f"{IMAGE}user_data_b64 = {PLACE}\n[pool a]\nuser_data_b64 = {NO_PLACE}\n", []),
    ],
)
def test_a_command_for_join_tokens_needs_a_place_for_them(text: str, warned: list[str], tmp_path: Path) -> None:
    assert warnings_of(tmp_path, text) == warned


@pytest.mark.parametrize(
    ("text", "places"),
    [
        (f"{IMAGE}user_data_b64 = {PLACE}\n", [(4, "[ec2] user_data_b64")]),
        (f"{IMAGE}user_data_b64 = {PLACE}\n[pool a]\n[pool b]\n", [(4, "[ec2] user_data_b64")]),
        (f"{IMAGE}[pool a]\n{COMMAND}[pool b]\nuser_data_b64 = {PLACE}\n", [(7, "[pool b] user_data_b64")]),
    ],
)
def test_a_place_for_join_tokens_needs_a_command(text: str, places: list[tuple[int, str]], tmp_path: Path) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    end = "has %join_token% in it, and no user_data_token_command makes such tokens; give one"
    assert refused.value.problems == tuple(f"{path}:{line}: {title}: {end}" for line, title in places)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("condor_token_fetch -lifetime 60", "'condor_token_fetch' is a relative path; write the whole path"),
        ("/no/such/program", "/no/such/program is not there"),
        ("/etc/passwd", "/etc/passwd is no program that can be run"),
        ("/tmp", "/tmp is no program that can be run"),
    ],
)
def test_a_command_for_join_tokens_that_cannot_be_run_is_refused(command: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"{IMAGE}user_data_token_command = {command}\nuser_data_b64 = {PLACE}\n")
    with pytest.raises(ConfigError) as refused:
        load(path)
    (problem,) = refused.value.problems
    assert problem.startswith(f"{path}:4: [ec2] user_data_token_command: {said}")
