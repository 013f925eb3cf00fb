"""The same commit gives the same packages, byte for byte."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import CHECKOUT, build, clone
from tests.packaging.keys import release, release_kinds

pytestmark = pytest.mark.xdist_group("built")


def test_same_commit_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("this is not a git checkout")
    first = release()
    before = os.umask(0o077)
    try:
        checkout = clone(tmp_path / "checkout-elsewhere")
    finally:
        os.umask(before)
    others = {"TZ": "America/New_York", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "PYTHONHASHSEED": "2"}
    build(checkout, tmp_path / "dist", release_kinds(), {**others, "ELASTIQ_SIGNING_KEY": ""})
    digests = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
        for directory in (first, tmp_path / "dist")
    ]
    assert digests[0].pop("SHA256SUMS.asc")
    assert digests[0] == digests[1]
    suffixes = {".gz", ".whl", ".rpm", ".json", "", *([".deb"] if "deb" in release_kinds() else [])}
    assert suffixes <= {Path(name).suffix for name in digests[0]}


def test_every_package_has_the_version_of_the_program() -> None:
    specification = (CHECKOUT / "rpm" / "elastiq.spec").read_text(encoding="utf-8")
    assert re.findall(r"^Version: +(\S+)$", specification, re.MULTILINE) == [VERSION]
    assert f"> - {VERSION}-1\n" in specification.partition("%changelog")[2].partition("\n- ")[0] + "\n"
    changelog = (CHECKOUT / "debian" / "changelog").read_text(encoding="utf-8")
    assert re.match(rf"elastiq \({re.escape(VERSION)}(-\d+)?\) ", changelog)
