"""docs/architecture.md says what is there: rooms and floors as in the layout test, every file, every station."""

from __future__ import annotations

import ast
import re

import pytest

from tests.unit.test_layout import FLOORS, PACKAGE, TOP, nodes, room

PAGE = (TOP / "docs" / "architecture.md").read_text(encoding="utf-8")
FLOOR_PLAN, TREE = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
STATION = re.compile(r"`([\w/]+\.py):([\w.]+)`")
WALKS = [part for part in re.split(r"\n(?=## )", PAGE) if STATION.search(part)]


def test_rooms_and_floors_are_those_of_the_source() -> None:
    floors = [re.split(r"  +", line)[0].split(", ") for line in FLOOR_PLAN.splitlines()]
    assert floors == [list(names) for names in FLOORS]


def test_every_file_is_named_and_every_name_is_a_file() -> None:
    named, folders = [], [""]
    for line in TREE.splitlines()[1:]:
        found = re.fullmatch(r"( +)([\w./]+)  +\S.*", line)
        assert found, f"{line!r} does not say what it is for"
        depth, name = len(found[1]) // 2, found[2]
        folders[depth:] = [f"{folders[depth - 1]}{name}"]
        if not name.endswith("/"):
            named.append(folders[depth])
    assert len(named) == len(set(named))
    assert set(named) == {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}


def is_there(file: str, name: str) -> bool:
    """Return whether a file defines `function`, `Class`, `CONSTANT` or `Class.method`."""
    outer, _, inner = name.partition(".")
    tree = nodes(PACKAGE / file)[0]
    assert isinstance(tree, ast.Module)
    for node in tree.body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        names = [getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)]
        if outer in names:
            return not inner or inner in [getattr(one, "name", None) for one in getattr(node, "body", [])]
    return False


@pytest.mark.parametrize(("file", "name"), sorted(set(STATION.findall(PAGE))))
def test_every_station_is_there(file: str, name: str) -> None:
    assert is_there(file, name)


def test_a_station_that_is_not_there_is_found_out() -> None:
    assert not is_there("core.py", "Core.no_such_method")
    assert not is_there("core.py", "no_such_function")
    assert is_there("planning/down.py", "RULES")


@pytest.mark.parametrize("walk", WALKS, ids=lambda walk: walk.partition("\n")[0])
def test_each_room_is_entered_once_on_a_way(walk: str) -> None:
    """A way is a numbered list; a walk may come up by one and go down by another."""
    for way in re.split(r"\n(?=1\. )", walk)[1:]:
        steps = re.findall(r"^\d+\. .*(?:\n   .*)*", way, re.MULTILINE)
        rooms = [{room(PACKAGE / file) for file, _ in STATION.findall(step)} for step in steps]
        entered = [name for names in rooms for name in names]
        assert all(len(names) == 1 for names in rooms), "each step is in one room"
        assert len(entered) == len(set(entered)), f"a room is entered twice: {entered}"


def test_the_walks_are_there() -> None:
    assert len(WALKS) == 5


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE))))
def test_tests_that_are_named_are_there(name: str) -> None:
    assert (TOP / name).exists()


def test_every_kind_of_proof_is_named() -> None:
    kinds = {path.name for path in (TOP / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    (table,) = re.findall(r"^\| in `tests/` .*?\n\n", PAGE, re.MULTILINE | re.DOTALL)
    first_cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for cell in first_cells for name in re.findall(r"`(\w+)`", cell)} == kinds
