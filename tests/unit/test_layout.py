"""The rules of the source tree: who may import whom, who reads the clock, who catches everything."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "elastiq"

LEVELS = (
    ("cli", "sandbox"),
    ("daemon", "sim"),
    ("lanes",),
    ("core",),
    ("upkeep",),
    ("observer",),
    ("reporter", "actuator"),
    ("planner", "state", "ec2"),
    ("tracking", "packing", "ec2_client", "ec2_errors", "cloud", "userdata"),
    ("plugins",),
    ("config", "pidfile"),
    ("config_text", "clock"),
    ("values",),
    ("options", "ini", "logs", "command", "metrics"),
    ("model", "errors", "redaction", "version"),
)
"""From top to bottom. A module imports only from its own line and from the lines below it."""


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def level(name: str) -> int:
    found = [number for number, names in enumerate(LEVELS) if name in names]
    assert found, f"elastiq/{name} has no place in the order of imports: give it one in LEVELS"
    return found[0]


def inner(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("elastiq.")}
    return {name for name in names if any(name in level_names for level_names in LEVELS)}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    own = level(part(path))
    upwards = sorted(name for name in inner(path) if level(name) < own)
    assert not upwards, f"{path.name} imports from above: {upwards}"


def test_decisions_import_the_model_and_each_other_alone() -> None:
    assert inner(PACKAGE / "planner.py") == {"model", "packing", "tracking"}
    assert inner(PACKAGE / "packing.py") == inner(PACKAGE / "tracking.py") == {"model"}


def test_boto3_is_imported_by_the_ec2_modules_alone() -> None:
    users = {path.name for path in sources() if any(name.startswith(("boto3", "botocore")) for name in imports(path))}
    assert users <= {"ec2.py", "ec2_client.py", "ec2_errors.py"}


def test_the_core_names_no_plugin() -> None:
    assert not [name for name in imports(PACKAGE / "core.py") if name.startswith(("elastiq.ec2", "elastiq.plugins."))
                and name not in {"elastiq.plugins.BatchSystem"}]  # fmt: skip


CLOCK_CALLS = {("time", "time"), ("time", "monotonic"), ("time", "sleep"), ("datetime", "now"), ("datetime", "utcnow")}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_clock_reads_time(path: Path) -> None:
    calls = {
        (node.func.value.id, node.func.attr)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }
    assert path.name == "clock.py" or not calls & CLOCK_CALLS


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_core_catches_everything(path: Path) -> None:
    broad = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id == "Exception"))
    ]
    assert len(broad) <= (1 if path.name == "core.py" else 0), f"{path.name}: {broad}"
