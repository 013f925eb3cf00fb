"""The configuration: files of the original, every default, every broken file with its exact error text."""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elastiq.cli import main
from elastiq.config import Settings, ValueKind, defaults, documents, options, reading
from elastiq.config.convert import duration_text
from elastiq.config.sections import SECTIONS
from elastiq.errors import ConfigError
from elastiq.model import DEFAULT_JOBS_PER_VM, Pool
from elastiq.plugins.loading import read_settings as load
from elastiq.plugins.sections import SECTIONS as PLUGINS
from elastiq.plugins.sections import SandboxOptions

ALL = (*SECTIONS, *PLUGINS)
OPTIONS = [option for section in ALL for option in section.options]

TOP = Path(__file__).parents[2]
BROKEN = Path(__file__).parent / "broken_configs"
IMAGE = "[ec2]\nimage_id = ami-1a2b3c4d\napi_url = https://cloud.example.org:8773/services/Cloud\n"

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


@pytest.fixture(autouse=True)
def no_aws_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-aws-config"))


def written(directory: Path, text: str | bytes) -> Path:
    path = directory / "elastiq.conf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o640)
    return path


def loaded(directory: Path, text: str | bytes) -> Settings:
    return load(written(directory, text))


def value_of(made: Settings, name: str, section: str = "") -> object:
    """Return the value of an option, which is found by its name, and its section if several have it."""
    held = [getattr(made, found.name, None) or made.of(found.declared) for found in ALL if section in ("", found.name)]
    return next(getattr(options, name) for options in held if hasattr(options, name))


def warnings_of(directory: Path, text: str) -> list[str]:
    return [warning.replace(str(directory), "") for warning in loaded(directory, text).warnings]


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


def test_file_that_can_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("directory.conf").mkdir()
    Path("loop.conf").symlink_to("loop.conf")
    Path("huge.conf").write_bytes(b"# " + b"x" * reading.MAX_FILE_BYTES)
    os.mkfifo("pipe.conf")
    for name, problem in {
        "missing.conf": "cannot be read: No such file or directory",
        "directory.conf": "cannot be read: Is a directory",
        "loop.conf": "cannot be read: Too many levels of symbolic links",
        "huge.conf": "is longer than 1048576 bytes",
        "pipe.conf": "is not a regular file",
    }.items():
        with pytest.raises(ConfigError) as caught:
            load(Path(name))
        assert caught.value.problems == (f"{name}: {problem}",)


def test_file_that_must_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, IMAGE)

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("elastiq.config.convert._open_without_waiting", refuse)
    with pytest.raises(ConfigError, match=r"elastiq\.conf: cannot be read: Permission denied$"):
        load(path)


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, IMAGE + "what\n" * 200)
    assert len(caught.value.problems) == reading.MAX_PROBLEMS + 1
    assert caught.value.problems[-1].endswith("elastiq.conf: and 100 more problems like these")


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
    assert value_of(loaded(tmp_path, IMAGE), field) == DEFAULTS_OF_THE_ORIGINAL[field]


def test_jobs_per_vm_of_the_original_applies_where_nothing_is_known(tmp_path: Path) -> None:
    assert loaded(tmp_path, IMAGE).elastiq.n_jobs_per_vm is None
    assert loaded(tmp_path, "[elastiq]\nn_jobs_per_vm =\n" + IMAGE).elastiq.n_jobs_per_vm is None
    assert DEFAULT_JOBS_PER_VM == 4


def test_options_of_the_original() -> None:
    original = {option.name for option in OPTIONS if not option.new}
    without_default = {"n_jobs_per_vm", "api_url", "image_id", "aws_access_key_id", "aws_secret_access_key"}
    assert original == {*DEFAULTS_OF_THE_ORIGINAL, *without_default, "user_data_b64"} - {"user_data"}


@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.kind is ValueKind.DURATION], ids=lambda o: o.name
)
def test_ranges_of_durations_can_be_written(option: options.Option, tmp_path: Path) -> None:
    for value in (option.minimum, option.maximum, option.default):
        text = f"[{option.section}]\n{option.name} = {duration_text(value)}\n" + IMAGE
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


def test_unlimited(tmp_path: Path) -> None:
    made = loaded(tmp_path, f"[quota]\nmin_vms = 50\nmax_vms = Unlimited ; for now\n{IMAGE}")
    assert made.quota.max_vms is None
    assert made.policy().pools == (Pool("default", 50, None, ""),)


