"""A cloud with several types, zones and markets, whose room comes and goes for each of them."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from elastiq.config import Settings
from elastiq.errors import CloudError, CloudFault
from elastiq.model import ON_DEMAND, SPOT, Offer, Scope
from elastiq.sim.engine import Engine
from elastiq.sim.proof.book import Book
from elastiq.sim.things import LARGE, SMALL

NO_ROOM = "no room for an offer"

SCOPES = (Scope.OFFER, Scope.OFFER, Scope.OFFER, Scope.FAMILY, Scope.ZONE, Scope.SPOT, Scope.ACCOUNT)
"""What a refusal may be about; mostly the offer alone."""


def made_of_offers(settings: Settings, random: Random) -> Settings:
    """Return `settings` with several offers."""
    types = random.choice(((SMALL, LARGE), (LARGE, SMALL), (f"{SMALL} 0.1", f"{LARGE} 0.2"), (SMALL,)))
    zones = random.choice((("zone-1", "zone-2"), ("zone-1", "zone-2", "zone-3")))
    markets = random.choice(((ON_DEMAND,), (SPOT,), (SPOT, ON_DEMAND)))
    return replace(settings, ec2=replace(settings.ec2, flavour="", instance_types=types, zones=zones, market=markets))


class Crowd:
    """Says which offers have no room."""

    def __init__(self, engine: Engine, book: Book, seed: int) -> None:
        self._engine, self._book = engine, book
        self._random = Random(f"offers {seed} crowd")  # noqa: S311 (a simulation must be repeatable)
        self._ends_at = 0.0
        self._full: dict[Offer, tuple[float, Scope | None]] = {}
        """Until when each is as it is now: without room, and about what its refusals are; None: it has room."""

    def come(self, seconds: float) -> None:
        """Let the room of offers come and go for so long; afterwards all have some."""
        self._ends_at = self._engine.time + seconds

    def check(self, offer: Offer) -> None:
        """Raise CloudError if there is no room for it now."""
        now = self._engine.time
        if now >= self._ends_at:
            return
        until, scope = self._full.get(offer, (0.0, None))
        if now >= until:
            is_full = self._random.random() < 0.6
            until, scope = now + self._random.uniform(30, 1200), self._random.choice(SCOPES) if is_full else None
            self._full[offer] = until, scope
        if scope is not None:
            self._book.faults[NO_ROOM] += 1
            raise CloudError("there is no room for that", CloudFault.CAPACITY, scope)
