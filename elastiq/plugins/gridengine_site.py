"""How Grid Engine is configured, asked anew from time to time: administrators hardly ever change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from elastiq.clock import Clock
from elastiq.command import execute, run
from elastiq.errors import BatchError
from elastiq.plugins.gridengine_complexes import Complexes, Resource, parse_complexes
from elastiq.plugins.gridengine_parse import Group, parse_names, parse_rule, rule_of
from elastiq.plugins.gridengine_template import parse_object, parse_values, site_of
from elastiq.plugins.kit import Deadline

CONFIGURATION_SECONDS = 300.0
"""For so long the configuration is remembered."""

_NOT_THERE = "is not a parallel environment"


class Site:
    """Complexes, parallel environments, and what the cluster as a whole offers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._asked_at: float | None = None
        self._complexes = Complexes()
        self._rules: dict[str, str] = {}
        self.everywhere = ""
        """What `qconf -se global` shows."""
        self.fingerprint = ""
        """Changes whenever the queues are changed; empty if that is not known."""

    def complexes(self, deadline: Deadline) -> Complexes:
        """Return the complexes. Raise BatchError if Grid Engine does not tell them."""
        now = self._clock.now()
        if self._asked_at is None or now - self._asked_at > CONFIGURATION_SECONDS:
            text = run(["qconf", "-sc"], deadline.remaining())
            self._complexes = parse_complexes(text)
            self.everywhere = run(["qconf", "-se", "global"], deadline.remaining())
            parse_object(self.everywhere, "qconf -se global", "complex_values")
            queues = execute(["qconf", "-sq", "*"], deadline.remaining())  # it fails if there is none
            self.fingerprint = "" if queues.status else site_of(queues.output, self.everywhere, text)
            self._rules = {}
            self._asked_at = now
        return self._complexes

    @property
    def known(self) -> Mapping[str, Resource]:
        """Return the complexes as they were asked for last; none before that."""
        return self._complexes.named

    def rules(self, groups: Iterable[Group], deadline: Deadline) -> dict[str, str]:
        """Return the allocation rules by parallel environment, of those at least that `groups` name. One that vanishes
        meanwhile is left out. Raise BatchError if Grid Engine does not tell them."""
        wanted = {group.parallel_environment for group in groups if group.parallel_environment}
        if any(rule_of(pattern, self._rules) is None for pattern in wanted):
            listed = execute(["qconf", "-spl"], deadline.remaining())
            if listed.status and "no parallel environment" not in f"{listed.output}{listed.error_output}".lower():
                raise BatchError(f"qconf -spl failed with exit status {listed.status}: {listed.excerpt}")
            names = () if listed.status else parse_names(listed.output, "qconf -spl")
            shown = {name: execute(["qconf", "-sp", name], deadline.remaining()) for name in names}
            gone = {name for name, one in shown.items() if one.status and _NOT_THERE in one.error_output}
            self._rules = {name: parse_rule(one.output, name) for name, one in shown.items() if name not in gone}
        return self._rules

    @property
    def cluster_wide(self) -> frozenset[str]:
        """The consumables of which the cluster as a whole has so many."""
        offered = parse_values(parse_object(self.everywhere, "qconf -se global", "complex_values")["complex_values"])
        return frozenset(offered) & self._complexes.consumables
