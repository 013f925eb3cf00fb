"""`elastiqctl top`: how things stand, live in the terminal."""

from __future__ import annotations

import locale
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from elastiq.clock import Time
from elastiq.report.now import Now
from elastiq.report.series import Past
from elastiq.report.terminal import BLOCKS, PLAIN, Glyphs, Line, lines, plain

try:
    import curses
except ImportError:  # not every Python has it
    HAS_CURSES = False
else:
    HAS_CURSES = True

if TYPE_CHECKING:
    from curses import window

EVERY_SECONDS = 5.0
"""So often it is looked at; the daemon looks no more often."""
FOOTER = "q: end"

COLOURS = {
    "at work": "green",
    "idle": "yellow",
    "booting": "blue",
    "out of sight": "magenta",
    "unlisted": "magenta",
    "broken": "red",
    "interrupted": "cyan",
    "leaving": "cyan",
    "going": "cyan",
    "good": "green",
    "bad": "red",
    "work": "green",
    "line": "white",
    "wait": "blue",
}
"""By how pieces look."""

Look = Callable[[], tuple[Now, Past]]


def show(look: Look, clean: Callable[[str], str], clock: Time, environment: Mapping[str, str]) -> None:
    """Show what `look` returns until somebody types q; where there is no terminal for it, print it once."""
    locale.setlocale(locale.LC_ALL, "")
    glyphs = _glyphs()
    if not (_is_terminal(environment) and HAS_CURSES):
        now, past = look()
        print(plain(lines(now, past, shutil.get_terminal_size((100, 0)).columns, None, glyphs, clean)))
        return
    live = _Live(look, clean, clock, glyphs, has_colours=not environment.get("NO_COLOR"))
    # Not curses.wrapper, which sets colours even where there are to be none.
    screen = curses.initscr()
    try:
        curses.noecho()
        curses.cbreak()
        screen.keypad(True)
        live.run(screen)
    except KeyboardInterrupt:
        pass  # it is another way to end it
    finally:
        screen.keypad(False)
        curses.endwin()


def _is_terminal(environment: Mapping[str, str]) -> bool:
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or environment.get("TERM", "") in ("", "dumb"):
        return False
    if not HAS_CURSES:
        return False
    try:
        curses.setupterm(environment["TERM"], sys.stdout.fileno())
    except curses.error:
        return False
    return bool(curses.tigetstr("cup"))


def _glyphs() -> Glyphs:
    """Return what the terminal can show."""
    try:
        f"{BLOCKS.stages}{BLOCKS.heights}".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return PLAIN
    return BLOCKS


class _Live:
    """A picture that is drawn again and again."""

    def __init__(
        self, look: Look, clean: Callable[[str], str], clock: Time, glyphs: Glyphs, *, has_colours: bool
    ) -> None:
        self._look, self._clean, self._clock, self._glyphs = look, clean, clock, glyphs
        self._has_colours = has_colours
        self._attributes: dict[str, int] = {}

    def run(self, screen: window) -> None:
        """Draw until q is typed."""
        self._prepare()
        now, past = self._look()
        looked_at = self._clock.now()
        screen.timeout(int(EVERY_SECONDS * 1000))
        while True:
            self._draw(screen, now, past)
            key = screen.getch()
            if key in (ord("q"), ord("Q")):
                return
            if key == curses.KEY_RESIZE:
                continue
            if key == -1 or self._clock.now() - looked_at >= EVERY_SECONDS:
                now, past = self._look()
                looked_at = self._clock.now()

    def _prepare(self) -> None:
        try:
            curses.curs_set(0)
        except curses.error:
            pass  # the terminal cannot hide it
        self._attributes = {"strong": curses.A_BOLD}
        if not self._has_colours:
            return
        curses.start_color()
        if not curses.has_colors():
            return
        curses.use_default_colors()
        pairs: dict[str, int] = {}
        for look, colour in COLOURS.items():
            if colour not in pairs:
                pairs[colour] = len(pairs) + 1
                curses.init_pair(pairs[colour], getattr(curses, f"COLOR_{colour.upper()}"), -1)
            self._attributes[look] = curses.color_pair(pairs[colour])

    def _draw(self, screen: window, now: Now, past: Past) -> None:
        height, width = screen.getmaxyx()
        screen.erase()
        for row, line in enumerate(lines(now, past, width, max(0, height - 1), self._glyphs, self._clean)):
            self._write(screen, row, line, width)
        self._write(screen, height - 1, ((FOOTER, "strong"),), width)
        screen.refresh()

    def _write(self, screen: window, row: int, line: Line, width: int) -> None:
        column = 0
        for words, look in line:
            # Curses raises when the last cell of the terminal is written to.
            shown = words[: max(0, width - 1 - column)]
            if shown:
                try:
                    screen.addstr(row, column, shown, self._attributes.get(look, 0))
                except curses.error:
                    return  # the terminal has become smaller meanwhile
            column += len(shown)
