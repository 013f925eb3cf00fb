"""What the errors of EC2 and of its dialects mean, and what of their text may be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http.client import HTTPException

from botocore import exceptions
from botocore.parsers import ResponseParserError

from elastiq.errors import CloudError, CloudFault
from elastiq.redaction import Redactor

MAX_MESSAGE_CHARACTERS = 300

_INSTANCE_ID = re.compile(r"i-(?:[0-9a-f]{8}|[0-9a-f]{17})")

REQUEST_ERRORS = (
    exceptions.ClientError,
    exceptions.BotoCoreError,
    ResponseParserError,
    HTTPException,
    OSError,
    # A broken answer makes botocore's parser and its handlers stumble in all of these ways.
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
"""Everything that a request through botocore is known to raise."""

_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "EC2ThrottledException",
        "TooManyRequestsException",
        "TooManyRequests",
        "BandwidthLimitExceeded",
        "SlowDown",
        "PriorRequestNotComplete",
    }
)

_CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientCapacityOnHost",
        "ReservationCapacityExceeded",
        "InstanceLimitExceeded",
        "VcpuLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "SpotMaxPriceTooLow",
        "Unsupported",
        "NotEnoughResourcesAvailable",
        "UnfulfillableCapacity",
        "QuotaExceeded",
        "TooManyInstances",
        "InstanceQuotaExceeded",
        "OverLimit",
        "OverQuota",
    }
)

_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "UnauthorizedOperation",
        "InvalidClientTokenId",
        "SignatureDoesNotMatch",
        "ExpiredToken",
        "ExpiredTokenException",
        "RequestExpired",
        "AccessDenied",
        "AccessDeniedException",
        "OptInRequired",
        "MissingAuthenticationToken",
        "IncompleteSignature",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        "InvalidSecurity",
        "Blocked",
        "PendingVerification",
        "Unauthorized",
        "Forbidden",
        "NotAuthorized",
    }
)

_UNREACHABLE = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "ServerInternal",
        "ServiceUnavailable",
        "Unavailable",
        "ConnectFailure",
        "RequestTimeout",
        # The token was used before with other parameters: the earlier request may have made VMs.
        "IdempotentParameterMismatch",
        "IdempotentInstanceTerminated",
    }
)

OUTAGE_CODES = frozenset({"InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "ConnectFailure"})
"""Codes of a cloud in trouble, which say nothing about the parameters of the request."""

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.ProfileNotFound,
    exceptions.TokenRetrievalError,
    exceptions.NoAuthTokenError,
    exceptions.UnknownCredentialError,
    exceptions.SSOError,
)

_WRONG_SETTINGS = (
    exceptions.NoRegionError,
    exceptions.UnknownRegionError,
    exceptions.BaseEndpointResolverError,
    exceptions.ValidationError,
    exceptions.ParamValidationError,
    exceptions.DataNotFoundError,
    exceptions.ConfigParseError,
    exceptions.InvalidConfigError,
    exceptions.ConfigNotFound,
    exceptions.InvalidRetryConfigurationError,
    exceptions.SSLError,
)

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
_REMEDY_BY_CODE = {
    "InsufficientInstanceCapacity": _NO_ROOM_NOW,
    "InsufficientHostCapacity": _NO_ROOM_NOW,
    "InsufficientCapacity": _NO_ROOM_NOW,
    "InsufficientCapacityOnHost": _NO_ROOM_NOW,
    "UnfulfillableCapacity": _NO_ROOM_NOW,
    "NotEnoughResourcesAvailable": _NO_ROOM_NOW,
    "Unsupported": "this is not offered there: change flavour or subnet_id in the section [ec2]",
    "InsufficientFreeAddressesInSubnet": "the subnet has no free address: change subnet_id in the section [ec2]",
    "RequestExpired": "check the clock of this machine",
}
"""What to do about codes whose fault alone does not tell it: no quota mends these."""

_OPTION_BY_CODE = (
    ("InvalidAMI", "image_id"),
    ("InvalidImage", "image_id"),
    ("InvalidKeyPair", "key_name"),
    ("InvalidSubnet", "subnet_id"),
    ("InvalidGroup", "security_groups"),
    ("InvalidSecurityGroup", "security_groups"),
    ("InvalidInstanceType", "flavour"),
    ("InvalidFlavor", "flavour"),
    ("InvalidIamInstanceProfile", "instance_profile"),
    ("InvalidUserData", "user_data"),
)


class RequestError(CloudError):
    """A CloudError that still knows the cloud's own words, to tell which parameter or VM it complains of."""

    def __init__(
        self, message: str, fault: CloudFault, code: str = "", status: int = 0, cloud_message: str = ""
    ) -> None:
        super().__init__(message, fault)
        self.code = code
        self.status = status
        self._cloud_message = cloud_message

    def names_instance(self, instance_id: str) -> bool:
        """Return whether the cloud's message names this VM."""
        return re.search(rf"(?<![\w-]){re.escape(instance_id)}(?![\w-])", self._cloud_message) is not None

    def names_parameter(self, words: Iterable[str]) -> bool:
        """Return whether code or message name a parameter, however it is spelled; `words` are lower-case letters."""
        text = re.sub(r"[^a-z]", "", (self.code + self._cloud_message[:2000]).lower())
        return any(word in text for word in words)

    @property
    def may_be_of_one_vm(self) -> bool:
        """Whether one VM can be the reason of a refused right: rights may depend on the tags of a VM."""
        return self.code in ("UnauthorizedOperation", "OperationNotPermitted", "AccessDenied", "Forbidden")

    def says_gone(self, instance_id: str) -> bool:
        """Return whether the cloud said of this VM that it does not exist, or that its id cannot exist."""
        if self.fault is CloudFault.NOT_FOUND:
            return True
        malformed = self.code in ("InvalidInstanceID.Malformed", "InvalidParameterValue")
        return malformed and not _INSTANCE_ID.fullmatch(instance_id)


