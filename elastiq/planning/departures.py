"""What is said of VMs that are gone although the cloud has accepted no termination of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from elastiq.decisions import Decision, Kind, Token
from elastiq.memory import VmRecord
from elastiq.planning import words

NOT_OF_ELASTIQ = frozenset({Token.VM_ENDED, Token.VM_VANISHED, Token.VM_INTERRUPTED})
"""Elastiq has not even tried to terminate such VMs."""


def token_of(record: VmRecord) -> Token:
    """Return how a VM is gone that the cloud has accepted no termination of."""
    if record.doomed:
        return Token.ENDED_AFTER_ALL
    if record.interrupted_at is not None:
        return Token.VM_INTERRUPTED
    return Token.VM_ENDED if record.missing_since is None else Token.VM_VANISHED


@dataclass(frozen=True)
class Departures:
    """VMs that are gone, as a plan tells of them."""

    decisions: tuple[Decision, ...]
    records: tuple[VmRecord, ...]
    """Those that elastiq did not try to terminate; their detail says how they ended."""


def departures(records: Iterable[VmRecord], now: float) -> Departures:
    """Say of VMs that are gone how they ended, as the cloud tells it, and that it was not elastiq's doing."""
    groups: dict[tuple[Token, str], list[VmRecord]] = {}
    for record in records:
        groups.setdefault((token_of(record), words.how_gone(record, now)), []).append(record)
    decisions = [Decision(Kind.HOLD, words.gone(token, group, now)) for (token, _), group in groups.items()]
    told = [
        replace(record, detail=how)
        for (token, how), group in groups.items()
        if token in NOT_OF_ELASTIQ
        for record in group
    ]
    return Departures(tuple(decisions), tuple(told))
