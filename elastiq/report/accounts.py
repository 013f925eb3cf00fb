"""What the last plan says of every group of jobs and every VM, as the daemon writes it and others read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import partial
from typing import Any

from elastiq.planning.why import Account, GroupTold, OfferAway, PoolNow, PoolTold, Told, VmTold
from elastiq.state.records import from_dict


def written(told: Account, clean: Callable[[str], str]) -> dict[str, Any]:
    """Return it as JSON has it, every text without secrets."""
    known: dict[str, str] = {}

    def cleaned(value: Any) -> Any:
        if isinstance(value, str):
            # Thousands of VMs have the same few sentences.
            if value not in known:
                known[value] = clean(value)
            return known[value]
        if isinstance(value, tuple):
            return [cleaned(one) for one in value]
        if not is_dataclass(value):
            return value
        # Not asdict, which copies deeply: of 5,000 VMs that takes a third of a second.
        fields = vars(value).items()
        return {name: one if one is None or type(one) is float else cleaned(one) for name, one in fields}

    found: dict[str, Any] = cleaned(told)
    return found


def read(document: object) -> Account | None:
    """Return what `written` wrote, or None if that is not what it is."""
    if not isinstance(document, Mapping):
        return None
    try:
        return from_dict(
            Account,
            document,
            groups=_each(GroupTold, told=_each(Told), pools=_each(PoolTold)),
            vms=_each(VmTold, told=partial(from_dict, Told)),
            pools=_each(PoolNow, booting=tuple, away=_each(OfferAway)),
            holds=_each(Told),
        )
    except (TypeError, ValueError, AttributeError):
        return None


def _each(kind: type, **convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda rows: tuple(from_dict(kind, row, **convert) for row in rows)
