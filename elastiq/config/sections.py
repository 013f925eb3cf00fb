"""elastiq's own sections of the configuration file, and all of their options.

Names, defaults and meanings of the options that are not marked new are those of the original elastiq 0.9 and 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from elastiq.config.addresses import PLAIN_HTTP, UNVERIFIED, is_here
from elastiq.config.notify import NotifyOptions
from elastiq.config.options import DAY, Section, ValueKind, option
from elastiq.model import ON_DEMAND, SPOT


@dataclass(frozen=True)
class ElastiqOptions:
    """When to look, when to launch and when to terminate."""

    sleep_s: float = option(5.0, "Pause between two passes of the main loop.", sample="5", minimum=0.1, maximum=3600)
    check_queue_every_s: float = option(
        15.0, "How often the batch system is asked for waiting jobs.", sample="15", maximum=DAY
    )
    check_vms_every_s: float = option(45.0, "How often workers and VMs are looked at.", sample="45", maximum=DAY)
    check_vms_in_error_every_s: float = option(
        20.0,
        "How often VMs are looked at while some are booting, to find those in state error.",
        sample="20",
        maximum=DAY,
    )
    estimated_vm_deploy_time_s: float = option(
        600.0,
        "How long a VM may take from its launch to joining the batch system. One that has not joined by then is "
        "terminated and replaced: be generous.",
        sample="600",
        minimum=1,
        maximum=7 * DAY,
    )
    policy: str = option(
        "",
        "When VMs are launched and terminated. adaptive: as soon as jobs lack room, with as much room kept free for "
        "jobs to come as the load rose by lately, and a VM goes once it is not needed; waiting_jobs_threshold, "
        "waiting_jobs_time_s, idle_for_time_s and n_jobs_per_vm bound it where they are set. classic: by these four "
        "alone, as the original did.",
        choices=("adaptive", "classic"),
        new=True,
        default_text="adaptive if none of these four is set, otherwise classic",
    )
    eagerness: float = option(
        0.65,
        "How much room the policy adaptive keeps free for jobs to come, from 0 (none) to 1: for this part of the last "
        "rises of the load there would have been room at once. More costs more and lets jobs wait for less long.",
        kind=ValueKind.FRACTION,
        maximum=1,
        new=True,
    )
    waiting_jobs_threshold: int = option(
        0,
        "VMs are launched only while at least this many jobs wait that the VMs already booting will not take: with "
        "10, nine waiting jobs launch nothing.",
        maximum=10_000_000,
    )
    waiting_jobs_time_s: float = option(
        40.0,
        "For how long that must have been so before VMs are launched.",
        maximum=30 * DAY,
        default_text="40; with the policy adaptive 0",
    )
    n_jobs_per_vm: int | None = option(
        None,
        "How many jobs one VM takes.",
        kind=ValueKind.COUNT,
        example="4",
        minimum=1,
        maximum=100_000,
        default_text="by what the jobs ask for and the VMs hold, where that is known, otherwise 4",
    )
    idle_for_time_s: float = option(
        3600.0,
        "A VM that has had no job for longer than this is terminated, once the batch system has closed it for new "
        "jobs. With the policy adaptive it stays for longer than that if jobs to come may need it.",
        example="3600",
        maximum=365 * DAY,
        default_text="3600; with the policy adaptive 60",
    )
    lost_worker_time_s: float = option(
        3600.0,
        "How long a worker that vanished from the batch system is given to come back before its VM is terminated.",
        minimum=1,
        maximum=365 * DAY,
        new=True,
    )
    on_interruption: str = option(
        "requeue",
        "What becomes of jobs on a spot VM that the cloud is about to take back. requeue: what still runs shortly "
        "before the end is queued again. drain: they run until the cloud ends their VM. No new job starts there.",
        choices=("requeue", "drain"),
        new=True,
    )
    batch_plugin: str = option(
        "htcondor",
        "The batch system: htcondor, slurm, gridengine, sandbox, or the name of a plugin installed beside elastiq.",
        sample="htcondor",
        pattern=r"[A-Za-z_][A-Za-z0-9_.-]*",
    )
    log_level: int = option(
        0,
        "How much is logged: debug, info, warning, error, critical, or the number of Python's logging (10, 20, 30, "
        "40, 50); 0 means the usual, which is info.",
        kind=ValueKind.LEVEL,
        sample="0",
        maximum=50,
    )
    cluster_name: str = option(
        "",
        "Name of this cluster, in the tag elastiq:cluster of its VMs: it tells them from those of other clusters in "
        "the same account, so no two clusters may share it. Set it if the head node may be set up again or renamed "
        "while VMs run. It is made of letters, digits and the characters . _ : / + = @ and -.",
        pattern=r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}",
        new=True,
        default_text="the head node's full name; a host name without a domain is made unique by its machine id",
    )
    state_dir: Path | None = option(
        None,
        "Where elastiq remembers its VMs. Stop elastiq before you change this: elastiqctl looks for it there.",
        kind=ValueKind.DIRECTORY,
        new=True,
        default_text="/var/lib/elastiq for root and in a service, ~/.elastiq otherwise",
    )
    metrics_file: Path | None = option(
        None,
        "Where the figures of elastiqctl status are written for Prometheus, in a directory that node_exporter's "
        "textfile collector reads, such as /var/lib/elastiq-metrics/elastiq.prom: whenever they change, and every "
        "minute. Anybody may read the file; nothing in it is secret.",
        kind=ValueKind.METRICS,
        new=True,
    )
    page_file: Path | None = option(
        None,
        "Where the page that elastiqctl page prints is written, once a minute: one HTML file that needs nothing else, "
        "in a directory that a web server shows, such as /var/lib/elastiq-page/index.html. Anybody may read the file; "
        "nothing in it is secret, but it names VMs, pools and what jobs ask for.",
        kind=ValueKind.PAGE,
        new=True,
    )


@dataclass(frozen=True)
class QuotaOptions:
    """How many VMs there may be, pending and running together."""

    min_vms: int = option(0, "There are always at least this many VMs, jobs or not.", sample="0", maximum=100_000)
    max_vms: int | None = option(
        3,
        "There are never more VMs than this. The word unlimited lifts the limit (the original took 0 for that).",
        kind=ValueKind.LIMIT,
        sample="3",
        minimum=1,
        maximum=100_000,
    )


@dataclass(frozen=True)
class CloudOptions:
    """Where the cloud is, and who asks it."""

    api_url: str = option(
        "",
        "Address of the EC2 interface. Left out: AWS itself, in the region given, whatever AWS_ENDPOINT_URL or "
        "~/.aws/config say.",
        kind=ValueKind.URL,
        placeholder="https://dummy.ec2.server/ec2/",
        default_text="AWS",
    )
    region: str = option(
        "",
        "Region of the cloud, such as eu-west-1.",
        pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        new=True,
        default_text="as boto3 is configured (AWS_DEFAULT_REGION, ~/.aws/config)",
    )
    api_version: str = option(
        "",
        "Version of the EC2 interface, such as 2016-11-15. Rarely needed. Only those that boto3 knows can be used, and "
        "at AWS the newest alone; any other is ignored, which the log says once.",
        default_text="the newest that boto3 knows",
    )
    aws_access_key_id: str = option(
        "",
        "Access key. Both keys left out: boto3 looks for them in the environment, in ~/.aws/credentials and in the "
        "role of the head node.",
        placeholder="my_username",
        secret=True,
        default_text="found by boto3",
    )
    aws_secret_access_key: str = option(
        "",
        "Secret key. It is taken as it stands, with # and % and all; only ; after a space begins a comment.",
        kind=ValueKind.SECRET,
        placeholder="my_password",
        default_text="found by boto3",
    )
    ca_bundle: str = option(
        "",
        "File with the certificates of the authorities (PEM) that vouch for the cloud's own.",
        kind=ValueKind.FILE,
        new=True,
        default_text="those that boto3 trusts",
    )
    verify: bool = option(
        True,
        "Whether the cloud's certificate is checked. Better name its authority in ca_bundle than say no here.",
        new=True,
    )


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
        "with a space. %ipv4%, %ipv6% and %fqdn% in it become addresses and name of the head node.",
        kind=ValueKind.BASE64,
    )
    user_data_file: bytes = option(
        b"",
        "The same from a file, not in base64. A relative path begins where this configuration file is.",
        kind=ValueKind.CONTENT,
        new=True,
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


@dataclass(frozen=True)
class Ec2Options(VmOptions, CloudOptions):
    """The cloud, and what is launched there."""

    @property
    def is_aws(self) -> bool:
        """Whether the endpoint is AWS itself, which takes every parameter that boto3 knows."""
        host = urlsplit(self.api_url).hostname or ""
        return not self.api_url or host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))

    @property
    def cautions(self) -> tuple[str, ...]:
        """What is to be said, as long as the daemon runs, of how the cloud is asked."""
        if self.api_url.startswith("http:"):
            return () if is_here(self.api_url) else (f"api_url {PLAIN_HTTP}",)
        return () if self.verify else (f"verify = no: {UNVERIFIED}",)


@dataclass(frozen=True)
class CostOptions:
    """What VMs may cost, by the prices in instance_types. At a limit nothing is launched; of a day or a month that is
    spent idle VMs go at once, also below min_vms. Jobs that run end as they would."""

    currency: str = option(
        "",
        "In which currency the prices are; it is shown behind amounts.",
        example="EUR",
        pattern=r"\S{1,8}",
        new=True,
    )
    max_per_hour: float | None = option(
        None,
        "All VMs that may exist never cost more than this an hour, together.",
        kind=ValueKind.MONEY,
        example="12.00",
        maximum=1e9,
        new=True,
        default_text="no limit",
    )
    max_per_day: float | None = option(
        None,
        "When VMs have cost so much on a day nothing more is launched until the next one.",
        kind=ValueKind.MONEY,
        example="100.00",
        maximum=1e9,
        new=True,
        default_text="no limit",
    )
    max_per_month: float | None = option(
        None,
        "The same of a month of the calendar.",
        kind=ValueKind.MONEY,
        example="2000.00",
        maximum=1e9,
        new=True,
        default_text="no limit",
    )
    timezone: str = option(
        "",
        "In which time zone days and months begin, such as Europe/Rome; also that of schedules that name none.",
        kind=ValueKind.ZONE,
        example="Europe/Rome",
        new=True,
        default_text="that of the head node",
    )


@dataclass(frozen=True)
class SubstituteOptions:
    """What %ipv4%, %ipv6% and %fqdn% in the user data become. Rarely needed: left out, they become the head node's own
    main addresses and name."""

    ipv4: str = option("", "What %ipv4% becomes.", default_text="found out")
    ipv6: str = option("", "What %ipv6% becomes.", default_text="found out")
    fqdn: str = option("", "What %fqdn% becomes.", default_text="found out")


@dataclass(frozen=True)
class DebugOptions:
    """For trying out a configuration."""

    dry_run_shutdown_vms: bool = option(False, "Say what would be terminated, and terminate nothing.", example="1")
    dry_run_boot_vms: bool = option(False, "Say what would be launched, and launch nothing.", example="1")


SECTIONS = (
    Section("elastiq", ElastiqOptions),
    Section("quota", QuotaOptions),
    Section("ec2", Ec2Options),
    Section("cost", CostOptions),
    Section("notify", NotifyOptions),
    Section("substitute", SubstituteOptions),
    Section("debug", DebugOptions),
)
