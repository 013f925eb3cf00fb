"""An EC2 endpoint for tests: moto behind a proxy that gives it what it lacks, and faults on demand.

    with Ec2Endpoint(dialect="openstack", quota=8, launch_delay_seconds=2) as endpoint:
        endpoint.inject("RunInstances", lose_answer=True)
        ...  # a client of endpoint.url
        assert endpoint.max_alive <= 8
        assert [request.operation for request in endpoint.requests] == ["RunInstances"]

Other processes do the same over HTTP: `POST <url>/_control` with a JSON object such as
`{"inject": {"operation": "RunInstances", "lose_answer": true}}`, `{"set": {"quota": 3}}` or `{"clear_faults": true}`,
and `GET <url>/_control` for what was asked of it and which VMs there are.

moto makes the instances; their states, tags, tokens, quota, listing and filters are the proxy's own, so that a dialect
can behave as the real service was measured to.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import re
import socket
import threading
import time
import uuid
import xml.etree.ElementTree as ElementTree
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from http.client import HTTPConnection
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, urlencode, urlsplit
from xml.sax.saxutils import escape

from tests.testbed.moto_server import MotoServer
from tests.testbed.openstack import recorded
from tests.testbed.web import LocalServer, QuietHandler

Dialect = Literal["aws", "openstack"]

_NAMESPACE = "http://ec2.amazonaws.com/doc/2016-11-15/"
_MOTO_HEADERS = {
    "Content-Type": "application/x-www-form-urlencoded",
    "Authorization": "AWS4-HMAC-SHA256 Credential=testing/20200101/us-east-1/ec2/aws4_request, "
    "SignedHeaders=host, Signature=none",
}
_STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopped": 80, "error": 0}
_FILTERS = {
    "instance-id": lambda vm, _now: [vm.id],
    "client-token": lambda vm, _now: [vm.token],
    "private-ip-address": lambda vm, _now: [vm.address],
    "instance-state-name": lambda vm, now: [vm.state(now)],
    "tag-key": lambda vm, _now: list(vm.tags),
}
_OPENSTACK_REFUSED_PARAMETERS = (
    "TagSpecification.",
    "DryRun",
    "MetadataOptions.",
    "LaunchTemplate.",
    "InstanceMarketOptions.",
)
_OPENSTACK_OPERATIONS = frozenset(
    {
        "RunInstances",
        "DescribeInstances",
        "TerminateInstances",
        "StartInstances",
        "StopInstances",
        "RebootInstances",
        "GetConsoleOutput",
        "CreateTags",
        "DeleteTags",
        "DescribeTags",
        "DescribeImages",
        "DescribeKeyPairs",
        "CreateKeyPair",
        "DeleteKeyPair",
        "DescribeRegions",
        "DescribeAvailabilityZones",
        "DescribeVpcs",
        "DescribeSubnets",
        "DescribeSecurityGroups",
        "DescribeInstanceAttribute",
    }
)
_UNKNOWN_VALUE_ON_AWS = {
    "ImageId": "InvalidAMIID.NotFound",
    "InstanceType": "InvalidParameterValue",
    "SubnetId": "InvalidSubnetID.NotFound",
    "KeyName": "InvalidKeyPair.NotFound",
    "Placement.AvailabilityZone": "InvalidParameterValue",
    "SecurityGroupId.1": "InvalidGroup.NotFound",
    "IamInstanceProfile.Name": "InvalidParameterValue",
}
_OPENSTACK = recorded.answers()


@dataclass
class Request:
    """A request as it came in, and the HTTP status of its answer (0: none was given)."""

    operation: str
    parameters: dict[str, str]
    at: float
    """Monotonic time."""
    status: int = 0

    def numbered(self, prefix: str) -> list[str]:
        """Return the values of `prefix.1`, `prefix.2`, ..."""
        return _numbered(self.parameters, prefix)


@dataclass
class Vm:
    """A VM as the cloud sees it. Times are monotonic."""

    id: str
    moto_id: str
    token: str
    address: str
    user_data: bytes
    parameters: dict[str, str]
    launched_at: float
    running_at: float
    failed: bool = False
    """State `error`, as OpenStack has it; on AWS it is terminated with a reason."""
    terminated_at: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    reservation: str = ""
    protected: bool = False
    """Its termination is refused."""
    announced: bool = False
    """`on_running` was called."""
    ended: bool = False
    """`on_terminated` was called."""

    def state(self, now: float) -> str:
        """Return its state by name."""
        if self.terminated_at is not None:
            return "terminated"
        if self.failed:
            return "error"
        return "running" if now >= self.running_at else "pending"


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of an operation, after `after` good ones."""

    operation: str = "*"
    times: int = 1
    after: int = 0
    status: int = 0
    """Answer with this HTTP status and `code`, or `body`, instead of the effect."""
    code: str = "InternalError"
    message: str = "injected"
    body: str | None = None
    """Raw answer instead of the effect; with status 0: HTTP 200."""
    after_effect: bool = False
    """The request takes effect although its answer is an error, a strange body or none."""
    delay_seconds: float = 0
    """Wait before the request is looked at."""
    answer_delay_seconds: float = 0
    """Wait before the answer is sent: the request has taken effect."""
    hang_seconds: float = 0
    """Say nothing for so long, then close the connection; no effect unless `after_effect`."""
    lose_answer: bool = False
    """The request takes effect, and the connection is closed without an answer."""
    truncate: int | None = None
    """Only so many characters of the answer, as if it were whole."""
    cut: int | None = None
    """Only so many characters of the answer, with the length of the whole in the header."""
    drip_seconds: float = 0
    """Pause after each byte of the answer."""
    empty: bool = False
    """A listing shows nothing."""
    half: bool = False
    """A listing shows the first half only, as if it were whole."""
    duplicate: bool = False
    """A listing shows each VM twice."""
    endless: bool = False
    """A listing gives the same next page for ever."""