def explain(operation: str, error: BaseException, redactor: Redactor) -> RequestError:
    """Given what a request raised, return it as an error with the right fault and a short text without secrets."""
    code, status, cloud_message = "", 0, str(error)
    if isinstance(error, exceptions.ClientError):
        answer = error.response if isinstance(error.response, dict) else {}
        details = answer.get("Error") or {}
        code = re.sub(r"^(?:Client|Server)\.", "", str(details.get("Code") or ""))
        cloud_message = str(details.get("Message") or "")
        status = int((answer.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    elif isinstance(error, ResponseParserError):
        cloud_message = "the answer is no XML of EC2"
    fault = _fault(error, code, status, cloud_message)
    option = next((name for prefix, name in _OPTION_BY_CODE if code.startswith(prefix)), "")
    what_to_do = f"check {option} in the section [ec2]" if option else _REMEDY_BY_CODE.get(code, _WHAT_TO_DO[fault])
    if isinstance(error, exceptions.SSLError):
        what_to_do = "check ca_bundle and verify in the section [ec2]"
    what = redactor.brief(code, 60) or type(error).__name__
    start = f"{operation}: {what}{f' (HTTP {status})' if status else ''}: "
    end = f"; {what_to_do}"
    text = redactor.brief(cloud_message, MAX_MESSAGE_CHARACTERS - len(start) - len(end))
    return RequestError(start + (text or "no message") + end, fault, code, status, cloud_message)


def _fault(error: BaseException, code: str, status: int, message: str) -> CloudFault:
    if isinstance(error, exceptions.ClientError):
        return _client_fault(code, status, message)
    if isinstance(error, _NO_CREDENTIALS):
        return CloudFault.CREDENTIALS
    if isinstance(error, _WRONG_SETTINGS):
        return CloudFault.CONFIGURATION
    if isinstance(error, (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)):
        return CloudFault.UNSENT
    return CloudFault.UNREACHABLE


def _client_fault(code: str, status: int, message: str) -> CloudFault:
    # Codes come before the HTTP status: AWS says InsufficientInstanceCapacity with 500 and RequestLimitExceeded with
    # 503, OpenStack says AuthFailure with 404 and a used-up quota with 403 Forbidden.
    if code in _THROTTLED or status == 429:
        return CloudFault.THROTTLED
    quota = "quota" in message.lower() and ("exceeded" in message.lower() or code == "Forbidden")
    if code in _CAPACITY or code.endswith("LimitExceeded") or status == 413 or (quota and status < 500):
        return CloudFault.CAPACITY
    if code == "InvalidInstanceID.NotFound":
        return CloudFault.NOT_FOUND
    if code in _CREDENTIALS or status == 401:
        return CloudFault.CREDENTIALS
    if code in _UNREACHABLE or status >= 500 or status in (0, 408):
        return CloudFault.UNREACHABLE
    if status == 403:
        return CloudFault.CREDENTIALS
    return CloudFault.CONFIGURATION
