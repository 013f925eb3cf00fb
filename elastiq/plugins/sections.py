"""The sections of the built-in batch plugins, known without the plugins themselves, which take longer to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from elastiq.config import Section, ValueKind, option


@dataclass(frozen=True)
class HTCondorOptions:
    """The batch plugin htcondor."""

    query: str = option(
        "auto",
        "How HTCondor is asked: by its Python bindings (bindings), by its commands such as condor_q (cli), or by the "
        "bindings where they are installed (auto).",
        choices=("auto", "bindings", "cli"),
        new=True,
    )
    timeout_s: float = option(60.0, "How long one question to HTCondor may take.", minimum=1, maximum=3600, new=True)


@dataclass(frozen=True)
class GridEngineOptions:
    """The batch plugin gridengine."""

    timeout_s: float = option(60.0, "How long one question to Grid Engine may take.", minimum=1, maximum=3600, new=True)
    cell_dir: Path | None = option(
        None,
        "Directory of the Grid Engine cell, in which common/accounting tells of jobs that have ended.",
        kind=ValueKind.DIRECTORY,
        new=True,
        default_text="$SGE_ROOT/$SGE_CELL, of which each part not set is that of /var/lib/gridengine/default",
    )


@dataclass(frozen=True)
class SlurmOptions:
    """The batch plugin slurm."""

    sudo_user: str = option(
        "",
        "User as whom scontrol drains and deletes nodes, by sudo: slurm, the SlurmUser of slurm.conf. Not needed if "
        "elastiq runs as that user or root, or is an administrator of slurmdbd.",
        pattern=r"[A-Za-z_][A-Za-z0-9_.-]*",
        new=True,
    )
    partitions: tuple[str, ...] = option(
        (),
        "Partitions whose jobs elastiq launches VMs for, with commas between them.",
        new=True,
        default_text="all",
    )
    timeout_s: float = option(60.0, "How long one question to Slurm may take.", minimum=1, maximum=3600, new=True)


@dataclass(frozen=True)
class SandboxOptions:
    """The batch plugin sandbox, which serves the demonstration."""

    spool_dir: Path | None = option(
        None,
        "Directory where the jobs are. It is made at the start if it is missing or empty.",
        kind=ValueKind.DIRECTORY,
        new=True,
        default_text="none; the plugin sandbox needs it",
    )


SECTIONS = (
    Section("htcondor", HTCondorOptions),
    Section("gridengine", GridEngineOptions),
    Section("slurm", SlurmOptions),
    Section("sandbox", SandboxOptions),
)
