"""Passes over time in which nothing can change."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from elastiq.memory import Memory
from elastiq.planning.capacities import NOTED_SECONDS
from elastiq.sim.proof.book import Violation

if TYPE_CHECKING:
    from elastiq.sim.proof.life import Life


class Skipping:
    """Knows until when a cluster is quiet, by the events of the world and what the daemon's own plan says."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def _quiet_until(self, before: Memory | None) -> float:
        """Return until when the daemon, asked again, would do the same nothing; now, if that is not sure.

        The pass that has just ended changed nothing, and every part of what it saw is as it was: so only an event of
        the world or one of the daemon's own limits can make a difference. If the queue alone is known to be as it was,
        the next look at the VMs ends the quiet.
        """
        life, engine, core = self._life, self._life.engine, self._life.core
        memory, reading = core.memory, core.reading
        version = engine.version
        if (
            before is None
            or life.faults.any
            or life.gate.acts
            or life.restart_wanted
            or life.reload_wanted is not None
            or version != life.batch.demand_version
            or None in (reading.demand, reading.workers, reading.instances)
            or not _is_same(memory, before)
            or not self._is_settled
        ):
            return engine.time
        unclear = any(
            record.leaving or record.missing_since is not None or not record.tagged for record in memory.vms.values()
        )
        ahead = engine.time - life.clock.now()
        known = version == life.batch.workers_version == life.cloud.list_version
        made = core.last_plan
        wakes_at, looks_at = (made.wake_at, made.look_at) if made is not None else (0.0, 0.0)
        if not known or unclear or memory.intents or memory.to_forget:
            return min(engine.next_event_at, self._checks_due_at, wakes_at + ahead)
        # What workers have shown is noted anew from time to time, which changes no plan.
        notes_at = min((showing.at + NOTED_SECONDS for showing in memory.showings.values()), default=math.inf)
        noted_again_at = notes_at if notes_at >= reading.workers_at else math.inf
        return min(engine.next_event_at, wakes_at + ahead, looks_at + ahead, noted_again_at + ahead)

    @property
    def _is_settled(self) -> bool:
        """Whether the daemon has learnt all that the last looks could teach."""
        core = self._life.core
        watched = core.memory.watched
        is_watched = {group.key for group in core.reading.demand or ()} <= watched.keys()
        is_watched = is_watched and all(seen.fell_at is None for seen in watched.values())
        joined = sum(record.works and record.joined_at is not None for record in core.memory.vms.values())
        teachers = min(joined, sum(not (one.closed or one.hurt) for one in core.reading.workers or ()))
        has_first, has_second = bool(core.memory.templates), bool(core.memory.second_templates)
        return is_watched and (has_first or not joined) and (has_second or teachers < 2)

    @property
    def _checks_due_at(self) -> float:
        """When workers and VMs are looked at again, in the time of the engine."""
        return self._life.core.vms_due_at + self._life.engine.time - self._life.clock.now()

    def skip(self, until: float) -> None:
        """Pass over the time in which nothing can change."""
        life = self._life
        moment = min(until, self._quiet_until(life.memory_before))
        if moment <= life.next_step_at:
            return
        if life.options.prove_skips:
            self._prove(moment)
            return
        life.book.work["seconds passed over"] += int(moment - life.next_step_at)
        checks_due_at = self._checks_due_at
        options = life.settings.elastiq
        # The daemon notices an event some time after it, at a check; a check is on time.
        late = 0.0 if moment == checks_due_at else life.engine.random.random() * options.check_queue_every_s
        life.next_step_at = moment + late if moment > checks_due_at else min(moment + late, checks_due_at)
        life.batch.asked_at = life.next_step_at
        listed_at = life.next_step_at - options.check_vms_every_s
        life.cloud.listed_at = max(life.cloud.listed_at, listed_at)

    def _prove(self, moment: float) -> None:
        """Take every step until `moment` and see that nothing comes of it."""
        life = self._life
        engine = life.engine
        while life.next_step_at < moment:
            engine.run_until(life.next_step_at)
            before, version = life.core.memory, engine.version
            life.step()
            if engine.version != version or engine.time >= moment:
                return  # its calls took so long that the quiet was over
            if life.gate.acts or not _is_same(life.core.memory, before):
                raise Violation(f"the simulator would have passed over something at {engine.time}")
            life.book.tested["time passed over is quiet"] += 1
            life.next_step_at = engine.time + max(0.1, life.core.seconds_to_next_check())


def _is_same(one: Memory, other: Memory) -> bool:
    """Return whether nothing was learnt between the two but that a template is still what it was."""
    texts = [
        [
            {name: template.text for name, template in templates.items()}
            for templates in (memory.templates, memory.second_templates)
        ]
        for memory in (one, other)
    ]
    without = [replace(memory, templates={}, second_templates={}) for memory in (one, other)]
    return texts[0] == texts[1] and without[0] == without[1]
