"""What the demonstration draws fits the terminal, and says nothing twice in a log."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("rich", reason="the demonstration needs rich: pip install -e '.[sandbox]'")

from rich.console import Console

from elastiq.sandbox.screen import HOLDS_KEPT, LOWEST, NARROWEST, Event, PlainScreen, Scene, Vm, draw

VMS = (
    Vm("VM 1", "working", "job 1, 2"),
    Vm("VM 2", "booting", "3 s"),
    Vm(),
    Vm(),
    Vm("VM 10", "closed", "no new jobs"),
)
EVENTS = tuple(
    Event(float(number), kind, f"{kind} {number}: {'some words that need more than one line ' * 3}".strip())
    for number, kind in enumerate(["you", "hold", "launch", "hold", "vm", "hold", "hold", "terminate"] * 3)
)


def drawn(scene: Scene, width: int, height: int | None) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height or 25, force_terminal=False)
    console.print(draw(scene, width, height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(("width", "height"), [(NARROWEST, LOWEST), (80, 24), (120, 40)])
@pytest.mark.parametrize("events", [(), EVENTS[:2], EVENTS])
@pytest.mark.parametrize(
    "caption", ["Short.", "A caption that is a good deal longer than a narrow terminal is wide. " * 2]
)
def test_the_picture_fits_the_terminal(width: int, height: int, events: tuple[Event, ...], caption: str) -> None:
    lines = drawn(Scene(12, 3, 2, 5, 1, VMS, events, caption[: 2 * width - 20]), width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any("VM 10" in line for line in lines)
    assert any(line.strip().startswith("Now") for line in lines)


def test_the_newest_events_stay_when_room_is_short() -> None:
    text = "\n".join(drawn(Scene(30, vms=VMS, events=EVENTS), 80, 24))
    assert "terminate 23" in text
    assert text.count("· hold") <= HOLDS_KEPT
    assert "you 0" not in text


def test_all_events_are_kept_when_there_is_no_limit() -> None:
    text = "\n".join(drawn(Scene(30, vms=VMS, events=EVENTS), 80, None))
    assert all(f"{event.kind} {number}:" in text for number, event in enumerate(EVENTS))


def test_the_bar_is_as_long_as_its_jobs() -> None:
    bar = next(line for line in drawn(Scene(0, 10, 5, 4, 1, VMS), 80, 24) if "███" in line)
    assert bar.count("█") == 40
    bar = next(line for line in drawn(Scene(0, 1000, 500, 400, 1, VMS), 80, 24) if "███" in line)
    assert bar.count("█") == 78


def test_plain_lines_tell_each_event_once(capsys: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen()
    for events in (EVENTS[:1], EVENTS[:1], EVENTS[:3]):
        screen.show(Scene(1.0, 2, vms=VMS, events=events))
    output = capsys.readouterr().out
    assert [output.count(f"{event.kind} {number}:") for number, event in enumerate(EVENTS[:3])] == [1, 1, 1]
    assert output.count("2 waiting") == 1
    assert "\x1b" not in output
