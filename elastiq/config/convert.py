"""What the text of an option's value means: strict, and with messages that say what to write instead."""

from __future__ import annotations

import base64
import binascii
import difflib
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from elastiq.config import hours, zones
from elastiq.config.files import FileContent, read_named
from elastiq.config.ini import Line
from elastiq.config.options import DAY, Option, Value, ValueKind
from elastiq.text import printable, shown

MAX_CA_BUNDLE = 16 * 1024 * 1024

MAX_USER_DATA = 65535 // 4 * 3
"""Longest user data that OpenStack stores, decoded: its database column takes 65535 characters of base64."""

MOST_PRICE = 1e9

MAX_WEBHOOK = 4096
"""Longest file that holds an address, in bytes."""

LONGEST_EXPRESSION = 4000
"""Characters."""

MAX_USER_DATA_AWS = 16384
"""Longest user data that AWS takes, decoded."""

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": DAY}

_NUMBER = r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"

_DURATION = re.compile(_NUMBER + r"\s*([smhdSMHD]?)")

_PLAIN_NUMBER = re.compile(_NUMBER)

_SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50}


class BadValue(Exception):  # noqa: N818
    """The text of a value does not mean what its option needs; the message never shows the value of a secret."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def duration_text(seconds: float) -> str:
    """Return a time as it may stand in the file: 90 -> "90s", 7200 -> "2h"."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:g}{unit}"
    return f"{seconds:g}s"


def converted(option: Option, pieces: Sequence[Line], directory: Path) -> Value | FileContent:
    """Return what the text of a value means to `option`.

    None means "not given" (the value is empty and may be), but of a LIMIT, which cannot be empty, "unlimited".
    `directory` is where relative paths begin. Raise BadValue.
    """
    text, line = _without_comment(option, pieces[0].text), pieces[0].number
    if option.kind is ValueKind.BASE64:
        return _user_data([Line(line, text), *pieces[1:]])
    if len(pieces) > 1:
        raise BadValue(
            f"begins with a space and so goes on with the value of line {line}; remove the space", pieces[1].number
        )
    if text in ("", '""'):
        if option.can_be_empty:
            return None
        raise BadValue(f"is empty; {_wanted(option)}, or leave the line out for the default", line)
    if option.kind not in _MAY_BE_QUOTED and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        raise BadValue("stands in quotes, which would be part of the value; remove them", line)
    if option.kind in _VISIBLE:
        _check_visible(text, line)
    try:
        return _CONVERTERS[option.kind](option, text, directory)
    except ValueError as error:
        raise BadValue(str(error), line) from None


def _check_visible(text: str, line: int) -> None:
    """Raise BadValue if a character cannot be seen, as those that come along when a text is copied from a page."""
    hidden = next((character for character in text if not character.isprintable()), None)
    if hidden is not None:
        code = f"U+{ord(hidden):04X}"
        raise BadValue(f"has a character in it that cannot be seen ({code}); type the value again by hand", line)


def _without_comment(option: Option, text: str) -> str:
    """Return `text` without a comment after it.

    The original took only ` ;` for the beginning of a comment, and only if it was the first semicolon of all. A value
    of any other kind than a secret could not make use of ` #`, so that people who write a comment so are right, too.
    """
    if option.kind is ValueKind.SECRET:
        semicolon = text.find(";")
        return text[:semicolon].rstrip() if semicolon > 0 and text[semicolon - 1].isspace() else text
    return re.split(r"(?:^|\s)[;#]", text, maxsplit=1)[0].rstrip()


