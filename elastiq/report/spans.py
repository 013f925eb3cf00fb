"""How long something is, in words."""

from __future__ import annotations


def span(seconds: float) -> str:
    """Return a time in the largest unit of which there are two."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
