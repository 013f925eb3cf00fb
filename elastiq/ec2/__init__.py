"""The real Cloud: EC2 of AWS, and clouds that speak its dialects. What OpenStack does differently was measured on
ec2-api 17.0.0; the comments below name those differences.

This room alone knows botocore, some of its inner parts included (see client.py). boto3 is what elastiq requires, for
that is the package that brings botocore, and never imported: it is a layer of objects over botocore that nothing here
needs, and it would load the whole description of EC2.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from elastiq.config import Settings
from elastiq.ec2 import answers
from elastiq.ec2.client import ClientMaker, is_aws
from elastiq.ec2.errors import REQUEST_ERRORS, RequestError, explain
from elastiq.ec2.features import INSTANCE_TYPES, Features, Offered, named, parameters
from elastiq.errors import CloudError, CloudFault
from elastiq.model import Instance, Pool, Shape
from elastiq.redaction import Redactor

logger = logging.getLogger("elastiq.ec2")

PAGE_SIZE = 200
"""Instances in a page of DescribeInstances; EC2 gives 1,000 at most. A page of 1,000 costs 40 MB for the moment of its
parsing, and most of that stays with the process; in pages of 200 the whole listing takes less memory and less time."""

MAX_PAGES = 1000

IDS_PER_REQUEST = 1000

MAX_REQUESTS_FOR_ALL = 64
"""So many requests may be spent on finding out which VMs keep the others from being terminated or tagged."""

MAX_STUCK_REQUESTS = 4
"""So many requests may hang beyond their deadline before no further one is sent."""

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
        redactor: Redactor | None = None,
    ) -> None:
        self._settings = settings
        self._user_data = user_data
        self._limits = limits or Limits()
        self._features = Features(refused_features, takes_all=is_aws(settings.ec2))
        self._redactor = redactor or Redactor()
        self._redactor.add((settings.ec2.aws_secret_access_key, settings.ec2.aws_access_key_id), (user_data,))
        self._clients = ClientMaker(settings, self._limits.connect_seconds)
        self._client: Any = None
        self._stuck: list[threading.Thread] = []
        self._shapes: dict[str, Shape] = {}

    @property
    def refused_features(self) -> frozenset[str]:
        """What this cloud was found to refuse."""
        return self._features.refused

    @property
    def token_is_lock(self) -> bool:
        """See Cloud. Only AWS is known to hold to it."""
        return is_aws(self._settings.ec2)

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        """See Cloud. Without the filter, refused or not wanted, the whole account is returned."""
        cluster = self._settings.elastiq.cluster_name
        if everything or not cluster:
            return self._list()
        if is_aws(self._settings.ec2):
            return self._list(f"tag:{answers.CLUSTER_TAG}", cluster)
        # OpenStack reads `tag:elastiq:cluster` to its second colon only, and finds nothing.
        return tuple(i for i in self._list("tag-key", answers.CLUSTER_TAG) if i.cluster in (cluster, ""))

    def launch(self, pool: Pool, count: int, token: str) -> tuple[Instance, ...]:
        """See Cloud. A parameter that the cloud refuses is left out after a look that nothing was launched."""
        required = self._launch_parameters(pool, count, token)
        tags = [{"ResourceType": "instance", "Tags": self._tags(pool, token)}]
        offered: Offered = {"TagSpecifications": {"TagSpecifications": tags}}
        # A worker that powers itself off would otherwise stay, stopped, and be paid for.
        offered["InstanceInitiatedShutdownBehavior"] = {"InstanceInitiatedShutdownBehavior": "terminate"}
        ec2 = self._settings.ec2
        metadata = {"HttpTokens": "required", "HttpEndpoint": "enabled"} if ec2.require_imdsv2 else {}
        hops = {} if ec2.imdsv2_hop_limit is None else {"HttpPutResponseHopLimit": ec2.imdsv2_hop_limit}
        if metadata or hops:
            offered["MetadataOptions"] = {"MetadataOptions": {**metadata, **hops}}
        offered = self._features.offerable(offered)
        try:
            answer = self._run_instances({**required, **parameters(offered)}, count)
            self._features.took(offered)
            repeated = False
        except RequestError as failure:
            suspects = self._features.suspects(failure, offered)
            if not suspects:
                raise
            if failure.status >= 500 and self._launched(token):
                raise CloudError(
                    "RunInstances: failed and launched VMs nevertheless; will be looked at again"
                ) from failure
            offered = {name: value for name, value in offered.items() if name not in suspects}
            answer = self._run_instances({**required, **parameters(offered)}, count)
            repeated = True
            self._features.learn(suspects, sure=failure.status < 500 or failure.code == "TypeError")
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
        return answers.console_tail(str(answer.get("Output") or ""), self._redactor)

    def capacity(self, pool: Pool) -> Shape:
        """Return vCPUs, memory, instance storage (0 where there is none) and GPUs. Raise CloudError, at once for a
        cloud that has no DescribeInstanceTypes.
        """
        name = pool.instance_type or self._settings.ec2.flavour
        if name in self._shapes:
            return self._shapes[name]
        if not name or INSTANCE_TYPES in self._features.refused:
            reason = "this cloud describes no instance types" if name else "no flavour is given"
            raise CloudError(f"capacity of a VM of pool {pool.name}: {reason}", CloudFault.CONFIGURATION)
        try:
            answer = self._request(INSTANCE_TYPES, {"InstanceTypes": [name]})
        except RequestError as failure:
            if failure.code in ("InvalidRequest", "InvalidAction", "UnknownOperation", "UnsupportedOperation"):
                self._features.learn({INSTANCE_TYPES}, sure=True)
            raise
        found = [item for item in answer.get("InstanceTypes") or () if item.get("InstanceType", name) == name]
        if not found or not (found[0].get("VCpuInfo") or {}).get("DefaultVCpus"):
            raise CloudError(f"DescribeInstanceTypes: nothing was said of {name}", CloudFault.CONFIGURATION)
        self._shapes[name] = answers.shape(found[0])
        return self._shapes[name]

    def _launch_parameters(self, pool: Pool, count: int, token: str) -> dict[str, Any]:
        options = self._settings.ec2
        groups = [group for group in options.security_groups if group.startswith("sg-")]
        group_names = [group for group in options.security_groups if not group.startswith("sg-")]
        if options.subnet_id and group_names:
            raise CloudError(
                f"launch: security group {group_names[0]}: with subnet_id, give security_groups by id (sg-...)",
                CloudFault.CONFIGURATION,
            )
        profile = options.instance_profile
        wanted: dict[str, Any] = {
            "ImageId": options.image_id,
            "MinCount": 1,
            "MaxCount": count,
            "ClientToken": token,
            "InstanceType": pool.instance_type or options.flavour,
            "KeyName": options.key_name,
            "UserData": self._user_data,
            "SecurityGroupIds": groups,
            "SecurityGroups": group_names,
            "SubnetId": options.subnet_id,
            "IamInstanceProfile": profile and {"Arn" if profile.startswith("arn:") else "Name": profile},
        }
        return {name: value for name, value in wanted.items() if value}

    def _tags(self, pool: Pool, token: str) -> list[dict[str, str]]:
        tags = {
            answers.CLUSTER_TAG: self._settings.elastiq.cluster_name,
            answers.POOL_TAG: pool.name,
            answers.TOKEN_TAG: token,
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
        made = tuple(answers.instance_of(item, self._redactor) for item in answer.get("Instances") or ())
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
        offered: Offered = {"MaxResults": {"MaxResults": PAGE_SIZE}}
        if filter_name:
            value = re.sub(r"([*?\\])", r"\\\1", filter_value)
            filters = {"Filters": [{"Name": filter_name, "Values": [value]}]}
            offered["Filter:client-token" if filter_name == "client-token" else "Filter:tag"] = filters
        offered = self._features.offerable(offered)
        try:
            return self._pages(parameters(offered))
        except RequestError as failure:
            if failure.fault is not CloudFault.CONFIGURATION and failure.code != "TypeError":
                raise
            suspects = named(failure, offered)
            first_failure = failure
        # The refused parameter is not always named: then each is left out alone, and at last all of them.
        trials = [suspects] if suspects else [{name} for name in offered] + ([set(offered)] if len(offered) > 1 else [])
        for refused in trials:
            try:
                instances = self._pages(parameters({n: value for n, value in offered.items() if n not in refused}))
            except RequestError as failure:
                if failure.uncertain and failure.code != "TypeError":
                    raise
                continue
            self._features.learn(refused, sure=True)
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
                for instance in answers.listed(answer, self._redactor):
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
                if failure.retryable or (failure.fault is CloudFault.CREDENTIALS and not failure.may_be_of_one_vm):
                    break
                named = [name for name in batch if failure.names_instance(name)]
                gone = [name for name in named or (batch if len(batch) == 1 else ()) if failure.says_gone(name)]
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
                message = f"{operation}: is not in api_version {self._settings.ec2.api_version}; leave api_version out"
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

        The lane's own thread is not enough. A lane knows of calls and not of their requests: a launch may be two of
        RunInstances, three listings and a tagging, so the lane would have to grant it 450 s, in which a dripping answer
        keeps every VM from being terminated (44 s this way), and a call that it left behind would go on with its next
        request, such as another RunInstances, whenever the answer came after all.
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
                errors.append(explain(operation, error, self._redactor))

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
