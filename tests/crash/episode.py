"""Short lives of the daemon on one state directory, each but the last ended by a signal, and what must hold then."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.launcher import QUICK, Order
from tests.crash.rig import PATIENCE_SECONDS, Head, Site, head_node, wait_until

CLUSTER = "crash"
CLOUD = "cloud: "
"""The step of a name that begins so is met by the endpoint: the request is on its way, or has taken effect."""
ANY_MOMENT = "any moment"
ADOPT = "adopt"
"""The launch was not recorded before the last end, so its VMs are found again and recorded now."""
LIFE_SECONDS = 20.0
"""A step that was not met by then is no longer waited for: the daemon is killed just so."""
QUIET_SECONDS = 1.5
"""The same when nothing has been left to do for so long."""
FOREIGN_VMS = 2

BEFORE_AND_AFTER = ("before", "after")
THREE = ("before", "middle", "after")
STEPS: tuple[tuple[str, str], ...] = tuple(
    (step, when)
    for step, moments in (
        ("save the intent", THREE),
        ("launch", BEFORE_AND_AFTER),
        ("RunInstances", BEFORE_AND_AFTER),
        (f"{CLOUD}RunInstances", BEFORE_AND_AFTER),
        ("save the launch", THREE),
        (ADOPT, THREE),
        ("look for a launch", BEFORE_AND_AFTER),
        ("tag a launch", BEFORE_AND_AFTER),
        ("tag", BEFORE_AND_AFTER),
        ("save closing_at", THREE),
        ("close", BEFORE_AND_AFTER),
        ("save doomed", THREE),
        ("terminate", BEFORE_AND_AFTER),
        (f"{CLOUD}TerminateInstances", BEFORE_AND_AFTER),
        ("save terminated_at", THREE),
        ("save a gone VM", THREE),
        ("reopen", BEFORE_AND_AFTER),
        ("forget", BEFORE_AND_AFTER),
        ("record", BEFORE_AND_AFTER),
        ("report", BEFORE_AND_AFTER),
        ("list", BEFORE_AND_AFTER),
        ("demand", BEFORE_AND_AFTER),
        ("workers", BEFORE_AND_AFTER),
        (ANY_MOMENT, ("",) * 5),
    )
    for when in moments
)
STRIDE = 17
"""Prime to the number of steps: neighbouring seeds are far apart in the list."""
OFTEN = ("record", "report", "list", "demand", "workers")
STAGED_BY_REFUSALS = {"reopen": "TerminateInstances", "tag": "CreateTags"}
"""Steps that are met while the cloud refuses something."""
OPENSTACK_ONLY = ("look for a launch", "tag a launch", "tag")

FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("launch, answer lost", "RunInstances", {"lose_answer": True}),
    ("launch, 500 after the effect", "RunInstances", {"status": 500, "after_effect": True}),
    ("launch, 503", "RunInstances", {"status": 503, "code": "Unavailable"}),
    ("launch, late", "RunInstances", {"delay_seconds": 1.0}),
    ("launch, hangs after the effect", "RunInstances", {"hang_seconds": 1.5, "after_effect": True}),
    ("launch, answer cut off", "RunInstances", {"cut": 200}),
    ("listing lost", "DescribeInstances", {"lose_answer": True, "times": 2}),
    ("listing late", "DescribeInstances", {"delay_seconds": 0.7, "times": 2}),
    ("listing hangs", "DescribeInstances", {"hang_seconds": 1.5}),
    ("listing 503", "DescribeInstances", {"status": 503, "code": "Unavailable", "times": 2}),
    ("listing empty", "DescribeInstances", {"empty": True, "times": 2}),
    ("listing half", "DescribeInstances", {"half": True, "times": 2}),
    ("listing twice", "DescribeInstances", {"duplicate": True, "times": 3}),
    ("termination, answer lost", "TerminateInstances", {"lose_answer": True}),
    ("termination, 500", "TerminateInstances", {"status": 500}),
    ("termination, 500 after the effect", "TerminateInstances", {"status": 500, "after_effect": True}),
    ("termination, late", "TerminateInstances", {"delay_seconds": 0.7}),
    ("tagging lost", "CreateTags", {"lose_answer": True}),
    ("tagging 500", "CreateTags", {"status": 500}),
)
LYING = ("listing empty", "listing half")
SETTLE_SECONDS_WITH_LIES = 12.0
"""A listing that lies just when the settling time ends would deceive the daemon; with the real time, of minutes, fresh
VMs have long been listed by then."""


@dataclass
class Report:
    """What became of an episode."""

    seed: int
    dialect: str = ""
    kills: list[tuple[str, bool]] = field(default_factory=list)
    """Step and moment of each, and whether the daemon was just there; False: it did not come there in time."""
    faults: list[str] = field(default_factory=list)
    launched: int = 0
    seconds: float = 0.0
    failure: str = ""


def run_episode(seed: int, site: Site, number: int) -> Report:
    """Run the episode of `seed` with signal `number`; everything but the timing of the processes follows from it."""
    report = Report(seed)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="elastiq-crash-") as directory:
        try:
            _Episode(
                random.Random(seed), STEPS[seed * STRIDE % len(STEPS)], site, Path(directory), number, report
            ).run()
        except Exception as error:
            report.failure = f"{error}\n{traceback.format_exc(limit=-3)}"
        finally:
            site.clear()
    report.seconds = time.monotonic() - started
    return report


class _Episode:
    def __init__(
        self, chance: random.Random, step: tuple[str, str], site: Site, directory: Path, number: int, report: Report
    ) -> None:
        self._chance = chance
        self._site = site
        self._directory = directory
        self._signal = number
        self._report = report
        report.dialect = "openstack" if step[0] in OPENSTACK_ONLY else chance.choice(("aws", "openstack"))
        self._lives = [step]
        if step[0] == ADOPT:
            self._lives = [("RunInstances", "after"), ("save the launch", step[1])]
        while chance.random() < 0.3 and len(self._lives) < 4:
            others = [step for step in STEPS if step[0] not in (ADOPT, "reopen", "forget")]
            if report.dialect == "aws":
                others = [step for step in others if step[0] not in OPENSTACK_ONLY]
            self._lives.append(chance.choice(others))
        self._minimum = 1 if step[0] == "forget" else chance.choice((0, 0, 0, 1))
        self._maximum = chance.choice((2, 3))
        # A termination without a clear answer forbids every reopening.
        fitting = [fault for fault in FAULTS if step[0] != "reopen" or fault[1] != "TerminateInstances"]
        self._faults = chance.sample(fitting, chance.choice((0, 1, 2, 3)))

    def run(self) -> None:
        """Live, die and live again; raise AssertionError if anything was lost, killed or too much."""
        chance, site = self._chance, self._site
        site.prepare(
            "openstack" if self._report.dialect == "openstack" else "aws",
            launch_delay_seconds=chance.choice((0.05, 0.5)),
            launch_seconds_per_vm=chance.choice((0.0, 0.0, 0.3)),
            visible_after_seconds=chance.choice((0.0, 0.0, 1.0)),
        )
        foreign = site.cloud.make_vms(1, cluster="another") + site.cloud.make_vms(1, token="somebody's")
        assert len(foreign) == FOREIGN_VMS
        for name, operation, what in self._faults:
            self._report.faults.append(name)
            site.cloud.inject(operation, after=chance.choice((0, 0, 1, 3)), **what)
        options = {"min_vms": self._minimum, "max_vms": self._maximum}
        with head_node(self._directory / "head", site, CLUSTER, **options) as head:
            for step, when in self._lives:
                head.submit(chance.randint(1, self._maximum + 2), chance.choice((0.1, 0.4)))
                self._live(head, step, when)
                time.sleep(chance.choice((0.0, 0.0, 0.5)))
            head.start(Order(constants=self._constants()))
            head.wait_until_quiet(self._minimum)
            head.stop()
            self._check(head, {vm.id for vm in foreign})
        self._report.launched = len(site.cloud.vms) - FOREIGN_VMS

    def _constants(self) -> dict[str, dict[str, Any]]:
        if not any(name in LYING for name in self._report.faults):
            return QUICK
        return {
            **QUICK,
            "elastiq.planning.patience": {
                **QUICK["elastiq.planning.patience"],
                "SETTLE_SECONDS": SETTLE_SECONDS_WITH_LIES,
            },
        }

    def _live(self, head: Head, step: str, when: str) -> None:
        """Run the daemon until the signal at this step."""
        chance = self._chance
        number = chance.randint(1, 12) if step in OFTEN else 1
        moment = time.monotonic() + chance.uniform(0.3, 4.0)
        constants = self._constants()
        if step == ANY_MOMENT:
            head.start(Order(constants=constants))
        elif step.startswith(CLOUD):
            head.start(Order(constants=constants))
            self._arm(head, step[len(CLOUD) :], when)
        else:
            head.start(Order(step, when, number, self._signal, str(head.note), constants=constants))
        if step in STAGED_BY_REFUSALS:
            self._site.cloud.inject(STAGED_BY_REFUSALS[step], status=403, code="UnauthorizedOperation", times=12)
        staged = False
        busy_at = time.monotonic()
        deadline = busy_at + LIFE_SECONDS
        met = False
        while head.is_running() and not met and time.monotonic() < deadline:
            if step == ANY_MOMENT and time.monotonic() > moment:
                break
            staged = staged or self._stage(head, step)
            met = head.note.exists()
            if not head.is_quiet(self._minimum):
                busy_at = time.monotonic()
            elif time.monotonic() > busy_at + QUIET_SECONDS:
                break
            time.sleep(0.05)
        met = met or head.note.exists() or not head.is_running()
        self._report.kills.append((f"{step} {when}".strip(), met or step == ANY_MOMENT))
        self._site.cloud.plug = None
        if step in STAGED_BY_REFUSALS:
            self._site.cloud.clear_faults()
        self._end(head, met)

    def _arm(self, head: Head, operation: str, when: str) -> None:
        def plug(asked: str, moment: str) -> None:
            process = head.process
            if (asked, moment) == (operation, when) and process is not None and not head.note.exists():
                head.note.write_text(str(time.monotonic()))
                os.kill(process.pid, self._signal)

        self._site.cloud.plug = plug

    def _stage(self, head: Head, step: str) -> bool:
        """Bring about what leads to a step that is rare; return whether that is done."""
        cloud = self._site.cloud
        if step == "reopen" and cloud.operations("TerminateInstances"):
            head.submit(2)
            return True
        if step == "forget" and head.done() == head.submitted:
            known = head.known()
            if len(known) == 1:
                cloud.terminate_from_outside(*known)
                return True
        return False

    def _end(self, head: Head, met: bool) -> None:
        process = head.process
        assert process is not None
        if self._signal == signal.SIGKILL:
            if not met:
                process.kill()
            code = process.wait(PATIENCE_SECONDS)
            assert code == -signal.SIGKILL, f"the daemon ended by itself: {code}\n{head.story()}"
            return
        if not met:
            # A signal before the daemon listens to any ends it as it does every process.
            wait_until(head.has_started, "the daemon's start", head.story)
            process.terminate()
        head.check_stopped()

    def _check(self, head: Head, foreign: set[str]) -> None:
        cloud = self._site.cloud
        story = head.story()
        head.check_jobs()
        assert head.is_quiet(self._minimum), f"not as it was before the daemon was stopped\n{story}"
        assert cloud.max_alive <= self._maximum + FOREIGN_VMS, (
            f"{cloud.max_alive - FOREIGN_VMS} VMs alive, max_vms is {self._maximum}: {cloud.alive_history}\n{story}"
        )
        alive = {vm.id for vm in cloud.alive()}
        assert foreign <= alive, f"foreign VMs were terminated: {foreign - alive}\n{story}"
        written = head.log.read_text() + (head.directory / "output").read_text()
        assert "Traceback" not in written and "defect in elastiq" not in written, story
        assert not cloud.failures, cloud.failures


def run_episodes(
    first_seed: int, kills: int, number: int = signal.SIGKILL, parallel: int = 6, progress: bool = False
) -> list[Report]:
    """Run episodes from `first_seed` on until the daemon was sent the signal so often, several at a time."""
    reports: list[Report] = []
    started = [0]
    lock = threading.Lock()
    seeds = iter(range(first_seed, first_seed + 10**6))

    def serve() -> None:
        with Site() as site:
            while True:
                with lock:
                    # Each of those that are under way brings one more at least.
                    under_way = started[0] - len(reports)
                    if sum(len(report.kills) for report in reports) + under_way >= kills:
                        return
                    seed = next(seeds)
                    started[0] += 1
                report = run_episode(seed, site, number)
                with lock:
                    reports.append(report)
                    if progress:
                        print(_line(report), flush=True)

    threads = [threading.Thread(target=serve) for _ in range(parallel)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(reports, key=lambda report: report.seed)


def _line(report: Report) -> str:
    steps = ", ".join(step if met else f"{step} (not met)" for step, met in report.kills)
    end = f"FAILED: {report.failure}" if report.failure else "well"
    return f"seed {report.seed}: {report.dialect}; {steps}; {'; '.join(report.faults)}; {report.seconds:.1f} s; {end}"


def table(reports: Sequence[Report]) -> str:
    """Return how often what happened."""
    kills = Counter(step for report in reports for step, _ in report.kills)
    met = Counter(step for report in reports for step, was_met in report.kills if was_met)
    faults = Counter(fault for report in reports for fault in report.faults)
    lines = ["step                                   killed  just there"]
    lines += [f"{step:38} {count:6} {met[step]:11}" for step, count in sorted(kills.items())]
    lines += ["fault                                  episodes"]
    lines += [f"{fault:38} {count:8}" for fault, count in sorted(faults.items())]
    dialects = Counter(report.dialect for report in reports)
    failed = [report.seed for report in reports if report.failure]
    lines.append(
        f"{sum(kills.values())} kills ({sum(met.values())} just there) in {len(reports)} episodes "
        f"({', '.join(f'{count} {name}' for name, count in sorted(dialects.items()))}), "
        f"{sum(report.launched for report in reports)} VMs launched; failed seeds: {failed or 'none'}"
    )
    return "\n".join(lines)


def failures(reports: Iterable[Report]) -> str:
    """Return what failed, with the seeds that repeat it."""
    return "\n\n".join(f"seed {report.seed}: {report.failure}" for report in reports if report.failure)
