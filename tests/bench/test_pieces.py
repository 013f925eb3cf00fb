"""Every piece of the benchmark still runs: of what it measures nothing is asserted here."""

from __future__ import annotations

import pytest

from tests.bench.__main__ import piece
from tests.bench.plans import KINDS


@pytest.mark.parametrize(
    ("name", "arguments", "figure"),
    [
        ("queue_check", ("10",), "cpu_ms"),
        ("vm_check", ("5", "10", "running"), "cpu_ms"),
        ("launch", ("0",), "requests"),
        ("paced_launch", ("50",), "launched"),
        ("daemon", ("5", "2", "1"), "resident_mib"),
        ("why_sandbox", ("5",), "why_one_ms"),
        ("history_year", ("1",), "megabytes"),
        *(("plans", (kind, "5", "10", "20"), "cpu_ms") for kind in KINDS),
    ],
)
def test_it_runs(name: str, arguments: tuple[str, ...], figure: str) -> None:
    assert piece(name, 1, *arguments)[figure] > 0
