"""The bill of materials of the packages, in CycloneDX JSON: what each of them is, needs and brings along.

Only what the packages themselves declare is said, as their tools read it. What a distribution installs for it in the
end, the distribution knows. The same packages give the same bytes.
"""

from __future__ import annotations

import email
import hashlib
import json
import re
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from running import run

SHIPPED = ("scripts", "etc", "docs/examples")
"""Where the source has programs and files that are no modules of elastiq, but are installed or used on workers."""
RUN_TIME_EXTRAS = ("htcondor", "sandbox")
"""The other extras are for those who test and build."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "elastiq.example.org")


@dataclass(frozen=True)
class Requirement:
    """What a package declares to need."""

    ecosystem: str
    """"pypi", "deb" or "rpm"."""
    name: str
    text: str
    """As the package has it, with the versions that will do."""
    is_required: bool

    @property
    def reference(self) -> str:
        return f"{self.ecosystem}:{self.name}"


def bill_of_materials(packages: Sequence[Path], tree: Path, version: str, epoch: int) -> str:
    """Return the document for these packages, made of the source in `tree` at this time. Raise BuildError."""
    packages = sorted(packages)
    declared = {path.name: list(_requirements(path)) for path in packages}
    root = {
        "type": "application",
        "bom-ref": "elastiq",
        "name": "elastiq",
        "version": version,
        "description": "Scales a virtual batch cluster from within, through the EC2 interface",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
        "purl": f"pkg:pypi/elastiq@{version}",
        "components": [_file(path, str(path.relative_to(tree))) for path in _shipped(tree)],
    }
    needed = sorted({requirement.reference for every in declared.values() for requirement in every})
    document: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, timezone.utc).isoformat(),
            "supplier": {"name": "elastiq maintainers"},
            "component": root,
        },
        "components": [
            *({**_file(path, path.name), **_package_url(path, version)} for path in packages),
            *(_needed(reference, declared) for reference in needed),
        ],
        "dependencies": [
            {"ref": "elastiq", "dependsOn": needed},
            *(
                {"ref": f"file:{name}", "dependsOn": sorted({requirement.reference for requirement in every})}
                for name, every in declared.items()
                if every
            ),
        ],
        # There is nothing of others in it: neither copied modules nor scripts of a page.
        "compositions": [{"aggregate": "complete", "assemblies": ["elastiq"]}],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True))
    return json.dumps({**document, "serialNumber": serial.urn}, indent=2) + "\n"


def _shipped(tree: Path) -> list[Path]:
    return sorted(path for name in SHIPPED for path in (tree / name).rglob("*") if path.is_file())


def _file(path: Path, name: str) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {
        "type": "file",
        "bom-ref": f"file:{name}",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def _package_url(path: Path, version: str) -> dict[str, str]:
    if path.suffix == ".whl":
        return {"purl": f"pkg:pypi/elastiq@{version}?file_name={path.name}"}
    if path.suffix == ".deb":
        return {"purl": f"pkg:deb/elastiq@{path.name.split('_')[1]}?arch=all"}
    rpm = re.fullmatch(r"elastiq-(.+)\.([a-z0-9]+)\.rpm", path.name)
    if rpm:
        return {"purl": f"pkg:rpm/elastiq@{rpm[1]}?arch={rpm[2]}"}
    return {}


def _needed(reference: str, declared: dict[str, list[Requirement]]) -> dict[str, Any]:
    said = [(name, one) for name, every in declared.items() for one in every if one.reference == reference]
    ecosystem, name = said[0][1].ecosystem, said[0][1].name
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "scope": "required" if any(one.is_required for _, one in said) else "optional",
        "properties": [
            {"name": "elastiq:declared", "value": f"{package}: {one.text}"}
            for package, one in sorted(said, key=lambda pair: (pair[0], pair[1].text))
        ],
    }
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9+._-]*", name):  # and no file or virtual package
        component["purl"] = f"pkg:{ecosystem}/{'debian/' if ecosystem == 'deb' else ''}{name}"
    return component


def _requirements(package: Path) -> Iterator[Requirement]:
    if package.suffix == ".whl":
        yield from _of_wheel(package)
    elif package.suffix == ".deb":
        yield from _of_deb(package)
    elif package.suffix == ".rpm" and not package.name.endswith(".src.rpm"):
        yield from _of_rpm(package)


def _of_wheel(package: Path) -> Iterator[Requirement]:
    with zipfile.ZipFile(package) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(wheel.read(name))
    for text in metadata.get_all("Requires-Dist") or []:
        name = re.match(r"[A-Za-z0-9._-]+", text)[0]  # type: ignore[index]
        extra = re.search(r"""extra == ["']([^"']+)""", text)
        if not extra or extra[1] in RUN_TIME_EXTRAS:
            yield Requirement("pypi", re.sub(r"[-_.]+", "-", name).lower(), text, is_required=not extra)


def _of_deb(package: Path) -> Iterator[Requirement]:
    for field in ("Pre-Depends", "Depends", "Recommends", "Suggests"):
        said = run(["dpkg-deb", "--field", str(package), field], package.parent).strip()
        for text in filter(None, re.split(r",\s*", said)):
            # Of alternatives the first is the one that is installed if there is none yet.
            name = re.split(r"[\s:(|]", text)[0]
            yield Requirement("deb", name, text, is_required=field.endswith("Depends"))


def _of_rpm(package: Path) -> Iterator[Requirement]:
    for option, is_required in (("--requires", True), ("--recommends", False)):
        for text in sorted(set(run(["rpm", "-qp", option, str(package)], package.parent).splitlines())):
            # What rpm itself can do, and what the package provides to itself.
            if text and not re.match(r"rpmlib\(|config\(|(user|group)\(elastiq\)", text):
                yield Requirement("rpm", text.split(" ", 1)[0], text, is_required)
