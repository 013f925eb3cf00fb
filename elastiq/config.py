"""The configuration: one table of options, and Settings made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from elastiq.model import Policy, Pool


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
    # [htcondor], [sandbox]
    htcondor_query: str = "auto"
    htcondor_timeout_s: float = 60.0
    sandbox_spool_dir: Path | None = None
    # where it came from
    path: Path | None = None
    warnings: tuple[str, ...] = ()

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
            check_vms_every_s=self.check_vms_every_s,
            cluster=self.cluster_name,
        )


def load(path: Path) -> Settings:
    """Read and check the configuration file at `path`. Raise ConfigError with every problem found."""
    raise NotImplementedError
