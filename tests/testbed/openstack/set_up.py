"""OpenStack configured, its databases filled, and in it a project to try things with: made once and cached."""

from __future__ import annotations

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.testbed.openstack.administration import Administration, RefusedError
from tests.testbed.openstack.relay import Relay
from tests.testbed.openstack.services import (
    DATABASE_SOCKET,
    DATABASES,
    EC2_PORT,
    ENDPOINTS,
    GLANCE_PORT,
    HOME,
    KEYSTONE_PORT,
    KEYSTONE_URL,
    NEUTRON_PORT,
    NOVA_PORT,
    PASSWORD,
    REGION,
    SERVICE_USERS,
    SERVICES,
    configuration,
    database,
    files,
)
from tests.testbed.openstack.system import System
from tests.testbed.openstack.trees import packages
from tests.testbed.rootfs import UnavailableError, cached

PROJECT, OTHER_PROJECT = "physics", "chemistry"
"""A user of the same name is a member of each."""
QUOTA = 20
"""Instances that the project may have at first."""

_MADE_BY = ("services.py", "set_up.py")
_LONG_SECONDS = 300.0


@dataclass(frozen=True)
class Facts:
    """What of the set-up a user has to know."""

    access_key: str
    secret_key: str
    other_access_key: str
    """Of another project."""
    other_secret_key: str
    project_id: str
    image_id: str
    private_image_id: str
    """Of the other project."""
    flavours: tuple[str, ...]
    """1 CPU and 512 MB, 2 CPUs and 1024 MB, and one that fits on no hypervisor."""
    key_name: str


def layers() -> tuple[Path, ...]:
    """Return the directories that OpenStack's system is made of, the topmost first. Raise UnavailableError."""
    base = packages()
    here = Path(__file__).parent
    recipe = (base.name, *((here / name).read_text(encoding="utf-8") for name in _MADE_BY))
    return (cached("openstack-set-up", recipe, lambda root: _build(base, root)), base)


def facts(layer: Path) -> Facts:
    """Return what the set-up in this layer has."""
    values = json.loads((layer / HOME.lstrip("/") / "facts.json").read_text(encoding="utf-8"))
    return Facts(**{**values, "flavours": tuple(values["flavours"])})


def _build(base: Path, layer: Path) -> None:
    system = System([base])
    try:
        _write_files(system)
        _fill_databases(system)
        system.start(name for name in SERVICES if name not in ("mariadb", "rabbitmq", "keystone"))
        known = _make_objects(system)
        (system.root / HOME.lstrip("/") / "facts.json").write_text(json.dumps(asdict(known)), encoding="utf-8")
        system.end(reversed(tuple(SERVICES)))
        target = layer / HOME.lstrip("/")
        system.run("find", HOME, "-name", "*.log", "-delete")
        _copy(system, target)
    except (OSError, RefusedError) as error:
        raise UnavailableError(f"OpenStack could not be set up: {error}\n{system.logs()}") from error
    finally:
        system.stop()


def _copy(system: System, target: Path) -> None:
    shutil.copytree(system.root / HOME.lstrip("/"), target, symlinks=True)
    for path in (system.root / HOME.lstrip("/")).rglob("*"):
        status = path.lstat()
        copy = target / path.relative_to(system.root / HOME.lstrip("/"))
        shutil.chown(copy, status.st_uid, status.st_gid)


def _write_files(system: System) -> None:
    for path, text in files().items():
        file = system.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    data = system.root / HOME.lstrip("/") / "data"
    for name in ("mariadb", "rabbitmq", "lock", *SERVICE_USERS, "glance-staging", "glance-tasks"):
        (data / name).mkdir(parents=True)
    for name in ("fernet", "credential"):
        (data / "keystone" / name).mkdir(parents=True, mode=0o700)
    system.run("chown", "mysql:", f"{HOME}/data/mariadb")


