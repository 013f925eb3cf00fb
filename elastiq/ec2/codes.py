"""The codes and words with which EC2 and its dialects refuse: what each means, and what to do about it.

The codes are those of AWS's list of client and server errors, and those of OpenStack's ec2-api, which passes on the
names of exceptions of nova, neutron and keystone (BadRequest, Forbidden, OverQuotaClient, ...).
"""

from __future__ import annotations

import re

from elastiq.errors import CloudFault
from elastiq.model import Scope

_FAULTS: dict[CloudFault, str] = {
    CloudFault.THROTTLED: """
        RequestLimitExceeded Throttling ThrottlingException ThrottledException RequestThrottled
        RequestThrottledException EC2ThrottledException TooManyRequestsException TooManyRequests
        BandwidthLimitExceeded SlowDown PriorRequestNotComplete ConcurrentTagAccess RateLimit""",
    CloudFault.CAPACITY: """
        InsufficientInstanceCapacity InsufficientHostCapacity InsufficientReservedInstanceCapacity
        InsufficientCapacity InsufficientCapacityOnHost InsufficientAddressCapacity InsufficientVolumeCapacity
        InsufficientFreeAddressesInSubnet MaxFleetCountExceeded ReservationCapacityExceeded
        InstanceLimitExceeded VcpuLimitExceeded
        MaxSpotInstanceCountExceeded SpotMaxPriceTooLow Unsupported NotEnoughResourcesAvailable NotEnoughResources
        UnfulfillableCapacity QuotaExceeded TooManyInstances InstanceQuotaExceeded OverLimit OverQuota
        OverQuotaClient IpAddressGenerationFailureClient""",
    CloudFault.CREDENTIALS: """
        AuthFailure UnauthorizedOperation InvalidClientTokenId SignatureDoesNotMatch ExpiredToken
        ExpiredTokenException RequestExpired AccessDenied AccessDeniedException OptInRequired
        MissingAuthenticationToken IncompleteSignature UnrecognizedClientException InvalidAccessKeyId
        InvalidSecurityToken InvalidSecurity InvalidSecurity.RequestHasExpired Blocked AccountDisabled
        PendingVerification Unauthorized Forbidden NotAuthorized""",
    # With IdempotentParameterMismatch the token was used before with other parameters: that request may have made VMs.
    CloudFault.UNREACHABLE: """
        InternalError InternalFailure ServerInternal ServiceUnavailable Unavailable ConnectFailure ConnectTimeout
        RequestTimeout GatewayTimeout IdempotentParameterMismatch IdempotentInstanceTerminated""",
    CloudFault.CONFIGURATION: """
        SecurityGroupsPerInstanceLimitExceeded SecurityGroupsPerInterfaceLimitExceeded TagLimitExceeded""",
    CloudFault.NOT_FOUND: "InvalidInstanceID.NotFound",
}
_FAULT_BY_CODE = {code: fault for fault, codes in _FAULTS.items() for code in codes.split()}

_SCOPES: dict[Scope, str] = {
    Scope.FAMILY: "VcpuLimitExceeded InstanceLimitExceeded",
    Scope.SPOT: "MaxSpotInstanceCountExceeded",
    Scope.ZONE: "InsufficientFreeAddressesInSubnet InsufficientVolumeCapacity IpAddressGenerationFailureClient",
    Scope.ACCOUNT: """
        QuotaExceeded TooManyInstances InstanceQuotaExceeded OverLimit OverQuota OverQuotaClient
        InsufficientAddressCapacity""",
}
"""What refusals for lack of room are about, if it is more than the type and zone asked for. AWS counts the vCPUs of a
market by families of types (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-instance-quotas.html)."""
_SCOPE_BY_CODE = {code: scope for scope, codes in _SCOPES.items() for code in codes.split()}

