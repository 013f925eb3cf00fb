"""The root file systems of OpenStack, built once and cached: its packages, and on top of them what the set-up made."""

from __future__ import annotations

from pathlib import Path

from tests.testbed.rootfs import UnavailableError, cached, install_debian, pip_install, require_root_on_debian

EC2_API = "/opt/ec2-api"
"""Where in the root the EC2 interface lies: Debian does not carry it."""

_RECIPE_VERSION = 1
"""To be raised when `_build_packages` changes, so that a cached root made by the old one is not used."""
_SUITE = "bookworm"
_PACKAGES = (
    "keystone",
    "glance-common",
    "placement-common",
    "neutron-common",
    "cinder-common",
    "nova-common",
    "python3-nova",
    "gunicorn",
    "mariadb-server",
    "rabbitmq-server",
    "python3-pymysql",
    # What the EC2 interface imports.
    "python3-botocore",
    "python3-cinderclient",
    "python3-glanceclient",
    "python3-httplib2",
    "python3-lxml",
    "python3-migrate",
    "python3-neutronclient",
    "python3-novaclient",
)
_EC2_API_REQUIREMENT = "ec2-api==17.0.0"


def packages() -> Path:
    """Return a Debian with OpenStack installed and not configured. Raise UnavailableError."""
    require_root_on_debian()
    recipe = (_RECIPE_VERSION, _SUITE, _PACKAGES, _EC2_API_REQUIREMENT)
    return cached("openstack-packages", recipe, _build_packages)


def _build_packages(root: Path) -> None:
    install_debian(root, _SUITE, _PACKAGES)
    ec2_api = root / EC2_API.lstrip("/")
    pip_install(ec2_api, _EC2_API_REQUIREMENT, ["--only-binary=:all:"])
    _identify_to_keystone(ec2_api / "ec2api/api/__init__.py")


def _identify_to_keystone(source: Path) -> None:
    """Debian's keystone has a mending of 2025, by which it checks signatures for services alone; the EC2 interface of
    2023 does not say yet that it is one."""
    text = source.read_text(encoding="utf-8")
    headers = "headers = {'Content-Type': 'application/json'"
    if text.count(headers + "}") != 1:
        raise UnavailableError(f"{source} is not as expected: it cannot be told how to ask keystone")
    token = "'X-Auth-Token': clients.get_os_admin_session().get_token()"
    source.write_text(text.replace(headers + "}", f"{headers}, {token}}}"), encoding="utf-8")