class RefusalError(Exception):
    """The endpoint's answer is an error of EC2."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Ec2Endpoint:
    """An EC2 endpoint. All settings are attributes that may be changed while it runs.

    dialect: "aws" or "openstack" (facts as measured on ec2-api 17.0.0).
    launch_delay_seconds: how long a VM is pending; math.inf leaves it so for ever.
    launch_seconds_per_vm: how long RunInstances takes for each VM; the VMs exist one after the other.
    quota: VMs that may be alive at once; None is no limit.
    addresses: private addresses for the VMs, used again after a termination; None leaves moto's.
    on_running, on_terminated: called with the Vm, one after the other from one thread of the endpoint, so that the
    second comes after the first has returned, and not at all for a VM that never ran.
    console: called with the Vm; returns its console text, None for moto's own.
    bind, entering: where to listen; `entering()` is entered while the socket is bound (a network namespace).
    moto_url: a running moto server, which is reset; None starts one.
    keys: access key -> secret key; signatures are checked. None takes any.
    visible_after_seconds: for so long a new VM is missing from listings and unknown by id.
    terminated_listed_seconds: for so long a terminated VM stays listed (default: an hour on AWS, 1 s on OpenStack,
    in its old state).
    known: RunInstances parameter -> accepted values, for example {"ImageId": {"ami-12345678"}}.
    page_size: listings are never longer than this, whatever was asked.
    refused_parameters: prefixes of parameters -> (HTTP status, code, message) with which any request is refused.
    denied: rights that are missing, such as "iam:PassRole"; requests that need one are refused in AWS's words.
    rights_are_named: whether these words name the right.
    dry_run: what becomes of it. "checked": DryRunOperation if all else is good, as at AWS; "first": before anything
    but rights is looked at, as moto does; "questions": so, but launches are carried out; "ignored": all is carried out.
    failing_launches: so many of the next VMs go into error.
    full: called with the parameters of a launch; returns the code with which it is refused, "" for none.
    """

    def __init__(
        self,
        *,
        dialect: Dialect = "aws",
        launch_delay_seconds: float = 0,
        launch_seconds_per_vm: float = 0,
        quota: int | None = None,
        addresses: Iterable[str] | None = None,
        on_running: Callable[[Vm], object] | None = None,
        on_terminated: Callable[[Vm], object] | None = None,
        console: Callable[[Vm], str | None] | None = None,
        bind: str = "127.0.0.1",
        port: int = 0,
        entering: Callable[[], AbstractContextManager[Any]] = nullcontext,
        moto_url: str | None = None,
        keys: Mapping[str, str] | None = None,
        visible_after_seconds: float = 0,
        terminated_listed_seconds: float | None = None,
        known: Mapping[str, Iterable[str]] | None = None,
        page_size: int = 1000,
    ) -> None:
        self.dialect = dialect
        self.launch_delay_seconds = launch_delay_seconds
        self.launch_seconds_per_vm = launch_seconds_per_vm
        self.quota = quota
        self.on_running = on_running
        self.on_terminated = on_terminated
        self.console = console
        self.keys = keys
        self.visible_after_seconds = visible_after_seconds
        listed = 3600.0 if dialect == "aws" else 1.0
        self.terminated_listed_seconds = listed if terminated_listed_seconds is None else terminated_listed_seconds
        self.known = {name: set(values) for name, values in (known or {}).items()}
        self.page_size = page_size
        self.refused_parameters: dict[str, tuple[int, str, str]] = {}
        self.full: Callable[[Mapping[str, str]], str] = lambda _: ""
        self.denied: set[str] = set()
        self.rights_are_named = True
        self.dry_run: Literal["checked", "first", "questions", "ignored"] = "checked"
        self.failing_launches = 0
        self.requests: list[Request] = []
        self.vms: dict[str, Vm] = {}
        self.max_alive = 0
        self.alive_history: list[tuple[float, int]] = []
        """Monotonic time and number of VMs pending and running, at each change."""
        self.failures: list[str] = []
        """What callbacks raised."""
        self._faults: list[Fault] = []
        self._addresses = None if addresses is None else deque(addresses)
        self._items: dict[str, ElementTree.Element] = {}
        self._tokens: dict[str, dict[str, str]] = {}
        self._token_locks: dict[str, threading.Lock] = {}
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._moto = MotoServer() if moto_url is None else None
        self._moto_url = self._moto.url if self._moto else str(moto_url)
        if moto_url is not None:
            self._moto_request("POST", "/moto-api/reset", "")
        with entering():
            self._server = _Server((bind, port), _Handler)
        self._server.endpoint = self
        self.url = f"http://{bind}:{self._server.server_address[1]}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True),
            threading.Thread(target=self._announce, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Ec2Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the endpoint and end moto."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        if self._moto:
            self._moto.stop()

    def inject(self, operation: str = "*", **what: Any) -> None:
        """Let the next requests of `operation` fail; `what` are the fields of Fault. Faults wait in a row."""
        with self._lock:
            self._faults.append(Fault(operation, **what))

    def clear_faults(self) -> None:
        """Let nothing fail any more; hanging requests go on hanging."""
        with self._lock:
            self._faults.clear()

    def alive(self) -> list[Vm]:
        """Return the VMs that are neither terminated nor terminating."""
        with self._lock:
            return [vm for vm in self.vms.values() if vm.terminated_at is None]

    def operations(self, *names: str) -> list[Request]:
        """Return the requests of these operations, all without names."""
        with self._lock:
            return [request for request in self.requests if not names or request.operation in names]

    def terminate_from_outside(self, vm_id: str) -> None:
        """Terminate a VM as if its owner or the cloud had done so."""
        with self._lock:
            self._terminate_vm(self.vms[vm_id])

    def make_vms(self, count: int, *, cluster: str = "", token: str = "", image_id: str = "ami-12345678") -> list[Vm]:
        """Launch VMs as if somebody had; no request is recorded."""
        parameters = {"ImageId": image_id, "InstanceType": "m5.large", "ClientToken": token}
        tags = {"elastiq:cluster": cluster} if cluster else {}
        with self._lock:
            return self._make(count, parameters, tags)

    def control(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Do what a POST to /_control says."""
        if "inject" in order:
            self.inject(**order["inject"])
        if order.get("clear_faults"):
            self.clear_faults()
        for name, value in order.get("set", {}).items():
            if name.startswith("_") or not hasattr(self, name):
                raise ValueError(f"no such setting: {name}")
            setattr(self, name, value)
        return self.report()

    def report(self) -> dict[str, Any]:
        """Return what a GET of /_control shows."""
        with self._lock:
            now = time.monotonic()
            return {
                "requests": [asdict(request) for request in self.requests],
                "alive": len(self.alive()),
                "max_alive": self.max_alive,
                "vms": {
                    vm.id: {"state": vm.state(now), "address": vm.address, "token": vm.token, "tags": vm.tags}
                    for vm in self.vms.values()
                },
                "failures": self.failures,
            }

    def take_fault(self, operation: str) -> Fault | None:
        """Return the fault that this request meets."""
        with self._lock:
            for fault in self._faults:
                if fault.operation not in ("*", operation):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
                return fault
        return None

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than the endpoint lives."""
        self._closing.wait(None if math.isinf(seconds) else seconds)

    def answer(self, parameters: dict[str, str], fault: Fault | None = None) -> tuple[int, str]:
        """Let the request take effect; return HTTP status and XML."""
        operation = parameters.get("Action", "")
        try:
            self._check_dialect(operation, parameters)
            self._check_rights(operation, parameters)
            self._check_dry_run(operation, parameters)
            method = getattr(self, f"_do_{re.sub('(?<!^)(?=[A-Z])', '_', operation).lower()}", None)
            if method is not None:
                return 200, str(method(parameters, fault or Fault()))
            return self._moto_request("POST", "/", urlencode(self._with_moto_ids(parameters)))
        except RefusalError as refusal:
            return refusal.status, error_document(refusal.code, refusal.message)

    def _check_dialect(self, operation: str, parameters: Mapping[str, str]) -> None:
        for prefix, (status, code, message) in self.refused_parameters.items():
            if any(name.startswith(prefix) for name in parameters):
                raise RefusalError(code, message, status)
        if self.dialect == "openstack":
            if operation not in _OPENSTACK_OPERATIONS:
                raise _as_recorded("DescribeInstanceTypes")
            heard = [name for name in parameters if name != "DryRun" or self.dry_run != "ignored"]
            if any(name.startswith(_OPENSTACK_REFUSED_PARAMETERS) for name in heard):
                raise _as_recorded("RunInstances with a wrong TagSpecifications")

    def _check_rights(self, operation: str, parameters: Mapping[str, str]) -> None:
        needed = [f"ec2:{operation}"]
        if operation == "RunInstances":
            needed += ["ec2:CreateTags"] if "TagSpecification.1.ResourceType" in parameters else []
            needed += ["iam:PassRole"] if any(name.startswith("IamInstanceProfile.") for name in parameters) else []
        for right in needed:
            if right in self.denied:
                raise RefusalError("UnauthorizedOperation", self._unauthorized(right), 403)

    def _unauthorized(self, right: str) -> str:
        """Return what AWS says, from its documentation; the encoded message is shorter than AWS's."""
        encoded = "Encoded authorization failure message: " + "4GIOHlTkIaWHQD0Q0m6XSnuUMCm-abcdefghijklmn" * 6
        if not self.rights_are_named:
            return f"You are not authorized to perform this operation. {encoded}"
        resource = (
            "arn:aws:iam::123456789012:role/workers"
            if right == "iam:PassRole"
            else ("arn:aws:ec2:eu-west-1:123456789012:instance/*")
        )
        return (
            "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/elastiq is not "
            f"authorized to perform: {right} on resource: {resource} because no identity-based policy allows the "
            f"{right} action. {encoded}"
        )

    def _check_dry_run(self, operation: str, parameters: dict[str, str]) -> None:
        if parameters.get("DryRun") != "true" or self.dry_run == "ignored":
            return
        if operation == "RunInstances" and self.dry_run == "questions":
            return
        if self.dry_run == "checked" and operation == "RunInstances":
            if int(parameters.get("MinCount", 1)) < 1:
                raise RefusalError("InvalidParameterValue", "Value (0) for parameter minCount is invalid.")
            self._check_launch(parameters)
        if self.dry_run == "checked":
            self._found(_numbered(parameters, "InstanceId") + _numbered(parameters, "ResourceId"))
        raise RefusalError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)

    def _do_run_instances(self, parameters: dict[str, str], _fault: Fault) -> str:
        token = parameters.get("ClientToken", "")
        if self.dialect == "openstack" or not token:
            known = self._vms_of(token) if token else []
            if known:
                return self._run_answer(known)
            return self._run_answer(self._launch(parameters))
        with self._lock:
            lock = self._token_locks.setdefault(token, threading.Lock())
        with lock:
            earlier = self._tokens.get(token)
            ignored = ("Action", "Version", "ClientToken")
            asked = {name: value for name, value in parameters.items() if name not in ignored}
            if earlier is None:
                made = self._launch(parameters)
                self._tokens[token] = asked
                return self._run_answer(made)
            if earlier != asked:
                raise RefusalError(
                    "IdempotentParameterMismatch",
                    "The client token you have provided is associated with a resource that has different parameters.",
                )
            with self._lock:
                return self._run_answer([vm for vm in self.vms.values() if vm.token == token])

    def _launch(self, parameters: dict[str, str]) -> list[Vm]:
        self._check_launch(parameters)
        wanted = int(parameters.get("MaxCount", 1))
        least = int(parameters.get("MinCount", 1))
        tags = _tags(parameters, "TagSpecification.1.Tag")
        with self._lock:
            alive = len(self.alive())
            room = wanted if self.quota is None else max(0, min(wanted, self.quota - alive))
            if self._addresses is not None:
                room = min(room, len(self._addresses))
        if room < least:
            if self.launch_seconds_per_vm:
                self.wait(self.launch_seconds_per_vm * room)
            raise self._over_quota(least, alive)
        if not self.launch_seconds_per_vm:
            with self._lock:
                return self._make(room, parameters, tags)
        made: list[Vm] = []
        for _ in range(room):
            self.wait(self.launch_seconds_per_vm)
            with self._lock:
                made += self._make(1, parameters, tags)
        for vm in made:
            vm.reservation = made[0].reservation
        return made

    def _over_quota(self, wanted: int, alive: int) -> RefusalError:
        if self.dialect == "openstack":
            refusal = _as_recorded("RunInstances over quota")
            numbers = iter((wanted, alive, self.quota))
            refusal.message = re.sub(r"\d+", lambda _: str(next(numbers)), refusal.message)
            return refusal
        return RefusalError(
            "InstanceLimitExceeded", "You have requested more instances than your current instance limit allows."
        )

    def _check_launch(self, parameters: Mapping[str, str]) -> None:
        code = self.full(parameters)
        if code:
            raise RefusalError(code, "There is no room for that now.", 500)
        for name, values in self.known.items():
            if name in parameters and parameters[name] not in values:
                if self.dialect == "openstack":
                    raise _as_recorded(f"RunInstances with a wrong {name}", parameters[name])
                raise RefusalError(_UNKNOWN_VALUE_ON_AWS[name], f"Invalid value '{parameters[name]}' for {name}")
        if self.dialect == "openstack" and "SecurityGroup.1" in parameters:
            raise _as_recorded("RunInstances with a wrong SecurityGroups", parameters["SecurityGroup.1"])
        encoded = parameters.get("UserData", "")
        size = len(base64.b64decode(encoded))
        if self.dialect == "openstack" and len(encoded) > 65535:
            message = f"Invalid input for field/attribute user_data. Value: {encoded}. '{encoded}' is too long"
            raise RefusalError("BadRequest", message)
        if self.dialect == "aws" and size > 16384:
            raise RefusalError("InvalidParameterValue", "User data is limited to 16384 bytes")

    def _make(self, count: int, parameters: Mapping[str, str], tags: Mapping[str, str]) -> list[Vm]:
        """Let moto make VMs. The caller holds the lock, so that the quota holds."""
        if not count:
            return []
        names = ("ImageId", "InstanceType", "KeyName", "UserData")
        names += ("InstanceMarketOptions.MarketType", "Placement.AvailabilityZone")
        asked = {"Action": "RunInstances", "Version": "2016-11-15", "MinCount": str(count), "MaxCount": str(count)}
        asked.update({name: parameters[name] for name in names if name in parameters})
        status, text = self._moto_request("POST", "/", urlencode(asked))
        if status != 200:
            raise RefusalError("InternalError", f"moto answered {text}", 500)
        root = _without_namespaces(text)
        now = time.monotonic()
        made = []
        for item in root.findall("instancesSet/item"):
            moto_id = item.findtext("instanceId") or ""
            vm = Vm(
                id=moto_id[:10] if self.dialect == "openstack" else moto_id,
                moto_id=moto_id,
                token=parameters.get("ClientToken", ""),
                address=self._addresses.popleft()
                if self._addresses is not None
                else item.findtext("privateIpAddress", ""),
                user_data=base64.b64decode(parameters.get("UserData", "")),
                parameters=dict(parameters),
                launched_at=now,
                running_at=now + self.launch_delay_seconds,
                failed=self.failing_launches > 0,
                tags=dict(tags),
                reservation=root.findtext("reservationId", ""),
            )
            self.failing_launches = max(0, self.failing_launches - 1)
            if vm.failed and self.dialect == "aws":
                vm.failed, vm.terminated_at = False, now
            self._items[vm.id] = self._prepared(item, vm)
            self.vms[vm.id] = vm
            made.append(vm)
        self._count_alive()
        return made

    def _prepared(self, item: ElementTree.Element, vm: Vm) -> ElementTree.Element:
        """Make moto's description of a VM one of this endpoint and dialect, all but what changes."""
        name = f"ip-{vm.address.replace('.', '-')}.ec2.internal"
        for element in item.iter():
            if element.tag == "privateIpAddress":
                element.text = vm.address
            elif element.tag == "privateDnsName":
                element.text = name
        for tag in ("instanceId", "clientToken"):
            element = item.find(tag)
            if element is None:
                element = ElementTree.SubElement(item, tag)
            element.text = vm.id if tag == "instanceId" else vm.token
        for tag in ("tagSet", "stateReason"):
            for element in item.findall(tag):
                item.remove(element)
        if self.dialect == "openstack":
            empty = ["architecture"] + ([] if vm.parameters.get("KeyName") else ["keyName"])
            for tag in empty + (["placement/availabilityZone"] if vm.failed else []):
                element = item.find(tag)
                if element is not None:
                    element.text = ""
        return item

    def _xml(self, vm: Vm, now: float) -> str:
        item = self._items[vm.id]
        state = vm.state(now)
        if state == "terminated" and self.dialect == "openstack":
            state = "running"  # until it is gone
        for tag, text in (("name", state), ("code", str(_STATE_CODES[state]))):
            element = item.find(f"instanceState/{tag}")
            assert element is not None
            element.text = text
        text = ElementTree.tostring(item, encoding="unicode")
        tags = "".join(f"<item><key>{escape(k)}</key><value>{escape(v)}</value></item>" for k, v in vm.tags.items())
        reason = ""
        if state == "terminated":
            reason = "<stateReason><code>Client.UserInitiatedShutdown</code><message>shut down</message></stateReason>"
        return text[: -len("</item>")] + f"<tagSet>{tags}</tagSet>{reason}</item>"

    def _run_answer(self, vms: list[Vm]) -> str:
        now = time.monotonic()
        with self._lock:
            items = "".join(self._xml(vm, now) for vm in vms)
        return _document(
            "RunInstances",
            f"<reservationId>{vms[0].reservation}</reservationId><ownerId>123456789012</ownerId><groupSet/>"
            f"<instancesSet>{items}</instancesSet>",
        )

    def _do_describe_instances(self, parameters: dict[str, str], fault: Fault) -> str:
        now = time.monotonic()
        limit = int(parameters.get("MaxResults", 0))
        if limit and limit < 5:
            raise RefusalError("InvalidParameterValue", f"Value ({limit}) for parameter maxResults is invalid.")
        with self._lock:
            asked = _numbered(parameters, "InstanceId")
            vms = self._found(asked) if asked else [vm for vm in self.vms.values() if self._listed(vm, now)]
            for number in range(1, 20):
                name = parameters.get(f"Filter.{number}.Name")
                if name is not None:
                    patterns = _numbered(parameters, f"Filter.{number}.Value")
                    if self.dialect == "openstack" and name.startswith("tag:"):
                        name = ":".join(name.split(":")[:2])  # it reads no further than to a second colon
                    vms = [vm for vm in vms if _matches(vm, name, patterns, now)]
            if fault.empty:
                vms = []
            elif fault.half:
                vms = vms[: len(vms) // 2]
            start = int(parameters.get("NextToken", "0"))
            size = min(limit or self.page_size, self.page_size)
            page = vms[start : start + size]
            following = str(start + size) if start + size < len(vms) else ""
            if fault.endless:
                page, following = vms[:size], "0"
            if fault.duplicate:
                page = page + page
            items = "".join(
                f"<item><reservationId>{vm.reservation}</reservationId><ownerId>123456789012</ownerId><groupSet/>"
                f"<instancesSet>{self._xml(vm, now)}</instancesSet></item>"
                for vm in page
            )
        more = f"<nextToken>{following}</nextToken>" if following else ""
        return _document("DescribeInstances", f"<reservationSet>{items}</reservationSet>{more}")

    def _do_terminate_instances(self, parameters: dict[str, str], _fault: Fault) -> str:
        now = time.monotonic()
        with self._lock:
            vms = self._found(_numbered(parameters, "InstanceId"))
            for vm in vms:
                if vm.protected:
                    raise RefusalError(
                        "OperationNotPermitted",
                        f"The instance '{vm.id}' may not be terminated. Modify its 'disableApiTermination' instance "
                        "attribute and try again.",
                    )
            items = ""
            for vm in vms:
                before = vm.state(now)
                if before == "terminated" and self.dialect == "openstack":
                    before = "running"
                if vm.terminated_at is None:
                    self._terminate_vm(vm)
                after = "shutting-down" if self.dialect == "aws" and before != "terminated" else before
                items += (
                    f"<item><instanceId>{vm.id}</instanceId>"
                    f"<previousState><code>{_STATE_CODES[before]}</code><name>{before}</name></previousState>"
                    f"<currentState><code>{_STATE_CODES[after]}</code><name>{after}</name></currentState></item>"
                )
        return _document("TerminateInstances", f"<instancesSet>{items}</instancesSet>")

    def _terminate_vm(self, vm: Vm) -> None:
        vm.terminated_at = time.monotonic()
        if self._addresses is not None:
            self._addresses.append(vm.address)
        self._count_alive()
        self._moto_request(
            "POST",
            "/",
            urlencode({"Action": "TerminateInstances", "Version": "2016-11-15", "InstanceId.1": vm.moto_id}),
        )

    def _do_create_tags(self, parameters: dict[str, str], _fault: Fault) -> str:
        with self._lock:
            for vm in self._found(_numbered(parameters, "ResourceId")):
                vm.tags.update(_tags(parameters, "Tag"))
        return _document("CreateTags", "<return>true</return>")

    def _do_delete_tags(self, parameters: dict[str, str], _fault: Fault) -> str:
        with self._lock:
            for vm in self._found(_numbered(parameters, "ResourceId")):
                for key in _tags(parameters, "Tag"):
                    vm.tags.pop(key, None)
        return _document("DeleteTags", "<return>true</return>")

    def _do_get_console_output(self, parameters: dict[str, str], _fault: Fault) -> str:
        vm = self._found([parameters.get("InstanceId", "")])[0]
        if vm.failed:
            raise _as_recorded("GetConsoleOutput of a failed one")
        text = self.console(vm) if self.console else "booting\n"
        output = base64.b64encode((text or "").encode()).decode()
        return _document(
            "GetConsoleOutput",
            f"<instanceId>{vm.id}</instanceId><timestamp>2026-01-01T00:00:00.000Z</timestamp><output>{output}</output>",
        )

    def _found(self, ids: list[str]) -> list[Vm]:
        now = time.monotonic()
        for vm_id in ids:
            if not re.fullmatch(r"i-([0-9a-f]{8}|[0-9a-f]{17})", vm_id):
                if self.dialect == "openstack":
                    raise _as_recorded("malformed instance", vm_id)
                raise RefusalError("InvalidInstanceID.Malformed", f'Invalid id: "{vm_id}"')
        missing = [vm_id for vm_id in ids if vm_id not in self.vms or not self._listed(self.vms[vm_id], now)]
        if missing and self.dialect == "openstack":
            raise _as_recorded("unknown instance", missing[0])
        if missing:
            several = f"The instance IDs '{', '.join(missing)}' do not exist"
            one = f"The instance ID '{missing[0]}' does not exist"
            raise RefusalError("InvalidInstanceID.NotFound", one if len(missing) == 1 else several)
        return [self.vms[vm_id] for vm_id in ids]

    def _listed(self, vm: Vm, now: float) -> bool:
        if vm.terminated_at is not None and now > vm.terminated_at + self.terminated_listed_seconds:
            return False
        return now >= vm.launched_at + self.visible_after_seconds

    def _vms_of(self, token: str) -> list[Vm]:
        with self._lock:
            return [vm for vm in self.alive() if vm.token == token]

    def _count_alive(self) -> None:
        alive = len(self.alive())
        self.max_alive = max(self.max_alive, alive)
        self.alive_history.append((time.monotonic(), alive))

    def _announce(self) -> None:
        while not self._closing.wait(0.05):
            now = time.monotonic()
            with self._lock:
                new = [vm for vm in self.vms.values() if not vm.announced and vm.state(now) == "running"]
                for vm in new:
                    vm.announced = True  # so that one that is terminated from now on is waited for until it has ended
                ended = [
                    vm for vm in self.vms.values() if vm.announced and not vm.ended and vm.terminated_at is not None
                ]
            for vm in new:
                self._call(self.on_running, vm)
            for vm in ended:
                vm.ended = True
                self._call(self.on_terminated, vm)

    def _call(self, callback: Callable[[Vm], object] | None, vm: Vm) -> None:
        try:
            if callback:
                callback(vm)
        except Exception as error:
            self.failures.append(f"{vm.id}: {error!r}")

    def _with_moto_ids(self, parameters: Mapping[str, str]) -> dict[str, str]:
        with self._lock:
            return {k: self.vms[v].moto_id if v in self.vms else v for k, v in parameters.items()}

    def _moto_request(self, method: str, path: str, body: str) -> tuple[int, str]:
        connection = HTTPConnection(urlsplit(self._moto_url).netloc, timeout=300)
        try:
            connection.request(method, path, body, _MOTO_HEADERS)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


class _Server(LocalServer):
    endpoint: Ec2Endpoint


class _Handler(QuietHandler):
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 (named by http.server)
        if self.path == "/_control":
            self._send(200, json.dumps(self.server.endpoint.report()))
        else:
            self._send(404, "")

    def do_POST(self) -> None:  # noqa: N802 (named by http.server)
        endpoint = self.server.endpoint
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_control":
            try:
                self._send(200, json.dumps(endpoint.control(json.loads(body))))
            except (ValueError, TypeError) as error:
                self._send(400, json.dumps({"error": str(error)}))
            return
        parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
        operation = parameters.get("Action", "")
        request = Request(operation, parameters, time.monotonic())
        with endpoint._lock:
            endpoint.requests.append(request)
        fault = endpoint.take_fault(operation) or Fault()
        endpoint.wait(fault.delay_seconds)
        status, text = self._refused_key(body)
        if not status:
            replaced = bool(fault.status or fault.body is not None or fault.hang_seconds)
            if not replaced or fault.after_effect:
                status, text = endpoint.answer(parameters, fault)
            if fault.body is not None:
                status, text = fault.status or 200, fault.body
            elif fault.status:
                status, text = fault.status, error_document(fault.code, fault.message)
        endpoint.wait(fault.answer_delay_seconds + fault.hang_seconds)
        if fault.hang_seconds or fault.lose_answer:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        request.status = status
        self._send(status, text[: fault.truncate], fault)

    def _send(self, status: int, text: str, fault: Fault | None = None) -> None:
        fault = fault or Fault()
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/xml;charset=UTF-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault.cut is not None:
            self.wfile.write(content[: fault.cut])
            self.wfile.flush()
            self.close_connection = True
            return
        if not fault.drip_seconds:
            self.wfile.write(content)
            return
        for position in range(len(content)):
            if self.server.endpoint._closing.wait(fault.drip_seconds):
                self.close_connection = True
                return
            self.wfile.write(content[position : position + 1])

    def _refused_key(self, body: bytes) -> tuple[int, str]:
        """Check the AWS signature, version 4; return status 0 if it is good or keys are not checked."""
        keys = self.server.endpoint.keys
        if keys is None:
            return 0, ""
        openstack = self.server.endpoint.dialect == "openstack"
        match = re.search(
            r"Credential=([^/]+)/(\w+)/([^/]+)/(\w+)/aws4_request, *SignedHeaders=([^,]+), *Signature=(\w+)",
            self.headers.get("Authorization", ""),
        )
        if match is None or match[1] not in keys:
            if openstack:
                return _OPENSTACK["wrong access key"].status, _OPENSTACK["wrong access key"].body
            message = "AWS was not able to validate the provided access credentials"
            return 401, error_document("AuthFailure", message)
        _, day, region, service, signed, signature = match.groups()
        headers = "".join(f"{name}:{' '.join((self.headers.get(name) or '').split())}\n" for name in signed.split(";"))
        canonical = "\n".join(
            ["POST", quote(urlsplit(self.path).path), "", headers, signed, hashlib.sha256(body).hexdigest()]
        )
        to_sign = "\n".join(
            [
                "AWS4-HMAC-SHA256",
                self.headers.get("X-Amz-Date", ""),
                f"{day}/{region}/{service}/aws4_request",
                hashlib.sha256(canonical.encode()).hexdigest(),
            ]
        )
        key = b"AWS4" + keys[match[1]].encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        if hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest() == signature:
            return 0, ""
        if openstack:
            return _OPENSTACK["wrong secret"].status, _OPENSTACK["wrong secret"].body
        return 401, error_document("AuthFailure", "Signature not provided or wrong")


def _as_recorded(occasion: str, value: str = "") -> RefusalError:
    """Return what OpenStack says on such an occasion, about `value` in place of what it was asked for then."""
    answer = _OPENSTACK[occasion]
    code, message = answer.refusal
    return RefusalError(code, re.sub(r"[a-z]+-0000000a|zzz|nobody|bogus", lambda _: value, message), answer.status)


def error_document(code: str, message: str) -> str:
    """Return an error as EC2 writes it."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error></Errors><RequestID>{uuid.uuid4()}</RequestID></Response>"
    )


def _document(operation: str, content: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<{operation}Response xmlns="{_NAMESPACE}">'
        f"<requestId>{uuid.uuid4()}</requestId>{content}</{operation}Response>"
    )


def _without_namespaces(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(re.sub(r' xmlns="[^"]*"', "", text, count=1))


def _numbered(parameters: Mapping[str, str], prefix: str) -> list[str]:
    values = []
    while f"{prefix}.{len(values) + 1}" in parameters:
        values.append(parameters[f"{prefix}.{len(values) + 1}"])
    return values


def _tags(parameters: Mapping[str, str], prefix: str) -> dict[str, str]:
    tags = {}
    number = 1
    while f"{prefix}.{number}.Key" in parameters:
        tags[parameters[f"{prefix}.{number}.Key"]] = parameters.get(f"{prefix}.{number}.Value", "")
        number += 1
    return tags


def _matches(vm: Vm, name: str, patterns: list[str], now: float) -> bool:
    if name.startswith("tag:"):
        values = [vm.tags[name[4:]]] if name[4:] in vm.tags else []
    elif name in _FILTERS:
        values = _FILTERS[name](vm, now)
    else:
        raise RefusalError("InvalidParameterValue", f"The filter '{name}' is invalid")
    return any(re.fullmatch(_expression(pattern), value, re.DOTALL) for value in values for pattern in patterns)


def _expression(pattern: str) -> str:
    """Return a filter's value, with EC2's wildcards * and ? and its escapes, as a regular expression."""
    parts = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join({"*": ".*", "?": "."}.get(part, re.escape(part[-1])) for part in parts)