def _fill_databases(system: System) -> None:
    system.run(
        *("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={HOME}/data/mariadb"),
        *("--skip-test-db", "--auth-root-authentication-method=normal"),
    )
    system.start(["mariadb", "rabbitmq"])
    statements = "; ".join(f"CREATE DATABASE {name} CHARACTER SET utf8" for name in DATABASES)
    system.run("mysql", f"--socket={DATABASE_SOCKET}", "--user=root", f"--execute={statements}")

    def manage(program: str, name: str, *words: str) -> str:
        return system.run(program, "--config-file", configuration(name), *words)

    def nova() -> None:
        manage("nova-manage", "nova", "api_db", "sync")
        manage("nova-manage", "nova", "cell_v2", "map_cell0", "--database_connection", database("nova_cell0"))
        manage("nova-manage", "nova", "cell_v2", "create_cell", "--name", "cell1")
        manage("nova-manage", "nova", "db", "sync")

    def keystone() -> None:
        manage("keystone-manage", "keystone", "db_sync")
        for command in ("fernet_setup", "credential_setup"):
            manage("keystone-manage", "keystone", command, "--keystone-user=root", "--keystone-group=root")
        addresses = [f"--bootstrap-{interface}-url={KEYSTONE_URL}" for interface in ("admin", "internal", "public")]
        words = ["bootstrap", f"--bootstrap-password={PASSWORD}", f"--bootstrap-region-id={REGION}", *addresses]
        manage("keystone-manage", "keystone", *words)
        system.start(["keystone"])
        _make_accounts(Administration(system))

    def others() -> None:
        manage("glance-manage", "glance", "db_sync")
        manage("placement-manage", "placement", "db", "sync")
        manage("cinder-manage", "cinder", "db", "sync")
        script = "import sys; sys.argv[0] = 'ec2-api-manage'; from ec2api.cmd.manage import main; main()"
        system.run("python3", "-c", script, "--config-file", configuration("ec2api"), "db_sync")

    with ThreadPoolExecutor() as pool:
        works = [nova, keystone, others, lambda: manage("neutron-db-manage", "neutron", "upgrade", "head")]
        for result in [pool.submit(work) for work in works]:
            result.result()


def _make_accounts(admin: Administration) -> None:
    def post(path: str, **what: object) -> str:
        (kind,) = what
        made = admin.ask("POST", KEYSTONE_PORT, f"/v3/{path}", what)
        return str(made[kind]["id"])

    def grant(project: str, user: str, *roles: str) -> None:
        for role in roles:
            admin.ask("PUT", KEYSTONE_PORT, f"/v3/projects/{project}/users/{user}/roles/{role}")

    roles = {role["name"]: role["id"] for role in admin.ask("GET", KEYSTONE_PORT, "/v3/roles")["roles"]}
    if "service" not in roles:
        roles["service"] = post("roles", role={"name": "service"})
    services = post("projects", project={"name": "service"})
    for name in SERVICE_USERS:
        user = post("users", user={"name": name, "password": PASSWORD})
        grant(services, user, roles["admin"], roles["service"])
    for name in (PROJECT, OTHER_PROJECT):
        project = post("projects", project={"name": name})
        grant(project, post("users", user={"name": name, "password": PASSWORD}), roles["member"])
    for kind, url in ENDPOINTS.items():
        service = post("services", service={"name": kind, "type": kind})
        for interface in ("public", "internal", "admin"):
            where = {"service_id": service, "interface": interface, "region_id": REGION, "url": url}
            post("endpoints", endpoint=where)


