"""The configuration as a whole: files of the original, every default, every broken file with its exact error text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastiq.cli import main
from elastiq.errors import ConfigError
from elastiq.model import DEFAULT_JOBS_PER_VM, Pool
from elastiq.plugins.loading import read_settings as load
from tests.unit.config.rig import ALL, IMAGE, OPTIONS, loaded, value_of, written

BROKEN = Path(__file__).parent / "broken"


ORIGINAL_SAMPLE = """\
#
# Configuration of elastiq. It holds credentials: chown elastiq:elastiq, chmod u=rw,g=rw,o=
#

[elastiq]
sleep_s = 5
check_queue_every_s = 15
check_vms_every_s = 45
check_vms_in_error_every_s = 10
waiting_jobs_threshold = 10
waiting_jobs_time_s = 100
n_jobs_per_vm = 4
idle_for_time_s = 3600
estimated_vm_deploy_time_s = 600
batch_plugin = htcondor
log_level = 0

[debug]
#dry_run_shutdown_vms = 1
#dry_run_boot_vms = 1

[quota]
min_vms = 0
max_vms = 3

[ec2]
api_url = https://dummy.ec2.server/ec2/
aws_access_key_id = my_username
aws_secret_access_key = my_password
image_id = ami-00000000
api_version = 2013-02-01
key_name =\x20
flavour =\x20
user_data_b64 =\x20

