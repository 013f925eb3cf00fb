"""What a cloud would refuse of all that the daemon can ask of it, found out without launching or ending anything.

The rule: nothing is sent that would change anything if the cloud carried it out. What would is sent as a DryRun, and
only to clouds that honour it: AWS, which is documented to, or one that has answered DryRunOperation to a RunInstances
of no VM at all. Other clouds (OpenStack's ec2-api refuses DryRun or does not know it) are asked questions alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from elastiq.config import Settings
from elastiq.ec2 import Ec2, prices, requests
from elastiq.ec2.client import OPERATIONS, QUESTIONS_OF_CHECK
from elastiq.ec2.errors import RequestError
from elastiq.ec2.features import Offered, named, parameters
from elastiq.ec2.lookups import ImageStateError, Lookup, NotThereError, values_of
from elastiq.ec2.sending import Limits, Repeat, Sender, Sleeper
from elastiq.errors import CloudError, CloudFault
from elastiq.model import Instance, InstanceState, Offer, Pool
from elastiq.planning.prices import types_without
from elastiq.redaction import Redactor
from elastiq.text import shown

LIMITS = Limits(read_seconds=20.0, attempts=2, deadline_seconds=45.0)
"""Somebody sits before it and waits."""

TOTAL_SECONDS = 180.0
"""What has not been asked by then cannot be checked."""

CLIENT_NAME = "elastiq-check-cloud"
"""The client token of launches that are none."""

_HONOURED = "DryRunOperation"
"""The code by which a cloud says that it would have done what a DryRun asks for."""

_NO_SUCH_OPERATION = ("InvalidRequest", "InvalidAction", "UnknownOperation", "UnsupportedOperation")

_IN_PLACE_OF = {
    "flavour": ("instance_types",),
    "subnet_id": ("subnets", "zones"),
    "user_data_file": ("user_data_b64",),
}
"""Which other options may have said what the cloud refuses."""

_HARM = "not asked, for the cloud has carried out a DryRun before"

_NO_LAUNCH = {"ImageId": "ami-00000000", "InstanceType": "no.such", "MinCount": 0, "MaxCount": 0}

_MOST_SHOWN = 300

_BY_TAG = (
    "refused of a VM that does not exist, as it is too where rights go by tag (docs/iam.md), and there is no VM of "
    "elastiq's to ask of without harm"
)


class Answer(Enum):
    """What was found out of one thing."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "cannot be checked"


@dataclass(frozen=True)
class Finding:
    """What was found out of one request, or of one value of the configuration."""

    answer: Answer
    about: str
    """The operation of EC2, or the option with its value."""
    text: str = ""
    """Why, without secrets."""
    right: str = ""
    """The right that is missing, or may be."""
    pool: str = ""
    options: tuple[str, ...] = ()
    """The options that are to be mended, the likeliest first; of `pool`."""


