"""The table of options: the only place that knows them.

Names, defaults and meanings of the options that are not marked new are those of the original elastiq 0.9 and 1.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Union

Value = Union[str, int, float, bool, bytes, Path, tuple[str, ...], None]

SECTIONS = {
    "elastiq": "When to look, when to launch and when to terminate.",
    "quota": "How many VMs there may be, pending and running together.",
    "ec2": "The cloud, and what is launched there.",
    "substitute": "What %ipv4%, %ipv6% and %fqdn% in the user data become. Rarely needed: left out, they become the "
    "head node's own main addresses and name.",
    "debug": "For trying out a configuration.",
    "htcondor": "The batch plugin htcondor.",
    "gridengine": "The batch plugin gridengine.",
    "slurm": "The batch plugin slurm.",
    "sandbox": "The batch plugin sandbox, which serves the demonstration.",
}

DAY = 86400.0

MAX_USER_DATA = 65535 // 4 * 3
"""Longest user data that OpenStack stores, decoded: its database column takes 65535 characters of base64."""

MAX_USER_DATA_AWS = 16384
"""Longest user data that AWS takes, decoded."""


class Kind(Enum):
    """What the text of a value means."""

    DURATION = "a time"
    COUNT = "a whole number"
    LIMIT = "a whole number or the word unlimited"
    SWITCH = "yes or no"
    LEVEL = "a log level"
    WORD = "text without spaces"
    TEXT = "text"
    SECRET = "a secret"  # noqa: S105
    LIST = "names with commas between them"
    URL = "an address that begins with http:// or https://"
    DIRECTORY = "a directory"
    FILE = "a file"
    METRICS = "a file whose name ends in .prom"
    BASE64 = "base64"
    CONTENT = "a file that is read in"


@dataclass(frozen=True)
class Option:
    """One option: where it stands, what its value means, and what it is when it is not given."""

    section: str
    name: str
    kind: Kind
    default: Value
    help: str
    field: str = ""
    """Field of Settings; the same as the name unless given."""
    sample: str = ""
    """Its value in elastiq.conf.example; options without one are commented out there unless they are required."""
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()
    pattern: str = ""
    """Regular expression that a word must match."""
    placeholder: str = ""
    """The value in the original's sample file that stands for "fill this in"."""
    can_be_empty: bool = False
    """True if an empty value means the same as none."""
    required: bool = False
    secret: bool = False
    """True if its value must not get into any message."""
    new: bool = False
    """True if the original did not have it."""
    default_text: str = ""
    """The default in words, where the value itself does not say it."""

    @property
    def target(self) -> str:
        """Return the field of Settings that it fills."""
        return self.field or self.name

    @property
    def title(self) -> str:
        """Return how messages call it."""
        return f"[{self.section}] {self.name}"