OUTAGE_CODES = frozenset(
    {"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "ConnectFailure", "ConnectTimeout"}
)
"""Codes of a cloud in trouble, which say nothing about the parameters of the request."""

BUSY_CODES = frozenset({"ServiceUnavailable", "Unavailable"})

OF_WHAT_A_LAUNCH_MAKES = ("InvalidInstanceID.", "InvalidNetworkInterfaceID.", "InvalidVolume.")
"""How codes begin with which a cloud refuses a launch after it has made VMs: one of them, or what belongs to it, has
gone again before the answer was made (seen at OpenStack, as a launch took minutes); the others are there."""

_WHAT_TO_DO = {
    CloudFault.UNREACHABLE: "will be tried again",
    CloudFault.UNSENT: "will be tried again; check api_url if it stays so",
    CloudFault.THROTTLED: "too many requests; will be tried again",
    CloudFault.CAPACITY: "no VM until the cloud has room: raise the quota or lower max_vms",
    CloudFault.CONFIGURATION: "check the section [ec2]",
    CloudFault.CREDENTIALS: "check the keys and their rights",
    CloudFault.NOT_FOUND: "the VM is gone",
}

_NO_ROOM_NOW = "the cloud has no room for this flavour now; will be tried again"
_NO_ADDRESS = "the subnet has no free address: change subnet_id in the section [ec2]"
_NO_SUBNET = "the cloud cannot choose a network: give subnet_id in the section [ec2]"
_CLOCK = "check the clock of this machine"
_ACCOUNT = "ask those who run the cloud about the account"
_VM = "see what the cloud itself says of the VM"
_PROTECTED = "the VM is protected: end that in the cloud, or terminate it there"
_FEWER_GROUPS = "give fewer security_groups in the section [ec2]"
_API_URL = "the service there does not know this operation: check api_url in the section [ec2]"

_KEYS = "check aws_access_key_id and aws_secret_access_key in the section [ec2]"
_KEY_ID = "check aws_access_key_id in the section [ec2]"
_OTHER_HALF = "check aws_secret_access_key in the section [ec2]"

_REMEDY_OF_KEYS = {
    "AuthFailure": f"{_KEYS}, and their rights",
    "Unauthorized": f"{_KEYS}, and their rights",
    "IncompleteSignature": _KEYS,
    "MissingAuthenticationToken": _KEYS,
    "SignatureDoesNotMatch": _OTHER_HALF,
    "InvalidAccessKeyId": _KEY_ID,
    "InvalidClientTokenId": _KEY_ID,
    "UnrecognizedClientException": _KEY_ID,
}
"""By codes that say that the keys are wrong, unless they speak of what a launch asked for."""

_REMEDY_BY_CODE = {
    "InsufficientInstanceCapacity": _NO_ROOM_NOW,
    "InsufficientHostCapacity": _NO_ROOM_NOW,
    "InsufficientReservedInstanceCapacity": _NO_ROOM_NOW,
    "InsufficientCapacity": _NO_ROOM_NOW,
    "InsufficientCapacityOnHost": _NO_ROOM_NOW,
    "InsufficientVolumeCapacity": _NO_ROOM_NOW,
    "ReservationCapacityExceeded": _NO_ROOM_NOW,
    "UnfulfillableCapacity": _NO_ROOM_NOW,
    "NotEnoughResourcesAvailable": _NO_ROOM_NOW,
    "NotEnoughResources": _NO_ROOM_NOW,
    "Unsupported": "this is not offered there: change flavour or subnet_id in the section [ec2]",
    "InsufficientFreeAddressesInSubnet": _NO_ADDRESS,
    "InsufficientAddressCapacity": _NO_ADDRESS,
    "IpAddressGenerationFailureClient": _NO_ADDRESS,
    "SpotMaxPriceTooLow": "the price of such VMs is higher than what may be paid; will be tried again",
    "SecurityGroupsPerInstanceLimitExceeded": _FEWER_GROUPS,
    "SecurityGroupsPerInterfaceLimitExceeded": _FEWER_GROUPS,
    "VPCIdNotSpecified": _NO_SUBNET,
    "VPCResourceNotSpecified": _NO_SUBNET,
    "DefaultVpcDoesNotExist": _NO_SUBNET,
    "MissingInput": _NO_SUBNET,
    "NoUniqueMatch": _NO_SUBNET,
    "RequestExpired": _CLOCK,
    "InvalidSecurity.RequestHasExpired": _CLOCK,
    "OptInRequired": "the account must accept the terms of the image or of the cloud first, or check image_id",
    "Blocked": _ACCOUNT,
    "AccountDisabled": _ACCOUNT,
    "PendingVerification": _ACCOUNT,
    "OperationNotPermitted": _PROTECTED,
    "IncorrectInstanceState": _VM,
    "IncorrectState": _VM,
    "InvalidState": _VM,
    "InvalidAction": _API_URL,
    "UnknownOperation": _API_URL,
    "NoSuchVersion": "leave api_version out of the section [ec2]",
    "ConcurrentTagAccess": "somebody else changes its tags; will be tried again",
    "IdempotentParameterMismatch": "VMs of the earlier request will be looked for",
}
"""What to do about codes whose fault alone does not tell it, or tells it wrongly: no quota mends these."""

_OPTION_BY_CODE = (
    ("InvalidAMI", "image_id"),
    ("InvalidImage", "image_id"),
    ("InvalidSnapshot", "image_id"),
    ("InvalidBlockDeviceMapping", "image_id"),
    ("InvalidKey", "key_name"),
    ("InvalidSubnet", "subnet_id"),
    ("InvalidAvailabilityZone", "subnet_id"),
    ("InvalidGroup", "security_groups"),
    ("InvalidSecurityGroup", "security_groups"),
    ("InvalidInstanceType", "flavour"),
    ("InvalidFlavor", "flavour"),
    ("InvalidIamInstanceProfile", "instance_profile"),
    ("InvalidUserData", "user_data_file"),
)

_OPTION_BY_WORDS = (
    ("image_id", r"\bami(?:-[0-9a-f]+|s|id)?\b|\bimages?(?:_?id|ref)?\b"),
    ("flavour", r"\bflavou?rs?(?:_?id|ref)?\b|\binstance[ _]?types?\b"),
    ("key_name", r"\bkey[ _]?(?:name|pair)s?\b"),
    ("subnet_id", r"\bsubnets?(?:_?id)?\b|\bavailability[ _]?zone\b"),
    ("security_groups", r"\bsecurity[ _]?groups?\b"),
    ("instance_profile", r"\b(?:iam)?[ _]?instance[ _]?profile"),
    ("user_data_file", r"\buser[ _]?data\b"),
)
"""Words in which a refused launch speaks of an option."""

_MISSING_RIGHT = re.compile(r"not authorized to perform:? ([\w-]+:\w+)(?: on resource:? (arn:[^\s,]+))?")
"""How AWS names a right that is missing, and on what; in some regions and of old it names none."""

_FLAVOUR_TEMPLATE = ("%(value)s", "%(parameter)s")
"""What ec2-api answers when it does not know a flavour: its message lacks a value, so it fills in none."""

_TEMPLATE = re.compile(r"%\(\w+\)")


def fault_of(code: str, status: int, message: str) -> CloudFault:
    """Return what a refusal of EC2 means.

    Codes come before the HTTP status: AWS says InsufficientInstanceCapacity with 500 and RequestLimitExceeded with 503,
    OpenStack says AuthFailure with 404 and a used-up quota with 403 Forbidden.
    """
    known, words = _FAULT_BY_CODE.get(code), message.lower()
    if known is CloudFault.THROTTLED or status == 429:
        return CloudFault.THROTTLED
    if _keys_unchecked(code, status):
        return CloudFault.THROTTLED
    if known is CloudFault.CONFIGURATION:
        return known
    quota = "quota" in words and ("exceeded" in words or code == "Forbidden")
    full = code.endswith("LimitExceeded") or status == 413 or "no valid host" in words
    if known is CloudFault.CAPACITY or full or (quota and status < 500):
        return CloudFault.CAPACITY
    if known is not None:
        return known
    if status == 401:
        return CloudFault.CREDENTIALS
    if status >= 500 or status in (0, 408):
        return CloudFault.UNREACHABLE
    return CloudFault.CREDENTIALS if status == 403 else CloudFault.CONFIGURATION


def scope_of(code: str, message: str) -> Scope:
    """Return what a refusal for lack of room is about."""
    known = _SCOPE_BY_CODE.get(code)
    if known is not None:
        return known
    is_listed = _FAULT_BY_CODE.get(code) is CloudFault.CAPACITY or "no valid host" in message.lower()
    return Scope.OFFER if is_listed else Scope.ACCOUNT


def remedy_of(operation: str, code: str, status: int, message: str, fault: CloudFault) -> str:
    """Return what to do about a refusal."""
    if _keys_unchecked(code, status):
        return "the cloud cannot check the keys now; will be tried again"
    if fault is CloudFault.CAPACITY and "no valid host" in message.lower():
        return _NO_ROOM_NOW
    if operation == "RunInstances" and "multiple possible networks" in message.lower():
        return _NO_SUBNET
    if operation == "RunInstances" and code.startswith(OF_WHAT_A_LAUNCH_MAKES):
        return "VMs of it may be there, and are looked for"
    by_code = _REMEDY_BY_CODE.get(code)
    if by_code and not (by_code is _PROTECTED and operation == "RunInstances"):
        return by_code
    options = options_of(operation, code, message, fault)
    if options:
        rights = ", the keys and their rights" if fault is CloudFault.CREDENTIALS else ""
        return f"check {' and '.join(options)} in the section [ec2]{rights}"
    if fault is CloudFault.CONFIGURATION and operation in ("TerminateInstances", "CreateTags", "GetConsoleOutput"):
        return _VM
    return _REMEDY_OF_KEYS.get(code) or _WHAT_TO_DO[fault]


def options_of(operation: str, code: str, message: str, fault: CloudFault) -> list[str]:
    """Return the options that code or words of a refusal name."""
    by_code = next((name for prefix, name in _OPTION_BY_CODE if code.startswith(prefix)), "")
    if by_code:
        return [by_code]
    if operation != "RunInstances":
        return []
    if fault is CloudFault.CONFIGURATION or code == "AuthFailure":
        first, second = _FLAVOUR_TEMPLATE
        if second in message.partition(first)[2]:
            return ["flavour"]
        said = message.partition("Value:")[0]  # OpenStack sends the user data back after it
        return [name for name, words in _OPTION_BY_WORDS if re.search(words, said, re.IGNORECASE)]
    return []


def missing_right(message: str) -> tuple[str, str]:
    """Return the right that a refusal says is missing, such as iam:PassRole, and on which resource; "" for what it
    does not say.
    """
    found = _MISSING_RIGHT.search(message)
    return (found[1], found[2] or "") if found else ("", "")


def without_template(message: str) -> str:
    """Return the message of a cloud; nothing if it is one in which the cloud filled in no values."""
    return "" if _TEMPLATE.search(message) else message


def _keys_unchecked(code: str, status: int) -> bool:
    """Return whether the cloud could not ask whether the keys are right, as ec2-api says while keystone is in trouble;
    nothing else was done then.
    """
    return code == "AuthFailure" and status >= 500
