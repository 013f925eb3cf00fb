"""The configuration file: read, checked as a whole, and turned into Settings.

`python -m elastiq.config example|man|reference` prints elastiq.conf.example, the manual page elastiq.conf(5) or
docs/configuration.md.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import os
import re
import socket
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from elastiq.config import ini
from elastiq.config.convert import BadValue, FileContent, converted, duration_text, read_limited
from elastiq.config.documents import example, manual_page, reference
from elastiq.config.options import MAX_USER_DATA_AWS, OPTIONS, SECTIONS, Kind, Option, Value
from elastiq.errors import ConfigError
from elastiq.model import Policy, Pool
from elastiq.report import metrics
from elastiq.text import printable, shown

__all__ = [
    "Settings",
    "check",
    "default_cluster_name",
    "default_state_dir",
    "example",
    "load",
    "manual_page",
    "reference",
]

MAX_FILE_BYTES = 1024 * 1024

MAX_PROBLEMS = 100
"""How many problems one error names; a file with more of them is some other kind of file."""


@dataclass(frozen=True)
class Settings:
    """A valid configuration. Field names are option names (with the section's name before them where it is new)."""

    # [elastiq]
    sleep_s: float = 5.0
    check_queue_every_s: float = 15.0
    check_vms_every_s: float = 45.0
    check_vms_in_error_every_s: float = 20.0
    estimated_vm_deploy_time_s: float = 600.0
    waiting_jobs_threshold: int = 0
    waiting_jobs_time_s: float = 40.0
    n_jobs_per_vm: int | None = None
    idle_for_time_s: float = 3600.0
    lost_worker_time_s: float = 3600.0
    batch_plugin: str = "htcondor"
    log_level: int = 0
    cluster_name: str = ""
    state_dir: Path | None = None
    metrics_file: Path | None = None
    # [quota]
    min_vms: int = 0
    max_vms: int | None = 3
    # [ec2]
    api_url: str = ""
    api_version: str = ""
    region: str = ""
    ca_bundle: str = ""
    verify: bool = True
    aws_access_key_id: str = ""
    aws_secret_access_key: str = field(default="", repr=False)
    image_id: str = ""
    key_name: str = ""
    flavour: str = ""
    user_data: bytes = field(default=b"", repr=False)
    """From user_data_b64 or user_data_file, decoded, before substitution."""
    security_groups: tuple[str, ...] = ()
    subnet_id: str = ""
    instance_profile: str = ""
    require_imdsv2: bool = True
    # [debug]
    dry_run_shutdown_vms: bool = False
    dry_run_boot_vms: bool = False
    # [substitute]; empty: the head node's own
    ipv4: str = ""
    ipv6: str = ""
    fqdn: str = ""
    # [htcondor], [gridengine], [slurm], [sandbox]
    htcondor_query: str = "auto"
    htcondor_timeout_s: float = 60.0
    gridengine_timeout_s: float = 60.0
    gridengine_cell_dir: Path | None = None
    slurm_sudo_user: str = ""
    slurm_partitions: tuple[str, ...] = ()
    slurm_timeout_s: float = 60.0
    sandbox_spool_dir: Path | None = None
    # where it came from
    path: Path | None = None
    warnings: tuple[str, ...] = ()

    @property
    def cloud(self) -> str:
        """Which cloud the requests go to, and in which dialect: another one need not refuse what this one refuses."""
        return f"{self.api_url}|{self.region}|{self.api_version}"

    def policy(self) -> Policy:
        """Return the part of the settings that decisions depend on."""
        return Policy(
            pools=(Pool("default", self.min_vms, self.max_vms, self.flavour),),
            min_vms=self.min_vms,
            max_vms=self.max_vms,
            n_jobs_per_vm=self.n_jobs_per_vm,
            waiting_jobs_threshold=self.waiting_jobs_threshold,
            waiting_jobs_time_s=self.waiting_jobs_time_s,
            idle_for_time_s=self.idle_for_time_s,
            estimated_vm_deploy_time_s=self.estimated_vm_deploy_time_s,
            lost_worker_time_s=self.lost_worker_time_s,
            image_id=self.image_id,
            cluster=self.cluster_name,
        )


def load(path: Path) -> Settings:
    """Read and check the configuration file at `path`. Raise ConfigError with every problem found.

    Nothing but files is looked at: no cloud, no batch system, no name server.
    """
    try:
        content, status = read_limited(path, MAX_FILE_BYTES)
    except ValueError as error:
        raise ConfigError([f"{printable(str(path))}: {error}"]) from None
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise ConfigError([f"{printable(str(path))}:{line}: holds a NUL byte; this is not a text file"])
    reading = _Reading(path, content)
    reading.check_settings()
    reading.check_access(status.st_mode)
    problems = _in_order(path, reading.problems)
    if problems:
        raise ConfigError(problems)
    settings = reading.settings()
    return replace(settings, path=path, warnings=tuple(_in_order(path, reading.warnings)))


def check(path: Path) -> tuple[bool, str]:
    """Return whether the configuration file at `path` is good, and what to tell its author, line by line."""
    try:
        settings = load(path)
    except ConfigError as error:
        return False, str(error)
    return True, "\n".join([*settings.warnings, f"{printable(str(path))}: the configuration is good"])


def default_state_dir() -> Path:
    """Return where the state is kept if the file does not say: as the original, by who runs elastiq.

    The service may run as any user, and root looks for its state in the system's directory, which systemd has made.
    Raise ConfigError if the user has no home directory.
    """
    system = Path("/var/lib/elastiq")
    if os.environ.get("STATE_DIRECTORY") == str(system):
        return system
    try:
        return system if os.geteuid() == 0 or Path.home() == system else Path.home() / ".elastiq"
    except RuntimeError:
        raise ConfigError(["your user has no home directory; set state_dir in the section [elastiq]"]) from None


def default_cluster_name(host_name: str, machine_id: str) -> str:
    """Return the name of the cluster whose head node is called `host_name`: the same after every restart.

    No name server is asked: its answer may change or not come. A name without a domain may well be that of two head
    nodes in one account, which would then take each other's VMs for their own: so the machine id is worked in, hashed
    as machine-id(5) asks for.
    """
    name = re.sub(r"[^a-z0-9._-]", "-", host_name.lower()).strip(".-_") or "head"
    if "." in name and not name.startswith("localhost") and not name.endswith(".localdomain"):
        return name[:128]
    if not machine_id:
        return name[:100]
    return f"{name[:100]}-{hashlib.sha256(f'elastiq {machine_id}'.encode()).hexdigest()[:8]}"


def _machine_id() -> str:
    try:
        return Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _in_order(path: Path, problems: Sequence[ini.Problem]) -> list[str]:
    """Return problems as people read them, from the top of the file down."""
    name = printable(str(path))
    ordered = sorted(problems, key=lambda problem: problem.line)
    lines = [
        f"{name}:{problem.line}: {problem.text}" if problem.line else f"{name}: {problem.text}" for problem in ordered
    ]
    if len(lines) > MAX_PROBLEMS:
        lines[MAX_PROBLEMS:] = [f"{name}: and {len(lines) - MAX_PROBLEMS} more problems like these"]
    return lines


class _Reading:
    """A file being read: the values found so far, the lines where they stand, problems and warnings."""

    def __init__(self, path: Path, content: bytes) -> None:
        self.problems: list[ini.Problem] = []
        self.warnings: list[ini.Problem] = []
        self._values: dict[Option, Value] = {}
        self._refused: set[Option] = set()
        self._lines: dict[Option, int] = {}
        self._sections: Mapping[str, int] = {}
        self._directory = path.parent
        self._read(self._decoded(content))

    def settings(self) -> Settings:
        """Return what the file says; only if there are no problems."""
        values: dict[str, Any] = {option.target: value for option, value in self._values.items()}
        values.setdefault("cluster_name", default_cluster_name(socket.gethostname(), _machine_id()))
        return Settings(**values)

    def check_settings(self) -> None:
        """Look at what single values do not show: whether they go together, and whether something is missing."""
        self._check_quota()
        self._check_cloud()
        self._check_user_data()
        self._check_times()
        self._check_substitutes()
        self._check_metrics()
        for option, value in self._values.items():
            if option.placeholder and value == option.placeholder:
                shown = "" if option.secret else f" {value}"
                self._warn(
                    option, f"still has the value{shown} of the sample file, which only holds the place of yours"
                )

        secret = self._values.get(_option("aws_secret_access_key"))
        if isinstance(secret, str) and (re.search(r"\s", secret) or secret[0] in "'\""):
            self._warn(
                _option("aws_secret_access_key"),
                "has a space or quotes, which are taken for a part of it; only ; after a space begins a comment",
            )

    def check_access(self, mode: int) -> None:
        """Warn of a file that too many people may read or write.

        Its group may read it: packages install it as root:elastiq 0640.
        """
        secrets = [option.name for option in self._values if option.kind in (Kind.SECRET, Kind.BASE64)]
        if mode & stat.S_IWOTH:
            self.warnings.append(ini.Problem(0, "anybody on this machine can write to this file; do chmod o= on it"))
        elif mode & stat.S_IROTH and secrets:
            text = (
                f"anybody on this machine can read this file, and it holds {' and '.join(secrets)}; do chmod o= on it"
            )
            self.warnings.append(ini.Problem(0, text))

    def _check_file_access(self, option: Option, file: FileContent) -> None:
        """Warn of user data that too many people may read or write."""
        if not file.mode & (stat.S_IROTH | stat.S_IWOTH) or not _is_reachable(file.path):
            return
        name = printable(str(file.path))
        if file.mode & stat.S_IWOTH:
            text = f"write to {name}, and VMs run it as root"
        else:
            text = f"read {name}, and user data often holds a password or token"
        self._warn(option, f"anybody on this machine can {text}; do chmod o= on it")

    def _decoded(self, content: bytes) -> str:
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            self.problems.append(ini.Problem(line, "is not UTF-8 text; save the file in UTF-8"))
            return content.decode("utf-8-sig", errors="replace")

    def _read(self, text: str) -> None:
        file = ini.parse(text)
        self.problems += file.problems
        self._sections = file.sections
        for section, line in file.sections.items():
            if section not in SECTIONS:
                self.problems.append(ini.Problem(line, _unknown_section(section)))
        seen: dict[tuple[str, str], int] = {}
        for entry in file.entries:
            if entry.section not in SECTIONS:
                continue
            title = f"[{entry.section}] {entry.name}"
            option = next((option for option in OPTIONS if option.title == title), None)
            if option is None:
                self.problems.append(ini.Problem(entry.line, _unknown_option(entry)))
                continue
            first = seen.setdefault((entry.section, entry.name), entry.line)
            if first != entry.line:
                self.problems.append(ini.Problem(entry.line, f"{title}: given twice, first in line {first}"))
                continue
            self._lines[option] = entry.line
            self._take(option, entry)

    def _take(self, option: Option, entry: ini.Entry) -> None:
        try:
            value = converted(option, entry.pieces, self._directory)
        except BadValue as bad:
            self._refused.add(option)
            self.problems.append(ini.Problem(bad.line, f"{option.title}: {bad}"))
            return
        if isinstance(value, FileContent):
            self._check_file_access(option, value)
            value = value.content
        if value is not None or option.kind is Kind.LIMIT:
            self._values[option] = value

    def _given(self, option: Option) -> bool:
        """Return whether the file gives a value to `option`, good or bad."""
        return option in self._values or option in self._refused

    def _value(self, name: str, section: str = "ec2") -> Value:
        """Return the value of an option, or its default; None if it was refused."""
        option = _option(name, section)
        return None if option in self._refused else self._values.get(option, option.default)

    def _line(self, option: Option) -> int:
        return self._lines.get(option, self._sections.get(option.section, 0))

    def _fault(self, option: Option, text: str) -> None:
        self.problems.append(ini.Problem(self._line(option), f"{option.title}: {text}"))

    def _warn(self, option: Option, text: str) -> None:
        self.warnings.append(ini.Problem(self._line(option), f"{option.title}: {text}"))

    def _check_quota(self) -> None:
        minimum, maximum = self._value("min_vms", "quota"), self._value("max_vms", "quota")
        if isinstance(minimum, int) and isinstance(maximum, int) and minimum > maximum:
            default = "" if self._given(_option("max_vms", "quota")) else ", which is its default"
            self._fault(_option("min_vms", "quota"), f"{minimum} is more than max_vms {maximum}{default}")

    def _check_cloud(self) -> None:
        image, url, region = _option("image_id"), _option("api_url"), _option("region")
        if not self._given(image):
            self._fault(image, "is missing; give the id of the image that the VMs boot, such as ami-1a2b3c4d")
        key, secret = _option("aws_access_key_id"), _option("aws_secret_access_key")
        for one, other in ((key, secret), (secret, key)):
            if self._given(one) and not self._given(other):
                self._fault(one, f"given without {other.name}; give both, or neither to let boto3 find them")
        if not self._given(url) and not self._given(region) and not _boto3_has_region():
            self._warn(
                region, "given neither here nor to boto3 (AWS_DEFAULT_REGION, ~/.aws/config), nor is there an api_url"
            )
        if self._value("verify") is False:
            self._warn(
                _option("verify"), "nobody checks that the cloud is who it says it is; name its authority in ca_bundle"
            )
        elif self._value("ca_bundle") and str(self._value("api_url")).startswith("http:"):
            self._warn(_option("ca_bundle"), "is of no use with an api_url that begins with http://")

    def _check_user_data(self) -> None:
        encoded, file = _option("user_data_b64"), _option("user_data_file")
        if self._given(encoded) and self._given(file):
            self._fault(file, f"given besides user_data_b64 in line {self._line(encoded)}; give only one of them")
        for option in (encoded, file):
            content = self._values.get(option)
            if isinstance(content, bytes) and len(content) > MAX_USER_DATA_AWS:
                self._warn(option, f"is {len(content)} bytes long; AWS takes no more than {MAX_USER_DATA_AWS}")

    def _check_times(self) -> None:
        for name, other, what in (
            ("check_queue_every_s", "sleep_s", "the queue is looked at every sleep_s at best"),
            ("check_vms_every_s", "sleep_s", "VMs are looked at every sleep_s at best"),
            ("idle_for_time_s", "check_queue_every_s", "a VM may go before anybody sees that jobs wait for it"),
            ("estimated_vm_deploy_time_s", "check_vms_every_s", "a VM may go before anybody sees that it has joined"),
        ):
            small, large = self._value(name, "elastiq"), self._value(other, "elastiq")
            # Zero is the usual way to say "as often, or as soon, as possible".
            if isinstance(small, float) and isinstance(large, float) and 0 < small < large:
                text = f"{duration_text(small)} is shorter than {other} ({duration_text(large)}): {what}"
                self._warn(_option(name, "elastiq"), text)

    def _check_substitutes(self) -> None:
        for name, parse in (("ipv4", ipaddress.IPv4Address), ("ipv6", ipaddress.IPv6Address)):
            value = self._value(name, "substitute")
            if not value:
                continue
            try:
                parse(value)
            except ValueError:
                self._warn(_option(name, "substitute"), "is not an address of that kind; it is put in as it stands")

    def _check_metrics(self) -> None:
        option = _option("metrics_file", "elastiq")
        if self._values.get(option) and not metrics.can_be_written():
            self._fault(
                option,
                "needs the Python package prometheus_client: pip install 'elastiq[metrics]' or apt-get install "
                "python3-prometheus-client",
            )


def _is_reachable(path: Path) -> bool:
    """Return whether every directory above a file lets anybody pass."""
    try:
        return all(directory.stat().st_mode & stat.S_IXOTH for directory in path.resolve().parents)
    except OSError:
        return True  # in doubt it is said


def _option(name: str, section: str = "ec2") -> Option:
    return next(option for option in OPTIONS if option.name == name and option.section == section)


def _unknown_section(section: str) -> str:
    title = f"[{shown(section)}]: unknown section"
    close = difflib.get_close_matches(section.lower(), SECTIONS, n=1)
    if close:
        return f"{title}, did you mean [{close[0]}]?"
    return f"{title}; there are {', '.join(f'[{name}]' for name in SECTIONS)}"


def _unknown_option(entry: ini.Entry) -> str:
    name = entry.name.replace("-", "_")
    names = [option.name for option in OPTIONS if option.section == entry.section]
    close = difflib.get_close_matches(name, names, n=1)
    other = next((option for option in OPTIONS if option.name == name), None)
    if not close and not other and not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", entry.name_as_given):
        # It may be a line of user data, which ends in = and has lost the space at its beginning.
        return f"[{entry.section}]: unknown option; a line that goes on with the value above begins with a space"
    title = f"[{entry.section}] {shown(entry.name)}: unknown option"
    if other and name not in names:
        return f"{title}, it belongs into [{other.section}]"
    return f"{title}, did you mean {close[0]}?" if close else f"{title}; see elastiq.conf(5)"


def _boto3_has_region() -> bool:
    """Return whether boto3 may find a region by itself; botocore reads no other variable (AWS_REGION) for it."""
    file = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    return bool(os.environ.get("AWS_DEFAULT_REGION")) or os.path.exists(os.path.expanduser(file))  # noqa: PTH110, PTH111


if __name__ == "__main__":
    documents = {"example": example, "man": manual_page, "reference": reference}
    if len(sys.argv) != 2 or sys.argv[1] not in documents:
        sys.exit("usage: python -m elastiq.config example|man|reference")
    sys.stdout.write(documents[sys.argv[1]]())
