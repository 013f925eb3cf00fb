"""How an option is declared: once, by a field of the frozen dataclass that stands for its section.

    max_vms: int | None = option(3, "There are never more VMs than this.", kind=ValueKind.LIMIT, minimum=1, maximum=99)

All else is read off from there: what the file may say, its messages, the documents, and the fields of Settings.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar, Union

Value = Union[str, int, float, bool, bytes, Path, tuple[str, ...], None]

T = TypeVar("T")

DAY = 86400.0


class ValueKind(Enum):
    """What the text of a value means."""

    DURATION = "a time"
    COUNT = "a whole number"
    FRACTION = "a number from 0 to 1"
    MONEY = "an amount of money"
    ZONE = "a time zone"
    HOURS = "days and hours of the week"
    LIMIT = "a whole number or the word unlimited"
    SWITCH = "yes or no"
    LEVEL = "a log level"
    WORD = "text without spaces"
    TEXT = "text"
    SECRET = "a secret"  # noqa: S105
    LIST = "names with commas between them"
    EXPRESSION = "what the batch system's plugin reads, on one line"
    TYPES = "types with commas between them, each with its price an hour behind it if you know it"
    URL = "an address that begins with http:// or https://"
    DIRECTORY = "a directory"
    FILE = "a file"
    METRICS = "a file whose name ends in .prom"
    PAGE = "a file whose name ends in .html"
    BASE64 = "base64"
    CONTENT = "a file that is read in"
    WEBHOOK = "an address that begins with https://"
    WEBHOOK_FILE = "a file that holds an address"
    COMMAND = "a program with its whole path, and arguments"


_KINDS = {bool: ValueKind.SWITCH, int: ValueKind.COUNT, str: ValueKind.WORD, tuple: ValueKind.LIST}
"""What options mean whose defaults are of these types, unless they say otherwise."""

_NUMBERS = (
    ValueKind.DURATION,
    ValueKind.COUNT,
    ValueKind.FRACTION,
    ValueKind.MONEY,
    ValueKind.LIMIT,
    ValueKind.LEVEL,
)

_SECRETS = (ValueKind.SECRET, ValueKind.BASE64, ValueKind.CONTENT, ValueKind.WEBHOOK, ValueKind.WEBHOOK_FILE)

_DECLARED = "elastiq option"


@dataclass(frozen=True)
class Option:
    """One option: where it stands, what its value means, and what it is when it is not given."""

    section: str
    name: str
    default: Value
    help: str
    kind: ValueKind
    sample: str
    """Its value in elastiq.conf.example; options without one are commented out there unless they are required."""
    example: str
    """Its value there where it is commented out, if not the default."""
    minimum: float
    maximum: float
    choices: tuple[str, ...]
    pattern: str
    """Regular expression that a word must match."""
    placeholder: str
    """The value in the original's sample file that stands for "fill this in"."""
    required: bool
    secret: bool
    """True if what it means must not get into any message."""
    new: bool
    """True if the original did not have it."""
    default_text: str
    """The default in words, where the value itself does not say it."""
    is_choice: bool
    """True if an empty list is no answer, and none of it may be given twice."""

    @property
    def can_be_empty(self) -> bool:
        """Return whether an empty value means the same as none."""
        return self.required or (self.default in (None, "", b"", ()) and not self.is_choice)

    @property
    def title(self) -> str:
        """Return how messages call it."""
        return f"[{self.section}] {self.name}"


def option(
    default: T,
    help: str,
    *,
    kind: ValueKind | None = None,
    sample: str = "",
    example: str = "",
    minimum: float = 0,
    maximum: float = 0,
    choices: tuple[str, ...] = (),
    pattern: str = "",
    placeholder: str = "",
    required: bool = False,
    secret: bool = False,
    new: bool = False,
    default_text: str = "",
    is_choice: bool = False,
) -> T:
    """Declare an option, as the default of a dataclass field that has its name. `Option` says what the arguments mean.

    Without `kind` the option takes a time if its name ends in _s, else what its default is: yes or no, a whole number,
    a word, or names with commas between them.
    """
    secret = secret or kind in _SECRETS
    facts = {**locals()}
    del facts["default"]
    return dataclasses.field(default=default, repr=not secret, metadata={_DECLARED: facts})


@dataclass(frozen=True)
class Section:
    """A section of the file: its name, and the dataclass whose fields are its options."""

    name: str
    declared: type[Any]
    is_one_of_many: bool = False
    """True if `name` only shows how such sections are called, of which there may be any number."""

    @property
    def help(self) -> str:
        """Return what it is for: the docstring of the dataclass."""
        return " ".join((self.declared.__doc__ or "").split())

    @property
    def options(self) -> tuple[Option, ...]:
        """Return its options in their order. Raise TypeError if one is not declared as it must be."""
        return tuple(self._option(field) for field in dataclasses.fields(self.declared))

    def _option(self, field: dataclasses.Field[Any]) -> Option:
        where = f"{self.declared.__name__}.{field.name}"
        if _DECLARED not in field.metadata:
            raise TypeError(f"{where} is not declared by elastiq.config.option")
        facts: dict[str, Any] = {"default": field.default, **field.metadata[_DECLARED]}
        if facts["kind"] is None:
            facts["kind"] = ValueKind.DURATION if field.name.endswith("_s") else _KINDS.get(type(field.default))
        if facts["kind"] is None:
            raise TypeError(f"{where} must say its kind, which its default {field.default!r} does not tell")
        if facts["kind"] in _NUMBERS and not 0 <= facts["minimum"] < facts["maximum"]:
            raise TypeError(f"{where} must say the maximum of its value")
        return Option(section=self.name, name=field.name, **facts)


def secrets_of(section: Any) -> list[Any]:
    """Return the values of the secret options of a section, where they are given."""
    names = [field.name for field in dataclasses.fields(section) if field.metadata[_DECLARED]["secret"]]
    return [value for name in names if (value := getattr(section, name))]
