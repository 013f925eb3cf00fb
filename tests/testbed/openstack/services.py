"""The services of OpenStack: what each one runs, where it listens, and its configuration.

They have a network of their own, so that ports are the usual ones. There is one worker of each, and what they would do
from time to time without being asked is turned off: a cloud at rest costs next to no processor time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.testbed.openstack.trees import EC2_API

HOME = "/srv/openstack"
"""All that belongs to the set-up: etc (configuration), data (what services keep), python (a driver)."""
PASSWORD = "of-the-testbed"
"""Of every user, in a network that nobody else is in."""
REGION = "RegionOne"
HOST = "hypervisor"
EC2_PORT = 8788
KEYSTONE_PORT = 5000
NOVA_PORT = 8774
GLANCE_PORT = 9292
NEUTRON_PORT = 9696
_PLACEMENT_PORT = 8778
_CINDER_PORT = 8776
_RABBITMQ_PORT = 5672
DATABASES = ("keystone", "glance", "placement", "nova", "nova_api", "nova_cell0", "neutron", "cinder", "ec2api")
DATABASE_SOCKET = "/run/lock/mariadb.sock"
ENVIRONMENT = {
    "HOME": f"{HOME}/data",
    "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONPATH": f"{HOME}/python:{EC2_API}",
}
SERVICE_USERS = ("nova", "neutron", "glance", "placement", "cinder", "ec2api")
ENDPOINTS = {
    "compute": f"http://127.0.0.1:{NOVA_PORT}/v2.1",
    "placement": f"http://127.0.0.1:{_PLACEMENT_PORT}",
    "image": f"http://127.0.0.1:{GLANCE_PORT}",
    "network": f"http://127.0.0.1:{NEUTRON_PORT}",
    "volumev3": f"http://127.0.0.1:{_CINDER_PORT}/v3/%(project_id)s",
}
"""Type of the service -> where the catalog says that it is."""
KEYSTONE_URL = f"http://127.0.0.1:{KEYSTONE_PORT}/v3"


@dataclass(frozen=True)
class Service:
    """A program that runs as long as the cloud does."""

    command: tuple[str, ...]
    port: int | None = None
    """It is up when it listens there."""
    environment: Mapping[str, str] = field(default_factory=dict)


def configuration(name: str) -> str:
    """Return the path of the configuration of `name`."""
    return f"{HOME}/etc/{name}.conf"


def database(name: str) -> str:
    """Return the address of a database."""
    return f"mysql+pymysql://root@localhost/{name}?unix_socket={DATABASE_SOCKET}"


def _program(module: str, name: str, configuration_name: str) -> tuple[str, ...]:
    start = f"import sys; sys.argv[0] = {name!r}; from {module} import main; sys.exit(main())"
    return ("python3", "-c", start, "--config-file", configuration(configuration_name))


def _wsgi(name: str, port: int) -> tuple[str, ...]:
    return ("gunicorn", "--workers=1", "--threads=4", f"--bind=127.0.0.1:{port}", f"testbed_wsgi:{name}()")


_RABBITMQ = {
    "HOME": f"{HOME}/data/rabbitmq",
    "RABBITMQ_NODENAME": "testbed@localhost",
    "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
    "RABBITMQ_NODE_PORT": str(_RABBITMQ_PORT),
    "RABBITMQ_MNESIA_BASE": f"{HOME}/data/rabbitmq/mnesia",
    "RABBITMQ_LOG_BASE": f"{HOME}/data/rabbitmq/log",
    "RABBITMQ_ENABLED_PLUGINS_FILE": f"{HOME}/etc/rabbitmq-plugins",
    "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none",
}

SERVICES: Mapping[str, Service] = {
    "mariadb": Service(
        (
            "mariadbd",
            "--no-defaults",
            "--user=mysql",
            f"--datadir={HOME}/data/mariadb",
            f"--socket={DATABASE_SOCKET}",
            "--bind-address=127.0.0.1",
            "--max-connections=500",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-use-native-aio=0",
            "--innodb-log-file-size=16M",
            "--character-set-server=utf8",
        ),
        3306,
    ),
    "rabbitmq": Service(("/usr/lib/rabbitmq/bin/rabbitmq-server",), _RABBITMQ_PORT, _RABBITMQ),
    "keystone": Service(
        _wsgi("keystone", KEYSTONE_PORT),
        KEYSTONE_PORT,
        {"OS_KEYSTONE_CONFIG_DIR": f"{HOME}/etc", "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"},
    ),
    "placement": Service(
        _wsgi("placement", _PLACEMENT_PORT), _PLACEMENT_PORT, {"OS_PLACEMENT_CONFIG_DIR": f"{HOME}/etc"}
    ),
    "neutron": Service(_program("neutron.cmd.eventlet.server", "neutron-server", "neutron"), NEUTRON_PORT),
    "nova-api": Service(_program("nova.cmd.api_os_compute", "nova-api", "nova"), NOVA_PORT),
    "nova-conductor": Service(_program("nova.cmd.conductor", "nova-conductor", "nova")),
    "nova-scheduler": Service(_program("nova.cmd.scheduler", "nova-scheduler", "nova")),
    "nova-compute": Service(_program("nova.cmd.compute", "nova-compute", "nova")),
    "glance": Service(_program("glance.cmd.api", "glance-api", "glance"), GLANCE_PORT),
    "cinder": Service(_program("cinder.cmd.api", "cinder-api", "cinder"), _CINDER_PORT),
    "ec2-api": Service(_program("ec2api.cmd.api", "ec2-api", "ec2api"), EC2_PORT),
}
"""In the order in which they are started; each one waits for those that it needs by itself, all but the database."""

_Sections = Mapping[str, Mapping[str, object]]

_MESSAGES = f"rabbit://guest:guest@127.0.0.1:{_RABBITMQ_PORT}/"
_POLICY = {"enforce_scope": "false", "enforce_new_defaults": "false"}


def _account(user: str) -> dict[str, object]:
    return {
        "auth_type": "password",
        "auth_url": KEYSTONE_URL,
        "username": user,
        "password": PASSWORD,
        "user_domain_name": "Default",
        "project_name": "service",
        "project_domain_name": "Default",
        "region_name": REGION,
    }


def _service(user: str, **default: object) -> dict[str, Mapping[str, object]]:
    """Return what the configurations of all but keystone have in common."""
    return {
        "DEFAULT": {
            "transport_url": _MESSAGES,
            "state_path": f"{HOME}/data/{user}",
            "host": HOST,
            "my_ip": "127.0.0.1",
            "use_stderr": "true",
            **default,
        },
        "database": {"connection": database(user), "retry_interval": 1, "max_retries": -1},
        "keystone_authtoken": {
            **_account(user),
            "www_authenticate_uri": KEYSTONE_URL,
            "service_token_roles": "service",
            "service_token_roles_required": "false",
        },
        "oslo_concurrency": {"lock_path": f"{HOME}/data/lock"},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {"rabbit_retry_interval": 1, "heartbeat_timeout_threshold": 0},
        "oslo_policy": _POLICY,
    }


_NEVER = -1

_CONFIGURATIONS: Mapping[str, _Sections] = {
    "keystone": {
        "DEFAULT": {"use_stderr": "true"},
        "database": {"connection": database("keystone"), "retry_interval": 1},
        "token": {"provider": "fernet", "expiration": 86400},
        "fernet_tokens": {"key_repository": f"{HOME}/data/keystone/fernet"},
        "fernet_receipts": {"key_repository": f"{HOME}/data/keystone/fernet"},
        "credential": {"key_repository": f"{HOME}/data/keystone/credential"},
    },
    "placement": {
        **_service("placement"),
        "placement_database": {"connection": database("placement"), "retry_interval": 1},
        "api": {"auth_strategy": "keystone"},
    },
    "glance": {
        **_service(
            "glance",
            bind_host="127.0.0.1",
            bind_port=GLANCE_PORT,
            workers=1,
            enabled_backends="file:file",
            enabled_import_methods="[glance-direct]",
        ),
        "glance_store": {"default_backend": "file"},
        "file": {"filesystem_store_datadir": f"{HOME}/data/glance"},
        "os_glance_staging_store": {"filesystem_store_datadir": f"{HOME}/data/glance-staging"},
        "os_glance_tasks_store": {"filesystem_store_datadir": f"{HOME}/data/glance-tasks"},
        "paste_deploy": {"flavor": "keystone", "config_file": "/etc/glance/glance-api-paste.ini"},
    },
    "cinder": _service(
        "cinder",
        osapi_volume_listen="127.0.0.1",
        osapi_volume_listen_port=_CINDER_PORT,
        osapi_volume_workers=1,
        auth_strategy="keystone",
        api_paste_config="/etc/cinder/api-paste.ini",
    ),
    "nova": {
        **_service(
            "nova",
            compute_driver="fake.FakeDriver",
            enabled_apis="osapi_compute",
            osapi_compute_listen="127.0.0.1",
            osapi_compute_workers=1,
            vif_plugging_is_fatal="false",
            vif_plugging_timeout=0,
            report_interval=30,
            service_down_time=3600,
            heal_instance_info_cache_interval=_NEVER,
            sync_power_state_interval=_NEVER,
            update_resources_interval=_NEVER,
            shelved_poll_interval=_NEVER,
            instance_delete_interval=_NEVER,
            volume_usage_poll_interval=0,
            running_deleted_instance_action="noop",
            running_deleted_instance_poll_interval=0,
        ),
        "api": {"auth_strategy": "keystone"},
        "wsgi": {"api_paste_config": "/etc/nova/api-paste.ini"},
        "api_database": {"connection": database("nova_api"), "retry_interval": 1, "max_retries": -1},
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1, "discover_hosts_in_cells_interval": _NEVER},
        "filter_scheduler": {"track_instance_changes": "false"},
        "image_cache": {"manager_interval": _NEVER},
        "glance": {"api_servers": ENDPOINTS["image"]},
        "cinder": {"os_region_name": REGION},
        "vnc": {"enabled": "false"},
        "neutron": _account("neutron"),
        "placement": _account("placement"),
        "service_user": _account("nova"),
    },
    "neutron": {
        **_service(
            "neutron",
            bind_host="127.0.0.1",
            bind_port=NEUTRON_PORT,
            core_plugin="ml2",
            service_plugins="router",
            api_workers=1,
            rpc_workers=1,
            rpc_state_report_workers=0,
            api_paste_config="/etc/neutron/api-paste.ini",
            auth_strategy="keystone",
            notify_nova_on_port_status_changes="false",
            notify_nova_on_port_data_changes="false",
            dhcp_agent_notification="false",
        ),
        "ml2": {
            "type_drivers": "local,flat,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": "testbed",
            "extension_drivers": "port_security",
        },
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "ml2_type_flat": {"flat_networks": "*"},
        "nova": _account("nova"),
    },
    "ec2api": {
        **_service(
            "ec2api",
            ec2api_listen="127.0.0.1",
            ec2api_listen_port=EC2_PORT,
            ec2api_workers=1,
            ec2_port=EC2_PORT,
            api_paste_config=f"{HOME}/etc/ec2api-paste.ini",
            keystone_ec2_tokens_url=f"{KEYSTONE_URL}/ec2tokens",
            external_network="public",
            disable_ec2_classic="true",
            default_flavor="m1.small",
            region_list=f"{REGION}=127.0.0.1",
        ),
        "cache": {"enabled": "true", "backend": "dogpile.cache.memory"},
    },
}

_EC2_API_PASTE = """\
[composite:ec2api]
use = egg:Paste#urlmap
/: ec2apicloud

