"""A configuration file on its way to Settings: what stands where, what it means, and all that is wrong with it."""

from __future__ import annotations

import difflib
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elastiq.config import ini
from elastiq.config.convert import BadValue, converted
from elastiq.config.files import FileContent, read_limited
from elastiq.config.options import Option, Section, Value, ValueKind
from elastiq.errors import ConfigError
from elastiq.text import printable, shown

MAX_FILE_BYTES = 1024 * 1024

SECTION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""That of a pool becomes the value of a tag, a part of the names of VMs, and a label of metrics."""

MAX_PROBLEMS = 100
"""How many problems one error names; a file with more of them is some other kind of file."""


class Reading:
    """A file being read: the values found so far, and problems and warnings. Options go by their titles."""

    def __init__(self, path: Path) -> None:
        """Read the file at `path`. Raise ConfigError if it cannot be read, or is no text."""
        self._name, self._directory = printable(str(path)), path.parent
        try:
            content, status = read_limited(path, MAX_FILE_BYTES)
        except ValueError as error:
            raise ConfigError([f"{self._name}: {error}"]) from None
        if b"\0" in content:
            line = content[: content.index(b"\0")].count(b"\n") + 1
            raise ConfigError([f"{self._name}:{line}: holds a NUL byte; this is not a text file"])
        self.mode = status.st_mode
        self.values: dict[str, Value] = {}
        self.options: dict[str, Option] = {}
        self._sections: list[str] = []
        self._refused: set[str] = set()
        self._passed: set[str] = set()
        self._words: list[str] = []
        self._lines: dict[str, int] = {}
        self._problems: list[ini.Problem] = []
        self._warnings: list[ini.Problem] = []
        self._file = ini.parse(self._decoded(content))
        self._problems += self._file.problems

    def take(self, section: Section) -> None:
        """Take the values of the options of `section`."""
        self._sections.append(section.name)
        self.options.update({option.title: option for option in section.options})
        for entry in self._file.entries:
            option = self.options.get(_title(entry))
            if entry.section != section.name or option is None:
                continue
            first = self._lines.setdefault(option.title, entry.line)
            if first != entry.line:
                self._problems.append(ini.Problem(entry.line, f"{option.title}: given twice, first in line {first}"))
                continue
            self._convert(option, entry)

    def change(self, text: str) -> None:
        """Take `option=value` or `section.option=value` instead of what the file says.

        Raise ConfigError, of one line, if that cannot be.
        """
        name, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError([f"'{shown(text)}' sets no option; write option=value"])
        option = self._option_of(name.lower())
        try:
            found = converted(option, [ini.Line(0, value)], self._directory)
        except BadValue as bad:
            raise ConfigError([f"{option.title}: {bad}"]) from None
        self._refused.discard(option.title)
        self._lines.pop(option.title, None)
        self.values.pop(option.title, None)
        if found is not None or option.kind is ValueKind.LIMIT:
            self.values[option.title] = found.content if isinstance(found, FileContent) else found

    def _option_of(self, name: str) -> Option:
        """Return the option that is called by its name, or by that of its section and its own. Raise ConfigError."""
        section, dot, own = name.rpartition(".")
        named = [one for one in self.options.values() if one.name == own]
        if dot:
            named = [one for one in named if one.section.lower() == section]
        else:  # pools may have options of other sections, too: they are meant only where they are named
            named = [one for one in named if " " not in one.section] or named
        if len(named) == 1:
            return named[0]
        if named:
            titles = " or ".join(f"{one.section}.{one.name}" for one in named)
            raise ConfigError([f"{shown(name)}: there are several of that name; write {titles}"])
        close = difflib.get_close_matches(own, [one.name for one in self.options.values()], n=1)
        hint = f", did you mean {close[0]}?" if close else "; see elastiq.conf(5)"
        raise ConfigError([f"{shown(name)}: unknown option{hint}"])

    def refuse_unknown(self, passed: str, documented: Sequence[Section]) -> None:
        """Call every section that was not taken unknown, but for `passed`, and every option of those that were.

        Of others than the `documented` sections elastiq.conf(5) knows nothing.
        """
        pages = [section.name for section in documented]
        for section, line in self._file.sections.items():
            if section not in (*self._sections, *self._passed, passed):
                self._problems.append(ini.Problem(line, self._unknown_section(section)))
        for entry in self._file.entries:
            if entry.section in self._sections and _title(entry) not in self.options:
                self._problems.append(ini.Problem(entry.line, self._unknown_option(entry, entry.section in pages)))

    def section(self, section: Section) -> Any:
        """Return what the file says of `section`, as the dataclass that declares it."""
        return section.declared(**self.given_of(section))

    def given_of(self, section: Section) -> dict[str, Value]:
        """Return the values that the file gives to the options of `section`, by their names."""
        return {option.name: self.values[option.title] for option in section.options if option.title in self.values}

    def take_named(self, word: str, options: type, example: str) -> tuple[Section, ...]:
        """Take the values of every section that begins with this word, each with a name of its own; return these
        sections, as they come in the file."""
        self._words.append(word)
        found = []
        for title, line in self._file.sections.items():
            first, _, name = title.partition(" ")
            if first != word:
                continue
            if SECTION_NAME.fullmatch(name):
                found.append(Section(title, options))
                self.take(found[-1])
                continue
            text = f"a {word} needs a name, such as [{word} {example}]"
            if name:
                text = f"'{shown(name)}' cannot be the name of a {word}: give up to 64 letters, digits and . _ -"
            self._passed.add(title)
            self._problems.append(ini.Problem(line, f"[{shown(title)}]: {text}"))
        return tuple(found)

    def has(self, section: Section) -> bool:
        """Return whether the file has this section."""
        return section.name in self._file.sections

    def given(self, title: str) -> bool:
        """Return whether the file gives a value to an option, good or bad."""
        return title in self.values or title in self._refused

    def value(self, title: str) -> Value:
        """Return the value of an option, or its default; None if it was refused."""
        return None if title in self._refused else self.values.get(title, self.options[title].default)

    def line(self, title: str) -> int:
        """Return where an option stands, or else its section; 0 if there is none."""
        return self._lines.get(title, self._file.sections.get(self.options[title].section, 0))

    @property
    def lines(self) -> dict[str, int]:
        """Return where each option stands that the file gives."""
        return dict(self._lines)

    def place(self, title: str) -> str:
        """Return where an option stands, in words for the beginning of a message."""
        line = self._lines.get(title)
        return f"{self._name}:{line}: {title}" if line else f"{self._name}: {title}"

    def fault(self, title: str, text: str) -> None:
        """Say what is wrong with an option."""
        self._problems.append(ini.Problem(self.line(title), f"{title}: {text}"))

    def refuse(self, title: str, problems: Sequence[str]) -> None:
        """Take over what somebody else says is wrong with an option, in whole sentences."""
        self._problems += [ini.Problem(self.line(title), problem) for problem in problems]

    def warn(self, title: str, text: str) -> None:
        """Say what is odd about an option."""
        self._warnings.append(ini.Problem(self.line(title), f"{title}: {text}"))

    def warn_of_file(self, text: str) -> None:
        """Say what is odd about the file as a whole."""
        self._warnings.append(ini.Problem(0, text))

    def warnings(self) -> tuple[str, ...]:
        """Return all warnings. Raise ConfigError with every problem if there is one."""
        if self._problems:
            raise ConfigError(self._in_order(self._problems))
        return tuple(self._in_order(self._warnings))

    def _in_order(self, problems: Sequence[ini.Problem]) -> list[str]:
        """Return problems as people read them, from the top of the file down."""
        lines = [
            f"{self._name}:{problem.line}: {problem.text}" if problem.line else f"{self._name}: {problem.text}"
            for problem in sorted(problems, key=lambda problem: problem.line)
        ]
        if len(lines) > MAX_PROBLEMS:
            lines[MAX_PROBLEMS:] = [f"{self._name}: and {len(lines) - MAX_PROBLEMS} more problems like these"]
        return lines

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self._problems.append(ini.Problem(line, "is not UTF-8 text; save the file in UTF-8"))
            return content.decode("utf-8-sig", errors="replace")

    def _convert(self, option: Option, entry: ini.Entry) -> None:
        try:
            value = converted(option, entry.pieces, self._directory)
        except BadValue as bad:
            self._refused.add(option.title)
            self._problems.append(ini.Problem(bad.line, f"{option.title}: {bad}"))
            return
        if isinstance(value, FileContent):
            self._check_file_access(option, value)
            value = value.content
        if value is not None or option.kind is ValueKind.LIMIT:
            self.values[option.title] = value

    def _check_file_access(self, option: Option, file: FileContent) -> None:
        """Warn of a file with a secret that too many people may read or write."""
        if not file.mode & (stat.S_IROTH | stat.S_IWOTH) or not _is_reachable(file.path):
            return
        name = printable(str(file.path))
        if option.kind is ValueKind.WEBHOOK_FILE:
            text = f"read or change {name}, and who knows that address may post there"
        elif file.mode & stat.S_IWOTH:
            text = f"write to {name}, and VMs run it as root"
        else:
            text = f"read {name}, and user data often holds a password or token"
        self.warn(option.title, f"anybody on this machine can {text}; do chmod o= on it")

    def _unknown_section(self, section: str) -> str:
        title = f"[{shown(section)}]: unknown section"
        word, _, name = section.partition(" ")
        close = difflib.get_close_matches(word.lower(), self._words, n=1)
        if close and name:
            return f"{title}, did you mean [{close[0]} {shown(name)}]?"
        close = difflib.get_close_matches(section.lower(), self._sections, n=1)
        if close:
            return f"{title}, did you mean [{close[0]}]?"
        known = (*self._sections, *(f"{word} NAME" for word in self._words))
        return f"{title}; there are {', '.join(f'[{name}]' for name in known)}"

    def _unknown_option(self, entry: ini.Entry, documented: bool) -> str:
        name = entry.name.replace("-", "_")
        names = [option.name for option in self.options.values() if option.section == entry.section]
        close = difflib.get_close_matches(name, names, n=1)
        other = next((option for option in self.options.values() if option.name == name), None)
        if not close and not other and not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", entry.name_as_given):
            # It may be a line of user data, which ends in = and has lost the space at its beginning.
            return f"[{entry.section}]: unknown option; a line that goes on with the value above begins with a space"
        title = f"[{entry.section}] {shown(entry.name)}: unknown option"
        if other and name not in names:
            return f"{title}, it belongs into [{other.section}]"
        if close:
            return f"{title}, did you mean {close[0]}?"
        return f"{title}; see elastiq.conf(5)" if documented else f"{title}; there are {', '.join(names)}"


def _title(entry: ini.Entry) -> str:
    return f"[{entry.section}] {entry.name}"


def _is_reachable(path: Path) -> bool:
    """Return whether every directory above a file lets anybody pass."""
    try:
        return all(directory.stat().st_mode & stat.S_IXOTH for directory in path.resolve().parents)
    except OSError:
        return True  # in doubt it is said
