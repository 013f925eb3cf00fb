"""What bandit says of the source, and why each finding may stay."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]

JUSTIFIED = {
    ("B404", "elastiq/"): "commands have to be run",
    ("B603", "elastiq/"): "by argument list, never by a shell, and nothing in it is anybody's text unchecked",
    ("B606", "elastiq/process/user.py"): "elastiq starts itself anew as another user, by the interpreter that runs",
    ("B608", "elastiq/state/"): "the names of columns are fixed",
    ("B105", "elastiq/ec2/"): "the name of a tag",
    ("B105", "elastiq/config/"): "the name of a kind of option",
    ("B105", "elastiq/errors.py"): "the name of a kind of failure",
    ("B105", "elastiq/sandbox/"): "the beginning of a page count",
    ("B405", "elastiq/sandbox/"): "the sandbox reads what its own endpoint on the loopback interface answers",
    ("B314", "elastiq/sandbox/"): "as above",
    ("B310", "elastiq/sandbox/"): "as above; the URL is its own, http only",
    ("B101", "elastiq/sandbox/"): "for the type checker",
    ("B101", "elastiq/sim/"): "the simulator's own checks",
    ("B106", "elastiq/sim/"): "simulated tokens",
    ("B108", "elastiq/sim/"): "a directory that a simulated life never touches",
    ("B311", "elastiq/sim/"): "chance that can be replayed, nothing cryptographic",
}


def test_bandit_finds_nothing_but_what_is_justified() -> None:
    try:
        import bandit  # noqa: F401
    except ImportError:
        pytest.skip("bandit is not installed: pip install '.[test]'")
    done = subprocess.run(
        [sys.executable, "-m", "bandit", "-q", "-r", "elastiq", "scripts", "-f", "json"],
        cwd=TOP,
        capture_output=True,
        text=True,
        timeout=300,
    )
    report = json.loads(done.stdout)
    assert not report["errors"]
    stale = [
        (id_, place)
        for id_, place in JUSTIFIED
        if not any(found["test_id"] == id_ and found["filename"].startswith(place) for found in report["results"])
    ]
    assert not stale, "nothing to justify any more"
    unjustified = [
        f"{finding['filename']}:{finding['line_number']}: {finding['test_id']} {finding['issue_text']}"
        for finding in report["results"]
        if not any(finding["test_id"] == id_ and finding["filename"].startswith(place) for id_, place in JUSTIFIED)
    ]
    assert not unjustified, "\n".join(unjustified)
