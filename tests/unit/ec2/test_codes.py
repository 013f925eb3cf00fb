"""Every code that AWS and OpenStack's ec2-api can answer to elastiq's requests, with its fault and its remedy."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from elastiq.ec2.codes import missing_right, scope_of, without_template
from elastiq.ec2.errors import MAX_MESSAGE_CHARACTERS, RequestError, explain
from elastiq.errors import CloudFault
from elastiq.model import Scope
from elastiq.redaction import Redactor

UNREACHABLE, THROTTLED, CAPACITY = CloudFault.UNREACHABLE, CloudFault.THROTTLED, CloudFault.CAPACITY
CONFIGURATION, CREDENTIALS, NOT_FOUND = CloudFault.CONFIGURATION, CloudFault.CREDENTIALS, CloudFault.NOT_FOUND
ASKED = "image_id ami-1, flavour m1.tiny, key_name mine, subnet_id subnet-1, security_groups default"
QUOTA, KEYS = "raise the quota or lower max_vms", "check the keys and their rights"
_SECTION = " in the section [ec2]"
BOTH = f"check aws_access_key_id and aws_secret_access_key{_SECTION}"
SECRET, KEY_ID = f"check aws_secret_access_key{_SECTION}", f"check aws_access_key_id{_SECTION}"
NO_ROOM, ADDRESS = "the cloud has no room for this flavour now", "change subnet_id"
SECTION, AGAIN, BUSY = "; check the section [ec2]", "; will be tried again", "too many requests; will be tried again"
NO_SUBNET, CLOCK, ACCOUNT = "give subnet_id", "check the clock", "ask those who run the cloud about the account"
TEMPLATE = "Value (%(value)s) for parameter %(parameter)s is invalid. %(reason)s"


def explained(code: str, status: int, message: str = "", operation: str = "RunInstances") -> RequestError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return explain(operation, ClientError(answer, operation), Redactor(), place="http://x", asked=ASKED)


def options(*names: str) -> str:
    return f"; check {' and '.join(names)} in the section [ec2]"


OF_A_LAUNCH = [
    # AWS: options
    ("InvalidAMIID.NotFound", 400, "The image id '[ami-1]' does not exist", CONFIGURATION, options("image_id")),
    ("InvalidInstanceID.NotFound", 400, "The instance ID 'i-1' does not exist", UNREACHABLE, "VMs of it may be there"),
    ("InvalidNetworkInterfaceID.NotFound", 400, "", UNREACHABLE, "VMs of it may be there"),
    ("InvalidAMIID.Malformed", 400, "Invalid id", CONFIGURATION, options("image_id")),
    ("InvalidAMIID.Unavailable", 400, "", CONFIGURATION, options("image_id")),
    ("InvalidAMIAttributeItemValue", 400, "", CONFIGURATION, options("image_id")),
    ("InvalidSnapshot.NotFound", 400, "", CONFIGURATION, options("image_id")),
    ("InvalidBlockDeviceMapping", 400, "", CONFIGURATION, options("image_id")),
    ("InvalidKeyPair.NotFound", 400, "The key pair 'x' does not exist", CONFIGURATION, options("key_name")),
    ("InvalidSubnetID.NotFound", 400, "", CONFIGURATION, options("subnet_id")),
    ("InvalidSubnet", 400, "", CONFIGURATION, options("subnet_id")),
    ("InvalidAvailabilityZone", 400, "", CONFIGURATION, options("subnet_id")),
    ("InvalidGroup.NotFound", 400, "", CONFIGURATION, options("security_groups")),
    ("InvalidGroupId.Malformed", 400, "", CONFIGURATION, options("security_groups")),
    ("InvalidSecurityGroupID.NotFound", 400, "", CONFIGURATION, options("security_groups")),
    ("InvalidInstanceType", 400, "", CONFIGURATION, options("flavour")),
    ("InvalidIamInstanceProfileArn.Malformed", 400, "", CONFIGURATION, options("instance_profile")),
    ("InvalidUserData.Malformed", 400, "", CONFIGURATION, options("user_data_file")),
    ("InvalidParameterValue", 400, "Invalid value 'x' for InstanceType.", CONFIGURATION, options("flavour")),
    (
        "InvalidParameterValue",
        400,
        "Value (x) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
        CONFIGURATION,
        options("instance_profile"),
    ),
    (
        "InvalidParameterValue",
        400,
        "The architecture 'arm64' of the specified instance type does not match that of the specified AMI",
        CONFIGURATION,
        options("image_id", "flavour"),
    ),
    ("InvalidParameterValue", 400, "User data is limited to 16384 bytes", CONFIGURATION, options("user_data_file")),
    ("InvalidParameterCombination", 400, "ENA is required for the 't3.x' instance type. Use an AMI with ENA.",
     CONFIGURATION, options("image_id", "flavour")),
    ("InvalidParameter", 400, "Security group sg-1 and subnet subnet-1 belong to different networks.", CONFIGURATION,
     options("subnet_id", "security_groups")),
    ("InvalidParameterValue", 400, "something else", CONFIGURATION, SECTION),
    ("MissingParameter", 400, "", CONFIGURATION, SECTION),
    ("UnknownParameter", 400, "", CONFIGURATION, SECTION),
    ("UnsupportedOperation", 400, "The operation is not supported.", CONFIGURATION, SECTION),
    ("VPCIdNotSpecified", 400, "No default VPC for this user.", CONFIGURATION, NO_SUBNET),
    ("VPCResourceNotSpecified", 400, "This instance type can only be used in a VPC.", CONFIGURATION, NO_SUBNET),
    ("DefaultVpcDoesNotExist", 400, "", CONFIGURATION, NO_SUBNET),
    ("MissingInput", 400, "No subnets found for the default VPC", CONFIGURATION, NO_SUBNET),
    ("NoSuchVersion", 400, "", CONFIGURATION, "leave api_version out"),
    ("InvalidAction", 400, "The action is not valid for this web service.", CONFIGURATION, "check api_url"),
    ("SecurityGroupsPerInstanceLimitExceeded", 400, "", CONFIGURATION, "give fewer security_groups"),
    ("SecurityGroupsPerInterfaceLimitExceeded", 400, "", CONFIGURATION, "give fewer security_groups"),
    ("TagLimitExceeded", 400, "", CONFIGURATION, SECTION),
    ("OperationNotPermitted", 400, "", CONFIGURATION, SECTION),
    # AWS: room and quotas
    ("InsufficientInstanceCapacity", 500, "", CAPACITY, NO_ROOM),
    ("Server.InsufficientInstanceCapacity", 500, "", CAPACITY, NO_ROOM),
    ("InsufficientHostCapacity", 500, "", CAPACITY, NO_ROOM),
    ("InsufficientReservedInstanceCapacity", 500, "", CAPACITY, NO_ROOM),
    ("InsufficientCapacity", 500, "", CAPACITY, NO_ROOM),
    ("InsufficientCapacityOnHost", 400, "", CAPACITY, NO_ROOM),
    ("InsufficientVolumeCapacity", 500, "", CAPACITY, NO_ROOM),
    ("ReservationCapacityExceeded", 400, "", CAPACITY, NO_ROOM),
    ("UnfulfillableCapacity", 500, "", CAPACITY, NO_ROOM),
    ("InsufficientFreeAddressesInSubnet", 400, "", CAPACITY, ADDRESS),
    ("InsufficientAddressCapacity", 500, "", CAPACITY, ADDRESS),
    ("Unsupported", 400, "not supported in your requested zone", CAPACITY, "change flavour or subnet_id"),
    ("SpotMaxPriceTooLow", 400, "", CAPACITY, "the price of such VMs"),
    ("InstanceLimitExceeded", 400, "", CAPACITY, QUOTA),
    ("VcpuLimitExceeded", 400, "", CAPACITY, QUOTA),
    ("MaxSpotInstanceCountExceeded", 400, "", CAPACITY, QUOTA),
    ("VolumeLimitExceeded", 400, "", CAPACITY, QUOTA),
    ("NetworkInterfaceLimitExceeded", 400, "", CAPACITY, QUOTA),
    ("ResourceLimitExceeded", 400, "", CAPACITY, QUOTA),
    # AWS: keys, rights, account
    ("AuthFailure", 401, "not able to validate the credentials", CREDENTIALS, BOTH),
    ("AuthFailure", 403, "Not authorized for images: [ami-1]", CREDENTIALS,
     "; check image_id in the section [ec2], the keys and their rights"),
    ("UnauthorizedOperation", 403, "not authorized to perform: ec2:RunInstances", CREDENTIALS, KEYS),
    ("SignatureDoesNotMatch", 403, "", CREDENTIALS, SECRET),
    ("InvalidClientTokenId", 403, "", CREDENTIALS, KEY_ID),
    ("MissingAuthenticationToken", 403, "", CREDENTIALS, BOTH),
    ("IncompleteSignature", 400, "", CREDENTIALS, BOTH),
    ("ExpiredToken", 400, "", CREDENTIALS, KEYS),
    ("RequestExpired", 400, "", CREDENTIALS, CLOCK),
    ("InvalidSecurity.RequestHasExpired", 400, "", CREDENTIALS, CLOCK),
    ("OptInRequired", 401, "you need to accept terms", CREDENTIALS, "must accept the terms"),
    ("Blocked", 403, "", CREDENTIALS, ACCOUNT),
    ("AccountDisabled", 403, "", CREDENTIALS, ACCOUNT),
    ("PendingVerification", 400, "", CREDENTIALS, ACCOUNT),
    # AWS: throttling and outages
    ("RequestLimitExceeded", 503, "", THROTTLED, BUSY),
    ("Throttling", 400, "", THROTTLED, BUSY),
    ("SlowDown", 503, "", THROTTLED, BUSY),
    ("Whatever", 429, "", THROTTLED, BUSY),
    ("InternalError", 500, "", UNREACHABLE, AGAIN),
    ("InternalFailure", 500, "", UNREACHABLE, AGAIN),
    ("ServiceUnavailable", 503, "", UNREACHABLE, AGAIN),
    ("Unavailable", 503, "", UNREACHABLE, AGAIN),
    ("Whatever", 503, "", UNREACHABLE, AGAIN),
    ("RequestTimeout", 408, "", UNREACHABLE, AGAIN),
    ("IdempotentParameterMismatch", 400, "", UNREACHABLE, "will be looked for"),
    # OpenStack: exceptions of ec2-api, and names of those of nova, neutron and keystone
    ("BadRequest", 400, "Invalid key_name provided. (HTTP 400)", CONFIGURATION, options("key_name")),
    ("BadRequest", 400, "Image is not active. (HTTP 400)", CONFIGURATION, options("image_id")),
    ("BadRequest", 400, "Flavor's disk is too small for requested image.", CONFIGURATION,
     options("image_id", "flavour")),
    ("BadRequest", 400, "The requested availability zone is not available", CONFIGURATION, options("subnet_id")),
    ("BadRequest", 400, "Invalid input for field/attribute user_data. Value: IyEv", CONFIGURATION,
     options("user_data_file")),
    ("InvalidAMIID.NotFound", 400, "The image id '[%(id)s]' does not exist", CONFIGURATION, options("image_id")),
    ("NotFound", 404, "Image ami-1 could not be found", CONFIGURATION, options("image_id")),
    ("HTTPNotFound", 404, "No image found", CONFIGURATION, options("image_id")),
    ("InvalidParameterValue", 400, TEMPLATE, CONFIGURATION, options("flavour")),
    ("Conflict", 409, "Multiple possible networks found, use a Network ID", CONFIGURATION, NO_SUBNET),
    ("NoUniqueMatch", 400, "", CONFIGURATION, NO_SUBNET),
    ("InvalidRequest", 400, "The request received was invalid.", CONFIGURATION, SECTION),
    ("Forbidden", 403, "Quota exceeded for cores: Requested 4, but already used 8 of 8 cores", CAPACITY, QUOTA),
    ("OverLimit", 413, "", CAPACITY, QUOTA),
    ("OverQuotaClient", 409, "Quota exceeded for resources: ['port'].", CAPACITY, QUOTA),
    ("IpAddressGenerationFailureClient", 409, "", CAPACITY, ADDRESS),
    ("ClientException", 400, "No valid host was found. There are not enough hosts available.", CAPACITY, NO_ROOM),
    ("NotEnoughResourcesAvailable", 400, "", CAPACITY, NO_ROOM),
    ("NotEnoughResources", 400, "", CAPACITY, NO_ROOM),
    ("Forbidden", 403, "Policy does not allow this", CREDENTIALS, KEYS),
    ("AuthFailure", 404, "Not Found", CREDENTIALS, BOTH),
    ("Unauthorized", 401, "", CREDENTIALS, BOTH),
    ("AuthFailure", 503, "Service Unavailable", THROTTLED, "cannot check the keys now"),
    ("AuthFailure", 500, "Internal Server Error", THROTTLED, "cannot check the keys now"),
    ("ConnectFailure", 500, "Unable to establish connection", UNREACHABLE, AGAIN),
    ("GatewayTimeout", 504, "", UNREACHABLE, AGAIN),
    ("TypeError", 500, "Unknown error occurred.", UNREACHABLE, AGAIN),
]  # fmt: skip


@pytest.mark.parametrize(("code", "status", "message", "fault", "remedy"), OF_A_LAUNCH)
def test_a_refused_launch_says_what_was_asked_for_and_what_to_do(
    code: str, status: int, message: str, fault: CloudFault, remedy: str
) -> None:
    error = explained(code, status, message)
    assert error.fault is fault
    assert remedy in str(error)
    assert len(str(error)) <= MAX_MESSAGE_CHARACTERS
    refused = fault in (CAPACITY, CONFIGURATION, CREDENTIALS) or code == "TypeError"
    assert (f"; asked for {ASKED}; " in str(error)) == refused


OF_OTHERS = [
    ("TerminateInstances", "OperationNotPermitted", 400, CONFIGURATION, "the VM is protected"),
    ("TerminateInstances", "IncorrectInstanceState", 400, CONFIGURATION, "see what the cloud itself says of the VM"),
    ("TerminateInstances", "InvalidParameterValue", 400, CONFIGURATION, "see what the cloud itself says of the VM"),
    ("TerminateInstances", "InvalidInstanceID.NotFound", 400, NOT_FOUND, "the VM is gone"),
    ("TerminateInstances", "UnauthorizedOperation", 403, CREDENTIALS, KEYS),
    ("TerminateInstances", "RequestLimitExceeded", 503, THROTTLED, BUSY),
    ("CreateTags", "ConcurrentTagAccess", 400, THROTTLED, "somebody else changes its tags"),
    ("CreateTags", "InvalidParameterValue", 400, CONFIGURATION, "see what the cloud itself says of the VM"),
    ("CreateTags", "TagLimitExceeded", 400, CONFIGURATION, "see what the cloud itself says of the VM"),
    ("DescribeInstances", "InvalidParameterValue", 400, CONFIGURATION, SECTION),
    ("DescribeInstances", "NoSuchVersion", 400, CONFIGURATION, "leave api_version out"),
    ("DescribeInstances", "AuthFailure", 401, CREDENTIALS, BOTH),
    ("DescribeInstances", "InvalidAction", 400, CONFIGURATION, "check api_url"),
]


@pytest.mark.parametrize(("operation", "code", "status", "fault", "remedy"), OF_OTHERS)
def test_what_else_is_refused_says_what_to_do(
    operation: str, code: str, status: int, fault: CloudFault, remedy: str
) -> None:
    error = explained(code, status, "the image", operation)
    assert error.fault is fault
    assert remedy in str(error)
    assert "image_id" not in str(error).replace(ASKED, "")


@pytest.mark.parametrize("message", [TEMPLATE, "Security group %(name)s", "[%(id)s]"])
def test_a_template_without_values_is_not_shown(message: str) -> None:
    assert without_template(message) == ""
    assert "%(" not in str(explained("InvalidParameterValue", 400, message))
    assert without_template("the disk is 100% full (really)") != ""


def test_words_in_an_echo_name_no_option() -> None:
    """OpenStack sends the user data back."""
    message = "Invalid input for field/attribute user_data. Value: " + "key_name image flavor " * 200
    assert str(explained("BadRequest", 400, message)).endswith("check user_data_file in the section [ec2]")


@pytest.mark.parametrize(
    ("code", "message", "scope"),
    [
        ("InsufficientInstanceCapacity", "", Scope.OFFER),
        ("Unsupported", "", Scope.OFFER),
        ("", "No valid host was found", Scope.OFFER),
        ("VcpuLimitExceeded", "", Scope.FAMILY),
        ("MaxSpotInstanceCountExceeded", "", Scope.SPOT),
        ("InsufficientFreeAddressesInSubnet", "", Scope.ZONE),
        ("InsufficientVolumeCapacity", "", Scope.ZONE),
        ("QuotaExceeded", "", Scope.ACCOUNT),
        ("Forbidden", "Quota exceeded for instances: Requested 1, but already used 10 of 10", Scope.ACCOUNT),
        ("SomethingLimitExceeded", "", Scope.ACCOUNT),
    ],
)
def test_what_there_is_no_room_for(code: str, message: str, scope: Scope) -> None:
    """What nobody has heard of is taken for a quota of the account: it pauses the pool, as it always has."""
    assert scope_of(code, message) is scope
    assert explained(code, 400, message).scope is scope


@pytest.mark.parametrize(
    ("message", "right"),
    [
        (
            "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/x is not "
            "authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role/y because no "
            "identity-based policy allows the iam:PassRole action. Encoded authorization failure message: 4GIOHlTk",
            ("iam:PassRole", "arn:aws:iam::123456789012:role/y"),
        ),
        (
            "User: arn:aws:sts::1:assumed-role/r/i is not authorized to perform: ec2:RunInstances with an explicit "
            "deny",
            ("ec2:RunInstances", ""),
        ),
        ("You are not authorized to perform this operation.", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_missing_right_is_what_the_cloud_names(message: str, right: tuple[str, str]) -> None:
    assert missing_right(message) == right
