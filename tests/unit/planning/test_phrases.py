"""Parts of sentences."""

from __future__ import annotations

import pytest

from elastiq.model import Shape
from elastiq.planning.phrases import describe


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (Shape(), "1 CPU"),
        (Shape(4, 16000), "4 CPUs, 16000 MB memory"),
        (Shape(2, None, 500, 1), "2 CPUs, 500 MB disk, 1 GPU"),
        (Shape(2, 0, 0, 2), "2 CPUs, 2 GPUs"),
    ],
)
def test_what_a_job_asks_for(shape: Shape, said: str) -> None:
    assert describe(shape) == said
