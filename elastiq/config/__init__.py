"""The configuration file: read, checked as a whole, and turned into Settings.

`python -m elastiq.config example|man|reference` prints elastiq.conf.example, the manual page elastiq.conf(5) or
docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from elastiq.config import checks, cost, defaults, pools, schedules
from elastiq.config.notify import NotifyOptions
from elastiq.config.options import Section, ValueKind, option, secrets_of
from elastiq.config.pools import POOL, PoolLimits, PoolSettings
from elastiq.config.reading import Reading
from elastiq.config.schedules import SCHEDULE
from elastiq.config.sections import (
    SECTIONS,
    CostOptions,
    DebugOptions,
    Ec2Options,
    ElastiqOptions,
    QuotaOptions,
    SubstituteOptions,
)
from elastiq.config.vms import VmOptions
from elastiq.errors import ConfigError
from elastiq.model import DEFAULT_POOL, Policy, Schedule
from elastiq.text import printable

__all__ = ["ADAPTIVE", "DOCUMENTED", "SECTIONS", "ForPlugin", "Section", "Settings", "ValueKind", "load", "option"]

DOCUMENTED = (*SECTIONS[:3], POOL, SECTIONS[3], SCHEDULE, *SECTIONS[4:])
"""Elastiq's own sections, as the documents show them."""

T = TypeVar("T")

BATCH_PLUGIN, CLUSTER_NAME = "[elastiq] batch_plugin", "[elastiq] cluster_name"

POLICY, ADAPTIVE, CLASSIC = "[elastiq] policy", "adaptive", "classic"

CLASSIC_OPTIONS = tuple(
    f"[elastiq] {name}"
    for name in ("waiting_jobs_threshold", "waiting_jobs_time_s", "idle_for_time_s", "n_jobs_per_vm")
)

ADAPTIVE_DEFAULTS = {"[elastiq] waiting_jobs_time_s": 0.0, "[elastiq] idle_for_time_s": 60.0}
"""What these options are with the policy adaptive if the file does not set them."""


@dataclass(frozen=True)
class ForPlugin:
    """A value that only the batch plugin can read."""

    place: str
    """Where it stands: file, line and option."""
    jobs: str = ""
    offers: str = ""


