"""Frozen dataclasses as JSON and back, with every value checked: a database may be damaged, or be another version's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any, TypeVar

from elastiq.model import InstanceState

LARGEST_NUMBER = 10**15
"""No time, count or size comes near it; "not a number" is not below it."""

TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (float, int),
    "float | None": (float, int, type(None)),
    "bool": (bool,),
    "InstanceState": (InstanceState,),
    "tuple[str, ...]": (tuple,),
    "tuple[float, ...]": (tuple,),
    "list[str]": (list,),
    "Mapping[str, float]": (dict,),
}
"""What values a field may have, by its annotation."""

Row = TypeVar("Row")


def to_json(row: Any) -> str:
    """Return a flat dataclass as JSON."""
    # Not asdict, which copies deeply: a launch of 100 VMs writes as many of these.
    values = vars(row)
    shown = {name: values[name] for name in row.__dataclass_fields__}
    return json.dumps({name: value.value if isinstance(value, Enum) else value for name, value in shown.items()})


def from_dict(kind: type[Row], values: Mapping[str, Any], **convert: Any) -> Row:
    """Return a dataclass from a saved dictionary; fields of other versions are left out.

    Raise TypeError or ValueError if a value is of another kind than its field.
    """
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    known = {name: value for name, value in values.items() if name in names}
    for name, function in convert.items():
        if name in known:
            known[name] = function(known[name])
    row = kind(**known)
    for field in fields(row):  # type: ignore[arg-type]
        value = getattr(row, field.name)
        if type(value) not in TYPES.get(str(field.type), (type(value),)):
            raise TypeError(f"{field.name} is a {type(value).__name__}")
        if isinstance(value, (int, float)) and not abs(value) < LARGEST_NUMBER:
            raise ValueError(f"{field.name} is no number that can be")
    return row