def _make_objects(system: System) -> Facts:
    admin = Administration(system)
    member, other = Administration(system, PROJECT, PROJECT), Administration(system, OTHER_PROJECT, OTHER_PROJECT)
    flavours = {"m1.small": (1, 512), "m1.medium": (2, 1024), "m1.huge": (5000, 512)}
    for name, (cpus, memory_mb) in flavours.items():
        flavour = {"name": name, "vcpus": cpus, "ram": memory_mb, "disk": 1}
        admin.ask("POST", NOVA_PORT, "/v2.1/flavors", {"flavor": flavour})
    _make_image(admin, "debian", "public")
    _make_image(other, "private", "private")
    network = {"name": "public", "router:external": True}
    network.update({"provider:network_type": "flat", "provider:physical_network": "outside"})
    made = admin.ask("POST", NEUTRON_PORT, "/v2.0/networks", {"network": network})["network"]["id"]
    subnet = {"network_id": made, "cidr": "198.51.100.0/24", "ip_version": 4, "enable_dhcp": False}
    admin.ask("POST", NEUTRON_PORT, "/v2.0/subnets", {"subnet": subnet})
    member.ask("POST", NOVA_PORT, "/v2.1/os-keypairs", {"keypair": {"name": "physicist"}})
    _wait_for_hypervisor(system, admin)
    keys, project_id = _ec2_keys(member, PROJECT)
    other_keys, _ = _ec2_keys(other, OTHER_PROJECT)
    images = {}
    with Relay(system, EC2_PORT) as relay:
        for owner in (keys, other_keys):
            client = ec2_client(relay.url, *owner)
            images.update({image["Name"]: image["ImageId"] for image in client.describe_images()["Images"]})
        _launch_once(ec2_client(relay.url, *keys), images["debian"])
    limits = {"instances": QUOTA, "cores": 10**6, "ram": 10**9}
    admin.ask("PUT", NOVA_PORT, f"/v2.1/os-quota-sets/{project_id}", {"quota_set": limits})
    return Facts(*keys, *other_keys, project_id, images["debian"], images["private"], tuple(flavours), "physicist")


def _make_image(owner: Administration, name: str, visibility: str) -> None:
    image = {"name": name, "visibility": visibility, "disk_format": "raw", "container_format": "bare"}
    made = owner.ask("POST", GLANCE_PORT, "/v2/images", image)["id"]
    content = {"Content-Type": "application/octet-stream"}
    owner.ask("PUT", GLANCE_PORT, f"/v2/images/{made}/file", bytes(1024), **content)


def _wait_for_hypervisor(system: System, admin: Administration) -> None:
    deadline = time.monotonic() + _LONG_SECONDS
    while not admin.ask("GET", NOVA_PORT, "/v2.1/os-services?binary=nova-compute")["services"]:
        if time.monotonic() > deadline:
            raise UnavailableError(f"nova-compute does not report\n{system.logs()}")
        time.sleep(0.5)
    system.run("nova-manage", "--config-file", configuration("nova"), "cell_v2", "discover_hosts")
    while not admin.ask("GET", NOVA_PORT, "/v2.1/os-hypervisors/statistics")["hypervisor_statistics"]["vcpus"]:
        if time.monotonic() > deadline:
            raise UnavailableError(f"nova-compute has no resources\n{system.logs()}")
        time.sleep(0.5)


def _ec2_keys(member: Administration, name: str) -> tuple[tuple[str, str], str]:
    me = member.ask("GET", KEYSTONE_PORT, "/v3/auth/tokens", **{"X-Subject-Token": member.token})["token"]
    body = {"tenant_id": me["project"]["id"]}
    path = f"/v3/users/{me['user']['id']}/credentials/OS-EC2"
    made = member.ask("POST", KEYSTONE_PORT, path, body)["credential"]
    return (made["access"], made["secret"]), str(me["project"]["id"])


def _launch_once(client: Any, image_id: str) -> None:
    """The first launch in a project makes its network."""
    made = client.run_instances(ImageId=image_id, InstanceType="m1.small", MinCount=1, MaxCount=1)
    client.terminate_instances(InstanceIds=[made["Instances"][0]["InstanceId"]])
    deadline = time.monotonic() + _LONG_SECONDS
    while client.describe_instances()["Reservations"]:
        if time.monotonic() > deadline:
            raise UnavailableError("a terminated instance does not go")
        time.sleep(0.5)


def ec2_client(url: str, access_key: str, secret_key: str) -> Any:
    """Return boto3's client of the EC2 interface, which asks once and waits long."""
    return boto3.client(
        "ec2",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(retries={"total_max_attempts": 1}, read_timeout=_LONG_SECONDS),
    )
