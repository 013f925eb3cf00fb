"""The rules of the source tree: which rooms there are, who may import whom, who reads the clock, who catches
everything. docs/architecture.md shows the same rooms to people."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PACKAGE = TOP / "elastiq"

FLOORS = (
    ("cli",),
    ("cloudcheck",),
    ("control", "questions", "ledger", "top"),
    ("daemon", "sim"),
    ("core",),
    ("observer", "actuator", "chores", "recorder", "process"),
    ("ports",),
    ("plugins", "report", "ec2"),
    ("sandbox",),
    ("planning", "state"),
    ("config", "command", "decisions"),
    ("memory",),
    ("model", "clock", "errors", "redaction", "text", "version"),
    ("calendars",),
)
"""The rooms, from the top of the house down: a folder or a file of elastiq/ each. A room imports only from its own
floor and from those below it."""

MOST_LINES_OF_FILE = 450
MOST_LINES_OF_FUNCTION = 60

PLANNING = {"model", "memory", "decisions", "planning"}
"""All that the rooms of pure decisions know."""

TESTED_ELSEWHERE = {
    "cloudcheck.py": "tests/dialects/test_cloudcheck.py",
    "config/__init__.py": "tests/unit/config/test_load.py",
    "config/__main__.py": "tests/docs/test_options.py",
    "config/sections.py": "tests/unit/config/test_options.py",
    "config/vms.py": "tests/unit/config/test_options.py",
    "control.py": "tests/process/test_control.py",
    "decisions.py": "tests/docs/test_reasons.py",
    "ec2/__init__.py": "tests/dialects",
    "ec2/bounds.py": "tests/security/test_endpoint.py",
    "ec2/lookups.py": "tests/dialects/test_cloudcheck.py",
    "ec2/requests.py": "tests/dialects/test_offers.py",
    "ec2/trial.py": "tests/dialects/test_cloudcheck.py",
    "errors.py": "tests/unit/ec2/test_errors.py",
    "planning/draft.py": "tests/unit/planning/test_up.py",
    "planning/launching.py": "tests/unit/planning/test_up.py",
    "planning/patience.py": "tests/unit/planning/test_breaker.py",
    "planning/words.py": "tests/docs/test_decisions.py",
    "plugins/htcondor_query.py": "tests/process/test_htcondor_query.py",
    "process/pidfile.py": "tests/process/test_pidfile.py",
    "process/systemd.py": "tests/process/test_foreground.py",
    "sandbox/hypervisor.py": "tests/process_sandbox",
    "sandbox/worker.py": "tests/process_sandbox",
    "sim/__main__.py": "tests/sim",
    "sim/batch.py": "tests/sim",
    "sim/cloud.py": "tests/sim",
    "sim/engine.py": "tests/sim",
    "sim/proof": "tests/sim",
    "sim/things.py": "tests/sim",
    "sim/world.py": "tests/sim",
}
"""Where files have no test at the mirrored place, because it takes processes, an endpoint, a page or years of simulated
time to test them, or because they are words and numbers of others."""


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.name != "__init__.py")


each_source = pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))


def is_program(path: Path) -> bool:
    """Whether this is what `python -m` runs: it stands on the roof, and nobody may import it."""
    return path.name == "__main__.py"


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    found = [number for number, names in enumerate(FLOORS) if name in names]
    assert found, f"elastiq/{name} is in no room: give it a place in FLOORS and in docs/architecture.md"
    return found[0]


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path: Path) -> set[str]:
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def rooms_of(path: Path) -> set[str]:
    names = {name.split(".")[1] for name in imports(path) if name.startswith("elastiq.")}
    return {name for name in names if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").exists()}


def lines_of(node: ast.AST) -> int:
    return (getattr(node, "end_lineno", None) or 0) - getattr(node, "lineno", 0) + 1


@each_source
def test_every_file_is_in_a_room(path: Path) -> None:
    floor(room(path))


def test_every_room_is_there() -> None:
    rooms = {name for names in FLOORS for name in names}
    assert rooms == {room(path) for path in sources()}


@each_source
def test_imports_run_downwards(path: Path) -> None:
    assert not [name for name in imports(path) if "__main__" in name]
    own = -1 if is_program(path) else floor(room(path))
    upwards = sorted(name for name in rooms_of(path) if floor(name) < own)
    assert not upwards, f"{path.name} imports from above: {upwards}"


@each_source
def test_no_private_name_leaves_its_file(path: Path) -> None:
    """Neither by an import nor as an attribute of something that is not the file's own."""
    taken = [name for name in imports(path) if name.startswith("elastiq") and any(map(is_private, name.split(".")))]
    assert not taken, f"{path.name} imports {taken}"
    own = {node.name for node in nodes(path) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.attr for node in nodes(path) if isinstance(node, ast.Attribute) and is_self(node.value)}
    own |= {node.target.id for node in nodes(path) if isinstance(node, ast.AnnAssign) and is_name(node.target)}
    own |= {"_replace", "_asdict", "_exit", "_value_"}
    reached = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in nodes(path)
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own
    ]
    assert not reached, f"{path.name} reaches into private parts: {reached}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