def _wanted(option: Option) -> str:
    """Return what to write, for a message."""
    low, high = option.minimum, option.maximum
    if option.kind is ValueKind.DURATION:
        return f"give {duration_text(low)} to {duration_text(high)}, in seconds or like 90s, 10m, 2h, 1d"
    if option.kind is ValueKind.LIMIT:
        return f"give {low:.0f} to {high:.0f} or the word unlimited"
    if option.kind is ValueKind.LEVEL:
        return "give debug, info, warning, error, critical or a number from 0 to 50"
    if option.kind is ValueKind.SWITCH:
        return "give yes or no (or 1 or 0, true or false, on or off)"
    if option.kind is ValueKind.FRACTION:
        return f"give {low:g} to {high:g}"
    if option.kind is ValueKind.MONEY:
        return "give a number above 0, such as 12.50, without the currency"
    if option.choices and option.kind is not ValueKind.LIST:
        return f"give {', '.join(option.choices[:-1])} or {option.choices[-1]}"
    if option.choices:
        return f"give {' and '.join(option.choices)}, in the order in which they are asked, or one of them"
    if option.kind is ValueKind.COUNT:
        return f"give {low:.0f} to {high:.0f}"
    return f"give {option.kind.value}"


def _duration(option: Option, text: str, _directory: Path) -> float:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"'{shown(text)}' is not a time; {_wanted(option)}")
    seconds = float(match.group(1)) * _UNITS[match.group(2).lower() or "s"]
    _check_range(option, text, seconds)
    return seconds


def _count(option: Option, text: str, _directory: Path) -> int:
    # The original read every number as a float, so that "3.0" has always been a good whole number.
    match = _PLAIN_NUMBER.fullmatch(text)
    if match is None or not math.isfinite(float(text)) or float(text) % 1:
        raise ValueError(f"'{shown(text)}' is not a whole number; {_wanted(option)}")
    _check_range(option, text, float(text))
    return int(float(text))


def _fraction(option: Option, text: str, _directory: Path) -> float:
    if _PLAIN_NUMBER.fullmatch(text) is None:
        raise ValueError(f"'{shown(text)}' is not a number; {_wanted(option)}")
    _check_range(option, text, float(text))
    return float(text)


def _money(option: Option, text: str, _directory: Path) -> float:
    if _PLAIN_NUMBER.fullmatch(text) is None:
        raise ValueError(f"'{shown(text)}' is not an amount of money; {_wanted(option)}")
    if not 0 < float(text) <= option.maximum:
        raise ValueError(f"'{shown(text)}' is no limit; {_wanted(option)}, or leave the line out for no limit")
    return float(text)


def _zone(_option: Option, text: str, _directory: Path) -> str:
    zones.check(text)
    return text


def _hours(_option: Option, text: str, _directory: Path) -> str:
    hours.parse(text)
    return text


def _check_range(option: Option, text: str, value: float) -> None:
    if value < 0:
        raise ValueError(f"'{shown(text)}' is negative; {_wanted(option)}")
    if not option.minimum <= value <= option.maximum:
        raise ValueError(f"'{shown(text)}' is out of range; {_wanted(option)}")


def _limit(option: Option, text: str, directory: Path) -> int | None:
    if text.lower() == "unlimited":
        return None
    if _PLAIN_NUMBER.fullmatch(text) and float(text) < 1:
        raise ValueError(
            f"'{shown(text)}' meant \"no limit\" to the original elastiq; write the word unlimited if that is what you "
            f"want, or give {option.minimum:.0f} to {option.maximum:.0f}"
        )
    return _count(option, text, directory)


def _switch(option: Option, text: str, _directory: Path) -> bool:
    try:
        return _SWITCHES[text.lower()]
    except KeyError:
        raise ValueError(f"'{shown(text)}' is neither yes nor no; {_wanted(option)}") from None


def _level(option: Option, text: str, directory: Path) -> int:
    if text.lower() in _LEVELS:
        return _LEVELS[text.lower()]
    if _PLAIN_NUMBER.fullmatch(text):
        return _count(option, text, directory)
    raise ValueError(f"'{shown(text)}' is not a log level; {_wanted(option)}")


def _word(option: Option, text: str, _directory: Path) -> str:
    quoted = "" if option.secret else f"'{shown(text)}' "
    if option.choices and text not in option.choices:
        raise ValueError(f"{quoted}is not known; {_wanted(option)}")
    if re.search(r"\s", text):
        raise ValueError(f"{quoted}has a space in it; a comment behind a value begins with # or ; after a space")
    if option.pattern and not re.fullmatch(option.pattern, text):
        raise ValueError(f"{quoted}has a character that cannot be used here, or is too long")
    return text


