"""What the errors of EC2 and of its dialects mean, and what of their text may be shown."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from http.client import HTTPException

from botocore import exceptions
from botocore.parsers import ResponseParserError

from elastiq.errors import CloudError, CloudFault
from elastiq.redaction import secret_texts

MAX_MESSAGE_CHARACTERS = 300

_SHORTEST_LINE = 6
"""Of user data that is hidden. Shorter than in the log, where the words of elastiq itself must stay readable."""

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


class Scrubber:
    """Removes secrets, user data and long encoded blobs from a text that somebody else wrote."""

    def __init__(self, secrets: Iterable[str] = (), user_data: bytes = b"") -> None:
        self._secrets = tuple(secret for secret in secrets if secret)
        self._texts = sorted(secret_texts(user_data, _SHORTEST_LINE), key=len, reverse=True)
        self._encoded = base64.b64encode(user_data).decode("ascii")

    def __call__(self, text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
        """Return `text` in one line of at most `limit` characters, without anything secret."""
        # A cloud that refuses a request may echo its parameters: OpenStack sends back the whole user data.
        echo = len(text) > 2000
        text = self.hide(text)
        text = re.sub(r"[A-Za-z0-9+/=_-]{40,}", "[...]", text)
        text = re.sub(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}\b", "[...]", text)
        text = re.sub(r"//[^/@\s]*@", "//", text)
        text = re.sub(r"(?:\[\.\.\.\]\W*){2,}", "[...] ", text)
        text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
        limit = min(limit, 80) if echo else limit
        return text if len(text) <= limit else text[: limit - 3] + "..."

    def hide(self, text: str) -> str:
        """Return `text` without the secrets and the lines and values of the user data, as they stand or in base64."""
        for secret in self._secrets:
            text = text.replace(secret, "[...]")
        for secret in self._texts:
            text = text.replace(secret, "[...]")
        return re.sub(r"[A-Za-z0-9+/=]{10,}", self._without_user_data, text)

    def _without_user_data(self, run: re.Match[str]) -> str:
        return "[...]" if run.group().rstrip("=") in self._encoded else run.group()


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


def explain(operation: str, error: BaseException, scrub: Scrubber) -> RequestError:
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
    what_to_do = f"check {option} in the section [ec2]" if option else _WHAT_TO_DO[fault]
    if code == "RequestExpired":
        what_to_do = "check the clock of this machine"
    elif isinstance(error, exceptions.SSLError):
        what_to_do = "check ca_bundle and verify in the section [ec2]"
    what = scrub(code, 60) or type(error).__name__
    start = f"{operation}: {what}{f' (HTTP {status})' if status else ''}: "
    end = f"; {what_to_do}"
    text = scrub(cloud_message, MAX_MESSAGE_CHARACTERS - len(start) - len(end))
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
