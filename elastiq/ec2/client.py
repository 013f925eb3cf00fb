"""Lean botocore clients: only the part of EC2 that elastiq uses is kept in memory and parsed.

botocore brings credentials, signatures, retries and the protocol. What it knows of EC2 (over 700 operations) is cut
down when it is loaded, by its own data loader component; a listing is then parsed for the wanted members alone, in a
third of the time.
"""

from __future__ import annotations

import gc
import json
import logging
import re
import threading
import warnings
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.loaders import Loader
from botocore.parsers import ResponseParserFactory

from elastiq.config import Settings
from elastiq.config.sections import Ec2Options
from elastiq.ec2.bounds import BoundedSession, check_marks
from elastiq.ec2.foreign import refuse_foreign
from elastiq.version import VERSION

OPERATIONS = frozenset(
    {
        "DescribeInstances",
        "RunInstances",
        "TerminateInstances",
        "CreateTags",
        "GetConsoleOutput",
        "DescribeInstanceTypes",
        "DescribeSpotPriceHistory",
    }
)
"""What the daemon asks of a cloud."""

QUESTIONS_OF_CHECK = frozenset(
    {
        "DescribeImages",
        "DescribeKeyPairs",
        "DescribeSubnets",
        "DescribeSecurityGroups",
        "DescribeAvailabilityZones",
        "DescribeAccountAttributes",
    }
)
"""What `--check --cloud` asks beside that, where it may."""

_WANTED_MEMBERS = {
    "Instance": frozenset(
        {
            "InstanceId",
            "State",
            "PrivateIpAddress",
            "PrivateDnsName",
            "InstanceType",
            "InstanceLifecycle",
            "ImageId",
            "LaunchTime",
            "ClientToken",
            "Tags",
            "StateReason",
        }
    ),
    "InstanceTypeInfo": frozenset({"InstanceType", "VCpuInfo", "MemoryInfo", "InstanceStorageInfo", "GpuInfo"}),
}

DEFAULT_REGION = "us-east-1"
"""Named in signatures where the endpoint is known and the region is not; OpenStack takes any."""