[pipeline:ec2apicloud]
pipeline = ec2faultwrap logrequest ec2keystoneauth cloudrequest ec2executor

[filter:ec2faultwrap]
paste.filter_factory = ec2api.api:FaultWrapper.factory

[filter:logrequest]
paste.filter_factory = ec2api.api:RequestLogging.factory

[filter:ec2keystoneauth]
paste.filter_factory = ec2api.api:EC2KeystoneAuth.factory

[filter:cloudrequest]
paste.filter_factory = ec2api.api:Requestify.factory

[app:ec2executor]
paste.app_factory = ec2api.api:Executor.factory
"""

_WSGI = """\
import sys


def keystone():
    sys.argv = ["keystone"]
    from keystone.server.wsgi import initialize_public_application

    return initialize_public_application()


def placement():
    sys.argv = ["placement"]
    from placement.wsgi import init_application

    return init_application()
"""

_NETWORK_DRIVER = """\
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class Driver(api.MechanismDriver):
    "Binds every port at once, without an agent and without a network."

    connectivity = "l2"

    def initialize(self):
        pass

    def bind_port(self, context):
        segment = context.segments_to_bind[0][api.ID]
        context.set_binding(segment, portbindings.VIF_TYPE_OVS, {}, status=constants.PORT_STATUS_ACTIVE)
"""


def files() -> dict[str, str]:
    """Return the files of the set-up: path -> text."""
    python = f"{HOME}/python"
    return {
        **{configuration(name): _ini(sections) for name, sections in _CONFIGURATIONS.items()},
        f"{HOME}/etc/ec2api-paste.ini": _EC2_API_PASTE,
        f"{HOME}/etc/rabbitmq-plugins": "[].\n",
        f"{python}/testbed_wsgi.py": _WSGI,
        f"{python}/testbed_driver.py": _NETWORK_DRIVER,
        f"{python}/testbed_driver-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: testbed-driver\nVersion: 1\n",
        f"{python}/testbed_driver-1.dist-info/entry_points.txt": "[neutron.ml2.mechanism_drivers]\n"
        "testbed = testbed_driver:Driver\n",
    }


def _ini(sections: _Sections) -> str:
    return "\n".join(
        f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in options.items())
        for section, options in sections.items()
    )
