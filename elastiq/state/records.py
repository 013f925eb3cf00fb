"""Frozen dataclasses as JSON and back, with every value checked: a database may be damaged, or be another version's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from functools import cache
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
    annotations = _annotations(kind)  # type: ignore[arg-type]
    known = {name: value for name, value in values.items() if name in annotations}
    for name, function in convert.items():
        if name in known:
            known[name] = function(known[name])
    row = kind(**known)
    for name, kinds in annotations.items():
        value = getattr(row, name)
        if kinds is not None and type(value) not in kinds:
            raise TypeError(f"{name} is a {type(value).__name__}")
        if isinstance(value, (int, float)) and not abs(value) < LARGEST_NUMBER:
            raise ValueError(f"{name} is no number that can be")
    return row


@cache
def _annotations(kind: type[Any]) -> Mapping[str, tuple[type, ...] | None]:
    """Return which values each field may have; None: any. Found once for each kind: there are thousands of rows."""
    return {field.name: TYPES.get(str(field.type)) for field in fields(kind)}