OPTIONS: tuple[Option, ...] = (
    Option(
        "elastiq",
        "sleep_s",
        Kind.DURATION,
        5.0,
        "Pause between two passes of the main loop.",
        sample="5",
        minimum=0.1,
        maximum=3600,
    ),
    Option(
        "elastiq",
        "check_queue_every_s",
        Kind.DURATION,
        15.0,
        "How often the batch system is asked for waiting jobs.",
        sample="15",
        maximum=DAY,
    ),
    Option(
        "elastiq",
        "check_vms_every_s",
        Kind.DURATION,
        45.0,
        "How often workers and VMs are looked at.",
        sample="45",
        maximum=DAY,
    ),
    Option(
        "elastiq",
        "check_vms_in_error_every_s",
        Kind.DURATION,
        20.0,
        "How often VMs are looked at while some are booting, to find those in state error.",
        sample="20",
        maximum=DAY,
    ),
    Option(
        "elastiq",
        "estimated_vm_deploy_time_s",
        Kind.DURATION,
        600.0,
        "How long a VM may take from its launch to joining the batch system. One that has not joined by then is "
        "terminated and replaced: be generous.",
        sample="600",
        minimum=1,
        maximum=7 * DAY,
    ),
    Option(
        "elastiq",
        "waiting_jobs_threshold",
        Kind.COUNT,
        0,
        "VMs are launched only while at least this many jobs wait that the VMs already booting will not take: "
        "with 10, nine waiting jobs launch nothing.",
        maximum=10_000_000,
    ),
    Option(
        "elastiq",
        "waiting_jobs_time_s",
        Kind.DURATION,
        40.0,
        "For how long that must have been so before VMs are launched.",
        maximum=30 * DAY,
    ),
    Option(
        "elastiq",
        "n_jobs_per_vm",
        Kind.COUNT,
        None,
        "How many jobs one VM takes.",
        minimum=1,
        maximum=100_000,
        can_be_empty=True,
        default_text="by what the jobs ask for and the VMs hold, where that is known, otherwise 4",
    ),
    Option(
        "elastiq",
        "idle_for_time_s",
        Kind.DURATION,
        3600.0,
        "A VM that has had no job for longer than this is terminated, once the batch system has closed it for new "
        "jobs.",
        sample="3600",
        maximum=365 * DAY,
    ),
    Option(
        "elastiq",
        "lost_worker_time_s",
        Kind.DURATION,
        3600.0,
        "How long a worker that vanished from the batch system is given to come back before its VM is terminated.",
        minimum=1,
        maximum=365 * DAY,
        new=True,
    ),
    Option(
        "elastiq",
        "batch_plugin",
        Kind.WORD,
        "htcondor",
        "The batch system: htcondor, slurm, gridengine, sandbox, or the name of a plugin installed beside elastiq.",
        sample="htcondor",
        pattern=r"[A-Za-z_][A-Za-z0-9_.-]*",
    ),
    Option(
        "elastiq",
        "log_level",
        Kind.LEVEL,
        0,
        "How much is logged: debug, info, warning, error, critical, or the number of Python's logging (10, 20, 30, 40, "
        "50); 0 means the usual, which is info.",
        sample="0",
        maximum=50,
    ),
    Option(
        "elastiq",
        "cluster_name",
        Kind.WORD,
        "",
        "Name of this cluster, in the tag elastiq:cluster of its VMs: it tells them from those of other clusters in "
        "the same account, so no two clusters may share it. Set it if the head node may be set up anew or renamed "
        "while VMs run. It is made of letters, digits and the characters . _ : / + = @ and -.",
        pattern=r"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}",
        can_be_empty=True,
        new=True,
        default_text="the head node's full name; a host name without a domain is made unique by its machine id",
    ),
    Option(
        "elastiq",
        "state_dir",
        Kind.DIRECTORY,
        None,
        "Where elastiq remembers its VMs. Stop elastiq before you change this: elastiqctl looks for it there.",
        can_be_empty=True,
        new=True,
        default_text="/var/lib/elastiq for root and in a service, ~/.elastiq otherwise",
    ),
    Option(
        "elastiq",
        "metrics_file",
        Kind.METRICS,
        None,
        "Where the figures of elastiqctl status are written for Prometheus, in a directory that node_exporter's "
        "textfile collector reads, such as /var/lib/elastiq-metrics/elastiq.prom: whenever they change, and every "
        "minute. Anybody may read the file; nothing in it is secret. Needs the Python package prometheus_client.",
        can_be_empty=True,
        new=True,
        default_text="none",
    ),
    Option(
        "quota",
        "min_vms",
        Kind.COUNT,
        0,
        "There are always at least this many VMs, jobs or not.",
        sample="0",
        maximum=100_000,
    ),
    Option(
        "quota",
        "max_vms",
        Kind.LIMIT,
        3,
        "There are never more VMs than this. The word unlimited lifts the limit (the original took 0 for that).",
        sample="3",
        minimum=1,
        maximum=100_000,
    ),
    Option(
        "ec2",
        "api_url",
        Kind.URL,
        "",
        "Address of the EC2 interface. Left out: AWS itself, in the region given, whatever AWS_ENDPOINT_URL or "
        "~/.aws/config say.",
        placeholder="https://dummy.ec2.server/ec2/",
        can_be_empty=True,
        default_text="AWS",
    ),
    Option(
        "ec2",
        "region",
        Kind.WORD,
        "",
        "Region of the cloud, such as eu-west-1.",
        pattern=r"[A-Za-z0-9][A-Za-z0-9_.-]*",
        can_be_empty=True,
        new=True,
        default_text="as boto3 is configured (AWS_DEFAULT_REGION, ~/.aws/config)",
    ),
    Option(
        "ec2",
        "api_version",
        Kind.WORD,
        "",
        "Version of the EC2 interface, such as 2013-02-01. Only those that boto3 knows can be used, and at AWS the "
        "newest alone; any other is ignored with a note in the log.",
        can_be_empty=True,
        default_text="the newest that boto3 knows",
    ),
    Option(
        "ec2",
        "aws_access_key_id",
        Kind.WORD,
        "",
        "Access key. Both keys left out: boto3 looks for them in the environment, in ~/.aws/credentials and in the "
        "role of the head node.",
        placeholder="my_username",
        can_be_empty=True,
        secret=True,
        default_text="found by boto3",
    ),
    Option(
        "ec2",
        "aws_secret_access_key",
        Kind.SECRET,
        "",
        "Secret key. It is taken as it stands, with # and % and all; only ; after a space begins a comment.",
        placeholder="my_password",
        can_be_empty=True,
        secret=True,
        default_text="found by boto3",
    ),
    Option(
        "ec2",
        "ca_bundle",
        Kind.FILE,
        "",
        "File with the certificates of the authorities (PEM) that vouch for the cloud's own.",
        can_be_empty=True,
        new=True,
        default_text="those that boto3 trusts",
    ),
    Option(
        "ec2",
        "verify",
        Kind.SWITCH,
        True,
        "Whether the cloud's certificate is checked. Better name its authority in ca_bundle than say no here.",
        new=True,
    ),
    Option(
        "ec2",
        "image_id",
        Kind.WORD,
        "",
        "Id of the image that the VMs boot, such as ami-1a2b3c4d. There is no default.",
        placeholder="ami-00000000",
        required=True,
    ),
    Option(
        "ec2",
        "flavour",
        Kind.TEXT,
        "",
        "Type of the VMs, such as m5.large or m1.small.",
        can_be_empty=True,
        default_text="the cloud's choice",
    ),
    Option(
        "ec2",
        "key_name",
        Kind.TEXT,
        "",
        "Name of the ssh key pair that is put on the VMs.",
        can_be_empty=True,
        default_text="none",
    ),
    Option(
        "ec2",
        "user_data_b64",
        Kind.BASE64,
        b"",
        "What the VMs are to do when they boot, in base64, on as many lines as you like if all but the first begin "
        "with a space. %ipv4%, %ipv6% and %fqdn% in it become addresses and name of the head node.",
        field="user_data",
        can_be_empty=True,
        secret=True,
        default_text="none",
    ),
    Option(
        "ec2",
        "user_data_file",
        Kind.CONTENT,
        b"",
        "The same from a file, not in base64. A relative path begins where this configuration file is.",
        field="user_data",
        can_be_empty=True,
        new=True,
        default_text="none",
    ),
    Option(
        "ec2",
        "security_groups",
        Kind.LIST,
        (),
        "Security groups of the VMs, by id (sg-...) or by name, with commas between them.",
        can_be_empty=True,
        new=True,
        default_text="the cloud's default group",
    ),
    Option(
        "ec2",
        "subnet_id",
        Kind.WORD,
        "",
        "Subnet of the VMs, such as subnet-1a2b3c4d.",
        can_be_empty=True,
        new=True,
        default_text="the cloud's choice",
    ),
    Option(
        "ec2",
        "instance_profile",
        Kind.WORD,
        "",
        "Name or ARN of the instance profile (role) of the VMs.",
        can_be_empty=True,
        new=True,
        default_text="none",
    ),
    Option(
        "ec2",
        "require_imdsv2",
        Kind.SWITCH,
        True,
        "Whether VMs reach the cloud's metadata only with a session token (IMDSv2). Clouds that do not know this are "
        "served without.",
        new=True,
    ),
    Option("substitute", "ipv4", Kind.WORD, "", "What %ipv4% becomes.", can_be_empty=True, default_text="found out"),
    Option("substitute", "ipv6", Kind.WORD, "", "What %ipv6% becomes.", can_be_empty=True, default_text="found out"),
    Option("substitute", "fqdn", Kind.WORD, "", "What %fqdn% becomes.", can_be_empty=True, default_text="found out"),
    Option(
        "debug",
        "dry_run_shutdown_vms",
        Kind.SWITCH,
        False,
        "Say what would be terminated, and terminate nothing.",
    ),
    Option(
        "debug",
        "dry_run_boot_vms",
        Kind.SWITCH,
        False,
        "Say what would be launched, and launch nothing.",
    ),
    Option(
        "htcondor",
        "query",
        Kind.WORD,
        "auto",
        "How HTCondor is asked: by its Python bindings (bindings), by its commands such as condor_q (cli), or by the "
        "bindings where they are installed (auto).",
        field="htcondor_query",
        choices=("auto", "bindings", "cli"),
        new=True,
    ),
    Option(
        "htcondor",
        "timeout_s",
        Kind.DURATION,
        60.0,
        "How long one question to HTCondor may take.",
        field="htcondor_timeout_s",
        minimum=1,
        maximum=3600,
        new=True,
    ),
    Option(
        "slurm",
        "sudo_user",
        Kind.WORD,
        "",
        "User as whom scontrol drains and deletes nodes, by sudo: slurm, the SlurmUser of slurm.conf. Not needed if "
        "elastiq runs as that user or root, or is an administrator of slurmdbd.",
        field="slurm_sudo_user",
        pattern=r"[A-Za-z_][A-Za-z0-9_.-]*",
        can_be_empty=True,
        new=True,
        default_text="none",
    ),
    Option(
        "slurm",
        "partitions",
        Kind.LIST,
        (),
        "Partitions whose jobs elastiq launches VMs for, with commas between them.",
        field="slurm_partitions",
        can_be_empty=True,
        new=True,
        default_text="all",
    ),
    Option(
        "slurm",
        "timeout_s",
        Kind.DURATION,
        60.0,
        "How long one question to Slurm may take.",
        field="slurm_timeout_s",
        minimum=1,
        maximum=3600,
        new=True,
    ),
    Option(
        "gridengine",
        "timeout_s",
        Kind.DURATION,
        60.0,
        "How long one question to Grid Engine may take.",
        field="gridengine_timeout_s",
        minimum=1,
        maximum=3600,
        new=True,
    ),
    Option(
        "gridengine",
        "cell_dir",
        Kind.DIRECTORY,
        None,
        "Directory of the Grid Engine cell, in which common/accounting tells of jobs that have ended.",
        field="gridengine_cell_dir",
        can_be_empty=True,
        new=True,
        default_text="$SGE_ROOT/$SGE_CELL, of which each part not set is that of /var/lib/gridengine/default",
    ),
    Option(
        "sandbox",
        "spool_dir",
        Kind.DIRECTORY,
        None,
        "Directory where the jobs are.",
        field="sandbox_spool_dir",
        can_be_empty=True,
        new=True,
        default_text="none; the plugin sandbox needs it",
    ),
)
