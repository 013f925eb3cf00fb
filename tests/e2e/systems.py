"""The batch systems that the end-to-end tests are run on.

To add one: a class as in tests/testbed/batch.py, and a line in SYSTEMS. Tests name what they are for by `on`.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.testbed.batch import BatchTestbed
from tests.testbed.gridengine_pool import GridEnginePool
from tests.testbed.htcondor_pool import LASTING_ADS, HtcondorPool
from tests.testbed.machines import Network
from tests.testbed.slurm_pool import SlurmPool

BatchMaker = Callable[[int], BatchTestbed]
"""Given the CPUs of a worker, starts a head node."""


def _htcondor(network: Network, cpus: int) -> BatchTestbed:
    return HtcondorPool(network, LASTING_ADS, f"NUM_CPUS = {cpus}\n")


SYSTEMS: dict[str, Callable[[Network, int], BatchTestbed]] = {
    "htcondor": _htcondor,
    "slurm": SlurmPool,
    "gridengine": GridEnginePool,
}


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test that uses `make_batch` on these systems, or on all."""
    return pytest.mark.parametrize("make_batch", names or tuple(SYSTEMS), indirect=True)
