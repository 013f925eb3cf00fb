"""The real Cloud: EC2 of AWS, and clouds that speak its dialects. What OpenStack does differently was measured on
ec2-api 17.0.0; the comments below name those differences.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from elastiq.config import Settings
from elastiq.ec2.client import ClientMaker, is_aws
from elastiq.ec2.errors import OUTAGE_CODES, REQUEST_ERRORS, RequestError, Scrubber, explain
from elastiq.errors import CloudError, CloudFault
from elastiq.model import Instance, InstanceState, Pool, Shape

logger = logging.getLogger("elastiq.ec2")

CLUSTER_TAG = "elastiq:cluster"

POOL_TAG = "elastiq:pool"

TOKEN_TAG = "elastiq:token"  # noqa: S105 (a name, not a secret)

PAGE_SIZE = 200
"""Instances in a page of DescribeInstances; EC2 gives 1,000 at most. A page of 1,000 costs 40 MB for the moment of its
parsing, and most of that stays with the process; in pages of 200 the whole listing takes less memory and less time."""

MAX_PAGES = 1000

IDS_PER_REQUEST = 1000

MAX_REQUESTS_FOR_ALL = 64
"""So many requests may be spent on finding out which VMs keep the others from being terminated or tagged."""

CONSOLE_LINES = 20

CONSOLE_LINE_CHARACTERS = 200

MAX_STUCK_REQUESTS = 4
"""So many requests may hang beyond their deadline before no further one is sent."""

# Names of what a cloud may refuse, as `refused_features` gives them, and the words that a complaint about it has.
_FEATURE_WORDS = {
    "TagSpecifications": ("tagspecification",),
    "MetadataOptions": ("metadataoption", "httptokens"),
    "InstanceInitiatedShutdownBehavior": ("shutdownbehavior",),
    "MaxResults": ("maxresult",),
    "Filter:tag": ("filter",),
    "Filter:client-token": ("filter",),
}

_INSTANCE_TYPES = "DescribeInstanceTypes"

_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "shutting-down": InstanceState.STOPPING,
    "stopping": InstanceState.STOPPING,
    "stopped": InstanceState.STOPPED,
    "terminated": InstanceState.TERMINATED,
    "error": InstanceState.ERROR,
}

_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Limits:
    """How long a request may take, in seconds."""

    connect_seconds: float = 5.0
    read_seconds: float = 30.0
    """Longest silence within an answer."""
    launch_seconds_per_vm: float = 3.0
    """Added for each VM of a RunInstances: OpenStack launches one after the other, about 2 s each."""
    attempts: int = 3
    """Of requests that may be repeated."""
    deadline_seconds: float = 120.0
    """Of a whole request with all its attempts and pages, however slowly the answer drips."""


class Ec2:
    """Implements `elastiq.ports.Cloud`. Makes no request before the first call.

    `user_data` is what the VMs are given, rendered. A request that hangs beyond its deadline is left behind in a
    thread of its own, and later requests use new connections.
    """

    def __init__(
        self,
        settings: Settings,
        refused_features: frozenset[str] = frozenset(),
        *,
        user_data: bytes = b"",
        limits: Limits | None = None,
    ) -> None:
        self._settings = settings
        self._user_data = user_data
        self._limits = limits or Limits()
        self._refused = set(refused_features)
        self._suspected: set[str] = set()
        self._scrub = Scrubber((settings.aws_secret_access_key, settings.aws_access_key_id), user_data)
        self._clients = ClientMaker(settings, self._limits.connect_seconds)
        self._client: Any = None
        self._stuck: list[threading.Thread] = []
        self._shapes: dict[str, Shape] = {}

    @property
    def refused_features(self) -> frozenset[str]:
        """What this cloud was found to refuse."""
        return frozenset(self._refused)

    @property
    def token_is_lock(self) -> bool:
        """See Cloud. Only AWS is known to hold to it."""
        return is_aws(self._settings)

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        """See Cloud. Without the tag filter, refused or not wanted, the whole account is returned."""
        if everything or not self._settings.cluster_name:
            return self._list()
        return self._list(f"tag:{CLUSTER_TAG}", self._settings.cluster_name)

    def launch(self, pool: Pool, count: int, token: str) -> tuple[Instance, ...]:
        """See Cloud. A parameter that the cloud refuses is left out after a look that nothing was launched."""
        required = self._launch_parameters(pool, count, token)
        tags = [{"ResourceType": "instance", "Tags": self._tags(pool, token)}]
        offered: dict[str, dict[str, Any]] = {"TagSpecifications": {"TagSpecifications": tags}}
        # A worker that powers itself off would otherwise stay, stopped, and be paid for.
        offered["InstanceInitiatedShutdownBehavior"] = {"InstanceInitiatedShutdownBehavior": "terminate"}
        if self._settings.require_imdsv2:
            offered["MetadataOptions"] = {"MetadataOptions": {"HttpTokens": "required", "HttpEndpoint": "enabled"}}
        offered = self._offerable(offered)
        try:
            answer = self._run_instances({**required, **_merged(offered)}, count)
            self._suspected.difference_update(offered)
            repeated = False
        except RequestError as failure:
            suspects = self._suspects(failure, offered)
            if not suspects:
                raise
            if failure.status >= 500 and self._launched(token):
                raise CloudError(
                    "RunInstances: failed and launched VMs nevertheless; will be looked at again"
                ) from failure
            offered = {name: value for name, value in offered.items() if name not in suspects}
            answer = self._run_instances({**required, **_merged(offered)}, count)
            repeated = True
            self._learn(suspects, sure=failure.status < 500 or failure.code == "TypeError")
        instances = {instance.id: instance for instance in self._parsed_launch(answer, token)}
        if repeated or not instances:
            # OpenStack's client token is a look-up, not a lock: an earlier try may have launched as well.
            instances = {**{instance.id: instance for instance in self._launched(token)}, **instances}
        if not instances:
            raise CloudError("RunInstances: answered without any VM; will be looked at again")
        if "TagSpecifications" not in offered:
            self._tag_launched(tuple(instances), pool, token)
        return tuple(instances.values())

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """See Cloud. The states in the answer are not read: OpenStack says running -> running of a VM that goes."""
        return self._for_all("TerminateInstances", "InstanceIds", instance_ids, {})

    def tag(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        """See Cloud. VMs that the cloud no longer knows are no error."""
        self._for_all("CreateTags", "Resources", instance_ids, {"Tags": self._tags(pool, token)})

    def console_tail(self, instance_id: str) -> str:
        """Return the last CONSOLE_LINES lines, printable characters only; "" while the VM has no console."""
        try:
            answer = self._request("GetConsoleOutput", {"InstanceId": instance_id})
        except RequestError as failure:
            if failure.status == 409 or failure.code in ("IncorrectInstanceState", "UnsupportedOperation"):
                return ""
            raise
        # cloud-init prints the commands that it runs. Before long lines are cut, which would spoil the match.
        return _tail(self._scrub.hide(str(answer.get("Output") or "")))

    def capacity(self, pool: Pool) -> Shape:
        """Return vCPUs, memory, instance storage (0 where there is none) and GPUs. Raise CloudError, at once for a
        cloud that has no DescribeInstanceTypes.
        """
        name = pool.instance_type or self._settings.flavour
        if name in self._shapes:
            return self._shapes[name]
        if not name or _INSTANCE_TYPES in self._refused:
            reason = "this cloud describes no instance types" if name else "no flavour is given"
            raise CloudError(f"capacity of a VM of pool {pool.name}: {reason}", CloudFault.CONFIGURATION)
        try:
            answer = self._request(_INSTANCE_TYPES, {"InstanceTypes": [name]})
        except RequestError as failure:
            if failure.code in ("InvalidRequest", "InvalidAction", "UnknownOperation", "UnsupportedOperation"):
                self._learn({_INSTANCE_TYPES}, sure=True)
            raise
        found = [item for item in answer.get("InstanceTypes") or () if item.get("InstanceType", name) == name]
        if not found or not (found[0].get("VCpuInfo") or {}).get("DefaultVCpus"):
            raise CloudError(f"DescribeInstanceTypes: nothing was said of {name}", CloudFault.CONFIGURATION)
        self._shapes[name] = _shape(found[0])
        return self._shapes[name]

    def _launch_parameters(self, pool: Pool, count: int, token: str) -> dict[str, Any]:
        settings = self._settings
        groups = [group for group in settings.security_groups if group.startswith("sg-")]
        group_names = [group for group in settings.security_groups if not group.startswith("sg-")]
        if settings.subnet_id and group_names:
            raise CloudError(
                f"launch: security group {group_names[0]}: with subnet_id, give security_groups by id (sg-...)",
                CloudFault.CONFIGURATION,
            )
        profile = settings.instance_profile
        wanted: dict[str, Any] = {
            "ImageId": settings.image_id,
            "MinCount": 1,
            "MaxCount": count,
            "ClientToken": token,
            "InstanceType": pool.instance_type or settings.flavour,
            "KeyName": settings.key_name,
            "UserData": self._user_data,
            "SecurityGroupIds": groups,
            "SecurityGroups": group_names,
            "SubnetId": settings.subnet_id,
            "IamInstanceProfile": profile and {"Arn" if profile.startswith("arn:") else "Name": profile},
        }
        return {name: value for name, value in wanted.items() if value}

    def _tags(self, pool: Pool, token: str) -> list[dict[str, str]]:
        tags = {
            CLUSTER_TAG: self._settings.cluster_name,
            POOL_TAG: pool.name,
            TOKEN_TAG: token,
            "Name": f"elastiq-{pool.name}",
        }
        return [{"Key": key, "Value": value} for key, value in tags.items()]

    def _run_instances(self, parameters: dict[str, Any], count: int) -> dict[str, Any]:
        """Send RunInstances once, by a client of its own: botocore must not repeat it, for OpenStack answers a refused
        parameter with HTTP 500, and its connection must be fresh, for a broken one leaves the launch in doubt.
        """
        seconds = self._limits.read_seconds + self._limits.launch_seconds_per_vm * count

        def run(_abandoned: threading.Event) -> dict[str, Any]:
            client = self._clients.make(seconds, attempts=1)
            try:
                return dict(client.run_instances(**parameters))
            finally:
                client.close()

        return self._within(seconds + 2 * self._limits.connect_seconds, "RunInstances", run)

    def _parsed_launch(self, answer: Mapping[str, Any], token: str) -> tuple[Instance, ...]:
        made = tuple(_instance(item) for item in answer.get("Instances") or ())
        return tuple(replace(instance, client_token=instance.client_token or token) for instance in made)

    def _launched(self, token: str) -> tuple[Instance, ...]:
        """Return what a listing shows of a launch. Raise CloudError, always uncertain, if it cannot be listed."""
        try:
            listed = self._list("client-token", token)
        except CloudError as error:
            raise CloudError(f"RunInstances: its outcome cannot be looked up: {error}"[:300]) from error
        return tuple(instance for instance in listed if instance.client_token == token)

    def _tag_launched(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        try:
            self.tag(instance_ids, pool, token)
        except CloudError as error:
            logger.warning("%d new VM(s) not tagged yet: %s", len(instance_ids), error)

    def _list(self, filter_name: str = "", filter_value: str = "") -> tuple[Instance, ...]:
        """Return the whole listing; a filter that the cloud refuses is left out."""
        offered: dict[str, dict[str, Any]] = {"MaxResults": {"MaxResults": PAGE_SIZE}}
        if filter_name:
            value = re.sub(r"([*?\\])", r"\\\1", filter_value)
            filters = {"Filters": [{"Name": filter_name, "Values": [value]}]}
            offered[f"Filter:{filter_name.split(':')[0]}"] = filters
        offered = self._offerable(offered)
        try:
            return self._pages(_merged(offered))
        except RequestError as failure:
            if failure.fault is not CloudFault.CONFIGURATION and failure.code != "TypeError":
                raise
            named = {name for name in offered if failure.names_parameter(_FEATURE_WORDS[name])}
            first_failure = failure
        # The refused parameter is not always named: then each is left out alone, and at last all of them.
        trials = [named] if named else [{name} for name in offered] + ([set(offered)] if len(offered) > 1 else [])
        for refused in trials:
            try:
                instances = self._pages(_merged({n: value for n, value in offered.items() if n not in refused}))
            except RequestError as failure:
                if failure.uncertain and failure.code != "TypeError":
                    raise
                continue
            self._learn(refused, sure=True)
            return instances
        raise first_failure

    def _pages(self, parameters: Mapping[str, Any]) -> tuple[Instance, ...]:
        def read(abandoned: threading.Event) -> tuple[Instance, ...]:
            client = self._shared_client()
            instances: dict[str, Instance] = {}
            seen: set[str] = set()
            more: dict[str, str] = {}
            while not abandoned.is_set():
                answer = client.describe_instances(**parameters, **more)
                for instance in _listed(answer):
                    instances[instance.id] = instance
                page = answer.get("NextToken") or ""
                if not page:
                    return tuple(instances.values())
                if page in seen or len(seen) >= MAX_PAGES:
                    raise CloudError("DescribeInstances: the pages of the listing do not end; will be tried again")
                seen.add(page)
                more = {"NextToken": page}
            return ()  # nobody reads it any more

        return self._within(self._limits.deadline_seconds, "DescribeInstances", read)

    def _for_all(
        self, operation: str, member: str, instance_ids: Sequence[str], parameters: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """Send one request for all VMs, and more only if the cloud refuses all of them because of one.

        Return those that were accepted or do not exist. Raise CloudError if there is none.
        """
        unique = list(dict.fromkeys(instance_ids))
        waiting = [unique[i : i + IDS_PER_REQUEST] for i in range(0, len(unique), IDS_PER_REQUEST)]
        accepted: list[str] = []
        failures: list[RequestError] = []
        for _ in range(MAX_REQUESTS_FOR_ALL):
            if not waiting:
                break
            batch = waiting.pop(0)
            try:
                self._request(operation, {member: batch, **parameters}, once=operation == "TerminateInstances")
                accepted += batch
                continue
            except RequestError as failure:
                failures.append(failure)
                if failure.retryable or (failure.fault is CloudFault.CREDENTIALS and not _for_one(failure)):
                    break
                named = [name for name in batch if failure.names_instance(name)]
                gone = [name for name in named or (batch if len(batch) == 1 else ()) if _is_gone(failure, name)]
            accepted += gone
            rest = [name for name in batch if name not in named and name not in gone]
            if named:
                waiting += [rest] if rest else []
            elif len(batch) > 1:
                waiting += [batch[: len(batch) // 2], batch[len(batch) // 2 :]]
        if failures and not accepted:
            raise failures[-1]
        if failures and len(accepted) < len(unique):
            logger.warning("%d of %d VMs: %s", len(unique) - len(accepted), len(unique), failures[-1])
        return tuple(accepted)

    def _request(self, operation: str, parameters: Mapping[str, Any], *, once: bool = False) -> dict[str, Any]:
        """Send a request; with `once` it is never repeated, so that its failure tells what became of it."""
        method = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).lower()

        def run(_abandoned: threading.Event) -> dict[str, Any]:
            client = self._clients.make(self._limits.read_seconds, attempts=1) if once else self._shared_client()
            if not hasattr(client, method):
                message = f"{operation}: is not in api_version {self._settings.api_version}; leave api_version out"
                raise RequestError(message, CloudFault.CONFIGURATION, "InvalidAction")
            return dict(getattr(client, method)(**parameters))

        return self._within(self._limits.deadline_seconds, operation, run)

    def _shared_client(self) -> Any:
        if self._client is None:
            self._client = self._clients.make(self._limits.read_seconds, self._limits.attempts)
        return self._client

    def _within(self, seconds: float, operation: str, work: Callable[[threading.Event], Result]) -> Result:
        """Return what `work` returns, or raise CloudError, within `seconds`.

        Timeouts of sockets count from byte to byte: only another thread can end a wait for an answer that drips. The
        event tells `work` that nobody waits for it any more.
        """
        self._stuck = [thread for thread in self._stuck if thread.is_alive()]
        if len(self._stuck) >= MAX_STUCK_REQUESTS:
            raise RequestError(
                f"{operation}: not sent, {len(self._stuck)} earlier requests still hang; check the api_url",
                CloudFault.UNSENT,
            )
        abandoned = threading.Event()
        results: list[Result] = []
        errors: list[CloudError] = []

        def run() -> None:
            try:
                results.append(work(abandoned))
            except CloudError as error:
                errors.append(error)
            except REQUEST_ERRORS as error:
                errors.append(explain(operation, error, self._scrub))

        thread = threading.Thread(target=run, name=f"elastiq-{operation}", daemon=True)
        thread.start()
        thread.join(seconds)
        if results:
            return results[0]
        if errors:
            if errors[0].fault is CloudFault.CREDENTIALS:
                self._client = None
                self._clients.forget_credentials()
            raise errors[0]
        abandoned.set()
        if not thread.is_alive():
            raise CloudError(f"{operation}: ended without an answer; will be tried again")
        self._stuck.append(thread)
        raise CloudError(f"{operation}: no whole answer within {seconds:.0f} s; will be tried again")

    def _offerable(self, offered: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: value for name, value in offered.items() if name not in self._refused}

    def _suspects(self, failure: RequestError, offered: Iterable[str]) -> set[str]:
        """Return which of the offered features a launch may have failed for."""
        if is_aws(self._settings) or (failure.retryable and failure.status != 500) or failure.code in OUTAGE_CODES:
            return set()
        named = {name for name in offered if failure.names_parameter(_FEATURE_WORDS[name])}
        if named or failure.fault is CloudFault.CAPACITY or failure.fault is CloudFault.THROTTLED:
            return named
        vague = failure.status == 500 or failure.code in ("UnknownParameter", "UnsupportedOperation", "InvalidRequest")
        return set(offered) if vague else set()

    def _learn(self, refused: Iterable[str], *, sure: bool) -> None:
        """Remember what the cloud refused; what is not sure only when it happens for the second time, with no launch
        that took it in between, since the first may have been a passing failure.
        """
        for name in refused:
            if name in self._refused:
                continue
            if sure or name in self._suspected:
                self._refused.add(name)
                logger.warning("this cloud refuses %s: it is served without from now on", name)
            self._suspected.add(name)


def _merged(offered: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {name: value for parameters in offered.values() for name, value in parameters.items()}


def _listed(answer: Mapping[str, Any]) -> tuple[Instance, ...]:
    """Return the instances of one page. Raise CloudError if it is none: an answer without a list is no empty list."""
    if "Reservations" not in answer:
        raise CloudError("DescribeInstances: the answer has no list of reservations; will be tried again")
    instances = []
    for reservation in answer["Reservations"]:
        if "Instances" not in reservation:
            raise CloudError("DescribeInstances: a reservation has no list of instances; will be tried again")
        instances += [_instance(item) for item in reservation["Instances"]]
    return tuple(instances)


def _instance(item: Mapping[str, Any]) -> Instance:
    """Return an instance as botocore gives it. Raise CloudError if it has no id."""
    if not item.get("InstanceId"):
        raise CloudError("an answer names a VM without an id; will be tried again")
    tags = {tag.get("Key"): tag.get("Value") or "" for tag in item.get("Tags") or ()}
    reason = item.get("StateReason") or {}
    # By name, for OpenStack gives a VM in error the code of a pending one. A state that nobody has heard of is alive.
    state = _STATES.get((item.get("State") or {}).get("Name") or "", InstanceState.RUNNING)
    return Instance(
        id=item["InstanceId"],
        state=state,
        address=item.get("PrivateIpAddress") or None,
        name=item.get("PrivateDnsName") or "",
        type=item.get("InstanceType") or "",
        launched_at=_epoch(item.get("LaunchTime") or ""),
        client_token=item.get("ClientToken") or "",
        cluster=tags.get(CLUSTER_TAG, ""),
        pool=tags.get(POOL_TAG, ""),
        detail=_printable(reason.get("Message") or reason.get("Code") or "")[:CONSOLE_LINE_CHARACTERS],
        image_id=item.get("ImageId") or "",
    )


def _epoch(timestamp: str) -> float | None:
    """Return seconds since the epoch of an ISO 8601 time, or None if it is none."""
    try:
        return datetime.fromisoformat(re.sub(r"(?:\.\d*)?Z?$", "+00:00", timestamp, count=1)).timestamp()
    except ValueError:
        return None


def _shape(item: Mapping[str, Any]) -> Shape:
    return Shape(
        cpus=int(item["VCpuInfo"]["DefaultVCpus"]),
        memory_mb=int((item.get("MemoryInfo") or {}).get("SizeInMiB") or 0),
        disk_mb=int((item.get("InstanceStorageInfo") or {}).get("TotalSizeInGB") or 0) * 1000,
        gpus=sum(int(gpu.get("Count") or 0) for gpu in (item.get("GpuInfo") or {}).get("Gpus") or ()),
    )


def _for_one(failure: RequestError) -> bool:
    """Return whether one VM can be the reason of a refused right: rights may depend on the tags of a VM."""
    return failure.code in ("UnauthorizedOperation", "OperationNotPermitted", "AccessDenied", "Forbidden")


def _is_gone(failure: RequestError, instance_id: str) -> bool:
    """Return whether the cloud said of this VM that it does not exist, or that its id cannot exist."""
    if failure.fault is CloudFault.NOT_FOUND:
        return True
    malformed = failure.code == "InvalidInstanceID.Malformed" or failure.code == "InvalidParameterValue"
    return malformed and not _INSTANCE_ID.fullmatch(instance_id)


def _tail(output: str) -> str:
    without_colours = re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_])", "", output)
    lines = [_printable(line).rstrip()[-CONSOLE_LINE_CHARACTERS:] for line in re.split(r"[\r\n]+", without_colours)]
    return "\n".join([line for line in lines if line][-CONSOLE_LINES:])


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)
