"""The sandbox's small command line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from elastiq.sandbox.__main__ import main
from elastiq.sandbox.spool import Spool


def test_submit_and_queue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spool = tmp_path / "spool"
    asked = ["--cpus", "3", "--memory-mb=500", "--needs=gpu, cvmfs", "--whole"]
    assert main(["submit", "-n", "2", "--seconds", "0.5", *asked, "--spool", str(spool)]) == 0
    jobs = Spool(spool).jobs("queue")
    assert all((job.memory_mb, job.needs, job.whole) == (500, ["gpu", "cvmfs"], True) for job in jobs)
    assert [(job.id, job.command, job.cpus) for job in jobs] == [
        ("000001", ["sleep", "0.5"], 3),
        ("000002", ["sleep", "0.5"], 3),
    ]
    assert main(["queue", "--spool", str(spool)]) == 0
    assert "queue: 2 jobs" in capsys.readouterr().out


def test_a_spool_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "--spool", str(tmp_path / "none")]) == 1
    assert "cannot use the sandbox's spool directory" in capsys.readouterr().err


def test_missing_packages_are_named_with_the_way_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "rich" else object())
    assert main([]) == 1
    assert capsys.readouterr().err == "the demonstration needs rich: pip install 'elastiq[sandbox]'\n"


@pytest.mark.parametrize("wrong", ["--cpus=0", "--memory-mb=0", "--memory-mb=-5", "--needs=two words", "--needs=../x"])
def test_what_can_not_be_asked_for(tmp_path: Path, wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["submit", wrong, "--spool", str(tmp_path / "spool")])
    assert ended.value.code == 2
    assert f"argument {wrong.partition('=')[0]}: invalid" in capsys.readouterr().err
