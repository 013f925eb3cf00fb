"""What targets share: what any answer must hold, and a place for files."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elastiq.model import Demand, Worker

NOW = 1_000_000.0

Target = Callable[[bytes], None]


@contextmanager
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="elastiq-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def check_demand(demand: tuple[Demand, ...]) -> None:
    for group in demand:
        assert group.jobs > 0
        assert group.shape.cpus > 0
        asked = (group.shape.memory_mb, group.shape.disk_mb, group.shape.gpus)
        assert all(number is None or number >= 0 for number in asked)


def check_workers(workers: tuple[Worker, ...]) -> None:
    for worker in workers:
        assert worker.name
        assert worker.jobs >= 0
        assert worker.idle_seconds is None or worker.idle_seconds >= 0
        assert not (worker.jobs and worker.idle_seconds is not None)
