"""What `elastiqctl top` shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elastiq.report.now import STAGES, Now
from elastiq.report.series import Past
from elastiq.report.terminal import BLOCKS, NARROWEST, PLAIN, lines, plain
from tests.page.scenes import SCENES, trouble, usual


@pytest.mark.long
@given(st.sampled_from(sorted(SCENES)), st.integers(0, 300), st.integers(0, 80))
def test_it_fits_whatever_the_size(name: str, width: int, height: int) -> None:
    picture = lines(*SCENES[name](), width, height)
    assert len(picture) <= height
    for line in picture:
        assert sum(len(words) for words, _ in line) <= max(width, NARROWEST)


def test_the_usual_picture() -> None:
    shown = plain(lines(*usual(), 120, 40)).splitlines()
    assert shown[0].startswith("physics.example.org  elastiq is running; last reported ")
    assert shown[1] == "jobs 127 waiting   workers 24 busy, 3 idle   VMs 33 of at most 50"
    assert "VMs  ░ 5 booting  █ 24 at work  ▒ 3 idle  · 1 going" in shown
    assert "░" * 5 + "█" * 24 + "▒" * 3 + "·" in shown
    assert (
        "     112 of 4 CPUs, 16000 MB memory, for 7 min: quota-full More VMs are wanted than max_vms leaves." in shown
    )
    assert [line for line in shown if line.startswith("  VMs  ") and "█" in line and "at most 3" in line]


def test_trouble_says_what_to_do() -> None:
    shown = plain(lines(*trouble(), 200, 50))
    assert "does not report" in shown
    assert "error " in shown
    assert "unreadable the queue cannot be read" in shown
    assert "to change it: mend what cannot be read" in shown
    assert "jobs unknown waiting" in shown
    assert BLOCKS.unknown * 5 in shown, "a gap in the bars"


def test_without_a_daemon_and_without_a_past() -> None:
    shown = plain(lines(Now(0.0, is_running=False), Past(), 80, 24))
    assert shown.startswith("elastiq is not running")
    assert "elastiqctl start" in shown


def test_what_does_not_fit_is_counted() -> None:
    now, past = SCENES["large"]()
    shown = plain(lines(now, past, 100, 40)).splitlines()
    listed = sum(" of " in line and "quota-full" in line for line in shown)
    assert listed > 10
    assert shown[-1] == f"         and {2000 - listed + 312} more, of fewer jobs"


def test_a_terminal_that_shows_no_blocks_gets_others() -> None:
    plain(lines(*usual(), 100, 40, PLAIN)).encode("ascii")
    for glyphs in (BLOCKS, PLAIN):
        assert len(glyphs.stages) == len(STAGES)
        assert len(glyphs.heights) == 9


@pytest.mark.parametrize("words", ["\x1b[2J", "a\nb", "\x9b1m"])
def test_nothing_of_others_steers_the_terminal(words: str) -> None:
    now, past = usual()
    assert now.report
    report = replace(now.report, summary=words, cluster=words)
    shown = plain(lines(replace(now, report=report), past, 100, 40))
    assert words not in shown
    assert all(line.isprintable() for line in shown.splitlines())


def test_secrets_go_out() -> None:
    shown = plain(lines(*usual(), 100, 40, clean=lambda text: text.replace("120 jobs wait", "(hidden)")))
    assert "(hidden)" in shown
