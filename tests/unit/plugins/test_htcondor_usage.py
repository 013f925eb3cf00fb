"""The job history of HTCondor as condor_history -af prints it."""

from __future__ import annotations

import pytest

from elastiq.errors import BatchError
from elastiq.model import Usage
from elastiq.plugins.htcondor_usage import parse_history, parse_running, since_constraint

HISTORY = """\
ann slot1_1@node-1.internal 1795879000 1795879600 1795879600 2 2
bob slot1_2@node-1.internal 1795879100 0 1795879500 undefined 4
eve undefined undefined 0 1795879500 undefined 1
undefined slot1@node-2 1795879000 1795879600 1795879600 1 1
ann node-3 1795879700 1795879600 1795879600 1 1
ann node-3 1795879000 1795879600 1795879600 undefined RequestMemory/4

"""


def test_history() -> None:
    assert parse_history(HISTORY) == (
        Usage("ann", "node-1.internal", 1795879000.0, 1795879600.0, 2),
        Usage("bob", "node-1.internal", 1795879100.0, 1795879500.0, 4),
        Usage("ann", "node-3", 1795879000.0, 1795879600.0, 1),
    )


def test_running() -> None:
    text = "ann slot1_1@node-1 1795879000 2 2\nbob undefined undefined undefined 1\n"
    assert parse_running(text) == (Usage("ann", "node-1", 1795879000.0, None, 2),)
    assert parse_running("") == ()


def test_a_name_that_no_user_has_costs_itself_alone() -> None:
    found = parse_history("\0ann slot1@node-1 1000 1600 1600 1 1\nbob slot1@node-1 1000 1600 1600 1 1\n")
    assert [one.user for one in found] == ["bob"]
    assert parse_running("\x1bann slot1_1@node-1 1795879000 2 2\n") == ()


@pytest.mark.parametrize("text", ["ann slot1@n 1 2\n", "Error: Cannot connect to schedd\n"])
def test_what_is_no_history_is_an_error(text: str) -> None:
    for parse in (parse_history, parse_running):
        with pytest.raises(BatchError, match="not as expected"):
            parse(text)


def test_it_is_read_back_to_then() -> None:
    assert since_constraint(1795879000.4) == "EnteredCurrentStatus < 1795879000"
