from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """Give a Core on fakes, with a state directory of its own."""
    made = Rig(tmp_path)
    yield made
    made.state.close()
