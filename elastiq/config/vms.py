"""What is launched: the options of [ec2] that every pool may have its own of."""

from __future__ import annotations

from dataclasses import dataclass

from elastiq.config.options import ValueKind, option
from elastiq.model import ON_DEMAND, SPOT

JOIN_TOKEN = b"%join_token%"
"""What a join token takes the place of in the user data."""


@dataclass(frozen=True)
class VmOptions:
    """What is launched: every pool may have its own."""

    image_id: str = option(
        "",
        "Id of the image that the VMs boot, such as ami-1a2b3c4d. There is no default.",
        placeholder="ami-00000000",
        required=True,
    )
    flavour: str = option(
        "",
        "Type of the VMs, such as m5.large or m1.small.",
        kind=ValueKind.TEXT,
        default_text="the cloud's choice",
    )
    instance_types: tuple[str, ...] = option(
        (),
        "Types of the VMs in place of flavour, with commas between them, each with its price an hour on demand if you "
        "like. Those are launched that cost least for all jobs together, those without a price last and in this order; "
        "where the cloud has no room for one, the next is asked for at once.",
        kind=ValueKind.TYPES,
        example="m5.xlarge 0.192, m5a.xlarge 0.172",
        new=True,
        default_text="flavour alone",
        is_choice=True,
    )
    market: tuple[str, ...] = option(
        (ON_DEMAND,),
        "Markets on which VMs are asked for, in this order: spot, which costs less and is taken back by the cloud when "
        "it likes, and on-demand. A cloud that has no spot market is served on demand.",
        kind=ValueKind.LIST,
        example="spot, on-demand",
        choices=(SPOT, ON_DEMAND),
        new=True,
        default_text=ON_DEMAND,
        is_choice=True,
    )
    key_name: str = option(
        "",
        "Name of the ssh key pair that is put on the VMs.",
        kind=ValueKind.TEXT,
    )
    user_data_b64: bytes = option(
        b"",
        "What the VMs are to do when they boot, in base64, on as many lines as you like if all but the first begin "
        "with a space. %ipv4%, %ipv6% and %fqdn% in it become addresses and name of the head node, %join_token% "
        "what user_data_token_command prints.",
        kind=ValueKind.BASE64,
    )
    user_data_file: bytes = option(
        b"",
        "The same from a file, not in base64. A relative path begins where this configuration file is.",
        kind=ValueKind.CONTENT,
        new=True,
    )
    user_data_token_command: tuple[str, ...] = option(
        (),
        "A program, with its whole path, and its arguments, with spaces between them: it prints a token with which the "
        "VMs of one launch join the batch system, and which takes the place of %join_token% in their user data. It "
        "runs just before each launch, as elastiq's user, and without a shell, so quotes and $ mean nothing; no "
        "argument may be a secret. It has 20 s to print one line of 8 to 4096 characters. If it fails, nothing is "
        "launched.",
        kind=ValueKind.COMMAND,
        example="/usr/bin/condor_token_fetch -lifetime 86400 -authz ADVERTISE_STARTD -authz ADVERTISE_MASTER",
        new=True,
        default_text="none",
    )
    security_groups: tuple[str, ...] = option(
        (),
        "Security groups of the VMs, by id (sg-...) or by name, with commas between them.",
        new=True,
        default_text="the cloud's default group",
    )
    subnet_id: str = option(
        "",
        "Subnet of the VMs, such as subnet-1a2b3c4d.",
        new=True,
        default_text="the cloud's choice",
    )
    subnets: tuple[str, ...] = option(
        (),
        "Several subnets in place of subnet_id, by id (subnet-...) with commas between them. They are asked in this "
        "order; the VMs that one job needs at the same time are all in one.",
        kind=ValueKind.LIST,
        example="subnet-1a2b3c4d, subnet-5e6f7a8b",
        pattern=r"subnet-[A-Za-z0-9-]+",
        new=True,
        default_text="subnet_id alone",
        is_choice=True,
    )
    zones: tuple[str, ...] = option(
        (),
        "The same of availability zones, for clouds that choose a subnet themselves.",
        kind=ValueKind.LIST,
        example="nova-1, nova-2",
        pattern=r"(?!subnet-)[A-Za-z0-9][A-Za-z0-9._:-]*",
        new=True,
        default_text="the cloud's choice",
        is_choice=True,
    )
    instance_profile: str = option("", "Name or ARN of the instance profile (role) of the VMs.", new=True)
    require_imdsv2: bool = option(
        True,
        "Whether VMs reach the cloud's metadata only with a session token (IMDSv2). Clouds that do not know this are "
        "served without.",
        new=True,
    )
    imdsv2_hop_limit: int | None = option(
        None,
        "How many network hops the cloud's answer with that token may take. Jobs in containers with a network of their "
        "own need 2.",
        kind=ValueKind.COUNT,
        example="2",
        minimum=1,
        maximum=64,
        new=True,
        default_text="the cloud's own, at AWS usually 1",
    )

    jobs: str = option(
        "",
        "Which jobs VMs are launched for, as the batch system's plugin reads it. htcondor: a ClassAd expression of the "
        "job. slurm: partitions that the job is in, and feature:NAME for features that its --constraint names, with "
        "commas between them; one is enough. gridengine: queues with commas between them, of which the job must be "
        "able to run in one. sandbox: words of which the job must need one. With true (htcondor) or * (the others) a "
        "section [pool NAME] takes all jobs where [ec2] does not.",
        kind=ValueKind.EXPRESSION,
        example="MayUseAWS =?= true",
        new=True,
        default_text="all jobs",
    )
    offers: str = option(
        "",
        "What workers on these VMs offer beside the usual, with commas between, until one of them has been seen: then "
        "what that shows counts alone. htcondor: attributes, NAME = VALUE. slurm: features, gres:NAME:NUMBER and "
        "partition:NAME. gridengine: complexes as qsub -l names them, NAME=VALUE, with qname=NAME for a queue. "
        "sandbox: words.",
        kind=ValueKind.EXPRESSION,
        example='HasCVMFS = true, OpSysAndVer = "Debian12"',
        new=True,
        default_text="not known before a worker was seen",
    )

    @property
    def user_data(self) -> bytes:
        """What the VMs are to do when they boot, whichever option says it, before anything is substituted."""
        return self.user_data_b64 or self.user_data_file
