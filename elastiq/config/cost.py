"""The section [cost]: caps in money, and whether all that may be launched has a price."""

from __future__ import annotations

from collections.abc import Sequence

from elastiq.config import zones
from elastiq.config.convert import type_and_price
from elastiq.config.offers import micros
from elastiq.config.options import Section
from elastiq.config.reading import Reading
from elastiq.config.sections import CostOptions
from elastiq.model import Cost
from elastiq.text import shown

CAPS = ("max_per_hour", "max_per_day", "max_per_month")


def settled(options: CostOptions, *, is_given: bool) -> Cost:
    """Return the part that decisions depend on."""
    caps = (options.max_per_hour, options.max_per_day, options.max_per_month)
    hour, day, month = (None if cap is None else micros(cap, is_limit=True) for cap in caps)
    return Cost(is_given, options.currency, hour, day, month, zones.calendar(options.timezone))


def check(reading: Reading, pools: Sequence[Section]) -> None:
    """Tell `reading` which VMs have no price although there are caps, and which caps nothing fits into."""
    caps = [name for name in CAPS if isinstance(reading.value(f"[cost] {name}"), float)]
    for section in ([pool.name for pool in pools] or ["ec2"]) if caps else []:
        _check_prices(reading, section, caps)
    values = [reading.value(f"[cost] {name}") for name in CAPS]
    for number, name in enumerate(CAPS[:2]):
        shorter, longer = values[number], values[number + 1]
        if isinstance(shorter, float) and isinstance(longer, float) and shorter > longer:
            text = f"{shorter:g} is more than {CAPS[number + 1]} {longer:g}, which is then reached within the time"
            reading.warn(f"[cost] {name}", text)


def _check_prices(reading: Reading, section: str, caps: Sequence[str]) -> None:
    """A price may be missing in a pool, or in [ec2] where the pool says nothing of it."""
    types = f"[{section}] instance_types"
    if not reading.given(types) and section != "ec2" and not reading.given(f"[{section}] flavour"):
        types = "[ec2] instance_types"
    entries = reading.value(types)
    if entries is None:
        return  # it was refused
    if not isinstance(entries, tuple) or not entries:
        flavour = reading.value(f"[{types[1:].partition(']')[0]}] flavour")
        text = f"{caps[0]} is set but VMs have no price; give their types with prices, such as"
        example = f"instance_types = {shown(str(flavour)) if flavour else 'm5.large'} 0.096"
        reading.refuse(types, [f"[{section}]: {text} {example}"])
        return
    priced = {type_: price for type_, price in map(type_and_price, map(str, entries))}
    for type_, price in priced.items():
        if price is None:
            text = f"{caps[0]} is set but instance type {shown(type_)} has no price; give it behind the type"
            reading.refuse(types, [f"[{section}]: {text}"])
    cap = reading.value("[cost] max_per_hour")
    cheapest = min((price for price in priced.values() if price is not None), default=None)
    if isinstance(cap, float) and cheapest is not None and cheapest > cap:
        text = f"{cap:g} is less than any VM of [{section}] costs ({cheapest:g}), so that none of it is ever launched"
        reading.warn("[cost] max_per_hour", text)
