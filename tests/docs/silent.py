"""A batch plugin that cannot tell of single jobs."""

from __future__ import annotations

from elastiq.config import Settings
from tests.docs.telling import Silent


def create(settings: Settings) -> Silent:
    return Silent()