def _list(option: Option, text: str, _directory: Path) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise ValueError("has a comma without a name before or after it")
    if option.is_choice:
        for name in names:
            _check_choice(option, name)
        _check_twice(names)
    return names


def _check_choice(option: Option, name: str) -> None:
    if re.search(r"\s", name):
        raise ValueError(f"'{shown(name)}' has a space in it; put a comma between two names")
    if option.choices and name not in option.choices:
        close = difflib.get_close_matches(name.lower(), option.choices, n=1)
        hint = f", did you mean {close[0]}?" if close else f"; {_wanted(option)}"
        raise ValueError(f"'{shown(name)}' is not known{hint}")
    if option.pattern and not re.fullmatch(option.pattern, name):
        raise ValueError(f"'{shown(name)}' is none; {_wanted(option)}, such as {option.example}")


def _check_twice(names: Sequence[str]) -> None:
    twice = next((name for number, name in enumerate(names) if name in names[:number]), None)
    if twice is not None:
        raise ValueError(f"has {shown(twice)} twice; leave one of them out")


def _expression(_option: Option, text: str, _directory: Path) -> str:
    if len(text) > LONGEST_EXPRESSION:
        raise ValueError(f"has {len(text)} characters, more than {LONGEST_EXPRESSION}")
    return text


def _types(option: Option, text: str, directory: Path) -> tuple[str, ...]:
    entries = tuple(" ".join(entry.split()) for entry in text.split(","))
    if not all(entries):
        raise ValueError("has a comma without a type before or after it")
    _check_twice([type_and_price(entry)[0] for entry in entries])
    return entries


def type_and_price(entry: str) -> tuple[str, float | None]:
    """Return the type of VMs that `entry` names, such as "m5.large 0.107", and its price an hour; None if it has none.
    Raise ValueError if it is something else."""
    type_, _, price = entry.partition(" ")
    if not price:
        return type_, None
    if _PLAIN_NUMBER.fullmatch(price) is None:
        raise ValueError(
            f"'{shown(price)}' is not a price of {shown(type_)}; give a number such as 0.192, or put a comma between "
            "two types"
        )
    if not 0 < float(price) < MOST_PRICE:
        raise ValueError(f"'{shown(price)}' is no price an hour of {shown(type_)}; give a number above 0")
    return type_, float(price)


