"""The sections [pool NAME]: kinds of VMs beside each other, each with what [ec2] says unless it says something else."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elastiq.config import offers
from elastiq.config.options import DAY, Section, Value, ValueKind, option
from elastiq.config.reading import Reading
from elastiq.config.sections import Ec2Options
from elastiq.config.vms import VmOptions
from elastiq.model import Pool

_IMAGE = "[ec2] image_id"

MOST_PRIORITY = 1000


@dataclass(frozen=True)
class PoolLimits:
    """A kind of VMs: there may be any number of these sections, each with a name of its own, such as [pool large].
    Beside the options below it takes those of [ec2] that say what is launched (image_id, flavour, instance_types,
    market, key_name, user_data_b64, user_data_file, user_data_token_command, security_groups, subnet_id, subnets,
    zones, instance_profile, require_imdsv2, imdsv2_hop_limit) and for which jobs (jobs, offers); what it leaves out is
    as in [ec2]. Jobs get VMs of the first pool whose VMs can run them. Without any such section there is one pool,
    called default, of what [ec2] says."""

    priority: int = option(
        0,
        "VMs are launched of the pool with the highest priority among those that can run a job and are not full; of "
        "equal ones, of those that cost least for all jobs together, or where prices are not given, of the pool that "
        "comes first in the file.",
        maximum=MOST_PRIORITY,
        new=True,
    )
    min_vms: int = option(0, "There are always at least this many VMs of this pool.", maximum=100_000, new=True)
    max_vms: int | None = option(
        None,
        "There are never more VMs of this pool than this, and never more of all pools together than max_vms in "
        "[quota].",
        kind=ValueKind.LIMIT,
        example="200",
        minimum=1,
        maximum=100_000,
        new=True,
        default_text="as [quota] allows",
    )
    idle_for_time_s: float | None = option(
        None,
        "How long a VM of this pool may have no job until it is terminated.",
        kind=ValueKind.DURATION,
        example="600",
        maximum=365 * DAY,
        new=True,
        default_text="as in [elastiq]",
    )


@dataclass(frozen=True)
class PoolOptions(VmOptions, PoolLimits):
    """All that a section [pool NAME] may say."""


POOL = Section("pool NAME", PoolLimits, is_one_of_many=True)
"""As the documents show it."""


@dataclass(frozen=True)
class PoolSettings:
    """One pool as it is configured."""

    name: str
    limits: PoolLimits
    vm: VmOptions
    """What its VMs are: as [ec2] says, but for what its own section says."""

    def pool(self) -> Pool:
        """Return the part that decisions depend on."""
        limits, vm, found = self.limits, self.vm, offers.of(self.vm)
        type_ = found[0].type if found else vm.flavour
        own = (limits.min_vms, limits.max_vms, type_, vm.image_id, limits.idle_for_time_s)
        return Pool(self.name, *own, offers=found, jobs=vm.jobs, supposed=vm.offers, priority=limits.priority)


def take(reading: Reading) -> tuple[Section, ...]:
    """Take the values of every section [pool NAME]; return these sections, as they come in the file."""
    return reading.take_named("pool", PoolOptions, "large")


def settle(reading: Reading, sections: Sequence[Section], ec2: Ec2Options) -> tuple[PoolSettings, ...]:
    """Return the pools of `sections`, those first that VMs are launched of first."""
    pools = [_settled(reading.given_of(section), section.name.partition(" ")[2], ec2) for section in sections]
    return tuple(sorted(pools, key=lambda pool: -pool.limits.priority))


def _settled(given: Mapping[str, Value], name: str, ec2: Ec2Options) -> PoolSettings:
    of_vm = {field.name for field in dataclasses.fields(VmOptions)}
    own = {name: value for name, value in given.items() if name in of_vm}
    inherited = {name: getattr(ec2, name) for name in of_vm}
    if own.keys() & {"user_data_b64", "user_data_file"}:
        inherited.update(user_data_b64=b"", user_data_file=b"")
    inherited.update(offers.not_inherited(own))
    limits = PoolLimits(**{name: value for name, value in given.items() if name not in of_vm})  # type: ignore[arg-type]
    return PoolSettings(name, limits, VmOptions(**{**inherited, **own}))


def check(reading: Reading, sections: Sequence[Section]) -> None:
    """Tell `reading` what does not go together in the pools."""
    most = reading.value("[quota] max_vms")
    least_of_all = 0
    for section in sections:
        least, own_most = reading.value(f"[{section.name}] min_vms"), reading.value(f"[{section.name}] max_vms")
        least_of_all += least if isinstance(least, int) else 0
        if isinstance(least, int) and isinstance(own_most, int) and least > own_most:
            reading.fault(f"[{section.name}] min_vms", f"{least} is more than max_vms {own_most}")
        if isinstance(own_most, int) and isinstance(most, int) and own_most > most:
            default = "" if reading.given("[quota] max_vms") else ", which is its default"
            text = f"{own_most} is more than max_vms {most} in [quota]{default}: there are never more of all pools"
            reading.warn(f"[{section.name}] max_vms", text)
        if not reading.given(_IMAGE) and not reading.given(f"[{section.name}] image_id"):
            text = "is missing here and in [ec2]; give the id of the image that its VMs boot, such as ami-1a2b3c4d"
            reading.fault(f"[{section.name}] image_id", text)
    if sections and isinstance(most, int) and least_of_all > most:
        text = f"{most} is less than the min_vms of all pools together, {least_of_all}"
        reading.fault("[quota] max_vms", text)
