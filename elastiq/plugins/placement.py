"""How batch systems place jobs, and the line that has them fill one worker before the next. Pure functions.

One job that is left on each worker keeps all of their VMs. Only what was seen to spread jobs is said to: measured with
HTCondor 23.9, Slurm 24.11 and Son of Grid Engine 8.1, with workers of four CPUs and jobs of one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from elastiq.errors import BatchError
from elastiq.plugins.slurm_limits import Partition
from elastiq.text import excerpt, one_line

_COST = "so that one job which is left keeps a whole VM"
_FALSE = re.compile("false|f|0", re.IGNORECASE)
_NAMES_CHARACTERS = 80
_SPREADING_FORMULAS = ("np_load_avg", "-slots")
"""The default, and what looks like the opposite of what it does."""

DIVIDED, SEVERAL = "divided", "several"
"""How several jobs share a worker of HTCondor: in a slot that is divided for them, or in slots of their own."""

_DEFAULT_RANK = "(10000000 * My.Rank) + (1000000 * (RemoteOwner =?= UNDEFINED)) - (100000 * Cpus) - Memory"
RANK_BY_ADDRESS = (
    "(10000000 * My.Rank) + (1000000 * (RemoteOwner =?= UNDEFINED))"
    ' - 256 * int(split(MyAddress, "<.:")[2]) - int(split(MyAddress, "<.:")[3])'
)
"""Free slots in the order of their workers' IPv4 addresses. HTCondor compares ranks in single precision: a start time,
which would do as well, is too long a number."""


def condor_advice(depth_first: str, rank: str, shared: Collection[str]) -> tuple[str, ...]:
    """Given what the negotiator says NEGOTIATOR_DEPTH_FIRST and NEGOTIATOR_PRE_JOB_RANK are, and how jobs share
    workers (DIVIDED, SEVERAL), return what to set.

    An HTCondor that does not know the former (before 8.9.8) says `Not defined`; there is no such line to set. It has no
    effect where a worker has several slots: those are taken in the order of their rank, and by default that of slot 1
    of every worker is the same. A rank that somebody has chosen is not judged.
    """
    advice = []
    if DIVIDED in shared and _FALSE.fullmatch(depth_first.strip()):
        advice.append("NEGOTIATOR_DEPTH_FIRST = True")
    if SEVERAL in shared and "".join(rank.split()).lower() == "".join(_DEFAULT_RANK.split()).lower():
        advice.append(f"NEGOTIATOR_PRE_JOB_RANK = {RANK_BY_ADDRESS}")
    return tuple(
        f"HTCondor spreads jobs over workers, {_COST}: put {line} into the configuration of the central manager, and "
        "run condor_reconfig there"
        for line in advice
    )


def slurm_advice(configuration: str, partitions: Mapping[str, Partition], used: Collection[str]) -> tuple[str, ...]:
    """Given the output of `scontrol show config`, the partitions, and which of them are `used` (all, if none), return
    what to set. Raise BatchError if it is no configuration."""
    values = dict(re.findall(r"^(SelectType|SelectTypeParameters)\s*=\s*(\S+)", configuration, re.MULTILINE))
    if "SelectType" not in values:
        raise BatchError(f"scontrol show config answered without SelectType: {excerpt(configuration)}")
    sharing = {
        name: partition
        for name, partition in partitions.items()
        if partition.starts_jobs and not partition.is_exclusive and (not used or name in used)
    }
    if values["SelectType"].endswith("/linear") or not sharing:
        return ()  # nodes are never shared
    parameters = values.get("SelectTypeParameters", "").split(",")
    packing = [one for one in parameters if one.upper() != "CR_LLN"]
    if packing != parameters:
        line = (
            f"put SelectTypeParameters={','.join(packing)} into"
            if packing
            else "take SelectTypeParameters=CR_LLN out of"
        )
        return (f"Slurm spreads jobs over nodes (CR_LLN), {_COST}: {line} slurm.conf, and restart slurmctld",)
    spread = sorted(name for name, partition in sharing.items() if partition.spreads_jobs)
    if not spread:
        return ()
    return (
        f"Slurm spreads the jobs of partition {one_line(', '.join(spread), _NAMES_CHARACTERS)} over nodes, {_COST}: "
        f"put LLN=NO into its line of slurm.conf (PartitionName={one_line(spread[0], _NAMES_CHARACTERS)} ...), and run "
        "scontrol reconfigure",
    )


def gridengine_advice(scheduler: str) -> tuple[str, ...]:
    """Given the output of `qconf -ssconf`, return what to set. Raise BatchError if it is no such configuration.

    Load values of hosts follow their jobs late and in small steps, and what load_formula makes of them sends each job
    to the host with the fewest. With `slots`, the slots that a host has left, the fullest host is the least one.
    """
    values = dict(re.findall(r"^(queue_sort_method|load_formula)[ \t]+(\S.*?)[ \t]*$", scheduler, re.MULTILINE))
    if len(values) != 2:
        raise BatchError(f"qconf -ssconf answered without queue_sort_method and load_formula: {excerpt(scheduler)}")
    if values["load_formula"].replace(" ", "") not in _SPREADING_FORMULAS:
        return ()
    return (
        f"Grid Engine spreads jobs over hosts (load_formula {values['load_formula']}), {_COST}: run qconf -msconf and "
        "set queue_sort_method load, load_formula slots, job_load_adjustments NONE",
    )
