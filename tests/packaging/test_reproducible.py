"""The same commit gives the same packages, byte for byte."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from elastiq.version import VERSION
from tests.packaging.built import CHECKOUT, build, clone, need, source

pytestmark = pytest.mark.xdist_group("built")

SURROUNDINGS = [
    ({"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "USER": "somebody", "PYTHONHASHSEED": "1"}, 0o022),
    ({"TZ": "America/New_York", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent", "PYTHONHASHSEED": "2"}, 0o077),
]


def test_same_commit_gives_the_same_bytes_twice(tmp_path: Path) -> None:
    if not (CHECKOUT / ".git").exists():
        pytest.skip("this is not a git checkout")
    need("rpmbuild", "rpm")
    kinds = ["sdist", "wheel", "rpm"]
    if os.geteuid() == 0 and (source() / "tools" / "build-deb").exists():
        kinds.append("deb")
    kinds += ["sbom", "sums"]
    digests = []
    for number, (environment, umask) in enumerate(SURROUNDINGS):
        before = os.umask(umask)
        try:
            checkout = clone(tmp_path / f"checkout-{'x' * number}")
        finally:
            os.umask(before)
        files = build(checkout, tmp_path / f"dist-{number}", kinds, environment)
        digests.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert digests[0] == digests[1]
    suffixes = {".gz", ".whl", ".rpm", ".json", "", *([".deb"] if "deb" in kinds else [])}
    assert suffixes <= {Path(name).suffix for name in digests[0]}


def test_every_package_has_the_version_of_the_program() -> None:
    specification = (CHECKOUT / "rpm" / "elastiq.spec").read_text(encoding="utf-8")
    assert re.findall(r"^Version: +(\S+)$", specification, re.MULTILINE) == [VERSION]
    assert f"> - {VERSION}-1\n" in specification.partition("%changelog")[2].partition("\n- ")[0] + "\n"
    changelog = (CHECKOUT / "debian" / "changelog").read_text(encoding="utf-8")
    assert re.match(rf"elastiq \({re.escape(VERSION)}(-\d+)?\) ", changelog)
