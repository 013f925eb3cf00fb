"""What a thief of the keys can do under the policy of docs/iam.md, by the rules by which AWS evaluates one: all is
refused that no statement allows, for each resource of a request apart.

Of these rules only what the policy uses is here: Allow, names with wildcards, StringEquals.
"""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

TOP = Path(__file__).parents[2]
ARN = "arn:aws:ec2:REGION:ACCOUNT"
ELSEWHERE = "arn:aws:ec2:us-gov-west-1:ACCOUNT"
ROLE = "arn:aws:iam::ACCOUNT:role"
TAGGED = {"aws:RequestTag/elastiq:cluster": "CLUSTER", "ec2:MetadataHttpTokens": "required"}
OWN, OTHERS = {"aws:ResourceTag/elastiq:cluster": "CLUSTER"}, {"aws:ResourceTag/elastiq:cluster": "another"}
AT_LAUNCH = {"ec2:CreateAction": "RunInstances", "aws:RequestTag/elastiq:cluster": "CLUSTER"}
TO_EC2 = {"iam:PassedToService": "ec2.amazonaws.com"}

Call = tuple[str, str, dict[str, str]]

ALLOWED: dict[str, list[Call]] = {
    "a launch with the tag": [
        ("ec2:RunInstances", f"{ARN}:instance/i-1", TAGGED),
        ("ec2:RunInstances", "arn:aws:ec2:REGION::image/ami-1", {}),
        *(("ec2:RunInstances", f"{ARN}:{kind}/x", {}) for kind in ("subnet", "security-group", "volume", "key-pair")),
        ("ec2:CreateTags", f"{ARN}:instance/i-1", AT_LAUNCH),
        ("iam:PassRole", f"{ROLE}/WORKER-ROLE", TO_EC2),
    ],
    "the end of one's own": [("ec2:TerminateInstances", f"{ARN}:instance/i-1", OWN)],
    "the console of one's own": [("ec2:GetConsoleOutput", f"{ARN}:instance/i-1", OWN)],
    "a look": [("ec2:DescribeInstances", "*", {}), ("ec2:DescribeInstanceTypes", "*", {})],
}

REFUSED: dict[str, Call] = {
    "a launch without the tag": ("ec2:RunInstances", f"{ARN}:instance/i-1", {"ec2:MetadataHttpTokens": "required"}),
    "a launch for another cluster": (
        "ec2:RunInstances",
        f"{ARN}:instance/i-1",
        {**TAGGED, "aws:RequestTag/elastiq:cluster": "another"},
    ),
    "a launch with open metadata": (
        "ec2:RunInstances",
        f"{ARN}:instance/i-1",
        {**TAGGED, "ec2:MetadataHttpTokens": "optional"},
    ),
    "a launch in another region": ("ec2:RunInstances", f"{ELSEWHERE}:instance/i-1", TAGGED),
    "a launch from a template": ("ec2:RunInstances", f"{ARN}:launch-template/lt-1", TAGGED),
    "a launch from a snapshot": ("ec2:RunInstances", f"{ARN}:snapshot/snap-1", TAGGED),
    "the end of another's VM": ("ec2:TerminateInstances", f"{ARN}:instance/i-1", OTHERS),
    "the end of a VM without tags": ("ec2:TerminateInstances", f"{ARN}:instance/i-1", {}),
    "the console of another's VM": ("ec2:GetConsoleOutput", f"{ARN}:instance/i-1", OTHERS),
    "the tag on another's VM, to end it then": (
        "ec2:CreateTags",
        f"{ARN}:instance/i-1",
        {"aws:RequestTag/elastiq:cluster": "CLUSTER"},
    ),
    "the tag by another call": (
        "ec2:CreateTags",
        f"{ARN}:instance/i-1",
        {**AT_LAUNCH, "ec2:CreateAction": "CreateVolume"},
    ),
    "an administrator's role for a VM": ("iam:PassRole", f"{ROLE}/admin", TO_EC2),
    "the workers' role for another service": (
        "iam:PassRole",
        f"{ROLE}/WORKER-ROLE",
        {"iam:PassedToService": "lambda.amazonaws.com"},
    ),
    **{
        f"{action} at all": (action, "*", {**TAGGED, **OWN, **AT_LAUNCH})
        for action in (
            "ec2:StopInstances",
            "ec2:ModifyInstanceAttribute",
            "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateKeyPair",
            "ec2:DescribeSnapshots",
            "ec2:GetPasswordData",
            "iam:CreateUser",
            "sts:AssumeRole",
            "s3:GetObject",
        )
    },
}


def statements() -> list[dict[str, Any]]:
    text = (TOP / "docs" / "iam.md").read_text()
    found: list[dict[str, Any]] = json.loads(text.split("```json\n")[1].split("```")[0])["Statement"]
    return found


def words(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def is_allowed(call: Call) -> bool:
    action, resource, context = call
    for statement in statements():
        assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}
        assert statement["Effect"] == "Allow" and set(statement.get("Condition", {})) <= {"StringEquals"}
        wanted = statement.get("Condition", {}).get("StringEquals", {})
        if (
            any(fnmatchcase(action.lower(), one.lower()) for one in words(statement["Action"]))
            and any(fnmatchcase(resource, one) for one in words(statement["Resource"]))
            and all(context.get(key) in words(value) for key, value in wanted.items())
        ):
            return True
    return False


@pytest.mark.parametrize("calls", ALLOWED.values(), ids=list(ALLOWED))
def test_what_elastiq_does_is_allowed(calls: list[Call]) -> None:
    assert [call for call in calls if not is_allowed(call)] == []


@pytest.mark.parametrize("call", REFUSED.values(), ids=list(REFUSED))
def test_what_a_thief_of_the_keys_would_like_is_refused(call: Call) -> None:
    assert not is_allowed(call)


def test_the_page_says_what_a_thief_can_do_all_the_same() -> None:
    text = (TOP / "docs" / "iam.md").read_text()
    assert re.search(r"Whoever has the keys can", text)
