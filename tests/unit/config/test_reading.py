"""The file: whether it can be read, who may read what it names, and how many problems are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elastiq.config import reading
from elastiq.errors import ConfigError
from elastiq.plugins.loading import read_settings as load
from elastiq.plugins.loading import read_without_plugin
from tests.unit.config.rig import IMAGE, loaded, written


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

    monkeypatch.setattr("elastiq.config.files._open_without_waiting", refuse)
    with pytest.raises(ConfigError, match=r"elastiq\.conf: cannot be read: Permission denied$"):
        load(path)


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, IMAGE + "what\n" * 200)
    assert len(caught.value.problems) == reading.MAX_PROBLEMS + 1
    assert caught.value.problems[-1].endswith("elastiq.conf: and 100 more problems like these")


def test_line_ends_and_byte_order_mark_of_other_systems(tmp_path: Path) -> None:
    assert loaded(tmp_path, b"\xef\xbb\xbf" + IMAGE.replace("\n", "\r\n").encode()).ec2.image_id == "ami-1a2b3c4d"


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


def test_a_change_stands_for_what_the_file_says(tmp_path: Path) -> None:
    path = written(tmp_path, f"{IMAGE}[elastiq]\nidle_for_time_s = 5m\n[quota]\nmax_vms = 5\n")
    changes = ["IDLE_FOR_TIME_S = 2m", "quota.max_vms=unlimited", "n_jobs_per_vm="]
    made = read_without_plugin(path, changes)
    assert (made.elastiq.idle_for_time_s, made.quota.max_vms, made.elastiq.n_jobs_per_vm) == (120.0, None, None)


def test_a_change_mends_what_the_file_has_wrong_and_is_checked_with_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, f"{IMAGE}[quota]\nmin_vms = 9\nmax_vms = 5\n")
    assert read_without_plugin(path, ["max_vms=9"]).quota.max_vms == 9
    with pytest.raises(ConfigError, match=r"min_vms: 9 is more than max_vms 8"):
        read_without_plugin(path, ["max_vms=8"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("=5", "unknown option"),
        ("max_vmz=5", "max_vmz: unknown option, did you mean max_vms?"),
        ("ec2.max_vms=5", "ec2.max_vms: unknown option, did you mean max_vms?"),
        ("max_vms=0", 'meant "no limit"'),
        ("elastiq", "sets no option"),
    ],
)
def test_a_change_that_cannot_be(change: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_without_plugin(written(tmp_path, IMAGE), [change])
    assert said in str(caught.value)
    assert len(caught.value.problems) == 1