class Trial:
    """Asks one cloud; `findings` is to be called once."""

    def __init__(
        self,
        settings: Settings,
        user_data: Mapping[str, bytes],
        redactor: Redactor,
        *,
        limits: Limits = LIMITS,
        clock: Sleeper | None = None,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._settings = settings
        self._user_data = user_data
        self._redactor = redactor
        redactor.add((settings.ec2.aws_secret_access_key, settings.ec2.aws_access_key_id), user_data.values())
        self._cloud = Ec2(settings, user_data=user_data, limits=limits, redactor=redactor, clock=clock)
        self._sender = Sender(settings, limits, redactor, clock, operations=OPERATIONS | QUESTIONS_OF_CHECK)
        self._deadline = self._sender.deadline(total_seconds)
        self._is_aws = settings.ec2.is_aws
        self._own: tuple[Instance, ...] = ()
        self._launches_are_good = False
        self._no_launch = False
        """Whether no DryRun of a launch was sent for the pools."""
        self.is_reachable = True
        """False when nothing was found out, for the cloud did not answer."""
        self.dry_run_harm = False
        """Whether a DryRun was carried out, against all that was known; nothing of the kind is sent after that."""

    def findings(self) -> Iterator[Finding]:
        """Yield what is found out, as it is. Never raises CloudError."""
        try:
            self._own = self._cloud.list_instances(everything=False)
            yield Finding(Answer.OK, "DescribeInstances")
        except CloudError as failure:
            self.is_reachable = not failure.retryable and failure.fault is not CloudFault.BUSY
            found = self._failed("DescribeInstances", failure)
            if not found.right and found.answer is Answer.REFUSED:
                keys = failure.fault is CloudFault.CREDENTIALS
                found = replace(found, options=("aws_access_key_id",) if keys else ("api_url", "region"))
            yield found
            if not (isinstance(failure, RequestError) and failure.is_missing_right):
                return
        why_not = self._why_no_dry_run()
        launches = list(self._launches(why_not))
        yield from launches
        self._launches_are_good = all(one.answer is Answer.OK for one in launches)
        yield from self._values()
        yield from self._acts(why_not)
        types = types_without(self._settings.policy()) if self._settings.takes_spot_prices else ()
        if types:
            yield self._spot_prices(types)
        yield self._quota()

    def _why_no_dry_run(self) -> str:
        """Return why no DryRun may be sent; "" if the cloud knows it."""
        try:
            self._dry("DescribeInstances", {})
        except RequestError as failure:
            if failure.code == _HONOURED or (failure.is_missing_right and self._is_aws):
                return ""
            if failure.retryable and failure.status != 500:
                return self._brief(failure)
            return f"the cloud has no DryRun that can be relied on: {_answered(failure, 'DescribeInstances')}"
        except CloudError as failure:
            return self._brief(failure)
        return "the cloud ignores DryRun"

    def _tried_without_vms(self) -> Finding | None:
        """Return why no DryRun of a launch may be sent to a cloud that knows DryRun of questions; None if it may.

        It is asked for no VM, of an image and a type that do not exist: if it carries that out, nothing comes of it.
        """
        about = "RunInstances"
        try:
            self._dry(about, _NO_LAUNCH)
        except RequestError as failure:
            if failure.code == _HONOURED:
                return None
            if failure.is_missing_right:  # perhaps only for this image: nothing more is known of DryRun
                return self._failed(about, failure)
            text = f"whether the cloud heeds DryRun of a launch is not sure: {_answered(failure, about)}"
            return Finding(Answer.UNKNOWN, about, text)
        except CloudError as failure:
            return self._failed(about, failure)
        return Finding(Answer.UNKNOWN, about, "the cloud ignores DryRun of a launch")

    def _launches(self, why_not: str) -> Iterator[Finding]:
        """Yield what would become of a launch of one VM of each pool and offer."""
        obstacle = Finding(Answer.UNKNOWN, "RunInstances", why_not) if why_not else None
        if obstacle is None and not self._is_aws:
            obstacle = self._tried_without_vms()
        if obstacle is not None:
            self._no_launch = True
            yield obstacle
            return
        for pool in (one.pool() for one in self._settings.pools):
            for offer in pool.offers or (None,):
                about = f"RunInstances for pool {pool.name}{_words(offer)}"
                if self.dry_run_harm:
                    yield Finding(Answer.UNKNOWN, about, _HARM)
                else:
                    yield self._launch(pool.at(offer) if offer else pool, about)

    def _launch(self, pool: Pool, about: str) -> Finding:
        try:
            required = requests.required(self._settings, self._user_data.get(pool.name, b""), pool, 1, CLIENT_NAME)
        except CloudError as failure:
            return Finding(Answer.REFUSED, about, str(failure), pool=pool.name, options=("security_groups",))
        offered: Offered = requests.offered(self._settings, pool, CLIENT_NAME)
        while True:
            try:
                answer = self._dry("RunInstances", {**required, **parameters(offered)})
            except RequestError as failure:
                refused = set() if self._is_aws else named(failure, offered)
                if not refused or failure.code == _HONOURED:
                    return self._failed("RunInstances", failure, about, pool.name)
                # As the daemon does: it launches without what a cloud does not know.
                offered = {name: value for name, value in offered.items() if name not in refused}
            except CloudError as failure:
                return self._failed("RunInstances", failure, about, pool.name)
            else:
                self.dry_run_harm = True
                made = ", ".join(str(one.get("InstanceId")) for one in answer.get("Instances") or ())
                text = f"the cloud launched in spite of DryRun: terminate {self._redactor.brief(made, 100)}"
                return Finding(Answer.REFUSED, about, text)

    def _values(self) -> Iterator[Finding]:
        """Yield whether the cloud knows what the options name."""
        known: dict[tuple[str, str], Finding] = {}
        said: set[tuple[str, str, str]] = set()
        for pool in (one.pool() for one in self._settings.pools):
            for lookup, value in values_of(self._settings, pool):
                place = self._settings.place_of(pool.name, lookup.options)
                if (lookup.about, value, place) in said:
                    continue
                said.add((lookup.about, value, place))
                if (lookup.about, value) not in known:
                    known[lookup.about, value] = self._looked_up(lookup, value, pool.name)
                found = known[lookup.about, value]
                if found.answer is Answer.UNKNOWN and self._launches_are_good and lookup.operation not in OPERATIONS:
                    continue  # the launch named it, and was good
                yield Finding(found.answer, found.about, found.text, found.right, pool.name, found.options)
            profile = self._settings.vm_options(pool.name).instance_profile
            if profile and self._no_launch and ("", profile, "") not in said:
                said.add(("", profile, ""))
                about = f"instance_profile {self._shown(profile)}"
                yield Finding(Answer.UNKNOWN, about, "only a DryRun of a launch tells", pool=pool.name)

    def _looked_up(self, lookup: Lookup, value: str, pool: str) -> Finding:
        about = f"{lookup.about} {self._shown(value)}"
        try:
            lookup.check(self._ask(lookup.operation, lookup.parameters(value)), value)
        except (NotThereError, ImageStateError) as problem:
            return Finding(Answer.REFUSED, about, str(problem), pool=pool, options=lookup.options)
        except RequestError as failure:
            if failure.code in _NO_SUCH_OPERATION:
                return Finding(Answer.UNKNOWN, about, f"the cloud has no {lookup.operation}", pool=pool)
            if failure.is_missing_right and lookup.operation not in OPERATIONS:
                text = f"it needs the right ec2:{lookup.operation}, which elastiq does without otherwise"
                return Finding(Answer.UNKNOWN, about, text, pool=pool)
            found = self._failed(lookup.operation, failure, about, pool)
            options = () if failure.is_missing_right else lookup.options
            return Finding(found.answer, about, found.text, found.right, pool, options)
        except CloudError as failure:
            return self._failed(lookup.operation, failure, about, pool)
        return Finding(Answer.OK, about, pool=pool)

    def _acts(self, why_not: str) -> Iterator[Finding]:
        """Yield what would become of requests about single VMs. They name one that cannot exist, or, where rights may
        go by tag, one that has ended: nothing can happen to either.
        """
        nobody = "i-00000000000000000" if self._is_aws else "i-00000000"
        ended = next((one.id for one in self._own if one.state is InstanceState.TERMINATED), "")
        tags = {"Tags": requests.tags(self._settings, self._settings.pools[0].pool(), CLIENT_NAME)}
        acts: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("TerminateInstances", "InstanceIds", {}),
            ("CreateTags", "Resources", tags),
        )
        for operation, member, more in acts:
            if why_not or self.dry_run_harm:
                yield Finding(Answer.UNKNOWN, operation, "only a DryRun tells" if why_not else _HARM)
                continue
            found = self._act(operation, {member: [nobody], **more}, dry=True)
            if found.right and self._is_aws:
                # A tag would be put on an ended VM if it came to that; a launch is tagged by itself.
                can_ask = ended and operation == "TerminateInstances"
                found = self._act(operation, {member: [ended]}, dry=True) if can_ask else self._by_tag(found)
            yield found
        some = next((one.id for one in self._own), "")
        found = self._act("GetConsoleOutput", {"InstanceId": nobody}, dry=False)
        if found.right and self._is_aws:
            found = self._act("GetConsoleOutput", {"InstanceId": some}, dry=False) if some else self._by_tag(found)
        yield found

    def _act(self, operation: str, asked: dict[str, Any], *, dry: bool) -> Finding:
        try:
            if dry:
                self._dry(operation, asked)
                return Finding(Answer.UNKNOWN, operation, "the cloud ignores DryRun of it")
            self._ask(operation, asked)
        except RequestError as failure:
            vm = next(iter(asked.get("InstanceIds") or asked.get("Resources") or [asked.get("InstanceId", "")]))
            if failure.says_gone(vm) or failure.code == "IncorrectInstanceState" or failure.status == 409:
                return Finding(Answer.OK, operation)
            return self._failed(operation, failure)
        except CloudError as failure:
            return self._failed(operation, failure)
        return Finding(Answer.OK, operation)

    def _by_tag(self, found: Finding) -> Finding:
        text = f"the right {found.right}: {_BY_TAG}"
        if found.about == "CreateTags":
            text = f"{text}; launches are tagged by themselves, so only VMs without tags are in want of it"
        return Finding(Answer.UNKNOWN, found.about, text, found.right)

    def _spot_prices(self, types: Sequence[str]) -> Finding:
        about = prices.SPOT_PRICES
        try:
            self._ask(about, prices.question(types, self._deadline.clock.now()))
        except RequestError as failure:
            right = f"ec2:{about}"
            if not failure.is_missing_right:
                return Finding(Answer.UNKNOWN, about, self._brief(failure))
            text = f"it needs the right {right}, without which what spot costs is not known; see docs/iam.md"
            return Finding(Answer.UNKNOWN, about, text, right)
        except CloudError as failure:
            return Finding(Answer.UNKNOWN, about, self._brief(failure))
        return Finding(Answer.OK, about)

    def _quota(self) -> Finding:
        """Return whether the cloud's limit on VMs lets there be as many as elastiq may launch."""
        about, most = "[quota] max_vms", self._settings.quota.max_vms
        if self._is_aws:
            text = "AWS tells its limits on vCPUs by the Service Quotas alone, and a DryRun does not look at them"
            return Finding(Answer.UNKNOWN, about, text)
        try:
            answer = self._ask("DescribeAccountAttributes", {"AttributeNames": ["max-instances"]})
        except RequestError as failure:
            if failure.code in _NO_SUCH_OPERATION or failure.is_missing_right:
                return Finding(Answer.UNKNOWN, about, "the cloud does not tell how many VMs there may be")
            return Finding(Answer.UNKNOWN, about, self._brief(failure))
        except CloudError as failure:
            return Finding(Answer.UNKNOWN, about, self._brief(failure))
        told = [
            str(value.get("AttributeValue"))
            for attribute in answer.get("AccountAttributes") or ()
            if attribute.get("AttributeName") == "max-instances"
            for value in attribute.get("AttributeValues") or ()
        ]
        if not told or not told[0].isdecimal():
            return Finding(Answer.UNKNOWN, about, "the cloud does not tell how many VMs there may be")
        limit = int(told[0])
        if most is not None and most <= limit:
            return Finding(Answer.OK, about, f"{most} of at most {limit} VMs")
        text = f"the cloud lets there be {limit} VMs; set max_vms to that, or have its quota raised"
        return Finding(Answer.REFUSED, about, text, options=("max_vms",))

    def _failed(self, operation: str, failure: CloudError, about: str = "", pool: str = "") -> Finding:
        """Return what a failed request tells."""
        about = about or operation
        if not isinstance(failure, RequestError):
            return Finding(Answer.UNKNOWN, about, self._brief(failure), pool=pool)
        if failure.code == _HONOURED:
            return Finding(Answer.OK, about, pool=pool)
        if failure.is_missing_right:
            right, resource = failure.missing_right
            text = f"the right {right or f'ec2:{operation}'} is missing"
            if resource:
                text += f" on {self._redactor.brief(resource, 150)}"
            if not right and operation == "RunInstances":
                text += ", or one that belongs to it (ec2:CreateTags, iam:PassRole)"
            return Finding(Answer.REFUSED, about, f"{text}; see docs/iam.md", right or f"ec2:{operation}", pool)
        if failure.retryable and failure.fault is not CloudFault.CAPACITY:
            return Finding(Answer.UNKNOWN, about, self._brief(failure), pool=pool)
        named_ones = failure.options(operation)
        options = tuple(name for one in named_ones for name in (one, *_IN_PLACE_OF.get(one, ())))
        return Finding(Answer.REFUSED, about, str(failure), pool=pool, options=options)

    def _dry(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Send a DryRun, once."""
        return self._ask(operation, {**asked, "DryRun": True}, Repeat.NEVER)

    def _ask(self, operation: str, asked: Mapping[str, Any], repeat: Repeat = Repeat.QUESTION) -> dict[str, Any]:
        left = min(self._deadline.seconds_left, self._sender.limits.deadline_seconds)
        if left <= 0:
            raise RequestError(f"{operation}: not asked, for the cloud took too long before", CloudFault.UNSENT)
        return self._sender.ask(operation, asked, repeat, seconds=left)

    def _brief(self, failure: CloudError) -> str:
        return self._redactor.brief(str(failure).replace("; will be tried again", ""), _MOST_SHOWN)

    def _shown(self, value: str) -> str:
        return self._redactor.brief(value, 100)


def _words(offer: Offer | None) -> str:
    """Return which offer it is."""
    if offer is None:
        return ""
    parts = (offer.market, offer.type, offer.zone)
    return f" ({', '.join(part for part in parts if part)})"


def _answered(failure: RequestError, operation: str) -> str:
    """Return in few words how a DryRun was answered."""
    status = f" (HTTP {failure.status})" if failure.status else ""
    return f"it answered {operation} with DryRun by {shown(failure.code) or 'no error of EC2'}{status}"
