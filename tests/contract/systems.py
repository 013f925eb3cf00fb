"""The batch systems that the suite is run on."""

from __future__ import annotations

import importlib
import os

import pytest

from .example import ExampleHarness
from .harness import Harness
from .sandbox import SandboxHarness
from .simulated import LeavingSimHarness, SimHarness
from .testbed import GridEngineHarness, HtcondorHarness, SlurmHarness, TestbedHarness

HARNESSES: list[type[Harness]] = [
    SandboxHarness,
    ExampleHarness,
    SimHarness,
    LeavingSimHarness,
    HtcondorHarness,
    SlurmHarness,
    GridEngineHarness,
]


def _outside() -> list[type[Harness]]:
    module, _, name = os.environ.get("ELASTIQ_HARNESS", "").partition(":")
    return [getattr(importlib.import_module(module), name)] if module else []


PARAMETERS = [
    pytest.param(harness, id=harness.__name__, marks=[pytest.mark.real] if issubclass(harness, TestbedHarness) else [])
    for harness in _outside() or HARNESSES
]
