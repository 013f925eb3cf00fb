"""The accounting file; tests of the plugin try it together with the hosts."""

from __future__ import annotations

from pathlib import Path

import pytest

from elastiq.errors import BatchError
from elastiq.plugins.gridengine_accounting import Accounting
from elastiq.plugins.kit import Deadline
from tests.unit.fakes import FakeClock

LINE = "all.q:{host}:alice:alice:sleep:7:sge:0:1:2:3:0:0\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "accounting"
    path.write_text("# Version: 8.1.9\n" + LINE.format(host="node1"))
    return path


def look(accounting: Accounting) -> frozenset[str] | None:
    return accounting.hosts_of_ended_jobs(Deadline(FakeClock(), 60.0, "Grid Engine"))


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_the_first_look_does_not_tell_which_are_new(path: Path) -> None:
    accounting = Accounting(path)
    assert look(accounting) is None
    assert look(accounting) == frozenset()


def test_hosts_of_new_lines_alone(path: Path) -> None:
    accounting = Accounting(path)
    look(accounting)
    append(path, "# a comment: with a colon\n" + LINE.format(host="NODE2") * 3)
    assert look(accounting) == {"node2"}
    assert look(accounting) == frozenset()


@pytest.mark.parametrize("length", range(1, len("all.q:node2:")))
def test_a_line_cut_in_its_host_may_be_of_any(path: Path, length: int) -> None:
    accounting = Accounting(path)
    look(accounting)
    line = LINE.format(host="node2")
    append(path, line[:length])
    assert look(accounting) is None
    append(path, line[length:])
    assert look(accounting) is not None


@pytest.mark.parametrize("length", [len("all.q:node2:"), 20, 40])
def test_a_line_cut_behind_its_host_tells_it(path: Path, length: int) -> None:
    accounting = Accounting(path)
    look(accounting)
    line = LINE.format(host="node2")
    append(path, line[:length])
    assert look(accounting) == {"node2"}


def test_a_file_that_was_cut_or_replaced_does_not_tell(path: Path) -> None:
    accounting = Accounting(path)
    look(accounting)
    path.write_text("")
    assert look(accounting) is None


def test_without_a_file_nothing_is_told(tmp_path: Path) -> None:
    assert look(Accounting(tmp_path / "accounting")) == frozenset()


def test_what_check_says_of_it(path: Path, tmp_path: Path) -> None:
    assert "are seen in" in Accounting(path).description()
    assert "CANNOT be read" in Accounting(tmp_path / "no" / "accounting").description()


def test_a_file_that_is_to_come_tells_of_nobody_and_one_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    deadline = Deadline(FakeClock(), 20.0, "Grid Engine")
    assert Accounting(tmp_path / "accounting").used("{ print }", 0.0, deadline) == ""
    with pytest.raises(BatchError):
        Accounting(tmp_path / "nowhere" / "accounting").used("{ print }", 0.0, deadline)
