"""`python -m tests.testbed.openstack.record` asks a real OpenStack all that tests want answers to, and writes these to
answers.json: word for word, but for the end of those that are longer than anybody reads."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from tests.testbed.openstack.cloud import OpenStack
from tests.testbed.openstack.recorded import ANSWERS
from tests.testbed.openstack.relay import Exchange
from tests.testbed.openstack.services import KEYSTONE_PORT, NOVA_PORT
from tests.testbed.openstack.set_up import ec2_client
from tests.testbed.rootfs import UnavailableError

LONGEST = 4000
"""Characters of an answer that are kept; one that is longer repeats what was sent."""


def record(cloud: OpenStack) -> dict[str, dict[str, Any]]:
    """Return what the cloud answers: occasion -> status, content type and body."""
    answers: dict[str, dict[str, Any]] = {}
    known = cloud.facts
    good = {"ImageId": known.image_id, "InstanceType": known.flavours[0], "KeyName": known.key_name}
    one = {"MinCount": 1, "MaxCount": 1}
    client = cloud.client()

    def ask(name: str, call: Callable[..., Any], **parameters: Any) -> Any:
        answer = None
        with contextlib.suppress(ClientError, BotoCoreError, ResponseParserError):
            answer = call(**parameters)
        answers[name] = _kept(cloud.ec2.exchanges[-1])
        return answer

    made = ask("RunInstances", client.run_instances, **good, MinCount=1, MaxCount=2, ClientToken="token-1")
    ids = [instance["InstanceId"] for instance in made["Instances"]]
    tags = [{"Key": "elastiq:cluster", "Value": "physics"}]
    ask("CreateTags", client.create_tags, Resources=ids, Tags=tags)
    ask("DescribeInstances", client.describe_instances)
    ask("GetConsoleOutput", client.get_console_output, InstanceId=ids[0])
    ask("DescribeInstanceTypes", client.describe_instance_types)
    ask("unknown instance", client.describe_instances, InstanceIds=["i-0000000a"])
    ask("malformed instance", client.describe_instances, InstanceIds=["zzz"])
    ask("unknown filter", client.describe_instances, Filters=[{"Name": "bogus", "Values": ["x"]}])
    wrong: dict[str, dict[str, Any]] = {
        "ImageId": {"ImageId": "ami-0000000a"},
        "ImageId of another project": {"ImageId": known.private_image_id},
        "InstanceType": {"InstanceType": "m5.large"},
        "KeyName": {"KeyName": "nobody"},
        "SubnetId": {"SubnetId": "subnet-0000000a"},
        "Placement.AvailabilityZone": {"Placement": {"AvailabilityZone": "nowhere"}},
        "SecurityGroupIds": {"SecurityGroupIds": ["sg-0000000a"]},
        "SecurityGroups": {"SecurityGroups": ["nobody"]},
        "UserData": {"UserData": "x" * 60000},
        "TagSpecifications": {"TagSpecifications": [{"ResourceType": "instance", "Tags": tags}]},
        "MetadataOptions": {"MetadataOptions": {"HttpTokens": "required"}},
    }
    for name, parameters in wrong.items():
        ask(f"RunInstances with a wrong {name}", client.run_instances, **{**good, **parameters, **one})
    ask("TerminateInstances", client.terminate_instances, InstanceIds=ids)
    cloud.remove_servers()
    _ask_for_too_much(cloud, ask, good)
    for name, keys in {
        "wrong secret": (known.access_key, "wrong"),
        "wrong access key": ("wrong", known.secret_key),
    }.items():
        ask(name, ec2_client(cloud.url, *keys).describe_instances)
    ask(
        "keys of another project",
        ec2_client(cloud.url, known.other_access_key, known.other_secret_key).run_instances,
        **good,
        **one,
    )
    for name, port in {"nova": NOVA_PORT, "keystone": KEYSTONE_PORT}.items():
        with cloud.relay(port) as relay:
            with contextlib.suppress(ClientError, BotoCoreError, ResponseParserError):
                ec2_client(relay.url, known.access_key, known.secret_key).describe_instances()
            answers[f"EC2 request to {name}"] = _kept(relay.exchanges[-1])
    with _without_keystone(cloud):
        ask("keystone is down", client.describe_instances)
    return answers


def _ask_for_too_much(cloud: OpenStack, ask: Callable[..., Any], good: dict[str, Any]) -> None:
    client = cloud.client()
    huge = {**good, "InstanceType": cloud.facts.flavours[2]}
    made = ask("RunInstances that fits nowhere", client.run_instances, **huge, MinCount=1, MaxCount=1)
    failed = made["Instances"][0]["InstanceId"]
    while not any(server.status == "ERROR" for server in cloud.servers()):
        pass
    ask("DescribeInstances with a failed one", client.describe_instances)
    ask("GetConsoleOutput of a failed one", client.get_console_output, InstanceId=failed)
    cloud.remove_servers()
    cloud.set_quota(2)
    ask("RunInstances partly over quota", client.run_instances, **good, MinCount=1, MaxCount=6)
    ask("RunInstances over quota", client.run_instances, **good, MinCount=1, MaxCount=1)
    cloud.remove_servers()
    cloud.set_quota()


@contextlib.contextmanager
def _without_keystone(cloud: OpenStack) -> Iterator[None]:
    cloud.stop_keystone()
    try:
        yield
    finally:
        cloud.start_keystone()


def _kept(exchange: Exchange) -> dict[str, Any]:
    return {"status": exchange.status, "content_type": exchange.content_type, "body": exchange.body[:LONGEST]}


def main() -> int:
    try:
        with OpenStack() as cloud:
            ANSWERS.write_text(json.dumps(record(cloud), indent=1) + "\n", encoding="utf-8")
    except UnavailableError as reason:
        print(f"testbed: {reason}", file=sys.stderr)
        return 1
    print(ANSWERS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