def test_user_data_on_several_lines(tmp_path: Path) -> None:
    content = bytes(range(256)) * 8
    text = base64.encodebytes(content).decode().replace("\n", "\n  ")
    made = loaded(tmp_path, f"{IMAGE}user_data_b64 = {text}\n\n; and\n  # so on\nkey_name = key\n")
    assert made.ec2.user_data == content
    assert made.ec2.key_name == "key"
    assert str(content) not in repr(made)


def test_user_data_file_stands_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "worker.sh").write_bytes(b"#!/bin/sh\n\xff%ipv4%\n")
    made = loaded(tmp_path, f"{IMAGE}user_data_file = worker.sh ; relative\nuser_data_b64 =\n")
    assert made.ec2.user_data == b"#!/bin/sh\n\xff%ipv4%\n"


def test_ca_bundle_is_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ca.pem").write_text("")
    written(tmp_path, f"{IMAGE}ca_bundle = ca.pem\n")
    assert load(Path("elastiq.conf")).ec2.ca_bundle == str(tmp_path / "ca.pem")


def test_paths_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    made = loaded(tmp_path, f"[elastiq]\nstate_dir = ~/state\n[sandbox]\nspool_dir = /spool\n{IMAGE}")
    assert (made.elastiq.state_dir, made.of(SandboxOptions).spool_dir) == (tmp_path / "state", Path("/spool"))


def test_line_ends_and_byte_order_mark_of_other_systems(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"\xef\xbb\xbf" + IMAGE.replace("\n", "\r\n").encode()).ec2.image_id == "ami-1a2b3c4d"


def test_settings_name_their_file(tmp_path: Path) -> None:
    assert loaded(tmp_path, IMAGE).path == tmp_path / "elastiq.conf"