@each_source
def test_files_and_functions_are_short_enough_to_read(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES_OF_FILE, f"{path.name} is several things: give each a file"
    functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef)]
    long = [f"{node.name}: {lines_of(node)} lines" for node in functions if lines_of(node) > MOST_LINES_OF_FUNCTION]
    assert not long, f"{path.name}: {long}"


@each_source
def test_planning_knows_what_is_seen_remembered_and_decided_alone(path: Path) -> None:
    if room(path) == "planning":
        assert rooms_of(path) <= PLANNING
        assert not {name.split(".")[0] for name in imports(path)} & {"logging", "os", "random", "time", "datetime"}


@each_source
def test_botocore_is_imported_by_ec2_alone(path: Path) -> None:
    users = [name for name in imports(path) if name.split(".")[0] in ("boto3", "botocore")]
    assert room(path) == "ec2" or not users


@each_source
def test_the_simulator_knows_no_real_cloud(path: Path) -> None:
    assert room(path) != "sim" or "ec2" not in rooms_of(path)


def test_the_core_names_no_plugin_and_no_real_cloud() -> None:
    assert not rooms_of(PACKAGE / "core.py") & {"ec2"}
    plugins = [name for name in imports(PACKAGE / "core.py") if name.startswith("elastiq.plugins.")]
    assert set(plugins) <= {"elastiq.plugins.Matchmaker"}


CLOCK_CALLS = {("time", "time"), ("time", "monotonic"), ("time", "sleep"), ("datetime", "now"), ("datetime", "utcnow")}


@each_source
def test_only_the_clock_reads_time(path: Path) -> None:
    calls = {
        (node.func.value.id, node.func.attr)
        for node in nodes(path)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
    }
    assert path.name == "clock.py" or not calls & CLOCK_CALLS


def is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(is_broad, caught.elts))
    return caught is None or (isinstance(caught, ast.Name) and caught.id in ("Exception", "BaseException"))


CARRIES_ON = {"lanes.py", "check.py"}
"""Where a thread hands over whatever was raised in it to the one that waits for it, which raises it again."""


@each_source
def test_only_the_core_and_the_door_to_plugins_catch_everything(path: Path) -> None:
    broad = [node.lineno for node in nodes(path) if isinstance(node, ast.ExceptHandler) and is_broad(node.type)]
    may = path.name in ("core.py", *CARRIES_ON) or path == PACKAGE / "plugins" / "foreign.py"
    assert len(broad) <= may, f"{path.name}: {broad}"


def has_logic(path: Path) -> bool:
    """Return whether any function of a file does something: those of a Protocol have a docstring alone."""
    functions = [node for node in nodes(path) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return any(len(one.body) > 1 or ast.get_docstring(one) is None for one in functions)


def mirrored(path: Path) -> Path:
    """Return where the unit tests of a file are."""
    folder = path.parent.relative_to(PACKAGE)
    name = path.parent.name if path.name == "__init__.py" else path.stem.strip("_")
    return TOP / "tests" / "unit" / folder / f"test_{name}.py"


@each_source
def test_the_unit_tests_of_a_file_are_where_it_is(path: Path) -> None:
    name = path.relative_to(PACKAGE)
    places = [TESTED_ELSEWHERE[str(key)] for key in (name, *name.parents) if str(key) in TESTED_ELSEWHERE]
    if places:
        assert not mirrored(path).exists(), "tested where it is after all: take it out of TESTED_ELSEWHERE"
        assert (TOP / places[0]).exists()
    elif has_logic(path):
        assert mirrored(path).exists(), f"{name} has no {mirrored(path).relative_to(TOP)}"


def test_what_is_tested_elsewhere_is_there() -> None:
    assert all((PACKAGE / name).exists() for name in TESTED_ELSEWHERE)
