"""The real Cloud: EC2 of AWS, and clouds that speak its dialects. What OpenStack does differently was measured on
ec2-api 17.0.0; the comments below name those differences.

This room alone knows botocore, some of its inner parts included (see client.py). boto3 is what elastiq requires, for
that is the package that brings botocore, and never imported: it is a layer of objects over botocore that nothing here
needs, and it would load the whole description of EC2.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from elastiq.config import Settings
from elastiq.ec2 import answers, prices, requests
from elastiq.ec2.errors import RequestError
from elastiq.ec2.features import API_VERSION, INSTANCE_TYPES, Features, Offered, Search, named, parameters
from elastiq.ec2.jointoken import JoinTokens
from elastiq.ec2.sending import Deadline, Limits, Repeat, Send, Sender, Sleeper
from elastiq.errors import CloudError, CloudFault
from elastiq.model import Instance, Pool, Shape
from elastiq.redaction import Redactor

__all__ = ["Ec2", "Limits"]

logger = logging.getLogger("elastiq.ec2")

PAGE_SIZE = 200
"""Instances in a page of DescribeInstances; EC2 gives 1,000 at most. A page of 1,000 costs 40 MB for the moment of its
parsing, and most of that stays with the process; in pages of 200 the whole listing takes less memory and less time."""

MAX_PAGES = 1000

LONGEST_PAGE_TOKEN = 10_000
"""Characters; all that came are kept until the listing ends."""

MOST_INSTANCES = 20_000
"""In a listing. More of them are no listing that the daemon has memory for."""

IDS_PER_REQUEST = 1000

MAX_REQUESTS_FOR_ALL = 64
"""So many requests may be spent on finding out which VMs keep the others from being terminated or tagged."""

TAG_SECONDS = 20.0
"""How long a launch that cannot take tags tries to put them on at its end: its answer waits for that, and tags that are
missing are put on later."""

AWS_SECONDS = 30.0
"""The longest silence of AWS: an answer that it has not given by then is lost, and it is safe to ask again."""

_NO_SUCH_OPERATION = ("InvalidRequest", "InvalidAction", "UnknownOperation", "UnsupportedOperation")

MAX_LAUNCH_REQUESTS = 32
"""So many requests of RunInstances may be sent for one launch, if its deadline leaves time for them."""


class Ec2:
    """Implements `elastiq.ports.Cloud`. Makes no request before the first call.

    `user_data` is what the VMs of each pool are given, rendered; `clock` and `uniform` make the pauses between tries.
    Questions, launches and other acts may be called at the same time, each in a thread of its own.
    """

    def __init__(
        self,
        settings: Settings,
        refused_features: frozenset[str] = frozenset(),
        *,
        user_data: Mapping[str, bytes] | None = None,
        limits: Limits | None = None,
        redactor: Redactor | None = None,
        clock: Sleeper | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings = settings
        self._user_data = user_data or {}
        self._features = Features(refused_features, takes_all=settings.ec2.is_aws)
        self._redactor = redactor or Redactor()
        self._redactor.add(
            (settings.ec2.aws_secret_access_key, settings.ec2.aws_access_key_id), self._user_data.values()
        )
        self._join_tokens = JoinTokens(settings, self._user_data, self._redactor)
        quick = Limits(read_seconds=AWS_SECONDS, terminate_seconds=AWS_SECONDS, launch_seconds=AWS_SECONDS)
        usual = quick if settings.ec2.is_aws else Limits()
        self._sender = Sender(settings, limits or usual, self._redactor, clock, uniform)
        self._shapes: dict[str, Shape] = {}

    @property
    def _limits(self) -> Limits:
        return self._sender.limits

    @property
    def refused_features(self) -> frozenset[str]:
        """What this cloud was found to refuse."""
        return self._features.refused

    @property
    def token_is_lock(self) -> bool:
        """See Cloud. Only AWS is known to hold to it."""
        return self._settings.ec2.is_aws

    def list_instances(self, *, everything: bool) -> tuple[Instance, ...]:
        """See Cloud. Without the filter, refused or not wanted, the whole account is returned."""
        if self._sender.clients.note:
            self._features.note(API_VERSION, self._sender.clients.note)
        cluster = self._settings.elastiq.cluster_name
        if everything or not cluster:
            return self._list()
        if self._settings.ec2.is_aws:
            return self._list(f"tag:{answers.CLUSTER_TAG}", cluster)
        # OpenStack reads `tag:elastiq:cluster` to its second colon only, and finds nothing.
        return tuple(i for i in self._list("tag-key", answers.CLUSTER_TAG) if i.cluster in (cluster, ""))

    def launch(self, pool: Pool, count: int, token: str, at_least: int = 1) -> tuple[Instance, ...]:
        """See Cloud. A parameter that the cloud refuses is left out after a look that nothing was launched."""
        user_data = self._join_tokens.user_data(pool.name, token)
        required = requests.required(self._settings, user_data, pool, count, token, at_least)
        offered = self._features.offerable(requests.offered(self._settings, pool, token))
        search, deadline = Search(self._features, offered), self._sender.deadline(self._limits.of_launch(count))
        answer, tries = self._tried(required, search, deadline, token)
        instances = {instance.id: instance for instance in self._parsed_launch(answer, token)}
        if tries > 1 or not instances:
            # OpenStack's client token is a look-up, not a lock: an earlier try may have launched as well.
            instances = {**{instance.id: instance for instance in self._launched(token)}, **instances}
        if not instances:
            raise CloudError("RunInstances: answered without any VM; will be looked at again")
        if "TagSpecifications" not in search.kept:
            self._tag_launched(tuple(instances), pool, token)
        return tuple(instances.values())

    def _tried(
        self, required: dict[str, Any], search: Search, deadline: Deadline, token: str
    ) -> tuple[dict[str, Any], int]:
        """Return the answer to RunInstances, and how many requests it took. A request that may have launched is sent
        again only after a look that it has not.
        """
        in_doubt = False
        for tries in range(1, MAX_LAUNCH_REQUESTS + 1):
            seconds_left = deadline.seconds_left
            try:
                answer = self._run_instances({**required, **parameters(search.kept)}, seconds_left)
            except RequestError as failure:
                # The next try may take as long, and then has to launch.
                needed = max(self._limits.read_seconds, 2 * (seconds_left - deadline.seconds_left))
                is_narrowed = search.narrow(failure)
                again = is_narrowed or (failure.is_busy and deadline.pause())
                in_doubt = in_doubt or failure.is_busy
                if (failure.status >= 500 and again) or (in_doubt and not failure.uncertain):
                    self._look(token, failure)
                if is_narrowed and deadline.seconds_left < needed:
                    slow = "RunInstances: the cloud takes long to say which parameters it refuses"
                    raise CloudError(f"{slow}; gone on with in the next launch", CloudFault.BUSY) from failure
                if not again or tries == MAX_LAUNCH_REQUESTS or deadline.seconds_left < self._limits.read_seconds:
                    raise
            else:
                search.succeeded()
                return answer, tries
        raise AssertionError("the last try returns or raises")

    def _look(self, token: str, failure: RequestError) -> None:
        """Raise CloudError, always uncertain, unless a listing shows that a failed launch made nothing."""
        if self._launched(token):
            raise CloudError("RunInstances: failed and launched VMs nevertheless; will be looked at again") from failure

    def terminate(self, instance_ids: Sequence[str]) -> tuple[str, ...]:
        """See Cloud. The states in the answer are not read: OpenStack says running -> running of a VM that goes."""
        silence = self._limits.terminate_seconds
        seconds = max(silence + 2 * self._limits.connect_seconds, self._limits.deadline_seconds)
        return self._for_all("TerminateInstances", "InstanceIds", instance_ids, {}, seconds, silence)

    def tag(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        """See Cloud. VMs that the cloud no longer knows are no error."""
        self._put_tags(instance_ids, pool, token, self._limits.deadline_seconds)

    def console_tail(self, instance_id: str) -> str:
        """Return the last CONSOLE_LINES lines, printable characters only; "" while the VM has no console."""
        try:
            answer = self._sender.ask("GetConsoleOutput", {"InstanceId": instance_id})
        except RequestError as failure:
            if failure.status == 409 or failure.code in ("IncorrectInstanceState", "UnsupportedOperation"):
                return ""
            raise
        return answers.console_tail(str(answer.get("Output") or ""), self._redactor)

    def capacity(self, pool: Pool) -> Shape:
        """Return vCPUs, memory, instance storage (0 where there is none) and GPUs. Raise CloudError, at once for a
        cloud that has no DescribeInstanceTypes.
        """
        name = pool.instance_type or self._settings.vm_options(pool.name).flavour
        if name in self._shapes:
            return self._shapes[name]
        undescribed = CloudError("it describes no instance types", CloudFault.CONFIGURATION)
        if not name:
            raise CloudError(f"no flavour is given for pool {pool.name}", CloudFault.CONFIGURATION)
        if INSTANCE_TYPES in self._features.refused:
            raise undescribed
        try:
            answer = self._sender.ask(INSTANCE_TYPES, {"InstanceTypes": [name]})
        except RequestError as failure:
            if failure.code in _NO_SUCH_OPERATION:
                self._features.learn({INSTANCE_TYPES})
                if failure.status:  # or it was never asked, for a reason that is worth reading
                    raise undescribed from failure
            raise
        found = [item for item in answer.get("InstanceTypes") or () if item.get("InstanceType", name) == name]
        if not found or not (found[0].get("VCpuInfo") or {}).get("DefaultVCpus"):
            raise CloudError(f"DescribeInstanceTypes: nothing was said of {name}", CloudFault.CONFIGURATION)
        self._shapes[name] = answers.shape(found[0])
        return self._shapes[name]

    def spot_prices(self, types: Sequence[str], now: float) -> dict[tuple[str, str], float]:
        """See Cloud. Raise CloudError, at once for a cloud that has no DescribeSpotPriceHistory."""
        if prices.SPOT_PRICES in self._features.refused:
            raise CloudError("it tells no prices of the spot market", CloudFault.CONFIGURATION)
        try:
            answer = self._sender.ask(prices.SPOT_PRICES, prices.question(types, now))
        except RequestError as failure:
            if failure.code in _NO_SUCH_OPERATION:
                self._features.learn({prices.SPOT_PRICES})
            raise
        return prices.spot_prices(answer)

    def _run_instances(self, parameters: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Send RunInstances, and again only while that is sure to have launched nothing, or to launch nothing twice."""
        repeat = Repeat.IDEMPOTENT if self.token_is_lock else Repeat.NEVER
        return self._sender.converse(
            "RunInstances",
            lambda send: send(parameters),
            repeat,
            seconds=seconds + 2 * self._limits.connect_seconds,
            read_seconds=seconds,
            asked=requests.asked(parameters),
        )

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

    def _put_tags(self, instance_ids: Sequence[str], pool: Pool, token: str, seconds: float) -> None:
        self._for_all(
            "CreateTags", "Resources", instance_ids, {"Tags": requests.tags(self._settings, pool, token)}, seconds
        )

    def _tag_launched(self, instance_ids: Sequence[str], pool: Pool, token: str) -> None:
        try:
            self._put_tags(instance_ids, pool, token, TAG_SECONDS)
        except CloudError as error:
            level = logging.INFO if error.retryable else logging.WARNING  # a slow cloud is not a broken one
            logger.log(level, "%d new VM(s) not tagged yet: %s", len(instance_ids), error)

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
            is_refusal = failure.fault is CloudFault.CONFIGURATION or failure.code == "TypeError"
            if not is_refusal or failure.is_foreign:
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
            self._features.learn(refused)
            return instances
        raise first_failure

    def _pages(self, parameters: Mapping[str, Any]) -> tuple[Instance, ...]:
        def read(send: Send) -> tuple[Instance, ...]:
            instances: dict[str, Instance] = {}
            seen: set[str] = set()
            more: dict[str, str] = {}
            while True:
                answer = send({**parameters, **more})
                for instance in answers.listed(answer, self._redactor):
                    instances[instance.id] = instance
                if len(instances) > MOST_INSTANCES:
                    raise CloudError(f"DescribeInstances: more than {MOST_INSTANCES} VMs; will be tried again")
                page = answer.get("NextToken") or ""
                if not page:
                    return tuple(instances.values())
                if page in seen or len(seen) >= MAX_PAGES or len(page) > LONGEST_PAGE_TOKEN:
                    raise CloudError("DescribeInstances: the pages of the listing do not end; will be tried again")
                seen.add(page)
                more = {"NextToken": page}

        return self._sender.converse("DescribeInstances", read)

    def _for_all(
        self,
        operation: str,
        member: str,
        instance_ids: Sequence[str],
        parameters: Mapping[str, Any],
        seconds: float,
        read_seconds: float | None = None,
    ) -> tuple[str, ...]:
        """Send one request for all VMs, and more only if the cloud refuses all of them because of one.

        Return those that were accepted or do not exist. Raise CloudError if there is none.
        """
        unique = list(dict.fromkeys(instance_ids))
        waiting = [unique[i : i + IDS_PER_REQUEST] for i in range(0, len(unique), IDS_PER_REQUEST)]
        # Tags may be put on twice, after any failure; of a termination it must be known what became of it.
        repeat = Repeat.IDEMPOTENT if operation == "TerminateInstances" else Repeat.QUESTION
        accepted: list[str] = []
        failures: list[RequestError] = []
        for _ in range(MAX_REQUESTS_FOR_ALL):
            if not waiting:
                break
            batch = waiting.pop(0)
            try:
                asked = {member: batch, **parameters}
                self._sender.ask(operation, asked, repeat, seconds=seconds, read_seconds=read_seconds)
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