# At their lower levels these print requests, which hold keys and user data.
for _name in ("botocore", "boto3", "urllib3"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class _LeanLoader(Loader):  # type: ignore[misc]
    """Loads botocore's data without what elastiq never uses; of EC2 `operations` alone."""

    def __init__(self, operations: frozenset[str]) -> None:
        super().__init__(include_default_search_paths=True)
        self._operations = operations

    def load_data(self, name: str) -> Any:
        return _without_other_services(name, super().load_data(name))

    def load_data_with_path(self, name: str) -> Any:
        data, path = super().load_data_with_path(name)
        return _without_other_services(name, data), path

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if type_name == "service-2" and set(model["operations"]) - self._operations:
            _prune(model, self._operations)
        return model


@lru_cache(maxsize=2)
def _loader(operations: frozenset[str] = OPERATIONS) -> Loader:
    """Return the one loader of the process: it reads over 5 MB, and a new configuration changes none of it."""
    return _LeanLoader(operations)


def _without_other_services(name: str, data: Any) -> Any:
    if name == "endpoints":
        for partition in data["partitions"]:
            partition["services"] = {k: v for k, v in partition["services"].items() if k == "ec2"}
    return data


def _prune(model: dict[str, Any], kept: frozenset[str]) -> None:
    """Cut a service model down to the operations `kept` and the shapes that they reach."""
    model["operations"] = {name: value for name, value in model["operations"].items() if name in kept}
    shapes: dict[str, Any] = {}
    operations = model["operations"].values()
    names = [operation[side]["shape"] for operation in operations for side in ("input", "output") if side in operation]
    while names:
        name = names.pop()
        if name in shapes:
            continue
        unused = ("documentation", "enum")
        shape = shapes[name] = {key: value for key, value in model["shapes"][name].items() if key not in unused}
        if "members" in shape:
            wanted = _WANTED_MEMBERS.get(name)
            shape["members"] = {k: v for k, v in shape["members"].items() if wanted is None or k in wanted}
            names += [member["shape"] for member in shape["members"].values()]
        names += [shape[part]["shape"] for part in ("member", "key", "value") if part in shape]
    # A copy in one piece lets Python give the memory of the whole model back.
    model["shapes"] = json.loads(json.dumps(shapes))


_UNREAD_PARTS = (b"networkInterfaceSet", b"blockDeviceMapping", b"metadataOptions")
"""Elements of an instance that elastiq never reads and that make up half of a listing."""


class _LeanParser:
    """Parses answers like the parser it is made of; listings without _UNREAD_PARTS. Refuses what is not of EC2.

    A VM check of 1,000 VMs (tests/bench: at most 342 ms of CPU) takes 320 ms so, and 480 ms with those parts; the check
    of 1,000 VMs that boot (at most 366 ms) 275 and 400 ms.
    """

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        refuse_foreign(response)
        if shape is not None and shape.name == "DescribeInstancesResult":
            response = {**response, "body": _without_unread_parts(response["body"])}
        check_marks(response["body"])
        return self._parser.parse(response, shape)


class _LeanParserFactory(ResponseParserFactory):  # type: ignore[misc]
    def create_parser(self, protocol_name: str) -> Any:
        return _LeanParser(super().create_parser(protocol_name))


def _without_unread_parts(body: bytes) -> bytes:
    """Cut them out of a listing. A part without an end stays, so that the parser sees that the answer is broken."""
    for name in _UNREAD_PARTS:
        begin, end = b"<%b>" % name, b"</%b>" % name
        first, *others = body.split(begin)
        body = first + b"".join(part.partition(end)[2] if end in part else begin + part for part in others)
    return body


_OWN_ENDPOINT: dict[str, Any] = {
    name: True for name in Config.OPTION_DEFAULTS if name == "ignore_configured_endpoint_urls"
}
"""AWS_ENDPOINT_URL and the like do not count: `is_aws` goes by api_url, and believes the client token of AWS to be a
lock. Versions of botocore without this option read no such endpoints either."""


class ClientMaker:
    """Makes botocore clients for the endpoint and with the credentials of `settings`; safe in several threads."""

    def __init__(self, settings: Settings, connect_seconds: float, operations: frozenset[str] = OPERATIONS) -> None:
        self._options = settings.ec2
        self._operations = operations
        self._connect_seconds = connect_seconds
        self._lock = threading.Lock()
        self._session: Any = None
        self._api_version, self.note = _usable_api_version(settings.ec2)
        """`note` says why the api_version of the settings is ignored, if it is."""

    def make(self, read_seconds: float) -> Any:
        """Return a client with connections of its own, that sends every request once. Costs about 2 ms after the first.

        Raise botocore's errors if credentials, region or certificate cannot be used.
        """
        options = self._options
        with self._lock:
            first = self._session is None
            if first:
                self._session = self._make_session()
            keys = {}
            if options.aws_access_key_id:
                keys["aws_access_key_id"] = options.aws_access_key_id
                keys["aws_secret_access_key"] = options.aws_secret_access_key
            client = self._session.create_client(
                "ec2",
                region_name=self._region(),
                endpoint_url=options.api_url or None,
                api_version=self._api_version,
                verify=(options.ca_bundle or None) if options.verify else False,
                config=Config(
                    connect_timeout=self._connect_seconds,
                    read_timeout=read_seconds,
                    retries={"mode": "standard", "total_max_attempts": 1},
                    user_agent_extra=f"elastiq/{VERSION}",
                    **_OWN_ENDPOINT,
                ),
                **keys,
            )
        endpoint = vars(client)["_endpoint"]  # botocore lets nobody name another session
        endpoint.http_session = BoundedSession(endpoint.http_session)
        if first:
            gc.collect()  # the parts of the model that were cut off
        return client

    def forget_credentials(self) -> None:
        """Have the next client look for them again: botocore reads files and the environment once for a session, and
        goes on with keys that have been replaced since, or with none.
        """
        with self._lock:
            self._session = None

    def _make_session(self) -> Any:
        session = botocore.session.Session()
        session.register_component("data_loader", _loader(self._operations))
        # botocore's own timestamp parser takes a fifth of the time of a large listing.
        parsers = _LeanParserFactory()
        parsers.set_parser_defaults(timestamp_parser=str)
        session.register_component("response_parser_factory", parsers)
        if not self._options.verify:
            warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        return session

    def _region(self) -> str | None:
        if self._options.region:
            return self._options.region
        if not self._options.api_url:
            return None  # botocore's own chain, which raises NoRegionError at its end
        host = urlsplit(self._options.api_url).hostname or ""
        if self._options.is_aws:
            named = re.search(r"(?<![a-z])[a-z]{2,3}(?:-[a-z]+)+-\d+(?!\w)", host)
            return named.group() if named else DEFAULT_REGION
        region = self._session.get_config_variable("region")
        return str(region) if region else DEFAULT_REGION


def _usable_api_version(options: Ec2Options) -> tuple[str | None, str]:
    """Return `api_version`, or None for the newest if it is of no use, and why then."""
    wanted = options.api_version
    if not wanted:
        return None, ""
    known = _loader().list_api_versions("ec2", "service-2")
    if wanted not in known:
        why = "not known to boto3"
    elif options.is_aws and wanted != known[-1]:
        # botocore itself would refuse every launch: older models have no tags there.
        why = "older than what elastiq needs at AWS"
    else:
        return wanted, ""
    return None, f"api_version {wanted[:20]} is {why} and is ignored; leave it out of the section [ec2]"
