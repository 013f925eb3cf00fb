"""What the demonstration shows: a calm picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import Protocol

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

NARROWEST, LOWEST = 72, 20
"""Columns and lines that the picture needs."""
WIDEST = 120
HOLDS_KEPT = 2
PLAIN_PROGRESS_EVERY_SECONDS = 5.0

VM_STYLES = {
    "launched": "yellow",
    "booting": "yellow",
    "working": "green",
    "idle": "cyan",
    "closed": "magenta",
    "leaving": "magenta",
    "": "bright_black",
}
EVENT_STYLES = {
    "you": ("●", "bold blue"),
    "launch": ("▲", "bold green"),
    "terminate": ("▼", "bold magenta"),
    "reopen": ("◆", "bold yellow"),
    "hold": ("·", "bright_black"),
    "vm": ("◦", "yellow"),
}


@dataclass(frozen=True)
class Vm:
    """One place for a VM; an empty name means that it is free."""

    name: str = ""
    state: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Event:
    """Something that was done, or decided, and why."""

    seconds: float
    kind: str
    text: str


@dataclass(frozen=True)
class Scene:
    """All that is shown at one moment."""

    seconds: float = 0.0
    waiting: int = 0
    running: int = 0
    done: int = 0
    in_vain: int = 0
    """Jobs that no VM could run."""
    vms: tuple[Vm, ...] = ()
    events: tuple[Event, ...] = ()
    caption: str = ""


class Screen(Protocol):
    """Where scenes are shown."""

    def start(self) -> None:
        """Begin to show."""

    def stop(self, *, keep: bool) -> None:
        """Give the terminal back; with `keep` the last scene stays to be seen."""

    def show(self, scene: Scene) -> None:
        """Show `scene` in the place of the one before."""


class LiveScreen:
    """A picture that is redrawn in place; the last one stays when it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")
        self._last: Scene | None = None
        self._shown: object = None

    def start(self) -> None:
        """Take the terminal."""
        self._live.start()

    def stop(self, *, keep: bool) -> None:
        """Give the terminal back."""
        self._live.stop()
        if self._last is not None and keep:
            self._console.print(draw(self._last, self._width(), height=None))

    def show(self, scene: Scene) -> None:
        """Redraw the picture."""
        self._last = replace(scene, seconds=round(scene.seconds))
        if self._shown != (self._last, self._console.size):
            self._shown = (self._last, self._console.size)
            self._live.update(draw(self._last, self._width(), self._console.height), refresh=True)

    def _width(self) -> int:
        return max(NARROWEST, min(WIDEST, self._console.width))


class PlainScreen:
    """Lines for a log: each event once, and now and then how things stand. No control codes."""

    def __init__(self) -> None:
        self._events_shown = 0
        self._progress_due_at = 0.0
        self._progress = ""

    def start(self) -> None:
        """Nothing to prepare."""

    def stop(self, *, keep: bool) -> None:
        """Nothing to give back."""

    def show(self, scene: Scene) -> None:
        """Print what is new."""
        for event in scene.events[self._events_shown :]:
            print(f"{event.seconds:5.1f} s  {event.kind:<9}  {event.text}", flush=True)
        self._events_shown = len(scene.events)
        states = [f"{vm.name} {vm.state}" for vm in scene.vms if vm.name]
        progress = (
            f"{scene.waiting} waiting, {scene.running} running, {scene.done} done; {', '.join(states) or 'no VMs'}"
        )
        if progress != self._progress and scene.seconds >= self._progress_due_at:
            print(f"{scene.seconds:5.1f} s  {'':9}  {progress}", flush=True)
            self._progress = progress
            self._progress_due_at = scene.seconds + PLAIN_PROGRESS_EVERY_SECONDS


def draw(scene: Scene, width: int, height: int | None) -> Padding:
    """Return the picture of `scene`; with a `height` it fills that many lines and drops the oldest events."""
    inner = width - 2
    head = Table.grid(expand=True)
    head.add_column()
    head.add_column(justify="right")
    head.add_row(
        Text.assemble(("elastiq", "bold"), "  a batch cluster that grows and shrinks by itself"),
        Text(f"{scene.seconds:.0f} s", "bold"),
    )
    top: list[RenderableType] = [head, Text(""), _queue(scene, inner), Text(""), _vms(scene, inner), Text("")]
    top.append(Text("What elastiq does, and why", "bold"))
    caption = Text.assemble(("Now  ", "bold"), scene.caption)
    caption_lines = 2 if len(caption) > inner else 1
    used = 14 + caption_lines
    events = [_event(event, inner) for event in scene.events]
    if height is not None:
        room = max(1, height - used)
        events, lines = _last_that_fit(events, room)
        if len(events) < len(scene.events):
            events, lines = _last_that_fit([_event(event, inner) for event in _without_old_holds(scene.events)], room)
        events += [Text("")] * (room - lines)
    return Padding(Group(*top, *events, Text(""), caption), (0, 1), expand=False)


def _queue(scene: Scene, width: int) -> Group:
    parts = [
        ("done", scene.done, "bright_black"),
        ("running", scene.running, "green"),
        ("waiting", scene.waiting, "blue"),
        ("in vain", scene.in_vain, "red"),
    ]
    total = sum(count for _, count, _ in parts)
    length = min(width, 2 * total)
    legend, bar = Text("Jobs  ", "bold"), Text()
    counted = 0
    for name, count, style in parts:
        if count or style != "red":
            legend.append("█ ", style).append(f"{count} {name}   ")
        counted += count
        bar.append("█" * (round(length * counted / total) - len(bar)) if total else "", style)
    return Group(legend, bar if total else Text("░" * width, "bright_black"))


def _vms(scene: Scene, width: int) -> Group:
    title = Text.assemble(("VMs  ", "bold"), f"{sum(bool(vm.name) for vm in scene.vms)} of at most {len(scene.vms)}")
    box_width = max(10, width // max(1, len(scene.vms)))
    boxes = []
    for vm in scene.vms:
        style = VM_STYLES.get(vm.state, "white")
        body = Text.assemble((vm.state or "free", f"bold {style}" if vm.name else style), "\n", (vm.detail, style))
        body.no_wrap = True
        boxes.append(Panel(body, title=vm.name or None, border_style=style, width=box_width, height=4))
    return Group(title, Columns(boxes, padding=(0, 0), expand=False))


def _event(event: Event, width: int) -> Text:
    sign, style = EVENT_STYLES.get(event.kind, ("·", ""))
    line = Text.assemble((f"{event.seconds:4.0f} s  ", "bright_black"), (f"{sign} ", style))
    indent = len(line)
    rows = textwrap.wrap(event.text, width - indent)
    return line.append(("\n" + " " * indent).join(rows), "bright_black" if event.kind == "hold" else "")


def _without_old_holds(events: tuple[Event, ...]) -> list[Event]:
    """Return what matters most where there is little room: everything but reasons for doing nothing that are old."""
    holds = [event for event in events if event.kind == "hold"]
    return [event for event in events if event not in holds[:-HOLDS_KEPT]]


def _last_that_fit(events: list[Text], room: int) -> tuple[list[Text], int]:
    kept: list[Text] = []
    lines = 0
    for event in reversed(events):
        height = event.plain.count("\n") + 1
        if lines + height > room:
            break
        kept.insert(0, event)
        lines += height
    return kept, lines
