"""What instance_types, market, subnets and zones say together: the offers of a pool, in their order."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from elastiq.config.convert import type_and_price
from elastiq.config.reading import Reading
from elastiq.config.vms import VmOptions
from elastiq.model import ON_DEMAND, Offer
from elastiq.text import shown

MICROS = 1_000_000

_IN_PLACE_OF: Mapping[str, tuple[str, ...]] = {
    "flavour": ("instance_types",),
    "instance_types": ("flavour",),
    "subnet_id": ("subnets", "zones"),
    "subnets": ("subnet_id", "zones"),
    "zones": ("subnet_id", "subnets"),
}
"""Which options say the same thing in another way."""


def of(options: VmOptions) -> tuple[Offer, ...]:
    """Return the offers of a pool: by market, then the cheapest first, then by zone. Empty if nothing is said beside
    flavour and subnet_id.

    The prices in the file are those on demand. What spot costs is not known from there, but types that are dear on
    demand are so on the spot market too.
    """
    priced = [type_and_price(entry) for entry in options.instance_types] or [(options.flavour, None)]
    zones = options.subnets or options.zones or (options.subnet_id,)
    if not options.instance_types and options.market == (ON_DEMAND,) and not (options.subnets or options.zones):
        return ()
    priced.sort(key=lambda entry: math.inf if entry[1] is None else entry[1])
    offers = [
        Offer(market, type_, zone, price if market == ON_DEMAND else None, None if price is None else micros(price))
        for market in options.market
        for type_, price in priced
        for zone in zones
    ]
    return worthwhile(offers)


def worthwhile(offers: Sequence[Offer]) -> tuple[Offer, ...]:
    """Return the offers without those of the spot market that are known to cost no less than the cheapest on demand:
    they may be taken back at any time, and nothing is saved."""
    on_demand = [offer.price for offer in offers if not offer.is_spot and offer.price is not None]
    cheapest = min(on_demand, default=math.inf)
    return tuple(offer for offer in offers if not offer.is_spot or offer.price is None or offer.price < cheapest)


def micros(amount: float, *, is_limit: bool = False) -> int:
    """Return an amount of money in millionths, exactly as it stands in the file: what has more digits is rounded up,
    and a limit down."""
    whole = Decimal(repr(amount)) * MICROS
    return int(whole.to_integral_value(ROUND_FLOOR if is_limit else ROUND_CEILING))


def not_inherited(own: Collection[str]) -> dict[str, object]:
    """Return the options that a pool does not take from [ec2], since it says the same in another way."""
    return {
        other: "" if other in ("flavour", "subnet_id") else () for name in own for other in _IN_PLACE_OF.get(name, ())
    }


def check(reading: Reading, section: str) -> None:
    """Tell `reading` what does not go together in a section."""
    for name, others in _IN_PLACE_OF.items():
        title = f"[{section}] {name}"
        for other in others:
            first = f"[{section}] {other}"
            if reading.given(title) and reading.given(first) and reading.line(first) < reading.line(title):
                text = f"given besides {other} in line {reading.line(first)}; give only one of them"
                reading.fault(title, text)
    groups = reading.values.get(f"[{section}] security_groups")
    by_name = [one for one in groups if not one.startswith("sg-")] if isinstance(groups, tuple) else []
    if by_name and reading.given(f"[{section}] subnets"):
        text = f"'{shown(by_name[0])}' is a name; with subnets, give security_groups by id (sg-...)"
        reading.fault(f"[{section}] security_groups", text)
