"""Defects in what was read from the configuration file."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from elastiq.config import Settings, load
from elastiq.errors import ConfigError
from elastiq.state import read_report
from tests.defects.conftest import RigOnEc2
from tests.testbed.proxy import Ec2Endpoint

EC2 = "[ec2]\nimage_id = ami-1a2b3c4d\napi_url = https://cloud.example.org/\n"


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "elastiq.conf"
    path.write_text(text)
    path.chmod(0o600)
    return load(path)


def problems(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    return str(caught.value)


def test_typos(tmp_path: Path) -> None:
    """typos (`max_vm`, `[quotas]`) silently ignored"""
    assert "unknown option, did you mean max_vms?" in problems(tmp_path, f"[quota]\nmax_vm = 5\n{EC2}")
    assert "unknown section, did you mean [quota]?" in problems(tmp_path, f"[quotas]\nmax_vms = 5\n{EC2}")


@pytest.mark.parametrize("secret", ["123e4", "1_000", "nan", "inf", "0x10", "007"])
def test_secret_that_looks_like_a_number(tmp_path: Path, secret: str) -> None:
    """everything that float() accepts became a number (secret `123e4` crashed"""
    made = read(tmp_path, f"{EC2}aws_access_key_id = {secret}\naws_secret_access_key = {secret}\n")
    assert (made.ec2.aws_access_key_id, made.ec2.aws_secret_access_key) == (secret, secret)


def test_key_name_that_looks_like_a_number(tmp_path: Path) -> None:
    """key name 007 became 7.0"""
    assert read(tmp_path, f"{EC2}key_name = 007\n").ec2.key_name == "007"


@pytest.mark.parametrize("secret", ["a%b", "%(x)s", "100%", "%%", "a%(image_id)sb"])
def test_percent_in_a_secret(tmp_path: Path, secret: str) -> None:
    """`%` in a secret made it fall back to a default"""
    made = read(tmp_path, f"{EC2}aws_access_key_id = key\naws_secret_access_key = {secret}\n")
    assert made.ec2.aws_secret_access_key == secret


def test_max_vms_zero(tmp_path: Path) -> None:
    """`max_vms = 0` launched 816 VMs in 15 s"""
    assert "write the word unlimited if that is what you want" in problems(tmp_path, f"[quota]\nmax_vms = 0\n{EC2}")
    assert "max_vms" in problems(tmp_path, f"[quota]\nmax_vms = -1\n{EC2}")
    assert read(tmp_path, f"[quota]\nmax_vms = unlimited\n{EC2}").quota.max_vms is None


@pytest.mark.parametrize("option", ["sleep_s", "check_queue_every_s", "idle_for_time_s", "waiting_jobs_time_s"])
@pytest.mark.parametrize("value", ["nan", "inf", "-5", "", "-inf", "1e999"])
def test_numbers_that_are_none(tmp_path: Path, option: str, value: str) -> None:
    """nan, negative, empty values and trailing comments crashed, some only hours later"""
    assert f"[elastiq] {option}: " in problems(tmp_path, f"[elastiq]\n{option} = {value}\n{EC2}")


def test_trailing_comments(tmp_path: Path) -> None:
    """The last of these: a comment after a value."""
    made = read(tmp_path, f"[elastiq]\nsleep_s = 7 ; as often as this\n[quota]\nmax_vms = 5 ; not more\n{EC2}")
    assert (made.elastiq.sleep_s, made.quota.max_vms) == (7.0, 5)


def test_minimum_above_maximum(tmp_path: Path) -> None:
    """min 5 > max 3 said nothing"""
    assert "[quota] min_vms: 5 is more than max_vms 3" in problems(
        tmp_path, f"[quota]\nmin_vms = 5\nmax_vms = 3\n{EC2}"
    )


@pytest.mark.parametrize("value", ["not base64!", "QUJD!", "QUJ", "====", "Q=JD"])
def test_invalid_base64(tmp_path: Path, value: str) -> None:
    """invalid base64 accepted"""
    assert "[ec2] user_data_b64: " in problems(tmp_path, f"{EC2}user_data_b64 = {value}\n")
    good = base64.b64encode(b"#!/bin/sh\n").decode()
    assert read(tmp_path, f"{EC2}user_data_b64 = {good}\n").ec2.user_data == b"#!/bin/sh\n"


def test_wrong_image(tmp_path: Path, endpoint: Ec2Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    """wrong image id: ran on and did nothing"""
    endpoint.known = {"ImageId": {"ami-11111111"}}
    rig = RigOnEc2(tmp_path, endpoint, image_id="ami-00000bad")
    rig.wait_for_jobs(8)
    rig.run(90)
    assert "check image_id in the section [ec2]" in (read_report(tmp_path) or {})["last_error"]["text"]
    holds = set()
    for _ in range(20):
        rig.run(5)
        holds |= set((read_report(tmp_path) or {})["holds"])
    assert any("launches pause" in hold and "check image_id" in hold for hold in holds), holds
    assert "check image_id in the section [ec2]" in caplog.text
    rig.state.close()
