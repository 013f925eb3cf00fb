"""The lines of an INI file, each with its number, and everything that is wrong with its form.

The form is that of the original elastiq, which read its file by ConfigParser of Python 2: `name = value` or
`name: value`, names in any case, values that go on in lines that begin with a space, comments with `;` and `#`. Nothing
is interpolated. What a value means is no business of this module, and no text of a value gets into a problem.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from elastiq.text import shown

_SECTION = re.compile(r"\[([^\[\]]+)\]\s*(?:[#;].*)?")

_OPTION = re.compile(r"([A-Za-z0-9_.-]+)\s*[=:](.*)", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """A piece of a value and where it stands."""

    number: int
    text: str


@dataclass
class Entry:
    """An option as it was given: its value is one piece, or more if it goes on over several lines."""

    section: str
    name: str
    """In lower case."""
    name_as_given: str
    pieces: list[Line]

    @property
    def line(self) -> int:
        """Number of the line that holds the name."""
        return self.pieces[0].number


@dataclass(frozen=True)
class Problem:
    """What is wrong, and in which line; line 0 is the file as a whole."""

    line: int
    text: str


@dataclass
class IniFile:
    """What a file says."""

    sections: dict[str, int] = field(default_factory=dict)
    """Name of each section and the line where it begins first."""
    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse(text: str) -> IniFile:
    """Return everything that `text` says, and every fault of its form as a problem. Never raises."""
    ini = IniFile()
    section: str | None = None
    entry: Entry | None = None
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if raw[0].isspace() and entry is not None:
            entry.pieces.append(Line(number, line))
            continue
        header = None if raw[0].isspace() else _SECTION.fullmatch(line)
        if header:
            section, entry = " ".join(header.group(1).split()), None
            first = ini.sections.setdefault(section, number)
            if not section:
                ini.problems.append(Problem(number, "[]: a section has a name, such as [elastiq]"))
            elif first != number:
                problem = f"[{shown(section)}]: section given twice, first in line {first}; put them together"
                ini.problems.append(Problem(number, problem))
            continue
        if section is None:
            if not ini.problems:
                problem = "stands before any section; a section begins with a line like [elastiq]"
                ini.problems.append(Problem(number, problem))
            continue
        option = None if raw[0].isspace() else _OPTION.fullmatch(line)
        if option:
            entry = Entry(section, option.group(1).lower(), option.group(1), [Line(number, option.group(2).strip())])
            ini.entries.append(entry)
            continue
        # Kept apart from `entries`: it takes in the lines that go on with this one, which are no problems of their own.
        entry = Entry(section, "", "", [])
        problem = f'[{shown(section)}]: not an option; write "name = value"'
        if raw[0].isspace():
            problem = f"[{shown(section)}]: begins with a space, but there is no value before it to go on with"
        ini.problems.append(Problem(number, problem))
    return ini