@pytest.mark.parametrize(
    ("mode", "text", "warned"),
    [
        (0o600, "aws_access_key_id = a\naws_secret_access_key = b\n", ""),
        (0o640, "aws_access_key_id = a\naws_secret_access_key = b\n", ""),
        (0o644, "", ""),
        (
            0o644,
            "aws_access_key_id = a\naws_secret_access_key = b\n",
            "anybody on this machine can read this file, and it holds aws_secret_access_key; do chmod o= on it",
        ),
        (
            0o604,
            "aws_access_key_id = a\naws_secret_access_key = b\nuser_data_b64 = Yg==\n",
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


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory to which the way is open to anybody; pytest's own is closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


READ = "anybody on this machine can read {}, and user data often holds a password or token; do chmod o= on it"
WRITE = "anybody on this machine can write to {}, and VMs run it as root; do chmod o= on it"


@pytest.mark.parametrize(
    ("directory_mode", "mode", "warned"),
    [
        (0o755, 0o644, READ),
        (0o755, 0o640, ""),
        (0o755, 0o646, WRITE),
        (0o750, 0o644, ""),
        (0o750, 0o646, ""),
        (0o711, 0o644, READ),
    ],
)
def test_user_data_file_open_to_others(
    directory_mode: int, mode: int, warned: str, reachable: Path, tmp_path: Path
) -> None:
    file = reachable / "etc" / "worker.sh"
    file.parent.mkdir()
    file.write_text("#!/bin/sh\n")
    file.chmod(mode)
    file.parent.chmod(directory_mode)
    # Where the file is counts, not the way that leads to it.
    (tmp_path / "link").symlink_to(file.parent)
    for path in (file, tmp_path / "link" / "worker.sh"):
        made = loaded(tmp_path, f"{IMAGE}user_data_file = {path}\n")
        where = f"{tmp_path / 'elastiq.conf'}:4: [ec2] user_data_file: "
        assert made.warnings == ((where + warned.format(path),) if warned else ())
        assert made.ec2.user_data == b"#!/bin/sh\n"


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
            "[ec2]\nimage_id = ami-1a2b3c4d\napi_url = http://cloud.example.org/\nca_bundle = elastiq.conf\n",
            "/elastiq.conf:4: [ec2] ca_bundle: is of no use with an api_url that begins with http://",
        ),
        (
            f"{IMAGE}user_data_b64 = {base64.b64encode(b'x' * 16385).decode()}\n",
            "/elastiq.conf:4: [ec2] user_data_b64: is 16385 bytes long; AWS takes no more than 16384",
        ),
        (
            f"{IMAGE}aws_access_key_id = a\naws_secret_access_key = b # c\n",
            "/elastiq.conf:5: [ec2] aws_secret_access_key: has a space or quotes, which are taken for a part of it; "
            "only ; after a space begins a comment",
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


def test_check_says_that_a_file_is_good_and_what_to_look_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, IMAGE)
    assert main([f"--config={path}", "--check"]) == 0
    assert capsys.readouterr() == (f"{path}: the configuration is good\n", "")
    path.chmod(0o666)
    assert main([f"--config={path}", "--check"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_cluster_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(tmp_path, f"[elastiq]\ncluster_name = atlas.prod\n{IMAGE}").elastiq.cluster_name == "atlas.prod"
    monkeypatch.setattr("elastiq.config.defaults.socket.gethostname", lambda: "Head.Example.org")
    assert loaded(tmp_path, IMAGE).elastiq.cluster_name == "head.example.org"


def test_cluster_name_without_domain_is_made_unique() -> None:
    assert defaults.cluster_name_of("head.example.org", "1") == defaults.cluster_name_of("head.example.org", "2")
    assert (
        defaults.cluster_name_of("head", "1")
        == defaults.cluster_name_of("head", "1")
        != defaults.cluster_name_of("head", "2")
    )
    assert defaults.cluster_name_of("head", "1").startswith("head-")
    assert defaults.cluster_name_of("localhost.localdomain", "1").startswith("localhost.localdomain-")
    assert defaults.cluster_name_of("head", "") == "head"


@given(st.text(), st.text())
def test_default_cluster_name_is_always_a_good_one(host_name: str, machine_id: str) -> None:
    option = next(option for option in OPTIONS if option.name == "cluster_name")
    name = defaults.cluster_name_of(host_name, machine_id)
    assert re.fullmatch(option.pattern, name)


def test_default_state_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("elastiq.config.defaults.os.geteuid", lambda: 0)
    assert defaults.state_dir() == Path("/var/lib/elastiq")
    monkeypatch.setattr("elastiq.config.defaults.os.geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert defaults.state_dir() == tmp_path / ".elastiq"
    # Of another service, in which elastiq runs.
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/other")
    assert defaults.state_dir() == tmp_path / ".elastiq"
    # The unit of the package, run as another user (docs/tutorial-slurm.md).
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/elastiq")
    assert defaults.state_dir() == Path("/var/lib/elastiq")
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("HOME", "/var/lib/elastiq")
    assert defaults.state_dir() == Path("/var/lib/elastiq")


def test_metrics_file(tmp_path: Path) -> None:
    assert loaded(tmp_path, f"[elastiq]\nmetrics_file =\n{IMAGE}").elastiq.metrics_file is None
    made = loaded(tmp_path, f"[elastiq]\nmetrics_file = ~/elastiq.prom\n{IMAGE}")
    assert made.elastiq.metrics_file == Path.home() / "elastiq.prom"


def test_files_in_the_tree_are_those_of_the_table() -> None:
    advice = (
        "run: python -m elastiq.config example > elastiq.conf.example; same with man > docs/man/elastiq.conf.5 "
        "and reference > docs/configuration.md"
    )
    assert (TOP / "elastiq.conf.example").read_text() == documents.example(ALL), advice
    assert (TOP / "docs/man/elastiq.conf.5").read_text() == documents.manual_page(ALL), advice
    assert (TOP / "docs/configuration.md").read_text() == documents.reference(ALL), advice


def test_example_lacks_nothing_but_the_image(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, documents.example(ALL))
    assert [problem.split(": ", 2)[1] for problem in caught.value.problems] == ["[ec2] image_id"]
    filled = (
        documents.example(ALL)
        .replace("image_id =", "image_id = ami-1a2b3c4d")
        .replace("#region =", "region = eu-west-1")
    )
    made = loaded(tmp_path, filled)
    assert made.warnings == ()
    assert (made.elastiq.waiting_jobs_threshold, made.elastiq.waiting_jobs_time_s) == (0, 40.0)


def test_example_names_every_option_and_all_may_be_uncommented(tmp_path: Path) -> None:
    lines = documents.example(ALL).splitlines()
    for option in OPTIONS:
        assert any(line.lstrip("#").startswith(f"{option.name} =") for line in lines), option.name
        assert option.name in documents.manual_page(ALL)
    text = "\n".join(line[1:] if re.match("#[a-z]", line) else line for line in lines)
    loaded(tmp_path, text.replace("image_id =", "image_id = ami-1a2b3c4d"))


@pytest.mark.skipif(not shutil.which("man"), reason="there is no man here to look at the manual pages with")
@pytest.mark.parametrize("page", sorted((TOP / "docs/man").iterdir()), ids=lambda page: page.name)
def test_manual_page_has_no_faults(page: Path) -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": ""},
    )
    assert (done.returncode, done.stderr) == (0, "")


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
