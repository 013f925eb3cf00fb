"""What went wrong with a request, as an error of elastiq: the right fault, and a short text without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http.client import HTTPException

from botocore import exceptions
from botocore.parsers import ResponseParserError

from elastiq.ec2 import codes
from elastiq.ec2.foreign import ForeignAnswerError
from elastiq.errors import CloudError, CloudFault
from elastiq.redaction import Redactor

MAX_MESSAGE_CHARACTERS = 400

MAX_ASKED_CHARACTERS = 200
"""Of these, for what was asked for."""

LONGEST_CLOUD_MESSAGE = 100_000
"""Of a longer one no more than the beginning is looked at; one with all of the user data in it is shorter."""

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


class RequestError(CloudError):
    """A CloudError that still knows the cloud's own words, to tell which parameter or VM it complains of."""

    def __init__(
        self,
        message: str,
        fault: CloudFault,
        code: str = "",
        status: int = 0,
        cloud_message: str = "",
        *,
        is_foreign: bool = False,
    ) -> None:
        super().__init__(message, fault, codes.scope_of(code, cloud_message))
        self.code = code
        self.status = status
        self.is_foreign = is_foreign
        """Whether no EC2 service gave the answer."""
        self._cloud_message = cloud_message

    def names_instance(self, instance_id: str) -> bool:
        """Return whether the cloud's message names this VM."""
        return re.search(rf"(?<![\w-]){re.escape(instance_id)}(?![\w-])", self._cloud_message) is not None

    def names_parameter(self, words: Iterable[str]) -> bool:
        """Return whether code or message name a parameter, however it is spelled; `words` are lower-case letters."""
        text = re.sub(r"[^a-z]", "", (self.code + self._cloud_message[:2000]).lower())
        return any(word in text for word in words)

    @property
    def is_busy(self) -> bool:
        """Whether the cloud had no time, and did not say that it did nothing."""
        busy = self.status == 503 or self.code in codes.BUSY_CODES
        return busy and self.fault is CloudFault.UNREACHABLE

    @property
    def missing_right(self) -> tuple[str, str]:
        """The right that the cloud says is missing, and on which resource; "" for what it does not say."""
        return codes.missing_right(self._cloud_message)

    @property
    def is_missing_right(self) -> bool:
        """Whether the keys are good and do not allow this."""
        return self.fault is CloudFault.CREDENTIALS and self.may_be_of_one_vm

    def options(self, operation: str) -> list[str]:
        """Return the options that the cloud complains of."""
        return codes.options_of(operation, self.code, self._cloud_message, self.fault)

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


def explain(
    operation: str, error: BaseException, redactor: Redactor, *, place: str = "", asked: str = ""
) -> RequestError:
    """Given what a request raised, return it as an error.

    `place` is where it went to, `asked` what a launch asked for: a refusal is often silent about it.
    """
    if isinstance(error, ForeignAnswerError):
        text = f"{operation}: HTTP {error.status} with {redactor.brief(error.seen, 100)} from {place}"
        return RequestError(f"{text}; {error.what_to_do}", error.fault, status=error.status, is_foreign=True)
    code, status, cloud_message = "", 0, str(error)
    if isinstance(error, exceptions.ClientError):
        answer = error.response if isinstance(error.response, dict) else {}
        details = answer.get("Error") or {}
        code = re.sub(r"^(?:Client|Server)\.", "", str(details.get("Code") or ""))
        cloud_message = str(details.get("Message") or "")
        status = int((answer.get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0)
    elif isinstance(error, ResponseParserError):
        cloud_message = "the answer is no XML of EC2"
    code, cloud_message = code[:MAX_MESSAGE_CHARACTERS], cloud_message[:LONGEST_CLOUD_MESSAGE]
    fault = _fault(error, code, status, cloud_message)
    if operation == "RunInstances" and code.startswith(codes.OF_WHAT_A_LAUNCH_MAKES):
        fault = CloudFault.UNREACHABLE
    shown = redactor.brief(cloud_message, MAX_MESSAGE_CHARACTERS)
    what_to_do = codes.remedy_of(operation, code, status, shown, fault)
    if isinstance(error, exceptions.SSLError):
        what_to_do = "check ca_bundle and verify in the section [ec2]"
    what = redactor.brief(code, 60) or type(error).__name__
    start = f"{operation}: {what}{f' (HTTP {status})' if status else ''}: "
    end = f"; {what_to_do}"
    if asked and _is_refusal(fault, code, status):
        end = f"; asked for {redactor.brief(asked, MAX_ASKED_CHARACTERS)}{end}"
    text = redactor.brief(codes.without_template(cloud_message), MAX_MESSAGE_CHARACTERS - len(start) - len(end))
    if text.endswith(".") and not text.endswith("..."):
        text = text[:-1]
    return RequestError(start + (text or "no message") + end, fault, code, status, cloud_message)


def _is_refusal(fault: CloudFault, code: str, status: int) -> bool:
    """Return whether it may be of what was asked for. HTTP 500 may: OpenStack says so of what it does not know."""
    refused = (CloudFault.CAPACITY, CloudFault.CONFIGURATION, CloudFault.CREDENTIALS)
    vague = fault is CloudFault.UNREACHABLE and status == 500 and code not in codes.OUTAGE_CODES
    return fault in refused or vague


def _fault(error: BaseException, code: str, status: int, message: str) -> CloudFault:
    if isinstance(error, exceptions.ClientError):
        return codes.fault_of(code, status, message)
    if isinstance(error, _NO_CREDENTIALS):
        return CloudFault.CREDENTIALS
    if isinstance(error, _WRONG_SETTINGS):
        return CloudFault.CONFIGURATION
    if isinstance(error, (exceptions.EndpointConnectionError, exceptions.ConnectTimeoutError)):
        return CloudFault.UNSENT
    return CloudFault.UNREACHABLE
