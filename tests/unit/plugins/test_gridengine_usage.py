"""Who used which host, by the accounting file and by qstat."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.errors import BatchError
from elastiq.model import Usage
from elastiq.plugins.faults import usage_faults
from elastiq.plugins.gridengine_usage import USED, parse_ended, parse_running

RECORDED = Path(__file__).parent / "recorded" / "gridengine"


@pytest.fixture(autouse=True)
def zone(in_zone: Callable[[str], None]) -> None:
    in_zone("UTC")


def entry(
    host: str = "w1", owner: str = "ann", begin: int = 1000, end: int = 1600, slots: int = 1, task: str = "NONE"
) -> str:
    """A line of accounting(5)."""
    usage = ":".join(["0"] * 18)
    return (
        f"all.q:{host}:ann:{owner}:job:7:sge:0:900:{begin}:{end}:0:0:{usage}:NONE:defaultdepartment:NONE:{slots}:0:"
        f"0.1:0.0:0.0:-q all.q:0.000000:{task}:1024:0:0\n"
    )


def used(text: str, since: float, tmp_path: Path) -> tuple[Usage, ...]:
    if not shutil.which("awk"):
        pytest.skip("there is no awk")
    path = tmp_path / "accounting"
    path.write_text(text)
    words = ["awk", "-F:", "-v", f"since={since:.0f}", USED, str(path)]
    return parse_ended(subprocess.run(words, check=True, capture_output=True, text=True).stdout, since)


def test_ended(tmp_path: Path) -> None:
    text = (
        "# Version: 8.1.9\n"
        + entry()
        + entry(begin=0, end=0)
        + entry(host="w2", owner="bob", slots=4, begin=2000, end=2500)
        + entry(host="w3", owner="bob", slots=4, begin=2000, end=2500, task="1.w3")
        + entry()[:60]
        + "\n"
        + entry(begin=1_795_000_000_000, end=1_795_000_060_000)
        + entry(begin=1_795_000_000_000_000, end=1_795_000_060_000_000)
    )
    assert used(text, 0, tmp_path) == (
        Usage("ann", "w1", 1000.0, 1600.0, 1),
        Usage("bob", "w2", 2000.0, 2500.0, 4),
        Usage("bob", "w3", 2000.0, 2500.0, 1),
        *[Usage("ann", "w1", 1_795_000_000.0, 1_795_000_060.0, 1)] * 2,
    )
    assert [one.worker for one in used(text, 2000, tmp_path)] == ["w2", "w3", "w1", "w1"]
    assert used("", 0, tmp_path) == ()


def test_running() -> None:
    found = parse_running((RECORDED / "qstat.xml").read_text())
    assert found
    for stay in found:
        assert stay.user and stay.worker and stay.end_at is None and stay.begin_at > 1_700_000_000
    for text in ("", "<a/>", "<job_info>"):
        with pytest.raises(BatchError):
            parse_running(text)


@given(st.text() | st.text(alphabet="w:1000 \n"))
def test_any_text_is_an_answer_or_a_batch_error(text: str) -> None:
    assert usage_faults(parse_ended(text, 0.0)) == []
    try:
        assert (
            usage_faults(parse_running(f"<job_info><job_list><JB_owner>{text}</JB_owner></job_list></job_info>")) == []
        )
    except BatchError:
        pass


def test_lines_that_cannot_be_true_cost_themselves_alone(tmp_path: Path) -> None:
    odd = (
        entry(begin=1600, end=1000),
        entry(begin=0, end=1600),
        entry(owner=""),
        entry(host=""),
        entry(begin=1000, end=1_795_000_000_000_000_000),
    )
    assert used("".join(odd) + "\n:::\nbars|and:colons\n" + entry(), 0, tmp_path) == (
        Usage("ann", "w1", 1000.0, 1600.0, 1),
    )


@pytest.mark.long
def test_many(tmp_path: Path) -> None:
    assert len(used(entry() * 100_000, 1600, tmp_path)) == 100_000
    assert used(entry() * 100_000, 1601, tmp_path) == ()
