"""What AWS tells of prices on the spot market."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

SPOT_PRICES = "DescribeSpotPriceHistory"

_SYSTEM = "Linux/UNIX"

MOST_PRICE = 1e6
"""An hour; more is no price."""

MOST_PRICES = 1000
"""In one answer, as EC2 has it; 100 types in 10 zones."""


def question(types: Sequence[str], now: float) -> dict[str, Any]:
    """Return how the prices are asked for that hold `now`: a history of no length has the last ones before it."""
    moment = datetime.fromtimestamp(now, timezone.utc)
    return {
        "InstanceTypes": list(types),
        "ProductDescriptions": [_SYSTEM, f"{_SYSTEM} (Amazon VPC)"],
        "StartTime": moment,
        "EndTime": moment,
    }


def spot_prices(answer: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """Return the prices of an answer by type and zone, of several the last; what is none is left out."""
    found: dict[tuple[str, str], tuple[str, float]] = {}
    for entry in (answer.get("SpotPriceHistory") or ())[:MOST_PRICES]:
        key = str(entry.get("InstanceType") or ""), str(entry.get("AvailabilityZone") or "")
        price, at = _price(entry.get("SpotPrice")), str(entry.get("Timestamp") or "")
        if price is not None and all(key) and at >= found.get(key, ("", 0.0))[0]:
            found[key] = at, price
    return {key: price for key, (_, price) in found.items()}


def _price(text: object) -> float | None:
    try:
        price = float(str(text))
    except ValueError:
        return None
    return price if math.isfinite(price) and 0 < price < MOST_PRICE else None