@dataclass(frozen=True)
class Settings:
    """A valid configuration: every section of the file, with the options as its fields."""

    elastiq: ElastiqOptions = field(default_factory=ElastiqOptions)
    quota: QuotaOptions = field(default_factory=QuotaOptions)
    ec2: Ec2Options = field(default_factory=Ec2Options)
    cost: CostOptions = field(default_factory=CostOptions)
    notify: NotifyOptions = field(default_factory=NotifyOptions)
    substitute: SubstituteOptions = field(default_factory=SubstituteOptions)
    debug: DebugOptions = field(default_factory=DebugOptions)
    plugins: tuple[object, ...] = ()
    """The sections of batch plugins that the file has; `of` finds one, or its defaults."""
    named_pools: tuple[PoolSettings, ...] = ()
    """Those that the file has sections for; those first of which VMs are launched first."""
    schedules: tuple[Schedule, ...] = ()
    has_cost: bool = False
    """Whether the file says anything in [cost]."""
    for_plugin: tuple[ForPlugin, ...] = ()
    """What the batch plugin has to read before it can be used."""
    path: Path | None = None
    warnings: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Where the options stand that the file gives, by their titles."""

    @property
    def pools(self) -> tuple[PoolSettings, ...]:
        """Return the pools: if the file names none, the one that [ec2] and [quota] tell of."""
        whole = PoolLimits(min_vms=self.quota.min_vms, max_vms=self.quota.max_vms)
        return self.named_pools or (PoolSettings(DEFAULT_POOL, whole, self.ec2),)

    def vm_options(self, pool: str) -> VmOptions:
        """Return what VMs of the pool of this name are; as [ec2] says if there is none."""
        return next((one.vm for one in self.pools if one.name == pool), self.ec2)

    def place_of(self, pool: str, options: Sequence[str]) -> str:
        """Return where the file gives a pool the first of these options that it gives: in its own section, or else in
        [ec2]. "" if it gives none.
        """
        titles = [f"[{section}] {name}" for section in (f"pool {pool}", "ec2", "quota") for name in options]
        found = next((title for title in titles if title in self.lines), "")
        return f"{printable(str(self.path))}:{self.lines[found]}: {found}" if found else ""

    def of(self, section: type[T]) -> T:
        """Return the options of a batch plugin, which declares them by the dataclass `section`."""
        return next((options for options in self.plugins if isinstance(options, section)), section())

    def secrets(self) -> tuple[str, ...]:
        """Return every value, but for the user data, that must not get into any message."""
        sections = (self.elastiq, self.quota, self.ec2, self.substitute, self.debug, *self.plugins)
        keys = (value for section in sections for value in secrets_of(section) if isinstance(value, str))
        return (*keys, *self.notify.secrets())

    @property
    def cloud(self) -> str:
        """Which cloud the requests go to, and in which dialect: another one need not refuse what this one refuses."""
        return f"{self.ec2.api_url}|{self.ec2.region}|{self.ec2.api_version}"

    @property
    def takes_spot_prices(self) -> bool:
        """Whether prices of the spot market, as AWS tells them, can be put beside those in the file: they are in the
        currency of the region."""
        currency = "CNY" if self.ec2.region.startswith("cn-") else "USD"
        return self.ec2.is_aws and self.cost.currency == currency

    def policy(self) -> Policy:
        """Return the part of the settings that decisions depend on."""
        options, quota = self.elastiq, self.quota
        return Policy(
            pools=tuple(pool.pool() for pool in self.pools),
            min_vms=quota.min_vms,
            max_vms=quota.max_vms,
            n_jobs_per_vm=options.n_jobs_per_vm,
            waiting_jobs_threshold=options.waiting_jobs_threshold,
            waiting_jobs_time_s=options.waiting_jobs_time_s,
            idle_for_time_s=options.idle_for_time_s,
            is_adaptive=options.policy == ADAPTIVE,
            eagerness=options.eagerness,
            estimated_vm_deploy_time_s=options.estimated_vm_deploy_time_s,
            is_paced=self.ec2.is_aws,
            lost_worker_time_s=options.lost_worker_time_s,
            cluster=options.cluster_name,
            requeues_interrupted=options.on_interruption == "requeue",
            cost=cost.settled(self.cost, is_given=self.has_cost),
            schedules=self.schedules,
        )


def load(
    path: Path,
    plugins: Sequence[Section] = (),
    section_of: Callable[[str], Section | None] | None = None,
    changes: Sequence[str] = (),
) -> Settings:
    """Read and check the configuration file at `path`. Raise ConfigError with every problem found.

    Nothing but files is looked at: no cloud, no batch system, no name server. `plugins` are the sections that the file
    may have for batch plugins, whichever it chooses. `section_of` returns that of another, if it has one; without it,
    or when it raises ConfigError, nobody knows what that section may hold, and it is let pass. Each of `changes`, such
    as "idle_for_time_s=60", stands for what the file says of that option.
    """
    reading = Reading(path)
    for section in (*SECTIONS, *plugins):
        reading.take(section)
    of_pools = pools.take(reading)
    of_schedules = schedules.take(reading)
    other, passed = _another(reading, plugins, section_of)
    for section in other:
        reading.take(section)
    reading.refuse_unknown(passed, documented=(*SECTIONS, *of_pools, *of_schedules, *plugins))
    for change in changes:
        reading.change(change)
    checks.check(reading, of_pools)
    pools.check(reading, of_pools)
    cost.check(reading, of_pools)
    schedules.check(reading, of_schedules, of_pools)
    warnings = reading.warnings()
    if not reading.given(CLUSTER_NAME):
        reading.values[CLUSTER_NAME] = defaults.cluster_name()
    _choose_policy(reading)
    own = {section.name: reading.section(section) for section in SECTIONS}
    zone = own["cost"].timezone
    return Settings(
        **own,
        named_pools=pools.settle(reading, of_pools, own["ec2"]),
        schedules=tuple(schedules.settled(reading, section, zone) for section in of_schedules),
        has_cost=any(reading.given(option.title) for option in SECTIONS[3].options),
        plugins=tuple(reading.section(section) for section in (*plugins, *other) if reading.has(section)),
        for_plugin=_for_plugin(reading, ("ec2", *(section.name for section in of_pools))),
        path=path,
        warnings=warnings,
        lines=reading.lines,
    )


def _for_plugin(reading: Reading, sections: Sequence[str]) -> tuple[ForPlugin, ...]:
    """Return the values in `sections` that are the batch plugin's to read."""
    titles = [(f"[{section}] {name}", name) for section in sections for name in ("jobs", "offers")]
    given = [(title, name, str(reading.value(title))) for title, name in titles if reading.given(title)]
    return tuple(ForPlugin(reading.place(title), **{name: text}) for title, name, text in given)


def _another(
    reading: Reading, plugins: Sequence[Section], section_of: Callable[[str], Section | None] | None
) -> tuple[list[Section], str]:
    """Return the section of the chosen plugin if it is not among `plugins`, and the name of a section to let pass."""
    chosen = reading.value(BATCH_PLUGIN)
    if not isinstance(chosen, str) or chosen in [section.name for section in plugins]:
        return [], ""
    if section_of is None:
        return [], chosen
    try:
        found = section_of(chosen)
    except ConfigError as error:
        reading.refuse(BATCH_PLUGIN, error.problems)
        return [], chosen
    return [found] if found else [], ""


def _choose_policy(reading: Reading) -> None:
    """Settle the policy, and what follows from it for the options that the file leaves out.

    A file that sets any option of the original's rules means them, as it always has.
    """
    if not reading.given(POLICY):
        reading.values[POLICY] = CLASSIC if any(map(reading.given, CLASSIC_OPTIONS)) else ADAPTIVE
    if reading.values.get(POLICY) == ADAPTIVE:
        for title, value in ADAPTIVE_DEFAULTS.items():
            reading.values.setdefault(title, value)