# What %ipv4% and the like become; found out if left out.
#[substitute]
#ipv4 =
#ipv6 =
#fqdn =
"""


DEFAULTS_OF_THE_ORIGINAL = {
    "sleep_s": 5.0,
    "check_queue_every_s": 15.0,
    "check_vms_every_s": 45.0,
    "check_vms_in_error_every_s": 20.0,
    "estimated_vm_deploy_time_s": 600.0,
    "waiting_jobs_threshold": 0,
    "waiting_jobs_time_s": 40.0,
    "idle_for_time_s": 3600.0,
    "batch_plugin": "htcondor",
    "log_level": 0,
    "min_vms": 0,
    "max_vms": 3,
    "api_version": "",
    "key_name": "",
    "flavour": "",
    "user_data": b"",
    "dry_run_shutdown_vms": False,
    "dry_run_boot_vms": False,
    "ipv4": "",
    "ipv6": "",
    "fqdn": "",
}


@pytest.mark.parametrize("name", sorted(path.stem for path in BROKEN.glob("*.conf")))
def test_broken_file_has_exactly_these_errors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BROKEN)
    with pytest.raises(ConfigError) as caught:
        load(Path(f"{name}.conf"))
    assert str(caught.value) + "\n" == Path(f"{name}.expected").read_text()
    assert "CONFIDENTIA" not in str(caught.value)


def test_there_are_enough_broken_files() -> None:
    assert len(list(BROKEN.glob("*.conf"))) >= 30
    assert {path.stem for path in BROKEN.glob("*.conf")} == {path.stem for path in BROKEN.glob("*.expected")}


def test_original_sample_loads_unchanged(tmp_path: Path) -> None:
    made = loaded(tmp_path, ORIGINAL_SAMPLE)
    assert made.elastiq.check_vms_in_error_every_s == 10
    assert (made.elastiq.waiting_jobs_threshold, made.elastiq.waiting_jobs_time_s, made.elastiq.n_jobs_per_vm) == (
        10,
        100,
        4,
    )
    assert (made.quota.min_vms, made.quota.max_vms) == (0, 3)
    assert (made.ec2.api_url, made.ec2.image_id, made.ec2.api_version) == (
        "https://dummy.ec2.server/ec2/",
        "ami-00000000",
        "2013-02-01",
    )
    assert (made.ec2.aws_access_key_id, made.ec2.aws_secret_access_key) == ("my_username", "my_password")
    assert (made.ec2.key_name, made.ec2.flavour, made.ec2.user_data) == ("", "", b"")
    path = tmp_path / "elastiq.conf"
    tail = "of the sample file, which only holds the place of yours"
    assert made.warnings == (
        f"{path}:27: [ec2] api_url: still has the value https://dummy.ec2.server/ec2/ {tail}",
        f"{path}:28: [ec2] aws_access_key_id: still has the value {tail}",
        f"{path}:29: [ec2] aws_secret_access_key: still has the value {tail}",
        f"{path}:30: [ec2] image_id: still has the value ami-00000000 {tail}",
    )


def test_original_with_every_option_given(tmp_path: Path) -> None:
    text = ORIGINAL_SAMPLE.replace("#dry", "dry").replace("#[sub", "[sub").replace("#ip", "ip").replace("#fqdn", "fqdn")
    made = loaded(tmp_path, text)
    assert made.debug.dry_run_boot_vms and made.debug.dry_run_shutdown_vms
    assert (made.substitute.ipv4, made.substitute.ipv6, made.substitute.fqdn) == ("", "", "")


@pytest.mark.parametrize("field", sorted(DEFAULTS_OF_THE_ORIGINAL))
def test_default_of_the_original(field: str, tmp_path: Path) -> None:
    classic = "[elastiq]\npolicy = classic\n" + IMAGE
    assert value_of(loaded(tmp_path, classic), field) == DEFAULTS_OF_THE_ORIGINAL[field]


def test_jobs_per_vm_of_the_original_applies_where_nothing_is_known(tmp_path: Path) -> None:
    assert loaded(tmp_path, IMAGE).elastiq.n_jobs_per_vm is None
    assert loaded(tmp_path, "[elastiq]\nn_jobs_per_vm =\n" + IMAGE).elastiq.n_jobs_per_vm is None
    assert DEFAULT_JOBS_PER_VM == 4


def test_options_of_the_original() -> None:
    original = {option.name for option in OPTIONS if not option.new}
    without_default = {"n_jobs_per_vm", "api_url", "image_id", "aws_access_key_id", "aws_secret_access_key"}
    assert original == {*DEFAULTS_OF_THE_ORIGINAL, *without_default, "user_data_b64"} - {"user_data"}


def test_settings_name_their_file(tmp_path: Path) -> None:
    assert loaded(tmp_path, IMAGE).path == tmp_path / "elastiq.conf"


def test_unlimited(tmp_path: Path) -> None:
    made = loaded(tmp_path, f"[quota]\nmin_vms = 50\nmax_vms = Unlimited ; for now\n{IMAGE}")
    assert made.quota.max_vms is None
    assert made.policy().pools == (Pool("default", 50, None, "", "ami-1a2b3c4d"),)


def test_user_data_file_stands_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "worker.sh").write_bytes(b"#!/bin/sh\n\xff%ipv4%\n")
    made = loaded(tmp_path, f"{IMAGE}user_data_file = worker.sh ; relative\nuser_data_b64 =\n")
    assert made.ec2.user_data == b"#!/bin/sh\n\xff%ipv4%\n"


def test_check_says_that_a_file_is_good_and_what_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, IMAGE)
    assert main([f"--config={path}", "--check"]) == 0
    assert capsys.readouterr() == (f"{path}: the configuration is good\n", "")
    path.chmod(0o666)
    assert main([f"--config={path}", "--check"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_metrics_file(tmp_path: Path) -> None:
    assert loaded(tmp_path, f"[elastiq]\nmetrics_file =\n{IMAGE}").elastiq.metrics_file is None
    made = loaded(tmp_path, f"[elastiq]\nmetrics_file = ~/elastiq.prom\n{IMAGE}")
    assert made.elastiq.metrics_file == Path.home() / "elastiq.prom"


ODD_VALUES = ["", "unlimited", "10m", "yes", "http://[::1", "~", "~\u00e9", "/dev/zero", "/proc/kmsg", '"', "a" * 5000]


VALUES = st.one_of(st.text(max_size=30), st.floats().map(str), st.integers().map(str), st.sampled_from(ODD_VALUES))


LINES = st.one_of(
    st.sampled_from([f"[{section.name}]" for section in ALL]),
    st.builds(lambda option, value: f"{option.name} = {value}", st.sampled_from(OPTIONS), VALUES),
    st.text(max_size=30),
)


FILES = st.one_of(st.binary(max_size=300), st.lists(LINES, max_size=12).map(lambda lines: "\n".join(lines).encode()))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(content=FILES)
def test_nothing_but_settings_or_config_error(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    try:
        made = load(path)
    except ConfigError as error:
        assert error.problems
        assert all(problem.startswith(f"{path}:") and problem.isprintable() for problem in error.problems)
    else:
        assert made.ec2.image_id


ADAPTIVE = ("adaptive", 0.0, 60.0)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("", ADAPTIVE),
        ("eagerness = 0.5", ADAPTIVE),
        ("policy = adaptive", ADAPTIVE),
        ("policy = classic", ("classic", 40.0, 3600.0)),
        ("waiting_jobs_threshold = 0", ("classic", 40.0, 3600.0)),
        ("waiting_jobs_time_s = 0", ("classic", 0.0, 3600.0)),
        ("idle_for_time_s = 3600", ("classic", 40.0, 3600.0)),
        ("n_jobs_per_vm = 4", ("classic", 40.0, 3600.0)),
        ("policy = adaptive\nidle_for_time_s = 10m", ("adaptive", 0.0, 600.0)),
        ("policy = adaptive\nwaiting_jobs_time_s = 30", ("adaptive", 30.0, 60.0)),
    ],
)
def test_policy(lines: str, expected: tuple[str, float, float], tmp_path: Path) -> None:
    settings = loaded(tmp_path, f"[elastiq]\n{lines}\n{IMAGE}")
    options, policy = settings.elastiq, settings.policy()
    assert (options.policy, options.waiting_jobs_time_s, options.idle_for_time_s) == expected
    assert (policy.is_adaptive, policy.waiting_jobs_time_s) == (expected[0] == "adaptive", expected[1])


@pytest.mark.parametrize(("text", "part"), [("1.5", "out of range"), ("-1", "negative"), ("much", "not a number")])
def test_eagerness_is_a_part_of_one(text: str, part: str, tmp_path: Path) -> None:
    assert loaded(tmp_path, "[elastiq]\neagerness = 0.9\n" + IMAGE).policy().eagerness == 0.9
    with pytest.raises(ConfigError, match=f"eagerness: .*{part}.*give 0 to 1"):
        loaded(tmp_path, f"[elastiq]\neagerness = {text}\n{IMAGE}")