def _address(text: str, beginning: str) -> SplitResult:
    """Return the parts of an address, which is to begin so."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a valid address (host or port is wrong)") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError(f"is not an address that begins with {beginning} and names a host")
    return parts


def _url(_option: Option, text: str, _directory: Path) -> str:
    # The address is shown nowhere: people have put keys into it.
    parts = _address(text, "http:// or https://")
    if re.search(r"\s", text):
        raise ValueError("has a space in it; a comment behind a value begins with # or ; after a space")
    if "@" in parts.netloc:
        raise ValueError("has a user name or password in it; the keys belong into aws_access_key_id and the like")
    if parts.query or parts.fragment:
        raise ValueError("has a ? or # in it; give the address of the EC2 interface without any request")
    return text


def _webhook(_option: Option, text: str, _directory: Path) -> str:
    """It is shown nowhere: who knows it may post there."""
    parts = _address(text, "https://")
    if re.search(r"\s", text) or not text.isascii() or not text.isprintable():
        raise ValueError("has a space or a character in it that an address has not; copy it again")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(
            "has a user name, a password or a # in it, which is not sent; give it as the receiver shows it"
        )
    return text


def _webhook_file(option: Option, text: str, directory: Path) -> FileContent:
    file = read_named(directory / _path(text), MAX_WEBHOOK)
    name = printable(str(file.path))
    try:
        address = _webhook(option, file.content.decode("utf-8").strip(), directory)
    except UnicodeDecodeError:
        raise ValueError(f"{name} is no text; put the address into it, and nothing else") from None
    except ValueError as error:
        raise ValueError(f"what {name} holds {error}") from None
    return replace(file, content=address.encode())


def _command(_option: Option, text: str, _directory: Path) -> tuple[str, ...]:
    words = tuple(text.split())
    program = Path(words[0])
    if not program.is_absolute():
        raise ValueError(f"'{shown(words[0])}' is a relative path; write the whole path of the program, from / on")
    if not os.access(program, os.X_OK) or program.is_dir():
        problem = "is no program that can be run" if program.exists() else "is not there"
        raise ValueError(f"{printable(words[0])} {problem}")
    return words


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"'{shown(text)}' names a home directory that is not known; write the whole path") from None


def _directory_path(_option: Option, text: str, _directory: Path) -> Path:
    path = _path(text)
    if not path.is_absolute():
        raise ValueError(f"'{shown(text)}' is a relative path; write the whole path, from / on")
    return path


def _metrics_path(option: Option, text: str, directory: Path) -> Path:
    path = _directory_path(option, text, directory)
    if path.suffix != ".prom":
        raise ValueError(f"'{shown(text)}' does not end in .prom; node_exporter reads no other files")
    return path


def _page_path(option: Option, text: str, directory: Path) -> Path:
    path = _directory_path(option, text, directory)
    if path.suffix != ".html":
        raise ValueError(f"'{shown(text)}' does not end in .html; browsers and web servers go by that")
    return path


def _file(_option: Option, text: str, directory: Path) -> str:
    path = directory / _path(text)
    read_named(path, MAX_CA_BUNDLE)
    return os.path.abspath(path)  # noqa: PTH100


def _content(_option: Option, text: str, directory: Path) -> FileContent:
    return read_named(directory / _path(text), MAX_USER_DATA)


def _user_data(pieces: Sequence[Line]) -> bytes | None:
    """Return user data decoded, strictly: the original's lenient decoder took any text for base64."""
    encoded = ""
    for piece in pieces:
        text = re.sub(r"\s+", "", re.split(r"(?:^|\s)[;#]", piece.text, maxsplit=1)[0])
        if re.search(r"[^A-Za-z0-9+/=]", text):
            raise BadValue("is not base64: this line has a character that base64 does not have", piece.number)
        encoded += text
    if not encoded:
        return None
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadValue(
            "is not base64: its length or its = at the end is wrong; is it complete?", pieces[0].number
        ) from None
    if len(content) > MAX_USER_DATA:
        limits = f"no cloud takes more than {MAX_USER_DATA}, AWS no more than {MAX_USER_DATA_AWS}"
        raise BadValue(f"is {len(content)} bytes long when decoded; {limits}", pieces[0].number)
    return content


_VISIBLE = (
    *(ValueKind.WORD, ValueKind.TEXT, ValueKind.LIST, ValueKind.EXPRESSION, ValueKind.TYPES),
    *(ValueKind.URL, ValueKind.COMMAND, ValueKind.ZONE, ValueKind.HOURS),
)
"""Kinds of values that name things: no name has a character that cannot be seen."""

_MAY_BE_QUOTED = (ValueKind.SECRET, ValueKind.EXPRESSION)
"""Kinds of values that may begin and end with a quote."""


_CONVERTERS: Mapping[ValueKind, Callable[[Option, str, Path], Value | FileContent]] = {
    ValueKind.DURATION: _duration,
    ValueKind.COUNT: _count,
    ValueKind.FRACTION: _fraction,
    ValueKind.MONEY: _money,
    ValueKind.ZONE: _zone,
    ValueKind.HOURS: _hours,
    ValueKind.LIMIT: _limit,
    ValueKind.SWITCH: _switch,
    ValueKind.LEVEL: _level,
    ValueKind.WORD: _word,
    ValueKind.TEXT: lambda _option, text, _directory: text,
    ValueKind.SECRET: lambda _option, text, _directory: text,
    ValueKind.LIST: _list,
    ValueKind.EXPRESSION: _expression,
    ValueKind.TYPES: _types,
    ValueKind.URL: _url,
    ValueKind.DIRECTORY: _directory_path,
    ValueKind.FILE: _file,
    ValueKind.METRICS: _metrics_path,
    ValueKind.PAGE: _page_path,
    ValueKind.CONTENT: _content,
    ValueKind.WEBHOOK: _webhook,
    ValueKind.WEBHOOK_FILE: _webhook_file,
    ValueKind.COMMAND: _command,
}
