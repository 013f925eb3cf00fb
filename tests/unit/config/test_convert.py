"""What the text of a value means."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from elastiq.config import ValueKind, options
from elastiq.config.convert import duration_text
from elastiq.plugins.loading import read_settings as load
from elastiq.plugins.sections import SandboxOptions
from tests.unit.config.rig import IMAGE, OPTIONS, loaded, value_of, written


@pytest.mark.parametrize(
    "option",
    [option for option in OPTIONS if option.kind is ValueKind.DURATION],
    ids=lambda o: f"{o.section}-{o.name}",
)
def test_ranges_of_durations_can_be_written(option: options.Option, tmp_path: Path) -> None:
    for value in (option.minimum, option.maximum, option.default):
        if value is None:
            continue
        when = "when = Mon\n" if option.section == "schedule NAME" else ""
        text = f"[{option.section}]\n{when}{option.name} = {duration_text(value)}\n" + IMAGE
        assert value_of(loaded(tmp_path, text), option.name, option.section) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("1.5h", 5400),
        (".5m", 30),
        ("2 h", 7200),
        ("5.", 5),
        ("1e3", 1000),
        ("2H", 7200),
        ("90 ; a minute and a half", 90),
        ("90 # a minute and a half", 90),
        ("10m\t;ten minutes", 600),
    ],
)
def test_duration(text: str, seconds: float, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"[elastiq]\nidle_for_time_s = {text}\n{IMAGE}").elastiq.idle_for_time_s == seconds


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("key_name = 007", "007"),
        ("key_name = my own key", "my own key"),
        ("key_name = key ; the usual", "key"),
        ("key_name = key # the usual", "key"),
        ("key_name = # none", ""),
        ("key_name = ; none", ""),
        ('key_name = ""', ""),
        ("key_name: key", "key"),
        ("Key_Name=key", "key"),
        ("flavour = 1e3", "1e3"),
        ("api_version = 2013", "2013"),
        ("security_groups = sg-1, web servers ,default", ("sg-1", "web servers", "default")),
        ("verify = off", False),
        ("require_imdsv2 = No", False),
        ("ca_bundle =", ""),
    ],
)
def test_value_is_what_its_option_says(line: str, value: object, tmp_path: Path) -> None:
    made = loaded(tmp_path, f"{IMAGE}{line}\n")
    assert value_of(made, line.lower().replace(":", "=").split("=")[0].strip()) == value


@pytest.mark.parametrize(
    ("given", "secret"),
    [
        ("123e4", "123e4"),
        ("a%b%(image_id)s%%", "a%b%(image_id)s%%"),
        ("a#b;c", "a#b;c"),
        ("#a", "#a"),
        (";a", ";a"),
        ("a=b:c=", "a=b:c="),
        ("nan", "nan"),
        ("$HOME/${x}", "$HOME/${x}"),
        ("abc ; the key of the cluster", "abc"),
        ("a;b ;c", "a;b ;c"),
    ],
)
def test_secret_is_taken_as_the_original_took_it(given: str, secret: str, tmp_path: Path) -> None:
    made = loaded(tmp_path, f"{IMAGE}aws_access_key_id = 0123\naws_secret_access_key = {given}\n")
    assert made.ec2.aws_secret_access_key == secret
    assert made.ec2.aws_access_key_id == "0123"
    assert secret not in repr(made)


@pytest.mark.parametrize(
    ("word", "value"),
    [(word, True) for word in ("1", "true", "Yes", "on")] + [(word, False) for word in ("0", "false", "no", "OFF")],
)
def test_switch(word: str, value: bool, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"{IMAGE}[debug]\ndry_run_boot_vms = {word}\n").debug.dry_run_boot_vms is value


@pytest.mark.parametrize(
    ("word", "number"),
    [("0", 0), ("10", 10), ("debug", 10), ("INFO", 20), ("warning", 30), ("warn", 30), ("error", 40)],
)
def test_log_level(word: str, number: int, tmp_path: Path) -> None:
    assert loaded(tmp_path, f"[elastiq]\nlog_level = {word}\n{IMAGE}").elastiq.log_level == number


def test_numbers_as_the_original_read_them(tmp_path: Path) -> None:
    made = loaded(tmp_path, f"[quota]\nmin_vms = 2.0\nmax_vms = 1e1\n[elastiq]\nwaiting_jobs_threshold=+3\n{IMAGE}")
    assert (made.quota.min_vms, made.quota.max_vms, made.elastiq.waiting_jobs_threshold) == (2, 10, 3)


def test_user_data_on_several_lines(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8
    text = base64.encodebytes(content).decode().replace("\n", "\n  ")
    made = loaded(tmp_path, f"{IMAGE}user_data_b64 = {text}\n\n; and\n  # so on\nkey_name = key\n")
    assert made.ec2.user_data == content
    assert made.ec2.key_name == "key"
    assert str(content) not in repr(made)


def test_ca_bundle_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_text("")
    written(tmp_path, f"{IMAGE}ca_bundle = ca.pem\n")
    assert load(Path("elastiq.conf")).ec2.ca_bundle == str(tmp_path / "ca.pem")


def test_paths_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = loaded(tmp_path, f"[elastiq]\nstate_dir = ~/state\n[sandbox]\nspool_dir = /spool\n{IMAGE}")
    assert (made.elastiq.state_dir, made.of(SandboxOptions).spool_dir) == (tmp_path / "state", Path("/spool"))
