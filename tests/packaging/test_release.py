"""What comes beside the packages: the bill of materials, the checksums, and who signed them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from elastiq.version import VERSION
from tests.packaging.built import LONG_SECONDS, source
from tests.packaging.keys import Signer, release, release_kinds, signer

json_validation = pytest.importorskip("cyclonedx.validation.json", reason="pip install '.[test]'")

pytestmark = pytest.mark.xdist_group("built")


@pytest.fixture(scope="module")
def releaser() -> Signer:
    return signer()


def bill() -> dict[str, Any]:
    loaded = json.loads((release() / f"elastiq-{VERSION}.cdx.json").read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def declared(bill: dict[str, Any], prefix: str, scope: str = "required") -> set[str]:
    """Return what packages whose names begin so declare, in their own words."""
    return {
        said["value"].partition(": ")[2]
        for component in bill["components"]
        if component.get("scope") == scope
        for said in component["properties"]
        if said["value"].startswith(prefix)
    }


def test_the_bill_of_materials_is_what_cyclonedx_says_that_it_is() -> None:
    from cyclonedx.schema import SchemaVersion

    text = (release() / f"elastiq-{VERSION}.cdx.json").read_text(encoding="utf-8")
    assert json_validation.JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    references = [component["bom-ref"] for component in bill()["components"]]
    assert len(references) == len(set(references))
    known = {"elastiq", *references}
    for entry in bill()["dependencies"]:
        assert {entry["ref"], *entry["dependsOn"]} <= known


def test_the_bill_of_materials_has_what_the_packages_declare() -> None:
    document = bill()
    assert document["metadata"]["component"]["name"] == "elastiq"
    assert document["metadata"]["component"]["version"] == VERSION
    assert declared(document, f"elastiq-{VERSION}-py3") == {"boto3>=1.26", "lockfile>=0.12", "python-daemon>=2.3"}
    optional = declared(document, f"elastiq-{VERSION}-py3", "optional")
    assert {text.partition(";")[0] for text in optional} >= {"htcondor>=24"}
    assert not {text for text in optional if "pytest" in text}
    for release_of_el, python in (("el9", "3.9"), ("el10", "3.12"), ("fc43", "3.14")):
        said = declared(document, f"elastiq-{VERSION}-1.{release_of_el}.")
        assert {"python3-boto3 >= 1.26", f"python(abi) = {python}"} <= said
    if "deb" not in release_kinds():
        return
    (deb,) = release().glob("*.deb")
    said = subprocess.run(["dpkg-deb", "--field", deb, "Depends"], capture_output=True, text=True, check=True).stdout
    assert declared(document, deb.name) == set(said.strip().split(", "))


def test_the_bill_of_materials_names_every_package_and_all_that_is_no_module() -> None:
    document = bill()
    sums = dict(line.split("  ")[::-1] for line in (release() / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    files = {entry["name"]: entry["hashes"] for entry in document["components"] if entry["type"] == "file"}
    assert {name: hashes[0]["content"] for name, hashes in files.items()} == {
        name: digest for name, digest in sums.items() if not name.endswith(".json")
    }
    inside = {entry["name"]: entry["hashes"][0]["content"] for entry in document["metadata"]["component"]["components"]}
    programs = {
        "scripts/elastiqctl",
        "scripts/elastiq-real.py",
        "etc/elastiq.init",
        "docs/examples/dead-mans-switch.sh",
    }
    assert programs <= set(inside)
    for name, digest in inside.items():
        assert hashlib.sha256((source() / name).read_bytes()).hexdigest() == digest
    # It says that there is nothing else: no program, no page and no archive lies among the modules.
    assert document["compositions"] == [{"aggregate": "complete", "assemblies": ["elastiq"]}]
    others = {path.suffix for path in (source() / "elastiq").rglob("*") if path.is_file()} - {".py", ".pyc"}
    assert others == set()


def test_checksums_tell_what_was_changed(tmp_path: Path) -> None:
    check = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    assert subprocess.run(check, cwd=release(), capture_output=True, timeout=LONG_SECONDS).returncode == 0
    listed = {line.split("  ")[1] for line in (release() / "SHA256SUMS").read_text(encoding="utf-8").splitlines()}
    assert listed == {path.name for path in release().iterdir()} - {"SHA256SUMS", "SHA256SUMS.asc"}
    for path in release().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    changed = next(tmp_path.glob("*.whl"))
    changed.write_bytes(changed.read_bytes() + b"\0")
    told = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, timeout=LONG_SECONDS)
    assert told.returncode == 1
    assert f"{changed.name}: FAILED" in told.stdout


def test_checksums_are_signed_by_the_releaser_and_by_nobody_else(tmp_path: Path, releaser: Signer) -> None:
    signature = release() / "SHA256SUMS.asc"
    assert signature.read_text(encoding="ascii").startswith("-----BEGIN PGP SIGNATURE-----")
    verify = ["gpg", "--verify", "SHA256SUMS.asc", "SHA256SUMS"]
    told = subprocess.run(verify, cwd=release(), env=releaser.environment, capture_output=True, text=True)
    assert told.returncode == 0 and "Good signature" in told.stderr
    forged = tmp_path / "SHA256SUMS"
    forged.write_text((release() / "SHA256SUMS").read_text(encoding="utf-8").replace("a", "b", 1), encoding="utf-8")
    assert "BAD signature" in releaser.gpg("--verify", str(signature), str(forged), expect=1)
    somebody = signer("somebody")
    assert "No public key" in somebody.gpg("--verify", str(signature), str(release() / "SHA256SUMS"), expect=2)


def test_without_a_key_the_checksums_are_not_signed_and_that_is_said(tmp_path: Path) -> None:
    into = tmp_path / "dist"
    into.mkdir()
    (into / "SHA256SUMS.asc").write_text("of what was here before", encoding="utf-8")
    result = run_tool(into, "sdist", "sums", key="")
    assert result.returncode == 0, result.stderr
    assert result.stderr == "build_packages: SHA256SUMS is not signed: no key was given (ELASTIQ_SIGNING_KEY)\n"
    assert {path.name for path in into.iterdir()} == {f"elastiq-{VERSION}.tar.gz", "SHA256SUMS"}


def test_a_key_that_is_not_there_ends_it_before_anything_is_built(tmp_path: Path, releaser: Signer) -> None:
    result = run_tool(tmp_path / "dist", "sdist", "sums", key="nobody@example.org", GNUPGHOME=str(releaser.home))
    assert result.returncode == 1
    assert result.stderr.startswith("build_packages: gpg has no secret key nobody@example.org to sign with;")
    assert not list((tmp_path / "dist").iterdir())


def test_checksums_want_packages(tmp_path: Path) -> None:
    result = run_tool(tmp_path / "dist", "sums", key="")
    assert result.returncode == 2
    assert "sums of which packages?" in result.stderr


def test_no_repository_is_made_of_what_was_changed_or_without_a_key(tmp_path: Path, releaser: Signer) -> None:
    (tmp_path / "elastiq.deb").write_bytes(b"another")
    (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(b'one').hexdigest()}  elastiq.deb\n", encoding="utf-8")
    command = [sys.executable, str(source() / "tools" / "build_repositories.py"), "--of", str(tmp_path)]
    for environment, said in (
        (releaser.environment, "elastiq.deb is not what SHA256SUMS says"),
        ({**releaser.environment, "ELASTIQ_SIGNING_KEY": ""}, "a repository has to be signed"),
    ):
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONG_SECONDS)
        assert result.returncode == 1
        assert said in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"elastiq.deb", "SHA256SUMS"}


def run_tool(into: Path, *kinds: str, key: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(source() / "tools" / "build_packages.py"), "--into", str(into), *kinds]
    environment = {**os.environ, "ELASTIQ_SIGNING_KEY": key, **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONG_SECONDS)
