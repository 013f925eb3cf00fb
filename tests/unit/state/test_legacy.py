"""The state file of the original."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.memory import VmRecord
from elastiq.state.legacy import LEGACY_FILE, read, set_aside

NOW = 1_000_000.0


def test_no_file_is_nothing_to_take_over(tmp_path: Path) -> None:
    assert read(tmp_path, NOW) is None
    (tmp_path / LEGACY_FILE).mkdir()
    assert read(tmp_path, NOW) is None


def test_an_empty_file_is_read_once(tmp_path: Path) -> None:
    (tmp_path / LEGACY_FILE).write_text("")
    assert read(tmp_path, NOW) == {}
    set_aside(tmp_path, 0)
    assert read(tmp_path, NOW) is None


def test_its_vms_may_have_been_workers_and_are_out_of_sight(tmp_path: Path) -> None:
    (tmp_path / LEGACY_FILE).write_text("i-0123abcd\n\n  i-0123456789abcdef0  \n")
    assert read(tmp_path, NOW) == {
        id_: VmRecord(id_, launched_at=NOW, joined_at=NOW, lost_since=NOW)
        for id_ in ("i-0123abcd", "i-0123456789abcdef0")
    }


@pytest.mark.parametrize("line", ["i-1", "i-0123ABCD", "j-0123abcd", "i-0123abcd i-0123abce", "\0", "i-" + "0" * 33])
def test_a_line_that_is_no_instance_id_is_said_and_left_out(
    tmp_path: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / LEGACY_FILE).write_text(f"i-0123abcd\n{line}\n")
    assert set(read(tmp_path, NOW) or {}) == {"i-0123abcd"}
    assert f"{LEGACY_FILE}:2: not an instance id, left out" in caplog.text
